"""`midstream.attractor`: exponents, delay coordinates and surrogates of a series."""

from __future__ import annotations

import numpy as np

from midstream.attractor import (
    cao_dimension,
    lyapunov,
    lyapunov_spectrum_from_data,
    mutual_information_delay,
    surrogates,
)

#: Of Lorenz (10, 28, 8/3), nats per time.
LORENZ = 0.9056


def lorenz_series(n: int, dt: float = 0.05) -> np.ndarray:
    """First coordinate, by Runge-Kutta steps of a hundredth."""
    substeps = round(dt / 0.01)

    def rate(s: np.ndarray) -> np.ndarray:
        x, y, z = s
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    state, out, h = np.array([1.0, 1.0, 20.0]), np.empty(n), dt / substeps
    for i in range(-400, n):
        if i >= 0:
            out[i] = state[0]
        for _ in range(substeps):
            a = rate(state)
            b = rate(state + h / 2 * a)
            c = rate(state + h / 2 * b)
            d = rate(state + h * c)
            state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return out


class Exponent:
    params = ((2000, 5000, 20000), (0.0, 0.05))
    param_names = ("n", "noise")

    def setup(self, n, noise):
        x = lorenz_series(n)
        self.x = x + noise * x.std() * np.random.default_rng(0).normal(size=n)
        found = lyapunov(self.x, dt=0.05)
        assert found.verdict == "chaotic"
        assert found.ci[0] < LORENZ < found.ci[1]

    def time_lyapunov(self, n, noise):
        lyapunov(self.x, dt=0.05)

    def time_lyapunov_kantz(self, n, noise):
        lyapunov(self.x, dt=0.05, method="kantz")


class Series:
    def setup(self):
        self.x = lorenz_series(5000)
        assert lyapunov_spectrum_from_data(self.x, dt=0.05, emb_dim=3).exponents[0] > 0.7

    def time_spectrum(self):
        lyapunov_spectrum_from_data(self.x, dt=0.05, emb_dim=3)

    def time_mutual_information_delay(self):
        mutual_information_delay(self.x)

    def time_cao_dimension(self):
        cao_dimension(self.x, 4)

    def time_iaaft(self):
        surrogates(self.x, "iaaft", 1)

    def time_pseudoperiodic(self):
        surrogates(self.x, "pseudoperiodic", 19, emb_dim=4, delay=4)
