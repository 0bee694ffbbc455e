"""The compiled transport: what it sends and when, what it counts, and what it refuses."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from itertools import pairwise
from typing import Any

import pytest
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicSentPacket
from aioquic.tls import Epoch
from quic.link import ClientNode, Network, Path, Peer, ServerNode
from quic.rawpeer import Link, frame, identity, stream

from midstream.quic._protocol import Protocol
from midstream.quic._transport import StreamState, Transport
from midstream.quic.config import Config


def opened(protocol: Protocol, urgency: int = 3, incremental: bool = False) -> StreamState:
    made = protocol.open_stream(True, urgency, incremental)
    assert made is not None
    return made


def on_the_wire(link: Link, until: int) -> list[tuple[int, int]]:
    """Stream and size of each STREAM frame, in the order they left, until so many bytes have."""
    for _ in range(200):
        link.now += 0.01
        link.answer()
        link.send(link.acknowledge())
        found = [(fields[0], len(fields[2])) for fields in link.frames(0x08)]
        if sum(size for _, size in found) >= until:
            return found
    raise AssertionError(f"{found} is less than {until} bytes")


def order_of(frames: list[tuple[int, int]]) -> list[int]:
    """Streams in the order of their frames, neighbours of one stream as one."""
    order: list[int] = []
    for stream_id, size in frames:
        if size and (not order or order[-1] != stream_id):
            order.append(stream_id)
    return order


class Ends:
    """A client and a server of ours on a simulated path."""

    def __init__(
        self,
        *,
        up: Path | None = None,
        down: Path | None = None,
        client: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
    ) -> None:
        self.network = Network(1, up or Path(latency_s=0.005), down or Path(latency_s=0.005))
        alpn = {"alpn": ("t",)}
        self.node = ServerNode(
            self.network, Config(identity=identity(), **{**alpn, **(server or {})})
        )
        self.client = ClientNode(
            self.network,
            Config(pins=[identity().certificate_pin], **{**alpn, **(client or {})}),
        )
        self.client.connect()
        self.network.run(lambda: self.client.protocol._handshake_confirmed)

    @property
    def server(self) -> Peer:
        return self.node.peers[0]

    def run(self, seconds: float) -> None:
        until = self.network.now + seconds
        self.network.at(until, lambda: None)
        self.network.run(lambda: self.network.now >= until)


# ------------------------------------------------------------------------------- order of sending


def test_urgencies_leave_in_their_order() -> None:
    link = Link(probe_mtu=False)
    streams = {urgency: opened(link.victim, urgency) for urgency in (5, 1, 3, 0, 7, 2)}
    for made in streams.values():
        made.write(bytes(6000))
    frames = on_the_wire(link, 36_000)
    assert order_of(frames) == [streams[urgency].stream_id for urgency in sorted(streams)]


def test_of_one_urgency_the_older_stream_is_first() -> None:
    link = Link(probe_mtu=False)
    streams = [opened(link.victim) for _ in range(4)]
    for made in reversed(streams):
        made.write(bytes(5000))
    assert order_of(on_the_wire(link, 20_000)) == [made.stream_id for made in streams]


def test_incremental_streams_take_turns() -> None:
    link = Link(probe_mtu=False)
    streams = [opened(link.victim, 3, True) for _ in range(3)]
    for made in streams:
        made.write(bytes(10_000))
    order = order_of(on_the_wire(link, 30_000))
    ids = [made.stream_id for made in streams]
    assert order[:15] == ids * 5


def test_both_kinds_of_one_urgency_share() -> None:
    link = Link(probe_mtu=False)
    first, second, third = (opened(link.victim, 3, kind) for kind in (False, True, False))
    for made in (first, second, third):
        made.write(bytes(12_000))
    order = order_of(on_the_wire(link, 36_000))
    assert set(order[:4]) == {first.stream_id, second.stream_id}
    assert order[-1] == third.stream_id


def test_a_higher_send_order_goes_first() -> None:
    link = Link(probe_mtu=False)
    orders = [0, -(2**63), 2**63 - 1, 5, -5]
    streams = {order: opened(link.victim) for order in orders}
    for order, made in streams.items():
        made.send_order = order
        made.write(bytes(3000))
    expected = [streams[order].stream_id for order in sorted(orders, reverse=True)]
    assert order_of(on_the_wire(link, 15_000)) == expected


@pytest.mark.parametrize("incremental", [False, True])
def test_a_stream_that_waits_can_be_moved(incremental: bool) -> None:
    link = Link(probe_mtu=False)
    bulk = opened(link.victim, 3, incremental)
    others = [opened(link.victim, 4, incremental) for _ in range(3)]
    for made in (bulk, *others):
        made.write(bytes(40_000))
    link.answer()
    others[1].set_priority(1, not incremental)
    others[2].set_priority(7, incremental)
    bulk.set_priority(3, incremental)  # as it was
    sent = len(link.frames(0x08))
    frames = on_the_wire(link, 160_000)[sent:]
    ids = [made.stream_id for made in (others[1], bulk, others[0], others[2])]
    assert order_of(frames) == ids


def test_what_is_moved_is_sent_once() -> None:
    link = Link(probe_mtu=False)
    streams = [opened(link.victim, 3, bool(i % 2)) for i in range(6)]
    for made in streams:
        made.write(bytes(8000))
    for i, made in enumerate(streams * 3):
        made.set_priority(i % 8, bool(i % 3))
        made.send_order = i
    frames = on_the_wire(link, 48_000)
    for made in streams:
        assert sum(size for stream_id, size in frames if stream_id == made.stream_id) == 8000
    assert not link.victim.has_pending


@pytest.mark.parametrize("urgency", [-1, 8, 1000])
def test_an_urgency_out_of_range_is_refused(urgency: int) -> None:
    link = Link()
    with pytest.raises(ValueError, match=f"urgency must be in 0..7, got {urgency}"):
        link.victim.open_stream(True, urgency, False)
    made = opened(link.victim)
    made.write(b"x")
    with pytest.raises(ValueError, match=f"urgency must be in 0..7, got {urgency}"):
        made.set_priority(urgency, False)
    assert made.urgency == 3
    assert on_the_wire(link, 1) == [(made.stream_id, 1)]


def test_a_reset_stream_leaves_the_queue() -> None:
    link = Link(probe_mtu=False)
    first, second = opened(link.victim), opened(link.victim)
    first.write(bytes(50_000))
    second.write(bytes(2000))
    link.answer()
    first.reset(7)
    frames = on_the_wire(link, 12_000)
    assert frames[-1][0] == second.stream_id
    assert link.frames(0x04) == [[first.stream_id, 7, sum(n for s, n in frames if s == 3)]]


# --------------------------------------------------------------------------------- flow control


def test_streams_that_starve_wake_up() -> None:
    """Three streams, and credit of the connection for less than one."""
    ends = Ends(
        server={
            "connection_window": 1500,
            "max_connection_window": 1500,
            "stream_window": 1000,
            "max_stream_window": 1000,
        }
    )
    streams = [opened(ends.client.protocol) for _ in range(3)]
    for i, made in enumerate(streams):
        made.write(bytes([i]) * 5000)
        made.finish()
    ends.client.step()
    ends.run(0.5)
    inbound = list(ends.server.protocol.streams().values())
    assert sum(made.buffered for made in inbound) == 1500
    assert ends.client.protocol.stats()["bytes_in_flight"] == 0
    got = {made.stream_id: b"" for made in inbound}
    got.update({made.stream_id: b"" for made in streams})

    def read(peer: Peer) -> None:
        for made in list(peer.protocol.streams().values()):
            got[made.stream_id] += made.take()

    ends.server.application = read
    read(ends.server)
    ends.server.step()
    ends.network.run(lambda: all(len(data) == 5000 for data in got.values()))
    assert [got[made.stream_id] for made in streams] == [bytes([i]) * 5000 for i in range(3)]
    ends.run(0.1)
    assert not ends.client.protocol.streams()
    assert not ends.client.protocol.has_pending


def test_the_peer_limits_streams() -> None:
    ends = Ends(server={"max_streams_uni": 2})
    protocol = ends.client.protocol
    assert protocol.streams_available(True) == 2
    first = opened(protocol)
    opened(protocol)
    assert protocol.streams_available(True) == 0
    protocol.more_streams()
    assert protocol.open_stream(True) is None
    assert not protocol.more_streams()

    def read(peer: Peer) -> None:
        for made in list(peer.protocol.streams().values()):
            made.take()

    ends.node.peers[0].application = read
    first.write(b"x")
    first.finish()
    ends.client.step()
    ends.network.run(protocol.more_streams)
    assert protocol.streams_available(True) == 1
    assert protocol.open_stream(True) is not None
    assert protocol.open_stream(True) is None


def test_a_stream_of_nobody_refuses() -> None:
    made = StreamState()
    with pytest.raises(ValueError, match="no direction to send in"):
        made.write(b"x")
    with pytest.raises(ValueError, match="no direction to send in"):
        made.finish()
    with pytest.raises(ValueError, match="belongs to no connection"):
        made.set_priority(1, False)
    with pytest.raises(ValueError, match="belongs to no connection"):
        made.send_order = 1
    made.stop(1)
    made.reset(1)
    made.release()
    assert made.take() == b""
    assert (made.buffered, made.queued, made.unacked, made.eof) == (0, 0, 0, False)


def test_a_stream_that_only_receives_refuses_to_send() -> None:
    link = Link()
    link.send(stream(2, 0, b"x"))
    (made,) = link.victim.opened()
    with pytest.raises(ValueError, match="stream 2 has no direction to send in"):
        made.write(b"x")
    with pytest.raises(ValueError, match="stream 2 has no direction to send in"):
        made.finish()
    made.reset(0)
    assert made.take() == b"x"


# ------------------------------------------------------------------------------------- datagrams


def test_the_oldest_datagram_makes_room() -> None:
    link = Link(datagram_queue=3, probe_mtu=False)
    for i in range(10):
        link.victim.send_datagram(bytes([i]))
    assert link.victim.stats()["datagrams_dropped"] == 7
    link.answer()
    assert link.frames(0x31) == [[b"\x07"], [b"\x08"], [b"\x09"]]


@pytest.mark.parametrize("size", [16_300, 16_384, 40_000, 65_000])
def test_datagrams_larger_than_two_bytes_say(size: int) -> None:
    """Lengths of 4 bytes, in packets of every size that UDP has."""
    wide = {"max_datagram_size": 65_507, "probe_mtu": False}
    path = {"latency_s": 0.001, "mtu": 70_000}
    ends = Ends(up=Path(**path), down=Path(**path), client=wide, server=wide)
    data = bytes(i % 251 for i in range(size))
    assert ends.client.protocol.max_datagram_payload >= size
    made = opened(ends.client.protocol)
    ends.client.protocol.send_datagram(data)
    made.write(data * 3)
    made.finish()
    got = bytearray()

    def read(peer: Peer) -> None:
        for inbound in list(peer.protocol.streams().values()):
            got.extend(inbound.take())

    server = ends.server
    server.application = read
    ends.client.step()
    ends.network.run(lambda: len(got) == 3 * size)
    assert bytes(got) == data * 3
    assert [event.data for event in server.events if hasattr(event, "data")] == [data]
    assert all(len(passed.data) <= 65_507 for passed in ends.network.record)


# ------------------------------------------------------------------------------------ path's size


def test_the_search_finds_what_passes() -> None:
    ends = Ends()
    ends.run(0.5)
    assert ends.client.protocol.stats()["max_datagram_size"] == 1452
    assert ends.server.protocol.stats()["max_datagram_size"] == 1452


def test_a_black_hole_is_found() -> None:
    ends = Ends(up=Path(latency_s=0.005), down=Path(latency_s=0.005))
    ends.run(0.5)
    ends.network.up.mtu = 1300
    made = opened(ends.client.protocol)
    made.write(bytes(100_000))
    made.finish()
    got = bytearray()

    def read(peer: Peer) -> None:
        for inbound in list(peer.protocol.streams().values()):
            got.extend(inbound.take())

    ends.server.application = read
    ends.client.step()
    ends.network.run(lambda: len(got) == 100_000, limit_s=20)
    assert ends.client.protocol.stats()["max_datagram_size"] == 1200
    assert ends.server.protocol.stats()["max_datagram_size"] == 1452


def test_another_path_is_searched_anew() -> None:
    ends = Ends()
    ends.run(0.5)
    ends.client.move(("192.0.2.77", 5))
    ends.client.protocol.rebind(ends.network.now)
    assert ends.client.protocol.stats()["max_datagram_size"] == 1200
    ends.client.step()
    ends.run(1.0)
    assert ends.client.protocol.stats()["max_datagram_size"] == 1452
    assert ends.server.protocol.stats()["max_datagram_size"] == 1452


# ----------------------------------------------------------------------------- spin, statistics


@pytest.mark.parametrize("spins", [True, False])
def test_the_spin_bit_turns_with_the_round_trips(spins: bool) -> None:
    ends = Ends(client={"probe_mtu": False}, server={"probe_mtu": False})
    ends.client.protocol._spins = spins
    ends.server.protocol._spins = True
    ends.network.record.clear()
    for _ in range(12):
        ends.client.protocol.ping_soon()
        ends.client.step()
        ends.run(0.02)
    bits = [
        passed.data[0] >> 5 & 1
        for passed in ends.network.record
        if passed.from_client and not passed.arrived and not passed.data[0] & 0x80
    ]
    turns = sum(a != b for a, b in pairwise(bits))
    assert (turns >= 5) if spins else (turns <= 1)


def test_statistics_count_what_passed() -> None:
    ends = Ends(client={"probe_mtu": False}, server={"probe_mtu": False})
    before = ends.client.protocol.stats()
    made = opened(ends.client.protocol)
    made.write(bytes(50_000))
    ends.client.step()
    ends.run(1.0)
    after = ends.client.protocol.stats()
    assert 50_000 < after["bytes_sent"] - before["bytes_sent"] < 55_000
    assert after["packets_sent"] - before["packets_sent"] > 50_000 // 1200
    assert after["packets_lost"] == 0
    assert after["bytes_in_flight"] == 0
    assert after["streams_open"] == 1
    assert 0.009 < after["rtt_min_s"] <= after["rtt_s"] < 0.05
    assert after["packets_received"] > before["packets_received"]


# --------------------------------------------------------------------------------------- safety


def forged(link: Link, number: int) -> bytes:
    """A packet whose header is in order, and whose content is not."""
    packet = bytearray(link.packet(frame(0x01), number=number))
    packet[-1] ^= 1  # in the tag, behind the sample
    return bytes(packet)


def test_too_many_forged_packets_end_the_connection() -> None:
    link = Link()
    link.victim._transport.forgery_limit = 6
    for i in range(5):
        link.send_packets([forged(link, link.number + i)])
    assert link.victim.stats()["packets_forged"] == 5
    assert link.is_alive()
    link.send_packets([forged(link, link.number)])
    link.wait(0.1)
    assert link.error == 0x0F


@pytest.mark.parametrize("bits", [0x08, 0x10, 0x18])
def test_reserved_bits_end_the_connection(bits: int) -> None:
    """Behind header protection, so that only who has the keys can set them (RFC 9000, 17.3.1)."""
    link = Link()
    crypto, number = link.client._cryptos[Epoch.ONE_RTT], link.number
    header = bytes([0x43 | crypto.send.key_phase << 2 | bits]) + link.client._peer_cid.cid
    header += number.to_bytes(4, "big")
    link.send_packets([bytes(crypto.encrypt_packet(header, frame(0x01) * 4, number))])
    assert link.error == 0x0A


def test_a_delay_of_an_acknowledgement_that_no_clock_can_hold() -> None:
    link = Link()
    link.send(frame(0x01))
    link.wait(0.05)
    before = link.victim.stats()["rtt_s"]
    largest = max(link.numbers)
    link.send(frame(0x02, largest, (1 << 62) - 1, 0, 0))
    assert link.is_alive()
    # More than the peer may delay by is not taken off the sample.
    assert 0 < link.victim.stats()["rtt_s"] < before + 1


def test_an_acknowledgement_that_has_no_room() -> None:
    link = Link()
    link.send(frame(0x01), answer=False)
    assert Link(drive=False).victim._transport.ack_body(link.now, 100) == (b"", -1)
    for limit in (-5, 0, 15):
        assert link.victim._transport.ack_body(link.now, limit) == (b"", -1)
    body, largest = link.victim._transport.ack_body(link.now, 100)
    assert largest == link.number - 1 and 4 <= len(body) <= 100


def test_what_a_stream_that_was_reset_is_given_is_dropped() -> None:
    link = Link(probe_mtu=False)
    made = opened(link.victim)
    made.write(b"before")
    link.answer()
    made.reset(7)
    made.write(b"after")
    made.finish()
    link.wait(0.2)
    assert link.frames(0x08) == [[made.stream_id, 0, b"before", 0]]
    assert [fields[:2] for fields in link.frames(0x04)][:1] == [[made.stream_id, 7]]
    assert not made.is_closed
    link.send(link.acknowledge())
    assert made.is_closed


def test_packets_of_another_key_phase_change_nothing() -> None:
    link = Link()
    phase = link.victim._cryptos[Epoch.ONE_RTT].recv.key_phase
    for i in range(50):
        packet = bytearray(link.packet(frame(0x01), number=link.number + i))
        packet[0] ^= 4
        link.send_packets([bytes(packet)])
    assert link.victim._cryptos[Epoch.ONE_RTT].recv.key_phase == phase
    assert link.is_alive()


def test_copies_are_no_sign_of_life() -> None:
    link = Link()
    packet = link.packet(frame(0x01))
    link.send_packets([packet])
    at = link.victim._close_at
    link.now += 1
    link.send_packets([packet])
    assert link.victim._close_at == at


def test_nothing_is_handled_behind_a_close() -> None:
    link = Link()
    link.send_packets(
        [
            link.packet(frame(0x1D, 9, 0)),
            link.packet(stream(0, 0, b"late")),
            link.packet(frame(0x31, 4, b"late")),
        ]
    )
    assert link.victim.opened() == []


def test_a_frame_for_others_is_not_handed_on_with_the_packet() -> None:
    link = Link()
    sizes: list[int] = []
    handle = link.victim._transport.other_frame
    assert handle is not None

    def note(kind: int, data: bytes, context: Any, early: bool) -> int:
        sizes.append(len(data))
        return handle(kind, data, context, early)

    link.victim._transport.other_frame = note
    link.send(
        *[frame(0x1A, bytes([i]) * 8) for i in range(100)],
        frame(0x06, 0, 3, b"abc"),
        frame(0x01),
        frame(0x1A, b"12345678"),
    )
    assert max(sizes) <= 64
    assert sizes[100:] == [5, 8]


def test_each_pass_has_its_own_buffers() -> None:
    """Whoever is told that there is something to send may send it, and receive, at once."""
    link = Link(probe_mtu=False, stream_window=8000, connection_window=8000)
    other = Link(probe_mtu=False)
    inside: list[int] = []

    def at_once() -> None:
        # In the middle of a packet of `link`, a packet of another connection, and one to send.
        other.send(stream(0, len(inside) * 100, bytes(100)))
        inside.append(link.answer())

    handle = link.victim._transport.on_datagram_frame
    assert handle is not None

    def datagram(data: bytes) -> None:
        at_once()
        handle(data)

    link.victim._transport.on_datagram_frame = datagram
    body = bytes(range(200))
    link.send_packets(
        [
            link.packet(frame(0x31, 1, b"x") + stream(0, i * 200, body) + frame(0x31, 1, b"y"))
            for i in range(30)
        ]
    )
    assert inside
    (made,) = link.victim.opened()
    assert made.take() == body * 30
    assert link.victim.stats()["packets_forged"] == 0


def test_threads_do_not_mix_their_packets() -> None:
    """Two threads, a connection each, and a turn of the other between any two steps."""
    failures: list[str] = []

    def transfer(letter: bytes) -> None:
        try:
            ends = Ends(client={"probe_mtu": False}, server={"probe_mtu": False})
            got = bytearray()

            def read(peer: Peer) -> None:
                for inbound in list(peer.protocol.streams().values()):
                    got.extend(inbound.take())

            ends.server.application = read
            for _ in range(10):
                made = opened(ends.client.protocol)
                made.write(letter * 20_000)
                made.finish()
            ends.client.step()
            ends.network.run(lambda: len(got) == 200_000)
            if bytes(got) != letter * 200_000:
                failures.append(f"{letter!r} has got foreign bytes")
            failures.extend(
                f"{letter!r} has packets that do not decrypt"
                for peer in (ends.client, ends.server)
                if peer.protocol.stats()["packets_forged"]
            )
        except Exception as error:  # noqa: BLE001  # it is told by the other thread
            failures.append(repr(error))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=transfer, args=(letter,)) for letter in (b"a", b"b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures


def test_a_handler_that_fails_costs_no_other_record() -> None:
    transport = Transport(True, StreamState, 1, 1, 1000, 1000, 1000, 1000, 1200, "cubic")
    transport.delivered, transport.lost = QuicDeliveryState.ACKED, QuicDeliveryState.LOST
    told: list[int] = []

    class BrokenError(Exception):
        pass

    def handler(delivery: QuicDeliveryState, number: int) -> None:
        told.append(number)
        if number == 2:
            raise BrokenError

    for number in range(5):
        packet = QuicSentPacket(
            epoch=Epoch.ONE_RTT,
            in_flight=True,
            is_ack_eliciting=True,
            is_crypto_packet=False,
            packet_number=number,
            packet_type=QuicPacketType.ONE_RTT,
            sent_time=1.0,
            sent_bytes=100,
        )
        packet.delivery_handlers.append((handler, (number,)))
        transport.track(packet, 1.0)
    held = sys.getrefcount(packet)
    with pytest.raises(BrokenError):
        transport.frames(frame(0x02, 4, 0, 0, 4), None, False, 1.1)
    assert told[-1] == 2
    transport.drop_all()
    assert sorted(told) == [0, 1, 2, 3, 4]
    assert sys.getrefcount(packet) == held - 1


@pytest.mark.parametrize("how", ["closed", "abandoned"])
def test_a_connection_that_is_over_is_freed(how: str) -> None:
    link = Link(probe_mtu=False)
    protocol = link.victim
    for _ in range(3):
        made = opened(protocol)
        made.write(bytes(30_000))
    link.send(stream(0, 0, b"x"), answer=False)
    link.answer()
    assert protocol.stats()["bytes_in_flight"]
    if how == "closed":
        protocol.close()
        link.answer()
        link.wait(60)
        link.victim.handle_timer(link.now + 60)
    else:
        protocol.abandon()
    gone = weakref.ref(protocol)
    kept = weakref.ref(made)
    del protocol, made, link
    gc.collect()
    assert gone() is None
    assert kept() is None


def test_a_first_round_trip_that_no_clock_can_hold() -> None:
    link = Link(initial_rtt_s=1e300)
    link.victim._begin_path()
    assert link.victim._transport.probe_timeout_s > 0
