"""Key logs decrypt what was captured; qlogs are written as it happens, within bounds."""

from __future__ import annotations

import json
import shutil
import stat
import struct
import subprocess
import sys

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from midstream.errors import ArgumentValueError
from midstream.quic import _qlog, _tls
from midstream.quic._keylog import key_log
from midstream.quic._qlog import QlogFolder, read_qlog
from midstream.quic.certificates import Identity
from midstream.quic.config import Config

IDENTITY = Identity.development()


class End(QuicConnection):
    """aioquic's transport with our TLS."""

    def __init__(self, config, **given):
        self.config = config
        super().__init__(**given)

    def _initialize(self, peer_cid):
        super()._initialize(peer_cid)
        _tls.install(self, self.config)


def talk(log=None, qlog=None):
    """A handshake and a request; returns the datagrams as (is_client, data)."""
    shared = {"secrets_log_file": log, "quic_logger": qlog, "alpn_protocols": ["midstream"]}
    client = End(
        Config(ca=IDENTITY.pem),
        configuration=QuicConfiguration(is_client=True, server_name="localhost", **shared),
    )
    server = End(
        Config(identity=IDENTITY),
        configuration=QuicConfiguration(
            is_client=False,
            certificate=IDENTITY.certificate,
            private_key=IDENTITY.private_key,
            **shared,
        ),
        original_destination_connection_id=client.original_destination_connection_id,
    )
    sent = []
    now = 0.0
    client.connect(("127.0.0.1", 4433), now=now)
    for turn in range(8):
        now += 0.01
        if turn == 4:
            client.send_stream_data(0, b"the request", end_stream=True)
        for data, _ in client.datagrams_to_send(now):
            sent.append((True, data))
            server.receive_datagram(data, ("127.0.0.1", 5555), now)
        for data, _ in server.datagrams_to_send(now):
            sent.append((False, data))
            client.receive_datagram(data, ("127.0.0.1", 4433), now)
    assert client._handshake_confirmed
    client.close(reason_phrase="done")
    for data, _ in client.datagrams_to_send(now):
        server.receive_datagram(data, ("127.0.0.1", 5555), now)
    for end in (client, server):
        end.handle_timer(end.get_timer())
    return client, sent


def test_a_key_log_has_each_secret_of_a_connection(tmp_path):
    path = tmp_path / "keys.txt"
    client, _ = talk(log=key_log(path))
    lines = [line.split() for line in path.read_text().splitlines()]
    random = client.tls.client_random.hex()
    assert all(len(line) == 3 and line[1] == random for line in lines)
    # Both ends are in this process and write the same secrets.
    assert {line[0] for line in lines} == {
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    }
    assert len({tuple(line) for line in lines}) == 4
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_log_is_opened_once_and_appended(tmp_path, monkeypatch):
    path = tmp_path / "keys.txt"
    path.write_text("# before\n")
    log = key_log(path)
    assert key_log(str(path)) is log
    monkeypatch.chdir(tmp_path)
    assert key_log("keys.txt") is log
    log.write("# after\n")
    assert path.read_text() == "# before\n# after\n"


def test_a_key_log_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OSError, match="absent"):
        key_log(tmp_path / "absent" / "keys.txt")


def a_capture(path, sent):
    """A pcap of raw IPv4 with one packet per datagram."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for number, (is_client, data) in enumerate(sent):
            ports = (5555, 4433) if is_client else (4433, 5555)
            udp = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
            address = bytes([127, 0, 0, 1])
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0)
            packet = header + address + address + udp
            file.write(struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet)


def test_tshark_decrypts_with_it(tmp_path):
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed (Debian: tshark)")
    _, sent = talk(log=key_log(tmp_path / "keys.txt"))
    a_capture(tmp_path / "capture.pcap", sent)
    command = [tshark, "-r", str(tmp_path / "capture.pcap")]
    command += ["-o", f"tls.keylog_file:{tmp_path / 'keys.txt'}"]
    command += ["-d", "udp.port==4433,quic", "-T", "fields", "-e", "quic.stream_data"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert b"the request".hex() in found.stdout.replace(":", "")


def test_a_qlog_for_each_end_of_each_connection(tmp_path):
    folder = QlogFolder(tmp_path / "new")
    client, _ = talk(qlog=folder)
    odcid = client.original_destination_connection_id.hex()
    names = sorted(one.name for one in (tmp_path / "new").iterdir())
    assert names == [f"{odcid}_client.sqlog", f"{odcid}_server.sqlog"]
    head, *events = read_qlog(tmp_path / "new" / names[0])
    assert head["qlog_format"] == "JSON-SEQ"
    assert head["trace"]["vantage_point"]["type"] == "client"
    assert head["trace"]["common_fields"]["ODCID"] == odcid
    kinds = {event["name"] for event in events}
    assert {"transport:packet_sent", "transport:packet_received"} <= kinds
    times = [event["time"] for event in events]
    assert times == sorted(times)
    assert times[0] >= 0
    for line in (tmp_path / "new" / names[1]).read_bytes().splitlines():
        assert line[:1] == b"\x1e"
        json.loads(line[1:])


def test_events_do_not_wait_for_the_end(tmp_path):
    trace = QlogFolder(tmp_path).start_trace(is_client=True, odcid=b"\1")
    for number in range(2000):
        trace.log_event(category="test", event="one", data={"number": number})
        assert trace._size < _qlog.BUFFER + 200
    assert trace.path.stat().st_size > 2 * _qlog.BUFFER
    events = trace.to_dict()["events"]
    assert [event["data"]["number"] for event in events] == list(range(2000))


def test_a_qlog_has_a_bound(tmp_path):
    folder = QlogFolder(tmp_path, limit=50_000)
    trace = folder.start_trace(is_client=False, odcid=b"\2")
    for number in range(5000):
        trace.log_event(category="test", event="one", data={"number": number})
    folder.end_trace(trace)
    assert trace.path.stat().st_size < 51_000
    assert read_qlog(trace.path)[-1]["name"] == "midstream:truncated"
    with pytest.raises(ArgumentValueError, match="limit"):
        QlogFolder(tmp_path, limit=0)


def test_an_event_that_is_too_long_is_told_by_its_size(tmp_path):
    trace = QlogFolder(tmp_path).start_trace(is_client=True, odcid=b"\3")
    trace.log_event(category="test", event="long", data={"text": "x" * 100_000})
    trace.log_event(category="test", event="odd", data={"value": b"\xff"})
    long, odd = trace.to_dict()["events"]
    assert long["data"]["omitted_bytes"] > 100_000
    assert odd["name"] == "test:odd"


def test_a_folder_that_is_gone_ends_the_log_and_nothing_else(tmp_path):
    folder = QlogFolder(tmp_path / "gone")
    trace = folder.start_trace(is_client=True, odcid=b"\4")
    shutil.rmtree(tmp_path / "gone")
    with pytest.warns(RuntimeWarning, match="the qlog .* ends"):
        trace.flush()
    trace.log_event(category="test", event="one", data={})
    folder.end_trace(trace)


def test_a_last_record_that_was_cut_off_is_left_out(tmp_path):
    trace = QlogFolder(tmp_path).start_trace(is_client=True, odcid=b"\5")
    trace.log_event(category="test", event="one", data={})
    trace.flush()
    with trace.path.open("ab") as file:
        file.write(b'\x1e{"name": "te')
    assert len(read_qlog(trace.path)) == 2
