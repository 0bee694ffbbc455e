"""Google's generateContent: the traps of the wire format."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import GoogleMapper, assemble
from midstream.stream.formats.arguments import ArgumentsWriter


def said(*parts, index=None, finish=None, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}}
    if index is not None:
        candidate["index"] = index
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **more}


def test_a_whole_stream():
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 2}
    mapper = GoogleMapper()
    events = mapped(
        mapper,
        said({"text": "Hm.", "thought": True}, {"text": "Once"}),
        said({"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}),
        said({"functionCall": {"name": "g", "args": {}}}, {"text": "", "thoughtSignature": "s"}),
        said(usageMetadata=counts, finish="STOP"),
        said(usageMetadata=counts),
        said(usageMetadata={"trafficType": "ON_DEMAND"}),
    )
    assert calls(events) == [("0/0", "f", "a", '{"x":1}'), ("0/1", "g", None, "{}")]
    found = assemble(events)
    assert (found.text, found.thoughts, found.finish_reason) == ("Once", "Hm.", "STOP")
    assert found.usage == {
        "input_tokens": 3,
        "output_tokens": 6,
        "total_tokens": 9,
        "reasoning_tokens": 2,
    }
    assert [event.kind for event in events].count("usage") == 1  # unless they change
    assert mapper.cut() is None


def test_candidates_are_apart():
    mapper = GoogleMapper()
    both = {
        "candidates": [
            {"content": {"parts": [{"text": "a"}]}},
            {"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS"},
        ]
    }
    events = mapped(mapper, both, said({"text": "c"}, index=1, finish="STOP"))
    assert assemble(events).texts == {"0": "a", "1": "bc"}
    assert assemble(events).finish_reasons == {"1": "MAX_TOKENS"}
    assert mapper.cut() == "closed mid-stream after event 2: no finishReason arrived"


def test_code_that_the_provider_runs():
    events = mapped(
        GoogleMapper(),
        said({"executableCode": {"language": "PYTHON", "code": "1+1"}}),
        said({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}),
    )
    (call,) = assemble(events).calls
    assert (call.stream_id, call.name, call.result) == ("0/0!", "code_execution", "2")
    assert json.loads(call.arguments) == {"language": "PYTHON", "code": "1+1"}
    events = mapped(GoogleMapper(), said({"codeExecutionResult": {"outcome": "OUTCOME_FAILED"}}))
    assert brief(events) == [("tool_result", '{"outcome":"OUTCOME_FAILED"}', "0")]


def test_arguments_that_come_value_by_value():
    def part(*partial, name=None, more=True):
        call = {"partialArgs": list(partial)} if partial else {}
        if name:
            call["name"] = name
        if more:
            call["willContinue"] = True
        return said({"functionCall": call})

    events = mapped(
        GoogleMapper(),
        part(name="f"),
        part({"jsonPath": "$.city", "stringValue": 'B"', "willContinue": True}),
        part({"jsonPath": "$.city", "stringValue": ""}),
        part({"jsonPath": "$.days[0].n", "numberValue": 3}),
        part({"jsonPath": "$.days[0].ok", "boolValue": True}),
        part({"jsonPath": "$.days[1].n", "nullValue": "NULL_VALUE"}),
        part(more=False),
        part(name="g"),
        part({"jsonPath": "$['a b']", "stringValue": "x"}, more=False),
        said(finish="STOP"),
    )
    first, second = assemble(events).calls
    assert json.loads(first.arguments) == {
        "city": 'B"',
        "days": [{"n": 3, "ok": True}, {"n": None}],
    }
    assert (second.name, second.arguments) == ("g", '{"a b":"x"}')


def test_how_it_ends():
    events = mapped(GoogleMapper(), {"promptFeedback": {"blockReason": "SAFETY"}})
    assert brief(events) == [("end", "SAFETY", "0")]
    mapper = GoogleMapper()
    events = mapped(
        mapper,
        said({"text": "a"}),
        {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}},
    )
    assert events[-1].text == "overloaded"
    assert mapper.cut() is None


def test_halves_of_characters():
    events = mapped(
        GoogleMapper(),
        said({"text": HIGH}),
        said({"text": LOW + HIGH}, finish="STOP"),
    )
    assert assemble(events).text == "🙂" + HIGH
    assert events[-1].kind == "end"


def test_unknown_kinds_pass():
    payloads = [
        {"candidates": []},
        {"candidates": [5]},
        said(5, {"inlineData": {}}, {"functionCall": 5}, {"text": 5}),
        {"candidates": [{"content": 5}]},
        {"candidates": [{"content": {"parts": 5}, "index": {}}]},
        {"promptFeedback": 5, "usageMetadata": 5},
        {"future": 1},
    ]
    events = mapped(GoogleMapper(), *payloads)
    assert {(event.kind, event.text) for event in events} == {("text", "")}


scalars = (
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text('ab"\\é🙂\n', max_size=6)
)
arguments = st.dictionaries(
    st.text("abc _", min_size=1, max_size=3),
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, min_size=1, max_size=3)
        ),
        max_leaves=8,
    ),
    min_size=1,
    max_size=3,
)


def pieces(value, path="$"):
    """The `partialArgs` that Google would send for a value, one for each leaf or piece of text."""
    if isinstance(value, dict):
        for key, item in value.items():
            step = f".{key}" if key.isalnum() else f"['{key}']"
            yield from pieces(item, path + step)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from pieces(item, f"{path}[{index}]")
    elif isinstance(value, str):
        for at in range(0, len(value), 2):
            yield {"jsonPath": path, "stringValue": value[at : at + 2], "willContinue": True}
        yield {"jsonPath": path, "stringValue": ""}
    elif value is None:
        yield {"jsonPath": path, "nullValue": "NULL_VALUE"}
    else:
        kind = "boolValue" if isinstance(value, bool) else "numberValue"
        yield {"jsonPath": path, kind: value}


@settings(deadline=None)
@given(arguments)
def test_any_arguments_become_json(value):
    writer = ArgumentsWriter()
    text = "".join([writer.piece(piece) for piece in pieces(value)])
    assert json.loads(text + writer.finish()) == value


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"jsonPath": st.text("$.[]'\"a01", max_size=8) | st.integers()},
            optional={
                "stringValue": st.text(max_size=2) | st.integers(),
                "numberValue": st.integers(),
                "willContinue": st.booleans(),
            },
        )
        | st.none(),
        max_size=12,
    )
)
def test_any_pieces_become_json(given_pieces):
    writer = ArgumentsWriter()
    text = "".join([writer.piece(piece) for piece in given_pieces])
    assert isinstance(json.loads(text + writer.finish()), dict)


def test_pieces_out_of_order():
    writer = ArgumentsWriter()
    text = writer.piece({"jsonPath": "$.a.x", "numberValue": 1})
    text += writer.piece({"jsonPath": "$.b[2]", "numberValue": 2})
    text += writer.piece({"jsonPath": "$.a.y", "numberValue": 3})
    assert text + writer.finish() == '{"a":{"x":1},"b":[null,null,2],"a":{"y":3}}'


@pytest.mark.parametrize("path", ["$", "a", "$.", "$[x]", "$" + ".a" * 200, None, "$.a]"])
def test_paths_that_are_none(path):
    assert ArgumentsWriter().piece({"jsonPath": path, "numberValue": 1}) == ""


def test_an_empty_name_is_a_name_in_a_path():
    writer = ArgumentsWriter()
    assert writer.piece({"jsonPath": "$['']", "numberValue": 1}) + writer.finish() == '{"":1}'
