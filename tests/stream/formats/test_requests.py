"""What requests tell of the conversation before them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.formats import MAPPERS, history


def brief(events):
    assert [event.seq for event in events] == list(range(len(events)))
    return [
        (event.kind, event.name, event.text, event.stream_id, event.call_id) for event in events
    ]


def test_chat():
    first = {
        "role": "assistant",
        "content": [{"type": "text", "text": "Let me "}, {"type": "refusal", "refusal": "not."}],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
            {"id": "b", "type": "custom", "custom": {"name": "g", "input": "SELECT 1"}},
        ],
    }
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            first,
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "1"}]},
            {"role": "tool", "tool_call_id": "a", "content": "done"},
            {"role": "assistant", "content": "All set."},
            {"role": "assistant", "function_call": {"name": "old", "arguments": ""}},
            {"role": "function", "name": "old", "content": "it worked"},
        ]
    }
    events = history(body, "chat")
    assert brief(events) == [
        ("text", "user", "Hi", "h1", None),
        ("text", None, "Let me not.", "h2", None),
        ("tool_call", "f", '{"x": 1}', "h2/0", "a"),
        ("tool_call", "g", "SELECT 1", "h2/1", "b"),
        ("tool_result", "g", "1", "h2/1", "b"),
        ("tool_result", "f", "done", "h2/0", "a"),
        ("text", None, "All set.", "h5", None),
        ("tool_call", "old", "", "h6/0", None),
        ("tool_result", "old", "it worked", "h6/0", None),
    ]
    assert [event.data is first for event in events[1:4]] == [True, False, False]
    assert events[2].data is None


def test_responses():
    body = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
            {"type": "shell_call", "call_id": "c2", "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "c2", "output": [{"stdout": "a"}]},
            {
                "type": "web_search_call",
                "id": "ws",
                "action": {"query": "q", "sources": [{"u": 1}]},
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Bye."}],
            },
            {"type": "item_reference", "id": "x"},
        ],
    }
    assert brief(history(body, "responses")) == [
        ("text", "user", "Hi", "h0", None),
        ("text", None, "Hello.", "h1", None),
        ("tool_call", "f", "{}", "h3", "c1"),
        ("tool_result", "f", "ok", "h3", "c1"),
        ("tool_call", "shell", '{"commands":["ls"]}', "h5", "c2"),
        ("tool_result", "shell", '{"stdout":"a"}', "h5", "c2"),
        ("tool_call", "web_search", '{"query":"q"}', "h7!", "ws"),
        ("tool_result", "web_search", '{"u":1}', "h7!", "ws"),
        ("text", None, "Bye.", "h8", None),
    ]
    assert brief(history({"input": "Hi"}, "responses")) == [("text", "user", "Hi", "h0", None)]


def test_anthropic():
    body = {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "And?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "text", "text": "Look:"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": "found"},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no such x"}],
                    }
                ],
            },
        ],
    }
    events = history(body, "messages")
    assert brief(events) == [
        ("text", "user", "Hi", "h0", None),
        ("text", None, "Hello.", "h1", None),
        ("text", "user", "And?", "h2/0", None),
        ("text", None, "Look:", "h3/1", None),
        ("tool_call", "f", '{"x":1}', "h3/2", "t1"),
        ("tool_call", "web_search", "{}", "h3/3!", "s1"),
        ("tool_result", "web_search", "found", "h3/3!", "s1"),
        ("tool_result", "f", "no such x", "h3/2", "t1"),
    ]
    assert events[-1].data["is_error"] is True


def test_ollama():
    calls = [{"function": {"name": "f", "arguments": {"x": 1}}}] * 2
    body = {
        "messages": [
            {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": calls},
            {"role": "tool", "tool_name": "f", "content": "one"},
            {"role": "tool", "tool_name": "f", "content": "two"},
            {"role": "tool", "tool_name": "g", "content": "of nothing"},
        ]
    }
    assert brief(history(body, "ollama")) == [
        ("tool_call", "f", '{"x":1}', "h0/0", None),
        ("tool_call", "f", '{"x":1}', "h0/1", None),
        ("tool_result", "f", "one", "h0/0", None),
        ("tool_result", "f", "two", "h0/1", None),
        ("tool_result", "g", "of nothing", "h3", None),
    ]
    assert history({"prompt": "Once"}, "ollama") == []


def test_google():
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "Hm.", "thought": True},
                    {"text": "Look:"},
                    {"functionCall": {"name": "f", "args": {"x": 1}}},
                ],
            },
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"y": 2}}}]},
        ]
    }
    assert brief(history(body, "google")) == [
        ("text", "user", "Hi", "h0", None),
        ("text", None, "Look:", "h1", None),
        ("tool_call", "f", '{"x":1}', "h1/2", None),
        ("tool_result", "f", '{"y":2}', "h1/2", None),
    ]


def test_bedrock():
    use = {"toolUse": {"toolUseId": "u", "name": "f", "input": {"x": 1}}}
    result = {"toolResult": {"toolUseId": "u", "content": [{"text": "ok"}, {"json": {"y": 2}}]}}
    body = {
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}]},
            {"role": "assistant", "content": [{"text": "Look:"}, use]},
            {"role": "user", "content": [result]},
        ]
    }
    assert brief(history(body, "bedrock")) == [
        ("text", "user", "Hi", "h0/0", None),
        ("text", None, "Look:", "h1/0", None),
        ("tool_call", "f", '{"x":1}', "h1/1", "u"),
        ("tool_result", "f", 'ok{"json":{"y":2}}', "h1/1", "u"),
    ]


@pytest.mark.parametrize("api", ["llama", "realtime", "assistants", "interactions"])
def test_requests_that_tell_nothing(api):
    assert history({"messages": [{"role": "assistant", "content": "x"}]}, api) == []


def test_what_is_refused():
    with pytest.raises(ArgumentTypeError, match="body"):
        history([], "chat")
    with pytest.raises(ArgumentValueError, match=r"api must be one of .*got 'gopher'"):
        history({}, "gopher")


KEYS = [
    *("messages", "input", "contents", "role", "content", "parts", "type", "text", "tool_calls"),
    *("function", "name", "arguments", "id", "call_id", "toolUse", "toolResult", "output"),
    *("functionCall", "functionResponse", "tool_use_id", "tool_call_id", "action", "error"),
]
WORDS = [
    *("assistant", "tool", "user", "model", "tool_use", "tool_result", "message", "text"),
    *("function_call", "shell_call", "function_call_output", "mcp_approval_request"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), values), st.sampled_from(sorted(MAPPERS)))
def test_no_body_makes_it_raise(body, api):
    for event in history(body, api):
        assert type(event.text) is str
        assert event.name is None or type(event.name) is str
        assert event.call_id is None or type(event.call_id) is str
        assert event.stream_id.startswith("h")


def test_agent_runs_come_through(shared_data):
    """A recorded run, written as each API's request would have it, gives the same steps."""
    rows = shared_data("agents/tau_airline.jsonl").read_text().splitlines()[:20]
    for row in map(json.loads, rows):
        texts = {"assistant_text": None, "user": "user"}
        wanted = [
            ("text", texts[step["type"]], None)
            if step["type"] in texts
            else (step["type"], step["name"], step["call_id"])
            for step in row["events"]
        ]
        for api, body in (
            ("chat", {"messages": [_chat(step) for step in row["events"]]}),
            ("responses", {"input": [_responses(step) for step in row["events"]]}),
            ("anthropic", {"messages": [_anthropic(step) for step in row["events"]]}),
        ):
            events = history(body, api)
            assert [(event.kind, event.name, event.call_id) for event in events] == wanted


