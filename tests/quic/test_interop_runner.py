"""The QUIC interop runner's cases, between two of our own ends on a simulated path.

Each case is one of https://github.com/quic-interop/quic-interop-runner, with the path that its
simulator makes: 15 ms one way, 10 Mbit/s, a queue of 25 datagrams. What the runner reads from
captures is asserted of the datagrams that passed. Seeds are fixed; nothing waits for a real clock.
"""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from aioquic import tls
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, pull_quic_header
from cryptography.hazmat.primitives.serialization import Encoding
from quic.link import (
    CLIENT,
    SERVER,
    Address,
    ClientNode,
    Download,
    FileServer,
    Network,
    Path,
    Peer,
    ServerNode,
    content,
)

from midstream.quic._protocol import CONNECTION_ID_BYTES
from midstream.quic._qlog import QlogFolder, read_qlog
from midstream.quic._transport import StreamState
from midstream.quic.certificates import Authority, Identity
from midstream.quic.config import Config

IDENTITY = Identity.development()
ONE_RTT = tls.Epoch.ONE_RTT


def line(**changes: Any) -> Path:
    """The runner's path in one direction."""
    return Path(**{"latency_s": 0.015, "bandwidth": 10e6, "queue": 25, **changes})


class Scene:
    """A network with a file server, and clients as they are needed."""

    def __init__(
        self,
        seed: int = 1,
        *,
        up: Path | None = None,
        down: Path | None = None,
        server: dict[str, Any] | None = None,
        address: Address = SERVER,
        **options: Any,
    ) -> None:
        self.network = Network(seed, up if up is not None else line(), down or line())
        self.files = FileServer()
        self.address = address
        config = Config(**{"identity": IDENTITY, "alpn": ("hq",), **(server or {})})
        self.server = ServerNode(
            self.network, config, address=address, application=self.files, **options
        )

    def client(
        self, address: Address = CLIENT, options: dict[str, Any] | None = None, **changes: Any
    ) -> ClientNode:
        config = Config(**{"ca": IDENTITY.pem, "alpn": ("hq",), **changes})
        return ClientNode(
            self.network, config, address=address, server=self.address, **(options or {})
        )

    def download(
        self, sizes: list[int], client: ClientNode | None = None, limit_s: float = 60.0
    ) -> Download:
        """Fetch files of these sizes over a connection, a new one if none is given."""
        fresh = client is None
        client = client or self.client()
        download = Download(client, sizes)
        if fresh or client.handshake is None:
            client.connect()
        else:
            client.step()
        self.network.run(lambda: download.complete, limit_s)
        return download

    @property
    def peer(self) -> Peer:
        return self.server.peers[-1]


def kinds(data: bytes) -> list[QuicPacketType]:
    """Kinds of the packets in a datagram."""
    found = []
    buffer = Buffer(data=data)
    while not buffer.eof():
        start = buffer.tell()
        try:
            header = pull_quic_header(buffer, host_cid_length=CONNECTION_ID_BYTES)
        except ValueError:  # what pads a datagram beyond its packets
            break
        found.append(header.packet_type)
        buffer.seek(start + header.packet_length)
    return found


def check_amplification(network: Network, server: Address = SERVER) -> int:
    """The server sends no address more than thrice what came from it, before it is validated.

    Returns how many bytes it sent so.
    """
    came: dict[Address, int] = {}
    went: dict[Address, int] = {}
    validated: set[Address] = set()
    for passed in network.record:
        if passed.from_client and passed.arrived:
            came[passed.source] = came.get(passed.source, 0) + len(passed.data)
            if QuicPacketType.HANDSHAKE in kinds(passed.data):
                validated.add(passed.source)
        elif not passed.from_client and not passed.arrived and passed.target not in validated:
            went[passed.target] = went.get(passed.target, 0) + len(passed.data)
            assert went[passed.target] <= 3 * came.get(passed.target, 0)
    return sum(went.values())


