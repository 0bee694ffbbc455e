"""Ensembles over Dask's collections: described here, followed block by block."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from midstream._core.chunks import (
    Kind,
    as_delayed,
    counting_from,
    layered,
    new_name,
    offsets_of,
    pieces,
    refuse,
)
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.attractor import integration
from midstream.attractor._checks import Floats, as_array
from midstream.attractor.system import System

__all__ = ["ensemble"]


@dataclass(frozen=True)
class _Follow:
    """The trajectories of a block, wherever this arrives."""

    course: integration.Course
    threads: int

    def __call__(self, system: System, block: Any, place: tuple[int, int | None]) -> Floats:
        if not isinstance(block, np.ndarray):
            block = list(block)
            if not block:  # a partition of which a filter left nothing
                block = np.empty((0, system.dim))
        starts = as_array("X0", block, ndim=(2,))
        # The block is not this task's alone.
        ends = starts.copy() if np.shares_memory(starts, block) else starts
        number, first = place
        if first is not None:
            return integration.follow(system, ends, self.course, self.threads, _quiet, first)
        with counting_from(X0=(number, None)):
            return integration.follow(system, ends, self.course, self.threads, _quiet)


def _quiet(done: int, total: int) -> None:
    """Say nothing: Dask's dashboard counts blocks."""


def ensemble(
    system: System,
    X0: Any,  # noqa: N803
    kind: Kind,
    course: integration.Course,
    threads: int,
    progress: Any,
) -> Any:
    """Describe what `midstream.attractor.ensemble` gives, one task a block of starts."""
    refuse("progress", progress, "Dask's dashboard shows it, or dask.diagnostics.ProgressBar")
    if kind == "array":
        if X0.dtype.kind not in "fiub":
            raise ArgumentTypeError(f"X0 must hold real numbers, got dtype {X0.dtype}")
        columns = X0.shape[1] if X0.ndim == 2 else math.nan
        # Unknown is not unequal.
        if X0.ndim != 2 or (not math.isnan(columns) and columns != system.dim):
            raise ArgumentValueError(f"X0 must have {system.dim} columns, got shape {X0.shape}")
    starts = pieces(kind, X0, "starts")
    node = as_delayed(system, "system")
    follow = _Follow(course, threads)
    name = new_name("ensemble", node.key, starts.keys, course, threads)
    inner: tuple[int, ...] = () if course.every is None else (course.rows,)
    rest = (0,) * len(inner) + (0,)
    tasks = {
        (name, index, *rest): (follow, node.key, key, (index, first))
        for index, (key, first) in enumerate(
            zip(starts.keys, offsets_of(starts.sizes), strict=True)
        )
    }
    chunks = (starts.sizes, *((size,) for size in (*inner, system.dim)))
    arrays = importlib.import_module("dask.array")
    graph = layered(name, tasks, [node, *starts.sources])
    return arrays.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks)))
