"""correlation_sum against all pairs in plain Python; correlation_dimension on known sets."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from reference import dimension as reference

from midstream import MidstreamError
from midstream.attractor import Estimate, correlation_dimension, correlation_sum


def logistic(r: float, n: int) -> np.ndarray:
    x, kept = 0.2, []
    for _ in range(n + 200):
        x = r * x * (1 - x)
        kept.append(x)
    return np.array(kept[200:])


def henon(n: int) -> np.ndarray:
    x, y, kept = 0.1, 0.1, []
    for _ in range(n + 200):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        kept.append((x, y))
    return np.array(kept[200:])


def lorenz(n: int, dt: float = 0.02, every: int = 5) -> np.ndarray:
    def f(s):
        return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    s, kept = np.ones(3), []
    for i in range(n * every + 500):
        k1 = f(s)
        k2 = f(s + dt / 2 * k1)
        k3 = f(s + dt / 2 * k2)
        s = s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + f(s + dt * k3))
        if i >= 500 and i % every == 0:
            kept.append(s)
    return np.array(kept)


HENON = henon(4000)
RNG = np.random.default_rng(0)
WHITE = RNG.normal(size=2000)
TIME = np.arange(3000.0)


@pytest.mark.parametrize("seed", range(40))
def test_sums_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    emb_dim, delay, theiler, width = (int(k) for k in rng.integers((1, 1, 0, 1), (5, 4, 5, 4)))
    n = int(rng.integers((emb_dim - 1) * delay + theiler + 2, 90))
    x = rng.normal(size=(n, width))
    if seed % 3 == 0:
        x = x.round(1)  # many distances are exactly a radius
    if width == 1 and seed % 2:
        x = x[:, 0]
    norm = ("max", "euclidean")[seed % 2]
    radii = np.concatenate([rng.uniform(0, 4, 30), [0.0, 0.1, 0.5, 1.0, 100.0]])
    ours = correlation_sum(x, radii, emb_dim=emb_dim, delay=delay, theiler=theiler, norm=norm)
    points = reference.vectors(x, emb_dim, delay)
    expected = [reference.correlation_sum(points, r, theiler, norm) for r in radii.tolist()]
    assert ours.tolist() == expected


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1e100, 1.5e308])
def test_scale_does_not_matter(scale: float) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, 60)
    factor = 2.0 ** math.frexp(scale)[1] if scale < 1e300 else 2.0**1023
    radii = np.array([0.1, 0.3, 0.5])
    for norm in ("max", "euclidean"):
        one = correlation_sum(x, radii, emb_dim=2, norm=norm)
        assert (correlation_sum(x * factor, radii * factor, emb_dim=2, norm=norm) == one).all()
    assert float(correlation_dimension(x[:60] * factor, emb_dim=1, delay=1, theiler=0)) == float(
        correlation_dimension(x[:60], emb_dim=1, delay=1, theiler=0)
    )


def test_circle() -> None:
    turn = 2 * np.pi * np.arange(100) / 100
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for norm in ("max", "euclidean"):
        assert correlation_sum(circle, 0.07, norm=norm) == pytest.approx(2 / 99)
        assert correlation_sum(circle, 0.13, norm=norm) == pytest.approx(4 / 99)


def test_line_with_a_theiler_window() -> None:
    """Points of a line are as far apart in space as in time: those left are counted exactly."""
    n = 100
    x = np.arange(float(n))
    for theiler in (0, 1, 10, 97):
        for radius in (0, 1, 10, 50, 99):
            near = sum(max(n - lag, 0) for lag in range(theiler + 1, radius + 1))
            total = (n - theiler) * (n - theiler - 1) / 2
            assert correlation_sum(x, radius, theiler=theiler) == near / total


def test_shape_order_and_number_of_radii() -> None:
    x = np.random.default_rng(0).normal(size=50)
    radii = np.random.default_rng(1).uniform(0, 3, (3, 1000))
    ours = correlation_sum(x, radii)
    assert ours.shape == radii.shape
    order = np.argsort(radii, axis=None)
    assert (np.diff(ours.ravel()[order]) >= 0).all()
    for k in (0, 500, 2999):
        assert ours.ravel()[k] == correlation_sum(x, radii.ravel()[k])
    assert correlation_sum(x, 0.5).shape == ()
    assert correlation_sum(x, []).shape == (0,)


def test_gaps_are_left_out() -> None:
    x = np.random.default_rng(3).normal(size=60)
    x[[10, 11, 40]] = [math.nan, math.inf, -math.inf]
    ours = correlation_sum(x, [0.5, 1.0], emb_dim=3, delay=2, theiler=3, nan_policy="omit")
    points = reference.vectors(x, 3, 2)
    expected = [reference.correlation_sum(points, r, 3, "max") for r in (0.5, 1.0)]
    assert ours.tolist() == expected


@pytest.mark.parametrize(
    ("x", "arguments", "expected", "tolerance"),
    [
        (logistic(4.0, 4000), {}, 1.0, 0.06),
        (logistic(4.0, 4000), {"emb_dim": 4}, 1.0, 0.05),
        (HENON[:, 0], {}, 1.21, 0.03),
        (HENON[:, 0], {"emb_dim": 2}, 1.21, 0.03),
        (HENON[:, 0], {"norm": "euclidean"}, 1.21, 0.03),
        (HENON, {}, 1.21, 0.04),
        (HENON[:, 0] + 0.007 * RNG.normal(size=4000), {}, 1.22, 0.1),
        (lorenz(2500), {}, 2.05, 0.1),
        (lorenz(4000)[:, 0], {"delay": 2, "theiler": 10}, 2.05, 0.1),
        (np.sin(0.1 * TIME), {}, 1.0, 0.05),
        (np.sin(0.1 * TIME) + np.sin(0.1 * math.sqrt(2) * TIME), {}, 2.0, 0.25),
    ],
    ids=range(11),
)
def test_known_dimensions(x, arguments, expected, tolerance) -> None:
    ours = correlation_dimension(x, **arguments)
    assert ours.reason == "ok"
    assert float(ours) == pytest.approx(expected, abs=tolerance)
    low, high = ours.ci
    assert low < float(ours) < high
    # The interval is meant to hold the truth, and to be of use.
    assert low - 0.05 < expected < high + 0.05
    assert high - low < 0.6
    fit = ours.fit
    assert fit is not None
    assert fit.r_squared > 0.99
    assert fit.stop - fit.start > 4
    assert fit.slope == pytest.approx(float(ours), rel=0.1)
    radii = np.exp(ours.curve[0, [fit.start, fit.stop - 1]])
    assert ours.details["radii"] == pytest.approx(radii)
    assert (np.diff(ours.curve[1]) >= 0).all()
    assert "scaling region" in ours.reasons[0]


def test_intervals_hold_the_truth() -> None:
    """Of twenty orbits: 95 % are meant to, and 16 leave room for chance in either direction."""
    held = []
    for seed in range(20):
        x, y = np.random.default_rng(seed).uniform(-0.1, 0.1, 2).tolist()
        kept = []
        for _ in range(1600):
            x, y = 1 - 1.4 * x * x + y, 0.3 * x
            kept.append(x)
        low, high = correlation_dimension(kept[100:], emb_dim=3, delay=1, theiler=2).ci
        held.append(low <= 1.21 <= high)
        assert high - low < 0.4
    assert sum(held) >= 16


def test_noise_does_not_saturate() -> None:
    slopes = []
    for emb_dim in (2, 3, 4, 5):
        ours = correlation_dimension(WHITE, emb_dim=emb_dim, delay=1, theiler=0)
        assert ours.reason == "not_saturating"
        assert "grows with the embedding dimension" in " ".join(ours.reasons)
        slopes.append(float(ours))
    assert (np.diff(slopes) > 0.6).all()
    assert slopes[0] == pytest.approx(2, abs=0.1)
    for x in (WHITE, RNG.uniform(size=2000)):
        ours = correlation_dimension(x)
        assert (ours.reason, math.isnan(float(ours))) == ("not_saturating", True)
        assert all(map(math.isnan, ours.ci))
        assert ours.fit is None
        assert ours.curve.shape[1] > 8


def test_one_dimension_shows_nothing() -> None:
    ours = correlation_dimension(logistic(4.0, 1000), emb_dim=1, delay=1, theiler=0)
    assert ours.reason == "not_saturating"
    assert "one embedding dimension" in " ".join(ours.reasons)


def test_constant_and_periodic() -> None:
    constant = correlation_dimension(np.full(200, 0.1))
    assert (float(constant), constant.ci, constant.reason) == (0.0, (0.0, 0.0), "constant")
    for arguments in ({}, {"emb_dim": 2}):
        periodic = correlation_dimension(logistic(3.5, 1000), **arguments)
        assert (float(periodic), periodic.reason) == (0.0, "finite_set")


def test_the_cap_is_told() -> None:
    ours = correlation_dimension(WHITE[:500], emb_dim=6, delay=1, theiler=0)
    assert ours.details["cap"] == pytest.approx(2 * math.log10(495))
    if math.isnan(float(ours)):
        ours = correlation_dimension(WHITE[:500], emb_dim=6, delay=1, theiler=0, radii=(0.5, 2.5))
    assert float(ours) > 0.75 * ours.details["cap"]
    assert "largest dimension that 495 points can show" in " ".join(ours.reasons)


def test_too_little() -> None:
    ours = correlation_dimension(WHITE[:45], emb_dim=2, delay=1, theiler=0)
    assert (ours.reason, math.isnan(float(ours))) == ("too_short", True)
    few = correlation_dimension(WHITE[:60], emb_dim=5, delay=1, theiler=0)
    assert (few.reason, math.isnan(float(few))) == ("no_scaling_region", True)


def test_given_radii() -> None:
    x = HENON[:, 0]
    ours = correlation_dimension(x, emb_dim=2, delay=1, theiler=2, radii=(0.01, 0.3))
    low, high = ours.details["radii"]
    assert 0.01 <= low < high <= 0.3
    assert float(ours) == pytest.approx(1.21, abs=0.05)
    for radii in ((0.01, 0.0101), (1e-12, 1e-11)):
        with pytest.raises(MidstreamError, match="radii must span"):
            correlation_dimension(x, emb_dim=2, radii=radii)


def test_every_number_of_threads() -> None:
    x = HENON[:1500, 0]
    told: list[tuple[int, int]] = []
    one = correlation_dimension(x, progress=lambda *pair: told.append(pair))
    assert told[-1][0] == told[-1][1] > 1
    sums = correlation_sum(x, [0.1, 0.2])

    def same(other: Estimate) -> bool:
        return (float(other), other.ci) == (float(one), one.ci) and (other.curve == one.curve).all()

    for n_jobs in (2, 3, -1):
        assert same(correlation_dimension(x, n_jobs=n_jobs))
        assert (correlation_sum(x, [0.1, 0.2], n_jobs=n_jobs) == sums).all()
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: same(correlation_dimension(x)), range(4)))


def test_reference_points_of_long_series() -> None:
    import midstream.attractor.dimension as module

    most = module.MOST_PAIRS
    try:
        module.MOST_PAIRS = 10**6
        ours = correlation_dimension(HENON[:, 0], emb_dim=3)
    finally:
        module.MOST_PAIRS = most
    assert float(ours) == pytest.approx(1.21, abs=0.08)
    assert ours.reason == "ok"


def test_gaps_in_a_dimension() -> None:
    x = HENON[:, 0].copy()
    x[::500] = math.nan
    ours = correlation_dimension(x, nan_policy="omit")
    assert float(ours) == pytest.approx(1.21, abs=0.05)
    with pytest.raises(MidstreamError, match="index 0"):
        correlation_dimension(x)


@pytest.mark.parametrize("function", [correlation_sum, correlation_dimension])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"x": []}, "x must have"),
        ({"x": np.zeros((9, 0))}, "x must have"),
        ({"x": np.zeros((2, 2, 2))}, "x must be"),
        ({"x": [1.0, math.nan, 3.0]}, "index 1"),
        ({"x": [math.nan] * 9, "nan_policy": "omit"}, "x must have"),
        ({"x": [1j, 2]}, "x must hold"),
        ({"emb_dim": 0}, "emb_dim"),
        ({"emb_dim": 1.5}, "emb_dim"),
        ({"delay": 0}, "delay"),
        ({"theiler": -1}, "theiler"),
        ({"emb_dim": 3, "delay": 10**12}, "x must have at least 2000000000"),
        ({"theiler": 10**12}, "x must have at least"),
        ({"norm": "l1"}, "norm"),
        ({"nan_policy": "drop"}, "nan_policy"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"progress": 1}, "progress"),
        ({"radii": [-1.0, 2.0]}, "radii"),
        ({"radii": [math.nan, 1.0]}, "radii"),
        ({"radii": [0.1, math.inf]}, "radii"),
    ],
)
def test_bad_arguments(function, arguments, named) -> None:
    needed = {"radii": [0.1, 0.5]} if function is correlation_sum else {}
    with pytest.raises(MidstreamError, match=named):
        function(**{"x": WHITE[:100], **needed, **arguments})
