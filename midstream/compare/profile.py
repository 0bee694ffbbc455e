"""A series against itself: what occurs again, and what occurs nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.memory import check_memory
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_int
from midstream.compare._profile import LAGS, Best, Profiler
from midstream.compare._search import apart
from midstream.compare.results import Match, MatrixProfile, Motif
from midstream.compare.subsequence import moderate, samples

__all__ = ["discords", "matrix_profile", "motifs"]

#: Correlations that the rule for constant windows stands for: distance sqrt(m), and 0.
ONE_CONSTANT, BOTH_CONSTANT = 0.5, 1.0


def matrix_profile(
    series: ArrayLike,
    m: int,
    *,
    exclusion: int | None = None,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> MatrixProfile:
    """Find, for every window of a series, the closest other window.

    Parameters
    ----------
    series : (n,) array_like of real numbers
    m : int
        Samples of a window, 2 to n.
    exclusion : int, optional
        Windows that start within this many samples of each other are not compared. Default:
        ``ceil(m / 4)``. 0 compares all different windows.
    n_jobs : int, default 1
        Threads; -1: one for every processor, -2: for all but one; None: 1.
    progress : callable or bar, optional
        ``progress(done, total)`` is called now and then; or a tqdm bar. Both count pairs.

    Returns
    -------
    MatrixProfile
        ``distance`` and ``nearest``, each (n - m + 1,), and ``left`` and ``right``: the nearest
        among earlier and among later windows alone. Distances are Euclidean, z-normalised.

    Raises
    ------
    ArgumentValueError
        Empty, not of one dimension, NaN or infinite; `m` or `exclusion` out of range.
    ArgumentTypeError
        Not real numbers.
    MemoryLimitError
        Less than some 100 bytes of memory a sample are free.

    See Also
    --------
    motifs, discords : the most and the least repeated windows.
    search : the same for one query.

    Notes
    -----
    Windows are normalised, and count as constant, as in `search`. Pairs are compared by their
    correlations, from recurrences that start afresh every ``max(8 m, 8192)`` windows, and where
    deviations have fallen to a ten-thousandth, as behind an outlier; the distance
    to the closest is then computed from the two windows themselves, so it is right to the last
    digits even where the partner is one of several that differ by rounding alone.

    Cost: O(n**2), some 0.4 ns a pair and thread. Memory: some 70 bytes a sample, and 32 for each
    thread. Results are the same bits for any number of threads and any instruction set.
    Thread-safe; the GIL is released; Ctrl-C is answered.

    References
    ----------
    Z. Zimmerman et al., "Matrix Profile XIV: scaling time series motif discovery with GPUs", SoCC
    2019.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.compare import matrix_profile
    >>> series = np.random.default_rng(0).normal(size=500)
    >>> series[400:430] = 10 * series[100:130] + 7
    >>> profile = matrix_profile(series, 30)
    >>> int(profile.nearest[100]), round(float(profile.distance[100]), 6)
    (400, 0.0)
    """
    x = samples("series", series)
    m = check_int("m", m, low=2, high=len(x))
    x = moderate(x, m)
    exclusion = -(-m // 4) if exclusion is None else check_int("exclusion", exclusion, low=0)
    exclusion = min(exclusion, len(x))
    threads = worker_count(n_jobs)
    tell = as_progress("progress", progress)
    windows = len(x) - m + 1
    check_memory(f"the profile of {windows} windows", (72 + 32 * threads) * windows)
    profiler = Profiler(x, m)
    # The first lags of the first block may be excluded, so it starts behind them.
    lags = range(exclusion + 1, windows, LAGS)
    total = math.comb(max(windows - exclusion, 0), 2)
    best = visit(profiler, lags, threads, total, tell)
    return settle(profiler, best, exclusion)


def visit(
    profiler: Profiler, lags: range, threads: int, total: int, tell: Callable[[int, int], object]
) -> Best:
    """The best of all lags, each block of them in one of the threads."""
    windows = profiler.windows
    made: list[Best] = []
    idle: list[Best] = []

    def work(lag: int, poll: Poll) -> int | None:
        try:
            best = idle.pop()
        except IndexError:  # as many as there are threads
            best = Best(windows)
            made.append(best)
        done = profiler.visit(lag, best, poll)
        idle.append(best)
        return done

    for lag in in_blocks(work, lags, threads):
        remaining = max(windows - (lag + LAGS) + 1, 0)
        tell(total - math.comb(remaining, 2), total)
    if not made:
        return Best(windows)
    for other in made[1:]:
        made[0].merge(other)
    return made[0]


def settle(profiler: Profiler, best: Best, exclusion: int) -> MatrixProfile:
    """Put in what holds for constant windows, join both sides, and compute the distances."""
    windows = profiler.windows
    right, left = best.right[:windows], best.left[:windows]
    right_index, left_index = best.right_index[:windows], best.left_index[:windows]
    constant = profiler.constant
    if constant.any():
        for alike in (False, True):
            value = BOTH_CONSTANT if alike else ONE_CONSTANT
            for kind in (False, True):
                rows = np.flatnonzero(constant == kind)
                columns = np.flatnonzero(constant == (kind if alike else not kind))
                if alike and not kind:
                    continue  # two windows that both vary: what was computed
                consider(left, left_index, right, right_index, rows, columns, exclusion, value)
    # Of equal ones the smallest index, which is on the left.
    index = np.where(left >= right, left_index, right_index)
    distance = profiler.distances(index, Poll())
    assert distance is not None  # nobody else has its poll
    return MatrixProfile(distance, index, left_index.copy(), right_index.copy())


def consider(
    left: NDArray[np.float64],
    left_index: NDArray[np.int64],
    right: NDArray[np.float64],
    right_index: NDArray[np.int64],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    exclusion: int,
    value: float,
) -> None:
    """Give each of `rows` the correlation `value` with the first of `columns` on either side."""
    if not len(rows) or not len(columns):
        return
    some = rows[rows - exclusion > columns[0]]
    put(left, left_index, some, np.full(len(some), columns[0]), value)
    place = np.searchsorted(columns, rows + exclusion, side="right")
    some = place < len(columns)
    put(right, right_index, rows[some], columns[place[some]], value)


def put(
    best: NDArray[np.float64],
    index: NDArray[np.int64],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    value: float,
) -> None:
    better = (best[rows] < value) | ((best[rows] == value) & (columns < index[rows]))
    best[rows[better]] = value
    index[rows[better]] = columns[better]


def motifs(
    series: ArrayLike,
    m: int,
    k: int = 3,
    *,
    exclusion: int | None = None,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> list[Motif]:
    """Find the windows of a series that occur again.

    Parameters
    ----------
    series : (n,) array_like of real numbers
    m : int
        Samples of a window, 2 to n.
    k : int, default 3
        Pairs wanted, at most.
    exclusion : int, optional
        Neither window of a pair starts within this many samples of the other, or of a window of a
        closer pair. Default: ``ceil(m / 4)``.
    n_jobs, progress
        As in `matrix_profile`.

    Returns
    -------
    list of Motif
        The closest pairs by distance, then by first and second start.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError, MemoryLimitError
        As `matrix_profile`; and `k` below 1.

    Notes
    -----
    Pairs are those of `matrix_profile`: a window whose closest one belongs to a closer pair already
    is in no further pair. Cost and memory: as there.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.compare import motifs
    >>> series = np.random.default_rng(0).normal(size=500)
    >>> series[400:430] = 10 * series[100:130] + 7
    >>> [(motif.first, motif.second) for motif in motifs(series, 30, k=1)]
    [(100, 400)]
    """
    k = check_int("k", k, low=1)
    profile = matrix_profile(series, m, exclusion=exclusion, n_jobs=n_jobs, progress=progress)
    apart_by = -(-m // 4) if exclusion is None else int(exclusion)
    here = np.arange(len(profile.nearest))
    first, second = np.minimum(here, profile.nearest), np.maximum(here, profile.nearest)
    found: list[Motif] = []
    taken: list[int] = []
    for i in np.lexsort((second, first, profile.distance)):
        pair = int(first[i]), int(second[i])
        if pair[0] < 0:
            break  # inf: no partner
        if all(abs(start - other) > apart_by for start in pair for other in taken):
            taken += pair
            found.append(Motif(*pair, int(m), float(profile.distance[i])))
            if len(found) == k:
                break
    return found


def discords(
    series: ArrayLike,
    m: int,
    k: int = 3,
    *,
    exclusion: int | None = None,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> list[Match]:
    """Find the windows of a series that are least like any other.

    Parameters
    ----------
    series : (n,) array_like of real numbers
    m : int
        Samples of a window, 2 to n.
    k : int, default 3
        Windows wanted, at most.
    exclusion : int, optional
        Windows that start within this many samples of each other are not compared, nor both
        reported. Default: ``ceil(m / 4)``.
    n_jobs, progress
        As in `matrix_profile`.

    Returns
    -------
    list of Match
        Windows, each with the distance to the closest other one, farthest first, then by start.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError, MemoryLimitError
        As `matrix_profile`; and `k` below 1.

    Notes
    -----
    Cost and memory: as `matrix_profile`.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.compare import discords
    >>> series = np.tile(np.random.default_rng(0).normal(size=50), 20)
    >>> series[500] += 2
    >>> (match,) = discords(series, 50, k=1)
    >>> match.start <= 500 < match.end
    True
    """
    k = check_int("k", k, low=1)
    profile = matrix_profile(series, m, exclusion=exclusion, n_jobs=n_jobs, progress=progress)
    apart_by = -(-m // 4) if exclusion is None else int(exclusion)
    starts = np.flatnonzero(profile.nearest >= 0).astype(np.int64)
    order = np.lexsort((starts, -profile.distance[starts]))
    starts = starts[order]
    kept = apart(starts, min(apart_by, len(profile.nearest)), min(k, len(starts)))
    return [Match(int(i), int(i) + int(m), float(profile.distance[i])) for i in starts[kept]]
