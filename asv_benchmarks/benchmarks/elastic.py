"""The elastic measures of `midstream.compare`: pairs, matrices, paths."""

from __future__ import annotations

import itertools
import time

import numpy as np

from midstream import compare

MEASURES = (
    "euclidean",
    "dtw",
    "wdtw",
    "ddtw",
    "adtw",
    "soft_dtw",
    "lcss",
    "erp",
    "edr",
    "msm",
    "twe",
    "frechet",
)


def walks(count: int, n: int, dtype=np.float64, *shape: int) -> np.ndarray:
    """Random walks with mean 0 and deviation 1: (count, n, *shape)."""
    steps = np.random.default_rng(30).normal(size=(count, n, *shape))
    series = np.cumsum(steps, axis=1)
    series -= series.mean(axis=1, keepdims=True)
    series /= series.std(axis=1, keepdims=True)
    return series.astype(dtype)


def best_s(function, repeats: int = 7) -> float:
    function()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


class Pair:
    params = (MEASURES, (100, 1000), ("float64", "float32"))
    param_names = ("measure", "n", "dtype")

    def setup(self, measure, n, dtype):
        self.x, self.y = walks(2, n, dtype)
        self.function = getattr(compare, measure)
        value = self.function(self.x, self.y)
        assert value == self.function(self.y, self.x)
        assert value < float("inf")

    def time_pair(self, measure, n, dtype):
        self.function(self.x, self.y)

    def track_ns_per_cell(self, measure, n, dtype):
        cells = n if measure == "euclidean" else n * n
        return best_s(lambda: self.function(self.x, self.y)) / cells * 1e9

    track_ns_per_cell.unit = "ns"


class Multivariate:
    params = (("dtw", "erp", "twe", "frechet"), (2, 8))
    param_names = ("measure", "dimensions")

    def setup(self, measure, dimensions):
        self.x, self.y = walks(2, 500, np.float64, dimensions)
        self.function = getattr(compare, measure)

    def time_pair(self, measure, dimensions):
        self.function(self.x, self.y)


class Dtw:
    """What may save work, on 2000 samples."""

    def setup(self):
        self.x, self.y = walks(2, 2000)
        self.value = compare.dtw(self.x, self.y)
        assert compare.dtw(self.x, self.y, window=1999) == self.value
        assert compare.dtw(self.x, self.y, cutoff=self.value) == self.value
        assert compare.dtw(self.x, self.y, cutoff=self.value / 2) == float("inf")
        assert compare.dtw_path(self.x, self.y).distance == self.value

    def time_all_cells(self):
        compare.dtw(self.x, self.y)

    def time_window_of_5_percent(self):
        compare.dtw(self.x, self.y, window=100)

    def time_cutoff_at_the_value(self):
        compare.dtw(self.x, self.y, cutoff=self.value)

    def time_cutoff_at_half_the_value(self):
        compare.dtw(self.x, self.y, cutoff=self.value / 2)

    def time_path(self):
        compare.dtw_path(self.x, self.y)

    def peakmem_path(self):
        compare.dtw_path(self.x, self.y)


class SoftDtw:
    def setup(self):
        self.x, self.y = walks(2, 500)
        value, gradient = compare.soft_dtw_gradient(self.x, self.y, gamma=1.0)
        assert value == compare.soft_dtw(self.x, self.y, gamma=1.0)
        assert gradient.shape == self.x.shape

    def time_value(self):
        compare.soft_dtw(self.x, self.y, gamma=1.0)

    def time_value_and_gradient(self):
        compare.soft_dtw_gradient(self.x, self.y, gamma=1.0)


class Matrix:
    """All pairs of 100 series of 256 samples."""

    params = (MEASURES, ("float64", "float32"), (1, 2))
    param_names = ("measure", "dtype", "n_jobs")

    def setup(self, measure, dtype, n_jobs):
        self.series = walks(100, 256, dtype)
        self.half = self.series[:50], self.series[50:]
        condensed = self.pdist(measure, n_jobs)
        function = getattr(compare, measure)
        for k, (i, j) in enumerate(itertools.combinations(range(100), 2)):
            if k % 97 == 0:
                assert condensed[k] == function(self.series[i], self.series[j])

    def pdist(self, measure, n_jobs):
        return compare.pdist(self.series, measure, n_jobs=n_jobs)

    def time_pdist(self, measure, dtype, n_jobs):
        self.pdist(measure, n_jobs)

    def time_cdist(self, measure, dtype, n_jobs):
        compare.cdist(*self.half, measure, n_jobs=n_jobs)

    def track_ns_per_cell(self, measure, dtype, n_jobs):
        cells = 100 * 99 // 2 * 256 * (1 if measure == "euclidean" else 256)
        return best_s(lambda: self.pdist(measure, n_jobs), repeats=3) / cells * 1e9

    track_ns_per_cell.unit = "ns"


class Threads:
    """One thread's time over that of two."""

    params = ("dtw", "erp", "msm")
    param_names = ("measure",)

    def setup(self, measure):
        self.series = walks(200, 256)

    def track_speedup_of_two_threads(self, measure):
        one, two = (
            best_s(lambda n=n: compare.pdist(self.series, measure, n_jobs=n), repeats=5)
            for n in (1, 2)
        )
        return one / two

    track_speedup_of_two_threads.unit = "x"


class Ragged:
    """Lengths from 32 to 480, in a list."""

    params = (1, 2)
    param_names = ("n_jobs",)

    def setup(self, n_jobs):
        lengths = np.random.default_rng(31).integers(32, 481, 100)
        self.series = [walk[:n] for walk, n in zip(walks(100, 480), lengths, strict=True)]

    def time_pdist(self, n_jobs):
        compare.pdist(self.series, "dtw", n_jobs=n_jobs)
