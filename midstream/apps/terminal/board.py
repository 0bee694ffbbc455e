"""What the dashboard in a terminal shows, of a feed or of a recording, and when it is drawn."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.strip import Strip
from textual.widgets import Footer, Input

from midstream._core.errors import MidstreamError
from midstream.apps.feed import apply
from midstream.apps.feed.states import Fields
from midstream.apps.terminal import panels
from midstream.apps.terminal.cells import Line
from midstream.apps.terminal.links import Link
from midstream.apps.terminal.palette import THEMES, Palette, palette_of
from midstream.apps.terminal.replay import Replay
from midstream.apps.terminal.scrubber import Scrubber
from midstream.apps.terminal.style import CSS
from midstream.apps.terminal.textpane import TextPane
from midstream.apps.terminal.views import Heading, Lines, Rows, Sheet
from midstream.apps.terminal.words import arranged

__all__ = ["NARROW", "PAINT_S", "PARTS", "PLAYED", "Board"]

#: What has changed is drawn at most so often.
PAINT_S = 0.1
#: How often what moves by itself is drawn.
_BEAT_S = 1.0
#: Of a narrower, or shorter, window some parts are hidden.
NARROW = 112
_SHORT = 32
PARTS = frozenset(("list", "totals", "stream", "figures", "findings", "messages"))
#: What changes when a recording goes on.
PLAYED = PARTS - {"list", "totals"}


class Board(App[None]):
    """The parts of the dashboard; `TerminalApp` is what keys do to it."""

    TITLE = "midstream"
    CSS = CSS

    def __init__(
        self,
        link: Link,
        *,
        color: bool = True,
        first: str = "live",
        on_ready: Callable[[], object] | None = None,
        **named: Any,
    ) -> None:
        plain = not color or bool(os.environ.get("NO_COLOR"))
        with _no_color(plain):
            super().__init__(ansi_color=True if plain else None, **named)
        for theme in THEMES:
            self.register_theme(theme)
        self._few_colours = plain or self.console.color_system in (None, "standard", "windows")
        background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
        self._on_white = background in ("7", "15")
        self._link = link
        self._first = first
        self._on_ready = on_ready
        #: Why the feed could not be followed any more.
        self.failure: MidstreamError | None = None
        self._link_state = ("connecting", "connecting")
        self.live: Fields | None = None
        self._heard_s = 0.0
        self._missed = 0
        self.replay: Replay | None = None
        self.view = "live"
        self.paints = 0
        self._keys: dict[str, str | None] = {"live": None, "replay": None}
        self._text_key: str | None = None
        self._texts: list[tuple[int, int, str]] = []
        self._only_this = False
        self._filter = "all"
        self._sort = "newest"
        self._recordings: list[Fields] = []
        self._loading: str | None = None
        self._dirty: set[str] = set(PARTS)
        self._painting: asyncio.TimerHandle | None = None
        self._painted_s = 0.0
        self._played_s = 0.0
        self._set_up = False

    # Parts

    def compose(self) -> ComposeResult:
        """List, text, figures, findings and messages."""
        yield Heading(self._paint_totals, id="totals")
        with Horizontal(id="main"):
            with Vertical(id="left"):
                yield Heading(self._paint_list_head, id="list-head")
                yield Input(id="search", placeholder="find", compact=True)
                yield Rows(self._paint_stream, self._nothing_listed, id="list")
            with Vertical(id="centre"):
                yield Heading(self._paint_about, id="about")
                yield TextPane(id="text")
            with Vertical(id="side"):
                yield Sheet(self._paint_figures, id="figures")
        with Horizontal(id="bottom"):
            with Vertical(id="found"):
                yield Heading(self._paint_found_head, id="found-head")
                yield Rows(self._paint_finding, self._nothing_found, id="findings")
            with Vertical(id="told"):
                yield Heading(self._paint_told_head, id="told-head")
                yield Rows(self._paint_message, lambda: "none yet", id="messages")
        yield Scrubber(id="scrubber")
        yield Footer(show_command_palette=False, compact=True)  # all of it fits 80 columns

    def on_mount(self) -> None:
        """Begin to read."""
        one = self.query_one
        self._list = one("#list", Rows)
        self._text = one("#text", TextPane)
        self._figures = one("#figures", Sheet)
        self._findings = one("#findings", Rows)
        self._messages = one("#messages", Rows)
        self._heads = {head.id: head for head in self.query(Heading)}
        self._scrubber = one(Scrubber)
        self._search = one(Input)
        self._set_up = True
        self.theme = self._first_theme()
        self._recolour()
        self.theme_changed_signal.subscribe(self, lambda _: self._recolour())
        self._list.focus()
        self.set_interval(_BEAT_S, self._beat)
        self.run_worker(self._read(), name="feed", exit_on_error=True)
        self._fit_parts()
        self.set_up()
        if self._on_ready is not None:
            self.call_after_refresh(self._on_ready)

    def set_up(self) -> None:
        """All parts are there."""

    def _first_theme(self) -> str:
        if self._few_colours:
            return "terminal"
        return "light" if self._on_white else "dark"

    @property
    def palette(self) -> Palette:
        """Styles of the theme."""
        theme = self.current_theme
        if self._few_colours:
            return palette_of("terminal", dark=True, ansi=True)
        return palette_of(theme.name, dark=theme.dark, ansi=theme.ansi)

    def _recolour(self) -> None:
        palette = self.palette
        for lines in self.query(Lines):
            lines.palette = palette
            if isinstance(lines, TextPane):
                lines.recolour()
            elif isinstance(lines, Sheet):
                lines.renew(everything=True)
            else:
                lines.repaint(everything=True)
        self._news(*PARTS)

    def on_descendant_focus(self) -> None:
        """The heading of what has the keyboard looks otherwise."""
        self.call_after_refresh(self._repaint_heads)

    def _repaint_heads(self) -> None:
        for head in self._heads.values():
            head.repaint(everything=True)

    def on_resize(self, event: events.Resize) -> None:
        """Fewer parts where there is less room."""
        self._fit_parts(event.size.width, event.size.height)

    def _fit_parts(self, width: int | None = None, height: int | None = None) -> None:
        screen = self.screen_stack[0] if self.screen_stack else None
        if screen is None or not self._set_up:
            return
        width = self.size.width if width is None else width
        height = self.size.height if height is None else height
        screen.set_class(width < NARROW, "-narrow")
        screen.set_class(height < _SHORT, "-short")
        screen.set_class(self.view == "replay", "-replay")
        self.refresh_bindings()
        self._news(*PARTS)

    # Frames

    async def _read(self) -> None:
        try:
            async for fields in self._link.frames(self._link_told):
                try:
                    self.take(fields)
                except (LookupError, TypeError, ValueError, AttributeError):
                    if self._link.trusted:
                        raise
                    self.live = None
                    self._link.refuse()
        except MidstreamError as error:
            self.failure = error
            self.exit()

    def _link_told(self, how: str, words: str) -> None:
        self._link_state = (how, words)
        self._news("totals")

    def take(self, fields: Fields) -> None:
        """Take the next frame."""
        state = self.live
        self._heard_s = time.monotonic()
        if fields["type"] == "snapshot" or state is None:
            fresh: Fields = {}
            apply(fresh, fields)
            if state is not None and state["feed"] == fresh["feed"]:
                self._missed += max(fresh["id"] - state["id"], 0)
            elif state is not None:
                self._keys["live"] = None
            self.live = fresh
            if self.view == "live":
                self._news(*PARTS)
            return
        apply(state, fields)
        if self.view != "live":
            if "totals" in fields:
                self._news("totals")
            return
        changed = fields.get("changed", {})
        parts = []
        if "totals" in fields:
            parts += ["totals", "list"]
        elif fields.keys() & {"opened", "evicted"} or any(
            "outcome" in change.get("set", ()) for change in changed.values()
        ):
            parts.append("list")
        if "messages" in fields:
            parts.append("messages")
        key = self._keys["live"]
        if key is None or key in fields.get("evicted", ()) or key in fields.get("opened", {}):
            parts += ["stream", "figures", "findings"]
        elif key in changed:
            change = changed[key]
            appended = change.get("append", {})
            if "findings" in appended or "clear" in change:
                parts.append("findings")
            put = change.get("set", {})
            if "texts" in change or "forget" in change or "outcome" in put or "findings" in parts:
                parts.append("stream")
            if len(put) > 1 or "verdicts" in change or appended:
                parts.append("figures")
        if parts:
            self._news(*parts)

    @property
    def now_s(self) -> float:
        """Seconds of the feed, or of the recording."""
        if self.view == "replay":
            return 0.0 if self.replay is None else self.replay.time_s
        if self.live is None:
            return 0.0
        if self._link_state[0] != "open":
            return float(self.live["t_s"])
        return float(self.live["t_s"]) + time.monotonic() - self._heard_s

    @property
    def state(self) -> Fields | None:
        """What is shown: of the feed, or of the recording."""
        if self.view == "live":
            return self.live
        return None if self.replay is None else self.replay.state

    @property
    def stream(self) -> Fields | None:
        """The stream that is shown."""
        state = self.state
        if state is None:
            return None
        if self.view == "replay":
            return None if self.replay is None else self.replay.stream
        key = self._keys["live"]
        found: Fields | None = state["streams"].get(key)
        return found

    # Painting

    def _news(self, *parts: str) -> None:
        """Something has changed; it is drawn, but not more often than anybody could see."""
        self._dirty.update(parts)
        if self._painting is None and self._set_up:
            loop = asyncio.get_running_loop()
            wait = self._painted_s + PAINT_S - loop.time()
            self._painting = loop.call_later(max(wait, 0), self._paint)

    def _paint(self) -> None:
        self._painting = None
        if not self._set_up or not self.is_running:
            return
        self._painted_s = asyncio.get_running_loop().time()
        self.paints += 1
        dirty, self._dirty = self._dirty, set()
        if "list" in dirty:
            before = self._keys["live"]
            self._draw_list()
            if self._keys["live"] != before:
                dirty |= {"stream", "figures", "findings"}
        if "totals" in dirty:
            self._heads["totals"].renew()
        if dirty & {"stream", "figures"}:
            self._heads["about"].renew()
        if "stream" in dirty:
            self._draw_text()
        if "findings" in dirty:
            self._draw_findings()
        if "figures" in dirty and self._figures.region:
            self._figures.renew()
        if "messages" in dirty:
            self._draw_messages()
        if self.view == "replay":
            self._scrubber.show(self.replay)

    def _draw_list(self) -> None:
        rows = self._list
        if self.view == "live":
            streams = {} if self.live is None else self.live["streams"]
            found = arranged(
                streams.values(), search=self._search.value, state=self._filter, sort=self._sort
            )
            if self._keys["live"] is None and found:
                self._keys["live"] = found[0]["key"]
            rows.chosen = self._keys["live"]
            rows.set([stream["key"] for stream in found], found, self._paint_stream)
        else:
            words = self._search.value.casefold().split()
            listed = [
                one
                for one in self._recordings
                if all(word in f"{one['name']} {one['source']}".casefold() for word in words)
            ]
            if self._sort == "name":
                listed.sort(key=lambda one: str(one["name"]).casefold())
            rows.chosen = self._keys["replay"]
            rows.set([one["name"] for one in listed], listed, self._paint_recording)
        self._heads["list-head"].renew()

    def _shown_text(self, stream: Fields) -> str | None:
        """The text to show: the one chosen, else the answer, else the newest."""
        texts = stream["texts"]
        if self._text_key in texts:
            return self._text_key
        answer = next((key for key in texts if key.startswith("text/")), None)
        return answer or next(reversed(texts), None)

    def _draw_text(self) -> None:
        stream = self.stream
        if stream is None:
            self._text.show(None, None, (), running=False, nothing=self._nothing_shown())
            return
        key = self._shown_text(stream)
        here = [finding for finding in stream["findings"] if finding["of"] == key]
        self._text.show(
            None if key is None else f"{self.view} {stream['key']} {key}",
            None if key is None else stream["texts"][key],
            here,
            running=stream["outcome"] == "running",
            nothing="This stream has no text.",
        )

    def _draw_findings(self) -> None:
        stream = self.stream
        found = [] if stream is None else stream["findings"][::-1]
        rows = self._findings
        rows.chosen = self._text.current
        rows.set([finding["n"] for finding in found], found)
        self._heads["found-head"].renew()

    def _draw_messages(self) -> None:
        state, stream = self.state, self.stream
        told = [] if state is None else state["messages"][::-1]
        if self._only_this and self.view == "live":
            key = None if stream is None else stream["key"]
            told = [message for message in told if message["key"] == key]
        self._messages.set([message["n"] for message in told], told)
        self._heads["told-head"].renew()

    def _beat(self) -> None:
        """Draw what moves by itself."""
        if self.view == "live" and self.live is not None:
            self._news("totals")
            stream = self.stream
            if stream is not None and stream["outcome"] == "running":
                self._news("figures")

    def _nothing_shown(self) -> str:
        if self.view == "replay":
            if self._loading is not None:
                return f"Reading {self._loading}"
            if self.replay is not None:
                return "Before the first event."
            return "Choose a recording." if self._recordings else self._nothing_listed()
        if self.live is None:
            return "Waiting for the feed."
        if self._keys["live"] is not None:
            return "This stream is not kept any more."
        return "Choose a stream." if self.live["streams"] else "No stream has come yet."

    def _nothing_listed(self) -> str:
        if self.view == "replay":
            return "none such" if self._recordings else "no recordings"
        return "none such" if self.live is not None and self.live["streams"] else "none yet"

    def _nothing_found(self) -> str:
        return "nothing was found"

    # What the parts show

    def _paint_totals(self, width: int) -> list[Strip]:
        now_s = self.now_s if self.view == "live" else 0.0
        strip = panels.totals(
            self.live, now_s, width, self.palette, link=self._link_state, missed=self._missed
        )
        return [strip]

    def _paint_list_head(self, width: int) -> list[Strip]:
        palette = self.palette
        line = Line(width)
        if self.view == "live":
            every = 0 if self.live is None else len(self.live["streams"])
            listed = len(self._list.keys)
            count = f"{listed:,}" if listed == every else f"{listed:,} of {every:,}"
            line.put("Streams ", palette.strong).put(count, palette.text)
            which = "" if self._filter == "all" else f" {self._filter}"
            line.put(f"{which}, {self._sort}", palette.quiet)
        else:
            line.put("Recordings ", palette.strong)
            line.put(f"{len(self._list.keys):,}", palette.text)
        return [line.strip(Style.null())]

    def _paint_stream(self, item: Fields, width: int) -> Line:
        return panels.stream_row(item, width, self.palette)

    def _paint_recording(self, item: Fields, width: int) -> Line:
        return panels.recording_row(item, width, self.palette)

    def _paint_about(self, width: int) -> list[Strip]:
        palette, stream, state = self.palette, self.stream, self.state
        self._texts = []
        second = Line(width)
        if stream is None or state is None:
            name = self.replay.told["name"] if self.view == "replay" and self.replay else ""
            return [Line(width).put(name, palette.strong).strip(Style.null()), second.strip()]
        live = self.view == "live"
        first = panels.about(stream, state, self.now_s, width, palette, live=live)
        words = " following" if self._text.follow else " stays here, f follows"
        second.end(words, palette.quiet if self._text.follow else palette.accent)
        chosen = self._shown_text(stream)
        for key in stream["texts"]:
            label = (key[:-1] if key.endswith("/") else key).replace("_", " ")
            left = width - second.room
            style = palette.accent if key == chosen else palette.quiet
            begun = second.room
            second.put(f"{'▸' if key == chosen else ' '}{label} ", style)
            self._texts.append((left, left + begun - second.room, key))
        return [first, second.strip(Style.null())]

    def _paint_figures(self, width: int) -> list[Strip]:
        stream = self.stream
        if stream is None:
            return []
        return panels.figures(stream, self.now_s, width, self.palette)

    def _paint_found_head(self, width: int) -> list[Strip]:
        stream = self.stream
        found = [] if stream is None else stream["findings"]
        kept = len(found)
        # Counts are told less often than what they count.
        count = found[-1]["n"] + 1 if found else 0
        line = Line(width).put("Findings ", self.palette.strong)
        line.put(f"{count:,}" if count else "", self.palette.text)
        if count > kept:
            line.put(f", the last {kept:,}", self.palette.quiet)
        return [line.strip(Style.null())]

    def _paint_told_head(self, width: int) -> list[Strip]:
        line = Line(width).put("Messages ", self.palette.strong)
        if self._only_this and self.view == "live":
            line.put("of this stream", self.palette.quiet)
        return [line.strip(Style.null())]

    def _paint_finding(self, item: Fields, width: int) -> Line:
        return panels.finding_row(item, width, self.palette)

    def _paint_message(self, item: Fields, width: int) -> Line:
        live = self.view == "live"
        state = self.state or {"streams": {}, "began_s": 0.0}
        named = live and not self._only_this
        return panels.message_row(item, state, width, self.palette, live=live, named=named)


@contextmanager
def _no_color(plain: bool) -> Iterator[None]:
    """Say so where Textual asks, for as long as it asks: there, the empty value counts too."""
    before = os.environ.pop("NO_COLOR", None)
    if plain:
        os.environ["NO_COLOR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("NO_COLOR", None)
        if before is not None:
            os.environ["NO_COLOR"] = before
