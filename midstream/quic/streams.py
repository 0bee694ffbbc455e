"""Streams of a QUIC connection for asyncio, with backpressure in both directions.

`Stream.drain` waits while the peer does not take what was written, and the peer gets credit for
more only as the application reads. Resets and requests to stop surface as errors with their codes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    QuicError,
    RefusedError,
    StreamResetError,
    StreamStoppedError,
)
from midstream._core.validate import check_int
from midstream._core.words import counted
from midstream.quic._transport import StreamState
from midstream.quic._waiters import other_loop
from midstream.quic.priority import Priority

if TYPE_CHECKING:
    from midstream.quic.connection import Connection

__all__ = ["Stream", "StreamReader", "StreamWriter"]

#: Error codes are variable-length integers (RFC 9000, section 19.4).
_CODE_MAX = (1 << 62) - 1
#: Largest piece that iteration gives, bytes: a task that works on one holds the loop for that long.
_CHUNK = 256 << 10
#: Urgency of a stream that nobody gave one (RFC 9218, section 4.1).
_ORDINARY = 3
#: asyncio's own limit of a line, bytes.
_LINE_LIMIT = 64 << 10


class Stream(StreamState):
    """One stream: bytes in order, in one or both directions.

    Made by `Connection.open_bi`, `Connection.open_uni`, `Connection.accept_bi` and
    `Connection.accept_uni`, not directly. As a context manager it is finished at the end of the
    block, or reset with code 0 if the block raised.

    Attributes
    ----------
    connection : Connection
        Where the stream belongs.
    stream_id : int
        Its number (RFC 9000, section 2.1).
    can_send, can_receive : bool
        Which directions it has.
    early : bool
        Whether bytes of it came as early data, which an attacker may have replayed.
    buffered : int
        Bytes that a read gets without waiting.
    queued, unacked : int
        Bytes written that have not been sent yet, and that the peer has not acknowledged yet.

    Notes
    -----
    Not thread-safe: of the event loop it was made in. One task may read and another one write at
    the same time; two readers, or two that drain, raise `RefusedError`. A cancelled call loses no
    byte. When the peer resets the stream, what was received and not read is dropped, as RFC 9000,
    section 3.2, allows. When the connection ends, what was received can still be read.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, connect, serve
    >>> identity = Identity.development()
    >>> async def echo(connection):
    ...     async for stream in connection.streams():
    ...         stream.write(await stream.read_to_end(1000))
    ...         stream.finish()
    >>> async def main():
    ...     async with serve(echo, "127.0.0.1", 0, config=Config(identity=identity)) as server:
    ...         trust = Config(pins=[identity.certificate_pin])
    ...         async with connect(*server.address, config=trust) as connection:
    ...             stream = await connection.open_bi()
    ...             stream.write(b"hello")
    ...             stream.finish()
    ...             return await stream.read()
    >>> asyncio.run(main())
    b'hello'
    """

    __slots__ = ("_acked", "_held", "_over", "_reader", "_stopped", "_writer", "connection")

    connection: Connection

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._acked: asyncio.Future[None] | None = None
        # Shared by all who wait for the end of sending.
        self._over: asyncio.Future[None] | None = None
        # Taken from the transport by a call that needed more, or was cancelled: given first.
        self._held: bytearray | None = None
        self._stopped: int | None = None

    def __repr__(self) -> str:
        kind = "bidirectional" if self.can_send and self.can_receive else "unidirectional"
        states = []
        if self.reset_code is not None:
            states.append(f", reset by the peer with code {self.reset_code}")
        elif self.can_receive and self.at_eof():
            states.append(", read to its end")
        if self.stopped_code is not None:
            states.append(f", stopped by the peer with code {self.stopped_code}")
        elif self.can_send and self.finished:
            states.append(", finished")
        return (
            f"<Stream {self.stream_id} {kind}, buffered {self.buffered} B, "
            f"unacknowledged {self.unacked} B{''.join(states)}>"
        )

    async def __aenter__(self) -> Stream:
        """The stream itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the stream, or reset it where the block raised."""
        if self.connection.closed:
            return
        if error is None:
            if self.can_send:
                self.finish()
        else:
            self.abort(0)

    # Receiving

    async def read(self, n: int = -1) -> bytes:
        """Read up to `n` bytes, as soon as there are any; all up to the end, if negative.

        Parameters
        ----------
        n : int
            Most bytes to return. With -1 everything up to the end is kept in memory, however
            long: `read_to_end` has a limit.

        Returns
        -------
        bytes
            Empty at the end of the stream, and for ``n=0``.

        Raises
        ------
        StreamResetError
            The peer reset the stream.
        ConnectionClosedError, QuicTimeoutError
            The connection ended before the stream did.
        RefusedError
            Another task is reading, or there is nothing to receive on this stream.
        ArgumentTypeError
            `n` is no integer.

        Notes
        -----
        Returns without waiting where bytes have arrived. The peer may send as much more as was
        read (RFC 9000, section 4.1).
        """
        if type(n) is not int:
            n = check_int("n", n)
        if n < 0:
            await self._hold(None)
            return self._release()
        while True:
            if self._held:
                data = bytes(self._held[:n])
                del self._held[:n]
                return data
            if self.reset_code is None:
                data = self.take(n)
                if data or not n:
                    return data
            if self._at_end():
                return b""
            await self._wait("_reader")

    async def readexactly(self, n: int) -> bytes:
        """Read exactly `n` bytes.

        Parameters
        ----------
        n : int
            How many, at least 0.

        Returns
        -------
        bytes

        Raises
        ------
        asyncio.IncompleteReadError
            The stream ended before; its `partial` is what there was.
        ArgumentTypeError, ArgumentValueError
            `n` is no integer, or negative.
        StreamResetError, ConnectionClosedError, QuicTimeoutError, RefusedError
            As for `read`.
        """
        if type(n) is not int or n < 0:
            n = check_int("n", n, low=0)
        if not self._held and self.buffered >= n and self.reset_code is None:
            return self.take(n)
        await self._hold(n)
        held = self._held
        if held is None or len(held) < n:
            raise asyncio.IncompleteReadError(self._release(), n)
        data = bytes(held[:n])
        del held[:n]
        return data

    async def readuntil(self, separator: bytes = b"\n", limit: int = _LINE_LIMIT) -> bytes:
        """Read up to and with `separator`.

        Parameters
        ----------
        separator : bytes
            What ends the piece, at least one byte.
        limit : int
            Most bytes to search.

        Returns
        -------
        bytes

        Raises
        ------
        asyncio.IncompleteReadError
            The stream ended before a separator came.
        asyncio.LimitOverrunError
            No separator within `limit` bytes; they stay readable.
        ArgumentTypeError, ArgumentValueError
            `separator` is no bytes, or empty; `limit` is not a positive integer.
        StreamResetError, ConnectionClosedError, QuicTimeoutError, RefusedError
            As for `read`.
        """
        if not isinstance(separator, bytes | bytearray | memoryview):
            raise ArgumentTypeError(f"separator must be bytes, got {separator!r}")
        if not separator:
            raise ArgumentValueError(f"separator must not be empty, got {separator!r}")
        limit = check_int("limit", limit, low=1)
        searched = 0
        while True:
            held = self._held
            if held is not None:
                at = held.find(separator, max(0, searched - len(separator) + 1))
                if at >= 0:
                    at += len(separator)
                    data = bytes(held[:at])
                    del held[:at]
                    return data
                searched = len(held)
            if searched >= limit:
                raise asyncio.LimitOverrunError(
                    f"no separator in the first {counted(searched, 'byte')} "
                    f"of stream {self.stream_id}",
                    searched,
                )
            if not await self._hold_some(limit - searched):
                raise asyncio.IncompleteReadError(self._release(), None)

    async def read_to_end(self, limit: int) -> bytes:
        """Read everything up to the end of the stream, if that is not more than `limit` bytes.

        Parameters
        ----------
        limit : int
            Most bytes to accept.

        Returns
        -------
        bytes

        Raises
        ------
        asyncio.LimitOverrunError
            There is more. What was read so far stays readable; `stop` tells the peer.
        ArgumentTypeError, ArgumentValueError
            `limit` is no integer, or negative.
        StreamResetError, ConnectionClosedError, QuicTimeoutError, RefusedError
            As for `read`.
        """
        if type(limit) is not int or limit < 0:
            limit = check_int("limit", limit, low=0)
        # One byte more than allowed tells whether there are more.
        await self._hold(limit + 1)
        if self._held is not None and len(self._held) > limit:
            raise asyncio.LimitOverrunError(
                f"stream {self.stream_id} has more than {counted(limit, 'byte')}", len(self._held)
            )
        return self._release()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive, each of at most 256 KiB, up to the end."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        data = await self.read(_CHUNK)
        if not data:
            raise StopAsyncIteration
        return data

    def at_eof(self) -> bool:
        """Whether the stream was read to its end.

        Returns
        -------
        bool
        """
        return not self._held and self.eof

    def stop(self, code: int) -> None:
        """Ask the peer to send no more, and drop what was received (STOP_SENDING).

        Parameters
        ----------
        code : int
            Error code of the application, which the peer gets.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No integer from 0 to 2**62 - 1.
        """
        code = check_int("code", code, low=0, high=_CODE_MAX)
        if not self.can_receive or self._stopped is not None:
            return
        self._stopped = code
        self._held = None
        super().stop(code)
        self.connection._schedule_transmit()
        self._resolve(self._reader)

    def _at_end(self) -> bool:
        """Whether nothing more comes, after all was read; raises where that is no proper end."""
        if self._stopped is not None:
            raise QuicError(
                f"stream {self.stream_id}: this end stopped reading with code {self._stopped}"
            )
        if self.reset_code is not None:
            self._held = None
            raise StreamResetError(
                f"the peer reset stream {self.stream_id} with code {self.reset_code}",
                code=self.reset_code,
                stream_id=self.stream_id,
            )
        if self.eof:
            return True
        if not self.can_receive:
            raise RefusedError(
                f"stream {self.stream_id} is unidirectional and was opened here: nothing to read",
                reason="direction",
            )
        if self.connection._failure is not None:
            raise self.connection._failure()
        return False

    async def _hold(self, size: int | None) -> None:
        """Take bytes until `size` of them are held, or the stream ends."""
        while size is None or self._held is None or len(self._held) < size:
            have = 0 if self._held is None else len(self._held)
            if not await self._hold_some(-1 if size is None else size - have):
                return

    async def _hold_some(self, limit: int) -> bool:
        """Take at most `limit` bytes more, waiting for the first; False at the end."""
        while True:
            if self.reset_code is None and self.buffered:
                if self._held is None:
                    self._held = bytearray()
                self._held += self.take(limit)
                return True
            # A FIN may come alone: taking nothing is what notices it.
            if self._at_end():
                return False
            await self._wait("_reader")

    def _release(self) -> bytes:
        held, self._held = self._held, None
        return b"" if held is None else bytes(held)

    # Sending

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes for sending.

        Parameters
        ----------
        data : bytes-like
            Copied at once; it may be changed afterwards.

        Raises
        ------
        StreamStoppedError
            The peer asked to send no more.
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        RefusedError
            The stream was finished or reset, or the peer opened it for its own bytes only.

        Notes
        -----
        Never waits, and takes whatever it is given: call `drain` after each write, or after each
        few, or memory grows with what the peer does not take.
        """
        self._check_send()
        if self.finished:
            raise RefusedError(
                f"stream {self.stream_id} was finished: nothing can be written after its end",
                reason="finished",
            )
        connection = self.connection
        super().write(data)
        connection._sending.add(self)
        if not connection._transmit_due:
            connection._schedule_transmit()

    async def drain(self) -> None:
        """Wait until the stream has room for more.

        Returns at once while at most `Config.send_buffer` bytes wait to be sent; otherwise when
        half of that do. Bytes under way do not count: the congestion window and the peer's
        credit bound those.

        Raises
        ------
        StreamStoppedError
            The peer asked to send no more.
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        RefusedError
            Another task is draining this stream.
        """
        self._check_send()
        if self.urgency < _ORDINARY and self.queued:
            self.connection._transmit()
        if self.queued <= self.connection._high_water:
            return
        while self.queued > self.connection._low_water:
            await self._wait("_writer")
            self._check_send()

    def finish(self) -> None:
        """End the sending direction after what was written (FIN). Has no effect the second time.

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        RefusedError
            There is nothing to send on this stream.
        """
        if not self.can_send:
            self._check_send()
        if self.finished or self.stopped_code is not None:
            return
        if self.connection._failure is not None:
            raise self.connection._failure()
        super().finish()
        self.connection._sending.add(self)
        if self.urgency < _ORDINARY:
            # More urgent than most: not after what else the loop has to do in this turn.
            self.connection._transmit()
        else:
            self.connection._schedule_transmit()

    def reset(self, code: int) -> None:
        """Break off the sending direction; what the peer has not got yet, it may never get.

        Parameters
        ----------
        code : int
            Error code of the application, which the peer gets.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No integer from 0 to 2**62 - 1.
        """
        code = check_int("code", code, low=0, high=_CODE_MAX)
        if not self.can_send:
            return
        super().reset(code)
        self.connection._sending.discard(self)
        self.connection._schedule_transmit()
        self._resolve(self._writer)
        self._resolve(self._acked)

    def abort(self, code: int) -> None:
        """Break off both directions: `reset` and `stop`.

        Parameters
        ----------
        code : int
            Error code of the application, which the peer gets.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No integer from 0 to 2**62 - 1.
        """
        self.reset(code)
        self.stop(code)

    async def wait_acked(self) -> None:
        """Wait until the peer has acknowledged everything that was written, and the end if sent.

        Raises
        ------
        StreamStoppedError
            The peer asked to send no more.
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        RefusedError
            Another task is waiting for the same.

        Notes
        -----
        Acknowledged is what the peer's transport has, not what its application has read.
        """
        while not self._is_acked():
            self._check_send()
            await self._wait("_acked")

    async def wait_stopped(self) -> int | None:
        """Wait until the peer wants no more bytes, or has got them all.

        Returns
        -------
        int or None
            Code of the peer's STOP_SENDING; None where it acknowledged the end of the stream, or
            its reset, without having asked to stop.

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        RefusedError
            The peer opened the stream for its own bytes only.

        Notes
        -----
        For who has nothing to write at the moment, and would not learn of it from `write`. Any
        number of tasks may wait. Source: RFC 9000, section 3.5.

        Examples
        --------
        >>> import asyncio
        >>> from midstream.quic import Config, Identity, connect, serve
        >>> identity = Identity.development()
        >>> async def refuse(connection):
        ...     (await connection.accept_bi()).stop(7)
        ...     await connection.wait_closed()
        >>> config = Config(identity=identity)
        >>> async def main():
        ...     async with serve(refuse, "127.0.0.1", 0, config=config) as server:
        ...         trust = Config(pins=[identity.certificate_pin])
        ...         async with connect(*server.address, config=trust) as connection:
        ...             stream = await connection.open_bi()
        ...             stream.write(b"hello")
        ...             return await stream.wait_stopped()
        >>> asyncio.run(main())
        7
        """
        if not self.can_send:
            self._refuse_direction()
        while self.stopped_code is None and not self.all_acked:
            if self.connection._failure is not None:
                raise self.connection._failure()
            # One who is cancelled does not cancel it for the others.
            await asyncio.shield(self._sending_over())
        return self.stopped_code

    def set_priority(self, priority: Priority) -> None:  # type: ignore[override]
        """Change what is sent first (RFC 9218); counts for bytes that have not been sent.

        Parameters
        ----------
        priority : Priority

        Raises
        ------
        ArgumentTypeError
            No `Priority`.
        """
        if not isinstance(priority, Priority):
            raise ArgumentTypeError(f"priority must be a Priority, got {priority!r}")
        super().set_priority(priority.urgency, priority.incremental)

    @property
    def priority(self) -> Priority:
        """What is sent first (RFC 9218)."""
        return Priority(self.urgency, bool(self.incremental))

    def _is_acked(self) -> bool:
        return self.all_acked if self.finished else not self.unacked

    def _check_send(self) -> None:
        if self.stopped_code is not None:
            raise StreamStoppedError(
                f"the peer stopped stream {self.stream_id} with code {self.stopped_code}",
                code=self.stopped_code,
                stream_id=self.stream_id,
            )
        if self.connection._failure is not None:
            raise self.connection._failure()
        if not self.can_send:
            self._refuse_direction()

    def _refuse_direction(self) -> NoReturn:
        raise RefusedError(
            f"stream {self.stream_id} is unidirectional and was opened by the peer: "
            "nothing can be sent on it",
            reason="direction",
        )

    # Waiting

    def _sending_over(self) -> asyncio.Future[None]:
        """Done when the peer stopped the stream, or has all of it, or the connection ended."""
        if self._over is None or self._over.done():
            self._over = self.connection._loop.create_future()
            if self.stopped_code is not None or self.all_acked or self.connection.closed:
                self._over.set_result(None)
            else:
                self.connection._waiting.add(self)
        return self._over

    async def _wait(self, slot: str) -> None:
        """Wait until something changed; whoever waits looks again for what it needs."""
        if getattr(self, slot) is not None:
            what = {"_reader": "reading", "_writer": "draining"}.get(slot, "waiting for")
            raise RefusedError(
                f"another task is already {what} stream {self.stream_id}", reason="concurrent"
            )
        connection = self.connection
        if asyncio.get_running_loop() is not connection._loop:
            raise other_loop(f"stream {self.stream_id}")
        future = connection._loop.create_future()
        setattr(self, slot, future)
        connection._waiting.add(self)
        try:
            await future
        finally:
            setattr(self, slot, None)
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if (
            self._reader is None
            and self._writer is None
            and self._acked is None
            and (self._over is None or self._over.done())
        ):
            self.connection._waiting.discard(self)

    @staticmethod
    def _resolve(future: asyncio.Future[None] | None) -> bool:
        if future is None or future.done():
            return False
        future.set_result(None)
        return True

    def _wake_ready(self) -> bool:
        """Wake who waits for what is there now; whether anyone was woken."""
        woken = False
        if self._reader is not None and (self.buffered or self.eof or self.reset_code is not None):
            woken = self._resolve(self._reader)
        if self.can_send:
            stopped = self.stopped_code is not None
            acked = stopped or self._is_acked()
            if acked:
                self.connection._sending.discard(self)
                if self._acked is not None:
                    woken = self._resolve(self._acked) or woken
            if self._over is not None and (stopped or self.all_acked) and self._resolve(self._over):
                self._stop_waiting()
                woken = True
            if self._writer is not None and (stopped or self.queued <= self.connection._low_water):
                woken = self._resolve(self._writer) or woken
        return woken

    def _wake_all(self) -> None:
        """The connection is over: nothing more will come to wait for."""
        self._resolve(self._reader)
        self._resolve(self._writer)
        self._resolve(self._acked)
        self._resolve(self._over)

    # asyncio

    def as_asyncio(self) -> tuple[StreamReader, StreamWriter]:
        """Both directions as what code written for `asyncio.open_connection` takes.

        Returns
        -------
        reader : StreamReader
        writer : StreamWriter
        """
        return StreamReader(self), StreamWriter(self)


