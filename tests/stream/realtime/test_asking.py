"""`from_websocket`: one response as a source."""

from __future__ import annotations

import pytest
from stream.proxy.sessions import RealtimeServer, Script, closing

from midstream.errors import ArgumentTypeError, ArgumentValueError, EndpointError
from midstream.stream import from_websocket, watch
from midstream.stream.policies import Policy

NO_DROP = Policy("no drops", "G !drop", {"drop": {"tool": "drop_*"}}, "block")


async def test_a_conversation_is_told_and_one_response_read():
    script = Script()
    said = [*script.response(script.message("Hi", " again."))]
    said[-1]["response"]["usage"] = {"total_tokens": 7}
    later = script.response(script.message("More", response="resp_2"), response="resp_2")
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    ]
    async with RealtimeServer([*said, *later], greeting=[script.session()]) as server:
        async with from_websocket(server.url, messages=messages, model="m") as source:
            events = [event async for event in source]
        await server.ended.wait()
    assert [event.kind for event in events][-2:] == ["end", "usage"]
    assert "".join(event.text for event in events if event.kind == "text") == "Hi again."
    items = [one["item"] for one in server.received if "item" in one]
    assert [(item["role"], item["content"][0]["type"]) for item in items] == [
        ("system", "input_text"),
        ("user", "input_text"),
        ("assistant", "output_text"),
        ("user", "input_text"),
    ]
    assert items[1]["content"][0]["text"] == "Hello"


async def test_it_is_watched_as_any_source():
    script = Script()
    said = script.response(script.call("drop_table", '{"table": "users"}'))
    async with RealtimeServer(said, greeting=[script.session()]) as server:
        guard = watch(from_websocket(server.url, prompt="x"), policies=NO_DROP)
        events = [event async for event in guard]
    assert [denial.name for denial in guard.denied] == ["drop_table"]
    assert "tool_call" not in {event.kind for event in events}


async def test_what_breaks_it_comes_after_what_had_arrived():
    script = Script()
    said = [script.created(), *script.message("Once")[0][:5], closing(1011)]
    async with RealtimeServer(said, greeting=[script.session()]) as server:
        source = from_websocket(server.url, prompt="x")
        texts = []
        with pytest.raises(EndpointError, match="1011"):
            async for event in source:
                texts.append(event.text)  # noqa: PERF401 - what came before it broke
        assert "Once" in texts
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "one of prompt and messages"),
        ({"prompt": "x", "messages": []}, "one of prompt and messages"),
        ({"prompt": 1}, "prompt must be str"),
        ({"messages": "x"}, "sequence of mappings"),
        ({"messages": ["x"]}, r"messages\[0\] must be a mapping"),
        ({"messages": [{"role": "tool"}]}, "got 'tool'"),
        ({"prompt": "x", "idle_timeout_s": 0}, "idle_timeout_s"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, words):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words):
        from_websocket("ws://127.0.0.1", **arguments)
