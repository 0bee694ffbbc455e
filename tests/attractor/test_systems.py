"""The constructors: what they make, what they say, and derivatives held against differences."""

from __future__ import annotations

import ast
import inspect
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import systems as oracle

from midstream import MidstreamError
from midstream.attractor import System, integrate, lyapunov_spectrum, systems
from midstream.attractor._catalogue import CATALOGUE

NAMES = systems.names()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_is_the_catalogue(name: str) -> None:
    entry = CATALOGUE[name]
    system = systems.get(name)
    assert isinstance(system, System)
    assert (system.name, system.kind, system.dim) == (name, entry.kind, len(entry.variables))
    assert system.params == dict(entry.params)
    assert system.variables == entry.variables
    assert system.x0 == pytest.approx(entry.x0)
    assert system.dt == entry.dt
    assert system.time_step == entry.time_step
    assert system.autonomous == (not entry.period)


@pytest.mark.parametrize("name", NAMES)
def test_right_hand_sides_and_derivatives(name: str) -> None:
    """Along the trajectory, against the text as plain Python and its differences."""
    entry = CATALOGUE[name]
    system = systems.get(name)
    f = oracle.function(entry)
    path = integrate(system, steps=60, every=20)
    if name == "mackey_glass":
        path += np.random.default_rng(2).uniform(0, 0.3, size=path.shape)
    for index, x in enumerate(path):
        t = 0.37 + index
        assert system.rhs(x, t) == pytest.approx(f(x, t), rel=1e-13, abs=1e-13)
        jacobian = system.jacobian(x, t)
        expected = oracle.jacobian(f, x, t)
        near_corner = name in ("chua", "tent", "lozi", "gingerbreadman", "cusp") or (
            any("mod(" in text for text in entry.equations)
        )
        if near_corner:
            # Differences that straddle a corner or a jump say nothing: take a smaller step.
            h = 1e-7
            columns = [
                (np.asarray(f(x + h * e, t)) - np.asarray(f(x - h * e, t))) / (2 * h)
                for e in np.eye(system.dim)
            ]
            found = np.stack(columns, axis=1)
            smooth = np.abs(found - jacobian) < 1e3
            expected = np.where(smooth, found, jacobian)
        scale = np.abs(expected).max() + 1
        allowed = 1e-6 if near_corner else 1e-9
        assert np.abs(jacobian - expected).max() < allowed * scale


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_the_textbooks(name: str) -> None:
    entry = CATALOGUE[name]
    system = systems.get(name)
    f = oracle.function(entry)
    path = integrate(system, steps=20)
    if entry.kind == "flow":
        assert entry.dt is not None
        expected = oracle.rk4(f, entry.x0, entry.dt, 20)
    else:
        expected = oracle.iterate(f, entry.x0, 20)
    # Twenty steps of the most expanding map multiply rounding by 1e9.
    loose = 1e-6 if entry.kind == "map" else 1e-10
    assert path[-1] == pytest.approx(expected, rel=loose, abs=loose)


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_equations_parameters_and_source(name: str) -> None:
    constructor = getattr(systems, name)
    text = inspect.getdoc(constructor)
    entry = CATALOGUE[name]
    assert text is not None
    assert text.startswith(entry.doc)
    assert " ".join(entry.source.split()) in " ".join(text.split())
    for parameter in inspect.signature(constructor).parameters:
        assert f"\n{parameter} : " in text
    assert entry.equations[0] in text
    assert constructor.__name__ == name
    assert constructor.__module__ == "midstream.attractor.systems"


def test_parameters_by_place_and_by_name() -> None:
    assert systems.lorenz(16, 45.92, beta=4).params == {"sigma": 16.0, "rho": 45.92, "beta": 4.0}
    assert systems.get("henon", a=1.0).params == {"a": 1.0, "b": 0.3}
    with pytest.raises(TypeError):
        systems.lorenz(roh=28)
    with pytest.raises(TypeError):
        systems.lorenz(1, 2, 3, 4)
    with pytest.raises(MidstreamError, match="rho must be a real number, got 'x'"):
        systems.lorenz(rho="x")
    with pytest.raises(MidstreamError, match="rho must be finite"):
        systems.lorenz(rho=math.nan)


def test_names() -> None:
    assert len(NAMES) >= 100
    assert sorted(systems.names(kind="map") + systems.names(kind="flow")) == NAMES
    assert "lorenz" in systems.names(kind="flow", regime="strange")
    tori = {"bogdanov", "circle_map", "circle_rotation", "torus_rotation"}
    assert set(systems.names(regime="torus")) == tori
    assert systems.regime("hyper_rossler") == "hyperchaotic"
    assert set(NAMES) < set(systems.__all__)
    for arguments, message in (
        ({"kind": "delay"}, "kind must be one of"),
        ({"regime": "chaos"}, "regime must be one of"),
    ):
        with pytest.raises(MidstreamError, match=message):
            systems.names(**arguments)
    with pytest.raises(MidstreamError, match=r"no built-in system is named 'lorentz'.*'lorenz'"):
        systems.get("lorentz")
    with pytest.raises(MidstreamError, match="name must be str"):
        systems.regime(3)  # type: ignore[arg-type]


