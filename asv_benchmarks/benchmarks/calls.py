"""`CallAssembler` over arguments in fragments, and `canonical_arguments`."""

from __future__ import annotations

import functools
import json
import time

from midstream.stream import CallAssembler, Event, canonical_arguments


@functools.cache
def arguments(kind: str) -> str:
    """About 10,000 characters of JSON."""
    if kind == "file":
        return json.dumps({"path": "/tmp/x.py", "content": 'print("hello", 1)\n' * 500})
    if kind == "rows":
        rows = [{"id": i, "name": f"name {i}", "share": i / 7, "on": True} for i in range(180)]
        return json.dumps({"table": "people", "rows": rows})
    return json.dumps({"numbers": [i * i / 3 for i in range(550)]})


def fragments(kind: str, size: int = 4) -> list[str]:
    text = arguments(kind)
    return [text[start : start + size] for start in range(0, len(text), size)]


class CallFragments:
    """Nanoseconds a fragment of 4 characters, one event each."""

    params = ("file", "rows", "numbers")
    param_names = ("arguments",)
    unit = "ns/fragment"

    def setup(self, kind):
        self.events = [
            Event("tool_call", seq, 0, piece, "tool", None, "0/0", "call_1")
            for seq, piece in enumerate(fragments(kind))
        ]

    def track_ns_per_fragment(self, kind):
        best = float("inf")
        for _ in range(9):
            take = CallAssembler().take
            start = time.perf_counter_ns()
            for event in self.events:
                call = take(event)
            best = min(best, time.perf_counter_ns() - start)
            assert call.value == json.loads(arguments(kind))
        return best / len(self.events)


class Canonical:
    """One call's arguments as one text."""

    params = ("file", "rows", "numbers", "small")
    param_names = ("arguments",)

    def setup(self, kind):
        small = '{"query": "flights to Berlin", "limit": 10, "exact": false}'
        self.text = small if kind == "small" else arguments(kind)

    def time_canonical(self, kind):
        canonical_arguments(self.text)
