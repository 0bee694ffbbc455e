"""A network in one process: two ends of QUIC, a virtual clock, and a path that misbehaves by seed.

`Network` moves datagrams between `ClientNode` and `ServerNode` objects and fires their timers. No
socket, no thread, no wall clock: a transfer of a minute on a slow line takes as long here as
its computations. What the path does to each datagram is drawn from one seeded generator.
"""

from __future__ import annotations

import heapq
import os
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aioquic.buffer import Buffer
from aioquic.quic import events
from aioquic.quic.packet import (
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from midstream.quic._protocol import CONNECTION_ID_BYTES, Protocol
from midstream.quic._transport import StreamState
from midstream.quic.config import Config

Address = tuple[Any, ...]

CLIENT: Address = ("192.0.2.1", 40_000)
SERVER: Address = ("203.0.113.1", 443)
#: Ethernet, less the headers of IPv4 and UDP: what a larger datagram does not fit through.
MTU = 1472
_VERSIONS = {"v1": QuicProtocolVersion.VERSION_1, "v2": QuicProtocolVersion.VERSION_2}


@dataclass
class Path:
    """What happens to datagrams in one direction."""

    latency_s: float = 0.015
    #: Bits per second; None: as many as come.
    bandwidth: float | None = None
    #: Datagrams that wait for the line at once; more are dropped.
    queue: int = 25
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    #: Share of datagrams that are delayed by `reorder_s` on top, and so overtaken.
    reorder: float = 0.0
    reorder_s: float = 0.005
    mtu: int = MTU
    #: From when until when nothing passes.
    blackholes: list[tuple[float, float]] = field(default_factory=list)
    #: Numbers of datagrams, from 0, that vanish.
    drop: frozenset[int] = frozenset()
    free_at: float = 0.0
    sent: int = 0
    waiting: deque[float] = field(default_factory=deque)

    def arrivals(
        self, data: bytes, now: float, rng: random.Random
    ) -> Iterator[tuple[float, bytes]]:
        """When, and as what, a datagram sent now comes out: not at all, once or twice."""
        number = self.sent
        self.sent += 1
        # Always as many draws for a datagram, that a change of one rate leaves the others alone.
        lost, twice, spoilt, late = (rng.random() for _ in range(4))
        at = now
        if self.bandwidth is not None:
            while self.waiting and self.waiting[0] <= now:
                self.waiting.popleft()
            if len(self.waiting) >= self.queue:
                return
            at = max(now, self.free_at) + len(data) * 8 / self.bandwidth
            self.free_at = at
            self.waiting.append(at)
        if len(data) > self.mtu or number in self.drop or lost < self.loss:
            return
        if any(start <= now < stop for start, stop in self.blackholes):
            return
        if spoilt < self.corrupt:
            changed = bytearray(data)
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            data = bytes(changed)
        at += self.latency_s + (self.reorder_s if late < self.reorder else 0.0)
        yield at, data
        if twice < self.duplicate:
            yield at + self.latency_s / 2, data


@dataclass(frozen=True)
class Passed:
    """A datagram as it was sent, and again as it arrived."""

    at: float
    from_client: bool
    arrived: bool
    data: bytes
    source: Address
    target: Address


class Network:
    """Clients and one server, with a path each way; times in seconds of a virtual clock."""

    def __init__(self, seed: int, up: Path | None = None, down: Path | None = None) -> None:
        self.rng = random.Random(seed)
        self.up = up if up is not None else Path()
        self.down = down if down is not None else Path()
        self.now = 0.0
        self.nodes: dict[Address, Node] = {}
        self.record: list[Passed] = []
        self._flying: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._flying, (when, next(self._order), action))

    def send(self, data: bytes, source: Address, target: Address, from_client: bool) -> None:
        """Put a datagram on the path."""
        self.record.append(Passed(self.now, from_client, False, data, source, target))
        path = self.up if from_client else self.down
        for when, arrived in path.arrivals(data, self.now, self.rng):
            self.at(
                when,
                lambda arrived=arrived: self.deliver(arrived, source, target, from_client),
            )

    def deliver(self, data: bytes, source: Address, target: Address, from_client: bool) -> None:
        """Bring a datagram to whoever has its address now."""
        # An address that was moved away from is nobody's.
        node = self.nodes.get(target[:2])
        if node is not None:
            self.record.append(Passed(self.now, from_client, True, data, source, target))
            node.receive(data, source)

    def run(
        self, until: Callable[[], bool], limit_s: float = 60.0, most_steps: int = 2_000_000
    ) -> None:
        """Let time pass until a condition holds; an error when it does not come about."""
        deadline = self.now + limit_s
        for node in list(self.nodes.values()):
            node.step()
        stuck = 0
        for _ in range(most_steps):
            if until():
                return
            due = min(
                (when for node in self.nodes.values() if (when := node.timer()) is not None),
                default=None,
            )
            if self._flying and (due is None or self._flying[0][0] <= due):
                when, _, action = heapq.heappop(self._flying)
                self._advance(when, deadline)
                action()
                stuck = 0
                continue
            if due is None:
                raise AssertionError(f"nothing will ever happen again, at {self.now:.3f} s")
            stuck = stuck + 1 if due <= self.now else 0
            if stuck > 1000:
                raise AssertionError(f"a timer is due again and again at {self.now:.6f} s")
            self._advance(due, deadline)
            for node in list(self.nodes.values()):
                when_due = node.timer()
                if when_due is not None and when_due <= self.now:
                    node.fire()
        raise AssertionError(f"{most_steps} steps were not enough, at {self.now:.3f} s")

    def _advance(self, when: float, deadline: float) -> None:
        self.now = max(self.now, when)
        if self.now > deadline:
            raise AssertionError(f"not done at {self.now:.3f} s of virtual time")


