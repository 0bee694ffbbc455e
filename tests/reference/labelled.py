"""Starts whose attractor is known: systems by their equations, and series.

Each system has a source for its regimes. `starts` spreads every entry over several initial
conditions around the one given (by at most `scatter`, inside the basin), so that no answer hangs on
one orbit. Labels are those of `midstream.attractor.classify`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from midstream.attractor.integration import integrate
from midstream.attractor.system import System


@dataclass(frozen=True)
class Regime:
    """A system at one setting: parameters, a start, and what it does there."""

    params: dict[str, float]
    x0: tuple[float, ...]
    kind: str
    period: float | None = None
    scatter: float = 0.05
    starts: int = 2


@dataclass(frozen=True)
class Family:
    name: str
    equations: tuple[str, ...]
    variables: tuple[str, ...]
    kind: str
    dt: float
    #: Time from one sample of a series to the next, in steps.
    every: int
    #: Time to leave out before anything is looked at, in steps.
    transient: int
    regimes: tuple[Regime, ...]
    source: str
    #: One turn, where the variables are angles: recorded are then their cosines and sines.
    turn: float | None = None
    #: Whether the first component knows of all that goes on.
    telling: bool = True


@dataclass(frozen=True)
class Case:
    """One start."""

    name: str
    family: Family
    regime: Regime
    x0: tuple[float, ...]

    @property
    def label(self):
        return self.regime.kind


FIXED, CYCLE, TORUS, STRANGE = "fixed_point", "limit_cycle", "torus", "strange"
HYPER, NOISE = "hyperchaotic", "noise"
R = Regime


def _lorenz96(n):
    return tuple(f"(x{(i + 1) % n} - x{(i - 2) % n})*x{(i - 1) % n} - x{i} + F" for i in range(n))


def _numbered(n):
    return tuple(f"x{i}" for i in range(n))


FAMILIES = (
    Family(
        "lorenz",
        ("sigma*(y - x)", "x*(rho - z) - y", "x*y - beta*z"),
        ("x", "y", "z"),
        "flow",
        0.005,
        6,
        20_000,
        tuple(
            R({"sigma": 10.0, "beta": 8 / 3, "rho": rho}, x0, kind, period, scatter, starts)
            for rho, x0, kind, period, scatter, starts in (
                (0.5, (1.0, 1.0, 1.0), FIXED, None, 0.5, 2),
                (10.0, (1.0, 1.0, 1.0), FIXED, None, 0.2, 2),
                (20.0, (1.0, 1.0, 1.0), FIXED, None, 0.2, 3),
                # Between 24.06 and 24.74 two equilibria are stable beside the strange set.
                (24.3, (7.9, 7.9, 23.3), FIXED, None, 0.02, 2),
                (24.3, (1.0, 14.0, 16.0), STRANGE, None, 0.02, 2),
                (28.0, (1.0, 1.0, 1.0), STRANGE, None, 0.5, 6),
                (45.0, (1.0, 1.0, 1.0), STRANGE, None, 0.5, 3),
                (100.5, (1.0, 5.0, 80.0), CYCLE, None, 0.5, 2),
                (160.0, (1.0, 5.0, 140.0), CYCLE, None, 0.5, 2),
                (350.0, (1.0, 5.0, 300.0), CYCLE, None, 0.5, 2),
            )
        ),
        "Sparrow, The Lorenz Equations, 1982: ranges of rho; Lorenz 1963",
    ),
    Family(
        "rossler",
        ("-y - z", "x + a*y", "b + z*(x - c)"),
        ("x", "y", "z"),
        "flow",
        0.02,
        6,
        50_000,
        tuple(
            R({"a": a, "b": b, "c": c}, (1.0, 1.0, 1.0), kind, period, 0.3, starts)
            for a, b, c, kind, period, starts in (
                (0.2, 0.2, 2.5, CYCLE, None, 2),
                (0.2, 0.2, 3.5, CYCLE, None, 2),
                (0.2, 0.2, 4.0, CYCLE, None, 2),
                (0.2, 0.2, 5.7, STRANGE, None, 4),
                (0.15, 0.2, 10.0, STRANGE, None, 2),
                (0.1, 0.1, 14.0, STRANGE, None, 2),
                (0.1, 0.1, 4.0, CYCLE, None, 1),
                (0.1, 0.1, 6.0, CYCLE, None, 1),
            )
        ),
        "Rossler 1976; Strogatz, Nonlinear Dynamics and Chaos, 12.3: one, two and four turns",
    ),
    Family(
        "van_der_pol",
        ("y", "mu*(1 - x^2)*y - x"),
        ("x", "y"),
        "flow",
        0.01,
        10,
        20_000,
        tuple(
            R({"mu": mu}, (2.0, 0.0), CYCLE, period, 0.5, 1)
            for mu, period in (
                (0.1, 6.287),
                (0.5, 6.3807),
                (1.0, 6.6632868593),
                (2.0, 7.6299),
                (4.0, 10.2035),
            )
        ),
        "van der Pol 1926; periods by runs at order 8, 1e-12",
    ),
    Family(
        "stuart_landau",
        ("r2 = x*x + y*y", "mu*x - omega*y - x*r2", "omega*x + mu*y - y*r2"),
        ("x", "y"),
        "flow",
        0.01,
        10,
        20_000,
        (
            R({"mu": 1.0, "omega": 1.0}, (0.1, 0.0), CYCLE, 2 * np.pi, 0.05, 2),
            R({"mu": 0.3, "omega": 2.5}, (0.1, 0.0), CYCLE, 2 * np.pi / 2.5, 0.05, 2),
            R({"mu": -0.3, "omega": 2.5}, (1.0, 0.0), FIXED, None, 0.5, 2),
        ),
        "closed form",
    ),
    Family(
        "thomas",
        ("sin(y) - b*x", "sin(z) - b*y", "sin(x) - b*z"),
        ("x", "y", "z"),
        "flow",
        0.05,
        8,
        40_000,
        (
            R({"b": 1.2}, (0.5, 0.2, 0.1), FIXED),
            R({"b": 0.5}, (0.5, 0.2, 0.1), FIXED),
            R({"b": 0.3}, (1.0, 0.2, 0.1), CYCLE),
            R({"b": 0.18}, (0.1, 0.0, 0.0), STRANGE, starts=3),
        ),
        "Thomas 1999; Sprott and Chlouverakis 2007",
    ),
    Family(
        "halvorsen",
        ("-a*x - b*y - b*z - y^2", "-a*y - b*z - b*x - z^2", "-a*z - b*x - b*y - x^2"),
        ("x", "y", "z"),
        "flow",
        0.003,
        10,
        20_000,
        (R({"a": 1.27, "b": 4.0}, (-5.0, 0.0, 0.0), STRANGE, starts=3),),
        "Sprott, Chaos and Time-Series Analysis, 2003",
    ),
    Family(
        "chua",
        (
            "g = m1*x + 0.5*(m0 - m1)*(abs(x + 1) - abs(x - 1))",
            "alpha*(y - x - g)",
            "x - y + z",
            "-beta*y",
        ),
        ("x", "y", "z"),
        "flow",
        0.005,
        15,
        20_000,
        (
            R(
                {"alpha": 9.0, "beta": 100 / 7, "m0": -8 / 7, "m1": -5 / 7},
                (0.0, 0.0, 0.6),
                STRANGE,
                scatter=0.01,
                starts=3,
            ),
        ),
        "Matsumoto, Chua and Komuro 1985",
    ),
    Family(
        "jerk",
        ("y", "z", "-A*z + y^2 - x"),
        ("x", "y", "z"),
        "flow",
        0.02,
        12,
        20_000,
        (R({"A": 2.017}, (-0.9, 0.0, 0.5), STRANGE, scatter=0.0, starts=1),),
        "Sprott 1997, Some simple chaotic jerk functions",
    ),
    Family(
        "hyper_rossler",
        ("-y - z", "x + a*y + w", "b + x*z", "-c*z + d*w"),
        ("x", "y", "z", "w"),
        "flow",
        0.01,
        10,
        20_000,
        (
            R(
                {"a": 0.25, "b": 3.0, "c": 0.5, "d": 0.05},
                (-10.0, -6.0, 0.0, 10.0),
                HYPER,
                scatter=0.1,
                starts=6,
            ),
        ),
        "Rossler 1979, An equation for hyperchaos: exponents 0.11, 0.02, 0, -25",
    ),
    Family(
        "lorenz96_4",
        _lorenz96(4),
        _numbered(4),
        "flow",
        0.01,
        5,
        20_000,
        (
            R({"F": 0.5}, (0.6, 0.5, 0.5, 0.5), FIXED),
            R({"F": 12.0}, (12.1, 12.0, 12.0, 12.0), STRANGE, starts=2),
        ),
        "van Kekem and Sterk 2018, Travelling waves and their bifurcations in the Lorenz-96 model",
    ),
    Family(
        "lorenz96_10",
        _lorenz96(10),
        _numbered(10),
        "flow",
        0.01,
        5,
        10_000,
        (
            R({"F": 0.5}, (0.6,) + (0.5,) * 9, FIXED),
            R({"F": 8.0}, (8.1,) + (8.0,) * 9, HYPER, starts=3),
            R({"F": 10.0}, (10.1,) + (10.0,) * 9, HYPER, starts=3),
        ),
        "Karimi and Paul 2010, Extensive chaos in the Lorenz-96 model",
    ),
    Family(
        "henon_heiles",
        ("px", "py", "-x - 2*x*y", "-y - x^2 + y^2"),
        ("x", "y", "px", "py"),
        "flow",
        0.02,
        10,
        0,
        (
            R({}, (0.0, 0.483, 0.27898039, 0.0), TORUS, scatter=0.0, starts=1),
            R({}, (0.1, 0.1, 0.2, 0.1), TORUS, scatter=0.02, starts=3),
            # Inside an island: neighbours part by 3.0 nats in 1e6 steps, and in 1e7.
            R({}, (0.0, 0.1, 0.5, 0.0), TORUS, scatter=0.0, starts=1),
            R({}, (0.0, -0.15, 0.5294, 0.1), STRANGE, scatter=0.02, starts=3),
        ),
        "Henon and Heiles 1964: E <= 1/12 regular, E = 1/8 and more chaotic between the islands",
    ),
    Family(
        "two_oscillators",
        (
            "r2 = x*x + y*y",
            "s2 = u*u + v*v",
            "x - w1*y - x*r2",
            "w1*x + y - y*r2",
            "u - w2*v - u*s2",
            "w2*u + v - v*s2",
        ),
        ("x", "y", "u", "v"),
        "flow",
        0.02,
        10,
        5_000,
        (
            R({"w1": 1.0, "w2": 2**0.5}, (1.0, 0.1, 0.5, 0.5), TORUS, starts=3),
            R({"w1": 1.0, "w2": (5**0.5 - 1) / 2}, (1.0, 0.1, 0.5, 0.5), TORUS, starts=3),
            R({"w1": 1.0, "w2": np.e / 2}, (1.0, 0.1, 0.5, 0.5), TORUS, starts=2),
            R({"w1": 1.0, "w2": 2.0}, (1.0, 0.1, 0.5, 0.5), CYCLE, 2 * np.pi, starts=2),
            R({"w1": 2.0, "w2": 3.0}, (1.0, 0.1, 0.5, 0.5), CYCLE, 2 * np.pi, starts=2),
        ),
        "closed form: two uncoupled Stuart-Landau oscillators",
        telling=False,
    ),
    Family(
        "coupled_van_der_pol",
        ("y", "mu*(1 - x^2)*y - x + k*(u - x)", "v", "mu*(1 - u^2)*v - d*u + k*(x - u)"),
        ("x", "y", "u", "v"),
        "flow",
        0.02,
        10,
        20_000,
        (
            R({"mu": 0.2, "d": 2.0, "k": 0.02}, (2.0, 0.0, 1.0, 0.0), TORUS, starts=3),
            R({"mu": 0.2, "d": 1.0, "k": 0.2}, (2.0, 0.0, 1.0, 0.0), CYCLE, starts=2),
        ),
        "Pikovsky, Rosenblum and Kurths, Synchronization, 2001: outside and inside the tongue",
    ),
    Family(
        "forced_linear",
        ("-x + cos(t) + A*cos(w*t)",),
        ("x",),
        "flow",
        0.02,
        10,
        2_000,
        (
            R({"A": 0.0, "w": 1.0}, (0.5,), CYCLE, 2 * np.pi, 0.3, 2),
            R({"A": 1.0, "w": 2**0.5}, (0.5,), TORUS, None, 0.3, 2),
        ),
        "closed form",
    ),
    Family(
        "forced_van_der_pol",
        ("y", "mu*(1 - x^2)*y - x + A*cos(w*t)"),
        ("x", "y"),
        "flow",
        0.02,
        10,
        20_000,
        (
            R({"mu": 1.0, "A": 0.3, "w": 1.7}, (2.0, 0.0), TORUS, starts=2),
            R({"mu": 1.0, "A": 1.5, "w": 1.0}, (2.0, 0.0), CYCLE, 2 * np.pi, starts=2),
        ),
        "Guckenheimer and Holmes 1983, 2.1: drift outside, locking inside the tongue",
    ),
    Family(
        "duffing",
        ("y", "x - x^3 - d*y + f*cos(t)"),
        ("x", "y"),
        "flow",
        0.01,
        20,
        20_000,
        (
            R({"d": 0.2, "f": 0.3}, (0.1, 0.25), STRANGE, scatter=0.02, starts=3),
            R({"d": 0.2, "f": 0.05}, (1.0, 0.0), CYCLE, 2 * np.pi, 0.02, 2),
            R({"d": 0.2, "f": 0.0}, (1.5, 0.0), FIXED, None, 0.05, 2),
        ),
        "Guckenheimer and Holmes 1983, 2.2",
    ),
    Family(
        "ueda",
        ("y", "-x^3 - k*y + B*cos(t)"),
        ("x", "y"),
        "flow",
        0.01,
        10,
        20_000,
        (R({"k": 0.05, "B": 7.5}, (2.5, 0.0), STRANGE, scatter=0.1, starts=2),),
        "Ueda 1979",
    ),
    Family(
        "brusselator",
        ("a + x^2*y - (b + 1)*x", "b*x - x^2*y"),
        ("x", "y"),
        "flow",
        0.01,
        10,
        20_000,
        (
            R({"a": 1.0, "b": 3.0}, (1.0, 1.0), CYCLE, 7.1569, 0.2, 2),
            R({"a": 1.0, "b": 1.5}, (1.0, 1.0), FIXED, None, 0.2, 2),
        ),
        "Prigogine and Lefever 1968: Hopf bifurcation at b = 1 + a^2",
    ),
    Family(
        "fitzhugh_nagumo",
        ("v - v^3/3 - w + I", "(v + 0.7 - 0.8*w)/12.5"),
        ("v", "w"),
        "flow",
        0.02,
        25,
        20_000,
        (
            R({"I": 0.5}, (0.0, 0.0), CYCLE, None, 0.2, 2),
            R({"I": 0.0}, (0.0, 0.0), FIXED, None, 0.2, 2),
        ),
        "FitzHugh 1961",
    ),
    Family(
        "oscillator",
        ("y", "-w*w*x - g*y"),
        ("x", "y"),
        "flow",
        0.01,
        20,
        0,
        (
            R({"w": 1.0, "g": 0.0}, (1.0, 0.0), CYCLE, 2 * np.pi, 0.3, 2),
            R({"w": 1.0, "g": 0.2}, (1.0, 0.0), FIXED, None, 0.3, 2),
        ),
        "closed form; without damping every orbit is periodic",
    ),
    Family(
        "logistic",
        ("r*x*(1 - x)",),
        ("x",),
        "map",
        1.0,
        1,
        5_000,
        tuple(
            R({"r": r}, (0.3,), kind, period, 0.1, starts)
            for r, kind, period, starts in (
                (0.5, FIXED, None, 1),
                (2.6, FIXED, None, 2),
                (3.2, CYCLE, 2, 2),
                (3.5, CYCLE, 4, 2),
                (3.55, CYCLE, 8, 2),
                (3.5660, CYCLE, 16, 1),
                (3.83, CYCLE, 3, 2),
                (3.74, CYCLE, 5, 2),
                (3.845, CYCLE, 6, 1),
                (3.6, STRANGE, None, 2),
                (3.7, STRANGE, None, 2),
                (3.8, STRANGE, None, 2),
                (3.9, STRANGE, None, 2),
                (4.0, STRANGE, None, 3),
            )
        ),
        "May 1976; Metropolis, Stein and Stein 1973: windows",
    ),
    Family(
        "henon",
        ("1 - a*x^2 + y", "b*x"),
        ("x", "y"),
        "map",
        1.0,
        1,
        5_000,
        tuple(
            R({"a": a, "b": 0.3}, (0.0, 0.0), kind, period, 0.05, starts)
            for a, kind, period, starts in (
                (0.2, FIXED, None, 2),
                (0.8, CYCLE, 2, 2),
                (1.0, CYCLE, 4, 2),
                (1.11, STRANGE, None, 2),
                (1.2, STRANGE, None, 2),
                (1.4, STRANGE, None, 5),
            )
        ),
        "Henon 1976; partially_predictable tests of ChaosTools.jl",
    ),
    Family(
        "standard",
        ("mod(x + y + k*sin(x), 2*pi)", "mod(y + k*sin(x), 2*pi)"),
        ("x", "y"),
        "map",
        1.0,
        1,
        0,
        (
            R({"k": 1.0}, (np.pi, 0.3), TORUS, scatter=0.05, starts=2),
            R({"k": 0.5}, (1.0, 3.9), TORUS, scatter=0.02, starts=3),
            R({"k": 5.0}, (0.1, 0.2), STRANGE, scatter=0.05, starts=3),
            R({"k": 8.0}, (0.1, 0.2), STRANGE, scatter=0.05, starts=3),
            R({"k": 2.0}, (0.001, 0.008), STRANGE, scatter=0.0, starts=1),
        ),
        "Chirikov 1979; golden circle up to k = 0.9716 (Greene)",
        2 * np.pi,
    ),
    Family(
        "circle",
        ("mod(x + W - K/(2*pi)*sin(2*pi*x), 1)",),
        ("x",),
        "map",
        1.0,
        1,
        2_000,
        (
            R({"W": 0.606661063, "K": 0.5}, (0.2,), TORUS, scatter=0.1, starts=2),
            R({"W": (5**0.5 - 1) / 2, "K": 0.0}, (0.2,), TORUS, scatter=0.1, starts=2),
            R({"W": 2**0.5 - 1, "K": 0.3}, (0.2,), TORUS, scatter=0.1, starts=2),
            R({"W": 0.5, "K": 0.9}, (0.2,), CYCLE, 2, 0.1, 2),
            R({"W": 0.05, "K": 0.9}, (0.2,), FIXED, None, 0.1, 2),
        ),
        "Arnold 1961; W = 0.606661 has the golden rotation number at K = 1",
        1.0,
    ),
    Family(
        "delayed_logistic",
        ("a*x*(1 - y)", "x"),
        ("x", "y"),
        "map",
        1.0,
        1,
        5_000,
        (
            R({"a": 1.9}, (0.4, 0.4), FIXED, None, 0.05, 2),
            R({"a": 2.1}, (0.4, 0.4), TORUS, None, 0.05, 3),
            R({"a": 2.27}, (0.4, 0.4), STRANGE, None, 0.02, 2),
        ),
        "Aronson, Chory, Hall and McGehee 1982",
    ),
    Family(
        "ikeda",
        (
            "s = 0.4 - 6/(1 + x^2 + y^2)",
            "1 + u*(x*cos(s) - y*sin(s))",
            "u*(x*sin(s) + y*cos(s))",
        ),
        ("x", "y"),
        "map",
        1.0,
        1,
        2_000,
        (R({"u": 0.9}, (0.1, 0.1), STRANGE, scatter=0.05, starts=3),),
        "Hammel, Jones and Moloney 1985",
    ),
    Family(
        "cat",
        ("mod(2*x + y, 1)", "mod(x + y, 1)"),
        ("x", "y"),
        "map",
        1.0,
        1,
        0,
        (R({}, (0.1234567, 0.2345678), STRANGE, scatter=0.02, starts=3),),
        "Arnold and Avez 1968",
        1.0,
    ),
    Family(
        "towel",
        (
            "3.8*x*(1 - x) - 0.05*(y + 0.35)*(1 - 2*z)",
            "0.1*((y + 0.35)*(1 - 2*z) - 1)*(1 - 1.9*x)",
            "3.78*z*(1 - z) + 0.2*y",
        ),
        ("x", "y", "z"),
        "map",
        1.0,
        1,
        2_000,
        (R({}, (0.085, -0.121, 0.075), HYPER, scatter=0.01, starts=5),),
        "Rossler 1979",
    ),
    Family(
        "generalised_henon",
        ("a - y^2 - b*z", "x", "y"),
        ("x", "y", "z"),
        "map",
        1.0,
        1,
        2_000,
        (R({"a": 1.76, "b": 0.1}, (0.1, 0.2, 0.3), HYPER, scatter=0.05, starts=4),),
        "Baier and Klein 1990, Maximum hyperchaos in generalized Henon maps",
    ),
    Family(
        "coupled_logistic",
        (
            "f = r*x*(1 - x)",
            "g = r*y*(1 - y)",
            "(1 - k)*f + k*g",
            "(1 - k)*g + k*f",
        ),
        ("x", "y"),
        "map",
        1.0,
        1,
        2_000,
        (
            R({"r": 3.9, "k": 0.0}, (0.3, 0.41), HYPER, scatter=0.05, starts=3),
            R({"r": 3.9, "k": 0.03}, (0.3, 0.41), HYPER, scatter=0.05, starts=3),
            # Above a half of 1 - exp(-lambda) the two run as one.
            R({"r": 3.8, "k": 0.4}, (0.3, 0.41), STRANGE, scatter=0.05, starts=2),
            R({"r": 3.5, "k": 0.4}, (0.3, 0.31), CYCLE, 4, 0.005, 2),
        ),
        "Kaneko 1993, Theory and Applications of Coupled Map Lattices",
    ),
)


def system_cases():
    """Every start of every system, in a fixed order."""
    cases = []
    for family in FAMILIES:
        for number, regime in enumerate(family.regimes):
            rng = np.random.default_rng(zlib.crc32(f"{family.name} {number}".encode()))
            for start in range(regime.starts):
                shift = rng.uniform(-regime.scatter, regime.scatter, len(regime.x0))
                x0 = np.asarray(regime.x0) + (shift if start else 0.0)
                text = ", ".join(f"{k}={v:.4g}" for k, v in regime.params.items())
                name = f"{family.name}({text}) start {start}"
                cases.append(Case(name, family, regime, tuple(float(v) for v in x0)))
    return cases


def system_of(case):
    """The case's system."""
    family = case.family
    return System(
        list(family.equations),
        variables=family.variables,
        params=case.regime.params,
        kind=family.kind,
        dt=family.dt if family.kind == "flow" else None,
        name=family.name,
    )


