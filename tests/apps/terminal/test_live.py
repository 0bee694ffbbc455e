"""The dashboard over a live feed, without a terminal: what is shown, and what keys do."""

from __future__ import annotations

import asyncio
import shutil

import pytest

pytest.importorskip("textual", reason="the dashboard in a terminal needs the extra 'ui'")

from apps.terminal.looking import lines_of, looking, press, said, settled, toasts, until
from textual.widgets import Input

from midstream.apps.feed import Feed
from midstream.apps.terminal.textpane import TextPane
from midstream.apps.terminal.views import Lines, Rows
from midstream.stream import Event, Finding, replay, shipped_recordings

LOOP = shipped_recordings()["loop-02"]


def text(words, seq=0, stream_id="0", kind="text"):
    return Event(kind, seq, seq * 1_000_000, words, None, None, stream_id)


def finding(n, start, end, *, severity="warn", message="found", of="text", kind="loop"):
    evidence = {"channel": of, "stream_id": "0"}
    return Finding(kind, severity, n, n * 1_000_000, start, end, message, evidence)


def chosen(app):
    return app.query_one("#list", Rows).chosen


def listed(app):
    return app.query_one("#list", Rows).keys


async def test_a_stream_is_shown_with_what_is_found():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        assert "no stream has come yet" in said(app).lower()
        report = await feed.follow(replay(LOOP, speed=None), "a tale", labels={"model": "small"})
        await until(app, pilot, lambda: app.live["totals"]["findings"] == 2)
        shown = said(app)
        for words in ("a tale", "stopped", "model: small", "Once upon a time", "1 stop 1 warn"):
            assert words in shown, words
        assert report.findings[-1].message[:30] in shown
        assert "0 open of 1" in shown
        pane = app.query_one(TextPane)
        begin, end = report.findings[-1].start, report.findings[-1].end
        drawn = [segment for strip in pane._drawn for segment in strip]
        marked = [segment.text for segment in drawn if is_marked(segment, app)]
        words = feed.state["streams"]["s1"]["texts"]["text/0"]["text"][begin:end]
        assert "".join("".join(marked).split()) in "".join(words.split())
        assert marked


def is_marked(segment, app):
    marks = {style.bgcolor for style in app.palette.marks.values()}
    return segment.style is not None and segment.style.bgcolor in marks


async def test_figures():
    feed = Feed()
    async with looking(feed, size=(130, 60)) as (app, pilot):
        stream = feed.open("one")
        stream.verdict("no shouting", "holds")
        stream.verdict("answers", "owed")
        stream.verdict("answers", "violated")
        stream.event(Event("audio", 0, 0, data={"level_dbfs": -12.5, "frame": 3}))
        stream.event(
            Event("video", 1, 9, data={"brightness": 0.5, "size": [640, 480], "black": False})
        )
        stream.regime("periodic", attractor="limit_cycle", confidence=0.9, points=[(0, 1), (1, 0)])
        for seq in range(40):
            stream.event(text("word ", seq + 2))
        feed.flush()
        await until(app, pilot, lambda: app.live["streams"]["s1"]["counts"]["events"] == 42)
        shown = said(app)
        for words in (
            "events/s", "p99", "goes in circles", "limit cycle", "confidence 0.9", "◆",
            "violated", "no shouting", "-12.5 dBFS", "640 x 480", "0.5 bright", "text events 40",
        ):  # fmt: skip
            assert words in shown, words


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (10, 4)])
async def test_every_size(size):
    feed = Feed()
    async with looking(feed, size=size) as (app, pilot):
        await feed.follow(replay(LOOP, speed=None), "a tale")
        await until(app, pilot, lambda: app.live["totals"]["closed"] == 1)
        lines_of(app)
        for width, height in ((30, 10), (250, 70), size):
            await pilot.resize_terminal(width, height)
            await settled(app, pilot)
            assert len(lines_of(app)) == height
        if size[0] >= 40:
            assert "a tale" in said(app)


