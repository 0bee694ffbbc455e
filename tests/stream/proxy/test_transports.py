"""Transports inside the official SDKs: what the proxy does, without a proxy."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx2
import openai
import pytest
from stream.chat import chunk, sse, story, within
from stream.proxy.wires import PARALLEL, PATHS, Upstream, no_tool, wire

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.policies import Policy
from midstream.stream.proxy import GuardTransport, SyncGuardTransport
from midstream.stream.proxy.connecting import DirectTransport

MESSAGES = [{"role": "user", "content": "Hello"}]
CHAT = PATHS["chat"]
LOOP = sse(*[chunk("I will try that again. ") for _ in range(4000)])


@pytest.fixture(params=["async", "sync"])
def ask(request):
    """Send a request through a guarded client; gives status, headers, body."""

    async def over_async(url, settings, **more):
        async with httpx2.AsyncClient(transport=GuardTransport(**settings)) as client:
            response = await client.post(url, **more)
            return response.status_code, response.headers, response.content

    async def over_sync(url, settings, **more):
        def run():
            with httpx2.Client(transport=SyncGuardTransport(**settings)) as client:
                response = client.post(url, **more)
                return response.status_code, response.headers, response.content

        return await asyncio.to_thread(run)

    return over_async if request.param == "async" else over_sync


async def test_bytes_pass_identical(ask):
    async with within(), Upstream(story(30), size=11) as upstream:
        _, _, body = await ask(upstream.url + CHAT, {}, json={"messages": MESSAGES})
        head, sent = upstream.requests[0]
    assert body == story(30)
    assert b"accept-encoding: identity" in head.lower()
    assert json.loads(sent) == {"messages": MESSAGES}


async def test_other_paths_pass_unread(ask):
    async with within(), Upstream(LOOP) as upstream:
        _, _, body = await ask(upstream.url + "/v1/other", {})
        assert body == LOOP
        assert b"accept-encoding: identity" not in upstream.requests[0][0].lower()


async def test_a_stop_closes_the_connection(ask):
    async with within(), Upstream(LOOP, size=100) as upstream:
        _, _, body = await ask(upstream.url + CHAT, {})
        await upstream.gone.wait()
    assert body.endswith(b"data: [DONE]\n\n")
    assert b"content_filter" in body


async def test_denied_calls_of_whole_answers(ask):
    call = {"id": "c", "type": "function", "function": {"name": "rm", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    packed = gzip.compress(json.dumps(answer).encode())
    settings = {"kind": "application/json", "headers": ("Content-Encoding: gzip",)}
    async with within(), Upstream(packed, **settings) as upstream:
        _, headers, body = await ask(upstream.url + CHAT, {"policies": no_tool("rm")})
    got = json.loads(body)
    assert "tool_calls" not in got["choices"][0]["message"]
    assert "content-encoding" not in headers


async def test_errors_of_the_upstream_pass_identical(ask):
    settings = {"status": "503 Busy", "kind": "application/json", "headers": ("Retry-After: 2",)}
    async with within(), Upstream(b'{"error": 1}', **settings) as upstream:
        status, headers, body = await ask(upstream.url + CHAT, {})
    assert (status, headers["retry-after"], body) == (503, "2", b'{"error": 1}')


async def test_an_upstream_that_breaks_off_raises_what_it_would(ask):
    async with within(), Upstream(story(50), size=40, reset_after=500) as upstream:
        with pytest.raises(httpx2.TransportError):
            await ask(upstream.url + CHAT, {})


async def test_what_cannot_be_read_is_refused(ask):
    async with within(), Upstream(b"?", headers=("Content-Encoding: br",)) as upstream:
        status, _, body = await ask(upstream.url + CHAT, {})
        assert status == 502
        assert b"cannot be read" in body
        status, _, _ = await ask(
            upstream.url + CHAT, {}, content=b"?", headers={"Content-Encoding": "br"}
        )
        assert status == 415


async def test_rules_span_the_conversation(ask):
    call = {"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    said = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "text"},
    ]
    policy = Policy(
        "read first", "!w W r", {"w": {"tool": "write"}, "r": {"tool": "read"}}, repair="read"
    )
    write = {"index": 0, "id": "d", "function": {"name": "write", "arguments": "{}"}}
    answer = sse(chunk(tool_calls=[write]), chunk(finish="tool_calls"))
    async with within(), Upstream(answer) as upstream:
        for messages, allowed in ((MESSAGES, False), (MESSAGES + said, True)):
            for utf in ("utf-8", "utf-8-sig", "utf-16"):  # servers in Python read them all
                sent = json.dumps({"messages": messages}).encode(utf)
                _, _, body = await ask(upstream.url + CHAT, {"policies": policy}, content=sent)
                assert (b'"write"' in body) == allowed


async def test_in_the_official_sdk(shared_data):
    _, answer = wire(shared_data("wire"), PARALLEL)
    told = []
    transport = GuardTransport(
        policies=no_tool("*", **{"arguments.location": "Boston"}), on_finding=told.append
    )
    async with (
        within(),
        Upstream(answer) as upstream,
        httpx2.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(api_key="k", base_url=f"{upstream.url}/v1", http_client=http) as sdk,
        sdk.chat.completions.stream(model="m", messages=MESSAGES) as stream,
    ):
        message = (await stream.get_final_completion()).choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments) == {"location": "San Francisco"}
    assert "ask the user first" in message.content
    assert [finding.severity for finding in told] == ["block"]


@pytest.mark.parametrize("kind", [GuardTransport, SyncGuardTransport])
def test_arguments_that_cannot_be_used(kind):
    with pytest.raises(ArgumentTypeError, match="transport"):
        kind(object())
    with pytest.raises(ArgumentValueError, match="ending"):
        kind(ending="none")


async def test_answers_that_cannot_be_read(ask, caplog):
    path = "/model/m/converse-stream"
    async with within(), Upstream(LOOP) as upstream:
        rules = {"policies": no_tool("rm")}
        status, _, body = await ask(upstream.url + path, rules)
        assert status == 403
        assert "Bedrock" in json.loads(body)["error"]["message"]
        assert upstream.requests == []
        status, _, body = await ask(upstream.url + path, {**rules, "allow_unread": True})
        assert (status, body) == (200, LOOP)
        assert "answers of Bedrock pass unread" in caplog.text
        upstream.kind = "text/html"
        status, _, _ = await ask(upstream.url + CHAT, rules)
        assert status == 502


async def test_clients_of_the_other_kind():
    sync = httpx2.Client(transport=GuardTransport())
    with pytest.raises(ArgumentTypeError, match="SyncGuardTransport in a synchronous client"):
        sync.get("http://127.0.0.1:9")
    sync.close()
    with pytest.raises(ArgumentTypeError, match="SyncGuardTransport in a synchronous client"):
        httpx2.Client(transport=GuardTransport()).__enter__()
    asynchronous = httpx2.AsyncClient(transport=SyncGuardTransport())
    with pytest.raises(ArgumentTypeError, match="a GuardTransport in an asynchronous client"):
        await asynchronous.get("http://127.0.0.1:9")
    await asynchronous.aclose()
    with pytest.raises(ArgumentTypeError, match="a GuardTransport in an asynchronous client"):
        await httpx2.AsyncClient(transport=SyncGuardTransport()).__aenter__()


async def test_clients_of_the_library_before():
    httpx = pytest.importorskip("httpx")
    with (
        httpx.Client(transport=SyncGuardTransport()) as client,
        pytest.raises(ArgumentTypeError, match=r"an httpx2.Request, got httpx.Request: Sync"),
    ):
        client.post("http://127.0.0.1:9" + CHAT)
    async with httpx.AsyncClient(transport=GuardTransport()) as client:
        with pytest.raises(ArgumentTypeError, match=r"an httpx2.Request, got httpx.Request: Guard"):
            await client.post("http://127.0.0.1:9" + CHAT)
    with pytest.raises(ArgumentTypeError, match=r"got httpx.HTTPTransport"):
        SyncGuardTransport(httpx.HTTPTransport())


# The transport that the proxy sends with.


async def get(url, transport, method="GET", **more):
    async with httpx2.AsyncClient(transport=transport) as client:
        response = await client.request(method, url, **more)
        return response.status_code, response.content


async def answered(reply, *, method="GET", **more):
    """What a client gets of bytes that a server writes."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with within(), server:
        return await get(f"http://127.0.0.1:{port}/", DirectTransport(), method, **more)


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", (200, b"ab")),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", (200, b"until the end")),
        (b"HTTP/1.0 200 OK\r\n\r\nold", (200, b"old")),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
            (200, b"ab"),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (304, b"")),
    ],
)
async def test_answers(reply, wanted):
    assert await answered(reply) == wanted


