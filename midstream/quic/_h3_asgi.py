"""ASGI applications as HTTP/3 applications."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from midstream._core.errors import ArgumentTypeError, MidstreamError
from midstream.quic._h3_fields import Fields

if TYPE_CHECKING:
    from midstream.quic.http3 import Request, Response, ResponseWriter

__all__ = ["Application", "asgi"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
ASGIApp: TypeAlias = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

#: Version of the protocol (https://asgi.readthedocs.io): 2.4 says that sending to a client that
#: has gone raises OSError, which `StreamStoppedError` is.
_VERSION = {"version": "3.0", "spec_version": "2.4"}


def asgi(app: ASGIApp) -> Application:
    """Make an HTTP/3 application of an ASGI application, such as Starlette's.

    Parameters
    ----------
    app : callable
        An ASGI 3 application: ``await app(scope, receive, send)``.

    Returns
    -------
    Application
        For `serve` and `mount`. `serve` runs the application's lifespan too.

    Raises
    ------
    ArgumentTypeError
        Not callable.

    Notes
    -----
    The scope has type ``http`` and http_version ``3``; trailers are supported
    (``http.response.trailers``), and ``early_data`` among the extensions is there for a request
    that came in 0-RTT data. A CONNECT is refused with status 501.

    Examples
    --------
    >>> async def app(scope, receive, send):
    ...     await send({"type": "http.response.start", "status": 200, "headers": []})
    ...     await send({"type": "http.response.body", "body": b"hello"})
    >>> asgi(app)
    <Application of app>
    """
    if not callable(app):
        raise ArgumentTypeError(f"app must be callable, got {app!r} ({type(app).__name__})")
    return Application(app)


def check_app(app: object) -> None:
    """Raise if `app` cannot be called with a `Request` alone, as an ASGI application cannot."""
    if not callable(app):
        raise ArgumentTypeError(f"app must be callable, got {app!r} ({type(app).__name__})")
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # compiled, and does not say
        return
    try:
        signature.bind(None)
    except TypeError:
        raise ArgumentTypeError(
            f"app takes one Request, and {app!r} does not; around an ASGI application: asgi(app)"
        ) from None


class Application:
    """An ASGI application as an HTTP/3 application; made by `asgi`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._lifespan: asyncio.Task[None] | None = None
        self._to_app: asyncio.Queue[Message] | None = None
        self._from_app: asyncio.Queue[Message] | None = None

    def __repr__(self) -> str:
        return f"<Application of {getattr(self._app, '__name__', type(self._app).__name__)}>"

    async def __call__(self, request: Request) -> Response | None:
        """Answer a request."""
        if request.method == "CONNECT":
            from midstream.quic.http3 import Response

            return Response(501)
        exchange = _Exchange(request)
        await self._app(_scope(request, self._state), exchange.receive, exchange.send)
        if exchange.writer is None:
            raise ArgumentTypeError("app has returned without a response")
        return None

    async def startup(self) -> None:
        """Begin the application's lifespan; one that has none is left alone.

        Raises
        ------
        MidstreamError
            The application says that it cannot start.
        """
        self._to_app, self._from_app = asyncio.Queue(), asyncio.Queue()
        self._lifespan = asyncio.ensure_future(self._run_lifespan())
        await self._to_app.put({"type": "lifespan.startup"})
        answer = await self._answer()
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            await self._end_lifespan()
            raise MidstreamError(f"the application did not start: {answer.get('message', '')}")

    async def shutdown(self) -> None:
        """End the application's lifespan."""
        if self._lifespan is None or self._to_app is None:
            return
        if not self._lifespan.done():
            await self._to_app.put({"type": "lifespan.shutdown"})
            await self._answer()
        await self._end_lifespan()

    async def _run_lifespan(self) -> None:
        assert self._to_app is not None and self._from_app is not None
        scope: Scope = {"type": "lifespan", "asgi": dict(_VERSION), "state": self._state}
        await self._app(scope, self._to_app.get, self._from_app.put)

    async def _answer(self) -> Message | None:
        """Wait for what the application says; None where its lifespan is over instead."""
        assert self._from_app is not None and self._lifespan is not None
        answer = asyncio.ensure_future(self._from_app.get())
        try:
            await asyncio.wait((answer, self._lifespan), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not answer.done():
                answer.cancel()
        return answer.result() if answer.done() and not answer.cancelled() else None

    async def _end_lifespan(self) -> None:
        if self._lifespan is not None:
            self._lifespan.cancel()
            # An application without a lifespan raises when it is asked for one: that is no fault
            # (https://asgi.readthedocs.io/en/latest/specs/lifespan.html).
            await asyncio.wait((self._lifespan,))
            if not self._lifespan.cancelled():
                self._lifespan.exception()
            self._lifespan = None


def _scope(request: Request, state: dict[str, Any]) -> Scope:
    path, _, query = request.path.partition("?")
    headers: Fields = [field for field in request.headers.raw if field[0] != b"host"]
    extensions: dict[str, dict[str, Any]] = {"http.response.trailers": {}}
    if request.early_data:
        extensions["early_data"] = {}
    connection = request.session.connection
    return {
        "type": "http",
        "asgi": dict(_VERSION),
        "http_version": "3",
        "method": request.method,
        "scheme": request.scheme,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        # ASGI wants :authority as the first header, named host.
        "headers": [(b"host", request.authority.encode("latin-1")), *headers],
        "client": _host_port(connection.remote_address),
        "server": _host_port(connection.local_address),
        "state": dict(state),
        "extensions": extensions,
    }


def _host_port(address: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return None if address is None else address[:2]


class _Exchange:
    """The two callables that an ASGI application gets."""

    def __init__(self, request: Request) -> None:
        self.writer: ResponseWriter | None = None
        self._request = request
        self._body_ended = False
        self._response_ended = False
        self._with_trailers = False
        self._trailers: Fields = []
        # The application learns of a client that has gone by message, and is not cancelled.
        request.watch()

    async def receive(self) -> Message:
        if self._body_ended:
            if not self._response_ended:
                await self._request.disconnected()
            return {"type": "http.disconnect"}
        part = await self._request.part()
        if not part:
            self._body_ended = True
        return {"type": "http.request", "body": part, "more_body": not self._body_ended}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self.writer is None:
            self._with_trailers = bool(message.get("trailers"))
            headers = [
                field
                for field in ((bytes(name), bytes(value)) for name, value in message["headers"])
                # Applications written for HTTP/1.1 send these; HTTP/3 has none of them.
                if field[0].lower()
                not in (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade")
            ]
            self.writer = await self._request.respond(message["status"], headers)
        elif kind == "http.response.body" and self.writer is not None:
            await self.writer.write(message.get("body", b""))
            if not message.get("more_body") and not self._with_trailers:
                await self._end()
        elif kind == "http.response.trailers" and self.writer is not None:
            self._trailers += [(bytes(name), bytes(value)) for name, value in message["headers"]]
            if not message.get("more_trailers"):
                await self._end()
        else:
            raise ArgumentTypeError(f"app must not send {kind!r} now")

    async def _end(self) -> None:
        assert self.writer is not None
        self._response_ended = True
        await self.writer.finish(self._trailers)
