"""`schedulable` against simulations, brute force and published figures."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from math import lcm
from typing import Any

import pytest

from midstream import MidstreamError
from midstream.scheduler import SimTask, Verdict, schedulable, simulate

POLICIES = ("fixed", "edf", "rm", "llf")


def tasks_of(*rows: tuple[int, ...]) -> list[SimTask]:
    """Cost, period and perhaps deadline of each, the most urgent first."""
    return [
        SimTask(
            f"t{index}",
            cost,
            period_ns=period,
            deadline_ns=rest[0] if rest else None,
            priority=63 - index,
        )
        for index, (cost, period, *rest) in enumerate(rows)
    ]


def random_tasks(rng: random.Random, *, load: float, least: int = 1) -> list[SimTask]:
    """About this much load; deadlines of all kinds, some tasks of one job, some equals."""
    tasks: list[SimTask] = []
    count = rng.randint(least, least + 4)
    deadlines = rng.choice(["implicit", "constrained", "any"])
    for index in range(count):
        period = rng.choice([4, 5, 6, 8, 9, 10, 12, 15, 18, 20])
        cost = max(1, round(period * load / count * rng.uniform(0.3, 1.6)))
        deadline = {
            "implicit": None,
            "constrained": rng.randint(min(cost, period), period),
            "any": rng.randint(cost, 2 * period),
        }[deadlines]
        once = rng.random() < 0.1
        tasks.append(
            SimTask(
                f"t{index}",
                cost,
                period_ns=None if once else period,
                deadline_ns=deadline,
                priority=rng.randint(0, 4) if rng.random() < 0.3 else 10 + index,
            )
        )
    return tasks


def horizon(tasks: list[SimTask]) -> int:
    periods = [task.period_ns for task in tasks if task.period_ns]
    return 2 * lcm(*periods) + 60


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("preemptive", [True, False], ids=["preemptive", "non-preemptive"])
@pytest.mark.parametrize("processors", [1, 2, 3])
def test_verdicts_are_true(policy: str, preemptive: bool, processors: int) -> None:
    """What is called schedulable never misses, whatever the releases; what is not, does."""
    rng = random.Random(f"{policy} {preemptive} {processors}")
    told = {True: 0, False: 0, None: 0}
    how = {"processors": processors, "preemptive": preemptive}
    for _ in range(40):
        tasks = random_tasks(rng, load=processors * rng.uniform(0.3, 1.1), least=processors)
        if rng.random() < 0.3:
            tasks = [replace(task, release_ns=rng.randint(0, 12)) for task in tasks]
        verdict = schedulable(tasks, policy, **how)
        told[verdict.schedulable] += 1
        if verdict.schedulable is False:
            # A backlog that hardly grows takes long to be late.
            assert simulate(tasks, policy, until_ns=20 * horizon(tasks), **how).misses, tasks
        elif verdict.schedulable:
            variants = [
                tasks,
                *([replace(t, release_ns=rng.randint(0, 20)) for t in tasks] for _ in range(3)),
                [replace(t, cost_ns=rng.randint(1, t.cost_ns)) for t in tasks],
            ]
            for variant in variants:
                schedule = simulate(variant, policy, until_ns=horizon(tasks), **how)
                assert not schedule.misses, (variant, verdict)
                for name, response in schedule.worst_response_ns.items():
                    bound = verdict.worst_response_ns[name]
                    assert bound is None or response is None or response <= bound, variant
    assert told[False] > 1
    if processors == 1 and preemptive:
        # Undecided are only equal priorities, and releases that are not all at once.
        assert told[True] > 10
        assert told[None] < 14
    elif policy != "llf" and (preemptive or processors == 1):
        assert told[True] > 1


@pytest.mark.parametrize("policy", ["fixed", "rm"])
def test_response_times_are_those_of_the_critical_instant(policy: str) -> None:
    """Liu and Layland's theorem 1, and Lehoczky's for deadlines beyond the period."""
    rng = random.Random(3)
    compared = 0
    while compared < 300:
        periods = rng.sample([4, 5, 6, 8, 9, 10, 12, 15, 18, 20], rng.randint(2, 5))
        costs = [max(1, round(rng.uniform(0.1, 1.5) * p / len(periods))) for p in periods]
        tasks = [
            SimTask(f"t{i}", cost, period_ns=period, deadline_ns=1000, priority=priority)
            for i, (cost, period, priority) in enumerate(
                zip(costs, periods, rng.sample(range(64), len(periods)), strict=True)
            )
        ]
        verdict = schedulable(tasks, policy)
        if verdict.utilization > 1:
            assert verdict.schedulable is False
            continue
        assert verdict.worst_response_ns == simulate(tasks, policy).worst_response_ns
        compared += 1


def due(tasks: list[SimTask], length: int) -> int:
    """The demand bound function, by counting."""
    total = 0
    for task in tasks:
        assert task.period_ns
        assert task.deadline_ns
        for release in range(0, length + 1, task.period_ns):
            if release + task.deadline_ns <= length:
                total += task.cost_ns
    return total


@pytest.mark.parametrize("policy", ["edf", "llf"])
def test_processor_demand_against_brute_force(policy: str) -> None:
    rng = random.Random(11)
    told = {True: 0, False: 0}
    while min(told.values()) < 100:
        rows = []
        for _ in range(rng.randint(2, 5)):
            period = rng.choice([4, 5, 6, 8, 10, 12, 15])
            cost = rng.randint(1, max(1, period // 3))
            rows.append((cost, period, rng.randint(cost, period + 6)))
        tasks = tasks_of(*rows)
        if sum(task.utilization for task in tasks) > 1:
            continue
        longest = lcm(*(row[1] for row in rows)) + max(row[2] for row in rows)
        fits = all(due(tasks, length) <= length for length in range(1, longest + 1))
        assert schedulable(tasks, policy).schedulable is fits, tasks
        told[fits] += 1


def test_the_bounds_of_rate_monotonic() -> None:
    """Liu and Layland: 0.83 for two, 0.78 for three; Bini and Buttazzo accept more."""
    two = schedulable(tasks_of((2, 5), (3, 8)), "rm")
    assert (two.test, two.utilization) == ("Liu & Layland", pytest.approx(0.775))
    assert two.bound == pytest.approx(0.8284, abs=1e-4)
    three = schedulable(tasks_of((1, 4), (1, 5), (1, 10)), "rm")
    assert three.bound == pytest.approx(0.7798, abs=1e-4)
    # 0.85 is beyond the first bound; 1.1 * 1.75 is 1.925.
    skewed = schedulable(tasks_of((1, 10), (15, 20)), "rm")
    assert (skewed.test, skewed.schedulable) == ("hyperbolic", True)
    # Harmonic periods reach utilization 1 (Burns and Wellings).
    full = schedulable(tasks_of((5, 20), (10, 40), (40, 80)), "rm")
    assert (full.test, full.utilization, full.schedulable) == ("response time", 1.0, True)
    assert list(full.worst_response_ns.values()) == [5, 15, 80]
    # Exactly at the hyperbolic bound: (1 + 1/2) (1 + 1/3).
    assert schedulable(tasks_of((1, 2), (1, 3)), "rm").test == "hyperbolic"


def test_published_response_times() -> None:
    # Burns and Wellings, Real-Time Systems and Programming Languages.
    worst = schedulable(tasks_of((3, 7), (3, 12), (5, 20)), "rm").worst_response_ns
    assert list(worst.values()) == [3, 6, 20]
    # Lehoczky 1990: the fifth job is the latest, not the first.
    late = tasks_of((26, 70), (62, 100, 118))
    assert schedulable(late, "fixed").worst_response_ns["t1"] == 118
    responses = [job.response_ns for job in simulate(late).jobs if job.task == "t1"]
    assert responses == [114, 102, 116, 104, 118, 106, 94]
    assert schedulable(late, "fixed")
    assert not schedulable(tasks_of((26, 70), (62, 100, 117)), "fixed")


def test_the_second_job_of_a_busy_period_without_preemption() -> None:
    """Davis, Burns, Bril and Lukkien 2007: the first takes 300, and the next 350."""
    tasks = tasks_of((100, 250, 250), (100, 350, 325), (100, 350, 325))
    verdict = schedulable(tasks, "fixed", preemptive=False)
    assert verdict.worst_response_ns["t2"] == 350
    assert (verdict.schedulable, verdict.test) == (False, "simulation")


def test_blocking_without_preemption() -> None:
    """A long job that began one nanosecond before: seldom, but legal."""
    tasks = tasks_of((2, 10), (7, 40))
    for policy in ("fixed", "rm"):
        verdict = schedulable(tasks, policy, preemptive=False)
        assert (verdict.schedulable, verdict.worst_response_ns["t0"]) == (True, 8)
        assert schedulable(tasks, policy).worst_response_ns["t0"] == 2
    assert schedulable(tasks, "edf", preemptive=False)
    long = tasks_of((2, 10), (10, 40))
    # Released at once the long one never comes first: only other releases would show a miss.
    for policy in ("fixed", "edf", "rm"):
        verdict = schedulable(long, policy, preemptive=False)
        assert verdict.schedulable is None
        assert not verdict
        assert "no miss in a simulation of" in verdict.reason
    unlucky = [replace(long[0], release_ns=1), long[1]]
    for policy in POLICIES:
        verdict = schedulable(unlucky, policy, preemptive=False)
        assert (verdict.schedulable, verdict.test) == (False, "simulation")
        assert verdict.reason == "job 0 of t0 misses its deadline at 11 ns"


def test_equals_may_go_either_way() -> None:
    """First come, first served: what comes later may not delay, but what if it came earlier?"""
    tight, loose = (
        SimTask("tight", 3, period_ns=10, deadline_ns=3),
        SimTask("loose", 2, period_ns=10),
    )
    for policy in ("fixed", "rm"):
        verdict = schedulable([tight, loose], policy)
        assert (verdict.schedulable, verdict.worst_response_ns["tight"]) == (None, 5)
        assert schedulable([loose, tight], policy).schedulable is False
        assert schedulable([replace(tight, priority=40), loose], policy)


def test_several_processors() -> None:
    # Dhall and Liu 1978: little load, and yet a miss.
    dhall = tasks_of((2, 100), (2, 100), (100, 101))
    for policy in ("edf", "rm"):
        verdict = schedulable(dhall, policy, processors=2)
        assert (verdict.schedulable, verdict.test) == (False, "simulation")
    # Goossens, Funk and Baruah: m - (m - 1) * 1/2.
    half = tasks_of((1, 2), (1, 4), (1, 2), (1, 4))
    verdict = schedulable(half, "edf", processors=2)
    assert (verdict.schedulable, verdict.bound, verdict.utilization) == (True, 1.5, 1.5)
    assert schedulable(half[:2], "llf", processors=2).test == "cost"
    assert schedulable(half, "llf", processors=2).schedulable is None
    assert "least laxity on 2 processors" in schedulable(half, "llf", processors=2).reason
    # Bertogna and Cirinei: with two jobs of each in the way, 1 + 4 // 2.
    light = schedulable(tasks_of((1, 8), (1, 9), (1, 10)), "rm", processors=2)
    assert light.worst_response_ns == {"t0": 1, "t1": 1, "t2": 3}


@pytest.mark.parametrize("policy", POLICIES)
def test_what_no_policy_can_do(policy: str) -> None:
    over = schedulable(tasks_of((3, 5), (3, 5)), policy)
    assert (over.schedulable, over.test, over.bound) == (False, "utilization", 1.0)
    tight = schedulable(tasks_of((3, 5, 2)), policy, processors=8)
    assert (tight.schedulable, tight.test) == (False, "cost")
    alone = schedulable(tasks_of((6, 5, 60)), policy, processors=8)
    assert (alone.schedulable, alone.test) == (False, "utilization")


def test_tasks_of_one_job() -> None:
    once = SimTask("once", 5, priority=63)
    periodic = SimTask("p", 2, period_ns=6, priority=1)
    assert schedulable([once, periodic], "fixed").schedulable is False
    assert schedulable([once, periodic], "rm")
    assert schedulable([once, periodic], "edf")
    dated = replace(once, deadline_ns=7)
    assert schedulable([dated, periodic], "edf").schedulable is True
    assert schedulable([replace(once, deadline_ns=6), periodic], "edf").schedulable is False


def test_gives_up_where_the_busy_period_is_endless() -> None:
    """Utilization just below one, and periods without common divisors."""
    second = 1_000_000_000
    periods = (second, second + 7, second + 9)
    tasks = [
        SimTask(f"t{index}", period // 3, period_ns=period, deadline_ns=10**6 * second)
        for index, period in enumerate(periods)
    ]
    verdict = schedulable(tasks, "fixed")
    assert (verdict.schedulable, verdict.test) == (None, "busy period")
    assert schedulable(tasks, "edf")


def test_a_verdict_as_programs_read_it() -> None:
    verdict = schedulable(tasks_of((1, 4), (2, 6)), "rm")
    assert isinstance(verdict, Verdict)
    assert json.loads(json.dumps(verdict.to_dict())) == {
        "schedulable": True,
        "test": "Liu & Layland",
        "utilization": pytest.approx(7 / 12),
        "bound": pytest.approx(0.8284, abs=1e-4),
        "worst_response_ns": {"t0": 1, "t1": 3},
        "reason": "utilization 0.5833 is within Liu and Layland's bound for 2 tasks",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": []}, "tasks must not be empty"),
        ({"tasks": [3]}, "tasks must be SimTasks, got 3"),
        ({"policy": "best"}, "policy must be one of"),
        ({"processors": 0}, "processors must be at least 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        schedulable(**{"tasks": [SimTask("a", 1, period_ns=5)], "policy": "rm", **arguments})
