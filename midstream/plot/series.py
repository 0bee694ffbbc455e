"""What is measured from series, as pictures: recurrences, and the choice of a delay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_real
from midstream.plot._canvas import axes, matplotlib, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midstream.attractor import DelayChoice, Recurrence

__all__ = ["delay_choice", "recurrence_plot"]

#: Legible on white and on black.
_INFORMATION, _CORRELATION = "#4c8ed9", "#e0a030"


def recurrence_plot(
    source: Recurrence | ArrayLike,
    *,
    ax: Axes | None = None,
    pixels: int = 512,
    dt: float = 1.0,
    color: Any = None,
    **arguments: Any,
) -> Axes:
    """Draw which states of a series are close to which: time against time.

    Parameters
    ----------
    source : Recurrence or array_like
        A plot of `midstream.attractor.recurrence`; or a series or points to make one of.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    pixels : int, default 512
        Squares in either direction, at most. Longer plots are drawn as shares of recurrent points
        in each square, darker where there are more, so that nothing is lost between pixels.
    dt : float, default 1.0
        Time of a sample, for the axes.
    color : optional
        Of recurrent points, as matplotlib takes it. Default: that of text.
    **arguments
        Of `midstream.attractor.recurrence`, with a series: ``emb_dim``, ``delay``, ``threshold``,
        ``recurrence_rate``, ``norm``, ``theiler``, ``nan_policy``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    The main diagonal and the Theiler window are drawn, though they do not count in measures. Time
    runs to the right and upwards. Cost: that of all cells, some 0.3 ns each; memory for `pixels`
    squared. Text and lines take the colours of the style in use. A new figure is made by pyplot,
    which belongs to one thread; with `ax` any thread may draw.

    Examples
    --------
    ::

        import numpy as np
        from midstream.plot import recurrence_plot

        x = np.sin(np.arange(2000) / 10)
        recurrence_plot(x, emb_dim=2, delay=16, threshold=0.1).figure.savefig("sine.png")
    """
    from midstream.attractor import Recurrence, recurrence

    pixels = check_int("pixels", pixels, low=1)
    dt = check_real("dt", dt)
    if not dt > 0:
        raise ArgumentValueError(f"dt must be positive, got {dt!r}")
    if isinstance(source, Recurrence):
        if arguments:
            raise ArgumentTypeError(f"a plot has its {', '.join(arguments)} already")
        plot = source
    else:
        plot = recurrence(source, **arguments)
    image = plot.image(pixels)
    ax = axes(ax, figsize=(5.5, 5.5))
    to_rgba = matplotlib("colors").to_rgba
    ink = text_color() if color is None else color
    # One colour of which there is more or less, so that any background shows through.
    shades = np.empty((*image.shape, 4))
    shades[..., :3] = to_rgba(ink)[:3]
    # Where squares stand for many points, the rarest would be too pale to be seen.
    most = image.max(initial=0.0)
    shades[..., 3] = to_rgba(ink)[3] * np.sqrt(image / most) if most > 0 else 0.0
    extent = (-0.5 * dt, (plot.n - 0.5) * dt, -0.5 * dt, (plot.n - 0.5) * dt)
    ax.imshow(shades, origin="lower", extent=extent, interpolation="nearest", aspect="equal")
    label = "time" if dt != 1 else "time (samples)"
    ax.set_xlabel(label)
    ax.set_ylabel(label)
    ax.set_title(
        f"threshold {plot.threshold:.3g}, embedding {plot.emb_dim} x {plot.delay}",
        loc="left",
        fontsize="medium",
    )
    return ax


def delay_choice(
    source: DelayChoice | ArrayLike,
    *,
    ax: Axes | None = None,
    max_delay: SupportsIndex | None = None,
) -> Axes:
    """Draw the curves that an embedding delay was chosen by, and the choice.

    Parameters
    ----------
    source : DelayChoice or array_like, shape (n,)
        What `midstream.attractor.mutual_information_delay` returned, or a series to call it on.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    max_delay : int, optional
        Of `mutual_information_delay`, with a series.

    Returns
    -------
    matplotlib.axes.Axes
        Mutual information to the left; the autocorrelation has an axis of its own to the right.

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; the series is constant or too short to have curves.

    Notes
    -----
    Text and lines take the colours of the style in use. A new figure is made by pyplot, which
    belongs to one thread; with `ax` any thread may draw.

    Examples
    --------
    ::

        import numpy as np
        from midstream.plot import delay_choice

        delay_choice(np.sin(np.arange(1000) / 7)).figure.savefig("delay.png")
    """
    from midstream.attractor import DelayChoice, mutual_information_delay

    if isinstance(source, DelayChoice):
        if max_delay is not None:
            raise ArgumentTypeError("a choice has been made without max_delay")
        choice = source
    else:
        most = None if max_delay is None else check_int("max_delay", max_delay, low=1)
        choice = mutual_information_delay(source, most)
    if choice.curve.shape[1] == 0:
        raise ArgumentValueError(f"source has no curve to draw: {choice.reason}")
    ax = axes(ax, figsize=(7, 4))
    ink = text_color()
    lags, information = choice.curve
    (left,) = ax.plot(
        lags, information, ".-", color=_INFORMATION, markersize=3, label="mutual information"
    )
    ax.set_xlabel("delay (samples)")
    ax.set_ylabel("mutual information (nats)")
    ax.set_ylim(bottom=0)
    other = ax.twinx()
    (right,) = other.plot(
        lags, choice.autocorrelation, color=_CORRELATION, linewidth=1, label="autocorrelation"
    )
    other.set_ylabel("autocorrelation")
    other.axhline(0, color=_CORRELATION, linewidth=0.6, alpha=0.5)
    chosen = ax.axvline(
        choice.delay, color=ink, linewidth=1, linestyle="--", label=f"delay {choice.delay}"
    )
    ax.legend(handles=[left, right, chosen], frameon=False, fontsize="small")
    ax.set_title(f"delay {choice.delay}: {choice.reason}", loc="left", fontsize="medium")
    for axis in (ax, other):
        axis.spines["top"].set_visible(False)
    return ax
