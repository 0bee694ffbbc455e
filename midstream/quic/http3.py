"""HTTP/3 client and server (RFC 9114) on QUIC connections, with priorities and tunnels.

A request is one stream: bodies stream both ways, and whoever writes waits when the other side does
not read. A malformed message ends its own stream; only what the RFC says ends the connection.

Examples
--------
>>> import asyncio
>>> from midstream.quic import Config, Identity, http3
>>> async def app(request):
...     return http3.Response(200, {"content-type": "text/plain"}, b"hello " + await request.read())
>>> async def main():
...     identity = Identity.development()
...     async with http3.serve(app, "127.0.0.1", 0, config=Config(identity=identity)) as server:
...         host, port = server.address[:2]
...         trust = Config(ca=identity.pem)
...         async with http3.connect(f"https://{host}:{port}", config=trust) as client:
...             response = await client.request("POST", "/", body=b"world")
...             return response.status, await response.read()
>>> asyncio.run(main())
(200, b'hello world')
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    QuicError,
    StreamStoppedError,
)
from midstream._core.validate import check_int, check_text
from midstream._core.words import counted
from midstream.quic import _h3_frames as frames
from midstream.quic._h3_asgi import Application, asgi, check_app
from midstream.quic._h3_errors import ConnectionFault, Http3Error, Http3ErrorCode, StreamFault
from midstream.quic._h3_fields import (
    Fields,
    Headers,
    HeadersLike,
    RequestHead,
    check_request,
    check_response,
    check_sent,
    field_section_size,
)
from midstream.quic._h3_messages import Body, MessageReader, MessageWriter, Tunnel
from midstream.quic._h3_session import CHUNK, Transactions, overridden
from midstream.quic._waiters import Pending
from midstream.quic.config import Config
from midstream.quic.priority import Priority

if TYPE_CHECKING:
    from midstream.quic.connection import Connection
    from midstream.quic.serving import Server
    from midstream.quic.streams import Stream

__all__ = [
    "Application",
    "Headers",
    "Http3Error",
    "Http3ErrorCode",
    "Http3Server",
    "Request",
    "Response",
    "ResponseWriter",
    "Session",
    "Tunnel",
    "asgi",
    "connect",
    "mount",
    "serve",
]

#: Longest wait for the fields of a request whose stream is open, in seconds.
_HEAD_TIMEOUT_S = 30.0
#: Interim responses to one request; a server that sends more has a fault.
_INTERIM_LIMIT = 32
#: Body that `read` takes unless told otherwise: 64 MiB.
_READ_LIMIT = 64 << 20
#: Methods that change nothing, and so may be replayed (RFC 9110, section 9.2.1).
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

App = Callable[["Request"], Awaitable["Response | None"]]


class Response:
    """A response: made by an application on the server, received by a client.

    Parameters
    ----------
    status : int, default 200
        200 to 599.
    headers : mapping or pairs, optional
        Names and values, str or bytes. ``content-length`` is added to a body of bytes.
    body : bytes or async iterable of bytes, default b""
        Whole, or in parts; each part leaves at once.
    trailers : mapping or pairs, optional
        Sent after the body; may be set while the body is being produced.

    Attributes
    ----------
    status : int
        The status.
    headers : Headers
        The header fields.
    trailers : Headers
        The trailer fields; on a client, complete when the body was read.
    interim : tuple of (int, Headers)
        Interim responses (1xx) that came before, such as 103 with early hints.

    Notes
    -----
    On a client, iterate over it for the body as it comes, or `read` it; `close` it, or use
    ``async with``, where the body is not read to its end. Used from the event loop's thread only.

    Examples
    --------
    >>> Response(404, {"content-type": "text/plain"}, b"no such page").headers["content-type"]
    'text/plain'
    """

    def __init__(
        self,
        status: int = 200,
        headers: HeadersLike | None = None,
        body: Body = b"",
        trailers: HeadersLike | None = None,
    ) -> None:
        self.status = check_int("status", status, low=200, high=599)
        self.headers = Headers(check_sent("headers", headers))
        self.trailers = Headers(check_sent("trailers", trailers))
        self.interim: tuple[tuple[int, Headers], ...] = ()
        self.body = _check_body(body)
        self._reader: MessageReader | None = None
        self._exchange: _Exchange | None = None

    @classmethod
    def too_early(cls) -> Response:
        """Refuse a request in early data, so that the client sends it again (RFC 8470)."""
        return cls(425)

    @classmethod
    def _received(
        cls,
        status: int,
        headers: Headers,
        interim: list[tuple[int, Headers]],
        exchange: _Exchange,
    ) -> Response:
        self = cls.__new__(cls)
        self.status = status
        self.headers = headers
        self.trailers = Headers()
        self.interim = tuple(interim)
        self.body = self._parts()
        self._reader = exchange.reader
        self._exchange = exchange
        return self

    @property
    def stream_id(self) -> int:
        """The stream of a received response; -1 for one that was made here."""
        return -1 if self._reader is None else self._reader.stream.stream_id

    def __repr__(self) -> str:
        return f"Response({self.status}, {self.headers!r})"

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        if self._reader is None:
            if isinstance(self.body, (bytes, bytearray, memoryview)):
                if len(self.body):
                    yield bytes(self.body)
            else:
                async for part in self.body:
                    yield part
            return
        while part := await self._part():
            yield part

    async def _part(self) -> bytes:
        assert self._reader is not None and self._exchange is not None
        try:
            part = await self._reader.part()
        except asyncio.CancelledError:
            # Nobody may be left to close it, and what it has not sent yet would take up streams
            # and windows until the connection ends.
            code = Http3ErrorCode.H3_REQUEST_CANCELLED
            error = Http3Error("reading was cancelled", code=code, stream_id=self.stream_id)
            self._reader.fail(error, code)
            self._exchange.cancel(code)
            raise
        except BaseException:
            self._exchange.end()
            raise
        if not part:
            self.trailers = self._reader.trailers
            self._exchange.end()
        return part

    async def read(self, limit: int = _READ_LIMIT) -> bytes:
        """Read the rest of the body.

        Parameters
        ----------
        limit : int, default 64 MiB
            Most bytes to accept.

        Raises
        ------
        Http3Error
            The server gave it up, sent something malformed, or more than `limit` bytes
            (H3_EXCESSIVE_LOAD; the rest is refused).
        ConnectionClosedError, QuicTimeoutError
            The connection ended.
        """
        try:
            return await _join(self._parts(), limit)
        except StreamFault as fault:
            await self.close(fault.code)
            raise Http3Error(str(fault), code=fault.code, stream_id=self.stream_id) from None

    def reprioritise(self, priority: Priority) -> None:
        """Ask the server to send the rest of this response with another priority (RFC 9218).

        Raises
        ------
        ArgumentTypeError
            Not a `Priority`.
        ArgumentValueError
            Not a received response.
        """
        if self._exchange is None:
            raise ArgumentValueError("only a received response can be given another priority")
        self._exchange.session.reprioritise(self.stream_id, priority)

    async def close(self, code: int = Http3ErrorCode.H3_REQUEST_CANCELLED) -> None:
        """Take no more of a received response; nothing happens where it was read to its end."""
        if self._exchange is not None:
            self._exchange.cancel(code)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Request:
    """A request that a server received; its body may still be on its way.

    Made by the server. Iterate over it for the body as it comes, or `read` it; what is not read
    is refused when the response is complete. Used from the event loop's thread only.

    Attributes
    ----------
    method, scheme, authority, path : str
        Control data; `path` with its query, empty for a plain CONNECT.
    protocol : str or None
        ``:protocol`` of an extended CONNECT, such as ``webtransport`` (RFC 9220).
    headers : Headers
        Header fields.
    trailers : Headers
        Trailer fields, complete when the body was read.
    early_data : bool
        Whether it came, at least in part, in 0-RTT data, which an attacker may have sent again.
    session : Session
        The connection's HTTP/3 session.
    """

    def __init__(self, session: Session, head: RequestHead, reader: MessageReader) -> None:
        self.session = session
        self.method = head.method
        self.scheme = head.scheme
        self.authority = head.authority
        self.path = head.path
        self.protocol = head.protocol
        self.headers = head.headers
        self.early_data: bool = bool(reader.stream.early)
        self.content_length = head.content_length
        self._reader = reader
        self._writer: ResponseWriter | None = None
        self._aborted = False
        self._gone = asyncio.Event()
        # Whether the handler waits for `disconnected` itself, and so is not cancelled.
        self._watches = False

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.authority}{self.path}>"

    @property
    def stream_id(self) -> int:
        """The request's stream."""
        return self._reader.stream.stream_id

    @property
    def priority(self) -> Priority:
        """What the client asked for, or the response says itself, by header or frame (RFC 9218).

        A member that the response names is the server's own: no later PRIORITY_UPDATE changes it.
        """
        return self._reader.stream.priority

    @property
    def trailers(self) -> Headers:
        """Trailer fields, complete when the body was read."""
        return self._reader.trailers

    @property
    def is_safe(self) -> bool:
        """Whether the method changes nothing, so that a replay in early data does no harm."""
        return self.method in _SAFE_METHODS

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        while part := await self._reader.part():
            yield part

    async def read(self, limit: int = _READ_LIMIT) -> bytes:
        """Read the rest of the body.

        Parameters
        ----------
        limit : int, default 64 MiB
            Most bytes to accept.

        Raises
        ------
        Http3Error
            The client gave it up, sent something malformed, or more than `limit` bytes
            (H3_EXCESSIVE_LOAD: answered with status 413 if the application lets it pass).
        """
        try:
            return await _join(self._parts(), limit)
        except StreamFault as fault:
            self._reader.stop(Http3ErrorCode.H3_NO_ERROR)
            raise Http3Error(str(fault), code=fault.code, stream_id=self.stream_id) from None

    async def part(self) -> bytes:
        """Read the next part of the body, as it arrived; empty at its end.

        Raises
        ------
        Http3Error
            As of `read`.
        """
        return await self._reader.part()

    def watch(self) -> None:
        """Say that the handler waits for `disconnected` itself: it is not cancelled then."""
        self._watches = True

    async def disconnected(self) -> None:
        """Wait until the client wants no response any more, or the connection ended.

        A handler that waits for this, or did, is not cancelled then; one that never does is.
        """
        self.watch()
        await self._gone.wait()

    def _is_answered(self) -> bool:
        """Whether the whole response was given, and nobody broke it off."""
        writer = self._writer
        return writer is not None and writer._finished and writer.stream.stopped_code is None

    async def inform(self, status: int, headers: HeadersLike | None = None) -> None:
        """Send an interim response, such as 103 with early hints.

        Parameters
        ----------
        status : int
            100 to 199, except 101.
        headers : mapping or pairs, optional
            Header fields.
        """
        check_int("status", status, low=100, high=199)
        if status == 101:
            raise ArgumentValueError(f"status must not be 101 in HTTP/3, got {status!r}")
        self._check_unanswered()
        writer = MessageWriter(self.session, self._reader.stream)
        writer.fields([(b":status", b"%d" % status), *check_sent("headers", headers)])
        await writer.stream.drain()

    async def respond(
        self, status: int = 200, headers: HeadersLike | None = None
    ) -> ResponseWriter:
        """Begin the response now and write its body by hand; the handler then returns None.

        Parameters
        ----------
        status : int, default 200
            200 to 599.
        headers : mapping or pairs, optional
            Header fields.

        Raises
        ------
        ArgumentValueError
            Answered already.
        """
        check_int("status", status, low=200, high=599)
        fields = check_sent("headers", headers)
        self._check_unanswered()
        self._writer = ResponseWriter(self, status, fields)
        return self._writer

    async def accept(self, status: int = 200, headers: HeadersLike | None = None) -> Tunnel:
        """Accept a CONNECT, plain or extended; the handler then returns None when it is over.

        Parameters
        ----------
        status : int, default 200
            200 to 299.
        headers : mapping or pairs, optional
            Header fields of the response.

        Raises
        ------
        ArgumentValueError
            Not a CONNECT, or answered already.
        """
        check_int("status", status, low=200, high=299)
        if self.method != "CONNECT":
            raise ArgumentValueError(f"only a CONNECT can be accepted, got {self.method!r}")
        writer = await self.respond(status, headers)
        await writer.stream.drain()
        return Tunnel(self.session, self._reader, self.headers)

    def abort(self, code: int = Http3ErrorCode.H3_REQUEST_REJECTED) -> None:
        """End the request without a response; the handler then returns None.

        Parameters
        ----------
        code : int, default H3_REQUEST_REJECTED
            What the client is told. The default promises that nothing was done, so that the client
            may send the request again (RFC 9114, section 4.1.1).
        """
        self._aborted = True
        self._reader.give_up(code)

    def _check_unanswered(self) -> None:
        if self._writer is not None:
            raise ArgumentValueError(f"{self!r} was answered already")


