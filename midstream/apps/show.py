"""What a watch looks like: live text with the findings where they happen, or JSON lines.

With a terminal on standard output, everything goes there: the text as it comes, reasoning, tool
calls and errors with a label, each finding after the event that decided it, the report. Control
characters are shown as escapes.

Without one, standard output gets the text of the answer (``text`` and ``audio`` events), untouched
and nothing else; all the rest goes to standard error, without colour. Of several choices, the
answer is number 0; that there are others is said once, on standard error.

With ``--json``, standard output gets one object a line, flushed: ``{"type": "finding", ...}`` the
moment a finding is made, ``{"type": "event", ...}`` if asked for, ``{"type": "report", ...}`` at
the end.
"""

from __future__ import annotations

import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeGuard

from midstream._core.words import counted
from midstream.apps.live import LiveText
from midstream.apps.output import Output, one_line
from midstream.stream import Event, Finding, Report
from midstream.stream.formats import choice_of, detect

__all__ = ["JsonShow", "Show", "TextShow", "finding_lines", "make_show"]

#: Kinds that are the answer; what else has text is told apart by a label.
_ANSWER = frozenset({"text", "audio"})
_STYLES = {
    "reasoning": "dim italic",
    "tool_call": "cyan",
    "tool_result": "green",
    "error": "bold red",
    "stop": "bold red",
    "block": "bold red",
    "warn": "bold yellow",
    "note": "bold blue",
}
#: Kinds that may come without any text, many times a second.
_MEDIA = frozenset({"audio", "video"})
_LEVELS = "▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
_QUIET_DBFS = -60.0
#: Finish reasons that need no mention.
_USUAL_ENDS = frozenset(
    {
        *("", "stop", "tool_calls", "function_call", "end_turn", "tool_use", "completed"),
        *("requires_action", "eos", "STOP", "COMPLETE", "TOOL_CALL"),
    }
)
_OUTCOME_STYLES = {"stopped": "bold red", "failed": "bold red", "ended": "green"}


class Show(ABC):
    """Takes what a watch gives, as it comes."""

    #: Whether a finding waits for the event that decided it: a watch makes it known just before.
    _in_order = True
    #: Whether it may leave out what says nothing.
    for_people = True

    def __init__(self, *outputs: Output) -> None:
        self.outputs = outputs
        self._held: list[Finding] = []
        self._newest_seq = -1

    def event(self, event: Event) -> None:
        """Show an event, and the findings that waited for it."""
        self._newest_seq = event.seq
        self._show_event(event)
        self._show_held()

    def finding(self, finding: Finding) -> None:
        """Show a finding: at once if the event that decided it was shown already."""
        self._held.append(finding)
        if not self._in_order or finding.seq <= self._newest_seq:
            self._show_held()

    def report(self, report: Report, context: Mapping[str, Any] | None = None) -> None:
        """Show the last word; `context` joins it."""
        self._show_held()
        self._newest_seq = -1  # another stream may follow
        self._show_report(report, context or {})

    def _show_held(self) -> None:
        if self._held:
            self._show_findings(self._held)
            self._held = []  # only now: what a signal interrupts is shown before the report

    @abstractmethod
    def _show_event(self, event: Event) -> None: ...

    @abstractmethod
    def _show_findings(self, findings: list[Finding]) -> None: ...

    @abstractmethod
    def _show_report(self, report: Report, context: Mapping[str, Any]) -> None: ...


