"""`Shield`: what may be done and what may be changed, whatever was learned.

Rules are formulas of temporal logic. Rules over actions mask, at each decision of a stream, the
actions after which one of them could not be kept any more; rules over changes refuse changes of
settings. A safe fallback is always allowed: a rule that could ever mask it is refused when it is
loaded, with the events that lead there.
"""

from __future__ import annotations

import difflib
import hashlib
import html
import json
import struct
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FormulaSyntaxError,
    RefusedError,
    StateLimitError,
)
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_choice, check_text, did_you_mean
from midstream._core.words import counted
from midstream.logic import (
    Formula,
    Interval,
    Monitor,
    Op,
    SignalMonitor,
    Verdict,
    always,
    and_,
    make,
    monitorability,
    parse,
)
from midstream.meta._safety_game import Event, Game, solve
from midstream.meta._shield import Rule, Table, Walker
from midstream.meta.bandit import INTERVENTIONS
from midstream.meta.params import Param
from midstream.meta.spaces import Change, ParamSpace

__all__ = ["Refusal", "RuleError", "SafetyConstraint", "Shield", "Tracker"]

Kind = Literal["", "action", "change"]
KINDS = ("", "action", "change")
#: Masks of actions, and of all rules' context together, are one machine word.
MAX_ACTIONS = 64
MAX_CONTEXT = 64
#: Steps of the window that a repair proposes for an obligation without end.
REPAIR_STEPS = 10
MAGIC = b"ms.shield1"
TRACKER_MAGIC = b"ms.shield.tracker1"
#: Rules, digest of them, changes, decisions, masked, refused, violations, refused changes,
#: violations of changes.
HEADER = struct.Struct("<I32s7q")
#: Rules, digest of them, position, masked, refused, violations.
TRACKER_HEADER = struct.Struct("<I32s4q")
#: State of an action rule, or 0 of a change rule, and lengths of monitors' snapshots.
ENTRY = struct.Struct("<iII")


class RuleError(ArgumentValueError):
    """A rule that no shield can have.

    Attributes
    ----------
    rule : str
        Its name.
    witness : tuple of (frozenset of str, str)
        The shortest sequence of events, each a context and an action, that ends with the fallback
        being refused; empty where the rule is refused for another reason.
    repair : str
        A formula to write instead, or what to do; empty where nothing is known.
    """

    def __init__(
        self, message: str, *, rule: str = "", witness: tuple[Event, ...] = (), repair: str = ""
    ) -> None:
        super().__init__(message + (f"; {repair}" if repair else ""))
        self.rule = rule
        self.witness = witness
        self.repair = repair


@dataclass(frozen=True)
class SafetyConstraint:
    """A rule with a name.

    Parameters
    ----------
    name : str
    formula : Formula or str
        Text in Spot's syntax. Without future operators it is meant at every decision, or change.
    kind : {"", "action", "change"}
        What it is over; ``""`` leaves it to the shield, which tells it by the names.
    reason : str
        Why there is such a rule: what people and models read when it refuses.
    repair : str
        What to do instead.

    Raises
    ------
    FormulaSyntaxError
        The text is no formula: line, column and a caret.

    Examples
    --------
    >>> from midstream.meta.safety import SafetyConstraint
    >>> rule = SafetyConstraint("calm", "abort -> !O[1:5] abort", reason="aborts cost tokens")
    >>> rule.formula
    Formula('abort -> !O[1:5] abort')
    """

    name: str
    formula: Formula
    kind: Kind = ""
    reason: str = ""
    repair: str = ""

    def __post_init__(self) -> None:
        for field in ("name", "reason", "repair"):
            check_text(field, getattr(self, field))
        if not self.name:
            raise ArgumentValueError("name must not be empty, got ''")
        check_choice("kind", self.kind, KINDS)
        formula: Any = self.formula
        if isinstance(formula, str):
            try:
                object.__setattr__(self, "formula", parse(formula))
            except FormulaSyntaxError as error:
                error.add_note(f"in the rule {self.name!r}")
                raise
        elif not isinstance(formula, Formula):
            raise ArgumentTypeError(
                f"formula of {self.name!r} must be a Formula or str, got {type(formula).__name__}"
            )

    def to_dict(self) -> dict[str, str]:
        """As JSON has it; the formula as text that reads back as the same."""
        return {
            "name": self.name,
            "formula": str(self.formula),
            "kind": self.kind,
            "reason": self.reason,
            "repair": self.repair,
        }

    def __str__(self) -> str:
        return f"{self.name}: {self.formula}"


class Refusal(NamedTuple):
    """Why a rule refuses an action or a change."""

    rule: str
    formula: str
    #: What the rule says of itself.
    reason: str
    #: What made it refuse.
    explanation: str
    #: What to do instead.
    repair: str

    def __str__(self) -> str:
        told = f"{self.rule} ({self.formula})"
        told += f": {self.reason}" if self.reason else ""
        told += f"; {self.explanation}" if self.explanation else ""
        return told + (f"; {self.repair}" if self.repair else "")


