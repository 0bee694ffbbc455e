"""Mistakes of somebody's first hour, and what they are told."""

from __future__ import annotations

import asyncio
import logging

import pytest

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    CertificateError,
    ConnectionClosedError,
    HandshakeError,
    QuicError,
    QuicTimeoutError,
    RefusedError,
)
from midstream.quic import Config, Pool, connect, http3, run, serve, webtransport
from tests.quic._loopback import IDENTITY, client_config, pair, server_config


@pytest.mark.parametrize("n", ["5", 1.5, None])
@pytest.mark.parametrize("method", ["read", "readexactly", "read_to_end"])
async def test_a_size_that_is_no_integer(method, n):
    async with pair() as (connection, _), asyncio.timeout(5):
        stream = await connection.open_bi()
        with pytest.raises(ArgumentTypeError, match="must be an integer"):
            await getattr(stream, method)(n)


async def test_a_limit_that_cannot_be():
    async with pair() as (connection, _), asyncio.timeout(5):
        stream = await connection.open_bi()
        for limit in (-1, -2):
            with pytest.raises(ArgumentValueError, match="limit must be at least 0"):
                await stream.read_to_end(limit)
        with pytest.raises(ArgumentValueError, match="limit must be at least 1"):
            await stream.readuntil(b"\n", 0)
        with pytest.raises(ArgumentTypeError, match="separator must be bytes"):
            await stream.readuntil("\n")


async def test_another_loop_is_told_so():
    async def everything(connection, stream):
        told = []
        for call in (
            lambda: stream.read(1),
            connection.open_bi,
            connection.accept_uni,
            connection.ping,
        ):
            with pytest.raises(RefusedError, match="belongs to another event loop") as caught:
                await asyncio.wait_for(call(), 5)
            told.append(caught.value.reason)
        return told

    async with pair() as (connection, _), asyncio.timeout(20):
        stream = await connection.open_bi()
        told = await asyncio.to_thread(lambda: asyncio.run(everything(connection, stream)))
        assert told == ["loop"] * 4
        stream.write(b"still here")
        stream.finish()
        assert await stream.read() == b"still here"


def test_a_connection_that_was_not_awaited():
    for pending in (
        connect("127.0.0.1", 4433),
        http3.connect("https://127.0.0.1:4433"),
        webtransport.connect("https://127.0.0.1:4433/x"),
    ):
        assert "await it" in repr(pending)
        with pytest.raises(AttributeError, match="no 'open_bi' yet: connect gives"):
            pending.open_bi  # noqa: B018


async def test_a_handler_that_is_no_coroutine_function(caplog):
    async with pair(lambda _: None) as (connection, _), asyncio.timeout(5):
        await connection.wait_closed()
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "async def" in str(record.exc_info[1])


async def test_an_address_that_is_taken_is_named():
    async with serve(print, "127.0.0.1", 0, config=server_config()) as server:
        host, port = server.address
        with pytest.raises(OSError, match=f"{host}:{port}: "):
            await serve(print, host, port, config=server_config())


def test_a_config_shows_what_was_given():
    assert repr(Config()) == "Config()"
    assert repr(Config(alpn=["a"], idle_timeout_s=5)) == "Config(alpn=('a',), idle_timeout_s=5.0)"
    assert "PRIVATE" not in repr(Config(identity=IDENTITY))


async def test_a_stream_shows_its_ends():
    async def refuse(connection):
        (await connection.accept_bi()).abort(7)
        await connection.wait_closed()

    async with pair() as (connection, _), asyncio.timeout(5):
        stream = await connection.open_bi()
        stream.finish()
        assert repr(stream).endswith(" 0 B, finished>")
        await stream.read()
        assert repr(stream).endswith(" 0 B, read to its end, finished>")
    async with pair(refuse) as (connection, _), asyncio.timeout(5):
        stream = await connection.open_bi()
        stream.write(b"x")
        assert await stream.wait_stopped() == 7
        assert "reset by the peer with code 7, stopped by the peer with code 7" in repr(stream)


