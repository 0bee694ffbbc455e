"""Soft-DTW against its definition, at the level in use, and all levels against each other."""

from __future__ import annotations

import math
import signal
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.soft_dtw import by_paths, by_recursion, costs

from midstream import MidstreamError
from midstream._core._cpu import available_levels
from midstream._core._poll import Poll
from midstream.compare import (
    SoftGradient,
    cdist,
    pdist,
    soft_dtw,
    soft_dtw_alignment,
    soft_dtw_divergence,
    soft_dtw_gradient,
)
from midstream.compare._soft import at_level, elementary
from midstream.compare._soft_batch import SoftBatch

# Around the heights of strips (4, 8, 16) and multiples of them.
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65]


def walk(rng: np.random.Generator, n: int, d: int | None = None) -> np.ndarray:
    return rng.standard_normal((n,) if d is None else (n, d)).cumsum(axis=0)


def agrees(x, y, gamma, window=None):
    """Value, gradient and alignment agree with the recursion."""
    value, gradient, alignment = by_recursion(x, y, gamma, window)
    # Errors grow with the steps of a path, and start from rounding the value or gamma.
    steps = len(x) + len(y)
    unit = 2.0**-52 * steps * max(1.0, 1.0 if math.isinf(value) else abs(value) / gamma)
    found = soft_dtw(x, y, gamma=gamma, window=window)
    assert found == pytest.approx(value, rel=1e-15, abs=4 * unit * gamma)
    result = soft_dtw_gradient(x, y, gamma=gamma, window=window)
    assert result.value == found
    assert result.gradient.shape == np.shape(x)
    largest = 1.0 + np.abs(np.concatenate([np.ravel(x), np.ravel(y)])).max()
    np.testing.assert_allclose(result.gradient, gradient, rtol=0, atol=16 * unit * largest * len(y))
    expected = soft_dtw_alignment(x, y, gamma=gamma, window=window)
    np.testing.assert_allclose(expected, alignment, rtol=0, atol=16 * unit)
    if not math.isinf(value):
        assert (expected >= 0).all()


def test_samples_wider_than_a_piece_of_work() -> None:
    """Dimensions that are 0 throughout add nothing but time."""
    rng = np.random.default_rng(3)
    x, y = walk(rng, 3, 2), walk(rng, 2, 2)
    wide = [np.zeros((len(series), (1 << 18) + 1)) for series in (x, y)]
    for series, narrow in zip(wide, (x, y), strict=True):
        series[:, [5, 200_000]] = narrow
    ours, expected = soft_dtw_gradient(*wide, gamma=0.7), soft_dtw_gradient(x, y, gamma=0.7)
    assert ours.value == pytest.approx(expected.value, rel=1e-12)
    np.testing.assert_allclose(ours.gradient[:, [5, 200_000]], expected.gradient, atol=1e-10)
    assert np.count_nonzero(ours.gradient) == 6


def test_elementary_functions() -> None:
    rng = np.random.default_rng(0)
    for t in [0.0, 0.5, 1.5, 2.5, *rng.uniform(0, 60, 500), *rng.exponential(1e4, 100), 2.0**60]:
        mantissa, exponent, _ = elementary(float(t), 1.0)
        assert exponent == round(t)
        fraction = float(Fraction(float(t)) - Fraction(exponent))
        assert abs(fraction) <= 0.5
        assert mantissa == pytest.approx(2.0**-fraction, rel=3 * 2.0**-53)
    for m in [1.0, 1.5, np.nextafter(2.0, 1.0), np.sqrt(2), *rng.uniform(1, 2, 500)]:
        assert elementary(0.0, float(m))[2] == pytest.approx(math.log2(m), rel=4e-16, abs=2e-17)
    assert elementary(math.inf, 1.0)[1] == 1e290


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_sums_over_every_path(n: int, m: int) -> None:
    rng = np.random.default_rng(10 * n + m)
    for window in [None, *range(max(n, m) + 1)]:
        for gamma in [1e-3, 0.3, 1.0, 50.0]:
            x, y = rng.integers(0, 3, n), rng.standard_normal(m)
            value, alignment = by_paths(x, y, gamma, window)
            found = soft_dtw(x, y, gamma=gamma, window=window)
            assert found == pytest.approx(value, rel=1e-12, abs=1e-13 * gamma)
            np.testing.assert_allclose(
                soft_dtw_alignment(x, y, gamma=gamma, window=window), alignment, atol=1e-9
            )
            agrees(x, y, gamma, window)


