"""`simulate` against a simulator that counts nanoseconds, and against published schedules."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise
from math import lcm
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference.scheduling import Submission, TickSimulator, order

from midstream import MidstreamError
from midstream.scheduler import Priority, Schedule, SimTask, simulate

POLICIES = ("fixed", "edf", "rm", "llf")


@st.composite
def task_sets(draw: st.DrawFn) -> list[SimTask]:
    """Small numbers, so that ties, backlogs and late jobs are common."""
    tasks = []
    for index in range(draw(st.integers(1, 5))):
        period = draw(st.none() | st.integers(1, 12))
        tasks.append(
            SimTask(
                f"t{index}",
                draw(st.integers(1, 6)),
                period_ns=period,
                deadline_ns=draw(st.none() | st.integers(1, 14)),
                release_ns=draw(st.just(0) | st.integers(0, 8)),
                priority=draw(st.integers(30, 32)),
            )
        )
    return tasks


def check_tick_by_tick(
    tasks: list[SimTask], policy: str, until: int, processors: int, preemptive: bool
) -> None:
    schedule = simulate(tasks, policy, until_ns=until, processors=processors, preemptive=preemptive)
    oracle = TickSimulator(tasks, policy, processors, preemptive)
    oracle.run(until)
    assert [tuple(segment) for segment in schedule.segments] == oracle.segments()
    assert [
        (job.task, job.job, job.release_ns, job.deadline_ns, job.start_ns, job.finish_ns)
        for job in schedule.jobs
    ] == [
        (
            job.task.name,
            job.number,
            job.release,
            job.deadline,
            job.ticks[0][0] if job.ticks else None,
            job.finish,
        )
        for job in oracle.jobs
    ]
    assert schedule.preemptions == oracle.preemptions
    assert schedule.busy_ns == sum(len(job.ticks) for job in oracle.jobs)
    for job in schedule.jobs:
        end = until + 1 if job.finish_ns is None else job.finish_ns
        assert job.missed == (job.deadline_ns is not None and job.deadline_ns < end)


@given(
    task_sets(),
    st.sampled_from(POLICIES),
    st.integers(1, 70),
    st.sampled_from([1, 1, 2, 3]),
    st.booleans(),
)
def test_agrees_with_counting_nanoseconds(
    tasks: list[SimTask], policy: str, until: int, processors: int, preemptive: bool
) -> None:
    check_tick_by_tick(tasks, policy, until, processors, preemptive)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("processors", [1, 2, 3])
def test_agrees_with_counting_nanoseconds_on_crowded_sets(policy: str, processors: int) -> None:
    """Ties among jobs that wait for their own predecessors are too rare for the search above."""
    rng = random.Random(processors)
    for turn in range(250):
        tasks = [
            SimTask(
                f"t{index}",
                rng.randint(1, 8),
                period_ns=rng.choice([None, *range(2, 10), *range(2, 10)]),
                deadline_ns=rng.choice([None, *range(1, 18)]),
                release_ns=rng.choice([0, rng.randint(0, 9)]),
                priority=rng.randint(30, 32),
            )
            for index in range(rng.randint(2, 6))
        ]
        # A task of one job has no deadline but one that is given.
        tasks += [
            SimTask(f"u{n}", 4, release_ns=rng.randint(0, 60), priority=rng.randint(30, 32))
            for n in range(2)
        ]
        check_tick_by_tick(tasks, policy, 70, processors, preemptive=turn % 4 != 0)


@given(task_sets(), st.sampled_from(POLICIES), st.integers(1, 3), st.booleans())
def test_what_holds_in_every_schedule(
    tasks: list[SimTask], policy: str, processors: int, preemptive: bool
) -> None:
    schedule = simulate(tasks, policy, until_ns=100, processors=processors, preemptive=preemptive)
    cost = {task.name: task.cost_ns for task in tasks}
    for key in {(job.task, job.job) for job in schedule.jobs}:
        (job,) = (job for job in schedule.jobs if (job.task, job.job) == key)
        parts = [part for part in schedule.segments if (part.task, part.job) == key]
        ran = sum(part.end_ns - part.start_ns for part in parts)
        assert (ran == cost[job.task]) == (job.finish_ns is not None)
        assert ran <= cost[job.task]
        assert all(one.end_ns <= two.start_ns for one, two in pairwise(parts))
        if not preemptive:
            assert len(parts) <= 1
    for processor in range(processors):
        parts = [part for part in schedule.segments if part.processor == processor]
        assert all(one.end_ns <= two.start_ns for one, two in pairwise(parts))
    worst = schedule.worst_response_ns
    assert list(worst) == [task.name for task in tasks]
    for name, response in worst.items():
        done = [job.response_ns for job in schedule.jobs if job.task == name and job.response_ns]
        assert response == max(done, default=None)
    assert schedule.utilization == schedule.busy_ns / (processors * 100)


@st.composite
def feasible_sets(draw: st.DrawFn) -> list[SimTask]:
    """Implicit deadlines and a utilization of one processor at most."""
    tasks: list[SimTask] = []
    load, whole = 0, 840
    for index in range(draw(st.integers(1, 5))):
        period = draw(st.sampled_from([2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15]))
        most = (whole - load) * period // whole
        if most:
            cost = draw(st.integers(1, most))
            load += cost * whole // period
            release = draw(st.just(0) | st.integers(0, 20))
            tasks.append(SimTask(f"t{index}", cost, period_ns=period, release_ns=release))
    return tasks


@given(feasible_sets().filter(bool), st.sampled_from(["edf", "llf"]))
def test_edf_and_least_laxity_meet_every_deadline_up_to_full_load(
    tasks: list[SimTask], policy: str
) -> None:
    hyperperiod = lcm(*(task.period_ns for task in tasks))
    # Two hyperperiods behind the last release show the steady state (Leung and Merrill 1980).
    schedule = simulate(tasks, policy, until_ns=2 * hyperperiod + 20)
    assert not schedule.misses


@pytest.mark.parametrize("seed", range(4))
def test_least_laxity_meets_all_deadlines_that_can_be_met(seed: int) -> None:
    """As EDF, whatever the releases and deadlines, on one processor."""
    rng = random.Random(seed)
    feasible = 0
    for _ in range(500):
        tasks = [
            SimTask(
                f"t{index}",
                (cost := rng.randint(1, 9)),
                release_ns=rng.randint(0, 30),
                deadline_ns=cost + rng.randint(0, 16),
            )
            for index in range(rng.randint(3, 8))
        ]
        edf, llf = (simulate(tasks, policy) for policy in ("edf", "llf"))
        assert bool(edf.misses) == bool(llf.misses), tasks
        feasible += not edf.misses
    assert 100 < feasible < 400


def chart(schedule: Schedule, processor: int = 0) -> str:
    """One letter a nanosecond; a dot where the processor idles."""
    line = ["."] * schedule.end_ns
    for part in schedule.segments:
        if part.processor == processor:
            line[part.start_ns : part.end_ns] = part.task * (part.end_ns - part.start_ns)
    return "".join(line)


def test_rate_monotonic_and_edf_in_buttazzo() -> None:
    """Hard Real-Time Computing Systems, chapter 4: U = 2/5 + 4/7 is 0.97."""
    tasks = [SimTask("a", 2, period_ns=5), SimTask("b", 4, period_ns=7)]
    rm, edf = simulate(tasks, "rm"), simulate(tasks, "edf")
    assert chart(rm)[:14] == "aabbbaabbbaabb"
    assert [(job.task, job.finish_ns, job.lateness_ns) for job in rm.misses] == [("b", 8, 1)]
    assert chart(edf) == "aabbbbaabbbbaabaabbbaabbbbaabbbbaa."
    assert not edf.misses


def test_liu_and_layland_section_three() -> None:
    """T1 = 2, T2 = 5, C1 = 1: C2 may be 2 with T1 first, and only 1 with T2 first."""
    first = [SimTask("a", 1, period_ns=2, priority=2), SimTask("b", 2, period_ns=5, priority=1)]
    assert chart(simulate(first)) == "ababababa."
    assert not simulate(first).misses
    swapped = [SimTask("a", 1, period_ns=2, priority=1), SimTask("b", 2, period_ns=5, priority=2)]
    assert simulate(swapped).misses[0].task == "a"
    less = [SimTask("a", 1, period_ns=2, priority=1), SimTask("b", 1, period_ns=5, priority=2)]
    assert not simulate(less).misses


def test_dhalls_effect() -> None:
    """Dhall and Liu 1978: two processors, load hardly above one, and EDF still misses."""
    light = [SimTask(name, 2, period_ns=100) for name in "ab"]
    heavy = SimTask("h", 100, period_ns=101)
    tasks = [*light, heavy]
    for policy in ("edf", "rm"):
        assert {job.task for job in simulate(tasks, policy, processors=2, until_ns=101).misses} == {
            "h"
        }
    # The heavy task has the least laxity, 1 against 98.
    assert not simulate(tasks, "llf", processors=2, until_ns=101).misses


def test_domino_effect_of_edf_under_overload() -> None:
    """Buttazzo, chapter 2: one more job, and everybody is late."""
    tasks = [
        SimTask("a", 4, deadline_ns=5, release_ns=0),
        SimTask("b", 4, deadline_ns=8, release_ns=1),
        SimTask("c", 4, deadline_ns=11, release_ns=2),
        SimTask("d", 4, deadline_ns=14, release_ns=3),
    ]
    assert [job.task for job in simulate(tasks, "edf").misses] == []
    extra = SimTask("e", 3, deadline_ns=4)
    assert [job.task for job in simulate([*tasks, extra], "edf").misses] == ["a", "b", "c", "d"]


def test_without_preemption_a_long_job_blocks() -> None:
    tasks = [
        SimTask("a", 1, period_ns=4, release_ns=1, priority=Priority.HIGH),
        SimTask("b", 6, period_ns=12, priority=Priority.LOW),
    ]
    assert chart(simulate(tasks, until_ns=12)) == "babbbabb.a.."
    blocked = simulate(tasks, until_ns=12, preemptive=False)
    assert chart(blocked) == "bbbbbbaa.a.."
    assert [(job.job, job.finish_ns) for job in blocked.misses] == [(0, 7)]
    assert blocked.preemptions == 0


def test_least_laxity_does_not_thrash() -> None:
    """Equal laxities all the way: followed tick by tick, it would switch a million times."""
    tasks = [SimTask("a", 10**6, deadline_ns=2 * 10**6), SimTask("b", 10**6, deadline_ns=2 * 10**6)]
    schedule = simulate(tasks, "llf")
    assert (len(schedule.segments), schedule.preemptions) == (2, 0)
    assert not schedule.misses


@given(task_sets(), st.sampled_from(POLICIES), st.integers(1, 3), st.booleans())
def test_a_schedule_does_not_depend_on_how_finely_time_is_counted(
    tasks: list[SimTask], policy: str, processors: int, preemptive: bool
) -> None:
    """Least laxity neither: it decides where something happens, not at every nanosecond."""

    def finer(time: int | None) -> int | None:
        return None if time is None else 1_000_000 * time

    long = [
        replace(
            task,
            cost_ns=finer(task.cost_ns),
            period_ns=finer(task.period_ns),
            deadline_ns=finer(task.deadline_ns),
            release_ns=finer(task.release_ns),
        )
        for task in tasks
    ]
    coarse = simulate(tasks, policy, until_ns=60, processors=processors, preemptive=preemptive)
    fine = simulate(long, policy, until_ns=finer(60), processors=processors, preemptive=preemptive)
    assert fine.segments == tuple(
        part._replace(start_ns=finer(part.start_ns), end_ns=finer(part.end_ns))
        for part in coarse.segments
    )


def test_equals_are_served_first_come_first_served() -> None:
    tasks = [SimTask("c", 2, release_ns=1), SimTask("a", 3), SimTask("b", 2, release_ns=1)]
    for policy in POLICIES:
        assert chart(simulate(tasks, policy)) == "aaaccbb", policy


def test_those_without_the_key_come_last() -> None:
    tasks = [
        SimTask("a", 1, priority=63),
        SimTask("b", 1, priority=1, deadline_ns=50),
        SimTask("c", 1, priority=2, period_ns=60),
    ]
    assert chart(simulate(tasks, "fixed", until_ns=3)) == "acb"
    assert chart(simulate(tasks, "edf", until_ns=3)) == "bca"
    assert chart(simulate(tasks, "rm", until_ns=3)) == "cab"
    assert chart(simulate(tasks, "llf", until_ns=3)) == "bca"


def test_a_backlog_grows_under_overload() -> None:
    schedule = simulate([SimTask("a", 3, period_ns=2)], "edf", until_ns=300)
    assert len(schedule.jobs) == 150
    done = [job for job in schedule.jobs if job.finish_ns is not None]
    assert len(done) == 100
    assert [job.lateness_ns for job in done] == [job.job + 1 for job in done]
    # Those whose deadline is behind the end have not missed it.
    assert len(schedule.misses) == 150
    assert schedule.utilization == 1
    patient = simulate([SimTask("a", 3, period_ns=2, deadline_ns=100)], until_ns=300)
    # Job 100 is not done at its deadline, which is the end.
    assert [(job.job, job.lateness_ns) for job in patient.misses] == [(98, 1), (99, 2), (100, None)]


def test_the_default_end() -> None:
    periodic = [SimTask("a", 1, period_ns=4), SimTask("b", 1, period_ns=6, release_ns=5)]
    assert simulate(periodic).end_ns == 17
    once = [SimTask("a", 10, release_ns=3), SimTask("b", 5, release_ns=20)]
    assert simulate(once).end_ns == 25
    assert simulate([*once, SimTask("c", 1, period_ns=7)]).end_ns == 27
    assert simulate(once, until_ns=7).jobs[0].finish_ns is None
    assert len(simulate(once, until_ns=20).jobs) == 1


def test_numbers_of_numpy_are_taken_as_what_they_are() -> None:
    number = np.uint8
    odd = SimTask("a", number(200), period_ns=number(250), priority=number(9))
    assert odd == SimTask("a", 200, period_ns=250, priority=9)
    assert {type(value) for value in (odd.cost_ns, odd.period_ns, odd.priority)} == {int}
    assert simulate([odd, SimTask("b", 10, period_ns=250)]).jobs[0].start_ns == 10
    assert SimTask("a", 1, priority=Priority.HIGH).priority is Priority.HIGH


def test_nanoseconds_stay_exact() -> None:
    """Beyond 2**53, where a float would round."""
    far = 2**60 + 1
    (job,) = simulate([SimTask("a", 3, release_ns=far, deadline_ns=3)]).jobs
    assert (job.start_ns, job.finish_ns, job.missed) == (far, far + 3, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": []}, "tasks must not be empty"),
        ({"tasks": 3}, "tasks must be SimTasks, got 3 "),
        ({"tasks": ["a"]}, "tasks must be SimTasks, got 'a'"),
        ({"tasks": [SimTask("a", 1), SimTask("a", 2)]}, "names of their own, got 'a' twice"),
        ({"policy": "fifo"}, "policy must be one of 'fixed', 'edf', 'rm', 'llf', got 'fifo'"),
        ({"until_ns": 0}, "until_ns must be at least 1, got 0"),
        ({"until_ns": 1.5}, "until_ns must be an integer, got 1.5"),
        ({"processors": 0}, "processors must be at least 1, got 0"),
        (
            {"tasks": [SimTask(f"{p}", 1, period_ns=p) for p in (999_983, 999_979, 999_961)]},
            "until_ns must be given: the periods have a least common multiple of 1e+18 ns",
        ),
        ({"until_ns": 10**18}, "a simulation of .* jobs needs"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message.replace("+", r"\+")):
        simulate(**{"tasks": [SimTask("a", 1, period_ns=5)], **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 3}, "name must be str"),
        ({"cost_ns": 0}, "cost_ns must be at least 1, got 0"),
        ({"cost_ns": 1e3}, "cost_ns must be an integer"),
        ({"period_ns": 0}, "period_ns must be at least 1"),
        ({"deadline_ns": -5}, "deadline_ns must be at least 1"),
        ({"release_ns": -1}, "release_ns must be at least 0"),
        ({"priority": 64}, "priority must be at most 63"),
        ({"priority": True}, "priority must be an integer"),
    ],
)
def test_bad_tasks(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        SimTask(**{"name": "a", "cost_ns": 1, **arguments})


def test_a_schedule_as_people_and_programs_read_it() -> None:
    tasks = [
        SimTask("<a>", 2, period_ns=5, priority=Priority.HIGH),
        SimTask("b", 4, period_ns=7),
        SimTask("once", 1, release_ns=30),
    ]
    schedule = simulate(tasks, "rm", processors=1)
    assert repr(schedule).startswith("<Schedule rm tasks=3 jobs=")
    assert "\n" not in repr(schedule)
    told = json.loads(json.dumps(schedule.to_dict()))
    assert told["tasks"][0]["priority"] == 40
    assert told["segments"][0] == {
        "task": "<a>",
        "job": 0,
        "processor": 0,
        "start_ns": 0,
        "end_ns": 2,
    }
    assert told["jobs"][0]["response_ns"] == 2
    page = schedule._repr_html_()
    assert "&lt;a&gt;" in page
    assert "<a>" not in page
    assert page.count("<table>") == page.count("<svg ") == 1
    assert "d62839" in page  # the miss
    assert "non-preemptive processors=2" in repr(
        simulate(tasks, preemptive=False, processors=2, until_ns=9)
    )
    # Too much for a browser is cut, and the picture says so.
    assert "the first 600 of" in simulate(tasks, "rm", until_ns=10_000)._repr_html_()
    nothing = simulate([SimTask("late", 1, release_ns=5)], until_ns=3)
    assert (nothing.segments, nothing.jobs, nothing.utilization) == ((), (), 0.0)
    assert nothing.worst_response_ns == {"late": None}
    assert "<svg" not in nothing._repr_html_()


submissions = st.lists(
    st.tuples(
        st.integers(30, 32),
        st.none() | st.integers(1, 20),
        st.none() | st.integers(1, 4),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=7,
).map(lambda drawn: [Submission(seq, *rest) for seq, rest in enumerate(drawn)])


@given(submissions, st.sampled_from(POLICIES))
@example([Submission(0, 30, 5, None, 1), Submission(1, 31, 5, None, 1)], "edf")
@example([Submission(0, 30, 5, None, 3), Submission(1, 31, 4, None, 2)], "llf")
def test_the_order_of_a_queue_is_that_of_the_simulation(
    submitted: list[Submission], policy: str
) -> None:
    """Two references that were written apart, and `simulate`: all submitted at once."""
    tasks = [
        SimTask(
            f"{one.seq}",
            one.cost_ns or 1,
            period_ns=one.period_ns and 1000 + one.period_ns,
            deadline_ns=one.deadline_ns,
            priority=one.priority,
        )
        for one in submitted
    ]
    if policy in ("edf", "llf"):
        # The deadline of a periodic task defaults to its period, that of a submission does not.
        tasks = [
            SimTask(t.name, t.cost_ns, deadline_ns=one.deadline_ns, priority=t.priority)
            for t, one in zip(tasks, submitted, strict=True)
        ]
    schedule = simulate(tasks, policy, until_ns=100, preemptive=False)
    assert [int(part.task) for part in schedule.segments] == order(policy, submitted)


def test_the_order_of_a_queue_by_hand() -> None:
    held = [
        (0, 30, None, None, None),
        (1, 10, 100, 7, 10),
        (2, 30, 95, None, None),
        (3, 50, 100, 7, 40),
        (4, 50, None, 9, 5),
        (5, 30, 100, 7, 10),
    ]
    assert order("fixed", held) == [3, 4, 0, 2, 5, 1]
    assert order("edf", held) == [2, 3, 5, 1, 4, 0]
    assert order("rm", held) == [3, 5, 1, 4, 0, 2]
    assert order("llf", held) == [3, 5, 1, 2, 4, 0]
