"""``midstream serve``: the agent's WebSocket and SSE servers, and what sources do besides."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from midstream._core.words import counted
from midstream.apps.extras import needs_extra
from midstream.apps.inputs import Request, Trust, open_policies, open_sources
from midstream.apps.output import Output, one_line, tell_error
from midstream.apps.session import FAILED, NOTHING
from midstream.apps.telling import (
    Telling,
    follow_into,
    hosts_of,
    limits_of,
    run_loop,
    signals_to,
    url_host,
)
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError

if TYPE_CHECKING:
    from midstream.apps.feed import Feed
    from midstream.apps.serving import AgentServers, AgentService
    from midstream.stream import PolicySet, Source

__all__ = ["serve"]


def serve(
    sources: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    ws_port: int = 3001,
    sse_port: int = 3002,
    origins: Collection[str] = (),
    hosts: Collection[str] = (),
    token_env: str | None = None,
    token_file: Path | None = None,
    max_clients: int | None = None,
    limits: Sequence[str] = (),
    rules: list[str] | None = None,
    request: Request | None = None,
    trust: Trust | None = None,
    speed: float | None = None,
    drain_s: float = 5.0,
    linger_s: float = 0.0,
    certificate: Path | None = None,
    key: Path | None = None,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Serve the agent until a signal comes.

    SIGINT and SIGTERM take clients for another `linger_s` seconds, while readiness says no, and
    then let them leave within `drain_s`; a second signal cuts them.

    Parameters
    ----------
    sources : sequence of str
        Recordings and URLs that are watched, and shown in the feed.
    host : str
    ws_port, sse_port : int
        Where to listen; 0 for a free port.
    origins : collection of str
        Origins of web pages that may ask, beside those of this machine.
    hosts : collection of str
        Names under which it may be asked, beside those of this machine.
    token_env : str, optional
        Name of an environment variable with what clients must show.
    token_file : Path, optional
        Its first line is that.
    max_clients : int, optional
    limits : sequence of str
        ``NAME=VALUE`` each, of `ServingLimits`.
    rules : list of str, optional
        For the sources: TOML files and names of ready rules.
    request, trust : optional
        How to open sources that are URLs.
    speed : float, optional
        Of recordings.
    drain_s, linger_s : float
    certificate, key : Path, optional
        For TLS, in PEM.
    json_lines : bool, default False
        What happens as JSON lines.
    color : bool, default True
        Colours, where there is a terminal.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    typer.BadParameter
        An option cannot be used.
    ImportError
        The extra ``serve`` is not installed.
    """
    from midstream.apps.dash import find_token
    from midstream.apps.serving.access import is_loopback

    with needs_extra("serve"):
        from midstream.apps.serving import AgentServers, AgentService, ServingLimits
    token = find_token(token_env, token_file, needed=False)
    if token is None and not is_loopback(host):
        raise typer.BadParameter(
            f"--host {host}: others could connect, so clients need a token: --token-file or "
            "--token-env"
        )
    if key is not None and certificate is None:
        raise typer.BadParameter("--key goes only with --certificate")
    with ExitStack() as stack:
        opened = open_sources(sources, request or Request(), trust or Trust(), speed, stack)
        policies = open_policies(rules)
        tls = None
        if certificate is not None:
            tls = (str(certificate), str(certificate if key is None else key))
        try:
            chosen = limits_of(ServingLimits, limits, max_clients=max_clients)
            service = AgentService(
                limits=chosen,
                origins=tuple(origins),
                hosts=hosts_of(host, hosts),
                token=token,
            )
            servers = AgentServers(
                service,
                host,
                ws_port=ws_port,
                sse_port=sse_port,
                drain_s=drain_s,
                linger_s=linger_s,
                tls=tls,
            )
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise typer.BadParameter(str(error)) from None
        except OSError as error:  # of the certificate
            raise typer.BadParameter(f"--certificate: {error}") from None
        stdout = Output(sys.stdout, "standard output")
        with Telling(stdout, _line, json_lines=json_lines, color=color) as told:
            run = _Run(service, servers, told, opened, policies, "s" if tls else "")
            try:
                run_loop(run.main())
            except OSError as error:
                tell_error(f"{host}, port {ws_port} or {sse_port}: {error.strerror or error}")
                return FAILED
            except MidstreamError as error:
                tell_error(error)
                return FAILED
            told.row("served", **service.state())
    return 128 + run.signalled if run.signalled else NOTHING


class _Run:
    """One run of the servers."""

    def __init__(
        self,
        service: AgentService,
        servers: AgentServers,
        told: Telling,
        sources: Sequence[tuple[str, Source]],
        policies: PolicySet | tuple[()],
        secure: str,
    ) -> None:
        self.signalled = 0
        self._service = service
        self._servers = servers
        self._told = told
        self._sources = sources
        self._policies = policies
        self._secure = secure

    async def main(self) -> None:
        """Serve until a signal."""
        loop = asyncio.get_running_loop()
        helpers = [loop.create_task(self._tell_start())]
        if self._sources:
            from midstream.apps.feed import Feed

            self._service.feed = feed = Feed()
            helpers += [
                loop.create_task(self._follow(feed, name, source)) for name, source in self._sources
            ]
        try:
            with signals_to(self._take):
                await self._servers.serve()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            if self._service.feed is not None:
                self._service.feed.close()

    async def _tell_start(self) -> None:
        await self._servers.started.wait()
        # What is there now stays: no collection need look at it again, and hold clients up.
        gc.collect()
        gc.freeze()
        self._told.row(
            "serving",
            websocket=self._url("ws", self._servers.ws_address),
            sse=self._url("http", self._servers.sse_address),
            sources=[name for name, _ in self._sources],
        )

    def _url(self, scheme: str, address: tuple[str, int] | None) -> str:
        assert address is not None
        return f"{scheme}{self._secure}://{url_host(address[0])}:{address[1]}"

    async def _follow(self, feed: Feed, name: str, source: Source) -> None:
        """Show a source in the feed, once clients can see it."""
        await self._servers.started.wait()
        await follow_into(feed, name, source, self._policies, self._told)

    def _take(self, number: int) -> None:
        if self.signalled:
            self._servers.cut()
        else:
            self.signalled = number
            self._told.row("draining", clients=self._service.clients)
            self._servers.stop()


def _line(row: dict[str, Any]) -> tuple[str, str]:
    """What a person reads of a row, and its style."""
    kind = row["type"]
    if kind == "serving":
        return f"serving at {row['websocket']} and {row['sse']}", "bold"
    if kind == "source":
        cause = f": {one_line(row['error'])}" if row["error"] else ""
        return f"{one_line(row['source'])} {row['outcome']}{cause}", ""
    if kind == "draining":
        return f"ending; {counted(row['clients'], 'client')} connected", ""
    counts = row["counts"]
    return (
        f"{counted(counts.get('requests', 0), 'request')} answered or refused, "
        f"{counted(row['events'], 'event')} broadcast",
        "",
    )
