"""`HealthServer`: health, readiness and counters of a program that speaks no HTTP itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from midstream._core.validate import check_callback, check_int, check_text
from midstream.apps.extras import needs_extra
from midstream.apps.telling import url_host
from midstream.stream.probes import answer_probe
from midstream.stream.telemetry import CONTENT_TYPE, Family, exposition, server_families

if TYPE_CHECKING:
    import socket

__all__ = ["HealthServer"]

_KEEP_ALIVE_S = 30


@dataclass(frozen=True, slots=True)
class _Limits:
    """Few ask, and little."""

    max_connections: int = 64
    max_header_bytes: int = 16 * 1024
    max_headers: int = 64
    request_timeout_s: float = 5.0


class HealthServer:
    """Answers ``/healthz``, ``/readyz`` and ``/metrics`` over HTTP, within ``async with``.

    Parameters
    ----------
    host : str
    port : int
        0 takes a free one; `address` says which.
    ready : callable
        Whether work may be sent to the program.
    families : callable, optional
        Lists what it counts, as `Family`; the version and `ready` are in ``/metrics`` anyway.

    Attributes
    ----------
    address : tuple of str and int
        Where it listens.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    ImportError
        The extra ``serve`` is not installed.
    OSError
        When entered: the address cannot be used.

    Notes
    -----
    At most 64 connections; a request must come within 5 seconds, with a head of at most 16 KiB.
    No token is asked for: counters name no stream and no peer.

    Examples
    --------
    >>> import asyncio, urllib.request
    >>> async def main():
    ...     async with HealthServer("127.0.0.1", 0, ready=lambda: True) as health:
    ...         answer = await asyncio.to_thread(urllib.request.urlopen, health.url + "/readyz")
    ...         return answer.status, answer.read()
    >>> asyncio.run(main())
    (200, b'{"status": "ok"}')
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ready: Callable[[], bool],
        families: Callable[[], Iterable[Family]] = tuple,
    ) -> None:
        with needs_extra("serve"):
            import uvicorn

            from midstream.stream.heads import HeadLimitedProtocol
            from midstream.stream.listening import QuietServer
        self._host = check_text("host", host)
        self._port = check_int("port", port, low=0, high=65535)
        check_callback("ready", ready)
        check_callback("families", families)
        self._ready = ready
        self._families = families
        self.address: tuple[str, int] = (host, port)
        self._exits = contextlib.ExitStack()
        self._serving: asyncio.Task[None] | None = None
        self._server = QuietServer(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=type("BoundHttp", (HeadLimitedProtocol,), {"limits": _Limits()}),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            )
        )

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{url_host(self.address[0])}:{self.address[1]}"

    async def __aenter__(self) -> Self:
        """Listen."""
        from midstream.stream.listening import listening

        with contextlib.ExitStack() as exits:
            listener: socket.socket = exits.enter_context(listening(self._host, self._port))
            self.address = listener.getsockname()[:2]
            serving = asyncio.create_task(self._server.serve(sockets=[listener]))
            begun = asyncio.create_task(self._server.listening.wait())
            await asyncio.wait((serving, begun), return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            if serving.done():
                serving.result()
            self._serving = serving
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of who asks, and close."""
        with self._exits:
            assert self._serving is not None
            self._server.should_exit = True
            await self._serving

    async def _answer(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path, method = scope["path"], scope["method"]
        if await answer_probe(method, path, send, ready=self._ready()):
            return
        status, kind, body = 404, "application/json", b'{"error": "not found"}'
        if path == "/metrics" and method in ("GET", "HEAD"):
            families = [*server_families(ready=self._ready()), *self._families()]
            status, kind, body = 200, CONTENT_TYPE, exposition(families).encode()
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
