"""HdrHistogram from its definition: a sorted list, and buckets found by doubling."""

from __future__ import annotations

import math
from collections.abc import Iterable


class SortedListHistogram:
    def __init__(self, lowest: int, highest: int, significant_digits: int) -> None:
        self.highest = highest
        self.unit = 1
        while self.unit * 2 <= lowest:
            self.unit *= 2
        self.buckets = 1
        while self.buckets < 2 * 10**significant_digits:
            self.buckets *= 2
        self.values: list[int] = []

    def record_many(self, values: Iterable[int]) -> None:
        self.values = sorted([*self.values, *values])

    def equivalent(self, value: int) -> range:
        """All values that share a bucket with this one."""
        size = self.unit
        while value >= size * self.buckets:
            size *= 2
        first = value - value % size
        return range(first, first + size)

    def quantile(self, q: float) -> int:
        if not self.values:
            return 0
        if q == 0:
            return self.values[0]
        rank = max(1, math.ceil(math.nextafter(q, -math.inf) * len(self.values)))
        value = self.values[rank - 1]
        if value > self.highest:
            return self.values[-1]
        return min(self.equivalent(value)[-1], self.values[-1])

    def stdev(self) -> float:
        """Population standard deviation of the middles of the buckets; overflow as it is."""
        if not self.values:
            return 0.0
        middles = [
            v if v > self.highest else self.equivalent(v)[0] + len(self.equivalent(v)) // 2
            for v in self.values
        ]
        mean = sum(middles) / len(middles)
        return math.sqrt(math.fsum((v - mean) ** 2 for v in middles) / len(middles))

    def counts(self) -> dict[int, int]:
        """Lowest value of each bucket in use -> how many values it holds."""
        counts: dict[int, int] = {}
        for value in self.values:
            if value <= self.highest:
                first = self.equivalent(value)[0]
                counts[first] = counts.get(first, 0) + 1
        return counts
