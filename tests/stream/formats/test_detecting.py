"""Telling APIs apart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk
from stream.formats.mapping import brief

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.formats import (
    MAPPERS,
    AutoMapper,
    ChatMapper,
    PayloadMapper,
    detect,
    mapper_of,
    new_mapper,
)


@pytest.mark.parametrize(
    ("payload", "api"),
    [
        ({"choices": []}, "chat"),
        ({"object": "chat.completion.chunk"}, "chat"),
        ({"object": "text_completion"}, "chat"),
        ({"type": "response.created", "response": {}}, "responses"),
        ({"object": "response", "output": []}, "responses"),
        ({"type": "response.output_text.delta", "event_id": "e"}, "realtime"),
        ({"type": "conversation.item.created"}, "realtime"),
        ({"type": "message_start"}, "anthropic"),
        ({"type": "message", "role": "assistant", "content": []}, "anthropic"),
        ({"type": "content_block_stop", "index": 0}, "anthropic"),
        ({"message": {}, "done": False}, "ollama"),
        ({"response": "", "done": True}, "ollama"),
        ({"content": "", "stop": False}, "llama"),
        ({"messageStart": {"role": "assistant"}}, "bedrock"),
        ({"output": {"message": {}}, "stopReason": "end_turn"}, "bedrock"),
        ({"candidates": []}, "google"),
        ({"promptFeedback": {}}, "google"),
        ({"event_type": "interaction.created"}, "interactions"),
        ({"type": "message-start"}, "cohere"),
        ({"type": "tool-plan-delta"}, "cohere"),
        ({"object": "thread.run"}, "assistants"),
        ({"event": "thread.run.created", "data": {}}, "assistants"),
    ],
)
def test_payloads(payload, api):
    assert detect(payload).api == api
    auto = AutoMapper()
    auto.events(payload, 0)
    assert auto.inner.api == api
    assert auto.unknown() is None


def test_the_name_of_the_event_counts():
    assert detect({"id": "x"}, "thread.future").api == "assistants"


@pytest.mark.parametrize(
    "payload",
    [
        *({}, [], None, "x", 5, {"type": "ping"}, {"error": "x"}, {"type": "error"}),
        {"type": "message", "role": "user", "content": []},
        *({"type": {}}, {"object": []}, {"choices": 5}, {"done": 1, "message": {}}),
    ],
)
def test_what_could_be_of_any(payload):
    assert detect(payload) is None


def test_the_undecided_pass_and_are_counted():
    mapper = AutoMapper()
    assert mapper.unknown() == "0 events, none of them of a known API"
    events = mapper.events({"type": "ping"}, 0)
    assert mapper.unknown() == "1 event, none of them of a known API"
    assert mapper.cut() is None
    events += mapper.decode("{", 0)
    events += mapper.events({"error": "wait"}, 0)
    events += mapper.events(chunk("a\ud83d"), 0)
    assert mapper.cut() is None  # it did say that something failed
    events += mapper.finish(0)
    assert [kind for kind, _, _ in brief(events)] == ["text", "error", "error", "text", "text"]
    assert [event.seq for event in events] == list(range(5))
    assert mapper.count == 4
    assert mapper.decode("[DONE]", 0) == []
    assert mapper.done


def test_a_cut_counts_all_payloads():
    mapper = AutoMapper()
    mapper.events({"type": "ping"}, 0)
    mapper.events(chunk("a"), 0)
    mapper.decode("{", 0)
    assert mapper.cut().startswith("closed mid-stream after event 3: ")
    mapper.events(chunk("b"), 0)
    assert mapper.cut().startswith("closed mid-stream after event 4: ")
    (bad,) = mapper.decode("{", 0)
    assert bad.text.startswith("event 5: not JSON")
    mapper.decode("[DONE]", 0)
    assert mapper.cut() is None


def test_only_some():
    mapper = AutoMapper(("chat",))
    mapper.events({"messageStart": {}}, 0)
    assert mapper.inner is None
    mapper.events(chunk("a"), 0)
    assert type(mapper.inner) is ChatMapper


def test_names():
    assert mapper_of("gopher") is None
    assert mapper_of("chat.completions") is mapper_of("completions") is ChatMapper
    assert all(mapper_of(name) is mapper for name, mapper in MAPPERS.items())
    assert type(new_mapper("chat")) is ChatMapper
    assert type(new_mapper(None)) is AutoMapper
    with pytest.raises(ArgumentValueError, match=r"api must be one of anthropic, .*'gopher'"):
        new_mapper("gopher")
    with pytest.raises(ArgumentTypeError, match="api"):
        new_mapper(5)


@pytest.mark.parametrize("mapper", [*MAPPERS.values(), AutoMapper, PayloadMapper])
def test_all_mappers_share_what_is_common(mapper):
    made = mapper()
    assert made.decode("", 0) == made.decode("  \n", 0) == []
    assert made.cut() is None
    (bad,) = made.decode("[1", 5, offset=7, problem="invalid UTF-8")
    assert bad.kind == "error"
    assert bad.data == "[1"
    assert bad.text.startswith("event 3 at byte 7: invalid UTF-8; not JSON either")
    first, second = made.decode("[1]", 5, problem="invalid UTF-8")
    assert (first.kind, second.kind, second.data) == ("error", "text", [1])
    for depth in range(100, 1200, 37):
        before = made.count
        nested = "[" * depth + "]" * depth
        made.decode(f'{{"error": {{"a": {nested}}}, "type": "error"}}', 0)
        assert made.count == before + 1
    (deep,) = made.decode("[" * 100_000, 0)
    assert "nested too deeply" in deep.text
    (named,) = made.events({"detail": "quota"}, 0, event="error")
    assert (named.kind, named.text) == ("error", "quota")
    for payload in (5, None, "x", [], {}):
        (event,) = made.events(payload, 0)
        assert (event.kind, event.text) == ("text", "")
        assert event.data is payload
    assert made.decode("[DONE]", 0) == []
    assert made.done
    assert made.known
    assert made.unknown() is None
    assert made.finish(0) == []
    for index in (10**5000, -1, True, "x", [1], None):  # what cannot be one is none
        for payload in (
            {"choices": [{"index": index, "delta": {"content": "a"}}]},
            {"content": "a", "stop": False, "index": index},
            {"candidates": [{"index": index, "content": {"parts": [{"text": "a"}]}}]},
            {"contentBlockDelta": {"contentBlockIndex": index, "delta": {"text": "a"}}},
            {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta"}},
            {"type": "response.output_text.delta", "output_index": index, "content_index": index},
            {"type": "content-delta", "index": index, "delta": {}},
            {"event_type": "step.delta", "index": index, "delta": {"text": "a"}},
        ):
            assert {event.stream_id for event in made.events(payload, 0)} <= {"", "0"}
    made.seq = 40
    assert made.failure("x", 3)[1:4] == (40, 3, "x")
    assert made.seq == 41


keys = st.sampled_from(
    [
        *("type", "object", "choices", "done", "message", "response", "content", "stop", "event"),
        *("candidates", "event_type", "messageStart", "output", "stopReason", "data", "error"),
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(keys, values, max_size=5), st.text(max_size=5))
def test_no_payload_makes_it_raise(payload, name):
    found = detect(payload, name)
    assert found is None or found.api in MAPPERS
