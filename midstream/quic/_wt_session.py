"""A WebTransport session and its streams and datagrams, of a client or a server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConnectionClosedError,
    QuicError,
    RefusedError,
    StreamResetError,
    StreamStoppedError,
)
from midstream._core.validate import check_int, check_real, check_text
from midstream.quic import _wt_wire as wire
from midstream.quic._h3_errors import Http3Error, Http3ErrorCode, StreamFault
from midstream.quic._h3_frames import CapsuleReader
from midstream.quic._wt_hub import Hub, capsule_frame, refuse
from midstream.quic._wt_wire import Draft, Limits
from midstream.quic.priority import Priority

if TYPE_CHECKING:
    from midstream.quic._h3_fields import Headers
    from midstream.quic._h3_messages import Tunnel
    from midstream.quic.connection import Connection
    from midstream.quic.streams import Stream

__all__ = ["CloseInfo", "Session", "SessionDatagrams", "SessionStats", "SessionStream"]

T = TypeVar("T")

#: Streams without an order of their own share the bandwidth, as W3C WebTransport has it.
_SHARED = Priority(incremental=True)
#: Streams of the peer that nobody accepted yet; more are refused. QUIC's own limit is on those
#: that are open at once, over all sessions.
_BACKLOG = 1000
#: Capsules that may wait for a peer that does not read them, bytes.
_CAPSULE_BACKLOG = 65536
#: How long a close waits until the peer has seen it, seconds.
_FAREWELL_S = 2.0
#: Finished streams that are kept until the peer has everything, before they are looked through.
_FINISHED = 64
_ORDER_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class CloseInfo:
    """How a session ended.

    Attributes
    ----------
    code : int
        The application's code, 0 to 2**32 - 1.
    reason : str
        Words for it, at most 1024 bytes of UTF-8.
    by_peer : bool
        Whether the peer closed it.
    """

    code: int
    reason: str
    by_peer: bool


@dataclass(frozen=True, slots=True)
class SessionStats:
    """What a session has done so far; `Connection.stats` has round-trip times and bytes.

    Attributes
    ----------
    streams_opened, streams_accepted : int
        Streams that this side, and that the peer, opened.
    streams_open : int
        Streams of both that are not over.
    streams_refused : int
        Streams of the peer that nobody accepted in time.
    datagrams_sent, datagrams_received, datagrams_dropped : int
        Datagrams; those dropped came and were not read in time.
    """

    streams_opened: int
    streams_accepted: int
    streams_open: int
    streams_refused: int
    datagrams_sent: int
    datagrams_received: int
    datagrams_dropped: int


class SessionStream:
    """One stream of a session, in one or both directions.

    Made by `Session.open_bi`, `Session.open_uni`, `Session.accept_bi` and `Session.accept_uni`.
    As a context manager it is finished at the end of the block, or reset with code 0 if the block
    raised.

    Attributes
    ----------
    session : Session
        Where it belongs.
    raw : Stream
        The QUIC stream below, for its statistics. Its codes are HTTP/3's.

    Notes
    -----
    Codes are the application's, 0 to 2**32 - 1, in both directions; what HTTP/3 makes of them is
    not seen. A reset for another reason, such as one of the HTTP/3 layer, has the code 0. Not
    thread-safe.
    """

    __slots__ = (
        "_cut_off",
        "_finishing",
        "_pending",
        "_receive_over",
        "_send_over",
        "by_peer",
        "raw",
        "session",
    )

    def __init__(self, session: Session, raw: Stream, by_peer: bool) -> None:
        self.session = session
        self.raw = raw
        self.by_peer = by_peer
        # Written, but beyond the limit of the session's data.
        self._pending = bytearray()
        self._finishing = False
        # Whether the session ended before all that was written had arrived.
        self._cut_off = False
        self._receive_over = not raw.can_receive
        self._send_over = not raw.can_send

    def __repr__(self) -> str:
        kind = "bidirectional" if self.can_send and self.can_receive else "unidirectional"
        return f"<SessionStream {self.stream_id} {kind}>"

    @property
    def stream_id(self) -> int:
        """Number of the QUIC stream."""
        return self.raw.stream_id

    @property
    def can_send(self) -> bool:
        """Whether it has a sending direction."""
        return bool(self.raw.can_send)

    @property
    def can_receive(self) -> bool:
        """Whether it has a receiving direction."""
        return bool(self.raw.can_receive)

    @property
    def priority(self) -> Priority:
        """What is sent first (RFC 9218)."""
        return self.raw.priority

    def set_priority(self, priority: Priority) -> None:
        """Change what is sent first; see `Stream.set_priority`."""
        self.raw.set_priority(priority)

    @property
    def send_order(self) -> int:
        """Among streams of one urgency that have an order: the higher one is sent first.

        Setting it makes the stream one that is sent whole before those of lower order; those
        without an order share the bandwidth (W3C WebTransport, ``sendOrder``).
        """
        return int(self.raw.send_order)

    @send_order.setter
    def send_order(self, order: int) -> None:
        self.raw.send_order = check_int("send_order", order, low=-_ORDER_MAX, high=_ORDER_MAX)
        self.raw.set_priority(Priority(self.priority.urgency))

    # Receiving

    async def read(self, n: int = -1) -> bytes:
        """Read up to `n` bytes, as soon as there are any; all up to the end, if negative.

        Raises
        ------
        StreamResetError
            The peer reset the stream; with its code.
        ConnectionClosedError
            The session or the connection is over.
        """
        return self._received(await self._call(self.raw.read(n)))

    async def readexactly(self, n: int) -> bytes:
        """Read exactly `n` bytes; see `Stream.readexactly`."""
        return self._received(await self._call(self.raw.readexactly(n)))

    async def readuntil(self, separator: bytes = b"\n", limit: int = 65536) -> bytes:
        """Read up to and with `separator`; see `Stream.readuntil`."""
        return self._received(await self._call(self.raw.readuntil(separator, limit)))

    async def read_to_end(self, limit: int) -> bytes:
        """Read all up to the end, if that is not more than `limit` bytes.

        Raises
        ------
        asyncio.LimitOverrunError
            There is more.
        StreamResetError, ConnectionClosedError
            As of `read`.
        """
        return self._received(await self._call(self.raw.read_to_end(limit)))

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive, up to the end."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        data = await self.read(65536)
        if not data:
            raise StopAsyncIteration
        return data

    def at_eof(self) -> bool:
        """Whether it was read to its end."""
        return self.raw.at_eof()

    def stop(self, code: int = 0) -> None:
        """Ask the peer to send no more, and drop what was received.

        Parameters
        ----------
        code : int
            The application's code, 0 to 2**32 - 1.
        """
        code = check_int("code", code, low=0, high=wire.CODE_MAX)
        self.raw.stop(wire.http_code(code))
        self._end(receive=True)

    # Sending

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes for sending; call `drain` after it.

        Raises
        ------
        StreamStoppedError
            The peer asked to send no more; with its code.
        ConnectionClosedError
            The session or the connection is over.
        RefusedError
            It was finished or reset.
        ArgumentTypeError
            `data` is no bytes.
        """
        self.session._check_open()
        if self._finishing:
            raise RefusedError(f"stream {self.stream_id} was finished", reason="finished")
        try:
            size = memoryview(data).nbytes
        except TypeError:
            raise ArgumentTypeError(
                f"data must be bytes-like and contiguous, got {type(data).__name__}"
            ) from None
        room = 0 if self._pending else self.session._take_credit(size)
        with self._translated():
            if room == size:
                self.raw.write(data)
                return
            with memoryview(data).cast("B") as view:
                if room:
                    self.raw.write(view[:room])
                self._pending += view[room:]
        self.session._wait_for_credit(self)

    async def drain(self) -> None:
        """Wait until there is room for more: of the connection, and of the session's data.

        Raises
        ------
        StreamStoppedError, ConnectionClosedError
            As of `write`.
        """
        while self._pending:
            await self.session._credit_came()
        await self._call(self.raw.drain())

    def finish(self) -> None:
        """End the sending direction after what was written."""
        if self._finishing or self._send_over:
            return
        self._finishing = True
        if not self._pending:
            with self._translated():
                self.raw.finish()
            self._end(send=True)

    def reset(self, code: int = 0) -> None:
        """Break off the sending direction.

        Parameters
        ----------
        code : int
            The application's code, 0 to 2**32 - 1.
        """
        code = check_int("code", code, low=0, high=wire.CODE_MAX)
        self._pending.clear()
        self._finishing = True
        self.raw.reset(wire.http_code(code))
        self._end(send=True)

    async def wait_acked(self) -> None:
        """Wait until the peer's transport has everything; see `Stream.wait_acked`."""
        while self._pending:
            await self.session._credit_came()
        await self._call(self.raw.wait_acked())

    async def wait_stopped(self) -> int | None:
        """Wait until the peer wants no more, or has got everything; see `Stream.wait_stopped`.

        Returns
        -------
        int or None
            The application's code of the peer's stop; None where the peer has got all.

        Raises
        ------
        ConnectionClosedError
            The session or the connection is over.
        """
        code = await self._call(self.raw.wait_stopped())
        if code is None:
            if self._cut_off:
                raise self.session._closing_error()
            return None
        if code == wire.SESSION_GONE:
            await self.session._learn_end()
        self.session._check_open()
        return wire.application_code(code) or 0

    async def __aenter__(self) -> Self:
        """The stream itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish it, or reset it where the block raised."""
        if self.session.closed or not self.can_send:
            return
        if error is None:
            self.finish()
        else:
            self.reset(0)

    # Inside

    def _flush(self) -> None:
        """Send what waits for the session's credit."""
        room = self.session._take_credit(len(self._pending))
        if room:
            self.raw.write(bytes(self._pending[:room]))
            del self._pending[:room]
        if self._pending:
            self.session._wait_for_credit(self)
        elif self._finishing:
            self.raw.finish()
            self._end(send=True)

    def _gone(self) -> None:
        """The session is over."""
        self._cut_off = not self.raw.all_acked
        self._pending.clear()
        self._finishing = self._receive_over = self._send_over = True
        refuse(self.raw, wire.SESSION_GONE)

    def _received(self, data: bytes) -> bytes:
        if not self._receive_over and self.raw.at_eof():
            self._end(receive=True)
        return data

    def _end(self, *, send: bool = False, receive: bool = False) -> None:
        if self._send_over and self._receive_over:
            return
        self._send_over |= send
        self._receive_over |= receive
        if self._send_over and self._receive_over:
            self.session._stream_over(self)

    async def _call(self, awaitable: Awaitable[T]) -> T:
        with self._translated():
            try:
                return await awaitable
            except (StreamResetError, StreamStoppedError) as error:
                if error.code == wire.SESSION_GONE:
                    # The close that says why is on another stream, and may come a little later.
                    await self.session._learn_end()
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Give errors of the stream the application's codes."""
        try:
            yield
        except StreamResetError as error:
            self._end(receive=True)
            raise self._error(StreamResetError, "reset", error.code) from error
        except StreamStoppedError as error:
            self._pending.clear()
            self._end(send=True)
            raise self._error(StreamStoppedError, "stopped", error.code) from error
        except (ConnectionClosedError, RefusedError):
            raise
        except QuicError:
            # What `_gone` did to the stream is not what its user should hear of.
            self.session._check_open()
            raise

    def _error(
        self, kind: type[StreamResetError] | type[StreamStoppedError], verb: str, code: int
    ) -> QuicError:
        if self.session.closed:
            return self.session._closing_error()
        if code == wire.SESSION_GONE:
            return ConnectionClosedError("the peer's session is over", by_peer=True)
        number = wire.application_code(code)
        shown = f"HTTP/3's {code:#x}" if number is None else str(number)
        return kind(
            f"the peer {verb} stream {self.stream_id} with code {shown}",
            code=number or 0,
            stream_id=self.stream_id,
        )


