"""How closely a trajectory repeats itself: mismatch against lag, and the period."""

from __future__ import annotations

import numpy as np

from midstream.attractor._checks import Floats

__all__ = ["find_period", "mismatch"]

#: Mismatch at lag 1 below which samples follow a smooth curve.
SMOOTH = 0.1
#: Mismatch that rounding alone leaves.
EXACT = 1e-10


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


def _dip(curve: Floats, lag: int) -> float:
    """Place of the parabola's minimum through a dip and its neighbours."""
    if not 0 < lag < len(curve) - 1:
        return float(lag)
    left, middle, right = curve[lag - 1 : lag + 2]
    bend = left - 2 * middle + right
    return float(lag + 0.5 * (left - right) / bend) if bend > 0 else float(lag)


def find_period(curve: Floats, *, worst: float = 0.1) -> tuple[float, float, float] | None:
    """Period of a trajectory that repeats itself, from `mismatch`.

    Parameters
    ----------
    curve : ndarray, shape (m,)
    worst : float
        Mismatch above which nothing repeats.

    Returns
    -------
    (period, mismatch there, mismatch at the last whole multiple) or None
        The period in samples: the first dip that is about as deep as any, sharpened by the dips at
        its multiples.
    """
    inner = curve[1:-1]
    dips = 1 + np.flatnonzero((inner <= curve[:-2]) & (inner < curve[2:]))
    # A dip is one only if the trajectory has left its start in between.
    dips = dips[np.maximum.accumulate(curve)[dips] > 4 * curve[dips] + 1e-12]
    if len(dips) == 0:
        return None
    depth = curve[dips]
    # Of a smooth curve a dip is missed by up to half a sample, which costs a quarter of what a whole
    # one does.
    missed = 0.3 * curve[1] if curve[1] < SMOOTH else 0.0
    limit = max(4 * depth.min(), depth.min() + missed, 1e-9)
    if depth.min() > worst:
        return None
    lag = int(dips[np.flatnonzero(depth <= limit)[0]])
    if curve[lag] < EXACT:
        return float(lag), float(curve[lag]), float(curve[lag * ((len(curve) - 1) // lag)])
    period = _dip(curve, lag)
    multiple, last = 1, lag
    while (multiple + 1) * period < len(curve) - 1:
        guess = round((multiple + 1) * period)
        reach = max(1, min(lag // 4, 3))
        around = np.arange(max(1, guess - reach), min(len(curve) - 1, guess + reach) + 1)
        found = int(around[np.argmin(curve[around])])
        if curve[found] > max(4 * limit, worst):
            break
        multiple, last = multiple + 1, found
        sharper = _dip(curve, found) / multiple
        if abs(sharper - period) * multiple < 1.0:
            period = sharper
    return period, float(curve[lag]), float(curve[last])
