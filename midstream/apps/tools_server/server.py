"""`ToolServer`: tools, resources and prompts of midstream under the official SDK."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.server.context import CallNext
from mcp.shared.exceptions import MCPError

from midstream import __version__
from midstream._core.validate import did_you_mean
from midstream.apps.serving.refusals import Refusal
from midstream.apps.serving.work import Workers
from midstream.apps.tools_server.asking import agent_tools
from midstream.apps.tools_server.calling import Call, Clients, Deck
from midstream.apps.tools_server.checking import trace_tool
from midstream.apps.tools_server.defining import (
    Tool,
    ToolFailure,
    failed,
    read_arguments,
    succeeded,
)
from midstream.apps.tools_server.limits import ToolLimits
from midstream.apps.tools_server.policing import policy_tool
from midstream.apps.tools_server.prompts import Prompts
from midstream.apps.tools_server.resources import Resources
from midstream.apps.tools_server.searching import Searches
from midstream.apps.tools_server.shelf import Shelf
from midstream.apps.tools_server.streaming import Streams
from midstream.errors import ArgumentTypeError, MidstreamError
from midstream.stream.telemetry import Buckets, Family

if TYPE_CHECKING:
    from midstream.apps.agent import Agent

__all__ = ["ToolServer"]

_LOG = logging.getLogger("midstream.apps.tools_server")
_INSTRUCTIONS = """\
midstream analyses streams and conversations of language models and agents. analyze_conversation \
finds repetition and loops; compare_sequences, detect_patterns and analyze_behavior measure \
sequences; verify_trace checks a trace of events against temporal logic; check_policy lints rules \
and says which event breaks them; search_recordings finds recorded streams, which can be read as \
midstream://recordings/{name}. Numbers are counted or measured; null means that it is not known."""


