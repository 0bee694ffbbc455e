"""``midstream replay --step``: a recording an event or a finding at a time, and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from midstream._core.words import counted
from midstream.apps.live import LiveText
from midstream.apps.output import Interrupted, Output, one_line
from midstream.apps.session import FOUND, NOTHING, Signals
from midstream.apps.show import JsonShow, finding_lines
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Event, Finding
from midstream.stream.events import KINDS

if TYPE_CHECKING:
    from midstream.stream import Detector, Stepper
    from midstream.stream.policies import PoliciesLike

__all__ = ["step"]

_HELP = (
    ("Enter, n, n 5", "next event, next 5 events"),
    ("f, p", "next finding, previous finding"),
    ("b, b 5", "back an event, back 5 events"),
    ("g 120, g -1", "go to a position; from the end"),
    ("t 2.5", "go to a time, in seconds"),
    ("x, x reasoning", "text so far; of another kind"),
    ("i", "data of this event: the provider's payload"),
    ("q", "quit"),
)
_ENDS = {"failed": "failed", "stopped": "was stopped", "closed": "was closed"}
_STYLES = {"stop": "bold red", "block": "bold red", "warn": "bold yellow", "note": "bold blue"}


def step(
    path: str,
    *,
    detectors: Iterable[Detector] | None = None,
    policies: PoliciesLike = (),
    recover: bool,
    json_lines: bool,
    color: bool,
    commands: TextIO | None = None,
) -> int:
    """Go through a recording by commands, a line each, from standard input.

    Parameters
    ----------
    path : str
        The recording.
    detectors : iterable of Detector, optional
        What makes the findings; by default as `Stepper` chooses.
    policies : optional
        As for `Stepper`.
    recover : bool
        As for `load`.
    json_lines, color : bool
        How to show it.
    commands : text file, optional
        In place of standard input.

    Returns
    -------
    int
        Exit status: 1 if a finding of severity ``warn`` or above was shown.

    Raises
    ------
    RecordingError
        It cannot be read.
    """
    from midstream.stream import Stepper, read_recording

    commands = sys.stdin if commands is None else commands
    stdout = Output(sys.stdout, "standard output")
    with Signals([stdout]) as signals:
        recording = read_recording(path, recover=recover)
        stepper = Stepper(recording, detectors=detectors, policies=policies)
        asks = commands is not None and commands.isatty() and not json_lines
        view = _View(stepper, stdout, json_lines=json_lines, color=color)
        version = recording.header.get("midstream")
        has_end = recording.complete or not (type(version) is int and version > 1)
        view.begin(path, recording.outcome if recording.complete else None, has_end=has_end)
        try:
            for line in _lines(commands, stdout if asks else None):
                if not view.do(line.split()):
                    break
        except (Interrupted, KeyboardInterrupt):
            return 128 + (signals.number or 2)
    return FOUND if view.worst_shown else NOTHING


def _lines(commands: TextIO | None, prompt: Output | None) -> Iterator[str]:
    while commands is not None:
        if prompt is not None:
            prompt.write("> ")
        line = commands.readline()
        if not line:
            return
        yield line


def _count(text: str) -> int:
    """A count as it was typed, 1 where none was."""
    count = int(text) if text else 1
    if count < 1:
        raise ValueError(text)
    return count


class _View:
    """Does what a command says, and shows where that led."""

    def __init__(self, stepper: Stepper, output: Output, *, json_lines: bool, color: bool) -> None:
        self._stepper = stepper
        self._json = JsonShow(output) if json_lines else None
        self._text = LiveText(output, color=color)
        self.worst_shown = False

    def begin(self, path: str, outcome: str | None, *, has_end: bool) -> None:
        """Say what there is, and how it ended."""
        if self._json is not None:
            row = {"type": "recording", "path": path, "events": len(self._stepper)}
            self._json.line({**row, "outcome": outcome, "has_end": has_end})
        else:
            count = counted(len(self._stepper), "event")
            if not has_end:
                count += ", and it has no end: what followed is missing"
            elif outcome not in (None, "ended"):
                count += f", then it {_ENDS.get(str(outcome), 'came to another end')}"
            self._text.line(f"{one_line(path)}: {count}. h for help, q to quit.", "dim")

    def do(self, words: list[str]) -> bool:
        """Follow a command; whether to go on."""
        name, *rest = words or ["n"]
        if name in ("q", "quit", "exit"):
            return False
        known = {
            "n": self._next,
            "f": self._next_finding,
            "p": self._previous_finding,
            "b": self._back,
            "g": self._go,
            "t": self._time,
            "x": self._say,
            "i": self._data,
        }.get(name)
        if known is None or len(rest) > 1:
            self._help()
            return True
        try:
            known(rest[0] if rest else "")
        except (ArgumentTypeError, ArgumentValueError, ValueError):
            self._tell(f"no such place, count or kind: {one_line(' '.join(words))}")
        return True

    def _next(self, count: str) -> None:
        for _ in range(_count(count)):
            if self._stepper.next() is None:
                self._tell("the end")
                return
            self._here()

    def _next_finding(self, _: str) -> None:
        if self._stepper.next_finding() is None:
            self._tell("no further finding")
        else:
            self._here()

    def _previous_finding(self, _: str) -> None:
        if self._stepper.previous_finding() is None:
            self._tell("no finding before")
        else:
            self._here()

    def _back(self, count: str) -> None:
        self._stepper.back(_count(count))
        self._here()

    def _go(self, position: str) -> None:
        self._stepper.seek(int(position))
        self._here()

    def _time(self, t_s: str) -> None:
        self._stepper.seek_time(float(t_s))
        self._here()

    def _say(self, kind: str) -> None:
        if kind and kind not in KINDS:
            raise ValueError(kind)
        text = self._stepper.text(kind or "text")
        if self._json is not None:
            self._json.line({"type": "text", "kind": kind or "text", "text": text})
        else:
            self._text.line(text)

    def _data(self, _: str) -> None:
        event = self._stepper.event
        if self._json is not None:
            self._json.line({"type": "data", "data": None if event is None else event.data})
        else:
            data = None if event is None else event.data
            self._text.line(json.dumps(data, indent=2, ensure_ascii=False))

    def _here(self) -> None:
        stepper = self._stepper
        event, found = stepper.event, stepper.found_here
        if any(finding.severity != "note" for finding in found):
            self.worst_shown = True
        if self._json is not None:
            row: dict[str, Any] = {"type": "position", "position": stepper.position}
            self._json.line(row)
            if event is not None:
                self._json.line({"type": "event", **event._asdict()})
            for finding in found:
                self._json.line({"type": "finding", **finding.to_dict()})
            return
        if event is None:
            self._tell("the beginning")
            return
        self._event(event, stepper.position)
        for finding in found:
            self._finding(finding)

    def _event(self, event: Event, position: int) -> None:
        text = self._text
        text.fresh_line()
        text.add(f"{position:>6}  {event.t_ns / 1e9:>8.3f} s  ", "dim")
        text.add(f"{event.kind:<11}", "cyan")
        text.add(f" {event.stream_id:<5}" if event.stream_id else "      ", "dim")
        name = "" if event.name is None else f"{one_line(event.name)} "
        text.end_line(f'{name}"{one_line(event.text)}"' if event.text else name)

    def _finding(self, finding: Finding) -> None:
        for line, style in finding_lines(finding):
            self._text.barred_line(line, style, bar_style=_STYLES[finding.severity])

    def _tell(self, message: str) -> None:
        if self._json is not None:
            self._json.line({"type": "message", "message": message})
        else:
            self._text.line(f"({message})", "dim")

    def _help(self) -> None:
        if self._json is not None:
            self._json.line({"type": "help", "commands": dict(_HELP)})
        else:
            self._text.table(_HELP, {})
