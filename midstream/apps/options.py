"""Options that several commands have, declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from midstream.apps import completing

__all__ = [
    "MAX_SPEED",
    "MIN_SPEED",
    "OUTPUT",
    "Action",
    "AgentJson",
    "AllowHost",
    "AllowUnread",
    "ApiKeyEnv",
    "Attach",
    "AxisChoice",
    "Body",
    "Ca",
    "Certificate",
    "CheckJson",
    "DashHosts",
    "DashJson",
    "DashRecordings",
    "DashSources",
    "DashSpeed",
    "DashTokenEnv",
    "DashTokenFile",
    "DemoChoice",
    "Development",
    "Dialect",
    "DialectOption",
    "Drain",
    "DrainSoon",
    "Ending",
    "EndingOption",
    "Events",
    "FeedSources",
    "FirstChunkWithin",
    "Force",
    "Format",
    "Header",
    "HoldText",
    "Host",
    "HttpPort",
    "IdleTimeout",
    "InputFormat",
    "Insecure",
    "Json",
    "Key",
    "Limit",
    "LoopJson",
    "MaxClients",
    "MaxFiles",
    "MaxPeriod",
    "MaxReaders",
    "MaxSize",
    "Messages",
    "MinCopies",
    "Missing",
    "MissingOption",
    "Model",
    "Name",
    "Near",
    "NoColor",
    "OnLoop",
    "OnStall",
    "OpenBrowser",
    "Origin",
    "Otel",
    "Pin",
    "Port",
    "Prompt",
    "ProxyDash",
    "Record",
    "RecordFolder",
    "RecordTo",
    "Recover",
    "Redact",
    "RedactSecrets",
    "Resume",
    "Rules",
    "Semantics",
    "SemanticsOption",
    "ServeJson",
    "ServerName",
    "ServingLimit",
    "SourceArgument",
    "Speed",
    "SsePort",
    "StallAfter",
    "StepByStep",
    "Streams",
    "Sync",
    "Terminal",
    "TokenFile",
    "Upstream",
    "WatchRules",
    "Web",
    "WsPort",
]

#: Bounds of speeds: above 0 and short of eternity.
MIN_SPEED, MAX_SPEED = 0.001, 1e6


class Action(StrEnum):
    """What a finding leads to."""

    STOP = "stop"
    WARN = "warn"
    NOTE = "note"
    OFF = "off"


class Ending(StrEnum):
    """How a stream that a rule stopped ends for its client."""

    FILTERED = "filtered"
    NORMAL = "normal"
    ERROR = "error"


class AxisChoice(StrEnum):
    """What a picture's horizontal axis counts."""

    RECORD = "record"
    TIME = "time"


class DemoChoice(StrEnum):
    """What a demonstration shows."""

    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"
    REALTIME = "realtime"
    QUIC = "quic"


class Dialect(StrEnum):
    """Whose grammar a formula is written in."""

    SPOT = "spot"
    BLACK = "black"
    LTLF2DFA = "ltlf2dfa"
    RTAMT = "rtamt"


class Semantics(StrEnum):
    """What a verdict in the middle of a trace is about."""

    LTLF = "ltlf"
    LTL3 = "ltl3"
    RV_LTL = "rv-ltl"


class Missing(StrEnum):
    """What an atom is of which an event says nothing."""

    FALSE = "false"
    ERROR = "error"


class InputFormat(StrEnum):
    """What a pipe or a file speaks."""

    SSE = "sse"
    RECORDING = "recording"
    NDJSON = "ndjson"
    TEXT = "text"


