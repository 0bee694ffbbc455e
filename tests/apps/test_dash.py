"""`midstream dash`, as a program."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import stat
import sys
import urllib.request
from urllib.error import HTTPError

import pytest
from apps.program import finished, read_until, run, run_process, started
from stream.chat import story, within
from stream.proxy.wires import Upstream, post, raw

pytest.importorskip("starlette", reason="the web dashboard needs the extra 'ui'")

from midstream.stream import shipped_recordings

LOOP = shipped_recordings()["loop-02"]


def get(url, path="", **headers):
    request = urllib.request.Request(url.partition("#")[0] + path, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.read()


def dash(*options, env=None):
    return started("dash", "--port", 0, "--json", *options, env=env)


def test_sources_are_shown_until_a_signal(tmp_path):
    shutil.copy(LOOP, tmp_path / "kept.jsonl")
    with dash(LOOP, tmp_path / "none.jsonl", "--speed", 20, "--recordings", tmp_path) as process:
        said = read_until(process.stdout, b"stopped")
        rows = [json.loads(line) for line in said.splitlines() if line.endswith(b"}")]
        start = rows[0]
        assert start["type"] == "dash"
        assert start["host"] == "127.0.0.1"
        assert start["token"] is False
        status, page = get(start["url"])
        assert status == 200
        assert b"<title>midstream</title>" in page
        _, session = get(start["url"], "api/session")
        assert json.loads(session)["recordings"] is True
        _, listed = get(start["url"], "api/recordings")
        assert [row["name"] for row in json.loads(listed)["recordings"]] == ["kept.jsonl"]
        process.send_signal(signal.SIGINT)
        ended = finished(process)
    assert ended.status == 128 + signal.SIGINT
    rows += ended.rows
    outcomes = {row["source"]: row["outcome"] for row in rows if row["type"] == "source"}
    assert outcomes == {str(LOOP): "stopped", str(tmp_path / "none.jsonl"): "failed"}
    assert rows[-1] == {"type": "shown", "streams": 2}


def test_standard_input_is_shown():
    with dash("-") as process:
        start = json.loads(read_until(process.stdout, b"\n").splitlines()[0])
        process.stdin.write(b"Once upon a time")
        process.stdin.close()
        process.stdin = None
        read_until(process.stdout, b'"ended"')
        with urllib.request.urlopen(start["url"] + "api/feed", timeout=30) as answer:
            said = b""
            while b"Once upon a time" not in said:
                said += answer.readline()
        process.send_signal(signal.SIGTERM)
        assert finished(process).status == 128 + signal.SIGTERM


@pytest.mark.parametrize("given", ["random", "env", "file"])
def test_others_need_the_token(given, tmp_path):
    token = "correct-horse-battery-staple"
    file = tmp_path / "token"
    file.write_text(token + "\n", "utf-8")
    more = {
        "random": ((), {}),
        "env": (("--token-env", "DASH_TOKEN"), {"DASH_TOKEN": token}),
        "file": (("--token-file", file), {}),
    }
    options, env = more[given]
    with dash("--recordings", tmp_path, "--host", "0.0.0.0", *options, env=env) as process:
        start = json.loads(read_until(process.stdout, b"\n").splitlines()[0])
        assert start["token"] is True
        shown = start["url"].partition("#token=")[2]
        assert shown == token if given != "random" else len(shown) >= 32
        here = f"http://127.0.0.1:{start['port']}/"
        with pytest.raises(HTTPError, match="401"):
            get(here, "api/session")
        status, _ = get(here, "api/session", Authorization=f"Bearer {shown}")
        assert status == 200
        process.send_signal(signal.SIGINT)
        assert finished(process).status == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "say what to show"),
        (("--recordings", "{folder}/none"), "none"),
        ((LOOP, "--token-env", "NOT_SET_HERE"), "NOT_SET_HERE is not set"),
        ((LOOP, "--token-file", "{folder}/none"), "--token-file"),
        ((LOOP, "--token-env", "A", "--token-file", "{folder}/b"), "not both"),
        ((LOOP, "--token-file", "{folder}/short"), "at least 16"),
        ((LOOP, "--prompt", "Hi"), "--prompt"),
        (("ftp://example.org/x",), "ftp://example.org/x"),
        (("-", "-"), "read once"),
    ],
)
def test_what_does_not_go_together(options, words, tmp_path):
    (tmp_path / "short").write_text("short", "utf-8")
    filled = [str(option).replace("{folder}", str(tmp_path)) for option in options]
    done = run("dash", *filled)
    assert done.status == 2
    # A long path is broken anywhere.
    said = "".join(done.err.replace("│", " ").split())
    assert "".join(words.split()) in said


def test_a_port_that_is_taken_is_told():
    with dash(LOOP) as process:
        start = json.loads(read_until(process.stdout, b"\n").splitlines()[0])
        done = run("dash", LOOP, "--port", start["port"])
        assert done.status == 3
        assert f"port {start['port']}" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="BROWSER is read elsewhere")
def test_a_browser_gets_the_token_in_a_file_of_its_own(tmp_path):
    said = tmp_path / "said"
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\nfile="${{1#file://}}"\necho "$1" > {said}.new\n'
        f'ls -ld "$file" >> {said}.new\ncat "$file" >> {said}.new\n'
        f"mv {said}.new {said}\n",
        "utf-8",
    )
    browser.chmod(stat.S_IRWXU)
    env = {"BROWSER": str(browser), "PATH": os.environ["PATH"]}
    with dash("--recordings", tmp_path, "--host", "0.0.0.0", "--open", env=env) as process:
        start = json.loads(read_until(process.stdout, b"\n").splitlines()[0])
        token = start["url"].partition("#token=")[2]
        while not said.exists():
            assert process.poll() is None
        address, mode, *rest = said.read_text("utf-8").splitlines()
        assert address.startswith("file://")
        assert token not in address
        assert mode.startswith("-rw-------")
        assert token in rest[0]
        process.send_signal(signal.SIGINT)
        finished(process)


async def test_the_proxys_streams_are_shown_beside_it(tmp_path):
    options = ("--port", 0, "--dash", 0, "--record", tmp_path, "--json")
    async with within(60), Upstream(story(20)) as upstream:
        with started("proxy", "--upstream", upstream.url, *options) as process:
            said = await asyncio.to_thread(read_until, process.stdout, b'"proxying"')
            while not said.endswith(b"\n"):
                said += await asyncio.to_thread(os.read, process.stdout.fileno(), 65536)
            rows = {row["type"]: row for row in map(json.loads, said.splitlines())}
            answer = await raw(rows["proxying"]["url"], post("/v1/chat/completions"))
            assert b"tok1" in answer
            page = rows["dash"]["url"]
            _, listed = await asyncio.to_thread(get, page, "api/recordings")
            assert len(json.loads(listed)["recordings"]) == 1
            with urllib.request.urlopen(page + "api/feed", timeout=30) as feed:
                said = b""
                while b'"outcome":"ended"' not in said:
                    said += await asyncio.to_thread(feed.readline)
            assert b"tok1" in said
            taken = await asyncio.to_thread(
                run_process,
                "proxy",
                "--upstream",
                upstream.url,
                "--port",
                0,
                "--dash",
                page.rpartition(":")[2].strip("/"),
            )
            assert taken.status == 3
            assert "--dash" in taken.err
            process.send_signal(signal.SIGTERM)
            done = await asyncio.to_thread(finished, process)
    assert done.status == 128 + signal.SIGTERM


def test_the_page_is_served_over_https(tmp_path):
    from midstream.quic.certificates import Identity

    chain, key = Identity.development().save(tmp_path)
    with dash("sim:story", "--certificate", chain, "--key", key) as process:
        row = json.loads(read_until(process.stdout, b"\n").splitlines()[0])
        assert row["url"].startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(chain))
        trusted.check_hostname = False
        with urllib.request.urlopen(row["url"], context=trusted) as answer:
            assert answer.status == 200
    for options, says in (
        (["--key", key], "--key goes only with --certificate"),
        (["--certificate", __file__], "in PEM"),
    ):
        done = run("dash", "sim:story", "--web", "--port", 0, *options)
        assert done.status == 2
        assert says in " ".join(done.err.replace("│", "").split())
