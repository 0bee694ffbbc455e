"""Finite-time exponents: closed forms, differences of the flow map, time reversed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from reference import systems as oracle

from midstream import MidstreamError
from midstream.attractor import System, ensemble, ftle_field, integrate, systems
from midstream.attractor._catalogue import CATALOGUE

GYRE = systems.double_gyre()


def test_a_linear_saddle_has_one_exponent_everywhere() -> None:
    system = System(["a*x", "-2*a*y"], params={"a": 0.7}, dt=0.01)
    forward = ftle_field(system, np.linspace(-1, 1, 5), [0.0, 1.0, 2.0], steps=200)
    assert forward.values.shape == (3, 5)
    assert forward.values == pytest.approx(np.full((3, 5), 0.7), abs=1e-9)
    assert forward.ends[1, 4] == pytest.approx([math.exp(1.4), math.exp(-2.8)], abs=1e-9)
    assert forward.time == pytest.approx(2.0)
    back = ftle_field(system, [1.0], [1.0], steps=200, backward=True)
    assert back.values[0, 0] == pytest.approx(1.4, abs=1e-7)
    assert back.time == pytest.approx(-2.0)
    assert back.ends[0, 0] == pytest.approx([math.exp(-1.4), math.exp(2.8)], abs=1e-6)


def test_shear_grows_as_its_closed_form() -> None:
    """x' = y, y' = 0: singular values of [[1, T], [0, 1]] are exp(+-asinh(T/2))."""
    system = System(["y", "0*x"], dt=0.1)
    found = ftle_field(system, np.array([[0.3, 0.4]]), steps=50)
    assert found.values == pytest.approx([math.asinh(2.5) / 5], abs=1e-12)
    assert found.values.shape == (1,)
    assert found.ends == pytest.approx(np.array([[2.3, 0.4]]))


def test_double_gyre_against_differences_of_the_flow_map() -> None:
    """The textbook's RK4 at four neighbours."""
    f = oracle.function(CATALOGUE["double_gyre"])
    xs, ys, h = [0.31, 1.0, 1.72], [0.2, 0.55], 1e-5
    found = ftle_field(GYRE, xs, ys, dt=0.1, steps=100, t0=2.5)
    for j, y in enumerate(ys):
        for i, x in enumerate(xs):
            columns = [
                (
                    oracle.rk4(f, [x + h * a, y + h * b], 0.1, 100, 2.5)
                    - oracle.rk4(f, [x - h * a, y - h * b], 0.1, 100, 2.5)
                )
                / (2 * h)
                for a, b in ((1, 0), (0, 1))
            ]
            largest = np.linalg.norm(np.stack(columns, axis=1), 2)
            assert found.values[j, i] == pytest.approx(math.log(largest) / 10, abs=1e-6)
            end = oracle.rk4(f, [x, y], 0.1, 100, 2.5)
            assert found.ends[j, i] == pytest.approx(end, abs=1e-12)


def test_back_and_forth_is_where_one_started() -> None:
    """Along one trajectory an incompressible flow stretches as much backward as forward."""
    starts = np.random.default_rng(8).uniform([0, 0], [2, 1], size=(40, 2))
    forward = ftle_field(GYRE, starts, dt=0.02, steps=500, t0=1.0)
    back = ftle_field(GYRE, forward.ends, dt=0.02, steps=500, t0=11.0, backward=True)
    assert back.ends == pytest.approx(starts, abs=1e-6)
    assert back.values == pytest.approx(forward.values, abs=1e-6)


def test_ends_are_those_of_the_ensemble() -> None:
    starts = np.random.default_rng(9).normal(size=(70, 3))
    found = ftle_field(systems.lorenz(), starts, steps=200)
    assert found.ends == pytest.approx(ensemble(systems.lorenz(), starts, steps=200), abs=1e-9)


def test_long_times_give_the_largest_exponent() -> None:
    found = ftle_field(systems.henon(), np.array([[0.1, 0.1]]), steps=20_000 // 32)
    assert found.values[0] == pytest.approx(0.419, abs=0.04)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_threads_change_nothing(n_jobs: int) -> None:
    x, y = np.linspace(0, 2, 31), np.linspace(0, 1, 17)
    one = ftle_field(GYRE, x, y, dt=0.1, steps=50)
    several = ftle_field(GYRE, x, y, dt=0.1, steps=50, n_jobs=n_jobs)
    assert np.array_equal(one.values, several.values)
    assert np.array_equal(one.ends, several.ends)


def test_a_plane_of_more_dimensions() -> None:
    """Axes, and the others where `at` or the system's start puts them."""
    system = systems.lorenz()
    found = ftle_field(
        system, [1.0, 2.0], [20.0, 21.0], steps=100, axes=(0, 2), at=[9.0, -3.0, 9.0]
    )
    path = integrate(system, [2.0, -3.0, 20.0], steps=100)
    assert found.ends[0, 1] == pytest.approx(path[-1], abs=1e-11)
    default = ftle_field(system, [1.0], [20.0], steps=100, axes=(0, 2))
    own = integrate(system, [1.0, system.x0[1], 20.0], steps=100)
    assert default.ends[0, 0] == pytest.approx(own[-1], abs=1e-11)
    assert default.axes == (0, 2)


def test_functions_are_differentiated() -> None:
    text = ftle_field(GYRE, [0.3, 0.9], [0.4], dt=0.1, steps=20)
    f = oracle.function(CATALOGUE["double_gyre"])
    callable_one = System(lambda x, t: f(x, t), 2)
    assert ftle_field(callable_one, [0.3, 0.9], [0.4], dt=0.1, steps=20).values == pytest.approx(
        text.values, abs=1e-6
    )


def test_blow_ups_are_nan_and_leave_others_alone() -> None:
    system = System(["x*x", "0*y"], dt=0.01)
    found = ftle_field(system, [-1.0, 5.0, -2.0], [0.0], steps=200)
    assert np.isnan(found.values[0]).tolist() == [False, True, False]
    assert np.isnan(found.ends[0, 1]).all()
    # The derivative of 1/(1/x0 - t) by x0 shrinks: the second direction, which stays, is largest.
    assert found.values[0, 0] == pytest.approx(0.0, abs=1e-12)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    ftle_field(
        GYRE, np.linspace(0, 2, 20), [0.5, 0.6], dt=0.1, steps=5, progress=lambda *p: told.append(p)
    )
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system": "lorenz"}, "system must be a System"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"dt": -0.1}, "dt must be positive"),
        ({"x": []}, "x must hold at least one finite number"),
        ({"y": [math.nan]}, "y must hold at least one finite number"),
        ({"x": [[0.0, 1.0]]}, "x must be 1-dimensional"),
        ({"x": [0.0], "y": None}, "x must have 2 columns"),
        ({"axes": (0, 0)}, "two different components"),
        ({"axes": 3}, "axes must be two numbers"),
        ({"axes": (0, 2)}, r"axes\[1\] must be at most 1"),
        ({"at": [1.0]}, "at must have 2 components"),
        ({"backward": 1}, "backward must be True or False"),
        ({"n_jobs": 0}, "n_jobs must not be 0"),
        ({"system": systems.henon(), "backward": True}, "backward must be False for a map"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        ftle_field(**{"system": GYRE, "x": [0.5], "y": [0.5], "steps": 3, **arguments})
