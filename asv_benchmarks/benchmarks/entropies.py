"""`midstream.attractor`'s entropies."""

from __future__ import annotations

import math

import numpy as np

from midstream.attractor import permutation_entropy, sample_entropy

from ._timing import SIZE


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=n)


class Permutation:
    params = (3, 5, 8)
    param_names = ("order",)

    def setup(self, order):
        self.x = noise(SIZE)
        assert permutation_entropy(noise(10_000), 3, normalize=True) > 0.999

    def time_permutation_entropy(self, order):
        permutation_entropy(self.x, order)


class Sample:
    params = (1000, 5000, 20_000)
    param_names = ("samples",)

    def setup(self, samples):
        self.x = noise(samples)
        # Of Gaussian noise: minus the log of the chance that two samples are within r.
        r = 0.2 * self.x.std()
        assert abs(sample_entropy(self.x) + math.log(math.erf(r / 2))) < 0.2

    def time_sample_entropy(self, samples):
        sample_entropy(self.x)
