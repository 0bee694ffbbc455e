"""Recordings of a folder, as clients are shown them: in pages, secrets replaced."""

from __future__ import annotations

import math
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from midstream._core.clock import s_from_ns
from midstream._core.errors import RecordingError
from midstream.apps.tools_server.calling import Job
from midstream.apps.tools_server.defining import object_schema
from midstream.apps.tools_server.limits import ToolLimits
from midstream.stream import Event, Finding, Guard, Recording, RecordingsFolder, Redactor, redact
from midstream.stream.events import SEVERITIES, TEXT_KINDS
from midstream.stream.recording.redacting import EventRedactor

__all__ = ["FINDING_SCHEMA", "Held", "Shelf", "shown_finding", "written"]

#: Characters of one piece of text in a page, and of what is told of a finding.
_MOST_PIECE_CHARS = 4000
_MOST_FINDINGS = 100
_MOST_EVIDENCE_CHARS = 500
_MOST_DEPTH = 4
_MOST_PARTS = 50
_MOST_NAME_CHARS = 100
#: More than any text has.
_MOST_TEXT_CHARS = 1 << 30
#: Names that are shorter are no secrets.
_SHORT_CHARS = 16
_MOST_KEPT = 2
_MOST_KEPT_EVENTS = 100_000
_CHECK_EVERY = 2000
_MARKS = re.compile(r"[\[\]]")
#: What may be a piece of a secret that is cut off: long words, and long numbers.
_SUSPECT = re.compile(r"\[redacted:[\w-]+\]|\S{20,}|\d(?:[ -]?\d){6,}")
_HALF = "[redacted]"
_JOINED = frozenset({"text", "reasoning", "tool_call", "audio"})
_SAY_NOTHING = frozenset({"text", "reasoning", "usage", "video"})

#: What `shown_finding` gives.
FINDING_SCHEMA: dict[str, Any] = object_schema(
    {
        "kind": {"type": "string"},
        "severity": {"type": "string", "enum": list(SEVERITIES)},
        "seq": {"type": "integer", "description": "The event that decided."},
        "t_s": {"type": "number", "description": "When, in seconds since the request."},
        "start": {"type": "integer", "description": "First character of the text in question."},
        "end": {"type": "integer", "description": "Behind its last one."},
        "message": {"type": "string"},
        "evidence": {"type": "object"},
    }
)


@dataclass(frozen=True, slots=True)
class Held:
    """A recording that was read.

    Attributes
    ----------
    recording : Recording
        With the events as they are shown.
    findings : sequence of Finding
        The recorded ones, or where there are none, those of the default detectors.
    pieces : sequence of dict
        Runs of events of one text, joined; and all other events.
    """

    recording: Recording
    findings: Sequence[Finding]
    pieces: Sequence[dict[str, Any]]


