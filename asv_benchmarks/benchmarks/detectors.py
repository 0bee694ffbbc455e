"""Detectors alone, without asyncio: what each adds to a token, to a tool call, and in memory."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from midstream.scheduler import Scheduler
from midstream.stream import (
    DriftDetector,
    DriftTemplate,
    EarlyWarning,
    Event,
    LoopDetector,
    Offload,
    RegimeDetector,
    StallDetector,
    ToolLoopDetector,
    WarningModel,
    default_detectors,
)

from ._timing import SIZE
from .peers_tools import conversation
from .watch import words


def sentences(count: int, seed: int = 1) -> list[str]:
    """Words with a space before each, and a full stop behind every 5 to 15."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.integers(5, 16, count))
    stops = set(ends.tolist())
    return [f"{word}." if n in stops else word for n, word in enumerate(words(count))]


def text_events(count: int) -> list[Event]:
    return [
        Event("text", seq, seq * 5_000_000, word, stream_id="0")
        for seq, word in enumerate(sentences(count))
    ]


def template() -> DriftTemplate:
    """Ten references of a thousand words."""
    return DriftTemplate.learn(["".join(sentences(1000, seed)[seed * 7 :]) for seed in range(10)])


def model() -> WarningModel:
    runs = [conversation(n % 7 + 2) for n in range(60)]
    atoms = {"sixth": {"kind": "tool_call", "arguments.start": 6}}
    return WarningModel.learn("G !sixth", runs, atoms)


MAKE = {
    "loops": lambda: [LoopDetector()],
    "stalls": lambda: [StallDetector()],
    "tool loops": lambda: [ToolLoopDetector()],
    "default": default_detectors,
    "drift": lambda: [DriftDetector(template())],
    "regime": lambda: [RegimeDetector()],
    "early warning": lambda: [EarlyWarning(model())],
}


def spent(detectors, events) -> float:
    """Seconds that detectors take for events."""
    observers = [detector.observe for detector in detectors]
    start = time.perf_counter()
    for event in events:
        for observe in observers:
            observe(event, 5_000_000)
    return time.perf_counter() - start


class TextTokens:
    """Microseconds a token, one event a token; the `default` set is to stay below 2.5."""

    params = tuple(MAKE)
    param_names = ("detector",)

    def setup(self, detector):
        self.events = text_events(min(SIZE, 20_000))

    def track_us_per_token(self, detector):
        samples = [spent(MAKE[detector](), self.events) for _ in range(5)]
        return median(samples) / len(self.events) * 1e6

    track_us_per_token.unit = "us/token"


class ArgumentTokens(TextTokens):
    """The same for the arguments of a tool call, 4 characters an event."""

    params = ("tool loops", "default")

    def setup(self, detector):
        self.events = [
            event._replace(text=event.text[at : at + 4])
            for event in conversation(200)
            if event.kind == "tool_call"
            for at in range(0, len(event.text), 4)
        ]


class ToolCalls:
    """Microseconds for a call of 120 characters and its result of 300."""

    params = ("tool loops", "early warning")
    param_names = ("detector",)

    def setup(self, detector):
        self.events = conversation(1000)

    def track_us_per_call(self, detector):
        samples = [spent(MAKE[detector](), self.events) for _ in range(5)]
        return median(samples) / 1000 * 1e6

    track_us_per_call.unit = "us/call"


class Memory:
    """Bytes that a detector holds after `SIZE` tokens of text, or a thousand calls."""

    params = ("loops", "tool loops", "drift", "regime")
    param_names = ("detector",)

    def track_bytes(self, detector):
        (one,) = MAKE[detector]()
        spent([one], text_events(min(SIZE, 20_000)) + conversation(1000))
        return one.memory_bytes

    track_bytes.unit = "bytes"


class Beside:
    """What a costly detector adds to a stream's events: in the path, and beside it.

    99th percentile of microseconds an event, of a stream of 5 ms a token, while `streams` others
    keep the worker busy.
    """

    params = (("in the path", "beside"), (0, 20))
    param_names = ("where", "streams")
    timeout = 120

    def setup(self, where, streams):
        self.events = text_events(400)

    def track_p99_us(self, where, streams):
        with Scheduler("edf", workers=1) as scheduler:
            inline = where == "in the path"

            def made():
                return Offload(RegimeDetector(), scheduler=scheduler, inline=inline)

            others, one = [made() for _ in range(streams)], made()
            samples = []
            for event in self.events:
                for other in others:
                    other.observe(event, 0)
                start = time.perf_counter()
                one.observe(event, 0)
                samples.append(time.perf_counter() - start)
                time.sleep(0.005)
            for other in (*others, one):
                other.finish()
        return float(np.quantile(samples, 0.99) * 1e6)

    track_p99_us.unit = "us"
