"""The lines of a recording: one JSON object each, made and checked here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from midstream._core.errors import ArgumentTypeError
from midstream.stream.events import KINDS, SEVERITIES, Event, Finding
from midstream.stream.wire import finite, parse_json

__all__ = [
    "END_NS",
    "MAX_LINE_BYTES",
    "VERSION",
    "VERSIONS",
    "begins_one",
    "check_event",
    "end_line",
    "event_line",
    "event_of",
    "finding_line",
    "finding_of",
    "header_line",
    "lost_line",
    "shown",
]

#: Of the format that is written, and those that are read.
VERSION = 2
VERSIONS = (1, 2)
#: How a recording begins: of ours, of raw lines, and of a packed one (cut after its first byte).
_BEGINNINGS = (b'{"midstream":', b'{"t":', b"\x1f\x8b")
#: A line holds one event's payload once more escaped, so it gets more room than a wire line.
MAX_LINE_BYTES = 64 * 1024 * 1024
#: Times are kept in 64 bits by what counts them, which is 292 years.
END_NS = 2**63
_KINDS = frozenset(KINDS)
_SEVERITIES = frozenset(SEVERITIES)
_PLAIN = (str, int, float, bool, type(None))
# One encoder for all lines: `json.dumps` with options makes one a call. Escapes keep the file
# ASCII, which carries lone surrogates through as well.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_encode_any = json.JSONEncoder(default=str, skipkeys=True).encode


def header_line(source: str = "", **more: Any) -> bytes:
    """Make the first line of a recording.

    Parameters
    ----------
    source : str, optional
        Where the stream comes from.
    **more
        Further fields, JSON-ready; None leaves one out.

    Returns
    -------
    bytes
        One line of JSON with its end.

    Examples
    --------
    >>> header_line("a test")[:15]
    b'{"midstream":2,'
    """
    header = {
        "midstream": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "source": source,
    }
    header |= {name: value for name, value in more.items() if value is not None}
    return _line(header)


def event_line(event: Event) -> bytes:
    r"""Make the line of one event, as a recording holds it.

    Parameters
    ----------
    event : Event

    Returns
    -------
    bytes
        One line of JSON with its end, in ASCII.

    Raises
    ------
    ArgumentTypeError
        As `Recorder.write`.

    Notes
    -----
    About 4 microseconds.

    Examples
    --------
    >>> event_line(Event("text", 0, 1_500_000, "Once"))
    b'{"seq":0,"t_ns":1500000,"kind":"text","text":"Once"}\n'
    """
    check_event(event)
    kind, seq, t_ns, text, name, data, stream_id, call_id = event
    row: dict[str, Any] = {"seq": seq, "t_ns": t_ns, "kind": kind}
    if text:
        row["text"] = text
    if name is not None:
        row["name"] = name
    if stream_id:
        row["stream_id"] = stream_id
    if call_id is not None:
        row["call_id"] = call_id
    if data is not None:
        row["data"] = data
    try:
        return _line(row)
    except RecursionError:
        problem = "data is nested too deeply"
    except ValueError as error:  # an integer of more digits than Python writes
        problem = f"data: {error}"
    raise ArgumentTypeError(f"event {shown(seq)} cannot be recorded: {problem}")


def check_event(event: Event) -> None:
    """Refuse what cannot be recorded.

    Raises
    ------
    ArgumentTypeError
        As `Recorder.write`.
    """
    if not isinstance(event, Event):
        raise ArgumentTypeError(f"event must be an Event, got {type(event).__name__}")
    kind, data = event.kind, event.data
    known = isinstance(kind, str) and kind in _KINDS
    problem = _field_problem(event) if known else f"kind is {shown(kind)}"
    if problem is None and data is not None:
        try:
            problem = _json_problem(data, "data")
        except RecursionError:
            problem = "data is nested too deeply"
    if problem is not None:
        raise ArgumentTypeError(f"event {shown(event.seq)} cannot be recorded: {problem}")


def event_of(row: Mapping[str, Any]) -> Event | str:
    """Make the event of a line, or say what is wrong with it."""
    get = row.get
    kind = get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        return f"kind is {shown(kind)}, not one of {', '.join(KINDS)}"
    event = Event(
        kind,
        get("seq"),  # type: ignore[arg-type] # checked below, as is the rest
        get("t_ns"),  # type: ignore[arg-type]
        get("text", ""),
        get("name"),
        get("data"),
        get("stream_id", ""),
        get("call_id"),
    )
    problem = _field_problem(event)
    return event if problem is None else problem


def finding_line(finding: Finding) -> bytes:
    r"""Make the line of one finding.

    Parameters
    ----------
    finding : Finding
        What of its evidence JSON does not have is written as text; a key that is none is left
        out.

    Returns
    -------
    bytes
        One line of JSON with its end, in ASCII.

    Raises
    ------
    ArgumentTypeError
        Not a `Finding`, or its evidence cannot be written at all.

    Examples
    --------
    >>> finding_line(Finding("stall", "warn", 3, 5, 0, 0, "silent"))[:40]
    b'{"finding":{"kind":"stall","severity":"w'
    """
    if not isinstance(finding, Finding):
        raise ArgumentTypeError(f"finding must be a Finding, got {type(finding).__name__}")
    row = {
        "kind": finding.kind,
        "severity": finding.severity,
        "seq": finding.seq,
        "t_ns": finding.t_ns,
        "start": finding.start,
        "end": finding.end,
        "message": finding.message,
        "evidence": dict(finding.evidence),
    }
    try:
        try:
            return _line({"finding": row})
        except (ValueError, TypeError):
            return _line({"finding": parse_json(_encode_any(row))})
    except (ValueError, RecursionError) as error:
        raise ArgumentTypeError(
            f"finding {shown(finding.kind)} cannot be recorded: {error}"
        ) from None


def finding_of(row: Any) -> Finding | str:
    """Make the finding of a line, or say what is wrong with it."""
    if not isinstance(row, dict):
        return f"a finding must be an object, got {shown(row)}"
    kind, severity, message = row.get("kind"), row.get("severity"), row.get("message", "")
    evidence = row.get("evidence", {})
    if type(kind) is not str:
        return f"a finding's kind must be str, got {shown(kind)}"
    if type(severity) is not str or severity not in _SEVERITIES:
        return f"a finding's severity is {shown(severity)}, not one of {', '.join(SEVERITIES)}"
    if type(message) is not str:
        return f"a finding's message must be str, got {shown(message)}"
    if type(evidence) is not dict:
        return f"a finding's evidence must be an object, got {shown(evidence)}"
    numbers: dict[str, int] = {}
    for name in ("seq", "t_ns", "start", "end"):
        number = row.get(name, 0)
        if type(number) is not int or not 0 <= number < END_NS:
            return (
                f"a finding's {name} must be an integer from 0 to below 2**63, got {shown(number)}"
            )
        numbers[name] = number
    return Finding(
        kind,
        severity,
        numbers["seq"],
        numbers["t_ns"],
        numbers["start"],
        numbers["end"],
        message,
        evidence,
    )


def lost_line(events: int, findings: int, cause: str) -> bytes:
    """Make the line that says how much is missing at its place, and why."""
    return _line({"lost": {"events": events, "findings": findings, "cause": cause}})


def end_line(
    outcome: str | None,
    error: str | None,
    *,
    events: int,
    findings: int,
    lost: int,
    size: int,
    crc32: int,
) -> bytes:
    """Make the last line, which only a complete recording has."""
    end: dict[str, Any] = {"outcome": outcome}
    if error is not None:
        end["error"] = error
    end |= {"events": events, "findings": findings, "lost": lost}
    return _line({"end": end | {"bytes": size, "crc32": f"{crc32:08x}"}})


def begins_one(line: bytes) -> bool:
    """Whether a piece of a first line can be the beginning of a recording.

    Examples
    --------
    >>> begins_one(b'{"mid'), begins_one(b'{"midstream":2,"cre'), begins_one(b"Once")
    (True, True, False)
    """
    line = line.removeprefix(b"\xef\xbb\xbf")
    return any(line.startswith(mark) or mark.startswith(line) for mark in _BEGINNINGS)


def shown(value: Any) -> str:
    """Return the beginning of a value that may be long, or too long for Python to write out."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 60 else text[:59] + "…"


