"""Evaluation 64 positions a word, against the definitions."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logic.strategies import BINARY, BOOLEAN, FUTURE, PAST, formulas, traces
from reference import temporal

import midstream
from midstream._core._cpu import available_levels
from midstream.errors import ArgumentTypeError, ArgumentValueError, MemoryLimitError
from midstream.logic import columns as module
from midstream.logic._columns import Program, pack_masks, pack_rows, unpack_rows
from midstream.logic._flat import flatten
from midstream.logic._ops import Op
from midstream.logic.columns import (
    Columns,
    evaluate,
    evaluate_many,
    evaluate_packed,
    holds,
    pack,
    unpack,
)
from midstream.logic.formula import TIMED, and_, atom, eventually, false, make, true, until
from midstream.logic.parser import parse

#: Around the borders of words, of the lanes of a vector and of blocks.
LENGTHS = (1, 2, 7, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 513, 1000)
DISTANCES = (0, 1, 2, 3, 31, 62, 63, 64, 65, 127, 128, 130)


def random_formula(rng, depth, atoms="abc"):
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([true, false, *(atom(name) for name in atoms * 4)])
    op = rng.choice((*BOOLEAN, *FUTURE, *PAST))
    args = [random_formula(rng, depth - 1, atoms) for _ in range(2 if op in BINARY else 1)]
    window = None
    if op in TIMED and rng.random() < 0.6:
        low = rng.choice(DISTANCES)
        window = (low, rng.choice([math.inf, *(low + more for more in DISTANCES)]))
    return make(op, args, window)


def random_trace(rng, n, atoms="abc"):
    chance = rng.choice([0.01, 0.1, 0.5, 0.9])
    return [{name for name in atoms if rng.random() < chance} for _ in range(n)]


def in_every_form(formula, trace):
    """The truth of all positions from each form of a trace, as lists."""
    names = sorted({name for letter in trace for name in letter} | set(formula.atoms))
    rows = {name: np.array([name in letter for letter in trace]) for name in names}
    bit = {name: 1 << index for index, name in enumerate(formula.atoms)}
    masks = [sum(bit[name] for name in letter if name in bit) for letter in trace]
    packed = pack(trace, names)
    yield evaluate(formula, trace)
    yield evaluate(formula, tuple(map(frozenset, trace)))
    yield evaluate(formula, [{name: name in letter for name in names} for letter in trace])
    yield evaluate(formula, iter(trace))
    if names:
        yield evaluate(formula, rows)
        yield evaluate(formula, {name: row[::-1][::-1] for name, row in rows.items()})
        yield evaluate(formula, Columns(rows))
    if len(formula.atoms) <= 64:
        yield evaluate(formula, np.array(masks, dtype=np.uint64))
    yield evaluate(formula, masks)
    yield evaluate(formula, packed)
    yield unpack(evaluate_packed(formula, packed), len(trace))


def test_random_formulas_at_the_borders_of_words() -> None:
    rng = random.Random(5)
    for _ in range(400):
        formula = random_formula(rng, rng.randint(1, 4))
        trace = random_trace(rng, rng.choice(LENGTHS[:9]))
        expected = temporal.evaluate(formula, trace)
        for found in in_every_form(formula, trace):
            assert found.dtype == np.bool_
            assert found.tolist() == expected, str(formula)
        assert holds(formula, trace) is expected[0]


@given(formulas(timed=True), traces(most=70))
def test_the_definitions(formula, trace) -> None:
    assert evaluate(formula, trace).tolist() == temporal.evaluate(formula, trace)


def every_formula(size):
    """By size, over two atoms; unary operators first."""
    by_size = {1: [atom("a"), atom("b")]}
    unary = [op for op in (*BOOLEAN, *FUTURE, *PAST) if op not in BINARY]
    for total in range(2, size + 1):
        made = [make(op, [f]) for op in unary for f in by_size[total - 1]]
        for left in range(1, total - 1):
            for f, g in itertools.product(by_size[left], by_size[total - 1 - left]):
                made += [make(op, [f, g]) for op in BINARY]
        by_size[total] = made
    return [formula for made in by_size.values() for formula in made]


def test_every_small_formula_over_every_short_trace() -> None:
    """All formulas of up to three nodes and some of four; all traces of up to four letters."""
    letters = [set(), {"a"}, {"b"}, {"a", "b"}]
    listed = [list(t) for n in range(1, 5) for t in itertools.product(letters, repeat=n)]
    small = every_formula(3)
    four = random.Random(1).sample(every_formula(4), 60)
    for trace in listed:
        rows = evaluate_many(small, trace)
        for formula, row in zip(small, rows, strict=True):
            if len(trace) < 4 or formula.size < 3:
                assert row.tolist() == temporal.evaluate(formula, trace), (str(formula), trace)
    for trace in random.Random(2).sample(listed, 60):
        for formula, row in zip(four, evaluate_many(four, trace), strict=True):
            assert row.tolist() == temporal.evaluate(formula, trace), (str(formula), trace)


def by_recursion(op, left, right):
    """The unbounded operators one position after the other: fast enough for long columns."""
    n = len(left)
    out = np.zeros(n, dtype=bool)
    past = op >= Op.YESTERDAY
    value = op in (Op.WEAK_UNTIL, Op.RELEASE, Op.TRIGGER, Op.ALWAYS, Op.HISTORICALLY)
    for i in range(n) if past else range(n - 1, -1, -1):
        if op in (Op.UNTIL, Op.WEAK_UNTIL, Op.SINCE):
            value = right[i] or (left[i] and value)
        elif op in (Op.RELEASE, Op.TRIGGER, Op.STRONG_RELEASE):
            value = right[i] and (left[i] or value)
        elif op in (Op.EVENTUALLY, Op.ONCE):
            value = left[i] or value
        else:
            value = left[i] and value
        out[i] = value
    return out


@pytest.mark.parametrize("n", [1023, 65_537])
def test_long_traces_across_blocks(n) -> None:
    rng = np.random.default_rng(n)
    a, b = atom("a"), atom("b")
    for chance in (0.5, 0.9999, 1e-4):
        left, right = rng.random(n) < chance, rng.random(n) < 1 - chance
        trace = Columns({"a": left, "b": right})
        for op in (Op.UNTIL, Op.WEAK_UNTIL, Op.RELEASE, Op.STRONG_RELEASE, Op.SINCE, Op.TRIGGER):
            expected = by_recursion(op, left, right)
            np.testing.assert_array_equal(evaluate(make(op, [a, b]), trace), expected)
        for op in (Op.EVENTUALLY, Op.ALWAYS, Op.ONCE, Op.HISTORICALLY):
            expected = by_recursion(op, left, right)
            np.testing.assert_array_equal(evaluate(make(op, [a]), trace), expected)
        counts = np.concatenate([[0], np.cumsum(left)])
        for low, high in ((0, 10), (3, 3), (64, 64), (100, 40_000), (n - 1, n + 5), (n, 2 * n)):
            i = np.arange(n)
            upto = np.minimum(i + high + 1, n)
            ahead = counts[upto] > counts[np.minimum(i + low, upto)]
            np.testing.assert_array_equal(evaluate(eventually(a, low, high), trace), ahead)
            before = counts[np.maximum(i - low + 1, 0)] > counts[np.maximum(i - high, 0)]
            once = make(Op.ONCE, [a], (low, high))
            np.testing.assert_array_equal(evaluate(once, trace), before)


LEVELS = """
import hashlib, random
import numpy as np
from logic.test_columns import LENGTHS, random_formula, random_trace
from midstream.logic.columns import evaluate, evaluate_packed, pack
digest = hashlib.sha256()
rng = random.Random(11)
for _ in range(500):
    formula = random_formula(rng, rng.randint(1, 5))
    trace = random_trace(rng, rng.choice(LENGTHS))
    digest.update(evaluate_packed(formula, pack(trace, ["a", "b", "c"])).tobytes())
    rows = {name: np.array([name in letter for letter in trace]) for name in "abc"}
    digest.update(evaluate(formula, rows).tobytes())
    masks = [sum(1 << i for i, name in enumerate(formula.atoms) if name in x) for x in trace]
    digest.update(evaluate(formula, np.array(masks, dtype=np.uint64)).tobytes())