class Node:
    """Something with an address that receives datagrams and has timers."""

    def receive(self, data: bytes, source: Address) -> None:
        raise NotImplementedError

    def step(self) -> None:
        raise NotImplementedError

    def timer(self) -> float | None:
        raise NotImplementedError

    def fire(self) -> None:
        raise NotImplementedError


class Peer:
    """One connection: its protocol, its events, and what the application does with its streams."""

    def __init__(self, network: Network, protocol: Protocol, is_client: bool) -> None:
        self.network = network
        self.protocol = protocol
        self.is_client = is_client
        self.address: Address = CLIENT
        self.events: list[events.QuicEvent] = []
        self.handshake: events.HandshakeCompleted | None = None
        self.handshake_at: float | None = None
        self.terminated: events.ConnectionTerminated | None = None
        self.issued: set[bytes] = set()
        self.retired: set[bytes] = set()
        #: Called after everything that may have changed a stream.
        self.application: Callable[[Peer], None] = lambda peer: None
        self.touched: list[StreamState] = []
        self.opened: list[StreamState] = []

    def step(self) -> None:
        """Run the application, and send what there is."""
        while (event := self.protocol.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, events.HandshakeCompleted):
                self.handshake, self.handshake_at = event, self.network.now
            elif isinstance(event, events.ConnectionTerminated):
                self.terminated = event
            elif isinstance(event, events.ConnectionIdIssued):
                self.issued.add(event.connection_id)
            elif isinstance(event, events.ConnectionIdRetired):
                self.retired.add(event.connection_id)
        self.touched = self.protocol.touched()
        self.opened = self.protocol.opened()
        self.application(self)
        for data, target in self.protocol.datagrams_to_send(self.network.now):
            self.network.send(data, self.address, target, self.is_client)

    def receive(self, data: bytes, source: Address) -> None:
        self.protocol.receive_datagrams([data], source, self.network.now)
        self.step()

    def close(self) -> None:
        """Close the connection, and say so to the other end."""
        self.protocol.close(error_code=0, reason_phrase="")
        self.step()


class ClientNode(Peer, Node):
    """A client."""

    def __init__(
        self,
        network: Network,
        config: Config,
        *,
        address: Address = CLIENT,
        server: Address = SERVER,
        **options: Any,
    ) -> None:
        protocol = Protocol(config, True, server_name="localhost", **options)
        Peer.__init__(self, network, protocol, True)
        self.server = server
        self.move(address)

    def move(self, address: Address) -> None:
        """Send from another address from now on, as a NAT that rebinds does."""
        self.network.nodes.pop(self.address[:2], None)
        self.address = address
        self.network.nodes[address[:2]] = self

    def connect(self) -> None:
        """Send the first flight."""
        self.protocol.connect(self.server, self.network.now)
        self.step()

    def timer(self) -> float | None:
        return self.protocol.get_timer()

    def fire(self) -> None:
        self.protocol.handle_timer(self.network.now)
        self.step()

    def leave(self) -> None:
        """Close, and let go of the address."""
        self.close()
        self.network.nodes.pop(self.address[:2], None)


