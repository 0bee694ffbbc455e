"""From rules to what csrc/ms_rulebook steps: bits, operations between bits, automata."""

from __future__ import annotations

import math
import operator
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentValueError, StateLimitError, UndecidedError
from midstream.logic._ops import Op
from midstream.logic._rulebook import OPERATORS, Conditions, Program
from midstream.logic.automaton import Automaton, compile
from midstream.logic.formula import (
    Formula,
    Predicate,
    always,
    and_,
    atom,
    eventually,
    false,
    iff,
    implies,
    make,
    not_,
    or_,
    true,
    weak_next,
)
from midstream.logic.rules import AFTER_VIOLATION, Call, Counted, Fields, Rule, check_condition
from midstream.logic.verdict import Verdict

__all__ = [
    "Assembly",
    "Base",
    "GroupPlan",
    "Limits",
    "Operations",
    "RulePlan",
    "Windows",
    "antecedents",
    "assemble",
    "relation",
    "replaced",
    "rule_trees",
    "shortest_acceptance",
    "text_of",
]

#: Longer windows over steps are kept as one number beside the automaton, if they can be.
LONG_WINDOW = 32
#: Steps that a window [a:b] may begin before now: a number is kept for each.
LONGEST_DELAY = 10_000
#: Automata of at most so many atoms, and so many entries, get a table.
TABLE_ATOMS = 8
TABLE_ENTRIES = 1 << 20

_NOT, _AND, _OR, _COUNT, _YESTERDAY, _WEAK_YESTERDAY, _SINCE, _LATE, _DELAYED = range(9)
_PAST = frozenset(range(Op.YESTERDAY, Op.TRIGGER + 1))

Tree = Any

#: What stands for a window in place of a condition: nothing is known of it.
_WINDOW = Call(bool)


class RulePlan(NamedTuple):
    """A rule as its group steps it."""

    rule: Rule
    text: str
    #: Its index in the book, and in the program of its group.
    place: int
    slot: int
    #: Slot that counts how often an antecedent was true, or None.
    trigger: int | None
    automaton: Automaton
    #: Verdict codes of its states.
    colours: bytes
    #: Atoms of the rule (with those that stand for windows), and their bits.
    atoms: tuple[str, ...]
    bits: tuple[int, ...]
    #: For each atom, the variable of the automaton.
    variables: tuple[int, ...]
    #: Of each deadline over time: its number in the slice's memory, and its distance.
    deadlines: tuple[tuple[int, float], ...]


class GroupPlan(NamedTuple):
    """Rules that share key and filter."""

    key: tuple[str, ...] | Callable[[Any], Any] | None
    plans: tuple[RulePlan, ...]
    program: Program


class Assembly(NamedTuple):
    """Everything that is fixed about a book."""

    conditions: Conditions
    groups: tuple[GroupPlan, ...]
    alphabet: tuple[str, ...]
    needs_time: bool
    #: Bits of the parts of conditions that an event alone decides.
    leaves: dict[Tree, int]


def text_of(formula: Formula) -> str:
    """The formula in a report: shared subformulas can make the text of a small one endless."""
    return str(formula) if formula.size <= 10_000 else repr(formula)


def conjuncts(formula: Formula) -> tuple[Formula, ...]:
    """The formulas that must all hold."""
    return formula.args if formula.op == Op.AND else (formula,)


def antecedents(formula: Formula) -> list[Formula]:
    """What sets a rule off: each p without future of a conjunct ``G(p -> ...)``."""
    return [
        part.args[0].args[0]
        for part in conjuncts(formula)
        if part.op == Op.ALWAYS
        and part.interval is None
        and part.args[0].op == Op.IMPLIES
        and not part.args[0].args[0].has_future
    ]


def rewrite(formula: Formula, change: Callable[[Formula], Formula | None]) -> Formula:
    """The formula with some subformulas exchanged: `change` gives the new one, or None."""
    new: dict[Formula, Formula] = {}
    for node in formula.nodes():
        other = change(node)
        if other is None:
            other = (
                make(node.op, [new[arg] for arg in node.args], node.interval) if node.args else node
            )
        new[node] = other
    return new[formula]


