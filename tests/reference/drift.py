"""Change detectors as their papers write them, over explicit lists, without a care for speed."""

from __future__ import annotations

import math


class Adwin:
    """ADWIN2 (Bifet and Gavalda 2007) over a list of buckets that keep their samples.

    Parameters
    ----------
    rule : {"paper", "moa"}
        ``"moa"`` as that package and river do it: n - min_window + 1 in place of n in the bound's
        harmonic mean.
    repeats : bool
        Whether cuts at or before the last alarm are alarms.
    forgets : bool
        Whether everything is forgotten with the sample after an alarm, as river does.
    """

    def __init__(
        self,
        delta=0.002,
        clock=32,
        max_buckets=5,
        min_window=5,
        grace=10,
        low=0.0,
        high=1.0,
        rule="paper",
        repeats=False,
        forgets=False,
    ):
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})
        self.n = self.told = 0
        self.change = None
        self.alarms = self.shrinks = 0
        self.buckets = []  # oldest first, each a list of samples
        self.alarmed = False

    def update(self, x):
        if self.forgets and self.alarmed:
            self.buckets, self.n = [], 0
        self.n += 1
        self.buckets.append([(x - self.low) / (self.high - self.low)])
        self.compress()
        self.alarmed = False
        if self.n % self.clock or self.width <= self.grace:
            return False
        first = self.cuts()
        if not any(ratio > 1 for ratio, _ in first):
            return False
        _, before = max(first, key=lambda cut: cut[0])
        change = self.n - self.width + before
        while any(ratio > 1 for ratio, _ in self.cuts()):
            del self.buckets[0]
        self.shrinks += 1
        if self.repeats or change > self.told:
            self.told, self.change, self.alarmed = self.n, change, True
            self.alarms += 1
        return self.alarmed

    def compress(self):
        size = 1
        while True:
            same = [i for i, bucket in enumerate(self.buckets) if len(bucket) == size]
            if len(same) <= self.max_buckets:
                return
            i, j = same[:2]
            self.buckets[i : j + 1] = [self.buckets[i] + self.buckets[j]]
            size *= 2

    def cuts(self):
        """For each place of a cut, difference of means over what is allowed, and samples before."""
        n = self.width
        variance = self.variance_scaled
        length = math.log(2 * max(1.0, math.log(n)) / self.delta)
        total = math.fsum(math.fsum(bucket) for bucket in self.buckets)
        found, n0, total0 = [], 0, []
        for bucket in self.buckets[:-1]:
            n0 += len(bucket)
            total0.append(math.fsum(bucket))
            n1 = n - n0
            if min(n0, n1) < self.min_window:
                continue
            less = self.min_window - 1 if self.rule == "moa" else 0
            per_m = 1 / (n0 - less) + 1 / (n1 - less)
            allowed = math.sqrt(2 * per_m * variance * length) + 2 / 3 * per_m * length
            sum0 = math.fsum(total0)
            found.append((abs(sum0 / n0 - (total - sum0) / n1) / allowed, n0))
        return found

    @property
    def samples(self):
        return [x for bucket in self.buckets for x in bucket]

    @property
    def width(self):
        return sum(map(len, self.buckets))

    @property
    def mean(self):
        return self.low + (self.high - self.low) * math.fsum(self.samples) / self.width

    @property
    def variance_scaled(self):
        samples = self.samples
        mean = math.fsum(samples) / len(samples)
        return math.fsum((x - mean) ** 2 for x in samples) / len(samples)

    @property
    def variance(self):
        return (self.high - self.low) ** 2 * self.variance_scaled


def page_hinkley(xs, threshold=50.0, delta=0.005, min_samples=30, direction="both"):
    """Alarms and changes of Page's test: the sum of deviations less its minimum so far."""
    alarms, start = [], 0
    for t in range(len(xs)):
        past = xs[start : t + 1]
        if len(past) < min_samples:
            continue
        means = [math.fsum(past[: i + 1]) / (i + 1) for i in range(len(past))]
        best = None
        for sign, name in ((1, "up"), (-1, "down")):
            if direction not in (name, "both"):
                continue
            sums = [0.0]
            for x, mean in zip(past, means, strict=True):
                sums.append(sums[-1] + sign * (x - mean) - delta)
            least = min(sums)
            # The last place of the minimum: after it the sum is above.
            at = max(i for i, value in enumerate(sums) if value == least)
            if sums[-1] - least > threshold and (best is None or sums[-1] - least > best[0]):
                best = (sums[-1] - least, start + at)
        if best is not None:
            alarms.append((t, best[1]))
            start = t + 1
    return alarms


def cusum(xs, threshold, slack, target, sigma):
    """First alarm and change of a two-sided tabular CUSUM of known level and spread."""
    high = low = 0.0
    high_from = low_from = 0
    for t, x in enumerate(xs):
        z = (x - target) / sigma
        high, low = max(0.0, high + z - slack), max(0.0, low - z - slack)
        high_from = high_from if high else t + 1
        low_from = low_from if low else t + 1
        if max(high, low) > threshold:
            return t, high_from if high >= low else low_from
    return None
