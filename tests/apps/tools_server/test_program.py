"""``midstream mcp`` as a process: the official client, nothing else on standard output, signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap

import httpx2
import pytest
from apps.program import COMMAND, environment, finished, read_until, run, started
from apps.tools_server.clients import MODES, ask, read, refused, shipped
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call(number, tool, **arguments):
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def lines(*messages):
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def piped(*args, mode="auto", **more):
    """The official client of a process."""
    parameters = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], "mcp", *args], env=environment(**more)
    )
    return Client(parameters, mode=mode, cache=None)


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_is_served(mode, tmp_path):
    async with piped("--recordings", str(shipped(tmp_path)), mode=mode) as client:
        assert len((await client.list_tools()).tools) == 11
        if mode == "legacy":  # the other era need not say who it is
            assert client.server_info.name == "midstream"
        await ask(client, "analyze_conversation", messages=["a", "b"], keep=True)
        assert (await ask(client, "get_status"))["messages"] == 2
        assert "'nix'" in await refused(client, "search_recordings", after="nix")
        assert (await read(client, "midstream://recordings/loop-02.jsonl"))["events"] == 601
        found = await ask(client, "analyze_behavior", rewards=[k % 5 for k in range(500)])
        assert found["period"] == 5


async def test_a_request_that_is_cancelled_ends(tmp_path):
    from apps.tools_server.test_recordings import many

    begun = asyncio.Event()

    async def progress(done, total, message):
        begun.set()

    async with piped("--recordings", str(many(tmp_path, 400))) as client:
        search = asyncio.ensure_future(
            client.call_tool("search_recordings", {}, progress_callback=progress)
        )
        await begun.wait()
        search.cancel()
        await asyncio.gather(search, return_exceptions=True)
        while (await ask(client, "get_status"))["server"]["waiting"]:
            await asyncio.sleep(0.02)


def test_what_was_asked_is_answered_when_the_input_ends():
    text = lines(
        INITIALIZE,
        READY,
        call(1, "get_status"),
        call(2, "analyze_behavior", rewards=[(k * k) % 11 for k in range(3000)]),
    )
    with started("mcp", "--json") as process:
        process.stdin.write(text)
        outcome = finished(process, hang_up=True)
    assert outcome.status == 0
    assert sorted(row["id"] for row in outcome.rows) == [0, 1, 2]
    rows = [json.loads(line) for line in outcome.err.splitlines()]
    assert rows[0] == {"type": "serving", "transport": "stdio", "url": None}
    assert [row["tool"] for row in rows if row["type"] == "call"] == [
        "get_status",
        "analyze_behavior",
    ]
    assert rows[-1]["type"] == "served"
    assert rows[-1]["calls"] == 2


def test_standard_output_holds_the_protocol_alone(tmp_path):
    # A library that prints, warns, logs, writes to the descriptor and starts what writes there.
    noisy = tmp_path / "noisy.py"
    noisy.write_text(
        textwrap.dedent(
            """
            import logging, os, subprocess, sys, warnings
            from midstream.apps.agent import Agent
            from midstream.apps.cli import main

            status = Agent.status

            def loud(self):
                print("printed")
                sys.stdout.write("written")
                sys.stdout.flush()
                os.write(1, b"on the descriptor")
                subprocess.run([sys.executable, "-c", "print('a child'); input()"], check=False)
                warnings.warn("warned")
                logging.getLogger("mcp").warning("logged")
                logging.getLogger("mcp").error("\\x1b[2Jwith an escape")
                return status(self)

            Agent.status = loud
            main()
            """
        )
    )
    text = lines(INITIALIZE, READY, call(1, "get_status"), call(2, "get_status"))
    done = subprocess.run(
        [sys.executable, "-P", str(noisy), "mcp"],
        input=text,
        capture_output=True,
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(frame["id"] for frame in frames) == [0, 1, 2]
    assert all(set(frame) == {"jsonrpc", "id", "result"} for frame in frames)
    for said in (b"printed", b"written", b"on the descriptor", b"a child", b"warned", b"logged"):
        assert said in done.stderr
    assert b"\x1b" not in done.stderr


def test_lines_that_are_no_messages_are_passed_over():
    text = b"".join(
        (
            b"\n",
            b"nonsense\n",
            b"\xff\xfe\n",
            b"[1, 2]\n",
            b"[" * 50_000 + b"\n",
            b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "x": "' + b"x" * 20_000 + b'"}\n',
            lines(INITIALIZE, READY, call(1, "get_status")),
        )
    )
    with started("mcp", "--limit", "max_message_bytes=10000") as process:
        process.stdin.write(text)
        outcome = finished(process, hang_up=True)
    assert outcome.status == 0
    answered = [row["id"] for row in outcome.rows if "result" in row]
    assert answered == [0, 1]
    assert "more than 10000 bytes" in outcome.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_all_is_answered(number):
    series = [(k * k) % 101 + 0.5 * (k % 7) for k in range(9000)]
    with started("mcp", "--json") as process:
        process.stdin.write(lines(INITIALIZE, READY))
        read_until(process.stdout, b"\n")
        process.stdin.write(
            lines(call(5, "analyze_behavior", rewards=series), call(6, "get_status"))
        )
        said = read_until(process.stdout, b'"id":6')  # the other one is under way
        process.send_signal(number)
        outcome = finished(process)
    assert outcome.status == 128 + number
    said += outcome.out.encode()
    ids = [json.loads(line)["id"] for line in said.splitlines() if line.startswith(b"{")]
    assert sorted(ids)[-2:] == [5, 6]
    kinds = [json.loads(line)["type"] for line in outcome.err.splitlines()]
    assert kinds[-1] == "served"
    assert "draining" in kinds


def test_an_idle_process_ends_at_once():
    with started("mcp") as process:
        process.stdin.write(lines(INITIALIZE, READY))
        read_until(process.stdout, b"\n")
        process.send_signal(signal.SIGTERM)
        outcome = finished(process)
    assert outcome.status == 143
    assert outcome.out == ""


def test_a_client_that_reads_no_more_is_no_crash():
    with started("mcp") as process:
        process.stdin.write(lines(INITIALIZE, READY))
        read_until(process.stdout, b"\n")
        process.stdout.close()
        process.stdin.write(lines(call(1, "get_status")))
        process.stdout = None
        outcome = finished(process, hang_up=True)
    assert outcome.status == 0


@pytest.mark.parametrize("option", ["--token-file", "--token-env"])
async def test_it_serves_http(tmp_path, option):
    token = tmp_path / "token"
    token.write_text("a-token-for-this\nand a remark")
    given = str(token) if option == "--token-file" else "WORD"
    env = {"WORD": "a-token-for-this"}
    with started(
        "mcp", "--http", "127.0.0.1:0", option, given, "--json", "--drain", "2", env=env
    ) as process:
        row = json.loads(read_until(process.stderr, b"\n").splitlines()[0])
        assert row["transport"] == "http"
        headers = {"Authorization": "Bearer a-token-for-this"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(row["url"], http_client=http), cache=None) as client,
        ):
            await ask(client, "get_status")
        async with httpx2.AsyncClient() as http:
            assert (await http.post(row["url"], json={})).status_code == 401
        process.send_signal(signal.SIGTERM)
        outcome = await asyncio.to_thread(finished, process)
    assert outcome.status == 143
    assert outcome.out == ""
    assert "a-token-for-this" not in outcome.err
    kinds = [json.loads(line)["type"] for line in outcome.err.splitlines()]
    assert kinds[-2:] == ["draining", "served"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--http", "nowhere:port"), 2, "--http must be HOST:PORT"),
        (("--http", "127.0.0.1:70000"), 2, "--http must be HOST:PORT"),
        (("--http", "0.0.0.0:0"), 2, "--token-file must be given"),
        (
            (
                "--http",
                "192.0.2.1:1",
            ),
            2,
            "--token-file must be given",
        ),
        (("--limit", "max_sessions"), 2, "NAME=VALUE"),
        (("--limit", "max_sessions=0"), 2, "max_sessions must be"),
        (("--limit", "nothing=1"), 2, "max_sessions"),
        (("--origin", "https://x.example"), 2, "--origin goes only with --http"),
        (("--allow-host", "x.example"), 2, "--allow-host goes only with --http"),
        (("--http", "127.0.0.1:0", "--origin", "x"), 2, "origin must look like"),
        (("--token-file", "/nowhere"), 2, "--token-file"),
        (("--token-env", "WORD"), 2, "--token-env goes only with --http"),
        (("--recordings", "/dev/null/x"), 3, "Not a directory"),
    ],
)
def test_wrong_options_are_said(arguments, status, said):
    outcome = run("mcp", *arguments)
    assert outcome.status == status, outcome.err
    assert said in " ".join(outcome.err.replace("│", " ").split())
    assert outcome.out == ""


def test_a_place_that_is_taken_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = run("mcp", "--http", place)
    assert outcome.status == 3
    assert place in outcome.err


def test_without_the_extra_it_says_which_one(tmp_path):
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError('No module', name='mcp')")
    outcome = run("mcp", env={"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    assert outcome.status == 3
    assert 'pip install "midstream[mcp]"' in outcome.err