class Limits:
    """What the construction of a book may cost."""

    def __init__(self, max_states: int, timeout_s: float | None = None) -> None:
        self.max_states = max_states
        self.timeout_s = timeout_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def left(self) -> float | None:
        """Seconds; None without a limit."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def over(self, name: str) -> UndecidedError:
        """What is raised where there is no time left."""
        return UndecidedError(
            f"rule {name!r}: not compiled when timeout_s={self.timeout_s:g} of the book were over"
        )

    def check(self, name: str) -> None:
        """Raise where there is no time left; the rule is named."""
        if self._end is not None and time.monotonic() >= self._end:
            raise self.over(name)


#: Automata of books made before: they are made anew to copy, change or load them.
_KNOWN: dict[tuple[Formula, tuple[str, ...], Any, int], Automaton] = {}
_KNOWN_AT_MOST = 512


def _compiled(
    formula: Formula, alphabet: tuple[str, ...], letters: Any, limits: Limits
) -> Automaton:
    asked = (formula, alphabet, letters, limits.max_states)
    found = _KNOWN.get(asked)
    if found is None:
        found = compile(
            formula,
            alphabet=alphabet,
            letters=letters,
            max_states=limits.max_states,
            timeout_s=limits.left(),
        )
        if len(_KNOWN) >= _KNOWN_AT_MOST:
            _KNOWN.clear()
        _KNOWN[asked] = found
    return found


def automaton_of(
    name: str, formula: Formula, alphabet: tuple[str, ...], letters: Any, limits: Limits
) -> Automaton:
    """Compile, and say which rule it was that failed."""
    limits.check(name)
    try:
        return _compiled(formula, alphabet, letters, limits)
    except StateLimitError as error:
        raise StateLimitError(f"rule {name!r}: {error}", limit=error.limit) from error
    except UndecidedError as error:
        if limits.timeout_s is not None:
            raise limits.over(name) from error
        raise UndecidedError(f"rule {name!r}: {error}") from error
    except ArgumentValueError as error:
        raise ArgumentValueError(f"rule {name!r}: {error}") from error


class Base:
    """Bits that an event alone decides."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.tests: dict[Fields, int] = {}
        self.calls: dict[Call, int] = {}
        self._owners: dict[str | tuple[str, ...], dict[str, None]] = {}

    @property
    def n_bits(self) -> int:
        return len(self.names) + len(self.tests) + len(self.calls)

    def add_name(self, name: str) -> int:
        return self.names.setdefault(name, self.n_bits)

    def own(self, wanted: str | tuple[str, ...], owner: str) -> None:
        """Note who wants an atom or a field."""
        self._owners.setdefault(wanted, {})[owner] = None

    @property
    def owners(self) -> dict[str | tuple[str, ...], str]:
        """Who wants an atom or a field, in words: the first one, and how many more."""
        return dict.fromkeys(self.names, "the alphabet of the book alone") | {
            wanted: next(iter(them)) + (f" and {len(them) - 1} more" if len(them) > 1 else "")
            for wanted, them in self._owners.items()
        }

    def add(self, tree: Tree, owner: str = "") -> None:
        """Bits of a condition, and of those that it is made of."""
        stack = [tree]
        while stack:
            one = stack.pop()
            if isinstance(one, Fields):
                self.tests.setdefault(one, self.n_bits)
                for test in one.tests:
                    self.own(test[0], owner)
            elif isinstance(one, Call):
                self.calls.setdefault(one, self.n_bits)
            elif isinstance(one, Counted):
                stack.append(one.of)
            else:
                stack += one.args


