"""The tools that start and stop the agent's servers on this machine."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from midstream.apps.tools_server.calling import Call
from midstream.apps.tools_server.defining import Arguments, Tool, ToolFailure, object_schema

if TYPE_CHECKING:
    from midstream.apps.serving import AgentServers, AgentService

__all__ = ["Streams"]

_HOST = "127.0.0.1"
_WEBSOCKET, _SSE = "websocket", "sse"
_PORTS = {_WEBSOCKET: 3001, _SSE: 3002}
_MIN_PORT = 1024
_MOST_CLIENTS = 100
_START_S = 10.0
_DRAIN_S = 1.0
_MOST_BROADCAST_CHARS = 2000
_NEEDED = ("httptools", "uvicorn", "websockets")


class _Stream(Arguments):
    action: Literal["start", "status", "stop"] = Field(
        "start", description="Start it where it does not run, say how it is, or stop it."
    )
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Where to start it, on 127.0.0.1: 0 for a free port, by default 3001 for "
        "WebSockets and 3002 for server-sent events.",
    )


_OUTPUT = object_schema(
    {
        "running": {"type": "boolean"},
        "url": {"type": ["string", "null"], "description": "Where it is; null when stopped."},
        "port": {"type": ["integer", "null"]},
        "clients": {"type": "integer", "description": "That are connected."},
        "requests": {"type": "integer", "description": "Answered or refused, since the start."},
        "broadcast": {
            "type": "integer",
            "description": "Messages that were broadcast to all who follow.",
        },
        "how": {
            "type": "array",
            "items": {"type": "string"},
            "description": "How other programs use it.",
        },
    }
)


@dataclass(slots=True)
class _Running:
    service: AgentService
    servers: AgentServers
    task: asyncio.Task[None]
    port: int


class Streams:
    """The WebSocket server and the server of server-sent events, for all clients of the tools.

    Parameters
    ----------
    token : str, optional
        What their clients must show.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token
        self._running: dict[str, _Running] = {}
        self._first: AgentService | None = None
        self._lock = asyncio.Lock()

    def tools(self) -> list[Tool]:
        """The tools ``stream_websocket`` and ``stream_sse``."""

        async def websocket(call: Call, given: _Stream) -> dict[str, Any]:
            return await self._do(_WEBSOCKET, given)

        async def sse(call: Call, given: _Stream) -> dict[str, Any]:
            return await self._do(_SSE, given)

        about = (
            "so that other programs on this machine can send messages, have them analysed, and "
            "follow what is processed, also what this conversation keeps. One for all clients of "
            "these tools; it ends with them."
        )
        made = []
        for name, title, run in (
            (_WEBSOCKET, "WebSocket server", websocket),
            (_SSE, "server of server-sent events", sse),
        ):
            tool = Tool(
                name=f"stream_{name}",
                title=f"Start or stop a {title}",
                description=f"Start, look at or stop a {title} on this machine, {about}",
                arguments=_Stream,
                output=_OUTPUT,
                run=run,
                read_only=False,
            )
            made.append(tool)
        return made

    def state(self) -> dict[str, Any]:
        """Where the servers are."""
        return {name: self._url(name) for name in (_WEBSOCKET, _SSE)}

    def broadcast(self, message: Any, data: dict[str, Any]) -> None:
        """Tell all who follow of a message that was processed, where a server runs."""
        if not self._running:
            return
        assert self._first is not None
        if isinstance(message, dict):
            message = message.get("content")
        text = message[:_MOST_BROADCAST_CHARS] if isinstance(message, str) else None
        fields = {"type": "processed", "client": "tools", "text": text, "data": data}
        self._first.hub.publish("processed", fields)

    async def aclose(self) -> None:
        """Stop both."""
        async with self._lock:
            for name in list(self._running):
                await self._stop(name)

    async def _do(self, name: str, given: _Stream) -> dict[str, Any]:
        if given.action != "start" and given.port is not None:
            raise ToolFailure(f"port goes only with action 'start', got {given.action!r}")
        async with self._lock:
            if given.action == "start":
                await self._start(name, given.port)
            elif given.action == "stop" and name in self._running:
                await self._stop(name)
            return self._state_of(name)

    async def _start(self, name: str, port: int | None) -> None:
        running = self._running.get(name)
        if running is not None and not running.task.done():
            if port not in (None, 0, running.port):
                raise ToolFailure(f"port: it runs at {running.port}, stop it first, got {port}")
            return
        if port is not None and 0 < port < _MIN_PORT:
            raise ToolFailure(f"port must be 0 or at least {_MIN_PORT}, got {port}")
        if port is None:
            port = _PORTS[name]
        for module in _NEEDED:
            try:
                importlib.import_module(module)
            except ModuleNotFoundError:
                raise ToolFailure(
                    f'{module} is not installed on the server: pip install "midstream[serve]"'
                ) from None
        from midstream.apps.serving import AgentServers, AgentService, ServingLimits

        service = AgentService(
            limits=ServingLimits(max_clients=_MOST_CLIENTS),
            hosts=("localhost", _HOST),
            token=self._token,
        )
        if self._first is None:
            self._first = service
        else:  # both broadcast the same, and know the same sessions
            service.hub, service.sessions = self._first.hub, self._first.sessions
        servers = AgentServers(
            service,
            _HOST,
            ws_port=port if name == _WEBSOCKET else None,
            sse_port=port if name == _SSE else None,
            drain_s=_DRAIN_S,
        )
        task = asyncio.ensure_future(servers.serve())
        begun = asyncio.ensure_future(servers.started.wait())
        try:
            await asyncio.wait((task, begun), timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        if not servers.started.is_set():
            servers.stop()
            task.cancel()
            (error,) = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(error, OSError):
                raise ToolFailure(f"port: the server did not start at {port}")
            raise ToolFailure(f"port: {port} cannot be used: {error.strerror or error}")
        address = servers.ws_address if name == _WEBSOCKET else servers.sse_address
        assert address is not None
        self._running[name] = _Running(service, servers, task, address[1])

    async def _stop(self, name: str) -> None:
        running = self._running.pop(name)
        running.servers.stop()
        await asyncio.gather(running.task, return_exceptions=True)

    def _url(self, name: str) -> str | None:
        running = self._running.get(name)
        if running is None or running.task.done():
            return None
        scheme = "ws" if name == _WEBSOCKET else "http"
        return f"{scheme}://{_HOST}:{running.port}"

    def _state_of(self, name: str) -> dict[str, Any]:
        running = self._running.get(name)
        url = self._url(name)
        how: list[str] = []
        if url is not None and name == _WEBSOCKET:
            how = [
                f"connect to {url}",
                'send {"kind": "process", "message": "..."}; also analyze, compare, '
                "detect_pattern, behavior, meta_learn, status",
                'send {"kind": "subscribe"} to follow what all clients process',
            ]
        elif url is not None:
            how = [
                f"GET {url}/stream follows what all clients process",
                f'POST {url}/process with {{"message": "..."}}; also /analyze, /compare, '
                "/detect_pattern, /behavior, /meta_learn",
                f"GET {url}/status",
            ]
        if how and self._token is not None:
            how.append("with the token of these tools, as Authorization: Bearer")
        return {
            "running": url is not None,
            "url": url,
            "port": None if running is None or url is None else running.port,
            "clients": 0 if running is None else running.service.clients,
            "requests": 0 if running is None else running.service.counts["requests"],
            "broadcast": 0 if self._first is None else self._first.hub.last,
            "how": how,
        }
