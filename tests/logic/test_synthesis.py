"""Controllers and counterstrategies against enumerated games and the definitions."""

from __future__ import annotations

import itertools
import json
import pickle
import random

import numpy as np
import pytest
from reference import games as oracle
from reference import temporal

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FormulaSyntaxError,
    MidstreamError,
    StateLimitError,
    UndecidedError,
)
from midstream.logic import _strategy
from midstream.logic._game import Game
from midstream.logic.automaton import compile as compile_automaton
from midstream.logic.parser import parse
from midstream.logic.synthesis import (
    Controller,
    _on_one_letter,
    _Problem,
    counterstrategy,
    realizable,
    synthesize,
    unrealizable_core,
)

ORDERS = ("mealy", "moore")


def random_text(rng, atoms, depth):
    if depth == 0 or rng.random() < 0.1:
        return rng.choice(atoms)
    f, g = random_text(rng, atoms, depth - 1), random_text(rng, atoms, depth - 1)
    form = rng.choice(
        ["!{f}", "X {f}", "X[!] {f}", "F {f}", "G {f}", "{f} & {g}", "{f} | {g}", "{f} -> {g}",
         "{f} <-> {g}", "{f} xor {g}", "{f} U {g}", "{f} W {g}", "{f} R {g}", "{f} M {g}"]
    )  # fmt: skip
    return "(" + form.format(f=f, g=g) + ")"


def play_all(controller, formula):
    """Every play of a controller ends within its bound, satisfied by the definition."""
    letters = oracle.subsets(controller.input_atoms)
    longest = 0
    pending = [[]]
    while pending:
        inputs = pending.pop()
        trace = controller.simulate(inputs)
        longest = max(longest, len(trace))
        if len(trace) < len(inputs):
            continue
        controller.reset()
        stepped = [seen | controller.step(seen) for seen in inputs]
        assert stepped == trace
        assert all(
            t - set(controller.output_atoms) == i for t, i in zip(trace, inputs, strict=True)
        )
        if controller.stop and inputs:
            assert temporal.evaluate(formula, trace)[0]
            continue
        pending += [[*inputs, letter] for letter in letters]
    assert longest == controller.bound
    if controller.order == "moore":
        controller.reset()
        first = controller.outputs()
        assert all(controller.simulate([i])[0] - i == first for i in letters)


def spoil_all(spoiler, formula, length):
    """No play against a counterstrategy is satisfied."""
    for outputs in itertools.product(oracle.subsets(spoiler.output_atoms), repeat=length):
        spoiler.reset()
        trace = []
        for letter in outputs:
            if spoiler.order == "mealy":
                inputs = spoiler.inputs()
                spoiler.observe(letter)
            else:
                inputs = spoiler.step(letter)
            trace.append(inputs | letter)
            assert not temporal.evaluate(formula, trace)[0]


@pytest.mark.parametrize("seed", range(120))
def test_random_games(seed):
    rng = random.Random(seed)
    inputs, outputs = ["a", "b"][: rng.randint(0, 2)], ["x", "y"][: rng.randint(0, 2)]
    formula = parse(random_text(rng, inputs + outputs or ["true"], rng.randint(1, 4)))
    for order in ORDERS:
        expected = oracle.Arena(formula, inputs, outputs, order).realizable()
        assert realizable(formula, inputs, outputs, order=order) == expected
        problem = _Problem(formula, inputs, outputs, order, 100_000, None)
        assert problem.wins() == expected
        controller = synthesize(formula, inputs, outputs, order)
        spoiler = counterstrategy(formula, inputs, outputs, order)
        assert (controller is None) == (not expected) != (spoiler is None)
        if controller is not None and controller.bound <= 4:
            play_all(controller, formula)
        if spoiler is not None:
            spoil_all(spoiler, formula, 3)


def test_every_row(shared_data):
    rows = map(json.loads, shared_data("logic/synthesis.jsonl").read_text().splitlines())
    checked = 0
    for row in rows:
        for order in ORDERS:
            expected = row[f"realizable_{order}"]
            if expected is None:
                continue
            got = realizable(row["formula"], row["inputs"], row["outputs"], order=order)
            assert got == expected, (row["id"], order)
            checked += 1
    assert checked == 285


