"""`versions`: what is on the canvas, not how it looks."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from meta.loop_records import LoopRecords, evidence, look

from midstream import MidstreamError
from midstream.meta.evidence import Evidence, Outcome, Stage
from midstream.meta.history import History
from midstream.meta.ledger import Ledger
from midstream.meta.params import Param
from midstream.meta.spaces import Change, ParamSpace
from midstream.plot import versions

SPACE = ParamSpace(
    [
        Param.integer("window", 16, 512, default=128, max_step=64),
        Param.choice("severity", ["note", "warn", "stop"], default="warn"),
        Param.flag("trim", default=False),
        Param.real("still", 0.0, 1.0, default=0.5),
    ]
)


@pytest.fixture
def pyplot():
    """matplotlib without a screen; nothing stays open."""
    pytest.importorskip("matplotlib").use("Agg")
    module = importlib.import_module("matplotlib.pyplot")
    yield module
    module.close("all")


def bounds(stage: Stage, n: int, middle: float) -> Evidence:
    return evidence(stage, n, middle, middle - 1 / n, middle + 1 / n)


def story(timed: bool = True) -> Ledger:
    """A promotion, a rejection, an alarm, a rollback, and a trial that is still open."""
    ledger = Ledger()
    records = LoopRecords(ledger)
    clock = iter(range(100))

    def now() -> int | None:
        return next(clock) * 10**9 if timed else None

    def tried(trial: int, change: Change) -> None:
        records.apply(trial, change, "replay", now())
        looks = look(trial, bounds("replay", 10, -0.1))
        records.finish(evidence=(looks,), time_ns=now())
        records.finish(Outcome(trial, "replay", "shadow", "good"), time_ns=now())
        looks = look(trial, bounds("shadow", 20, -0.2))
        records.finish(evidence=(looks,), time_ns=now())

    first = SPACE.defaults
    records.open(SPACE, now())
    ledger.commit(first, b"0", cause=0, time_ns=0 if timed else None)
    change = SPACE.change(first, "because", window=192)
    tried(0, change)
    cause = records.finish(Outcome(0, "shadow", "promoted", "better"), time_ns=now())
    ledger.commit(change.after, b"1", cause=cause, time_ns=now())
    tried(1, SPACE.change(change.after, "because", severity="stop"))
    records.finish(Outcome(1, "shadow", "rejected", "worse"), time_ns=now())
    records.finish(drift=("loss",), time_ns=now())
    cause = records.take("revert", {"version": 0, "reason": "drifted"}, {"ended": []}, now())
    ledger.rollback(0, "drifted", cause=cause, time_ns=now())
    tried(2, SPACE.change(first, "because", trim=True))
    ledger.append("something new", {"odd": [1, None]}, time_ns=now())
    return ledger


def panel(figure: Any, name: str) -> Any:
    (found,) = [ax for ax in figure.axes if ax.get_ylabel() == name]
    return found


def test_steps_are_the_settings_in_force(pyplot: Any) -> None:
    ledger = story()
    figure = versions(ledger)
    names = [ax.get_ylabel() for ax in figure.axes]
    assert names == ["window", "severity", "trim", "trials", "candidate\nbetter by"]
    xs, ys = panel(figure, "window").lines[0].get_data()
    marks = [version.record for version in ledger.versions]
    assert list(xs) == [*marks, len(ledger) - 1]
    assert list(ys) == [128, 192, 128, 128]
    severity = panel(figure, "severity")
    # The order of the choices is that of the space.
    assert [text.get_text() for text in severity.get_yticklabels()] == ["note", "warn", "stop"]
    assert list(severity.lines[0].get_ydata()) == [1, 1, 1, 1]
    assert severity.collections[0].get_segments()[0][:, 1].tolist() == [2, 2]
    assert figure.axes[-1].get_xlabel() == "record"
    assert figure.axes[0].get_title(loc="left") == "3 versions, 3 trials"


def test_trials_their_stages_and_ends(pyplot: Any) -> None:
    ledger = story()
    figure = versions(ledger)
    trials = panel(figure, "trials")
    assert len(trials.collections) == 7  # the promoted one has an end of no length
    assert [line.get_marker() for line in trials.lines if line.get_marker() not in (None, "None")][
        :2
    ] == ["^", "x"]
    bounds = panel(figure, "candidate\nbetter by")
    assert len([c for c in bounds.collections if type(c).__name__ == "LineCollection"]) == 3
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [
        "replay",
        "shadow",
        "promoted",
        "rejected",
        "rollback",
        "drift alarm",
        "tried",
    ]


def test_time_axis_and_what_has_no_time(pyplot: Any) -> None:
    figure = versions(story(), by="time")
    assert figure.axes[-1].get_xlabel() == "time (s)"
    untimed = story(timed=False)
    assert len(versions(untimed).axes) == 5
    with pytest.raises(MidstreamError, match="by must be 'record': no record has a time"):
        versions(untimed, by="time")


def test_a_promotion_is_marked_where_it_happened(pyplot: Any) -> None:
    """Not where the change was last watched."""
    ledger = story()
    for n in (9, 10):
        looks = look(0, bounds("promoted", n, 0.15))
        LoopRecords(ledger).finish(evidence=(looks,), time_ns=10**12)
    marks = [line for line in panel(versions(ledger), "trials").lines if line.get_marker() == "^"]
    assert [list(line.get_xdata()) for line in marks] == [[ledger.versions[1].cause]]


def test_what_was_demoted_was_promoted_before(pyplot: Any) -> None:
    ledger = story()
    LoopRecords(ledger).finish(Outcome(0, "promoted", "demoted", "worse"), time_ns=99 * 10**9)
    figure = versions(ledger, by="time")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[2:6] == ["watched", "promoted", "rejected", "demoted"]
    markers = [line.get_marker() for line in panel(figure, "trials").lines]
    assert markers[:3] == ["^", "v", "x"]


def test_a_first_version_without_a_time_is_there_from_the_start(pyplot: Any) -> None:
    ledger = Ledger()
    ledger.commit(SPACE.defaults, b"")
    LoopRecords(ledger).finish(drift=("loss",), time_ns=5 * 10**9)
    ledger.commit(SPACE.settings(window=64), b"", time_ns=9 * 10**9)
    line = panel(versions(ledger, by="time"), "window").lines[0]
    assert line.get_xydata().tolist() == [[0, 128], [4, 64], [4, 64]]


def test_choice_of_parameters(pyplot: Any) -> None:
    ledger = story()
    figure = versions(ledger, params=["still", "trim"])
    assert [ax.get_ylabel() for ax in figure.axes[:2]] == ["still", "trim"]
    few = versions(ledger, max_params=1)
    assert few.axes[0].get_ylabel() == "window"
    assert few.axes[0].get_title(loc="left").endswith("2 more parameters changed")


def test_in_a_figure_that_exists_and_in_a_style(pyplot: Any) -> None:
    figure = pyplot.figure()
    assert versions(History.of(story()), figure=figure) is figure
    with pyplot.style.context("dark_background"):
        dark = versions(story())
        assert panel(dark, "candidate\nbetter by").lines[0].get_color() == "white"
        dark.canvas.draw()


def test_nothing_and_little(pyplot: Any) -> None:
    empty = versions(Ledger())
    assert [text.get_text() for text in empty.axes[0].texts] == ["no version yet"]
    one = Ledger()
    one.commit(SPACE.defaults, b"")
    assert versions(one).axes[0].texts[0].get_text() == "no parameter was changed"
    odd = Ledger()
    odd.append("trial", {"stage": 3, "moves": "none", "evidence": None})
    odd.append("finish", {})
    versions(odd).canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": 3}, "source must be a Ledger or a History, got int"),
        ({"by": "hour"}, "by must be one of 'record', 'time', got 'hour'"),
        ({"params": "window"}, "params must be a sequence of names"),
        ({"params": ["windw"]}, "must have names of parameters, got 'windw'"),
        ({"max_params": 0}, "max_params must be at least 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        versions(**{"source": story(), **arguments})
