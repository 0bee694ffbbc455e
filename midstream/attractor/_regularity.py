"""How closely a trajectory repeats itself: mismatch against lag, and the period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midstream.attractor._checks import Floats

__all__ = [
    "EXACT",
    "SMOOTH",
    "Repeat",
    "find_repeat",
    "interpolation_floor",
    "mismatch",
    "mismatch_between",
    "sharpen",
]

#: Mismatch at lag 1 below which samples follow a smooth curve.
SMOOTH = 0.35
#: Mismatch that rounding alone leaves.
EXACT = 1e-10
#: Dips that are looked at between the samples.
CANDIDATES = 12


def mismatch(points: Floats, most: int | None = None) -> Floats:
    """Mean squared distance between points a lag apart, over twice their variance.

    Parameters
    ----------
    points : ndarray, shape (n, d)
    most : int, optional
        Largest lag; by default n // 2.

    Returns
    -------
    ndarray, shape (most + 1,)
        At lag k: ``sum |x[t+k] - x[t]|^2 / sum (|x[t+k]|^2 + |x[t]|^2)`` of the centred points: 0
        where the trajectory repeats itself, around 1 where the two are independent, at most 2. One
        minus the normalised square difference function of McLeod and Wyvill (2005). Cancellation
        leaves about 1e-15; zeros throughout where the points are constant.

    Notes
    -----
    O(n d log n).
    """
    n = len(points)
    most = n // 2 if most is None else most
    centred = points - points.mean(axis=0)
    largest = np.abs(centred).max() if n else 0.0
    if largest == 0.0:
        return np.zeros(most + 1)
    centred = centred / largest
    length = 1 << int(n + most).bit_length()
    spectrum = np.fft.rfft(centred, length, axis=0)
    power = (spectrum.real**2 + spectrum.imag**2).sum(axis=1)
    products = np.fft.irfft(power, length)[: most + 1]
    energy = np.concatenate(([0.0], np.cumsum((centred**2).sum(axis=1))))
    lags = np.arange(most + 1)
    both = energy[n - lags] + (energy[n] - energy[lags])
    with np.errstate(divide="ignore", invalid="ignore"):
        out = 1.0 - 2.0 * products / both
    return np.where(both > 0, np.maximum(out, 0.0), 0.0)


def mismatch_between(points: Floats, lag: float) -> float:
    """`mismatch` at a lag that need not be whole, by Lagrange interpolation of sixth order.

    O(n d); NaN where fewer than 8 points are left.
    """
    whole = int(np.floor(lag))
    part = lag - whole
    if part < 1e-9:
        late, early = points[whole:], points[: len(points) - whole]
    else:
        # x(t - lag) lies between the samples t - whole - 1 and t - whole.
        nodes = np.arange(-2, 4)
        weights = [
            np.prod([(part - other) / (node - other) for other in nodes if other != node])
            for node in nodes
        ]
        first, last = whole + 3, len(points) + min(0, whole - 2)
        if last - first < 8:
            return float("nan")
        late = points[first:last]
        early = np.zeros_like(late)
        for node, weight in zip(nodes, weights, strict=True):
            early += weight * points[first - whole - node : last - whole - node]
    if len(late) < 8:
        return float("nan")
    centre = points.mean(axis=0)
    both = float(((late - centre) ** 2).sum() + ((early - centre) ** 2).sum())
    return float(((late - early) ** 2).sum()) / both if both > 0 else 0.0


def sharpen(points: Floats, curve: Floats, lag: float) -> tuple[float, float]:
    """The lag near a dip of the curve where the trajectory repeats itself best, and its mismatch.

    For samples of a smooth curve; a parabola through three mismatches, twice.
    """
    low, high = max(1, int(lag) - 2), min(len(curve) - 2, int(lag) + 3)
    if low > high:
        return lag, float(curve[min(int(lag), len(curve) - 1)])
    middle = float(low + int(np.argmin(curve[low : high + 1])))
    value = float(curve[int(middle)])
    step = 0.5
    for _ in range(3):
        left = mismatch_between(points, middle - step)
        right = mismatch_between(points, middle + step)
        bend = left - 2 * value + right
        if not bend > 0:
            break
        move = float(np.clip(0.5 * step * (left - right) / bend, -step, step))
        moved = mismatch_between(points, middle + move)
        if not moved < value:
            break
        middle, value = middle + move, moved
        step = max(0.2 * step, 1e-3)
    return middle, value


@dataclass(frozen=True)
class Repeat:
    """How a trajectory repeats itself: lag in samples, mismatch after one lag, two, and the most.

    `twice` is NaN where the curve does not reach two lags; `last` is at `multiple` lags.
    """

    lag: float
    once: float
    twice: float
    last: float
    multiple: int

    def periodic(self, floor: float) -> bool:
        """Whether missing does not add up from turn to turn, as it does on a torus."""
        again = self.twice if np.isfinite(self.twice) else self.once
        return self.once <= floor or (again <= 2.2 * self.once + floor and np.isfinite(self.twice))


def interpolation_floor(curve: Floats) -> float:
    """Mismatch that interpolation between samples may leave where there is none."""
    smooth = len(curve) > 1 and curve[1] < SMOOTH
    return EXACT + (2e-3 * float(curve[1]) ** 2 if smooth else 0.0)


def find_repeat(points: Floats, curve: Floats, *, worst: float = 0.1) -> Repeat | None:
    """The shortest lag after which a trajectory repeats itself about as well as it ever does.

    Parameters
    ----------
    points : ndarray, shape (n, d)
    curve : ndarray, shape (m,)
        Its `mismatch`.
    worst : float
        Mismatch above which nothing repeats.
    """
    inner = curve[1:-1]
    dips = 1 + np.flatnonzero((inner <= curve[:-2]) & (inner < curve[2:]))
    # A dip is one only if the trajectory has left its start in between.
    dips = dips[np.maximum.accumulate(curve)[dips] > 4 * curve[dips] + 1e-12]
    smooth = bool(len(curve) > 1 and EXACT < curve[1] < SMOOTH)
    # Of a smooth curve a dip is missed by up to half a sample: a quarter of what a whole one costs.
    missed = 0.4 * float(curve[1]) if smooth else 0.0
    dips = dips[curve[dips] <= worst + missed]
    if len(dips) == 0:
        return None
    if smooth:
        shallow = dips[curve[dips] <= 4 * curve[dips].min() + missed][:CANDIDATES]
        deepest = dips[int(np.argmin(curve[dips]))]
        found = [sharpen(points, curve, float(lag)) for lag in (*shallow, deepest)]
    else:
        found = [(float(lag), float(curve[lag])) for lag in dips]
    best = min(value for _, value in found)
    if best > worst:
        return None
    floor = interpolation_floor(curve)
    lag, once = next((lag, value) for lag, value in found if value <= max(4 * best, floor))

    def at(multiple: int, guess: float) -> tuple[float, float]:
        if smooth:
            return sharpen(points, curve, guess)
        return guess, float(curve[round(guess)])

    twice, period, last, multiple = float("nan"), lag, once, 1
    if 2 * lag < len(curve) - 3:
        place, twice = at(2, 2 * lag)
        period, last, multiple = place / 2, twice, 2
        most = int((len(curve) - 4) / period)
        for reach in (4, 8, 16, 32, most):
            if multiple < reach <= most:
                place, value = at(reach, reach * period)
                if not value <= worst:
                    break
                period, last, multiple = place / reach, value, reach
    return Repeat(period, once, twice, last, multiple)
