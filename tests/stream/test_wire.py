"""What payloads may hold beyond JSON and Unicode."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.stream.wire import finite, is_high_half, join_halves, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def cleaned(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


@settings(deadline=None)
@given(values)
def test_what_python_writes_becomes_json(value):
    wanted = cleaned(value)
    assert parse_json(json.dumps(value)) == wanted
    assert finite(value) == wanted
    json.dumps(finite(value), allow_nan=False)


@settings(deadline=None)
@given(values.map(cleaned))
def test_what_is_json_stays_the_same_object(value):
    assert finite(value) is value


@pytest.mark.parametrize("text", ["", "\ufeff1", "nan", "[1,]", '"\t"', "1" * 5000, "1 2"])
def test_what_is_not_json(text):
    with pytest.raises(ValueError):
        parse_json(text)


@settings(deadline=None)
@given(st.characters(min_codepoint=0x10000), st.text())
def test_halves_are_joined(char, rest):
    high, low = json.dumps(char)[1:7], json.dumps(char)[7:13]
    assert is_high_half(json.loads(f'"{high}"'))
    assert not is_high_half(json.loads(f'"{low}"'))
    assert join_halves(json.loads(f'"{high}"'), json.loads(f'"{low}"') + rest) == char + rest
    assert join_halves("\ud800", rest) == "\ud800" + rest
