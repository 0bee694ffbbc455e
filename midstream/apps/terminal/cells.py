"""Any text as cells of a terminal: visible, of known width, and never an order to it."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from unicodedata import combining

from rich.cells import get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

__all__ = ["Line", "TextLayout", "cells_of", "fit", "shown"]

#: What cannot stay as it is: anything beyond these has to be looked at, character by character.
_ODD = re.compile("[^\x20-\x7e\xa0-\xac\xae-\u02ff\u0370-\u0482\u2010-\u2027\u2500-\u25fc]")
_NOT_PLAIN = re.compile("[^\x20-\x7e]")
#: Joiners, variation selectors and skin tones: terminals disagree about what they do to the width.
_DROPPED = re.compile("[\u200c\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")
#: Controls, what turns the direction of writing, and what has no width at all.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a"
    "\U000e0000-\U000e007f]"
)
_MOST_MARKS = 3
_TAB = "    "


@lru_cache(maxsize=8192)
def _one(char: str) -> str:
    """What one character is shown as; empty for those that are left out."""
    code = ord(char)
    if char == "\t":
        return _TAB
    if 0xD800 <= code < 0xE000:
        return "\ufffd"
    if 0x1F1E6 <= code < 0x1F200:  # two of them make a flag, whose width is anybody's guess
        return chr(code - 0x1F1E6 + ord("A"))
    if _UNSEEN.match(char):
        if code < 0x100:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return "" if _DROPPED.match(char) else char


@lru_cache(maxsize=8192)
def cells_of(char: str) -> int:
    """Cells that one character of a text takes.

    Examples
    --------
    >>> cells_of("a"), cells_of("語"), cells_of("\\x1b"), cells_of("\\u0301")
    (1, 2, 4, 0)
    """
    return sum(map(get_character_cell_size, _one(char)))


def shown(text: str, *, at_start: bool = True) -> str:
    r"""A text as it is drawn, on one line, without anything that terminals obey or disagree about.

    Parameters
    ----------
    text : str
    at_start : bool, default True
        Whether nothing stands before it that a combining mark could join.

    Examples
    --------
    >>> shown("plain"), shown("\x1b[2J"), shown("\u202eevil"), shown("a\nb")
    ('plain', '\\x1b[2J', '\\u202eevil', 'a\\x0ab')
    """
    if _ODD.search(text) is None:
        return text
    out: list[str] = []
    marks = 0
    for char in text:
        drawn = _one(char)
        if not drawn:
            continue
        if get_character_cell_size(drawn[-1]) == 0 and combining(drawn[-1]):
            marks += 1
            if marks > _MOST_MARKS:
                continue
            if at_start and not out:
                out.append("\u25cc")
        else:
            marks = 0
        out.append(drawn)
    return "".join(out)


def fit(text: str, room: int) -> tuple[str, int]:
    """Cut a text that is ready to be drawn to so many cells.

    Returns
    -------
    tuple of str and int
        It, and how many it takes.

    Examples
    --------
    >>> fit("Once upon a time", 8), fit("日本語", 4)
    (('Once up…', 8), ('日…', 3))
    """
    if room <= 0:
        return "", 0
    if text.isascii():
        return (text, len(text)) if len(text) <= room else (text[: room - 1] + "…", room)
    cells = 0
    kept = kept_cells = 0
    for number, char in enumerate(text):
        cells += get_character_cell_size(char)
        if cells <= room - 1:
            kept, kept_cells = number + 1, cells
        elif cells > room:
            return text[:kept] + "…", kept_cells + 1
    return text, cells


class Line:
    """One line that is filled from both ends, and never longer than its room.

    Parameters
    ----------
    width : int
        Cells.

    Examples
    --------
    >>> from rich.style import Style
    >>> Line(12).end(" 3", Style()).put("[b]Once[/b] upon", Style()).strip().text
    '[b]Once[/… 3'
    """

    __slots__ = ("_end", "_room", "_segments")

    def __init__(self, width: int) -> None:
        self._room = max(width, 0)
        self._segments: list[Segment] = []
        self._end: list[Segment] = []

    @property
    def room(self) -> int:
        """Cells that are left."""
        return self._room

    def put(self, text: str, style: Style, *, most: int | None = None) -> Line:
        """Put more text behind what is there."""
        room = self._room if most is None else min(self._room, most)
        drawn, cells = fit(shown(text), room)
        if cells:
            self._segments.append(Segment(drawn, style))
            self._room -= cells
        return self

    def end(self, text: str, style: Style, *, most: int | None = None) -> Line:
        """Put text at the line's end, left of what is there: first, where it matters most."""
        drawn, cells = fit(shown(text), self._room if most is None else min(self._room, most))
        if cells:
            self._end.insert(0, Segment(drawn, style))
            self._room -= cells
        return self

    def strip(self, fill: Style | None = None) -> Strip:
        """The line as Textual draws it."""
        segments = self._segments
        if self._room and (self._end or fill is not None):
            segments = [*segments, Segment(" " * self._room, fill or Style.null())]
        return Strip([*segments, *self._end])


