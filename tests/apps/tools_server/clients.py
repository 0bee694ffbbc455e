"""Helpers: the official client, in memory, over pipes and over HTTP; and recordings to look at."""

from __future__ import annotations

import contextlib
import json
import shutil

from mcp import Client

from midstream.apps.tools_server import ToolServer
from midstream.stream import Event, RecordingsFolder, shipped_recordings

#: Both eras of the protocol.
MODES = ("2026-07-28", "legacy")
#: Keys as providers make them; these open nothing.
SECRET = "sk-proj-" + "Ab3dEf6hIj9lMn2pQr5tUv8xYz1" * 3
AWS = "AKIAIOSFODNN7EXAMPLE"


@contextlib.asynccontextmanager
async def connected(*, mode="auto", **options):
    """A client in memory."""
    async with Client(ToolServer(**options).server, mode=mode, cache=None) as client:
        yield client


async def ask(client, tool, /, **arguments):
    """The result of a tool that works."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def refused(client, tool, /, **arguments):
    """What a tool says that does not."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.content[0].text
    assert result.structured_content is None
    return result.content[0].text


async def read(client, uri):
    """A resource's JSON."""
    (content,) = (await client.read_resource(uri)).contents
    return json.loads(content.text)


def shipped(path):
    """A folder with the recordings that midstream has with it."""
    for recording in shipped_recordings().values():
        shutil.copy(recording, path)
    return path


def with_secrets(path, name="leak.jsonl"):
    """A recording with keys: in one piece, and cut into many."""
    folder = RecordingsFolder(path)
    events = [Event("text", 0, 0, "The key is ")]
    for piece in (SECRET[k : k + 5] for k in range(0, len(SECRET), 5)):
        events.append(Event("text", len(events), 1_000_000 * len(events), piece))
    n = len(events)
    events += [
        Event("text", n, 10**9, " and that was the unicorn."),
        Event("tool_call", n + 1, 2 * 10**9, f'{{"key": "{AWS}"}}', "deploy", None, "0/0", "c1"),
        Event("tool_result", n + 2, 3 * 10**9, f"deployed with {AWS}", "deploy", None, "0/0", "c1"),
        Event("end", n + 3, 4 * 10**9, "stop"),
    ]
    with folder.recorder(name, source="test") as recorder:
        for event in events:
            recorder.write(event)
        recorder.settle("ended")
    return path
