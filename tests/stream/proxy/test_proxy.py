"""The proxy as a server: what passes, what is refused, what ends how, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import os
import time
import zlib

import pytest
from stream.chat import chunk, sse, story, within
from stream.proxy.wires import PATHS, Upstream, no_tool, post, proxied, raw, split

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Event, LoopDetector, StallDetector, load
from midstream.stream.policies import Policy, PolicyFile
from midstream.stream.proxy import Proxy, ProxyLimits, ProxyServer
from midstream.stream.proxy.exchanges import Exchange, Guarding, in_turns
from midstream.stream.proxy.routes import route_of

CHAT = PATHS["chat"]
KEY = "sk-proj-" + "A1b2C3d4E5" * 8


async def settled(proxy):
    """Wait until no request is in flight."""
    while proxy.metrics.streams_active:
        await asyncio.sleep(0.01)


async def test_bytes_pass_identical():
    answer = b": hello\r\n\r\n" + story(50) + b": bye\n\n"
    async with within(), Upstream(answer, size=13) as upstream, proxied(upstream) as proxy:
        status, headers, body = split(await raw(proxy.url, post(CHAT)))
    assert (status, body) == (200, answer)
    assert headers["content-type"] == "text/event-stream"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-midstream-id"]


async def test_headers_of_the_request():
    sent = post(
        CHAT,
        b'{"a": 1}',
        f"Authorization: Bearer {KEY}",
        "Accept-Encoding: gzip, br",
        "Keep-Alive: 5",
        "TE: trailers",
        "X-Hop: mine",
        "X-Own: kept",
        "Proxy-Authorization: secret",
    ).replace(b"Connection: close", b"Connection: close, X-Hop")
    async with within(), Upstream(story()) as upstream, proxied(upstream) as proxy:
        await raw(proxy.url, sent)
        ((head, body),) = upstream.requests
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST {CHAT} HTTP/1.1"
    names = {line.partition(":")[0].lower(): line.partition(": ")[2] for line in lines[1:] if line}
    assert body == b'{"a": 1}'
    assert names["authorization"] == f"Bearer {KEY}"
    assert names["accept-encoding"] == "identity"
    assert names["x-own"] == "kept"
    assert names["host"] == upstream.url.partition("://")[2]
    assert names.keys().isdisjoint(
        {"keep-alive", "te", "x-hop", "proxy-authorization", "connection"}
    )


async def test_other_paths_pass_unread():
    answer = b"\x00\x01" * 5000
    settings = {"kind": "application/octet-stream", "headers": ("Content-Encoding: br", "ETag: x")}
    async with within(), Upstream(answer, **settings) as upstream, proxied(upstream) as proxy:
        request = post("/v1/files?purpose=x%20y", b"u" * 100_000, "Accept-Encoding: br")
        status, headers, body = split(await raw(proxy.url, request))
        ((head, sent),) = upstream.requests
    assert (status, body) == (200, answer)
    assert headers["content-encoding"] == "br"
    assert headers["etag"] == "x"
    assert "x-midstream-id" not in headers
    assert sent == b"u" * 100_000
    assert head.startswith(b"POST /v1/files?purpose=x%20y HTTP/1.1\r\n")
    assert b"accept-encoding: br\r\n" in head.lower()


UNREAD = {
    "/v1beta/models/gemini:streamGenerateContent": "Google",
    "/v1beta/interactions": "Google",
    "/model/anthropic.claude/converse-stream": "Bedrock",
    "/model/anthropic.claude/invoke-with-response-stream": "Bedrock",
    "/v2/chat": "Cohere",
    "/v1/threads/runs": "Assistants",
    "/v1/threads/t_1/runs": "Assistants",
    "/v1/messages/batches": "a batch",
    "/v1/realtime/calls": "Realtime over WebRTC",
    "/v1/something/new": "an unknown path",
    "/v1/models/owner/name/predictions": "an unknown path",
    "/models/owner/name": "an unknown path",
}


@pytest.mark.parametrize("path", UNREAD)
async def test_answers_that_cannot_be_read(path, caplog):
    forbids = no_tool("rm")
    warns = Policy("warn", "G !bad", {"bad": {"pattern": "bad"}}, "warn")
    async with within(), Upstream(b"answer") as upstream:
        async with proxied(upstream, policies=forbids) as proxy:
            status, _, body = split(await raw(proxy.url, post(path)))
            assert (status, upstream.requests) == (403, [])
            assert UNREAD[path] in json.loads(body)["error"]["message"]
            assert proxy.metrics.refused == {("unread",): 1}
        assert caplog.text == ""
        for settings in ({"policies": forbids, "allow_unread": True}, {"policies": warns}, {}):
            caplog.clear()
            async with proxied(upstream, **settings) as proxy:
                for _ in range(2):
                    status, _, body = split(await raw(proxy.url, post(path)))
                    assert (status, body) == (200, b"answer")
            assert caplog.text.count(f"answers of {UNREAD[path]} pass unread") == 1


@pytest.mark.parametrize(
    "asked",
    [
        "POST /v1/embeddings",
        "POST /v1/messages/count_tokens",
        "POST /v1/files",
        "POST /v1/uploads/u/parts",
        "POST /v1/images/generations",
        "POST /v1/audio/transcriptions",
        "POST /v1/vector_stores/v/search",
        "POST /v1/realtime/client_secrets",
        "POST /v1/threads",
        "POST /api/show",
        "POST /api/embed",
        "POST /tokenize",
        "POST /v1beta/models/m:countTokens",
        "POST /models/load",
        "GET /v1/models",
        "GET /api/tags",
        "DELETE /v1/responses/r",
        "OPTIONS /v1/chat/completions",
    ],
)
async def test_what_no_model_says_passes_whatever_the_rules(asked, caplog):
    method, _, path = asked.partition(" ")
    request = post(path).replace(b"POST", method.encode(), 1)
    async with (
        within(),
        Upstream(b"answer", kind="application/octet-stream") as upstream,
        proxied(upstream, policies=no_tool("rm")) as proxy,
    ):
        assert split(await raw(proxy.url, request))[0] == 200
    assert "unread" not in caplog.text


@pytest.mark.parametrize("kind", ["text/html", "application/vnd.amazon.eventstream", "x/y"])
async def test_answers_of_types_that_cannot_be_read(kind, caplog):
    async with within(), Upstream(story(), kind=kind) as upstream:
        async with proxied(upstream, policies=no_tool("rm")) as proxy:
            status, _, body = split(await raw(proxy.url, post(CHAT)))
        assert status == 502
        assert kind in json.loads(body)["error"]["message"]
        async with proxied(upstream) as proxy:
            assert split(await raw(proxy.url, post(CHAT)))[2] == story()
        assert f"answers of the type '{kind}' pass unread" in caplog.text


async def test_other_methods_pass():
    async with within(), Upstream(b"{}", kind="application/json") as upstream:
        async with proxied(upstream) as proxy:
            for method in ("GET", "DELETE", "OPTIONS", "PUT", "PATCH"):
                request = post("/v1/models/org%2Fname").replace(b"POST", method.encode(), 1)
                assert split(await raw(proxy.url, request))[0] == 200
            for method, status in (("TRACE", 405), ("CONNECT", 400), ("PROPFIND", 405)):
                request = post("/v1/models").replace(b"POST", method.encode(), 1)
                assert split(await raw(proxy.url, request))[0] in (status, 405)
        assert len(upstream.requests) == 5


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "500 Oops", "529 Busy"])
async def test_errors_of_the_upstream_pass_identical(status):
    answer = gzip.compress(b'{"error": {"message": "no"}}')
    settings = {
        "status": status,
        "kind": "application/json",
        "headers": ("Content-Encoding: gzip", "Retry-After: 3", "X-Request-Id: r"),
    }
    async with within(), Upstream(answer, **settings) as upstream, proxied(upstream) as proxy:
        got, headers, body = split(await raw(proxy.url, post(CHAT)))
    assert (got, body) == (int(status[:3]), answer)
    assert headers["content-encoding"] == "gzip"
    assert headers["retry-after"] == "3"
    assert headers["x-request-id"] == "r"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw", "br"])
async def test_compressed_answers_are_read_all_the_same(encoding):
    answer = sse(chunk("Once "), chunk("bad "), chunk("luck"))
    packed = {
        "gzip": gzip.compress(answer),
        "deflate": zlib.compress(answer),
        "raw": zlib.compressobj(wbits=-15).compress(answer) + b"",
        "br": b"?",
    }[encoding]
    if encoding == "raw":
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(answer) + packer.flush()
    told = "deflate" if encoding == "raw" else encoding
    policy = Policy("no bad", "G !bad", {"bad": {"pattern": "bad"}}, "stop")
    settings = {"headers": (f"Content-Encoding: {told}",), "size": 7}
    async with (
        within(),
        Upstream(packed, **settings) as upstream,
        proxied(upstream, policies=policy) as proxy,
    ):
        status, headers, body = split(await raw(proxy.url, post(CHAT)))
    if encoding == "br":
        assert status == 502
        assert b"cannot be read" in body
        return
    assert "content-encoding" not in headers
    assert b"Once" in body
    assert b"luck" not in body
    assert body.endswith(b"data: [DONE]\n\n")


async def test_compressed_requests_are_read_too():
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    packed = gzip.compress(json.dumps(asked).encode())
    async with within(), Upstream(story()) as upstream, proxied(upstream) as proxy:
        request = post(CHAT, packed, "Content-Encoding: gzip")
        assert split(await raw(proxy.url, request))[0] == 200
        assert upstream.requests[0][1] == packed
        request = post(CHAT, b"?", "Content-Encoding: br")
        assert split(await raw(proxy.url, request))[0] == 415
        request = post(CHAT, b"?", "Content-Encoding: gzip")
        assert split(await raw(proxy.url, request))[0] == 400
        bomb = gzip.compress(b"0" * (40 << 20))
        request = post(CHAT, bomb, "Content-Encoding: gzip")
        assert split(await raw(proxy.url, request))[0] == 413


@pytest.mark.parametrize(
    "path",
    [
        "http://example.org/v1/models",
        "//example.org/v1",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/..%2fadmin",
        "/v1/%252e%252e/admin",
        "/v1//models",
        "/v1\\models",
        "/v1/%5c..",
        "/v1/%00",
        "/v1/%zz",
        "/v1/x%0d%0aHost:%20y",
    ],
)
async def test_no_path_leads_elsewhere(path):
    async with within(), Upstream(story()) as upstream:
        async with proxied(upstream.url + "/base") as proxy:
            answer = await raw(proxy.url, post(path))
        assert split(answer)[0] in (400, 404) or not upstream.requests[0][0].startswith(b"POST //")
        for head, _ in upstream.requests:  # what an absolute URL asks for is only a path
            assert head.startswith(b"POST /base/v1/models HTTP/1.1")
        if upstream.requests:
            assert path.startswith("http:")


async def test_the_upstreams_path_stands_before_the_requests():
    async with within(), Upstream(story()) as upstream:
        async with proxied(upstream.url + "/api/v1") as proxy:
            await raw(proxy.url, post("/v1/chat/completions"))
            await raw(proxy.url, post("/chat/completions"))
        assert [head.split(b" ")[1] for head, _ in upstream.requests] == [
            b"/api/v1/chat/completions"
        ] * 2


async def test_what_is_guarded_cannot_be_reached_unguarded():
    call = {"index": 0, "id": "c", "function": {"name": "rm", "arguments": "{}"}}
    answer = sse(chunk(tool_calls=[call]), chunk(finish="tool_calls"))
    async with (
        within(),
        Upstream(answer) as upstream,
        proxied(upstream, policies=no_tool("rm")) as proxy,
    ):
        for path in (
            CHAT,
            CHAT + "/",
            "/v1/Chat/Completions",
            "/v1/chat%2Fcompletions",
            "/v1/chat/%63ompletions",
            "/openai/deployments/d/chat/completions?api-version=1",
            "/chat/completions",
        ):
            status, _, body = split(await raw(proxy.url, post(path)))
            assert status == 200
            assert b'"rm"' not in body


LIMITS = [
    ({"max_body_bytes": 10}, post(CHAT, b"x" * 11), 413, "anthropic"),
    ({"max_upload_bytes": 10}, post("/v1/files", b"x" * 11), 413, "chat"),
    ({"max_header_bytes": 300}, post(CHAT, b"{}", "X: " + "y" * 300), 431, "chat"),
    ({"max_headers": 10}, post(CHAT, b"{}", *["X: y"] * 10), 431, "chat"),
    ({"max_header_bytes": 4096}, b"POST / HTTP/1.1\r\nX: " + b"y" * 20_000, 431, "chat"),
    ({"request_timeout_s": 0.2}, b"POST / HTTP/1.1\r\nX: y\r\n", 408, "chat"),
    ({"request_timeout_s": 0.2}, post(CHAT, b"{}{}")[:-1], 408, "chat"),
    ({"request_timeout_s": 0.2}, b"", 408, "chat"),
]


@pytest.mark.parametrize(("limits", "request_", "status", "api"), LIMITS)
async def test_what_is_too_much_is_refused(limits, request_, status, api):
    request_ = request_.replace(CHAT.encode(), PATHS[api].encode())
    async with (
        within(),
        Upstream(story()) as upstream,
        proxied(upstream, limits=ProxyLimits(**limits)) as proxy,
    ):
        got, headers, body = split(await raw(proxy.url, request_))
    told = json.loads(body)
    assert (got, headers["content-type"]) == (status, "application/json")
    assert told["error"]["message"]
    if api == "anthropic":
        assert told["type"] == "error"
        assert told["error"]["type"] == "request_too_large"
    assert not upstream.requests


async def test_a_body_without_a_length_has_a_limit_too():
    request = post("/v1/files").replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")
    request = request[:-2] + b"%x\r\n%b\r\n" % (4000, b"x" * 4000) * 3 + b"0\r\n\r\n"
    limits = ProxyLimits(max_upload_bytes=5000, max_body_bytes=5000)
    async with within(), Upstream(story()) as upstream:
        async with proxied(upstream, limits=limits) as proxy:
            assert split(await raw(proxy.url, request))[0] == 413
            request = request.replace(b"/v1/files", CHAT.encode())
            assert split(await raw(proxy.url, request))[0] == 413
        async with proxied(upstream) as proxy:
            request = request.replace(CHAT.encode(), b"/v1/files")
            await raw(proxy.url, request)
    assert b"transfer-encoding: chunked" in upstream.requests[0][0].lower()


async def test_bodies_of_all_requests_have_a_limit_together():
    body = b'{"messages": [], "x": "' + b"y" * 4000 + b'"}'

    async def held(size):
        get = post("/-/metrics").replace(b"POST", b"GET")
        while f"midstream_bodies_bytes {size}\n".encode() not in await raw(proxy.url, get):
            await asyncio.sleep(0.01)

    async with (
        within(),
        Upstream(story(), size=40) as upstream,
        proxied(upstream, limits=ProxyLimits(max_bodies_bytes=10_000)) as proxy,
    ):
        # Two that stand at their last byte hold theirs.
        waiting = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*proxy.server.address)
            writer.write(post(CHAT, body)[:-1])
            waiting.append((reader, writer))
        await held(2 * len(body) - 2)
        status, headers, told = split(await raw(proxy.url, post(CHAT, body)))
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert "10000 bytes" in json.loads(told)["error"]["message"]
        assert proxy.metrics.refused["memory",] == 1
        assert split(await raw(proxy.url, post(CHAT, b"{}")))[0] == 200
        for reader, writer in waiting:
            writer.write(body[-1:])
            assert (await reader.readline()).split()[1] == b"200"
            writer.close()
        await held(0)
        assert split(await raw(proxy.url, post(CHAT, body)))[0] == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_more_than_all_may_have_together_is_too_large(chunked):
    body = b'{"messages": [], "x": "' + b"y" * 4000 + b'"}'
    request = post(CHAT, body)
    if chunked:
        head, _, _ = request.partition(b"\r\n\r\n")
        head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
        request = head + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    async with (
        within(),
        Upstream(story(), size=40) as upstream,
        proxied(upstream, limits=ProxyLimits(max_bodies_bytes=2000)) as proxy,
    ):
        status, headers, told = split(await raw(proxy.url, request))
        assert status == 413
        assert "retry-after" not in headers
        assert json.loads(told)["error"]["message"] == "a body of more than 2000 bytes"
        assert proxy.metrics.refused["body",] == 1


async def test_streams_at_once_are_limited():
    async with (
        within(),
        Upstream(story(), size=40, hang_after=100) as upstream,
        proxied(upstream, limits=ProxyLimits(max_streams=2), drain_s=0) as proxy,
    ):
        first = [asyncio.create_task(raw(proxy.url, post(CHAT))) for _ in range(2)]
        while proxy.metrics.streams_active < 2:
            await asyncio.sleep(0.01)
        status, headers, body = split(await raw(proxy.url, post(PATHS["anthropic"])))
        assert (status, headers["retry-after"]) == (429, "1")
        assert json.loads(body)["error"]["type"] == "rate_limit_error"
        proxy.cut()
        await asyncio.gather(*first)


async def test_connections_are_limited():
    async with (
        within(),
        Upstream(story()) as upstream,
        proxied(upstream, limits=ProxyLimits(max_connections=1)) as proxy,
    ):
        host, _, port = proxy.url.partition("://")[2].partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        assert split(await raw(proxy.url, post(CHAT)))[0] == 503
        writer.close()


async def test_an_answer_too_large_to_check_is_refused():
    answer = json.dumps({"choices": [], "x": "y" * 5000}).encode()
    async with (
        within(),
        Upstream(answer, kind="application/json") as upstream,
        proxied(upstream, limits=ProxyLimits(max_answer_bytes=1000)) as proxy,
    ):
        status, _, body = split(await raw(proxy.url, post(CHAT)))
    assert status == 502
    assert "1000 bytes" in json.loads(body)["error"]["message"]


async def test_no_upstream(caplog):
    async with within(), Upstream(b"") as upstream:
        url = upstream.url
    async with within(), proxied(url) as proxy:
        for _ in range(3):
            status, _, body = split(await raw(proxy.url, post(PATHS["ollama"])))
            assert (status, json.loads(body)) == (502, {"error": "the upstream cannot be reached"})
    assert caplog.text.count(f"{url} cannot be reached: ") == 1  # told to who runs it, once


async def test_an_upstream_that_does_not_answer_in_time():
    async def silent(reader, writer):
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limits = ProxyLimits(header_timeout_s=0.2)
    async with within(), server, proxied(f"http://127.0.0.1:{port}", limits=limits) as proxy:
        assert split(await raw(proxy.url, post(CHAT)))[0] == 504


@pytest.mark.parametrize(
    "junk",
    [
        b"NOT HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"",
    ],
)
async def test_an_upstream_that_speaks_no_http(junk):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(junk)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with within(), server, proxied(f"http://127.0.0.1:{port}") as proxy:
        request = post(CHAT)
        got = await raw(proxy.url, request)
        if b"chunked" in junk and got.startswith(b"HTTP/1.1 200"):
            return  # its head was good; what followed could not be passed on
        assert split(got)[0] == 502
        assert proxy.metrics.streams_active == 0


async def test_silence_in_an_answer_ends_it():
    async with (
        within(),
        Upstream(story(), size=40, hang_after=300) as upstream,
        proxied(upstream, limits=ProxyLimits(idle_timeout_s=0.2)) as proxy,
    ):
        status, _, body = split(await raw(proxy.url, post(CHAT)))
        await upstream.gone.wait()
    assert status == 200
    assert (
        "the upstream fell silent"
        in json.loads(body[body.rindex(b'{"error') : -2])["error"]["message"]
    )


async def test_a_stream_that_takes_too_long_ends():
    async with (
        within(),
        Upstream(story(2000), size=40, pause_s=0.02) as upstream,
        proxied(upstream, limits=ProxyLimits(max_stream_s=0.3)) as proxy,
    ):
        _, _, body = split(await raw(proxy.url, post(CHAT)))
        await upstream.gone.wait()
    assert b"has taken too long" in body


async def test_a_stall_that_rules_find_ends_it():
    def detectors():
        return [StallDetector("stop", first_s=0.2, min_s=0.1)]

    limits = ProxyLimits(idle_timeout_s=2)
    async with (
        within(),
        Upstream(story(), size=400, hang_after=300) as upstream,
        proxied(upstream, make_detectors=detectors, limits=limits) as proxy,
    ):
        _, _, body = split(await raw(proxy.url, post(CHAT)))
        await upstream.gone.wait()
        await settled(proxy)
        assert proxy.metrics.stops == {("stall",): 1}
    assert body.endswith(b"data: [DONE]\n\n")
    assert b"content_filter" in body


async def test_a_client_that_leaves_closes_the_upstream():
    async with (
        within(),
        Upstream(story(5000), size=40, pause_s=0.01) as upstream,
        proxied(upstream) as proxy,
    ):
        host, _, port = proxy.url.partition("://")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(CHAT))
        await reader.readuntil(b"tok1")
        writer.transport.abort()
        await upstream.gone.wait()
        await settled(proxy)
        assert proxy.metrics.failures == {("client_gone",): 1}


async def test_a_client_that_takes_nothing_is_left():
    answer = sse(chunk("x" * 60_000), done=False) * 400
    async with within(), Upstream(answer, size=1 << 20) as upstream:
        limits = ProxyLimits(client_timeout_s=0.3)
        async with proxied(upstream, limits=limits, make_detectors=lambda: ()) as proxy:
            host, _, port = proxy.url.partition("://")[2].partition(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(post(CHAT))
            await upstream.gone.wait()
            await settled(proxy)
            assert proxy.metrics.failures == {("client_stalled",): 1}
            writer.transport.abort()
            assert reader is not None


async def test_an_upstream_reset_mid_event_ends_in_the_protocols_error():
    answer = story(100)
    async with (
        within(),
        Upstream(answer, size=50, reset_after=1030) as upstream,
        proxied(upstream) as proxy,
    ):
        _, _, body = split(await raw(proxy.url, post(CHAT)))
        assert proxy.metrics.failures == {("upstream_reset",): 1}
    passed, _, last = body.rpartition(b"data: ")
    assert answer.startswith(passed)
    assert passed.endswith(b"\n\n")
    assert json.loads(last)["error"]["type"] == "midstream_error"


async def test_an_upload_that_the_client_breaks_off():
    async with within(), Upstream(story()) as upstream, proxied(upstream) as proxy:
        host, _, port = proxy.url.partition("://")[2].partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(post("/v1/files", b"x" * 200_000)[:-100_000])
        while not proxy.metrics.streams_active:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        await settled(proxy)
        assert proxy.metrics.failures == {("client_gone",): 1}


async def test_keep_alive_connections_are_reused():
    async with within(), Upstream(story()) as upstream, proxied(upstream) as proxy:
        for _ in range(5):
            assert split(await raw(proxy.url, post(CHAT)))[0] == 200
        assert upstream.connections == 1


async def test_health_and_metrics():
    loop = sse(*[chunk("I will try that again. ") for _ in range(50)])
    async with within(), Upstream(loop) as upstream:
        async with proxied(upstream, policies=no_tool("rm")) as proxy:
            await raw(proxy.url, post(CHAT, b"{}", f"Authorization: Bearer {KEY}"))
            await settled(proxy)
            get = post("/-/health").replace(b"POST", b"GET")
            status, _, body = split(await raw(proxy.url, get))
            assert status == 200
            assert json.loads(body) == {"status": "ok", "streams": 0, "policies": 1}
            get = post("/-/metrics").replace(b"POST", b"GET")
            status, headers, body = split(await raw(proxy.url, get))
            assert headers["content-type"].startswith("text/plain; version=0.0.4")
            assert split(await raw(proxy.url, post("/-/metrics")))[0] == 405
            get = post("/-/other").replace(b"POST", b"GET")
            assert split(await raw(proxy.url, get))[0] == 404
        assert len(upstream.requests) == 1
    lines = body.decode().splitlines()
    assert "midstream_streams_active 0" in lines
    assert 'midstream_requests_total{provider="chat",status="200"} 1' in lines
    assert 'midstream_stops_total{reason="loop"} 1' in lines
    assert 'midstream_verdicts_total{policy="loop",verdict="stop"} 1' in lines
    assert "midstream_time_to_first_chunk_seconds_count 1" in lines
    assert any(line.startswith('midstream_chunks_total{provider="chat"') for line in lines)
    assert any(
        line.startswith('midstream_estimated_tokens_total{provider="chat"}') for line in lines
    )
    assert any(
        line.startswith('midstream_detector_seconds_bucket{detector="all"') for line in lines
    )
    assert KEY not in body.decode()


async def test_hosts():
    async with (
        within(),
        Upstream(story()) as upstream,
        proxied(upstream, hosts=["localhost", "[::1]"]) as proxy,
    ):
        for host, status in (
            ("localhost", 200),
            ("LOCALHOST:80", 200),
            ("[::1]:80", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1", 421),
        ):
            request = post(CHAT).replace(b"Host: 127.0.0.1", f"Host: {host}".encode())
            assert split(await raw(proxy.url, request))[0] == status
        request = post("/-/metrics").replace(b"POST", b"GET")
        assert split(await raw(proxy.url, request))[0] == 421


async def test_recordings(tmp_path):
    answer = sse(chunk(f"My key is {KEY}, "), chunk("yes"), chunk(finish="stop"))
    folder = tmp_path / "made" / "here"
    async with within(), Upstream(answer) as upstream:
        async with proxied(upstream, recordings=folder) as proxy:
            headers = [f"Authorization: Bearer {KEY}", "x-midstream-id: ../../escaped"]
            path = f"{CHAT}?key={KEY}"
            _, told, body = split(await raw(proxy.url, post(path, b'{"model": "../x"}', *headers)))
            await settled(proxy)
            _, again, _ = split(await raw(proxy.url, post(CHAT)))
            await settled(proxy)
        async with proxied(upstream, recordings=folder, redact=False) as proxy:
            _, plain, _ = split(await raw(proxy.url, post(CHAT)))
            await settled(proxy)
    assert body == answer
    files = sorted(file.name for file in folder.iterdir())
    ids = [one["x-midstream-id"] for one in (told, again, plain)]
    assert files == sorted(f"{one}.jsonl" for one in ids)
    assert len(list(tmp_path.rglob("*.jsonl"))) == 3
    text = (folder / f"{told['x-midstream-id']}.jsonl").read_text()
    assert KEY not in text
    events = load(folder / f"{told['x-midstream-id']}.jsonl")
    assert events[-1].kind == "end"
    assert "My key is [redacted:" in "".join(event.text for event in events)
    whole = load(folder / f"{plain['x-midstream-id']}.jsonl")
    assert "".join(event.text for event in whole) == f"My key is {KEY}, yesstop"


async def test_recordings_are_bounded_private_and_in_their_folder(tmp_path):
    folder, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    limits = ProxyLimits(max_recordings=2)
    async with (
        within(),
        Upstream(story()) as upstream,
        proxied(upstream, recordings=folder, limits=limits) as proxy,
    ):
        for _ in range(4):
            await raw(proxy.url, post(CHAT))
            await settled(proxy)
        files = list(folder.iterdir())
        assert len(files) == 2
        if os.name == "posix":
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
            assert folder.stat().st_mode & 0o777 == 0o700
            folder.rename(elsewhere)
            outside = tmp_path / "outside"
            outside.mkdir()
            folder.symlink_to(outside)
            status, _, _ = split(await raw(proxy.url, post(CHAT)))
            await settled(proxy)
            assert (status, list(outside.iterdir())) == (200, [])
            assert proxy.metrics.failures == {("recording",): 1}


async def test_nothing_is_kept_of_requests_without_an_answer(tmp_path):
    async with within(), Upstream(b"{}", status="404 Not Found") as upstream:
        url = upstream.url
        async with proxied(url, recordings=tmp_path) as proxy:
            assert split(await raw(proxy.url, post(CHAT)))[0] == 404
            await settled(proxy)
    async with within(), proxied(url, recordings=tmp_path) as proxy:
        assert split(await raw(proxy.url, post(CHAT)))[0] == 502
        await settled(proxy)
    assert list(tmp_path.iterdir()) == []


async def test_a_recording_that_cannot_be_written_breaks_no_stream(tmp_path, caplog):
    folder = tmp_path / "recordings"
    async with (
        within(),
        Upstream(story()) as upstream,
        proxied(upstream, recordings=folder) as proxy,
    ):
        folder.rmdir()
        for count in (1, 2):
            _, _, body = split(await raw(proxy.url, post(CHAT)))
            await settled(proxy)
            assert proxy.metrics.failures == {("recording",): count}
            assert body == story()
    assert caplog.text.count("recordings are not whole: ") == 1  # told to who runs it, once


async def test_rules_that_change_and_rules_that_break(tmp_path):
    call = {"index": 0, "id": "c", "function": {"name": "rm", "arguments": "{}"}}
    answer = sse(chunk(tool_calls=[call]), chunk(finish="tool_calls"))
    path = tmp_path / "rules.toml"
    rule = (
        '[[rule]]\nname = "n"\nformula = "G !c"\naction = "block"\natoms = {c = {tool = "TOOL"}}\n'
    )
    path.write_text(rule.replace("TOOL", "rm"))
    problems = []
    rules = PolicyFile(path, check_s=0, on_problem=problems.append)
    async with within(), Upstream(answer) as upstream, proxied(upstream, policies=rules) as proxy:
        assert b'"rm"' not in await raw(proxy.url, post(CHAT))
        path.write_text("[[rule]\nbroken")
        assert b'"rm"' not in await raw(proxy.url, post(CHAT))
        assert len(problems) == 1
        path.write_text(rule.replace("TOOL", "other_tool"))
        assert b'"rm"' in await raw(proxy.url, post(CHAT))


async def test_draining_lets_streams_end_and_takes_no_more():
    async with (
        within(),
        Upstream(story(40), size=100, pause_s=0.01) as upstream,
        proxied(upstream, drain_s=10) as proxy,
    ):
        running = asyncio.create_task(raw(proxy.url, post(CHAT)))
        while not proxy.metrics.streams_active:
            await asyncio.sleep(0.01)
        proxy.server.stop()
        # While a stream is in flight, whoever looks after the proxy is told how it is.
        assert split(await raw(proxy.url, post(CHAT)))[0] == 503
        assert (await probe(proxy, "/-/health"))[0] == 200
        assert (await probe(proxy, "/-/ready"))[0] == 503
        metrics = await raw(proxy.url, post("/-/metrics").replace(b"POST", b"GET"))
        assert {b"midstream_ready 0", b"midstream_streams_active 1"} <= set(metrics.splitlines())
        assert not running.done()
        with pytest.raises(ConnectionError):
            while True:
                answer = await raw(proxy.url, post(CHAT))
                # One that was just taken may be closed before its request has come.
                assert not answer or split(answer)[0] == 503
                await asyncio.sleep(0.01)
        assert split(await running)[2] == story(40)


async def probe(proxy, path, host=b"127.0.0.1"):
    request = post(path).replace(b"POST", b"GET").replace(b"Host: 127.0.0.1", b"Host: " + host)
    status, _, body = split(await raw(proxy.url, request))
    return status, json.loads(body)


async def test_health_and_readiness():
    async with within(), proxied("http://127.0.0.1:9", hosts=["127.0.0.1"]) as proxy:
        told = {"status": "ok", "streams": 0, "policies": 0}
        assert await probe(proxy, "/-/health") == (200, told)
        assert await probe(proxy, "/-/ready") == (200, told)
        # A machine's own probes ask by an address; a page under a foreign name gets no more.
        assert await probe(proxy, "/-/ready", b"10.1.2.3:8790") == (200, {"status": "ok"})
        assert split(await raw(proxy.url, post("/-/ready")))[0] == 405
        told["status"] = "draining"
        for change in (proxy.retire, proxy.drain):
            change()
            assert await probe(proxy, "/-/health") == (200, told)
            assert await probe(proxy, "/-/ready") == (503, told)


async def test_lingering_takes_requests_until_others_have_noticed():
    async with (
        within(),
        Upstream(story(3)) as upstream,
        proxied(upstream, linger_s=300) as proxy,
    ):
        proxy.server.stop()
        proxy.server.stop()
        assert (await probe(proxy, "/-/ready"))[0] == 503
        assert split(await raw(proxy.url, post(CHAT)))[2] == story(3)
        proxy.server.cut()  # a second signal does not wait
        with pytest.raises(ConnectionError):
            while True:
                await raw(proxy.url, post(CHAT))
                await asyncio.sleep(0.01)


async def test_after_lingering_no_more_is_taken():
    async with (
        within(),
        Upstream(story(40), size=100, pause_s=0.01) as upstream,
        proxied(upstream, linger_s=0.1, drain_s=10) as proxy,
    ):
        proxy.server.stop()
        running = asyncio.create_task(raw(proxy.url, post(CHAT)))
        with pytest.raises(ConnectionError):
            while True:
                await raw(proxy.url, post(CHAT))
                await asyncio.sleep(0.01)
        assert split(await running)[2] == story(40)


async def test_it_is_stopped_before_it_listens():
    server = ProxyServer(Proxy("http://127.0.0.1:9"))
    server.stop()
    async with within():
        await server.serve()
    assert server.started.is_set()


async def test_what_draining_does_not_end_is_ended():
    async with (
        within(),
        Upstream(story(40), size=100, hang_after=300) as upstream,
        proxied(upstream, drain_s=0.2) as proxy,
    ):
        running = asyncio.create_task(raw(proxy.url, post(CHAT)))
        while not proxy.metrics.streams_active:
            await asyncio.sleep(0.01)
        proxy.server.stop()
        body = split(await running)[2]
        await upstream.gone.wait()
    assert b"the proxy ends" in body


async def test_a_detector_that_fails_lets_nothing_pass(caplog):
    class Broken(LoopDetector):
        def observe(self, event, gap_ns=0):
            if "tok3" in event.text:
                raise ValueError(f"a defect in {event.text}")
            return ()

    async with (
        within(),
        Upstream(story(), size=len(story()) // 6, pause_s=0.05) as upstream,
        proxied(upstream, make_detectors=lambda: [Broken()]) as proxy,
    ):
        _, _, body = split(await raw(proxy.url, post(CHAT)))
        await settled(proxy)
        assert proxy.metrics.failures == {("internal",): 1}
    assert b"tok0" in body
    assert b"tok3" not in body
    assert b"the proxy failed" in body
    assert b"a defect" not in body
    assert "could not be judged: ValueError" in caplog.text
    assert "in observe" in caplog.text
    assert "tok3" not in caplog.text


async def test_findings_are_told_with_the_requests_id():
    told = []
    loop = sse(*[chunk("I will try that again. ") for _ in range(50)])
    async with (
        within(),
        Upstream(loop) as upstream,
        proxied(upstream, on_finding=lambda *args: told.append(args)) as proxy,
    ):
        _, headers, _ = split(await raw(proxy.url, post(CHAT)))
    assert {request for request, _ in told} == {headers["x-midstream-id"]}
    assert told[-1][1].severity == "stop"


async def test_a_stop_rule_of_the_first_byte_leaves_a_whole_answer():
    policy = Policy("no text", "G !said", {"said": {"kind": "text"}}, "stop")
    async with (
        within(),
        Upstream(story()) as upstream,
        proxied(upstream, policies=policy, ending="error") as proxy,
    ):
        _, _, body = split(await raw(proxy.url, post(CHAT)))
    assert b"(no text)" in body
    assert b"tok0" not in body


async def test_other_scopes_are_refused():
    with pytest.raises(ArgumentValueError, match="scope type"):
        await Proxy("http://127.0.0.1:9")({"type": "other"}, None, None)


@pytest.mark.parametrize(
    ("error", "match", "more"),
    [
        (ArgumentTypeError, "upstream", {"upstream": 3}),
        (ArgumentValueError, "upstream", {"upstream": "ftp://x"}),
        (ArgumentValueError, "upstream", {"upstream": "http://"}),
        (ArgumentValueError, "user or password", {"upstream": "http://me:secret@x"}),
        (ArgumentValueError, "query", {"upstream": "http://x/?key=secret"}),
        (ArgumentValueError, "path", {"upstream": "http://x/a/../b"}),
        (ArgumentValueError, "port", {"upstream": "http://x:secret"}),
        (ArgumentValueError, "ending", {"ending": "none"}),
        (ArgumentTypeError, "limits", {"limits": {}}),
        (ArgumentTypeError, "hosts", {"hosts": "localhost"}),
        (ArgumentTypeError, "on_finding", {"on_finding": 1}),
        (ArgumentTypeError, "write lambda: ", {"make_detectors": [LoopDetector()]}),
        (ArgumentTypeError, "policies", {"policies": 3}),
        (ArgumentTypeError, "transport", {"transport": object()}),
    ],
)
def test_arguments_that_cannot_be_used(error, match, more):
    with pytest.raises(error, match=match) as caught:
        Proxy(**({"upstream": "http://127.0.0.1:9"} | more))
    assert "secret" not in str(caught.value)


def test_limits_that_cannot_be_used():
    with pytest.raises(ArgumentValueError, match="max_streams"):
        ProxyLimits(max_streams=0)
    with pytest.raises(ArgumentTypeError, match="idle_timeout_s"):
        ProxyLimits(idle_timeout_s="1")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentValueError, match="recordings"):
        Proxy("http://x", recordings=tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("tls", "error", "message"),
    [
        ("chain.pem", ArgumentTypeError, "tls must be the files of a certificate and of its key"),
        (5, ArgumentTypeError, "tls must be .* got 5"),
        (("chain.pem", 5), ArgumentTypeError, r"tls\[1\] must be"),
        (("/none/chain.pem", "/none/key.pem"), FileNotFoundError, "/none/chain.pem"),
        ((__file__, __file__), ArgumentValueError, "tls must be a certificate and its key in PEM"),
    ],
)
def test_certificates_that_cannot_be_used(tls, error, message):
    with pytest.raises(error, match=message):
        ProxyServer(Proxy("http://x"), tls=tls)


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_http_does_not_fill_the_log(sent, caplog):
    async with within(), proxied("http://127.0.0.1:9") as proxy:
        assert (await raw(proxy.url, sent)).startswith(b"HTTP/1.1 400")
    assert caplog.text == ""


async def test_a_long_conversation_is_recalled_while_other_streams_go_on():
    begun, others_done = asyncio.Event(), asyncio.Event()
    recalled = []

    class Slow:
        def recalling(self, events):
            if len(events) > 1:
                begun.set()
                while not others_done.is_set():  # for ever, if nothing else had its turn
                    yield
            recalled.append(len(events))

        def observe(self, event, gap_ns):
            return ()

        def finish(self):
            return ()

    messages = [{"role": "user", "content": f"message {n}"} for n in range(3)]
    long = json.dumps({"messages": messages}).encode()
    short = json.dumps({"messages": messages[:1]}).encode()
    answer = story(20)
    settings = {"make_detectors": lambda: [Slow()]}
    async with within(), Upstream(answer) as upstream, proxied(upstream, **settings) as proxy:
        waiting = asyncio.create_task(raw(proxy.url, post(CHAT, long)))
        await begun.wait()
        for _ in range(3):
            assert split(await raw(proxy.url, post(CHAT, short)))[2] == answer
        assert not waiting.done()
        others_done.set()
        assert split(await waiting)[2] == answer
    assert recalled == [1, 1, 1, 3]


async def test_one_request_at_a_time_is_read_and_each_in_its_turn():
    order = []

    def steps(name, count):
        for n in range(count):
            order.append((name, n))
            until = time.perf_counter() + 0.003  # longer than a turn
            while time.perf_counter() < until:
                pass
            yield

    turns, rounds = asyncio.Lock(), []

    async def others():
        while True:
            await asyncio.sleep(0)
            rounds.append(len(order))

    ticking = asyncio.create_task(others())
    async with within():
        await asyncio.gather(*(in_turns(steps(name, 6), turns) for name in "abc"))
    ticking.cancel()
    # The first turn at once; from there on in order, and never two without the others in between.
    assert order == [(name, n) for n in range(6) for name in "abc"]
    behind = [later - earlier for earlier, later in itertools.pairwise(rounds)]
    assert max(behind) <= 1


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
def test_what_is_recalled_in_steps_is_what_is_recalled_at_once(api):
    """However far the steps go before other things are done."""
    called = {"id": "c", "type": "function", "function": {"name": "rm", "arguments": "{}"}}
    bodies = {
        "chat": {
            "messages": [
                {"role": "user", "content": "Do it."},
                {"role": "assistant", "content": None, "tool_calls": [called]},
                {"role": "tool", "tool_call_id": "c", "content": "done"},
            ]
        },
        "responses": {
            "input": [
                {"role": "user", "content": "Do it."},
                {"type": "function_call", "call_id": "c", "name": "rm", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "done"},
            ]
        },
        "anthropic": {
            "messages": [
                {"role": "user", "content": "Do it."},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c", "name": "rm", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "c", "content": "done"}],
                },
            ]
        },
    }
    route = route_of("POST", PATHS[api])
    atoms = {"rm": {"tool": "rm"}, "done": {"kind": "tool_result", "tool": "rm"}}
    twice = Policy("once", "G (rm -> !(O done))", atoms)
    guarding = Guarding(policies=twice)
    content = json.dumps(bodies[api]).encode()
    exchange = Exchange(route, guarding, guarding.guard())
    assert sum(1 for _ in exchange.requesting(content)) >= 6
    call = Event("tool_call", 0, 0, "{}", "rm", None, "0", "d")
    assert exchange.guard.take(call).denied
    fresh = guarding.guard()
    assert not fresh.take(call).denied


async def test_trailers_are_no_headers():
    # After the head was judged: a client's would go to the upstream as what it never was.
    sent = b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    sent += b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
    sent += b"Authorization: other\r\nX-Own: 1\r\n\r\n"
    heads = []

    async def answer(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\nabc\r\n0\r\n\r\n"
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"2\r\nok\r\n0\r\nSet-Cookie: a=b\r\n\r\n")
        await writer.drain()
        writer.close()

    async with within(), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with proxied(url) as proxy:
            status, headers, body = split(await raw(proxy.url, sent))
    assert (status, body) == (200, b"ok")
    assert b"authorization" not in heads[0].lower()
    assert b"x-own" not in heads[0].lower()
    assert "set-cookie" not in headers


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/-/metrics"])
async def test_pages_of_others_are_refused(path):
    # Browsers send what a page asks for without asking first, where it looks like a form.
    hosts = ["localhost", "127.0.0.1", "[::1]"]
    async with (
        within(),
        Upstream(b"{}", kind="application/json") as upstream,
        proxied(upstream, hosts=hosts) as proxy,
    ):
        for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://["):
            sent = post(path, b"{}", f"Origin: {origin}", "Content-Type: text/plain")
            assert split(await raw(proxy.url, sent))[0] == 403
        assert upstream.requests == []
        assert proxy.metrics.refused == {("origin",): 4}
        for origin in ("http://localhost:3000", "http://[::1]", "https://127.0.0.1"):
            sent = post(path, b"{}", f"Origin: {origin}").replace(b"POST", b"GET")
            assert split(await raw(proxy.url, sent))[0] == 200
    async with (
        within(),
        Upstream(b"{}", kind="application/json") as upstream,
        proxied(upstream) as proxy,
    ):
        sent = post(path, b"{}", "Origin: https://example.org").replace(b"POST", b"GET")
        assert split(await raw(proxy.url, sent))[0] == 200


async def test_two_names_are_none():
    async with within(), Upstream(b"{}") as upstream, proxied(upstream, hosts=["a"]) as proxy:
        for names in (("a", "b"), ("b", "a"), ("a", "a"), ()):
            head = "".join(f"Host: {name}\r\n" for name in names)
            sent = f"GET /v1/models HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
            assert split(await raw(proxy.url, sent))[0] in (400, 421)
    assert upstream.requests == []
