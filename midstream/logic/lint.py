"""What is wrong with rules before any event: conflicts, traps, rules that never or always fire."""

from __future__ import annotations

import difflib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    StateLimitError,
    UndecidedError,
)
from midstream._core.validate import check_choice, check_int, check_real
from midstream.logic._assembly import (
    Base,
    Operations,
    Windows,
    antecedents,
    relation,
    replaced,
    rule_trees,
    shortest_acceptance,
    text_of,
)
from midstream.logic._ops import Op
from midstream.logic.automaton import Automaton, compile
from midstream.logic.decision import satisfiable
from midstream.logic.formula import Formula, and_, atom, eventually, not_, or_
from midstream.logic.rules import Compound, Fields, Rule, check_rules
from midstream.logic.verdict import Verdict

__all__ = ["LintFinding", "lint_rules"]

#: Traps are looked for letter by letter, where rules that share atoms have no more than these;
#: formulas of more are not compiled only to see whether they can be satisfied.
MAX_ATOMS = 10
#: Sets of three rules that are tried for a conflict before larger ones are.
MAX_TRIOS = 2000
#: Seconds for one question, so that a hard one does not take the time of all others.
QUESTION_S = 2.0
KINDS = (
    "duplicate_name",
    "duplicate",
    "unknown_atom",
    "unsatisfiable",
    "dead",
    "contradiction",
    "trap",
    "shadowed",
    "vacuous",
    "not_monitorable",
    "undecided",
)


@dataclass(frozen=True, slots=True)
class LintFinding:
    """Something that is wrong with a book of rules, or may be.

    Attributes
    ----------
    kind : str
        ``"duplicate_name"``; ``"duplicate"``: two rules that say the same; ``"unknown_atom"``: an
        atom that no event can have, or that looks like a slip of the pen;
        ``"unsatisfiable"``: every stream breaks the rule; ``"dead"``: no stream does;
        ``"contradiction"``: the rules cannot all be kept, and each fewer can;
        ``"trap"``: a stream that has broken no rule, after which one must be broken;
        ``"shadowed"``: the second rule is broken only where the first is; ``"vacuous"``: while
        the other rules are kept, nothing ever sets this one off; ``"not_monitorable"``:
        no event breaks or fulfils it, only the end of the stream decides;
        ``"undecided"``: a question that outgrew the limits.
    rules : tuple of str
        Names of the rules concerned.
    message : str
    witness : tuple of frozenset of str, or None
        A stream that shows it: for each event, its true atoms.
    """

    kind: str
    rules: tuple[str, ...]
    message: str
    witness: tuple[frozenset[str], ...] | None = None

    def __str__(self) -> str:
        text = f"{self.kind}: {', '.join(self.rules)}: {self.message}"
        if self.witness is not None:
            events = ", ".join("{" + ", ".join(sorted(one)) + "}" for one in self.witness)
            text += f" (after {events})" if self.witness else ""
        return text


class _Entry(NamedTuple):
    """A rule over atoms that mean the same in all rules."""

    rule: Rule
    formula: Formula
    #: Keys and filters: rules that see different events are not compared.
    scope: tuple[Any, ...]


class _Limits:
    """States, and a moment at which to stop asking."""

    def __init__(self, max_states: int, timeout_s: float) -> None:
        self.max_states = max_states
        self.end = time.monotonic() + timeout_s

    def left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise UndecidedError("the time for the lint is over")
        return left


