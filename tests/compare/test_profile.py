"""matrix_profile, motifs and discords against all pairs of windows in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference.search import profile as all_pairs

from midstream import MidstreamError
from midstream._core._poll import Poll
from midstream.compare import Match, Motif, discords, matrix_profile, motifs
from midstream.compare._profile import LAGS, Best, Profiler


def check(series, m: int, exclusion: int) -> None:
    ours = matrix_profile(series, m, exclusion=exclusion)
    distance, index, left, right = all_pairs(list(series), m, exclusion)
    np.testing.assert_allclose(ours.distance, distance, rtol=1e-9, atol=1e-6)
    # Partners may differ where rounding decides between equal ones.
    for which, wanted in ((ours.nearest, index), (ours.left, left), (ours.right, right)):
        assert np.array_equal(which < 0, np.array(wanted) < 0)
    for i, j in enumerate(ours.nearest.tolist()):
        if j >= 0:
            assert abs(i - j) > exclusion
    return ours, (index, left, right)


@pytest.mark.parametrize("seed", range(30))
def test_walks_and_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 20))
    series = rng.normal(size=int(rng.integers(m, 150)))
    if seed % 2:
        series = series.cumsum() + 1e5
    exclusion = int(rng.choice([0, 1, -(-m // 4), m, 1000]))
    ours, indices = check(series, m, exclusion)
    if m > 2:  # two samples normalise to one of two shapes
        for which, wanted in zip(ours[1:], indices, strict=True):
            assert which.tolist() == wanted


@pytest.mark.parametrize("seed", range(20))
def test_constant_windows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    series = np.repeat(rng.normal(size=40), rng.integers(1, 9, 40))
    if seed % 3 == 0:
        series[:] = 0.1
    elif seed % 3 == 1:
        series[:60] = rng.normal(size=min(60, len(series)))[: len(series[:60])]
    check(series, int(rng.integers(3, 8)), int(rng.integers(0, 4)))


@pytest.mark.parametrize("n", [33, 63, 64, 65, 255, 256, 257, 300, 1023, 1024, 1030])
def test_lengths_around_lanes_and_blocks(n: int) -> None:
    m = 8
    series = np.random.default_rng(n).normal(size=n + m - 1)
    ours = matrix_profile(series, m)
    windows = np.lib.stride_tricks.sliding_window_view(series, m)
    z = (windows - windows.mean(1, keepdims=True)) / windows.std(1, keepdims=True)
    square = 2 * m - 2 * z @ z.T
    i, j = np.indices(square.shape)
    square[abs(i - j) <= 2] = math.inf
    np.testing.assert_allclose(ours.distance**2, square.min(1), rtol=1e-8, atol=1e-8)
    assert np.array_equal(ours.nearest, square.argmin(1))
    # The right-hand side alone, where there is anything.
    later = np.where(j > i, square, math.inf)
    there = np.isfinite(later.min(1))
    assert np.array_equal(ours.right[there], later.argmin(1)[there])
    assert (ours.right[~there] == -1).all()


def test_fresh_starts_and_blocks_of_rows_leave_no_trace() -> None:
    """More rows than a block has, and more than there are between two fresh starts."""
    rng = np.random.default_rng(3)
    series = rng.normal(size=10000).cumsum()
    series[4000:4010] += 1e6
    m = 16
    ours = matrix_profile(series, m, exclusion=m)
    windows = np.lib.stride_tricks.sliding_window_view(series, m)
    centred = windows - windows.mean(1, keepdims=True)
    z = centred / centred.std(1, keepdims=True)
    for i in (0, 1, 500, 1023, 1024, 4500, 8191, 8192, 8193, 9984):
        square = ((z - z[i]) ** 2).sum(1)
        square[max(0, i - m) : i + m + 1] = math.inf
        assert ours.distance[i] == pytest.approx(math.sqrt(square.min()), rel=1e-7)


@pytest.mark.parametrize("n_jobs", [2, 3, -1])
def test_threads_return_the_same_bits(n_jobs: int) -> None:
    rng = np.random.default_rng(0)
    for series in (rng.normal(size=3000).cumsum(), np.repeat(rng.integers(0, 3, 900), 4)):
        one = matrix_profile(series, 20)
        for mine, other in zip(one, matrix_profile(series, 20, n_jobs=n_jobs), strict=True):
            assert np.array_equal(mine, other)


def test_the_order_of_lags_does_not_matter() -> None:
    """Of equal windows the nearest is the first, also where it was visited last."""
    series = np.tile(np.random.default_rng(0).integers(0, 9, 40), 30).astype(float)
    profiler = Profiler(series, 20)
    lags = [1 + k * LAGS for k in range(-(-profiler.windows // LAGS))]
    forwards, backwards = Best(profiler.windows), Best(profiler.windows)
    for lag in lags:
        assert profiler.visit(lag, forwards, Poll()) == lag
    # None are that far apart.
    profiler.visit(profiler.windows, backwards, Poll())
    profiler.visit(profiler.windows + 1000, backwards, Poll())
    assert (backwards.right_index == -1).all()
    for lag in reversed(lags):
        profiler.visit(lag, backwards, Poll())
    merged = Best(profiler.windows)
    for lag in reversed(lags):
        alone = Best(profiler.windows)
        profiler.visit(lag, alone, Poll())
        merged.merge(alone)
    for name in ("right", "left", "right_index", "left_index"):
        expected = getattr(forwards, name)
        assert np.array_equal(getattr(backwards, name), expected), name
        assert np.array_equal(getattr(merged, name), expected), name
    # Integers: correlations of equal windows are equal to the last bit, or nearly so.
    first = forwards.right_index[:40]
    assert (first > 0).all() and ((first - np.arange(40)) % 40 == 0).all()


def test_the_binding_refuses_what_the_kernel_cannot_take() -> None:
    series = np.random.default_rng(0).normal(size=50)
    for m in (0, 51):
        with pytest.raises(ValueError, match="no such windows"):
            Profiler(series, m)
    profiler = Profiler(series, 10)
    with pytest.raises(ValueError, match="not of the same series"):
        Best(41).merge(Best(40))
    for lag, best in ((0, Best(41)), (1, Best(40))):
        with pytest.raises(ValueError, match="not of this series"):
            profiler.visit(lag, best, Poll())
    for index in (np.zeros(40, dtype=np.int64), np.full(41, 41)):
        with pytest.raises(IndexError, match="no such windows"):
            profiler.distances(index, Poll())
    assert np.isinf(profiler.distances(np.full(41, -1), Poll())).all()


def test_distances_are_those_of_the_pair() -> None:
    series = np.random.default_rng(1).normal(size=600).cumsum() + 1e8
    series[400:450] = series[100:150] * 1.0
    ours = matrix_profile(series, 50)
    assert ours.distance[100] == ours.distance[400] == 0.0
    assert (ours.nearest[100], ours.nearest[400]) == (400, 100)


def test_motifs_and_discords() -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(size=1000)
    series[600:640] = series[200:240]
    series[800:840] = 5 * series[300:340] + 0.5 * rng.normal(size=40)
    found = motifs(series, 40, k=2)
    assert found[0] == Motif(200, 600, 40, 0.0)
    assert (found[1].first, found[1].second) == (300, 800)
    assert len(motifs(series, 40, k=10**6)) < 100

    regular = np.tile(np.sin(np.arange(50) / 50 * 2 * np.pi), 20)
    regular[512:520] = 2.0
    worst = discords(regular, 50, k=2)
    assert all(match.end == match.start + 50 for match in worst)
    assert worst[0].distance >= worst[1].distance
    assert 462 <= worst[0].start < 520
    assert abs(worst[0].start - worst[1].start) > 13


def test_alone() -> None:
    ours = matrix_profile([1.0, 2.0, 4.0], 3)
    assert [array.tolist() for array in ours] == [[math.inf], [-1], [-1], [-1]]
    assert motifs([1.0, 2.0, 4.0], 3) == []
    assert discords([1.0, 2.0, 4.0], 3) == []
    pair = matrix_profile([1.0, 2.0, 3.0, 9.0], 3, exclusion=0)
    assert pair.nearest.tolist() == [1, 0]
    assert discords([1.0, 2.0, 3.0, 9.0], 3, exclusion=0) == [
        Match(0, 3, float(pair.distance[0])),
        Match(1, 4, float(pair.distance[1])),
    ]


def test_limits_beyond_64_bits() -> None:
    series = np.repeat(np.random.default_rng(0).normal(size=30), 3)
    assert motifs(series, 5, k=10**30)
    assert discords(series, 5, k=10**30)
    assert motifs(series, 5, exclusion=10**30) == discords(series, 5, exclusion=10**30) == []


def test_progress_reaches_its_total() -> None:
    for exclusion in (0, 5, 199, 1000):
        told: list[tuple[int, int]] = []
        matrix_profile(
            np.random.default_rng(0).normal(size=1200),
            10,
            exclusion=exclusion,
            progress=lambda *pair: told.append(pair),  # noqa: B023
        )
        if exclusion < 1000:
            assert told[-1][0] == told[-1][1] == math.comb(1191 - exclusion, 2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"series": []}, "series"),
        ({"series": [[1.0, 2.0]]}, "series"),
        ({"series": [1.0, math.nan, 2.0]}, "series"),
        ({"m": 1}, "m "),
        ({"m": 11}, "m "),
        ({"m": 2.5}, "m "),
        ({"exclusion": -1}, "exclusion"),
        ({"exclusion": 0.5}, "exclusion"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"progress": 1}, "progress"),
    ],
)
def test_bad_arguments_are_named(arguments, named) -> None:
    for function in (matrix_profile, motifs, discords):
        with pytest.raises(MidstreamError, match=named):
            function(**{"series": np.arange(10.0), "m": 3, **arguments})
    for function in (motifs, discords):
        with pytest.raises(MidstreamError, match="k "):
            function(np.arange(10.0), 3, k=0)


@pytest.mark.parametrize(
    "outliers",
    [
        {200: 1e9},
        {0: 1e12},
        {200: 1e20},
        {599: -1e36},
        {50: 1e20, 90: -1e9, 300: 1e30},
        {200: 1e300},
    ],
    ids=str,
)
def test_outliers_spoil_no_window_but_their_own(outliers) -> None:
    m, exclusion = 20, 5
    series = np.random.default_rng(0).normal(size=600)
    for place, value in outliers.items():
        series[place] = value
    ours = matrix_profile(series, m, exclusion=exclusion)
    windows = np.lib.stride_tricks.sliding_window_view(np.clip(series, -1e100, 1e100), m)
    centred = windows - windows.mean(1, keepdims=True)
    z = centred / centred.std(1, keepdims=True)
    square = ((z[:, None] - z) ** 2).sum(2)
    i, j = np.indices(square.shape)
    square[abs(i - j) <= exclusion] = math.inf
    np.testing.assert_allclose(ours.distance, np.sqrt(square.min(1)), rtol=1e-7, atol=1e-7)
