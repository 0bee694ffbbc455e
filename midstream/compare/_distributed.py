"""Matrices and searches over Dask's collections: described here, computed block by block."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midstream._core.blocks import worker_count
from midstream._core.chunks import (
    Kind,
    Pieces,
    as_delayed,
    check_chunks,
    counting_from,
    deferred,
    layered,
    new_name,
    offsets_of,
    one_piece,
    pieces,
    refuse,
    warn_of_many,
)
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.compare import matrix, measures, subsequence
from midstream.compare.results import Match

__all__ = ["cdist", "pdist", "search"]

Floats = NDArray[np.float64]
#: Starts and squared distances of windows.
Found = tuple[NDArray[np.int64], Floats]

_SHOWN = "Dask's dashboard shows it, or dask.diagnostics.ProgressBar"
#: Results of blocks that one task merges.
_FAN_IN = 16
#: From a warning to the line that calls `midstream.compare.cdist`.
_CALLER = 4


@dataclass(frozen=True)
class _Distances:
    """The matrix of two blocks, wherever this arrives; without a second one, of one block."""

    metric: str
    n_jobs: int | None
    cutoff: float | None
    params: Mapping[str, Any]
    #: Argument that both blocks are of, where it is one.
    whole: str | None = None

    def __call__(
        self,
        x: Any,
        y: Any,
        x_place: tuple[int, int | None],
        y_place: tuple[int, int | None],
    ) -> Floats:
        options: dict[str, Any] = {"n_jobs": self.n_jobs, "cutoff": self.cutoff, **self.params}
        with counting_from(self.whole, X=x_place, Y=y_place):
            found: Floats = matrix.cdist(_listed(x), _listed(y), self.metric, **options)
        return found

    def within(self, x: Any, place: tuple[int, int | None]) -> Floats:
        options: dict[str, Any] = {"n_jobs": self.n_jobs, "cutoff": self.cutoff, **self.params}
        with counting_from(X=place):
            found: Floats = matrix.pdist(_listed(x), self.metric, **options)
        return found


def _listed(block: Any) -> Any:
    """A block as a sequence: partitions of bags may be iterators."""
    return block if hasattr(block, "__len__") else list(block)


def _condense(within: Floats, others: list[Floats]) -> Floats:
    """Rows of a condensed matrix: behind each row's part of its own block, those of later ones."""
    rows = (1 + math.isqrt(1 + 8 * len(within))) // 2 if len(within) else _rows(others)
    parts: list[Floats] = []
    first = 0
    for row in range(rows):
        last = first + rows - 1 - row
        parts.append(within[first:last])
        parts += [other[row] for other in others]
        first = last
    return np.concatenate(parts) if parts else np.empty(0)


def _rows(others: list[Floats]) -> int:
    """Rows of a block that has no pair of its own: none or one, which later blocks know."""
    return len(others[0]) if others else 0


def _checked(
    metric: Any,
    n_jobs: int | None,
    cutoff: float | None,
    out: Any,
    progress: Any,
    params: Mapping[str, Any],
) -> _Distances:
    """What can be known to be wrong before anything is computed."""
    name = matrix.metric_name(metric)
    refuse("out", out, "the result is computed later, and elsewhere")
    refuse("progress", progress, _SHOWN)
    worker_count(n_jobs)
    matrix.METRICS[name]([], [], np.empty((0, 0)), measures.check_cutoff(cutoff), params)
    return _Distances(name, n_jobs, cutoff, params)


def _collection(name: str, value: Any, kind: Kind | None, metric: str) -> Pieces:
    if kind is None:
        return one_piece(matrix.items_of(name, value), f"series-{name}")
    if kind == "array":
        words = value.ndim == 1 and value.dtype.kind in "OSU"
        if not (words or 2 <= value.ndim <= 3):
            raise ArgumentValueError(
                f"{name} must hold series: shape (k, n) or (k, n, d), got {value.shape}"
            )
        if metric not in matrix.OF_SYMBOLS and value.dtype.kind not in "biuf":
            raise ArgumentTypeError(f"{name} must hold real numbers, got dtype {value.dtype}")
    return pieces(kind, value, f"series-{metric}")


def _array(name: str, tasks: dict[Any, Any], chunks: Any, sources: list[Any]) -> Any:
    arrays = importlib.import_module("dask.array")
    meta = np.empty((0,) * len(chunks))
    return arrays.Array(layered(name, tasks, sources), name, chunks, meta=meta)