class _Question:
    """Ask about formulas under what conditions say of each other."""

    def __init__(self, limits: _Limits, letters: str, trees: Mapping[str, Any]) -> None:
        self.limits = limits
        self.letters = letters
        self.trees = trees
        self.named = {name for name, tree in trees.items() if tree is None}
        self.known: dict[Formula, Automaton] = {}
        #: For each atom, those it excludes, and those that one way or the other imply it.
        self.excluded: dict[str, set[str]] = {name: set() for name in trees}
        self.related: dict[str, set[str]] = {name: set() for name in trees}
        self.parts: dict[tuple[str, str], Formula] = {}
        self.place = {name: k for k, name in enumerate(trees)}
        fields = {name: tree for name, tree in trees.items() if isinstance(tree, Fields)}
        for first, second in combinations(fields, 2):
            part = relation(first, fields[first], second, fields[second])
            if part is not None:
                near = self.excluded if part.op == Op.NOT else self.related
                near[first].add(second)
                near[second].add(first)
                self.parts[first, second] = part

    def compiled(self, formula: Formula) -> Automaton:
        automaton = self.known.get(formula)
        if automaton is None:
            automaton = self.known[formula] = compile(
                formula,
                letters=self.restriction(formula.atoms),
                max_states=self.limits.max_states,
                timeout_s=self.limits.left(),
            )
        return automaton

    def restriction(self, atoms: Sequence[str]) -> str | Formula:
        """Letters that events can have, as far as these atoms show."""
        named = [name for name in atoms if name in self.named]
        parts = []
        if self.letters != "all":
            parts += [
                not_(and_(atom(first), atom(second))) for first, second in combinations(named, 2)
            ]
            if self.letters == "exactly_one" and len(named) == len(self.named):
                parts.append(or_(*(atom(name) for name in named)))
        if self.parts:
            for pair in combinations(sorted(atoms, key=self.place.__getitem__), 2):
                part = self.parts.get(pair)
                if part is not None:
                    parts.append(part)
        return and_(*parts) if parts else "all"

    def link(self, first: _Entry, second: _Entry) -> str | None:
        """Why two rules may bear on each other: shared or related atoms, or exclusion."""
        ours, theirs = first.formula.atoms, set(second.formula.atoms)
        if not theirs.isdisjoint(ours) or any(self.related[name] & theirs for name in ours):
            return "shared"
        if self.letters != "all" and theirs & self.named and self.named.intersection(ours):
            return "exclusive"
        return "exclusive" if any(self.excluded[name] & theirs for name in ours) else None

    def quiet(self, entry: _Entry) -> bool:
        """Whether a rule is kept while none of its atoms is true, for however long.

        Two such rules that share no atom do not bear on each other, even if their atoms exclude
        each other: whatever one of them wants to see, the other is content with.
        """
        if self.letters == "exactly_one":
            return False
        automaton = self.compiled(entry.formula)
        state = 0
        for _ in range(automaton.n_states):
            state = automaton.step(state, 0)
            if state >= automaton.n_states or not automaton.accepting[state]:
                return False
        return True

    def satisfiable(self, formula: Formula) -> bool:
        """By an automaton for few atoms; else, and where it grows too large, by search."""
        if formula in self.known or len(formula.atoms) <= MAX_ATOMS:
            try:
                return bool(self.compiled(formula).colours[0] != Verdict.FALSE)
            except StateLimitError:
                pass
        return satisfiable(
            formula,
            letters=self.restriction(formula.atoms),
            timeout_s=min(self.limits.left(), QUESTION_S),
        )

    def word(self, formula: Formula) -> tuple[frozenset[str], ...]:
        """A shortest stream that satisfies a formula that can be."""
        automaton = self.compiled(formula)
        return tuple(
            frozenset(name for bit, name in enumerate(automaton.alphabet) if mask >> bit & 1)
            for mask in shortest_acceptance(automaton, 0)
        )


