"""Scheduling from its definitions: one tick at a time, and queues sorted by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Submission(NamedTuple):
    """What a queue knows of a payload; `seq` counts submissions."""

    seq: int
    priority: int
    deadline_ns: int | None = None
    period_ns: int | None = None
    cost_ns: int | None = None


def order(policy: str, submissions: Iterable[Submission | tuple[Any, ...]]) -> list[int]:
    """The `seq` of each in the order in which a queue that held all of them hands them out."""
    waiting = [Submission(*submission) for submission in submissions]
    handed_out = []
    while waiting:
        first = waiting[0]
        for other in waiting[1:]:
            if goes_before(policy, other, first):
                first = other
        waiting.remove(first)
        handed_out.append(first.seq)
    return handed_out


def goes_before(policy: str, one: Submission, other: Submission) -> bool:
    """Whether `one` is handed out before `other`."""
    mine, yours = key_of(policy, one), key_of(policy, other)
    if mine != yours:
        if mine is None or yours is None:
            return yours is None
        return mine < yours
    if one.priority != other.priority:
        return one.priority > other.priority
    return one.seq < other.seq


def key_of(policy: str, submission: Submission) -> int | None:
    """What a policy looks at, the least first; None for what it cannot place."""
    if policy == "edf":
        return submission.deadline_ns
    if policy == "rm":
        return submission.period_ns
    if policy == "llf":
        # Laxity is this less now, and now is the same for all.
        if submission.deadline_ns is None:
            return None
        return submission.deadline_ns - (submission.cost_ns or 0)
    assert policy == "fixed"
    return 0


@dataclass(eq=False)
class TickJob:
    task: Any
    index: int
    number: int
    release: int
    ticks: list[tuple[int, int]] = field(default_factory=list)
    finish: int | None = None

    @property
    def deadline(self) -> int | None:
        return None if self.task.deadline_ns is None else self.release + self.task.deadline_ns

    @property
    def left(self) -> int:
        return self.task.cost_ns - len(self.ticks)

    def laxity(self, now: int) -> int | None:
        return None if self.deadline is None else self.deadline - now - self.left


class TickSimulator:
    """Time passes one nanosecond after the other.

    In each, what is due is released, who runs is decided (with preemption of least laxity only
    where the rules call for a decision), and those who run do one nanosecond of work.
    """

    def __init__(
        self, tasks: Sequence[Any], policy: str, processors: int = 1, preemptive: bool = True
    ) -> None:
        self.tasks, self.policy = tasks, policy
        self.processors, self.preemptive = processors, preemptive
        self.jobs: list[TickJob] = []
        self.on: dict[int, TickJob] = {}
        self.preemptions = 0

    def run(self, until: int) -> None:
        finished = False
        for now in range(until):
            released = self.release(now)
            if not (self.policy == "llf" and self.preemptive):
                decide = True
            else:
                decide = finished or released or self.laxity_calls(now)
            if decide:
                self.decide(now)
            finished = False
            for processor, job in list(self.on.items()):
                job.ticks.append((now, processor))
                if job.left == 0:
                    job.finish = now + 1
                    del self.on[processor]
                    finished = True

    def release(self, now: int) -> bool:
        before = len(self.jobs)
        for index, task in enumerate(self.tasks):
            since = now - task.release_ns
            if since == 0 or (task.period_ns and since > 0 and since % task.period_ns == 0):
                number = since // task.period_ns if task.period_ns else 0
                self.jobs.append(TickJob(task, index, number, now))
        return len(self.jobs) > before

    def ready(self) -> list[TickJob]:
        """The oldest unfinished job of each task."""
        oldest: dict[int, TickJob] = {}
        for job in self.jobs:
            if job.finish is None:
                oldest.setdefault(job.index, job)
        return list(oldest.values())

    def laxity_calls(self, now: int) -> bool:
        running = list(self.on.values())
        for waiting in self.ready():
            if waiting in running or waiting.deadline is None:
                continue
            if waiting.laxity(now) == 0:
                return True
            for job in running:
                if job.deadline is None or job.deadline <= waiting.deadline:
                    continue
                if job.laxity(now) == waiting.deadline - now:
                    return True
        return False

    def decide(self, now: int) -> None:
        before = dict(self.on)
        if self.preemptive:
            self.on = {}
        candidates = [job for job in self.ready() if job not in self.on.values()]
        chosen: list[TickJob] = []
        while candidates and len(chosen) + len(self.on) < self.processors:
            first = candidates[0]
            for other in candidates[1:]:
                if self.goes_before(other, first, now, list(before.values())):
                    first = other
            candidates.remove(first)
            chosen.append(first)
        for processor, job in before.items():
            if job in chosen:
                self.on[processor] = job
            elif job not in self.on.values():
                self.preemptions += 1
        for job in chosen:
            if job not in self.on.values():
                self.on[min(set(range(self.processors)) - set(self.on))] = job

    def goes_before(self, one: TickJob, other: TickJob, now: int, running: list[TickJob]) -> bool:
        mine, yours = self.key(one, now), self.key(other, now)
        if mine != yours:
            if mine is None or yours is None:
                return yours is None
            return mine < yours
        by_priority = one.task.priority - other.task.priority
        by_running = (one in running) - (other in running)
        first, second = by_priority, by_running
        if self.policy == "llf" and mine is not None:
            first, second = by_running, by_priority
        if first or second:
            return (first or second) > 0
        return (one.release, one.index) < (other.release, other.index)

    def key(self, job: TickJob, now: int) -> int | None:
        return {
            "fixed": -job.task.priority,
            "edf": job.deadline,
            "rm": job.task.period_ns,
            "llf": job.laxity(now),
        }[self.policy]

    def segments(self) -> list[tuple[str, int, int, int, int]]:
        """Task, job, processor, start and end of each uninterrupted stretch."""
        found = []
        for job in self.jobs:
            start = None
            for place, (tick, processor) in enumerate(job.ticks):
                start = tick if start is None else start
                if job.ticks[place + 1 : place + 2] != [(tick + 1, processor)]:
                    found.append((job.task.name, job.number, processor, start, tick + 1))
                    start = None
        return sorted(found, key=lambda segment: (segment[3], segment[2]))