def test_handshake() -> None:
    scene = Scene()
    download = scene.download([1024])
    client = download.client
    assert client.handshake is not None
    assert not client.handshake.session_resumed
    # One round trip, and the time the certificates take on the line.
    assert client.handshake_at is not None
    assert client.handshake_at < 0.035
    assert download.finished_at is not None
    assert download.finished_at < 0.070
    first = scene.network.record[0]
    assert kinds(first.data) == [QuicPacketType.INITIAL]
    assert len(first.data) >= 1200
    for passed in scene.network.record:
        if QuicPacketType.INITIAL in kinds(passed.data):
            assert len(passed.data) >= 1200
    assert not scene.server.seen
    check_amplification(scene.network)
    client.close()
    scene.network.run(lambda: not scene.server.peers)


def test_transfer() -> None:
    sizes = [2 << 20, 3 << 20, 5 << 20]
    scene = Scene()
    windows = {"stream_window": 256 << 10, "connection_window": 512 << 10}
    download = scene.download(sizes, scene.client(**windows))
    assert download.received == sum(sizes)
    # 10 MiB at 10 Mbit/s are 8.4 s: the line must be kept busy.
    assert download.finished_at is not None
    assert download.finished_at < 11
    scene.network.run(lambda: not scene.peer.protocol.streams(), 1.0)


def test_longrtt() -> None:
    scene = Scene(up=line(latency_s=0.75), down=line(latency_s=0.75))
    download = scene.download([5 << 20])
    client = download.client
    assert client.handshake_at is not None
    # Probes go out before the first answer can come back; they must not break anything.
    assert 1.5 <= client.handshake_at < 1.7
    hellos = [
        passed
        for passed in scene.network.record
        if passed.from_client and not passed.arrived and passed.at < 1.4
    ]
    assert len(hellos) >= 2
    assert client.protocol.stats()["rtt_min_s"] >= 1.5


def test_chacha20() -> None:
    scene = Scene()
    download = scene.download(
        [1 << 20], scene.client(cipher_suites=("TLS_CHACHA20_POLY1305_SHA256",))
    )
    for protocol in (download.client.protocol, scene.peer.protocol):
        assert (
            protocol._cryptos[ONE_RTT].send.cipher_suite == tls.CipherSuite.CHACHA20_POLY1305_SHA256
        )


@pytest.mark.parametrize("limit", [1, 100, 2000])
def test_multiplexing(limit: int) -> None:
    scene = Scene(server={"max_streams_bidi": limit})
    download = scene.download([32] * 1999 if limit > 1 else [32] * 50)
    assert download.done == scene.files.answered
    assert scene.files.most_open <= limit
    check_amplification(scene.network)


def test_retry() -> None:
    scene = Scene(retry=True)
    download = scene.download([10_000])
    assert scene.server.seen == {"retry": 1}
    assert len(scene.server.peers) == 1
    assert download.client.handshake_at is not None
    assert download.client.handshake_at < 0.07
    first, second = initials(scene.network)[:2]
    assert not first.token
    assert second.token
    assert second.destination_cid != first.destination_cid


def initials(network: Network) -> list[Any]:
    """Headers of the client's Initial packets, as sent."""
    found = []
    for passed in network.record:
        if passed.from_client and not passed.arrived:
            header = pull_quic_header(Buffer(data=passed.data), host_cid_length=CONNECTION_ID_BYTES)
            if header.packet_type == QuicPacketType.INITIAL:
                found.append(header)
    return found


def test_a_retry_token_is_bound_to_its_address() -> None:
    scene = Scene(retry=True)
    client = scene.client()
    Download(client, [1000])
    client.connect()
    # The client's address changes after the Retry was sent to the old one, and reached it.
    scene.network.run(lambda: len(initials(scene.network)) > 1, 1.0)
    client.move(("192.0.2.77", 5))
    token = initials(scene.network)[1].token
    late = scene.network.record[-1]
    assert token
    scene.network.deliver(late.data, client.address, SERVER, True)
    assert scene.server.seen["token"] == 1
    assert not scene.server.peers


def resumable(**server: Any) -> tuple[Scene, list[Any]]:
    """A scene after one connection, and the tickets that its server gave."""
    scene = Scene(tickets={}, server=server)
    tickets: list[Any] = []
    client = scene.client(options={"session_ticket_handler": tickets.append})
    scene.download([5000], client)
    scene.network.run(lambda: bool(tickets), 1.0)
    client.leave()
    scene.network.run(lambda: not scene.server.peers)
    assert tickets
    scene.network.record.clear()
    return scene, tickets


