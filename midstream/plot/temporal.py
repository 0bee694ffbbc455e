"""Temporal logic as pictures: automata, and what a formula says of a trace as it unfolds."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

import numpy as np

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int
from midstream.plot._canvas import axes, matplotlib, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midstream.logic import Automaton, Formula, Monitor

__all__ = ["automaton_graph", "verdict_timeline"]

#: By verdict, legible on white and on black; red means false, and the order is told by position
#: and by words too, so that no meaning hangs on telling red from green.
_COLOURS = ("#e5383b", "#e0a030", "#8a8f98", "#4c8ed9", "#3aa890")
_RADIUS = 0.28


def automaton_graph(
    automaton: Automaton | Formula | str,
    *,
    ax: Axes | None = None,
    max_states: int = 20,
    max_guard: int = 28,
) -> Axes:
    """Draw an automaton: states in layers by distance from the start, guards on the arrows.

    Where a layer would have more than three states, all stand on a circle.

    Parameters
    ----------
    automaton : Automaton, Formula or str
        An automaton, or what `midstream.logic.compile` makes one of.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure as large as the automaton needs.
    max_states : int, default 20
        More states than this are refused: nobody could read them.
    max_guard : int, default 28
        Longest guard in characters; longer ones end in an ellipsis.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        No automaton, or too large a one.
    StateLimitError
        A guard has too many terms to be written out.

    Notes
    -----
    Accepting states have a double ring. A state's colour is the verdict of a monitor in it: false,
    presumably false, presumably true, true. A new figure is made by pyplot, which belongs to one
    thread; with `ax` any thread may draw.

    Examples
    --------
    ::

        from midstream.plot import automaton_graph

        automaton_graph("G(request -> F answer)").figure.savefig("response.png")
    """
    from midstream.logic import Automaton, Formula, Verdict, compile, parse

    max_states = check_int("max_states", max_states, low=1)
    max_guard = check_int("max_guard", max_guard, low=4)
    if isinstance(automaton, str):
        automaton = parse(automaton)
    if isinstance(automaton, Formula):
        automaton = compile(automaton)
    elif not isinstance(automaton, Automaton):
        raise ArgumentTypeError(
            f"automaton must be an Automaton, a Formula or text, not {type(automaton).__name__}"
        )
    if automaton.n_states > max_states:
        raise ArgumentValueError(
            f"automaton has {automaton.n_states} states, more than max_states={max_states}"
        )
    edges = [(int(source), str(guard), int(target)) for source, guard, target in automaton.edges()]
    place = _layers(automaton.n_states, int(automaton.initial), edges)
    xs = [x for x, _ in place.values()]
    ys = [y for _, y in place.values()]
    width, height = max(xs) - min(xs), max(ys) - min(ys)
    ax = axes(ax, figsize=(max(3.0, 1.25 * width + 2.6), max(2.6, 1.25 * height + 2.4)))
    ink = text_color()
    patches = matplotlib("patches")
    rims = {}
    for state, (x, y) in place.items():
        colour = _COLOURS[int(automaton.colours[state])]
        ring = {"facecolor": "none", "edgecolor": colour, "linewidth": 1.6, "zorder": 3}
        rims[state] = ax.add_patch(patches.Circle((x, y), _RADIUS, **ring))
        if automaton.accepting[state]:
            ax.add_patch(patches.Circle((x, y), 0.8 * _RADIUS, **ring))
        ax.text(x, y, str(state), ha="center", va="center", color=ink, fontsize="small", zorder=4)
    joined: dict[tuple[int, int], list[str]] = defaultdict(list)
    for source, guard, target in edges:
        joined[source, target].append(guard)
    middle = (sum(xs) / len(xs), sum(ys) / len(ys))
    for (source, target), guards in joined.items():
        text = " | ".join(guards)
        if len(text) > max_guard:
            text = text[: max_guard - 1] + "…"
        if source == target:
            _loop(ax, patches, rims[source], middle, text, ink)
        else:
            _arrow(ax, patches, rims[source], rims[target], text, ink)
    x, y = place[int(automaton.initial)]
    ax.annotate(
        "",
        (x - _RADIUS, y),
        (x - 2.2 * _RADIUS, y),
        arrowprops={"arrowstyle": "-|>", "color": ink, "linewidth": 1},
    )
    shown = sorted({int(code) for code in automaton.colours})
    handles = [
        patches.Patch(facecolor="none", edgecolor=_COLOURS[code], label=str(Verdict(code)))
        for code in shown
    ]
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(handles),
        frameon=False,
        fontsize="small",
    )
    ax.set_xlim(min(xs) - 1.3, max(xs) + 1.3)
    ax.set_ylim(min(ys) - 1.1, max(ys) + 1.1)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def verdict_timeline(
    monitor: Monitor | Formula | str,
    trace: Any,
    *,
    ax: Axes | None = None,
    max_events: int = 2000,
) -> Axes:
    """Draw a trace and what a monitor says after each event.

    A row for each atom, filled where it is true; below them the verdicts, and a line where the
    verdict became final.

    Parameters
    ----------
    monitor : Monitor, Formula or str
        A copy of the monitor is run from its beginning; a formula gets a monitor of its own.
    trace : sequence of letters, array of masks, or mapping of columns
        As `midstream.logic.Formula.holds` takes it; bit i of a mask is the monitor's
        ``alphabet[i]``. Monitors of windows in time cannot be drawn: no times are given.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    max_events : int, default 2000
        Longer traces are refused: their events would be thinner than lines.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        No monitor; an empty or too long trace.

    Notes
    -----
    A new figure is made by pyplot, which belongs to one thread; with `ax` any thread may draw.

    Examples
    --------
    ::

        from midstream.plot import verdict_timeline

        trace = [{"request"}, set(), {"answer"}, {"request"}, set()]
        verdict_timeline("G(request -> F answer)", trace).figure.savefig("verdicts.png")
    """
    from midstream.logic import Formula, Monitor, Verdict

    max_events = check_int("max_events", max_events, low=1)
    if isinstance(monitor, (str, Formula)):
        monitor = Monitor(monitor)
    elif isinstance(monitor, Monitor):
        monitor = monitor.copy()
        monitor.reset()
    else:
        raise ArgumentTypeError(
            f"monitor must be a Monitor, a Formula or text, not {type(monitor).__name__}"
        )
    formula = monitor.formula
    if formula is None:
        raise ArgumentValueError("monitor must be one of a formula: an automaton has no text")
    # Masks are of the monitor's alphabet, which may have more than the formula's atoms.
    names = [name for name in monitor.alphabet if name in set(formula.atoms)]
    leaves = {str(node): node for node in formula.nodes() if node.atom or node.predicate}
    if isinstance(trace, np.ndarray):
        if trace.ndim != 1 or trace.dtype.kind not in "ui":
            raise ArgumentTypeError(
                f"trace must be a (n,) array of unsigned masks, not {trace.ndim}-d {trace.dtype}"
            )
        letters: list[Any] = [int(mask) for mask in trace]
        columns = [(trace >> monitor.alphabet.index(name)) & 1 == 1 for name in names]
    else:
        by_name = {leaf.atom or str(leaf): leaf.evaluate(trace) for leaf in leaves.values()}
        columns = [by_name[name] for name in names]
        n_events = len(columns[0]) if columns else len(formula.evaluate(trace))
        letters = [
            {name: bool(column[i]) for name, column in by_name.items()} for i in range(n_events)
        ]
    if not 0 < len(letters) <= max_events:
        raise ArgumentValueError(f"trace must have 1 to {max_events} events, not {len(letters)}")
    codes = [int(monitor.step(letter)) for letter in letters]
    ax = axes(ax, figsize=(max(4.0, min(12.0, 0.3 * len(codes) + 2)), 0.32 * len(names) + 1.5))
    ink = text_color()
    for row in range(len(names)):
        ax.broken_barh(
            _spans(columns[row]), (row - 0.32, 0.64), facecolors=ink, alpha=0.55, linewidth=0
        )
        ax.axhline(row, color=ink, linewidth=0.4, alpha=0.25, zorder=0)
    bottom = len(names) + 0.4
    for code in sorted(set(codes)):
        spans = _spans(np.array(codes) == code)
        ax.broken_barh(
            spans,
            (bottom - 0.32, 0.64),
            facecolors=_COLOURS[code],
            linewidth=0,
            label=str(Verdict(code)),
        )
    final = next((index for index, code in enumerate(codes) if Verdict(code).final), None)
    if final is not None:
        ax.axvline(final, color=_COLOURS[codes[final]], linewidth=1, linestyle="--")
    ax.set_yticks([*range(len(names)), bottom], [*names, "verdict"])
    ax.set_ylim(bottom + 0.6, -0.6)
    ax.set_xlim(0, len(codes))
    ax.set_xlabel("event")
    ax.xaxis.set_major_locator(matplotlib("ticker").MaxNLocator(10, integer=True))
    # Below the label of the axis, whose distance is in points however high the picture is.
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        borderaxespad=4.2,
        ncols=5,
        frameon=False,
        fontsize="small",
    )
    title = str(monitor.formula)
    ax.set_title(title if len(title) <= 60 else title[:59] + "…", loc="left", fontsize="medium")
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    return ax


def _spans(mask: Any) -> list[tuple[int, int]]:
    """Runs of true values as (start, length)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return [
        (int(start), int(end - start)) for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def _layers(
    n_states: int, initial: int, edges: list[tuple[int, str, int]]
) -> dict[int, tuple[float, float]]:
    """A place for each state: x by distance from the start, y by where its neighbours are.

    One sweep of barycentres, as in Sugiyama, Tagawa and Toda (1981). Where a layer is high, as of
    most automata whose states reach each other in a step, all stand on a circle.
    """
    successors: dict[int, list[int]] = defaultdict(list)
    for source, _, target in edges:
        successors[source].append(target)
    distance = {initial: 0}
    queue = deque([initial])
    while queue:
        state = queue.popleft()
        for target in successors[state]:
            if target not in distance:
                distance[target] = distance[state] + 1
                queue.append(target)
    layers: dict[int, list[int]] = defaultdict(list)
    for state in range(n_states):
        layers[distance.get(state, 0)].append(state)
    if max(map(len, layers.values())) > 3:
        order = [state for layer in sorted(layers) for state in layers[layer]]
        radius = max(1.6, 0.34 * n_states)
        angles = np.pi - 2 * np.pi * np.arange(n_states) / n_states
        return {
            state: (radius * float(np.cos(angle)), radius * float(np.sin(angle)))
            for state, angle in zip(order, angles, strict=True)
        }
    row: dict[int, float] = {}
    for layer in sorted(layers):
        states = layers[layer]
        before = {
            state: [row[source] for source, _, target in edges if target == state and source in row]
            for state in states
        }
        states.sort(key=lambda state: (float(np.mean(before[state] or [0.0])), state))
        for index, state in enumerate(states):
            row[state] = index - (len(states) - 1) / 2
    # An arrow between states of one row that skips a layer would run through what is between.
    return {
        state: (2.1 * layer, -1.9 * row[state] - 0.35 * (layer % 2))
        for layer, states in layers.items()
        for state in states
    }


def _arrow(ax: Axes, patches: Any, start: Any, end: Any, text: str, ink: Any) -> None:
    # Both directions bend to their own right, so that they do not lie on each other.
    bend = 0.25
    (x0, y0), (x1, y1) = start.center, end.center
    ax.add_patch(
        patches.FancyArrowPatch(
            (x0, y0),
            (x1, y1),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=10,
            shrinkA=0,
            shrinkB=1,
            patchA=start,
            patchB=end,
            color=ink,
            linewidth=0.9,
            zorder=2,
        )
    )
    # A quadratic curve: its point at a share t, nearer to the source, whose choice the guard is.
    t = 0.42
    cx, cy = (x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0)
    x = (1 - t) ** 2 * x0 + 2 * t * (1 - t) * cx + t**2 * x1
    y = (1 - t) ** 2 * y0 + 2 * t * (1 - t) * cy + t**2 * y1
    # Beside a steep arrow, on the side to which it bends.
    steep = abs(y1 - y0) > 1.2 * abs(x1 - x0)
    side = ("left" if y1 > y0 else "right") if steep else "center"
    _label(ax, (x, y), text, ink, side)


def _loop(
    ax: Axes, patches: Any, rim: Any, middle: tuple[float, float], text: str, ink: Any
) -> None:
    """An arrow from a state to itself, on the side that faces away from the others."""
    x, y = rim.center
    away = np.array([x - middle[0], y - middle[1]])
    # Up, unless the picture is round there: guards are read best above their state.
    angle = float(np.arctan2(away[1], away[0])) if abs(away[1]) > 0.3 else np.pi / 2
    spread = 0.5
    path = matplotlib("path").Path
    points = [
        (x + scale * _RADIUS * np.cos(angle + turn), y + scale * _RADIUS * np.sin(angle + turn))
        for scale, turn in ((1.0, spread), (2.4, spread), (2.4, -spread), (1.1, -spread))
    ]
    ax.add_patch(
        patches.FancyArrowPatch(
            path=path(points, [path.MOVETO, path.CURVE4, path.CURVE4, path.CURVE4]),
            arrowstyle="-|>",
            mutation_scale=10,
            color=ink,
            linewidth=0.9,
            zorder=2,
        )
    )
    at = (x + 2.45 * _RADIUS * np.cos(angle), y + 2.45 * _RADIUS * np.sin(angle))
    _label(ax, at, text, ink)


def _label(ax: Axes, at: tuple[float, float], text: str, ink: Any, side: str = "center") -> None:
    ax.text(
        *at,
        text,
        ha=side,
        va="center",
        fontsize="x-small",
        color=ink,
        zorder=5,
        bbox={
            "facecolor": matplotlib("pyplot").rcParams["axes.facecolor"],
            "edgecolor": "none",
            "pad": 0.6,
            "alpha": 0.8,
        },
    )
