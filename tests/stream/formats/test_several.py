"""Several answers on one connection, or in one file: their stream ids are told apart."""

from __future__ import annotations

import pytest
from stream.chat import chunk
from stream.formats.mapping import HIGH, mapped

from midstream.stream.formats import assemble, mapper_of


def chat(name, text):
    call = {"index": 0, "id": name, "function": {"name": "f", "arguments": "{}"}}
    return [
        {**chunk("", role="assistant"), "id": name},
        {**chunk(text, tool_calls=[call]), "id": name},
        {**chunk(finish="stop"), "id": name},
        {"id": name, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    ]


def legacy(name, text):
    return [
        {"id": name, "choices": [{"index": 0, "text": text, "finish_reason": None}]},
        {"id": name, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
    ]


def anthropic(name, text):
    return [
        {"type": "message_start", "message": {"id": name, "content": []}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "message_delta", "delta": {"stop_reason": "stop"}},
        {"type": "message_stop"},
    ]


def responses(name, text):
    return [
        {"type": "response.created", "response": {"id": name}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": text},
        {"type": "response.completed", "response": {"id": name, "status": "stop"}},
    ]


def ollama(name, text):
    return [
        {"message": {"content": text}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "stop"},
    ]


def bedrock(name, text):
    return [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}},
        {"messageStop": {"stopReason": "stop"}},
        {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 1}}},
    ]


def google(name, text):
    parts = [{"text": text}]
    return [
        {"candidates": [{"content": {"parts": parts}}], "responseId": name},
        {"candidates": [{"finishReason": "stop"}], "responseId": name},
        {"candidates": [{"content": {}}], "responseId": name},
    ]


def interactions(name, text):
    return [
        {"event_type": "interaction.created", "interaction": {"id": name}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": text}},
        {"event_type": "interaction.completed", "interaction": {"status": "completed"}},
    ]


def cohere(name, text):
    return [
        {"type": "message-start", "id": name},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}},
        {"type": "message-end", "delta": {"finish_reason": "stop"}},
    ]


def assistants(name, text):
    content = [{"index": 0, "type": "text", "text": {"value": text}}]
    return [
        {"object": "thread.run", "id": name, "status": "queued"},
        {"object": "thread.message.delta", "id": "m" + name, "delta": {"content": content}},
        {"object": "thread.run", "id": name, "status": "completed"},
    ]


MAKERS = {
    maker.__name__: maker
    for maker in (
        *(chat, anthropic, responses, ollama, bedrock, google, interactions, cohere, assistants),
    )
}


@pytest.mark.parametrize("api", MAKERS)
def test_one_after_another(api):
    mapper = mapper_of(api)()
    payloads = [*MAKERS[api]("one", "a"), *MAKERS[api]("two", "b" + HIGH), *MAKERS[api]("x", "c")]
    events = mapped(mapper, *payloads)
    found = assemble(events)
    assert found.texts == {"0": "a", "r1.0": "b" + HIGH, "r2.0": "c"}
    assert found.text == "ab" + HIGH + "c"
    assert found.finish_reason in ("stop", "completed")
    ends = [event.stream_id for event in events if event.kind == "end"]
    assert [end.rpartition(".")[0] for end in ends] == ["", "r1", "r2"]
    assert found.errors == []
    assert mapper.cut() is None
    if api == "chat":
        assert [call.stream_id for call in found.calls] == ["0/0", "r1.0/0", "r2.0/0"]
        assert [call.call_id for call in found.calls] == ["one", "two", "x"]
        assert found.usage["total_tokens"] == 6
    usages = [event.stream_id for event in events if event.kind == "usage"]
    assert usages in ([], ["", "r1.", "r2."])


def test_legacy_completions():
    events = mapped(mapper_of("chat")(), *legacy("one", "a"), *legacy("two", "b"))
    assert assemble(events).texts == {"0": "a", "r1.0": "b"}


@pytest.mark.parametrize("api", ["cohere", "bedrock", "interactions"])
def test_one_that_breaks_off_another(api):
    mapper = mapper_of(api)()
    first, said, *_ = MAKERS[api]("one", "a")
    events = mapped(mapper, first, said, *MAKERS[api]("two", "b"))
    found = assemble(events)
    assert found.errors == ["a new answer began before the last one ended"]
    assert found.texts == {"0": "a", "r1.0": "b"}


def test_what_follows_an_end_is_no_answer():
    mapper = mapper_of("chat")()
    first = [{**chunk("a", finish="stop"), "id": "one"}]
    late = [
        {**chunk("", finish="stop"), "id": "two"},
        {**chunk("", role="assistant"), "id": "three"},
        {**chunk("b"), "id": "one"},  # more of the same
        {"id": "four", "choices": [], "usage": {"prompt_tokens": 1}},
        {"id": "five", "choices": [5]},
    ]
    events = mapped(mapper, *first, *late)
    assert assemble(events).texts == {"0": "ab"}
    assert mapper.cut() is None
    mapper = mapper_of("google")()
    events = mapped(mapper, *google("one", "a"), {"candidates": [{"content": {"parts": []}}]})
    assert not any(event.stream_id.startswith("r") for event in events)


def test_choices_that_begin_late_are_of_the_same():
    mapper = mapper_of("chat")()
    events = mapped(
        mapper,
        {**chunk("a", finish="stop"), "id": "one"},
        {**chunk("b", index=1, finish="stop"), "id": "two"},  # some servers make ids anew
    )
    assert assemble(events).texts == {"0": "a", "1": "b"}
