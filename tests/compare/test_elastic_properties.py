"""The elastic measures against the oracles, at the level in use (`.ci/run` repeats every level).

Where an oracle and a kernel do the same operations in the same order, the values are equal, not
only close: rounding is monotone, so the minimum over paths does not depend on the order of cells.
"""

from __future__ import annotations

import array
import itertools
import math
import tracemalloc
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import elastic as oracle

from midstream import MidstreamError, compare
from midstream.compare.measures import derivative

INF = math.inf


class Case(NamedTuple):
    """A measure with parameters; `exact` if univariate float64 must agree to the bit."""

    name: str
    params: dict[str, Any]
    exact: bool = True

    def __call__(self, x, y, **more):
        return getattr(compare, self.name)(x, y, **self.params, **more)

    def oracle(self, x, y, **more):
        return oracle.MEASURES[self.name](x, y, **self.params, **more)

    @property
    def bands(self) -> list[str]:
        """Without 'slanted' where its gaps would have no meaning."""
        return BANDS[:2] if self.name in ("lcss", "soft_dtw") else BANDS

    def __str__(self):
        return self.name + "".join(f"-{key}={value}" for key, value in self.params.items())


BANDED = [
    Case("dtw", {}),
    Case("dtw", {"cost": "absolute"}),
    Case("dtw", {"cost": "equal"}),
    Case("wdtw", {}, exact=False),
    Case("wdtw", {"g": 0.5}, exact=False),
    Case("ddtw", {}),
    Case("adtw", {}),
    Case("adtw", {"penalty": 0.25}),
    Case("soft_dtw", {}, exact=False),
    Case("soft_dtw", {"gamma": 0.1}, exact=False),
    Case("lcss", {}),
    Case("lcss", {"epsilon": 0.25}),
    Case("erp", {}),
    Case("erp", {"g": 0.5}),
    Case("edr", {}),
    Case("edr", {"epsilon": 0.5}),
    Case("msm", {}),
    Case("msm", {"c": 0.125}),
    Case("twe", {}, exact=False),
    Case("twe", {"nu": 0.25, "lmbda": 0.5}, exact=False),
    Case("frechet", {}),
]
CASES = [Case("euclidean", {}), *BANDED]
BANDS = ["sakoe", "widened", "slanted"]
#: Around whole numbers of 4, 8, 16, 32 and 64 lanes.
LENGTHS = [7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129]

every_band = pytest.mark.parametrize(
    ("case", "band"),
    [pytest.param(case, band, id=f"{band}-{case}") for case in BANDED for band in case.bands],
)
every_measure = pytest.mark.parametrize("case", CASES, ids=str)
every_banded = pytest.mark.parametrize("case", BANDED, ids=str)


def shortest(case: Case) -> int:
    return 3 if case.name == "ddtw" else 1


def agree(case: Case, value, expected, *, exact: bool | None = None, rel: float = 1e-12) -> None:
    assert type(value) is float
    if case.exact if exact is None else exact:
        assert value == expected
    else:
        # Soft-DTW crosses zero: there, what counts is the size of its terms, about 1 a sample.
        slack = 100 * rel if case.name == "soft_dtw" else 0
        assert value == pytest.approx(expected, rel=rel, abs=slack)


