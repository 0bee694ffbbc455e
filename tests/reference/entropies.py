"""Entropies of series as their definitions say: every window, every pair, nothing clever."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def patterns(x: Sequence[float], order: int, delay: int) -> list[tuple[int, ...]]:
    """Order in which the samples of each window stand; of equal ones the earlier comes first."""
    return [
        tuple(sorted(range(order), key=lambda k: (x[i + k * delay], k)))
        for i in range(len(x) - (order - 1) * delay)
    ]


def permutation_entropy(x: Sequence[float], order: int, delay: int) -> float:
    """In nats."""
    seen = Counter(patterns(x, order, delay))
    total = sum(seen.values())
    return -sum(count / total * math.log(count / total) for count in seen.values())


def weighted_permutation_entropy(x: Sequence[float], order: int, delay: int) -> float:
    """Each window counts by the variance of its samples; in nats."""
    weights: Counter[tuple[int, ...]] = Counter()
    for i, pattern in enumerate(patterns(x, order, delay)):
        window = [x[i + k * delay] for k in range(order)]
        mean = sum(window) / order
        weights[pattern] += sum((value - mean) ** 2 for value in window) / order
    total = sum(weights.values())
    if total == 0:
        return 0.0
    return -sum(w / total * math.log(w / total) for w in weights.values() if w > 0)


def template_matches(
    x: Sequence[float], m: int, r: float, delay: int = 1, theiler: int = 0
) -> tuple[int, int, int]:
    """Pairs of templates that match in m + 1 samples, in m, and how many there are at all.

    A template is a start with m + 1 finite samples.
    """
    starts = [
        i
        for i in range(len(x) - m * delay)
        if all(math.isfinite(x[i + k * delay]) for k in range(m + 1))
    ]
    longer = shorter = pairs = 0
    for a, i in enumerate(starts):
        for j in starts[a + 1 :]:
            if j - i <= theiler:
                continue
            pairs += 1
            if all(abs(x[i + k * delay] - x[j + k * delay]) <= r for k in range(m)):
                shorter += 1
                longer += abs(x[i + m * delay] - x[j + m * delay]) <= r
    return longer, shorter, pairs
