"""`midstream.scheduler.Histogram` on gaps between the chunks of a stream."""

from __future__ import annotations

import numpy as np

from midstream.scheduler import Histogram

from ._timing import SIZE


def gaps_ns(n: int) -> np.ndarray:
    """Log-normal around 20 ms, as providers' inter-chunk times are."""
    return np.random.default_rng(20).lognormal(np.log(2e7), 0.8, n).astype(np.int64)


class Record:
    params = (2, 3)
    param_names = ("significant_digits",)

    def setup(self, significant_digits):
        self.gaps = gaps_ns(SIZE)
        self.list = self.gaps[:1000].tolist()
        self.histogram = Histogram(significant_digits=significant_digits)
        self.histogram.record_many(self.gaps)
        self.other = Histogram(significant_digits=significant_digits)
        self.other.record_many(self.gaps)
        true = np.sort(self.gaps)[int(np.ceil(0.99 * SIZE)) - 1]
        assert 0 <= self.histogram.quantile(0.99) - true <= true * 10.0**-significant_digits
        assert self.histogram.total == int(self.gaps.sum())

    def time_record_1000(self, significant_digits):
        record = self.histogram.record
        for gap in self.list:
            record(gap)

    def time_record_many(self, significant_digits):
        self.histogram.record_many(self.gaps)

    def time_quantile(self, significant_digits):
        self.histogram.quantile(0.99)

    def time_merge(self, significant_digits):
        self.histogram.merge(self.other)

    def time_stdev(self, significant_digits):
        return self.histogram.stdev

    def track_bytes_of_one_stream(self, significant_digits):
        histogram = Histogram(significant_digits=significant_digits)
        histogram.record_many(self.gaps[:10_000])
        return histogram.memory_bytes

    track_bytes_of_one_stream.unit = "bytes"
