"""Exponents from series: coverage, verdicts, and everything that must not become a number."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from reference import neighbours as plain
from reference import orbits
from reference.calibration import EXPONENTS, NOISES, REGULAR, STEPS, chaotic, harmless

from midstream import MidstreamError
from midstream._core._cpu import available_levels
from midstream.attractor import lyapunov, lyapunov_spectrum_from_data
from midstream.attractor._divergence import divergence_curve, scaling_region
from midstream.attractor._local_maps import Data, make_chains, rows_of
from midstream.attractor._smoothing import line_share, smooth


@pytest.fixture(scope="module")
def lorenz() -> np.ndarray:
    return chaotic("lorenz.05", 3000, range(20, 21))[0]


# A small part of .ci/attractor_calibration, with seeds of its own.
def test_intervals_cover_and_chaos_is_found() -> None:
    covered = found = count = 0
    factors = []
    for name in ("lorenz.05", "rossler.2", "henon", "mg23"):
        for n in (2000, 4000):
            for seed, x in enumerate(chaotic(name, n, range(30, 32))):
                for level in (0.0, 0.02, 0.05):
                    estimate = lyapunov(orbits.noisy(x, level, seed), dt=STEPS.get(name, 1.0))
                    low, high = estimate.ci
                    count += 1
                    covered += low <= EXPONENTS[name] <= high
                    found += estimate.verdict == "chaotic"
                    if estimate.verdict == "chaotic":
                        assert low < float(estimate) < high
                        factors.append(high / low)
    assert covered >= 0.9 * count
    assert found >= 0.9 * count
    assert np.median(factors) < 2.2  # of use to someone


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_not_chaos_and_has_no_exponent(name: str) -> None:
    for seed in (50, 51):
        estimate = lyapunov(harmless(name, 2000, seed))
        assert estimate.verdict in ("noise", "insufficient")
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.ci[0])
        assert estimate.reasons


@pytest.mark.parametrize("name", REGULAR)
def test_oscillations_are_not_chaos(name: str) -> None:
    regular = 0
    for level in (0.0, 0.02, 0.05):
        estimate = lyapunov(orbits.noisy(harmless(name, 2000, 60), level, 3))
        assert estimate.verdict in ("regular", "insufficient")
        regular += estimate.verdict == "regular"
        if math.isfinite(estimate.value):
            assert estimate.ci[0] <= 0.0
    assert regular >= 2


def test_kantz_agrees(lorenz: np.ndarray) -> None:
    estimate = lyapunov(lorenz, dt=0.05, method="kantz")
    assert estimate.verdict == "chaotic"
    assert estimate.ci[0] < 0.9056 < estimate.ci[1]
    assert (
        estimate.curve[1, 0] > lyapunov(lorenz, dt=0.05).curve[1, 0]
    )  # eight are farther than one


def test_units_scale_and_offset(lorenz: np.ndarray) -> None:
    first = lyapunov(lorenz)
    slower = lyapunov(lorenz, dt=0.05)
    assert slower.value == pytest.approx(20 * first.value)
    assert slower.ci[1] == pytest.approx(20 * first.ci[1])
    assert slower.fit.slope == pytest.approx(20 * first.fit.slope)
    assert slower.details["slope"] == slower.fit.slope
    assert slower.curve[0, -1] == pytest.approx(first.curve[0, -1] / 20)
    assert slower.unit == "nats/time"
    moved = lyapunov(1e3 + 4 * lorenz)
    assert moved.value == pytest.approx(first.value, rel=1e-6)
    assert lyapunov(lorenz.astype(np.float32)).value == pytest.approx(first.value, rel=0.05)


def test_the_line_is_where_it_says(lorenz: np.ndarray) -> None:
    estimate = lyapunov(lorenz, dt=0.05)
    times, curve = estimate.curve[:, estimate.fit.start : estimate.fit.stop]
    slope, intercept = np.polyfit(times, curve, 1)
    assert estimate.fit.slope == pytest.approx(slope)
    assert estimate.fit.intercept == pytest.approx(intercept, abs=1e-9)
    assert estimate.fit.r_squared > 0.98
    assert estimate.n_effective > 500
    assert "chaotic" in str(estimate)
    assert "<li>" in estimate._repr_html_()


def test_same_answer_every_time_and_at_every_level(lorenz: np.ndarray, tmp_path) -> None:
    np.save(tmp_path / "x.npy", lorenz)
    program = (
        "import sys, numpy as np; from midstream.attractor import lyapunov;"
        "e = lyapunov(np.load(sys.argv[1])); print(float(e).hex(), e.ci[0].hex(), e.curve.sum())"
    )
    answers = set()
    for level in available_levels():
        environment = {**os.environ, "MIDSTREAM_SIMD": level}
        answers.add(
            subprocess.run(
                [sys.executable, "-P", "-c", program, str(tmp_path / "x.npy")],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    assert len(answers) == 1
    assert float(lyapunov(lorenz)).hex() in answers.pop()


def test_gaps(lorenz: np.ndarray) -> None:
    x = lorenz.copy()
    x[[700, 701, 1500]] = np.nan
    x[2200] = np.inf
    with pytest.raises(MidstreamError, match="at index 700"):
        lyapunov(x)
    estimate = lyapunov(x, dt=0.05, nan_policy="omit")
    assert estimate.verdict == "chaotic"
    assert estimate.ci[0] < 0.9056 < estimate.ci[1]
    # Gaps everywhere leave nothing.
    x[::20] = np.nan
    assert lyapunov(x, nan_policy="omit").reason == "too_short"
    nothing = lyapunov([np.nan, np.inf], nan_policy="omit")
    assert (nothing.verdict, nothing.reason) == ("insufficient", "too_short")


def test_vectors_span_no_gap() -> None:
    x = np.arange(40.0)
    x[[10, 25]] = np.nan
    rows = rows_of(x, 2, 3)
    for row in range(len(x) - 6):
        assert (row in rows) == bool(np.isfinite(x[row : row + 7]).all())
    for chain in make_chains(rows_of(np.r_[np.zeros(60), np.nan, np.zeros(90)], 2, 3), 3):
        assert len(chain) >= 12


def test_constant_short_and_recurrent_series() -> None:
    for x, reason, verdict in (
        (np.full(1000, 3.3), "constant", "insufficient"),
        (np.full(1000, 1e300), "constant", "insufficient"),
        (np.random.default_rng(0).normal(size=199), "too_short", "insufficient"),
        ([1.0], "too_short", "insufficient"),
        (np.tile([1.0, 2, 3, 5, 4], 300), "recurrent", "regular"),
        (np.random.default_rng(0).integers(0, 2, 1000), "quantised", "insufficient"),
        # The memory of this one is as long as itself.
        (np.random.default_rng(0).normal(size=2000).cumsum(), "too_short", "insufficient"),
    ):
        estimate = lyapunov(x)
        assert (estimate.reason, estimate.verdict) == (reason, verdict)
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.ci[0])
        assert len(estimate.reasons[-1]) > 10


def test_coarse_steps_are_no_harm(lorenz: np.ndarray) -> None:
    estimate = lyapunov(np.round(lorenz, 1), dt=0.05)
    assert estimate.verdict == "chaotic"
    assert estimate.ci[0] < 0.9056 < estimate.ci[1]


def test_own_parameters(lorenz: np.ndarray) -> None:
    estimate = lyapunov(lorenz, dt=0.05, emb_dim=5, delay=3, theiler=30)
    assert [estimate.details[name] for name in ("emb_dim", "delay", "theiler")] == [5, 3, 30]
    assert estimate.ci[0] < 0.9056 < estimate.ci[1]
    with pytest.raises(MidstreamError, match=r"at least 56 samples.* got 50"):
        lyapunov(lorenz[:50], emb_dim=5, delay=6, theiler=30)


def test_surrogates_confirm(lorenz: np.ndarray) -> None:
    estimate = lyapunov(lorenz[:1200], dt=0.05, n_surrogates=19)
    assert estimate.verdict == "chaotic"
    assert estimate.details["surrogate_p"] == 0.05
    # Too few to reject at 5 %: not enough for chaos.
    few = lyapunov(lorenz[:1200], dt=0.05, n_surrogates=3)
    assert (few.verdict, few.reason) == ("noise", "surrogates")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": []}, "must not be empty"),
        ({"x": np.zeros((5, 2))}, "1-dimensional"),
        ({"x": ["a", "b"]}, "real numbers"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"dt": -1.0}, "dt must be at least"),
        ({"dt": math.nan}, "dt must be finite"),
        ({"emb_dim": 1}, "emb_dim must be at least 2"),
        ({"emb_dim": 26}, "emb_dim must be at most 25"),
        ({"delay": 0}, "delay must be at least 1"),
        ({"theiler": -1}, "theiler must be at least 0"),
        ({"method": "wolf"}, "method must be one of"),
        ({"nan_policy": "fill"}, "nan_policy must be one of"),
        ({"n_surrogates": -1}, "n_surrogates must be at least 0"),
        ({"x": np.linspace(0, 1e200, 500)}, "moderate values"),
    ],
)
def test_refusals(arguments, message: str) -> None:
    given = {"x": np.random.default_rng(0).normal(size=300), **arguments}
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        lyapunov(given.pop("x"), **given)
    assert isinstance(caught.value, MidstreamError)


@pytest.mark.parametrize("method", ["rosenstein", "kantz"])
def test_divergence_curve_by_definition(method: str) -> None:
    x = orbits.henon(300, range(1))[0]
    m, theiler = 3, 2
    data = Data(x, x, math.nan, math.nan, 1, theiler)
    points = np.stack([x[k : 300 - 3 + k] for k in range(m)], axis=1)
    centres = np.arange(0, 290, 7)
    near = [
        [j for _, j in plain.ranked(points, c, theiler, len(points), maximum=False)[:8]]
        for c in centres
    ]
    times, curve, pairs = divergence_curve(data, centres, np.array(near), m, 0.4, method)
    k = 1 if method == "rosenstein" else 8
    logs = []
    for centre, others in zip(centres, near, strict=True):
        square = [
            plain.diverge(x, m, 1, centre, other, len(times), int(times[1])) for other in others[:k]
        ]
        distance = np.sqrt(np.array(square) / (2 * m))
        for column in range(distance.shape[1]):
            known = distance[np.isfinite(distance[:, column]), column]
            logs.append((column, math.log(known.mean()) if len(known) else math.nan))
    for column in range(len(times)):
        values = [value for which, value in logs if which == column and math.isfinite(value)]
        assert curve[column] == pytest.approx(np.mean(values))
    assert pairs == len(centres)


def test_scaling_region_of_a_made_curve() -> None:
    times = np.arange(60) * 2.0
    curve = np.minimum(-4 + 0.05 * times, -0.5) - 0.8 * np.exp(-times / 3)
    region, rise = scaling_region(times, curve, 6.0)
    assert region.fit.slope == pytest.approx(0.05, rel=0.03)
    assert times[region.fit.start] >= 6.0
    assert times[region.fit.stop - 1] <= 70.0
    assert rise == pytest.approx(3.2, abs=0.2)
    # A jump and a plateau are no region, nor is a flat or a falling curve.
    for other in (np.r_[-4.0, np.full(59, -1.0)], np.full(60, -2.0), -0.05 * times):
        assert scaling_region(times, other, 2.0)[0] is None
    assert scaling_region(times[:4], curve[:4], 0.0) == (None, 0.0)


def test_smoothing_knows_the_noise() -> None:
    clean = chaotic("rossler.1", 4000, range(1))[0]
    for level in (0.01, 0.05):
        noisy = orbits.noisy(clean, level, 7)
        found = smooth(noisy)
        assert found.noise == pytest.approx(level, rel=0.1)
        left = np.std(found.series - clean) / clean.std()
        assert left < 0.7 * level
        assert found.left == pytest.approx(left, rel=0.25)
    inside = slice(300, -300)  # the ends are reflected
    assert np.std((smooth(clean).series - clean)[inside]) < 1e-4 * clean.std()
    henon = orbits.henon(2000, range(1))[0]
    assert math.isnan(smooth(henon).noise)
    assert smooth(henon).series is henon
    assert smooth(np.ones(1000)).series.tolist() == [1.0] * 1000


def test_line_share() -> None:
    t = np.arange(3000)
    assert line_share(np.sin(t / 7) + np.cos(t / 31)) > 0.999
    assert line_share(np.random.default_rng(0).normal(size=3000)) < 0.1
    assert line_share(np.random.default_rng(0).normal(size=3000).cumsum()) < 0.5
    assert line_share(np.zeros(100)) == 0.0


def test_spectrum_of_henon_and_its_spurious_exponent() -> None:
    x = orbits.henon(5000, range(1))[0]
    found = lyapunov_spectrum_from_data(x, emb_dim=2)
    np.testing.assert_allclose(found.exponents, [0.4192, -1.6232], atol=0.06)
    assert found.kaplan_yorke == pytest.approx(1.258, abs=0.01)
    assert not found.spurious.any()
    assert abs(found.exponents[0] - 0.4192) < 4 * found.stderr[0]
    more = lyapunov_spectrum_from_data(x, emb_dim=3)
    assert more.spurious.tolist() == [False, True, False]
    np.testing.assert_allclose(more.exponents[[0, 2]], [0.4192, -1.6232], atol=0.05)
    assert more.kaplan_yorke == pytest.approx(1.258, abs=0.02)
    assert "spurious" in more._repr_html_()
    assert int(lyapunov_spectrum_from_data(x).emb_dim) == 2


def test_spectrum_of_lorenz(lorenz: np.ndarray) -> None:
    found = lyapunov_spectrum_from_data(lorenz, dt=0.05, emb_dim=3, ridge=1e-5)
    assert found.exponents[0] == pytest.approx(0.9056, rel=0.15)
    assert abs(found.exponents[1]) < 0.25
    assert found.exponents[2] < -5
    linear = lyapunov_spectrum_from_data(lorenz, dt=0.05, emb_dim=4, order=1, ridge=1e-2)
    assert linear.exponents[0] == pytest.approx(0.9056, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.ones(500)}, "constant"),
        ({"x": np.arange(100.0)}, "cannot be used"),
        ({"emb_dim": 7}, "emb_dim must be at most 6"),
        ({"order": 3}, "order must be one of"),
        ({"ridge": -1.0}, "ridge must be at least"),
        ({"delay": 40}, "at least"),
        ({"dt": 0}, "dt must be positive"),
    ],
)
def test_spectrum_refusals(arguments, message: str) -> None:
    given = {"x": orbits.henon(500, range(1))[0], **arguments}
    with pytest.raises(MidstreamError, match=message):
        lyapunov_spectrum_from_data(given.pop("x"), **given)


def test_short_series_are_not_called_noise() -> None:
    noise = np.random.default_rng(0).normal(size=1000)
    assert lyapunov(noise).verdict == "noise"
    short = lyapunov(noise[:500])
    assert (short.verdict, short.reason) == ("insufficient", "too_short")
    assert math.isnan(short.value) and "500 samples" in " ".join(short.reasons)
