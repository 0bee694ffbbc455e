"""Ollama's own endpoints: the traps of the wire format."""

from __future__ import annotations

from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import OllamaMapper, assemble


def line(content="", *, done=False, **message):
    return {
        "model": "m",
        "message": {"role": "assistant", "content": content, **message},
        "done": done,
    }


def test_chat():
    mapper = OllamaMapper()
    last = {**line(done=True), "done_reason": "length", "eval_duration": 7}
    events = mapped(
        mapper,
        line(thinking="Hm."),
        line("Once"),
        line(
            tool_calls=[
                {"function": {"name": "f", "arguments": {"x": "é"}}},
                {"id": "b", "function": {"name": "g", "arguments": None}},
            ]
        ),
        line(tool_calls=[{"function": {"name": "h", "arguments": '{"z":1}'}}, 5, {}]),
        {**last, "prompt_eval_count": 4, "eval_count": 3},
    )
    assert calls(events) == [
        ("0/0", "f", None, '{"x":"é"}'),
        ("0/1", "g", "b", "{}"),
        ("0/2", "h", None, '{"z":1}'),
        ("0/3", None, None, "{}"),
    ]
    assert [row for row in brief(events) if row[0] not in ("tool_call", "usage")] == [
        ("reasoning", "Hm.", "0"),
        ("text", "Once", "0"),
        ("end", "length", "0"),
    ]
    assert events[-1].data == {
        "usage": {"prompt_eval_count": 4, "eval_count": 3},
        "tokens": {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7},
    }
    assert mapper.cut() is None


def test_generate():
    events = mapped(
        OllamaMapper(),
        {"response": "Once", "thinking": "Hm.", "done": False},
        {"response": "", "done": False},
        {"response": "", "done": True, "context": [1, 2]},
    )
    assert brief(events) == [
        ("reasoning", "Hm.", "0"),
        ("text", "Once", "0"),
        ("text", "", "0"),
        ("end", "stop", "0"),
    ]


def test_how_it_ends():
    mapper = OllamaMapper()
    assert mapper.cut() is None
    mapped(mapper, line("a"))
    assert mapper.cut() == 'closed mid-stream after event 1: no line with "done": true arrived'
    (event,) = mapper.events({"error": "out of memory"}, 0)
    assert (event.kind, event.text) == ("error", "out of memory")
    assert mapper.cut() is None
    events = mapped(OllamaMapper(), line(done=True), line(done=True))
    assert [event.kind for event in events] == ["end", "text"]


def test_halves_of_characters():
    mapper = OllamaMapper()
    events = mapped(mapper, line("a" + HIGH), line(LOW + HIGH), line(done=True))
    assert assemble(events).text == "a🙂" + HIGH
    assert events[-1].kind == "end"


def test_unknown_kinds_pass():
    mapper = OllamaMapper()
    events = mapped(mapper, {"status": "pulling"}, {"message": []}, {"message": {}, "done": 1})
    assert {(event.kind, event.text) for event in events} == {("text", "")}
    assert mapper.unknown() == "3 events, none of them of an answer of Ollama"