print(digest.hexdigest())
"""


def test_every_level_returns_the_same_bits() -> None:
    digests = set()
    for level in available_levels():
        root = Path(midstream.__file__).parents[1]
        environment = {
            **os.environ,
            "MIDSTREAM_SIMD": level,
            "PYTHONPATH": os.pathsep.join([str(root), str(Path(__file__).parents[1])]),
        }
        done = subprocess.run(
            [sys.executable, "-P", "-c", LEVELS],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1
    assert len(digests.pop().strip()) == hashlib.sha256().digest_size * 2


@settings(max_examples=60)
@given(formulas(timed=True), traces(most=20), st.data())
def test_windows_in_time(formula, trace, data) -> None:
    steps = data.draw(
        st.lists(st.sampled_from([0.125, 0.5, 1.0, 3.25]), min_size=len(trace), max_size=len(trace))
    )
    times = np.cumsum(steps)
    expected = temporal.evaluate(formula, trace, times.tolist())
    assert evaluate(formula, trace, times).tolist() == expected
    assert evaluate(formula, pack(trace, ["a", "b", "c"]), times).tolist() == expected


def test_times_that_round_at_a_bound() -> None:
    """0.1 + 0.2 is above 0.3, and 0.3 - 0.1 below 0.2: the difference decides."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        times = np.unique(rng.integers(0, 40, 30)) / 10
        n = len(times)
        trace = [{name for name in "ab" if rng.random() < 0.4} for _ in range(n)]
        formula = until(atom("a"), atom("b"), 0.2, 0.7) | make(Op.ONCE, [atom("a")], (0.3, 1.1))
        assert evaluate(formula, trace, times).tolist() == temporal.evaluate(
            formula, trace, times.tolist()
        )


