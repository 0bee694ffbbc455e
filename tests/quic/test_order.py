"""Priorities as they are on the wire: which streams' bytes leave first, through a narrow path.

`Wire` looks at each packet that a connection seals. While a more urgent stream has bytes that were
not sent, no packet may carry new bytes of a less urgent one, whatever order was asked for and when.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from midstream.quic import http3, webtransport
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.connection import Connection
from midstream.quic.priority import Priority
from tests.quic.rawpeer import parse

IDENTITY = Identity.development()
SERVER = Config(identity=IDENTITY, probe_mtu=False, send_buffer=1 << 20)
#: Windows that never hold anything back: only the path does.
TRUST = Config(
    ca=IDENTITY.pem,
    probe_mtu=False,
    send_buffer=1 << 20,
    stream_window=1 << 24,
    max_stream_window=1 << 24,
    connection_window=1 << 25,
    max_connection_window=1 << 25,
)
SIZE = 300_000


class Narrow(asyncio.DatagramProtocol):
    """A relay that lets 6 MB/s pass towards the client, and drops what its queue cannot hold."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.client: Any = None
        self.queue: deque[bytes] = deque()
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.tick()

    def tick(self) -> None:
        self.timer = asyncio.get_running_loop().call_later(0.002, self.tick)
        for _ in range(min(10, len(self.queue))):
            self.transport.sendto(self.queue.popleft(), self.client)

    def datagram_received(self, data: bytes, address: Any) -> None:
        if address[:2] != self.server:
            self.client = address
            self.transport.sendto(data, self.server)
        elif len(self.queue) < 150:
            self.queue.append(data)


@asynccontextmanager
async def narrow(server: tuple[str, int]) -> AsyncIterator[tuple[str, int]]:
    """The address of a narrow path to a server."""
    transport, relay = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Narrow(server[:2]), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[:2]
    finally:
        assert relay.timer is not None
        relay.timer.cancel()
        transport.close()


class Wire:
    """What one end sends, in the order of sending."""

    def __init__(self, connection: Connection) -> None:
        self.protocol = connection._protocol
        self.protocol._transport.on_packet = self.packet
        #: New bytes only: stream and how many.
        self.sent: list[tuple[int, int]] = []
        self.ends: dict[int, int] = {}
        self.faults: list[str] = []
        #: Packets for which there was a choice.
        self.contested = 0

    def packet(self, number: int, size: int, plain: bytes) -> None:
        streams = self.protocol.streams()
        waiting = [stream for stream in streams.values() if stream.queued]
        for kind, fields in parse(plain):
            if kind != 0x08:
                continue
            stream_id, offset, data, _ = fields
            new = offset + len(data) - self.ends.get(stream_id, 0)
            if new <= 0:
                continue
            self.ends[stream_id] = offset + len(data)
            self.sent.append((stream_id, new))
            sent = streams[stream_id]
            for other in waiting:
                if other is sent:
                    continue
                self.contested += 1
                if self.is_before(other, sent):
                    self.faults.append(
                        f"packet {number} has {sent.stream_id} ({sent.urgency}, "
                        f"{sent.incremental}, {sent.send_order}) before {other.stream_id} "
                        f"({other.urgency}, {other.incremental}, {other.send_order})"
                    )

    @staticmethod
    def is_before(other: Any, sent: Any) -> bool:
        if other.urgency != sent.urgency:
            return bool(other.urgency < sent.urgency)
        if other.incremental or sent.incremental:
            return False  # they take turns
        ours, theirs = (-sent.send_order, sent.stream_id), (-other.send_order, other.stream_id)
        return bool(theirs < ours)

    def order(self, *stream_ids: int) -> list[int]:
        """These streams in the order of their last byte."""
        last = {stream_id: i for i, (stream_id, _) in enumerate(self.sent)}
        return sorted(stream_ids, key=last.__getitem__)

    def until_done(self, stream_id: int, *others: int, after: int = 0) -> int:
        """Bytes of others that were sent, from a place in the order on, before a stream's last."""
        last = max(i for i, (number, _) in enumerate(self.sent) if number == stream_id)
        return sum(size for number, size in self.sent[after:last] if number in others)

    def check(self) -> None:
        assert self.contested > 100
        assert not self.faults, (len(self.faults), self.faults[:3])


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


