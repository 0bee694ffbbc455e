"""`TerminalApp`: the dashboard, on Textual."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

try:
    from textual.app import App, ComposeResult, SystemCommand
    from textual.binding import Binding, BindingType
    from textual.containers import Horizontal, Vertical
    from textual.screen import Screen
    from textual.widgets import Footer, Input
except ModuleNotFoundError as missing:
    if missing.name != "textual":
        raise
    raise ModuleNotFoundError(
        'the dashboard in a terminal needs textual: pip install "midstream[ui]"',
        name=missing.name,
    ) from missing

from rich.style import Style
from textual import events
from textual.strip import Strip

from midstream._core.errors import MidstreamError
from midstream.apps.feed import apply
from midstream.apps.terminal import panels
from midstream.apps.terminal.cells import Line, shown
from midstream.apps.terminal.help import Help
from midstream.apps.terminal.links import Link
from midstream.apps.terminal.palette import THEMES, Palette, palette_of
from midstream.apps.terminal.replay import Replay
from midstream.apps.terminal.scrubber import Scrubber
from midstream.apps.terminal.style import CSS
from midstream.apps.terminal.textpane import TextPane
from midstream.apps.terminal.views import Heading, Lines, Rows, Sheet
from midstream.apps.terminal.words import FILTERS, SORTS, arranged

__all__ = ["TerminalApp"]

Fields = dict[str, Any]

#: What has changed is drawn at most so often.
_PAINT_S = 0.1
#: How often what moves by itself is drawn.
_BEAT_S = 1.0
_NARROW = 100
_SHORT = 32
_PARTS = frozenset(("list", "totals", "stream", "figures", "findings", "messages"))
_REPLAY_ACTIONS = frozenset(("play", "step", "seek", "edge", "speed"))


class TerminalApp(App[None]):
    """A dashboard over a feed, and over recordings.

    Parameters
    ----------
    link : Link
        Where frames and recordings come from.
    color : bool, default True
        Without, no colours are written; ``NO_COLOR`` in the environment says the same.
    first : str, default "live"
        What is shown at first, ``"live"`` or ``"replay"``.
    on_ready : callable, optional
        Called when it can be seen.
    **named
        As of `textual.app.App`.

    Attributes
    ----------
    live : dict or None
        State of the feed.
    replay : Replay or None
        The recording that is looked at.
    view : str
        ``"live"`` or ``"replay"``.
    paints : int
        How often something was drawn.

    Raises
    ------
    ImportError
        The extra ``ui`` is not installed.

    Notes
    -----
    With a thousand events a second it is drawn ten times a second. In one event loop.
    """

    TITLE = "midstream"
    CSS = CSS
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("slash", "find", "Find", key_display="/"),
        Binding("n", "finding(1)", "Next finding"),
        Binding("p", "finding(-1)", "Previous", show=False),
        Binding("j", "row(1)", "Next", show=False),
        Binding("k", "row(-1)", "Previous", show=False),
        Binding("t", "text(1)", "Text"),
        Binding("f", "follow", "Follow", show=False),
        Binding("o", "filter", "Which"),
        Binding("s", "sort", "Order"),
        Binding("m", "only_this", "This stream's messages", show=False),
        Binding("v", "figures", "Figures"),
        Binding("b", "bottom", "Messages"),
        Binding("r", "view('replay')", "Recordings"),
        Binding("l", "view('live')", "Live"),
        Binding("d", "colours", "Colours", show=False),
        Binding("space", "play", "Play"),
        Binding("comma", "step(-1)", "Back", show=False),
        Binding("full_stop", "step(1)", "Step", show=False),
        Binding("left", "seek(-1)", "Back", show=False),
        Binding("right", "seek(1)", "On", show=False),
        Binding("shift+left", "seek(-10)", "Back", show=False),
        Binding("shift+right", "seek(10)", "On", show=False),
        Binding("minus", "speed(-1)", "Slower", show=False),
        Binding("plus,equals_sign", "speed(1)", "Faster", show=False),
        Binding("g", "edge(-1)", "Start", show=False),
        Binding("G,shift+g", "edge(1)", "End", show=False),
    ]

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
        self._dirty: set[str] = set(_PARTS)
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
                yield Rows(self._paint_row, self._nothing_listed, id="list")
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
        yield Footer()

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
        self._player = self.set_interval(_PAINT_S, self._play_on, pause=True)
        self.run_worker(self._read(), name="feed", exit_on_error=True)
        self._fit_parts()
        if self._first != self.view:
            self.run_worker(self.show_view(self._first))
        if self._on_ready is not None:
            self.call_after_refresh(self._on_ready)

    def _first_theme(self) -> str:
        if self._few_colours:
            return "terminal"
        background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
        return "light" if background in ("7", "15") else "dark"

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
        self._news(*_PARTS)

    def on_resize(self, event: events.Resize) -> None:
        """Fewer parts where there is less room."""
        self._fit_parts(event.size.width, event.size.height)

    def _fit_parts(self, width: int | None = None, height: int | None = None) -> None:
        screen = self.screen_stack[0] if self.screen_stack else None
        if screen is None or not self._set_up:
            return
        width = self.size.width if width is None else width
        height = self.size.height if height is None else height
        screen.set_class(width < _NARROW, "-narrow")
        screen.set_class(height < _SHORT, "-short")
        screen.set_class(self.view == "replay", "-replay")
        self.refresh_bindings()
        self._news(*_PARTS)

    # Frames

    async def _read(self) -> None:
        try:
            async for fields in self._link.frames(self._link_told):
                self.take(fields)
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
                self._news(*_PARTS)
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
            wait = self._painted_s + _PAINT_S - loop.time()
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
            rows.set([stream["key"] for stream in found], found)
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
            rows.set([one["name"] for one in listed], listed)
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

    def _paint_row(self, item: Fields, width: int) -> Line:
        if self.view == "live":
            return panels.stream_row(item, width, self.palette)
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
        count = 0 if stream is None else stream["counts"]["findings"]
        line = Line(width).put("Findings ", self.palette.strong)
        line.put(f"{count:,}" if count else "", self.palette.text)
        kept = 0 if stream is None else len(stream["findings"])
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
        state = self.state
        assert state is not None
        live = self.view == "live"
        named = live and not self._only_this
        return panels.message_row(item, state, width, self.palette, live=live, named=named)

    # Choosing

    async def on_rows_chosen(self, chosen: Rows.Chosen) -> None:
        """Show what was chosen."""
        if chosen.rows is self._list:
            if self.view == "replay":
                await self.open_recording(str(chosen.key))
            else:
                self.show_stream(str(chosen.key))
        elif chosen.rows is self._findings:
            self._go(int(str(chosen.key)))
        elif self.view == "live" and self.live is not None:
            message = next((m for m in self.live["messages"] if m["n"] == chosen.key), None)
            if message is not None and message["key"] in self.live["streams"]:
                self.show_stream(message["key"])

    def show_stream(self, key: str) -> None:
        """Show another stream of the feed."""
        if key == self._keys["live"] and self.view == "live":
            return
        self._keys["live"] = key
        self._text_key = None
        self._text.follow = True
        self._figures.top = 0
        self._list.choose(key)
        self._news(*_PARTS)

    def on_text_pane_marked(self, marked: TextPane.Marked) -> None:
        """Go to the finding that was clicked."""
        self._go(marked.n)

    def on_text_pane_left(self) -> None:
        """Say whether the end is followed."""
        self._heads["about"].renew()

    def on_heading_pressed(self, pressed: Heading.Pressed) -> None:
        """Another text, another order, another place of the recording."""
        heading = pressed.heading
        if heading.id == "about":
            for left, right, key in self._texts:
                if left <= pressed.x < right:
                    self._show_text(key)
        elif heading.id == "list-head" and self.view == "live":
            self.action_sort()
        elif heading is self._scrubber:
            t_s = self._scrubber.time_at(pressed.x)
            if t_s is not None:
                self._still(lambda replay: replay.seek_time(t_s))

    def _show_text(self, key: str) -> None:
        self._text_key = key
        self._text.follow = True
        self._news("stream")

    def _go(self, n: int) -> None:
        """Show a finding in its text."""
        stream = self.stream
        finding = next((f for f in (stream or {"findings": ()})["findings"] if f["n"] == n), None)
        if stream is None or finding is None:
            return
        if finding["of"] in stream["texts"]:
            self._text_key = finding["of"]
            self._text.follow = False
            self._draw_text()
            if not self._text.go(n):
                self._say("this part of the text is not kept any more")
        else:
            self._text.go(n)
            self._say("it is of no text that is kept")
        self._findings.choose(n)
        self._heads["about"].renew()

    def _say(self, words: str) -> None:
        self.notify(shown(words), markup=False, timeout=3)

    # Recordings

    async def show_view(self, view: str) -> None:
        """Show live streams, or recordings."""
        if view == self.view:
            return
        if view == "replay" and not self._link.has_recordings:
            self._say("there are no recordings: midstream dash --recordings FOLDER")
            return
        self.view = view
        if self.replay is not None:
            self._pause()
        self._text_key = None
        self._text.follow = True
        self._list.top = 0
        self._fit_parts()
        self.refresh_bindings()
        if view == "replay":
            try:
                self._recordings = await self._link.recordings()
            except (MidstreamError, OSError) as error:
                self._say(f"the recordings could not be read: {error}")
        self._news(*_PARTS)

    async def open_recording(self, name: str) -> None:
        """Show a recording, from its start."""
        if name == self._keys["replay"] and self.replay is not None:
            return
        self._keys["replay"] = name
        self._loading = name
        self.replay = None
        self._news(*_PARTS)
        self.run_worker(self._load(name), group="recording", exclusive=True)

    async def _load(self, name: str) -> None:
        try:
            lines = await self._link.recording(name)
            replay = await asyncio.to_thread(Replay, lines)
        except (MidstreamError, OSError) as error:
            self._loading = None
            self._keys["replay"] = None
            self._say(f"{name}: {error}")
        else:
            self._loading = None
            self.replay = replay
            self._text_key = None
            self._text.follow = True
            for problem in replay.told["problems"][:2]:
                self._say(problem)
        self._news(*_PARTS)

    def _play_on(self) -> None:
        replay = self.replay
        if replay is None or not replay.playing or self.view != "replay":
            self._player.pause()
            return
        now_s = time.monotonic()
        replay.let_pass(now_s - self._played_s)
        self._played_s = now_s
        self._news(*_PARTS - {"list", "totals"})

    def _pause(self) -> None:
        if self.replay is not None:
            self.replay.playing = False
        self._player.pause()

    def _still(self, change: Any) -> None:
        if self.replay is not None:
            self._pause()
            change(self.replay)
            self._text.follow = True
            self._news(*_PARTS - {"list", "totals"})

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that do something here."""
        replay = self.view == "replay"
        if action in _REPLAY_ACTIONS:
            return replay
        if action == "view":
            if parameters == ("replay",):
                return not replay and self._link.has_recordings
            return replay
        if action in ("filter", "only_this"):
            return not replay
        if action in ("figures", "bottom"):
            return self.size.width < _NARROW
        return True

    async def action_view(self, view: str) -> None:
        """Live streams, or recordings."""
        await self.show_view(view)

    def action_help(self) -> None:
        """Say which keys do what."""
        self.push_screen(Help(self.palette))

    def action_find(self) -> None:
        """Find streams by words."""
        self._search.add_class("-open")
        self._search.focus()

    def on_input_changed(self) -> None:
        """List what is found."""
        self._news("list")

    def on_input_submitted(self) -> None:
        """To the list."""
        self._search.set_class(bool(self._search.value), "-open")
        self._list.focus()

    def on_key(self, event: events.Key) -> None:
        """Leave the search."""
        if event.key == "escape" and self._search.has_focus:
            event.stop()
            self._search.value = ""
            self._search.remove_class("-open")
            self._list.focus()

    def action_row(self, by: int) -> None:
        """Another stream, or recording."""
        self._list.action_move(by)

    def action_filter(self) -> None:
        """List other streams."""
        self._filter = _after(FILTERS, self._filter)
        self._news("list")

    def action_sort(self) -> None:
        """List them in another order."""
        self._sort = _after(SORTS, self._sort)
        self._news("list")

    def action_text(self, by: int) -> None:
        """Another text of the stream."""
        stream = self.stream
        if stream is None or not stream["texts"]:
            return
        keys = list(stream["texts"])
        chosen = self._shown_text(stream)
        self._show_text(keys[(keys.index(chosen or keys[0]) + by) % len(keys)])

    def action_follow(self) -> None:
        """Follow the end of the text, or stay."""
        self._text.follow = not self._text.follow
        self._heads["about"].renew()
        self._news("stream")

    def action_only_this(self) -> None:
        """Messages of this stream, or of all."""
        self._only_this = not self._only_this
        self._news("messages")

    def action_figures(self) -> None:
        """Figures in place of the text, where there is room for one of them."""
        self.screen_stack[0].toggle_class("-figures")
        self._news(*_PARTS)

    def action_bottom(self) -> None:
        """Messages in place of findings, where there is room for one of them."""
        self.screen_stack[0].toggle_class("-messages")
        self._news(*_PARTS)

    def action_colours(self) -> None:
        """Other colours."""
        if self._few_colours:
            self._say("this terminal has no other colours")
            return
        names = [theme.name for theme in THEMES]
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]

    def action_finding(self, by: int) -> None:
        """Go to the next finding, or the one before."""
        stream = self.stream
        if self.view == "replay" and self.replay is not None:
            self._pause()
            if not self.replay.finding(by):
                self._say("no further finding" if by > 0 else "no finding before")
            stream = self.replay.stream
            self._draw_text()
            self._draw_findings()
            self._news(*_PARTS - {"list", "totals"})
            if stream is not None and stream["findings"]:
                self._go(stream["findings"][-1]["n"])
            return
        numbers = [] if stream is None else [finding["n"] for finding in stream["findings"]]
        if not numbers:
            self._say("nothing was found")
            return
        current = self._text.current
        if current in numbers:
            at = max(0, min(len(numbers) - 1, numbers.index(current) + by))
        else:
            at = 0 if by > 0 else len(numbers) - 1
        self._go(numbers[at])

    def action_play(self) -> None:
        """Play, or pause."""
        replay = self.replay
        if replay is None:
            return
        if replay.playing:
            self._pause()
        else:
            replay.play()
            self._text.follow = True
            self._played_s = time.monotonic()
            self._player.resume()
        self._news(*_PARTS - {"list", "totals"})

    def action_step(self, by: int) -> None:
        """One frame on, or back."""
        self._still(lambda replay: replay.step(by))

    def action_seek(self, by: int) -> None:
        """So many hundredths on, or back."""

        def seek(replay: Replay) -> None:
            replay.seek_time(replay.time_s + by * max(replay.duration_s / 100, 0.1))

        self._still(seek)

    def action_edge(self, by: int) -> None:
        """To its start, or its end."""
        self._still(lambda replay: replay.seek(0 if by < 0 else len(replay)))

    def action_speed(self, by: int) -> None:
        """Faster, or slower."""
        if self.replay is not None:
            self.replay.faster(by)
            self._scrubber.show(self.replay)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        yield from super().get_system_commands(screen)
        commands: list[tuple[str, str, Any]] = [
            ("Help", "Which keys do what", self.action_help),
            ("Find", "Find streams by words", self.action_find),
            ("Next finding", "Go to it in its text", lambda: self.action_finding(1)),
            ("Previous finding", "Go to it in its text", lambda: self.action_finding(-1)),
            ("Which streams", "List others", self.action_filter),
            ("Order", "List streams in another order", self.action_sort),
            ("Next text", "Answer, reasoning, tool calls", lambda: self.action_text(1)),
            ("Follow", "Follow the end of the text, or stay", self.action_follow),
            ("Messages of this stream", "Or of all", self.action_only_this),
            ("Colours", "Dark, light, the terminal's own", self.action_colours),
        ]
        if self._link.has_recordings:
            other = "live" if self.view == "replay" else "replay"
            title = "Live streams" if other == "live" else "Recordings"
            commands.append((title, "Look at them", lambda: self.action_view(other)))
        for title, words, action in commands:
            yield SystemCommand(title, words, action)


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


def _after(names: Iterable[str], name: str) -> str:
    """The next one of some names, after the last the first."""
    listed = list(names)
    return listed[(listed.index(name) + 1) % len(listed)]
