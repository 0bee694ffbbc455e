"""What a loop changed over time, and on which evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int
from midstream.plot._canvas import matplotlib, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midstream.meta.history import History, HistoryTrial
    from midstream.meta.ledger import Ledger, Version

__all__ = ["versions"]

#: Of settings in force, and of what a trial would set.
_LINE, _TRIED = "#4c8ed9", "#8a8f98"
#: By stage, light to dark: more of the traffic is on the candidate. Any other is grey.
_STAGES = {"replay": "#cfe3f7", "shadow": "#9cc4ec", "canary": "#5b97d6"}
#: By outcome: colour and marker, so that no meaning hangs on telling red from green.
_OUTCOMES = {
    "promoted": ("#3aa890", "^", "promoted"),
    "rejected": ("#e5383b", "x", "rejected"),
    "demoted": ("#e0a030", "v", "demoted"),
}
#: Of a promoted change, until it was demoted.
_WATCHED = "#d7efe9"
_ROLLBACK, _ALARM = "#a05195", "#e5383b"
#: Heights of panels, in inches.
_PANEL, _TRIALS_LEAST, _TRIAL = 0.85, 0.7, 0.16
_EVIDENCE = 1.5
#: More alarms than this would be a wall.
_ALARMS = 200


def versions(
    source: Ledger | History,
    *,
    figure: Figure | None = None,
    by: str = "record",
    params: Sequence[str] | None = None,
    max_params: int = 8,
) -> Figure:
    """Draw the versions of a ledger over time, with the evidence that they came from.

    From top to bottom: a line of steps for each parameter that changed, with what trials would have
    set it to; a bar for each trial, in the shades of its stages; the confidence bounds of each
    trial's gain, the champion's loss minus the candidate's. Markers tell promotions, rejections,
    demotions and rollbacks, dotted lines drift alarms.

    Parameters
    ----------
    source : Ledger or History
    figure : matplotlib.figure.Figure, optional
        Where to draw. Default: a new one, as high as it needs.
    by : {"record", "time"}
        What the horizontal axis is: indices of records, or times as the records have them; then
        records without one are left out.
    params : sequence of str, optional
        Which parameters. Default: those that some version or trial changed.
    max_params : int, default 8
        Of these only so many; the title says how many are left out.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ModuleNotFoundError
        matplotlib is missing; the message says how to install it.
    ArgumentTypeError, ArgumentValueError
        No ledger; a parameter that it does not have; nothing in it that has a time.
    LedgerError
        The ledger was changed since it was opened.

    Notes
    -----
    Text and lines take the colours of the style in use. A new figure is made by pyplot, which
    belongs to one thread; with `figure` any thread may draw.

    Examples
    --------
    ::

        from midstream.meta import Ledger
        from midstream.plot import versions

        versions(Ledger("loop.ledger", readonly=True)).savefig("versions.png")
    """
    from midstream.meta.history import History
    from midstream.meta.ledger import Ledger

    if isinstance(source, Ledger):
        source = History.of(source)
    elif not isinstance(source, History):
        raise ArgumentTypeError(
            f"source must be a Ledger or a History, got {type(source).__name__}"
        )
    check_choice("by", by, ("record", "time"))
    max_params = check_int("max_params", max_params, low=1)
    known = tuple(dict.fromkeys(name for v in source.versions for name in v.settings))
    if params is None:
        names = list(source.changed)
    else:
        if isinstance(params, str):
            raise ArgumentTypeError(f"params must be a sequence of names, got {params!r}")
        names = list(params)
        for name in names:
            if name not in known:
                raise ArgumentValueError(
                    f"params must have names of parameters, got {name!r} (known: "
                    f"{', '.join(known)})"
                )
    picture = _Picture(source, by, names[:max_params], len(names) - max_params)
    return picture.draw(figure)


class _Picture:
    """One picture, while it is drawn."""

    def __init__(self, history: History, by: str, names: list[str], more: int) -> None:
        self.history = history
        self.by_time = by == "time"
        self.names = names
        self.more = max(more, 0)
        marks = [self.at(v.record, v.time_ns) for v in history.versions]
        marks += [self.at(t.opened, t.time_ns) for t in history.trials]
        marks += [self.at(a.record, a.time_ns) for a in history.alarms]
        known = [mark for mark in marks if mark is not None]
        if self.by_time and not known:
            raise ArgumentValueError("by must be 'record': no record has a time, got 'time'")
        last = self.at(max(history.n_records - 1, 0), history.last_ns)
        self.start = min(known, default=0.0)
        self.end = max([*known, last if last is not None else self.start])
        if self.end <= self.start:
            self.end = self.start + 1
        self.origin = 0.0
        self.unit = 1.0
        self.label = "record"
        if self.by_time:
            self.origin, self.unit, self.label = _axis(self.start, self.end)
        self.trials = [t for t in history.trials if self.at(t.opened, t.time_ns) is not None]
        self.rows = self._rows()
        self.tested = [t for t in self.trials if t.last is not None and t.last.lower is not None]

    def at(self, record: int, time_ns: int | None) -> float | None:
        """Where something is on the axis."""
        if not self.by_time:
            return float(record)
        return None if time_ns is None else float(time_ns)

    def begun(self, version: Version) -> float | None:
        """Since when a version is in force: the first one since the start, if it has no time."""
        found = self.at(version.record, version.time_ns)
        return self.start if found is None and version.parent is None else found

    def x(self, value: float | None) -> float:
        """A place in the axis's unit; the end for what is not over."""
        return ((self.end if value is None else value) - self.origin) / self.unit

    def span(self, trial: HistoryTrial) -> tuple[float, float]:
        """From a trial's opening to its end."""
        first = self.x(self.at(trial.opened, trial.time_ns))
        if trial.ended is None:
            return first, self.x(None)
        return first, self.x(self.at(trial.ended, trial.ended_ns))

    def _rows(self) -> list[int]:
        """A row for each trial, such that none covers another: the first that is free."""
        free: list[float] = []
        rows = []
        for trial in self.trials:
            first, last = self.span(trial)
            row = next((r for r, until in enumerate(free) if until <= first), len(free))
            if row == len(free):
                free.append(last)
            free[row] = max(last, first)
            rows.append(row)
        return rows

    def draw(self, figure: Figure | None) -> Figure:
        heights = [_PANEL] * max(len(self.names), 1)
        if self.trials:
            heights.append(max(_TRIALS_LEAST, _TRIAL * (1 + max(self.rows)) + 0.3))
        if self.tested:
            heights.append(_EVIDENCE)
        if figure is None:
            size = (9.0, sum(heights) + 1.2)
            figure = matplotlib("pyplot").figure(figsize=size, layout="constrained")
        panels: list[Axes] = list(
            figure.subplots(
                len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
            )[:, 0]
        )
        rest = iter(panels)
        for name in self.names:
            self._values(next(rest), name)
        if not self.names:
            self._nothing(next(rest))
        if self.trials:
            self._bars(next(rest))
        if self.tested:
            self._bounds(next(rest))
        self._marks(panels)
        low, high = self.x(self.start), self.x(self.end)
        margin = 0.02 * (high - low)
        panels[0].set_xlim(low - margin, high + margin)
        for ax in panels:
            for side in ("top", "right"):
                ax.spines[side].set_visible(False)
        panels[-1].set_xlabel(self.label)
        if not self.by_time:
            panels[-1].xaxis.set_major_locator(matplotlib("ticker").MaxNLocator(integer=True))
        self._legend(figure, panels[0])
        figure.align_ylabels(panels)
        return figure

    # ---- panels ----

    def _values(self, ax: Axes, name: str) -> None:
        """A parameter's value in force, and what trials would set."""
        steps = [
            (self.x(at), version.settings[name])
            for version in self.history.versions
            if name in version.settings and (at := self.begun(version)) is not None
        ]
        tried = [
            (self.span(trial), new)
            for trial in self.trials
            for moved, _, new in trial.moves
            if moved == name
        ]
        seen = [value for _, value in steps] + [value for _, value in tried]
        scale = _Scale(seen, self.history.choices.get(name, ()))
        for (first, last), value in tried:
            ax.hlines(scale(value), first, last, colors=[_TRIED], linewidth=1, linestyles="--")
        if steps:
            xs = [x for x, _ in steps] + [self.x(None)]
            ys = [scale(value) for _, value in steps]
            ax.step(xs, [*ys, ys[-1]], where="post", color=_LINE, linewidth=1.8, label=name)
            ax.plot(xs[:-1], ys, linestyle="none", marker="o", markersize=3, color=_LINE)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.margins(y=0.25)
        scale.label(ax)

    def _nothing(self, ax: Axes) -> None:
        ax.set_yticks([])
        ax.text(
            0.5,
            0.5,
            "no parameter was changed" if self.history.versions else "no version yet",
            ha="center",
            va="center",
            transform=ax.transAxes,
            color=text_color(),
        )

    def _bars(self, ax: Axes) -> None:
        """A bar for each trial, in the shades of its stages."""
        for trial, row in zip(self.trials, self.rows, strict=True):
            first, last = self.span(trial)
            stages = [
                (self.x(at), stage)
                for stage, record, time_ns in trial.stages
                if (at := self.at(record, time_ns)) is not None
            ] or [(first, "")]
            stages[0] = (first, stages[0][1])
            ends = [x for x, _ in stages[1:]] + [last]
            for (begin, stage), end in zip(stages, ends, strict=True):
                ax.broken_barh(
                    [(begin, max(end - begin, 0.0))],
                    (row - 0.36, 0.72),
                    facecolors=_WATCHED if stage == "promoted" else _STAGES.get(stage, "#b9bdc4"),
                    edgecolor="none",
                )
            # A promotion is where it happened, however long the change has been watched since.
            marks = [(begin, stage) for begin, stage in stages if stage == "promoted"]
            if not marks or trial.outcome != "promoted":
                marks.append((last, trial.outcome))
            for at, outcome in marks:
                if outcome in _OUTCOMES:
                    colour, marker, _ = _OUTCOMES[outcome]
                    ax.plot([at], [row], marker=marker, color=colour, markersize=5.5, zorder=4)
        ax.set_ylim(max(self.rows) + 0.8, -0.8)
        ax.set_yticks([])
        ax.set_ylabel("trials", rotation=0, ha="right", va="center")

    def _bounds(self, ax: Axes) -> None:
        """How much smaller the candidate's loss is than the champion's, as it became known."""
        ink = text_color()
        ax.axhline(0, color=ink, linewidth=0.8, alpha=0.6)
        for trial in self.tested:
            colour = _OUTCOMES.get(trial.outcome, (_LINE, "", ""))[0]
            points = [
                (self.x(at), e.lower, e.difference, e.upper)
                for e in trial.evidence
                if e.lower is not None
                and e.upper is not None
                and (at := self.at(e.record, e.time_ns)) is not None
            ]
            if not points:
                continue
            xs, lows, middles, highs = zip(*points, strict=True)
            if len(points) > 1:
                ax.fill_between(xs, lows, highs, color=colour, alpha=0.18, linewidth=0)
            # How it was in the end.
            ax.vlines(xs[-1], lows[-1], highs[-1], colors=[colour], linewidth=1.6)
            drawn = [(x, y) for x, y in zip(xs, middles, strict=True) if y is not None]
            if drawn:
                ax.plot(*zip(*drawn, strict=True), color=colour, linewidth=1.2)
                ax.plot(*drawn[-1], "o", color=colour, markersize=3.5)
        # Weighted estimates of a canary leave it at first; no difference of losses does.
        ax.set_ylim(-1.05, 1.05)
        ax.set_ylabel("candidate\nbetter by", rotation=0, ha="right", va="center")

    # ---- across panels ----

    def _marks(self, panels: list[Axes]) -> None:
        for alarm in self.history.alarms[-_ALARMS:]:
            at = self.at(alarm.record, alarm.time_ns)
            if at is not None:
                for ax in panels:
                    ax.axvline(self.x(at), color=_ALARM, linewidth=0.9, linestyle=":", zorder=0.5)
        for version in self.history.versions:
            at = self.at(version.record, version.time_ns)
            if version.restores is not None and at is not None:
                for ax in panels:
                    ax.axvline(self.x(at), color=_ROLLBACK, linewidth=0.9, zorder=0.5)
                panels[0].plot(
                    [self.x(at)],
                    [1.0],
                    marker="<",
                    markersize=6,
                    color=_ROLLBACK,
                    transform=panels[0].get_xaxis_transform(),
                    clip_on=False,
                    zorder=5,
                )

    def _legend(self, figure: Figure, ax: Axes) -> None:
        line = matplotlib("lines").Line2D
        patch = matplotlib("patches").Patch
        keys: list[Any] = []
        seen = {stage for trial in self.trials for stage, _, _ in trial.stages}
        keys += [patch(facecolor=c, label=stage) for stage, c in _STAGES.items() if stage in seen]
        ended = {trial.outcome for trial in self.trials}
        if "demoted" in ended:
            keys.append(patch(facecolor=_WATCHED, label="watched"))
            ended |= seen & {"promoted"}
        for outcome, (colour, marker, label) in _OUTCOMES.items():
            if outcome in ended:
                keys.append(line([], [], color=colour, marker=marker, linestyle="", label=label))
        if any(version.restores is not None for version in self.history.versions):
            keys.append(line([], [], color=_ROLLBACK, marker="<", linestyle="-", label="rollback"))
        if self.history.alarms:
            keys.append(line([], [], color=_ALARM, linestyle=":", label="drift alarm"))
        if any(trial.moves for trial in self.trials):
            keys.append(line([], [], color=_TRIED, linestyle="--", label="tried"))
        if keys:
            figure.legend(
                handles=keys,
                loc="outside upper right",
                ncols=len(keys),
                frameon=False,
                fontsize="small",
                handletextpad=0.4,
                columnspacing=1.2,
            )
        count = len(self.history.versions)
        title = f"{count} version{'s' * (count != 1)}, {len(self.history.trials)} trials"
        if self.more:
            title += f"; {self.more} more parameters changed"
        ax.set_title(title, loc="left", fontsize="medium", pad=10)


