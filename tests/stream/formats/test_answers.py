"""Events put together."""

from __future__ import annotations

from stream.chat import chunk

from midstream.stream.events import Event
from midstream.stream.formats import ChatMapper, assemble, choice_of


def test_nothing():
    found = assemble([])
    assert (found.text, found.thoughts, found.finish_reason, found.calls) == ("", "", None, [])
    assert found.api is None


def test_choices_of_chat():
    mapper = ChatMapper()
    events = []
    for payload in (
        chunk("b", index=1, reasoning="hm"),
        chunk("a", index=0),
        chunk(finish="stop", index=1),
    ):
        events += mapper.events(payload, 0)
    found = assemble(events)  # cut off: the first choice has not ended
    assert (found.api, found.text, found.thoughts) == ("chat", "a", "")
    assert found.finish_reason is None
    events += mapper.events(chunk(finish="length"), 0)
    assert assemble(events).finish_reason == "length"


def test_choices_without_payloads():
    events = [
        Event("text", 0, 0, "b", stream_id="1"),
        Event("text", 1, 0, "a", stream_id="0"),
        Event("text", 2, 0, "A", stream_id="0:1"),
        Event("end", 3, 0, "stop", stream_id="0"),
        Event("end", 4, 0, "length", stream_id="1"),
    ]
    found = assemble(events)
    assert (found.text, found.finish_reason) == ("aA", "stop")
    assert assemble(events[:3]).text == "baA"  # who knows


def test_calls_results_and_the_rest():
    events = [
        Event("tool_call", 0, 0, '{"a"', "f", stream_id="1", call_id=None),
        Event("tool_call", 1, 0, ":1}", "f", stream_id="1", call_id="c"),
        Event("tool_call", 2, 0, "", None, stream_id="2!"),
        Event("tool_result", 3, 0, "one", "f", stream_id="x", call_id="c"),
        Event("tool_result", 4, 0, "two", stream_id="2!"),
        Event("tool_result", 5, 0, "three", stream_id="2!"),
        Event("tool_result", 6, 0, "of another", "g", stream_id="h1", call_id="d"),
        Event("audio", 7, 0, "spoken", stream_id="3"),
        Event("error", 8, 0, "oh"),
        Event("usage", 9, 0, data={"usage": {"n": 1}, "tokens": {"input_tokens": 1}}),
        Event("usage", 10, 0, data={"usage": {"n": 2}, "tokens": {"input_tokens": 2}}),
        Event("usage", 11, 0, data={"tokens": {"input_tokens": 5}}, stream_id="r1."),
        Event("usage", 12, 0, data={"usage": {"from": "an older recording"}}),
        Event("end", 13, 0, "tool_use"),
    ]
    found = assemble(events)
    first, second = found.calls
    assert (first.arguments, first.name, first.call_id, first.result) == (
        '{"a":1}',
        "f",
        "c",
        "one",
    )
    assert (second.name, second.result, second.provider_run) == (None, "twothree", True)
    assert found.results == {"d": "of another"}
    assert found.audio == {"3": "spoken"}
    assert found.errors == ["oh"]
    assert found.usage == {"input_tokens": 7}
    assert found.finish_reason == "tool_use"


def test_choice_of():
    assert choice_of("0/1", "chat") == choice_of("0:1", "google") == choice_of("0", "llama") == "0"
    assert choice_of("r1.2!", "responses") == choice_of("", "anthropic") == ""
    assert choice_of("0/1", None) == "0/1"
