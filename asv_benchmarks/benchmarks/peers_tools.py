"""Loops of tool calls beside the rules of opencode and gemini-cli.

The rules are written from their public descriptions; `asv_benchmarks/tool_loop_quality.py`
compares what each of them finds. What is timed is a conversation of calls that all differ.
"""

from __future__ import annotations

import json
from hashlib import sha256

from midstream.stream import Event, ToolLoopDetector

from ._timing import Peer
from .watch import words

CALLS = 400


def conversation(calls: int = CALLS) -> list[Event]:
    """Calls of some 120 characters, one event each, with results of 300."""
    events, text = [], words(14 * calls)
    for n in range(calls):
        said = "".join(text[14 * n : 14 * n + 14])
        arguments = json.dumps({"path": f"src/part_{n}.py", "start": n, "text": said})
        result = f"{n}: " + "line of a file " * 20
        events.append(Event("tool_call", 2 * n, 0, arguments, "read", None, "0/0", f"call_{n}"))
        events.append(Event("tool_result", 2 * n + 1, 0, result, "read", None, "", f"call_{n}"))
    return events


class ThreeAlike:
    """The last three calls are one tool's with equal input: opencode's rule."""

    def __init__(self):
        self.last = []

    def update(self, name, arguments):
        # Parsed and written again: white space and forms of numbers do not count, key order does.
        self.last = [*self.last[-2:], (name, json.dumps(_parsed(arguments)))]
        return len(self.last) == 3 and len(set(self.last)) == 1


class Streak:
    """Five calls in a row with one hash of name and arguments: gemini-cli's rule for calls."""

    LONGEST = 5

    def __init__(self):
        self.key = None
        self.streak = 0

    def update(self, name, arguments):
        text = f"{name}:{json.dumps(_parsed(arguments))}"
        key = sha256(text.encode("utf-8", "surrogatepass")).digest()
        self.streak = self.streak + 1 if key == self.key else 1
        self.key = key
        return self.streak >= self.LONGEST


def _parsed(arguments):
    try:
        return json.loads(arguments, parse_float=_number)
    except ValueError:
        return arguments


def _number(text):
    value = float(text)
    return int(value) if value.is_integer() else value  # as JavaScript writes it


class _Rules(Peer):
    rule = None

    def setup(self):
        self.events = conversation()
        assert not self.ours()
        assert not self.peer()

    def ours(self):
        observe = ToolLoopDetector().observe
        return sum(bool(observe(event, 0)) for event in self.events)

    def peer(self):
        update = type(self).rule().update
        return sum(
            update(event.name, event.text) for event in self.events if event.kind == "tool_call"
        )


class CallsThreeAlike(_Rules):
    """It looks at no results: a fraction of the work."""

    library = "opencode's rule"
    rule = ThreeAlike


class CallStreak(_Rules):
    library = "gemini-cli's rule"
    rule = Streak
