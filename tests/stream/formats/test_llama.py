"""llama.cpp's own completion endpoint."""

from __future__ import annotations

from stream.formats.mapping import HIGH, LOW, brief, mapped

from midstream.stream.formats import LlamaMapper, assemble


def test_a_completion():
    mapper = LlamaMapper()
    last = {"content": "", "stop": True, "stop_type": "eos", "timings": {}}
    events = mapped(
        mapper,
        {"content": "Once", "tokens": [1], "stop": False},
        {**last, "tokens_predicted": 9, "tokens_evaluated": 4},
    )
    assert brief(events) == [("text", "Once", ""), ("end", "eos", ""), ("usage", "", "")]
    assert events[2].data == {
        "usage": {"tokens_evaluated": 4, "tokens_predicted": 9},
        "tokens": {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13},
    }
    assert mapper.cut() is None


def test_prompts_side_by_side():
    mapper = LlamaMapper()
    events = mapped(
        mapper,
        {"index": 0, "content": "a", "stop": False},
        {"index": 1, "content": "b", "stop": False},
        {"index": 0, "content": "c", "stop": True, "stop_type": "limit"},
        {"index": 0, "content": "", "stop": True},
    )
    assert brief(events) == [
        ("text", "a", "0"),
        ("text", "b", "1"),
        ("text", "c", "0"),
        ("end", "limit", "0"),
        ("text", "", ""),
    ]
    assert mapper.cut() == 'closed mid-stream after event 4: nothing with "stop": true arrived'
    mapper.events({"error": {"message": "gone"}}, 0)
    assert mapper.cut() is None


def test_halves_and_what_is_unknown():
    events = mapped(
        LlamaMapper(),
        {"content": HIGH, "stop": False},
        {"content": LOW + HIGH, "stop": False},
        {"content": 5, "stop": False},
        {"content": "", "stop": True, "stop_type": 7},
    )
    assert assemble(events).text == "🙂" + HIGH
    assert brief(events)[-1] == ("end", "stop", "")
