"""search and distance_profile against every window compared in plain Python, bit by bit."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.search import chosen, distances, normalised

from midstream import MidstreamError
from midstream._core._poll import Poll
from midstream.compare import Match, distance_profile, dtw, search
from midstream.compare._search import Searcher


def expected(query, series, *, radius, normalize=True, k=1, threshold=None, exclusion=None):
    exclusion = len(query) // 2 if exclusion is None else exclusion
    values = distances(query, series, radius, normalize)
    return [
        Match(start, start + len(query), distance)
        for start, distance in chosen(values, k, threshold, exclusion)
    ]


def both(query, series, *, radius, **arguments):
    """search under DTW, and under the Euclidean distance where that is the same."""
    found = search(query, series, window=radius, **arguments)
    if radius == 0:
        assert search(query, series, metric="euclidean", **arguments) == found
    return found


def a_series(rng: np.random.Generator, n: int) -> np.ndarray:
    """Walks, noise, steps, flat stretches, few values, far from zero, far apart."""
    kind = rng.integers(8)
    if kind == 0:
        return rng.normal(size=n).cumsum()
    if kind == 1:
        return rng.normal(size=n)
    if kind == 2:
        return rng.integers(0, 3, n).astype(float)
    if kind == 3:
        return np.repeat(rng.normal(size=n), rng.integers(1, 9))[:n]
    if kind == 4:
        return 1e6 + 1e-6 * rng.normal(size=n)
    if kind == 5:
        return rng.normal(size=n) + np.where(np.arange(n) < n // 2, 0, 1e9)
    if kind == 6:
        return rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n)
    return np.tile(rng.normal(size=int(rng.integers(1, 9))), n)[:n]


@pytest.mark.parametrize("seed", range(120))
def test_search_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 20))
    series = a_series(rng, int(rng.integers(m, 170)))
    if rng.random() < 0.5:
        start = int(rng.integers(len(series) - m + 1))
        query = series[start : start + m] + rng.choice([0, 0.1]) * rng.normal(size=m)
    else:
        query = a_series(rng, m)
    normalize = bool(rng.integers(2))
    k = [1, 2, 3, 10, 1000, None][rng.integers(6)]
    threshold = None
    if k is None or rng.random() < 0.3:
        # One of the distances, so that "inclusive" is tried.
        values = distances(query, series, 0, normalize)
        threshold = float(rng.choice(values))
    arguments = {
        "radius": int(rng.choice([0, 0, 1, 2, 5, 40])),
        "normalize": normalize,
        "k": k,
        "threshold": threshold,
        "exclusion": [None, 0, 1, m, 1000][rng.integers(5)],
    }
    assert both(query, series, **arguments) == expected(query, series, **arguments)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(-2, 2), min_size=1, max_size=8),
    st.lists(st.integers(-2, 2), min_size=8, max_size=60),
    st.integers(0, 9),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_search_is_exact_where_much_is_equal(query, series, radius, normalize, k, exclusion):
    arguments = {"radius": radius, "normalize": normalize, "k": k, "exclusion": exclusion}
    assert both(query, series, **arguments) == expected(query, series, **arguments)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65])
@pytest.mark.parametrize("radius", [0, 3, None])
def test_lengths_around_the_lanes(m: int, radius: int | None) -> None:
    rng = np.random.default_rng(m)
    for extra in (0, 1, 15, 16, 17, 63, 64, 65):
        series = rng.normal(size=m + extra).cumsum()
        query = rng.normal(size=m).cumsum()
        assert search(query, series, window=radius, k=3) == expected(
            query, series, radius=m if radius is None else radius, k=3
        )


def long_series(n: int) -> np.ndarray:
    """A walk with a flat stretch, a jump, and spikes."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=n).cumsum()
    series[n // 3 : n // 3 + 2000] = series[n // 3]
    series[n // 2 :] += 1e7
    series[rng.integers(0, n, 20)] += 1e5
    return series


def slow_profile(query: np.ndarray, series: np.ndarray, normalize: bool) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(series, len(query))
    if not normalize:
        return np.sqrt(((windows - query) ** 2).sum(axis=1))
    centred = windows - windows[:, :1]
    centred = centred - centred.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    centred = np.divide(centred, deviation, where=deviation > 0, out=np.zeros_like(centred))
    return np.sqrt((((query - query.mean()) / query.std() - centred) ** 2).sum(axis=1))


@pytest.mark.parametrize("m", [2, 100, 256, 257, 700])
@pytest.mark.parametrize("normalize", [True, False])
def test_profile_of_a_long_series(m: int, normalize: bool) -> None:
    series = long_series(40000)
    query = series[25000 : 25000 + m] + np.random.default_rng(1).normal(size=m)
    ours = distance_profile(query, series, normalize=normalize)
    np.testing.assert_allclose(ours, slow_profile(query, series, normalize), rtol=2e-9, atol=1e-9)
    assert np.array_equal(ours, distance_profile(query, series, normalize=normalize, n_jobs=3))
    best = search(query, series, metric="euclidean", normalize=normalize)[0]
    assert best.start == int(np.argmin(ours))
    assert best.distance == pytest.approx(ours.min(), rel=1e-9)


@pytest.mark.parametrize("metric", ["dtw", "euclidean"])
@pytest.mark.parametrize("arguments", [{"k": 1}, {"k": 7}, {"k": None, "threshold": 9.0}])
def test_threads_return_the_same_bits(metric: str, arguments: dict[str, object]) -> None:
    series = long_series(60000)
    query = series[5000:5100]
    window = {"window": 5} if metric == "dtw" else {}
    found = search(query, series, metric=metric, **window, **arguments)
    assert found
    for n_jobs in (2, 5, -1):
        assert search(query, series, metric=metric, n_jobs=n_jobs, **window, **arguments) == found


def test_long_search_agrees_with_all_windows_compared() -> None:
    series = long_series(20000)
    query = np.random.default_rng(5).normal(size=90).cumsum()
    # With a threshold that nothing exceeds, nothing is skipped.
    everything = search(query, series, window=4, k=None, threshold=math.inf, exclusion=0)
    assert len(everything) == len(series) - len(query) + 1
    assert everything == sorted(everything, key=lambda match: (match.distance, match.start))
    values = [0.0] * len(everything)
    for match in everything:
        values[match.start] = match.distance
    for k, exclusion in ((1, None), (4, None), (20, 10), (3, 0), (500, 45)):
        apart = 45 if exclusion is None else exclusion
        assert [
            (match.start, match.distance)
            for match in search(query, series, window=4, k=k, exclusion=exclusion)
        ] == chosen(values, k, None, apart)


def test_offset_and_scale_do_not_count() -> None:
    rng = np.random.default_rng(2)
    series = rng.normal(size=500)
    query = series[100:130].copy()
    for scale in (1e-200, 1e-9, 1.0, 2.0**40, 1e200):
        match = search(scale * query, series * 3e150, window=3)[0]
        assert (match.start, match.end) == (100, 130)
        assert match.distance < 1e-6
    assert search(query + 1e6, series, window=3)[0].start == 100


def test_constant_windows() -> None:
    series = np.concatenate([np.full(50, 0.1) * 3, np.arange(50.0), np.full(50, 7.0)])
    flat = search(np.full(10, 1e9), series, k=None, threshold=0.0, exclusion=0)
    assert [match.start for match in flat] == [*range(41), *range(100, 141)]
    shaped = distance_profile(np.arange(10.0), series)
    assert np.allclose(shaped[:41], math.sqrt(10), rtol=1e-14)
    assert shaped[60] == pytest.approx(0, abs=1e-12)
    # A few roundings do not make a shape, at any scale.
    for scale in (1e-30, 1.0, 1e30):
        jitter = scale * (1 + np.spacing(1.0) * np.random.default_rng(0).integers(0, 4, 60))
        assert distance_profile(np.full(12, 5.0), jitter).tolist() == [0.0] * 49


def test_windows_whose_variance_vanishes_are_constant() -> None:
    """Differences that are far from rounding, and whose squares are 0 in double precision."""
    tiny = np.array([0.0, 3.0, -2.0, 1.0, 2.0]) * 1e-200
    query = np.array([1.0, 2.0, 4.0, 3.0])
    series = np.concatenate([tiny, query, tiny])
    for radius in (0, 2):
        found = both(query, series, radius=radius, k=3, exclusion=4)
        assert found == expected(query, series, radius=radius, k=3, exclusion=4)
        assert found[0] == Match(5, 9, 0.0)
    values = distance_profile(query, series)
    # All of a constant window becomes 0, and a normalised query of m samples has the norm sqrt(m).
    assert values[[0, 1, 9, 10]].tolist() == pytest.approx([2.0] * 4)
    assert distance_profile(np.zeros(5), series)[[0, 9]].tolist() == [0, 0]


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.tolist(),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float64),
        lambda x: x.astype(">f8"),
        lambda x: x.astype(object).astype(np.longdouble),
    ],
    ids=["list", "strided", "unaligned", "big-endian", "longdouble"],
)
def test_any_array_will_do(convert) -> None:
    rng = np.random.default_rng(3)
    series = rng.normal(size=300).cumsum()
    series.flags.writeable = False
    query = series[40:75]
    wanted = search(query, series, window=3, k=4)
    assert search(convert(query), convert(series), window=3, k=4) == wanted
    assert np.array_equal(
        distance_profile(convert(query), convert(series)), distance_profile(query, series)
    )


