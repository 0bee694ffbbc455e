"""`PolicySet`: policies compiled once, and what has to be watched for them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic import RuleBook
from midstream.stream.patterns import PatternSet
from midstream.stream.policies.conditions import all_within, field_tests, pattern_set
from midstream.stream.policies.defining import Policy, conditions_of, key_field
from midstream.stream.policies.steps import CHANNELS, METERS

__all__ = ["PolicySet"]

#: Tests that the beginning of a text can decide.
_BEGUN = ("==", "!=", "in", "not_in", "starts_with", "contains", "exists")
#: Values of a key that are kept where deadlines are looked for among them all.
MAX_TIMED_KEYS = 1000


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
                self.patterns[channel] = pattern_set(tuple(wanted))
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
        self.limits = {meter: _limits(self.policies, meter) for meter in METERS}
        #: Paths below ``arguments`` that decide something, as tuples.
        self.argument_paths = frozenset(_argument_paths(self.policies))
        #: Path below ``arguments`` -> tests (operator, operand) that the beginning of a text can
        #: decide.
        self.begun_tests = _begun_tests(self.policies)
        paths = set(_paths(self.policies))
        reads_all = any(_has_function(policy) for policy in self.policies)
        self.reads_results = reads_all or any(path.partition(".")[0] == "result" for path in paths)
        #: Whether they look at arguments, at all those of a result's call too.
        self.reads_arguments = reads_all or bool(self.argument_paths)
        self.reads_calls = reads_all or "call" in paths
        self.reads_plain_names = reads_all or "plain_name" in paths
        #: Field of a step -> paths, of which the first that it has gives its value.
        self.key_fields = {
            key_field(policy.key): tuple(tuple(path.split(".")) for path in policy.key)
            for policy in self.policies
            if isinstance(policy.key, tuple)
        }
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


def _book(policies: Sequence[Policy], max_keys: int) -> RuleBook | None:
    if not policies:
        return None
    rules = [policy.rule for policy in policies]
    book = RuleBook(rules, max_keys=max_keys, evict="oldest", audit=0)
    # What the first question works out, all copies share.
    book.outlook({"kind": "end", "t": 0.0}, lambda path: path == ())
    return book


def _paths(policies: Iterable[Policy]) -> Iterator[str]:
    for policy in policies:
        for condition in conditions_of(policy):
            for path, _ in field_tests(condition):
                yield path
        if isinstance(policy.key, str):
            yield policy.key.removeprefix("$.")
        elif isinstance(policy.key, tuple):
            yield from policy.key


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


def _has_function(policy: Policy) -> bool:
    """Whether a function of its own looks at steps."""
    return callable(policy.key) or any(
        not isinstance(condition, Mapping) for condition in all_within(conditions_of(policy))
    )


def _is_bare(policy: Policy, regex: str) -> bool:
    """Whether a pattern counts wherever it is found, whatever the tool."""
    found = [
        condition
        for condition in all_within(policy.rule.atoms.values())
        if isinstance(condition, Mapping) and condition.get("pattern") == regex
    ]
    return bool(found) and any(set(one) <= {"kind", "pattern", "channel"} for one in found)


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
