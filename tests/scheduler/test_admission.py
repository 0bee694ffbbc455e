"""Admission control against the tests of the literature, written plainly and exactly."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from midstream.errors import AdmissionError, QueueFullError
from midstream.scheduler import Scheduler

POLICIES = ("fixed", "edf", "rm", "llf")
#: 1000 hours: what passes while a test runs decides nothing.
UNIT_NS = 3_600_000_000_000_000


class Promises:
    """What is promised, in units from now on: see csrc/ms_admission.h for the sources."""

    def __init__(self, by_deadline: bool, processors: int) -> None:
        self.by_deadline, self.processors = by_deadline, processors
        self.loads: list[Fraction] = []
        self.largest = Fraction(0)
        self.demands: list[tuple[Fraction, int]] = []

    def load(self, cost: int, deadline: Fraction | None, period: int) -> Fraction:
        return Fraction(cost) / (period if deadline is None else min(deadline, period))

    def fits(self, load: Fraction) -> bool:
        m, largest, total = self.processors, max(load, self.largest), sum(self.loads) + load
        if largest > 1:
            return False
        if self.by_deadline:
            return total <= m - (m - 1) * largest
        if m > 1:
            return total <= Fraction(m, 2) * (1 - largest) + largest
        return math.prod(1 + u for u in (*self.loads, load)) <= 2

    def is_demand(self, cost: int, deadline: Fraction | None, period: int) -> bool:
        return self.by_deadline and not period and deadline is not None and cost > 0

    def admits(self, cost: int, deadline: Fraction | None, period: int) -> bool:
        if deadline is not None and deadline < cost:
            return False
        if period and cost:
            return self.fits(self.load(cost, deadline, period))
        if not self.is_demand(cost, deadline, period):
            return True
        assert deadline is not None
        rate = self.processors - sum(self.loads)
        if rate <= 0:
            return False
        work: Fraction | int = sum(c for d, c in self.demands if d <= deadline)
        if (work + cost) / rate > deadline:
            return False
        for later, its_cost in sorted(self.demands):
            if later > deadline:
                work += its_cost
                # What is lost already is not the newcomer's fault.
                if work / rate <= later < (work + cost) / rate:
                    return False
        return True

    def add(self, cost: int, deadline: Fraction | None, period: int) -> None:
        if period and cost:
            self.loads.append(self.load(cost, deadline, period))
            self.largest = max(self.largest, self.loads[-1])
        elif self.is_demand(cost, deadline, period):
            assert deadline is not None
            self.demands.append((deadline, cost))

    def remove(self, cost: int, deadline: Fraction | None, period: int) -> None:
        if period and cost:
            self.loads.remove(self.load(cost, deadline, period))
            if not self.loads:
                self.largest = Fraction(0)
        elif self.is_demand(cost, deadline, period):
            assert deadline is not None
            self.demands.remove((deadline, cost))


# Deadlines that no sum of costs, at no rate that these periods leave, comes near to.
deadlines = st.none() | st.integers(0, 30).map(lambda k: k + Fraction(1, 101))
tasks = st.tuples(st.integers(0, 12), deadlines, st.sampled_from([0, 0, 10, 20]))
steps = st.lists(tasks | st.integers(0, 30), min_size=1, max_size=40)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("workers", [0, 2, 3])
@settings(deadline=None)
@given(steps=steps)
# All of the time is promised to periods: none is left for what comes once.
@example(steps=[(10, None, 10), (10, None, 10), (10, None, 10), (1, 20 + Fraction(1, 101), 0)])
# A period takes the time of what was promised before: a third is not to blame.
@example(steps=[(9, 10 + Fraction(1, 101), 0), (5, None, 10), (1, 3 + Fraction(1, 101), 0)])
@example(steps=[(5, None, 10), (5, None, 10), (5, None, 20), (12, None, 10), 0, 0, 0])
def test_who_is_admitted(
    policy: str, workers: int, steps: list[int | tuple[int, Fraction | None, int]]
) -> None:
    scheduler = Scheduler(policy, workers=workers, admission=True)
    promises = Promises(policy in ("edf", "llf"), max(workers, 1))
    taken: list[tuple[int, tuple[int, Fraction | None, int]]] = []
    now = time.monotonic_ns()
    refused = 0
    for step in steps:
        if isinstance(step, int):
            if taken:
                handle, task = taken.pop(step % len(taken))
                assert scheduler.cancel(handle)
                promises.remove(*task)
            continue
        cost, deadline, period = step
        try:
            handle = scheduler.schedule(
                "task",
                deadline_ns=None if deadline is None else now + int(deadline * UNIT_NS),
                at_ns=now if period else None,
                period_ns=period * UNIT_NS or None,
                cost_ns=cost * UNIT_NS,
            )
        except AdmissionError:
            assert not promises.admits(*step), step
            refused += 1
        else:
            assert promises.admits(*step), step
            promises.add(*step)
            taken.append((handle, step))
    stats = scheduler.stats()
    assert (stats.rejected, stats.pending) == (refused, len(taken))


def test_what_was_promised_goes_with_what_is_dropped() -> None:
    scheduler = Scheduler("edf", 2, overload="drop_oldest", admission=True)
    now = time.monotonic_ns()
    due = {name: now + k * UNIT_NS + UNIT_NS // 2 for name, k in (("a", 3), ("c", 9), ("d", 4))}
    scheduler.schedule("a", deadline_ns=due["a"], cost_ns=3 * UNIT_NS)
    scheduler.schedule("b")
    with pytest.raises(AdmissionError):
        scheduler.schedule("d", deadline_ns=due["d"], cost_ns=3 * UNIT_NS)
    # The last promise is tested beside those of before; then the oldest goes.
    scheduler.schedule("c", deadline_ns=due["c"], cost_ns=UNIT_NS)
    scheduler.schedule("d", deadline_ns=due["d"], cost_ns=3 * UNIT_NS)
    assert scheduler.next_many(3) == ["d", "c"]
    stats = scheduler.stats()
    assert (stats.dropped, stats.rejected, stats.submitted) == (2, 1, 4)


@pytest.mark.parametrize("overload", ["reject", "drop_lowest", "drop_oldest"])
def test_nothing_is_promised_to_whom_there_is_no_room_for(overload: str) -> None:
    scheduler = Scheduler("edf", 2, overload=overload, admission=True)
    now = time.monotonic_ns()
    # None is ready, so that none can be dropped.
    later = [scheduler.schedule(k, at_ns=now + UNIT_NS) for k in range(2)]
    due = now + 3 * UNIT_NS
    for _ in range(3):
        with pytest.raises(QueueFullError, match="capacity 2"):
            scheduler.schedule("all", deadline_ns=due, cost_ns=2 * UNIT_NS)
    assert scheduler.cancel_many(later) == 2
    scheduler.schedule("all", deadline_ns=due, cost_ns=2 * UNIT_NS)
    assert scheduler.next() == "all"
    assert (scheduler.stats().rejected, scheduler.stats().submitted) == (3, 3)


def test_a_batch_ends_at_the_first_that_is_refused() -> None:
    scheduler = Scheduler("edf", admission=True)
    due = time.monotonic_ns() + 5 * UNIT_NS
    with pytest.raises(AdmissionError) as caught:
        scheduler.schedule_many("abcde", deadline_ns=due, cost_ns=2 * UNIT_NS)
    assert len(caught.value.handles) == 2
    stats = scheduler.stats()
    assert (stats.submitted, stats.rejected, stats.pending) == (2, 3, 2)
    assert scheduler.cancel(caught.value.handles[1])
    assert scheduler.next_many(5) == ["a"]