class StreamReader:
    """The receiving direction with the methods of `asyncio.StreamReader`.

    Parameters
    ----------
    stream : Stream
    limit : int
        Longest line, bytes.

    Notes
    -----
    Errors are those of `Stream.read`. Not thread-safe.
    """

    def __init__(self, stream: Stream, limit: int = _LINE_LIMIT) -> None:
        self.stream = stream
        self._limit = check_int("limit", limit, low=1)

    def __repr__(self) -> str:
        return f"<StreamReader of {self.stream!r}>"

    async def read(self, n: int = -1) -> bytes:
        """See `Stream.read`."""
        return await self.stream.read(n)

    async def readexactly(self, n: int) -> bytes:
        """See `Stream.readexactly`."""
        return await self.stream.readexactly(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """See `Stream.readuntil`."""
        return await self.stream.readuntil(separator, self._limit)

    async def readline(self) -> bytes:
        """Read a line with its end; what is left, where the stream ends without one.

        Returns
        -------
        bytes

        Raises
        ------
        ValueError
            The line is longer than the limit, as of `asyncio.StreamReader.readline`.
        """
        try:
            return await self.readuntil()
        except asyncio.IncompleteReadError as error:
            return error.partial
        except asyncio.LimitOverrunError as error:
            limit = counted(self._limit, "byte")
            raise ArgumentValueError(f"the line is longer than {limit}") from error

    def at_eof(self) -> bool:
        """See `Stream.at_eof`."""
        return self.stream.at_eof()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Lines, as of `asyncio.StreamReader`."""
        return self

    async def __anext__(self) -> bytes:
        """The next line."""
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


class StreamWriter:
    """The sending direction with the methods of `asyncio.StreamWriter`; `drain` really waits.

    Parameters
    ----------
    stream : Stream

    Notes
    -----
    Errors are those of `Stream.write`. Not thread-safe.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._closing = False

    def __repr__(self) -> str:
        return f"<StreamWriter of {self.stream!r}>"

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `Stream.write`."""
        self.stream.write(data)

    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write several pieces, one after the other."""
        for piece in data:
            self.stream.write(piece)

    async def drain(self) -> None:
        """See `Stream.drain`."""
        await self.stream.drain()

    def can_write_eof(self) -> bool:
        """Whether the stream has a sending direction."""
        return bool(self.stream.can_send)

    def write_eof(self) -> None:
        """See `Stream.finish`."""
        self.stream.finish()

    def close(self) -> None:
        """Finish the stream; the connection stays."""
        if not self._closing:
            self._closing = True
            if self.stream.can_send and not self.stream.connection.closed:
                self.stream.finish()

    def is_closing(self) -> bool:
        """Whether `close` was called, or the connection ended."""
        return self._closing or self.stream.connection.closed

    async def wait_closed(self) -> None:
        """Wait until the peer acknowledged everything: see `Stream.wait_acked`."""
        if self.stream.can_send:
            await self.stream.wait_acked()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``stream``, ``stream_id``, ``peername``, ``sockname`` or ``ssl_object`` (always None).

        Parameters
        ----------
        name : str
        default
            For any other name.
        """
        if name == "stream":
            return self.stream
        if name == "stream_id":
            return self.stream.stream_id
        if name == "peername":
            return self.stream.connection.remote_address
        if name == "sockname":
            return self.stream.connection.local_address
        return default
