"""Distances that stretch time: dynamic time warping and what is made of it, with alignments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_choice
from midstream.compare._symbols import Numbering
from midstream.compare.measures import (
    check_cutoff,
    is_symbolic,
    metric_name,
    plan,
    plan_adtw,
    plan_ddtw,
    plan_dtw,
    plan_euclidean,
    plan_frechet,
    plan_wdtw,
)
from midstream.compare.results import Alignment

__all__ = [
    "adtw",
    "ddtw",
    "dtw",
    "dtw_path",
    "euclidean",
    "frechet",
    "path",
    "wdtw",
]

#: Measures whose paths stay inside the matrix.
WITH_PATH = ("adtw", "ddtw", "dtw", "frechet", "msm", "twe", "wdtw")


def euclidean(
    x: Any,
    y: Any,
    *,
    cutoff: float | None = None,
    nan_policy: str = "raise",
) -> float:
    """Euclidean distance of two series of one length.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    cutoff : float, optional
        Answer inf where the distance is greater; equal is kept. Speeds up the rest.
    nan_policy : {'raise', 'propagate', 'omit'}
        NaN is an error, makes the distance NaN, or its samples are left out.

    Returns
    -------
    float
        Root of the summed squared differences; what `dtw` gives with ``window=0``.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite or has NaN; dimensions differ; a parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    Time O(n), no copies. Thread-safe. The sum goes from the first sample to the last, so that it
    equals `dtw` with ``window=0`` to the last bit; numpy's pairwise sum can differ in that.

    References
    ----------
    Textbook.

    Examples
    --------
    >>> euclidean([0, 3], [4, 0])
    5.0
    """
    return plan_euclidean(nan_policy=nan_policy).distance(x, y, check_cutoff(cutoff))


def dtw(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    cost: str = "squared",
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Dynamic time warping: the cheapest way to align two series, samples stretched at no cost.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    cost : {'squared', 'absolute', 'equal'}
        ``'squared'``: the root of the summed squared differences, as a Euclidean distance along the
        path. ``'absolute'``: the sum of absolute differences. ``'equal'``: how many aligned symbols
        differ; then `x` and `y` may be str, bytes, integers or any hashables, compared by equality.
    cutoff : float, optional
        Answer inf where the distance is greater; equal is kept. Speeds up the rest.
    band : {'sakoe', 'widened', 'slanted'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit (inf);
        ``'widened'`` extends one side by the difference of the lengths; ``'slanted'`` follows the
        matrix's diagonal.
    nan_policy : {'raise', 'propagate', 'omit'}
        NaN is an error, makes the distance NaN, or its samples are left out.

    Returns
    -------
    float
        The distance; inf if no path fits the band or it is above `cutoff`.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite or has NaN; dimensions differ; a parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    Time O(n m), in a window O(n window); memory O(n + m). Thread-safe; releases the GIL for all but
    short series. Symmetric to the last bit, and the same bits at every instruction-set level.

    References
    ----------
    H. Sakoe and S. Chiba, "Dynamic programming algorithm optimization for spoken word recognition",
    IEEE Trans. ASSP 26 (1978).

    Examples
    --------
    >>> dtw([0, 0, 1, 2], [0, 1, 2, 2])
    0.0
    >>> dtw([0, 0, 1, 2], [0, 1, 2, 2], window=0) == euclidean([0, 0, 1, 2], [0, 1, 2, 2])
    True
    >>> dtw("aab", "abb", cost="equal")
    0.0
    """
    plan = plan_dtw(window=window, cost=cost, band=band, nan_policy=nan_policy)
    if cost == "equal":
        numbering = Numbering()
        x, y = numbering.encode("x", x), numbering.encode("y", y)
    return plan.distance(x, y, check_cutoff(cutoff))