def walk(seed, n: int, shape: tuple[int, ...] = ()) -> np.ndarray:
    """A random walk; every third has steps of a half, for ties."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(n, *shape))
    if rng.integers(3) == 0:
        steps = np.round(steps * 2) / 2
    return np.cumsum(steps, axis=0) / 2


def pair(case: Case, seed, n: int, m: int, shape: tuple[int, ...] = ()):
    if case.name == "euclidean":
        m = n
    return walk([1, *np.atleast_1d(seed)], n, shape), walk([2, *np.atleast_1d(seed)], m, shape)


# ------------------------------------------------------------------------------ values


@every_band
def test_every_short_pair_and_every_window(case: Case, band: str) -> None:
    least = shortest(case)
    for n, m in itertools.product(range(least, 13), repeat=2):
        x, y = pair(case, n * 13 + m, n, m)
        for window in range(max(n, m) + 1):
            value = case(x, y, window=window, band=band)
            agree(case, value, case.oracle(x, y, window=window, band=band))
        agree(case, case(x, y), case.oracle(x, y))


@every_banded
def test_every_short_pair_of_a_small_alphabet(case: Case) -> None:
    series = [
        np.array(values, dtype=float)
        for n in range(shortest(case), 4)
        for values in itertools.product((-1, 0, 2), repeat=n)
    ]
    for x, y in itertools.product(series, repeat=2):
        agree(case, case(x, y), case.oracle(x, y))


@every_measure
def test_lengths_around_whole_numbers_of_lanes(case: Case) -> None:
    for k, n in enumerate(LENGTHS):
        for m in {n, n + 1, LENGTHS[(5 * k + 3) % len(LENGTHS)]}:
            x, y = pair(case, [n, m], n, m)
            agree(case, case(x, y), case.oracle(x, y))
            if case.name != "euclidean":
                window = (n * 7 + m) % 23
                band = case.bands[-1]
                value = case(x, y, window=window, band=band)
                agree(case, value, case.oracle(x, y, window=window, band=band))


@every_banded
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(3, 200),
    m=st.integers(3, 200),
    window=st.none() | st.integers(0, 200),
    band=st.sampled_from(BANDS),
)
def test_long_pairs(case: Case, seed, n, m, window, band) -> None:
    assume(band in case.bands)
    x, y = pair(case, seed, n, m)
    expected = case.oracle(x, y, window=window, band=band)
    agree(case, case(x, y, window=window, band=band), expected)


VALUES = st.lists(st.integers(-8000, 8000).map(lambda value: value / 8), min_size=3, max_size=40)


@every_banded
@settings(max_examples=40, deadline=None)
@given(x=VALUES, y=VALUES)
def test_arbitrary_values(case: Case, x, y) -> None:
    agree(case, case(x, y), case.oracle(x, y))


@every_measure
@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_multivariate(case: Case, d: int) -> None:
    least = shortest(case)
    lengths = [(least, least), (least, 9), (5, 5), (8, 16), (17, 15), (33, 40), (64, 65)]
    for n, m in lengths:
        x, y = pair(case, [d, n, m], n, m, (d,))
        agree(case, case(x, y), case.oracle(x, y), exact=False)
        assert case(x, y) == case(y, x)
        if case.name != "euclidean":
            for window, band in itertools.product((0, 3), case.bands):
                expected = case.oracle(x, y, window=window, band=band)
                agree(case, case(x, y, window=window, band=band), expected, exact=False)
        if d == 1:
            assert case(x, y) == case(x[:, 0], y[:, 0])


def test_erp_gap_of_a_point() -> None:
    x, y = walk(1, 20, (3,)), walk(2, 23, (3,))
    gap = np.array([0.5, -1.0, 2.0])
    assert compare.erp(x, y, g=gap) == pytest.approx(oracle.erp(x, y, g=gap), rel=1e-12)
    assert compare.erp(x, y, g=[1.0, 1.0, 1.0]) == compare.erp(x, y, g=1.0)


# ------------------------------------------------------------------------------ laws


@every_measure
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(3, 70), m=st.integers(3, 70))
def test_symmetric_to_the_bit(case: Case, seed, n, m) -> None:
    x, y = pair(case, seed, n, m)
    assert case(x, y) == case(y, x)
    if case.name != "euclidean":
        for band in case.bands:
            assert case(x, y, window=4, band=band) == case(y, x, window=4, band=band)


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "soft_dtw"], ids=str)
@pytest.mark.parametrize("n", [3, 8, 33, 100])
def test_nothing_separates_a_series_from_itself(case: Case, n: int) -> None:
    for shape in ((), (2,)):
        x = walk(n, n, shape)
        assert case(x, x) == 0.0
        assert case(x, x.copy()) == 0.0
        assert math.copysign(1.0, case(x, x)) == 1.0
        assert case(x, x, cutoff=0) == 0.0


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (8,)])
def test_window_0_is_the_euclidean_distance(shape: tuple[int, ...]) -> None:
    for n in (1, 2, *LENGTHS):
        x, y = walk([1, n], n, shape), walk([2, n], n, shape)
        apart = compare.euclidean(x, y)
        for band in BANDS:
            assert compare.dtw(x, y, window=0, band=band) == apart
        assert apart == pytest.approx(oracle.euclidean(x, y), rel=1e-12)
        single = x.astype(np.float32), y.astype(np.float32)
        assert compare.dtw(*single, window=0) == compare.euclidean(*single)


@every_banded
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(3, 50), m=st.integers(3, 50))
def test_a_wide_window_is_no_window(case: Case, seed, n, m) -> None:
    x, y = pair(case, seed, n, m)
    free = case(x, y)
    for band, window in itertools.product(case.bands, (max(n, m) - 1, max(n, m), 10**6, 2**40)):
        assert case(x, y, window=window, band=band) == free


@every_band
@pytest.mark.parametrize(("n", "m"), [(20, 20), (13, 20), (20, 13), (40, 33)])
def test_a_wider_window_is_never_worse(case: Case, band: str, n: int, m: int) -> None:
    x, y = pair(case, [n, m], n, m)
    values = [case(x, y, window=window, band=band) for window in range(max(n, m) + 1)]
    slack = 1e-12 if case.name == "soft_dtw" else 0.0
    for narrow, wide in itertools.pairwise(values):
        assert wide <= narrow + slack


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_band_steeper_than_any_vector_can_count(dtype) -> None:
    """Rows that start millions of columns apart: transposed, they do not."""
    rng = np.random.default_rng(1)
    short = rng.integers(0, 9, 20).astype(dtype)
    long = rng.integers(0, 9, 5_000_000).astype(dtype)
    apart = compare.dtw(short, long, window=1, band="slanted")
    assert apart == compare.dtw(long, short, window=1, band="slanted") < INF
    assert apart > compare.dtw(short, long, window=19, band="slanted")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_border_further_away_than_any_vector_can_count(dtype) -> None:
    """Every 1 of the short one meets one of the long one: all others are left out, for 1 each."""
    n, window = 6, 4_200_000
    long = np.random.default_rng(2).integers(0, 2, window + n // 2).astype(dtype)
    short = np.ones(n, dtype)
    apart = compare.erp(short, long, window=window, band="sakoe")
    assert apart == np.count_nonzero(long) - n


@every_banded
def test_a_band_without_a_path_is_infinitely_far(case: Case) -> None:
    x, y = pair(case, 1, 9, 14)
    for window in range(5):
        value = case(x, y, window=window, band="sakoe")
        assert (value == INF) == (case.name != "lcss")
        assert case(x, y, window=window, band="widened") < INF
    assert case(x, y, window=5, band="sakoe") < INF


@every_measure
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(3, 80), m=st.integers(3, 80))
def test_cutoff(case: Case, seed, n, m) -> None:
    """What lies above is inf, what lies on it stays, and nothing else changes."""
    x, y = pair(case, seed, n, m)
    value = case(x, y)
    assert case(x, y, cutoff=None) == value
    assert case(x, y, cutoff=INF) == value
    assert case(x, y, cutoff=value) == value
    assert case(x, y, cutoff=math.nextafter(value, INF)) == value
    assert case(x, y, cutoff=abs(value) * 1.5 + 1.0) == value
    below = [math.nextafter(value, -INF), value - abs(value) * 0.01, value - abs(value) * 0.9]
    for cutoff in below:
        if cutoff < value and (cutoff >= 0 or case.name == "soft_dtw"):
            assert case(x, y, cutoff=cutoff) == INF
    assert case(x, y, cutoff=0) == (value if value <= 0 else INF)


@every_banded
def test_cutoff_with_a_window(case: Case) -> None:
    for seed, band, window in itertools.product(range(20), case.bands, (0, 2, 6)):
        x, y = pair(case, seed, 20, 18 + seed % 4)
        value = case(x, y, window=window, band=band)
        if value < INF:
            assert case(x, y, window=window, band=band, cutoff=value) == value
            lower = math.nextafter(value, -INF)
            if lower >= 0 or case.name == "soft_dtw":
                assert case(x, y, window=window, band=band, cutoff=lower) == INF
        else:
            assert case(x, y, window=window, band=band, cutoff=1e6) == INF


@pytest.mark.parametrize("noise", [1e-16, 1e-9, 1e-3])
def test_cutoff_where_the_diagonal_is_best(noise: float) -> None:
    """A bound by the Euclidean distance must not prune the path that it came from."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = walk(seed, 5 + seed)
        y = x + rng.normal(size=len(x)) * noise
        value = compare.dtw(x, y)
        assert value == oracle.dtw(x, y)
        assert compare.dtw(x, y, cutoff=value) == value