def test_the_stub_has_every_constructor_as_it_is() -> None:
    """Else .ci/attractor_systems_stub has not been run."""
    stub = Path(systems.__file__).with_suffix(".pyi")
    if not stub.exists():
        pytest.skip("no stub beside the module")
    found: dict[str, dict[str, Any]] = {}
    for node in ast.parse(stub.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name in CATALOGUE:
            names = [argument.arg for argument in node.args.args]
            values = [ast.literal_eval(default) for default in node.args.defaults]
            found[node.name] = dict(zip(names, values, strict=True))
    expected = {
        name: {
            parameter.name: parameter.default
            for parameter in inspect.signature(getattr(systems, name)).parameters.values()
        }
        for name in NAMES
    }
    assert found == expected


@pytest.mark.parametrize("sites", [4, 7, 40, 61])
def test_lorenz96_of_any_size(sites: int) -> None:
    ring = systems.lorenz96(N=sites, F=6.0)
    assert ring.dim == sites
    x = np.random.default_rng(sites).normal(size=sites)
    expected = (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 6
    assert ring.rhs(x) == pytest.approx(expected)
    assert ring.x0[0] == 6.01
    with pytest.raises(MidstreamError, match="N must be at least 4"):
        systems.lorenz96(N=3)


def test_mackey_glass_of_any_delay() -> None:
    delay = systems.mackey_glass(tau=30.0, steps=60)
    assert delay.dim == 121
    assert delay.time_step == 0.5
    assert systems.mackey_glass(tau=23.0).time_step == 1.0
    assert systems.mackey_glass(tau=0.5).dim == 9
    coarse = integrate(systems.mackey_glass(tau=20.0), steps=100)[-1, 0]
    fine = integrate(systems.mackey_glass(tau=20.0, steps=160), steps=800)[-1, 0]
    assert coarse == pytest.approx(fine, abs=3e-6)
    for arguments in ({"tau": 0.0}, {"tau": -1.0}, {"steps": 0}, {"tau": "17"}):
        with pytest.raises(MidstreamError, match=r"tau|steps"):
            systems.mackey_glass(**arguments)


@pytest.mark.parametrize("name", ["henon_heiles", "double_pendulum", "pendulum", "nose_hoover"])
def test_conserved_quantities(name: str) -> None:
    def energy(x: Any) -> Any:
        if name == "henon_heiles":
            q, r, p, s = x.T
            return (p * p + s * s + q * q + r * r) / 2 + q * q * r - r**3 / 3
        if name == "pendulum":
            return x[:, 1] ** 2 / 2 - np.cos(x[:, 0])
        a, b, p, q = x.T
        c = np.cos(a - b)
        kinetic = (p * p + 2 * q * q - 2 * p * q * c) / (2 * (1 + np.sin(a - b) ** 2))
        return kinetic - 9.81 * (2 * np.cos(a) + np.cos(b))

    system = systems.get(name)
    path = integrate(system, steps=20_000, dt=system.dt / 2, every=50)
    if name == "nose_hoover":
        # No function of the state alone; but time runs back to the start.
        start = path[0] * [1, -1, -1]
        back = path[20] * [1, -1, -1]
        returned = integrate(system, back, steps=1000, dt=system.dt / 2)[-1]
        assert returned == pytest.approx(start, abs=1e-8)
        return
    values = energy(path)
    assert np.ptp(values) < 3e-6 * (abs(values[0]) + 1)


@pytest.mark.parametrize("regime", ["fixed_point", "limit_cycle", "torus"])
def test_regular_regimes_are_regular(regime: str) -> None:
    for name in systems.names(regime=regime):
        found = lyapunov_spectrum(systems.get(name), steps=60_000, transient=5000)
        # Shear of closed orbits without attraction grows as ln(T)/T.
        assert found.exponents[0] < 3 * math.log(found.time) / found.time + 1e-4, name
        assert (found.exponents[0] < -1e-2) == (regime == "fixed_point"), name


@pytest.mark.parametrize("regime", ["strange", "hyperchaotic", "sea"])
def test_chaotic_regimes_are_chaotic(regime: str) -> None:
    for name in systems.names(regime=regime):
        system = systems.get(name)
        steps = 20_000 if system.dim > 10 else 400_000
        k = min(system.dim, 2)
        found = lyapunov_spectrum(system, steps=steps, transient=steps // 10, k=k)
        assert found.exponents[0] > 2.5 * found.stderr[0], name
        if regime == "hyperchaotic":
            assert found.exponents[1] > 2 * found.stderr[1] > 0, name


def test_pickles() -> None:
    system = systems.chua(alpha=10.0)
    again = pickle.loads(pickle.dumps(system))
    assert again.params == system.params
    assert again.rhs([1.0, 0.5, -1.0]) == pytest.approx(system.rhs([1.0, 0.5, -1.0]))
