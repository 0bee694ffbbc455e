"""``midstream simulate``: a server whose models are simulated, for demonstrations and loads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import typer

from midstream._core.words import counted
from midstream.apps.extras import needs_extra
from midstream.apps.output import Output, tell_error
from midstream.apps.session import FAILED, NOTHING
from midstream.apps.telling import Telling, limits_of, run_loop, signals_to, url_host
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.simulating import SimulatedEndpoint, Timing

__all__ = ["serve"]


def serve(
    scenario: str,
    *,
    host: str,
    port: int,
    seed: int,
    tokens: int,
    speed: float,
    tokens_per_s: float,
    faults: Sequence[str],
    limits: Sequence[str] = (),
    drain_s: float = 1.0,
    json_lines: bool,
    color: bool,
) -> int:
    """Serve simulated streams as OpenAI, Anthropic and Ollama do, until a signal comes.

    SIGINT and SIGTERM let streams go on for `drain_s` seconds; a second signal cuts them.

    Parameters
    ----------
    scenario, seed, tokens, speed, faults
        As for `midstream.stream.simulating.SimulatedEndpoint`.
    host, port
        Where; port 0 takes a free one.
    tokens_per_s : float
        Of its `Timing`.
    limits : sequence of str
        ``NAME=VALUE`` each, of `SimulationLimits`.
    drain_s : float, default 1
    json_lines, color : bool
        How to tell.

    Returns
    -------
    int
        3 if the address cannot be used, else 128 and the signal.

    Raises
    ------
    typer.BadParameter
        An option cannot be used.
    ImportError
        The extra ``proxy`` is not installed.
    """
    try:
        application = SimulatedEndpoint(
            scenario,
            seed=seed,
            tokens=tokens,
            speed=speed,
            timing=Timing(tokens_per_s=tokens_per_s),
            faults=faults,
        )
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise typer.BadParameter(str(error)) from None
    with needs_extra("proxy"):
        from midstream.apps.simulated import SimulatedServer, SimulationLimits
    try:
        server = SimulatedServer(
            application, host, port, limits=limits_of(SimulationLimits, limits), drain_s=drain_s
        )
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise typer.BadParameter(str(error)) from None
    told = Telling(Output(sys.stdout, "standard output"), _line, json_lines=json_lines, color=color)
    signalled: list[int] = []

    def take(number: int) -> None:
        if signalled:
            server.cut()
            return
        signalled.append(number)
        told.row("draining", streams=server.active)
        server.stop()

    async def run() -> None:
        with signals_to(take):
            serving = asyncio.get_running_loop().create_task(server.serve())
            started = asyncio.get_running_loop().create_task(server.started.wait())
            await asyncio.wait((serving, started), return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if not serving.done():
                told.row("serving", url=f"http://{url_host(host)}:{server.address[1]}/v1")
            await serving

    with told:
        try:
            run_loop(run())
        except OSError as error:
            tell_error(f"{host}:{port}: {error.strerror or error}")
            return FAILED
        told.row("served", answered=application.answered, broken_off=application.broken_off)
    return 128 + signalled[0] if signalled else NOTHING


def _line(row: dict[str, Any]) -> tuple[str, str]:
    if row["type"] == "serving":
        return f"simulated models at {row['url']}", "bold"
    if row["type"] == "draining":
        return f"ending; {counted(row['streams'], 'request')} in flight", ""
    answered = counted(row["answered"], "stream")
    return f"{answered} to the end, {row['broken_off']:,} that a client left before", ""