# ------------------------------------------------------------------------------ paths


def check_path(x, y, cost: str, **band) -> None:
    expected_distance, expected_path = oracle.dtw_path(x, y, cost=cost, **band)
    distance, path = compare.dtw_path(x, y, cost=cost, **band)
    assert distance == compare.dtw(x, y, cost=cost, **band) == expected_distance
    assert path.shape == (len(expected_path), 2)
    assert path.dtype.kind == "i"
    assert [tuple(cell) for cell in path.tolist()] == expected_path
    along = oracle.path_cost(expected_path, oracle.COSTS[cost](x, y))
    assert distance == (math.sqrt(along) if cost == "squared" else along)


@pytest.mark.parametrize("cost", ["squared", "absolute", "equal"])
def test_paths_of_every_short_pair(cost: str) -> None:
    """Ties in plenty: of the equally good, diagonal before up before left, from the end."""
    series = [
        np.array(values, dtype=float)
        for n in range(1, 5)
        for values in itertools.product((0, 1), repeat=n)
    ]
    for x, y in itertools.product(series, repeat=2):
        check_path(x, y, cost)
        check_path(x, y, cost, window=1, band="widened")


def test_a_band_without_a_path() -> None:
    with pytest.raises(ValueError, match="window") as refusal:
        compare.dtw_path(walk(1, 9), walk(2, 14), window=4, band="sakoe")
    assert isinstance(refusal.value, MidstreamError)


