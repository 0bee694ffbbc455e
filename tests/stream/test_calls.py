"""Tool calls from their pieces: values as soon as they are certain, whatever the pieces are."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import CallAssembler, Event, canonical_arguments
from midstream.stream.decode import NDJSONDecoder, SSEDecoder

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()))
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
#: Text that is JSON, nearly JSON, or made of what JSON is made of.
PIECES = st.sampled_from([*'{}[]",:\\ue0123.-+', "true", "null", '"a"', '{"a":', "\n", "\ud83d"])


@st.composite
def documents(draw):
    value = draw(VALUES)
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + "".join(draw(st.lists(PIECES, max_size=3))) + text[at:]
    return text


def piece(text, stream_id="0/0", name=None, call_id=None, data=None):
    return Event("tool_call", 0, 0, text, name, data, stream_id, call_id)


def strict(text):
    """What `json.loads` says of RFC 8259, or None with what is wrong."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def told(text, cuts):
    """Everything told of one call, with the character at which it was told."""
    calls = CallAssembler()
    call = calls.take(piece(""))
    found = []
    places = sorted({0, *(cut % (len(text) + 1) for cut in cuts), len(text)})
    malformed = complete = False
    for start, end in pairwise(places):
        calls.take(piece(text[start:end]))
        found += [(path, repr(call.fixed[path])) for path in call.new]
        assert call.open_string is None or not call.malformed
        malformed, complete = call.malformed, call.complete
    calls.finish()
    return found, malformed, complete, call.malformed, call.complete, repr(call.value), call


@settings(deadline=None)
@given(documents(), st.lists(st.integers(0, 10**6)))
@example('{"a": [1, {"b": "\\ud83d\\ude00"}], "a": 2}', [3, 14, 19])
@example('"\\ud83d\\ud83d\\ude00"', [])
def test_pieces_do_not_matter(text, cuts):
    whole = told(text, [])
    assert told(text, cuts)[:-1] == whole[:-1]
    assert told(text, range(len(text)))[:-1] == whole[:-1]


@settings(deadline=None)
@given(documents())
@example("1" * 4300)
@example("1" * 4301)
@example("-" + "1" * 4301)
@example("1e999")
@example("NaN")
@example("[1,]")
@example("\ufeff{}")
def test_the_value_is_that_of_the_standard_library(text):
    *_, malformed, complete, value, call = told(text, [1])
    try:
        expected = strict(text) if text.strip(" \t\r\n") else {}
    except ValueError:
        assert malformed
        assert not complete
        assert call.value is None
    else:
        assert complete, malformed
        assert value == repr(expected)


def flatten(value, path=""):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        inner = path + str(key).replace("\\", "\\\\").replace(".", "\\.")
        if isinstance(item, (dict, list)):
            yield from flatten(item, inner + ".")
        yield inner, item


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), VALUES))
def test_all_values_become_fixed_each_once_and_in_order(value):
    call = told(json.dumps(value), range(0, 1000, 7))[-1]
    assert list(call.fixed.items()) == list(flatten(value))


@settings(deadline=None)
@given(st.dictionaries(st.text(), LEAVES, min_size=1), st.integers(0, 10**6))
def test_a_fixed_value_is_in_every_continuation(value, at):
    text = json.dumps(value)
    calls = CallAssembler()
    call = calls.take(piece(text[: at % len(text)]))
    assert all(
        value[key.replace("\\.", ".").replace("\\\\", "\\")] == item
        for key, item in call.fixed.items()
        if "\\" not in key
    )
    if call.open_string is not None:
        path, so_far = call.open_string
        if "\\" not in path:
            assert value[path].startswith(so_far)


