"""Evaluators of the decision procedures, and what a counterexample says."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import random

import numpy as np
import pytest
from reference import lasso, temporal

from midstream.errors import ArgumentTypeError, ArgumentValueError, StateLimitError
from midstream.logic import formula as build
from midstream.logic.decision import counterexample, witness
from midstream.logic.parser import parse
from midstream.logic.traces import (
    Lasso,
    Witness,
    leaf_columns,
    truth_on_lasso,
    truth_on_trace,
)

LETTERS = [frozenset(), frozenset("a"), frozenset("b"), frozenset("ab")]
UNARY = [build.not_, build.weak_next, build.strong_next, build.yesterday, build.weak_yesterday]
WINDOWED = [build.eventually, build.always, build.once, build.historically]
BINARY = [
    build.xor,
    build.iff,
    build.implies,
    build.and_,
    build.or_,
    build.weak_until,
    build.strong_release,
]
WINDOWED_BINARY = [build.until, build.release, build.since, build.trigger]


def random_formula(rng, depth, windows=0.25):
    """Any operator, a window now and then."""
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([build.atom("a"), build.atom("b"), build.true, build.false])
    window = ()
    if rng.random() < windows:
        low = rng.randint(0, 2)
        window = (low, rng.choice([low + rng.randint(0, 3), math.inf]))
    kind = rng.randrange(4)
    f = random_formula(rng, depth - 1, windows)
    if kind == 0:
        return rng.choice(UNARY)(f)
    if kind == 1:
        return rng.choice(WINDOWED)(f, *window)
    g = random_formula(rng, depth - 1, windows)
    if kind == 2:
        return rng.choice(BINARY)(f, g)
    return rng.choice(WINDOWED_BINARY)(f, g, *window)


def random_trace(rng, longest=8):
    return [rng.choice(LETTERS) for _ in range(rng.randint(1, longest))]


@pytest.mark.parametrize("seed", range(4))
def test_truth_on_traces_is_that_of_the_definitions(seed):
    rng = random.Random(seed)
    for _ in range(150):
        formula, trace = random_formula(rng, 4), random_trace(rng)
        leaves, n = leaf_columns(formula, trace)
        bits = truth_on_trace(formula, leaves, n)[formula]
        assert [bool(bits >> i & 1) for i in range(n)] == temporal.evaluate(formula, trace), formula


@pytest.mark.parametrize("seed", range(4))
def test_truth_on_lassos_is_that_of_the_definitions(seed):
    rng = random.Random(seed)
    for _ in range(75):
        formula, loop = random_formula(rng, 3), random_trace(rng, 3)
        prefix = random_trace(rng, 3)[1:]
        bits = truth_on_lasso(formula, prefix, loop)[formula]
        assert bits & 1 == lasso.holds(formula, prefix, loop), (formula, prefix, loop)


def test_windows_far_beyond_the_loop_cost_nothing():
    word = Lasso((frozenset(),), (frozenset("a"), frozenset(), frozenset()))
    assert word.holds("F[1000000000:1000000000] a") == (10**9 % 3 == 1)
    assert word.holds("G[5:1000000000] F[0:2] a")
    assert not word.holds("G[5:1000000000] F[0:1] a")
    with pytest.raises(StateLimitError):
        word.holds("O[1000000000:1000000001] a")


@pytest.mark.parametrize("seed", range(3))
def test_causes_alone_make_the_formula_false(seed):
    rng = random.Random(seed)
    found = 0
    while found < 60:
        formula, trace = random_formula(rng, 4), random_trace(rng)
        example = counterexample(formula, trace)
        assert (example is None) == temporal.holds(formula, trace)
        if example is None:
            continue
        found += 1
        marked = example.marked
        for _ in range(5):
            other = [
                {
                    name
                    for name in "ab"
                    if (name in letter if i in marked.get(name, ()) else rng.random() < 0.5)
                }
                for i, letter in enumerate(trace)
            ]
            assert not temporal.holds(formula, other), (formula, trace, marked)


@pytest.mark.parametrize("seed", range(3))
def test_the_step_that_decided(seed):
    """Before it some continuation helps, after it none: three letters are enough to see that."""
    rng = random.Random(100 + seed)
    tails = [()] + [t for n in (1, 2, 3) for t in itertools.product(LETTERS, repeat=n)]
    found = 0
    while found < 25:
        formula, trace = random_formula(rng, 2, windows=0), random_trace(rng, 5)
        example = counterexample(formula, trace)
        if example is None:
            continue
        found += 1
        assert example.known
        lost = len(trace) if example.step is None else example.step
        for i in range(len(trace)):
            helped = any(temporal.holds(formula, [*trace[: i + 1], *tail]) for tail in tails)
            assert helped == (i < lost), (formula, trace, i, lost)
    assert counterexample("G a", [{"a"}] * 3 + [set()] * 3).step == 3
    assert counterexample("F a", [set()] * 3).step is None
    assert counterexample("F[0:2] a", [set()] * 5).step == 2


def test_counterexample_text_and_table():
    rule = parse("G (request -> F answer)")
    example = counterexample(rule, [{"answer"}, {"request"}, set(), set()])
    assert example.step is None
    assert example.known
    assert str(example).splitlines() == [
        "G (request -> F answer) is false",
        "the end of the trace decided, after step 3: it might have gone on well",
        "step     0 1 2 3",
        "answer   1 . . .",
        "request  . 1 . .",
        "           ^ ^ ^",
        "step 0: G (request -> F answer) is false",
        "step 1: request -> F answer is false",
        "step 1: request is true",
        "step 1: F answer is false",
        "steps 1 to 3: answer is false",
    ]
    assert example.marked == {"answer": (1, 2, 3), "request": (1,)}
    page = example._repr_html_()
    assert page.count("font-weight:bold") == 4
    assert "request -&gt; F answer" in page


def test_the_step_that_decided_on_a_trace_too_long_for_the_solver():
    trace = {name: np.zeros(100_000, dtype=bool) for name in "abc"}
    trace["a"][80_000] = True
    example = counterexample("G (a -> F[0:20] b)", trace)
    assert (example.step, example.known) == (80_020, True)
    trace["b"][80_005] = True
    assert counterexample("G (a -> F[0:20] b)", trace) is None
    assert counterexample("G (a -> F[0:20] b) & F c", trace).step is None


def test_long_traces_of_letters_are_decided_in_time():
    """Beyond what the solver unrolls, and with many positions for each cause."""
    n = 200_000
    letters = [["request"], ["answer"], [], []] * (n // 4)
    example = counterexample("G (request -> F answer)", [*letters, ["request"], []])
    assert (example.step, example.known) == (None, True)
    assert example.marked == {"request": (n,), "answer": (n, n + 1)}
    example = counterexample("F (F[0:3] gone)", letters)
    assert (example.step, example.known) == (None, True)
    assert example.causes[-1].positions == tuple(range(n))
    assert f"steps 0 to {n - 1}: gone is false" in str(example)
    numbers = [{"x": i % 7, "y": 1.5} for i in range(n)]
    example = counterexample("G (x < 6 | y >= 2) | F (y > 3)", numbers)
    assert (example.step, example.known) == (None, True)
    assert example.trace[6] == {"x": 6.0, "y": 1.5, "x < 6": False, "y >= 2": False, "y > 3": False}


def test_the_solver_and_the_automaton_find_the_same_step():
    rng = random.Random(11)
    # Restricted letters, which are all letters, are left to the solver.
    every = parse("a | !a")
    found = 0
    while found < 40:
        formula, trace = random_formula(rng, 3), random_trace(rng, 6)
        example = counterexample(formula, trace)
        if example is not None:
            found += 1
            solved = counterexample(formula, trace, letters=every, timeout_s=60)
            assert (example.step, example.known) == (solved.step, solved.known), (formula, trace)


def test_samples_that_are_missing_are_left_out():
    example = counterexample("F (x > 5)", [{"x": 1}, {}, {"x": None}])
    assert example.trace == ({"x": 1.0, "x > 5": False}, {"x > 5": False}, {"x > 5": False})


def test_long_traces_are_drawn_in_part():
    trace = [{"a"}] * 5000
    trace[3000] = set()
    example = counterexample("G a", trace)
    assert example.step == 3000
    lines = str(example).splitlines()
    assert max(map(len, lines)) < 300
    assert "3000" in lines[2].split()
    assert lines[4].strip() == "^"


def test_signals_in_a_counterexample():
    example = counterexample("G (x > 1 -> x < 3)", {"x": [0.0, 2.0, 5.0, 1.0]})
    assert example.step == 2
    assert example.trace[2] == {"x": 5.0, "x > 1": True, "x < 3": False}
    assert example.marked == {"x > 1": (2,), "x < 3": (2,)}
    same = counterexample("G (x > 1 -> x < 3)", [{"x": 0}, {"x": 2}, {"x": 5}, {"x": 1}])
    assert same.step == 2
    # Nothing can be above 2 and below 1: the first step decides, though x < 1 may still come.
    assert counterexample("G (x > 2) & F (x < 1)", [{"x": 3}, {"x": 3}]).step == 0
    # Comparisons given as bits do where some number has them.
    example = counterexample("G (x > 1)", [{"x > 1"}, set()])
    assert (example.step, example.known) == (1, True)
    example = counterexample(
        "G (x > 1 -> x < 3)", [{"x < 3"}, {"x > 1", "x < 3"}, set(), {"x > 1"}]
    )
    assert (example.step, example.known) == (None, False)


def test_what_is_no_trace():
    with pytest.raises(ArgumentValueError):
        counterexample("a", [])
    with pytest.raises(ArgumentTypeError):
        counterexample("a", 7)
    with pytest.raises(ArgumentTypeError):
        counterexample("a", "a")
    with pytest.raises(ArgumentTypeError):
        counterexample(7, [{"a"}])
    with pytest.raises(ArgumentValueError):
        counterexample("a", [{"b": True}], missing="error")


def test_masks_and_columns_are_traces_too():
    example = counterexample("G (a -> b)", [3, 1, 0])
    assert example.step == 1
    assert example.trace == (frozenset("ab"), frozenset("a"), frozenset())
    assert counterexample("G a", {"a": [True, False, True]}).step == 1


def test_deep_formulas():
    formula = parse("X[!] " * 10_000 + "a")
    example = counterexample(formula, [set()] * 3, timeout_s=0)
    assert example.step is None
    assert not example.known
    assert "nodes" in str(example)


def test_a_lasso_has_a_loop():
    with pytest.raises(ArgumentValueError, match="loop must have"):
        Lasso((), ())
    with pytest.raises(ArgumentValueError, match="loop must have"):
        Lasso((frozenset("a"),), ())


def test_reprs_are_short():
    example = counterexample("G (a -> b)", [{"a"}] + [set()] * 1000)
    assert repr(example) == (
        "<Counterexample to G (a -> b): length 1001, decided by step 0, causes: 4>"
    )
    assert "decided by its end" in repr(counterexample("F a", [set()]))
    assert repr(example.causes[-1]) == "<Cause: step 0: b is false>"
    assert (
        repr(Lasso((frozenset("a"),), (frozenset(),))) == "Lasso([{'a'}], [set()], minimal=False)"
    )
    assert repr(Witness([frozenset("a")] * 50)).endswith("{'a'}, ... 10 more], minimal=False)")


def test_witnesses_are_values():
    trace = witness("a & X[!] b")
    assert isinstance(trace, Witness)
    assert trace == (frozenset("a"), frozenset("b"))
    assert repr(trace) == "Witness([{'a'}, {'b'}], minimal=True)"
    for other in (pickle.loads(pickle.dumps(trace)), copy.copy(trace)):
        assert other == trace
        assert other.minimal
    word = witness("G F a & G F !a & X X a", semantics="ltl")
    assert pickle.loads(pickle.dumps(word)) == word
    assert word.holds("G F a & G F !a & X X a")
    assert word.unrolled(30)[-1] == word.letter(29)
    with pytest.raises(ArgumentValueError):
        word.letter(-1)
