"""An endpoint on real loopback sockets: routing, answers without state, sending under pressure."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentValueError
from midstream.quic import _endpoint, _stateless, _udp, _udp_plain
from midstream.quic._endpoint import Endpoint, resolve
from midstream.quic._stateless import VERSIONS
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.connection import connect
from midstream.quic.serving import serve as serve_quic

V1, V2 = VERSIONS["v1"], VERSIONS["v2"]


class Recorder:
    """A connection that only remembers, and echoes where asked to."""

    def __init__(self):
        self.got = []
        self.flushes = 0
        self.at = []
        self.fails = False

    def datagrams_received(self, datagrams, address, now):
        assert datagrams
        self.got += datagrams
        self.at.append((address, now))
        if self.fails:
            raise RuntimeError("a fault in one connection")

    def flush(self):
        self.flushes += 1


async def until(condition):
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for 5 s"
        await asyncio.sleep(0.001)


class Service:
    """A server endpoint whose connections are recorders."""

    def __init__(self, endpoint, accepted):
        self.endpoint = endpoint
        self.accepted = accepted  # (Initial, Recorder)

    @property
    def address(self):
        return self.endpoint.address


@pytest.fixture
async def serve():
    endpoints = []

    async def start(config=None, *, refuse=False, host="127.0.0.1", **options):
        accepted = []

        def accept(initial):
            if refuse:
                return None
            accepted.append((initial, Recorder()))
            return accepted[-1][1]

        endpoint = await Endpoint.server(
            host, 0, config=config or Config(retry="never"), accept=accept, **options
        )
        endpoints.append(endpoint)
        return Service(endpoint, accepted)

    yield start
    for endpoint in endpoints:
        endpoint.close()


@pytest.fixture
async def call():
    """Plain client sockets, and what comes back to them."""
    sockets = []

    def make(to):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(to)
        sockets.append(sock)
        return sock

    yield make
    for sock in sockets:
        sock.close()


async def answer(sock):
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65_536), 5.0)


async def no_answer(sock, service):
    """Nothing came back though the server has seen all that was sent: it answers in order."""
    sock.send(long(version=0x1A2A3A4A))
    packet = await answer(sock)
    assert packet[1:5] == bytes(4), f"an unwanted answer: {packet.hex()}"


def long(cid=b"\x01" * 8, *, version=V1, kind=0, scid=b"client", token=b"", size=1200):
    packet = bytes([0xC0 | kind << 4]) + version.to_bytes(4, "big")
    packet += bytes([len(cid)]) + cid + bytes([len(scid)]) + scid
    if kind == (1 if version == V2 else 0):
        packet += (0x4000 | len(token)).to_bytes(2, "big") + token
    return packet.ljust(size, b"\0")


def short(cid, size=100):
    return (b"\x41" + cid).ljust(size, b"\0")


def client_initial(version=V1, *, token=b"", to=("127.0.0.1", 1)):
    """What aioquic's client says first: its connection and the datagram."""
    configuration = QuicConfiguration(is_client=True, server_name="localhost", alpn_protocols=["x"])
    configuration.original_version = version
    configuration.supported_versions = [V1, V2]
    configuration.token = token
    client = QuicConnection(configuration=configuration)
    client.connect(to, now=0.0)
    return client, client.datagrams_to_send(now=0.0)[0][0]


# Routing


async def test_datagrams_go_by_connection_id_and_each_connection_answers_once(serve, call):
    service = await serve()
    endpoint = service.endpoint
    one, two = Recorder(), Recorder()
    endpoint.register(b"1" * 8, one)
    endpoint.register(b"2" * 8, two)
    endpoint.register(b"3" * 8, two)
    assert endpoint.sinks == [one, two]
    sock = call(service.address)
    sent = [short(b"1" * 8), short(b"2" * 8), long(b"2" * 8, kind=2, size=64), short(b"1" * 8, 9)]
    for datagram in [*sent, short(b"3" * 8, 50)]:
        sock.send(datagram)
    # All came before the loop looked: one wake-up, one answer.
    await until(lambda: len(two.got) == 3)
    assert one.got == [sent[0], sent[3]]
    assert two.got == [sent[1], sent[2], short(b"3" * 8, 50)]
    assert (one.flushes, two.flushes) == (1, 1)
    address, now = one.at[0]
    assert address == sock.getsockname()
    assert abs(now - time.monotonic()) < 60.0


