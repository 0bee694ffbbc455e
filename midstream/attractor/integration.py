"""Trajectories: one, many, with fixed or adaptive steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.chunks import dask_kind
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_choice, check_int, check_real
from midstream.attractor._checks import Floats, as_array
from midstream.attractor._flow import BUNDLE, Adaptive
from midstream.attractor.system import System

__all__ = ["Solution", "ensemble", "integrate", "solve"]

#: Steps of the adaptive pair that are fetched at once.
_FETCH = 2048


def integrate(
    system: System,
    x0: ArrayLike | None = None,
    *,
    dt: float | None = None,
    steps: int,
    method: Literal["rk4", "rk45"] = "rk4",
    transient: int = 0,
    every: int = 1,
    t0: float = 0.0,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    out: Floats | None = None,
) -> Floats:
    """Follow one trajectory.

    Parameters
    ----------
    system : System
    x0 : array_like, shape (dim,), optional
        Start; the system's own if it has one.
    dt : float, optional
        Step, in units of time; the system's own if it has one. Not for maps.
    steps : int
        Steps, or iterations, after the transient.
    method : {"rk4", "rk45"}
        Classical Runge-Kutta with the step `dt`, or the adaptive pair of Dormand and Prince, whose
        continuous extension is read at multiples of `dt`.
    transient : int
        Steps that are made first and not kept.
    every : int
        Keep each `every`-th state.
    t0 : float
        Time of the start, before the transient; the number of the first iteration for maps.
    rtol, atol : float
        Tolerances of ``"rk45"``, relative and absolute, per component and step.
    out : ndarray, shape (steps // every + 1, dim), optional
        C-contiguous float64 to write to. The first use of new memory can cost more than the steps.

    Returns
    -------
    ndarray, shape (steps // every + 1, dim)
        The state after the transient and each `every` steps later.

    Raises
    ------
    IntegrationError
        A component became infinite or NaN; with the step and the state before it.
    ArgumentTypeError, ArgumentValueError, MemoryLimitError

    See Also
    --------
    solve : the adaptive pair with its own steps, to be evaluated anywhere.

    Notes
    -----
    Time: 15 ns a step for Lorenz, the latency from one state to the next (measured; README). A
    Python callable costs 4 calls a step. Releases the GIL for text and C functions; Ctrl-C answers.
    The text of a system and its built-in twin give the same bits, at every instruction-set level.

    Examples
    --------
    >>> from midstream.attractor import integrate, systems
    >>> integrate(systems.henon(), [0, 0], steps=2)
    array([[ 0. ,  0. ],
           [ 1. ,  0. ],
           [-0.4,  0.3]])
    """
    start = system.start(x0)
    step = system.step_length(dt)
    steps = check_int("steps", steps, low=1)
    transient = check_int("transient", transient, low=0)
    every = check_int("every", every, low=1)
    t0 = check_real("t0", t0)
    check_choice("method", method, ("rk4", "rk45"))
    rows = steps // every + 1
    if out is None:
        check_memory(f"a trajectory of {rows} states", rows * system.dim * 8)
        out = np.empty((rows, system.dim))
    else:
        _check_out(out, (rows, system.dim))
    if method == "rk45":
        if system.kind == "map":
            raise ArgumentValueError("method must be 'rk4' for a map, which has no step to adapt")
        first = t0 + transient * step
        times = first + step * every * np.arange(rows, dtype=np.float64)
        return _sample(system, start, t0, times, rtol, atol, out)
    system.stepper(dt=step, t0=t0).path(start, transient, rows, every, out, Poll())
    return out


def _check_out(out: Floats, shape: tuple[int, int]) -> None:
    if not isinstance(out, np.ndarray) or out.dtype != np.float64:
        raise ArgumentTypeError(f"out must be an ndarray of float64, got {out!r}")
    if out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
        raise ArgumentValueError(
            f"out must be writeable, C-contiguous and of shape {shape}, got shape {out.shape}"
        )


class Course(NamedTuple):
    """Arguments of `ensemble`, checked: what is done with each start."""

    dt: float
    steps: int
    transient: int
    every: int | None
    t0: float
    blowup: str

    @property
    def rows(self) -> int:
        """States of each trajectory; its end counts for two where nothing is kept."""
        return 2 if self.every is None else self.steps // self.every + 1


@overload
def ensemble(
    system: System,
    X0: ArrayLike,  # noqa: N803  (the contract's name: one start a row)
    *,
    dt: float | None = ...,
    steps: int,
    transient: int = ...,
    every: int | None = ...,
    n_jobs: int | None = ...,
    t0: float = ...,
    blowup: Literal["raise", "nan"] = ...,
    progress: Progress | None = ...,
) -> Floats: ...
@overload
def ensemble(
    system: System,
    X0: Any,  # noqa: N803
    *,
    dt: float | None = ...,
    steps: int,
    transient: int = ...,
    every: int | None = ...,
    n_jobs: int | None = ...,
    t0: float = ...,
    blowup: Literal["raise", "nan"] = ...,
    progress: None = ...,
) -> Any: ...
def ensemble(
    system: System,
    X0: Any,  # noqa: N803
    *,
    dt: float | None = None,
    steps: int,
    transient: int = 0,
    every: int | None = None,
    n_jobs: int | None = 1,
    t0: float = 0.0,
    blowup: Literal["raise", "nan"] = "raise",
    progress: Progress | None = None,
) -> Any:
    """Follow many starts of one system.

    Parameters
    ----------
    system : System
    X0 : array_like, shape (m, dim)
        Starts. Also a Dask array or bag of starts, a delayed value that stands for such a
        collection, or a list with delayed starts in it.
    dt, steps, transient, t0
        As in `integrate`.
    every : int, optional
        Keep each `every`-th state; None keeps the last alone.
    n_jobs : int, optional
        Threads; -1 for one a processor. Results are the same for any number.
    blowup : {"raise", "nan"}
        What becomes of a trajectory that leaves the finite numbers: an error that tells which, or
        NaN from there on.
    progress : callable or bar, optional
        Called with trajectories done and in all.

    Returns
    -------
    ndarray, shape (m, dim) or (m, steps // every + 1, dim)
        Each row is what `integrate` gives for that start, bit for bit.

        With one of Dask's collections a lazy ``dask.array.Array`` of the same numbers, with its
        chunks or partitions along the first axis, one task each; `progress` must be None.

    Raises
    ------
    IntegrationError
        A trajectory blew up, with its number, the step and the state before it.
    ArgumentTypeError, ArgumentValueError, MemoryLimitError

    Notes
    -----
    Time: 2 ns a step and trajectory for Lorenz on one thread, compiled; 5 ns interpreted. One
    trajectory a SIMD lane, 64 at a time. Systems of Python callables run on one thread. Those of C
    functions cannot be sent to the processes of a cluster.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import ensemble, systems
    >>> starts = np.random.default_rng(0).normal(size=(1000, 3))
    >>> ensemble(systems.lorenz(), starts, dt=0.01, steps=500).shape
    (1000, 3)
    >>> import dask.array
    >>> later = ensemble(systems.lorenz(), dask.array.from_array(starts, chunks=(400, 3)), steps=50)
    >>> later.chunks
    ((400, 400, 200), (3,))
    """
    course = Course(
        system.step_length(dt),
        check_int("steps", steps, low=1),
        check_int("transient", transient, low=0),
        None if every is None else check_int("every", every, low=1),
        check_real("t0", t0),
        check_choice("blowup", blowup, ("raise", "nan")),
    )
    threads = worker_count(n_jobs)
    kind = dask_kind("X0", X0)
    if kind is not None:
        from midstream.attractor import _distributed

        return _distributed.ensemble(system, X0, kind, course, threads, progress)
    starts = as_array("X0", X0, ndim=(2,))
    tell = as_progress("progress", progress)
    ends = starts.copy() if np.shares_memory(starts, np.asarray(X0)) else starts
    return follow(system, ends, course, threads, tell)


def follow(
    system: System,
    ends: Floats,
    course: Course,
    threads: int,
    tell: Callable[[int, int], object],
    first: int = 0,
) -> Floats:
    """Follow starts, which are overwritten; `first` is the number of the first, for errors."""
    if ends.shape[1] != system.dim:
        raise ArgumentValueError(f"X0 must have {system.dim} columns, got shape {ends.shape}")
    if not np.isfinite(ends).all():
        bad = int(np.flatnonzero(~np.isfinite(ends).all(axis=1))[0])
        raise ArgumentValueError(f"X0 must be finite, got {ends[bad]!r} in row {first + bad}")
    rows, every = course.rows, course.every
    stride = course.steps if every is None else every
    out = None
    if every is not None:
        check_memory(
            f"{len(ends)} trajectories of {rows} states", len(ends) * rows * system.dim * 8
        )
        out = np.empty((len(ends), rows, system.dim))

    flow = system.stepper(dt=course.dt, t0=course.t0)
    width = BUNDLE if system.is_text else 1
    hide = course.blowup == "nan"

    def work(start: int, poll: Poll) -> int | None:
        stop = min(start + width, len(ends))
        part = None if out is None else out[start:stop]
        flow.bundle(
            ends[start:stop], course.transient, rows, stride, part, hide, first + start, poll
        )
        return None if poll.stopped else stop

    for done in in_blocks(work, range(0, len(ends), width), threads if system.is_text else 1):
        tell(done, len(ends))
    result = ends if out is None else out
    if hide:
        # Infinite first, then perhaps finite again by chance: of such a state nothing is kept.
        result[~np.isfinite(result).all(axis=-1)] = np.nan
    return result


@dataclass(frozen=True)
class Solution:
    """A trajectory from the adaptive pair, as a function of time.

    Attributes
    ----------
    t : ndarray, shape (n + 1,)
        Times at the ends of the steps.
    x : ndarray, shape (n + 1, dim)
        States there.
    evaluations, rejected : int
        Calls of the right-hand side; steps that were made again, shorter.
    """

    t: Floats
    x: Floats
    evaluations: int
    rejected: int
    _lengths: Floats = field(repr=False)
    _dense: Floats = field(repr=False)

    def __call__(self, t: ArrayLike) -> Floats:
        """State at any time between the first and the last, to fourth order.

        Raises
        ------
        ArgumentValueError
            A time outside.
        """
        times = as_array("t", t, ndim=(0, 1))
        flat = times.reshape(-1)
        low, high = min(self.t[0], self.t[-1]), max(self.t[0], self.t[-1])
        if len(flat) and (flat.min() < low or flat.max() > high or np.isnan(flat).any()):
            raise ArgumentValueError(f"t must lie in [{low!r}, {high!r}], got {t!r}")
        result = _evaluate(self.t[:-1], self._lengths, self._dense, self.x[-1], flat)
        return result.reshape(*np.shape(t), self.x.shape[1])


def _evaluate(
    starts: Floats, lengths: Floats, dense: Floats, last: Floats, times: Floats
) -> Floats:
    if len(starts) == 0:
        return np.repeat(last[None, :], len(times), axis=0)
    forward = lengths[0] > 0
    order = starts if forward else -starts
    index = np.searchsorted(order, times if forward else -times, side="right") - 1
    index = np.clip(index, 0, len(starts) - 1)
    theta = ((times - starts[index]) / lengths[index])[:, None]
    a, b, c, d, e = (dense[index, i] for i in range(5))
    rest = 1 - theta
    values: Floats = a + theta * (b + rest * (c + theta * (d + rest * e)))
    return values


def _tolerances(rtol: float, atol: float) -> tuple[float, float]:
    rtol, atol = check_real("rtol", rtol, low=0.0), check_real("atol", atol, low=0.0)
    if rtol == 0 and atol == 0:
        raise ArgumentValueError("rtol and atol must not both be 0")
    if 0 < rtol < 2.3e-14:
        raise ArgumentValueError(f"rtol must be at least 2.3e-14 or 0, got {rtol!r}")
    return rtol, max(atol, 1e-300)


def solve(
    system: System,
    x0: ArrayLike | None = None,
    *,
    t_span: tuple[float, float],
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_step: float | None = None,
    first_step: float | None = None,
) -> Solution:
    """Follow a flow with the adaptive pair of Dormand and Prince, order 5(4).

    Parameters
    ----------
    system : System
        A flow.
    x0 : array_like, shape (dim,), optional
    t_span : tuple of float
        Times of the start and of the end; backwards if the end comes first.
    rtol, atol : float
        A step's estimated error in each component stays below ``atol + rtol * |x|``, in the mean
        square.
    max_step, first_step : float, optional
        Longest and first step.

    Returns
    -------
    Solution
        Its steps, and a function of time between them.

    Raises
    ------
    IntegrationError
        A singularity: the step fell below the resolution of the time.
    ArgumentTypeError, ArgumentValueError

    Notes
    -----
    Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, II.4 to II.6. Time: about
    1 us a step for Lorenz. Releases the GIL for text and C functions.

    Examples
    --------
    >>> from midstream.attractor import solve, systems
    >>> circle = solve(systems.stuart_landau(), [1.0, 0.0], t_span=(0, 6.283185307179586))
    >>> bool(abs(circle.x[-1] - [1, 0]).max() < 1e-7)
    True
    """
    if system.kind == "map":
        raise ArgumentValueError("system must be a flow, got a map")
    start = system.start(x0)
    try:
        first, last = t_span
    except (TypeError, ValueError):
        raise ArgumentValueError(f"t_span must be two times, got {t_span!r}") from None
    first, last = check_real("t_span[0]", first), check_real("t_span[1]", last)
    rtol, atol = _tolerances(rtol, atol)
    longest = np.inf if max_step is None else check_real("max_step", max_step, low=0.0)
    if longest == 0:
        raise ArgumentValueError("max_step must be positive, got 0")
    guess = 0.0
    if first_step is not None:
        guess = check_real("first_step", first_step, low=0.0)
        if guess == 0:
            raise ArgumentValueError("first_step must be positive, got 0")
        guess = min(guess, longest) * (1 if last >= first else -1)
    solver = Adaptive(system.slopes(), start, first, last, rtol, atol, longest, guess)
    all_times, all_dense = [np.empty((0, 2))], [np.empty((0, 5, system.dim))]
    poll, over = Poll(), False
    while not over:
        times, dense, over = solver.run(_FETCH, poll)
        all_times.append(times)
        all_dense.append(dense)
    times, dense = np.concatenate(all_times), np.concatenate(all_dense)
    return Solution(
        t=np.append(times[:, 0], last),
        x=np.concatenate([dense[:, 0], solver.state[None, :]]),
        evaluations=solver.evaluations,
        rejected=solver.rejected,
        _lengths=times[:, 1],
        _dense=dense,
    )


def _sample(
    system: System,
    start: Floats,
    t0: float,
    times: Floats,
    rtol: float,
    atol: float,
    out: Floats,
) -> Floats:
    """States at increasing times, without keeping the steps between them."""
    rtol, atol = _tolerances(rtol, atol)
    solver = Adaptive(system.slopes(), start, t0, times[-1], rtol, atol, np.inf, 0.0)
    done, poll, over = 0, Poll(), False
    while not over:
        steps, dense, over = solver.run(_FETCH, poll)
        if len(steps) == 0:
            break
        reached = times[-1] if over else steps[-1].sum()
        stop = len(times) if over else int(np.searchsorted(times, reached, side="left"))
        if stop > done:
            out[done:stop] = _evaluate(steps[:, 0], steps[:, 1], dense, start, times[done:stop])
            done = stop
    out[done:] = solver.state
    return out