class _Entry(NamedTuple):
    """A rule as it is enforced."""

    constraint: SafetyConstraint
    #: Of an action rule, its number in the table; else -1.
    number: int
    #: Of a change rule, its formula at each change, and the letters' names that it reads.
    past: Formula | None
    names: tuple[str, ...]


class Shield:
    """Rules that actions and changes must keep, and a fallback that they always allow.

    Parameters
    ----------
    rules : text, Formula, SafetyConstraint, iterable of these, or mapping of name to one of these
        Formulas in Spot's syntax, see `midstream.logic.parse`. Over actions: names of `actions`,
        of which exactly one is true at each decision, and names of the context, which the
        environment decides, or comparisons of its numbers, such as ``copies >= 3``. Over changes:
        for a parameter x of `params` the new value ``x``, ``old_x`` and ``step_x`` in comparisons,
        and the atoms ``changed_x``, ``raised_x``, ``lowered_x``; ``x`` and ``old_x`` are atoms for
        a flag, and ``x_is_v`` and ``old_x_is_v`` are for the text v of a choice.
    actions : iterable of str
        Names of the actions, at most 64. By default the eight interventions of `Bandit`.
    fallback : str
        The action that is always safe.
    params : ParamSpace, optional
        What rules over changes name.
    context : iterable of str, optional
        All names that a context may have. Then a rule or a context with another one is refused;
        by default any name may occur, and those that no rule reads do not matter.

    Attributes
    ----------
    rules : tuple of SafetyConstraint
        With their kinds.
    actions : tuple of str
    fallback : str
    context : tuple of str
        Names of the context that the rules read.
    params : ParamSpace or None
    digest : str
        SHA-256 in hexadecimal of the rules, the actions and the tables that are used: computed
        anew whenever it is asked for.
    never : tuple of str
        Actions that are never allowed.
    decisions, masked, refused, violations : int
        Over all trackers: decisions committed, actions that were masked at them, commits that were
        refused, and rules that were violated, counted by monitors of the formulas that know nothing
        of the shield's tables. Violations stay 0.
    changes, refused_changes, change_violations : int
        The same for changes.

    Raises
    ------
    FormulaSyntaxError
        Text that is no formula, with the place.
    RuleError
        A rule that could mask the fallback; one that cannot be enforced, such as ``F done``; one
        over changes that looks into the future; names that there are not.
    StateLimitError
        A rule with more than 12 names of the context, or too many states.

    See Also
    --------
    midstream.logic.shield : corrects letters instead, and needs no fallback.
    Gate : what evidence must carry, beside the rules.

    Notes
    -----
    A formula without future operators is meant at every decision, as if ``G`` stood before it. One
    with them is meant as it is written: at the first decision. A stream may end at any decision,
    which violates nothing; an obligation such as ``F[0:3] done`` is violated when it is over.

    For each rule a safety game is solved when it is loaded: the environment gives the context, then
    an action is chosen. An action is allowed iff after it the rule can be kept forever, whatever
    the contexts. Since the fallback is among these in every state that they lead to, which is
    checked too, an action that all rules allow one by one is allowed by all together, and games
    need not be joined: time and memory are the sum over the rules.

    Comparisons of one number agree with each other: ``x > 5`` without ``x > 3`` does not occur.

    Rules can only be added. Everything else is read-only, and the shield has no other interface
    that would widen what it allows. `Tracker` objects hold what a stream did.

    Sources: Alshiekh et al., "Safe reinforcement learning via shielding", AAAI 2018 (preemptive
    shields); Ramadge and Wonham, "Supervisory control of a class of discrete event processes", SIAM
    J. Control Optim. 25 (1987) (the least restrictive supervisor).

    Examples
    --------
    >>> from midstream.meta.safety import Shield
    >>> shield = Shield({"calm": "abort -> !O[1:2] abort", "evidence": "abort -> looping"},
    ...                 actions=("continue", "nudge", "abort"))
    >>> stream = shield.tracker()
    >>> stream.allowed({"looping"}), stream.allowed()
    (('continue', 'nudge', 'abort'), ('continue', 'nudge'))
    >>> stream.commit({"looping"}, "abort")
    >>> stream.allowed({"looping"})
    ('continue', 'nudge')
    >>> stream.commit({"looping"}, "abort")
    Traceback (most recent call last):
        ...
    midstream._core.errors.RefusedError: action 'abort' is refused: calm (abort -> !O[1:2] abort)
    >>> Shield("nudge -> X !continue")
    Traceback (most recent call last):
        ...
    midstream.meta.safety.RuleError: rule 'rule1' could mask the fallback 'continue': after nudge, \
it is refused
    """

    __slots__ = (
        "__weakref__",
        "_actions",
        "_bits",
        "_checks",
        "_count",
        "_declared",
        "_entries",
        "_fallback",
        "_held",
        "_letters",
        "_pasts",
        "_possible",
        "_prefixes",
        "_signals",
        "_space",
        "_table",
    )

    _actions: Final[tuple[str, ...]]  # type: ignore[misc]
    _fallback: Final[str]  # type: ignore[misc]
    _held: Final[bool]  # type: ignore[misc]
    _space: Final[ParamSpace | None]  # type: ignore[misc]
    _declared: Final[frozenset[str] | None]  # type: ignore[misc]
    _entries: list[_Entry]
    _table: Table
    #: Names of the context, and texts of its comparisons, to bits of masks.
    _bits: dict[str, int]
    _signals: dict[str, list[tuple[Any, int]]]
    #: Names that rules over changes may have: those of atoms, those of numbers.
    _letters: tuple[frozenset[str], frozenset[str]]
    #: By change rule: what judges a change, and what watches that nothing was violated.
    _pasts: list[SignalMonitor]
    _checks: list[Monitor]
    #: Changes, refused ones, violations.
    _count: list[int]
    _possible: list[int]
    #: Digest of the first n rules, by n.
    _prefixes: list[str]

    def __init__(
        self,
        rules: Any = (),
        *,
        actions: Iterable[str] | None = None,
        fallback: str = "continue",
        params: ParamSpace | None = None,
        context: Iterable[str] | None = None,
    ) -> None:
        names = _names("actions", INTERVENTIONS if actions is None else actions)
        if not 1 <= len(names) <= MAX_ACTIONS:
            raise ArgumentValueError(f"actions must be 1 to {MAX_ACTIONS}, got {len(names)}")
        check_text("fallback", fallback)
        check_choice("fallback", fallback, names)
        if params is not None and type(params) is not ParamSpace:
            raise ArgumentTypeError(f"params must be a ParamSpace, got {type(params).__name__}")
        declared = None if context is None else frozenset(_names("context", context))
        if declared is not None and not declared.isdisjoint(names):
            both = sorted(declared.intersection(names))
            raise ArgumentValueError(f"context must not have actions, got {', '.join(both)}")
        #: Whether a strange loop records its rules, and nobody else may add any.
        self._set("_held", False)
        self._set("_actions", names)
        self._set("_fallback", fallback)
        self._set("_space", params)
        self._set("_declared", declared)
        self._set("_entries", [])
        self._set("_table", Table(names, declared))
        self._set("_bits", {})
        self._set("_signals", {})
        self._set("_letters", (frozenset(), frozenset()) if params is None else _letters_of(params))
        self._set("_pasts", [])
        self._set("_checks", [])
        self._set("_count", [0, 0, 0])
        self._set("_possible", [(1 << len(names)) - 1])
        self._set("_prefixes", [self._digest_of(0)])
        for rule in _constraints(rules):
            self.add(rule)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Shield is read-only: {name!r} cannot be set; `add` adds a rule")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Shield is read-only: {name!r} cannot be deleted")

    # ---- what it is ----

    @property
    def rules(self) -> tuple[SafetyConstraint, ...]:
        """The rules, in the order in which they came."""
        return tuple(entry.constraint for entry in self._entries)

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions."""
        return self._actions

    @property
    def fallback(self) -> str:
        """The action that is always allowed."""
        return self._fallback

    @property
    def params(self) -> ParamSpace | None:
        """What rules over changes name."""
        return self._space

    @property
    def context(self) -> tuple[str, ...]:
        """Names and numbers of the context that the rules read."""
        comparisons = {str(p) for found in self._signals.values() for p, _ in found}
        return (*(name for name in self._bits if name not in comparisons), *self._signals)

    @property
    def never(self) -> tuple[str, ...]:
        """Actions that some rule never allows."""
        return tuple(
            name for place, name in enumerate(self._actions) if not self._possible[0] >> place & 1
        )

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of rules, actions and tables, computed anew."""
        return self._digest_of(len(self._entries))

    @property
    def decisions(self) -> int:
        """Decisions that were committed."""
        return self._table.decisions

    @property
    def masked(self) -> int:
        """Actions that were masked at them."""
        return self._table.masked

    @property
    def refused(self) -> int:
        """Actions that were refused when they were to be committed."""
        return self._table.refused

    @property
    def violations(self) -> int:
        """Rules violated by what was committed, as monitors of their formulas saw it: 0."""
        return self._table.violations

    @property
    def changes(self) -> int:
        """Changes that were committed."""
        return self._count[0]

    @property
    def refused_changes(self) -> int:
        """Changes that were refused when they were to be committed."""
        return self._count[1]

    @property
    def change_violations(self) -> int:
        """Rules violated by changes that were committed: 0."""
        return self._count[2]

    # ---- rules ----

    def add(self, rule: SafetyConstraint | Formula | str) -> SafetyConstraint:
        """One rule more, which can only narrow what is allowed.

        For streams that are under way, and for the sequence of changes, it begins now: what was
        before is not known to it.

        Parameters
        ----------
        rule : SafetyConstraint, Formula or str

        Returns
        -------
        SafetyConstraint
            The rule as it was taken, with name and kind.

        Raises
        ------
        FormulaSyntaxError, RuleError, StateLimitError
            As the class. Nothing was changed then.
        RefusedError
            It is a strange loop's shield.
        """
        if self._held:
            raise RefusedError(
                "the shield is a strange loop's, which records its rules: use "
                "StrangeLoop.add_safety_constraint",
                reason="loop",
            )
        given = _constraint(rule, f"rule{len(self._entries) + 1}")
        if any(given.name == entry.constraint.name for entry in self._entries):
            raise RuleError(f"rules must have different names, got {given.name!r} twice")
        kind = self._kind(given)
        given = replace(given, kind=kind)
        if kind == "change":
            self._add_change_rule(given)
        else:
            self._add_action_rule(given)
        self._prefixes.append(self._digest_of(len(self._entries)))
        return given

    def _kind(self, given: SafetyConstraint) -> Kind:
        """What a rule is over, by its names."""
        formula = given.formula
        signals = set(formula.signals)
        atoms = {node.atom for node in formula.nodes() if node.atom is not None}
        both = atoms & signals
        if both:
            raise RuleError(
                f"rule {given.name!r} uses {min(both)!r} both as a name and as a number",
                rule=given.name,
            )
        of_change = (atoms & self._letters[0]) | (signals & self._letters[1])
        looks = sorted(
            name
            for name in atoms | signals
            if name.startswith(("changed_", "raised_", "lowered_", "step_", "old_"))
            and name not in (self._declared or ())
        )
        kind = given.kind
        if kind == "":
            kind = "change" if of_change else "action"
        if kind == "action":
            if looks:
                known = (*self._letters[0], *self._letters[1])
                raise RuleError(
                    f"rule {given.name!r} names {looks[0]!r}, which is of a change: "
                    + (
                        did_you_mean(looks[0], known).removeprefix("; ")
                        if known
                        else "give params, or declare it in context"
                    ),
                    rule=given.name,
                )
            if self._declared is not None:
                own = (*self._actions, *self._declared, *self._letters[0], *self._letters[1])
                for name in sorted(atoms | signals):
                    if name not in self._declared and name not in self._actions:
                        raise RuleError(
                            f"rule {given.name!r} names {name!r}, which is neither an action nor "
                            f"of the context{did_you_mean(name, own)}",
                            rule=given.name,
                        )
            wrong = signals.intersection(self._actions)
            if wrong:
                raise RuleError(
                    f"rule {given.name!r} compares the action {min(wrong)!r} with a number",
                    rule=given.name,
                )
            return kind
        if self._space is None:
            raise RuleError(
                f"rule {given.name!r} is over changes: params must be given for it",
                rule=given.name,
            )
        for names, letters, what in (
            (atoms, self._letters[0], "a name"),
            (signals, self._letters[1], "a number"),
        ):
            for name in sorted(names):
                if name not in letters:
                    raise RuleError(
                        f"rule {given.name!r} uses {name!r} as {what}, which changes do not have"
                        f"{did_you_mean(name, tuple(letters))}",
                        rule=given.name,
                    )
        return kind

    def _add_action_rule(self, given: SafetyConstraint) -> None:
        formula = given.formula
        if not formula.has_future:
            formula = always(formula)
        elif monitorability(formula) not in ("safety", "both"):
            self._refuse_liveness(given)
        try:
            game = solve(formula, self._actions, self._fallback)
        except StateLimitError as error:
            error.add_note(f"in the rule {given.name!r}")
            raise
        if game.witness is not None:
            self._refuse_rule(given, game)
        bits = dict(self._bits)
        signals = {name: list(found) for name, found in self._signals.items()}
        own = []
        for name, predicate in zip(
            game.alphabet[: game.n_context], game.predicates[: game.n_context], strict=True
        ):
            if name not in bits:
                bits[name] = len(bits)
                if predicate is not None:
                    signals.setdefault(predicate.signal, []).append((predicate, bits[name]))
            own.append(bits[name])
        clash = bits.keys() & signals.keys()
        if clash:
            raise RuleError(
                f"rule {given.name!r} uses {min(clash)!r} as a name or as a number, and another "
                "rule the other way",
                rule=given.name,
            )
        if len(bits) > MAX_CONTEXT:
            raise StateLimitError(
                f"rules may have {MAX_CONTEXT} names of the context together, got {len(bits)}",
                limit=MAX_CONTEXT,
            )
        monitor = Monitor(formula, alphabet=game.alphabet, semantics="ltl3")
        rule = Rule(
            np.array(own, dtype=np.uint8), game.classes, game.allow, game.following, monitor
        )
        # What raises is over: from here on it takes effect.
        self._bits.clear()
        self._bits.update(bits)
        self._signals.clear()
        self._signals.update(signals)
        # A comparison has a bit, but no context names it.
        texts = {str(p) for found in signals.values() for p, _ in found}
        plain = {name: bit for name, bit in bits.items() if name not in texts}
        self._table.add(rule, plain, signals)
        self._entries.append(_Entry(given, self._table.n_rules - 1, None, ()))
        rows = (game.allow != 0).any(axis=1)
        self._possible[0] &= int(np.bitwise_or.reduce(game.allow[rows][:, game.legal], axis=None))

    def _refuse_liveness(self, given: SafetyConstraint) -> None:
        bounded = _bounded(given.formula)
        repair = ""
        if monitorability(bounded) in ("safety", "both"):
            repair = f"say within how many decisions, as in {bounded}"
        raise RuleError(
            f"rule {given.name!r} cannot be enforced: no decision would ever be the one that "
            f"violates {given.formula}",
            rule=given.name,
            repair=repair,
        )

    def _refuse_rule(self, given: SafetyConstraint, game: Game) -> None:
        events = game.witness or ()
        if game.lost:
            after = ", ".join(map(_event_text, events))
            raise RuleError(
                f"rule {given.name!r} cannot be kept whatever is done: "
                f"{given.formula} is violated by {after}{self._meant(given.formula)}",
                rule=given.name,
                witness=events,
                repair=given.repair,
            )
        *before, (context, _) = events
        told = f"after {', '.join(map(_event_text, before))}, " if before else ""
        told += f"when {' and '.join(sorted(context))}, " if context else ""
        raise RuleError(
            f"rule {given.name!r} could mask the fallback {self._fallback!r}: {told}it is refused",
            rule=given.name,
            witness=events,
            repair=given.repair,
        )

    def _meant(self, formula: Formula) -> str:
        """A hint at a name that is nearly an action's or a parameter's: a slip of the pen."""
        known = (*self._actions, *self._letters[0], *self._letters[1])
        atoms = {node.atom for node in formula.nodes() if node.atom is not None}
        for name in sorted(atoms | set(formula.signals)):
            near = () if name in known else difflib.get_close_matches(name, known, 1)
            if near:
                return f"; {name!r} is of the context: did you mean {near[0]!r}?"
        return ""

    def _add_change_rule(self, given: SafetyConstraint) -> None:
        past = _at_each(given)
        formula = always(past)
        atoms = [node.atom for node in past.nodes() if node.atom is not None]
        names = (*atoms, *past.signals)
        judge = SignalMonitor(past, missing="error")
        check = Monitor(formula, missing="error")
        self._pasts.append(judge)
        self._checks.append(check)
        self._entries.append(_Entry(given, -1, past, names))

    # ---- changes ----

    def permits(self, change: Change) -> tuple[Refusal, ...]:
        """Which rules refuse a change.

        Parameters
        ----------
        change : Change
            Of the space of `params`.

        Returns
        -------
        tuple of Refusal
            Empty: the change is allowed.

        Raises
        ------
        ArgumentTypeError
            No Change.
        RefusedError
            It is of another space, a step of it is too large, or it was not made by the space.
        """
        if type(change) is not Change:
            raise ArgumentTypeError(f"change must be a Change, got {type(change).__name__}")
        if self._space is None:
            return ()
        self._space.check(change, change.before)
        _check_genuine(self._space, change)
        letter = _letter(change)
        found = []
        entries = [entry for entry in self._entries if entry.past is not None]
        for entry, judge in zip(entries, self._pasts, strict=True):
            own = {name: letter[name] for name in entry.names}
            if not judge.copy().step(own):
                found.append(_refusal(entry.constraint, _values_text(own)))
        return tuple(found)

    def commit_change(self, change: Change) -> None:
        """Go on by one change that takes effect.

        Rollbacks are none: they restore what was in force, and no rule may prevent it.

        Parameters
        ----------
        change : Change

        Raises
        ------
        RefusedError
            A rule refuses it. Nothing was changed then, but for `refused_changes`.
        ArgumentTypeError
            No Change.
        """
        try:
            found = self.permits(change)
        except RefusedError:
            self._count[1] += 1
            raise
        if found:
            self._count[1] += 1
            raise RefusedError(
                f"change of {', '.join(name for name, _, _ in change.moves)} is refused: "
                f"{'; '.join(map(str, found))}",
                reason=found[0].rule,
            )
        self._count[0] += 1
        if self._space is None:
            return
        letter = _letter(change)
        entries = [entry for entry in self._entries if entry.past is not None]
        for entry, judge, check in zip(entries, self._pasts, self._checks, strict=True):
            own = {name: letter[name] for name in entry.names}
            judge.step(own)
            if check.decided_at is None and check.step(own) is Verdict.FALSE:
                self._count[2] += 1

    # ---- streams ----

    def tracker(self) -> Tracker:
        """What one stream does under the shield, from its first decision on."""
        return Tracker(self)

    # ---- snapshots ----

    def _digest_of(self, count: int) -> str:
        """Of the first `count` rules."""
        entries = self._entries[:count]
        told = {
            "actions": self._actions,
            "fallback": self._fallback,
            "context": None if self._declared is None else sorted(self._declared),
            "params": None if self._space is None else self._space.digest,
            "rules": [entry.constraint.to_dict() for entry in entries],
        }
        found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for entry in entries:
            if entry.number >= 0:
                found.update(self._table.rule(entry.number).content())
        return found.hexdigest()

    def snapshot(self) -> bytes:
        """Counters, and where the sequence of changes is, for `restore`.

        Streams have snapshots of their own: `Tracker.snapshot`.
        """
        table = self._table
        head = HEADER.pack(
            len(self._entries),
            bytes.fromhex(self._prefixes[-1]),
            self._count[0],
            table.decisions,
            table.masked,
            table.refused,
            table.violations,
            *self._count[1:],
        )
        parts = [MAGIC, head]
        for judge, check in zip(self._pasts, self._checks, strict=True):
            first, second = judge.snapshot(), check.snapshot()
            parts += [ENTRY.pack(0, len(first), len(second)), first, second]
        return sealed(b"".join(parts))

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot of a shield with these rules, or the first ones of them.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged one, or one of other rules: also of more rules than these, since
            rules are never removed. Nothing was changed then.
        """
        data = unsealed(snapshot, MAGIC, "Shield", least=len(MAGIC) + HEADER.size)
        n_rules, digest, *counts = HEADER.unpack_from(data, len(MAGIC))
        self._check_prefix(n_rules, digest)
        count = sum(entry.past is not None for entry in self._entries[:n_rules])
        pieces = _pieces(data[len(MAGIC) + HEADER.size :])
        if min(counts) < 0 or len(pieces) != count:
            raise ArgumentValueError("snapshot must be whole, got a damaged one")
        fresh = [entry.past for entry in self._entries if entry.past is not None]
        judges = [SignalMonitor(past, missing="error") for past in fresh]
        checks = [Monitor(always(past), missing="error") for past in fresh]
        for (_, first, second), judge, check in zip(pieces, judges, checks, strict=False):
            judge.restore(first)
            check.restore(second)
        self._pasts[:] = judges
        self._checks[:] = checks
        self._count[:] = [counts[0], *counts[5:]]
        self._table._set_counts(*counts[1:5])

    def _check_prefix(self, n_rules: int, digest: bytes) -> None:
        if n_rules > len(self._entries) or digest.hex() != self._prefixes[n_rules]:
            raise ArgumentValueError(
                f"snapshot must be of a shield with these rules, got {n_rules} rules of the digest "
                f"{digest.hex()[:16]}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (
            self.rules,
            self._actions,
            self._fallback,
            self._space,
            None if self._declared is None else tuple(sorted(self._declared)),
            self.snapshot(),
        )

    def __repr__(self) -> str:
        kinds = [entry.constraint.kind for entry in self._entries]
        return (
            f"<Shield: {counted(kinds.count('action'), 'rule')} over "
            f"{counted(len(self._actions), 'action')}, "
            f"{kinds.count('change')} over changes, fallback {self._fallback!r}, "
            f"{self.masked} masked, {self.refused + self.refused_changes} refused, "
            f"{counted(self.violations + self.change_violations, 'violation')}>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(rule.name)}</th><td>{rule.kind}</td>"
            f"<td><code>{html.escape(str(rule.formula))}</code></td>"
            f"<td>{html.escape(rule.reason)}</td></tr>"
            for rule in self.rules
        )
        head = "<tr><th>rule</th><th>over</th><th>formula</th><th>reason</th></tr>"
        return f"<p>{html.escape(repr(self)[1:-1])}</p><table>{head}{rows}</table>"


class Tracker(Walker):
    """What one stream did under a shield, and what it may do now.

    Made by `Shield.tracker`. One stream and one thread at a time. Rules that are added to the
    shield later count from then on.

    Attributes
    ----------
    shield : Shield
    position : int
        Decisions so far.
    masked, refused, violations : int
        As of `Shield`, of this stream.

    Notes
    -----
    `allowed` and `commit` together take about a microsecond with a few rules.

    Examples
    --------
    >>> from midstream.meta.safety import Shield
    >>> stream = Shield("retry -> !O[1:2] retry", actions=("continue", "retry")).tracker()
    >>> stream.commit((), "retry")
    >>> stream.allowed()
    ('continue',)
    >>> other = stream.shield.tracker()
    >>> other.restore(stream.snapshot())
    >>> other.allowed() == stream.allowed(), other.position
    (True, 1)
    """

    __slots__ = ("__weakref__", "_shield")

    _shield: Shield

    def __new__(cls, shield: Shield) -> Self:
        """A stream at its first decision."""
        if not isinstance(shield, Shield):
            raise ArgumentTypeError(f"shield must be a Shield, got {type(shield).__name__}")
        self = super().__new__(cls, shield._table)
        self._shield = shield
        return self

    @property
    def shield(self) -> Shield:
        """Whose rules they are."""
        return self._shield

    def refusals(
        self,
        context: AbstractSet[str] | tuple[str, ...] | list[str] | Mapping[str, Any],
        action: str,
    ) -> tuple[Refusal, ...]:
        """Which rules mask an action now, and why.

        Parameters
        ----------
        context : set of str, or mapping of str to bool and numbers
        action : str

        Returns
        -------
        tuple of Refusal
            Empty: it is allowed.
        """
        return tuple(map(self._refusal_of, self._masking(context, action)))

    def _refusal_of(self, index: int) -> Refusal:
        for entry in self._shield._entries:
            if entry.number == index:
                return _refusal(entry.constraint, "")
        raise ArgumentValueError(f"index must be of a rule, got {index}")

    def _reason(self, against: list[int]) -> str:
        return "; ".join(str(self._refusal_of(index)) for index in against)

    def copy(self) -> Self:
        """Another one in the same place, for asking what would be."""
        other = type(self)(self._shield)
        other._become(self)
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: object) -> Self:
        return self.copy()

    def snapshot(self) -> bytes:
        """Where the stream is, for `restore`: the same state gives the same bytes.

        Returns
        -------
        bytes
            Some hundred for each rule.
        """
        counts, states, monitors = self._state()
        shield = self._shield
        head = TRACKER_HEADER.pack(
            len(shield._entries), bytes.fromhex(shield._prefixes[-1]), *counts
        )
        parts = [TRACKER_MAGIC, head]
        for state, monitor in zip(states, monitors, strict=True):
            parts += [ENTRY.pack(state, len(monitor), 0), monitor]
        return sealed(b"".join(parts))

    def restore(self, snapshot: bytes) -> None:
        """Go to where a snapshot was taken, under these rules or the first ones of them.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged one, one of other or more rules, or a state that no allowed
            decisions lead to. Nothing was changed then.
        """
        least = len(TRACKER_MAGIC) + TRACKER_HEADER.size
        data = unsealed(snapshot, TRACKER_MAGIC, "Tracker", least=least)
        n_rules, digest, *counts = TRACKER_HEADER.unpack_from(data, len(TRACKER_MAGIC))
        self._shield._check_prefix(n_rules, digest)
        pieces = _pieces(data[least:])
        count = sum(entry.number >= 0 for entry in self._shield._entries[:n_rules])
        if len(pieces) != count:
            raise ArgumentValueError("snapshot must be whole, got a damaged one")
        states = tuple(state for state, _, _ in pieces)
        try:
            self._set_state(tuple(counts), states, tuple(first for _, first, _ in pieces))
        except ValueError as error:
            raise ArgumentValueError(
                f"snapshot must be of a stream under this shield: {error}"
            ) from None

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of `snapshot`."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_tracker, (self._shield, self.snapshot())

    def __repr__(self) -> str:
        return (
            f"<Tracker at decision {self.position}: {self.masked} masked, {self.refused} refused, "
            f"{counted(self.violations, 'violation')}>"
        )


def _restored(
    rules: tuple[SafetyConstraint, ...],
    actions: tuple[str, ...],
    fallback: str,
    params: ParamSpace | None,
    context: tuple[str, ...] | None,
    snapshot: bytes,
) -> Shield:
    """Undo `Shield.__reduce__`."""
    made = Shield(rules, actions=actions, fallback=fallback, params=params, context=context)
    made.restore(snapshot)
    return made


def _restored_tracker(shield: Shield, snapshot: bytes) -> Tracker:
    """Undo `Tracker.__reduce__`."""
    made = Tracker(shield)
    made.restore(snapshot)
    return made


def _pieces(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Entries of a snapshot."""
    found, at = [], 0
    while at < len(data):
        if at + ENTRY.size > len(data):
            raise ArgumentValueError("snapshot must be whole, got a damaged one")
        state, first, second = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        if at + first + second > len(data):
            raise ArgumentValueError("snapshot must be whole, got a damaged one")
        found.append((state, data[at : at + first], data[at + first : at + first + second]))
        at += first + second
    return found


