"""Textbook oracles for the elastic measures: one dynamic programme each, in plain Python floats.

Conventions, those of `midstream.compare`: series have shape (n,) or (n, d); cells outside the band
are +inf; what has squared costs returns the root of the sum. Every addition is in the order that
the recurrence writes, so that a kernel which keeps that order gives the same bits.

Released peers that agree, by experiment (`tests/compare/test_peers.py` repeats it):

===========  =======================================================================================
dtw          squared: tslearn, dtaidistance, root of aeon's
             absolute: dtaidistance with inner_dist="euclidean", one dimension
wdtw         root of aeon's
adtw         root of aeon's; dtaidistance with penalty=sqrt(penalty)
ddtw         root of aeon's
soft_dtw     tslearn (aeon drops the sign)
lcss         aeon; one minus tslearn's similarity
erp          aeon, but for its border: skipping the first k points costs as much as skipping all
edr          aeon, but for its border (skipping at the start is free) and its < for our <=
msm          aeon with independent=True; dtaidistance
twe          aeon
frechet      tslearn
===========  =======================================================================================
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

Matrix = list[list[float]]
INF = math.inf


# ---------------------------------------------------------------------------- input, bands, costs


def points(series) -> np.ndarray:
    """Shape (n, d), float64."""
    array = np.asarray(series, dtype=np.float64)
    return array.reshape(len(array), -1)


@functools.lru_cache(4096)
def allowed(n: int, m: int, window: int | None = None, band: str = "sakoe") -> list[list[bool]]:
    """Cells (i, j) that a path may visit; `window` is an inclusive radius.

    sakoe: along the main diagonal, whatever the lengths. widened: one side grows by the difference
    of the lengths. slanted: along the line from corner to corner, the radius in samples of the
    shorter series; everything where one of the two has a single point.
    """
    if window is None or (band == "slanted" and min(n, m) == 1):
        return [[True] * m for _ in range(n)]
    inside: Callable[[int, int], bool]
    if band == "sakoe":
        inside = lambda i, j: abs(i - j) <= window  # noqa: E731
    elif band == "widened":
        lowest, highest = -max(0, n - m) - window, max(0, m - n) + window
        inside = lambda i, j: lowest <= j - i <= highest  # noqa: E731
    elif band == "slanted":
        radius = window * (max(n, m) - 1)
        inside = lambda i, j: abs(i * (m - 1) - j * (n - 1)) <= radius  # noqa: E731
    else:
        raise ValueError(band)
    return [[inside(i, j) for j in range(m)] for i in range(n)]


def squared_costs(x, y) -> Matrix:
    """Squared Euclidean distances of points, dimensions added from first to last."""
    return _over_dimensions(x, y, lambda a, b: (a - b) * (a - b))


def absolute_costs(x, y) -> Matrix:
    return _over_dimensions(x, y, lambda a, b: np.abs(a - b))


def euclidean_costs(x, y) -> Matrix:
    """In one dimension the absolute difference itself, which no square can under- or overflow."""
    if points(x).shape[1] == 1:
        return absolute_costs(x, y)
    return np.sqrt(np.array(squared_costs(x, y))).tolist()


def equal_costs(x, y) -> Matrix:
    """0 where points are equal in every dimension, else 1."""
    x, y = points(x), points(y)
    return (x[:, None, :] != y[None, :, :]).any(axis=2).astype(float).tolist()


def _over_dimensions(x, y, of_one) -> Matrix:
    x, y = points(x), points(y)
    total = np.zeros((len(x), len(y)))
    for k in range(x.shape[1]):
        total = total + of_one(x[:, None, k], y[None, :, k])
    return total.tolist()


COSTS = {"squared": squared_costs, "absolute": absolute_costs, "equal": equal_costs}


# -------------------------------------------------------------------------------- DTW's relatives


def warp(costs: Matrix, mask: list[list[bool]], penalty: float = 0.0) -> Matrix:
    """Accumulated costs of the cheapest path to each cell; `penalty` for each step off diagonal."""
    n, m = len(costs), len(costs[0])
    table = [[INF] * m for _ in range(n)]
    for i in range(n):
        row, above = table[i], table[i - 1]
        for j in range(m):
            if not mask[i][j]:
                continue
            if i == 0 and j == 0:
                row[0] = costs[0][0]
                continue
            best = above[j - 1] if i and j else INF
            if i:
                best = min(best, above[j] + penalty)
            if j:
                best = min(best, row[j - 1] + penalty)
            row[j] = costs[i][j] + best
    return table


def backtrack(table: Matrix, penalty: float = 0.0) -> list[tuple[int, int]]:
    """The cheapest path from start to end; among equals, from the end: diagonal, up, left."""
    i, j = len(table) - 1, len(table[0]) - 1
    if table[i][j] == INF:
        raise ValueError("no path inside the band")
    path = [(i, j)]
    while i or j:
        steps = []
        if i and j:
            steps.append((table[i - 1][j - 1], (i - 1, j - 1)))
        if i:
            steps.append((table[i - 1][j] + penalty, (i - 1, j)))
        if j:
            steps.append((table[i][j - 1] + penalty, (i, j - 1)))
        i, j = min(steps, key=lambda step: step[0])[1]  # min keeps the first of equals
        path.append((i, j))
    return path[::-1]


def euclidean(x, y) -> float:
    x, y = points(x), points(y)
    if len(x) != len(y):
        raise ValueError("unequal lengths")
    total = 0.0
    for i in range(len(x)):
        total += squared_costs(x[i : i + 1], y[i : i + 1])[0][0]
    return math.sqrt(total)


def dtw(x, y, *, window=None, band="sakoe", cost="squared") -> float:
    costs = COSTS[cost](x, y)
    value = warp(costs, allowed(len(costs), len(costs[0]), window, band))[-1][-1]
    return math.sqrt(value) if cost == "squared" else value


def dtw_path(x, y, *, window=None, band="sakoe", cost="squared"):
    """Distance and path."""
    costs = COSTS[cost](x, y)
    table = warp(costs, allowed(len(costs), len(costs[0]), window, band))
    value = table[-1][-1]
    return (math.sqrt(value) if cost == "squared" else value), backtrack(table)


def wdtw_weights(n: int, m: int, g: float) -> list[float]:
    """Logistic in the phase difference |i - j|, at most 1, with its middle at half the longer."""
    longer = max(n, m)
    return [1.0 / (1.0 + math.exp(-g * (k - longer / 2))) for k in range(longer)]


def weighted_costs(x, y, g: float) -> Matrix:
    costs = squared_costs(x, y)
    weights = wdtw_weights(len(costs), len(costs[0]), g)
    return [[weights[abs(i - j)] * c for j, c in enumerate(row)] for i, row in enumerate(costs)]


def wdtw(x, y, *, g=0.05, window=None, band="sakoe") -> float:
    """Jeong, Jeong, Omitaomu (2011), doi:10.1016/j.patcog.2010.09.022."""
    costs = weighted_costs(x, y, g)
    return math.sqrt(warp(costs, allowed(len(costs), len(costs[0]), window, band))[-1][-1])


def derivative(series) -> np.ndarray:
    """Keogh, Pazzani (2001), doi:10.1137/1.9781611972719.1; without the first and last point."""
    x = points(series)
    if len(x) < 3:
        raise ValueError("a derivative needs three points")
    return ((x[1:-1] - x[:-2]) + (x[2:] - x[:-2]) / 2.0) / 2.0


def ddtw(x, y, *, window=None, band="sakoe") -> float:
    """The band is of the derivatives, two samples shorter."""
    return dtw(derivative(x), derivative(y), window=window, band=band)


def adtw(x, y, *, penalty=1.0, window=None, band="sakoe") -> float:
    """Herrmann, Webb (2023), doi:10.1016/j.patcog.2022.109333."""
    costs = squared_costs(x, y)
    return math.sqrt(warp(costs, allowed(len(costs), len(costs[0]), window, band), penalty)[-1][-1])


def frechet(x, y, *, window=None, band="sakoe") -> float:
    """Discrete Frechet distance: Eiter, Mannila (1994)."""
    costs = euclidean_costs(x, y)
    n, m = len(costs), len(costs[0])
    mask = allowed(n, m, window, band)
    table = [[INF] * m for _ in range(n)]
    for i in range(n):
        for j in range(m):
            if not mask[i][j]:
                continue
            before = [0.0] if i == 0 and j == 0 else []
            if i and j:
                before.append(table[i - 1][j - 1])
            if i:
                before.append(table[i - 1][j])
            if j:
                before.append(table[i][j - 1])
            table[i][j] = max(costs[i][j], min(before))
    return table[-1][-1]


# --------------------------------------------------------------------------------------- soft-DTW


def soft_min(diagonal: float, up: float, left: float, gamma: float) -> float:
    """-gamma log of the sum of exp(-./gamma); up and left first, so that it is symmetric."""
    least = min(diagonal, up, left)
    if least == INF:
        return INF
    total = (math.exp((least - up) / gamma) + math.exp((least - left) / gamma)) + math.exp(
        (least - diagonal) / gamma
    )
    return least - gamma * math.log(total)


def soft_table(costs: Matrix, mask: list[list[bool]], gamma: float) -> Matrix:
    n, m = len(costs), len(costs[0])
    table = [[INF] * m for _ in range(n)]
    for i in range(n):
        for j in range(m):
            if not mask[i][j]:
                continue
            if i == 0 and j == 0:
                table[0][0] = costs[0][0]
                continue
            table[i][j] = costs[i][j] + soft_min(
                table[i - 1][j - 1] if i and j else INF,
                table[i - 1][j] if i else INF,
                table[i][j - 1] if j else INF,
                gamma,
            )
    return table


def soft_dtw(x, y, *, gamma=1.0, window=None, band="sakoe") -> float:
    """Cuturi, Blondel (2017), arXiv:1703.01541: squared costs, no root, maybe negative."""
    costs = squared_costs(x, y)
    return soft_table(costs, allowed(len(costs), len(costs[0]), window, band), gamma)[-1][-1]


def soft_alignment(x, y, *, gamma=1.0, window=None, band="sakoe") -> np.ndarray:
    """Derivative of the value by each cell's cost: algorithm 2 of Cuturi and Blondel."""
    costs = squared_costs(x, y)
    n, m = len(costs), len(costs[0])
    table = soft_table(costs, allowed(n, m, window, band), gamma)
    weights = np.zeros((n, m))
    weights[-1, -1] = 1.0
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            if table[i][j] == INF:
                continue
            for a, b in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
                if a < n and b < m and table[a][b] != INF:
                    share = math.exp((table[a][b] - costs[a][b] - table[i][j]) / gamma)
                    weights[i, j] += share * weights[a, b]
    return weights


