"""Exponents by products of local linear maps, fitted to a series in delay coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midstream._core._poll import Poll
from midstream.attractor import _tangent
from midstream.attractor._checks import Floats
from midstream.attractor._neighbours import Tree
from midstream.attractor._smoothing import smooth
from midstream.attractor.embedding import (
    LOST,
    choose_delay,
    correlations,
    first_below,
    neighbours,
    window_of,
)

__all__ = ["Data", "Maps", "local_maps", "make_chains", "prepare", "rows_of"]

Indices = NDArray[np.int64]

#: Neighbours of a local map, over its dimension; the errors of prediction choose among them.
FACTORS = (4, 7, 14, 28)
#: Reference points, spread over the data in chains.
REFERENCES = 1000
#: Ridge of the local maps, over the mean variance of a coordinate among the neighbours.
RIDGE = 0.01
#: An orbit takes about so many delays.
ORBIT = 5
#: Fewer vectors, or fewer orbits, and nothing is said.
LEAST_VECTORS, LEAST_ORBITS = 200, 8


@dataclass(frozen=True)
class Data:
    """A series made ready: smoothed, of unit variance, NaN in its gaps.

    `noise` and `left` are noise over signal before and after smoothing, NaN where the spectrum has
    no floor; `longest` is the longest stretch without gaps.
    """

    series: Floats
    longest: Floats
    noise: float
    left: float
    delay: int
    theiler: int


def prepare(
    segments: list[tuple[int, Floats]], length: int, delay: int | None, theiler: int | None
) -> Data:
    """Smooth, scale, and choose what is not given; the longest stretch decides for all."""
    longest = max((piece for _, piece in segments), key=len)
    n = len(longest)
    scale, mean = float(longest.std()), float(longest.mean())
    series = np.full(length, np.nan)
    smoothed = smooth((longest - mean) / scale)
    for start, piece in segments:
        part = (piece - mean) / scale
        if piece is longest:
            part = smoothed.series
        elif np.isfinite(smoothed.noise) and len(piece) >= 64:
            part = smooth(part).series
        series[start : start + len(piece)] = part
    correlation = correlations(smoothed.series, max(n // 10, 2))
    lost = max(first_below(correlation, LOST), 1)
    if delay is None:
        chosen = choose_delay(smoothed.series, min(2 * lost + 4, n // 4)).delay
    else:
        chosen = delay
    # Where memory is lost before the information has its minimum, a delay of that length would
    # fold the attractor over itself.
    step = max(min(chosen, lost), 1) if delay is None else delay
    window = window_of(correlation, chosen, n) if theiler is None else theiler
    return Data(series, smoothed.series, smoothed.noise, smoothed.left, step, window)


@dataclass(frozen=True)
class Maps:
    """What the local maps say.

    Attributes
    ----------
    exponent, error : float
        Largest exponent and its statistical standard error, nats per sample.
    by_dimension : ndarray
        The exponent at each dimension.
    ratio : float
        Error of local prediction over that of the best linear one, `delay` samples ahead.
    factor : int
        Neighbours of a map over its dimension.
    drop : float
        Logarithm of the exponent with fewest neighbours over that with some more, where the fewest
        predict best; else 0.
    steepness : float
        Logarithm of how the error of prediction grows from the fewest neighbours to some more:
        near 0 where noise decides, above 0.5 where curvature does.
    references : int
        Reference points.
    """

    exponent: float
    error: float
    by_dimension: Floats
    ratio: float
    factor: int
    drop: float
    steepness: float
    references: int


def rows_of(series: Floats, dimension: int, step: int) -> Indices:
    """Starts of vectors of `dimension` coordinates with a future of one more, free of gaps."""
    span = dimension * step
    count = len(series) - span
    if count < 1:
        return np.empty(0, dtype=np.int64)
    bad = ~np.isfinite(series)
    if not bad.any():
        return np.arange(count, dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(bad)))
    return np.flatnonzero(before[span + 1 :] == before[:count]).astype(np.int64)


def make_chains(rows: Indices, step: int) -> list[Indices]:
    """Places in `rows` of reference points, `step` samples apart within each chain."""
    n = len(rows)
    pieces = np.split(np.arange(n), np.flatnonzero(np.diff(rows) != 1) + 1)
    if step == 1 and n > REFERENCES:
        size = REFERENCES // 5
        starts = np.linspace(0, n - size, 5).astype(np.int64)
        pieces = [
            part
            for start in starts
            for part in np.split(
                np.arange(start, start + size),
                np.flatnonzero(np.diff(rows[start : start + size]) != 1) + 1,
            )
        ]
    offsets = max(1, min(step, -(-REFERENCES * step // n)))
    chains = [piece[round(q * step / offsets) :: step] for piece in pieces for q in range(offsets)]
    return [chain for chain in chains if len(chain) >= 12]


def local_maps(data: Data, dimensions: tuple[int, ...]) -> tuple[Maps, Indices, Indices] | None:
    """Exponent by products of local linear maps; and pairs of neighbours for the curve."""
    x, step = data.series, data.delay
    most = max(dimensions)
    rows = rows_of(x, most, step)
    if len(rows) < LEAST_VECTORS or len(rows) < LEAST_ORBITS * ORBIT * step:
        return None
    chains = make_chains(rows, step)
    if not chains:
        return None
    places = np.concatenate(chains).astype(np.int64)
    centres = rows[places]
    vectors = np.stack([x[rows + k * step] for k in range(most)], axis=1)
    tree = Tree(np.ascontiguousarray(vectors))
    errors = np.full((len(dimensions), len(FACTORS)), np.inf)
    exponents = np.full((len(dimensions), len(FACTORS)), np.nan)
    spread = np.full((len(dimensions), len(FACTORS)), np.nan)
    linear = np.array([_linear_error(x, centres, most, m, step) for m in dimensions])
    near = np.empty((0, 0), dtype=np.int64)
    for batch in ((0, 1), (2,), (3,)):
        wanted = min(FACTORS[batch[-1]] * most, len(rows) // 8)
        found, distance = neighbours(tree, places, wanted, data.theiler, len(rows))
        index = np.where(found >= 0, rows[found], -1)
        if not near.size:
            near = index
        for column in batch:
            for row, m in enumerate(dimensions):
                k = min(FACTORS[column] * m, wanted)
                error, growth = _products(x, centres, index, distance, m, most, step, k, chains)
                errors[row, column] = error
                if len(growth) > 1:
                    exponents[row, column] = growth.mean() / step
                    spread[row, column] = growth.std(ddof=1) / math.sqrt(len(growth)) / step
        # More neighbours are looked up only while they predict better.
        mean = errors.mean(axis=0)
        if not mean[batch[-1]] < mean[batch[-1] - 1]:
            break
    usable = (
        np.isfinite(mean) & np.isfinite(exponents).all(axis=0) & np.isfinite(spread).all(axis=0)
    )
    if not usable[0]:
        return None
    mean[~usable] = np.inf
    best = int(np.flatnonzero(mean <= 1.02 * mean.min())[-1])
    orbits = len(rows) / (ORBIT * step)
    statistical = max(float(spread[:, best].mean()), 0.4 / math.sqrt(orbits) / (ORBIT * step))
    drop = 0.0
    if best == 0 and usable[1]:
        fewest, more = exponents[:, :2].mean(axis=0)
        drop = math.log(fewest / more) if min(fewest, more) > 0 else 0.5
    maps = Maps(
        exponent=float(exponents[:, best].mean()),
        error=statistical,
        by_dimension=exponents[:, best],
        ratio=float(np.mean(errors[:, best] / np.maximum(linear, 1e-300))),
        factor=FACTORS[best],
        drop=drop,
        steepness=math.log(mean[1] / mean[0]) if usable[1] and mean[0] > 0 else 0.5,
        references=len(places),
    )
    return maps, centres, near


def _linear_error(x: Floats, centres: Indices, most: int, m: int, step: int) -> float:
    """Root mean square error of the best linear function of the same coordinates."""
    first = centres + (most - m) * step
    known = np.stack([x[first + k * step] for k in range(m)] + [np.ones(len(first))], axis=1)
    future = x[first + m * step]
    weights = np.linalg.lstsq(known, future, rcond=None)[0]
    return float(np.sqrt(np.mean((future - known @ weights) ** 2)))


def _products(
    x: Floats,
    centres: Indices,
    index: Indices,
    distance: Floats,
    m: int,
    most: int,
    step: int,
    k: int,
    chains: list[Indices],
) -> tuple[float, Floats]:
    """Error of prediction of the local maps, and growth in stretches of some orbits."""
    # Vectors of fewer coordinates are the later part of those whose neighbours are known.
    shift = (most - m) * step
    near = np.where(index >= 0, index + shift, -1)
    fitted: Any = _tangent.fit(x, m, step, centres + shift, near, distance, k, RIDGE, False, Poll())
    coefficients, residual = fitted
    good = residual[np.isfinite(residual)]
    if len(good) < 10:
        return math.inf, np.empty(0)
    stretches = []
    start = 0
    for chain in chains:
        growth = _tangent.chain(coefficients[start : start + len(chain)], np.full((1, m), m**-0.5))
        start += len(chain)
        growth = growth[min(10, len(growth) // 5) :, 0]
        # Stretches of 40 maps or more.
        edges = np.arange(max(len(growth) // 40, 1)) * 40
        known = np.isfinite(growth)
        count = np.add.reduceat(known.astype(np.int64), edges)
        total = np.add.reduceat(np.where(known, growth, 0.0), edges)
        stretches.append(total[count > 0] / count[count > 0])
    return float(np.sqrt(np.mean(good**2))), np.concatenate(stretches)
