"""Recurrence plots: when a system comes back to where it was, and the lines that this makes."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.deprecation import deprecated
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_choice, check_int, check_real
from midstream.attractor._checks import Floats, check_embedding, samples_with_gaps
from midstream.attractor._pairs import PAD, Ladder, Pairs
from midstream.attractor._recurrence import Lines
from midstream.attractor.dimension import partners, power_of_two
from midstream.attractor.entropies import pairs_apart

__all__ = ["RQA", "Recurrence", "recurrence", "rqa"]

#: Share of recurrent pairs where neither a threshold nor a share is given.
USUAL_RATE = 0.05
#: Groups of diagonals, or rows, that share points in a block of work.
GROUPS = 4
#: Samples that a vector may reach over to be made of bits; else vectors themselves are compared.
MOST_REACH = 4096
#: Distances looked at for a threshold; of longer series only so many reference points are taken.
MOST_DISTANCES = 10**8
#: Radii of a pass that looks for a threshold, and passes.
RADII, PASSES = 1000, 6
#: Points of an image, at most, in either direction.
PIXELS = 512

Counts = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Recurrence:
    """A recurrence plot that is computed where it is asked for, and never stored.

    Attributes
    ----------
    n : int
        Vectors; the plot is (n, n).
    emb_dim, delay, theiler : int
        As given to `recurrence`.
    threshold : float
        Largest distance that counts as a recurrence, in units of the series.
    norm : str
        ``"max"`` or ``"euclidean"``.
    rate : float
        Share of recurrent pairs among those more than `theiler` apart; computed when first asked
        for.
    """

    n: int
    emb_dim: int
    delay: int
    theiler: int
    threshold: float
    norm: str
    _lines: Lines = field(repr=False)
    _present: NDArray[np.bool_] = field(repr=False)

    @cached_property
    def rate(self) -> float:
        points = self._points_by_lag(1, lambda done, total: None)[1]
        total = pairs_apart(self._present, self.theiler)
        return float(points.sum()) / total if total else math.nan

    def rows(self, first: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
        """Rows `first` .. `stop` - 1 of the plot, Theiler window included: (stop - first, n)."""
        first = check_int("first", first, low=0, high=self.n)
        stop = self.n if stop is None else check_int("stop", stop, low=first, high=self.n)
        check_memory(f"{stop - first} rows of {self.n} cells", (stop - first) * self.n * 9 // 8)
        return self._lines.bits(first, stop)

    def matrix(self) -> NDArray[np.bool_]:
        """The whole plot, Theiler window and main diagonal included: (n, n) array of bool.

        Raises
        ------
        MemoryLimitError
            It would not fit.
        """
        return self.rows()

    def sparse(self) -> Any:
        """The whole plot as a ``scipy.sparse.csr_array`` of bool; memory grows with the points."""
        sparse = __import__("scipy.sparse", fromlist=["csr_array"])
        columns = [np.flatnonzero(row) for row in self]
        ends = np.cumsum([0, *map(len, columns)])
        where = np.concatenate(columns) if columns else np.empty(0, dtype=np.int64)
        values = np.ones(len(where), dtype=bool)
        return sparse.csr_array((values, where, ends), shape=(self.n, self.n))

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        """Row by row."""
        for first in range(0, self.n, 64):
            yield from self._lines.bits(first, min(first + 64, self.n))

    def __len__(self) -> int:
        return self.n

    def image(self, pixels: int = PIXELS) -> Floats:
        """Share of recurrent cells in each of at most (pixels, pixels) squares of the plot."""
        pixels = min(check_int("pixels", pixels, low=1), self.n)
        edges = np.linspace(0, self.n, pixels + 1).astype(int)
        out = np.zeros((pixels, pixels))
        for k in range(pixels):
            for first in range(edges[k], edges[k + 1], 64):
                rows = self._lines.bits(first, min(first + 64, int(edges[k + 1])))
                out[k] += np.add.reduceat(rows.sum(axis=0), edges[:-1])
        return np.asarray(out / np.outer(np.diff(edges), np.diff(edges)))

    def rqa(self, **arguments: Any) -> RQA:
        """`rqa` of this plot; takes its keywords but for those that make a plot."""
        return rqa(self, **arguments)

    def _points_by_lag(
        self, threads: int, tell: Callable[[int, int], object]
    ) -> tuple[Counts, Counts]:
        """Lengths of diagonal lines above the main one, and points by lag."""
        lines = self._lines
        total = math.comb(self.n - self.theiler, 2)
        lags = GROUPS * lines.together[0]

        def work(first: int, poll: Poll, lengths: Counts, points: Counts) -> int | None:
            return lines.diagonals(first, min(first + lags, self.n), lengths, points, poll)

        def done(last: int) -> None:
            tell(total - math.comb(self.n - last + 1, 2), total)

        blocks = range(self.theiler + 1, self.n, lags)
        return _summed(work, blocks, threads, (self.n + 1, self.n), done)

    def _lengths_in_columns(
        self, threads: int, tell: Callable[[int, int], object]
    ) -> tuple[Counts, Counts]:
        """Lengths of vertical lines, and times between them."""
        lines = self._lines
        rows = GROUPS * lines.together[1]

        def work(first: int, poll: Poll, lengths: Counts, times: Counts) -> int | None:
            # The plot is symmetric: rows are columns.
            return lines.rows(first, min(first + rows, self.n), lengths, times, poll)

        def done(last: int) -> None:
            tell(last, self.n)

        return _summed(work, range(0, self.n, rows), threads, (self.n + 1, self.n + 1), done)

    def _repr_html_(self) -> str:
        return (
            f"<b>recurrence plot</b> of {self.n} vectors, threshold {self.threshold:.4g} "
            f"({html.escape(self.norm)} norm), emb_dim {self.emb_dim}, delay {self.delay}, "
            f"theiler {self.theiler}"
        )


def _summed(
    work: Callable[[int, Poll, Counts, Counts], int | None],
    blocks: Sequence[int],
    threads: int,
    sizes: tuple[int, int],
    done: Callable[[int], None],
) -> tuple[Counts, Counts]:
    """Counts of all blocks, one pair of arrays for each thread."""
    made: list[tuple[Counts, Counts]] = []
    idle: list[tuple[Counts, Counts]] = []

    def with_arrays(block: int, poll: Poll) -> int | None:
        try:
            mine = idle.pop()
        except IndexError:  # as many as there are threads
            mine = np.zeros(sizes[0], np.uint64), np.zeros(sizes[1], np.uint64)
            made.append(mine)
        last = work(block, poll, *mine)
        idle.append(mine)
        return last

    for last in in_blocks(with_arrays, blocks, threads):
        done(last)
    if not made:
        return np.zeros(sizes[0], np.uint64), np.zeros(sizes[1], np.uint64)
    for other in made[1:]:
        for into, part in zip(made[0], other, strict=True):
            into += part
    return made[0]


def recurrence(
    x: ArrayLike,
    *,
    emb_dim: int = 1,
    delay: int = 1,
    threshold: float | None = None,
    recurrence_rate: float | None = None,
    norm: str = "max",
    theiler: int = 0,
    nan_policy: str = "raise",
) -> Recurrence:
    """Make the recurrence plot of a series: which of its states are close to which.

    Parameters
    ----------
    x : (n,) or (n, d) array_like of real numbers
        A series, or points.
    emb_dim : int, default 1
        Copies of each sample that a vector holds; 1 takes `x` as it is.
    delay : int, default 1
        Samples between two copies.
    threshold : float, optional
        Largest distance of a recurrence, in units of `x`.
    recurrence_rate : float, optional
        Share of pairs that are to recur, above 0 to 1, instead of a threshold. Default, without
        either: 0.05.
    norm : {"max", "euclidean"}, default "max"
    theiler : int, default 0
        Pairs with ``|i - j| <= theiler`` do not count in rates and lines, the main diagonal never.
    nan_policy : {"raise", "omit"}, default "raise"
        With ``"omit"`` vectors with a sample that is NaN or infinite recur nowhere.

    Returns
    -------
    Recurrence
        ``matrix()``, ``sparse()``, ``rows()``, ``image()``, ``rate``, ``rqa()``.

    Raises
    ------
    ArgumentValueError
        Fewer than ``(emb_dim - 1) * delay + theiler + 2`` samples, NaN or infinite, both or neither
        sensible of `threshold` and `recurrence_rate`, or a parameter out of range.
    ArgumentTypeError
        Not real numbers.

    See Also
    --------
    rqa : the lines in the plot, counted.
    midstream.plot.recurrence_plot : a picture.

    Notes
    -----
    A recurrence rate is met by the smallest threshold that reaches it, found in a few passes over
    the distances without keeping them: up to 14,000 vectors exactly, beyond that from evenly spaced
    reference points, 1e8 distances in all. With the Euclidean norm sums of squares are compared
    with the square of the threshold.

    Memory: O(n emb_dim) at most. Thread-safe.

    References
    ----------
    N. Marwan, M. C. Romano, M. Thiel, J. Kurths, "Recurrence plots for the analysis of complex
    systems", Physics Reports 438, 237 (2007).

    Examples
    --------
    >>> from midstream.attractor import recurrence
    >>> plot = recurrence([0, 1, 2, 0, 1, 2], threshold=0.5)
    >>> plot.matrix()[0].astype(int)
    array([1, 0, 0, 1, 0, 0])
    >>> plot.rate
    0.2
    """
    emb_dim, delay = check_embedding(emb_dim, delay)
    theiler = check_int("theiler", theiler, low=0)
    check_choice("norm", norm, ("max", "euclidean"))
    check_choice("nan_policy", nan_policy, ("raise", "omit"))
    if threshold is not None and recurrence_rate is not None:
        raise ArgumentValueError("threshold and recurrence_rate must not both be given")
    if threshold is not None:
        threshold = check_real("threshold", threshold, low=0)
    else:
        rate = USUAL_RATE if recurrence_rate is None else recurrence_rate
        rate = check_real("recurrence_rate", rate, low=0, high=1)
        if not rate > 0:
            raise ArgumentValueError(f"recurrence_rate must be above 0, got {rate!r}")
    samples, present = samples_with_gaps(
        "x", x, emb_dim, delay, theiler, nan_policy, "lets such samples recur nowhere"
    )
    euclidean = norm == "euclidean"
    scale = power_of_two(samples[np.isfinite(samples).all(axis=1)])
    # NaN recurs nowhere; an infinite sample would, with itself.
    scaled = np.where(np.isfinite(samples), samples, np.nan) * scale
    if threshold is None:
        threshold = _threshold(scaled, present, emb_dim, delay, theiler, euclidean, rate) / scale
    vectors = euclidean or (emb_dim - 1) * delay > MOST_REACH
    components = _components(scaled, emb_dim if vectors else 1, delay)
    # Wider than all the points is as good as infinite, and its square is not.
    limit = min(threshold * scale, 4.0 * len(components) * emb_dim)
    lines = Lines(
        components,
        1 if vectors else emb_dim,
        1 if vectors else delay,
        theiler,
        limit * limit if euclidean else limit,
        euclidean,
    )
    return Recurrence(lines.n, emb_dim, delay, theiler, threshold, norm, lines, present)


def _components(samples: Floats, emb_dim: int, delay: int) -> Floats:
    """Delay vectors by component, padded."""
    width = samples.shape[1]
    n = len(samples) - (emb_dim - 1) * delay
    check_memory(f"{n} vectors", 8 * width * emb_dim * (n + PAD))
    components = np.zeros((width * emb_dim, n + PAD))
    for k in range(emb_dim):
        components[k * width : (k + 1) * width, :n] = samples[k * delay : k * delay + n].T
    return components


def _threshold(
    samples: Floats,
    present: NDArray[np.bool_],
    emb_dim: int,
    delay: int,
    theiler: int,
    euclidean: bool,
    rate: float,
) -> float:
    """The smallest radius within which a share `rate` of the pairs is."""
    components = _components(samples, emb_dim, delay)
    times = np.flatnonzero(present)
    if len(times) < len(present):
        components = np.ascontiguousarray(
            np.concatenate([components[:, times], np.zeros((len(components), PAD))], axis=1)
        )
    n = len(times)
    start = partners(times, theiler)
    every = max(1, math.ceil(n * n / 2 / MOST_DISTANCES))
    total = int((n - start[::every]).sum())
    if total == 0:
        raise ArgumentValueError("x must have two finite vectors more than theiler apart")
    wanted = math.ceil(rate * total)
    pairs = Pairs(components, start, [len(components)], euclidean)

    def count(ladder: Ladder) -> Counts:
        counted = pairs.count(ladder, (0, n), (0, n), every, Poll())
        assert counted is not None  # nobody else has its poll
        return np.asarray(counted[0].cumsum())

    low, high = 0.0, float(16 * len(components) ** 2)
    for _ in range(PASSES):
        # Octaves first: distances may be of any size.
        rungs = (
            np.append(2.0 ** np.arange(-900.0, 10.0), high)
            if low == 0 and high > 4
            else np.unique(np.linspace(low, high, RADII + 1)[1:])
        )
        within = count(Ladder(rungs))[:-1]
        k = int(np.searchsorted(within, wanted))
        low, high = (float(rungs[k - 1]) if k else low), float(rungs[k])
        if math.nextafter(low, math.inf) >= high:
            break
    radius = math.sqrt(high) if euclidean else high
    while euclidean and radius * radius < high:
        radius = math.nextafter(radius, math.inf)
    return radius


@dataclass(frozen=True)
class RQA:
    """Recurrence quantification; ``result["DET"]`` and ``result.det`` are the same.

    Means and entropies of lines are over those of the least length and more; NaN where there are
    none.

    Attributes
    ----------
    rr : float
        RR: recurrent share of the pairs outside the Theiler window.
    det : float
        DET: share of the recurrences that are in diagonal lines.
    l_mean, l_max : float, int
        L, Lmax: mean and longest diagonal line, in samples.
    div : float
        DIV: 1 / l_max.
    entr : float
        ENTR: Shannon entropy of the lengths of diagonal lines, in nats.
    trend : float
        TREND: slope of the recurrence rate of diagonals over their distance from the main one,
        per 1000 samples.
    lam : float
        LAM: share of the recurrences that are in vertical lines.
    tt, v_max : float, int
        TT, Vmax: mean (trapping time) and longest vertical line, in samples.
    v_entr : float
        VENTR: Shannon entropy of the lengths of vertical lines, in nats.
    mrt : float
        MRT: mean recurrence time: between the middles of neighbouring vertical lines, in samples.
    rte : float
        RTE: Shannon entropy of the recurrence times, in nats.
    nmprt : int
        NMPRT: how often the most frequent recurrence time occurs.
    n, theiler : int
        Vectors, and the Theiler window.
    threshold : float
        In units of the series.
    points : int
        Recurrences outside the Theiler window, both halves.
    diagonal, vertical, times : ndarray of int64, shape (longest + 1,)
        How many lines of each length, and recurrence times, there are in the whole plot.
    """

    rr: float
    det: float
    l_mean: float
    l_max: int
    div: float
    entr: float
    trend: float
    lam: float
    tt: float
    v_max: int
    v_entr: float
    mrt: float
    rte: float
    nmprt: int
    n: int
    theiler: int
    threshold: float
    points: int
    diagonal: NDArray[np.int64] = field(repr=False, compare=False)
    vertical: NDArray[np.int64] = field(repr=False, compare=False)
    times: NDArray[np.int64] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, float]:
        """The measures by their names in the literature."""
        return {name: getattr(self, attribute) for name, attribute in _NAMES.items()}

    @deprecated("to_dict()", "0.2")
    def as_dict(self) -> dict[str, float]:
        """`to_dict`, by an older name.

        .. deprecated:: 0.2
        """
        return self.to_dict()

    def __getitem__(self, name: str) -> float:
        try:
            return float(getattr(self, _NAMES[name]))
        except KeyError:
            raise KeyError(f"{name!r}: there are {', '.join(_NAMES)}") from None

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{name}</th><td>{value:.6g}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<b>recurrence quantification of {self.n} vectors</b><table>{rows}</table>"


_NAMES = {
    "RR": "rr",
    "DET": "det",
    "L": "l_mean",
    "Lmax": "l_max",
    "DIV": "div",
    "ENTR": "entr",
    "TREND": "trend",
    "LAM": "lam",
    "TT": "tt",
    "Vmax": "v_max",
    "VENTR": "v_entr",
    "MRT": "mrt",
    "RTE": "rte",
    "NMPRT": "nmprt",
}


def rqa(
    x: ArrayLike | Recurrence,
    *,
    l_min: int = 2,
    v_min: int = 2,
    border: int = 10,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
    **arguments: Any,
) -> RQA:
    """Quantify the lines of a recurrence plot, in memory that grows with the series alone.

    Parameters
    ----------
    x : array_like or Recurrence
        A series or points, as in `recurrence`; or a plot.
    l_min, v_min : int, default 2
        Least length of diagonal and of vertical lines.
    border : int, default 10
        Diagonals in the corners that TREND leaves out, since they are short.
    n_jobs : int, default 1
        Threads; -1: one for every processor, -2: for all but one; None: 1.
    progress : callable or bar, optional
        ``progress(done, total)`` is called now and then; or a tqdm bar. Both count thousandths.
    **arguments
        Of `recurrence`: ``emb_dim``, ``delay``, ``threshold``, ``recurrence_rate``, ``norm``,
        ``theiler``, ``nan_policy``. Not with a plot, which has them.

    Returns
    -------
    RQA

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        As `recurrence`; and `l_min` or `v_min` below 1, `border` negative.

    Notes
    -----
    Definitions are those of RecurrenceAnalysis.jl, where sources differ: lines at the border of the
    plot or of the Theiler window count with the length that is seen; recurrence times are between
    the middles of lines, across the window too; TREND is as in [1]_, eq. 58. A Theiler window of w
    here is one of w + 1 there.

    The plot is computed twice, by diagonals and by rows, in tiles of bits that are cut into runs.
    With the maximum norm the embedding costs next to nothing: its bits are those of the series,
    shifted and joined. Cost: O(n**2), some 4 s for 100,000 samples at a recurrence rate of 5 %,
    and two to three times that with the Euclidean norm and three dimensions; memory O(n). The same
    counts at every instruction-set level and number of threads. Thread-safe; the GIL is released;
    Ctrl-C is answered.

    References
    ----------
    .. [1] N. Marwan, M. C. Romano, M. Thiel, J. Kurths, Physics Reports 438, 237 (2007).
    .. [2] C. L. Webber, J. P. Zbilut, "Recurrence quantification analysis of nonlinear dynamical
       systems" (2005).

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import rqa
    >>> result = rqa(np.sin(np.arange(1000) / 5), emb_dim=2, delay=8, threshold=0.1)
    >>> round(result.det, 3), round(result.mrt, 1)  # a period is 31.4 samples
    (0.988, 31.5)
    """
    l_min = check_int("l_min", l_min, low=1)
    v_min = check_int("v_min", v_min, low=1)
    border = check_int("border", border, low=0)
    threads = worker_count(n_jobs)
    tell = as_progress("progress", progress)
    if not isinstance(x, Recurrence):
        x = recurrence(x, **arguments)
    elif arguments:
        raise ArgumentTypeError(f"a plot has its {', '.join(arguments)} already")
    # Rows visit every cell, diagonals half of them.
    lengths, by_lag = x._points_by_lag(threads, lambda done, total: tell(333 * done // total, 1000))
    vertical, times = x._lengths_in_columns(
        threads, lambda done, total: tell(333 + 667 * done // total, 1000)
    )
    return _measure(x, 2 * lengths, vertical, times, by_lag, l_min, v_min, border)


def _measure(
    plot: Recurrence,
    diagonal: Counts,
    vertical: Counts,
    times: Counts,
    by_lag: Counts,
    l_min: int,
    v_min: int,
    border: int,
) -> RQA:
    points = 2 * int(by_lag.sum())
    pairs = pairs_apart(plot._present, plot.theiler)
    l_max, v_max = _longest(diagonal, l_min), _longest(vertical, v_min)
    return RQA(
        rr=points / (2 * pairs) if pairs else math.nan,
        det=_points_from(diagonal, l_min) / points if points else math.nan,
        l_mean=_mean(diagonal, l_min),
        l_max=l_max,
        div=1 / l_max if l_max else math.nan,
        entr=_entropy(diagonal, l_min),
        trend=_trend(by_lag, plot.theiler, border),
        lam=_points_from(vertical, v_min) / points if points else math.nan,
        tt=_mean(vertical, v_min),
        v_max=v_max,
        v_entr=_entropy(vertical, v_min),
        mrt=_mean(times, 1),
        rte=_entropy(times, 1),
        nmprt=int(times.max()),
        n=plot.n,
        theiler=plot.theiler,
        threshold=plot.threshold,
        points=points,
        diagonal=_trimmed(diagonal),
        vertical=_trimmed(vertical),
        times=_trimmed(times),
    )


def _trimmed(counts: Counts) -> NDArray[np.int64]:
    """Up to the last that is not 0."""
    return counts[: _longest(counts, 0) + 1].astype(np.int64)


def _longest(counts: Counts, low: int) -> int:
    there = np.flatnonzero(counts[low:])
    return low + int(there[-1]) if len(there) else 0


def _points_from(counts: Counts, low: int) -> int:
    """Points in lines of `low` and more."""
    return int((np.arange(len(counts), dtype=np.uint64) * counts)[low:].sum())


def _mean(counts: Counts, low: int) -> float:
    total = int(counts[low:].sum())
    return _points_from(counts, low) / total if total else math.nan


def _entropy(counts: Counts, low: int) -> float:
    some = counts[low:]
    some = some[some > 0].astype(np.float64)
    if not len(some):
        return math.nan
    share = some / some.sum()
    return abs(float((share * np.log(share)).sum()))


def _trend(by_lag: Counts, theiler: int, border: int) -> float:
    n = len(by_lag)
    lags = np.arange(theiler + 1, n - border)
    if len(lags) < 2:
        return math.nan
    rates = by_lag[lags] / (n - lags)
    away = lags + 1 - (n - border) / 2
    return float(1000 * (away @ (rates - rates.mean())) / (away @ away))