def test_rows_that_are_small(shared_data):
    rows = map(json.loads, shared_data("logic/synthesis.jsonl").read_text().splitlines())
    for row in rows:
        if len(row["formula"]) > 300 or row["n_atoms"] > 12:
            continue
        for order in ORDERS:
            problem = (row["formula"], row["inputs"], row["outputs"], order)
            spoiler = counterstrategy(*problem)
            assert (synthesize(*problem) is None) == (spoiler is not None)


@pytest.mark.parametrize("seed", range(60))
def test_what_a_formula_says_on_one_letter(seed):
    rng = random.Random(seed)
    text = random_text(rng, ["a", "b"], 4)
    for future, past in zip("XFGURWM", ("Y", "O", "H", "S", "T", "S", "T"), strict=True):
        if rng.random() < 0.4:
            text = text.replace(f"{future} ", f"{past} ").replace(f"{future}[!]", past)
    for window in ("[0:2]", "[1:2]", "[3:]"):
        where = rng.choice("FGUROHST")
        text = text.replace(f"{where} ", f"{where}{window} ", 1)
    formula = parse(text)
    short = _on_one_letter(formula)
    assert not (short.has_future or short.has_past or short.has_interval)
    for letter in oracle.subsets("ab"):
        expected = temporal.evaluate(formula, [letter])[0]
        assert temporal.evaluate(short, [letter, {"a"}])[0] == expected


def test_a_step_is_enough_where_the_automaton_is_too_large():
    outputs = [f"p{i}" for i in range(1, 31, 2)]
    inputs = [f"p{i}" for i in range(2, 31, 2)]
    text = "p1"
    for i in range(2, 32):
        text = f"p{i} U ({text})"
    controller = synthesize(text, inputs, [*outputs, "p31"], max_states=1000)
    assert controller.bound == 1 and controller.step(0) == {"p1"}


def test_many_rules_are_decided_without_a_strategy():
    each = range(40)
    rules = " & ".join(f"G(a{i} -> x{i}) & G(b -> !x{i} | a{i})" for i in each)
    sides = (["b", *(f"a{i}" for i in each)], [f"x{i}" for i in each])
    assert realizable(rules, *sides)
    assert not realizable(rules + " & F(a0 & !x0)", *sides)
    assert not realizable(f"X[!] ({rules})", *sides, order="moore")


def test_mealy_and_moore_differ():
    formula = "G(grant <-> request) & F grant"
    assert synthesize(formula, ["request"], ["grant"]) is None
    formula = "grant <-> request"
    assert realizable(formula, ["request"], ["grant"])
    assert not realizable(formula, ["request"], ["grant"], order="moore")


def test_past_operators_and_windows():
    controller = synthesize("X[!] X[!] (x <-> Y Y a) & F[1:2] (b -> x)", ["a", "b"], ["x"])
    play_all(controller, controller.formula)


def test_a_controller_step_by_step():
    controller = synthesize("X[!] (x <-> Y a)", ["a"], ["x"], "moore")
    assert (controller.n_states, controller.bound) == (3, 2)
    assert controller.outputs() == frozenset()
    controller.observe({"a"})
    copy = pickle.loads(pickle.dumps(controller))
    for one in (controller, copy):
        assert one.outputs() == {"x"} and not one.stop
        one.observe({})
        assert one.stop and one.state == -1
        with pytest.raises(ArgumentValueError, match="play is over"):
            one.outputs()
        with pytest.raises(ArgumentValueError, match="play is over"):
            one.step(())
        one.reset()
        assert one.step({"a": True}) == frozenset() and one.step(0) == {"x"}
    assert controller.simulate([{"a"}, {}, {}]) == [{"a"}, {"x"}]
    assert repr(controller) == (
        "<Controller: moore, 3 states, 1 inputs, 1 outputs, stops within 2 steps>"
    )
    assert controller.table()[0] == (0, {"a": False}, frozenset(), 1)
    assert len(controller.table()) == 4


def test_moves_of_the_other_order_are_refused():
    mealy = synthesize("x <-> a", ["a"], ["x"])
    with pytest.raises(ArgumentValueError, match="step"):
        mealy.outputs()
    with pytest.raises(ArgumentValueError, match="step"):
        mealy.observe({"a"})
    with pytest.raises(ArgumentValueError, match="mask"):
        mealy.step(2)
    with pytest.raises(ArgumentTypeError):
        mealy.step({3})
    spoiler = counterstrategy("x <-> a", ["a"], ["x"], "moore")
    with pytest.raises(ArgumentValueError, match="step"):
        spoiler.inputs()
    with pytest.raises(ArgumentTypeError):
        spoiler.step("x")
    assert "2 states" in repr(spoiler)