def lint_rules(
    rules: Iterable[Rule | Formula | str] | Mapping[str, Formula | str],
    *,
    letters: str = "all",
    alphabet: Sequence[str] | None = None,
    max_states: int = 10_000,
    timeout_s: float = 10.0,
) -> list[LintFinding]:
    """Find what is wrong with rules before they judge anything.

    Parameters
    ----------
    rules : iterable of Rule, formula or text; or mapping of name to formula
    letters, alphabet
        As for `RuleBook`.
    max_states : int
        Bound on the states of an automaton or a product of rules.
    timeout_s : float
        Bound on time, for all questions together.

    Returns
    -------
    list of LintFinding
        Kinds in the order that `LintFinding` lists them. A question that outgrew a limit is a
        finding ``"undecided"``: what is not reported was either settled or is named there.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is wrong.

    Notes
    -----
    Rules are compared that see the same events: those without key and filter with each other, and
    those with the same key and filter. What two tests of one field say of each other is known
    (``x > 5`` implies ``x > 3``, and excludes ``x == 2``); beyond that, conditions are taken to be
    independent. Windows that are kept outside of automata (time, counts, long windows) are taken
    to be atoms, so a conflict that needs them is not seen. Conflicts of three rules or more and
    traps are looked for among rules that share atoms, directly or through others.

    Each question is one automaton of a conjunction, or for more than ten atoms a search by
    `satisfiable`; pairs are asked where they share an atom, so the cost grows with the square of
    the rules that do.

    Examples
    --------
    >>> from midstream.logic import lint_rules
    >>> for finding in lint_rules({"ask": "F delete", "never": "G !delete"}):
    ...     print(finding)
    contradiction: ask, never: these rules cannot all be kept
    """
    book = check_rules(rules)
    check_choice("letters", letters, ("all", "at_most_one", "exactly_one"))
    if isinstance(alphabet, str):
        raise ArgumentTypeError(f"alphabet must be a sequence of names, got {alphabet!r}")
    names = None if alphabet is None else tuple(alphabet)
    limits = _Limits(
        check_int("max_states", max_states, low=1, high=1 << 24),
        check_real("timeout_s", timeout_s, low=0.0, high=1e9),
    )
    found = list(_names(book))
    found += _atoms(book, names)
    entries, trees = _entries(book, names, found)
    scopes: dict[tuple[Any, ...], list[_Entry]] = {}
    for entry in entries:
        scopes.setdefault(entry.scope, []).append(entry)
    for members in scopes.values():
        question = _Question(limits, letters, trees)
        found += _judge(members, question, limits)
    return sorted(found, key=lambda finding: KINDS.index(finding.kind))


def _names(book: tuple[Rule, ...]) -> Iterator[LintFinding]:
    seen: set[str] = set()
    for rule in book:
        if rule.name in seen:
            yield LintFinding("duplicate_name", (rule.name,), "the name occurs twice")
        seen.add(rule.name)


def _atoms(book: tuple[Rule, ...], alphabet: tuple[str, ...] | None) -> Iterator[LintFinding]:
    """Atoms that no event has, and those that differ from another by a slip."""
    used: dict[str, list[str]] = {}
    defined: set[str] = set()
    for rule in book:
        for name, tree in rule_trees(rule).items():
            if tree is None:
                used.setdefault(name, []).append(rule.name)
            elif name in rule.atoms:
                defined.add(name)
    known = set(used) if alphabet is None else set(alphabet)
    for name, where in used.items():
        if alphabet is not None and name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield LintFinding(
                "unknown_atom",
                tuple(dict.fromkeys(where)),
                f"atom {name!r} is not in the alphabet{hint}",
            )
        elif name in defined:
            yield LintFinding(
                "unknown_atom",
                tuple(dict.fromkeys(where)),
                f"atom {name!r} has a condition in another rule, and none here",
            )
        elif alphabet is None and len(where) == 1:
            # Once, and close to one that occurs more often.
            near = difflib.get_close_matches(
                name, [other for other in used if len(used[other]) > 1], 1, 0.8
            )
            if near and len(name) > 3 and _is_slip(name, near[0]):
                yield LintFinding(
                    "unknown_atom",
                    (where[0],),
                    f"atom {name!r} occurs only here; did you mean {near[0]!r}?",
                )


def _is_slip(name: str, other: str) -> bool:
    """Not where only digits differ: ``tool1`` and ``tool2`` are two names."""
    return [c for c in name if not c.isdigit()] != [c for c in other if not c.isdigit()]


