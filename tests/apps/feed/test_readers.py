"""Readers of a feed: nothing twice, nothing lost, and nobody waits for another."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from midstream.apps.feed import Feed, Frame, apply
from midstream.errors import SourceError
from midstream.stream import Event, Policy, replay, shipped_recordings


async def read_all(feed: Feed, **options: Any) -> list[Frame]:
    with feed.subscribe(**options) as frames:
        return [frame async for frame in frames]


async def test_frames_come_by_themselves_and_not_too_often() -> None:
    feed = Feed(frames_per_s=100)
    reading = asyncio.create_task(read_all(feed))
    stream = feed.open("one")
    for number in range(200):
        stream.event(Event("text", number, number, "word "))
        await asyncio.sleep(0.001)
    feed.close()
    frames = await reading
    assert [frame.id for frame in frames] == list(range(feed.id + 1))
    loop_s = frames[-1].fields["t_s"] - frames[0].fields["t_s"]
    assert len(frames) <= loop_s * 100 + 4
    state: dict[str, Any] = {}
    for frame in frames:
        apply(state, frame.fields)
    assert state == feed.snapshot().fields
    assert state["streams"]["s1"]["texts"]["text/"]["text"] == "word " * 200
    assert feed.readers == 0


async def test_rates_fall_to_zero_when_nothing_comes() -> None:
    feed = Feed(frames_per_s=100)
    stream = feed.open("one")
    for number in range(50):
        stream.event(Event("text", number, number, "word "))
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        frames = feed.subscribe()
        rates = []
        async for frame in frames:
            told = frame.fields.get("streams") or frame.fields.get("changed", {})
            one = told.get("s1", {})
            rate = one.get("set", one).get("rate")
            if rate is not None:
                rates.append(rate["events_per_s"])
                if rates[-1] == 0 and max(rates) > 0:
                    break
    assert max(rates) > 10
    # And then the feed is at rest: no timer, no frame.
    async with asyncio.timeout(10):
        while feed._timer is not None:
            await asyncio.sleep(0.05)
    before = feed.id
    await asyncio.sleep(0.6)
    assert feed.id == before


async def test_a_slow_reader_gets_a_snapshot_and_is_told_what_it_missed() -> None:
    feed = Feed(frames_per_s=1000, keep_frames=8)
    slow = feed.subscribe()
    fast = feed.subscribe()
    first = await anext(slow)
    assert first.is_snapshot and first.missed == 0
    await anext(fast)
    stream = feed.open("one")
    seen = []
    for number in range(30):
        stream.event(Event("text", number, number, f"{number} "))
        feed.flush()
        seen.append((await anext(fast)).id)
    assert seen == list(range(1, 31))
    assert fast.missed == 0
    late = await anext(slow)
    assert late.is_snapshot
    assert late.missed == slow.missed == 30
    assert late.id == 30
    assert late.fields["streams"]["s1"]["texts"]["text/"]["text"].endswith("29 ")
    stream.event(Event("text", 30, 30, "30 "))
    feed.flush()
    assert (await anext(slow)).id == 31


async def test_readers_that_come_back_get_what_they_missed_if_it_is_kept() -> None:
    feed = Feed(keep_frames=4)
    stream = feed.open("one")
    for number in range(10):
        stream.event(Event("text", number, number, "x"))
        feed.flush()
    known = feed.subscribe(after=7)
    assert [(await anext(known)).id for _ in range(3)] == [8, 9, 10]
    assert known.missed == 0
    gone = await anext(feed.subscribe(after=3))
    assert gone.is_snapshot
    assert gone.missed == 7
    none = feed.subscribe(after=10)
    assert none.poll() is None
    for after in (11, -1):
        other = await anext(feed.subscribe(after=after))
        assert other.is_snapshot
        assert other.missed == 0
    impatient = feed.subscribe(after=7, max_frames=2)
    frame = await anext(impatient)
    assert (frame.is_snapshot, frame.missed) == (True, 3)


async def test_frames_are_encoded_once_for_all() -> None:
    feed = Feed()
    feed.open("one")
    first, second = feed.subscribe(), feed.subscribe(after=0)
    assert (await anext(first)).data is (await anext(feed.subscribe())).data
    feed.flush()
    one, other = await anext(first), await anext(second)
    assert one is other


async def test_five_hundred_readers() -> None:
    feed = Feed(frames_per_s=1000)
    reading = [asyncio.create_task(read_all(feed)) for _ in range(500)]
    await asyncio.sleep(0)
    assert feed.readers == 500
    stream = feed.open("one")
    for number in range(20):
        stream.event(Event("text", number, number, "x"))
        feed.flush()
        await asyncio.sleep(0)
    feed.close()
    for frames in await asyncio.gather(*reading):
        ids = [frame.id for frame in frames]
        assert ids == list(range(ids[0], feed.id + 1))
    assert feed.readers == 0


async def test_a_reader_that_is_cancelled_leaves_the_others() -> None:
    feed = Feed()
    kept = feed.subscribe()
    await anext(kept)
    waiting = asyncio.create_task(read_all(feed))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert feed.readers == 1
    feed.open("one")
    assert (await anext(kept)).id == 1
    kept.close()
    kept.close()
    assert kept.poll() is None
    assert feed.readers == 0


async def test_a_recording_is_followed_to_its_stop() -> None:
    feed = Feed()
    report = await feed.follow(replay(shipped_recordings()["loop-02"]), "a tale")
    told = feed.snapshot().fields
    stream = told["streams"]["s1"]
    assert report.outcome == stream["outcome"] == "stopped"
    finding = stream["findings"][0]
    assert finding["kind"] == "loop"
    assert finding["of"] in stream["texts"]
    text = stream["texts"][finding["of"]]
    assert 0 <= finding["start"] < finding["end"] <= text["start"] + len(text["text"])
    assert stream["regime"]["of"] == finding["of"]
    assert stream["portrait"]
    closing = told["messages"][-1]
    assert closing["kind"] == "close"
    assert closing["text"].startswith(" Once upon")


async def test_policies_say_how_they_stand() -> None:
    calls = [
        Event("text", 0, 0, "I will."),
        Event("tool_call", 1, 1, '{"table": 1}', "drop_table", None, "0/0", "c1"),
        Event("end", 2, 2, "tool_calls"),
    ]
    policies = [
        Policy("no drops", "G !drop", {"drop": {"tool": "drop_*"}}),
        Policy("asks", "F ask", {"ask": {"tool": "ask_*"}}, action="warn"),
    ]
    feed = Feed()
    report = await feed.follow(calls, "an agent", policies=policies, labels={"model": "m"})
    stream = feed.snapshot().fields["streams"]["s1"]
    verdicts = {name: one["verdict"] for name, one in stream["verdicts"].items()}
    # The denied call was not answered yet, so the run may go on, and ask.
    assert verdicts == {"no drops": "violated", "asks": "owed"}
    assert report.outcome == "ended"
    assert [finding["evidence"]["rule"] for finding in stream["findings"]] == ["no drops"]


async def test_a_source_that_fails_is_told_and_not_raised() -> None:
    async def source() -> AsyncIterator[Event]:
        yield Event("text", 0, 0, "So far")
        raise SourceError("the line is dead")

    feed = Feed()
    report = await feed.follow(source(), "broken")
    stream = feed.snapshot().fields["streams"]["s1"]
    assert report.outcome == stream["outcome"] == "failed"
    assert "the line is dead" in stream["error"]


async def test_a_detector_that_fails_is_raised_and_the_stream_closed() -> None:
    class Broken:
        def observe(self, event: Event, gap_ns: int = 0) -> tuple[()]:
            raise ZeroDivisionError

        def finish(self) -> tuple[()]:
            return ()

    feed = Feed()
    with pytest.raises(ZeroDivisionError):
        await feed.follow(["text"], "broken", detectors=[Broken()])
    assert feed.snapshot().fields["streams"]["s1"]["outcome"] == "failed"


async def test_following_ends_with_its_task() -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "word "
            await asyncio.sleep(0.001)

    feed = Feed()
    task = asyncio.create_task(feed.follow(endless(), "endless", detectors=()))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert feed.snapshot().fields["streams"]["s1"]["outcome"] == "closed"


async def test_frames_that_are_kept_for_long_say_the_same() -> None:
    feed = Feed()
    stream = feed.open("Grüße \ud800")
    feed.flush()
    fresh = []
    for number in range(50):
        stream.event(Event("text", number, number, f"é {number} 😀"))
        frame = feed.flush()
        assert frame is not None
        fresh.append((frame.id, copy.deepcopy(frame.fields)))
    late = feed.subscribe(after=1)
    kept = [await anext(late) for _ in range(50)]
    assert [(frame.id, frame.fields) for frame in kept] == fresh
    assert [json.loads(frame.data) for frame in kept] == [fields for _, fields in fresh]
    assert not any(frame.is_snapshot for frame in kept)
    assert repr(kept[0]) == "<Frame 2>"


async def test_frames_that_take_long_come_less_often() -> None:
    feed = Feed(frames_per_s=1000)
    stream = feed.open("slow", poll=lambda: time.sleep(0.02))
    frames = feed.subscribe()
    stream.event(Event("text", 0, 0, "a"))
    async with asyncio.timeout(20):
        while "changed" not in (await anext(frames)).fields:
            pass
    assert feed._pause_s >= 0.1
