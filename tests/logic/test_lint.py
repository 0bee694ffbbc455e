"""Lint of rules against products of automata, explored letter by letter."""

from __future__ import annotations

import itertools
import random

import pytest
from reference.temporal import holds

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic._ops import Op
from midstream.logic.automaton import compile
from midstream.logic.formula import atom, make
from midstream.logic.lint import KINDS, LintFinding, lint_rules
from midstream.logic.rulebook import RuleBook
from midstream.logic.rules import Rule
from midstream.logic.verdict import Verdict

ATOMS = ("a", "b", "c")
LETTERS = [frozenset(one) for k in range(4) for one in itertools.combinations(ATOMS, k)]


def found(rules, **options):
    """{kind: set of rules' names}."""
    kinds = {}
    for finding in lint_rules(rules, **options):
        kinds.setdefault(finding.kind, set()).add(finding.rules)
    return kinds


class Product:
    """All rules at once: reachable tuples of states, and which of them can still be kept."""

    def __init__(self, formulas):
        self.machines = [compile(formula, alphabet=ATOMS) for formula in formulas]
        tables = [machine.table() for machine in self.machines]
        start = (0,) * len(formulas)
        self.next = {}
        self.word = {start: ()}
        todo = [start]
        for here in todo:
            self.next[here] = [
                tuple(int(table[state, mask]) for table, state in zip(tables, here, strict=True))
                for mask in range(8)
            ]
            for there in self.next[here]:
                if there not in self.word:
                    self.word[there] = (*self.word[here], None)
                    todo.append(there)
        accepting = {
            state
            for state in self.next
            if all(m.accepting[s] for m, s in zip(self.machines, state, strict=True))
        }
        self.live = set(accepting)
        changed = True
        while changed:
            more = {s for s in self.next if s not in self.live and self.live & set(self.next[s])}
            changed = bool(more)
            self.live |= more
        # Of the start, only what follows counts: the empty stream keeps nothing.
        self.satisfiable = bool(self.live & set(self.next[start])) or bool(
            start in accepting and self.word
        )

    def traps(self):
        """Lengths of the words to states where no rule is broken, and one must be."""
        return [
            len(self.word[state])
            for state in self.next
            if self.reached_whole(state) and state not in self.live
        ]

    def reached_whole(self, state):
        return all(
            machine.colours[one] != Verdict.FALSE
            for machine, one in zip(self.machines, state, strict=True)
        )


def random_formula(rng, depth):
    if depth == 0 or rng.random() < 0.15:
        return atom(rng.choice(ATOMS))
    ops = (Op.NOT, Op.AND, Op.OR, Op.IMPLIES, Op.NEXT, Op.STRONG_NEXT, Op.EVENTUALLY, Op.ALWAYS)
    op = rng.choice((*ops, Op.ALWAYS, Op.EVENTUALLY, Op.UNTIL, Op.WEAK_UNTIL, Op.ONCE))
    width = 2 if op in (Op.AND, Op.OR, Op.IMPLIES, Op.UNTIL, Op.WEAK_UNTIL) else 1
    return make(op, [random_formula(rng, depth - 1) for _ in range(width)])


