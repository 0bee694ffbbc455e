"""The command line: ``midstream demo | watch | record | replay | recordings | publish | ...``.

Exit status
    0
        Nothing was found.
    1
        Something was found of severity ``warn`` or ``stop``.
    2
        The command line cannot be used.
    3
        The source failed (no connection, an error status, a malformed or truncated stream), or the
        stream carried an error of its own, or an output could not be written. A stop outdoes
        this: then it is 1.
    4
        `check` with three-valued semantics: neither true nor false yet.
    128 + n
        Signal n ended it: 130 after Ctrl-C, 143 after SIGTERM, 141 when nobody reads standard
        output any more.

Where the output goes, and what ``--json`` prints, is said in `midstream.apps.show`.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from midstream import __version__
from midstream.apps.commands.asking import asking
from midstream.apps.commands.checks import checks
from midstream.apps.commands.ends import EPILOG
from midstream.apps.commands.guides import guides
from midstream.apps.commands.recordings import recordings
from midstream.apps.commands.rules import rules
from midstream.apps.commands.servers import servers
from midstream.apps.commands.streams import streams
from midstream.apps.commands.tools import tools
from midstream.apps.commands.trying import trying
from midstream.apps.output import Interrupted, OutputClosed, escape, tell_error
from midstream.errors import MidstreamError

__all__ = ["app", "main"]

_FAILED = 3
_BROKEN_PIPE = 128 + 13


class _Commands(TyperGroup):
    """The commands, whose complaints may quote files of others: no terminal is to obey those."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = escape(error.message)
            raise


app = typer.Typer(
    name="midstream",
    cls=_Commands,
    help="Watch streams from language models while they are in flight: find loops, stop them, "
    "say what happened.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _group in (streams, servers, checks):
    app.add_typer(_group)
app.add_typer(recordings, name="recordings")
for _group in (asking, trying, tools, guides):
    app.add_typer(_group)
app.add_typer(rules, name="rules")


def main() -> None:
    """Run the command line; the entry point of ``midstream``."""
    try:
        app()
    except OutputClosed:
        raise SystemExit(_BROKEN_PIPE) from None
    except SystemExit as ended:
        # Help that nobody reads: rich makes it 1, which says here that something was found.
        if isinstance(ended.__context__, BrokenPipeError):
            raise SystemExit(_BROKEN_PIPE) from None
        raise
    except Interrupted as signalled:
        raise SystemExit(128 + signalled.number) from None
    except MidstreamError as error:
        tell_error(error)
        raise SystemExit(_FAILED) from None
    except ImportError as error:
        tell_error(f"{error}; `midstream doctor` says whether the installation is sound")
        raise SystemExit(_FAILED) from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"midstream {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _join_lines(group: typer.Typer) -> None:
    """Let help break lines where a terminal ends, and not where these sources do."""
    for command in group.registered_commands:
        text = command.help or inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _join_lines(inner.typer_instance)


_join_lines(app)


if __name__ == "__main__":
    main()
