"""`Policy`: a temporal rule over what happens in a stream, and what to do when it is broken."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_callback, check_choice, check_mapping, check_text
from midstream.logic import Formula, Rule, parse
from midstream.stream.events import SEVERITIES, Finding
from midstream.stream.policies.conditions import (
    StepCondition,
    check_field,
    check_values,
    pattern_set,
    plain_condition,
)

__all__ = ["Action", "Policy", "conditions_of", "key_field"]

Action: TypeAlias = str | Callable[[Finding], object]
_FORBIDDING = ("block", "stop")


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A rule over the steps of a stream: a formula, what its atoms mean, and what to do.

    Parameters
    ----------
    name : str
        What findings and denials call it.
    formula : str or Formula
        Over atoms, as `midstream.logic.parse` reads it. A comparison such as ``tokens > 4000`` or
        ``"arguments.amount" > 100`` tests that field of the step.
    atoms : mapping of str to condition
        What the atoms mean, see Notes. Each one needs a meaning.
    action : {"block", "stop", "warn", "note"} or callable
        What to do with the step that breaks it. ``"block"`` denies a tool call; what is no call, or
        is run by the provider itself, cannot be denied, and stops the stream. ``"stop"`` closes the
        stream, and denies the call for which it does. A callable gets the `Finding`, of severity
        ``"warn"``; what it raises ends the watch.
    message, repair : str
        What is wrong, and what would be right: for findings, and for the model whose call is
        denied.
    key : str, sequence of str, or callable, optional
        One state for each value of this field (``"arguments.order_id"``), a str or an int; of
        several fields, the first that the step has. Steps without any do not concern the rule.
    when : condition, optional
        The rule sees only steps that fit, as if there were no others.
    after_violation : {"skip", "reset", "stay"}, optional
        What becomes of a rule that was broken and denied nothing: it goes on as if the step had not
        been, begins anew, or is silent from then on. By default ``"skip"``, and ``"reset"`` where
        the formula has a window on the future or a next step, which what follows would break again
        and again.
    clock : {"steps", "time"}
        What windows such as ``F[0:5]`` count: steps, or seconds.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, FormulaSyntaxError, ExpressionError
        An argument is wrong; the message names rule, field and value.

    Notes
    -----
    A rule looks at steps, one for each thing that happened, not for each token:

    ``tool_call``
        A call that the model made: ``name``, ``plain_name``, ``arguments`` (parsed; those that
        could be read where they are no JSON, then ``malformed`` is True), ``call`` (the name and a
        digest of the arguments: the same for the same call, however it is written),
        ``provider_run`` (by the provider itself).
    ``tool_result``
        What came of a call: ``name``, ``plain_name``, ``text``, ``arguments`` and ``call`` (of the
        call), ``result`` (the text, parsed, where it is a JSON object or array), ``failed`` (marked
        as an error by its sender, or its text begins with "Error", or it is an object with an
        ``error``).
    ``match``
        A text pattern was found: ``pattern``, ``channel``, ``start``, ``end`` (characters), in a
        call's arguments or a result also ``name``.
    ``text``, ``reasoning``
        The model began to write to the user (``channel`` ``"text"`` or ``"audio"``), or to think.
    ``user``
        A message of the user in what went before: ``text``.
    ``usage``
        The provider told what it counted (``usage``), or a limit on ``chars`` or ``tokens`` that a
        condition names was reached, at the very character.
    ``clock``
        A deadline passed, or a limit on ``t``, and nothing else happened at that moment.
    ``finding``
        A detector found something: ``name`` (its kind), ``severity``.
    ``error``, ``end``
        The stream carried an error, or the finish reason of a choice: ``text``.

    All have ``stream_id``, ``t`` (seconds since the request, never less than before), ``chars``
    (written by the model so far), ``tokens`` (the provider's count of these, as far as it told it,
    and a token for every 4 characters since) and ``usage`` (the newest), calls and results
    ``call_id``.

    A condition is as in `midstream.logic.Rule`: a mapping of fields to values, with operators and
    ``any``, ``all``, ``not`` and ``count``. Three shorthands are added. ``{"tool": "delete_*"}`` (a
    name, or a list of names; ``*`` stands for anything) is a call of that tool, or with
    ``"kind": "tool_result"`` its result. ``{"like": "delete_*"}`` is the same for names however
    they are written, with and without their server: ``DeleteFile``, ``delete-file`` and
    ``mcp__fs__delete_file`` too, which all have the ``plain_name`` ``delete_file``; a name with a
    server (``mcp__fs__*``) is taken as it is. ``{"pattern": regex, "in": ["text", "tool_call"]}``
    is a match of the regular expression, whatever pieces the text came in; without ``in``, in what
    the model writes. Arguments of calls are matched as they are written, and strings with escapes
    also as they are meant.

    Verdicts fall with the first character at which logic allows: what a call breaks is known when
    the arguments that matter are, not when all are there; of a text that is still being written,
    when its beginning decides (``==``, ``in``, ``starts_with``, ``contains``; up to 4,096
    characters). Of a key that an object has twice, the first and the last value count. Formulas
    that count steps (``X``, windows) are best given `when`, since other policies' patterns make
    steps too.

    Of several choices of one response, each is judged by itself, after what was before the
    response: see `Guard`.

    Where it cannot be known whether a call is forbidden, since its arguments are no JSON or a value
    has the wrong type, a rule that forbids denies it. Of anything else a ``"warn"`` says so.

    The finding of a broken rule has the kind ``"policy"``, `start` and `end` of the pattern, of the
    character with which a limit on ``chars`` or ``tokens`` was passed (what is before `start` keeps
    to it), or of what was written of the arguments when the verdict fell, and as evidence
    ``rule``, ``action``, ``formula``, ``repair``, ``atoms`` (those true), ``key``, ``step`` (its
    number), ``since`` (the step that had brought the rule to where this one ended it, or -1),
    ``at_end``, ``stream_id``, ``channel``, ``call_id``, ``tool`` and ``pattern``, as far as they
    apply; never a text that was matched.

    Immutable; policies compare by identity.

    Examples
    --------
    >>> from midstream.stream import Event, Guard, Policy
    >>> policy = Policy(
    ...     "backup first",
    ...     "!delete W backup",
    ...     {"delete": {"tool": "delete_*"}, "backup": {"tool": "backup"}},
    ...     repair="call backup, then delete",
    ... )
    >>> guard = Guard(policies=[policy])
    >>> step = guard.take(Event("tool_call", 0, 0, '{"pa', "delete_file", None, "0/0", "call_1"))
    >>> step.hold, step.denied[0].name
    (True, 'delete_file')
    """

    name: str
    formula: Formula
    atoms: Mapping[str, StepCondition]
    action: Action
    message: str = field(kw_only=True)
    repair: str = field(kw_only=True)
    key: str | tuple[str, ...] | Callable[[Any], Any] | None = field(kw_only=True)
    when: StepCondition | None = field(kw_only=True)
    after_violation: str = field(kw_only=True)
    clock: str = field(kw_only=True)
    #: As midstream.logic has it, with conditions over plain fields.
    rule: Rule = field(kw_only=True, repr=False)
    #: Regular expression -> channels in which it is looked for.
    patterns: Mapping[str, frozenset[str]] = field(kw_only=True, repr=False)

    def __init__(
        self,
        name: str,
        formula: str | Formula,
        atoms: Mapping[str, StepCondition] | None = None,
        action: Action = "block",
        *,
        message: str = "",
        repair: str = "",
        key: str | Sequence[str] | Callable[[Any], Any] | None = None,
        when: StepCondition | None = None,
        after_violation: str | None = None,
        clock: str = "steps",
    ) -> None:
        put = object.__setattr__
        if not check_text("name", name):
            raise ArgumentValueError("name must not be empty")
        if isinstance(formula, str):
            try:
                formula = parse(formula)
            except MidstreamError as error:
                raise type(error)(f"formula of rule {name!r}: {error}") from error
        if callable(action):
            check_callback(f"action of rule {name!r}", action)
        else:
            check_choice(f"action of rule {name!r}", action, SEVERITIES)
        atoms = {} if atoms is None else check_mapping(f"atoms of rule {name!r}", atoms)
        patterns: dict[str, set[str]] = {}
        plain = {
            atom: plain_condition(f"atoms.{atom} of rule {name!r}", condition, patterns)
            for atom, condition in atoms.items()
        }
        if isinstance(formula, Formula):
            _check_meanings(name, formula, atoms)
        if after_violation is None:
            after_violation = "reset" if _looks_ahead(formula) else "skip"
        one_key: Any = key
        if isinstance(key, (list, tuple)):
            key = _check_keys(f"key of rule {name!r}", key)
            one_key = key_field(key)
        rule = Rule(
            name,
            formula,
            atoms=plain,
            key=one_key,
            action="warn" if callable(action) else action,
            message=message,
            repair=repair,
            when=None
            if when is None
            else plain_condition(f"when of rule {name!r}", when, patterns),
            after_violation=after_violation,
            clock=clock,
        )
        if isinstance(key, str):
            check_field(f"key of rule {name!r}", key)
        for regex in patterns:
            try:
                pattern_set((regex,))
            except MidstreamError as error:
                raise ArgumentValueError(f"a pattern of rule {name!r}: {error}") from error
        put(self, "name", name)
        put(self, "formula", rule.formula)
        put(self, "atoms", dict(atoms))
        put(self, "action", action)
        put(self, "message", message)
        put(self, "repair", repair)
        put(self, "key", key)
        put(self, "when", when)
        put(self, "after_violation", after_violation)
        put(self, "clock", clock)
        put(self, "rule", rule)
        put(self, "patterns", {regex: frozenset(where) for regex, where in patterns.items()})

    @property
    def forbids(self) -> bool:
        """Whether it can deny a call."""
        return self.action in _FORBIDDING

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "message": self.message,
            "repair": self.repair,
            "key": self.key,
            "when": self.when,
            "after_violation": self.after_violation,
            "clock": self.clock,
        }
        return _rebuild, (self.name, self.formula, self.atoms, self.action, options)

    def __repr__(self) -> str:
        action = self.action if isinstance(self.action, str) else "callback"
        return f"<Policy {self.name!r}, {action}: {str(self.formula)!r:.100}>"