def _entries(
    book: tuple[Rule, ...], alphabet: tuple[str, ...] | None, found: list[LintFinding]
) -> tuple[list[_Entry], dict[str, Any]]:
    """Rules over shared names: an atom is named by what it means."""
    names: dict[Any, str] = {}
    trees: dict[str, Any] = dict.fromkeys(alphabet or ())

    def shared(atom_name: str, tree: Any) -> str:
        # Of two atoms with one meaning, the first name is taken; of two meanings with one name,
        # the second gets a mark.
        key = (atom_name if tree is None else tree, tree is None)
        if key not in names:
            name = atom_name
            while name in trees and not (tree is None and trees[name] is None):
                name += "'"
            names[key] = name
            trees[name] = tree
        return names[key]

    entries = []
    for rule in book:
        base = Base()
        meant = rule_trees(rule)
        for name, tree in meant.items():
            if tree is None:
                base.add_name(name)
            else:
                base.add(tree)
        operations = Operations(base)
        bits = {
            name: base.names[name] if tree is None else operations.condition(tree)
            for name, tree in meant.items()
        }
        windows = Windows(rule, bits, operations)
        try:
            formula = windows.apply(rule.formula)
        except ArgumentValueError as error:
            found.append(LintFinding("undecided", (rule.name,), str(error)))
            continue
        scope = (rule.key, repr(rule.when))
        # A window that stands beside the automaton is an atom of its own text.
        fresh = {
            name: _expanded(name, meant.get(name, ("window", scope, rule.clock, name)), shared)
            for name in formula.atoms
        }
        entries.append(_Entry(rule, replaced(formula, fresh), scope))
    return entries, trees


def _expanded(name: str, tree: Any, shared: Callable[[str, Any], str]) -> Formula:
    """An atom as a formula of conditions without ``not``, ``any`` and ``all``."""
    if not isinstance(tree, Compound):
        return atom(shared(name, tree))
    parts = [
        _expanded(name if len(tree.args) == 1 else f"{name}[{k}]", arg, shared)
        for k, arg in enumerate(tree.args)
    ]
    return {"not": lambda: not_(parts[0]), "any": lambda: or_(*parts), "all": lambda: and_(*parts)}[
        tree.word
    ]()


def _undecided(
    rules: Sequence[_Entry], question: str, error: StateLimitError | UndecidedError
) -> LintFinding:
    return LintFinding(
        "undecided", tuple(entry.rule.name for entry in rules), f"{question}: {error}"
    )


def _judge(entries: list[_Entry], question: _Question, limits: _Limits) -> Iterator[LintFinding]:
    sound: list[_Entry] = []
    for entry in entries:
        try:
            bad = list(_alone(entry, question))
        except (StateLimitError, UndecidedError) as error:
            yield _undecided([entry], "is the rule sound", error)
            continue
        yield from bad
        if not any(finding.kind in ("unsatisfiable", "dead") for finding in bad):
            sound.append(entry)

    pairs: list[tuple[_Entry, _Entry]] = []
    conflicts: list[set[int]] = []
    open_: dict[str, list[_Entry]] = {}
    for first, second in combinations(sound, 2):
        link = question.link(first, second)
        if link is None:
            continue
        try:
            if link == "shared":
                pairs.append((first, second))
            elif question.quiet(first) and question.quiet(second):
                continue
            if not question.satisfiable(and_(first.formula, second.formula)):
                conflicts.append({id(first), id(second)})
                yield _contradiction([first, second])
                continue
            yield from _compare(first, second, question)
        except (StateLimitError, UndecidedError) as error:
            # One finding for each cause: where time is over, all that follow have the same one.
            open_.setdefault(str(error), []).extend((first, second))
    for cause, members in open_.items():
        names = tuple(dict.fromkeys(entry.rule.name for entry in members))
        yield LintFinding(
            "undecided",
            names,
            f"{len(members) // 2} pairs of these rules were not compared: {cause}",
        )
    for component in _components(sound, pairs):
        if len(component) > 1:
            yield from _together(component, pairs, conflicts, question, limits)


def _contradiction(entries: Sequence[_Entry]) -> LintFinding:
    return LintFinding(
        "contradiction",
        tuple(entry.rule.name for entry in entries),
        "these rules cannot all be kept",
    )


def _alone(entry: _Entry, question: _Question) -> Iterator[LintFinding]:
    name = (entry.rule.name,)
    automaton = question.compiled(entry.formula)
    if automaton.colours[0] == Verdict.FALSE:
        yield LintFinding("unsatisfiable", name, "every stream breaks it")
        return
    if not question.satisfiable(not_(entry.formula)):
        yield LintFinding("dead", name, "no stream breaks it")
        return
    for cause in antecedents(entry.formula):
        if not question.satisfiable(eventually(cause)):
            yield LintFinding(
                "vacuous", name, f"nothing sets it off: {text_of(cause)} is never true"
            )
    if not np.isin(automaton.colours, (Verdict.FALSE, Verdict.TRUE)).any():
        yield LintFinding(
            "not_monitorable", name, "no event breaks or fulfils it for good, only the end does"
        )


