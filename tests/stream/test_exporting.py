"""Recordings as wire formats: there and back, the same texts and tool calls."""

from __future__ import annotations

import json
import re

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk, cut, sse

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream.stream import (
    Event,
    Recorder,
    export_sse,
    import_sse,
    load,
    read_recording,
    shipped_recordings,
)
from midstream.stream.decode import NDJSONDecoder
from midstream.stream.formats.answers import assemble
from midstream.stream.recording.exporting import EXPORT_APIS
from midstream.stream.recording.payloads import WRITERS, Facts

RESULT = [
    Event("reasoning", 0, 10, "Let me see", None, None, "0"),
    Event("text", 1, 20, "I will ", None, None, "0"),
    Event("text", 2, 30, "look.", None, None, "0"),
    Event("tool_call", 3, 40, "", "weather", None, "0/0", "call_a"),
    Event("tool_call", 4, 50, '{"city":', "weather", None, "0/0", "call_a"),
    Event("tool_call", 5, 60, '{"q":1}', "search", None, "0/1", "call_b"),
    Event("tool_call", 6, 70, '"Oslo"}', "weather", None, "0/0", "call_a"),
    Event("usage", 7, 80, "", None, {"tokens": {"input_tokens": 5, "output_tokens": 7}}),
    Event("end", 8, 90, "tool_calls", None, None, "0"),
]


def said(events):
    """Text, reasoning and calls, whatever the stream ids are."""
    answers = assemble(events)
    calls = [
        (call.name, call.call_id, call.arguments or "{}", call.provider_run)
        for call in answers.calls
    ]
    joined = ["".join(texts.values()) for texts in (answers.texts, answers.reasoning)]
    return joined, sorted(calls, key=repr)


def generated(events, api, choice=None):
    """Body that is made of the events, not of their payloads."""
    bare = [e._replace(data=e.data if e.kind == "usage" else None) for e in events]
    return b"".join(export_sse(bare, api, choice=choice))


@pytest.mark.parametrize("api", EXPORT_APIS)
def test_there_and_back(api):
    back = import_sse(generated(RESULT, api))
    assert said(back) == said(RESULT)
    assert assemble(back).usage["output_tokens"] == 7
    words = {"chat": "tool_calls", "anthropic": "tool_use", "responses": "completed"}
    assert assemble(back).finish_reason == words[api]
    times = [event.t_ns for event in back if event.text]
    assert times == sorted(times)
    assert [e.t_ns for e in back if e.kind == "text" and e.text] == [20, 30]
    assert not [event for event in back if event.kind == "error"]


@pytest.mark.parametrize("api", EXPORT_APIS)
def test_what_was_cut_off_stays_so(api):
    back = import_sse(generated(RESULT[:5], api))
    assert said(back)[0] == said(RESULT[:5])[0]
    assert [event.kind for event in back].count("end") == 0
    assert "closed mid-stream" in back[-1].text


@pytest.mark.parametrize("api", EXPORT_APIS)
def test_errors_are_kept(api):
    failed = [*RESULT[:3], Event("error", 3, 35, "overloaded")]
    back = import_sse(generated(failed, api))
    assert [event.text.rpartition(": ")[2] for event in back if event.kind == "error"] == [
        "overloaded"
    ]


