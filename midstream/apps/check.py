"""``midstream check``: a formula against a trace of events, decided at the first one that can."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from midstream._core.words import counted
from midstream.apps.output import Output, escape, one_line
from midstream.errors import (
    ArgumentValueError,
    FormulaSyntaxError,
    MalformedStreamError,
    SourceError,
)

if TYPE_CHECKING:
    from midstream.logic import Counterexample, Formula, Monitor

__all__ = ["check"]

#: Longer lines are no letters.
_MAX_LINE_BYTES = 1 << 20
_UNDECIDED = 4
_RED, _GREEN, _DIM, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"


def check(
    text: str,
    trace: str,
    *,
    dialect: str = "spot",
    semantics: str = "ltlf",
    missing: str = "false",
    every: bool = False,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Follow a trace with a monitor, and say what came of it.

    Parameters
    ----------
    text : str
        The formula.
    trace : str
        Path of a file, or ``-`` for standard input: a letter a line. A letter is a JSON array of
        the atoms that are true, a JSON object of atoms (true or false) and signals (numbers), or
        the names of the atoms with spaces between them; an empty line is the empty letter.
    dialect : str
        Of `midstream.logic.parse`.
    semantics : str
        Of `midstream.logic.Monitor`.
    missing : {"false", "error"}
        What an atom or a comparison counts as of which a JSON object says nothing.
    every : bool
        Tell the verdict after every event.
    json_lines, color : bool
        How to tell it.

    Returns
    -------
    int
        Exit status: 0 if the trace satisfies the formula, 1 if it does not; in the three-valued
        semantics 0 and 1 if all continuations do or none does, else 4.

    Raises
    ------
    SourceError
        The trace cannot be read; MalformedStreamError with the line where it is none.
    """
    from midstream.logic import Monitor, Verdict, counterexample, parse

    try:
        formula = parse(text, dialect=dialect)
    except FormulaSyntaxError as error:
        raise typer.BadParameter(f"FORMULA: {error}") from None
    try:
        monitor = Monitor(formula, semantics=semantics, missing=missing)
    except ArgumentValueError as error:
        raise typer.BadParameter(str(error)) from None
    stdout = Output(sys.stdout, "standard output")
    colored = color and stdout.tty
    letters = []
    for number, letter in _letters(trace):
        try:
            verdict = monitor.step(letter)
        except (ArgumentValueError, TypeError) as error:
            raise MalformedStreamError(str(error), place=f"{_shown(trace)}:{number}") from None
        letters.append(letter)
        if every:
            position = len(letters) - 1
            if json_lines:
                row = {"type": "verdict", "event": position, "verdict": str(verdict)}
                stdout.write(json.dumps(row) + "\n")
            else:
                stdout.write(_verdict_line(position, letter, verdict, colored))
        if verdict.final:
            break
    if not letters:
        raise MalformedStreamError("a trace has at least one event", place=_shown(trace))
    verdict = monitor.verdict
    holds = verdict in (Verdict.TRUE, Verdict.PRESUMABLY_TRUE)
    failed = verdict is Verdict.FALSE if semantics == "ltl3" else not holds
    found = counterexample(formula, letters, missing=missing) if failed else None
    if json_lines:
        report = _report(formula, monitor, found, events=len(letters), failed=failed)
        stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
    else:
        stdout.write(_told(monitor, found, events=len(letters), failed=failed, colored=colored))
    if failed:
        return 1
    return _UNDECIDED if verdict is Verdict.INCONCLUSIVE else 0


def _report(
    formula: Formula,
    monitor: Monitor,
    found: Counterexample | None,
    *,
    events: int,
    failed: bool,
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "type": "report",
        "formula": str(formula),
        "semantics": monitor.semantics,
        "verdict": str(monitor.verdict),
        "decided_at": monitor.decided_at,
        "events": events,
    }
    if failed:
        report["causes"] = [] if found is None else [str(cause) for cause in found.causes]
    return report


def _told(
    monitor: Monitor,
    found: Counterexample | None,
    *,
    events: int,
    failed: bool,
    colored: bool,
) -> str:
    verdict = monitor.verdict
    word = "violated" if failed else "undecided" if str(verdict) == "inconclusive" else "satisfied"
    paint = {"violated": _RED, "satisfied": _GREEN}.get(word, "") if colored else ""
    decided = monitor.decided_at
    if verdict.final and decided is not None:
        when = f"decided by event {decided}, whatever follows"
    elif word == "undecided":
        when = f"after {counted(events, 'event')}; some continuations satisfy it, some violate it"
    else:
        when = f"if the trace ends after {counted(events, 'event')}"
    lines = [f"{paint}{word}{_PLAIN if paint else ''}: {one_line(str(monitor.formula))}", when]
    if found is not None:
        lines.append(escape(str(found)))
    return "\n".join(lines) + "\n"


def _verdict_line(position: int, letter: Any, verdict: Any, colored: bool) -> str:
    if isinstance(letter, dict):
        shown = " ".join(f"{name}={value}" for name, value in letter.items())
    else:
        shown = " ".join(letter)
    paint = {"false": _RED, "true": _GREEN}.get(str(verdict), _DIM) if colored else ""
    end = _PLAIN if paint else ""
    return f"{position:>6}  {paint}{verdict!s:<16}{end}  {one_line(shown)}\n"


def _letters(trace: str) -> Iterator[tuple[int, Any]]:
    """Letters with the number of their line."""
    for number, line in enumerate(_lines(trace), start=1):
        place = f"{_shown(trace)}:{number}"
        text = line.strip()
        if text.startswith('"'):
            raise MalformedStreamError(
                "names stand without quotes, or in a JSON array", place=place
            )
        if not text.startswith(("[", "{")):
            yield number, text.replace(",", " ").split()
            continue
        try:
            letter = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MalformedStreamError(f"not JSON: {error}", place=place) from None
        if isinstance(letter, list) and not all(isinstance(name, str) for name in letter):
            raise MalformedStreamError("an array must hold names of atoms", place=place)
        yield number, letter


def _lines(trace: str) -> Iterator[str]:
    if trace == "-":
        if sys.stdin is None:
            raise SourceError("there is no standard input", place="-")
        yield from _decoded(trace, sys.stdin.buffer)
        return
    try:
        with Path(trace).open("rb") as file:
            yield from _decoded(trace, file)
    except OSError as error:
        raise SourceError(error.strerror or str(error), place=_shown(trace)) from None


def _decoded(trace: str, file: BinaryIO) -> Iterator[str]:
    number = 0
    while raw := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        place = f"{_shown(trace)}:{number}"
        if len(raw) > _MAX_LINE_BYTES:
            raise MalformedStreamError(
                f"a line is longer than {_MAX_LINE_BYTES} bytes", place=place
            )
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedStreamError(f"not UTF-8: {error.reason}", place=place) from None


def _shown(trace: str) -> str:
    return "standard input" if trace == "-" else trace
