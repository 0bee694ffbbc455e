"""The official SDKs, unmodified, through the proxy: the same objects as without, and the rules."""

from __future__ import annotations

import asyncio
import json

import anthropic
import openai
import pytest
from stream.chat import chunk, sse, within
from stream.proxy.wires import APIS, PARALLEL, Upstream, body, no_tool, proxied, rows, wire

from midstream.stream.policies import Policy

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="session")
def root(shared_data):
    return shared_data("wire")


def client(api, url):
    """An official client of an API."""
    if api == "anthropic":
        return anthropic.AsyncAnthropic(api_key="test-key", base_url=url, max_retries=0)
    return openai.AsyncOpenAI(api_key="test-key", base_url=f"{url}/v1", max_retries=0)


async def ask(sdk, api, *, legacy=False, messages=MESSAGES):
    """The stream of an answer."""
    if api == "anthropic":
        return await sdk.messages.create(model="m", max_tokens=100, messages=messages, stream=True)
    if api == "responses":
        return await sdk.responses.create(model="m", input="Hello", stream=True)
    if legacy:
        return await sdk.completions.create(model="m", prompt="Once", stream=True)
    return await sdk.chat.completions.create(model="m", messages=messages, stream=True)


async def objects(url, api, **more):
    async with client(api, url) as sdk:
        return await told(sdk, api, **more)


async def told(sdk, api, **more):
    """All objects of an answer, and the error that ended it."""
    out = []
    try:
        async for item in await ask(sdk, api, **more):
            out.append(item)  # noqa: PERF401 - what came before an error counts
    except (openai.APIError, anthropic.APIError) as error:
        return out, (type(error), str(error))
    return out, None


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
async def test_every_recorded_stream_gives_the_same_objects(root, api):
    seen = 0
    async with (
        within(),
        Upstream(b"") as upstream,
        proxied(upstream) as proxy,
        client(api, upstream.url) as direct,
        client(api, proxy.url) as behind,
    ):
        for row in rows(root, api):
            upstream.answer = body(root, row)
            legacy = row["api"] == "completions"
            wanted = await told(direct, api, legacy=legacy)
            assert await told(behind, api, legacy=legacy) == wanted, row["file"]
            seen += len(wanted[0])
    assert seen > 500


async def test_the_blocking_sdks_too(root):
    _, answer = wire(root, PARALLEL)
    async with within(), Upstream(answer) as upstream, proxied(upstream) as proxy:

        def collected(url):
            with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk:
                return list(sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True))

        wanted = await asyncio.to_thread(collected, upstream.url)
        assert await asyncio.to_thread(collected, proxy.url) == wanted


async def test_helpers_that_put_messages_together(root):
    file = "anthropic/otel-anthropic_tools_streaming_legacy-0.sse"
    _, answer = wire(root, file)
    async with (
        within(),
        Upstream(answer) as upstream,
        proxied(upstream, policies=no_tool("get_time")) as proxy,
    ):
        finals = []
        for url in (upstream.url, proxy.url):
            async with (
                client("anthropic", url) as sdk,
                sdk.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream,
            ):
                finals.append(await stream.get_final_message())
    direct, guarded = finals
    assert [block.type for block in direct.content] == ["text", "tool_use", "tool_use"]
    assert [block.type for block in guarded.content] == ["text", "tool_use", "text"]
    assert guarded.content[:2] == direct.content[:2]
    assert "no get_time" in guarded.content[2].text
    assert guarded.stop_reason == "tool_use"


async def test_of_parallel_calls_one_is_denied(root):
    _, answer = wire(root, PARALLEL)
    policy = no_tool("*", **{"arguments.location": "San Francisco"})
    async with within(), Upstream(answer) as upstream, proxied(upstream, policies=policy) as proxy:
        async with (
            client("chat", proxy.url) as sdk,
            sdk.chat.completions.stream(model="m", messages=MESSAGES) as stream,
        ):
            final = await stream.get_final_completion()
        choice = final.choices[0]
        (kept,) = choice.message.tool_calls
        assert json.loads(kept.function.arguments) == {"location": "Boston"}
        assert "ask the user first" in choice.message.content
        assert choice.finish_reason == "tool_calls"
        assert proxy.metrics.denied == {("no *",): 1}


async def test_denied_in_a_response(root):
    api, answer = wire(root, "open-responses/lmstudio-tool-call.1.jsonl")
    policy = no_tool("weather")
    async with (
        within(),
        Upstream(answer) as upstream,
        proxied(upstream, policies=policy) as proxy,
        client(api, proxy.url) as sdk,
        sdk.responses.stream(model="m", input="Hello") as stream,
    ):
        events = [event async for event in stream]
        final = await stream.get_final_response()
    kinds = [item.type for item in final.output]
    assert kinds == ["reasoning", "message", "message"]
    assert "no weather" in final.output_text
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert not any("function_call" in event.type for event in events)


def looping(text):
    return sse(*[chunk(text[at : at + 12]) for at in range(0, len(text), 12)])


