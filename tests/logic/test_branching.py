"""CTL against enumeration of paths, and its evidence against the definitions."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import random

import numpy as np
import pytest
from reference import branching as oracle

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, FormulaSyntaxError
from midstream.logic import branching
from midstream.logic._ctl import Graph
from midstream.logic.branching import (
    CtlFormula,
    CtlOp,
    Kripke,
    check_ctl,
    counterexample_ctl,
    ctl_mask,
    holds_ctl,
    parse_ctl,
    witness_ctl,
)

TEMPORAL = [op.name for op in CtlOp if op >= CtlOp.EX]
UNARY = TEMPORAL[:6]


def random_graph(rng, n):
    return [rng.sample(range(n), rng.randint(1, min(n, 3))) for _ in range(n)]


def random_formula(rng, depth):
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(["p", "q", "true", "false"])
    f, g = random_formula(rng, depth - 1), random_formula(rng, depth - 1)
    choice = rng.choice([*TEMPORAL, *TEMPORAL, "!", "&", "|", "->", "<->", "xor"])
    if choice == "!":
        return f"!({f})"
    if choice in UNARY:
        return f"{choice} ({f})"
    if choice in TEMPORAL:
        return f"{choice[0]}[{f} {choice[1]} {g}]"
    return f"({f}) {choice} ({g})"


def truth(formula, succ, labels):
    """States by the oracle."""
    every = set(range(len(succ)))
    sets = {}
    for node in formula.nodes():
        args = [sets[arg] for arg in node.args]
        op = node.op
        if op == CtlOp.ATOM:
            sets[node] = set(labels[node.atom])
        elif op in (CtlOp.TRUE, CtlOp.FALSE):
            sets[node] = every if op == CtlOp.TRUE else set()
        elif op == CtlOp.NOT:
            sets[node] = every - args[0]
        elif op == CtlOp.AND:
            sets[node] = set.intersection(*args)
        elif op == CtlOp.OR:
            sets[node] = set.union(*args)
        elif op == CtlOp.XOR:
            sets[node] = args[0] ^ args[1]
        elif op == CtlOp.IFF:
            sets[node] = every - (args[0] ^ args[1])
        elif op == CtlOp.IMPLIES:
            sets[node] = (every - args[0]) | args[1]
        else:
            sets[node] = oracle.satisfying(succ, op.name, args[0], args[-1])
    return sets


def verify(evidence, succ, sets, depth=0):
    """Check a path and all it rests on."""
    node, op = evidence.formula, evidence.formula.op
    assert evidence.holds == (evidence.states[0] in sets[node])
    states, loop = evidence.states, evidence.loop
    for here, there in itertools.pairwise(states):
        assert there in succ[here]
    if loop is not None:
        assert states[loop] in succ[states[-1]]
    if op >= CtlOp.EX and not evidence.universal:
        f, g = (sets[node.args[0]], sets[node.args[-1]])
        every = set(range(len(succ)))
        if op in (CtlOp.EX, CtlOp.AX):
            assert len(states) == 2 and (states[1] in f) == evidence.holds
        elif evidence.goal is None:
            hold = {
                "EG": f, "EW": f, "ER": g, "AF": every - f, "AU": every - g, "AM": every - f,
            }[op.name]  # fmt: skip
            assert loop is not None and set(states) <= hold
        else:
            hold, goal = {
                "EF": (every, f), "EU": (f, g), "EW": (f, g), "ER": (g, f & g), "EM": (g, f & g),
                "AG": (every, every - f), "AU": (every - g, every - f - g),
                "AW": (every - g, every - f - g), "AR": (every - f, every - g),
                "AM": (every - f, every - g),
            }[op.name]  # fmt: skip
            assert states[evidence.goal] in goal and set(states[: evidence.goal]) <= hold
    if depth < 3:
        for position in range(len(states)):
            for part in evidence.at(position):
                assert part.states[0] == states[position]
                verify(part, succ, sets, depth + 1)


def test_every_row(shared_data):
    rows = map(json.loads, shared_data("logic/ctl.jsonl").read_text().splitlines())
    checked = 0
    for row in rows:
        kripke = Kripke(row["succ"], row["labels"])
        for case in row["formulas"]:
            formula = parse_ctl(case["formula"])
            assert parse_ctl(str(formula)) is formula
            assert sorted(check_ctl(kripke, formula)) == case["sat"], (row["id"], case)
            checked += 1
    assert checked == 762


@pytest.mark.parametrize("seed", range(150))
def test_against_enumeration_of_paths(seed):
    rng = random.Random(seed)
    n = rng.randint(1, 6)
    succ = random_graph(rng, n)
    labels = {name: [s for s in range(n) if rng.random() < 0.5] for name in "pq"}
    kripke = Kripke(succ, labels)
    for _ in range(4):
        formula = parse_ctl(random_formula(rng, 3))
        sets = truth(formula, succ, labels)
        assert check_ctl(kripke, formula) == sets[formula]
        for state in range(n):
            shown = witness_ctl(kripke, formula, state)
            refuted = counterexample_ctl(kripke, formula, state)
            assert (shown is None) == (state not in sets[formula]) != (refuted is None)
            verify(shown or refuted, succ, sets)


@pytest.mark.parametrize("seed", range(100))
def test_fairness_against_the_nested_fixpoint(seed):
    rng = random.Random(seed)
    n = rng.randint(1, 6)
    succ = random_graph(rng, n)
    every = set(range(n))
    p, q = ({s for s in range(n) if rng.random() < 0.6} for _ in range(2))
    fairness = [{s for s in range(n) if rng.random() < 0.5} for _ in range(rng.randint(1, 3))]
    kripke = Kripke(succ, {"p": p, "q": q})
    fair = oracle.fair_globally(succ, every, fairness)
    expected = {
        "EG p": oracle.fair_globally(succ, p, fairness),
        "EX p": {s for s in every if any(t in p & fair for t in succ[s])},
        "E[p U q]": {s for s in every if oracle.until(succ, p, q & fair, s)},
        "AF p": every - oracle.fair_globally(succ, every - p, fairness),
        "AG p": {s for s in every if not oracle.until(succ, every, fair - p, s)},
        "A[p W q]": {s for s in every if not oracle.until(succ, every - q, fair - p - q, s)},
    }
    for text, states in expected.items():
        assert check_ctl(kripke, text, fairness=fairness) == states, text
        for state in every:
            evidence = witness_ctl(kripke, text, state, fairness=fairness)
            evidence = evidence or counterexample_ctl(kripke, text, state, fairness=fairness)
            if evidence.universal:
                continue
            states_, loop = evidence.states, evidence.loop
            assert all(b in succ[a] for a, b in itertools.pairwise(states_))
            assert states_[loop] in succ[states_[-1]]
            assert all(set(states_[loop:]) & constraint for constraint in fairness)


def test_fairness_by_formula_and_by_states():
    kripke = Kripke({"idle": ["idle", "busy"], "busy": ["idle"]}, {"busy": ["busy"]})
    assert check_ctl(kripke, "AF busy") == {"busy"}
    for fairness in (["busy"], [["busy"]], [parse_ctl("!EX true | busy")]):
        assert check_ctl(kripke, "AF busy", fairness=fairness) == {"idle", "busy"}
    # No path is fair: every claim about all paths is true.
    assert check_ctl(kripke, "AG false", fairness=[[]]) == {"idle", "busy"}
    assert check_ctl(kripke, "EF true", fairness=[[]]) == frozenset()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a -> b -> c", "a -> (b -> c)"),
        ("a <-> b -> c", "a <-> (b -> c)"),
        ("a | b & c", "a | (b & c)"),
        ("a | b xor c", "a | (b xor c)"),
        ("a xor b & c", "a xor (b & c)"),
        ("a ^ b ^ c", "(a xor b) xor c"),
        ("!a & b", "(!a) & b"),
        ("EX a & b", "(EX a) & b"),
        ("AGEF a", "AG (EF a)"),
        ("A G E F a", "AG EF a"),
        ("E[a -> b U c | d]", "E[(a -> b) U (c | d)]"),
        ("A(a W b)", "A[a W b]"),
        ("E[E[a M b] R !c]", "E[(E[a M b]) R (!c)]"),
        ("~a && b || 1", "(!a & b) | true"),
        ("a /\\ b \\/ 0", "(a & b) | false"),
        ("a => b", "a implies b"),
        ('"a"', "a"),
        ("((a))", "a"),
        ("a & (b & c)", "a & b & c"),
    ],
)
def test_grammar(text, same):
    assert parse_ctl(text) is parse_ctl(same)
    assert parse_ctl(str(parse_ctl(text))) is parse_ctl(text)


@pytest.mark.parametrize("name", ["U", "EX", "AGEF", "true", "xor", "a b", 'say "x"', "\\", "é\n"])
def test_any_name_is_an_atom_in_quotes(name):
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    formula = parse_ctl(f"EX {quoted} & a.b_1")
    assert formula.atoms == (name, "a.b_1")
    assert parse_ctl(str(formula)) is formula
    assert check_ctl(Kripke([[0]], {name: [0], "a.b_1": [0]}), formula) == {0}


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 0, "expected a formula"),
        ("a &", 3, "expected a formula, not the end"),
        ("a b", 2, "expected an operator, not 'b'"),
        ("(a", 2, "expected '\\)' before the end"),
        ("a)", 1, "expected an operator"),
        ("E[a]", 3, "wants U, W, R or M"),
        ("E[a U b U c]", 8, "has U already"),
        ("E[(a U b)]", 5, "directly inside"),
        ("a U b", 2, "directly inside"),
        ("E a", 1, "must be followed by"),
        ("E[a U b)", 7, "expected an operator"),
        ('"a', 0, "quote is not closed"),
        ('a & ""', 4, "must not be empty"),
        ("a $ b", 2, r"unexpected character '\$'"),
        ("F a", 0, "expected a formula, not 'F'"),
    ],
)
def test_syntax_errors_show_the_place(text, position, says):
    with pytest.raises(FormulaSyntaxError, match=says) as caught:
        parse_ctl(text)
    assert caught.value.position == position


def test_line_and_column():
    with pytest.raises(FormulaSyntaxError) as caught:
        parse_ctl("a &\n  b c")
    assert (caught.value.line, caught.value.column) == (2, 5)


@pytest.mark.parametrize(
    "text",
    [
        "EX " * 10_000 + "a",
        "!" * 10_000 + "a",
        "(" * 10_000 + "a" + ")" * 10_000,
        "E[a U " * 10_000 + "a" + "]" * 10_000,
        "a & " * 10_000 + "a",
        "a -> " * 10_000 + "a",
        "a xor " * 10_000 + "a",
    ],
    ids=["EX", "not", "parentheses", "until", "and", "implies", "xor"],
)
def test_deep_formulas(text):
    formula = parse_ctl(text)
    assert parse_ctl(str(formula)) is formula
    assert pickle.loads(pickle.dumps(formula)) is formula
    assert check_ctl(Kripke([[0, 1], [1]], {"a": [0, 1]}), formula) <= {0, 1}
    evidence = witness_ctl(Kripke([[0]], {"a": [0]}), formula, 0)
    assert evidence is None or evidence.holds


def test_formulas_are_interned_and_immutable():
    a = parse_ctl("a")
    assert (a & a, a | a, a ^ a, a >> a, ~a) == tuple(
        map(parse_ctl, ["a & a", "a | a", "a xor a", "a -> a", "!a"])
    )
    assert copy.deepcopy(a) is copy.copy(a) is pickle.loads(pickle.dumps(a)) is a
    with pytest.raises(ArgumentTypeError, match="no truth value"):
        bool(a)
    with pytest.raises(ArgumentTypeError):
        CtlFormula()
    with pytest.raises(TypeError):
        a & "b"


def test_exponential_text_is_refused():
    formula = parse_ctl("a")
    for _ in range(60):
        formula = formula ^ formula
    assert len(formula.nodes()) == 61
    assert check_ctl(Kripke([[0]], {"a": [0]}), formula) == frozenset()
    assert "more than" in repr(formula)
    with pytest.raises(RuntimeError, match="written out"):
        str(formula)


@pytest.mark.parametrize(
    ("successors", "labels", "says"),
    [
        ({}, {}, "at least one state"),
        ([], {}, "at least one state"),
        ([[]], {}, "state 0 has no successor"),
        ({"a": ["b"]}, {}, "successors of 'a' names 'b'"),
        ([[1]], {}, "successors of 0 names 1"),
        ([[True]], {}, "names True"),
        ([[-1]], {}, "names -1"),
        ({"a": ["a"]}, {"p": ["b"]}, r"labels\['p'\] names 'b'"),
        ({"a": [["a"]]}, {}, "is not a state"),
        ([[0]], {"p": np.array([True, False])}, "shape"),
    ],
)
def test_wrong_structures(successors, labels, says):
    with pytest.raises(ArgumentValueError, match=says):
        Kripke(successors, labels)


@pytest.mark.parametrize(
    ("successors", "labels"),
    [(3, {}), ("ab", {}), ([3], {}), (["a"], {}), ([[0]], {1: [0]}), ([[0]], {"p": 0}), ([[0]], 3)],
)
def test_wrong_types(successors, labels):
    with pytest.raises(ArgumentTypeError):
        Kripke(successors, labels)


def test_wrong_questions():
    kripke = Kripke([[0]], {"p": [0]})
    with pytest.raises(ArgumentValueError, match="atom 'q', which labels lack; they have 'p'"):
        check_ctl(kripke, "EF q")
    with pytest.raises(ArgumentValueError, match="names 7"):
        witness_ctl(kripke, "p", 7)
    with pytest.raises(ArgumentValueError, match="initial"):
        holds_ctl(kripke, "p")
    with pytest.raises(ArgumentValueError, match=r"initial\[0\] names 'x'"):
        Kripke([[0]], {}, initial=["x"])
    with pytest.raises(ArgumentTypeError):
        check_ctl(kripke, 3)
    with pytest.raises(ArgumentTypeError):
        check_ctl([[0]], "p")
    with pytest.raises(ArgumentTypeError):
        check_ctl(kripke, "p", fairness="p")
    with pytest.raises(ArgumentValueError, match="dead_ends"):
        Kripke([[]], {}, dead_ends="loop")
    with pytest.raises(ArgumentValueError, match="position"):
        witness_ctl(kripke, "p", 0).at(1)


def test_the_binding_refuses_what_is_no_graph():
    ends = np.array([0, 1], np.int32)
    for n, source, target in ((0, ends, ends), (2, ends, ends[:1])):
        with pytest.raises(ValueError, match="not a graph"):
            Graph(n, source, target)
    for bad in (np.array([0, 2], np.int32), np.array([-1, 0], np.int32)):
        with pytest.raises(IndexError, match="no such state"):
            Graph(2, ends, bad)
        with pytest.raises(IndexError, match="no such state"):
            Graph(2, bad, ends)
    graph, two, three = Graph(2, ends, ends), np.ones(2, np.uint8), np.ones(3, np.uint8)
    for call in (
        lambda: graph.exists_next(three),
        lambda: graph.ranks(three, two),
        lambda: graph.ranks(two, three),
        lambda: graph.exists_globally(three),
        lambda: graph.fair_components(three, two[None]),
    ):
        with pytest.raises(ValueError, match="not a set of these states"):
            call()
    for fair in (three[None], np.ones((0, 2), np.uint8)):
        with pytest.raises(ValueError, match="not sets of these states"):
            graph.fair_components(two, fair)
    assert graph.fair_components(two, two[None]).tolist() in ([0, 1], [1, 0])


def test_a_graph_without_edges():
    none = np.empty(0, np.int32)
    graph, states = Graph(3, none, none), np.array([0, 1, 1], np.uint8)
    assert graph.exists_next(states).tolist() == [0, 0, 0]
    assert graph.exists_globally(states).tolist() == [0, 0, 0]
    assert graph.ranks(np.ones(3, np.uint8), states).tolist() == [-1, 0, 0]
    assert graph.fair_components(states, states[None]).tolist() == [-1, -1, -1]


def test_dead_ends_may_stay():
    kripke = Kripke({"a": ["b"], "b": []}, {"p": ["b"]}, ["a"], dead_ends="stay")
    assert kripke.successors("b") == ("b",)
    assert holds_ctl(kripke, "AF AG p")
    assert repr(kripke) == "<Kripke of 2 states and 2 transitions>"


def test_states_may_be_numpy_integers():
    rows = [list(row) for row in np.array([[1, 0], [1, 1]])]
    kripke = Kripke(rows, {"p": np.array([1])}, np.array([0], dtype=np.uint8))
    assert check_ctl(kripke, "EX p") == {0, 1} and holds_ctl(kripke, "EF p")
    with pytest.raises(ArgumentValueError, match="successors of 1 names"):
        Kripke([[0], [np.int64(2)]], {})


def test_structures_pickle():
    for kripke in (
        Kripke({"a": ["b", "a"], "b": ["b"]}, {"p": ["b"]}, ["a"]),
        Kripke([[1, 0], [1]], {"p": [1]}, [0]),
    ):
        copied = pickle.loads(pickle.dumps(kripke))
        assert (copied.states, copied.initial) == (kripke.states, kripke.initial)
        for text in ("EX p", "AF p", "p"):
            assert check_ctl(copied, text) == check_ctl(kripke, text)
        assert not holds_ctl(copied, "AF p") and holds_ctl(copied, "EF AG p")


def test_from_edges():
    kripke = Kripke.from_edges(3, [[0, 1], [1, 2], [2, 2]], {"p": np.array([False, False, True])})
    assert ctl_mask(kripke, "EX p").tolist() == [False, True, True]
    for wrong in ([[0, 3]], [[-1, 0]], [0, 1]):
        with pytest.raises(ArgumentValueError):
            Kripke.from_edges(3, wrong, {})
    with pytest.raises(ArgumentTypeError):
        Kripke.from_edges(3, [[0.5, 1.0]], {})
    with pytest.raises(ArgumentValueError, match="no successor"):
        Kripke.from_edges(1, [], {})
    assert Kripke.from_edges(1, [], {}, dead_ends="stay").successors(0) == (0,)


def test_a_hundred_thousand_states():
    n = 100_000
    ring = np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)
    kripke = Kripke.from_edges(n, ring, {"p": [0], "q": range(1, n)}, [0])
    assert holds_ctl(kripke, "AG AF p & AG EF p & !EG q & A[p W q]")
    evidence = witness_ctl(kripke, "E[q U p]", 1)
    assert len(evidence.states) == n and evidence.goal == n - 1


def test_text_of_evidence():
    kripke = Kripke([[1], [2, 0], [2]], {"p": [2], "q": [0, 1]})
    assert str(witness_ctl(kripke, "E[q U p]", 0)) == "E[q U p] holds in 0: 0 -> 1 -> 2"
    assert str(counterexample_ctl(kripke, "EG p", 0)) == "EG p fails in 0 on any path"
    assert str(witness_ctl(kripke, "p", 2)) == "p holds in 2"
    assert "AF p fails in 0: 0 -> 1 -> back to 0" in repr(counterexample_ctl(kripke, "AF p", 0))


def test_names():
    assert all(hasattr(branching, name) for name in branching.__all__)


def test_evidence_pickles_and_copies():
    work = Kripke({"idle": ["idle", "busy"], "busy": ["idle"]}, {"busy": ["busy"]})
    found = counterexample_ctl(work, "AG (!busy -> AF busy)", "idle")
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert str(other) == str(found)
        assert (other.states, other.loop, other.holds) == (found.states, found.loop, found.holds)
        assert [str(part) for part in other.at(0)] == [str(part) for part in found.at(0)]
