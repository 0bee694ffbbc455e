"""Whatever a stream or its names say, it is text: no markup, no escape, no broken line."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("textual", reason="the dashboard in a terminal needs the extra 'ui'")

from apps.terminal.looking import lines_of, looking, press, said, settled, until

from midstream.apps.feed import Feed
from midstream.stream import Event, Finding, Recorder, RecordingsFolder

HOSTILE = [
    "[bold red]loud[/bold red]",
    "[link=file:///etc/passwd]x[/link] [@click=app.quit]quit[/]",
    "[/]",
    "[[[",
    "\\[escaped]",
    "\x1b[2J\x1b]0;title\x07\x1b[31m",
    "\x9b31m\x90q\x9c",
    "a\rb\x08c\x00d\x7f",
    "\u202eevil\u2066x\u2069\u200f",
    "e" + "\u0301" * 200,
    "\u0301leading",
    "👩🏽\u200d💻🇬🇧❤\ufe0f",
    "日本語の長いテキスト" * 20,
    "\ud800lone",
    "\U000e0041\u115f\u3164\ufeff",
    "x" * 5000,
    "$variable ${x} {y} %s",
    "",
]


def event(kind, seq, words, **more):
    return Event(kind, seq, seq * 1000, words, **{"stream_id": "0", **more})


def fill(feed, words):
    """A stream that says it in every field."""
    stream = feed.open(words, labels={words[:70] + "label": words})
    stream.event(event("text", 0, f"{words} {words}\n{words}" * 3, stream_id=words or "0"))
    stream.event(event("tool_call", 1, words, name=words or "f", call_id="c", stream_id=words))
    stream.event(event("error", 2, words, name=words or None))
    stream.event(event("audio", 3, "", data={"level_dbfs": words, "frame": words}))
    stream.event(event("video", 4, "", data={"brightness": 0.5, "size": [words, 3]}))
    of = {"channel": "text", "stream_id": words or "0", words[:60] + "e": words}
    for n, severity in enumerate((words or "odd", "stop")):
        stream.finding(Finding(words or "k", severity, n, n, 1, 4, words or "m", of))
    stream.verdict(words or "p", words or "v")
    stream.verdict(words or "p", "violated")
    stream.regime(words or "r", attractor=words, confidence=0.5, points=[(0, 1), (1, 2)])
    stream.close(words or "odd", words)
    return stream


@pytest.mark.parametrize("size", [(130, 60), (80, 24)])
async def test_hostile_words_in_every_field(size):
    feed = Feed()
    async with looking(feed, size=size) as (app, pilot):
        for words in HOSTILE:
            fill(feed, words)
        feed.flush()
        await until(app, pilot, lambda: len(app.live["streams"]) == len(HOSTILE))
        seen = ""
        for _ in HOSTILE:
            seen += said(app)
            if size[0] < 100:
                await press(app, pilot, "v")
                seen += said(app)
                await press(app, pilot, "v")
            await press(app, pilot, "n", "j")
        for words in ("[bold red]loud[/bold red]", "[@click=app.quit]", "\\x1b[2J", "\\u202eevil"):
            assert words in seen, words
        assert app.is_running


async def test_hostile_words_are_found_and_told():
    feed = Feed()
    async with looking(feed, notifications=True) as (app, pilot):
        fill(feed, "[bold]x[/bold]")
        feed.flush()
        await until(app, pilot, lambda: len(app.live["streams"]) == 1)
        await press(app, pilot, "slash", *"[bold]", "enter")
        assert len(app.query_one("#list").keys) == 1
        app._say("[red]\x1b[2J[/]")
        await until(app, pilot, lambda: "[red]\\x1b[2J[/]" in said(app))


async def test_a_word_of_a_million_characters():
    feed = Feed(max_text_chars=1 << 21)
    async with looking(feed) as (app, pilot):
        stream = feed.open("w" * 200)
        for words in ("x" * (1 << 20), " ", "語" * 100_000, "\x1b" * 50_000):
            stream.event(event("text", 0, words))
            feed.flush()
            await asyncio.sleep(0)
        await until(app, pilot, lambda: app.query_one("#text")._text.endswith("\x1b"))
        lines_of(app)
        app.query_one("#text").focus()
        await press(app, pilot, "home", "pagedown", "end", "pageup")
        await pilot.resize_terminal(90, 30)
        await settled(app, pilot)
        lines_of(app)


async def test_hostile_recordings(tmp_path):
    for number, words in enumerate(HOSTILE):
        with Recorder(tmp_path / f"r{number}.jsonl", source=words.replace("\ud800", "?")) as into:
            into.write(event("text", 0, words))
    hard = tmp_path / "[red]\u202e\u0301.jsonl"
    hard.write_text((tmp_path / "r0.jsonl").read_text("utf-8"), "utf-8")
    (tmp_path / "[bold]broken.jsonl").write_text("[bold]\x1b no recording", "utf-8")
    folder = RecordingsFolder(tmp_path)
    async with looking(recordings=folder, first="replay") as (app, pilot):
        await until(app, pilot, lambda: len(app._recordings) >= len(HOSTILE))
        rows = app.query_one("#list")
        for name in list(rows.keys):
            await app.open_recording(name)
            await until(app, pilot, lambda: app._loading is None)
            await press(app, pilot, "G", "n", "p")
            lines_of(app)
        assert app.is_running
