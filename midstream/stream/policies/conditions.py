"""Conditions on steps: shorthands, what is wrong with them, and what they look at."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, did_you_mean
from midstream.stream.patterns import PatternSet
from midstream.stream.policies.steps import (
    CHANNELS,
    CHOICES,
    STEP_FIELDS,
    TYPES,
    WRITTEN,
    names_server,
    plain_words,
)

__all__ = [
    "StepCondition",
    "all_within",
    "check_field",
    "check_values",
    "decided_by",
    "field_tests",
    "pattern_set",
    "plain_condition",
]

#: What an atom means: tests on the fields of a step, or a function of the step.
StepCondition: TypeAlias = Mapping[str, Any] | Callable[[Any], bool]

_WORDS = ("any", "all", "not", "count")


@lru_cache(maxsize=1024)
def pattern_set(regexes: tuple[str, ...]) -> PatternSet:
    """Sets are made once in a process: the states that one stream has met serve the next one."""
    return PatternSet({regex: regex for regex in regexes})


def plain_condition(
    place: str, condition: Any, patterns: dict[str, set[str]], depth: int = 0
) -> Any:
    """A condition without shorthands; `patterns` gets those in it."""
    if depth > 20 or not isinstance(condition, Mapping):
        return condition  # a function, or for the rule to complain about
    plain: dict[str, Any] = {}
    tools: list[dict[str, Any]] = []
    for key, value in condition.items():
        if key == "not":
            plain[key] = plain_condition(f"{place}.not", value, patterns, depth + 1)
        elif key in ("any", "all") and isinstance(value, (list, tuple)):
            plain[key] = [
                plain_condition(f"{place}.{key}[{k}]", one, patterns, depth + 1)
                for k, one in enumerate(value)
            ]
        elif key == "count" and isinstance(value, Mapping):
            plain[key] = dict(value)
            if "of" in value:
                plain[key]["of"] = plain_condition(
                    f"{place}.count.of", value["of"], patterns, depth + 1
                )
        elif key in ("tool", "like"):
            other = next((one for one in ("name", "like") if one in condition and one != key), None)
            if other is not None:
                raise ArgumentValueError(f"{place} has both {key!r} and {other!r}")
            tests = _tool_tests if key == "tool" else _like_tests
            tools = tests(f"{place}.{key}", value)
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
                check_field(f"{place}: a field", key, ("tool", "like", "in", *_WORDS))
                check_values(f"{place}.{key}", key, value)
            plain[key] = value
    if len(tools) == 1:
        plain.update(tools[0])
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


def _like_tests(place: str, value: Any) -> list[dict[str, Any]]:
    """The same for names that are compared however they are written."""
    _tool_tests(place, value)  # complains
    names = [value] if isinstance(value, str) else value
    if not all(one.strip("*") for one in names):
        return []
    exact = [one for one in names if names_server(one)]  # who names a server means that one
    plain = dict.fromkeys(plain_words(one) for one in names if not names_server(one))
    tests = _tool_tests(place, exact) if exact else []
    if plain:
        tests += [{"plain_name": test["name"]} for test in _tool_tests(place, list(plain))]
    return tests


def check_field(place: str, key: str, words: Sequence[str] = ()) -> None:
    if key.startswith("$."):
        key = key[2:]
    first = key.partition(".")[0]
    if first not in STEP_FIELDS:
        raise ArgumentValueError(
            f"{place} must be one that steps have, got {key!r}"
            f"{did_you_mean(first, (*words, *STEP_FIELDS))}"
        )


def check_values(place: str, key: str, test: Any) -> None:
    """Refuse values that the field never has: such a rule would be silent for ever."""
    key = key.removeprefix("$.")
    wanted, types = TYPES.get(key, ("", ()))
    if not types:
        return
    for one in _compared(test):
        if not isinstance(one, (str, int, float)):
            continue  # for the rule to complain about
        if not isinstance(one, types) or (isinstance(one, bool) and bool not in types):
            raise ArgumentTypeError(
                f"{place} must be compared with {wanted}, got {one!r:.60} ({type(one).__name__})"
            )
        if isinstance(one, (int, float)) and types == (int, float) and not 0 <= one < math.inf:
            raise ArgumentValueError(
                f"{place} must be compared with a finite number of at least 0, got {one!r}"
            )
        if key in CHOICES:
            what, choices = CHOICES[key]
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


def all_within(conditions: Iterable[StepCondition]) -> Iterator[StepCondition]:
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