def wdtw(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    g: float = 0.05,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Weighted DTW: squared differences weighted by how far apart the aligned samples are in time.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    g : float, default 0.05
        Steepness of the weight ``1 / (1 + exp(-g (|i - j| - L / 2)))``, L the longer length; 0
        weighs everything by one half.
    cutoff : float, optional
        Answer inf where the distance is greater; equal is kept. Speeds up the rest.
    band : {'sakoe', 'widened', 'slanted'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit (inf);
        ``'widened'`` extends one side by the difference of the lengths; ``'slanted'`` follows the
        matrix's diagonal.
    nan_policy : {'raise', 'propagate', 'omit'}
        NaN is an error, makes the distance NaN, or its samples are left out.

    Returns
    -------
    float
        Root of the weighted sum; inf if no path fits the band or it is above `cutoff`.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite or has NaN; dimensions differ; a parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    Time O(n m), in a window O(n window); memory O(n + m). Thread-safe; releases the GIL for all but
    short series. Symmetric to the last bit, and the same bits at every instruction-set level.

    References
    ----------
    Y.-S. Jeong, M. K. Jeong and O. A. Omitaomu, "Weighted dynamic time warping for time series
    classification", Pattern Recognition 44 (2011).

    Examples
    --------
    >>> wdtw([0, 1, 2], [0, 1, 2])
    0.0
    """
    plan = plan_wdtw(window=window, g=g, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def ddtw(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Derivative DTW: `dtw` of the slopes, blind to offsets.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    cutoff : float, optional
        Answer inf where the distance is greater; equal is kept. Speeds up the rest.
    band : {'sakoe', 'widened', 'slanted'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit (inf);
        ``'widened'`` extends one side by the difference of the lengths; ``'slanted'`` follows the
        matrix's diagonal.
    nan_policy : {'raise', 'propagate', 'omit'}
        NaN is an error, makes the distance NaN, or its samples are left out.

    Returns
    -------
    float
        `dtw` of the estimated slopes ``((x[i] - x[i-1]) + (x[i+1] - x[i-1]) / 2) / 2``, which drop
        the first and the last sample.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite, has NaN or fewer than 3 samples; dimensions differ; a
        parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    Time O(n m), in a window O(n window); memory O(n + m). Thread-safe; releases the GIL for all but
    short series. Symmetric to the last bit, and the same bits at every instruction-set level.

    References
    ----------
    E. Keogh and M. Pazzani, "Derivative dynamic time warping", SDM 2001.

    Examples
    --------
    >>> ddtw([0, 1, 4, 9], [5, 6, 9, 14])
    0.0
    """
    plan = plan_ddtw(window=window, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def adtw(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    penalty: float = 1.0,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Amerced DTW: a fixed price for every step that stretches a series.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    penalty : float, default 1.0
        Added to the squared cost of each step that is not diagonal; 0 gives `dtw`.
    cutoff : float, optional
        Answer inf where the distance is greater; equal is kept. Speeds up the rest.
    band : {'sakoe', 'widened', 'slanted'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit (inf);
        ``'widened'`` extends one side by the difference of the lengths; ``'slanted'`` follows the
        matrix's diagonal.
    nan_policy : {'raise', 'propagate', 'omit'}
        NaN is an error, makes the distance NaN, or its samples are left out.

    Returns
    -------
    float
        Root of the sum; inf if no path fits the band or it is above `cutoff`.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite or has NaN; dimensions differ; a parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    Time O(n m), in a window O(n window); memory O(n + m). Thread-safe; releases the GIL for all but
    short series. Symmetric to the last bit, and the same bits at every instruction-set level.

    References
    ----------
    M. Herrmann and G. I. Webb, "Amercing: an intuitive and effective constraint for dynamic time
    warping", Pattern Recognition 137 (2023).

    Examples
    --------
    >>> adtw([0, 0, 1], [0, 1, 1], penalty=0.5)
    1.0
    """
    plan = plan_adtw(window=window, penalty=penalty, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def frechet(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Discrete Frechet distance: the shortest leash that lets two walkers go along both series.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    cutoff : float, optional
        Answer inf where the distance is greater; equal is kept. Speeds up the rest.
    band : {'sakoe', 'widened', 'slanted'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit (inf);
        ``'widened'`` extends one side by the difference of the lengths; ``'slanted'`` follows the
        matrix's diagonal.
    nan_policy : {'raise', 'propagate', 'omit'}
        NaN is an error, makes the distance NaN, or its samples are left out.

    Returns
    -------
    float
        The greatest Euclidean distance of aligned samples, least over all alignments; inf if no
        path fits the band or it is above `cutoff`.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite or has NaN; dimensions differ; a parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    Time O(n m), in a window O(n window); memory O(n + m). Thread-safe; releases the GIL for all but
    short series. Symmetric to the last bit, and the same bits at every instruction-set level.

    References
    ----------
    T. Eiter and H. Mannila, "Computing discrete Frechet distance", TU Wien CD-TR 94/64 (1994).

    Examples
    --------
    >>> frechet([0, 1, 2], [0, 2, 2])
    1.0
    """
    plan = plan_frechet(window=window, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def path(x: Any, y: Any, metric: str = "dtw", **params: Any) -> Alignment:
    """Distance and alignment of two series by an elastic measure.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series, as the measure takes them.
    metric : {'dtw', 'ddtw', 'wdtw', 'adtw', 'frechet', 'msm', 'twe'}
        Measures of which every step aligns two samples; or that function itself.
    **params
        Keywords of the measure, without `cutoff`.

    Returns
    -------
    Alignment
        The distance, the same bits as the measure gives, and the path, a (k, 2) int64 array of
        indices into `x` and `y`, from (0, 0) to (n - 1, m - 1). (For 'ddtw' indices count the
        slopes: 0 is that of sample 1. Samples left out by ``nan_policy='omit'`` are counted, but
        never aligned.) Among equally cheap ways into a cell, the diagonal step is
        preferred, then the one along `x`, then the one along `y`.

    Raises
    ------
    ArgumentValueError
        No path fits the band; or as for the measure.
    ArgumentTypeError
        A parameter that the measure does not have; or as for the measure.
    MemoryLimitError
        Not even the path itself fits in memory.

    Notes
    -----
    Time O(n m). Memory: 2 bits a cell up to 64 MiB; for more cells, every 64th part's first row is
    kept and the parts are computed again, so memory stays at about 512 bytes a column beyond that,
    and time doubles for each factor of 64. Thread-safe; releases the GIL; Ctrl-C is answered.

    References
    ----------
    The row-saving scheme is that of J. A. Grice, R. Hughey and D. Speck, "Reduced space sequence
    alignment", CABIOS 13 (1997).

    Examples
    --------
    >>> path([0, 0, 0, 1], [0, 1, 1], "adtw", penalty=0.5).path.tolist()
    [[0, 0], [1, 0], [2, 1], [3, 2]]
    """
    metric = check_choice("metric", metric_name(metric), WITH_PATH)
    if is_symbolic(metric, params):
        numbering = Numbering()
        x, y = numbering.encode("x", x), numbering.encode("y", y)
    return _align(x, y, metric, params)


def _align(x: Any, y: Any, metric: str, params: Mapping[str, Any]) -> Alignment:
    if "cutoff" in params:
        raise ArgumentValueError(
            f"cutoff is not for paths: a path cannot be infinite, got {params['cutoff']!r}"
        )
    return Alignment(*plan(metric, params).path(x, y))


def dtw_path(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    cost: str = "squared",
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Alignment:
    """Dynamic time warping with the alignment.

    Parameters
    ----------
    x, y, window, cost, band, nan_policy
        As for `dtw`.

    Returns
    -------
    Alignment
        ``distance``, the same bits as `dtw` gives, and ``path``, a (k, 2) int64 array of indices
        into `x` and `y`, from (0, 0) to (n - 1, m - 1). Among equally cheap ways into a cell, the
        diagonal step is preferred, then the one along `x`, then the one along `y`.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError, MemoryLimitError
        As for `path`: no path fits the band; or as for `dtw`.

    See Also
    --------
    path : the same for other measures, with what it costs.

    Notes
    -----
    Time O(n m); memory as for `path`: linear in the lengths for long series. Thread-safe; releases
    the GIL; Ctrl-C is answered.

    Examples
    --------
    >>> dtw_path([0, 0, 1, 2], [0, 1, 2, 2]).path.tolist()
    [[0, 0], [1, 0], [2, 1], [3, 2], [3, 3]]
    """
    return path(x, y, "dtw", window=window, cost=cost, band=band, nan_policy=nan_policy)
