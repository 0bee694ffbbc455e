"""Recurrence quantification beside neurokit2: one thread each."""

from __future__ import annotations

import warnings

import numpy as np

from midstream.attractor import recurrence, rqa

from ._timing import Peer
from .recurrence import wandering


class Quantification(Peer):
    """500 samples, which is what neurokit2 can do in seconds: it follows every line in Python."""

    library = "neurokit2 recurrence matrix alone"
    repeats = 5
    arguments = {"emb_dim": 3, "delay": 15, "threshold": 0.2, "norm": "euclidean"}  # noqa: RUF012

    def setup(self):
        try:
            import neurokit2
        except ImportError:
            raise NotImplementedError("neurokit2 is not installed") from None
        self.library_ = neurokit2
        self.x = wandering(500)
        theirs, _ = self.peer()
        ours = recurrence(self.x, **self.arguments).matrix()
        assert np.array_equal(np.asarray(theirs, dtype=bool), ours)

    def ours(self):
        return rqa(self.x, **self.arguments)

    def peer(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            return self.library_.recurrence_matrix(self.x, delay=15, dimension=3, tolerance=0.2)
