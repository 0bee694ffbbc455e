"""Closed orbits against closed forms and published digits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.attractor import Orbit, System, integrate, periodic_orbit, systems
from midstream.errors import ArgumentValueError

TURN = 2 * math.pi


def closes(system: System, orbit: Orbit) -> float:
    """How far a trajectory, by other means, is from its start after a period."""
    steps = 20_000
    path = integrate(system, orbit.points[0], dt=orbit.period / steps, steps=steps, every=steps)
    return float(np.abs(path[1] - path[0]).max())


def test_van_der_pol() -> None:
    """Period to eleven digits; the multiplier is what Liouville's formula says."""
    system = systems.van_der_pol(mu=1.0)
    orbit = periodic_orbit(system, [2.0, 0.0])
    assert orbit.period == pytest.approx(6.6632868593, abs=1e-10)
    assert orbit.stable
    assert orbit.multipliers[0] == pytest.approx(1.0, abs=1e-9)
    assert orbit.exponents == pytest.approx([0.0, -1.059377], abs=1e-6)
    # The determinant of one turn is exp of the integral of the divergence mu (1 - x^2).
    x = integrate(system, orbit.points[0], dt=orbit.period / 10_000, steps=10_000)[:-1, 0]
    divergence = (1 - x**2).mean() * orbit.period
    assert math.log(np.prod(orbit.multipliers).real) == pytest.approx(divergence, abs=1e-8)
    assert closes(system, orbit) < 1e-11
    assert orbit.residual < 1e-13
    assert orbit.points.shape == (256, 2)


def test_stuart_landau_is_a_circle() -> None:
    orbit = periodic_orbit(systems.stuart_landau(mu=2.0, omega=3.0), [1.0, 0.0], 2.0, samples=10)
    assert orbit.period == pytest.approx(TURN / 3, abs=1e-11)
    assert np.hypot(*orbit.points.T) == pytest.approx(np.full(10, math.sqrt(2)), abs=1e-11)
    assert orbit.exponents == pytest.approx([0.0, -4.0], abs=1e-7)
    turned = np.unwrap(np.arctan2(*orbit.points.T[::-1]))
    assert np.diff(turned) == pytest.approx(np.full(9, TURN / 10), abs=1e-10)


def test_the_shortest_orbit_of_lorenz() -> None:
    """Unstable: D. Viswanath, Nonlinearity 16 (2003) 1035, gives the period as 1.5586522107161747
    and the multiplier as 4.7129."""
    system = systems.lorenz()
    orbit = periodic_orbit(system, [-13.7636, -19.5788, 27.0], 1.56)
    assert orbit.period == pytest.approx(1.5586522107161747, abs=1e-12)
    assert orbit.multipliers[0].real == pytest.approx(4.7129, abs=1e-4)
    assert orbit.multipliers[1] == pytest.approx(1.0, abs=1e-8)
    assert orbit.stability == "unstable"
    assert not orbit.stable


def test_twice_the_period_gives_the_orbit_once() -> None:
    once = periodic_orbit(systems.van_der_pol(), [2.0, 0.0], 6.6)
    for turns in (2, 3):
        several = periodic_orbit(systems.van_der_pol(), [2.0, 0.0], turns * 6.65)
        assert several.period == pytest.approx(once.period, abs=1e-10)
        assert several.multipliers == pytest.approx(once.multipliers, abs=1e-8)
        assert several.points == pytest.approx(once.points, abs=1e-8)


def test_a_driven_oscillator_keeps_its_period() -> None:
    """Linear: x'' + 2 c x' + x = cos(w t) has one orbit, with multipliers exp(root * T)."""
    c, w = 0.2, 1.5
    system = System(["y", "cos(w*t) - 2*c*y - x"], params={"c": c, "w": w}, x0=[0.0, 0.0], dt=0.01)
    orbit = periodic_orbit(system, period=TURN / w, samples=4)
    amplitude = 1 / complex(1 - w * w, 2 * c * w)
    assert orbit.points[0] == pytest.approx([amplitude.real, (1j * w * amplitude).real], abs=1e-11)
    expected = np.exp(np.roots([1, 2 * c, 1]) * TURN / w)
    assert sorted(orbit.multipliers, key=np.imag) == pytest.approx(
        sorted(expected, key=np.imag), abs=1e-10
    )
    assert orbit.period == TURN / w
    assert orbit.stable
    # Twice the drive's period is kept too: no shorter one is looked for.
    assert periodic_orbit(system, period=2 * TURN / w).period == 2 * TURN / w


