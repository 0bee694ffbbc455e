"""Orbit diagrams: what each value of the parameter gives alone, and where cycles must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.attractor import System, bifurcation, integrate, systems


def branch(found: Any, value: float) -> np.ndarray:
    return found.points[found.values == value]


def test_a_map_at_many_parameters_is_each_of_them() -> None:
    grid = np.linspace(2.8, 4.0, 131)
    found = bifurcation(systems.logistic(), "r", grid, steps=50, transient=30)
    assert len(found) == 131 * 50
    for r in grid[::13]:
        alone = integrate(systems.logistic(r=r), steps=50, transient=30)[1:, 0]
        # Chaos would part what differs by rounding.
        assert branch(found, r)[:20] == pytest.approx(alone[:20], abs=1e-6)
    assert (found.parameter, found.component) == ("r", "x")


def test_cycles_are_where_they_must_be() -> None:
    found = bifurcation(systems.logistic(), "r", [0.5, 2.6, 3.2, 3.5, 3.83], steps=24)
    counts = [len(np.unique(branch(found, r).round(6))) for r in (0.5, 2.6, 3.2, 3.5, 3.83)]
    assert counts == [1, 1, 2, 4, 3]
    assert branch(found, 2.6) == pytest.approx(np.full(24, 1 - 1 / 2.6), abs=1e-12)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_threads_and_parts_change_nothing(n_jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = np.linspace(1.0, 1.4, 90)
    once = bifurcation(systems.henon(), "a", grid, component="y")
    monkeypatch.setattr("midstream.attractor.diagrams._MEMORY", 100_000)
    parts = bifurcation(systems.henon(), "a", grid, component="y", n_jobs=n_jobs)
    assert np.array_equal(once.points, parts.points)
    assert np.array_equal(once.values, parts.values)


def test_maxima_and_minima_of_a_flow() -> None:
    """x'' = -w^2 x from (1, 0): extrema are +-1, whatever w is; RK4 sampled finely."""
    system = System(["y", "-w*w*x"], params={"w": 1.0}, kind="flow", x0=[1.0, 0.0], dt=0.001)
    for extrema, expected in (("max", [1.0]), ("min", [-1.0]), ("both", [-1.0, 1.0])):
        found = bifurcation(system, "w", [2.0, 3.0], steps=10_000, transient=0, extrema=extrema)
        for w in (2.0, 3.0):
            points = branch(found, w)
            assert np.unique(points.round(9)) == pytest.approx(expected, abs=1e-9)
            # Turns in the time of 10, those at the very start left out.
            turns = 10 * w / (2 * math.pi)
            assert abs(len(points) / len(expected) - turns) <= 1


def test_period_doubling_of_rossler() -> None:
    """c = 2.5 one loop, c = 3.5 two, c = 4 four, as is well known for a = b = 0.2."""
    found = bifurcation(
        systems.rossler(), "c", [2.5, 3.5, 4.0, 5.7], dt=0.02, steps=20_000, transient=30_000
    )
    counts = [len(np.unique(branch(found, c).round(2))) for c in (2.5, 3.5, 4.0, 5.7)]
    assert counts[:3] == [1, 2, 4]
    assert counts[3] > 30


def test_a_flow_at_rest_has_one_point() -> None:
    found = bifurcation(
        System(["-a*x"], params={"a": 1.0}, kind="flow", x0=[1.0], dt=0.1),
        "a",
        [1.0, 2.0],
        steps=10,
        transient=5,
    )
    assert found.values.tolist() == [1.0, 2.0]


def test_text_with_names_definitions_and_functions_agree() -> None:
    grid = [1.0, 1.2]
    forms = [
        System(["1 - a*x*x + y", "0.3*x"], params={"a": 1.4}, kind="map", x0=[0.0, 0.0]),
        System("x' = 1 - a*x^2 + y; y' = 0.3*x", params={"a": 1.4}, kind="map", x0=[0.0, 0.0]),
        System(["s = x*x", "1 - a*s + y", "0.3*x"], params={"a": 1.4}, kind="map", x0=[0.0, 0.0]),
        System(
            lambda x, t, p: [1 - p["a"] * x[0] ** 2 + x[1], 0.3 * x[0]],
            2,
            params={"a": 1.4},
            kind="map",
            x0=[0.0, 0.0],
        ),
    ]
    results = [bifurcation(form, "a", grid, steps=10, transient=20) for form in forms]
    for result in results[1:]:
        assert result.points == pytest.approx(results[0].points, abs=1e-9)


def test_what_blows_up_is_left_out_and_named() -> None:
    found = bifurcation(systems.logistic(), "r", [3.0, 4.5, 3.2, 5.0], steps=10)
    assert sorted(set(found.values)) == [3.0, 3.2]
    assert found.lost.tolist() == [4.5, 5.0]
    nothing = bifurcation(systems.logistic(), "r", [5.0])
    assert len(nothing) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system": 1}, "system must be a System"),
        ({"parameter": "q"}, "henon has no parameter 'q'; it has a, b"),
        ({"parameter": 0}, "parameter must be str"),
        ({"values": []}, "values must have at least 1"),
        ({"values": [math.nan]}, "values must be finite"),
        ({"component": 2}, "component must be at most 1"),
        ({"component": "z"}, "component must be one of x, y, got 'z'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"transient": -1}, "transient must be at least 0"),
        ({"extrema": "all"}, "extrema must be one of"),
        ({"dt": 0.0, "system": systems.lorenz(), "parameter": "rho"}, "dt must be positive"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        bifurcation(**{"system": systems.henon(), "parameter": "a", "values": [1.0], **arguments})
