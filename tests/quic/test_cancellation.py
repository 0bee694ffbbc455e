"""Tasks that wait are cancelled at any point: no byte, stream or credit is lost, nobody is left.

`at_last` makes a call again and again, cancelled after some turns of the loop, until one gets
through. Where a wake-up and a cancellation meet in one turn is what it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pytest

from midstream._core.errors import QuicError
from midstream.quic import http3, webtransport
from midstream.quic.config import Config
from midstream.quic.connection import Connection
from midstream.quic.pool import Pool
from midstream.quic.serving import serve
from midstream.quic.streams import Stream
from tests.quic._loopback import IDENTITY, client_config, pair, server_config

T = TypeVar("T")

SEEDS = range(4)
#: Small enough that everybody has to wait for something.
SMALL: dict[str, Any] = {
    "stream_window": 4096,
    "max_stream_window": 4096,
    "connection_window": 16384,
    "max_connection_window": 16384,
    "max_streams_bidi": 4,
    "max_streams_uni": 8,
    "send_buffer": 2000,
    "probe_mtu": False,
}


async def at_last(rng: random.Random, call: Callable[[], Awaitable[T]], often: float = 0.7) -> T:
    while True:
        task = asyncio.ensure_future(call())
        try:
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.003)
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            if rng.random() < often:
                task.cancel()
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        if not task.cancelled():
            return task.result()


@asynccontextmanager
async def nothing_said() -> AsyncIterator[None]:
    """No task's exception and no fault of a callback is left for the loop to report."""
    loop = asyncio.get_running_loop()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    try:
        async with asyncio.timeout(8):
            yield
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert not reports


def check_nobody_waits(*connections: Connection) -> None:
    for connection in connections:
        assert not connection._waiting
        assert not connection._pings
        for waiters in (*connection._accepters, *connection._openers, connection._drained):
            assert not waiters
        assert not connection._datagrams._waiters


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


class Peer:
    """A handler that hands its connection out."""

    def __init__(self) -> None:
        self.connection: asyncio.Future[Connection] = asyncio.Future()

    async def __call__(self, connection: Connection) -> None:
        self.connection.set_result(connection)
        await connection.wait_closed()


async def read_all(rng: random.Random, stream: Stream) -> bytes:
    """Everything, by calls of all kinds."""
    got = bytearray()
    while True:
        kind = rng.randrange(3)
        try:
            if kind == 0:
                data = await at_last(rng, lambda: stream.read(rng.randrange(1, 3000)))
                if not data:
                    return bytes(got)
            elif kind == 1:
                size = rng.randrange(1, 2000)
                data = await at_last(rng, partial(stream.readexactly, size))
            else:
                data = await at_last(rng, lambda: stream.readuntil(b"\n", 1 << 20))
        except asyncio.IncompleteReadError as error:
            data = error.partial
        got += data


async def write_all(rng: random.Random, stream: Stream, data: bytes) -> None:
    at = 0
    while at < len(data):
        size = rng.randrange(1, 5000)
        stream.write(data[at : at + size])
        at += size
        await at_last(rng, stream.drain)
    stream.finish()
    await at_last(rng, stream.wait_acked, 0.5)


@pytest.mark.parametrize("seed", SEEDS)
async def test_streams(seed: int) -> None:
    rng = random.Random(seed)
    count = 16
    contents = {
        b"%02d" % i: b"%02d" % i + rng.randbytes(rng.randrange(30_000)) for i in range(count)
    }
    got: dict[bytes, bytes] = {}
    answers: dict[bytes, bytes] = {}

    async def take(connection: Connection) -> None:
        stream = await at_last(rng, connection.accept_bi)
        data = await read_all(rng, stream)
        assert data[:2] not in got
        got[data[:2]] = data
        await write_all(rng, stream, data[::-1])

    async def ask(connection: Connection, name: bytes) -> None:
        stream = await at_last(rng, connection.open_bi)
        writing = asyncio.ensure_future(write_all(rng, stream, contents[name]))
        answers[name] = (await read_all(rng, stream))[::-1]
        await writing

    peer = Peer()
    async with nothing_said(), pair(peer, server=SMALL, client=SMALL) as (connection, _):
        there = await peer.connection
        async with asyncio.TaskGroup() as group:
            for name in contents:
                group.create_task(take(there))
                group.create_task(ask(connection, name))
            group.create_task(at_last(rng, connection.ping))
        assert got == answers == contents
        await until(lambda: not connection.stats().streams_open)
        await until(lambda: not there.stats().streams_open)
        check_nobody_waits(connection, there)
        # All the limit's streams are there again, and of the windows at least a half: the rest
        # is told with what is read next.
        async with asyncio.timeout(5):
            again = [await connection.open_bi() for _ in range(4)]
            for stream in again:
                stream.write(bytes(2000))
                await stream.wait_acked()
            for stream in [await there.accept_bi() for _ in again]:
                assert len(await stream.readexactly(2000)) == 2000


