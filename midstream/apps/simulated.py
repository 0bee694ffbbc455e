"""`SimulatedServer`: an endpoint whose models are simulated, behind limits, health and an end."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvicorn

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_positive_fields, check_real, check_text
from midstream.stream.heads import HeadLimitedProtocol, StuckLimited
from midstream.stream.listening import QuietServer, listening
from midstream.stream.probes import answer_probe
from midstream.stream.simulating import SimulatedEndpoint

__all__ = ["SimulatedServer", "SimulationLimits"]

_Send = Callable[[dict[str, Any]], Awaitable[None]]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_KEEP_ALIVE_S = 75
#: What ended streams may take to send their last bytes, in seconds.
_LAST_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationLimits:
    """Limits of a `SimulatedServer`.

    Parameters
    ----------
    max_streams : int, default 1000
        Requests in flight at once; beyond it 503.
    max_connections : int, default 4096
        Connections, idle ones too; beyond it 503.
    max_header_bytes, max_headers : int, default 32 KiB and 100
        Names and values of a request's headers and its URL together, and their number; beyond
        it 431.
    request_timeout_s : float, default 20
        Until a request is whole; beyond it 408.
    client_timeout_s : float, default 60
        How long a client may take nothing of what is sent to it; beyond it it is cut.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A limit is of the wrong type or not above 0.

    Notes
    -----
    Bodies of requests have at most 16 MiB, answers 100,000 tokens: `SimulatedEndpoint` sees to it.

    Examples
    --------
    >>> SimulationLimits(max_streams=8).max_streams
    8
    """

    max_streams: int = 1000
    max_connections: int = 4096
    max_header_bytes: int = 32 * 1024
    max_headers: int = 100
    request_timeout_s: float = 20.0
    client_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        check_positive_fields(self)


#: That a client went, or that an answer is broken off as was asked for, is not worth a line.
_SILENT = logging.Logger("midstream.apps.simulated")
_SILENT.disabled = True


class _Http(StuckLimited, HeadLimitedProtocol):
    """HTTP/1.1 with limits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SILENT


class SimulatedServer:
    """Serve a `SimulatedEndpoint` over HTTP/1.1 until told to end.

    Parameters
    ----------
    endpoint : SimulatedEndpoint
    host : str, default "127.0.0.1"
    port : int, default 0
        0 takes a free one; `address` says which.
    limits : SimulationLimits, optional
    drain_s : float, default 1
        How long streams may go on after `stop`; then they are cut.

    Attributes
    ----------
    address : tuple of str and int
        Where it listens, once it does.
    started : asyncio.Event
        Set when it listens.
    active : int
        Requests in flight.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    OSError
        From `serve`: the address cannot be used.

    Notes
    -----
    ``/healthz`` and ``/readyz`` say that it runs, and whether it takes requests.

    Examples
    --------
    >>> async def main():
    ...     server = SimulatedServer(SimulatedEndpoint())
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
        endpoint: SimulatedEndpoint,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        limits: SimulationLimits | None = None,
        drain_s: float = 1.0,
    ) -> None:
        if not isinstance(endpoint, SimulatedEndpoint):
            raise ArgumentTypeError(
                f"endpoint must be a SimulatedEndpoint, got {type(endpoint).__name__}"
            )
        self._limits = SimulationLimits() if limits is None else limits
        if not isinstance(self._limits, SimulationLimits):
            raise ArgumentTypeError(f"limits must be SimulationLimits, got {type(limits).__name__}")
        self._endpoint = endpoint
        self._host = check_text("host", host)
        self._port = check_int("port", port, low=0, high=65535)
        self._drain_s = check_real("drain_s", drain_s, low=0)
        self.address: tuple[str, int] = (host, port)
        self.started = asyncio.Event()
        self.active = 0
        self._server = QuietServer(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=type("BoundHttp", (_Http,), {"limits": self._limits}),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(self._drain_s + _LAST_S),
            )
        )

    async def serve(self) -> None:
        """Listen, and return when all is over after `stop`."""
        with listening(self._host, self._port) as listener:
            self.address = listener.getsockname()[:2]
            self._server.listening = self.started
            await self._server.serve(sockets=[listener])

    def stop(self) -> None:
        """Take no more requests, and cut those in flight after `drain_s`."""
        if not self._server.should_exit:
            self._server.should_exit = True
            asyncio.get_running_loop().call_later(self._drain_s, self.cut)

    def cut(self) -> None:
        """Cut all connections at once."""
        self._server.should_exit = True
        self._server.cut()

    async def _answer(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        limits = self._limits
        ready = not self._server.should_exit
        if await answer_probe(scope["method"], scope["path"], send, ready=ready):
            return
        if self.active >= limits.max_streams:
            await _refuse(send, 503, "too many requests at once")
            return
        self.active += 1
        try:
            await self._endpoint(scope, _in_time(receive, limits.request_timeout_s), send)
        except _LateError:  # before anything was answered
            await _refuse(send, 408, "the request did not come")
        finally:
            self.active -= 1


class _LateError(Exception):
    """A request is not whole in time."""


def _in_time(receive: _Receive, timeout_s: float) -> _Receive:
    """Receiving a request that must be whole in time, and then what else comes."""
    loop = asyncio.get_running_loop()
    ends_s: float | None = loop.time() + timeout_s

    async def receiving() -> dict[str, Any]:
        nonlocal ends_s
        try:
            async with asyncio.timeout_at(ends_s):
                message = await receive()
        except TimeoutError:
            raise _LateError from None
        if not message.get("more_body"):
            ends_s = None
        return message

    return receiving


async def _refuse(send: _Send, status: int, message: str) -> None:
    error = {"type": "overloaded_error" if status == 503 else "timeout_error", "message": message}
    body = json.dumps({"type": "error", "error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"1") if status == 503 else (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
