"""Widgets of lines: only those that differ from what stands there are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from midstream.apps.terminal.cells import Line
from midstream.apps.terminal.palette import PALETTES, Palette, mixed

__all__ = ["Heading", "Lines", "Rows", "Sheet"]

_BLANK = Strip([])
_REVERSED = Style(reverse=True)
_WHEEL = 3


class Lines(Widget, can_focus=True):
    """Lines of which a part is seen, with a bar at the right where there are more.

    Notes
    -----
    Subclasses say how many lines there are, and draw one. A repaint draws those in sight, compares
    them with what stands there, and has only the others written.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(-1)", "First", show=False),
        Binding("end", "edge(1)", "Last", show=False),
    ]

    #: Whether a column at the right is kept for the bar.
    barred = True

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.palette: Palette = PALETTES["dark"]
        self.top = 0
        self._drawn: list[Strip] = []
        self._drawn_width = 0

    # For subclasses.

    def total(self) -> int:
        """How many lines there are."""
        return 0

    def draw(self, number: int, width: int) -> Strip:
        """One of them."""
        raise NotImplementedError

    @property
    def room(self) -> Size:
        """Cells for lines."""
        size = self.content_size
        return Size(max(size.width - self.barred, 0), size.height)

    # Scrolling

    @property
    def most_top(self) -> int:
        """The first line in sight, where the last one is."""
        return max(self.total() - self.room.height, 0)

    def show_from(self, top: int) -> None:
        """Scroll."""
        top = max(0, min(top, self.most_top))
        if top != self.top:
            self.top = top
            self.repaint()

    def action_move(self, by: int) -> None:
        """Scroll by lines."""
        self.show_from(self.top + by)

    def action_page(self, by: int) -> None:
        """Scroll by pages."""
        self.action_move(by * max(self.room.height - 1, 1))

    def action_edge(self, by: int) -> None:
        """Scroll to the first line, or the last."""
        self.action_move(by * max(self.total(), 1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll, wherever the keyboard is."""
        event.stop()
        self.scrolled(_WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll, wherever the keyboard is."""
        event.stop()
        self.scrolled(-_WHEEL)

    def scrolled(self, by: int) -> None:
        """The wheel was turned."""
        self.show_from(self.top + by)

    def on_click(self, event: events.Click) -> None:
        """Choose a line, or a place of the bar."""
        event.stop()
        size = self.content_size
        if self.barred and event.x >= size.width - 1 and self.most_top:
            self.show_from(round(event.y / max(size.height - 1, 1) * self.most_top))
        else:
            self.clicked(self.top + event.y, event.x)

    def clicked(self, number: int, x: int) -> None:
        """A line was clicked."""

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.resized()
        self.repaint(everything=True)

    def resized(self) -> None:
        """Another size has come."""

    def on_focus(self) -> None:
        """The background is another one."""
        self.call_after_refresh(self.repaint, everything=True)

    def on_blur(self) -> None:
        """The background is another one."""
        self.call_after_refresh(self.repaint, everything=True)

    # Painting

    def repaint(self, *, everything: bool = False) -> None:
        """Draw what is in sight; have written what differs."""
        size = self.content_size
        if not size.width or not size.height:
            self._drawn = []
            return
        self.top = max(0, min(self.top, self.most_top))
        fresh = self._in_sight(size)
        old = self._drawn
        self._drawn, self._drawn_width = fresh, size.width
        if everything or len(old) != len(fresh):
            self.refresh()
            return
        regions = []
        begun: int | None = None
        for y, strip in enumerate(fresh):
            same = strip is old[y] or strip == old[y]
            if not same and begun is None:
                begun = y
            elif same and begun is not None:
                regions.append(Region(0, begun, size.width, y - begun))
                begun = None
        if begun is not None:
            regions.append(Region(0, begun, size.width, len(fresh) - begun))
        if regions:
            self.refresh(*regions)

    def _in_sight(self, size: Size) -> list[Strip]:
        total, top = self.total(), self.top
        width = size.width - self.barred
        strips = [
            self.draw(number, width) if number < total else _BLANK
            for number in range(top, top + size.height)
        ]
        base = self._base()
        strips = [strip.apply_style(base) for strip in strips]
        if self.barred and total > size.height:
            thumb = max(1, size.height * size.height // total)
            at = round(top / max(total - size.height, 1) * (size.height - thumb))
            for y, strip in enumerate(strips):
                inside = at <= y < at + thumb
                style = self.palette.quiet if inside else self.palette.line
                bar = Segment("┃" if inside else "│", mixed(base, style))
                strips[y] = Strip([*strip.adjust_cell_length(width, base), bar], width + 1)
        return strips

    def _base(self) -> Style:
        """What is behind all: the background, which Textual leaves to whoever draws lines."""
        return mixed(Style(bgcolor=self.rich_style.bgcolor), self.palette.text)

    def render_line(self, y: int) -> Strip:
        """What Textual asks for."""
        if self._drawn_width != self.content_size.width or y >= len(self._drawn):
            size = self.content_size
            self.top = max(0, min(self.top, self.most_top))
            self._drawn, self._drawn_width = self._in_sight(size), size.width
        return self._drawn[y] if y < len(self._drawn) else _BLANK


class Sheet(Lines):
    """Lines that are drawn elsewhere, for a given width."""

    def __init__(self, paint: Callable[[int], Sequence[Strip]], **named: Any) -> None:
        super().__init__(**named)
        self._paint = paint
        self._lines: Sequence[Strip] = ()

    def total(self) -> int:
        """How many there are."""
        return len(self._lines)

    def draw(self, number: int, width: int) -> Strip:
        """One of them."""
        return self._lines[number]

    def renew(self, *, everything: bool = False) -> None:
        """What they show has changed."""
        if self.room.width:
            self._lines = self._paint(self.room.width)
            self.repaint(everything=everything)

    def resized(self) -> None:
        """They have another width."""
        self._lines = self._paint(self.room.width) if self.room.width else ()


class Heading(Sheet, can_focus=False):
    """Lines above others, which stay."""

    barred = False

    class Pressed(Message):
        """A heading was clicked."""

        def __init__(self, heading: Heading, x: int) -> None:
            super().__init__()
            self.heading = heading
            self.x = x

        @property
        def control(self) -> Heading:
            """The heading."""
            return self.heading

    def _base(self) -> Style:
        """Where there may be no colours, what has the keyboard is seen by another attribute."""
        base = super()._base()
        above = self.parent
        few = self.palette is PALETTES["terminal"]
        if few and isinstance(above, Vertical) and above.has_pseudo_class("focus-within"):
            return mixed(base, _REVERSED)
        return base

    def scrolled(self, by: int) -> None:
        """It does not scroll."""

    def clicked(self, number: int, x: int) -> None:
        """Say so."""
        self.post_message(self.Pressed(self, x))


class Rows(Lines):
    """A list of any length, of which one row is chosen.

    Parameters
    ----------
    paint : callable
        ``paint(item, width) -> Line`` draws a row.
    empty : callable
        What stands there where it is empty.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Choose", show=False),
    ]

    class Chosen(Message):
        """Somebody chose a row."""

        def __init__(self, rows: Rows, key: Hashable) -> None:
            super().__init__()
            self.rows = rows
            self.key = key

        @property
        def control(self) -> Rows:
            """The list."""
            return self.rows

    def __init__(
        self,
        paint: Callable[[Any, int], Line],
        empty: Callable[[], str],
        **named: Any,
    ) -> None:
        super().__init__(**named)
        self._paint = paint
        self._empty = empty
        self.keys: list[Hashable] = []
        self._items: Sequence[Any] = ()
        #: Key of the row that is chosen.
        self.chosen: Hashable = None

    def set(
        self,
        keys: list[Hashable],
        items: Sequence[Any],
        paint: Callable[[Any, int], Line] | None = None,
    ) -> None:
        """Show other rows; which one is chosen stays, and where it is in sight.

        Rows of another kind are drawn by another `paint`.
        """
        if paint is not None:
            self._paint = paint
        before = self.index
        in_sight = before is not None and self.top <= before < self.top + self.room.height
        offset = 0 if before is None else before - self.top
        self.keys, self._items = keys, items
        after = self.index
        if in_sight and after is not None and self.top > 0:
            self.top = after - offset
        self.repaint()

    @property
    def index(self) -> int | None:
        """Which row is chosen; None if it is not there."""
        if self.chosen is None:
            return None
        try:
            return self.keys.index(self.chosen)
        except ValueError:
            return None

    def total(self) -> int:
        """How many rows there are; one that says so where there is none."""
        return max(len(self.keys), 1)

    def draw(self, number: int, width: int) -> Strip:
        """One row."""
        if number >= len(self.keys):
            return Line(width).put(self._empty(), self.palette.quiet).strip()
        line = self._paint(self._items[number], width)
        if self.keys[number] != self.chosen:
            return line.strip()
        over = self.palette.chosen
        strip = line.strip(Style.null())
        return Strip(
            [Segment(text, mixed(style or Style.null(), over)) for text, style, _ in strip]
        ).adjust_cell_length(width, over)

    def choose(self, key: Hashable) -> None:
        """Choose a row without saying so, and bring it into sight."""
        self.chosen = key
        self.reveal()
        self.repaint()

    def reveal(self) -> None:
        """Bring the chosen row into sight."""
        index, height = self.index, self.room.height
        if index is None or not height:
            return
        if index < self.top:
            self.top = index
        elif index >= self.top + height:
            self.top = index - height + 1

    def action_move(self, by: int) -> None:
        """Choose another row."""
        if not self.keys:
            return
        last = len(self.keys) - 1
        index = self.index
        to = (last if by > last else 0) if index is None else max(0, min(last, index + by))
        self._tell(self.keys[to])

    def action_choose(self) -> None:
        """Choose the same again."""
        if self.index is not None:
            self._tell(self.chosen)

    def clicked(self, number: int, x: int) -> None:
        """Choose what was clicked."""
        if number < len(self.keys):
            self._tell(self.keys[number])

    def _tell(self, key: Hashable) -> None:
        self.choose(key)
        self.post_message(self.Chosen(self, key))
