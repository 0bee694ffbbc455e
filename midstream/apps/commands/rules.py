"""The commands of ``midstream rules``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midstream.apps import options as opt
from midstream.apps.output import wants_color

__all__ = ["rules"]

rules = typer.Typer(
    help="Rules for streams: the ready ones, and what is wrong with a file.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@rules.command(
    "lint",
    epilog="[bold]Exit status:[/] 0 all can be used; 1 not; 2 wrong usage; 3 one cannot be read.",
)
def lint(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="TOML files.", show_default=False)
    ],
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            metavar="NAMES",
            help="All tools there are, with commas between: a rule that names another is wrong.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting that the files take.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="What may be a mistake counts as one.")
    ] = False,
    json_lines: Annotated[
        bool,
        typer.Option("--json", help='One JSON object a file: {"type": "lint", ...}.'),
    ] = False,
    no_color: opt.NoColor = False,
) -> None:
    """Say what is wrong with files of rules before any stream: what contradicts, what never acts.

    The proxy and --rules refuse the same files, and warn of the same.
    """
    from midstream.apps.rules import lint

    status = lint(
        files,
        tools=tools or (),
        settings=settings or (),
        strict=strict,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@rules.command("list")
def list_(
    json_lines: Annotated[
        bool, typer.Option("--json", help='One JSON object a rule: {"type": "rule", ...}.')
    ] = False,
    no_color: opt.NoColor = False,
) -> None:
    """List the ready rules, and which settings they take."""
    from midstream.apps.rules import catalogue

    raise typer.Exit(catalogue(json_lines=json_lines, color=wants_color(no_color)))


@rules.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Of a ready rule.", show_default=False)],
) -> None:
    """Write the TOML of a ready rule, to start your own from."""
    from midstream.apps.rules import show

    raise typer.Exit(show(name))
