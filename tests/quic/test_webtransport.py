"""WebTransport between our client and our server, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConnectionClosedError,
    DatagramTooLargeError,
    StreamResetError,
    StreamStoppedError,
)
from midstream.quic import _wt_wire as wire
from midstream.quic import http3, webtransport
from midstream.quic._h3_errors import Http3Error
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.priority import Priority

IDENTITY = Identity.development()
SERVER = Config(identity=IDENTITY)
CLIENT = Config(pins=[IDENTITY.certificate_pin])

Handler = Callable[[webtransport.Session], Awaitable[object]]


async def echo(session: webtransport.Session) -> None:
    async def datagrams() -> None:
        async for data in session.datagrams:
            session.datagrams.send(data)

    task = asyncio.create_task(datagrams())
    try:
        async for stream in session.streams():
            data = await stream.read_to_end(1 << 20)
            answer = stream if stream.can_send else await session.open_uni()
            answer.write(data)
            answer.finish()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def pair(
    handler: Handler = echo,
    *,
    path: str = "/wt",
    client: dict[str, Any] | None = None,
    **server: Any,
) -> AsyncIterator[tuple[webtransport.Session, webtransport.Server]]:
    async with asyncio.timeout(15):
        async with webtransport.serve(
            handler, "127.0.0.1", 0, path="/wt", config=SERVER, **server
        ) as running:
            url = f"https://127.0.0.1:{running.address[1]}{path}"
            async with webtransport.connect(url, config=CLIENT, **(client or {})) as session:
                yield session, running


@pytest.mark.parametrize("draft", [2, 7, 13, 15])
async def test_echo_by_each_draft(draft: int) -> None:
    async with pair(client={"drafts": [draft]}) as (session, server):
        assert session.draft == draft
        assert server.sessions[0].draft == draft
        async with await session.open_bi() as stream:
            stream.write(b"there")
        assert await stream.read() == b"there"
        async with await session.open_uni() as stream:
            stream.write(b"one way")
        assert await (await session.accept_uni()).read() == b"one way"
        session.datagrams.send(b"datagram")
        assert await session.datagrams.receive() == b"datagram"


async def test_the_newest_draft_is_spoken() -> None:
    async with pair() as (session, _):
        assert session.draft == 15


async def test_what_the_server_sees() -> None:
    seen: asyncio.Future[webtransport.Session] = asyncio.get_running_loop().create_future()

    async def handler(session: webtransport.Session) -> None:
        seen.set_result(session)
        await session.wait_closed()

    async with pair(
        handler,
        path="/wt?room=1",
        protocols=["b", "a"],
        client={"headers": {"origin": "https://127.0.0.1:1", "x-y": "z"}, "protocols": ["a", "b"]},
    ) as (session, _):
        there = await seen
        assert there.path == "/wt?room=1"
        assert there.origin == "https://127.0.0.1:1"
        assert there.headers["x-y"] == "z"
        assert there.protocol == session.protocol == "b"
        assert there.session_id == session.session_id


@pytest.mark.parametrize("by_server", [False, True])
async def test_close_has_code_and_reason(by_server: bool) -> None:
    ends: list[webtransport.CloseInfo] = []

    async def handler(session: webtransport.Session) -> None:
        if by_server:
            session.close(7, "enough")
        ends.append(await session.wait_closed())

    async with pair(handler) as (session, _):
        if not by_server:
            session.close(7, "enough")
        end = await session.wait_closed()
        assert end == webtransport.CloseInfo(7, "enough", by_server)
        with pytest.raises(ConnectionClosedError, match="code 7: enough") as caught:
            await session.open_bi()
        assert caught.value.code == 7
        assert caught.value.by_peer is by_server
    assert ends == [webtransport.CloseInfo(7, "enough", not by_server)]


async def test_a_close_resets_the_streams() -> None:
    reads: list[ConnectionClosedError] = []

    async def handler(session: webtransport.Session) -> None:
        stream = await session.accept_bi()
        try:
            await stream.read()
        except ConnectionClosedError as error:
            reads.append(error)

    async with pair(handler) as (session, server):
        stream = await session.open_bi()
        stream.write(b"x")
        await stream.wait_acked()
        while not server.sessions[0].stats().streams_accepted:
            await asyncio.sleep(0.01)
        session.close(3)
        with pytest.raises(ConnectionClosedError):
            stream.write(b"y")
        with pytest.raises(ConnectionClosedError):
            await stream.read()
    assert [error.code for error in reads] == [3]


async def test_resets_and_stops_have_the_application_s_codes() -> None:
    async def handler(session: webtransport.Session) -> None:
        first = await session.accept_bi()
        first.stop(0xFFFFFFFF)
        first.reset(30)
        second = await session.accept_bi()
        try:
            await second.read()
        except StreamResetError as error:
            third = await session.open_uni()
            third.write(b"%d" % error.code)
            third.finish()
        await session.wait_closed()

    async with pair(handler) as (session, _):
        first = await session.open_bi()
        first.write(b"x")
        with pytest.raises(StreamResetError) as reset:
            await first.read()
        assert reset.value.code == 30
        with pytest.raises(StreamStoppedError) as stopped:
            while True:
                first.write(b"x")
                await first.drain()
                await asyncio.sleep(0.01)
        assert stopped.value.code == 0xFFFFFFFF
        second = await session.open_bi()
        second.write(b"x")
        await second.wait_acked()
        second.reset(77)
        assert await (await session.accept_uni()).read() == b"77"


@pytest.mark.parametrize(
    ("path", "origin", "origins", "status"),
    [
        ("/other", None, None, 404),
        ("/wt", "https://evil.example", None, 403),
        ("/wt", "http://127.0.0.1", ["https://127.0.0.1"], 403),
        ("/wt", "http://localhost:8000", None, 200),
        ("/wt", "https://evil.example", ["*"], 200),
        ("/wt", "https://good.example", ["https://good.example"], 200),
    ],
)
async def test_paths_and_origins(
    path: str, origin: str | None, origins: list[str] | None, status: int
) -> None:
    client = {"headers": {} if origin is None else {"origin": origin}}
    if status == 200:
        async with pair(path=path, origins=origins, client=client) as (session, _):
            assert not session.closed
    else:
        with pytest.raises(Http3Error, match=f"status {status}"):
            async with pair(path=path, origins=origins, client=client):
                raise AssertionError("it was accepted")


async def test_pages_on_the_same_port() -> None:
    async def app(request: http3.Request) -> http3.Response:
        return http3.Response(200, body=request.path.encode())

    async with pair(app=app) as (session, _):
        response = await session._hub.http3.request("GET", "/page")
        assert (response.status, await response.read()) == (200, b"/page")


async def test_several_sessions_on_one_connection() -> None:
    async with pair(max_sessions=2) as (session, server):
        url = f"https://127.0.0.1:{server.address[1]}/wt"
        async with webtransport.connect(url, share=session) as other:
            assert other.connection is session.connection
            assert other.session_id != session.session_id
            async with await other.open_bi() as stream:
                stream.write(b"other")
            assert await stream.read() == b"other"
            with pytest.raises(Http3Error, match="H3_REQUEST_REJECTED"):
                await webtransport.connect(url, share=session)
            other.datagrams.send(b"o")
            assert await other.datagrams.receive() == b"o"
        async with await session.open_bi() as stream:
            stream.write(b"still there")
        assert await stream.read() == b"still there"


async def test_one_session_where_there_is_no_flow_control() -> None:
    async with pair(client={"drafts": [13]}) as (session, server):
        url = f"https://127.0.0.1:{server.address[1]}/wt"
        with pytest.raises(Http3Error, match="takes no more"):
            await webtransport.connect(url, share=session)


async def test_drain_asks_and_the_peer_ends() -> None:
    async with pair() as (session, server):
        asked = asyncio.create_task(session.wait_draining())
        drained = asyncio.create_task(server.sessions[0].drain(5))
        await asked
        assert session.draining
        session.close(9)
        assert await drained == webtransport.CloseInfo(9, "", True)


async def test_a_server_drains_and_takes_no_more() -> None:
    ends: list[webtransport.CloseInfo] = []

    async def handler(session: webtransport.Session) -> None:
        ends.append(await session.wait_closed())

    async with pair(handler) as (session, server):
        drained = asyncio.create_task(server.drain(5))
        await session.wait_draining()
        session.close(4)
        await drained
        assert ends == [webtransport.CloseInfo(4, "", True)]
        assert server.sessions == ()


async def test_a_server_that_is_left_closes_its_sessions() -> None:
    async with asyncio.timeout(10):
        async with webtransport.serve(echo, "127.0.0.1", 0, config=SERVER) as server:
            url = f"https://127.0.0.1:{server.address[1]}/"
            session = await webtransport.connect(url, config=CLIENT)
        assert await session.wait_closed() == webtransport.CloseInfo(0, "", True)


async def test_an_open_that_is_cancelled_gives_its_credit_back() -> None:
    async with pair() as (session, _):
        assert session._credit is not None
        session._credit[2] = 1
        await session.open_uni()
        waits = asyncio.create_task(session.open_uni())
        await asyncio.sleep(0.05)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        session._take_capsule(*wire.flow_capsule(wire.MAX_STREAMS_UNI, 2))
        await session.open_uni()
        assert session._used[2] == 2


async def test_a_failing_handler_ends_its_session_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:

    async def handler(session: webtransport.Session) -> None:
        if "fail" in session.path:
            raise RuntimeError("broken")
        await echo(session)

    async with pair(handler) as (session, server):
        url = f"https://127.0.0.1:{server.address[1]}/wt?fail"
        other = await webtransport.connect(url, share=session)
        assert (await other.wait_closed()).code == 1
        async with await session.open_bi() as stream:
            stream.write(b"alive")
        assert await stream.read() == b"alive"
    assert "RuntimeError: broken" in caplog.text


async def test_many_streams_pass_the_limit_of_a_session() -> None:
    # 500 at once is a session's share of 1000, so that later ones need credit.
    async with pair() as (session, _):
        for _ in range(1100):
            async with await session.open_bi() as stream:
                stream.write(b"x")
            assert await stream.read() == b"x"
        assert session.stats().streams_opened == 1100
        assert session.stats().streams_open == 0


async def test_limits_of_data_are_kept() -> None:
    async with pair() as (session, _):
        assert session._credit is not None
        session._credit[0] = 10
        stream = await session.open_bi()
        stream.write(b"0123456789abcdef")
        stream.finish()
        assert stream.raw.finished is False
        waits = asyncio.create_task(stream.drain())
        await asyncio.sleep(0.05)
        assert not waits.done()
        session._take_capsule(*wire.flow_capsule(wire.MAX_DATA, 100))
        await waits
        assert await stream.read() == b"0123456789abcdef"


async def test_capsules_that_break_the_session() -> None:
    async with pair() as (session, server):
        there = server.sessions[0]
        session._send_capsule(*wire.flow_capsule(wire.MAX_STREAMS_BIDI, 1))
        with pytest.raises(ConnectionClosedError, match="went down"):
            await there.wait_closed()
        with pytest.raises(ConnectionClosedError):
            await session.wait_closed()


async def test_streams_of_no_session_are_kept_and_refused() -> None:
    async with pair() as (session, _server):
        connection = session.connection
        streams = []
        for _ in range(66):
            stream = await connection.open_uni()
            stream.write(wire.stream_header(True, 400) + b"early")
            streams.append(stream)
        for _ in range(200):
            if streams[-1].stopped_code is not None:
                break
            await asyncio.sleep(0.01)
        codes = [stream.stopped_code for stream in streams]
        assert codes.count(wire.BUFFERED_STREAM_REJECTED) == 2
        assert codes.count(None) == 64
        async with await session.open_bi() as echoed:
            echoed.write(b"ok")
        assert await echoed.read() == b"ok"


async def test_an_impossible_session_ends_the_connection() -> None:
    async with pair() as (session, _):
        stream = await session.connection.open_uni()
        stream.write(wire.stream_header(True, 5))
        with pytest.raises(ConnectionClosedError):
            await session.wait_closed()


async def test_send_order_goes_to_the_transport() -> None:
    async with pair() as (session, _):
        shared = await session.open_bi()
        assert shared.priority.incremental
        ordered = await session.open_bi(send_order=5)
        assert (ordered.raw.send_order, ordered.priority.incremental) == (5, False)
        shared.send_order = -3
        assert (shared.send_order, shared.priority.incremental) == (-3, False)


async def test_datagrams_have_a_size() -> None:
    async with pair() as (session, _):
        assert session.datagrams.max_size > 1000
        with pytest.raises(DatagramTooLargeError):
            session.datagrams.send(bytes(session.datagrams.max_size + 1))


async def test_no_webtransport() -> None:
    async def app(request: http3.Request) -> http3.Response:
        return http3.Response()

    async with asyncio.timeout(10), http3.serve(app, "127.0.0.1", 0, config=SERVER) as server:
        with pytest.raises(Http3Error, match="does not offer WebTransport"):
            await webtransport.connect(f"https://127.0.0.1:{server.address[1]}/", config=CLIENT)


def test_arguments() -> None:
    with pytest.raises(ArgumentValueError, match="url must be https"):
        webtransport.connect("http://localhost/")
    with pytest.raises(ArgumentValueError, match="'x'"):
        webtransport.serve(echo, path="x", config=SERVER)
    with pytest.raises(ArgumentTypeError, match="protocols"):
        webtransport.connect("https://localhost/", protocols="abc")
    with pytest.raises(ArgumentValueError, match="drafts"):
        webtransport.connect("https://localhost/", drafts=[3])
    with pytest.raises(ArgumentValueError, match="datagrams"):
        webtransport.serve(echo, config=SERVER.replace(datagrams=False))


async def test_a_stop_is_waited_for() -> None:
    async def stop(session: webtransport.Session) -> None:
        (await session.accept_bi()).stop(9)
        await session.accept_bi()
        session.close(3, "enough")

    async with pair(stop) as (session, _):
        stream = await session.open_bi()
        stream.write(b"x")
        assert await stream.wait_stopped() == 9
        stream = await session.open_bi()
        stream.write(b"x")
        with pytest.raises(ConnectionClosedError, match="enough"):
            await stream.wait_stopped()


async def test_a_goaway_of_the_connection_asks_its_sessions_to_end() -> None:
    told = asyncio.Event()

    async def polite(session: webtransport.Session) -> None:
        await session.wait_draining()
        told.set()
        await session.wait_closed()

    async with pair(polite) as (session, server):
        wait = asyncio.create_task(session.wait_draining())
        await asyncio.sleep(0.02)
        assert not wait.done()
        (connection,) = server.http3.sessions
        ending = asyncio.create_task(connection.shutdown(5))
        await asyncio.gather(wait, told.wait())
        assert session.draining
        assert not session.closed
        session.close()
        await ending


async def test_a_rejected_session_is_no_fault_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pair(max_sessions=1) as (session, server):
        # The hub's own count lets no second one out: as of a client that does not count.
        session._hub.room = lambda draft: 99  # type: ignore[method-assign]
        url = f"https://127.0.0.1:{server.address[1]}/wt"
        with pytest.raises(Http3Error) as caught:
            await webtransport.connect(url, config=CLIENT, share=session)
        assert caught.value.code == http3.Http3ErrorCode.H3_REQUEST_REJECTED
    assert not caplog.records


async def test_credit_of_a_cancelled_open_goes_to_who_waits() -> None:
    async with pair() as (session, _):
        assert session._credit is not None
        session._credit[2] = 1
        connection = session.connection
        available = connection._protocol.open_stream

        connection._protocol.open_stream = lambda *_: None  # type: ignore[method-assign]
        first = asyncio.create_task(session.open_uni())
        await asyncio.sleep(0.01)
        second = asyncio.create_task(session.open_uni())
        await asyncio.sleep(0.01)
        connection._protocol.open_stream = available  # type: ignore[method-assign]
        first.cancel()
        assert await second
        assert session._used[2] == 1


async def test_credit_for_data_goes_to_the_most_urgent_first() -> None:
    async with pair() as (session, _):
        assert session._credit is not None
        session._credit[0] = 0
        late = await session.open_uni(Priority(6))
        low = await session.open_uni(send_order=-1)
        high = await session.open_uni(send_order=4)
        urgent = await session.open_uni(Priority(0))
        streams = [late, low, high, urgent]
        for stream in streams:
            stream.write(bytes(100))
        for limit, left in ((150, [100, 100, 50, 0]), (400, [0, 0, 0, 0])):
            session._take_capsule(*wire.flow_capsule(wire.MAX_DATA, limit))
            assert [len(stream._pending) for stream in streams] == left


async def test_accepted_streams_share_like_opened_ones() -> None:
    async with pair() as (session, server):
        stream = await session.open_bi()
        stream.write(b"x")
        (other,) = server.sessions
        while not other._streams:
            await asyncio.sleep(0.001)
        assert [s.priority for s in other._streams.values()] == [Priority(incremental=True)]