def _check_keys(place: str, keys: Sequence[Any]) -> tuple[str, ...]:
    if not keys:
        raise ArgumentValueError(f"{place} must name a field, got {keys!r}")
    for one in keys:
        if not isinstance(one, str):
            raise ArgumentTypeError(f"{place} must be names of fields, got {one!r:.60}")
        check_field(place, one)
    return tuple(one.removeprefix("$.") for one in keys)


def key_field(keys: tuple[str, ...]) -> str:
    """Name of the field of a step that has the value of the first of several."""
    return " or ".join(keys).replace(".", ":")


def _rebuild(
    name: str,
    formula: Formula,
    atoms: Mapping[str, StepCondition],
    action: Action,
    options: dict[str, Any],
) -> Policy:
    """Undo `Policy.__reduce__`."""
    return Policy(name, formula, atoms, action, **options)


def _check_meanings(name: str, formula: Formula, atoms: Mapping[str, StepCondition]) -> None:
    """Steps have no atoms by name: one without a meaning would never be true."""
    comparisons = {
        str(node.predicate): node.predicate
        for node in formula.nodes()
        if node.predicate is not None
    }
    for atom in formula.atoms:
        if atom in atoms:
            continue
        if atom not in comparisons:
            near = difflib.get_close_matches(atom, list(atoms), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ArgumentValueError(
                f"atoms of rule {name!r}: {atom!r} of its formula has no meaning{hint}"
            )
        place = f"comparison {atom!r} in the formula of rule {name!r}"
        predicate = comparisons[atom]
        check_field(place, predicate.signal)
        check_values(place, predicate.signal, predicate.threshold)


def _looks_ahead(formula: Any) -> bool:
    if not isinstance(formula, Formula):
        return False  # the rule complains
    return any(
        node.op.name in ("NEXT", "STRONG_NEXT") or (node.interval is not None and node.has_future)
        for node in formula.nodes()
    )


def conditions_of(policy: Policy) -> Iterator[Any]:
    """Conditions of a policy, without shorthands."""
    yield from policy.rule.atoms.values()
    if policy.rule.when is not None:
        yield policy.rule.when
    for node in policy.formula.nodes():
        predicate = node.predicate
        if predicate is not None and str(predicate) not in policy.rule.atoms:
            yield {predicate.signal: {predicate.comparison: predicate.threshold}}