class ServerNode(Node):
    """A server of any number of connections, routed by identifier; it retries if told to."""

    def __init__(
        self,
        network: Network,
        config: Config,
        *,
        address: Address = SERVER,
        retry: bool = False,
        tickets: dict[bytes, Any] | None = None,
        application: Callable[[Peer], None] = lambda peer: None,
    ) -> None:
        self.network = network
        self.config = config
        self.address = address
        self.tokens = QuicRetryTokenHandler() if retry else None
        self.tickets = tickets
        self.application = application
        self.peers: list[Peer] = []
        self.routes: dict[bytes, Peer] = {}
        self.seen: Counter[str] = Counter()
        network.nodes[address[:2]] = self

    def receive(self, data: bytes, source: Address) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CONNECTION_ID_BYTES)
        except ValueError:
            self.seen["malformed"] += 1
            return
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            return
        if header.version is not None and header.version not in [
            _VERSIONS[name] for name in self.config.versions
        ]:
            if len(data) >= 1200:
                self.seen["version"] += 1
                reply = encode_quic_version_negotiation(
                    source_cid=header.destination_cid,
                    destination_cid=header.source_cid,
                    supported_versions=[_VERSIONS[name] for name in self.config.versions],
                )
                self.network.send(reply, self.address, source, False)
            return
        peer = self.routes.get(header.destination_cid)
        if peer is None:
            if header.packet_type != QuicPacketType.INITIAL or len(data) < 1200:
                self.seen["stray"] += 1
                return
            peer = self._accept(header, source)
            if peer is None:
                return
        peer.receive(data, source)
        self._reroute(peer)

    def _accept(self, header: Any, source: Address) -> Peer | None:
        original, retried = header.destination_cid, None
        if self.tokens is not None:
            if not header.token:
                self.seen["retry"] += 1
                retried = os.urandom(CONNECTION_ID_BYTES)
                token = self.tokens.create_token(
                    address=source[:2],
                    original_destination_connection_id=original,
                    retry_source_connection_id=retried,
                    now=self.network.now,
                )
                reply = encode_quic_retry(
                    version=header.version,
                    source_cid=retried,
                    destination_cid=header.source_cid,
                    original_destination_cid=original,
                    retry_token=token,
                )
                self.network.send(reply, self.address, source, False)
                return None
            try:
                original = self.tokens.validate_token(
                    address=source[:2],
                    destination_cid=header.destination_cid,
                    token=header.token,
                    now=self.network.now,
                )
            except ValueError:
                self.seen["token"] += 1
                return None
            retried = header.destination_cid
        options: dict[str, Any] = {}
        if self.tickets is not None:
            options["session_ticket_fetcher"] = lambda label: self.tickets.pop(label, None)
            options["session_ticket_handler"] = lambda ticket: self.tickets.update(
                {ticket.ticket: ticket}
            )
        protocol = Protocol(
            self.config,
            False,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
            **options,
        )
        peer = Peer(self.network, protocol, False)
        peer.address = self.address
        peer.application = self.application
        self.peers.append(peer)
        self.routes[header.destination_cid] = peer
        self.routes[protocol.host_cid] = peer
        return peer

    def _reroute(self, peer: Peer) -> None:
        for cid in peer.issued:
            self.routes[cid] = peer
        for cid in peer.retired:
            self.routes.pop(cid, None)
        peer.issued.clear()
        peer.retired.clear()
        if peer.terminated is not None:
            self.peers = [other for other in self.peers if other is not peer]
            self.routes = {cid: other for cid, other in self.routes.items() if other is not peer}

    def step(self) -> None:
        for peer in list(self.peers):
            peer.step()
            self._reroute(peer)

    def timer(self) -> float | None:
        return min(
            (when for peer in self.peers if (when := peer.protocol.get_timer()) is not None),
            default=None,
        )

    def fire(self) -> None:
        for peer in list(self.peers):
            when = peer.protocol.get_timer()
            if when is not None and when <= self.network.now:
                peer.protocol.handle_timer(self.network.now)
                peer.step()
                self._reroute(peer)


# An application: the client names a size and a seed, the server answers with that many bytes.


def content(size: int, seed: int) -> bytes:
    """What a request for `size` bytes under `seed` is answered with."""
    return random.Random(seed).randbytes(size)


class FileServer:
    """Answers each request stream with what it asks for; one object for all connections."""

    def __init__(self) -> None:
        self.requests: dict[StreamState, bytearray] = {}
        self.answered = 0
        self.early = 0
        self.most_open = 0

    def __call__(self, peer: Peer) -> None:
        for stream in peer.opened:
            self.requests[stream] = bytearray()
        self.most_open = max(self.most_open, len(peer.protocol.streams()))
        for stream in {*peer.opened, *peer.touched}:
            request = self.requests.get(stream)
            if request is None:
                continue
            request += stream.take()
            if stream.eof:
                del self.requests[stream]
                size, seed = map(int, request.split())
                self.answered += 1
                self.early += stream.early
                stream.write(content(size, seed))
                stream.finish()


class Download:
    """Requests files, as many at once as the server lets, and keeps what comes."""

    def __init__(self, client: ClientNode, sizes: list[int], seed: int = 0) -> None:
        self.client = client
        self.waiting = deque((size, seed + i) for i, size in enumerate(sizes))
        self.open: dict[StreamState, tuple[int, int, list[bytes]]] = {}
        self.done = 0
        self.received = 0
        self.expected = len(sizes)
        self.finished_at: float | None = None
        client.application = self

    def __call__(self, peer: Peer) -> None:
        while self.waiting:
            stream = peer.protocol.open_stream(False)
            if stream is None:
                break
            size, seed = self.waiting.popleft()
            self.open[stream] = size, seed, []
            stream.write(b"%d %d" % (size, seed))
            stream.finish()
        for stream in peer.touched:
            if stream not in self.open:
                continue
            size, seed, parts = self.open[stream]
            data = stream.take()
            if data:
                self.received += len(data)
                parts.append(data)
            if stream.eof:
                del self.open[stream]
                if b"".join(parts) != content(size, seed):
                    raise AssertionError(f"stream {stream.stream_id} came altered")
                self.done += 1
                if self.complete:
                    self.finished_at = peer.network.now

    @property
    def complete(self) -> bool:
        return self.done == self.expected
