"""Options of recordings: where to write them, what to keep, how to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DashRecordings",
    "Force",
    "MaxFiles",
    "MaxSize",
    "Record",
    "RecordFolder",
    "RecordTo",
    "Recover",
    "RedactSecrets",
    "Resume",
    "StepByStep",
    "Sync",
]

RecordFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        file_okay=False,
        show_default=False,
        help="Record every guarded stream into this folder, under an id made by the proxy; the "
        "oldest go where there are more than --limit max_recordings.",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", dir_okay=False, show_default=False, help="Record the stream meanwhile."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a recording that is there.")]
RecordTo = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        show_default=False,
        help="The recording to write; with the ending .gz it is packed.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a recording that was interrupted. A file is read again, and what the "
        "recording has already is compared and skipped; what comes from elsewhere is added.",
    ),
]
RedactSecrets = Annotated[
    bool,
    typer.Option(
        "--redact",
        help="Replace keys, passwords, e-mail addresses, card and account numbers before anything "
        "is written.",
    ),
]
MaxSize = Annotated[
    float | None,
    typer.Option(
        "--max-size",
        metavar="MB",
        min=0.01,
        show_default=False,
        help="Size of a file, unpacked; with --max-files the recording goes on in further ones.",
    ),
]
MaxFiles = Annotated[
    int,
    typer.Option(min=1, help="Files with --max-size; then the oldest is removed."),
]
Sync = Annotated[
    bool,
    typer.Option("--sync", help="Have the disk take everything within a second."),
]
StepByStep = Annotated[
    bool,
    typer.Option(
        "--step",
        help="Go through it by commands from standard input, a line each: n next event, f next "
        "finding, p previous finding, b back, g to a position, t to a time, x text so far, i data, "
        "q quit.",
    ),
]
Recover = Annotated[
    bool,
    typer.Option("--recover", help="Leave out what cannot be read, as after a crash."),
]
DashRecordings = Annotated[
    Path | None,
    typer.Option(
        "--recordings",
        metavar="FOLDER",
        file_okay=False,
        exists=True,
        show_default=False,
        help="Folder of recordings that can be played.",
    ),
]
