"""Whatever a client sends as arguments, there is a result or an error that says why."""

from __future__ import annotations

import random

import pytest
from apps.tools_server.clients import MODES, SECRET, connected, shipped
from mcp_types import CallToolResult

SCALARS = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**70), 0.5, -0.0, 1e308, 5e-324),
    *("", "a", "a b", "G(a -> F b)", "x > 1", "\0", "\ud800", "é\u202e", "[1, 2]", '{"a": 1}'),
    *("loop-02.jsonl", "../x.jsonl", "new", "no-secret", "[[rule]]", "x" * 3000, SECRET),
    *("2026-01-01", "status", "stop", "words", "edit", "ltl3", "{" * 300, "'; DROP TABLE x"),
)
KEYS = ("role", "content", "tool_calls", "type", "id", "function", "name", "arguments", "a", "x")
#: Arguments of all tools, one of which is often given to another.
NAMES = (
    *("messages", "keep", "session", "sequence1", "sequence2", "algorithm", "unit", "settings"),
    *("sequence", "pattern", "min_length", "min_count", "max_positions", "rewards", "content"),
    *("reward", "formula", "trace", "times", "dialect", "semantics", "missing", "rules", "ready"),
    *("tools", "recording", "text", "kind", "severity", "tool", "after", "limit", "offset"),
    *("order", "complete", "min_duration_s", "nonsense", ""),
)


def value(rng, depth=0):
    kind = rng.random()
    if depth > 3 or kind < 0.5:
        return rng.choice(SCALARS)
    size = rng.choice((0, 1, 2, 3, 8, 40)) if depth < 2 else rng.choice((0, 1, 2))
    if kind < 0.8:
        if rng.random() < 0.5:
            one = rng.choice(SCALARS)
            return [one] * size
        return [value(rng, depth + 1) for _ in range(size)]
    return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(min(size, 6))}


@pytest.mark.parametrize("mode", MODES)
async def test_no_arguments_crash_a_tool(mode, tmp_path):
    rng = random.Random(10)
    told = []
    async with connected(
        mode=mode, recordings=shipped(tmp_path), on_call=lambda *call: told.append(call)
    ) as client:
        tools = [
            tool
            for tool in (await client.list_tools()).tools
            if not tool.name.startswith("stream_")  # of which any port would do
        ]
        for _ in range(300):
            tool = rng.choice(tools)
            known = list(tool.input_schema["properties"])
            names = {rng.choice(known if rng.random() < 0.95 else NAMES) for _ in range(4)}
            required = tool.input_schema.get("required", [])
            arguments = {name: value(rng) for name in {*names, *required}}
            result = await client.call_tool(tool.name, arguments)
            assert isinstance(result, CallToolResult)
            if result.is_error:
                assert result.content[0].text
                assert "Traceback" not in result.content[0].text
                assert "pydantic" not in result.content[0].text
    assert len(told) == 300
    assert {outcome for _, _, _, outcome in told} == {"ok", "failed"}