def points_of(case, samples):
    """Points (samples, d) that are recorded of a case, its transient left out."""
    family = case.family
    points = integrate(
        system_of(case),
        case.x0,
        transient=family.transient,
        steps=(samples - 1) * family.every,
        every=family.every,
    )
    if family.turn is None:
        return points
    angle = points * (2 * np.pi / family.turn)
    return np.hstack([np.cos(angle), np.sin(angle)])


@dataclass(frozen=True)
class Series:
    """Points with a label, and what they are."""

    name: str
    label: str
    points: np.ndarray
    dt: float
    period: float | None = None


def series_cases(samples=4000, *, noise=0.0, single=False, cases=None):
    """Points of every case, or their first component, and of noise; some noise on top of each."""
    found = []
    for number, case in enumerate(system_cases() if cases is None else cases):
        if single and (not case.family.telling or case.label == HYPER):
            continue
        points = points_of(case, samples)
        if single:
            points = points[:, :1]
        rng = np.random.default_rng(number)
        points = points + noise * points.std(axis=0) * rng.normal(size=points.shape)
        dt = case.family.dt * case.family.every
        found.append(Series(case.name, case.label, points, dt, case.regime.period))
    for seed in range(3 if cases is None else 1):
        for name, series in noise_series(samples, seed).items():
            found.append(Series(f"{name} {seed}", NOISE, series[:, None], 1.0))
    return found