def soft_dtw_gradient(x, y, *, gamma=1.0, window=None, band="sakoe") -> tuple[float, np.ndarray]:
    """Value and gradient with respect to x, of x's shape."""
    weights = soft_alignment(x, y, gamma=gamma, window=window, band=band)
    a, b = points(x), points(y)
    gradient = 2.0 * (weights.sum(axis=1)[:, None] * a - weights @ b)
    value = soft_dtw(x, y, gamma=gamma, window=window, band=band)
    return value, gradient.reshape(np.shape(x))


# --------------------------------------------------------------------- edit distances of numbers


def edit(x_cost, y_cost, both_cost, mask: list[list[bool]], border_x, border_y) -> Matrix:
    """Table of (n + 1) x (m + 1): delete a point of x, of y, or pair both.

    `x_cost(i, j)`, `y_cost(i, j)`, `both_cost(i, j)` count points from 1. The band forbids cells
    with both i and j above 0; the border is always there.
    """
    n, m = len(mask), len(mask[0])
    table = [[INF] * (m + 1) for _ in range(n + 1)]
    table[0] = list(border_y)
    for i in range(1, n + 1):
        table[i][0] = border_x[i]
        for j in range(1, m + 1):
            if mask[i - 1][j - 1]:
                table[i][j] = min(
                    table[i - 1][j - 1] + both_cost(i, j),
                    table[i - 1][j] + x_cost(i, j),
                    table[i][j - 1] + y_cost(i, j),
                )
    return table