def test_signals_are_inputs():
    controller = synthesize("X[!] (alarm <-> Y (heat > 80))", ["heat > 80"], ["alarm"])
    assert controller.step({"heat": 90.5}) == frozenset()
    assert controller.step({"heat": 10}) == {"alarm"} and controller.stop
    assert controller.simulate([{"heat": 81}, {"heat": 0}])[1] == {"alarm"}
    with pytest.raises(ArgumentValueError, match="outputs must not have 'heat > 80'"):
        synthesize("heat > 80", [], ["heat > 80"])


def test_drawings():
    mealy = synthesize('"x \\"1\\"" <-> a', ["a"], ['x "1"'])
    assert mealy.to_dot().count("->") == 3 and '\\"1\\"' in mealy.to_dot()
    moore = synthesize("X[!] (x <-> Y a)", ["a"], ["x"], "moore")
    assert "doublecircle" in moore.to_dot()
    assert "doublecircle" not in counterstrategy("G a & F x", ["a"], ["x"]).to_dot()


def test_tables_that_are_too_long_are_refused():
    controller = synthesize("X[!] (x <-> Y a)", ["a"], ["x"], "moore")
    for write in (controller.table, controller.to_dot):
        assert len(write(max_rows=4)) >= 4
        with pytest.raises(StateLimitError, match="more than max_rows=3 rows") as caught:
            write(max_rows=3)
        assert caught.value.limit == 3
        with pytest.raises(ArgumentValueError, match="max_rows"):
            write(max_rows=0)


@pytest.mark.parametrize("n", [20, 60])
def test_tables_of_many_atoms_are_counted_first(n):
    # 2**n paths in a diagram of 2 n nodes.
    inputs = [f"a{i}" for i in range(n)]
    parity = " xor ".join(inputs)
    controller = synthesize(f"x <-> ({parity})", inputs, ["x"])
    spoiler = counterstrategy(f"x <-> ({parity})", ["x"], inputs, order="moore")
    for player in (controller, spoiler):
        assert len(repr(player)) < 200
        for write in (player.table, player.to_dot):
            with pytest.raises(StateLimitError, match="more than max_rows=100000 rows"):
                write()


def test_core():
    names = (["a"], ["x", "y", "z"])
    core = unrealizable_core("F z & G(a -> x) & G !x & F y", *names)
    assert [str(part) for part in core] == ["G (a -> x)", "G !x"]
    assert unrealizable_core("G(a -> x) & F y", *names) is None
    assert unrealizable_core("G(x <-> a) & F x", *names) == (parse("G(x <-> a)"), parse("F x"))
    assert unrealizable_core("F a", *names) == (parse("F a"),)
    assert unrealizable_core("F x & false", *names) == (parse("false"),)


def test_atoms_that_the_formula_lacks():
    controller = synthesize("x <-> b", ["a", "b"], ["w", "x"])
    assert controller.step({"a", "b"}) == {"x"}
    assert counterstrategy("F b", ["a", "b"], ["w"]).step({"w"}) == frozenset()


@pytest.mark.parametrize(
    ("formula", "inputs", "outputs", "says"),
    [
        ("a & x", ["a"], ["a", "x"], "overlap, but both have 'a'"),
        ("a & x", ["a"], [], "'x', which is in neither inputs nor outputs"),
        ("a", ["a", "a"], [], "inputs must not name 'a' twice"),
        ("a", [], ["a", "a"], "outputs must not name 'a' twice"),
    ],
)
def test_wrong_sides(formula, inputs, outputs, says):
    for function in (synthesize, counterstrategy, unrealizable_core, realizable):
        with pytest.raises(ArgumentValueError, match=says):
            function(formula, inputs, outputs)


def test_wrong_arguments():
    for inputs in ("a", 3, [3], None):
        with pytest.raises(ArgumentTypeError, match="inputs"):
            synthesize("a", inputs, [])
    with pytest.raises(ArgumentTypeError, match="formula"):
        synthesize(3, [], [])
    with pytest.raises(FormulaSyntaxError):
        synthesize("a &", ["a"], [])
    with pytest.raises(ArgumentValueError, match="order"):
        synthesize("a", ["a"], [], "system")
    with pytest.raises(ArgumentValueError, match="max_states"):
        synthesize("a", ["a"], [], max_states=0)
    with pytest.raises(ArgumentValueError, match="timeout_s"):
        synthesize("a", ["a"], [], timeout_s=-1)


