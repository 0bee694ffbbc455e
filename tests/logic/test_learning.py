"""Learning against plain enumeration."""

from __future__ import annotations

import random
import signal

import numpy as np
import pytest
from reference import learning as reference
from reference import temporal

from midstream.errors import ArgumentTypeError, ArgumentValueError, UndecidedError
from midstream.logic import learning as module
from midstream.logic._learn import Search
from midstream.logic._ops import Op
from midstream.logic.columns import Columns, holds, pack
from midstream.logic.formula import predicate
from midstream.logic.learning import LEARNING_OPERATORS, learn, learn_all
from midstream.logic.parser import parse

PAST = ("Y", "Z", "O", "H", "S", "T")
EVERY = (*LEARNING_OPERATORS, "xor", "<->", "W", "R", "M", *PAST)


def random_trace(rng, atoms, least, most, chance=0.5):
    n = rng.randint(least, most)
    return [{name for name in atoms if rng.random() < chance} for _ in range(n)]


def sample(rng, atoms="ab", count=4, least=1, most=5):
    """Two lists of different traces."""
    traces, seen = [], set()
    while len(traces) < count:
        trace = random_trace(rng, atoms, least, most)
        key = tuple(map(frozenset, trace))
        if key not in seen:
            seen.add(key)
            traces.append(trace)
    cut = rng.randint(0, count)
    return traces[:cut], traces[cut:]


def separates(formula, positive, negative):
    return all(holds(formula, trace) for trace in positive) and not any(
        holds(formula, trace) for trace in negative
    )


def test_no_smaller_formula_exists() -> None:
    """Against every tree up to four nodes."""
    rng = random.Random(0)
    names = ("!", "X[!]", "G", "&", "->", "U")
    ops = [module._CODES[name] for name in names]
    sizes = set()
    for _ in range(12):
        positive, negative = sample(rng, count=rng.randint(2, 5))
        found, size = reference.smallest(positive, negative, 4, "ab", ops)
        learned = learn_all(positive, negative, 4, atoms=["a", "b"], operators=names)
        if size is None:
            assert learned.formulas == ()
            assert learn(positive, negative, 4, atoms=["a", "b"], operators=names) is None
        else:
            assert learned.size == size
            assert {f.size for f in learned.formulas} == {size}
            assert set(learned.formulas) <= set(found)
        sizes.add(size)
    assert len(sizes) >= 3


def test_the_documented_order_decides() -> None:
    rng = random.Random(1)
    sizes = set()
    for turn in range(40):
        names = rng.sample(EVERY, 5)
        ops = [module._CODES[name] for name in names]
        positive, negative = sample(rng, count=rng.randint(3, 6))
        allowed = turn % 2
        expected = reference.first(positive, negative, 5, "ab", ops, allowed)
        found = learn(positive, negative, 5, atoms=["a", "b"], operators=names, max_errors=allowed)
        assert found is expected, (names, positive, negative)
        sizes.add(None if found is None else found.size)
    assert len(sizes) >= 4


@pytest.mark.parametrize("name", EVERY)
def test_every_operator_on_traces_of_many_words(name) -> None:
    """Its rows are what evaluation says: a formula with it is found again."""
    rng = random.Random(name)
    op = module._CODES[name]
    binary = op not in reference.UNARY
    text = f"a {name} b" if binary else f"{name} (a & b)"
    names = [name, "&"]
    if name in PAST:
        # At the first position there is no past.
        text, names = f"F !({text})", [name, "&", "F", "!"]
    target = parse(text)
    for lengths in ((1, 6), (60, 70), (120, 200)):
        positive, negative = [], []
        while min(len(positive), len(negative)) < 12 and len(positive) + len(negative) < 3000:
            chance = rng.choice([0.02, 0.3, 0.7, 0.98])
            trace = random_trace(rng, "ab", *lengths, chance)
            (positive if holds(target, trace) else negative).append(trace)
        found = learn_all(positive[:40], negative[:40], target.size, operators=names)
        assert target in found.formulas or target.size > found.size
        assert all(separates(f, positive[:40], negative[:40]) for f in found.formulas)


