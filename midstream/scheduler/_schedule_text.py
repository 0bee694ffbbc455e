"""Schedules as a person reads them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from midstream.scheduler._histogram_text import format_ns

if TYPE_CHECKING:
    from midstream.scheduler.schedules import Schedule, SimTask

__all__ = ["schedule_html", "schedule_line"]

#: Beyond this many bars a browser crawls and nobody sees anything.
_MOST_BARS = 600
_WIDTH, _LABELS, _ROW, _BAR = 720, 110, 26, 14
#: Of each task in turn; legible on white and on black. Red means a miss.
_COLOURS = ("#3b82c4", "#2a9d8f", "#b07aa1", "#c98a1b", "#6b7fd7", "#7a8b3c", "#8c6d5a", "#5b8fa8")
_MISS = "#d62839"


def schedule_line(schedule: Schedule) -> str:
    """The line that ``repr`` shows."""
    kind = "" if schedule.preemptive else " non-preemptive"
    processors = "" if schedule.processors == 1 else f" processors={schedule.processors}"
    return (
        f"<Schedule {schedule.policy}{kind}{processors} tasks={len(schedule.tasks)}"
        f" jobs={len(schedule.jobs)} misses={len(schedule.misses)}"
        f" preemptions={schedule.preemptions} utilization={schedule.utilization:.3g}"
        f" end={format_ns(schedule.end_ns)}>"
    )


def schedule_html(schedule: Schedule) -> str:
    """A table of the tasks and a small chart, for notebooks."""
    return f"<div>{_table(schedule)}{_chart(schedule)}</div>"


def _table(schedule: Schedule) -> str:
    worst = schedule.worst_response_ns
    jobs = dict.fromkeys(worst, 0)
    missed = dict.fromkeys(worst, 0)
    for job in schedule.jobs:
        jobs[job.task] += 1
        missed[job.task] += job.missed

    def time(value: int | None) -> str:
        return "-" if value is None else format_ns(value)

    def row(task: SimTask) -> str:
        cells = (
            time(task.cost_ns),
            time(task.period_ns),
            time(task.deadline_ns),
            f"{task.priority:d}",
            f"{jobs[task.name]:,}",
            f"{missed[task.name]:,}",
            time(worst[task.name]),
        )
        name = f"<th style='text-align:left'>{html.escape(task.name)}</th>"
        return f"<tr>{name}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"

    heads = ("task", "cost", "period", "deadline", "priority", "jobs", "missed", "worst response")
    head = "".join(f"<th>{title}</th>" for title in heads)
    body = "".join(row(task) for task in schedule.tasks)
    caption = html.escape(schedule_line(schedule)[1:-1])
    return (
        f"<table><caption style='text-align:left'>{caption}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _chart(schedule: Schedule) -> str:
    """One row for each task; what is too much is cut off at the right, and the chart says so."""
    segments = schedule.segments[:_MOST_BARS]
    if not segments:
        return ""
    cut = len(segments) < len(schedule.segments)
    end = max(segment.end_ns for segment in segments) if cut else schedule.end_ns
    rows = {task.name: index for index, task in enumerate(schedule.tasks)}
    late = {(job.task, job.job): job.deadline_ns for job in schedule.jobs if job.missed}
    height = _ROW * len(rows) + 22
    plot = _WIDTH - _LABELS - 10

    def x(instant: int) -> float:
        return _LABELS + plot * instant / end

    def bar(row: int, start: int, stop: int, colour: str) -> str:
        width = max(x(stop) - x(start), 0.5)
        return (
            f"<rect x='{x(start):.2f}' y='{row * _ROW + 8}' width='{width:.2f}' height='{_BAR}'"
            f" fill='{colour}'/>"
        )

    parts = []
    for name, row in rows.items():
        label = html.escape(name if len(name) <= 14 else f"{name[:13]}…")
        base = row * _ROW + 8 + _BAR
        parts.append(
            f"<text x='{_LABELS - 8}' y='{base - 3}' text-anchor='end'>{label}</text>"
            f"<path d='M{_LABELS} {base}H{_LABELS + plot}' stroke='currentColor' opacity='.3'/>"
        )
    for task, number, _, start, stop in segments:
        row = rows[task]
        deadline = late.get((task, number))
        on_time = stop if deadline is None else min(max(deadline, start), stop)
        if start < on_time:
            parts.append(bar(row, start, on_time, _COLOURS[row % len(_COLOURS)]))
        if on_time < stop:
            parts.append(bar(row, on_time, stop, _MISS))
    for job in schedule.jobs[: 2 * _MOST_BARS]:
        if job.release_ns <= end:
            top = rows[job.task] * _ROW + 3
            parts.append(
                f"<path d='M{x(job.release_ns):.2f} {top}v{_BAR + 5}'"
                " stroke='currentColor' opacity='.6'/>"
            )
    note = f" (the first {len(segments)} of {len(schedule.segments)} segments)" if cut else ""
    foot = height - 6
    parts.append(
        f"<text x='{_LABELS}' y='{foot}'>0</text>"
        f"<text x='{_LABELS + plot}' y='{foot}' text-anchor='end'>{format_ns(end)}{note}</text>"
    )
    return (
        f"<svg role='img' aria-label='schedule' width='{_WIDTH}' height='{height}'"
        f" viewBox='0 0 {_WIDTH} {height}' font-size='12' font-family='sans-serif'"
        f" fill='currentColor'>{''.join(parts)}</svg>"
    )
