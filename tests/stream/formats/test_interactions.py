"""Google's Interactions: the traps of the wire format."""

from __future__ import annotations

from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import InteractionsMapper, assemble


def start(index, kind, **fields):
    return {"event_type": "step.start", "index": index, "step": {"type": kind, **fields}}


def delta(index, kind, **fields):
    return {"event_type": "step.delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index):
    return {"event_type": "step.stop", "index": index}


def ended(status="completed", **fields):
    return {"event_type": "interaction.completed", "interaction": {"status": status, **fields}}


def test_a_whole_stream():
    mapper = InteractionsMapper()
    usage = {"total_input_tokens": 5, "total_output_tokens": 2, "total_thought_tokens": 3}
    events = mapped(
        mapper,
        {"event_type": "interaction.created", "interaction": {"status": "in_progress"}},
        {"event_type": "interaction.status_update", "status": "in_progress"},
        start(0, "thought"),
        delta(0, "thought_summary", content={"type": "text", "text": "Hm."}),
        delta(0, "text", text="More."),
        delta(0, "thought_signature", signature="s"),
        stop(0),
        start(1, "function_call", id="a", name="f", arguments={}),
        delta(1, "arguments_delta", arguments='{"x":1}'),
        stop(1),
        start(2, "function_call", id="b", name="g", arguments={"y": 2}),
        stop(2),
        start(3, "google_search_call", id="s"),
        delta(3, "google_search_call", arguments={"queries": ["q"]}),
        stop(3),
        start(4, "google_search_result", call_id="s"),
        delta(4, "google_search_result", result=[{"title": "t"}]),
        start(5, "model_output", text="On"),
        delta(5, "text", text="ce"),
        ended("requires_action", usage=usage),
    )
    assert calls(events) == [
        ("1", "f", "a", ""),
        ("1", "f", "a", '{"x":1}'),
        ("2", "g", "b", ""),
        ("2", "g", "b", '{"y":2}'),
        ("3!", "google_search", "s", ""),
        ("3!", "google_search", "s", '{"queries":["q"]}'),
    ]
    found = assemble(events)
    assert (found.text, found.thoughts) == ("Once", "Hm.More.")
    assert found.finish_reason == "requires_action"
    assert found.calls[2].result == '{"title":"t"}'
    assert found.usage["output_tokens"] == 5
    assert mapper.cut() is None


def test_how_it_ends():
    mapper = InteractionsMapper()
    mapped(mapper, delta(0, "text", text="a"))
    assert mapper.cut() == "closed mid-stream after event 1: no completed interaction arrived"
    (event,) = mapper.events({"event_type": "error", "error": {"message": "no"}}, 0)
    assert (event.kind, event.text) == ("error", "no")
    assert mapper.cut() is None
    events = mapped(InteractionsMapper(), ended("failed", error={"message": "sorry"}), ended())
    assert brief(events) == [("error", "sorry", ""), ("end", "failed", ""), ("text", "", "")]
    (event,) = InteractionsMapper().events({"error": "no"}, 0)
    assert event.kind == "error"


def test_halves_of_characters():
    events = mapped(
        InteractionsMapper(),
        delta(0, "text", text=HIGH),
        delta(0, "text", text=LOW + HIGH),
        stop(0),
        delta(1, "text", text=HIGH),
        ended(),
    )
    assert assemble(events).texts == {"0": "🙂" + HIGH, "1": HIGH}


def test_unknown_kinds_pass():
    payloads = [
        {"event_type": "interaction.created"},
        {"event_type": "step.start", "step": 5},
        {"event_type": "step.delta", "index": "x", "delta": 5},
        start(1, ["thought"]),
        start(2, "future_result", call_id=5),
        delta(3, "future", thing=1),
        {"event_type": "future"},
        {"event_type": {}},
    ]
    events = mapped(InteractionsMapper(), *payloads)
    assert {(event.kind, event.text) for event in events} == {("text", "")}