# -- HTTP/3 ----------------------------------------------------------------------------------------


class Files:
    """Answers each request with as many bytes once all that are expected have come."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.requests: list[http3.Request] = []
        self.all_came = asyncio.Event()
        self.wire: Wire | None = None

    async def __call__(self, request: http3.Request) -> http3.Response:
        if self.wire is None:
            self.wire = Wire(request.session.connection)
        self.requests.append(request)
        if len(self.requests) == self.expected:
            self.all_came.set()
        await self.all_came.wait()
        own = request.path.partition("?")[2]
        return http3.Response(200, {"priority": own} if own else None, bytes(SIZE))


@asynccontextmanager
async def files(expected: int) -> AsyncIterator[tuple[http3.Session, Files]]:
    app = Files(expected)
    serving = http3.serve(app, "127.0.0.1", 0, config=SERVER)
    async with asyncio.timeout(10), serving as server, narrow(server.address) as address:
        url = f"https://127.0.0.1:{address[1]}"
        async with http3.connect(url, config=TRUST) as client:
            yield client, app


async def fetch(client: http3.Session, path: str, priority: Priority | None, done: list[str]):
    response = await client.request("GET", path, priority=priority)
    assert len(await response.read()) == SIZE
    done.append(path)


async def test_responses_leave_by_their_headers() -> None:
    asked = {"/a": Priority(6), "/b": Priority(3), "/c": Priority(0), "/d": Priority(3)}
    done: list[str] = []
    async with files(len(asked)) as (client, app), asyncio.TaskGroup() as group:
        for path, priority in asked.items():
            group.create_task(fetch(client, path, priority, done))
    assert done == ["/c", "/b", "/d", "/a"]
    assert app.wire is not None
    app.wire.check()


async def test_a_response_s_own_priority_counts_over_the_request_s() -> None:
    done: list[str] = []
    async with files(3) as (client, app), asyncio.TaskGroup() as group:
        for path in ("/a?u=7", "/b", "/c?u=1"):
            group.create_task(fetch(client, path, Priority(4), done))
    assert done == ["/c?u=1", "/b", "/a?u=7"]
    assert app.wire is not None
    app.wire.check()


async def test_incremental_responses_share() -> None:
    done: list[str] = []
    async with files(3) as (client, app), asyncio.TaskGroup() as group:
        for path in ("/a", "/b", "/c"):
            group.create_task(fetch(client, path, Priority(3, True), done))
    wire = app.wire
    assert wire is not None
    # Each has at least two thirds of what the others have when the first one is done.
    first, *others = wire.order(0, 4, 8)
    for other in others:
        assert wire.until_done(first, other) > SIZE * 2 // 3


@pytest.mark.parametrize("by_server", [False, True])
async def test_a_priority_that_changes_while_it_is_sent(by_server: bool) -> None:
    """One of two equal responses becomes the less urgent one, then the more urgent one."""
    async with files(2) as (client, app):
        ask = client.request
        a, b = await asyncio.gather(
            ask("GET", "/a", priority=Priority(3, True)),
            ask("GET", "/b", priority=Priority(3, True)),
        )
        wire = app.wire
        assert wire is not None
        streams = {r.path: r._reader.stream for r in app.requests}

        async def change(priority: Priority) -> int:
            if by_server:
                streams["/b"].set_priority(priority)
            else:
                b.reprioritise(priority)
            await until(lambda: streams["/b"].priority == priority)
            return len(wire.sent)

        later = await change(Priority(6))
        await until(lambda: sum(n for s, n in wire.sent[later:] if s == a.stream_id) > 50_000)
        behind = [s for s, _ in wire.sent[later:]]
        assert streams["/a"].queued
        assert streams["/b"].queued
        assert b.stream_id not in behind
        first = await change(Priority(1))
        await until(lambda: not streams["/b"].queued)
        assert not wire.until_done(b.stream_id, a.stream_id, after=first)
        assert [len(await response.read()) for response in (a, b)] == [SIZE, SIZE]
    wire.check()


async def test_an_upload_is_as_urgent_as_its_request() -> None:
    """The client's own bytes: through a narrow path the other way round."""
    got: list[str] = []

    async def app(request: http3.Request) -> http3.Response:
        assert len(await request.read()) == SIZE
        got.append(request.path)
        return http3.Response(200)

    async with asyncio.timeout(10), http3.serve(app, "127.0.0.1", 0, config=SERVER) as server:
        url = f"https://127.0.0.1:{server.address[1]}"
        async with http3.connect(url, config=TRUST) as client:
            wire = Wire(client.connection)
            await asyncio.gather(
                *(
                    client.request("POST", path, body=bytes(SIZE), priority=Priority(urgency))
                    for path, urgency in (("/a", 6), ("/b", 2), ("/c", 0))
                )
            )
    assert got == ["/c", "/b", "/a"]
    wire.check()


