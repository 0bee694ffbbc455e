"""``midstream loop``: what a strange loop wrote into its ledger, and whether it is whole."""

from __future__ import annotations

import datetime
import io
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from midstream.apps.output import Output, escape, one_line
from midstream.errors import ArgumentValueError, LedgerError, LedgerInUseError, SourceError

if TYPE_CHECKING:
    from rich.table import Table

    from midstream.meta.history import History, HistoryTrial
    from midstream.meta.ledger import Ledger, Version

__all__ = ["rollback", "show"]

_DAMAGED = 1
_RED, _GREEN, _DIM, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"
#: Columns of a table that is written into a pipe: wide enough that little is broken.
_PIPE_COLUMNS = 160
#: Nanoseconds since 1970 of the year 2001: later times are dates, earlier ones a clock of its own.
_EPOCH_NS = 10**18
_MOVES = 3


def show(
    path: str,
    *,
    head: str | None = None,
    key_env: str | None = None,
    plot: Path | None = None,
    by: str = "record",
    last: int = 20,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Read a ledger, check it, and tell what is in it.

    Parameters
    ----------
    path : str
        The file.
    head : str, optional
        A head that was noted earlier, in hexadecimal: the ledger must still contain it.
    key_env : str, optional
        Environment variable that holds the key, where the ledger has one.
    plot : Path, optional
        Where to draw a picture of the versions: its name tells the format.
    by : {"record", "time"}
        The picture's horizontal axis.
    last : int
        So many versions and closed trials at most; 0 for all. JSON has all.
    json_lines, color : bool
        How to tell it.

    Returns
    -------
    int
        Exit status: 0 if the ledger is whole, 1 if it is damaged, altered, or not the one that
        `head` is of.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    from midstream.meta.history import History

    stdout = Output(sys.stdout, "standard output")
    try:
        with _opened(path, head=head, key_env=key_env, readonly=True) as ledger:
            ledger.verify(head)
            history = History.of(ledger)
            told = _summary(path, ledger, history, pinned=head is not None)
    except LedgerError as error:
        if json_lines:
            row = {
                "type": "ledger",
                "ledger": path,
                "sound": False,
                "record": error.record,
                "error": str(error),
            }
            stdout.write(json.dumps(row) + "\n")
        else:
            paint, plain = (_RED, _PLAIN) if color and stdout.tty else ("", "")
            text = one_line(str(error))
            place = "" if error.record is None else f" at record {error.record}"
            # Some errors begin with the record themselves.
            text = text.removeprefix(f"record {error.record}: ")
            stdout.write(f"{paint}not whole{place}{plain}: {text}\n")
        return _DAMAGED
    if json_lines:
        rows = [*_version_rows(history), *_trial_rows(history), *_alarm_rows(history), told]
        stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    else:
        _tell(stdout, history, told, last=last, color=color)
    if plot is not None:
        _draw(history, plot, by)
        if not json_lines:
            stdout.write(f"picture: {escape(str(plot))}\n")
    return 0


def rollback(
    path: str,
    number: int,
    *,
    reason: str = "",
    yes: bool = False,
    head: str | None = None,
    key_env: str | None = None,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Put an earlier version into force again.

    Parameters
    ----------
    path : str
    number : int
        The version.
    reason : str
        Is recorded.
    yes : bool
        Do not ask. Without it there must be a terminal to ask at.
    head, key_env, json_lines, color
        As for `show`.

    Returns
    -------
    int
        Exit status: 0 if it was done, 1 if not: refused at the question, or the ledger is not
        whole, which the message says.

    Raises
    ------
    SourceError
        It cannot be read or written, or another writer, such as a loop that runs, has it open.
    """
    stdout = Output(sys.stdout, "standard output")
    if not yes and not (sys.stdin is not None and sys.stdin.isatty()):
        raise typer.BadParameter("--rollback asks before it writes: say --yes where nobody answers")
    if not Path(path).exists():
        raise SourceError("there is no such ledger", place=path)
    try:
        with _opened(path, head=head, key_env=key_env, readonly=False) as ledger:
            ledger.verify(head)
            current = ledger.current
            numbers = len(ledger.versions)
            if not 0 <= number < numbers:
                there = f"0 to {numbers - 1}" if numbers else "none"
                raise typer.BadParameter(
                    f"--rollback must be the number of a version ({there}), got {number}"
                )
            assert current is not None
            old = ledger.versions[number]
            moves = _differences(dict(current.settings), dict(old.settings))
            if not yes:
                stdout.write(f"from version {current.number} to {number}: {_moves_text(moves)}\n")
                if not typer.confirm("Roll back?"):
                    return _DAMAGED
            made = ledger.rollback(number, reason, time_ns=time.time_ns())
            new_head = ledger.head.hex()
    except LedgerError as error:
        paint, plain = (_RED, _PLAIN) if color and stdout.tty else ("", "")
        stdout.write(f"{paint}not rolled back{plain}: {one_line(str(error))}\n")
        return _DAMAGED
    if json_lines:
        row = {
            "type": "rollback",
            "version": made.number,
            "restores": number,
            "settings": dict(made.settings),
            "record": made.record,
            "head": new_head,
        }
        stdout.write(json.dumps(row) + "\n")
    else:
        stdout.write(
            f"version {made.number} is in force, as version {number} was: {_moves_text(moves)}\n"
            f"head {new_head}\n"
        )
    return 0


def _opened(path: str, *, head: str | None, key_env: str | None, readonly: bool) -> Ledger:
    from midstream.meta.ledger import Ledger

    key = None
    if key_env is not None:
        text = os.environ.get(key_env)
        if not text:
            raise typer.BadParameter(f"--key-env: {key_env} is not set")
        key = os.fsencode(text)
    try:
        return Ledger(path, key=key, head=head, readonly=readonly)
    except ArgumentValueError as error:
        raise typer.BadParameter(str(error)) from None
    except LedgerInUseError as error:
        raise SourceError(str(error)) from None
    except OSError as error:
        raise SourceError(error.strerror or str(error), place=path) from None


# ---- JSON ----


def _version_rows(history: History) -> list[dict[str, Any]]:
    rows = []
    for version in history.versions:
        place = history.promoted_by.get(version.number, history.demoted_by.get(version.number))
        rows.append(
            {
                "type": "version",
                "version": version.number,
                "settings": dict(version.settings),
                "moves": [list(move) for move in history.moved(version.number)],
                "state_digest": version.state_digest,
                "record": version.record,
                "time_ns": version.time_ns,
                "restores": version.restores,
                "reason": version.reason,
                "trial": None if place is None else history.trials[place].key,
                "demoted": version.number in history.demoted_by,
            }
        )
    return rows


def _trial_rows(history: History) -> list[dict[str, Any]]:
    rows = []
    for trial in history.trials:
        last = trial.last
        rows.append(
            {
                "type": "trial",
                "trial": trial.key,
                "stage": trial.stage,
                "outcome": trial.outcome,
                "moves": [list(move) for move in trial.moves],
                "reason": trial.reason,
                "why": trial.why,
                "opened": trial.opened,
                "ended": trial.ended,
                "n": None if last is None else last.n,
                "difference": None if last is None else last.difference,
                "lower": None if last is None else last.lower,
                "upper": None if last is None else last.upper,
            }
        )
    return rows


def _alarm_rows(history: History) -> list[dict[str, Any]]:
    return [
        {"type": "drift", "signal": a.signal, "record": a.record, "time_ns": a.time_ns}
        for a in history.alarms
    ]


def _summary(path: str, ledger: Ledger, history: History, *, pinned: bool) -> dict[str, Any]:
    current = ledger.current
    outcomes = [trial.outcome for trial in history.trials]
    return {
        "type": "ledger",
        "ledger": path,
        "sound": True,
        "records": len(ledger),
        "kinds": dict(sorted(history.counts.items())),
        "version": None if current is None else current.number,
        "settings": None if current is None else dict(current.settings),
        "trials": {name: outcomes.count(name) for name in dict.fromkeys(outcomes)},
        "refused": len(history.refused),
        "keyed": ledger.keyed,
        "pinned": pinned,
        "head": ledger.head.hex(),
    }


# ---- for people ----


def _tell(
    stdout: Output, history: History, told: dict[str, Any], *, last: int, color: bool
) -> None:
    from rich.console import Console

    drawn = io.StringIO()
    columns = shutil.get_terminal_size().columns if stdout.tty else _PIPE_COLUMNS
    console = Console(
        file=drawn,
        width=max(columns - 1, 40),
        force_terminal=stdout.tty,
        color_system="auto" if color and stdout.tty else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    unicode = stdout.encodes("→±…─")
    if history.versions:
        console.print(_versions_table(history, last, unicode))
    else:
        console.print("no version yet")
    running = [trial for trial in history.trials if trial.outcome == "open"]
    closed = [trial for trial in history.trials if trial.outcome != "open"]
    if history.trials:
        console.print()
        console.print(_trials_table([*_ends(closed, last), *running], unicode))
    if history.alarms:
        console.print()
        names = [alarm.signal for alarm in history.alarms]
        each = ", ".join(f"{one_line(n)} {names.count(n)}" for n in dict.fromkeys(names))
        console.print(f"drift alarms: {each}; the last at record {history.alarms[-1].record}")
    if history.refused:
        reasons = [reason for _, reason in history.refused]
        each = ", ".join(f"{one_line(r)} {reasons.count(r)}" for r in dict.fromkeys(reasons))
        console.print(f"proposals refused at once, by reason: {each}")
    console.print()
    kinds = ", ".join(f"{one_line(kind)} {count}" for kind, count in told["kinds"].items())
    console.print(f"{told['records']} records: {kinds}" if kinds else "no records")
    # A table's lines are filled up to its width, and blank ones stand around it.
    lines = [line.rstrip() for line in drawn.getvalue().split("\n")]
    stdout.write(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).lstrip("\n"))
    paint, dim, plain = (_GREEN, _DIM, _PLAIN) if color and stdout.tty else ("", "", "")
    with_what = ", with its key" if told["keyed"] else ""
    with_what += ", and contains the pinned head" if told["pinned"] else ""
    stdout.write(f"{paint}whole{plain}: every record follows from the one before{with_what}\n")
    stdout.write(f"{dim}head {told['head']}{plain}\n")


def _ends(items: list[Any], last: int) -> list[Any]:
    return items[-last:] if last else items


def _table(*columns: tuple[str, str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", safe_box=True)
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def _versions_table(history: History, last: int, unicode: bool) -> Table:
    table = _table(("version", "right"), ("when", "left"), ("changed", "left"), ("because", "left"))
    shown = _ends(list(history.versions), last)
    if len(shown) < len(history.versions):
        table.title = f"the last {len(shown)} of {len(history.versions)} versions"
        table.title_justify = "left"
    current = history.versions[-1].number
    for version in shown:
        moves = _moves_text(history.moved(version.number), unicode=unicode)
        if version.parent is None:
            values = ", ".join(f"{n} {_value(v)}" for n, v in list(version.settings.items())[:6])
            moves = one_line(values) + (", ..." if len(version.settings) > 6 else "")
        table.add_row(
            str(version.number),
            _when(version.record, version.time_ns),
            moves,
            _because(history, version),
            style="bold" if version.number == current else None,
        )
    return table


def _because(history: History, version: Version) -> str:
    if version.restores is not None:
        reason = f": {one_line(version.reason)}" if version.reason else ""
        return f"rollback to {version.restores}{reason}"
    if version.parent is None:
        return "first"
    for made_by, what in ((history.promoted_by, ""), (history.demoted_by, "demotion of ")):
        place = made_by.get(version.number)
        if place is not None:
            trial = history.trials[place]
            evidence = _evidence(trial)
            told = f": {evidence}" if evidence else ""
            return f"{what}trial {one_line(str(trial.key))}{told}"
    return ""


def _trials_table(trials: list[HistoryTrial], unicode: bool) -> Table:
    table = _table(
        ("trial", "right"),
        ("stage", "left"),
        ("would change", "left"),
        ("better by", "left"),
        ("because", "left"),
    )
    styles = {"promoted": "green", "rejected": "red", "demoted": "yellow"}
    for trial in trials:
        table.add_row(
            one_line(str(trial.key)),
            trial.stage if trial.outcome != "open" else f"open: {one_line(trial.stage)}",
            _moves_text(trial.moves, unicode=unicode),
            _evidence(trial),
            # Of one that is open why it was proposed, else what became of it.
            one_line(trial.why or trial.reason),
            style=styles.get(trial.outcome, "bold"),
        )
    return table


def _evidence(trial: HistoryTrial) -> str:
    last = trial.last
    if last is None:
        return ""
    told = "" if last.difference is None else f"{last.difference:+.4f}"
    if last.lower is not None or last.upper is not None:
        low = "" if last.lower is None else f"{last.lower:+.4f}"
        high = "" if last.upper is None else f"{last.upper:+.4f}"
        told += f" [{low}, {high}]"
    return (told + ("" if last.n is None else f" n={last.n}")).strip()


def _when(record: int, time_ns: int | None) -> str:
    if time_ns is None:
        return f"record {record}"
    if time_ns >= _EPOCH_NS:
        then = datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.UTC)
        return f"{then:%Y-%m-%d %H:%M:%S}"
    return f"{time_ns / 1e9:.3f} s"


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, old.get(name), value) for name, value in new.items() if old.get(name) != value]


def _moves_text(moves: Any, *, unicode: bool = False) -> str:
    arrow = "→" if unicode else "->"
    told = [f"{name} {_value(old)} {arrow} {_value(new)}" for name, old, new in moves]
    more = len(told) - _MOVES
    text = ", ".join(told[:_MOVES]) + (f" and {more} more" if more > 0 else "")
    return one_line(text) if text else "nothing"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _draw(history: History, place: Path, by: str) -> None:
    try:
        from matplotlib.figure import Figure

        from midstream.plot.ledgers import versions
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "matplotlib":
            raise
        raise typer.BadParameter('--plot needs matplotlib: pip install "midstream[plot]"') from None
    # Without pyplot, so that no window system is asked for.
    rows = min(len(history.changed), 8) or 1
    figure = Figure(figsize=(9.0, 0.85 * rows + 4.2), layout="constrained")
    try:
        versions(history, figure=figure, by=by)
    except ArgumentValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        figure.savefig(place, dpi=150)
    except OSError as error:
        raise SourceError(error.strerror or str(error), place=str(place)) from None
    except ValueError as error:  # a name whose ending is no format
        raise typer.BadParameter(f"--plot: {error}") from None