@pytest.mark.parametrize("n", LENGTHS)
def test_paths_of_long_pairs(n: int) -> None:
    rng = np.random.default_rng(n)
    for m in (n, n + 1, max(1, n - 5)):
        x, y = rng.integers(0, 4, n).astype(float), rng.integers(0, 4, m).astype(float)
        for cost in ("squared", "absolute", "equal"):
            check_path(x, y, cost)
            check_path(x, y, cost, window=6, band="widened")
            check_path(x, y, cost, window=8, band="slanted")
            check_path(x, y, cost, window=7, band="sakoe")
        check_path(walk([n, 1], n), walk([n, 2], m), "squared")


# ------------------------------------------------------------------------------ soft-DTW's gradient


@pytest.mark.parametrize("gamma", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_soft_dtw_gradient(gamma: float, shape: tuple[int, ...]) -> None:
    for n, m in [(1, 1), (1, 7), (7, 1), (5, 6), (16, 17), (64, 63), (100, 100)]:
        x, y = walk([1, n], n, shape), walk([2, m], m, shape)
        value, gradient = compare.soft_dtw_gradient(x, y, gamma=gamma)
        expected_value, expected = oracle.soft_dtw_gradient(x, y, gamma=gamma)
        assert value == pytest.approx(expected_value, rel=1e-12, abs=1e-12)
        assert value == compare.soft_dtw(x, y, gamma=gamma)
        assert gradient.shape == x.shape
        np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-9)


# ------------------------------------------------------------------------------ forms of input


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.empty(x.nbytes + 1, dtype=np.uint8)
    moved = raw[1:].view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved


def strided(x: np.ndarray) -> np.ndarray:
    wide = np.full((3 * len(x), *x.shape[1:]), np.nan, dtype=x.dtype)
    wide[1::3] = x
    return wide[1::3]


def backwards(x: np.ndarray) -> np.ndarray:
    return x[::-1].copy()[::-1]


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def by_columns(x: np.ndarray) -> np.ndarray:
    return np.asfortranarray(x)


def big_endian(x: np.ndarray) -> np.ndarray:
    return x.astype(x.dtype.newbyteorder(">"))


FORMS = [unaligned, strided, backwards, read_only, by_columns, big_endian, memoryview]


