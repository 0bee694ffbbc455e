"""`midstream simulate`, and ``sim:`` as a source of the commands that take one."""

from __future__ import annotations

import contextlib
import json
import signal

import httpx2
import openai
import pytest
from apps.program import finished, read_until, run, started

from midstream.stream import load


@pytest.mark.parametrize(
    ("source", "status"), [("sim:loop?seed=2&tokens=900", 1), ("sim:story?seed=2", 0), ("sim:", 0)]
)
def test_a_simulated_stream_is_watched(source, status):
    done = run("watch", source, "--json")
    assert done.status == status
    assert done.report["outcome"] == ("stopped" if status else "ended")


def test_the_same_bytes_for_the_same_seed():
    first = run("watch", "sim:reasoning?seed=9&tokens=60&rate=100").out
    assert first == run("watch", "sim:reasoning?seed=9&tokens=60&rate=100").out
    assert first != run("watch", "sim:reasoning?seed=10&tokens=60").out


def test_faults_end_as_real_ones():
    assert run("watch", "sim:story?faults=reset").status == 3
    assert run("watch", "sim:story?faults=error").status == 3
    done = run("watch", "sim:story?faults=stall,late", "--json")
    assert {row["kind"] for row in done.of_type("finding")} == {"stall"}


def test_it_can_be_recorded(tmp_path):
    path = tmp_path / "agent.jsonl"
    assert run("record", "sim:agent?seed=1", path).status == 0
    assert {event.kind for event in load(path)} >= {"text", "tool_call", "tool_result", "end"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("sim:lop", "scenario must be one of"),
        ("sim:loop?sed=2", "seed, tokens, rate and faults can be given, got 'sed'"),
        ("sim:loop?seed=x", "seed must be a whole number, got 'x'"),
        ("sim:loop?rate=fast", "rate must be a number, got 'fast'"),
        ("sim:loop?faults=fire", "faults must be one of"),
        ("sim:loop?", "outcome"),
    ],
)
def test_names_that_are_none(source, says):
    done = run("watch", source)
    assert done.status == (2 if source != "sim:loop?" else 1)
    assert says in " ".join(done.err.replace("│", "").split())


def test_options_that_do_not_go_with_it():
    assert run("watch", "sim:loop", "--prompt", "Hi").status == 2
    assert run("watch", "sim:loop", "--format", "sse").status == 2


def test_the_server_is_asked_by_the_official_sdk():
    with started("simulate", "story", "--port", "0", "--speed", "1000", "--json") as process:
        row = json.loads(read_until(process.stdout, b"\n"))
        assert row["type"] == "serving"
        with openai.OpenAI(api_key="k", base_url=row["url"], max_retries=0) as sdk:
            stream = sdk.chat.completions.create(
                model="sim-loop", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            text = "".join(
                chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices
            )
        process.send_signal(signal.SIGTERM)
        done = finished(process)
    assert len(text) > 1000
    assert done.status == 128 + signal.SIGTERM
    assert done.rows == [
        {"type": "draining", "streams": 0},
        {"type": "served", "answered": 1, "broken_off": 0},
    ]


@pytest.mark.parametrize("fault", ["cut", "reset", "error"])
def test_what_goes_wrong_on_purpose_is_no_error_of_the_server(fault):
    arguments = ("simulate", "--port", "0", "--speed", "1000", "--fault", fault, "--json")
    with started(*arguments) as process:
        url = json.loads(read_until(process.stdout, b"\n"))["url"]
        with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as sdk:
            for stream in (True, False):
                # Older versions let through what the transport raises.
                with contextlib.suppress(openai.OpenAIError, httpx2.TransportError):
                    list(
                        sdk.chat.completions.create(
                            model="m", messages=[{"role": "user", "content": "Hi"}], stream=stream
                        )
                    )
        process.send_signal(signal.SIGTERM)
        done = finished(process)
    assert done.err == ""


def test_an_address_that_is_taken():
    with started("simulate", "--port", "0", "--json") as process:
        url = json.loads(read_until(process.stdout, b"\n"))["url"]
        port = url.rpartition(":")[2].removesuffix("/v1")
        done = run("simulate", "--port", port)
    assert done.status == 3
    assert f"127.0.0.1:{port}: " in done.err


def test_what_cannot_be_simulated():
    assert "must be one of" in run("simulate", "audio").err
    assert run("simulate", "--fault", "fire").status == 2


@pytest.mark.parametrize(
    ("what", "kinds"), [("audio", ["silence"]), ("video", ["frozen", "black"])]
)
def test_what_fails_in_sound_and_pictures_is_shown_and_found(what, kinds):
    done = run("demo", what, "--speed", "100", "--json")
    assert done.status == 0
    assert [row["kind"] for row in done.of_type("finding")] == kinds
    shown = run("demo", what, "--speed", "100")
    assert shown.status == 0
    assert ("▁" if what == "audio" else "▒") in shown.out
    watched = run("watch", f"sim:{what}?tokens=120", "--json")
    assert {row["kind"] for row in watched.of_type("finding")} == set(kinds)


def test_a_video_that_is_not_there(tmp_path):
    pytest.importorskip("av")
    done = run("watch", tmp_path / "live.m3u8")
    assert done.status == 3
    assert "live.m3u8" in done.err
    assert run("watch", "rtmp://127.0.0.1/live", "--speed", "2").status == 2
