"""`midstream publish`, `watch quic://` and `demo quic`, as programs."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request

import pytest
from apps.program import finished, read_until, run, started

from midstream.stream import load, shipped_recordings

LOOP = shipped_recordings()["loop-04"]
HEALTHY = shipped_recordings()["healthy-03"]


def text_of(path):
    return "".join(event.text for event in load(path) if event.kind == "text")


def serving(process):
    return json.loads(read_until(process.stdout, b"\n").splitlines()[0])


def server(source, *options):
    return started("publish", source, "--development", "--port", 0, "--json", *options)


def test_a_recording_is_published_and_watched():
    with server(HEALTHY, "--streams", 1) as process:
        start = serving(process)
        assert start["type"] == "serving"
        assert start["url"].endswith("/healthy-03")
        done = run("watch", start["url"], "--pin", start["pin"])
        assert (done.status, done.out) == (0, text_of(HEALTHY))
        ended = finished(process)
    assert ended.status == 0
    assert [row["type"] for row in ended.rows] == ["stream", "served"]
    assert ended.rows[0]["outcome"] == "ended"


def test_a_watch_that_stops_stops_the_server():
    with server(LOOP, "--streams", 1, "--speed", 1) as process:
        start = serving(process)
        done = run("watch", start["url"], "--insecure", "--json")
        assert done.status == 1
        assert done.report["stopped"]["kind"] == "loop"
        ended = finished(process)
    assert ended.rows[0]["outcome"] == "stopped"
    assert ended.rows[0]["events"] < len(load(LOOP))


def test_standard_input_is_served_to_a_reader():
    with server("-", "--streams", 1) as process:
        start = serving(process)
        process.stdin.write(b"Once upon a time")
        process.stdin.close()
        process.stdin = None
        done = run("watch", start["url"], "--pin", start["pin"])
        assert (done.status, done.out) == (0, "Once upon a time")
        assert finished(process).status == 0


def test_a_certificate_that_is_not_trusted():
    with server(HEALTHY) as process:
        start = serving(process)
        done = run("watch", start["url"])
        assert done.status == 3
        assert "certificate" in done.err
        other = run("watch", start["url"], "--pin", "cert-sha256:" + "0" * 64)
        assert other.status == 3
        process.send_signal(signal.SIGTERM)
        assert finished(process).status == 128 + signal.SIGTERM


def ask(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def test_health_readiness_and_counters_over_http():
    with server(HEALTHY, "--health-port", 0) as process:
        start = serving(process)
        assert json.loads(ask(start["health"] + "/readyz")) == {"status": "ok"}
        assert run("watch", start["url"], "--pin", start["pin"]).status == 0
        read_until(process.stdout, b"}\n")
        counted = ask(start["health"] + "/metrics")
        process.send_signal(signal.SIGTERM)
        done = finished(process)
    assert 'midstream_publish_streams_total{outcome="ended"} 1' in counted
    assert "midstream_publish_streams_max 1000" in counted
    assert "midstream_ready 1" in counted
    assert done.rows == [{"type": "draining", "streams": 0}, {"type": "served", "streams": 1}]
    assert done.status == 128 + signal.SIGTERM


def test_streams_go_on_after_a_signal_and_no_more_are_taken():
    with server("-", "--drain", 300, "--health-port", 0) as process:
        start = serving(process)
        with started("watch", start["url"], "--pin", start["pin"]) as reader:
            process.stdin.write(b"Once upon ")
            process.stdin.flush()
            read_until(reader.stdout, b"upon ")
            process.send_signal(signal.SIGTERM)
            read_until(process.stdout, b"draining")
            with pytest.raises(urllib.error.HTTPError, match="503"):
                ask(start["health"] + "/readyz")
            assert json.loads(ask(start["health"] + "/healthz")) == {"status": "draining"}
            late = run("watch", start["url"], "--pin", start["pin"])
            assert late.status == 3
            assert "the server ended" in late.err
            process.stdin.write(b"a time")
            process.stdin.close()
            process.stdin = None
            assert finished(reader).status == 0
        done = finished(process)
    assert done.status == 128 + signal.SIGTERM
    assert [row["outcome"] for row in done.of_type("stream")] == ["ended"]


def test_streams_that_do_not_end_are_cut():
    with server("-", "--drain", 0.2) as process:
        start = serving(process)
        with started("watch", start["url"], "--pin", start["pin"]) as reader:
            process.stdin.write(b"Once upon ")
            process.stdin.flush()
            read_until(reader.stdout, b"upon ")
            process.send_signal(signal.SIGTERM)
            cut = finished(reader)
        done = finished(process)
    assert cut.status == 3
    assert "the server ended" in cut.err
    assert done.status == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("publish", HEALTHY), "either --certificate or --development"),
        (("publish", HEALTHY, "--development", "--key", LOOP), "--key goes only with"),
        (("watch", HEALTHY, "--insecure"), "--insecure goes only with a quic:// URL"),
        (("watch", "quic://localhost/", "--insecure", "--pin", "x"), "does not go with"),
        (("watch", "quic://localhost/", "--prompt", "x"), "--prompt goes only with"),
        (("watch", "quic://localhost/?a"), "without user, query"),
    ],
)
def test_what_does_not_go_together(args, words):
    done = run(*args, env={"COLUMNS": "300"})
    assert done.status == 2
    assert words in " ".join(done.err.replace("│", " ").split())


def test_a_file_that_is_no_recording_is_not_served(tmp_path):
    (tmp_path / "other.jsonl").write_text('{"x": 1}\n')
    for name, words in (("none.jsonl", "No such file"), ("other.jsonl", "neither a header")):
        done = run("publish", tmp_path / name, "--development", "--port", 0)
        assert (done.status, done.out) == (3, "")
        assert done.err.startswith(f"error: {tmp_path / name}")
        assert words in done.err


def test_a_port_that_is_taken_is_told_once():
    with server(HEALTHY) as process:
        port = serving(process)["url"].split(":")[2].split("/")[0]
        done = run("publish", HEALTHY, "--development", "--port", port)
        assert done.status == 3
        assert done.err.count(f"127.0.0.1:{port}") == 1
        process.send_signal(signal.SIGTERM)
        finished(process)


def test_the_demo_over_quic():
    done = run("demo", "quic", "--json", "--speed", 20)
    assert done.status == 0
    assert [row["outcome"] for row in done.of_type("report")] == ["stopped", "ended"]
