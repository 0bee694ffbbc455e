"""A stream's text, with its findings marked where they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.message import Message
from textual.strip import Strip

from midstream.apps.feed.states import Fields
from midstream.apps.terminal.cells import Line, TextLayout, cells_of, fit, shown
from midstream.apps.terminal.palette import mixed
from midstream.apps.terminal.views import Lines
from midstream.apps.terminal.words import SEVERITIES, severity_of

__all__ = ["TextPane"]

_CARET = "▌"
_MOST_STRIPS = 4096


class TextPane(Lines):
    """A text that grows, in lines; `follow` keeps its end in sight."""

    class Marked(Message):
        """A mark was clicked."""

        def __init__(self, pane: TextPane, n: int) -> None:
            super().__init__()
            self.pane = pane
            self.n = n

    class Left(Message):
        """Somebody scrolled away from the end, or back to it."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.follow = True
        self.layout_of_text = TextLayout()
        self._key: str | None = None
        self._start = 0
        self._text: str | None = None
        self._growing = False
        self._nothing = ""
        #: Of each finding: where it begins and ends in what is kept, severity, number.
        self._spans: list[tuple[int, int, str, int]] = []
        self._current: int | None = None
        self._strips: dict[int, Strip] = {}

    @property
    def _head(self) -> int:
        """Lines before the text."""
        return int(self._start > 0)

    def total(self) -> int:
        """Lines of the text, and one that says what is not kept."""
        return self._head + len(self.layout_of_text)

    def show(
        self,
        key: str | None,
        kept: Fields | None,
        findings: Sequence[Fields],
        *,
        running: bool,
        nothing: str = "",
    ) -> None:
        """Show a text of the feed, ``{"start", "text"}``, and findings in it."""
        start = kept["start"] if kept else 0
        text = kept["text"] if kept else ""
        spans = []
        for finding in findings:
            begin, end = max(finding["start"] - start, 0), max(finding["end"] - start, 0)
            if end > begin:
                spans.append((begin, end, severity_of(finding["severity"]), finding["n"]))
        if key != self._key or start != self._start or spans != self._spans:
            self._strips.clear()
            if key != self._key:
                self._current = None
                self.top = 0
        self._key, self._start, self._spans = key, start, spans
        self._nothing = nothing if kept is None else ""
        running = running and kept is not None
        if running != self._growing:
            self._growing = running
            self._forget_from(len(self.layout_of_text) - 1)
        self._text = text
        self._lay_out()
        self.repaint()

    def _lay_out(self) -> None:
        width = self.room.width
        if self._text is None or not width:
            return
        if width - 1 != self.layout_of_text.width:
            self._strips.clear()
        # One cell is left for the caret.
        self._forget_from(self.layout_of_text.set(self._text, width - 1))
        if self.follow:
            self.top = self.most_top

    def _forget_from(self, line: int) -> None:
        if line <= 0 or len(self._strips) > _MOST_STRIPS:
            self._strips.clear()
            return
        for number in [number for number in self._strips if number >= line]:
            del self._strips[number]

    def resized(self) -> None:
        """Lay it out anew, with the same place in sight."""
        layout = self.layout_of_text
        place = layout.starts[min(max(self.top - self._head, 0), len(layout) - 1)]
        self._lay_out()
        if not self.follow:
            self.top = layout.line_at(place) + self._head

    def recolour(self) -> None:
        """The palette is another one."""
        self._strips.clear()
        self.repaint(everything=True)

    def draw(self, number: int, width: int) -> Strip:
        """One line."""
        number -= self._head
        if number < 0:
            return (
                Line(width)
                .put(f"{self._start:,} characters before are not kept", self.palette.quiet)
                .strip()
            )
        if self._nothing:
            return Line(width).put(self._nothing, self.palette.quiet).strip()
        strip = self._strips.get(number)
        if strip is None:
            strip = self._strips[number] = self._make(number, width)
        return strip

    def _make(self, number: int, width: int) -> Strip:
        layout = self.layout_of_text
        begin, end = layout.span(number)
        text = layout.text
        last = number + 1 == len(layout)
        stop = end
        if stop > begin and text[stop - 1] == "\n":
            stop -= 1
            if stop > begin and text[stop - 1] == "\r":
                stop -= 1
        spans = [span for span in self._spans if span[0] < end and span[1] > begin]
        borders = {begin, stop}
        for first, after, _, _ in spans:
            borders.update((max(first, begin), min(after, stop)))
        edges = sorted(edge for edge in borders if begin <= edge <= stop)
        segments: list[Segment] = []
        room = width
        for left, right in pairwise(edges):
            here = [span for span in spans if span[0] <= left and span[1] >= right]
            drawn, cells = fit(shown(text[left:right], at_start=left == begin), room)
            room -= cells
            segments.append(Segment(drawn, self._style(here)))
        if not segments and spans and room:  # an empty line within a finding
            segments.append(Segment(" ", self._style(spans)))
            room -= 1
        if last and self._growing and room:
            segments.append(Segment(_CARET, self.palette.accent))
        return Strip(segments)

    def _style(self, spans: Sequence[tuple[int, int, str, int]]) -> Style:
        palette = self.palette
        if not spans:
            return palette.text
        worst = max(spans, key=lambda span: SEVERITIES.index(span[2]))[2]
        style = palette.marks[worst]
        if any(span[3] == self._current for span in spans):
            return mixed(style, palette.current)
        return style

    # Findings

    @property
    def current(self) -> int | None:
        """The finding that was gone to."""
        return self._current

    def go(self, n: int) -> bool:
        """Bring a finding into sight; whether what it is about is kept."""
        self._current = n
        self._strips.clear()
        for begin, _, _, number in self._spans:
            if number == n and begin < len(self.layout_of_text.text):
                line = self.layout_of_text.line_at(begin) + self._head
                height = self.room.height
                if not self.top <= line < self.top + height - 1:
                    self.top = max(0, min(line - height // 4, self.most_top))
                self.repaint()
                return True
        self.repaint()
        return False

    def clicked(self, number: int, x: int) -> None:
        """Say which mark it was."""
        number -= self._head
        if not 0 <= number < len(self.layout_of_text):
            return
        begin, end = self.layout_of_text.span(number)
        text = self.layout_of_text.text
        cells = 0
        for position in range(begin, end):
            cells += cells_of(text[position])
            if cells > x:
                for first, after, _, n in reversed(self._spans):
                    if first <= position < after:
                        self.post_message(self.Marked(self, n))
                        return
                return

    # Scrolling

    def show_from(self, top: int) -> None:
        """Scroll; away from the end, it is not followed any more."""
        super().show_from(top)
        follow = self.top >= self.most_top
        if follow != self.follow:
            self.follow = follow
            self.post_message(self.Left())
