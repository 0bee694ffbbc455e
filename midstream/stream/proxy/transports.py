"""Transports for httpx2 clients, and so for the official SDKs: the proxy's work without a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

import httpx2

from midstream._core.clock import monotonic_ns
from midstream._core.errors import ArgumentTypeError
from midstream.stream.proxy.exchanges import (
    Exchange,
    Guarding,
    Inflater,
    RefusalError,
    framing_of,
    in_turns,
    type_of,
)
from midstream.stream.proxy.limits import ProxyLimits
from midstream.stream.proxy.routes import Route, error_body, route_of

if TYPE_CHECKING:
    from midstream.stream.detectors import Detector
    from midstream.stream.events import Finding
    from midstream.stream.policies import PoliciesLike
    from midstream.stream.proxy.bodies import Framing, Rewriter
    from midstream.stream.proxy.rewriting import Ending

__all__ = ["GuardTransport", "SyncGuardTransport"]


T = TypeVar("T", httpx2.AsyncBaseTransport, httpx2.BaseTransport)


class _Both(Generic[T]):
    """What the two transports share: everything but waiting."""

    _kind: ClassVar[type]
    _default: ClassVar[type[Any]]

    def __init__(
        self,
        transport: T | None = None,
        *,
        policies: PoliciesLike = (),
        make_detectors: Callable[[], Iterable[Detector]] | None = None,
        ending: Ending = "filtered",
        limits: ProxyLimits | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        allow_unread: bool = False,
        hold_text: int = 0,
    ) -> None:
        if transport is not None and not isinstance(transport, self._kind):
            raise ArgumentTypeError(
                f"transport must be an httpx2.{self._kind.__name__}, got {_full_name(transport)}"
            )
        self._guarding = Guarding(
            policies=policies,
            make_detectors=make_detectors,
            ending=ending,
            limits=ProxyLimits() if limits is None else limits,
            on_finding=on_finding,
            allow_unread=allow_unread,
            hold_text=hold_text,
        )
        self._inner: T = self._default() if transport is None else transport

    def _check(self, request: Any) -> None:
        """Refuse what is of another library, whose answers would be of the wrong types."""
        if not isinstance(request, httpx2.Request):
            raise ArgumentTypeError(
                f"request must be an httpx2.Request, got {_full_name(request)}: "
                f"{type(self).__name__} is for clients of httpx2, not of the library before it"
            )

    def _check_unread(self, route: Route) -> None:
        if route.unread:
            self._guarding.check_unread(route.unread)

    def _begun(self, request: httpx2.Request, route: Route) -> tuple[Exchange, Iterator[None]]:
        """What the answer is looked at with, and the steps of reading the request first."""
        exchange = Exchange(route, self._guarding, self._guarding.guard())
        encoding = request.headers.get("content-encoding", "")
        steps = exchange.requesting(request.content, encoding)
        # A compressor holds bytes back, and what is compressed must be undone to be read.
        request.headers["accept-encoding"] = "identity"
        return exchange, steps

    def _read(
        self, response: httpx2.Response, exchange: Exchange
    ) -> tuple[Framing, Rewriter, Inflater | None] | None:
        """Say how an answer is to be read; None where it is passed on as it is."""
        headers = response.headers
        status, kind = response.status_code, headers.get("content-type", "")
        framing = framing_of(status, kind)
        if framing is None:
            if status < 300 and headers.get("content-length") != "0":
                self._guarding.check_unread(type_of(kind), 502)
            return None
        encoding = headers.get("content-encoding", "identity").strip().lower()
        inflater = None
        if encoding != "identity":
            if encoding not in Inflater.KNOWN:
                raise RefusalError(
                    502, f"the answer's encoding {encoding!r} cannot be read", reason="encoding"
                )
            inflater = Inflater()
        return framing, exchange.answer(framing), inflater

    def _refused(self, route: Route, error: RefusalError) -> httpx2.Response:
        return httpx2.Response(
            error.status,
            headers={"content-type": "application/json"},
            content=error_body(route.api, error.status, str(error)),
        )


def _kept_headers(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    """Headers of an answer that hold for what it is rewritten to."""
    gone = (b"content-length", b"content-encoding", b"transfer-encoding")
    return [(name, value) for name, value in response.headers.raw if name.lower() not in gone]


class GuardTransport(_Both[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport):
    """An httpx2 transport that guards what models answer; for asynchronous clients.

    Given to an official SDK as the transport of its HTTP client, it does what the proxy does:
    answers pass as they come until a rule acts; then the stream ends in its own protocol's way, or
    a denied tool call is replaced by text.

    Parameters
    ----------
    transport : httpx2.AsyncBaseTransport, optional
        What does the sending; default ``httpx2.AsyncHTTPTransport()``. Closed with this one.
    policies, make_detectors, ending, limits, on_finding, allow_unread, hold_text
        As for `Guarding`.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    Guarded are chat completions, Responses, Anthropic messages, Ollama's and llama.cpp's own
    endpoints, streamed or not; everything else passes unread, or is refused, as for `Proxy`, and
    WebSockets do not come this way. An upstream that breaks off raises what it would raise without.
    Silence is told when it ends: there is no timer here. Some 10 microseconds an event.

    Examples
    --------
    >>> import httpx2
    >>> client = httpx2.AsyncClient(transport=GuardTransport())

    and then ``openai.AsyncOpenAI(http_client=client)``, or ``anthropic.AsyncAnthropic(...)``.
    """

    _kind = httpx2.AsyncBaseTransport
    _default = httpx2.AsyncHTTPTransport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; its answer is guarded where it is a model's."""
        self._check(request)
        route = route_of(request.method, request.url.path)
        if not route.guarded:
            try:
                self._check_unread(route)
            except RefusalError as error:
                return self._refused(route, error)
            return await self._inner.handle_async_request(request)
        begun_ns = monotonic_ns()
        await request.aread()
        try:
            exchange, steps = self._begun(request, route)
            await in_turns(steps, asyncio.Lock())  # of its own: a client may see many loops
            response = await self._inner.handle_async_request(request)
            try:
                read = self._read(response, exchange)
                if read is None:
                    return response
                framing, rewriter, inflater = read
                stream = _AsyncStream(response.stream, rewriter, inflater, begun_ns)
                headers = _kept_headers(response)
                extensions = response.extensions
                if framing != "json":
                    return httpx2.Response(
                        response.status_code, headers=headers, stream=stream, extensions=extensions
                    )
                body = b"".join([piece async for piece in stream])
            except BaseException:
                await response.aclose()
                raise
            await stream.aclose()
        except RefusalError as error:
            return self._refused(route, error)
        return httpx2.Response(
            response.status_code, headers=headers, content=body, extensions=extensions
        )

    async def aclose(self) -> None:
        """Close what does the sending."""
        await self._inner.aclose()

    def handle_request(self, request: Any) -> NoReturn:
        """Refuse: a synchronous client asks.

        Raises
        ------
        ArgumentTypeError
            Always.
        """
        raise ArgumentTypeError(
            "transport must be a SyncGuardTransport in a synchronous client, got a GuardTransport"
        )

    def __enter__(self) -> NoReturn:
        self.handle_request(None)

    def __exit__(self, *_: object) -> None:
        return

    def close(self) -> None:
        """Nothing: a synchronous client, which could send nothing, has nothing to close."""