class SessionDatagrams:
    """Unreliable datagrams of a session: each arrives whole, once, or not at all.

    Reached as `Session.datagrams`. Iteration gives what arrives until the session is over.
    """

    def __init__(self, session: Session, limit: int) -> None:
        self._session = session
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._came = asyncio.Event()
        self._sent = 0
        self._received = 0
        self._dropped = 0

    def __repr__(self) -> str:
        return f"<SessionDatagrams: {len(self._queue)} to read, {self._dropped} dropped>"

    def __len__(self) -> int:
        """How many wait to be read."""
        return len(self._queue)

    @property
    def max_size(self) -> int:
        """Longest datagram that fits now, bytes; 0 if the peer takes none."""
        return self._session._tunnel.max_datagram_size

    @property
    def dropped(self) -> int:
        """Received datagrams that were dropped since nobody read them."""
        return self._dropped

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send one datagram.

        Raises
        ------
        DatagramTooLargeError
            Longer than `max_size`.
        ConnectionClosedError
            The session is over.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ArgumentTypeError(f"data must be bytes, got {type(data).__name__}")
        self._session._check_open()
        self._session._tunnel.send_datagram(bytes(data))
        self._sent += 1

    async def receive(self) -> bytes:
        """The next datagram, waiting for it if there is none.

        Raises
        ------
        ConnectionClosedError
            The session is over, and all that arrived was received.
        """
        while not self._queue:
            self._session._check_open()
            self._came.clear()
            await self._came.wait()
        return self._queue.popleft()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Datagrams as they arrive, until the session is over."""
        return self

    async def __anext__(self) -> bytes:
        """The next datagram."""
        try:
            return await self.receive()
        except ConnectionClosedError:
            if self._session.close_info is None:
                raise
            raise StopAsyncIteration from None

    def _push(self, data: bytes) -> None:
        self._received += 1
        if len(self._queue) >= self._limit:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append(data)
        self._came.set()


class Session:
    """One WebTransport session: streams and datagrams to and from one page or program.

    Made by `connect`, or handed to the handler of `serve`. As a context manager it is closed at
    the end of the block with code 0, after what was finished has arrived.

    Attributes
    ----------
    session_id : int
        The stream of its CONNECT request.
    path, authority : str
        What was asked for; `path` with its query.
    origin : str or None
        Origin of the page that asked, as its browser says; None from a program.
    headers : Headers
        Of the request on the server, of the response on the client.
    protocol : str or None
        Application protocol that both agreed on.
    draft : int
        Version of the protocol that is spoken: 2, 7, 13 or 15, the first with that form.
    datagrams : SessionDatagrams
        Its datagrams.

    Notes
    -----
    Not thread-safe: of the event loop it was made in. Several sessions may share a connection;
    what one does ends none of the others.
    """

    def __init__(
        self,
        hub: Hub,
        tunnel: Tunnel,
        draft: Draft,
        *,
        path: str,
        authority: str,
        origin: str | None,
        protocol: str | None,
    ) -> None:
        self._hub = hub
        self._tunnel = tunnel
        self.session_id: int = tunnel.stream_id
        self.path = path
        self.authority = authority
        self.origin = origin
        self.headers: Headers = tunnel.headers
        self.protocol = protocol
        self.draft = int(draft)
        self.datagrams = SessionDatagrams(self, self.connection.config.datagram_queue)
        self.close_info: CloseInfo | None = None
        self._error: QuicError | None = None
        self._over = asyncio.Event()
        self._peer_drains = asyncio.Event()
        self._streams: dict[int, SessionStream] = {}
        self._finished: list[SessionStream] = []
        self._arrived: tuple[deque[SessionStream], deque[SessionStream]] = (deque(), deque())
        self._arrival = asyncio.Event()
        self._opened = 0
        self._accepted = 0
        self._refused = 0
        # Limits that the peer gave, and the use of them; None without flow control.
        self._credit: list[int] | None = None
        self._used = [0, 0, 0]  # data, bidirectional and unidirectional streams
        self._given = [0, hub.limits.streams_bidi, hub.limits.streams_uni]
        self._taken = [0, 0, 0]
        self._ended = [0, 0, 0]
        self._starved: dict[int, SessionStream] = {}
        self._credit_event = asyncio.Event()
        if hub.has_flow_control(draft):
            limits = Limits.of(hub.http3.peer_settings)
            self._credit = [limits.data, limits.streams_bidi, limits.streams_uni]
        hub.http3.on_datagram(self.session_id // 4, self.datagrams._push)
        hub.attach(self)
        self._reader = hub.http3.spawn(self._read_capsules())
        self._reader.add_done_callback(self._reader_ended)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Session {self.session_id} {state}, {self.authority}{self.path}>"

    @property
    def connection(self) -> Connection:
        """The QUIC connection below, which other sessions may share."""
        return self._hub.http3.connection

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._over.is_set()

    @property
    def draining(self) -> bool:
        """Whether the peer has asked to come to an end, of the session or of the connection."""
        return self._peer_drains.is_set() or self._hub.http3.going_away

    def stats(self) -> SessionStats:
        """What it has done so far."""
        datagrams = self.datagrams
        return SessionStats(
            self._opened,
            self._accepted,
            len(self._streams),
            self._refused,
            datagrams._sent,
            datagrams._received,
            datagrams._dropped,
        )

    # Streams

    async def open_bi(
        self, priority: Priority | None = None, send_order: int | None = None
    ) -> SessionStream:
        """Open a bidirectional stream; waits while the peer allows no more.

        Parameters
        ----------
        priority : Priority, optional
            What is sent first. Default: shares the bandwidth with the others.
        send_order : int, optional
            Sent whole before streams of lower order, and after those of higher (W3C
            ``sendOrder``).

        Returns
        -------
        SessionStream

        Raises
        ------
        ConnectionClosedError
            The session or the connection is over.
        """
        return await self._open(False, priority, send_order)

    async def open_uni(
        self, priority: Priority | None = None, send_order: int | None = None
    ) -> SessionStream:
        """Open a stream on which only this side sends; as `open_bi`."""
        return await self._open(True, priority, send_order)

    async def _open(
        self, unidirectional: bool, priority: Priority | None, send_order: int | None
    ) -> SessionStream:
        if send_order is not None:
            check_int("send_order", send_order, low=-_ORDER_MAX, high=_ORDER_MAX)
            priority = Priority() if priority is None else priority
        await self._stream_credit(1 + unidirectional)
        connection = self.connection
        opener = connection.open_uni if unidirectional else connection.open_bi
        try:
            raw = await opener(_SHARED if priority is None else priority)
        except BaseException:
            if self._credit is not None:
                self._used[1 + unidirectional] -= 1
                # For whoever waits for it.
                self._credit_event.set()
            raise
        if self.closed:
            refuse(raw, wire.SESSION_GONE)
            raise self._closing_error()
        if send_order is not None:
            raw.send_order = send_order
        raw.write(wire.stream_header(unidirectional, self.session_id))
        stream = SessionStream(self, raw, by_peer=False)
        self._streams[raw.stream_id] = stream
        self._opened += 1
        return stream

    async def _stream_credit(self, kind: int) -> None:
        """Wait until the peer allows one more stream in this session."""
        self._check_open()
        if self._credit is None:
            return
        told = -1
        while self._used[kind] >= self._credit[kind]:
            if told != self._credit[kind]:
                told = self._credit[kind]
                blocked = wire.STREAMS_BLOCKED_UNI if kind == 2 else wire.STREAMS_BLOCKED_BIDI
                self._send_capsule(*wire.flow_capsule(blocked, told))
            await self._credit_came()
        self._used[kind] += 1

    async def accept_bi(self) -> SessionStream:
        """Wait for the next bidirectional stream of the peer.

        Raises
        ------
        ConnectionClosedError
            The session is over; what was not accepted was reset (draft 15, section 6).
        """
        return await self._accept(0)

    async def accept_uni(self) -> SessionStream:
        """Wait for the next unidirectional stream of the peer; as `accept_bi`."""
        return await self._accept(1)

    async def _accept(self, kind: int) -> SessionStream:
        queue = self._arrived[kind]
        while not queue:
            self._check_open()
            self._arrival.clear()
            await self._arrival.wait()
        return queue.popleft()

    async def streams(self) -> AsyncIterator[SessionStream]:
        """Streams of the peer as they come, of both kinds, until the session is over."""
        while True:
            for queue in self._arrived:
                while queue:
                    yield queue.popleft()
            if self._over.is_set():
                if self.close_info is None:
                    raise self._closing_error()
                return
            if not any(self._arrived):
                self._arrival.clear()
                await self._arrival.wait()

    def take_stream(self, stream: Stream) -> None:
        """Take a stream of the peer's; called by the connection."""
        unidirectional = not stream.can_send
        kind = 1 + unidirectional
        self._taken[kind] += 1
        if self._credit is not None and self._taken[kind] > self._given[kind]:
            self._fail(
                StreamFault(wire.FLOW_CONTROL_ERROR, "the peer opened more streams than it may")
            )
            refuse(stream, wire.SESSION_GONE)
            return
        queue = self._arrived[unidirectional]
        if len(queue) >= _BACKLOG:
            self._refused += 1
            refuse(stream, wire.BUFFERED_STREAM_REJECTED)
            self._give_credit(kind)
            return
        self._accepted += 1
        if stream.can_send:
            stream.set_priority(_SHARED)
        made = SessionStream(self, stream, by_peer=True)
        self._streams[stream.stream_id] = made
        queue.append(made)
        self._arrival.set()

    def _stream_over(self, stream: SessionStream) -> None:
        if self._streams.pop(stream.stream_id, None) is None:
            return
        if stream.can_send and not stream.raw.all_acked:
            if len(self._finished) >= _FINISHED:
                self._finished = [s for s in self._finished if not s.raw.all_acked]
            self._finished.append(stream)
        if stream.by_peer:
            self._give_credit(1 + (not stream.can_send))

    def _give_credit(self, kind: int) -> None:
        """Let the peer open another stream for one that is over; told in groups."""
        self._ended[kind] += 1
        if self._credit is None or self.closed:
            return
        limit = (self._hub.limits.streams_bidi, self._hub.limits.streams_uni)[kind - 1]
        due = self._ended[kind] + limit
        if 2 * (due - self._given[kind]) >= limit:
            self._given[kind] = due
            capsule = wire.MAX_STREAMS_UNI if kind == 2 else wire.MAX_STREAMS_BIDI
            self._send_capsule(*wire.flow_capsule(capsule, due))

    # Credit for data

    def _take_credit(self, size: int) -> int:
        if self._credit is None:
            return size
        room = min(size, self._credit[0] - self._used[0])
        self._used[0] += room
        return room

    def _wait_for_credit(self, stream: SessionStream) -> None:
        assert self._credit is not None
        if not self._starved:
            self._send_capsule(*wire.flow_capsule(wire.DATA_BLOCKED, self._credit[0]))
        self._starved[stream.stream_id] = stream

    async def _credit_came(self) -> None:
        self._check_open()
        self._credit_event.clear()
        await self._credit_event.wait()
        self._check_open()

    def _raise_credit(self, kind: int, limit: int) -> None:
        if self._credit is None:
            raise StreamFault(Http3ErrorCode.H3_MESSAGE_ERROR, "a limit where none was agreed on")
        if limit < self._credit[kind]:
            raise StreamFault(
                wire.FLOW_CONTROL_ERROR,
                f"a limit went down from {self._credit[kind]} to {limit}",
            )
        self._credit[kind] = limit
        if kind == 0:
            starved, self._starved = self._starved, {}
            # In the order in which they would be sent.
            for stream in sorted(starved.values(), key=_turn):
                try:
                    stream._flush()
                except QuicError:
                    # Stopped meanwhile: whoever writes next is told.
                    stream._pending.clear()
        self._credit_event.set()

    # Capsules

    def _send_capsule(self, kind: int, payload: bytes) -> None:
        stream = self._tunnel.stream
        if stream.connection.closed or stream.stopped_code is not None:
            return
        if stream.queued > _CAPSULE_BACKLOG:
            self._fail(
                StreamFault(Http3ErrorCode.H3_EXCESSIVE_LOAD, "the peer does not read capsules")
            )
            return
        stream.write(capsule_frame(kind, payload))

    async def _read_capsules(self) -> None:
        reader = CapsuleReader(wire.CAPSULE_LIMIT, wire.KNOWN)
        try:
            async for part in self._tunnel:
                for kind, payload in reader.feed(part):
                    if self.close_info is not None and self.close_info.by_peer:
                        raise StreamFault(
                            Http3ErrorCode.H3_MESSAGE_ERROR, "a capsule after the close"
                        )
                    self._take_capsule(kind, payload)
        except StreamFault as fault:
            self._fail(fault)
            return
        except Http3Error as error:
            self._end(
                None,
                ConnectionClosedError(
                    f"the peer broke off session {self.session_id}: {error}",
                    code=error.code,
                    by_peer=True,
                ),
            )
            return
        # An end without a word is a close with code 0 (section 6).
        self._end(CloseInfo(0, "", True))
        self._tunnel.finish()

    def _take_capsule(self, kind: int, payload: bytes) -> None:
        if kind == wire.CLOSE_SESSION:
            code, reason = wire.parse_close(payload)
            self._end(CloseInfo(code, reason, True))
        elif kind == wire.DRAIN_SESSION:
            self._peer_drains.set()
        elif not self.closed:
            limit = wire.parse_flow(kind, payload)
            if kind in _LIMITS:
                self._raise_credit(_LIMITS[kind], limit)

    def _fail(self, fault: StreamFault) -> None:
        """Break the session off for a fault of the peer's."""
        error = Http3Error(str(fault), code=fault.code, stream_id=self.session_id)
        closed = ConnectionClosedError(
            f"session {self.session_id} was broken off: {fault}", code=fault.code
        )
        closed.__cause__ = error
        self._end(None, closed)
        self._tunnel.reset(fault.code)

    def _reader_ended(self, task: asyncio.Task[None]) -> None:
        if not self.closed:
            self._end(
                None, ConnectionClosedError("the connection of the session is over", by_peer=True)
            )

    # The end

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close it at once: streams that are not over are reset, on both sides.

        Parameters
        ----------
        code : int
            The application's code, 0 to 2**32 - 1, which the peer gets.
        reason : str
            Words for it; what is beyond 1024 bytes is cut off.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No such integer, or no str.
        """
        code = check_int("code", code, low=0, high=wire.CODE_MAX)
        payload = wire.close_capsule(code, check_text("reason", reason))
        if self.closed:
            return
        self._send_capsule(wire.CLOSE_SESSION, payload)
        if self.closed:  # a peer that reads no capsules
            return
        self._end(CloseInfo(code, payload[4:].decode(), False))
        if not self.connection.closed:
            self._tunnel.finish()

    async def drain(self, timeout_s: float | None = None) -> CloseInfo:
        """Ask the peer to come to an end, wait until it has closed, then close.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait, seconds. Default: as long as it takes.

        Returns
        -------
        CloseInfo
            How it ended.

        Raises
        ------
        ConnectionClosedError
            The connection ended before the session did.
        """
        if timeout_s is not None:
            timeout_s = check_real("timeout_s", timeout_s, low=0)
        if not self.closed:
            self._send_capsule(wire.DRAIN_SESSION, b"")
            try:
                async with asyncio.timeout(timeout_s):
                    await self._over.wait()
            except TimeoutError:
                self.close()
        return await self.wait_closed()

    async def wait_draining(self) -> None:
        """Wait until `draining`, of the session or of its connection, or until it is over."""
        all_waits = (
            self._peer_drains.wait(),
            self._over.wait(),
            self._hub.http3.wait_going_away(),
        )
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(w) for w in all_waits]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def wait_closed(self) -> CloseInfo:
        """Wait until it is over.

        Returns
        -------
        CloseInfo
            Code and reason, and who closed.

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection, or the CONNECT stream, ended without a close.
        """
        await self._over.wait()
        if self.close_info is None:
            raise self._closing_error()
        return self.close_info

    async def __aenter__(self) -> Self:
        """The session itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it: with code 0 after what was finished has arrived, or at once after an error."""
        if error is None:
            await self._flushed()
        self.close()
        await self._farewell()

    async def _flushed(self) -> None:
        """Wait until the peer has what was finished, unless it stops taking it."""
        timeout = self.connection.config.idle_timeout_s
        try:
            async with asyncio.timeout(timeout):
                for stream in [*self._finished, *self._streams.values()]:
                    if stream._finishing and not stream.raw.all_acked:
                        try:
                            await stream.wait_acked()
                        except (StreamStoppedError, RefusedError):
                            continue
        except (TimeoutError, QuicError):
            return

    async def _farewell(self) -> None:
        """Wait until the peer has seen the close: a connection closed too soon would hide it."""
        if not self._reader.done():
            await asyncio.wait((self._reader,), timeout=_FAREWELL_S)
        self._reader.cancel()

    async def _learn_end(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._over.wait()

    def _end(self, info: CloseInfo | None, error: QuicError | None = None) -> None:
        if self.closed:
            return
        self.close_info = info
        self._error = error
        self._over.set()
        self._hub.http3.on_datagram(self.session_id // 4, None)
        self._hub.detach(self.session_id)
        finished = [s for s in self._finished if not s.raw.all_acked]
        for stream in [*self._streams.values(), *finished]:
            stream._gone()
        self._streams.clear()
        self._finished.clear()
        self._starved.clear()
        for queue in self._arrived:
            queue.clear()
        for event in (self._arrival, self._credit_event, self.datagrams._came):
            event.set()

    def _check_open(self) -> None:
        if self.closed:
            raise self._closing_error()

    def _closing_error(self) -> QuicError:
        if self.close_info is None:
            if self._error is None:
                raise ArgumentValueError(f"{self!r} is open")
            return self._error
        info = self.close_info
        who = "the peer" if info.by_peer else "this side"
        return ConnectionClosedError(
            f"{who} closed session {self.session_id} with code {info.code}"
            + (f": {info.reason}" if info.reason else ""),
            code=info.code,
            reason=info.reason,
            is_application=True,
            by_peer=info.by_peer,
        )


def _turn(stream: SessionStream) -> tuple[int, int, int]:
    raw = stream.raw
    return raw.urgency, -raw.send_order, raw.stream_id


#: Which limit a capsule raises.
_LIMITS = {wire.MAX_DATA: 0, wire.MAX_STREAMS_BIDI: 1, wire.MAX_STREAMS_UNI: 2}