def test_single_precision_and_integers_are_compared_in_double_precision() -> None:
    rng = np.random.default_rng(4)
    series = rng.normal(size=400).astype(np.float32)
    query = series[9:40]
    assert search(query, series, window=2, k=3) == search(
        query.astype(float), series.astype(float), window=2, k=3
    )
    whole = rng.integers(-99, 99, 400)
    assert search(whole[7:30], whole, k=3) == search(whole[7:30] * 1.0, whole * 1.0, k=3)


def test_arguments_are_not_changed() -> None:
    series = np.random.default_rng(6).normal(size=200) * 1e200
    copy = series.copy()
    search(series[3:20], series)
    distance_profile(series[3:20], series)
    assert np.array_equal(series, copy)


@pytest.mark.parametrize("radius", [0, 4, None])
def test_distances_are_those_of_the_measures(radius: int | None) -> None:
    series = np.random.default_rng(8).normal(size=300).cumsum()
    query = series[50:90][::-1]
    for match in search(query, series, window=radius, k=5):
        window = series[match.start : match.end]
        normal = [np.array(normalised(part)) for part in (query, window)]
        assert match.distance == dtw(*normal, window=radius)
    for match in search(query, series, window=radius, k=5, normalize=False):
        assert match.distance == dtw(query, series[match.start : match.end], window=radius)


