"""cdist and pdist: shapes, threads, progress, interruption, refusal. Values: see the properties."""

from __future__ import annotations

import io
import itertools
import signal
import threading
import time

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.compare import cdist, dtw, edr, euclidean, lcs, levenshtein, msm, pdist
from midstream.compare.matrix import METRICS

RNG = np.random.default_rng(5)


def walks(count: int, length: int, *shape: int) -> np.ndarray:
    return RNG.normal(size=(count, length, *shape)).cumsum(axis=1)


def ragged(count: int, longest: int) -> list[np.ndarray]:
    return [RNG.normal(size=RNG.integers(3, longest + 1)).cumsum() for _ in range(count)]


def test_shapes_are_scipys() -> None:
    x, y = walks(5, 9), walks(3, 9)
    assert cdist(x, y).shape == (5, 3)
    assert pdist(x).shape == (10,)
    distance = pytest.importorskip("scipy.spatial.distance")
    square = distance.squareform(pdist(x))
    np.testing.assert_array_equal(square, cdist(x, x))
    np.testing.assert_allclose(pdist(x, "euclidean"), distance.pdist(x), rtol=1e-14)


@pytest.mark.parametrize("count", [0, 1])
def test_few_series(count: int) -> None:
    x = list(walks(count, 4))
    assert pdist(x).shape == (0,)
    assert cdist(x, walks(2, 4)).shape == (count, 2)
    assert cdist(walks(2, 4), x).shape == (2, count)


# Around the lanes of a vector, for both precisions and every level: 1 to 16.
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_number_of_series(count: int, dtype: type) -> None:
    x = [series.astype(dtype) for series in ragged(count, 40)]
    y = [series.astype(dtype) for series in ragged(6, 40)]
    expected = [[dtw(a, b) for b in y] for a in x]
    assert cdist(x, y).tolist() == expected
    assert cdist(y, x).T.tolist() == expected
    assert pdist(x).tolist() == [dtw(a, b) for a, b in itertools.combinations(x, 2)]


def test_a_collection_of_both_precisions_is_computed_in_double() -> None:
    x = list(walks(4, 20).astype(np.float32))
    y = [series.astype(np.float64) for series in x[:2]]
    assert cdist(x, y).tolist() == [[dtw(a.astype(float), b) for b in y] for a in x]


def test_long_series_are_compared_pair_by_pair() -> None:
    x = walks(6, 9000)
    got = pdist(x, window=20, n_jobs=2)
    assert got.tolist() == [dtw(a, b, window=20) for a, b in itertools.combinations(x, 2)]


