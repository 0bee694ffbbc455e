"""Peers that mean harm: each costs a bounded amount, has its error, and hurts nobody else."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from aioquic.tls import Epoch
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream._core.errors import ConnectionClosedError, QuicError, QuicTimeoutError
from midstream.quic.connection import Connection, connect
from midstream.quic.serving import serve
from tests.quic._loopback import client_config, pair, server_config
from tests.quic.rawpeer import CLIENT, Link, frame, stream

NO_ERROR, INTERNAL, FLOW, LIMIT, STATE, SIZE, ENCODING = 0, 1, 3, 4, 5, 6, 7
CID_LIMIT, VIOLATION, CRYPTO_BUFFER = 9, 10, 13
MAX_VARINT = (1 << 62) - 1
WINDOWS = {
    "stream_window": 1 << 16,
    "max_stream_window": 1 << 16,
    "connection_window": 1 << 18,
    "max_connection_window": 1 << 18,
    "max_streams_bidi": 100,
    "max_streams_uni": 100,
    "probe_mtu": False,
}


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """What is inside leaves at most `size` bytes more in use than before, counted by Python."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown <= size, f"{grown} bytes more than before"


# -- frames that break a rule ----------------------------------------------------------------------

BROKEN: dict[str, tuple[bytes, int | tuple[int, ...]]] = {
    "unknown frame type": (frame(0x21), ENCODING),
    "unknown frame type of 62 bits": (frame(MAX_VARINT), ENCODING),
    "frame type not minimal": (b"\x40\x06\x00\x00", (VIOLATION, ENCODING)),
    "ACK of the future": (frame(0x02, 1 << 40, 0, 0, 0), VIOLATION),
    "ACK below zero": (frame(0x02, 0, 0, 0, 5), ENCODING),
    "ACK gap below zero": (frame(0x02, 0, 0, 1, 0, 5, 0), (ENCODING, VIOLATION)),
    "ACK without its counts of ECN": (frame(0x03, 0, 0, 0, 0, 1, 1), ENCODING),
    "ACK without its ranges": (frame(0x02, 0, 0, 60, 0), (ENCODING, VIOLATION)),
    "STREAM beyond its window": (stream(0, 1 << 16, b"x"), FLOW),
    "STREAM beyond 2^62": (stream(0, MAX_VARINT, b"xy"), ENCODING),
    "STREAM of a stream that is not opened": (stream(1, 0, b"x"), STATE),
    "STREAM of the server's own one-way stream": (stream(3, 0, b"x"), STATE),
    "STREAM over the limit": (stream(4 * 100, 0, b"x"), LIMIT),
    "one-way STREAM over the limit": (stream(4 * 100 + 2, 0, b"x"), LIMIT),
    "STREAM that ends in its number": (b"\x08\x40", ENCODING),
    "STREAM that ends in its offset": (b"\x0c\x00\x80", ENCODING),
    "STREAM longer than the packet": (b"\x0e\x00\x00\x7f\xffabc", ENCODING),
    "STREAM after its end": (stream(0, 0, b"abc", True) + stream(0, 3, b"d"), SIZE),
    "STREAM with two ends": (stream(0, 0, b"abc", True) + stream(0, 0, b"ab", True), SIZE),
    "RESET_STREAM that shortens": (stream(0, 0, b"abc") + frame(0x04, 0, 1, 2), SIZE),
    "RESET_STREAM that lengthens": (stream(0, 0, b"a", True) + frame(0x04, 0, 1, 2), SIZE),
    "RESET_STREAM beyond the window": (frame(0x04, 0, 1, (1 << 16) + 1), FLOW),
    "RESET_STREAMs beyond the connection's window": (
        b"".join(frame(0x04, 4 * k, 1, 1 << 16) for k in range(20)),
        FLOW,
    ),
    "RESET_STREAM of what we send": (frame(0x04, 3, 1, 0), STATE),
    "STOP_SENDING of what they send": (frame(0x05, 2, 1), STATE),
    "STOP_SENDING of what was not opened": (frame(0x05, 1, 1), STATE),
    "MAX_STREAM_DATA of what they send": (frame(0x11, 2, 1), STATE),
    "MAX_STREAM_DATA of what was not opened": (frame(0x11, 1, 1), STATE),
    "MAX_STREAMS beyond 2^60": (frame(0x12, (1 << 60) + 1), ENCODING),
    "STREAMS_BLOCKED beyond 2^60": (frame(0x16, (1 << 60) + 1), (ENCODING, LIMIT)),
    "STREAM_DATA_BLOCKED of what we send": (frame(0x15, 3, 1), STATE),
    "NEW_TOKEN to a server": (frame(0x07, 4, b"abcd"), VIOLATION),
    "HANDSHAKE_DONE to a server": (frame(0x1E), VIOLATION),
    "NEW_CONNECTION_ID, empty": (frame(0x18, 9, 0, b"\x00", bytes(16)), ENCODING),
    "NEW_CONNECTION_ID, 21 bytes": (frame(0x18, 9, 0, b"\x15", bytes(37)), ENCODING),
    "NEW_CONNECTION_ID retires itself": (
        frame(0x18, 9, 10, b"\x08", b"12345678", bytes(16)),
        (ENCODING, VIOLATION),
    ),
    "RETIRE_CONNECTION_ID of the future": (frame(0x19, 1 << 20), VIOLATION),
    "RETIRE_CONNECTION_ID in use": (frame(0x19, 0), VIOLATION),
    "CRYPTO beyond 2^62": (frame(0x06, MAX_VARINT, 2, b"xy"), (ENCODING, CRYPTO_BUFFER)),
    "CRYPTO far ahead": (frame(0x06, 1 << 24, 2, b"xy"), CRYPTO_BUFFER),
    "DATAGRAM longer than the packet": (b"\x31\x7f\xffabc", ENCODING),
    "PATH_CHALLENGE of 3 bytes": (b"\x1aabc", ENCODING),
    "a varint that ends early": (b"\x10\xc0", ENCODING),
    "no frames": (b"", VIOLATION),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_has_its_error(name: str) -> None:
    plain, expected = BROKEN[name]
    link = Link(**WINDOWS)
    if name == "no frames":
        link.send_packets([empty_packet(link)])
    else:
        # No padding, that a frame ends with the packet.
        link.send(plain if len(plain) >= 4 else frame(0x01) * (4 - len(plain)) + plain)
    codes = expected if isinstance(expected, tuple) else (expected,)
    assert link.error in codes, link.answers[-2:]
    # It is over: nothing more is said, whatever comes but for the close itself.
    link.send(frame(0x01))
    assert {kind for kind, _ in link.answers[-1:]} <= {0x1C}


def empty_packet(link: Link) -> bytes:
    crypto = link.client._cryptos
    header = bytes([0x43]) + link.client._peer_cid.cid + link.number.to_bytes(4, "big")
    return bytes(crypto[Epoch.ONE_RTT].encrypt_packet(header, b"", link.number))


def test_a_datagram_that_was_not_offered_is_refused() -> None:
    link = Link(datagrams=False)
    link.send(frame(0x31, 4, b"abcd"))
    assert link.error == VIOLATION


# -- any bytes -------------------------------------------------------------------------------------

_FUZZED: dict[str, Link] = {}
varints = st.one_of(
    st.integers(0, 63), st.integers(0, 1 << 17), st.integers(MAX_VARINT - 70, MAX_VARINT)
)
frames = st.builds(
    lambda kind, fields, tail, cut: frame(kind, *fields, tail)[: cut or None],
    st.one_of(st.integers(0, 0x1F), st.sampled_from([0x30, 0x31]), varints),
    st.lists(varints, max_size=6),
    st.binary(max_size=40),
    st.one_of(st.just(0), st.integers(1, 30)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(frames, st.binary(min_size=1, max_size=60)), min_size=1, max_size=5))
def test_no_bytes_do_more_than_end_the_connection(parts: list[bytes]) -> None:
    link = _FUZZED.pop("link", None) or Link(**WINDOWS)
    link.send(b"".join(parts)[:1100])
    link.wait(0.3)
    code = link.error
    if code is None and link.victim.get_timer() is not None and not link.frames(0x1D):
        link.victim.touched()
        for opened in link.victim.opened():
            opened.take()
        while link.victim.next_event() is not None:
            pass
        link.answers.clear()
        if link.victim._close_event is None:
            _FUZZED["link"] = link
    else:
        assert code is None or code <= 0x10 or 0x100 <= code < 0x200
        assert code != INTERNAL


# -- floods ----------------------------------------------------------------------------------------


def path_challenges(link: Link, i: int) -> bytes:
    return b"".join(frame(0x1A, (i * 50 + j).to_bytes(8, "big")) for j in range(50))


def new_cids(link: Link, i: int) -> bytes:
    # Each retires all before it.
    n = 10 + i
    return frame(0x18, n, n, b"\x08", n.to_bytes(8, "big"), n.to_bytes(16, "big"))


def retired_cids(link: Link, i: int) -> bytes:
    return frame(0x19, i + 1)


def crypto_pieces(link: Link, i: int) -> bytes:
    return b"".join(frame(0x06, 2 + 3 * (i * 30 + j), 1, b"x") for j in range(30))


def pings(link: Link, i: int) -> bytes:
    return frame(0x01) * 1000


def max_streams(link: Link, i: int) -> bytes:
    return b"".join(frame(0x12, i * 50 + j) + frame(0x13, i * 50 + j) for j in range(50))


def max_data(link: Link, i: int) -> bytes:
    return b"".join(frame(0x10, i * 50 + j) for j in range(50))


def blocked(link: Link, i: int) -> bytes:
    return b"".join(frame(0x14, j) + frame(0x16, j) + frame(0x15, 0, j) for j in range(50))


def padding(link: Link, i: int) -> bytes:
    return bytes(1100)


def repeated_resets(link: Link, i: int) -> bytes:
    return frame(0x04, 0, i, 0) * 100


def repeated_stops(link: Link, i: int) -> bytes:
    return frame(0x05, 0, i) * 100


def tiny_overlaps(link: Link, i: int) -> bytes:
    rng = random.Random(i)
    return b"".join(
        stream(0, start, bytes(rng.randrange(1, 40)))
        for start in (rng.randrange(1, 60000) for _ in range(25))
    )


def empty_frames(link: Link, i: int) -> bytes:
    return stream(0, 0, b"") * 100


FLOODS: dict[str, tuple[Callable[[Link, int], bytes], tuple[int, ...]]] = {
    "PATH_CHALLENGE": (path_challenges, ()),
    "NEW_CONNECTION_ID": (new_cids, (CID_LIMIT, VIOLATION, INTERNAL)),
    "RETIRE_CONNECTION_ID": (retired_cids, (VIOLATION,)),
    "CRYPTO": (crypto_pieces, (CRYPTO_BUFFER, VIOLATION, 0x10A)),
    "PING": (pings, ()),
    "MAX_STREAMS": (max_streams, ()),
    "MAX_DATA": (max_data, ()),
    "BLOCKED": (blocked, ()),
    "PADDING": (padding, ()),
    "RESET_STREAM": (repeated_resets, ()),
    "STOP_SENDING": (repeated_stops, ()),
    "STREAM, empty": (empty_frames, ()),
    "STREAM, overlapping": (tiny_overlaps, (VIOLATION,)),
}


@pytest.mark.parametrize("acknowledges", [True, False])
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_has_a_bound(name: str, acknowledges: bool) -> None:
    make, errors = FLOODS[name]
    link = Link(**WINDOWS)

    def round_(i: int) -> None:
        plain = make(link, i)
        if acknowledges and link.numbers:
            plain = link.acknowledge() + plain
            del link.numbers[:-50]
        link.send(plain)
        link.now += 0.0005
        link.victim.touched()
        link.victim.opened()
        while link.victim.next_event() is not None:
            pass
        link.answers = [answer for answer in link.answers if answer[0] == 0x1C]

    for i in range(300):
        round_(i)
    with at_most(600_000):
        for i in range(300, 1500):
            round_(i)
            if not acknowledges:
                del link.numbers[:-50]
    assert link.error is None or link.error in errors
    if link.error is None:
        sent = link.victim.stats()["packets_sent"]
        assert sent < 4 * 1500, "a flood is not answered by a larger one"


def test_streams_opened_and_reset_for_ever() -> None:
    link = Link(**WINDOWS)
    number = 0
    allowed = 100

    def some() -> None:
        nonlocal number, allowed
        for _ in range(30):
            if number < allowed:
                link.send(frame(0x04, 4 * number + 2, 7, 0), frame(0x05, 4 * number, 9))
                link.send(frame(0x04, 4 * number, 7, 0))
                number += 1
        link.now += 0.002
        link.send(link.acknowledge())
        del link.numbers[:-50]
        for limit in link.frames(0x12):
            allowed = max(allowed, limit[0])
        link.answers.clear()
        for opened in link.victim.opened():
            assert opened.reset_code == 7
        link.victim.touched()

    for _ in range(20):
        some()
    with at_most(300_000):
        for _ in range(100):
            some()
    assert link.error is None
    assert number > 2000
    assert link.victim.stats()["streams_open"] <= 200


def test_streams_opened_and_not_accepted_have_a_bound() -> None:
    """The owner does not take them: the peer gets no credit for more."""
    link = Link(**WINDOWS)
    number = 0
    allowed = 100
    waiting: list[Any] = []
    for _ in range(200):
        for _ in range(30):
            if number < allowed:
                link.send(frame(0x04, 4 * number + 2, 7, 0))
                number += 1
        link.now += 0.002
        link.send(link.acknowledge())
        for limit in link.frames(0x13):
            allowed = max(allowed, limit[0])
        link.answers.clear()
        waiting += link.victim.opened(hold=True)
    assert link.error is None
    assert number == 100 == len(waiting)
    for opened in waiting:
        opened.release()
        opened.release()
    link.answer()
    assert link.frames(0x13)[-1] == [200]


def test_fragments_of_one_byte_cost_what_they_hold() -> None:
    link = Link(**WINDOWS)
    with at_most(2_000_000):
        for start in range(0, 60000, 60):
            link.send(*(stream(0, at, b"x") for at in range(start + 1, start + 60, 2)))
            if link.error is not None:
                break
    assert link.error in (None, VIOLATION)


def test_data_that_nobody_reads_is_bounded_by_the_windows() -> None:
    link = Link(**WINDOWS)
    sent = 0
    with at_most(2 * (1 << 18)):
        for number in range(100):
            for offset in range(0, 1 << 16, 1024):
                if sent + 1024 > 1 << 18:
                    break
                link.send(stream(4 * number, offset, bytes(1024)))
                sent += 1024
        for offset in range(0, 1 << 18, 1024):  # again: duplicates
            link.send(stream(4 * (offset >> 16), offset & 0xFFFF, bytes(1024)))
        link.answers.clear()
        link.numbers.clear()
    assert link.error is None
    link.send(stream(4 * 99, 0, b"x"))
    assert link.error == FLOW


def test_datagrams_do_not_pile_up_in_the_transport() -> None:
    link = Link(**WINDOWS)
    with at_most(300_000):
        for _ in range(2000):
            link.send(frame(0x31, 1000, bytes(1000)))
            while link.victim.next_event() is not None:
                pass
            link.answers.clear()
            link.numbers.clear()
    assert link.error is None


def test_packets_that_do_not_decrypt_are_dropped() -> None:
    link = Link(**WINDOWS)
    rng = random.Random(1)
    cid = link.client._peer_cid.cid
    with at_most(100_000):
        for _ in range(3000):
            link.send_packets([b"\x43" + cid + rng.randbytes(rng.randrange(0, 60))])
            link.send_packets([rng.randbytes(rng.randrange(0, 60))])
            link.send_packets([b"\x47" + cid + rng.randbytes(40)])
    assert link.is_alive()


def test_duplicates_and_reordered_packets_are_taken_once() -> None:
    link = Link(**WINDOWS)
    packets = [link.packet(stream(0, i * 10, b"0123456789")) for i in range(100)]
    rng = random.Random(3)
    many = packets * 3
    rng.shuffle(many)
    for packet in many:
        link.send_packets([packet])
    (opened,) = link.victim.opened()
    assert opened.take() == b"0123456789" * 100
    link.wait(0.1)
    assert link.frames(0x02)[-1][0][1] == link.number - 1
    assert link.is_alive()


def test_holes_without_end() -> None:
    """Every other packet number: the list of what came stays short, and so do ACK frames."""
    link = Link(**WINDOWS)
    with at_most(100_000):
        for _ in range(3000):
            link.number += 1
            link.send(frame(0x01))
            if len(link.answers) > 10:
                del link.answers[:-5]
                del link.numbers[:-5]
    assert link.error is None
    assert len(link.frames(0x02)[-1]) <= 64


# -- acknowledgements ------------------------------------------------------------------------------


def respond(link: Link, size: int) -> Any:
    """A stream on which the victim has `size` bytes to send."""
    link.send(frame(0x10, 1 << 40), frame(0x11, 0, 1 << 40), stream(0, 0, b"?"))
    (opened,) = link.victim.opened()
    opened.take()
    opened.write(bytes(size))
    return opened


def test_a_peer_that_never_acknowledges() -> None:
    link = Link(**WINDOWS, idle_timeout_s=30.0)
    opened = respond(link, 1 << 20)
    with at_most(3_000_000):
        for _ in range(200):
            link.wait(0.2)
            link.answers.clear()
            link.numbers.clear()
            link.send(frame(0x01))
    stats = link.victim.stats()
    assert opened.unacked == 1 << 20
    # Two probes for each time-out, which doubles: not a flood.
    assert stats["packets_sent"] < 700
    assert stats["bytes_in_flight"] < 1 << 18


def test_a_peer_that_only_sends_and_never_acknowledges() -> None:
    link = Link(**WINDOWS)
    for _ in range(500):
        link.send(frame(0x01), answer=False)
        link.send(frame(0x01))
    with at_most(3_000_000):
        for _ in range(6000):
            link.send(frame(0x01), answer=False)
            link.send(frame(0x01))
            link.now += 0.0001
            link.answers.clear()
            link.numbers.clear()
    assert link.error is None


def test_optimistic_acknowledgements_are_found_out() -> None:
    """A peer that acknowledges what it has not seen gets a faster sender, until it hits a number
    that was left out (RFC 9000, section 21.4)."""
    link = Link(**WINDOWS)
    respond(link, 8 << 20)
    link.answer()
    for _ in range(600):
        if link.error is not None or not link.numbers:
            break
        top = max(link.numbers)
        link.now += 0.001
        link.send(frame(0x02, top, 0, 0, top - min(link.numbers)))
        link.wait(0.001)
    assert link.error == VIOLATION


def test_an_honest_peer_is_not_taken_for_one() -> None:
    link = Link(**WINDOWS)
    opened = respond(link, 4 << 20)
    link.answer()
    for _ in range(3000):
        if opened.unacked == 0:
            break
        link.now += 0.001
        link.send(link.acknowledge())
        link.wait(0.001)
        del link.numbers[:-400]
        link.answers = link.frames(0x1C) and link.answers[-5:]
    assert link.error is None
    assert opened.unacked == 0


def test_ack_frames_of_many_ranges_are_cheap() -> None:
    link = Link(**WINDOWS)
    respond(link, 1 << 20)
    link.answer()
    for _ in range(300):
        low, high = min(link.numbers), max(link.numbers)
        count = min((high - low) // 2, 300)
        link.send(frame(0x02, high, 0, count, 0, *([0, 0] * count)))
        link.now += 0.001
        if link.error is not None:
            break
    assert link.error in (None, VIOLATION)


# -- others are unharmed ---------------------------------------------------------------------------


def test_a_closing_peer_is_not_answered_for_ever() -> None:
    link = Link(**WINDOWS)
    link.send(frame(0x1C, 0, 0, 0))
    for _ in range(100):
        link.send(frame(0x01))
    assert len(link.numbers) <= 3
    link.wait(10.0)
    assert link.victim.get_timer() is None


async def ask(connection: Connection, data: bytes) -> bytes:
    stream_ = await connection.open_bi()
    stream_.write(data)
    stream_.finish()
    return await stream_.read_to_end(1 << 20)


async def test_noise_at_the_socket_hurts_nobody() -> None:
    """Random bytes, made-up versions, Initials without sense, forged packets to a live address."""
    rng = random.Random(7)
    async with pair() as (honest, server):
        assert await ask(honest, b"before") == b"before"
        cid = honest._protocol._peer_cid.cid
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
            for i in range(1500):
                rest = rng.randbytes(rng.randrange(1, 1250))
                version = rng.choice([b"\0\0\0\1", b"\x6b\x33\x43\xcf", b"\0\0\0\0", rest[:4]])
                noise.sendto(
                    rng.choice(
                        [
                            rest,
                            b"\x41" + cid + rest,
                            b"\xc0" + version + b"\x08" + rest.ljust(1200, b"x"),
                            b"\xff" + version + rest,
                        ]
                    ),
                    server.address[:2],
                )
                if i % 100 == 0:
                    assert await ask(honest, b"between") == b"between"
        assert await ask(honest, b"after") == b"after"
        assert server.stats().connections == 1


@pytest.mark.parametrize("plain", [frame(0x21), stream(1, 0, b"x"), frame(0x02, 1 << 40, 0, 0, 0)])
async def test_a_connection_that_breaks_a_rule_ends_alone(plain: bytes) -> None:
    async with pair() as (honest, server):
        bad = await connect(*server.address[:2], config=client_config())
        assert await ask(bad, b"good so far") == b"good so far"
        protocol = bad._protocol
        header = bytes([0x43]) + protocol._peer_cid.cid + (1 << 20).to_bytes(4, "big")
        packet = protocol._cryptos[Epoch.ONE_RTT].encrypt_packet(header, plain, 1 << 20)
        bad._endpoint.send([(packet, len(packet), protocol._network_paths[0].addr)])
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(ask(bad, b"too late"), 5)
        assert await ask(honest, b"unharmed") == b"unharmed"


def test_a_ping_finds_room_within_what_an_address_may_be_sent():
    # A budget that ran below nothing by one byte would be none at all.
    for step in (2, 70, 200, 17_000):
        for budget in range(75, 116):
            link = Link(probe_mtu=False)
            base = link.number
            for i in range(40):
                link.send(frame(0x01), number=base + step * i + 1, answer=False)
            link.victim.ping_soon()
            segments: list = []
            link.victim._transport.build(
                link.now,
                budget,
                link.victim._peer_cid.cid,
                CLIENT,
                link.victim._cryptos[Epoch.ONE_RTT],
                segments,
            )
            assert sum(len(data) for data, _, _ in segments) <= budget


async def test_streams_of_one_that_are_opened_and_reset_harm_no_other() -> None:
    """Junk and streams without end on one server, and an honest connection beside them."""
    rng = random.Random(11)

    async def tolerant(connection: Connection) -> None:
        async for stream_ in connection.streams():
            with suppress(QuicError):
                stream_.write(await stream_.read_to_end(1 << 16))
                stream_.finish()

    async with asyncio.timeout(20), pair(tolerant, server=WINDOWS) as (honest, server):
        bad = await connect(*server.address[:2], config=client_config(probe_mtu=False))
        opened = 0

        async def flood() -> None:
            nonlocal opened
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
                while True:
                    for _ in range(20):
                        stream_ = await bad.open_bi()
                        stream_.write(b"x" * rng.randrange(1, 200))
                        stream_.abort(7)
                        noise.sendto(rng.randbytes(rng.randrange(20, 1200)), server.address[:2])
                        opened += 1
                    await asyncio.sleep(0)

        flooding = asyncio.ensure_future(flood())
        for i in range(500):
            data = rng.randbytes(1000 + i)
            assert await ask(honest, data) == data
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        assert opened > 500
        for connection in server.connections:
            assert connection.stats().streams_open <= 200
        assert await ask(honest, b"after") == b"after"
        bad.close(0)


class Deaf(asyncio.DatagramProtocol):
    """A relay that lets nothing of the client through any more once it is told so."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.client: Any = None
        self.is_deaf = False
        self.swallowed = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if address[:2] == self.server:
            self.swallowed += self.is_deaf
            self.transport.sendto(data, self.client)
        elif not self.is_deaf:
            self.client = address
            self.transport.sendto(data, self.server)


async def test_a_writer_whose_peer_never_acknowledges_waits_and_is_told() -> None:
    written = 0
    outcome: asyncio.Future[BaseException] = asyncio.Future()

    async def write_for_ever(connection: Connection) -> None:
        nonlocal written
        stream_ = await connection.accept_bi()
        relay.is_deaf = True
        try:
            while True:
                stream_.write(bytes(50_000))
                written += 50_000
                await stream_.drain()
        except QuicError as error:
            outcome.set_result(error)

    options = {"idle_timeout_s": 1.0, "send_buffer": 100_000, "probe_mtu": False}
    async with (
        asyncio.timeout(20),
        serve(write_for_ever, "127.0.0.1", 0, config=server_config(**options)) as server,
    ):
        transport, relay = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Deaf(server.address[:2]), local_addr=("127.0.0.1", 0)
        )
        try:
            address = transport.get_extra_info("sockname")[:2]
            with at_most(1_000_000):
                # Within: the collection before takes seconds among many objects, which would count
                # as a round trip, and three timeouts of those are the least for an idle timeout.
                connection = await connect(*address, config=client_config(idle_timeout_s=30.0))
                (await connection.open_bi()).write(b"?")
                error = await outcome
            assert isinstance(error, QuicTimeoutError)
            # A first window, what waits, and the piece that went over it.
            assert written <= 20_000 + 100_000 + 2 * 50_000
            # Probes at ever longer intervals, beside that window.
            assert relay.swallowed < 60
            connection.close(0)
        finally:
            transport.close()