def server_bytes(network: Network) -> int:
    return sum(
        len(passed.data)
        for passed in network.record
        if not passed.from_client and not passed.arrived
    )


def test_resumption() -> None:
    scene, tickets = resumable()
    client = scene.client(("192.0.2.2", 2), {"session_ticket": tickets[0]})
    scene.download([5000], client)
    assert client.handshake is not None
    assert client.handshake.session_resumed
    assert not client.handshake.early_data_accepted
    assert scene.peer.handshake is not None
    assert scene.peer.handshake.session_resumed
    assert scene.files.early == 0


def test_zerortt() -> None:
    scene, tickets = resumable(early_data=True)
    began = scene.network.now
    client = scene.client(("192.0.2.2", 2), {"session_ticket": tickets[0]}, early_data=True)
    download = scene.download([25] * 40, client)
    assert client.handshake is not None
    assert client.handshake.early_data_accepted
    assert scene.files.early == 40
    # Requests go with the first flight, answers with the second.
    assert download.finished_at is not None
    assert download.finished_at - began < 0.05
    assert any(QuicPacketType.ZERO_RTT in kinds(passed.data) for passed in scene.network.record)
    check_amplification(scene.network)


def test_zerortt_through_a_retry() -> None:
    scene, tickets = resumable(early_data=True)
    again = Scene(retry=True, tickets=scene.server.tickets, server={"early_data": True})
    client = again.client(options={"session_ticket": tickets[0]}, early_data=True)
    again.download([250] * 40, client)
    assert again.server.seen["retry"] == 1
    assert client.handshake is not None
    assert client.handshake.early_data_accepted


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_zerortt_that_is_refused_is_sent_again(loss: float) -> None:
    _, tickets = resumable(early_data=True)
    elsewhere = Scene(seed=5, up=line(loss=loss), down=line(loss=loss), tickets={})
    client = elsewhere.client(options={"session_ticket": tickets[0]}, early_data=True)
    elsewhere.download([2000] * 40, client)
    assert client.handshake is not None
    assert not client.handshake.early_data_accepted
    assert elsewhere.files.answered == 40
    assert elsewhere.files.early == 0


def test_zerortt_refused_by_a_server_with_lower_limits_keeps_to_them() -> None:
    # RFC 9000, section 7.4.1: of a refusal only the new limits count.
    _, tickets = resumable(early_data=True)
    lower = {"max_streams_bidi": 3, "stream_window": 2000, "connection_window": 5000}
    elsewhere = Scene(seed=5, tickets={}, server={**lower, "max_stream_window": 2000})
    got: dict[int, bytes] = {}

    def collect(peer: Peer) -> None:
        for stream in peer.touched:
            got[stream.stream_id] = got.get(stream.stream_id, b"") + stream.take()
            if stream.eof and not stream.finished:
                stream.finish()

    elsewhere.server.application = collect
    client = elsewhere.client(options={"session_ticket": tickets[0]}, early_data=True)
    wanted = {}

    def begin(peer: Peer) -> None:
        for stream in peer.touched:
            stream.take()
        while len(wanted) < 12 and (stream := peer.protocol.open_stream(False)) is not None:
            wanted[stream.stream_id] = bytes([len(wanted)]) * 3000
            stream.write(wanted[stream.stream_id])
            stream.finish()
            if len(wanted) % 4 == 0:
                wanted[stream.stream_id] = b""
                stream.reset(7)

    client.application = begin
    client.connect()
    elsewhere.network.run(
        lambda: sum(map(len, got.values())) == sum(map(len, wanted.values())), 20.0
    )
    assert client.handshake is not None
    assert not client.handshake.early_data_accepted
    assert {number: data for number, data in wanted.items() if data} == {
        number: data for number, data in got.items() if data
    }


def test_zerortt_is_taken_once() -> None:
    scene, tickets = resumable(early_data=True)
    for number in (2, 3):
        client = scene.client(
            ("192.0.2.2", number), {"session_ticket": tickets[0]}, early_data=True
        )
        scene.download([250], client)
        assert client.handshake is not None
        assert client.handshake.early_data_accepted == (number == 2)
        client.leave()
        scene.network.run(lambda: not scene.server.peers)
    assert scene.files.early == 1


