"""HTTP/3 client and server against each other over loopback."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConnectionClosedError,
    DatagramTooLargeError,
    QuicError,
    QuicTimeoutError,
    StreamStoppedError,
)
from midstream.quic import http3
from midstream.quic._h3_errors import Http3ErrorCode
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.connection import Connection, connect
from midstream.quic.priority import Priority
from midstream.quic.serving import serve
from midstream.quic.tickets import TicketStore

IDENTITY = Identity.development()
TRUST = Config(ca=IDENTITY.pem)
TIMEOUT_S = 15.0


@asynccontextmanager
async def served(
    app: Any, *, config: Config | None = None, trust: Config = TRUST, **options: Any
) -> AsyncIterator[tuple[http3.Session, http3.Http3Server]]:
    """A client of `app`."""
    async with asyncio.timeout(TIMEOUT_S):
        own = Config(identity=IDENTITY) if config is None else config
        async with http3.serve(app, "127.0.0.1", 0, config=own, **options) as server:
            host, port = server.address
            async with http3.connect(f"https://{host}:{port}", config=trust) as client:
                yield client, server


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def echo(request: http3.Request) -> http3.Response:
    return http3.Response(200, {"x-path": request.path}, request)


async def chunks(number: int, size: int) -> AsyncIterator[bytes]:
    for index in range(number):
        yield bytes((index % 256,)) * size


async def test_a_request_and_what_the_application_sees() -> None:
    async def app(request: http3.Request) -> http3.Response:
        assert request.protocol is None
        assert not request.early_data
        assert not request.is_safe
        assert request.stream_id == 0
        assert repr(request) == f"<Request POST {request.authority}/a?b=c>"
        body = await request.read()
        assert request.trailers["sum"] == "7"
        told = [request.method, request.scheme, request.authority, request.path, body.decode()]
        return http3.Response(
            201,
            [("Set-Cookie", "a=1"), ("Set-Cookie", b"b=2"), ("x-seen", " ".join(told))],
            b"made",
            {"x-end": "1"},
        )

    async with served(app) as (client, server):
        response = await client.request(
            "POST", "/a?b=c", headers={"Accept": "*/*"}, body=b"body", trailers={"sum": "7"}
        )
        port = server.address[1]
        assert response.status == 201
        assert response.headers["x-seen"] == f"POST https 127.0.0.1:{port} /a?b=c body"
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        assert response.headers["content-length"] == "4"
        assert await response.read() == b"made"
        assert response.trailers["x-end"] == "1"
        assert response.stream_id == 0
        assert len(server.sessions) == 1
        assert server.server.stats().connections == 1


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 65_536, 65_537, 3_000_000])
async def test_bodies_come_back(size: int) -> None:
    body = hashlib.shake_128(b"body").digest(size)
    async with served(echo) as (client, _):
        for sent in (body, bytearray(body), memoryview(body)):
            response = await client.request("PUT", "/", body=sent)
            assert await response.read() == body


async def test_bodies_stream_both_ways_at_once() -> None:
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def ping_pong() -> AsyncIterator[bytes]:
        for number in range(20):
            yield b"%d" % number
            assert await came.get() == b"%d" % number  # sent on only when it was answered

    async with served(echo) as (client, _):
        response = await client.request("POST", "/", body=ping_pong())
        async for part in response:
            came.put_nowait(part)
        assert came.empty()


async def test_who_does_not_read_is_waited_for() -> None:
    produced = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal produced
        while True:
            produced += 1
            yield bytes(65_536)

    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(200, None, endless())

    small = Config(
        ca=IDENTITY.pem,
        stream_window=1 << 18,
        max_stream_window=1 << 18,
        connection_window=1 << 19,
        max_connection_window=1 << 19,
    )
    async with served(app, trust=small) as (client, _):
        response = await client.request("GET", "/")
        before = -1
        while produced != before:  # it stops by itself
            before = produced
            await asyncio.sleep(0.05)
        # The window, the server's send buffer, what lies in between.
        assert produced * 65_536 < (1 << 18) + (1 << 18) + 4 * 65_536
        body = aiter(response)
        for _ in range(100):
            await anext(body)
        assert produced > before
        await response.close()


async def test_server_sent_events_leave_one_by_one() -> None:
    seen = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        for number in range(3):
            seen.clear()
            yield b"data: %d\n\n" % number
            await seen.wait()

    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(200, {"content-type": "text/event-stream"}, events())

    async with served(app) as (client, _):
        response = await client.request("GET", "/events")
        found = []
        async for part in response:
            found.append(part)
            seen.set()
        assert found == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


async def test_many_requests_at_once() -> None:
    async with served(echo) as (client, _):

        async def one(number: int) -> bytes:
            body = b"%d" % number * 200
            async with await client.request("POST", f"/{number}", body=body) as response:
                assert response.headers["x-path"] == f"/{number}"
                return await response.read()

        found = await asyncio.gather(*(one(number) for number in range(1500)))
        assert found == [b"%d" % number * 200 for number in range(1500)]
        assert not client._open


async def test_responses_without_a_body() -> None:
    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(int(request.path[1:]), None, b"12345")

    async with served(app) as (client, _):
        head = await client.request("HEAD", "/200")
        assert (head.headers["content-length"], await head.read()) == ("5", b"")
        for status in (204, 304):
            response = await client.request("GET", f"/{status}")
            assert (response.status, await response.read()) == (status, b"")
            assert "content-length" not in response.headers


async def test_interim_responses() -> None:
    async def app(request: http3.Request) -> http3.Response:
        await request.inform(103, {"link": "</style.css>"})
        with pytest.raises(ArgumentValueError, match="101"):
            await request.inform(101)
        return http3.Response(200, None, b"x")

    async with served(app) as (client, _):
        response = await client.request("GET", "/")
        assert response.interim[0][0] == 103
        assert response.interim[0][1]["link"] == "</style.css>"


async def test_a_response_by_hand() -> None:
    async def app(request: http3.Request) -> None:
        writer = await request.respond(200, {"a": "b"})
        await writer.write(b"one")
        await writer.write(b"")
        await writer.write(b"two")
        await writer.finish({"sum": "6"})
        with pytest.raises(ArgumentValueError, match="answered"):
            await request.respond(200)

    async with served(app) as (client, _):
        response = await client.request("GET", "/")
        assert [part async for part in response] == [b"one", b"two"]
        assert response.trailers["sum"] == "6"


async def test_applications_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"some"
        raise RuntimeError("in the middle")

    async def app(request: http3.Request) -> Any:
        if request.path == "/raise":
            raise RuntimeError("at once")
        if request.path == "/quic":
            raise QuicTimeoutError("of another connection")
        if request.path == "/middle":
            return http3.Response(200, None, breaking())
        if request.path == "/short":
            return http3.Response(200, {"content-length": "10"}, b"123")
        if request.path == "/nothing":
            return None
        if request.path == "/large":
            await request.read(limit=3)
        return "no response"

    async with served(app) as (client, _):
        with caplog.at_level(logging.CRITICAL, "midstream.quic"):
            for path in ("/raise", "/quic", "/nothing", "/text"):
                response = await client.request("GET", path)
                assert (response.status, await response.read()) == (500, b"")
            assert (await client.request("POST", "/large", body=b"1234")).status == 413
        with caplog.at_level(logging.ERROR, "midstream.quic"):
            for path in ("/middle", "/short"):
                with pytest.raises(http3.Http3Error) as caught:
                    await (await client.request("GET", path)).read()
                assert caught.value.code_name == "H3_INTERNAL_ERROR"
                assert caught.value.by_peer
        assert "in the middle" in caplog.text
        assert not client.closed


async def test_requests_that_are_rejected() -> None:
    async def app(request: http3.Request) -> None:
        request.abort(*([] if request.path == "/" else [0x10C]))

    async with served(app) as (client, _):
        for path, name in (("/", "H3_REQUEST_REJECTED"), ("/x", "H3_REQUEST_CANCELLED")):
            with pytest.raises(http3.Http3Error) as caught:
                await client.request("GET", path)
            assert (caught.value.code_name, caught.value.by_peer) == (name, True)
            assert caught.value.retriable == (path == "/")


async def test_uploads_that_fail() -> None:
    begun = asyncio.Event()

    async def breaking() -> AsyncIterator[bytes]:
        yield b"some"
        await begun.wait()
        raise RuntimeError("my disk")

    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(request: http3.Request) -> http3.Response:
        begun.set()
        try:
            await request.read()
        except http3.Http3Error as error:
            outcome.set_result(error.code_name)
            raise
        return http3.Response()

    async with served(app) as (client, _):
        with pytest.raises(RuntimeError, match="my disk"):
            await client.request("POST", "/", body=breaking())
        assert await outcome == "H3_REQUEST_CANCELLED"
        with pytest.raises(ArgumentValueError, match="content-length"):
            await client.request("POST", "/", body=chunks(1, 3), headers={"content-length": "9"})


async def test_an_answer_before_the_end_of_the_request() -> None:
    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(403, None, b"no")

    async with served(app) as (client, _):
        await client.settings_received()
        await (await client.request("GET", "/")).read()
        before = len(client._tasks)
        for _ in range(3):
            response = await client.request("POST", "/", body=chunks(1000, 10_000))
            assert (response.status, await response.read()) == (403, b"no")
        await until(lambda: len(client._tasks) <= before)  # no upload goes on


async def test_cancelling_a_request_cancels_its_handler() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def app(request: http3.Request) -> http3.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return http3.Response()

    async with served(app) as (client, _):
        task = asyncio.ensure_future(client.request("GET", "/"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()
        assert not client._open
        assert not client.closed


async def test_closing_a_response_ends_its_generator() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(200, None, endless())

    async with served(app) as (client, _):
        async with await client.request("GET", "/") as response:
            assert await anext(aiter(response))
        await closed.wait()
        with pytest.raises(http3.Http3Error, match="limit of 5,000 bytes") as caught:
            await (await client.request("GET", "/")).read(limit=5000)
        assert caught.value.code_name == "H3_EXCESSIVE_LOAD"


async def test_priorities_by_header_and_by_frame() -> None:
    seen: list[Priority] = []
    go = asyncio.Event()
    streams: list[http3.Request] = []

    async def app(request: http3.Request) -> http3.Response:
        seen.append(request.priority)
        streams.append(request)
        await go.wait()
        seen.append(request.priority)
        answer = {"priority": "u=0"} if request.path == "/own" else None
        return http3.Response(200, answer, b"x")

    async with served(app) as (client, _):
        task = asyncio.ensure_future(
            client.request("GET", "/", priority=Priority(urgency=5, incremental=True))
        )
        await until(lambda: streams)
        assert seen == [Priority(5, True)]
        client.reprioritise(streams[0].stream_id, Priority(1))
        await until(lambda: streams[0].priority == Priority(1))
        go.set()
        response = await task
        response.reprioritise(Priority(7))
        await response.read()
        # One that comes before its request counts for it, and over its header.
        client.reprioritise(4, Priority(0, True))
        await client.connection.ping()
        await client.request("GET", "/", priority=Priority(6))
        assert seen[-1] == Priority(0, True)
        # What the application says of its response wins, member by member.
        await client.request("GET", "/own", priority=Priority(6, True))
        assert streams[-1].priority == Priority(0, True)
        # What cannot be read is passed over.
        await client.request("GET", "/", headers={"priority": "u=,"})
        assert seen[-1] == Priority()
        with pytest.raises(ArgumentTypeError, match="priority"):
            client.reprioritise(0, 3)  # type: ignore[arg-type]


async def test_an_urgent_response_overtakes() -> None:
    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(200, None, bytes(8_000_000 if request.path == "/bulk" else 1000))

    async with served(app) as (client, _):
        order: list[str] = []

        async def fetch(path: str, priority: Priority) -> None:
            await (await client.request("GET", path, priority=priority)).read()
            order.append(path)

        bulk = [asyncio.ensure_future(fetch("/bulk", Priority(6))) for _ in range(5)]
        await asyncio.sleep(0)
        await fetch("/urgent", Priority(0))
        assert order[0] == "/urgent"
        await asyncio.gather(*bulk)


async def test_a_tunnel_with_capsules_and_datagrams() -> None:
    async def app(request: http3.Request) -> http3.Response | None:
        if request.protocol != "echo":
            return http3.Response(404)
        async with await request.accept(headers={"x-proto": request.protocol}) as tunnel:
            for _ in range(3):
                tunnel.send_datagram(await tunnel.receive_datagram())
            async for kind, value in tunnel.capsules():
                await tunnel.send_capsule(kind, value.upper())
        return None

    async with served(app) as (client, _):
        async with await client.connect_tunnel("/echo", protocol="echo") as tunnel:
            assert tunnel.headers["x-proto"] == "echo"
            assert tunnel.max_datagram_size > 1000
            for number in range(3):
                tunnel.send_datagram(b"%d" % number)
            assert sorted([await tunnel.receive_datagram() for _ in range(3)]) == [
                b"0",
                b"1",
                b"2",
            ]
            with pytest.raises(DatagramTooLargeError):
                tunnel.send_datagram(bytes(70_000))
            capsules = tunnel.capsules()
            await tunnel.send_capsule(0x2843, b"abc")
            assert await anext(capsules) == (0x2843, b"ABC")
            tunnel.finish()
            assert [capsule async for capsule in capsules] == []
        with pytest.raises(http3.Http3Error, match="status 404"):
            await client.connect_tunnel("/", protocol="other")
        assert not client._open


async def test_a_plain_connect() -> None:
    async def app(request: http3.Request) -> http3.Response | None:
        assert (request.method, request.path) == ("CONNECT", "")
        if request.authority != "example.org:80":
            return http3.Response(502)
        async with await request.accept() as tunnel:
            async for part in tunnel:
                await tunnel.write(part[::-1])
        return None

    async with served(app) as (client, _):
        async with await client.connect_tunnel(authority="example.org:80") as tunnel:
            await tunnel.write(b"abc")
            assert await tunnel.read() == b"cba"
            tunnel.reset()
        with pytest.raises(http3.Http3Error, match="502"):
            await client.connect_tunnel(authority="elsewhere:1")


async def test_a_handler_that_watches_is_not_cancelled() -> None:
    gone = asyncio.Event()

    async def app(request: http3.Request) -> http3.Response:
        await request.disconnected()
        gone.set()
        return http3.Response()

    async with served(app) as (client, _):
        task = asyncio.ensure_future(client.request("GET", "/"))
        await until(lambda: client._open)
        task.cancel()
        await gone.wait()


async def test_draining_says_goaway_and_lets_requests_end() -> None:
    go = asyncio.Event()

    async def app(request: http3.Request) -> http3.Response:
        await go.wait()
        return http3.Response(200, None, b"late")

    async with served(app) as (client, server):
        open_request = asyncio.ensure_future(client.request("GET", "/"))
        await until(lambda: server.sessions and server.sessions[0]._open)
        draining = asyncio.ensure_future(server.drain(10.0))
        await until(lambda: client.going_away)
        with pytest.raises(http3.Http3Error) as caught:
            await client.request("GET", "/")
        assert caught.value.retriable
        go.set()
        assert await (await open_request).read() == b"late"
        await draining
        await client.wait_closed()
        assert client.closed


async def test_draining_has_an_end() -> None:
    async def app(request: http3.Request) -> http3.Response:
        await asyncio.Event().wait()
        return http3.Response()

    async with served(app) as (client, server):
        open_request = asyncio.ensure_future(client.request("GET", "/"))
        await until(lambda: server.sessions and server.sessions[0]._open)
        with pytest.raises(QuicTimeoutError):
            await server.drain(0.1)
        with pytest.raises(QuicError):
            await open_request


async def test_a_client_shuts_down() -> None:
    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(200, None, chunks(20, 1000))

    async with served(app) as (client, server):
        response = await client.request("GET", "/")
        ending = asyncio.ensure_future(client.shutdown())
        assert len(await response.read()) == 20_000
        await ending
        assert client.closed
        with pytest.raises((http3.Http3Error, ConnectionClosedError)):
            await client.request("GET", "/")
        await until(lambda: not server.sessions)


async def test_a_connection_that_ends_ends_its_requests() -> None:
    async def app(request: http3.Request) -> http3.Response:
        if request.path == "/end":
            request.session.close()
        await asyncio.Event().wait()
        return http3.Response()

    async with served(app) as (client, _):
        waiting = asyncio.ensure_future(client.request("GET", "/wait"))
        with pytest.raises((http3.Http3Error, ConnectionClosedError)):
            await client.request("GET", "/end")
        with pytest.raises((http3.Http3Error, ConnectionClosedError)):
            await waiting


async def test_mounted_on_a_connection_with_streams_of_other_kinds() -> None:
    """As WebTransport does: own stream and frame types, settings and datagrams."""
    seen: dict[str, bytes] = {}

    async def take_uni(stream: Any) -> None:
        seen["uni"] = await stream.read_to_end(100)

    async def take_bi(stream: Any) -> None:
        seen["bi"] = await stream.readexactly(3)
        stream.write(b"back")
        stream.finish()

    def prepare(session: http3.Session) -> None:
        session.register_stream_type(0x54, take_uni)
        session.register_frame_type(0x41, take_bi)
        session.extra_settings[0x2B603742] = 1
        for wrong in (0, 3):
            with pytest.raises(ArgumentValueError, match="stream_type"):
                session.register_stream_type(wrong, take_uni)
        with pytest.raises(ArgumentValueError, match="frame_type"):
            session.register_frame_type(1, take_bi)

    async def handler(connection: Connection) -> None:
        session = await http3.mount(connection, echo, on_session=prepare)
        session.on_datagram(5, lambda data: seen.setdefault("datagram", data))
        await session.wait_closed()

    async with asyncio.timeout(TIMEOUT_S):
        config = Config(identity=IDENTITY, alpn=("h3",))
        async with (
            serve(handler, "127.0.0.1", 0, config=config) as server,
            connect(*server.address, config=Config(ca=IDENTITY.pem, alpn=("h3",))) as connection,
        ):
            client = await http3.mount(connection, authority="localhost", settings={0x33: 1})
            assert (await client.settings_received())[0x2B603742] == 1
            uni = await connection.open_uni()
            uni.write(b"\x40\x54uni")
            uni.finish()
            bi = await connection.open_bi()
            bi.write(b"\x40\x41abc")
            assert await bi.read_to_end(100) == b"back"
            client.send_datagram(5, b"datagram")
            response = await client.request("POST", "/", body=b"beside")
            assert await response.read() == b"beside"
            await until(lambda: len(seen) == 3)
            assert seen == {"uni": b"uni", "bi": b"abc", "datagram": b"datagram"}
            client.close()


async def test_datagrams_that_come_early_wait() -> None:
    found: list[bytes] = []
    async with served(echo) as (client, server):
        await client.settings_received()
        for number in range(80):
            client.send_datagram(9, b"%d" % number)
        await client.connection.ping()
        session = server.sessions[0]
        await until(lambda: len(session._early_datagrams) == 64)
        session.on_datagram(9, found.append)
        assert len(found) == 64
        session.on_datagram(9, None)


async def test_a_server_without_datagrams() -> None:
    async with served(echo, config=Config(identity=IDENTITY, datagrams=False)) as (client, _):
        await client.settings_received()
        assert client.max_datagram_size(0) == 0
        with pytest.raises(http3.Http3Error, match="datagrams"):
            client.send_datagram(0, b"x")


async def test_arguments_that_no_request_can_carry() -> None:
    async with served(echo) as (client, server):
        await client.settings_received()
        for arguments in (
            {"method": "G T", "path": "/"},
            {"method": "GET", "path": ""},
            {"method": "GET", "path": "x"},
            {"method": "GET", "path": "/a b"},
            {"method": "GET", "path": "/", "authority": "a@b"},
            {"method": "GET", "path": "/", "headers": {"a": "b\n"}},
            {"method": "GET", "path": "/", "headers": [("a", "b" * 40_000)] * 2},
            {"method": "GET", "path": "/", "headers": {"a": "b" * 70_000}},
        ):
            with pytest.raises(ArgumentValueError):
                await client.request(**arguments)  # type: ignore[arg-type]
        for arguments in (
            {"method": 1, "path": "/"},
            {"method": "GET", "path": b"/"},
            {"method": "GET", "path": "/", "body": "text"},
            {"method": "GET", "path": "/", "priority": 1},
            {"method": "GET", "path": "/", "headers": "a: b"},
        ):
            with pytest.raises(ArgumentTypeError):
                await client.request(**arguments)  # type: ignore[arg-type]
        await until(lambda: server.sessions)
        with pytest.raises(ArgumentValueError, match="server's"):
            await server.sessions[0].request("GET", "/")
        assert not client._open
    for url in ("http://localhost", "https://", "https://me@host", "https://host:99999", ""):
        with pytest.raises(ArgumentValueError, match="url"):
            http3.connect(url)
    with pytest.raises(ArgumentValueError, match="port"):
        http3.connect("https://host:1", 2)
    with pytest.raises(ArgumentTypeError, match="config"):
        http3.connect("host", config=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="app"):
        http3.serve(3, config=TRUST)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="status"):
        http3.Response(100)
    with pytest.raises(ArgumentTypeError, match="body"):
        http3.Response(200, None, "text")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="received"):
        http3.Response().reprioritise(Priority())
    assert http3.Response.too_early().status == 425
    assert await http3.Response(200, None, b"abc").read() == b"abc"
    assert await http3.Response(200, None, chunks(2, 1)).read() == b"\x00\x01"


async def test_early_data() -> None:
    seen: list[tuple[str, bool]] = []
    sent: list[tuple[str, bool]] = []

    async def app(request: http3.Request) -> http3.Response:
        seen.append((request.method, request.early_data))
        return http3.Response(200, None, await request.read())

    async def ask(client: http3.Session, method: str, body: bytes) -> None:
        # On a busy machine the handshake may be over before the request is written.
        sent.append((method, client.connection.early))
        answer = await client.request(method, "/", body=body)
        assert (answer.status, await answer.read()) == (200, body)

    tickets = TicketStore()
    trust = Config(ca=IDENTITY.pem, tickets=tickets, early_data=True)
    own = Config(identity=IDENTITY, early_data=True)
    async with asyncio.timeout(TIMEOUT_S):
        for any_early in (False, True):
            async with http3.serve(app, "127.0.0.1", 0, config=own, any_early=any_early) as server:
                url = "https://{}:{}".format(*server.address)
                for connection in range(2):
                    async with http3.connect(url, config=trust) as client:
                        assert client.connection.early == (connection == 1)
                        await asyncio.gather(ask(client, "GET", b""), ask(client, "POST", b"x"))
                        await client.connection.ping()  # tickets have come
    assert sorted(seen[2:4]) == [sorted(sent[2:4])[0], ("POST", False)]
    assert sorted(seen[6:]) == sorted(sent[6:])


async def test_headers_repeat_from_the_dynamic_table() -> None:
    headers = {"authorization": "Bearer " + "x" * 300, "x-trace": "y" * 300}
    async with served(echo) as (client, _):
        await client.settings_received()
        sizes = []
        for _ in range(6):
            before = client.connection.stats().bytes_sent
            await (await client.request("GET", "/", headers=headers)).read()
            sizes.append(client.connection.stats().bytes_sent - before)
        assert min(sizes[3:]) < sizes[0] - 300


# ---------------------------------------------------------------- ASGI


async def test_an_asgi_application() -> None:
    scopes: list[dict[str, Any]] = []
    messages: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                messages.append(message["type"])
                if message["type"] == "lifespan.startup":
                    scope["state"]["started"] = True
                await send({"type": message["type"] + ".complete"})
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"Connection", b"keep-alive"), (b"x", b"y")],
                "trailers": True,
            }
        )
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})
        await send({"type": "http.response.trailers", "headers": [(b"sum", b"1")]})

    async with served(http3.asgi(app)) as (client, server):
        response = await client.request("POST", "/a%20b?c=d", body=chunks(3, 2))
        assert await response.read() == b"\x00\x00\x01\x01\x02\x02!"
        assert response.trailers["sum"] == "1"
        assert "connection" not in response.headers
        scope = scopes[1]
        assert scope["type"] == "http"
        assert scope["http_version"] == "3"
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
            "/a b",
            b"/a%20b",
            b"c=d",
        )
        assert scope["headers"][0] == (b"host", f"127.0.0.1:{server.address[1]}".encode())
        assert scope["state"] == {"started": True}
        assert scope["server"] == server.address
        with pytest.raises(http3.Http3Error, match="501"):
            await client.connect_tunnel("/", protocol="websocket")
    assert messages == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_asgi_application_whose_client_goes() -> None:
    outcome: asyncio.Queue[str] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("has none")
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        outcome.put_nowait((await receive())["type"])
        try:
            await send({"type": "http.response.body", "body": b"x"})
        except OSError as error:  # as the specification says since 2.4
            outcome.put_nowait(type(error).__name__)
            raise

    async with served(http3.asgi(app)) as (client, _):
        async with await client.request("GET", "/") as response:
            assert await anext(aiter(response)) == b"x"
        assert await outcome.get() == "http.disconnect"
        assert await outcome.get() == StreamStoppedError.__name__


async def test_starlette() -> None:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def hello(request: Request) -> JSONResponse:
        return JSONResponse({"name": request.path_params["name"], "sent": await request.json()})

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(chunks(5, 10), media_type="application/octet-stream")

    app = Starlette(
        routes=[Route("/hello/{name}", hello, methods=["POST"]), Route("/stream", stream)]
    )
    async with served(http3.asgi(app)) as (client, _):
        response = await client.request("POST", "/hello/you", body=b"[1]")
        assert await response.read() == b'{"name":"you","sent":[1]}'
        assert response.headers["content-type"] == "application/json"
        assert len(await (await client.request("GET", "/stream")).read()) == 50
        assert (await client.request("GET", "/none")).status == 404


def test_the_code_of_an_error() -> None:
    assert Http3ErrorCode.H3_MESSAGE_ERROR == 0x10E


async def test_reading_that_is_cancelled_gives_the_response_up() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(200, None, endless())

    async with served(app) as (client, _):
        for way in (http3.Response.read, lambda got: anext(_after_all(got))):
            ended.clear()
            response = await client.request("GET", "/")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await way(response)
            # The server is told, and what is left is no whole body.
            await ended.wait()
            with pytest.raises(http3.Http3Error, match="cancelled"):
                await response.read()
            assert not client._exchanges
            assert client._idle.is_set()


async def _after_all(response: http3.Response) -> AsyncIterator[None]:
    async for _ in response:
        pass
    yield


async def test_a_request_that_is_cancelled_after_a_stop_is_forgotten() -> None:
    async def app(request: http3.Request) -> http3.Response:
        request._reader.stop(0x100)
        await request.disconnected()
        return http3.Response(200)

    config = Config(identity=IDENTITY, stream_window=4096, max_stream_window=4096)
    trust = replace(TRUST, send_buffer=4096)
    async with served(app, config=config, trust=trust) as (client, _):
        for body in (bytes(60_000), bytes(1 << 20)):
            waits = asyncio.ensure_future(client.request("POST", "/", body=body))
            await asyncio.sleep(0.1)
            waits.cancel()
            await asyncio.gather(waits, return_exceptions=True)
            assert not client._exchanges
            assert client._idle.is_set()


async def test_a_write_that_is_cancelled_leaves_a_whole_frame() -> None:
    size = 1 << 20

    async def app(request: http3.Request) -> None:
        writer = await request.respond(200)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await writer.write(b"a" * size)
        await writer.write(b"end")
        await writer.finish()

    trust = replace(TRUST, stream_window=65536, max_stream_window=65536)
    async with served(app, trust=trust) as (client, _):
        response = await client.request("GET", "/")
        await asyncio.sleep(0.1)
        assert await response.read() == b"a" * size + b"end"


async def test_a_response_s_own_priority_outlasts_updates() -> None:
    seen: list[Priority] = []
    said = asyncio.Event()

    async def app(request: http3.Request) -> None:
        writer = await request.respond(200, {"priority": "u=1", "x": "y"})
        await said.wait()
        seen.append(request.priority)
        await writer.finish()

    async with served(app) as (client, _):
        response = await client.request("GET", "/", priority=Priority(5))
        response.reprioritise(Priority(7, True))
        await client.connection.ping()
        said.set()
        await response.read()
        # Member by member: it said nothing of the other one.
        assert seen == [Priority(1, True)]
