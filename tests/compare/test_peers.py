"""Agreement with released libraries: where definitions agree, values do; skipped without them."""

from __future__ import annotations

import importlib
import math
import warnings

import numpy as np
import pytest
from reference.conventions import TABLE, Row
from reference.elastic import MEASURES

from midstream import compare

#: A value that no sample comes near.
FAR = 1e6


def load(name: str):
    """A peer's module, whatever it warns of when imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0])
        return importlib.import_module(name)


def names_of(peer: str) -> dict[str, object]:
    if peer == "dtaidistance":
        return {part: load(f"dtaidistance.{part}") for part in ("dtw", "dtw_ndim", "msm")}
    module = load({"aeon": "aeon.distances", "tslearn": "tslearn.metrics"}[peer])
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}


def evaluate(expression: str, names, x, y, r: int, n: int) -> float:
    """An expression of our own table; anything but `eval` would need a parser."""
    return float(eval(expression, {**names, "sqrt": math.sqrt, "x": x, "y": y, "r": r, "n": n}))


def series(rng: np.random.Generator, d: int, n: int) -> np.ndarray:
    return rng.normal(size=n if d == 0 else (n, d))


@pytest.mark.parametrize(
    ("row", "d"),
    [
        pytest.param(row, d, id=f"{row.peer}-{row.theirs}-{d}d")
        for row in TABLE
        for d in row.dimensions
    ],
)
def test_the_table(row: Row, d: int) -> None:
    rng = np.random.default_rng(7)
    theirs = names_of(row.peer)
    ours = {name: getattr(compare, name) for name in MEASURES}
    for _ in range(60):
        n, m = (int(length) for length in rng.integers(3, 25, 2))
        if row.equal_lengths:
            m = n
        least = n - 2 if "ddtw" in row.ours else min(n, m)  # derivatives are two samples shorter
        r = int(rng.integers(row.first_radius, max(least, row.first_radius + 1)))
        x, y = series(rng, d, n), series(rng, d, m)
        value = evaluate(row.ours, ours, x, y, r, n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sides = (x.T, y.T) if row.peer == "aeon" else (x, y)
            expected = evaluate(row.theirs, theirs, *sides, r, n)
        # Soft-DTW crosses zero: what counts is the size of its terms.
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-11 if "soft" in row.ours else 0)


@pytest.mark.parametrize("d", [0, 2])
def test_edr_of_aeon_behind_a_prefix(d: int) -> None:
    """Equal points at the front, as many as can be skipped, keep their free border out of it."""
    aeon = load("aeon.distances")
    rng = np.random.default_rng(8)
    for turn in range(60):
        n, m = (int(length) for length in rng.integers(1, 25, 2))
        if turn % 2:
            m = n
        x, y = series(rng, d, n), series(rng, d, m)
        prefix = np.full((max(n, m), *x.shape[1:]), FAR)
        long_x, long_y = np.concatenate([prefix, x]), np.concatenate([prefix, y])
        longer = max(len(long_x), len(long_y))
        expected = aeon.edr_distance(long_x.T, long_y.T, epsilon=0.3) * longer / max(n, m)
        assert compare.edr(x, y, epsilon=0.3) == pytest.approx(expected, rel=1e-12)
        if n == m:
            r = int(rng.integers(0, n))
            window = (r + 0.5) / longer
            expected = aeon.edr_distance(long_x.T, long_y.T, epsilon=0.3, window=window) * 2
            assert compare.edr(x, y, epsilon=0.3, window=r) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [0, 2])
def test_erp_of_aeon_behind_a_prefix(d: int) -> None:
    """One far point at the front of both must be paired, which keeps their border out of it."""
    aeon = load("aeon.distances")
    rng = np.random.default_rng(9)
    for turn in range(60):
        n, m = (int(length) for length in rng.integers(1, 25, 2))
        if turn % 2:
            m = n
        x, y = series(rng, d, n), series(rng, d, m)
        prefix = np.full((1, *x.shape[1:]), FAR)
        long_x, long_y = np.concatenate([prefix, x]).T, np.concatenate([prefix, y]).T
        assert compare.erp(x, y, g=0.3) == pytest.approx(
            aeon.erp_distance(long_x, long_y, g=0.3), rel=1e-12
        )
        if n == m:
            r = int(rng.integers(0, n))
            expected = aeon.erp_distance(long_x, long_y, g=0.3, window=(r + 0.5) / (n + 1))
            assert compare.erp(x, y, g=0.3, window=r) == pytest.approx(expected, rel=1e-12)


def test_default_epsilon_of_edr_is_aeons() -> None:
    """The whole value agrees where nothing is skipped at the start: the first points are close."""
    aeon = load("aeon.distances")
    rng = np.random.default_rng(10)
    for _ in range(40):
        n = int(rng.integers(3, 25))
        x, y = rng.normal(size=n), rng.normal(size=n) * 3
        epsilon = max(np.std(x), np.std(y)) / 4
        assert aeon.edr_distance(x, y) == aeon.edr_distance(x, y, epsilon=epsilon)
        assert compare.edr(x, y) == compare.edr(x, y, epsilon=epsilon)


def paths_of(peer: str, x, y, r: int | None) -> list[tuple[int, int]]:
    if peer == "aeon":
        window = None if r is None else (r + 0.5) / len(x)
        path = load("aeon.distances").dtw_alignment_path(x, y, window=window)[0]
    elif peer == "tslearn":
        options = {"global_constraint": "sakoe_chiba", "sakoe_chiba_radius": r}
        path = load("tslearn.metrics").dtw_path(x, y, **({} if r is None else options))[0]
    else:
        options = {} if r is None else {"window": r + 1}
        path = load("dtaidistance.dtw").warping_path(x, y, use_pruning=False, **options)
    return [(int(i), int(j)) for i, j in path]


@pytest.mark.parametrize("peer", ["aeon", "tslearn", "dtaidistance"])
def test_paths(peer: str) -> None:
    """Small integers, so that ties abound and every sum is exact."""
    load(peer)
    rng = np.random.default_rng(11)
    for turn in range(120):
        n, m = (int(length) for length in rng.integers(1, 20, 2))
        m = n if turn % 2 else m
        x, y = rng.integers(0, 4, n).astype(float), rng.integers(0, 4, m).astype(float)
        assert list(map(tuple, compare.dtw_path(x, y).path.tolist())) == paths_of(peer, x, y, None)
        if n == m:
            r = int(rng.integers(1, n + 1))
            path = compare.dtw_path(x, y, window=r).path.tolist()
            assert list(map(tuple, path)) == paths_of(peer, x, y, min(r, n - 1))


@pytest.mark.parametrize(
    ("peer", "metric", "root"),
    [
        ("aeon", "dtw", True),
        ("aeon", "adtw", True),
        ("aeon", "wdtw", True),
        ("aeon", "msm", False),
        ("aeon", "twe", False),
        ("tslearn", "dtw", False),
        ("dtaidistance", "dtw", False),
    ],
)
def test_matrices(peer: str, metric: str, root: bool) -> None:
    several = np.random.default_rng(12).normal(size=(11, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if peer == "aeon":
            expected = load("aeon.distances").pairwise_distance(several, method=metric)
        elif peer == "tslearn":
            expected = load("tslearn.metrics").cdist_dtw(several)
        else:
            matrix = load("dtaidistance.dtw").distance_matrix
            expected = matrix(several, use_c=True, parallel=False, use_pruning=False)
            expected = expected.copy()
    if root:
        expected = np.sqrt(expected)
    np.testing.assert_allclose(compare.cdist(several, several, metric), expected, rtol=1e-12)
    upper = expected[np.triu_indices(len(several), 1)]
    np.testing.assert_allclose(compare.pdist(several, metric), upper, rtol=1e-12)