async def test_the_answer_to_a_head_request_has_no_body():
    assert await answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", method="HEAD") == (
        200,
        b"",
    )


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", httpx2.RemoteProtocolError),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            httpx2.RemoteProtocolError,
        ),
        (b"junk\r\n\r\n", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000, httpx2.RemoteProtocolError),
    ],
)
async def test_answers_that_are_none(reply, error):
    with pytest.raises(error):
        await answered(reply)


async def test_connections_are_reused_and_closed():
    transport = DirectTransport(max_idle=1)
    async with within(), Upstream(b"x" * 1000) as upstream:
        async with httpx2.AsyncClient(transport=transport) as client:
            for _ in range(3):
                assert (await client.get(upstream.url)).content == b"x" * 1000
            assert upstream.connections == 1
            got = await asyncio.gather(*[client.get(upstream.url) for _ in range(4)])
            assert {response.content for response in got} == {b"x" * 1000}
            many = upstream.connections
            assert (await client.get(upstream.url)).status_code == 200
            assert upstream.connections == many
        while upstream._tasks:
            await asyncio.sleep(0.01)


async def test_idle_connections_expire():
    transport = DirectTransport(idle_s=0.05)
    async with within(), Upstream(b"x") as upstream:
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(upstream.url)
            while upstream._tasks:
                await asyncio.sleep(0.01)
            await client.get(upstream.url)
        assert upstream.connections == 2


