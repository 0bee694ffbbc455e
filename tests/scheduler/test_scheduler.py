"""`Scheduler`: order, accounts, time, overload, workers, asyncio, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import signal
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reference.scheduling import Submission, order

from midstream.errors import (
    AdmissionError,
    ArgumentTypeError,
    ArgumentValueError,
    QueueFullError,
)
from midstream.scheduler import Priority, Scheduler, Stats

POLICIES = ("fixed", "edf", "rm", "llf")
FAR_NS = 3_600_000_000_000
PATIENCE_S = 60.0


def identity_holds(stats: Stats) -> bool:
    return stats.submitted == stats.completed + stats.cancelled + stats.dropped + stats.pending


def drain(scheduler: Scheduler) -> list[Any]:
    return list(iter(scheduler.next, None))


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S)


@pytest.fixture(autouse=True)
def no_workers_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert [t for t in left if t.name.startswith("midstream-worker")] == []


# ---- order ----

submissions = st.lists(
    st.tuples(
        st.integers(0, 63) | st.sampled_from(Priority),
        st.none() | st.integers(FAR_NS, FAR_NS + 5),
        st.none() | st.integers(FAR_NS, FAR_NS + 3),
        st.none() | st.integers(0, 4),
    ),
    max_size=60,
)


def as_submissions(rows: list[tuple[Any, ...]], now: int) -> list[Submission]:
    """What the reference orders: a periodic task without a deadline has the end of its period."""
    made = []
    for seq, (priority, deadline, period, cost) in enumerate(rows):
        implicit = now + period if deadline is None and period is not None else deadline
        made.append(Submission(seq, int(priority), implicit, period, cost))
    return made


@pytest.mark.parametrize("policy", POLICIES)
@given(rows=submissions)
def test_order_is_that_of_the_reference(policy: str, rows: list[tuple[Any, ...]]) -> None:
    scheduler = Scheduler(policy)
    now = time.monotonic_ns()
    rows = [
        (priority, None if deadline is None else now + deadline, period, cost)
        for priority, deadline, period, cost in rows
    ]
    for seq, (priority, deadline, period, cost) in enumerate(rows):
        scheduler.schedule(
            seq,
            priority,
            deadline,
            at_ns=None if period is None else now,
            period_ns=period,
            cost_ns=cost,
        )
    # Periodic tasks come again in an hour; each is handed out once now.
    assert drain(scheduler) == order(policy, as_submissions(rows, now))
    assert identity_holds(scheduler.stats())


@pytest.mark.parametrize("policy", POLICIES)
@given(rows=submissions, cut=st.integers(0, 60), data=st.data())
@settings(max_examples=40)
def test_order_survives_cancellation_and_interleaving(
    policy: str, rows: list[tuple[Any, ...]], cut: int, data: st.DataObject
) -> None:
    scheduler = Scheduler(policy)
    now = time.monotonic_ns()
    waiting: list[Submission] = []
    handles: dict[int, int] = {}
    for seq, (priority, deadline, _, cost) in enumerate(rows):
        deadline = None if deadline is None else now + deadline
        handles[seq] = scheduler.schedule(seq, priority, deadline, cost_ns=cost)
        waiting.append(Submission(seq, int(priority), deadline, None, cost))
        if data.draw(st.booleans()):
            first = order(policy, waiting)[0]
            assert scheduler.next() == first
            waiting = [task for task in waiting if task.seq != first]
        elif data.draw(st.booleans()) and waiting:
            gone = data.draw(st.sampled_from(waiting))
            assert scheduler.cancel(handles[gone.seq])
            assert not scheduler.cancel(handles[gone.seq])
            waiting.remove(gone)
    assert scheduler.next_many(1000) == order(policy, waiting)


class Called:
    """What can be called; otherwise like its number."""

    def __init__(self, seq: int) -> None:
        self.seq = seq

    def __call__(self) -> None:
        raise AssertionError("next() hands out, and does not call")


@pytest.mark.parametrize("policy", POLICIES)
@given(rows=submissions, data=st.data())
@settings(max_examples=40)
def test_what_can_be_called_and_what_cannot_share_one_order(
    policy: str, rows: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    scheduler = Scheduler(policy)
    waiting = []
    for seq, (priority, deadline, _, cost) in enumerate(rows):
        payload = Called(seq) if data.draw(st.booleans()) else seq
        deadline = None if deadline is None else FAR_NS * 1000 + deadline
        scheduler.schedule(payload, priority, deadline, cost_ns=cost)
        waiting.append(Submission(seq, int(priority), deadline, None, cost))
    handed = drain(scheduler)
    assert [p.seq if isinstance(p, Called) else p for p in handed] == order(policy, waiting)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(-(2**63), -(2**63) + 20), st.sampled_from([0, 9, 2**62])
        ),
        max_size=20,
    )
)
def test_laxity_has_an_end_and_does_not_wrap(rows: list[tuple[int, int, int]]) -> None:
    scheduler = Scheduler("llf")
    for seq, (priority, deadline, cost) in enumerate(rows):
        scheduler.schedule(seq, priority, deadline, cost_ns=cost)
    laxities = [max(deadline - cost, -(2**63)) for _, deadline, cost in rows]
    assert drain(scheduler) == sorted(
        range(len(rows)), key=lambda seq: (laxities[seq], -rows[seq][0], seq)
    )


def test_fixed_is_fifo_within_a_priority() -> None:
    scheduler = Scheduler()
    tasks = [(priority, k) for k in range(50) for priority in Priority]
    for task in tasks:
        scheduler.schedule(task, task[0])
    expected = sorted(tasks, key=lambda task: (-task[0], task[1]))
    assert drain(scheduler) == expected


def test_heaps_survive_many_cancellations() -> None:
    scheduler = Scheduler("edf", 1000)
    rng = random.Random(1)
    alive: dict[int, int] = {}
    for turn in range(20_000):
        deadline = FAR_NS * 10**3 + rng.randrange(10**9)
        alive[scheduler.schedule((deadline, turn), deadline_ns=deadline)] = deadline
        if len(alive) > 300:
            handle = rng.choice(list(alive))
            assert scheduler.cancel(handle)
            del alive[handle]
    assert [deadline for deadline, _ in drain(scheduler)] == sorted(alive.values())
    assert scheduler.stats().cancelled == 20_000 - len(alive)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_heap_of_dead_entries_alone_is_swept(left: int) -> None:
    scheduler = Scheduler("edf")
    for turn in range(3):
        handles = [
            scheduler.schedule((turn, k), deadline_ns=FAR_NS * 1000 - k) for k in range(65 + left)
        ]
        assert scheduler.cancel_many(handles[left:]) == 65
        scheduler.schedule((turn, "last"), deadline_ns=FAR_NS * 1001)
        alive = [(turn, k) for k in reversed(range(left))]
        assert drain(scheduler) == [*alive, (turn, "last")]


# ---- batches ----


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("overload", ["reject", "drop_lowest", "drop_oldest"])
def test_batches_are_the_same_as_one_by_one(policy: str, overload: str) -> None:
    rng = random.Random(2)
    n = 500
    priorities = [rng.randrange(64) for _ in range(n)]
    deadlines = [rng.choice([None, FAR_NS * 1000 + rng.randrange(20)]) for _ in range(n)]
    batch, single = (Scheduler(policy, n, overload=overload) for _ in range(2))
    handles = batch.schedule_many(range(n), priorities, deadlines)
    for k in range(n):
        single.schedule(k, priorities[k], deadlines[k])
    assert len(set(handles)) == n
    assert batch.next_many(7) == [single.next() for _ in range(7)]
    assert batch.next_many(n) == drain(single)


def test_batch_takes_buffers_and_gives_one() -> None:
    scheduler = Scheduler("edf")
    deadlines = np.array([3, 1, 2], dtype=np.int64) * FAR_NS * 1000
    handles = scheduler.schedule_many("abc", deadline_ns=deadlines)
    assert np.asarray(handles).dtype == np.uint64
    assert scheduler.cancel_many(handles[:1]) == 1
    assert scheduler.next_many(5) == ["b", "c"]
    assert scheduler.cancel_many(handles) == 0


def test_a_batch_has_one_time_for_all() -> None:
    scheduler = Scheduler()
    now = time.monotonic_ns()
    scheduler.schedule_many(["later", len], at_ns=now + FAR_NS)
    scheduler.schedule_many("ab", [1, 2], at_ns=now - 10**9)
    assert scheduler.next_many(9) == ["b", "a"]
    stats = scheduler.stats()
    assert (stats.waiting, stats.pending, stats.latency.count) == (2, 2, 2)
    # From the time that was asked for, not from that of the call.
    assert stats.latency.min >= 10**9
    assert scheduler._due_ns() == now + FAR_NS
    assert scheduler.clear() == 2


def test_batch_that_does_not_fit_keeps_its_first_part() -> None:
    scheduler = Scheduler(capacity=10)
    scheduler.schedule_many(range(4))
    with pytest.raises(QueueFullError, match="6 of 9") as caught:
        scheduler.schedule_many(range(100, 109))
    assert len(caught.value.handles) == 6
    stats = scheduler.stats()
    assert (stats.submitted, stats.rejected, stats.pending) == (10, 3, 10)
    assert scheduler.cancel(caught.value.handles[0])
    assert drain(scheduler) == [0, 1, 2, 3, 101, 102, 103, 104, 105]


def test_batch_with_bad_items_submits_nothing() -> None:
    scheduler = Scheduler()
    with pytest.raises(ArgumentTypeError, match="index 1"):
        scheduler.schedule_many([1, None])
    with pytest.raises(ArgumentValueError, match="priority must have as many items"):
        scheduler.schedule_many([1, 2], [3])
    with pytest.raises(ArgumentValueError, match="deadline_ns must have as many items"):
        scheduler.schedule_many([1, 2], deadline_ns=[3])
    with pytest.raises(ArgumentValueError, match="priority"):
        scheduler.schedule_many([1, 2], [3, 64])
    assert scheduler.stats().submitted == 0
    assert len(scheduler.schedule_many([])) == 0
    assert scheduler.next_many(0) == []


# ---- arguments ----


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"policy": "fifo"}, ArgumentValueError, "policy"),
        ({"capacity": 0}, ArgumentValueError, "capacity"),
        ({"capacity": 2**26 + 1}, ArgumentValueError, "capacity"),
        ({"capacity": 1.5}, ArgumentTypeError, "capacity"),
        ({"workers": -1}, ArgumentValueError, "workers"),
        ({"overload": "drop"}, ArgumentValueError, "overload"),
        ({"realtime": 1}, ArgumentTypeError, "realtime"),
        ({"admission": "yes"}, ArgumentTypeError, "admission"),
        ({"cpu_affinity": [10**6]}, ArgumentValueError, "cpu_affinity"),
        ({"max_failures": -1}, ArgumentValueError, "max_failures"),
    ],
)
def test_bad_constructor_arguments(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Scheduler(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"payload": None}, ArgumentTypeError, "payload"),
        ({"priority": 64}, ArgumentValueError, "priority"),
        ({"priority": -1}, ArgumentValueError, "priority"),
        ({"priority": True}, ArgumentTypeError, "priority"),
        ({"priority": 10**30}, ArgumentValueError, "priority"),
        ({"priority": "high"}, ArgumentTypeError, "priority"),
        ({"deadline_ns": 1.5}, ArgumentTypeError, "deadline_ns"),
        ({"deadline_ns": 2**63}, ArgumentValueError, "deadline_ns"),
        ({"at_ns": "now"}, ArgumentTypeError, "at_ns"),
        ({"period_ns": 0}, ArgumentValueError, "period_ns"),
        ({"cost_ns": -1}, ArgumentValueError, "cost_ns"),
    ],
)
def test_bad_task_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    scheduler = Scheduler()
    with pytest.raises(error, match=words):
        scheduler.schedule(**{"payload": 1, **arguments})
    stats = scheduler.stats()
    assert (stats.submitted, stats.rejected) == (0, 0)


def test_numpy_integers_and_extreme_times_are_fine() -> None:
    scheduler = Scheduler("edf")
    scheduler.schedule("late", np.int64(3), np.int64(5))
    scheduler.schedule("early", deadline_ns=-(2**63))
    scheduler.schedule("never", at_ns=2**63 - 2)
    scheduler.schedule("now", at_ns=-(2**62), period_ns=2**63 - 2)
    assert sorted(drain(scheduler)) == ["early", "late", "now"]
    stats = scheduler.stats()
    assert (stats.pending, stats.waiting, stats.late_start) == (2, 2, 2)


@pytest.mark.parametrize("handle", [0, -1, 1, 12345678901234567890123, 2**63, 65536 * 7])
def test_handles_that_never_were(handle: int) -> None:
    scheduler = Scheduler()
    scheduler.next_many(1)
    assert scheduler.cancel(handle) is False
    with pytest.raises(ArgumentTypeError, match="handle"):
        scheduler.cancel("1")  # type: ignore[arg-type]


def test_handles_of_slots_beyond_the_capacity() -> None:
    scheduler = Scheduler(capacity=5)  # numbered by three bits of a handle
    handles = [scheduler.schedule(k) for k in range(5)]
    others = sorted(set(range(128)) - set(handles))
    assert scheduler.cancel_many(others) == 0
    assert drain(scheduler) == [0, 1, 2, 3, 4]


def test_heaps_take_memory_where_a_policy_needs_them() -> None:
    sizes = {policy: sys.getsizeof(Scheduler(policy, 1000)) for policy in POLICIES}
    assert sizes["edf"] == sizes["rm"] == sizes["llf"]
    # In each of two, living and dead entries of 24 bytes, a task of each kind.
    assert sizes["edf"] - sizes["fixed"] >= 2 * 2 * 1000 * 24


def test_a_scheduler_cannot_be_initialised_twice_or_pickled() -> None:
    import copy
    import pickle

    scheduler = Scheduler()
    with pytest.raises(ArgumentTypeError, match="twice"):
        scheduler.__init__(workers=3)  # type: ignore[misc]
    assert scheduler.workers == 0
    for way in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            way(scheduler)
    assert bool(scheduler)
    assert 160 * 2**20 > sys.getsizeof(Scheduler("fixed", 2**20)) > 150 * 2**20


def test_batches_take_numpy_scalars_and_refuse_what_has_no_order() -> None:
    scheduler = Scheduler("edf")
    scheduler.schedule_many("a", np.int64(3), np.int64(5))
    assert scheduler.next_many(2) == ["a"]
    for arguments, name in (
        ({"payloads": {1: 2}}, "payloads"),
        ({"payloads": 5}, "payloads"),
        ({"payloads": "ab", "priority": {1: 2, 3: 4}}, "priority"),
        ({"payloads": "ab", "deadline_ns": {1, 2}}, "deadline_ns"),
    ):
        with pytest.raises(ArgumentTypeError, match=name):
            scheduler.schedule_many(**arguments)
    with pytest.raises(ArgumentTypeError, match="handles"):
        scheduler.cancel_many(5)  # type: ignore[arg-type]


def test_a_batch_that_grows_while_it_is_read() -> None:
    scheduler = Scheduler()
    payloads: list[object] = [1, 2]

    def grow() -> Iterator[int]:
        for _ in range(2):
            payloads.extend(range(1000))
            yield 3

    assert len(scheduler.schedule_many(payloads, grow())) == 2
    assert scheduler.next_many(10**6) == [1, 2]


def test_a_scheduler_that_was_not_initialised_is_harmless() -> None:
    scheduler = Scheduler.__new__(Scheduler)
    assert (scheduler.next(), len(scheduler), scheduler.cancel(1)) == (None, 0, False)
    scheduler.schedule(object())
    scheduler.__init__(capacity=5)  # type: ignore[misc]
    assert len(scheduler) == 0


# ---- accounts ----


def test_late_at_start_and_at_finish() -> None:
    scheduler = Scheduler("edf")
    scheduler.schedule("past", deadline_ns=time.monotonic_ns() - 1)
    scheduler.schedule("future", deadline_ns=time.monotonic_ns() + FAR_NS)
    assert scheduler.next() == "past"
    assert scheduler.next() == "future"
    assert (scheduler.stats().late_start, scheduler.stats().late_finish) == (1, 0)

    begun = threading.Event()
    deadline = time.monotonic_ns() + 50_000_000

    def outlive() -> None:
        begun.set()
        while time.monotonic_ns() <= deadline:
            pass

    scheduler.schedule(outlive, deadline_ns=deadline)
    assert scheduler.run() == 1
    assert begun.is_set()
    # On a machine that stood still for 50 ms it was late at the start as well.
    assert scheduler.stats().late_finish == 1


def test_latency_is_measured_from_the_time_that_was_asked_for() -> None:
    scheduler = Scheduler()
    asked = time.monotonic_ns() - 1_000_000_000
    scheduler.schedule("long ago", at_ns=asked)
    assert scheduler.next() == "long ago"
    waited = time.monotonic_ns() - asked
    latency = scheduler.stats().latency
    assert latency.count == 1
    assert 999_000_000 <= latency.max <= waited
    before = time.monotonic_ns()
    scheduler.schedule_many(range(100))
    scheduler.next_many(100)
    whole = time.monotonic_ns() - before
    assert scheduler.stats().latency.count == 101
    assert scheduler.stats().latency.quantile(0.5) <= whole * 1.01 + 2000


def test_a_latency_has_an_end_and_does_not_wrap() -> None:
    scheduler = Scheduler()
    scheduler.schedule("when time began", at_ns=-(2**63) + 1)
    assert scheduler.next() == "when time began"
    assert scheduler.stats().latency.max == 2**63 - 1


def test_all_are_cleared_however_many() -> None:
    scheduler = Scheduler("edf")
    later = time.monotonic_ns() + FAR_NS
    scheduler.schedule_many(range(600), deadline_ns=later)
    scheduler.schedule_many([len] * 300)
    scheduler.schedule_many(range(600), at_ns=later)
    assert scheduler.clear() == 1500
    stats = scheduler.stats()
    assert (stats.cancelled, stats.pending, stats.waiting) == (1500, 0, 0)
    assert scheduler.next() is None
    assert scheduler.clear() == 0


def test_stats_are_a_mapping_and_a_table() -> None:
    scheduler = Scheduler()
    assert repr(scheduler.stats()) == "<Stats nothing submitted>"
    scheduler.schedule(1)
    stats = scheduler.stats()
    assert dict(stats)["submitted"] == stats["submitted"] == stats.submitted == 1
    assert len(stats) == len(list(stats)) == 14
    with pytest.raises(KeyError):
        stats["nothing"]
    assert "submitted=1 pending=1" in repr(stats)
    assert "<th>late start</th><td>0</td>" in stats._repr_html_()
    assert repr(scheduler) == "<Scheduler fixed pending=1/65536>"
    assert len(scheduler) == 1


class Accounts(RuleBasedStateMachine):
    """Random use against a model that only counts, on a small scheduler that is often full."""

    scheduler: Scheduler

    @initialize(
        policy=st.sampled_from(POLICIES),
        overload=st.sampled_from(["reject", "drop_lowest", "drop_oldest"]),
    )
    def make(self, policy: str, overload: str) -> None:
        self.scheduler = Scheduler(policy, 8, overload=overload)
        self.handles: list[int] = []
        self.out: Counter[str] = Counter()
        self.serial = 0

    @rule(
        priority=st.integers(0, 3),
        deadline=st.none() | st.integers(0, 3),
        waits=st.booleans(),
    )
    def submit(self, priority: int, deadline: int | None, waits: bool) -> None:
        self.serial += 1
        deadline_ns = None if deadline is None else FAR_NS * 1000 + deadline
        at_ns = time.monotonic_ns() + FAR_NS if waits else None
        try:
            handle = self.scheduler.schedule(self.serial, priority, deadline_ns, at_ns=at_ns)
        except QueueFullError:
            self.out["rejected"] += 1
            return
        self.out["submitted"] += 1
        if handle:
            self.handles.append(handle)

    @rule(n=st.integers(0, 5))
    def take(self, n: int) -> None:
        self.out["completed"] += len(self.scheduler.next_many(n))

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(self.handles))
        self.out["cancelled"] += self.scheduler.cancel(handle)

    @rule()
    def clear(self) -> None:
        self.out["cancelled"] += self.scheduler.clear()
        assert len(self.scheduler) == 0

    @invariant()
    def the_identity_holds(self) -> None:
        stats = self.scheduler.stats()
        assert identity_holds(stats)
        for name in ("submitted", "completed", "cancelled", "rejected"):
            assert stats[name] == self.out[name], name
        assert stats.pending == len(self.scheduler) <= 8


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


# ---- overload ----


def test_reject() -> None:
    scheduler = Scheduler(capacity=2)
    scheduler.schedule_many("ab")
    with pytest.raises(QueueFullError, match="capacity 2"):
        scheduler.schedule("c", Priority.CRITICAL)
    assert scheduler.stats().rejected == 1
    assert drain(scheduler) == ["a", "b"]
    scheduler.schedule("d")


@pytest.mark.parametrize("policy", POLICIES)
def test_drop_lowest(policy: str) -> None:
    scheduler = Scheduler(policy, 3, overload="drop_lowest")
    late = FAR_NS * 1000
    first = scheduler.schedule("low, first", Priority.LOW, late)
    scheduler.schedule("low, second", Priority.LOW, late)
    scheduler.schedule("high", Priority.HIGH, late)
    assert scheduler.schedule("low, third", Priority.LOW, late) == 0
    assert scheduler.schedule("background", Priority.BACKGROUND, late) == 0
    assert scheduler.schedule("normal", Priority.NORMAL, late) > 0
    assert scheduler.cancel(first)
    stats = scheduler.stats()
    assert (stats.submitted, stats.dropped, stats.cancelled, stats.pending) == (6, 3, 1, 2)
    assert sorted(drain(scheduler)) == ["high", "normal"]


@pytest.mark.parametrize("policy", POLICIES)
def test_drop_oldest(policy: str) -> None:
    scheduler = Scheduler(policy, 3, overload="drop_oldest")
    for k in range(10):
        scheduler.schedule(k, k % 3, FAR_NS * 1000 + k % 2)
    assert scheduler.stats().dropped == 7
    assert sorted(drain(scheduler)) == [7, 8, 9]


@pytest.mark.parametrize("overload", ["drop_lowest", "drop_oldest"])
def test_what_waits_for_its_time_is_not_dropped(overload: str) -> None:
    scheduler = Scheduler(capacity=2, overload=overload)
    later = time.monotonic_ns() + FAR_NS
    scheduler.schedule("later", 0, at_ns=later)
    scheduler.schedule("even later", 0, at_ns=later + 1)
    with pytest.raises(QueueFullError):
        scheduler.schedule("now", Priority.CRITICAL)
    assert (scheduler.stats().rejected, scheduler.stats().dropped) == (1, 0)


def test_batch_in_drop_mode_returns_what_became_of_each() -> None:
    scheduler = Scheduler(capacity=2, overload="drop_lowest")
    handles = scheduler.schedule_many("abcd", [5, 5, 1, 9])
    assert [handle > 0 for handle in handles] == [True, True, False, True]
    assert drain(scheduler) == ["d", "a"]


# ---- admission ----


def test_hopeless_deadlines_are_refused() -> None:
    scheduler = Scheduler("edf", admission=True)
    now = time.monotonic_ns()
    with pytest.raises(AdmissionError):
        scheduler.schedule(1, deadline_ns=now - 1)
    with pytest.raises(AdmissionError):
        scheduler.schedule(1, deadline_ns=now + FAR_NS, cost_ns=FAR_NS)
    with pytest.raises(AdmissionError):
        scheduler.schedule(1, deadline_ns=now + FAR_NS, at_ns=now + FAR_NS - 5, cost_ns=6)
    scheduler.schedule(1, deadline_ns=now + FAR_NS, at_ns=now + FAR_NS - 6, cost_ns=6)
    assert scheduler.stats().rejected == 3
    assert identity_holds(scheduler.stats())


def test_what_was_admitted_of_a_batch_stays() -> None:
    scheduler = Scheduler("edf", 3, admission=True)
    now, unit = time.monotonic_ns(), FAR_NS
    with pytest.raises(AdmissionError) as refused:
        scheduler.schedule_many("abcd", 5, [now + k * unit for k in (2, 4, 1, 9)], cost_ns=unit)
    assert len(refused.value.handles) == 2
    assert scheduler.stats().rejected == 2
    # There is room for one more.
    with pytest.raises(QueueFullError) as full:
        scheduler.schedule_many("cde", 5, [now + 9 * unit] * 3, cost_ns=unit)
    assert len(full.value.handles) == 1
    assert scheduler.stats().rejected == 4
    assert identity_holds(scheduler.stats())
    assert drain(scheduler) == ["a", "b", "c"]


def test_promises_are_kept_by_refusing_what_would_break_them() -> None:
    scheduler = Scheduler("edf", admission=True)
    now = time.monotonic_ns()
    unit = FAR_NS
    late = scheduler.schedule("late", deadline_ns=now + 5 * unit, cost_ns=2 * unit)
    scheduler.schedule("early", deadline_ns=now + 2 * unit, cost_ns=unit)
    # Would itself be in time, and cost "late" its deadline.
    with pytest.raises(AdmissionError):
        scheduler.schedule("between", deadline_ns=now + 4 * unit, cost_ns=5 * unit // 2)
    # No room before its own deadline.
    with pytest.raises(AdmissionError):
        scheduler.schedule("tight", deadline_ns=now + 2 * unit, cost_ns=3 * unit // 2)
    scheduler.schedule("free of charge", deadline_ns=now + unit)
    assert scheduler.cancel(late)
    scheduler.schedule("between", deadline_ns=now + 4 * unit, cost_ns=5 * unit // 2)
    assert scheduler.next_many(9) == ["free of charge", "early", "between"]


@pytest.mark.parametrize(
    ("policy", "costs", "admitted"),
    [
        ("edf", [50, 30, 20, 1], 3),
        ("rm", [41, 41, 5], 2),  # (1.41)**2 < 2
        ("fixed", [50, 33, 1], 2),
        ("rm", [100, 1], 1),
    ],
)
def test_load_of_periodic_tasks(policy: str, costs: list[int], admitted: int) -> None:
    scheduler = Scheduler(policy, admission=True)
    taken = []
    for cost in costs:
        try:
            taken.append(scheduler.schedule(cost, period_ns=100 * FAR_NS, cost_ns=cost * FAR_NS))
        except AdmissionError:
            break
    assert len(taken) == admitted
    for handle in taken:
        assert scheduler.cancel(handle)
    # Nothing of the load is left behind.
    scheduler.schedule("all", period_ns=100 * FAR_NS, cost_ns=100 * FAR_NS)


def test_admission_keeps_its_books_through_releases() -> None:
    scheduler = Scheduler("edf", admission=True)
    now = time.monotonic_ns()
    handle = scheduler.schedule(
        "tick", deadline_ns=now + FAR_NS + 10**9, at_ns=now, period_ns=2 * FAR_NS, cost_ns=FAR_NS
    )
    assert scheduler.next() == "tick"
    with pytest.raises(AdmissionError):
        scheduler.schedule("too much", period_ns=2 * FAR_NS, cost_ns=3 * FAR_NS // 2)
    assert scheduler.cancel(handle)
    scheduler.schedule("not too much", period_ns=2 * FAR_NS, cost_ns=2 * FAR_NS)


def test_edf_with_admission_earns_more_than_without_under_overload() -> None:
    """Twice the load that there is time for; what ends after its deadline is worth nothing."""
    rng = random.Random(3)
    costs = [rng.randrange(1, 20) for _ in range(400)]
    jobs = [(cost, rng.randrange(cost, sum(costs) // 2)) for cost in costs]
    earned = {}
    for admission in (True, False):
        scheduler = Scheduler("edf", admission=admission)
        start = time.monotonic_ns()
        for cost, deadline in jobs:
            with contextlib.suppress(AdmissionError):
                scheduler.schedule(
                    (cost, deadline),
                    # In simulated seconds, so that the real ones of this loop do not matter.
                    deadline_ns=start + deadline * 10**9 + 10**9 // 2,
                    cost_ns=cost * 10**9,
                )
        clock = value = 0
        for cost, deadline in drain(scheduler):
            clock += cost
            value += cost if clock <= deadline else 0
        earned[admission] = value
    assert earned[True] > earned[False]


# ---- time ----


def test_nothing_is_handed_out_before_its_time() -> None:
    scheduler = Scheduler()
    rng = random.Random(4)
    now = time.monotonic_ns()
    for _ in range(500):
        at_ns = now + rng.randrange(20_000_000)
        scheduler.schedule(at_ns, at_ns=at_ns)
    got = []
    while len(got) < 500:
        payload = scheduler.next()
        if payload is not None:
            assert payload <= time.monotonic_ns()
            got.append(payload)
    assert scheduler.next() is None


def test_what_was_due_comes_in_order_of_its_times_however_late_we_look() -> None:
    scheduler = Scheduler()
    start = time.monotonic_ns() + 20_000_000
    times = [start + k * 10_000 for k in range(300)] + [start] * 3
    shuffled = list(enumerate(times))
    random.Random(5).shuffle(shuffled)
    scheduler.schedule("before")
    for task in shuffled:
        scheduler.schedule(task, at_ns=task[1])
    while time.monotonic_ns() < start + 10_000_000:
        pass
    scheduler.schedule("after")
    scheduler.schedule("long ago", at_ns=start)  # due at once, which is now
    before, *came, after, long_ago = drain(scheduler)
    assert (before, after, long_ago) == ("before", "after", "long ago")
    assert [at_ns for _, at_ns in came] == sorted(times)
    assert came[:4] == [task for task in shuffled if task[1] == start]


def test_periods_do_not_drift_and_missed_ones_are_counted() -> None:
    scheduler = Scheduler()
    period = 10_000_000_000
    start = time.monotonic_ns() - 7 * period - period // 2
    scheduler.schedule("tick", at_ns=start, period_ns=period, deadline_ns=start + 5)
    assert scheduler.next() == "tick"  # the first one, late
    stats = scheduler.stats()
    # The releases at 1 to 7 periods have passed; the next one is at 8, half a period from now.
    assert (stats.missed, stats.late_start, stats.submitted, stats.waiting) == (7, 1, 2, 1)
    assert scheduler.next() is None
    assert scheduler._due_ns() == start + 8 * period
    assert identity_holds(stats)


def test_periodic_releases_keep_to_the_grid() -> None:
    scheduler = Scheduler()
    period = 2_000_000
    start = time.monotonic_ns() + period
    seen: list[int] = []
    handle = scheduler.schedule(
        lambda: seen.append(time.monotonic_ns()), at_ns=start, period_ns=period
    )
    scheduler.schedule(lambda: scheduler.cancel(handle), at_ns=start + 20 * period + 1)
    scheduler.run()
    stats = scheduler.stats()
    assert len(seen) + stats.missed in (20, 21, 22)  # the cancellation may run late
    # Each ran in a period of its own: at or after its release, whatever those before took.
    places = [(moment - start) // period for moment in seen]
    assert places == sorted(set(places))
    assert places[0] >= 0
    assert stats.cancelled == 1
    assert identity_holds(stats)


@pytest.mark.parametrize("policy", ["edf", "llf"])
def test_periodic_without_deadline_is_ordered_by_its_period_end(policy: str) -> None:
    scheduler = Scheduler(policy)
    now = time.monotonic_ns()
    scheduler.schedule("period", at_ns=now, period_ns=FAR_NS)
    scheduler.schedule("after", at_ns=now, deadline_ns=now + FAR_NS + 1)
    scheduler.schedule("before", at_ns=now, deadline_ns=now + FAR_NS - 1)
    assert drain(scheduler) == ["before", "period", "after"]
    assert scheduler.stats().late_start == 0


def test_next_wait_sleeps_until_a_task_is_due() -> None:
    scheduler = Scheduler()
    at_ns = time.monotonic_ns() + 30_000_000
    scheduler.schedule("due", at_ns=at_ns)
    assert scheduler.next_wait(0) is None
    assert scheduler.next_wait(0.001) is None
    assert scheduler.next_wait(PATIENCE_S) == "due"
    assert time.monotonic_ns() >= at_ns
    assert scheduler.next_wait(0.001) is None
    with pytest.raises(ArgumentValueError, match="timeout"):
        scheduler.next_wait(-1)


def test_next_wait_is_woken_by_a_submission_and_by_stop() -> None:
    scheduler = Scheduler()
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(scheduler.next_wait())) for _ in range(3)]
    for thread in threads:
        thread.start()
    scheduler.schedule_many(["a", "b"])
    while len(got) < 2:
        time.sleep(0)
    scheduler.stop()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(got, key=str) == ["a", "b", None] or sorted(map(str, got)) == ["None", "a", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_ends_a_wait() -> None:
    scheduler = Scheduler()

    class WokenError(Exception):
        pass

    def handler(*_: object) -> None:
        raise WokenError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(WokenError):
            scheduler.next_wait()
    finally:
        signal.signal(signal.SIGALRM, before)


# ---- run and workers ----


def test_run_calls_callables_in_order_and_leaves_payloads() -> None:
    scheduler = Scheduler()
    calls: list[str] = []
    scheduler.schedule("payload", Priority.CRITICAL)
    scheduler.schedule(lambda: calls.append("low"), Priority.LOW)
    scheduler.schedule(lambda: calls.append("high"), Priority.HIGH)
    scheduler.schedule(
        lambda: calls.append("later"), Priority.CRITICAL, at_ns=time.monotonic_ns() + 10_000_000
    )
    assert scheduler.run() == 3
    assert calls == ["high", "low", "later"]
    assert scheduler.run() == 0
    assert drain(scheduler) == ["payload"]


def test_run_ends_when_the_time_is_up() -> None:
    scheduler = Scheduler()
    scheduler.schedule(int, at_ns=time.monotonic_ns() + FAR_NS)
    scheduler.schedule(int, period_ns=1_000_000)
    assert scheduler.run(timeout=0.02) >= 1
    assert scheduler.run(timeout=0) >= 0
    assert scheduler.clear() == 2


def test_without_workers_next_hands_out_callables_uncalled() -> None:
    scheduler = Scheduler()
    scheduler.schedule(print, Priority.LOW)
    scheduler.schedule("first")
    assert drain(scheduler) == ["first", print]


def test_exceptions_are_caught_counted_and_kept() -> None:
    scheduler = Scheduler(max_failures=2)
    handles = [scheduler.schedule(lambda k=k: 1 // (k - k)) for k in range(3)]
    done = []
    scheduler.schedule(lambda: done.append(1))
    assert scheduler.run() == 4
    stats = scheduler.stats()
    assert (stats.failed, stats.completed) == (3, 4)
    assert done == [1]
    assert [failure.handle for failure in scheduler.failures] == handles[1:]
    assert all(isinstance(f.exception, ZeroDivisionError) for f in scheduler.failures)
    assert scheduler.failures[0].payload.__name__ == "<lambda>"


def test_what_is_no_exception_leaves_run_and_is_accounted_for() -> None:
    scheduler = Scheduler()

    def leave() -> None:
        raise KeyboardInterrupt

    scheduler.schedule(leave)
    scheduler.schedule(int)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run()
    stats = scheduler.stats()
    assert (stats.completed, stats.failed, stats.pending, stats.running) == (1, 1, 1, 0)
    assert scheduler.run() == 1


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("policy", POLICIES)
def test_workers_run_everything_once(policy: str, workers: int) -> None:
    done: Counter[int] = Counter()
    with Scheduler(policy, workers=workers) as scheduler:
        for k in range(200):
            scheduler.schedule(lambda k=k: done.update([k]), k % 64)
        scheduler.schedule_many([lambda k=k: done.update([k]) for k in range(200, 400)])
        scheduler.schedule("payload")
    assert done == Counter(range(400))
    assert drain(scheduler) == ["payload"]
    assert scheduler.stats().completed == 401


def test_one_worker_keeps_the_order() -> None:
    scheduler = Scheduler(workers=1)
    calls: list[int] = []
    rng = random.Random(6)
    priorities = [rng.randrange(64) for _ in range(300)]
    for k, priority in enumerate(priorities):
        scheduler.schedule(lambda k=k: calls.append(k), priority)
    with scheduler:
        pass
    assert calls == sorted(range(300), key=lambda k: (-priorities[k], k))


def test_sleeping_workers_are_woken() -> None:
    with Scheduler(workers=3) as scheduler:
        for _ in range(50):
            met = threading.Barrier(3)
            for _ in range(3):
                # Only three workers at once get past this.
                scheduler.schedule(functools.partial(met.wait, PATIENCE_S))
        done = threading.Event()
        scheduler.schedule(done.set, at_ns=time.monotonic_ns() + 5_000_000)
        wait_for(done)
    assert scheduler.stats().failed == 0


def test_a_busy_worker_does_not_hold_up_a_periodic_task_of_its_own() -> None:
    """What one worker has released again, another one must know the time of."""
    begun, ticks = threading.Event(), threading.Semaphore(0)
    release = threading.Event()
    with Scheduler(workers=2) as scheduler:
        handle = scheduler.schedule(ticks.release, period_ns=1_000_000)
        scheduler.schedule(lambda: (begun.set(), release.wait(PATIENCE_S)))
        wait_for(begun)
        for _ in range(10):
            assert ticks.acquire(timeout=PATIENCE_S)
        release.set()
        assert scheduler.cancel(handle)


def test_compiled_callables_leave_room_for_other_threads() -> None:
    """They never give the interpreter a chance to switch: the worker has to."""
    with Scheduler(workers=1) as scheduler:
        handle = scheduler.schedule(time.monotonic_ns, period_ns=1)
        while scheduler.stats().completed < 1000:
            time.sleep(0)
        assert scheduler.cancel(handle)


def test_all_sleepers_know_when_the_next_task_is_due() -> None:
    scheduler = Scheduler()
    got: list[Any] = []
    patient = threading.Thread(target=lambda: got.append(scheduler.next_wait(PATIENCE_S)))
    hasty = threading.Thread(target=lambda: got.append(scheduler.next_wait(0.05)))
    hasty.start()
    time.sleep(0.01)
    patient.start()
    time.sleep(0.01)
    # The first to be woken leaves before this is due; the other one must know of it.
    scheduler.schedule("due", at_ns=time.monotonic_ns() + 1_000_000_000)
    hasty.join(PATIENCE_S)
    patient.join(PATIENCE_S)
    assert got == [None, "due"]


def test_cancelling_the_last_task_ends_run() -> None:
    scheduler = Scheduler()
    for cancel in (scheduler.cancel, lambda _: scheduler.clear()):
        handle = scheduler.schedule(int, at_ns=time.monotonic_ns() + FAR_NS)
        runner = threading.Thread(target=scheduler.run)
        runner.start()
        time.sleep(0.01)
        cancel(handle)
        runner.join(PATIENCE_S)
        assert not runner.is_alive()


def test_start_after_a_worker_stopped_the_scheduler() -> None:
    scheduler = Scheduler(workers=1).start()
    stopped, done = threading.Event(), threading.Event()
    refused: list[BaseException] = []

    def stop_and_start() -> None:
        scheduler.stop()
        try:
            scheduler.start()
        except RuntimeError as error:
            refused.append(error)
        stopped.set()

    scheduler.schedule(stop_and_start)
    wait_for(stopped)
    assert len(refused) == 1
    scheduler.start()
    scheduler.schedule(done.set)
    wait_for(done)
    scheduler.stop()
    scheduler.schedule(int)
    assert scheduler.next() is int  # without workers it is anybody's


def test_start_and_stop_can_be_repeated() -> None:
    scheduler = Scheduler(workers=2)
    scheduler.stop()
    done = []
    for turn in range(3):
        assert scheduler.start() is scheduler
        scheduler.start()
        scheduler.schedule(lambda turn=turn: done.append(turn))
        scheduler.stop()
        scheduler.stop()
    assert done == [0, 1, 2]
    assert "workers=0/2" in repr(scheduler)


def test_stop_without_draining_leaves_the_rest_pending() -> None:
    begun, go_on = threading.Event(), threading.Event()
    scheduler = Scheduler(workers=1).start()
    done = []
    scheduler.schedule(lambda: (begun.set(), go_on.wait(PATIENCE_S)))
    wait_for(begun)
    scheduler.schedule_many([lambda: done.append(1)] * 5)
    stopper = threading.Thread(target=scheduler.stop, kwargs={"drain": False})
    stopper.start()
    while not scheduler._stopped:
        time.sleep(0)
    go_on.set()
    stopper.join(PATIENCE_S)
    assert done == []
    assert scheduler.stats().pending == 5
    with scheduler:
        pass
    assert done == [1] * 5


def test_an_error_in_the_block_stops_without_draining() -> None:
    with pytest.raises(ZeroDivisionError), Scheduler(workers=1) as scheduler:
        scheduler.schedule(int, at_ns=time.monotonic_ns() + FAR_NS)
        raise ZeroDivisionError
    assert scheduler.clear() == 1


def test_bad_stop_and_refused_realtime(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentTypeError, match="drain"):
        Scheduler().stop(drain=1)  # type: ignore[arg-type]
    affinity = sorted(os.sched_getaffinity(0))[:1] if hasattr(os, "sched_getaffinity") else [0]
    scheduler = Scheduler(workers=1, cpu_affinity=affinity)
    if sys.platform == "linux":
        with scheduler:
            bound = []
            scheduler.schedule(lambda: bound.append(os.sched_getaffinity(0)))
        assert bound == [set(affinity)]
        with scheduler:
            assert scheduler.capabilities().cpu_affinity.granted

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "sched_setscheduler", refuse)
        refused = Scheduler(workers=1, realtime=True)
        with pytest.warns(RuntimeWarning, match="real-time class"):
            refused.start()
        assert not refused.capabilities().realtime.granted
        refused.stop()


# ---- tasks that interfere ----


def test_a_task_that_submits_cancels_itself_and_stops() -> None:
    scheduler = Scheduler()
    seen: list[str] = []

    def submit() -> None:
        seen.append("submit")
        scheduler.schedule(lambda: seen.append("submitted"))

    scheduler.schedule(submit)
    assert scheduler.run() == 2

    results = []

    def cancel_itself() -> None:
        results.append(scheduler.cancel(handle))

    handle = scheduler.schedule(cancel_itself)
    scheduler.run()
    assert results == [False]  # it runs: too late
    handle = scheduler.schedule(cancel_itself, period_ns=1_000_000)
    assert scheduler.run() == 1
    assert results == [False, True]
    stats = scheduler.stats()
    assert (stats.cancelled, stats.pending) == (1, 0)
    assert identity_holds(stats)

    scheduler.schedule(lambda: scheduler.stop(drain=False))
    scheduler.schedule(lambda: seen.append("not now"))
    assert scheduler.run() == 1
    assert scheduler.run() == 1
    assert seen == ["submit", "submitted", "not now"]


def test_a_worker_that_stops_the_scheduler_does_not_wait_for_itself() -> None:
    scheduler = Scheduler(workers=2).start()
    stopped = threading.Event()
    scheduler.schedule(lambda: (scheduler.stop(), stopped.set()))
    wait_for(stopped)
    scheduler.stop()
    assert identity_holds(scheduler.stats())


class Noisy:
    """Does something when it dies."""

    def __init__(self, last_words: Callable[[], object]) -> None:
        self.last_words = last_words

    def __del__(self) -> None:
        self.last_words()


@pytest.mark.parametrize("way", ["cancel", "clear", "drop", "next", "reject"])
def test_a_destructor_that_submits(way: str) -> None:
    overload = "drop_oldest" if way == "drop" else "reject"
    scheduler = Scheduler(capacity=2, overload=overload)
    handle = scheduler.schedule(Noisy(lambda: scheduler.schedule("last words")))
    if way == "cancel":
        assert scheduler.cancel(handle)
    elif way == "clear":
        assert scheduler.clear() == 1  # not what the destructor submits meanwhile
    elif way == "drop":
        scheduler.schedule("a")
        scheduler.schedule("b")
        assert drain(scheduler) in (["b", "last words"], ["last words"], ["last words", "b"])
        scheduler.schedule("last words")
    elif way == "next":
        scheduler.next()
    else:
        scheduler.schedule("fills it")
        with pytest.raises(QueueFullError):
            scheduler.schedule(Noisy(lambda: scheduler.next()))
        scheduler.next()
    assert "last words" in drain(scheduler)
    assert identity_holds(scheduler.stats())


def test_references_are_conserved() -> None:
    payload = object()
    before = sys.getrefcount(payload)
    scheduler = Scheduler("edf", 100, overload="drop_lowest")
    rng = random.Random(7)
    handles: list[int] = []
    for turn in range(1_000_000):
        handles.append(scheduler.schedule(payload, rng.randrange(64), turn))
        if turn % 3 == 0:
            scheduler.cancel(rng.choice(handles[-200:]))
        if turn % 5 == 0:
            scheduler.next()
    assert sys.getrefcount(payload) == before + scheduler.stats().pending
    scheduler.next_many(10)
    scheduler.clear()
    assert sys.getrefcount(payload) == before
    handle = scheduler.schedule(payload, period_ns=FAR_NS)
    for _ in range(3):
        scheduler.next()
    assert sys.getrefcount(payload) == before + 1
    scheduler.cancel(handle)
    assert sys.getrefcount(payload) == before
    scheduler.schedule(payload)
    del scheduler
    assert sys.getrefcount(payload) == before


def test_cycles_through_a_scheduler_are_collected() -> None:
    class Box:
        scheduler: Scheduler

    scheduler, box = Scheduler(), Box()
    box.scheduler = scheduler
    scheduler.schedule(box)
    scheduler.schedule(box, at_ns=time.monotonic_ns() + FAR_NS)
    gone = weakref.ref(box), weakref.ref(scheduler)
    del scheduler, box
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_the_collector_tells_who_holds_a_payload() -> None:
    scheduler = Scheduler()
    payloads = [Called(k) for k in range(5)]
    scheduler.schedule_many(payloads)
    assert scheduler.next() is payloads[0]
    held = [any(r is scheduler for r in gc.get_referrers(payload)) for payload in payloads]
    assert held == [False, True, True, True, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_has_the_tasks_and_no_workers() -> None:
    begun, go_on = threading.Event(), threading.Event()
    with Scheduler(workers=1) as scheduler:
        scheduler.schedule(lambda: (begun.set(), go_on.wait(PATIENCE_S)))
        wait_for(begun)
        scheduler.schedule_many([int, int, "payload"])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                stats = scheduler.stats()
                assert (stats.pending, stats.running) == (4, 1)
                assert scheduler.next_many(5) == [int, int, "payload"]
                scheduler.schedule(int)
                scheduler.start().stop()
                assert scheduler.stats().completed == 4
                code = 0
            finally:
                os._exit(code)
        go_on.set()
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_callable_that_forks() -> None:
    for workers in (0, 1):
        children: list[int] = []
        after: list[int] = []
        scheduler = Scheduler(workers=workers)
        scheduler.schedule(lambda children=children: children.append(os.fork()))
        scheduler.schedule(lambda after=after: after.append(os.getpid()))
        with scheduler:
            count = scheduler.run() if workers == 0 else 2
        if children == [0]:  # only where the caller ran it: a worker's child ends with the worker
            os._exit(0 if (count, after, len(scheduler)) == (1, [], 1) else 1)
        assert count == 2
        assert after == [os.getpid()]
        assert os.waitpid(children[0], 0)[1] == 0


# ---- many threads ----


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("overload", ["reject", "drop_lowest", "drop_oldest"])
def test_everything_is_accounted_for_under_load(policy: str, overload: str) -> None:
    """Producers, consumers, cancellers and workers at once; the books are read all the while."""
    scheduler = Scheduler(policy, 64, workers=2, overload=overload)
    each, producers = 1500, 3
    ran: Counter[int] = Counter()
    handed: list[int] = []
    outcome: Counter[str] = Counter()
    lock = threading.Lock()
    finished = threading.Event()
    broken: list[Stats] = []

    def produce(first: int) -> None:
        rng = random.Random(first)
        mine: Counter[str] = Counter()
        for k in range(first, first + each):
            payload: Any = k if k % 2 else (lambda k=k: ran.update([k]))
            deadline = time.monotonic_ns() + rng.randrange(1_000_000)
            at_ns = deadline - 900_000 if k % 7 == 0 else None
            try:
                handle = scheduler.schedule(payload, rng.randrange(64), deadline, at_ns=at_ns)
            except QueueFullError:
                mine["rejected"] += 1
                continue
            mine["submitted"] += 1
            if k % 5 == 0 and handle:
                mine["cancelled"] += scheduler.cancel(handle)
        with lock:
            outcome.update(mine)

    def consume() -> None:
        while (payload := scheduler.next_wait()) is not None:
            handed.append(payload)

    def audit() -> None:
        while not finished.is_set():
            stats = scheduler.stats()
            if not identity_holds(stats) or not 0 <= stats.pending <= 64:
                broken.append(stats)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with scheduler:
            consumers = [threading.Thread(target=consume) for _ in range(2)]
            auditor = threading.Thread(target=audit)
            threads = [threading.Thread(target=produce, args=(k * each,)) for k in range(producers)]
            for thread in (*consumers, auditor, *threads):
                thread.start()
            for thread in threads:
                thread.join(PATIENCE_S)
            while scheduler.stats().waiting:
                time.sleep(0.001)
        for thread in consumers:
            thread.join(PATIENCE_S)
        finished.set()
        auditor.join(PATIENCE_S)
    finally:
        sys.setswitchinterval(interval)
    handed += drain(scheduler)
    stats = scheduler.stats()
    assert broken == []
    assert stats.pending == 0
    for name in ("submitted", "cancelled", "rejected"):
        assert stats[name] == outcome[name], name
    assert outcome["submitted"] + outcome["rejected"] == producers * each
    assert stats.completed == len(handed) + ran.total()
    assert max(Counter(handed).values(), default=1) == 1
    assert max(ran.values(), default=1) == 1
    assert stats.latency.count == stats.completed


# ---- asyncio ----


async def test_async_for_is_woken_by_other_threads_and_by_time() -> None:
    scheduler = Scheduler()
    got: list[Any] = []

    async def consume() -> None:
        async for payload in scheduler:
            got.append(payload)  # noqa: PERF401 - there even if this is cancelled

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0)

    def produce() -> None:
        for k in range(500):
            scheduler.schedule(k)
        scheduler.schedule("late", at_ns=time.monotonic_ns() + 20_000_000)

    await asyncio.to_thread(produce)
    async with asyncio.timeout(PATIENCE_S):
        while len(got) < 501:
            await asyncio.sleep(0.001)
        assert got == [*range(500), "late"]
        scheduler.stop()
        await consumer
    assert scheduler.stats().completed == 501


async def test_a_cancelled_consumer_loses_nothing() -> None:
    scheduler = Scheduler()
    got: list[int] = []

    async def consume() -> None:
        async for payload in scheduler:
            got.append(payload)  # noqa: PERF401 - there even if this is cancelled

    rng = random.Random(8)
    consumers = [asyncio.create_task(consume()) for _ in range(3)]
    for k in range(2000):
        scheduler.schedule(k)
        if k % 20 == 0:
            await asyncio.sleep(0)
            victim = rng.randrange(3)
            consumers[victim].cancel()
            consumers[victim] = asyncio.create_task(consume())
    async with asyncio.timeout(PATIENCE_S):
        while len(got) < 2000:
            await asyncio.sleep(0)
    scheduler.stop()
    await asyncio.gather(*consumers)
    assert sorted(got) == list(range(2000))


async def test_async_for_lets_others_run() -> None:
    scheduler = Scheduler()
    scheduler.schedule_many(range(1000))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for payload in scheduler:
        if payload == 999:
            break
    task.cancel()
    assert turns >= 1000 // 32


async def test_async_for_with_workers_gets_only_payloads() -> None:
    done = threading.Event()
    with Scheduler(workers=1) as scheduler:
        scheduler.schedule(done.set)
        scheduler.schedule("payload")
        async for payload in scheduler:
            assert payload == "payload"
            break
        assert await asyncio.to_thread(done.wait, PATIENCE_S)


async def test_async_for_hears_of_periods_that_others_begin() -> None:
    """`next` elsewhere puts a periodic task back to wait; a sleeper must learn of its time."""
    scheduler = Scheduler()
    scheduler.schedule("tick", at_ns=time.monotonic_ns() + 5_000_000, period_ns=5_000_000)

    async def two() -> list[str]:
        got = []
        async for payload in scheduler:
            got.append(payload)
            if len(got) == 2:
                break
        return got

    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(two(), two()) == [["tick"] * 2] * 2


async def test_async_for_after_stop() -> None:
    scheduler = Scheduler()
    scheduler.schedule_many("ab")
    scheduler.stop()
    assert [payload async for payload in scheduler] == ["a", "b"]
    scheduler.schedule("c")
    scheduler.stop(drain=False)
    assert [payload async for payload in scheduler] == []
    assert scheduler.next() == "c"
    scheduler.start()
    scheduler.schedule("d")
    async for payload in scheduler:
        assert payload == "d"
        break


async def test_waits_that_are_given_up_leave_nothing_behind() -> None:
    scheduler = Scheduler()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(aiter(scheduler)), 1e-4)
    assert len(scheduler._waiters) == 0


async def test_a_batch_that_is_partly_refused_wakes_async_for() -> None:
    scheduler = Scheduler(capacity=5)
    waiting = asyncio.ensure_future(anext(aiter(scheduler)))
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError):
        scheduler.schedule_many(range(9))
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting == 0


def test_a_closed_loop_does_not_disturb_producers() -> None:
    scheduler = Scheduler()

    async def begin() -> None:
        task = asyncio.ensure_future(anext(aiter(scheduler)))
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

    asyncio.run(begin())
    scheduler.schedule("still here")
    assert scheduler.next() == "still here"
