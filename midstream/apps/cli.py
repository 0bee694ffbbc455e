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
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from midstream import __version__
from midstream.apps import inputs
from midstream.apps import options as opt
from midstream.apps.commands import commands
from midstream.apps.output import (
    Interrupted,
    OutputClosed,
    tell_error,
    telling_warnings,
    wants_color,
)
from midstream.apps.recordings import recordings
from midstream.apps.tools import tools
from midstream.errors import MidstreamError

if TYPE_CHECKING:
    from midstream.stream import Detector
    from midstream.stream.policies import PoliciesLike

__all__ = ["app", "main"]

_FAILED = 3
_BROKEN_PIPE = 128 + 13

_EPILOG = """\
[bold]Exit status:[/] 0 nothing found; 1 a finding of severity warn or stop; 2 wrong usage; \
3 the source failed, a recording has no end, or the stream carried an error (unless a finding had \
stopped it: 1); \
128 + n ended by signal n.

[bold]Output:[/] with a terminal, everything on standard output. In a pipe, the text of the answer \
goes to standard output untouched (of several choices, the first), findings and report to standard \
error."""

app = typer.Typer(
    name="midstream",
    help="Watch streams from language models while they are in flight: find loops, stop them, "
    "say what happened.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(recordings, name="recordings")
app.add_typer(commands)
app.add_typer(tools)


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


@app.command(
    epilog="[bold]Exit status:[/] 0 what is wrong was found, and nothing else; 1 it was not; 2 "
    "wrong usage; 3 an extra or a recording is missing; 128 + n ended by signal n."
)
def demo(
    what: Annotated[
        opt.DemoChoice,
        typer.Argument(
            help="text: a model's recorded streams, of which one loops; audio, video: a "
            "microphone or camera that fails; realtime: a voice assistant over a WebSocket, of "
            "which a rule denies a call; quic: the texts, over QUIC on this machine."
        ),
    ] = opt.DemoChoice.TEXT,
    speed: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=opt.MIN_SPEED,
            max=opt.MAX_SPEED,
            help="X times the pace that is made for watching.",
        ),
    ] = 1.0,
    json_lines: opt.Json = False,
    no_color: opt.NoColor = False,
) -> None:
    """See a model fall into a loop, and midstream stop it. Takes five seconds, needs no network."""
    from midstream.apps.demo import play

    raise typer.Exit(play(what.value, speed, json_lines=json_lines, color=wants_color(no_color)))


@app.command(epilog=_EPILOG)
def watch(
    source: opt.SourceArgument,
    on_loop: opt.OnLoop = opt.Action.STOP,
    on_stall: opt.OnStall = opt.Action.WARN,
    min_copies: opt.MinCopies = 3,
    max_period: opt.MaxPeriod = 4096,
    near: opt.Near = True,
    stall_after: opt.StallAfter = 2.0,
    first_chunk_within: opt.FirstChunkWithin = 30.0,
    rules: opt.WatchRules = None,
    prompt: opt.Prompt = None,
    messages: opt.Messages = None,
    model: opt.Model = None,
    header: opt.Header = None,
    body: opt.Body = None,
    api: opt.Api = None,
    api_key_env: opt.ApiKeyEnv = None,
    idle_timeout: opt.IdleTimeout = None,
    ca: opt.Ca = None,
    pin: opt.Pin = None,
    insecure: opt.Insecure = False,
    server_name: opt.ServerName = None,
    format: opt.Format = None,
    speed: opt.Speed = None,
    record: opt.Record = None,
    redact: opt.RedactSecrets = False,
    force: opt.Force = False,
    json_lines: opt.Json = False,
    events: opt.Events = False,
    no_color: opt.NoColor = False,
) -> None:
    """Watch a stream: its text as it comes, what is found where it happens, a report at the end.

    A loop closes the source as soon as it is certain; an endpoint then stops generating.
    """
    if redact and record is None:
        raise typer.BadParameter("--redact goes only with --record")
    request = inputs.Request(prompt, messages, model, header, body, api, api_key_env, idle_timeout)
    _follow(
        source,
        _Look(json_lines, events, no_color),
        request=request,
        trust=inputs.Trust(ca, pin, insecure, server_name),
        format=format,
        speed=speed,
        record=record,
        force=force,
        # The stream matters more than its recording.
        keeping=inputs.Keeping(redact=redact, on_error="drop"),
        sealed=True,
        detectors=inputs.make_detectors(
            on_loop,
            on_stall,
            min_copies=min_copies,
            max_period=max_period,
            near=near,
            stall_after=stall_after,
            first_chunk_within=first_chunk_within,
        ),
        policies=inputs.open_policies(rules),
    )


