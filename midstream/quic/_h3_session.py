"""One HTTP/3 connection: control and QPACK streams, settings, GOAWAY, and who gets which stream."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from midstream._core.errors import (
    ArgumentValueError,
    QuicError,
    StreamResetError,
    StreamStoppedError,
)
from midstream.quic import _h3_frames as frames
from midstream.quic._h3_errors import ConnectionFault, Http3Error, Http3ErrorCode, StreamFault
from midstream.quic._h3_fields import Fields
from midstream.quic._h3_qpack import (
    MAX_BLOCKED_STREAMS,
    TABLE_CAPACITY,
    FieldDecoder,
    FieldEncoder,
)
from midstream.quic.priority import Priority

if TYPE_CHECKING:
    from midstream.quic.connection import Connection
    from midstream.quic.streams import Stream

__all__ = ["CHUNK", "FIELD_SECTION_LIMIT", "StreamHandler", "Transactions", "overridden"]

#: Urgency and incremental of a response's own priority; None where it says nothing of it.
Answered = tuple[int | None, bool | None]

#: Largest field section that is accepted, uncompressed, in bytes: four times what servers of
#: HTTP/1.1 usually take for all headers together.
FIELD_SECTION_LIMIT = 65536
#: Most bytes taken from a stream, or given to it, at a time.
CHUNK = 65536

#: Bytes of a control stream that are worked on at a time: a thousand frames, some milliseconds,
#: before others get their turn.
_CONTROL_CHUNK = 4096

#: GOAWAY of a server that stops, but may not know yet what is on its way (RFC 9114, section 5.2).
_LAST_REQUEST_ID = (1 << 62) - 4
#: Reprioritisations that may wait for their streams (RFC 9218, section 7.1, wants a limit).
_PENDING_PRIORITIES = 256
#: HTTP datagrams that may wait for whoever takes their stream.
_EARLY_DATAGRAMS = 64
#: Bytes that a peer may leave unread on our QPACK streams. Acknowledgements take 1 to 10 bytes.
_QPACK_BACKLOG = 65536
#: Critical streams go before every message: without them nothing can be decoded.
_CRITICAL = Priority(0)

#: Bytes of frames that are not all there, on all streams together. One stream may keep a field
#: section; a thousand that each keep most of one are after memory.
_HELD_LIMIT = 4 << 20

_LOG = logging.getLogger("midstream.quic")

#: Takes a stream of a registered type, the type itself already read.
StreamHandler = Callable[["Stream"], Awaitable[None]]


class Transactions:
    """The connection half of HTTP/3, without messages; `Session` adds those.

    Parameters
    ----------
    connection : Connection
        Connection whose protocol is ``h3``.
    settings : mapping of int to int, optional
        Settings to send beside our own.
    """

    def __init__(self, connection: Connection, settings: Mapping[int, int] | None = None) -> None:
        self.connection = connection
        self.is_client: bool = connection.is_client
        #: Settings to send beside our own; counts until the session starts.
        self.extra_settings: dict[int, int] = dict(settings or {})
        #: Settings of the peer; empty until they came.
        self.peer_settings: dict[int, int] = {}
        self.field_section_limit = FIELD_SECTION_LIMIT
        self._stream_types: dict[int, StreamHandler] = {}
        self._frame_types: dict[int, StreamHandler] = {}
        self._decoder = FieldDecoder(self.field_section_limit)
        self._encoder = FieldEncoder()
        self._blocked: dict[int, asyncio.Future[Fields]] = {}
        self._control: Stream | None = None
        self._encoder_stream: Stream | None = None
        self._decoder_stream: Stream | None = None
        self._critical: set[int] = set()  # types of the peer's critical streams that are open
        self._settings_came = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.error: Http3Error | None = None
        self._started = False
        # GOAWAY: ids that we sent and that the peer sent.
        self._goaway_sent: int | None = None
        self._goaway_received: int | None = None
        self._max_push_id = -1
        self._going_away = asyncio.Event()
        # Requests.
        self._next_request_id = 0  # one above the highest that the peer opened
        self._open: dict[int, Stream] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._priorities: dict[int, Priority] = {}
        # Open requests that a PRIORITY_UPDATE came for, and what their responses say themselves.
        self._updated: set[int] = set()
        self._answered: dict[int, Answered] = {}
        self._held = 0
        # Datagrams.
        self._datagram_sinks: dict[int, Callable[[bytes], None]] = {}
        self._early_datagrams: deque[tuple[int, bytes]] = deque(maxlen=_EARLY_DATAGRAMS)

    # ------------------------------------------------------------------ registry

    def register_stream_type(self, stream_type: int, handler: StreamHandler) -> None:
        """Give unidirectional streams of a type of their own to `handler`.

        Parameters
        ----------
        stream_type : int
            The type, such as 0x54.
        handler : async callable
            Called with each such stream, its type already read; runs as a task of its own.

        Raises
        ------
        ArgumentValueError
            A type that HTTP/3 itself has.
        """
        if stream_type <= frames.DECODER_STREAM:
            raise ArgumentValueError(f"stream_type must be above 3, got {stream_type!r}")
        self._stream_types[stream_type] = handler

    def register_frame_type(self, frame_type: int, handler: StreamHandler) -> None:
        """Give bidirectional streams that begin with a frame of `frame_type` to `handler`.

        Parameters
        ----------
        frame_type : int
            The type, such as 0x41; it has no length, and the rest of the stream is the handler's.
        handler : async callable
            Called with each such stream, the type already read; runs as a task of its own.

        Raises
        ------
        ArgumentValueError
            A type that HTTP/3 itself has.
        """
        if frame_type <= frames.MAX_PUSH_ID:
            raise ArgumentValueError(f"frame_type must be above 0xd, got {frame_type!r}")
        self._frame_types[frame_type] = handler

    def on_datagram(self, quarter_stream_id: int, callback: Callable[[bytes], None] | None) -> None:
        """Give HTTP datagrams of a request stream to `callback` (RFC 9297, section 2.1).

        Parameters
        ----------
        quarter_stream_id : int
            The stream's identifier divided by four.
        callback : callable or None
            Called with each payload; None ends that. A few that came before are given at once.
        """
        if callback is None:
            self._datagram_sinks.pop(quarter_stream_id, None)
            return
        self._datagram_sinks[quarter_stream_id] = callback
        early = [data for found, data in self._early_datagrams if found == quarter_stream_id]
        if early:
            rest = [pair for pair in self._early_datagrams if pair[0] != quarter_stream_id]
            self._early_datagrams.clear()
            self._early_datagrams.extend(rest)
            for data in early:
                callback(data)

    def send_datagram(self, quarter_stream_id: int, payload: bytes) -> None:
        """Send an HTTP datagram of a request stream, unreliably.

        Raises
        ------
        Http3Error
            The peer has not offered HTTP datagrams (H3_DATAGRAM).
        DatagramTooLargeError
            Longer than `max_datagram_size`.
        """
        if not self.peer_settings.get(frames.H3_DATAGRAM):
            raise Http3Error(
                "the peer has not offered HTTP datagrams", code=Http3ErrorCode.H3_DATAGRAM_ERROR
            )
        self.connection.datagrams.send(frames.encode_varint(quarter_stream_id) + payload)

    def max_datagram_size(self, quarter_stream_id: int) -> int:
        """Largest payload of an HTTP datagram, in bytes; 0 where the peer takes none."""
        if not self.peer_settings.get(frames.H3_DATAGRAM):
            return 0
        header = len(frames.encode_varint(quarter_stream_id))
        return max(0, self.connection.datagrams.max_size - header)

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Open our control and QPACK streams, send SETTINGS, and begin to take streams."""
        if self._started:
            return
        self._started = True
        control = await self.connection.open_uni(priority=_CRITICAL)
        control.write(
            frames.encode_varint(frames.CONTROL_STREAM) + frames.encode_settings(self._settings())
        )
        self._control = control
        self._encoder_stream = await self.connection.open_uni(priority=_CRITICAL)
        self._encoder_stream.write(frames.encode_varint(frames.ENCODER_STREAM))
        self._decoder_stream = await self.connection.open_uni(priority=_CRITICAL)
        self._decoder_stream.write(frames.encode_varint(frames.DECODER_STREAM))
        self.spawn(self._accept_uni())
        self.spawn(self._accept_bi())
        self.spawn(self._take_datagrams())
        self.spawn(self._watch_draining())
        self.spawn(self._watch_connection())

    def _settings(self) -> dict[int, int]:
        settings = {
            frames.QPACK_MAX_TABLE_CAPACITY: TABLE_CAPACITY,
            frames.MAX_FIELD_SECTION_SIZE: self.field_section_limit,
            frames.QPACK_BLOCKED_STREAMS: MAX_BLOCKED_STREAMS,
        }
        if not self.is_client:
            settings[frames.ENABLE_CONNECT_PROTOCOL] = 1
        if self.connection.config.datagrams:
            settings[frames.H3_DATAGRAM] = 1
        return settings | self.extra_settings

    async def settings_received(self) -> Mapping[int, int]:
        """Wait for the peer's SETTINGS and return them.

        Raises
        ------
        Http3Error, ConnectionClosedError
            The connection ended before.
        """
        await self._settings_came.wait()
        if not self.peer_settings and self.closed:
            raise self.closing_error()
        return self.peer_settings

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self.error is not None or self.connection.closed

    def closing_error(self) -> Http3Error:
        """Return why nothing goes any more."""
        if self.error is not None:
            return self.error
        return Http3Error("the connection is closed", code=Http3ErrorCode.H3_NO_ERROR)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` until the session ends; its faults end what they must."""
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)

        def over(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            work.close()  # cancelled before it began

        task.add_done_callback(over)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ConnectionFault as fault:
            self.fail(fault)
        except QuicError:
            pass  # told to whoever waits for it: this task has nobody to tell
        except Exception as error:  # noqa: BLE001 - a handler's fault must not vanish
            self.report("an HTTP/3 handler failed", error)

    def report(self, message: str, error: BaseException) -> None:
        """Log what went wrong in code that is not ours."""
        _LOG.error("%s", message, exc_info=error)

    def fail(self, fault: ConnectionFault) -> Http3Error:
        """Close the connection with the fault's code."""
        if self.error is None:
            self.error = Http3Error(str(fault), code=fault.code)
            self.connection.close(fault.code, str(fault)[:200])
            self._wake_all()
        return self.error

    def _wake_all(self) -> None:
        self._settings_came.set()
        self._going_away.set()
        self._idle.set()
        for waiting in self._blocked.values():
            _refuse(waiting, self.closing_error())
        self._blocked.clear()

    async def _watch_draining(self) -> None:
        """Say GOAWAY when the connection is to be drained: our own streams never end."""
        await self.connection.wait_draining()
        if not self.closed:
            await self.shutdown(None)

    async def _watch_connection(self) -> None:
        await self.connection.wait_closed()
        self._wake_all()
        own = asyncio.current_task()
        for task in tuple(self._tasks):
            if task is not own:
                task.cancel()

    # ------------------------------------------------------------------ streams of the peer

    async def _accept_uni(self) -> None:
        while True:
            stream = await self.connection.accept_uni()
            self.spawn(self._take_uni(stream))

    async def _take_uni(self, stream: Stream) -> None:
        try:
            kind = await _read_varint(stream)
        except StreamResetError:
            return
        if kind is None:  # closed before its type was complete, which must be borne (section 6.2)
            return
        handler = self._stream_types.get(kind)
        if handler is not None:
            await handler(stream)
        elif kind == frames.CONTROL_STREAM:
            await self._critical_stream(stream, kind, "control", self._read_control)
        elif kind == frames.ENCODER_STREAM:
            await self._critical_stream(stream, kind, "encoder", self._read_encoder)
        elif kind == frames.DECODER_STREAM:
            await self._critical_stream(stream, kind, "decoder", self._read_decoder)
        elif kind == frames.PUSH_STREAM:
            if self.is_client:
                # We never send MAX_PUSH_ID, so every push identifier is above the limit.
                raise ConnectionFault(Http3ErrorCode.H3_ID_ERROR, "a push that was not allowed")
            raise ConnectionFault(
                Http3ErrorCode.H3_STREAM_CREATION_ERROR, "a client opened a push stream"
            )
        else:
            stream.stop(Http3ErrorCode.H3_STREAM_CREATION_ERROR)

    async def _critical_stream(
        self,
        stream: Stream,
        kind: int,
        name: str,
        read: Callable[[Stream], Awaitable[None]],
    ) -> None:
        if kind in self._critical:
            raise ConnectionFault(
                Http3ErrorCode.H3_STREAM_CREATION_ERROR, f"a second {name} stream"
            )
        self._critical.add(kind)
        try:
            await read(stream)
        except StreamResetError as error:
            raise ConnectionFault(
                Http3ErrorCode.H3_CLOSED_CRITICAL_STREAM,
                f"the {name} stream was reset with {error.code:#x}",
            ) from None
        raise ConnectionFault(
            Http3ErrorCode.H3_CLOSED_CRITICAL_STREAM, f"the {name} stream was closed"
        )

    async def _accept_bi(self) -> None:
        while True:
            stream = await self.connection.accept_bi()
            self.spawn(self._take_bi(stream))

    async def _take_bi(self, stream: Stream) -> None:
        first: int | None = None
        if self._frame_types:
            try:
                first = await _read_varint(stream)
            except StreamResetError:
                return
            handler = self._frame_types.get(-1 if first is None else first)
            if handler is not None:
                await handler(stream)
                return
        if self.is_client:
            raise ConnectionFault(
                Http3ErrorCode.H3_STREAM_CREATION_ERROR, "a server opened a bidirectional stream"
            )
        if self._goaway_sent is not None and stream.stream_id >= self._goaway_sent:
            stream.abort(Http3ErrorCode.H3_REQUEST_REJECTED)
            return
        self._next_request_id = max(self._next_request_id, stream.stream_id + 4)
        with self.tracked(stream):
            priority = self._priorities.pop(stream.stream_id, None)
            if priority is not None:
                stream.set_priority(priority)
            await self._take_request(stream, first, priority is not None)

    async def _take_request(self, stream: Stream, first: int | None, prioritised: bool) -> None:
        """Serve a request; `first` is the type of its first frame where that was read."""
        raise NotImplementedError

    def tracked(self, stream: Stream) -> _Tracked:
        """Count a request as open while the context lasts."""
        return _Tracked(self, stream)

    # ------------------------------------------------------------------ critical streams

    async def _read_control(self, stream: Stream) -> None:
        reader = frames.FrameReader(0)
        while data := await stream.read(_CONTROL_CHUNK):
            reader.feed(data)
            while (frame := self._control_frame(reader)) is not None:
                self._take_control(*frame)
            await asyncio.sleep(0)

    def _control_frame(self, reader: frames.FrameReader) -> tuple[int, bytes] | None:
        try:
            frame = reader.next_frame()
        except StreamFault:  # HEADERS, which have no place here whatever their size
            raise ConnectionFault(
                Http3ErrorCode.H3_FRAME_UNEXPECTED, "HEADERS on the control stream"
            ) from None
        if not self._settings_came.is_set():
            # Frames of unknown type are skipped by the reader, and counted.
            ended = 1 if frame is not None else 0
            if reader.finished_frames > ended or (frame and frame[0] != frames.SETTINGS):
                raise ConnectionFault(
                    Http3ErrorCode.H3_MISSING_SETTINGS, "the first control frame is not SETTINGS"
                )
        return frame

    def _take_control(self, kind: int, payload: bytes) -> None:
        if kind == frames.SETTINGS:
            if self._settings_came.is_set():
                raise ConnectionFault(Http3ErrorCode.H3_FRAME_UNEXPECTED, "SETTINGS twice")
            self._take_settings(frames.parse_settings(payload))
        elif kind == frames.GOAWAY:
            self._take_goaway(frames.parse_single_varint(payload, "GOAWAY"))
        elif kind == frames.CANCEL_PUSH:
            identifier = frames.parse_single_varint(payload, "CANCEL_PUSH")
            # Nothing was ever promised or allowed, so no identifier is known (section 7.2.3).
            raise ConnectionFault(
                Http3ErrorCode.H3_ID_ERROR, f"CANCEL_PUSH of {identifier}, which nobody promised"
            )
        elif kind == frames.MAX_PUSH_ID:
            if self.is_client:
                raise ConnectionFault(
                    Http3ErrorCode.H3_FRAME_UNEXPECTED, "MAX_PUSH_ID from a server"
                )
            identifier = frames.parse_single_varint(payload, "MAX_PUSH_ID")
            if identifier < self._max_push_id:
                raise ConnectionFault(
                    Http3ErrorCode.H3_ID_ERROR,
                    f"MAX_PUSH_ID went down from {self._max_push_id} to {identifier}",
                )
            self._max_push_id = identifier
        elif kind in (frames.PRIORITY_UPDATE_REQUEST, frames.PRIORITY_UPDATE_PUSH):
            self._take_priority(kind, payload)
        else:
            raise ConnectionFault(
                Http3ErrorCode.H3_FRAME_UNEXPECTED, f"frame type {kind:#x} on the control stream"
            )

    def _take_settings(self, settings: dict[int, int]) -> None:
        if settings.get(frames.H3_DATAGRAM) and not self.connection.datagrams.max_size:
            raise ConnectionFault(
                Http3ErrorCode.H3_SETTINGS_ERROR, "HTTP datagrams without QUIC datagrams"
            )
        self.peer_settings = settings
        capacity = settings.get(frames.QPACK_MAX_TABLE_CAPACITY, 0)
        if capacity:
            blocked = settings.get(frames.QPACK_BLOCKED_STREAMS, 0)
            self._write_qpack(self._encoder_stream, self._encoder.apply_settings(capacity, blocked))
        self._settings_came.set()

    def _take_goaway(self, identifier: int) -> None:
        if self.is_client and identifier % 4:
            raise ConnectionFault(
                Http3ErrorCode.H3_ID_ERROR, f"GOAWAY of {identifier}, which is no request"
            )
        if self._goaway_received is not None and identifier > self._goaway_received:
            raise ConnectionFault(
                Http3ErrorCode.H3_ID_ERROR,
                f"GOAWAY went up from {self._goaway_received} to {identifier}",
            )
        self._goaway_received = identifier
        self._going_away.set()
        self._take_goaway_id(identifier)

    def _take_goaway_id(self, identifier: int) -> None:
        """Give up what the peer will not serve."""

    def _take_priority(self, kind: int, payload: bytes) -> None:
        if self.is_client:
            raise ConnectionFault(
                Http3ErrorCode.H3_FRAME_UNEXPECTED, "PRIORITY_UPDATE from a server"
            )
        parsed = frames.parse_varint(payload, 0)
        if parsed is None:
            raise ConnectionFault(
                Http3ErrorCode.H3_FRAME_ERROR, "PRIORITY_UPDATE without an identifier"
            )
        identifier, start = parsed
        if kind == frames.PRIORITY_UPDATE_PUSH:
            raise ConnectionFault(
                Http3ErrorCode.H3_ID_ERROR, f"PRIORITY_UPDATE of push {identifier}: none promised"
            )
        if identifier % 4:
            raise ConnectionFault(
                Http3ErrorCode.H3_ID_ERROR,
                f"PRIORITY_UPDATE of stream {identifier}, which is no request",
            )
        try:
            priority = Priority.parse(payload[start:].decode("ascii"))
        except ValueError:  # a peer's hint that is none is no reason to end anything
            return
        stream = self._open.get(identifier)
        if stream is not None:
            self._updated.add(identifier)
            stream.set_priority(overridden(priority, self._answered.get(identifier)))
        elif identifier >= self._next_request_id:
            self._priorities.pop(identifier, None)
            self._priorities[identifier] = priority
            if len(self._priorities) > _PENDING_PRIORITIES:
                del self._priorities[next(iter(self._priorities))]

    async def _read_encoder(self, stream: Stream) -> None:
        while data := await stream.read(CHUNK):
            for stream_id in self._decoder.feed_encoder(data):
                control, fields = self._decoder.resume(stream_id)
                self._write_qpack(self._decoder_stream, control)
                waiting = self._blocked.pop(stream_id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(fields)

    async def _read_decoder(self, stream: Stream) -> None:
        while data := await stream.read(CHUNK):
            self._encoder.feed_decoder(data)

    def _write_qpack(self, stream: Stream | None, data: bytes) -> None:
        if not data or stream is None:
            return
        if stream.queued > _QPACK_BACKLOG:
            raise ConnectionFault(
                Http3ErrorCode.H3_EXCESSIVE_LOAD, "the peer does not read our QPACK streams"
            )
        try:
            stream.write(data)
        except StreamStoppedError as error:
            raise ConnectionFault(
                Http3ErrorCode.H3_CLOSED_CRITICAL_STREAM,
                f"a QPACK stream was stopped with {error.code:#x}",
            ) from None

    def write_control(self, data: bytes) -> None:
        """Write whole frames onto our control stream."""
        if self._control is None or self.closed:
            raise self.closing_error()
        if self._control.queued > _QPACK_BACKLOG:
            raise self.fail(
                ConnectionFault(
                    Http3ErrorCode.H3_EXCESSIVE_LOAD, "the peer does not read our control stream"
                )
            )
        try:
            self._control.write(data)
        except StreamStoppedError as error:
            raise self.fail(
                ConnectionFault(
                    Http3ErrorCode.H3_CLOSED_CRITICAL_STREAM,
                    f"the control stream was stopped with {error.code:#x}",
                )
            ) from None

    # ------------------------------------------------------------------ field sections

    def encode(self, stream_id: int, fields: Fields) -> bytes:
        """Encode a field section as a whole HEADERS frame."""
        instructions, section = self._encoder.encode(stream_id, fields)
        self._write_qpack(self._encoder_stream, instructions)
        return frames.encode_frame(frames.HEADERS, section)

    def decode(self, stream_id: int, section: bytes) -> Fields | asyncio.Future[Fields]:
        """Decode a field section; a future where it waits for the encoder stream."""
        try:
            decoded = self._decoder.decode(stream_id, section)
        except StreamFault:
            self.cancel_decoding(stream_id)
            raise
        if decoded is None:
            waiting = asyncio.get_running_loop().create_future()
            self._blocked[stream_id] = waiting
            return waiting
        control, fields = decoded
        self._write_qpack(self._decoder_stream, control)
        return fields

    def check_size(self, fields: Fields) -> Fields:
        """Return decoded fields if they are within the limit; StreamFault otherwise."""
        return self._decoder.check_size(fields)

    def cancel_decoding(self, stream_id: int) -> None:
        """Tell the peer's encoder that sections of a stream will not be decoded."""
        waiting = self._blocked.pop(stream_id, None)
        if waiting is not None:
            _refuse(waiting, QuicError(f"stream {stream_id} was given up"))
        if not self.closed:
            self._write_qpack(self._decoder_stream, self._decoder.cancel(stream_id))

    def hold(self, more: int) -> None:
        """Count bytes kept until a frame is complete; StreamFault where all are above a limit."""
        self._held += more
        if more > 0 and self._held > _HELD_LIMIT:
            raise StreamFault(
                Http3ErrorCode.H3_EXCESSIVE_LOAD,
                f"frames that are not all there keep more than {_HELD_LIMIT} bytes",
            )

    # ------------------------------------------------------------------ datagrams

    async def _take_datagrams(self) -> None:
        if not self.connection.config.datagrams:
            return
        while True:
            data = await self.connection.datagrams.receive()
            parsed = frames.parse_varint(data, 0)
            # Four times a larger number is no stream identifier (RFC 9297, section 2.1).
            if parsed is None or parsed[0] >= 1 << 60:
                raise ConnectionFault(
                    Http3ErrorCode.H3_DATAGRAM_ERROR, "a datagram without a quarter stream id"
                )
            identifier, start = parsed
            sink = self._datagram_sinks.get(identifier)
            if sink is not None:
                sink(data[start:])
            else:
                self._early_datagrams.append((identifier, data[start:]))

    # ------------------------------------------------------------------ going away

    @property
    def going_away(self) -> bool:
        """Whether either side has said that it stops."""
        return self._goaway_sent is not None or self._goaway_received is not None

    async def wait_going_away(self) -> None:
        """Wait until either side says that it stops, or the connection is over."""
        await self._going_away.wait()

    async def shutdown(self, timeout_s: float | None = 10.0) -> None:
        """Stop gracefully: say GOAWAY, let open requests end, close.

        Parameters
        ----------
        timeout_s : float or None, default 10.0
            Longest wait, in seconds, for open requests; those that are left are cut off.
        """
        if not self.closed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._go_away()
                    await self._idle.wait()
            except (TimeoutError, QuicError):
                pass  # what is left is cut off, as documented; or it closed meanwhile
        self.close()
        await self.connection.wait_closed()

    async def _go_away(self) -> None:
        if self.is_client:
            # A client's GOAWAY is about pushes, of which there are none.
            self._goaway_sent = 0
            self._going_away.set()
            self.write_control(frames.encode_frame(frames.GOAWAY, frames.encode_varint(0)))
            return
        # First one that cuts nothing off; a round trip later, when the client has stopped, the
        # last that really counts (RFC 9114, section 5.2).
        for last in (True, False):
            identifier = _LAST_REQUEST_ID if last else self._next_request_id
            self._goaway_sent = identifier
            self._going_away.set()
            self.write_control(frames.encode_frame(frames.GOAWAY, frames.encode_varint(identifier)))
            if last:
                await self.connection.ping()

    def close(self, code: int = Http3ErrorCode.H3_NO_ERROR, reason: str = "") -> None:
        """Close the connection at once; open requests are cut off."""
        if self.error is None:
            self.error = Http3Error(reason or "the connection was closed here", code=code)
            self.connection.close(code, reason)
            self._wake_all()

    async def wait_closed(self) -> None:
        """Wait until the connection is over."""
        await self.connection.wait_closed()


def overridden(asked: Priority, answered: Answered | None) -> Priority:
    """What a client asks for, but for members that the response names (RFC 9218, section 8)."""
    urgency, incremental = answered or (None, None)
    return Priority(
        asked.urgency if urgency is None else urgency,
        asked.incremental if incremental is None else incremental,
    )


def _refuse(waiting: asyncio.Future[Fields], error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)
        waiting.exception()  # it may be that nobody waits any more


class _Tracked:
    """A request that is open."""

    __slots__ = ("_session", "_stream")

    def __init__(self, session: Transactions, stream: Stream) -> None:
        self._session = session
        self._stream = stream

    def __enter__(self) -> None:
        self._session._open[self._stream.stream_id] = self._stream
        self._session._idle.clear()

    def __exit__(self, *_: object) -> None:
        session = self._session
        session._open.pop(self._stream.stream_id, None)
        session._updated.discard(self._stream.stream_id)
        session._answered.pop(self._stream.stream_id, None)
        if not session._open:
            session._idle.set()


async def _read_varint(stream: Stream) -> int | None:
    """Read one integer and nothing after it; None where the stream ends within."""
    data = await stream.read(1)
    if not data:
        return None
    size = 1 << (data[0] >> 6)
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            return None
        data += more
    parsed = frames.parse_varint(data, 0)
    return None if parsed is None else parsed[0]