def _compare(first: _Entry, second: _Entry, question: _Question) -> Iterator[LintFinding]:
    """Which of two rules says no more than the other."""
    forth = not question.satisfiable(and_(first.formula, not_(second.formula)))
    back = not question.satisfiable(and_(second.formula, not_(first.formula)))
    if forth and back:
        yield LintFinding("duplicate", (first.rule.name, second.rule.name), "the two say the same")
    elif forth or back:
        strong, weak = (first, second) if forth else (second, first)
        yield LintFinding(
            "shadowed",
            (strong.rule.name, weak.rule.name),
            f"whatever breaks {weak.rule.name!r} breaks {strong.rule.name!r} too",
            question.word(and_(not_(strong.formula), weak.formula)),
        )


def _components(
    entries: Sequence[_Entry], pairs: Sequence[tuple[_Entry, _Entry]]
) -> list[list[_Entry]]:
    """Rules that share atoms, directly or through others."""
    near: dict[int, list[_Entry]] = {id(entry): [] for entry in entries}
    for first, second in pairs:
        near[id(first)].append(second)
        near[id(second)].append(first)
    seen: set[int] = set()
    found = []
    for entry in entries:
        if id(entry) in seen:
            continue
        seen.add(id(entry))
        component = [entry]
        for one in component:
            for other in near[id(one)]:
                if id(other) not in seen:
                    seen.add(id(other))
                    component.append(other)
        found.append([one for one in entries if one in component])
    return found


def _together(
    component: list[_Entry],
    pairs: Sequence[tuple[_Entry, _Entry]],
    conflicts: list[set[int]],
    question: _Question,
    limits: _Limits,
) -> Iterator[LintFinding]:
    """Conflicts of three rules and more, traps, and rules that the others keep from firing."""
    members = {id(entry) for entry in component}
    # Nothing holds together with two rules that exclude each other: look at the others.
    hurt = set().union(*(conflict for conflict in conflicts if conflict <= members))
    component = [entry for entry in component if id(entry) not in hurt]
    if len(component) < 2:
        return
    pairs = [pair for pair in pairs if all(one in component for one in pair)]
    try:
        core = _smallest_conflict(component, pairs, question)
        if core:
            yield _contradiction(core)
            return
    except (StateLimitError, UndecidedError) as error:
        yield _undecided(component, "can all be kept together", error)
        return
    for entry in component:
        others = [other.formula for other in component if other is not entry]
        for cause in antecedents(entry.formula):
            try:
                if question.satisfiable(eventually(cause)) and not question.satisfiable(
                    and_(*others, eventually(cause))
                ):
                    yield LintFinding(
                        "vacuous",
                        (entry.rule.name,),
                        f"while the other rules are kept, {text_of(cause)} is never true",
                    )
            except (StateLimitError, UndecidedError) as error:
                yield _undecided([entry], f"can {text_of(cause)} ever be true", error)
    try:
        yield from _traps(component, question, limits)
    except (StateLimitError, UndecidedError) as error:
        yield _undecided(component, "is there a trap of more than two rules", error)
        if len(component) == 2:
            return
        try:
            for pair in pairs:
                yield from _traps(list(pair), question, limits)
        except (StateLimitError, UndecidedError) as second:
            yield _undecided(component, "is there a trap of two rules", second)