class _Scale:
    """Values of a parameter as heights: numbers as they are, others by their place."""

    def __init__(self, values: list[Any], choices: Sequence[Any]) -> None:
        self.places: dict[Any, int] = {}
        self.numeric = all(
            isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
        )
        if not self.numeric:
            known = dict.fromkeys(map(str, (*choices, *values)))
            texts = ["False", "True"] if known.keys() <= {"False", "True"} else list(known)
            self.places = {text: place for place, text in enumerate(texts)}

    def __call__(self, value: Any) -> float:
        return float(value) if self.numeric else float(self.places[str(value)])

    def label(self, ax: Axes) -> None:
        if self.numeric:
            ax.yaxis.set_major_locator(matplotlib("ticker").MaxNLocator(3))
        else:
            ax.set_yticks(list(self.places.values()), list(self.places))


#: Nanoseconds since 1970 of the year 2001: later times are dates, earlier ones a clock of its own.
_EPOCH_NS = 10**18


def _axis(start: float, end: float) -> tuple[float, float, str]:
    """Origin, unit and label of a time axis."""
    span = end - start
    unit, name = 1e9, "s"
    for size, word in ((86_400e9, "days"), (3_600e9, "hours"), (60e9, "minutes")):
        if span >= 2 * size:
            unit, name = size, word
            break
    if start >= _EPOCH_NS:
        import datetime

        then = datetime.datetime.fromtimestamp(start / 1e9, datetime.UTC)
        return start, unit, f"time ({name} since {then:%Y-%m-%d %H:%M} UTC)"
    return start, unit, f"time ({name})"
