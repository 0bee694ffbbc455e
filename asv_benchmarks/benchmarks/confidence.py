"""`midstream.meta`'s confidence sequences and e-processes."""

from __future__ import annotations

import numpy as np

from midstream.meta.confidence import ConfidenceSequence, EProcess


def losses(n: int) -> np.ndarray:
    return np.random.default_rng(7).beta(2, 5, n)


class Sequence:
    params = ("betting", "bernstein", "hoeffding")
    param_names = ("method",)

    def setup(self, method):
        self.x = losses(10_000)
        self.interval = ConfidenceSequence(method=method)
        self.interval.update_many(self.x)
        assert self.interval.lower < 2 / 7 < self.interval.upper

    def time_update_many(self, method):
        ConfidenceSequence(method=method).update_many(self.x)

    def time_update_and_look(self, method):
        self.interval.update(0.3)
        return self.interval.lower, self.interval.upper


class Capital:
    params = (False, True)
    param_names = ("restarts",)

    def setup(self, restarts):
        self.x = 2 * losses(10_000) - 1
        self.capital = EProcess(restarts)

    def time_update(self, restarts):
        self.capital.update(-0.1)

    def time_update_many(self, restarts):
        # 10,000 losses in a row, until most bets are as good as nothing.
        self.capital.update_many(self.x)