async def test_a_wake_up_is_bounded(serve, call):
    service = await serve()
    sink = Recorder()
    service.endpoint.register(b"1" * 8, sink)
    sock = call(service.address)
    n = 3 * _endpoint.BURST
    for _ in range(n):
        sock.send(short(b"1" * 8, 20))
    await until(lambda: len(sink.got) == n)
    assert sink.flushes >= 3


async def test_a_fault_in_one_connection_spares_the_others(serve, call):
    service = await serve()
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    one, two = Recorder(), Recorder()
    one.fails = True
    service.endpoint.register(b"1" * 8, one)
    service.endpoint.register(b"2" * 8, two)
    sock = call(service.address)
    sock.send(short(b"1" * 8))
    sock.send(short(b"2" * 8))
    await until(lambda: two.flushes)
    assert two.got == [short(b"2" * 8)]
    assert [str(context["exception"]) for context in told] == ["a fault in one connection"]


async def test_a_client_whose_connection_cannot_be_made_is_refused(call):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def accept(initial):
        raise RuntimeError("no connection")

    endpoint = await Endpoint.server("127.0.0.1", 0, config=Config(retry="never"), accept=accept)
    sock = call(endpoint.address)
    sock.send(long(b"\x05" * 8))
    assert closed_with(await answer(sock), b"\x05" * 8, V1) == _stateless.CONNECTION_REFUSED
    assert [str(context["exception"]) for context in told] == ["no connection"]
    endpoint.close()


async def test_a_connection_is_forgotten_with_its_last_id(serve):
    endpoint = (await serve()).endpoint
    one, two = Recorder(), Recorder()
    endpoint.register(b"a", one)
    endpoint.register(b"b", one)
    endpoint.register(b"c", two)
    endpoint.unregister(b"a")
    endpoint.unregister(b"unknown")
    assert endpoint.sinks == [one, two]
    endpoint.unregister(b"b")
    assert endpoint.sinks == [two]
    endpoint.discard(two)
    endpoint.discard(two)
    assert endpoint.sinks == []


async def test_an_initial_makes_a_connection_and_what_follows_goes_there(serve, call):
    service = await serve()
    sock = call(service.address)
    client, datagram = client_initial()
    second = long(client.original_destination_connection_id, kind=0)
    sock.send(datagram)
    sock.send(second)
    await until(lambda: service.accepted and len(service.accepted[0][1].got) == 2)
    ((initial, sink),) = service.accepted
    assert sink.got == [datagram, second]
    assert initial == _endpoint.Initial(
        version=V1,
        destination_cid=client.original_destination_connection_id,
        source_cid=client.host_cid,
        token=b"",
        original_destination_cid=client.original_destination_connection_id,
        retry_source_cid=None,
        token_validated=False,
        address=sock.getsockname(),
    )
    assert service.endpoint.n_handshakes == 1
    service.endpoint.confirmed(sink)
    assert service.endpoint.n_handshakes == 0
    assert service.endpoint.sinks == [sink]


@pytest.mark.parametrize(
    "datagram",
    [
        long(size=1199),
        long(b"short", size=1200),
        long(kind=1),
        long(kind=2),
        long(kind=3),
        long(version=0),
        long(b"\x01" * 21),
        b"\xc0\0\0\0\1\xff".ljust(1200, b"\0"),
        (b"\xc0\0\0\0\1\x08" + b"1" * 8 + b"\0" + b"\xff").ljust(1200, b"\xff"),
        b"\xc0",
        b"\x40" + b"2" * 8,
        b"\x40",
    ],
    ids=[
        "too short",
        "short id",
        "0-RTT",
        "handshake",
        "retry",
        "version negotiation",
        "long id",
        "id cut off",
        "token cut off",
        "one byte",
        "no room for a reset",
        "no id",
    ],
)
async def test_what_begins_no_connection_has_no_answer(serve, call, datagram):
    service = await serve()
    sock = call(service.address)
    sock.send(datagram)
    await no_answer(sock, service)
    assert not service.accepted


