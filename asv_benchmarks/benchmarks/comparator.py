"""`Comparator`: what a result costs that is found again, beside what it costs to compute."""

from __future__ import annotations

import numpy as np

from midstream.compare import Comparator, dtw, levenshtein


class Found:
    params = (10, 100, 1000)
    param_names = ("length",)

    def setup(self, length):
        rng = np.random.default_rng(0)
        self.x, self.y = rng.normal(size=(2, length))
        self.a, self.b = rng.integers(0, 50, (2, length)).tolist()
        self.comparator = Comparator()
        for _ in range(2):
            assert self.comparator.dtw(self.x, self.y) == dtw(self.x, self.y)
            assert self.comparator.levenshtein(self.a, self.b) == levenshtein(self.a, self.b)
        assert self.comparator.cache_info().hits == 2

    def time_dtw_found(self, length):
        self.comparator.dtw(self.x, self.y)

    def time_dtw_computed(self, length):
        dtw(self.x, self.y)

    def time_levenshtein_found(self, length):
        self.comparator.levenshtein(self.a, self.b)

    def time_levenshtein_computed(self, length):
        levenshtein(self.a, self.b)
