"""Helpers: sessions of the Realtime API in both versions' names, and a server that plays them."""

from __future__ import annotations

import asyncio
import json
from itertools import count

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

NAMES = {
    False: ("output_text", "output_audio_transcript", "output_audio", "added"),
    True: ("text", "audio_transcript", "audio", "created"),
}


class Script:
    """Payloads of one session, numbered as the server numbers them."""

    def __init__(self, *, beta=False):
        self.beta = beta
        self.text, self.transcript, self.audio, self.filed = NAMES[beta]
        self._numbers = count()

    def _of(self, kind, **fields):
        return {"type": kind, "event_id": f"event_{next(self._numbers)}", **fields}

    def session(self):
        return self._of("session.created", session={"type": "realtime", "id": "sess_1"})

    def created(self, response="resp_1"):
        begun = {"object": "realtime.response", "id": response, "status": "in_progress"}
        return self._of("response.created", response={**begun, "output": []})

    def done(self, response="resp_1", output=(), status="completed", usage=None):
        made = {"object": "realtime.response", "id": response, "status": status}
        made |= {"output": list(output), "usage": usage}
        return self._of("response.done", response=made)

    def filing(self, item):
        """What the conversation says of an item when it begins."""
        return self._of(f"conversation.item.{self.filed}", previous_item_id=None, item=item)

    def message(self, *pieces, response="resp_1", index=0, spoken=False, item_id=None):
        """Payloads of a message, and the whole item."""
        item_id = item_id or f"item_{response}_{index}"
        kind = "audio" if spoken else "text"
        field = "transcript" if spoken else "text"
        name = self.transcript if spoken else self.text
        item = {"id": item_id, "object": "realtime.item", "type": "message", "role": "assistant"}
        begun = {**item, "status": "in_progress", "content": []}
        place = {"response_id": response, "item_id": item_id, "output_index": index}
        at = {**place, "content_index": 0}
        text = "".join(pieces)
        content = {"type": kind if self.beta else f"output_{kind}", field: text}
        whole = {**item, "status": "completed", "content": [content]}
        of = {"response_id": response, "output_index": index}
        out = [
            self._of("response.output_item.added", **of, item=begun),
            self.filing(begun),
            self._of("response.content_part.added", **at, part={"type": kind, field: ""}),
        ]
        for piece in pieces:
            out.append(self._of(f"response.{name}.delta", **at, delta=piece))
            if spoken:
                out.append(self._of(f"response.{self.audio}.delta", **at, delta="UklGRg=="))
        if spoken:
            out.append(self._of(f"response.{self.audio}.done", **at))
        out += [
            self._of(f"response.{name}.done", **at, **{field: text}),
            self._of("response.content_part.done", **at, part={"type": kind, field: text}),
            self._of("response.output_item.done", **of, item=whole),
        ]
        if not self.beta:
            out.append(self._of("conversation.item.done", previous_item_id=None, item=whole))
        return out, whole

    def call(self, name, *pieces, response="resp_1", index=0, call_id="call_1"):
        """Payloads of a call, and the whole item."""
        item = {"id": f"item_{response}_{index}", "object": "realtime.item"}
        item |= {"type": "function_call", "name": name, "call_id": call_id}
        begun = {**item, "status": "in_progress", "arguments": ""}
        place = {"response_id": response, "item_id": item["id"], "output_index": index}
        place["call_id"] = call_id
        arguments = "".join(pieces)
        whole = {**item, "status": "completed", "arguments": arguments}
        of = {"response_id": response, "output_index": index}
        kind = "response.function_call_arguments"
        out = [
            self._of("response.output_item.added", **of, item=begun),
            self.filing(begun),
            *[self._of(f"{kind}.delta", **place, delta=piece) for piece in pieces],
            self._of(f"{kind}.done", **place, arguments=arguments, name=name),
            self._of("response.output_item.done", **of, item=whole),
        ]
        if not self.beta:
            out.append(self._of("conversation.item.done", previous_item_id=None, item=whole))
        return out, whole

    def response(self, *parts, response="resp_1"):
        """Payloads of a whole response of messages and calls."""
        body = [payload for payloads, _ in parts for payload in payloads]
        return [self.created(response), *body, self.done(response, [item for _, item in parts])]


