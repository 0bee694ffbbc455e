"""What a policy does with a set of tasks: an exact schedule, computed offline."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable

from midstream._core.errors import ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.validate import check_choice, check_int
from midstream.scheduler.schedules import (
    Schedule,
    Segment,
    SimJob,
    SimTask,
    check_tasks,
    count_jobs,
)

__all__ = ["POLICIES", "simulate"]

POLICIES = ("fixed", "edf", "rm", "llf")

#: Default horizons with more jobs than this are refused: minutes of work that nobody asked for.
_MOST_JOBS = 1_000_000
#: What a job and its segment take, measured and rounded up.
_BYTES_PER_JOB = 1024


def simulate(
    tasks: Iterable[SimTask],
    policy: str = "fixed",
    *,
    until_ns: int | None = None,
    processors: int = 1,
    preemptive: bool = True,
) -> Schedule:
    """Compute the schedule that a policy makes of a set of tasks.

    Every job takes exactly its cost, and switching costs nothing. Jobs of one task never overlap:
    each waits for the one before it. A processor never idles while a job is ready. Overload is
    legal: the backlog grows, nothing is dropped, and what is late counts as missed.

    Parameters
    ----------
    tasks : iterable of SimTask
        At least one; their order breaks the last ties.
    policy : {"fixed", "edf", "rm", "llf"}
        Which job goes first:

        ``"fixed"``
            that of the highest priority;
        ``"edf"``
            that with the earliest absolute deadline;
        ``"rm"``
            that of the shortest period;
        ``"llf"``
            that with the least laxity, ``deadline - now - remaining cost``.

        Among equals the higher priority goes first, then whoever runs already, then the earlier
        release, then the order of `tasks`. Under ``"llf"`` whoever runs already comes before the
        priority: a tie of laxities never switches. Jobs without a deadline (``"edf"``, ``"llf"``)
        or without a period (``"rm"``) come after all others.
    until_ns : int, optional
        When to stop; jobs released at or after it are left out. Default: the largest first
        release plus the hyperperiod (the least common multiple of the periods); without periodic
        tasks, when all is done.
    processors : int, default 1
        Jobs may move from one to another (global scheduling). A job keeps its processor while it
        runs; one that starts or resumes takes the free one of the lowest number.
    preemptive : bool, default True
        False: a job that has begun runs to its end, as in midstream's own `Scheduler`, whose
        tasks are function calls.

    Returns
    -------
    Schedule

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, two tasks have one name, or no `until_ns` was given and there
        are more than a million jobs up to the default one.
    MemoryLimitError
        More jobs up to `until_ns` than memory holds.

    Notes
    -----
    Decisions are made when a job is released and when one finishes. Least laxity needs more: a
    running job's laxity stands still while those of waiting ones fall, and to follow each crossing
    would switch between two equals at every nanosecond. Preemptive ``"llf"`` therefore decides at
    two more kinds of instant only: when the laxity of a waiting job reaches zero, and when the
    laxity of a running job has become all the time that a waiting job with an earlier deadline has
    left until that deadline. Before then the running job can be served first without harm, so on
    one processor this meets all deadlines that can be met (optimality as in [3]_, the rule after
    [4]_), and the schedule is the same however finely time is counted: all times of the tasks
    multiplied by a thousand multiply its times, and nothing else.

    Time grows with jobs times tasks, about 10 us for each job of a small set; memory with jobs.
    Pure: no state is kept, any number of threads may call it.

    References
    ----------
    .. [1] C. L. Liu and J. W. Layland, "Scheduling algorithms for multiprogramming in a
       hard-real-time environment", J. ACM 20(1), 1973.
    .. [2] G. C. Buttazzo, "Hard Real-Time Computing Systems", 3rd ed., Springer, 2011.
    .. [3] M. L. Dertouzos and A. K. Mok, "Multiprocessor on-line scheduling of hard-real-time
       tasks", IEEE Trans. Software Eng. 15(12), 1989.
    .. [4] S.-H. Oh and S.-M. Yang, "A modified least-laxity-first scheduling algorithm for
       real-time tasks", RTCSA 1998.

    Examples
    --------
    Utilization 0.97: too much for rate monotonic, not for EDF (the example of Liu and Layland's
    bound in [2]_).

    >>> from midstream.scheduler import SimTask, simulate
    >>> tasks = [SimTask("a", 2, period_ns=5), SimTask("b", 4, period_ns=7)]
    >>> simulate(tasks, "rm")
    <Schedule rm tasks=2 jobs=12 misses=1 preemptions=5 utilization=0.971 end=35ns>
    >>> simulate(tasks, "edf")
    <Schedule edf tasks=2 jobs=12 misses=0 preemptions=1 utilization=0.971 end=35ns>
    >>> simulate(tasks, "rm").misses[0].lateness_ns
    1
    """
    tasks = check_tasks(tasks)
    check_choice("policy", policy, POLICIES)
    processors = check_int("processors", processors, low=1)
    if until_ns is None:
        end = _default_end(tasks)
    else:
        end = check_int("until_ns", until_ns, low=1)
        jobs = count_jobs(tasks, end)
        check_memory(f"a simulation of {jobs:,} jobs", jobs * _BYTES_PER_JOB)
    return _Simulation(tasks, policy, end, processors, bool(preemptive)).run()


def _default_end(tasks: tuple[SimTask, ...]) -> int | None:
    """The default of `until_ns`; None for when all is done."""
    periods = [task.period_ns for task in tasks if task.period_ns is not None]
    if not periods:
        return None
    hyperperiod = math.lcm(*periods)
    end = max(task.release_ns for task in tasks) + hyperperiod
    jobs = count_jobs(tasks, end)
    if jobs > _MOST_JOBS:
        raise ArgumentValueError(
            f"until_ns must be given: the periods have a least common multiple of {hyperperiod:.3g}"
            f" ns, in which {jobs:.3g} jobs are released"
        )
    return end


class _Job:
    """A released job that is not done."""

    __slots__ = (
        "cpu",
        "deadline",
        "number",
        "release",
        "remaining",
        "resumed",
        "start",
        "task",
    )

    def __init__(self, task: int, number: int, release: int, spec: SimTask) -> None:
        self.task = task
        self.number = number
        self.release = release
        self.deadline = None if spec.deadline_ns is None else release + spec.deadline_ns
        self.remaining = spec.cost_ns
        self.start: int | None = None
        self.cpu: int | None = None
        #: When it was last given its processor.
        self.resumed = 0


class _Simulation:
    """The state between two instants at which something happens."""

    def __init__(
        self,
        tasks: tuple[SimTask, ...],
        policy: str,
        end: int | None,
        processors: int,
        preemptive: bool,
    ) -> None:
        self.tasks = tasks
        self.policy = policy
        self.end = end
        self.processors = processors
        self.preemptive = preemptive
        self.now = 0
        self.releases = [
            (task.release_ns, index)
            for index, task in enumerate(tasks)
            if end is None or task.release_ns < end
        ]
        heapq.heapify(self.releases)
        self.released = [0] * len(tasks)
        #: Of each task, released and not done; only the first can run.
        self.queues: list[deque[_Job]] = [deque() for _ in tasks]
        self.ready: list[_Job] = []
        self.running: list[_Job] = []
        self.segments: list[Segment] = []
        self.jobs: list[SimJob] = []
        self.preemptions = 0
        self.key = self._laxity_key if policy == "llf" else self._static_key
        self.static = _STATIC_KEYS.get(policy)

    def run(self) -> Schedule:
        while True:
            self._release()
            self._decide()
            instant = self._next_instant()
            if instant is None or (self.end is not None and instant > self.end):
                break
            self._advance(instant)
            if instant == self.end:
                break
        if self.end is not None:
            self._advance(self.end)
        return self._schedule()

    def _release(self) -> None:
        while self.releases and self.releases[0][0] == self.now:
            _, index = heapq.heappop(self.releases)
            task = self.tasks[index]
            job = _Job(index, self.released[index], self.now, task)
            self.released[index] += 1
            self.queues[index].append(job)
            if len(self.queues[index]) == 1:
                self.ready.append(job)
            if task.period_ns is not None:
                following = self.now + task.period_ns
                if self.end is None or following < self.end:
                    heapq.heappush(self.releases, (following, index))

    def _decide(self) -> None:
        """Give the processors to those that come first."""
        if self.preemptive:
            chosen = self._first(self.ready, self.processors)
            kept = {id(job) for job in chosen}
            for job in self.running:
                if id(job) not in kept:
                    self._stop(job)
                    self.preemptions += 1
        else:
            waiting = [job for job in self.ready if job.cpu is None]
            chosen = self.running + self._first(waiting, self.processors - len(self.running))
        taken = {job.cpu for job in chosen}
        free = (cpu for cpu in range(self.processors) if cpu not in taken)
        for job in chosen:
            if job.cpu is None:
                job.cpu = next(free)
                job.resumed = self.now
                if job.start is None:
                    job.start = self.now
        self.running = chosen

    def _first(self, jobs: list[_Job], count: int) -> list[_Job]:
        if count <= 0 or not jobs:
            return []
        return [min(jobs, key=self.key)] if count == 1 else sorted(jobs, key=self.key)[:count]

    def _static_key(self, job: _Job) -> tuple[int, ...]:
        task = self.tasks[job.task]
        assert self.static is not None
        value = self.static(task, job)
        rest = (-task.priority, job.cpu is None, job.release, job.task)
        return (1, *rest) if value is None else (0, value, *rest)

    def _laxity_key(self, job: _Job) -> tuple[int, ...]:
        priority, waits = -self.tasks[job.task].priority, job.cpu is None
        if job.deadline is None:
            return (1, priority, waits, job.release, job.task)
        laxity = job.deadline - self.now - job.remaining
        return (0, laxity, waits, priority, job.release, job.task)

    def _next_instant(self) -> int | None:
        """When something happens next; None if nothing will."""
        instants = [self.now + job.remaining for job in self.running]
        if self.releases:
            instants.append(self.releases[0][0])
        if self.policy == "llf" and self.preemptive:
            instants += self._laxity_instants()
        return min(instants, default=self.end)

    def _laxity_instants(self) -> list[int]:
        instants = []
        for waiting in self.ready:
            if waiting.cpu is not None or waiting.deadline is None:
                continue
            instants.append(waiting.deadline - waiting.remaining)
            for job in self.running:
                # Whoever runs has a deadline as well, as those without come last.
                assert job.deadline is not None
                if job.deadline > waiting.deadline:
                    laxity = job.deadline - self.now - job.remaining
                    instants.append(waiting.deadline - laxity)
        return [instant for instant in instants if instant > self.now]

    def _advance(self, instant: int) -> None:
        """Let the running jobs run up to `instant`, at which at the earliest one of them ends."""
        elapsed = instant - self.now
        self.now = instant
        going = []
        for job in self.running:
            job.remaining -= elapsed
            if job.remaining:
                going.append(job)
                continue
            self._stop(job)
            self._record(job, instant)
            self.ready.remove(job)
            queue = self.queues[job.task]
            queue.popleft()
            if queue:
                self.ready.append(queue[0])
        self.running = going

    def _stop(self, job: _Job) -> None:
        assert job.cpu is not None
        name = self.tasks[job.task].name
        self.segments.append(Segment(name, job.number, job.cpu, job.resumed, self.now))
        job.cpu = None

    def _record(self, job: _Job, finish: int | None) -> None:
        by = self.now if finish is None else finish - 1
        self.jobs.append(
            SimJob(
                self.tasks[job.task].name,
                job.number,
                job.release,
                job.deadline,
                job.start,
                finish,
                missed=job.deadline is not None and job.deadline <= by,
            )
        )

    def _schedule(self) -> Schedule:
        for job in self.running:
            self._stop(job)
        for queue in self.queues:
            for job in queue:
                self._record(job, None)
        place = {task.name: index for index, task in enumerate(self.tasks)}
        return Schedule(
            self.tasks,
            self.policy,
            self.processors,
            self.preemptive,
            self.now,
            tuple(sorted(self.segments, key=lambda part: (part.start_ns, part.processor))),
            tuple(sorted(self.jobs, key=lambda job: (job.release_ns, place[job.task], job.job))),
            self.preemptions,
        )


_STATIC_KEYS: dict[str, Callable[[SimTask, _Job], int | None]] = {
    "fixed": lambda task, job: -task.priority,
    "edf": lambda task, job: job.deadline,
    "rm": lambda task, job: task.period_ns,
}