def test_against_products():
    rng = random.Random(11)
    seen = set()
    for _ in range(150):
        formulas = {f"r{k}": random_formula(rng, 3) for k in range(rng.randrange(1, 5))}
        findings = lint_rules(formulas)
        seen |= {finding.kind for finding in findings}
        kinds = {}
        for finding in findings:
            kinds.setdefault(finding.kind, []).append(finding)
        assert "undecided" not in kinds

        def kept(names, formulas=formulas):
            return Product([formulas[name] for name in names]).satisfiable

        unsatisfiable = {name for name in formulas if not kept([name])}
        dead = {name for name in formulas if not Product([~formulas[name]]).satisfiable}
        assert {f.rules[0] for f in kinds.get("unsatisfiable", [])} == unsatisfiable
        assert {f.rules[0] for f in kinds.get("dead", [])} == dead
        sound = [name for name in formulas if name not in unsatisfiable | dead]
        # Every conflict that is reported is one, and none of its rules can be left out.
        for finding in kinds.get("contradiction", []):
            assert not kept(finding.rules)
            for name in finding.rules:
                assert kept([one for one in finding.rules if one != name])
        pairs = {pair for pair in itertools.combinations(sound, 2) if not kept(pair)}
        reported = {f.rules for f in kinds.get("contradiction", [])}
        assert {one for one in reported if len(one) == 2} == pairs
        if not kept(sound):
            assert reported
        for first, second in itertools.combinations(sound, 2):
            if (first, second) in pairs:
                continue
            shared = set(formulas[first].atoms) & set(formulas[second].atoms)
            forth = not Product([formulas[first], ~formulas[second]]).satisfiable
            back = not Product([formulas[second], ~formulas[first]]).satisfiable
            told = {f.rules for f in kinds.get("duplicate", [])}
            assert ((first, second) in told) == (forth and back and bool(shared))
            told = {f.rules for f in kinds.get("shadowed", [])}
            assert ((first, second) in told) == (forth and not back and bool(shared))
            assert ((second, first) in told) == (back and not forth and bool(shared))
        for finding in kinds.get("shadowed", []):
            strong, weak = (formulas[name] for name in finding.rules)
            assert holds(weak, finding.witness) and not holds(strong, finding.witness)
        for finding in kinds.get("trap", []):
            book = RuleBook({name: formulas[name] for name in finding.rules})
            for letter in finding.witness:
                book.step(letter)
            assert Verdict.FALSE not in book.verdicts.values()
            for word in itertools.chain.from_iterable(
                itertools.product(LETTERS, repeat=k) for k in range(3)
            ):
                twin = book.copy()
                for letter in word:
                    twin.step(letter)
                assert min(twin.verdicts.values()) <= Verdict.PRESUMABLY_FALSE
        if sound and not reported:
            lengths = Product([formulas[name] for name in sound]).traps()
            assert bool(kinds.get("trap")) == bool(lengths), formulas
            if lengths:
                assert len(kinds["trap"][0].witness) <= min(lengths)
    assert {"unsatisfiable", "dead", "contradiction", "trap", "shadowed", "duplicate"} <= seen


def test_conflicts_of_three():
    kinds = found({"w": "F d", "a": "F a", "order": "!a W b", "never": "G !b", "x": "G(d -> F e)"})
    assert kinds["contradiction"] == {("a", "order", "never")}


def test_conflicts_of_four():
    rules = {"a": "F a", "ab": "G(a -> F b)", "bc": "G(b -> F c)", "c": "G !c", "d": "F(a & d)"}
    assert found(rules)["contradiction"] == {("a", "ab", "bc", "c")} or found(rules)[
        "contradiction"
    ] == {("ab", "bc", "c", "d")}


def test_trap():
    rules = {
        "close what was opened": "G(open -> F close)",
        "nothing after shutdown": "G(shutdown -> N G !close)",
        "other": "G(open -> N !open)",
    }
    (finding,) = [one for one in lint_rules(rules) if one.kind == "trap"]
    assert finding.rules == ("close what was opened", "nothing after shutdown")
    assert finding.witness == (frozenset({"open", "shutdown"}),)
    assert str(finding) == (
        "trap: close what was opened, nothing after shutdown: no rule is broken yet, but one "
        "must be (after {open, shutdown})"
    )


def test_vacuous():
    assert found({"r": "G(a & !a -> F b)"})["dead"] == {("r",)}
    kinds = found({"r": "G(a -> F b)", "s": "G !a"})
    assert kinds["vacuous"] == {("r",)} and kinds["shadowed"] == {("s", "r")}
    assert found({"r": "G(a & c -> F b) & F d"}, letters="at_most_one")["vacuous"] == {("r",)}
    assert "vacuous" not in found({"r": "G(a -> F b)", "s": "!a W b"})


