"""The feed's state and its frames: the same for whoever reads, however much of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from midstream.apps.feed import Feed, FeedStream, Frame, apply
from midstream.apps.feed.streams import WEIGHTS
from midstream.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream.stream import Event, Finding
from midstream.stream.events import KINDS

WORDS = st.text(
    st.one_of(
        st.characters(codec=None), st.sampled_from("ab .,\n\ud800\udc00\ud83d\u202e\x1b<>&\x00😀")
    ),
    max_size=120,
)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20), st.floats(), st.booleans(), st.none(), WORDS, st.just([1, 2])
)
MEDIA = st.dictionaries(
    st.sampled_from(["level_dbfs", "brightness", "size", "frame", "black", "other"]), NUMBERS
)
NTH = st.integers(0, 5)
EVENTS = st.builds(
    Event,
    st.sampled_from(KINDS),
    st.integers(0, 1000),
    st.integers(0, 10**10),
    WORDS,
    st.one_of(st.none(), WORDS),
    st.one_of(st.none(), MEDIA, st.builds(lambda usage: {"usage": usage}, MEDIA)),
    st.one_of(st.sampled_from(["", "0", "1", "0/1"]), WORDS),
    st.one_of(st.none(), st.sampled_from(["a", "b"])),
)
FINDINGS = st.builds(
    Finding,
    st.one_of(st.just("loop"), WORDS),
    st.sampled_from(["note", "warn", "block", "stop"]),
    st.integers(0, 100),
    st.integers(0, 10**10),
    st.integers(0, 100),
    st.integers(0, 200),
    WORDS,
    st.dictionaries(WORDS, NUMBERS, max_size=5).map(
        lambda more: {"channel": "text", "stream_id": "0", **more}
    ),
)
STEPS = st.one_of(
    st.tuples(st.just("event"), NTH, EVENTS),
    st.tuples(st.just("event"), NTH, EVENTS),
    st.tuples(st.just("finding"), NTH, FINDINGS),
    st.tuples(st.just("verdict"), NTH, WORDS, st.sampled_from(["holds", "owed", "violated"])),
    st.tuples(st.just("regime"), NTH, WORDS, st.lists(st.tuples(st.floats(), st.floats()))),
    st.tuples(st.just("open"), WORDS, st.dictionaries(WORDS, WORDS, max_size=3)),
    st.tuples(st.just("close"), NTH, st.sampled_from(["ended", "failed"]), st.none() | WORDS),
    st.tuples(st.just("frame")),
    st.tuples(st.just("figures")),
    st.tuples(st.just("snapshot")),
)


def small() -> Feed:
    return Feed(max_streams=4, max_text_chars=64, max_total_chars=4096, keep_frames=8)


def do(feed: Feed, streams: list[FeedStream], step: tuple[Any, ...]) -> None:
    name, *arguments = step
    if name == "open":
        streams.append(feed.open(arguments[0], labels=arguments[1]))
    elif name == "frame":
        feed.flush(figures=False)
    elif name == "figures":
        feed.flush()
    elif name == "snapshot":
        feed.snapshot()
    elif streams:
        nth, *rest = arguments
        stream = streams[-1 - nth % len(streams)]
        if name == "regime":
            stream.regime(rest[0], points=rest[1])
        else:
            getattr(stream, name)(*rest)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(0, 60), st.integers(1, 9))
@example([("open", "\ud800\udc00", {}), ("open", "b", {})], 1, 1)  # in JSON one character
def test_frames_applied_to_an_older_snapshot_give_the_newest(
    steps: list[tuple[Any, ...]], when: int, most: int
) -> None:
    feed = small()
    streams: list[FeedStream] = []
    readers = [feed.subscribe()]
    states: list[dict[str, Any]] = [{}]
    lazy = feed.subscribe(max_frames=most)
    lazy_state: dict[str, Any] = {}
    frames: list[Frame] = []

    def read(frame: Frame, state: dict[str, Any]) -> None:
        before = json.dumps(frame.fields)
        apply(state, json.loads(frame.data))
        assert json.dumps(frame.fields) == before

    for number, step in enumerate(steps):
        if number == when:
            readers.append(feed.subscribe())
            states.append({})
        do(feed, streams, step)
        for reader, state in zip(readers, states, strict=True):
            while (frame := reader.poll()) is not None:
                frames += [frame] if reader is readers[0] else []
                read(frame, state)
        if number % 7 == 0:
            while (frame := lazy.poll()) is not None:
                read(frame, lazy_state)
    newest = feed.snapshot()
    for reader, state in zip([*readers, lazy], [*states, lazy_state], strict=True):
        while (frame := reader.poll()) is not None:
            frames += [frame] if reader is readers[0] else []
            read(frame, state)
        assert state == json.loads(newest.data)
        assert state == newest.fields
    assert [frame.id for frame in frames] == list(range(frames[0].id, newest.id + 1))
    assert [frame.is_snapshot for frame in frames] == [True, *[False] * (len(frames) - 1)]
    check_bounds(feed, newest.fields)


def check_bounds(feed: Feed, state: dict[str, Any]) -> None:
    streams = state["streams"].values()
    assert len(streams) <= 4
    assert len(state["messages"]) <= state["limits"]["messages"]
    kept = 0
    for stream in streams:
        assert len(stream["texts"]) <= 16
        for text in stream["texts"].values():
            assert len(text["text"]) <= 64
            assert "\ud800" not in text["text"]
            kept += len(text["text"])
        for name in ("findings", "rates", "levels", "portrait"):
            assert len(stream[name]) <= state["limits"][name]
    assert kept <= 4096
    weight = sum(one.weight for one in feed._streams.values())
    assert weight == feed._weight
    items = sum(len(stream[name]) * WEIGHTS[name] for stream in streams for name in WEIGHTS)
    assert weight == kept + items
    totals = state["totals"]
    if totals["opened"]:
        assert totals["open"] == sum(stream["outcome"] == "running" for stream in streams)
        assert totals["events"] == feed.n_events


def test_texts_are_whole_however_they_were_cut() -> None:
    feed = Feed()
    stream = feed.open("one")
    said = "Grüße 😀 an alle. " * 50
    for at, char in enumerate(said):
        stream.event(Event("text", at, at * 1000, char, None, None, "0"))
        if at % 7 == 0:
            feed.flush(figures=at % 2 == 0)
    told = feed.snapshot().fields["streams"]["s1"]
    assert told["texts"] == {"text/0": {"start": 0, "text": said}}
    assert told["counts"]["chars"] == len(said)
    assert told["portrait"]
    assert told["regime"]["of"] == "text/0"


@pytest.mark.parametrize("each", [1, 7, 64, 100, 1000, 100_000])
def test_the_end_of_a_long_text_stays_where_it_is(each: int) -> None:
    feed = Feed(max_text_chars=64)
    stream = feed.open("one")
    said = "".join(f"{number}," for number in range(20_000))
    for at in range(0, len(said), each):
        stream.event(Event("text", at, at, said[at : at + each]))
        if at % 3 == 0:
            feed.flush()
    text = feed.snapshot().fields["streams"]["s1"]["texts"]["text/"]
    assert text["start"] + len(text["text"]) == len(said)
    assert said[text["start"] :] == text["text"]
    assert 48 <= len(text["text"]) <= 64


def test_a_text_that_comes_back_goes_on_where_it_was() -> None:
    feed = Feed()
    stream = feed.open("many")
    stream.event(Event("text", 0, 0, "before", None, None, "first"))
    feed.flush()
    for number in range(30):
        stream.event(Event("text", 0, 0, "x", None, None, str(number)))
        if number % 4 == 0:
            feed.flush()
    texts = feed.snapshot().fields["streams"]["s1"]["texts"]
    assert len(texts) == 16
    assert "text/first" not in texts
    stream.event(Event("text", 0, 0, "after", None, None, "first"))
    texts = feed.snapshot().fields["streams"]["s1"]["texts"]
    assert texts["text/first"] == {"start": 6, "text": "after"}


def test_findings_say_where_they_are() -> None:
    feed = Feed()
    stream = feed.open("one")
    evidence = {"channel": "text", "stream_id": "0", "period": 4, "inner": [1], "share": 1e400}
    stream.finding(Finding("loop", "warn", 3, 2_500_000_000, 5, 20, "repeats", evidence))
    stream.finding(Finding("stall", "note", 4, 0, 0, 0, "silent"))
    told = feed.snapshot().fields
    assert told["streams"]["s1"]["findings"] == [
        {
            "n": 0,
            "kind": "loop",
            "severity": "warn",
            "seq": 3,
            "t_s": 2.5,
            "start": 5,
            "end": 20,
            "message": "repeats",
            "of": "text/0",
            "evidence": {"channel": "text", "stream_id": "0", "period": 4, "share": None},
        },
        {
            "n": 1,
            "kind": "stall",
            "severity": "note",
            "seq": 4,
            "t_s": 0.0,
            "start": 0,
            "end": 0,
            "message": "silent",
            "of": None,
            "evidence": {},
        },
    ]
    assert told["totals"]["by_severity"] == {"warn": 1, "note": 1}
    assert [row["title"] for row in told["messages"]] == ["one", "warn: loop", "note: stall"]


def test_verdicts_are_news_when_they_change() -> None:
    feed = Feed()
    stream = feed.open("one")
    stream.verdict("no drops", "holds")
    first = feed.flush()
    assert first is not None
    stream.verdict("no drops", "holds")
    assert feed.flush() is None
    stream.verdict("no drops", "owed")
    stream.verdict("no drops", "VIOLATED")
    told = feed.snapshot().fields
    verdict = told["streams"]["s1"]["verdicts"]["no drops"]
    assert (verdict["verdict"], verdict["changes"]) == ("violated", 2)
    assert [row["text"] for row in told["messages"]] == [
        "",
        "holds, now owed",
        "owed, now violated",
    ]
    for number in range(100):
        stream.verdict(f"rule {number}", "holds")
    assert len(feed.snapshot().fields["streams"]["s1"]["verdicts"]) == 64


def test_a_regime_from_outside_takes_the_place_of_the_texts() -> None:
    feed = Feed()
    stream = feed.open("one")
    stream.event(Event("text", 0, 0, "Look at the tea. It is there. " * 50))
    feed.flush()
    assert feed.state["streams"]["s1"]["regime"]["name"] == "periodic"
    assert len(feed.state["streams"]["s1"]["portrait"]) > 20
    stream.regime(
        "chaotic",
        attractor="strange",
        confidence=0.5,
        points=[(1, 2.5), (float("nan"), np.float32(3))],
    )
    stream.event(Event("text", 0, 0, "More. " * 50))
    told = feed.snapshot().fields["streams"]["s1"]
    assert told["portrait"] == [[1.0, 2.5], [None, 3.0]]
    assert (told["regime"]["name"], told["regime"]["of"]) == ("chaotic", None)


def test_the_answer_is_drawn_and_not_the_reasoning_before_it() -> None:
    feed = Feed()
    stream = feed.open("one")
    stream.event(Event("reasoning", 0, 0, "Think of this. And of that. " * 5))
    feed.flush()
    before = feed.state["streams"]["s1"]
    assert before["regime"]["of"] == "reasoning/"
    n_before = len(before["portrait"])
    assert n_before
    stream.event(Event("text", 1, 0, "Well. I would say. "))
    stream.event(Event("reasoning", 0, 0, "Think of this. And of that. " * 5))
    told = feed.snapshot().fields["streams"]["s1"]
    assert told["regime"]["of"] == "text/"
    assert 0 < len(told["portrait"]) < n_before


def test_media_are_shown_as_far_as_they_can_be() -> None:
    feed = Feed()
    stream = feed.open("one")
    stream.event(
        Event(
            "audio", 0, 0, "", None, {"level_dbfs": float("-inf"), "delta": "AAAA", "silent_s": 2}
        )
    )
    stream.event(Event("video", 1, 0, "", None, {"brightness": 0.5, "size": [640, 480], "x": 1}))
    told = feed.snapshot().fields["streams"]["s1"]
    assert told["audio"] == {"level_dbfs": None, "silent_s": 2}
    assert told["video"] == {"brightness": 0.5, "size": [640, 480]}
    assert told["levels"][0][1:] == [None, 0.5]


def test_no_text_of_a_peer_is_shown_where_a_level_belongs() -> None:
    feed = Feed()
    stream = feed.open("one")
    odd: dict[str, Any] = {"level_dbfs": "loud", "peak_dbfs": True, "silent_s": 1}
    stream.event(Event("audio", 0, 0, "", None, odd))
    wrong = {"brightness": "<b>", "black": "no", "size": ["a", 1 << 70], "frame": 7}
    stream.event(Event("video", 1, 0, "", None, wrong))
    told = feed.snapshot().fields["streams"]["s1"]
    assert told["audio"] == {"silent_s": 1}
    assert told["video"] == {"frame": 7}
    assert told["levels"][0][1:] == [None, None]


def test_a_thousand_streams_and_the_oldest_closed_ones_go() -> None:
    feed = Feed(max_streams=1000)
    state: dict[str, Any] = {}
    apply(state, feed.snapshot().fields)
    streams = [feed.open(f"stream {number}") for number in range(1000)]
    for number, stream in enumerate(streams):
        stream.event(Event("text", 0, 0, f"text of {number}"))
        if number >= 500:
            stream.close()
    for number in range(10):
        feed.open(f"late {number}")
    frame = feed.flush()
    assert frame is not None
    # Those came and went between two frames: nobody has heard of them.
    assert "evicted" not in frame.fields
    apply(state, frame.fields)
    for number in range(5):
        feed.open(f"later {number}")
    frame = feed.flush()
    assert frame is not None
    assert frame.fields["evicted"] == [f"s{number}" for number in range(511, 516)]
    apply(state, frame.fields)
    assert len(state["streams"]) == 1000
    assert state["totals"]["evicted"] == 15
    assert state == feed.snapshot().fields


def test_where_all_are_open_the_one_longest_without_news_goes() -> None:
    feed = Feed(max_streams=2)
    first, second = feed.open("first"), feed.open("second")
    feed.flush()
    first.event(Event("text", 0, 0, "news"))
    feed.flush()
    feed.open("third")
    assert not second.live
    second.event(Event("text", 0, 0, "into the void"))
    second.finding(Finding("loop", "stop", 0, 0, 0, 0, "void"))
    second.verdict("void", "holds")
    second.regime("void")
    second.close()
    told = feed.snapshot().fields
    assert list(told["streams"]) == ["s1", "s3"]
    assert told["totals"]["findings"] == 0


def test_texts_of_closed_streams_give_way_first() -> None:
    feed = Feed(max_text_chars=4096, max_total_chars=1 << 14)
    old, *others = [feed.open(f"stream {number}") for number in range(6)]
    for stream in (old, *others):
        stream.event(Event("text", 0, 0, "x" * 2700))
        if stream is old:
            stream.close()
    feed.flush()
    others[0].event(Event("text", 1, 0, "y" * 1000))
    texts = [
        text
        for stream in feed.snapshot().fields["streams"].values()
        for text in stream["texts"].values()
    ]
    assert texts[0] == {"start": 2700 - 512, "text": "x" * 512}
    assert sum(len(text["text"]) for text in texts) <= 1 << 14
    assert texts[1]["text"].endswith("y" * 1000)


def test_what_all_streams_hold_is_bounded() -> None:
    feed = Feed(max_streams=100, max_total_chars=1 << 17)
    evidence = {"channel": "text", "stream_id": "0", "unit": "x" * 300}
    for number in range(150):
        stream = feed.open(f"stream {number}")
        for seq in range(40):
            stream.event(Event("text", seq, seq, "some words " * 20, None, None, "0"))
            stream.finding(Finding("loop", "warn", seq, 0, seq, seq + 5, "again", evidence))
        if number % 3:
            stream.close()
        feed.flush()
        assert feed._weight <= 1 << 17
    told = feed.snapshot()
    assert len(told.data) < 4 << 17
    first, *_, last = told.fields["streams"].values()
    assert len(first["findings"]) < len(last["findings"]) <= 40


def test_figures() -> None:
    feed = Feed()
    stream = feed.open("one", labels={"model": "m"})
    for number in range(100):
        stream.event(Event("text", number, 1_000_000_000 + number * 10_000_000, "ab"))
    stream.event(Event("tool_call", 100, 2_000_000_000, "{", "look", None, "0/0", "c1"))
    stream.event(Event("tool_call", 101, 2_000_000_000, "}", None, None, "0/0", "c1"))
    stream.event(Event("tool_call", 102, 2_000_000_000, "{}", "look", None, "0/0", "c2"))
    stream.event(Event("usage", 103, 2_000_000_000, "", None, {"usage": {"output_tokens": 7}}))
    stream.event(Event("error", 104, 2_000_000_000, "oh"))
    stream.close("failed", "it broke")
    told = feed.snapshot().fields["streams"]["s1"]
    assert told["labels"] == {"model": "m"}
    assert told["counts"] == {
        "events": 105,
        "chunks": 101,
        "chars": 204,
        "findings": 0,
        "calls": 2,
        "errors": 1,
        "by_kind": {"text": 100, "tool_call": 3, "usage": 1, "error": 1},
        "usage": {"output_tokens": 7},
    }
    assert told["latency"]["first_ms"] == 1000.0
    assert told["latency"]["p50_ms"] == pytest.approx(10, rel=0.02)
    assert (told["outcome"], told["error"]) == ("failed", "it broke")
    assert told["closed_s"] is not None


def test_the_process_says_what_it_takes() -> None:
    feed = Feed()
    assert feed.state["totals"]["process"]["cpu"] is None
    stream = feed.open("one")
    for number in range(20_000):
        stream.event(Event("text", number, number, "x"))
    process = feed.snapshot().fields["totals"]["process"]
    assert 0 < process["cpu"] < 64
    assert process["memory_bytes"] is None or process["memory_bytes"] > 1 << 20


def test_arguments() -> None:
    with pytest.raises(ArgumentValueError, match="frames_per_s"):
        Feed(frames_per_s=0)
    with pytest.raises(ArgumentTypeError, match="keep_frames"):
        Feed(keep_frames=1.5)  # type: ignore[arg-type]
    feed = Feed()
    with pytest.raises(ArgumentTypeError, match="name"):
        feed.open(1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="max_frames"):
        feed.subscribe(max_frames=0)
    feed.close()
    feed.close()
    with pytest.raises(RefusedError):
        feed.open("late")