@every_measure
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_form_of_the_input_is_no_matter(case: Case, dtype, shape) -> None:
    for n, m in ((9, 12), (40, 33)):
        x, y = (series.astype(dtype) for series in pair(case, n, n, m, shape))
        value = case(x, y)
        for form in FORMS:
            assert case(form(x), form(y)) == value, form
            assert case(form(x), y) == value, form


@every_measure
def test_sequences_and_integers(case: Case) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(-5, 6, 21), rng.integers(-5, 6, 21)
    value = case(x.astype(float), y.astype(float))
    for kind in (np.int64, np.int32, np.int16, np.int8, np.dtype(">i4"), np.longdouble, list):
        form = np.ndarray.tolist if kind is list else (lambda a, kind=kind: a.astype(kind))
        assert case(form(x), form(y)) == value, kind
    assert case(tuple(x.tolist()), array.array("d", y.tolist())) == value
    assert case(x.astype(np.float16), y.astype(np.float16)) == case(
        x.astype(np.float32), y.astype(np.float32)
    )


@every_measure
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(3, 130), m=st.integers(3, 130))
def test_single_precision(case: Case, seed, n, m) -> None:
    x, y = (series.astype(np.float32) for series in pair(case, seed, n, m))
    if case.name in ("lcss", "edr"):
        # One rounding moves a point across the threshold: keep clear of it.
        x, y = np.round(x * 8) / 8 + np.float32(0.01), np.round(y * 8) / 8
        case = case._replace(params={"epsilon": 0.3})
    value = case(x, y)
    assert value == case(y, x)
    agree(case, value, case.oracle(x, y), exact=False, rel=2e-4)


@every_measure
def test_one_side_of_single_precision(case: Case) -> None:
    """The pair is compared in float64, where float32 is exact."""
    x, y = pair(case, 5, 30, 34)
    single = x.astype(np.float32)
    assert case(single, y) == case(single.astype(np.float64), y)
    assert case(y, single) == case(single.astype(np.float64), y)


# ------------------------------------------------------------------------------ matrices


def collection(case: Case, seed: int, count: int, shape: tuple[int, ...] = (), dtype=np.float64):
    """Ragged, unless the measure wants equal lengths."""
    rng = np.random.default_rng([seed, count])
    least = shortest(case)
    sizes = [30] * count if case.name == "euclidean" else rng.integers(least, 60, count)
    return [walk([seed, k], n, shape).astype(dtype) for k, n in enumerate(sizes)]


@every_measure
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_matrices_are_made_of_single_calls(case: Case, dtype, shape) -> None:
    several = collection(case, 1, 13, shape, dtype)
    others = collection(case, 2, 9, shape, dtype)
    settings = [{}] if case.name == "euclidean" else [{}, {"window": 5, "band": "widened"}]
    for setting in settings:
        cross = np.array([[case(x, y, **setting) for y in others] for x in several])
        condensed = np.array([case(x, y, **setting) for x, y in itertools.combinations(several, 2)])
        for n_jobs in (1, 2, 3):
            options = {"n_jobs": n_jobs, **case.params, **setting}
            of_cdist = compare.cdist(several, others, case.name, **options)
            of_pdist = compare.pdist(several, case.name, **options)
            assert of_cdist.dtype == of_pdist.dtype == np.float64
            np.testing.assert_array_equal(of_cdist, cross, strict=True)
            np.testing.assert_array_equal(of_pdist, condensed, strict=True)


@every_measure
def test_matrices_of_equal_lengths(case: Case) -> None:
    """Arrays of (k, n) and (k, n, d), whatever the number of lanes."""
    for count, shape in itertools.product((1, 2, 3, 4, 5, 8, 9, 17), ((), (3,))):
        several = np.array([walk([count, k], 25, shape) for k in range(count)])
        expected = np.array([[case(x, y) for y in several] for x in several])
        of_cdist = compare.cdist(several, several, case.name, **case.params)
        np.testing.assert_array_equal(of_cdist, expected, strict=True)
        if count > 1:
            of_pdist = compare.pdist(several, case.name, **case.params)
            upper = expected[np.triu_indices(count, 1)]
            np.testing.assert_array_equal(of_pdist, upper, strict=True)


