"""The command ``midstream docs``."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from midstream.apps import options as opt
from midstream.apps.output import wants_color

__all__ = ["guides"]

guides = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@guides.command(
    epilog="[bold]Exit status:[/] 0 shown; 2 there is no such guide; 128 + n ended by signal n."
)
def docs(
    topic: Annotated[
        str | None,
        typer.Argument(help="A guide, as listed without one.", show_default="all, listed"),
    ] = None,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json",
            rich_help_panel=opt.OUTPUT,
            help='The list, as one JSON object a guide: {"type": "guide", ...}.',
        ),
    ] = False,
    no_color: opt.NoColor = False,
) -> None:
    """Read the guides that came with the package: how to begin, to write rules, to operate it.

    In a pipe they are Markdown, as they are installed.
    """
    from midstream.apps.guides import catalogue, show

    if topic is None:
        raise typer.Exit(catalogue(json_lines=json_lines, color=wants_color(no_color)))
    if json_lines:
        raise typer.BadParameter("--json goes only with the list")
    width = shutil.get_terminal_size().columns
    raise typer.Exit(show(topic, width=width, color=wants_color(no_color)))
