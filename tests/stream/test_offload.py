"""Detectors beside the stream: the same findings, later; shed and counted under load."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from midstream.scheduler import Scheduler
from midstream.stream import (
    Event,
    Finding,
    Guard,
    Offload,
    Recorder,
    RegimeDetector,
    beside,
    default_detectors,
    replay,
    watch,
)

REST = ["I will ", "wait. "] * 120


@pytest.fixture(autouse=True)
def _a_busy_machine_has_time(monkeypatch):
    monkeypatch.setattr("midstream.stream.detectors.offload._FINISH_NS", 60 * 10**9)


def events(pieces=REST) -> list[Event]:
    return [Event("text", seq, seq * 1_000_000, piece) for seq, piece in enumerate(pieces)]


def drained(detector: Offload, stream) -> list[Finding]:
    found = [f for event in stream for f in detector.observe(event, 0)]
    return found + list(detector.finish())


class Recording:
    """Writes down what it is given; can be held up, or fail."""

    def __init__(self, hold: threading.Event | None = None, fail_at: int = -1) -> None:
        self.seen: list[Event] = []
        self.skipped: list[tuple[str, str, int]] = []
        self.threads: set[int] = set()
        self.hold = hold
        self.fail_at = fail_at
        self.entered = threading.Event()

    def observe(self, event, gap_ns):
        self.threads.add(threading.get_ident())
        self.entered.set()
        if self.hold is not None:
            self.hold.wait(20)
        if event.seq == self.fail_at:
            raise RuntimeError("it broke")
        self.seen.append(event)
        return [Finding("odd", "warn", event.seq, event.t_ns, 0, 0, "seen")]

    def skip(self, kind, stream_id, n_chars):
        self.skipped.append((kind, stream_id, n_chars))

    def finish(self):
        return [Finding("over", "note", -1, 0, 0, 0, "over")]


def test_findings_are_the_same_as_inline() -> None:
    inline = drained(Offload(RegimeDetector(), inline=True), events())
    late = drained(Offload(RegimeDetector(), delay_s=0.001, deadline_s=60), events())
    assert inline == late
    assert len(inline) == 1


def test_inline_tells_with_the_event_that_decides() -> None:
    detector = Offload(RegimeDetector(), inline=True)
    for event in events():
        found = detector.observe(event, 0)
        if found:
            assert found[0].seq == event.seq
            break
    assert found


def test_a_worker_does_the_work_and_all_is_told() -> None:
    inner = Recording()
    with Scheduler("edf", workers=1) as scheduler:
        detector = Offload(inner, scheduler=scheduler, delay_s=0, deadline_s=60)
        found = []
        for event in events(["x"] * 50):
            found += detector.observe(event, 0)
        until = time.monotonic() + 20
        while len(found) < 50 and time.monotonic() < until:
            found += detector.poll()
            time.sleep(0.001)
        assert [f.seq for f in found] == list(range(50))
        assert threading.get_ident() not in inner.threads
        assert not detector.waiting
        assert [f.kind for f in detector.finish()] == ["over"]
        load = dict(detector.load)
        assert load.pop("busy_ns") > 0
        assert load == {
            "events": 50,
            "shed_events": 0,
            "shed_chars": 0,
            "pending": 0,
        }


def test_the_stream_is_not_held_up_and_what_has_no_room_is_shed_in_order() -> None:
    hold = threading.Event()
    inner = Recording(hold)
    with Scheduler("edf", workers=1) as scheduler:
        detector = Offload(inner, scheduler=scheduler, delay_s=0, deadline_s=60, max_pending=8)
        assert detector.observe(events()[0], 0) == ()
        assert inner.entered.wait(20)
        # The worker is held up within the first: none of these waits for it.
        for seq in range(1, 101):
            kind = "text" if seq % 2 else "reasoning"
            assert detector.observe(Event(kind, seq, 0, "12345", stream_id="0"), 0) == ()
        assert len(detector._pending) == 8
        hold.set()
        found = list(detector.finish())
        until = time.monotonic() + 20
        while detector.waiting and time.monotonic() < until:
            found += detector.poll()
            time.sleep(0.001)
    assert [e.seq for e in inner.seen] == list(range(8))
    assert detector.n_shed == 101 - 8
    assert detector.n_shed_chars == 93 * 5
    assert sorted(inner.skipped) == [("reasoning", "0", 47 * 5), ("text", "0", 46 * 5)]
    assert detector.remarks == ("Recording: 93 of 101 events shed under load",)


def test_what_has_waited_beyond_its_deadline_is_shed() -> None:
    inner = Recording()
    scheduler = Scheduler("edf")  # nobody works
    detector = Offload(inner, scheduler=scheduler, delay_s=0, deadline_s=0)
    for event in events(["abc"] * 10):
        detector.observe(event, 0)
    time.sleep(0.01)
    assert [f.kind for f in detector.finish()] == ["over"]
    assert inner.seen == []
    assert (detector.n_shed, detector.n_shed_chars) == (10, 30)
    assert inner.skipped == [("text", "", 3)] * 10


def test_a_full_scheduler_is_asked_again() -> None:
    scheduler = Scheduler("edf", 1)
    scheduler.schedule("somebody else's")
    detector = Offload(Recording(), scheduler=scheduler, delay_s=0, deadline_s=60)
    detector.observe(events()[0], 0)
    assert scheduler.next() == "somebody else's"
    detector.observe(events()[1], 0)
    scheduler.run(timeout=20)
    assert [f.seq for f in detector.poll()] == [0, 1]


def test_what_a_detector_raises_comes_out_once() -> None:
    scheduler = Scheduler("edf")
    detector = Offload(Recording(fail_at=1), scheduler=scheduler, delay_s=0, deadline_s=60)
    for event in events()[:3]:
        detector.observe(event, 0)
    scheduler.run(timeout=20)
    with pytest.raises(RuntimeError, match="it broke"):
        detector.observe(events()[3], 0)
    assert [f.seq for f in detector.finish()] == [0]
    assert detector.n_shed >= 1


def test_many_streams_on_few_workers_lose_and_reorder_nothing() -> None:
    inners = [Recording() for _ in range(8)]
    with Scheduler("edf", workers=3) as scheduler:
        made = [
            Offload(inner, scheduler=scheduler, delay_s=0, deadline_s=60, max_pending=64)
            for inner in inners
        ]
        told: list[list[Finding]] = [[] for _ in made]
        for event in events(["x"] * 1500):
            for detector, found in zip(made, told, strict=True):
                found += detector.observe(event, 0)
        for detector, found in zip(made, told, strict=True):
            found += detector.finish()
    for detector, found in zip(made, told, strict=True):
        inner = detector.detector
        seen = [event.seq for event in inner.seen]
        assert seen == sorted(set(seen))
        assert len(seen) + detector.n_shed == detector.n_events == 1500
        assert sum(n for _, _, n in inner.skipped) == detector.n_shed_chars == detector.n_shed
        assert [f.seq for f in found if f.kind == "odd"] == seen


def test_only_costly_detectors_are_wrapped() -> None:
    made = beside([*default_detectors(), RegimeDetector()], inline=True)
    assert [type(d).__name__ for d in made] == [
        "LoopDetector",
        "StallDetector",
        "ToolLoopDetector",
        "Offload",
    ]
    assert made[-1].inline


def test_a_guard_reports_what_was_shed() -> None:
    guard = Guard([Offload(Recording(), scheduler=Scheduler("edf"), delay_s=0, deadline_s=0)])
    for event in events()[:5]:
        guard.take(event)
    time.sleep(0.01)
    assert guard.due_ns(0) is not None
    step = guard.finish()
    assert [f.kind for f in step.findings] == ["over"]
    report = guard.report("ended")
    assert "Recording: 5 of 5 events shed under load" in report.remarks
    assert report.metrics["beside"]["Recording"]["shed_events"] == 5


async def test_a_recording_is_looked_at_inline(tmp_path) -> None:
    path = tmp_path / "rest.jsonl"
    with Recorder(path) as recorder:
        for event in events():
            recorder.write(event)
    lengths = set()
    for _ in range(3):
        guard = watch(replay(path), detectors=[RegimeDetector("stop")])
        seen = [event async for event in guard]
        assert guard.stopped is not None
        assert seen[-1].seq == guard.stopped.seq
        lengths.add(len(seen))
    assert len(lengths) == 1


async def then_silence(stream):
    for event in stream:
        yield event
    await asyncio.Event().wait()


async def test_a_finding_that_comes_late_stops_a_live_stream_while_it_is_silent() -> None:
    late = Offload(RegimeDetector("stop"), delay_s=0.5, deadline_s=60)
    guard = watch(then_silence(events()), detectors=[late])
    seen = [event async for event in guard]
    assert guard.stopped is not None
    assert guard.stopped.kind == "regime"
    assert guard.report().outcome == "stopped"
    assert len(seen) == len(REST)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detector": RegimeDetector}, "detector must have observe and finish, got <class"),
        ({"scheduler": 1}, "scheduler must be a Scheduler, got int"),
        ({"inline": 1}, "inline must be a bool, got 1"),
        ({"deadline_s": -1}, "deadline_s must be at least 0"),
        ({"max_pending": 0}, "max_pending must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Offload(**{"detector": RegimeDetector(), **arguments})


def test_texts_without_end_that_have_no_room_are_counted_in_bounded_memory() -> None:
    recording = Recording()
    offload = Offload(recording, scheduler=Scheduler("edf", 8), max_pending=1)
    for number in range(5000):
        offload.observe(Event("text", number, 0, "word", None, None, str(number)), 0)
    (gap,) = offload._pending
    assert len(gap.chars) == 1024
    offload.finish()
    assert (offload.n_shed, offload.n_shed_chars) == (5000, 20_000)
    assert len(recording.skipped) == 1024
    assert offload.memory_bytes == 0
