"""Finite-time Lyapunov exponents over a region: where neighbours part, and where they gather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_int, check_real
from midstream.attractor._arguments import check_system
from midstream.attractor._checks import Floats, as_array, as_points
from midstream.attractor._flow import Flow
from midstream.attractor.system import System

__all__ = ["FTLEField", "ftle_field"]

#: Tangent vectors that are carried at once: enough to hide latencies, few for the first cache.
_LANES = 64


@dataclass(frozen=True)
class FTLEField:
    """Finite-time Lyapunov exponents on a grid, or at points.

    Attributes
    ----------
    values : ndarray, shape (len(y), len(x)) or (m,)
        Largest exponent over the time, in nats per unit of time; NaN where the trajectory left
        the numbers.
    ends : ndarray, shape (len(y), len(x), dim) or (m, dim)
        Where each start got to: the flow map.
    x, y : ndarray
        Coordinates of the grid's columns and rows; empty for points.
    time : float
        How long starts were followed; negative backward in time.
    axes : tuple of int
        Components that `x` and `y` are.
    """

    values: Floats = field(repr=False)
    ends: Floats = field(repr=False)
    x: Floats = field(repr=False)
    y: Floats = field(repr=False)
    time: float
    axes: tuple[int, int]


def ftle_field(
    system: System,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    steps: int,
    dt: float | None = None,
    backward: bool = False,
    t0: float = 0.0,
    axes: Sequence[SupportsIndex] = (0, 1),
    at: ArrayLike | None = None,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
) -> FTLEField:
    """Largest finite-time Lyapunov exponents over a grid of starts.

    Ridges of the forward field are where neighbours part, those of the backward field where they
    have come together: repelling and attracting Lagrangian coherent structures.

    Parameters
    ----------
    system : System
        A flow or a map of any dimension.
    x, y : array_like, shapes (nx,) and (ny,)
        Coordinates of the grid. Without `y`, `x` holds the starts themselves, shape (m, dim).
    steps : int
        Steps, or iterations, to follow each start.
    dt : float, optional
        Step of RK4, positive in either direction of time; default the system's. Not for maps.
    backward : bool
        Follow starts back in time. Not for maps, whose inverse is not known.
    t0 : float
        Time of the starts.
    axes : (int, int)
        Components that vary over the grid.
    at : array_like, shape (dim,), optional
        Values of the other components; default the system's start, zero if it has none.
    n_jobs : int, optional
        Threads; -1 for one a processor. Results are the same for any number.
    progress : callable or bar, optional
        Called with starts done and in all.

    Returns
    -------
    FTLEField

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, MemoryLimitError
        An argument cannot be used, or the field would not fit.

    Notes
    -----
    ``ln(s)/|T|`` with s the largest singular value of the derivative of the flow map over the time
    T [1]_. The derivative is not a difference between neighbours on the grid, which misses what is
    finer than the grid: each start carries `dim` tangent vectors under the exact derivative of each
    step (central differences of the right-hand side, for functions without a Jacobian).
    All directions count, those outside the grid too.

    Runs 64 tangent vectors at once in SIMD lanes. Safe to call from any thread.

    References
    ----------
    .. [1] S. C. Shadden, F. Lekien, J. E. Marsden, Physica D 212 (2005) 271.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import ftle_field, systems
    >>> gyre = systems.double_gyre()
    >>> field = ftle_field(gyre, np.linspace(0, 2, 40), np.linspace(0, 1, 20), dt=0.1, steps=150)
    >>> field.values.shape, field.time
    ((20, 40), 15.0)
    >>> bool(0.0 <= field.values.min() < 0.05 < 0.3 < np.median(field.values.max(axis=0)))
    True
    """
    check_system(system)
    step = system.step_length(dt)
    steps = check_int("steps", steps, low=1)
    t0 = check_real("t0", t0)
    if not isinstance(backward, (bool, np.bool_)):
        raise ArgumentTypeError(f"backward must be True or False, got {backward!r}")
    if backward and system.kind == "map":
        raise ArgumentValueError("backward must be False for a map: its inverse is not known")
    threads = worker_count(n_jobs) if system.is_text else 1
    pair = _axes(axes, system.dim) if y is not None else (0, min(1, system.dim - 1))
    if y is None:
        columns = rows = np.empty(0)
        starts = as_points("x", x)
        if starts.shape[1] != system.dim:
            raise ArgumentValueError(f"x must have {system.dim} columns, got shape {starts.shape}")
        shape: tuple[int, ...] = (len(starts),)
    else:
        columns, rows = _coordinates("x", x), _coordinates("y", y)
        shape = (len(rows), len(columns))
        check_memory(f"{shape[0]} x {shape[1]} starts", 3 * shape[0] * shape[1] * system.dim * 8)
        starts = _grid(system, columns, rows, pair, at)
    tell = as_progress("progress", progress)
    signed = -step if backward else step
    ends = np.empty_like(starts)
    stretch = np.empty(len(starts))
    # Functions are asked once for all lanes: these have to be of one trajectory.
    block = max(1, _LANES // system.dim) if system.is_text else 1

    flow = system.stepper(dt=signed, t0=t0, tangents=True, columns=not system.is_text)

    def work(begin: int, poll: Poll) -> int | None:
        stop = min(begin + block, len(starts))
        part = slice(begin, stop)
        ends[part], stretch[part] = _stretch(flow, starts[part], steps, poll)
        return None if poll.stopped else stop

    for done in in_blocks(work, range(0, len(starts), block), threads):
        tell(done, len(starts))
    unit = step * (system.time_step if system.kind == "map" else 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(stretch) / (steps * unit)
    return FTLEField(
        values.reshape(shape),
        ends.reshape(*shape, system.dim),
        columns,
        rows,
        steps * unit * (-1 if backward else 1),
        pair,
    )


def _stretch(flow: Flow, starts: Floats, steps: int, poll: Poll) -> tuple[Floats, Floats]:
    """Ends of starts (m, dim), and the largest singular values of the derivatives, (m,)."""
    count, dim = starts.shape
    lanes = (count * dim + 7) // 8 * 8
    state = np.zeros((flow.inputs, lanes))
    # Start i has lanes i * dim and on, one for each unit vector; lanes to spare repeat the last.
    owner = np.minimum(np.arange(lanes) // dim, count - 1)
    state[:dim] = starts[owner].T
    state[dim + np.arange(lanes) % dim, np.arange(lanes)] = 1.0
    flow.tangent_bundle(state, 0, steps, True, poll)
    used = state[:, : count * dim].reshape(flow.inputs, count, dim)
    ends = used[:dim, :, 0].T.copy()
    derivatives = used[dim : 2 * dim].transpose(1, 0, 2)
    good = np.isfinite(derivatives).all(axis=(1, 2)) & np.isfinite(ends).all(axis=1)
    ends[~good] = np.nan
    largest = np.full(count, np.nan)
    # Of a matrix whose entries would overflow when squared, scaled.
    scale = np.abs(derivatives[good]).max(axis=(1, 2), initial=0.0)
    scale[scale == 0] = 1.0
    singular = np.linalg.norm(derivatives[good] / scale[:, None, None], 2, axis=(1, 2))
    largest[good] = singular * scale
    return ends, largest


def _axes(axes: Sequence[SupportsIndex], dim: int) -> tuple[int, int]:
    try:
        first, second = axes
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"axes must be two numbers of components, got {axes!r}") from None
    pair = (
        check_int("axes[0]", first, low=0, high=dim - 1),
        check_int("axes[1]", second, low=0, high=dim - 1),
    )
    if pair[0] == pair[1]:
        raise ArgumentValueError(f"axes must be two different components, got {axes!r}")
    return pair


def _coordinates(name: str, value: ArrayLike) -> Floats:
    array = as_array(name, value, ndim=(1,))
    if len(array) == 0 or not np.isfinite(array).all():
        raise ArgumentValueError(f"{name} must hold at least one finite number, got {value!r}")
    return array


def _grid(
    system: System, x: Floats, y: Floats, axes: tuple[int, int], at: ArrayLike | None
) -> Floats:
    if at is not None:
        base = system.check_state("at", at)
    else:
        own = system.x0
        base = np.zeros(system.dim) if own is None else own
    starts = np.empty((len(y), len(x), system.dim))
    starts[:] = base
    starts[:, :, axes[0]] = x[None, :]
    starts[:, :, axes[1]] = y[:, None]
    return starts.reshape(-1, system.dim)
