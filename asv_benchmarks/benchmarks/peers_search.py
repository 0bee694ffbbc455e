"""Search in series beside stumpy: one thread each, its compilation left out."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np

from midstream.compare import distance_profile, matrix_profile, search

from ._timing import Peer

SAMPLES = 1_000_000
QUERY = 128
#: 5 % of the query.
RADIUS = 6


def walk(n=SAMPLES):
    return np.random.default_rng(0).normal(size=n).cumsum()


def noise(n=SAMPLES):
    return np.random.default_rng(1).normal(size=n)


def heartbeats(n=SAMPLES):
    """What an electrocardiogram looks like, 250 samples a second: beats, drift, noise."""
    rng = np.random.default_rng(2)
    t = np.arange(n) / 250
    phase = (1.1 * t + 0.05 * np.sin(t / 7) + 0.01 * np.sin(t * 1.3)) % 1
    waves = [(0.1, 0.2, 0.03), (-0.15, 0.35, 0.01), (1, 0.38, 0.012), (-0.2, 0.41, 0.01)]
    beats = sum(a * np.exp(-(((phase - c) / w) ** 2)) for a, c, w in [*waves, (0.25, 0.6, 0.05)])
    return beats + 0.2 * np.sin(t / 3) + 0.03 * rng.normal(size=n)


def disturbed(series):
    """A query that is in the series, but not exactly."""
    part = series[5000 : 5000 + QUERY]
    return part + 0.3 * part.std() * np.random.default_rng(3).normal(size=QUERY)


def stumpy_with_one_thread():
    try:
        import numba
        import stumpy
    except ImportError:
        raise NotImplementedError("stumpy is not installed") from None
    numba.set_num_threads(1)
    return stumpy


class Euclidean(Peer):
    """The closest window under z-normalised Euclidean distance; stumpy computes all distances."""

    library = "stumpy.mass"

    def setup(self):
        self.mass = stumpy_with_one_thread().mass
        self.series = walk()
        self.query = disturbed(self.series)
        theirs = self.peer()
        assert self.ours()[0].start == int(theirs.argmin())
        assert np.allclose(self.ours()[0].distance, theirs.min(), rtol=1e-9)

    def ours(self):
        return search(self.query, self.series, metric="euclidean")

    def peer(self):
        return self.mass(self.query, self.series)


class Profile(Peer):
    """The distances of all windows on both sides."""

    library = "stumpy.mass"

    def setup(self):
        self.mass = stumpy_with_one_thread().mass
        self.series = walk()
        self.query = disturbed(self.series)
        assert np.allclose(self.ours(), self.peer(), atol=1e-6)

    def ours(self):
        return distance_profile(self.query, self.series)

    def peer(self):
        return self.mass(self.query, self.series)


class SelfJoin(Peer):
    """The matrix profile of 20,000 samples."""

    library = "stumpy.stump"

    def setup(self):
        self.stump = stumpy_with_one_thread().stump
        self.series = walk(20_000)
        assert np.allclose(self.peer()[:, 0].astype(float), self.ours().distance, atol=1e-6)

    def ours(self):
        return matrix_profile(self.series, 100)

    def peer(self):
        return self.stump(self.series, 100)


class Warped:
    """Samples a second of a search under DTW, one thread; stumpy has no such search."""

    params: ClassVar[list[list[str]]] = [
        ["walk", "heartbeats", "noise"],
        ["disturbed", "foreign"],
    ]
    param_names = ("series", "query")
    unit = "samples/s"

    def setup(self, series, query):
        self.series = {"walk": walk, "heartbeats": heartbeats, "noise": noise}[series]()
        self.query = (
            disturbed(self.series)
            if query == "disturbed"
            else np.random.default_rng(4).normal(size=QUERY).cumsum()
        )
        # A window of the answer is as far as it says, and no sampled window is closer.
        (match,) = search(self.query, self.series, window=RADIUS)
        part = self.series[match.start : match.end]
        assert search(self.query, part, window=RADIUS)[0].distance == match.distance
        few = search(self.query, self.series[:20_000], window=RADIUS, k=None, threshold=1e9)
        assert few[0].distance >= match.distance

    def track_samples_per_second(self, series, query):
        best = min(self.seconds() for _ in range(5))
        return SAMPLES / best

    def seconds(self):
        start = time.perf_counter()
        search(self.query, self.series, window=RADIUS)
        return time.perf_counter() - start
