"""Calls of tools: whose they are, where they run, how far they are, and whether they go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from midstream.apps.serving.refusals import Refusal
from midstream.apps.serving.work import Workers
from midstream.apps.tools_server.limits import ToolLimits

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext

    from midstream.apps.agent import Agent
    from midstream.apps.serving.sessions import Session, Sessions

__all__ = ["Call", "Cancelled", "Clients", "Deck", "Job", "told"]

T = TypeVar("T")
_SESSION_HEADER = "mcp-session-id"
#: How often progress is told.
_TELL_S = 0.1
_HEARTBEAT_S = 0.5


class Cancelled(Exception):  # noqa: N818 - nobody is told
    """Nobody waits for the result any more."""


class Job:
    """Work in a thread: how far it is, and whether anybody still waits for it."""

    def __init__(self) -> None:
        self._state: tuple[int, int | None, str | None] = (0, None, None)
        self._cancelled = False

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._cancelled = True

    def check(self) -> None:
        """Go on only if somebody waits.

        Raises
        ------
        Cancelled
            Nobody does.
        """
        if self._cancelled:
            raise Cancelled

    def progress(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """Tell how far it is, and `check`."""
        self.check()
        self._state = (done, total, what)

    @property
    def state(self) -> tuple[int, int | None, str | None]:
        """Done, of how much, of what."""
        return self._state


class Deck:
    """What belongs to one run of the protocol's server: one client's connection, or all of HTTP."""

    def __init__(self) -> None:
        self.own: Session | None = None


class Clients:
    """The conversations of all clients.

    Parameters
    ----------
    limits : ToolLimits
    make_agent : callable, optional
        `Agent` by default.
    """

    def __init__(self, limits: ToolLimits, make_agent: Callable[[], Agent] | None) -> None:
        self._limits = limits
        self._make_agent = make_agent
        #: Keys of sessions by what HTTP calls them.
        self._by_header: OrderedDict[str, str] = OrderedDict()
        self._made: Sessions | None = None

    def __len__(self) -> int:
        return 0 if self._made is None else len(self._made)

    @property
    def sessions(self) -> Sessions:
        """All of them; made when somebody first asks for one, since agents take long to import."""
        if self._made is None:
            from midstream.apps.agent import Agent
            from midstream.apps.serving.limits import ServingLimits
            from midstream.apps.serving.sessions import Sessions

            limits = self._limits
            self._made = Sessions(
                ServingLimits(
                    max_sessions=limits.max_sessions,
                    session_idle_s=limits.session_idle_s,
                    requests_per_s=limits.requests_per_s,
                    requests_per_address_s=limits.requests_per_s,
                ),
                self._make_agent or Agent,
            )
        return self._made

    def of(self, ctx: ServerRequestContext[Deck], key: str | None, *, keeps: bool) -> Session:
        """Whose call it is.

        Parameters
        ----------
        ctx : ServerRequestContext
        key : str or None
            The argument ``session``.
        keeps : bool
            Whether the tool keeps something: a client without a session gets one then.

        Raises
        ------
        Refusal
            No such session, too many, or too many requests.
        """
        request = ctx.request
        if key == "new":
            session = self.sessions.open()
        elif key is not None:
            session = self.sessions.find(key)
        elif request is None:
            deck = ctx.lifespan_context
            if deck.own is None:
                deck.own = self.sessions.open()
                self.sessions.connect(deck.own)
            return deck.own
        else:
            # Without a handshake the header is whatever its sender likes, and no key.
            header = request.headers.get(_SESSION_HEADER)
            if header is not None and ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
                session = self._of_header(header)
            elif keeps:
                session = self.sessions.open()
            else:
                address = request.client.host if request.client is not None else ""
                session = self.sessions.passing(address)
        if request is not None:
            session.spend()
        return session

    def _of_header(self, header: str) -> Session:
        key = self._by_header.get(header)
        if key is not None:
            self._by_header.move_to_end(header)
            with contextlib.suppress(Refusal):  # it was idle for too long: its results say another
                return self.sessions.find(key)
        session = self.sessions.open()
        self._by_header[header] = session.key
        if len(self._by_header) > self._limits.max_sessions:
            self._by_header.popitem(last=False)
        return session

    def leave(self, deck: Deck) -> None:
        """A connection is over."""
        if deck.own is not None:
            self.sessions.disconnect(deck.own)
            deck.own = None


class Call:
    """One call of a tool.

    Attributes
    ----------
    ctx : ServerRequestContext
    """

    def __init__(
        self,
        ctx: ServerRequestContext[Deck],
        clients: Clients,
        workers: Callable[[], Workers],
    ) -> None:
        self.ctx = ctx
        self.session: Session | None = None
        self._clients = clients
        self._workers = workers

    def of(self, key: str | None, *, keeps: bool) -> Session:
        """The conversation that is asked, see `Clients.of`."""
        self.session = self._clients.of(self.ctx, key, keeps=keeps)
        return self.session

    @property
    def alone(self) -> bool:
        """Whether this client is the only one there can be."""
        return self.ctx.request is None

    async def work(self, work: Callable[[Job], T]) -> T:
        """Have a thread do something, and tell the client how far it is.

        Raises
        ------
        Refusal
            There is too much to do, or it takes too long.
        Exception
            What `work` raises.
        """
        job = Job()
        doing = asyncio.ensure_future(self._workers().run(lambda: work(job), _nothing))
        doing.add_done_callback(_seen)
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        told = 0.0
        try:
            while True:
                done, _ = await asyncio.wait((doing,), timeout=_TELL_S)
                if done:
                    return doing.result()
                state = job.state
                elapsed_s = loop.time() - begun_s
                if state[0] > told:
                    told = state[0]
                    await self.ctx.session.report_progress(*state)
                elif not state[0] and elapsed_s >= told + _HEARTBEAT_S:
                    # One kernel's run cannot tell how far it is, but that it goes on.
                    told = round(elapsed_s, 3)
                    await self.ctx.session.report_progress(told, None, "seconds so far")
        finally:
            job.cancel()
            doing.cancel()

    async def ask(self, work: Callable[[], T], *, light: bool) -> T:
        """Do something here where it is little, else in a thread."""
        if light:
            return work()
        return await self.work(lambda job: work())


def _nothing() -> None:
    """Nothing is to be done when it is over."""


def _seen(task: asyncio.Future[Any]) -> None:
    """What it raised after its caller had left is nobody's."""
    if not task.cancelled():
        task.exception()


def told(result: dict[str, Any], session: Session) -> dict[str, Any]:
    """A result that says how to come back to its conversation."""
    result["session"] = session.key or None
    return result
