"""What is wrong with policies before any stream."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_iterable, check_text, did_you_mean
from midstream.logic import lint_rules
from midstream.stream.policies.conditions import field_tests
from midstream.stream.policies.defining import Policy
from midstream.stream.policies.reading import PolicyProblem, read_file
from midstream.stream.policies.steps import FIELDS_OF, names_server, plain_name, plain_words

__all__ = ["UNTOLD", "check_tools", "lint_policies"]

#: Kinds of problem for which a file is not loaded.
ERRORS = (
    "duplicate_name",
    "unsatisfiable",
    "contradiction",
    "never_true",
    "dead",
    "unknown_tool",
)
#: Kinds that no warning tells: what only the end of a run decides is often meant so, and what was
#: not settled is no mistake.
UNTOLD = ("not_monitorable", "undecided")
_LINT_S = 5.0
#: Names of tools have none of these.
_REGEX_SIGNS = frozenset("^$|?+()[]{}\\")


def lint_policies(
    policies: Iterable[Policy] | str | os.PathLike[str],
    /,
    *,
    tools: Iterable[str] | None = None,
    **settings: Any,
) -> list[PolicyProblem]:
    """What is wrong with policies before any stream.

    Parameters
    ----------
    policies : iterable of Policy, path or str
        Or a rule file, as `load_policies` takes it, of which settings and shared atoms that no rule
        uses are told too.
    tools : iterable of str, optional
        All tools there are.
    **settings
        Values for the file's ``[settings]``.

    Returns
    -------
    list of PolicyProblem
        Errors first. Beside what `midstream.logic.lint_rules` finds: atoms that no step can have,
        tools that do not exist.

    Raises
    ------
    ArgumentTypeError
        What is given are no policies, or no names of tools; settings are given without a file.
    ConfigurationError, OSError
        The file cannot be read.

    Notes
    -----
    Some milliseconds for ten rules; at most 5 seconds.

    Examples
    --------
    >>> from midstream.stream import Policy, lint_policies
    >>> call = {"tool": "dele"}
    >>> rules = [Policy("must", "F call", {"call": call}), Policy("not", "G !call", {"call": call})]
    >>> for problem in lint_policies(rules, tools=["delete"]):
    ...     print(problem)
    rule 'must', 'not': contradiction: these rules cannot all be kept
    rule 'must': unknown tool: there is no tool 'dele'; did you mean 'delete'?
    rule 'not': unknown tool: there is no tool 'dele'; did you mean 'delete'?
    """
    found: list[PolicyProblem] = []
    if isinstance(policies, (str, os.PathLike)):
        _, policies, found = read_file(policies, settings)
    elif settings:
        raise ArgumentTypeError(
            f"settings are for a rule file, and policies have none, got {', '.join(settings)}"
        )
    policies = tuple(check_iterable("policies", policies))
    for k, policy in enumerate(policies):
        if not isinstance(policy, Policy):
            raise ArgumentTypeError(
                f"policies[{k}] must be a Policy, got {policy!r:.60} ({type(policy).__name__})"
            )
    found += [
        PolicyProblem(one.kind, one.rules, one.message, one.kind in ERRORS)
        for one in lint_rules([policy.rule for policy in policies], timeout_s=_LINT_S)
    ]
    for policy in policies:
        found += _own_problems(policy)
        found += _odd_tools(policy)
    known = check_tools(tools)
    if known is not None:
        for policy in policies:
            found += _unknown_tools(policy, known)
    return sorted(found, key=lambda problem: not problem.error)


def check_tools(tools: Iterable[str] | None) -> tuple[str, ...] | None:
    """Names of tools, as a tuple."""
    if tools is None:
        return None
    if isinstance(tools, str):
        raise ArgumentTypeError(f"tools must be an iterable of names, got {tools!r:.60}")
    names = tuple(check_iterable("tools", tools))
    for k, name in enumerate(names):
        check_text(f"tools[{k}]", name)
    return names


def _own_problems(policy: Policy) -> Iterator[PolicyProblem]:
    """Atoms that no step can have: a test excludes another, or steps have no such field."""
    conditions = [(f"atom {atom!r}", one) for atom, one in policy.rule.atoms.items()]
    for place, condition in (*conditions, ("'when'", policy.rule.when)):
        for why in _impossible(condition):
            yield PolicyProblem("never_true", (policy.name,), f"{place}: {why}", True)


def _impossible(condition: Any) -> Iterator[str]:
    """Why no step can pass all tests of a condition, as far as fields, bounds and lists show."""
    if not isinstance(condition, Mapping):
        return
    kinds = _kinds(condition.get("kind"))
    for path, test in condition.items():
        if path == "all":
            for part in test:
                yield from _impossible(part)
        if path in ("any", "all", "not", "count"):
            continue
        if isinstance(test, Mapping) and not _can_hold(test):
            yield f"no value of {path!r} passes {dict(test)!r:.80}"
        first = path.removeprefix("$.").partition(".")[0]
        if kinds and _needs_value(test) and not any(first in FIELDS_OF[kind] for kind in kinds):
            known = sorted(set().union(*(FIELDS_OF[kind] for kind in kinds)))
            named = " or ".join(repr(kind) for kind in kinds)
            yield f"no step of kind {named} has {first!r} (known: {', '.join(known)})"


def _kinds(test: Any) -> tuple[str, ...]:
    """Kinds of step that a test of the kind names; empty where it names none."""
    if isinstance(test, Mapping):
        test = test.get("==", test.get("in"))
    named = test if isinstance(test, (list, tuple)) else (test,)
    return tuple(kind for kind in named if isinstance(kind, str) and kind in FIELDS_OF)


def _needs_value(test: Any) -> bool:
    """Whether a test fails where the field is missing."""
    if not isinstance(test, Mapping):
        return test is not None
    return any(
        word not in ("!=", "not_in") and not (word == "exists" and not operand)
        for word, operand in test.items()
    )


def _can_hold(test: Mapping[str, Any]) -> bool:
    """Whether some value passes all tests of a field, as far as bounds and lists show."""
    values = None
    for word in ("==", "in"):
        if word in test:
            listed = [test[word]] if word == "==" else list(test[word])
            values = listed if values is None else [one for one in values if one in listed]
    low = max((test[word] for word in (">", ">=") if _is_number(test.get(word))), default=None)
    high = min((test[word] for word in ("<", "<=") if _is_number(test.get(word))), default=None)
    if values is not None:
        return any(
            not _is_number(one) or ((low is None or one >= low) and (high is None or one <= high))
            for one in values
        )
    if low is None or high is None:
        return True
    closed = not (low == test.get(">") or high == test.get("<"))
    return bool(low < high or (low == high and closed))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _unknown_tools(policy: Policy, tools: Sequence[str]) -> Iterator[PolicyProblem]:
    """Names that are no tool's, and lists with ``*`` of which nothing is."""
    told = set()
    for condition in (*policy.atoms.values(), policy.when):
        for path, test in field_tests(condition):
            if path in ("tool", "like"):
                names = [test] if isinstance(test, str) else list(test)
            elif path == "name" and not _is_about_findings(condition):
                names = list(_names(test))
            else:
                continue
            wild = path != "name" and any("*" in name for name in names)
            fits = _is_like if path == "like" else _fits
            if wild and not any(fits(name, tool) for name in names for tool in tools):
                names = [" ".join(names)]
            elif wild:
                names = [name for name in names if "*" not in name and len(names) == 1]
            for name in names:
                known = name in tools or (
                    path == "like" and any(_is_like(name, tool) for tool in tools)
                )
                if not known and name not in told:
                    told.add(name)
                    message = f"there is no tool {name!r}{did_you_mean(name, tools)}"
                    yield PolicyProblem("unknown_tool", (policy.name,), message, True)