@pytest.mark.parametrize("seed", SEEDS)
async def test_accepting_by_calls_and_by_iteration(seed: int) -> None:
    rng = random.Random(seed)
    got: list[bytes] = []

    async def by_call(connection: Connection, kind: str) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                stream = await getattr(connection, f"accept_{kind}")()
                got.append(await asyncio.shield(asyncio.ensure_future(stream.read())))

    async def by_iteration(connection: Connection) -> None:
        reads = []
        try:
            async for stream in connection.streams():
                reads.append(asyncio.ensure_future(stream.read()))  # noqa: PERF401 - kept if cancelled
        except asyncio.CancelledError:
            got.extend(await asyncio.gather(*reads))

    peer = Peer()
    async with nothing_said(), pair(peer, server={"max_streams_uni": 6}) as (connection, _):
        there = await peer.connection
        tasks: set[asyncio.Task[None]] = set()
        late: set[asyncio.Task[None]] = set()
        for number in range(120):
            stream = await connection.open_uni()
            stream.write(b"%d" % number)
            stream.finish()
            if len(tasks) < 3:
                work = by_iteration(there) if rng.random() < 0.5 else by_call(there, "uni")
                tasks.add(asyncio.ensure_future(work))
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.3:
                victim = rng.choice(sorted(tasks, key=id))
                tasks.discard(victim)
                late.add(victim)
                await stream.wait_acked() if rng.random() < 0.3 else None
                victim.cancel()
        tasks.add(asyncio.ensure_future(by_call(there, "uni")))
        await until(lambda: not there._accepted[1])
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *late, return_exceptions=True)
        # One that was cancelled while it read a stream that it had accepted has taken it with it.
        assert len(got) >= 120 - len(late)
        assert len(set(got)) == len(got)
        check_nobody_waits(there)


@pytest.mark.parametrize("seed", SEEDS)
async def test_datagrams(seed: int) -> None:
    rng = random.Random(seed)
    peer = Peer()
    async with nothing_said(), pair(peer) as (connection, _):
        there = await peer.connection
        received: list[bytes] = []

        async def take() -> None:
            received.append(await at_last(rng, there.datagrams.receive))

        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(take())
                group.create_task(take())
                for side in range(2):
                    connection.datagrams.send(b"%d %d" % (number, side))
                await asyncio.sleep(0.001)
        assert sorted(received) == sorted(b"%d %d" % (n, s) for n in range(60) for s in range(2))
        check_nobody_waits(there)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_pool(seed: int) -> None:
    rng = random.Random(seed)

    async def serve_them(connection: Connection) -> None:
        async def one(stream: Stream) -> None:
            with contextlib.suppress(QuicError):
                data = await stream.read()
                await asyncio.sleep(rng.random() * 0.003)
                stream.write(data)
                stream.finish()

        async with asyncio.TaskGroup() as group:
            with contextlib.suppress(QuicError):
                async for stream in connection.streams():
                    group.create_task(one(stream))

    config = server_config(**SMALL)
    async with (
        nothing_said(),
        serve(serve_them, "127.0.0.1", 0, config=config) as server,
        Pool(client_config(), max_connections_per_host=2) as pool,
    ):

        async def ask(number: int) -> None:
            async with pool.stream(*server.address) as stream:
                stream.write(b"%d" % number)
                stream.finish()
                assert await stream.read() == b"%d" % number

        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(at_last(rng, partial(ask, number), 0.5))
        (place,) = pool._hosts.values()
        assert not place.users
        assert not place.dialling
        assert not place.changed
        assert set(place.connections.values()) <= {0}
        await asyncio.gather(*(ask(number) for number in range(30)))
        await until(lambda: not any(c.stats().streams_open for c in pool.connections))
        check_nobody_waits(*pool.connections)


