"""The simulated server, asked by the official SDKs and guarded by the proxy."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anthropic
import httpx2
import openai
import pytest
import uvicorn
from stream.chat import within
from stream.proxy.wires import proxied

from midstream.errors import ArgumentValueError
from midstream.stream import from_http
from midstream.stream.listening import QuietServer, listening
from midstream.stream.simulating import SimulatedEndpoint, Timing, simulated_events

FAST = {"speed": 1000.0, "timing": Timing(first_s=0.0)}
ASKED = [{"role": "user", "content": "Hello"}]


@asynccontextmanager
async def served(endpoint):
    """Run an endpoint on loopback; gives its URL."""
    config = uvicorn.Config(
        endpoint, log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = QuietServer(config)
    with listening("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.listening.wait()
        try:
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def asking(endpoint):
    """A client of OpenAI's for an endpoint."""
    async with (
        within(),
        served(endpoint) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk,
    ):
        yield sdk


def said(scenario, seed):
    """The text of a simulated answer."""
    events = simulated_events(scenario, seed=seed, timing=FAST["timing"])
    return "".join(event.text for event in events if event.kind == "text")


async def test_openais_sdk_gets_the_simulated_text():
    async with asking(SimulatedEndpoint(seed=7, **FAST)) as sdk:
        stream = await sdk.chat.completions.create(model="m", messages=ASKED, stream=True)
        chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == said("story", 7)
        stream = await sdk.responses.create(model="sim-reasoning", input="Hi", stream=True)
        texts = [item.delta async for item in stream if item.type.endswith("text.delta")]
        assert said("reasoning", 8) in "".join(texts)
        models = [model.id async for model in sdk.models.list()]
    assert "sim-loop" in models


async def test_anthropics_sdk_gets_the_simulated_text():
    async with (
        within(),
        served(SimulatedEndpoint(seed=2, **FAST)) as url,
        anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as sdk,
        sdk.messages.stream(model="sim-story", max_tokens=10_000, messages=ASKED) as stream,
    ):
        assert await stream.get_final_text() == said("story", 2)


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
async def test_tool_calls_reach_every_api(api):
    path = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}.get(api, "/v1/messages")
    async with within(), served(SimulatedEndpoint("agent", **FAST)) as url:
        source = from_http(url + path, model="m", prompt="Hello")
        events = [event async for event in source]
    names = {event.name for event in events if event.kind == "tool_call"}
    assert names == {"read_file", "search"}


async def test_a_loop_is_cut_by_the_proxy_and_the_endpoint_notices():
    endpoint = SimulatedEndpoint("loop", tokens=20_000, speed=20.0)
    async with within(), served(endpoint) as url, proxied(url) as proxy:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{proxy.url}/v1") as sdk:
            stream = await sdk.chat.completions.create(model="m", messages=ASKED, stream=True)
            chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "content_filter"
        assert len(chunks) < 1000
        while not endpoint.broken_off:
            await asyncio.sleep(0.01)
    assert endpoint.answered == 0


async def test_a_reset_is_one():
    chunks = []
    async with asking(SimulatedEndpoint(faults=["reset"], **FAST)) as sdk:
        stream = await sdk.chat.completions.create(model="m", messages=ASKED, stream=True)
        # Older versions let through what the transport raises.
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401 - those before the break count
    assert len(chunks) > 100


async def test_what_is_not_served_is_told_in_the_providers_form():
    async with asking(SimulatedEndpoint(**FAST)) as sdk:
        with pytest.raises(openai.NotFoundError, match="/v1/embeddings is not served"):
            await sdk.embeddings.create(model="m", input="a")


async def test_whole_answers_through_the_official_sdks():
    async with (
        within(),
        served(SimulatedEndpoint(seed=3, **FAST)) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk,
        anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as other,
    ):
        chat = await sdk.chat.completions.create(model="sim-story", messages=ASKED)
        assert chat.choices[0].message.content == said("story", 3)
        assert chat.usage.completion_tokens > 100
        agent = await sdk.chat.completions.create(model="sim-agent", messages=ASKED)
        calls = agent.choices[0].message.tool_calls
        assert {call.function.name for call in calls} == {"read_file", "search"}
        three = await sdk.chat.completions.create(model="sim-choices", messages=ASKED)
        assert [choice.index for choice in three.choices] == [0, 1, 2]
        response = await sdk.responses.create(model="sim-reasoning", input="Hi")
        assert response.output_text == said("reasoning", 6)
        cut = await sdk.responses.create(model="sim-loop", input="Hi")
        assert cut.incomplete_details.reason == "max_output_tokens"
        message = await other.messages.create(model="sim-story", max_tokens=9999, messages=ASKED)
        assert message.content[0].text == said("story", 8)
        assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("fault", ["cut", "reset", "error"])
async def test_a_whole_answer_that_fails(fault):
    error = openai.InternalServerError if fault == "error" else openai.APIConnectionError
    async with asking(SimulatedEndpoint(faults=[fault], **FAST)) as sdk:
        with pytest.raises(error):
            await sdk.chat.completions.create(model="m", messages=ASKED)