def _names(name: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ArgumentTypeError(f"{name} must be an iterable of str, got {given!r:.80}")
    names = tuple(given)
    for one in names:
        if not isinstance(one, str) or not one:
            raise ArgumentTypeError(f"{name} must hold names, got {one!r:.80}")
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise ArgumentValueError(f"{name} must have each name once, got {twice!r} twice")
    return names


def _constraints(rules: Any) -> list[SafetyConstraint]:
    if isinstance(rules, (str, Formula, SafetyConstraint)):
        rules = (rules,)
    if isinstance(rules, Mapping):
        return [_constraint(rule, name) for name, rule in rules.items()]
    if not isinstance(rules, Iterable):
        raise ArgumentTypeError(
            f"rules must be formulas or a mapping of names to formulas, got {type(rules).__name__}"
        )
    return [_constraint(rule, f"rule{index}") for index, rule in enumerate(rules, 1)]


def _constraint(rule: Any, name: str) -> SafetyConstraint:
    # Exactly: what a subclass says of its formula need not be so.
    if type(rule) is SafetyConstraint:
        return rule
    if isinstance(rule, (str, Formula)):
        return SafetyConstraint(name, rule)  # type: ignore[arg-type]
    raise ArgumentTypeError(
        f"rule {name!r} must be text, a Formula or a SafetyConstraint, got {type(rule).__name__}"
    )


def _bounded(formula: Formula) -> Formula:
    """The formula with a window for each obligation that has none."""
    window = Interval(0, REPAIR_STEPS)
    done: dict[Formula, Formula] = {}
    for node in formula.nodes():
        args = tuple(done[arg] for arg in node.args)
        if node.op in (Op.EVENTUALLY, Op.UNTIL) and node.interval is None:
            done[node] = make(node.op, args, window)
        elif node.op is Op.STRONG_RELEASE:
            done[node] = make(Op.UNTIL, (args[1], and_(*args)), window)
        elif args:
            done[node] = make(node.op, args, node.interval)
        else:
            done[node] = node
    return done[formula]


def _at_each(given: SafetyConstraint) -> Formula:
    """What a rule over changes says of each of them: the formula without `G` before it."""
    formula = given.formula
    if not formula.has_future:
        return formula
    parts = formula.args if formula.op is Op.AND else (formula,)
    if all(
        part.op is Op.ALWAYS and part.interval is None and not part.args[0].has_future
        for part in parts
    ):
        inner = [part.args[0] for part in parts]
        return inner[0] if len(inner) == 1 else and_(*inner)
    raise RuleError(
        f"rule {given.name!r} would refuse a change for what follows it: {given.formula}",
        rule=given.name,
        repair="a rule over changes looks back: write it with Y, O, H and S",
    )


def _event_text(event: Event) -> str:
    context, action = event
    return f"{action} when {' and '.join(sorted(context))}" if context else action


def _refusal(rule: SafetyConstraint, explanation: str) -> Refusal:
    return Refusal(rule.name, str(rule.formula), rule.reason, explanation, rule.repair)


def _values_text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in values.items())


