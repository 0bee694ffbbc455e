"""Cohere's chat: the traps of the wire format."""

from __future__ import annotations

from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import CohereMapper, assemble


def of(kind, index=0, **message):
    return {"type": kind, "index": index, "delta": {"message": message}}


def ended(reason="COMPLETE", **fields):
    return {"type": "message-end", "delta": {"finish_reason": reason, **fields}}


def call(**function):
    return {"tool_calls": {"id": "a", "type": "function", "function": function}}


def test_a_whole_stream():
    mapper = CohereMapper()
    usage = {
        "billed_units": {"input_tokens": 1.0, "output_tokens": 2.0},
        "tokens": {"input_tokens": 10.0, "output_tokens": 2.0},
        "cached_tokens": 4,
    }
    events = mapped(
        mapper,
        of("message-start", role="assistant", content=[]),
        of("tool-plan-delta", tool_plan="I will"),
        of("content-start", content={"type": "thinking", "thinking": ""}),
        of("content-delta", content={"thinking": "Hm."}),
        of("content-end"),
        of("content-start", 1, content={"type": "text", "text": ""}),
        of("content-delta", 1, content={"text": "Once"}),
        of("citation-start", citations={}),
        of("tool-call-start", **call(name="f", arguments="")),
        of("tool-call-delta", tool_calls={"function": {"arguments": '{"x"'}}),
        of("tool-call-start", 1, tool_calls={"id": "b", "function": {"name": "g"}}),
        of("tool-call-delta", tool_calls={"function": {"arguments": ":1}"}}),
        of("tool-call-delta", 1, tool_calls={"function": {"arguments": {"y": 2}}}),
        of("tool-call-end"),
        ended("TOOL_CALL", usage=usage),
    )
    assert calls(events) == [
        ("0/0", "f", "a", ""),
        ("0/0", "f", "a", '{"x"'),
        ("0/1", "g", "b", ""),
        ("0/0", "f", "a", ":1}"),
        ("0/1", "g", "b", '{"y":2}'),
    ]
    found = assemble(events)
    assert found.reasoning == {"0:plan": "I will", "0": "Hm."}
    assert found.texts == {"0:1": "Once"}
    assert found.finish_reason == "TOOL_CALL"
    assert found.usage == {
        "input_tokens": 10,
        "output_tokens": 2,
        "total_tokens": 12,
        "cached_tokens": 4,
    }
    assert mapper.cut() is None


def test_how_it_ends():
    mapper = CohereMapper()
    mapped(mapper, of("message-start"))
    assert mapper.cut() == "closed mid-stream after event 1: no message-end arrived"
    events = mapped(CohereMapper(), ended("ERROR", error="out of tokens"), ended())
    assert brief(events) == [("error", "out of tokens", ""), ("end", "ERROR", ""), ("text", "", "")]
    (event,) = CohereMapper().events({"error": "no"}, 0)
    assert event.kind == "error"


def test_halves_of_characters():
    events = mapped(
        CohereMapper(),
        of("content-delta", content={"text": HIGH}),
        of("content-delta", content={"text": LOW + HIGH}),
        of("tool-call-delta", **call(name="f", arguments=HIGH)),
        of("tool-call-end"),
        ended(),
    )
    assert assemble(events).text == "🙂" + HIGH
    assert assemble(events).calls[0].arguments == HIGH


def test_unknown_kinds_pass():
    payloads = [
        {"type": "content-delta", "delta": 5},
        {"type": "content-delta", "delta": {"message": 5}, "index": []},
        of("content-delta", content=5),
        of("tool-call-delta", tool_calls=5),
        of("tool-plan-delta", tool_plan=5),
        {"type": "debug", "prompt": "x"},
        {"type": "future-delta"},
        {"type": 5},
    ]
    events = mapped(CohereMapper(), *payloads)
    assert {(event.kind, event.text) for event in events} == {("text", "")}