@pytest.mark.parametrize("target", EXPORT_APIS)
def test_every_stream_of_the_data_goes_there_and_back(shared_data, target):
    index = json.loads(shared_data("wire/index.json").read_text())
    tried = 0
    for row in index:
        path = shared_data("wire/" + row["file"])
        if path.suffix == ".sse":
            events = import_sse(path)
        else:
            decoder = NDJSONDecoder(max_bytes=1 << 26)
            events = decoder.feed(path.read_bytes(), 0) + decoder.finish(0)
        if not any(event.kind == "end" for event in events):
            continue
        if [event for event in events if event.kind == "error"]:
            continue
        facts = Facts(events)
        choice = 0 if facts.n_choices > 1 else None
        if choice is not None:
            events = Facts(events, choice).events
        if target != "chat":  # spoken text is text there
            events = [e._replace(kind="text") if e.kind == "audio" else e for e in events]
        body = generated(events, target, choice)
        back = import_sse(body, api=target)
        texts, calls = said(back)
        expected_texts, expected_calls = said(events)
        if target == "chat":
            expected_calls = [call for call in expected_calls if not call[3]]
        named = [(name, args, own) for name, _, args, own in calls]
        assert named == [(name or "", a, own) for name, _, a, own in expected_calls], row["file"]
        assert texts == expected_texts, row["file"]
        assert not [event for event in back if event.kind == "error"], row["file"]
        tried += 1
    assert tried > 100


def test_own_payloads_come_out_as_they_came(shared_data):
    apis = {"chat.completions": "chat", "messages": "anthropic", "responses": "responses"}
    same = 0
    for row in json.loads(shared_data("wire/index.json").read_text()):
        if row["api"] in apis and row["file"].endswith(".sse") and not row["malformed_events"]:
            path = shared_data("wire/" + row["file"])
            events = import_sse(path)
            body = b"".join(export_sse(events, apis[row["api"]], times=False))
            assert _payloads(body) == _payloads(path.read_bytes()), row["file"]
            same += 1
    assert same > 20


def _payloads(body):
    found = re.findall(rb"^data: ?(.*?)\r?$", body, re.MULTILINE)
    return [json.loads(text) for text in found if text.strip() not in (b"", b"[DONE]")]


text_events = st.builds(
    Event,
    st.sampled_from(["text", "reasoning", "tool_call", "usage", "tool_result", "video"]),
    st.just(0),
    st.integers(0, 1000),
    st.text(max_size=8),
    st.none() | st.text("abc", min_size=1, max_size=4),
    st.none() | st.just({"tokens": {"input_tokens": 1}}) | st.just({"type": "odd"}),
    st.sampled_from(["", "0", "1", "1!", "2:1", "0/1", "r1.0"]),
    st.none() | st.text("xyz", min_size=1, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(text_events, max_size=8), st.sampled_from(EXPORT_APIS), st.data())
def test_any_events_go_there_and_back(events, api, data):
    events.sort(key=lambda event: event.stream_id.startswith("r"))  # one response after another
    prefix = "r1." if events and events[-1].stream_id.startswith("r") else ""
    events.append(Event("end", len(events), 2000, "stop", None, None, prefix))
    body = generated(events, api)
    texts, calls = said(import_sse(body))
    expected, expected_calls = said(events)
    if api == "chat":  # it has no parts: what came in turns stays in the order of its coming
        expected = ["".join(e.text for e in events if e.kind == k) for k in ("text", "reasoning")]
    assert texts == expected
    if api == "chat":
        expected_calls = [call for call in expected_calls if not call[3]]
    assert sorted(call[2] for call in calls) == sorted(call[2] for call in expected_calls)
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=5))
    assert import_sse(cut(body, sizes)) == import_sse(body)


def test_choices():
    chunks = [
        Event("text", 0, 0, "one", None, None, "0"),
        Event("text", 1, 0, "two", None, None, "1"),
        Event("end", 2, 0, "stop", None, None, "0"),
        Event("end", 3, 0, "stop", None, None, "1"),
    ]
    assert assemble(import_sse(generated(chunks, "chat"))).texts == {"0": "one", "1": "two"}
    with pytest.raises(ArgumentValueError, match="has no choices, the recording has 2"):
        export_sse(chunks, "anthropic")
    assert assemble(import_sse(generated(chunks, "anthropic", 1))).text == "two"


