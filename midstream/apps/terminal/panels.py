"""What the parts of the dashboard say: lines, of a state of the feed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from midstream._core.words import counted
from midstream.apps.feed.states import Fields
from midstream.apps.terminal import pictures
from midstream.apps.terminal.cells import Line
from midstream.apps.terminal.palette import Palette
from midstream.apps.terminal.words import (
    REGIMES,
    SEVERITIES,
    VERDICTS,
    clock,
    milliseconds,
    seconds,
    severity_of,
    short,
    size,
)

__all__ = [
    "about",
    "figures",
    "finding_row",
    "message_row",
    "recording_row",
    "stream_row",
    "totals",
]


_SIGNS = {"running": "●", "stopped": "■", "failed": "✗"}
_BADGES = {"note": "note ", "warn": "warn ", "block": "block", "stop": "stop "}
_RATE_SPAN_S = 60.0
_TOTAL_SPAN_S = 120.0
_PORTRAIT_LINES = 7
_UNITS = {
    "level_dbfs": ("level", " dBFS"),
    "peak_dbfs": ("peak", " dBFS"),
    "silent_s": ("silent for", " s"),
    "pts_s": ("at", " s"),
    "frozen_s": ("frozen for", " s"),
    "loop_period_frames": ("repeats after", " frames"),
}
#: Quieter than this is shown as nothing.
_FLOOR_DBFS = -60.0


def stream_row(stream: Fields, width: int, palette: Palette) -> Line:
    """A stream in the list."""
    outcome = stream["outcome"]
    style = palette.outcomes.get(outcome, palette.quiet)
    line = Line(width)
    found = stream["counts"]["findings"]
    if found:
        worst = severity_of(stream["findings"][-1]["severity"]) if stream["findings"] else "note"
        line.end(f" {found:,}", palette.severities[worst])
    if outcome == "running":
        line.end(f" {short(round(stream['rate']['events_per_s']))}/s", palette.quiet)
    else:
        line.end(f" {outcome}", style, most=12)
    line.put(_SIGNS.get(outcome, "○") + " ", style)
    return line.put(stream["name"] or stream["key"], palette.text)


def recording_row(recording: Fields, width: int, palette: Palette) -> Line:
    """A recording in the list."""
    line = Line(width).end(f" {size(int(recording['bytes']))}", palette.quiet)
    if width >= 60:
        line.end(f" {str(recording['written'])[:16].replace('T', ' ')}", palette.quiet)
    return line.put(str(recording["name"]), palette.text)


def finding_row(finding: Fields, width: int, palette: Palette) -> Line:
    """A finding in the list."""
    severity = severity_of(finding["severity"])
    line = Line(width)
    if width >= 56:
        where = seconds(finding["t_s"])
        if finding["of"] is not None:
            where = f"{finding['start']}-{finding['end']}, {where}"
        line.end(f"  {where}", palette.quiet)
    line.put(_BADGES[severity], palette.severities[severity])
    line.put(f" {finding['kind']} ", palette.strong)
    return line.put(finding["message"], palette.text)


def message_row(
    message: Fields, state: Fields, width: int, palette: Palette, *, live: bool, named: bool
) -> Line:
    """A message in the list; `named` where it is not clear whose."""
    line = Line(width)
    t_s = message["t_s"]
    line.put((clock(state["began_s"], t_s) if live else seconds(t_s)) + " ", palette.quiet)
    stream = state["streams"].get(message["key"]) if named else None
    if stream is not None and message["kind"] != "open":
        line.put(stream["name"] or stream["key"], palette.text, most=16).put(" ", palette.text)
    line.put(message["kind"].replace("_", " ") + " ", palette.accent)
    if message["title"]:
        line.put(message["title"] + " ", palette.strong)
    return line.put(message["text"], palette.text)


def totals(
    state: Fields | None,
    now_s: float,
    width: int,
    palette: Palette,
    *,
    link: tuple[str, str],
    missed: int,
) -> Strip:
    """The line above all: what all streams do together."""
    line = Line(width)
    how, words = link
    style = {"open": palette.good, "over": palette.quiet}.get(how, palette.bad)
    if missed:
        words += f", {missed:,} frames missed"
    line.end(f" {words} ", style)
    line.put("midstream", palette.strong)
    if state is None:
        return line.put("  waiting for the feed", palette.quiet).strip(Style.null())
    told = state["totals"]
    gap = "  "
    line.put(f"{gap}{told['open']:,} open", palette.good if told["open"] else palette.quiet)
    line.put(f" of {told['opened']:,}", palette.quiet)
    line.put(f"{gap}{short(told['rate']['events_per_s'])} events/s ", palette.text)
    if line.room > 70:
        values = pictures.resampled(state["history"], now_s, _TOTAL_SPAN_S, 16)
        line.put(pictures.columns(values, 1)[0], palette.accent)
    latency = told["latency"]
    if line.room > 45:
        line.put(f"{gap}p50 {milliseconds(latency['p50_ms'])}", palette.text)
        line.put(f" p99 {milliseconds(latency['p99_ms'])}", palette.text)
    line.put(f"{gap}{counted(told['findings'], 'finding')}", palette.text)
    for severity in reversed(SEVERITIES):
        count = told["by_severity"].get(severity, 0)
        if count and line.room > 12:
            line.put(f" {count:,} {severity}", palette.severities[severity])
    return line.strip(Style.null())


def about(
    stream: Fields, state: Fields, now_s: float, width: int, palette: Palette, *, live: bool
) -> Strip:
    """The line above a stream's text."""
    outcome = stream["outcome"]
    line = Line(width)
    line.put(stream["name"] or stream["key"], palette.strong, most=max(width // 2, 20))
    line.put(f"  {outcome}", palette.outcomes.get(outcome, palette.quiet), most=20)
    if stream["error"]:
        line.put(f": {stream['error']}", palette.bad)
    for label, value in stream["labels"].items():
        line.put(f"  {label}: {value}", palette.quiet)
    if live:
        line.put(f"  since {clock(state['began_s'], stream['opened_s'])}", palette.quiet)
        until = now_s if stream["closed_s"] is None else stream["closed_s"]
        line.put(f", {seconds(max(until - stream['opened_s'], 0))}", palette.quiet)
    return line.strip(Style.null())


def figures(stream: Fields, now_s: float, width: int, palette: Palette) -> list[Strip]:
    """The panels beside a stream's text, one below the other."""
    parts: list[Iterable[Strip]] = [_rate(stream, now_s, width, palette)]
    if stream["audio"] or stream["video"]:
        parts.append(_media(stream, width, palette))
    parts += [
        _latency(stream["latency"], width, palette),
        _regime(stream, width, palette),
        _verdicts(stream["verdicts"], width, palette),
        _counts(stream["counts"], width, palette),
    ]
    return [strip for part in parts for strip in part]


def _title(text: str, width: int, palette: Palette, more: str = "") -> Strip:
    line = Line(width)
    line.put(text, palette.strong).put(f" {more}" if more else "", palette.quiet)
    return line.put(" " + "─" * max(line.room - 1, 0), palette.line).strip()


def _pairs(pairs: Sequence[tuple[str, str]], width: int, palette: Palette) -> list[Strip]:
    """Labels and values, two pairs a line where they have the room."""
    lines = []
    half = width // 2
    waiting: tuple[str, str] | None = None

    def pair(room: int, label: str, value: str) -> Line:
        return Line(room).put(f"{label} ", palette.quiet).put(value, palette.text)

    for label, value in pairs:
        if len(label) + len(value) + 2 > half:
            if waiting is not None:
                lines.append(pair(width, *waiting).strip())
                waiting = None
            lines.append(pair(width, label, value).strip())
        elif waiting is None:
            waiting = (label, value)
        else:
            left = pair(half, *waiting).strip(Style.null())
            lines.append(Strip([*left, *pair(width - half, label, value).strip()]))
            waiting = None
    if waiting is not None:
        lines.append(pair(width, *waiting).strip())
    return lines


def _rate(stream: Fields, now_s: float, width: int, palette: Palette) -> list[Strip]:
    rate = stream["rate"]
    span = max(10.0, min(_RATE_SPAN_S, now_s - stream["opened_s"]))
    values = pictures.resampled(stream["rates"], now_s, span, width)
    lines = [
        _title("Rate", width, palette, f"last {span:.0f} s, at most {short(max(values))}/s"),
        *(Strip([Segment(row, palette.accent)], width) for row in pictures.columns(values, 2)),
    ]
    line = Line(width).put(f"{short(rate['events_per_s'])} events/s", palette.text)
    line.put(f"  {short(rate['chars_per_s'])} characters/s", palette.quiet)
    return [*lines, line.strip()]


def _latency(latency: Fields, width: int, palette: Palette) -> list[Strip]:
    lines = [_title("Latency", width, palette, f"of {latency['n']:,} events")]
    for label, name in (
        ("first", "first_ms"),
        ("p50", "p50_ms"),
        ("p90", "p90_ms"),
        ("p99", "p99_ms"),
        ("longest", "max_ms"),
    ):
        value = latency[name]
        line = Line(width).put(f"{label:<8}", palette.quiet)
        line.put(f"{milliseconds(value):>8} ", palette.text)
        line.put(pictures.latency_bar(value, max(line.room, 0)), palette.accent)
        lines.append(line.strip())
    return lines


def _regime(stream: Fields, width: int, palette: Palette) -> list[Strip]:
    regime = stream["regime"]
    name = regime["name"]
    if name is None:
        words = "too little text yet" if regime["n"] else "no text yet"
        style = palette.quiet
    else:
        words = REGIMES.get(name, name)
        style = palette.good if name == "varied" else palette.severities["warn"]
    about = f"{regime['n']:,} phrases"
    if regime["confidence"]:
        about += f", confidence {short(regime['confidence'])}"
    lines = [_title("Regime", width, palette, about)]
    line = Line(width).put(words, style)
    if regime["attractor"] and regime["attractor"] != "unknown":
        line.put(f"  {regime['attractor'].replace('_', ' ')}", palette.quiet)
    lines.append(line.strip())
    if not stream["portrait"]:
        return lines
    drawn, ages, newest = pictures.portrait(stream["portrait"], max(width, 1), _PORTRAIT_LINES)
    styles = (palette.line, palette.quiet, palette.accent)
    for row, (text, age) in enumerate(zip(drawn, ages, strict=True)):
        segments: list[Segment] = []
        begun = 0
        for column in range(1, width + 1):
            if column == width or age[column] != age[begun]:
                segments.append(Segment(text[begun:column], styles[age[begun]]))
                begun = column
        strip = Strip(segments, width)
        if newest is not None and newest[1] == row:
            column = newest[0]
            strip = Strip(
                [
                    *strip.crop(0, column),
                    Segment("◆", palette.key),
                    *strip.crop(column + 1, width),
                ],
                width,
            )
        lines.append(strip)
    lines.append(Line(width).put("a phrase →, the next ↑, ◆ now", palette.quiet).strip())
    return lines


def _verdicts(verdicts: Fields, width: int, palette: Palette) -> list[Strip]:
    lines = [_title("Policies", width, palette)]
    for policy, verdict in verdicts.items():
        known = VERDICTS.get(verdict["verdict"], verdict["verdict"])
        line = Line(width)
        if verdict["changes"]:
            line.end(f" {verdict['changes']}x", palette.quiet)
        line.put(f"{known:<9} ", palette.verdicts.get(known, palette.quiet), most=12)
        lines.append(line.put(policy, palette.text).strip())
    if not verdicts:
        lines.append(Line(width).put("none are followed", palette.quiet).strip())
    return lines


def _counts(counts: Fields, width: int, palette: Palette) -> list[Strip]:
    pairs = [
        ("events", f"{counts['events']:,}"),
        ("characters", f"{counts['chars']:,}"),
        ("chunks", f"{counts['chunks']:,}"),
        ("tool calls", f"{counts['calls']:,}"),
        ("errors", f"{counts['errors']:,}"),
    ]
    pairs += [(f"{kind} events", f"{count:,}") for kind, count in counts["by_kind"].items()]
    usage = counts["usage"] or {}
    pairs += [(name.replace("_", " "), short(count)) for name, count in usage.items()]
    return [_title("Counts", width, palette), *_pairs(pairs, width, palette)]


def _media(stream: Fields, width: int, palette: Palette) -> list[Strip]:
    lines: list[Strip] = []
    levels = stream["levels"][-width:]
    audio, video = stream["audio"], stream["video"]
    if audio:
        level = _number(audio.get("level_dbfs"))
        lines.append(_title("Audio", width, palette))
        line = Line(width).put(f"{short(level):>6} dBFS ", palette.text)
        style = palette.bad if level is not None and level > -3 else palette.good
        lines.append(line.put(pictures.meter(_loudness(level), line.room), style).strip())
        heard = [_number(told[1]) for told in levels]
        lines += _course([_loudness(value) for value in heard], heard, width, palette)
        lines += _pairs(_facts(audio, "level_dbfs"), width, palette)
    if video:
        bright = _number(video.get("brightness"))
        lines.append(_title("Video", width, palette))
        line = Line(width).put(f"{short(bright):>6} bright ", palette.text)
        lines.append(line.put(pictures.meter(bright or 0.0, line.room), palette.accent).strip())
        seen = [_number(told[2]) for told in levels]
        lines += _course([value or 0.0 for value in seen], seen, width, palette)
        lines += _pairs(_facts(video, "brightness"), width, palette)
    return lines


def _number(value: Any) -> float | None:
    """What a media event said where a number should be: anybody makes them."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _loudness(level: float | None) -> float:
    """A level as a part of what is shown."""
    return 0.0 if level is None else max(0.0, (level - _FLOOR_DBFS) / -_FLOOR_DBFS)


def _course(
    heights: list[float], told: Sequence[float | None], width: int, palette: Palette
) -> list[Strip]:
    """Values over time, where there were any."""
    if all(value is None for value in told):
        return []
    row = pictures.columns(heights, 1, 1.0)[0]
    return [Line(width).put(row.rjust(width), palette.accent).strip()]


def _facts(told: Fields, apart: str) -> list[tuple[str, str]]:
    """What media events said, as labels and values."""
    pairs = []
    for name, value in told.items():
        if name == apart:
            continue
        label, unit = _UNITS.get(name, (name.replace("_", " "), ""))
        if value is None:
            words = "-"
        elif isinstance(value, bool):
            words = "yes" if value else "no"
        elif isinstance(value, (int, float)):
            words = short(value) + unit
        elif isinstance(value, list):
            words = " x ".join(map(str, value))
        else:
            words = str(value)
        pairs.append((label, words))
    return pairs