# Answers without state


@pytest.mark.parametrize("versions", [("v1",), ("v1", "v2")])
async def test_an_unknown_version_is_answered_with_ours_and_one_that_nobody_speaks(
    serve, call, versions
):
    service = await serve(Config(versions=versions))
    sock = call(service.address)
    sock.send(long(b"d" * 12, version=0xFF00001D, scid=b"s" * 30))
    packet = await answer(sock)
    header = _stateless.parse_long_header(packet)
    assert header.version == 0
    assert (header.destination_cid, header.source_cid) == (b"s" * 30, b"d" * 12)
    offered = [packet[i : i + 4] for i in range(header.end, len(packet), 4)]
    greased = [v for v in offered if all(byte & 0x0F == 0x0A for byte in v)]
    assert len(greased) == 1
    offered.remove(greased[0])
    assert [int.from_bytes(v, "big") for v in offered] == [VERSIONS[name] for name in versions]
    # Never in answer to its like, which would go on for ever between two servers.
    sock.send(packet.ljust(1200, b"\0"))
    await no_answer(sock, service)


async def test_aioquics_client_follows_a_version_negotiation(serve, call):
    service = await serve(Config(versions=("v2",)))
    sock = call(service.address)
    client, datagram = client_initial(to=service.address)
    sock.send(datagram)
    client.receive_datagram(await answer(sock), service.address, now=0.0)
    assert client._version == V2


@pytest.mark.parametrize("version", [V1, V2])
async def test_retry_validates_the_address(serve, call, version):
    service = await serve(Config(retry="always"))
    sock = call(service.address)
    client, datagram = client_initial(version, to=service.address)
    first = client.original_destination_connection_id
    sock.send(datagram)
    packet = await answer(sock)
    assert len(packet) < 1200
    assert not service.accepted
    # aioquic checks the integrity tag.
    client.receive_datagram(packet, service.address, now=0.0)
    sock.send(client.datagrams_to_send(now=0.0)[0][0])
    await until(lambda: service.accepted)
    initial = service.accepted[0][0]
    assert initial.token_validated
    assert initial.original_destination_cid == first
    header = pull_quic_header(Buffer(data=packet), host_cid_length=8)
    assert header.packet_type == QuicPacketType.RETRY
    assert initial.retry_source_cid == initial.destination_cid == header.source_cid


async def test_automatic_retry_begins_when_a_quarter_of_the_handshakes_are_under_way(serve, call):
    service = await serve(Config(retry="auto", max_handshakes=8))
    sock = call(service.address)
    for i in range(3):
        sock.send(long(bytes([i]) * 8))
    await until(lambda: len(service.accepted) == 3)
    sock.send(long(b"\x07" * 8))
    packet = await answer(sock)
    assert packet[0] >> 4 == 0xF
    assert len(service.accepted) == 3
    service.endpoint.confirmed(service.accepted[0][1])
    sock.send(long(b"\x08" * 8))
    await until(lambda: len(service.accepted) == 4)


def closed_with(packet, client_cid, version):
    """Code of the CONNECTION_CLOSE in a server's Initial, decrypted by aioquic."""
    crypto = CryptoPair()
    crypto.setup_initial(cid=client_cid, is_client=True, version=version)
    buffer = Buffer(data=packet)
    header = pull_quic_header(buffer, host_cid_length=8)
    assert header.packet_type == QuicPacketType.INITIAL
    _, plain, _ = crypto.decrypt_packet(packet, buffer.tell(), 0)
    assert plain[0] == 0x1C
    return plain[1]


