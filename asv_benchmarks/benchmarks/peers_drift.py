"""Drift detectors beside river's: ADWIN in Rust, Page-Hinkley in Python."""

from __future__ import annotations

import math
from typing import Any

from midstream.meta.drift import Adwin, PageHinkley

from ._timing import Peer
from .drift import stationary

SAMPLES = 10_000
BEFORE = 100_000


class _River(Peer):
    """A stationary window of `BEFORE` samples, then `SAMPLES` a call; nobody alarms."""

    mine: Any
    theirs: Any

    def setup(self):
        try:
            from river import drift
        except ImportError:
            raise NotImplementedError("river is not installed") from None
        self.prepare(drift)
        self.samples = stationary(SAMPLES).tolist()
        for x in stationary(BEFORE).tolist():
            assert not self.mine.update(x)
            self.theirs.update(x)
            assert not self.theirs.drift_detected
        assert self.same()

    def prepare(self, drift):
        """Make both detectors."""
        raise NotImplementedError

    def same(self):
        """Whether both know the same."""
        raise NotImplementedError

    def ours(self):
        update = self.mine.update
        return [update(x) for x in self.samples]

    def peer(self):
        theirs, found = self.theirs, []
        for x in self.samples:
            theirs.update(x)
            found.append(theirs.drift_detected)
        return found


class Adwin32(_River):
    """Default settings: a check every 32 samples."""

    library = "river.drift.ADWIN"
    clock = 32

    def prepare(self, drift):
        self.mine, self.theirs = Adwin(clock=self.clock), drift.ADWIN(clock=self.clock)

    def same(self):
        return (
            self.mine.width == self.theirs.width
            and math.isclose(self.mine.mean, self.theirs.estimation, rel_tol=1e-9)
            # river's variance is the running one, off by what its approximation loses.
            # What river 0.26 calls the variance is the sum of squares.
            and math.isclose(
                self.mine.variance * self.mine.width, self.theirs.variance, rel_tol=1e-9
            )
        )


class Adwin1(Adwin32):
    """A check at every sample."""

    clock = 1


class Page(_River):
    """A sample of Page-Hinkley."""

    library = "river.drift.PageHinkley"

    def prepare(self, drift):
        self.mine = PageHinkley(1e9)
        self.theirs = drift.PageHinkley(threshold=1e9, alpha=1.0)

    def same(self):
        return math.isclose(self.mine.mean, self.theirs._x_mean.get(), rel_tol=1e-9)
