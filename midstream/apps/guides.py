"""``midstream docs``: the guides that are installed with the package."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import typer

from midstream.apps.output import Output

__all__ = ["Guide", "all_guides", "catalogue", "show"]

#: In the order in which somebody may want to read them; what is not named here comes last.
_ORDER = (
    "first-stream",
    "rules",
    "tuning",
    "sources",
    "agent",
    "sequences",
    "scheduling",
    "dynamics",
    "logic",
    "learning",
    "quic",
    "embedding",
    "threads",
    "clusters",
    "operations",
    "limits",
    "architecture",
    "original",
    "changes",
)
_WIDEST = 100


class Guide(NamedTuple):
    """One guide.

    Attributes
    ----------
    topic : str
        What it is asked for by: the name of its file.
    title : str
        Its heading.
    summary : str
        Its first paragraph, on one line.
    path : Path
        Where it is installed.
    """

    topic: str
    title: str
    summary: str
    path: Path


def all_guides() -> list[Guide]:
    """All guides that are installed.

    Returns
    -------
    list of Guide
        In the order in which somebody may want to read them.

    Examples
    --------
    >>> all_guides()[0].topic
    'first-stream'
    """
    folder = Path(str(files("midstream").joinpath("docs")))
    place = {topic: number for number, topic in enumerate(_ORDER)}
    paths = sorted(folder.glob("*.md"), key=lambda path: (place.get(path.stem, len(place)), path))
    return [_guide(path) for path in paths]


def _guide(path: Path) -> Guide:
    title, first, *_ = path.read_text("utf-8").split("\n\n", 2)
    return Guide(path.stem, title.removeprefix("# "), " ".join(first.split()), path)


def catalogue(*, json_lines: bool = False, color: bool = True) -> int:
    """Tell of the guides: topic, and what it is about."""
    stdout = Output(sys.stdout, "standard output")
    bold, plain = ("\x1b[1m", "\x1b[0m") if color and stdout.tty else ("", "")
    guides = all_guides()
    width = max(len(guide.topic) for guide in guides)
    for guide in guides:
        if json_lines:
            row = {"type": "guide", **guide._asdict(), "path": str(guide.path)}
            stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            stdout.write(f"{bold}{guide.topic:{width}}{plain}  {guide.title}\n")
    return 0


def show(topic: str, *, width: int, color: bool = True) -> int:
    """Write a guide: set for reading in a terminal, as it stands in a pipe.

    Parameters
    ----------
    topic : str
    width : int
        Columns of the terminal.
    color : bool
        Whether a terminal may have colours.

    Returns
    -------
    int
        Exit status.
    """
    guides = {guide.topic: guide for guide in all_guides()}
    if topic not in guides:
        raise typer.BadParameter(f"TOPIC: {topic!r} is not one of: {', '.join(guides)}")
    text = guides[topic].path.read_text("utf-8")
    stdout = Output(sys.stdout, "standard output")
    if stdout.tty:
        text = _set(text, min(width, _WIDEST), color=color)
    stdout.write(text)
    return 0


def _set(text: str, width: int, *, color: bool) -> str:
    from rich.console import Console
    from rich.markdown import Markdown

    sheet = StringIO()
    console = Console(
        file=sheet, width=width, force_terminal=True, no_color=not color, legacy_windows=False
    )
    # Links between guides lead to files, which a terminal cannot open.
    console.print(Markdown(text, hyperlinks=False, code_theme="ansi_dark"))
    return sheet.getvalue()
