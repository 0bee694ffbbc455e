"""Where a trajectory crosses a plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real
from midstream.attractor._arguments import check_positive, check_system
from midstream.attractor._checks import Floats, as_array, as_points
from midstream.attractor._slopes import Slopes, many_slopes
from midstream.attractor.integration import integrate
from midstream.attractor.system import System

__all__ = ["Section", "poincare_section"]

#: Steps that are computed, and kept, at a time while crossings are sought.
_CHUNK = 50_000


@dataclass(frozen=True)
class Section:
    """Crossings of a trajectory with a hyperplane ``normal @ x = offset``.

    Attributes
    ----------
    points : ndarray, shape (n, dim)
        Where it crosses, in order of time.
    times : ndarray, shape (n,)
        When.
    directions : ndarray of int, shape (n,)
        1 where ``normal . x`` grows, -1 where it falls.
    normal : ndarray, shape (dim,)
        As it was given; for a plane of one coordinate the unit vector of it.
    offset : float
        Where the plane lies.
    """

    points: Floats = field(repr=False)
    times: Floats = field(repr=False)
    directions: NDArray[np.int8] = field(repr=False)
    normal: Floats
    offset: float

    def __len__(self) -> int:
        return len(self.times)

    @property
    def return_times(self) -> Floats:
        """Times between one crossing and the next, shape (n - 1,); empty where there are none."""
        return np.diff(self.times)


def poincare_section(
    source: System | ArrayLike,
    plane: tuple[SupportsIndex | ArrayLike, float],
    *,
    direction: int = 1,
    x0: ArrayLike | None = None,
    dt: float | None = None,
    steps: int | None = None,
    crossings: int | None = None,
    transient: int = 0,
) -> Section:
    """Cut a trajectory with a plane.

    Parameters
    ----------
    source : System or array_like, shape (n, dim)
        A flow, or points of a trajectory at equal steps of time.
    plane : (int, float) or (array_like, float)
        ``(index, value)``: where component `index` equals `value`; or ``(normal, offset)``: where
        ``normal . x == offset``.
    direction : {1, -1, 0}
        Only crossings along the normal, only those against it, or both.
    x0 : array_like, shape (dim,), optional
        Start; default the system's.
    dt : float, optional
        Step of RK4, or time between two points. Default: the system's; 1 for points.
    steps : int, optional
        Steps to follow a system; default 100 000, or as many as `crossings` need, up to a
        thousand times that.
    crossings : int, optional
        Stop after this many.
    transient : int
        Steps to leave out at the start.

    Returns
    -------
    Section

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; fewer than `crossings` were found.
    IntegrationError
        The trajectory left the numbers.

    Notes
    -----
    For a system a crossing that lies within a step is found by Newton's method on the length of
    the last step, which is taken with RK4 itself (the same idea as Henon's [1]_, with the time as
    the unknown): the point is as accurate as the trajectory, and lies on the plane to about 1e-14
    of its size. For points, a cubic through the four samples around the crossing takes the place
    of the equations, an error of fourth order in `dt`. A pair of crossings within one step is not
    seen. Crossings of text are refined together, some microseconds each; of functions one by one.
    Safe to call from any thread.

    References
    ----------
    .. [1] M. Henon, Physica D 5 (1982) 412.

    Examples
    --------
    >>> from midstream.attractor import poincare_section, systems
    >>> section = poincare_section(systems.rossler(), (1, 0.0), crossings=50, transient=1000)
    >>> len(section), bool(abs(section.points[:, 1]).max() < 1e-12)
    (50, True)
    >>> bool(5.5 < section.return_times.mean() < 6.2)
    True
    """
    direction = check_choice("direction", direction, (1, -1, 0))
    transient = check_int("transient", transient, low=0)
    most = None if crossings is None else check_int("crossings", crossings, low=1)
    if isinstance(source, System):
        check_system(source, kind="flow")
        normal, offset = _plane(plane, source.dim)
        found = _cut_flow(source, normal, offset, direction, x0, dt, steps, most, transient)
    else:
        if x0 is not None or steps is not None:
            raise ArgumentValueError("x0 and steps go with a system, not with points")
        points = as_points("source", source, min_length=4 + transient)[transient:]
        step = 1.0 if dt is None else check_positive("dt", dt)
        normal, offset = _plane(plane, points.shape[1])
        found = _cut_points(points, normal, offset, direction, step, most, transient)
    states, times, signs = found
    if most is not None and len(times) < most:
        raise ArgumentValueError(
            f"{most} crossings of the plane were asked for, {len(times)} found;"
            " follow the trajectory longer (steps), or move the plane"
        )
    return Section(
        np.array(states, dtype=np.float64).reshape(-1, len(normal)),
        np.array(times, dtype=np.float64),
        np.array(signs, dtype=np.int8),
        normal,
        offset,
    )


_Found = tuple[list[Floats], list[float], list[int]]


def _plane(plane: Any, dim: int) -> tuple[Floats, float]:
    try:
        where, value = plane
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"plane must be (index, value) or (normal, offset), got {plane!r}"
        ) from None
    offset = check_real("plane[1]", value)
    if np.ndim(where) == 0:
        index = check_int("plane[0]", where, low=-dim, high=dim - 1)
        return np.eye(dim)[index], offset
    normal = as_array("plane[0]", where, ndim=(1,))
    if normal.shape != (dim,) or not np.isfinite(normal).all() or not normal.any():
        raise ArgumentValueError(
            f"plane[0], a normal, must have {dim} finite components, not all zero, got {where!r}"
        )
    return normal, offset


def _sides(heights: Floats, direction: int) -> NDArray[np.intp]:
    """Indices k with a crossing between k and k + 1; on the plane counts as above it."""
    above = heights >= 0
    up = ~above[:-1] & above[1:]
    down = above[:-1] & ~above[1:]
    return np.flatnonzero(up if direction > 0 else down if direction < 0 else up | down)


def _cut_flow(
    system: System,
    normal: Floats,
    offset: float,
    direction: int,
    x0: ArrayLike | None,
    dt: float | None,
    steps: int | None,
    most: int | None,
    transient: int,
) -> _Found:
    step = system.step_length(dt)
    if steps is None:
        limit = 100_000 if most is None else 1000 * max(most, 100)
    else:
        limit = check_int("steps", steps, low=1)
    state = system.start(x0)
    slopes = many_slopes(system)
    states: list[Floats] = []
    times: list[float] = []
    signs: list[int] = []
    done = 0
    chunk = min(_CHUNK, limit) if most is None else min(_CHUNK, limit, 2000)
    while done < limit and (most is None or len(times) < most):
        count = min(chunk, limit - done)
        before = transient if done == 0 else 0
        # The clock runs on: time may enter the equations.
        start = 0.0 if done == 0 else (transient + done) * step
        path = integrate(system, state, dt=step, steps=count, transient=before, t0=start)
        heights = path @ normal - offset
        sides = _sides(heights, direction)
        if most is not None:
            sides = sides[: most - len(times)]
        if len(sides):
            now = np.asarray((transient + done + sides) * step, dtype=np.float64)
            points, after = _land(slopes, path[sides], heights[sides], normal, offset, now, step)
            states.extend(points)
            times.extend((now + after).tolist())
            signs.extend(np.where(heights[sides] < 0, 1, -1).tolist())
        state = path[-1]
        done += count
        chunk = _CHUNK
    return states, times, signs


def _land(
    slopes: Slopes,
    x: Floats,
    heights: Floats,
    normal: Floats,
    offset: float,
    times: Floats,
    dt: float,
) -> tuple[Floats, Floats]:
    """Points on the plane, and how long after `times` the steps from `x` take to get there."""
    count = len(x)
    low, high = np.zeros(count), np.full(count, dt)
    scale = np.abs(x) @ np.abs(normal) + abs(offset)
    with np.errstate(all="ignore"):
        length = -heights / (slopes(x, times) @ normal)
    length = np.where((low < length) & (length < high), length, dt / 2)
    points, after, best = x.copy(), length.copy(), np.full(count, np.inf)
    todo = np.arange(count)
    for _ in range(60):
        end = _rk4(slopes, x[todo], times[todo], length[todo])
        above = end @ normal - offset
        better = np.abs(above) < best[todo]
        chosen = todo[better]
        points[chosen], after[chosen] = end[better], length[chosen]
        best[chosen] = np.abs(above[better])
        same = (above < 0) == (heights[todo] < 0)
        low[todo] = np.where(same, length[todo], low[todo])
        high[todo] = np.where(same, high[todo], length[todo])
        left = (np.abs(above) > 4e-16 * scale[todo]) & (high[todo] - low[todo] > 4e-16 * dt)
        if not left.any():
            break
        todo, end, above = todo[left], end[left], above[left]
        with np.errstate(all="ignore"):
            proposed = length[todo] - above / (slopes(end, times[todo] + length[todo]) @ normal)
        inside = (low[todo] < proposed) & (proposed < high[todo])
        length[todo] = np.where(inside, proposed, (low[todo] + high[todo]) / 2)
    return points, after


def _rk4(slopes: Slopes, x: Floats, t: Floats, h: Floats) -> Floats:
    half, column = h / 2, h[:, None]
    k1 = slopes(x, t)
    k2 = slopes(x + column / 2 * k1, t + half)
    k3 = slopes(x + column / 2 * k2, t + half)
    k4 = slopes(x + column * k3, t + h)
    return np.asarray(x + column / 6 * (k1 + 2 * (k2 + k3) + k4))


def _cut_points(
    points: Floats,
    normal: Floats,
    offset: float,
    direction: int,
    dt: float,
    most: int | None,
    first: int,
) -> _Found:
    heights = points @ normal - offset
    states: list[Floats] = []
    times: list[float] = []
    signs: list[int] = []
    for index in _sides(heights, direction)[:most]:
        base = min(max(int(index) - 1, 0), len(points) - 4)
        window = slice(base, base + 4)
        place = _root(heights[window], index - base)
        states.append(_cubic(place) @ points[window])
        times.append((first + base + place) * dt)
        signs.append(1 if heights[index] < 0 else -1)
    return states, times, signs


def _cubic(s: float) -> Floats:
    """Lagrange weights at `s` of samples at 0, 1, 2, 3."""
    a, b, c, d = s, s - 1, s - 2, s - 3
    return np.array([-b * c * d / 6, a * c * d / 2, -a * b * d / 2, a * b * c / 6])


def _root(heights: Floats, left: int) -> float:
    """Where the cubic through four heights is zero, between `left` and ``left + 1``."""
    low, high = float(left), float(left + 1)
    rising = heights[left] < 0
    for _ in range(60):
        middle = (low + high) / 2
        if (float(_cubic(middle) @ heights) < 0) == rising:
            low = middle
        else:
            high = middle
    return high
