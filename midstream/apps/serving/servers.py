"""`AgentServers`: both applications under uvicorn, with limits on connections themselves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, cast

import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_real, check_text
from midstream.apps.serving.limits import ServingLimits
from midstream.apps.serving.service import AgentService
from midstream.apps.serving.websocket import GOING_AWAY
from midstream.stream.heads import HeadLimitedProtocol, StuckLimited
from midstream.stream.listening import QuietServer, listening
from midstream.stream.tls import check_tls

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent

__all__ = ["AgentServers"]

#: How much of what has come is looked at before what is in it is answered.
_SLICE = 4096
#: What connections may take to send their last bytes, in seconds.
_LAST_S = 1.0
_KEEP_ALIVE_S = 75
#: How often connections are looked for that are closed and do not end.
_SWEEP_S = 5.0


class AgentServers:
    """A WebSocket server and a server of server-sent events, for one `AgentService`.

    Parameters
    ----------
    service : AgentService
    host : str, default "127.0.0.1"
    ws_port : int or None, default 3001
    sse_port : int or None, default 3002
        0 takes a free one, None has no such server; `ws_address` and `sse_address` say which.
    drain_s : float, default 5
        How long clients may take to leave once no more are taken; then they are cut.
    linger_s : float, default 0
        How long further clients are taken after `stop`, while ``/readyz`` says that none should
        come: until whoever sends them has noticed.
    tls : tuple of two str, optional
        Files of the certificate's chain and of its key, in PEM.

    Attributes
    ----------
    ws_address, sse_address : tuple of str and int, or None
        Where they listen, once they do.
    started : asyncio.Event
        Set when both listen.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.
    OSError
        From `serve`: an address cannot be used.

    Notes
    -----
    Needs the extra ``serve`` (uvicorn, httptools, websockets). Before a request is whole, its head
    (size, number, time) and the number of connections are limited as `ServingLimits` says; a client
    that takes nothing of what is sent to it is cut after ``client_timeout_s``. There is no access
    log: URLs may hold tokens.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.apps.serving import AgentServers, AgentService
    >>> async def main():
    ...     servers = AgentServers(AgentService(), ws_port=0, sse_port=0)
    ...     serving = asyncio.create_task(servers.serve())
    ...     await servers.started.wait()
    ...     servers.stop()
    ...     await serving
    ...     return servers.ws_address[0], servers.ws_address != servers.sse_address
    >>> asyncio.run(main())
    ('127.0.0.1', True)
    """

    def __init__(
        self,
        service: AgentService,
        host: str = "127.0.0.1",
        *,
        ws_port: int | None = 3001,
        sse_port: int | None = 3002,
        drain_s: float = 5.0,
        linger_s: float = 0.0,
        tls: tuple[str, str] | None = None,
    ) -> None:
        if not isinstance(service, AgentService):
            raise ArgumentTypeError(f"service must be an AgentService, got {service!r}")
        self._service = service
        self._host = check_text("host", host)
        self._drain_s = check_real("drain_s", drain_s, low=0)
        self._linger_s = check_real("linger_s", linger_s, low=0)
        self._ports = {
            name: check_int(f"{name}_port", port, low=0, high=65535)
            for name, port in (("ws", ws_port), ("sse", sse_port))
            if port is not None
        }
        self._tls = check_tls(tls)
        self._servers = {name: self._server(name) for name in self._ports}
        self.ws_address: tuple[str, int] | None = None
        self.sse_address: tuple[str, int] | None = None
        self.started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()

    def _server(self, name: str) -> QuietServer:
        limits = self._service.limits
        chain, key = self._tls
        bound = {"limits": limits, "counts": self._service.counts}
        http = type("BoundHttp", (_Http,), bound)
        return QuietServer(
            uvicorn.Config(
                self._service.websocket if name == "ws" else self._service.sse,
                http=http,
                ws=type("BoundWebSocket", (_WebSocket,), bound) if name == "ws" else "none",
                ws_max_size=limits.max_message_bytes,
                ws_ping_interval=limits.heartbeat_s,
                ws_ping_timeout=limits.ping_timeout_s,
                # Some 100 KiB for each client, for messages that are short.
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(self._drain_s + _LAST_S),
                ssl_certfile=chain,
                ssl_keyfile=key,
            )
        )

    async def serve(self) -> None:
        """Listen, and return when all is over after `stop`."""
        with ExitStack() as stack:
            sockets = {
                name: stack.enter_context(listening(self._host, port))
                for name, port in self._ports.items()
            }
            for name, listener in sockets.items():
                setattr(self, f"{name}_address", listener.getsockname()[:2])
            try:
                async with asyncio.TaskGroup() as group:
                    serving = [
                        group.create_task(server.serve(sockets=[sockets[name]]))
                        for name, server in self._servers.items()
                    ]
                    sweeping = group.create_task(self._sweep())
                    for server in self._servers.values():
                        await server.listening.wait()
                    self.started.set()
                    await self._stopped.wait()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._linger_s):
                            await self._hurried.wait()
                    self._service.drain()
                    await self._let_leave()
                    # What is closed and has nothing left to send ends at once.
                    await asyncio.wait(serving, timeout=_LAST_S)
                    self.cut()
                    sweeping.cancel()
            finally:
                self.cut()
                await self._service.aclose()

    def stop(self) -> None:
        """Say that no more clients should come, take none after `linger_s`, cut after `drain_s`.

        It can be called before it listens, too; a second call changes nothing.
        """
        self._service.leaving = True
        if not self._linger_s:
            self._service.drain()
        self._stopped.set()

    async def _let_leave(self) -> None:
        """Wait for clients to leave, and end the servers."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._drain_s
        while (self._service.clients or self._service.pending) and loop.time() < ends_s:
            await asyncio.sleep(0.01)
        for server in self._servers.values():
            server.should_exit = True

    def cut(self) -> None:
        """Cut all connections at once."""
        self._hurried.set()
        for server in self._servers.values():
            server.cut()

    async def _sweep(self) -> None:
        """Cut what is closed, and whose other side takes nothing of what was sent before."""
        closing: set[Any] = set()
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._service.limits.client_timeout_s))
            still: set[Any] = set()
            for server in self._servers.values():
                for connection in list(server.server_state.connections):
                    transport = cast("Any", connection).transport
                    if not transport.is_closing():
                        continue
                    if connection in closing:
                        self._service.counts["slow"] += 1
                        transport.abort()
                    else:
                        still.add(connection)
            closing = still