def test_orbits_of_a_family_are_neutral() -> None:
    orbit = periodic_orbit(systems.lotka_volterra(), [1.0, 0.5])
    assert orbit.stability == "neutral"
    assert orbit.points[0] == pytest.approx([1.0, 0.5], abs=0.1)
    assert closes(systems.lotka_volterra(), orbit) < 1e-9
    x, y = orbit.points.T
    level = x + y - np.log(x * y)
    assert np.ptp(level) < 1e-9


def test_a_rotating_pendulum_closes_on_the_cylinder() -> None:
    """Energy E = w^2/2 - cos: the time of a turn is a complete elliptic integral."""
    from scipy.special import ellipk

    system = systems.pendulum()
    orbit = periodic_orbit(system, [0.0, 3.0], 3.0, wrap=[TURN, None])
    energy = orbit.points[0, 1] ** 2 / 2 - math.cos(orbit.points[0, 0])
    m = 2 / (energy + 1)
    assert orbit.period == pytest.approx(2 * math.sqrt(m) * float(ellipk(m)), abs=1e-9)
    assert orbit.points[:, 0].min() >= 0
    assert orbit.points[:, 0].max() < TURN


@pytest.mark.parametrize(
    ("r", "period", "multiplier"),
    [(2.6, 1, 2 - 2.6), (3.2, 2, 4 + 2 * 3.2 - 3.2**2), (3.83, 3, None), (4.0, 1, -2.0)],
)
def test_cycles_of_the_logistic_map(r: float, period: int, multiplier: float | None) -> None:
    orbit = periodic_orbit(systems.logistic(r=r), [0.5 if period < 3 else 0.15], period)
    assert orbit.period == period == len(orbit.points)
    x = orbit.points.ravel()
    assert r * x * (1 - x) == pytest.approx(np.roll(x, -1), abs=1e-14)
    if multiplier is not None:
        assert orbit.multipliers[0] == pytest.approx(multiplier, abs=1e-12)
    assert orbit.stable == (abs(orbit.multipliers[0]) < 1)


def test_a_period_is_found_where_none_is_given() -> None:
    orbit = periodic_orbit(systems.logistic(r=3.5), [0.3], transient=2000)
    assert orbit.period == 4
    flow = periodic_orbit(systems.brusselator(), transient=3000)
    assert flow.stable
    assert closes(systems.brusselator(), flow) < 1e-10


def test_a_multiple_of_a_cycle_is_the_cycle() -> None:
    orbit = periodic_orbit(systems.logistic(r=3.2), [0.51], 6)
    assert orbit.period == 2
    assert orbit.multipliers[0] == pytest.approx(0.16, abs=1e-12)


def test_henon_fixed_point_and_period_two() -> None:
    a, b = 1.4, 0.3
    fixed = (b - 1 + math.sqrt((1 - b) ** 2 + 4 * a)) / (2 * a)
    orbit = periodic_orbit(systems.henon(), [0.6, 0.2], 1)
    assert orbit.points[0] == pytest.approx([fixed, b * fixed], abs=1e-14)
    roots = np.roots([1, 2 * a * fixed, -b])
    assert sorted(orbit.multipliers.real) == pytest.approx(sorted(roots), abs=1e-12)
    assert orbit.stability == "unstable"
    two = periodic_orbit(systems.henon(a=0.8), [1.0, 0.0], transient=500)
    assert two.period == 2
    assert two.exponents == pytest.approx([-0.420411598, -0.7835612063], abs=1e-8)


