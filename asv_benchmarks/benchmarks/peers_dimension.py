"""Correlation sums and dimension beside neurokit2 and nolds: one thread each."""

from __future__ import annotations

import warnings

import numpy as np

from midstream.attractor import correlation_dimension, correlation_sum

from ._timing import Peer
from .dimension import henon


class Dimension(Peer):
    """Of 2000 samples in five dimensions: pairs counted, slope found, and here an interval too."""

    library = "neurokit2.fractal_correlation"
    repeats = 5

    def setup(self):
        try:
            import neurokit2
        except ImportError:
            raise NotImplementedError("neurokit2 is not installed") from None
        self.library_ = neurokit2
        self.x = henon(2000)
        slope, told = self.peer()
        # Its slope is that of the sums themselves, which it counts with the Euclidean norm.
        radii = told["Radius"]
        sums = correlation_sum(self.x, radii, emb_dim=5, norm="euclidean")
        ours = np.polyfit(np.log(radii[sums > 0]), np.log(sums[sums > 0]), 1)[0]
        np.testing.assert_allclose(slope, ours, rtol=1e-6)
        assert abs(self.ours().value - 1.21) < 0.06

    def ours(self):
        return correlation_dimension(self.x, emb_dim=5, delay=1, theiler=0)

    def peer(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.library_.fractal_correlation(self.x, delay=1, dimension=5, radius=64)


class DimensionBesideNolds(Peer):
    library = "nolds.corr_dim"
    repeats = 5

    def setup(self):
        try:
            import nolds
        except ImportError:
            raise NotImplementedError("nolds is not installed") from None
        self.nolds = nolds
        self.x = henon(2000)
        # It counts the pairs of a point with itself, so its sums are larger by this much.
        radii = self.x.std() * np.geomspace(0.1, 0.5, 20)
        sums = correlation_sum(self.x, radii, emb_dim=5, norm="euclidean")
        sums += 1 / (len(self.x) - 4 - 1)
        theirs = nolds.corr_dim(self.x, 5, rvals=radii, fit="poly")
        ours = np.polyfit(np.log(radii), np.log(sums), 1)[0]
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)

    def ours(self):
        return correlation_dimension(self.x, emb_dim=5, delay=1, theiler=0)

    def peer(self):
        return self.nolds.corr_dim(self.x, 5, fit="poly")