async def test_a_streams_usage_and_model_are_told_as_a_whole_answers():
    async with (
        within(),
        served(SimulatedEndpoint(tokens=50, **FAST)) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk,
        anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as other,
    ):
        stream = await sdk.chat.completions.create(model="m", messages=ASKED, stream=True)
        chunks = [chunk async for chunk in stream]
        assert {chunk.model for chunk in chunks} == {"m"}
        usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == [(20, 50)]
        stream = await sdk.responses.create(model="m", input="Hi", stream=True)
        *_, last = [item async for item in stream]
        assert (last.response.usage.output_tokens, last.response.model) == (50, "m")
        async with other.messages.stream(model="m", max_tokens=999, messages=ASKED) as said_so:
            message = await said_so.get_final_message()
        assert (message.usage.output_tokens, message.model) == (50, "m")


@pytest.mark.parametrize("stream", [True, False])
async def test_why_an_answer_ended_is_told_as_a_provider_does(stream):
    async with (
        within(),
        served(SimulatedEndpoint(**FAST)) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk,
        anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as other,
    ):

        async def chat(model, **options):
            asked = {"model": model, "messages": ASKED, "stream": stream, **options}
            answer = await sdk.chat.completions.create(**asked)
            chunks = [chunk async for chunk in answer] if stream else [answer]
            reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
            return [reason for reason in reasons if reason]

        async def message(model, most):
            asked = {"model": model, "max_tokens": most, "messages": ASKED}
            if not stream:
                return (await other.messages.create(**asked)).stop_reason
            async with other.messages.stream(**asked) as answer:
                return (await answer.get_final_message()).stop_reason

        assert await chat("sim-agent") == ["tool_calls"]
        assert await chat("sim-story") == ["stop"]
        assert await chat("sim-story", max_tokens=5) == ["length"]
        assert await message("sim-agent", 9999) == "tool_use"
        assert await message("sim-story", 9999) == "end_turn"
        assert await message("sim-story", 5) == "max_tokens"


async def test_a_smaller_limit_of_the_request_counts():
    async with asking(SimulatedEndpoint("loop", **FAST)) as sdk:
        stream = await sdk.chat.completions.create(
            model="m", messages=ASKED, stream=True, max_tokens=30
        )
        chunks = [chunk async for chunk in stream]
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) == 30


async def test_ollamas_sdk_gets_the_same():
    ollama = pytest.importorskip("ollama", reason="Ollama's SDK is not installed")
    async with (
        within(),
        served(SimulatedEndpoint(tokens=400, **FAST)) as url,
        ollama.AsyncClient(host=url) as sdk,
    ):
        parts = [part async for part in await sdk.chat("sim-story", ASKED, stream=True)]
        assert "".join(part.message.content or "" for part in parts) == said("story", 0)
        assert (parts[-1].done, parts[-1].done_reason, parts[-1].eval_count) == (True, "stop", 400)
        parts = [part async for part in await sdk.generate("sim-reasoning", "Hi", stream=True)]
        assert "".join(part.response for part in parts) == said("reasoning", 1)
        assert any(part.thinking for part in parts)
        whole = await sdk.chat("sim-agent", ASKED)
        assert {call.function.name for call in whole.message.tool_calls} == {"read_file", "search"}
        assert whole.message.tool_calls[0].function.arguments["path"].startswith("src/")
        short = await sdk.generate("sim-story", "Hi", options={"num_predict": 5})
        assert (short.done_reason, short.eval_count) == ("length", 5)
        assert "sim-loop" in [model.model for model in (await sdk.list()).models]
        with pytest.raises(ollama.ResponseError, match="/api/embed is not served here"):
            await sdk.embed("m", "text")


async def test_ollamas_sdk_is_guarded_by_the_proxy():
    ollama = pytest.importorskip("ollama", reason="Ollama's SDK is not installed")
    endpoint = SimulatedEndpoint("loop", tokens=20_000, speed=20.0)
    async with (
        within(),
        served(endpoint) as url,
        proxied(url) as proxy,
        ollama.AsyncClient(host=proxy.url) as sdk,
    ):
        parts = [part async for part in await sdk.chat("m", ASKED, stream=True)]
    assert parts[-1].done
    assert len(parts) < 1000


@pytest.mark.parametrize("model", ["sim-story", "sim-agent", "sim-tool_loop"])
async def test_a_cut_answer_is_cut_everywhere(model):
    async with within(), served(SimulatedEndpoint(faults=["cut"], **FAST)) as url:
        for path, asked in (
            ("/v1/messages", {"max_tokens": 9999, "messages": ASKED}),
            ("/api/chat", {"messages": ASKED, "stream": False}),
        ):
            async with httpx2.AsyncClient() as http:
                with pytest.raises(httpx2.RemoteProtocolError):
                    await http.post(url + path, json={"model": model, **asked})


def test_arguments():
    with pytest.raises(ArgumentValueError, match=r"scenario must be one of.*'audio'"):
        SimulatedEndpoint("audio")
    with pytest.raises(ArgumentValueError, match="faults must be one of"):
        SimulatedEndpoint(faults=("fire",))
