"""Options of what is told, and how."""

from __future__ import annotations

from typing import Annotated

import typer

from midstream.apps.options.choices import OUTPUT

__all__ = [
    "AgentJson",
    "Attach",
    "CheckJson",
    "DashJson",
    "Events",
    "Json",
    "LoopJson",
    "NoColor",
    "OpenBrowser",
    "ProxyDash",
    "ProxyJson",
    "ServeJson",
    "SimulateJson",
    "Terminal",
    "Web",
]

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "finding", ...} when it is made, '
        '{"type": "report", ...} at the end.',
    ),
]
CheckJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help='One JSON object a line: with --every {"type": "verdict", ...} for each event, '
        '{"type": "report", ...} at the end.',
    ),
]
LoopJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help='One JSON object a line: {"type": "version", ...}, {"type": "trial", ...} and '
        '{"type": "drift", ...} for each, {"type": "ledger", ...} at the end.',
    ),
]
ServeJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "serving", ...} first, {"type": "stream", ...} when '
        'one ends, {"type": "draining", ...} and {"type": "served", ...} at the end.',
    ),
]
SimulateJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "serving", ...} first, {"type": "draining", ...} '
        'and {"type": "served", ...} at the end.',
    ),
]
ProxyJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "proxying", ...} when it listens, {"type": '
        '"finding", ...} when it is made, {"type": "rules", ...} and {"type": '
        '"certificate", ...} when they are read again, '
        '{"type": "draining", ...} and {"type": "served", ...} at the end.',
    ),
]
AgentJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "serving", ...} first, {"type": "source", ...} when '
        'one ends, {"type": "draining", ...} and {"type": "served", ...} at the end.',
    ),
]
DashJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "dash", "url": ...} first, {"type": "source", ...} '
        'when one ends, {"type": "shown", ...} at the end.',
    ),
]
Events = Annotated[
    bool,
    typer.Option(
        "--events",
        rich_help_panel=OUTPUT,
        help='With --json: {"type": "event", ...} for every event, too.',
    ),
]
NoColor = Annotated[
    bool,
    typer.Option(
        "--no-color",
        rich_help_panel=OUTPUT,
        help="No colours; NO_COLOR in the environment says the same.",
    ),
]
Web = Annotated[
    bool,
    typer.Option("--web", rich_help_panel=OUTPUT, help="Show it as a page for browsers."),
]
Terminal = Annotated[
    bool,
    typer.Option(
        "--terminal",
        rich_help_panel=OUTPUT,
        show_default="where standard output is a terminal",
        help="Show it in the terminal.",
    ),
]
Attach = Annotated[
    str | None,
    typer.Option(
        "--attach",
        metavar="URL",
        rich_help_panel=OUTPUT,
        show_default=False,
        help="Show in the terminal what the page at this address shows, which another "
        "[bold]midstream dash[/] told.",
    ),
]
OpenBrowser = Annotated[
    bool, typer.Option("--open", rich_help_panel=OUTPUT, help="Open the page in a browser.")
]
ProxyDash = Annotated[
    int | None,
    typer.Option(
        "--dash",
        metavar="PORT",
        min=0,
        max=65535,
        rich_help_panel=OUTPUT,
        show_default=False,
        help="Show the guarded streams on this machine at this port, 0 for a free one: midstream "
        "dash's page. It needs the extra ui.",
    ),
]