@pytest.mark.parametrize("version", [V1, V2])
async def test_a_bad_retry_token_closes_the_connection(serve, call, version):
    service = await serve(Config(retry="always"))
    sock = call(service.address)
    client, datagram = client_initial(version, token=b"R" + bytes(60), to=service.address)
    sock.send(datagram)
    packet = await answer(sock)
    cid = client.original_destination_connection_id
    assert closed_with(packet, cid, version) == _stateless.INVALID_TOKEN
    # aioquic's own client understands it.
    client.receive_datagram(packet, service.address, now=0.0)
    client.handle_timer(now=100.0)
    events = iter(client.next_event, None)
    (end,) = [event for event in events if isinstance(event, ConnectionTerminated)]
    assert end.error_code == _stateless.INVALID_TOKEN
    assert service.endpoint.refused == 1


async def test_a_token_from_earlier_spares_the_retry_once(serve, call):
    service = await serve(Config(retry="always"))
    sock = call(service.address)
    token = service.endpoint.tokens.new(sock.getsockname())
    sock.send(long(b"\x01" * 8, token=token))
    await until(lambda: service.accepted)
    assert service.accepted[0][0].token_validated
    assert service.accepted[0][0].retry_source_cid is None
    sock.send(long(b"\x02" * 8, token=token))
    assert (await answer(sock))[0] >> 4 == 0xF
    # One that nobody here issued is as good as none.
    sock.send(long(b"\x03" * 8, token=b"from another server"))
    assert (await answer(sock))[0] >> 4 == 0xF


@pytest.mark.parametrize("limits", [{"max_connections": 1}, {}], ids=["connections", "accept"])
async def test_clients_beyond_the_limits_are_refused_with_the_code(serve, call, limits):
    service = await serve(Config(retry="never", **limits), refuse=not limits)
    sock = call(service.address)
    if limits:
        sock.send(long(b"\x01" * 8))
        await until(lambda: service.accepted)
    client, datagram = client_initial()
    sock.send(datagram)
    packet = await answer(sock)
    cid = client.original_destination_connection_id
    assert closed_with(packet, cid, V1) == _stateless.CONNECTION_REFUSED
    assert len(service.accepted) == len(limits)
    if limits:
        service.endpoint.discard(service.accepted[0][1])
        sock.send(datagram)
        await until(lambda: len(service.accepted) == 2)


async def test_clients_beyond_the_handshakes_under_way_have_to_try_again(serve, call):
    service = await serve(Config(retry="never", max_handshakes=1))
    sock = call(service.address)
    sock.send(long(b"\x03" * 8))
    await until(lambda: service.accepted)
    sock.send(long(b"\x02" * 8))
    await no_answer(sock, service)
    assert (service.endpoint.deferred, service.endpoint.refused) == (1, 0)
    service.endpoint.confirmed(service.accepted[0][1])
    sock.send(long(b"\x02" * 8))
    await until(lambda: len(service.accepted) == 2)


@pytest.mark.parametrize(("size", "most"), [(1200, 42), (43, 42), (42, 41), (22, 21)])
async def test_a_packet_for_a_lost_connection_is_reset(serve, call, size, most):
    service = await serve(key=bytes(range(32)))
    sock = call(service.address)
    sock.send(short(b"lostconn", size))
    packet = await answer(sock)
    assert 21 <= len(packet) == most < size
    assert packet[0] & 0xC0 == 0x40
    assert packet[-16:] == _endpoint.reset_token(bytes(range(32)), b"lostconn")
    assert packet[-16:] == service.endpoint.reset_token(b"lostconn")


async def test_resets_are_limited(serve, call):
    service = await serve()
    sock = call(service.address)
    for _ in range(2000):
        sock.send(short(os.urandom(8)))
    sock.send(long(version=0x1A2A3A4A))
    packets = [await answer(sock)]
    while packets[-1][0] < 0x80:
        packets.append(await answer(sock))
    assert len(packets) < 1000


