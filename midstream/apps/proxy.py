"""``midstream proxy``: guards a language model's answers on their way to any client."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from midstream._core.words import counted
from midstream.apps.extras import needs_extra
from midstream.apps.inputs import make_detectors, reading_rules
from midstream.apps.options import Action
from midstream.apps.output import Output, one_line, tell_error
from midstream.apps.session import FAILED, NOTHING
from midstream.apps.telling import Telling, hosts_of, limits_of, run_loop, signals_to, url_host
from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
)

if TYPE_CHECKING:
    from midstream.apps.feed import FeedObserver
    from midstream.stream import Detector, Finding, Guard
    from midstream.stream.guard import StreamObserver
    from midstream.stream.policies import PoliciesLike, PolicyFile
    from midstream.stream.proxy import Proxy, ProxyServer
    from midstream.stream.telemetry import Telemetry

__all__ = ["serve"]


def serve(
    upstream: str,
    *,
    rules: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 0,
    ending: str = "filtered",
    on_loop: Action = Action.STOP,
    on_stall: Action = Action.WARN,
    recordings: Path | None = None,
    redact: bool = True,
    limits: Sequence[str] = (),
    hosts: Collection[str] = (),
    allow_unread: bool = False,
    hold_text: int = 0,
    dash_port: int | None = None,
    otel: bool = False,
    drain_s: float = 30.0,
    linger_s: float = 0.0,
    certificate: Path | None = None,
    key: Path | None = None,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Serve the proxy until a signal comes.

    SIGINT and SIGTERM take requests for another `linger_s` seconds, while readiness says no, and
    then let streams in flight go on for `drain_s`; a second signal ends them at once. SIGHUP has
    the rules read again, and the certificate.

    Parameters
    ----------
    upstream : str
        URL of the server.
    rules : sequence of str
        TOML files of rules, read again when they change, and names of ready rules.
    host, port
        Where to listen.
    ending : str
        How stopped streams end for their clients.
    on_loop, on_stall : Action
        What loops and silences lead to.
    recordings : Path, optional
        Folder for recordings.
    redact : bool, default True
        Replace secrets in recordings.
    limits : sequence of str
        ``NAME=VALUE`` each, of `ProxyLimits`.
    hosts : collection of str
        Further names under which it may be asked, where it listens on this machine only.
    allow_unread : bool, default False
        Let answers that cannot be read pass although a rule may deny or stop.
    hold_text : int, default 0
        Characters of a text that may be held back, see `Proxy`.
    dash_port : int, optional
        Port of a dashboard of the guarded streams, for this machine alone.
    otel : bool, default False
        Export spans and metrics of the guarded streams.
    drain_s, linger_s : float
    certificate, key : Path, optional
        For HTTPS, in PEM.
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
        The extra ``proxy`` is not installed.
    """
    from midstream.stream.policies import PolicyFile, for_many_streams

    with needs_extra("proxy"):
        from midstream.stream.proxy import Proxy, ProxyLimits, ProxyServer

    stdout = Output(sys.stdout, "standard output")
    told = _Told(stdout, _line, json_lines=json_lines, color=color)
    files: list[PolicyFile] = []

    def changed(version: int) -> None:
        proxy.metrics.reloads["read",] += 1
        told.row("rules", version=version)

    def broken(problem: str) -> None:
        proxy.metrics.reloads["broken",] += 1
        told.row("rules_broken", problem=problem)

    def policies(name: str) -> PolicyFile | str:
        if not Path(name).is_file():
            return name
        files.append(PolicyFile(name, on_problem=broken, on_change=changed))
        return files[-1]

    with reading_rules():
        chosen = for_many_streams([policies(name) for name in rules]) if rules else ()
    # What is wrong with a file is told in a row of its own.
    logging.getLogger("midstream.stream.policies").addHandler(logging.NullHandler())

    dash = None if dash_port is None else _Dash(dash_port, recordings)
    stack = contextlib.ExitStack()
    telemetry = None
    if otel:
        from midstream.apps.otel import exporting

        telemetry = stack.enter_context(exporting("midstream-proxy"))
    try:
        proxy = Proxy(
            upstream,
            policies=chosen,
            make_detectors=lambda: _detectors(on_loop, on_stall),
            ending=cast("Any", ending),
            limits=limits_of(ProxyLimits, limits),
            recordings=recordings,
            redact=redact,
            hosts=hosts_of(host, hosts),
            on_finding=told.finding,
            allow_unread=allow_unread,
            hold_text=hold_text,
            observe=_observe(dash, telemetry, upstream),
        )
        tls = None
        if certificate is None and key is not None:
            raise typer.BadParameter("--key goes only with --certificate")
        if certificate is not None:
            tls = (str(certificate), str(certificate if key is None else key))
        wrap = None if telemetry is None else telemetry.asgi
        server = ProxyServer(
            proxy, host, port, drain_s=drain_s, linger_s=linger_s, tls=tls, wrap=wrap
        )
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:  # of the certificate
        raise typer.BadParameter(f"--certificate: {error}") from None
    if dash is not None:
        dash.rules = lambda: proxy.policies
    run = _Run(proxy, server, told, files, "http" if tls is None else "https", dash)
    with stack, told:
        try:
            run_loop(run.main())
        except OSError as error:
            tell_error(f"{host}:{port}: {error.strerror or error}")
            return FAILED
        except MidstreamError as error:
            tell_error(error)
            return FAILED
        told.row("served", requests=sum(proxy.metrics.requests.values()))
    return 128 + run.signalled if run.signalled else NOTHING