_DETECT = "Detectors"
_ASK = "Asking an endpoint (SOURCE is a URL)"
_TRUST = "Trusting a server (SOURCE is a quic:// URL)"
_SERVE = "Serving"
OUTPUT = "Output"

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        autocompletion=completing.simulations,
        help="A recording, [bold]-[/] for standard input, the URL of an OpenAI-compatible "
        "endpoint (http://127.0.0.1:8080, https://api.openai.com/v1, ...; wss:// for the Realtime "
        "API), quic://HOST:PORT/NAME of a [bold]midstream publish[/], a video "
        "(https://.../live.m3u8, rtmp://HOST/APP/KEY), or a simulation: sim:story, "
        "sim:loop?seed=3&tokens=1000&rate=60&faults=stall, sim:agent, ...",
        show_default=False,
    ),
]
OnLoop = Annotated[
    Action,
    typer.Option(
        help="What a certain loop leads to; one only suspected is one step milder.",
        rich_help_panel=_DETECT,
    ),
]
OnStall = Annotated[
    Action,
    typer.Option(
        help="What a silence leads to that the stream's rhythm does not explain.",
        rich_help_panel=_DETECT,
    ),
]
StallAfter = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        rich_help_panel=_DETECT,
        help="No shorter silence is a stall.",
    ),
]
FirstChunkWithin = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        rich_help_panel=_DETECT,
        help="Silence that is a stall before the stream has found its rhythm.",
    ),
]
MinCopies = Annotated[
    int,
    typer.Option(min=2, max=65536, help="Copies that make a loop.", rich_help_panel=_DETECT),
]
MaxPeriod = Annotated[
    int,
    typer.Option(
        min=1, max=1 << 20, help="Longest exact period, in tokens.", rich_help_panel=_DETECT
    ),
]
Near = Annotated[
    bool,
    typer.Option(
        "--near/--no-near",
        help="Look for repetition with small edits too.",
        rich_help_panel=_DETECT,
    ),
]
Prompt = Annotated[
    str | None, typer.Option(help="One user message.", rich_help_panel=_ASK, show_default=False)
]
Messages = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=_ASK,
        help="JSON file with the conversation: a list of messages.",
    ),
]
Model = Annotated[
    str | None, typer.Option(help="Model to ask.", rich_help_panel=_ASK, show_default=False)
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        metavar="'NAME: VALUE'",
        rich_help_panel=_ASK,
        show_default=False,
        help="Further header; may be repeated. Everyone on this machine can see it: "
        "for keys there is --api-key-env.",
    ),
]
Body = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=_ASK,
        help="JSON file with further fields of the request, or the whole of it.",
    ),
]
Api = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_ASK,
        show_default="as the path says, else chat",
        help="What the endpoint speaks: chat, responses, anthropic, ollama or llama.",
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_ASK,
        show_default="OPENAI_API_KEY, ANTHROPIC_API_KEY or OLLAMA_API_KEY",
        help="Environment variable that holds the API key.",
    ),
]
IdleTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        rich_help_panel=_ASK,
        show_default="60",
        help="Longest silence before giving up.",
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        exists=True,
        rich_help_panel=_TRUST,
        show_default="the system's",
        help="Certificates to trust, in PEM.",
    ),
]
Pin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PIN",
        rich_help_panel=_TRUST,
        show_default=False,
        help="What the server's certificate must match, as midstream publish says it; may be "
        "repeated. Without --ca this alone is the trust.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        rich_help_panel=_TRUST,
        help="Take any certificate: nothing then tells the server from an attacker.",
    ),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_TRUST,
        show_default="the URL's host",
        help="Name that the certificate must carry.",
    ),
]
Host = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SERVE, help="Address to listen at; 0.0.0.0 or :: for all there are."
    ),
]
WsPort = Annotated[
    int,
    typer.Option(
        min=0, max=65535, rich_help_panel=_SERVE, help="Port for WebSockets, 0 for a free one."
    ),
]
SsePort = Annotated[
    int,
    typer.Option(
        min=0,
        max=65535,
        rich_help_panel=_SERVE,
        help="Port for server-sent events and requests over HTTP, 0 for a free one.",
    ),
]
Origin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ORIGIN",
        rich_help_panel=_SERVE,
        show_default="pages of this machine",
        help="Web pages that may ask, as https://example.org; may be repeated.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=_SERVE,
        show_default="none, where only this machine can connect",
        help="What clients must show is its first line, as Authorization: Bearer, or ?token=.",
    ),
]
MaxClients = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=_SERVE,
        show_default="2000",
        help="WebSockets and event streams at once; more are refused.",
    ),
]
DrainSoon = Annotated[
    float,
    typer.Option(
        "--drain",
        metavar="SECONDS",
        min=0,
        rich_help_panel=_SERVE,
        help="How long clients may take to leave after SIGTERM or Ctrl-C.",
    ),
]
FeedSources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        autocompletion=completing.simulations,
        help="Recordings, [bold]-[/] for standard input, URLs, or simulations (sim:story, ...): "
        "watched, and shown in the feed that clients can subscribe to.",
        show_default=False,
    ),
]
AgentJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "serving", ...} first, {"type": "source", ...} when '
        'one ends, {"type": "draining", ...} and {"type": "served", ...} at the end.',
    ),
]
Port = Annotated[
    int,
    typer.Option(
        min=0, max=65535, rich_help_panel=_SERVE, help="UDP port to listen at, 0 for a free one."
    ),
]
HttpPort = Annotated[
    int,
    typer.Option(
        min=0, max=65535, rich_help_panel=_SERVE, help="Port to listen at, 0 for a free one."
    ),
]
Upstream = Annotated[
    str,
    typer.Option(
        metavar="URL",
        show_default=False,
        help="The model's server (https://api.openai.com, http://127.0.0.1:8080, ...). Nothing "
        "else can be reached through the proxy.",
    ),
]
WatchRules = Annotated[
    list[str] | None,
    typer.Option(
        "--rules",
        metavar="FILE|NAME",
        autocompletion=completing.ready_rules,
        help="TOML file of rules, or a ready rule (midstream rules list); may be given several "
        "times.",
        rich_help_panel=_DETECT,
        show_default=False,
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|NAME",
        autocompletion=completing.ready_rules,
        show_default=False,
        help="TOML file of rules, or a ready rule (midstream rules list); may be given several "
        "times. A file is read again when it changes; a broken one leaves the old rules.",
    ),
]
EndingOption = Annotated[
    Ending,
    typer.Option(
        "--ending",
        help="How a stopped stream ends for its client: as one that a content filter cut, as one "
        "that came to its end, or with an error.",
    ),
]
RecordFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        file_okay=False,
        show_default=False,
        help="Record every guarded stream into this folder, under an id made by the proxy; the "
        "oldest go where there are more than --limit max_recordings.",
    ),
]
Redact = Annotated[
    bool,
    typer.Option("--redact/--no-redact", help="Replace secrets in recordings."),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        rich_help_panel=_SERVE,
        show_default=False,
        help="Set a limit, as max_streams=100 or idle_timeout_s=30; may be repeated. A wrong name "
        "lists them.",
    ),
]
ServingLimit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        rich_help_panel=_SERVE,
        show_default=False,
        help="Set a limit, as max_message_bytes=65536 or idle_timeout_s=30; may be repeated. A "
        "wrong name lists them.",
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_SERVE,
        show_default="this machine's, where only it can connect; else all",
        help="Name under which it may be asked; may be repeated.",
    ),
]
AllowUnread = Annotated[
    bool,
    typer.Option(
        "--allow-unread",
        rich_help_panel=_SERVE,
        help="Let answers of a model that cannot be read pass although a rule may deny or stop.",
    ),
]
Otel = Annotated[
    bool,
    typer.Option(
        "--otel",
        rich_help_panel=_SERVE,
        help="Export spans and metrics of the guarded streams over OTLP, to where "
        "OTEL_EXPORTER_OTLP_ENDPOINT says. Needs the extra otel.",
    ),
]
HoldText = Annotated[
    int,
    typer.Option(
        "--hold-text",
        min=0,
        metavar="CHARS",
        rich_help_panel=_SERVE,
        show_default="0: text passes at once, until a rule acts",
        help="Hold up to so many characters back while they may be part of a forbidden text.",
    ),
]
Drain = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        rich_help_panel=_SERVE,
        help="How long streams may go on after SIGTERM or Ctrl-C.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_SERVE,
        show_default="the file's name without its ending",
        help="What readers ask for; a URL without a name gets it too.",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=_SERVE,
        show_default=False,
        help="The server's certificate and its chain, in PEM.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=_SERVE,
        show_default="in the certificate's file",
        help="The private key, in PEM.",
    ),
]
Development = Annotated[
    bool,
    typer.Option(
        "--development",
        rich_help_panel=_SERVE,
        help="Make a certificate for one's own machine, valid for 14 days; its pin is told.",
    ),
]
MaxReaders = Annotated[
    int,
    typer.Option(min=1, rich_help_panel=_SERVE, help="Streams served at once; more are refused."),
]
Streams = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=_SERVE,
        show_default="serve until a signal",
        help="End after so many streams.",
    ),
]
Format = Annotated[
    InputFormat | None,
    typer.Option(
        "--format",
        show_default="a file is a recording, a pipe is recognised",
        help="What standard input or the file speaks.",
    ),
]
Speed = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        min=MIN_SPEED,
        max=MAX_SPEED,
        help="Play a recording at X times its speed.",
        show_default="as fast as possible",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", dir_okay=False, show_default=False, help="Record the stream meanwhile."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a recording that is there.")]
