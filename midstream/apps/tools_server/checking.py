"""The tool that checks a trace against a formula of temporal logic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, WithJsonSchema

from midstream.apps.tools_server.calling import Call, Job
from midstream.apps.tools_server.defining import Arguments, Tool, ToolFailure, object_schema
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream.logic import (
    Counterexample,
    Formula,
    Monitor,
    SignalMonitor,
    Verdict,
    counterexample,
    evaluate_timed,
    parse,
    robustness,
)

__all__ = ["trace_tool"]

_MOST_FORMULA_CHARS = 10_000
_MOST_ATOMS = 256
_MOST_ATOM_CHARS = 200
_MOST_STATES = 20_000
_FORMULA_S = 10.0
#: Causes that are told, and places of each.
_MOST_CAUSES = 50
_MOST_PLACES = 100
_MOST_TABLE_CHARS = 10_000
_LETTER_SCHEMA = {
    "anyOf": [
        {"type": "string", "description": "Names of the atoms that are true, with spaces."},
        {"type": "array", "items": {"type": "string"}},
        {
            "type": "object",
            "description": "Atoms (true or false) and signals (numbers).",
            "additionalProperties": {"type": ["boolean", "number", "null"]},
        },
    ]
}
_Letter = frozenset[str] | dict[str, Any]


class _Verify(Arguments):
    formula: str = Field(
        max_length=_MOST_FORMULA_CHARS,
        description="Such as 'G(call -> F result)', '!delete U backup', 'G(latency < 2.5)'; past "
        "operators and windows as F[0:5] too.",
    )
    trace: Annotated[
        list[Any],
        WithJsonSchema({"type": "array", "items": _LETTER_SCHEMA, "minItems": 1}),
    ] = Field(description="What happened, event by event.", json_schema_extra={"x-packed": True})
    times: list[float] | None = Field(
        None,
        description="When each event was, increasing. Windows are then in this unit, not in steps.",
        json_schema_extra={"x-packed": True},
    )
    dialect: Literal["spot", "black", "ltlf2dfa", "rtamt"] = Field(
        "spot", description="Whose operators and precedences the formula has."
    )
    semantics: Literal["ltlf", "ltl3", "rv-ltl"] = Field(
        "ltlf",
        description="Continuations that count: finite ones, or infinite ones with three or four "
        "verdicts.",
    )
    missing: Literal["false", "error"] = Field(
        "false",
        description="What an atom or a comparison is of which an event says nothing.",
    )


_CAUSE = object_schema(
    {
        "formula": {"type": "string"},
        "value": {"type": "boolean"},
        "positions": {"type": "array", "items": {"type": "integer"}},
    }
)
_OUTPUT = object_schema(
    {
        "formula": {"type": "string", "description": "As it was read."},
        "semantics": {"type": "string"},
        "verdict": {
            "type": "string",
            "enum": [str(verdict) for verdict in Verdict],
            "description": "'true' and 'false' are final: no continuation changes them.",
        },
        "satisfied": {
            "type": ["boolean", "null"],
            "description": "Whether the trace as it is satisfies the formula; null where that is "
            "open, with ltl3.",
        },
        "decided_at": {
            "type": ["integer", "null"],
            "description": "Position of the event that made the verdict final, from 0; -1 where it "
            "was so before any.",
        },
        "events": {"type": "integer", "description": "Events of the trace."},
        "read": {"type": "integer", "description": "Events read until the verdict was final."},
        "causes": {
            "type": "array",
            "items": _CAUSE,
            "description": "Of a violation: subformulas whose values force it, the formula first, "
            "atoms last.",
        },
        "counterexample": {
            "type": ["string", "null"],
            "description": "Of a violation: the same as a table for people.",
        },
        "robustness": {
            "type": ["number", "null"],
            "description": "How far the signals are from changing the verdict: negative for a "
            "violation. Null where the formula compares no signals, or where it is infinite.",
        },
        "notes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Why there is no robustness or counterexample.",
        },
    }
)


def trace_tool(most_events: int) -> Tool:
    """The tool ``verify_trace``, for traces of at most so many events."""

    async def verify(call: Call, given: _Verify) -> dict[str, Any]:
        letters = _letters(given.trace, most_events)
        _check_times(given.times, len(letters))
        return await call.work(lambda job: _verify(job, given, letters))

    return Tool(
        name="verify_trace",
        title="Check a trace against temporal logic",
        description="Check a trace of events against a formula of linear temporal logic: the "
        "verdict, the event that decided it, why the formula is violated, and how far signals are "
        f"from the limit. At most {most_events:,} events.",
        arguments=_Verify,
        output=_OUTPUT,
        run=verify,
    )


def _letters(trace: list[Any], most: int) -> list[_Letter]:
    if not trace:
        raise ToolFailure("trace must have at least one event, got none")
    if len(trace) > most:
        raise ToolFailure(f"trace must have at most {most:,} events, got {len(trace):,}")
    return [_letter(number, event) for number, event in enumerate(trace)]


def _letter(number: int, event: Any) -> _Letter:
    place = f"trace[{number}]"
    if isinstance(event, str):
        if len(event) > _MOST_ATOMS * _MOST_ATOM_CHARS:
            raise ToolFailure(f"{place} has more than {_MOST_ATOMS} atoms")
        event = event.replace(",", " ").split()
    if not isinstance(event, (list, dict)):
        raise ToolFailure(
            f"{place} must be a text, a list of names or an object, got {event!r:.60}"
        )
    if len(event) > _MOST_ATOMS:
        raise ToolFailure(f"{place} must have at most {_MOST_ATOMS} atoms, got {len(event):,}")
    for name in event:
        if not isinstance(name, str) or len(name) > _MOST_ATOM_CHARS:
            raise ToolFailure(f"{place}: names of atoms must be short texts, got {name!r:.60}")
    if isinstance(event, list):
        return frozenset(event)
    for name, value in event.items():
        if not (value is None or isinstance(value, (bool, int, float))):
            raise ToolFailure(
                f"{place}: {name!r:.60} must be true, false or a number, got {value!r:.60}"
            )
        if isinstance(value, (int, float)) and not abs(value) < math.inf:
            raise ToolFailure(f"{place}: {name!r:.60} must be finite, got {value!r:.60}")
    return event


def _check_times(times: list[float] | None, n: int) -> None:
    if times is not None and len(times) != n:
        raise ToolFailure(f"times must be as many as events, {n:,}, got {len(times):,}")


def _verify(job: Job, given: _Verify, letters: list[_Letter]) -> dict[str, Any]:
    formula = parse(given.formula, dialect=given.dialect)
    notes: list[str] = []
    causes: list[dict[str, Any]] = []
    found: Counterexample | None = None
    if given.times is None:
        verdict, decided_at, read = _in_steps(job, formula, given, letters)
    else:
        if given.semantics != "ltlf":
            raise ToolFailure(f"semantics must be 'ltlf' with times, got {given.semantics!r}")
        verdict, decided_at, read = _in_time(job, formula, given, letters)
    satisfied: bool | None = verdict in (Verdict.TRUE, Verdict.PRESUMABLY_TRUE)
    if verdict is Verdict.INCONCLUSIVE:
        satisfied = None
    job.check()
    if satisfied is False and given.times is not None:
        notes.append("no counterexample: windows are in time")
    elif satisfied is False:
        found = counterexample(formula, letters[:read], missing=given.missing, timeout_s=_FORMULA_S)
        if found is not None:
            causes = [
                {
                    "formula": str(cause.formula)[:1000],
                    "value": cause.value,
                    "positions": list(cause.positions[:_MOST_PLACES]),
                }
                for cause in found.causes[:_MOST_CAUSES]
            ]
            if len(found.causes) > _MOST_CAUSES:
                notes.append(f"{len(found.causes) - _MOST_CAUSES} more causes")
    job.check()
    return {
        "formula": str(formula),
        "semantics": given.semantics,
        "verdict": str(verdict),
        "satisfied": satisfied,
        "decided_at": decided_at,
        "events": len(letters),
        "read": read,
        "causes": causes,
        "counterexample": None if found is None else str(found)[:_MOST_TABLE_CHARS],
        "robustness": _robustness(formula, letters, given, notes),
        "notes": notes,
    }


def _in_steps(
    job: Job, formula: Formula, given: _Verify, letters: list[_Letter]
) -> tuple[Verdict, int | None, int]:
    """Verdict, event that decided, events read."""
    monitor = Monitor(
        formula,
        semantics=given.semantics,
        missing=given.missing,
        max_states=_MOST_STATES,
        timeout_s=_FORMULA_S,
    )
    for number, letter in enumerate(letters):
        if not number % 256:
            job.progress(number, len(letters), "events")
        with _at(number):
            monitor.step(letter)
        if monitor.verdict.final:
            break
    return monitor.verdict, monitor.decided_at, monitor.position


def _in_time(
    job: Job, formula: Formula, given: _Verify, letters: list[_Letter]
) -> tuple[Verdict, int | None, int]:
    """The same, where windows are in time."""
    assert given.times is not None
    columns = _columns(formula, letters)
    times = np.asarray(given.times, np.float64)
    # First, since it looks at all times and signals before anything is decided.
    holds = bool(evaluate_timed(formula, columns, times)[0])
    if not formula.atoms:
        return (Verdict.TRUE if holds else Verdict.FALSE), -1, 0
    monitor = SignalMonitor(formula, at="start", missing=given.missing)
    for number, letter in enumerate(letters):
        if not number % 256:
            job.progress(number, len(letters), "events")
        with _at(number):
            monitor.step(_values(letter), time=given.times[number])
        if monitor.verdict.final:
            return monitor.verdict, number, number + 1
    return (Verdict.PRESUMABLY_TRUE if holds else Verdict.PRESUMABLY_FALSE), None, len(letters)


def _robustness(
    formula: Formula, letters: list[_Letter], given: _Verify, notes: list[str]
) -> float | None:
    if not formula.has_predicate:
        notes.append("no robustness: the formula compares no signals")
        return None
    try:
        times = None if given.times is None else np.asarray(given.times, np.float64)
        value = float(robustness(formula, _columns(formula, letters), times)[0])
    except (MidstreamError, ToolFailure) as error:
        notes.append(f"no robustness: {error}")
        return None
    if not math.isfinite(value):
        notes.append("no robustness: atoms or the end of the trace decide, whatever the signals")
        return None
    return value


def _columns(formula: Formula, letters: list[_Letter]) -> dict[str, Any]:
    """Values of each signal and atom over the whole trace."""
    signals = formula.signals
    predicates = {atom for atom in formula.atoms if _is_comparison(formula, atom)}
    columns: dict[str, Any] = {
        atom: [bool(_values(letter).get(atom)) for letter in letters]
        for atom in formula.atoms
        if atom not in predicates
    }
    for signal in signals:
        column = []
        for number, letter in enumerate(letters):
            value = _values(letter).get(signal)
            if value is None or isinstance(value, bool):
                raise ToolFailure(f"trace[{number}] has no number for the signal {signal!r:.60}")
            column.append(float(value))
        columns[signal] = column
    return columns


def _is_comparison(formula: Formula, atom: str) -> bool:
    return any(str(one) == atom for one in _comparisons(formula))


def _comparisons(formula: Formula) -> list[Any]:
    seen: dict[int, Any] = {}
    waiting = [formula]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            waiting += node.args
    return [node.predicate for node in seen.values() if node.predicate is not None]


def _values(letter: _Letter) -> Mapping[str, Any]:
    return letter if isinstance(letter, dict) else dict.fromkeys(letter, True)


class _at:  # noqa: N801 - used like a function
    """Errors say at which event."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (ArgumentTypeError, ArgumentValueError)):
            raise ToolFailure(f"trace[{self._number}]: {error}") from None