def many_atoms(rng, n_atoms, n_traces, length):
    """Traces over so many atoms, and the atoms."""
    atoms = [f"a{k}" for k in range(n_atoms)]
    names = np.array(atoms)
    chosen = rng.random((n_traces, length, n_atoms)) < 0.5
    return [[set(names[letter].tolist()) for letter in trace] for trace in chosen], atoms


@pytest.mark.parametrize("name", EVERY)
def test_every_operator_on_samples_with_errors(name) -> None:
    rng = random.Random(name)
    binary = module._CODES[name] not in reference.UNARY
    text = f"a {name} b" if binary else f"{name} (a & b)"
    names = [name, "&"]
    if name in PAST:
        text, names = f"F !({text})", [name, "&", "F", "!"]
    target = parse(text)
    traces = [random_trace(rng, "ab", 1, 9, rng.choice([0.1, 0.5, 0.9])) for _ in range(150)]
    wrong = set(rng.sample(range(150), 3))
    sides = ([], [])
    for index, trace in enumerate(traces):
        sides[holds(target, trace) == (index in wrong)].append(trace)
    found = learn_all(*sides, target.size, operators=names, max_errors=3)
    assert target in found.formulas or target.size > found.size
    for formula in found.formulas:
        errors = sum(not holds(formula, trace) for trace in sides[0])
        assert errors + sum(holds(formula, trace) for trace in sides[1]) <= 3


@pytest.mark.parametrize(
    "name", [name for name in EVERY if module._CODES[name] not in reference.UNARY]
)
def test_operands_among_thousands_of_atoms(name) -> None:
    rng = np.random.default_rng([5, *name.encode()])
    traces, atoms = many_atoms(rng, 4120, 60, 2)
    target = parse(f"a4100 {name} a4111")
    # First those that tell the operator from its second operand.
    chosen = sorted(traces, key=lambda trace: holds(target, trace) == ("a4111" in trace[0]))
    sides = ([], [])
    for trace in chosen[:30]:
        sides[not holds(target, trace)].append(trace)
    limits = {"atoms": atoms, "operators": [name], "memory_bytes": 1_500_000}
    found = learn(*sides, 3, **limits, max_errors=1)
    # At the first position a past operator says what its second operand does.
    assert found.size == (1 if name in PAST else target.size)
    errors = sum(not holds(found, trace) for trace in sides[0])
    assert errors + sum(holds(found, trace) for trace in sides[1]) <= 1
    # Others are not told apart by so small a formula.
    with pytest.raises(UndecidedError, match="memory: none of fewer than"):
        learn(traces[:30], traces[30:], 4, **limits)


@pytest.mark.parametrize("name", EVERY)
def test_rows_of_every_operator_count_against_the_memory(name) -> None:
    rng = np.random.default_rng(3)
    traces, atoms = many_atoms(rng, 1000, 40, 4)
    limits = {"atoms": atoms, "operators": [name]}
    with pytest.raises(UndecidedError, match=r"memory: none of fewer than [23] "):
        learn(traces[:20], traces[20:], 4, **limits, memory_bytes=100_000)
    # Those of atoms do too, and there has to be some at all.
    traces, limits["atoms"] = many_atoms(rng, 1500, 40, 4)
    with pytest.raises(UndecidedError, match="memory: none of fewer than"):
        learn(traces[:20], traces[20:], 4, **limits, memory_bytes=100_000)
    with pytest.raises(UndecidedError, match="memory: none of fewer than"):
        learn(traces[:20], traces[20:], 4, **limits, memory_bytes=1)


def test_before_the_first_position_there_is_nothing() -> None:
    traces = [[{"a"}], [{"a"}, set()], [set(), {"a"}]]
    assert learn([], traces, 3, operators=["Y"]) is parse("Y a")
    assert learn(traces, [], 3, operators=["Z"]) is parse("Z a")
    # The one trace of the other side is an error that is allowed.
    without, some = [[set()], [set(), set()]], [[{"a"}], [{"a"}, {"a"}]]
    assert learn(without[:1], some, 3, operators=["Y"], max_errors=1) is parse("Y a")
    assert learn(without, some[:1], 3, operators=["Z"], max_errors=1) is parse("Z a")


