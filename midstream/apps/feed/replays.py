"""Recordings as frames of the feed's format, for the page's scrubber."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from os import stat_result
from typing import Any

from midstream._core.errors import RecordingError
from midstream.apps.feed import Feed
from midstream.apps.feed.states import clip, encode
from midstream.stream import Recording, RecordingsFolder, Stepper

__all__ = ["Replays", "frames_of"]

#: What is taken from one recording at most.
_MOST_BYTES = 64 << 20
_MOST_EVENTS = 200_000
#: Frames that a recording becomes at most; of a longer one, several events are one frame.
_MOST_FRAMES = 4000
_MOST_LISTED = 2000
#: Recordings whose first line is read for the list.
_MOST_HEADERS = 200
_HEADER_BYTES = 4096


class Replays:
    """The recordings of a folder, for the page.

    Parameters
    ----------
    folder : RecordingsFolder

    Notes
    -----
    Its methods wait for files, and work: call them in a thread.
    """

    def __init__(self, folder: RecordingsFolder) -> None:
        self._folder = folder

    def names(self) -> list[dict[str, Any]]:
        """Name, size, time and source of the newest recordings, the newest first."""
        found: list[tuple[str, stat_result]] = sorted(
            self._folder.scan().items(), key=lambda item: item[1].st_mtime_ns, reverse=True
        )
        rows = []
        for number, (name, stat) in enumerate(found[:_MOST_LISTED]):
            header = self._header(name) if number < _MOST_HEADERS else {}
            written = datetime.fromtimestamp(stat.st_mtime, UTC).isoformat(timespec="seconds")
            rows.append(
                {
                    "name": name,
                    "bytes": stat.st_size,
                    "written": written,
                    "source": _text(header.get("source")),
                    "created": _text(header.get("created")),
                }
            )
        return rows

    def lines(self, name: str) -> bytes:
        """A recording as JSON lines: what it is, then its frames.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `name` is no name of a recording.
        RecordingError
            It cannot be read, or is too large to be shown.
        """
        self._folder.check_size(name, _MOST_BYTES)
        with warnings.catch_warnings():
            # What was left out is among the recording's problems, and told with them.
            warnings.filterwarnings("ignore", "left out: ", RuntimeWarning)
            recording = self._folder.read(name, recover=True)
        if len(recording.events) > _MOST_EVENTS:
            raise RecordingError(f"more than {_MOST_EVENTS:,} events", place=name)
        return b"\n".join(encode(line) for line in frames_of(recording, name)) + b"\n"

    def _header(self, name: str) -> dict[str, Any]:
        """The first line of a recording that is not packed; empty where it cannot be read."""
        if name.endswith(".gz"):
            return {}
        try:
            with self._folder.open(name) as file:
                line = file.read(_HEADER_BYTES).partition(b"\n")[0]
            header = json.loads(line)
        except (OSError, ValueError, RecursionError, RecordingError):
            return {}
        return header if isinstance(header, dict) and "midstream" in header else {}


def frames_of(recording: Recording, name: str) -> Iterator[dict[str, Any]]:
    """What a recording is, then a snapshot and frames, each with the number of events so far.

    Parameters
    ----------
    recording : Recording
    name : str
        For people.

    Yields
    ------
    dict
        The first: ``type`` "recording", ``name``, ``source``, ``created``, ``outcome``, ``error``,
        ``complete``, ``problems``, ``duration_s``, ``events``, ``each`` (events of a frame),
        ``marks``: for each finding the time, severity and kind. The others as the feed has them,
        with ``at``, the number of events gone through.

    Notes
    -----
    Findings are the recorded ones, or where there are none, those of the default detectors.
    """
    events = recording.events
    stepper = Stepper(recording)
    t_ns = 0
    feed = Feed(
        clock_ns=lambda: t_ns,
        max_streams=1,
        max_text_chars=1 << 20,
        max_total_chars=1 << 22,
        keep_frames=1,
    )
    feed.limits.update(findings=1000, rates=600, levels=600, messages=500)
    each = max(1, -(-len(events) // _MOST_FRAMES))
    frames = [{**feed.snapshot().fields, "at": 0}]
    stream = feed.open(name)
    marks = []
    for number, event in enumerate(events, start=1):
        stepper.next()
        t_ns = max(t_ns, event.t_ns)
        stream.event(event)
        for finding in stepper.found_here:
            stream.finding(finding)
            marks.append(
                {
                    "t_s": feed.now_s(),
                    "at": number,
                    "severity": finding.severity,
                    "kind": clip(finding.kind, 80),
                }
            )
        if number == len(events):
            stream.close(recording.outcome or "ended", recording.error)
        if number % each == 0 or number == len(events):
            frame = feed.flush(figures=number == len(events))
            if frame is not None:
                frames.append({**frame.fields, "at": number})
    yield {
        "type": "recording",
        "name": name,
        "source": clip(recording.source, 200),
        "created": clip(recording.created, 80),
        "outcome": recording.outcome,
        "error": None if recording.error is None else clip(recording.error, 500),
        "complete": recording.complete,
        "problems": [clip(problem, 200) for problem in recording.problems[:20]],
        "duration_s": feed.now_s(),
        "events": len(events),
        "each": each,
        "marks": marks,
    }
    yield from frames


def _text(value: Any) -> str:
    return clip(value, 200) if isinstance(value, str) else ""
