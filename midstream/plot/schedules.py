"""Schedules as charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int
from midstream.plot._canvas import matplotlib, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midstream.scheduler import Schedule, Segment, SimJob

__all__ = ["gantt"]

#: Of each row, legible on white and on black, told apart without green and red. Red means a miss.
_COLOURS = ("#4c8ed9", "#e0a030", "#3aa890", "#a67fd0", "#8a9a3a", "#d987b8", "#5cb3cc", "#a98467")
_MISS = "#e5383b"
_BAR = 0.56
#: Releases and deadlines of a row beyond which nobody could tell one from the next.
_MOST_MARKS = 60
#: Bars that are wide enough, all together, to be set off from each other.
_MOST_GAPS = 150
_UNITS = ((1, "ns"), (1_000, "us"), (1_000_000, "ms"), (1_000_000_000, "s"))


def gantt(
    schedule: Schedule,
    *,
    ax: Axes | None = None,
    by: str = "task",
    start_ns: int = 0,
    end_ns: int | None = None,
    colors: Sequence[Any] | Mapping[str, Any] | None = None,
    marks: bool | None = None,
) -> Axes:
    """Draw a schedule: who ran when, what was released and due, what was late.

    Bars are jobs that run, in the colour of their task; what runs after its deadline is red. An
    arrow up is a release, an arrow down a deadline, red if it was missed.

    Parameters
    ----------
    schedule : Schedule
        As `midstream.scheduler.simulate` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; its x axis is in nanoseconds, whatever unit its ticks tell. Default: a new
        figure as high as the rows need.
    by : {"task", "processor"}
        What has a row. With ``"processor"`` a legend tells the tasks apart, and releases and
        deadlines are left out. Where there are several processors, bars that are wide enough
        carry the number of theirs, or the name of their task.
    start_ns, end_ns : int, optional
        The part to show; default all of it.
    colors : sequence or mapping, optional
        Colours as matplotlib takes them: in the order of the tasks, repeated where there are
        fewer, or by name of task. Default: eight that suit light and dark backgrounds.
    marks : bool, optional
        Whether to draw releases and deadlines. Default: where no row would have more than 60.

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
    Text and lines take the colours of the style in use, such as ``"dark_background"``. A new figure
    is made by pyplot, which belongs to one thread; with `ax` any thread may draw. Drawing costs
    milliseconds for some thousand bars.

    Examples
    --------
    ::

        from midstream.plot import gantt
        from midstream.scheduler import SimTask, simulate

        tasks = [SimTask("a", 2_000, period_ns=5_000), SimTask("b", 4_000, period_ns=7_000)]
        gantt(simulate(tasks, "rm")).figure.savefig("rm.png")
    """
    from midstream.scheduler import Schedule

    if not isinstance(schedule, Schedule):
        raise ArgumentTypeError(f"schedule must be a Schedule, got {type(schedule).__name__}")
    check_choice("by", by, ("task", "processor"))
    start = check_int("start_ns", start_ns, low=0)
    end = max(schedule.end_ns, start + 1) if end_ns is None else check_int("end_ns", end_ns)
    if end <= start:
        raise ArgumentValueError(f"end_ns must be greater than start_ns = {start}, got {end}")
    palette = _palette(schedule, colors)
    pyplot = matplotlib("pyplot")
    chart = _Chart(schedule, by, start, end, palette)
    if ax is None:
        height = 0.62 * len(chart.rows) + 1.1
        _, ax = pyplot.subplots(figsize=(10, height), layout="constrained")
    assert ax is not None
    chart.draw(ax, marks)
    return ax


def _palette(
    schedule: Schedule, colors: Sequence[Any] | Mapping[str, Any] | None
) -> dict[str, Any]:
    """Colour of each task."""
    names = [task.name for task in schedule.tasks]
    if isinstance(colors, Mapping):
        lacking = [name for name in names if name not in colors]
        if lacking:
            raise ArgumentValueError(f"colors must have one for every task, not for {lacking[0]!r}")
        return {name: colors[name] for name in names}
    if isinstance(colors, str):
        raise ArgumentTypeError(f"colors must be a sequence or a mapping, got {colors!r}")
    listed = _COLOURS if colors is None else tuple(colors)
    if not listed:
        raise ArgumentValueError("colors must not be empty")
    return {name: listed[index % len(listed)] for index, name in enumerate(names)}


class _Chart:
    """One drawing: its rows, counted from the top, and the part of time that it shows."""

    def __init__(
        self, schedule: Schedule, by: str, start: int, end: int, palette: Mapping[str, Any]
    ) -> None:
        self.schedule = schedule
        self.by_task = by == "task"
        self.start, self.end = start, end
        self.palette = palette
        if self.by_task:
            self.rows = [task.name for task in schedule.tasks]
        else:
            self.rows = [f"processor {number}" for number in range(schedule.processors)]
        self.row_of_task = {task.name: row for row, task in enumerate(schedule.tasks)}
        self.missed = {(job.task, job.job): job for job in schedule.jobs if job.missed}

    def draw(self, ax: Axes, marks: bool | None) -> None:
        ink = text_color()
        self._frame(ax, ink)
        self._bars(ax)
        if self.schedule.processors > 1:
            self._labels(ax)
        keys = []
        if self.by_task and (self._marks_fit() if marks is None else marks):
            keys = self._marks(ax, ink)
        self._legend(ax, keys)

    def _frame(self, ax: Axes, ink: Any) -> None:
        schedule = self.schedule
        ax.set_xlim(self.start, self.end)
        ax.set_ylim(len(self.rows) - 0.4, -0.6)
        ax.set_yticks(range(len(self.rows)), self.rows)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.hlines(
            [row + _BAR / 2 for row in range(len(self.rows))],
            self.start,
            self.end,
            colors=[ink],
            linewidth=0.6,
            alpha=0.35,
            zorder=1,
        )
        span = self.end - self.start
        size, unit = max(pair for pair in _UNITS if 2 * pair[0] <= span or pair[0] == 1)
        ax.xaxis.set_major_locator(matplotlib("ticker").MaxNLocator(10, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / size:.10g}")
        ax.set_xlabel(f"time ({unit})")
        ax.grid(axis="x", alpha=0.2, linewidth=0.6)
        ax.set_axisbelow(True)
        kind = "" if schedule.preemptive else ", non-preemptive"
        processors = f", {schedule.processors} processors" if schedule.processors > 1 else ""
        count = len(schedule.misses)
        misses = f", {count} missed" if count else ""
        ax.set_title(f"{schedule.policy}{kind}{processors}{misses}", loc="left", fontsize="medium")

    def _in_sight(self) -> Iterable[Segment]:
        return (
            part
            for part in self.schedule.segments
            if part.start_ns < self.end and part.end_ns > self.start
        )

    def _row(self, part: Segment) -> int:
        return self.row_of_task[part.task] if self.by_task else part.processor

    def _bars(self, ax: Axes) -> None:
        """All bars of one colour and row at once, which is one object and not thousands."""
        spans: dict[tuple[str, int, bool], list[tuple[int, int]]] = {}
        for part in self._in_sight():
            late_from = part.end_ns
            job = self.missed.get((part.task, part.job))
            if job is not None and job.deadline_ns is not None:
                late_from = min(max(job.deadline_ns, part.start_ns), part.end_ns)
            for begin, stop, late in (
                (part.start_ns, late_from, False),
                (late_from, part.end_ns, True),
            ):
                if begin < stop:
                    key = (part.task, self._row(part), late)
                    spans.setdefault(key, []).append((begin, stop - begin))
        # Gaps between neighbours; of thousands of thin bars nothing but the gaps would be left.
        gap = 0.8 if sum(map(len, spans.values())) <= _MOST_GAPS else 0
        for (task, row, late), bars in spans.items():
            ax.broken_barh(
                bars,
                (row - _BAR / 2, _BAR),
                facecolors=_MISS if late else self.palette[task],
                edgecolor=ax.get_facecolor(),
                linewidth=gap,
                zorder=2,
            )

    def _labels(self, ax: Axes) -> None:
        to_rgb = matplotlib("colors").to_rgb
        for part in self._in_sight():
            begin, stop = max(part.start_ns, self.start), min(part.end_ns, self.end)
            text = f"P{part.processor}" if self.by_task else part.task
            # About a hundred characters fit side by side.
            if (stop - begin) * 100 < (len(text) + 1) * (self.end - self.start):
                continue
            red, green, blue = to_rgb(self.palette[part.task])
            bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.45
            ax.text(
                (begin + stop) / 2,
                self._row(part),
                text,
                ha="center",
                va="center",
                fontsize="small",
                color="black" if bright else "white",
                clip_on=True,
                zorder=3,
            )

    def _jobs_in_sight(self) -> Iterable[SimJob]:
        return (job for job in self.schedule.jobs if job.release_ns <= self.end)

    def _marks_fit(self) -> bool:
        counts = dict.fromkeys(self.row_of_task, 0)
        for job in self._jobs_in_sight():
            counts[job.task] += self.start <= job.release_ns
        return max(counts.values(), default=0) <= _MOST_MARKS

    def _marks(self, ax: Axes, ink: Any) -> list[Any]:
        """Draw the arrows; return what stands for them in the legend."""
        releases: list[tuple[int, int]] = []
        met: list[tuple[int, int]] = []
        missed: list[tuple[int, int]] = []
        for job in self._jobs_in_sight():
            row = self.row_of_task[job.task]
            releases.append((job.release_ns, row))
            if job.deadline_ns is not None:
                (missed if job.missed else met).append((job.deadline_ns, row))
        keys = []
        for label, points, marker, colour in (
            ("release", releases, "^", ink),
            ("deadline", met, "v", ink),
            ("missed deadline", missed, "v", _MISS),
        ):
            seen = [(x, row) for x, row in points if self.start <= x <= self.end]
            if not seen:
                continue
            up = marker == "^"
            xs = [x for x, _ in seen]
            feet = [row + _BAR / 2 for _, row in seen]
            heads = [row - _BAR / 2 - 0.14 for _, row in seen]
            order = 5 if colour == _MISS else 4
            ax.vlines(xs, heads, feet, colors=[colour], linewidth=1.1, zorder=order)
            (key,) = ax.plot(
                xs,
                [y + 0.03 if up else y - 0.06 for y in (heads if up else feet)],
                linestyle="none",
                marker=marker,
                markersize=5,
                color=colour,
                label=label,
                zorder=order,
                clip_on=False,
            )
            keys.append(key)
        return keys

    def _legend(self, ax: Axes, keys: list[Any]) -> None:
        patch = matplotlib("patches").Patch
        parts = list(self._in_sight())
        if not self.by_task:
            shown = {part.task for part in parts}
            keys = [
                patch(facecolor=colour, label=name)
                for name, colour in self.palette.items()
                if name in shown
            ]
        for part in parts:
            job = self.missed.get((part.task, part.job))
            if job is not None and job.deadline_ns is not None and job.deadline_ns < part.end_ns:
                keys.append(patch(facecolor=_MISS, label="late"))
                break
        if keys:
            ax.legend(
                handles=keys,
                loc="lower right",
                bbox_to_anchor=(1, 1),
                ncols=min(len(keys), 6),
                frameon=False,
                fontsize="small",
                borderaxespad=0.2,
                handletextpad=0.4,
                columnspacing=1.2,
            )