# -- early data on the wire ------------------------------------------------------------------------

UPLOAD = 8000


def upload_early(
    scene: Scene, ticket: Any, folder: pathlib.Path, address: Address = CLIENT
) -> tuple[ClientNode, list[tuple[str, int, int]], list[bytes]]:
    """A client that sends `UPLOAD` bytes with a ticket.

    Returns also the pieces as its packets had them, from the qlog: kind of packet, offset and
    length; and what each stream brought to the server's application.
    """
    got: dict[StreamState, bytes] = {}

    def collect(peer: Peer) -> None:
        for stream in {*peer.opened, *peer.touched}:
            got[stream] = got.get(stream, b"") + stream.take()

    scene.server.application = collect
    logs = QlogFolder(str(folder))
    client = scene.client(
        address, {"session_ticket": ticket, "quic_logger": logs}, early_data=True, probe_mtu=False
    )
    sent: list[StreamState] = []

    def send(peer: Peer) -> None:
        if not sent:
            sent.append(peer.protocol.open_stream(False))
            sent[0].write(content(UPLOAD, 3))
            sent[0].finish()

    client.application = send
    client.connect()
    scene.network.run(lambda: bool(client.handshake) and sent[0].all_acked)
    client.close()
    logs.end_trace(client.protocol._quic_logger)
    (file,) = folder.iterdir()
    _, *log = read_qlog(file)
    pieces = [
        (event["data"]["header"]["packet_type"], frame["offset"], frame["length"])
        for event in log
        if event["name"].endswith("packet_sent")
        for frame in event["data"]["frames"]
        if frame["frame_type"] == "stream" and frame["length"]
    ]
    return client, pieces, [data for data in got.values() if data]


def covered(pieces: list[tuple[str, int, int]], kind: str) -> list[int]:
    """How often each byte was sent in packets of a kind, each number of times once."""
    times = [0] * UPLOAD
    for what, offset, length in pieces:
        if what == kind:
            for at in range(offset, offset + length):
                times[at] += 1
    return sorted(set(times))


def test_zerortt_that_is_accepted_is_sent_once(tmp_path: pathlib.Path) -> None:
    scene, tickets = resumable(early_data=True)
    client, pieces, got = upload_early(scene, tickets[0], tmp_path, ("192.0.2.2", 2))
    assert client.handshake is not None
    assert client.handshake.early_data_accepted
    assert got == [content(UPLOAD, 3)]
    assert covered(pieces, "0RTT") == [1]
    assert covered(pieces, "1RTT") == [0]


def test_zerortt_that_is_refused_is_sent_once_more_and_taken_once(tmp_path: pathlib.Path) -> None:
    _, tickets = resumable(early_data=True)
    elsewhere = Scene(seed=5, tickets={}, server={"early_data": True})
    client, pieces, got = upload_early(elsewhere, tickets[0], tmp_path)
    assert client.handshake is not None
    assert not client.handshake.early_data_accepted
    assert got == [content(UPLOAD, 3)]
    assert covered(pieces, "0RTT") == [1]
    assert covered(pieces, "1RTT") == [1]
    stats = client.protocol.stats()
    assert stats["packets_lost"] == 0, "what was refused was not lost"


def test_zerortt_whose_ticket_was_used_arrives_once(tmp_path: pathlib.Path) -> None:
    scene, tickets = resumable(early_data=True)
    accepted = []
    for number in (2, 3):
        folder = tmp_path / str(number)
        client, pieces, got = upload_early(scene, tickets[0], folder, ("192.0.2.2", number))
        assert client.handshake is not None
        accepted.append(client.handshake.early_data_accepted)
        assert got == [content(UPLOAD, 3)]
        assert covered(pieces, "0RTT") == [1]
        scene.network.run(lambda: not scene.server.peers)
    assert accepted == [True, False]


@pytest.mark.parametrize("seed", range(5))
def test_zerortt_on_a_bad_path_arrives_once(seed: int, tmp_path: pathlib.Path) -> None:
    _, tickets = resumable(early_data=True)
    bad = {"loss": 0.15, "duplicate": 0.2, "reorder": 0.2}
    for known in (True, False):
        scene, tickets = resumable(early_data=True)
        path, back = line(**bad), line(**bad)
        store = scene.server.tickets if known else {}
        other = Scene(seed, up=path, down=back, tickets=store, server={"early_data": True})
        client, _, got = upload_early(other, tickets[0], tmp_path / str(known))
        assert client.handshake is not None
        assert client.handshake.early_data_accepted in (known, False)
        assert got == [content(UPLOAD, 3)]