def test_files(tmp_path):
    path = tmp_path / "r.jsonl"
    body = sse(chunk("Once"), chunk(" upon", finish="stop"))
    events = import_sse(body)
    with Recorder(path) as recorder:
        for event in events:
            recorder.write(event)
    out = tmp_path / "r.sse"
    out.write_bytes(b"".join(export_sse(path, "chat")))
    assert import_sse(out) == events
    assert b"chatcmpl-1" in out.read_bytes()
    assert b"".join(export_sse(read_recording(path), "chat")) == out.read_bytes()
    assert b"".join(export_sse(path, "chat", times=False)).count(b"\n") == 6
    shipped = load(shipped_recordings()["loop-02"])
    assert import_sse(export_sse(shipped, "anthropic"))[-1].kind != "error"


def test_what_cannot_be_used(tmp_path):
    with pytest.raises(ArgumentValueError, match="api must be one of"):
        export_sse(RESULT, "ollama")
    with pytest.raises(ArgumentTypeError, match="must be of Event"):
        export_sse(["text"], "chat")
    with pytest.raises(ArgumentTypeError, match="path or events"):
        export_sse(5, "chat")
    with pytest.raises(ArgumentValueError, match="choice"):
        export_sse(RESULT, "chat", choice=-1)
    with pytest.raises(RecordingError, match="No such file"):
        export_sse(tmp_path / "none.jsonl", "chat")
    with pytest.raises(RecordingError, match="No such file"):
        import_sse(tmp_path / "none.sse")
    with pytest.raises(ArgumentValueError, match="api must be"):
        import_sse(b"", api="smoke")
    with pytest.raises(ArgumentTypeError):
        import_sse(5)
    with pytest.raises(ArgumentTypeError):
        import_sse(["text"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b": t_ns=5\n", b"data: {}\n\n"])))
def test_any_bytes(pieces):
    assert import_sse(pieces) == import_sse(b"".join(pieces))


class TestOfficialClients:
    """What is written is read by those who know best."""

    def transport(self, body):
        def answer(request):
            return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})

        return httpx2.Client(transport=httpx2.MockTransport(answer))

    def test_chat(self):
        openai = pytest.importorskip("openai")
        client = openai.OpenAI(
            api_key="x", http_client=self.transport(generated(RESULT, "chat")), max_retries=0
        )
        with client.chat.completions.stream(model="m", messages=[]) as stream:
            for _ in stream:
                pass
            message = stream.get_final_completion().choices[0].message
        assert message.content == "I will look."
        assert [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls] == [
            ("call_a", "weather", '{"city":"Oslo"}'),
            ("call_b", "search", '{"q":1}'),
        ]

    def test_responses(self):
        openai = pytest.importorskip("openai")
        client = openai.OpenAI(
            api_key="x", http_client=self.transport(generated(RESULT, "responses")), max_retries=0
        )
        with client.responses.stream(model="m", input="x") as stream:
            for _ in stream:
                pass
            response = stream.get_final_response()
        assert response.output_text == "I will look."
        assert [
            (item.call_id, item.name, item.arguments)
            for item in response.output
            if item.type == "function_call"
        ] == [("call_a", "weather", '{"city":"Oslo"}'), ("call_b", "search", '{"q":1}')]
        assert response.usage.output_tokens == 7

    def test_anthropic(self):
        anthropic = pytest.importorskip("anthropic")
        client = anthropic.Anthropic(
            api_key="x", http_client=self.transport(generated(RESULT, "anthropic")), max_retries=0
        )
        with client.messages.stream(model="m", messages=[], max_tokens=9) as stream:
            message = stream.get_final_message()
        assert [block.type for block in message.content] == [
            "thinking",
            "text",
            "tool_use",
            "tool_use",
        ]
        assert message.content[1].text == "I will look."
        assert message.content[2].input == {"city": "Oslo"}
        assert message.stop_reason == "tool_use"
        assert message.usage.output_tokens == 7


def test_every_writer_is_named():
    assert set(WRITERS) == set(EXPORT_APIS)
