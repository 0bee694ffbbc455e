"""`midstream demo realtime` and `watch ws://`, as programs."""

from __future__ import annotations

import asyncio
import json

import pytest
from apps.program import run, run_async, run_in_terminal
from stream.proxy.sessions import RealtimeServer, Script, closing, drop, until

from midstream.stream import load

pytest.importorskip("websockets", reason="Realtime sessions need websockets")

ASK = ("--prompt", "Tell me a story")
KEY = "sk-proj-" + "A1b2C3d4E5" * 8


def test_the_demo_shows_a_denied_call_and_a_stopped_loop():
    done = run("demo", "realtime", "--speed", "50")
    assert done.status == 0
    for words in (
        "You: Then clear it out.",
        "POLICY, call denied: nothing is deleted",
        "I am not allowed to delete it.",
        "LOOP, stream stopped",
        "(ended: stopped)",
        "Good night.",
        "audio: ",
    ):
        assert words in done.out
    assert done.out.count("The keeper climbed") < 10


def test_the_demo_as_json_and_in_a_terminal():
    done = run("demo", "realtime", "--speed", "50", "--json")
    assert done.status == 0
    found = [(row["kind"], row["severity"]) for row in done.of_type("finding")]
    assert found == [("policy", "block"), ("loop", "warn"), ("loop", "stop")]
    (report,) = done.of_type("report")
    assert report["outcome"] == "ended"
    assert report["source"] == "demo:realtime"
    assert report["metrics"]["responses"] == 5
    assert report["metrics"]["denied_calls"] == 1
    assert report["metrics"]["tool_runs"] == 0
    status, said = run_in_terminal("demo", "realtime", "--speed", "50", lines=200)
    assert status == 0
    assert "Two boxes of letters" in said


async def test_a_story_over_a_websocket(tmp_path):
    script = Script()
    said = script.response(script.message("Once ", "upon ", "a time", spoken=True))
    settings = tmp_path / "session.json"
    settings.write_text(json.dumps({"output_modalities": ["audio"]}))
    async with RealtimeServer(said, greeting=[script.session()]) as server:
        url = server.url.replace("http", "ws")
        kept = tmp_path / "run.jsonl"
        options = ("--model", "tiny", "--body", settings, "--record", kept, "--header", "X-A: b")
        done = await run_async("watch", url, *ASK, *options)
        await server.ended.wait()
    assert (done.status, done.out) == (0, "Once upon a time")
    assert server.requests[0].path == "/v1/realtime?model=tiny"
    assert server.requests[0].headers["X-A"] == "b"
    assert [payload["type"] for payload in server.received] == [
        "session.update",
        "conversation.item.create",
        "response.create",
    ]
    assert server.closed == [(1000, "")]
    assert (
        "".join(event.text for event in load(kept) if event.kind == "audio") == "Once upon a time"
    )
    again = await run_async("replay", kept, "--speed", "1000")
    assert again.out == "Once upon a time"


async def test_a_loop_is_stopped_and_the_connection_closed():
    script = Script()
    said = [script.created(), *script.message(*(["I will try that again. "] * 400))[0]]
    async with RealtimeServer(said, greeting=[script.session()]) as server:
        done = await run_async("watch", server.url.replace("http", "ws"), *ASK, "--json")
        await server.ended.wait()
    assert done.status == 1
    (report,) = done.of_type("report")
    assert report["stopped"]["kind"] == "loop"


@pytest.mark.parametrize(
    ("end", "refusals", "words"),
    [
        ([drop], (), "the connection was lost"),
        ([closing(1011, "broken")], (), "code 1011: broken"),
        ([], [(401, f'{{"error": {{"message": "no {KEY}"}}}}')], "401 Unauthorized: no [hidden]"),
    ],
)
async def test_what_goes_wrong_is_said(end, refusals, words):
    script = Script()
    said = [script.created(), *script.message("Once")[0], *end]
    async with RealtimeServer(said, greeting=[script.session()], refusals=refusals) as server:
        done = await run_async(
            "watch",
            server.url.replace("http", "ws"),
            *ASK,
            "--api-key-env",
            "MY_KEY",
            env={"MY_KEY": KEY},
        )
    assert done.status == 3
    assert words in done.err
    assert KEY not in done.err + done.out


async def test_an_idle_session():
    script = Script()
    async with RealtimeServer(
        [script.created(), until(asyncio.Event())], greeting=[script.session()], aside=True
    ) as server:
        url = server.url.replace("http", "ws")
        done = await run_async("watch", url, *ASK, "--idle-timeout", "1")
    assert done.status == 3
    assert "nothing arrived for 1 s" in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "needs either --prompt or --messages"),
        ((*ASK, "--api", "chat"), "--api goes only with"),
        ((*ASK, "--speed", "2"), "--speed"),
        ((*ASK, "--pin", "x"), "quic://"),
    ],
)
def test_options_that_do_not_go_with_it(options, words):
    done = run("watch", "ws://127.0.0.1:9", *options)
    assert done.status == 2
    assert words in done.err


def test_a_server_of_others_needs_a_key():
    done = run("watch", "wss://realtime.invalid", *ASK)
    assert done.status == 2
    assert "OPENAI_API_KEY" in done.err
