"""`TerminalApp`: the dashboard, on Textual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from midstream._core.errors import MidstreamError
from midstream.apps.terminal.board import NARROW, PAINT_S, PARTS, PLAYED, Board
from midstream.apps.terminal.cells import shown
from midstream.apps.terminal.help import Help
from midstream.apps.terminal.palette import THEMES
from midstream.apps.terminal.replay import Replay
from midstream.apps.terminal.textpane import TextPane
from midstream.apps.terminal.views import Heading, Rows
from midstream.apps.terminal.words import FILTERS, SORTS

__all__ = ["TerminalApp"]

_REPLAY_ACTIONS = frozenset(("play", "step", "seek", "edge", "speed"))


class TerminalApp(Board):
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

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("slash", "find", "Find", key_display="/"),
        Binding("n", "finding(1)", "Found"),
        Binding("space", "play", "Play"),
        Binding("p", "finding(-1)", "Previous", show=False),
        Binding("j", "row(1)", "Next", show=False),
        Binding("k", "row(-1)", "Previous", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("m", "only_this", "This stream's messages", show=False),
        Binding("v", "figures", "Figures"),
        Binding("b", "bottom", "News"),
        Binding("r", "view('replay')", "Replay"),
        Binding("l", "view('live')", "Live"),
        Binding("t", "text(1)", "Text"),
        Binding("o", "filter", "Which"),
        Binding("s", "sort", "Order"),
        Binding("d", "colours", "Colours", show=False),
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

    def set_up(self) -> None:
        """Begin with what is to be shown first."""
        self._player = self.set_interval(PAINT_S, self._play_on, pause=True)
        if self._first != self.view:
            self.run_worker(self.show_view(self._first))

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
        self._news(*PARTS)

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
        self._news(*PARTS)

    async def open_recording(self, name: str) -> None:
        """Show a recording, from its start."""
        if name == self._keys["replay"] and self.replay is not None:
            return
        self._keys["replay"] = name
        self._loading = name
        self.replay = None
        self._news(*PARTS)
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
        self._news(*PARTS)

    def _play_on(self) -> None:
        replay = self.replay
        if replay is None or not replay.playing or self.view != "replay":
            self._player.pause()
            return
        now_s = time.monotonic()
        replay.let_pass(now_s - self._played_s)
        self._played_s = now_s
        self._news(*PLAYED)

    def _pause(self) -> None:
        if self.replay is not None:
            self.replay.playing = False
        self._player.pause()

    def _still(self, change: Callable[[Replay], object]) -> None:
        if self.replay is not None:
            self._pause()
            change(self.replay)
            self._text.follow = True
            self._news(*PLAYED)

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
            return self.size.width < NARROW
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
        if "list" in self._dirty:  # a key before has changed it
            self._draw_list()
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
        self._news(*PARTS)

    def action_bottom(self) -> None:
        """Messages in place of findings, where there is room for one of them."""
        self.screen_stack[0].toggle_class("-messages")
        self._news(*PARTS)

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
            self._news(*PLAYED)
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
        self._news(*PLAYED)

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


def _after(names: Iterable[str], name: str) -> str:
    """The next one of some names, after the last the first."""
    listed = list(names)
    return listed[(listed.index(name) + 1) % len(listed)]