# -- the address is not validated yet -----------------------------------------------------------


def long_chain() -> Identity:
    """An identity whose certificates alone are more than the server may send at first."""
    authority = Authority.development()
    for number in range(8):
        authority = authority.intermediate(f"intermediate {number} " + "x" * 45)
    return authority.issue(("localhost",))


def test_amplificationlimit() -> None:
    identity = long_chain()
    scene = Scene(up=line(drop=frozenset(range(1, 6))), server={"identity": identity})
    download = scene.download([1000], scene.client(insecure_skip_verify=True, ca=None))
    assert check_amplification(scene.network) >= 2400
    assert download.client.handshake is not None
    certificates = sum(len(one.public_bytes(Encoding.DER)) for one in identity.chain)
    assert certificates > 3 * 1200


def test_blackhole() -> None:
    holes = [(1.0, 3.0)]
    scene = Scene(up=line(blackholes=holes), down=line(blackholes=holes))
    download = scene.download([5 << 20])
    assert download.finished_at is not None
    # Probe time-outs double: what begins again within about the length of the outage.
    assert download.finished_at < 12


@pytest.mark.parametrize("by_client", [True, False])
def test_keyupdate(by_client: bool) -> None:
    scene = Scene()
    client = scene.client()
    download = Download(client, [3 << 20])
    client.connect()
    for phase in (1, 0, 1):
        had = download.received
        scene.network.run(lambda had=had: download.received > had + (500 << 10))
        updating = client if by_client else scene.peer
        assert updating.protocol._handshake_confirmed
        updating.protocol.request_key_update()
        for end in (client, scene.peer):
            scene.network.run(
                lambda end=end, phase=phase: (
                    end.protocol._cryptos[ONE_RTT].send.key_phase == phase
                    and end.protocol._cryptos[ONE_RTT].recv.key_phase == phase
                ),
                1.0,
            )
    scene.network.run(lambda: download.complete)
    assert client.protocol.stats()["packets_forged"] == 0


def test_keys_updated_while_the_address_changes() -> None:
    # The server's packets under the new keys go where nobody is any more, so the client knows
    # nothing of them, and what it sends from its new address is under the old ones.
    scene = Scene()
    client = scene.client()
    download = Download(client, [1 << 20])
    client.connect()
    scene.network.run(lambda: download.received > 200 << 10)
    client.move(("192.0.2.7", 40_007))
    scene.peer.protocol.request_key_update()
    scene.server.step()
    assert scene.peer.protocol._cryptos[ONE_RTT].send.key_phase == 1
    client.protocol.ping_soon()
    client.step()
    scene.network.run(lambda: download.complete, 20)
    for end in (client, scene.peer):
        assert end.protocol._cryptos[ONE_RTT].recv.key_phase == 1
        assert end.protocol.stats()["packets_forged"] == 0
    # The old keys are not kept for ever.
    later = Download(client, [1 << 20])
    client.step()
    scene.network.run(lambda: later.complete, 20)
    assert scene.peer.protocol._receive_keys is not None
    assert scene.peer.protocol._receive_keys.previous is None


@pytest.mark.parametrize("confirmed", [True, False])
def test_reasons_of_a_close_that_fit_no_packet(confirmed: bool) -> None:
    scene = Scene()
    client = scene.client()
    client.connect()
    if confirmed:
        scene.network.run(lambda: client.protocol._handshake_confirmed)
    reason = "\u5de5" * 5000 + "\ud800"
    client.protocol.close(error_code=7, frame_type=None if confirmed else 0, reason_phrase=reason)
    client.step()
    if confirmed:
        peer = scene.peer
        scene.network.run(lambda: peer.terminated is not None)
        told = peer.terminated.reason_phrase if peer.terminated is not None else ""
        assert reason.startswith(told)
        assert len(told) > 300


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trouble", ["loss", "corrupt"])
def test_handshakes_under_trouble(trouble: str, seed: int) -> None:
    scene = Scene(100 + seed, up=line(**{trouble: 0.3}), down=line(**{trouble: 0.3}))
    for number in range(12):
        client = scene.client(("192.0.2.9", 1000 + number), idle_timeout_s=120)
        scene.download([1024], client, 120)
        client.leave()
    assert scene.files.answered == 12


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("trouble", ["loss", "corrupt"])
def test_transfers_under_trouble(trouble: str, seed: int) -> None:
    scene = Scene(200 + seed, up=line(**{trouble: 0.02}), down=line(**{trouble: 0.02}))
    scene.download([2 << 20])
    lost = scene.peer.protocol.stats()["packets_lost"]
    assert lost > 10


