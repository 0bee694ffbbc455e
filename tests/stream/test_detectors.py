"""What all detectors have in common: whatever comes, they do not raise, and hold little."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.agent_runs import events_of

from midstream.stream import (
    DriftDetector,
    DriftTemplate,
    EarlyWarning,
    Event,
    Guard,
    Offload,
    RegimeDetector,
    ToolLoopDetector,
    WarningModel,
    beside,
    default_detectors,
)
from midstream.stream.events import KINDS

TEMPLATE = DriftTemplate.learn([f"Take {n} eggs and stir the pot. Wait. " * 40 for n in range(4)])
MODEL = WarningModel.learn(
    "G !c",
    [
        events_of([[("a", "{}", "ok")], [("b" if n % 2 else "a", "{}", "Error")]] + [[c]] * (n % 2))
        for n in range(20)
        for c in [("c", "{}", "ok")]
    ],
    {"c": {"kind": "tool_call", "name": "c"}},
)

EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(KINDS),
        st.just(0),
        st.integers(0, 10**12),
        st.one_of(
            st.text(max_size=40),
            st.sampled_from(["{", "}", "{}", '{"a": ', "1}", "[1, 2", "]", '"', "\\", "Error: no"]),
        ),
        st.sampled_from([None, "", "a", "b", "get_status", "user"]),
        st.one_of(st.none(), st.just({"is_error": True}), st.just({"item": 3}), st.just([1])),
        st.sampled_from(["", "0", "0/0", "0/1", "1", "1!", "r1.0/0", "h2/0"]),
        st.sampled_from([None, "", "x", "y"]),
    ),
    max_size=80,
)


def every_detector():
    return [
        *default_detectors(),
        ToolLoopDetector("block", polling=(), near=False),
        DriftDetector(TEMPLATE),
        RegimeDetector(),
        EarlyWarning(MODEL),
    ]


@settings(max_examples=150, deadline=None)
@given(EVENTS, EVENTS)
def test_whatever_comes_nothing_is_raised(before, events) -> None:
    for detector in every_detector():
        if hasattr(detector, "recall"):
            detector.recall(before)
        for event in events:
            for finding in detector.observe(event, 0):
                assert 0 <= finding.start <= finding.end
                assert finding.to_dict()["message"]
        detector.finish()


@pytest.fixture(scope="module", autouse=True)
def _a_busy_machine_has_time():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("midstream.stream.detectors.offload._FINISH_NS", 60 * 10**9)
        yield


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_beside_and_inline_a_guard_finds_the_same(events) -> None:
    def found(inline):
        made = [DriftDetector(TEMPLATE, "note"), RegimeDetector("note")]
        if not inline:
            made = [Offload(detector, deadline_s=60) for detector in made]
        guard = Guard(made, inline=inline)
        step = [f for event in events for f in guard.take(event).findings]
        return [*step, *guard.finish().findings]

    assert found(True) == found(False)


@pytest.mark.parametrize("name", range(7))
def test_memory_stays_small(name: int) -> None:
    rng = random.Random(name)
    detector = every_detector()[name]
    for seq in range(20_000):
        kind = rng.choice(("text", "text", "reasoning", "tool_call"))
        text = rng.choice(("tea ", "rain. ", f"{rng.random()} ", '{"a": ', "}", "\n"))
        detector.observe(Event(kind, seq, seq, text, "f", None, f"{seq // 2000}/{seq // 500}"), 0)
    assert getattr(detector, "memory_bytes", 0) < 3 << 20
    if name < 4:  # those in the path
        assert getattr(detector, "memory_bytes", 0) <= 512 << 10


def test_all_say_whether_they_were_used_and_only_costly_ones_go_beside() -> None:
    for detector in every_detector():
        assert detector.used is False
    costly = [type(d).__name__ for d in every_detector() if getattr(d, "costly", False)]
    assert costly == ["DriftDetector", "RegimeDetector", "EarlyWarning"]
    assert [type(d).__name__ for d in beside(every_detector(), inline=True)][-3:] == ["Offload"] * 3
