"""OpenAI Realtime: the traps of the wire format, in the names of both versions."""

from __future__ import annotations

import pytest
from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import RealtimeMapper, assemble, detect


def of(kind, response="r1", index=0, **fields):
    return {
        "type": f"response.{kind}",
        "event_id": "e",
        "response_id": response,
        "output_index": index,
        **fields,
    }


def created(response="r1"):
    return {"type": "response.created", "event_id": "e", "response": {"id": response}}


def done(response="r1", **fields):
    fields = {"id": response, "status": "completed", **fields}
    return {"type": "response.done", "event_id": "e", "response": fields}


def said(events):
    return [row for row in brief(events) if row[1] or row[0] != "text"]


@pytest.mark.parametrize(
    ("text", "transcript", "audio"),
    [
        ("output_text", "output_audio_transcript", "output_audio"),  # general availability
        ("text", "audio_transcript", "audio"),  # beta
    ],
)
def test_a_session(text, transcript, audio):
    mapper = RealtimeMapper()
    events = mapped(
        mapper,
        {"type": "session.created", "event_id": "e", "session": {"type": "realtime"}},
        {"type": "input_audio_buffer.speech_started", "event_id": "e"},
        {
            "type": "conversation.item.input_audio_transcription.delta",
            "event_id": "e",
            "delta": "what the user said",
        },
        created(),
        of(f"{transcript}.delta", content_index=0, delta="Hel"),
        of(f"{audio}.delta", content_index=0, delta="UklGRg=="),
        of(f"{transcript}.delta", content_index=0, delta="lo"),
        of(f"{transcript}.done", content_index=0, transcript="Hello"),
        of(f"{text}.delta", index=1, content_index=0, delta="Once"),
        of(f"{text}.done", index=1, content_index=0, text="Once"),
        of(f"{text}.done", index=2, content_index=0, text="not streamed"),
        {"type": "rate_limits.updated", "event_id": "e", "rate_limits": []},
        done(usage={"total_tokens": 9, "input_tokens": 4, "output_tokens": 5}),
    )
    assert said(events) == [
        ("audio", "Hel", "0"),
        ("audio", "", "0"),
        ("audio", "lo", "0"),
        ("text", "Once", "1"),
        ("text", "not streamed", "2"),
        ("end", "completed", ""),
        ("usage", "", ""),
    ]
    found = assemble(events)
    assert found.audio == {"0": "Hello"}
    assert found.usage == {"input_tokens": 4, "output_tokens": 5, "total_tokens": 9}
    assert mapper.cut() is None


def test_calls_and_what_the_client_sends_for_them():
    item = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": ""}
    output = {"type": "function_call_output", "id": "o", "call_id": "c", "output": "18 degrees"}
    events = mapped(
        RealtimeMapper(),
        created(),
        of("output_item.added", item=item),
        {"type": "conversation.item.added", "event_id": "e", "item": item},
        of("function_call_arguments.delta", call_id="c", delta='{"x"'),
        of("function_call_arguments.delta", call_id="c", delta=":1}"),
        of("function_call_arguments.done", call_id="c", arguments='{"x":1}'),
        of("output_item.done", item={**item, "arguments": '{"x":1}'}),
        done(),
        {"type": "conversation.item.added", "event_id": "e", "item": output},
        {"type": "conversation.item.done", "event_id": "e", "item": output},
        {"type": "conversation.item.created", "event_id": "e", "item": {**output, "id": "p"}},
        {
            "type": "conversation.item.created",
            "event_id": "e",
            "item": {"type": "function_call_output", "call_id": "gone", "output": None},
        },
    )
    assert calls(events) == [
        ("0", "f", "c", ""),
        ("0", "f", "c", '{"x"'),
        ("0", "f", "c", ":1}"),
    ]
    results = [event for event in events if event.kind == "tool_result"]
    assert [(event.text, event.name, event.stream_id, event.call_id) for event in results] == [
        ("18 degrees", "f", "0", "c"),
        ("18 degrees", "f", "0", "c"),
        ("", None, "", "gone"),
    ]


def test_responses_may_overlap():
    mapper = RealtimeMapper()
    events = mapped(
        mapper,
        created("r1"),
        created("r2"),
        of("output_text.delta", "r2", delta="b"),
        of("output_text.delta", "r1", delta="a"),
        done("r2", status="cancelled"),
        of("output_text.delta", "r1", delta="A"),
    )
    assert assemble(events).texts == {"r1.0": "b", "0": "aA"}
    assert assemble(events).finish_reasons == {"r1.": "cancelled"}
    assert mapper.cut() == "closed mid-stream after event 6: no response.done arrived"
    mapper.events(done("r1"), 0)
    assert mapper.cut() is None
    events = mapped(RealtimeMapper(), of("output_text.delta", None, delta="a"))  # of none
    assert said(events) == [("text", "a", "0")]


def test_a_session_that_translates():
    mapper = RealtimeMapper()
    events = mapped(
        mapper,
        {"type": "session.input_transcript.delta", "event_id": "e", "delta": "what the user said"},
        {"type": "session.output_transcript.delta", "event_id": "e", "delta": "Hel"},
        {"type": "session.output_audio.delta", "event_id": "e", "delta": "UklGRg=="},
        {"type": "session.output_transcript.delta", "event_id": "e", "delta": "lo"},
        {"type": "session.output_transcript.delta", "event_id": "e", "delta": None},
    )
    assert assemble(events).audio == {"": "Hello"}
    assert [event.kind for event in events] == ["text", *["audio"] * 4]
    assert mapper.cut() is None


def test_an_error_does_not_excuse_a_cut():
    mapper = RealtimeMapper()
    error = {"type": "error", "event_id": "e", "error": {"type": "invalid", "message": "no"}}
    events = mapped(mapper, created(), error)
    assert brief(events)[-1] == ("error", "invalid: no", "")
    assert mapper.cut() is not None
    assert mapped(RealtimeMapper(), {"type": "error"})[0].kind == "error"


def test_a_failed_response():
    details = {"status": "failed", "error": {"code": "server_error", "message": "sorry"}}
    events = mapped(RealtimeMapper(), created(), done(status="failed", status_details=details))
    assert brief(events)[-2:] == [("error", "server_error: sorry", ""), ("end", "failed", "")]


def test_they_are_told_from_responses():
    assert detect(created()) is RealtimeMapper
    assert detect(done()) is RealtimeMapper
    assert detect({"type": "session.created"}) is RealtimeMapper
    assert detect({"type": "response.created"}) is not RealtimeMapper


def test_halves_of_characters():
    mapper = RealtimeMapper()
    events = mapped(
        mapper,
        of("output_audio_transcript.delta", delta=HIGH),
        of("output_audio_transcript.delta", delta=LOW + HIGH),
        done(),
    )
    assert assemble(events).audio == {"0": "🙂" + HIGH}
    assert events[-1].kind == "end"


def test_unknown_kinds_pass():
    payloads = [
        {"type": "conversation.item.done", "item": 5},
        {"type": "response.done", "response": None},
        {"type": "future.event"},
        {"type": {}},
        of("output_text.delta", [], delta=3),
    ]
    mapper = RealtimeMapper()
    events = mapped(mapper, *payloads)
    assert {event.kind for event in events} == {"text", "end"}
