"""`gantt`: what is on the canvas, not how it looks."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

from midstream import MidstreamError
from midstream.plot import gantt
from midstream.scheduler import SimTask, simulate

TASKS = [SimTask("a", 2_000, period_ns=5_000), SimTask("b", 4_000, period_ns=7_000)]


@pytest.fixture
def pyplot():
    """matplotlib without a screen; nothing stays open."""
    pytest.importorskip("matplotlib").use("Agg")
    module = importlib.import_module("matplotlib.pyplot")
    yield module
    module.close("all")


def bars(ax: Any) -> list[tuple[int, int, int, str]]:
    """Row, start, end and colour of every bar."""
    to_hex = importlib.import_module("matplotlib.colors").to_hex
    found = []
    for collection in ax.collections:
        if type(collection).__name__ != "LineCollection":
            colour = to_hex(collection.get_facecolor()[0])
            for path in collection.get_paths():
                box = path.get_extents()
                found.append((round((box.y0 + box.y1) / 2), box.x0, box.x1, colour))
    return sorted(found, key=lambda bar: bar[1])


def arrows(ax: Any) -> dict[str, list[tuple[int, int]]]:
    return {
        line.get_label(): [(x, round(y)) for x, y in zip(*line.get_data(), strict=True)]
        for line in ax.lines
    }


def test_bars_are_the_segments(pyplot: Any) -> None:
    schedule = simulate(TASKS, "edf")
    ax = gantt(schedule, colors=["#0000ff", "#00ff00"])
    colours = {"a": (0, "#0000ff"), "b": (1, "#00ff00")}
    assert bars(ax) == [
        (colours[part.task][0], part.start_ns, part.end_ns, colours[part.task][1])
        for part in schedule.segments
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    # The first task is on top.
    low, high = ax.get_ylim()
    assert low > high
    assert ax.get_xlim() == (0, 35_000)
    assert ax.get_title(loc="left") == "edf"


def test_what_is_late_is_red(pyplot: Any) -> None:
    ax = gantt(simulate(TASKS, "rm"), colors={"a": "#0000ff", "b": "#00ff00"})
    assert [bar[1:3] for bar in bars(ax) if bar[3] == "#e5383b"] == [(7_000, 8_000)]
    assert arrows(ax)["missed deadline"] == [(7_000, 1)]
    assert ax.get_title(loc="left") == "rm, 1 missed"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["release", "deadline", "missed deadline", "late"]


def test_arrows_are_releases_and_deadlines(pyplot: Any) -> None:
    tasks = [SimTask("a", 2, deadline_ns=9, release_ns=4), SimTask("b", 3)]
    assert arrows(gantt(simulate(tasks, "edf", until_ns=20))) == {
        "release": [(0, 1), (4, 0)],
        "deadline": [(13, 0)],
    }
    many = simulate(TASKS, "edf", until_ns=10**6)
    assert arrows(gantt(many)) == {}
    assert len(arrows(gantt(many, marks=True))["release"]) == len(many.jobs)
    assert len(arrows(gantt(many, end_ns=20_000))["release"]) == 5 + 3
    assert arrows(gantt(many, end_ns=20_000, marks=False)) == {}


def test_a_row_for_each_processor(pyplot: Any) -> None:
    tasks = [*TASKS, SimTask("c", 3_000, period_ns=6_000)]
    schedule = simulate(tasks, "edf", processors=2, preemptive=False, until_ns=12_000)
    ax = gantt(schedule, by="processor")
    assert [bar[:3] for bar in bars(ax)] == [
        (part.processor, part.start_ns, part.end_ns) for part in schedule.segments
    ]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.texts] == [part.task for part in schedule.segments]
    assert arrows(ax) == {}
    assert ax.get_title(loc="left") == "edf, non-preemptive, 2 processors"
    by_task = gantt(schedule)
    assert [text.get_text() for text in by_task.texts] == [
        f"P{part.processor}" for part in schedule.segments
    ]


@pytest.mark.parametrize(
    ("span", "label", "last"),
    [
        (50, "time (ns)", "50"),
        (1_999, "time (ns)", "1800"),
        (5_000, "time (us)", "5"),
        (30_000_000, "time (ms)", "30"),
        (4_000_000_000, "time (s)", "4"),
    ],
)
def test_units_of_the_time_axis(pyplot: Any, span: int, label: str, last: str) -> None:
    ax = gantt(simulate([SimTask("a", span // 2)], until_ns=span))
    ax.figure.canvas.draw()
    assert ax.get_xlabel() == label
    shown = [
        text.get_text()
        for text in ax.get_xticklabels()
        if ax.get_xlim()[0] <= text.get_position()[0] <= ax.get_xlim()[1]
    ]
    assert (shown[0], shown[-1]) == ("0", last)


def test_draws_into_axes_that_exist(pyplot: Any) -> None:
    figure, (first, second) = pyplot.subplots(2)
    assert gantt(simulate(TASKS, "rm"), ax=second) is second
    assert not first.has_data()
    assert pyplot.get_fignums() == [figure.number]


def test_follows_the_style(pyplot: Any) -> None:
    for style, ink in (("default", "black"), ("dark_background", "white")):
        with pyplot.style.context(style):
            ax = gantt(simulate(TASKS))
            assert ax.lines[0].get_color() == ink
            ax.figure.canvas.draw()


def test_a_part_and_nothing(pyplot: Any) -> None:
    schedule = simulate(TASKS, "edf")
    part = gantt(schedule, start_ns=6_000, end_ns=8_000)
    assert part.get_xlim() == (6_000, 8_000)
    assert [bar[:3] for bar in bars(part)] == [(0, 6_000, 8_000)]
    nothing = gantt(simulate([SimTask("late", 1, release_ns=9)], until_ns=5))
    assert bars(nothing) == []
    assert nothing.get_legend() is None
    nothing.figure.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 3}, "schedule must be a Schedule, got int"),
        ({"by": "job"}, "by must be one of 'task', 'processor', got 'job'"),
        ({"start_ns": -1}, "start_ns must be at least 0, got -1"),
        ({"start_ns": 5, "end_ns": 5}, "end_ns must be greater than start_ns = 5, got 5"),
        ({"end_ns": 1.5}, "end_ns must be an integer"),
        ({"colors": []}, "colors must not be empty"),
        ({"colors": "red"}, "colors must be a sequence or a mapping, got 'red'"),
        ({"colors": {"a": "red"}}, "colors must have one for every task, not for 'b'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        gantt(**{"schedule": simulate(TASKS), **arguments})


def test_says_what_is_missing_without_matplotlib() -> None:
    """In an interpreter that cannot find it, whether it is installed or not."""
    script = """
import sys
from importlib.abc import MetaPathFinder

class Nothing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
from midstream.plot import gantt
from midstream.scheduler import SimTask, simulate
try:
    gantt(simulate([SimTask("a", 1)]))
except ModuleNotFoundError as missing:
    print(missing)
"""
    told = subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert told == 'pictures need matplotlib: pip install "midstream[plot]"\n'
