"""Endpoints: what is asked, how a stream is closed, and servers that misbehave in every way."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import re
import shutil
import socket
import ssl
import struct

import httpx2
import pytest
from stream.chat import chunk, collect, joined, sse, story
from stream.server import SSE, Server

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
)
from midstream.stream.http import endpoint_url, from_http
from midstream.stream.providers import from_openai

KEY = "sk-a-very-secret-key"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(autouse=True)
async def hang_guard():
    """No test here may hang, whatever the server does."""
    async with asyncio.timeout(30):
        yield


async def tell(exchange):
    await exchange.chunked()
    await exchange.chunk(story())
    await exchange.chunk(b"")


def answering(status, *headers, body=b""):
    async def answer(exchange):
        await exchange.head(status, *headers)
        await exchange.send(body)

    return answer


async def ask(answer, **options):
    """Events, error, and what the server saw."""
    async with Server(answer) as server:
        source = from_http(server.url, **{"prompt": "Hi", **options})
        events, error = await collect(source)
        await server.gone.wait()  # whatever happened, the connection is closed
        return events, error, server


# -- requests


async def test_a_story_and_its_request():
    events, error, server = await ask(tell, model="stories260k", api_key=KEY)
    assert error is None
    assert joined(events) == "tok0 tok1 tok2 tok3 tok4 "
    assert events[-1].kind == "end"
    assert [event.seq for event in events] == list(range(6))
    assert all(0 <= event.t_ns < 30e9 for event in events)
    (exchange,) = server.exchanges
    assert exchange.path == "/v1/chat/completions"
    assert exchange.headers["authorization"] == f"Bearer {KEY}"
    assert exchange.headers["accept"] == "text/event-stream"
    assert exchange.json == {
        "model": "stories260k",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_body_headers_and_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    _, _, server = await ask(
        tell,
        prompt=None,
        messages=[{"role": "user", "content": "Ho"}],
        body={"temperature": 0, "stream": False},
        headers={"x-team": "red", "ACCEPT": "*/*"},
        include_usage=False,
    )
    (exchange,) = server.exchanges
    assert exchange.headers["authorization"] == f"Bearer {KEY}"
    assert exchange.headers["x-team"] == "red"
    assert exchange.headers["accept"] == "*/*"
    assert exchange.json == {
        "messages": [{"role": "user", "content": "Ho"}],
        "temperature": 0,
        "stream": True,
    }
    for options in ({"headers": {"api-key": "mine"}}, {"api_key": ""}):
        _, _, server = await ask(tell, **options)
        assert "authorization" not in server.exchanges[0].headers


async def test_legacy_prompt():
    async with Server(tell) as server:
        await collect(from_http(server.url + "/v1/completions?version=2", prompt="Once"))
        (exchange,) = server.exchanges
    assert exchange.path == "/v1/completions?version=2"
    assert exchange.json["prompt"] == "Once"
    assert "messages" not in exchange.json


def test_urls():
    for url, wanted in {
        "http://h": "http://h/v1/chat/completions",
        "http://h:80/": "http://h:80/v1/chat/completions",
        "https://h/v1": "https://h/v1/chat/completions",
        "https://h/api/v1/": "https://h/api/v1/chat/completions",
        "https://h/v1/chat/completions": "https://h/v1/chat/completions",
        "https://h/v1/completions": "https://h/v1/completions",
        "http://h/completion": "http://h/completion",
        "https://h/d/chat/completions?api-version=1": "https://h/d/chat/completions?api-version=1",
    }.items():
        assert endpoint_url(url) == wanted
    for url, api, wanted in (
        ("http://h", "messages", "http://h/v1/messages"),
        ("https://api.anthropic.com", None, "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/", None, "https://api.anthropic.com/v1/messages"),
        ("https://h/anthropic", "anthropic", "https://h/anthropic/v1/messages"),
        ("https://h/v1/messages?beta=true", None, "https://h/v1/messages?beta=true"),
        ("http://h", "responses", "http://h/v1/responses"),
        ("http://h/openai/v1", "responses", "http://h/openai/v1/responses"),
        ("http://h/v1/responses", "responses", "http://h/v1/responses"),
        ("http://h:11434", "ollama", "http://h:11434/api/chat"),
        ("http://h/api", "ollama", "http://h/api/chat"),
        ("http://h/api/generate", None, "http://h/api/generate"),
        ("http://h", "llama", "http://h/completion"),
        ("http://h", "chat.completions", "http://h/v1/chat/completions"),
    ):
        assert endpoint_url(url, api) == wanted


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://h", "http://", "http://:80", "http://h:x", "http://[", "http://a b"]
)
def test_urls_that_are_none(url):
    with pytest.raises(ArgumentValueError, match="url"):
        from_http(url, prompt="Hi")


def test_arguments():
    url = "http://127.0.0.1:1"
    for options, error, match in (
        ({}, ArgumentValueError, "one of messages, prompt and body"),
        ({"prompt": "a", "messages": []}, ArgumentValueError, "not both"),
        ({"prompt": 5}, ArgumentTypeError, "prompt"),
        ({"body": {"x": {1}}}, ArgumentTypeError, "not JSON"),
        ({"prompt": "a", "idle_timeout_s": 0}, ArgumentValueError, "idle_timeout_s"),
        ({"prompt": "a", "connect_timeout_s": "1"}, ArgumentTypeError, "connect_timeout_s"),
        ({"prompt": "a", "max_line_bytes": 0}, ArgumentValueError, "max_line_bytes"),
        ({"prompt": "a", "api_key": 5}, ArgumentTypeError, "api_key"),
        ({"prompt": "a", "headers": {"a": 5}}, ArgumentTypeError, "headers"),
        ({"prompt": "a", "headers": {"x key": "5"}}, ArgumentValueError, "a name is empty, or has"),
        ({"prompt": "a", "headers": {"": "5"}}, ArgumentValueError, "a name is empty, or has"),
        ({"prompt": "a", "api": "gopher"}, ArgumentValueError, "api must be one of .*'gopher'"),
        ({"prompt": "a", "api": "google"}, ArgumentValueError, "api must be one of .*'google'"),
        ({"prompt": "a", "api": 5}, ArgumentTypeError, "api"),
    ):
        with pytest.raises(error, match=match):
            from_http(url, **options)
    with pytest.raises(ArgumentTypeError, match="url"):
        from_http(5, prompt="a")
    with pytest.raises(
        ArgumentValueError, match="api is 'anthropic', but '/v1/responses' is a path"
    ):
        from_http(url + "/v1/responses", prompt="a", api="anthropic")
    for options in ({"api_key": f"{KEY}\n{KEY}"}, {"headers": {"x-key": KEY + "é"}}):
        with pytest.raises(ArgumentValueError) as caught:
            from_http(url, prompt="a", **options)
        assert KEY not in str(caught.value)
    with pytest.raises(ArgumentValueError) as caught:
        from_http(f"ftp://user:{KEY}@h/?key={KEY}", prompt="a")
    assert KEY not in str(caught.value)


# -- other answers that are fine


async def test_event_by_event():
    """Each event is handed out before the next is sent."""
    go = asyncio.Queue()

    async def answer(exchange):
        await exchange.chunked()
        for turn in range(3):
            await go.get()
            await exchange.chunk(sse(chunk(f"tok{turn}"), done=False))
        await exchange.chunk(sse(chunk(finish="stop")))
        await exchange.chunk(b"")

    async with Server(answer) as server, from_http(server.url, prompt="Hi") as source:
        for turn in range(3):
            go.put_nowait(None)
            assert (await anext(source)).text == f"tok{turn}"


async def test_done_ends_it_though_the_server_does_not():
    async def answer(exchange):
        await exchange.chunked()
        await exchange.chunk(story())
        await exchange.gone()

    events, error, _ = await ask(answer)
    assert error is None
    assert len(events) == 6


async def test_a_finish_reason_without_done_is_an_end():
    body = sse(chunk("a"), chunk(finish="stop"), done=False)
    events, error, _ = await ask(answering("200 OK", SSE, body=body))
    assert (joined(events), error) == ("a", None)
    events, error, _ = await ask(answering("200 OK", SSE, body=body.rstrip()))
    assert (joined(events), error) == ("a", None)


async def test_a_server_that_does_not_stream():
    message = {"role": "assistant", "content": "Hi there"}
    whole = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"a": 1},
    }
    body = json.dumps(whole, indent=2).encode()
    events, error, _ = await ask(answering("200 OK", "Content-Type: application/json", body=body))
    assert error is None
    assert [event.kind for event in events] == ["text", "end", "usage"]
    assert joined(events) == "Hi there"


async def test_json_lines():
    body = b"".join(
        json.dumps(item).encode() + b"\n" for item in (chunk("a"), chunk(finish="stop"))
    )
    for kind in ("application/x-ndjson", "application/json"):
        events, error, _ = await ask(answering("200 OK", f"Content-Type: {kind}", body=body))
        assert (joined(events), error) == ("a", None)


async def test_an_error_inside_the_stream():
    body = sse(chunk("a"), {"error": {"message": "overloaded", "type": "server"}}, done=False)
    events, error, _ = await ask(answering("200 OK", SSE, body=body))
    assert error is None
    assert (events[-1].kind, events[-1].text) == ("error", "server: overloaded")


async def test_a_malformed_event_does_not_end_it():
    body = sse(chunk("a"), "{broken", chunk("b", finish="stop"))
    events, error, _ = await ask(answering("200 OK", SSE, body=body))
    assert error is None
    assert [event.kind for event in events] == ["text", "error", "text", "end"]
    assert "event 2 at byte" in events[1].text


async def test_keep_alive_comments_are_life():
    async def answer(exchange):
        await exchange.chunked()
        for _ in range(5):
            await exchange.chunk(b": keep-alive\n\n")
            await asyncio.sleep(0.25)  # five of these are longer than the limit
        await exchange.chunk(story())
        await exchange.chunk(b"")

    events, error, _ = await ask(answer, idle_timeout_s=1.0)
    assert error is None
    assert len(events) == 6


async def test_a_client_of_the_callers_stays_open():
    async with Server(tell) as server, httpx2.AsyncClient() as client:
        for _ in range(2):
            events, error = await collect(from_http(server.url, prompt="Hi", client=client))
            assert error is None
            assert len(events) == 6
        assert not client.is_closed


# -- servers that misbehave


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (
            "401 Unauthorized",
            ["Content-Type: application/json"],
            json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode(),
            "401 Unauthorized: Incorrect API key provided: [hidden]",
        ),
        (
            "429 Too Many Requests",
            ["Retry-After: 20"],
            b'{"error": "slow\\ndown"}',
            "429 Too Many Requests, retry after 20 s: slow down",
        ),
        ("500 Internal Server Error", [], b"", "500 Internal Server Error"),
        ("500 Oops", [], b"<h1>\n" + b"x" * 9999, "500 Oops: <h1> " + "x" * 194 + "…"),
        ("503 Busy", [], b"\xff\x00\x1b[31m", "503 Busy: \ufffd\ufffd\ufffd[31m"),
        (
            "301 Moved",
            [f"Location: https://user:{KEY}@other/v1?key={KEY}"],
            b"",
            "301 Moved, redirects to https://other/v1",
        ),
        ("204 No Content", [], b"", "204 No Content"),
        (
            "200 OK",
            ["Content-Type: text/html; charset=utf-8"],
            b"<html>\n<b>Log in</b>",
            "answered with 'text/html' instead of an event stream: <html> <b>Log in</b>",
        ),
    ],
)
async def test_refusals(status, headers, body, said):
    events, error, server = await ask(answering(status, *headers, body=body), api_key=KEY)
    assert events == []
    assert isinstance(error, EndpointError)
    assert str(error) == f"{server.url}/v1/chat/completions: {said}"
    assert error.status == int(status[:3])
    assert error.place == f"{server.url}/v1/chat/completions"
    assert isinstance(error, ConnectionError)


async def test_a_refusal_whose_body_hangs():
    async def answer(exchange):
        await exchange.head("500 Oops", "Content-Length: 100")
        await exchange.send(b"half")
        await exchange.gone()

    _, error, _ = await ask(answer, idle_timeout_s=0.3)
    assert isinstance(error, EndpointError)
    assert "500 Oops: half [body not complete within 0.3 s]" in str(error)


@pytest.mark.parametrize("status", ["401 Unauthorized", "200 OK"])
async def test_a_refusal_whose_body_drips_for_ever(status):
    async def answer(exchange):
        await exchange.head(status, "Content-Type: text/html")
        while True:
            await exchange.send(b"x")
            await asyncio.sleep(0.02)

    _, error, _ = await ask(answer, idle_timeout_s=0.3)
    assert isinstance(error, EndpointError)
    assert error.status == int(status[:3])
    assert re.search(r": x+ \[body not complete within 0.3 s\]$", str(error))


async def test_a_refusal_whose_body_breaks_off():
    async def answer(exchange):
        await exchange.head("500 Oops", "Content-Length: 100")
        await exchange.send(b"half")

    _, error, _ = await ask(answer)
    assert isinstance(error, EndpointError)
    assert "500 Oops: half [body broken off: RemoteProtocolError]" in str(error)


JSON_TYPES = ["application/x-ndjson", "application/json"]


@pytest.mark.parametrize("kind", JSON_TYPES)
@pytest.mark.parametrize("body", [b"", b"\n\n"])
async def test_an_empty_json_body_is_no_success(kind, body):
    events, error, server = await ask(answering("200 OK", f"Content-Type: {kind}", body=body))
    assert events == []
    assert isinstance(error, EndpointError)
    assert str(error) == f"{server.url}/v1/chat/completions: closed before the first event"


@pytest.mark.parametrize("kind", JSON_TYPES)
async def test_a_cut_json_body(kind):
    lines = [json.dumps(chunk(text)).encode() + b"\n" for text in "abc"]
    for size, said in (
        (len(lines[0]) + len(lines[1]), "closed mid-stream after event 2: neither finish_reason"),
        (len(lines[0]) + 20, "closed in the middle of event 2"),
    ):
        body = b"".join(lines)[:size]
        events, error, _ = await ask(answering("200 OK", f"Content-Type: {kind}", body=body))
        assert [event.kind for event in events] == ["text"] * body.count(b"\n")
        assert isinstance(error, EndpointError)
        assert said in str(error)
    events, error, _ = await ask(answering("200 OK", f"Content-Type: {kind}", body=lines[0][:30]))
    assert events == []
    assert str(error).endswith(": closed in the middle of event 1")


async def test_a_json_body_whose_transport_breaks_is_told_once():
    body = json.dumps(chunk("a")).encode() + b"\n" + b'{"choices'
    for kind in JSON_TYPES:
        answer = answering("200 OK", f"Content-Type: {kind}", "Content-Length: 999", body=body)
        events, error, _ = await ask(answer)
        assert [event.kind for event in events] == ["text"]
        assert isinstance(error, EndpointError)
        assert "connection broken" in str(error)


@pytest.mark.parametrize("how", ["chunked", "length", "close"])
async def test_closed_mid_stream(how):
    body = sse(chunk("a"), chunk("b"), done=False)

    async def answer(exchange):
        if how == "chunked":
            await exchange.chunked()
            await exchange.chunk(body)  # and no last chunk
        elif how == "length":
            await exchange.head("200 OK", SSE, "Content-Length: 99999")
            await exchange.send(body)
        else:
            await exchange.head("200 OK", SSE)
            await exchange.send(body)

    events, error, server = await ask(answer)
    assert joined(events) == "ab"
    assert isinstance(error, EndpointError)
    assert server.url in str(error)
    assert "after event 2" in str(error)
    assert len(events) == 2


@pytest.mark.parametrize("how", ["chunked", "close"])
async def test_closed_inside_an_event(how):
    body = sse(chunk("a"), chunk("b"), done=False)[:-30]

    async def answer(exchange):
        if how == "chunked":
            await exchange.chunked()
            await exchange.chunk(body)
        else:
            await exchange.head("200 OK", SSE)
            await exchange.send(body)

    events, error, _ = await ask(answer)
    assert [event.kind for event in events] == ["text"]
    assert isinstance(error, EndpointError)
    wanted = "connection broken after event 1" if how == "chunked" else "in the middle of event 2"
    assert wanted in str(error)


async def test_closed_before_anything():
    async def nothing(exchange):
        pass

    events, error, _ = await ask(nothing)
    assert events == []
    assert isinstance(error, EndpointError)
    assert "connection broken before the response" in str(error)
    events, error, _ = await ask(answering("200 OK", SSE))
    assert events == []
    assert "closed before the first event, after 0 bytes" in str(error)


@pytest.mark.parametrize("when", ["before the response", "before the first event", "after event 1"])
async def test_silence(when):
    async def answer(exchange):
        if when != "before the response":
            await exchange.chunked()
        if when == "after event 1":
            await exchange.chunk(sse(chunk("a"), done=False) + b"data: {")
        await exchange.gone()

    events, error, server = await ask(answer, idle_timeout_s=0.3)
    assert joined(events) == ("a" if when == "after event 1" else "")
    assert isinstance(error, IdleTimeoutError)
    assert isinstance(error, TimeoutError)
    assert str(error) == f"{server.url}/v1/chat/completions: nothing arrived for 0.3 s {when}"


async def test_a_line_of_100_megabytes():
    sent = 0

    async def answer(exchange):
        nonlocal sent
        await exchange.chunked()
        await exchange.chunk(sse(chunk("a"), done=False) + b"data: ")
        for _ in range(1600):
            await exchange.chunk(b"x" * 65536)
            sent += 65536

    events, error, server = await ask(answer, max_line_bytes=1 << 20)
    assert joined(events) == "a"
    assert isinstance(error, MalformedStreamError)
    assert server.url in str(error)
    assert "event 2: a line beginning at byte" in str(error)
    assert sent < 100_000_000


async def test_not_http_at_all():
    async def answer(exchange):
        await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n")

    _, error, _ = await ask(answer)
    assert isinstance(error, EndpointError)


async def test_no_connection():
    with socket.socket() as held:  # bound, but nobody listens
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        source = from_http(f"http://127.0.0.1:{port}", prompt="Hi", api_key=KEY)
        events, error = await collect(source)
    assert events == []
    assert isinstance(error, EndpointError)
    place = f"http://127.0.0.1:{port}/v1/chat/completions"
    assert str(error) == f"{place}: no connection: {os.strerror(errno.ECONNREFUSED)}"
    _, error = await collect(from_http("http://no-such-host.invalid", prompt="Hi"))
    assert isinstance(error, EndpointError)


async def test_secrets_in_the_url_are_not_shown():
    async with Server(answering("500 Oops")) as server:
        url = server.url.replace("http://", f"http://user:{KEY}@") + f"/v1/completions?key={KEY}"
        _, error = await collect(from_http(url, prompt="Hi"))
    assert KEY not in str(error)
    assert "500 Oops" in str(error)


# -- closing


async def endless(exchange):
    await exchange.chunked()
    await exchange.chunk(sse(chunk("a"), chunk("b"), done=False))
    await exchange.gone()


async def test_aclose_closes_the_connection_at_once():
    async with Server(endless) as server:
        source = from_http(server.url, prompt="Hi")
        assert (await anext(source)).text == "a"
        await source.aclose()
        await server.gone.wait()
        with pytest.raises(StopAsyncIteration):
            await anext(source)


async def test_aclose_closes_the_connection_of_the_callers_client():
    async with Server(endless) as server, httpx2.AsyncClient() as client:
        source = from_http(server.url, prompt="Hi", client=client)
        assert (await anext(source)).text == "a"
        await source.aclose()
        await server.gone.wait()
        assert not client.is_closed


async def test_https_certificates_are_verified(tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    names = ("-keyout", tmp_path / "key", "-out", tmp_path / "cert", "-subj", "/CN=127.0.0.1")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    made = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await made.wait() == 0
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with Server(tell, tls=served) as server:
        _, error = await collect(from_http(server.url, prompt="Hi"))
        assert isinstance(error, EndpointError)
        assert "no connection: " in str(error)
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)
        trusting = httpx2.AsyncClient(verify=ssl.create_default_context(cafile=tmp_path / "cert"))
        async with trusting as client:
            events, error = await collect(from_http(server.url, prompt="Hi", client=client))
        assert error is None
        assert len(events) == 6


async def test_aclose_from_another_task():
    async with Server(endless) as server:
        source = from_http(server.url, prompt="Hi")
        await anext(source)
        await anext(source)
        reader = asyncio.create_task(collect(source))
        while source._reader is None:
            await asyncio.sleep(0)
        await source.aclose()
        await server.gone.wait()
        assert await reader == ([], None)


async def test_aclose_before_the_response():
    asked = asyncio.Event()

    async def silent(exchange):
        asked.set()
        await exchange.gone()

    async with Server(silent) as server:
        source = from_http(server.url, prompt="Hi")
        reader = asyncio.create_task(collect(source))
        await asked.wait()
        await source.aclose()
        await server.gone.wait()
        assert await reader == ([], None)


async def test_cancelling_closes_the_connection():
    async with Server(endless) as server:
        source = from_http(server.url, prompt="Hi")
        reader = asyncio.create_task(collect(source))
        while source._reader is None or not server.exchanges:
            await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await server.gone.wait()


async def test_break_closes_the_connection():
    async def first(url):
        async for event in from_http(url, prompt="Hi"):
            return event
        raise AssertionError("no event")

    async with Server(endless) as server:
        assert (await first(server.url)).text == "a"
        gc.collect()
        await server.gone.wait()


async def test_a_source_never_iterated_sends_nothing():
    async with Server(endless) as server:
        source = from_http(server.url, prompt="Hi")
        await source.aclose()
        assert server.exchanges == []


# -- the provider's SDK against the same server


async def test_openai_sdk_stream():
    openai = pytest.importorskip("openai")
    async with Server(tell) as server:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=server.url + "/v1") as client:
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            events, error = await collect(from_openai(stream))
        assert error is None
        assert joined(events) == "tok0 tok1 tok2 tok3 tok4 "
        assert events[0].data["choices"][0]["delta"] == {"content": "tok0 "}


async def test_openai_sdk_stream_closes_early():
    openai = pytest.importorskip("openai")
    async with (
        Server(endless) as server,
        openai.AsyncOpenAI(api_key=KEY, base_url=server.url + "/v1") as client,
    ):
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        source = from_openai(stream)
        assert (await anext(source)).text == "a"
        await source.aclose()
        await server.gone.wait()


async def test_openai_sdk_blocking_stream():
    openai = pytest.importorskip("openai")

    def read(url):
        with openai.OpenAI(api_key=KEY, base_url=url + "/v1") as client:
            stream = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            return asyncio.run(collect(from_openai(stream)))

    async with Server(tell) as server:
        events, error = await asyncio.to_thread(read, server.url)
    assert error is None
    assert joined(events) == "tok0 tok1 tok2 tok3 tok4 "


async def test_a_reset_connection_says_so():
    async def answer(exchange):
        await exchange.chunked()
        await exchange.chunk(sse(chunk("Once"), done=False))
        # Closing without lingering is what sends a reset.
        linger = struct.pack("ii", 1, 0)
        exchange.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        exchange.writer.transport.abort()

    async with Server(answer) as server:
        events, error = await collect(from_http(server.url, prompt="hi"))
    assert joined(events) == "Once"
    assert "connection broken after event 1: " in str(error)
    assert os.strerror(errno.ECONNRESET) in str(error)


# -- other APIs


def anthropic_story():
    payloads = [
        {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 3}}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Once"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    return "".join(
        f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in payloads
    ).encode()


def responses_story():
    payloads = [
        {"type": "response.created", "response": {"status": "in_progress"}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Once"},
        {"type": "response.completed", "response": {"status": "completed"}},
    ]
    return "".join(
        f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in payloads
    ).encode()


OLLAMA_STORY = (
    b'{"model":"m","message":{"role":"assistant","content":"Once"},"done":false}\n'
    b'{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}\n'
)
GENERATE_STORY = b'{"response":"Once","done":false}\n{"response":"","done":true}\n'
NDJSON = "Content-Type: application/x-ndjson"


@pytest.mark.parametrize(
    ("api", "kind", "story", "path", "reason", "sent"),
    [
        (
            "anthropic",
            SSE,
            anthropic_story(),
            "/v1/messages",
            "end_turn",
            {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4096},
        ),
        ("responses", SSE, responses_story(), "/v1/responses", "completed", {"input": "Hi"}),
        (
            "ollama",
            NDJSON,
            OLLAMA_STORY,
            "/api/chat",
            "stop",
            {"messages": [{"role": "user", "content": "Hi"}]},
        ),
    ],
)
async def test_other_apis(monkeypatch, api, kind, story, path, reason, sent):
    names = {"anthropic": "ANTHROPIC_API_KEY", "responses": "OPENAI_API_KEY"}
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OLLAMA_API_KEY"):
        mine = names.get(api, "OLLAMA_API_KEY") == name
        monkeypatch.setenv(name, KEY if mine else "not for this one")

    async def answer(exchange):
        await exchange.chunked(kind)
        for at in range(0, len(story), 11):
            await exchange.chunk(story[at : at + 11])
        await exchange.chunk(b"")

    events, error, server = await ask(answer, api=api, model="m")
    assert error is None
    assert joined(events) == "Once"
    assert [event.text for event in events if event.kind == "end"] == [reason]
    (exchange,) = server.exchanges
    assert exchange.path == path
    assert exchange.json == {"model": "m", "stream": True, **sent}
    assert "not for this one" not in str(exchange.headers)
    if api == "anthropic":
        assert exchange.headers["x-api-key"] == KEY
        assert exchange.headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in exchange.headers
    else:
        assert exchange.headers["authorization"] == f"Bearer {KEY}"
        assert "x-api-key" not in exchange.headers
        assert "anthropic-version" not in exchange.headers


async def test_other_apis_take_what_is_given():
    messages = [{"role": "user", "content": "Ho"}]

    async def answer(exchange):
        await exchange.chunked(SSE)
        await exchange.chunk(anthropic_story())
        await exchange.chunk(b"")

    headers = {"X-Api-Key": KEY, "Anthropic-Version": "2030-01-01", "anthropic-beta": "b"}
    _, error, server = await ask(
        answer,
        api="anthropic",
        prompt=None,
        messages=messages,
        body={"max_tokens": 7, "system": "Be brief."},
        headers=headers,
    )
    assert error is None
    (exchange,) = server.exchanges
    assert exchange.json == {
        "messages": messages,
        "max_tokens": 7,
        "system": "Be brief.",
        "stream": True,
    }
    assert exchange.headers["anthropic-version"] == "2030-01-01"
    assert exchange.headers["x-api-key"] == KEY
    _, _, server = await ask(answer, api="responses", prompt=None, messages=messages)
    assert server.exchanges[0].json["input"] == messages


async def test_ollama_generate():
    async def answer(exchange):
        await exchange.chunked(NDJSON)
        await exchange.chunk(GENERATE_STORY)
        await exchange.chunk(b"")

    async with Server(answer) as server:
        events, error = await collect(from_http(server.url + "/api/generate", prompt="Hi"))
        (exchange,) = server.exchanges
    assert error is None
    assert joined(events) == "Once"
    assert exchange.json == {"prompt": "Hi", "stream": True}


@pytest.mark.parametrize(
    ("api", "story"),
    [("anthropic", anthropic_story()), ("responses", responses_story()), ("ollama", OLLAMA_STORY)],
)
async def test_other_apis_cut_mid_stream(api, story):
    async def answer(exchange):
        await exchange.head("200 OK", NDJSON if api == "ollama" else SSE)
        await exchange.send(story[: story.index(b"Once") + 60])

    events, error, _ = await ask(answer, api=api)
    assert joined(events) == "Once"
    assert isinstance(error, EndpointError)
    assert "closed" in str(error)
    assert all(event.kind != "error" for event in events)


async def test_other_apis_whole_answers():
    bodies = {
        "anthropic": {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Once"}],
            "stop_reason": "end_turn",
        },
        "responses": {
            "object": "response",
            "status": "completed",
            "output": [
                {
                    "type": "message",
                    "content": [{"type": "output_text", "text": "Once"}],
                }
            ],
        },
        "ollama": {"message": {"content": "Once"}, "done": True},
    }
    for api, body in bodies.items():

        async def answer(exchange, body=body):
            await exchange.head("200 OK", "Content-Type: application/json")
            await exchange.send(json.dumps(body).encode())

        events, error, _ = await ask(answer, api=api)
        assert error is None
        assert joined(events) == "Once"
        assert events[-1].kind == "end"


async def test_a_refused_key_is_not_shown():
    async def answer(exchange):
        key = exchange.headers["x-api-key"]
        body = {"type": "error", "error": {"type": "authentication_error", "message": f"bad {key}"}}
        await exchange.head("401 Unauthorized", "Content-Type: application/json")
        await exchange.send(json.dumps(body).encode())

    _, error, _ = await ask(answer, api="anthropic", api_key=KEY)
    assert isinstance(error, EndpointError)
    assert KEY not in str(error)
    assert "[hidden]" in str(error)
