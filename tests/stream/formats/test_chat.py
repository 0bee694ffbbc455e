"""Chat completions: every trap of the wire format, and recorded streams of real providers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk, summary

from midstream.stream.decode import NDJSONDecoder, ObjectDecoder, SSEDecoder
from midstream.stream.events import KINDS
from midstream.stream.formats.chat import ChatMapper
from midstream.stream.recording import RecordingDecoder


def mapped(*payloads):
    mapper = ChatMapper()
    events = [event for payload in payloads for event in mapper.events(payload, 0)]
    assert [event.seq for event in events] == list(range(len(events)))
    return events


def brief(events):
    return [(event.kind, event.text, event.stream_id) for event in events]


def test_a_plain_stream():
    first = chunk("", role="assistant")
    last = {"choices": [], "usage": {"completion_tokens": 2}}
    events = mapped(first, chunk("Once"), chunk(" upon"), chunk(finish="stop"), last)
    assert brief(events) == [
        ("text", "", "0"),
        ("text", "Once", "0"),
        ("text", " upon", "0"),
        ("end", "stop", "0"),
        ("text", "", ""),
        ("usage", "", ""),
    ]
    assert events[0].data is first
    assert events[4].data is last
    assert events[5].data == {
        "usage": {"completion_tokens": 2},
        "tokens": {"output_tokens": 2},
    }


def test_the_payload_is_on_its_first_event_only():
    payload = chunk("a", finish="stop", reasoning_content="b", refusal="c")
    events = mapped(payload)
    assert [event.kind for event in events] == ["reasoning", "text", "text", "end"]
    assert [event.data for event in events] == [payload, None, None, None]


@pytest.mark.parametrize(
    "payload",
    [
        {"choices": []},
        {"choices": None},
        {"choices": "?"},
        {"choices": [None, 3]},
        {"choices": [{}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": {}}]},
        {"choices": [{"index": 0, "delta": "?"}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"index": 0, "delta": {"content": 5, "tool_calls": "?", "audio": 1}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [None], "refusal": 3}}]},
        {"choices": [{"index": 0, "delta": {"content": [None, {"type": "image"}]}}]},
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"error": None, "usage": None},
        {"something": "else"},
        {},
        [],
        [1, 2],
        "text",
        7,
        None,
    ],
)
def test_what_says_nothing_new_is_an_empty_text_with_its_payload(payload):
    (event,) = mapped(payload)
    assert (event.kind, event.text) == ("text", "")
    assert event.data is payload


def test_choices_interleave():
    both = {
        "choices": [
            {"index": 1, "delta": {"content": "b"}},
            {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"},
        ]
    }
    events = mapped(both, chunk("c", index=1, finish="length"))
    assert brief(events) == [
        ("text", "b", "1"),
        ("text", "a", "0"),
        ("end", "stop", "0"),
        ("text", "c", "1"),
        ("end", "length", "1"),
    ]


def test_choices_without_index_take_their_place():
    (a, b) = mapped({"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]})
    assert (a.stream_id, b.stream_id) == ("0", "1")


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning(key):
    assert brief(mapped(chunk(**{key: "hm"}))) == [("reasoning", "hm", "0")]


def test_reasoning_under_both_keys_counts_once():
    assert brief(mapped(chunk(reasoning_content="hm", reasoning="hm"))) == [
        ("reasoning", "hm", "0")
    ]


def test_reasoning_details():
    details = [
        {"type": "reasoning.summary", "summary": "a"},
        {"type": "reasoning.text", "text": "b"},
        {"type": "reasoning.encrypted", "data": "x"},
        5,
    ]
    assert brief(mapped(chunk(reasoning_details=details))) == [("reasoning", "ab", "0")]
    assert brief(mapped(chunk(reasoning="c", reasoning_details=details)))[0][1] == "c"
    assert brief(mapped(chunk(reasoning_details=5))) == [("text", "", "0")]


def test_content_parts():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "let "}, {"text": "me"}]},
        {"type": "text", "text": "Hi"},
    ]
    assert brief(mapped(chunk(parts))) == [("reasoning", "let me", "0"), ("text", "Hi", "0")]


def call(index=None, name=None, arguments=None, **more):
    function = {}
    if name is not None:
        function["name"] = name
    if arguments is not None:
        function["arguments"] = arguments
    fields = {"function": function, **more}
    if index is not None:
        fields["index"] = index
    return fields


def calls_of(events):
    return [
        (event.stream_id, event.name, event.text) for event in events if event.kind == "tool_call"
    ]


def test_tool_name_is_on_every_fragment():
    events = mapped(
        chunk(tool_calls=[call(0, "weather", "", id="a", type="function")]),
        chunk(tool_calls=[call(0, arguments='{"city":')]),
        chunk(tool_calls=[call(1, "time", '{"zo', id="b"), call(0, arguments='"Rome"}')]),
        chunk(tool_calls=[call(1, arguments='ne":1}')]),
        chunk(finish="tool_calls"),
    )
    assert calls_of(events) == [
        ("0/0", "weather", ""),
        ("0/0", "weather", '{"city":'),
        ("0/1", "time", '{"zo'),
        ("0/0", "weather", '"Rome"}'),
        ("0/1", "time", 'ne":1}'),
    ]
    assert [event.call_id for event in events if event.kind == "tool_call"] == list("aabab")
    assert summary(events)["tool_calls"] == [
        {"name": "weather", "arguments": '{"city":"Rome"}'},
        {"name": "time", "arguments": '{"zone":1}'},
    ]


def test_tool_calls_of_choices_are_apart():
    events = mapped(
        chunk(index=0, tool_calls=[call(0, "a", "1")]),
        chunk(index=1, tool_calls=[call(0, "b", "2")]),
        chunk(index=0, tool_calls=[call(0, None, "3")]),
    )
    assert calls_of(events) == [("0/0", "a", "1"), ("1/0", "b", "2"), ("0/0", "a", "3")]


def test_tool_calls_without_index():
    events = mapped(
        chunk(tool_calls=[call(None, "a", "1", id="x"), call(None, "b", "2", id="y")]),
        chunk(tool_calls=[call(None, None, "3", id="x")]),
        chunk(tool_calls=[call(None, None, "4")]),
    )
    assert calls_of(events) == [
        ("0/0", "a", "1"),
        ("0/1", "b", "2"),
        ("0/0", "a", "3"),
        ("0/1", "b", "4"),
    ]


def test_parallel_calls_that_all_say_index_0():
    events = mapped(
        chunk(tool_calls=[call(0, "a", "{}", id="x")]),
        chunk(tool_calls=[call(0, "a", "{}", id="y")]),
        chunk(tool_calls=[call(0, "a", "{}", id="y")]),  # a repeated id is the same call
    )
    assert [stream_id for stream_id, _, _ in calls_of(events)] == ["0/0", "0/1", "0/1"]


def test_ids_that_are_none():
    events = mapped(
        chunk(tool_calls=[call(None, "a", "1", id=["x"]), call(None, "b", "2", id={"y": 1})]),
        chunk(tool_calls=[call(None, None, "3", id=["x"])]),
    )
    assert [stream_id for stream_id, _, _ in calls_of(events)] == ["0/0", "0/1", "0/1"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["x", "y", "z", 7]), st.booleans()), max_size=12))
def test_a_repeated_id_is_the_first_call_that_had_it(wanted):
    order = []
    mapper = ChatMapper()
    for call_id, named in wanted:
        if call_id not in order:
            order.append(call_id)
        payload = chunk(tool_calls=[call(None, "f" if named else None, "{}", id=call_id)])
        (event,) = mapper.events(payload, 0)
        assert event.stream_id == f"0/{order.index(call_id)}"


def test_other_shapes_of_calls():
    events = mapped(
        chunk(tool_calls=[call(0, "obj", {"a": [1, "é"]})]),
        chunk(tool_calls=[{"index": 1, "type": "custom", "custom": {"name": "c", "input": "in"}}]),
        chunk(tool_calls=[{"index": 2}]),
    )
    assert calls_of(events) == [
        ("0/0", "obj", '{"a":[1,"é"]}'),
        ("0/1", "c", "in"),
        ("0/2", None, ""),
    ]
    legacy = mapped(
        chunk(function_call={"name": "f", "arguments": ""}), chunk(function_call={"arguments": "x"})
    )
    assert calls_of(legacy) == [("0/0", "f", ""), ("0/0", "f", "x")]


def test_refusal_is_text():
    assert brief(mapped(chunk(refusal="I cannot"))) == [("text", "I cannot", "0")]


def test_audio():
    events = mapped(
        chunk(audio={"id": "a", "transcript": "Hel"}),
        chunk(audio={"data": "UklGRg=="}),
    )
    assert brief(events) == [("audio", "Hel", "0"), ("audio", "", "0")]
    assert events[1].data["choices"][0]["delta"]["audio"]["data"] == "UklGRg=="


def test_an_end_once_per_choice_and_any_reason():
    events = mapped(chunk("a", finish="eos_token"), chunk(finish="eos_token"), chunk("", finish=3))
    assert [event.text for event in events if event.kind == "end"] == ["eos_token"]
    assert brief(mapped(chunk(finish="")))[0][0] == "text"


def test_usage_always_holds_its_counts():
    counts = {"completion_tokens": 2}
    for payload in (
        {**chunk("a", finish="stop"), "usage": counts},
        {"choices": [], "usage": counts},
        {"choices": [], "x_groq": {"usage": counts}},
        {**chunk(finish="stop"), "x_groq": {"id": "r", "usage": counts}},
    ):
        (usage,) = [event for event in mapped(payload) if event.kind == "usage"]
        assert usage.data["usage"] == counts


def test_timings_of_llama_cpp_are_counts():
    timings = {"prompt_n": 3, "cache_n": 20, "predicted_n": 4, "predicted_ms": 1.5}
    events = mapped(
        {**chunk("a"), "timings": timings}, {**chunk(finish="stop"), "timings": timings}
    )
    assert [event.kind for event in events] == ["text", "end", "usage"]
    assert events[2].data == {
        "usage": {"prompt_n": 3, "cache_n": 20, "predicted_n": 4},
        "tokens": {"input_tokens": 23, "output_tokens": 4, "total_tokens": 27, "cached_tokens": 20},
    }
    usage = {"prompt_tokens": 23, "completion_tokens": 4}
    events = mapped({**chunk(finish="stop"), "timings": timings, "usage": usage})
    assert events[1].data["usage"] == usage
    assert len(mapped({**chunk(finish="stop"), "timings": 5})) == 1


def test_numbers_that_json_does_not_have():
    text = '{"choices": [{"delta": {"content": "a"}, "score": -Infinity}], "usage": {"n": NaN}}'
    found, usage = ChatMapper().decode(text, 0)
    assert found.data["choices"][0]["score"] is None
    assert usage.data["usage"] == {"n": None}
    infinite = float("inf")  # from an SDK, which parses by itself
    for payload in (
        {"choices": [], "usage": {"n": infinite, "m": 1}},
        {**chunk("a"), "usage": {"n": infinite, "m": 1}},
        {"choices": [], "x_groq": {"usage": {"n": infinite, "m": 1}}},
    ):
        (usage,) = [event for event in mapped(payload) if event.kind == "usage"]
        assert usage.data["usage"] == {"n": None, "m": 1}


HIGH, LOW = "\ud83d", "\ude42"  # of U+1F642, as JavaScript cuts it


def told(events):
    """What each channel said in all."""
    channels = {}
    for event in events:
        if event.kind not in ("end", "usage"):
            key = (event.kind, event.stream_id)
            channels[key] = channels.get(key, "") + event.text
    return channels


def test_a_character_cut_between_deltas_is_whole():
    mapper = ChatMapper()
    payloads = [
        chunk("a" + HIGH),
        chunk(reasoning=HIGH),
        chunk("b", index=1),
        chunk(tool_calls=[call(0, "f", '{"x":"' + HIGH)]),
        chunk(tool_calls=[call(1, "g", HIGH)]),
        chunk(LOW + "c" + HIGH),
        chunk(""),
        chunk(tool_calls=[call(0, None, LOW + '"}')]),
        chunk(LOW, reasoning=LOW),
        chunk(tool_calls=[call(1, None, LOW)]),
        chunk(finish="stop"),
    ]
    events = [event for item in payloads for event in mapper.decode(json.dumps(item), 0)]
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.data for event in events if event.data is not None] == payloads
    assert told(events) == {
        ("text", "0"): "a🙂c🙂",
        ("reasoning", "0"): "🙂",
        ("text", "1"): "b",
        ("tool_call", "0/0"): '{"x":"🙂"}',
        ("tool_call", "0/1"): "🙂",
    }
    assert all(event.name for event in events if event.kind == "tool_call")
    assert mapper.finish(0) == []


@pytest.mark.parametrize("ending", ["finish", "[DONE]", "nothing", "another"])
def test_half_a_character_is_delivered_as_it_came(ending):
    mapper = ChatMapper()
    events = mapper.events(chunk("a" + HIGH), 0)
    events += mapper.events(chunk(tool_calls=[call(0, "f", HIGH)]), 0)
    assert [event.text for event in events] == ["a", ""]
    if ending == "finish":
        last = chunk(finish="stop")
        events += mapper.events(last, 0)
        assert [(event.kind, event.data) for event in events[2:]] == [
            ("text", last),
            ("tool_call", None),
            ("end", None),
        ]
    elif ending == "another":
        events += mapper.events(chunk("b", tool_calls=[call(0, None, HIGH)]), 0)
        events += mapper.finish(0)
    else:
        events += mapper.decode("[DONE]", 0) if ending == "[DONE]" else mapper.finish(0)
    assert mapper.finish(0) == []
    assert told(events)[("text", "0")] == "a" + HIGH + ("b" if ending == "another" else "")
    assert told(events)[("tool_call", "0/0")] == HIGH * (2 if ending == "another" else 1)
    assert {event.name for event in events if event.kind == "tool_call"} == {"f"}
    assert [event.seq for event in events] == list(range(len(events)))


def test_what_is_held_back_is_bounded():
    mapper = ChatMapper()
    events = [event for i in range(1000) for event in mapper.events(chunk(HIGH, index=i), 0)]
    held = mapper.finish(0)
    assert len(held) == 256
    assert set(told([*events, *held]).values()) == {HIGH}


pieces_of_text = st.text(st.sampled_from([HIGH, LOW, "a", "🙂"]), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), pieces_of_text), max_size=12))
def test_halves_anywhere(deltas):
    mapper = ChatMapper()
    events = []
    whole = {}
    for index, text in deltas:
        events += mapper.events(chunk(text, index=index), 0)
        key = ("text", str(index))
        whole[key] = whole.get(key, "") + text
    events += mapper.finish(0)
    found = told(events)
    assert found.keys() == whole.keys()
    for key, text in whole.items():  # the same as UTF-16, where halves side by side are one
        assert found[key].encode("utf-16", "surrogatepass") == text.encode(
            "utf-16", "surrogatepass"
        )


def test_halves_reach_the_end_of_every_kind_of_stream():
    lines = [json.dumps(chunk("a" + HIGH)).encode()]
    sent = b"data: " + lines[0] + b"\n\n"
    for decoder, pieces in (
        (SSEDecoder(), [sent]),
        (SSEDecoder(max_bytes=1000), [sent, b"x" * 2000]),
        (NDJSONDecoder(), [lines[0] + b"\n"]),
        (ObjectDecoder(), [chunk("a" + HIGH)]),
        (RecordingDecoder("r"), [b'{"t":0,"data":' + lines[0] + b"}\n"]),
    ):
        events = [event for piece in pieces for event in decoder.feed(piece, 0)]
        if decoder.error is None:
            events += decoder.finish(0)
        assert "".join(event.text for event in events if event.kind == "text") == "a" + HIGH


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (
            {"error": {"message": "over\nloaded", "type": "server_error"}},
            "server_error: over loaded",
        ),
        ({"error": {"message": "no", "code": 503}}, "no"),
        ({"error": {"code": 1}}, '{"code": 1}'),
        ({"error": "plain"}, "plain"),
        ({"object": "error", "message": "gone", "type": "X"}, "X: gone"),
        ({"error": {"message": "late"}, "choices": []}, "late"),
        ({"choices": [{"index": 0, "error": {"message": "inner"}}]}, "inner"),
    ],
)
def test_errors_inside_the_stream(payload, text):
    mapper = ChatMapper()
    mapper.events(chunk("a"), 0)
    (event,) = mapper.events(payload, 0)
    assert (event.kind, event.text) == ("error", text)
    assert event.data is payload
    assert mapper.cut() is None  # the server said why it ends


def test_an_event_named_error_is_one():
    (event,) = ChatMapper().decode('{"detail": "quota"}', 0, event="error")
    assert (event.kind, event.text) == ("error", "quota")


def test_legacy_completions():
    events = mapped(
        {"choices": [{"index": 0, "text": "Once", "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]},
    )
    assert brief(events) == [("text", "Once", "0"), ("end", "length", "0")]


def test_a_whole_message():
    message = {"role": "assistant", "content": "Hi", "tool_calls": [call(None, "f", "{}", id="i")]}
    events = mapped({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert [event.kind for event in events] == ["text", "tool_call", "end"]


def test_decode():
    mapper = ChatMapper()
    assert mapper.decode("", 0) == mapper.decode(" \n", 0) == []
    (bad,) = mapper.decode('{"choices": [', 5, offset=77)
    assert (bad.kind, bad.t_ns, bad.data) == ("error", 5, '{"choices": [')
    assert bad.text.startswith("event 3 at byte 77: not JSON: ")
    (good,) = mapper.decode(json.dumps(chunk("x")), 6)
    assert (good.text, good.seq) == ("x", 1)
    assert not mapper.done
    assert mapper.cut().startswith("closed mid-stream after event 4")
    assert mapper.decode(" [DONE] ", 7) == []
    assert mapper.done
    assert mapper.cut() is None


def test_deep_nesting_is_no_crash():
    (event,) = ChatMapper().decode("[" * 100_000, 0)
    assert event.kind == "error"
    for key in ("error", "usage", "choices"):
        for depth in range(100, 1200, 7):
            nested = "[" * depth + "]" * depth
            mapper = ChatMapper()
            events = mapper.decode(f'{{"{key}": [{{"a": {nested}}}]}}', 0)
            events += mapper.decode(f'{{"{key}": {{"a": {nested}}}}}', 0)
            assert [event.seq for event in events] == list(range(len(events)))
            assert len(events) - sum(event.kind == "usage" for event in events) == 2


def test_cut_asks_for_every_choice():
    mapper = ChatMapper()
    assert mapper.cut() is None  # nothing yet
    mapper.events(chunk("a"), 0)
    mapper.events(chunk("b", index=1), 0)
    mapper.events(chunk(finish="stop"), 0)
    assert mapper.cut() is not None
    mapper.events(chunk(index=1, finish="stop"), 0)
    assert mapper.cut() is None


KEYS = [
    *("choices", "delta", "content", "index", "tool_calls", "function", "name", "arguments"),
    *("error", "usage", "text", "finish_reason", "message", "audio", "transcript", "id"),
    *("stop", "reasoning", "thinking", "x_groq"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(deadline=None)
@given(st.lists(json_values, max_size=4))
def test_no_payload_makes_it_raise(payloads):
    mapper = ChatMapper()
    seq = 0
    for payload in payloads:
        events = mapper.events(payload, 3)
        assert events
        for event in events:
            assert event.kind in KINDS
            assert type(event.text) is str
            assert event.name is None or type(event.name) is str
            assert event.seq == seq
            seq += 1
    mapper.cut()