class SyncGuardTransport(_Both[httpx2.BaseTransport], httpx2.BaseTransport):
    """`GuardTransport` for synchronous clients; parameters, errors and notes are the same.

    Examples
    --------
    >>> import httpx2
    >>> client = httpx2.Client(transport=SyncGuardTransport())
    """

    _kind = httpx2.BaseTransport
    _default = httpx2.HTTPTransport

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; its answer is guarded where it is a model's."""
        self._check(request)
        route = route_of(request.method, request.url.path)
        if not route.guarded:
            try:
                self._check_unread(route)
            except RefusalError as error:
                return self._refused(route, error)
            return self._inner.handle_request(request)
        begun_ns = monotonic_ns()
        request.read()
        try:
            exchange, steps = self._begun(request, route)
            for _ in steps:
                pass
            response = self._inner.handle_request(request)
            try:
                read = self._read(response, exchange)
                if read is None:
                    return response
                framing, rewriter, inflater = read
                stream = _SyncStream(response.stream, rewriter, inflater, begun_ns)
                headers = _kept_headers(response)
                extensions = response.extensions
                if framing != "json":
                    return httpx2.Response(
                        response.status_code, headers=headers, stream=stream, extensions=extensions
                    )
                body = b"".join(stream)
            except BaseException:
                response.close()
                raise
            stream.close()
        except RefusalError as error:
            return self._refused(route, error)
        return httpx2.Response(
            response.status_code, headers=headers, content=body, extensions=extensions
        )

    def close(self) -> None:
        """Close what does the sending."""
        self._inner.close()

    async def handle_async_request(self, request: Any) -> NoReturn:
        """Refuse: an asynchronous client asks.

        Raises
        ------
        ArgumentTypeError
            Always.
        """
        raise ArgumentTypeError(
            "transport must be a GuardTransport in an asynchronous client, got a SyncGuardTransport"
        )

    async def __aenter__(self) -> NoReturn:
        await self.handle_async_request(None)

    async def __aexit__(self, *_: object) -> None:
        return

    async def aclose(self) -> None:
        """Close what does the sending."""
        self.close()


def _full_name(thing: Any) -> str:
    kind = type(thing)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


class _Stream:
    def __init__(
        self, inner: Any, rewriter: Rewriter, inflater: Inflater | None, begun_ns: int
    ) -> None:
        self._inner = inner
        self._rewriter = rewriter
        self._inflater = inflater
        self._begun_ns = begun_ns

    def _fed(self, chunk: bytes) -> Iterator[bytes]:
        """What goes on of a chunk; a chunk that is packed may be a thousand times as long."""
        rewriter = self._rewriter
        pieces = (chunk,) if self._inflater is None else self._inflater.pieces(chunk)
        for piece in pieces:
            out = rewriter.feed(piece, self._now())
            if out:
                yield out
            if rewriter.over:
                return

    def _broken(self, error: BaseException) -> None:
        if isinstance(error, httpx2.HTTPError):
            # Who reads the stream gets the error itself; the guard is told.
            self._rewriter.fail(str(error) or type(error).__name__, self._now())

    def _now(self) -> int:
        return monotonic_ns() - self._begun_ns


class _AsyncStream(_Stream, httpx2.AsyncByteStream):
    """The guarded bytes of an answer."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rewriter = self._rewriter
        try:
            async for chunk in self._inner:
                for out in self._fed(chunk):
                    yield out
                if rewriter.over:
                    break
            else:
                out = rewriter.finish(self._now())
                if out:
                    yield out
        except BaseException as error:
            self._broken(error)
            raise
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        self._rewriter.close()
        await self._inner.aclose()


class _SyncStream(_Stream, httpx2.SyncByteStream):
    """The guarded bytes of an answer."""

    def __iter__(self) -> Iterator[bytes]:
        rewriter = self._rewriter
        try:
            for chunk in self._inner:
                for out in self._fed(chunk):
                    yield out
                if rewriter.over:
                    break
            else:
                out = rewriter.finish(self._now())
                if out:
                    yield out
        except BaseException as error:
            self._broken(error)
            raise
        finally:
            self.close()

    def close(self) -> None:
        self._rewriter.close()
        self._inner.close()
