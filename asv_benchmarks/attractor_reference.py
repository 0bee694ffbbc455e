"""Lyapunov exponents of known systems against their references: the table that is published.

    python asv_benchmarks/attractor_reference.py                    half a minute
    python asv_benchmarks/attractor_reference.py --full             some ten minutes, small errors
    python asv_benchmarks/attractor_reference.py --full --markdown  write attractor_reference.md too

References come from ``attractor/reference_values.json`` in the test data: the folder that
MIDSTREAM_TEST_DATA names, else ``shared/data`` beside the checkout. Every other figure is measured
here. A row is good where each exponent is within 0.5 % or two standard errors of its reference.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from midstream.attractor import Spectrum, System, lyapunov_spectrum, systems

HERE = Path(__file__).parent

#: Steps at which RK4's own share in the sum of exponents is below 1e-6; others are so by default.
DT = {
    "lorenz": 0.0025,
    "lorenz 16 45.92 4": 0.00125,
    "rossler": 0.005,
    "rossler 0.15 0.2 10": 0.0025,
    "chua": 0.001,
    "lorenz96": 0.004,
}
#: Whose state grows until it overflows: few steps.
SHORT = {"linear_flow_2d": 200_000, "linear_map_2d": 4000}

#: Exponents that the JSON does not list, in closed form.
CLOSED: list[dict[str, Any]] = [
    {
        "system": "continued_fraction",
        "value": math.pi**2 / (6 * math.log(2)),
        "source": "pi^2/(6 ln 2)",
    },
    {"system": "cubic_map", "value": math.log(3), "source": "ln 3"},
    {"system": "cusp", "value": 0.5, "source": "1/2"},
]

#: What popular sources say of these, and why it is wrong.
WRONG = {
    "lorenz 10 28 2.667": "nolds expects 2.4013 (`datasets.lorenz_lyap`): that is Leonov's "
    "dimension; dysts' exponents sum to -13.79, the trace is -13.667",
    "lorenz 10 20 2.667": "a ChaosTools test expects 0; a stable fixed point has no zero exponent",
    "lorenz 16 45.92 4": "-32.4 bits = -22.46 is often quoted; it misses the trace -21 by 0.04",
    "arnold_cat": "PredefinedDynamicalSystems.jl lists the eigenvalues 2.618, 0.382 as exponents",
    "folded_towel": "PredefinedDynamicalSystems.jl lists -3.746; the mean of ln|det J| excludes it",
    "logistic 3.8": "pynamicalsys prints 0.4405, after 5000 iterations",
    "lorenz96 40 8": "dysts' exponents sum to -2.95; the trace is minus the number of sites",
}


@dataclass
class Row:
    """One system with parameters and start, and what its exponents should be."""

    label: str
    system: System
    x0: list[float] | None
    expected: list[float]
    tolerance: list[float]
    confidence: str
    source: str
    name: str
    found: Spectrum | None = None
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def difference(self) -> np.ndarray:
        return np.abs(self.exponents - self.expected)

    @property
    def exponents(self) -> np.ndarray:
        assert self.found is not None
        return self.found.exponents[: len(self.expected)]

    @property
    def errors(self) -> np.ndarray:
        assert self.found is not None
        return np.nan_to_num(self.found.stderr[: len(self.expected)])

    @property
    def verdict(self) -> str:
        """``ok``, ``in source's error`` or ``DIFFERS``."""
        expected = np.abs(self.expected)
        # Rounding is not sampled: 1e-9 for exponents that are the same in every step.
        close = self.difference <= np.maximum(
            np.maximum(0.005 * expected, 2 * self.errors), 1e-9 + self.slow
        )
        if close.all():
            return "ok"
        allowed = self.difference <= np.add(self.tolerance, 2 * self.errors)
        return "in source's error" if allowed.all() else "DIFFERS"

    @property
    def slow(self) -> float:
        """Where a direction does not grow exponentially its exponent goes to 0 as ln(T)/T."""
        assert self.found is not None
        algebraic = self.name in ("torus_rotation", "circle_rotation") or "regular" in self.label
        return math.log(self.found.time) / self.found.time if algebraic else 0.0


def test_data() -> Path:
    named = os.environ.get("MIDSTREAM_TEST_DATA")
    return Path(named) if named else HERE.parents[1] / "shared" / "data"