async def drop(socket):
    """In a script: the connection breaks."""
    socket.transport.abort()
    await socket.wait_closed()


def closing(code, reason=""):
    """In a script: the server closes."""

    async def close(socket):
        await socket.close(code, reason)

    return close


def until(event):
    """In a script: the server waits."""

    async def wait(socket):
        await event.wait()

    return wait


class RealtimeServer:
    """A server on 127.0.0.1 that plays a script for each ``response.create``.

    What can be called in a script, or in the greeting, is called with the socket and awaited.

    Parameters
    ----------
    scripts : of lists of payloads
        One for each response, from the first again on each connection unless they are `shared`.
    greeting : list
        What is said first on each connection.
    refusals : list of (status, body)
        Answers to the first handshakes.
    aside : bool
        The server listens while it plays; ``response.cancel`` ends what it plays.
    beta : bool
        Names of the beta for what it says of items.

    Attributes
    ----------
    received : list of dict
        What the client said.
    heard_by : list of list of dict
        The same for each connection.
    sent : list of str
        What was said to it.
    requests : list
        Handshakes.
    closed : list of (code, reason)
        How connections ended.
    """

    def __init__(
        self,
        *scripts,
        greeting=(),
        subprotocols=None,
        max_size=None,
        tls=None,
        refusals=(),
        shared=False,
        aside=False,
        beta=False,
    ):
        self.scripts = [list(script) for script in scripts]
        self.greeting = greeting
        self.received = []
        self.heard_by = []
        self._refusals = list(refusals)
        self._shared = iter(self.scripts) if shared else None
        self._aside = aside
        self._filed = f"conversation.item.{NAMES[beta][3]}"
        self.sent = []
        self.requests = []
        self.closed = []
        self.sockets = []
        self.heard = asyncio.Event()
        self.ended = asyncio.Event()
        self._scheme = "http" if tls is None else "https"
        self._settings = {"subprotocols": subprotocols, "max_size": max_size, "ssl": tls}
        self._settings["process_request"] = self._refuse

    async def __aenter__(self):
        self._server = await serve(self._serve, "127.0.0.1", 0, **self._settings)
        self.url = f"{self._scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    def _refuse(self, connection, request):
        if not self._refusals:
            return None
        status, body = self._refusals.pop(0)
        return connection.respond(status, body)

    async def _play(self, socket, script):
        for one in script:
            if callable(one):
                await one(socket)
            else:
                await self.say(socket, one)

    async def say(self, socket, payload):
        text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        self.sent.append(text)
        await socket.send(text)

    async def _serve(self, socket):
        self.requests.append(socket.request)
        self.sockets.append(socket)
        scripts = iter(self.scripts) if self._shared is None else self._shared
        playing = None
        heard = []
        self.heard_by.append(heard)
        try:
            await self._play(socket, self.greeting)
            async for text in socket:
                payload = json.loads(text)
                self.received.append(payload)
                heard.append(payload)
                self.heard.set()
                kind = payload.get("type")
                if kind == "response.create":
                    play = self._play(socket, next(scripts, ()))
                    if self._aside:
                        playing = asyncio.ensure_future(play)
                    else:
                        await play
                elif kind == "response.cancel":
                    if playing is not None:
                        playing.cancel()
                    response = {"id": payload["response_id"], "status": "cancelled", "output": []}
                    await self.say(
                        socket, {"type": "response.done", "event_id": "c", "response": response}
                    )
                elif kind == "conversation.item.create":
                    item = {"id": f"made_{len(self.sent)}", **payload["item"]}
                    await self.say(socket, {"type": self._filed, "event_id": "i", "item": item})
        except ConnectionClosed:
            pass
        finally:
            if playing is not None:
                playing.cancel()
                await asyncio.wait((playing,))
            self.closed.append((socket.close_code, socket.close_reason))
            self.ended.set()
