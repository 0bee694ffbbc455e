"""`guard_stream` around what the SDKs return."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest
from stream.chat import chunk, sse, within
from stream.proxy.wires import APIS, PARALLEL, Upstream, body, no_tool, rows, wire

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MalformedStreamError,
    MemoryLimitError,
)
from midstream.stream import LoopDetector
from midstream.stream.policies import Policy
from midstream.stream.proxy import ProxyLimits, guard_stream

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="session")
def root(shared_data):
    return shared_data("wire")


def client(api, url):
    if api == "anthropic":
        return anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0)
    return openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)


async def ask(sdk, api):
    if api == "anthropic":
        return await sdk.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True)
    if api == "responses":
        return await sdk.responses.create(model="m", input="Hello", stream=True)
    return await sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True)


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
async def test_the_same_objects_until_a_rule_acts(root, api):
    async with within(50), Upstream(b"") as upstream, client(api, upstream.url) as sdk:
        for row in rows(root, api)[::3]:
            if row["api"] == "completions" or row["file"].startswith("openai/openai-error"):
                continue
            upstream.answer = body(root, row)
            wanted = [item async for item in await ask(sdk, api)]
            guarded = guard_stream(await ask(sdk, api), detectors=())
            got = [item async for item in guarded]
            assert got == wanted, row["file"]
            assert guarded.stopped is None


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        (PARALLEL, 0),
        ("anthropic/otel-anthropic_tools_streaming_legacy-0.sse", 0),
        ("open-responses/lmstudio-tool-call.1.jsonl", 0),
    ],
)
async def test_denied_calls_are_text_of_the_sdks_types(root, file, kept):
    api, answer = wire(root, file)
    async with within(), Upstream(answer) as upstream, client(api, upstream.url) as sdk:
        guarded = guard_stream(await ask(sdk, api), policies=no_tool("*"))
        async with guarded:
            got = [item async for item in guarded]
    assert guarded.denied
    modules = {type(item).__module__.partition(".")[0] for item in got}
    assert modules == {"anthropic" if api == "anthropic" else "openai"}
    text = json.dumps([item.to_dict() for item in got])
    assert "ask the user first" in text
    for sign in ('"tool_use"', '"tool_calls": [', '"function_call"'):
        assert sign not in text or kept
    assert APIS


async def test_a_stop_closes_the_sdks_stream():
    answer = sse(*[chunk("I will try that again. ") for _ in range(4000)])
    async with (
        within(),
        Upstream(answer, size=100) as upstream,
        client("chat", upstream.url) as sdk,
    ):
        guarded = guard_stream(await ask(sdk, "chat"))
        got = [item async for item in guarded]
        await upstream.gone.wait()
    assert got[-1].choices[0].finish_reason == "content_filter"
    assert guarded.stopped.kind == "loop"
    assert guarded.findings[-1] is guarded.stopped


def test_dicts_and_a_plain_iterable():
    calls = [{"index": 0, "id": "c", "function": {"name": "rm", "arguments": "{}"}}]
    chunks = [chunk(tool_calls=calls), chunk(finish="tool_calls")]
    with guard_stream(chunks, policies=no_tool("rm")) as guarded:
        got = list(guarded)
    assert "no rm" in got[0]["choices"][0]["delta"]["content"]
    assert got[-1]["choices"][0]["finish_reason"] == "stop"
    assert list(guard_stream([])) == []


def test_leaving_early_and_errors_of_the_stream():
    closed = []

    class Stream:
        def __iter__(self):
            yield chunk("a")
            raise ValueError("of the SDK")

        def close(self):
            closed.append(True)

    guarded = guard_stream(Stream())
    assert next(guarded)["choices"][0]["delta"]["content"] == "a"
    with pytest.raises(ValueError, match="of the SDK"):
        next(guarded)
    with pytest.raises(StopIteration):
        next(guarded)
    with guard_stream(Stream()) as guarded:
        next(guarded)
    assert closed
    with pytest.raises(StopIteration):
        next(guarded)


def test_rules_span_the_conversation():
    policy = Policy(
        "read first", "!w W r", {"w": {"tool": "write"}, "r": {"tool": "read"}}, repair="read"
    )
    call = {"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    said = {
        "messages": [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "text"},
        ]
    }
    write = [{"index": 0, "id": "d", "function": {"name": "write", "arguments": "{}"}}]
    chunks = [chunk(tool_calls=write), chunk(finish="tool_calls")]
    assert list(guard_stream(chunks, policies=policy)) != chunks
    assert list(guard_stream(chunks, policies=policy, request=said)) == chunks


def test_a_call_too_long_to_wait():
    policy = no_tool("*", **{"arguments.path": "b"})
    calls = [{"index": 0, "id": "c", "function": {"name": "w", "arguments": '{"a": "' + "x" * 999}}]
    limits = ProxyLimits(max_held_bytes=100)
    with pytest.raises(MemoryLimitError, match="100 bytes"):
        list(guard_stream([chunk(tool_calls=calls)], policies=policy, limits=limits))


@pytest.mark.parametrize(
    ("error", "match", "more"),
    [
        (ArgumentTypeError, "stream", {"stream": 3}),
        (ArgumentTypeError, "got str: was it asked for with stream=True", {"stream": "data: {}"}),
        (ArgumentTypeError, "got dict: was it asked for with", {"stream": {"choices": []}}),
        (ArgumentValueError, "ending", {"ending": "error"}),
        (ArgumentValueError, "api", {"api": "ollama"}),
        (ArgumentTypeError, "request", {"request": 3}),
        (ArgumentTypeError, "limits must be ProxyLimits", {"limits": 3}),
        (ArgumentTypeError, "detectors must be an iterable", {"detectors": LoopDetector}),
        (ArgumentTypeError, "must have observe and finish", {"detectors": [LoopDetector]}),
    ],
)
def test_arguments_that_cannot_be_used(error, match, more):
    with pytest.raises(error, match=match):
        guard_stream(**({"stream": []} | more))


def test_detectors_are_of_one_stream_as_in_a_watch():
    detector = LoopDetector("note")
    stream = [{"choices": [{"index": 0, "delta": {"content": "Try again. "}}]}] * 50
    guarded = guard_stream(stream, detectors=iter([detector]))
    assert len(list(guarded)) == 50
    assert {finding.severity for finding in guarded.findings} == {"note"}
    with pytest.raises(ArgumentValueError, match="has seen another stream"):
        guard_stream(stream, detectors=[detector])


def test_what_is_no_stream_of_a_model():
    with pytest.raises(ArgumentTypeError, match="dicts, got int"):
        list(guard_stream([3]))

    class Helper(list):
        def get_final_message(self):
            return None

    with pytest.raises(ArgumentTypeError, match="GuardTransport"):
        guard_stream(Helper())


def test_calls_that_can_be_read_otherwise_raise():
    parts = [
        chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": name, "arguments": ""}}])
        for name in ("read", "write")
    ]
    with pytest.raises(MalformedStreamError, match="read in more than one way"):
        list(guard_stream(parts, policies=no_tool("write")))
    assert list(guard_stream(parts)) == parts
