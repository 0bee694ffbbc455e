"""Streams: bytes, ends, errors with their codes, backpressure, cancellation, adapters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConnectionClosedError,
    QuicError,
    RefusedError,
    StreamResetError,
    StreamStoppedError,
)
from midstream.quic.connection import Connection
from midstream.quic.priority import Priority
from midstream.quic.streams import Stream, StreamReader
from tests.quic._loopback import pair


class Peer:
    """A handler that hands the server's streams to the test."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[Stream] = asyncio.Queue()
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()

    async def __call__(self, connection: Connection) -> None:
        self.connections.put_nowait(connection)
        async for stream in connection.streams():
            self.streams.put_nowait(stream)


async def test_bytes_arrive_in_order_and_end() -> None:
    async with pair() as (connection, _):
        stream = await connection.open_bi()
        data = bytes(range(256)) * 4000
        for start in range(0, len(data), 100_000):
            stream.write(data[start : start + 100_000])
            await stream.drain()
        stream.finish()
        stream.finish()
        assert await stream.read() == data
        assert stream.at_eof()
        assert await stream.read() == b""
        assert await stream.read(5) == b""
        await stream.wait_acked()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_written_bytes_are_copied(kind: Any) -> None:
    async with pair() as (connection, _):
        stream = await connection.open_bi()
        source = bytearray(b"abc")
        stream.write(
            kind(source) if kind is bytes else source if kind is bytearray else memoryview(source)
        )
        source[:] = b"xyz"
        stream.finish()
        assert await stream.read() == b"abc"


async def test_reads_of_every_shape() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"one\ntwo\nthree--four")
        stream.finish()
        there = await peer.streams.get()
        assert await there.readuntil() == b"one\n"
        assert await there.readexactly(2) == b"tw"
        assert await there.readuntil(b"--") == b"o\nthree--"
        assert await there.read(2) == b"fo"
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await there.readexactly(3)
        assert caught.value.partial == b"ur"
        with pytest.raises(asyncio.IncompleteReadError):
            await there.readuntil()
        assert await there.readexactly(0) == b""
        with pytest.raises(ArgumentValueError, match="n must be at least 0, got -1"):
            await there.readexactly(-1)
        with pytest.raises(ArgumentValueError, match="separator must not be empty"):
            await there.readuntil(b"")


async def test_a_separator_may_come_in_two_parts() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"abc\r")
        there = await peer.streams.get()
        reading = asyncio.ensure_future(there.readuntil(b"\r\n"))
        await stream.wait_acked()
        stream.write(b"\nrest")
        assert await reading == b"abc\r\n"
        assert await there.read(10) == b"rest"


async def test_limits_leave_what_was_read() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"x" * 1000)
        stream.finish()
        there = await peer.streams.get()
        with pytest.raises(asyncio.LimitOverrunError):
            await there.readuntil(b"\n", limit=100)
        with pytest.raises(asyncio.LimitOverrunError, match="more than 500 bytes"):
            await there.read_to_end(500)
        assert await there.read_to_end(1000) == b"x" * 1000


async def test_iteration_gives_pieces_up_to_the_end() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_uni()
        stream.write(b"x" * 600_000)
        stream.finish()
        there = await peer.streams.get()
        sizes = [len(piece) async for piece in there]
        assert sum(sizes) == 600_000
        assert max(sizes) <= 256 << 10


async def test_a_reset_reaches_the_pending_and_every_later_read() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"begin")
        there = await peer.streams.get()
        assert await there.read(100) == b"begin"
        reading = asyncio.ensure_future(there.read(100))
        await asyncio.sleep(0)
        stream.reset(77)
        for attempt in (reading, there.read(), there.readexactly(1), there.read_to_end(9)):
            with pytest.raises(StreamResetError, match="with code 77") as caught:
                await attempt
            assert (caught.value.code, caught.value.stream_id) == (77, stream.stream_id)
        with pytest.raises(RefusedError, match="was finished"):
            stream.write(b"more")


