"""Loop detection beside L0's drift rule and the shapes of vLLM's and gemini-cli's rules.

The two shapes are written from their public descriptions; `asv_benchmarks/loop_quality.py`
compares what each of them finds.
"""

from __future__ import annotations

import functools
from collections import defaultdict, deque

from midstream.compare import RunDetector
from midstream.stream import Event, LoopDetector

from ._timing import Peer
from .watch import words

TOKENS = 4000


@functools.cache
def loop() -> list[str]:
    """Healthy words, then one sentence over and over."""
    return (
        words(TOKENS) + ["", "I", "will", "check", "the", "logs", "again", "and", "retry", "."] * 40
    )


class TailRule:
    """Exact repetition at the tail: the last `copies` units of any length up to `longest` agree.

    The shape of vLLM's ``repetition_detection``.
    """

    def __init__(self, longest=64, copies=4):
        self.longest, self.copies = longest, copies
        self.tail = deque(maxlen=longest * copies)

    def update(self, token):
        self.tail.append(token)
        tail = list(self.tail)
        for period in range(1, min(self.longest, len(tail) // self.copies) + 1):
            span = tail[-period * self.copies :]
            if span[:-period] == span[period:]:
                return period
        return None


class HashRule:
    """A 50-character window seen 10 times, close together: the shape of gemini-cli's rule."""

    WINDOW, TIMES = 50, 10

    def __init__(self):
        self.text = ""
        self.seen = defaultdict(list)
        self.next = 0

    def update(self, text):
        self.text += text
        while self.next + self.WINDOW <= len(self.text):
            window = self.text[self.next : self.next + self.WINDOW]
            places = self.seen[hash(window)]
            places.append(self.next)
            self.next += 1
            if len(places) >= self.TIMES:
                recent = places[-self.TIMES :]
                if (recent[-1] - recent[0]) / (self.TIMES - 1) <= 5 * self.WINDOW:
                    return True
        return False


class DriftRule:
    """L0's drift detection as L0 calls it: the whole text, every 25 tokens."""

    def __init__(self):
        try:
            from l0.drift import DriftDetector
        except ImportError:
            raise NotImplementedError("ai2070-l0 is not installed") from None
        self.detector = DriftDetector()
        self.text = ""
        self.tokens = 0

    def update(self, token):
        self.text += token
        self.tokens += 1
        if self.tokens % 25:
            return False
        return "repetition" in self.detector.check(self.text, token).types


class _Rules(Peer):
    rule = None

    def setup(self):
        self.tokens = loop()
        assert self.ours(), "the loop at the end is found"
        assert self.peer(), f"{self.library} finds it too"

    def peer(self):
        update = type(self).rule().update  # every token, also after the first finding
        return sum(bool(update(token)) for token in self.tokens)


class ExactTail(_Rules):
    """The same question, exact copies; ours looks for periods up to 4096, not 64."""

    library = "vLLM's shape"
    rule = TailRule

    def ours(self):
        update = RunDetector(min_copies=4).update
        return sum(bool(update(token)) for token in self.tokens)


class _Text(_Rules):
    def ours(self):
        observe = LoopDetector("warn").observe
        return sum(bool(observe(Event("text", 0, 0, token), 0)) for token in self.tokens)


class WindowHashes(_Text):
    library = "gemini-cli's shape"
    rule = HashRule


class Drift(_Text):
    library = "ai2070-l0"
    rule = DriftRule