def _chat(step):
    if step["type"] in ("user", "assistant_text"):
        return {"role": step["type"].removesuffix("_text"), "content": step["text"]}
    if step["type"] == "tool_result":
        return {"role": "tool", "tool_call_id": step["call_id"], "content": step["text"]}
    function = {"name": step["name"], "arguments": step["arguments"]}
    return {"role": "assistant", "tool_calls": [{"id": step["call_id"], "function": function}]}


def _responses(step):
    if step["type"] in ("user", "assistant_text"):
        return {"role": step["type"].removesuffix("_text"), "content": step["text"]}
    if step["type"] == "tool_result":
        return {
            "type": "function_call_output",
            "call_id": step["call_id"],
            "output": step["text"],
        }
    return {
        "type": "function_call",
        "call_id": step["call_id"],
        "name": step["name"],
        "arguments": step["arguments"],
    }


def _anthropic(step):
    if step["type"] in ("user", "assistant_text"):
        return {"role": step["type"].removesuffix("_text"), "content": step["text"]}
    if step["type"] == "tool_result":
        block = {"type": "tool_result", "tool_use_id": step["call_id"], "content": step["text"]}
        return {"role": "user", "content": [block]}
    block = {
        "type": "tool_use",
        "id": step["call_id"],
        "name": step["name"],
        "input": json.loads(step["arguments"]),
    }
    return {"role": "assistant", "content": [block]}