async def test_stop_reaches_write_and_drain() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"x" * 4_000_000)
        draining = asyncio.ensure_future(stream.drain())
        there = await peer.streams.get()
        there.stop(9)
        with pytest.raises(StreamStoppedError, match="with code 9") as caught:
            await draining
        assert caught.value.code == 9
        with pytest.raises(StreamStoppedError):
            stream.write(b"x")
        with pytest.raises(StreamStoppedError):
            await stream.wait_acked()
        stream.finish()
        with pytest.raises(QuicError, match="this end stopped reading with code 9"):
            await there.read()


async def test_abort_ends_both_directions() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"x")
        there = await peer.streams.get()
        stream.abort(5)
        with pytest.raises(StreamResetError):
            while await there.read(1):
                pass
        with pytest.raises(StreamStoppedError):
            while True:
                there.write(b"y")
                await there.wait_acked()


async def test_drain_waits_for_the_reader_and_memory_stays_bounded() -> None:
    peer = Peer()
    windows = {"stream_window": 65536, "max_stream_window": 65536}
    async with pair(peer, server=windows, client={"send_buffer": 10_000}) as (connection, _):
        stream = await connection.open_uni()
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(100):
                stream.write(b"x" * 10_000)
                written += 10_000
                await stream.drain()
            stream.finish()

        writing = asyncio.ensure_future(write())
        there = await peer.streams.get()
        while there.buffered < 65536:
            await asyncio.sleep(0.001)
        # The window, the buffer, and the piece that went over it.
        assert written <= 65536 + 10_000 + 10_000
        assert not writing.done()
        assert there.buffered == 65536
        assert len(await there.read()) == 1_000_000
        await writing


async def test_a_cancelled_read_loses_no_byte() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"abc")
        there = await peer.streams.get()
        for call in (
            there.readexactly(10),
            there.readuntil(b"!"),
            there.read(),
            there.read_to_end(9),
        ):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call, 0.01)
        stream.write(b"def!")
        stream.finish()
        assert await there.readuntil(b"!") == b"abcdef!"


async def test_a_second_reader_is_refused() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_bi()
        reading = asyncio.ensure_future(stream.read(1))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="another task is already reading stream 0"):
            await stream.read(1)
        reading.cancel()
        stream.write(b"x")
        there = await peer.streams.get()
        there.write(b"y")
        assert await stream.read(1) == b"y"


async def test_the_other_direction_of_a_unidirectional_stream_is_refused() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        stream = await connection.open_uni()
        with pytest.raises(RefusedError, match="nothing to read"):
            await stream.read(1)
        stream.write(b"x")
        there = await peer.streams.get()
        for call in (lambda: there.write(b"y"), there.finish):
            with pytest.raises(RefusedError, match="nothing can be sent"):
                call()


async def test_every_waiting_call_learns_of_the_end() -> None:
    peer = Peer()
    async with pair(peer, server={"stream_window": 1000, "max_stream_window": 1000}) as (
        connection,
        _,
    ):
        stream = await connection.open_bi()
        other = await connection.open_bi()
        stream.write(b"x" * 1_000_000)
        calls = [
            asyncio.ensure_future(call)
            for call in (
                stream.read(),
                stream.drain(),
                stream.wait_acked(),
                other.readexactly(1),
                connection.accept_bi(),
                connection.accept_uni(),
                connection.datagrams.receive(),
            )
        ]
        (await peer.connections.get()).close(42, "enough")
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, ConnectionClosedError)
            assert (outcome.code, outcome.reason, outcome.by_peer) == (42, "enough", True)
            assert outcome.is_application
            assert "the peer closed the connection: application code 42 (enough)" in str(outcome)
        for call in (lambda: stream.write(b"x"), stream.finish, connection.update_keys):
            with pytest.raises(ConnectionClosedError):
                call()


async def test_what_arrived_before_the_end_can_be_read() -> None:
    async def handler(connection: Connection) -> None:
        stream = await connection.open_uni()
        stream.write(b"last words")
        stream.finish()

    async with pair(handler) as (connection, _):
        await connection.wait_closed()
        stream = await connection.accept_uni()
        assert await stream.read() == b"last words"
        with pytest.raises(ConnectionClosedError):
            await connection.accept_uni()