def test_predicates_of_signals() -> None:
    x = np.array([0.0, 1.0, 2.0, -1.0])
    formula = parse("x >= 1 S y < 0.5")
    signals = {"x": x, "y": np.array([0, 1, 1, 1])}
    letters = [dict(zip(signals, row, strict=True)) for row in zip(*signals.values(), strict=True)]
    expected = temporal.evaluate(formula, letters)
    assert evaluate(formula, signals).tolist() == expected
    assert evaluate(formula, letters).tolist() == expected
    assert evaluate(formula, pack(signals, formula)).tolist() == expected
    assert evaluate(formula, pack(letters, formula), [0, 1, 2, 3]).tolist() == expected
    with pytest.raises(ArgumentValueError, match="NaN"):
        evaluate(formula, {**signals, "y": [0, math.nan, 0, 0]})


def test_fractional_windows_count_whole_steps() -> None:
    trace = [set(), {"a"}, set(), set(), set()]
    assert evaluate(parse("O[0.5:1.5] a"), trace).tolist() == [False, False, True, False, False]
    assert evaluate(parse("F[0.2:0.8] a"), trace).tolist() == [False] * 5
    assert evaluate(parse("G[0.2:0.8] a"), trace).tolist() == [True] * 5
    assert evaluate(parse("a U[0.2:0.8] b"), trace).tolist() == [False] * 5
    assert evaluate(parse("a R[0.2:0.8] b"), trace).tolist() == [True] * 5


def test_more_atoms_than_a_word_has_bits() -> None:
    names = [f"a{index}" for index in range(150)]
    formula = and_(*(parse(f"{name} -> F {other}") for name, other in itertools.pairwise(names)))
    rng = random.Random(3)
    trace = [{name for name in names if rng.random() < 0.05} for _ in range(80)]
    expected = temporal.evaluate(formula, trace)
    for found in in_every_form(formula, trace):
        assert found.tolist() == expected