class TextShow(Show):
    """For people.

    Parameters
    ----------
    notes : LiveText
        Where findings and the report go, and events that `answer` does not get.
    answer : Output, optional
        Gets the text of the answer untouched. By default, `notes` shows it too.
    """

    def __init__(self, notes: LiveText, answer: Output | None = None) -> None:
        outputs = (notes.output,) if answer is None else (notes.output, answer)
        super().__init__(*outputs)
        self.notes = notes
        self._answer = answer
        # Where both end on one screen or in one log, notes begin on a line of their own.
        self._mixed = answer is not None and (notes.output.tty or answer.shares_file(notes.output))
        self._channel: tuple[str, str] = ("text", "")
        self._choices: set[str] = set()
        self._answering: str | None = None  # the choice that `answer` gets
        self._api: str | None = None  # where payloads tell

    def _show_event(self, event: Event) -> None:
        kind, text = event.kind, event.text
        if self._api is None and event.data is not None:
            found = detect(event.data)
            self._api = None if found is None else found.api
        if kind in _MEDIA and not text:
            if self._answer is None:
                self._strip(event)
        elif kind in _ANSWER:
            if not text:
                return
            if self._answer is not None:
                self._write_answer(self._answer, event)
            else:
                self._piece("text", event, self._choice(event), "")
        elif kind == "error":
            self.notes.line(f"error: {text}", _STYLES["error"])
        elif kind == "end":
            if text not in _USUAL_ENDS:
                self.notes.line(f"(ended: {text})", "dim")
        elif kind == "reasoning" and text:
            self._piece(kind, event, "reasoning: ", _STYLES[kind])
        elif kind in ("tool_call", "tool_result") and (text or event.name):
            label = kind.replace("_", " ") + (f" {one_line(event.name)}: " if event.name else ": ")
            self._piece(kind, event, label, _STYLES[kind])

    def _strip(self, event: Event) -> None:
        """Show sound or a picture as one character, as high or as dark as it is."""
        data = event.data
        if not isinstance(data, dict):
            return
        level, bright = data.get("level_dbfs"), data.get("brightness")
        if _finite(level):
            share, steps = (level - _QUIET_DBFS) / -_QUIET_DBFS, _LEVELS
        elif _finite(bright):
            share, steps = bright, _SHADES
        else:
            return
        mark = steps[min(max(int(share * len(steps)), 0), len(steps) - 1)]
        if not self.notes.output.encodes(mark):
            mark = "#"
        self._piece(event.kind, event._replace(text=mark), f"{event.kind}: ", "cyan")

    def _piece(self, kind: str, event: Event, label: str, style: str) -> None:
        channel = (kind, event.stream_id)
        if channel != self._channel or kind == "tool_result":
            self.notes.fresh_line()
            if label:
                self.notes.add(label, f"bold {style}".strip())
            self._channel = channel
        self.notes.add(event.text, style)

    def _write_answer(self, answer: Output, event: Event) -> None:
        """Pass one choice on: several in one pipe could not be told apart."""
        choice = choice_of(event.stream_id, self._api) or "0"
        if self._answering is None:  # a stream of our events may name its texts otherwise
            self._answering = "0" if choice.isdecimal() else choice
        if choice == self._answering:
            answer.write(event.text)
            if self._mixed:
                self.notes.stands_after(event.text)
        elif not self._choices:
            self._choices.add(choice)
            self.notes.line(
                f"(only choice {one_line(self._answering)} goes to standard output;"
                " --json --events has all)"
            )
            self._channel = ("", "")

    def _choice(self, event: Event) -> str:
        """Return the label of one answer where there are several."""
        choice = choice_of(event.stream_id, self._api) or "0"
        self._choices.add(choice)
        return f"choice {choice}: " if len(self._choices) > 1 else ""

    def _show_findings(self, findings: list[Finding]) -> None:
        for finding, following in zip(findings, [*findings[1:], None], strict=True):
            if following is not None and _same_run(finding, following):
                continue  # found and certain with the same event: once is enough for the eye
            for text, style in finding_lines(finding):
                self.notes.barred_line(text, style, bar_style=_STYLES[finding.severity])
        self._channel = ("", "")

    def _show_report(self, report: Report, context: Mapping[str, Any]) -> None:
        rows = [(label, one_line(value)) for label, value in report.rows()]
        if "recording" in context:
            rows.append(("recorded in", one_line(str(context["recording"]))))
        self.notes.line()
        self.notes.table(rows, {"outcome": _OUTCOME_STYLES.get(report.outcome, "yellow")})
        self._channel = ("text", "")
        self._choices.clear()
        self._answering = self._api = None


class JsonShow(Show):
    """For programs: one JSON object a line.

    Parameters
    ----------
    output : Output
    events : bool, default False
        Events too.
    """

    for_people = False

    def __init__(self, output: Output, *, events: bool = False) -> None:
        super().__init__(output)
        self._events = self._in_order = events
        self._output = output

    def line(self, row: Mapping[str, Any]) -> None:
        """Write one object."""
        self._output.write(json.dumps(row, default=str) + "\n")

    def _show_event(self, event: Event) -> None:
        if self._events:
            self.line({"type": "event", **event._asdict()})

    def _show_findings(self, findings: list[Finding]) -> None:
        for finding in findings:
            self.line({"type": "finding", **finding.to_dict()})

    def _show_report(self, report: Report, context: Mapping[str, Any]) -> None:
        self.line({"type": "report", **report.to_dict(), **context})


def make_show(*, json_lines: bool = False, events: bool = False, color: bool = True) -> Show:
    """Choose the show that suits standard output; see the module's docstring."""
    stdout = Output(sys.stdout, "standard output")
    if json_lines:
        return JsonShow(stdout, events=events)
    if stdout.tty:
        return TextShow(LiveText(stdout, color=color))
    return TextShow(LiveText(Output(sys.stderr, "standard error"), color=False), stdout)


def _same_run(first: Finding, second: Finding) -> bool:
    return (first.kind, first.seq, first.start, first.end) == (
        second.kind,
        second.seq,
        second.start,
        second.end,
    ) and first.evidence.get("channel") == second.evidence.get("channel")


def _finite(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value)


def finding_lines(finding: Finding) -> list[tuple[str, str]]:
    """Text and style of the lines that tell of a finding."""
    kind = finding.kind.replace("_", " ").upper()
    does = {"stop": "stream stopped", "block": "call denied", "warn": "warning", "note": "note"}[
        finding.severity
    ]
    lines = [(f"{kind}, {does}: {one_line(finding.message)}", _STYLES[finding.severity])]
    # A recording, or a detector of somebody else's, may put anything there.
    evidence = finding.evidence
    unit = evidence.get("unit")
    if isinstance(unit, str):
        lines.append((f'"{one_line(unit)}"', "italic"))
    sizes: list[Any] = [evidence.get(name) for name in ("period", "period_chars", "copies")]
    if all(type(size) in (int, float) for size in sizes):
        period, chars, copies = sizes
        lines.append(
            (
                f"period {counted(period, 'token')} ({counted(chars, 'character')}), "
                f"{copies:.1f} copies, characters {finding.start} to {finding.end}",
                "dim",
            )
        )
    return lines
