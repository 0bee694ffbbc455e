"""``midstream mcp``: the tools for one client over standard input and output, or many over HTTP."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from midstream._core.words import counted
from midstream.apps.dash import find_token
from midstream.apps.output import Output, one_line, tell_error
from midstream.apps.session import FAILED, NOTHING
from midstream.apps.telling import Telling, limits_of, run_loop, signals_to
from midstream.apps.tools_server.http import HttpToolServer
from midstream.apps.tools_server.limits import ToolLimits
from midstream.apps.tools_server.server import ToolServer
from midstream.apps.tools_server.stdio import Pipes, claimed, serve_stdio
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError

__all__ = ["serve"]

_LOGGERS = ("midstream", "mcp", "uvicorn", "py.warnings", "asyncio")


def serve(
    http: str | None = None,
    *,
    recordings: Path | None = None,
    reveal: bool = False,
    token_env: str | None = None,
    token_file: Path | None = None,
    origins: Collection[str] = (),
    hosts: Collection[str] = (),
    limits: Sequence[str] = (),
    drain_s: float = 5.0,
    linger_s: float = 0.0,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Serve until the client leaves, or a signal comes.

    SIGINT and SIGTERM take requests over HTTP for another `linger_s` seconds, while readiness says
    no, and let what is asked be answered, within `drain_s`; a second one ends at once.

    Parameters
    ----------
    http : str, optional
        ``HOST:PORT``, ``:PORT`` or ``PORT`` for HTTP; standard input and output without.
    recordings : Path, optional
        A folder.
    reveal : bool
        Show secrets in recordings.
    token_env : str, optional
        Name of an environment variable with what clients must show.
    token_file : Path, optional
        Its first line is that.
    origins, hosts : collection of str
        As for `HttpToolServer`.
    limits : sequence of str
        ``NAME=VALUE`` each, of `ToolLimits`.
    drain_s, linger_s : float
    json_lines, color : bool
        How to tell what happens, on standard error.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    typer.BadParameter
        An option cannot be used.
    """
    with (
        Telling(
            Output(sys.stderr, "standard error"), _line, json_lines=json_lines, color=color
        ) as told,
        _logging(told),
    ):

        def on_call(tool: str, session: str, took_s: float, outcome: str) -> None:
            if json_lines or outcome == "crashed":
                took_ms = round(took_s * 1000, 3)
                told.row("call", tool=tool, session=session, took_ms=took_ms, outcome=outcome)

        option = "--token-file" if token_env is None else "--token-env"
        try:
            token = find_token(token_env, token_file, needed=False)
            tools = ToolServer(
                recordings=recordings,
                limits=limits_of(ToolLimits, limits),
                reveal=reveal,
                token=token,
                on_call=on_call,
            )
            server = None
            if http is not None:
                host, port = _address(http)
                server = HttpToolServer(
                    tools,
                    host,
                    port,
                    token=token,
                    origins=origins,
                    hosts=hosts,
                    drain_s=drain_s,
                    linger_s=linger_s,
                )
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise typer.BadParameter(str(error).replace("token must", f"{option} must")) from None
        except MidstreamError as error:
            tell_error(error)
            return FAILED
        run = _Run(told)
        try:
            if server is not None:
                run_loop(run.over_http(server))
            else:
                with claimed() as (reader, writer):
                    run_loop(run.over_stdio(Pipes(tools, reader, writer, drain_s)))
        except OSError as error:
            place = "standard input and output" if http is None else http
            tell_error(f"{place}: {error.strerror or error}")
            return FAILED
        told.row("served", **tools.state())
    return 128 + run.signalled if run.signalled else NOTHING


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = ("", text) if text.isdecimal() else (text, "3000")
    try:
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise typer.BadParameter(f"--http must be HOST:PORT, got {text!r}")
    return host.strip("[]") or "127.0.0.1", number


class _Run:
    """One run of the server."""

    def __init__(self, told: Telling) -> None:
        self.signalled = 0
        self._told = told
        self._stop: Callable[[], object] = _nothing
        self._cut: Callable[[], object] = _nothing
        self._loop: asyncio.AbstractEventLoop | None = None

    async def over_http(self, server: HttpToolServer) -> None:
        """Serve until a signal."""

        async def tell() -> None:
            await server.started.wait()
            gc.collect()
            gc.freeze()
            self._told.row("serving", transport="http", url=server.url)

        telling = asyncio.ensure_future(tell())
        try:
            await self._until_signalled(server.serve(), server.stop, server.cut)
        finally:
            telling.cancel()

    async def over_stdio(self, pipes: Pipes) -> None:
        """Serve until the client leaves, or a signal."""
        self._told.row("serving", transport="stdio", url=None)
        await self._until_signalled(serve_stdio(pipes), pipes.end, pipes.cut)

    async def _until_signalled(
        self, serving: Awaitable[None], stop: Callable[[], object], cut: Callable[[], object]
    ) -> None:
        self._stop, self._cut = stop, cut
        with signals_to(self._take):
            await serving

    def _take(self, number: int) -> None:
        if self.signalled:
            self._cut()
        else:
            self.signalled = number
            self._told.row("draining")
            self._stop()


def _nothing() -> None:
    """Nothing is running."""


@contextmanager
def _logging(told: Telling) -> Iterator[None]:
    """What libraries log and warn of becomes rows."""
    handler = _Rows(told)
    logging.captureWarnings(True)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
        logging.captureWarnings(False)


class _Rows(logging.Handler):
    """Log records as rows."""

    def __init__(self, told: Telling) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a record; of an exception, what it was and where."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        cause = None
        if record.exc_info and record.exc_info[1] is not None:
            cause = logging.Formatter().formatException(record.exc_info)
        level = record.levelname.lower()
        self._told.row("log", level=level, logger=record.name, message=text, cause=cause)


def _line(row: dict[str, Any]) -> tuple[str, str]:
    """What a person reads of a row, and its style."""
    kind = row["type"]
    if kind == "serving":
        where = row["url"] or "standard input and output"
        return f"serving tools at {where}", "bold"
    if kind == "draining":
        return "ending", ""
    if kind == "call":
        return f"{row['tool']} {row['outcome']} after {row['took_ms']:g} ms", ""
    if kind == "log":
        cause = f"\n{row['cause']}" if row["cause"] else ""
        return f"{row['level']}: {one_line(row['message'])}{cause}", ""
    return f"{counted(row['calls'], 'call')} answered", ""