class ToolServer:
    """Tools, resources and prompts for any number of clients.

    Parameters
    ----------
    recordings : str or path, optional
        A folder of recordings; its index for searches is made in it.
    limits : ToolLimits, optional
    reveal : bool, default False
        Whether recordings are shown with the secrets in them; otherwise each is replaced by its
        kind.
    token : str, optional
        What clients of the servers must show that ``stream_websocket`` and ``stream_sse`` start.
    make_agent : callable, optional
        Makes the `Agent` of a client; `Agent` itself by default.
    on_call : callable, optional
        ``on_call(tool, session, took_s, outcome)``, after each call of a tool; the session by its
        public name, the outcome ``"ok"``, ``"failed"`` (the tool said why) or ``"crashed"``.

    Attributes
    ----------
    server : mcp.server.Server
        Of the SDK, for its transports and its ``Client``.
    limits : ToolLimits
    active : int
        Requests that are being answered.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    RecordingError
        The folder cannot be used.

    Notes
    -----
    For one event loop. What takes long runs in threads, tells how far it is to clients that ask
    for progress, and ends when its request is cancelled, at the latest with the next record; one
    kernel's run is not interrupted.

    Examples
    --------
    >>> import asyncio
    >>> from mcp import Client
    >>> from midstream.apps.tools_server import ToolServer
    >>> async def main():
    ...     async with Client(ToolServer().server) as client:
    ...         return await client.call_tool(
    ...             "compare_sequences",
    ...             {"sequence1": "kitten", "sequence2": "sitting", "algorithm": "edit",
    ...              "unit": "characters"},
    ...         )
    >>> asyncio.run(main()).structured_content["value"]
    3
    """

    def __init__(
        self,
        *,
        recordings: str | os.PathLike[str] | None = None,
        limits: ToolLimits | None = None,
        reveal: bool = False,
        token: str | None = None,
        make_agent: Callable[[], Agent] | None = None,
        on_call: Callable[[str, str, float, str], object] | None = None,
    ) -> None:
        if limits is None:
            limits = ToolLimits()
        elif not isinstance(limits, ToolLimits):
            raise ArgumentTypeError(f"limits must be ToolLimits, got {type(limits).__name__}")
        if make_agent is not None and not callable(make_agent):
            raise ArgumentTypeError(f"make_agent must be callable, got {make_agent!r}")
        self.limits = limits
        self._on_call = on_call
        self._clients = Clients(limits, make_agent)
        self._work: Workers | None = None
        self._decks = 0
        self.active = 0
        self._calls: Counter[str] = Counter()
        self._shelf = None if recordings is None else Shelf(recordings, limits, reveal=reveal)
        self._streams = Streams(token)
        self._searches = Searches(self._shelf)
        self._resources = Resources(self._shelf, limits, self._call)
        prompts = Prompts(self._shelf, self._call)
        tools = [
            *agent_tools(self.state, self._streams.broadcast),
            *self._streams.tools(),
            trace_tool(limits.max_trace_events),
            policy_tool(self._shelf),
            self._searches.tool(),
        ]
        self._tools: dict[str, Tool] = {tool.name: tool for tool in tools}
        self._listed = [tool.listed() for tool in tools]
        self.server: Server[Deck] = Server(
            "midstream",
            version=__version__,
            title="midstream",
            instructions=_INSTRUCTIONS,
            lifespan=self._lifespan,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._resources.list,
            on_list_resource_templates=self._resources.templates,
            on_read_resource=self._resources.read,
            on_subscribe_resource=self._resources.subscribe,
            on_unsubscribe_resource=self._resources.unsubscribe,
            on_subscriptions_listen=self._resources.listen,
            on_list_prompts=prompts.list,
            on_get_prompt=prompts.get,
            on_completion=prompts.complete,
        )
        self.server.middleware.append(self._count)
        # Not an argument, since the first releases of the SDK's second version know none such.
        self.server.get_tool_input_schema = self._input_schema

    def state(self) -> dict[str, Any]:
        """How the server stands."""
        work = self._work
        return {
            "version": __version__,
            "sessions": len(self._clients),
            "calls": self._calls.total(),
            "failed": self._calls["failed"] + self._calls["crashed"],
            "waiting": 0 if work is None else work.waiting,
            "recordings": self._shelf is not None,
            "streams": self._streams.state(),
        }

    def families(self) -> Iterator[Family]:
        """List what the server counts, for Prometheus."""
        limits = self.limits
        for name, text, value in (
            ("tools_sessions", "Conversations that are kept.", len(self._clients)),
            ("tools_sessions_max", "Conversations that are kept at most.", limits.max_sessions),
            ("tools_requests_active", "Requests in work.", self.active),
            ("tools_requests_max", "Requests in work at most.", limits.max_requests),
        ):
            yield Family(name, "gauge", text, (), {(): value})
        calls: dict[tuple[str, ...], float | Buckets] = {
            (outcome,): count for outcome, count in self._calls.items()
        }
        yield Family(
            "tools_calls_total", "counter", "Calls of tools, by outcome.", ("outcome",), calls
        )

    def end_subscriptions(self) -> None:
        """Tell all who have subscribed that it is over."""
        self._resources.end()

    # What the SDK calls.

    @asynccontextmanager
    async def _lifespan(self, server: Server[Deck]) -> AsyncIterator[Deck]:
        deck = Deck()
        self._decks += 1
        try:
            yield deck
        finally:
            self._clients.leave(deck)
            self._decks -= 1
            if not self._decks:
                await self._end()

    async def _count(self, ctx: ServerRequestContext[Deck, Any], call_next: CallNext) -> Any:
        """Count the requests that are being answered; a subscription is never done."""
        if ctx.request_id is None or ctx.method == "subscriptions/listen":
            return await call_next(ctx)
        self.active += 1
        try:
            return await call_next(ctx)
        except Refusal as refusal:
            raise MCPError(
                code=types.INTERNAL_ERROR, message=f"{refusal.code}: {refusal.message}"
            ) from None
        finally:
            self.active -= 1

    async def _end(self) -> None:
        """Nobody is connected any more: end servers, subscriptions and threads."""
        self._resources.end()
        await self._streams.aclose()
        self._searches.close()
        work, self._work = self._work, None
        if work is not None:
            work.stop()

    def _workers(self) -> Workers:
        if self._work is None:
            limits = self.limits
            self._work = Workers(limits.threads, limits.max_waiting, limits.deadline_s)
            self._work.start()
        return self._work

    def _call(self, ctx: ServerRequestContext[Deck]) -> Call:
        return Call(ctx, self._clients, self._workers)

    def _input_schema(self, name: str) -> dict[str, Any] | None:
        for tool in self._listed:
            if tool.name == name:
                return tool.input_schema
        return None

    async def _list_tools(
        self, ctx: ServerRequestContext[Deck], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self._listed)

    async def _call_tool(
        self, ctx: ServerRequestContext[Deck], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            hint = did_you_mean(params.name[:80], tuple(self._tools))
            return failed(f"there is no tool {params.name[:80]!r}{hint}")
        call = self._call(ctx)
        begun_s = time.perf_counter()
        outcome = "failed"
        try:
            arguments = read_arguments(tool.arguments, params.arguments or {})
            result = succeeded(await tool.run(call, arguments))
            outcome = "ok"
        except Refusal as refusal:
            again = refusal.retry_after_s
            later = "" if again is None else f"; try again in {max(again, 0.1):.1f} s"
            result = failed(f"{refusal.code}: {refusal.message}{later}")
        except (ToolFailure, MidstreamError) as error:
            result = failed(str(error))
        except RecursionError:
            result = failed("the arguments are nested too deeply")
        except MemoryError:
            result = failed("the arguments are too large")
        except Exception:  # noqa: BLE001 - one client's call is not to end the others'
            outcome = "crashed"
            _LOG.exception("%s crashed", tool.name)
            result = failed(f"{tool.name} failed for a reason that the server's log tells")
        finally:
            self._calls[outcome] += 1
            if self._on_call is not None:
                name = "" if call.session is None else call.session.name
                self._on_call(tool.name, name, time.perf_counter() - begun_s, outcome)
        return result
