"""OpenAI Assistants: the traps of the wire format."""

from __future__ import annotations

import json

from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import AssistantsMapper, assemble, detect


def message(text, message_id="m", index=0):
    content = [{"index": index, "type": "text", "text": {"value": text}}]
    return {"object": "thread.message.delta", "id": message_id, "delta": {"content": content}}


def step(*tools, step_id="s"):
    details = {"type": "tool_calls", "tool_calls": list(tools)}
    return {"object": "thread.run.step.delta", "id": step_id, "delta": {"step_details": details}}


def run(status, **fields):
    return {"object": "thread.run", "id": "r", "status": status, **fields}


def code(**fields):
    return {"index": 0, "type": "code_interpreter", "code_interpreter": fields}


def test_a_whole_stream():
    mapper = AssistantsMapper()
    events = mapped(
        mapper,
        run("queued"),
        step({**code(input=""), "id": "a"}),
        step(code(input='print("')),
        step(code(input='a")\n')),
        step(code(outputs=[{"type": "logs", "logs": "a"}])),
        {"object": "thread.run.step", "id": "s", "status": "completed"},
        step(
            {"index": 0, "id": "b", "type": "function", "function": {"name": "f", "arguments": ""}},
            step_id="t",
        ),
        step({"index": 0, "type": "function", "function": {"arguments": '{"x":1}'}}, step_id="t"),
        step({"index": 1, "id": "c", "type": "file_search", "file_search": {}}, step_id="t"),
        message("On"),
        message("ce"),
        message("two", index=1),
        {"object": "thread.message", "id": "m", "status": "completed", "content": []},
        run("completed", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
    )
    found = assemble(events)
    assert found.texts == {"2": "Once", "2:1": "two"}
    assert found.finish_reason == "completed"
    assert found.usage == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    first, second, third = found.calls
    assert (first.stream_id, first.name, first.call_id) == ("0/0!", "code_interpreter", "a")
    assert json.loads(first.arguments) == {"input": 'print("a")\n'}
    assert first.result == '{"type":"logs","logs":"a"}'
    assert calls(events)[-3:] == [
        ("1/0", "f", "b", ""),
        ("1/0", "f", "b", '{"x":1}'),
        ("1/1!", "file_search", "c", ""),
    ]
    assert (second.provider_run, third.provider_run) == (False, True)
    assert mapper.cut() is None


def test_a_message_that_did_not_stream():
    content = [{"type": "text", "text": {"value": "Once"}}, {"type": "refusal", "refusal": "no"}]
    whole = {"object": "thread.message", "id": "m", "status": "completed", "content": content}
    assert brief(mapped(AssistantsMapper(), whole)) == [
        ("text", "Once", "0"),
        ("text", "no", "0:1"),
    ]


def test_events_as_the_sdk_has_them():
    payload = {"event": "thread.message.delta", "data": message("Once")}
    assert detect(payload) is AssistantsMapper
    assert brief(mapped(AssistantsMapper(), payload)) == [("text", "Once", "0")]
    failed = {"event": "error", "data": {"message": "no"}}
    assert brief(mapped(AssistantsMapper(), failed)) == [("error", "no", "")]


def test_how_it_ends():
    mapper = AssistantsMapper()
    mapped(mapper, message("a"))
    assert mapper.cut() == "closed mid-stream after event 1: no end of the run arrived"
    events = mapped(
        AssistantsMapper(), run("failed", last_error={"message": "sorry"}), run("expired")
    )
    assert brief(events) == [("error", "sorry", ""), ("end", "failed", ""), ("text", "", "")]
    assert brief(mapped(AssistantsMapper(), {"error": "no"})) == [("error", "no", "")]


def test_halves_of_characters():
    events = mapped(
        AssistantsMapper(),
        message(HIGH),
        message(LOW + HIGH),
        {"object": "thread.message", "id": "m", "status": "completed"},
        step(code(input=HIGH)),
        {"object": "thread.run.step", "id": "s", "status": "completed"},
        message(HIGH, "n"),
        run("completed"),
    )
    found = assemble(events)
    assert found.texts == {"0": "🙂" + HIGH, "2": HIGH}
    assert found.calls[0].arguments == '{"input":"' + HIGH + '"}'


def test_unknown_kinds_pass():
    payloads = [
        {"object": "thread.message.delta", "delta": 5},
        {"object": "thread.message.delta", "id": [], "delta": {"content": [5, {"text": 5}]}},
        {"object": "thread.run.step.delta", "delta": {"step_details": 5}},
        step(5),
        {"object": "thread.run", "status": {}},
        {"object": "thread.future"},
        {"object": "other", "data": {}, "event": 5},
    ]
    events = mapped(AssistantsMapper(), *payloads)
    assert {(event.kind, event.text) for event in events} == {("text", "")}
