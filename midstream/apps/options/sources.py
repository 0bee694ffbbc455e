"""Options of where a stream comes from: what to ask an endpoint, whom to trust, how to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midstream.apps import completing
from midstream.apps.options.choices import ASK, MAX_SPEED, MIN_SPEED, TRUST, InputFormat

__all__ = [
    "Api",
    "ApiKeyEnv",
    "Body",
    "Ca",
    "DashSources",
    "DashSpeed",
    "FeedSources",
    "Format",
    "Header",
    "IdleTimeout",
    "Insecure",
    "Messages",
    "Model",
    "Pin",
    "Prompt",
    "ServerName",
    "SourceArgument",
    "Speed",
]

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
Prompt = Annotated[
    str | None, typer.Option(help="One user message.", rich_help_panel=ASK, show_default=False)
]
Messages = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        rich_help_panel=ASK,
        help="JSON file with the conversation: a list of messages.",
    ),
]
Model = Annotated[
    str | None, typer.Option(help="Model to ask.", rich_help_panel=ASK, show_default=False)
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        metavar="'NAME: VALUE'",
        rich_help_panel=ASK,
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
        rich_help_panel=ASK,
        help="JSON file with further fields of the request, or the whole of it.",
    ),
]
Api = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=ASK,
        show_default="as the path says, else chat",
        help="What the endpoint speaks: chat, responses, anthropic, ollama or llama.",
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=ASK,
        show_default="OPENAI_API_KEY, ANTHROPIC_API_KEY or OLLAMA_API_KEY",
        help="Environment variable that holds the API key.",
    ),
]
IdleTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        rich_help_panel=ASK,
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
        rich_help_panel=TRUST,
        show_default="the system's",
        help="Certificates to trust, in PEM.",
    ),
]
Pin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PIN",
        rich_help_panel=TRUST,
        show_default=False,
        help="What the server's certificate must match, as midstream publish says it; may be "
        "repeated. Without --ca this alone is the trust.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        rich_help_panel=TRUST,
        help="Take any certificate: nothing then tells the server from an attacker.",
    ),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=TRUST,
        show_default="the URL's host",
        help="Name that the certificate must carry.",
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
