"""What a system settles to while one of its parameters changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_text
from midstream.attractor._arguments import check_system, is_named, text_entries
from midstream.attractor._checks import Floats, as_series
from midstream.attractor.integration import ensemble
from midstream.attractor.system import System

__all__ = ["Bifurcation", "bifurcation"]

#: Bytes of trajectories that are kept at a time.
_MEMORY = 64 << 20


@dataclass(frozen=True)
class Bifurcation:
    """Points of an orbit diagram.

    Attributes
    ----------
    values : ndarray, shape (n,)
        The parameter of each point, in the order asked for.
    points : ndarray, shape (n,)
        A map's component after each iteration, or a flow's component at each extremum.
    parameter, component : str
        Names of both.
    lost : ndarray, shape (k,)
        Parameters at which the trajectory left the numbers; they have no points.
    """

    values: Floats = field(repr=False)
    points: Floats = field(repr=False)
    parameter: str
    component: str
    lost: Floats = field(repr=False)

    def __len__(self) -> int:
        return len(self.values)


def bifurcation(
    system: System,
    parameter: str,
    values: ArrayLike,
    *,
    component: int | str = 0,
    x0: ArrayLike | None = None,
    dt: float | None = None,
    steps: int | None = None,
    transient: int | None = None,
    extrema: str = "max",
    n_jobs: int | None = 1,
) -> Bifurcation:
    """Follow a system at many values of a parameter, all from one start.

    Parameters
    ----------
    system : System
        A map, or a flow.
    parameter : str
        Name of the parameter to vary.
    values : array_like, shape (m,)
        Its values.
    component : int or str
        What to record: number or name of a component.
    x0 : array_like, shape (dim,), optional
        Start; default the system's.
    dt : float, optional
        Step of RK4; default the system's. Not for maps.
    steps : int, optional
        Steps to record after the transient; default 200 iterations, or 20 000 steps of a flow.
    transient : int, optional
        Steps to leave out; default five times as many for maps, as many for flows.
    extrema : {"max", "min", "both"}
        Which extrema of a flow's component are its points.
    n_jobs : int, optional
        Threads; -1 for one a processor. Results are the same for any number.

    Returns
    -------
    Bifurcation

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, MemoryLimitError
        An argument cannot be used.

    Notes
    -----
    For text the parameter becomes a component of the state that does not change, so all values run
    at once in the SIMD lanes of one ensemble; for functions they run one after the other. Extrema
    of a flow are those of the parabola through three states.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import bifurcation, systems
    >>> found = bifurcation(systems.logistic(), "r", [2.5, 3.2], steps=4)
    >>> sorted(found.points.round(4).tolist())
    [0.513, 0.513, 0.6, 0.6, 0.6, 0.6, 0.7995, 0.7995]
    """
    check_system(system)
    check_text("parameter", parameter)
    if parameter not in system.params:
        known = ", ".join(system.params) or "none"
        raise ArgumentValueError(f"{system.name} has no parameter {parameter!r}; it has {known}")
    grid = as_series("values", values)
    index = _component(system, component)
    flow = system.kind == "flow"
    count = (20_000 if flow else 200) if steps is None else check_int("steps", steps, low=1)
    before = count if flow else 5 * count
    before = before if transient is None else check_int("transient", transient, low=0)
    check_choice("extrema", extrema, ("max", "min", "both"))
    start = system.start(x0)
    step = system.step_length(dt) if flow else None
    parameters, points, lost = [], [], []
    entries = text_entries(system)
    runs: Iterator[tuple[float, Floats]]
    if entries is not None:
        wide = _widened(system, entries, parameter)
        runs = _together(wide, grid, start, step, count, before, index, n_jobs)
    else:
        runs = _apart(system, parameter, grid, start, step, count, before, index)
    for value, path in runs:
        if np.isnan(path).any():
            lost.append(value)
            continue
        found = _extrema(path, extrema) if flow else path[1:]
        parameters.append(np.full(len(found), value))
        points.append(found)
    return Bifurcation(
        np.concatenate(parameters) if parameters else np.empty(0),
        np.concatenate(points) if points else np.empty(0),
        parameter,
        system.variables[index],
        np.array(lost),
    )


def _component(system: System, component: int | str) -> int:
    if isinstance(component, str):
        if component not in system.variables:
            raise ArgumentValueError(
                f"component must be one of {', '.join(system.variables)}, got {component!r}"
            )
        return system.variables.index(component)
    return check_int("component", component, low=0, high=system.dim - 1)


def _widened(system: System, entries: list[str], parameter: str) -> System:
    """The system with the parameter as its last component."""
    fixed = "0" if system.kind == "flow" else parameter
    if any(is_named(entry) for entry in entries):
        fixed = f"{parameter}' = {fixed}"
    params = system.params
    del params[parameter]
    return System(
        [*entries, fixed],
        params=params,
        kind=system.kind,
        variables=[*system.variables, parameter],
        name=system.name,
    )


def _together(
    wide: System,
    grid: Floats,
    start: Floats,
    dt: float | None,
    steps: int,
    transient: int,
    index: int,
    n_jobs: int | None,
) -> Iterator[tuple[float, Floats]]:
    part = max(1, _MEMORY // ((steps + 1) * wide.dim * 8))
    for begin in range(0, len(grid), part):
        chosen = grid[begin : begin + part]
        starts = np.column_stack([np.repeat(start[None], len(chosen), axis=0), chosen])
        paths = ensemble(
            wide,
            starts,
            dt=dt,
            steps=steps,
            transient=transient,
            every=1,
            n_jobs=n_jobs,
            blowup="nan",
        )
        yield from zip(chosen.tolist(), paths[:, :, index], strict=True)


def _apart(
    system: System,
    parameter: str,
    grid: Floats,
    start: Floats,
    dt: float | None,
    steps: int,
    transient: int,
    index: int,
) -> Iterator[tuple[float, Floats]]:
    for value in grid.tolist():
        one = system.with_params(**{parameter: value})
        paths = ensemble(
            one, start[None], dt=dt, steps=steps, transient=transient, every=1, blowup="nan"
        )
        yield value, paths[0, :, index]


def _extrema(path: Floats, which: str) -> Floats:
    """Heights of the extrema of a sampled component, in order."""
    before, middle, after = path[:-2], path[1:-1], path[2:]
    highest = (middle >= before) & (middle > after)
    lowest = (middle <= before) & (middle < after)
    chosen = {"max": highest, "min": lowest, "both": highest | lowest}[which]
    if not chosen.any():
        return path[-1:]  # it has come to rest, or has not turned yet
    a, b, c = before[chosen], middle[chosen], after[chosen]
    bend = a - 2 * b + c
    return np.asarray(b - (c - a) ** 2 / (8 * bend))
