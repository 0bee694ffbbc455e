"""Where in a long series does something like a query occur."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.chunks import dask_kind
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_choice, check_int, check_real
from midstream.compare._search import Searcher, apart
from midstream.compare._series import series_array
from midstream.compare.results import Match

__all__ = ["distance_profile", "search"]

Floats: TypeAlias = NDArray[np.float64]
Starts: TypeAlias = NDArray[np.int64]
#: First window and number of windows.
Block: TypeAlias = tuple[int, int]

#: Windows a block: its samples and moments stay in the second-level cache.
BLOCK = 16384
#: Queries longer than this meet the series by FFT: measured with 8 doubles a vector, the inner
#: products themselves take 0.08 ns a sample and window, the transforms 20 to 30 ns a window.
DIRECT = 256
#: Samples of a transform, at least.
TRANSFORM = 32768
#: Relative error of one rounding.
UNIT = 2.0**-53


def samples(name: str, value: ArrayLike) -> Floats:
    """A checked series of one dimension in float64."""
    array = series_array(name, value)
    if array.ndim != 1:
        raise ArgumentValueError(
            f"{name} must have shape (n,): only series of one dimension can be searched,"
            f" got shape {array.shape}"
        )
    return array.astype(np.float64, copy=False)


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def moderate(array: Floats, m: int) -> Floats:
    """The same series, scaled by a power of two if its squares would leave float64's range.

    Normalisation undoes any scale, and powers of two do so to the bit. As large as sums of squares
    over windows of `m` samples allow, so that samples much smaller than the largest keep theirs.
    """
    top = max(float(array.max()), -float(array.min()))
    if top == 0 or 1e-100 < top < 1e100:
        return array
    room = (1016 - m.bit_length()) // 2
    return np.ldexp(array, room - math.frexp(top)[1])


def blocks_of(windows: int, size: int) -> list[Block]:
    return [(first, min(size, windows - first)) for first in range(0, windows, size)]


class Comparison:
    """A query beside a series: where to look, in which blocks, at how many threads."""

    def __init__(
        self,
        query: ArrayLike,
        series: ArrayLike,
        radius: int | None,
        normalize: bool,
        threads: int,
        progress: Progress | None,
    ) -> None:
        x, y = samples("query", query), samples("series", series)
        if len(x) > len(y):
            raise ArgumentValueError(
                f"series must not be shorter than query, got {len(y)} and {len(x)} samples"
            )
        normalize = check_flag("normalize", normalize)
        if normalize:
            x, y = moderate(x, len(x)), moderate(y, len(x))
        self.length = len(x)
        radius = len(x) - 1 if radius is None else min(radius, len(x) - 1)
        self.searcher = Searcher(x, y, radius, normalize)
        self.samples, self.windows = len(y), self.searcher.windows
        self.threads = threads
        self.tell = as_progress("progress", progress)
        self.spectrum: NDArray[np.complex128] | None = None
        size = max(BLOCK, len(x))
        if normalize and len(x) > DIRECT:
            self.transform = max(TRANSFORM, 1 << (4 * len(x) - 1).bit_length())
            size = self.transform - len(x) + 1
            self.spectrum = np.conj(np.fft.rfft(self.searcher.query, self.transform))
        self.blocks = blocks_of(self.windows, size)
        self.passes, self.done = 1, 0

    def tick(self, windows: int) -> None:
        """Tell that so many windows were looked at in one of the passes."""
        self.done += windows
        self.tell(self.done, self.passes * self.windows)

    def products(self, centred: Floats) -> tuple[Floats, float]:
        """Inner products of the query with every window, and a bound of their error."""
        assert self.spectrum is not None
        spectrum = np.fft.rfft(centred, self.transform) * self.spectrum
        result = np.fft.irfft(spectrum, self.transform)[: len(centred) - self.length + 1]
        # The error of a transform is some UNIT for each of its log2 steps, relative to the norm
        # of the whole (Higham 2002, theorem 24.2); three transforms, and room.
        size = math.sqrt(self.length) * float(np.linalg.norm(centred))
        return result, 16 * UNIT * math.log2(self.transform) * size

    def euclidean(self, block: Block, poll: Poll) -> tuple[Floats, Floats] | None:
        """Squared distances of a block's windows and what each may be wrong by."""
        dots = None if self.spectrum is None else self.products
        return self.searcher.profile(*block, poll, dots)

    def lower_bounds(self) -> Floats:
        """Squared Euclidean distances of all windows, less what they may be wrong by."""

        def work(block: Block, poll: Poll) -> Block | None:
            both = self.euclidean(block, poll)
            if both is None:
                return None
            first, count = block
            np.subtract(both[0], both[1], out=lower[first : first + count])
            return block

        lower = np.empty(self.windows)
        for _, count in in_blocks(work, self.blocks, self.threads):
            self.tick(count)
        return lower


