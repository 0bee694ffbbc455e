"""Robustness and truth over signals: offline and online, against the definitions."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import random
import struct
import sys
import threading
from collections import UserDict, UserList, deque
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from logic.snapshots import check_damage
from logic.strategies import BOOLEAN, FUTURE, PAST, formulas
from reference import temporal

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    StateLimitError,
)
from midstream._core.snapshots import sealed
from midstream.logic._flat import flatten
from midstream.logic._ops import Op
from midstream.logic._signal import PastProgram
from midstream.logic.formula import (
    atom,
    historically,
    make,
    not_,
    once,
    predicate,
    since,
    strong_next,
    true,
    until,
)
from midstream.logic.parser import parse
from midstream.logic.signals import HEADER, SignalMonitor, evaluate_timed, robustness
from midstream.logic.verdict import Verdict

INF = math.inf
quarter = st.integers(-12, 12).map(lambda number: number / 4)


@st.composite
def samples(draw, least=1, most=14):
    """Letters with two signals and two atoms, and times or None."""
    n = draw(st.integers(least, most))
    letters = [
        {"x": draw(quarter), "y": draw(quarter), "a": draw(st.booleans()), "b": draw(st.booleans())}
        for _ in range(n)
    ]
    if draw(st.booleans()):
        return letters, None
    steps = draw(st.lists(st.integers(1, 24), min_size=n, max_size=n))
    return letters, (np.cumsum(steps) / 8 - 3).tolist()


def any_formula(ops=(*BOOLEAN, *FUTURE, *PAST)):
    return formulas(("a", "b"), ops=ops, timed=True, signals=("x", "y"), leaves=7)


def columns(letters):
    return {name: np.array([letter[name] for letter in letters]) for name in letters[0]}


def expected(formula, letters, times, output):
    """By the definitions; numbers for atoms are not wanted there."""
    if output == "boolean":
        return temporal.evaluate(formula, letters, times)
    return temporal.robustness(formula, letters, times)


def as_json(values):
    return [float(value) for value in values]


def data_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_of_the_data(shared_data):
    """374 formulas, 1122 traces: offline, online of the past, settled in order, at the start."""
    seen = 0
    for row in data_rows(shared_data("logic/mtl_traces.jsonl")):
        formula = parse(row["formula"])
        for case in row["cases"]:
            seen += 1
            n = len(case["times"])
            if row["kind"] == "mtl-boolean":
                cols = {a: np.array([a in letter for letter in case["trace"]]) for a in row["vars"]}
            else:
                cols = {name: np.array(values) for name, values in case["signals"].items()}
            wanted = {"boolean": case["verdicts"]}
            if "robustness" in case:
                wanted["robustness"] = as_json(case["robustness"])
            for times in (case["times"], None) if row["time"] == "discrete" else (case["times"],):
                assert evaluate_timed(formula, cols, times).tolist() == wanted["boolean"]
                if "robustness" in wanted:
                    assert robustness(formula, cols, times).tolist() == wanted["robustness"]
                for output, values in wanted.items():
                    check_online(formula, cols, times, n, output, values)
    assert seen == 1122


def check_online(formula, cols, times, n, output, values):
    letters = [{name: column[i].item() for name, column in cols.items()} for i in range(n)]
    stamps = times or [None] * n
    if not formula.has_future:
        monitor = SignalMonitor(formula, output=output)
        steps = zip(letters, stamps, strict=True)
        assert [monitor.step(letter, time) for letter, time in steps] == values
        monitor.reset()
        assert monitor.feed(cols, times).tolist() == values
    each = SignalMonitor(formula, output=output, at="each")
    start = SignalMonitor(formula, output=output)
    if not formula.has_future:
        start = SignalMonitor(formula, output=output, at="start")
    settled = []
    interval = (-INF, INF)
    for letter, time in zip(letters, stamps, strict=True):
        settled += each.step(letter, time)
        start.step(letter, time)
        narrower = start.interval
        assert interval[0] <= narrower[0] <= narrower[1] <= interval[1]
        interval = narrower
    assert settled == values[: len(settled)]
    assert settled + each.finish() == values
    goal = values[0] if output == "robustness" else (INF if values[0] else -INF)
    assert interval[0] <= goal <= interval[1]
    assert start.finish() == values[0]


@settings(max_examples=400, deadline=None)
@given(any_formula(), samples())
def test_offline_is_the_definition(formula, trace):
    letters, times = trace
    cols = columns(letters)
    assert robustness(formula, cols, times).tolist() == expected(
        formula, letters, times, "robustness"
    )
    truth = expected(formula, letters, times, "boolean")
    assert evaluate_timed(formula, cols, times).tolist() == truth
    rows = np.array(
        [
            temporal.evaluate(atom(name) if name in "ab" else parse(name), letters, times)
            for name in formula.atoms
        ],
        dtype=bool,
    ).reshape(len(formula.atoms), len(letters))
    assert evaluate_timed(formula, rows, times).tolist() == truth


@settings(max_examples=300, deadline=None)
@given(
    any_formula((*BOOLEAN, *PAST)), samples(), st.sampled_from(["boolean", "robustness"]), st.data()
)
def test_past_online_is_the_definition(formula, trace, output, data):
    letters, times = trace
    wanted = expected(formula, letters, times, output)
    stamps = times or [None] * len(letters)
    monitor = SignalMonitor(formula, output=output)
    cut = data.draw(st.integers(0, len(letters)))
    saved = monitor.snapshot()
    for i, (letter, time) in enumerate(zip(letters, stamps, strict=True)):
        if i == cut:
            saved = monitor.snapshot()
        assert monitor.step(letter, time) == wanted[i]
    if cut == len(letters):
        saved = monitor.snapshot()
    other = SignalMonitor(formula, output=output)
    other.restore(saved)
    assert other.n_seen == (cut if cut <= len(letters) else 0)
    if cut < len(letters):
        rest = {name: column[cut:] for name, column in columns(letters).items()}
        got = other.feed(rest, times and times[cut:])
        assert got.tolist() == wanted[cut:]
    assert other.snapshot() == monitor.snapshot()


def without_end_over_future(formula):
    return any(
        node.has_future
        and node.op in PAST
        and node.interval is not None
        and node.interval.low > 0
        and node.interval.high == INF
        for node in formula.nodes()
    )


@settings(max_examples=300, deadline=None)
@given(any_formula(), samples(), st.sampled_from(["boolean", "robustness"]))
def test_future_online_is_the_definition(formula, trace, output):
    """Settled values are final, intervals only shrink, and any prefix can be the whole trace."""
    letters, times = trace
    if without_end_over_future(formula):
        with pytest.raises(ArgumentValueError, match="no end"):
            SignalMonitor(formula, at="each")
        return
    wanted = expected(formula, letters, times, output)
    stamps = times or [None] * len(letters)
    each = SignalMonitor(formula, output=output, at="each")
    start = SignalMonitor(formula, output=output, at="start")
    settled = []
    interval = (-INF, INF)
    for i, (letter, time) in enumerate(zip(letters, stamps, strict=True)):
        settled += each.step(letter, time)
        answer = start.step(letter, time)
        low, high = start.interval
        assert interval[0] <= low <= high <= interval[1]
        interval = (low, high)
        assert (answer is None) == (low < high)
        prefix = expected(formula, letters[: i + 1], times and times[: i + 1], output)
        assert start.copy().finish() == prefix[0]
        assert settled + each.copy().finish() == prefix
        if i % 3 == 2:
            each, start = pickle.loads(pickle.dumps((each, start)))
    goal = wanted[0] if output == "robustness" else (INF if wanted[0] else -INF)
    assert interval[0] <= goal <= interval[1]
    fed = SignalMonitor(formula, output=output, at="each")
    assert fed.feed(columns(letters), times).tolist() == settled
    assert settled == wanted[: len(settled)]


def wanted_directions(formula):
    """Of each input: 1 where the formula only grows with it, -1 where it only falls, else 0."""
    signs = {node: set() for node in formula.nodes()}
    signs[formula] = {1}
    found = {}
    for node in reversed(formula.nodes()):
        for index, arg in enumerate(node.args):
            flipped = node.op == Op.NOT or (node.op == Op.IMPLIES and index == 0)
            both = node.op in (Op.XOR, Op.IFF)
            signs[arg] |= {1, -1} if both else {-s if flipped else s for s in signs[node]}
        if node.atom is not None:
            found.setdefault(node.atom, set()).update(signs[node])
        elif node.predicate is not None:
            up = {">": 1, ">=": 1, "<": -1, "<=": -1}.get(node.predicate.comparison, 0)
            found.setdefault(node.predicate.signal, set()).update(up * s for s in signs[node])
    return {name: sum(set_) if len(set_) == 1 else 0 for name, set_ in found.items()}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(any_formula((Op.NOT, Op.AND, Op.OR, Op.IMPLIES, *FUTURE[2:])), samples(most=6))
def test_intervals_are_exact_where_each_input_pulls_one_way(formula, trace):
    """Then the best that can come is the best of everything, and the worst the worst."""
    towards = wanted_directions(formula)
    assume(all(towards.values()))
    # Of a constant, next and a delayed window it matters too which positions exist.
    assume(all(node.op > Op.TRUE for node in formula.nodes()))
    assume(all(node.interval is None or node.interval.low == 0 for node in formula.nodes()))
    letters, times = trace
    stamps = times or [None] * len(letters)
    monitor = SignalMonitor(formula, output="interval", at="start")
    # All windows end within this.
    n = 50 if times is None else 400
    for i, (letter, time) in enumerate(zip(letters, stamps, strict=True)):
        low, high = monitor.step(letter, time)
        for goal, sign in ((high, 1), (low, -1)):
            more = {name: INF * sign * way for name, way in towards.items()}
            more = {name: value > 0 if name in "ab" else value for name, value in more.items()}
            reached = set()
            for length in (n, 0, 1, 2):
                after = None
                if times is not None:
                    after = times[: i + 1] + (time + np.arange(1, length + 1) / 8).tolist()
                cols = columns(letters[: i + 1] + [letter | more] * length)
                reached.add(robustness(formula, cols, after)[0])
                if goal in reached:
                    break
            assert goal in reached


@settings(max_examples=100, deadline=None)
@given(st.lists(formulas(("a", "b"), ops=(*BOOLEAN, *PAST), timed=True), max_size=4), samples())
def test_several_past_formulas_step_as_one_program(some, trace):
    letters, times = trace
    some = [*some, atom("a"), ~atom("b")]
    program = PastProgram(flatten(*some, alphabet=("b", "unused", "a")))
    assert len(program) == len(some)
    wanted = [temporal.evaluate(formula, letters, times) for formula in some]
    for i, letter in enumerate(letters):
        words = np.array([letter["b"] | letter["a"] << 2], dtype=np.uint64)
        state = program.state()
        got = program.step(words, float(i) if times is None else times[i])
        assert got == [row[i] for row in wanted]
        if i == len(letters) // 2:
            program.set_state(state)
            assert program.step(words, float(i) if times is None else times[i]) == got


# ---- long traces: windows much longer than blocks and queues ----


@pytest.mark.parametrize("window", ["[0:5]", "[0:1000]", "[3:1000]", "[2000:]", "[0:100000]"])
@pytest.mark.parametrize("text", ["O{}(x > 0)", "(y > -1) S{}(x > 1)", "H{}(x > 0)"])
def test_long_traces(text, window):
    rng = np.random.default_rng(3)
    n = 5000
    x, y = np.round(rng.normal(size=n), 1), np.round(rng.normal(size=n) + 2.5, 1)
    formula = parse(text.format(window))
    low, high = formula.interval
    got = robustness(formula, {"x": x, "y": y})
    monitor = SignalMonitor(formula, output="robustness")
    assert monitor.feed({"x": x, "y": y}).tolist() == got.tolist()
    one = SignalMonitor(formula, output="robustness")
    place = [{"x": x, "y": y}[name] for name in one.inputs]
    assert [one.step(row) for row in zip(*place, strict=True)] == got.tolist()
    assert one.n_held <= 3 * min(n, high + 2)
    for i in (0, 1, 6, 1023, 1024, 1025, 3001, n - 1):
        first, last = max(0, i - min(high, n)), i - low
        window_x = x[first : last + 1] if last >= 0 else x[:0]
        if text.startswith("O"):
            wanted = (window_x).max(initial=-INF)
        elif text.startswith("H"):
            wanted = (window_x).min(initial=INF)
        else:
            wanted = max(
                (
                    min(x[j] - 1, (y[j + 1 : i + 1] + 1).min(initial=INF))
                    for j in range(first, last + 1)
                ),
                default=-INF,
            )
        assert got[i] == pytest.approx(wanted, abs=1e-12)
    # Truth needs no values, only the last time that it was true.
    truth = evaluate_timed(formula, {"x": x, "y": y})
    assert (truth[got > 0]).all()
    assert not truth[got < 0].any()
    assert SignalMonitor(formula).feed({"x": x, "y": y}).tolist() == truth.tolist()
    mirrored = parse(text.format(window).replace("O", "F").replace("H", "G").replace("S", "U"))
    backwards = robustness(mirrored, {"x": x[::-1], "y": y[::-1]})
    assert backwards[::-1].tolist() == got.tolist()


@pytest.mark.parametrize("cut", [0, 1, 5, 20])
@pytest.mark.parametrize(
    "text",
    [
        "O[0:7] (x > 0)",
        "O[3:9] (x > 0)",
        "H[3:9] (x > 0)",
        "O[4:4] (x > 0)",
        "O[2:6] (a & (x > 0))",  # minus infinity where `a` is false
        "(O[1:5] (x > 0)) S[0:4] (H[2:3] (x > -1) | O[0:8] a)",
    ],
)
def test_columns_go_on_from_samples_one_by_one_and_back(text, cut):
    """What waits in windows is handed over and back: to the samples after, it is the same."""
    rng = np.random.default_rng(cut)
    formula = parse(text)
    letters = {"x": np.round(rng.normal(size=80), 1), "a": rng.random(80) < 0.3}
    letters = {name: column for name, column in letters.items() if name in str(formula)}
    rows = [dict(zip(letters, row, strict=True)) for row in zip(*letters.values(), strict=True)]
    wanted = robustness(formula, letters).tolist()
    monitor = SignalMonitor(formula, output="robustness")
    got = [monitor.step(row) for row in rows[:cut]]
    got += monitor.feed({name: column[cut:60] for name, column in letters.items()}).tolist()
    monitor = monitor.copy()
    got += [monitor.step(row) for row in rows[60:]]
    assert got == wanted


def test_windows_between_two_samples_are_empty():
    x = np.arange(40.0)
    for text, value in (("O[0.25:0.75] (x > 0)", -INF), ("H[1.5:1.75] (x > 0)", INF)):
        formula = parse(text)
        for got in (
            robustness(formula, {"x": x}),
            SignalMonitor(formula, output="robustness").feed({"x": x}),
        ):
            assert got.tolist() == [value] * 40
        monitor = SignalMonitor(formula, output="robustness", at="each")
        assert monitor.feed({"x": x}).tolist() + monitor.finish() == [value] * 40


def test_windows_longer_than_the_buffer_hold_only_what_may_count():
    """Rising values leave one to wait, whatever the window and however samples come."""
    x = np.arange(300.0)
    for text in ("O[0:1000] (x > 7)", "O[0:90] (x > 7)"):
        formula = parse(text)
        monitor = SignalMonitor(formula, output="robustness", max_buffer=50)
        got = monitor.feed({"x": x[:200]}).tolist()
        got += [monitor.step(float(value)) for value in x[200:]]
        assert got == robustness(formula, {"x": x}).tolist() == (x - 7).tolist()
        assert monitor.n_held <= 2


def test_a_buffer_may_be_full_of_what_no_longer_counts():
    """Its limit is one of samples that still count: others in it give way."""
    x = np.random.default_rng(7).normal(size=300)
    formula = parse("F[0:9] (x > 0)")
    monitor = SignalMonitor(formula, output="robustness", at="each", max_buffer=20)
    got = monitor.feed({"x": x}).tolist()
    assert got + monitor.finish() == robustness(formula, {"x": x}).tolist()
    small = SignalMonitor(formula, output="robustness", at="each", max_buffer=8)
    with pytest.raises(StateLimitError, match="max_buffer = 8"):
        small.feed({"x": x})


def test_mixed_directions_over_blocks():
    """Past over future over past, longer than a block."""
    rng = np.random.default_rng(4)
    x = rng.integers(-8, 8, size=3000) / 4
    for text in ("O[0:3] F[2:700] H[0:2] (x > 0)", "G[0:9] (O[1:5] (x > 1) & F (x < 1)) | Y x < 0"):
        formula = parse(text)
        whole = robustness(formula, {"x": x})
        assert len(whole) == 3000
        for start in (0, 900, 2400):
            part = x[start : start + 20]
            short = temporal.robustness(formula, [{"x": value} for value in part])
            assert robustness(formula, {"x": part}).tolist() == short
    once_past = robustness(parse("O[0:3] (x > 0)"), {"x": x})
    nested = robustness(parse("F[0:2000] O[0:3] (x > 0)"), {"x": x})
    assert nested[0] == once_past[:2001].max()
    assert nested[1500] == once_past[1500:].max()


# ---- many samples wait in a window ----


def long_trace(n, seed):
    """Letters: `a` and x > 0 nearly always hold, and x falls, so that all of them have to wait."""
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) < 0.97, rng.random(n) < 0.1
    a[: n // 3] = True
    b[: n // 4] = True
    x = np.arange(n, 0.0, -1) / 4
    x[n // 2 :] = rng.integers(-8, 40, n - n // 2) / 4
    y = rng.integers(-1, 40, n) / 4
    rows = zip(a.tolist(), b.tolist(), x.tolist(), y.tolist(), strict=True)
    return [dict(zip("abxy", row, strict=True)) for row in rows]


def taken(monitor, letters, times, how):
    """Answers after each sample: at "each", those that are told; at "start", the intervals."""
    cols = columns(letters)
    answers = []
    start = 0
    if how == "feed":
        start = 2 * len(letters) // 3
        fed = monitor.feed({k: v[:start] for k, v in cols.items()}, times and times[:start])
        answers = list(map(tuple, fed.tolist())) if monitor.output == "interval" else fed.tolist()
        if monitor.at == "start":
            answers = [monitor.interval]
    for i in range(start, len(letters)):
        if how == "copy" and i % 37 == 20:
            monitor = monitor.copy()
        answer = monitor.step(letters[i], times and times[i])
        if monitor.at == "each":
            answers += answer
        else:
            answers.append(monitor.interval if monitor.at == "start" else answer)
    # The end may come right after a restored snapshot.
    return answers, monitor.copy() if how == "copy" else monitor


def check_long(text, letters, times, ways=("step", "feed", "copy")):
    formula = parse(text)
    cols = columns(letters)
    numbers = temporal.robustness(formula, letters, times)
    truths = temporal.evaluate(formula, letters, times)
    assert robustness(formula, cols, times).tolist() == numbers
    assert evaluate_timed(formula, cols, times).tolist() == truths
    for output, wanted in (
        ("boolean", truths),
        ("robustness", numbers),
        ("interval", [(value, value) for value in numbers]),
    ):
        for at in ("start", "each") if formula.has_future else ("now", "start", "each"):
            for how in ways:
                monitor = SignalMonitor(formula, output=output, at=at)
                answers, monitor = taken(monitor, letters, times, how)
                case = (text, output, at, how)
                if at == "now":
                    assert answers == wanted, case
                elif at == "each":
                    assert answers == wanted[: len(answers)], case
                    assert answers + monitor.finish() == wanted, case
                else:
                    goal = wanted[0]
                    if output != "interval":
                        value = numbers[0] if output == "robustness" else INF * (2 * goal - 1)
                    else:
                        value = numbers[0]
                    for low, high in answers:
                        assert low <= value <= high, case
                    assert monitor.finish() == goal, case


DELAYED = (
    "F{} a",
    "G{} !a",
    "F{} x > 0",
    "G{} x <= 0",
    "a U{} b",
    "!a R{} !b",
    "(y >= 0) U{} (x > 0)",
    "O{} a",
    "H{} !a",
    "O{} x > 0",
    "a S{} a",
    "!a T{} !a",
    "(y >= 0) S{} (x > 0)",
)


@pytest.mark.parametrize("low", [1, 15, 16, 17, 64, 200])
def test_any_number_of_samples_waits(low):
    """Rings had no more room than 16 where more than they held was asked for at once."""
    letters = long_trace(low + 200 if low > 64 else 2 * low + 200, low)
    for number, text in enumerate(DELAYED):
        window = f"[{low}:{low + (0, 3, 30)[number % 3]}]"
        ways = ("step", "feed", "copy") if low in (17, 64) else ("step",)
        check_long(text.format(window), letters, None, ways)


@pytest.mark.parametrize("text", ["F[1:3] x > 0", "G[0.5:1] x > 0", "y >= 0 U[0.3:0.6] x > 0"])
def test_many_samples_in_little_time(text):
    """10 ms apart: windows of seconds hold hundreds."""
    letters = long_trace(900, 5)
    times = (np.arange(900) / 100).tolist()
    check_long(text, letters, times, ("step", "copy"))
    mirrored = text.replace("F", "O").replace("G", "H").replace("U", "S")
    check_long(mirrored, letters, times, ("feed", "copy"))


@pytest.mark.parametrize(
    "text",
    [
        "O[3:90] F[0:3] x > 0",
        "F[3:60] O[3:90] x > 0",
        "(y >= 0) U[20:40] (O[3:90] x > 0)",
        "F[20:40] a & G[30:60] !b",
        "((y >= 0) S[30:60] (x > 0)) U[2:20] (H[17:40] a)",
        "X X[!] O[20:] (x > 2)",
        "F[20:40] (b & F[3:60] (x > 4))",
        "G[0:90] (b -> F[2:50] (a <-> X G[5:20] (x > 0)))",
        "O[0:9] F[7:30] (b & X (a U[5:40] b))",
    ],
)
def test_many_samples_wait_in_nested_windows(text):
    check_long(text, long_trace(400, 6), None)


def test_values_are_told_as_soon_as_they_are_certain():
    """A delayed window of truth values is settled by its first witness or by its end."""
    monitor = SignalMonitor(parse("F[40:80] a"), at="each")
    a = np.arange(600) % 64 == 63
    a[:100] = True
    told = 0
    for i in range(600):
        got = monitor.step({"a": bool(a[i])})
        before = told
        while told + 40 <= i and (
            a[told + 40 : told + 81][: i - told - 39].any() or told + 80 <= i
        ):
            told += 1
        assert got == [bool(a[k + 40 : k + 81].any()) for k in range(before, told)]
    always = SignalMonitor(parse("H (G[20:20] p)"))
    answers = [always.step({"p": False}) for _ in range(60)]
    assert answers == [None] * 20 + [False] * 40
    assert always.verdict is Verdict.FALSE


def test_snapshots_hold_no_trace_of_what_was_forgotten():
    for text in ("O[1:3] x > 1", "F[0:9] a & G[0:9] b", "y > 1 U[2:4] x > 1", "a U (F b)", "X a"):
        for output in ("boolean", "robustness"):
            for at in ("start", "each"):
                monitor = SignalMonitor(parse(text), output=output, at=at)
                fresh = monitor.snapshot()
                monitor.feed(columns(long_trace(60, 7)))
                monitor.reset()
                assert monitor.snapshot() == fresh
    program = PastProgram(flatten(parse("O[1:3] a")))
    fresh = program.state()
    program.step(np.array([1], np.uint64), 0.0)
    assert program.state().tolist() != fresh.tolist()
    program.reset()
    assert program.state().tolist() == fresh.tolist()


def test_states_with_more_waiting_than_there_were_samples_are_refused():
    monitor = SignalMonitor(parse("F[0:3] x > 1"), output="robustness", at="each")
    whole, numbers = monitor._state()
    forged = np.append(numbers, np.zeros(10))
    forged[len(numbers) - 1] = 5
    assert not monitor._set_state(whole, forged)
    assert monitor._set_state(whole, numbers)


# ---- deadlines ----


def test_deadline_is_seen_by_an_event_and_by_a_tick():
    monitor = SignalMonitor(parse("G (a -> F[0:5] b)"))
    assert monitor.step({"a"}, 1.0) is None
    assert monitor.step({"b"}, 6.0) is None  # just in time
    assert monitor.step({"a"}, 7.0) is None
    assert monitor.n_held <= 16
    before = monitor.snapshot()
    assert monitor.step(set(), 12.5) is False
    assert monitor.verdict is Verdict.FALSE
    assert monitor.step({"b"}, 13.0) is False
    monitor.restore(before)
    assert monitor.advance(11.5) is None
    assert monitor.step({"b"}, 11.75) is None
    assert monitor.verdict is Verdict.INCONCLUSIVE
    monitor.restore(before)
    assert monitor.advance(7.0) is None  # the time of the last event: nothing new
    assert monitor.advance(12.0) is False  # no event at 12.0 will follow
    with pytest.raises(ArgumentValueError, match=r"got 12.0 after 12.0"):
        monitor.step({"b"}, 12.0)


def test_verdicts_come_as_soon_as_they_are_certain():
    steps = [
        SignalMonitor(parse("a U[2:4] b")).feed({"a": a, "b": b})
        for a, b in (
            ([1, 1, 1, 1], [1, 0, 0, 1]),
            ([1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 1]),
            ([1, 0, 1, 1], [0, 0, 1, 1]),
        )
    ]
    assert [row.tolist() for row in steps] == [
        [-1, -1, -1, 1],
        [-1, -1, -1, -1, 0, 0],
        [-1, 0, 0, 0],
    ]
    robust = SignalMonitor(parse("G (x > 1)"), output="interval")
    assert robust.step(3.0) == (-INF, 2.0)
    assert robust.step(0.5) == (-INF, -0.5)
    assert robust.verdict is Verdict.FALSE
    assert robust.step(0.75) == (-INF, -0.5)
    assert robust.finish() == (-0.5, -0.5)


def test_interval_of_nested_windows():
    monitor = SignalMonitor(parse("F[0:1] G[0:2] (x > 0)"), output="interval")
    assert monitor.step(5.0) == (-INF, INF)
    assert monitor.step(1.0) == (-INF, 1.0)
    assert monitor.step(3.0) == (1.0, 1.0)
    assert monitor.horizon == 3.0


def test_bounded_future_with_delay_is_constant_in_memory():
    monitor = SignalMonitor(parse("F[0:50] (x > 0)"), output="robustness", at="each")
    x = np.sin(np.arange(3000.0))
    got = monitor.feed({"x": x})
    assert got.tolist() == robustness(monitor.formula, {"x": x})[: len(got)].tolist()
    assert len(got) == 3000 - 50
    assert monitor.n_held <= 256
    top = SignalMonitor(parse("G (x > -2)"), output="interval")
    top.feed({"x": x})
    assert top.n_held <= 64


@pytest.mark.parametrize("high", [5, 400, 100_000])
def test_timed_until_in_order(high):
    """The maps of a window, folded in a queue: with a delay, without, and under other windows."""
    rng = np.random.default_rng(high)
    x, y = rng.normal(size=1500), rng.normal(size=1500)
    y[rng.random(1500) < 0.9] += 3
    times = np.cumsum(rng.integers(1, 5, size=1500)) / 4
    for text in (
        "(y > 0) U[0:{}] (x > 1)",
        "(y > 0) U[2:{}] (x > 1)",
        "(y < 0) R[1:{}] (x < 1)",
        "G[0:3] ((y > 0) U[3:{}] (x > 1)) | X (x > 2)",
        "O[0:9] ((y > 0) U[0:{}] F[1:2] (x > 1))",
    ):
        formula = parse(text.format(high))
        for stamps in (None, times):
            wanted = robustness(formula, {"x": x, "y": y}, stamps)
            monitor = SignalMonitor(formula, output="robustness", at="each")
            half = None if stamps is None else stamps[:700]
            got = monitor.feed({"x": x[:700], "y": y[:700]}, half).tolist()
            monitor = monitor.copy()
            rest = None if stamps is None else stamps[700:]
            got += monitor.feed({"x": x[700:], "y": y[700:]}, rest).tolist()
            assert got == wanted[: len(got)].tolist()
            assert len(got) > 1400 or high > 5
            assert got + monitor.finish() == wanted.tolist()


@pytest.mark.parametrize("output", ["boolean", "robustness"])
@pytest.mark.parametrize(
    "text",
    [
        "Y F[0:3] a",
        "Z (b U a)",
        "Y X[!] a",
        "Y F a -> O[0:5] F[0:3] b",
        "(Y G[1:3] b) S[0:6] (X a)",
        "X X a",
    ],
)
def test_past_of_what_is_not_known_yet(text, output):
    """A step back from the newest position is known only later; one ahead of the last never."""
    rng = np.random.default_rng(len(text))
    n = 90
    letters = {"a": rng.random(n) < 0.3, "b": rng.random(n) < 0.6}
    formula = parse(text)
    letters = {name: letters[name] for name in formula.atoms}
    offline = evaluate_timed if output == "boolean" else robustness
    for size in (1, 2, 17, n):
        some = {name: column[:size] for name, column in letters.items()}
        monitor = SignalMonitor(formula, output=output, at="each")
        got = []
        for row in zip(*some.values(), strict=True):
            got += monitor.step(dict(zip(some, row, strict=True)))
        assert got + monitor.finish() == offline(formula, some).tolist()


@pytest.mark.parametrize("output", ["boolean", "robustness"])
@pytest.mark.parametrize("text", ["X[!] a", "X a", "F[0:2] a", "Y F[1:3] a", "F a", "a U[0:2] !a"])
def test_time_may_pass_before_the_first_sample(text, output):
    formula = parse(text)
    a = np.array([1, 0, 0, 1, 0, 1, 1, 0], bool)
    times = np.arange(8.0)
    wanted = (evaluate_timed if output == "boolean" else robustness)(formula, {"a": a}, times)
    each = SignalMonitor(formula, output=output, at="each")
    start = SignalMonitor(formula, output=output, at="start")
    for time in (-9.0, -0.5):
        assert each.advance(time) == []
        assert start.advance(time) is None
    each, start = each.copy(), start.copy()
    got = []
    for value, time in zip(a.tolist(), times.tolist(), strict=True):
        got += each.step({"a": value}, time)
        start.step({"a": value}, time)
    assert got + each.finish() == wanted.tolist()
    assert start.finish() == wanted[0]


def test_what_was_settled_before_a_position_is_not_of_it():
    """The operand of F becomes known at 0 as well, which is before the position that counts."""
    formula = parse("X F G[0:2] b")
    for b in ([1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 0, 1, 1, 1], [1, 1, 1, 1]):
        letters = {"b": np.array(b, bool)}
        start = SignalMonitor(formula)
        told = [start.step({"b": bool(value)}) for value in b]
        wanted = evaluate_timed(formula, letters)[0]
        assert set(told) <= {None, wanted}
        assert start.finish() is bool(wanted)
    # G[0:2] b is true at 0 after three samples, and at 1 it is not.
    assert told == [None, None, None, True]


def test_unbounded_response_costs_only_what_changes():
    """Each request waits: what is open grows, yet a step looks only at what changed."""
    monitor = SignalMonitor(parse("G (a -> F b)"))
    n = 20_000
    answers = monitor.feed({"a": np.ones(n, bool), "b": np.zeros(n, bool)})
    assert (answers == -1).all()
    assert monitor.step({"b"}) is None
    assert monitor.step({"a": False}) is None
    assert monitor.finish() is True


@settings(max_examples=300, deadline=None)
@given(any_formula((*BOOLEAN, *FUTURE)), samples(most=24), st.data())
def test_truth_is_told_when_the_interval_has_a_sign(formula, trace, data):
    """Truth values look at what changes, intervals go over what is open: both know the same."""
    letters, times = trace
    # No robustness is zero, which would have no sign.
    letters = [letter | {"x": letter["x"] + 1 / 8, "y": letter["y"] + 1 / 8} for letter in letters]
    stamps = times or [None] * len(letters)
    truth = SignalMonitor(formula, at="start")
    each = SignalMonitor(formula, at="each")
    intervals = []  # one monitor for each position, which is the first that it sees
    told = []
    for letter, time in zip(letters, stamps, strict=True):
        if data.draw(st.booleans()):
            truth, each = truth.copy(), each.copy()
        ticked = [time]
        if times and data.draw(st.booleans()):
            ticked.append(time + 1 / 16)
        intervals.append(SignalMonitor(formula, output="interval", at="start"))
        for number, now in enumerate(ticked):
            for monitor in (truth, *intervals):
                monitor.advance(now) if number else monitor.step(letter, now)
            told += each.advance(now) if number else each.step(letter, now)
            known = [monitor.verdict for monitor in intervals]
            assert truth.verdict is known[0]
            certain = [verdict is not Verdict.INCONCLUSIVE for verdict in known]
            assert len(told) == [*certain, False].index(False)
            assert told == [verdict is Verdict.TRUE for verdict in known[: len(told)]]


PENDING = (
    "G (a -> F[{}:90000] b)",
    "G (a -> (c U[{}:90000] b))",
    "F[{}:90000] (c & G[0:90000] c)",
    "G (a -> F[{}:90000] (b & F[0:90000] c))",
    "G (a -> X F (b & F[{}:90000] c))",
    "G[{}:90000] (a -> G[0:90000] F[{}:9000] c)",
)


@pytest.mark.parametrize("text", PENDING)
@pytest.mark.parametrize("low", [0, 7])
def test_pending_obligations_cost_only_what_changes(text, low):
    """Each position waits, or most do: to go over them at each of 50,000 samples takes minutes."""
    n = 50_000
    index = np.arange(n)
    letters = {"a": index >= 0, "b": index % 9973 == 9000, "c": index % 7 != 3}
    if text.startswith("F"):
        letters["c"] = index >= 0
    formula = parse(text.format(low, low))
    letters = {name: column for name, column in letters.items() if name in formula.atoms}
    wanted = evaluate_timed(formula, letters).tolist()
    start = SignalMonitor(formula)
    answers = set(start.feed(letters).tolist()) | {int(start.finish())}
    assert answers <= {-1, int(wanted[0])}
    each = SignalMonitor(formula, at="each")
    assert each.feed(letters).tolist() + each.finish() == wanted


# ---- arguments ----


def both():
    return SignalMonitor(parse("O[0:2] (a & x > 1)"), output="robustness")


def test_forms_of_samples():
    monitor = both()
    assert monitor.inputs == ("a", "x")
    samples = (
        {"a": True, "x": 3.0},
        {"x": 3},
        (True, 3.0),
        [1, 3],
        np.array([1.0, 3.0]),
        (np.bool_(True), np.float32(3)),
    )
    answers = [both().step(sample) for sample in samples]
    assert answers == [2.0, -INF, 2.0, 2.0, 2.0, 2.0]
    atoms = parse("a & !b")
    for sample in ({"a"}, frozenset("a"), 1, np.int64(1), (1, 0), {"a": 1}, [True, False]):
        assert SignalMonitor(atoms).step(sample) is True, sample
    for number in (2, 2.0, np.float64(2), np.int32(2), [2.0], True + 1):
        assert SignalMonitor(parse("x > 1.5")).step(number) is True
    assert SignalMonitor(parse("a")).step(True) is True
    assert SignalMonitor(true).step({}) is True
    assert SignalMonitor(parse("x > 1e300")).step(INF) is True


def test_samples_of_every_kind_of_container():
    atoms, wanted = parse("a & !b"), True
    for sample in (
        UserDict({"a": True}),
        MappingProxyType({"a": 1, "b": 0}),
        {"a": 1}.keys(),
        deque([True, False]),
        UserList([1, 0]),
    ):
        assert SignalMonitor(atoms).step(sample) is wanted, sample
    with pytest.raises(ArgumentTypeError, match="2 values"):
        both().step({"a": 1}.keys())
    for number in (Decimal("2.5"), Fraction(5, 2), np.array(2.5)):
        assert SignalMonitor(parse("x > 1.5")).step(number) is True
    with pytest.raises(ArgumentTypeError, match="2 values"):
        both().step(2.5)
    with pytest.raises(ArgumentTypeError, match="2 values"):
        both().step(np.array(2.5))


@pytest.mark.parametrize("n", [3, 62, 63, 64, 70])
def test_masks_of_few_atoms_and_of_many(n):
    """A monitor that holds where exactly the even atoms do."""
    names = [f"p{k:02}" for k in range(n)]
    monitor = SignalMonitor(parse(" & ".join(f"{'!' * (k % 2)}{a}" for k, a in enumerate(names))))
    assert monitor.inputs == tuple(names)
    even = sum(1 << k for k in range(0, n, 2))
    assert monitor.step(even) is True
    assert monitor.step({names[k] for k in range(0, n, 2)}) is True
    for k in range(n):
        assert monitor.step(even ^ 1 << k) is False
    for bad in (-1, 1 << n, even | 1 << 80, -(1 << 80)):
        with pytest.raises(ArgumentValueError, match=f"mask of the {n} atoms"):
            monitor.step(bad)
    assert monitor.n_seen == n + 2


def test_a_sample_that_changes_while_it_is_read():
    class Number:
        def __float__(self):
            sample.append(0.0)
            return 3.0

    sample = [True, Number()]
    monitor = both()
    try:
        assert monitor.step(sample) == 2.0
    except ArgumentTypeError as error:
        assert "2 values" in str(error)
        assert monitor.step((True, 3.0)) == 2.0


def test_times_of_every_kind_of_number():
    monitor = SignalMonitor(parse("O[0:2] a"))
    for time in (1, 1.5, Fraction(7, 4), Decimal("1.875"), np.float32(2), np.int16(3)):
        assert monitor.step({"a"}, time) is True
    with pytest.raises(ArgumentTypeError, match="time"):
        monitor.step({"a"}, 1j)
    with pytest.raises(ArgumentTypeError, match="got None"):
        monitor.advance(None)


@pytest.mark.parametrize(
    ("sample", "error", "words"),
    [
        ({"a": True, "x": math.nan}, ArgumentValueError, "'x' must not be NaN"),
        ((True, math.nan), ArgumentValueError, "NaN"),
        ({"a": True}, ArgumentValueError, "must have 'x', a signal"),
        ({"a": 0.5, "x": 1.0}, ArgumentValueError, "'a' must be true or false"),
        ({"a": True, "x": "1"}, ArgumentTypeError, "real number"),
        ({"a": True, "x": 10**400}, ArgumentValueError, "too large"),
        ((1.0,), ArgumentTypeError, "2 values in the order of inputs"),
        ({"a"}, ArgumentTypeError, "2 values"),
        (3, ArgumentTypeError, "2 values"),
        ("ab", ArgumentTypeError, "2 values"),
        (None, ArgumentTypeError, "2 values"),
    ],
)
def test_bad_samples_change_nothing(sample, error, words):
    monitor = both()
    monitor.step((True, 4.0), 1.0)
    before = monitor.snapshot()
    with pytest.raises(error, match=words):
        monitor.step(sample, 2.0)
    assert monitor.snapshot() == before
    assert monitor.step((False, 4.0), 2.0) == 3.0


@pytest.mark.parametrize(
    ("time", "error", "words"),
    [
        (5.0, ArgumentValueError, "must increase: got 5.0 after 5.0"),
        (4, ArgumentValueError, "got 4 after 5.0"),
        (math.nan, ArgumentValueError, "finite"),
        (INF, ArgumentValueError, "finite"),
        (2**60, ArgumentValueError, "too far"),
        (2**90, ArgumentValueError, "64 bits"),
        ("6", ArgumentTypeError, "number"),
        (True, ArgumentTypeError, "number"),
        (None, ArgumentValueError, "must be given"),
    ],
)
def test_bad_times_change_nothing(time, error, words):
    for text in ("O[0:2] a", "F[0:2] a"):
        monitor = SignalMonitor(parse(text))
        monitor.step({"a"}, 5.0)
        before = monitor.snapshot()
        with pytest.raises(error, match=words):
            monitor.step({"a"}, time)
        assert monitor.snapshot() == before


def test_times_for_some_samples_only():
    monitor = SignalMonitor(parse("O[0:2] a"))
    monitor.step({"a"})
    with pytest.raises(ArgumentValueError, match="must be left out"):
        monitor.step({"a"}, 5.0)
    with pytest.raises(ArgumentValueError, match="must be left out"):
        monitor.feed({"a": [True]}, times=[5.0])
    with pytest.raises(ArgumentValueError, match="must be left out"):
        monitor.advance(5.0)


def test_nanoseconds_since_1970_are_exact():
    now = 1_900_000_000_123_456_789
    for text in ("O[0:5] a", "F[0:5] a"):
        formula = parse(text)
        times = [now, now + 3, now + 5, now + 6, now + 11]
        a = [True, False, False, False, False]
        if formula.has_future:
            a, times = a[::-1], [2 * now - t for t in reversed(times)]
        wanted = temporal.evaluate(formula, [{"a": value} for value in a], times)
        assert evaluate_timed(formula, {"a": a}, np.array(times)).tolist() == wanted
        monitor = SignalMonitor(formula, at="each")
        got = []
        for value, time in zip(a, times, strict=True):
            got += monitor.step({"a": value}, time)
        assert got + monitor.finish() == wanted
    monitor = SignalMonitor(parse("O[0:5] a"))
    assert monitor.feed({"a": [1, 0]}, [now, now + 5]).tolist() == [True, True]
    with pytest.raises(ArgumentValueError, match=f"got {now + 5} after {now + 5}"):
        monitor.step({"a": 0}, now + 5)
    with pytest.raises(ArgumentTypeError, match="integer"):
        monitor.step({"a": 0}, float(now + 1000))
    assert monitor.feed({"a": [0]}, np.array([now + 6])).tolist() == [False]
    assert monitor.step({"a": 0}, now + 7) is False


def test_feed_refuses_and_takes_nothing():
    monitor = both()
    monitor.feed({"a": [1], "x": [2.0]}, [1.0])
    before = monitor.snapshot()
    good = {"a": [True, False], "x": [1.0, 2.0]}
    for signals, times, words in (
        (good, [2.0, 2.0], r"times\[1\] is 2.0 after 2.0"),
        (good, [0.5, 2.0], "got 0.5 after 1.0"),
        (good, None, "must be given"),
        (good, [2.0], "must have 1 samples"),
        ({"a": [True]}, [2.0], "must have 'x', a signal"),
        ({"x": [1.0]}, [2.0], "must have 'a', an atom"),
        ({"a": [True, True], "x": [1.0, math.nan]}, [2.0, 3.0], "NaN, got it at 1"),
        ({"a": [True, 3], "x": [1.0, 1.0]}, [2.0, 3.0], "booleans"),
        (np.ones((2, 3)), [2.0, 3.0], "2 columns"),
    ):
        with pytest.raises(ArgumentValueError, match=words):
            monitor.feed(signals, times)
        assert monitor.snapshot() == before
    assert monitor.feed({"a": [], "x": []}, []).tolist() == []
    assert monitor.feed(np.empty((0, 2)), []).tolist() == []
    assert monitor.feed(np.array([[0, 1.0], [1, 5.0]]), [2.0, 3.0]).tolist() == [1.0, 4.0]
    for at in ("start", "each"):
        for output in ("boolean", "robustness", "interval"):
            future = SignalMonitor(parse("F[0:2] x > 1"), at=at, output=output)
            assert len(future.feed([])) == 0
            assert future.n_seen == 0


def test_offline_refuses():
    formula = parse("F[0:2] (x > 1) & a")
    x, a = [1.0, 2.0], [True, False]
    for signals, times, error, words in (
        ({"x": x}, None, ArgumentValueError, "must have 'a', an atom"),
        ({"x": x, "a": [True]}, None, ArgumentValueError, "2 samples"),
        ({"x": [], "a": []}, None, ArgumentValueError, "must have a sample"),
        ({"x": [1, math.nan], "a": a}, None, ArgumentValueError, "NaN"),
        ({"x": [[1.0]], "a": a}, None, ArgumentTypeError, "one-dimensional"),
        ({"x": ["1", "2"], "a": a}, None, ArgumentTypeError, "numbers"),
        ({"x": x, "a": a}, [1.0, 1.0], ArgumentValueError, "increase"),
        ({"x": x, "a": a}, [1, 2, 3], ArgumentValueError, "3 samples"),
        ({"x": x, "a": a}, [1.0, INF], ArgumentValueError, "finite"),
        ({"x": x, "a": a}, [0, 2**60], ArgumentValueError, "2\\*\\*53"),
        ({"x": x, "a": a}, ["1", "2"], ArgumentTypeError, "numbers"),
        ([1.0, 2.0], None, ArgumentTypeError, "mapping"),
    ):
        with pytest.raises(error, match=words):
            robustness(formula, signals, times)
    with pytest.raises(ArgumentTypeError, match="Formula"):
        robustness(None, {"x": x})
    with pytest.raises(ArgumentValueError, match="both as atom and as signal"):
        robustness(parse("x & x > 1"), {"x": x})
    assert robustness(true, {"x": x}).tolist() == [INF, INF]
    assert robustness(parse("x > 1"), {"x": [INF, -INF]}).tolist() == [INF, -INF]
    difference = robustness(parse("(x > 1) <-> (x < 1)"), {"x": [INF, 1.0]})
    assert difference.tolist() == [-INF, 0.0]


def test_monitor_refuses():
    with pytest.raises(ArgumentValueError, match="'now'"):
        SignalMonitor(parse("F a"), at="now")
    with pytest.raises(ArgumentValueError, match="output"):
        SignalMonitor(parse("a"), output="truth")
    with pytest.raises(ArgumentValueError, match="max_buffer"):
        SignalMonitor(parse("a"), max_buffer=0)
    with pytest.raises(ArgumentValueError, match="must have 'a', an atom"):
        SignalMonitor(parse("a"), missing="error").step({})
    with pytest.raises(ArgumentValueError, match="must have a sample before"):
        SignalMonitor(parse("F a")).finish()
    done = SignalMonitor(parse("F a"))
    done.step({"a"})
    assert done.finish() is True
    with pytest.raises(ArgumentValueError, match="ended"):
        done.step({"a"})
    with pytest.raises(ArgumentValueError, match="ended"):
        done.feed({"a": [True]})


def test_buffers_have_a_limit():
    x = -np.arange(300.0)
    for text, at in (
        ("H[0:1000] (x < 1)", "now"),
        ("O[5:1000] (x > 1)", "now"),
        ("(x > -999) S[5:1000] (x > 1)", "now"),
        ("O[200:] (x > 1)", "now"),
        ("F[0:1000] (x > 1)", "each"),
        ("G F (x > 1)", "start"),
    ):
        monitor = SignalMonitor(parse(text), output="robustness", at=at, max_buffer=100)
        taken = 0
        with pytest.raises(StateLimitError, match="max_buffer = 100") as caught:
            for value in x:
                monitor.step(float(value))
                taken += 1
        assert caught.value.limit == 100
        assert 99 <= taken <= 101
        assert monitor.n_seen == taken
        before = monitor.snapshot()
        with pytest.raises(StateLimitError):
            monitor.step(0.0)
        assert monitor.snapshot() == before
        fed = SignalMonitor(parse(text), output="robustness", at=at, max_buffer=100)
        with pytest.raises(StateLimitError):
            fed.feed(x)
        assert fed.n_seen == taken
        assert fed.snapshot() == before


def test_windows_of_any_length_hold_what_they_must():
    """Booleans of a window without delay hold nothing, whatever its length."""
    for high in (5, 1000, 10**6):
        monitor = SignalMonitor(once(atom("a"), 0, high))
        monitor.feed({"a": np.ones(5000, bool)})
        assert monitor.n_held == 0
        falling = SignalMonitor(historically(predicate("x", ">", 0), 0, high), output="robustness")
        falling.feed({"x": -np.arange(5000.0)})
        assert falling.n_held == 1
        rising = SignalMonitor(historically(predicate("x", ">", 0), 0, high), output="robustness")
        rising.feed({"x": np.arange(5000.0)})
        assert rising.n_held == min(5000, high + 1)


def test_deep_and_wide_formulas():
    limit = sys.getrecursionlimit()
    deep = atom("a")
    for i in range(10_000):
        deep = (not_(deep), once(deep, 0, 3), strong_next(deep), since(true, deep, 1, 2))[i % 4]
    assert sys.getrecursionlimit() == limit
    a = np.ones(3000, bool)
    assert len(evaluate_timed(deep, {"a": a})) == 3000
    past = atom("a")
    for i in range(10_000):
        past = (not_(past), once(past, 0, 3), historically(past, 0, 2), since(true, past, 1, 2))[
            i % 4
        ]
    monitor = SignalMonitor(past)
    assert [monitor.step({"a"}) for _ in range(3)] == evaluate_timed(past, {"a": a[:3]}).tolist()
    ahead = atom("a")
    for i in range(2000):
        ahead = (not_(ahead), until(true, ahead, 0, 1), strong_next(ahead))[i % 3]
    start = SignalMonitor(ahead)
    assert start.step({"a"}) is None
    wide = make(parse("a & b").op, [predicate("x", ">", i) for i in range(1000)])
    assert robustness(wide, {"x": [1.0]}).tolist() == [-998.0]


def test_snapshots_are_checked():
    monitor = SignalMonitor(parse("F[0:3] G[0:2] (x > 1)"))
    monitor.feed([1.0, 2.0, 3.0])
    good = monitor.snapshot()
    other = SignalMonitor(parse("F[0:3] G[0:2] (x > 2)"))
    damaged = bytearray(good)
    damaged[100] ^= 1
    for snapshot, words in (
        (bytes(damaged), "damaged"),
        (b"", "must come from"),
        (good[:-9], "damaged"),
    ):
        with pytest.raises(ArgumentValueError, match=words):
            monitor.restore(snapshot)
    check_damage(monitor, good)
    with pytest.raises(ArgumentValueError, match="same formula"):
        other.restore(good)
    with pytest.raises(ArgumentTypeError, match="bytes"):
        monitor.restore("text")
    assert monitor.snapshot() == good
    program = PastProgram(flatten(parse("O[1:3] a")))
    with pytest.raises(ArgumentValueError, match="same formulas"):
        program.set_state(np.array([1.0, 2.0]))
    with pytest.raises(ArgumentValueError, match="same formulas"):
        program.set_state(np.array([0.0, 0.0, 1e300, 0.0, 0.0] * 2))


def test_what_is_known_does_not_change_while_time_stands_still():
    for first in (5.0, 1_900_000_000_123_456_789):
        monitor = SignalMonitor(parse("F[0:10] a"))
        assert monitor.step({"b"}, first) is None
        for _ in range(2):
            assert monitor.advance(first) is None
        assert monitor.advance(first + 20) is False
        assert monitor.advance(first + 20) is False
        with pytest.raises(ArgumentValueError, match="must increase"):
            monitor.advance(first + 19)


def test_a_program_of_the_past_needs_words():
    program = PastProgram(flatten(parse("O[1:3] a")))
    with pytest.raises(ValueError, match="no words"):
        program.step(np.empty(0, np.uint64), 0.0)
    letters = np.array([[1], [0], [0], [0], [0]], np.uint64)
    held = [program.step(letter, float(k))[0] for k, letter in enumerate(letters)]
    assert held == [False, True, True, True, False]


def test_methods_of_formulas_come_here():
    formula = parse("G[0:2] (x > 1)")
    assert formula.robustness({"x": [3, 2, 4, 5]}).tolist() == [1.0, 1.0, 3.0, 4.0]
    monitor = SignalMonitor(formula)
    assert "after 0 samples" in repr(monitor)


def test_two_threads_on_one_monitor_get_an_error_and_no_crash() -> None:
    monitor = SignalMonitor(parse("(x > 0) S[1:400] (x > 1)"), output="robustness")
    samples = np.random.default_rng(0).normal(size=200_000)
    refused: list[str] = []
    started = threading.Event()

    def feed() -> None:
        started.set()
        for _ in range(8):
            try:
                monitor.feed({"x": samples})
            except MidstreamError as error:
                refused.append(str(error))

    thread = threading.Thread(target=feed)
    thread.start()
    started.wait()
    while thread.is_alive():
        for call in (lambda: monitor.step(1.5), monitor.snapshot, monitor.reset):
            try:
                call()
            except MidstreamError as error:
                refused.append(str(error))
    thread.join()
    assert set(refused) <= {"another thread is feeding this monitor: give each its own copy()"}
    monitor.reset()
    assert monitor.step(1.5) == -np.inf


FORGED = (
    "F[0,5] (x>1)",
    "G[2,4] (x>1)",
    "(x>0) U[1,6] (y>0)",
    "(x>0) R[0,7] (y>1)",
    "(x>0) S[1,4] (y>0)",
    "(x>0) S[2,inf] (y>0)",
    "O[1,4] F[0,3] (x>0)",
    "F[1,3] O[0,4] (x>1)",
    "F[0,4] F[1,3] (x>0)",
    "(x>0) S[2,9] F[0,3] (y>0)",
    "G ((x>0) -> F[0,8] (y>0))",
    "G[0,3] (x>1) | H[0,2] (y<0)",
    "X (x>0) & Y (y>0)",
    "(x>0) U (Y (y>0) ^ X[!] (x>1))",
)


def forged_states(rng, saved):
    """Each number and each counter of a snapshot changed, and the checksum made to fit."""
    wild = (0.0, 1.0, -1.0, 3.0, 17.0, 1e6, 2.0**53, 1e300, INF, -INF, math.nan, 0.5)
    body = saved[:-4]
    for at in range(HEADER.size - 56, len(body), 8):
        code = "<q" if at < HEADER.size else "<d"
        (old,) = struct.unpack_from(code, body, at)
        news = (rng.choice(wild), old + rng.choice((-2, -1, 1, 2, 10)))
        if code == "<q":
            news = (rng.choice((0, 1, -1, 3, 2**52, 2**63 - 1, -(2**63))), old + 1, max(old - 1, 0))
        for new in news:
            forged = bytearray(body)
            struct.pack_into(code, forged, at, new)
            yield sealed(bytes(forged))


@pytest.mark.parametrize("output", ["boolean", "robustness", "interval"])
@pytest.mark.parametrize("at", [None, "start", "each"])
def test_forged_snapshots_do_no_harm(output, at):
    rng = random.Random(f"{output} {at}")
    refused = kept = 0
    for text in FORGED:
        formula = parse(text)
        if at is not None and not formula.has_future:
            continue
        monitor = SignalMonitor(formula, output=output, at=at, max_buffer=500)
        names = monitor.inputs
        trace = [{name: rng.uniform(-2, 2) for name in names} for _ in range(60)]
        for sample in trace[: rng.choice((1, 9, 30))]:
            monitor.step(sample)
        saved = monitor.snapshot()
        for forged in forged_states(rng, saved):
            try:
                monitor.restore(forged)
            except ArgumentValueError:
                assert monitor.snapshot() == saved
                refused += 1
                continue
            kept += 1
            try:
                for sample in trace:
                    monitor.step(sample)
                monitor.finish()
            except ArgumentValueError as error:
                assert "trace has ended" in str(error) or "must be given" in str(error)
            monitor.restore(saved)
    assert refused > 100 and kept > 100


def numbers_of(saved):
    """The header of a snapshot as a list of its fields, and the numbers of its state."""
    fields = list(HEADER.unpack_from(saved))
    return fields, np.frombuffer(saved[HEADER.size : -4], "<f8").tolist()


def snapshot_of(fields, numbers):
    head = HEADER.pack(*fields[:-1], len(numbers))
    return sealed(head + np.array(numbers, "<f8").tobytes())


def after(text, letters, **options):
    monitor = SignalMonitor(parse(text), **options)
    for letter in letters:
        monitor.step(letter)
    return monitor


def small_states():
    """Monitors of little state, whose queues and streams hold something."""
    falling = [{"x": 1.0 + k / 8, "y": 5.0 - k} for k in range(5)]
    yield after("O[1:4] a", [{"a"}] * 2)
    yield after("a S[2:6] b", [{"b"}, {"a", "b"}, {"a"}])
    yield after("O[0:3] a", [{"a"}, set()])
    yield after("(x > 0) S[2:9] (y > 0)", falling, output="robustness")
    yield after("F[0:8] a", [set(), {"a"}, set(), set()], at="each")
    yield after("X X F a", [{"a"}])
    yield after("X F[0:9] a", [set()] * 3)
    yield after("F[0:90] a", [set()] * 40)
    yield after("F[2:9] (x > 0)", falling, output="robustness", at="each")
    yield after("(x > 0) U[2:4] (y > 0)", falling, output="robustness", at="each")


def restored(monitor, forged):
    """Whether a forged snapshot is taken: then as it is, and going on from it does no harm."""
    before = monitor.snapshot()
    try:
        monitor.restore(forged)
    except ArgumentValueError:
        assert monitor.snapshot() == before
        return False
    assert monitor.snapshot() == forged
    try:
        for _ in range(3):
            monitor.step(dict.fromkeys(monitor.inputs, 1.0))
        monitor.finish()
    except ArgumentValueError as error:
        assert "trace has ended" in str(error) or "must be given" in str(error)
    monitor.restore(before)
    return True


def test_no_number_of_a_state_may_be_just_any():
    """Each number of some small states as each of some others, which may be taken: NaN never."""
    wild = (0.0, 1.0, -1.0, 3.0, 0.5, 1e300, INF, -INF, math.nan)
    for monitor in small_states():
        fields, numbers = numbers_of(monitor.snapshot())
        taken = []
        for at in range(len(numbers)):
            for value in wild:
                changed = [*numbers[:at], value, *numbers[at + 1 :]]
                if restored(monitor, snapshot_of(fields, changed)):
                    taken.append(value)
        assert math.nan not in taken
        assert len(numbers) < len(taken) < (len(wild) - 1) * len(numbers)


@pytest.mark.parametrize(
    ("text", "letters", "at", "values"),
    [
        ("F[0:3] a", [set()] * 3, "each", (INF, INF)),  # known, and not the oldest that is open
        ("X X F a", [{"a"}], "start", (1.0, INF)),  # known before its first sample
        ("a | F b", [set()] * 40, "start", (0.0, INF)),  # not known, its sample forgotten
    ],
)
def test_no_two_numbers_of_a_state_may_be_just_any(text, letters, at, values):
    monitor = after(text, letters, at=at)
    fields, numbers = numbers_of(monitor.snapshot())
    refused = 0
    for places in itertools.combinations(range(len(numbers)), 2):
        changed = list(numbers)
        for place, value in zip(places, values, strict=True):
            changed[place] = value
        refused += not restored(monitor, snapshot_of(fields, changed))
    assert refused > len(numbers) * (len(numbers) - 1) / 4


def test_no_number_of_a_state_may_be_missing():
    for monitor in small_states():
        fields, numbers = numbers_of(monitor.snapshot())
        past = fields[-2]
        for size in range(len(numbers)):
            for kept in (past, min(past, max(size - 3, 0))):
                forged = snapshot_of([*fields[:-2], kept, fields[-1]], numbers[:size])
                assert not restored(monitor, forged)
        assert not restored(monitor, snapshot_of(fields, [*numbers, 0.0]))
        assert restored(monitor, snapshot_of(fields, numbers))


@pytest.mark.parametrize("text", ["O[0:4] (x > 0)", "O[2:6] (x > 0)"])
def test_a_forged_past_ends_with_its_window(text):
    """Whatever time a sample is said to be of, columns go on, and soon it counts no more."""
    x = np.cos(np.arange(40.0))
    formula = parse(text)
    monitor = after(text, [{"x": 9.0 - k} for k in range(9)], output="robustness")
    saved = monitor.snapshot()
    fields, numbers = numbers_of(saved)
    wanted = robustness(formula, {"x": x}).tolist()
    taken = 0
    for at in range(len(numbers)):
        for value in (-50.0, 2.5, 8.0):
            forged = snapshot_of(fields, [*numbers[:at], value, *numbers[at + 1 :]])
            if not restored(monitor, forged):
                continue
            taken += 1
            monitor.restore(forged)
            assert monitor.feed({"x": x}).tolist()[7:] == wanted[7:]
            monitor.restore(saved)
    assert taken > 3
