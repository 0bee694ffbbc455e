"""Alignment paths: they re-sum to the distance, go where they must, and fit in little memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import elastic

from midstream import MidstreamError, compare
from midstream.compare import adtw, dtw, dtw_path, path
from midstream.compare.measures import plan

#: Measures whose every step aligns two samples.
WITH_PATH = ("adtw", "ddtw", "dtw", "frechet", "msm", "twe", "wdtw")


def is_path(cells: np.ndarray, n: int, m: int) -> bool:
    steps = {tuple(step) for step in np.diff(cells, axis=0).tolist()}
    return (
        cells[0].tolist() == [0, 0]
        and cells[-1].tolist() == [n - 1, m - 1]
        and steps <= {(1, 1), (1, 0), (0, 1)}
    )


def walk(rng: np.random.Generator, n: int, *shape: int) -> np.ndarray:
    return rng.normal(size=(n, *shape)).cumsum(axis=0)


# Strips have 4, 8, 16, 32 or 64 rows.
LENGTHS = [1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 32, 33, 63, 64, 65, 129]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_paths_re_sum_to_the_distance(n: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    for m in (1, n, n + 7):
        x, y = walk(rng, n).astype(dtype), walk(rng, m).astype(dtype)
        got = dtw_path(x, y)
        assert got.distance == dtw(x, y)
        assert is_path(got.path, n, m)
        total = dtype(0)
        for i, j in got.path:
            total = (x[i] - y[j]) * (x[i] - y[j]) + total
        assert np.sqrt(np.float64(total)) == got.distance


@pytest.mark.parametrize("metric", WITH_PATH)
@pytest.mark.parametrize("window", [None, 3])
def test_every_measure_with_a_path(metric: str, window: int | None) -> None:
    rng = np.random.default_rng(3)
    x, y = walk(rng, 40), walk(rng, 42)
    got = path(x, y, metric, window=window)
    assert got.distance == getattr(compare, metric)(x, y, window=window)
    cut = 2 if metric == "ddtw" else 0
    assert is_path(got.path, 40 - cut, 42 - cut)
    if window is not None:
        assert abs(got.path[:, 0] - got.path[:, 1]).max() <= window


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
    st.sampled_from(["squared", "absolute", "equal"]),
)
def test_ties_prefer_diagonal_then_up_then_left(x, y, cost) -> None:
    """Three values make ties everywhere; the oracle walks back by the rule itself."""
    expected_distance, expected = elastic.dtw_path(x, y, cost=cost)
    got = dtw_path(x, y, cost=cost)
    assert got.distance == expected_distance
    assert got.path.tolist() == [list(cell) for cell in expected]


@pytest.mark.parametrize("metric", ["dtw", "adtw", "wdtw", "frechet", "twe", "msm"])
@pytest.mark.parametrize("window", [None, 60])
@pytest.mark.parametrize("budget", [1, 2000, 20_000])
def test_little_memory_gives_the_same_path(metric: str, window: int | None, budget: int) -> None:
    rng = np.random.default_rng(11)
    # Ties, so that a path that only costs the same would show.
    x = np.round(walk(rng, 700))
    y = np.round(walk(rng, 660))
    params = {"window": window}
    whole = plan(metric, params).path(x, y)
    parts = plan(metric, params).path(x, y, budget=budget)
    assert parts[0] == whole[0]
    np.testing.assert_array_equal(parts[1], whole[1])


def test_points_of_several_dimensions() -> None:
    rng = np.random.default_rng(2)
    x, y = walk(rng, 50, 3), walk(rng, 41, 3)
    got = dtw_path(x, y, cost="absolute")
    assert got.distance == dtw(x, y, cost="absolute")
    again = sum(np.abs(x[i] - y[j]).sum() for i, j in got.path)
    assert again == pytest.approx(got.distance, rel=1e-12)


def test_symbols_align() -> None:
    got = dtw_path("abbc", "abc", cost="equal")
    assert got.distance == 0
    assert got.path.tolist() == [[0, 0], [1, 1], [2, 1], [3, 2]]


@pytest.mark.parametrize("metric", ["dtw", "wdtw", "msm"])
def test_samples_left_out_are_counted(metric: str) -> None:
    x = np.array([np.nan, 1.0, 2.0, np.nan, np.nan, 3.0])
    y = np.array([1.0, np.nan, 2.0, 3.5, 5.0])
    got = path(x, y, metric, nan_policy="omit")
    kept_x, kept_y = np.flatnonzero(~np.isnan(x)), np.flatnonzero(~np.isnan(y))
    expected = path(x[kept_x], y[kept_y], metric)
    assert got.distance == expected.distance
    assert got.path.tolist() == [[kept_x[i], kept_y[j]] for i, j in expected.path]


def test_slopes_around_samples_left_out_are_counted() -> None:
    x = [0.0, np.nan, 1.0, 4.0, np.nan, 9.0, 16.0]
    got = path(x, [0.0, 1.0, 4.0, 9.0, 16.0], "ddtw", nan_policy="omit")
    assert got.path.tolist() == [[1, 0], [2, 1], [4, 2]]


def test_functions_name_themselves() -> None:
    x, y = [0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0]
    got, named = path(x, y, adtw, penalty=0.5), path(x, y, "adtw", penalty=0.5)
    assert got.distance == named.distance
    assert got.path.tolist() == named.path.tolist()
    with pytest.raises(ValueError, match="metric must be one of"):
        path(x, y, len)


def test_points_with_a_missing_value_are_left_out() -> None:
    x = [[0.0, 0.0], [1.0, np.nan], [2.0, 2.0]]
    assert dtw_path(x, [[0, 0], [2, 2]], nan_policy="omit").path.tolist() == [[0, 0], [2, 1]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], [1.0, 2.0, 3.0], "dtw", {"window": 1}), ValueError, "window=1 leaves no path"),
        (([1.0], [1.0], "erp", {}), ValueError, "metric must be one of .*, got 'erp'"),
        (([1.0], [1.0], "dtw", {"cutoff": 1.0}), ValueError, "cutoff is not for paths"),
        (([1.0], [np.nan], "dtw", {"nan_policy": "propagate"}), ValueError, "must hold no nan"),
        (([[1.0, 2.0]], [[1.0, 2.0]], "msm", {}), ValueError, "one dimension.*msm"),
        (([1.0], [1.0], "dtw", {"penalty": 1}), TypeError, "dtw has no parameter 'penalty'"),
    ],
)
def test_what_has_no_path_is_refused(arguments, error, message) -> None:
    x, y, metric, params = arguments
    with pytest.raises(error, match=message) as caught:
        path(x, y, metric, **params)
    assert isinstance(caught.value, MidstreamError)


@pytest.mark.parametrize("metric", WITH_PATH)
@pytest.mark.parametrize(
    ("n", "m", "window", "band"),
    [
        (70, 60, None, "sakoe"),
        (60, 70, 12, "sakoe"),
        (70, 3, None, "sakoe"),
        (200, 60, 2, "widened"),
        (60, 200, 2, "widened"),
        (150, 60, 3, "slanted"),
        (60, 150, 3, "slanted"),
    ],
)
def test_paths_stay_inside_where_all_costs_overflow(metric, n, m, window, band) -> None:
    turns = np.array([1e308, -1e308])
    got = path(np.resize(turns, n), np.resize(-turns, m), metric, window=window, band=band)
    cut = 2 if metric == "ddtw" else 0
    n, m = n - cut, m - cut
    assert is_path(got.path, n, m)
    if window is not None and band != "slanted":
        below = window + (max(n - m, 0) if band == "widened" else 0)
        above = window + (max(m - n, 0) if band == "widened" else 0)
        lag = got.path[:, 0] - got.path[:, 1]
        assert -above <= lag.min() <= lag.max() <= below


@pytest.mark.parametrize(("n", "m", "window"), [(40, 14, 0), (14, 40, 0), (5, 4, 0), (20, 200, 0)])
def test_no_path_through_a_row_without_cells(n: int, m: int, window: int) -> None:
    """A slanted band of radius 0 has gaps where the diagonal meets no whole sample."""
    x, y = np.zeros(n), np.zeros(m)
    assert dtw(x, y, window=window, band="slanted") == np.inf
    with pytest.raises(MidstreamError, match=f"window={window} leaves no path"):
        dtw_path(x, y, window=window, band="slanted")