class Limit:
    """The squared distance above which windows are of no interest, as far as it is known.

    A result is the `k` best windows, each farther than `exclusion` from all better ones. A window
    that is chosen keeps at most two of any set of windows which are that far apart from being
    chosen. So once ``2 k - 1`` such windows are known, `k` will be chosen that are not worse than
    the worst of them.
    """

    def __init__(self, square: float, k: int | None, exclusion: int) -> None:
        self.square, self.exclusion = square, exclusion
        self.needed = 0 if k is None else 2 * k - 1
        self.starts, self.squares = np.empty(0, np.int64), np.empty(0)
        self.fresh: list[tuple[Starts, Floats]] = []
        self.waiting = 0

    def lower_to(self, square: float) -> None:
        self.square = min(self.square, square)

    @property
    def inclusive(self) -> float:
        """A little more: windows whose distances round to the same number are equally good."""
        return self.square * (1 + 8 * UNIT)

    def add(self, starts: Starts, squares: Floats) -> None:
        if not len(starts):
            return
        self.fresh.append((starts, squares))
        self.waiting += len(starts)
        if self.needed == 1:
            self.lower_to(float(squares.min()))
        elif self.needed and self.waiting > len(self.starts):
            self.settle()

    def settle(self) -> None:
        """Join what came in, and draw the limit closer."""
        starts = np.concatenate([self.starts, *(pair[0] for pair in self.fresh)])
        squares = np.concatenate([self.squares, *(pair[1] for pair in self.fresh)])
        self.fresh, self.waiting = [], 0
        order = np.lexsort((starts, squares))
        self.starts, self.squares = starts[order], squares[order]
        if self.needed:
            kept = apart(self.starts, self.exclusion, self.needed)
            if len(kept) == self.needed:
                self.lower_to(float(self.squares[kept[-1]]))
        inside = int(np.searchsorted(self.squares, self.inclusive, side="right"))
        self.starts, self.squares = self.starts[:inside], self.squares[:inside]


def lowest(values: Floats, count: int, exclusion: int) -> Starts:
    """Indices of low values, each farther than `exclusion` from all lower ones; up to `count`."""
    if count == 1:
        return np.array([int(np.argmin(values))], dtype=np.int64)
    size = 8 * count
    while True:
        if size < len(values):
            chosen = np.argpartition(values, size)[:size]
            order = chosen[np.lexsort((chosen, values[chosen]))]
        else:
            order = np.argsort(values, kind="stable")
        order = order.astype(np.int64, copy=False)
        kept = apart(order, exclusion, count)
        if len(kept) == count or size >= len(values):
            return np.asarray(order[kept], dtype=np.int64)
        size *= 8


def seed(comparison: Comparison, lower: Floats, limit: Limit) -> None:
    """A first limit, from the windows that are closest sample by sample: DTW is not above that."""
    starts = lowest(lower, limit.needed, limit.exclusion)
    if len(starts) < limit.needed:
        return
    squares = comparison.searcher.evaluate(starts, math.inf, Poll())
    if squares is not None:
        limit.lower_to(float(squares.max()))


