"""How neighbours move apart: the divergence curve, and its straight piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from midstream._core._poll import Poll
from midstream.attractor._checks import Floats
from midstream.attractor._local_maps import ORBIT, Data, Indices
from midstream.attractor._neighbours import diverge
from midstream.attractor.estimate import Fit

__all__ = ["Region", "divergence_curve", "scaling_region"]

#: Rise of the divergence curve, in nats, below which there is no region to look for.
RISE = 0.4
#: Points of the divergence curve.
CURVE = 64


def divergence_curve(
    data: Data, centres: Indices, near: Indices, dimension: int, rate: float, method: str
) -> tuple[Floats, Floats, int]:
    """Times in samples, mean logarithms of distances over those of strangers, and pairs.

    Rosenstein's curve averages the logarithms of the distances to one neighbour. Kantz's averages
    distances over a neighbourhood first, here of the eight nearest, and then the logarithms over
    the reference points. Distances of 0 are skipped.
    """
    span = (dimension - 1) * data.delay
    n = len(data.series)
    horizon = int(min(max(5 / max(rate, 1e-300), 4 * ORBIT * data.delay), (n - span) // 4))
    every = max(1, -(-horizon // CURVE))
    steps = horizon // every + 1
    k = 1 if method == "rosenstein" else min(8, near.shape[1])
    first = np.repeat(centres, k)
    second = np.ascontiguousarray(near[:, :k].ravel())
    found: Any = diverge(data.series, dimension, data.delay, first, second, steps, every, Poll())
    square: Floats = found / (2 * dimension)
    square[square == 0] = np.nan
    if k == 1:
        logs = 0.5 * np.log(square)
    else:
        distance = np.sqrt(square).reshape(len(centres), k, steps)
        known = np.isfinite(distance)
        count = known.sum(axis=1)
        total = np.where(known, distance, 0).sum(axis=1)
        logs = np.log(np.where(count > 0, total, np.nan) / np.maximum(count, 1))
    count = np.isfinite(logs).sum(axis=0)
    enough = count >= max(10, len(logs) // 4)
    kept = steps if enough.all() else int(enough.argmin())
    if kept < 6:
        return np.empty(0), np.empty(0), 0
    curve: Floats = np.nansum(logs[:, :kept], axis=0) / count[:kept]
    return np.arange(kept, dtype=np.float64) * every, curve, int(count[0])


@dataclass(frozen=True)
class Region:
    """Straight piece of a divergence curve, and how its slope varies among others as good."""

    fit: Fit
    spread: float


def scaling_region(times: Floats, curve: Floats, skip: float) -> tuple[Region | None, float]:
    """The straightest long piece between the first `skip` samples and saturation; and the rise."""
    n = len(curve)
    if n < 6:
        return None, 0.0
    begin = min(int(np.searchsorted(times, skip)), n - 5)
    plateau = float(np.median(np.sort(curve[begin:])[-max(n // 6, 3) :]))
    rise = plateau - float(curve[begin])
    if rise < RISE:
        return None, rise
    # Up to the first sample that has used up most of the rise.
    high = plateau - max(0.25 * rise, 0.2)
    end = begin + int(np.argmax(curve[begin:] >= high)) + 1
    if end - begin < 4:
        end = min(begin + 4, n)
    a, b = np.triu_indices(end - begin, 3)
    a, b = a + begin, b + begin + 1  # pieces a:b
    b = np.minimum(b, end)
    sums = [
        np.concatenate(([0.0], np.cumsum(values)))
        for values in (times, curve, times**2, times * curve, curve**2)
    ]
    size = b - a
    t, y, tt, ty, yy = ((s[b] - s[a]) for s in sums)
    stt = tt - t * t / size
    sty = ty - t * y / size
    syy = np.maximum(yy - y * y / size, 1e-300)
    slope = sty / stt
    rest = np.sqrt(np.maximum(syy - slope * sty, 0) / size)
    climbed = slope * (times[b - 1] - times[a])
    score = np.where(climbed > 0.5 * RISE, climbed / (1 + (rest / 0.04) ** 2), -np.inf)
    if not np.isfinite(score.max(initial=-np.inf)):
        return None, rise
    best = int(score.argmax())
    alike = score > 0.7 * score[best]
    fit = Fit(
        slope=float(slope[best]),
        intercept=float((y[best] - slope[best] * t[best]) / size[best]),
        start=int(a[best]),
        stop=int(b[best]),
        r_squared=float(1 - (rest[best] ** 2) * size[best] / syy[best]),
    )
    return Region(fit, float(slope[alike].std())), rise