@pytest.mark.parametrize(
    ("guess", "period", "points", "stability"),
    [
        ([0.05, 6.25], 1, [[0.0, 0.0]], "unstable"),
        ([3.0, 0.1], 1, [[math.pi, 0.0]], "neutral"),
        ([3.1, 3.2], 2, [[math.pi, math.pi], [0.0, math.pi]], "neutral"),
    ],
)
def test_cycles_of_the_standard_map(
    guess: list[float], period: int, points: list[list[float]], stability: str
) -> None:
    """Symmetric cycles, whose points are known; at k = 1 their traces are 2 + k, 2 - k and 2 - k^2.
    B. V. Chirikov, Phys. Rep. 52 (1979) 263."""
    orbit = periodic_orbit(systems.standard_map(k=1.0), guess, period, wrap=[TURN, TURN])
    away = np.abs(orbit.points - points)
    assert np.minimum(away, TURN - away).max() < 1e-12
    trace = {1: 3.0 if stability == "unstable" else 1.0, 2: 1.0}[period]
    assert orbit.multipliers.sum() == pytest.approx(trace, abs=1e-10)
    assert np.prod(orbit.multipliers) == pytest.approx(1.0, abs=1e-12)
    assert orbit.stability == stability


def test_long_cycles_of_the_standard_map() -> None:
    """Birkhoff: there is a cycle of each rotation number; these are of 1/3, 2/5 and 3/8."""
    for turns, period in ((1, 3), (2, 5), (3, 8)):
        p = TURN * turns / period
        guess = [[(p * k) % TURN, p] for k in range(period)]
        orbit = periodic_orbit(systems.standard_map(k=0.5), guess, period, wrap=[TURN, TURN])
        assert orbit.period == period
        theta, momentum = orbit.points.T
        kicked = momentum + 0.5 * np.sin(theta)
        assert np.abs(np.sin((np.roll(theta, -1) - theta - kicked) / 2)).max() < 1e-12
        assert kicked.sum() / TURN == pytest.approx(turns, abs=0.1)


def test_python_functions_close_too() -> None:
    system = System(lambda x, t: [x[1], (1 - x[0] ** 2) * x[1] - x[0]], 2, x0=[2.0, 0.0], dt=0.01)
    orbit = periodic_orbit(system, [2.0, 0.0], 6.6)
    assert orbit.period == pytest.approx(6.6632868593, abs=1e-9)
    assert orbit.multipliers[0] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system": 3}, "system must be a System, got int"),
        ({"guess": [1.0]}, "points of 2 components"),
        ({"guess": [math.nan, 0.0]}, "guess must be finite"),
        ({"guess": [[1.0, 0.0]] * 3, "period": 0.0}, "period must be positive"),
        ({"period": -1.0}, "period must be positive"),
        ({"segments": 0}, "segments must be at least 1"),
        ({"wrap": [1.0]}, "wrap must have 2 entries"),
        ({"wrap": [0.0, 1.0]}, r"wrap\[0\] must be positive"),
        ({"guess": [1e9, 1e9], "period": 5.0}, "not finite|leaves the numbers"),
        ({"guess": [0.0, 1e-9], "period": 1e-3}, "no closed orbit"),
        ({"system": systems.duffing()}, "period must be given"),
        ({"system": systems.logistic(), "guess": [0.3], "period": 1.5}, "must be an integer"),
        ({"system": systems.logistic(), "guess": [0.3], "period": 0}, "at least 1"),
        ({"guess": [0.5, 0.0], "max_iterations": 1}, "after 1 iterations it fails to close"),
        ({"system": systems.logistic(), "guess": [[0.1], [0.2]], "period": 3}, "1 point or 3"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        periodic_orbit(**{"system": systems.van_der_pol(), "guess": [2.0, 0.0], **arguments})


def test_a_period_that_is_not_the_forcings_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match="multiple of the forcing's"):
        periodic_orbit(systems.duffing(), [1, 0], 1.0)
