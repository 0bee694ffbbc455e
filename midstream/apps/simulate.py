"""``midstream simulate``: a server whose models are simulated, for demonstrations and loads."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from midstream._core.words import counted
from midstream.apps.output import Output, tell_error
from midstream.apps.session import FAILED, NOTHING
from midstream.apps.telling import Telling, run_loop, signals_to, url_host
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
    json_lines: bool,
    color: bool,
) -> int:
    """Serve simulated streams as OpenAI's and Anthropic's APIs do, until a signal comes.

    Parameters
    ----------
    scenario, seed, tokens, speed, faults
        As for `midstream.stream.simulating.SimulatedEndpoint`.
    host, port
        Where; port 0 takes a free one.
    tokens_per_s : float
        Of its `Timing`.
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
    try:
        import httptools  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ImportError(
            f'{error}; the server comes with `pip install "midstream[proxy]"`'
        ) from error
    from midstream.stream.listening import QuietServer, listening

    told = Telling(Output(sys.stdout, "standard output"), _line, json_lines=json_lines, color=color)
    signalled: list[int] = []

    async def run() -> None:
        config = uvicorn.Config(
            application, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = QuietServer(config)

        def take(number: int) -> None:
            signalled.append(number)
            server.should_exit = True

        with signals_to(take), _broken_off_quietly(), listening(host, port) as listener:
            serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
            await server.listening.wait()
            bound = listener.getsockname()[1]
            told.row("serving", url=f"http://{url_host(host)}:{bound}/v1")
            await serving

    with told:
        try:
            run_loop(run())
        except OSError as error:
            tell_error(f"{host}:{port}: {error.strerror or error}")
            return FAILED
        told.row("served", answered=application.answered, broken_off=application.broken_off)
    return 128 + signalled[0] if signalled else NOTHING


@contextmanager
def _broken_off_quietly() -> Iterator[None]:
    """Answers that are broken off on purpose are no errors of the server, which logs them so."""

    def keep(record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()

    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _line(row: dict[str, Any]) -> tuple[str, str]:
    if row["type"] == "serving":
        return f"simulated models at {row['url']}", "bold"
    answered = counted(row["answered"], "stream")
    return f"{answered} to the end, {row['broken_off']:,} that a client left before", ""
