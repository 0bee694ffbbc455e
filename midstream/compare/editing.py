"""Distances that edit series: real penalties, tolerances, moves, splits and merges."""

from __future__ import annotations

from typing import Any

from midstream.compare.measures import (
    check_cutoff,
    plan_edr,
    plan_erp,
    plan_lcss,
    plan_msm,
    plan_twe,
)

__all__ = [
    "edr",
    "erp",
    "lcss",
    "msm",
    "twe",
]


def erp(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    g: Any = 0.0,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Edit distance with real penalty: a sample left out costs its distance to a fixed point.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    g : float or (d,) array_like, default 0.0
        The fixed point.
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
        The distance, a metric; inf if no path fits the band or it is above `cutoff`.

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
    L. Chen and R. Ng, "On the marriage of Lp-norms and edit distance", VLDB 2004.

    Examples
    --------
    >>> erp([1, 2, 3], [1, 3])
    2.0
    """
    plan = plan_erp(window=window, g=g, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def edr(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    epsilon: float | None = None,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Edit distance on real sequences: edits between samples that match within a tolerance.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    epsilon : float, optional
        Samples match if their Euclidean distance is at most this. None: a quarter of the larger
        standard deviation.
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
        Insertions, deletions and substitutions, each 1, over the longer length: 0 to 1; inf if no
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
    L. Chen, M. T. Ozsu and V. Oria, "Robust and fast similarity search for moving object
    trajectories", SIGMOD 2005.

    Examples
    --------
    >>> edr([1, 2, 3, 4], [1, 2, 9, 4], epsilon=0.1)
    0.25
    """
    plan = plan_edr(window=window, epsilon=epsilon, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def lcss(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    epsilon: float = 1.0,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Longest common subsequence of series, as a distance.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    epsilon : float, default 1.0
        Samples match if their Euclidean distance is at most this.
    cutoff : float, optional
        Answer inf where the distance is greater; equal is kept. Speeds up the rest.
    band : {'sakoe', 'widened'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`; ``'widened'`` extends one side by
        the difference of the lengths.
    nan_policy : {'raise', 'propagate', 'omit'}
        NaN is an error, makes the distance NaN, or its samples are left out.

    Returns
    -------
    float
        ``1 - L / min(n, m)``, L the most matches in order within `window`: 0 to 1; inf above
        `cutoff`.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite or has NaN; dimensions differ; a parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    The window restricts which samples may match, so lengths that differ by more are no obstacle.
    `cutoff` saves no time here.

    Time O(n m), in a window O(n window); memory O(n + m). Thread-safe; releases the GIL for all but
    short series. Symmetric to the last bit, and the same bits at every instruction-set level.

    References
    ----------
    M. Vlachos, G. Kollios and D. Gunopulos, "Discovering similar multidimensional trajectories",
    ICDE 2002.

    Examples
    --------
    >>> lcss([1, 2, 3, 4], [1, 9, 3, 4], epsilon=0.1)
    0.25
    """
    plan = plan_lcss(window=window, epsilon=epsilon, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def msm(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    c: float = 1.0,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Move-split-merge: the cheapest edits by moving, splitting and merging values.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    c : float, default 1.0
        Price of a split or a merge.
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
        The distance, a metric; of several dimensions the sum over each alone; inf if no path fits
        the band or it is above `cutoff`.

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
    A. Stefan, V. Athitsos and G. Das, "The move-split-merge metric for time series", IEEE TKDE 25
    (2013).

    Examples
    --------
    >>> msm([1, 2, 2, 3], [1, 2, 3], c=0.5)
    0.5
    """
    plan = plan_msm(window=window, c=c, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))


def twe(
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    nu: float = 0.001,
    lmbda: float = 1.0,
    cutoff: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float:
    """Time warp edit distance: edits between segments, stiff in time.

    Parameters
    ----------
    x, y : (n,) or (n, d), (m,) or (m, d) array_like
        Series of real numbers. float32 on both sides is computed in float32, all else in float64.
    window : int, optional
        Sakoe-Chiba radius in samples, inclusive: ``x[i]`` is compared with ``y[j]`` only where
        ``|i - j| <= window``. None: no limit.
    nu : float, default 0.001
        Stiffness: price of one sample of time difference.
    lmbda : float, default 1.0
        Price of a deletion.
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
        The distance, a metric for ``nu > 0``; inf if no path fits the band or it is above `cutoff`.

    Raises
    ------
    ArgumentValueError
        A series is empty, infinite or has NaN; dimensions differ; a parameter is out of range.
    ArgumentTypeError
        A series does not hold real numbers; a parameter has the wrong type.

    Notes
    -----
    Timestamps are 0, 1, 2, ...; both series start from a sample 0 before the first one.

    Time O(n m), in a window O(n window); memory O(n + m). Thread-safe; releases the GIL for all but
    short series. Symmetric to the last bit, and the same bits at every instruction-set level.

    References
    ----------
    P.-F. Marteau, "Time warp edit distance with stiffness adjustment for time series matching",
    IEEE TPAMI 31 (2009).

    Examples
    --------
    >>> twe([1, 2, 3], [1, 2, 3])
    0.0
    """
    plan = plan_twe(window=window, nu=nu, lmbda=lmbda, band=band, nan_policy=nan_policy)
    return plan.distance(x, y, check_cutoff(cutoff))
