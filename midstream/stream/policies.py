"""`Policy`: a temporal rule over what happens in a stream, and what to do when it is broken."""

from __future__ import annotations

import difflib
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import (
    check_callback,
    check_choice,
    check_mapping,
    check_text,
    did_you_mean,
)
from midstream.logic import Formula, Rule, RuleBook, parse
from midstream.stream.events import SEVERITIES, Finding
from midstream.stream.patterns import PatternSet

__all__ = ["CHANNELS", "STEP_FIELDS", "STEP_KINDS", "Policy", "PolicySet"]

#: What can happen, as the ``kind`` of a step says.
STEP_KINDS = (
    "text",
    "reasoning",
    "tool_call",
    "tool_result",
    "user",
    "match",
    "usage",
    "clock",
    "finding",
    "error",
    "end",
)
#: Where text patterns are looked for.
CHANNELS = ("text", "reasoning", "tool_call", "tool_result", "audio", "user")
#: Of these, what the model writes: the default of ``in``.
WRITTEN = ("text", "reasoning", "tool_call", "audio")
#: Fields that steps can have.
STEP_FIELDS = (
    "kind",
    "name",
    "arguments",
    "call",
    "call_id",
    "stream_id",
    "text",
    "channel",
    "pattern",
    "start",
    "end",
    "result",
    "failed",
    "malformed",
    "provider_run",
    "severity",
    "usage",
    "chars",
    "tokens",
    "t",
)

#: Those that steps of every kind have, and for each kind those that only some have.
_COMMON_FIELDS = ("kind", "stream_id", "t", "chars", "tokens", "usage")
_OWN_FIELDS = {
    "text": ("channel",),
    "reasoning": ("channel",),
    "tool_call": ("name", "call_id", "arguments", "call", "malformed", "provider_run"),
    "tool_result": ("name", "call_id", "arguments", "call", "text", "result", "failed"),
    "user": ("text",),
    "match": ("pattern", "channel", "start", "end", "name", "call_id"),
    "usage": (),
    "clock": (),
    "finding": ("name", "severity"),
    "error": ("text",),
    "end": ("text",),
}
#: For each kind of step, the fields that it can have.
FIELDS_OF = {kind: frozenset((*_COMMON_FIELDS, *own)) for kind, own in _OWN_FIELDS.items()}

#: What an atom means: tests on the fields of a step, or a function of the step.
StepCondition = Mapping[str, Any] | Callable[[Any], bool]
Action = str | Callable[[Finding], object]

