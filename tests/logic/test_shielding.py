"""Shields against enumerated games: every letter in every state, least change, and no escape."""

from __future__ import annotations

import itertools
import pickle
import random

import numpy as np
import pytest
from reference import games as oracle

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    StateLimitError,
    UndecidedError,
)
from midstream.logic import shielding
from midstream.logic._game import Game, ShieldCore
from midstream.logic.parser import parse
from midstream.logic.shielding import shield
from midstream.logic.verdict import Verdict

KEEPS = ("possible", "enforceable", "satisfied")


def random_text(rng, depth):
    if depth == 0 or rng.random() < 0.1:
        return rng.choice("abxy")
    f, g = random_text(rng, depth - 1), random_text(rng, depth - 1)
    form = rng.choice(
        ["!{f}", "X {f}", "X[!] {f}", "F {f}", "G {f}", "G {f}", "{f} & {g}", "{f} | {g}",
         "{f} -> {g}", "{f} <-> {g}", "{f} U {g}", "{f} W {g}", "{f} R {g}"]
    )  # fmt: skip
    return "(" + form.format(f=f, g=g) + ")"


def verify(guard, arena, region, weights):
    """Every letter in every state the shield comes to."""
    own = {name for names in arena.outputs for name in names}
    seen = {guard.snapshot()[0]: arena.start}
    pending = [guard.snapshot()[0]]
    while pending:
        number = pending.pop()
        state = seen[number]
        moves = arena.moves[state]
        allowed = {move for move, after in moves.items() if after in region}
        for i, o in moves:
            guard.restore((number, 1, 0) if number else (0, 0, 0))
            if arena.order == "mealy":
                choices = [c for c in arena.outputs if (i, c) in allowed]
            else:
                choices = [c for c in arena.outputs if all((j, c) in allowed for j in arena.inputs)]
            cost = {c: sum(weights.get(name, 1) for name in c ^ o) for c in choices}
            corrected = guard.correct(i | o)
            assert corrected - own == i
            assert cost[corrected & own] == min(cost.values())
            assert guard.allowed(i | o) == (o in choices) == (corrected == i | o)
            assert set(guard.actions(i | o)) == set(choices)
            assert guard.step(i | o) == corrected
            after = guard.state
            if after not in seen:
                seen[after] = moves[i, corrected & own]
                pending.append(after)


@pytest.mark.parametrize("seed", range(120))
def test_random_games(seed):
    rng = random.Random(seed)
    formula = parse(random_text(rng, rng.randint(1, 4)))
    own = rng.sample("abxy", rng.randint(1, 3))
    others = sorted(set("abxy") - set(own))
    weights = rng.choice([{}, {name: rng.choice([0.5, 1, 3]) for name in own}])
    for order, keep in itertools.product(("mealy", "moore"), KEEPS):
        arena = oracle.Arena(formula, others, own, order)
        region = arena.region(keep)
        arguments = {"uncontrollable": others, "order": order, "keep": keep, "weights": weights}
        if not arena.forces(arena.start, region):
            with pytest.raises(ArgumentValueError, match="no shield"):
                shield(formula, own, **arguments)
            continue
        verify(shield(formula, own, **arguments), arena, region, weights)


@pytest.mark.parametrize("cells", [0, 1 << 18])
def test_with_and_without_a_table(cells, monkeypatch):
    monkeypatch.setattr(shielding, "_TABLE_CELLS", cells)
    formula = parse("G(a -> X x) & G(b -> !x | y) & F(y & b)")
    arena = oracle.Arena(formula, ["a", "b"], ["x", "y"], "mealy")
    verify(shield(formula, ["x", "y"]), arena, arena.region("possible"), {})


def test_what_is_kept():
    # The environment may or may not give: possible always, enforceable never.
    guard = shield("F given & G !x", ["x"])
    assert guard.step({"x"}) == frozenset() and guard.verdict == Verdict.PRESUMABLY_FALSE
    assert guard.step({"given", "x"}) == {"given"} and guard.verdict == Verdict.PRESUMABLY_TRUE
    with pytest.raises(ArgumentValueError, match="keep it from being enforceable"):
        shield("F given & G !x", ["x"], keep="enforceable")
    with pytest.raises(ArgumentValueError, match="leave it unsatisfied"):
        shield("F given & G !x", ["x"], keep="satisfied")
    # A debt may be open for as long as it can be paid.
    guard = shield("G(a -> F x)", ["x"], keep="enforceable")
    assert guard.step({"a"}) == {"a"}
    assert shield("G(a -> F x)", ["x"], keep="satisfied").step({"a"}) == {"a", "x"}