RecordTo = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        show_default=False,
        help="The recording to write; with the ending .gz it is packed.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a recording that was interrupted. A file is read again, and what the "
        "recording has already is compared and skipped; what comes from elsewhere is added.",
    ),
]
RedactSecrets = Annotated[
    bool,
    typer.Option(
        "--redact",
        help="Replace keys, passwords, e-mail addresses, card and account numbers before anything "
        "is written.",
    ),
]
MaxSize = Annotated[
    float | None,
    typer.Option(
        "--max-size",
        metavar="MB",
        min=0.01,
        show_default=False,
        help="Size of a file, unpacked; with --max-files the recording goes on in further ones.",
    ),
]
MaxFiles = Annotated[
    int,
    typer.Option(min=1, help="Files with --max-size; then the oldest is removed."),
]
Sync = Annotated[
    bool,
    typer.Option("--sync", help="Have the disk take everything within a second."),
]
StepByStep = Annotated[
    bool,
    typer.Option(
        "--step",
        help="Go through it by commands from standard input, a line each: n next event, f next "
        "finding, p previous finding, b back, g to a position, t to a time, x text so far, i data, "
        "q quit.",
    ),
]
Recover = Annotated[
    bool,
    typer.Option("--recover", help="Leave out what cannot be read, as after a crash."),
]
DialectOption = Annotated[Dialect, typer.Option(help="Whose grammar FORMULA is written in.")]
SemanticsOption = Annotated[
    Semantics,
    typer.Option(
        help="What may follow an event: a finite rest, or an infinite one with three or four "
        "verdicts."
    ),
]
MissingOption = Annotated[
    Missing,
    typer.Option(help="What an atom is, or a comparison, of which a JSON object says nothing."),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "finding", ...} when it is made, '
        '{"type": "report", ...} at the end.',
    ),
]
CheckJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help='One JSON object a line: with --every {"type": "verdict", ...} for each event, '
        '{"type": "report", ...} at the end.',
    ),
]
LoopJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help='One JSON object a line: {"type": "version", ...}, {"type": "trial", ...} and '
        '{"type": "drift", ...} for each, {"type": "ledger", ...} at the end.',
    ),
]
ServeJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "serving", ...} first, {"type": "stream", ...} when '
        'one ends, {"type": "served", ...} at the end.',
    ),
]
ProxyJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "proxying", ...} when it listens, {"type": '
        '"finding", ...} when it is made, {"type": "rules", ...} when they are read again, '
        '{"type": "draining", ...} and {"type": "served", ...} at the end.',
    ),
]
Events = Annotated[
    bool,
    typer.Option(
        "--events",
        rich_help_panel=OUTPUT,
        help='With --json: {"type": "event", ...} for every event, too.',
    ),
]
NoColor = Annotated[
    bool,
    typer.Option(
        "--no-color",
        rich_help_panel=OUTPUT,
        help="No colours; NO_COLOR in the environment says the same.",
    ),
]
Web = Annotated[
    bool,
    typer.Option("--web", rich_help_panel=OUTPUT, help="Show it as a page for browsers."),
]
Terminal = Annotated[
    bool,
    typer.Option(
        "--terminal",
        rich_help_panel=OUTPUT,
        show_default="where standard output is a terminal",
        help="Show it in the terminal.",
    ),
]
Attach = Annotated[
    str | None,
    typer.Option(
        "--attach",
        metavar="URL",
        rich_help_panel=OUTPUT,
        show_default=False,
        help="Show in the terminal what the page at this address shows, which another "
        "[bold]midstream dash[/] told.",
    ),
]
DashTokenEnv = Annotated[
    str | None,
    typer.Option(
        "--token-env",
        metavar="NAME",
        rich_help_panel=_SERVE,
        show_default="none on loopback, else a random one",
        help="Environment variable with the token that readers must show.",
    ),
]
DashTokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        rich_help_panel=_SERVE,
        show_default=False,
        help="File whose first line is the token.",
    ),
]
DashHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        rich_help_panel=_SERVE,
        show_default=False,
        help="Further name under which the page may be asked for; may be repeated.",
    ),
]
DashRecordings = Annotated[
    Path | None,
    typer.Option(
        "--recordings",
        metavar="FOLDER",
        file_okay=False,
        exists=True,
        show_default=False,
        help="Folder of recordings that can be played.",
    ),
]
OpenBrowser = Annotated[
    bool, typer.Option("--open", rich_help_panel=OUTPUT, help="Open the page in a browser.")
]
DashSpeed = Annotated[
    float,
    typer.Option(
        "--speed",
        metavar="X",
        min=MIN_SPEED,
        max=MAX_SPEED,
        help="Play recordings that are sources at X times their speed.",
    ),
]
DashJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=OUTPUT,
        help='One JSON object a line: {"type": "dash", "url": ...} first, {"type": "source", ...} '
        'when one ends, {"type": "shown", ...} at the end.',
    ),
]
DashSources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        autocompletion=completing.simulations,
        help="Recordings, [bold]-[/] for standard input, URLs of endpoints, quic://HOST:PORT/NAME, "
        "or simulations: sim:story, sim:loop?seed=3, sim:agent, sim:audio, sim:video, ...",
        show_default=False,
    ),
]
ProxyDash = Annotated[
    int | None,
    typer.Option(
        "--dash",
        metavar="PORT",
        min=0,
        max=65535,
        rich_help_panel=OUTPUT,
        show_default=False,
        help="Show the guarded streams on this machine at this port, 0 for a free one: midstream "
        "dash's page. It needs the extra ui.",
    ),
]