_WORDS = ("any", "all", "not", "count")
_COUNT_WORDS = ("of", "at_least", "at_most", "within", "seconds")
#: Fields that change by themselves, so that a step must be made where a test of them turns over.
_METERS = ("chars", "tokens", "t")
_FORBIDDING = ("block", "stop")
#: Tests that the beginning of a text can decide.
_BEGUN = ("==", "!=", "in", "not_in", "starts_with", "contains", "exists")
#: Field -> what its values are, for a person and as types; of the others nothing is known.
_TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys((*_METERS, "start", "end"), ("a number", (int, float))),
    **dict.fromkeys(("failed", "malformed", "provider_run"), ("true or false", (bool,))),
    **dict.fromkeys(
        ("kind", "name", "call", "call_id", "stream_id", "text", "channel", "pattern", "severity"),
        ("text", (str,)),
    ),
}
#: Field -> what its values are, and which there are.
_CHOICES: Mapping[str, tuple[str, Sequence[str]]] = {
    "kind": ("a kind of step", STEP_KINDS),
    "channel": ("a channel", CHANNELS),
    "severity": ("a severity", SEVERITIES),
}
MAX_TIMED_KEYS = 1000


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
    key : str or callable, optional
        One state for each value of this field (``"arguments.order_id"``), a str or an int. Steps
        without the field do not concern the rule.
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
        A call that the model made: ``name``, ``arguments`` (parsed; those that could be read where
        they are no JSON, then ``malformed`` is True), ``call`` (the name and a digest of the
        arguments: the same for the same call, however it is written), ``provider_run`` (by the
        provider itself).
    ``tool_result``
        What came of a call: ``name``, ``text``, ``arguments`` and ``call`` (of the call),
        ``result`` (the text, parsed, where it is a JSON object or array), ``failed`` (marked as an
        error by its sender, or its text begins with "Error", or it is an object with an
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
    ``any``, ``all``, ``not`` and ``count``. Two shorthands are added. ``{"tool": "delete_*"}`` (a
    name, or a list of names; ``*`` stands for anything) is a call of that tool, or with
    ``"kind": "tool_result"`` its result. ``{"pattern": regex, "in": ["text", "tool_call"]}`` is a
    match of the regular expression, whatever pieces the text came in; without ``in``, in what the
    model writes. Arguments of calls are matched as they are written, and strings with escapes also
    as they are meant.

    Verdicts fall with the first character at which logic allows: what a call breaks is known when
    the arguments that matter are, not when all are there; of a text that is still being written,
    when its beginning decides (``==``, ``in``, ``starts_with``, ``contains``; up to 4,096
    characters). Of a key that an object has twice, the first and the last value count. Formulas
    that count steps (``X``, windows) are best given `when`, since other policies' patterns make
    steps too.

    Where it cannot be known whether a call is forbidden, since its arguments are no JSON or a value
    has the wrong type, a rule that forbids denies it. Of anything else a ``"warn"`` says so.

    The finding of a broken rule has the kind ``"policy"``, `start` and `end` of the pattern, or of
    what was written of the arguments when the verdict fell, and as evidence ``rule``, ``action``,
    ``formula``, ``repair``, ``atoms`` (those true), ``key``, ``step`` (its number), ``since`` (the
    step that had brought the rule to where this one ended it, or -1), ``at_end``, ``stream_id``,
    ``channel``, ``call_id``, ``tool`` and ``pattern``, as far as they apply; never a text that was
    matched.

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
    key: str | Callable[[Any], Any] | None = field(kw_only=True)
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
        key: str | Callable[[Any], Any] | None = None,
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
            atom: _plain(f"atoms.{atom} of rule {name!r}", condition, patterns)
            for atom, condition in atoms.items()
        }
        if isinstance(formula, Formula):
            _check_meanings(name, formula, atoms)
        if after_violation is None:
            after_violation = "reset" if _looks_ahead(formula) else "skip"
        rule = Rule(
            name,
            formula,
            atoms=plain,
            key=key,
            action="warn" if callable(action) else action,
            message=message,
            repair=repair,
            when=None if when is None else _plain(f"when of rule {name!r}", when, patterns),
            after_violation=after_violation,
            clock=clock,
        )
        if isinstance(key, str):
            _check_field(f"key of rule {name!r}", key)
        for regex in patterns:
            try:
                _pattern_set((regex,))
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


def _rebuild(
    name: str,
    formula: Formula,
    atoms: Mapping[str, StepCondition],
    action: Action,
    options: dict[str, Any],
) -> Policy:
    """Undo `Policy.__reduce__`."""
    return Policy(name, formula, atoms, action, **options)


