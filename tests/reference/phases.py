"""Streams whose loops and rhythm change over time: seeded, of recorded and of made-up material.

A world says how often a stream falls into a loop that does not end, how often it repeats itself and
recovers (tables, refrains, logs, lists), how often the provider goes silent for good, and whether
it is a slow one that pauses and goes on. What each stream was worth is known, since it was built.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import NamedTuple

from midstream.stream import Event, load
from midstream.stream.adapting import StreamRecord

TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
FIRST = ("ba", "co", "di", "fle", "gru", "ho", "jun", "ki")
LAST = ("bble", "dder", "ffin", "lton", "mble", "nny", "rrow", "tch")
WORDS = [first + last for first in FIRST for last in LAST]


class World(NamedTuple):
    """Shares of streams that loop, that repeat and recover, that stall; and the rhythm."""

    loops: float
    structure: float
    stalls: float
    slow: bool


#: Two attitudes towards repetition times two rhythms, and two worlds of a little of everything.
WORLDS = {
    "loops, fast": World(0.8, 0.0, 0.5, False),
    "loops, slow": World(0.8, 0.0, 0.0, True),
    "structure, fast": World(0.02, 0.85, 0.5, False),
    "structure, slow": World(0.02, 0.85, 0.0, True),
    "mixed, fast": World(0.05, 0.1, 0.5, False),
    "mixed, slow": World(0.05, 0.1, 0.0, True),
}
#: The four that differ.
CHANGING = tuple(WORLDS)[:4]


class Material(NamedTuple):
    """Texts that are worth having, and loops: what came before, and what then repeats."""

    healthy: tuple[str, ...]
    loops: tuple[tuple[str, str], ...]


def recorded(folder: Path) -> Material:
    """Recordings of stories260K and samples of GPT-3 in the folder of shared data."""
    healthy, loops = [], []
    stories = folder / "streams" / "stories260k"
    for label in json.loads((stories / "labels.json").read_text(encoding="utf-8")).values():
        events = load(stories / label["file"])
        text = "".join(event.text for event in events)
        if not label["loop"]:
            healthy.append(text)
            continue
        run = [r for r in label["runs"] if r["length_tokens"] >= 4 * r["period_tokens"]][-1]
        if run["start_token"] + run["length_tokens"] >= label["tokens"] - 3:  # it never leaves it
            before = "".join(event.text for event in events[: run["start_token"]])
            loops.append((before, text[len(before) :]))
    for line in (folder / "loops" / "gpt3.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text, onset = row["text"], row["onset_char"]
        if row["doubt"]:
            continue
        if row["label"] == "loop":
            loops.append((text[:onset], text[onset : row["end_char"]]))
        elif row["label"] == "none" and len(text) > 600:
            healthy.append(text)
    return Material(tuple(healthy), tuple(loops))


def made_up(seed: int = 0) -> Material:
    """The same of invented words, where there are no recordings."""
    rng = random.Random(seed)
    healthy = tuple(
        ". ".join(f"{words(rng, rng.randint(5, 12))} {rng.randrange(10**6)}" for _ in range(40))
        for _ in range(40)
    )
    loops = tuple(
        (rng.choice(healthy)[:400], words(rng, rng.randint(3, 20)) + ". ") for _ in range(12)
    )
    return Material(healthy, loops)


def words(rng: random.Random, count: int) -> str:
    """Invented words with spaces between."""
    return " ".join(rng.choice(WORDS) for _ in range(count))


def structure(rng: random.Random) -> str:
    """Something that repeats and is wanted: 250 to 2,000 characters beyond its first copy."""
    size = int(250 * 8 ** rng.random())
    kind = rng.randrange(4)
    if kind == 0:  # a refrain
        lines = [words(rng, rng.randint(4, 8)) for _ in range(rng.randint(1, 4))]
        unit = "\n".join(lines) + "\n"
        return unit * (2 + size // len(unit))
    if kind == 1:  # empty rows
        unit = f"- {words(rng, rng.randint(3, 6))}: {rng.choice(['yes', 'none', 'not set'])}\n"
        return unit * (2 + size // len(unit))
    stem = words(rng, 5)
    count = 2 + size // (len(stem) + 25)
    if kind == 2:  # a list
        return "".join(f"{i}. {stem} {rng.choice(['ok', 'done'])}\n" for i in range(1, count))
    return "".join(  # a log
        f"12:{i // 60:02}:{i % 60:02} INFO {stem} served in {rng.randrange(10, 99)} ms\n"
        for i in range(count)
    )


def stream(rng: random.Random, world: World, material: Material) -> StreamRecord:
    """One whole stream of a world, and how many of its characters were worth having."""
    draw = rng.random()
    if draw < world.loops:
        before, run = rng.choice(material.loops)
        length = rng.randint(2500, 5000)
        text = before[-500:] + (run * (1 + length // len(run)))[:length]
        useful = len(before[-500:])
    elif draw < world.loops + world.structure:
        head, tail = rng.choice(material.healthy), rng.choice(material.healthy)
        text = f"{head[: rng.randint(100, 500)]}\n{structure(rng)}\n{tail[: rng.randint(300, 900)]}"
        useful = len(text)
    else:
        text = rng.choice(material.healthy)[: rng.randint(500, 2000)]
        useful = len(text)
    return timed(rng, text, useful, world)


def timed(rng: random.Random, text: str, useful: int, world: World) -> StreamRecord:
    """Give the tokens of a text the rhythm of a world."""
    tokens = TOKEN.findall(text)
    gap_s, first_s = (0.12, 6.0) if world.slow else (0.015, 0.3)
    silent = int(len(tokens) * rng.random() * 0.8) if rng.random() < world.stalls else None
    pauses = set(rng.choices(range(len(tokens)), k=rng.randint(0, 3))) if world.slow else set()
    now_s, chars, end_s, events = first_s * rng.uniform(0.5, 1.5), 0, None, []
    for index, token in enumerate(tokens):
        if index == silent:  # nothing more comes; the caller gives up after two minutes
            useful, end_s = min(useful, chars), now_s + 120
            break
        if index in pauses:
            now_s += 4 * 10 ** rng.random()
        now_s += gap_s * rng.uniform(0.5, 1.5)
        chars += len(token)
        events.append(Event("text", index, int(now_s * 1e9), token))
    end_ns = events[-1].t_ns if end_s is None and events else int((end_s or now_s) * 1e9)
    return StreamRecord(tuple(events), end_ns, useful_chars=useful)


def phases(rng: random.Random, names=CHANGING, count: int = 8, shortest=150, longest=400):
    """Worlds in unknown order, none twice in a row, each for some streams: name and length."""
    order: list[str] = []
    while len(order) < count:
        more = rng.sample(names, len(names))
        if not order or len(names) == 1 or more[0] != order[-1]:
            order += more
    return [(name, rng.randint(shortest, longest)) for name in order[:count]]


def sequence(rng: random.Random, plan, pools, fade: int = 40):
    """Streams of a plan, drawn from pools, and which phase each is judged in.

    Every second change is gradual: over the first `fade` streams the old world still shows.
    """
    streams, numbers = [], []
    for number, (name, length) in enumerate(plan):
        for place in range(length):
            gradual = number % 2 == 0 and number > 0 and place < fade
            old = gradual and rng.random() > (place + 1) / fade
            streams.append(rng.choice(pools[plan[number - 1][0] if old else name]))
            numbers.append(number)
    return streams, numbers