@pytest.mark.parametrize(
    ("text", "at"),
    [('{"n": 12', None), ('{"n": 12 ', 8), ('{"n": 12}', 8), ('{"s": "a"', 8), ('{"b": true', 9)],
)
def test_when_a_value_is_certain(text, at):
    calls = CallAssembler()
    found = None
    for place, char in enumerate(text):
        if calls.take(piece(char)).new:
            found = place
    assert found == at


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a" 1}', "character 5: '1' where ':' is due"),
        ('{"a":1 "b"}', "character 7: '\"' where ',' or '}' is due"),
        ("[1 2]", "character 3: '2' where ',' or ']' is due"),
        ("{a}", "character 1: 'a' where a key or '}' is due"),
        ('{"a": .5}', "character 6: '.' where a value is due"),
        ('{"a": "\n"}', "character 7: a string holds '\\n' unescaped"),
        ('{"a": "\\x"}', "character 8: a string escapes 'x'"),
        ('"\\u12g4"', "character 5: 'g' where four hexadecimal digits is due"),
        ("{} {}", "character 3: '{' after the end of the value"),
        ("[" * 65, "character 64: more than 64 objects and arrays in one another"),
        ("1" * 4301 + " ", "character 4301: an integer of more than 4300 digits"),
        ("nul!", "character 3: '!' where true, false or null is due"),
    ],
)
def test_what_is_wrong_is_told_at_its_character(text, message):
    calls = CallAssembler()
    at = int(message.split()[1].rstrip(":"))
    assert calls.take(piece(text[:at])).malformed is None
    call = calls.take(piece(text[at:]))
    assert call.malformed == message
    assert not call.complete
    assert call.open_string is None
    calls.take(piece('{"more": 1}'))
    assert call.malformed == message
    assert call.arguments_text == text + '{"more": 1}'


def test_text_after_the_end_takes_completeness_back():
    calls = CallAssembler()
    call = calls.take(piece('{"a": 1}'))
    assert call.complete
    assert calls.changed
    calls.take(piece(" \n"))
    assert call.complete
    assert not calls.changed
    assert call.first == ({"a": 1}, 8)
    calls.take(piece("{"))
    assert calls.changed
    assert not call.complete
    assert call.value is None
    assert call.first == ({"a": 1}, 8)  # as whoever saw it then took it


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('{"a": 1} {', ({"a": 1}, 8)),
        ('{"a": 1}', ({"a": 1}, 8)),
        ("12  x", (12, 2)),
        ('{"a": 1', None),
        ('{"a": 1]', None),
        ("{} x y", ({}, 2)),
    ],
)
def test_what_was_whole_before_more_came(text, first):
    for pieces in ([text], text):
        calls = CallAssembler()
        for letter in pieces:
            call = calls.take(piece(letter))
        assert call.first == first


@pytest.mark.parametrize(
    "text",
    [
        r'"\u00E9\u00e9\uABCD\uabcd"',
        r'"\uD83D\uDE00"',
        r'["\uD83D", "\ud83d\ud83d\ude00", "\ude00\ud83d", "\ud83dx", "\ud83d\n"]',
        r'{"\uD83D": "\uDE00"}',
        "[0, -0, 10, -1.5e+3, 2E-2, 0.5, 1e05]",
        *("01", "-01", "00", "0x1", "1.", "1.e2", ".5", "+1", "1e", "1e+", "--1", "-"),
        *(r'"\u12g4"', r'"\u123"', r'"\uD83D', '"\x1f"'),
    ],
)
def test_escapes_and_numbers_are_those_of_json(text):
    try:
        value = strict(text)
    except ValueError:
        value = None
    for pieces in ([text], text):
        calls = CallAssembler()
        for letter in pieces:
            call = calls.take(piece(letter))
        calls.finish()
        assert call.complete is (value is not None)
        assert call.value == value and repr(call.value) == repr(value)
        assert (call.malformed is None) is call.complete


def test_a_key_that_comes_twice():
    calls = CallAssembler()
    call = calls.take(piece('{"path": "/tmp", "x": {"y": 1}, "path"'))
    assert call.duplicates == ["path"]
    assert calls.changed
    calls.take(piece(': {"z": "/etc", "z": 2}, "x": {"y": 2}, "after": 3}'))
    assert call.fixed["path"] == "/tmp"
    assert call.fixed["x.y"] == 1
    assert call.fixed["after"] == 3
    assert "path.z" not in call.fixed
    assert call.duplicates == ["path", "x"]
    assert call.value == {"path": {"z": 2}, "x": {"y": 2}, "after": 3}


def test_a_dot_in_a_key_is_not_one_between_keys():
    call = CallAssembler().take(piece('{"a.b": {"c\\\\": 1}, "a": {"b": 2}}'))
    assert call.fixed == {
        "a\\.b.c\\\\": 1, "a\\.b": {"c\\": 1}, "a.b": 2, "a": {"b": 2}
    }  # fmt: skip