def candidates(
    comparison: Comparison, limit: Limit, lower: Floats | None, warped: bool
) -> Iterator[tuple[Starts, Floats, int]]:
    """Starts and squared distances within the limit, and the number of windows they are from."""
    searcher = comparison.searcher
    margin = 1 + 8 * (comparison.length + 16) * UNIT

    def select(block: Block, poll: Poll) -> Starts | None:
        if warped:
            return searcher.bound(*block, limit.inclusive, poll)
        first, count = block
        if lower is not None:
            bounds = lower[first : first + count]
        else:
            both = comparison.euclidean(block, poll)
            if both is None:
                return None
            bounds = both[0] - both[1]
        return np.flatnonzero(bounds <= limit.inclusive * margin).astype(np.int64) + first

    def work(block: Block, poll: Poll) -> tuple[Starts, Floats, int] | None:
        starts = select(block, poll)
        if starts is None:
            return None
        squares = searcher.evaluate(starts, limit.inclusive, poll)
        if squares is None:
            return None
        inside = squares <= limit.inclusive
        return starts[inside], squares[inside], block[1]

    return in_blocks(work, comparison.blocks, comparison.threads)


class SearchOptions(NamedTuple):
    """Arguments of `search` that say what is a match, checked by `search_options`."""

    metric: str
    normalize: bool
    window: int | None
    k: int | None
    threshold: float | None
    exclusion: int | None

    @property
    def warped(self) -> bool:
        return self.metric == "dtw"

    def exclusion_of(self, length: int, samples: int) -> int:
        """Starts on both sides of a match that are none; no more than there are."""
        wanted = length // 2 if self.exclusion is None else self.exclusion
        return min(wanted, samples - length + 1)

    def limit(self, exclusion: int) -> Limit:
        """The limit as it is before a window was seen."""
        square = math.inf if self.threshold is None else self.threshold * self.threshold
        return Limit(square, self.k, exclusion)


def search_options(
    metric: str,
    normalize: bool,
    window: int | None,
    k: int | None,
    threshold: float | None,
    exclusion: int | None,
) -> SearchOptions:
    check_choice("metric", metric, ("dtw", "euclidean"))
    normalize = check_flag("normalize", normalize)
    if window is not None:
        window = check_int("window", window, low=0)
        if metric != "dtw":
            raise ArgumentValueError(f"window is for metric 'dtw' only, got {window!r}")
    if k is not None:
        k = check_int("k", k, low=1)
    if threshold is not None:
        threshold = check_real("threshold", threshold, low=0, finite=False)
    elif k is None:
        raise ArgumentValueError("k and threshold are both None: say how many or how far")
    if exclusion is not None:
        exclusion = check_int("exclusion", exclusion, low=0)
    return SearchOptions(metric, normalize, window, k, threshold, exclusion)


