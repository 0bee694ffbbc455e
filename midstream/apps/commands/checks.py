"""Commands that check: a trace, the ledger of a loop, this installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midstream.apps import options as opt
from midstream.apps.commands.ends import EPILOG
from midstream.apps.output import wants_color

__all__ = ["checks"]

checks = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@checks.command(
    epilog="[bold]Exit status:[/] 0 satisfied; 1 violated; 2 wrong usage; 3 the trace cannot be "
    "read, or the formula is too large to follow; 4 undecided, with --semantics ltl3; 128 + n "
    "ended by signal n."
)
def check(
    formula: Annotated[
        str, typer.Argument(help='A formula, such as "G(request -> F answer)".', show_default=False)
    ],
    trace: Annotated[
        str,
        typer.Argument(
            help="A file, or - for standard input: an event a line, as a JSON array of the atoms "
            "that are true, a JSON object of atoms and signals, or names with spaces between.",
            show_default=False,
        ),
    ],
    dialect: opt.DialectOption = opt.Dialect.SPOT,
    semantics: opt.SemanticsOption = opt.Semantics.LTLF,
    missing: opt.MissingOption = opt.Missing.FALSE,
    every: Annotated[
        bool, typer.Option("--every", help="Tell the verdict after every event.")
    ] = False,
    json_lines: opt.CheckJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Check a trace of events against a formula of temporal logic, and explain a violation.

    Reading ends at the event that decides.
    """
    from midstream.apps.check import check as follow

    status = follow(
        formula,
        trace,
        dialect=dialect.value,
        semantics=semantics.value,
        missing=missing.value,
        every=every,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@checks.command(
    epilog="[bold]Exit status:[/] 0 the ledger is whole, or was rolled back; 1 it is damaged, was "
    "altered, or does not contain the pinned head, or the question was answered with no; 2 wrong "
    "usage; 3 it cannot be read or written, or a loop has it open; 128 + n ended by signal n."
)
def loop(
    ledger: Annotated[
        str, typer.Argument(metavar="LEDGER", help="A loop's ledger.", show_default=False)
    ],
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify",
            metavar="HEAD",
            help="A head that was noted earlier, in hexadecimal: the ledger must still contain it. "
            "Records cut off at the end show in no other way.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the versions into this file: .png, .svg, .pdf. Needs matplotlib.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        opt.AxisChoice, typer.Option(help="Horizontal axis of the picture.")
    ] = opt.AxisChoice.RECORD,
    rollback: Annotated[
        int | None,
        typer.Option(
            metavar="VERSION",
            help="Put this version into force again, settings and state: asks first. The loop "
            "must not be running.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Of the rollback; is recorded.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    last: Annotated[
        int, typer.Option(min=0, help="Versions and closed trials to show, 0 for all.")
    ] = 20,
    key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable that holds the ledger's key, if it has one.",
            show_default=False,
        ),
    ] = None,
    json_lines: opt.LoopJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Show what a loop changed, on which evidence, and whether its ledger is whole.

    Every record is read and checked against the one before. A ledger may be shown while its loop
    runs.
    """
    from midstream.apps import loop as app_loop

    if rollback is None:
        for given, option in ((yes, "--yes"), (bool(reason), "--reason")):
            if given:
                raise typer.BadParameter(f"{option} goes only with --rollback")
        status = app_loop.show(
            ledger,
            head=verify,
            key_env=key_env,
            plot=plot,
            by=by.value,
            last=last,
            json_lines=json_lines,
            color=wants_color(no_color),
        )
    else:
        if plot is not None:
            raise typer.BadParameter("--plot does not go with --rollback")
        status = app_loop.rollback(
            ledger,
            rollback,
            reason=reason,
            yes=yes,
            head=verify,
            key_env=key_env,
            json_lines=json_lines,
            color=wants_color(no_color),
        )
    raise typer.Exit(status)


@checks.command(epilog=EPILOG)
def doctor(json_lines: opt.Json = False, no_color: opt.NoColor = False) -> None:
    """Say what this machine offers, and whether the installation is sound: 0 if so, 1 if not."""
    from midstream.apps.doctor import examine

    raise typer.Exit(examine(json_lines=json_lines, color=wants_color(no_color)))
