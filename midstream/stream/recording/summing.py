"""What an index knows of a recording: read once, event by event, in bounded memory."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from midstream._core.clock import s_from_ns
from midstream._core.errors import RecordingError
from midstream.stream.events import SEVERITIES, Event, Finding
from midstream.stream.formats.detecting import detect
from midstream.stream.recording.files import Opener
from midstream.stream.recording.reading import opened

__all__ = ["Summary", "sum_up", "utc_text"]

#: Of the texts that are searched, and of what is told apart.
_MOST_CHARS = 1 << 20
_MOST_TOOLS = 1000
_MOST_FINDINGS = 10_000
#: Payloads that are looked at for the model's name.
_MOST_LOOKS = 20
_COUNTS = ("input_tokens", "output_tokens")


@dataclass(slots=True)
class Summary:
    """What is known of a recording without reading it again."""

    created: str = ""
    source: str = ""
    provider: str = ""
    model: str = ""
    outcome: str | None = None
    error: str | None = None
    complete: bool = False
    events: int = 0
    lost: int = 0
    chars: int = 0
    duration_s: float = 0.0
    tokens: dict[str, int] = field(default_factory=dict)
    tools: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    n_findings: int = 0
    worst: str | None = None
    #: Why it could not be read to its end, or is not as it was written.
    problem: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    #: Whether it is a recording at all.
    known: bool = False
    #: Whether it is of a format that says where it ends.
    sealable: bool = False
    #: Whether the only thing wrong is that it breaks off.
    torn: bool = False


def sum_up(path: Path, opener: Opener | None = None, *, max_bytes: int) -> Summary:
    """Read a recording, as far as it can be read.

    Parameters
    ----------
    path : Path
    opener : callable, optional
        Opens it.
    max_bytes : int
        Unpacked bytes to read; what is behind them is left out, and a problem.
    """
    pieces, decoder = opened(path, recover=True, opener=opener, most_findings=_MOST_FINDINGS)
    summing = _Summing()
    problem: str | None = None
    size = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it is told as `problem`
        try:
            for piece in pieces:
                size += len(piece)
                if size > max_bytes:
                    problem = f"only the first {max_bytes:,} bytes were read"
                    break
                summing.take(decoder.feed(piece, 0))
                if decoder.error is not None:
                    break
            else:
                summing.take(decoder.finish(0))
        except RecordingError as error:
            problem = str(error)
        finally:
            pieces.close()
    if decoder.error is not None:
        problem = str(decoder.error)
    elif problem is None and decoder.problems:
        problem = decoder.problems[0]
    out = summing.summary
    header, ending = decoder.header, decoder.ending or {}
    out.created = utc_text(header.get("created")) or ""
    source = header.get("source")
    out.source = source if isinstance(source, str) else ""
    out.provider = _host(out.source) or summing.api
    outcome, why = ending.get("outcome"), ending.get("error")
    out.outcome = outcome if isinstance(outcome, str) else None
    out.error = why if isinstance(why, str) else None
    out.complete = decoder.ending is not None and problem is None and not decoder.goes_on
    out.sealable = type(header.get("midstream")) is int and header["midstream"] > 1
    out.torn = 0 < decoder.n_torn == decoder.n_skipped and decoder.error is None
    out.known = bool(header) or out.events > 0
    out.lost = decoder.lost
    out.findings, out.n_findings = decoder.findings, decoder.n_findings
    ranks = [SEVERITIES.index(finding.severity) for finding in out.findings]
    out.worst = SEVERITIES[max(ranks)] if ranks else None
    out.problem = problem
    out.texts = summing.texts()
    return out


def utc_text(value: Any) -> str | None:
    """Return a time as ISO 8601 in UTC with milliseconds, which sorts as text; None for no time.

    Examples
    --------
    >>> utc_text("2026-11-29T10:00:00+02:00"), utc_text("soon")
    ('2026-11-29T08:00:00.000+00:00', None)
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    try:
        moment: datetime = value.astimezone(UTC)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds")


class _Summing:
    """Adds events up."""

    def __init__(self) -> None:
        self.summary = Summary()
        self.api = ""
        self._pieces: dict[str, list[str]] = {"text": [], "reasoning": [], "calls": []}
        self._chars = dict.fromkeys(self._pieces, 0)
        self._calls: set[str] = set()
        self._channel = ""
        self._looks = 0
        self._last_ns = 0

    def take(self, events: Iterable[Event]) -> None:
        """Add these events."""
        out = self.summary
        for event in events:
            out.events += 1
            self._last_ns = max(self._last_ns, event.t_ns)
            kind, text = event.kind, event.text
            if kind in ("text", "audio"):
                out.chars += len(text)
                self._add("text", event)
            elif kind == "reasoning":
                self._add("reasoning", event)
            elif kind == "tool_call":
                if event.name and event.stream_id not in self._calls:
                    self._call(event.stream_id, event.name)
                self._add("calls", event)
            elif kind == "tool_result":
                self._add("calls", event)
            elif kind == "usage":
                self._usage(event.data)
            elif kind == "end":
                self._calls.clear()  # another answer may count its calls anew
            if event.data is not None and self._looks < _MOST_LOOKS:
                self._look(event.data)
        out.duration_s = s_from_ns(self._last_ns)

    def texts(self) -> dict[str, str]:
        """All texts by what they are."""
        return {name: "".join(pieces) for name, pieces in self._pieces.items()}

    def _add(self, name: str, event: Event) -> None:
        room = _MOST_CHARS - self._chars[name]
        if room <= 0:
            return
        text = event.text[:room]
        channel = f"{event.kind} {event.stream_id}"
        if channel != self._channel:  # words of two texts are two words
            text = f"\n{event.name} {text}" if event.name and name == "calls" else f"\n{text}"
            self._channel = channel
        self._pieces[name].append(text)
        self._chars[name] += len(text)

    def _call(self, stream_id: str, name: str) -> None:
        tools = self.summary.tools
        if len(self._calls) < _MOST_TOOLS and (name in tools or len(tools) < _MOST_TOOLS):
            self._calls.add(stream_id)
            tools[name[:200]] += 1

    def _usage(self, data: Any) -> None:
        counts = data.get("tokens") if isinstance(data, dict) else None
        if not isinstance(counts, dict):
            return
        for name in _COUNTS:
            count = counts.get(name)
            if type(count) is int and 0 <= count < 2**53:
                self.summary.tokens[name] = count

    def _look(self, payload: Any) -> None:
        self._looks += 1
        if not isinstance(payload, dict):
            return
        if not self.api:
            mapper = detect(payload)
            self.api = "" if mapper is None else mapper.api
        inner = [payload, payload.get("message"), payload.get("response")]
        for row in inner:
            model = row.get("model") if isinstance(row, dict) else None
            if isinstance(model, str) and model and not self.summary.model:
                self.summary.model = model[:200]


def _host(source: str) -> str:
    if "://" not in source:
        return ""
    try:
        return (urlsplit(source).hostname or "")[:200]
    except ValueError:
        return ""