def test_formulas_that_made_the_sample_are_found_again() -> None:
    rng = random.Random(7)
    past = ("!", "G", "->", "&", "O", "Y", "S")
    for text in (
        "a U b",
        "G (a -> F b)",
        "F (a & X[!] b)",
        "G (a -> X[!] (b | c))",
        "G (a -> O b)",
        "G (a -> b S c)",
    ):
        target = parse(text)
        positive, negative = [], []
        while min(len(positive), len(negative)) < 60:
            trace = random_trace(rng, "abc", 3, 15, 0.4)
            (positive if holds(target, trace) else negative).append(trace)
        operators = past if target.has_past else LEARNING_OPERATORS
        assert learn(positive[:60], negative[:60], 8, operators=operators) is target


def test_all_solutions_are_solutions() -> None:
    rng = random.Random(3)
    positive = [random_trace(rng, "abc", 4, 12) for _ in range(8)]
    negative = [random_trace(rng, "abc", 4, 12) for _ in range(8)]
    found = learn_all(positive, negative, 8)
    assert found.n_solutions == len(found.formulas) > 1
    assert len(set(found.formulas)) == len(found.formulas)
    for formula in found.formulas:
        assert formula.size == found.size
        assert all(temporal.evaluate(formula, trace)[0] for trace in positive)
        assert not any(temporal.evaluate(formula, trace)[0] for trace in negative)
    few = learn_all(positive, negative, 8, max_formulas=1)
    assert few.formulas == found.formulas[:1]
    assert few.n_solutions == found.n_solutions
    assert learn(positive, negative, 8) is found.formulas[0]
    assert found.n_examined > found.n_distinct > 100
    assert found.formulas_per_s > 0
    assert learn(positive, negative, found.size - 1) is None


def test_errors_are_allowed_on_request() -> None:
    positive = [[{"a"}, set()], [{"a"}, {"b"}], [set(), {"b"}]]
    negative = [[set(), set()], [{"b"}, {"a"}]]
    assert learn(positive, negative, 1) is None
    assert learn(positive, negative, 1, max_errors=1) is parse("a")
    with pytest.raises(ArgumentValueError, match=r"positive\[1\] and negative\[0\] are the same"):
        learn(positive, [[{"a"}, {"b"}]], 3)
    assert learn(positive, [[{"a"}, {"b"}]], 3, max_errors=1) is parse("!b")


def test_forms_of_traces() -> None:
    good, bad = [[{"a"}, {"b"}], [{"b"}]], [[{"a"}, set()], [set()]]
    expected = learn(good, bad, 4)
    assert expected is parse("F b")
    columns = [
        [{name: np.array([name in letter for letter in t]) for name in "ab"} for t in side]
        for side in (good, bad)
    ]
    assert learn(*columns, 4) is expected
    assert learn(*[[Columns(t) for t in side] for side in columns], 4) is expected
    assert learn(*[[pack(t, ["b"]) for t in side] for side in (good, bad)], 4) is expected
    assert learn(iter(map(iter, good)), iter(map(iter, bad)), 4) is expected
    masks = [[np.array([1, 2]), np.array([2])], [np.array([1, 0]), np.array([0])]]
    assert learn(*masks, 4, atoms=["a", "b"]) is expected
    with pytest.raises(ArgumentValueError, match="masks"):
        learn(*masks, 4)
    signals = ([{"x": [0.0, 2.0]}], [{"x": [0.0, 0.5]}])
    above = predicate("x", ">", 1)
    assert learn(*signals, 4, atoms=[above]) is parse("X[!] (x > 1)")


