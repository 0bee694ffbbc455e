"""Formulas over infinite words: machines, monitorability, lassos."""

from __future__ import annotations

import itertools
import json
import pickle
import random

import numpy as np
import pytest
from reference import lassos as oracle

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    StateLimitError,
    UndecidedError,
)
from midstream.logic.formula import Op, and_, atom, make, not_, strong_next, true
from midstream.logic.infinite import ltl3_machine, monitorability, satisfiable_infinite, unrolled
from midstream.logic.parser import parse
from midstream.logic.progression import progress
from midstream.logic.verdict import Verdict

LETTERS = [frozenset(), frozenset("a"), frozenset("b"), frozenset("ab")]
CODES = {"true": Verdict.TRUE, "false": Verdict.FALSE, "inconclusive": Verdict.INCONCLUSIVE}


def mask(letter, alphabet):
    return sum(1 << alphabet.index(name) for name in letter)


def run(machine, letters):
    state = 0
    for letter in letters:
        state = machine.step(state, mask(letter, machine.alphabet))
    return state


def random_formula(rng, size, *, past=True, windows=False):
    if size <= 1:
        return rng.choice([atom("a"), atom("b"), atom("a"), atom("b"), true])
    unary = [Op.NOT, Op.NEXT, Op.STRONG_NEXT, Op.EVENTUALLY, Op.ALWAYS]
    binary = [Op.AND, Op.OR, Op.IMPLIES, Op.IFF, Op.XOR]
    binary += [Op.UNTIL, Op.WEAK_UNTIL, Op.RELEASE, Op.STRONG_RELEASE]
    timed = [Op.EVENTUALLY, Op.ALWAYS, Op.UNTIL, Op.RELEASE]
    if past:
        unary += [Op.YESTERDAY, Op.WEAK_YESTERDAY, Op.ONCE, Op.HISTORICALLY]
        binary += [Op.SINCE, Op.TRIGGER]
        timed += [Op.ONCE, Op.HISTORICALLY, Op.SINCE, Op.TRIGGER]
    op = rng.choice(unary if size == 2 else unary + binary)
    window = None
    if windows and op in timed and rng.random() < 0.6:
        low = rng.randrange(3)
        window = (low, rng.choice([low, low + 1, low + 2, float("inf")]))
    if op in binary:
        left = rng.randrange(1, size - 1)
        args = [
            random_formula(rng, left, past=past, windows=windows),
            random_formula(rng, size - 1 - left, past=past, windows=windows),
        ]
    else:
        args = [random_formula(rng, size - 1, past=past, windows=windows)]
    return make(op, args, window)


def test_every_row_of_the_data(shared_data):
    machines = {}
    with shared_data("logic/monitor_ltl3.jsonl").open() as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == 752
    for row in rows:
        text = row["formula"]
        if text not in machines:
            machine = machines[text] = ltl3_machine(text, alphabet=row["atoms"])
            assert machine.n_states == row["monitor_states"], text
            assert machine.monitorable == row["monitorable"], text
            assert machine.monitorable_initially == row["monitorable_initially"], text
            assert machine.colours[0] == CODES[row["verdict_empty"]], text
        machine, state, verdicts = machines[text], 0, []
        for letter in row["trace"]:
            state = machine.step(state, mask(letter, row["atoms"]))
            verdicts.append(machine.colours[state])
        assert verdicts == [CODES[v] for v in row["verdicts"]], text


def check_against_lassos(formula, words):
    """No word contradicts a verdict; and inconclusive ones soon have both kinds of words."""
    machine = ltl3_machine(formula, alphabet=("a", "b"))
    kinds: dict[tuple[frozenset[str], ...], set[bool]] = {}
    for prefix, loop in words:
        value = oracle.holds(formula, prefix, loop)
        for cut in range(len(prefix) + 1):
            kinds.setdefault(prefix[:cut], set()).add(value)
    for prefix, values in kinds.items():
        verdict = machine.colours[run(machine, prefix)]
        if verdict == Verdict.TRUE:
            assert values == {True}, formula
        elif verdict == Verdict.FALSE:
            assert values == {False}, formula
        elif formula.size <= 5 and not formula.has_interval and len(prefix) <= 1:
            # So small a formula shows both its values on so short words.
            assert values == {True, False}, (formula, prefix)