def _smallest_conflict(
    component: list[_Entry], pairs: Sequence[tuple[_Entry, _Entry]], question: _Question
) -> list[_Entry]:
    """A set of rules that cannot be kept together, and each part of it can; empty where all can.

    Pairs were tried before. Three rules conflict only if one of them is linked to both others; so
    many are tried. Larger conflicts are found by leaving out one rule after the other.
    """
    if question.satisfiable(and_(*(entry.formula for entry in component))):
        return []
    near: dict[int, list[_Entry]] = {id(entry): [] for entry in component}
    for first, second in pairs:
        near[id(first)].append(second)
        near[id(second)].append(first)
    trios = ((one, *two) for one in component for two in combinations(near[id(one)], 2))
    for trio in islice(trios, MAX_TRIOS):
        if not question.satisfiable(and_(*(entry.formula for entry in trio))):
            return [entry for entry in component if entry in trio]
    core = list(component)
    for entry in component:
        rest = [one for one in core if one is not entry]
        if not question.satisfiable(and_(*(one.formula for one in rest))):
            core = rest
    return core


def _traps(component: list[_Entry], question: _Question, limits: _Limits) -> Iterator[LintFinding]:
    """The shortest stream after which no rule is broken, and one must be."""
    automata = [question.compiled(entry.formula) for entry in component]
    whole = question.compiled(and_(*(entry.formula for entry in component)))
    if not (whole.colours == Verdict.FALSE).any():
        return
    alphabet = whole.alphabet
    if len(alphabet) > MAX_ATOMS:
        raise StateLimitError(
            f"{len(alphabet)} atoms are more than the {MAX_ATOMS} whose letters are tried",
            limit=MAX_ATOMS,
        )
    machines = [whole, *automata]
    letters = np.arange(1 << len(alphabet))
    tables = [_spread(machine, alphabet, letters) for machine in machines]
    start = (0,) * len(machines)
    came: dict[tuple[int, ...], tuple[tuple[int, ...], int]] = {}
    seen = {start}
    todo = deque([start])
    while todo:
        here = todo.popleft()
        limits.left()
        rows = np.stack([table[state] for table, state in zip(tables, here, strict=True)], axis=1)
        legal = np.flatnonzero(
            (rows < np.array([machine.n_states for machine in machines])).all(axis=1)
        )
        unique, first = np.unique(rows[legal], axis=0, return_index=True)
        for row, at in sorted(
            zip(unique.tolist(), legal[first].tolist(), strict=True),
            key=lambda item: int(item[1]).bit_count(),
        ):
            there = tuple(row)
            if there in seen:
                continue
            came[there] = (here, int(at))
            if any(
                machine.colours[state] == Verdict.FALSE
                for machine, state in zip(automata, there[1:], strict=True)
            ):
                continue
            if whole.colours[there[0]] == Verdict.FALSE:
                word = _word(there, came, start, alphabet)
                yield LintFinding(
                    "trap",
                    tuple(entry.rule.name for entry in _trapped(component, word, question)),
                    "no rule is broken yet, but one must be",
                    word,
                )
                return
            seen.add(there)
            if len(seen) > limits.max_states:
                raise StateLimitError(
                    f"the product of the rules has more than {limits.max_states} states",
                    limit=limits.max_states,
                )
            todo.append(there)


def _trapped(
    component: list[_Entry], word: tuple[frozenset[str], ...], question: _Question
) -> list[_Entry]:
    """Of rules that cannot all be kept after a word, a set of which none can be left out."""
    core = list(component)
    for entry in component:
        rest = [one for one in core if one is not entry]
        machine = question.compiled(and_(*(one.formula for one in rest)))
        state = 0
        for letter in word:
            mask = sum(1 << bit for bit, name in enumerate(machine.alphabet) if name in letter)
            state = machine.step(state, mask)
        if machine.colours[state] == Verdict.FALSE:
            core = rest
    return core


def _spread(
    automaton: Automaton, alphabet: Sequence[str], letters: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Its transitions over the letters of a larger alphabet."""
    local = np.zeros_like(letters)
    for bit, name in enumerate(automaton.alphabet):
        local |= (letters >> alphabet.index(name) & 1) << bit
    return automaton.table(MAX_ATOMS)[:, local]


def _word(
    end: tuple[int, ...],
    came: Mapping[tuple[int, ...], tuple[tuple[int, ...], int]],
    start: tuple[int, ...],
    alphabet: Sequence[str],
) -> tuple[frozenset[str], ...]:
    word = []
    while end != start:
        end, mask = came[end]
        word.append(frozenset(name for bit, name in enumerate(alphabet) if mask >> bit & 1))
    return tuple(reversed(word))