async def test_priorities_can_be_set_and_read() -> None:
    async with pair() as (connection, _):
        stream = await connection.open_bi(Priority(1, True))
        assert stream.priority == Priority(1, True)
        stream.set_priority(Priority(6))
        assert stream.priority == Priority(6)
        with pytest.raises(ArgumentTypeError, match="priority must be a Priority, got 3"):
            stream.set_priority(3)  # type: ignore[arg-type]
        with pytest.raises(ArgumentTypeError, match="priority must be a Priority"):
            await connection.open_bi(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [-1, 1 << 62])
async def test_codes_are_checked(code: int) -> None:
    async with pair() as (connection, _):
        stream = await connection.open_bi()
        for call in (stream.reset, stream.stop, connection.close):
            with pytest.raises(ArgumentValueError, match=f"code must be at .*, got {code}"):
                call(code)


async def test_a_context_finishes_or_resets() -> None:
    peer = Peer()
    async with pair(peer) as (connection, _):
        async with await connection.open_bi() as stream:
            stream.write(b"x")
        assert await (await peer.streams.get()).read() == b"x"
        with pytest.raises(KeyError):
            async with await connection.open_bi() as stream:
                stream.write(b"x")
                there = await peer.streams.get()
                raise KeyError
        with pytest.raises(StreamResetError):
            await there.read()


async def test_adapters_have_asyncios_methods() -> None:
    async with pair() as (connection, server):
        reader, writer = (await connection.open_bi()).as_asyncio()
        writer.writelines([b"a\n", b"b\nc"])
        await writer.drain()
        assert writer.can_write_eof()
        writer.write_eof()
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()
        assert await reader.readline() == b"a\n"
        assert [line async for line in reader] == [b"b\n", b"c"]
        assert reader.at_eof()
        assert await reader.read() == b""
        assert writer.get_extra_info("peername") == server.address
        assert writer.get_extra_info("stream") is writer.stream
        assert writer.get_extra_info("stream_id") == 0
        assert writer.get_extra_info("cipher", 7) == 7


async def test_a_long_line_is_refused_as_by_asyncio() -> None:
    async with pair() as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"x" * 1000 + b"\n")
        stream.finish()
        with pytest.raises(ValueError, match="longer than 100 bytes"):
            await StreamReader(stream, limit=100).readline()


async def test_closed_streams_are_let_go() -> None:
    async with pair() as (connection, server):
        for _ in range(50):
            stream = await connection.open_bi()
            stream.write(b"x")
            stream.finish()
            await stream.read()
            await stream.wait_acked()
        there = server.connections[0]
        while there.stats().streams_open or connection.stats().streams_open:
            await connection.ping()
        assert not connection._sending
        assert not connection._waiting
        assert not there._sending


async def test_a_stop_is_waited_for_by_any_number_of_tasks() -> None:
    async def refuse(connection: Connection) -> None:
        stream = await connection.accept_bi()
        await stream.read(1)
        await asyncio.sleep(0.02)
        stream.stop(7)
        await connection.wait_closed()

    async with pair(refuse) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"x")
        given_up, *waits = (asyncio.create_task(stream.wait_stopped()) for _ in range(3))
        await asyncio.sleep(0)
        given_up.cancel()
        assert await asyncio.gather(*waits) == [7, 7]
        assert given_up.cancelled()
        assert await stream.wait_stopped() == 7
        assert stream not in connection._waiting


async def test_waiting_for_a_stop_ends_when_the_peer_has_everything() -> None:
    async with pair() as (connection, _):
        stream = await connection.open_bi()
        wait = asyncio.create_task(stream.wait_stopped())
        stream.write(b"x")
        await stream.wait_acked()
        assert not wait.done()
        stream.finish()
        assert await wait is None
        assert await stream.wait_stopped() is None


async def test_waiting_for_a_stop_ends_with_the_connection() -> None:
    async def leave(connection: Connection) -> None:
        (await connection.open_uni()).write(b"x")
        await connection.accept_bi()
        connection.close(5, "enough")

    async with pair(leave) as (connection, _):
        theirs = await connection.accept_uni()
        with pytest.raises(RefusedError, match="opened by the peer"):
            await theirs.wait_stopped()
        stream = await connection.open_bi()
        stream.write(b"x")
        with pytest.raises(ConnectionClosedError, match="enough"):
            await stream.wait_stopped()
