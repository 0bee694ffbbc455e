"""Helpers: what a client of a scripted server hears."""

from __future__ import annotations

from contextlib import asynccontextmanager

from stream.proxy.sessions import RealtimeServer, Script

from midstream.stream.realtime import RealtimeClient, RealtimeLimits

FAST = RealtimeLimits(backoff_s=0.001, max_backoff_s=0.01, close_timeout_s=1.0)
LOOP = ("I will try that again. ",) * 60


@asynccontextmanager
async def talking(*scripts, greeting=None, server=None, **settings):
    """A server that plays scripts, and a client that is connected to it."""
    script = Script()
    said = [script.session()] if greeting is None else greeting
    settings.setdefault("limits", FAST)
    async with (
        RealtimeServer(*scripts, greeting=said, **(server or {})) as played,
        RealtimeClient.connect(played.url, model="m", **settings) as client,
    ):
        yield client, played


async def ends(client, number=1):
    """Events up to the last of some ends."""
    out = []
    while number:
        event = await anext(client)
        out.append(event)
        number -= event.kind == "end"
    return out


async def heard(client, kind):
    """Events up to a payload of a type."""
    out = []
    while True:
        event = await anext(client)
        out.append(event)
        if isinstance(event.data, dict) and event.data.get("type") == kind:
            return out


async def asked(client, text="Hi"):
    await client.send_text(text)
    await client.create_response()


def joined(events, *kinds):
    return "".join(event.text for event in events if event.kind in (kinds or ("text", "audio")))


def sent(server, *kinds):
    """Types of what the client sent, or the payloads of some types."""
    if not kinds:
        return [payload["type"] for payload in server.received]
    return [payload for payload in server.received if payload["type"] in kinds]


def outputs(server):
    items = [payload["item"] for payload in sent(server, "conversation.item.create")]
    return {
        item["call_id"]: item["output"] for item in items if item["type"] == "function_call_output"
    }


async def told(server, kind, number=1):
    """Wait until the client has said something."""
    while len(sent(server, kind)) < number:
        server.heard.clear()
        await server.heard.wait()


async def renewed(server, number, connection=1):
    """What a further connection was told, once it is so much."""
    while len(server.heard_by) <= connection or len(server.heard_by[connection]) < number:
        server.heard.clear()
        await server.heard.wait()
    return server.heard_by[connection]
