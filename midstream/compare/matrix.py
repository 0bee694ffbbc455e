"""Matrices of distances: every pair of two collections, or within one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.chunks import dask_kind
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_choice
from midstream.compare import measures
from midstream.compare._symbols import Numbering

__all__ = ["METRICS", "cdist", "pdist"]


class Batch(Protocol):
    """Work of one matrix, in blocks that any thread may compute."""

    @property
    def blocks(self) -> int: ...

    def run(self, block: int, poll: Poll) -> None: ...


Collection = Sequence[Any] | NDArray[Any]
Maker = Callable[
    [list[Any], list[Any] | None, NDArray[np.float64], float, Mapping[str, Any]], Batch
]


def _elastic(metric: str) -> Maker:
    def make(
        X: list[Any],  # noqa: N803
        Y: list[Any] | None,  # noqa: N803
        out: NDArray[np.float64],
        cutoff: float,
        params: Mapping[str, Any],
    ) -> Batch:
        from midstream.compare._elastic_batch import ElasticBatch

        plan = measures.plan(metric, params)
        if measures.is_symbolic(metric, params):
            numbering = Numbering()
            X = [numbering.encode(f"X[{i}]", item) for i, item in enumerate(X)]  # noqa: N806
            if Y is not None:
                Y = [numbering.encode(f"Y[{j}]", item) for j, item in enumerate(Y)]  # noqa: N806
        return ElasticBatch(X, Y, out, plan, cutoff)

    return make


def _check_known(metric: str, params: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in params:
        if name not in known:
            raise ArgumentTypeError(
                f"{metric} has no parameter {name!r}: it takes {', '.join(known) or 'none'}"
            )


def _soft_dtw(
    X: list[Any],  # noqa: N803
    Y: list[Any] | None,  # noqa: N803
    out: NDArray[np.float64],
    cutoff: float,
    params: Mapping[str, Any],
) -> Batch:
    from midstream.compare._soft_batch import SoftBatch

    _check_known("soft_dtw", params, ("band", "gamma", "nan_policy", "window"))
    return SoftBatch(X, Y, out, cutoff=cutoff, **params)


def _edit(metric: str, known: tuple[str, ...]) -> Maker:
    def make(
        X: list[Any],  # noqa: N803
        Y: list[Any] | None,  # noqa: N803
        out: NDArray[np.float64],
        cutoff: float,
        params: Mapping[str, Any],
    ) -> Batch:
        from midstream.compare._editbatch import EditBatch

        _check_known(metric, params, known)
        limit = None if cutoff == math.inf else cutoff
        return EditBatch(X, Y, out, cutoff=limit, metric=metric, **params)

    return make


#: Name of a metric -> what makes its batch.
METRICS: dict[str, Maker] = {
    **{name: _elastic(name) for name in measures.PLANS},
    "lcs": _edit("lcs", ()),
    "levenshtein": _edit("levenshtein", ("weights",)),
    "soft_dtw": _soft_dtw,
}


#: Metrics of sequences of symbols, which may be of any type.
OF_SYMBOLS = frozenset(("lcs", "levenshtein"))


def items_of(name: str, collection: Collection) -> list[Any]:
    if hasattr(collection, "__array__") and not isinstance(collection, np.ndarray):
        collection = np.asarray(collection)  # a DataFrame would be iterated by its columns' names
    kind = type(collection)
    iterable = hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")
    unfit = (str, bytes, Mapping, Set)  # one sequence of symbols; and what has no order
    if isinstance(collection, unfit) or not (iterable and hasattr(kind, "__len__")):
        raise ArgumentTypeError(
            f"{name} must be a sequence of series, got {type(collection).__name__}"
        )
    if (
        isinstance(collection, np.ndarray)
        and not 2 <= collection.ndim <= 3
        and (collection.dtype.kind not in "OSU" or collection.ndim != 1)
    ):
        raise ArgumentValueError(
            f"{name} must hold series: shape (k, n) or (k, n, d), got {collection.shape}"
        )
    return list(collection)


def _result(
    out: NDArray[np.float64] | None,
    shape: tuple[int, ...],
    what: str,
    *collections: tuple[str, list[Any]],
) -> NDArray[np.float64]:
    if out is None:
        check_memory(what, 8 * int(np.prod(shape, dtype=object)))
        return np.empty(shape, dtype=np.float64)
    if not isinstance(out, np.ndarray) or out.dtype != np.float64:
        found = out.dtype if isinstance(out, np.ndarray) else type(out).__name__
        raise ArgumentTypeError(f"out must be a float64 array, got {found}")
    if out.shape != shape:
        raise ArgumentValueError(f"out must have shape {shape}, got {out.shape}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ArgumentValueError("out must be C-contiguous, aligned and writeable")
    for name, items in collections:
        if any(isinstance(item, np.ndarray) and np.may_share_memory(out, item) for item in items):
            raise ArgumentValueError(f"out must not share memory with {name}")
    return out


def compute(batch: Batch, n_jobs: int, progress: Callable[[int, int], object]) -> None:
    """Run all blocks of a batch in `n_jobs` threads; stop all of them at the first exception."""
    total = batch.blocks

    def work(block: int, poll: Poll) -> int | None:
        batch.run(block, poll)
        return None if poll.stopped else block

    progress(0, total)
    with closing(in_blocks(work, range(total), n_jobs)) as finished:
        for done, _ in enumerate(finished, 1):
            progress(done, total)


def _compute(
    X: list[Any],  # noqa: N803
    Y: list[Any] | None,  # noqa: N803
    metric: str,
    n_jobs: int | None,
    cutoff: float | None,
    out: NDArray[np.float64],
    progress: Progress | None,
    params: Mapping[str, Any],
) -> None:
    workers = worker_count(n_jobs)
    tell = as_progress("progress", progress)
    batch = METRICS[metric](X, Y, out, measures.check_cutoff(cutoff), params)
    compute(batch, workers, tell)


def metric_name(metric: Any) -> str:
    """Accept ``midstream.compare.dtw`` for ``"dtw"``."""
    return str(check_choice("metric", measures.metric_name(metric), sorted(METRICS)))


@overload
def cdist(
    X: Collection,  # noqa: N803
    Y: Collection,  # noqa: N803
    metric: str = ...,
    *,
    n_jobs: int | None = ...,
    cutoff: float | None = ...,
    out: NDArray[np.float64] | None = ...,
    progress: Progress | None = ...,
    **params: Any,
) -> NDArray[np.float64]: ...
@overload
def cdist(X: Any, Y: Any, metric: str = ..., **options: Any) -> Any: ...  # noqa: N803
def cdist(
    X: Any,  # noqa: N803
    Y: Any,  # noqa: N803
    metric: str = "dtw",
    *,
    n_jobs: int | None = 1,
    cutoff: float | None = None,
    out: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
    **params: Any,
) -> Any:
    """Distances of every series in `X` from every one in `Y`.

    Parameters
    ----------
    X, Y : sequence of series, or (k, n) or (k, n, d) array
        Lengths may differ. For ``'levenshtein'`` and ``'lcs'``, and for ``'dtw'`` with
        ``cost='equal'``: sequences of symbols (str, bytes, integers, hashables).
        Also a Dask array or bag of series, a delayed value that stands for such a collection, or a
        sequence with delayed series in it.
    metric : str
        Name of a measure of `midstream.compare`, or that function itself.
    n_jobs : int, default 1
        Threads; -1 for one a processor.
    cutoff : float, optional
        Entries above it are inf; lets hopeless pairs end early.
    out : (len(X), len(Y)) float64 ndarray, optional
        C-contiguous, apart from `X` and `Y` in memory; filled and returned.
    progress : callable or bar, optional
        ``progress(done, total)`` is called as blocks of work are done; or a tqdm bar.
    **params
        Keywords of the measure, such as `window`.

    Returns
    -------
    (len(X), len(Y)) float64 ndarray
        Row i, column j: the distance of ``X[i]`` from ``Y[j]``, the same bits as the measure itself
        gives, for any number of threads; where some series are float32 and some are not, as it
        gives for all in float64. ``'lcs'`` gives lengths.

        With one of Dask's collections a lazy ``dask.array.Array`` of the same numbers, one task
        and chunk for each pair of blocks. Blocks are the chunks of an array along its first axis
        (those along others are joined), the partitions of a bag (of unknown size), all that is
        here already, and 64 delayed series.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        As for the measure, the message naming the series: ``X[3]``; or a parameter that the measure
        does not have.
    MemoryLimitError
        The result, or the series side by side, do not fit in memory: raised before any work.
    KeyboardInterrupt
        Ctrl-C is answered within half a second; `out` is then partly filled.

    Notes
    -----
    Threads share the work without the GIL. Several series are compared at a time, one in each lane
    of a vector, which is two to four times as fast as pair by pair.

    With Dask, `out` and `progress` have no meaning and must be None; `n_jobs` is threads a task.
    Arguments are checked at once, series by the task that has them. A bag whose partitions mix
    float32 with other numbers is computed in float64 only where a task meets both. See the guide
    ``clusters`` for the size of blocks.

    Examples
    --------
    >>> cdist([[0, 1, 2], [5, 5]], [[0, 2], [5, 6]], metric="dtw", cost="absolute")
    array([[ 1., 13.],
           [ 8.,  1.]])
    >>> import dask.array
    >>> walks = dask.array.ones((1000, 50), chunks=(250, 50)).cumsum(axis=1)
    >>> cdist(walks, walks, "msm").chunks
    ((250, 250, 250, 250), (250, 250, 250, 250))
    """
    kinds = dask_kind("X", X), dask_kind("Y", Y)
    if any(kinds):
        from midstream.compare import _distributed

        return _distributed.cdist(X, Y, kinds, metric, n_jobs, cutoff, out, progress, params)
    name = metric_name(metric)
    first, second = items_of("X", X), items_of("Y", Y)
    shape = (len(first), len(second))
    what = f"cdist of {shape[0]} x {shape[1]} series"
    result = _result(out, shape, what, ("X", first), ("Y", second))
    _compute(first, second, name, n_jobs, cutoff, result, progress, params)
    return result


@overload
def pdist(
    X: Collection,  # noqa: N803
    metric: str = ...,
    *,
    n_jobs: int | None = ...,
    cutoff: float | None = ...,
    out: NDArray[np.float64] | None = ...,
    progress: Progress | None = ...,
    **params: Any,
) -> NDArray[np.float64]: ...
@overload
def pdist(X: Any, metric: str = ..., **options: Any) -> Any: ...  # noqa: N803
def pdist(
    X: Any,  # noqa: N803
    metric: str = "dtw",
    *,
    n_jobs: int | None = 1,
    cutoff: float | None = None,
    out: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
    **params: Any,
) -> Any:
    """Distances between all series in `X`, in scipy's condensed form.

    Parameters
    ----------
    X, metric, n_jobs, cutoff, progress, **params
        As for `cdist`.
    out : (k (k - 1) / 2,) float64 ndarray, optional

    Returns
    -------
    (k (k - 1) / 2,) float64 ndarray
        The upper triangle row by row: (0, 1), (0, 2), ..., (k - 2, k - 1); see
        `scipy.spatial.distance.squareform`.

        With one of Dask's collections a lazy ``dask.array.Array``, one chunk for the rows of each
        block: it must fit into a worker's memory twice. No pair of blocks is computed twice.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError, MemoryLimitError, KeyboardInterrupt
        As for `cdist`.

    Examples
    --------
    >>> pdist([[0, 1, 2], [0, 2], [5, 5]], cost="absolute")
    array([ 1., 12.,  8.])
    """
    kind = dask_kind("X", X)
    if kind is not None:
        from midstream.compare import _distributed

        return _distributed.pdist(X, kind, metric, n_jobs, cutoff, out, progress, params)
    name = metric_name(metric)
    items = items_of("X", X)
    count = len(items)
    shape = (count * (count - 1) // 2,)
    result = _result(out, shape, f"pdist of {count} series", ("X", items))
    _compute(items, None, name, n_jobs, cutoff, result, progress, params)
    return result
