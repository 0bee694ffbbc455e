"""Recurrence plots as matrices, and their measures as the definitions say: every line, one by one.

Conventions are those of RecurrenceAnalysis.jl, whose smallest test matrix is kept here; its Theiler
window of n excludes what ours of n - 1 does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

#: Recurrent cells of test/smallmatrix.jl: (row, column) from 1, of a matrix of 10 x 11.
SMALL = """
    1,1 2,2 3,2 6,2 7,2 8,2 6,3 7,3 10,3 2,4 4,4 1,5 2,5 3,5 5,5 9,5 10,5 2,6 3,6 6,6 7,6 10,6 3,7
    8,7 4,8 1,9 5,9 7,9 9,9 9,10 10,10 3,11 7,11
"""


def small_matrix() -> np.ndarray:
    matrix = np.zeros((10, 11), dtype=bool)
    for cell in SMALL.split():
        row, column = map(int, cell.split(","))
        matrix[row - 1, column - 1] = True
    return matrix


def matrix(x: np.ndarray, emb_dim: int, delay: int, threshold: float, norm: str) -> np.ndarray:
    """All pairs of delay vectors; one with NaN recurs nowhere, not even with itself."""
    samples = np.asarray(x, dtype=float).reshape(len(x), -1)
    count = len(samples) - (emb_dim - 1) * delay
    vectors = np.concatenate([samples[k * delay : k * delay + count] for k in range(emb_dim)], 1)
    near = np.zeros((count, count), dtype=bool)
    for i in range(count):
        for j in range(count):
            differences = [abs(a - b) for a, b in zip(vectors[i], vectors[j], strict=True)]
            if norm == "max":
                near[i, j] = all(d <= threshold for d in differences)
            else:
                total = 0.0
                for d in differences:
                    total += d * d
                near[i, j] = total <= threshold * threshold
    return near


def outside(near: np.ndarray, theiler: int) -> np.ndarray:
    """The plot without cells |i - j| <= theiler; -1 keeps all."""
    i, j = np.indices(near.shape)
    return near & (abs(i - j) > theiler)


def runs(cells: Iterable[bool]) -> Iterator[tuple[int, int]]:
    """(start, length) of each run."""
    start = None
    k = -1
    for k, cell in enumerate(cells):
        if cell and start is None:
            start = k
        elif not cell and start is not None:
            yield start, k - start
            start = None
    if start is not None:
        yield start, k + 1 - start


def diagonal_lengths(near: np.ndarray) -> Counter[int]:
    rows, columns = near.shape
    return Counter(
        length
        for offset in range(1 - rows, columns)
        for _, length in runs(np.diagonal(near, offset).tolist())
    )


def vertical_lengths(near: np.ndarray) -> Counter[int]:
    return Counter(length for column in near.T.tolist() for _, length in runs(column))


def recurrence_times(near: np.ndarray) -> Counter[int]:
    """Between the middles of lines that follow each other in a column."""
    times: Counter[int] = Counter()
    for column in near.T.tolist():
        lines = list(runs(column))
        for (start, length), (after, its_length) in pairwise(lines):
            times[after - (start + length) + length // 2 + its_length // 2] += 1
    return times


def mean(lengths: Counter[int], low: int) -> float:
    total = sum(count for length, count in lengths.items() if length >= low)
    points = sum(length * count for length, count in lengths.items() if length >= low)
    return points / total if total else math.nan


def longest(lengths: Counter[int], low: int) -> int:
    return max((length for length in lengths if length >= low), default=0)


def entropy(lengths: Counter[int], low: int) -> float:
    counts = [count for length, count in lengths.items() if length >= low]
    total = sum(counts)
    return -sum(c / total * math.log(c / total) for c in counts) if total else math.nan


def share(lengths: Counter[int], low: int) -> float:
    points = sum(length * count for length, count in lengths.items())
    in_lines = sum(length * count for length, count in lengths.items() if length >= low)
    return in_lines / points if points else math.nan


def trend(near: np.ndarray, theiler: int, border: int) -> float:
    """Slope of the recurrence rate over the distance from the main diagonal, per 1000."""
    n = min(near.shape)
    square = near[:n, :n]
    rates = [
        (np.diagonal(square, lag).sum() + np.diagonal(square, -lag).sum()) / 2 / (n - lag)
        for lag in range(n)
    ]
    first, last = theiler + 1, n - border  # lags first .. last - 1
    if last - first < 2:
        return math.nan
    middle = sum(rates[first:last]) / (last - first)
    top = bottom = 0.0
    for lag in range(first, last):
        away = lag + 1 - (n - border) / 2
        top += away * (rates[lag] - middle)
        bottom += away * away
    return 1000 * top / bottom


def measures(
    near: np.ndarray, theiler: int, l_min: int, v_min: int, border: int, cells: int | None = None
) -> dict[str, float]:
    """All of them; `cells`: denominator of the rate where it is not that of a square plot."""
    kept = outside(near, theiler)
    n = near.shape[0]
    diagonal, vertical = diagonal_lengths(kept), vertical_lengths(kept)
    times = recurrence_times(kept)
    l_max = longest(diagonal, l_min)
    return {
        "RR": float(kept.sum()) / (cells or (n - theiler) * (n - theiler - 1)),
        "DET": share(diagonal, l_min),
        "L": mean(diagonal, l_min),
        "Lmax": l_max,
        "DIV": 1 / l_max if l_max else math.nan,
        "ENTR": entropy(diagonal, l_min),
        "TREND": trend(near, theiler, border),
        "LAM": share(vertical, v_min),
        "TT": mean(vertical, v_min),
        "Vmax": longest(vertical, v_min),
        "VENTR": entropy(vertical, v_min),
        "MRT": mean(times, 1),
        "RTE": entropy(times, 1),
        "NMPRT": max(times.values(), default=0),
    }