def test_formulas_without_atoms() -> None:
    trace = [{"a"}, set(), {"b"}]
    assert evaluate(parse("X[!] true", next="strong"), trace).tolist() == [True, True, False]
    assert evaluate(parse("Y true"), trace).tolist() == [False, True, True]
    for form in (trace, iter(trace), {"x": [0, 1, 2]}, np.array([0, 0, 0]), pack(trace, ["a"])):
        assert evaluate(true, form).tolist() == [True] * 3
        assert evaluate(false, pack(trace, []), [0, 1, 2]).tolist() == [False] * 3
    assert evaluate(true, trace, [0, 1, 2]).tolist() == [True] * 3
    assert evaluate(parse("F[1:2] true"), np.array([0, 0, 0]), [0, 1, 2]).tolist() == [
        True,
        True,
        False,
    ]


def test_many_formulas_share_one_program() -> None:
    texts = ["a", "a", "F a", "O F a", "F O F a", "b U a", "true", "!a", "X a", "a S b"]
    listed = [parse(text) for text in texts]
    trace = random_trace(random.Random(9), 200, "ab")
    for formula, row in zip(listed, evaluate_many(listed, trace), strict=True):
        np.testing.assert_array_equal(row, evaluate(formula, trace))


def test_programs_are_small() -> None:
    def program(text):
        flat = flatten(parse(text))
        return Program(flat.ops, flat.left, flat.right, flat.low, flat.high, flat.roots, 9)

    assert program("G(a -> F b) & (c U d)").n_passes == 1
    assert program("O a & (b S c)").n_passes == 1
    assert program("F O a").n_passes == program("O F a").n_passes == 2
    assert program("F O a & O F a").n_passes == 3
    assert program("F F F F F F a").n_registers == 2
    # A window of any length is one step and a delay.
    assert program("F[1000:90000] a").n_steps == program("F[10:30] a").n_steps


def test_deep_and_wide_formulas() -> None:
    trace = random_trace(random.Random(4), 130, "ab")
    deep = atom("a")
    for index in range(10_000):
        deep = make((Op.EVENTUALLY, Op.ONCE, Op.NEXT)[index % 3], [deep])
    assert evaluate(deep, trace).all() == any("a" in letter for letter in trace)
    wide = and_(*(parse(f"x{index} -> F[0:9] y{index}") for index in range(3000)))
    assert evaluate(wide, trace).all()
    assert not evaluate(wide, [*trace, {"x17"}]).any(where=np.arange(131) == 130)
    # Registers go back to where they came from.
    assert evaluate(wide, {"x1": np.ones(100_000, bool)})[:5].tolist() == [False] * 5


def test_memory_is_refused_before_it_is_taken() -> None:
    formula = atom("a")
    for index in range(3000):
        formula = make(Op.EVENTUALLY, [formula], (2**40 - index, 2**41)) | atom("b")
    trace = {"a": np.zeros(100, bool), "b": np.zeros(100, bool)}
    assert not evaluate(formula, trace).any()
    program = module._lowered(formula).program
    assert program.bytes_needed(100) < 1e7
    assert program.bytes_needed(2**42) > 1e12
    with pytest.raises(MemoryLimitError):
        module._check_memory(program, 2**42)


@pytest.mark.parametrize(
    "trace",
    [[], (), {}, {"a": []}, np.array([], dtype=np.uint8), iter([])],
    ids=["list", "tuple", "mapping", "columns", "masks", "iterator"],
)
def test_the_empty_trace_is_an_error(trace) -> None:
    for formula in (atom("a"), true):
        if not hasattr(trace, "__next__"):
            with pytest.raises(ArgumentValueError, match="at least one position"):
                evaluate(formula, trace, [])
        with pytest.raises(ArgumentValueError, match="at least one position"):
            evaluate(formula, trace)


