"""What flows through a watch: events in, findings out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, get_args

__all__ = ["KINDS", "SEVERITIES", "TEXT_KINDS", "Denial", "Event", "Finding", "Kind", "Severity"]

Kind = Literal[
    "text", "reasoning", "tool_call", "tool_result", "audio", "video", "usage", "error", "end"
]
Severity = Literal["note", "warn", "block", "stop"]

#: All kinds of event, in the order of the contract.
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Severities from mildest to hardest.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
#: Kinds whose ``text`` is written by the model, piece by piece, and is watched for loops.
TEXT_KINDS: frozenset[Kind] = frozenset({"text", "reasoning", "tool_call", "audio"})


class Event(NamedTuple):
    """One thing that a stream said.

    Parameters
    ----------
    kind : str
        One of `KINDS`. An event of a provider that carries nothing new for the reader is a
        ``text`` event with empty `text` and its payload in `data`: nothing is dropped.
    seq : int
        Position of the event in its stream, from 0, without gaps.
    t_ns : int
        Arrival time in nanoseconds since the request was sent (monotonic clock).
    text : str
        What the event adds: a delta of text, reasoning, tool arguments or transcript; a tool's
        result; the message of an error; the finish reason of an end.
    name : str or None
        Tool name of ``tool_call`` and ``tool_result``.
    data : Any
        The provider's payload as parsed, unknown keys included, on the first event made of it;
        None on further events of the same payload and where there is no payload.
    stream_id : str
        Which of several parallel texts this belongs to: ``""`` for the only one, the choice index
        for chat completions (``"0"``), choice and tool-call index for tool calls (``"0/1"``). What
        other APIs give is said at their mapper; an id that ends in ``"!"`` is of a tool that the
        provider runs itself.
    call_id : str or None
        The provider's id of a tool call: on each piece of a ``tool_call`` from where it is known,
        and on its ``tool_result``.

    Notes
    -----
    Immutable, hashable where `data` is; 0.2 microseconds to make.

    Examples
    --------
    >>> Event("text", 0, 1_500_000, "Once upon").text
    'Once upon'
    """

    kind: Kind
    seq: int
    t_ns: int
    text: str = ""
    name: str | None = None
    data: Any = None
    stream_id: str = ""
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a detector saw, at the moment it could first be known.

    Parameters
    ----------
    kind : str
        ``"loop"`` (exact repetition), ``"near_loop"`` (repetition with small edits), ``"stall"``;
        ``"tool_loop"`` and ``"near_tool_loop"`` (of tool calls), ``"drift"``, ``"regime"``,
        ``"early_warning"``; ``"policy"``; of audio and video ``"silence"``, ``"frozen"``,
        ``"black"``, ``"video_loop"``, ``"cadence"``, ``"av_drift"``, ``"clipping"``.
    severity : str
        One of `SEVERITIES`; ``"block"`` means that a tool call was denied, ``"stop"`` that the
        watch closed the source.
    seq, t_ns : int
        The event at which it was found, and its arrival time.
    start, end : int
        Characters (code points) of the text in question, end exclusive: where the first copy
        begins and how far the evidence reached. They depend on the text alone, not on how it was
        cut into events.
    message : str
        One sentence for a person.
    evidence : Mapping
        What the verdict rests on. Loops carry ``period`` and ``copies`` (tokens, fractional
        copies), ``period_chars``, ``unit`` (one copy's text, shortened), ``channel`` and
        ``stream_id`` (which text), ``tokens`` (of that text so far) and ``wasted_tokens`` (of
        these, all copies but the first). Loops of tool calls carry ``copies``, ``period_calls``,
        ``name``, ``unit`` (the call, shortened), ``call_id`` and ``wasted_calls``. What others
        carry is said at them.

    Examples
    --------
    >>> found = Finding("loop", "warn", 40, 10, 5, 125, "repeats", {"period": 4, "copies": 3.0})
    >>> found.period, found.copies
    (4, 3.0)
    """

    kind: str
    severity: Severity
    seq: int
    t_ns: int
    start: int
    end: int
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def period(self) -> int | None:
        """Tokens from one copy to the next; None where nothing repeats."""
        return self.evidence.get("period")

    @property
    def copies(self) -> float | None:
        """Copies seen, fractions counted; None where nothing repeats."""
        return self.evidence.get("copies")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict of all fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Denial:
    """A tool call that a policy forbids.

    Parameters
    ----------
    stream_id : str
        Of the call's events: those that were held are to be dropped, those to come too.
    call_id : str or None
        The provider's id of the call, for an answer in its place.
    name : str or None
        The tool.
    finding : Finding
        Which policy, and why.
    text : str
        For the model to read in place of the tool's result: rule, reason and repair.
    """

    stream_id: str
    call_id: str | None
    name: str | None
    finding: Finding
    text: str
