"""Drift detectors: a sample from Python, many at once, and the slowest of a thousand."""

from __future__ import annotations

import time

import numpy as np

from midstream.meta import Adwin, Cusum, Drift, DriftBank, PageHinkley, evaluate_drift

from ._timing import SIZE

DETECTORS = {
    "adwin": Adwin,
    "adwin, clock 1": lambda: Adwin(clock=1),
    "page_hinkley": lambda: PageHinkley(1e9),
    "cusum": lambda: Cusum(1e9),
    "drift, learned scale": lambda: Drift("adwin", scale="learned"),
}


def stationary(n: int = SIZE) -> np.ndarray:
    return np.random.default_rng(5).random(n)


class Update:
    """A thousand samples a call after `SIZE` others: a thousandth is the cost of one."""

    params = tuple(DETECTORS)
    param_names = ("detector",)

    def setup(self, detector):
        self.detector = DETECTORS[detector]()
        self.detector.update_many(stationary())
        assert self.detector.n_detections == 0
        self.samples = stationary(1000).tolist()

    def time_update_1000(self, detector):
        update = self.detector.update
        for x in self.samples:
            update(x)


class UpdateMany:
    """`SIZE` samples in one call."""

    params = tuple(DETECTORS)
    param_names = ("detector",)

    def setup(self, detector):
        self.samples = stationary()

    def time_update_many(self, detector):
        DETECTORS[detector]().update_many(self.samples)


class Tail:
    """Nanoseconds of single calls, clock included, over a long stationary window."""

    params = ("adwin", "adwin, clock 1")
    param_names = ("detector",)
    unit = "ns"

    def setup(self, detector):
        self.detector = DETECTORS[detector]()
        self.detector.update_many(stationary(1_000_000))
        update, now = self.detector.update, time.perf_counter_ns
        self.times = []
        for x in stationary(100_000).tolist():
            start = now()
            update(x)
            self.times.append(now() - start)

    def track_median_ns(self, detector):
        return float(np.median(self.times))

    def track_p999_ns(self, detector):
        return float(np.quantile(self.times, 0.999))


class Memory:
    """Buckets that a window of ten million samples takes, 16 bytes each."""

    unit = "buckets"

    def track_buckets(self):
        detector = Adwin(clock=1000)
        for _ in range(10):
            detector.update_many(stationary(1_000_000))
        return detector.n_buckets


class Bank:
    """Eight signals at once."""

    def setup(self):
        self.bank = DriftBank({f"signal {i}": Adwin() for i in range(8)})
        self.signals = {f"signal {i}": i / 8 for i in range(8)}

    def time_update_8(self):
        self.bank.update(self.signals)


class Quality:
    """Score above guessing on 20 shifts by one deviation, 500 samples apart."""

    params = ("adwin", "page_hinkley", "cusum", "never", "always", "every 100")
    param_names = ("detector",)
    unit = "skill"

    def setup(self, detector):
        rng = np.random.default_rng(8)
        n = 10_500
        self.n, self.changes = n, range(500, n, 500)
        level = np.repeat(np.arange(21) % 2, 500)
        self.samples = rng.normal(level, 1.0)

    def track_skill(self, detector):
        fixed = {"never": [], "always": range(self.n), "every 100": range(100, self.n, 100)}
        if detector in fixed:
            alarms = fixed[detector]
        else:
            alarms = Drift(detector, scale="learned").update_many(self.samples)
        return evaluate_drift(alarms, self.changes, self.n, tolerance=150).skill
