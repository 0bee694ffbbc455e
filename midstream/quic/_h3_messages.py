"""Messages of HTTP/3 on one stream: reading them part by part, writing them, tunnels."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import TYPE_CHECKING, NoReturn

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    QuicError,
    StreamResetError,
)
from midstream.quic import _h3_frames as frames
from midstream.quic._h3_errors import ConnectionFault, Http3Error, Http3ErrorCode, StreamFault
from midstream.quic._h3_fields import BodyLength, Fields, Headers, check_trailers
from midstream.quic._h3_session import CHUNK, Transactions

if TYPE_CHECKING:
    from midstream.quic.streams import Stream

__all__ = ["Body", "MessageReader", "MessageWriter", "Tunnel", "code_name"]

#: Parts up to this go out in one write with their frame header.
_SMALL = 4096
#: HTTP datagrams that wait for a tunnel's reader; the oldest are dropped.
_DATAGRAM_QUEUE = 1024
#: Most bytes of DATA and further frames that are taken while fields wait for the dynamic table.
_AHEAD = 2 * CHUNK

#: What may be sent as a body: whole, or in parts.
Body = bytes | bytearray | memoryview | AsyncIterable[bytes]


def code_name(code: int) -> str:
    """Name of an error code, for messages."""
    return Http3Error("", code=code).code_name


class MessageReader:
    """Reads one message: fields, body, trailers; the order of frames is checked.

    Faults end what RFC 9114 says, the stream or the connection, and are raised as Http3Error.
    """

    def __init__(self, session: Transactions, stream: Stream, first: int | None = None) -> None:
        self.stream = stream
        self.trailers = Headers()
        self._session = session
        self._frames = frames.FrameReader(session.field_section_limit, session._frame_types)
        if first is not None:
            self._frames.feed(frames.encode_varint(first))
        self._length = BodyLength(None)
        self._in_body = False
        self._is_tunnel = False
        self._after_trailers = False
        self._ended = False
        self._failure: Exception | None = None
        self._held = 0

    @property
    def ended(self) -> bool:
        """Whether all of the message was read."""
        return self._ended

    async def fields(self) -> Fields | None:
        """Read the next header section; None where the stream ends instead.

        Raises StreamFault, ConnectionFault and the stream's errors as they are: who reads the
        first fields decides what they end.
        """
        while True:
            frame = await self._next_frame()
            if frame is None:
                self._ended = True
                return None
            kind, payload = frame
            if kind == frames.HEADERS:
                return await self._decode(payload)
            if kind == frames.DATA:
                raise ConnectionFault(Http3ErrorCode.H3_FRAME_UNEXPECTED, "DATA before HEADERS")
            self._refuse(kind)

    def error_of(self, error: Exception) -> Exception:
        """End what a fault of this message ends; return what its reader is told."""
        if self._failure is not None:
            return self._failure
        made: Exception = error
        if isinstance(error, StreamFault):
            self.give_up(error.code)
            made = Http3Error(str(error), code=error.code, stream_id=self.stream.stream_id)
        elif isinstance(error, ConnectionFault):
            made = self._session.fail(error)
        elif isinstance(error, StreamResetError):
            self._end_decoding()
            made = Http3Error(
                f"the peer gave up stream {self.stream.stream_id} with {code_name(error.code)}",
                code=error.code,
                stream_id=self.stream.stream_id,
                by_peer=True,
            )
        elif self._session.error is not None:
            made = self._session.error
        self._failure = made
        return made

    def fail(self, error: Exception, code: int) -> None:
        """Give up the exchange here; whoever reads gets `error`."""
        if self._failure is None:
            self._failure = error
        self.give_up(code)

    @property
    def failed(self) -> bool:
        """Whether the exchange was given up."""
        return self._failure is not None

    def begin_body(self, content_length: int | None, *, is_tunnel: bool = False) -> None:
        """Say that the fields that count were read, and what they promise."""
        self._in_body = True
        self._is_tunnel = is_tunnel
        self._length = BodyLength(None if is_tunnel else content_length)

    async def part(self) -> bytes:
        """Read the next part of the body, as it arrived; empty at its end.

        Raises
        ------
        Http3Error
            The message is malformed, or the peer gave it up.
        ConnectionClosedError
            The connection ended.
        """
        if self._failure is not None:
            raise self._failure
        if self._ended:
            return b""
        try:
            return await self._part()
        except (StreamFault, ConnectionFault, QuicError) as error:
            raise self.error_of(error) from None

    async def _part(self) -> bytes:
        while True:
            frame = await self._next_frame()
            if frame is None:
                self._length.end()
                self._ended = True
                return b""
            kind, payload = frame
            if kind == frames.DATA and not self._after_trailers:
                self._length.add(len(payload))
                if payload:
                    return payload
            elif kind == frames.HEADERS and not self._after_trailers and not self._is_tunnel:
                self._after_trailers = True
                self._length.end()
                self.trailers = check_trailers(await self._decode(payload))
            else:
                self._refuse(kind)

    def give_up(self, code: int) -> None:
        """Read no more, and send no more."""
        self._end_decoding()
        if not self._session.closed:
            self.stream.abort(code)

    def stop(self, code: int) -> None:
        """Read no more; what is being sent goes on."""
        if not self._ended:
            self._end_decoding()
            if not self._session.closed:
                self.stream.stop(code)

    def _end_decoding(self) -> None:
        # The peer's encoder keeps what our sections refer to until it hears of them.
        if not self._ended:
            self._ended = True
            self._session.cancel_decoding(self.stream.stream_id)

    def _refuse(self, kind: int) -> NoReturn:
        if kind == frames.PUSH_PROMISE and self._session.is_client:
            raise ConnectionFault(Http3ErrorCode.H3_ID_ERROR, "a push that was not allowed")
        raise ConnectionFault(
            Http3ErrorCode.H3_FRAME_UNEXPECTED, f"frame type {kind:#x} has no place there"
        )

    async def _next_frame(self) -> tuple[int, bytes] | None:
        while (frame := self._frames.next_frame()) is None:
            held = self._frames.buffered
            more, self._held = held - self._held, held
            self._session.hold(more)
            data = await self.stream.read(CHUNK)
            if not data:
                if not self._frames.is_between_frames:
                    raise ConnectionFault(
                        Http3ErrorCode.H3_FRAME_ERROR, "a stream ended within a frame"
                    )
                return None
            self._frames.feed(data)
        self.release()
        return frame

    def release(self) -> None:
        """Say that nothing is kept."""
        if self._held:
            self._session.hold(-self._held)
            self._held = 0

    async def _decode(self, section: bytes) -> Fields:
        decoded = self._session.decode(self.stream.stream_id, section)
        if isinstance(decoded, asyncio.Future):
            decoded = await self._unblocked(decoded)
        return self._session.check_size(decoded)

    async def _unblocked(self, waiting: asyncio.Future[Fields]) -> Fields:
        """Wait for the dynamic table; meanwhile a reset must be seen, since it frees the place."""
        ahead = 0
        try:
            while ahead < _AHEAD and not waiting.done():
                read = asyncio.ensure_future(self.stream.read(CHUNK))
                try:
                    await asyncio.wait((read, waiting), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not read.done():
                        read.cancel()
                        await asyncio.wait((read,))
                    if not read.cancelled():
                        read.exception()  # told below, unless this was cancelled as well
                if not read.cancelled():
                    data = read.result()
                    if not data:
                        break
                    ahead += len(data)
                    self._frames.feed(data)
            return await waiting
        except StreamResetError:
            self._end_decoding()
            raise


class MessageWriter:
    """Writes one message; each part leaves at once, and waits when the peer does not read."""

    __slots__ = ("_session", "stream")

    def __init__(self, session: Transactions, stream: Stream) -> None:
        self._session = session
        self.stream = stream

    def fields(self, fields: Fields) -> None:
        """Write a header or trailer section."""
        self.stream.write(self._session.encode(self.stream.stream_id, fields))

    async def part(self, data: bytes | bytearray | memoryview) -> None:
        """Write a part of the body as a DATA frame of its own, and wait until there is room."""
        size = len(data) if not isinstance(data, memoryview) else data.nbytes
        header = frames.frame_header(frames.DATA, size)
        if size <= _SMALL:
            self.stream.write(header + bytes(data))
            await self.stream.drain()
            return
        self.stream.write(header)
        with memoryview(data).cast("B") as view:
            for start in range(0, size, CHUNK):
                self.stream.write(view[start : start + CHUNK])
                try:
                    await self.stream.drain()
                except asyncio.CancelledError:
                    # The frame has said how long it is: without its rest, what follows is garbled.
                    with contextlib.suppress(QuicError):
                        if not self.stream.finished:
                            self.stream.write(view[start + CHUNK :])
                    raise

    async def body(self, name: str, body: Body, expected: int | None = None) -> None:
        """Write a whole body.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            A part is not bytes; the parts are not as long as `expected`.
        """
        sent = 0
        if isinstance(body, (bytes, bytearray, memoryview)):
            parts: AsyncIterable[bytes] = _one(body)
        else:
            parts = body
        iterator = aiter(parts)
        try:
            async for part in iterator:
                if not isinstance(part, (bytes, bytearray, memoryview)):
                    raise ArgumentTypeError(
                        f"{name} must give bytes, got {part!r:.80} ({type(part).__name__})"
                    )
                if not len(part):
                    continue
                sent += len(part)
                await self.part(part)
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
        if expected is not None and sent != expected:
            raise ArgumentValueError(f"{name} has {sent} bytes, its content-length says {expected}")

    def finish(self) -> None:
        """Say that the message is complete."""
        self.stream.finish()


async def _one(body: bytes | bytearray | memoryview) -> AsyncIterator[bytes]:
    if len(body):
        yield body  # type: ignore[misc]


class Tunnel:
    """Both directions of a CONNECT, plain or extended, once it was accepted.

    Not made directly: `Session.connect_tunnel` and `Request.accept` return one. Used from the
    event loop's thread only.

    Attributes
    ----------
    stream_id : int
        The stream that carries it.
    headers : Headers
        Of the response on the client, of the request on the server.

    Notes
    -----
    Source: RFC 9114 section 4.4, RFC 9220, RFC 9297.
    """

    def __init__(
        self,
        session: Transactions,
        reader: MessageReader,
        headers: Headers,
        on_over: Callable[[], None] | None = None,
    ) -> None:
        self.session = session
        self._on_over = on_over
        self.headers = headers
        self._reader = reader
        self._stream = reader.stream
        self._writer = MessageWriter(session, reader.stream)
        self._datagrams: deque[bytes] | None = None
        self._datagram_came = asyncio.Event()
        self.dropped_datagrams = 0

    def __repr__(self) -> str:
        return f"<Tunnel on stream {self.stream_id} of {self.session!r}>"

    @property
    def stream_id(self) -> int:
        """The stream that carries the tunnel."""
        return self._stream.stream_id

    @property
    def stream(self) -> Stream:
        """The stream itself, for its priority and statistics; its bytes are frames."""
        return self._stream

    async def read(self) -> bytes:
        """Read what came next; empty when the peer has finished.

        Raises
        ------
        Http3Error
            The peer reset the stream, or what it sent is no tunnel.
        """
        return await self._reader.part()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        while part := await self._reader.part():
            yield part

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` now; wait while the peer does not read.

        Raises
        ------
        StreamStoppedError
            The peer wants no more.
        """
        if len(data):
            await self._writer.part(data)

    async def capsules(self, limit: int = 65536) -> AsyncIterator[tuple[int, bytes]]:
        """Read capsules, as type and value (RFC 9297, section 3).

        Parameters
        ----------
        limit : int, default 65536
            Most bytes in one.

        Raises
        ------
        Http3Error
            A capsule above the limit, or one that the end of the stream cuts off.
        """
        reader = frames.CapsuleReader(limit)
        try:
            async for part in self:
                for capsule in reader.feed(part):
                    yield capsule
            if not reader.is_between_capsules:
                raise StreamFault(Http3ErrorCode.H3_MESSAGE_ERROR, "a capsule is cut off")
        except StreamFault as fault:
            self._reader.give_up(fault.code)
            raise Http3Error(str(fault), code=fault.code, stream_id=self.stream_id) from None

    async def send_capsule(self, kind: int, value: bytes) -> None:
        """Send a capsule of type `kind`."""
        await self.write(frames.encode_frame(kind, value))

    def send_datagram(self, payload: bytes) -> None:
        """Send an HTTP datagram, unreliably (RFC 9297, section 2).

        Raises
        ------
        Http3Error
            The peer takes none.
        DatagramTooLargeError
            Longer than `max_datagram_size`.
        """
        self.session.send_datagram(self.stream_id // 4, payload)

    @property
    def max_datagram_size(self) -> int:
        """Longest datagram, in bytes; 0 where the peer takes none."""
        return self.session.max_datagram_size(self.stream_id // 4)

    async def receive_datagram(self) -> bytes:
        """Wait for the next HTTP datagram; the oldest of more than 1024 are dropped and counted.

        Raises
        ------
        Http3Error
            The tunnel is over.
        """
        if self._datagrams is None:
            self._datagrams = deque()
            self.session.on_datagram(self.stream_id // 4, self._take_datagram)
        while not self._datagrams:
            if self._reader.ended or self.session.closed:
                raise self.session.closing_error()
            self._datagram_came.clear()
            await self._datagram_came.wait()
        return self._datagrams.popleft()

    def _take_datagram(self, payload: bytes) -> None:
        assert self._datagrams is not None
        if len(self._datagrams) >= _DATAGRAM_QUEUE:
            self._datagrams.popleft()
            self.dropped_datagrams += 1
        self._datagrams.append(payload)
        self._datagram_came.set()

    def finish(self) -> None:
        """Say that no more will be sent; reading goes on."""
        self._writer.finish()

    def reset(self, code: int = Http3ErrorCode.H3_CONNECT_ERROR) -> None:
        """End both directions at once with `code`."""
        self._over()
        self._reader.give_up(code)

    def _over(self) -> None:
        self.session.on_datagram(self.stream_id // 4, None)
        self._datagram_came.set()
        if self._on_over is not None:
            self._on_over()

    async def __aenter__(self) -> Tunnel:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over()
        if self.session.closed:
            return
        if kind is not None:
            self._reader.give_up(Http3ErrorCode.H3_REQUEST_CANCELLED)
            return
        self._stream.finish()
        self._reader.stop(Http3ErrorCode.H3_NO_ERROR)
