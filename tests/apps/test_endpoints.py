"""`midstream watch URL` against a server that misbehaves in every way."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys

import pytest
from apps.program import COMMAND, environment, run, run_async
from stream.chat import chunk, sse, story
from stream.server import SSE, Server

from midstream.stream import load

ASK = ("--prompt", "Tell me a story")


@pytest.fixture(autouse=True)
async def hang_guard():
    """No test here may hang, whatever the server or the program does."""
    async with asyncio.timeout(120):
        yield


def answer_with(status, headers, body):
    async def answer(exchange):
        await exchange.head(status, *headers, f"Content-Length: {len(body)}")
        await exchange.send(body)

    return answer


async def tell_story(exchange):
    await answer_with("200 OK", [SSE], story(5))(exchange)


async def loop_for_ever(exchange):
    await exchange.chunked()
    while True:
        await exchange.chunk(sse(chunk("I will try that again. "), done=False))


async def speak_once(exchange):
    """Say something, then hold the line."""
    await exchange.chunked()
    await exchange.chunk(sse(chunk("Once upon a time"), done=False))
    await exchange.gone()


async def test_a_story():
    async with Server(tell_story) as server:
        done = await run_async("watch", server.url, *ASK, "--model", "tiny")
    assert (done.status, done.out) == (0, "tok0 tok1 tok2 tok3 tok4 ")
    (exchange,) = server.exchanges
    assert exchange.path == "/v1/chat/completions"
    assert exchange.json["model"] == "tiny"
    assert exchange.json["messages"] == [{"role": "user", "content": "Tell me a story"}]


async def test_a_stop_closes_the_connection():
    async with Server(loop_for_ever) as server:
        done = await run_async("watch", server.url, *ASK, "--json")
        await server.gone.wait()
    assert done.status == 1
    assert done.report["outcome"] == "stopped"
    assert done.report["stopped"]["kind"] == "loop"


async def test_what_is_asked(tmp_path):
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([{"role": "system", "content": "Be brief."}]))
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"temperature": 0, "seed": 7}))
    async with Server(tell_story) as server:
        done = await run_async(
            *("watch", f"{server.url}/api/v2/", "--messages", messages, "--body", body),
            *("--header", "X-Team: red", "--header", "X-Empty:"),
        )
    assert done.status == 0
    (exchange,) = server.exchanges
    assert exchange.path == "/api/v2/chat/completions"
    assert exchange.json["messages"] == [{"role": "system", "content": "Be brief."}]
    assert (exchange.json["temperature"], exchange.json["seed"]) == (0, 7)
    assert (exchange.headers["x-team"], exchange.headers["x-empty"]) == ("red", "")
    assert "authorization" not in exchange.headers


@pytest.mark.parametrize(
    ("options", "variable"),
    [((), "OPENAI_API_KEY"), (("--api-key-env", "OTHER_KEY"), "OTHER_KEY")],
)
async def test_the_key_comes_from_the_environment_and_is_not_shown(options, variable, tmp_path):
    key = "sk-a-very-secret-key"
    body = json.dumps({"error": {"message": f"wrong key {key}"}}).encode()
    refuse = answer_with("401 Unauthorized", ["Content-Type: application/json"], body)
    kept = tmp_path / "kept.jsonl"
    async with Server(refuse) as server:
        done = await run_async(
            "watch", server.url, *ASK, *options, "--json", "--record", kept, env={variable: key}
        )
    assert server.exchanges[0].headers["authorization"] == f"Bearer {key}"
    assert done.status == 3
    assert "401" in done.err
    assert key not in done.out + done.err
    assert not kept.exists()


async def test_anthropic_and_ollama():
    delta = {"type": "text_delta", "text": "Once."}
    payloads = [
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    sent = sse(*payloads, done=False)
    key = {"ANTHROPIC_API_KEY": "sk-a-very-secret-key"}
    async with Server(answer_with("200 OK", [SSE], sent)) as server:
        done = await run_async("watch", server.url, *ASK, "--api", "anthropic", env=key)
    assert (done.status, done.out) == (0, "Once.")
    (exchange,) = server.exchanges
    assert exchange.path == "/v1/messages"
    assert exchange.headers["x-api-key"] == key["ANTHROPIC_API_KEY"]
    line = json.dumps({"message": {"content": "Once."}, "done": True}).encode() + b"\n"
    said = answer_with("200 OK", ["Content-Type: application/x-ndjson"], line)
    async with Server(said) as server:
        done = await run_async("watch", server.url + "/api/chat", *ASK, "--model", "tiny")
    assert (done.status, done.out) == (0, "Once.")
    assert server.exchanges[0].json["model"] == "tiny"
    done = await run_async("watch", "http://127.0.0.1:1", *ASK, "--api", "gopher")
    assert done.status == 2
    assert "gopher" in done.err


async def test_nothing_secret_of_the_url_is_shown_or_kept(tmp_path):
    kept = tmp_path / "kept.jsonl"
    async with Server(tell_story) as server:
        url = server.url.replace("http://", "http://user:hunter22@") + "/v1?key=hunter23"
        done = await run_async("watch", url, *ASK, "--json", "--record", kept)
    assert done.status == 0
    everything = done.out + done.err + kept.read_text()
    assert "hunter" not in everything
    assert done.report["source"] == f"{server.url}/v1"


HTML = "Content-Type: text/html"
JSON = "Content-Type: application/json"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (answer_with("401 Unauthorized", [JSON], b'{"error": {"message": "no key"}}'), "no key"),
        (answer_with("429 Too Many Requests", ["Retry-After: 7"], b""), "retry after 7 s"),
        (answer_with("500 Internal Server Error", [HTML], b"<h1>\x1b[31moops</h1>"), "500"),
        (answer_with("200 OK", [HTML], b"<html>login</html>"), "text/html"),
        (answer_with("200 OK", [SSE], b""), "before the first event"),
        (answer_with("307 Temporary Redirect", ["Location: http://e.org/x"], b""), "redirects"),
    ],
    ids=["401", "429", "500", "html", "empty", "redirect"],
)
async def test_refusals(answer, cause):
    async with Server(answer) as server:
        done = await run_async("watch", server.url, *ASK)
    assert done.status == 3
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {server.url}/v1/chat/completions: ")
    assert cause in line
    assert "\x1b" not in line


async def test_closed_in_the_middle_of_an_event():
    async def answer(exchange):
        await exchange.head("200 OK", SSE)
        await exchange.send(sse(chunk("Once upon"), done=False) + b'data: {"choi')

    async with Server(answer) as server:
        done = await run_async("watch", server.url, *ASK)
    assert (done.status, done.out) == (3, "Once upon")
    assert "outcome              failed" in done.err
    assert done.err.splitlines()[-1].startswith("error: http://")


async def test_an_idle_endpoint():
    async with Server(speak_once) as server:
        done = await run_async("watch", server.url, *ASK, "--idle-timeout", "0.3")
        await server.gone.wait()
    assert (done.status, done.out) == (3, "Once upon a time")
    assert "nothing arrived for 0.3 s" in done.err.splitlines()[-1]


async def test_a_stall_is_told_while_it_lasts_and_can_stop():
    async def answer(exchange):
        await exchange.chunked()
        for n in range(20):
            await exchange.chunk(sse(chunk(f"{chr(97 + n) * 4} "), done=False))
            await asyncio.sleep(0.001)  # gaps, which are what a rhythm is made of
        await exchange.gone()

    async with Server(answer) as server:
        done = await run_async("watch", server.url, *ASK, "--on-stall", "stop")
        await server.gone.wait()
    assert done.status == 1
    assert "STALL, stream stopped" in done.err


def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        done = run("watch", f"http://127.0.0.1:{probe.getsockname()[1]}", *ASK)
    assert done.status == 3
    assert "no connection" in done.err


async def test_an_error_inside_the_stream():
    failing = sse(chunk("Once "), {"error": {"message": "overloaded \x1b[2J"}}, done=False)
    async with Server(answer_with("200 OK", [SSE], failing)) as server:
        done = await run_async("watch", server.url, *ASK)
    assert (done.status, done.out) == (3, "Once ")
    assert "error: overloaded \\x1b[2J" in done.err


async def test_recording_an_endpoint(tmp_path):
    path = tmp_path / "kept.jsonl"
    async with Server(tell_story) as server:
        done = await run_async("record", server.url, path, *ASK)
    assert done.status == 0
    assert "".join(event.text for event in load(path) if event.kind == "text") == done.out


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
async def test_ctrl_c_closes_the_connection():
    old = signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit "ignore"
    try:
        async with Server(speak_once) as server:
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "watch", server.url, *ASK),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
            )
            try:
                assert await process.stdout.readexactly(16) == b"Once upon a time"
                process.send_signal(signal.SIGINT)
                await server.gone.wait()
                _, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    finally:
        signal.signal(signal.SIGINT, old)
    assert process.returncode == 130
    assert b"outcome              closed" in err
    assert b"Traceback" not in err
