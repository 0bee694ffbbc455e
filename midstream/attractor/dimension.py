"""How many coordinates a set of points fills: correlation sums, and how they grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.errors import ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_choice, check_int, check_real
from midstream.attractor._checks import Floats, as_array, check_embedding, samples_with_gaps
from midstream.attractor._pairs import PAD, RUNGS, Ladder, Pairs
from midstream.attractor.embedding import choose_delay, theiler_window
from midstream.attractor.estimate import Estimate, Fit

__all__ = ["correlation_dimension", "correlation_sum"]

#: Octaves below the extent of the points that are looked at.
OCTAVES = 28
#: Blocks of reference points that are left out in turn for the standard error.
BLOCKS = 8
#: 97.5 % point of Student's t with one degree of freedom less than there are blocks.
STUDENT = 2.365
#: Pairs that are enough; of long series only so many reference points are taken.
MOST_PAIRS = 2 * 10**8
#: Largest share of pairs in a scaling region: beyond, the size of the set is felt.
MOST_SHARE = 0.1
#: Fewest pairs within the smallest radius of a scaling region.
FEWEST_PAIRS = 20
#: Half-octaves of a scaling region, at least.
SHORTEST = 4
#: Embedding dimensions tried where none is given, and how many in a row have to agree.
MOST_DIMENSIONS, AGREEING = 8, 3
#: Local slopes may differ from that of the region by this share, and by so many standard errors.
FLAT, ERRORS = 0.08, 2.5
#: Slopes of embedding dimensions that agree differ by less; those of noise differ by 1 each.
ALIKE = 0.3
#: Error of ln C beside that of sampling: the set's own unevenness, so that many pairs are not all.
UNEVEN = 0.04
#: Vectors below which nothing is estimated.
LEAST = 50


class Vectors(NamedTuple):
    """Delay vectors by component, padded; times tell where a gap was."""

    components: Floats
    times: NDArray[np.int64]
    #: Factor, a power of two, by which the samples were multiplied: their extent is now 1 to 2.
    factor: float

    @property
    def n(self) -> int:
        return len(self.times)


def make_vectors(x: ArrayLike, emb_dim: int, delay: int, theiler: int, nan_policy: Any) -> Vectors:
    """Embed a series or points; vectors with a sample that is not finite are left out on demand."""
    samples, present = samples_with_gaps(
        "x", x, emb_dim, delay, theiler, nan_policy, "leaves such vectors out"
    )
    times = np.flatnonzero(present)
    factor = power_of_two(samples[np.isfinite(samples).all(axis=1)])
    width = samples.shape[1]
    check_memory(f"{len(times)} vectors", 8 * width * emb_dim * (len(times) + PAD))
    components = np.zeros((width * emb_dim, len(times) + PAD))
    for k in range(emb_dim):
        components[k * width : (k + 1) * width, : len(times)] = (
            samples[times + k * delay].T * factor
        )
    return Vectors(components, times, factor)


def power_of_two(samples: Floats) -> float:
    """A factor that brings the extent of samples to between 1 and 2, and loses no bit."""
    # Halves first: the extent itself may be beyond the largest number.
    extent = float((samples.max(axis=0) / 2 - samples.min(axis=0) / 2).max(initial=0.0))
    if extent == 0:
        return 1.0
    return math.ldexp(1.0, min(max(-math.frexp(extent)[1], -1074), 1000))


def partners(times: NDArray[np.int64], theiler: int) -> NDArray[np.int64]:
    """Index of the first vector that is more than `theiler` later than each."""
    return np.searchsorted(times, times + theiler, side="right").astype(np.int64)


def correlation_sum(
    x: ArrayLike,
    radii: ArrayLike,
    *,
    emb_dim: int = 1,
    delay: int = 1,
    theiler: int = 0,
    norm: str = "max",
    nan_policy: str = "raise",
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> Floats:
    """Share of the pairs of points that are within each radius.

    Parameters
    ----------
    x : (n,) or (n, d) array_like of real numbers
        A series, or points.
    radii : array_like of real numbers
        At least 0, in units of `x`, in any order.
    emb_dim : int, default 1
        Copies of each sample that a vector holds; 1 takes `x` as it is.
    delay : int, default 1
        Samples between two copies.
    theiler : int, default 0
        Pairs with ``|i - j| <= theiler`` are left out, so that neighbours in time do not count as
        neighbours in space. A point is never paired with itself.
    norm : {"max", "euclidean"}, default "max"
    nan_policy : {"raise", "omit"}, default "raise"
        ``"omit"`` leaves out vectors with a sample that is NaN or infinite.
    n_jobs : int, default 1
        Threads; -1: one for every processor, -2: for all but one; None: 1.
    progress : callable or bar, optional
        ``progress(done, total)`` is called now and then; or a tqdm bar. Both count blocks.

    Returns
    -------
    ndarray of float64, of the shape of `radii`
        Pairs with ``distance <= radius`` over all pairs more than `theiler` apart.

    Raises
    ------
    ArgumentValueError
        Fewer than ``(emb_dim - 1) * delay + theiler + 2`` samples, NaN or infinite, or a parameter
        out of range.
    ArgumentTypeError
        Not real numbers.
    MemoryLimitError
        Less than ``8 * emb_dim * d`` bytes a vector are free.

    See Also
    --------
    correlation_dimension : how the sum grows with the radius.

    Notes
    -----
    Cost: O(n**2 emb_dim), some 1.5 ns a pair; memory O(n emb_dim). Counts are exact, and the same
    at every instruction-set level and number of threads. Thread-safe; the GIL is released; Ctrl-C
    is answered.

    References
    ----------
    P. Grassberger, I. Procaccia, "Measuring the strangeness of strange attractors", Physica D 9,
    189 (1983), eq. 2.1; J. Theiler, Phys. Rev. A 34, 2427 (1986).

    Examples
    --------
    Points on a circle have two neighbours within one step, four within two:

    >>> import numpy as np
    >>> from midstream.attractor import correlation_sum
    >>> turn = 2 * np.pi * np.arange(100) / 100
    >>> circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    >>> (99 * correlation_sum(circle, [0.07, 0.13], norm="euclidean")).round(9)
    array([2., 4.])
    """
    emb_dim, delay = check_embedding(emb_dim, delay)
    theiler = check_int("theiler", theiler, low=0)
    check_choice("norm", norm, ("max", "euclidean"))
    threads = worker_count(n_jobs)
    tell = as_progress("progress", progress)
    wanted = as_array("radii", radii, ndim=(0, 1, 2, 3)).reshape(np.shape(radii))
    # NaN is not >= 0 either.
    if not (wanted >= 0).all() or np.isinf(wanted).any():
        raise ArgumentValueError("radii must be finite and not negative")
    vectors = make_vectors(x, emb_dim, delay, theiler, nan_policy)
    start = partners(vectors.times, theiler)
    total = int((vectors.n - start).sum())
    if total == 0:
        raise ArgumentValueError("x must have two finite vectors more than theiler apart")
    euclidean = norm == "euclidean"
    pairs = Pairs(vectors.components, start, [len(vectors.components)], euclidean)
    rungs, place = np.unique(wanted.ravel(), return_inverse=True)
    # Beyond the extent of the scaled points, in either norm, a larger radius finds nothing more.
    widest = 4.0 * len(vectors.components)
    limits = np.minimum(rungs * vectors.factor, widest)
    if euclidean:
        limits = limits * limits
    within = np.zeros(len(rungs))
    pieces = range(0, len(rungs), RUNGS - 1)
    for number, first in enumerate(pieces):
        # A last one that is surely positive.
        ladder = Ladder(np.append(limits[first : first + RUNGS - 1], 4 * widest * widest))
        counted = _count(pairs, vectors.n, ladder, threads, _part(tell, number, len(pieces)))
        within[first : first + RUNGS - 1] = counted[0].cumsum()[:-2]
    return np.asarray((within / total)[place].reshape(wanted.shape))


def _part(tell: Callable[[int, int], object], number: int, of: int) -> Callable[[int, int], object]:
    return lambda done, total: tell(number * total + done, of * total)


def _count(
    pairs: Pairs, n: int, ladder: Ladder, threads: int, tell: Callable[[int, int], object]
) -> NDArray[np.uint64]:
    """Pairs by rung: (takes, rungs + 1)."""
    edges = np.linspace(0, n, min(n, 64) + 1).astype(int)

    def work(block: int, poll: Poll) -> NDArray[np.uint64] | None:
        rows = int(edges[block]), int(edges[block + 1])
        return pairs.count(ladder, rows, (0, n), 1, poll)

    counted = None
    for done, part in enumerate(in_blocks(work, range(len(edges) - 1), threads)):
        counted = part if counted is None else counted + part
        tell(done + 1, len(edges) - 1)
    assert counted is not None  # there is at least one block
    return counted


def correlation_dimension(
    x: ArrayLike,
    *,
    emb_dim: int | None = None,
    delay: int | None = None,
    theiler: int | None = None,
    norm: str = "max",
    radii: Sequence[float] | None = None,
    nan_policy: str = "raise",
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate the correlation dimension D2 of what a series or points lie on.

    The share of pairs within a radius grows as the radius to the power D2, from where too few pairs
    are left to where the size of the set is felt. The radii over which that holds are searched for;
    where there are none, there is no number.

    Parameters
    ----------
    x : (n,) or (n, d) array_like of real numbers
        A series, which is embedded; or points, which are taken as they are unless `emb_dim` is
        given. At least 50 vectors.
    emb_dim : int, optional
        Dimension of the delay vectors. Default: all from 1 to 8 are looked at, and three in a row
        have to agree. An estimate in one dimension alone cannot tell noise, which fills every
        dimension; so the slope in ``emb_dim - 1`` is compared.
    delay : int, optional
        Samples between two coordinates. Default: `mutual_information_delay`.
    theiler : int, optional
        Pairs with ``|i - j| <= theiler`` are left out. Default: `theiler_window`; 0 for points.
    norm : {"max", "euclidean"}, default "max"
    radii : pair of float, optional
        Smallest and largest radius of the scaling region, in units of `x`, instead of the search.
    nan_policy : {"raise", "omit"}, default "raise"
        ``"omit"`` leaves out vectors with a sample that is NaN or infinite.
    n_jobs : int, default 1
        Threads; -1: one for every processor, -2: for all but one; None: 1.
    progress : callable or bar, optional
        ``progress(done, total)`` is called now and then; or a tqdm bar. Both count blocks.

    Returns
    -------
    Estimate
        `value`: D2. `ci`: 95 % interval. `curve`: ln radius and ln C(radius) in the largest
        dimension used; `fit`: the scaling region in it. `reason`:

        - ``"ok"``;
        - ``"constant"``, ``"finite_set"``: all points are equal, or return exactly to each other,
          as on a periodic orbit of a map: 0;
        - ``"not_saturating"``: the slope grows with the dimension, as that of noise does. With
          `emb_dim` the value is the slope in that dimension; without, NaN;
        - ``"no_scaling_region"``, ``"too_short"``: NaN.

        ``details``: ``emb_dim``, ``delay``, ``theiler``, ``radii`` of the region, ``cap``
        (``2 log10 n``: no more can be seen in so many points [3]_) and ``slopes`` by dimension in
        the region.

    Raises
    ------
    ArgumentValueError
        Fewer than ``(emb_dim - 1) * delay + theiler + 2`` samples, NaN or infinite, or a parameter
        out of range.
    ArgumentTypeError
        Not real numbers.

    See Also
    --------
    surrogate_test : coloured noise can have a low dimension too; a comparison with surrogates can
        tell.

    Notes
    -----
    The region is the longest run of at least four half-octaves in which every local slope is
    within 8 % and 2.5 standard errors of that of the whole, with at least 20 pairs and at most a
    tenth of all. Pairs share points, and neighbouring points are alike, so errors of the
    regression would be far too small. Instead, eight blocks of reference points, consecutive in
    time, are left out in turn (a jackknife for U-statistics [2]_); the interval adds how much the
    halves of the region and the dimensions that agree differ. It knows of sampling alone: noise on
    the series fills all dimensions below its own size and biases the slope upwards (1 % on the
    Hénon map by 0.06).

    Of more than some 20,000 vectors every k-th is a reference point, paired with all later ones, so
    that 2e8 pairs are not exceeded. Cost: some 2 ns a pair and dimension: 3 ms for 2000 vectors;
    memory O(n emb_dim). The same bits at every instruction-set level and number of threads.
    Thread-safe; the GIL is released; Ctrl-C is answered.

    References
    ----------
    .. [1] P. Grassberger, I. Procaccia, Physica D 9, 189 (1983).
    .. [2] J. N. Arvesen, "Jackknifing U-statistics", Ann. Math. Statist. 40, 2076 (1969).
    .. [3] J.-P. Eckmann, D. Ruelle, "Fundamental limitations for estimating dimensions and Lyapunov
       exponents in dynamical systems", Physica D 56, 185 (1992).

    Examples
    --------
    >>> from midstream.attractor import correlation_dimension
    >>> x, y = [0.1], 0.1
    >>> for _ in range(2999):
    ...     x, y = [*x, 1 - 1.4 * x[-1] ** 2 + y], 0.3 * x[-1]
    >>> result = correlation_dimension(x, emb_dim=2, delay=1, theiler=5)
    >>> result.reason, 1.1 < float(result) < 1.3
    ('ok', True)
    """
    check_choice("norm", norm, ("max", "euclidean"))
    threads = worker_count(n_jobs)
    tell = as_progress("progress", progress)
    plan = _plan(x, emb_dim, delay, theiler, nan_policy)
    region = None if radii is None else _region("radii", radii)
    vectors = make_vectors(x, plan.dims[-1], plan.delay, plan.theiler, nan_policy)
    details: dict[str, Any] = {
        "emb_dim": plan.dims[-1],
        "delay": plan.delay,
        "theiler": plan.theiler,
        "norm": norm,
        "cap": 2 * math.log10(vectors.n),
    }
    if (vectors.components[:, 0] == vectors.components[:, : vectors.n].T).all():
        return _special(0.0, "constant", "all points are equal", vectors.n, details)
    start = partners(vectors.times, plan.theiler)
    if vectors.n < LEAST or int((vectors.n - start).sum()) < LEAST:
        told = f"{vectors.n} vectors, and at least {LEAST} are needed"
        return _special(math.nan, "too_short", told, vectors.n, details)
    width = len(vectors.components) // plan.dims[-1]
    takes = [dim * width for dim in plan.dims]
    pairs = Pairs(vectors.components, start, takes, norm == "euclidean")
    sums = _sums(pairs, vectors, start, norm == "euclidean", threads, tell)
    return _estimate(sums, plan, region, vectors, details)