@pytest.mark.parametrize("seed", SEEDS)
async def test_requests(seed: int) -> None:
    rng = random.Random(seed)
    sessions: list[http3.Session] = []

    async def app(request: http3.Request) -> http3.Response:
        sessions.append(request.session)
        data = await request.read()
        await asyncio.sleep(rng.random() * 0.002)
        return http3.Response(200, {"x-a": str(rng.random())}, data, {"x-trailer": "t"})

    small = {**SMALL, "max_streams_uni": 20}
    trust = Config(ca=IDENTITY.pem, **small)
    own = Config(identity=IDENTITY, **small)
    async with (
        nothing_said(),
        http3.serve(app, "127.0.0.1", 0, config=own) as server,
        http3.connect(f"https://127.0.0.1:{server.address[1]}", config=trust) as client,
    ):

        async def ask(size: int) -> None:
            body = random.Random(size).randbytes(size)
            response = await client.request("POST", "/", body=body, headers={"x-b": str(size)})
            assert await response.read() == body
            assert response.trailers["x-trailer"] == "t"

        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                size = rng.randrange(12_000)
                group.create_task(at_last(rng, partial(ask, size), 0.6))
        theirs = sessions[0]
        await until(lambda: not theirs._requests)
        for session in (client, theirs):
            await until(lambda session=session: not session._open)
            assert not session._exchanges
            assert not session._blocked
            assert session._held == 0
            assert session._idle.is_set()
        # Three of each side are for HTTP/3 itself.
        await until(lambda: client.connection.stats().streams_open <= 6)
        assert client.connection._protocol.streams_available(False)
        async with asyncio.timeout(10):
            await asyncio.gather(*(ask(16_000) for _ in range(8)))


@pytest.mark.parametrize("seed", SEEDS)
async def test_sessions_of_webtransport(seed: int) -> None:
    rng = random.Random(seed)

    async def echo(session: webtransport.Session) -> None:
        async def one() -> None:
            while True:
                stream = await at_last(rng, session.accept_bi)
                stream.write(await at_last(rng, partial(stream.read, 100_000)))
                stream.finish()

        tasks = [asyncio.ensure_future(one()) for _ in range(5)]
        try:
            await session.wait_closed()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    limits = {"max_streams_bidi": 12, "max_streams_uni": 12}
    own = Config(identity=IDENTITY, **limits)
    trust = Config(ca=IDENTITY.pem, **limits)
    serving = webtransport.serve(echo, "127.0.0.1", 0, path="/", config=own)
    async with nothing_said(), serving as server:
        url = f"https://127.0.0.1:{server.address[1]}/"
        async with at_last_session(rng, url, trust) as session:

            async def whole(number: int) -> None:
                stream = await at_last(rng, session.open_bi)
                stream.write(b"%d" % number)
                stream.finish()
                assert await at_last(rng, stream.read) == b"%d" % number

            async with asyncio.TaskGroup() as group:
                for number in range(60):
                    group.create_task(whole(number))
            assert session.stats().streams_open == 0
            assert session._used[1] == session.stats().streams_opened == 60
            async with asyncio.timeout(5):
                await whole(61)


@asynccontextmanager
async def at_last_session(
    rng: random.Random, url: str, config: Config
) -> AsyncIterator[webtransport.Session]:
    """A session whose opening was cancelled a few times."""

    async def opened() -> webtransport.Session:
        return await webtransport.connect(url, config=config)

    async with await at_last(rng, opened, 0.5) as session:
        yield session
    session.connection.close(0)
    await session.connection.wait_closed()
