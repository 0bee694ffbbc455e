"""The command ``midstream mcp``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from midstream.apps import options as opt
from midstream.apps.commands.configured import Configured
from midstream.apps.extras import needs_extra

__all__ = ["tools"]

tools = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@tools.command(
    cls=Configured,
    epilog="[bold]Exit status:[/] 0 the client left; 2 wrong usage; 3 the address or the folder "
    "cannot be used; 128 + n ended by signal n.",
)
def mcp(
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve many clients over HTTP, at http://HOST:PORT/mcp, and not one over standard "
            "input and output. Others than this machine need --token-file "
            "or --token-env.",
            show_default=False,
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            envvar="MIDSTREAM_RECORDINGS",
            file_okay=False,
            help="Folder of recordings to search and to show; its index is in it.",
            show_default=False,
        ),
    ] = None,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal", help="Show recordings with the secrets in them: keys, tokens, addresses."
        ),
    ] = False,
    token_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Environment variable with what clients over HTTP must show, in place of a file.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            show_default="none, where only this machine can connect",
            help="What clients over HTTP must show is its first line, as Authorization: Bearer.",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            show_default="pages of this machine",
            help="Web pages that may ask, as https://example.org; may be repeated.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default="this machine's, where only it can connect; else all",
            help="Name under which it may be asked; may be repeated.",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            show_default=False,
            help="Set a limit, as max_sessions=100; may be repeated. A wrong name lists them.",
        ),
    ] = None,
    drain: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long answers may take after SIGTERM, Ctrl-C, or the end of the input.",
        ),
    ] = 5.0,
    linger: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long requests over HTTP are taken after SIGTERM or Ctrl-C, while readiness "
            "says no: until a balancer has noticed.",
        ),
    ] = 0.0,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json",
            rich_help_panel=opt.OUTPUT,
            help='What happens, on standard error, as a JSON object a line: {"type": "serving"}, '
            '{"type": "call"}, {"type": "log"}, {"type": "draining"}, {"type": "served"}.',
        ),
    ] = False,
    no_color: opt.NoColor = False,
    config: opt.Config = None,
    show_config: opt.ShowConfig = False,
) -> None:
    """Serve midstream's tools to assistants, by the Model Context Protocol.

    Analyse conversations, compare sequences, find patterns, check traces and rules, search
    recordings. Standard output carries the protocol and nothing else.
    """
    with needs_extra("mcp"):
        from midstream.apps.tools_server.program import serve
    if http is None:
        for given, option in (
            (token_env, "--token-env"),
            (token_file, "--token-file"),
            (origin, "--origin"),
            (allow_host, "--allow-host"),
        ):
            if given:
                raise typer.BadParameter(f"{option} goes only with --http")
    status = serve(
        http,
        recordings=recordings,
        reveal=reveal,
        token_env=token_env,
        token_file=token_file,
        origins=origin or (),
        hosts=allow_host or (),
        limits=limit or (),
        drain_s=drain,
        linger_s=linger,
        json_lines=json_lines,
        color=not no_color and not os.environ.get("NO_COLOR"),
    )
    raise typer.Exit(status)
