"""The page that says which keys do what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.strip import Strip

from midstream.apps.terminal.cells import Line
from midstream.apps.terminal.palette import Palette
from midstream.apps.terminal.views import Sheet

__all__ = ["KEYS", "Help"]

#: Keys as people know them, and what they do; a title has no key.
KEYS: tuple[tuple[str, str], ...] = (
    ("", "Streams"),
    ("j  k", "next and previous stream, or recording"),
    ("/", "find by words of name and labels; Esc ends it"),
    ("o", "which: all, running, with findings, stopped, failed, closed"),
    ("s", "in which order"),
    ("", "One stream"),
    ("n  p", "next and previous finding, marked in the text"),
    ("t", "another text of the stream: answer, reasoning, tool calls"),
    ("f", "follow the end of the text, or stay"),
    ("v", "its figures in place of its text, in a narrow window"),
    ("b", "findings or messages, in a narrow window"),
    ("m", "messages of this stream alone"),
    ("", "Recordings"),
    ("r  l", "recordings; live streams"),
    ("Space", "play, or pause"),
    (",  .", "one frame back, or on"),
    ("←  →", "a hundredth back, or on; with Shift ten"),
    ("-  +", "slower, faster"),
    ("g  G", "to its start, to its end"),
    ("", "All"),
    ("Tab", "to the next part; ↑ ↓ Page Home End move in it"),
    ("d", "colours: dark, light, the terminal's own"),
    ("Ctrl+P", "all commands"),
    ("?  Esc", "this page, and back"),
    ("q", "leave"),
    ("", "Marks in a text"),
)
_MARKS = (
    ("note", "said for your information"),
    ("warn", "should be looked at"),
    ("block", "was not let through"),
    ("stop", "the stream was ended for it"),
)


class Help(ModalScreen[None]):
    """All keys."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        background: $panel; padding: 0 2; border: round $primary;
    }
    Help Sheet { height: 34; max-height: 1fr; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Back"),
    ]

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self._palette = palette

    def compose(self) -> ComposeResult:
        """One sheet."""
        with Vertical():
            sheet = Sheet(self._paint)
            sheet.palette = self._palette
            yield sheet

    def on_mount(self) -> None:
        """Keys scroll it."""
        sheet = self.query_one(Sheet)
        sheet.styles.height = len(KEYS) + len(_MARKS)
        sheet.focus()

    def _paint(self, width: int) -> Sequence[Strip]:
        palette = self._palette
        lines = []
        for key, words in KEYS:
            line = Line(width)
            if key:
                line.put(f"  {key:<8}", palette.key).put(words, palette.text)
            else:
                line.put(words, palette.strong)
            lines.append(line.strip(Style.null()))
        for severity, words in _MARKS:
            line = Line(width).put("  ", palette.text).put(severity, palette.marks[severity])
            line.put(" " * (8 - len(severity)), palette.text).put(words, palette.text)
            lines.append(line.strip(Style.null()))
        return lines
