"""``midstream demo realtime``: a conversation over a WebSocket, with both its ends in this program.

The server plays a script in the names of the Realtime API; the client is the one that the library
has. Nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from midstream.apps.live import LiveText
from midstream.apps.output import Interrupted, Output, OutputFailed, tell_error
from midstream.apps.session import FAILED, FOUND, NOTHING, Signals, exit_status
from midstream.apps.show import JsonShow, Show, TextShow
from midstream.errors import MidstreamError
from midstream.stream import Event, Finding, Policy, RealtimeClient, Report
from midstream.stream.realtime.connecting import require_websockets

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

__all__ = ["play_realtime"]

_WORDS = (
    "A voice assistant, over a WebSocket: its server in this program plays a script, in text and "
    "sound, and midstream's client talks to it. A rule says that nothing is deleted. The assistant "
    "will try, and later it will lose its thread."
)
_RATE_HZ = 24_000
_BLOCK_S = 0.1
#: Seconds from one word to the next.
_PACE_S = 0.06
_LOOP = "The keeper climbed the stairs and lit the lamp. "
_KEEP = Policy(
    "nothing is deleted",
    "G !delete",
    {"delete": {"tool": "delete_*"}},
    "block",
    repair="tell the user how to do it",
)


class _Turn(NamedTuple):
    """What the user says, and what the server makes of it, response by response."""

    asks: str
    answers: tuple[str | dict[str, Any], ...]
    spoken: bool = True


_TURNS = (
    _Turn("What is in the archive?", ("Two boxes of letters, and the log of the lighthouse.",)),
    _Turn(
        "Then clear it out.",
        (
            {"name": "delete_archive", "arguments": {"name": "letters", "forever": True}},
            "I am not allowed to delete it. You can do so yourself, under settings.",
        ),
    ),
    _Turn(
        "Read me a page of the log.",
        ("It was a quiet night. " + _LOOP * 40,),
        spoken=False,
    ),
    _Turn("Thank you, that will do.", ("Good night.",)),
)


def play_realtime(speed: float, *, json_lines: bool, color: bool) -> int:
    """Play the conversation; return the exit status: 0 if what is wrong was found, and no more.

    Parameters
    ----------
    speed : float
        Times the pace that lets one follow.
    json_lines : bool
        Findings and the report as JSON lines.
    color : bool
        Colours, where there is a terminal.
    """
    stdout = Output(sys.stdout, "standard output")
    try:
        require_websockets()
    except ModuleNotFoundError as missing:
        tell_error(str(missing))
        return FAILED
    notes = None if json_lines else LiveText(stdout, color=color)
    show: Show = JsonShow(stdout) if notes is None else TextShow(notes)
    if notes is not None:
        notes.line(_WORDS, "bold")
        notes.line()
    failure: MidstreamError | None = None
    deleted: list[str] = []
    with Signals(show.outputs) as signals:
        client: RealtimeClient | None = None

        def found(finding: Finding) -> None:
            try:
                show.finding(finding)
            except Interrupted:
                signals.cancel()

        async def delete_archive(name: str, forever: bool = False) -> str:
            deleted.append(name)
            return "done"

        async def run() -> None:
            nonlocal client
            signals.watch_task()
            async with _Stage(speed).serving() as url:
                client = RealtimeClient.connect(
                    url,
                    model="scripted",
                    api_key="",
                    policies=_KEEP,
                    tools={"delete_archive": delete_archive},
                    on_finding=found,
                )
                async with client:
                    await _talk(client, show, notes)

        try:
            asyncio.run(run())
        except OutputFailed:
            raise
        except MidstreamError as error:
            failure = error
        except (asyncio.CancelledError, Interrupted):
            if not signals.number:
                raise
        signals.allow_output()
        report = None if client is None else client.report()
        if report is not None:
            with suppress(Interrupted):
                show.report(report, {"source": "demo:realtime"})
        if failure is not None:
            tell_error(str(failure))
    if signals.number:
        return 128 + signals.number
    if failure is not None or report is None:
        return FOUND if report is None else exit_status(report)
    return NOTHING if _as_expected(report) and not deleted else FOUND


def _as_expected(report: Report) -> bool:
    severe = [one.kind for one in report.findings if one.severity in ("block", "stop")]
    known = severe == ["policy", "loop"] and {one.kind for one in report.findings} == set(severe)
    return known and not report.errors and report.outcome == "ended"


async def _talk(client: RealtimeClient, show: Show, notes: LiveText | None) -> None:
    """Say what the user says, and show what comes, until the server ends the session."""
    for turn in _TURNS:
        if notes is not None:
            notes.line(f"You: {turn.asks}", "bold cyan")
        await client.send_text(turn.asks)
        await client.create_response()
        left = len(turn.answers)
        sounds: list[Event] = []  # as loud as it was, in one row behind the words
        async for event in client:
            if event.kind == "audio" and not event.text:
                sounds.append(event)
                continue
            if event.kind == "end":
                for sound in sounds:
                    show.event(sound)
                sounds.clear()
            show.event(event)
            left -= event.kind == "end"
            if not left:
                break
        if notes is not None:
            notes.line()
    async for event in client:
        show.event(event)


class _Stage:
    """The server: answers each ``response.create`` with the next response of the script."""

    def __init__(self, speed: float) -> None:
        self._pause_s = _PACE_S / speed
        self._numbers = count(1)
        self._responses = [(answer, turn.spoken) for turn in _TURNS for answer in turn.answers]
        self._playing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen on this machine; yield the URL."""
        from websockets.asyncio.server import serve

        async with serve(self._serve, "127.0.0.1", 0) as server:
            host, port = next(iter(server.sockets)).getsockname()[:2]
            yield f"ws://{host}:{port}/v1/realtime"

    async def _serve(self, socket: ServerConnection) -> None:
        await self._say(socket, "session.created", session={"type": "realtime", "id": "demo"})
        responses = iter(self._responses)
        try:
            async for text in socket:
                payload = json.loads(text)
                kind = payload["type"]
                if kind == "response.create":
                    answer, spoken = next(responses)
                    self._playing = asyncio.create_task(self._play(socket, answer, spoken=spoken))
                elif kind == "response.cancel" and self._playing is not None:
                    self._playing.cancel()
                    await asyncio.wait((self._playing,))
                    told = {"id": payload["response_id"], "status": "cancelled", "output": []}
                    await self._say(socket, "response.done", response=told)
                elif kind == "conversation.item.create":
                    await self._say(socket, "conversation.item.added", item=payload["item"])
        finally:
            if self._playing is not None:
                self._playing.cancel()

    async def _say(self, socket: ServerConnection, kind: str, **fields: Any) -> None:
        payload = {"type": kind, "event_id": f"event_{next(self._numbers)}", **fields}
        await socket.send(json.dumps(payload))

    async def _play(
        self, socket: ServerConnection, answer: str | dict[str, Any], *, spoken: bool
    ) -> None:
        """One response."""
        number = next(self._numbers)
        begun = {"id": f"resp_{number}", "status": "in_progress", "output": []}
        await self._say(socket, "response.created", response=begun)
        of = {"response_id": f"resp_{number}", "output_index": 0}
        item_id = f"item_{number}"
        if isinstance(answer, str):
            item = await self._message(socket, answer, item_id, of, spoken=spoken)
        else:
            item = await self._call(socket, answer, item_id, of)
        await self._say(socket, "response.output_item.done", item=item, **of)
        done = {**begun, "status": "completed", "output": [item]}
        usage = {"output_tokens": len(str(answer)) // 4}
        await self._say(socket, "response.done", response={**done, "usage": usage})
        if answer == _TURNS[-1].answers[-1]:
            await socket.close(1000, "good night")

    async def _message(
        self,
        socket: ServerConnection,
        text: str,
        item_id: str,
        of: dict[str, Any],
        *,
        spoken: bool,
    ) -> dict[str, Any]:
        kind, field = ("audio", "transcript") if spoken else ("text", "text")
        item = {"id": item_id, "type": "message", "role": "assistant"}
        begun = {**item, "status": "in_progress", "content": []}
        await self._say(socket, "response.output_item.added", item=begun, **of)
        await self._say(socket, "conversation.item.added", item=begun)
        at = {**of, "item_id": item_id, "content_index": 0}
        voice = _voice(Random(item_id))
        name = "response.output_audio_transcript" if spoken else "response.output_text"
        for word in text.split(" "):
            delta = f"{word} "
            await self._say(socket, f"{name}.delta", delta=delta, **at)
            if spoken:
                audio = base64.b64encode(next(voice)).decode("ascii")
                await self._say(socket, "response.output_audio.delta", delta=audio, **at)
            await asyncio.sleep(self._pause_s)
        content = [{"type": f"output_{kind}", field: f"{text} "}]
        return {**item, "status": "completed", "content": content}

    async def _call(
        self, socket: ServerConnection, call: dict[str, Any], item_id: str, of: dict[str, Any]
    ) -> dict[str, Any]:
        item = {"id": item_id, "type": "function_call", "name": call["name"]}
        item["call_id"] = f"call_{item_id}"
        begun = {**item, "status": "in_progress", "arguments": ""}
        await self._say(socket, "response.output_item.added", item=begun, **of)
        await self._say(socket, "conversation.item.added", item=begun)
        arguments = json.dumps(call["arguments"])
        place = {**of, "item_id": item_id, "call_id": item["call_id"]}
        kind = "response.function_call_arguments"
        for begin in range(0, len(arguments), 8):
            await self._say(socket, f"{kind}.delta", delta=arguments[begin : begin + 8], **place)
            await asyncio.sleep(self._pause_s)
        await self._say(socket, f"{kind}.done", arguments=arguments, **place)
        return {**item, "status": "completed", "arguments": arguments}


def _voice(random: Random) -> Iterator[bytes]:
    """Blocks of something like speech, PCM16."""
    n = int(_RATE_HZ * _BLOCK_S)
    pitch_hz = 110.0 + 60.0 * random.random()
    for block in count():
        time_s = (block * n + np.arange(n)) / _RATE_HZ
        tones: Sequence[Any] = [np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 6)]
        loud = np.sin(2 * np.pi * 0.35 * time_s) ** 2 + 0.02
        yield (np.sum(tones, axis=0) * loud * 8000).astype("<i2").tobytes()