@overload
def search(
    query: ArrayLike,
    series: ArrayLike,
    *,
    metric: str = ...,
    normalize: bool = ...,
    window: int | None = ...,
    k: int | None = ...,
    threshold: float | None = ...,
    exclusion: int | None = ...,
    n_jobs: int | None = ...,
    progress: Progress | None = ...,
) -> list[Match]: ...
@overload
def search(
    query: Any,
    series: Any,
    *,
    metric: str = ...,
    normalize: bool = ...,
    window: int | None = ...,
    k: int | None = ...,
    threshold: float | None = ...,
    exclusion: int | None = ...,
    n_jobs: int | None = ...,
    progress: None = ...,
) -> Any: ...
def search(
    query: Any,
    series: Any,
    *,
    metric: str = "dtw",
    normalize: bool = True,
    window: int | None = None,
    k: int | None = 1,
    threshold: float | None = None,
    exclusion: int | None = None,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> Any:
    """Find the windows of a series that are closest to a query.

    Parameters
    ----------
    query : (m,) array_like of real numbers
        Also a Dask array, or a delayed value if `series` has no chunks.
    series : (n,) array_like of real numbers
        At least as long as the query. A window is ``m`` consecutive samples of it. Also a Dask
        array of any chunks; a bag or a list of delayed series to search each on its own; or a
        delayed series.
    metric : {'dtw', 'euclidean'}, default 'dtw'
        ``'dtw'``: the square root of the smallest sum of squared differences along a warping path.
        ``'euclidean'``: the same with sample matched to sample.
    normalize : bool, default True
        Bring query and every window to mean 0 and standard deviation 1 (over ``m``, not ``m - 1``)
        first, so that offset and scale do not count.
    window : int, optional
        For ``'dtw'``: samples that the path may stray from the diagonal, inclusive (the
        Sakoe-Chiba radius). None: any number. 0 is Euclidean.
    k : int or None, default 1
        Matches wanted, at most. None: all within `threshold`.
    threshold : float, optional
        Largest distance of a match, inclusive.
    exclusion : int, optional
        A window is no match if it starts within this many samples of a better one. Default:
        ``m // 2``, so that two matches share less than half of their samples. 0: any other start
        is welcome. ``m - 1``: matches do not overlap.
    n_jobs : int, default 1
        Threads; -1: one for every processor, -2: for all but one; None: 1.
    progress : callable or bar, optional
        ``progress(done, total)`` is called now and then; or a tqdm bar. Both count windows.

    Returns
    -------
    list of Match
        By distance, and by start where distances are equal. ``series[match.start:match.end]`` is
        the window, ``end`` exclusive.

        With one of Dask's collections, nothing is computed until Dask is asked: a delayed value of
        the same list; for a bag of series a bag of such lists, for a list of delayed series a list
        of delayed ones.

    Raises
    ------
    ArgumentValueError
        Empty, not of one dimension, NaN or infinite; the series shorter than the query; an
        argument out of range; neither `k` nor `threshold`; `window` with ``'euclidean'``.
    ArgumentTypeError
        Not real numbers.
    MemoryLimitError
        Less than 8 bytes of memory a sample are free.

    See Also
    --------
    distance_profile : Euclidean distances of all windows.
    Spring : matches of any length in a stream.
    matrix_profile : every window of a series against all others.

    Notes
    -----
    The answer is exact: what `dtw` or the Euclidean distance give for the query and
    each window, with `normalize` after ``z = e * (1 / sqrt(sum(e * e) / m))``, ``e = d - sum(d) /
    m``, ``d = x - x[0]``, sums from left to right. Windows are compared by distance, then start.

    A constant window has no scale: its normalised samples are 0. Its distance to a constant query
    is 0 and to any other ``sqrt(m)``. Constant is what varies by no more than 16 roundings
    (``2**-48``) of its largest magnitude, and maybe what varies by less than ``1e-60`` of the
    largest magnitude in the series.

    Most windows are never compared in full. Inner products, and a lower bound from the envelope of
    the query [2]_, are computed for 8 windows at once; what these leave is bounded by its own
    envelope, then compared, 16 windows at once and given up early [1]_. Cost: some 20 ns a window
    for Euclidean distances; for DTW some 50 ns while bounds work and at worst a quarter of a
    nanosecond for each of the ``m * (2 * window + 1)`` cells of a window, so that a query unlike
    anything in the series, or a wide `window`, costs most. Memory: 8 bytes a window.

    Results are the same bits for any number of threads and any instruction set. Thread-safe. The
    GIL is released; Ctrl-C is answered.

    Of a Dask array each chunk is searched with the ``m - 1`` samples behind it, and gives what can
    be among the `k` best of the whole, which a tree of tasks merges: samples cross to another
    worker once, for the overlap alone. Chunks shorter than the query are joined. Chunks know
    nothing of each other's best, so that a `threshold`, where one is known, saves work.

    References
    ----------
    .. [1] T. Rakthanmanon et al., "Searching and mining trillions of time series subsequences under
       dynamic time warping", KDD 2012.
    .. [2] E. Keogh and C. A. Ratanamahatana, "Exact indexing of dynamic time warping", Knowledge
       and Information Systems 7 (2005).

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.compare import search
    >>> series = np.zeros(1000)
    >>> series[300:400] = np.hanning(100)
    >>> series[700:800] = 5 * np.hanning(100) ** 1.2
    >>> [(match.start, match.end) for match in search(np.hanning(100), series, window=5, k=2)]
    [(300, 400), (700, 800)]
    >>> import dask.array
    >>> chunked = dask.array.from_array(series, chunks=350)
    >>> later = search(np.hanning(100), chunked, window=5, k=2)
    >>> later.compute(scheduler="sync") == search(np.hanning(100), series, window=5, k=2)
    True
    """
    options = search_options(metric, normalize, window, k, threshold, exclusion)
    kinds = dask_kind("query", query), dask_kind("series", series)
    if any(kinds):
        from midstream.compare import _distributed

        return _distributed.search(query, series, kinds, options, n_jobs, progress)
    radius = options.window if options.warped else 0
    threads = worker_count(n_jobs)
    comparison = Comparison(query, series, radius, options.normalize, threads, progress)
    excluded = options.exclusion_of(comparison.length, comparison.samples)
    starts, squares = possible(comparison, options, excluded)
    return best(starts, squares, comparison.length, options, excluded)


def possible(
    comparison: Comparison, options: SearchOptions, exclusion: int
) -> tuple[Starts, Floats]:
    """Starts and squared distances of all windows that can be among the matches.

    Also of a longer series that has these windows: what is left out here is farther than `k`
    matches will be, wherever they are.
    """
    windows, k = comparison.windows, options.k
    check_memory(f"search in {windows} windows", 8 * windows)
    limit = options._replace(k=None if k is None else min(k, windows)).limit(exclusion)
    lower = None
    if k is not None:
        comparison.passes = 2
        lower = comparison.lower_bounds()
        seed(comparison, lower, limit)
    for starts, squares, count in candidates(comparison, limit, lower, options.warped):
        limit.add(starts, squares)
        comparison.tick(count)
    limit.settle()
    return limit.starts, limit.squares


def best(
    starts: Starts, squares: Floats, length: int, options: SearchOptions, exclusion: int
) -> list[Match]:
    """The matches among possible ones."""
    distances = np.sqrt(squares)
    if options.threshold is not None:
        inside = distances <= options.threshold
        distances, starts = distances[inside], starts[inside]
    order = np.lexsort((starts, distances))
    distances, starts = distances[order], starts[order]
    most = len(starts) if options.k is None else min(options.k, len(starts))
    kept = apart(starts, exclusion, most)
    pairs = zip(starts[kept].tolist(), distances[kept].tolist(), strict=True)
    return [Match(start, start + length, distance) for start, distance in pairs]


def distance_profile(
    query: ArrayLike,
    series: ArrayLike,
    *,
    normalize: bool = True,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> Floats:
    """Euclidean distance of a query to every window of a series.

    Parameters
    ----------
    query : (m,) array_like of real numbers
    series : (n,) array_like of real numbers
        At least as long as the query.
    normalize : bool, default True
        Bring query and every window to mean 0 and standard deviation 1 first.
    n_jobs : int, default 1
        Threads; -1: one for every processor, -2: for all but one; None: 1.
    progress : callable or bar, optional
        ``progress(done, total)`` is called now and then; or a tqdm bar. Both count windows.

    Returns
    -------
    (n - m + 1,) ndarray of float64
        The distance to ``series[i:i + m]`` at index i.

    Raises
    ------
    ArgumentValueError
        Empty, not of one dimension, NaN or infinite; the series shorter than the query.
    ArgumentTypeError
        Not real numbers.
    MemoryLimitError
        The result would not fit.

    See Also
    --------
    search : the best of these, and under DTW.

    Notes
    -----
    Each distance is right to 9 digits, also near 0: where inner products would lose more than
    that, the window is compared sample by sample. Constant windows: as in `search`. Normalised
    queries of more than 256 samples meet the series by FFT. Thread-safe; the GIL is released.

    References
    ----------
    The inner products are those of A. Mueen et al., "The fastest similarity search algorithm for
    time series subsequences under Euclidean distance" (2017).

    Examples
    --------
    >>> from midstream.compare import distance_profile
    >>> distance_profile([0, 1, 0], [5, 7, 5, 6, 5, 5, 5]).round(3).tolist()
    [0.0, 3.346, 0.0, 3.0, 1.732]
    """
    comparison = Comparison(query, series, 0, normalize, worker_count(n_jobs), progress)
    check_memory(f"a profile of {comparison.windows} windows", 8 * comparison.windows)
    result = np.empty(comparison.windows)

    def work(block: Block, poll: Poll) -> Block | None:
        both = comparison.euclidean(block, poll)
        if both is None:
            return None
        first, count = block
        square, error = both
        doubtful = np.flatnonzero(error > 1e-9 * square)
        if len(doubtful):
            exact = comparison.searcher.evaluate(doubtful.astype(np.int64) + first, math.inf, poll)
            if exact is None:
                return None
            square[doubtful] = exact
        np.sqrt(square, out=result[first : first + count])
        return block

    for _, count in in_blocks(work, comparison.blocks, comparison.threads):
        comparison.tick(count)
    return result
