"""Dynamics as pictures: trajectories, exponents, orbit diagrams, fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int
from midstream.plot._canvas import axes, matplotlib, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midstream.attractor import FTLEField, Spectrum, System

__all__ = ["bifurcation_diagram", "ftle_map", "phase_portrait", "spectrum_convergence"]

#: Legible on white and on black, told apart without green and red.
_COLOURS = ("#4c8ed9", "#e0a030", "#3aa890", "#a67fd0", "#8a9a3a", "#d987b8", "#5cb3cc", "#a98467")
#: Exponents that are told apart; of a long spectrum the first ones.
_MOST_LINES = 8


def phase_portrait(
    source: System | ArrayLike,
    *,
    components: Sequence[SupportsIndex | str] | None = None,
    ax: Axes | None = None,
    steps: int = 20_000,
    transient: int = 2000,
    dt: float | None = None,
    color: Any = None,
    linewidth: float = 0.5,
) -> Axes:
    """Draw a trajectory in the plane or in space of two or three of its components.

    Parameters
    ----------
    source : System or array_like, shape (n, dim)
        What to follow from its own start, or points in order of time. A map's points are drawn
        as dots, a flow's trajectory and given points as a line.
    components : sequence of two or three int or str, optional
        Which; numbers, or a system's names. Default the first three, or two if there are no more
        or if `ax` is flat.
    ax : matplotlib.axes.Axes, optional
        Where to draw; with ``projection="3d"`` for three components. Default: a new figure.
    steps, transient : int
        How far to follow a system, and how much to leave out first.
    dt : float, optional
        Step; default the system's.
    color : optional
        As matplotlib takes it.
    linewidth : float
        Of the line, in points; dots have twice that diameter.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    IntegrationError
        The trajectory left the numbers.

    Notes
    -----
    Text and lines take the colours of the style in use. A new figure is made by pyplot, which
    belongs to one thread; with `ax` any thread may draw.

    Examples
    --------
    ::

        from midstream.attractor import systems
        from midstream.plot import phase_portrait

        phase_portrait(systems.lorenz(), components="xz").figure.savefig("lorenz.png")
    """
    from midstream.attractor import System, embed, integrate

    if isinstance(source, System):
        names: Sequence[str] = source.variables
        path = integrate(source, dt=dt, steps=steps, transient=transient)
        dots, title = source.kind == "map", source.name
    else:
        path = embed(source, 1, 1)  # the points themselves, checked
        names = [f"component {index}" for index in range(path.shape[1])]
        dots, title = False, ""
    flat = ax is not None and not hasattr(ax, "get_zlim")
    chosen = _components(components, names, 2 if flat else 3)
    if ax is not None and hasattr(ax, "get_zlim") != (len(chosen) == 3):
        raise ArgumentValueError(
            f"ax must be {'three' if len(chosen) == 3 else 'two'}-dimensional"
            f" for {len(chosen)} components"
        )
    if ax is None:
        options = {"projection": "3d"} if len(chosen) == 3 else {}
        _, ax = matplotlib("pyplot").subplots(layout="constrained", subplot_kw=options)
    assert ax is not None
    style: dict[str, Any] = {"color": _COLOURS[0] if color is None else color}
    if dots:
        style |= {"linestyle": "none", "marker": ".", "markersize": 2 * linewidth}
        style |= {"markeredgewidth": 0}
    else:
        style["linewidth"] = linewidth
    ax.plot(*path[:, chosen].T, **style)
    for index, axis in zip(chosen, "xyz", strict=False):
        getattr(ax, f"set_{axis}label")(names[index])
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def spectrum_convergence(spectrum: Spectrum, *, ax: Axes | None = None) -> Axes:
    """Draw how the Lyapunov exponents settle, with two standard errors on either side.

    Parameters
    ----------
    spectrum : Spectrum
        As `midstream.attractor.lyapunov_spectrum` returns it; of more than eight exponents the
        first eight are drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError
        `spectrum` is none.

    Examples
    --------
    ::

        from midstream.attractor import lyapunov_spectrum, systems
        from midstream.plot import spectrum_convergence

        spectrum_convergence(lyapunov_spectrum(systems.rossler(), steps=10**6))
    """
    from midstream.attractor import Spectrum

    if not isinstance(spectrum, Spectrum):
        raise ArgumentTypeError(f"spectrum must be a Spectrum, got {type(spectrum).__name__}")
    ax = axes(ax)
    history, errors = spectrum.history, np.nan_to_num(spectrum.history_stderr)
    for index in range(min(history.shape[1], _MOST_LINES)):
        colour = _COLOURS[index % len(_COLOURS)]
        value, error = spectrum.exponents[index], spectrum.stderr[index]
        ax.plot(
            spectrum.times,
            history[:, index],
            color=colour,
            linewidth=1.2,
            label=f"{value:.4g} ± {error:.1g}",
        )
        ax.fill_between(
            spectrum.times,
            history[:, index] - 2 * errors[:, index],
            history[:, index] + 2 * errors[:, index],
            color=colour,
            alpha=0.25,
            linewidth=0,
        )
    ax.axhline(0, color=text_color(), linewidth=0.6, alpha=0.5, zorder=1)
    ax.set_xscale("log")
    ax.set_xlabel("time")
    ax.set_ylabel("Lyapunov exponents (nats/time)")
    ax.legend(frameon=False, fontsize="small")
    return ax


def bifurcation_diagram(
    system: System,
    parameter: str,
    values: ArrayLike,
    *,
    ax: Axes | None = None,
    color: Any = None,
    markersize: float = 0.6,
    **options: Any,
) -> Axes:
    """Draw what a system settles to while a parameter changes.

    Parameters
    ----------
    system, parameter, values, **options
        As `midstream.attractor.bifurcation` takes them.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    color : optional
        As matplotlib takes it; default that of text.
    markersize : float
        Diameter of a dot, in points.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError, MemoryLimitError
        An argument cannot be used.

    Examples
    --------
    ::

        import numpy as np
        from midstream.attractor import systems
        from midstream.plot import bifurcation_diagram

        bifurcation_diagram(systems.logistic(), "r", np.linspace(2.8, 4, 1200))
    """
    from midstream.attractor import bifurcation

    found = bifurcation(system, parameter, values, **options)
    ax = axes(ax)
    ax.plot(
        found.values,
        found.points,
        linestyle="none",
        marker=".",
        markersize=markersize,
        markeredgewidth=0,
        alpha=0.5,
        color=text_color() if color is None else color,
        rasterized=True,
    )
    ax.set_xlabel(found.parameter)
    ax.set_ylabel(found.component)
    ax.set_title(system.name, loc="left", fontsize="medium")
    return ax


def ftle_map(
    field: FTLEField, *, ax: Axes | None = None, cmap: Any = "magma", colorbar: bool = True
) -> Axes:
    """Draw a field of finite-time Lyapunov exponents.

    Parameters
    ----------
    field : FTLEField
        As `midstream.attractor.ftle_field` returns it for a grid.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    cmap : optional
        Colours as matplotlib takes them. The scale ends at the 99th percentile:
        single ridges and border points may lie far above.
    colorbar : bool
        Whether to draw a scale beside it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        `field` is none, or was computed at points and not on a grid.

    Examples
    --------
    ::

        import numpy as np
        from midstream.attractor import ftle_field, systems
        from midstream.plot import ftle_map

        x, y = np.linspace(0, 2, 300), np.linspace(0, 1, 150)
        ftle_map(ftle_field(systems.double_gyre(), x, y, dt=0.1, steps=150))
    """
    from midstream.attractor import FTLEField

    if not isinstance(field, FTLEField):
        raise ArgumentTypeError(f"field must be an FTLEField, got {type(field).__name__}")
    if field.values.ndim != 2:
        raise ArgumentValueError("field must have been computed on a grid, not at points")
    ax = axes(ax)
    finite = field.values[np.isfinite(field.values)]
    low, high = (finite.min(), np.percentile(finite, 99)) if len(finite) else (0.0, 1.0)
    mesh = ax.pcolormesh(
        field.x,
        field.y,
        field.values,
        cmap=cmap,
        shading="nearest",
        vmin=low,
        vmax=max(high, low + 1e-12),
        rasterized=True,
    )
    ax.set_aspect("equal")
    direction = "forward" if field.time > 0 else "backward"
    ax.set_title(f"{direction}, time {abs(field.time):g}", loc="left", fontsize="medium")
    if colorbar:
        ax.figure.colorbar(mesh, ax=ax, label="FTLE (nats/time)")
    return ax


def _components(
    chosen: Sequence[SupportsIndex | str] | None, names: Sequence[str], most: int
) -> list[int]:
    if len(names) < 2:
        raise ArgumentValueError("source must have at least two components")
    if chosen is None:
        return list(range(min(len(names), most)))
    indices = []
    for position, item in enumerate(chosen):
        if isinstance(item, str):
            if item not in names:
                raise ArgumentValueError(
                    f"components[{position}] must be one of {', '.join(names)}, got {item!r}"
                )
            indices.append(list(names).index(item))
        else:
            indices.append(check_int(f"components[{position}]", item, low=0, high=len(names) - 1))
    if len(indices) not in (2, 3):
        raise ArgumentValueError(f"components must be two or three, got {chosen!r}")
    return indices
