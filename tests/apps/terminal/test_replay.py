"""Recordings in the dashboard: the state at any place, and what the scrubber's keys do."""

from __future__ import annotations

import asyncio
import shutil

import pytest

pytest.importorskip("textual", reason="the dashboard in a terminal needs the extra 'ui'")

from apps.terminal.looking import looking, press, said, settled, toasts, until

from midstream.apps.feed import Feed, apply
from midstream.apps.feed.replays import frames_of
from midstream.apps.feed.states import copy_state
from midstream.apps.terminal import Replay
from midstream.apps.terminal.replay import SPEEDS
from midstream.apps.terminal.scrubber import Scrubber
from midstream.errors import RecordingError
from midstream.stream import shipped_recordings
from midstream.stream.recording import read_recording

LOOP = shipped_recordings()["loop-02"]


@pytest.fixture(scope="module")
def lines():
    return list(frames_of(read_recording(LOOP), "loop-02"))


def state_at(lines, position):
    state = copy_state(lines[1])
    for frame in lines[2 : position + 2]:
        apply(state, frame)
    return state


def test_the_state_is_the_same_whichever_way_it_was_reached(lines):
    replay = Replay(lines)
    last = len(replay)
    assert last > 256
    for position in (5, 200, 130, 127, 128, 129, last, 0, last - 1, 1, 256, 300, 2):
        replay.seek(position)
        assert replay.position == position
        assert replay.state == state_at(lines, position), position
    replay.seek(-5)
    assert replay.position == 0
    replay.seek(10**6)
    assert replay.ended
    replay.step(-1)
    assert replay.state == state_at(lines, last - 1)


def test_times_and_findings(lines):
    replay = Replay(lines)
    marks = lines[0]["marks"]
    assert not replay.finding(-1)
    for mark in marks:
        assert replay.finding(1)
        assert replay.at >= mark["at"]
    assert not replay.finding(1)
    assert replay.finding(-1)
    assert replay.position == replay.places[0]
    replay.seek_time(marks[0]["t_s"] / 2)
    assert replay.time_s == marks[0]["t_s"] / 2
    assert replay.stream["findings"] == []
    replay.seek_time(1e9)
    assert replay.ended
    assert replay.time_s == replay.duration_s
    replay.seek_time(0.0)
    assert replay.position >= 0


def test_playing(lines):
    replay = Replay(lines)
    replay.faster(1)
    assert replay.speed == 2.0
    replay.play()
    replay.let_pass(replay.duration_s / 4)
    assert replay.time_s == pytest.approx(replay.duration_s / 2)
    assert replay.playing
    replay.let_pass(replay.duration_s)
    assert replay.ended
    assert not replay.playing
    replay.play()
    assert replay.position == 0
    for _ in range(20):
        replay.faster(1)
    assert replay.speed == SPEEDS[-1]
    for _ in range(20):
        replay.faster(-1)
    assert replay.speed == SPEEDS[0]


@pytest.mark.parametrize("broken", [[], [{}], [{"type": "frame"}, {}]])
def test_what_is_no_recording(broken):
    with pytest.raises(RecordingError, match="no frames"):
        Replay(broken)


@pytest.fixture
def folder(tmp_path):
    shutil.copy(LOOP, tmp_path / "a-tale.jsonl")
    shutil.copy(shipped_recordings()["healthy-03"], tmp_path / "healthy.jsonl")
    return tmp_path


async def test_a_recording_is_gone_through(folder):
    feed = Feed()
    async with looking(feed, recordings=folder) as (app, pilot):
        feed.open("live one")
        feed.flush()
        await until(app, pilot, lambda: "live one" in said(app))
        await press(app, pilot, "r")
        await until(app, pilot, lambda: "a-tale.jsonl" in said(app))
        assert "Recordings 2" in said(app)
        assert "Choose a recording" in said(app)
        await press(app, pilot, "space", "full_stop", "n")  # nothing to play
        await press(app, pilot, "slash", *"tale", "enter")
        await press(app, pilot, "j")
        await until(app, pilot, lambda: app.replay is not None)
        replay = app.replay
        assert "0/" in said(app)
        await press(app, pilot, *["full_stop"] * 3)
        assert replay.position == 3
        assert "Once upon" in said(app)
        await press(app, pilot, "comma")
        assert replay.position == 2
        await press(app, pilot, "n")
        assert replay.position == replay.places[0]
        assert "Findings 1" in said(app)
        await press(app, pilot, "n", "n")
        assert replay.position == replay.places[1]
        await until(app, pilot, lambda: "no further finding" in toasts(app))
        await press(app, pilot, "p")
        assert replay.position == replay.places[0]
        await press(app, pilot, "G")
        assert replay.ended
        assert f"a-tale.jsonl  {app.stream['outcome']}" in said(app)
        await press(app, pilot, "left")
        assert replay.time_s < replay.duration_s
        await press(app, pilot, "shift+left", "right", "shift+right", "g")
        assert replay.position == 0
        assert "Before the first event" in said(app)
        scrubber = app.query_one(Scrubber)
        await pilot.click(scrubber, offset=(scrubber._left + scrubber._track // 2, 1))
        await settled(app, pilot)
        assert replay.time_s == pytest.approx(replay.duration_s / 2, rel=0.05)
        await press(app, pilot, "plus", "plus", "minus")
        assert replay.speed == 2.0
        assert "2x" in said(app)
        await press(app, pilot, "v", "b", "o", "t", "f")
        await press(app, pilot, "l")
        assert "live one" in said(app)
        await press(app, pilot, "r")
        assert "a-tale.jsonl" in said(app)


async def test_it_plays_to_its_end(folder):
    async with looking(recordings=folder, first="replay", size=(80, 24)) as (app, pilot):
        await until(app, pilot, lambda: len(app._recordings) == 2)
        await press(app, pilot, "s", "s", "s", "s")
        await press(app, pilot, "j")
        await until(app, pilot, lambda: app.replay is not None)
        assert app.replay.told["name"] == "a-tale.jsonl"
        slowest, fastest = ["minus"] * len(SPEEDS), ["plus"] * len(SPEEDS)
        await press(app, pilot, *slowest, "space")
        assert app.replay.playing
        await press(app, pilot, "space")
        assert not app.replay.playing
        await press(app, pilot, *fastest, "space")
        await until(app, pilot, lambda: app.replay.ended)
        assert not app.replay.playing
        await press(app, pilot, *slowest, "space")
        assert app.replay.playing
        assert app.replay.position < len(app.replay)


async def test_recordings_that_cannot_be_read(folder, tmp_path):
    (tmp_path / "broken.jsonl").write_text("no recording", "utf-8")
    async with looking(recordings=folder, first="replay") as (app, pilot):
        await until(app, pilot, lambda: len(app._recordings) == 3)
        await app.open_recording("broken.jsonl")
        await until(app, pilot, lambda: any("broken.jsonl: " in told for told in toasts(app)))
        (tmp_path / "healthy.jsonl").unlink()
        await app.open_recording("healthy.jsonl")
        await until(app, pilot, lambda: any("healthy.jsonl" in told for told in toasts(app)))
        await app.open_recording("a-tale.jsonl")
        await until(app, pilot, lambda: app.replay is not None)


async def test_without_a_folder():
    async with looking() as (app, pilot):
        await app.show_view("replay")
        await until(app, pilot, lambda: any("no recordings" in told for told in toasts(app)))
        assert app.view == "live"
        await press(app, pilot, "r", "space", "g")
        await asyncio.sleep(0)
