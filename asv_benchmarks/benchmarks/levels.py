"""`Levels` and `Symbols`: what a symbol costs when units close, and what an answer costs."""

from __future__ import annotations

import numpy as np

from midstream.meta import Levels, Symbols, canonical

from ._timing import SIZE
from .repeats import words


def routines() -> np.ndarray:
    """Thirty routines of three to eleven symbols, each time a part of it."""
    rng = np.random.default_rng(0)
    parts = [np.arange(rng.integers(3, 12)) + 100 * rng.integers(0, 30) for _ in range(SIZE // 5)]
    return np.concatenate(parts)[:SIZE].astype(np.uint32)


SEQUENCES = {
    "words": lambda: words().astype(np.uint32),
    "routines": routines,
    "period 27": lambda: (np.arange(SIZE) % 27).astype(np.uint32),
}


def fed(symbols: np.ndarray, n_levels: int, phrase: int) -> Levels:
    """Phrases of `phrase` symbols, turns of eight of them, sessions of eight turns."""
    levels = Levels(n_levels)
    for number, start in enumerate(range(0, len(symbols), phrase), 1):
        levels.observe(symbols[start : start + phrase])
        levels.close(min(n_levels, 1 + (number % 8 == 0) + (number % 64 == 0)))
    return levels


class Observe:
    """The whole sequence through one level or three; SIZE symbols a call."""

    params = (tuple(SEQUENCES), (1, 3), (20, 1000))
    param_names = ("sequence", "levels", "phrase")

    def setup(self, sequence, levels, phrase):
        self.symbols = SEQUENCES[sequence]()
        best = fed(self.symbols, levels, phrase).knowledge(1)[0]
        # A pattern of the sequence, counted as a plain reading counts it.
        n = len(best.pattern)
        windows = np.lib.stride_tricks.sliding_window_view(self.symbols, n)
        starts = np.flatnonzero((windows == best.pattern).all(axis=1))
        assert 2 <= best.support <= len(starts)

    def time_observe(self, sequence, levels, phrase):
        fed(self.symbols, levels, phrase)


class Knowledge:
    """All patterns of level 1 with their bounds."""

    def setup(self):
        self.levels = fed(routines(), 1, 100)
        assert len(self.levels.knowledge(1)) > 100

    def time_knowledge(self):
        self.levels.knowledge(1)

    def time_snapshot(self):
        self.levels.snapshot()


class Encode:
    """10,000 tool calls that a table knows, and one call made canonical."""

    def setup(self):
        self.calls = [("search", f'{{"page":{k % 500}}}') for k in range(10_000)]
        self.symbols = Symbols()
        self.codes = self.symbols.encode(self.calls)
        assert self.symbols.decode(self.codes) == self.calls
        self.arguments = '{"to": "SEA", "from": "JFK", "bags": 1.0, "flags": ["a", {"b": null}]}'
        assert canonical(self.arguments).startswith('{"bags":1,')

    def time_encode(self):
        self.symbols.encode(self.calls)

    def time_decode(self):
        self.symbols.decode(self.codes)

    def time_canonical(self):
        canonical(self.arguments)
