"""`midstream serve`, as a program."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import urllib.error
import urllib.request

import pytest
from apps.program import finished, read_until, run, started

from midstream.apps.feed import apply
from midstream.quic.certificates import Identity
from midstream.stream import shipped_recordings

pytest.importorskip("uvicorn", reason="needs the extra serve: uvicorn")
pytest.importorskip("httptools", reason="needs the extra serve: httptools")
client = pytest.importorskip("websockets.sync.client", reason="needs the extra serve: websockets")
from websockets.exceptions import ConnectionClosed  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends by signals of POSIX")

LOOP = shipped_recordings()["loop-02"]


def server(*options, **more):
    return started("serve", *options, "--ws-port", 0, "--sse-port", 0, "--json", **more)


def row(process):
    return json.loads(read_until(process.stdout, b"\n").splitlines()[0])


def get(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.loads(response.read())


def test_clients_are_served_until_a_signal():
    with server() as process:
        serving = row(process)
        assert serving["type"] == "serving"
        with client.connect(serving["websocket"], proxy=None) as connection:
            assert json.loads(connection.recv())["type"] == "connected"
            connection.send(json.dumps({"kind": "process", "message": "hello"}))
            assert json.loads(connection.recv())["data"]["words"] == 1
            assert get(f"{serving['sse']}/status")["server"]["clients"] == 1
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed, match="1001"):
                connection.recv()
        ended = finished(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert [each["type"] for each in ended.rows] == ["draining", "served"]
    assert ended.rows[0]["clients"] == 1
    assert ended.rows[1]["counts"]["requests"] == 2


def test_sources_are_shown_in_the_feed():
    with server(LOOP) as process:
        serving = row(process)
        assert serving["sources"] == [str(LOOP)]
        source = row(process)
        assert (source["type"], source["outcome"]) == ("source", "stopped")
        with client.connect(serving["websocket"], proxy=None) as connection:
            assert "feed" in json.loads(connection.recv())["topics"]
            connection.send(json.dumps({"kind": "subscribe", "topic": "feed"}))
            assert json.loads(connection.recv())["type"] == "subscribed"
            state = {}
            while not state or state["streams"]["s1"]["outcome"] == "running":
                apply(state, json.loads(connection.recv())["data"])
            assert state["streams"]["s1"]["outcome"] == "stopped"
            assert state["streams"]["s1"]["findings"][0]["kind"] == "loop"
        process.send_signal(signal.SIGINT)
        finished(process)
    assert process.returncode == 128 + signal.SIGINT


def test_a_token_is_read_from_a_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("correct horse battery\nstaple\n")
    with server("--token-file", path) as process:
        sse = row(process)["sse"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{sse}/status")
        answer = get(f"{sse}/status", Authorization="Bearer correct horse battery")
        assert answer["success"] is True
        process.send_signal(signal.SIGTERM)
        finished(process)


def test_a_token_is_read_from_the_environment():
    with server("--token-env", "WORD", env={"WORD": "correct horse battery"}) as process:
        sse = row(process)["sse"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{sse}/status")
        answer = get(f"{sse}/status", Authorization="Bearer correct horse battery")
        assert answer["success"] is True
        process.send_signal(signal.SIGTERM)
        finished(process)
    done = run("serve", "--token-env", "WORD", "--ws-port", 0, "--sse-port", 0)
    assert done.status == 2
    assert "variable WORD is not set" in " ".join(done.err.replace("│", " ").split())


def test_connections_are_encrypted(tmp_path):
    chain, key = Identity.development(("localhost", "127.0.0.1")).save(tmp_path)
    trust = ssl.create_default_context(cafile=chain)
    with server("--certificate", chain, "--key", key) as process:
        serving = row(process)
        assert serving["websocket"].startswith("wss://")
        with client.connect(serving["websocket"], proxy=None, ssl=trust) as connection:
            assert json.loads(connection.recv())["type"] == "connected"
        with urllib.request.urlopen(f"{serving['sse']}/readyz", context=trust) as response:
            assert json.loads(response.read())["success"] is True
        process.send_signal(signal.SIGTERM)
        finished(process)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "0.0.0.0"), "--token-file"),
        (("--host", "192.0.2.1"), "--token-file or --token-env"),
        (("--limit", "max_clients"), "NAME=VALUE"),
        (("--limit", "max_clients=many"), "must be a number"),
        (("--limit", "max_clients=0"), "max_clients must be at least 1"),
        (("--origin", "example.org"), "origin must look like"),
        (("--key", LOOP), "--key goes only with --certificate"),
        (("--prompt", "hello"), "--prompt goes only with the URL"),
        (("--pin", "cert-sha256:00"), "quic"),
        (("--speed", "2"), "--speed goes only with a recording"),
        (("-", "-"), "read once"),
        (("ftp://example.org",), "only http://"),
    ],
)
def test_what_cannot_be_used_is_told(options, message):
    done = run("serve", *options, "--ws-port", 0, "--sse-port", 0)
    assert done.status == 2
    assert message in " ".join(done.err.replace("│", " ").split())


def test_a_short_token_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(b"short\n")
    done = run("serve", "--token-file", path, "--ws-port", 0, "--sse-port", 0)
    assert (done.status, "at least 8" in done.err) == (2, True)
    path.write_bytes(b"\xff" * 20)
    done = run("serve", "--token-file", path, "--ws-port", 0, "--sse-port", 0)
    assert (done.status, "UTF-8" in done.err) == (2, True)


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--ws-port", port, "--sse-port", 0)
    assert done.status == 3
    assert str(port) in done.err


def test_people_read_lines():
    with started("serve", "--ws-port", 0, "--sse-port", 0) as process:
        line = read_until(process.stdout, b"\n").decode()
        assert line.startswith("serving at ws://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        ended = finished(process)
    assert "ending; 0 clients connected" in ended.out
    assert "0 events broadcast" in ended.out