@app.command(epilog=_EPILOG)
def replay(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recording.", show_default=False)],
    speed: Annotated[
        float,
        typer.Option(
            metavar="X", min=opt.MIN_SPEED, max=opt.MAX_SPEED, help="X times the recorded speed."
        ),
    ] = 1.0,
    step: opt.StepByStep = False,
    recover: opt.Recover = False,
    on_loop: opt.OnLoop = opt.Action.STOP,
    on_stall: opt.OnStall = opt.Action.WARN,
    min_copies: opt.MinCopies = 3,
    max_period: opt.MaxPeriod = 4096,
    near: opt.Near = True,
    stall_after: opt.StallAfter = 2.0,
    first_chunk_within: opt.FirstChunkWithin = 30.0,
    rules: opt.WatchRules = None,
    json_lines: opt.Json = False,
    events: opt.Events = False,
    no_color: opt.NoColor = False,
) -> None:
    """Watch a recording at the pace at which it was made, or step by step.

    The findings are those of then. With --step, those that are in the recording are shown, or
    where it has none, or with --rules, those of the usual detectors.
    """
    if step:
        from midstream.apps.step import step as go_through

        if events:
            raise typer.BadParameter("--events does not go with --step, which shows them all")
        with telling_warnings():
            status = go_through(
                file,
                policies=inputs.open_policies(rules),
                recover=recover,
                json_lines=json_lines,
                color=wants_color(no_color),
            )
        raise typer.Exit(status)
    _follow(
        file,
        _Look(json_lines, events, no_color),
        format=opt.InputFormat.RECORDING,
        speed=speed,
        recover=recover,
        sealed=True,
        detectors=inputs.make_detectors(
            on_loop,
            on_stall,
            min_copies=min_copies,
            max_period=max_period,
            near=near,
            stall_after=stall_after,
            first_chunk_within=first_chunk_within,
        ),
        policies=inputs.open_policies(rules),
    )


@app.command(epilog=_EPILOG)
def record(
    source: opt.SourceArgument,
    file: Annotated[
        Path | None, typer.Argument(help="The recording to write.", show_default=False)
    ] = None,
    output: opt.RecordTo = None,
    resume: opt.Resume = False,
    redact: opt.RedactSecrets = False,
    max_size: opt.MaxSize = None,
    max_files: opt.MaxFiles = 1,
    sync: opt.Sync = False,
    prompt: opt.Prompt = None,
    messages: opt.Messages = None,
    model: opt.Model = None,
    header: opt.Header = None,
    body: opt.Body = None,
    api: opt.Api = None,
    api_key_env: opt.ApiKeyEnv = None,
    idle_timeout: opt.IdleTimeout = None,
    ca: opt.Ca = None,
    pin: opt.Pin = None,
    insecure: opt.Insecure = False,
    server_name: opt.ServerName = None,
    format: opt.Format = None,
    force: opt.Force = False,
    json_lines: opt.Json = False,
    events: opt.Events = False,
    no_color: opt.NoColor = False,
) -> None:
    """Record a stream with the arrival time of every event, without looking for anything."""
    if (file is None) == (output is None):
        raise typer.BadParameter("say where to write, once: FILE or -o FILE")
    if resume and force:
        raise typer.BadParameter("--resume goes on with a recording, --force overwrites it")
    request = inputs.Request(prompt, messages, model, header, body, api, api_key_env, idle_timeout)
    _follow(
        source,
        _Look(json_lines, events, no_color),
        request=request,
        trust=inputs.Trust(ca, pin, insecure, server_name),
        format=format,
        record=file or output,
        force=force,
        keeping=inputs.Keeping(resume, redact, max_size, max_files, sync),
    )


