"""A book of rules over one stream of events: what each event breaks, before or after it happens."""

from __future__ import annotations

import hashlib
import html
import json
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_choice, check_int, check_real, check_text
from midstream._core.words import counted
from midstream.logic._assembly import (
    Assembly,
    GroupPlan,
    Limits,
    RulePlan,
    assemble,
    rule_trees,
    shortest_acceptance,
    text_of,
)
from midstream.logic._checks import as_timeout
from midstream.logic._rulebook import Engine
from midstream.logic.formula import Formula
from midstream.logic.rules import (
    ACTIONS,
    Call,
    Counted,
    Fields,
    Rule,
    check_condition,
    check_field,
    check_rules,
    read_rules,
    write_rules,
)
from midstream.logic.verdict import Verdict

if TYPE_CHECKING:
    from midstream.logic.lint import LintFinding

__all__ = ["Finding", "Obligation", "Outcome", "Outlook", "RuleBook", "RuleCounts"]

Key = str | int | None
_Leaves = tuple[frozenset[int], tuple[int, ...], dict[int, frozenset[int]]]

_VERDICTS = tuple(Verdict)
_OWED = int(Verdict.PRESUMABLY_FALSE)
_MAGIC = b"midstream rule book 2\n"
_EVICT = ("error", "oldest_decided", "oldest")


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict that became final.

    Attributes
    ----------
    rule : str
        Name of the rule.
    verdict : Verdict
        FALSE: this event broke it. TRUE: nothing can break it any more.
    action : str
        Of the rule: ``"note"``, ``"warn"``, ``"block"`` or ``"stop"``.
    key : str, int or None
        Whose slice it is, for a rule with a key.
    step : int
        The event, counted from 0.
    since : int
        The event after which the rule had come into the state that this one ended; -1 where that
        is its start.
    atoms : tuple of str
        Atoms of the rule that were true.
    formula, message, repair : str
        Of the rule.
    at_end : bool
        No event did it, but the end of the stream.
    """

    rule: str
    verdict: Verdict
    action: str
    key: Key
    step: int
    since: int
    atoms: tuple[str, ...]
    formula: str
    message: str
    repair: str
    at_end: bool = False

    @property
    def broken(self) -> bool:
        """Whether the rule was broken."""
        return self.verdict == Verdict.FALSE

    def to_dict(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "rule": self.rule,
            "verdict": self.verdict.name,
            "action": self.action,
            "key": self.key,
            "step": self.step,
            "since": self.since,
            "atoms": list(self.atoms),
            "message": self.message,
            "repair": self.repair,
            "at_end": self.at_end,
        }

    def __str__(self) -> str:
        whose = "" if self.key is None else f" for {self.key!r}"
        if self.at_end:
            cause = f"the stream ended after {counted(self.step, 'event')}"
        else:
            true = ", ".join(self.atoms) or "no atom of it"
            cause = f"at step {self.step}, with {true} true"
        if not self.broken:
            return f"{self.rule}{whose}: kept for good {cause}"
        parts = [f"{self.rule}{whose}: broken, {cause}"]
        if self.since >= 0:
            parts.append(f"pending since step {self.since}")
        if self.message:
            parts.append(self.message)
        if self.repair:
            parts.append(f"to repair: {self.repair}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an event, or a batch of events, did.

    True in a condition where it is allowed: ``if not book.what_if(call): refuse(call)``.

    Attributes
    ----------
    findings : tuple of Finding
        Verdicts that became final, in the order of events, groups and rules.
    committed : bool
        Whether the book has taken the event.
    """

    findings: tuple[Finding, ...]
    committed: bool

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Findings of broken rules."""
        return tuple(finding for finding in self.findings if finding.broken)

    @property
    def allowed(self) -> bool:
        """Whether it broke no rule whose action is ``"block"`` or ``"stop"``."""
        return not any(
            finding.broken and finding.action in ("block", "stop") for finding in self.findings
        )

    @property
    def action(self) -> str | None:
        """The strongest action of the broken rules; None where none was broken."""
        return max((finding.action for finding in self.broken), key=ACTIONS.index, default=None)

    def __bool__(self) -> bool:
        return self.allowed

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings)) or "nothing was decided"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of an event of which only a part is known.

    Attributes
    ----------
    broken : tuple of Finding
        Rules that it breaks, whatever the rest turns out to be. Atoms of which nothing is known
        are not among `Finding.atoms`.
    open : tuple of str
        Names of rules that it breaks or not, as the rest turns out.
    problems : tuple of (str, str)
        Fields (paths with dots) that a condition cannot test, such as text where it wants a number,
        and why; their rules are judged as if nothing were known of them. A path is empty where
        the key is a function.
    allowed : bool or None
        False: it breaks a rule whose action is ``"block"`` or ``"stop"``; True: it cannot break
        one; None: the rest decides.
    settled : bool
        No rule looks at what is not known: the event as it is known now can be taken for the whole
        one.
    """

    broken: tuple[Finding, ...]
    open: tuple[str, ...]
    problems: tuple[tuple[str, str], ...]
    allowed: bool | None
    settled: bool


_TAKEN = Outcome((), True)
_TRIED = Outcome((), False)


