"""Pictures of grammars and levels: what is on the canvas, not how it looks."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.meta import Grammar, Levels, Symbols
from midstream.plot import grammar_graph

WOOD = b"how much wood would a woodchuck chuck if a woodchuck could chuck wood"


@pytest.fixture
def pyplot():
    """matplotlib without a screen; nothing stays open."""
    pytest.importorskip("matplotlib").use("Agg")
    module = importlib.import_module("matplotlib.pyplot")
    yield module
    module.close("all")


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def curves(ax: Any) -> list[Any]:
    return [patch for patch in ax.patches if type(patch).__name__ == "PathPatch"]


def outlines(ax: Any) -> list[Any]:
    return [
        patch
        for patch in ax.patches
        if type(patch).__name__ == "Rectangle" and patch.get_edgecolor()[3] > 0
    ]


def inside(ax: Any) -> None:
    """No text leaves the picture, none of a box leaves its box, and no two boxes meet."""
    figure = ax.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    whole = figure.bbox
    frames = [patch.get_window_extent(renderer) for patch in outlines(ax)]
    for index, frame in enumerate(frames):
        assert not any(frame.overlaps(other) for other in frames[:index])
    for text in ax.texts:
        extent = text.get_window_extent(renderer)
        assert whole.x0 <= extent.x0 and extent.x1 <= whole.x1, text
        assert whole.y0 <= extent.y0 and extent.y1 <= whole.y1, text
        home = [frame for frame in frames if frame.overlaps(extent)]
        if text.get_fontweight() != "bold":
            assert len(home) == 1, text
            assert extent.x1 <= home[0].x1 + 1, text
            assert home[0].y0 <= extent.y0 + 1 and extent.y1 <= home[0].y1 + 1, text


def routine() -> tuple[Levels, Symbols]:
    symbols, levels = Symbols(), Levels(3)
    for _ in range(30):
        for phrase in ("open read edit", "test commit push"):
            levels.observe(symbols.encode(phrase.split()))
            levels.close(1)
        levels.close(2)
        levels.observe(symbols.encode(["rest"] * 4))
        levels.close(3)
    return levels, symbols


def test_every_rule_of_a_grammar_has_its_box(pyplot: Any) -> None:
    grammar = Grammar()
    grammar.feed(WOOD)
    ax = grammar_graph(grammar, chr)
    rules = grammar.rules()
    assert len(outlines(ax)) == len(rules)
    shown = texts(ax)
    for rule in rules:
        assert bytes(grammar.expand(rule).tolist()).decode().replace(" ", "␣") in shown
        assert any(text.startswith(f"{rule.occurrences}\N{MULTIPLICATION SIGN}") for text in shown)
    names = {rule.name for rule in rules}
    pairs = {(rule.name, part) for rule in rules for part in rule.right if part in names}
    assert len(curves(ax)) == len(pairs)
    # From the right end of a part to the left end of what is made of it.
    for curve in curves(ax):
        (x0, _), *_, (x1, _) = curve.get_path().vertices
        assert x0 < x1
    inside(ax)


def test_what_is_not_drawn_is_replaced_by_its_parts(pyplot: Any) -> None:
    grammar = Grammar()
    grammar.feed(b"abcdefgh" * 8 + b"abcd--abcd")
    for most in range(1, grammar.n_rules + 1):
        ax = grammar_graph(grammar, max_rules=most)
        assert len(outlines(ax)) == most
        # All are nested here: whoever is not the largest is part of another.
        assert len(curves(ax)) >= most - 1


def test_levels_have_columns(pyplot: Any) -> None:
    levels, symbols = routine()
    ax = grammar_graph(levels, symbols)
    shown = texts(ax)
    titles = [f"level {n}: {unit}" for n, unit in enumerate(("phrases", "turns", "sessions"), 1)]
    assert [text for text in shown if text in titles] == titles
    assert "open read edit" in shown
    assert "open read edit test commit" in shown and "push" in shown
    assert "rest \N{MULTIPLICATION SIGN}4" in shown
    assert any("again within 5 sessions ≥ 8" in text for text in shown)
    lefts = {round(patch.get_x(), 6) for patch in outlines(ax)}
    assert len(lefts) == 3
    inside(ax)
    few = grammar_graph(levels, symbols, max_rules=1)
    # The best of each level, and what the higher ones are made of.
    assert 3 <= len(outlines(few)) <= len(outlines(ax))


def test_many_rules_stand_apart(pyplot: Any) -> None:
    grammar = Grammar()
    grammar.feed(np.random.default_rng(0).integers(0, 4, 2000))
    ax = grammar_graph(grammar, max_rules=40)
    assert len(outlines(ax)) == 40
    inside(ax)


def test_long_and_odd_texts(pyplot: Any) -> None:
    grammar = Grammar()
    grammar.feed(list(range(1000, 1100)) * 3)
    ax = grammar_graph(grammar, lambda code: f"$symbol_{code}$ of many words", max_text=20)
    assert all(len(text) <= 38 for text in texts(ax))
    assert any(text.endswith("…") for text in texts(ax))
    inside(ax)


def test_a_picture_of_one_column_holds_its_texts(pyplot: Any) -> None:
    symbols, levels = Symbols(), Levels(2)
    for _ in range(30):
        levels.observe(symbols.encode(["search", "read", "search", "read", "answer"]))
        levels.close(2)
    ax = grammar_graph(levels, symbols)
    assert "search read search read answer" in texts(ax)
    inside(ax)


def test_draws_where_it_is_told(pyplot: Any) -> None:
    levels, symbols = routine()
    _, ax = pyplot.subplots(figsize=(4, 3))
    assert grammar_graph(levels, symbols, ax=ax) is ax
    inside(ax)


def test_what_is_refused(pyplot: Any) -> None:
    grammar = Grammar()
    with pytest.raises(MidstreamError, match="nothing has repeated"):
        grammar_graph(grammar)
    with pytest.raises(MidstreamError, match="nothing has repeated"):
        grammar_graph(Levels(2))
    grammar.feed(WOOD)
    with pytest.raises(MidstreamError, match="must be a Grammar or Levels, got int"):
        grammar_graph(3)  # type: ignore[arg-type]
    with pytest.raises(MidstreamError, match="must be Symbols or a function, got int"):
        grammar_graph(grammar, 3)  # type: ignore[arg-type]
    with pytest.raises(MidstreamError, match="never given"):
        grammar_graph(grammar, Symbols())
    for options in ({"max_rules": 0}, {"max_text": 3}):
        with pytest.raises(MidstreamError):
            grammar_graph(grammar, **options)
