"""What happens in a simulated stream: pieces in order, without their times."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any, NamedTuple

from midstream.stream.events import Kind
from midstream.stream.simulating.prose import Prose

__all__ = ["SCENES", "Piece"]

#: Of sound or pictures, that one event tells of, and its frames: as media sources have it.
_BLOCK_S = 0.1
_FRAMES = 3


class Piece(NamedTuple):
    """One thing that a stream says."""

    kind: Kind
    text: str = ""
    name: str | None = None
    data: Any = None
    stream_id: str = "0"
    call_id: str | None = None
    #: Seconds from the piece before, instead of a token's; of a tool that runs, or a frame's.
    after_s: float | None = None


Scene = Callable[[Random, int], Iterator[Piece]]


def _story(random: Random, tokens: int) -> Iterator[Piece]:
    for token in islice(Prose(random).tokens(), tokens):
        yield Piece("text", token)
    yield Piece("end", "stop")


def _reasoning(random: Random, tokens: int) -> Iterator[Piece]:
    words = Prose(random).tokens()
    for token in islice(words, tokens // 2):
        yield Piece("reasoning", token)
    for token in islice(words, tokens - tokens // 2):
        yield Piece("text", token)
    yield Piece("end", "stop")


def _loop(random: Random, tokens: int) -> Iterator[Piece]:
    """A story that falls into one of its own paragraphs, and stays there until it is cut."""
    words = Prose(random).tokens()
    onset = min(tokens // 3, 40 + int(random.random() * 60))
    for token in islice(words, onset):
        yield Piece("text", token)
    unit = [" So", *islice(words, 11 + int(random.random() * 30)), "."]
    for place in range(tokens - onset):
        yield Piece("text", unit[place % len(unit)])
    yield Piece("end", "length")


def _near_loop(random: Random, tokens: int) -> Iterator[Piece]:
    """The same, with a counter that goes on."""
    words = Prose(random).tokens()
    onset = min(tokens // 3, 40 + int(random.random() * 60))
    for token in islice(words, onset):
        yield Piece("text", token)
    unit = list(islice(words, 14 + int(random.random() * 20)))
    left, turn = tokens - onset, 0
    while left > 0:
        turn += 1
        copy = ["\nStep", f" {turn}", ":", *unit, "."]
        for token in copy[:left]:
            yield Piece("text", token)
        left -= len(copy)
    yield Piece("end", "length")


def _choices(random: Random, tokens: int) -> Iterator[Piece]:
    """Three answers at once, whose pieces come interleaved."""
    answers = [islice(Prose(random).tokens(), tokens // 3) for _ in range(3)]
    open_ones = list(range(3))
    while open_ones:
        choice = open_ones[int(random.random() * len(open_ones))]
        token = next(answers[choice], None)
        if token is None:
            open_ones.remove(choice)
            yield Piece("end", "stop", stream_id=str(choice))
        else:
            yield Piece("text", token, stream_id=str(choice))


def _call(number: int, name: str, arguments: dict[str, Any], result: str) -> Iterator[Piece]:
    """A tool call as it is streamed, and its result."""
    call_id, stream_id = f"call_{number}", f"0/{number}"
    yield Piece("tool_call", "", name, None, stream_id, call_id)
    text = json.dumps(arguments)
    for at in range(0, len(text), 6):
        yield Piece("tool_call", text[at : at + 6], name, None, stream_id, call_id)
    yield Piece("tool_result", result, name, None, stream_id, call_id, after_s=0.25)


def _agent(random: Random, tokens: int) -> Iterator[Piece]:
    """An agent that gets on: it looks, reads, changes, and says what it did."""
    words = Prose(random).tokens()
    steps = max(2, min(40, tokens // 60))
    for step in range(steps):
        for token in islice(words, 12):
            yield Piece("text", token)
        path = f"src/part_{int(random.random() * 9000) + 1000}.py"
        size = int(random.random() * 4000)
        if step % 2 == 0:
            arguments: dict[str, Any] = {"path": path, "from_line": size}
            yield from _call(step, "read_file", arguments, f"{path}: {size} lines")
        else:
            yield from _call(
                step, "search", {"query": Prose(random).sentence()}, f"{size} matches in {path}"
            )
    for token in islice(words, 30):
        yield Piece("text", token)
    yield Piece("end", "stop")


def _tool_loop(random: Random, tokens: int) -> Iterator[Piece]:
    """An agent that tries the same call again and again, which fails each time."""
    words = Prose(random).tokens()
    for token in islice(words, 20):
        yield Piece("text", token)
    arguments = {"path": f"src/part_{int(random.random() * 9000) + 1000}.py", "line": 12}
    for step in range(max(4, min(60, tokens // 30))):
        yield from _call(step, "edit_file", arguments, "error: the file has changed since")
        for token in islice(words, 6):
            yield Piece("text", token)
    yield Piece("end", "length")


def _audio(random: Random, tokens: int) -> Iterator[Piece]:
    """Speech with its transcript; in the last third, the microphone is dead."""
    from midstream.stream.media import AudioMeter
    from midstream.stream.simulating.signals import RATE_HZ, Voice

    words = Prose(random).tokens()
    voice, meter = Voice(random), AudioMeter(RATE_HZ)
    size = round(RATE_HZ * _BLOCK_S)
    for block in range(tokens):
        speaks = block < 2 * tokens / 3
        meter.take(voice.block(size, speaks=speaks), block * _BLOCK_S)
        data = {"pts_s": _pts_s(block), "channels": 1, "dropped": 0, **meter.read()}
        text = next(words) if speaks else ""
        yield Piece("audio", text, None, data, "audio/0", after_s=_BLOCK_S)
    yield Piece("end", "stop", stream_id="audio/0")


def _video(random: Random, tokens: int) -> Iterator[Piece]:
    """Pictures that move, freeze in the second third, and are black in the last."""
    from midstream.stream.media import VideoMeter
    from midstream.stream.simulating.signals import Pictures

    pictures, meter = Pictures(random), VideoMeter()
    for block in range(tokens):
        third = 3 * block // tokens
        for frame in range(_FRAMES):
            at_s = block * _BLOCK_S + frame * _BLOCK_S / _FRAMES
            if third == 0:
                luma = pictures.moving(at_s)
            else:
                luma = pictures.frozen() if third == 1 else pictures.black()
            meter.take(luma, at_s)
        data = {"pts_s": _pts_s(block), "size": [1280, 720], "dropped": 0, **meter.read()}
        yield Piece("video", "", None, data, "video/0", after_s=_BLOCK_S)
    yield Piece("end", "stop", stream_id="video/0")


def _pts_s(block: int) -> float:
    return round((block + 1) * _BLOCK_S, 3)


#: Scenarios by name.
SCENES: dict[str, Scene] = {
    "agent": _agent,
    "audio": _audio,
    "choices": _choices,
    "loop": _loop,
    "near_loop": _near_loop,
    "reasoning": _reasoning,
    "story": _story,
    "tool_loop": _tool_loop,
    "video": _video,
}
