"""Simulated streams: the same for a seed, timed like real ones, and found or left alone."""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics

import pytest

from midstream.errors import ArgumentTypeError, ArgumentValueError, EndpointError
from midstream.stream import watch
from midstream.stream.simulating import FAULTS, SCENARIOS, Timing, simulate, simulated_events

HEALTHY = ("agent", "choices", "reasoning", "story")
#: What nobody may change: recordings of demonstrations are compared.
FIRST = "Then carefully, the old pilot described a frozen drum near the"
LOOPS = {"loop": "loop", "tool_loop": "tool_loop"}


async def watched(scenario, **given):
    """Watch a simulated stream to its end."""
    guard = watch(simulate(scenario, **given))
    return guard, [event async for event in guard]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_for_the_same_seed(scenario):
    first = list(simulated_events(scenario, seed=4, tokens=90))
    other = list(simulated_events(scenario, seed=5, tokens=90))
    assert first == list(simulated_events(scenario, seed=4, tokens=90))
    assert [(event.text, event.data) for event in first] != [
        (event.text, event.data) for event in other
    ]


def test_what_a_seed_gives_stays():
    events = simulated_events("story", seed=1, tokens=12)
    assert "".join(event.text for event in events if event.kind == "text") == FIRST


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("tokens", [1, 2, 7, 200])
def test_sequences_and_times_never_go_back(scenario, tokens):
    events = list(simulated_events(scenario, seed=2, tokens=tokens))
    assert [event.seq for event in events] == list(range(len(events)))
    times = [event.t_ns for event in events]
    assert times == sorted(times)
    assert events[-1].kind == "end"


@pytest.mark.parametrize("scenario", HEALTHY)
async def test_healthy_streams_are_left_alone(scenario):
    for seed in range(10):
        guard, _ = await watched(scenario, seed=seed, tokens=1200)
        assert guard.findings == []


@pytest.mark.parametrize(("scenario", "kind"), LOOPS.items())
async def test_loops_are_stopped(scenario, kind):
    for seed in range(10):
        guard, events = await watched(scenario, seed=seed, tokens=1200)
        assert guard.stopped.kind == kind
        assert len(events) < len(list(simulated_events(scenario, seed=seed, tokens=1200)))


async def test_near_loops_are_found():
    for seed in range(10):
        guard, _ = await watched("near_loop", seed=seed, tokens=1200)
        assert "near_loop" in {finding.kind for finding in guard.findings}


def test_the_rate_is_the_mean_rate():
    timing = Timing(first_s=0.0, tokens_per_s=50.0)
    last = list(simulated_events("story", tokens=20_000, timing=timing))[-1]
    assert last.t_ns / 1e9 == pytest.approx(20_000 / 50.0, rel=0.03)


def test_gaps_spread_as_asked():
    timing = Timing(tokens_per_s=100.0, spread=0.5, burst_share=0.0)
    times = [event.t_ns for event in simulated_events("story", tokens=20_000, timing=timing)]
    gaps = [math.log((b - a) / 1e9) for a, b in itertools.pairwise(times[:-2])]
    assert statistics.stdev(gaps) == pytest.approx(0.5, rel=0.05)


def test_bursts_arrive_at_once():
    timing = Timing(burst_share=0.5)
    times = [event.t_ns for event in simulated_events("story", tokens=2000, timing=timing)]
    assert len(set(times)) < 0.6 * len(times)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_strike_every_scenario(scenario, fault):
    tokens = 60 if scenario in ("audio", "video") else 400  # whose signals take time
    whole = list(simulated_events(scenario, seed=3, tokens=tokens))
    struck = []
    broke = False
    try:
        for event in simulated_events(scenario, seed=3, tokens=tokens, faults=[fault]):
            struck.append(event)  # noqa: PERF402 - those before a break count
    except EndpointError:
        broke = True
    assert broke == (fault == "reset")
    if fault in ("late", "stall"):
        assert [event.text for event in struck] == [event.text for event in whole]
        shift_s = (struck[-1].t_ns - whole[-1].t_ns) / 1e9
        assert shift_s == pytest.approx(45.0 if fault == "late" else 8.0)
    else:
        n_same = len(struck) - (fault == "error")
        assert struck[:n_same] == whole[:n_same]
        assert 0 < n_same < len(whole)
        assert struck[-1].kind == ("error" if fault == "error" else struck[-1].kind) != "end"


async def test_a_stall_is_found():
    guard, _ = await watched("story", faults=("stall",))
    assert {finding.kind for finding in guard.findings} == {"stall"}


async def test_a_reset_comes_after_all_that_had_arrived():
    events = []
    with pytest.raises(EndpointError):
        async for event in simulate("story", faults="reset"):
            events.append(event)  # noqa: PERF401 - those before the break count
    assert len(events) > 100


async def test_the_pace_is_kept_and_can_be_broken_off():
    clock = asyncio.get_running_loop().time
    begun = clock()
    source = simulate("story", tokens=50, speed=4.0, timing=Timing(first_s=1.0, spread=0.0))
    async with source:
        first = await anext(source)
    assert first.t_ns == 1_000_000_000
    assert clock() - begun >= 0.249


def test_what_is_long_is_made_as_it_is_read():
    assert next(simulated_events("story", tokens=10_000_000)).kind == "text"


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"scenario": "opera"}, ArgumentValueError, "scenario must be one of"),
        ({"seed": 0.5}, ArgumentTypeError, "seed must be an integer"),
        ({"tokens": 0}, ArgumentValueError, "tokens"),
        ({"timing": 3}, ArgumentTypeError, "timing must be a Timing, got int"),
        ({"faults": ["fire"]}, ArgumentValueError, "faults must be one of.*'fire'"),
        ({"faults": 3}, ArgumentTypeError, "faults"),
        ({"speed": 0.0}, ArgumentValueError, "speed"),
    ],
)
def test_arguments(given, error, says):
    with pytest.raises(error, match=says):
        simulate(**given)


@pytest.mark.parametrize(
    "given", [{"first_s": -1.0}, {"tokens_per_s": 0.0}, {"spread": 9.0}, {"burst_share": 1.5}]
)
def test_timing_says_what_is_wrong(given):
    with pytest.raises(ArgumentValueError, match=next(iter(given))):
        Timing(**given)
