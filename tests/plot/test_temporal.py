"""Pictures of automata and verdicts: what is on the canvas, not how it looks."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.logic import Monitor, compile, parse
from midstream.plot import automaton_graph, verdict_timeline


@pytest.fixture
def pyplot():
    """matplotlib without a screen; nothing stays open."""
    pytest.importorskip("matplotlib").use("Agg")
    module = importlib.import_module("matplotlib.pyplot")
    yield module
    module.close("all")


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def circles(ax: Any) -> list[Any]:
    return [patch for patch in ax.patches if type(patch).__name__ == "Circle"]


def test_every_state_and_guard_is_drawn(pyplot: Any) -> None:
    automaton = compile(parse("G(request -> F answer)"))
    ax = automaton_graph(automaton)
    shown = texts(ax)
    assert {str(state) for state in range(automaton.n_states)} <= set(shown)
    pairs = {(source, target) for source, _, target in automaton.edges()}
    arrows = [patch for patch in ax.patches if type(patch).__name__ == "FancyArrowPatch"]
    assert len(arrows) == len(pairs)
    for _, guard, _ in automaton.edges():
        assert any(guard in text for text in shown)
    # A ring more for each accepting state.
    assert len(circles(ax)) == automaton.n_states + int(automaton.accepting.sum())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["presumably false", "presumably true"]


def test_states_stand_apart_in_layers_and_on_a_circle(pyplot: Any) -> None:
    for text in ["F(a & X[!] X[!] b)", "F a & F b & F c", "true", "false", "G a"]:
        ax = automaton_graph(text)
        centres = sorted({circle.center for circle in circles(ax)})
        assert len(centres) == compile(parse(text)).n_states
        for i, (x, y) in enumerate(centres):
            assert all((x - u) ** 2 + (y - v) ** 2 > 0.6**2 for u, v in centres[:i])


def test_long_guards_are_cut_and_large_automata_refused(pyplot: Any) -> None:
    text = "G((alpha & beta & gamma & delta) -> F epsilon)"
    assert any(label.endswith("…") for label in texts(automaton_graph(text, max_guard=12)))
    with pytest.raises(MidstreamError, match="more than max_states=3"):
        automaton_graph("F(a & X[!] X[!] b)", max_states=3)
    with pytest.raises(MidstreamError, match="must be an Automaton, a Formula or text, not int"):
        automaton_graph(3)  # type: ignore[arg-type]


def test_draws_where_it_is_told(pyplot: Any) -> None:
    _, ax = pyplot.subplots()
    assert automaton_graph("F a", ax=ax) is ax
    assert verdict_timeline("F a", [set(), {"a"}], ax=ax) is ax


TRACE = [{"request"}, set(), {"answer"}, {"request"}, {"broken"}, set()]
RULE = "G(request -> F answer) & G !broken"


def test_atoms_and_verdicts_have_their_rows(pyplot: Any) -> None:
    ax = verdict_timeline(RULE, TRACE)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "request",
        "answer",
        "broken",
        "verdict",
    ]
    spans = rows(ax)
    assert spans[0] == {0, 3}
    assert spans[1] == {2}
    assert spans[2] == {4}
    # The verdict's bars cover every event.
    assert spans[3.4] == set(range(6))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["false", "presumably false", "presumably true"]
    # The line of the final verdict stands at the event that decided it.
    (line,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert line.get_xdata()[0] == 4


def rows(ax: Any) -> dict[float, set[int]]:
    spans: dict[float, set[int]] = {}
    for bars in ax.collections:
        for path in bars.get_paths():
            (x0, y0), (x1, y1) = path.get_extents().get_points()
            spans.setdefault(round((y0 + y1) / 2, 1), set()).update(range(int(x0), int(x1)))
    return spans


def test_masks_are_of_the_monitors_alphabet(pyplot: Any) -> None:
    ax = verdict_timeline("G(a -> F b)", np.array([1, 3, 2, 1]))
    assert rows(ax)[0] == {0, 1, 3}
    assert rows(ax)[1] == {1, 2}
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["presumably false", "presumably true"]
    monitor = Monitor(parse("G(a -> F b)"), alphabet=("b", "other", "a"))
    ax = verdict_timeline(monitor, np.array([0b100, 0b001]))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a", "verdict"]
    assert rows(ax)[0] == {1}
    assert rows(ax)[1] == {0}


def test_a_monitor_is_not_touched(pyplot: Any) -> None:
    monitor = Monitor(parse(RULE))
    monitor.step({"broken"})
    before = monitor.verdict
    verdict_timeline(monitor, TRACE)
    assert monitor.verdict is before


def test_traces_that_cannot_be_drawn(pyplot: Any) -> None:
    for empty in ([], np.array([], dtype=np.uint8)):
        with pytest.raises(MidstreamError, match=r"at least one position|events, not 0"):
            verdict_timeline("F a", empty)
    with pytest.raises(MidstreamError, match="1 to 2 events, not 3"):
        verdict_timeline("F a", [set()] * 3, max_events=2)
    with pytest.raises(MidstreamError, match="must be a Monitor, a Formula or text, not int"):
        verdict_timeline(3, [])  # type: ignore[arg-type]