def test_squares_beyond_double_precision() -> None:
    series = np.array([1e200, -1e200, 1e200, 0.0, 1.0])
    assert distance_profile([0.0, 1.0], series, normalize=False).tolist() == [
        math.inf,
        math.inf,
        math.inf,
        0.0,
    ]
    assert search([0.0, 1.0], series, normalize=False) == [Match(3, 5, 0.0)]


def note(told: list[tuple[int, int]], done: int, total: int) -> None:
    told.append((done, total))


def test_progress_reaches_its_total() -> None:
    series = np.random.default_rng(0).normal(size=50000)
    for n_jobs in (1, 2):
        told: list[tuple[int, int]] = []
        search(series[:50], series, window=2, n_jobs=n_jobs, progress=partial(note, told))
        done, totals = zip(*told, strict=True)
        assert list(done) == sorted(done)
        assert set(totals) == {done[-1]}
    told.clear()
    distance_profile(series[:50], series, progress=partial(note, told))
    assert told[-1] == (49951, 49951)


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_progress_raises_ends_the_search(n_jobs: int) -> None:
    def stop(done: int, total: int) -> None:
        raise StopHereError

    series = np.random.default_rng(0).normal(size=200000)
    with pytest.raises(StopHereError):
        search(series[:50], series, n_jobs=n_jobs, progress=stop)


