"""The built-in systems' text: complete, well formed, bounded, and free of binary collapse."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import systems as oracle

from midstream.attractor import _catalogue
from midstream.attractor._catalogue import (
    CATALOGUE,
    Entry,
    lorenz96_equations,
    mackey_glass_equations,
)

ENTRIES = [pytest.param(entry, id=name) for name, entry in CATALOGUE.items()]


def test_reference_systems_are_there(shared_data) -> None:
    import json

    known = json.loads(shared_data("attractor/reference_values.json").read_text("utf-8"))
    renamed = {"duffing_two_well": "duffing"}
    lacking = {renamed.get(row["system"], row["system"]) for row in known} - set(CATALOGUE)
    assert not lacking


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_are_complete(entry: Entry) -> None:
    assert entry.name.isidentifier()
    assert entry.doc.endswith(".")
    assert entry.source
    assert (entry.dt is None) == (entry.kind == "map")
    assert entry.time_step > 0
    assert len(entry.x0) == len(entry.variables)
    words = {word for text in entry.equations for word in re.findall(r"[^\W\d]\w*", text)}
    assert set(entry.params) <= words
    definitions = {text.split("=")[0].strip() for text in entry.equations[: -len(entry.variables)]}
    # One name, one meaning: definitions, variables, parameters and functions never share any.
    groups = [definitions, set(entry.variables), set(entry.params), set(oracle.NAMES) | {"t"}]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert words <= set().union(*groups)
    assert ("t" in words) == bool(entry.period)


@pytest.mark.parametrize("entry", ENTRIES)
def test_starts_stay_in_bounds(entry: Entry) -> None:
    f = oracle.function(entry)
    if entry.kind == "flow":
        assert entry.dt is not None
        end = oracle.rk4(f, entry.x0, entry.dt, 300)
    else:
        end = oracle.iterate(f, entry.x0, 300)
    assert np.isfinite(end).all()
    if entry.regime != "unbounded":
        assert np.abs(end).max() < 1000


@pytest.mark.parametrize("name", ["doubling", "tent", "beta", "kaplan_yorke_map"])
def test_expanding_maps_do_not_collapse(name: str) -> None:
    """Binary doubling is 0 after about 55 steps; ours fills the interval as it should."""
    entry = CATALOGUE[name]
    f = oracle.function(entry)
    x: object = entry.x0
    seen = []
    for _ in range(5000):
        x = f(x)
        seen.append(float(x[0]))  # type: ignore[index]
    assert len(set(seen)) == 5000
    counts = np.histogram(seen, bins=10, range=(0, 1))[0]
    if name in ("doubling", "kaplan_yorke_map"):
        # Uniform: 500 in each bin; five standard deviations are 106.
        assert abs(counts - 500).max() < 106
    assert (counts > 0).sum() >= 8


def test_collapse_without_the_remedy() -> None:
    """What the remedy is against."""
    x = 0.1234567
    for _ in range(60):
        x = 2 * x % 1
    assert x == 0


def test_lorenz96_is_a_ring() -> None:
    for n in (4, 5, 40):
        entry = CATALOGUE["lorenz96"]
        ring = Entry(
            **{
                **vars(entry),
                "variables": tuple(f"x{i}" for i in range(n)),
                "equations": lorenz96_equations(n),
            }
        )
        x = np.random.default_rng(5).normal(size=n)
        expected = (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8
        assert oracle.function(ring)(x) == pytest.approx(expected)


def mackey_glass(steps: int, tau: float, end: float, history: float = 0.5) -> float:
    """x(end) from a constant history."""
    entry = CATALOGUE["mackey_glass"]
    several = Entry(
        **{
            **vars(entry),
            "variables": tuple(f"x{i}" for i in range(2 * steps + 1)),
            "equations": mackey_glass_equations(steps, tau / steps),
        }
    )
    count = round(end * steps / tau)
    assert count * tau / steps == pytest.approx(end)
    state = oracle.iterate(oracle.function(several), [history] * (2 * steps + 1), count)
    return float(state[0])


def test_mackey_glass_is_exact_in_the_first_delay() -> None:
    """While the history is constant the equation is linear."""
    fixed = 0.2 * 0.5 / (1 + 0.5**10) / 0.1
    exact = fixed + (0.5 - fixed) * math.exp(-0.1 * 17)
    assert mackey_glass(17, 17.0, 17.0) == pytest.approx(exact, abs=3e-7)
    assert mackey_glass(170, 17.0, 17.0) == pytest.approx(exact, abs=1e-10)


def test_mackey_glass_is_of_fourth_order() -> None:
    coarse, fine, finer = (mackey_glass(steps, 17.0, 102.0) for steps in (17, 34, 136))
    assert abs(coarse - finer) < 1e-6
    assert abs(fine - finer) < 1e-7
    assert abs(coarse - finer) / abs(fine - finer) > 8


def test_needs_only_the_standard_library() -> None:
    """setup.py reads the file while numpy may be missing."""
    path = Path(_catalogue.__file__)
    script = (
        "import sys, runpy; before = set(sys.modules);"
        f"runpy.run_path({str(path)!r});"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert told.strip() == ""
