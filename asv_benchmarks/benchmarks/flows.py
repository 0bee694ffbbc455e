"""Trajectories, ensembles and exponents of Lorenz' system."""

from __future__ import annotations

import numpy as np

from midstream.attractor import System, ensemble, integrate, lyapunov_spectrum, solve, systems

from ._timing import SIZE

DT = 0.01


def starts(count: int) -> np.ndarray:
    """Starts around the attractor."""
    return np.random.default_rng(0).normal(size=(count, 3)) * [8, 8, 8] + [0, 0, 25]


def interpreted() -> System:
    """Lorenz' system with a summand that no built-in one has, so that nothing compiled is found.

    The summand is 0 to rounding and one instruction of 28: what is timed is the interpreter.
    """
    return System(
        ["sigma*(y - x)", "x*(rho - z) - y + 1e-300*x", "x*y - beta*z"],
        params={"sigma": 10, "rho": 28, "beta": 8 / 3},
    )


class Flows:
    def setup(self):
        self.lorenz, self.text = systems.lorenz(), interpreted()
        assert self.lorenz.native and not self.text.native
        self.steps = max(SIZE, 1000)
        self.out = np.empty((self.steps + 1, 3))
        self.starts = starts(1024)

    def time_integrate(self):
        integrate(self.lorenz, [1, 1, 1], dt=DT, steps=self.steps, out=self.out)

    def time_integrate_text(self):
        integrate(self.text, [1, 1, 1], dt=DT, steps=self.steps, out=self.out)

    def time_ensemble(self):
        ensemble(self.lorenz, self.starts, dt=DT, steps=100)

    def time_ensemble_text(self):
        ensemble(self.text, self.starts, dt=DT, steps=100)

    def time_solve(self):
        solve(self.lorenz, [1, 1, 1], t_span=(0, 10), rtol=1e-8, atol=1e-10)

    def time_spectrum(self):
        lyapunov_spectrum(self.lorenz, [1, 1, 1], dt=DT, steps=self.steps)

    def time_spectrum_lorenz96(self):
        lyapunov_spectrum(systems.lorenz96(), steps=200)