@pytest.mark.parametrize("n", LENGTHS)
def test_lengths_around_the_strips(n: int) -> None:
    rng = np.random.default_rng(n)
    for m in [n, *rng.choice(LENGTHS, 3)]:
        agrees(walk(rng, n), walk(rng, m), float(rng.choice([0.1, 1.0, 10.0])))


@pytest.mark.parametrize("seed", range(30))
def test_windows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 60, 2)
    for window in [0, 1, 2, 7, abs(n - m), abs(n - m) + 1, max(n, m) - 1, max(n, m), 10**12]:
        agrees(walk(rng, n), walk(rng, m), 1.0, int(window))
    assert soft_dtw(np.zeros(n), np.zeros(n + 3), window=2) == math.inf
    for result in (soft_dtw_gradient(np.zeros(4), np.zeros(9), window=4),):
        assert result.value == math.inf
        assert np.isnan(result.gradient).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([None, 1, 2, 3, 5]),
    st.floats(1e-2, 1e2),
    st.sampled_from([None, None, 0, 1, 3, 10, 30]),
    st.integers(0, 2**32),
)
def test_agrees_with_the_recursion(n, m, d, gamma, window, seed):
    rng = np.random.default_rng(seed)
    agrees(walk(rng, n, d), walk(rng, m, d), gamma, window)


def test_samples_of_very_many_dimensions() -> None:
    """A single step is more work than is done between two looks at the clock."""
    x, y = np.zeros((2, 2, 270_000))
    x[:, ::30_000] = np.random.default_rng(5).integers(-3, 4, (2, 9)) / 4
    y[:, ::15_000] = np.random.default_rng(6).integers(-3, 4, (2, 18)) / 4
    agrees(x, y, 1.0)


def test_gradient_by_finite_differences() -> None:
    rng = np.random.default_rng(5)
    x, y = walk(rng, 21, 2), walk(rng, 18, 2)
    _, gradient = soft_dtw_gradient(x, y, gamma=2.0)
    step = 1e-5
    for index in np.ndindex(*x.shape):
        above, below = x.copy(), x.copy()
        above[index] += step
        below[index] -= step
        slope = (soft_dtw(above, y, gamma=2.0) - soft_dtw(below, y, gamma=2.0)) / (2 * step)
        assert gradient[index] == pytest.approx(slope, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("gamma", [1e-200, 1e-6, 1e-3, 1e3, 1e6, 1e200])
def test_extremes_of_gamma(gamma: float) -> None:
    rng = np.random.default_rng(3)
    x, y = walk(rng, 90), walk(rng, 70)
    value, gradient = soft_dtw_gradient(x, y, gamma=gamma)
    cost = costs(x, y)
    hard = np.full((91, 71), np.inf)
    hard[0, 0] = 0
    for i in range(90):
        for j in range(70):
            hard[i + 1, j + 1] = cost[i, j] + min(hard[i, j], hard[i, j + 1], hard[i + 1, j])
    if gamma <= 1e-3:  # nearly the minimum, and never above it
        assert value == pytest.approx(hard[90, 70], rel=1e-12, abs=160 * gamma * math.log(3))
        assert value <= hard[90, 70] * (1 + 1e-12)
        if gamma >= 1e-6:
            agrees(x, y, gamma)
    else:  # nearly the logarithm of the number of paths
        agrees(x, y, gamma)
    assert np.isfinite(gradient).all()
    alignment = soft_dtw_alignment(x, y, gamma=gamma)
    assert alignment[0, 0] == pytest.approx(1.0)
    assert alignment[-1, -1] == 1.0
    # Every path has at least one cell in each row and column.
    assert (alignment.sum(axis=0) > 1 - 1e-9).all()
    assert (alignment.sum(axis=1) > 1 - 1e-9).all()


def test_one_path_costs_its_sum() -> None:
    """Where exponentials would lose digits: a huge gamma and a single path."""
    x, y = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.5, 2.0])
    assert soft_dtw(x, y, gamma=1e9, window=0) == 4.5
    assert soft_dtw(x[:1], y, gamma=1e9) == 3.5
    assert soft_dtw(x, y[:1], gamma=1e-9) == 6.75
    assert soft_dtw_gradient(x, y, window=0).gradient.tolist() == [-1.0, -1.0, 4.0]
    assert soft_dtw_gradient(x, y[:1]).gradient.tolist() == [-1.0, 1.0, 5.0]
    assert soft_dtw_gradient(x[:1], y).gradient.tolist() == [-6.0]
    assert soft_dtw_alignment(x, y, window=0).tolist() == np.eye(3).tolist()


