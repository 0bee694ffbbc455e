"""`Grammar`: symbols a second by what repeats in them, one push, and questions."""

from __future__ import annotations

import itertools

import numpy as np

from midstream.meta.grammar import Grammar

from ._timing import SIZE
from .repeats import fibonacci, letters, words


def shuffled() -> np.ndarray:
    """Nothing repeats; (SIZE,) uint32."""
    return np.random.default_rng(0).integers(0, 1 << 32, SIZE, dtype=np.uint32)


def loops() -> np.ndarray:
    """Phrases of 5 to 60 tokens, each said 2 to 20 times: what a model that is stuck says."""
    rng = np.random.default_rng(0)
    vocabulary = words()
    pieces, n = [], 0
    while n < SIZE:
        start, length = rng.integers(0, max(1, SIZE - 60)), rng.integers(5, 60)
        pieces.append(np.tile(vocabulary[start : start + length], rng.integers(2, 20)))
        n += len(pieces[-1])
    return np.concatenate(pieces)[:SIZE]


def phrases() -> np.ndarray:
    """A language of phrases in phrases: 4000 of 2 to 8 parts each, drawn by Zipf's law."""
    rng = np.random.default_rng(0)
    known: list[np.ndarray] = [np.array([k]) for k in range(1000)]
    for _ in range(4000):
        parts = (len(known) * rng.random(rng.integers(2, 9)) ** 3).astype(int)
        known.append(np.concatenate([known[part] for part in parts])[:200])
    pieces, n = [], 0
    while n < SIZE:
        pieces.append(known[int(len(known) * rng.random() ** 3)])
        n += len(pieces[-1])
    return np.concatenate(pieces)[:SIZE]


SEQUENCES = {
    "tokens": words,
    "phrases": phrases,
    "loops": loops,
    "four letters": letters,
    "binary": lambda: np.random.default_rng(0).integers(0, 2, SIZE),
    "constant": lambda: np.zeros(SIZE, np.uint32),
    "period 27": lambda: np.arange(SIZE) % 27,
    "fibonacci": lambda: np.frombuffer(fibonacci().encode(), np.uint8) - 97,
    "all different": shuffled,
}


class Feed:
    """An array at once, into a new grammar and into one that forgets."""

    params = (tuple(SEQUENCES), (1 << 20, 1 << 12))
    param_names = ("sequence", "max_symbols")

    def setup(self, sequence, max_symbols):
        self.symbols = SEQUENCES[sequence]().astype(np.uint32)
        grammar = Grammar(max_symbols=max_symbols)
        grammar.feed(self.symbols)
        grammar.check()
        assert np.array_equal(grammar.expand(), self.symbols[grammar.start :])

    def time_feed(self, sequence, max_symbols):
        Grammar(max_symbols=max_symbols).feed(self.symbols)


class Full:
    """Into a window of 2**20 symbols that is full already: words, loops and noise by turns."""

    def setup(self):
        self.grammar = Grammar(max_symbols=1 << 20)
        share = 1 / np.arange(1, 50_001)
        self.edges = np.cumsum(share / share.sum())
        for seed in range(100):  # what repeats takes little room
            self.grammar.feed(self.block(seed))
            if self.grammar.start > 0:
                break
        assert self.grammar.start > 0
        self.blocks = itertools.cycle([self.block(1000 + seed) for seed in range(8)])

    def block(self, seed):
        rng = np.random.default_rng(seed)
        text = np.searchsorted(self.edges, rng.random(40_000))
        loops = np.tile(text[:50], 400)
        noise = rng.integers(0, 1 << 32, 40_000)
        return np.concatenate([text, loops, noise]).astype(np.uint32)

    def time_feed_100_000(self):
        self.grammar.feed(next(self.blocks))


class Push:
    """Symbol by symbol."""

    params = ("tokens", "loops", "period 27")
    param_names = ("sequence",)

    def setup(self, sequence):
        self.symbols = SEQUENCES[sequence]().tolist()

    def time_push(self, sequence):
        push = Grammar().push
        for symbol in self.symbols:
            push(symbol)


class Questions:
    """Of a grammar of all the tokens; each time it is written out anew."""

    params = ("expand", "rules", "top", "parse", "snapshot", "copy", "check")
    param_names = ("question",)

    def setup(self, question):
        self.symbols = phrases().astype(np.uint32)
        self.grammar = Grammar()
        self.grammar.feed(self.symbols)

    def time_question(self, question):
        self.grammar.push(0)
        if question == "parse":
            self.grammar.parse(self.symbols[:10_000])
        elif question == "rules":
            self.grammar.rules(100)
        else:
            getattr(self.grammar, question)()