class TextLayout:
    """A text in lines of so many cells, which is cheap to keep while the text grows.

    Words stay whole where they fit on a line. Positions are those of the text as it is, whatever is
    drawn in place of its characters.

    Attributes
    ----------
    text : str
    width : int
        Cells of a line.
    starts : list of int
        Where each line begins in `text`.

    Notes
    -----
    Where a line begins depends on what is before it alone, so that of a text that grows only the
    last line is laid out again. 1 microsecond a line of ASCII, some 20 for others.

    Examples
    --------
    >>> layout = TextLayout()
    >>> layout.set("Once upon a time", 10)
    0
    >>> [layout.text[slice(*layout.span(line))] for line in range(len(layout))]
    ['Once upon ', 'a time']
    >>> layout.set("Once upon a time there was", 10)
    1
    """

    def __init__(self) -> None:
        self.text = ""
        self.width = 0
        self.starts: list[int] = [0]

    def __len__(self) -> int:
        return len(self.starts)

    def span(self, line: int) -> tuple[int, int]:
        """Where a line begins and ends in the text, its newline included."""
        end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
        return self.starts[line], end

    def line_at(self, position: int) -> int:
        """The line that holds a position."""
        return max(bisect_right(self.starts, position) - 1, 0)

    def set(self, text: str, width: int) -> int:
        """Lay out a text.

        Returns
        -------
        int
            The first line that is not as before.
        """
        width = max(width, 1)
        if width == self.width:
            if text == self.text:
                return len(self.starts)
            if text.startswith(self.text):
                first = len(self.starts) - 1
            elif self.text.startswith(text):
                # The word that was cut may now fit on the line before its own.
                first = max(self.line_at(len(text) - 1) - 1, 0)
            else:
                first = 0
        else:
            first = 0
        self.text, self.width = text, width
        del self.starts[first + 1 :]
        self._lay_out()
        return first

    def _lay_out(self) -> None:
        text, width, starts = self.text, self.width, self.starts
        size = len(text)
        at = starts[-1]
        find = _NOT_PLAIN.search
        while True:
            stop = at + width + 1
            odd = find(text, at, stop)
            if odd is None:
                if size < stop:
                    return
                space = text.rfind(" ", at, stop)
                at = space + 1 if space > at else at + width
            elif text[odd.start()] == "\n":
                at = odd.end()
            else:
                after = self._odd_line(at)
                if after is None:
                    return
                at = after
            starts.append(at)

    def _odd_line(self, at: int) -> int | None:
        """Where the next line begins, of a line that is not all ASCII; None if it is the last."""
        text, width = self.text, self.width
        cells = 0
        after_space = None
        # What takes no cells could go on for ever: a line ends after so many, whatever they are.
        for position in range(at, min(len(text), at + 16 * width)):
            char = text[position]
            if char == "\n":
                return position + 1
            if char == "\r" and text.startswith("\n", position + 1):
                continue
            cells += cells_of(char)
            if cells > width:
                if char == " ":
                    return position + 1
                if after_space is not None:
                    return after_space
                return max(position, at + 1)
            if char in " \t" and position > at:
                after_space = position + 1
        return at + 16 * width if len(text) > at + 16 * width else None