# Several calls


def test_heads_first_and_arguments_interleaved():
    calls = CallAssembler()
    first = calls.take(piece("", "0/0", "read", "c1"))
    second = calls.take(piece("", "0/1", "write", "c2"))
    calls.take(piece('{"p": ', "0/0", None, "c1"))
    calls.take(piece('{"q": 1', "0/1"))
    calls.take(piece("2}", "0/0", None, "c1"))
    calls.take(piece("}", "0/1"))
    assert (first.value, second.value) == ({"p": 2}, {"q": 1})
    assert (first.name, second.call_id) == ("read", "c2")
    assert calls.finish() == [first, second]


def test_where_calls_follow_one_another_the_next_ends_the_one_before():
    calls = CallAssembler()
    first = calls.take(piece("", "1", "now"))
    second = calls.take(piece('{"a": ', "2", "read"))
    assert calls.ended == [first]
    assert first.value == {}
    assert first.complete
    third = calls.take(piece("", "r1.1", "other response"))
    assert not second.ended
    fourth = calls.take(piece("7", "3", "read"))
    assert calls.ended == [second]
    assert second.malformed == "character 6: ends where a value is due"
    assert calls.finish("3") == [fourth]
    assert fourth.value == 7
    assert calls.finish() == [third]
    assert calls.finish("unknown") == []


def test_an_identifier_used_again_is_another_call():
    calls = CallAssembler()
    first = calls.take(piece('{"a": 1}', "0/0", "read", "c1"))
    second = calls.take(piece('{"a": 2}', "0/0", "read", "c2"))
    assert calls.ended == [first]
    assert (first.value, second.value) == ({"a": 1}, {"a": 2})


def test_other_kinds_are_left_alone():
    calls = CallAssembler()
    assert calls.take(Event("text", 0, 0, "{")) is None
    assert calls.open_calls == []


def test_the_provider_runs_it():
    assert CallAssembler().take(piece("", "3!", "web_search")).provider_run


CUSTOM = [
    {"type": "response.output_item.added", "item": {"type": "custom_tool_call", "name": "sh"}},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "type": "custom"}]}}]},
]


@pytest.mark.parametrize("data", CUSTOM)
def test_free_text_by_its_payload(data):
    calls = CallAssembler()
    call = calls.take(piece("ls {", "0/0" if "choices" in data else "0", "sh", None, data))
    assert call.free_text
    assert call.open_string == ("", "ls {")
    assert not call.complete
    assert calls.finish() == [call]
    assert (call.value, call.malformed, call.open_string) == ("ls {", None, None)


def test_free_text_by_name_also_where_the_name_comes_late():
    calls = CallAssembler(free_text={"sh"})
    call = calls.take(piece("", "0/0"))
    calls.take(piece("", "0/0", "sh"))
    calls.take(piece("ls", "0/0"))
    calls.take(piece("{}", "0/1", "read"))
    assert calls.ended == [call]
    assert call.value == "ls"


# Limits


def test_too_long():
    for custom in ((), ("t",)):
        calls = CallAssembler(max_chars=10, free_text=custom)
        call = calls.take(piece('"12345678', "0/0", "t"))
        assert call.malformed is None
        calls.take(piece("9abc"))
        assert call.malformed == "character 10: more than 10 characters"
        assert call.arguments_text == '"123456789'


def test_too_long_at_the_same_character():
    def last_sound(pieces):
        calls = CallAssembler(max_chars=10)
        for text in pieces:
            call = calls.take(piece(text))
        return call.malformed, call.fixed

    text = '{"a":1,"b":22222}'
    assert last_sound([text]) == last_sound(list(text))
    # An error within the limit comes first.
    assert last_sound(["{!", "x" * 20]) == last_sound(["{!" + "x" * 20])


def test_too_many_calls():
    calls = CallAssembler(max_calls=2)
    for index in range(4):
        call = calls.take(piece("{", f"0/{index}"))
    assert call.malformed == "more than 2 calls are open"
    assert len(calls.open_calls) == 2
    for index in range(100):
        calls.take(piece("{}", str(index)))
    assert len(calls.open_calls) <= 2