class Shelf:
    """The recordings of a folder.

    Parameters
    ----------
    path : str or path
    limits : ToolLimits
    reveal : bool
        Whether secrets are shown.

    Notes
    -----
    Its methods wait for files, and work: call them in a thread. Thread-safe.
    """

    def __init__(self, path: Any, limits: ToolLimits, *, reveal: bool) -> None:
        self.folder = RecordingsFolder(path)
        self._limits = limits
        self._reveal = reveal
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, int], Held] = OrderedDict()

    def listing(self) -> list[tuple[str, int, float]]:
        """Name, bytes and time of writing in seconds since 1970, the newest first."""
        found = [
            (name, stat.st_size, stat.st_mtime_ns) for name, stat in self.folder.scan().items()
        ]
        found.sort(key=lambda item: (-item[2], item[0]))
        return [(name, size, changed_ns / 1e9) for name, size, changed_ns in found]

    def state(self) -> dict[str, tuple[int, int]]:
        """Size and time of writing of each recording, to see what has changed."""
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in self.folder.scan().items()}

    def events(self, name: str, job: Job) -> Recording:
        """A recording as it is, secrets included.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `name` is no name of a recording.
        RecordingError
            It cannot be read, or is too large.
        """
        self.folder.check_size(name, self._limits.max_recording_bytes, job.check)
        with warnings.catch_warnings():
            # What was left out is among the recording's problems, and told with them.
            warnings.filterwarnings("ignore", "left out: ", RuntimeWarning)
            recording = self.folder.read(name, recover=True)
        if len(recording.events) > self._limits.max_recording_events:
            most = self._limits.max_recording_events
            raise RecordingError(f"more than {most:,} events", place=name)
        job.check()
        return recording

    def held(self, name: str, job: Job) -> Held:
        """A recording as it is shown; the newest ones are kept."""
        stat = self.folder.stat(name)
        key = (name, stat.st_size, stat.st_mtime_ns)
        with self._lock:
            held = self._kept.get(key)
            if held is not None:
                self._kept.move_to_end(key)
                return held
        recording = self.events(name, job)
        events = self.shown_events(recording.events, job)
        findings = recording.findings or _made_anew(recording.events, job)
        held = Held(recording, findings, _pieces(events))
        if len(events) <= _MOST_KEPT_EVENTS:
            with self._lock:
                self._kept[key] = held
                if len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
        return held

    def page(self, name: str, offset: int, limit: int, job: Job) -> dict[str, Any]:
        """A part of a recording: what it is, and pieces from a number on.

        Parameters
        ----------
        name : str
        offset, limit : int
            Of pieces.
        job : Job
        """
        held = self.held(name, job)
        recording = held.recording
        shown: list[dict[str, Any]] = []
        chars = 0
        for piece in held.pieces[offset : offset + limit]:
            chars += len(piece["text"])
            if shown and chars > self._limits.max_page_chars:
                break
            shown.append(piece)
        after = offset + len(shown)
        return {
            "name": name,
            "source": self.hidden(recording.source)[:200],
            "created": recording.created[:80],
            "outcome": recording.outcome,
            "error": None if recording.error is None else self.hidden(recording.error)[:500],
            "complete": recording.complete,
            "problems": [self.hidden(problem)[:200] for problem in recording.problems[:20]],
            "duration_s": recording.duration_s,
            "events": len(recording.events),
            "findings": self.findings(held.findings),
            "n_findings": len(held.findings),
            "pieces": shown,
            "offset": offset,
            "n_pieces": len(held.pieces),
            "next_offset": after if after < len(held.pieces) else None,
        }

    def shown_events(self, events: Sequence[Event], job: Job) -> Sequence[Event]:
        """Events without secrets."""
        return events if self._reveal else _without_secrets(events, job)

    def findings(self, findings: Iterable[Finding]) -> list[dict[str, Any]]:
        """Findings as they are shown, the first 100."""
        return [
            self.shown(finding)
            for number, finding in enumerate(findings)
            if number < _MOST_FINDINGS
        ]

    def shown(self, finding: Finding) -> dict[str, Any]:
        """A finding without secrets, and without excerpts, in which there may be halves of them."""
        if self._reveal:
            return shown_finding(finding)
        return shown_finding(EventRedactor(Redactor).finding(finding))

    def hidden(self, text: str) -> str:
        """A text without its secrets."""
        return text if self._reveal else redact(text)

    def snippet(self, snippet: str) -> str:
        """An excerpt of a text without secrets, and without what may be a half of one."""
        if self._reveal:
            return snippet
        # The marks may stand within a secret, and it is recognised only without them.
        plain = _MARKS.sub("", snippet)
        hidden = redact(plain)
        if hidden == plain:
            hidden = snippet
        return _SUSPECT.sub(_suspected, hidden)


def _suspected(found: re.Match[str]) -> str:
    text = found[0]
    if text.startswith("[redacted:"):
        return text
    letters = any(char.isalpha() for char in text)
    digits = sum(char.isdigit() for char in text)
    return _HALF if digits >= (2 if letters else 7) else text


def shown_finding(finding: Finding) -> dict[str, Any]:
    """A finding as JSON, what is long in it shortened."""
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "seq": finding.seq,
        "t_s": s_from_ns(finding.t_ns),
        "start": finding.start,
        "end": finding.end,
        "message": finding.message[:_MOST_EVIDENCE_CHARS],
        "evidence": _short(finding.evidence),
    }


