"""Crossings: on the plane, on the trajectory, all of them, of the direction asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from reference import systems as oracle

from midstream import MidstreamError
from midstream.attractor import System, integrate, poincare_section, systems
from midstream.attractor._catalogue import CATALOGUE

CIRCLE = System(["y", "-x"], kind="flow", x0=[0.0, 1.0], dt=0.01)


def test_a_circle_is_cut_where_it_must_be() -> None:
    """x = sin t: zero going up at 2 pi k, down between."""
    both = poincare_section(CIRCLE, (0, 0.0), direction=0, steps=2000)
    expected = math.pi * np.arange(1, len(both) + 1)
    assert len(both) == 6
    # RK4 at dt = 0.01 lags by dt^4/120 of the time.
    assert both.times == pytest.approx(expected, abs=3e-9)
    assert both.directions.tolist() == [-1, 1, -1, 1, -1, 1]
    assert np.abs(both.points[:, 0]).max() < 1e-15
    assert both.return_times == pytest.approx(np.full(5, math.pi), abs=1e-9)
    up = poincare_section(CIRCLE, (0, 0.0), steps=2000)
    down = poincare_section(CIRCLE, (0, 0.0), direction=-1, steps=2000)
    assert up.times.tolist() == both.times[1::2].tolist()
    assert down.times.tolist() == both.times[::2].tolist()


def test_a_tilted_plane_and_the_same_plane_scaled() -> None:
    section = poincare_section(systems.lorenz(), ([1.0, -2.0, 0.5], 7.0), direction=0, steps=20_000)
    assert len(section) > 50
    heights = section.points @ np.array([1.0, -2.0, 0.5]) - 7.0
    assert np.abs(heights).max() < 1e-12
    scaled = poincare_section(
        systems.lorenz(), ([1e6, -2e6, 0.5e6], 7e6), direction=0, steps=20_000
    )
    assert scaled.times == pytest.approx(section.times, abs=1e-9)


def test_crossings_lie_on_the_trajectory() -> None:
    """From the state before a crossing, the textbook's RK4 gets to it in one shorter step."""
    entry = CATALOGUE["rossler"]
    f = oracle.function(entry)
    section = poincare_section(systems.rossler(), (1, 0.0), crossings=10, dt=0.02)
    path = integrate(systems.rossler(), dt=0.02, steps=5000)
    for point, time in zip(section.points, section.times, strict=True):
        index = int(time / 0.02)
        assert oracle.rk4(f, path[index], time - index * 0.02, 1) == pytest.approx(point, abs=1e-12)


@pytest.mark.parametrize("form", ["list", "text", "callable"])
def test_time_in_the_equations(form: str) -> None:
    """x = sin(t + t^2/2), whatever form the equations come in: each crossing at its own time."""
    rhs: Any = {
        "list": ["rate = 1 + t", "rate*y", "-rate*x"],
        "text": "x' = (1 + t)*y; y' = -(1 + t)*x",
        "callable": lambda x, t: [(1 + t) * x[1], -(1 + t) * x[0]],
    }[form]
    system = System(rhs, 2, x0=[0.0, 1.0], dt=0.002)
    section = poincare_section(system, (0, 0.0), direction=0, steps=4000, transient=10)
    # t + t^2/2 = k pi
    exact = np.sqrt(1 + 2 * math.pi * np.arange(1, len(section) + 1)) - 1
    assert len(section) == 12
    assert section.times == pytest.approx(exact, abs=1e-8)
    assert np.abs(section.points[:, 0]).max() < 1e-15


def test_chunks_leave_no_seam() -> None:
    """More steps than are fetched at once give the crossings of one long trajectory."""
    system = systems.lorenz()
    section = poincare_section(system, (0, 0.5), direction=0, steps=120_000)
    path = integrate(system, steps=120_000)
    above = path[:, 0] - 0.5 >= 0
    expected = np.flatnonzero(above[:-1] != above[1:])
    assert len(section) == len(expected)
    assert (section.times / system.dt).astype(int).tolist() == expected.tolist()


def test_transient_and_count() -> None:
    all_of_them = poincare_section(systems.rossler(), (1, 0.0), steps=30_000)
    later = poincare_section(systems.rossler(), (1, 0.0), steps=20_000, transient=10_000)
    assert later.times == pytest.approx(all_of_them.times[all_of_them.times >= 100.0], abs=1e-12)
    few = poincare_section(systems.rossler(), (1, 0.0), crossings=7)
    assert few.times.tolist() == all_of_them.times[:7].tolist()


@pytest.mark.parametrize(("dt", "allowed"), [(0.1, 3e-6), (0.05, 2e-7)])
def test_points_are_cut_to_fourth_order(dt: float, allowed: float) -> None:
    times = dt * np.arange(2000)
    points = np.stack([np.sin(times + 0.3), np.cos(times + 0.3), times], axis=1)
    section = poincare_section(points, (0, 0.0), dt=dt)
    count = len(section)
    exact = 2 * math.pi * np.arange(1, count + 1) - 0.3
    assert count >= 15
    assert section.times == pytest.approx(exact, abs=allowed)
    assert section.points[:, 1] == pytest.approx(np.ones(count), abs=allowed)
    assert np.abs(section.points[:, 0]).max() < 1e-12


def test_points_at_the_ends_and_on_the_plane() -> None:
    section = poincare_section(np.array([-1.0, 1.0, 3.0, 5.0, 4.0, 3.0, 2.0, -2.0]), (0, 0.0))
    assert section.points.ravel() == pytest.approx([0.0], abs=1e-12)
    assert section.times == pytest.approx([0.5])
    down = poincare_section(
        np.array([1.0, 0.0, -1.0, -2.0, -3.0, -4.0]), (0, 0.0), direction=-1, dt=0.5
    )
    assert down.times == pytest.approx([0.5])
    none = poincare_section(np.arange(9.0), (0, 100.0))
    assert len(none) == 0
    assert none.points.shape == (0, 1)
    assert none.return_times.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plane": 3}, r"plane must be \(index, value\) or"),
        ({"plane": (3, 0.0)}, r"plane\[0\] must be at most 2"),
        ({"plane": (0.5, 0.0)}, r"plane\[0\] must be an integer"),
        ({"plane": ([0, 0, 0], 1.0)}, "not all zero"),
        ({"plane": ([1, 0], 1.0)}, "must have 3 finite components"),
        ({"plane": (0, math.nan)}, r"plane\[1\] must be finite"),
        ({"direction": 2}, "direction must be one of 1, -1, 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"dt": -0.1}, "dt must be positive"),
        ({"crossings": 5, "steps": 10}, "5 crossings of the plane were asked for, 0 found"),
        ({"source": systems.henon()}, "system must be a flow, got a map"),
        ({"source": np.ones((9, 3)), "steps": 5}, "x0 and steps go with a system"),
        ({"source": np.ones((3, 3))}, "at least 4 points"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        poincare_section(**{"source": systems.lorenz(), "plane": (0, 0.0), **arguments})