def _check_genuine(space: ParamSpace, change: Change) -> None:
    """Refuse what the space would not have made: `Change` checks all of it when it is made."""
    try:
        settings = [space.settings(dict(one)) for one in (change.before, change.after)]
        again = Change(settings[0], settings[1], change.reason)
    except (ArgumentValueError, ArgumentTypeError, RefusedError) as error:
        raise RefusedError(
            f"change is none that the space makes: {error}", reason="space"
        ) from None
    if (again.digest, again.moves) != (change.digest, change.moves):
        raise RefusedError(
            f"change is none that the space makes: {change.moves} is not {again.moves}",
            reason="space",
        )


def _letters_of(space: ParamSpace) -> tuple[frozenset[str], frozenset[str]]:
    """Names that rules over changes may have: atoms, numbers."""
    atoms: list[str] = []
    numbers: list[str] = []
    for name, param in space.items():
        atoms += [f"{verb}_{name}" for verb in ("changed", "raised", "lowered")]
        if param.kind == "flag":
            atoms += [name, f"old_{name}"]
        elif _is_text(param):
            for value in param.choices:
                atoms += [f"{name}_is_{value}", f"old_{name}_is_{value}"]
        else:
            numbers += [name, f"old_{name}", f"step_{name}"]
    names = atoms + numbers
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentValueError(
            f"params must not have names that rules cannot tell apart, got {twice!r} twice"
        )
    return frozenset(atoms), frozenset(numbers)


def _is_text(param: Param) -> bool:
    return any(isinstance(value, str) for value in param.choices)


def _letter(change: Change) -> dict[str, bool | float]:
    """What rules over changes read of one."""
    found: dict[str, bool | float] = {}
    for name, param in change.space.items():
        old, new = change.before[name], change.after[name]
        step = param.position(new) - param.position(old)
        found[f"changed_{name}"] = old != new
        found[f"raised_{name}"] = step > 0
        found[f"lowered_{name}"] = step < 0
        if param.kind == "flag":
            found[name], found[f"old_{name}"] = new, old
        elif _is_text(param):
            for value in param.choices:
                found[f"{name}_is_{value}"] = new == value
                found[f"old_{name}_is_{value}"] = old == value
        else:
            found[name], found[f"old_{name}"] = new, old
            found[f"step_{name}"] = new - old
    return found
