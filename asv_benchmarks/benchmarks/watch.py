"""`watch` around a stream: what it adds to a token, and what importing it costs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from statistics import median

import numpy as np

from midstream.stream import Event, LoopDetector, StallDetector, from_iterable, watch, watch_loop

from ._timing import SIZE


def words(count: int) -> list[str]:
    """Words with a space before each, as models emit them; frequencies as in English."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = [
        " " + "".join(letters[rng.integers(0, len(letters), rng.integers(2, 9))])
        for _ in range(20_000)
    ]
    return [vocabulary[rank % 20_000] for rank in rng.zipf(1.3, count)]


def events(count: int) -> list[Event]:
    """One word an event, 5 ms apart."""
    return [
        Event("text", seq, seq * 5_000_000, word, stream_id="0")
        for seq, word in enumerate(words(count))
    ]


async def _drain(iterator) -> None:
    async for _ in iterator:
        pass


class WatchTokens:
    """Microseconds a token, one event a token."""

    params = ("source alone", "no detectors", "default detectors", "strange loop")
    param_names = ("around",)
    unit = "us/token"

    def setup(self, around):
        self.events = events(min(SIZE, 20_000))

    def make(self, around):
        source = from_iterable(self.events)
        if around == "source alone":
            return source
        if around == "strange loop":
            return watch(source, loop=watch_loop())
        return watch(source, detectors=() if around == "no detectors" else None)

    def track_us_per_token(self, around):
        samples = []
        for _ in range(15):
            iterator = self.make(around)
            start = time.perf_counter()
            asyncio.run(_drain(iterator))
            samples.append((time.perf_counter() - start) / len(self.events))
        return median(samples) * 1e6

    track_us_per_token.unit = "us/token"


class Detectors:
    """The detectors alone, without asyncio."""

    def setup(self):
        self.events = events(SIZE)

    def time_loop_detector(self):
        observe = LoopDetector().observe
        for event in self.events:
            observe(event, 5_000_000)

    def time_stall_detector(self):
        observe = StallDetector().observe
        for event in self.events:
            observe(event, 5_000_000)

    def track_loop_detector_bytes(self):
        detector = LoopDetector()
        for event in self.events:
            detector.observe(event, 0)
        return detector.memory_bytes

    track_loop_detector_bytes.unit = "bytes"


class Held:
    """Bytes that the default detectors of one stream hold after ten million tokens."""

    timeout = 300

    def track_bytes_after_ten_million(self):
        loops, stalls = LoopDetector("warn"), StallDetector()
        texts = words(100_000)
        for seq in range(10_000_000):
            # Numbers among them, so that there is no end of new tokens.
            text = f" {seq}" if seq % 10 == 0 else texts[seq * 7919 % 100_000]
            event = Event("text", seq, seq * 5_000_000, text, stream_id="0")
            loops.observe(event, 5_000_000)
            stalls.observe(event, 5_000_000)
        return loops.memory_bytes + stalls.memory_bytes

    track_bytes_after_ten_million.unit = "bytes"


class Import:
    """Seconds of ``import`` in a fresh interpreter, its own start taken off."""

    params = ("midstream", "midstream.stream")
    param_names = ("module",)

    def track_import(self, module):
        script = f"import time; t = time.perf_counter(); import {module}; "
        script += "print(time.perf_counter() - t)"
        samples = [
            float(subprocess.run([sys.executable, "-c", script], capture_output=True).stdout)
            for _ in range(7)
        ]
        return median(samples)

    track_import.unit = "seconds"