def _odd_tools(policy: Policy) -> Iterator[PolicyProblem]:
    """Names of tools with what only regular expressions have: ``delete_.*`` fits ``delete_.x``."""
    for condition in (*policy.atoms.values(), policy.when):
        for path, test in field_tests(condition):
            if path not in ("tool", "like"):
                continue
            for name in dict.fromkeys([test] if isinstance(test, str) else test):
                if ".*" in name or not _REGEX_SIGNS.isdisjoint(name):
                    message = (
                        f"{name!r} is no regular expression: only '*' stands for anything else; "
                        "for one, write name = { matches = '...' }"
                    )
                    yield PolicyProblem("odd_tool", (policy.name,), message, False)


def _fits(pattern: str, name: str) -> bool:
    """Whether a name is one that a pattern with ``*`` stands for."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def _is_like(pattern: str, name: str) -> bool:
    """The same for names that are compared however they are written."""
    if names_server(pattern):
        return _fits(pattern, name)
    return _fits(plain_words(pattern), plain_name(name))


def _names(test: Any) -> Iterator[str]:
    tests = test if isinstance(test, Mapping) else {"==": test}
    for word, operand in tests.items():
        if word == "==" and isinstance(operand, str):
            yield operand
        elif word == "in" and isinstance(operand, (list, tuple)):
            yield from (one for one in operand if isinstance(one, str))


def _is_about_findings(condition: Any) -> bool:
    return isinstance(condition, Mapping) and condition.get("kind") == "finding"