@pytest.mark.parametrize("past", [False, True])
def test_random_formulas_against_all_short_lassos(past):
    rng = random.Random(3 + past)
    words = list(oracle.lassos(LETTERS, 2, 2))
    for _ in range(60):
        formula = random_formula(rng, rng.randrange(2, 8), past=past, windows=rng.random() < 0.5)
        check_against_lassos(formula, words)


def test_words_found_satisfy_and_none_is_missed():
    rng = random.Random(11)
    words = list(oracle.lassos(LETTERS, 1, 2))
    found = 0
    for _ in range(150):
        formula = random_formula(rng, rng.randrange(2, 10), windows=rng.random() < 0.3)
        for f in (formula, not_(formula)):
            lasso = satisfiable_infinite(f, alphabet=("a", "b"))
            if lasso is None:
                assert not any(oracle.holds(f, *word) for word in words[:40]), f
            else:
                assert lasso.loop
                assert oracle.holds(f, lasso.prefix, lasso.loop), (f, lasso)
                assert lasso.holds(f)
                found += 1
    assert found > 150


def test_past_operators_that_look_at_the_future():
    for text in (
        "F(b & Y(a U b))",
        "G(a -> O F b)",
        "X(H(F a) <-> F b)",
        "Y X a | X Y a",
        "H F a",
        "F H F b",
    ):
        check_against_lassos(parse(text), list(oracle.lassos(LETTERS, 2, 2)))
    assert satisfiable_infinite("X X Y Y (a U b) xor (a U b)") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", "both"),
        ("a & X b", "both"),
        ("G a", "safety"),
        ("a W b", "safety"),
        ("G(a -> O b)", "safety"),
        ("G(a -> F[0:3] b)", "safety"),
        ("F a", "cosafety"),
        ("a U b", "cosafety"),
        ("F(b & H a)", "cosafety"),
        ("F a & G b", "monitorable"),
        ("a U b | G c", "monitorable"),
        ("(a U b) | G a", "safety"),
        ("X a & G F b", "weakly monitorable"),
        ("G F a", "non-monitorable"),
        ("F G a", "non-monitorable"),
        ("G(a -> F b)", "non-monitorable"),
        ("G a | G F b", "non-monitorable"),
        ("G F a & G !a", "both"),
    ],
)
def test_monitorability(text, expected):
    assert monitorability(text) == expected


def test_safety_and_cosafety_are_dual():
    rng = random.Random(5)
    dual = {"safety": "cosafety", "cosafety": "safety"}
    for _ in range(60):
        formula = random_formula(rng, rng.randrange(2, 8))
        kind = monitorability(formula)
        assert monitorability(not_(formula)) == dual.get(kind, kind), formula


def test_restricted_letters():
    free = ltl3_machine("F(a & b)")
    assert free.colours[0] == Verdict.INCONCLUSIVE
    single = ltl3_machine("F(a & b)", letters="at_most_one")
    assert single.n_states == 1
    assert single.colours[0] == Verdict.FALSE
    one = ltl3_machine("X(a xor b)", letters="exactly_one")
    assert one.colours[0] == Verdict.TRUE
    machine = ltl3_machine("F a", alphabet=("a", "b"), letters=parse("a -> b"))
    assert machine.step(0, 0b01) == machine.n_states
    assert machine.colours[machine.step(0, 0b11)] == Verdict.TRUE
    with pytest.raises(ArgumentValueError, match="letters must allow some letter"):
        ltl3_machine("F a", letters=parse("a & !a"))
    with pytest.raises(ArgumentValueError, match="no temporal operator"):
        ltl3_machine("F a", letters=parse("X a"))
    with pytest.raises(ArgumentValueError, match="letters must be"):
        ltl3_machine("F a", letters="some")


def test_windows_are_written_out():
    assert unrolled(parse("F[1:2] a")) is parse("X[!] (a | X[!] a)")
    assert unrolled(parse("a S[0:1] b")) is parse("b | (a & Y b)")
    assert unrolled(parse("G[1:] a")) is parse("N G a")
    assert unrolled(parse("a U b")) is parse("a U b")
    with pytest.raises(ArgumentValueError, match="whole steps"):
        unrolled(parse("F[0:2.5] a"))
    with pytest.raises(StateLimitError, match="windows of 100000 steps in all"):
        unrolled(parse("O[0:100000] a"))