def test_out_is_filled_and_returned() -> None:
    x = walks(4, 8)
    out = np.zeros((4, 4))
    assert cdist(x, x, out=out) is out
    np.testing.assert_array_equal(out, cdist(x, x))
    condensed = np.zeros(6)
    assert pdist(x, out=condensed) is condensed
    np.testing.assert_array_equal(condensed, pdist(x))


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros((4, 3)), ValueError, r"out must have shape \(4, 4\), got \(4, 3\)"),
        (np.zeros((4, 4), np.float32), TypeError, "out must be a float64 array, got float32"),
        ([0.0], TypeError, "out must be a float64 array, got list"),
        (np.zeros((4, 8))[:, ::2], ValueError, "out must be C-contiguous"),
    ],
)
def test_unfit_out_is_named(out, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        cdist(walks(4, 8), walks(4, 8), out=out)
    assert isinstance(caught.value, MidstreamError)


def test_out_is_apart_from_the_series() -> None:
    x = walks(4, 4)
    before = x.copy()
    for arguments in ((x, before), (list(x), before), (before, x)):
        name = "X" if arguments[1] is before else "Y"
        with pytest.raises(ValueError, match=f"out must not share memory with {name}"):
            cdist(*arguments, out=x)
    with pytest.raises(ValueError, match="out must not share memory with X"):
        pdist(x, out=x.reshape(-1)[:6])
    assert x.tolist() == before.tolist()


def test_rows_of_a_table_are_its_series() -> None:
    class Table:
        """Iterated over by the names of its columns, as a DataFrame is."""

        values = walks(3, 4)

        def __array__(self, dtype=None, copy=None):
            return self.values

        def __iter__(self):
            return iter("abcd")

        def __len__(self):
            return 3

    assert cdist(Table(), Table.values).tolist() == cdist(Table.values, Table.values).tolist()


def test_arrays_of_text_are_collections() -> None:
    assert pdist(np.array(["ab", "cd", "ad"]), "levenshtein").tolist() == [2, 1, 1]
    assert pdist(np.array([b"ab", b"cd", b"ad"]), "lcs").tolist() == [0, 1, 1]


def test_nan_policies() -> None:
    x = walks(12, 10)
    x[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"X\[3\] must be finite, got nan at X\[3\]\[4\]"):
        pdist(x)
    got = cdist(x, x, nan_policy="propagate")
    assert np.isnan(got[3]).all() and np.isnan(got[:, 3]).all()
    rest = np.delete(np.delete(got, 3, 0), 3, 1)
    np.testing.assert_array_equal(rest, cdist(np.delete(x, 3, 0), np.delete(x, 3, 0)))
    condensed = pdist(x, nan_policy="propagate")
    np.testing.assert_array_equal(condensed, got[np.triu_indices(12, 1)])
    omitted = pdist(x, nan_policy="omit")
    assert omitted[0] == dtw(x[0], x[1])
    assert omitted[2] == dtw(x[0], np.delete(x[3], 4))


def test_cutoff_in_a_matrix_is_that_of_pairs() -> None:
    x = ragged(20, 30)
    full = pdist(x)
    cutoff = float(np.median(full))
    assert cutoff in full or len(full) % 2 == 0
    expected = np.where(full > cutoff, np.inf, full)
    np.testing.assert_array_equal(pdist(x, cutoff=cutoff), expected)
    np.testing.assert_array_equal(pdist(x, cutoff=full[7])[7], full[7])


def test_symbols() -> None:
    words = ["kitten", "sitting", "", "mitten", "a much longer word than those", "kit"]
    expected = [[levenshtein(a, b) for b in words] for a in words]
    assert cdist(words, words, "levenshtein").tolist() == expected
    assert cdist(words, words, "lcs").tolist() == [[lcs(a, b) for b in words] for a in words]
    weighted = cdist(words, words, "levenshtein", weights=(1, 2, 3))
    assert weighted[0, 1] == levenshtein(words[0], words[1], weights=(1, 2, 3))
    full = [word for word in words if word]
    aligned = cdist(full, full, dtw, cost="equal")
    assert aligned.tolist() == [[dtw(a, b, cost="equal") for b in full] for a in full]


def test_edr_takes_the_tolerance_of_each_pair() -> None:
    x = ragged(9, 20)
    assert pdist(x, "edr").tolist() == [edr(a, b) for a, b in itertools.combinations(x, 2)]


def test_functions_of_others_are_no_metrics() -> None:
    for function in ([].append, len, np.dot):
        with pytest.raises(MidstreamError, match="metric must be one of"):
            pdist([[1, 2], [3, 4]], function)


def test_functions_name_themselves() -> None:
    x = walks(3, 5)
    np.testing.assert_array_equal(pdist(x, euclidean), pdist(x, "euclidean"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": "dwt"}, ValueError, "metric must be one of .*'dtw'.*, got 'dwt'"),
        ({"metric": len}, ValueError, "metric must be one of"),
        ({"n_jobs": 0}, ValueError, "n_jobs must not be 0"),
        ({"n_jobs": 1.5}, TypeError, "n_jobs must be an integer, got 1.5"),
        ({"windw": 3}, TypeError, "dtw has no parameter 'windw': it takes band, cost, nan_policy"),
        ({"metric": "lcs", "window": 3}, TypeError, "lcs has no parameter 'window'"),
        ({"window": -1}, ValueError, "window must be at least 0, got -1"),
        ({"cutoff": float("nan")}, ValueError, "cutoff must be finite, got nan"),
        ({"progress": 3}, TypeError, r"progress must be callable\(done, total\) or a bar"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        pdist(walks(3, 5), **arguments)
    assert isinstance(caught.value, MidstreamError)


@pytest.mark.parametrize(
    ("collection", "error", "message"),
    [
        (np.zeros(4), ValueError, r"X must hold series: shape \(k, n\) or \(k, n, d\), got \(4,\)"),
        ("abc", TypeError, "X must be a sequence of series, got str"),
        ({"a": [1.0]}, TypeError, "X must be a sequence of series, got dict"),
        ({"ab", "cd"}, TypeError, "X must be a sequence of series, got set"),
        (iter([[1.0]]), TypeError, "X must be a sequence of series, got list_iterator"),
        ([[1.0], []], ValueError, r"X\[1\] is empty"),
        ([[1.0], ["a"]], TypeError, r"X\[1\] must hold real numbers"),
        ([[1.0], [[1.0, 2.0]]], ValueError, r"X\[0\] and X\[1\] must have the same number of dim"),
    ],
)
def test_bad_collections_are_named(collection, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        pdist(collection)
    assert isinstance(caught.value, MidstreamError)


def test_unequal_lengths_have_no_euclidean_distance() -> None:
    message = r"X\[0\] and X\[1\] must have the same length, got 1 and 2"
    with pytest.raises(ValueError, match=message):
        pdist([[1.0], [1.0, 2.0]], "euclidean")


def test_what_cannot_fit_is_refused_at_once() -> None:
    class Endless(list):
        """Ten million times the same series: what counts is the length."""

        def __len__(self) -> int:
            return 10**7

        def __iter__(self):
            return itertools.repeat(SERIES, 10**7)

    with pytest.raises(MemoryError, match=r"pdist of 10000000 series needs .* TiB of memory"):
        pdist(Endless())


SERIES = [0.0, 1.0]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_is_told_from_nothing_to_all(n_jobs: int) -> None:
    told: list[tuple[int, int]] = []
    pdist(walks(120, 100), n_jobs=n_jobs, progress=lambda done, total: told.append((done, total)))
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] > 1
    assert [done for done, _ in told] == sorted({done for done, _ in told})


class Bar:
    """What tqdm has."""

    total = None
    n = 0

    def update(self, n=1):
        self.n += n


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_takes_a_bar(n_jobs: int) -> None:
    bar = Bar()
    pdist(walks(120, 100), n_jobs=n_jobs, progress=bar)
    assert bar.n == bar.total > 1


def test_tqdm_is_a_bar() -> None:
    tqdm = pytest.importorskip("tqdm")
    with tqdm.tqdm(file=io.StringIO()) as bar:
        pdist(walks(120, 100), progress=bar)
    assert bar.n == bar.total > 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_the_callback_raises_comes_out(n_jobs: int) -> None:
    class EnoughError(Exception):
        pass

    def refuse(done: int, total: int) -> None:
        if done:
            raise EnoughError

    threads = threading.active_count()
    with pytest.raises(EnoughError):
        pdist(walks(200, 300), n_jobs=n_jobs, progress=refuse)
    assert threading.active_count() == threads


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("count", [2, 400])
def test_ctrl_c_stops_the_work(n_jobs: int, count: int) -> None:
    """One pair that takes ten seconds, or very many; the answer must not wait for either."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("no interval timers on this system")
    length = 1000 if count > 2 else 200_000
    x = walks(count, length)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            pdist(x, n_jobs=n_jobs)
        # Not a speed: it would be ten seconds if nothing listened.
        assert time.monotonic() - start < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert pdist(x[:, :10], n_jobs=n_jobs).shape == (count * (count - 1) // 2,)


def test_every_metric_is_a_public_name() -> None:
    import midstream.compare

    assert set(METRICS) <= set(midstream.compare.__all__)


def test_calls_from_many_threads_do_not_disturb_each_other() -> None:
    x = ragged(30, 60)
    expected = pdist(x)
    results: list[np.ndarray] = []

    def work() -> None:
        results.extend(pdist(x, n_jobs=2) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(np.array_equal(result, expected) for result in results)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("window", [0, 2, 5])
def test_series_too_far_apart_in_length_for_a_window(dtype: type, window: int) -> None:
    """Lanes of one bundle hold lengths for which there is a path, and others."""
    x = [RNG.normal(size=n).astype(dtype) for n in range(3, 23)]
    found = cdist(x, x[::2], "dtw", window=window)
    for i, one in enumerate(x):
        for j, other in enumerate(x[::2]):
            wanted = dtw(one, other, window=window)
            assert (wanted == np.inf) == (abs(len(one) - len(other)) > window)
            assert found[i, j] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_euclidean_pairs_without_company(dtype: type) -> None:
    x, y = RNG.normal(size=(1, 7)).astype(dtype), RNG.normal(size=(1, 7)).astype(dtype)
    wanted = np.sqrt(((x[0].astype(float) - y[0]) ** 2).sum())
    assert cdist(x, y, "euclidean")[0, 0] == pytest.approx(wanted, rel=1e-6)
    assert cdist(x, y, "euclidean")[0, 0] == euclidean(x[0], y[0])


def test_msm_of_several_dimensions_in_pairs() -> None:
    x = [RNG.normal(size=(n, 2)) for n in (4, 6, 5, 7)]
    x[2][1] = np.nan
    found = pdist(x, "msm", nan_policy="propagate")
    for value, (one, other) in zip(found, itertools.combinations(x, 2), strict=True):
        np.testing.assert_equal(value, msm(one, other, nan_policy="propagate"))