def test_long_series_neither_overflow_nor_vanish() -> None:
    rng = np.random.default_rng(8)
    x, y = 1e3 * rng.standard_normal(3000), 1e3 * rng.standard_normal(2900)
    value, gradient = soft_dtw_gradient(x, y, gamma=1.0)
    assert 1e8 < value < 1e10
    assert np.isfinite(gradient).all()
    same = np.zeros(4000)  # Q grows by log(1 + sqrt 2) a step on both sides: 10^3000
    value, gradient = soft_dtw_gradient(same, same, gamma=1.0)
    assert value == pytest.approx(-2 * 4000 * math.log(1 + math.sqrt(2)), rel=1e-3)
    assert (gradient == 0).all()


def test_costs_beyond_float64_are_infinite() -> None:
    x, y = np.array([0.0, 1e200, 0.0]), np.zeros(3)
    assert soft_dtw(x, y) == math.inf
    assert np.isnan(soft_dtw_gradient(x, y).gradient).all()
    assert soft_dtw(x[:1], x) == math.inf
    assert np.isnan(soft_dtw_gradient(x[:1], x).gradient).all()
    # but only where every path meets them
    assert soft_dtw([0.0, 1e200], [0.0, 1e200]) == pytest.approx(0.0, abs=1e-12)
    assert soft_dtw_gradient([0.0, 1e200], [0.0, 1e200]).gradient.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("seed", range(12))
def test_every_level_returns_the_same_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = (int(length) for length in rng.integers(1, 150, 2))
    d = [None, None, 1, 3][seed % 4]
    x, y = walk(rng, n, d), walk(rng, m, d)
    if seed % 3 == 0:  # equal samples, and jumps that leave the range of an exponential
        x, y = np.round(x), np.round(y) * rng.choice([1.0, 1e4, 1e150], y.shape)
    for window in [None, 0, 1, abs(n - m) + 2, 20 + abs(n - m)]:
        for gamma in [1e-9, 0.05, 1.0, 1e5]:
            results = {
                level: [
                    np.asarray(part).tobytes()
                    for part in at_level(level, x, y, gamma=gamma, window=window)
                ]
                for level in available_levels()
            }
            assert all(result == results["scalar"] for result in results.values())
            assert results["scalar"][0] == results["scalar"][1]