#: Whose API it is that clients of the proxy speak.
_PROVIDERS = {"chat": "openai", "responses": "openai", "realtime": "openai"}


def _observe(
    dash: _Dash | None, telemetry: Telemetry | None, upstream: str
) -> Callable[[str, str, Guard], StreamObserver] | None:
    """What has the dashboard, and the telemetry, told of each stream."""
    if telemetry is None:
        return None if dash is None else dash.observe

    def observe(request_id: str, api: str, guard: Guard) -> StreamObserver:
        span = telemetry.start(
            provider=_PROVIDERS.get(api, api),
            model=lambda: guard.model,
            server=upstream,
            attributes={"midstream.request.id": request_id},
        )
        if dash is not None:
            guard.attach(dash.observe(request_id, api, guard))
        return span

    return observe


def _detectors(on_loop: Action, on_stall: Action) -> list[Detector]:
    """Detectors of one stream."""
    return make_detectors(
        on_loop,
        on_stall,
        min_copies=3,
        max_period=4096,
        near=True,
        stall_after=2.0,
        first_chunk_within=30.0,
    )


class _Run:
    """One run of the server."""

    def __init__(
        self,
        proxy: Proxy,
        server: ProxyServer,
        told: _Told,
        rules: Sequence[PolicyFile],
        scheme: str,
        dash: _Dash | None,
    ) -> None:
        self.signalled = 0
        self._proxy = proxy
        self._server = server
        self._told = told
        self._rules = rules
        self._scheme = scheme
        self._dash = dash

    async def main(self) -> None:
        """Serve until a signal."""
        telling = asyncio.get_running_loop().create_task(self._tell_start())
        try:
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(signals_to(self._take, "SIGHUP"))
                if self._dash is not None:
                    url = await stack.enter_async_context(self._dash.running())
                    self._told.row("dash", url=url)
                await self._server.serve()
        finally:
            telling.cancel()

    async def _tell_start(self) -> None:
        await self._server.started.wait()
        # What is there now stays: no collection need look at it again, and hold streams up.
        gc.collect()
        gc.freeze()
        host, port = self._server.address
        shown = url_host(host)
        self._told.row(
            "proxying", url=f"{self._scheme}://{shown}:{port}", upstream=self._proxy.upstream
        )

    def _take(self, number: int) -> None:
        if number == getattr(signal, "SIGHUP", None):
            self._reload()
        elif self.signalled:
            self._server.cut()
        else:
            self.signalled = number
            self._told.row("draining", streams=self._proxy.metrics.streams_active)
            self._server.stop()

    def _reload(self) -> None:
        for rules in self._rules:
            rules.reload(force=True)
        if self._scheme == "https":
            try:
                self._server.renew()
            except (ArgumentValueError, OSError) as error:
                self._told.row("certificate_broken", problem=str(error))
            else:
                self._told.row("certificate")


class _Dash:
    """The dashboard beside the proxy."""

    def __init__(self, port: int, recordings: Path | None) -> None:
        from midstream.apps.feed import Feed
        from midstream.apps.web import Dashboard

        self._feed = Feed()
        # What it can play are the proxy's own recordings.
        self._page = Dashboard(self._feed, port=port, recordings=recordings)
        self.rules: Callable[[], PoliciesLike] = tuple

    def observe(self, request_id: str, api: str, guard: Guard) -> FeedObserver:
        """Show the stream of a guard."""
        from midstream.apps.feed import FeedObserver
        from midstream.stream.policies import as_policies

        rules = self.rules()
        names = () if rules == () else [policy.name for policy in as_policies(rules)]
        return FeedObserver(self._feed, request_id, guard, labels={"api": api}, policies=names)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve the page; its address."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                page = await stack.enter_async_context(self._page)
            except OSError as error:  # the proxy's own address is not to blame
                raise ArgumentValueError(f"--dash: {error.strerror or error}") from None
            try:
                yield page.url
            finally:
                self._feed.close()


class _Told(Telling):
    """What the proxy says of itself.

    Neither keys nor texts of streams are in it: of a finding, which rule, how severe and where.
    """

    def finding(self, request: str, finding: Finding) -> None:
        """Tell of a finding."""
        self.row(
            "finding",
            id=request,
            kind=finding.kind,
            severity=finding.severity,
            rule=finding.evidence.get("rule"),
            start=finding.start,
            end=finding.end,
        )


def _line(row: dict[str, Any]) -> tuple[str, str]:
    """What a person reads of a row, and its style."""
    kind = row["type"]
    if kind == "proxying":
        return f"guarding {row['upstream']} at {row['url']}", "bold"
    if kind == "dash":
        return f"showing at {row['url']}", ""
    if kind == "finding":
        what = row["rule"] or row["kind"]
        style = "bold red" if row["severity"] in ("stop", "block") else "yellow"
        return f"{row['severity']}: {one_line(str(what))} in {row['id']}", style
    if kind == "rules":
        return f"rules read again: version {row['version']}", ""
    if kind == "certificate":
        return "the certificate was read again", ""
    if kind == "certificate_broken":
        return f"the old certificate stays: {one_line(row['problem'])}", "bold red"
    if kind == "rules_broken":
        return f"the old rules stay: {one_line(row['problem'])}", "bold red"
    if kind == "draining":
        return f"ending; {counted(row['streams'], 'request')} in flight", ""
    return f"{counted(row['requests'], 'request')} served", ""
