"""Edit distance and longest common subsequence as the textbooks have them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np


def levenshtein(a: Sequence[Hashable], b: Sequence[Hashable], weights=(1, 1, 1)) -> int:
    """Wagner and Fischer's table, a row at a time."""
    insert, delete, substitute = weights
    row = [j * insert for j in range(len(b) + 1)]
    for symbol in a:
        corner, row[0] = row[0], row[0] + delete
        for j, other in enumerate(b):
            best = min(corner + (0 if symbol == other else substitute), row[j] + insert)
            corner, row[j + 1] = row[j + 1], min(best, row[j + 1] + delete)
    return row[-1]


def lcs(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    row = [0] * (len(b) + 1)
    for symbol in a:
        corner = 0
        for j, other in enumerate(b):
            best = corner + 1 if symbol == other else max(row[j], row[j + 1])
            corner, row[j + 1] = row[j + 1], best
    return row[-1]


def lcs_by_enumeration(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Every subsequence of `a`, longest first."""
    for length in range(len(a), 0, -1):
        if any(is_subsequence(chosen, b) for chosen in combinations(a, length)):
            return length
    return 0


def is_subsequence(part: Sequence[Hashable], whole: Sequence[Hashable]) -> bool:
    rest = iter(whole)
    return all(any(symbol == other for other in rest) for symbol in part)


def levenshtein_arrays(a: np.ndarray, b: np.ndarray, *, substitute: int = 1) -> int:
    """The same for long integer arrays: a row at a time, insertions by a running minimum."""
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for symbol in a:
        best = row + 1
        best[1:] = np.minimum(best[1:], row[:-1] + np.where(b == symbol, 0, substitute))
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])
