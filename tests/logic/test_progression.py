"""Progression against the definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from logic.strategies import BOOLEAN, FUTURE, formulas, traces
from reference import temporal

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic.formula import false, strong_next, true
from midstream.logic.parser import parse
from midstream.logic.progression import progress


@given(formulas(ops=(*BOOLEAN, *FUTURE), timed=True), traces(most=8))
def test_the_rest_asks_for_the_same(formula, trace):
    expected = temporal.evaluate(formula, trace)[0]
    for position, letter in enumerate(trace):
        assert temporal.evaluate(formula, trace[position:])[0] == expected
        formula = progress(formula, letter)


def test_masks_and_mappings_are_letters_too():
    rule = parse("G(a -> x > 1)")
    assert progress(rule, {"a": True, "x": 2}) is rule
    assert progress(rule, {"a": True, "x": 0.5}) is false
    assert progress(rule, 0b11) is rule
    assert progress(rule, 0b01) is false


def test_windows_shrink():
    formula = parse("F[2:3] a")
    assert progress(formula, {"a"}) is parse("F[1:2] a")
    assert progress(parse("F[0:1] a"), set()) is parse("F[0:0] a")
    assert progress(parse("F[0:0] a"), set()) is false
    assert progress(parse("G[1:] a"), set()) is parse("G a")
    assert progress(parse("a U[0:0] b"), {"a"}) is false


def test_constants_are_folded():
    assert progress(parse("F a | G b"), {"a"}) is true
    assert progress(parse("X a & X !a"), set()) is false
    assert progress(parse("(X a <-> X a) & b"), {"b"}) is true


def test_depth_is_fine():
    formula = parse("a")
    for _ in range(10_000):
        formula = strong_next(formula)
    assert progress(formula, set()) is formula.args[0]


def test_what_cannot_be_progressed():
    with pytest.raises(ArgumentValueError, match="no past operators"):
        progress(parse("G(a -> O b)"), set())
    with pytest.raises(ArgumentValueError, match="whole steps"):
        progress(parse("F[0.5:2] a"), set())
    with pytest.raises(ArgumentTypeError, match="formula must be a Formula or text, not int"):
        progress(3, set())
    with pytest.raises(ArgumentValueError, match="whether 'a' holds"):
        progress(parse("a"), {}, missing="error")