def test_fixed_has_a_limit():
    call = CallAssembler(max_fixed=5).take(piece(json.dumps(list(range(100)))))
    assert len(call.fixed) == 5
    assert call.value == list(range(100))


def test_arguments_that_cannot_be_used():
    with pytest.raises(ArgumentTypeError, match="free_text must be a collection of str, got 'sh'"):
        CallAssembler(free_text="sh")
    with pytest.raises(ArgumentValueError, match="max_depth must be at most 1000, got 2000"):
        CallAssembler(max_depth=2000)
    with pytest.raises(ArgumentTypeError, match="arguments must have keys of str, got 1"):
        canonical_arguments({1: 2})
    with pytest.raises(ArgumentTypeError, match="arguments must be JSON or text"):
        canonical_arguments({"a": object()})


# One text for equal arguments


@settings(deadline=None)
@given(VALUES.filter(lambda value: not isinstance(value, str)))  # a str is JSON as text
def test_canonical_text_is_that_of_the_value(value):
    canonical = canonical_arguments(json.dumps(value, indent=2))
    assert canonical == canonical_arguments(json.loads(json.dumps(value)))
    assert json.loads(canonical) == value
    assert canonical_arguments(canonical) == canonical


def test_canonical_text():
    assert canonical_arguments(' {"b": [1.0, -0.0, 1e2, 0.5], "a": "\u00e9"} ') == (
        '{"a":"\\u00e9","b":[1,0,100,0.5]}'
    )
    assert canonical_arguments("") == "{}"
    assert canonical_arguments(" not json ") == "not json"
    assert canonical_arguments("[" * 10_000) == "[" * 10_000


# Recorded streams


def parsed(arguments):
    try:
        return json.loads(arguments) if arguments else {}
    except ValueError:
        return arguments


@pytest.mark.parametrize("size", [1 << 20, 5])
def test_calls_of_recorded_streams(shared_data, size):
    typed = {"apply_patch", "local_shell", "shell", "tool_search"}
    expected = json.loads(shared_data("wire/expected.json").read_text())
    n_calls = n_malformed = n_free = 0
    for row in json.loads(shared_data("wire/index.json").read_text()):
        if row["file"] not in expected:
            continue
        body = shared_data("wire/" + row["file"]).read_bytes()
        decoder = SSEDecoder() if row["file"].endswith(".sse") else NDJSONDecoder()
        assembler, calls = CallAssembler(), []
        for event in [*decoder.feed(body, 0), *decoder.finish(0)]:
            pieces = [event]
            if event.kind == "tool_call" and len(event.text) > size:
                texts = [event.text[at : at + size] for at in range(0, len(event.text), size)]
                pieces = [event._replace(text=text) for text in texts]
            for one in pieces:
                call = assembler.take(one)
                if call is not None and call not in calls:
                    calls.append(call)
            if event.kind == "end":
                assembler.finish()
        assembler.finish()
        plain = [call for call in calls if not call.provider_run and call.name not in typed]
        assert [
            (call.name, call.value if call.complete else call.arguments_text) for call in plain
        ] == [
            (call["name"], parsed(call["arguments"]))
            for call in expected[row["file"]]["tool_calls"]
        ], row["file"]
        n_calls += len(plain)
        n_malformed += sum(call.malformed is not None for call in calls)
        n_free += sum(call.free_text for call in calls)
    # One file is cut off inside a string; one has a call of a custom tool.
    assert (n_calls, n_malformed, n_free) == (57, 1, 1)


def test_several_custom_calls_of_one_payload():
    heads = [
        {"index": 3, "id": "c1", "type": "custom", "custom": {"name": "sql", "input": ""}},
        {"index": 7, "id": "c2", "type": "custom", "custom": {"name": "sh", "input": ""}},
    ]
    tails = [{"index": 7, "custom": {"input": "ls"}}, {"index": 3, "custom": {"input": "SELECT 1"}}]
    body = b"".join(
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}).encode()
        + b"\n\n"
        for calls in (heads, tails)
    )  # fmt: skip
    assembler = CallAssembler()
    for event in SSEDecoder().feed(body, 0):
        assembler.take(event)
    assert [call.value for call in assembler.finish()] == ["SELECT 1", "ls"]
