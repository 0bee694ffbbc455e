"""The tool that looks at rules, and runs them over a conversation or a recording."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from midstream._core.clock import s_from_ns
from midstream.apps.conversation import read_message
from midstream.apps.tools_server.asking import Messages
from midstream.apps.tools_server.calling import Call, Job
from midstream.apps.tools_server.defining import (
    Arguments,
    Tool,
    ToolFailure,
    naming,
    object_schema,
)
from midstream.apps.tools_server.searching import NO_FOLDER
from midstream.apps.tools_server.shelf import FINDING_SCHEMA, Shelf, shown_finding
from midstream.errors import ArgumentTypeError, ArgumentValueError, ConfigurationError
from midstream.stream import (
    Event,
    Finding,
    Guard,
    LoopDetector,
    Policy,
    PolicyProblem,
    ToolLoopDetector,
    lint_policies,
    load_policies,
    ready_policies,
    ready_rules,
)
from midstream.stream.formats import history
from midstream.stream.policies import PolicySet
from midstream.stream.policies.reading import TAKEN

__all__ = ["policy_tool"]

_MOST_TOML_CHARS = 100_000
_MOST_READY = 50
_MOST_TOOLS = 1000
_MOST_MESSAGE_CHARS = 200_000
_MOST_CHARS = 2_000_000
_MOST_FINDINGS = 100
_MOST_PROBLEMS = 200
_MOST_SHOWN_CHARS = 500
_CHECK_EVERY = 256


class _Check(Arguments):
    rules: Annotated[str | None, Field(max_length=_MOST_TOML_CHARS)] = Field(
        None,
        description="TOML with rules of your own; midstream://rules/{name} shows examples.",
    )
    ready: Annotated[list[str] | None, Field(max_length=_MOST_READY)] = Field(
        None,
        description="Names of ready rules, as midstream://rules lists them.",
        json_schema_extra={"x-packed": True},
    )
    settings: dict[str, Any] = Field(
        {},
        max_length=100,
        description="Values for the settings of the rules.",
        json_schema_extra={"x-packed": True},
    )
    tools: Annotated[list[str] | None, Field(max_length=_MOST_TOOLS)] = Field(
        None,
        description="All tools there are: a rule that names another is wrong.",
        json_schema_extra={"x-packed": True},
    )
    messages: Messages = Field(
        None, description="A conversation to run the rules over, as an API's request has it."
    )
    recording: Annotated[str | None, Field(max_length=200)] = Field(
        None, description="Name of a recording to run the rules over."
    )


_EVENT = object_schema(
    {
        "seq": {"type": "integer"},
        "message": {
            "type": ["integer", "null"],
            "description": "Which message of the conversation, from 0.",
        },
        "kind": {"type": "string"},
        "name": {"type": ["string", "null"], "description": "Of the tool."},
        "call_id": {"type": ["string", "null"]},
        "t_s": {"type": "number"},
        "text": {"type": "string", "description": "What it says, shortened."},
    }
)
_OUTPUT = object_schema(
    {
        "usable": {"type": "boolean", "description": "Whether the rules can be used."},
        "rules": {
            "type": "array",
            "items": object_schema(
                {
                    "name": {"type": "string"},
                    "action": {"type": "string"},
                    "formula": {"type": "string"},
                }
            ),
        },
        "problems": {
            "type": "array",
            "description": "What is wrong with the rules, errors first.",
            "items": object_schema(
                {
                    "kind": {"type": "string"},
                    "rules": {"type": "array", "items": {"type": "string"}},
                    "message": {"type": "string"},
                    "error": {"type": "boolean"},
                }
            ),
        },
        "ran": {
            "type": "boolean",
            "description": "Whether they ran over a conversation or a recording.",
        },
        "events": {"type": "integer", "description": "Events looked at."},
        "findings": {
            "type": "array",
            "description": f"What broke a rule, the first {_MOST_FINDINGS}.",
            "items": object_schema(
                {
                    "rule": {"type": "string"},
                    "finding": FINDING_SCHEMA,
                    "event": {
                        "anyOf": [_EVENT, {"type": "null"}],
                        "description": "The event that decided; null for the end of the stream.",
                    },
                }
            ),
        },
        "n_findings": {"type": "integer"},
        "stopped": {
            "type": "boolean",
            "description": "Whether a rule would have ended the stream; nothing behind is judged.",
        },
        "open": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Rules that are owed something: broken if nothing follows.",
        },
    }
)


def policy_tool(shelf: Shelf | None) -> Tool:
    """The tool ``check_policy``."""

    async def check(call: Call, given: _Check) -> dict[str, Any]:
        if given.rules is None and not given.ready:
            raise ToolFailure("rules or ready must say which rules, got neither")
        if given.messages is not None and given.recording is not None:
            raise ToolFailure("messages and recording must not both be given")
        if given.recording is not None and shelf is None:
            raise ToolFailure(NO_FOLDER)
        return await call.work(lambda job: _check(job, given, shelf))

    return Tool(
        name="check_policy",
        title="Check rules, and run them",
        description="Look for what is wrong with temporal rules for agents (ready ones, or TOML of "
        "your own), and run them over a conversation or a recording: each finding with the event "
        "that decided.",
        arguments=_Check,
        output=_OUTPUT,
        run=check,
    )


def _check(job: Job, given: _Check, shelf: Shelf | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "usable": False,
        "rules": [],
        "problems": [],
        "ran": False,
        "events": 0,
        "findings": [],
        "n_findings": 0,
        "stopped": False,
        "open": [],
    }
    try:
        policies, problems = _policies(given)
    except (ConfigurationError, ArgumentValueError, ArgumentTypeError) as error:
        result["problems"] = [_row("unreadable", (), str(error), error=True)]
        return result
    result["rules"] = [
        {
            "name": policy.name,
            "action": policy.action if isinstance(policy.action, str) else "callback",
            "formula": str(policy.formula),
        }
        for policy in policies
    ]
    result["problems"] = [
        _row(one.kind, one.rules, one.message, error=one.error) for one in problems[:_MOST_PROBLEMS]
    ]
    result["usable"] = not any(problem.error for problem in problems)
    job.check()
    if not result["usable"] or (given.messages is None and given.recording is None):
        return result
    events: Sequence[Event]
    numbers: Sequence[int] | None
    outcome = "ended"
    if given.messages is not None:
        events, numbers = _conversation(given.messages)
    else:
        assert shelf is not None
        assert given.recording is not None
        with naming(name="recording"):
            recording = shelf.events(given.recording, job)
        events, numbers, outcome = recording.events, None, recording.outcome or outcome
    hides = None if given.messages is not None else shelf
    result |= _run(job, policies, events, numbers, hides, outcome)
    return result


def _row(kind: str, rules: Sequence[str], message: str, *, error: bool) -> dict[str, Any]:
    return {"kind": kind, "rules": list(rules), "message": message[:2000], "error": error}


def _policies(given: _Check) -> tuple[tuple[Policy, ...], list[PolicyProblem]]:
    settings = given.settings
    for name in TAKEN.intersection(settings):
        raise ArgumentValueError(f"settings: no rules can have a setting {name!r}")
    policies: tuple[Policy, ...] = ()
    problems: list[PolicyProblem] = []
    known = ready_rules()
    ready = given.ready or []
    of_ready = {
        name: value
        for name, value in settings.items()
        if any(rule in known and name in known[rule].settings for rule in ready)
    }
    if given.rules is not None:
        # With a line's end it is text, whatever is in it, and never the name of a file.
        text = f"{given.rules}\n"
        own = settings if not ready else {k: v for k, v in settings.items() if k not in of_ready}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            policies = load_policies(text, lint=False, **own)
        problems = [one for one in lint_policies(text, **own) if one.kind.startswith("unused_")]
    elif of_ready.keys() != settings.keys():
        of_ready = settings  # which are unknown is told
    if ready:
        with naming(names="ready"):
            policies += ready_policies(ready, **of_ready)
    return policies, [*lint_policies(policies, tools=given.tools), *problems]


def _conversation(messages: list[Any]) -> tuple[list[Event], list[int]]:
    """Events of a conversation, and for each the number of its message."""
    chars = 0
    for number, message in enumerate(messages):
        try:
            read = read_message(message, number, _MOST_MESSAGE_CHARS)
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise ToolFailure(f"messages[{number}]: {error}") from None
        chars += len(read.text)
        chars += sum(len(event.text) for event in read.events if event.kind == "tool_call")
        if chars > _MOST_CHARS:
            raise ToolFailure(f"messages must have at most {_MOST_CHARS:,} characters")
    # A text without a role is taken for the user's and the model's in turn.
    told = [
        {"role": "assistant" if number % 2 else "user", "content": message}
        if isinstance(message, str)
        else message
        for number, message in enumerate(messages)
    ]
    api = "anthropic" if any(_is_anthropic(message) for message in told) else "chat"
    events: list[Event] = []
    numbers: list[int] = []
    for event in history({"messages": told}, api):
        place = event.stream_id[1:].split("/", 1)[0]
        numbers.append(int(place) if place.isdecimal() else len(messages) - 1)
        events.append(event._replace(seq=len(events), data=None, stream_id=_plain(event)))
    return events, numbers


def _plain(event: Event) -> str:
    """A stream's id for what one model says in one run: each call has its own, texts have none."""
    return "" if "/" not in event.stream_id else f"0/{event.stream_id[1:].replace('/', '.')}"