async def test_what_follows_an_answer_is_no_answer():
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    tasks = []

    async def serve(reader, writer):
        tasks.append(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply + reply.replace(b"\r\na", b"\r\nb"))
            await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with within(), server, httpx2.AsyncClient(transport=DirectTransport()) as client:
        for _ in range(2):
            assert (await client.get(url)).content == b"a"
        await asyncio.gather(*tasks)
    assert len(tasks) == 2


async def test_a_slow_reader_slows_the_server():
    answer = b"x" * (8 << 20)
    async with within(), Upstream(answer, size=1 << 16) as upstream:
        transport = DirectTransport()
        request = httpx2.Request("GET", upstream.url)
        response = await transport.handle_async_request(request)
        await asyncio.sleep(0.2)
        connection = response.stream._connection
        assert sum(map(len, connection._body)) < 1 << 20
        total = 0
        async for piece in response.stream:
            total += len(piece)
        assert total == len(answer)
        await transport.aclose()


async def test_leaving_an_answer_closes_its_connection():
    async with within(), Upstream(story(5000), size=40, pause_s=0.01) as upstream:
        async with (
            httpx2.AsyncClient(transport=DirectTransport()) as client,
            client.stream("GET", upstream.url) as response,
        ):
            async for _ in response.aiter_raw():
                break
        await upstream.gone.wait()


async def test_connecting_has_a_limit_and_errors_are_httpx2s():
    transport = DirectTransport()
    async with within(), Upstream(b"") as upstream:
        url = upstream.url
    async with within(), httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(url)
        with pytest.raises((httpx2.ConnectError, httpx2.ConnectTimeout)):
            await client.get("https://127.0.0.1:9", timeout=httpx2.Timeout(1, connect=0.5))


@pytest.mark.parametrize("more", [{"max_idle": -1}, {"idle_s": -1.0}])
def test_settings_that_cannot_be_used(more):
    with pytest.raises(ArgumentValueError, match=next(iter(more))):
        DirectTransport(**more)