@dataclass(frozen=True, slots=True)
class Obligation:
    """What is still owed: the stream must not end now.

    Attributes
    ----------
    rule : str
    key : str, int or None
        Whose slice it is.
    formula : str
        Of the rule.
    since : int
        The event that brought it about; -1 where it is owed from the start.
    fulfilment : tuple of frozenset of str
        The shortest continuation that fulfils it: for each event, the atoms that must be true (as
        few as possible); all others of the rule are false.
    message, repair : str
        Of the rule.
    deadline : float or None
        Of a rule with deadlines over time: the last time at which it can be fulfilled.
    """

    rule: str
    key: Key
    formula: str
    since: int
    fulfilment: tuple[frozenset[str], ...]
    message: str
    repair: str
    deadline: float | None = None

    def __str__(self) -> str:
        whose = "" if self.key is None else f" for {self.key!r}"
        events = ", then ".join("{" + ", ".join(sorted(letter)) + "}" for letter in self.fulfilment)
        since = f"since step {self.since}" if self.since >= 0 else "from the start"
        limit = "" if self.deadline is None else f", by {self.deadline:g}"
        return f"{self.rule}{whose}: owed {since}{limit}: {events}"


@dataclass(frozen=True, slots=True)
class RuleCounts:
    """How often a rule did something.

    Attributes
    ----------
    rule : str
    triggers : int or None
        Events at which the left side of a ``G(p -> ...)`` was true: 0 means that the rule was kept
        because nothing asked anything of it. None where the formula has no such part, or p looks
        at the future.
    violations : int
    verdict : Verdict
        The worst of the rule's slices now.
    slices : int
        Keys that the book holds; 1 for a rule without key.
    """

    rule: str
    triggers: int | None
    violations: int
    verdict: Verdict
    slices: int

    @property
    def vacuous(self) -> bool:
        """Whether the rule was never put to the test."""
        return self.triggers == 0


