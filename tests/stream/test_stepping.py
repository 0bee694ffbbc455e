"""Going through recordings: forwards, to findings, and back to anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream.stream import (
    Event,
    Finding,
    Guard,
    LoopDetector,
    Recorder,
    Stepper,
    load,
    shipped_recordings,
)

LOOP = shipped_recordings()["loop-02"]
EVENTS = [Event("text", seq, seq * 10**9, f"w{seq} ") for seq in range(10)]
NOTE = Finding("odd", "note", 4, 4 * 10**9, 0, 1, "odd")
WARN = Finding("odd", "warn", 7, 7 * 10**9, 0, 1, "odder")


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        for event in EVENTS:
            recorder.write(event)
            for finding in (NOTE, WARN):
                if finding.seq == event.seq:
                    recorder.write_finding(finding)
        recorder.settle("ended")
    return path


def test_forwards_and_back(recorded):
    stepper = Stepper(recorded)
    assert (len(stepper), stepper.position, stepper.event, stepper.t_s) == (10, 0, None, 0.0)
    assert stepper.next() == EVENTS[0]
    assert stepper.next() == EVENTS[1]
    assert stepper.text() == "w0 w1 "
    assert stepper.text(stream_id="1") == stepper.text("reasoning") == ""
    stepper.back()
    assert stepper.event == EVENTS[0]
    stepper.back(50)
    assert stepper.position == 0
    stepper.seek(50)
    assert stepper.position == 10
    assert stepper.next() is None
    stepper.seek(-2)
    assert stepper.event == EVENTS[7]
    stepper.seek_time(3.5)
    assert (stepper.event, stepper.t_s) == (EVENTS[3], 3.0)
    stepper.seek_time(1e9)
    assert stepper.position == 10
    for wrong, error in (("x", ArgumentTypeError), (-1.0, ArgumentValueError)):
        with pytest.raises(error):
            stepper.seek_time(wrong)
    with pytest.raises(ArgumentTypeError):
        stepper.seek(1.5)


def test_recorded_findings(recorded):
    stepper = Stepper(recorded)
    assert stepper.findings == []
    assert stepper.next_finding() == NOTE
    assert (stepper.position, stepper.found_here) == (5, [NOTE])
    assert stepper.next_finding() == WARN
    assert stepper.findings == [NOTE, WARN]
    assert stepper.next_finding() is None
    assert stepper.position == 8
    assert stepper.previous_finding() == NOTE
    assert stepper.previous_finding() is None
    assert stepper.findings == [NOTE]
    stepper.back()
    assert stepper.findings == stepper.found_here == []


def test_findings_made_anew_are_those_of_a_watch():
    guard = Guard(inline=True)
    places = []
    for count, event in enumerate(load(LOOP), 1):
        places += [count] * len(guard.take(event).findings)
    stepper = Stepper(LOOP)
    found = []
    while (finding := stepper.next_finding()) is not None:
        found += stepper.found_here
        assert finding in stepper.found_here
    stepper.seek(len(stepper))
    assert stepper.findings[: len(guard.findings)] == guard.findings
    assert found == stepper.findings
    assert [finding.seq for finding in found][: len(places)] == [
        load(LOOP)[place - 1].seq for place in places
    ]


def test_own_detectors(recorded):
    stepper = Stepper(LOOP, detectors=[LoopDetector("note")])
    assert stepper.next_finding().severity == "note"
    assert Stepper(recorded, detectors=()).next_finding() is None


def test_what_cannot_be_used(tmp_path):
    for wrong in (5, b"abc", ["text"]):
        with pytest.raises(ArgumentTypeError):
            Stepper(wrong)
    with pytest.raises(RecordingError, match="No such file"):
        Stepper(tmp_path / "none.jsonl")
    assert Stepper([]).next() is None
    assert Stepper([]).next_finding() is None


moves = st.lists(
    st.tuples(
        st.sampled_from(["next", "back", "seek", "next_finding", "previous_finding"]),
        st.integers(-20, 700),
    ),
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(moves)
def test_any_way_leads_to_the_same(moves):
    stepper = Stepper(LOOP)
    for name, number in moves:
        if name == "back":
            stepper.back(abs(number))
        elif name == "seek":
            stepper.seek(number)
        else:
            getattr(stepper, name)()
    straight = Stepper(LOOP)
    straight.seek(stepper.position)
    assert straight.findings == stepper.findings
    assert straight.event == stepper.event
