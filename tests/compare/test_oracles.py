"""The oracles against every monotone path, before anything is measured by them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from reference import elastic as oracle

LENGTHS = [(n, m) for n in range(1, 6) for m in range(1, 6)]
BANDS = ["sakoe", "widened", "slanted"]


def masks(n, m):
    yield oracle.allowed(n, m)
    for band, window in itertools.product(BANDS, range(3)):
        yield oracle.allowed(n, m, window, band)


def pairs(n, m, seed=0, shape=()):
    """Values of a small alphabet, where ties abound, and values without ties."""
    rng = np.random.default_rng([seed, n, m])
    yield rng.integers(0, 3, (n, *shape)) / 1.0, rng.integers(0, 3, (m, *shape)) / 1.0
    yield rng.normal(size=(n, *shape)), rng.normal(size=(m, *shape))


def test_the_enumerator_finds_as_many_paths_as_delannoy() -> None:
    assert [sum(1 for _ in oracle.paths(n, n)) for n in range(1, 6)] == [1, 3, 13, 63, 321]
    for path in oracle.paths(4, 3):
        assert (path[0], path[-1]) == ((0, 0), (3, 2))
    found = [tuple(path) for path in oracle.paths(4, 4)]
    assert len(set(found)) == len(found)


def test_bands() -> None:
    def cells(*arguments):
        return ["".join(".x"[cell] for cell in row) for row in oracle.allowed(*arguments)]

    assert cells(3, 5, 1, "sakoe") == ["xx...", "xxx..", ".xxx."]
    assert cells(3, 5, 1, "widened") == ["xxxx.", "xxxxx", ".xxxx"]
    assert cells(3, 5, 1, "slanted") == ["xxx..", "xxxxx", "..xxx"]
    assert cells(3, 5, 0, "slanted") == ["x....", "..x..", "....x"]
    assert cells(1, 4, 0, "slanted") == ["xxxx"]
    for (n, m), band, window in itertools.product(LENGTHS, BANDS, range(5)):
        mask = np.array(oracle.allowed(n, m, window, band))
        assert (mask == np.array(oracle.allowed(m, n, window, band)).T).all()
        assert mask[0, 0]
        if n == m:
            assert (mask == np.array(oracle.allowed(n, m, window, "sakoe"))).all()
        if band != "sakoe":
            assert mask[-1, -1]
        if window >= max(n, m) - 1:
            assert mask.all()


@pytest.mark.parametrize(("n", "m"), LENGTHS)
def test_warping_is_the_best_of_all_paths(n: int, m: int) -> None:
    for x, y in itertools.chain(pairs(n, m), pairs(n, m, shape=(2,))):
        for mask in masks(n, m):
            for costs in (
                oracle.squared_costs(x, y),
                oracle.absolute_costs(x, y),
                oracle.equal_costs(x, y),
                oracle.weighted_costs(x, y, 0.05),
            ):
                for penalty in (0.0, 0.3):
                    table = oracle.warp(costs, mask, penalty)
                    assert table[-1][-1] == oracle.cheapest(costs, mask, penalty)


@pytest.mark.parametrize(("n", "m"), LENGTHS)
def test_the_path_is_the_last_of_the_cheapest(n: int, m: int) -> None:
    """Read from the end, the first that differs takes the diagonal rather than up, up than left."""

    def order(path):
        steps = [(a - i, b - j) for (i, j), (a, b) in itertools.pairwise(path)]
        return [[(1, 1), (1, 0), (0, 1)].index(step) for step in reversed(steps)]

    rng = np.random.default_rng([n, m])
    for mask in masks(n, m):
        x, y = rng.integers(0, 3, n), rng.integers(0, 3, m)  # sums are exact: ties are ties
        costs = oracle.squared_costs(x, y)
        table = oracle.warp(costs, mask)
        best = [
            path
            for path in oracle.paths(n, m)
            if oracle.inside(path, mask) and oracle.path_cost(path, costs) == table[-1][-1]
        ]
        if best:
            assert oracle.backtrack(table) == min(best, key=order)
        else:
            with pytest.raises(ValueError, match="no path"):
                oracle.backtrack(table)


@pytest.mark.parametrize(("n", "m"), LENGTHS)
def test_frechet_is_the_shortest_leash(n: int, m: int) -> None:
    for x, y in itertools.chain(pairs(n, m), pairs(n, m, shape=(3,))):
        costs = oracle.euclidean_costs(x, y)
        assert oracle.frechet(x, y) == oracle.shortest_leash(costs, oracle.allowed(n, m))
        for band, window in itertools.product(BANDS, range(3)):
            expected = oracle.shortest_leash(costs, oracle.allowed(n, m, window, band))
            assert oracle.frechet(x, y, window=window, band=band) == expected


@pytest.mark.parametrize(("n", "m"), LENGTHS)
@pytest.mark.parametrize("gamma", [0.01, 1.0, 20.0])
def test_soft_dtw_is_the_soft_minimum_over_all_paths(n: int, m: int, gamma: float) -> None:
    for x, y in pairs(n, m):
        costs = oracle.squared_costs(x, y)
        for mask in masks(n, m):
            value = oracle.soft_table(costs, mask, gamma)[-1][-1]
            assert value == pytest.approx(
                oracle.soft_cheapest(costs, mask, gamma), rel=1e-12, abs=1e-12
            )
        assert oracle.soft_dtw(x, y, gamma=gamma) == oracle.soft_dtw(y, x, gamma=gamma)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("shape", "window"), [((), None), ((), 1), ((2,), None)])
def test_soft_dtw_gradient_against_finite_differences(gamma, shape, window) -> None:
    for x, y in pairs(5, 4, shape=shape):
        value, gradient = oracle.soft_dtw_gradient(x, y, gamma=gamma, window=window)
        assert value == oracle.soft_dtw(x, y, gamma=gamma, window=window)
        assert gradient.shape == x.shape
        for index in np.ndindex(x.shape):
            step = np.zeros(x.shape)
            step[index] = 1e-5
            up = oracle.soft_dtw(x + step, y, gamma=gamma, window=window)
            down = oracle.soft_dtw(x - step, y, gamma=gamma, window=window)
            assert gradient[index] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("n", "m"), [(n, m) for n in range(1, 5) for m in range(1, 5)])
def test_edit_distances_are_the_best_of_all_scripts(n: int, m: int) -> None:
    settings = [{}, *({"window": w, "band": b} for w in range(3) for b in BANDS)]
    for (x, y), setting in itertools.product(pairs(n, m), settings):
        mask = oracle.allowed(n, m, **setting)

        def erp_move(a, b, i, j, x=x, y=y):
            both = abs(x[i - 1] - y[j - 1])
            return both if i > a and j > b else abs(x[i - 1] - 0.5 if i > a else y[j - 1] - 0.5)

        assert oracle.erp(x, y, g=0.5, **setting) == pytest.approx(
            oracle.cheapest_script(n, m, mask, erp_move), rel=1e-14
        )

        def edr_move(a, b, i, j, x=x, y=y):
            return int(not (i > a and j > b and abs(x[i - 1] - y[j - 1]) <= 0.4))

        assert oracle.edr(x, y, epsilon=0.4, **setting) == (
            oracle.cheapest_script(n, m, mask, edr_move) / max(n, m)
        )

        def twe_move(a, b, i, j, x=x, y=y):
            if (i == 0) != (j == 0):
                return math.inf
            x, y = [0.0, *x], [0.0, *y]
            if i > a and j > b:
                stay = abs(x[i] - y[j]) + abs(x[i - 1] - y[j - 1])
                return stay + 2 * 0.1 * abs(i - j)
            return (abs(x[i] - x[i - 1]) if i > a else abs(y[j] - y[j - 1])) + 0.1 + 0.7

        assert oracle.twe(x, y, nu=0.1, lmbda=0.7, **setting) == pytest.approx(
            oracle.cheapest_script(n, m, mask, twe_move), rel=1e-14
        )

        def lcss_move(a, b, i, j, x=x, y=y, mask=mask):
            close = i > a and j > b and mask[i - 1][j - 1] and abs(x[i - 1] - y[j - 1]) <= 0.4
            return -int(close)

        everywhere = oracle.allowed(n, m)
        longest = -oracle.cheapest_script(n, m, everywhere, lcss_move)
        assert oracle.lcss(x, y, epsilon=0.4, **setting) == 1.0 - longest / min(n, m)


def msm_by_operations(x, y, c):
    """The cheapest series of moves, splits and merges from x to y, over a grid of values.

    Stefan, Athitsos and Das define the measure so; optimal operations need no other values than
    those of x and y.
    """
    import heapq

    values = sorted({*x, *y})
    longest = len(x) + len(y)
    best = {tuple(x): 0.0}
    queue = [(0.0, tuple(x))]
    while queue:
        cost, series = heapq.heappop(queue)
        if series == tuple(y):
            return cost
        if cost > best[series]:
            continue
        following = []
        for i, value in enumerate(series):
            for moved in values:
                if moved != value:
                    step = abs(value - moved)
                    following.append((step, (*series[:i], moved, *series[i + 1 :])))
            if len(series) < longest:
                following.append((c, (*series[:i], value, value, *series[i + 1 :])))
            if i and series[i - 1] == value:
                following.append((c, (*series[:i], *series[i + 1 :])))
        for step, reached in following:
            if cost + step < best.get(reached, math.inf):
                best[reached] = cost + step
                heapq.heappush(queue, (cost + step, reached))
    raise AssertionError("no operations lead from x to y")


@pytest.mark.parametrize("c", [0.25, 1.0, 4.0])
def test_msm_is_the_cheapest_series_of_operations(c: float) -> None:
    alphabet = (0.0, 1.0, 3.0)
    series = [s for n in (1, 2, 3) for s in itertools.product(alphabet, repeat=n)]
    rng = np.random.default_rng(3)
    for _ in range(40):
        x, y = (series[rng.integers(len(series))] for _ in range(2))
        assert oracle.msm(x, y, c=c) == msm_by_operations(x, y, c)


def test_relations_between_measures() -> None:
    for x, y in itertools.chain(pairs(5, 5), pairs(5, 5, shape=(3,))):
        apart = oracle.euclidean(x, y)
        assert oracle.dtw(x, y, window=0) == apart
        assert oracle.adtw(x, y, penalty=1e9) == apart
        assert oracle.adtw(x, y, penalty=0.0) == oracle.dtw(x, y)
        halved = [[c * 0.5 for c in row] for row in oracle.squared_costs(x, y)]
        assert oracle.weighted_costs(x, y, 0.0) == halved
        for measure in (oracle.erp, oracle.msm):
            gap = x[:, 0] - y[:, 0] if x.ndim == 2 else x - y
            if x.ndim == 1:
                assert measure(x, y, window=0) == oracle.running_sum(np.abs(gap).tolist())[-1]


def test_worked_examples() -> None:
    """By hand."""
    assert oracle.dtw([0, 1, 2], [0, 2, 2]) == 1.0
    assert oracle.dtw([0, 0, 3], [0, 3], cost="absolute") == 0.0
    assert oracle.dtw([1, 2, 3], [1, 2, 4], cost="equal") == 1.0
    assert oracle.erp([1, 5], [2]) == 4.0  # delete the 1, pair 5 with 2
    assert oracle.edr([0, 0, 9], [9], epsilon=0.5) == 2 / 3
    assert oracle.lcss([1, 2, 3, 4], [2, 4], epsilon=0.0) == 0.0
    assert oracle.msm([1, 1, 2], [1, 2], c=0.5) == 0.5
    assert oracle.frechet([0, 5, 0], [0, 0]) == 5.0
    assert oracle.twe([1, 2], [1], nu=0.5, lmbda=1.0) == 2.5  # pair 1 with 1, delete a step of 1
    assert oracle.derivative([0, 1, 4]).tolist() == [[1.5]]