class _Plan(NamedTuple):
    """Embedding dimensions to look at, ascending; whether the caller named the last of them."""

    dims: list[int]
    delay: int
    theiler: int
    given: bool
    #: Points of more than one component, or taken as they are: there is no dimension to compare.
    points: bool


def _plan(
    x: ArrayLike, emb_dim: int | None, delay: int | None, theiler: int | None, nan_policy: Any
) -> _Plan:
    points = np.ndim(x) == 2
    if emb_dim is not None:
        emb_dim = check_int("emb_dim", emb_dim, low=1)
    if theiler is not None:
        theiler = check_int("theiler", theiler, low=0)
    if delay is not None:
        delay = check_int("delay", delay, low=1)
    if points:
        delay, theiler = delay or 1, theiler or 0
        return _Plan([emb_dim or 1], delay, theiler, True, (emb_dim or 1) == 1)
    if delay is None or theiler is None:
        check_choice("nan_policy", nan_policy, ("raise", "omit"))
        samples = as_array("x", x, ndim=(1,))
        if not np.isfinite(samples).all() and nan_policy == "omit":
            samples = _longest_stretch(samples)
        elif len(samples) == 0 or not np.isfinite(samples).all():
            make_vectors(x, 1, 1, 0, nan_policy)  # says what is wrong
        delay = choose_delay(samples).delay if delay is None else delay
        theiler = theiler_window(samples, delay=delay) if theiler is None else theiler
    if emb_dim is not None:
        dims = [emb_dim - 1, emb_dim] if emb_dim > 1 else [1]
        return _Plan(dims, delay, theiler, True, False)
    # As many as leave most of the series to the vectors.
    room = (len(np.asarray(x)) - theiler - 2) // (4 * delay)
    most = max(min(MOST_DIMENSIONS, room + 1), 1)
    return _Plan(list(range(1, most + 1)), delay, theiler, False, False)