def cdist(
    X: Any,  # noqa: N803
    Y: Any,  # noqa: N803
    kinds: tuple[Kind | None, Kind | None],
    metric: Any,
    n_jobs: int | None,
    cutoff: float | None,
    out: Any,
    progress: Any,
    params: Mapping[str, Any],
) -> Any:
    """Describe the matrix that `midstream.compare.cdist` gives, one task a pair of blocks."""
    block = _checked(metric, n_jobs, cutoff, out, progress, params)
    x, y = _collection("X", X, kinds[0], block.metric), _collection("Y", Y, kinds[1], block.metric)
    warn_of_many(len(x.keys) * len(y.keys), stacklevel=_CALLER)
    name = new_name(f"cdist-{block.metric}", x.keys, y.keys, n_jobs, cutoff, params)
    tasks = {
        (name, i, j): (block, x_key, y_key, (i, x_first), (j, y_first))
        for i, (x_key, x_first) in enumerate(zip(x.keys, offsets_of(x.sizes), strict=True))
        for j, (y_key, y_first) in enumerate(zip(y.keys, offsets_of(y.sizes), strict=True))
    }
    return _array(name, tasks, (x.sizes, y.sizes), [*x.sources, *y.sources])


def pdist(
    X: Any,  # noqa: N803
    kind: Kind,
    metric: Any,
    n_jobs: int | None,
    cutoff: float | None,
    out: Any,
    progress: Any,
    params: Mapping[str, Any],
) -> Any:
    """Describe what `midstream.compare.pdist` gives: no pair of blocks is computed twice."""
    block = replace(_checked(metric, n_jobs, cutoff, out, progress, params), whole="X")
    x = _collection("X", X, kind, block.metric)
    warn_of_many(len(x.keys) * (len(x.keys) + 1) // 2, stacklevel=_CALLER)
    places = list(enumerate(offsets_of(x.sizes)))
    token = (x.keys, n_jobs, cutoff, params)
    pairs = new_name(f"pdist-{block.metric}", *token)
    name = new_name(f"condense-{block.metric}", *token)
    tasks: dict[Any, Any] = {}
    for i, key in enumerate(x.keys):
        tasks[pairs, i, i] = (block.within, key, places[i])
        for j in range(i + 1, len(x.keys)):
            tasks[pairs, i, j] = (block, key, x.keys[j], places[i], places[j])
        later = [(pairs, i, j) for j in range(i + 1, len(x.keys))]
        tasks[name, i] = (_condense, (pairs, i, i), later)
    return _array(name, tasks, (_condensed_sizes(x.sizes),), x.sources)


def _condensed_sizes(sizes: tuple[float, ...]) -> tuple[float, ...]:
    after, found = sum(sizes), list[float]()
    for size in sizes:
        after -= size  # NaN from the first unknown size on, and before it
        found.append(size * (size - 1) // 2 + size * after)
    return tuple(found)


@dataclass(frozen=True)
class _Search:
    """What of a block can be among the matches in the whole."""

    options: subsequence.SearchOptions
    exclusion: int
    n_jobs: int | None

    def __call__(self, series: Any, query: Any, place: tuple[int, int]) -> Found:
        radius = self.options.window if self.options.warped else 0
        with counting_from(series=place):
            comparison = subsequence.Comparison(
                query, series, radius, self.options.normalize, worker_count(self.n_jobs), None
            )
            exclusion = min(self.exclusion, comparison.windows)
            starts, squares = subsequence.possible(comparison, self.options, exclusion)
        return starts + place[1], squares

    def merge(self, parts: list[Found]) -> Found:
        limit = self.options.limit(self.exclusion)
        for starts, squares in parts:
            limit.add(starts, squares)
        limit.settle()
        return limit.starts, limit.squares

    def matches(self, parts: list[Found], length: int) -> list[Match]:
        return subsequence.best(*self.merge(parts), length, self.options, self.exclusion)


@dataclass(frozen=True)
class _SearchEach:
    """Matches in each of several series."""

    options: Mapping[str, Any]

    def __call__(self, query: Any, series: Any) -> list[Match]:
        found: list[Match] = subsequence.search(query, series, **self.options)
        return found

    def of_block(self, query: Any, block: Any) -> list[list[Match]]:
        found = []
        for index, series in enumerate(block):
            try:
                found.append(self(query, series))
            except Exception as error:
                error.add_note(f"In series {index} of its partition.")
                raise
        return found


def search(
    query: Any,
    series: Any,
    kinds: tuple[Kind | None, Kind | None],
    options: subsequence.SearchOptions,
    n_jobs: int | None,
    progress: Any,
) -> Any:
    """Describe what `midstream.compare.search` gives: one task a block, and a tree that merges."""
    refuse("progress", progress, _SHOWN)
    worker_count(n_jobs)
    of_query, of_series = kinds
    if of_query in ("bag", "list"):
        raise ArgumentTypeError(f"query must be one series, got {type(query).__name__}")
    if of_query is None:
        query = subsequence.samples("query", query)
    elif of_query == "array":
        if query.ndim != 1:
            raise ArgumentValueError(f"query must have shape (m,), got {query.shape}")
        check_chunks("query", query, "since its length says how far chunks overlap")
    if of_series == "array":
        return _search_blocks(query, series, of_query, options, n_jobs)
    node = _node(query, of_query, "query")
    each = _SearchEach({**options._asdict(), "n_jobs": n_jobs})
    if of_series == "bag":
        parts = pieces("bag", series, "series")
        name = new_name("search", node.keys, parts.keys, each.options)
        tasks: dict[Any, Any] = {
            (name, i): (each.of_block, node.keys[0], key) for i, key in enumerate(parts.keys)
        }
        bags = importlib.import_module("dask.bag")
        graph = layered(name, tasks, [*node.sources, *parts.sources])
        return bags.Bag(graph, name, len(parts.keys))
    if of_series == "list":
        return [_search_one(node, as_delayed(one, "series"), each) for one in series]
    if of_series is None:
        series = subsequence.samples("series", series)
    return _search_one(node, as_delayed(series, "series"), each)


def _node(value: Any, kind: Kind | None, what: str) -> Pieces:
    """A series as one block."""
    if kind == "array":
        return pieces(kind, value.rechunk(-1), what)
    return pieces("delayed", as_delayed(value, what), what)


def _search_one(node: Pieces, series: Any, each: _SearchEach) -> Any:
    name = new_name("search", node.keys, series.key, each.options)
    return deferred(name, {name: (each, node.keys[0], series.key)}, [*node.sources, series])


def _search_blocks(
    query: Any,
    series: Any,
    of_query: Kind | None,
    options: subsequence.SearchOptions,
    n_jobs: int | None,
) -> Any:
    if series.ndim != 1:
        raise ArgumentValueError(
            f"series must have shape (n,): only series of one dimension can be searched,"
            f" got shape {series.shape}"
        )
    if of_query == "delayed":
        raise ArgumentTypeError(
            "query must have a known length where series has chunks, got a delayed value:"
            " dask.array.from_delayed gives it one"
        )
    check_chunks("series", series, "since a window can begin in any of them")
    length, samples = len(query), len(series)
    if length == 0:
        raise ArgumentValueError("query must not be empty")
    if length > samples:
        raise ArgumentValueError(
            f"series must not be shorter than query, got {samples} and {length} samples"
        )
    windows = samples - length + 1
    if options.k is not None:
        options = options._replace(k=min(options.k, windows))
    exclusion = options.exclusion_of(length, samples)
    chunks = _no_shorter(series.chunks[0], length)
    if chunks != series.chunks[0]:
        series = series.rechunk((chunks,))
    if length > 1:
        overlap = importlib.import_module("dask.array.overlap").overlap
        series = overlap(series, depth={0: (0, length - 1)}, boundary={0: "none"})
    node = _node(query, of_query, "query")
    block = _Search(options, exclusion, n_jobs)
    name = new_name("search", node.keys, series.name, options, exclusion, n_jobs)
    part, merged = f"windows-{name}", f"merge-{name}"
    tasks: dict[Any, Any] = {}
    first = 0
    level: list[Any] = [(part, i) for i in range(len(chunks))]
    for i, size in enumerate(chunks):
        tasks[part, i] = (block, (series.name, i), node.keys[0], (i, first))
        first += size
    depth = 0
    while len(level) > _FAN_IN:
        groups = [level[at : at + _FAN_IN] for at in range(0, len(level), _FAN_IN)]
        level = [(merged, depth, i) for i in range(len(groups))]
        tasks.update((key, (block.merge, group)) for key, group in zip(level, groups, strict=True))
        depth += 1
    tasks[name] = (block.matches, level, length)
    return deferred(name, tasks, [*node.sources, series])


def _no_shorter(chunks: tuple[int, ...], length: int) -> tuple[int, ...]:
    """Join neighbours until each has as many samples as the query: what begins in one may end
    in the next, and no later."""
    found: list[int] = []
    room = 0
    for size in chunks:
        room += size
        if room >= length:
            found.append(room)
            room = 0
    if room:
        found[-1] += room
    return tuple(found)
