"""`midstream proxy`, as a program."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys

import httpx2
import pytest
from apps.program import finished, read_until, run, started
from stream.chat import chunk, sse, story, within
from stream.proxy.wires import Upstream, post, raw, split

from midstream.quic.certificates import Identity

CHAT = "/v1/chat/completions"
KEY = "sk-proj-" + "A1b2C3d4E5" * 8
RULE = (
    '[[rule]]\nname = "no rm"\nformula = "G !c"\naction = "block"\natoms = {c = {tool = "TOOL"}}\n'
)
CALL = {"index": 0, "id": "c", "function": {"name": "rm", "arguments": "{}"}}
CALLS = sse(chunk(tool_calls=[CALL]), chunk(finish="tool_calls"))

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")


async def first_row(process):
    line = await asyncio.to_thread(read_until, process.stdout, b"\n")
    return json.loads(line.splitlines()[0])


async def ended(process, number=signal.SIGTERM):
    process.send_signal(number)
    return await asyncio.to_thread(finished, process)


@posix
async def test_it_serves_until_a_signal(tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(RULE.replace("TOOL", "rm"))
    options = ("--rules", rules, "--record", tmp_path / "kept", "--port", 0, "--json")
    async with within(60), Upstream(CALLS) as upstream:
        with started("proxy", "--upstream", upstream.url, *options) as process:
            start = await first_row(process)
            assert start["type"] == "proxying"
            assert start["upstream"] == upstream.url
            request = post(CHAT, b"{}", f"Authorization: Bearer {KEY}")
            answer = await raw(start["url"], request)
            assert b"denied by the rule 'no rm'" in answer
            request = post("/-/metrics").replace(b"POST", b"GET")
            status, _, body = split(await raw(start["url"], request))
            assert status == 200
            assert b'midstream_denied_total{policy="no rm"} 1' in body
            request = post(CHAT).replace(b"Host: 127.0.0.1", b"Host: evil.example")
            assert split(await raw(start["url"], request))[0] == 421
            done = await ended(process)
    assert done.status == 128 + signal.SIGTERM
    found, draining, served = done.rows
    assert (found["type"], found["rule"], found["severity"]) == ("finding", "no rm", "block")
    assert draining == {"type": "draining", "streams": 0}
    assert served["type"] == "served"
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.stem == found["id"]
    assert KEY not in done.out + done.err + kept.read_text()


@posix
async def test_answers_that_cannot_be_read_and_texts_that_wait(tmp_path):
    rules = tmp_path / "rules.toml"
    text = '[[rule]]\nname = "hush"\nformula = "G !s"\naction = "stop"\n'
    rules.write_text(text + "atoms = {s = {pattern = 'secret word'}}\n")
    said = sse(chunk("The sec"), chunk("ret wo"), chunk("rd"), chunk(finish="stop"))
    options = ("--rules", rules, "--port", 0, "--json")
    unread = post("/model/m/converse-stream")
    async with within(60), Upstream(said) as upstream:
        with started("proxy", "--upstream", upstream.url, *options) as process:
            start = await first_row(process)
            assert split(await raw(start["url"], unread))[0] == 403
            assert b"The sec" in split(await raw(start["url"], post(CHAT)))[2]
            done = await ended(process)
        assert done.err == ""
        options += ("--allow-unread", "--hold-text", 100)
        with started("proxy", "--upstream", upstream.url, *options) as process:
            start = await first_row(process)
            assert split(await raw(start["url"], unread))[0] == 200
            body = split(await raw(start["url"], post(CHAT)))[2]
            done = await ended(process)
    assert b"The " in body
    assert b"sec" not in body
    assert "answers of Bedrock pass unread" in done.err


@posix
async def test_it_serves_https(tmp_path):
    chain, key = Identity.development().save(tmp_path)
    options = ("--port", 0, "--certificate", chain, "--key", key, "--json")
    with started("proxy", "--upstream", "http://127.0.0.1:9", *options) as process:
        start = await first_row(process)
        trust = ssl.create_default_context(cafile=chain)
        async with httpx2.AsyncClient(verify=trust) as client:
            answer = await client.get(start["url"] + "/-/health")
        await ended(process)
    assert answer.status_code == 200


@posix
async def test_a_certificate_is_read_again(tmp_path):
    chain, key = Identity.development().save(tmp_path)
    options = ("--port", 0, "--certificate", chain, "--key", key, "--json")
    with started("proxy", "--upstream", "http://127.0.0.1:9", *options) as process:
        url = (await first_row(process))["url"]

        async def serial():
            host, _, port = url.partition("://")[2].partition(":")
            trust = ssl.create_default_context(cafile=chain)
            _, writer = await asyncio.open_connection(host, port, ssl=trust)
            try:
                return writer.get_extra_info("peercert")["serialNumber"]
            finally:
                writer.close()

        async def told():
            process.send_signal(signal.SIGHUP)
            return await first_row(process)

        old = await serial()
        kept = chain.read_bytes()
        chain.write_text("no certificate")
        broken = await told()
        assert broken["type"] == "certificate_broken"
        assert str(chain) in broken["problem"]
        chain.write_bytes(kept)
        assert await serial() == old
        Identity.development().save(tmp_path)  # as one that is renewed, in the same files
        assert await told() == {"type": "certificate"}
        assert await serial() != old
        done = await ended(process)
    assert done.err == ""


@posix
async def test_rules_are_read_again(tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(RULE.replace("TOOL", "other"))
    options = ("--rules", rules, "--port", 0, "--json")
    async with within(60), Upstream(CALLS) as upstream:
        with started("proxy", "--upstream", upstream.url, *options) as process:
            url = (await first_row(process))["url"]
            assert b'"rm"' in await raw(url, post(CHAT))
            rules.write_text("broken [")
            process.send_signal(signal.SIGHUP)
            told = await asyncio.to_thread(read_until, process.stdout, b"rules_broken")
            assert b"rules.toml" in told
            assert b'"rm"' in await raw(url, post(CHAT))
            rules.write_text(RULE.replace("TOOL", "rm"))
            process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(read_until, process.stdout, b'"rules", "version"')
            assert b'"rm"' not in await raw(url, post(CHAT))
            await ended(process)


@posix
async def test_streams_in_flight_end_before_it_does():
    async with within(60), Upstream(story(60), size=100, pause_s=0.01) as upstream:
        with started("proxy", "--upstream", upstream.url, "--port", 0, "--json") as process:
            url = (await first_row(process))["url"]
            running = asyncio.create_task(raw(url, post(CHAT)))
            while not upstream.requests:
                await asyncio.sleep(0.01)
            done = await ended(process)
            assert split(await running)[2] == story(60)
    assert done.rows[0] == {"type": "draining", "streams": 1}
    assert done.status == 128 + signal.SIGTERM


@posix
async def test_requests_are_taken_until_a_balancer_has_noticed():
    async with within(60), Upstream(story(3)) as upstream:
        options = ("--upstream", upstream.url, "--port", 0, "--json", "--linger", 300)
        with started("proxy", *options) as process:
            url = (await first_row(process))["url"]
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(read_until, process.stdout, b"draining")
            async with httpx2.AsyncClient(base_url=url) as client:
                assert (await client.get("/-/health")).json()["status"] == "draining"
                assert (await client.get("/-/ready")).status_code == 503
                assert "midstream_ready 0" in (await client.get("/-/metrics")).text
            assert split(await raw(url, post(CHAT)))[2] == story(3)
            done = await ended(process)  # who asks twice does not want to wait
    assert done.rows == [{"type": "served", "requests": 1}]
    assert done.status == 128 + signal.SIGTERM


@posix
async def test_a_second_signal_ends_streams_at_once():
    async with within(60), Upstream(story(60), size=100, hang_after=300) as upstream:
        with started("proxy", "--upstream", upstream.url, "--port", 0, "--json") as process:
            url = (await first_row(process))["url"]
            running = asyncio.create_task(raw(url, post(CHAT)))
            while not upstream.requests:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(read_until, process.stdout, b"draining")
            done = await ended(process, signal.SIGINT)
            assert b"the proxy ends" in split(await running)[2]
    assert done.status == 128 + signal.SIGINT


@posix
async def test_for_people():
    loop = sse(*[chunk("I will try that again. ") for _ in range(60)])
    async with within(60), Upstream(loop) as upstream:
        with started("proxy", "--upstream", upstream.url, "--port", 0) as process:
            line = await asyncio.to_thread(read_until, process.stdout, b"\n")
            assert line.decode().startswith(f"guarding {upstream.url} at http://127.0.0.1:")
            url = line.decode().split()[-1]
            await raw(url, post(CHAT))
            done = await ended(process)
    lines = done.out.splitlines()
    assert lines[0].startswith("warn: loop in ")
    assert lines[1].startswith("stop: loop in ")
    assert lines[2] == "ending; 0 requests in flight"
    assert lines[3] == "1 request served"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--upstream", "ftp://x"), "upstream must be http://"),
        (("--upstream", "localhost:8080"), "with a host, got 'localhost:8080'"),
        (("--upstream", "me:secret@x"), "must not hold a user"),
        (("--upstream", "http://me:secret@x"), "must not hold a user"),
        (("--upstream", "http://x", "--limit", "none=3"), "max_streams"),
        (("--upstream", "http://x", "--key", __file__), "--key goes only with --certificate"),
        (("--upstream", "http://x", "--certificate", __file__), "a certificate and its key in PEM"),
        (("--upstream", "http://x", "--limit", "max_streams=x"), "must be a number"),
        (("--upstream", "http://x", "--limit", "max_streams=0"), "max_streams"),
        (("--upstream", "http://x", "--rules", "/none"), "No such file"),
        (("--upstream", "http://x", "--rules", "call-limits"), "did you mean 'call-limit'?"),
    ],
)
def test_options_that_cannot_be_used(args, words):
    done = run("proxy", "--port", 0, *args, env={"COLUMNS": "300"})
    assert done.status == 2
    assert words in " ".join(done.err.replace("│", " ").split())
    assert "secret" not in done.err


def test_rules_that_cannot_be_used(tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(RULE.replace("G !c", "G !d"))
    done = run("proxy", "--upstream", "http://x", "--rules", rules, env={"COLUMNS": "300"})
    assert done.status == 2
    assert "no rm" in done.err


@posix
async def test_files_and_ready_rules_together(tmp_path):
    """A file that is changed is read again by itself, told of and counted once."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULE.replace("TOOL", "rm") + RULE.replace("TOOL", "rm").replace("no rm", "2"))
    options = ("--rules", "no-secret", "--rules", rules, "--port", 0, "--json")
    async with within(60), Upstream(CALLS) as upstream:
        with started("proxy", "--upstream", upstream.url, *options) as process:
            url = (await first_row(process))["url"]
            assert b"denied by the rule" in await raw(url, post(CHAT))
            rules.write_text("broken [")
            await asyncio.sleep(1.1)  # as often as a file is looked at
            assert b"denied by the rule" in await raw(url, post(CHAT))
            rules.write_text(RULE.replace("TOOL", "other"))
            await asyncio.sleep(1.1)
            assert b'"rm"' in await raw(url, post(CHAT))
            asked = post("/-/metrics").replace(b"POST", b"GET")
            counted = (await raw(url, asked)).decode()
            done = await ended(process)
    assert 'midstream_rules_reloads_total{outcome="read"} 1' in counted
    assert 'midstream_rules_reloads_total{outcome="broken"} 1' in counted
    assert [row["type"] for row in done.rows if row["type"] != "finding"] == [
        "rules_broken",
        "rules",
        "draining",
        "served",
    ]
    (warned,) = done.err.splitlines()
    assert warned.startswith("warning: ") and "duplicate" in warned


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run("proxy", "--upstream", "http://x", "--port", port)
    assert done.status == 3
    assert done.err.startswith(f"error: 127.0.0.1:{port}: ")


@pytest.mark.parametrize("module", ["httptools", "uvicorn"])
def test_the_extra_that_is_missing_is_named(module):
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from midstream.apps.cli import main\n"
        "sys.argv = ['midstream', 'proxy', '--upstream', 'http://127.0.0.1:1', '--port', '0']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 3
    assert b'pip install "midstream[proxy]"' in done.stderr


def test_help_says_which_rows_there_are():
    text = " ".join(run("proxy", "--help").out.replace("│", " ").split())
    assert '{"type": "proxying", ...}' in text
