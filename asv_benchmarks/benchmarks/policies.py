"""Policies alone: what ten of them add to a token, a call and its result, and what they take."""

from __future__ import annotations

import time
import tracemalloc
from statistics import median

from midstream.stream import Event, Guard, PolicySet, load_policies, ready_policies
from midstream.stream.formats import ChatMapper

from .detectors import text_events

SETTINGS = {
    "read-before-write": {},
    "confirm-before-destroy": {},
    "no-secret": {},
    "no-repeated-failing-call": {},
    "token-budget": {"tokens": 10_000_000},
    "call-limit": {"calls": 100_000},
    "rate-limit": {"calls": 1000},
    "time-limit": {"seconds": 1e6},
    "ends-with-answer": {},
    "untrusted-input": {},
}
FILE = """
[atoms]
delete = { tool = "delete_*" }
backup = { tool = "backup" }

[[rule]]
name = "backup first"
formula = "!delete W backup"
key = "arguments.path"

[ready.no-secret]
[ready.read-before-write]
"""


def ten():
    return [p for name, given in SETTINGS.items() for p in ready_policies(name, **given)]


def calls(count: int) -> list[Event]:
    """Calls in pieces of a few characters, each with its result."""
    events: list[Event] = []
    for n in range(count):
        text = f'{{"path": "file_{n}.txt", "mode": "plain", "limit": {n}, "tags": ["a", "b"]}}'
        for at in range(0, len(text), 4):
            piece, place = text[at : at + 4], len(events)
            event = Event("tool_call", place, place, piece, "read_file", None, f"0/{n}", f"c{n}")
            events.append(event)
        place = len(events)
        events.append(Event("tool_result", place, place, f"{n} lines", None, None, "", f"c{n}"))
    return events


def micros(guard: Guard, events: list[Event], kind: str) -> float:
    """Median microseconds of events of a kind."""
    clock, taken = time.perf_counter_ns, []
    for event in events:
        began = clock()
        guard.take(event, 1000)
        if event.kind == kind:
            taken.append(clock() - began)
    return median(taken) / 1e3


class Added:
    """Median microseconds for an event, beyond a guard without anything."""

    params = (["text", "tool_call", "tool_result"],)
    param_names = ("kind",)

    def setup(self, kind: str) -> None:
        self.compiled = PolicySet(ten())
        self.events = text_events(20_000) if kind == "text" else calls(300)

    def track_added(self, kind: str) -> float:
        with_them = micros(Guard((), self.compiled), self.events, kind)
        return with_them - micros(Guard(()), self.events, kind)

    track_added.unit = "us"


class Choices:
    """The same for a token of one of several choices, of which each comes in turn."""

    params = ([1, 2, 8],)
    param_names = ("choices",)

    def setup(self, choices: int) -> None:
        self.compiled = PolicySet(ten())
        mapper = ChatMapper()
        self.events = []
        for number, event in enumerate(text_events(8000)):
            delta = {"index": number % choices, "delta": {"content": event.text}}
            self.events += mapper.events({"choices": [delta]}, number * 1000)

    def track_added(self, choices: int) -> float:
        with_them = micros(Guard((), self.compiled), self.events, "text")
        return with_them - micros(Guard(()), self.events, "text")

    track_added.unit = "us"


class Beginning:
    """What a process and a stream begin with."""

    def setup(self) -> None:
        self.compiled = PolicySet(ten())

    def time_ten_policies(self) -> None:
        PolicySet(ten())

    def time_a_file(self) -> None:
        PolicySet(load_policies(FILE))

    def time_a_stream(self) -> None:
        Guard((), self.compiled)

    def track_kib_of_a_stream(self) -> float:
        Guard((), self.compiled).take(text_events(1)[0])
        tracemalloc.start()
        guards = [Guard((), self.compiled) for _ in range(100)]
        for guard in guards:
            guard.take(Event("text", 0, 0, "Once", None, None, "0"))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return held / 100 / 1024

    track_kib_of_a_stream.unit = "KiB"
