"""`midstream.attractor`'s recurrence quantification."""

from __future__ import annotations

import tracemalloc

import numpy as np

from midstream.attractor import recurrence, rqa

from ._timing import SIZE


def wandering(n: int) -> np.ndarray:
    """Oscillations whose phase wanders: lines of all lengths."""
    rng = np.random.default_rng(11)
    phase = np.cumsum(0.1 + 0.02 * rng.normal(size=n))
    return np.sin(phase) + 0.3 * np.sin(0.37 * phase)


class Quantification:
    """The whole of ``MIDSTREAM_BENCH_SIZE`` samples, 100,000 unless told otherwise."""

    params = (["max", "euclidean"], [1, 3])
    param_names = ("norm", "emb_dim")
    timeout = 300

    def setup(self, norm, emb_dim):
        self.x = wandering(SIZE)
        self.arguments = {"norm": norm, "emb_dim": emb_dim, "delay": 15, "threshold": 0.1}
        small = recurrence(self.x[:500], **self.arguments)
        near = small.matrix()
        np.fill_diagonal(near, False)
        assert small.rqa().points == near.sum()

    def time_rqa(self, norm, emb_dim):
        rqa(self.x, **self.arguments)

    def track_python_memory(self, norm, emb_dim):
        """Bytes that the arrays of a run need at most, for each sample."""
        tracemalloc.start()
        rqa(self.x, **self.arguments)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak / len(self.x)

    track_python_memory.unit = "bytes/sample"


class Threshold:
    def setup(self):
        self.x = wandering(5000)
        assert abs(recurrence(self.x, recurrence_rate=0.05).rate - 0.05) < 1e-4

    def time_threshold_of_a_rate(self):
        recurrence(self.x, emb_dim=3, delay=15, recurrence_rate=0.05)
