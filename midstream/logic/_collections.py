"""A rule book over many traces: here, or wherever Dask has them."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from midstream._core.chunks import (
    Kind,
    Pieces,
    as_delayed,
    counting_from,
    dask_kind,
    deferred,
    layered,
    new_name,
    offsets_of,
    pieces,
)
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_iterable

if TYPE_CHECKING:
    from midstream.logic.rulebook import Outcome, RuleBook

__all__ = ["check"]


def check(book: RuleBook, traces: Any, finish: Any) -> Any:
    """Do what `RuleBook.check` says."""
    if not isinstance(finish, (bool, np.bool_)):
        raise ArgumentTypeError(f"finish must be True or False, got {finish!r}")
    kind = dask_kind("traces", traces)
    if kind is not None:
        return _described(book, traces, kind, bool(finish))
    if isinstance(traces, np.ndarray):
        _check_masks(traces)
    elif isinstance(traces, (str, bytes, Mapping, Set)):
        raise ArgumentTypeError(f"traces must be several traces, got {type(traces).__name__}")
    return _judged(book._fresh(), check_iterable("traces", traces), bool(finish))


def _check_masks(traces: Any) -> None:
    if traces.ndim != 2 or traces.dtype.kind not in "ui":
        raise ArgumentValueError(
            f"traces must be rows of bit masks, shape (k, n) of integers, got {traces.shape} of "
            f"{traces.dtype}"
        )


def _judged(book: RuleBook, traces: Iterable[Any], finish: bool) -> list[Outcome]:
    """Outcomes of traces; the book is the task's own, and ends as it began."""
    outcomes = []
    try:
        for number, trace in enumerate(traces):
            try:
                outcomes.append(_outcome(book, trace, finish))
            except Exception as error:
                error.add_note(f"In event {book.n_steps} of traces[{number}].")
                raise
    finally:
        book.reset()
    return outcomes


def _outcome(book: RuleBook, trace: Any, finish: bool) -> Outcome:
    book.reset()
    if isinstance(trace, np.ndarray):
        trace = trace.tolist()
    elif isinstance(trace, (str, bytes, Mapping, Set)):
        raise ArgumentTypeError(f"a trace must be a sequence of events, got {type(trace).__name__}")
    return book._through(check_iterable("a trace", trace), finish)


class _Judge:
    """The traces of a block, wherever this arrives."""

    def __init__(self, finish: bool) -> None:
        self.finish = finish

    def block(
        self, book: RuleBook, traces: Any, place: tuple[int, int | None] = (0, 0)
    ) -> list[Outcome]:
        with counting_from(traces=place):
            return _judged(_own(book), traces, self.finish)

    def one(self, book: RuleBook, trace: Any) -> Outcome:
        return _outcome(_own(book), trace, self.finish)


#: A book is used by one thread at a time, also to be copied.
_copying = threading.Lock()


def _own(book: RuleBook) -> RuleBook:
    """A copy for this task: the threads of a worker share what arrived once."""
    with _copying:
        return book.copy()


def _described(book: RuleBook, traces: Any, kind: Kind, finish: bool) -> Any:
    judge = _Judge(finish)
    node = as_delayed(book._fresh(), "rulebook")
    if kind == "list":
        return [_delayed(judge.one, node, as_delayed(trace, "trace"), finish) for trace in traces]
    if kind == "delayed":
        return _delayed(judge.block, node, as_delayed(traces, "traces"), finish)
    if kind == "array":
        _check_masks(traces)
    parts: Pieces = pieces(kind, traces, "traces")
    name = new_name("check", node.key, parts.keys, finish)
    tasks = {
        (name, i): (judge.block, node.key, key, (i, first))
        for i, (key, first) in enumerate(zip(parts.keys, offsets_of(parts.sizes), strict=True))
    }
    bags = importlib.import_module("dask.bag")
    return bags.Bag(layered(name, tasks, [node, *parts.sources]), name, len(parts.keys))


def _delayed(work: Any, node: Any, traces: Any, finish: bool) -> Any:
    name = new_name("check", node.key, traces.key, finish)
    return deferred(name, {name: (work, node.key, traces.key)}, [node, traces])
