"""Right-hand sides at many points, each at its own time."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from midstream._core._poll import Poll
from midstream.attractor._arguments import is_named, text_entries
from midstream.attractor._checks import Floats
from midstream.attractor.system import System

__all__ = ["Slopes", "many_slopes"]

#: ``f(points, times)``: the right-hand side at many points, shape (n, dim), each at its time.
Slopes = Callable[[Floats, Floats], Floats]


def many_slopes(system: System) -> Slopes:
    """The right-hand side of a flow at many points: in SIMD lanes where it is text."""
    if system.autonomous:
        together = _in_lanes(system)
        return lambda points, times: together(points)
    timed = _with_clock(system)
    if timed is not None:
        together = _in_lanes(timed)
        return lambda points, times: together(np.column_stack([points, times]))[:, :-1]
    return lambda points, times: np.array(
        [system.rhs(x, float(t)) for x, t in zip(points, times, strict=True)]
    )


def _in_lanes(system: System) -> Callable[[Floats], Floats]:
    flow = system.slopes()

    def slopes(points: Floats) -> Floats:
        count, dim = points.shape
        lanes = np.zeros((flow.inputs, (count + 7) // 8 * 8))
        lanes[:dim] = points[-1][:, None]
        lanes[:dim, :count] = points.T
        flow.tangent_bundle(lanes, 0, 1, True, Poll())
        return lanes[:dim, :count].T.copy()

    return slopes


def _with_clock(system: System) -> System | None:
    """The system with the time as its last component, if it is text."""
    entries = text_entries(system)
    if entries is None:
        return None
    clock = "clock"
    while any(clock in entry for entry in entries) or clock in system.params:
        clock += "_"
    last = f"{clock}' = 1" if any(is_named(entry) for entry in entries) else "1"
    return System(
        [*(re.sub(r"\bt\b", clock, entry) for entry in entries), last],
        params=system.params,
        variables=[*system.variables, clock],
    )
