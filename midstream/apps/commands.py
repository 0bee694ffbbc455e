"""Commands beside those of streams: asking the agent, simulating, measuring."""

from __future__ import annotations

from typing import Annotated

import typer

from midstream.apps import completing
from midstream.apps import options as opt
from midstream.apps.output import wants_color

__all__ = ["commands"]

_ASK_EPILOG = (
    "[bold]Exit status:[/] 0 nothing found; 1 a finding of severity warn or stop; 2 wrong usage; "
    "3 the input cannot be read; 128 + n ended by signal n."
)
_ASK = "Asking the agent"

commands = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

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


@commands.command(epilog=_ASK_EPILOG, rich_help_panel=_ASK)
def process(
    file: _Messages = "-", json_lines: _Answers = False, no_color: opt.NoColor = False
) -> None:
    """Take messages into a conversation, and tell of each at once whether it was said before."""
    from midstream.apps.asking import process as run

    raise typer.Exit(run(file, json_lines=json_lines, color=wants_color(no_color)))


@commands.command(epilog=_ASK_EPILOG, rich_help_panel=_ASK)
def analyze(
    file: _Messages = "-", json_lines: _Answers = False, no_color: opt.NoColor = False
) -> None:
    """Analyse a conversation: what is said again, nearly again, in circles; tools, lengths."""
    from midstream.apps.asking import analyze as run

    raise typer.Exit(run(file, json_lines=json_lines, color=wants_color(no_color)))


@commands.command(
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


@commands.command(
    epilog="[bold]Exit status:[/] 0 end of file, or /quit; 128 + n ended by signal n.",
    rich_help_panel=_ASK,
)
def interactive(json_lines: _Answers = False, no_color: opt.NoColor = False) -> None:
    """Talk with an agent, a line at a time: messages, and what /help lists."""
    from midstream.apps.asking import interactive as run

    raise typer.Exit(run(json_lines=json_lines, color=wants_color(no_color)))


@commands.command(
    epilog="[bold]Exit status:[/] 2 wrong usage; 3 an address that cannot be used; 128 + n ended "
    "by signal n. One stream alone: [bold]midstream watch sim:loop[/]."
)
def simulate(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="[SCENARIO]",
            autocompletion=completing.scenarios,
            help="For models whose name is none: story, reasoning, choices, loop, near_loop, "
            "agent, tool_loop.",
        ),
    ] = "story",
    host: opt.Host = "127.0.0.1",
    port: opt.HttpPort = 8792,
    seed: Annotated[int, typer.Option(help="Of the first answer; each has the next.")] = 0,
    tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Of an answer, at most.")] = 400,
    rate: Annotated[float, typer.Option(min=0.01, max=1e6, help="Tokens a second.")] = 60.0,
    speed: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=opt.MIN_SPEED,
            max=opt.MAX_SPEED,
            help="X times the simulated time.",
        ),
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=completing.faults,
            help="What goes wrong, with each answer: late, stall, error, cut, reset.",
            show_default=False,
        ),
    ] = None,
    json_lines: opt.ServeJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Serve simulated models as OpenAI's and Anthropic's APIs do: no key, no network, no cost.

    Ask for the model sim-loop to get a loop, for sim-agent to get tool calls, and so on.
    """
    from midstream.apps.simulate import serve as run

    status = run(
        scenario,
        host=host,
        port=port,
        seed=seed,
        tokens=tokens,
        speed=speed,
        tokens_per_s=rate,
        faults=fault or (),
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@commands.command(epilog="[bold]Exit status:[/] 0; 2 wrong usage.")
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            autocompletion=completing.kernels,
            help="dtw, guard, levenshtein, loops, monitor, queue, rk4; all by default.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.001, max=60.0, help="For each measurement.")
    ] = 0.5,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json",
            rich_help_panel=opt.OUTPUT,
            help='One JSON object a row: {"type": "bench", ...}.',
        ),
    ] = False,
    no_color: opt.NoColor = False,
) -> None:
    """Measure kernels on this machine, beside the same in plain Python; takes ten seconds."""
    from midstream.apps.bench import bench as run

    status = run(names or (), seconds=seconds, json_lines=json_lines, color=wants_color(no_color))
    raise typer.Exit(status)
