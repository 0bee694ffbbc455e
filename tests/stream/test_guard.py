"""Guard: the synchronous core, driven by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream.stream import (
    Event,
    Finding,
    Guard,
    LoopDetector,
    Policy,
    Recorder,
    StallDetector,
    Step,
    load,
    read_recording,
    replay,
    shipped_recordings,
    watch,
)
from midstream.stream.policies import ready_policies

AGAIN = "I will try that once more. "


def test_what_leads_to_nothing_is_one_and_the_same_step() -> None:
    guard = Guard()
    first, second = (guard.take(Event("text", seq, seq, f"word {seq} ")) for seq in range(2))
    assert first is second
    assert first == Step((), None, False, (), ())


def test_a_loop_stops_and_the_step_says_so() -> None:
    told = []
    guard = Guard([LoopDetector()], on_finding=told.append)
    for seq in range(100):
        step = guard.take(Event("text", seq, seq, AGAIN))
        if step.stop is not None:
            break
    assert step.stop is guard.stopped is step.findings[-1]
    assert told == guard.findings
    assert guard.finish("stopped") == Step()
    assert guard.report("stopped").stopped is guard.stopped


async def test_it_finds_what_a_watch_finds() -> None:
    for path in shipped_recordings().values():
        watched = watch(replay(path))
        passed = [event async for event in watched]
        guard = Guard()
        for event in passed:
            guard.take(event)
        guard.finish("ended" if watched.stopped is None else "stopped")
        assert guard.findings == watched.findings, path
        assert len(load(path)) >= len(passed)


def test_silence_is_told_once_and_when_it_is_due() -> None:
    guard = Guard([StallDetector("stop", first_s=3.0)])
    assert guard.due_ns() == 3_000_000_000
    assert guard.due_ns(3_000_000_000) is None
    assert guard.expire(2_999_999_999) == Step()
    step = guard.expire(3_000_000_000)
    assert step.stop is not None and step.stop.kind == "stall"
    assert guard.expire(4_000_000_000) == Step()
    assert Guard([]).due_ns() is None


def test_times_of_events_give_the_silence_where_it_is_not_told() -> None:
    guard = Guard([StallDetector(first_s=1.0)])
    guard.take(Event("text", 0, 0, "a"))
    assert guard.take(Event("text", 1, 2_000_000_000, "b")).findings[0].kind == "stall"
    assert guard.take(Event("text", 2, 1_000_000_000, "c")).findings == ()  # a clock set back


def test_the_end_is_taken_once_and_stops_nothing() -> None:
    class Ends:
        def observe(self, event, gap_ns):
            return ()

        def finish(self):
            raise RuntimeError("spoiled")

    guard = Guard([Ends(), Ends(), LoopDetector()])
    for seq in range(3):
        guard.take(Event("text", seq, seq, AGAIN))
    with pytest.raises(RuntimeError, match="spoiled"):
        guard.finish()
    assert guard.errors == ["spoiled"]
    assert guard.finish() == Step()
    with pytest.raises(ArgumentValueError, match=r"outcome must be one of 'ended'.*got 'over'"):
        guard.finish("over")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"detectors": 3}, ArgumentTypeError, "detectors must be an iterable"),
        ({"recorder": "here.jsonl"}, ArgumentTypeError, "recorder must be a Recorder, got str"),
        ({"on_finding": 3}, ArgumentTypeError, "on_finding must be callable, got 3"),
        ({"interventions": ["abort"]}, ArgumentValueError, "interventions need a loop"),
    ],
)
def test_arguments_are_checked(settings, error, message) -> None:
    with pytest.raises(error, match=message):
        Guard(**settings)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([{"role": "user", "content": "Hi"}], r"events\[0\] must be an Event, got dict: .*history"),
        (["Hi"], r"events\[0\] must be an Event, got str$"),
        (5, "events must be iterable, got int"),
    ],
)
def test_what_cannot_be_recalled(events: object, message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        Guard().recall(events)
    with pytest.raises(ArgumentTypeError, match=message):
        watch([], history=events)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_of_two_stops_in_one_event_the_first_in_its_text_is_the_one(size) -> None:
    rules = [Policy("no word", "G !said", {"said": {"pattern": "secret"}}, "block")]
    again = "I will try that again. " * 20

    def stopped(text):
        guard = Guard([LoopDetector()], policies=rules)
        for seq, at in enumerate(range(0, len(text), size)):
            step = guard.take(Event("text", seq, 0, text[at : at + size]))
            if step.stop is not None:
                assert step.findings[-1] is step.stop is guard.findings[-1]
                assert step.dropped == (step.stop.kind == "policy")
                break
        return guard.stopped.kind, guard.stopped.end

    assert stopped("A secret. " + again) == ("policy", 8)
    kind, end = stopped(again + "A secret. " + again)
    assert kind == "loop"
    assert end < len(again)


def test_a_clock_that_is_set_back_puts_no_limit_off() -> None:
    guard = Guard(policies=ready_policies("time-limit", seconds=5, action="stop"))
    for seq, t_s in enumerate((0.0, 4.0, 1.0, 0.5)):
        assert guard.take(Event("text", seq, int(t_s * 1e9), "so ")).stop is None
    assert guard.due_ns() is not None
    assert guard.due_ns() <= 1_000_001_000
    assert guard.expire(900_000_000).stop is None
    assert guard.expire(1_100_000_000).stop.evidence["rule"] == "time limit"


def test_times_that_jump_make_no_silence() -> None:
    guard = Guard()
    day_ns = 86_400 * 10**9
    for seq in range(300):
        t_ns = seq * 10**7 + (-day_ns if seq % 3 == 0 else 0)
        guard.take(Event("text", seq, t_ns, f"word{seq} "), 10**7)  # whoever drives it has a clock
    assert guard.findings == []
    assert guard.metrics.to_dict()


class Own:
    """A detector as its user may write it."""

    def __init__(self, observed: object = (), finished: object = ()) -> None:
        self.observed = observed
        self.finished = finished

    def observe(self, event: Event, gap_ns: int) -> object:
        return self.observed

    def finish(self) -> object:
        return self.finished


FOUND = Finding("own", "warn", 0, 0, 0, 1, "found")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("loop", "must return a list or tuple of Finding, got str"),
        (FOUND, "must return a list or tuple of Finding, got Finding"),
        (True, "must return a list or tuple of Finding, got bool"),
        (["loop"], "must return a list or tuple of Finding, got str in it"),
        (
            [dataclasses.replace(FOUND, severity="stopp")],
            r"severity of a finding of Own\.\w+ must be one of 'note', 'warn', .* got 'stopp'",
        ),
    ],
)
def test_what_a_detector_of_ones_own_returns_is_checked(found: object, message: str) -> None:
    for policies in ((), "no-secret"):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match=message):
            Guard([Own(found)], policies).take(Event("text", 0, 0, "a"))
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=message):
        Guard([Own((), found)]).finish()


def test_a_detector_of_ones_own_may_return_nothing() -> None:
    guard = Guard([Own(None, None), Own([FOUND], (FOUND,))])
    assert guard.take(Event("text", 0, 0, "a")).findings == (FOUND,)
    assert guard.finish().findings == (FOUND,)


@pytest.mark.parametrize("policies", [(), "no-secret"])
def test_a_guard_that_is_over_takes_nothing(policies) -> None:
    guard = Guard((), policies)
    guard.take(Event("text", 0, 0, "Hi."))
    guard.finish()
    with pytest.raises(RefusedError, match=r"take: the stream is over") as caught:
        guard.take(Event("text", 1, 1, "More."))
    assert caught.value.reason == "over"
    assert guard.metrics.events == 1
    with pytest.raises(RefusedError, match=r"recall: the stream is over"):
        guard.recall(())
    assert guard.finish().findings == ()


def test_a_detector_that_fails_in_the_end_leaves_the_recording_settled(tmp_path: Path) -> None:
    with Recorder(tmp_path / "one.jsonl") as recorder:
        guard = Guard([Own((), True)], recorder=recorder)
        guard.take(Event("text", 0, 0, "a"))
        with pytest.raises(ArgumentTypeError):
            guard.finish("failed", error=ValueError("why"))
    recording = read_recording(tmp_path / "one.jsonl")
    assert (recording.outcome, recording.error) == ("failed", "why")
