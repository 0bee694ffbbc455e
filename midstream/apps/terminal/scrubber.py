"""Where a recording stands: its findings at their times, and a place to click."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from midstream.apps.terminal.cells import Line
from midstream.apps.terminal.replay import Replay
from midstream.apps.terminal.views import Heading
from midstream.apps.terminal.words import SEVERITIES, seconds, severity_of, short

__all__ = ["Scrubber"]

_SIGNS = {"note": "╵", "warn": "▵", "block": "▲", "stop": "■"}


class Scrubber(Heading):
    """Two lines: findings, and how far it has gone."""

    def __init__(self, **named: object) -> None:
        super().__init__(self._paint_lines, **named)
        self._replay: Replay | None = None
        self._left = 0
        self._track = 0

    def show(self, replay: Replay | None) -> None:
        """Show where it stands."""
        self._replay = replay
        self.renew()

    def time_at(self, x: int) -> float | None:
        """Seconds of the recording at a column."""
        if self._replay is None or self._track < 2:
            return None
        part = max(0.0, min(1.0, (x - self._left) / (self._track - 1)))
        return part * self._replay.duration_s

    def _paint_lines(self, width: int) -> list[Strip]:
        replay, palette = self._replay, self.palette
        if replay is None:
            return [Strip([]), Line(width).put("no recording", palette.quiet).strip()]
        line = Line(width)
        line.put(" ▮▮ " if replay.playing else " ▶  ", palette.key)
        line.put(f"{short(replay.speed)}x ".rjust(7), palette.text)
        line.put(f"{seconds(replay.time_s):>9} ", palette.strong)
        line.end(f" {replay.at:,}/{replay.told['events']:,} events ", palette.quiet)
        line.end(f" {seconds(replay.duration_s)}", palette.quiet)
        self._left, self._track = width - line.room, 0
        before = 4 + 7 + max(len(seconds(replay.time_s)), 9) + 1
        self._left = before
        track = self._track = max(line.room, 0)
        duration = replay.duration_s or 1.0
        at = round(replay.time_s / duration * (track - 1)) if track > 1 else 0
        if track:
            line.put("━" * at, palette.accent).put("●", palette.key)
            line.put("─" * (track - at - 1), palette.line)
        return [self._ticks(before, track, duration), line.strip(Style.null())]

    def _ticks(self, before: int, track: int, duration: float) -> Strip:
        assert self._replay is not None
        worst: dict[int, int] = {}
        for mark in self._replay.told["marks"]:
            column = round(min(mark["t_s"] / duration, 1.0) * (track - 1)) if track > 1 else 0
            rank = SEVERITIES.index(severity_of(mark["severity"]))
            worst[column] = max(worst.get(column, 0), rank)
        segments = [Segment(" " * before)]
        done = 0
        for column in sorted(worst) if track else ():
            severity = SEVERITIES[worst[column]]
            segments.append(Segment(" " * (column - done)))
            segments.append(Segment(_SIGNS[severity], self.palette.severities[severity]))
            done = column + 1
        return Strip(segments)