def test_why_there_is_none():
    with pytest.raises(ArgumentValueError, match=r"make it impossible, first with \{a, c\}"):
        shield("!a | !c", ["x"], uncontrollable=["a", "b", "c"])
    with pytest.raises(ArgumentValueError, match=r"make it impossible, first with \{b\}"):
        shield("G(b -> X !a) & G(x | !x)", ["x"])
    with pytest.raises(ArgumentValueError, match=r"make it impossible$"):
        shield("x <-> a", ["x"], order="moore")
    with pytest.raises(ArgumentValueError, match=r"make it impossible$"):
        shield("false", ["x"])


def test_a_moore_shield_does_not_look():
    guard = shield("G(a -> x)", ["x"], order="moore")
    assert guard.alphabet == ("x", "a")
    assert guard.step(set()) == {"x"} and guard.step({"a"}) == {"a", "x"}
    assert shield("G(a -> x)", ["x"]).step({}) == {}


def test_weights_decide():
    rule = "G(x -> y)"
    assert shield(rule, ["x", "y"], weights={"x": 5}).step({"x"}) == {"x", "y"}
    assert shield(rule, ["x", "y"], weights={"y": 5}).step({"x"}) == frozenset()


def test_letters_in_all_forms():
    guard = shield("(a | !a) & G !x", ["x"])
    assert guard.alphabet == ("a", "x")
    assert guard.step(3) == 1 and guard.step(np.uint64(2)) == 0
    changed = guard.step({"a": True, "x": True, "else": 3})
    assert changed == {"a": True, "x": False, "else": 3}
    assert guard.step(["x"]) == frozenset() and guard.step(frozenset("a")) == {"a"}
    assert guard.step({"x", "foreign"}) == {"foreign"}
    assert (guard.steps, guard.corrections) == (6, 5)
    for wrong in (4, -1, 1 << 70):
        for method in (guard.step, guard.correct, guard.allowed):
            with pytest.raises(ArgumentValueError, match="mask"):
                method(wrong)
    for wrong in ("x", None, 1.5, True, {3}):
        with pytest.raises(ArgumentTypeError):
            guard.step(wrong)
    assert guard.steps == 6


def test_signals_are_seen_not_changed():
    guard = shield("G(speed > 3 -> !boost & brake)", ["boost", "brake"])
    assert guard.step({"speed": 5, "boost": True}) == {"speed": 5, "boost": False, "brake": True}
    assert guard.step({"speed": 1, "boost": True}) == {"speed": 1, "boost": True}
    assert guard.step({"speed > 3"}) == {"speed > 3", "brake"}
    with pytest.raises(ArgumentValueError, match="NaN"):
        guard.step({"speed": float("nan")})
    with pytest.raises(ArgumentValueError, match="can be observed, not chosen"):
        shield("G(speed < 3)", ["speed < 3"])


def test_snapshots_and_pickles():
    guard = shield("G(x -> X !x)", ["x"])
    assert guard.step(1) == 1
    saved = guard.snapshot()
    copy = pickle.loads(pickle.dumps(guard))
    assert guard.step(1) == 0 and copy.step(1) == 0 and copy.corrections == 1
    guard.restore(saved)
    assert (guard.steps, guard.corrections, guard.correct(1)) == (1, 0, 0)
    guard.reset()
    assert guard.snapshot() == (0, 0, 0) and guard.allowed(1)
    for wrong in (3, (1, 2), (99, 1, 0), (1, 1, 2), (1, -1, 0), None):
        with pytest.raises(ArgumentValueError, match="snapshot"):
            guard.restore(wrong)
    assert "keeps the formula possible" in repr(guard)