@pytest.mark.parametrize("seed", range(3))
def test_everything_at_once(seed: int) -> None:
    """Loss, corruption, duplicates and overtaking in both directions."""
    trouble: dict[str, Any] = {"loss": 0.03, "corrupt": 0.02, "duplicate": 0.05, "reorder": 0.1}
    scene = Scene(300 + seed, up=line(**trouble), down=line(**trouble))
    scene.download([1 << 20, *[1000] * 100])


def moves(scene: Scene, client: ClientNode, addresses: list[Address], how: Any) -> Download:
    """Download while the client's address changes now and then; `how` moves it."""
    download = Download(client, [2 << 20])
    client.connect()
    for number, address in enumerate(addresses):
        scene.network.run(lambda number=number: download.received > (number + 1) * (400 << 10))
        how(client, address)
    scene.network.run(lambda: download.complete)
    return download


@pytest.mark.parametrize(
    "addresses",
    [
        [(CLIENT[0], 50_001), (CLIENT[0], 50_002), (CLIENT[0], 50_003)],
        [("198.51.100.1", 7), ("198.51.100.2", 7), ("198.51.100.3", 7)],
    ],
    ids=["port", "addr"],
)
def test_rebind(addresses: list[Address]) -> None:
    scene = Scene()
    client = scene.client()

    def rebind(client: ClientNode, address: Address) -> None:
        client.move(address)
        # It may owe no acknowledgement just then: without a word from the new address, such as a
        # keep-alive is, no server can know of it.
        client.protocol.ping_soon()
        client.step()

    moves(scene, client, addresses, rebind)
    path = scene.peer.protocol._network_paths[0]
    assert path.addr == addresses[-1]
    assert path.is_validated
    # RFC 9000, section 9.3.1: until a new address is validated, thrice what came from it.
    assert_rebinding_is_limited(scene.network, addresses)


def assert_rebinding_is_limited(network: Network, addresses: list[Address]) -> None:
    """To a new address, before two round trips, the server sends thrice what it got from it."""
    for address in addresses:
        came = went = 0
        begin = None
        for passed in network.record:
            if passed.from_client and passed.arrived and passed.source == address:
                begin = passed.at if begin is None else begin
                came += len(passed.data)
            elif not passed.from_client and not passed.arrived and passed.target == address:
                assert begin is not None
                # The answer to a PATH_CHALLENGE takes a round trip.
                if passed.at < begin + 0.03:
                    went += len(passed.data)
                    assert went <= 3 * came


def test_connectionmigration() -> None:
    scene = Scene()
    client = scene.client()
    used: list[bytes] = []

    def migrate(client: ClientNode, address: Address) -> None:
        used.append(client.protocol._peer_cid.cid)
        client.move(address)
        client.protocol.rebind(scene.network.now)
        client.step()

    addresses: list[Address] = [("198.51.100.1", 7), ("198.51.100.2", 8)]
    moves(scene, client, addresses, migrate)
    used.append(client.protocol._peer_cid.cid)
    # RFC 9000, section 9.5: an identifier is used from one address only, in both directions.
    assert len(set(used)) == 3
    seen: dict[bytes, set[Address]] = {}
    for passed in scene.network.record:
        if passed.arrived or passed.data[0] & 0x80:
            continue
        identifier = passed.data[1 : 1 + CONNECTION_ID_BYTES]
        end = passed.source if passed.from_client else passed.target
        seen.setdefault(identifier, set()).add(end)
    assert all(len(ends) == 1 for ends in seen.values())
    assert scene.peer.protocol._network_paths[0].is_validated


