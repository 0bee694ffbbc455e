"""The commands of ``midstream recordings``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midstream.apps import options as opt

if TYPE_CHECKING:
    from midstream.apps.board import Board

__all__ = ["recordings"]

_EPILOG = """\
[bold]Exit status:[/] 0 done; 1 nothing was found, or a recording is not whole; 2 wrong usage; \
3 something cannot be read or written; 128 + n ended by signal n."""

recordings = typer.Typer(
    help="Keep, search, check and convert recordings.",
    no_args_is_help=True,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[
    Path,
    typer.Option(
        "--folder",
        envvar="MIDSTREAM_RECORDINGS",
        file_okay=False,
        help="Folder of recordings; its index is in it.",
    ),
]
Recording = Annotated[
    str,
    typer.Argument(
        metavar="RECORDING",
        help="Name of a recording in the folder, or the path of one anywhere: ./NAME for one here.",
        show_default=False,
    ),
]
Limit = Annotated[int, typer.Option(min=0, help="At most so many, 0 for all.")]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object a line, with what it is as its type.")
]
NoColor = opt.NoColor
_HERE = Path("recordings")


class Api(StrEnum):
    """What a recording can be written as."""

    CHAT = "chat"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"


class Severity(StrEnum):
    """How hard a finding is."""

    NOTE = "note"
    WARN = "warn"
    BLOCK = "block"
    STOP = "stop"


@recordings.command("list", epilog=_EPILOG)
def list_(
    folder: Folder = _HERE, limit: Limit = 50, json_lines: Json = False, no_color: NoColor = False
) -> None:
    """List the recordings, the newest first."""
    raise typer.Exit(_board(folder, json_lines, no_color).newest(limit=limit or None))


@recordings.command(epilog=_EPILOG)
def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Words that all occur in text, reasoning, tool calls, results or findings; "
            "word* for a beginning, '\"several words\"' for a phrase.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="With a finding of this kind.", show_default=False)
    ] = None,
    severity: Annotated[
        Severity | None,
        typer.Option(help="With a finding at least as hard.", show_default=False),
    ] = None,
    tool: Annotated[
        str | None, typer.Option(help="With a call of this tool.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of this model.", show_default=False)] = None,
    provider: Annotated[
        str | None, typer.Option(help="From this host or API.", show_default=False)
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(help="That ended so: ended, stopped, failed, closed.", show_default=False),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Begun at or after, ISO 8601.", show_default=False),
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begun before.", show_default=False)
    ] = None,
    longer: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, help="That lasted as long.", show_default=False),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Where the words weigh most first, not the newest.")
    ] = False,
    folder: Folder = _HERE,
    limit: Limit = 50,
    json_lines: Json = False,
    no_color: NoColor = False,
) -> None:
    """Find recordings of which everything holds that is asked for; 1 where there are none."""
    status = _board(folder, json_lines, no_color).search(
        words or (),
        kind=kind,
        severity=None if severity is None else severity.value,
        tool=tool,
        model=model,
        provider=provider,
        outcome=outcome,
        after=after,
        before=before,
        min_duration_s=longer,
        order="best" if best else "newest",
        limit=limit or None,
    )
    raise typer.Exit(status)


@recordings.command(epilog=_EPILOG)
def show(
    recording: Recording,
    text: Annotated[bool, typer.Option("--text", help="The text of the answer too.")] = False,
    folder: Folder = _HERE,
    json_lines: Json = False,
    no_color: NoColor = False,
) -> None:
    """Show what is in a recording; 1 if it is not whole."""
    raise typer.Exit(_board(folder, json_lines, no_color).show(recording, text=text))


@recordings.command("import", epilog=_EPILOG)
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings, or providers' streams: server-sent events, or a payload a line.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name in the folder.", show_default="the file's")
    ] = None,
    force: opt.Force = False,
    folder: Folder = _HERE,
    json_lines: Json = False,
    no_color: NoColor = False,
) -> None:
    """Copy recordings and providers' streams into the folder."""
    board = _board(folder, json_lines, no_color)
    raise typer.Exit(board.take(files, name=name, replace=force))


@recordings.command(epilog=_EPILOG)
def export(
    recording: Recording,
    api: Annotated[Api, typer.Option(help="Whose stream to write.")] = Api.CHAT,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            dir_okay=False,
            show_default="standard output",
            help="File to write.",
        ),
    ] = None,
    choice: Annotated[
        int | None, typer.Option(min=0, help="Only this choice.", show_default="all")
    ] = None,
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Keep the times, in comments.")
    ] = True,
    force: opt.Force = False,
    folder: Folder = _HERE,
    json_lines: Json = False,
    no_color: NoColor = False,
) -> None:
    """Write a recording as a body of server-sent events, as a provider sends it."""
    status = _board(folder, json_lines, no_color).give(
        recording, api=api.value, out=output, choice=choice, times=times, force=force
    )
    raise typer.Exit(status)


@recordings.command(epilog=_EPILOG)
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECORDING]...", help="Names or paths.", show_default="all in the folder"
        ),
    ] = None,
    folder: Folder = _HERE,
    json_lines: Json = False,
    no_color: NoColor = False,
) -> None:
    """Say of recordings whether they are whole, and as they were written.

    whole; lacking: events could not be written then; cut off: its recorder did not come to its
    end, or still records; damaged; unsealed: of a format without a footer; unreadable.
    """
    raise typer.Exit(_board(folder, json_lines, no_color).verify(names or ()))


@recordings.command(epilog=_EPILOG)
def index(
    force: Annotated[
        bool, typer.Option("--force", help="Read all again, not only what has changed.")
    ] = False,
    folder: Folder = _HERE,
    json_lines: Json = False,
    no_color: NoColor = False,
) -> None:
    """Bring the index up to date, and make it small."""
    raise typer.Exit(_board(folder, json_lines, no_color).index(force=force))


@recordings.command(epilog=_EPILOG)
def remove(
    names: Annotated[list[str], typer.Argument(help="Names in the folder.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    folder: Folder = _HERE,
    json_lines: Json = False,
    no_color: NoColor = False,
) -> None:
    """Remove recordings, their files too."""
    raise typer.Exit(_board(folder, json_lines, no_color).remove(names, yes=yes))


def _board(folder: Path, json_lines: bool, no_color: bool) -> Board:
    from midstream.apps.board import Board

    color = not no_color and not os.environ.get("NO_COLOR")
    return Board(folder, json_lines=json_lines, color=color)
