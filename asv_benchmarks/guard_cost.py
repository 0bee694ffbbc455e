"""What a guard adds to a token: all default detectors and ten policies, over recorded answers.

    python asv_benchmarks/guard_cost.py

Each event of the shipped recordings, and of a made-up answer of 20,000 tokens with tool calls
between, is timed alone: its median, 99th and 99.9th percentile, in turns without policies and
without anything. The timer's own cost (some 40 ns) is in all of them.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable

import numpy as np
from benchmarks._keeping import keep
from benchmarks.detectors import text_events

from midstream.stream import (
    Event,
    Guard,
    Policy,
    default_detectors,
    load,
    ready_policies,
    shipped_recordings,
)

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


def ten_policies() -> list[Policy]:
    return [
        policy for name, settings in SETTINGS.items() for policy in ready_policies(name, **settings)
    ]


def answer(tokens: int = 20_000, every: int = 400) -> list[Event]:
    """Text, and a tool call with its result after each `every` tokens."""
    events: list[Event] = []

    def add(kind: str, text: str, **fields: object) -> None:
        events.append(Event(kind, len(events), len(events) * 5_000_000, text, **fields))  # type: ignore[arg-type]

    for number, event in enumerate(text_events(tokens)):
        add("text", event.text, stream_id="0")
        if number % every == every - 1:
            call, call_id = f"0/{number // every}", f"call_{number}"
            for piece in ('{"pa', 'th": "', f"file_{number}", '.txt", "limit"', ": 200}"):
                add("tool_call", piece, name="read_file", stream_id=call, call_id=call_id)
            add("tool_result", f"{number} lines", name="read_file", stream_id=call, call_id=call_id)
    return events


def times_ns(guard: Guard, events: Iterable[Event]) -> np.ndarray:
    taken: list[int] = []
    clock, take, put = time.perf_counter_ns, guard.take, taken.append
    for event in events:
        began = clock()
        take(event, 5_000_000)
        put(clock() - began)
        if guard.stopped is not None:
            break
    return np.array(taken)


def main() -> None:
    streams = {name: load(path) for name, path in shipped_recordings().items()}
    streams["20,000 tokens and calls"] = answer()
    kinds = {
        "nothing": lambda: Guard(()),
        "default detectors": lambda: Guard(default_detectors()),
        "detectors and ten policies": lambda: Guard(default_detectors(), ten_policies()),
    }
    sys.stdout.write(f"{'stream':26}{'guard':30}{'median us':>10}{'p99 us':>8}{'p99.9 us':>9}\n")
    for name, events in streams.items():
        for kind, make in kinds.items():
            rows = []
            for _ in range(5):
                guard = make()
                gc.collect()
                gc.disable()
                found = times_ns(guard, events) / 1e3
                gc.enable()
                rows.append(np.percentile(found, (50, 99, 99.9)))
            middle, high, highest = np.median(rows, axis=0)
            for what, value in (("median", middle), ("p99", high), ("p999", highest)):
                keep(f"{kind}.{what}.{name}", value, "us")
            sys.stdout.write(f"{name:26}{kind:30}{middle:10.2f}{high:8.1f}{highest:9.1f}\n")


if __name__ == "__main__":
    main()
