"""What comparisons return."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Alignment", "CacheInfo", "Match", "MatrixProfile", "Motif", "Run", "SoftGradient"]


class Alignment(NamedTuple):
    """Two series aligned.

    Parameters
    ----------
    distance : float
    path : (k, 2) int64 ndarray
        Indices into the first and the second series, from both starts to both ends.
    """

    distance: float
    path: NDArray[np.int64]


class Run(NamedTuple):
    """A stretch of a sequence that repeats with one period.

    Parameters
    ----------
    start : int
        Index of the first symbol.
    period : int
        Symbols from one copy to the next, the smallest that fits.
    copies : float
        Copies seen so far, fractions counted: ``(end - start) / period``.
    end : int
        Index behind the last symbol seen.
    """

    start: int
    period: int
    copies: float
    end: int


class SoftGradient(NamedTuple):
    """Soft-DTW with its derivative.

    Parameters
    ----------
    value : float
        As `soft_dtw` returns it.
    gradient : (n,) or (n, d) ndarray of float64
        Derivative of the value by each sample of the first series, in its shape.
    """

    value: float
    gradient: NDArray[np.float64]


class CacheInfo(NamedTuple):
    """What a cache has done so far, as `functools.lru_cache` tells it.

    Parameters
    ----------
    hits : int
        Calls answered from the cache.
    misses : int
        Calls that had to compute.
    maxsize : int or None
        Results kept at most; None for no limit.
    currsize : int
        Results kept now.
    """

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class Match(NamedTuple):
    """A stretch of a series that resembles a query.

    Parameters
    ----------
    start : int
        Index of its first sample.
    end : int
        Index behind its last sample: ``series[start:end]`` is the stretch.
    distance : float
        Distance to the query.
    """

    start: int
    end: int
    distance: float


class MatrixProfile(NamedTuple):
    """For every window of a series, its closest other window.

    Parameters
    ----------
    distance : (n - m + 1,) ndarray of float64
        Distance of the window at each index to the closest one; inf where there is none.
    nearest : (n - m + 1,) ndarray of int64
        Where that one starts, the smallest of equally close ones; -1 where there is none.
    left, right : (n - m + 1,) ndarray of int64
        The same among earlier and among later windows only.
    """

    distance: NDArray[np.float64]
    nearest: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


class Motif(NamedTuple):
    """Two windows of a series that resemble each other.

    Parameters
    ----------
    first, second : int
        Where they start; ``first < second``.
    length : int
        Samples of each: ``series[first:first + length]``.
    distance : float
        Between them, z-normalised.
    """

    first: int
    second: int
    length: int
    distance: float
