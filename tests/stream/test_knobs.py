"""Knobs of detectors, what runs cost under them, and a strange loop that turns them."""

from __future__ import annotations

import random

import pytest
from reference.agent_runs import events_of, prefix

from midstream.meta import Gate, StrangeLoop
from midstream.stream import (
    DriftTemplate,
    Event,
    LabelledRun,
    RunLoss,
    detector_params,
    detectors_with,
)

SAME = ("job", '{"id": 1}', "nothing yet")


def run(rng: random.Random, copies: int, *, bad: bool) -> LabelledRun:
    """Some calls, then one over and over: five times are normal here, more are not."""
    turns = [*prefix(rng), *[[SAME]] * copies]
    events = events_of(turns)
    return LabelledRun(tuple(events), len(events) - 2 * (copies - 5) if bad else None)


def test_defaults_are_the_detectors_own() -> None:
    from midstream.stream import RegimeDetector, ToolLoopDetector

    tools, regime = detectors_with(detector_params().defaults)
    for made, own in ((tools, ToolLoopDetector()), (regime, RegimeDetector())):
        for name, value in vars(own).items():
            if isinstance(value, (int, float, str, tuple)):
                assert getattr(made, name) == value, name


def test_knobs_that_contradict_each_other_are_brought_in_line() -> None:
    params = detector_params()
    settings = params.settings(
        tool_stop_copies=12, tool_done_stop_copies=3, tool_near_copies=24, tool_near_stop_copies=3
    )
    tools = detectors_with(settings)[0]
    assert (tools._certain, tools._done) == (12, 12)
    assert (tools._near_found, tools._near_certain) == (24, 24)


def test_every_corner_of_the_space_makes_detectors() -> None:
    params = detector_params()
    template = DriftTemplate.learn([f"Take {n} eggs and stir. " * 80 for n in range(4)])
    for name in params:
        for value in (params[name].low, params[name].high):
            if value is not None:
                detectors = detectors_with(params.settings({name: value}), template=template)
                assert len(detectors) == 3


def test_what_runs_cost() -> None:
    loss, params = RunLoss(), detector_params()
    rng = random.Random(1)
    good, bad = run(rng, 5, bad=False), run(rng, 20, bad=True)
    assert loss(params.defaults, good) == 1.0
    assert loss(params.defaults, bad) == 1.0  # stopped while it was normal
    patient = params.settings(tool_stop_copies=7)
    assert loss(patient, good) <= 0.15
    assert loss(patient, bad) <= 0.3
    assert loss(params.settings(on_tool_loop="warn"), bad) == 1.0
    assert loss.digest == RunLoss().digest != RunLoss(false_warning=0.1).digest


def test_a_strange_loop_finds_thresholds_that_suit() -> None:
    params = detector_params()
    loss = RunLoss()
    candidates = [params.settings(tool_stop_copies=copies) for copies in (2, 5, 7, 12)]
    loop = StrangeLoop(
        params,
        evaluator=loss,
        candidates=candidates,
        gate=Gate(replay=5, shadow=5, canary=0, max_open=8, max_pending=64, seed=0),
        recordings=20,
        replays=20,
        seed=0,
    )
    rng = random.Random(3)
    for k in range(20):
        recorded = run(rng, 20 if k % 2 else rng.randrange(3, 6), bad=bool(k % 2))
        session = loop.begin(time_ns=k)
        session.finish(
            loss(session.settings, recorded),
            tuple(loss(shadow, recorded) for shadow in session.shadows),
            recording=recorded,
            time_ns=k,
        )
    change = loop.propose()
    assert change is not None
    tuned = change.after
    assert 6 <= tuned["tool_stop_copies"] <= 12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: detector_params({"nothing": 1}), "start has no knob of a detector: 'nothing'"),
        (lambda: detectors_with({}), "settings have no 'on_tool_loop'"),
        (lambda: LabelledRun((1,)), r"events\[0\] must be an Event, got int"),
        (lambda: LabelledRun((Event("text", 0, 0),), 1), "bad_from must be at most 0, got 1"),
        (lambda: RunLoss()(detector_params().defaults, 1), "run must be a LabelledRun, got int"),
        (lambda: RunLoss(false_warning=1), "false_warning must be at most 0.3"),
    ],
)
def test_bad_arguments_are_named(make, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()
