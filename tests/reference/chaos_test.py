"""The 0-1 test as Gottwald and Melbourne write it down: every sum, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def correlation(x: Sequence[float], c: float, damping: float) -> float:
    """K of one frequency."""
    n = len(x)
    most = n // 10
    mean = sum(x) / n
    p, q = [0.0], [0.0]
    for j, value in enumerate(x, 1):
        p.append(p[-1] + (value - mean) * math.cos(j * c))
        q.append(q[-1] + (value - mean) * math.sin(j * c))
    p, q = p[1:], q[1:]
    variance = sum((value - mean) ** 2 for value in x) / n
    displacement = []
    for lag in range(1, most + 1):
        terms = [(p[j + lag] - p[j]) ** 2 + (q[j + lag] - q[j]) ** 2 for j in range(n - most)]
        mean_square = sum(terms) / (n - most)
        displacement.append(mean_square + damping * variance * math.sin(math.sqrt(2) * lag))
    return float(np.corrcoef(np.arange(1, most + 1), displacement)[0, 1])