def test_constants() -> None:
    good, bad = [[set(), set()]], [[set()]]
    assert learn(good, bad, 2, operators=["X[!]", "true"]) is parse("X[!] true")
    assert learn(bad, good, 2, operators=["N", "false"]) is parse("N false")
    assert learn(good, [], 2, operators=["N", "true"]) is parse("true")


def test_limits_are_told() -> None:
    rng = random.Random(3)
    positive = [random_trace(rng, "abc", 10, 10) for _ in range(40)]
    negative = [random_trace(rng, "abc", 10, 10) for _ in range(40)]
    with pytest.raises(UndecidedError, match="memory: none of fewer than"):
        learn(positive, negative, 30, memory_bytes=3_000_000)
    with pytest.raises(UndecidedError, match=r"timeout_s=0\.05: none of fewer than"):
        learn(positive, negative, 30, timeout_s=0.05, memory_bytes=1 << 30)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
def test_signals_stop_a_search() -> None:
    class EnoughError(Exception):
        pass

    def handle(number, frame):
        raise EnoughError

    rng = random.Random(3)
    positive = [random_trace(rng, "abc", 10, 10) for _ in range(40)]
    negative = [random_trace(rng, "abc", 10, 10) for _ in range(40)]
    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(EnoughError):
            learn(positive, negative, 30, memory_bytes=1 << 30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_errors_name_what_is_wrong() -> None:
    good, bad = [[{"a"}]], [[{"b"}]]
    with pytest.raises(ArgumentValueError, match="both be empty"):
        learn([], [], 3)
    with pytest.raises(ArgumentValueError, match=r"negative\[0\]"):
        learn(good, [[]], 3)
    with pytest.raises(ArgumentTypeError, match=r"positive\[0\].*trace\[1\]"):
        learn([[{"a"}, 2.5]], bad, 3)
    with pytest.raises(ArgumentValueError, match="max_size"):
        learn(good, bad, 0)
    with pytest.raises(ArgumentValueError, match="operators"):
        learn(good, bad, 3, operators=["X"])
    with pytest.raises(ArgumentTypeError, match="operators"):
        learn(good, bad, 3, operators="FG")
    with pytest.raises(ArgumentValueError, match="operators"):
        learn(good, bad, 3, operators=[])
    with pytest.raises(ArgumentTypeError, match="positive"):
        learn("ab", bad, 3)
    with pytest.raises(ArgumentTypeError, match="atoms"):
        learn(good, bad, 3, atoms="ab")
    with pytest.raises(ArgumentValueError, match=r"atoms\[0\]"):
        learn(good, bad, 3, atoms=[parse("F a")])
    with pytest.raises(ArgumentValueError, match="atoms must not be empty"):
        learn([[set()]], [[set(), set()]], 3)
    with pytest.raises(ValueError, match="sample"):
        Search(
            np.zeros((4, 1), np.uint64),
            np.zeros((1, 1), np.uint64),
            np.array([Op.NOT], np.int32),
            0,
            1,
            1,
            -1.0,
        )


def test_the_binding_refuses_what_is_no_sample() -> None:
    marks, atoms, ops = np.zeros((5, 2), np.uint64), np.zeros((1, 2), np.uint64), [int(Op.NOT)]
    for bad in (
        (marks[:4], atoms, ops),
        (np.zeros((5, 0), np.uint64), np.zeros((1, 0), np.uint64), ops),
        (marks, atoms[:0], ops),
        (marks, np.zeros((1, 3), np.uint64), ops),
        (marks, atoms, []),
    ):
        with pytest.raises(ValueError, match="not a sample"):
            Search(*bad[:2], np.array(bad[2], dtype=np.int32), 0, 1, 1 << 20, 1.0)


def test_repr_of_what_was_learned():
    found = learn_all([[{"a"}]], [[set()]], 2)
    assert repr(found).startswith(f"<Learned: {found.formulas[0]} ")
    assert f"of size {found.size}; {found.n_examined} examined>" in repr(found)
    nothing = learn_all([[{"a"}, {"a"}]], [[{"a"}, set()]], 1)
    assert repr(nothing).startswith("<Learned: no formula up to size 1; ")
