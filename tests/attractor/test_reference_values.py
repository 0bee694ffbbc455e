"""Exponents of known systems, from equations, against closed forms and published values.

Short runs of what ``asv_benchmarks/attractor_reference.py`` publishes.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from midstream.attractor import System, lyapunov_spectrum, systems

#: Steps at which RK4's own share in the sum of exponents is below 1e-6.
DT = {"lorenz": 0.00125, "rossler": 0.0025, "chua": 0.001}

REFERENCES = "attractor/reference_values.json"


def build(row: dict[str, Any]) -> System:
    name = {"duffing_two_well": "duffing"}.get(row["system"], row["system"])
    return systems.get(name, **row["parameters"])


def measured(system: System, row: dict[str, Any]) -> Any:
    flow = system.kind == "flow"
    steps = 800_000 if flow else 1_000_000
    if system.dim > 10:
        steps = 40_000 if flow else 200_000
    if row["system"] in ("linear_flow_2d", "linear_map_2d"):
        steps = 100_000 if flow else 4000
    if system.name == "standard_map":
        # Its chaotic orbits stick to islands for long.
        steps = 6_000_000
    start = row["initial_condition"]
    if system.dim > 10 or (start is not None and len(start) != system.dim):
        start = None
    return lyapunov_spectrum(
        system,
        start,
        dt=DT.get(system.name, system.dt) if flow else None,
        steps=steps,
        transient=min(steps // 10, 50_000),
        k=min(system.dim, 4),
    )


def test_exponents_are_the_references(shared_data: Any) -> None:
    rows = json.loads(shared_data(REFERENCES).read_text("utf-8"))
    seen: dict[str, tuple[System, Any]] = {}
    compared = set()
    for row in rows:
        if row["quantity"] not in ("lambda1", "lyapunov_spectrum", "kaplan_yorke"):
            continue
        system = build(row)
        key = json.dumps([row["system"], row["parameters"], row["initial_condition"]])
        if key not in seen:
            seen[key] = system, measured(system, row)
        found = seen[key][1]
        where = f"{row['system']} {row['parameters']} {row['quantity']}: {found}"
        if row["quantity"] == "kaplan_yorke":
            if system.dim > 10:
                continue
            dimension = found.kaplan_yorke + (1 if system.name == "duffing" else 0)
            # An error of the exponents moves the dimension by about that over the last one.
            error = 4 * found.stderr.max() / abs(found.exponents[-1]) + row["tolerance"]
            assert dimension == pytest.approx(row["value"], abs=error), where
            continue
        expected = np.atleast_1d(row["value"])
        tolerance = np.atleast_1d(row["tolerance"])
        ours = found.exponents[: len(expected)]
        error = np.nan_to_num(found.stderr[: len(expected)])
        allowed = np.maximum(0.005 * np.abs(expected), tolerance) + 2 * error
        assert (np.abs(ours - expected) <= allowed).all(), where
        compared.add(row["system"])
    assert len(compared) >= 25


def test_sums_are_the_mean_divergence(shared_data: Any) -> None:
    """To 1e-6, and to the closed form where there is one."""
    rows = json.loads(shared_data(REFERENCES).read_text("utf-8"))
    checked = 0
    for row in rows:
        if row["quantity"] != "lyapunov_spectrum":
            continue
        system = build(row)
        steps = 3000 if row["system"] in ("linear_flow_2d", "linear_map_2d") else 60_000
        found = lyapunov_spectrum(
            system,
            row["initial_condition"],
            dt=DT.get(system.name, system.dt) if system.kind == "flow" else None,
            steps=steps,
            transient=steps // 10,
        )
        total = found.exponents.sum()
        assert total == pytest.approx(found.divergence, abs=1e-6), row["system"]
        if "mean_divergence" in row:
            assert total == pytest.approx(row["mean_divergence"], abs=1e-6), row["system"]
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", ["lorenz", "rossler", "halvorsen", "thomas", "van_der_pol"])
def test_flows_have_a_zero_exponent(name: str) -> None:
    found = lyapunov_spectrum(systems.get(name), dt=DT.get(name), steps=400_000, transient=20_000)
    index = int(np.argmin(np.abs(found.exponents)))
    assert abs(found.exponents[index]) <= 2 * found.stderr[index]


@pytest.mark.parametrize("name", ["henon_heiles", "double_pendulum"])
def test_hamiltonian_exponents_pair(name: str) -> None:
    system = systems.get(name)
    found = lyapunov_spectrum(system, dt=system.dt / 2, steps=600_000, transient=10_000)
    exponents = found.exponents
    assert exponents[0] > 0.01
    assert exponents + exponents[::-1] == pytest.approx(np.zeros(4), abs=1e-6)
    assert np.abs(exponents[1:3]).max() <= 2 * found.stderr[1] + 1e-3
    assert exponents.sum() == pytest.approx(0, abs=1e-6)


def test_lorenz96_sum(shared_data: Any) -> None:
    """Forty exponents add up to -40."""
    found = lyapunov_spectrum(systems.lorenz96(), dt=0.004, steps=4000, transient=2000)
    assert found.exponents.sum() == pytest.approx(-40, abs=2e-6)
    assert found.divergence == pytest.approx(-40, abs=1e-9)
