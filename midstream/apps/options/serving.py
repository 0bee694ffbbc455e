"""Options of servers: where they listen, whom they serve, how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midstream.apps import completing
from midstream.apps.options.choices import SERVE, Ending

__all__ = [
    "AllowHost",
    "AllowUnread",
    "Certificate",
    "Config",
    "DashHosts",
    "DashTokenEnv",
    "DashTokenFile",
    "Development",
    "Drain",
    "DrainSoon",
    "EndingOption",
    "HealthPort",
    "HoldText",
    "Host",
    "HttpPort",
    "Key",
    "Limit",
    "Linger",
    "MaxClients",
    "MaxReaders",
    "Name",
    "Origin",
    "Otel",
    "Port",
    "Rules",
    "ServingLimit",
    "ShowConfig",
    "SsePort",
    "Streams",
    "TokenFile",
    "Upstream",
    "WsPort",
]

Host = Annotated[
    str,
    typer.Option(
        rich_help_panel=SERVE, help="Address to listen at; 0.0.0.0 or :: for all there are."
    ),
]
WsPort = Annotated[
    int,
    typer.Option(
        min=0, max=65535, rich_help_panel=SERVE, help="Port for WebSockets, 0 for a free one."
    ),
]
SsePort = Annotated[
    int,
    typer.Option(
        min=0,
        max=65535,
        rich_help_panel=SERVE,
        help="Port for server-sent events and requests over HTTP, 0 for a free one.",
    ),
]
Port = Annotated[
    int,
    typer.Option(
        min=0, max=65535, rich_help_panel=SERVE, help="UDP port to listen at, 0 for a free one."
    ),
]
HttpPort = Annotated[
    int,
    typer.Option(
        min=0, max=65535, rich_help_panel=SERVE, help="Port to listen at, 0 for a free one."
    ),
]
Origin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ORIGIN",
        rich_help_panel=SERVE,
        show_default="pages of this machine",
        help="Web pages that may ask, as https://example.org; may be repeated.",
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=SERVE,
        show_default="this machine's, where only it can connect; else all",
        help="Name under which it may be asked; may be repeated.",
    ),
]
DashHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        rich_help_panel=SERVE,
        show_default=False,
        help="Further name under which the page may be asked for; may be repeated.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=SERVE,
        show_default="none, where only this machine can connect",
        help="What clients must show is its first line, as Authorization: Bearer, or ?token=.",
    ),
]
TokenEnv = Annotated[
    str | None,
    typer.Option(
        "--token-env",
        metavar="NAME",
        rich_help_panel=SERVE,
        show_default=False,
        help="Environment variable with what clients must show, in place of a file.",
    ),
]
DashTokenEnv = Annotated[
    str | None,
    typer.Option(
        "--token-env",
        metavar="NAME",
        rich_help_panel=SERVE,
        show_default="none on loopback, else a random one",
        help="Environment variable with the token that readers must show.",
    ),
]
DashTokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        rich_help_panel=SERVE,
        show_default=False,
        help="File whose first line is the token.",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=SERVE,
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
        rich_help_panel=SERVE,
        show_default="in the certificate's file",
        help="The private key, in PEM.",
    ),
]
Development = Annotated[
    bool,
    typer.Option(
        "--development",
        rich_help_panel=SERVE,
        help="Make a certificate for one's own machine, valid for 14 days; its pin is told.",
    ),
]
MaxClients = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=SERVE,
        show_default="2000",
        help="WebSockets and event streams at once; more are refused.",
    ),
]
MaxReaders = Annotated[
    int,
    typer.Option(min=1, rich_help_panel=SERVE, help="Streams served at once; more are refused."),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        rich_help_panel=SERVE,
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
        rich_help_panel=SERVE,
        show_default=False,
        help="Set a limit, as max_message_bytes=65536 or idle_timeout_s=30; may be repeated. A "
        "wrong name lists them.",
    ),
]
Linger = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        rich_help_panel=SERVE,
        help="How long more is taken after SIGTERM or Ctrl-C, while readiness says no: until a "
        "balancer has noticed.",
    ),
]
HealthPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        rich_help_panel=SERVE,
        show_default=False,
        help="TCP port for /healthz, /readyz and /metrics over HTTP, 0 for a free one. It needs "
        "the extra serve.",
    ),
]
Drain = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        rich_help_panel=SERVE,
        help="How long streams may go on after SIGTERM or Ctrl-C.",
    ),
]
DrainSoon = Annotated[
    float,
    typer.Option(
        "--drain",
        metavar="SECONDS",
        min=0,
        rich_help_panel=SERVE,
        help="How long clients may take to leave after SIGTERM or Ctrl-C.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=SERVE,
        show_default="the file's name without its ending",
        help="What readers ask for; a URL without a name gets it too.",
    ),
]
Streams = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=SERVE,
        show_default="serve until a signal",
        help="End after so many streams.",
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
AllowUnread = Annotated[
    bool,
    typer.Option(
        "--allow-unread",
        rich_help_panel=SERVE,
        help="Let answers of a model that cannot be read pass although a rule may deny or stop.",
    ),
]
HoldText = Annotated[
    int,
    typer.Option(
        "--hold-text",
        min=0,
        metavar="CHARS",
        rich_help_panel=SERVE,
        show_default="0: text passes at once, until a rule acts",
        help="Hold up to so many characters back while they may be part of a forbidden text.",
    ),
]
Otel = Annotated[
    bool,
    typer.Option(
        "--otel",
        rich_help_panel=SERVE,
        help="Export spans and metrics of the guarded streams over OTLP, to where "
        "OTEL_EXPORTER_OTLP_ENDPOINT says. Needs the extra otel.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        rich_help_panel=SERVE,
        show_default="MIDSTREAM_CONFIG",
        help="TOML file of settings: a table for each command, of options under their names. The "
        "environment (MIDSTREAM_COMMAND_OPTION) counts before it, the command line before both.",
    ),
]
ShowConfig = Annotated[
    bool,
    typer.Option(
        "--show-config",
        rich_help_panel=SERVE,
        help="Show the settings in force and where each is from, as such a file, and end.",
    ),
]