def test_the_same_bits_where_strips_are_computed_twice() -> None:
    rng = np.random.default_rng(1)
    x, y = walk(rng, 530), walk(rng, 690)
    for window in [None, 500]:
        results = [at_level(level, x, y, window=window) for level in available_levels()]
        for result in results[1:]:
            for part, reference in zip(result, results[0], strict=True):
                assert np.array_equal(part, reference)
    value, gradient, alignment = by_recursion(x, y, 1.0)
    assert soft_dtw(x, y) == pytest.approx(value, rel=1e-13)
    result = soft_dtw_gradient(x, y)
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(soft_dtw_alignment(x, y), alignment, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_symmetric_to_the_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = walk(rng, int(rng.integers(1, 80)), 2), walk(rng, int(rng.integers(1, 80)), 2)
    for window in [None, 40]:
        assert soft_dtw(x, y, window=window) == soft_dtw(y, x, window=window)


def test_divergence() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        x, y = walk(rng, 30), walk(rng, 25)
        assert soft_dtw_divergence(x, x) == 0.0
        assert soft_dtw_divergence(x, y, gamma=0.5) > 0
        assert soft_dtw_divergence(x, y) == soft_dtw_divergence(y, x)
        parts = [by_recursion(a, b, 1.0)[0] for a, b in ((x, y), (x, x), (y, y))]
        assert soft_dtw_divergence(x, y) == pytest.approx(
            parts[0] - (parts[1] + parts[2]) / 2, abs=1e-10
        )
    assert math.isnan(soft_dtw_divergence([0.0, math.nan], [1.0], nan_policy="propagate"))


def test_cutoff_is_decided_on_the_value() -> None:
    x, y = [0.0, 1.0, 2.0], [0.0, 2.0, 2.0]
    value = soft_dtw(x, y)
    assert soft_dtw(x, y, cutoff=value) == value
    assert soft_dtw(x, y, cutoff=np.nextafter(value, -math.inf)) == math.inf
    assert soft_dtw(x, y, cutoff=math.inf) == value
    assert soft_dtw(x, y, cutoff=-1e9) == math.inf


def test_inputs_of_every_kind() -> None:
    rng = np.random.default_rng(6)
    x, y = walk(rng, 40), walk(rng, 33)
    value, gradient = soft_dtw_gradient(x, y)
    frozen = x.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), dtype=np.uint8)[1:].view(np.float64)
    for same in [x.tolist(), x[:, None], np.repeat(x, 3)[::3], frozen, unaligned, x[::-1][::-1]]:
        result = soft_dtw_gradient(same, y)
        assert isinstance(result, SoftGradient)
        assert result.value == value
        assert result.gradient.shape == np.shape(same)
        assert result.gradient.ravel().tolist() == gradient.tolist()
    single = x.astype(np.float32)
    assert soft_dtw(single, y) == soft_dtw(single.astype(np.float64), y)
    assert soft_dtw_gradient(single, y).gradient.dtype == np.float64
    assert soft_dtw([1, 2, 3], [True, False]) == soft_dtw([1.0, 2.0, 3.0], [1.0, 0.0])


def test_missing_samples() -> None:
    x, y = [1.0, math.nan, 2.0], [1.0, 2.0]
    with pytest.raises(ValueError, match=r"x must be finite, got nan at x\[1\]"):
        soft_dtw(x, y)
    with pytest.raises(ValueError, match="y must be finite"):
        soft_dtw_gradient(y, x)
    assert math.isnan(soft_dtw(x, y, nan_policy="propagate"))
    assert soft_dtw(x, y, nan_policy="omit") == soft_dtw([1.0, 2.0], y)


