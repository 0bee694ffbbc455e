"""Agents' tool calls: recorded runs as events, and seeded variations of loops and of progress.

A run is a list of turns; a turn is what the model asks for at once: calls, then their results.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from midstream.stream import Event

Call = tuple[str, str, str]
Turn = list[Call]


class Variation(NamedTuple):
    """Turns with something at their end; `third` is the call with which it is there three times."""

    kind: str
    loops: bool
    turns: list[Turn]
    third: int


def events_of(turns: list[Turn], start: int = 0) -> list[Event]:
    """Each call one event, then the results of its turn."""
    events: list[Event] = []
    n = start
    for turn in turns:
        for index, (name, arguments, _) in enumerate(turn):
            at = len(events)
            call_id = f"call_{n + index}"
            events.append(Event("tool_call", at, at, arguments, name, None, f"0/{index}", call_id))
        for index, (name, _, result) in enumerate(turn):
            at = len(events)
            events.append(Event("tool_result", at, at, result, name, None, "", f"call_{n + index}"))
        n += len(turn)
    return events


def react_runs(path: Path) -> Iterator[tuple[dict[str, Any], list[Turn]]]:
    """The recorded episodes, each step a call."""
    for line in path.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        yield (
            run,
            [
                [(step["action"], json.dumps({"text": step["argument"]}), step["observation"])]
                for step in run["steps"]
            ],
        )


def airline_runs(path: Path) -> Iterator[tuple[dict[str, Any], list[Turn]]]:
    """The recorded runs, each call a turn."""
    for line in path.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        results = {
            event["call_id"]: event["text"]
            for event in run["events"]
            if event["type"] == "tool_result"
        }
        yield (
            run,
            [
                [(event["name"], event["arguments"], results[event["call_id"]])]
                for event in run["events"]
                if event["type"] == "tool_call"
            ],
        )


def prefix(rng: random.Random) -> list[Turn]:
    """Some calls that differ, as runs begin."""
    return [
        [(rng.choice(_TOOLS), _text({"query": _words(rng, 3)}), _words(rng, 30))]
        for _ in range(rng.randrange(4))
    ]


def variations(rng: random.Random, before: list[Turn] | None = None) -> Iterator[Variation]:
    """Every kind once, behind `before`."""
    before = prefix(rng) if before is None else before
    name = rng.choice(_TOOLS)
    body = {"query": _words(rng, 3), "limit": rng.randrange(5, 50), "deep": True, "near": [1, 2]}
    result = rng.choice([f"No results for {_words(rng, 2)}.", "[]", _words(rng, 40), "Error: 500"])
    copies = rng.randrange(4, 13)
    n = sum(map(len, before))

    def made(kind: str, loops: bool, turns: list[Turn], third: int) -> Variation:
        return Variation(kind, loops, [*before, *turns], n + third)

    same = [(name, _text(body), result)]
    yield made("the same call", True, [same] * copies, 3)
    yield made(
        "arguments reordered",
        True,
        [[(name, _shuffled(rng, body), result)] for _ in range(copies)],
        3,
    )
    yield made(
        "a counter",
        True,
        [[(name, _text(body | {"page": i}), result)] for i in range(copies)],
        3,
    )
    yield made(
        "a counter in a text",
        True,
        [
            [(name, _text({"query": f"{body['query']} (attempt {i})"}), result)]
            for i in range(copies)
        ],
        3,
    )
    yield made(
        "identifiers",
        True,
        [
            [(name, _text(body | {"request_id": str(uuid.UUID(int=rng.getrandbits(128)))}), result)]
            for _ in range(copies)
        ],
        3,
    )
    yield made(
        "times in results",
        True,
        [
            [(name, _text(body), f"2026-11-29T10:{10 + i}:07Z {result} (took {20 + i} ms)")]
            for i in range(copies)
        ],
        3,
    )
    for length in (2, 3, 5):
        cycle = [
            [(rng.choice(_TOOLS), _text({"query": _words(rng, 4)}), _words(rng, 9))]
            for _ in range(length)
        ]
        yield made(f"a cycle of {length}", True, cycle * copies, 3 * length)
    yield made(
        "a cycle with counters",
        True,
        [
            turn
            for i in range(copies)
            for turn in (
                [("open", _text({"path": "notes.txt", "try": i}), "Error: no such file")],
                [("list", _text({"try": i}), "empty folder, no files")],
            )
        ],
        6,
    )
    yield made(
        "thoughts in between",
        True,
        [
            turn
            for _ in range(copies)
            for turn in (same, [("think", _text({"thought": _words(rng, 12)}), "")])
        ],
        5,
    )
    yield made(
        "two at once, in any order",
        True,
        [
            rng.sample([(name, _text(body), result), ("other", _text(body), result)], 2)
            for _ in range(copies)
        ],
        6,
    )
    yield made("at once", True, [same * copies], 3)

    yield made(
        "results change",
        False,
        [[(name, _text(body), f"{11 * i} % done")] for i in range(copies)],
        3,
    )
    yield made(
        "a cycle whose results change",
        False,
        [
            turn
            for i in range(copies)
            for turn in (
                [("run", _text({"what": "tests"}), f"{9 - i} failed")],
                [("fix", _text({"what": "next"}), f"changed {_words(rng, 3)}")],
            )
        ],
        6,
    )
    yield made(
        "scrolling",
        False,
        [[("scroll", _text({"by": 300}), rng.choice(["", "ok", "Done."]))]] * min(copies, 9),
        3,
    )
    yield made(
        "pages",
        False,
        [[(name, _text(body | {"page": i}), _words(rng, 40))] for i in range(copies)],
        3,
    )
    yield made(
        "parallel fan-out",
        False,
        [[(name, _text(body | {"page": i}), "[]") for i in range(3 * copies)]],
        3,
    )
    yield made(
        "polling",
        False,
        [[("get_job_status", _text({"job": 7}), "running")]] * copies,
        3,
    )
    yield made(
        "a batch",
        False,
        [[("delete_file", _text({"id": i}), "ok, deleted")] for i in range(4 * copies)],
        3,
    )
    yield made(
        "read again after a change",
        False,
        [
            turn
            for i in range(copies)
            for turn in (
                [("read", _text({"path": "a.py"}), _words(rng, 40))],
                [("edit", _text({"path": "a.py", "text": _words(rng, 20)}), "ok")],
            )
        ],
        5,
    )
    yield made(
        "tests between edits",
        False,
        [
            turn
            for i in range(2 * copies)
            for turn in (
                [("run_tests", "{}", "1 failed, 40 passed in 2.31s")],
                [("edit", _text({"path": "a.py", "text": _words(rng, 20)}), "ok")],
            )
        ],
        5,
    )
    yield made(
        "different queries",
        False,
        [[("search", _text({"query": _words(rng, 4)}), "No results")] for _ in range(copies)],
        3,
    )

    yield made(
        "arguments that grow",
        True,
        [[(name, _text({"items": body["near"] + ["x"] * i}), result)] for i in range(copies)],
        3,
    )
    yield made(
        "thoughts that are acknowledged",
        True,
        [
            turn
            for _ in range(copies)
            for turn in (same, [("think", _text({"thought": _words(rng, 12)}), "Noted.")])
        ],
        5,
    )
    yield made(
        "requests' identifiers in results",
        True,
        [
            [(name, _text(body), f"{result} (request_id: {rng.getrandbits(64) | 1 << 63:016x})")]
            for _ in range(copies)
        ],
        3,
    )
    yield made(
        "time left",
        False,
        [[(name, _text(body), f"busy, {5 * (20 - i)}s left")] for i in range(copies)],
        3,
    )
    yield made(
        "a new image each time",
        False,
        [
            turn
            for _ in range(copies)
            for turn in (
                [("screenshot", "{}", f"<image {rng.getrandbits(64) | 1 << 63:016x}>")],
                [("click", _text({"x": rng.randrange(900), "y": rng.randrange(900)}), "ok")],
            )
        ],
        5,
    )


def _text(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments)


def _shuffled(rng: random.Random, arguments: dict[str, Any]) -> str:
    names = rng.sample(list(arguments), len(arguments))
    value = {
        name: float(arguments[name]) if type(arguments[name]) is int else arguments[name]
        for name in names
    }
    return json.dumps(value, indent=rng.choice([None, 1, 4]), ensure_ascii=rng.random() < 0.5)


def _words(rng: random.Random, count: int) -> str:
    return " ".join(
        "".join(
            rng.choice("bcdfglmnprst") + rng.choice("aeiou") for _ in range(rng.randrange(1, 5))
        )
        for _ in range(count)
    )


_TOOLS = ("search", "lookup", "read_page", "find_flights", "query")