GOOD = np.arange(20.0)
BAD = [
    ({"query": []}, "query"),
    ({"series": []}, "series"),
    ({"query": [[1.0, 2.0]]}, "query"),
    ({"series": np.zeros((30, 2))}, "series"),
    ({"query": 3.0}, "query"),
    ({"query": [1.0, math.nan]}, "query"),
    ({"series": [*GOOD, math.inf]}, "series"),
    ({"series": [*GOOD, math.nan]}, "series"),
    ({"series": ["a", "b", "c", "d", "e"]}, "series"),
    ({"series": [1j, 2, 3, 4, 5]}, "series"),
    ({"series": [1.0, 2.0]}, "series"),
    ({"metric": "cosine"}, "metric"),
    ({"normalize": 1}, "normalize"),
    ({"window": -1}, "window"),
    ({"window": 0.1}, "window"),
    ({"window": 1, "metric": "euclidean"}, "window"),
    ({"k": 0}, "k "),
    ({"k": 1.5}, "k "),
    ({"k": None}, "k and threshold"),
    ({"threshold": -1.0}, "threshold"),
    ({"threshold": math.nan}, "threshold"),
    ({"threshold": "far"}, "threshold"),
    ({"exclusion": -1}, "exclusion"),
    ({"n_jobs": 0}, "n_jobs"),
    ({"n_jobs": 1.5}, "n_jobs"),
    ({"progress": 7}, "progress"),
]


@pytest.mark.parametrize(("change", "named"), BAD, ids=[str(change) for change, _ in BAD])
def test_bad_arguments_are_named(change, named) -> None:
    arguments = {"query": GOOD[:3], "series": GOOD, **change}
    with pytest.raises(MidstreamError, match=named) as caught:
        search(**arguments)
    assert isinstance(caught.value, (ValueError, TypeError))


def test_more_matches_than_there_are() -> None:
    assert len(search(GOOD[:5], GOOD, k=10**6, exclusion=0)) == 16
    assert len(search(GOOD[:5], GOOD, k=10**6, exclusion=10**9)) == 1
    assert search(GOOD[:5], GOOD, window=10**30 // 10**12, k=1)[0].start == 0
    assert search([1, 5, 2], GOOD, threshold=0.0) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", ["dtw", "euclidean"])
@pytest.mark.parametrize("place", [0, 650, 999])
@pytest.mark.parametrize("value", [9.96921e36, 1e99, 1e101, -1e200, 1e300, np.finfo(float).max])
def test_a_value_that_stands_for_missing_ones_hides_no_match(metric, place, value) -> None:
    series = np.random.default_rng(0).normal(size=1000)
    query = series[500:530].copy()
    series[place] = value
    (match,) = search(query, series, metric=metric)
    assert (match.start, match.distance) == (500, pytest.approx(0, abs=1e-6))
    profile = distance_profile(query, series)
    assert np.isfinite(profile).all()
    assert profile.argmin() == 500


def test_the_binding_refuses_what_the_kernels_cannot_take() -> None:
    query, series = np.arange(5.0), np.random.default_rng(0).normal(size=30)
    for radius, one, other in ((-1, query, series), (5, query, series), (0, series, query)):
        with pytest.raises(ValueError, match="do not fit"):
            Searcher(one, other, radius, True)
    searcher = Searcher(query, series, 0, False)
    for first, count in ((-1, 3), (0, 0), (0, 27), (26, 1)):
        with pytest.raises(IndexError, match="no such windows"):
            searcher.profile(first, count, Poll())
        with pytest.raises(IndexError, match="no such windows"):
            searcher.bound(first, count, 1.0, Poll())
    for start in (-1, 26):
        with pytest.raises(IndexError, match="no such windows"):
            searcher.evaluate(np.array([start]), 1.0, Poll())
    with pytest.raises(ValueError, match="one product a window"):
        searcher.profile(0, 26, Poll(), lambda samples: (np.zeros(25), 0.0))
    assert searcher.evaluate(np.empty(0, dtype=np.int64), 1.0, Poll()).shape == (0,)
    windows = np.lib.stride_tricks.sliding_window_view(series, 5)
    wanted = ((windows - query) ** 2).sum(axis=1)
    everything = searcher.evaluate(np.arange(26), math.inf, Poll())
    np.testing.assert_allclose(everything, wanted, rtol=1e-12)