async def test_a_small_window_has_all_of_it():
    feed = Feed()
    async with looking(feed, size=(80, 24)) as (app, pilot):
        await feed.follow(replay(LOOP, speed=None), "a tale")
        await until(app, pilot, lambda: app.live["totals"]["closed"] == 1)
        assert "Findings 2" in said(app)
        assert "Latency" not in said(app)
        await press(app, pilot, "v")
        assert "Latency" in said(app)
        await press(app, pilot, "v", "b")
        assert "Messages" in said(app)
        assert "Findings 2" not in said(app)
        await press(app, pilot, "b")
        assert "Findings 2" in said(app)


async def test_findings_are_gone_to():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        await press(app, pilot, "n")
        await until(app, pilot, lambda: "nothing was found" in toasts(app))
        stream = feed.open("one")
        stream.event(text("first line\n" * 500))
        stream.event(text("thought\n" * 300, 1, kind="reasoning"))
        stream.finding(finding(0, 22, 32, severity="note"))
        stream.finding(finding(1, 2200, 2210, severity="block"))
        stream.finding(finding(2, 800, 807, severity="stop", of="reasoning"))
        feed.flush()
        await until(app, pilot, lambda: len(app.live["streams"]["s1"]["findings"]) == 3)
        pane = app.query_one(TextPane)
        tops = []
        for keys in ("n", "n", "n", "n", "p"):
            await press(app, pilot, keys)
            assert not pane.follow
            tops.append((pane.current, app._shown_text(app.stream)))
            begin, *_ = next(span for span in pane._spans if span[3] == pane.current)
            line = pane.layout_of_text.line_at(begin)
            assert pane.top <= line < pane.top + pane.room.height
            assert app.query_one("#findings", Rows).chosen == pane.current
        answer, thought = "text/0", "reasoning/0"
        assert tops == [(0, answer), (1, answer), (2, thought), (2, thought), (1, answer)]
        await press(app, pilot, "f")
        assert pane.top == pane.most_top
        # The list of findings does the same, and a mark that is clicked.
        app.query_one("#findings", Rows).focus()
        await press(app, pilot, "home")
        assert pane.current == 2
        await press(app, pilot, "down", "down")
        assert pane.current == 0
        await press(app, pilot, "n")
        line = pane.layout_of_text.line_at(2200) - pane.top
        await pilot.click(pane, offset=(3, line))
        await settled(app, pilot)
        assert pane.current == 1


async def test_streams_are_chosen_searched_sorted():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        for number in range(200):
            stream = feed.open(f"stream {number}", labels={"model": f"m{number % 3}"})
            stream.event(text(f"text of {number}"))
            if number % 10 == 0:
                stream.finding(finding(0, 0, 4))
            if number % 50 == 0:
                stream.close("failed", "it broke")
        feed.flush()
        await until(app, pilot, lambda: len(listed(app)) == 200)
        assert chosen(app) == "s200"
        assert "text of 199" in said(app)
        await press(app, pilot, "j", "j")
        assert chosen(app) == "s198"
        await press(app, pilot, "k")
        assert "text of 198" in said(app)
        await press(app, pilot, "end")
        assert chosen(app) == "s1"
        assert "text of 0" in said(app)
        assert "it broke" in said(app)
        await press(app, pilot, "pageup", "home")
        assert chosen(app) == "s200"
        await press(app, pilot, "o", "o")
        assert len(listed(app)) == 20
        await press(app, pilot, "o", "o")
        assert len(listed(app)) == 4
        await press(app, pilot, "o")
        assert len(listed(app)) == 4
        await press(app, pilot, "o", "s", "s", "s", "s")
        assert listed(app)[:2] == ["s1", "s2"]
        await press(app, pilot, "slash", *"m1 9", "enter")
        assert app.query_one(Input).value == "m1 9"
        wanted = [f"s{n + 1}" for n in range(200) if n % 3 == 1 and "9" in f"{n} {n + 1}"]
        assert sorted(listed(app)) == sorted(wanted)
        assert app.focused is app.query_one("#list")
        await press(app, pilot, "slash", *"zzz")
        assert listed(app) == []
        assert "none such" in said(app)
        await press(app, pilot, "escape")
        assert len(listed(app)) == 200
        # By mouse, too.
        await pilot.click(app.query_one("#list"), offset=(4, 3))
        await settled(app, pilot)
        assert chosen(app) == listed(app)[3]