class Operations:
    """Bits that a group adds, each computed once."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.n_bits = base.n_bits
        self.rows: list[tuple[int, int, tuple[int, ...], bool, int, float, float, int]] = []
        self.known: dict[Any, int] = {}

    def add(
        self,
        kind: int,
        args: Iterable[int],
        *,
        timed: bool = False,
        at_least: int = 0,
        low: float = 0.0,
        high: float = math.inf,
        owner: int = -1,
    ) -> int:
        row = (kind, tuple(args), timed, at_least, float(low), float(high), owner)
        bit = self.known.get(row)
        if bit is None:
            bit = self.known[row] = self.n_bits
            self.n_bits += 1
            self.rows.append((kind, bit, row[1], timed, at_least, *row[4:]))
        return bit

    def condition(self, tree: Tree) -> int:
        """The bit of a condition; its nesting is bounded."""
        if isinstance(tree, Fields):
            return self.base.tests[tree]
        if isinstance(tree, Call):
            return self.base.calls[tree]
        if isinstance(tree, Counted):
            of = self.condition(tree.of)
            if tree.seconds is not None:
                return self.add(_COUNT, [of], timed=True, at_least=tree.at_least, high=tree.seconds)
            # The last k events: places at most k - 1 apart.
            high = math.inf if tree.steps is None else tree.steps - 1
            return self.add(_COUNT, [of], at_least=tree.at_least, high=high)
        args = [self.condition(arg) for arg in tree.args]
        return self.add({"not": _NOT, "any": _OR, "all": _AND}[tree.word], args)

    def negation(self, bit: int) -> int:
        return self.add(_NOT, [bit])

    def formula(self, formula: Formula, bits: dict[str, int], timed: bool, owner: int = -1) -> int:
        """The bit of a formula without future operators.

        What its operators remember is forgotten when the rule `owner` begins anew.
        """
        value: dict[Formula, int] = {}
        for node in formula.nodes():
            args = [value[arg] for arg in node.args]
            value[node] = self.node(node, args, bits, timed, owner)
        return value[formula]

    def node(
        self, node: Formula, args: list[int], bits: dict[str, int], timed: bool, owner: int
    ) -> int:
        op = node.op
        low, high = (0.0, math.inf) if node.interval is None else node.interval
        if op in (Op.ATOM, Op.PREDICATE):
            return bits[node.atoms[0]]
        if op in (Op.TRUE, Op.FALSE):
            return self.add(_AND if op == Op.TRUE else _OR, [])
        if op == Op.NOT:
            return self.negation(args[0])
        if op == Op.AND:
            return self.add(_AND, args)
        if op == Op.OR:
            return self.add(_OR, args)
        if op == Op.IMPLIES:
            return self.add(_OR, [self.negation(args[0]), args[1]])
        if op in (Op.XOR, Op.IFF):
            both = self.add(_AND, args)
            neither = self.negation(self.add(_OR, args))
            same = self.add(_OR, [both, neither])
            return same if op == Op.IFF else self.negation(same)
        if op in (Op.YESTERDAY, Op.WEAK_YESTERDAY):
            kind = _YESTERDAY if op == Op.YESTERDAY else _WEAK_YESTERDAY
            return self.add(kind, args, owner=owner)
        if op == Op.SINCE:
            return self.since(args[0], args[1], timed, low, high, owner)
        everything = self.add(_AND, [])
        if op == Op.ONCE:
            return self.since(everything, args[0], timed, low, high, owner)
        if op == Op.HISTORICALLY:
            ever = self.since(everything, self.negation(args[0]), timed, low, high, owner)
            return self.negation(ever)
        # TRIGGER is the dual of SINCE.
        return self.negation(
            self.since(self.negation(args[0]), self.negation(args[1]), timed, low, high, owner)
        )

    def since(self, p: int, q: int, timed: bool, low: float, high: float, owner: int) -> int:
        if low == 0 or high == math.inf:
            return self.add(_SINCE, [p, q], timed=timed, low=low, high=high, owner=owner)
        return self.add(_DELAYED, [p, q], low=math.ceil(low), high=high, owner=owner)


def has_kept_windows(node: Formula, timed: bool = True) -> bool:
    """Whether memory of a fixed size is enough for its windows.

    One number is for ``[0:b]`` and ``[a:]``; over steps, a + 1 numbers are for ``[a:b]``.
    """
    return all(
        one.interval is None
        or one.interval.low == 0
        or one.interval.high == math.inf
        or (not timed and one.interval.low <= LONGEST_DELAY)
        for one in node.nodes()
    )


def _has_long_window(node: Formula, longest: float) -> bool:
    return any(
        one.interval is not None
        and max(one.interval.low, one.interval.high if one.interval.high < math.inf else 0)
        > longest
        for one in node.nodes()
    )


class Windows:
    """Exchange windows that automata cannot count for atoms that operations compute."""

    def __init__(
        self,
        rule: Rule,
        bits: dict[str, int],
        operations: Operations,
        longest: float = LONG_WINDOW,
        owner: int = -1,
    ) -> None:
        self.rule = rule
        #: Slot of the rule, if it begins anew after a violation: so do its windows, which no other
        #: rule can share then.
        self.owner = owner
        self.longest = longest
        self.bits = bits
        self.operations = operations
        self.timed = rule.clock == "time"
        self.used = False
        #: Bits of deadlines over time, with how long after the first p they fall.
        self.deadlines: dict[int, float] = {}
        # Bits are only for the rule's own atoms while formulas of the rule are read.
        self.own = dict(bits)

    def stand_in(self, text: str, bit: int) -> Formula:
        name = text
        while name in self.bits and self.bits[name] != bit:
            name += "'"
        self.bits[name] = bit
        self.used = self.used or self.timed
        return atom(name)

    def past(self, node: Formula) -> Formula | None:
        """A stand-in for a past operator with windows, where one is needed."""
        if node.op not in _PAST or node.has_future or not node.has_interval:
            return None
        kept = has_kept_windows(node, self.timed)
        if not self.timed and not (kept and _has_long_window(node, self.longest)):
            return None
        if not kept:
            raise ArgumentValueError(
                f"formula of rule {self.rule.name!r}: windows over time must be [0:b] or [a:], "
                f"not as in {text_of(node)!r:.120}"
            )
        return self.stand_in(text_of(node), self.bit(node))

    def bit(self, node: Formula) -> int:
        return self.operations.formula(node, self.own, self.timed, self.owner)

    def future(self, part: Formula) -> Formula | None:
        """Windows of the future that are windows of the past, seen from their other end.

        ``G(p -> F[0:b] q)`` is ``G(p -> F q)``, and never late: an event that finds a p that has
        waited longer than b for its q. ``G(p -> G[a:b] r)`` is ``G(O[a:b] p -> r)``.
        """
        if part.op != Op.ALWAYS or part.interval is not None:
            return None
        body = part.args[0]
        p, then = body.args if body.op == Op.IMPLIES else (true, body)
        if p.has_future or not then.has_interval:
            return None
        found = [self.consequence(p, one) for one in conjuncts(then)]
        if all(other is None for other in found):
            return None
        return and_(
            *(
                always(rewrite(implies(p, one), self.past)) if other is None else other
                for one, other in zip(conjuncts(then), found, strict=True)
            )
        )

    def consequence(self, p: Formula, then: Formula) -> Formula | None:
        if then.op not in (Op.EVENTUALLY, Op.ALWAYS) or then.interval is None:
            return None
        (q,) = then.args
        low, high = then.interval
        longest = max(low, high if high < math.inf else 0)
        if q.has_future or (not self.timed and longest <= self.longest):
            return None
        if then.op == Op.ALWAYS:
            return always(rewrite(implies(make(Op.ONCE, [p], then.interval), q), self.past))
        if low != 0 or not all(has_kept_windows(one, self.timed) for one in (p, q)):
            return None
        late = self.operations.add(
            _LATE,
            [self.bit(p), self.bit(q)],
            timed=self.timed,
            high=high,
            owner=self.owner,
        )
        if self.timed:
            self.deadlines[late] = high
        stand_in = self.stand_in(f"late for {text_of(implies(p, then))}", late)
        p, q = rewrite(p, self.past), rewrite(q, self.past)
        promise = eventually(q) if p is true else implies(p, eventually(q))
        return and_(always(promise), always(not_(stand_in)))

    def apply(self, formula: Formula) -> Formula:
        if not formula.has_interval:
            return formula
        parts = []
        for part in conjuncts(formula):
            other = self.future(part)
            parts.append(rewrite(part, self.past) if other is None else other)
        result = and_(*parts)
        if self.timed and result.has_interval:
            raise ArgumentValueError(
                f"formula of rule {self.rule.name!r}: over time, only windows [0:b] and [a:] of "
                "past operators, G(p -> F[0:b] q) and G(p -> G[0:b] q) can be followed; "
                f"{text_of(formula)!r:.120} has another"
            )
        return result


def _predicate_tree(one: Predicate) -> Fields:
    tree = check_condition(
        f"the comparison {one}", {f"$.{one.signal}": {one.comparison: one.threshold}}
    )
    assert isinstance(tree, Fields)
    return tree


def rule_trees(rule: Rule) -> dict[str, Tree]:
    """What each atom of a rule means: a checked condition, or None for an atom by its name."""
    comparisons = {
        str(node.predicate): node.predicate
        for node in rule.formula.nodes()
        if node.predicate is not None
    }
    return {
        name: check_condition(f"atoms.{name}", rule.atoms[name])
        if name in rule.atoms
        else _predicate_tree(comparisons[name])
        if name in comparisons
        else None
        for name in rule.formula.atoms
    }


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
#: Beside a lower bound, which upper bounds leave nothing: those not above it.
_UP, _DOWN = (">", ">="), ("<", "<=")

Test = tuple[tuple[str, ...], int, Any, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(value: Any, operand: Any) -> bool:
    """Equality as events are tested for it: True is not 1."""
    return (isinstance(value, bool) is isinstance(operand, bool)) and bool(value == operand)


def _passes(value: Any, test: Test) -> bool | None:
    """Whether a value passes a test; None where that is an error, or not looked into."""
    word, operand = OPERATORS[test[1]], test[2]
    if word == "==":
        return _equal(value, operand)
    if word == "!=":
        return not _equal(value, operand)
    if word in ("in", "not_in"):
        return any(_equal(value, one) for one in operand) == (word == "in")
    if word == "exists":
        return bool(operand)
    if word in _COMPARE and (
        (_is_number(value) and _is_number(operand))
        or (isinstance(value, str) and isinstance(operand, str))
    ):
        return _COMPARE[word](value, operand)
    return None


def _values(test: Test) -> tuple[Any, ...] | None:
    """The only values that pass a test, if it lists them."""
    word = OPERATORS[test[1]]
    return (test[2],) if word == "==" else test[2] if word == "in" else None


def _implied(first: Test, second: Test) -> bool:
    """Whether every value of their field that passes the first test passes the second."""
    if first == second:
        return True
    values = _values(first)
    if values is not None:
        return all(_passes(value, second) for value in values)
    one, other = OPERATORS[first[1]], OPERATORS[second[1]]
    if other == "exists":
        return bool(second[2]) and one != "exists"
    if not (_is_number(first[2]) and _is_number(second[2])):
        return False
    low, high = first[2], second[2]
    for side, beyond in ((_UP, operator.gt), (_DOWN, operator.lt)):
        if one in side and other in side:
            # A strict bound is wanted: an equal one must be strict itself.
            return beyond(low, high) or (low == high and (len(one) == 1 or len(other) == 2))
        if one in side and other == "!=":
            return beyond(low, high) or (low == high and len(one) == 1)
    return False


def _excluded(first: Test, second: Test) -> bool:
    """Whether no value of their field passes both tests."""
    for one, other in ((first, second), (second, first)):
        values = _values(one)
        if values is not None:
            return all(_passes(value, other) is False for value in values)
    one_word, other_word = OPERATORS[first[1]], OPERATORS[second[1]]
    if "exists" in (one_word, other_word):
        # What is missing passes no other test.
        missing = [
            test for test in (first, second) if OPERATORS[test[1]] == "exists" and not test[2]
        ]
        return len(missing) == 1
    if one_word in _DOWN:
        first, second, one_word, other_word = second, first, other_word, one_word
    if one_word in _UP and other_word in _DOWN and _is_number(first[2]) and _is_number(second[2]):
        low, high = first[2], second[2]
        return bool(low > high or (low == high and len(one_word) + len(other_word) < 4))
    return False


def exclusive(first: Fields, second: Fields) -> bool:
    """Whether no event fits both conditions, as far as single fields show."""
    return any(
        one[0] == other[0] and _excluded(one, other)
        for one in first.tests
        for other in second.tests
    )


def implied(first: Fields, second: Fields) -> bool:
    """Whether every event that fits the first condition fits the second, as far as that shows."""
    return all(
        any(one[0] == other[0] and _implied(one, other) for one in first.tests)
        for other in second.tests
    )


def relation(first: str, one: Fields, second: str, other: Fields) -> Formula | None:
    """What two conditions say of each other, as a formula of their atoms."""
    if exclusive(one, other):
        return not_(and_(atom(first), atom(second)))
    forth, back = implied(one, other), implied(other, one)
    if forth and back:
        return iff(atom(first), atom(second))
    if forth:
        return implies(atom(first), atom(second))
    return implies(atom(second), atom(first)) if back else None


def exclusions(trees: dict[str, Tree], check: Callable[[], None] | None = None) -> Formula | None:
    """A formula of the letters that events can have, as far as pairs of conditions show.

    There are many pairs of many conditions: `check` is called at times, and may raise.
    """
    fields = {name: tree for name, tree in trees.items() if isinstance(tree, Fields)}
    known = []
    for k, (first, second) in enumerate(combinations(fields, 2)):
        if check is not None and k % 10_000 == 0:
            check()
        part = relation(first, fields[first], second, fields[second])
        if part is not None:
            known.append(part)
    return and_(*known) if known else None


def replaced(formula: Formula, meaning: dict[str, Formula]) -> Formula:
    """The formula with formulas for its atoms."""

    def change(node: Formula) -> Formula | None:
        if node.op in (Op.ATOM, Op.PREDICATE):
            return meaning[node.atoms[0]]
        return None

    return rewrite(formula, change)


def _letters(
    letters: str,
    canonical: dict[str, Tree],
    named: bool,
    whole: bool,
    check: Callable[[], None],
) -> str | Formula:
    """The alphabet of a rule: what the book promises, or what its conditions exclude."""
    if letters != "all" and named:
        return letters if whole else "at_most_one"
    excluded = exclusions(canonical, check)
    return "all" if excluded is None else excluded


def _arrays(automaton: Automaton, trigger: bool) -> tuple[Any, ...]:
    width = len(automaton.alphabet)
    table: npt.NDArray[np.int32] | None = None
    if width <= TABLE_ATOMS and automaton.n_states << width <= TABLE_ENTRIES:
        table = np.asarray(automaton.table(TABLE_ATOMS), dtype=np.int32)
    return (
        table,
        automaton.roots,
        automaton.nodes,
        np.asarray(automaton.colours, dtype=np.uint8),
        np.asarray(automaton.accepting, dtype=np.uint8),
        width,
        trigger,
    )


def assemble(
    rules: tuple[Rule, ...],
    *,
    letters: str,
    strict: bool,
    alphabet: tuple[str, ...] | None,
    limits: Limits,
) -> Assembly:
    """Compile a book."""
    base = Base()
    if alphabet is not None:
        for name in alphabet:
            base.add_name(name)
    trees = [rule_trees(rule) for rule in rules]
    whens = [None if rule.when is None else check_condition("when", rule.when) for rule in rules]
    wants_mapping = None
    for rule, atoms, when in zip(rules, trees, whens, strict=True):
        for name, tree in atoms.items():
            if tree is not None:
                base.add(tree, f"atom {name!r} of rule {rule.name!r}")
            elif alphabet is not None and name not in base.names:
                raise ArgumentValueError(
                    f"atom {name!r} of rule {rule.name!r} has no condition and is not in the "
                    "alphabet of the book"
                )
            else:
                base.add_name(name)
                base.own(name, f"rule {rule.name!r}")
        if when is not None:
            base.add(when, f"`when` of rule {rule.name!r}")
        if base.tests or isinstance(rule.key, str):
            wants_mapping = wants_mapping or f"rule {rule.name!r} looks at its fields"

    members: dict[Any, list[int]] = {}
    for k, rule in enumerate(rules):
        members.setdefault((rule.key, whens[k]), []).append(k)
    groups = []
    needs_time = False
    for (key, when), indices in members.items():
        group, timed = _assemble_group(rules, trees, indices, key, when, base, letters, limits)
        groups.append(group)
        needs_time = needs_time or timed
    conditions = Conditions(
        names=base.names,
        conditions=[([test[:3] for test in tree.tests], bit) for tree, bit in base.tests.items()],
        callables=[(call.function, bit) for call, bit in base.calls.items()],
        n_bits=base.n_bits,
        strict=strict,
        closed=alphabet is not None,
        legal=("all", "at_most_one", "exactly_one").index(letters),
        wants_mapping=wants_mapping,
        owners=base.owners,
    )
    leaves: dict[Tree, int] = {**base.tests, **base.calls}
    return Assembly(conditions, tuple(groups), tuple(base.names), needs_time, leaves)


def _assemble_group(
    rules: tuple[Rule, ...],
    trees: list[dict[str, Tree]],
    indices: list[int],
    key: Any,
    when: Tree | None,
    base: Base,
    letters: str,
    limits: Limits,
) -> tuple[GroupPlan, bool]:
    operations = Operations(base)
    gate = -1 if when is None else operations.condition(when)
    n_gate_ops = len(operations.rows)
    automata: list[tuple[Any, ...]] = []
    known: dict[tuple[Automaton, bool], int] = {}
    rows: list[tuple[int, tuple[int, ...], int]] = []
    triggers: dict[tuple[Automaton, tuple[int, ...]], int] = {}
    plans = []
    needs_time = False

    def place(automaton: Automaton, trigger: bool) -> int:
        index = known.get((automaton, trigger))
        if index is None:
            index = known[automaton, trigger] = len(automata)
            automata.append(_arrays(automaton, trigger))
        return index

    def built(
        rule: Rule, formula: Formula, bits: dict[str, int], plain: bool
    ) -> tuple[Automaton, tuple[int, ...]]:
        """The automaton of a formula under canonical names, and the bits of its variables."""
        order = list(dict.fromkeys(bits[name] for name in formula.atoms))
        rank = {bit: k for k, bit in enumerate(order)}
        names = {name: f"a{rank[bits[name]]}" for name in formula.atoms}
        restriction: str | Formula = "all"
        if not plain:
            meant = {names[name]: trees_of.get(name, _WINDOW) for name in formula.atoms}
            restriction = _letters(
                letters,
                meant,
                all(tree is None for tree in meant.values()),
                len(meant) == len(base.names),
                partial(limits.check, rule.name),
            )
        automaton = automaton_of(
            rule.name,
            replaced(formula, {name: atom(text) for name, text in names.items()}),
            tuple(f"a{k}" for k in range(len(order))),
            restriction,
            limits,
        )
        return automaton, tuple(order)

    for slot, index in enumerate(indices):
        rule = rules[index]
        trees_of = trees[index]
        bits = {
            name: base.names[name] if tree is None else operations.condition(tree)
            for name, tree in trees_of.items()
        }
        owner = -1 if rule.after_violation == "stay" else slot
        windows = Windows(rule, bits, operations, owner=owner)
        formula = windows.apply(rule.formula)
        try:
            automaton, order = built(rule, formula, bits, False)
        except StateLimitError:
            # Several windows multiply the states; what can be kept beside the automaton then is.
            if not formula.has_interval:
                raise
            windows = Windows(rule, bits, operations, longest=0, owner=owner)
            formula = windows.apply(rule.formula)
            automaton, order = built(rule, formula, bits, False)
        needs_time = needs_time or windows.used
        if automaton.colours[0] == Verdict.FALSE:
            raise ArgumentValueError(
                f"rule {rule.name!r} can never be satisfied: {text_of(rule.formula)!r:.200}"
            )
        again = AFTER_VIOLATION.index(rule.after_violation)
        rows.append((place(automaton, False), order, again))
        # Triggers are counted over the whole stream.
        whole = windows if owner < 0 else Windows(rule, bits, operations, windows.longest)
        causes = [rewrite(cause, whole.past) for cause in antecedents(rule.formula)]
        plans.append((rule, index, slot, formula, causes, automaton, bits, order, windows))
    finished = []
    for rule, index, slot, formula, causes, automaton, bits, order, windows in plans:
        trigger = None
        if causes:
            trees_of = trees[index]
            now = eventually(and_(or_(*causes), weak_next(false)))
            machine, wanted = built(rule, now, bits, True)
            trigger = triggers.get((machine, wanted))
            if trigger is None:
                trigger = triggers[machine, wanted] = len(rows)
                rows.append((place(machine, True), wanted, 0))
        names = formula.atoms
        rank = {bit: k for k, bit in enumerate(order)}
        finished.append(
            RulePlan(
                rule,
                text_of(rule.formula),
                index,
                slot,
                trigger,
                automaton,
                np.asarray(automaton.colours, dtype=np.uint8).tobytes(),
                names,
                tuple(bits[name] for name in names),
                tuple(rank[bits[name]] for name in names),
                tuple(windows.deadlines.items()),
            )
        )
    needs_time = needs_time or any(row[3] for row in operations.rows)
    program = Program(
        automata=automata,
        rules=rows,
        ops=operations.rows,
        n_gate_ops=n_gate_ops,
        gate=gate,
        n_bits=operations.n_bits,
    )
    path = tuple(key.removeprefix("$.").split(".")) if isinstance(key, str) else key
    # Only now is it known where a bit of a deadline has its number.
    places = {row[1]: program.memory_of(k) for k, row in enumerate(operations.rows)}
    finished = [
        plan._replace(deadlines=tuple((places[bit], high) for bit, high in plan.deadlines))
        for plan in finished
    ]
    return GroupPlan(path, tuple(finished), program), needs_time


def successors(automaton: Automaton, state: int) -> dict[int, int]:
    """States one letter away, each with the letter of fewest true atoms that leads there."""
    nodes = automaton.nodes
    best: dict[int, dict[int, int]] = {}
    stack = [int(automaton.roots[state])]
    while stack:
        ref = stack[-1]
        if ref in best:
            stack.pop()
            continue
        if ref < 0:
            best[ref] = {~ref: 0} if ~ref < automaton.n_states else {}
            continue
        variable, low, high = (int(part) for part in nodes[ref])
        waiting = [child for child in (low, high) if child not in best]
        if waiting:
            stack += waiting
            continue
        found = dict(best[low])
        for leaf, mask in best[high].items():
            mask |= 1 << variable
            if leaf not in found or mask.bit_count() < found[leaf].bit_count():
                found[leaf] = mask
        best[ref] = found
    return best[int(automaton.roots[state])]


def shortest_acceptance(automaton: Automaton, state: int) -> tuple[int, ...]:
    """The shortest non-empty word from a state to an accepting one, as masks."""
    came: dict[int, tuple[int, int]] = {}
    todo = deque([state])
    while todo:
        here = todo.popleft()
        for there, mask in sorted(
            successors(automaton, here).items(), key=lambda item: item[1].bit_count()
        ):
            if there in came:
                continue
            came[there] = (here, mask)
            if automaton.accepting[there]:
                word = [mask]
                while here != state:
                    here, mask = came[here]
                    word.append(mask)
                return tuple(reversed(word))
            todo.append(there)
    raise ArgumentValueError(f"state {state} has no accepting continuation")
