"""StallDetector on events whose times are given."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.stream import Event, StallDetector

MS = 1_000_000


def feed(detector: StallDetector, gaps_ms) -> list:
    found = []
    t_ns = 0
    for seq, gap_ms in enumerate(gaps_ms):
        t_ns += gap_ms * MS
        found += detector.observe(Event("text", seq, t_ns, "word "), gap_ms * MS)
    return found


def test_a_silence_beyond_the_rhythm_is_found_where_it_began() -> None:
    (stall,) = feed(StallDetector(), [300] + [20] * 40 + [7000] + [20] * 40)
    assert (stall.kind, stall.severity, stall.seq) == ("stall", "warn", 40)
    # Known 2 s after the last event before the silence, whenever it is told.
    assert stall.t_ns == (300 + 40 * 20 + 2000) * MS
    assert stall.evidence["limit_s"] == 2.0
    assert stall.message == "no chunk for 2.0 s; 99 % of the 40 gaps so far were below 0.02 s"


def test_a_slow_stream_is_given_time() -> None:
    slow = [300] + [500] * 64
    assert feed(StallDetector(), [*slow, 4500]) == []
    (stall,) = feed(StallDetector(), [*slow, 5500])
    assert stall.evidence["limit_s"] == pytest.approx(5.0, rel=0.02)


def test_before_the_rhythm_is_known_the_first_limit_holds() -> None:
    assert feed(StallDetector(), [29_000]) == []
    (stall,) = feed(StallDetector(), [31_000])
    assert stall.message == "no chunk for 30.0 s; none came yet"
    (stall,) = feed(StallDetector(first_s=3), [10, 10, 4000])
    assert stall.message.endswith("the stream has not found its rhythm yet")


def test_a_silence_told_while_it_lasted_is_not_told_again() -> None:
    detector = StallDetector()
    feed(detector, [20] * 40)
    told = detector.expire()
    assert told is not None
    assert detector.expire() is None
    assert list(detector.observe(Event("text", 40, 9000 * MS, "x"), 8200 * MS)) == []
    (again,) = detector.observe(Event("text", 41, 18_000 * MS, "x"), 9000 * MS)
    assert again.seq == 40


def test_told_early_or_late_it_is_the_same_finding() -> None:
    early, late = StallDetector(), StallDetector()
    feed(early, [20] * 40)
    feed(late, [20] * 40)
    assert early.expire() == late.observe(Event("text", 40, 10**10, "x"), 10**10)[0]


def test_pieces_of_one_chunk_are_no_rhythm() -> None:
    detector = StallDetector()
    feed(detector, [0, 0, 0, 100] * 40)
    assert detector.limit_ns == 2_000 * MS
    assert feed(detector, [1900]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "panic"}, "action must be one of 'note', 'warn', 'stop', got 'panic'"),
        ({"min_s": 0}, "min_s must be at least 0.001, got 0.0"),
        ({"factor": 0.5}, "factor must be at least 1, got 0.5"),
        ({"first_s": float("inf")}, "first_s must be finite, got inf"),
    ],
)
def test_bad_arguments_are_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        StallDetector(**arguments)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=60), st.data())
def test_findings_do_not_depend_on_how_an_arrival_is_cut(gaps_ms, data) -> None:
    def told(pieces_of):
        detector, found, t_ns, seq = StallDetector(first_s=3), [], 0, 0
        for gap_ms, pieces in zip(gaps_ms, pieces_of, strict=True):
            t_ns += gap_ms * MS
            for piece in range(pieces):
                event = Event("text", seq, t_ns, "word ")
                found += detector.observe(event, 0 if piece else gap_ms * MS)
                seq += 1
        return [(f.t_ns, f.message, dict(f.evidence)) for f in found]

    pieces_of = [data.draw(st.integers(1, 4)) for _ in gaps_ms]
    assert told(pieces_of) == told([1] * len(gaps_ms))
