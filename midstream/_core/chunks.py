"""Collections that live in pieces on other machines: Dask's, told apart without importing Dask."""

from __future__ import annotations

import importlib
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.words import counted

__all__ = [
    "Kind",
    "Pieces",
    "as_delayed",
    "check_chunks",
    "counting_from",
    "dask_kind",
    "deferred",
    "layered",
    "new_name",
    "offsets_of",
    "one_piece",
    "pieces",
    "refuse",
    "warn_of_many",
]

#: ``"list"``: a list or tuple with delayed values among its items.
Kind = Literal["array", "bag", "delayed", "list"]

#: Delayed items that one task takes: what they stand for is small beside a partition.
GROUP = 64

#: Tasks beyond which a scheduler is busier with them than workers are: it keeps kilobytes of each.
MANY_TASKS = 100_000


def _is_a(kind: type, module: str, name: str) -> bool:
    # What was never imported has no instances.
    wanted = getattr(sys.modules.get(module), name, None)
    return wanted is not None and issubclass(kind, wanted)


def _is_delayed(kind: type) -> bool:
    return _is_a(kind, "dask.delayed", "Delayed") or _is_a(kind, "dask.bag.core", "Item")


def dask_kind(name: str, value: Any) -> Kind | None:
    """Say which of Dask's collections an argument is; None for what is here already.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    value : object

    Raises
    ------
    ArgumentTypeError
        Another collection of Dask: numpy would compute it unasked.

    Notes
    -----
    Takes some 0.2 us where Dask was never imported, and never imports it.
    """
    if "dask" not in sys.modules:
        return None
    kind = type(value)
    if _is_a(kind, "dask.array.core", "Array"):
        return "array"
    if _is_a(kind, "dask.bag.core", "Bag"):
        return "bag"
    if _is_delayed(kind):
        return "delayed"
    if isinstance(value, (list, tuple)):
        return "list" if any(map(_is_delayed, set(map(type, value)))) else None
    graph = getattr(kind, "__dask_graph__", None)
    if graph is not None and graph(value) is not None:
        raise ArgumentTypeError(
            f"{name} must be a Dask array, bag or delayed value, got {kind.__name__}: "
            "a data frame has .to_dask_array(), a labelled array .data"
        )
    return None


def refuse(name: str, value: Any, why: str) -> None:
    """Refuse an argument that has no meaning for work that is only described now.

    Raises
    ------
    ArgumentValueError
        `value` is not None.
    """
    if value is not None:
        raise ArgumentValueError(f"{name} must be None with Dask's collections: {why}")


class Pieces(NamedTuple):
    """An argument as the blocks of one dimension of a graph.

    Attributes
    ----------
    keys : list
        Key of each block; its value is an array, or a list of items.
    sizes : tuple of float
        Items in each; NaN where that is not known before it is computed.
    sources : list
        Collections whose graphs define the keys.
    """

    keys: list[Any]
    sizes: tuple[float, ...]
    sources: list[Any]


def offsets_of(sizes: Iterable[float]) -> list[int | None]:
    """Index of the first item of each block; None where it is not known."""
    first, found = 0.0, list[int | None]()
    for size in sizes:
        found.append(None if math.isnan(first) else int(first))
        first += size
    return found


def new_name(what: str, *parts: Any) -> str:
    """Name a layer: the dashboard shows `what`, and equal work has equal names."""
    return f"{what}-{importlib.import_module('dask.base').tokenize(what, *parts)}"


def warn_of_many(tasks: int, *, stacklevel: int) -> None:
    """Warn before so many tasks are described that larger chunks would serve better."""
    if tasks > MANY_TASKS:
        category = importlib.import_module("dask.array").PerformanceWarning
        warnings.warn(
            f"{tasks:,} tasks, one for each pair of blocks: larger chunks need fewer of them, "
            "each of a tenth of a second or more; see `midstream docs clusters`",
            category,
            stacklevel=stacklevel,
        )


