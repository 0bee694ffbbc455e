"""Letters and traces in all their forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic._letters import as_columns, as_mask, as_masks
from midstream.logic.parser import parse

ALPHABET = ("a", "b", "x > 1")
PREDICATES = (None, None, parse("x > 1").predicate)


@pytest.mark.parametrize(
    ("letter", "mask"),
    [
        (set(), 0),
        ({"a"}, 1),
        (frozenset({"b", "x > 1"}), 6),
        (["a", "b", "other"], 3),
        (("b",), 2),
        ({"a": True, "b": False}, 1),
        ({"a": 1, "b": 0}, 1),
        ({"a": np.True_}, 1),
        ({"x": 1.5}, 4),
        ({"x": 1}, 0),
        ({"x > 1": True}, 4),
        ({"b": None, "c": "anything"}, 0),
        (5, 5),
        (np.uint8(7), 7),
    ],
)
def test_forms_of_a_letter(letter, mask):
    assert as_mask(letter, ALPHABET, PREDICATES) == mask
    assert as_masks([letter, letter], ALPHABET, PREDICATES).tolist() == [mask, mask]
    bits = [[bool(mask >> i & 1)] for i in range(3)]
    assert as_columns([letter], ALPHABET, PREDICATES).tolist() == bits


@pytest.mark.parametrize(
    ("letter", "error", "message"),
    [
        ("a", ArgumentTypeError, r"must be a set of atoms, a mapping or a bit mask, not str"),
        (True, ArgumentTypeError, "not bool"),
        (1.0, ArgumentTypeError, "not float"),
        (None, ArgumentTypeError, "not NoneType"),
        (8, ArgumentValueError, "must be a mask of the 3 atoms of the alphabet, not 8"),
        (-1, ArgumentValueError, "not -1"),
        ({1}, ArgumentTypeError, r"must hold names of atoms, not int \(1\)"),
        ({"a": "yes"}, ArgumentTypeError, r"\['a'\] must be a bool, not str"),
        ({"a": 2}, ArgumentTypeError, r"\['a'\] must be a bool, not int \(2\)"),
        ({"x": "fast"}, ArgumentTypeError, r"\['x'\] must be a number, not 'fast'"),
        ({"x": "5"}, ArgumentTypeError, r"\['x'\] must be a number, not '5'"),
        ({"x": 10**400}, ArgumentValueError, r"\['x'\] is too large for a real number"),
        ({"x": float("nan")}, ArgumentValueError, r"\['x'\] must not be NaN"),
    ],
)
def test_what_is_no_letter(letter, error, message):
    with pytest.raises(error, match="letter.*" + message):
        as_mask(letter, ALPHABET, PREDICATES)
    with pytest.raises(error, match=r"trace\[1\].*" + message):
        as_masks([set(), letter], ALPHABET, PREDICATES)


def test_missing_atoms_can_be_an_error():
    assert as_mask({"a": True}, ALPHABET) == 1
    with pytest.raises(ArgumentValueError, match="letter must say whether 'b' holds"):
        as_mask({"a": True}, ALPHABET, missing="error")
    # A set says of every atom whether it is true.
    assert as_mask({"a"}, ALPHABET, missing="error") == 1
    with pytest.raises(ArgumentValueError, match="missing must be one of"):
        as_masks([], ALPHABET, missing="maybe")
    with pytest.raises(ArgumentValueError, match="trace must have a column for 'b'"):
        as_columns({"a": [True]}, ("a", "b"), missing="error")


@given(st.lists(st.integers(0, 7), max_size=20))
def test_forms_of_a_trace(masks):
    sets = [{name for i, name in enumerate(ALPHABET) if mask >> i & 1} for mask in masks]
    columns = {name: [mask >> i & 1 == 1 for mask in masks] for i, name in enumerate(ALPHABET)}
    for trace in (masks, sets, columns, np.array(masks, dtype=np.uint8), iter(sets)):
        assert as_masks(trace, ALPHABET).tolist() == masks
    for trace in (masks, sets, columns, np.array(masks, dtype=np.int64)):
        assert as_columns(trace, ALPHABET).tolist() == list(columns.values())


def test_signals_are_compared_column_by_column():
    columns = {"x": np.array([0.5, 1.0, 2.0]), "a": np.array([1, 0, 1]), "unused": [1, 2, 3]}
    assert as_masks(columns, ALPHABET, PREDICATES).tolist() == [1, 0, 5]
    with pytest.raises(ArgumentValueError, match=r"trace\['x'\] must not have NaN, got one at 2"):
        as_columns({"x": [0, 1, np.nan]}, ALPHABET, PREDICATES)
    with pytest.raises(ArgumentTypeError, match=r"trace\['x'\]\[1\] must be a number, not '5'"):
        as_columns({"x": [4, "5"]}, ALPHABET, PREDICATES)
    with pytest.raises(ArgumentValueError, match=r"trace\['x'\]\[0\] is too large"):
        as_columns({"x": [10**400, 1]}, ALPHABET, PREDICATES)
    huge = as_columns({"x": np.array([2**63, 0], dtype=object)}, ALPHABET, PREDICATES)
    assert huge[2].tolist() == [True, False]


def test_alphabets_of_many_words():
    alphabet = tuple(f"p{i}" for i in range(200))
    letters = [{"p0", "p199"}, set(alphabet), set(), {"p64": True}, 1 << 199]
    masks = as_masks(letters, alphabet)
    assert masks.shape == (5, 4)
    assert masks[0].tolist() == [1, 0, 0, 1 << 7]
    assert masks[3].tolist() == [0, 1, 0, 0]
    columns = as_columns(letters, alphabet)
    assert columns.shape == (200, 5)
    assert columns.sum(axis=0).tolist() == [2, 200, 0, 1, 1]
    as_mapping = {name: columns[i] for i, name in enumerate(alphabet)}
    assert np.array_equal(as_masks(as_mapping, alphabet), masks)


@pytest.mark.parametrize(
    ("trace", "error", "message"),
    [
        ("ab", ArgumentTypeError, "trace must be a sequence of letters"),
        (3, ArgumentTypeError, "trace must be a sequence of letters"),
        (np.zeros((2, 2), dtype=np.uint8), ArgumentTypeError, r"\(n,\) array of unsigned"),
        (np.zeros(2), ArgumentTypeError, "not 1-d float64"),
        (np.array([8], dtype=np.uint8), ArgumentValueError, "masks of 3 atoms, got 8"),
        (np.array([-1]), ArgumentValueError, "negative masks, got -1"),
        ({"a": [True], "b": [True, False]}, ArgumentValueError, "must have 1 positions"),
        ({"a": True}, ArgumentValueError, "must be one-dimensional"),
        ({"a": [0.5]}, ArgumentTypeError, "must be an array of bool, not float64"),
    ],
)
def test_what_is_no_trace(trace, error, message):
    with pytest.raises(error, match=message):
        as_masks(trace, ALPHABET)
    with pytest.raises(error, match=message):
        as_columns(trace, ALPHABET)