@every_measure
def test_matrices_with_a_cutoff(case: Case) -> None:
    several = collection(case, 3, 16)
    free = compare.pdist(several, case.name, **case.params)
    for cutoff in (0.0, *np.quantile(free, [0.1, 0.5, 0.9], method="lower")):
        expected = np.where(free > cutoff, INF, free)
        for n_jobs in (1, 2):
            of_pdist = compare.pdist(
                several, case.name, n_jobs=n_jobs, cutoff=float(cutoff), **case.params
            )
            np.testing.assert_array_equal(of_pdist, expected)
            cross = compare.cdist(
                several[:5], several[5:], case.name, cutoff=float(cutoff), **case.params
            )
            single = [[case(x, y, cutoff=float(cutoff)) for y in several[5:]] for x in several[:5]]
            np.testing.assert_array_equal(cross, single)


def test_dtw_is_what_cdist_computes_unless_told_otherwise() -> None:
    x, y = [walk(1, 9), walk(2, 8)], [walk(3, 7)]
    np.testing.assert_array_equal(compare.cdist(x, y), compare.cdist(x, y, metric="dtw"))


# ------------------------------------------------------------------------------ what is refused


#: What compares numbers, and not symbols.
NUMERIC = [case for case in CASES if case.params.get("cost") != "equal"]


@pytest.mark.parametrize("case", NUMERIC, ids=str)
@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        ([], [1.0, 2.0, 3.0], "x is empty"),
        ([1.0, 2.0, 3.0], [], "y is empty"),
        ([1.0, math.nan, 2.0], [1.0, 2.0, 3.0], r"x must be finite, got nan at x\[1\]"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, math.inf], r"y must be finite, got inf at y\[2\]"),
        ([[1.0, 2.0]] * 4, [1.0, 2.0, 3.0, 4.0], "dimension"),
        ([[1.0, 2.0]] * 4, [[1.0, 2.0, 3.0]] * 4, "dimension"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2)), "x must have shape"),
        ([1j, 2, 3], [1.0, 2.0, 3.0], "x must hold real numbers"),
        ("abc", [1.0, 2.0, 3.0], "x "),
        (None, [1.0, 2.0, 3.0], "x "),
    ],
)
def test_refused_series(case: Case, x, y, named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named) as refusal:
        case(x, y)
    assert isinstance(refusal.value, MidstreamError)


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        ([], "abc", "x is empty"),
        ("abc", "", "y is empty"),
        (np.zeros((2, 2, 2)), "ab", "x must have shape"),
        ("ab", [[1], [2]], r"y must hold hashable symbols, got \[1\] \(list\) at y\[0\]"),
        (None, "ab", "x must be a sequence, got None"),
        ("ab", {1, 2}, "y must be a sequence"),
    ],
)
def test_refused_symbols(x, y, named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named) as refusal:
        compare.dtw(x, y, cost="equal")
    assert isinstance(refusal.value, MidstreamError)


def test_symbols_compare_by_equality() -> None:
    def differ(x, y) -> float:
        return compare.dtw(x, y, cost="equal")

    assert differ([0], [2**61 - 1]) == 1  # one hash
    assert differ([2**53], [2**53 + 1]) == 1  # one double
    assert differ([1, True, 1.0], [1]) == 0
    assert differ([math.nan], [math.nan]) == 1
    assert differ(b"ab", [97, 98]) == 0
    assert differ("ab", ["a", "b"]) == 0
    assert differ(np.array([[1, 2], [1, 3]]), np.array([[1, 2], [2, 3]])) == 1