def test_errors_name_what_is_wrong() -> None:
    a = atom("a")
    for bad in ({"a"}, None, 3):
        with pytest.raises(ArgumentTypeError, match="formula"):
            evaluate(bad, [{"a"}])
    with pytest.raises(ArgumentTypeError, match=r"trace\[1\]"):
        evaluate(a, [{"a"}, 2.5])
    with pytest.raises(ArgumentTypeError, match=r"trace\[0\]"):
        evaluate(a, [{3}])
    with pytest.raises(ArgumentTypeError, match="trace"):
        evaluate(a, 5)
    with pytest.raises(ArgumentValueError, match="missing"):
        evaluate(a, [{"a"}], missing="no")
    with pytest.raises(ArgumentValueError, match="'a'"):
        evaluate(a, [{"b": True}], missing="error")
    with pytest.raises(ArgumentValueError, match="'a'"):
        evaluate(a, {"b": [True]}, missing="error")
    with pytest.raises(ArgumentValueError, match="'a'"):
        evaluate(a, Columns({"b": [True]}), missing="error")
    assert not evaluate(a, Columns({"b": [True]})).any()
    with pytest.raises(ArgumentValueError, match="positions"):
        evaluate(a, {"a": np.ones(3, bool), "b": np.ones(4, bool)})
    for times, message in (([0, 1, 1], "increase"), ([0, 1], "3"), ([0, 1, math.nan], "finite")):
        with pytest.raises(ArgumentValueError, match=message):
            evaluate(a, [{"a"}] * 3, times)
    with pytest.raises(ArgumentTypeError, match="times"):
        evaluate(a, [{"a"}] * 3, ["x", "y", "z"])
    with pytest.raises(ArgumentTypeError, match="several"):
        evaluate_many(a, [{"a"}])
    with pytest.raises(ArgumentValueError, match="formulas"):
        evaluate_many([], [{"a"}])
    with pytest.raises(ArgumentTypeError, match=r"formulas\[1\]"):
        evaluate_many([a, 3], [{"a"}])
    with pytest.raises(ArgumentTypeError, match="columns"):
        evaluate_packed(a, [{"a"}])


def test_columns() -> None:
    words = np.array([[0xFF], [0b10]], dtype=np.uint64)
    trace = Columns.from_words(["a", "b"], words, 3)
    assert len(trace) == trace.n == 3
    assert list(trace) == ["a", "b"]
    assert "a" in trace
    assert "c" not in trace
    assert trace.words.tolist() == [[0b111], [0b10]]
    assert words[0, 0] == 0xFF
    assert not trace.words.flags.writeable
    assert repr(trace) == "Columns(n=3, atoms=('a', 'b'))"
    assert trace["b"].tolist() == [False, True, False]
    with pytest.raises(ArgumentValueError, match="'c'"):
        trace["c"]
    with pytest.raises(ArgumentTypeError, match="uint64"):
        Columns.from_words(["a"], np.array([[1]]), 3)
    with pytest.raises(ArgumentValueError, match="words"):
        Columns.from_words(["a"], words, 3)
    with pytest.raises(ArgumentValueError, match="once"):
        Columns.from_words(["a", "a"], words, 3)
    with pytest.raises(ArgumentTypeError, match="bool"):
        Columns({"a": [0.5, 1]})
    with pytest.raises(ArgumentTypeError, match="keys"):
        Columns({3: [True]})
    with pytest.raises(ArgumentValueError, match="position"):
        Columns({})
    with pytest.raises(ArgumentTypeError, match="alphabet"):
        pack([{"a"}], "ab")
    with pytest.raises(ArgumentValueError, match="once"):
        pack([{"a"}], ["a", "a"])
    with pytest.raises(ArgumentTypeError, match="uint64"):
        unpack(np.array([1]), 3)
    with pytest.raises(ArgumentValueError, match="words"):
        unpack(words, 65)
    assert unpack(words, 2).tolist() == [[True, True], [False, True]]


