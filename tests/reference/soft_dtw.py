"""Soft-DTW by definition: over every path, and by the recursions of Cuturi and Blondel (2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np


def costs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, m) squared Euclidean distances."""
    x = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    return ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)


def allowed(n: int, m: int, window: int | None) -> np.ndarray:
    i, j = np.ogrid[:n, :m]
    return np.abs(i - j) <= (max(n, m) if window is None else window)


def paths(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """Every monotone path from (0, 0) to (n - 1, m - 1)."""

    def extend(path: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        i, j = path[-1]
        if (i, j) == (n - 1, m - 1):
            yield path
        for step in ((1, 0), (0, 1), (1, 1)):
            if i + step[0] < n and j + step[1] < m:
                yield from extend([*path, (i + step[0], j + step[1])])

    yield from extend([(0, 0)])


def log_sum_exp(terms: np.ndarray) -> float:
    top = terms.max()
    return float(top if math.isinf(top) else top + np.log(np.exp(terms - top).sum()))


def by_paths(
    x: np.ndarray, y: np.ndarray, gamma: float, window: int | None = None
) -> tuple[float, np.ndarray]:
    """(value, expected alignment), summing over all paths: for lengths up to about 6."""
    cost = costs(x, y)
    open_cells = allowed(*cost.shape, window)
    found = [path for path in paths(*cost.shape) if all(open_cells[cell] for cell in path)]
    if not found:
        return math.inf, np.full(cost.shape, math.nan)
    weights = np.array([-math.fsum(cost[cell] for cell in path) / gamma for path in found])
    total = log_sum_exp(weights)
    expected = np.zeros(cost.shape)
    for path, weight in zip(found, weights, strict=True):
        for cell in path:
            expected[cell] += math.exp(weight - total)
    return -gamma * total, expected


def by_recursion(
    x: np.ndarray, y: np.ndarray, gamma: float, window: int | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """(value, gradient in the shape of x, expected alignment), in the logarithmic domain."""
    cost = costs(x, y)
    n, m = cost.shape
    cost = np.where(allowed(n, m, window), cost, np.inf)
    # Lists and math: ten times as fast as arrays of three.
    table = [[math.inf] * (m + 1) for _ in range(n + 1)]
    table[0][0] = 0.0
    arrival: dict[tuple[int, int], list[float]] = {}
    for i, row in enumerate(cost.tolist()):
        for j, here in enumerate(row):
            before = (table[i][j], table[i][j + 1], table[i + 1][j])
            least = min(before)
            if math.isinf(least) or math.isinf(here):
                continue
            terms = [math.exp((least - value) / gamma) for value in before]
            total = math.fsum(terms)
            table[i + 1][j + 1] = here + (least - gamma * math.log(total))
            arrival[i, j] = [term / total for term in terms]
    shape = np.shape(x)
    value = table[n][m]
    if math.isinf(value):
        return value, np.full(shape, math.nan), np.full((n, m), math.nan)
    expected = np.zeros((n + 1, m + 1))
    expected[n, m] = 1.0
    for (i, j), (diagonal, up, left) in reversed(arrival.items()):
        here = expected[i + 1, j + 1]
        expected[i, j] += here * diagonal
        expected[i, j + 1] += here * up
        expected[i + 1, j] += here * left
    alignment = expected[1:, 1:]
    a = np.asarray(x, dtype=np.float64).reshape(n, -1)
    b = np.asarray(y, dtype=np.float64).reshape(m, -1)
    gradient = 2 * (alignment.sum(axis=1)[:, None] * a - alignment @ b)
    return value, gradient.reshape(shape), alignment
