"""Bedrock's converse-stream: the traps of the wire format."""

from __future__ import annotations

from stream.formats.mapping import HIGH, LOW, calls, mapped

from midstream.stream.formats import BedrockMapper, assemble


def start(index, **fields):
    return {"contentBlockStart": {"contentBlockIndex": index, "start": fields}}


def delta(index, **fields):
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": fields}}


def stop(index):
    return {"contentBlockStop": {"contentBlockIndex": index}}


END = {"messageStop": {"stopReason": "tool_use"}}


def test_a_whole_stream():
    mapper = BedrockMapper()
    events = mapped(
        mapper,
        {"messageStart": {"role": "assistant"}},
        delta(0, reasoningContent={"text": "Hm."}),
        delta(0, reasoningContent={"signature": "s"}),
        stop(0),
        delta(1, text="Once"),
        start(2, toolUse={"toolUseId": "a", "name": "f"}),
        start(3, toolUse={"toolUseId": "s", "name": "nova", "type": "server_tool_use"}),
        delta(2, toolUse={"input": '{"x"'}),
        delta(3, toolUse={"input": "{}"}),
        delta(2, toolUse={"input": ":1}"}),
        stop(2),
        start(4, toolResult={"toolUseId": "s"}),
        delta(4, toolResult=[{"text": "found"}]),
        END,
        {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2, "cacheReadInputTokens": 4}}},
    )
    assert calls(events) == [
        ("2", "f", "a", ""),
        ("3!", "nova", "s", ""),
        ("2", "f", "a", '{"x"'),
        ("3!", "nova", "s", "{}"),
        ("2", "f", "a", ":1}"),
    ]
    found = assemble(events)
    assert (found.text, found.thoughts, found.finish_reason) == ("Once", "Hm.", "tool_use")
    assert found.calls[1].result == "found"
    assert found.usage == {
        "input_tokens": 7,
        "output_tokens": 2,
        "total_tokens": 9,
        "cached_tokens": 4,
    }
    assert mapper.cut() is None


def test_a_whole_answer():
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm."}}},
        {"text": "Once"},
        {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": 1}}},
        7,
    ]
    events = mapped(
        BedrockMapper(),
        {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "tool_use",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        },
    )
    found = assemble(events)
    assert (found.text, found.thoughts, found.finish_reason) == ("Once", "Hm.", "tool_use")
    assert found.calls[0].arguments == '{"x":1}'


def test_how_it_ends():
    mapper = BedrockMapper()
    mapped(mapper, delta(0, text="a"))
    assert mapper.cut() == "closed mid-stream after event 1: no messageStop arrived"
    (event,) = mapper.events({"throttlingException": {"message": "slow down"}}, 0)
    assert (event.kind, event.text) == ("error", "throttlingException: slow down")
    assert mapper.cut() is None
    (event,) = BedrockMapper().events({"error": "no"}, 0)
    assert event.kind == "error"
    events = mapped(BedrockMapper(), END, END)
    assert [event.kind for event in events] == ["end", "text"]


def test_halves_of_characters():
    events = mapped(
        BedrockMapper(),
        delta(0, text=HIGH),
        delta(0, text=LOW + HIGH),
        stop(0),
        delta(1, text=HIGH),
        END,
    )
    assert assemble(events).texts == {"0": "🙂" + HIGH, "1": HIGH}
    assert events[-1].kind == "end"


def test_unknown_kinds_pass():
    payloads = [
        {"contentBlockDelta": {"contentBlockIndex": "x", "delta": {"image": {}}}},
        {"contentBlockDelta": 5},
        {"contentBlockStart": {"start": 5}},
        {"contentBlockStart": {"start": {"toolUse": 5, "toolResult": 5}}},
        {"metadata": {"usage": 5}},
        {"output": {"message": 5}},
        {"future": {}},
        {3: {}},
    ]
    events = mapped(BedrockMapper(), *payloads)
    assert {(event.kind, event.text) for event in events} == {("text", "")}