class PolicySet:
    """Policies, compiled once for any number of streams.

    Parameters
    ----------
    policies : iterable of Policy
        Their names must differ.
    max_keys : int, default 10_000
        Values of each key that a stream's state is kept for; beyond it the oldest is forgotten.
        At most 1,000 where a rule has deadlines.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        What is given is no policy, a name occurs twice, or a rule can never be satisfied.
    StateLimitError, UndecidedError
        A formula is too large.

    Notes
    -----
    Some milliseconds to make, for policies that are new to the process; 20 microseconds a stream.
    Can be shared by threads.

    Examples
    --------
    >>> from midstream.stream import Policy, PolicySet
    >>> PolicySet([Policy("short", "G !long", {"long": {"chars": {">": 2000}}}, "stop")])
    <PolicySet of 1 policy>
    """

    def __init__(self, policies: Iterable[Policy] = (), *, max_keys: int = 10_000) -> None:
        if isinstance(policies, (str, Policy)) or not isinstance(policies, Iterable):
            raise ArgumentTypeError(
                f"policies must be an iterable of Policy, got {type(policies).__name__}"
            )
        self.policies = tuple(policies)
        self.by_name: dict[str, Policy] = {}
        for k, policy in enumerate(self.policies):
            if not isinstance(policy, Policy):
                raise ArgumentTypeError(
                    f"policies[{k}] must be a Policy, got {policy!r:.60} ({type(policy).__name__})"
                )
            if policy.name in self.by_name:
                raise ArgumentValueError(f"policies: the name {policy.name!r} occurs twice")
            self.by_name[policy.name] = policy
        self.has_deadlines = any(
            policy.clock == "time" and policy.formula.has_future for policy in self.policies
        )
        self._max_keys = max_keys
        if self.has_deadlines:
            # All keys are looked through for the next deadline.
            max_keys = min(max_keys, MAX_TIMED_KEYS)
        forbidding = [policy for policy in self.policies if policy.forbids]
        watching = [policy for policy in self.policies if not policy.forbids]
        # Apart, so that what is merely looked at does not keep a call from being passed on.
        self._guards = _book(forbidding, max_keys)
        self._watchers = _book(watching, max_keys)
        #: For each channel, what is looked for there.
        self.patterns: dict[str, PatternSet] = {}
        for channel in CHANNELS:
            wanted = dict.fromkeys(
                regex
                for policy in self.policies
                for regex, where in policy.patterns.items()
                if channel in where
            )
            if wanted:
                self.patterns[channel] = _pattern_set(tuple(wanted))
        #: A pattern can forbid any call; those that can forbid some, by name or state.
        self.any_call_pattern = False
        self.call_patterns: tuple[str, ...] = ()
        for policy in forbidding:
            for regex, where in policy.patterns.items():
                if "tool_call" not in where:
                    continue
                if _is_bare(policy, regex):
                    self.any_call_pattern = True
                elif regex not in self.call_patterns:
                    self.call_patterns += (regex,)
        #: Values of chars, tokens and t at which a step is due, ascending.
        self.limits = {meter: _limits(self.policies, meter) for meter in _METERS}
        #: Paths below ``arguments`` that decide something, as tuples.
        self.argument_paths = frozenset(_argument_paths(self.policies))
        #: Path below ``arguments`` -> tests (operator, operand) that the beginning of a text can
        #: decide.
        self.begun_tests = _begun_tests(self.policies)
        paths = set(_paths(self.policies))
        reads_all = any(_has_function(policy) for policy in self.policies)
        self.reads_results = reads_all or any(path.partition(".")[0] == "result" for path in paths)
        self.reads_calls = reads_all or "call" in paths
        self._lock = threading.Lock()

    @property
    def forbids(self) -> bool:
        """Whether one of them can deny a call."""
        return self._guards is not None

    def books(self) -> tuple[RuleBook | None, RuleBook | None]:
        """Fresh books of the rules that forbid and of the others; None where there are none."""
        with self._lock:  # a book is not for several threads, not even to be copied
            return (
                None if self._guards is None else self._guards.copy(),
                None if self._watchers is None else self._watchers.copy(),
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_set, (self.policies, self._max_keys)

    def __len__(self) -> int:
        return len(self.policies)

    def __iter__(self) -> Iterator[Policy]:
        return iter(self.policies)

    def __repr__(self) -> str:
        n = len(self.policies)
        return f"<PolicySet of {n} polic{'y' if n == 1 else 'ies'}>"


def _rebuild_set(policies: tuple[Policy, ...], max_keys: int) -> PolicySet:
    """Undo `PolicySet.__reduce__`."""
    return PolicySet(policies, max_keys=max_keys)


@lru_cache(maxsize=1024)
def _pattern_set(regexes: tuple[str, ...]) -> PatternSet:
    """Sets are made once in a process: the states that one stream has met serve the next one."""
    return PatternSet({regex: regex for regex in regexes})


def _book(policies: Sequence[Policy], max_keys: int) -> RuleBook | None:
    if not policies:
        return None
    rules = [policy.rule for policy in policies]
    book = RuleBook(rules, max_keys=max_keys, evict="oldest", audit=0)
    # What the first question works out, all copies share.
    book.outlook({"kind": "end", "t": 0.0}, lambda path: path == ())
    return book


def _plain(place: str, condition: Any, patterns: dict[str, set[str]], depth: int = 0) -> Any:
    """A condition without shorthands; `patterns` gets those in it."""
    if depth > 20 or not isinstance(condition, Mapping):
        return condition  # a function, or for the rule to complain about
    plain: dict[str, Any] = {}
    tools: list[dict[str, Any]] = []
    for key, value in condition.items():
        if key == "not":
            plain[key] = _plain(f"{place}.not", value, patterns, depth + 1)
        elif key in ("any", "all") and isinstance(value, (list, tuple)):
            plain[key] = [
                _plain(f"{place}.{key}[{k}]", one, patterns, depth + 1)
                for k, one in enumerate(value)
            ]
        elif key == "count" and isinstance(value, Mapping):
            plain[key] = dict(value)
            if "of" in value:
                plain[key]["of"] = _plain(f"{place}.count.of", value["of"], patterns, depth + 1)
        elif key == "tool":
            if "name" in condition:
                raise ArgumentValueError(f"{place} has both 'tool' and 'name'")
            tools = _tool_tests(f"{place}.tool", value)
            plain.setdefault("kind", condition.get("kind", "tool_call"))
        elif key == "in":
            if "pattern" not in condition:
                raise ArgumentValueError(
                    f"{place}: 'in' says where a 'pattern' is looked for, and there is none"
                )
        elif key == "pattern":
            channels = _channels(f"{place}.in", condition.get("in", WRITTEN))
            if not isinstance(value, str) or not value:
                raise ArgumentTypeError(
                    f"{place}.pattern must be a regular expression, got {value!r:.60}"
                )
            if condition.get("kind", "match") != "match":
                raise ArgumentValueError(
                    f"{place}: a pattern makes a step of kind 'match', got "
                    f"kind = {condition['kind']!r:.60}"
                )
            patterns.setdefault(value, set()).update(channels)
            plain.setdefault("kind", "match")
            plain["pattern"] = value
            plain["channel"] = {"in": list(channels)}
        else:
            if isinstance(key, str) and key not in _WORDS:
                _check_field(f"{place}: a field", key)
                _check_values(f"{place}.{key}", key, value)
            plain[key] = value
    if len(tools) == 1:
        plain["name"] = tools[0]["name"]
    elif tools:
        plain = {"all": [plain, {"any": tools}]}
    kind = plain.get("kind")
    return _within(plain, kind) if isinstance(kind, str) else plain


def _within(condition: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition whose parts ask for its kind first: no text is searched that does not count."""

    def part(one: Any) -> Any:
        if not isinstance(one, Mapping) or "kind" in one:
            return one
        return _within({"kind": kind, **one}, kind)

    plain = dict(condition)
    if "not" in plain:
        plain["not"] = part(plain["not"])
    for word in ("any", "all"):
        if isinstance(plain.get(word), (list, tuple)):
            plain[word] = [part(one) for one in plain[word]]
    return plain


def _channels(place: str, value: Any) -> tuple[str, ...]:
    wanted = (value,) if isinstance(value, str) else value
    if not isinstance(wanted, (list, tuple, set, frozenset)) or not wanted:
        raise ArgumentTypeError(f"{place} must be a list of channels, got {value!r:.60}")
    for one in wanted:
        check_choice(place, one, CHANNELS)
    return tuple(channel for channel in CHANNELS if channel in wanted)


def _tool_tests(place: str, value: Any) -> list[dict[str, Any]]:
    """Conditions of which one fits the name of such a tool; none where any does."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(one, str) for one in names):
        raise ArgumentTypeError(f"{place} must be a name of a tool or a list, got {value!r:.60}")
    if not names or not all(names):
        raise ArgumentValueError(f"{place} must name a tool, got {value!r:.60}")
    if not all(one.strip("*") for one in names):
        return []
    exact = [one for one in names if "*" not in one]
    tests = []
    if exact:
        tests.append({"name": exact[0] if len(exact) == 1 else {"in": exact}})
    for one in names:
        if "*" in one.strip("*"):  # stars within
            text = ".*".join(map(re.escape, one.split("*")))
            tests.append({"name": {"matches": f"(?s)^{text}$"}})
        elif one.startswith("*") and one.endswith("*"):
            tests.append({"name": {"contains": one.strip("*")}})
        elif one.startswith("*"):
            tests.append({"name": {"ends_with": one.strip("*")}})
        elif one.endswith("*"):
            tests.append({"name": {"starts_with": one.strip("*")}})
    return tests


def _check_field(place: str, key: str) -> None:
    if key.startswith("$."):
        key = key[2:]
    first = key.partition(".")[0]
    if first not in STEP_FIELDS:
        raise ArgumentValueError(
            f"{place} must be one that steps have, got {key!r}{did_you_mean(first, STEP_FIELDS)}"
        )


def _check_values(place: str, key: str, test: Any) -> None:
    """Refuse values that the field never has: such a rule would be silent for ever."""
    key = key.removeprefix("$.")
    wanted, types = _TYPES.get(key, ("", ()))
    if not types:
        return
    for one in _compared(test):
        if not isinstance(one, (str, int, float)):
            continue  # for the rule to complain about
        if not isinstance(one, types) or (isinstance(one, bool) and bool not in types):
            raise ArgumentTypeError(
                f"{place} must be compared with {wanted}, got {one!r:.60} ({type(one).__name__})"
            )
        if key in _CHOICES:
            what, choices = _CHOICES[key]
            if one not in choices:
                hint = did_you_mean(str(one), choices)
                raise ArgumentValueError(f"{place} must be {what}, got {one!r:.60}{hint}")


def _compared(test: Any) -> Iterator[Any]:
    """Values that a test compares a field with."""
    if not isinstance(test, Mapping):
        yield test
        return
    for word, operand in test.items():
        if word in ("==", "!=", "<", "<=", ">", ">="):
            yield operand
        elif word in ("in", "not_in") and isinstance(operand, (list, tuple)):
            yield from operand


def _check_meanings(name: str, formula: Formula, atoms: Mapping[str, StepCondition]) -> None:
    """Steps have no atoms by name: one without a meaning would never be true."""
    comparisons = {
        str(node.predicate): node.predicate.signal
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
        _check_field(f"a comparison in the formula of rule {name!r}", comparisons[atom])


def _looks_ahead(formula: Any) -> bool:
    if not isinstance(formula, Formula):
        return False  # the rule complains
    return any(
        node.op.name in ("NEXT", "STRONG_NEXT") or (node.interval is not None and node.has_future)
        for node in formula.nodes()
    )


def field_tests(condition: Any) -> Iterator[tuple[str, Any]]:
    """(field, test) of everything that a plain condition looks at."""
    if not isinstance(condition, Mapping):
        return
    for key, value in condition.items():
        if key == "not":
            yield from field_tests(value)
        elif key in ("any", "all"):
            for one in value:
                yield from field_tests(one)
        elif key == "count":
            yield from field_tests(value["of"])
        else:
            yield key.removeprefix("$."), value


def conditions_of(policy: Policy) -> Iterator[Any]:
    """Conditions of a policy, without shorthands."""
    yield from policy.rule.atoms.values()
    if policy.rule.when is not None:
        yield policy.rule.when
    for node in policy.formula.nodes():
        predicate = node.predicate
        if predicate is not None and str(predicate) not in policy.rule.atoms:
            yield {predicate.signal: {predicate.comparison: predicate.threshold}}


def _paths(policies: Iterable[Policy]) -> Iterator[str]:
    for policy in policies:
        for condition in conditions_of(policy):
            for path, _ in field_tests(condition):
                yield path
        if isinstance(policy.key, str):
            yield policy.key.removeprefix("$.")


def _argument_paths(policies: Iterable[Policy]) -> Iterator[tuple[str, ...]]:
    for path in _paths(policies):
        parts = tuple(path.split("."))
        if parts[0] == "arguments":
            yield parts[1:]


def _begun_tests(
    policies: Iterable[Policy],
) -> dict[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    found: dict[tuple[str, ...], dict[str, tuple[str, Any]]] = {}
    for policy in policies:
        for condition in conditions_of(policy):
            for path, test in field_tests(condition):
                first, *rest = path.split(".")
                if first == "arguments" and rest:
                    tests = test if isinstance(test, Mapping) else {"==": test}
                    found.setdefault(tuple(rest), {}).update(
                        (repr(one), one) for one in tests.items() if one[0] in _BEGUN
                    )
    return {path: tuple(tests.values()) for path, tests in found.items() if tests}


def decided_by(tests: Iterable[tuple[str, Any]], text: str) -> tuple[bool | None, ...]:
    """What the beginning of a text decides of each test, as an outlook has it; None: nothing."""
    found: list[bool | None] = []
    for word, operand in tests:
        if word in ("==", "!=", "in", "not_in"):
            operands = operand if word in ("in", "not_in") else (operand,)
            may = any(isinstance(one, str) and one.startswith(text) for one in operands)
            found.append(None if may else word in ("!=", "not_in"))
        elif word == "starts_with":
            whole = len(text) >= len(operand)
            may = not whole and operand.startswith(text)
            found.append(None if may else whole and text.startswith(operand))
        elif word == "contains":
            found.append(True if isinstance(operand, str) and operand in text else None)
        else:
            found.append(bool(operand))
    return tuple(found)


def _has_function(policy: Policy) -> bool:
    """Whether a function of its own looks at steps."""
    return callable(policy.key) or any(
        not isinstance(condition, Mapping) for condition in _flat(conditions_of(policy))
    )


def _is_bare(policy: Policy, regex: str) -> bool:
    """Whether a pattern counts wherever it is found, whatever the tool."""
    found = [
        condition
        for condition in _flat(policy.rule.atoms.values())
        if isinstance(condition, Mapping) and condition.get("pattern") == regex
    ]
    return bool(found) and any(set(one) <= {"kind", "pattern", "channel"} for one in found)


def _flat(conditions: Iterable[StepCondition]) -> Iterator[StepCondition]:
    """Conditions, and those within them; functions too."""
    todo = list(conditions)
    while todo:
        one = todo.pop()
        yield one
        if isinstance(one, Mapping):
            for key, value in one.items():
                if key in ("any", "all"):
                    todo += value
                elif key == "not":
                    todo.append(value)
                elif key == "count":
                    todo.append(value["of"])


def _limits(policies: Iterable[Policy], meter: str) -> tuple[float, ...]:
    """Values of a meter at which a test of it turns over."""
    found: set[float] = set()
    for policy in policies:
        for condition in conditions_of(policy):
            for path, test in field_tests(condition):
                if path == meter:
                    found.update(_turns(meter, test))
    return tuple(sorted(value for value in found if value > 0))


def _turns(meter: str, test: Any) -> Iterator[float]:
    tests = test if isinstance(test, Mapping) else {"==": test}
    for word, operand in tests.items():
        operands = operand if isinstance(operand, (list, tuple)) else [operand]
        for one in operands:
            if isinstance(one, bool) or not isinstance(one, (int, float)) or not math.isfinite(one):
                continue
            if meter == "t":
                beyond, at = math.nextafter(one, math.inf), float(one)
            else:
                beyond, at = float(math.floor(one) + 1), float(math.ceil(one))
            if word not in (">=", "<"):
                yield beyond
            if word not in (">", "<="):
                yield at