def running_sum(values) -> list[float]:
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return sums


def lcss(x, y, *, epsilon=1.0, window=None, band="sakoe") -> float:
    """1 - L / min(n, m): Vlachos, Kollios, Gunopulos (2002), doi:10.1109/ICDE.2002.994784.

    The window says which points may match; a value is always there.
    """
    costs = euclidean_costs(x, y)
    n, m = len(costs), len(costs[0])
    mask = allowed(n, m, window, band)
    table = [[0] * (m + 1) for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            if mask[i - 1][j - 1] and costs[i - 1][j - 1] <= epsilon:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return 1.0 - table[n][m] / min(n, m)


def edr_epsilon(x, y) -> float:
    """A quarter of the larger standard deviation, over all dimensions together."""
    return max(float(np.std(points(x))), float(np.std(points(y)))) / 4.0


def edr(x, y, *, epsilon=None, window=None, band="sakoe") -> float:
    """Chen, Ozsu, Oria (2005), doi:10.1145/1066157.1066213, over the longer length."""
    if epsilon is None:
        epsilon = edr_epsilon(x, y)
    costs = euclidean_costs(x, y)
    n, m = len(costs), len(costs[0])
    table = edit(
        lambda i, j: 1,
        lambda i, j: 1,
        lambda i, j: 0 if costs[i - 1][j - 1] <= epsilon else 1,
        allowed(n, m, window, band),
        range(n + 1),
        range(m + 1),
    )
    return table[n][m] / max(n, m)


def erp(x, y, *, g=0.0, window=None, band="sakoe") -> float:
    """Chen, Ng (2004): real penalty, a gap is paired with `g`, a scalar or shape (d,)."""
    d = points(x).shape[1]
    gap = np.broadcast_to(np.asarray(g, dtype=np.float64), (d,)).reshape(1, d)
    costs = euclidean_costs(x, y)
    gap_x = [row[0] for row in euclidean_costs(x, gap)]
    gap_y = euclidean_costs(gap, y)[0]
    table = edit(
        lambda i, j: gap_x[i - 1],
        lambda i, j: gap_y[j - 1],
        lambda i, j: costs[i - 1][j - 1],
        allowed(len(gap_x), len(gap_y), window, band),
        running_sum(gap_x),
        running_sum(gap_y),
    )
    return table[-1][-1]


def msm_split(new: float, before: float, other: float, c: float) -> float:
    """Cost of a split or merge: `c`, and more where `new` is not between the two others."""
    if before <= new <= other or before >= new >= other:
        return c
    return c + min(abs(new - before), abs(new - other))


def msm_univariate(x: list[float], y: list[float], c: float, mask) -> float:
    n, m = len(x), len(y)
    table = [[INF] * m for _ in range(n)]
    for i in range(n):
        for j in range(m):
            if not mask[i][j]:
                continue
            if i == 0 and j == 0:
                table[0][0] = abs(x[0] - y[0])
                continue
            steps = []
            if i and j:
                steps.append(table[i - 1][j - 1] + abs(x[i] - y[j]))
            if i:
                steps.append(table[i - 1][j] + msm_split(x[i], x[i - 1], y[j], c))
            if j:
                steps.append(table[i][j - 1] + msm_split(y[j], y[j - 1], x[i], c))
            table[i][j] = min(steps)
    return table[-1][-1]


def msm(x, y, *, c=1.0, window=None, band="sakoe") -> float:
    """Stefan, Athitsos, Das (2013), doi:10.1109/TKDE.2012.88; dimensions apart, then summed."""
    x, y = points(x), points(y)
    mask = allowed(len(x), len(y), window, band)
    total = 0.0
    for k in range(x.shape[1]):
        total += msm_univariate(x[:, k].tolist(), y[:, k].tolist(), c, mask)
    return total


def twe(x, y, *, nu=0.001, lmbda=1.0, window=None, band="sakoe") -> float:
    """Marteau (2009), doi:10.1109/TPAMI.2008.76: samples at 1, 2, ..., before them a 0 at time 0.

    Nothing can be deleted before the first pair: the border is inf, as in Marteau's own programme.
    """
    x, y = points(x), points(y)
    zero = np.zeros((1, x.shape[1]))
    x, y = np.concatenate([zero, x]), np.concatenate([zero, y])
    costs = euclidean_costs(x, y)
    step_x = [0.0] + [euclidean_costs(x[i : i + 1], x[i - 1 : i])[0][0] for i in range(1, len(x))]
    step_y = [0.0] + [euclidean_costs(y[j : j + 1], y[j - 1 : j])[0][0] for j in range(1, len(y))]
    n, m = len(x) - 1, len(y) - 1
    table = edit(
        lambda i, j: step_x[i] + (nu + lmbda),
        lambda i, j: step_y[j] + (nu + lmbda),
        lambda i, j: (costs[i][j] + costs[i - 1][j - 1]) + 2.0 * nu * abs(i - j),
        allowed(n, m, window, band),
        [0.0] + [INF] * n,
        [0.0] + [INF] * m,
    )
    return table[n][m]


MEASURES = {
    "euclidean": euclidean,
    "dtw": dtw,
    "wdtw": wdtw,
    "ddtw": ddtw,
    "adtw": adtw,
    "soft_dtw": soft_dtw,
    "lcss": lcss,
    "erp": erp,
    "edr": edr,
    "msm": msm,
    "twe": twe,
    "frechet": frechet,
}


# -------------------------------------------------------------------------- brute force: n, m <= 5


def paths(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """Every monotone path from (0, 0) to (n - 1, m - 1) by steps right, down and diagonal."""

    def extend(path):
        i, j = path[-1]
        if (i, j) == (n - 1, m - 1):
            yield list(path)
            return
        for a, b in ((i + 1, j + 1), (i + 1, j), (i, j + 1)):
            if a < n and b < m:
                yield from extend([*path, (a, b)])

    yield from extend([(0, 0)])


def inside(path, mask) -> bool:
    return all(mask[i][j] for i, j in path)


def path_cost(path, costs: Matrix, penalty: float = 0.0) -> float:
    """Costs along a path, added from the start."""
    total = costs[0][0]
    for (a, b), (i, j) in pairwise(path):
        total = costs[i][j] + (total if (i > a and j > b) else total + penalty)
    return total


def cheapest(costs: Matrix, mask, penalty: float = 0.0) -> float:
    """What `warp` finds, over every path. The same bits: rounding is monotone."""
    n, m = len(costs), len(costs[0])
    return min(
        (path_cost(path, costs, penalty) for path in paths(n, m) if inside(path, mask)),
        default=INF,
    )


def shortest_leash(costs: Matrix, mask) -> float:
    """What `frechet` finds, over every path."""
    n, m = len(costs), len(costs[0])
    return min(
        (max(costs[i][j] for i, j in path) for path in paths(n, m) if inside(path, mask)),
        default=INF,
    )


def soft_cheapest(costs: Matrix, mask, gamma: float) -> float:
    """-gamma log of the sum of exp(-cost/gamma) over every path."""
    n, m = len(costs), len(costs[0])
    of_paths = [path_cost(path, costs) for path in paths(n, m) if inside(path, mask)]
    if not of_paths:
        return INF
    least = min(of_paths)
    return least - gamma * math.log(math.fsum(math.exp((least - c) / gamma) for c in of_paths))


def cheapest_script(n: int, m: int, mask, move_cost) -> float:
    """Over every path of the (n + 1) x (m + 1) grid; `move_cost(a, b, i, j)` of a move to (i, j).

    The band forbids cells off the border.
    """
    best = INF
    for path in paths(n + 1, m + 1):
        if not all(mask[i - 1][j - 1] for i, j in path if i and j):
            continue
        total = 0.0
        for (a, b), (i, j) in pairwise(path):
            total += move_cost(a, b, i, j)
        best = min(best, total)
    return best
