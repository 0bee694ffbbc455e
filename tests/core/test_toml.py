"""TOML: read from text or file, written so that it reads back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream._core.toml import read_toml, read_toml_value, toml_value
from midstream.errors import ArgumentTypeError, ArgumentValueError, ConfigurationError

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs",))),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_reads_back(value):
    place, data = read_toml(f"x = {toml_value('x', value)}\n")
    assert (place, data) == ("<text>", {"x": value})
    assert read_toml_value(toml_value("x", value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a value of TOML"),
        ("a", "not a value of TOML"),
        ("9" * 5000, "4300 digits"),
        ("[" * 100_000, "recursion"),
        ("1\nx = 2", "more than one value of TOML: '1\\nx = 2'"),
    ],
)
def test_what_is_no_value(text, says):
    with pytest.raises(ConfigurationError) as raised:
        read_toml_value(text)
    assert says in str(raised.value)


def test_files_and_what_is_none(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("x = 1")
    assert read_toml(path) == (str(path), {"x": 1})
    assert read_toml(str(path)) == (str(path), {"x": 1})
    path.write_bytes(b"x = '\xff'")
    with pytest.raises(ConfigurationError, match=r"a\.toml: not UTF-8"):
        read_toml(path)
    with pytest.raises(ConfigurationError, match="<text>: not TOML"):
        read_toml("x = \n")
    with pytest.raises(FileNotFoundError):
        read_toml(tmp_path / "b.toml")
    with pytest.raises(ArgumentTypeError, match="got 3"):
        read_toml(3)  # type: ignore[arg-type]
    assert toml_value("x", -math.inf) == "-inf"
    with pytest.raises(ArgumentValueError, match=r"x\.y cannot be written as TOML: None"):
        toml_value("x", {"y": [None]})
