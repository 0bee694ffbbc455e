"""Streams of the providers' own SDKs, which read from a local server that replays recordings."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from stream.chat import chunk, collect, joined, within
from stream.server import Server

from midstream._core.errors import ArgumentTypeError
from midstream.stream.formats import assemble
from midstream.stream.providers import (
    from_anthropic,
    from_ollama,
    from_openai,
    from_realtime,
    from_responses,
)
from midstream.stream.sources import from_sse

MESSAGES = [{"role": "user", "content": "Hi"}]


def bodies(shared_data, api):
    """Recorded streams of an API as bodies of server-sent events, by file."""
    found = {}
    for row in json.loads(shared_data("wire/index.json").read_text()):
        if row["api"] != api or row["malformed_events"] or row["last_event_unterminated"]:
            continue
        body = shared_data("wire/" + row["file"]).read_bytes()
        if row["file"].endswith(".jsonl"):
            pieces = []
            for line in body.decode().splitlines():
                if line:
                    kind = json.loads(line).get("type")
                    pieces.append(f"event: {kind}\n" if kind else "")
                    pieces.append(f"data: {line}\n\n")
            body = "".join(pieces).encode()
        found[row["file"]] = (
            body + b"\n\n"
        )  # some lack the last blank line, and SDKs the event then
    return found


class Replaying:
    """``async with Replaying(bodies) as (url, play)``: serve what ``play(file)`` names."""

    def __init__(self, bodies):
        self.bodies = bodies
        self.now = b""

    async def __aenter__(self):
        self.server = Server(self._answer)
        await self.server.__aenter__()
        return self.server.url, self._play

    async def __aexit__(self, *error):
        await self.server.__aexit__(*error)

    def _play(self, file):
        self.now = self.bodies[file]

    async def _answer(self, exchange):
        await exchange.chunked()
        await exchange.chunk(self.now)
        await exchange.chunk(b"")


def bare(events):
    """What events say, but for the order of keys in results, which SDKs change."""
    return [event._replace(seq=0, t_ns=0, data=None, text=said(event)) for event in events]


def said(event):
    return sorted(event.text) if event.kind in ("tool_call", "tool_result") else event.text


def payloads(events):
    return [event.data for event in events if event.data is not None and event.kind != "usage"]


async def test_openai_chat(shared_data):
    openai = pytest.importorskip("openai")
    recorded = bodies(shared_data, "chat.completions")
    async with (
        Replaying(recorded) as (url, play),
        openai.AsyncOpenAI(api_key="k", base_url=url) as client,
    ):
        for file, body in recorded.items():
            play(file)
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            events, error = await collect(from_openai(stream))
            wanted, _ = await collect(from_sse(body))
            assert error is None, file
            assert payloads(events) == payloads(wanted), file
            assert bare(events) == bare(wanted), file
    assert len(recorded) == 48


async def test_openai_chat_stream_helper(shared_data):
    openai = pytest.importorskip("openai")
    recorded = bodies(shared_data, "chat.completions")
    file = "openai/otel-chat_tools_streaming-0.sse"
    async with (
        Replaying(recorded) as (url, play),
        openai.AsyncOpenAI(api_key="k", base_url=url) as client,
    ):
        play(file)
        async with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            events, error = await collect(from_openai(stream))
        wanted, _ = await collect(from_sse(recorded[file]))
        assert error is None
        assert bare(events) == bare(wanted)


async def test_openai_responses(shared_data):
    openai = pytest.importorskip("openai")
    recorded = bodies(shared_data, "responses")
    async with (
        Replaying(recorded) as (url, play),
        openai.AsyncOpenAI(api_key="k", base_url=url) as client,
    ):
        for file, body in recorded.items():
            if file == "openai/openai-error.1.jsonl":
                continue
            wanted, _ = await collect(from_sse(body))
            play(file)
            stream = await client.responses.create(model="m", input="Hi", stream=True)
            events, error = await collect(from_responses(stream))
            assert error is None, file
            assert payloads(events) == payloads(wanted), file
            assert bare(events) == bare(wanted), file
            stream = await client.responses.create(model="m", input="Hi", stream=True)
            again, _ = await collect(from_openai(stream))  # which tells by itself
            assert bare(again) == bare(wanted), file
        play("openai/openai-error.1.jsonl")
        stream = await client.responses.create(model="m", input="Hi", stream=True)
        events, error = await collect(from_responses(stream))
        assert isinstance(error, openai.APIError)  # the SDK raises, and so does the source
        assert not [event for event in events if event.kind == "error"]


async def test_openai_responses_stream_helper(shared_data):
    openai = pytest.importorskip("openai")
    recorded = bodies(shared_data, "responses")
    file = "openai/openai-web-search-tool.1.jsonl"
    async with (
        Replaying(recorded) as (url, play),
        openai.AsyncOpenAI(api_key="k", base_url=url) as client,
    ):
        play(file)
        async with client.responses.stream(model="m", input="Hi") as stream:
            events, error = await collect(from_responses(stream))
        wanted, _ = await collect(from_sse(recorded[file]))
        assert error is None
        assert bare(events) == bare(wanted)
        assert not any("snapshot" in event.data for event in events if event.data is not None)


async def test_anthropic(shared_data):
    anthropic = pytest.importorskip("anthropic")
    recorded = bodies(shared_data, "messages")
    async with (
        Replaying(recorded) as (url, play),
        anthropic.AsyncAnthropic(api_key="k", base_url=url) as client,
    ):
        for file, body in recorded.items():
            play(file)
            stream = await client.messages.create(
                model="m", max_tokens=9, messages=MESSAGES, stream=True
            )
            events, error = await collect(from_anthropic(stream))
            wanted, _ = await collect(from_sse(body))
            assert error is None, file
            assert payloads(events) == [one for one in payloads(wanted) if one["type"] != "ping"], (
                file
            )
            assert bare(events) == [
                event
                for event, whole in zip(bare(wanted), wanted, strict=True)
                if whole.data is None or whole.data.get("type") != "ping"
            ], file
    assert len(recorded) == 35


async def test_anthropic_stream_helper(shared_data):
    anthropic = pytest.importorskip("anthropic")
    recorded = bodies(shared_data, "messages")
    done = 0
    async with (
        Replaying(recorded) as (url, play),
        anthropic.AsyncAnthropic(api_key="k", base_url=url) as client,
    ):
        for file, body in recorded.items():
            if "programmatic" in file:  # several messages in one, which the helper refuses
                continue
            play(file)
            async with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
                events, error = await collect(from_anthropic(stream))
            wanted, _ = await collect(from_sse(body))
            assert error is None, file
            assert joined(events) == joined(wanted), file
            assert joined(events, "reasoning") == joined(wanted, "reasoning"), file
            assert [
                (call.name, call.call_id, call.provider_run) for call in assemble(events).calls
            ] == [
                (call.name, call.call_id, call.provider_run) for call in assemble(wanted).calls
            ], file
            assert [event.seq for event in events] == list(range(len(events))), file
            found = payloads(events)
            starts = sum(data["type"] == "message_start" for data in found)
            assert sum("message" in data for data in found) == starts, file
            assert not any("snapshot" in data for data in found), file
            done += 1
    assert done == 34


async def test_anthropic_blocking_stream(shared_data):
    anthropic = pytest.importorskip("anthropic")
    recorded = bodies(shared_data, "messages")
    file = "anthropic/anthropic-json-other-tool.1.jsonl"

    def read(url):
        with anthropic.Anthropic(api_key="k", base_url=url) as client:
            stream = client.messages.stream(model="m", max_tokens=9, messages=MESSAGES)
            with pytest.raises(ArgumentTypeError, match="enter it first"):
                from_anthropic(stream)
        with (
            anthropic.Anthropic(api_key="k", base_url=url) as client,
            client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream,
        ):
            return asyncio.run(collect(from_anthropic(stream)))

    async with Replaying(recorded) as (url, play):
        play(file)
        events, error = await asyncio.to_thread(read, url)
    assert error is None
    (call,) = assemble(events).calls
    assert (call.name, call.arguments) == ("weather", '{"location": "San Francisco"}')


async def test_closing_the_source_closes_the_sdks_connection():
    anthropic = pytest.importorskip("anthropic")
    start = {"type": "content_block_delta", "index": 0}
    start["delta"] = {"type": "text_delta", "text": "Once"}

    async def endless(exchange):
        await exchange.chunked()
        await exchange.chunk(f"event: {start['type']}\ndata: {json.dumps(start)}\n\n".encode())
        await exchange.gone()

    async with (
        within(),
        Server(endless) as server,
        anthropic.AsyncAnthropic(api_key="k", base_url=server.url) as client,
    ):
        stream = await client.messages.create(
            model="m", max_tokens=9, messages=MESSAGES, stream=True
        )
        source = from_anthropic(stream)
        assert (await anext(source)).text == "Once"
        await source.aclose()
        await server.gone.wait()


OLLAMA = [
    {
        "model": "m",
        "message": {"role": "assistant", "content": "", "thinking": "Hm."},
        "done": False,
    },
    {"model": "m", "message": {"role": "assistant", "content": "Once"}, "done": False},
    {
        "model": "m",
        "message": {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
        },
        "done": False,
    },
    {
        "model": "m",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 4,
        "eval_count": 3,
    },
]


async def test_ollama_client():
    ollama = pytest.importorskip("ollama")

    async def answer(exchange):
        await exchange.chunked("Content-Type: application/x-ndjson")
        for line in OLLAMA:
            await exchange.chunk(json.dumps(line).encode() + b"\n")
        await exchange.chunk(b"")

    async with Server(answer) as server:
        client = ollama.AsyncClient(host=server.url)
        stream = await client.chat(model="m", messages=MESSAGES, stream=True)
        events, error = await collect(from_ollama(stream))
        await client._client.aclose()
    wanted, _ = await collect(from_ollama(OLLAMA))
    assert error is None
    assert bare(events) == bare(wanted)
    found = assemble(events)
    assert (found.text, found.thoughts, found.finish_reason) == ("Once", "Hm.", "stop")
    assert [(call.name, call.arguments) for call in found.calls] == [("f", '{"x":1}')]
    assert found.usage == {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7}


REALTIME = [
    {"type": "session.created", "event_id": "e0", "session": {"type": "realtime"}},
    {"type": "response.created", "event_id": "e1", "response": {"id": "r1"}},
    {
        "type": "response.output_text.delta",
        "event_id": "e2",
        "response_id": "r1",
        "item_id": "i1",
        "output_index": 0,
        "content_index": 0,
        "delta": "Once",
    },
    {
        "type": "response.done",
        "event_id": "e3",
        "response": {"id": "r1", "object": "realtime.response", "status": "completed"},
    },
]


async def realtime_server(handled):
    websockets = pytest.importorskip("websockets.asyncio.server")

    async def serve(socket):
        for payload in REALTIME:
            await socket.send(json.dumps(payload))
        if handled is not None:
            await socket.wait_closed()
            handled.set()

    return await websockets.serve(serve, "127.0.0.1", 0)


async def test_realtime_websocket():
    server = await realtime_server(None)
    client = pytest.importorskip("websockets.asyncio.client")
    port = server.sockets[0].getsockname()[1]
    async with within(), server, client.connect(f"ws://127.0.0.1:{port}") as socket:
        events, error = await collect(from_realtime(socket))
    assert error is None
    assert [(event.kind, event.text) for event in events] == [
        ("text", ""),
        ("text", ""),
        ("text", "Once"),
        ("end", "completed"),
    ]
    assert payloads(events) == REALTIME


async def test_realtime_sdk_connection():
    openai = pytest.importorskip("openai")
    closed = asyncio.Event()
    server = await realtime_server(closed)
    port = server.sockets[0].getsockname()[1]
    async with (
        within(),
        server,
        openai.AsyncOpenAI(api_key="k", websocket_base_url=f"ws://127.0.0.1:{port}/v1") as client,
        client.realtime.connect(model="m") as connection,
    ):
        source = from_realtime(connection)
        events = [await anext(source) for _ in REALTIME]
        assert joined(events) == "Once"
        assert events[-1].kind == "end"
        await source.aclose()
        await closed.wait()


@pytest.mark.parametrize(
    "make", [from_openai, from_responses, from_realtime, from_anthropic, from_ollama]
)
async def test_what_is_no_stream(make):
    with pytest.raises(ArgumentTypeError, match="must be a stream of events, got int"):
        make(5)

    async def forgotten():
        raise AssertionError("never run")

    with pytest.raises(ArgumentTypeError, match="await it first"):
        make(forgotten())
    events, error = await collect(make([{"type": "x"}, 5]))
    assert isinstance(error, ArgumentTypeError)
    assert "item 1 must be" in str(error)
    assert len(events) == 1
    events, error = await collect(make(["{"]))  # one piece of text that is no JSON
    assert error is None
    assert [event.kind for event in events] == ["error"]


async def test_single_payloads():
    events, _ = await collect(from_openai(chunk("a", finish="stop")))
    assert [event.kind for event in events] == ["text", "end"]
    events, _ = await collect(from_anthropic(b'{"type": "ping"}'))
    assert [event.data for event in events] == [{"type": "ping"}]


async def test_objects_that_json_cannot_hold():
    class Odd:
        def model_dump(self, *, mode="python", **options):
            if mode == "json":
                raise ValueError("bytes that are no text")
            return {"choices": [{"delta": {"content": "a"}, "raw": b"\xff"}]}

    events, error = await collect(from_openai([Odd()]))
    assert error is None
    assert events[0].text == "a"


async def test_objects_without_a_dump_but_with_a_type():
    events, error = await collect(from_openai([SimpleNamespace(type="content_block_stop")]))
    assert events == []
    assert isinstance(error, ArgumentTypeError)