def _line(row: dict[str, Any]) -> bytes:
    try:
        text = _encode(row)
    except ValueError:  # a number that JSON does not have, as an SDK's own parser may let through
        text = _encode(finite(row))
    return text.encode("ascii") + b"\n"


def _field_problem(event: Event) -> str | None:
    """What is wrong with the fields of an event, `kind` and `data` apart."""
    if type(event.seq) is not int or not 0 <= event.seq < END_NS:
        return f"seq must be an integer from 0 to below 2**63, got {shown(event.seq)}"
    if type(event.t_ns) is not int or not 0 <= event.t_ns < END_NS:
        return f"t_ns must be an integer from 0 to below 2**63, got {shown(event.t_ns)}"
    if type(event.text) is not str:
        return f"text must be str, got {shown(event.text)}"
    if event.name is not None and type(event.name) is not str:
        return f"name must be str or None, got {shown(event.name)}"
    if type(event.stream_id) is not str:
        return f"stream_id must be str, got {shown(event.stream_id)}"
    if event.call_id is not None and type(event.call_id) is not str:
        return f"call_id must be str or None, got {shown(event.call_id)}"
    return None


def _json_problem(value: Any, place: str) -> str | None:
    """Where `value` holds what JSON would not give back equal; None where nowhere."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return f"a key of {place} is {key!r}, JSON has only str keys"
            if type(item) not in _PLAIN:
                problem = _json_problem(item, f"{place}[{key!r}]")
                if problem is not None:
                    return problem
    elif kind is list:
        for index, item in enumerate(value):
            if type(item) not in _PLAIN:
                problem = _json_problem(item, f"{place}[{index}]")
                if problem is not None:
                    return problem
    elif kind not in _PLAIN:
        return f"{place} is {kind.__name__}, which JSON does not have"
    return None