@pytest.mark.parametrize("function", [soft_dtw, soft_dtw_gradient, soft_dtw_alignment])
@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (([1.0], [2.0]), {"gamma": 0}, r"gamma must be above 0, got 0: .*dtw\(x, y\) \*\* 2"),
        (([1.0], [2.0]), {"gamma": -1.5}, "gamma must be above 0, got -1.5"),
        (([1.0], [2.0]), {"gamma": math.nan}, "gamma must be finite, got nan"),
        (([1.0], [2.0]), {"gamma": 1e-300}, "gamma must be at least 1e-200"),
        (([1.0], [2.0]), {"gamma": "1"}, "gamma must be a real number, got '1'"),
        (([1.0], [2.0]), {"window": -1}, "window must be at least 0, got -1"),
        (([1.0], [2.0]), {"window": 1.5}, "window must be an integer, got 1.5"),
        (([1.0], [[2.0, 3.0]]), {}, "x and y must have the same number of dimensions, got 1 and 2"),
        (([], [2.0]), {}, "x is empty"),
        (([1.0], ["a"]), {}, "y must hold real numbers"),
        (([1.0], [math.inf]), {}, r"y must be finite, got inf at y\[0\]"),
    ],
)
def test_bad_arguments(function, arguments, keywords, message) -> None:
    with pytest.raises(MidstreamError, match=message) as caught:
        function(*arguments, **keywords)
    assert isinstance(caught.value, (ValueError, TypeError))


def test_bad_cutoff_and_policy() -> None:
    with pytest.raises(ValueError, match="cutoff must be finite, got nan"):
        soft_dtw([1.0], [2.0], cutoff=math.nan)
    with pytest.raises(ValueError, match="nan_policy must be one of"):
        soft_dtw([1.0], [2.0], nan_policy="drop")


def test_impossible_alignment_is_refused() -> None:
    huge = np.zeros(20_000_000)
    with pytest.raises(MemoryError, match="20000000 by 20000000 samples needs"):
        soft_dtw_alignment(huge, huge)
    with pytest.raises(MemoryError, match="20000000 by 20000000 samples needs"):
        soft_dtw_gradient(huge, huge)


def run_all(batch: SoftBatch) -> None:
    for block in range(batch.blocks):
        batch.run(block, Poll())


