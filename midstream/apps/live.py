"""Text that grows on a terminal, piece by piece, with words kept whole at its edge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from midstream.apps.output import Output, escape

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LiveText"]

_PIECES = re.compile(r"\n|[ \t]+|[^ \t\n]+")
_TAB_CELLS = 8
#: A text that no escape sequence holds, to see what a style puts around it.
_MARK = "X"


class LiveText:
    """Text in pieces, as they come; between them, whole lines.

    On a terminal, a word that does not fit on its line moves to the next one, also when its
    beginning is already there. Elsewhere the text stays as it is. Control characters are made
    visible in either case.

    Parameters
    ----------
    output : Output
        Where to.
    color : bool, default True
        Styles, where the terminal has them. Without, no escape sequence is written at all.
    """

    def __init__(self, output: Output, *, color: bool = True) -> None:
        self._output = output
        self._color = color and output.tty
        self._styles: dict[str, tuple[str, str]] = {"": ("", "")}
        self._column = 0
        self._word = ""  # what stands on this line of a word that may go on ...
        self._word_cells = 0  # ... and its width; of one longer than a line, only that is kept

    @property
    def output(self) -> Output:
        """Where the text goes."""
        return self._output

    @cached_property
    def _bar(self) -> str:
        return "▌ " if self._output.encodes("▌") else "| "

    @cached_property
    def _console(self) -> Console:
        """Lays lines out; what it draws is captured, and written by the output."""
        from rich.console import Console

        system: Literal["auto"] | None = "auto" if self._color else None
        return Console(
            file=self._output.stream,
            color_system=system,
            force_terminal=self._output.tty,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def add(self, text: str, style: str = "") -> None:
        """Show the next piece of text, in a style of rich's."""
        text = escape(text)
        if not text:
            return
        before, after = self._around(style)
        shown = self._laid_out(text) if self._output.tty else text
        self._output.write(f"{before}{shown}{after}")
        if not self._output.tty:
            self.stands_after(text)

    def stands_after(self, text: str) -> None:
        """Take note that somebody else wrote this text to the same place."""
        self._column = 0 if text.endswith("\n") else 1

    def fresh_line(self) -> None:
        """Begin a new line, unless at the beginning of one."""
        if self._column:
            self._output.write("\n")
        self._begin_line()

    def line(self, text: str = "", style: str = "") -> None:
        """Show one line of its own; a terminal's edge breaks it between words."""
        self.fresh_line()
        self.end_line(text, style)

    def end_line(self, text: str, style: str = "") -> None:
        """Show the last piece of a line, and its end."""
        self.add(text, style)
        self._output.write("\n")
        self._begin_line()

    def barred_line(
        self, text: str, style: str = "", *, bar: str | None = None, bar_style: str = ""
    ) -> None:
        """Show a line that is not the stream's: behind a bar, also where it goes on.

        Another `bar` stands only before the beginning.
        """
        self.fresh_line()
        before = self._bar if bar is None else bar
        for row in self._wrapped(text, indent=len(before)):
            self.add(before, bar_style)
            self.end_line(row, style)
            if bar is not None:
                before = " " * len(bar)

    def table(self, rows: Sequence[tuple[str, str]], styles: Mapping[str, str]) -> None:
        """Show labels and values in two columns; `styles` are those of values, by label."""
        self.fresh_line()
        edge = max((len(label) for label, _ in rows), default=0) + 2
        for label, value in rows:
            for number, row in enumerate(self._wrapped(value, indent=edge)):
                self.add(f"{'' if number else label:<{edge}}", "dim")
                self.end_line(row, styles.get(label, ""))

    def _wrapped(self, text: str, *, indent: int) -> list[str]:
        """Lines of a text that leave room before them; one line where there is no terminal."""
        text = escape(text)
        if not self._output.tty:
            return [text]
        from rich.text import Text

        room = max(self._console.width - 1 - indent, 16)
        return [row.plain.rstrip() for row in Text(text).wrap(self._console, room)] or [""]

    def _around(self, style: str) -> tuple[str, str]:
        """Escape sequences before and after a text in this style."""
        around = self._styles.get(style)
        if around is None:
            from rich.text import Text

            with self._console.capture() as drawn:
                self._console.print(Text(_MARK, style), end="")
            before, _, after = drawn.get().partition(_MARK)
            around = self._styles[style] = (before, after)
        return around

    def _begin_line(self) -> None:
        self._column, self._word, self._word_cells = 0, "", 0

    def _laid_out(self, text: str) -> str:
        from rich.cells import cell_len

        width = self._console.width
        # The last column stays free: where the cursor is after writing there, terminals disagree.
        limit = max(width - 1, 1)
        out: list[str] = []
        for piece in _PIECES.findall(text):
            if piece == "\n":
                self._begin_line()
            elif piece[0] in " \t":
                self._word, self._word_cells = "", 0
                for char in piece:
                    step = 1 if char == " " else _TAB_CELLS - self._column % _TAB_CELLS
                    self._column += step
                if self._column > limit:  # the space becomes the line's end
                    self._column, piece = 0, "\n"
            else:
                begun, cells = self._word_cells, cell_len(piece)
                fits_alone = begun + cells <= limit
                self._word = self._word + piece if fits_alone else ""
                self._word_cells = begun + cells
                if self._column + cells <= limit:
                    self._column += cells
                elif fits_alone:
                    piece = "\b" * begun + " " * begun + "\n" + self._word
                    self._column = begun + cells
                else:  # longer than a line: the terminal breaks it
                    self._column = (self._column + cells - 1) % width + 1
            out.append(piece)
        return "".join(out)
