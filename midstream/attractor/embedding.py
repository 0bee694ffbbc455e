"""Delay coordinates, and the choice of their delay, dimension and Theiler window."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int
from midstream.attractor._checks import Floats, as_points, as_series, check_embedding
from midstream.attractor._neighbours import Tree

__all__ = [
    "CaoDimension",
    "DelayChoice",
    "autocorrelation",
    "cao_dimension",
    "embed",
    "mutual_information_delay",
    "theiler_window",
]

#: Below this an autocorrelation counts as lost.
LOST = math.exp(-1.0)


def embed(x: ArrayLike, emb_dim: int, delay: int) -> Floats:
    """Return the delay vectors of a series.

    Parameters
    ----------
    x : (n,) or (n, d) array_like of real numbers
        Samples, equally spaced in time.
    emb_dim : int
        Copies of each sample that a vector holds, m >= 1.
    delay : int
        Samples between two copies.

    Returns
    -------
    ndarray of float64, shape (n - (m - 1) delay, m) or (n - (m - 1) delay, m d)
        Row i is ``x[i], x[i + delay], ..., x[i + (m - 1) delay]``; for several components those
        of a sample stand together.

    Raises
    ------
    ArgumentValueError
        Too short: the message says how many samples are needed. Not finite.
    ArgumentTypeError
        Not real numbers.

    Notes
    -----
    Cost: a copy. Thread-safe.

    References
    ----------
    F. Takens, "Detecting strange attractors in turbulence", Lecture Notes in Mathematics 898, 1981.

    Examples
    --------
    >>> from midstream.attractor import embed
    >>> embed([0, 1, 2, 3, 4, 5], emb_dim=3, delay=2)
    array([[0., 2., 4.],
           [1., 3., 5.]])
    """
    m, step = check_embedding(emb_dim, delay)
    points = as_points("x", x, min_length=(m - 1) * step + 1)
    return delay_vectors(points, m, step)


def delay_vectors(points: Floats, emb_dim: int, delay: int) -> Floats:
    """`embed` without checks: `points` is (n,) or (n, d), and long enough."""
    columns = points.reshape(len(points), -1)
    count = len(columns) - (emb_dim - 1) * delay
    return np.concatenate(
        [columns[k * delay : k * delay + count] for k in range(emb_dim)], axis=1
    ).copy(order="C")


def autocorrelation(x: ArrayLike, max_lag: int | None = None) -> Floats:
    """Return the autocorrelation of a series at lags 0, 1, ..., `max_lag`.

    Parameters
    ----------
    x : (n,) array_like of real numbers
    max_lag : int, optional
        Default: n - 1, and never more.

    Returns
    -------
    ndarray of float64, shape (max_lag + 1,)
        Sums over all pairs at a lag divided by the sum at lag 0 (the biased estimate, which is
        positive definite). All NaN where the series is constant.

    Raises
    ------
    ArgumentValueError
        Empty, not one-dimensional, or not finite; `max_lag` negative.
    ArgumentTypeError
        Not real numbers.

    Notes
    -----
    Cost: O(n log n), by Fourier transform. Thread-safe.

    Examples
    --------
    >>> from midstream.attractor import autocorrelation
    >>> autocorrelation([1, -1, 1, -1], max_lag=2).round(6).tolist()
    [1.0, -0.75, 0.5]
    """
    series = as_series("x", x)
    most = len(series) - 1
    if max_lag is not None:
        most = min(check_int("max_lag", max_lag, low=0), most)
    return correlations(series, most)


def correlations(series: Floats, max_lag: int) -> Floats:
    """`autocorrelation` without checks."""
    size = series.max() - series.min()
    if not size > 0:
        return np.full(max_lag + 1, np.nan)
    centred = (series - series.mean()) / size
    length = 1 << (len(series) + max_lag).bit_length()
    spectrum = np.fft.rfft(centred, length)
    sums = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, length)[: max_lag + 1]
    return np.asarray(sums / sums[0], dtype=np.float64)


@dataclass(frozen=True)
class DelayChoice:
    """An embedding delay, and the curve it was read off; ``int()`` gives the delay.

    Attributes
    ----------
    delay : int
        In samples.
    reason : str
        Rule that chose it: ``"first_minimum"``, ``"uncorrelated"``, ``"decayed"``,
        ``"quarter_period"``, ``"constant"`` or ``"too_short"``.
    curve : ndarray, shape (2, lags)
        Lags in samples, and mutual information in nats.
    autocorrelation : ndarray, shape (lags,)
        At the same lags.
    """

    delay: int
    reason: str
    curve: NDArray[np.float64] = field(repr=False)
    autocorrelation: NDArray[np.float64] = field(repr=False)

    def __int__(self) -> int:
        return self.delay

    def __index__(self) -> int:
        return self.delay

    def __float__(self) -> float:
        return float(self.delay)

    def _repr_html_(self) -> str:
        return f"<b>delay {self.delay}</b> samples ({html.escape(self.reason)})"


def mutual_information_delay(
    x: ArrayLike, max_delay: int | None = None, *, bins: int | None = None
) -> DelayChoice:
    """Choose an embedding delay: the first minimum of the average mutual information.

    Parameters
    ----------
    x : (n,) array_like of real numbers
    max_delay : int, optional
        Largest lag looked at. Default: where the autocorrelation has been lost for four times as
        long as it took to be lost, and n // 10 at most.
    bins : int, optional
        Cells in each direction, equally full. Default: ``n ** (1 / 3)``, from 4 to 32.

    Returns
    -------
    DelayChoice
        ``int()`` gives the delay; ``curve`` keeps lags and mutual information; ``reason`` names
        the rule.

    Raises
    ------
    ArgumentValueError
        Empty, not one-dimensional, not finite; `max_delay` or `bins` out of range.
    ArgumentTypeError
        Not real numbers.

    Notes
    -----
    Rules, the first that applies:

    - ``"constant"``, ``"too_short"`` (fewer than 20 samples): 1;
    - ``"uncorrelated"``: the autocorrelation is below 1/e at lag 1 in absolute value, as that of
      most maps and of noise is: 1. Their mutual information falls from lag 0 on, and its first
      minimum would be where all memory is lost;
    - ``"first_minimum"``: the first lag whose mutual information is below that of all lags within
      two samples (a third of the lag for long ones), if it falls until there and rises again, both
      up to three standard deviations of its sampling error, ``(bins - 1) / (sqrt(2) n)``. Curves
      of exact functions, as that of a pure sine, jump up and down with the cells instead;
    - ``"quarter_period"``: no such minimum, and the autocorrelation crosses 0: there;
    - ``"decayed"``: the first lag at which the autocorrelation is below 1/e, or `max_delay`.

    Cells are by rank, so any monotonic change of the scale leaves the answer as it is. Cost:
    O(n) for every lag. Thread-safe.

    References
    ----------
    A. M. Fraser and H. L. Swinney, "Independent coordinates for strange attractors from mutual
    information", Physical Review A 33, 1134, 1986.

    Examples
    --------
    A quarter of the period makes the two coordinates of a circle:

    >>> import numpy as np
    >>> from midstream.attractor import mutual_information_delay
    >>> choice = mutual_information_delay(np.sin(2 * np.pi * np.arange(1000) / 40.3))
    >>> int(choice) in (9, 10, 11)
    True
    """
    series = as_series("x", x)
    cells = 0 if bins is None else check_int("bins", bins, low=2, high=1024)
    most = 0 if max_delay is None else check_int("max_delay", max_delay, low=1)
    return choose_delay(series, most, cells)


def choose_delay(series: Floats, max_delay: int = 0, bins: int = 0) -> DelayChoice:
    """`mutual_information_delay` without checks; 0 stands for the defaults."""
    n = len(series)
    nothing = np.empty((2, 0))
    if n < 20:
        return DelayChoice(1, "too_short", nothing, np.empty(0))
    ceiling = max(n // 10, 2)
    correlation = correlations(series, min(max(ceiling, max_delay), n - 1))
    if np.isnan(correlation[0]):
        return DelayChoice(1, "constant", nothing, np.empty(0))
    lost = first_below(correlation, LOST)
    most = min(max_delay or min(max(5 * lost, 8), ceiling), n - 2)
    cells = bins or min(max(round(n ** (1 / 3)), 4), 32)
    information = mutual_information(series, most, cells)
    lags = np.arange(most + 1.0)
    curve = np.stack([lags, information])
    correlation = correlation[: most + 1]
    if abs(correlation[1]) < LOST:
        return DelayChoice(1, "uncorrelated", curve, correlation)
    found = first_minimum(information, 3 * (cells - 1) / (math.sqrt(2) * n))
    if found:
        return DelayChoice(found, "first_minimum", curve, correlation)
    crossing = first_below(correlation, 0.0)
    if crossing <= most and correlation[crossing] < 0:
        return DelayChoice(crossing, "quarter_period", curve, correlation)
    return DelayChoice(max(min(lost, most), 1), "decayed", curve, correlation)


def first_below(curve: Floats, level: float) -> int:
    """First index at which `curve` is below `level`, or the last one."""
    below = np.flatnonzero(curve < level)
    return int(below[0]) if len(below) else len(curve) - 1


def first_minimum(information: Floats, rise: float) -> int:
    """First minimum behind index 0 that is one within its surroundings; 0 if there is none."""
    for lag in range(1, len(information) - 1):
        here = information[lag]
        if here > information[lag - 1] + rise:
            break  # ragged
        if information[lag - 1] < here or information[lag + 1] < here:
            continue
        reach = max(2, lag // 3)
        near = information[max(lag - reach, 1) : lag + reach + 1]
        if here > near.min():
            continue
        # It rises again by more than chance before it falls below this value.
        behind = information[lag + 1 :]
        lower = np.flatnonzero(behind < here)
        if behind[: lower[0] if len(lower) else len(behind)].max(initial=here) > here + rise:
            return lag
    return 0


def mutual_information(series: Floats, max_lag: int, bins: int) -> Floats:
    """Mutual information of x[t] and x[t + lag] in nats, lags 0 .. max_lag, cells by rank."""
    n = len(series)
    ranks = np.empty(n, dtype=np.int64)
    ranks[np.argsort(series, kind="stable")] = np.arange(n)
    # Equal samples share a cell: the one of the first of them.
    _, inverse, counts = np.unique(series, return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    codes = (starts[inverse] if len(counts) < n else ranks) * bins // n
    out = np.empty(max_lag + 1)
    for lag in range(max_lag + 1):
        left, right = codes[: n - lag], codes[lag:]
        joint = np.bincount(left * bins + right, minlength=bins * bins).reshape(bins, bins)
        out[lag] = information_of(joint)
    return out


def information_of(joint: NDArray[np.int64]) -> float:
    """Mutual information of a table of counts, in nats."""
    total = int(joint.sum())
    entropies = []
    for counts in (joint.ravel(), joint.sum(axis=0), joint.sum(axis=1)):
        some = counts[counts > 0].astype(np.float64)
        entropies.append(math.log(total) - float(some @ np.log(some)) / total)
    return entropies[1] + entropies[2] - entropies[0]


def theiler_window(x: ArrayLike, *, delay: int | None = None) -> int:
    """Estimate how many samples apart two points must be for not being close in time alone.

    Parameters
    ----------
    x : (n,) array_like of real numbers
    delay : int, optional
        The window is no shorter than this.

    Returns
    -------
    int
        The first zero of the autocorrelation, twice (half a period and more for oscillations), or
        thrice the time after which it has fallen to 1/e where it has no zero before; n // 10 at
        most, at least 1.

    Raises
    ------
    ArgumentValueError
        Empty, not one-dimensional, or not finite.
    ArgumentTypeError
        Not real numbers.

    Notes
    -----
    Pairs with ``|i - j| <= theiler`` are excluded wherever midstream takes a Theiler window. Cost:
    O(n log n). Thread-safe.

    References
    ----------
    J. Theiler, "Spurious dimension from correlation algorithms applied to limited time-series
    data", Physical Review A 34, 2427, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import theiler_window
    >>> theiler_window(np.sin(2 * np.pi * np.arange(1000) / 40))
    22
    """
    series = as_series("x", x)
    least = 1 if delay is None else check_int("delay", delay, low=1)
    return window_of(correlations(series, max(len(series) // 10, 1)), least, len(series))


def window_of(correlation: Floats, delay: int, n: int) -> int:
    """`theiler_window` from the autocorrelation."""
    ceiling = max(n // 10, 1)
    if np.isnan(correlation[0]):
        return 1
    lost = first_below(correlation, LOST)
    zero = first_below(correlation, 0.0)
    window = 2 * zero if correlation[zero] < 0 and zero < 3 * lost else 3 * lost
    return int(min(max(window, delay, 1), ceiling))


@dataclass(frozen=True)
class CaoDimension:
    """An embedding dimension, and the curves it was read off; ``int()`` gives the dimension.

    Attributes
    ----------
    dimension : int
        Smallest at which E1 has saturated; the largest tried where it has not.
    e1, e2 : ndarray, shape (max_dim,)
        E1 and E2 at dimensions 1, 2, ...
    saturated : bool
        Whether E1 saturates within `max_dim`.
    deterministic : bool
        Whether E2 departs from 1 at some dimension by more than chance does.
    reason : str
        ``"ok"``, ``"not_saturated"``, ``"constant"`` or ``"too_few_neighbours"``.
    """

    dimension: int
    e1: NDArray[np.float64] = field(repr=False)
    e2: NDArray[np.float64] = field(repr=False)
    saturated: bool
    deterministic: bool
    reason: str = "ok"

    def __int__(self) -> int:
        return self.dimension

    def __index__(self) -> int:
        return self.dimension

    def __float__(self) -> float:
        return float(self.dimension)

    def _repr_html_(self) -> str:
        kind = "deterministic" if self.deterministic else "as noise is"
        return f"<b>dimension {self.dimension}</b> ({html.escape(self.reason)}; E2 {kind})"


def cao_dimension(
    x: ArrayLike,
    delay: int,
    max_dim: int = 10,
    *,
    theiler: int | None = None,
    threshold: float = 0.9,
    max_points: int = 4000,
) -> CaoDimension:
    """Choose an embedding dimension by Cao's averaged false neighbours.

    Parameters
    ----------
    x : (n,) array_like of real numbers
    delay : int
        In samples.
    max_dim : int, default 10
        Largest dimension tried, 2 to 30.
    theiler : int, optional
        Pairs with ``|i - j| <= theiler`` are no neighbours. Default: `theiler_window`.
    threshold : float, default 0.9
        E1 above this, and rising by less than ``(1 - threshold) / 2`` from there to the next, has
        saturated.
    max_points : int, default 4000
        Points whose neighbours are looked up, spread evenly; fewer are faster.

    Returns
    -------
    CaoDimension
        ``int()`` gives the dimension.

    Raises
    ------
    ArgumentValueError
        Shorter than ``max_dim * delay + theiler + 2`` samples; not one-dimensional; not finite.
    ArgumentTypeError
        Not real numbers.

    Notes
    -----
    E(m) is the mean ratio of the distances, in dimensions m + 1 and m, between a point and its
    nearest neighbour in dimension m (largest coordinate difference, as in the paper); E1 =
    E(m + 1) / E(m) tends to 1 once m is enough. E2 does the same for the new coordinate alone: it
    is 1 at every m for random series, and different from 1 at some m for deterministic ones.
    Neighbours at distance 0 are skipped. Cost: O(n log n) for every dimension. Thread-safe; the
    GIL is released.

    References
    ----------
    L. Cao, "Practical method for determining the minimum embedding dimension of a scalar time
    series", Physica D 110, 43, 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import cao_dimension
    >>> x = np.empty(1000); x[0] = x[1] = 0.1
    >>> for i in range(998):
    ...     x[i + 2] = 1 - 1.4 * x[i + 1] ** 2 + 0.3 * x[i]
    >>> int(cao_dimension(x, delay=1))
    2
    """
    series = as_series("x", x)
    delay = check_int("delay", delay, low=1)
    max_dim = check_int("max_dim", max_dim, low=2, high=30)
    points = check_int("max_points", max_points, low=10)
    if theiler is None:
        window = window_of(correlations(series, max(len(series) // 10, 1)), delay, len(series))
    else:
        window = check_int("theiler", theiler, low=0)
    least = max_dim * delay + window + 2
    if len(series) < least:
        raise ArgumentValueError(
            f"x must have at least {least} samples for max_dim={max_dim}, delay={delay} and "
            f"theiler={window}, got {len(series)}"
        )
    return averaged_false_neighbours(series, delay, max_dim, window, threshold, points)


def averaged_false_neighbours(
    series: Floats, delay: int, max_dim: int, theiler: int, threshold: float, max_points: int
) -> CaoDimension:
    """`cao_dimension` without checks."""
    size = float(series.max() - series.min())
    nothing = np.full(max_dim, np.nan)
    if not size > 0:
        return CaoDimension(1, nothing, nothing.copy(), False, False, "constant")
    scaled = (series - series.mean()) / size
    ratios: list[float] = []
    steps: list[float] = []
    spread: list[float] = []
    for m in range(1, max_dim + 2):
        count = len(scaled) - m * delay
        if count <= theiler + 1:
            break
        vectors = delay_vectors(scaled[: len(scaled) - delay], m, delay)
        centres = centres_of(count, max_points)
        index, distance = neighbours(Tree(vectors), centres, 1, theiler, count, maximum=True)
        near, gap = index[:, 0], distance[:, 0]
        good = (near >= 0) & (gap > 0)
        if good.sum() < 10:
            break
        new = np.abs(scaled[centres[good] + m * delay] - scaled[near[good] + m * delay])
        ratios.append(float(np.mean(np.maximum(gap[good], new) / gap[good])))
        steps.append(float(new.mean()))
        spread.append(float(new.std() / (new.mean() * math.sqrt(good.sum()))) if steps[-1] else 0.0)
    if len(ratios) < 3:
        return CaoDimension(1, nothing, nothing.copy(), False, False, "too_few_neighbours")
    e = np.array(ratios)
    star = np.array(steps)
    e1 = np.full(max_dim, np.nan)
    e2 = np.full(max_dim, np.nan)
    e1[: len(e) - 1] = e[1:] / e[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        e2[: len(e) - 1] = star[1:] / star[:-1]
    # Neighbours share points, so the error of a mean is some times that of independent ones.
    error = 6 * math.sqrt(2) * max(spread)
    deterministic = bool(np.nanmax(np.abs(e2 - 1)) > max(0.1, error))
    for m in range(1, len(e) - 1):
        if e1[m - 1] >= threshold and e1[m] - e1[m - 1] <= (1 - threshold) / 2:
            return CaoDimension(m, e1, e2, True, deterministic)
    return CaoDimension(len(e) - 1, e1, e2, False, deterministic, "not_saturated")


def centres_of(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` indices below `count`, spread evenly."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.arange(most, dtype=np.int64) * count // most


def neighbours(
    tree: Tree,
    centres: NDArray[np.int64],
    k: int,
    theiler: int,
    limit: int,
    *,
    maximum: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`Tree.nearest` with Ctrl-C answered."""
    found: Any = tree.nearest(centres, k, theiler, limit, maximum, Poll())
    return found  # type: ignore[no-any-return]  # None only where another thread stops the poll
