"""`Monitor`: verdicts by every way in, against the definitions."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import random
import struct
import threading
from collections import UserDict
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from logic.snapshots import check_damage
from reference import temporal

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, StateLimitError
from midstream._core.snapshots import sealed
from midstream.logic import monitor as monitor_module
from midstream.logic._monitor import Tables
from midstream.logic.automaton import compile
from midstream.logic.formula import Op, always, and_, atom, eventually, implies, make, not_, true
from midstream.logic.infinite import ltl3_machine
from midstream.logic.monitor import Monitor
from midstream.logic.parser import parse
from midstream.logic.verdict import Verdict

LETTERS = temporal.letters("ab")
T, F, PT, PF, INC = (
    Verdict.TRUE,
    Verdict.FALSE,
    Verdict.PRESUMABLY_TRUE,
    Verdict.PRESUMABLY_FALSE,
    Verdict.INCONCLUSIVE,
)


def mask(letter, alphabet):
    return sum(1 << alphabet.index(name) for name in letter)


def random_formula(rng, size):
    if size <= 1:
        return rng.choice([atom("a"), atom("b"), atom("a"), atom("b"), true])
    unary = [Op.NOT, Op.NEXT, Op.STRONG_NEXT, Op.EVENTUALLY, Op.ALWAYS]
    unary += [Op.YESTERDAY, Op.ONCE, Op.HISTORICALLY]
    binary = [Op.AND, Op.OR, Op.IMPLIES, Op.XOR, Op.UNTIL, Op.RELEASE, Op.WEAK_UNTIL, Op.SINCE]
    op = rng.choice(unary if size == 2 else unary + binary)
    if op in unary:
        return make(op, [random_formula(rng, size - 1)])
    left = rng.randrange(1, size - 1)
    return make(op, [random_formula(rng, left), random_formula(rng, size - 1 - left)])


def test_verdicts_against_all_continuations():
    rng = random.Random(1)
    words = [w for n in range(1, 6) for w in itertools.product(LETTERS, repeat=n)]
    for _ in range(25):
        size = rng.randrange(2, 6)
        formula = random_formula(rng, size)
        values = {w: temporal.holds(formula, w) for w in words}
        monitor = Monitor(formula, alphabet=("a", "b"))
        for prefix in (w for n in range(4) for w in itertools.product(LETTERS, repeat=n)):
            monitor.reset()
            monitor.feed(prefix)
            # What ends here counts, and all that goes on; two letters more tell so small formulas.
            rest = [values[w] for w in words if w[: len(prefix)] == prefix]
            rest += [] if prefix else [False]
            verdict = monitor.verdict
            if verdict.final:
                assert set(rest) == {verdict == T}, (formula, prefix)
            else:
                assert set(rest) == {True, False}, (formula, prefix)
                assert (verdict == PT) == values.get(prefix, False), (formula, prefix)


def test_every_row_of_the_data(shared_data):
    with shared_data("logic/monitor_ltl3.jsonl").open() as lines:
        rows = [json.loads(line) for line in lines]
    codes = {"true": T, "false": F, "inconclusive": INC, "T": T, "F": F, "pT": PT, "pF": PF}
    three, four = {}, {}
    for row in rows:
        text, atoms = row["formula"], tuple(row["atoms"])
        if text not in three:
            formula = parse(text, next="strong")
            three[text] = Monitor(formula, alphabet=atoms, semantics="ltl3")
            four[text] = Monitor(formula, alphabet=atoms, semantics="rv-ltl")
        trace = [set(letter) for letter in row["trace"]]
        masks = np.array([mask(letter, atoms) for letter in trace], dtype=np.uint8)
        for monitor, expected in ((three[text], row["verdicts"]), (four[text], row["rvltl"])):
            expected = [codes[v] for v in expected]
            monitor.reset()
            assert [monitor.step(letter) for letter in trace] == expected, text
            monitor.reset()
            assert [monitor.step(int(m)) for m in masks] == expected, text
            monitor.reset()
            assert monitor.feed(masks).tolist() == expected, text
            assert monitor.verdict == expected[-1]
            final = [v.final for v in expected]
            if monitor.decided_at != -1:
                assert monitor.decided_at == (final.index(True) if any(final) else None), text
        assert three[text].copy().verdict == three[text].verdict
        fresh = three[text].copy()
        fresh.reset()
        assert fresh.verdict == codes[row["verdict_empty"]]


FORMS = [
    ("few states, few atoms", "G(a -> F b) & G(c -> X !d)"),
    ("many states, few atoms", "G(a -> F[0:6] b) & G(c -> F[2:5] d)"),
    ("16 states, 7 atoms", "G(a -> F b) & G(c -> F d) & G(e -> F f) & F g"),
    ("11 atoms", " & ".join(f"(G(r{i} -> F a{i}))" for i in range(5)) + " & F z"),
    ("14 atoms", " & ".join(f"(p{i} | F q{i})" for i in range(7))),
    ("19 atoms, few read", "G(p3 -> F q9) & F p17"),
    ("40 atoms, many states", "G(p3 -> F[0:6] q9) & F p34 & G(c -> F d)"),
    ("64 atoms", " & ".join(f"F p{i}" for i in (0, 1, 63)) + " & G(a -> X b)"),
    ("90 atoms", " & ".join(f"F p{i}" for i in (0, 1, 70)) + " & G(a -> X b)"),
]


def alphabet_of(name, formula):
    if name[:2] in ("19", "40", "64", "90"):
        extra = [f"p{i}" for i in range(int(name[:2]) - 2)]
        extra = [n for n in extra if n not in formula.atoms] + list(formula.atoms)
        missing = int(name[:2]) - len(extra)
        return (*(f"x{i}" for i in range(missing)), *extra)
    return formula.atoms


@pytest.mark.parametrize(("name", "text"), FORMS, ids=[name for name, _ in FORMS])
def test_every_way_in_gives_the_automatons_verdicts(name, text):
    formula = parse(text)
    alphabet = alphabet_of(name, formula)
    automaton = compile(formula, alphabet=alphabet)
    rng = np.random.default_rng(3)
    # Long enough for tables, block borders, and a verdict in the middle of a block.
    n = 6000
    rows = rng.random((n, len(alphabet))) < 0.4
    quiet = [i for i, a in enumerate(alphabet) if a[0] in "acer"]
    rows[:, quiet] &= rng.random((n, len(quiet))) < 0.003
    masks = [sum(1 << int(i) for i in np.flatnonzero(row)) for row in rows]
    state, expected = 0, []
    for m in masks:
        state = automaton.step(state, m)
        expected.append(int(automaton.colours[state]))
    decided = next((i for i, c in enumerate(expected) if c in (T, F)), None)
    monitor = Monitor(automaton)

    def check():
        assert monitor.verdict == expected[-1]
        assert monitor.state == state
        assert (monitor.position, monitor.decided_at) == (n, decided)
        monitor.reset()
        assert (monitor.position, monitor.state, monitor.decided_at) == (0, 0, None)

    assert [monitor.step(m) for m in masks] == expected
    check()
    names = [frozenset(np.array(alphabet)[row].tolist()) for row in rows]
    assert [monitor.step(letter) for letter in names] == expected
    check()
    assert [monitor.step(dict.fromkeys(letter, True)) for letter in names] == expected
    check()
    assert [monitor.step(sorted(letter)) for letter in names[:50]] == expected[:50]
    monitor.reset()
    assert monitor.feed(names).tolist() == expected
    check()
    assert monitor.feed({a: rows[:, i] for i, a in enumerate(alphabet)}).tolist() == expected
    check()
    if len(alphabet) > 64:
        wide = np.array([[m & (1 << 64) - 1, m >> 64] for m in masks], dtype=np.uint64)
        arrays = [wide, np.asfortranarray(wide)]
    else:
        kinds = [
            k for k in "BHILbhilq" if 8 * np.dtype(k).itemsize >= len(alphabet) + (k in "bhilq")
        ]
        arrays = [np.array(masks, dtype=k) for k in kinds]
        arrays.append(np.array(masks, dtype=np.uint64).astype(">u8"))
        arrays.append(np.repeat(np.array(masks, dtype=np.uint64), 2)[::2])
    for array in arrays:
        assert monitor.feed(array).tolist() == expected, array.dtype
        check()
        assert monitor.feed(array, verdicts=False) == expected[-1]
        check()
        # In pieces, the first ones too short for tables.
        pieces = [monitor.feed(piece) for piece in np.split(array, [1, 2, 5, 700, 5000])]
        assert np.concatenate(pieces).tolist() == expected
        check()
    assert monitor.feed(arrays[0][:0]).tolist() == []
    assert monitor.position == 0


def test_a_fresh_monitor_has_the_verdict_of_the_empty_trace():
    assert Monitor("G a").verdict == PF
    assert Monitor("false").verdict == F
    assert Monitor("false").decided_at == -1
    assert Monitor("true", semantics="ltl3").verdict == T
    assert Monitor("G a", semantics="ltl3").verdict == INC
    assert Monitor("true").step(set()) == T
    assert Monitor("true").step({"a"}) == T


def test_rv_ltl_needs_both_kinds_of_continuation():
    # Over finite traces !X[!] true can still come true; over infinite ones it cannot.
    assert Monitor("a & N false").step({"a"}) == PT
    assert Monitor("a & N false", semantics="rv-ltl").step({"a"}) == F
    assert Monitor("G F a", semantics="rv-ltl").step({"a"}) == PT
    assert Monitor("G F a", semantics="rv-ltl").step(set()) == PF
    assert Monitor("G F a", semantics="ltl3").step({"a"}) == INC


def test_rv_ltl_of_unlike_machines_is_that_of_pairs_of_their_states():
    # Over infinite words only the first half counts, over finite ones only the second; so that the
    # monitor has as many states as there are pairs of theirs.
    text = "(G X[!] true & G(a -> X X X X b)) | (F N false & F(c & X[!] X[!] X[!] X[!] d))"
    four, three, two = (Monitor(text, semantics=name) for name in ("rv-ltl", "ltl3", "ltlf"))
    assert len(four._tables.colours) > 200
    assert len(three._tables.colours) == len(two._tables.colours) == 17
    rng = random.Random(31)
    seen = set()
    for _ in range(60):
        for monitor in (four, three, two):
            monitor.reset()
        for _ in range(30):
            rare = rng.choice([0.1, 0.9])
            letter = {name for name in "abcd" if rng.random() < (rare if name == "a" else 0.8)}
            infinite, finite = three.step(letter), two.step(letter)
            good = PT if finite in (PT, T) else PF
            assert four.step(letter) == (infinite if infinite in (F, T) else good)
            seen.add(four.verdict)
    assert seen == {F, PT, PF}
    with pytest.raises(StateLimitError, match="max_states=40"):
        Monitor(text, semantics="rv-ltl", max_states=40)
    assert len(Monitor(text, semantics="ltlf", max_states=40)._tables.colours) == 17


def test_past_and_windows():
    monitor = Monitor("G(alarm -> O[0:2] fault)")
    trace = [{"fault"}, set(), {"alarm"}, {"alarm"}]
    assert [monitor.step(letter) for letter in trace] == [PT, PT, PT, F]
    assert monitor.decided_at == 3


# ---- windows beside the automaton ----


def random_past(rng, size, *, whole):
    if size <= 1:
        return rng.choice([atom("a"), atom("b")])
    ops = [Op.NOT, Op.ONCE, Op.HISTORICALLY, Op.YESTERDAY, Op.ONCE, Op.HISTORICALLY]
    if size > 2:
        ops += [Op.AND, Op.OR, Op.SINCE, Op.TRIGGER, Op.SINCE]
    op = rng.choice(ops)
    window = None
    if op in (Op.ONCE, Op.HISTORICALLY, Op.SINCE, Op.TRIGGER):
        low = rng.choice([0, 1, 2]) if whole else rng.choice([0, 0.25, 1.5])
        window = (low, rng.choice([low, low + 1, low + 2.0, float("inf")]))
    if op in (Op.AND, Op.OR, Op.SINCE, Op.TRIGGER):
        left = rng.randrange(1, size - 1)
        args = [random_past(rng, left, whole=whole), random_past(rng, size - 1 - left, whole=whole)]
    else:
        args = [random_past(rng, size - 1, whole=whole)]
    return make(op, args, window)


def around(rng, past):
    """A formula of the future with `past` in it."""
    a = atom("a")
    return rng.choice(
        [
            always(past),
            eventually(past),
            always(implies(past, eventually(a))),
            make(Op.UNTIL, [past, a]),
        ]
    )


def agrees(verdict, value):
    return verdict in ((T, PT) if value else (F, PF))


def test_windows_in_time_against_the_definitions():
    rng = random.Random(21)
    beside = 0
    for _ in range(120):
        formula = around(rng, random_past(rng, rng.randrange(2, 7), whole=False))
        monitor = Monitor(formula, alphabet=("a", "b"), clock="time")
        beside += bool(monitor._windows)
        trace = [rng.choice(LETTERS) for _ in range(12)]
        times = np.cumsum([rng.choice([0.25, 0.5, 1.0, 2.0]) for _ in trace])
        verdicts = [monitor.step(x, t) for x, t in zip(trace, times, strict=True)]
        for n, verdict in enumerate(verdicts, 1):
            assert agrees(verdict, temporal.holds(formula, trace[:n], times[:n])), formula
        again = monitor.copy()
        assert again.snapshot() == monitor.snapshot()
        later = times[-1] + 0.5
        assert again.step({"b"}, later) == monitor.step({"b"}, later)
        monitor.reset()
        masks = np.array([mask(x, "ab") for x in trace], dtype=np.uint8)
        assert monitor.feed(masks, times).tolist() == verdicts
        monitor.reset()
        assert monitor.feed(trace, times.tolist()).tolist() == verdicts
        monitor.reset()
        # A snapshot in the middle holds what the windows hold.
        monitor.feed(masks[:6], times[:6])
        other = Monitor(formula, alphabet=("a", "b"), clock="time")
        other.restore(monitor.snapshot())
        other = pickle.loads(pickle.dumps(other))
        assert other.feed(masks[6:], times[6:]).tolist() == verdicts[6:]
    assert beside > 60


def test_long_windows_of_steps_are_kept_beside(monkeypatch):
    rng = random.Random(22)
    for _ in range(60):
        formula = around(rng, random_past(rng, rng.randrange(2, 6), whole=True))
        trace = [rng.choice(LETTERS) for _ in range(12)]
        monkeypatch.setattr("midstream.logic.monitor._WINDOW_STATES", 1e300)
        inside = Monitor(formula, alphabet=("a", "b"))
        assert not inside._windows
        monkeypatch.setattr("midstream.logic.monitor._WINDOW_STATES", 0)
        beside = Monitor(formula, alphabet=("a", "b"))
        assert bool(beside._windows) == formula.has_interval
        for n, letter in enumerate(trace, 1):
            value = temporal.holds(formula, trace[:n])
            assert agrees(inside.step(letter), value), formula
            assert agrees(beside.step(letter), value), formula
        counting = Monitor(formula, alphabet=("a", "b"), triggers=True)
        stepped = counting.copy()
        for letter in trace:
            stepped.step(letter)
        for kind in (np.uint8, np.uint16, np.uint32, np.uint64, np.int64):
            counting.reset()
            masks = np.array([mask(letter, "ab") for letter in trace], dtype=kind)
            assert counting.feed(masks, verdicts=False) == stepped.verdict
            assert counting._state()[:5] == stepped._state()[:5], formula
            again = stepped.copy()
            assert counting.feed(masks).tolist() == [again.step(letter) for letter in trace]
            counting.reset()
            counting.feed(masks)
        if counting.triggers:
            ((text, count),) = counting.triggers.items()
            assert count == sum(temporal.evaluate(parse(text), trace))


def test_a_window_of_a_million_steps():
    monitor = Monitor("G(pay -> O[0:1000000] ask)", triggers=True)
    assert monitor._windows
    monitor.feed(np.array([2] + [0] * 2000, dtype=np.uint8))
    assert monitor.alphabet == ("pay", "ask")
    assert monitor.step({"pay"}) == PT
    with pytest.raises(ArgumentValueError, match="windows stand beside"):
        monitor.shortest_good()
    assert "presumably true" in monitor.explain()
    with pytest.raises(ArgumentValueError, match="mask of the 2 atoms"):
        monitor.step(4)
    for text in ("G(pay -> O[5:40] ask)", "G !(a S[3:900] b)"):
        assert Monitor(text)._windows
    for text in ("G(pay -> O[0:500] ask)", "G(pay -> O[2:6] ask)"):
        assert not Monitor(text)._windows


def test_the_clock():
    timed = Monitor("G(a -> O[0:1.5] b)", clock="time")
    with pytest.raises(ArgumentValueError, match="time must be given"):
        timed.step({"a"})
    with pytest.raises(ArgumentValueError, match="times must be given"):
        timed.feed(np.array([1], dtype=np.uint8))
    timed.step({"b"}, 1)
    before = timed.snapshot()
    for bad in (1, 0.5, float("nan"), float("inf")):
        with pytest.raises(ArgumentValueError, match="time"):
            timed.step({"b"}, bad)
    with pytest.raises(ArgumentTypeError, match="time must be a real number"):
        timed.step({"b"}, "2")
    for masks, times in (([0, 0], [2, 2]), ([0, 4], [2, 3]), ([0, 0], [2])):
        with pytest.raises(ArgumentValueError, match=r"time|mask"):
            timed.feed(np.array(masks, dtype=np.uint8), times)
        with pytest.raises(ArgumentValueError, match=r"time|mask"):
            timed.feed(masks, times)
    with pytest.raises(ArgumentTypeError, match="times must be"):
        timed.feed([0], "2")
    assert timed.snapshot() == before
    assert timed.step({"a"}, 2.5) == PT
    assert timed.step({"a"}, 2.625) == F
    steps = Monitor("F a")
    for call in (lambda: steps.step({"a"}, 1.0), lambda: steps.step(1, 1.0)):
        with pytest.raises(ArgumentValueError, match="left out where clock is 'steps'"):
            call()
    with pytest.raises(ArgumentValueError, match="left out where clock is 'steps'"):
        steps.feed([1], [1.0])
    plain = Monitor("F a", clock="time")
    assert plain.step(0, 1.0) == PF
    assert plain.feed(np.array([0, 1], dtype=np.uint8), [2.0, 3.0]).tolist() == [PF, T]
    with pytest.raises(ArgumentValueError, match="SignalMonitor"):
        Monitor("G(a -> F[0:5] b)", clock="time")
    with pytest.raises(ArgumentValueError, match="clock must be one of"):
        Monitor("F a", clock="minutes")
    with pytest.raises(ArgumentValueError, match="missing must not be 'unknown'"):
        Monitor("G O[0:2] a", clock="time", missing="unknown")
    with pytest.raises(ArgumentValueError, match="not known of windows in time"):
        _ = timed.monitorability


# ---- letters ----


@pytest.mark.parametrize(
    ("letter", "error", "text"),
    [
        (True, ArgumentTypeError, "bool"),
        (np.True_, ArgumentTypeError, "bool"),
        (1.0, ArgumentTypeError, "float"),
        ("a", ArgumentTypeError, "str"),
        (b"a", ArgumentTypeError, "bytes"),
        (None, ArgumentTypeError, "NoneType"),
        (object(), ArgumentTypeError, "object"),
        (-1, ArgumentValueError, "-1"),
        (4, ArgumentValueError, "mask of the 2 atoms"),
        (1 << 64, ArgumentValueError, "mask of the 2 atoms"),
        (-(1 << 80), ArgumentValueError, "mask of the 2 atoms"),
        (np.int64(-3), ArgumentValueError, "-3"),
        ({1, 2}, ArgumentTypeError, "names of atoms, not int"),
        ({"a", None}, ArgumentTypeError, "names of atoms, not NoneType"),
        ([["a"]], ArgumentTypeError, "names of atoms, not list"),
        ({"a": 2}, ArgumentTypeError, r"letter\['a'\] must be a bool"),
        ({"a": "yes"}, ArgumentTypeError, r"letter\['a'\] must be a bool"),
        ({"x", "a"}, ArgumentValueError, "no 'x'"),
        (["b", "x"], ArgumentValueError, "no 'x'"),
    ],
)
def test_hostile_letters_change_nothing(letter, error, text):
    monitor = Monitor("G(a -> F b)", alphabet=("a", "b"))
    monitor.step({"a"})
    before = monitor.snapshot()
    with pytest.raises(error, match=text):
        monitor.step(letter)
    assert monitor.snapshot() == before
    with pytest.raises(error, match=text):
        monitor.feed([{"b"}, letter])
    assert monitor.snapshot() == before
    assert monitor.step(np.uint8(2)) == PT


def test_foreign_atoms_count_only_where_the_alphabet_was_given():
    assert Monitor("a U b").step({"b", "other"}) == T
    assert Monitor("a U b").step(["b", "other", "third"]) == T
    assert Monitor("a U b", alphabet=("a", "b")).step({"b": True, "other": 3}) == T
    with pytest.raises(ArgumentValueError, match="no 'other'"):
        Monitor("a U b", alphabet=("a", "b")).step({"other"})


def test_signals():
    monitor = Monitor("G(x > 0.5 -> F y) & G(x != 9)")
    assert monitor.alphabet == ("x > 0.5", "y", "x != 9")
    assert monitor.step({"x": 0.75}) == PF
    assert monitor.step({"x": 0.5, "y": True}) == PT
    assert monitor.step({"x > 0.5": False, "x": 9}) == F
    fresh = Monitor("G(x >= 1 & x <= 3 & x < 4 & x == 2)")
    assert fresh.step({"x": np.float32(2)}) == PT
    for value, error in ((float("nan"), ArgumentValueError), ("1", ArgumentTypeError)):
        with pytest.raises(error, match=r"letter\['x'\]"):
            fresh.step({"x": value})
    assert fresh.step({"x": 2.5}) == F


def test_missing():
    assert Monitor("G a", missing="false").step({}) == F
    with pytest.raises(ArgumentValueError, match="say whether 'a' holds"):
        Monitor("G a", missing="error").step({"b": True})
    with pytest.raises(ArgumentValueError, match="'a'"):
        Monitor("G a", missing="error").feed({"b": [True]})
    assert Monitor("G a", missing="error").step(set()) == F
    with pytest.raises(ArgumentValueError, match="missing must be one of"):
        Monitor("G a", missing="none")


def test_unknown_inputs_keep_every_possible_state():
    rng = random.Random(4)
    for _ in range(60):
        formula = random_formula(rng, rng.randrange(2, 8))
        semantics = rng.choice(["ltlf", "ltl3", "rv-ltl"])
        monitor = Monitor(formula, alphabet=("a", "b"), missing="unknown", semantics=semantics)
        plain = Monitor(formula, alphabet=("a", "b"), semantics=semantics)
        worlds = {()}
        for _ in range(5):
            given = {n: rng.choice([True, False, None]) for n in "ab" if rng.random() < 0.8}
            monitor.step(given)
            free = [n for n in "ab" if given.get(n) is None]
            fixed = {n for n in "ab" if given.get(n)}
            letters = [
                frozenset(fixed | set(more))
                for k in range(len(free) + 1)
                for more in itertools.combinations(free, k)
            ]
            worlds = {(*w, letter) for w in worlds for letter in letters}
            states, verdicts = set(), set()
            for world in worlds:
                plain.reset()
                verdicts.add(plain.feed(world, verdicts=False))
                states.add(plain.state)
            assert set(monitor.states) == states, formula
            assert monitor.verdict == (verdicts.pop() if len(verdicts) == 1 else INC), formula
            assert (monitor.state is None) == (len(states) > 1)


def test_unknown_inputs_then_known_ones():
    monitor = Monitor("G !a & F b", missing="unknown")
    assert monitor.step({"a": None, "b": False}) == INC
    assert monitor.decided_at is None
    # One possible state is false for good, the other is not yet satisfied.
    assert monitor.step({"b"}) == INC
    assert monitor.feed(np.array([0, 1], dtype=np.uint8)).tolist() == [INC, F]
    assert (monitor.verdict, monitor.decided_at, monitor.position) == (F, 3, 4)
    columns = {"a": [False, None], "b": [True, True]}
    monitor.reset()
    assert monitor.feed(columns).tolist() == [PT, INC]
    before = monitor.snapshot()
    with pytest.raises(ArgumentValueError, match="mask"):
        monitor.feed(np.array([0, 8], dtype=np.uint8))
    assert monitor.snapshot() == before
    assert monitor.shortest_good() is None
    assert monitor.shortest_bad() == [{"a"}]


def test_restricted_letters():
    one = Monitor("F(a & b)", letters="at_most_one")
    assert one.verdict == F
    monitor = Monitor("a U b", letters="exactly_one")
    assert monitor.step({"a"}) == PF
    for bad in (0b11, set(), {"a", "b"}):
        with pytest.raises(ArgumentValueError, match="`letters` allow"):
            monitor.step(bad)
    masks = np.array([1, 1, 3, 2] + [1] * 5000, dtype=np.uint8)
    with pytest.raises(ArgumentValueError, match=r"masks\[2\] must be .* not 3"):
        monitor.feed(masks)
    with pytest.raises(ArgumentValueError, match=r"masks\[2\] must be"):
        monitor.feed(masks[:4])
    assert monitor.position == 1
    for semantics in ("ltl3", "rv-ltl"):
        monitor = Monitor("X a | X b", semantics=semantics, letters="exactly_one")
        assert monitor.verdict == T
    unknown = Monitor("a U b", letters="exactly_one", missing="unknown")
    assert unknown.step({"a": False}) == T
    with pytest.raises(ArgumentValueError, match="`letters` allow"):
        Monitor("a U b", letters="exactly_one", missing="unknown").step({"a": True, "b": True})


# ---- feed ----


def test_a_bad_mask_in_an_array_changes_nothing():
    for text, n in (("F(a & X b)", 2), ("F a11", 12), ("F a19", 20), ("F a69", 70)):
        atoms = ("a", "b") if n == 2 else tuple(f"a{i}" for i in range(n))
        monitor = Monitor(text, alphabet=atoms)
        monitor.step(0)
        before = monitor.snapshot()
        masks = np.zeros((9000, 2) if n > 64 else 9000, dtype=np.uint64)
        flat = masks[:, 1] if n > 64 else masks
        flat[8000] = 1 << (n % 64)
        with pytest.raises(ArgumentValueError, match=r"masks\[8000\]"):
            monitor.feed(masks)
        assert monitor.snapshot() == before
        # Nor is a bad one forgiven after the verdict.
        flat[3] = (1 << (n % 64)) - 1
        flat[4] = (1 << (n % 64)) - 1
        with pytest.raises(ArgumentValueError, match=r"masks\[8000\]"):
            monitor.feed(masks)
        assert monitor.snapshot() == before
    with pytest.raises(ArgumentValueError, match="mask of the 1"):
        Monitor("F a").feed(np.array([0, -1]))
    wide = Monitor("F a", alphabet=["a", *(f"b{i}" for i in range(63))])
    with pytest.raises(ArgumentValueError, match="negative"):
        wide.feed(np.array([0, -1]))
    assert wide.step((1 << 64) - 1) == T
    with pytest.raises(ArgumentValueError, match="mask of the 64"):
        wide.step(1 << 64)


@pytest.mark.parametrize("n", [7, 8, 12, 16, 20, 32, 40, 64, 70, 128])
def test_masks_of_every_width(n):
    """Arrays give what single events give, whichever way the machine is read."""
    rng = np.random.default_rng(n)
    atoms = tuple(f"a{k}" for k in range(n))
    last = f"a{n - 1}"
    # Few states, more of them, and more atoms than a table has: of these half are looked at. None
    # is decided before the end.
    half = " & ".join(atoms[: n // 2])
    texts = (
        f"G(a0 -> F {last})",
        f"G(a0 -> F(N false & Y Y Y Y {last}))",
        f"F(N false & ({half}) & Y !{last})",
    )
    for text in texts:
        one = Monitor(text, alphabet=atoms, triggers=True)
        words = -(-n // 64)
        letters = rng.random((6000, n)) < (0.3 if text[0] == "G" else 0.97)
        masks = [sum(1 << k for k in np.flatnonzero(row).tolist()) for row in letters]
        expected = [one.step(mask) for mask in masks]
        assert set(expected) == {PT, PF}
        if words > 1:
            rows = [[mask >> 64 * k & (1 << 64) - 1 for k in range(words)] for mask in masks]
            arrays = [np.array(rows, dtype=np.uint64)]
        else:
            sizes = [size for size in (1, 2, 4, 8) if 8 * size >= n]
            arrays = [np.array(masks, dtype=f"u{size}") for size in sizes]
        for array in arrays:
            other = Monitor(text, alphabet=atoms, triggers=True)
            assert other.feed(array).tolist() == expected
            assert (other.triggers, other.decided_at) == (one.triggers, one.decided_at)
            other.reset()
            assert other.feed(array, verdicts=False) == expected[-1]
            if words == 1 and 8 * array.itemsize == n:
                continue  # every number is a mask
            if n % 64 == 0:
                continue
            array[5500] = np.array(1, dtype=array.dtype) << array.dtype.type(n % 64)
            before = other.snapshot()
            with pytest.raises(ArgumentValueError, match=r"masks\[5500\]"):
                other.feed(array)
            assert other.snapshot() == before


def test_machines_that_are_too_large_for_a_table():
    atoms = tuple(f"a{k}" for k in range(12))
    monitor = Monitor("F(a0 & " + "X[!] " * 9 + "a11)", alphabet=atoms)
    assert len(monitor._tables.colours) > 500
    rng = np.random.default_rng(1)
    masks = rng.integers(0, 1 << 12, 600_000, dtype=np.uint16)
    masks[:590_000] &= ~np.uint16(1 << 11)
    codes = monitor.feed(masks)
    found = int(np.flatnonzero((masks[:-9] & 1 == 1) & (masks[9:] >> 11 == 1))[0]) + 9
    assert found >= 590_000
    assert (codes[:found] == PF).all()
    assert (codes[found:] == T).all()
    assert monitor.decided_at == found


def test_restricted_letters_of_many_atoms():
    atoms = tuple(f"a{k}" for k in range(70))
    monitor = Monitor("a0 U a69", alphabet=atoms, letters="at_most_one")
    masks = np.zeros((6, 2), dtype=np.uint64)
    masks[:, 0] = 1
    masks[4] = 0, 1 << 5
    assert monitor.feed(masks).tolist() == [PF] * 4 + [T] * 2
    monitor.reset()
    masks[2, 1] = 1
    with pytest.raises(ArgumentValueError, match=r"masks\[2\] must be .* `letters` allow"):
        monitor.feed(masks)
    assert monitor.position == 0


def test_unknown_inputs_where_diagrams_are_shared():
    # The node that asks for c is reached by more than one way.
    text = "X X ((a & b) | (b & c) | (a & c))"
    plain = Monitor(text)
    for given in itertools.product([True, False, None], repeat=3):
        monitor = Monitor(text, missing="unknown")
        monitor.feed([set(), set()])
        monitor.step(dict(zip("abc", given, strict=True)))
        states = set()
        for bits in itertools.product([True, False], repeat=3):
            if all(known in (None, bit) for known, bit in zip(given, bits, strict=True)):
                plain.reset()
                letter = {name for name, bit in zip("abc", bits, strict=True) if bit}
                plain.feed([set(), set(), letter])
                states.add(plain.state)
        assert set(monitor.states) == states


def test_long_arrays_are_read_in_pieces():
    n = (1 << 20) + 5000
    masks = np.zeros(n, dtype=np.uint8)
    masks[-3] = 1
    for monitor in (Monitor("F a & G(b -> F c)"), Monitor("F a & G(b -> O[9:99] c)")):
        codes = monitor.feed(masks)
        assert codes[: n - 3].tolist() == [PF] * (n - 3)
        assert codes[n - 3 :].tolist() == [PT] * 3
        assert monitor.position == n
        assert monitor.feed(masks, verdicts=False) == PT
        before = monitor.snapshot()
        masks[-1] = 255
        with pytest.raises(ArgumentValueError, match=rf"masks\[{n - 1}\]"):
            monitor.feed(masks)
        assert monitor.snapshot() == before
        masks[-1] = 0
    timed = Monitor("F a & G(b -> O[9:99] c)", clock="time")
    times = np.arange(float(n))
    assert timed.feed(masks, times, verdicts=False) == PT
    times[-2] = 5
    timed.reset()
    with pytest.raises(ArgumentValueError, match=rf"times\[{n - 2}\]"):
        timed.feed(masks, times)
    assert timed.position == 0


@pytest.mark.parametrize(
    "letters",
    [
        np.zeros(3),
        np.zeros(3, dtype=bool),
        np.zeros((3, 1), dtype=np.uint8),
        np.array(3, dtype=np.uint8),
        np.array(["a"]),
        "ab",
        5,
        None,
    ],
)
def test_what_cannot_be_fed(letters):
    with pytest.raises(ArgumentTypeError, match="letters must be"):
        Monitor("F a").feed(letters)


def test_letters_of_every_kind_of_mapping():
    wanted = Monitor("a & !b").step({"a": True, "b": False})
    for yes, no in ((True, False), (np.True_, np.False_), (1, 0), (np.int8(1), np.uint64(0))):
        for kind in (dict, MappingProxyType, UserDict):
            assert Monitor("a & !b").step(kind({"a": yes, "b": no})) == wanted
    monitor = Monitor("G (x > 1)")
    for value in (2, 2.5, np.float32(2), Fraction(5, 2), 10**300):
        assert monitor.step(UserDict({"x": value})) is PT
    for value in (10**400, -(10**400)):
        with pytest.raises(ArgumentValueError, match=r"letter\['x'\] is too large"):
            monitor.step({"x": value})
    assert monitor.position == 5


def test_an_iterable_that_fails_leaves_the_monitor_where_it_was():
    def broken():
        yield {"a"}
        raise KeyError("source")

    monitor = Monitor("F a")
    with pytest.raises(KeyError, match="source"):
        monitor.feed(broken())
    assert (monitor.position, monitor.verdict) == (0, PF)


# ---- snapshots and copies ----


def test_snapshots():
    rng = random.Random(9)
    for _ in range(30):
        formula = random_formula(rng, rng.randrange(2, 9))
        make_one = {"alphabet": ("a", "b"), "missing": rng.choice(["false", "unknown"])}
        monitor = Monitor(formula, **make_one)
        other = Monitor(formula, **make_one)
        for _ in range(6):
            monitor.step({n: rng.random() < 0.5 for n in "ab" if rng.random() < 0.8})
            other.restore(monitor.snapshot())
            for again in (other, monitor.copy(), copy.copy(monitor), copy.deepcopy(monitor)):
                assert again.snapshot() == monitor.snapshot()
                assert again.verdict == monitor.verdict
                assert again.decided_at == monitor.decided_at
                assert again.step({"a"}) == monitor.copy().step({"a"})
        again = pickle.loads(pickle.dumps(monitor))
        assert again.snapshot() == monitor.snapshot()
        assert again.formula is monitor.formula


def test_damaged_and_foreign_snapshots():
    monitor = Monitor("a U b")
    monitor.step({"a"})
    good = monitor.snapshot()
    for bad in (b"", b"x" * 100, good[:-1], good + b"\0", good[:20] + b"\x09" + good[21:]):
        with pytest.raises(ArgumentValueError, match="snapshot must"):
            monitor.restore(bad)
    check_damage(monitor, good)
    with pytest.raises(ArgumentTypeError, match="snapshot must be bytes"):
        monitor.restore("text")
    for other in (Monitor("a U !b"), Monitor("a U b", semantics="ltl3"), Monitor("c U b")):
        with pytest.raises(ArgumentValueError, match="same formula"):
            other.restore(good)
    unknown = Monitor("a U b", missing="unknown")
    unknown.step({})
    with pytest.raises(ArgumentValueError, match="one state"):
        monitor.restore(unknown.snapshot())
    assert monitor.snapshot() == good
    monitor.reset()
    monitor.restore(bytearray(good))
    assert monitor.position == 1


def test_copies_in_threads_do_not_disturb_each_other():
    monitor = Monitor("G(a -> F[0:6] b) & G(c -> F[2:5] d)")
    masks = np.random.default_rng(5).integers(0, 16, 200_000).astype(np.uint8)
    masks[masks & 1 == 1] |= 2
    masks[:] &= 3
    expected = monitor.copy().feed(masks)
    results = {}

    def work(key):
        results[key] = monitor.copy().feed(masks)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((results[k] == expected).all() for k in range(4))
    assert monitor.position == 0


# ---- what it means ----


def test_triggers():
    rng = random.Random(7)
    for _ in range(30):
        while True:
            premise = random_formula(rng, rng.randrange(1, 6))
            if not premise.has_future:
                break
        formula = and_(always(implies(premise, eventually(atom("b")))), eventually(atom("a")))
        monitor = Monitor(formula, alphabet=("a", "b"), triggers=True)
        trace = [rng.choice(LETTERS) for _ in range(40)]
        count = sum(temporal.evaluate(premise, trace))
        monitor.feed(trace)
        assert monitor.triggers == {str(premise): count}
        monitor.reset()
        assert monitor.triggers == {str(premise): 0}
        masks = np.array([mask(letter, "ab") for letter in trace], dtype=np.uint8)
        monitor.feed(masks)
        assert monitor.triggers == {str(premise): count}
        monitor.feed(np.tile(masks, 200))
        again = Monitor(formula, alphabet=("a", "b"), triggers=True)
        again.feed([*trace, *(trace * 200)])
        assert again.triggers == monitor.triggers
        assert again.snapshot() == monitor.snapshot()
        assert again.copy().triggers == again.triggers


def test_vacuous():
    monitor = Monitor("G(a -> F b) & G((c -> d) & (O e -> f)) & F(a -> b)", triggers=True)
    assert list(monitor.triggers) == ["a", "c", "O e"]
    assert monitor.vacuous is False  # the empty trace violates it
    monitor.step({"b"})
    assert monitor.vacuous is True
    monitor.step({"e", "f"})
    assert monitor.vacuous is False
    assert Monitor("G(a -> F b)").triggers == {}
    with pytest.raises(ArgumentValueError, match="triggers=True"):
        _ = Monitor("G(a -> F b)").vacuous
    assert Monitor("G(F a -> b)", triggers=True).triggers == {}


def test_shortest_continuations():
    rng = random.Random(13)
    words = [w for n in range(4) for w in itertools.product(LETTERS, repeat=n)]
    for _ in range(40):
        formula = random_formula(rng, rng.randrange(2, 8))
        semantics = rng.choice(["ltlf", "ltl3", "rv-ltl"])
        monitor = Monitor(formula, alphabet=("a", "b"), semantics=semantics)
        monitor.feed([rng.choice(LETTERS) for _ in range(rng.randrange(3))])
        for call, wanted in (
            (lambda m: m.shortest_good(), {T, PT}),
            (lambda m: m.shortest_good(final=True), {T}),
            (lambda m: m.shortest_bad(), {F, PF}),
            (lambda m: m.shortest_bad(final=True), {F}),
        ):
            found = call(monitor)
            best = None
            for word in words:
                other = monitor.copy()
                other.feed(word)
                if other.verdict in wanted:
                    best = word
                    break
            if found is None:
                assert best is None, formula
            else:
                other = monitor.copy()
                other.feed(found)
                assert other.verdict in wanted, formula
                if best is not None or len(found) < 4:
                    assert len(found) == len(best), formula


def test_shortest_continuations_obey_the_letters():
    monitor = Monitor("F a & F b & F c", letters="at_most_one")
    found = monitor.shortest_good()
    assert sorted(found, key=sorted) == [{"a"}, {"b"}, {"c"}]


def test_monitorability():
    assert Monitor("G a").monitorability == "safety"
    assert Monitor("F(a & b)", letters="at_most_one").monitorability == "both"
    with pytest.raises(ArgumentValueError, match="has none"):
        _ = Monitor(compile(parse("G a"))).monitorability


def test_texts():
    monitor = Monitor("G(a -> F b)", triggers=True)
    monitor.step({"a"})
    text = monitor.explain()
    assert "presumably false after 1 event: G (a -> F b)" in text
    assert "satisfied soonest by: {b}" in text
    assert "premise came true: a, 1 time" in text
    assert "presumably false after 1" in repr(monitor)
    assert "G (a -&gt; F b)" in monitor._repr_html_()
    decided = Monitor("X !a")
    decided.feed([{"a"}, {"a"}, set()])
    assert "final since event 1" in decided.explain()
    assert "final from the start" in Monitor("false").explain()
    unknown = Monitor("a U b", missing="unknown")
    unknown.step({"b": False})
    assert "2 states of the automaton are possible" in unknown.explain()


# ---- construction ----


def test_automata_and_machines_as_formulas():
    automaton = compile(parse("x > 1 U b"))
    monitor = Monitor(automaton)
    assert monitor.formula is None
    assert monitor.step({"x": 2.0}) == PF
    assert monitor.step({"b": True}) == T
    machine = ltl3_machine("G F a")
    assert Monitor(machine, semantics="ltl3").step({"a"}) == INC
    assert "an automaton" in Monitor(automaton).explain()
    with pytest.raises(ArgumentValueError, match="semantics must be 'ltlf'"):
        Monitor(automaton, semantics="ltl3")
    with pytest.raises(ArgumentValueError, match="semantics must be 'ltl3'"):
        Monitor(machine)
    with pytest.raises(ArgumentValueError, match="left out"):
        Monitor(automaton, alphabet=("a", "b"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"formula": 3}, ArgumentTypeError),
        ({"formula": "G a &"}, ValueError),
        ({"formula": "G a", "semantics": "ltl4"}, ArgumentValueError),
        ({"formula": "G a", "alphabet": "a"}, ArgumentTypeError),
        ({"formula": "G a", "alphabet": ("b",)}, ArgumentValueError),
        ({"formula": "G a", "letters": "two"}, ArgumentValueError),
        ({"formula": "G a", "max_states": 0}, ArgumentValueError),
        ({"formula": "G a", "max_states": True}, ArgumentTypeError),
    ],
)
def test_arguments(arguments, error):
    with pytest.raises(error):
        Monitor(**arguments)


def test_limits_end_in_typed_errors():
    wide = and_(*(parse(f"G(a{i} <-> X X X X X X b{i})") for i in range(3)))
    for semantics in ("ltlf", "ltl3", "rv-ltl"):
        with pytest.raises(StateLimitError):
            Monitor(wide, semantics=semantics, max_states=1000)


def test_deep_formulas():
    deep = atom("a")
    for i in range(10_000):
        deep = not_(deep) if i % 2 else make(Op.OR, [deep, atom("b")])
    monitor = Monitor(deep)
    assert monitor.step({"b"}).final
    assert "nodes" in repr(monitor)


def test_tables_are_shared_and_kept_alive():
    monitor = Monitor("G(a -> F b)")
    other = monitor.copy()
    assert other._tables is monitor._tables
    tables = other._tables
    del monitor, other
    again = pickle.loads(pickle.dumps(tables))
    assert isinstance(again, Tables)
    assert again.roots.tolist() == tables.roots.tolist()


def test_a_forged_state_is_refused():
    """A snapshot whose checksum is right and whose states are none of the machine's."""
    unknown = Monitor("a U b", missing="unknown")
    unknown.step({})
    for monitor in (Monitor("a U b"), unknown, Monitor("G(a -> F b)", triggers=True)):
        monitor.step({"a": True, "b": False})
        verdict, whole = monitor.verdict, monitor.snapshot()[:-4]
        for at in range(monitor_module.HEADER.size, len(whole) - 3, 4):
            for value in (-1, -(2**31), 2**31 - 1, 1 << 20):
                forged = bytearray(whole)
                struct.pack_into("<i", forged, at, value)
                try:
                    monitor.restore(sealed(bytes(forged)))
                except ArgumentValueError:
                    assert monitor.verdict is verdict
                    assert monitor.snapshot()[:-4] == whole
                else:
                    # A count of triggers may be any number.
                    monitor.step({"a": True, "b": True})
                    monitor.restore(sealed(whole))