def layered(name: str, tasks: dict[Any, Any], sources: Sequence[Any]) -> Any:
    """Put tasks on top of the graphs of their sources."""
    graphs = importlib.import_module("dask.highlevelgraph")
    return graphs.HighLevelGraph.from_collections(name, tasks, dependencies=sources)


def deferred(name: str, tasks: dict[Any, Any], sources: Sequence[Any]) -> Any:
    """Make a delayed value of the task that has the key `name`."""
    values = importlib.import_module("dask.delayed")
    return values.Delayed(name, layered(name, tasks, sources))


def as_delayed(value: Any, what: str) -> Any:
    """Make a value one node of the graph, however many tasks need it."""
    delayed = importlib.import_module("dask.delayed")
    if _is_a(type(value), "dask.bag.core", "Item"):
        return value.to_delayed()
    if _is_delayed(type(value)):
        # What it does to its value belongs to its graph: a key stands for the whole.
        return value
    return delayed.delayed(value, name=new_name(what, value), traverse=False)


def one_piece(items: list[Any], what: str) -> Pieces:
    """Make what is here one block."""
    node = as_delayed(items, what)
    return Pieces([node.key], (len(items),), [node])


def pieces(kind: Kind, value: Any, what: str) -> Pieces:
    """Take an argument apart, without computing any of it.

    Parameters
    ----------
    kind : {"array", "bag", "delayed", "list"}
        From `dask_kind`.
    value : collection
        Blocks of an array are those along its first axis: no item is split, so that chunks along
        the others are joined. A delayed value is one block. Delayed items of a list are grouped.
    what : str
        Begins the names of new tasks.
    """
    if kind == "array":
        if any(count > 1 for count in value.numblocks[1:]):
            value = value.rechunk(dict.fromkeys(range(1, value.ndim), -1))
        rest = (0,) * (value.ndim - 1)
        keys = [(value.name, index, *rest) for index in range(value.numblocks[0])]
        return Pieces(keys, value.chunks[0], [value])
    if kind == "bag":
        count = value.npartitions
        return Pieces([(value.name, i) for i in range(count)], (math.nan,) * count, [value])
    if kind == "delayed":
        node = as_delayed(value, what)
        return Pieces([node.key], (math.nan,), [node])
    nodes = [as_delayed(item, what) for item in value]
    name = new_name(what, [node.key for node in nodes])
    groups = [nodes[first : first + GROUP] for first in range(0, len(nodes), GROUP)]
    tasks = {
        (name, index): (list, [node.key for node in group]) for index, group in enumerate(groups)
    }
    bags = importlib.import_module("dask.bag")
    grouped = bags.Bag(layered(name, tasks, nodes), name, len(groups))
    return Pieces(list(tasks), tuple(map(len, groups)), [grouped])


@contextmanager
def counting_from(whole: str | None = None, /, **places: tuple[int, int | None]) -> Iterator[None]:
    """Add to an error what its numbers count from, where a task sees a part of the whole.

    Parameters
    ----------
    whole : str, optional
        Argument that all places are in; each in its own by default.
    **places : (int, int or None)
        Argument -> number of the block, and index of its first item where that is known.
    """
    try:
        yield
    except Exception as error:
        said = [
            f"{whole or name}[{first}]"
            if first is not None
            else f"the start of block {block} of {whole or name}"
            for name, (block, first) in places.items()
        ]
        if any(block for block, _ in places.values()):
            error.add_note(f"Numbers of {' and '.join(places)} here count from {', '.join(said)}.")
        raise


def check_chunks(name: str, value: Any, why: str) -> None:
    """Refuse an array whose chunks have no known size.

    Raises
    ------
    ArgumentValueError
    """
    unknown = sum(math.isnan(size) for axis in value.chunks for size in axis)
    if unknown:
        raise ArgumentValueError(
            f"{name} must have chunks of known sizes, {why}; got {counted(unknown, 'chunk')} of "
            "unknown size (compute_chunk_sizes() finds them)"
        )