@pytest.mark.parametrize("retry", [False, True])
def test_v2(retry: bool) -> None:
    scene = Scene(retry=retry)
    client = scene.client(versions=("v2", "v1"))
    download = scene.download([100_000], client)
    assert initials(scene.network)[0].version == QuicProtocolVersion.VERSION_1
    for protocol in (client.protocol, scene.peer.protocol):
        assert protocol._version == QuicProtocolVersion.VERSION_2
    # RFC 9369, section 4: compatible versions cost no round trip.
    assert client.handshake_at is not None
    assert client.handshake_at < (0.07 if retry else 0.035)
    assert download.client.protocol.stats()["packets_forged"] == 0


def test_v2_alone() -> None:
    scene = Scene(server={"versions": ("v2",)})
    client = scene.client(versions=("v2",))
    scene.download([1000], client)
    assert initials(scene.network)[0].version == QuicProtocolVersion.VERSION_2
    assert not scene.server.seen


def test_version_negotiation() -> None:
    scene = Scene(server={"versions": ("v2",)})
    client = scene.client(versions=("v1", "v2"))
    scene.download([1000], client)
    assert scene.server.seen["version"] == 1
    assert client.protocol._version == QuicProtocolVersion.VERSION_2


def test_no_version_in_common() -> None:
    scene = Scene(server={"versions": ("v2",)})
    client = scene.client(versions=("v1",))
    client.connect()
    scene.network.run(lambda: client.terminated is not None, 1.0)
    assert client.handshake is None
    assert not scene.server.peers


def test_ipv6() -> None:
    server: Address = ("2001:db8::1", 443, 0, 0)
    scene = Scene(address=server)
    client = scene.client(("2001:db8::2", 40_000, 0, 0))
    scene.download([50_000], client)
    assert {passed.target for passed in scene.network.record if passed.from_client} == {server}


def test_a_narrow_path() -> None:
    """Datagrams over 1,300 bytes vanish: the search for larger ones must not hurt."""
    scene = Scene(up=line(mtu=1300), down=line(mtu=1300))
    download = scene.download([1 << 20])
    assert download.finished_at is not None
    assert download.finished_at < 2
    assert scene.peer.protocol.stats()["max_datagram_size"] == 1200


def test_a_path_that_becomes_narrow() -> None:
    scene = Scene()
    client = scene.client()
    download = Download(client, [3 << 20])
    client.connect()
    scene.network.run(lambda: download.received > 1 << 20)
    assert scene.peer.protocol.stats()["max_datagram_size"] > 1300
    scene.network.down.mtu = scene.network.up.mtu = 1250
    scene.network.run(lambda: download.complete)
    assert scene.peer.protocol.stats()["max_datagram_size"] == 1200


def test_stopped_streams_give_their_credit_back() -> None:
    """Bytes that come after STOP_SENDING count as consumed, or the connection would stall."""
    scene = Scene()
    client = scene.client(stream_window=100_000, connection_window=200_000)
    stopped = 0

    def stop_all(peer: Peer) -> None:
        nonlocal stopped
        for stream in peer.touched:
            if stream.buffered:
                stream.stop(7)
                stopped += 1
        while stopped + len(peer.protocol.streams()) < 40:
            stream = peer.protocol.open_stream(False)
            if stream is None:
                break
            stream.write(b"90000 1")
            stream.finish()

    client.application = stop_all
    client.connect()
    scene.network.run(lambda: stopped == 40)
    scene.download([150_000], client)


def test_an_idle_connection_ends() -> None:
    scene = Scene()
    client = scene.client(idle_timeout_s=5)
    scene.download([1000], client)
    at = scene.network.now
    scene.network.run(lambda: client.terminated is not None and not scene.server.peers)
    assert 4.9 < scene.network.now - at < 6


def test_the_same_seed_gives_the_same_loss() -> None:
    """The path is drawn from the seed alone, whatever keys and certificates are."""
    drawn = []
    for _ in range(2):
        path = line(loss=0.3, duplicate=0.1)
        rng = Network(11).rng
        drawn.append([list(path.arrivals(bytes(100), at / 10, rng)) for at in range(200)])
    assert drawn[0] == drawn[1]
    assert 0 < sum(not arrivals for arrivals in drawn[0]) < 120