def build(entry: dict[str, Any]) -> System:
    name = {"duffing_two_well": "duffing"}.get(entry["system"], entry["system"])
    params = {key: value for key, value in entry.get("parameters", {}).items() if key != "energy"}
    if name == "kaplan_yorke_map":
        params.pop("short", None)
    return systems.get(name, **params)


def references() -> list[Row]:
    listed = json.loads((test_data() / "attractor" / "reference_values.json").read_text("utf-8"))
    best: dict[str, Row] = {}
    for entry in [*listed, *CLOSED]:
        quantity = entry.get("quantity", "lambda1")
        if quantity not in ("lambda1", "lyapunov_spectrum"):
            continue
        system = build(entry)
        expected = np.atleast_1d(entry["value"]).tolist()
        numbers = [f"{value:.4g}" for value in entry.get("parameters", {}).values()]
        label = " ".join([system.name, *numbers])
        start = entry.get("initial_condition")
        if system.name == "standard_map":
            label += " regular" if start and start[0] > 3 else ""
        if system.name == "lorenz96":
            start = None
        if system.name == "mackey_glass":
            start = None
        if system.name == "lorenz" and "10 28" in label:
            start = None
        row = Row(
            label=label,
            system=system,
            x0=start,
            expected=expected,
            tolerance=np.atleast_1d(entry.get("tolerance", 1e-9)).tolist(),
            confidence=entry.get("confidence", "exact"),
            source=entry["source"],
            name=system.name,
        )
        # A whole spectrum says more than its first exponent.
        if label not in best or len(expected) > len(best[label].expected):
            best[label] = row
    return list(best.values())