def _is_anthropic(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, dict)
        and isinstance(part.get("type"), str)
        and part["type"].endswith(("tool_result", "tool_use"))
        for part in content
    )


def _run(
    job: Job,
    policies: tuple[Policy, ...],
    events: Sequence[Event],
    numbers: Sequence[int] | None,
    shelf: Shelf | None,
    outcome: str,
) -> dict[str, Any]:
    # Rules may be about what detectors find; these only warn, so that rules decide.
    detectors = (LoopDetector("warn"), ToolLoopDetector("warn"))
    guard = Guard(detectors, PolicySet(policies), inline=True)
    by_seq = {event.seq: place for place, event in enumerate(events)}
    kept: list[tuple[Finding, int | None]] = []
    count = 0

    def keep(findings: Iterable[Finding], *, at_end: bool) -> None:
        nonlocal count
        for finding in findings:
            if finding.kind == "policy":
                count += 1
                if len(kept) < _MOST_FINDINGS:
                    kept.append((finding, None if at_end else by_seq.get(finding.seq)))

    seen = 0
    stopped = False
    for event in events:
        if not seen % _CHECK_EVERY:
            job.progress(seen, len(events), "events")
        step = guard.take(event)
        seen += 1
        keep(step.findings, at_end=False)
        if step.stop is not None:
            stopped = True
            break
    owed = [] if stopped else [obligation.rule for obligation in guard.open_obligations]
    keep(guard.finish("stopped" if stopped else outcome).findings, at_end=True)
    shown = events
    if shelf is not None and kept:
        shown = shelf.shown_events(events, job)
    return {
        "ran": True,
        "events": seen,
        "findings": [
            {
                "rule": finding.evidence.get("rule", ""),
                "finding": shown_finding(finding) if shelf is None else shelf.shown(finding),
                "event": None if place is None else _event(shown[place], place, numbers),
            }
            for finding, place in kept
        ],
        "n_findings": count,
        "stopped": stopped,
        "open": list(dict.fromkeys(owed)),
    }


def _event(event: Event, place: int, numbers: Sequence[int] | None) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "message": None if numbers is None else numbers[place],
        "kind": event.kind,
        "name": event.name,
        "call_id": event.call_id,
        "t_s": s_from_ns(event.t_ns),
        "text": event.text[:_MOST_SHOWN_CHARS],
    }