def _short(value: Any, depth: int = 0) -> Any:
    """Evidence as plain JSON."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < _MOST_DEPTH and isinstance(value, Mapping):
        pairs = list(value.items())[:_MOST_PARTS]
        return {str(key)[:_MOST_NAME_CHARS]: _short(item, depth + 1) for key, item in pairs}
    if depth < _MOST_DEPTH and isinstance(value, (list, tuple)):
        return [_short(item, depth + 1) for item in value[:_MOST_PARTS]]
    return str(value)[:_MOST_EVIDENCE_CHARS]


def _made_anew(events: Sequence[Event], job: Job) -> list[Finding]:
    guard = Guard(inline=True)
    for number, event in enumerate(events):
        if not number % _CHECK_EVERY:
            job.check()
        guard.take(event)
    guard.finish("ended")
    return guard.findings


def _without_secrets(events: Sequence[Event], job: Job) -> list[Event]:
    """The events with what each text says, whole, in mind: nothing has to wait for what follows."""
    wholes = Redactor(max_held=_MOST_TEXT_CHARS)
    shown: list[Event] = []
    places: dict[tuple[str, str], list[int]] = {}
    for place, event in enumerate(events):
        if not place % _CHECK_EVERY:
            job.progress(place, len(events), "events")
        kind, _, _, text, name, _, stream_id, call_id = event
        if kind in TEXT_KINDS:
            places.setdefault((kind, stream_id), []).append(place)
        elif text:
            text = wholes.feed(text) + wholes.finish()
        if stream_id and len(stream_id) >= _SHORT_CHARS:
            stream_id = wholes.feed(stream_id) + wholes.finish()
        if name and len(name) >= _SHORT_CHARS:
            name = wholes.feed(name) + wholes.finish()
        if call_id and len(call_id) >= _SHORT_CHARS:
            call_id = wholes.feed(call_id) + wholes.finish()
        # Payloads are not shown, and need not be looked at.
        shown.append(Event(kind, event.seq, event.t_ns, text, name, None, stream_id, call_id))
    for found in places.values():
        job.check()
        texts = [shown[place].text for place in found]
        for place, text in zip(found, _hidden_pieces(texts), strict=True):
            shown[place] = shown[place]._replace(text=text)
    return shown


def _hidden_pieces(texts: Sequence[str]) -> list[str]:
    """Pieces of a text with a placeholder where a secret begins, and without the rest of it."""
    redactor = Redactor(max_held=_MOST_TEXT_CHARS)
    redactor.feed("".join(texts))
    found = list(redactor.new)
    redactor.finish()
    found += redactor.new
    if not found:
        return list(texts)
    spans: list[tuple[int, int, str]] = []
    for name, start, end in sorted(found, key=lambda match: (match.start, -match.end)):
        if spans and start < spans[-1][1]:
            first, last, kind = spans[-1]
            spans[-1] = (first, max(last, end), kind)
        else:
            spans.append((start, end, name))
    hidden: list[str] = []
    begin = at = 0  # of this piece; the first span that does not end before it
    for text in texts:
        stop = begin + len(text)
        parts: list[str] = []
        place = begin
        while at < len(spans) and spans[at][0] < stop:
            start, end, kind = spans[at]
            parts.append(text[place - begin : max(start, place) - begin])
            if start >= begin:
                parts.append(f"[redacted:{kind}]")
            place = min(end, stop)
            if end > stop:
                break
            at += 1
        parts.append(text[place - begin :])
        hidden.append("".join(parts))
        begin = stop
    return hidden


def _pieces(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Events of which those of one text that follow each other are joined."""
    pieces: list[dict[str, Any]] = []
    texts: list[str] = []
    chars = 0
    last: tuple[Any, ...] | None = None
    for event in events:
        kind = (event.kind, event.stream_id, event.call_id)
        text = event.text
        joins = kind == last and event.kind in _JOINED and chars + len(text) <= _MOST_PIECE_CHARS
        if joins:
            texts.append(text)
            chars += len(text)
            piece = pieces[-1]
            piece["last_seq"] = event.seq
            piece["until_s"] = s_from_ns(event.t_ns)
            continue
        if (
            not text
            and event.kind in ("text", "reasoning", "usage", "video")
            and event.name is None
        ):
            continue  # payloads that say nothing
        if pieces:
            pieces[-1]["text"] = "".join(texts)
        for begin in range(0, max(1, len(text)), _MOST_PIECE_CHARS):
            part = text[begin : begin + _MOST_PIECE_CHARS]
            pieces.append(
                {
                    "kind": event.kind,
                    "stream_id": event.stream_id,
                    "name": event.name,
                    "call_id": event.call_id,
                    "first_seq": event.seq,
                    "last_seq": event.seq,
                    "from_s": s_from_ns(event.t_ns),
                    "until_s": s_from_ns(event.t_ns),
                    "text": part,
                }
            )
        texts, chars = [pieces[-1]["text"]], len(pieces[-1]["text"])
        last = kind
    if pieces:
        pieces[-1]["text"] = "".join(texts)
    return pieces


def written(changed_s: float) -> str:
    """A time of writing as ISO 8601 in UTC."""
    return datetime.fromtimestamp(changed_s, UTC).isoformat(timespec="seconds")
