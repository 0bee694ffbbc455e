"""`classify`: systems whose answer is quick and slow to find, and series."""

from __future__ import annotations

import numpy as np

from midstream.attractor import classify
from midstream.attractor.system import System

LORENZ = "10*(y - x); x*(rho - z) - y; x*y - 8/3*z"

SYSTEMS = {
    "Lorenz, chaotic": (System(LORENZ, params={"rho": 28.0}, dt=0.005), [1, 1, 1], "strange"),
    "Lorenz, at rest": (System(LORENZ, params={"rho": 10.0}, dt=0.005), [1, 1, 1], "fixed_point"),
    "van der Pol": (System("y; (1 - x^2)*y - x", dt=0.01), [2, 0], "limit_cycle"),
    "logistic, period 4": (System("3.5*x*(1 - x)", kind="map"), [0.3], "limit_cycle"),
    # Two exponents 0: the orbit has to be looked at.
    "two angles": (System("1; sqrt(2)", variables=("a", "b"), dt=0.02), [0, 0], "torus"),
    # A second exponent of 0.02 takes long runs to tell from 0.
    "Rossler, hyperchaotic": (
        System("-y - z; x + 0.25*y + w; 3 + x*z; -0.5*z + 0.05*w", dt=0.01),
        [-10, -6, 0, 10],
        "hyperchaotic",
    ),
}


class Systems:
    params = tuple(SYSTEMS)
    param_names = ("system",)

    def setup(self, system):
        self.system, self.start, kind = SYSTEMS[system]
        assert classify(self.system, self.start).kind == kind

    def time_classify(self, system):
        classify(self.system, self.start)


def _series(n: int) -> dict[str, tuple[np.ndarray, str]]:
    time = np.arange(n)
    rng = np.random.default_rng(0)
    logistic = np.empty(n)
    x = 0.3
    for k in range(n):
        x = 3.9 * x * (1 - x)
        logistic[k] = x
    return {
        "white noise": (rng.normal(size=n), "noise"),
        "logistic": (logistic, "strange"),
        "noisy sine": (np.sin(0.21 * time) + 0.02 * rng.normal(size=n), "limit_cycle"),
        "two sines": (np.sin(0.21 * time) + np.sin(0.21 * 2**0.5 * time), "torus"),
    }


class Series:
    params = ((1000, 4000), tuple(_series(10)))
    param_names = ("n", "series")

    def setup(self, n, series):
        self.series, kind = _series(n)[series]
        assert classify(self.series).kind == kind

    def time_classify(self, n, series):
        classify(self.series)