def test_limits():
    counter = " & ".join(f"F(a{i} & X[!] x{i})" for i in range(12))
    sides = ([f"a{i}" for i in range(12)], [f"x{i}" for i in range(12)])
    with pytest.raises(StateLimitError):
        counterstrategy(counter, *sides, max_states=50)
    with pytest.raises(UndecidedError, match=r"not decided within timeout_s=0\.0$"):
        counterstrategy(counter, *sides, timeout_s=0)
    # A conjunct alone settles it.
    assert synthesize(counter, *sides, max_states=50) is None


@pytest.mark.parametrize(("text", "wins"), [("true", True), ("false", False)])
@pytest.mark.parametrize("order", ORDERS)
def test_no_atoms(text, wins, order):
    controller = synthesize(text, [], [], order)
    assert (controller is not None) == wins
    if controller is not None:
        assert controller.step() == frozenset() and controller.stop and controller.bound == 1
    spoiler = counterstrategy(text, ["a"], ["x"], order)
    assert (spoiler is None) == wins


def test_a_wrong_machine_is_found():
    formula = parse("X[!] (x <-> Y a)")
    machine = synthesize(formula, ["a"], ["x"])._machine
    automaton = compile_automaton(formula, alphabet=("a", "x"))
    limit = _strategy.Deadline(None)
    check = _strategy.check_product
    assert check(machine, automaton, _strategy.SYSTEM, limit) == 2
    flipped = machine._replace(
        leaves=tuple(leaf._replace(action=1 - leaf.action) for leaf in machine.leaves)
    )
    with pytest.raises(MidstreamError, match="ends rejected"):
        check(flipped, automaton, _strategy.SYSTEM, limit)
    endless = machine._replace(leaves=tuple(leaf._replace(following=0) for leaf in machine.leaves))
    with pytest.raises(MidstreamError, match="never ends"):
        check(endless, automaton, _strategy.SYSTEM, limit)
    with pytest.raises(MidstreamError, match="ends accepted"):
        check(machine, automaton, _strategy.ENVIRONMENT, limit)


def test_controllers_share_nothing():
    first, second = (synthesize("X[!] (x <-> Y a)", ["a"], ["x"]) for _ in range(2))
    assert isinstance(first, Controller)
    first.step({"a"})
    assert (first.state, second.state) == (1, 0) or first.state == 2


def test_kernel_refuses_what_is_no_automaton():
    owner = np.zeros(2, dtype=np.uint8)
    good = np.array([[0, -1, 1], [1, -1, -2]], dtype=np.int32)
    roots = np.array([0, -2], dtype=np.int32)
    game = Game(roots, good, owner)
    rank, _ = game.attract(0, np.array([0, 1], dtype=np.uint8))
    assert rank.tolist() == [0, 0, 1, 0]
    rank, _ = game.attract(1, np.array([0, 1], dtype=np.uint8))
    assert rank.tolist() == [-1, -1, -1, 0]
    for nodes in (
        [[0, -1, 5]],
        [[2, -1, -2]],
        [[0, -3, -1]],
        [[0, 0, -1]],
        [[1, 1, -1], [0, -1, -1]],
    ):
        with pytest.raises((IndexError, ValueError)):
            Game(roots, np.array(nodes, dtype=np.int32), owner)
    with pytest.raises(IndexError):
        Game(np.array([3, 0], dtype=np.int32), good, owner)
    with pytest.raises(ValueError):
        game.attract(0, np.array([1], dtype=np.uint8))
    # Here a parent comes before its child.
    with pytest.raises(ValueError):
        game.forces(np.array([1, 0], dtype=np.uint8), False)


def test_the_spoiler_of_many_variables_is_told_as_far_as_a_word_goes():
    # State 1 is reached where the other makes 3 and 66 true; a word has no place for 66.
    owner = np.zeros(70, dtype=np.uint8)
    owner[40] = 1
    nodes = np.array([[66, -1, -2], [40, -1, 0], [3, -1, 0], [3, -1, 1]], dtype=np.int32)
    target = np.array([1, 0], dtype=np.uint8)
    for root, forced, mask in ((0, 0, 0), (1, 1, 0), (2, 0, 1 << 3), (3, 1, 0)):
        game = Game(np.array([root, -2], dtype=np.int32), nodes, owner)
        values, spoiler = game.forces(target, False)
        assert (values.tolist(), spoiler) == ([forced, 0], mask)