# -- WebTransport ----------------------------------------------------------------------------------


@asynccontextmanager
async def sessions() -> AsyncIterator[tuple[webtransport.Session, webtransport.Session]]:
    """A client's session, and the server's, whose sending is narrowed."""
    taken: asyncio.Future[webtransport.Session] = asyncio.get_running_loop().create_future()

    async def keep(session: webtransport.Session) -> None:
        taken.set_result(session)
        await session.wait_closed()

    serving = webtransport.serve(keep, "127.0.0.1", 0, path="/", config=SERVER)
    async with asyncio.timeout(10), serving as server, narrow(server.address) as address:
        url = f"https://127.0.0.1:{address[1]}/"
        async with webtransport.connect(url, config=TRUST) as session:
            yield session, await taken


async def receive(session: webtransport.Session, count: int) -> list[int]:
    """Take that many streams; their numbers in the order in which they were complete."""
    done: list[int] = []

    async def one(stream: webtransport.SessionStream) -> None:
        assert len(await stream.read()) == SIZE
        done.append(stream.stream_id)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one(await session.accept_uni()))
    return done


async def test_streams_of_a_session_leave_by_urgency_and_send_order() -> None:
    async with sessions() as (client, server):
        wire = Wire(server.connection)
        made = [
            await server.open_uni(Priority(5)),
            await server.open_uni(send_order=-4),
            await server.open_uni(send_order=10),
            await server.open_uni(Priority(0)),
            await server.open_uni(send_order=3),
        ]
        for stream in made:
            stream.write(bytes(SIZE))
            stream.finish()
        expected = [made[i].stream_id for i in (3, 2, 4, 1, 0)]
        # Which of two that are complete at once is told first is the loop's affair.
        assert sorted(await receive(client, 5)) == sorted(expected)
        assert wire.order(*expected) == expected
        wire.check()


async def test_a_send_order_that_changes_while_it_is_sent() -> None:
    async with sessions() as (client, server):
        wire = Wire(server.connection)
        first, second, third = [await server.open_uni(send_order=n) for n in (3, 2, 1)]
        for stream in (first, second, third):
            stream.write(bytes(SIZE))
            stream.finish()
        receiving = asyncio.ensure_future(receive(client, 3))
        await until(lambda: 0 < first.raw.queued < SIZE - 50_000)
        third.send_order = 9
        at = len(wire.sent)
        await until(lambda: third.raw.queued < SIZE - 100_000)
        assert {number for number, _ in wire.sent[at:]} == {third.stream_id}
        first.set_priority(Priority(7))
        second.set_priority(Priority(2))
        await receiving
        order = [stream.stream_id for stream in (second, third, first)]
        assert wire.order(*order) == order
        wire.check()


async def test_streams_without_an_order_share_also_those_of_the_peer() -> None:
    async with sessions() as (client, server):
        wire = Wire(server.connection)
        asked = [await client.open_bi() for _ in range(3)]
        for stream in asked:
            stream.write(b"?")
            stream.finish()
        own = await server.open_uni()
        answers = [await server.accept_bi() for _ in asked]
        for answer in (own, *answers):
            answer.write(bytes(SIZE))
            answer.finish()
        receiving = asyncio.ensure_future(receive(client, 1))
        for stream in asked:
            assert len(await stream.read()) == SIZE
        await receiving
        numbers = [answer.stream_id for answer in (own, *answers)]
        first, *others = wire.order(*numbers)
        for other in others:
            assert wire.until_done(first, other) > SIZE * 2 // 3
