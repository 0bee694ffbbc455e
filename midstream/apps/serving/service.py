"""`AgentService`: what the WebSocket and the SSE server have in common."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from midstream.apps.agent import Agent
from midstream.apps.serving.access import Access
from midstream.apps.serving.asgi import Send
from midstream.apps.serving.hub import Hub
from midstream.apps.serving.limits import ServingLimits
from midstream.apps.serving.refusals import Refusal
from midstream.apps.serving.sessions import Session, Sessions
from midstream.apps.serving.wire import KINDS, Request, now_ms
from midstream.apps.serving.work import Workers
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream.stream.probes import HEALTH, answer_probe

if TYPE_CHECKING:
    from midstream.apps.feed import Feed, Frame
    from midstream.apps.serving.sse import SseApp
    from midstream.apps.serving.websocket import WebSocketApp

__all__ = ["TOPICS", "AgentService"]

_log = logging.getLogger("midstream.apps.serving")
#: What can be subscribed to.
TOPICS = ("processed", "feed")
#: After what time a stream that the server ended is worth another try.
RETRY_MS = 2000


def _small_agent() -> Agent:
    """One of thousands."""
    return Agent(max_messages=500, max_chars=500_000, max_comparisons=100, max_symbols=2048)


class AgentService:
    """Answers requests of many clients, each with an `Agent` of its own, and broadcasts.

    Parameters
    ----------
    limits : ServingLimits, optional
    origins : collection of str, optional
        Origins of web pages that may ask, beside those of this machine.
    hosts : collection of str, optional
        Names under which it may be asked, beside those of this machine; None for any.
    token : str, optional
        What every client must show.
    feed : Feed, optional
        Broadcast to those who subscribe to it.
    make_agent : callable, optional
        Makes the `Agent` of a client; by default one that keeps 500 messages, 500,000 characters,
        100 comparisons and 2048 learned words.

    Attributes
    ----------
    websocket, sse : ASGI applications
    hub : Hub
        What was broadcast.
    leaving : bool
        Whether no further clients should come, although they are taken; may be set.
    counts : Counter
        ``"requests"``, ``"refused"`` and ``"refused_CODE"``, ``"websockets"``, ``"streams"`` (so
        far), ``"delivered"`` and ``"missed"`` (broadcast messages), ``"slow"`` (clients cut).

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    Both applications are pure ASGI; under another server than `AgentServers` that server's own
    limits hold for what comes before a request is whole, and for clients that take nothing. For
    one event loop.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.apps.serving import AgentService
    >>> from midstream.apps.serving.wire import request_of
    >>> async def main():
    ...     service = AgentService()
    ...     client = service.sessions.open()
    ...     answer = await service.answer(
    ...         client, request_of({"kind": "process", "id": 1, "message": "hello"})
    ...     )
    ...     return answer["type"], answer["id"], answer["data"]["number"], service.hub.last
    >>> asyncio.run(main())
    ('result', 1, 0, 1)
    """

    def __init__(
        self,
        *,
        limits: ServingLimits | None = None,
        origins: Collection[str] = (),
        hosts: Collection[str] | None = None,
        token: str | None = None,
        feed: Feed | None = None,
        make_agent: Callable[[], Agent] = _small_agent,
    ) -> None:
        if limits is None:
            limits = ServingLimits()
        elif not isinstance(limits, ServingLimits):
            raise ArgumentTypeError(f"limits must be ServingLimits, got {type(limits).__name__}")
        if not callable(make_agent):
            raise ArgumentTypeError(f"make_agent must be callable, got {make_agent!r}")
        self.limits = limits
        self.access = Access(origins, hosts, token)
        self.feed = feed
        self.hub = Hub(limits.keep_events, limits.keep_bytes)
        self.sessions = Sessions(limits, make_agent)
        self.counts: Counter[str] = Counter()
        self._workers = Workers(limits.threads, limits.max_waiting, limits.deadline_s)
        self._working = False
        self._leaving: set[Callable[[], None]] = set()
        self._feed_text: tuple[tuple[int, bool, int], str] = ((-1, False, 0), "")
        self.draining = False
        self.leaving = False
        #: Requests that are being answered.
        self.pending = 0

    @property
    def websocket(self) -> WebSocketApp:
        """The ASGI application for WebSockets."""
        from midstream.apps.serving.websocket import WebSocketApp

        return WebSocketApp(self)

    @property
    def sse(self) -> SseApp:
        """The ASGI application for server-sent events and requests over HTTP."""
        from midstream.apps.serving.sse import SseApp

        return SseApp(self)

    @property
    def clients(self) -> int:
        """WebSockets and event streams that are open."""
        return len(self._leaving)

    # Requests.

    async def answer(self, session: Session, request: Request) -> dict[str, Any]:
        """Answer a request, and broadcast what was processed.

        Parameters
        ----------
        session : Session
        request : Request

        Returns
        -------
        dict
            JSON: ``type``, ``id``, ``data``, ``timestamp``.

        Raises
        ------
        Refusal
            Why there is no answer.
        """
        self.counts["requests"] += 1
        self.pending += 1
        try:
            return await self._answer(session, request)
        finally:
            self.pending -= 1

    async def _answer(self, session: Session, request: Request) -> dict[str, Any]:
        session.spend()
        kind = KINDS.get(request.kind)
        if kind is None:
            raise Refusal(
                "unknown_kind",
                f"kind must be one of {', '.join(KINDS)}, got {request.kind[:60]!r}",
            )
        async with session.lock:
            if session.running:
                raise Refusal("busy", "an analysis that took too long goes on", retry_after_s=1.0)
            if request.kind == "process":
                self.sessions.check_room(session)
            data = await self._ask(session, request)
            self.sessions.count(session)
        session.refused = 0
        if request.kind == "process" and request.fields.get("broadcast") is not False:
            self._broadcast(session, request, data)
        return {"type": kind.type, "id": request.id, "data": data, "timestamp": now_ms()}

    async def _ask(self, session: Session, request: Request) -> dict[str, Any]:
        kind = KINDS[request.kind]

        def ask() -> dict[str, Any]:
            return kind.ask(session.agent, request.fields).to_dict()

        def ended() -> None:
            session.running = False

        try:
            if kind.is_light(request.fields):
                return ask()
            if not self._working:
                self._working = True
                self._workers.start()
            session.running = True
            return await self._workers.run(ask, ended)
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise Refusal("bad_request", str(error)) from None
        except RecursionError:
            raise Refusal("bad_request", "the request is nested too deeply") from None
        except (MidstreamError, MemoryError) as error:
            raise Refusal("bad_request", f"cannot be computed: {error}") from None
        except Refusal:
            raise
        except Exception:  # noqa: BLE001 - a fault of ours: this client is told, others go on
            _log.exception("a request of kind %s failed", request.kind)
            raise Refusal("internal", "internal error") from None

    def _broadcast(self, session: Session, request: Request, data: dict[str, Any]) -> None:
        message = request.fields.get("message")
        if isinstance(message, dict):
            message = message.get("content")
        text = message[: self.limits.max_broadcast_chars] if isinstance(message, str) else None
        self.hub.publish(
            "processed",
            {
                "type": "processed",
                "client": session.name,
                "text": text,
                "data": data,
                "timestamp": now_ms(),
            },
        )

    def refuse(self, refusal: Refusal, ident: str | int | None = None) -> dict[str, Any]:
        """An error as JSON, counted."""
        self.counts["refused"] += 1
        self.counts[f"refused_{refusal.code}"] += 1
        return {"type": "error", "id": ident, **refusal.fields(), "timestamp": now_ms()}

    # Connections.

    def admit(self, leave: Callable[[], None]) -> None:
        """Count a connection in.

        Parameters
        ----------
        leave : callable
            Called when the service ends: the connection is to end then.

        Raises
        ------
        Refusal
            There are too many, or the service ends.
        """
        if self.draining:
            raise Refusal("ending", "the server ends", retry_after_s=RETRY_MS / 1000)
        if len(self._leaving) >= self.limits.max_clients:
            raise Refusal("full", "too many clients", retry_after_s=5.0)
        self._leaving.add(leave)

    def left(self, leave: Callable[[], None]) -> None:
        """Count it out."""
        self._leaving.discard(leave)

    def connected(self, session: Session) -> dict[str, Any]:
        """What a client is told first."""
        return {
            "type": "connected",
            "message": "connected to midstream",
            "client": session.name,
            "session": session.key,
            "run": self.hub.run,
            "last": self.hub.last,
            "kinds": list(KINDS),
            "topics": [topic for topic in TOPICS if topic != "feed" or self.feed is not None],
            "timestamp": now_ms(),
        }

    @property
    def feed_key(self) -> str:
        """Tells the feed's numbers from those of another one."""
        return "" if self.feed is None else self.feed.key

    def feed_text(self, frame: Frame) -> str:
        """A frame of the feed as JSON for its readers, made once for all that are up to date."""
        # A snapshot has the id of the last frame in it.
        key = (frame.id, frame.is_snapshot, frame.missed)
        if self._feed_text[0] != key:
            head = f'{{"type":"feed","frame":{frame.id},"missed":{frame.missed},"data":'
            self._feed_text = (key, f"{head}{frame.data.decode()}}}")
        return self._feed_text[1]

    @property
    def ready(self) -> bool:
        """Whether clients may come."""
        return not (self.leaving or self.draining)

    async def answer_probe(self, method: str, path: str, send: Send) -> bool:
        """Answer a request for health or readiness; whether it was one."""
        # As every other answer over HTTP, it says whether all is well under this name, too.
        told = {"success": self.ready or path == HEALTH}
        return await answer_probe(method, path, send, ready=self.ready, told=told)

    def drain(self) -> None:
        """Take no more clients, and have those that are there leave. Safe to repeat."""
        self.draining = True
        for leave in list(self._leaving):
            leave()
        self.hub.wake()

    async def aclose(self) -> None:
        """End the threads, once nobody asks any more."""
        self.drain()
        if self._working:
            self._working = False
            await asyncio.to_thread(self._workers.stop)

    def state(self) -> dict[str, Any]:
        """How the service stands, for ``/status`` of nobody in particular and logs."""
        return {
            "clients": self.clients,
            "sessions": len(self.sessions),
            "kept_chars": self.sessions.kept_chars,
            "events": self.hub.last,
            "kept_bytes": self.hub.kept_bytes,
            "analyses": {
                "done": self._workers.done,
                "shed": self._workers.shed,
                "late": self._workers.late,
                "waiting": self._workers.waiting,
            },
            "counts": dict(self.counts),
            "draining": self.draining,
        }