@every_banded
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("window", -1),
        ("window", 1.5),
        ("window", "3"),
        ("window", True),
        ("band", "square"),
        ("cutoff", math.nan),
        ("cutoff", "1"),
    ],
)
def test_refused_settings(case: Case, argument: str, value) -> None:
    series = [1.0, 2.0, 4.0, 3.0]
    with pytest.raises((ValueError, TypeError), match=argument) as refusal:
        case(series, series, **{argument: value})
    assert isinstance(refusal.value, MidstreamError)


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("dtw", "cost", "cubed"),
        ("wdtw", "g", math.nan),
        ("adtw", "penalty", -1.0),
        ("soft_dtw", "gamma", 0.0),
        ("soft_dtw", "gamma", -1.0),
        ("soft_dtw_gradient", "gamma", 0.0),
        ("lcss", "epsilon", -0.1),
        ("edr", "epsilon", -0.1),
        ("erp", "g", math.inf),
        ("erp", "g", [1.0, 2.0]),
        ("msm", "c", -1.0),
        ("twe", "nu", -0.1),
        ("twe", "lmbda", -0.1),
    ],
)
def test_refused_parameters(name: str, argument: str, value) -> None:
    series = [1.0, 2.0, 4.0, 3.0]
    with pytest.raises((ValueError, TypeError), match=argument) as refusal:
        getattr(compare, name)(series, series, **{argument: value})
    assert isinstance(refusal.value, MidstreamError)


def test_edr_finds_a_tolerance_for_huge_values() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    for scale in (1e300, 1e-300):
        assert compare.edr(x * scale, x[::-1] * scale) == compare.edr(x, x[::-1])
    single = x.astype(np.float32) * np.float32(1e37)
    assert compare.edr(single, single[::-1]) == compare.edr(x, x[::-1])


def test_refused_lengths() -> None:
    with pytest.raises(ValueError, match="length"):
        compare.euclidean([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="y"):
        compare.ddtw([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize("name", ["erp", "edr"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_cutoff_where_the_start_is_left_out(name: str, dtype: type) -> None:
    """The best path deletes all samples of x that a row of strips holds, beside every cell."""
    measure = getattr(compare, name)
    x, y = np.array([0.0] * 200 + [5.0], dtype), np.array([5.0], dtype)
    for first, second in ((x, y), (y, x)):
        value = measure(first, second)
        assert measure(first, second, cutoff=value) == value
        assert measure(first, second, cutoff=value, window=200) == value
        matrix = compare.cdist([first] * 20, [second] * 20, name, cutoff=value)
        assert (matrix == value).all()
    assert compare.erp(x, y) == 0.0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("nu", [1e308, 3e38, 1e39])
def test_twe_however_stiff_takes_the_diagonal(dtype: type, nu: float) -> None:
    x = np.arange(100, dtype=dtype)
    assert compare.twe(x, x, nu=nu) == 0.0
    assert (compare.cdist([x] * 20, [x], "twe", nu=nu) == 0.0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ddtw_of_slopes_that_overflow(dtype: type) -> None:
    top = np.finfo(dtype).max
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 40).astype(dtype) * top
    y = rng.uniform(-1, 1, 50).astype(dtype) * top
    assert compare.ddtw(x, x) == 0.0
    assert compare.ddtw(x, y) == compare.ddtw(y, x) == INF
    assert (compare.cdist([x], [x, y], "ddtw") == [[0.0, INF]]).all()
    # (here - before) + (after - before) / 2: infinite on the way, and not in the end.
    bend = np.array([0.75, -0.5, 0.9, 0.0], dtype) * top
    flat = np.array([0.75, -0.5, 0.9, 0.0], dtype)
    slopes = derivative("x", bend)
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(slopes / top, derivative("x", flat), rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("window", [None, 5])
def test_edr_has_no_scale(dtype: type, window: int | None) -> None:
    """The default tolerance goes with the samples, as far as their type reaches."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-0.9, 0.9, 60).astype(dtype), rng.uniform(-0.9, 0.9, 61).astype(dtype)
    value = compare.edr(x, y, window=window)
    limits = np.finfo(dtype)
    for exponent in (limits.minexp + 40, -100, 60, limits.maxexp - 1):
        big, other = np.ldexp(x, exponent), np.ldexp(y, exponent)
        assert compare.edr(big, other, window=window) == value
        assert compare.edr(other, big, window=window) == value
        assert compare.cdist([big], [other], "edr", window=window) == value


def test_wdtw_keeps_no_weights_of_long_series() -> None:
    x = np.zeros(50_000)
    tracemalloc.start()
    try:
        for n in range(20):
            assert compare.wdtw(x[n:], x[n:], window=2) == 0.0
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
