"""`classify`: labelled orbits and series, its units, its reasons, what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference.labelled import HYPER, noise_series, points_of, system_cases, system_of

from midstream import MidstreamError
from midstream.attractor import classify
from midstream.attractor.system import System

CASES = system_cases()
#: The first start of every regime; all starts are in .ci/attractor_classify.
FIRST = [case for case in CASES if case.name.endswith("start 0")]
#: Every fourth of those, for data.
SOME = FIRST[1::4]


@pytest.mark.parametrize("case", FIRST[::3], ids=lambda case: case.name)
def test_systems(case):
    found = classify(system_of(case), case.x0)
    assert found.kind == case.label, found.reasons
    if case.regime.period is not None:
        assert found.period == pytest.approx(case.regime.period, rel=1e-3)
    if case.label in ("strange", "hyperchaotic"):
        assert found.lyapunov > 0
        assert found.period is None
    assert len(found.exponents) == len(found.stderr)


@pytest.mark.parametrize(
    "case", [case for case in SOME if case.label != HYPER], ids=lambda case: case.name
)
def test_points(case):
    dt = case.family.dt * case.family.every
    found = classify(points_of(case, 2500), dt=dt)
    assert found.kind == case.label, found.reasons
    if case.regime.period is not None:
        assert found.period == pytest.approx(case.regime.period, rel=1e-3)


@pytest.mark.parametrize("name", sorted(noise_series(10, 0)))
@pytest.mark.parametrize("seed", [11, 12])
def test_noise(name, seed):
    found = classify(noise_series(2000, seed)[name])
    assert found.kind == "noise", found.reasons


def test_hyperchaos_is_seen_in_full_states():
    case = next(case for case in CASES if case.family.name == "towel")
    found = classify(points_of(case, 2500))
    assert found.kind == HYPER
    assert found.exponents[:2] == pytest.approx((0.4306, 0.3776), abs=0.05)


def test_answers_are_the_same_every_time():
    rng = np.random.default_rng(0)
    series = rng.normal(size=800)
    assert repr(classify(series, seed=3)) == repr(classify(series.copy(), seed=3))
    logistic = System("3.9*x*(1 - x)", kind="map")
    assert classify(logistic, [0.3], seed=2) == classify(logistic, [0.3], seed=2)


def test_exponents_and_periods_are_in_units_of_time():
    found = classify(System("4*x*(1 - x)", kind="map", time_step=0.5), [0.3])
    assert found.lyapunov == pytest.approx(2 * math.log(2), rel=0.02)
    slow = System("y; -0.04*x + (1 - x**2)*y*0.02", dt=0.05)
    found = classify(slow, [2.0, 0.0])
    assert (found.kind, found.dimension) == ("limit_cycle", 1.0)
    assert found.period == pytest.approx(2 * math.pi / 0.2, rel=2e-3)


def test_coexisting_attractors_depend_on_the_start():
    lorenz = System(
        "s*(y - x); x*(r - z) - y; x*y - b*z",
        params={"s": 10, "r": 24.3, "b": 8 / 3},
        dt=0.005,
    )
    assert classify(lorenz, [7.9, 7.9, 23.3]).kind == "fixed_point"
    assert classify(lorenz, [1, 14, 16]).kind == "strange"


def test_an_unstable_equilibrium_is_a_fixed_point_and_says_so():
    found = classify(System("x; -y", dt=0.01), [0.0, 0.0])
    assert found.kind == "fixed_point"
    assert "unstable" in found.reasons[0]


def test_what_blows_up_is_unknown():
    found = classify(System("x^2", dt=0.01), [1.0])
    assert found.kind == "unknown"
    assert "blows up" in found.reasons[0]
    assert "step" in found.reasons[0]
    found = classify(System("3*x", kind="map"), [1.0])
    assert found.kind == "unknown"


def test_angles_that_run_away_are_a_torus():
    found = classify(System("1; sqrt(2)", variables=("a", "b"), dt=0.02), [0.0, 0.0])
    assert found.kind == "torus", found.reasons
    assert found.lyapunov == pytest.approx(0.0, abs=1e-9)


def test_callables():
    def rhs(x, t, p):
        return [x[1], (1 - x[0] ** 2) * x[1] - x[0]]

    found = classify(System(rhs, 2, dt=0.05), [2.0, 0.0], max_steps=8000)
    assert found.kind == "limit_cycle"
    assert found.period == pytest.approx(6.6633, rel=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
def test_a_noisy_sine_has_a_period(noise):
    time = 0.1 * np.arange(3000)
    series = np.sin(time) + noise * np.random.default_rng(1).normal(size=3000)
    found = classify(series, dt=0.1)
    assert found.kind == "limit_cycle", found.reasons
    assert found.period == pytest.approx(2 * np.pi, rel=1e-3)


def test_integers_and_float32_are_data_too():
    found = classify(np.tile(np.array([3, 1, 4, 1, 5], dtype=np.int8), 50), dt=0.5)
    assert (found.kind, found.period) == ("limit_cycle", 2.5)
    assert classify(np.full(200, 2.0, dtype=np.float32)).kind == "fixed_point"
    assert classify(np.zeros((200, 3))).kind == "fixed_point"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros(99),), ValueError, "at least 100"),
        ((np.r_[np.zeros(200), np.nan],), ValueError, "finite, got .*nan.* at index 200"),
        ((np.zeros((5, 200, 2)),), ValueError, "2-dimensional"),
        ((np.zeros(200, dtype=complex),), TypeError, "complex"),
        (("abc",), TypeError, "real numbers"),
        ((np.zeros(200), [1.0]), TypeError, "x0 must be None for data"),
    ],
)
def test_bad_data(arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        classify(*arguments)
    assert isinstance(caught.value, MidstreamError)


def test_bad_arguments():
    system = System("-x", dt=0.1)
    for wrong, words in (
        ({"steps": 10}, "steps must be at least 1000"),
        ({"transient": -1}, "transient must be at least 0"),
        ({"max_steps": 1000}, "max_steps must be at least 40000"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"dt": 0.0}, "dt"),
    ):
        with pytest.raises(ValueError, match=words):
            classify(system, [1.0], **wrong)
    with pytest.raises(ValueError, match="dt must be positive"):
        classify(np.zeros(200), dt=-1)


def test_answers_read_well():
    found = classify(np.tile([0.0, 1.0, 4.0], 100), dt=0.5)
    assert str(found).startswith("limit_cycle, period 1.5")
    assert "<li>the points repeat themselves after 3 samples" in found._repr_html_()


def test_a_trend_is_nothing_that_comes_back() -> None:
    steps = np.arange(4000.0)
    for drifting in (steps, 0.01 * steps + np.sin(0.1 * steps)):
        found = classify(drifting)
        assert found.kind in ("unknown", "noise")  # and no IndexError, as once
    assert classify(steps).kind == "unknown"
    assert "drift" in " ".join(classify(steps).reasons)


def test_what_grows_without_bound_has_no_attractor() -> None:
    for system, start in (
        (System(["0.1*x", "-0.4*y"]), [1, 1]),
        (System("0.01*x"), [1]),
        (System("x*1.01", kind="map"), [1]),
    ):
        dt = None if system.kind == "map" else 0.01
        found = classify(system, start, dt=dt)
        assert found.kind == "unknown", found
