"""The pool: sharing, spreading, reconnecting, idling, closing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from midstream._core.errors import (
    HandshakeError,
    RefusedError,
    StreamResetError,
    StreamStoppedError,
)
from midstream.quic.connection import Connection
from midstream.quic.pool import Pool
from midstream.quic.serving import serve
from tests.quic._loopback import client_config, echo, server_config


async def ask(pool: Pool, address: tuple[str, int], data: bytes = b"hello") -> Connection:
    async with pool.stream(*address) as stream:
        stream.write(data)
        stream.finish()
        assert await stream.read() == data
        return stream.connection


async def tolerant(connection: Connection) -> None:
    async for stream in connection.streams():
        with contextlib.suppress(StreamResetError):
            stream.write(await stream.read())
            stream.finish()


async def test_one_connection_is_shared() -> None:
    async with (
        serve(echo, "127.0.0.1", 0, config=server_config()) as server,
        Pool(client_config()) as pool,
    ):
        first = await ask(pool, server.address)
        assert await ask(pool, server.address) is first
        assert pool.connections == (first,)


async def test_streams_spread_at_the_limit() -> None:
    config = server_config(max_streams_bidi=2)
    async with (
        serve(echo, "127.0.0.1", 0, config=config) as server,
        Pool(client_config(), max_connections_per_host=3) as pool,
    ):
        used = await asyncio.gather(*(ask(pool, server.address, b"%d" % i) for i in range(40)))
        assert 1 < len(set(used)) <= 3


async def test_a_closed_connection_is_replaced() -> None:
    async with (
        serve(echo, "127.0.0.1", 0, config=server_config()) as server,
        Pool(client_config()) as pool,
    ):
        first = await ask(pool, server.address)
        server.connections[0].close(0)
        await first.wait_closed()
        assert await ask(pool, server.address) is not first


async def test_an_idle_connection_is_closed() -> None:
    async with (
        serve(echo, "127.0.0.1", 0, config=server_config()) as server,
        Pool(client_config(), idle_s=0.01) as pool,
    ):
        first = await ask(pool, server.address)
        await first.wait_closed()
        assert pool.connections == ()
        assert not pool._hosts


async def test_a_block_that_raises_resets_its_stream() -> None:
    async with (
        serve(tolerant, "127.0.0.1", 0, config=server_config()) as server,
        Pool(client_config()) as pool,
    ):
        with pytest.raises(KeyError):
            async with pool.stream(*server.address) as stream:
                raise KeyError
        assert stream.finished
        await ask(pool, server.address)


async def test_a_host_that_refuses_and_a_closed_pool() -> None:
    async with serve(echo, "127.0.0.1", 0, config=server_config()) as server:
        address = server.address
    pool = Pool(client_config(handshake_timeout_s=0.2))
    with pytest.raises(HandshakeError):
        await ask(pool, address)
    assert not pool._hosts
    pool.close()
    with pytest.raises(RefusedError, match="the pool is closed"):
        await ask(pool, address)


async def test_who_waits_gets_the_credit_that_comes_late() -> None:
    """The peer takes its time with a stream that is over here."""

    async def slow(connection: Connection) -> None:
        async for stream in connection.streams():
            await asyncio.sleep(0.2)
            with contextlib.suppress(StreamResetError, StreamStoppedError):
                stream.write(await stream.read())
                stream.finish()

    async with (
        asyncio.timeout(10),
        serve(slow, "127.0.0.1", 0, config=server_config(max_streams_bidi=1)) as server,
        Pool(client_config(), max_connections_per_host=1) as pool,
    ):

        async def brief() -> None:
            async with pool.stream(*server.address) as stream:
                stream.write(b"x")

        waiting = [asyncio.ensure_future(brief()) for _ in range(4)]
        await asyncio.sleep(0.05)
        waiting.pop(2).cancel()
        await asyncio.gather(*waiting)
        assert await ask(pool, server.address)


async def test_room_that_comes_late_is_taken() -> None:
    """A server's credit for the next stream may come long after the answer on this one."""

    async def slow(connection: Connection) -> None:
        async for stream in connection.streams():
            stream.write(b"answer")
            stream.finish()
            await asyncio.sleep(0.1)
            await stream.read_to_end(1000)

    async with (
        serve(slow, "127.0.0.1", 0, config=server_config(max_streams_bidi=1)) as server,
        Pool(client_config(), max_connections_per_host=1) as pool,
        asyncio.timeout(10),
    ):

        async def one() -> bytes:
            async with pool.stream(*server.address) as stream:
                stream.write(b"question")
                stream.finish()
                return await stream.read()

        assert await asyncio.gather(*(one() for _ in range(5))) == [b"answer"] * 5