@pytest.mark.parametrize("d", [None, 2])
def test_batches_return_what_single_calls_do(d: int | None) -> None:
    rng = np.random.default_rng(7)
    many = [walk(rng, int(n), d) for n in rng.integers(1, 120, 23)]
    few = [walk(rng, int(n), d).astype(np.float32) for n in rng.integers(1, 120, 9)]
    for options in ({}, {"gamma": 0.1, "window": 30}, {"cutoff": 100.0}):
        out = np.zeros((23, 9))
        run_all(SoftBatch(many, few, out, **options))
        assert out.tolist() == [[soft_dtw(x, y, **options) for y in few] for x in many]
        condensed = np.zeros(23 * 22 // 2)
        run_all(SoftBatch(many, None, condensed, **options))
        assert condensed.tolist() == [
            soft_dtw(many[i], many[j], **options) for i in range(23) for j in range(i + 1, 23)
        ]


def test_matrices() -> None:
    rng = np.random.default_rng(10)
    X = [walk(rng, int(n)) for n in rng.integers(1, 60, 12)]  # noqa: N806
    expected = [[soft_dtw(x, y, gamma=0.5, cutoff=30) for y in X[:5]] for x in X]
    for jobs in (1, 2):
        found = cdist(X, X[:5], "soft_dtw", gamma=0.5, cutoff=30, n_jobs=jobs)
        assert found.tolist() == expected
    assert pdist(X, soft_dtw, window=50)[10] == soft_dtw(X[0], X[11], window=50)
    with pytest.raises(TypeError, match="soft_dtw has no parameter 'g': it takes band, gamma"):
        pdist(X, "soft_dtw", g=1)


def test_blocks_may_run_in_threads() -> None:
    rng = np.random.default_rng(9)
    series = [walk(rng, 400) for _ in range(24)]
    out = np.zeros(24 * 23 // 2)
    batch = SoftBatch(series, None, out)
    assert batch.blocks > 4
    threads = [
        threading.Thread(target=batch.run, args=(block, Poll())) for block in range(batch.blocks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = np.zeros_like(out)
    run_all(SoftBatch(series, None, alone))
    assert out.tolist() == alone.tolist()
    assert out[0] == soft_dtw(series[0], series[1])


def test_batch_edges() -> None:
    assert SoftBatch([], [], np.zeros((0, 0))).blocks == 0
    assert SoftBatch([[1.0]], None, np.zeros(0)).blocks == 0
    with pytest.raises(ValueError, match="out must have 2 elements, got 3"):
        SoftBatch([[1.0]], [[1.0], [2.0]], np.zeros(3))
    with pytest.raises(ValueError, match=r"Y\[1\] must have 1 dimensions, as X\[0\] has, got 2"):
        SoftBatch([[1.0]], [[1.0], [[2.0, 3.0]]], np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"X\[1\] must be finite"):
        SoftBatch([[1.0], [math.nan]], None, np.zeros(1))
    batch = SoftBatch([[1.0], [math.nan]], [[1.0]], out := np.ones((2, 1)), nan_policy="propagate")
    run_all(batch)
    assert out[0, 0] == 0.0
    assert math.isnan(out[1, 0])
    with pytest.raises(ValueError, match="block must be 0 to 0, got 1"):
        batch.run(1, Poll())
    stopped = Poll()
    stopped.stop()
    long = np.zeros(6000)
    batch = SoftBatch([long], [long], out := np.full((1, 1), -7.0))
    batch.run(0, stopped)  # stops at the first question, and leaves the result alone
    assert out[0, 0] == -7.0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer signal")
@pytest.mark.parametrize("function", [soft_dtw, soft_dtw_gradient])
def test_interrupts_are_answered(function) -> None:
    class AlarmError(Exception):
        pass

    def handler(number, frame):
        raise AlarmError

    previous = signal.signal(signal.SIGALRM, handler)
    long = np.zeros((10_000, 500))  # whole, half a minute
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(AlarmError):
            function(long, long)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_agrees_with_tslearn() -> None:
    metrics = pytest.importorskip("tslearn.metrics")
    variants = pytest.importorskip("tslearn.metrics.softdtw_variants")
    rng = np.random.default_rng(4)
    for gamma in (0.1, 1.0, 10.0):
        x, y = walk(rng, 60, 2), walk(rng, 45, 2)
        assert soft_dtw(x, y, gamma=gamma) == pytest.approx(
            metrics.soft_dtw(x, y, gamma=gamma), rel=1e-12
        )
        alignment, value = metrics.soft_dtw_alignment(x, y, gamma=gamma)
        assert soft_dtw(x, y, gamma=gamma) == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(soft_dtw_alignment(x, y, gamma=gamma), alignment, atol=1e-9)
        np.testing.assert_allclose(
            soft_dtw_gradient(x, y, gamma=gamma).gradient,
            variants.SquaredEuclidean(x, y).jacobian_product(alignment),
            atol=1e-7,
        )
        x, y = walk(rng, 40), walk(rng, 40)
        found = metrics.soft_dtw(
            x, y, gamma=gamma, global_constraint="sakoe_chiba", sakoe_chiba_radius=5
        )
        assert soft_dtw(x, y, gamma=gamma, window=5) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize("level", available_levels())
def test_gradient_where_differences_overflow(level: str) -> None:
    """Off the diagonal costs are infinite and no path goes: nothing of them is in the gradient."""
    x = np.resize([1e308, -1e308, 1.0], 40)
    y = x.copy()
    y[2] = 3.0
    for first, second in ((x, y), (np.stack([x, x]).T, np.stack([y, y]).T)):
        _, value, gradient, alignment = at_level(level, first, second)
        assert np.isfinite(value)
        assert np.array_equal(alignment, np.eye(40))
        assert np.array_equal(gradient, 2 * (first - second))


def test_a_level_that_this_machine_has_not() -> None:
    with pytest.raises(ValueError, match=r"level must be one of .*, got 'sse9'"):
        at_level("sse9", [1.0, 2.0], [1.0])
