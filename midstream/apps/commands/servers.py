"""Commands that serve: a stream over QUIC, the agent, the proxy, the dashboard.

What ``config`` and ``show_config`` say is read by `Configured`, before a command runs.
"""

from __future__ import annotations

import typer

from midstream.apps import inputs
from midstream.apps import options as opt
from midstream.apps.commands.configured import Configured
from midstream.apps.output import wants_color

__all__ = ["servers"]

servers = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@servers.command(
    cls=Configured,
    epilog="[bold]Exit status:[/] 0 the streams that --streams says were served; 2 wrong usage; "
    "3 the address or the certificate cannot be used; 128 + n ended by signal n.",
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
    drain: opt.DrainSoon = 5.0,
    health_port: opt.HealthPort = None,
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
    config: opt.Config = None,
    show_config: opt.ShowConfig = False,
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
        drain_s=drain,
        health_port=health_port,
        format=format,
        speed=speed,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@servers.command(
    cls=Configured,
    epilog="[bold]Exit status:[/] 2 wrong usage, rules that cannot be used; 3 an address "
    "that cannot be used; 128 + n ended by signal n.",
)
def serve(
    source: opt.FeedSources = None,
    host: opt.Host = "127.0.0.1",
    ws_port: opt.WsPort = 3001,
    sse_port: opt.SsePort = 3002,
    origin: opt.Origin = None,
    allow_host: opt.AllowHost = None,
    token_env: opt.TokenEnv = None,
    token_file: opt.TokenFile = None,
    max_clients: opt.MaxClients = None,
    limit: opt.ServingLimit = None,
    drain: opt.DrainSoon = 5.0,
    linger: opt.Linger = 0.0,
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
    config: opt.Config = None,
    show_config: opt.ShowConfig = False,
) -> None:
    """Serve the agent: WebSockets, server-sent events, and requests over HTTP.

    Clients send messages and sequences, and ask for what is in them: process, analyze, compare,
    detect_pattern, behavior, status. Each has a state of its own; what is processed is broadcast to
    those who subscribe. Over a WebSocket, {"kind": "process", "message": "hello"} is a request;
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
        token_env=token_env,
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
        linger_s=linger,
        certificate=certificate,
        key=key,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@servers.command(
    cls=Configured,
    epilog="[bold]Exit status:[/] 2 wrong usage, rules that cannot be used; 3 an address "
    "that cannot be used; 128 + n ended by signal n.",
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
    linger: opt.Linger = 0.0,
    certificate: opt.Certificate = None,
    key: opt.Key = None,
    json_lines: opt.ProxyJson = False,
    no_color: opt.NoColor = False,
    config: opt.Config = None,
    show_config: opt.ShowConfig = False,
) -> None:
    """Guard a model's answers on their way to any client that can change its base URL.

    Answers pass at once and unchanged until a rule acts: a stop closes the upstream and ends the
    client's stream as its protocol has it, a denied tool call is replaced by text that says why.
    Read are OpenAI's chat completions, Responses and Realtime (over WebSockets), Anthropic's
    messages, Ollama and llama.cpp. Where another API's model may answer (Bedrock, Google, Cohere,
    Assistants), it passes unread with a warning, and is refused where a rule may deny or stop,
    unless --allow-unread. /-/health, /-/ready and /-/metrics tell how it is.
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
        linger_s=linger,
        certificate=certificate,
        key=key,
        json_lines=json_lines,
        color=wants_color(no_color),
    )
    raise typer.Exit(status)


@servers.command(
    cls=Configured,
    epilog="[bold]Exit status:[/] 0 the user left; 2 wrong usage; 3 the address, or the terminal, "
    "cannot be used; 128 + n ended by signal n. How sources end is told and shown.",
)
def dash(
    source: opt.DashSources = None,
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
    config: opt.Config = None,
    show_config: opt.ShowConfig = False,
) -> None:
    """See what streams do while they do it: their texts, what is found in them, rates, regimes.

    In the terminal, where there is one, else as a page for browsers. Recordings of a folder can be
    played, step by step, forwards and back. Others than this machine need a token to see the page;
    it is part of the address that is told, and safe from who reads the network with --certificate.
    """
    from midstream.apps import dash as app_dash
    from midstream.apps.web.access import is_loopback

    if not source and recordings_folder is None and attach is None:
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
            recordings=recordings_folder, attach=attach, sources=source or (), color=color
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
        source or (),
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
