"""`midstream.attractor`'s correlation sums and dimension."""

from __future__ import annotations

import numpy as np

from midstream.attractor import correlation_dimension, correlation_sum


def henon(n: int) -> np.ndarray:
    x, y, kept = 0.1, 0.1, []
    for _ in range(n + 100):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        kept.append(x)
    return np.array(kept[100:])


class Dimension:
    params = ([2000, 10_000], [None, 5])
    param_names = ("samples", "emb_dim")

    def setup(self, samples, emb_dim):
        self.x = henon(samples)
        assert abs(correlation_dimension(self.x, emb_dim=emb_dim).value - 1.21) < 0.06

    def time_correlation_dimension(self, samples, emb_dim):
        correlation_dimension(self.x, emb_dim=emb_dim, delay=1, theiler=5)


class Sum:
    params = (1, 20, 1000)
    param_names = ("radii",)

    def setup(self, radii):
        self.x = henon(3000)
        self.radii = np.geomspace(1e-4, 1, radii)

    def time_correlation_sum(self, radii):
        correlation_sum(self.x, self.radii, emb_dim=3)