def test_layout_is_ordered_reduced_and_survives_pickling():
    machine = ltl3_machine("G(a -> X(b U c)) & (c W d)")
    nodes = machine.nodes
    for reference in [*machine.roots, *nodes[:, 1:].ravel()]:
        assert -machine.n_states <= reference < len(nodes)
    for variable, low, high in nodes:
        assert low != high
        for child in (low, high):
            assert child < 0 or nodes[child][0] > variable
    assert len({tuple(node) for node in nodes.tolist()}) == len(nodes)
    again = pickle.loads(pickle.dumps(machine))
    np.testing.assert_array_equal(again.nodes, nodes)
    assert again.alphabet == machine.alphabet


def test_limits_end_in_typed_errors():
    # Each of 2**20 combinations of the last letters is another state.
    wide = and_(*(parse(f"G(a{i} <-> X X X X X X b{i})") for i in range(3)))
    with pytest.raises(StateLimitError, match="max_states=1000"):
        ltl3_machine(wide, max_states=1000)
    with pytest.raises(StateLimitError, match="max_nodes=1500"):
        ltl3_machine(wide, max_nodes=1500)
    deep = atom("a")
    for _ in range(10_000):
        deep = strong_next(deep)
    with pytest.raises(StateLimitError, match="too many operators and atoms"):
        ltl3_machine(deep)
    with pytest.raises(StateLimitError, match="windows of 1000000000 steps"):
        ltl3_machine("G(a -> F[0:1000000000] b)")
    hard = and_(*(parse(f"G F(p{i} & X(q{i} U p{(i + 1) % 40}))") for i in range(40)))
    with pytest.raises(UndecidedError, match=r"timeout_s=0\.2"):
        ltl3_machine(hard, timeout_s=0.2)


def counter(n):
    """Bits b0, b1, ... that count letters, from anywhere: a word repeats after 2**n of them."""
    carries = ["true", *(" & ".join(f"b{j}" for j in range(k)) for k in range(1, n))]
    steps = (f"(X b{k} <-> (b{k} xor ({carry})))" for k, carry in enumerate(carries))
    return f"G({' & '.join(steps)})"


@pytest.mark.parametrize("n", [1, 3, 8])
def test_words_may_be_long(n):
    word = satisfiable_infinite(counter(n))
    letters = [*word.prefix, *word.loop, word.loop[0]]
    values = [sum(1 << k for k in range(n) if f"b{k}" in letter) for letter in letters]
    assert len(word.loop) == 1 << n
    for before, after in itertools.pairwise(values):
        assert after == (before + 1) % (1 << n)


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_what_comes_again_may_be_many_steps_away(steps):
    run_of_a = " & ".join(f"{'X ' * k}a" for k in range(steps))
    formula = parse(f"G F ({run_of_a} & {'X ' * steps}!a)")
    word = satisfiable_infinite(formula)
    assert oracle.holds(formula, word.prefix, word.loop)


@pytest.mark.parametrize(
    "text",
    [
        "G(a -> X(b U c)) & F(c S (b & X a)) & G F (a xor X b)",
        "G(Y a -> F (b & O c)) & G F (d U (a & X d))",
        "G F a & G F b & G F (c & X d) & (F G a -> G (b -> O d))",
        "G F (a & X a & X X a & X X X (a xor b) & X X X X X X !a)",
        "G(a -> F[0:2] b) & G(c -> O[1:2] a) & F (c & H[0:1] d)",
    ],
)
def test_whatever_the_limit_of_nodes_an_answer_is_right(text):
    formula = parse(text)
    whole, kind = ltl3_machine(formula), monitorability(formula)
    answers = {"word": [], "machine": [], "kind": []}
    for max_nodes in range(1024, 6000, 53):
        for name, found in answers.items():
            try:
                if name == "word":
                    word = satisfiable_infinite(formula, max_nodes=max_nodes)
                    assert oracle.holds(formula, word.prefix, word.loop)
                elif name == "machine":
                    machine = ltl3_machine(formula, max_nodes=max_nodes)
                    for mine, other in zip(
                        (machine.nodes, machine.roots, machine.colours),
                        (whole.nodes, whole.roots, whole.colours),
                        strict=True,
                    ):
                        np.testing.assert_array_equal(mine, other)
                else:
                    assert monitorability(formula, max_nodes=max_nodes) == kind
            except StateLimitError as error:
                assert error.limit == max_nodes
                found.append(False)
            else:
                found.append(True)
    # What is enough once is enough from there on.
    for found in answers.values():
        assert found == sorted(found)
        assert found[-1]
    assert not all(map(all, answers.values()))