class ResponseWriter:
    """A response whose body is written by hand; made by `Request.respond`."""

    def __init__(self, request: Request, status: int, fields: Fields) -> None:
        self.stream: Stream = request._reader.stream
        self._message = MessageWriter(request.session, self.stream)
        self._has_body = request.method != "HEAD" and status not in (204, 304)
        self._finished = False
        _merge_priority(request.session, self.stream, fields)
        self._message.fields([(b":status", b"%d" % status), *fields])
        self._status = status

    def __repr__(self) -> str:
        state = "finished" if self._finished else "open"
        return f"<ResponseWriter {self._status}, {state}, stream {self.stream.stream_id}>"

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a part of the body now; wait while the client does not read.

        Raises
        ------
        StreamStoppedError
            The client wants no more.
        """
        if len(data) and self._has_body:
            await self._message.part(data)

    async def finish(self, trailers: HeadersLike | None = None) -> None:
        """Say that the response is complete, with trailers if any."""
        if not self._finished:
            self._finished = True
            fields = check_sent("trailers", trailers)
            if fields:
                self._message.fields(fields)
            self._message.finish()

    async def _body(self, response: Response) -> None:
        expected = response.headers.get("content-length")
        if self._has_body:
            length = int(expected) if expected is not None and expected.isdigit() else None
            await self._message.body("body", response.body, length)
        await self.finish(response.trailers)


class _Exchange:
    """A client's request and response on one stream, until both are over."""

    def __init__(self, session: Session, stream: Stream) -> None:
        self.session = session
        self.stream = stream
        self.reader = MessageReader(session, stream)
        self.writer = MessageWriter(session, stream)
        self._tracked = session.tracked(stream)
        self._tracked.__enter__()
        self._upload: asyncio.Task[None] | None = None
        self._ended = False
        session._exchanges[stream.stream_id] = self

    def upload(self, body: Body, expected: int | None, trailers: Fields) -> None:
        """Send the body in the background: the response may come before its end."""
        self._upload = self.session.spawn(self._send(body, expected, trailers))

    async def _send(self, body: Body, expected: int | None, trailers: Fields) -> None:
        try:
            await self.writer.body("body", body, expected)
            if trailers:
                self.writer.fields(trailers)
            self.writer.finish()
        except StreamStoppedError as error:
            # A server may answer without the rest of the body (RFC 9114, section 4.1).
            if error.code != Http3ErrorCode.H3_NO_ERROR:
                self.stream.reset(Http3ErrorCode.H3_REQUEST_CANCELLED)
        except QuicError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the body raises is its caller's
            self.reader.fail(error, Http3ErrorCode.H3_REQUEST_CANCELLED)

    def end(self) -> None:
        """Forget it: the response was read, or has failed."""
        if not self._ended:
            self._ended = True
            self.session._exchanges.pop(self.stream.stream_id, None)
            self.reader.release()
            self._tracked.__exit__()

    def cancel(self, code: int) -> None:
        """Give it up, unless it is over."""
        if self._ended:
            return
        if self._upload is not None:
            self._upload.cancel()
        self.reader.give_up(code)
        self.end()


