"""Commands that follow one stream: see one, watch it, play it again, record it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from midstream.apps import inputs
from midstream.apps import options as opt
from midstream.apps.commands.ends import EPILOG
from midstream.apps.output import telling_warnings, wants_color

if TYPE_CHECKING:
    from midstream.stream import Detector
    from midstream.stream.policies import PoliciesLike

__all__ = ["streams"]

streams = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@streams.command(
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


@streams.command(epilog=EPILOG)
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


@streams.command(epilog=EPILOG)
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


@streams.command(epilog=EPILOG)
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
