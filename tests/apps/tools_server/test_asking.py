"""The original's tools that ask the agent: right and wrong input, state of their own."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
from apps.tools_server.clients import MODES, ask, connected, refused

from midstream.apps.agent import Agent

THREE = ["Where is my order?", "Let me look.", "Where is my order?"]


@pytest.mark.parametrize("mode", MODES)
async def test_every_tool_is_described(mode):
    async with connected(mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools)[:8] == [
            "analyze_conversation",
            "compare_sequences",
            "detect_patterns",
            "analyze_behavior",
            "meta_learn",
            "get_status",
            "stream_websocket",
            "stream_sse",
        ]
        assert list(tools)[8:] == ["verify_trace", "check_policy", "search_recordings"]
        for tool in tools.values():
            assert tool.title
            assert tool.description
            assert tool.input_schema["type"] == "object"
            assert tool.input_schema["additionalProperties"] is False
            assert tool.output_schema["type"] == "object"
            assert set(tool.output_schema["required"]) == set(tool.output_schema["properties"])
            assert tool.annotations.open_world_hint is False
            assert tool.annotations.destructive_hint is False
            for name, about in tool.input_schema["properties"].items():
                assert about["description"], (tool.name, name)
        changing = {name for name, tool in tools.items() if not tool.annotations.read_only_hint}
        assert changing == {"analyze_conversation", "meta_learn", "stream_websocket", "stream_sse"}


@pytest.mark.parametrize("mode", MODES)
async def test_a_conversation_is_analysed(mode):
    async with connected(mode=mode) as client:
        found = await ask(client, "analyze_conversation", messages=THREE)
        alone = Agent().analyze(THREE).to_dict()
        assert {name: found[name] for name in alone} == alone
        assert found["duplicate_messages"] == 1
        assert (await ask(client, "get_status"))["messages"] == 0  # nothing was kept
        kept = await ask(client, "analyze_conversation", messages=THREE[:2], keep=True)
        assert kept["messages"] == 2
        kept = await ask(client, "analyze_conversation", messages=THREE[2:], keep=True)
        assert kept["messages"] == 3
        assert kept["duplicates"][0]["messages"] == [0, 2]
        assert await ask(client, "analyze_conversation") == kept
        assert (await ask(client, "get_status"))["roles"] == {"unspecified": 3}


async def test_messages_of_apis_are_understood():
    call = {"id": "c1", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Here."},
    ]
    async with connected() as client:
        found = await ask(client, "analyze_conversation", messages=messages)
        assert found["tools"] == {"look": 1}
        assert found["roles"] == {"user": 1, "assistant": 1, "tool": 1}


async def test_of_no_messages_there_is_an_answer():
    async with connected() as client:
        for arguments in ({}, {"messages": []}, {"messages": [], "keep": True}):
            found = await ask(client, "analyze_conversation", **arguments)
            assert found["messages"] == 0
            assert found["turn_length"] is None


async def test_wrong_messages_are_refused_and_none_is_kept():
    async with connected() as client:
        said = await refused(client, "analyze_conversation", messages=["fine", 5], keep=True)
        assert (
            said == "messages[1]: message must be a text or a mapping with role and content, "
            "got int"
        )
        assert (await ask(client, "get_status"))["messages"] == 0
        said = await refused(client, "analyze_conversation", messages=["x"] * 1001)
        assert "messages" in said
        assert "1000 items" in said
        assert "list of 1,001" in said
        said = await refused(client, "analyze_conversation", messages="x")
        assert said == "messages: Input should be a valid list, got 'x'"
        said = await refused(client, "analyze_conversation", mesages=["x"])
        assert said == "mesages is no argument of this tool; did you mean 'messages'?"
        said = await refused(client, "analyze_conversation", messages=["x" * 200_001])
        assert "messages[0]" in said
        assert "200,000" in said


async def test_lists_in_texts_are_read():
    # Some clients send them so.
    async with connected() as client:
        found = await ask(client, "analyze_conversation", messages='["a", "b"]')
        assert found["messages"] == 2
        found = await ask(client, "analyze_behavior", rewards="[1, 2, 3]")
        assert found["samples"] == 3
        assert "messages" in await refused(client, "analyze_conversation", messages='["a", ')
        assert "messages" in await refused(client, "analyze_conversation", messages="[" * 100_000)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"sequence1": "a b c", "sequence2": "a c", "algorithm": "edit"}, ("levenshtein", 1)),
        ({"sequence1": ["a", "b"], "sequence2": ["b"], "algorithm": "lcs"}, ("lcs", 1)),
        ({"sequence1": [1, 2, 3], "sequence2": [1, 2, 2, 3]}, ("dtw", 0)),
        (
            {"sequence1": [1, 2, 3], "sequence2": [2, 4, 6], "algorithm": "correlation"},
            ("correlation", 1),
        ),
        (
            {
                "sequence1": "kitten",
                "sequence2": "sitting",
                "algorithm": "levenshtein",
                "unit": "characters",
            },
            ("levenshtein", 3),
        ),
    ],
)
async def test_sequences_are_compared(arguments, expected):
    async with connected() as client:
        found = await ask(client, "compare_sequences", **arguments)
        assert (found["metric"], found["value"]) == (expected[0], pytest.approx(expected[1]))


async def test_equally_long_sequences_share_no_answer():
    # The original remembered comparisons by length.
    async with connected() as client:
        one = await ask(client, "compare_sequences", sequence1=[1, 2, 3], sequence2=[1, 2, 4])
        other = await ask(client, "compare_sequences", sequence1=[9, 9, 9], sequence2=[1, 2, 3])
        assert one["value"] == 1
        assert other["value"] == pytest.approx(math.sqrt(64 + 49 + 36))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sequence1": [1], "sequence2": None}, "sequence2 must be a text, or a list"),
        ({"sequence1": {"a": 1}, "sequence2": [1]}, "sequence1 must be a text, or a list"),
        ({"sequence1": [1]}, "sequence2 is missing"),
        ({"sequence1": [1], "sequence2": [2], "algorithm": "magic"}, "'magic'"),
        ({"sequence1": [1], "sequence2": [2], "unit": "bytes"}, "unit: "),
        ({"sequence1": [1], "sequence2": [2], "settings": {"window": -3}}, "-3"),
        ({"sequence1": [1], "sequence2": [2], "settings": {"wndow": 3}}, "wndow"),
        ({"sequence1": [1], "sequence2": [2], "settings": {"metric": 3}}, "metric"),
        ({"sequence1": [0] * 10_001, "sequence2": [2]}, "10,000"),
    ],
)
async def test_what_cannot_be_compared_is_said(arguments, said):
    async with connected() as client:
        assert said in await refused(client, "compare_sequences", **arguments)


async def test_patterns_are_found_and_discovered():
    async with connected() as client:
        found = await ask(
            client, "detect_patterns", sequence=["a", "b", "c", "a", "b"], pattern=["a", "b"]
        )
        assert (found["mode"], found["count"], found["positions"]) == ("exact", 2, [0, 3])
        found = await ask(client, "detect_patterns", sequence="abcabcabcX")
        assert found["mode"] == "discovery"
        assert "".join(found["repeats"][0]["pattern"])[:3] in ("abc", "bca", "cab")
        found = await ask(
            client, "detect_patterns", sequence="a" * 3000, pattern="a", max_positions=5
        )
        assert (found["count"], found["positions"]) == (3000, [0, 1, 2, 3, 4])
        await ask(client, "analyze_conversation", messages=["so it goes", "so it goes"], keep=True)
        found = await ask(client, "detect_patterns", pattern="it goes", unit="words")
        assert (found["count"], found["messages"]) == (2, [0, 1])
        assert "min_count" in await refused(client, "detect_patterns", sequence="ab", min_count=1)


async def test_behaviour_is_classified_or_insufficient():
    async with connected() as client:
        found = await ask(client, "analyze_behavior", rewards=[1.0, 2.0, 1.0])
        assert found["kind"] == "insufficient"
        assert found["lyapunov"] is None
        assert found["reasons"] == ["at least 100 samples are needed, got 3"]
        found = await ask(client, "analyze_behavior", rewards=[k % 7 for k in range(700)])
        assert (found["kind"], found["period"]) == ("limit_cycle", 7)
        x, orbit = 0.4, []
        for _ in range(2000):
            x = 4 * x * (1 - x)
            orbit.append(x)
        found = await ask(client, "analyze_behavior", rewards=orbit)
        assert found["is_chaotic"] is True
        assert found["lyapunov"] == pytest.approx(0.693, abs=0.15)
        said = await refused(client, "analyze_behavior", rewards=["up"])
        assert "rewards" in said


async def test_rewards_are_learned_from():
    async with connected() as client:
        for _ in range(3):
            found = await ask(client, "meta_learn", content="The cat sat down.", reward=0.5)
        assert found["rewards"]["count"] == 3
        assert found["levels"][0]["patterns"][0]["text"] == "the cat sat down"
        assert await ask(client, "meta_learn") == found
        assert (await ask(client, "get_status"))["rewards"] == 3
        assert (await ask(client, "analyze_behavior"))["source"] == "rewards"
        assert "reward" in await refused(client, "meta_learn", reward="much")
        assert "reward" in await refused(client, "meta_learn", reward=1e301)
        assert "content" in await refused(client, "meta_learn", content=5, reward=1)
        assert (await ask(client, "get_status"))["rewards"] == 3


async def test_there_is_no_other_tool():
    async with connected() as client:
        said = await refused(client, "get_stats")
        assert said.startswith("there is no tool 'get_stats'; did you mean 'get_status'?")


async def test_ten_clients_have_ten_conversations():
    async def one(number, server):
        from mcp import Client

        async with Client(server, mode=MODES[number % 2], cache=None) as client:
            for k in range(number + 1):
                await ask(client, "analyze_conversation", messages=[f"{number} {k}"], keep=True)
                await ask(client, "meta_learn", reward=number)
                await asyncio.sleep(0)
            status = await ask(client, "get_status")
            return status["messages"], status["mean_reward"], status["session"]

    from midstream.apps.tools_server import ToolServer

    tools = ToolServer()
    found = await asyncio.gather(*(one(number, tools.server) for number in range(10)))
    assert [messages for messages, _, _ in found] == list(range(1, 11))
    assert [mean for _, mean, _ in found] == list(range(10))
    assert len({key for _, _, key in found}) == 10


async def test_a_client_may_have_several_conversations():
    async with connected() as client:
        own = await ask(client, "analyze_conversation", messages=["a"], keep=True)
        other = await ask(
            client, "analyze_conversation", messages=["b", "c"], keep=True, session="new"
        )
        assert own["session"] != other["session"]
        assert (await ask(client, "get_status"))["messages"] == 1
        status = await ask(client, "get_status", session=other["session"])
        assert (status["messages"], status["session"]) == (2, other["session"])
        said = await refused(client, "get_status", session="nobody's")
        assert said == "not_found: no such session: it ended, or never was"


async def test_a_crash_is_one_calls_own(caplog):
    class Crashing(Agent):
        def status(self):
            raise ZeroDivisionError("of 10 by 0, with a secret")

    told = []
    async with connected(make_agent=Crashing, on_call=lambda *call: told.append(call)) as client:
        said = await refused(client, "get_status")
        assert said == "get_status failed for a reason that the server's log tells"
        assert (await ask(client, "analyze_conversation"))["messages"] == 0
    assert "ZeroDivisionError" in caplog.text
    assert [(tool, outcome) for tool, _, _, outcome in told] == [
        ("get_status", "crashed"),
        ("analyze_conversation", "ok"),
    ]


async def test_what_takes_long_says_that_it_goes_on():
    class Slow(Agent):
        def behavior(self, series=None):
            time.sleep(1.8)
            return super().behavior(series)

    told = []

    async def progress(done, total, message):
        told.append((done, total, message))

    async with connected(make_agent=Slow) as client:
        asking = client.call_tool(
            "analyze_behavior", {"rewards": [1.0] * 500}, progress_callback=progress
        )
        # Others are answered meanwhile.
        slow, quick = await asyncio.gather(asking, client.call_tool("get_status", {}))
    assert slow.structured_content["samples"] == 500
    assert not quick.is_error
    assert len(told) >= 2
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})
    assert {(total, message) for _, total, message in told} == {(None, "seconds so far")}
