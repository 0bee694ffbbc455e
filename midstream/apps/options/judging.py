"""Options of what is looked for: detectors, rules, formulas."""

from __future__ import annotations

from typing import Annotated

import typer

from midstream.apps import completing
from midstream.apps.options.choices import DETECT, Action, Dialect, Missing, Semantics

__all__ = [
    "DialectOption",
    "FirstChunkWithin",
    "MaxPeriod",
    "MinCopies",
    "MissingOption",
    "Near",
    "OnLoop",
    "OnStall",
    "SemanticsOption",
    "StallAfter",
    "WatchRules",
]

OnLoop = Annotated[
    Action,
    typer.Option(
        help="What a certain loop leads to; one only suspected is one step milder.",
        rich_help_panel=DETECT,
    ),
]
OnStall = Annotated[
    Action,
    typer.Option(
        help="What a silence leads to that the stream's rhythm does not explain.",
        rich_help_panel=DETECT,
    ),
]
StallAfter = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        rich_help_panel=DETECT,
        help="No shorter silence is a stall.",
    ),
]
FirstChunkWithin = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        rich_help_panel=DETECT,
        help="Silence that is a stall before the stream has found its rhythm.",
    ),
]
MinCopies = Annotated[
    int,
    typer.Option(min=2, max=65536, help="Copies that make a loop.", rich_help_panel=DETECT),
]
MaxPeriod = Annotated[
    int,
    typer.Option(
        min=1, max=1 << 20, help="Longest exact period, in tokens.", rich_help_panel=DETECT
    ),
]
Near = Annotated[
    bool,
    typer.Option(
        "--near/--no-near",
        help="Look for repetition with small edits too.",
        rich_help_panel=DETECT,
    ),
]
WatchRules = Annotated[
    list[str] | None,
    typer.Option(
        "--rules",
        metavar="FILE|NAME",
        autocompletion=completing.ready_rules,
        help="TOML file of rules, or a ready rule (midstream rules list); may be given several "
        "times.",
        rich_help_panel=DETECT,
        show_default=False,
    ),
]
DialectOption = Annotated[Dialect, typer.Option(help="Whose grammar FORMULA is written in.")]
SemanticsOption = Annotated[
    Semantics,
    typer.Option(
        help="What may follow an event: a finite rest, or an infinite one with three or four "
        "verdicts."
    ),
]
MissingOption = Annotated[
    Missing,
    typer.Option(help="What an atom is, or a comparison, of which a JSON object says nothing."),
]
