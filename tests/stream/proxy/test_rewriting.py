"""What a client gets: everything as it came until a rule acts, and then what its protocol has."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk, sse
from stream.proxy.wires import APIS, PARALLEL, body, no_tool, rows, wire

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Event, Guard, LoopDetector
from midstream.stream.formats.detecting import AutoMapper
from midstream.stream.policies import Policy
from midstream.stream.proxy.bodies import make_core, make_rewriter, rewriter_of
from midstream.stream.proxy.exchanges import Guarding
from midstream.stream.proxy.frames import SSESplitter, sse_bytes
from midstream.stream.proxy.rewriting import MOST_PARTS


def rewritten(api, guard, data, places=(), **more):
    rewriter = make_rewriter(api, guard, **more)
    places = sorted({place for place in places if 0 < place < len(data)})
    out = [
        rewriter.feed(data[start:end])
        for start, end in zip([0, *places], [*places, len(data)], strict=True)
    ]
    return b"".join([*out, rewriter.finish()]), rewriter


def payloads(data):
    return [
        json.loads(frame.data)
        for frame in SSESplitter(10**7).feed(data)
        if frame.data and frame.data != "[DONE]"
    ]


def free():
    return Guard(())


def no_match(pattern, action="stop", **more):
    """A policy against a text pattern."""
    return Policy("no pattern", "G !said", {"said": {"pattern": pattern, **more}}, action)


@pytest.fixture(scope="session")
def root(shared_data):
    return shared_data("wire")


def test_every_recorded_stream_passes_byte_for_byte(root):
    for row in rows(root, "chat", "responses", "anthropic"):
        data = body(root, row)
        for size in (1, 7, 4096) if len(data) < 20_000 else (13, 4096):
            out, rewriter = rewritten(APIS[row["api"]], free(), data, range(0, len(data), size))
            assert out == data, row["file"]
            assert not rewriter.over


def test_allowed_calls_pass_byte_for_byte(root):
    for row in rows(root, "chat", "responses"):
        if row["has_tool_calls"]:
            data = body(root, row)
            guard = Guard((), policies=no_tool("some_other_tool"))
            assert rewritten(APIS[row["api"]], guard, data)[0] == data, row["file"]
            late = Guard((), policies=no_tool("*", **{"arguments.nothing": "x"}))
            assert rewritten(APIS[row["api"]], late, data)[0] == data, row["file"]


def test_pings_overtake_a_call_that_waits(root):
    api, data = wire(root, "anthropic/anthropic-json-tool.1.jsonl")
    guard = Guard((), policies=no_tool("*", **{"arguments.nothing": "x"}))
    rewriter = make_rewriter(api, guard)
    at = data.rindex(b"event: content_block_delta")
    early = rewriter.feed(data[:at])
    assert b"ping" in early
    assert b"tool_use" not in early
    late = rewriter.feed(data[at:]) + rewriter.finish()
    assert sorted(map(str, payloads(early + late))) == sorted(map(str, payloads(data)))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_cuts_of_the_network_change_nothing(root, data):
    files = (
        (PARALLEL, [no_tool("*", **{"arguments.location": "Boston"})]),
        ("anthropic/otel-anthropic_tools_streaming_legacy-0.sse", [no_tool("get_time")]),
        ("open-responses/lmstudio-tool-call.1.jsonl", [no_tool("weather")]),
        ("openai/openai-text.jsonl", [no_match("Harmony")]),
        ("deepseek/deepseek-reasoning.jsonl", [no_match("letter", **{"in": ["reasoning"]})]),
        ("openai/otel-responses_streaming_async-0.sse", [no_match("the")]),
        ("anthropic/otel-anthropic_thinking_streaming_legacy-0.sse", [no_match("a")]),
    )
    file, policies = data.draw(st.sampled_from(files))
    api, sent = wire(root, file)
    places = data.draw(st.lists(st.integers(0, len(sent)), max_size=60))
    whole, first = rewritten(api, Guard((), policies=policies), sent)
    assert whole != sent
    out, second = rewritten(api, Guard((), policies=policies), sent, places)
    assert out == whole
    assert second.stopped == first.stopped
    assert [denial.finding for denial in second.denied] == [d.finding for d in first.denied]


@given(st.integers(1, 30), st.integers(1, 40), st.text("ab", max_size=3))
def test_a_text_is_cut_before_what_is_not_to_be_seen(size, before, after):
    text = "x" * before + "secret" + after + "y" * 20
    chunks = [chunk(text[at : at + size]) for at in range(0, len(text), size)]
    out, rewriter = rewritten("chat", Guard((), policies=no_match("secret")), sse(*chunks))
    seen = "".join(part["choices"][0]["delta"].get("content", "") for part in payloads(out))
    assert rewriter.stopped.kind == "policy"
    # What an earlier event has shown cannot be taken back.
    decided = before + len("secret")
    sent = (decided - 1) // size * size
    assert seen == text[: max(before, min(sent, decided))] or seen == text[:sent]
    assert "secret" not in seen
    assert payloads(out)[-1]["choices"][0]["finish_reason"] == "content_filter"
    assert out.endswith(b"data: [DONE]\n\n")


def test_a_loop_is_cut_behind_its_proof_at_the_same_character_whatever_the_chunks():
    text = "One moment. " + "I will try that again. " * 40
    seen = set()
    for size in (1, 3, 50, 400, 2000):
        chunks = [chunk(text[at : at + size]) for at in range(0, len(text), size)]
        out, rewriter = rewritten("chat", Guard([LoopDetector()]), sse(*chunks))
        assert rewriter.stopped.kind == "loop"
        seen.add("".join(part["choices"][0]["delta"].get("content", "") for part in payloads(out)))
    assert len(seen) == 1
    assert len(seen.pop()) == rewriter.stopped.end


@pytest.mark.parametrize(
    ("ending", "reason"), [("filtered", "content_filter"), ("normal", "stop"), ("error", None)]
)
def test_endings_of_chat_completions(ending, reason):
    sent = sse(chunk("a", index=0), chunk("b", index=1), chunk("bad", index=1), chunk("c"))
    out, rewriter = rewritten("chat", Guard((), policies=no_match("bad")), sent, ending=ending)
    last = payloads(out)
    assert b'"c"' not in out
    if reason is None:
        assert "(no pattern)" in last[-1]["error"]["message"]
        assert not out.endswith(b"[DONE]\n\n")
        return
    ends = [
        (part["choices"][0]["index"], part["choices"][0]["finish_reason"]) for part in last[-2:]
    ]
    assert ends == [(0, reason), (1, reason)]
    assert last[-1]["midstream"]["rule"] == "no pattern"
    assert last[-1]["id"] == "chatcmpl-1"
    assert out.endswith(b"data: [DONE]\n\n")
    assert rewriter.over
    assert rewriter.feed(sent) == b""


def test_a_choice_that_has_ended_is_not_ended_again():
    sent = sse(chunk("a"), chunk(finish="stop"), chunk("bad", index=1))
    out, _ = rewritten("chat", Guard((), policies=no_match("bad")), sent)
    ends = [part["choices"][0] for part in payloads(out) if part["choices"][0]["finish_reason"]]
    assert [(end["index"], end["finish_reason"]) for end in ends] == [
        (0, "stop"),
        (1, "content_filter"),
    ]


def call(number, arguments, name=None, call_id=None, **more):
    entry = {"index": number, "function": {"arguments": arguments}}
    if name is not None:
        entry |= {"id": call_id or f"call_{number}", "type": "function"}
        entry["function"]["name"] = name
    return chunk(**({"tool_calls": [entry]} | more))


def test_of_parallel_calls_one_is_denied():
    sent = sse(
        chunk(None, role="assistant"),
        call(0, "", "read"),
        call(0, '{"path": "a"}'),
        call(1, "", "delete"),
        call(1, '{"path": "b"}'),
        call(2, "", "read"),
        call(2, '{"path": "c"}'),
        chunk(finish="tool_calls"),
    )
    out, rewriter = rewritten("chat", Guard((), policies=no_tool("delete")), sent)
    calls = {}
    text = ""
    for part in payloads(out):
        delta = part["choices"][0]["delta"]
        text += delta.get("content") or ""
        for entry in delta.get("tool_calls", ()):
            kept = calls.setdefault(entry["index"], ["", ""])
            kept[0] += entry["function"].get("name", "")
            kept[1] += entry["function"]["arguments"]
    assert calls == {0: ["read", '{"path": "a"}'], 1: ["read", '{"path": "c"}']}
    assert "no delete" in text
    assert "ask the user first" in text
    assert payloads(out)[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert [denial.name for denial in rewriter.denied] == ["delete"]


def test_a_call_in_one_chunk_with_text_and_its_end():
    message = {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {"index": 0, "id": "a", "function": {"name": "read", "arguments": "{}"}},
            {"index": 1, "id": "b", "function": {"name": "delete", "arguments": "{}"}},
        ],
    }
    sent = sse(chunk(finish="tool_calls", **message))
    out, _ = rewritten("chat", Guard((), policies=no_tool("delete")), sent)
    deltas = [part["choices"][0] for part in payloads(out)]
    assert deltas[0]["delta"]["content"] == "I look."
    assert [d["delta"]["role"] for d in deltas if "role" in d["delta"]] == ["assistant"]
    names = [
        entry["function"]["name"] for d in deltas for entry in d["delta"].get("tool_calls", ())
    ]
    assert names == ["read"]
    assert deltas[-1]["finish_reason"] == "tool_calls"
    out, _ = rewritten("chat", Guard((), policies=no_tool("*")), sent)
    assert payloads(out)[-1]["choices"][0]["finish_reason"] == "stop"
    assert b"tool_calls" not in out
    out, _ = rewritten("chat", Guard((), policies=no_tool("other")), sent)
    assert out == sent


def test_a_call_that_waits_keeps_nothing_else_back():
    guard = Guard((), policies=no_tool("*", **{"arguments.path": "b"}))
    rewriter = make_rewriter("chat", guard)
    assert rewriter.feed(sse(call(0, '{"pa', "delete"), done=False)) == b""
    assert rewriter.kept_bytes > 0
    text = sse(chunk("meanwhile", index=1), done=False)
    assert rewriter.feed(text) == text
    held = rewriter.feed(sse(call(0, 'th": "a"}'), done=False))
    assert [part["choices"][0]["delta"]["tool_calls"][0]["index"] for part in payloads(held)] == [
        0,
        0,
    ]
    assert rewriter.kept_bytes == 0


def test_a_call_too_long_to_wait_ends_the_stream():
    guard = Guard((), policies=no_tool("*", **{"arguments.path": "b"}))
    sent = sse(call(0, '{"text": "', "write"), *[call(0, "x" * 400) for _ in range(40)])
    out, rewriter = rewritten("chat", guard, sent, max_held_bytes=4096)
    assert rewriter.over
    assert "4096 bytes" in payloads(out)[-1]["error"]["message"]
    assert b"write" not in out


def test_an_event_too_long_ends_the_stream():
    out, rewriter = rewritten("chat", free(), sse(chunk("x" * 5000)), max_event_bytes=1000)
    assert rewriter.over
    assert "too long" in payloads(out)[-1]["error"]["message"]


def test_an_upstream_that_breaks_off_ends_in_the_protocols_error():
    rewriter = make_rewriter("chat", free())
    first = sse(chunk("a"), done=False)
    assert rewriter.feed(first + b'data: {"choi') == first
    (told,) = payloads(rewriter.fail("reset"))
    assert told["error"]["message"] == "reset"
    assert rewriter.fail("again") == b""
    rewriter = make_rewriter("anthropic", free())
    rewriter.feed(b'event: message_start\ndata: {"type": "message_start", "message": {}}\n\n')
    assert rewriter.fail("reset").startswith(b"event: error\n")
    rewriter = make_rewriter("responses", free())
    rewriter.feed(
        b'data: {"type": "response.created", "sequence_number": 4, "response": {"id": "r"}}\n\n'
    )
    (told,) = payloads(rewriter.fail("reset"))
    assert told == {
        "type": "error",
        "code": "midstream_error",
        "message": "reset",
        "param": None,
        "sequence_number": 5,
    }


def test_responses_are_patched_to_their_end(root):
    api, sent = wire(root, "openai/openai-custom-tool.1.jsonl")
    out, _ = rewritten(api, Guard((), policies=no_tool("write_sql")), sent)
    parts = payloads(out)
    assert b"FROM users" not in out
    (item,) = parts[-1]["response"]["output"]
    assert item["type"] == "message"
    added = [part for part in parts if part["type"] == "response.output_item.added"]
    assert added[0]["output_index"] == 0
    assert added[0]["item"]["id"] == item["id"]


def test_a_call_that_only_the_final_response_has_is_denied_there():
    item = {"type": "function_call", "id": "f", "call_id": "c", "name": "rm", "arguments": "{}"}
    response = {"id": "r", "object": "response", "status": "completed", "output": [item]}
    events = [
        {"type": "response.created", "response": {**response, "output": []}},
        {"type": "response.completed", "response": response},
    ]
    sent = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    out, _ = rewritten("responses", Guard((), policies=no_tool("rm")), sent)
    assert payloads(out)[-1]["response"]["output"][0]["type"] == "message"
    assert b"function_call" not in out


WHOLE = {
    "chat": {
        "id": "c",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "logprobs": None,
                "message": {
                    "role": "assistant",
                    "content": "Look: bad luck",
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "read", "arguments": "{}"},
                        },
                        {
                            "id": "2",
                            "type": "function",
                            "function": {"name": "rm", "arguments": "{}"},
                        },
                    ],
                },
            }
        ],
        "usage": {"completion_tokens": 3},
    },
    "anthropic": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "content": [
            {"type": "text", "text": "Look: bad luck"},
            {"type": "tool_use", "id": "1", "name": "read", "input": {"path": "a"}},
            {"type": "tool_use", "id": "2", "name": "rm", "input": {}},
        ],
        "usage": {"output_tokens": 3},
    },
    "responses": {
        "id": "r",
        "object": "response",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "id": "m",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Look: bad luck", "annotations": []}],
            },
            {
                "type": "function_call",
                "id": "f1",
                "call_id": "1",
                "name": "read",
                "arguments": '{"path": "a"}',
                "status": "completed",
            },
            {
                "type": "function_call",
                "id": "f2",
                "call_id": "2",
                "name": "rm",
                "arguments": "{}",
                "status": "completed",
            },
        ],
        "usage": {"output_tokens": 3},
    },
    "ollama": {
        "model": "m",
        "message": {
            "role": "assistant",
            "content": "Look: bad luck",
            "tool_calls": [
                {"function": {"name": "read", "arguments": {"path": "a"}}},
                {"function": {"name": "rm", "arguments": {}}},
            ],
        },
        "done": True,
        "done_reason": "stop",
        "eval_count": 3,
    },
}


@pytest.mark.parametrize("api", WHOLE)
def test_whole_answers_pass_byte_for_byte(api):
    sent = json.dumps(WHOLE[api], indent=1).encode()
    assert rewritten(api, free(), sent, framing="json", places=[5, 9])[0] == sent
    guard = Guard((), policies=no_tool("other"))
    assert rewritten(api, guard, sent, framing="json")[0] == sent


@pytest.mark.parametrize("api", WHOLE)
def test_whole_answers_lose_denied_calls(api):
    sent = json.dumps(WHOLE[api]).encode()
    out, rewriter = rewritten(api, Guard((), policies=no_tool("rm")), sent, framing="json")
    answer = json.loads(out)
    assert [denial.name for denial in rewriter.denied] == ["rm"]
    if api == "chat":
        (choice,) = answer["choices"]
        assert [c["id"] for c in choice["message"]["tool_calls"]] == ["1"]
        assert "index" not in choice["message"]["tool_calls"][0]
        assert choice["message"]["content"].startswith("Look: bad luck\n\n")
        assert choice["finish_reason"] == "tool_calls"
        assert answer["usage"] == {"completion_tokens": 3}
    elif api == "anthropic":
        assert [block["type"] for block in answer["content"]] == ["text", "tool_use", "text"]
        assert answer["content"][1]["input"] == {"path": "a"}
        assert answer["stop_reason"] == "tool_use"
    elif api == "responses":
        assert [item["type"] for item in answer["output"]] == [
            "message",
            "function_call",
            "message",
        ]
        assert answer["usage"] == {"output_tokens": 3}
    else:
        names = [c["function"]["name"] for c in answer["message"]["tool_calls"]]
        assert names == ["read"]
        assert "no rm" in answer["message"]["content"]
        assert answer["done"] is True
        assert answer["eval_count"] == 3


@pytest.mark.parametrize("api", WHOLE)
def test_whole_answers_are_cut(api):
    sent = json.dumps(WHOLE[api]).encode()
    guard = Guard((), policies=no_match("bad"))
    out, rewriter = rewritten(api, guard, sent, framing="json")
    assert rewriter.stopped is not None
    answer = json.loads(out)
    assert b"luck" not in out
    if api == "chat":
        (choice,) = answer["choices"]
        assert choice["message"] == {"role": "assistant", "content": "Look: "}
        assert choice["finish_reason"] == "content_filter"
    elif api == "anthropic":
        assert answer["content"] == [{"type": "text", "text": "Look: "}]
        assert answer["stop_reason"] == "refusal"
    elif api == "responses":
        assert answer["status"] == "incomplete"
        assert answer["output"][0]["content"][0]["text"] == "Look: "
        assert len(answer["output"]) == 1
    else:
        assert answer["message"]["content"] == "Look: "
        assert answer["done"] is True


def test_whole_answers_have_a_limit():
    out, rewriter = rewritten(
        "chat", free(), b'{"a": "' + b"x" * 200, framing="json", max_answer_bytes=100
    )
    assert rewriter.over
    assert "100 bytes" in json.loads(out)["error"]["message"]


def test_what_is_no_json_object_passes():
    for sent in (b"", b"[1]", b"{", b"\xff"):
        assert rewritten("chat", free(), sent, framing="json")[0] == sent


def test_ollama_lines():
    lines = [
        {
            "model": "m",
            "created_at": "t",
            "message": {"role": "assistant", "content": "Look. "},
            "done": False,
        },
        {
            "model": "m",
            "created_at": "t",
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "rm", "arguments": {"path": "a"}}}],
            },
            "done": False,
        },
        {
            "model": "m",
            "created_at": "t",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "eval_count": 4,
        },
    ]
    sent = "".join(json.dumps(line) + "\n" for line in lines).encode()
    assert rewritten("ollama", free(), sent, framing="lines", places=range(0, 400, 7))[0] == sent
    out, _ = rewritten("ollama", Guard((), policies=no_tool("rm")), sent, framing="lines")
    parts = [json.loads(line) for line in out.splitlines()]
    assert not any("tool_calls" in part["message"] for part in parts)
    assert "no rm" in parts[1]["message"]["content"]
    assert parts[-1] == lines[-1]
    out, _ = rewritten("ollama", Guard((), policies=no_match("Look")), sent, framing="lines")
    (end,) = [json.loads(line) for line in out.splitlines()]
    assert (end["done"], end["message"]["content"], end["model"]) == (True, "", "m")


def test_llama_completions():
    sent = b"".join(
        b"data: %b\n\n" % json.dumps(part).encode()
        for part in (
            {"content": "Once", "stop": False},
            {"content": " bad luck", "stop": False},
            {"content": "", "stop": True, "stop_type": "eos", "tokens_predicted": 3},
        )
    )
    assert rewritten("llama", free(), sent)[0] == sent
    out, _ = rewritten("llama", Guard((), policies=no_match("bad")), sent)
    parts = payloads(out)
    assert "".join(part["content"] for part in parts) == "Once "
    assert [part["stop"] for part in parts] == [False, False, True]


def test_legacy_completions():
    sent = sse(
        *[
            {
                "id": "c",
                "object": "text_completion",
                "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": None}],
            }
            for text in ("Once ", "bad luck")
        ]
    )
    out, _ = rewritten("chat", Guard((), policies=no_match("luck")), sent)
    choices = [part["choices"][0] for part in payloads(out)]
    assert "".join(choice["text"] for choice in choices) == "Once bad "
    assert choices[-1] == {
        "index": 0,
        "text": "",
        "logprobs": None,
        "finish_reason": "content_filter",
    }


def test_silence_ends_a_stream():
    from midstream.stream import StallDetector

    rewriter = make_rewriter("chat", Guard([StallDetector("stop", first_s=1.0)]))
    rewriter.feed(sse(chunk("a"), done=False))
    assert rewriter.expire(500_000_000) == b""
    out = rewriter.expire(2_000_000_000)
    assert payloads(out)[-1]["midstream"]["kind"] == "stall"
    assert rewriter.stopped.kind == "stall"


def test_rules_span_the_conversation():
    policy = Policy(
        "read first",
        "!write W read",
        {"write": {"tool": "write"}, "read": {"tool": "read"}},
        repair="read the file",
    )
    sent = sse(call(0, "{}", "write"), chunk(finish="tool_calls"))
    assert b'"write"' not in rewritten("chat", Guard((), policies=policy), sent)[0]
    guard = Guard((), policies=policy)
    guard.recall(
        [
            Event("tool_call", 0, 0, "{}", "read", None, "h0/0", "c"),
            Event("tool_result", 1, 0, "text", "read", None, "h0/0", "c"),
        ]
    )
    assert rewritten("chat", guard, sent)[0] == sent


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (ArgumentValueError, {"api": "none"}),
        (ArgumentValueError, {"framing": "xml"}),
        (ArgumentValueError, {"ending": "abrupt"}),
        (ArgumentValueError, {"max_event_bytes": 0}),
        (ArgumentValueError, {"max_held_bytes": 0}),
        (ArgumentTypeError, {"max_answer_bytes": "1"}),
    ],
)
def test_arguments_that_cannot_be_used(error, more):
    with pytest.raises(error, match=next(iter(more))):
        make_rewriter(**({"api": "chat", "guard": free()} | more))


@pytest.mark.parametrize(
    ("api", "payload"),
    [
        ("chat", lambda n: chunk("a", index=n)),
        ("chat", lambda n: chunk(finish="stop", index=n)),
        ("chat", lambda n: call(n, "", "read")),
        (
            "anthropic",
            lambda n: {
                "type": "content_block_start",
                "index": n,
                "content_block": {"type": "text"},
            },
        ),
        (
            "responses",
            lambda n: {"type": "response.output_item.added", "output_index": n, "item": {}},
        ),
        (
            "responses",
            lambda n: {"type": "response.output_text.delta", "content_index": n, "delta": "a"},
        ),
    ],
)
def test_more_parts_than_are_kept_apart_end_the_stream(api, payload):
    rewriter = make_rewriter(api, free())
    for n in range(MOST_PARTS + 2):
        out = rewriter.feed(sse(payload(n), done=False))
        if rewriter.over:
            break
    assert n >= MOST_PARTS
    assert f"more than {MOST_PARTS} texts and calls" in str(payloads(out)[-1])


def test_whole_items_are_kept_up_to_a_size():
    rewriter = make_rewriter("responses", Guard((), policies=no_match("bad")))
    response = {"id": "r", "object": "response", "output": []}
    rewriter.feed(sse({"type": "response.created", "response": response}, done=False))
    for n in range(12):
        item = {"type": "message", "id": f"i{n}", "content": [{"text": "x" * 1_000_000}]}
        place = {"output_index": n, "item": item}
        rewriter.feed(sse({"type": "response.output_item.added", **place}, done=False))
        rewriter.feed(sse({"type": "response.output_item.done", **place}, done=False))
    delta = {"type": "response.output_text.delta", "output_index": 12, "delta": "bad"}
    (*_, last) = payloads(rewriter.feed(sse(delta, done=False)))
    assert len(last["response"]["output"]) == 8


@pytest.mark.parametrize("api", ["chat", "anthropic", "responses", "ollama"])
def test_what_is_kept_of_a_text_is_not_kept_token_by_token(api):
    def event(number):
        word = f"w{number} "
        if api == "chat":
            return sse(chunk(word), done=False)
        if api == "ollama":
            return json.dumps({"message": {"role": "assistant", "content": word}}).encode() + b"\n"
        kind, payload = {
            "responses": (
                "response.output_text.delta",
                {"item_id": "i", "output_index": 0, "content_index": 0, "delta": word},
            ),
            "anthropic": (
                "content_block_delta",
                {"index": 0, "delta": {"type": "text_delta", "text": word}},
            ),
        }[api]
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **payload})}\n\n".encode()

    rewriter = make_rewriter(api, Guard(()), framing="lines" if api == "ollama" else "sse")
    for number in range(100):
        assert rewriter.feed(event(number))
    tracemalloc.start()
    try:
        for number in range(100, 2100):
            assert rewriter.feed(event(number))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 20 * 2000  # a string takes 50 bytes, its place in a list 8


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_comes_behind_the_end_is_not_passed_on(size):
    """Nobody has judged it, and clients differ in whether they still read it."""
    whole = sse(chunk("Yes."), chunk(finish="stop"))
    call = {"index": 0, "id": "c", "function": {"name": "rm", "arguments": "{}"}}
    late = sse(chunk(tool_calls=[call]))
    rewriter = make_rewriter("chat", Guard((), no_tool("rm")))
    body = whole + late
    out = b"".join(rewriter.feed(body[k : k + size]) for k in range(0, len(body), size))
    assert out + rewriter.finish() == whole


def test_what_breaks_off_behind_the_end_is_whole():
    rewriter = make_rewriter("chat", Guard(()))
    assert rewriter.feed(sse(chunk("Yes."), chunk(finish="stop")))
    assert rewriter.fail("the connection broke") == b""
    assert rewriter.finish() == b""


def _said(api, reasoning, pieces):
    """Payloads of an answer that thinks, and then says these pieces."""
    if api == "chat":
        deltas = [{"reasoning_content": one} for one in reasoning]
        deltas += [{"content": one} for one in pieces]
        base = {"id": "x", "object": "chat.completion.chunk"}
        return [
            {**base, "choices": [{"index": 0, "delta": one, "finish_reason": None}]}
            for one in deltas
        ]
    if api == "anthropic":
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {}}
        out = [{"type": "message_start", "message": message}]
        for index, (kind, field, texts) in enumerate(
            (("thinking", "thinking", reasoning), ("text", "text", pieces))
        ):
            block = {"type": kind, field: ""}
            out.append({"type": "content_block_start", "index": index, "content_block": block})
            for one in texts:
                delta = {"type": f"{kind}_delta", field: one}
                out.append({"type": "content_block_delta", "index": index, "delta": delta})
            out.append({"type": "content_block_stop", "index": index})
        return out
    out = [{"type": "response.created", "response": {"id": "r", "status": "in_progress"}}]
    place = {"item_id": "i", "output_index": 0}
    for one in reasoning:
        delta = {"summary_index": 0, "delta": one}
        out.append({"type": "response.reasoning_summary_text.delta", **place, **delta})
    item = {"type": "message", "id": "j", "role": "assistant", "content": []}
    out.append({"type": "response.output_item.added", "output_index": 1, "item": item})
    for one in pieces:
        delta = {"item_id": "j", "output_index": 1, "content_index": 0, "delta": one}
        out.append({"type": "response.output_text.delta", **delta})
    return [{**one, "sequence_number": k} for k, one in enumerate(out)]


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
@pytest.mark.parametrize("hold", [0, 64])
@pytest.mark.parametrize(
    ("field", "most", "thought", "text"),
    [
        ("chars", 10, "thinking", "He"),
        ("chars", 3, "thi", ""),
        ("chars", 8, "thinking", ""),
        ("tokens", 3, "thinking", "Hello w"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_a_limit_cuts_at_its_very_character(api, hold, field, most, thought, text, size) -> None:
    rules = [
        Policy("short", "G !long", {"long": {field: {">": most}}}, "stop"),
        Policy("bad", "G !bad", {"bad": {"pattern": "more than this"}}, "stop"),
    ]
    guarding = Guarding(policies=rules, hold_text=hold)
    core = make_core(api, guarding.guard(), ending="filtered", max_held_bytes=10_000)
    guarding.prepare(core)
    rewriter = rewriter_of(api, core, "sse", max_event_bytes=10_000, max_answer_bytes=10_000)

    def cut(words):
        return [words[at : at + size] for at in range(0, len(words), size)]

    payloads = _said(api, cut("thinking"), cut("Hello world, and some more than that."))
    body = b"".join(sse_bytes("" if api == "chat" else one["type"], one) for one in payloads)
    out = rewriter.feed(body) + rewriter.finish()
    assert rewriter.stopped is not None and rewriter.stopped.evidence["rule"] == "short"
    mapper = AutoMapper()
    texts = {"text": "", "reasoning": ""}
    for frame in SSESplitter(10_000).feed(out):
        for event in mapper.decode(frame.data or "", 0, event=frame.event):
            if event.kind in texts:
                texts[event.kind] += event.text
    assert texts == {"text": text, "reasoning": thought}
