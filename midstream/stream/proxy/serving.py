"""An HTTP server for the proxy: uvicorn, with limits on what comes before a request is whole."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_real, check_text
from midstream.stream.heads import HeadLimitedProtocol
from midstream.stream.listening import QuietServer, listening
from midstream.stream.proxy.routes import error_body
from midstream.stream.tls import check_tls

if TYPE_CHECKING:
    from midstream.stream.proxy.application import Proxy

__all__ = ["ProxyServer"]

#: What ended streams may take to send their last bytes, once no more time is given, in seconds.
_LAST_S = 2.0
#: How often a proxy that drains looks whether its streams are over, in seconds.
_LOOK_S = 0.02
_KEEP_ALIVE_S = 75


class ProxyServer:
    """Serve a `Proxy` over HTTP/1.1 until told to end.

    Parameters
    ----------
    proxy : Proxy
    host : str, default "127.0.0.1"
    port : int, default 0
        0 takes a free one; `address` says which.
    drain_s : float, default 30
        How long streams in flight may go on once no more requests are taken, in seconds. Those
        that are not over then end with an error in their own protocol's form.
    linger_s : float, default 0
        How long further requests are taken after `stop`, in seconds, while ``/-/ready`` says that
        none should come: until whoever sends them has noticed.
    tls : tuple of two paths, optional
        Files of the certificate's chain and of its key, in PEM.
    wrap : callable, optional
        ``wrap(proxy)`` is the ASGI application that is served in its place: `Telemetry.asgi`, for
        example.

    Attributes
    ----------
    address : tuple of str and int
        Where it listens, once it does.
    started : asyncio.Event
        Set when it listens.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range; `tls` names no certificate with its key.
    OSError
        A file of `tls` cannot be read. From `serve`: the address cannot be used.

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
        linger_s: float = 0.0,
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        wrap: Callable[[Any], Any] | None = None,
    ) -> None:
        from midstream.stream.proxy.application import Proxy

        if not isinstance(proxy, Proxy):
            raise ArgumentTypeError(f"proxy must be a Proxy, got {type(proxy).__name__}")
        self._proxy = proxy
        self._host = check_text("host", host)
        self._port = check_int("port", port, low=0, high=65535)
        self._drain_s = check_real("drain_s", drain_s, low=0)
        self._linger_s = check_real("linger_s", linger_s, low=0)
        self._tls = tls
        chain, key = check_tls(tls)
        protocol = type("BoundProtocol", (_Protocol,), {"limits": proxy.limits})
        self._server = QuietServer(
            uvicorn.Config(
                proxy if wrap is None else wrap(proxy),
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
                timeout_graceful_shutdown=math.ceil(_LAST_S),
                ssl_certfile=chain,
                ssl_keyfile=key,
            )
        )
        self.address: tuple[str, int] = (host, port)
        self.started = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Listen, and return when all is over after `stop`."""
        with listening(self._host, self._port) as listener:
            self.address = listener.getsockname()[:2]
            self._server.listening = self.started
            await self._server.serve(sockets=[listener])

    def stop(self) -> None:
        """Say that no more requests should come, take none after `linger_s`, end after `drain_s`.

        It ends when the last stream is over. Until then probes and metrics are answered; other
        requests get 503. It can be called before it listens, too; a second call changes nothing.
        """
        if self._proxy.ready:
            self._proxy.retire()
            if self._linger_s:
                loop = asyncio.get_running_loop()
                self._lingering = loop.call_later(self._linger_s, self._drain)
                return
        if self._lingering is None:
            self._drain()

    def renew(self) -> None:
        """Read the files of `tls` again; connections that begin from now on get what they hold.

        Raises
        ------
        ArgumentValueError, OSError
            They hold no certificate with its key, or cannot be read: the old one stays.
        """
        chain, key = check_tls(self._tls)
        context = self._server.config.ssl if self._server.config.loaded else None
        if chain is not None and context is not None:
            context.load_cert_chain(chain, key)

    def cut(self) -> None:
        """End all streams now."""
        if self._lingering is not None:
            self._lingering.cancel()
        self._drain()
        self._proxy.cut()

    def _drain(self) -> None:
        """Take no more requests, and end those in flight when their time is up."""
        self._lingering = None
        self._proxy.drain()
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        """End when all streams are over."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._drain_s
        while self._proxy.metrics.streams_active and loop.time() < ends_s:
            await asyncio.sleep(_LOOK_S)
        self._proxy.cut()
        self._server.should_exit = True


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


#: Of what a peer sent that is no HTTP it is told; who runs the proxy is not: their log would be the
#: peer's to fill.
_ERRORS = logging.Logger("midstream.stream.proxy.serving", logging.ERROR)
_ERRORS.parent = logging.getLogger("midstream.stream.proxy")


class _SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets, which says nothing, and leaves their ends to the proxy."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SILENT
        self.conn.logger = _SILENT
        self.conn.debug = False

    def shutdown(self) -> None:
        """Do nothing: the proxy closes it when its response is over, or when time is up."""


class _Protocol(HeadLimitedProtocol):
    """uvicorn's protocol, with limits, errors in a provider's form, and heads that wait."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _ERRORS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _Joining(transport, self.loop)))

    def refusal(self, status: int, message: str) -> bytes:
        """The body of a refusal."""
        return error_body("chat", status, message)
