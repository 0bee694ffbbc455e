"""Systems of known exponents and series that are not chaotic, for the calibration and its test."""

from __future__ import annotations

import numpy as np
from reference import orbits

Array = np.ndarray

#: Exponents in nats per time (maps: per step), as in the reference values of the literature.
EXPONENTS = {
    "lorenz.02": 0.9056,
    "lorenz.05": 0.9056,
    "lorenz.1": 0.9056,
    "rossler.1": 0.0714,
    "rossler.2": 0.0714,
    "henon": 0.41922,
    "mg17": 1 / 197,
    "mg23": 1 / 106,
    "mg30": 1 / 139,
    "logistic": 0.693147,
    "logistic38": 0.43218,
    "ikeda": 0.50752,
    "lorenz16": 1.50,
    "chua": 0.3271,
}
STEPS = {
    "lorenz.02": 0.02,
    "lorenz.05": 0.05,
    "lorenz.1": 0.1,
    "rossler.1": 0.1,
    "rossler.2": 0.2,
    "lorenz16": 0.02,
    "chua": 0.1,
}
COUNTING = tuple(name for name in EXPONENTS if name.startswith(("lorenz.", "ross", "henon", "mg")))
#: The constants in exponents.py were fitted to seeds 0 to 3 of these; the others are held out.
FITTED = (
    "lorenz.02",
    "lorenz.05",
    "rossler.1",
    "henon",
    "mg17",
    "mg30",
    "logistic",
    "lorenz16",
    "chua",
)
NOISES = (
    "white",
    "ar.5",
    "ar.9",
    "ar.99",
    "ar2",
    "pink",
    "f1.5",
    "walk",
    "fbm.3",
    "fbm.8",
    "smooth",
    "uniform",
    "cubed",
)
REGULAR = (
    "sine",
    "sum3",
    "torus2",
    "torus3",
    "product",
    "square",
    "sawtooth",
    "vdp1",
    "vdp5",
    "rotation",
    "period4",
)


def chaotic(name: str, n: int, seeds: range) -> Array:
    """Series, (len(seeds), n), of a system in `EXPONENTS`."""
    dt = STEPS.get(name, 1.0)
    if name.startswith("lorenz"):
        wide = name == "lorenz16"
        field = orbits.lorenz(16, 45.92, 4) if wide else orbits.lorenz(10, 28, 8 / 3)
        substeps = max(2, round(dt / 0.01) * (2 if wide else 1))
        return orbits.flow(field, [1, 1, 25], n, dt, seeds, substeps=substeps, transient=20)
    if name.startswith("rossler"):
        field = orbits.rossler(0.2, 0.2, 5.7)
        return orbits.flow(field, [1, 1, 1], n, dt, seeds, substeps=4, transient=200)
    if name == "chua":
        return orbits.flow(orbits.chua, [0.3, 0, 0], n, dt, seeds, substeps=8, transient=100)
    if name.startswith("mg"):
        return orbits.mackey_glass(n, dt, float(name[2:]), seeds)
    maps = {
        "henon": lambda: orbits.henon(n, seeds),
        "logistic": lambda: orbits.logistic(n, seeds),
        "logistic38": lambda: orbits.logistic(n, seeds, 3.8),
        "ikeda": lambda: orbits.ikeda(n, seeds),
    }
    return maps[name]()


def recursive(coefficients: list[float], n: int, rng: np.random.Generator) -> Array:
    """Autoregressive noise behind its transient."""
    x = np.zeros(n + 2000)
    shocks = rng.normal(size=len(x))
    for t in range(2, len(x)):
        x[t] = shocks[t] + sum(a * x[t - 1 - k] for k, a in enumerate(coefficients))
    return x[2000:]


def noise(name: str, n: int, rng: np.random.Generator) -> Array:
    period = rng.uniform(8, 60)
    made = {
        "white": lambda: rng.normal(size=n),
        "uniform": lambda: rng.uniform(size=n),
        "cubed": lambda: recursive([0.8], n, rng) ** 3,
        "ar.5": lambda: recursive([0.5], n, rng),
        "ar.9": lambda: recursive([0.9], n, rng),
        "ar.99": lambda: recursive([0.99], n, rng),
        "ar2": lambda: recursive([2 * 0.97 * np.cos(2 * np.pi / period), -(0.97**2)], n, rng),
        "pink": lambda: orbits.power_noise(n, 1.0, rng),
        "f1.5": lambda: orbits.power_noise(n, 1.5, rng),
        "walk": lambda: rng.normal(size=n).cumsum(),
        "fbm.3": lambda: orbits.fractional_noise(n, 0.3, rng).cumsum(),
        "fbm.8": lambda: orbits.fractional_noise(n, 0.8, rng).cumsum(),
        "smooth": lambda: np.convolve(rng.normal(size=n + 20), np.hanning(21), "valid"),
    }
    return made[name]()


def regular(name: str, n: int, seed: int, rng: np.random.Generator) -> Array:
    period = rng.uniform(8, 60)
    t = 2 * np.pi * np.arange(n) / period + rng.uniform(0, 2 * np.pi)
    if name.startswith("vdp"):
        mu = float(name[3:])
        dt = (0.1, 0.2, 0.05)[seed % 3]
        seeds = range(seed, seed + 1)
        return orbits.flow(orbits.van_der_pol(mu), [1, 0], n, dt, seeds, substeps=2, transient=50)[
            0
        ]
    made = {
        "sine": lambda: np.sin(t),
        "sum3": lambda: np.sin(t) + np.sin(t / 2) + np.sin(t / 3),
        "torus2": lambda: np.sin(t) + rng.uniform(0.3, 1) * np.sin(2**0.5 * t),
        "torus3": lambda: np.sin(t) + 0.7 * np.sin(2**0.5 * t) + 0.5 * np.cos(t / 3**0.5),
        "product": lambda: np.exp(np.sin(t)) * (2 + np.cos(5**0.5 / 7.3 * t)),
        "square": lambda: np.sign(np.sin(t)),
        "sawtooth": lambda: t / (2 * np.pi) % 1,
        "rotation": lambda: np.cos(2 * np.pi * (np.arange(n) * 0.618033988 + rng.uniform())),
        "period4": lambda: orbits.logistic(n, range(seed, seed + 1), 3.5)[0],
    }
    return made[name]()


def harmless(name: str, n: int, seed: int) -> Array:
    """A series of `NOISES` or `REGULAR`."""
    rng = np.random.default_rng([seed, 5])
    return noise(name, n, rng) if name in NOISES else regular(name, n, seed, rng)