async def test_what_was_offered_is_told_where_nothing_is_common():
    async with serve(print, "127.0.0.1", 0, config=server_config()) as server:
        with pytest.raises(HandshakeError, match=r"no common .*; this end offered h9, h8: see"):
            await connect(*server.address, config=client_config(alpn=["h9", "h8"]))


async def test_an_unknown_authority_is_told_with_the_way_out():
    async with serve(print, "127.0.0.1", 0, config=server_config()) as server:
        with pytest.raises(CertificateError, match=r"to trust it, .* as ca, or its pin") as caught:
            await connect(*server.address)
    assert "to trust" not in caught.value.reason


async def test_a_session_that_is_refused_names_its_path():
    async def handler(session):
        await session.wait_closed()

    async with webtransport.serve(handler, "127.0.0.1", 0, config=server_config()) as server:
        where = f"127.0.0.1:{server.address[1]}"
        with pytest.raises(http3.Http3Error, match=f"{where}/other was answered with status 404"):
            await webtransport.connect(f"https://{where}/other", config=client_config())
        async with webtransport.connect(f"https://{where}/", config=client_config()) as session:
            stream = await session.open_bi()
            with pytest.raises(ArgumentTypeError, match="data must be bytes-like"):
                stream.write("text")


async def test_bytes_that_never_arrived_are_told_at_the_end():
    """The peer does not read, and goes silent: leaving must not look like success."""

    async def deaf(connection):
        await connection.wait_closed()

    async with serve(deaf, "127.0.0.1", 0, config=server_config(idle_timeout_s=0.5)) as server:
        connection = await connect(*server.address, config=client_config())
        with pytest.raises(QuicTimeoutError):
            async with connection, asyncio.timeout(10):
                (await connection.open_bi()).write(bytes(4 << 20))


async def test_a_peer_that_has_enough_ends_it_quietly_for_a_context_and_aloud_for_drain():
    async def brief(connection):
        stream = await connection.accept_bi()
        await stream.read(10)
        await asyncio.sleep(0.1)
        connection.close(0)

    async with serve(brief, "127.0.0.1", 0, config=server_config()) as server, asyncio.timeout(10):
        async with connect(*server.address, config=client_config()) as connection:
            (await connection.open_bi()).write(bytes(4 << 20))
        connection = await connect(*server.address, config=client_config())
        (await connection.open_bi()).write(bytes(4 << 20))
        with pytest.raises(ConnectionClosedError, match="the peer closed"):
            await connection.drain()


async def test_an_asgi_application_that_answers_and_raises():
    """As frameworks do after their page for errors: the client gets it."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"sorry"})
        raise RuntimeError("told already")

    async with http3.serve(http3.asgi(app), "127.0.0.1", 0, config=server_config()) as server:
        url = f"https://127.0.0.1:{server.address[1]}"
        async with http3.connect(url, config=client_config()) as session:
            response = await session.request("GET", "/")
            assert (response.status, await response.read()) == (500, b"sorry")


def test_an_asgi_application_that_is_not_wrapped():
    async def app(scope, receive, send):
        pass

    async def handler(session):
        pass

    with pytest.raises(ArgumentTypeError, match=r"app takes one Request.*: asgi\(app\)"):
        http3.serve(app, "127.0.0.1", 0, config=server_config())
    with pytest.raises(ArgumentTypeError, match=r"app takes one Request.*: asgi\(app\)"):
        webtransport.serve(handler, "127.0.0.1", 0, config=server_config(), app=app)


async def test_a_server_is_entered_once():
    server = serve(print, "127.0.0.1", 0, config=server_config())
    assert "not started" in repr(server)
    async with server:
        pass
    with pytest.raises(QuicError, match="closed, for good"):
        await server
    with pytest.raises(QuicError, match="closed, for good"):
        async with server:
            pass


def test_a_pool_and_a_run_of_something_else():
    with pytest.raises(ArgumentTypeError, match="config must be a Config"):
        Pool({"pins": []})

    async def main():
        with pytest.raises(RuntimeError, match="from a running event loop"):
            run(asyncio.sleep(0))
        return 1

    with pytest.raises(ArgumentTypeError, match=r"main must be a coroutine.*: call it"):
        run(main)
    assert run(main()) == 1