class RuleBook:
    """Hundreds of stateful rules over one stream of events.

    Each rule is an automaton; an event steps only those that it touches. Verdicts are final as
    soon as logic allows: a rule is broken at the first event after which no continuation can keep
    it.

    Parameters
    ----------
    rules : iterable of Rule, formula or text; or mapping of name to formula
        Names must differ.
    letters : {"all", "at_most_one", "exactly_one"}
        How many of the book's named atoms can be true at once. Fewer letters let verdicts fall
        earlier; an event that breaks the promise is an error. No formula, which `compile` takes
        besides: each rule is compiled over its own atoms alone, and what a formula over the atoms
        of the whole book says of these is not worked out. What conditions on fields exclude (two
        values of one field) needs no promise: it is always used.
    missing : {"false", "error"}
        What it means that a mapping lacks an atom, or a field that a condition comes to test: that
        it is false, or an error that names atom, rule and event. A set has no way to lack an atom.
    alphabet : sequence of str, optional
        All atoms that events may have by name: another one is an error, in rules and in events.
        Without it, unknown atoms are ignored.
    max_keys : int
        Slices kept for each group of rules with the same key.
    evict : {"error", "oldest_decided", "oldest"}
        What gives room to a new key: nothing, so that it is an error; the slice that was decided
        first (an error where none is); or the slice that was made first, even with obligations
        open. Evictions are counted in `metrics`; a key that comes again begins anew.
    time_field : str
        Where mapping events have their time, for rules that count it.
    audit : int
        Decisions kept in `audit`.
    on_finding : callable, optional
        Called with each `Finding` of events that are taken or refused, after the fact: what it
        raises reaches the caller of `step`, and the event stays taken.
    max_states : int
        Bound on the states of a rule.
    timeout_s : float, optional
        Bound on the time that all rules together take to be read and compiled, in seconds. Without
        it the work on each is bounded, to some ten seconds: give it for rules of strangers.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is wrong, a name occurs twice, or a rule can never be satisfied.
    StateLimitError
        A rule needs more than `max_states` states.
    UndecidedError
        The rules were not compiled within `timeout_s`, or without it one was not within the bound
        on work; the message names the rule.

    Notes
    -----
    An event is a set (or list) of true atoms; a mapping of atoms to True and False; a mapping,
    named tuple or dataclass with the fields that conditions test; or a bit mask over `alphabet`.
    Whatever raises leaves the book as it was.

    Windows over time, and over more than 32 steps, are kept beside the automata, which know nothing
    of them in advance: whether a formula holds of the events so far is exact, but a verdict that
    follows from what such windows say of each other, or of the rest, becomes final later, or never.

    A broken rule forbids only the event that newly breaks it: later events are judged as if it
    were not there, or from its start with ``after_violation="reset"``. (An event that was taken
    although it broke a rule is one of the rule's past: ``after_violation="skip"`` leaves it out.)

    With 100 rules, below a microsecond an event; independent of the length of the stream. A key
    costs 12 bytes a rule and group. Not for use by several threads at once: each takes a `copy`, or
    a lock; a use within a use is an error.

    Examples
    --------
    >>> from midstream.logic import RuleBook
    >>> book = RuleBook({"read first": "!write W read", "answer": "G(ask -> F answer)"})
    >>> bool(book.what_if({"write"}))
    False
    >>> bool(book.step({"read", "ask"})), bool(book.step({"write"}))
    (True, True)
    >>> print(book.open_obligations()[0])
    answer: owed since step 0: {answer}
    """

    def __init__(
        self,
        rules: Iterable[Rule | Formula | str] | Mapping[str, Formula | str],
        *,
        letters: str = "all",
        missing: str = "false",
        alphabet: Sequence[str] | None = None,
        max_keys: int = 100_000,
        evict: str = "error",
        time_field: str = "t",
        audit: int = 1000,
        on_finding: Callable[[Finding], None] | None = None,
        max_states: int = 10_000,
        timeout_s: float | None = None,
    ) -> None:
        timeout_s = as_timeout(timeout_s)
        max_states = check_int("max_states", max_states, low=1, high=1 << 24)
        limits = Limits(max_states, timeout_s)
        self._rules = check_rules(rules)
        seen: set[str] = set()
        for rule in self._rules:
            if rule.name in seen:
                raise ArgumentValueError(f"rules: the name {rule.name!r} occurs twice")
            seen.add(rule.name)
        if isinstance(letters, Formula):
            raise ArgumentTypeError(
                "letters of a rule book must be 'all', 'at_most_one' or 'exactly_one', not a "
                f"Formula as for compile: rules are compiled each over its own atoms; got "
                f"{letters!r:.80}"
            )
        check_choice("letters", letters, ("all", "at_most_one", "exactly_one"))
        check_choice("missing", missing, ("false", "error"))
        names = None
        if alphabet is not None:
            if isinstance(alphabet, str):
                raise ArgumentTypeError(f"alphabet must be a sequence of names, got {alphabet!r}")
            names = tuple(check_text("alphabet: an atom", one) for one in alphabet)
            if len(set(names)) != len(names) or "" in names:
                raise ArgumentValueError("alphabet must have different names, none empty")
        if on_finding is not None and not callable(on_finding):
            raise ArgumentTypeError(f"on_finding must be callable, got {on_finding!r:.60}")
        self._options: dict[str, Any] = {
            "letters": letters,
            "missing": missing,
            "alphabet": None if names is None else list(names),
            "max_keys": check_int("max_keys", max_keys, low=1, high=2**31),
            "evict": check_choice("evict", evict, _EVICT),
            "time_field": time_field,
            "audit": check_int("audit", audit, low=0, high=10**7),
            "max_states": max_states,
            "timeout_s": timeout_s,
        }
        path = check_field("time_field", time_field)
        self._on_finding = on_finding
        self._assembly: Assembly = assemble(
            self._rules,
            letters=letters,
            strict=missing == "error",
            alphabet=names,
            limits=limits,
        )
        groups = self._assembly.groups
        blocking = []
        for group in groups:
            flags = bytearray(group.program.n_rules)
            for plan in group.plans:
                flags[plan.slot] = plan.rule.action in ("block", "stop")
            blocking.append(bytes(flags))
        self._engine = Engine(
            self._assembly.conditions,
            [group.program for group in groups],
            [group.key for group in groups],
            needs_time=self._assembly.needs_time,
            time_path=path,
            max_keys=max_keys,
            evict=_EVICT.index(evict),
            blocking=tuple(blocking),
        )
        #: For `outlook`, once it was asked; copies share it.
        self._leaves: list[_Leaves] = []
        self._begin()

    def _begin(self) -> None:
        """What is not the engine's, as it is at first."""
        # Made when there is something to keep: thousands of copies keep nothing, and it is 1 KiB.
        self._audit: deque[dict[str, Any]] | None = None
        self._n_broken = 0
        self._n_refused = 0
        self._fulfilments: dict[tuple[int, int], tuple[int, ...]] = {}
        self._fingerprint: str | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in order."""
        return self._rules

    @property
    def alphabet(self) -> tuple[str, ...]:
        """Atoms that events give by name: bit i of a mask is ``alphabet[i]``."""
        return self._assembly.alphabet

    @property
    def n_steps(self) -> int:
        """Events taken."""
        return self._engine.n_steps

    @property
    def time(self) -> float | None:
        """Time of the last event, where times were given."""
        return None if math.isnan(self._engine.time) else self._engine.time

    @property
    def audit(self) -> tuple[dict[str, Any], ...]:
        """The last decisions, oldest first: dicts that JSON can carry.

        One for each event that was taken or refused and decided something: ``step``, ``time``,
        ``committed``, ``allowed``, ``action``, ``findings``. Events themselves are not kept: they
        may be secret. Not part of a snapshot.
        """
        return tuple(self._audit or ())

    @property
    def metrics(self) -> dict[str, int]:
        """Counts: events, broken rules, events refused, slices, evictions.

        ``evicted_open`` are the evictions of slices that were not decided. ``broken`` and
        ``refused`` count since the book was made, copied, unpickled or `reset`.
        """
        groups = self._engine.groups
        return {
            "events": self._engine.n_steps,
            "broken": self._n_broken,
            "refused": self._n_refused,
            "slices": sum(1 if group.key is None else len(group.slices) for group in groups),
            "evicted": sum(group.evicted for group in groups),
            "evicted_open": sum(group.evicted_open for group in groups),
        }

    def step(self, event: Any, *, time: float | None = None) -> Outcome:
        """Take an event, whether or not it breaks a rule.

        Parameters
        ----------
        event : set of str, mapping, named tuple, dataclass or int
        time : float, optional
            Not before that of the last event; default: the event's `time_field`, where a rule
            counts time.

        Returns
        -------
        Outcome

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            The event is no event, a value has the wrong type, or time goes backwards.
        StateLimitError
            A new key, and no room for it.
        """
        found = self._engine.step(event, time, 0)
        return _TAKEN if found is None else self._outcome(found, True, True)

    def what_if(self, event: Any, *, time: float | None = None) -> Outcome:
        """What `step` would return; the book stays as it is, byte for byte.

        Parameters
        ----------
        event, time
            As for `step`.

        Returns
        -------
        Outcome
            With ``committed=False``.
        """
        found = self._engine.step(event, time, 1)
        return _TRIED if found is None else self._outcome(found, False, False)

    def admit(self, event: Any, *, time: float | None = None) -> Outcome:
        """Take an event unless it breaks a rule that forbids it: the guard before a call.

        Parameters
        ----------
        event, time
            As for `step`.

        Returns
        -------
        Outcome
            With ``committed`` False where it was refused; the book is then as it was.
        """
        found = self._engine.step(event, time, 2)
        if found is None:
            return _TAKEN
        outcome = self._outcome(found, False, False)
        if outcome.allowed:
            outcome = Outcome(outcome.findings, True)
        return self._note(outcome)

    def outlook(
        self,
        event: Any,
        unknown: Callable[[tuple[str, ...]], bool | str],
        *,
        time: float | None = None,
    ) -> Outlook:
        """What can be said of an event while only a part of it is known; the book stays as it is.

        Parameters
        ----------
        event : mapping, named tuple or dataclass
            With the fields that are known.
        unknown : callable
            Given a path as a tuple of its parts, whether the value there is not known yet; a str
            says that it is a text, and begins like this: comparisons for equality,
            ``starts_with`` and ``contains`` may be decided by that. Asked for the fields that
            conditions and keys look at, and for the empty path: whether anything is unknown, so
            that conditions and keys that are functions cannot be asked.
        time : float, optional
            As for `step`.

        Returns
        -------
        Outlook

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            As `step`, but for values of the wrong type, which are told in `Outlook.problems`.

        Notes
        -----
        For each rule, all values of what it does not know are tried, as far as its conditions
        allow them together; a rule with more than six unknown conditions is left open. Atoms by
        their name are taken to be known. With the value of a key unknown, it is whether an event
        of any key breaks a rule; with more than 64 keys in the book, that is left open.

        Examples
        --------
        >>> from midstream.logic import Rule, RuleBook
        >>> book = RuleBook([Rule("not there", "G !there", atoms={"there": {"to": "there"}})])
        >>> print(book.outlook({"name": "move"}, lambda path: path == ("to",)).allowed)
        None
        >>> book.outlook({"name": "move", "to": "there"}, lambda path: False).allowed
        False
        """
        if not callable(unknown):
            raise ArgumentTypeError(f"unknown must be callable, got {unknown!r:.60}")
        leaves = self._leaves
        if not leaves:
            leaves += [self._leaves_of(group) for group in self._assembly.groups]
        found, undecided, problems, settled = self._engine.outlook(event, time, unknown, leaves)
        allowed: bool | None = True
        broken: tuple[Finding, ...] = ()
        names: tuple[str, ...] = ()
        groups = self._assembly.groups
        if undecided:
            rules = [groups[g].plans[slot].rule for g, slot in undecided]
            names = tuple(rule.name for rule in rules)
            if any(rule.action in ("block", "stop") for rule in rules):
                allowed = None
        if found:
            found.sort(key=lambda change: (change[0], change[2]))
            outcome = self._outcome(found, False, False)
            broken = outcome.findings
            if not outcome.allowed:
                allowed = False
        told = tuple((".".join(path), message) for path, message in problems) if problems else ()
        return Outlook(broken, names, told, allowed, settled)

    def _leaves_of(self, group: GroupPlan) -> _Leaves:
        """The bits of an event that decide what a group's rules read: all, and for each slot."""
        leaves = {}
        for plan in group.plans:
            rule = plan.rule
            trees = [tree for tree in rule_trees(rule).values() if tree is not None]
            if rule.when is not None:
                trees.append(check_condition("when", rule.when))
            bits = set()
            while trees:
                tree = trees.pop()
                if isinstance(tree, (Fields, Call)):
                    bits.add(self._assembly.leaves[tree])
                elif isinstance(tree, Counted):
                    trees.append(tree.of)
                else:
                    trees += tree.args
            leaves[plan.slot] = frozenset(bits)
        return frozenset().union(*leaves.values()), tuple(leaves), leaves

    def step_many(
        self,
        events: Iterable[Any],
        *,
        times: Iterable[float] | None = None,
        atomic: bool = True,
    ) -> Outcome:
        """Take several events in order: the parallel calls of one turn.

        Parameters
        ----------
        events : iterable of events
        times : iterable of float, optional
            One for each.
        atomic : bool
            All or nothing: if one is not allowed, or is in error, none is taken. Otherwise all are
            taken, up to one that is in error.

        Returns
        -------
        Outcome
            Findings of all events; those after the first that is forbidden are not looked at if
            `atomic`.
        """
        events = list(events)
        moments = [None] * len(events) if times is None else list(times)
        if len(moments) != len(events):
            raise ArgumentValueError(
                f"times must be as many as events, {len(events)}, got {len(moments)}"
            )
        findings: list[Finding] = []
        allowed = True
        if atomic:
            self._engine.begin_batch()
        kept = False
        try:
            for event, moment in zip(events, moments, strict=True):
                found = self._engine.step(event, moment, 0)
                if found is not None:
                    outcome = self._outcome(found, True, False)
                    findings += outcome.findings
                    allowed = allowed and outcome.allowed
                    if atomic and not allowed:
                        break
            kept = True
        finally:
            if atomic:
                self._engine.end_batch(not (kept and allowed))
        outcome = Outcome(tuple(findings), allowed or not atomic)
        return self._note(outcome) if findings else outcome

    def allowed(self, events: Iterable[Any], *, time: float | None = None) -> npt.NDArray[np.bool_]:
        """Which of these events would be allowed next.

        Parameters
        ----------
        events : iterable of events
            Each on its own, after what the book has seen.
        time : float, optional
            The same for all.

        Returns
        -------
        (n,) bool ndarray
            True where the event breaks no rule whose action is ``"block"`` or ``"stop"``.

        Examples
        --------
        >>> from midstream.logic import RuleBook
        >>> RuleBook(["!write W read"]).allowed([{"read"}, {"write"}]).tolist()
        [True, False]
        """
        return np.array(
            [self.what_if(event, time=time).allowed for event in events], dtype=np.bool_
        )

    @overload
    def check(self, traces: Iterable[Iterable[Any]], *, finish: bool = ...) -> list[Outcome]: ...
    @overload
    def check(self, traces: Any, *, finish: bool = ...) -> Any: ...
    def check(self, traces: Any, *, finish: bool = True) -> Any:
        """Judge whole traces, each from the start of the rules.

        Parameters
        ----------
        traces : iterable of traces; or a Dask bag or array, a delayed value, or a list of such
            A trace is an iterable of events as `step` takes them; a row of a two-dimensional
            array is one of bit masks. A delayed value stands for several traces, a delayed item
            of a list for one.
        finish : bool, default True
            The traces have ended: what is owed then is broken, as `finish` says.

        Returns
        -------
        list of Outcome
            What each trace decided, in order: `Outcome.broken`, `Outcome.allowed` (no rule that
            blocks or stops was broken).

            For a bag or an array a Dask bag, with as many partitions as there are, or are blocks
            of rows; for a delayed value one of such a list; for a list of delayed traces a list
            of delayed outcomes. Nothing is computed until Dask is asked.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            As `step`, with a note that says which trace and event.

        Notes
        -----
        A question, as `what_if` is: the book stays as it is, whatever it has seen plays no part,
        nothing is counted, and `on_finding` is not called. Some ten microseconds a trace, and
        one or two an event with a hundred rules. On a cluster each worker compiles the rules once.

        Examples
        --------
        >>> from midstream.logic import RuleBook
        >>> book = RuleBook({"answer": "G(ask -> F answer)"})
        >>> [bool(outcome.broken) for outcome in book.check([[{"ask"}, {"answer"}], [{"ask"}]])]
        [False, True]
        >>> import dask.bag
        >>> traces = dask.bag.from_sequence([[{"ask"}, {"answer"}], [{"ask"}]], npartitions=2)
        >>> with_errors = book.check(traces).filter(lambda outcome: outcome.broken)
        >>> with_errors.count().compute(scheduler="sync")
        1
        """
        from midstream.logic import _collections

        return _collections.check(self, traces, finish)

    def finish(self) -> Outcome:
        """The end of the stream: rules that are owed something are broken.

        A question, like `what_if`: the book stays as it is, and the next event may still come.
        Asked again, the answer is the same. No event did it, so that nothing is counted: not in
        `counts`, `metrics` and `audit`, and `on_finding` is not called. `reset` begins another
        stream. Without an event there is no trace, and nothing is broken; the same for a key's
        slice.

        Returns
        -------
        Outcome
            With a finding for each `open_obligations`, ``at_end`` True; ``committed`` is False.
        """
        findings = tuple(
            self._finding(plan, Verdict.FALSE, key, since, self._engine.n_steps, 0, True)
            for _, plan, key, _, since in self._pending()
        )
        return Outcome(findings, False)

    def open_obligations(self) -> list[Obligation]:
        """What is owed now: rules that would be broken if the stream ended.

        Returns
        -------
        list of Obligation
            By group of rules, then by key in order of arrival.
        """
        return [
            Obligation(
                plan.rule.name,
                key,
                plan.text,
                since,
                self._fulfilment(plan, state),
                plan.rule.message,
                plan.rule.repair,
                self._deadline(g, plan, key),
            )
            for g, plan, key, state, since in self._pending()
        ]

    def overdue(self, time: float) -> list[Obligation]:
        """Obligations whose deadline has passed: the next event will break their rules.

        A deadline is a rule ``G(p -> F[0:b] q)`` with ``clock="time"``. Events alone break rules,
        so that a stream that falls silent breaks none: ask this from a timer.

        Parameters
        ----------
        time : float
            Now.

        Returns
        -------
        list of Obligation
            Those with a `deadline` before `time`.

        Examples
        --------
        >>> from midstream.logic import Rule, RuleBook
        >>> book = RuleBook([Rule("answer", "G(ask -> F[0:5] answer)", clock="time")])
        >>> bool(book.step({"ask"}, time=10.0))
        True
        >>> book.overdue(15), str(book.overdue(15.5)[0])
        ([], 'answer: owed since step 0, by 15: {answer}')
        """
        now = check_real("time", time)
        return [
            one
            for one in self.open_obligations()
            if one.deadline is not None and one.deadline < now
        ]

    @property
    def next_deadline(self) -> float | None:
        """The first time at which an obligation has a deadline; None where none has one.

        Of the obligations that `open_obligations` lists; at any later time one of them is
        `overdue`. It takes a look at each key of rules with deadlines.
        """
        ends = []
        for g, group in enumerate(self._assembly.groups):
            if any(plan.deadlines for plan in group.plans):
                for key in self._engine.keys_of(g):
                    states, _ = self._engine.states(g, key)
                    ends += [
                        end
                        for plan in group.plans
                        if plan.colours[states[plan.slot]] == Verdict.PRESUMABLY_FALSE
                        and (end := self._deadline(g, plan, key)) is not None
                    ]
        return min(ends, default=None)

    def _deadline(self, g: int, plan: RulePlan, key: Key) -> float | None:
        if not plan.deadlines:
            return None
        numbers = self._engine.numbers(g, key)
        # Not a number: nothing waits for this one.
        ends = [float(numbers[place]) + high for place, high in plan.deadlines]
        return min((end for end in ends if not math.isnan(end)), default=None)

    def _pending(self) -> list[tuple[int, RulePlan, Key, int, int]]:
        found = []
        for g, group in enumerate(self._assembly.groups):
            for key in self._engine.keys_of(g):
                if self._engine.steps_of(g, key) == 0:
                    continue
                states, since = self._engine.states(g, key)
                here = states.tolist()  # as Python's numbers: a book of many traces is asked often
                found += [
                    (g, plan, key, here[plan.slot], int(since[plan.slot]))
                    for plan in group.plans
                    if plan.colours[here[plan.slot]] == _OWED
                ]
        return found

    def _fulfilment(self, plan: RulePlan, state: int) -> tuple[frozenset[str], ...]:
        known = self._fulfilments.get((plan.place, state))
        if known is None:
            known = shortest_acceptance(plan.automaton, state)
            if len(self._fulfilments) > 10_000:
                self._fulfilments.clear()
            self._fulfilments[plan.place, state] = known
        return tuple(
            frozenset(
                name
                for name, variable in zip(plan.atoms, plan.variables, strict=True)
                if mask >> variable & 1
            )
            for mask in known
        )

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Verdict of each rule by name; of a rule with a key, the worst of its slices."""
        found = [Verdict.TRUE] * len(self._rules)
        for g, group in enumerate(self._assembly.groups):
            worst = self._worst(g, group, self._engine.keys_of(g))
            for plan in group.plans:
                found[plan.place] = worst[plan.slot]
        return {rule.name: verdict for rule, verdict in zip(self._rules, found, strict=True)}

    def slices(self, rule: str) -> dict[Key, Verdict]:
        """Verdict for each key that a rule has met.

        Parameters
        ----------
        rule : str
            Its name.

        Returns
        -------
        dict
            In order of arrival; ``{None: verdict}`` for a rule without key.
        """
        g, plan = self._find(rule)
        colours = plan.automaton.colours
        return {
            key: Verdict(int(colours[self._engine.states(g, key)[0][plan.slot]]))
            for key in self._engine.keys_of(g)
        }

    def _find(self, rule: str) -> tuple[int, RulePlan]:
        for g, group in enumerate(self._assembly.groups):
            for plan in group.plans:
                if plan.rule.name == rule:
                    return g, plan
        names = ", ".join(repr(one.name) for one in self._rules)
        raise ArgumentValueError(f"rule must be one of {names:.500}, got {rule!r:.80}")

    def counts(self) -> list[RuleCounts]:
        """How often each rule was put to the test, and broken: the report of vacuity.

        Returns
        -------
        list of RuleCounts
            In the order of the rules. Over all keys, those evicted too.
        """
        rows: dict[int, RuleCounts] = {}
        for g, group in enumerate(self._assembly.groups):
            hits, broken = self._engine.counts_of(g)
            keys = self._engine.keys_of(g)
            worst = self._worst(g, group, keys)
            for plan in group.plans:
                rows[plan.place] = RuleCounts(
                    plan.rule.name,
                    None if plan.trigger is None else hits[plan.trigger],
                    broken[plan.slot],
                    worst[plan.slot],
                    len(keys),
                )
        return [rows[k] for k in range(len(self._rules))]

    def _worst(self, g: int, group: GroupPlan, keys: list[Key]) -> dict[int, Verdict]:
        if not keys:
            return {plan.slot: Verdict(int(plan.automaton.colours[0])) for plan in group.plans}
        if len(keys) == 1:
            here = self._engine.states(g, keys[0])[0].tolist()
            return {plan.slot: _VERDICTS[plan.colours[here[plan.slot]]] for plan in group.plans}
        states = np.array([self._engine.states(g, key)[0] for key in keys])
        return {
            plan.slot: Verdict(int(plan.automaton.colours[states[:, plan.slot]].min()))
            for plan in group.plans
        }

    def explain(self, finding: Finding) -> str:
        """A finding in sentences: rule, formula, event, and what to do.

        Parameters
        ----------
        finding : Finding
            Of this book.

        Returns
        -------
        str
        """
        if not isinstance(finding, Finding):
            raise ArgumentTypeError(f"finding must be a Finding, got {type(finding).__name__}")
        _, plan = self._find(finding.rule)
        whose = "" if finding.key is None else f", for {plan.rule.key} {finding.key!r}"
        verb = "was broken" if finding.broken else "can no longer be broken"
        lines = [f"Rule {finding.rule!r}{whose}: {finding.formula} {verb}."]
        if finding.at_end:
            ended = f"The stream ended after {counted(finding.step, 'event')}"
            lines.append(f"{ended}, and something was owed.")
        else:
            true = ", ".join(finding.atoms) or "none"
            false = ", ".join(name for name in plan.atoms if name not in finding.atoms) or "none"
            lines.append(f"Event {finding.step} decided it; true: {true}; false: {false}.")
        if finding.since >= 0:
            lines.append(f"Event {finding.since} had brought the rule to where this one ended it.")
        elif not finding.at_end:
            lines.append("No earlier event had concerned it.")
        if finding.broken:
            lines.append("No continuation can satisfy it." if not finding.at_end else "")
            lines.append(f"Action: {finding.action}.")
        if finding.message:
            lines.append(finding.message)
        if finding.repair:
            lines.append(f"Repair: {finding.repair}")
        return "\n".join(line for line in lines if line)

    def _finding(
        self,
        plan: RulePlan,
        verdict: Verdict,
        key: Key,
        since: int,
        step: int,
        mask: int,
        at_end: bool,
    ) -> Finding:
        rule = plan.rule
        return Finding(
            rule.name,
            verdict,
            rule.action,
            key,
            step,
            since,
            tuple(name for name, bit in zip(plan.atoms, plan.bits, strict=True) if mask >> bit & 1),
            plan.text,
            rule.message,
            rule.repair,
            at_end,
        )

    def _outcome(self, found: list[tuple[Any, ...]], committed: bool, note: bool) -> Outcome:
        groups = self._assembly.groups
        outcome = Outcome(
            tuple(
                self._finding(groups[g].plans[slot], Verdict(after), key, since, step, mask, False)
                for g, key, slot, _, after, since, step, mask in found
            ),
            committed,
        )
        return self._note(outcome) if note else outcome

    def _note(self, outcome: Outcome) -> Outcome:
        """Count, log and pass on what was decided."""
        self._n_broken += len(outcome.broken) if outcome.committed else 0
        self._n_refused += not outcome.committed
        if self._options["audit"]:
            if self._audit is None:
                self._audit = deque(maxlen=self._options["audit"])
            self._audit.append(
                {
                    "step": outcome.findings[-1].step,
                    "time": self.time,
                    "committed": outcome.committed,
                    "allowed": outcome.allowed,
                    "action": outcome.action,
                    "findings": [finding.to_dict() for finding in outcome.findings],
                }
            )
        if self._on_finding is not None:
            for finding in outcome.findings:
                self._on_finding(finding)
        return outcome

    def reset(self) -> None:
        """Forget every event, key and count, those of `metrics` too; the audit log stays."""
        self._engine.reset()
        self._n_broken = 0
        self._n_refused = 0

    def copy(self) -> Self:
        """A book with the same rules and a memory of its own; the audit log is empty."""
        twin = object.__new__(type(self))
        twin._rules = self._rules
        twin._options = dict(self._options)
        twin._on_finding = self._on_finding
        twin._assembly = self._assembly
        twin._engine = self._engine.copy()
        twin._leaves = self._leaves
        twin._begin()
        return twin

    def _fresh(self) -> Self:
        """A book with the same rules that has seen nothing and tells nobody."""
        twin = self.copy()
        twin._on_finding = None
        twin.reset()
        return twin

    def _through(self, events: Iterable[Any], finish: bool) -> Outcome:
        """What events decide, and with `finish` their end; neither counted nor told."""
        step = self._engine.step
        changes: list[tuple[Any, ...]] = []
        for event in events:
            found = step(event, None, 0)
            if found is not None:
                changes += found
        findings = self._outcome(changes, False, False).findings
        if finish:
            findings += self.finish().findings
        return Outcome(findings, False) if findings else _TRIED

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._rules, self._options, self._on_finding, self.snapshot())

    def _identity(self) -> str:
        """A digest of rules and automata: a snapshot is for the same ones only."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for group in self._assembly.groups:
                for plan in group.plans:
                    rule = plan.rule
                    key = rule.key if isinstance(rule.key, str) else rule.key is not None
                    digest.update(
                        repr((rule.name, plan.text, key, rule.after_violation, rule.clock)).encode(
                            "utf-8", "surrogatepass"
                        )
                    )
                    digest.update(repr((plan.bits, plan.variables, plan.trigger)).encode())
                    digest.update(np.ascontiguousarray(plan.automaton.roots).tobytes())
                    digest.update(np.ascontiguousarray(plan.automaton.nodes).tobytes())
                digest.update(repr(group.program.slice_bytes).encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def snapshot(self) -> bytes:
        """All that the book remembers of events, keys and counts, as bytes.

        Returns
        -------
        bytes
            For `restore` of a book of the same rules, in this process or another one on a machine
            of the same byte order. Two books that would judge alike for ever after the same events
            have equal snapshots. With a checksum, so that damage is found.
        """
        head, parts = self._engine.dump()
        blocks = b"".join(part[4] for part in parts)
        header = {
            "identity": self._identity(),
            "byteorder": sys.byteorder,
            "head": head,
            "parts": [[*part[:4], len(part[4])] for part in parts],
        }
        return sealed(_MAGIC + json.dumps(header).encode() + b"\n" + blocks)

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot.

        Parameters
        ----------
        snapshot : bytes-like
            From `snapshot`, of a book of the same rules.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Not bytes; damaged; of another version or of other rules. The book is then as it was.
        """
        body = unsealed(snapshot, _MAGIC, "RuleBook")
        end = body.find(b"\n", len(_MAGIC))
        if end < 0:
            raise ArgumentValueError("snapshot: damaged: it has no header")
        try:
            header = json.loads(body[len(_MAGIC) : end])
            identity, order = header["identity"], header["byteorder"]
            (n_steps, time), parts = header["head"], header["parts"]
            blocks = body[end + 1 :]
            loaded = []
            at = 0
            for keys, decided, evicted, evicted_open, size in parts:
                if not all(
                    isinstance(key, (str, int)) and not isinstance(key, bool)
                    for key in (*keys, *decided)
                ):
                    raise ArgumentValueError("snapshot: a key is neither text nor an integer")
                loaded.append(
                    (keys, decided, int(evicted), int(evicted_open), blocks[at : at + size])
                )
                at += size
            head = (int(n_steps), None if time is None else float(time))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ArgumentValueError(f"snapshot: damaged: {error!r:.200}") from error
        if identity != self._identity():
            raise ArgumentValueError("snapshot: of other rules than those of this book")
        if order != sys.byteorder:
            raise ArgumentValueError(f"snapshot: of a machine whose byte order is {order!r:.20}")
        if at != len(blocks):
            raise ArgumentValueError("snapshot: damaged: its size is wrong")
        self._engine.load(head, loaded)

    def lint(self, **options: Any) -> list[LintFinding]:
        """What is wrong with the rules themselves: see `lint_rules`, which has the options.

        Returns
        -------
        list of LintFinding
        """
        from midstream.logic.lint import lint_rules

        given = {
            "letters": self._options["letters"],
            "alphabet": self._options["alphabet"],
            **options,
        }
        return lint_rules(self._rules, **given)

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str], **options: Any) -> Self:
        """A book of the rules in a TOML file or text: see `read_rules` for the format.

        Parameters
        ----------
        source : str or path
        **options
            Arguments of `RuleBook`, before those of the file's ``[book]``: `timeout_s` and
            `max_states` for files of strangers.

        Raises
        ------
        ConfigurationError
            The message names file, rule, field and value.
        """
        rules, read = read_rules(source)
        return cls(rules, **{**read, **options})

    def to_toml(self) -> str:
        """The rules and options as TOML that `from_toml` reads back.

        Raises
        ------
        ArgumentValueError
            A condition or a key is a Python function.
        """
        defaults = _DEFAULTS
        options = {
            key: value
            for key, value in self._options.items()
            if value is not None and value != defaults.get(key)
        }
        return write_rules(self._rules, options)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        metrics = self.metrics
        return (
            f"<RuleBook of {counted(len(self._rules), 'rule')} after "
            f"{counted(metrics['events'], 'event')}, {counted(metrics['slices'], 'slice')}>"
        )

    def _repr_html_(self) -> str:
        rows = []
        for rule, count in zip(self._rules, self.counts(), strict=True):
            triggers = "" if count.triggers is None else count.triggers
            cells = (
                rule.name,
                text_of(rule.formula),
                "" if rule.key is None else str(rule.key),
                rule.action,
                count.verdict.name,
                triggers,
                count.violations,
                count.slices,
            )
            rows.append(
                "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
            )
        names = ("rule", "formula", "key", "action", "verdict", "triggers", "violations", "slices")
        heads = "".join(f"<th>{name}</th>" for name in names)
        return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


_DEFAULTS = {
    "letters": "all",
    "missing": "false",
    "max_keys": 100_000,
    "evict": "error",
    "time_field": "t",
    "audit": 1000,
    "max_states": 10_000,
    "timeout_s": None,
}


def _rebuild(
    rules: tuple[Rule, ...],
    options: dict[str, Any],
    on_finding: Callable[[Finding], None] | None,
    snapshot: bytes,
) -> RuleBook:
    """Undo `RuleBook.__reduce__`."""
    # What was compiled in time once is not to fail on a busier machine.
    book = RuleBook(rules, on_finding=on_finding, **{**options, "timeout_s": None})
    book._options = dict(options)
    book.restore(snapshot)
    return book
