"""`Histogram` beside hdrhistogram (the Python port, with a C core) and numpy on the raw values."""

from __future__ import annotations

import numpy as np

from midstream.scheduler import Histogram

from ._timing import SIZE, Peer
from .histogram import gaps_ns

HOUR_NS = 3_600_000_000_000


class _Hdrh(Peer):
    library = "hdrhistogram"

    def setup(self):
        try:
            from hdrh.histogram import HdrHistogram
        except ImportError:
            raise NotImplementedError("hdrhistogram is not installed") from None
        self.gaps = gaps_ns(min(SIZE, 10_000)).tolist()
        self.histogram, self.hdrh = Histogram(), HdrHistogram(1, HOUR_NS, 3)
        self.histogram_like, self.hdrh_like = Histogram(), HdrHistogram(1, HOUR_NS, 3)
        for gap in self.gaps:
            for histogram in (self.histogram, self.histogram_like):
                histogram.record(gap)
            for histogram in (self.hdrh, self.hdrh_like):
                histogram.record_value(gap)
        for percent in (50, 90, 99, 100):
            # The peer tells the edge of a bucket, which may lie above the maximum.
            expected = min(self.hdrh.get_value_at_percentile(percent), max(self.gaps))
            assert self.histogram.percentile(percent) == expected, percent


class Record(_Hdrh):
    """One value a call."""

    def ours(self):
        record = self.histogram.record
        for gap in self.gaps:
            record(gap)

    def peer(self):
        record = self.hdrh.record_value
        for gap in self.gaps:
            record(gap)


class Percentile(_Hdrh):
    def ours(self):
        return self.histogram.percentile(99)

    def peer(self):
        return self.hdrh.get_value_at_percentile(99)


class Merge(_Hdrh):
    def ours(self):
        self.histogram.merge(self.histogram_like)

    def peer(self):
        self.hdrh.add(self.hdrh_like)


class NewAndEmpty(_Hdrh):
    """What a histogram for each stream costs before its first value."""

    def ours(self):
        return Histogram()

    def peer(self):
        return type(self.hdrh)(1, HOUR_NS, 3)


class QuantilesOfAnArray(Peer):
    """Three quantiles of values that are in an array already: numpy needs no histogram."""

    library = "numpy.quantile"
    quantiles = (0.5, 0.9, 0.99)

    def setup(self):
        self.gaps = gaps_ns(SIZE)
        np.testing.assert_allclose(self.ours(), self.peer(), rtol=1e-3)

    def ours(self):
        histogram = Histogram()
        histogram.record_many(self.gaps)
        return [histogram.quantile(q) for q in self.quantiles]

    def peer(self):
        return np.quantile(self.gaps, self.quantiles, method="inverted_cdf")