def test_the_binding_refuses_what_is_no_formula() -> None:
    def build(ops, left, right, low=0.0, high=math.inf, roots=(0,)):
        n = len(ops)
        ints = [np.array(x, dtype=np.int32) for x in (ops, left, right)]
        return Program(*ints, np.full(n, low), np.full(n, high), np.array(roots, dtype=np.int32), 1)

    build([Op.ATOM, Op.NOT], [0, 0], [-1, -1], roots=[1])
    for ops, left, right in (
        ([99], [-1], [-1]),
        ([-1], [-1], [-1]),
        ([Op.ATOM], [1], [-1]),
        ([Op.NOT], [0], [-1]),
        ([Op.NOT], [-1], [-1]),
        ([Op.ATOM, Op.AND], [0, 0], [-1, -1]),
        ([Op.ATOM, Op.AND], [0, 0], [-1, 1]),
    ):
        with pytest.raises(ValueError, match="not a formula"):
            build(ops, left, right)
    with pytest.raises(ValueError, match="not a formula"):
        build([Op.ATOM], [0], [-1], roots=[1])
    for low, high in ((math.nan, 9.0), (-1.0, 2.0), (3.0, 2.0), (0.0, math.nan), (2.0**54, 1e300)):
        with pytest.raises(ValueError, match="not a formula"):
            build([Op.ATOM], [0], [-1], low=low, high=high)
    with pytest.raises(ValueError, match="not a formula"):
        build([Op.ATOM], [-1], [-1])
    with pytest.raises(ValueError, match="not a formula"):
        build([Op.ATOM], [0], [-1], roots=[-1])
    with pytest.raises(ValueError, match="no formula"):
        build([], [], [])


def test_the_binding_refuses_what_are_no_columns() -> None:
    def program(roots=(2,), more=()):
        ops, left, right = [Op.ATOM, Op.ATOM, Op.AND], [0, 1, 0], [-1, -1, 1]
        ints = [np.array(x, dtype=np.int32) for x in (ops, left, right)]
        bounds = np.zeros(3), np.full(3 + len(more), math.inf)
        return Program(*ints, *bounds, np.array(roots, dtype=np.int32), 2)

    with pytest.raises(ValueError, match="not as many operands"):
        program(more=(1,))
    with pytest.raises(ValueError, match="no formula"):
        program(roots=())
    both = program()
    rows, index = np.array([[5], [4]], np.uint64), np.array([0, 1], np.int32)
    assert both.run_packed(rows, index, 3, True).tolist() == [[4]]
    assert both.run_packed(rows, np.array([0, -1], np.int32), 3, True).tolist() == [[0]]
    for bad in ((rows, index[:1], 3), (rows, index, 0), (rows, index, 65)):
        with pytest.raises(ValueError, match="not the columns of the atoms"):
            both.run_packed(*bad, True)
    for wrong in (-2, 2):
        with pytest.raises(IndexError, match="no such row"):
            both.run_packed(rows, np.array([0, wrong], np.int32), 3, True)
    true_, none = np.ones(3, np.uint8), np.empty(0, np.uint8)
    assert both.run_rows([true_, true_], 3, False).tolist() == [[True] * 3]
    for bad, n in (([true_], 3), ([none, none], 0)):
        with pytest.raises(ValueError, match="not the columns of the atoms"):
            both.run_rows(bad, n, False)
    with pytest.raises(ValueError, match="columns of different lengths"):
        both.run_rows([true_, true_[:2]], 3, False)
    with pytest.raises(ValueError, match="dtype"):
        both.run_rows([true_, np.ones(3)], 3, False)
    for masks in (np.zeros((0, 1), np.uint64), np.zeros((3, 0), np.uint64)):
        with pytest.raises(ValueError, match="not letters of the atoms"):
            both.run_masks(masks, False)
        with pytest.raises(ValueError, match="not letters of the atoms"):
            pack_masks(masks, 2)
    with pytest.raises(ValueError, match="no position"):
        pack_rows(np.empty((2, 0), np.uint8))
    for words, n in ((rows, 0), (rows, 65)):
        with pytest.raises(ValueError, match="not packed columns"):
            unpack_rows(words, n)


def test_metric_data(shared_data) -> None:
    """Verdicts of the shared traces, with step windows and with timestamps."""
    checked = 0
    with shared_data("logic/mtl_traces.jsonl").open() as lines:
        for line in lines:
            row = json.loads(line)
            formula = parse(row["formula"])
            for case in row["cases"]:
                trace = case.get("signals") or case["trace"]
                found = evaluate(formula, trace, case["times"])
                assert found.tolist() == [bool(v) for v in case["verdicts"]], row["formula"]
                if row["time"] == "discrete" and case["times"] == list(range(len(found))):
                    assert evaluate(formula, trace).tolist() == found.tolist()
                checked += 1
    assert checked == 1122