def noise_series(n, seed):
    """{name: series (n,)} of stochastic processes: everything linear, nothing deterministic."""
    rng = np.random.default_rng(seed)

    def ar(*coefficients):
        x = np.zeros(n + 500)
        shocks = rng.normal(size=n + 500)
        for t in range(len(coefficients), n + 500):
            x[t] = sum(c * x[t - k - 1] for k, c in enumerate(coefficients)) + shocks[t]
        return x[500:]

    def coloured(exponent):
        frequency = np.fft.rfftfreq(4 * n)
        frequency[0] = frequency[1]
        wave = np.fft.rfft(rng.normal(size=4 * n)) * frequency ** (-exponent / 2)
        return np.fft.irfft(wave)[n : 2 * n]

    return {
        "white": rng.normal(size=n),
        "uniform": rng.uniform(size=n),
        "exponential": rng.exponential(size=n),
        "ar(0.5)": ar(0.5),
        "ar(0.9)": ar(0.9),
        "ar(0.98)": ar(0.98),
        "ar(-0.7)": ar(-0.7),
        "ar(1.6, -0.8)": ar(1.6, -0.8),
        "1/f": coloured(1.0),
        "1/f^1.5": coloured(1.5),
        "random walk": rng.normal(size=n).cumsum(),
    }
