"""cdist, pdist and search over Dask's collections: what they describe is what they give at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.compare import cdist, dtw, pdist, search
from midstream.compare.matrix import METRICS

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")
assert_eq = pytest.importorskip("dask.array.utils").assert_eq

RNG = np.random.default_rng(40)
WORDS = ["kitten", "sitting", "", "mitten", "kit", "sit", "mittens"]


@pytest.fixture(autouse=True)
def _nothing_is_computed_unasked() -> Iterator[None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        yield


def computed(value: Any) -> Any:
    return value.compute(scheduler="sync")


def walks(count: int, length: int, *shape: int) -> np.ndarray:
    return RNG.normal(size=(count, length, *shape)).cumsum(axis=1)


def same(described: Any, expected: np.ndarray) -> None:
    """The same bits, shape, dtype and kind of array, and chunks that say what they hold."""
    assert described._meta.dtype == expected.dtype
    assert described._meta.ndim == expected.ndim
    with dask.config.set(scheduler="sync"):
        assert_eq(described, expected, check_shape=not np.isnan(described.shape).any())
        assert computed(described).tolist() == expected.tolist()


# --- matrices -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric(metric: str) -> None:
    if metric in ("lcs", "levenshtein"):
        x, y = np.array(WORDS), np.array(WORDS[:3])
    else:
        x, y = walks(7, 12), walks(4, 12)
    first, second = da.from_array(x, chunks=3), da.from_array(y, chunks=2)
    described = cdist(first, second, metric)
    assert described.chunks == ((3, 3, 1), (2, 2) if len(y) == 4 else (2, 1))
    same(described, cdist(x, y, metric))
    condensed = pdist(first, metric)
    assert condensed.chunks == ((15, 6, 0),)
    same(condensed, pdist(x, metric))


def test_parameters_arrive() -> None:
    x, y = walks(5, 20), walks(6, 20)
    first = da.from_array(x, chunks=(2, 20))
    options = {"window": 3, "cost": "absolute", "cutoff": 40.0, "n_jobs": 2}
    same(cdist(first, y, dtw, **options), cdist(x, y, "dtw", **options))
    same(pdist(first, dtw, **options), pdist(x, "dtw", **options))


@pytest.mark.parametrize("chunks", [1, 2, 5, 11, (1, 1, 9), (9, 1, 1), (4, 0, 7)])
def test_condensed_order_for_any_chunks(chunks: Any) -> None:
    x = walks(11, 6)
    same(pdist(da.from_array(x, chunks=(chunks, 6))), pdist(x))


def test_chunks_inside_series_are_joined_and_those_between_kept() -> None:
    x, y = walks(6, 10, 3), walks(4, 8, 3)
    described = cdist(da.from_array(x, chunks=(4, 3, 1)), da.from_array(y, chunks=(3, 8, 2)))
    assert described.chunks == ((4, 2), (3, 1))
    same(described, cdist(x, y))


def test_bags_lists_and_delayed_values() -> None:
    x = [RNG.normal(size=RNG.integers(3, 20)).cumsum() for _ in range(9)]
    y = x[:5]
    bag = db.from_sequence(x, npartitions=3)
    each = [dask.delayed(np.asarray)(one) for one in x]
    expected = cdist(x, y)
    for first in (bag, each, dask.delayed(x), [*each[:4], *x[4:]], tuple(each)):
        described = cdist(first, y)
        assert np.isnan(described.shape[0]) != isinstance(first, (list, tuple))
        same(described, expected)
        same(cdist(y, first), cdist(y, x))
        same(cdist(first, first), cdist(x, x))
        same(pdist(first), pdist(x))
    assert cdist(bag, y).numblocks == (3, 1)


def test_partitions_that_are_iterators_or_empty() -> None:
    x = walks(8, 6)
    bag = db.from_sequence(list(x), npartitions=4).map(lambda one: one * 2)
    kept = bag.filter(lambda one: one[0] > 2 * x[3, 0])
    expected = [one * 2 for one in x if 2 * one[0] > 2 * x[3, 0]]
    same(pdist(kept), pdist(expected))
    same(cdist(kept, kept), cdist(expected, expected))


@pytest.mark.parametrize("count", [0, 1])
def test_few_series(count: int) -> None:
    x, y = walks(3, 5)[:count], walks(2, 5)
    first = da.from_array(x, chunks=(1, 5))
    same(cdist(first, y), cdist(x, y))
    same(pdist(first), pdist(x))


def test_precision_is_that_of_the_dtypes() -> None:
    x, y = walks(6, 15).astype(np.float32), walks(4, 15)
    first, second = da.from_array(x, chunks=(4, 15)), da.from_array(y, chunks=(2, 15))
    same(cdist(first, second), cdist(x, y))
    same(cdist(first, first), cdist(x, x))
    same(pdist(first), pdist(x))


def test_equal_work_has_equal_names() -> None:
    x = da.from_array(walks(4, 5), chunks=(2, 5))
    assert cdist(x, x, window=2).name == cdist(x, x, window=2).name
    assert len({cdist(x, x).name, cdist(x, x, window=2).name, cdist(x, x, cutoff=1).name}) == 3
    assert cdist(x, x, "msm").name.startswith("cdist-msm-")


def test_what_is_wrong_is_said_at_once() -> None:
    x = da.from_array(walks(4, 5), chunks=(2, 5))
    for call in (lambda **kw: cdist(x, x, **kw), lambda **kw: pdist(x, **kw)):
        for options, message in (
            ({"metric": "dwt"}, "metric must be one of"),
            ({"wind": 3}, "dtw has no parameter 'wind'"),
            ({"window": -1}, "window must be at least 0"),
            ({"metric": "soft_dtw", "gamma": -1}, "gamma"),
            ({"metric": "levenshtein", "weights": (1, 2)}, "weights"),
            ({"cutoff": "far"}, "cutoff must be a real number"),
            ({"n_jobs": 0}, "n_jobs must not be 0"),
            ({"out": np.empty(6)}, "out must be None with Dask"),
            ({"progress": print}, "progress must be None with Dask.*dashboard"),
        ):
            with pytest.raises(MidstreamError, match=message):
                call(**options)
    with pytest.raises(MidstreamError, match=r"X must hold series: shape .*, got \(4,\)"):
        pdist(x[:, 0])
    with pytest.raises(MidstreamError, match="Y must be a sequence of series, got str"):
        cdist(x, "abc")
    for kind in (complex, "datetime64[s]", object, "U3"):
        with pytest.raises(MidstreamError, match="Y must hold real numbers, got dtype"):
            cdist(x, da.zeros((4, 3), dtype=kind, chunks=(2, 3)))
    letters = np.array([list("abc"), list("abd"), list("xyz")])
    assert computed(pdist(da.from_array(letters, chunks=(2, 3)), "levenshtein")).tolist() == [
        1,
        3,
        3,
    ]


@pytest.mark.parametrize("call", [lambda x: cdist(x, x), pdist])
def test_too_many_tasks_are_warned_of(monkeypatch, call) -> None:
    monkeypatch.setattr("midstream._core.chunks.MANY_TASKS", 11)
    call(da.zeros((6, 4), chunks=(2, 4)))
    with pytest.warns(da.PerformanceWarning, match=r"^\d+ tasks, .*larger chunks") as caught:
        call(da.zeros((12, 4), chunks=(2, 4)))
    assert caught[0].filename == __file__


def test_what_is_wrong_with_a_series_is_said_with_its_place() -> None:
    x = np.zeros((12, 4))
    x[9, 2] = np.nan
    with pytest.raises(MidstreamError, match=r"X\[1\]") as caught:
        computed(cdist(da.from_array(x, chunks=(4, 4)), np.zeros((2, 4))))
    assert caught.value.__notes__ == ["Numbers of X and Y here count from X[8], Y[0]."]
    x[:4] = 0
    with pytest.raises(MidstreamError, match=r"Y\[1\]") as caught:
        computed(pdist(da.from_array(x, chunks=(4, 4))))
    assert caught.value.__notes__ == ["Numbers of X and Y here count from X[0], X[8]."]


# --- searches -----------------------------------------------------------------------------------

SERIES = np.random.default_rng(41).normal(size=2500).cumsum()
QUERY = SERIES[700:780] + np.random.default_rng(42).normal(size=80) * 0.2


@pytest.mark.parametrize("chunks", [2500, 1000, 333, 81, 80, 79, 33, (2400, 100), (5, 2490, 5)])
@pytest.mark.parametrize(
    "options",
    [
        {"window": 4},
        {"k": 5, "window": 8},
        {"k": 3, "window": 3, "exclusion": 1200},
        {"k": 9, "metric": "euclidean", "exclusion": 0},
        {"k": None, "threshold": 9.0, "metric": "euclidean"},
        {"k": 4, "threshold": 7.0, "window": 2},
        {"k": 10**25, "window": 2, "exclusion": 300},
        {"k": 3, "window": 2, "normalize": False},
        {"k": 2, "window": 1, "exclusion": 10**9, "n_jobs": 2},
    ],
)
def test_matches_do_not_depend_on_chunks(chunks: Any, options: dict[str, Any]) -> None:
    described = search(QUERY, da.from_array(SERIES, chunks=chunks), **options)
    assert computed(described) == search(QUERY, SERIES, **options)


def test_equally_good_windows() -> None:
    series = np.tile(np.hanning(40), 30)
    for k, exclusion in ((7, None), (31, None), (5, 0), (None, 100)):
        options = {"k": k, "exclusion": exclusion, "threshold": 1.0, "window": 2}
        expected = search(series[:40], series, **options)
        for chunks in (40, 130, 400):
            described = search(series[:40], da.from_array(series, chunks=chunks), **options)
            assert computed(described) == expected


def test_many_chunks_are_merged_in_a_tree() -> None:
    series = np.random.default_rng(43).normal(size=6000)
    described = search(series[5000:5010], da.from_array(series, chunks=15), k=20, window=1)
    assert max(len(list(key)) for key in described.dask if isinstance(key, tuple)) == 3
    assert computed(described) == search(series[5000:5010], series, k=20, window=1)


def test_queries_and_series_of_every_kind() -> None:
    expected = search(QUERY, SERIES, window=3)
    chunked = da.from_array(SERIES, chunks=600)
    query = da.from_array(QUERY, chunks=30)
    later = dask.delayed(QUERY)
    for described in (
        search(QUERY, chunked, window=3),
        search(query, chunked, window=3),
        search(query, SERIES, window=3),
        search(later, SERIES, window=3),
        search(query, dask.delayed(SERIES), window=3),
        search(later, dask.delayed(SERIES), window=3),
    ):
        assert computed(described) == expected
    assert computed(search([1.0], da.from_array(np.array([3.0, 1.0]), chunks=1), normalize=False))


def test_a_collection_of_series_gives_one_answer_for_each() -> None:
    several = [SERIES, SERIES[500:1500], SERIES[::-1].copy()]
    expected = [search(QUERY, one, k=2, window=3) for one in several]
    bag = search(QUERY, db.from_sequence(several, npartitions=2), k=2, window=3)
    assert bag.npartitions == 2
    assert computed(bag) == expected
    each = search(dask.delayed(QUERY), [dask.delayed(one) for one in several], k=2, window=3)
    assert [computed(one) for one in each] == expected
    with pytest.raises(MidstreamError, match="not be shorter") as caught:
        computed(search(QUERY, db.from_sequence([SERIES, SERIES[:9]], npartitions=1)))
    assert caught.value.__notes__ == ["In series 1 of its partition."]


def test_searches_that_cannot_be_are_refused_at_once() -> None:
    chunked = da.from_array(SERIES, chunks=600)
    unknown = chunked[chunked > 0]
    for query, series, options, message in (
        (QUERY, chunked, {"k": 0}, "k must be at least 1"),
        (QUERY, chunked, {"k": None}, "k and threshold are both None"),
        (QUERY, chunked, {"metric": "euclidean", "window": 1}, "window is for metric 'dtw'"),
        (QUERY, chunked, {"normalize": 1}, "normalize must be True or False"),
        (QUERY, chunked, {"exclusion": -1}, "exclusion must be at least 0"),
        (QUERY, chunked, {"n_jobs": 0}, "n_jobs must not be 0"),
        (QUERY, chunked, {"progress": print}, "progress must be None"),
        (QUERY, chunked.reshape(50, 50), {}, "series must have shape"),
        (QUERY, unknown, {}, "series must have chunks of known sizes"),
        (unknown, chunked, {}, "query must have chunks of known sizes"),
        (chunked, da.from_array(QUERY, chunks=9), {}, "series must not be shorter"),
        ([], chunked, {}, "query"),
        ([np.nan], chunked, {}, "query must be finite|query"),
        (dask.delayed(QUERY), chunked, {}, "query must have a known length"),
        (db.from_sequence([1.0]), chunked, {}, "query must be one series, got Bag"),
        (chunked.reshape(50, 50), chunked, {}, "query must have shape"),
        (dask.delayed(QUERY), SERIES.reshape(50, 50), {}, "series must have shape"),
    ):
        with pytest.raises(MidstreamError, match=message):
            search(query, series, **options)
