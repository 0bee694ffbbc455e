"""Series of known exponents: plain Runge-Kutta and iteration, many starts at once, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def rk4(f: Callable[[Array], Array], state: Array, dt: float, steps: int, every: int) -> Array:
    """First component of (dim, starts) at every `every`-th of `steps` steps: (starts, samples)."""
    kept = []
    for step in range(steps):
        if step % every == 0:
            kept.append(state[0].copy())
        k1 = f(state)
        k2 = f(state + dt / 2 * k1)
        k3 = f(state + dt / 2 * k2)
        k4 = f(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.stack(kept, axis=1)


def lorenz(sigma: float, rho: float, beta: float) -> Callable[[Array], Array]:
    def f(s: Array) -> Array:
        x, y, z = s
        return np.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])

    return f


def rossler(a: float, b: float, c: float) -> Callable[[Array], Array]:
    def f(s: Array) -> Array:
        x, y, z = s
        return np.stack([-y - z, x + a * y, b + z * (x - c)])

    return f


def chua(s: Array) -> Array:
    x, y, z = s
    bend = -5 / 7 * x - 0.5 * (8 / 7 - 5 / 7) * (abs(x + 1) - abs(x - 1))
    return np.stack([9 * (y - x - bend), x - y + z, -100 / 7 * y])


def van_der_pol(mu: float) -> Callable[[Array], Array]:
    def f(s: Array) -> Array:
        x, y = s
        return np.stack([y, mu * (1 - x * x) * y - x])

    return f


def flow(
    f: Callable[[Array], Array],
    centre: list[float],
    n: int,
    dt: float,
    seeds: range,
    *,
    substeps: int,
    transient: float,
) -> Array:
    """Samples `dt` apart behind a transient, for one start near `centre` per seed."""
    starts = [np.random.default_rng([s, 77]).normal(0, 0.1, len(centre)) for s in seeds]
    state = np.array(centre)[:, None] + np.array(starts).T
    skip = int(transient / dt)
    series = rk4(f, state, dt / substeps, (n + skip) * substeps, substeps)
    return series[:, skip:]


def mackey_glass(n: int, dt: float, tau: float, seeds: range, *, substeps: int = 10) -> Array:
    """Heun's method with the history at hand; beta 0.2, gamma 0.1, exponent 10."""
    h = dt / substeps
    lag = round(tau / h)
    skip = round(1000 / dt)
    steps = (n + skip) * substeps
    x = np.empty((lag + steps + 1, len(seeds)))
    starts = [np.random.default_rng([s, 78]).normal(0, 0.1) for s in seeds]
    x[: lag + 1] = 0.9 + np.array(starts)

    def rate(now: Array, then: Array) -> Array:
        return 0.2 * then / (1 + then**10) - 0.1 * now

    for i in range(lag, lag + steps):
        k1 = rate(x[i], x[i - lag])
        k2 = rate(x[i] + h * k1, x[i - lag + 1])
        x[i + 1] = x[i] + h / 2 * (k1 + k2)
    return x[lag::substeps][skip : skip + n].T


def iterate(step: Callable[[Array], Array], state: Array, n: int, skip: int = 200) -> Array:
    kept = []
    for i in range(n + skip):
        state = step(state)
        if i >= skip:
            kept.append(state[0].copy())
    return np.stack(kept, axis=1)


def henon(n: int, seeds: range) -> Array:
    starts = np.array([np.random.default_rng([s, 79]).uniform(-0.1, 0.1, 2) for s in seeds]).T
    return iterate(lambda s: np.stack([1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]]), starts, n)


def logistic(n: int, seeds: range, r: float = 4.0) -> Array:
    starts = np.array([np.random.default_rng([s, 80]).uniform(0.1, 0.9, 1) for s in seeds]).T
    return iterate(lambda s: r * s * (1 - s), starts, n)


def ikeda(n: int, seeds: range) -> Array:
    def step(s: Array) -> Array:
        x, y = s
        t = 0.4 - 6 / (1 + x * x + y * y)
        return np.stack(
            [
                1 + 0.9 * (x * np.cos(t) - y * np.sin(t)),
                0.9 * (x * np.sin(t) + y * np.cos(t)),
            ]
        )

    starts = np.array([np.random.default_rng([s, 81]).uniform(0, 0.3, 2) for s in seeds]).T
    return iterate(step, starts, n)


def fractional_noise(n: int, hurst: float, rng: np.random.Generator) -> Array:
    """Increments of fractional Brownian motion, exact (Davies and Harte)."""
    k = np.arange(n + 1.0)
    cov = 0.5 * ((k + 1) ** (2 * hurst) - 2 * k ** (2 * hurst) + abs(k - 1) ** (2 * hurst))
    eigen = np.fft.fft(np.concatenate([cov, cov[-2:0:-1]])).real.clip(0)
    size = len(eigen)
    z = rng.normal(size=size) + 1j * rng.normal(size=size)
    return np.fft.fft(np.sqrt(eigen / size) * z).real[:n]


def power_noise(n: int, slope: float, rng: np.random.Generator) -> Array:
    """Noise whose power falls as frequency to the -slope, cut from a longer series."""
    size = 4 * n
    f = np.fft.rfftfreq(size)
    f[0] = f[1]
    z = (rng.normal(size=len(f)) + 1j * rng.normal(size=len(f))) * f ** (-slope / 2)
    return np.fft.irfft(z, size)[n : 2 * n]


def noisy(x: Array, level: float, seed: int) -> Array:
    """`x` with white noise of `level` times its standard deviation."""
    return x + level * x.std() * np.random.default_rng([seed, 99]).normal(size=len(x))
