"""An HTTP server for the proxy: uvicorn, with limits on what comes before a request is whole."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_real, check_text
from midstream.stream.proxy.limits import ProxyLimits
from midstream.stream.proxy.routes import error_body

if TYPE_CHECKING:
    from midstream.stream.proxy.application import Proxy

__all__ = ["ProxyServer"]

#: What ended streams may take to send their last bytes, once no more time is given, in seconds.
_LAST_S = 2.0
_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_PHRASES = {408: b"Request Timeout", 431: b"Request Header Fields Too Large", 503: b"Busy"}


class ProxyServer:
    """Serve a `Proxy` over HTTP/1.1 until told to end.

    Parameters
    ----------
    proxy : Proxy
    host : str, default "127.0.0.1"
    port : int, default 0
        0 takes a free one; `address` says which.
    drain_s : float, default 30
        How long streams in flight may go on after `stop`, in seconds. Those that are not over then
        end with an error in their own protocol's form.
    tls : tuple of two str, optional
        Files of the certificate's chain and of its key, in PEM.

    Attributes
    ----------
    address : tuple of str and int
        Where it listens, once it does.
    started : asyncio.Event
        Set when it listens.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.
    OSError
        From `serve`: the address cannot be used.

    Notes
    -----
    Needs the extra ``proxy`` (uvicorn and httptools). Before a request is whole, its headers
    (size, number, time) and the number of connections are limited as `ProxyLimits` says. There is
    no access log: URLs may hold keys.

    Examples
    --------
    >>> from midstream.stream.proxy import Proxy
    >>> async def main():
    ...     server = ProxyServer(Proxy("http://127.0.0.1:8080"))
    ...     serving = asyncio.create_task(server.serve())
    ...     await server.started.wait()
    ...     server.stop()
    ...     await serving
    ...     return server.address[0]
    >>> asyncio.run(main())
    '127.0.0.1'
    """

    def __init__(
        self,
        proxy: Proxy,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        drain_s: float = 30.0,
        tls: tuple[str, str] | None = None,
    ) -> None:
        from midstream.stream.proxy.application import Proxy

        if not isinstance(proxy, Proxy):
            raise ArgumentTypeError(f"proxy must be a Proxy, got {type(proxy).__name__}")
        self._proxy = proxy
        self._host = check_text("host", host)
        self._port = check_int("port", port, low=0, high=65535)
        self._drain_s = check_real("drain_s", drain_s, low=0)
        chain, key = tls if tls is not None else (None, None)
        protocol = type("BoundProtocol", (_Protocol,), {"limits": proxy.limits})
        self._server = _Server(
            uvicorn.Config(
                proxy,
                http=protocol,
                ws=_SocketProtocol,
                ws_max_size=proxy.limits.max_event_bytes,
                ws_per_message_deflate=False,  # what is compressed waits for more
                lifespan="on",
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
        self.address: tuple[str, int] = (host, port)
        self.started = asyncio.Event()

    async def serve(self) -> None:
        """Listen, and return when all is over after `stop`."""
        families = socket.getaddrinfo(
            self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = families[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # there it would let others listen at the same place
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            self.address = listener.getsockname()[:2]
            self._server.listening = self.started
            await self._server.serve(sockets=[listener])
        finally:
            listener.close()

    def stop(self) -> None:
        """Take no more requests, let streams in flight go on for `drain_s`, then end them."""
        self._proxy.drain()
        if not self._server.should_exit:
            self._server.should_exit = True
            asyncio.get_running_loop().call_later(self._drain_s, self._proxy.cut)


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to its caller and says when it listens."""

    listening: asyncio.Event | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.listening is not None:
            self.listening.set()


class _Joining:
    """A transport that writes the head of an answer together with a body that is there already.

    One system call less before the first byte. What does not come in the same turn of the event
    loop is not waited for.
    """

    __slots__ = ("_head", "_inner", "_loop", "_write")

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._write = inner.write
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, but for a head that ends here: that waits for what follows at once."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.endswith(b"\r\n\r\n") and data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._write(data)

    def close(self) -> None:
        """Write what waits, and close."""
        self._flush()
        self._inner.close()

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._inner.is_closing():
            self._write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


#: Keys are in the URLs and headers of handshakes: nobody gets to see them.
_SILENT = logging.Logger("midstream.stream.proxy.serving")
_SILENT.disabled = True


class _SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets, which says nothing, and leaves their ends to the proxy."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SILENT
        self.conn.logger = _SILENT
        self.conn.debug = False

    def shutdown(self) -> None:
        """Do nothing: the proxy closes it when its response is over, or when time is up."""


class _HeadError(Exception):
    """A request's head goes beyond a limit."""


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits on a request's head and on connections."""

    limits: ClassVar[ProxyLimits]
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _fed = 0  # bytes that came since the head began, with what else came with them
    _size = 0
    _number = 0
    _status = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _Joining(transport, self.loop)))
        if len(self.connections) > self.limits.max_connections:
            self._status = 503
            self.send_400_response("too many connections")
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._status:
            return  # refused already: what else comes is not read
        if self._in_head:
            self._fed += len(data)
        super().data_received(data)
        # A header whose end does not come is kept by the parser, and not yet counted.
        if self._in_head and not self._status and self._fed > 2 * self.limits.max_header_bytes:
            self._status = 431
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._size = self._number = 0
        self._arm()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._number += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._fed = 0
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if not self._status:
            super().send_400_response(msg)
            return
        message = {408: "the request did not come", 431: "the request's headers are too large"}
        body = error_body("chat", self._status, message.get(self._status, msg))
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        head %= (self._status, _PHRASES[self._status], len(body))
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._size += size
        limits = self.limits
        if self._size > limits.max_header_bytes or self._number > limits.max_headers:
            self._status = 431
            raise _HeadError  # the parser makes it an error of its own, which ends in a refusal

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.request_timeout_s, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._status = 408
            self.send_400_response("")
