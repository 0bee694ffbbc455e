"""Anthropic messages: the traps of the wire format."""

from __future__ import annotations

import pytest
from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import AnthropicMapper, assemble


def start(**message):
    return {"type": "message_start", "message": {"content": [], **message}}


def block(index, kind, **fields):
    return {
        "type": "content_block_start",
        "index": index,
        "content_block": {"type": kind, **fields},
    }


def delta(index, kind, **fields):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def text(index, piece):
    return delta(index, "text_delta", text=piece)


def stop(index):
    return {"type": "content_block_stop", "index": index}


def end(reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


STOP = {"type": "message_stop"}


def test_a_whole_stream():
    events = mapped(
        AnthropicMapper(),
        start(usage={"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1}),
        block(0, "thinking", thinking="", signature=""),
        {"type": "ping"},
        delta(0, "thinking_delta", thinking="Hm."),
        delta(0, "signature_delta", signature="s"),
        stop(0),
        block(1, "text", text=""),
        text(1, "Once"),
        delta(1, "citations_delta", citation={}),
        stop(1),
        end(output_tokens=9),
        STOP,
    )
    said = [row for row in brief(events) if row[1] or row[0] != "text"]
    assert said == [
        ("usage", "", ""),
        ("reasoning", "Hm.", "0"),
        ("text", "Once", "1"),
        ("end", "end_turn", ""),
        ("usage", "", ""),
    ]
    first, last = [event.data for event in events if event.kind == "usage"]
    assert first["tokens"]["input_tokens"] == 12
    assert last["usage"] == {"output_tokens": 9}
    assert last["tokens"] == {
        "input_tokens": 12,
        "output_tokens": 9,
        "total_tokens": 21,
        "cached_tokens": 7,
    }


def test_calls_that_overlap():
    events = mapped(
        AnthropicMapper(),
        block(0, "tool_use", id="a", name="f", input={}),
        block(1, "tool_use", id="b", name="g", input={}),
        delta(1, "input_json_delta", partial_json='{"y"'),
        delta(0, "input_json_delta", partial_json=""),
        delta(0, "input_json_delta", partial_json='{"x": 1}'),
        delta(1, "input_json_delta", partial_json=": 2}"),
        stop(0),
        stop(1),
    )
    assert calls(events) == [
        ("0", "f", "a", ""),
        ("1", "g", "b", ""),
        ("1", "g", "b", '{"y"'),
        ("0", "f", "a", ""),
        ("0", "f", "a", '{"x": 1}'),
        ("1", "g", "b", ": 2}"),
    ]


@pytest.mark.parametrize(("given", "text"), [({}, "{}"), ({"x": [1, "é"]}, '{"x":[1,"é"]}')])
@pytest.mark.parametrize("last", [stop(0), end("tool_use"), STOP])
def test_a_call_whose_input_does_not_stream(given, text, last):
    events = mapped(
        AnthropicMapper(),
        start(),
        block(0, "tool_use", id="a", name="f", input=given),
        delta(0, "input_json_delta", partial_json=""),
        last,
    )
    assert assemble(events).calls[0].arguments == text
    assert events[-1].kind == ("tool_call" if last["type"] == "content_block_stop" else "end")


def test_what_streams_wins_over_what_was_given():
    events = mapped(
        AnthropicMapper(),
        block(0, "tool_use", id="a", name="f", input={"x": 1}),
        delta(0, "input_json_delta", partial_json='{"x": 2}'),
        stop(0),
    )
    assert assemble(events).calls[0].arguments == '{"x": 2}'


def test_tools_that_the_provider_runs():
    events = mapped(
        AnthropicMapper(),
        block(0, "server_tool_use", id="s", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"query": "x"}'),
        stop(0),
        block(1, "web_search_tool_result", tool_use_id="s", content=[{"title": "t"}]),
        stop(1),
        block(2, "mcp_tool_use", id="m", name="echo", server_name="e", input={}),
        stop(2),
        block(3, "mcp_tool_result", tool_use_id="m", content=[{"type": "text", "text": "hi"}]),
        block(4, "bash_code_execution_tool_result", tool_use_id="gone", content={"stdout": "x"}),
    )
    search, echo = assemble(events).calls
    assert (search.stream_id, search.provider_run, search.result) == ("0!", True, '{"title":"t"}')
    assert (echo.stream_id, echo.arguments, echo.result) == ("2!", "{}", "hi")
    result = events[-1]
    assert (result.kind, result.text, result.name) == ("tool_result", '{"stdout":"x"}', None)
    assert (result.stream_id, result.call_id) == ("4", "gone")


def test_messages_after_one_another():
    mapper = AnthropicMapper()
    one = [start(usage={"input_tokens": 1}), block(0, "text", text="a"), end(output_tokens=1), STOP]
    two = [start(usage={"input_tokens": 2}), text(0, "b"), end("max_tokens", output_tokens=2), STOP]
    events = mapped(mapper, *one, *two)
    found = assemble(events)
    assert found.texts == {"0": "a", "r1.0": "b"}
    assert (found.text, found.finish_reason) == ("ab", "max_tokens")
    assert found.finish_reasons == {"": "end_turn", "r1.": "max_tokens"}
    assert found.usage == {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6}
    assert mapper.cut() is None


def test_a_message_that_breaks_off_another():
    mapper = AnthropicMapper()
    events = mapped(mapper, start(), text(0, "a"), start(), text(0, "b"))
    assert assemble(events).errors == ["a new message began before the last one ended"]
    assert assemble(events).texts == {"0": "a", "r1.0": "b"}


def test_a_whole_message():
    message = {
        "type": "message",
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "Look:"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    mapper = AnthropicMapper()
    found = assemble(mapped(mapper, message))
    assert (found.text, found.thoughts, found.finish_reason) == ("Look:", "Hm.", "tool_use")
    assert found.calls[0].arguments == '{"x":1}'
    assert found.usage["total_tokens"] == 3
    assert mapper.cut() is None
    assert mapper.known


def test_how_it_ends():
    mapper = AnthropicMapper()
    assert mapper.cut() is None
    assert mapper.unknown() == "0 events, none of them of an Anthropic message"
    mapped(mapper, start(), text(0, "a"))
    assert mapper.cut() == (
        "closed mid-stream after event 2: neither stop_reason nor message_stop arrived"
    )
    mapper.events(end(), 0)
    assert mapper.cut() is None
    (event,) = mapper.events(STOP, 0)
    assert event.kind == "text"
    failed = AnthropicMapper()
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = mapped(failed, start(), error)
    assert events[-1].text == "overloaded_error: Overloaded"
    assert failed.cut() is None
    events = mapped(AnthropicMapper(), {"type": "error"})
    assert events[0].kind == "error"
    events = mapped(AnthropicMapper(), start(), STOP)  # nobody said why
    assert brief(events)[-1] == ("end", "", "")


def test_deltas_without_a_start_and_without_an_index():
    events = mapped(
        AnthropicMapper(),
        text(3, "a"),
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}},
        {"type": "content_block_stop"},
        stop(9),
    )
    assert assemble(events).texts == {"3": "a", "1": "b"}


def test_unknown_kinds_pass():
    payloads = [
        {"type": "message_start"},
        block(0, "fallback", **{"from": {"model": "x"}}),
        delta(0, "future_delta", text="not text of a kind that is known"),
        {"type": "future_event", "usage": {"input_tokens": 99}},
        {"type": ["content_block_delta"], "index": {}},
        {"type": "content_block_delta", "index": [], "delta": {"type": {}}},
        {"type": "content_block_delta", "delta": 5},
        {"type": "content_block_start", "content_block": None},
        {"type": "message_delta", "delta": None, "usage": None},
    ]
    events = mapped(AnthropicMapper(), *payloads)
    assert {(event.kind, event.text) for event in events} == {("text", "")}


def test_halves_of_characters():
    mapper = AnthropicMapper()
    events = mapped(
        mapper,
        block(0, "text", text=""),
        text(0, "a" + HIGH),
        text(0, LOW + "b" + HIGH),
        stop(0),
        block(1, "tool_use", id="t", name="f", input={}),
        delta(1, "input_json_delta", partial_json='"' + HIGH),
        delta(1, "input_json_delta", partial_json=LOW + '"'),
        delta(1, "input_json_delta", partial_json=HIGH),
        end(),
    )
    found = assemble(events)
    assert found.text == "a🙂b" + HIGH
    assert found.calls[0].arguments == '"🙂"' + HIGH
    assert {event.name for event in events if event.kind == "tool_call"} == {"f"}
    assert {event.call_id for event in events if event.kind == "tool_call"} == {"t"}
    assert events[-1].kind == "end"
    assert mapper.finish(0) == []