#: Tokens and sessions are in the URLs of handshakes: nobody gets to see them.
_SILENT = logging.Logger("midstream.apps.serving.servers")
_SILENT.disabled = True


class _Counting:
    """Counts clients that were cut, since they took nothing."""

    counts: ClassVar[Counter[str]]

    def on_stuck(self) -> None:
        self.counts["slow"] += 1


class _Http(_Counting, StuckLimited, HeadLimitedProtocol):
    """HTTP/1.1 with limits."""

    limits: ClassVar[ServingLimits]


class _WebSocket(_Counting, StuckLimited, WebSocketsSansIOProtocol):
    """A WebSocket with limits: what comes is looked at as fast as it is answered."""

    limits: ClassVar[ServingLimits]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SILENT
        self.conn.logger = _SILENT
        self.conn.debug = False
        self._unread = b""
        self._fragments = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # A chunk can hold a hundred thousand messages of two bytes: they wait as bytes.
        data = self._unread + data
        place = 0
        while place < len(data) and not self.read_paused and not self.close_sent:
            super().data_received(data[place : place + _SLICE])
            place += _SLICE
        if self.close_sent and place < len(data) and not self.transport.is_closing():
            super().data_received(data[place:])  # perhaps the answer to our close
            place = len(data)
        self._unread = data[place:]

    async def send(self, message: ASGISendEvent) -> None:
        # A line that is cut is known at once, and told to the protocol in the loop's next turn.
        if self.transport.is_closing() and message["type"] == "websocket.send":
            raise ClientDisconnected
        await super().send(message)

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        while self.read_paused and self.queue.empty():
            self.read_paused = False
            if not self._unread:
                self.transport.resume_reading()
                break
            unread, self._unread = self._unread, b""
            self.data_received(unread)
            if not self.read_paused:  # no message was in it
                self.transport.resume_reading()
        return message

    def handle_cont(self, event: Frame) -> None:
        self._fragments = 0 if event.fin else self._fragments + 1
        if self._fragments >= self.limits.max_fragments:
            self.conn.fail(1008, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            with contextlib.suppress(Exception):
                self.conn.send_close(GOING_AWAY, "the server ends")
                self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": GOING_AWAY})
        super().shutdown()
