"""The tools that ask the agent: conversations, sequences, patterns, behaviour, learning, status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from midstream.apps.answers import (
    Analysis,
    Behavior,
    Comparison,
    MetaLearning,
    PatternMatches,
    Status,
)
from midstream.apps.sequences import METRICS
from midstream.apps.tools_server.calling import Call, told
from midstream.apps.tools_server.defining import (
    SESSION,
    SESSION_SCHEMA,
    Arguments,
    Tool,
    naming,
    schema_of,
)
from midstream.errors import ArgumentValueError

__all__ = ["Messages", "Sequence", "agent_tools"]

_MOST_MESSAGES = 1000
_MOST_ELEMENTS = 10_000
_MOST_REPEATED = 100_000
#: Characters or elements up to which an answer takes no longer than to wake a thread for it.
_LIGHT = 500
_MOST_POSITIONS = 10_000

_MESSAGE_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "description": "As chat completions or Anthropic write one: role, content, tool_calls.",
        },
    ]
}
_SEQUENCE_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "number"},
                    {"type": "string"},
                    {"type": "array", "items": {"type": "number"}},
                ]
            },
        },
    ]
}
#: Messages of a conversation, read by the agent.
Messages = Annotated[
    list[Any] | None,
    Field(max_length=_MOST_MESSAGES, json_schema_extra={"x-packed": True}),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": _MESSAGE_SCHEMA, "maxItems": _MOST_MESSAGES},
                {"type": "null"},
            ]
        }
    ),
]
#: A text, or numbers, texts or points, read by the agent.
Sequence = Annotated[Any, WithJsonSchema(_SEQUENCE_SCHEMA)]
_MaybeSequence = Annotated[
    Any, WithJsonSchema({"anyOf": [*_SEQUENCE_SCHEMA["anyOf"], {"type": "null"}]})
]
_Unit = Literal["words", "characters"]
_Session = Annotated[str | None, Field(max_length=64, description=SESSION)]
_Metric = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(METRICS)})]


class _Analyze(Arguments):
    messages: Messages = Field(
        None,
        description="The conversation. Without it, the one that was kept.",
    )
    keep: bool = Field(
        False,
        description="Take the messages into the kept conversation, and analyse all of that.",
    )
    session: _Session = None


class _Compare(Arguments):
    sequence1: Sequence = Field(
        description="A text, or a list of numbers, of texts, or of points (lists of as many "
        f"numbers); at most {_MOST_ELEMENTS:,} elements."
    )
    sequence2: Sequence = Field(description="Likewise.")
    algorithm: _Metric = Field(
        "dtw",
        description="dtw, lcs and edit (Levenshtein) for texts and lists of texts, correlation "
        "(Pearson) and the others for numbers.",
    )
    unit: _Unit = Field("words", description="What texts are made of.")
    settings: dict[str, Any] = Field(
        {},
        max_length=20,
        description="Of the measure, as {'window': 10} for dtw.",
        json_schema_extra={"x-packed": True},
    )
    session: _Session = None


class _Patterns(Arguments):
    sequence: _MaybeSequence = Field(
        None,
        description=f"Where to search, at most {_MOST_REPEATED:,} elements. Without it, the words "
        "of the kept conversation.",
    )
    pattern: _MaybeSequence = Field(
        None, description="What to search for, exactly. Without it, whatever repeats is found."
    )
    unit: _Unit | None = Field(
        None, description="What texts are made of: characters, where nothing is said."
    )
    min_length: int = Field(2, ge=1, le=_MOST_REPEATED, description="Elements of a repeat.")
    min_count: int = Field(2, ge=2, le=_MOST_REPEATED, description="Occurrences of a repeat.")
    max_positions: int = Field(
        200, ge=0, le=_MOST_POSITIONS, description="How many positions to list; all are counted."
    )
    session: _Session = None


class _Behavior(Arguments):
    rewards: Annotated[
        list[Any] | None,
        Field(max_length=_MOST_ELEMENTS),
        WithJsonSchema(
            {
                "anyOf": [
                    {
                        "type": "array",
                        "items": {
                            "anyOf": [
                                {"type": "number"},
                                {"type": "array", "items": {"type": "number"}},
                            ]
                        },
                        "maxItems": _MOST_ELEMENTS,
                    },
                    {"type": "null"},
                ]
            }
        ),
    ] = Field(
        None,
        description="A series in the order of time: numbers, or points. Without it, the rewards "
        "given to meta_learn, or else the words of each kept message. It takes 100 at least.",
        json_schema_extra={"x-packed": True},
    )
    session: _Session = None


class _Learn(Arguments):
    content: Annotated[
        Any, WithJsonSchema({"anyOf": [*_MESSAGE_SCHEMA["anyOf"], {"type": "null"}]})
    ] = Field(None, description="A message to learn from.", json_schema_extra={"x-packed": True})
    reward: float | None = Field(None, description="What it was worth.")
    session: _Session = None


class _Status(Arguments):
    session: _Session = None


def _with_session(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    properties = {**schema["properties"], **more, "session": SESSION_SCHEMA}
    return {**schema, "properties": properties, "required": list(properties)}


def agent_tools(
    state: Callable[[], dict[str, Any]], broadcast: Callable[[Any, dict[str, Any]], None]
) -> list[Tool]:
    """The tools that ask the agent.

    Parameters
    ----------
    state : callable
        How the server stands.
    broadcast : callable
        Told of each message that a client keeps that is alone here, and what is known of it.
    """

    async def analyze(call: Call, given: _Analyze) -> dict[str, Any]:
        keeps = given.keep and given.messages is not None
        session = call.of(given.session, keeps=keeps)
        agent = session.agent
        if not keeps:
            light = given.messages is not None and _weight(given.messages) < _LIGHT
            found = await call.ask(lambda: agent.analyze(given.messages), light=light)
            return told(found.to_dict(), session)
        messages = given.messages or []
        async with session.lock:

            def keep() -> Analysis:
                # All or none: they are looked at before the first of them is kept.
                agent.analyze(messages)
                processed.extend(agent.process(message).to_dict() for message in messages)
                return agent.analyze()

            processed: list[dict[str, Any]] = []
            found = await call.ask(keep, light=False)
        if call.alone:
            for message, data in zip(messages, processed, strict=True):
                broadcast(message, data)
        return told(found.to_dict(), session)

    async def compare(call: Call, given: _Compare) -> dict[str, Any]:
        session = call.of(given.session, keeps=False)
        agent = session.agent

        def work() -> Comparison:
            with naming(first="sequence1", second="sequence2", metric="algorithm"):
                return agent.compare(
                    given.sequence1,
                    given.sequence2,
                    metric=given.algorithm,
                    unit=given.unit,
                    **_settings(given.settings),
                )

        light = _length(given.sequence1) + _length(given.sequence2) < _LIGHT
        return told((await call.ask(work, light=light)).to_dict(), session)

    async def patterns(call: Call, given: _Patterns) -> dict[str, Any]:
        session = call.of(given.session, keeps=False)
        agent = session.agent

        def work() -> PatternMatches:
            return agent.detect_pattern(
                given.pattern,
                given.sequence,
                unit=given.unit,
                min_length=given.min_length,
                min_count=given.min_count,
            )

        light = given.sequence is not None and _length(given.sequence) < _LIGHT
        found = (await call.ask(work, light=light)).to_dict()
        found["positions"] = found["positions"][: given.max_positions]
        if found["messages"] is not None:
            found["messages"] = found["messages"][: given.max_positions]
        return told(found, session)

    async def behavior(call: Call, given: _Behavior) -> dict[str, Any]:
        session = call.of(given.session, keeps=False)
        agent = session.agent

        def work() -> Behavior:
            with naming(series="rewards"):
                return agent.behavior(given.rewards)

        light = given.rewards is not None and len(given.rewards) < 100
        return told((await call.ask(work, light=light)).to_dict(), session)

    async def learn(call: Call, given: _Learn) -> dict[str, Any]:
        keeps = given.content is not None or given.reward is not None
        session = call.of(given.session, keeps=keeps)
        agent = session.agent

        def work() -> MetaLearning:
            with naming(message="content"):
                return agent.meta_learn(given.content, given.reward)

        async with session.lock:
            found = await call.ask(work, light=_weight([given.content]) < _LIGHT)
        return told(found.to_dict(), session)

    async def status(call: Call, given: _Status) -> dict[str, Any]:
        session = call.of(given.session, keeps=False)
        return told({**session.agent.status().to_dict(), "server": state()}, session)

    server = {"type": "object", "description": "How the server stands, for all of its clients."}
    return [
        Tool(
            name="analyze_conversation",
            title="Analyse a conversation",
            description="Say what a conversation holds: messages said again or nearly so, phrases "
            "that repeat, whether it goes round in circles, loops in texts and of tool calls, "
            "roles, tools, lengths. Everything is counted or measured, nothing is a score.",
            arguments=_Analyze,
            output=_with_session(schema_of(Analysis)),
            run=analyze,
            read_only=False,
            idempotent=False,
        ),
        Tool(
            name="compare_sequences",
            title="Compare two sequences",
            description="Measure how far two sequences are apart, or how much they have in common: "
            "dynamic time warping, longest common subsequence, edit distance, correlation and "
            "others, of texts or numbers.",
            arguments=_Compare,
            output=_with_session(schema_of(Comparison)),
            run=compare,
        ),
        Tool(
            name="detect_patterns",
            title="Find patterns in a sequence",
            description="Find where a pattern occurs in a sequence, exactly; or, without a "
            "pattern, which stretches of the sequence repeat.",
            arguments=_Patterns,
            output=_with_session(schema_of(PatternMatches)),
            run=patterns,
        ),
        Tool(
            name="analyze_behavior",
            title="Classify the dynamics of a series",
            description="Say what kind of dynamics a series of rewards or other numbers shows: "
            "fixed point, cycle, torus, chaos, noise; with its largest Lyapunov exponent. Says "
            "'insufficient' with a reason where there is too little to go by.",
            arguments=_Behavior,
            output=_with_session(schema_of(Behavior)),
            run=behavior,
        ),
        Tool(
            name="meta_learn",
            title="Learn from a message and its reward",
            description="Learn which patterns of words come back in messages, and whether rewards "
            "change; say what was learned so far. Without arguments it only says it.",
            arguments=_Learn,
            output=_with_session(schema_of(MetaLearning)),
            run=learn,
            read_only=False,
            idempotent=False,
        ),
        Tool(
            name="get_status",
            title="Status",
            description="How the kept conversation and the server stand, and which limits hold.",
            arguments=_Status,
            output=_with_session(schema_of(Status), server=server),
            run=status,
        ),
    ]


def _settings(settings: dict[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name in ("metric", "unit", "first", "second") or not name.isidentifier():
            raise ArgumentValueError(f"settings: no measure has {name!r:.60}")
    return settings


def _length(sequence: Any) -> int:
    return len(sequence) if isinstance(sequence, (str, list)) else 0


def _weight(messages: list[Any]) -> int:
    """Characters of texts; of what else there may be, more than enough."""
    return sum(len(message) if isinstance(message, str) else _LIGHT for message in messages)