@given(
    st.lists(
        st.binary(max_size=60)
        | st.binary(max_size=40).map(lambda tail: (b"\xc0\0\0\0\1" + tail).ljust(1200, b"\0"))
        | st.binary(max_size=40).map(lambda tail: (b"\xd0\x6b\x33\x43\xcf" + tail).ljust(1200)),
        max_size=5,
    )
)
@settings(deadline=None)
def test_no_datagram_upsets_a_server(datagrams):
    async def main():
        told, accepted = [], []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

        def accept(initial):
            accepted.append(initial)
            return Recorder()

        endpoint = await Endpoint.server("127.0.0.1", 0, config=Config(), accept=accept)
        endpoint._received([(datagrams, ("127.0.0.1", 9), 0)])
        endpoint.close()
        assert not told
        for initial in accepted:
            assert 8 <= len(initial.destination_cid) <= 20 >= len(initial.source_cid)

    asyncio.run(main())


def test_a_budget_is_spent_and_earned():
    budget = _stateless.Budget(10.0)
    assert sum(budget.take(1000.0) for _ in range(50)) == 10
    assert sum(budget.take(1000.5) for _ in range(50)) == 5
    assert sum(budget.take(2000.0) for _ in range(50)) == 10


# Clients


@pytest.fixture(params=["batched", "plain", "transport"])
def manner(request, monkeypatch):
    """Each of the ways to use a socket: with batches, without, and on a loop that watches none."""
    if request.param == "plain":
        monkeypatch.setattr(_endpoint, "_SOCKET", _udp_plain.Socket)
    elif request.param == "transport":

        def refuse(*_, **__):
            raise NotImplementedError

        monkeypatch.setattr(_endpoint, "_LoopPort", refuse)
    elif not _udp.AVAILABLE:
        pytest.skip("batched datagrams are Linux's")
    return request.param


async def test_there_and_back(serve, manner):
    service = await serve()
    client = await Endpoint.client("127.0.0.1", service.address[1])
    try:
        here, there = Recorder(), Recorder()
        client.register(b"any", here)
        service.endpoint.register(b"1" * 8, there)
        group = b"".join(bytes([0x40]) + b"1" * 8 + bytes([i]) * 991 for i in range(70)) + short(
            b"1" * 8, 30
        )
        client.send([(memoryview(group), 1000, service.address)])
        await until(lambda: len(there.got) == 71)
        assert b"".join(there.got) == group
        assert there.at[0][0] == client.address
        assert client.remote_address == service.address
        # To a client comes all: a stateless reset bears no id of its own.
        service.endpoint.send([(b"any datagram", 12, client.address)])
        await until(lambda: here.flushes)
        assert here.got == [b"any datagram"]
    finally:
        client.close()


async def test_a_client_moves_to_another_socket_and_still_reads_the_old_one(serve):
    service = await serve()
    client = await Endpoint.client("127.0.0.1", service.address[1])
    here, there = Recorder(), Recorder()
    client.register(b"any", here)
    service.endpoint.register(b"1" * 8, there)
    before = client.address
    client.send([(short(b"1" * 8), 0, None)])
    await client.rebind(("127.0.0.1", 0))
    client.send([(short(b"1" * 8), 0, None)])
    await until(lambda: len(there.got) == 2)
    assert {address for address, _ in there.at} == {before, client.address}
    service.endpoint.send([(b"to the old one", 0, before), (b"to the new one", 0, client.address)])
    await until(lambda: len(here.got) == 2)
    with pytest.raises(OSError):
        await client.rebind(("192.0.2.1", 0))
    await client.rebind()
    client.send([(short(b"1" * 8), 0, None)])
    await until(lambda: len(there.got) == 3)
    client.close()
    client.close()
    await client.wait_closed()
    with pytest.raises(OSError, match="closed"):
        _ = client.address
    with pytest.raises(OSError, match="closed"):
        await client.rebind()


async def test_a_refusal_by_the_network_is_told(call):
    gone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    gone.bind(("127.0.0.1", 0))
    port = gone.getsockname()[1]
    gone.close()
    if sys.platform != "linux":
        pytest.skip("whether ICMP is told, and when, differs elsewhere")
    client = await Endpoint.client("127.0.0.1", port)
    told = []
    client.on_error = lambda *error: told.append(error)
    client.send([(b"x" * 65_530, 0, None)])
    assert told == [(errno.EMSGSIZE, 65_530)]
    client.send([(b"x", 0, None)])
    await until(lambda: len(told) == 2)
    assert told[1] == (errno.ECONNREFUSED, 0)
    client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="others drop where a socket is full")
