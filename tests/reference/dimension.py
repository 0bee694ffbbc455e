"""Correlation sums as they are defined: every pair, every component."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def vectors(x: np.ndarray, emb_dim: int, delay: int) -> list[list[float]]:
    """Delay vectors of (n,) or (n, d) samples."""
    samples = np.asarray(x, dtype=float).reshape(len(x), -1).tolist()
    count = len(samples) - (emb_dim - 1) * delay
    return [
        [value for k in range(emb_dim) for value in samples[i + k * delay]] for i in range(count)
    ]


def distance(a: Sequence[float], b: Sequence[float], norm: str) -> float:
    """Largest difference of a component, or the square of the Euclidean distance."""
    if norm == "max":
        return max(abs(p - q) for p, q in zip(a, b, strict=True))
    total = 0.0
    for p, q in zip(a, b, strict=True):
        total += (p - q) * (p - q)
    return total


def correlation_sum(
    points: Sequence[Sequence[float]], radius: float, theiler: int, norm: str
) -> float:
    """Share of the pairs more than `theiler` apart in time that are within `radius`."""
    limit = radius if norm == "max" else radius * radius
    near = pairs = 0
    for i, a in enumerate(points):
        if not all(map(math.isfinite, a)):
            continue
        for j in range(i + theiler + 1, len(points)):
            if all(map(math.isfinite, points[j])):
                pairs += 1
                near += distance(a, points[j], norm) <= limit
    return near / pairs if pairs else math.nan
