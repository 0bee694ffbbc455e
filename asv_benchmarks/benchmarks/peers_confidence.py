"""Confidence sequences beside confseq, by the authors of the papers, and beside numpy."""

from __future__ import annotations

import math

import numpy as np

from midstream.meta.confidence import ConfidenceSequence, EProcess

from ._timing import Peer
from .confidence import losses


class Betting(Peer):
    """The bounds after each of 1000 values, on a grid of 1000 means."""

    library = "confseq.betting.betting_cs"

    def setup(self):
        try:
            from confseq.betting import betting_cs
        except (ImportError, AttributeError):  # 0.0.11 asks numpy 2 for float_
            raise NotImplementedError("confseq is not installed, or not with numpy < 2") from None
        self.betting_cs = betting_cs
        self.x = losses(1000)
        lower, upper = self.ours()
        peer_lower, peer_upper = self.peer()
        # Theirs rounds to the grid inwards or outwards.
        assert abs(lower[-1] - peer_lower[-1]) < 0.01
        assert abs(upper[-1] - peer_upper[-1]) < 0.01

    def ours(self):
        interval = ConfidenceSequence()
        lower, upper = [], []
        for value in self.x.tolist():
            interval.update(value)
            lower.append(interval.lower)
            upper.append(interval.upper)
        return lower, upper

    def peer(self):
        return self.betting_cs(self.x, alpha=0.05, running_intersection=True)


class BettingArrays(Betting):
    """The same beside the paper's formulas in numpy, all values at once."""

    library = "numpy"

    def setup(self):
        self.x = losses(1000)
        lower, upper = self.ours()
        peer_lower, peer_upper = self.peer()
        assert abs(lower[-1] - peer_lower[-1]) < 1e-9
        assert abs(upper[-1] - peer_upper[-1]) < 1e-9

    def peer(self):
        lower = _lower(self.x)
        return lower, 1 - _lower(1 - self.x)


def _lower(x: np.ndarray) -> np.ndarray:
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.sqrt(2 * math.log(40) / (before * t * np.log(t + 1)))
    means = np.arange(1001) / 1000
    cut = np.minimum(bets[:, None], 0.5 / np.maximum(means, 1e-300))
    refuted = np.cumsum(np.log1p(cut * (x[:, None] - means)), axis=0) >= math.log(40)
    last = np.where(refuted.any(axis=1), 1000 - refuted[:, ::-1].argmax(axis=1), 0)
    return np.maximum.accumulate(last) / 1000


class Capital(Peer):
    """One value into a mixture of 16 bets: numpy's arrays for what takes one call here."""

    library = "numpy"

    def setup(self):
        self.capital = EProcess()
        j = np.arange(16)
        self.bets = 0.98 * 2.0 ** (-j / 2)
        weights = (j + 2.0) ** -1.5
        self.logs = np.log(weights / weights.sum())
        assert abs(self.ours() - self.peer()) < 1e-9

    def ours(self):
        return self.capital.update(0.0)

    def peer(self):
        self.logs += np.log1p(self.bets * 0.0)
        most = self.logs.max()
        return most + math.log(np.exp(self.logs - most).sum())