def test_many_atoms():
    own = [f"x{i}" for i in range(40)]
    rule = " & ".join(f"G(a{i} -> !x{i})" for i in range(20)) + " & G(x0 -> Y x1)"
    guard = shield(rule, own)
    assert len(guard.alphabet) == 60
    letter = {"a3", "a5", "x3", "x4", "x5", "x30", "x0"}
    assert guard.step(letter) == {"a3", "a5", "x4", "x30"}
    with pytest.raises(StateLimitError, match="too many to list"):
        guard.actions()
    with pytest.raises(ArgumentValueError, match="64 atoms"):
        shield(rule, own, uncontrollable=[f"a{i}" for i in range(30)])


@pytest.mark.parametrize(
    ("controllable", "uncontrollable", "says"),
    [
        (["x"], ["x"], "overlap"),
        (["x", "x"], None, "twice"),
        (["x"], [], "'a', which is in neither"),
        ([], None, "no shield"),
    ],
)
def test_wrong_sides(controllable, uncontrollable, says):
    with pytest.raises(ArgumentValueError, match=says):
        shield("G(a -> x)", controllable, uncontrollable=uncontrollable)


def test_nothing_to_control():
    guard = shield("F a", [])
    assert guard.step({"a"}) == {"a"} and guard.corrections == 0


def test_wrong_arguments():
    with pytest.raises(ArgumentTypeError, match="controllable"):
        shield("G x", "x")
    with pytest.raises(ArgumentTypeError):
        shield(3, ["x"])
    for weights in ({"a": 1}, {"x": 0}, {"x": -1}, {"x": float("nan")}):
        with pytest.raises(ArgumentValueError, match="weights"):
            shield("G(a -> x)", ["x"], weights=weights)
    with pytest.raises(ArgumentValueError, match="keep"):
        shield("G x", ["x"], keep="safe")
    with pytest.raises(ArgumentValueError, match="order"):
        shield("G x", ["x"], order="first")
    with pytest.raises(StateLimitError):
        shield(" & ".join(f"F x{i}" for i in range(8)), [f"x{i}" for i in range(8)], max_states=9)
    with pytest.raises(UndecidedError, match=r"timeout_s=0\.0$"):
        shield("G x", ["x"], timeout_s=0)
    # The limit as it was given, not what was left of it for the automaton.
    rules = " & ".join(f"G(a{i} -> F[0:9] x{i})" for i in range(9))
    with pytest.raises(UndecidedError, match=r"not decided within timeout_s=0\.05$"):
        shield(rules, [f"x{i}" for i in range(9)], timeout_s=0.05)


@pytest.mark.parametrize("sampled", [False, True])
def test_a_wrong_shield_is_found(sampled, monkeypatch):
    if sampled:
        monkeypatch.setattr(shielding, "_CHECKED_ATOMS", 0)

    def nothing_is_lost(automaton, own, order, keep):
        return np.ones(automaton.n_states, dtype=np.uint8), True, 0

    shield("G(a -> X x)", ["x"])
    monkeypatch.setattr(shielding, "_region", nothing_is_lost)
    with pytest.raises(MidstreamError, match="internal error"):
        shield("G(a -> X x)", ["x"])


def test_kernel_refuses_what_is_no_shield():
    game = Game(
        np.array([0], dtype=np.int32), np.array([[0, -1, -1]], dtype=np.int32),
        np.ones(1, dtype=np.uint8),
    )  # fmt: skip
    safe, weight = np.ones(1, dtype=np.uint8), np.ones(1)
    core = ShieldCore(game, safe, weight, False, 0)
    assert core.step_mask(1) == 1
    with pytest.raises(OverflowError):
        core.step_mask(2)
    with pytest.raises(IndexError):
        core.go(1, 0, 0)
    with pytest.raises(IndexError):
        core.row(1)
    with pytest.raises(ValueError):
        ShieldCore(game, np.ones(2, dtype=np.uint8), weight, False, 0)
    with pytest.raises(ValueError):
        ShieldCore(game, safe, np.ones(2), False, 0)
    stuck = ShieldCore(game, np.zeros(1, dtype=np.uint8), weight, False, 100)
    assert stuck.step_mask(0) is None and stuck.correct_mask(1) is None
