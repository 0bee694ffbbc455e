"""Commands that ask the agent about conversations and sequences."""

from __future__ import annotations

from typing import Annotated

import typer

from midstream.apps import completing
from midstream.apps import options as opt
from midstream.apps.output import wants_color

__all__ = ["asking"]

_ASK_EPILOG = (
    "[bold]Exit status:[/] 0 nothing found; 1 a finding of severity warn or stop; 2 wrong usage; "
    "3 the input cannot be read; 128 + n ended by signal n."
)
_ASK = "Asking the agent"

asking = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

_Messages = Annotated[
    str,
    typer.Argument(
        metavar="[FILE]",
        help="A message a line, as text or as a JSON object with role and content; or one JSON "
        "array of these, or an object with messages. [bold]-[/] for standard input.",
    ),
]
_Answers = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=opt.OUTPUT,
        help='One JSON object an answer: {"type": ..., ...}.',
    ),
]


@asking.command(epilog=_ASK_EPILOG, rich_help_panel=_ASK)
def process(
    file: _Messages = "-", json_lines: _Answers = False, no_color: opt.NoColor = False
) -> None:
    """Take messages into a conversation, and tell of each at once whether it was said before."""
    from midstream.apps.asking import process as run

    raise typer.Exit(run(file, json_lines=json_lines, color=wants_color(no_color)))


@asking.command(epilog=_ASK_EPILOG, rich_help_panel=_ASK)
def analyze(
    file: _Messages = "-", json_lines: _Answers = False, no_color: opt.NoColor = False
) -> None:
    """Analyse a conversation: what is said again, nearly again, in circles; tools, lengths."""
    from midstream.apps.asking import analyze as run

    raise typer.Exit(run(file, json_lines=json_lines, color=wants_color(no_color)))


@asking.command(
    epilog="[bold]Exit status:[/] 0; 2 what cannot be compared; 3 a file cannot be read.",
    rich_help_panel=_ASK,
)
def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="FIRST", help="A text, a JSON array, or @FILE with either.", show_default=False
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Likewise.", show_default=False)],
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            "-m",
            autocompletion=completing.metrics,
            help="dtw, lcs, levenshtein, correlation, or any of its family.",
        ),
    ] = "dtw",
    unit: Annotated[
        str, typer.Option(autocompletion=completing.units, help="Of texts: words or characters.")
    ] = "words",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the measure, such as window=10.",
            show_default=False,
        ),
    ] = None,
    json_lines: _Answers = False,
    no_color: opt.NoColor = False,
) -> None:
    """Compare two sequences: numbers, points, or the words or characters of texts."""
    from midstream.apps.asking import compare as run

    status = run(
        first,
        second,
        metric=metric,
        unit=unit,
        params=settings or (),
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@asking.command(
    epilog="[bold]Exit status:[/] 0 end of file, or /quit; 128 + n ended by signal n.",
    rich_help_panel=_ASK,
)
def interactive(json_lines: _Answers = False, no_color: opt.NoColor = False) -> None:
    """Talk with an agent, a line at a time: messages, and what /help lists."""
    from midstream.apps.asking import interactive as run

    raise typer.Exit(run(json_lines=json_lines, color=wants_color(no_color)))
