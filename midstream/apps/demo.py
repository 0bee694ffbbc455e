"""``midstream demo``: a model falls into a loop, is stopped; another does not, and is not."""

from __future__ import annotations

import sys
from typing import NamedTuple

from midstream.apps.live import LiveText
from midstream.apps.output import Output
from midstream.apps.session import FOUND, NOTHING, follow
from midstream.apps.show import JsonShow, TextShow
from midstream.stream import LoopDetector, Report, StallDetector, load, replay, shipped_recordings

__all__ = ["play"]


class _Act(NamedTuple):
    recording: str
    pace: float  # models are fast; so that one can follow
    words: str


_ACTS = (
    _Act(
        "loop-04",
        0.3,
        "A small language model tells a story: its recorded stream, slowed down. midstream reads "
        "along and looks for text that comes again; nobody told it which. When a loop is certain, "
        "it closes the stream.",
    ),
    _Act(
        "healthy-03",
        0.9,
        "The same model on a good day. Its story repeats words and phrases too, but does not loop:",
    ),
)
_NEXT = (
    ("midstream watch http://127.0.0.1:8080 --prompt Hello", "a model of yours"),
    ("some-program | midstream watch -", "what a program writes"),
    ("midstream watch SOURCE --record run.jsonl", "keep it for replay"),
    ("midstream watch --help", "the rest"),
)


def play(speed: float = 1.0, *, json_lines: bool = False, color: bool = True) -> int:
    """Play the shipped recordings.

    Parameters
    ----------
    speed : float, default 1.0
        Times the pace that lets one follow.
    json_lines : bool, default False
        Findings and reports as JSON lines.
    color : bool, default True
        Colours, where there is a terminal.

    Returns
    -------
    int
        Exit status: 0 if the loop was found and the healthy stream left alone.
    """
    stdout = Output(sys.stdout, "standard output")
    notes = None if json_lines else LiveText(stdout, color=color)
    show = JsonShow(stdout) if notes is None else TextShow(notes)
    reports, statuses = [], []
    for act in _ACTS:
        if notes is not None:
            notes.line(act.words, "bold")
            notes.line()
        report, status = follow(
            replay(shipped_recordings()[act.recording], act.pace * speed),
            show,
            detectors=(LoopDetector(), StallDetector()),
            context={"source": act.recording},
            report_later=notes is not None,
        )
        if status not in (NOTHING, FOUND):  # a signal, or a recording that cannot be read
            return status
        reports.append(report)
        statuses.append(status)
        if notes is not None:
            if not report.findings:
                notes.barred_line("no loop, nothing stopped", "green", bar_style="green")
            notes.line()
    if notes is not None:
        _close(notes, reports[0])
    return NOTHING if statuses == [FOUND, NOTHING] else FOUND


def _close(notes: LiveText, report: Report) -> None:
    """Say what the first stream came to, and what to do next."""
    notes.line("The report on the first stream", "bold")
    rows = [*report.rows()]
    if report.stopped is not None:
        left = len(load(shipped_recordings()[_ACTS[0].recording])) - report.metrics["events"]
        rows.append(("not generated", f"{left} more chunks, which the recording still has"))
    notes.table(rows, {"outcome": "bold red"})
    notes.line()
    notes.line("What next", "bold")
    edge = max(len(command) for command, _ in _NEXT)
    for command, words in _NEXT:
        notes.add(f"  {command:<{edge}}", "cyan")
        notes.end_line(f"  # {words}", "dim")