def test_not_monitorable():
    assert found(["G(a -> F b)"]) == {"not_monitorable": {("G(a -> F b)",)}}
    assert found(["G !a", "F b"]) == {}


def test_unknown_atoms():
    kinds = found({"r": "G(delete -> F log)", "s": "!deltee W backup"}, alphabet=["delete", "log"])
    assert kinds["unknown_atom"] == {("s",)}
    messages = [
        one.message
        for one in lint_rules({"s": "!deltee W log"}, alphabet=["delete", "log"])
        if one.kind == "unknown_atom"
    ]
    assert messages == ["atom 'deltee' is not in the alphabet; did you mean 'delete'?"]
    rules = {"r": "G(delete -> F log)", "t": "F delete", "s": "!deltee W log"}
    assert found(rules)["unknown_atom"] == {("s",)}
    rules = {"r": "G(tool1 -> F log)", "t": "F tool1", "s": "!tool2 W log"}
    assert "unknown_atom" not in found(rules)
    rules = [Rule("r", "F a", atoms={"a": {"x": 1}}), Rule("s", "G(a -> F b)")]
    assert found(rules)["unknown_atom"] == {("s",)}


def test_names():
    kinds = found([Rule("r", "F a"), Rule("r", "F b"), Rule("s", "F b & true")])
    assert kinds == {"duplicate_name": {("r",)}, "duplicate": {("r", "s")}}


def test_atoms_are_what_they_mean():
    same = [
        Rule("r", "G !del", atoms={"del": {"name": "delete"}}),
        Rule("s", "F remove", atoms={"remove": {"name": "delete"}}),
    ]
    assert found(same)["contradiction"] == {("r", "s")}
    other = [Rule("r", "G !x", atoms={"x": {"n": 1}}), Rule("s", "F x", atoms={"x": {"n": 2}})]
    assert found(other) == {}
    # One event is not both.
    both = [Rule("r", "F(x & y)", atoms={"x": {"n": 1}, "y": {"n": 2}})]
    assert found(both) == {"unsatisfiable": {("r",)}}
    assert found([Rule("r", "F(x & y)", atoms={"x": {"n": 1}, "y": {"n": True}})])


def test_conditions_are_taken_apart():
    rules = [
        Rule("r", "G !x", atoms={"x": {"any": [{"n": 1}, {"n": 2}]}}),
        Rule("s", "F x", atoms={"x": {"n": 2}}),
        Rule("t", "F x", atoms={"x": {"n": 3, "not": {"m": 1}}}),
        Rule("u", "G(x -> m)", atoms={"x": {"n": {">": 2}}, "m": {"m": 1}}),
    ]
    assert found(rules)["contradiction"] == {("r", "s"), ("t", "u")}


def test_comparisons_are_related_as_numbers_are():
    kinds = found({"r": "G(x < 5)", "s": "F(x > 6)", "t": "G(x < 9)"})
    assert kinds == {"contradiction": {("r", "s")}, "shadowed": {("r", "t")}}


def test_rules_that_see_different_events_do_not_meet():
    assert found({"r": "F a", "s": "G !a"})["contradiction"]
    assert found([Rule("r", "F a"), Rule("s", "G !a", key="id")]) == {}
    assert found([Rule("r", "F a"), Rule("s", "G !a", when={"x": 1})]) == {}
    kinds = found([Rule("r", "F a", key="id"), Rule("s", "G !a", key="id")])
    assert kinds["contradiction"] == {("r", "s")}


def test_windows_beside_automata_are_atoms():
    rules = [
        Rule("r", "G(p -> O[0:100] q)"),
        Rule("s", "G(p -> O[0:100] q)"),
        Rule("t", "G(p -> O[0:100] q)", clock="time"),
        Rule("u", "G(p -> F[0:3] q)", clock="time"),
        Rule("v", "G !many", atoms={"many": {"count": {"of": {"x": 1}, "at_least": 2}}}),
    ]
    kinds = found(rules)
    assert kinds["duplicate"] == {("r", "s")}
    assert "contradiction" not in kinds
    assert found([Rule("w", "F[0:3] p", clock="time")])["undecided"] == {("w",)}