async def test_what_a_full_socket_refuses_waits_in_order_and_within_bounds(monkeypatch):
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    b.setblocking(False)
    monkeypatch.setattr(_endpoint, "QUEUE_BYTES", 100_000)
    endpoint = Endpoint(loop, is_server=False)
    port = endpoint._port = _endpoint._LoopPort(endpoint, a, connected=True)
    buffer = bytearray(1000)
    for i in range(60):
        buffer[:] = bytes([i]) * 1000
        endpoint.send([(buffer, 500, None)])
    # The very buffer may be filled again: what waits is a copy.
    got = []
    while len(got) < 120:
        got.append((await loop.sock_recv(b, 2000))[0])
    assert got == [i for i in range(60) for _ in range(2)]
    await until(lambda: not port._queue)
    for i in range(250):
        endpoint.send([(bytes([i]) * 1000, 1000, None)])
    assert port._queued_bytes <= 100_000
    got = []
    while not got or got[-1] != 249:
        got.append((await loop.sock_recv(b, 2000))[0])
    assert got == sorted(got)
    assert got[0] == 0
    assert 100 <= len(got) < 250
    endpoint.close()
    b.close()


async def test_a_client_may_move_as_soon_as_it_has_an_id_to_move_with():
    # The server's ids must lead to its connection before the client can use them.
    identity = Identity.development()

    async def echo(connection):
        async for stream in connection.streams():
            stream.write(await stream.read_to_end(100))
            stream.finish()

    async with serve_quic(echo, "127.0.0.1", 0, config=Config(identity=identity)) as server:
        trust = Config(pins=(identity.certificate_pin,))
        async with connect(*server.address, config=trust) as connection:
            before = connection.local_address
            for data in (b"here", b"there"):
                stream = await connection.open_bi()
                stream.write(data)
                stream.finish()
                assert await stream.read_to_end(100) == data
                await connection.migrate()
            assert connection.local_address != before


async def test_names_are_resolved():
    candidates = await resolve("localhost", 1234)
    assert {address[:2] for _, address in candidates} <= {("127.0.0.1", 1234), ("::1", 1234)}
    assert len(candidates) == len(set(candidates))
    with pytest.raises(OSError):
        await Endpoint.client("no-such-host.invalid", 1)
    with pytest.raises(OSError):
        await Endpoint.client("127.0.0.1", 1, ("192.0.2.1", 0))


async def test_servers_say_what_is_wrong(serve):
    service = await serve()
    with pytest.raises(OSError):
        await Endpoint.server(
            "127.0.0.1", service.address[1], config=Config(), accept=lambda initial: None
        )
    with pytest.raises(ArgumentValueError, match="v3"):
        await serve(Config(versions=("v3",)))
    with pytest.raises(ArgumentValueError, match="65536"):
        await Endpoint.server("127.0.0.1", 65_536, config=Config(), accept=lambda initial: None)
    with pytest.raises(ArgumentValueError, match="rebind"):
        await service.endpoint.rebind()


async def test_a_server_on_all_interfaces_hears_both_families(serve):
    service = await serve(host=None)
    port = service.address[1]
    families = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
    if sys.platform == "linux":
        # Answered from where it was sent to, though routing prefers 127.0.0.1: a connected socket
        # takes nothing else.
        families["127.0.0.2"] = socket.AF_INET
    for host, family in families.items():
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.connect((host, port))
        except OSError:
            sock.close()
            continue
        sock.setblocking(False)
        sock.send(long(version=0x1A2A3A4A))
        assert (await answer(sock))[1:5] == bytes(4)
        sock.close()


def test_uvloop_runs_it_too():
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main():
        sink = Recorder()
        server = await Endpoint.server(
            "127.0.0.1", 0, config=Config(retry="never"), accept=lambda initial: sink
        )
        client = await Endpoint.client("127.0.0.1", server.address[1])
        client.send([(long(), 1200, None)])
        await until(lambda: sink.flushes)
        client.close()
        server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