def measure(row: Row, full: bool) -> None:
    system = row.system
    flow = system.kind == "flow"
    steps = 2_000_000 if flow else 4_000_000
    if system.dim > 10:
        steps //= 20
    if full:
        steps *= 50 if row.name != "standard_map" else 100
    k = min(system.dim, max(len(row.expected), 3))
    if row.name == "lorenz96":
        k = system.dim
    dt = DT.get(row.label, DT.get(row.name, system.dt)) if flow else None
    steps = SHORT.get(row.name, steps)
    transient = min(steps // 20, 100_000)
    began = time.perf_counter()
    row.found = lyapunov_spectrum(system, row.x0, dt=dt, steps=steps, transient=transient, k=k)
    row.seconds = time.perf_counter() - began


def hamiltonian(full: bool) -> list[tuple[str, Spectrum]]:
    steps = 100_000_000 if full else 2_000_000
    return [
        (name, lyapunov_spectrum(systems.get(name), steps=steps, transient=10_000))
        for name in ("henon_heiles", "double_pendulum")
    ]


def numbers(values: Any, digits: int) -> str:
    shown = [f"{value:.{digits}g}" for value in values]
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def pair(value: float, error: float) -> str:
    """A number with its standard error, to the digits that the error allows."""
    if not error > 1e-12:
        return f"{value:.9g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"


def cells(row: Row) -> list[str]:
    found = row.found
    assert found is not None
    ours = ", ".join(
        pair(value, error) for value, error in zip(row.exponents, row.errors, strict=True)
    )
    # Where every step says the same there is nothing to sample, and no standard error.
    ratio = [
        f"{difference / error:.1f}" if error > 1e-9 else "-"
        for difference, error in zip(row.difference, row.errors, strict=True)
    ]
    whole = len(found.exponents) == row.system.dim and not math.isnan(found.divergence)
    mismatch = f"{abs(found.exponents.sum() - found.divergence):.1e}" if whole else ""
    return [
        row.label,
        numbers(row.expected, 7),
        row.confidence,
        ours,
        ", ".join(ratio),
        mismatch,
        row.verdict,
    ]


HEADER = [
    "system, parameters",
    "reference",
    "reference is",
    "measured",
    "differs by, SE",
    "|sum - mean divergence|",
    "verdict",
]


def zero_exponents(rows: list[Row]) -> list[tuple[str, float, float]]:
    """(label, exponent, error) of flows that move on: the one nearest 0."""
    result = []
    for row in rows:
        found = row.found
        assert found is not None
        fixed = row.name.startswith("linear") or row.name == "torus_rotation"
        driven = not row.system.autonomous
        at_rest = row.label.startswith("lorenz 10 20")
        if row.system.kind == "flow" and not (fixed or driven or at_rest):
            index = int(np.argmin(np.abs(found.exponents)))
            result.append((row.label, found.exponents[index], found.stderr[index]))
    return result


def markdown(rows: list[Row], pairs: list[tuple[str, Spectrum]], full: bool) -> str:
    command = "python asv_benchmarks/attractor_reference.py" + (" --full" if full else "")
    seconds = sum(row.seconds for row in rows)
    lines = [
        "# Lyapunov exponents against their references",
        "",
        f"Measured by `{command} --markdown`, seed 0, on {platform.machine()}, {seconds:.0f} s in "
        "all. Nats per unit of time, or per iteration. A ± is one standard error. *ok*: each "
        "exponent within 0.5 % or two standard errors of the reference; *in source's error*: not "
        "that, but within what the source itself allows. A dash in place of a ratio: every step "
        "grows alike, there is nothing to sample. A reference is *exact* (closed form), "
        "*published*, or *recompute*: an independent long run, or a quote nobody has verified.",
        "",
        "| " + " | ".join([*HEADER[:5], "sum less mean divergence", HEADER[6]]) + " |",
        "|" + "---|" * len(HEADER),
    ]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    good = sum(row.verdict == "ok" for row in rows)
    names = {row.name for row in rows if row.verdict == "ok"}
    lines += ["", f"{good} of {len(rows)} rows ok, {len(names)} different systems.", ""]
    zeros = zero_exponents(rows)
    inside = sum(abs(value) <= 2 * error + 1e-12 for _, value, error in zeros)
    lines += [
        "## The zero exponent of flows",
        "",
        f"{inside} of {len(zeros)} within two standard errors of 0.",
        "",
        "| system, parameters | exponent | in SE |",
        "|---|---|---|",
        *(
            f"| {label} | {value:.2e} ± {error:.1e} | "
            f"{abs(value / error) if error > 1e-12 else 0:.1f} |"
            for label, value, error in zeros
        ),
        "",
        "## Pairs of Hamiltonian systems",
        "",
        "| system | exponents | sums of pairs | sum less mean divergence |",
        "|---|---|---|---|",
    ]
    for name, found in pairs:
        exponents, errors = found.exponents, found.stderr
        shown = ", ".join(pair(*both) for both in zip(exponents, errors, strict=True))
        sums = ", ".join(f"{value:.1e}" for value in (exponents + exponents[::-1])[:2])
        mismatch = exponents.sum() - found.divergence
        lines.append(f"| {name} | {shown} | {sums} | {mismatch:.1e} |")
    lines += ["", "## Where popular sources are wrong", ""]
    for row in rows:
        if row.label in WRONG:
            lines.append(f"* {row.label}: {WRONG[row.label]}. Measured: {cells(row)[3]}.")
    lines += ["", "## Sources", ""]
    lines += [f"* {row.label}: {row.source}" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="fifty times as long")
    parser.add_argument("--markdown", action="store_true", help="write attractor_reference.md")
    parser.add_argument("--only", default="", help="systems whose name contains this")
    arguments = parser.parse_args()
    console = Console()
    rows = [row for row in references() if arguments.only in row.label]
    with console.status("") as status:
        for row in rows:
            status.update(row.label)
            measure(row, arguments.full)
        status.update("Hamiltonian systems")
        pairs = [] if arguments.only else hamiltonian(arguments.full)
    table = Table(*HEADER, title="Lyapunov exponents against their references")
    for row in rows:
        colour = {"ok": "green", "DIFFERS": "red"}.get(row.verdict, "yellow")
        shown = cells(row)
        table.add_row(*shown[:-1], f"[{colour}]{shown[-1]}[/]")
    console.print(table)
    for row in rows:
        if row.label in WRONG:
            console.print(f"{row.label}: {WRONG[row.label]}", highlight=False)
    for label, value, error in zero_exponents(rows):
        if abs(value) > 2 * error + 1e-12:
            console.print(f"zero exponent of {label}: {value:.2e}, {abs(value / error):.1f} SE")
    for name, found in pairs:
        console.print(name, found, found.exponents + found.exponents[::-1])
    good = sum(row.verdict == "ok" for row in rows)
    console.print(f"{good} of {len(rows)} ok, {sum(row.seconds for row in rows):.0f} s")
    if arguments.markdown:
        path = HERE / "attractor_reference.md"
        path.write_text(markdown(rows, pairs, arguments.full), "utf-8")
        console.print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
