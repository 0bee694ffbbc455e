"""Messages of a Realtime session to events, beside the official SDK's connection object.

Both get the same messages from memory, over an object that stands for the WebSocket, and hand out
everything. The SDK gives an object a payload; we give events, and keep the conversation, look for
loops and silence, and measure what is audio.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import ClassVar

import numpy as np

from midstream.stream import RealtimeClient
from midstream.stream.realtime import RealtimeLimits
from midstream.stream.realtime import link as linked

from ._timing import Peer

COUNT = 500
_PLACE = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}


def _session(deltas):
    """Messages of a session with one response."""
    item = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress"}
    item["content"] = []
    payloads = [
        {"type": "session.created", "session": {"id": "s", "type": "realtime"}},
        {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.output_item.added", "response_id": "r", "output_index": 0, "item": item},
        *[{**_PLACE, **delta} for delta in deltas],
        {"type": "response.done", "response": {"id": "r", "status": "completed", "output": []}},
    ]
    numbered = [{**one, "event_id": f"event_{n}"} for n, one in enumerate(payloads)]
    return [json.dumps(one).encode() for one in numbered]


class _Memory:
    """Stands for a WebSocket: messages, then silence."""

    closed = None  # what is raised then
    close_code = None
    close_reason = None
    state = 1

    def __init__(self, messages):
        self._messages = iter(messages)
        self._over = asyncio.Event()

    async def recv(self, decode=None):
        for message in self._messages:
            return message if decode is False else message.decode()
        await self._over.wait()
        raise self.closed(None, None)

    async def send(self, text):
        pass

    async def close(self, code=1000, reason=""):
        self._over.set()


class _Session(Peer):
    """500 messages with one delta each."""

    library = "openai.AsyncRealtimeConnection"
    options: ClassVar[dict] = {}

    def deltas(self):
        raise NotImplementedError

    def setup(self):
        try:
            from openai.resources.realtime.realtime import AsyncRealtimeConnection
            from websockets.exceptions import ConnectionClosedOK
        except ImportError:
            raise NotImplementedError("openai or websockets is not installed") from None
        _Memory.closed = ConnectionClosedOK
        self.connection = AsyncRealtimeConnection
        self.messages = _session(self.deltas())
        self.loop = asyncio.new_event_loop()
        self.opened, linked.open_socket = linked.open_socket, self._open
        n_ours = sum(bool(event.text) or event.kind == "audio" for event in self.ours())
        n_theirs = sum(one.type.endswith(".delta") for one in self.peer())
        assert n_ours - 1 == n_theirs == COUNT  # the end has a text, too

    def teardown(self):
        linked.open_socket = self.opened
        self.loop.close()

    async def _open(self, *_):
        return _Memory(self.messages)

    def ours(self):
        return self.loop.run_until_complete(self._ours())

    async def _ours(self):
        limits = RealtimeLimits(max_events=2 * COUNT)
        client = RealtimeClient.connect("ws://127.0.0.1", api_key="", limits=limits, **self.options)
        events = []
        async with client:
            while not events or events[-1].kind != "end":
                events.append(await anext(client))
        return events

    def peer(self):
        return self.loop.run_until_complete(self._peer())

    async def _peer(self):
        connection = self.connection(_Memory(self.messages))
        events = [await connection.recv()]
        while events[-1].type != "response.done":
            events.append(await connection.recv())
        return events


class Text(_Session):
    """Words, watched by the default detectors."""

    def deltas(self):
        return [{"type": "response.output_text.delta", "delta": f"word{n} "} for n in range(COUNT)]


class TextUnwatched(Text):
    """Words, without a detector."""

    options: ClassVar[dict] = {"make_detectors": tuple}


class Audio(_Session):
    """A tenth of a second of sound each; ours decodes it, and measures how loud it is."""

    def deltas(self):
        tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(2400) / 24_000)
        delta = base64.b64encode(tone.astype("<i2").tobytes()).decode()
        return [{"type": "response.output_audio.delta", "delta": delta}] * COUNT