def test_deep_boolean_formulas_are_fine():
    deep = atom("a")
    for i in range(10_000):
        deep = not_(deep) if i % 2 else make(Op.OR, [deep, atom("b")])
    assert ltl3_machine(deep).n_states <= 3


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: ltl3_machine(3), ArgumentTypeError),
        (lambda: ltl3_machine("a", alphabet="a"), ArgumentTypeError),
        (lambda: ltl3_machine("a", alphabet=("b",)), ArgumentValueError),
        (lambda: ltl3_machine("a", alphabet=("a", "a")), ArgumentValueError),
        (lambda: ltl3_machine("a", max_states=0), ArgumentValueError),
        (lambda: ltl3_machine("a", timeout_s=-1), ArgumentValueError),
        (lambda: ltl3_machine("a &"), ValueError),
    ],
)
def test_arguments(call, error):
    with pytest.raises(error):
        call()


def test_the_machine_is_minimal():
    rng = random.Random(8)
    for _ in range(40):
        machine = ltl3_machine(random_formula(rng, rng.randrange(3, 9)), alphabet=("a", "b"))
        # Words up to this length tell any two states of so small a machine apart.
        n = machine.n_states
        classes = machine.colours.astype(int).tolist()
        for _ in range(n):
            classes = [
                (classes[s], *(classes[machine.step(s, m)] for m in range(4))) for s in range(n)
            ]
            names = {key: i for i, key in enumerate(dict.fromkeys(classes))}
            classes = [names[key] for key in classes]
        assert len(set(classes)) == n
        reached = {0}
        for _ in range(n):
            reached |= {machine.step(s, m) for s, m in itertools.product(reached, range(4))}
        assert len(reached) == n


def test_verdicts_are_those_of_spots_automata():
    spot = pytest.importorskip("spot", reason="spot is not installed")

    def in_spot(formula):
        # Over infinite words both are one operator, which Spot calls X.
        return str(formula).replace("X[!]", "X").replace("N ", "X ")

    def empty(text):
        return spot.translate(text).is_empty()

    rng = random.Random(17)
    for _ in range(60):
        formula = random_formula(rng, rng.randrange(4, 14), past=False)
        machine = ltl3_machine(formula, alphabet=("a", "b"))
        rest, state = formula, 0
        for _ in range(4):
            text = in_spot(rest)
            verdict = machine.colours[state]
            assert (verdict == Verdict.FALSE) == empty(text), (formula, rest)
            assert (verdict == Verdict.TRUE) == empty(f"!({text})"), (formula, rest)
            letter = rng.choice(LETTERS)
            rest = progress(rest, letter)
            state = machine.step(state, mask(letter, "ab"))


def test_reaching_is_what_successors_say():
    texts = [
        "a U b | G c",
        "G F a",
        "a & X b",
        "G(a -> F b) & G !c",
        "true",
        "F[0:20] a",
        "F a & F b",
    ]
    for text in texts:
        machine = ltl3_machine(text, letters="at_most_one" if "c" in text else "all")
        successors = machine.successors()
        for verdict in Verdict:
            expected = machine.colours == int(verdict)
            for _ in range(machine.n_states):
                expected = expected | [bool(expected[some].any()) for some in successors]
            assert np.array_equal(machine.reaching(verdict), expected)


def test_machines_have_a_short_repr():
    machine = ltl3_machine("G(" + " xor ".join(f"a{i}" for i in range(60)) + ")")
    assert (
        repr(machine) == "<Machine of 2 states (1 false, 1 inconclusive) over 60 atoms, 119 nodes>"
    )
