"""Text as cells: visible, as wide as is said, and laid out the same however it came."""

from __future__ import annotations

import pytest

pytest.importorskip("textual", reason="the dashboard in a terminal needs the extra 'ui'")

from apps.terminal.looking import FORBIDDEN
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size
from rich.style import Style

from midstream.apps.terminal.cells import Line, TextLayout, cells_of, fit, shown

HARD = (
    "a b\n\r\t\x1b\x00\x9b[]日語é\u0301\u0302\u200d\u202e\u2066\ufe0f👩🏽🇬🇧\U000e0041\ud800\u115f한"
)
texts = st.text(st.one_of(st.sampled_from(HARD), st.characters()), max_size=60)


@given(texts)
def test_what_is_shown_is_harmless_and_as_wide_as_its_characters(text):
    drawn = shown(text)
    assert not FORBIDDEN & set(drawn)
    drawn.encode("utf-8")
    # All agree about the width: no character changes that of another.
    assert cell_len(drawn) == sum(map(get_character_cell_size, drawn))
    assert cell_len(shown(text, at_start=False)) == sum(map(cells_of, text))


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("[bold red]x[/]", "[bold red]x[/]"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("👩\u200d👩\u200d👧", "👩👩👧"),
        ("👍🏽", "👍"),
        ("🇬🇧", "GB"),
        ("e" + "\u0301" * 50, "e" + "\u0301" * 3),
        ("\u0301x", "\u25cc\u0301x"),
        ("\ud800", "\ufffd"),
        ("a\tb", "a    b"),
    ],
)
def test_what_is_shown(text, drawn):
    assert shown(text) == drawn


@given(texts, st.integers(0, 20))
def test_what_is_cut_fits(text, room):
    drawn, cells = fit(shown(text), room)
    assert cells == cell_len(drawn) <= room


@given(st.lists(st.tuples(texts, st.booleans()), max_size=5), st.integers(0, 30))
def test_a_line_is_never_longer_than_its_room(parts, width):
    line = Line(width)
    for text, at_end in parts:
        line.end(text, Style()) if at_end else line.put(text, Style())
    assert line.strip().cell_length <= width
    assert line.strip(Style()).cell_length == width or not width


def laid_out(text, width):
    layout = TextLayout()
    layout.set(text, width)
    return layout


@given(st.lists(texts, max_size=6), st.integers(1, 12), st.data())
def test_a_text_is_laid_out_the_same_however_it_came(pieces, width, data):
    layout = TextLayout()
    text = ""
    for piece in pieces:
        text += piece
        first = layout.set(text, width)
        assert layout.starts == laid_out(text, width).starts
        assert first <= len(layout)
    shorter = text[: data.draw(st.integers(0, len(text)))]
    layout.set(shorter, width)
    assert layout.starts == laid_out(shorter, width).starts
    layout.set("other " + text, width + 1)
    assert layout.starts == laid_out("other " + text, width + 1).starts


@given(texts, st.integers(4, 12))
@example("\U000e0041", 4)
def test_no_line_is_too_long_and_none_is_lost(text, width):
    layout = laid_out(text, width)
    assert layout.starts == sorted(set(layout.starts))
    joined = "".join(text[slice(*layout.span(line))] for line in range(len(layout)))
    assert joined == text
    for line in range(len(layout)):
        begin, end = layout.span(line)
        kept = text[begin:end].removesuffix("\n").removesuffix("\r").removesuffix(" ")
        # What no terminal shows is written out, as one that is wider than a narrow line.
        assert sum(map(cells_of, kept)) <= width or len(kept) == 1
        if end > begin:
            assert layout.line_at(begin) == layout.line_at(end - 1) == line


def test_words_stay_whole():
    layout = laid_out("the quick brown fox\n\njumps overthelazydog", 10)
    lines = [layout.text[slice(*layout.span(line))] for line in range(len(layout))]
    assert lines == ["the quick ", "brown fox\n", "\n", "jumps ", "overthelaz", "ydog"]


@pytest.mark.parametrize("char", ["x", "\u0301", "\x1b", "語", "\u200d"])
def test_a_word_of_a_million_characters(char):
    text = char * (1 << 20)
    layout = laid_out(text, 80)
    assert layout.span(len(layout) - 1)[1] == len(text)
    assert len(layout) > 800  # what takes no cells ends a line, too