def test_many_atoms_are_searched():
    rules = {f"r{k}": f"G(x{k} -> F x{k + 1})" for k in range(14)}
    rules["start"], rules["end"] = "F x0", "G !x14"
    rules["other"] = "F y & G(y -> !x3)"
    assert "contradiction" not in found({**rules, "start": "F x0 | y"})
    (names,) = found(rules)["contradiction"]
    assert set(names) == set(rules) - {"other"}


def test_traps_of_pairs_among_many_rules():
    rules = {f"r{k}": f"G(x{k} -> F x{k + 1})" for k in range(14)}
    rules["no more"] = "G(x3 -> N G !x8)"
    findings = lint_rules(rules)
    (trap,) = [one for one in findings if one.kind == "trap"]
    assert trap.rules == ("r7", "no more") and trap.witness == (frozenset({"x7", "x3"}),)
    (open_,) = [one for one in findings if one.kind == "undecided"]
    assert "a trap of more than two rules" in open_.message


def test_exclusive_atoms_in_rules_that_share_none():
    rules = {"r": "G(a -> F b)", "s": "G c", "t": "F d"}
    assert found(rules, letters="at_most_one")["contradiction"] == {("s", "t")}
    assert "contradiction" not in found(rules)
    one = [Rule("s", "G c", atoms={"c": {"n": 1}}), Rule("t", "F d", atoms={"d": {"n": 2}})]
    assert found(one)["contradiction"] == {("s", "t")}


def test_limits_are_told():
    rules = {f"r{k}": f"G(a{k} -> X[!] X[!] X[!] X[!] X[!] X[!] b{k})" for k in range(3)}
    kinds = found(rules, max_states=10)
    assert kinds == {"undecided": {("r0",), ("r1",), ("r2",)}}
    wide = {f"r{k}": f"G(x{k} -> F x{(k + 1) % 12}) & G !y{k}" for k in range(12)}
    wide["last"] = "G(x0 -> N G !x1)"
    kinds = found(wide)
    assert kinds["undecided"]
    kinds = found({"r": "F a", "s": "G !a"}, timeout_s=0)
    assert set(kinds) == {"undecided"}


def test_a_book_lints_its_own_rules():
    book = RuleBook({"r": "G(x & y -> F b) & F c", "s": "F b"}, letters="at_most_one")
    kinds = {finding.kind for finding in book.lint()}
    assert kinds == {"vacuous"}
    assert {finding.kind for finding in book.lint(timeout_s=0)} == {"undecided"}


def test_a_hundred_rules():
    rng = random.Random(1)
    names = [f"tool{k}" for k in range(60)]
    rules = {}
    for k in range(100):
        one, other = rng.sample(names, 2)
        rules[f"r{k}"] = rng.choice([f"G({one} -> F {other})", f"!{one} W {other}"])
    kinds = found(rules, timeout_s=1)
    assert set(kinds) <= set(KINDS) and kinds["not_monitorable"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"letters": "x"},
        {"alphabet": "ab"},
        {"max_states": 0},
        {"timeout_s": -1},
        {"timeout_s": "x"},
        {"rules": "F a"},
    ],
)
def test_refuses(arguments):
    arguments = {"rules": ["F a"], **arguments}
    with pytest.raises((ArgumentTypeError, ArgumentValueError)):
        lint_rules(arguments.pop("rules"), **arguments)


def test_finding_prints():
    finding = LintFinding("trap", ("r",), "why", (frozenset({"b", "a"}), frozenset()))
    assert str(finding) == "trap: r: why (after {a, b}, {})"
    assert lint_rules({}) == []
