"""Commands to try things with: simulated models, and measurements."""

from __future__ import annotations

from typing import Annotated

import typer

from midstream.apps import completing
from midstream.apps import options as opt
from midstream.apps.commands.configured import Configured
from midstream.apps.output import wants_color

__all__ = ["trying"]

trying = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@trying.command(
    cls=Configured,
    epilog="[bold]Exit status:[/] 2 wrong usage; 3 an address that cannot be used; 128 + n ended "
    "by signal n. One stream alone: [bold]midstream watch sim:loop[/].",
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
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Set a limit, as max_streams=100; may be repeated. A wrong name lists them.",
            show_default=False,
        ),
    ] = None,
    drain: opt.DrainSoon = 1.0,
    json_lines: opt.SimulateJson = False,
    no_color: opt.NoColor = False,
    config: opt.Config = None,
    show_config: opt.ShowConfig = False,
) -> None:
    """Serve simulated models as OpenAI, Anthropic and Ollama do: no key, no network, no cost.

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
        limits=limit or (),
        drain_s=drain,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@trying.command(epilog="[bold]Exit status:[/] 0; 2 wrong usage.")
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