@app.command(
    epilog="[bold]Exit status:[/] 0 the streams that --streams says were served; 2 wrong usage; "
    "3 the address or the certificate cannot be used; 128 + n ended by signal n."
)
def publish(
    source: opt.SourceArgument,
    host: opt.Host = "127.0.0.1",
    port: opt.Port = 4433,
    name: opt.Name = None,
    certificate: opt.Certificate = None,
    key: opt.Key = None,
    development: opt.Development = False,
    max_readers: opt.MaxReaders = 1000,
    streams: opt.Streams = None,
    prompt: opt.Prompt = None,
    messages: opt.Messages = None,
    model: opt.Model = None,
    header: opt.Header = None,
    body: opt.Body = None,
    api: opt.Api = None,
    api_key_env: opt.ApiKeyEnv = None,
    idle_timeout: opt.IdleTimeout = None,
    ca: opt.Ca = None,
    pin: opt.Pin = None,
    insecure: opt.Insecure = False,
    server_name: opt.ServerName = None,
    format: opt.Format = None,
    speed: opt.Speed = None,
    json_lines: opt.ServeJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Publish the events of a source over QUIC, to be read by midstream watch quic://HOST:PORT/NAME.

    A recording or a URL is opened anew for each reader, and closed when the reader leaves: an
    endpoint then stops generating. Standard input is read once, for all, from when the first
    reader comes.
    """
    from midstream.apps.publish import publish as run

    request = inputs.Request(prompt, messages, model, header, body, api, api_key_env, idle_timeout)
    status = run(
        source,
        inputs.Identified(certificate, key, development),
        request=request,
        trust=inputs.Trust(ca, pin, insecure, server_name),
        host=host,
        port=port,
        name=name,
        max_readers=max_readers,
        streams=streams,
        format=format,
        speed=speed,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@app.command(
    epilog="[bold]Exit status:[/] 2 wrong usage, rules that cannot be used; 3 an address "
    "that cannot be used; 128 + n ended by signal n."
)
def serve(
    source: opt.FeedSources = None,
    host: opt.Host = "127.0.0.1",
    ws_port: opt.WsPort = 3001,
    sse_port: opt.SsePort = 3002,
    origin: opt.Origin = None,
    allow_host: opt.AllowHost = None,
    token_file: opt.TokenFile = None,
    max_clients: opt.MaxClients = None,
    limit: opt.ServingLimit = None,
    drain: opt.DrainSoon = 5.0,
    certificate: opt.Certificate = None,
    key: opt.Key = None,
    rules: opt.WatchRules = None,
    prompt: opt.Prompt = None,
    messages: opt.Messages = None,
    model: opt.Model = None,
    header: opt.Header = None,
    body: opt.Body = None,
    api: opt.Api = None,
    api_key_env: opt.ApiKeyEnv = None,
    idle_timeout: opt.IdleTimeout = None,
    ca: opt.Ca = None,
    pin: opt.Pin = None,
    insecure: opt.Insecure = False,
    server_name: opt.ServerName = None,
    speed: opt.Speed = None,
    json_lines: opt.AgentJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Serve the agent: WebSockets, server-sent events, and requests over HTTP.

    Clients send messages and sequences, and ask for what is in them: process, analyze, compare,
    detect_pattern, behavior, status. Each has a state of its own; what is processed is broadcast to
    those who subscribe. Over a WebSocket, {"type": "process", "message": "hello"} is a request;
    over HTTP, POST /process takes {"message": "hello"}, and GET /stream has the broadcast.
    """
    from midstream.apps.serve import serve as run

    status = run(
        source or (),
        host=host,
        ws_port=ws_port,
        sse_port=sse_port,
        origins=origin or (),
        hosts=allow_host or (),
        token_file=token_file,
        max_clients=max_clients,
        limits=limit or (),
        rules=rules,
        request=inputs.Request(
            prompt, messages, model, header, body, api, api_key_env, idle_timeout
        ),
        trust=inputs.Trust(ca, pin, insecure, server_name),
        speed=speed,
        drain_s=drain,
        certificate=certificate,
        key=key,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@app.command(
    epilog="[bold]Exit status:[/] 2 wrong usage, rules that cannot be used; 3 an address "
    "that cannot be used; 128 + n ended by signal n."
)
def proxy(
    upstream: opt.Upstream,
    rules: opt.Rules = None,
    host: opt.Host = "127.0.0.1",
    port: opt.HttpPort = 8790,
    ending: opt.EndingOption = opt.Ending.FILTERED,
    on_loop: opt.OnLoop = opt.Action.STOP,
    on_stall: opt.OnStall = opt.Action.WARN,
    record: opt.RecordFolder = None,
    limit: opt.Limit = None,
    allow_host: opt.AllowHost = None,
    allow_unread: opt.AllowUnread = False,
    hold_text: opt.HoldText = 0,
    otel: opt.Otel = False,
    dash_port: opt.ProxyDash = None,
    drain: opt.Drain = 30.0,
    certificate: opt.Certificate = None,
    key: opt.Key = None,
    json_lines: opt.ProxyJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Guard a model's answers on their way to any client that can change its base URL.

    Answers pass at once and unchanged until a rule acts: a stop closes the upstream and ends the
    client's stream as its protocol has it, a denied tool call is replaced by text that says why.
    Read are OpenAI's chat completions, Responses and Realtime (over WebSockets), Anthropic's
    messages, Ollama and llama.cpp. Where another API's model may answer (Bedrock, Google, Cohere,
    Assistants), it passes unread with a warning, and is refused where a rule may deny or stop,
    unless --allow-unread. /-/health and /-/metrics tell how it is.
    """
    from midstream.apps.proxy import serve as run

    status = run(
        upstream,
        rules=rules or (),
        host=host,
        port=port,
        ending=ending.value,
        on_loop=on_loop,
        on_stall=on_stall,
        recordings=record,
        limits=limit or (),
        hosts=allow_host or (),
        allow_unread=allow_unread,
        hold_text=hold_text,
        otel=otel,
        dash_port=dash_port,
        drain_s=drain,
        certificate=certificate,
        key=key,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@app.command(
    epilog="[bold]Exit status:[/] 0 the user left; 2 wrong usage; 3 the address, or the terminal, "
    "cannot be used; 128 + n ended by signal n. How sources end is told and shown."
)
def dash(
    sources: opt.DashSources = None,
    web: opt.Web = False,
    terminal: opt.Terminal = False,
    attach: opt.Attach = None,
    host: opt.Host = "127.0.0.1",
    port: opt.HttpPort = 8791,
    token_env: opt.DashTokenEnv = None,
    token_file: opt.DashTokenFile = None,
    allow_host: opt.DashHosts = None,
    certificate: opt.Certificate = None,
    key: opt.Key = None,
    recordings_folder: opt.DashRecordings = None,
    open_browser: opt.OpenBrowser = False,
    rules: opt.WatchRules = None,
    prompt: opt.Prompt = None,
    messages: opt.Messages = None,
    model: opt.Model = None,
    header: opt.Header = None,
    body: opt.Body = None,
    api: opt.Api = None,
    api_key_env: opt.ApiKeyEnv = None,
    idle_timeout: opt.IdleTimeout = None,
    ca: opt.Ca = None,
    pin: opt.Pin = None,
    insecure: opt.Insecure = False,
    server_name: opt.ServerName = None,
    speed: opt.DashSpeed = 1.0,
    json_lines: opt.DashJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """See what streams do while they do it: their texts, what is found in them, rates, regimes.

    In the terminal, where there is one, else as a page for browsers. Recordings of a folder can be
    played, step by step, forwards and back. Others than this machine need a token to see the page;
    it is part of the address that is told, and safe from who reads the network with --certificate.
    """
    from midstream.apps import dash as app_dash
    from midstream.apps.web.access import is_loopback

    if not sources and recordings_folder is None and attach is None:
        raise typer.BadParameter("say what to show: SOURCE, --recordings FOLDER, or --attach URL")
    if key is not None and certificate is None:
        raise typer.BadParameter("--key goes only with --certificate")
    for_page = {
        "--web": web,
        "--host": host != "127.0.0.1",
        "--port": port != 8791,
        "--token-env": token_env is not None,
        "--token-file": token_file is not None,
        "--allow-host": bool(allow_host),
        "--certificate": certificate is not None,
        "--open": open_browser,
    }
    color = wants_color(no_color)
    in_terminal = app_dash.in_terminal(
        terminal or attach is not None,
        [name for name, given in for_page.items() if given],
        json_lines=json_lines,
    )
    told = app_dash.telling(json_lines=json_lines, color=color, later=in_terminal)
    display: app_dash.Display
    if in_terminal:
        display = app_dash.terminal_display(
            recordings=recordings_folder, attach=attach, sources=sources or (), color=color
        )
    else:
        display = app_dash.WebDisplay(
            told,
            host=host,
            port=port,
            token=app_dash.find_token(token_env, token_file, needed=not is_loopback(host)),
            recordings=recordings_folder,
            hosts=allow_host or (),
            tls=None if certificate is None else (certificate, key or certificate),
            open_browser=open_browser,
        )
    status = app_dash.dash(
        display,
        sources or (),
        told=told,
        place="" if in_terminal else f"{host}, port {port}",
        rules=rules,
        request=inputs.Request(
            prompt, messages, model, header, body, api, api_key_env, idle_timeout
        ),
        trust=inputs.Trust(ca, pin, insecure, server_name),
        speed=speed,
    )
    raise typer.Exit(status)


@app.command(
    epilog="[bold]Exit status:[/] 0 satisfied; 1 violated; 2 wrong usage; 3 the trace cannot be "
    "read, or the formula is too large to follow; 4 undecided, with --semantics ltl3; 128 + n "
    "ended by signal n."
)
def check(
    formula: Annotated[
        str, typer.Argument(help='A formula, such as "G(request -> F answer)".', show_default=False)
    ],
    trace: Annotated[
        str,
        typer.Argument(
            help="A file, or - for standard input: an event a line, as a JSON array of the atoms "
            "that are true, a JSON object of atoms and signals, or names with spaces between.",
            show_default=False,
        ),
    ],
    dialect: opt.DialectOption = opt.Dialect.SPOT,
    semantics: opt.SemanticsOption = opt.Semantics.LTLF,
    missing: opt.MissingOption = opt.Missing.FALSE,
    every: Annotated[
        bool, typer.Option("--every", help="Tell the verdict after every event.")
    ] = False,
    json_lines: opt.CheckJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Check a trace of events against a formula of temporal logic, and explain a violation.

    Reading ends at the event that decides.
    """
    from midstream.apps.check import check as follow

    status = follow(
        formula,
        trace,
        dialect=dialect.value,
        semantics=semantics.value,
        missing=missing.value,
        every=every,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@app.command(
    epilog="[bold]Exit status:[/] 0 the ledger is whole, or was rolled back; 1 it is damaged, was "
    "altered, or does not contain the pinned head, or the question was answered with no; 2 wrong "
    "usage; 3 it cannot be read or written, or a loop has it open; 128 + n ended by signal n."
)
def loop(
    ledger: Annotated[
        str, typer.Argument(metavar="LEDGER", help="A loop's ledger.", show_default=False)
    ],
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify",
            metavar="HEAD",
            help="A head that was noted earlier, in hexadecimal: the ledger must still contain it. "
            "Records cut off at the end show in no other way.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the versions into this file: .png, .svg, .pdf. Needs matplotlib.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        opt.AxisChoice, typer.Option(help="Horizontal axis of the picture.")
    ] = opt.AxisChoice.RECORD,
    rollback: Annotated[
        int | None,
        typer.Option(
            metavar="VERSION",
            help="Put this version into force again, settings and state: asks first. The loop "
            "must not be running.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Of the rollback; is recorded.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    last: Annotated[
        int, typer.Option(min=0, help="Versions and closed trials to show, 0 for all.")
    ] = 20,
    key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable that holds the ledger's key, if it has one.",
            show_default=False,
        ),
    ] = None,
    json_lines: opt.LoopJson = False,
    no_color: opt.NoColor = False,
) -> None:
    """Show what a loop changed, on which evidence, and whether its ledger is whole.

    Every record is read and checked against the one before. A ledger may be shown while its loop
    runs.
    """
    from midstream.apps import loop as app_loop

    if rollback is None:
        for given, option in ((yes, "--yes"), (bool(reason), "--reason")):
            if given:
                raise typer.BadParameter(f"{option} goes only with --rollback")
        status = app_loop.show(
            ledger,
            head=verify,
            key_env=key_env,
            plot=plot,
            by=by.value,
            last=last,
            json_lines=json_lines,
            color=wants_color(no_color),
        )
    else:
        if plot is not None:
            raise typer.BadParameter("--plot does not go with --rollback")
        status = app_loop.rollback(
            ledger,
            rollback,
            reason=reason,
            yes=yes,
            head=verify,
            key_env=key_env,
            json_lines=json_lines,
            color=wants_color(no_color),
        )
    raise typer.Exit(status)


rules_app = typer.Typer(
    help="Rules for streams: the ready ones, and what is wrong with a file.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(rules_app, name="rules")


@rules_app.command(
    "lint",
    epilog="[bold]Exit status:[/] 0 all can be used; 1 not; 2 wrong usage; 3 one cannot be read.",
)
def rules_lint(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="TOML files.", show_default=False)
    ],
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            metavar="NAMES",
            help="All tools there are, with commas between: a rule that names another is wrong.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting that the files take.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="What may be a mistake counts as one.")
    ] = False,
    json_lines: Annotated[
        bool,
        typer.Option("--json", help='One JSON object a file: {"type": "lint", ...}.'),
    ] = False,
    no_color: opt.NoColor = False,
) -> None:
    """Say what is wrong with files of rules before any stream: what contradicts, what never acts.

    The proxy and --rules refuse the same files, and warn of the same.
    """
    from midstream.apps.rules import lint

    status = lint(
        files,
        tools=tools or (),
        settings=settings or (),
        strict=strict,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@rules_app.command("list")
def rules_list(
    json_lines: Annotated[
        bool, typer.Option("--json", help='One JSON object a rule: {"type": "rule", ...}.')
    ] = False,
    no_color: opt.NoColor = False,
) -> None:
    """List the ready rules, and which settings they take."""
    from midstream.apps.rules import catalogue

    raise typer.Exit(catalogue(json_lines=json_lines, color=wants_color(no_color)))


@rules_app.command("show")
def rules_show(
    name: Annotated[str, typer.Argument(help="Of a ready rule.", show_default=False)],
) -> None:
    """Write the TOML of a ready rule, to start your own from."""
    from midstream.apps.rules import show

    raise typer.Exit(show(name))


@app.command(epilog=_EPILOG)
def doctor(json_lines: opt.Json = False, no_color: opt.NoColor = False) -> None:
    """Say what this machine offers, and whether the installation is sound: 0 if so, 1 if not."""
    from midstream.apps.doctor import examine

    raise typer.Exit(examine(json_lines=json_lines, color=wants_color(no_color)))


class _Look(NamedTuple):
    """Options of the output."""

    json_lines: bool
    events: bool
    no_color: bool


def _follow(
    name: str,
    look: _Look,
    *,
    request: inputs.Request | None = None,
    trust: inputs.Trust | None = None,
    format: opt.InputFormat | None = None,
    speed: float | None = None,
    record: Path | None = None,
    force: bool = False,
    keeping: inputs.Keeping | None = None,
    recover: bool = False,
    sealed: bool = False,
    detectors: Sequence[Detector] = (),
    policies: PoliciesLike = (),
) -> NoReturn:
    """Watch the source of this name, and exit with the status that it asks for."""
    from midstream.apps.session import follow
    from midstream.apps.show import make_show

    if look.events and not look.json_lines:
        raise typer.BadParameter("--events goes only with --json")
    with ExitStack() as stack:
        if recover:
            stack.enter_context(telling_warnings())
        source = inputs.open_source(
            name,
            format=format,
            speed=speed,
            request=request or inputs.Request(),
            trust=trust or inputs.Trust(),
            stack=stack,
            recover=recover,
            sealed=sealed,
        )
        recorder = None
        if record is not None:
            keeping = keeping or inputs.Keeping()
            options = keeping.options()
            if keeping.resume:
                rest = inputs.resumed(source, name, record)
                if rest is None:
                    typer.echo(f"{record} is whole: nothing to resume", err=True)
                    raise typer.Exit(0)
                source = rest
            recorder = inputs.open_recorder(record, name, force=force, **options)
        show = make_show(
            json_lines=look.json_lines, events=look.events, color=wants_color(look.no_color)
        )
        if name == "-" and sys.stdin is not None and sys.stdin.isatty():
            typer.echo("reading from the terminal until end of file", err=True)
        context = {"source": inputs.shown(name)}
        if record is not None:
            context["recording"] = str(record)
        _, status = follow(
            source,
            show,
            detectors=detectors,
            policies=policies,
            recorder=recorder,
            context=context,
        )
    raise typer.Exit(status)


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