async def test_a_text_grows_and_is_left_and_followed():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        stream = feed.open("one")
        pane = app.query_one(TextPane)
        for seq in range(100):
            stream.event(text(f"line {seq}\n", seq))
        feed.flush()
        await until(app, pilot, lambda: "line 99" in said(app))
        pane.focus()
        await press(app, pilot, "home")
        assert not pane.follow
        assert "line 0" in said(app)
        assert "f follows" in said(app)
        stream.event(text("the last\n", 100))
        feed.flush()
        await until(app, pilot, lambda: pane._text.endswith("last\n"))
        assert "the last" not in said(app)
        await press(app, pilot, "end")
        assert pane.follow
        assert "the last" in said(app)
        pane.scrolled(-5)
        assert not pane.follow
        await press(app, pilot, "f")
        assert "the last" in said(app)


async def test_texts_are_switched_and_messages_chosen():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        one, two = feed.open("one"), feed.open("two")
        one.event(text("the answer"))
        one.event(text("a thought", 1, kind="reasoning"))
        two.event(text("of two"))
        feed.flush()
        await until(app, pilot, lambda: len(listed(app)) == 2)
        await press(app, pilot, "j")
        assert "the answer" in said(app)
        await press(app, pilot, "t")
        assert "a thought" in said(app)
        await press(app, pilot, "t")
        assert "the answer" in said(app)
        left = next(span[0] for span in app._texts if span[2] == "reasoning/0")
        await pilot.click("#about", offset=(left + 2, 1))
        await settled(app, pilot)
        assert "a thought" in said(app)
        messages = app.query_one("#messages", Rows)
        assert len(messages.keys) == 2
        await press(app, pilot, "m")
        assert len(messages.keys) == 1
        await press(app, pilot, "m")
        messages.focus()
        await press(app, pilot, "home", "enter")
        assert chosen(app) == "s2"


async def test_help_colours_commands_and_leaving():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        feed.open("one").event(text("some words"))
        feed.flush()
        await until(app, pilot, lambda: "some words" in said(app))
        await pilot.press("question_mark")
        await pilot.pause()
        assert "next and previous finding" in said(app)
        await pilot.press("escape")
        await pilot.pause()
        themes = []
        for _ in range(3):
            await press(app, pilot, "d")
            themes.append(app.theme)
            assert "some words" in said(app)
        assert themes == ["light", "terminal", "dark"]
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"previous find")
        await pilot.pause(0.3)
        await pilot.press("enter")
        async with asyncio.timeout(10):
            while "nothing was found" not in toasts(app):
                await pilot.pause(0.05)
        await press(app, pilot, *["tab"] * 7)
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running


@pytest.mark.parametrize(
    ("variables", "theme"),
    [
        ({}, "dark"),
        ({"COLORFGBG": "0;15"}, "light"),
        ({"COLORTERM": None}, "dark"),
        ({"TERM": "xterm", "COLORTERM": None}, "terminal"),
        ({"NO_COLOR": "1"}, "terminal"),
        ({"NO_COLOR": ""}, "dark"),
    ],
)
async def test_themes_of_terminals(variables, theme):
    feed = Feed()
    async with looking(feed, variables=variables) as (app, pilot):
        assert app.theme == theme
        await feed.follow(replay(LOOP, speed=None), "a tale")
        await until(app, pilot, lambda: app.live["totals"]["closed"] == 1)
        strips = app.screen._compositor.render_strips()
        segments = [segment for strip in strips for segment in strip if segment.style]
        colours = {segment.style.bgcolor for segment in segments}
        colours |= {segment.style.color for segment in segments}
        if theme == "terminal":
            await press(app, pilot, "d")
            assert app.theme == "terminal"
            assert all(colour is None or colour.number is None or colour.number < 16
                       for colour in colours)  # fmt: skip
            # A mark is seen where there are no colours.
            marked = [segment for strip in app.query_one(TextPane)._drawn for segment in strip
                      if segment.style and segment.style.reverse]  # fmt: skip
            assert marked
        if variables.get("NO_COLOR"):
            assert app.no_color


