"""Random conversations over a bad path: whatever both ends do, streams keep their promises."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from quic.link import CLIENT, ClientNode, Network, Path, Peer, ServerNode

from midstream.quic._transport import StreamState
from midstream.quic.certificates import Identity
from midstream.quic.config import Config

IDENTITY = Identity.development()


@dataclass
class Half:
    """One direction of one stream: what was written at one end and taken at the other."""

    written: bytearray = field(default_factory=bytearray)
    taken: bytearray = field(default_factory=bytearray)
    finished: bool = False
    reset: int | None = None
    stopped: int | None = None
    ended: bool = False


class Talker:
    """An end that opens streams and writes, finishes, resets, stops and reads as it pleases."""

    def __init__(self, halves: dict[tuple[int, bool], Half], rng: random.Random, most: int) -> None:
        self.halves = halves
        self.rng = rng
        self.left = most
        self.sending: dict[StreamState, Half] = {}
        self.receiving: dict[StreamState, Half] = {}

    def half(self, stream: StreamState, by_client: bool) -> Half:
        return self.halves.setdefault((stream.stream_id, by_client), Half())

    def adopt(self, peer: Peer, stream: StreamState) -> None:
        if stream.can_send:
            self.sending[stream] = self.half(stream, peer.is_client)
        if stream.can_receive:
            self.receiving[stream] = self.half(stream, not peer.is_client)

    def __call__(self, peer: Peer) -> None:
        for stream in peer.opened:
            self.adopt(peer, stream)
        while self.left and len(self.sending) < 30:
            stream = peer.protocol.open_stream(
                self.rng.random() < 0.3, self.rng.randrange(8), self.rng.random() < 0.5
            )
            if stream is None:
                break
            self.left -= 1
            self.adopt(peer, stream)
        for stream, half in list(self.sending.items()):
            self.send(stream, half)
        for stream, half in list(self.receiving.items()):
            self.receive(stream, half)

    def send(self, stream: StreamState, half: Half) -> None:
        if stream.stopped_code is not None:
            assert half.stopped == stream.stopped_code
            half.reset = stream.stopped_code
            del self.sending[stream]
            return
        if stream.unacked > 100_000:
            return
        drawn = self.rng.random()
        if drawn < 0.4:
            data = self.rng.randbytes(self.rng.choice([0, 1, 10, 300, 5000, 40_000]))
            stream.write(data)
            half.written += data
        elif drawn < 0.45:
            stream.set_priority(self.rng.randrange(8), self.rng.random() < 0.5)
        elif drawn < 0.6:
            stream.finish()
            half.finished = True
            del self.sending[stream]
        elif drawn < 0.63:
            half.reset = self.rng.randrange(1000)
            stream.reset(half.reset)
            del self.sending[stream]

    def receive(self, stream: StreamState, half: Half) -> None:
        if self.rng.random() < 0.3:
            return  # a slow reader: flow control must hold, and let go again
        half.taken += stream.take(self.rng.choice([-1, 7, 3000]))
        assert half.taken == half.written[: len(half.taken)]
        if stream.eof:
            assert half.finished
            assert half.taken == half.written
            half.ended = True
        elif stream.reset_code is not None:
            assert stream.reset_code == half.reset
            half.ended = True
        elif self.rng.random() < 0.01:
            half.stopped = self.rng.randrange(1000)
            stream.stop(half.stopped)
            half.ended = True
        if half.ended:
            del self.receiving[stream]

    @property
    def idle(self) -> bool:
        return not (self.left or self.sending or self.receiving)


WINDOWS = {"stream_window": 50_000, "connection_window": 120_000, "max_streams_bidi": 12}


@pytest.mark.parametrize("seed", [*range(10), 145, 153])
def test_a_conversation_keeps_its_promises(seed: int) -> None:
    rng = random.Random(seed)
    trouble: dict[str, Any] = {
        "latency_s": rng.choice([0.001, 0.02]),
        "loss": rng.choice([0.0, 0.02, 0.1]),
        "corrupt": rng.choice([0.0, 0.05]),
        "duplicate": rng.choice([0.0, 0.1]),
        "reorder": rng.choice([0.0, 0.2]),
        "bandwidth": rng.choice([None, 20e6]),
        "queue": 60,
    }
    network = Network(seed, Path(**trouble), Path(**trouble))
    halves: dict[tuple[int, bool], Half] = {}
    talkers = [Talker(halves, rng, 60), Talker(halves, rng, 60)]
    server = ServerNode(
        network,
        Config(identity=IDENTITY, idle_timeout_s=600, **WINDOWS),
        application=talkers[0],
    )
    client = ClientNode(network, Config(ca=IDENTITY.pem, idle_timeout_s=600, **WINDOWS))
    client.application = talkers[1]
    client.connect()

    def disturb() -> None:
        drawn = rng.random()
        if client.protocol._handshake_confirmed:
            if drawn < 0.1:
                client.move((CLIENT[0], rng.randrange(1024, 65536)))
            elif drawn < 0.2:
                client.move((f"198.51.100.{rng.randrange(200)}", rng.randrange(1024, 65536)))
                client.protocol.rebind(network.now)
            elif drawn < 0.3:
                client.protocol.request_key_update()
        # Readers that were slow look again.
        for node in (client, server):
            node.step()
        network.at(network.now + 0.02, disturb)

    network.at(0.1, disturb)
    network.run(lambda: all(talker.idle for talker in talkers), 600)
    peer = server.peers[0]
    assert client.terminated is None
    # Everything is acknowledged in the end, and no stream is kept.
    network.run(lambda: not (client.protocol.streams() or peer.protocol.streams()), 60)
    assert len(halves) > 120
    assert sum(half.finished and half.ended for half in halves.values()) > 50
    # What was thrown away was given back: the windows are as wide as at first, or wider.
    client.application = peer.application = read_all
    stream = client.protocol.open_stream(False)
    assert stream is not None
    stream.write(bytes(300_000))
    stream.finish()
    network.run(lambda: stream.all_acked, 60)


def read_all(peer: Peer) -> None:
    for stream in peer.touched:
        stream.take()


@pytest.mark.parametrize("seed", range(3))
def test_datagrams_come_whole_or_not_at_all(seed: int) -> None:
    network = Network(seed, Path(loss=0.1, duplicate=0.1, reorder=0.3), Path())
    server = ServerNode(network, Config(identity=IDENTITY))
    client = ClientNode(network, Config(ca=IDENTITY.pem))
    client.connect()
    network.run(lambda: client.protocol._handshake_confirmed)
    rng = random.Random(seed)
    sent = [
        rng.randbytes(rng.randrange(4, client.protocol.max_datagram_payload)) for _ in range(300)
    ]
    for data in sent:
        client.protocol.send_datagram(data)
        client.step()
        network.run(lambda end=network.now + 0.002: network.now >= end)
    network.run(lambda: client.protocol.stats()["bytes_in_flight"] == 0)
    came = [event.data for event in server.peers[0].events if hasattr(event, "data")]
    assert 200 < len(came) <= len(sent)
    assert set(came) <= set(sent)
    assert len(set(came)) == len(came)
