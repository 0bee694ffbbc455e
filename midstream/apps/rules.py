"""``midstream rules``: the ready rules, and what is wrong with a file of rules."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from midstream._core.toml import read_toml_value
from midstream._core.words import counted
from midstream.apps.output import Output, escape, one_line
from midstream.errors import ArgumentValueError, ConfigurationError, SourceError

if TYPE_CHECKING:
    from midstream.stream import PolicyProblem, ReadyRule

__all__ = ["catalogue", "lint", "show"]

_RED, _YELLOW, _GREEN, _BOLD, _DIM = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[2m"
_PLAIN = "\x1b[0m"


def lint(
    files: Sequence[Path],
    *,
    tools: Sequence[str] = (),
    settings: Sequence[str] = (),
    strict: bool = False,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Look for what is wrong with files of rules, and tell it.

    Parameters
    ----------
    files : sequence of Path
    tools : sequence of str
        All tools there are, several in one with commas between; none: any may be named.
    settings : sequence of str
        ``NAME=VALUE`` for each setting that the files need; a value is TOML, else text.
    strict : bool
        What may be a mistake counts like what is one.
    json_lines, color : bool
        How to tell it.

    Returns
    -------
    int
        Exit status: 0 if all can be used, 1 if not.

    Raises
    ------
    SourceError
        A file cannot be read.
    """
    from midstream.stream import lint_policies, load_policies
    from midstream.stream.policies.linting import UNTOLD
    from midstream.stream.policies.reading import TAKEN

    given = dict(_setting(text) for text in settings)
    for name in TAKEN.intersection(given):
        raise typer.BadParameter(f"--set: no file can have a setting {name!r}")
    known = [name for text in tools for name in text.split(",") if name] or None
    stdout = Output(sys.stdout, "standard output")
    colored = color and stdout.tty
    failed = False
    for path in files:
        message = None
        problems: list[PolicyProblem] = []
        names: list[str] = []
        try:
            policies = load_policies(path, lint=False, **given)
            names = [policy.name for policy in policies]
            problems = lint_policies(path, tools=known, **given)
        except ConfigurationError as error:
            message = str(error)
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror or error}") from None
        broken = message is not None or any(problem.error for problem in problems)
        doubtful = any(problem.kind not in UNTOLD for problem in problems)
        failed = failed or broken or (strict and doubtful)
        if json_lines:
            stdout.write(_row(path, names, problems, message, usable=not broken))
        else:
            stdout.write(_told(path, names, problems, message, colored=colored))
    return 1 if failed else 0


def catalogue(*, json_lines: bool = False, color: bool = True) -> int:
    """Tell of the ready rules: what they are for, and which settings they take."""
    from midstream.stream import ready_rules

    stdout = Output(sys.stdout, "standard output")
    colored = color and stdout.tty
    for rule in ready_rules().values():
        if json_lines:
            row = {
                "type": "rule",
                "name": rule.name,
                "help": rule.help,
                "settings": rule.settings,
                "defaults": rule.defaults,
            }
            stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            stdout.write(_entry(rule, colored))
    return 0


def show(name: str) -> int:
    """Write the TOML of a ready rule, to start one's own from."""
    from midstream.stream.policies import ready_text

    try:
        text = ready_text(name)
    except ArgumentValueError as error:
        raise typer.BadParameter(f"NAME: {error}") from None
    Output(sys.stdout, "standard output").write(text)
    return 0


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise typer.BadParameter(f"--set must be NAME=VALUE, got {text!r}")
    try:
        return name, read_toml_value(value)
    except ConfigurationError:  # a text without its quotes
        return name, value


def _row(
    path: Path,
    names: Sequence[str],
    problems: Iterable[PolicyProblem],
    message: str | None,
    *,
    usable: bool,
) -> str:
    rows: list[dict[str, Any]] = [
        {
            "kind": problem.kind,
            "rules": list(problem.rules),
            "message": problem.message,
            "error": problem.error,
        }
        for problem in problems
    ]
    if message is not None:
        rows.append({"kind": "unreadable", "rules": [], "message": message, "error": True})
    report = {
        "type": "lint",
        "file": str(path),
        "usable": usable,
        "rules": list(names),
        "problems": rows,
    }
    return json.dumps(report, ensure_ascii=False) + "\n"


def _told(
    path: Path,
    names: Sequence[str],
    problems: Iterable[PolicyProblem],
    message: str | None,
    *,
    colored: bool,
) -> str:
    from midstream.stream.policies.linting import UNTOLD

    def painted(paint: str, text: str) -> str:
        return f"{paint}{text}{_PLAIN}" if colored else text

    lines = []
    if message is not None:
        lines.append(f"{painted(_RED, 'error')}: {escape(message)}")
    for problem in problems:
        if problem.error:
            word = painted(_RED, "error")
        else:
            word = "note" if problem.kind in UNTOLD else painted(_YELLOW, "warning")
        lines.append(f"{word}: {one_line(str(path))}: {escape(str(problem))}")
    if not any(line.startswith(("error", "warning", _RED, _YELLOW)) for line in lines):
        count = counted(len(names), "rule")
        lines.append(f"{painted(_GREEN, 'sound')}: {one_line(str(path))}: {count}")
    return "\n".join(lines) + "\n"


def _entry(rule: ReadyRule, colored: bool) -> str:
    bold, dim, plain = (_BOLD, _DIM, _PLAIN) if colored else ("", "", "")
    lines = [f"{bold}{rule.name}{plain}", f"  {rule.help}"]
    for name, what in rule.settings.items():
        if name in rule.defaults:
            default = json.dumps(rule.defaults[name], ensure_ascii=False)
            shown = default if len(default) <= 60 else default[:57] + "..."
            lines.append(f"    {name}: {what} {dim}(default {shown}){plain}")
        else:
            lines.append(f"    {name}: {what} {dim}(must be given){plain}")
    return "\n".join(lines) + "\n\n"