async def test_only_what_differs_is_drawn():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        stream = feed.open("one")
        stream.event(text("some words"))
        feed.flush()
        await until(app, pilot, lambda: "some words" in said(app))
        drawn = []
        for lines in app.query(Lines):
            lines.refresh = lambda *regions, lines=lines, **_: drawn.append((lines.id, regions))
        pane = app.query_one(TextPane)
        pane.repaint()
        assert drawn == []
        stream.event(text(" and more", 1))
        feed.flush(figures=False)
        await until(app, pilot, lambda: "more" in pane._text)
        here = [regions for name, regions in drawn if name == "text"]
        assert [[region.height for region in regions] for regions in here] == [[1]]


async def test_a_feed_that_ends_and_one_with_no_news():
    feed = Feed()
    async with looking(feed) as (app, pilot):
        feed.open("one").event(text("some words"))
        feed.flush()
        await until(app, pilot, lambda: "some words" in said(app))
        paints = app.paints
        await asyncio.sleep(0.3)
        assert app.paints - paints <= 2
        feed.close()
        await until(app, pilot, lambda: "the feed is over" in said(app))
        assert "closed" in said(app)
        await press(app, pilot, "j", "n", "f")


async def test_streams_that_are_evicted():
    feed = Feed(max_streams=3)
    async with looking(feed) as (app, pilot):
        first = feed.open("first")
        first.event(text("words of the first"))
        feed.flush()
        await until(app, pilot, lambda: "words of the first" in said(app))
        first.close()
        for number in range(5):
            feed.open(f"later {number}").event(text(f"later words {number}"))
            feed.flush()
        await until(app, pilot, lambda: len(listed(app)) == 3)
        assert "is not kept any more" in said(app)
        await press(app, pilot, "j")
        assert "later words" in said(app)


async def test_a_reader_that_was_behind_is_told_so():
    feed = Feed(keep_frames=5)
    async with looking(feed) as (app, pilot):
        stream = feed.open("one")
        feed.flush()
        await until(app, pilot, lambda: len(listed(app)) == 1)
        for seq in range(50):
            stream.event(text(f"{seq} ", seq))
            feed.flush()
        await until(app, pilot, lambda: "49" in (app.query_one(TextPane)._text or ""))
        assert "frames missed" in said(app)
        assert "0 1 2 3" in said(app)


async def test_no_name_of_textuals_own_is_taken():
    # One that was, whether its queue runs, kept a text that does not grow from being drawn.
    feed = Feed()
    feed.open("pictures").event(text("", kind="video"), 0)
    async with looking(feed) as (app, pilot):
        await until(app, pilot, lambda: app.live["streams"])
        pane = app.query_one(TextPane)
        assert pane.is_running
        assert "This stream has no text." in said(app)


async def test_one_finding_is_not_findings():
    feed = Feed()
    stream = feed.open("one")
    stream.event(text("again again"), 0)
    stream.finding(finding(0, 0, 5))
    async with looking(feed) as (app, pilot):
        await until(app, pilot, lambda: app.live["totals"]["findings"] == 1)
        assert "  1 finding " in said(app)


@pytest.mark.parametrize("view", ["live", "replay"])
async def test_all_keys_of_the_bar_stand_in_eighty_columns(view, tmp_path):
    shutil.copy(LOOP, tmp_path / "tale.jsonl")
    async with looking(Feed(), size=(80, 24), recordings=tmp_path) as (app, pilot):
        if view == "replay":
            await press(app, pilot, "r")
        await until(app, pilot, lambda: app.view == view)
        await until(app, pilot, lambda: lines_of(app)[-1].rstrip().endswith("s Order"))
        words = ["space Play", "l Live"] if view == "replay" else ["r Replay", "o Which"]
        for each in ("q Quit", "? Help", "v Figures", *words):
            assert each in lines_of(app)[-1]