def _longest_stretch(samples: Floats) -> Floats:
    edges = np.flatnonzero(~np.isfinite(np.concatenate(([np.nan], samples, [np.nan]))))
    widths = np.diff(edges)
    k = int(widths.argmax())
    if widths[k] < 2:
        raise ArgumentValueError("x must have finite samples, got none")
    return samples[edges[k] : edges[k + 1] - 1]


def _region(name: str, radii: Sequence[float]) -> tuple[float, float]:
    pair = list(radii)
    if len(pair) != 2:
        raise ArgumentValueError(f"{name} must be two numbers, got {len(pair)}")
    low, high = (check_real(name, value, low=0) for value in pair)
    if not 0 < low < high:
        raise ArgumentValueError(f"{name} must ascend from above 0, got {pair!r}")
    return low, high


class _Sums(NamedTuple):
    """Correlation sums of all points, and of those that are left when a block is."""

    log_radius: Floats  # (radii,), of the scaled series
    offset: float  # to be added for the units of the series
    counts: Floats  # (dims, radii)
    total: float
    left: Floats  # (dims, blocks, radii)


def _sums(
    pairs: Pairs,
    vectors: Vectors,
    start: NDArray[np.int64],
    euclidean: bool,
    threads: int,
    tell: Callable[[int, int], object],
) -> _Sums:
    n = vectors.n
    every = max(1, math.ceil(n * n / 2 / MOST_PAIRS))
    blocks = min(BLOCKS, n // every)
    # Edges on a grid of reference points, so that each block has its own.
    edges = np.linspace(0, n, blocks + 1).astype(int) // every * every
    edges[-1] = n
    # Squares: quarter-octaves of them are half-octaves no more, but each octave is two.
    ladder = (
        Ladder.even(-2 * OCTAVES, 2 * OCTAVES + 6, 0)
        if euclidean
        else Ladder.even(-OCTAVES, OCTAVES + 2, 1)
    )
    cells = [(a, b) for a in range(blocks) for b in range(a, blocks)]

    def work(cell: tuple[int, int], poll: Poll) -> NDArray[np.uint64] | None:
        a, b = cell
        rows = int(edges[a]), int(edges[a + 1])
        return pairs.count(ladder, rows, (int(edges[b]), int(edges[b + 1])), every, poll)

    whole: Any = 0
    without: list[Any] = [0] * blocks
    for done, part in enumerate(in_blocks(work, cells, threads)):
        a, b = cells[done]
        counted = part.astype(np.float64)
        whole = whole + counted
        without[a] = without[a] + counted
        if a != b:
            without[b] = without[b] + counted
        tell(done + 1, len(cells))
    total = float(whole[0].sum())
    sums = whole.cumsum(axis=1)[:, :-1]
    left = np.stack([(whole - some).cumsum(axis=1)[:, :-1] for some in without], axis=1)
    radius = ladder.rungs
    if euclidean:
        radius = np.sqrt(radius)
    return _Sums(np.log(radius), -math.log(vectors.factor), sums, total, left)


class _Slopes:
    """Local slopes, and those of windows, with standard errors, for some dimensions."""

    def __init__(self, sums: _Sums, dims: list[int], first: int, stop: int) -> None:
        self.x = sums.log_radius[first:stop]
        self.step = np.diff(self.x)
        # A block without which nothing is left says nothing: half a pair has a logarithm.
        y = np.log(np.maximum(sums.counts[dims, first:stop], 0.5))[:, None]
        left = np.log(np.maximum(sums.left[dims, :, first:stop], 0.5))
        self.y = np.concatenate([y, left], axis=1)  # (dims, 1 + blocks, radii)
        local = np.diff(self.y, axis=-1) / self.step
        self.local = local[:, 0]  # (dims, radii - 1)
        self.local_error = _jackknife(local[:, 1:])
        self.weight = 1 / ((_jackknife(left) ** 2).mean(axis=0) + UNEVEN**2)

    def window(self, a: int, b: int) -> tuple[Floats, Floats]:
        """Slope over radii a .. b in each dimension, and its standard error."""
        part = slice(a, b + 1)
        slopes = _line(self.x[part], self.y[..., part], self.weight[part])
        return slopes[:, 0], _jackknife(slopes[:, 1:])


def _line(x: Floats, y: Floats, weight: Floats) -> Floats:
    """Slope of the line of least weighted squares along the last axis."""
    centred = x - (weight @ x) / weight.sum()
    along = weight * centred
    return np.asarray(y @ (along / (along @ centred)))


def _jackknife(values: Floats) -> Floats:
    """Standard error from (dims, blocks, ...) values without one block each."""
    blocks = values.shape[1]
    spread = ((values - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return np.asarray(np.sqrt((blocks - 1) / blocks * spread))


class _Found(NamedTuple):
    """A scaling region: radii first .. last, and dimensions that agree on its slope."""

    first: int
    last: int
    dims: list[int]  # indices
    slopes: Floats
    errors: Floats
    halves: float  # how far apart its halves are


def _search(sums: _Sums, dims: list[int], alike: bool) -> _Found | None:
    """The longest window that is flat in each of `dims` (indices), and alike in all if so asked."""
    counts = sums.counts[dims]
    floor = counts[:, :1]  # exact and nearly exact returns
    enough = ((counts - floor >= FEWEST_PAIRS) & (counts >= 1.5 * floor)).all(axis=0)
    places = np.flatnonzero(enough & (counts <= MOST_SHARE * sums.total).all(axis=0))
    if len(places) <= SHORTEST:
        return None
    first, stop = int(places[0]), int(places[-1]) + 1
    slopes = _Slopes(sums, dims, first, stop)
    for length in range(len(slopes.step), SHORTEST - 1, -1):
        best: tuple[float, _Found] | None = None
        for a in _flat(slopes, length, alike).tolist():
            found, uneven = _measure(slopes, a, a + length, first, dims)
            if found is not None and (best is None or uneven < best[0]):
                best = uneven, found
        if best is not None:
            return best[1]
    return None


def _flat(slopes: _Slopes, length: int, alike: bool) -> NDArray[np.intp]:
    """Where windows of `length` steps begin whose local slopes are those of the whole."""
    view = np.lib.stride_tricks.sliding_window_view
    local = view(slopes.local, length, axis=1)  # (dims, windows, length)
    error = view(slopes.local_error, length, axis=1)
    # Local slopes with large errors must not decide what the others are held against.
    weight = 1 / (error**2 + FLAT**2)
    middle = (local * weight).sum(axis=-1) / weight.sum(axis=-1)
    allowed = FLAT * np.maximum(middle, 0.5)[..., None] + ERRORS * error
    good = (abs(local - middle[..., None]) <= allowed).all(axis=(0, 2))
    if alike:
        good &= np.ptp(middle, axis=0) <= ALIKE
    return np.flatnonzero(good)


def _measure(
    slopes: _Slopes, a: int, b: int, offset: int, dims: list[int]
) -> tuple[_Found | None, float]:
    """The region from radius a to b, and how uneven it is; None where it is too uncertain."""
    value, error = slopes.window(a, b)
    if (error > 0.15 * np.maximum(value, 0.5)).any():
        return None, math.inf
    half = (a + b) // 2
    halves = abs(slopes.window(a, half)[0] - slopes.window(half, b)[0])
    found = _Found(offset + a, offset + b, dims, value, error, float(halves.mean()))
    return found, float(halves.max() + error.max())


def _estimate(
    sums: _Sums,
    plan: _Plan,
    region: tuple[float, float] | None,
    vectors: Vectors,
    details: dict[str, Any],
) -> Estimate:
    every = len(plan.dims)
    found: _Found | None = None
    agreed = True
    if region is not None:
        found = _given_region(sums, region, every)
        agreed = not plan.points and (every < 2 or _agree(found.slopes))
    elif plan.given:
        found = _search(sums, list(range(every)), alike=True) if every > 1 else None
        if found is None:
            found = _search(sums, [every - 1], alike=False)
            agreed = plan.points
    else:
        found = _saturated(sums, plan.dims)
    n = vectors.n
    counts = sums.counts[-1 if found is None else found.dims[-1]]
    seen = counts > 0
    curve = np.stack([sums.log_radius[seen] + sums.offset, np.log(counts[seen] / sums.total)])
    if found is None:
        # Points that return exactly are not few: a finite set, unless a region says otherwise.
        if sums.counts[-1, 0] / sums.total > 20 / n:
            told = "points return exactly: a finite set, or a cycle sampled in step with its period"
            return _special(0.0, "finite_set", told, n, details, curve)
        if not plan.given and _grows(sums):
            told = "the slope grows with the embedding dimension, as that of noise does"
            return _special(math.nan, "not_saturating", told, n, details, curve)
        told = "no radii over which the correlation sum grows as a power"
        return _special(math.nan, "no_scaling_region", told, n, details, curve)
    return _report(found, agreed, sums, plan, curve, int((~seen).sum()), n, details)


def _agree(slopes: Floats) -> bool:
    return bool(np.ptp(slopes[-2:]) <= ALIKE)


def _given_region(sums: _Sums, region: tuple[float, float], dims: int) -> _Found:
    inside = np.flatnonzero(
        (sums.log_radius + sums.offset >= math.log(region[0]))
        & (sums.log_radius + sums.offset <= math.log(region[1]))
    )
    if len(inside) < 3 or not (sums.counts[:, inside] > 0).all():
        raise ArgumentValueError(
            f"radii must span an octave in which there are pairs, got {region!r}"
        )
    first, last = int(inside[0]), int(inside[-1])
    slopes = _Slopes(sums, list(range(dims)), first, last + 1)
    value, error = slopes.window(0, last - first)
    half = (last - first) // 2
    halves = abs(slopes.window(0, half)[0] - slopes.window(half, last - first)[0])
    return _Found(first, last, list(range(dims)), value, error, float(halves[-1]))


def _saturated(sums: _Sums, dims: list[int]) -> _Found | None:
    """The longest region that neighbouring dimensions agree on, the lowest of equal ones."""
    best: _Found | None = None
    for k in range(len(dims) - AGREEING + 1):
        found = _search(sums, list(range(k, k + AGREEING)), alike=True)
        # What nearly fills its lowest dimension is squeezed by it.
        if found is None or float(found.slopes[0]) > 0.8 * dims[k]:
            continue
        if best is None or found.last - found.first > best.last - best.first:
            best = found
    return best


def _grows(sums: _Sums) -> bool:
    """Whether the slope at a hundredth of all pairs grows by more than half from first to last."""
    slopes = []
    for counts in sums.counts:
        near = np.flatnonzero((counts > FEWEST_PAIRS) & (counts < 0.05 * sums.total))
        if len(near) < 3:
            continue
        part = slice(int(near[-1]) - 2, int(near[-1]) + 1)
        slopes.append(float(_line(sums.log_radius[part], np.log(counts[part]), np.ones(3))))
    return len(slopes) > 1 and slopes[-1] > 1.5 * slopes[0]


def _report(
    found: _Found,
    agreed: bool,
    sums: _Sums,
    plan: _Plan,
    curve: Floats,
    skipped: int,
    n: int,
    details: dict[str, Any],
) -> Estimate:
    value = float(found.slopes[-1] if plan.given else found.slopes.mean())
    error = float(found.errors[-1] if plan.given else found.errors.mean())
    spread = float(np.ptp(found.slopes)) / 2 if agreed and len(found.slopes) > 1 else 0.0
    half = math.sqrt((STUDENT * error) ** 2 + (found.halves / 2) ** 2 + spread**2)
    first, last = found.first - skipped, found.last - skipped
    line_x, line_y = curve[:, first : last + 1]
    slope = float(_line(line_x, line_y, np.ones(len(line_x))))
    intercept = float(line_y.mean() - slope * line_x.mean())
    rest = line_y - intercept - slope * line_x
    size = float(((line_y - line_y.mean()) ** 2).sum())
    r_squared = 1 - float(rest @ rest) / size if size > 0 else 1.0
    low, high = (math.exp(sums.log_radius[k] + sums.offset) for k in (found.first, found.last))
    dims = [plan.dims[k] for k in found.dims]
    details |= {
        "emb_dim": dims[-1],
        "radii": (low, high),
        "slopes": dict(zip(dims, map(float, found.slopes), strict=True)),
    }
    octaves = (found.last - found.first) / 2
    told = [f"scaling region of {octaves:g} octaves, radii {low:.3g} to {high:.3g}"]
    cap = details["cap"]
    reason = "ok"
    if not agreed:
        reason = "not_saturating"
        told.append(
            "the slope grows with the embedding dimension, as that of noise does"
            if len(plan.dims) > 1
            else "one embedding dimension cannot show whether the slope still grows"
        )
    elif not plan.points:
        told.append(f"slopes in embedding dimensions {dims[0]} to {dims[-1]} agree")
    if value > 0.75 * cap:
        told.append(f"near the largest dimension that {n} points can show, {cap:.2g}")
    return Estimate(
        value=value,
        ci=(value - half, value + half),
        verdict="",
        curve=curve,
        fit=Fit(slope, intercept, first, last + 1, r_squared),
        reason=reason,
        reasons=tuple(told),
        n_effective=n // (plan.theiler + 1),
        details=details,
    )


def _special(
    value: float,
    reason: str,
    told: str,
    n: int,
    details: dict[str, Any],
    curve: Floats | None = None,
) -> Estimate:
    return Estimate(
        value=value,
        ci=(value, value),
        verdict="",
        curve=np.empty((2, 0)) if curve is None else curve,
        fit=None,
        reason=reason,
        reasons=(told,),
        n_effective=n,
        details=details,
    )