class Session(Transactions):
    """HTTP/3 on one connection: a client, or what a server has for each of its clients.

    Made by `connect`, `serve` and `mount`. ``async with`` closes the connection at the end. Used
    from the event loop's thread only.

    Parameters
    ----------
    connection : Connection
        A connection whose protocol is ``h3``.
    app : async callable, optional
        Answers requests: takes a `Request`, returns a `Response`, or None where it has answered
        by `Request.respond` or `Request.accept`.
    authority : str, optional
        ``:authority`` of requests unless they say otherwise.
    settings : mapping of int to int, optional
        Further settings to send.
    any_early : bool, default False
        Whether the application takes requests in early data that change something, too.

    Notes
    -----
    Source: RFC 9114, RFC 9204, RFC 9218, RFC 9220, RFC 9297.
    """

    def __init__(
        self,
        connection: Connection,
        app: App | None = None,
        *,
        authority: str = "",
        settings: Mapping[int, int] | None = None,
        any_early: bool = False,
    ) -> None:
        super().__init__(connection, settings)
        self.authority = authority
        self._app = app
        self._any_early = any_early
        self._exchanges: dict[int, _Exchange] = {}
        self._requests: dict[int, tuple[Request, asyncio.Task[None]]] = {}

    def __repr__(self) -> str:
        side = "client" if self.is_client else "server"
        state = "closed" if self.closed else "going away" if self.going_away else "open"
        return f"<Session {side}, {state}, {len(self._open)} requests, {self.connection!r}>"

    # ------------------------------------------------------------------ client

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: HeadersLike | None = None,
        body: Body | None = None,
        trailers: HeadersLike | None = None,
        authority: str | None = None,
        scheme: str = "https",
        priority: Priority | None = None,
    ) -> Response:
        """Send a request and wait for the fields of its response.

        Parameters
        ----------
        method, path : str
            Such as ``"GET"`` and ``"/search?q=x"``.
        headers : mapping or pairs, optional
            Names and values, str or bytes.
        body : bytes or async iterable of bytes, optional
            Whole, or in parts, each sent at once; sent while the response may already come.
        trailers : mapping or pairs, optional
            Sent after the body.
        authority : str, optional
            ``host:port`` that is asked for; that of the connection by default.
        scheme : str, default "https"
            Scheme of the URI.
        priority : Priority, optional
            How urgent the response is (RFC 9218), and the request's own bytes with it.

        Returns
        -------
        Response
            Its body may still be on its way: iterate over it, or `Response.read` it.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument that no request can carry, or fields larger than the server takes.
        Http3Error
            The server refused it (`Http3Error.retriable` tells whether it may be sent again),
            gave it up, or answered with something malformed.
        ConnectionClosedError, QuicTimeoutError
            The connection ended.

        Notes
        -----
        Cancelling the call cancels the request. Waits while the server allows no more streams.
        """
        check_text("method", method)
        check_text("path", path)
        fields = self._request_fields(method, path, scheme, authority, headers, priority)
        after = check_sent("trailers", trailers)
        length = None
        if body is not None:
            body = _check_body(body)
            if isinstance(body, (bytes, bytearray, memoryview)):
                length = memoryview(body).nbytes
            given = [value for name, value in fields if name == b"content-length"]
            if given:
                length = int(given[0]) if given[0].isdigit() else length
            elif length is not None:
                fields.append((b"content-length", b"%d" % length))
        early = self.connection.early
        response = await self._exchange(method, fields, body, length, after, priority)
        if response.status == 425 and early and (body is None or isinstance(body, bytes)):
            # A server that does not want it in early data takes it afterwards (RFC 8470).
            await response.read()
            await self.connection.handshake_complete()
            response = await self._exchange(method, fields, body, length, after, priority)
        return response

    async def _exchange(
        self,
        method: str,
        fields: Fields,
        body: Body | None,
        length: int | None,
        trailers: Fields,
        priority: Priority | None,
    ) -> Response:
        exchange = await self._open_exchange(fields, priority)
        try:
            is_whole = body is None or (isinstance(body, bytes) and length == len(body) <= CHUNK)
            if is_whole:
                # Where it answers before the request is complete, the answer says why.
                with contextlib.suppress(StreamStoppedError):
                    if body:
                        assert isinstance(body, bytes)
                        await exchange.writer.part(body)
                    if trailers:
                        exchange.writer.fields(trailers)
                    exchange.writer.finish()
            else:
                assert body is not None
                exchange.upload(body, length, trailers)
            return await self._response(exchange, method)
        except BaseException:
            exchange.cancel(Http3ErrorCode.H3_REQUEST_CANCELLED)
            raise

    async def connect_tunnel(
        self,
        path: str = "",
        *,
        protocol: str | None = None,
        headers: HeadersLike | None = None,
        authority: str | None = None,
        scheme: str = "https",
        priority: Priority | None = None,
    ) -> Tunnel:
        """Open a tunnel: a CONNECT, extended by `protocol` (RFC 9220).

        Parameters
        ----------
        path : str
            Path of an extended CONNECT; empty for a plain one.
        protocol : str, optional
            Such as ``"webtransport"``.
        headers, authority, scheme, priority
            As of `request`.

        Returns
        -------
        Tunnel
            Its `Tunnel.headers` are those of the response.

        Raises
        ------
        Http3Error
            The server does not offer extended CONNECT, refused it (the message has the status),
            or answered with something malformed.
        ArgumentTypeError, ArgumentValueError, ConnectionClosedError, QuicTimeoutError
            As of `request`.
        """
        if protocol is not None:
            check_text("protocol", protocol)
            settings = await self.settings_received()
            if not settings.get(frames.ENABLE_CONNECT_PROTOCOL):
                raise Http3Error(
                    f"the server does not offer extended CONNECT, which {protocol!r} needs",
                    code=Http3ErrorCode.H3_CONNECT_ERROR,
                )
        fields = self._request_fields(
            "CONNECT", path, scheme, authority, headers, priority, protocol
        )
        exchange = await self._open_exchange(fields, priority)
        try:
            response = await self._response(exchange, "CONNECT")
        except BaseException:
            exchange.cancel(Http3ErrorCode.H3_REQUEST_CANCELLED)
            raise
        if not 200 <= response.status < 300:
            exchange.cancel(Http3ErrorCode.H3_REQUEST_CANCELLED)
            raise Http3Error(
                f"CONNECT to {authority or self.authority}{path} was answered with status "
                f"{response.status}",
                code=Http3ErrorCode.H3_CONNECT_ERROR,
                stream_id=exchange.stream.stream_id,
            )
        return Tunnel(self, exchange.reader, response.headers, exchange.end)

    def reprioritise(self, stream_id: int, priority: Priority) -> None:
        """Ask the server to send a response with another priority (RFC 9218, section 7).

        Parameters
        ----------
        stream_id : int
            The request's stream.
        priority : Priority
            The new one.
        """
        if not isinstance(priority, Priority):
            raise ArgumentTypeError(
                f"priority must be a Priority, got {priority!r} ({type(priority).__name__})"
            )
        payload = frames.encode_varint(stream_id) + priority.header().encode()
        self.write_control(frames.encode_frame(frames.PRIORITY_UPDATE_REQUEST, payload))
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.stream.set_priority(priority)

    def _request_fields(
        self,
        method: str,
        path: str,
        scheme: str,
        authority: str | None,
        headers: HeadersLike | None,
        priority: Priority | None,
        protocol: str | None = None,
    ) -> Fields:
        if not self.is_client:
            raise ArgumentValueError("this session is a server's: only clients send requests")
        target = self.authority if authority is None else check_text("authority", authority)
        fields: Fields = [(b":method", method.encode("latin-1", "replace"))]
        if protocol is not None:
            fields.append((b":protocol", protocol.encode("latin-1", "replace")))
        if method != "CONNECT" or protocol is not None:
            fields.append((b":scheme", check_text("scheme", scheme).encode("latin-1", "replace")))
        fields.append((b":authority", target.encode("latin-1", "replace")))
        if method != "CONNECT" or protocol is not None:
            fields.append((b":path", path.encode("latin-1", "replace")))
        sent = check_sent("headers", headers)
        if priority is not None:
            if not isinstance(priority, Priority):
                raise ArgumentTypeError(
                    f"priority must be a Priority, got {priority!r} ({type(priority).__name__})"
                )
            if priority.header():
                sent.append((b"priority", priority.header().encode()))
        if not any(name == b"user-agent" for name, _ in sent):
            sent.append((b"user-agent", b"midstream"))
        fields += sent
        try:
            check_request(fields, extended_connect=True)
        except StreamFault as fault:
            raise ArgumentValueError(f"no request can carry this: {fault}") from None
        limit = self.peer_settings.get(frames.MAX_FIELD_SECTION_SIZE)
        if limit is not None and field_section_size(fields) > limit:
            raise ArgumentValueError(
                f"headers take {field_section_size(fields)} bytes, the server accepts {limit}"
            )
        return fields

    async def _open_exchange(self, fields: Fields, priority: Priority | None) -> _Exchange:
        self._check_open()
        stream = await self.connection.open_bi(priority=priority or Priority())
        try:
            self._check_open()
        except Http3Error:
            stream.abort(Http3ErrorCode.H3_REQUEST_CANCELLED)
            raise
        exchange = _Exchange(self, stream)
        try:
            exchange.writer.fields(fields)
        except ConnectionFault as fault:
            exchange.end()
            raise self.fail(fault) from None
        except BaseException:
            exchange.cancel(Http3ErrorCode.H3_REQUEST_CANCELLED)
            raise
        return exchange

    def _check_open(self) -> None:
        if self.error is not None:
            raise self.error
        if self.going_away:
            raise Http3Error(
                "the connection is going away and takes no more requests",
                code=Http3ErrorCode.H3_REQUEST_REJECTED,
            )

    async def _response(self, exchange: _Exchange, method: str) -> Response:
        reader = exchange.reader
        interim: list[tuple[int, Headers]] = []
        try:
            while True:
                fields = await reader.fields()
                if fields is None:
                    raise StreamFault(
                        Http3ErrorCode.H3_MESSAGE_ERROR, "the stream ended without a response"
                    )
                head = check_response(fields)
                if head.status >= 200:
                    break
                if len(interim) >= _INTERIM_LIMIT:
                    raise StreamFault(
                        Http3ErrorCode.H3_EXCESSIVE_LOAD,
                        f"more than {_INTERIM_LIMIT} interim responses",
                    )
                interim.append((head.status, head.headers))
        except (StreamFault, ConnectionFault, QuicError) as error:
            told = reader.error_of(error)
            exchange.end()
            raise told from None
        is_tunnel = method == "CONNECT" and head.status < 300
        length = head.content_length
        if method == "HEAD" or head.status in (204, 304):
            length = 0  # whatever the field says, it is of another response
        reader.begin_body(length, is_tunnel=is_tunnel)
        return Response._received(head.status, head.headers, interim, exchange)

    def _take_goaway_id(self, identifier: int) -> None:
        if not self.is_client:
            return
        for stream_id, exchange in list(self._exchanges.items()):
            if stream_id >= identifier:
                error = Http3Error(
                    f"the server goes away and will not serve stream {stream_id}",
                    code=Http3ErrorCode.H3_REQUEST_REJECTED,
                    stream_id=stream_id,
                    by_peer=True,
                )
                exchange.reader.fail(error, Http3ErrorCode.H3_REQUEST_CANCELLED)
                exchange.end()

    # ------------------------------------------------------------------ server

    async def _take_request(self, stream: Stream, first: int | None, prioritised: bool) -> None:
        reader = MessageReader(self, stream, first)
        try:
            await self._serve_request(stream, reader, prioritised)
        finally:
            reader.release()

    async def _serve_request(
        self, stream: Stream, reader: MessageReader, prioritised: bool
    ) -> None:
        # Streams that the client opens and resets are gone for QUIC before their handlers are.
        if len(self._requests) > self.connection.config.max_streams_bidi:
            reader.give_up(Http3ErrorCode.H3_REQUEST_REJECTED)
            return
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                fields = await reader.fields()
            if fields is None:
                raise StreamFault(
                    Http3ErrorCode.H3_REQUEST_INCOMPLETE, "the stream ended without a request"
                )
            head = check_request(fields, extended_connect=True)
        except TimeoutError:
            reader.give_up(Http3ErrorCode.H3_REQUEST_REJECTED)
            return
        except StreamFault as fault:
            if fault.code == Http3ErrorCode.H3_EXCESSIVE_LOAD:
                self._refuse(reader, 431)
            else:
                reader.error_of(fault)
            return
        except QuicError as error:
            reader.error_of(error)
            reader.give_up(Http3ErrorCode.H3_REQUEST_CANCELLED)
            return
        reader.begin_body(head.content_length, is_tunnel=head.method == "CONNECT")
        if not prioritised and stream.stream_id not in self._updated and "priority" in head.headers:
            # A hint that cannot be read is none (RFC 9218, section 4).
            with contextlib.suppress(ArgumentValueError):
                stream.set_priority(Priority.parse(head.headers["priority"]))
        request = Request(self, head, reader)
        if request.early_data and not request.is_safe and not self._any_early:
            self._refuse(reader, 425)
            return
        await self._answer(request)

    def _refuse(self, reader: MessageReader, status: int) -> None:
        """Answer without the application, and take no more of the request."""
        MessageWriter(self, reader.stream).fields([(b":status", b"%d" % status)])
        reader.stream.finish()
        reader.stop(Http3ErrorCode.H3_NO_ERROR)

    async def _answer(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        stream = request._reader.stream
        self._requests[stream.stream_id] = (request, task)
        # A future and no task: most requests end before anybody needs to know.
        over = stream._sending_over()
        over.add_done_callback(lambda _: self._sending_over(request, task))
        try:
            await self._run_app(request)
        except asyncio.CancelledError:
            if not request._gone.is_set() or self.closed:
                raise
            task.uncancel()
            request._reader.give_up(Http3ErrorCode.H3_REQUEST_CANCELLED)
            return
        except ConnectionFault:
            raise
        except Exception as error:  # noqa: BLE001 - an application's fault ends its own request
            gone = self.closed or request._reader.failed or stream.stopped_code is not None
            if gone and isinstance(error, QuicError):  # what the client did, and not a fault
                request._reader.give_up(Http3ErrorCode.H3_REQUEST_CANCELLED)
                return
            self.report(f"the application failed on {request!r}", error)
            if not request._is_answered():
                self._failed(request, 500)
                return
            # Such as a framework that answers with a page of its own and raises then.
        finally:
            del self._requests[stream.stream_id]
            request._gone.set()
        request._reader.stop(Http3ErrorCode.H3_NO_ERROR)
        # It counts as open until the client has it: a close would throw the rest away.
        await stream.wait_acked()

    async def _run_app(self, request: Request) -> None:
        assert self._app is not None
        try:
            response = await self._app(request)
        except Http3Error as error:
            if error.code != Http3ErrorCode.H3_EXCESSIVE_LOAD or request._reader.failed:
                raise
            self._failed(request, 413)
            return
        if request._aborted:
            return
        if response is None:
            if request._writer is None:
                raise ArgumentTypeError("app must return a Response where it has not answered")
            await request._writer.finish()
            return
        if not isinstance(response, Response):
            kind = type(response).__name__
            raise ArgumentTypeError(f"app must return a Response or None, got {kind}")
        fields = list(response.headers.raw)
        body = response.body
        if (
            isinstance(body, (bytes, bytearray, memoryview))
            and response.status not in (204, 304)
            and b"content-length" not in dict(fields)
        ):
            fields.append((b"content-length", b"%d" % memoryview(body).nbytes))
        writer = await request.respond(response.status, fields)
        await writer._body(response)

    def _failed(self, request: Request, status: int) -> None:
        if self.closed:
            return
        stream = request._reader.stream
        if request._writer is not None or stream.stopped_code is not None:
            request._reader.give_up(Http3ErrorCode.H3_INTERNAL_ERROR)
            return
        request._writer = ResponseWriter(request, status, [(b"content-length", b"0")])
        stream.finish()
        request._reader.stop(Http3ErrorCode.H3_NO_ERROR)

    def _sending_over(self, request: Request, task: asyncio.Task[None]) -> None:
        """Notice a client that wants no response any more while a handler waits for something."""
        if request._reader.stream.stopped_code is not None and not request._gone.is_set():
            request._gone.set()
            if not request._watches:
                task.cancel()

    # ------------------------------------------------------------------ context

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        await self.wait_closed()


class _Connecting(Pending):
    """A client that is being connected: ``async with`` it, or ``await`` it."""

    def __init__(self, host: str, port: int, authority: str, config: Config) -> None:
        self._host = host
        self._port = port
        self._authority = authority
        self._config = config
        self._session: Session | None = None

    async def _connect(self) -> Session:
        from midstream.quic.connection import connect as connect_quic

        connection = await connect_quic(self._host, self._port, config=self._config)
        session = Session(connection, authority=self._authority)
        try:
            await session.start()
        except BaseException:
            connection.close(Http3ErrorCode.H3_NO_ERROR, "")
            raise
        return session

    def __await__(self) -> Generator[None, None, Session]:
        return self._connect().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._connect()
        return self._session

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._session is not None:
            if kind is None:
                await self._session.connection._last_tickets(None)
            self._session.close()
            await self._session.wait_closed()


def connect(url: str, port: int | None = None, *, config: Config | None = None) -> _Connecting:
    """Connect to an HTTP/3 server.

    Parameters
    ----------
    url : str
        ``https://host:port``, whose path counts for nothing, or a host alone.
    port : int, optional
        Port, where `url` has none; 443 by default.
    config : Config, optional
        Settings. Its `Config.alpn` is ``h3`` unless it names ``h3`` itself.

    Returns
    -------
    async context manager and awaitable
        Gives a `Session`, whose `Session.request` sends requests.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not an https URL or a host.
    HandshakeError, CertificateError, QuicTimeoutError
        When entered or awaited: no connection.

    Examples
    --------
    >>> async def main():
    ...     async with connect("https://example.org") as client:
    ...         response = await client.request("GET", "/")
    ...         return await response.read()
    """
    check_text("url", url)
    text = url if "//" in url else f"https://{_bracketed(url)}"
    try:
        parts = urlsplit(text)
        host, found = parts.hostname, parts.port
    except ValueError:
        raise ArgumentValueError(f"url has no valid host and port, got {url!r}") from None
    if parts.scheme != "https" or not host or "@" in parts.netloc:
        raise ArgumentValueError(f"url must be https:// with a host and no user, got {url!r}")
    if port is not None and found is not None and port != found:
        raise ArgumentValueError(f"port is {port!r}, and url has another one, got {url!r}")
    number = check_int("port", port if port is not None else (found or 443), low=1, high=65535)
    name = _bracketed(host)
    authority = name if number == 443 else f"{name}:{number}"
    return _Connecting(host, number, authority, _h3_config(config))


def _bracketed(host: str) -> str:
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def _h3_config(config: Config | None) -> Config:
    made = Config() if config is None else config
    if not isinstance(made, Config):
        raise ArgumentTypeError(f"config must be a Config, got {made!r} ({type(made).__name__})")
    return made if "h3" in made.alpn else replace(made, alpn=("h3",))


class Http3Server:
    """A running HTTP/3 server; made by `serve`, runs within ``async with``.

    Attributes
    ----------
    address : tuple
        Where it listens: host and port first.
    sessions : tuple of Session
        One for each client that is connected.
    server : Server
        The QUIC server below, with its statistics.
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        config: Config,
        on_session: Callable[[Session], None] | None,
        any_early: bool,
        key: bytes | None = None,
    ) -> None:
        from midstream.quic.serving import serve as serve_quic

        self._app = app
        self._any_early = any_early
        self._on_session = on_session
        self._sessions: set[Session] = set()
        # Made here and not when entered: arguments are refused where they were written.
        self._server = serve_quic(self._handle, host, port, config=config, key=key)

    def __repr__(self) -> str:
        return f"<Http3Server on {self._server!r}>"

    @property
    def server(self) -> Server:
        """The QUIC server below."""
        return self._server

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port; QuicError until it was entered."""
        return self.server.address

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Sessions that are open."""
        return tuple(self._sessions)

    async def _handle(self, connection: Connection) -> None:
        session = Session(connection, self._app, any_early=self._any_early)
        if self._on_session is not None:
            self._on_session(session)
        self._sessions.add(session)
        try:
            await session.start()
            await session.wait_closed()
        finally:
            self._sessions.discard(session)

    async def drain(self, timeout_s: float | None = 10.0) -> None:
        """Stop gracefully: say GOAWAY to all clients, let open requests end, then close.

        Parameters
        ----------
        timeout_s : float or None, default 10.0
            Longest wait, in seconds.

        Raises
        ------
        QuicTimeoutError
            Time ran out, and the requests that were left were cut off.
        """
        await self.server.drain(timeout_s)

    async def __aenter__(self) -> Self:
        if isinstance(self._app, Application):
            await self._app.startup()
        try:
            await self._server.__aenter__()
        except BaseException:
            if isinstance(self._app, Application):
                await self._app.shutdown()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for session in self._sessions:
                session.close()
            await self.server.__aexit__(kind, error, trace)
        finally:
            if isinstance(self._app, Application):
                await self._app.shutdown()


def serve(
    app: App,
    host: str = "127.0.0.1",
    port: int = 443,
    *,
    config: Config,
    on_session: Callable[[Session], None] | None = None,
    any_early: bool = False,
    key: bytes | None = None,
) -> Http3Server:
    """Serve HTTP/3.

    Parameters
    ----------
    app : async callable
        Takes a `Request`, returns a `Response`; `asgi` makes one of an ASGI application.
    host : str, default "127.0.0.1"
        Address to listen on.
    port : int, default 443
        Port; 0 takes a free one.
    config : Config
        Settings, with a `Config.identity`. Its `Config.alpn` is ``h3`` unless it names ``h3``.
    on_session : callable, optional
        Called with the `Session` of each new client before it starts: for further settings,
        stream types and frame types.
    any_early : bool, default False
        Whether the application takes requests in early data that change something, too, and looks
        at `Request.early_data` itself. Those are otherwise answered with status 425 (RFC 8470),
        on which `Session.request` sends them again after the handshake.
    key : bytes, optional
        For tokens and resets that survive a restart, as of `midstream.quic.serve`.

    Returns
    -------
    Http3Server
        Runs within ``async with``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    OSError
        When entered: the address cannot be listened on.

    Notes
    -----
    A handler that raises is answered with status 500, or its stream is reset if the response has
    begun and not ended, and the exception is logged to ``midstream.quic``. A handler whose client
    has gone is cancelled, unless it waits for `Request.disconnected`.

    Examples
    --------
    >>> import asyncio
    >>> async def events(request):
    ...     async def stream():
    ...         for number in range(3):
    ...             yield b"data: %d\\n\\n" % number
    ...             await asyncio.sleep(0)
    ...     return Response(200, {"content-type": "text/event-stream"}, stream())
    """
    check_app(app)
    return Http3Server(app, host, port, _h3_config(config), on_session, any_early, key)


async def mount(
    connection: Connection,
    app: App | None = None,
    *,
    authority: str = "",
    settings: Mapping[int, int] | None = None,
    on_session: Callable[[Session], None] | None = None,
) -> Session:
    """Run HTTP/3 on a connection that is already there.

    Parameters
    ----------
    connection : Connection
        The connection; its streams are HTTP/3's from now on.
    app : async callable, optional
        Answers requests; needed on a server's connection.
    authority : str, optional
        ``:authority`` of requests of a client.
    settings : mapping of int to int, optional
        Further settings to send.
    on_session : callable, optional
        Called with the session before it starts, to register stream types, frame types and
        datagram callbacks: this is how WebTransport sits on the same connection.

    Returns
    -------
    Session
        It has started.

    Raises
    ------
    ArgumentValueError
        A server's connection without `app`.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, connect, http3, serve
    >>> identity = Identity.development()
    >>> async def hello(request):
    ...     return http3.Response(200, {"content-type": "text/plain"}, b"hello")
    >>> async def accept(connection):
    ...     await http3.mount(connection, hello)
    ...     await connection.wait_closed()
    >>> async def main():
    ...     config = Config(identity=identity, alpn=["h3"])
    ...     async with serve(accept, "127.0.0.1", 0, config=config) as server:
    ...         trust = Config(pins=[identity.certificate_pin], alpn=["h3"])
    ...         async with connect(*server.address, config=trust) as connection:
    ...             session = await http3.mount(connection, authority="localhost")
    ...             return await (await session.request("GET", "/")).read()
    >>> asyncio.run(main())
    b'hello'
    """
    if app is None and not connection.is_client:
        raise ArgumentValueError("app must be given on a server's connection, got None")
    session = Session(connection, app, authority=authority, settings=settings)
    if on_session is not None:
        on_session(session)
    await session.start()
    return session


def _check_body(body: Body) -> Body:
    if isinstance(body, (bytes, bytearray, memoryview)) or hasattr(body, "__aiter__"):
        return body
    raise ArgumentTypeError(
        f"body must be bytes or an async iterable of bytes, got {type(body).__name__}"
    )


async def _join(parts: AsyncIterator[bytes], limit: int) -> bytes:
    check_int("limit", limit, low=0)
    found: list[bytes] = []
    size = 0
    async for part in parts:
        size += len(part)
        if size > limit:
            raise StreamFault(
                Http3ErrorCode.H3_EXCESSIVE_LOAD,
                f"body is above the limit of {counted(limit, 'byte')}",
            )
        found.append(part)
    return b"".join(found)


def _merge_priority(session: Session, stream: Stream, fields: Fields) -> None:
    """Take what the application says of its response over what the client asked (RFC 9218, 8)."""
    for name, value in fields:
        if name == b"priority":
            try:
                said = Priority.parse(value.decode("latin-1"))
            except ArgumentValueError:
                return
            asked = stream.priority
            members = [member.strip(b" \t") for member in value.split(b",")]
            has_urgency = any(member.startswith(b"u=") for member in members)
            has_incremental = any(member[:2] in (b"i", b"i=", b"i;") for member in members)
            session._answered[stream.stream_id] = answered = (
                said.urgency if has_urgency else None,
                said.incremental if has_incremental else None,
            )
            stream.set_priority(overridden(asked, answered))