async def test_a_loop_is_cut_and_the_upstream_closed(shared_data):
    samples = shared_data("loops/gpt3.jsonl").read_text().splitlines()
    loops = [json.loads(line) for line in samples]
    text = max(
        (one for one in loops if one["label"] == "loop" and not one["near"]),
        key=lambda one: one["copies"],
    )["text"]
    answer = looping(text + text[-200:] * 400)
    async with (
        within(),
        Upstream(answer, size=64, pause_s=0.0005) as upstream,
        proxied(upstream) as proxy,
    ):
        async with client("chat", proxy.url) as sdk:
            stream = await ask(sdk, "chat")
            got = [item async for item in stream]
        await upstream.gone.wait()
    assert got[-1].choices[0].finish_reason == "content_filter"
    assert got[-1].midstream["kind"] in ("loop", "near_loop")
    said = "".join(item.choices[0].delta.content or "" for item in got)
    assert len(said) < len(text)
    assert text.startswith(said)


def turns(run):
    """What the assistant said at each turn of a recorded agent run, and the messages before."""
    messages, out = [], []
    for event in run["events"]:
        kind = event["type"]
        if kind == "user":
            messages.append({"role": "user", "content": event["text"]})
        elif kind == "tool_result":
            messages.append(
                {"role": "tool", "tool_call_id": event["call_id"], "content": event["text"]}
            )
        elif kind == "assistant_text":
            out.append((list(messages), event))
            messages.append({"role": "assistant", "content": event["text"]})
        else:
            out.append((list(messages), event))
            function = {"name": event["name"], "arguments": event["arguments"]}
            call = {"id": event["call_id"], "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    return out


def answer_of(event):
    """A turn as a chat stream."""
    if event["type"] == "assistant_text":
        return sse(chunk(event["text"], role="assistant"), chunk(finish="stop"))
    text = event["arguments"]
    first = {"name": event["name"], "arguments": ""}
    parts = [{"index": 0, "id": event["call_id"], "type": "function", "function": first}]
    parts += [
        {"index": 0, "function": {"arguments": text[at : at + 9]}} for at in range(0, len(text), 9)
    ]
    return sse(*[chunk(tool_calls=[part]) for part in parts], chunk(finish="tool_calls"))


async def test_forbidden_calls_of_recorded_agents_never_reach_the_client(shared_data):
    lines = shared_data("agents/tau_airline.jsonl").read_text().splitlines()
    policies = [
        no_tool("cancel_reservation"),
        Policy(
            "look first",
            "!update W look",
            {
                "update": {"tool": "update_*"},
                "look": {"kind": "tool_result", "tool": "get_reservation_details"},
            },
            repair="call get_reservation_details",
        ),
    ]
    asked = denied = passed = 0
    async with (
        within(55),
        Upstream(b"", size=4096) as upstream,
        proxied(upstream, policies=policies) as proxy,
        client("chat", proxy.url) as sdk,
    ):
        for line in lines[::3]:
            looked = False
            for messages, event in turns(json.loads(line)):
                name = event.get("name", "")
                if name == "get_reservation_details":
                    looked = True
                if not name.startswith(("update_", "cancel_")):
                    continue
                upstream.answer = answer_of(event)
                asked += 1
                async with sdk.chat.completions.stream(model="m", messages=messages) as stream:
                    message = (await stream.get_final_completion()).choices[0].message
                if name == "cancel_reservation" or not looked:
                    denied += 1
                    assert not message.tool_calls
                    assert "denied by the rule" in message.content
                else:
                    passed += 1
                    (call,) = message.tool_calls
                    assert call.function.arguments == event["arguments"]
    assert denied > 5
    assert passed > 5
    assert asked == denied + passed


async def test_whole_answers(root):
    call = {"id": "c", "type": "function", "function": {"name": "rm", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
    }
    sent = json.dumps(answer).encode()
    async with within(), Upstream(sent, kind="application/json") as upstream:
        for policies, calls in ((), 1), (no_tool("rm"), 0):
            async with (
                proxied(upstream, policies=policies) as proxy,
                client("chat", proxy.url) as sdk,
            ):
                got = await sdk.chat.completions.create(model="m", messages=MESSAGES)
            assert len(got.choices[0].message.tool_calls or ()) == calls
            assert got.choices[0].finish_reason == ("tool_calls" if calls else "stop")


async def test_errors_of_the_upstream_are_the_sdks_errors():
    sent = json.dumps({"error": {"message": "slow down", "type": "rate_limit_error"}}).encode()
    settings = {"status": "429 Too Many Requests", "kind": "application/json"}
    async with (
        within(),
        Upstream(sent, headers=("Retry-After: 7",), **settings) as upstream,
        proxied(upstream) as proxy,
        client("chat", proxy.url) as sdk,
    ):
        with pytest.raises(openai.RateLimitError, match="slow down") as caught:
            await ask(sdk, "chat")
    assert caught.value.response.headers["retry-after"] == "7"


async def test_an_upstream_that_breaks_off_is_the_sdks_error(root):
    for api, file in (
        ("chat", "openai/openai-text.jsonl"),
        ("anthropic", "anthropic/otel-anthropic_tools_streaming_legacy-0.sse"),
    ):
        _, answer = wire(root, file)
        async with (
            within(),
            Upstream(answer, size=100, reset_after=2050) as upstream,
            proxied(upstream) as proxy,
        ):
            got, error = await objects(proxy.url, api)
        assert len(got) >= 1
        assert "the upstream broke off" in error[1]


def test_all_apis_are_tested():
    assert set(APIS.values()) == {"chat", "responses", "anthropic"}
