"""Tasks as schedulability theory knows them, and what becomes of them in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_text
from midstream.scheduler._priority import Priority

__all__ = ["Schedule", "Segment", "SimJob", "SimTask", "check_tasks", "count_jobs"]


@dataclass(frozen=True, slots=True)
class SimTask:
    """A task as schedulability theory knows it.

    Parameters
    ----------
    name : str
        Unique within a set.
    cost_ns : int
        Processor time of each job, at least 1.
    period_ns : int, optional
        From one release to the next; None for a task of one job. For a sporadic task, the least
        time between releases: to release as often as allowed is its worst.
    deadline_ns : int, optional
        Relative to each release; may be less than the period, or more. Default: the period, and
        none for a task of one job.
    release_ns : int, default 0
        When the first job is released.
    priority : int, default Priority.NORMAL
        0 to 63; higher is served first.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Examples
    --------
    >>> from midstream.scheduler import SimTask
    >>> task = SimTask("decode", 2_000, period_ns=10_000)
    >>> task.deadline_ns, task.utilization
    (10000, 0.2)
    """

    name: str
    cost_ns: int
    _: KW_ONLY
    period_ns: int | None = None
    deadline_ns: int | None = None
    release_ns: int = 0
    priority: int = Priority.NORMAL

    def __post_init__(self) -> None:
        def put(field: str, value: object) -> None:
            object.__setattr__(self, field, value)

        check_text("name", self.name)
        put("cost_ns", check_int("cost_ns", self.cost_ns, low=1))
        put("release_ns", check_int("release_ns", self.release_ns, low=0))
        priority = check_int("priority", self.priority, low=0, high=63)
        if not isinstance(self.priority, Priority):
            put("priority", priority)
        if self.period_ns is not None:
            put("period_ns", check_int("period_ns", self.period_ns, low=1))
        if self.deadline_ns is None:
            put("deadline_ns", self.period_ns)
        else:
            put("deadline_ns", check_int("deadline_ns", self.deadline_ns, low=1))

    @property
    def utilization(self) -> float:
        """Share of one processor that it asks for: cost / period; 0 for a task of one job."""
        return 0.0 if self.period_ns is None else self.cost_ns / self.period_ns


class Segment(NamedTuple):
    """A stretch of time in which a job runs without interruption.

    Parameters
    ----------
    task : str
        Name of its task.
    job : int
        Number of the job within its task, from 0.
    processor : int
        From 0.
    start_ns, end_ns : int
        It runs from the first to just before the second.
    """

    task: str
    job: int
    processor: int
    start_ns: int
    end_ns: int


class SimJob(NamedTuple):
    """One release of a task, and what became of it.

    Parameters
    ----------
    task : str
        Name of its task.
    job : int
        Number within the task, from 0.
    release_ns : int
    deadline_ns : int or None
        Absolute; None without one.
    start_ns, finish_ns : int or None
        None where that did not happen before the simulation ended.
    missed : bool
        It finished after its deadline, or the deadline passed and it had not finished.
    """

    task: str
    job: int
    release_ns: int
    deadline_ns: int | None
    start_ns: int | None
    finish_ns: int | None
    missed: bool

    @property
    def response_ns(self) -> int | None:
        """From release to finish; None if unfinished."""
        return None if self.finish_ns is None else self.finish_ns - self.release_ns

    @property
    def lateness_ns(self) -> int | None:
        """From deadline to finish, negative if early; None if unfinished or without deadline."""
        if self.finish_ns is None or self.deadline_ns is None:
            return None
        return self.finish_ns - self.deadline_ns


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    """What `simulate` found.

    Parameters
    ----------
    tasks : tuple of SimTask
        As they were given.
    policy : str
    processors : int
    preemptive : bool
    end_ns : int
        When the simulation ended.
    segments : tuple of Segment
        By start, then by processor.
    jobs : tuple of SimJob
        All that were released before the end, by release, then in the order of the tasks.
    preemptions : int
        How often a job that had begun and was not done lost its processor.
    """

    tasks: tuple[SimTask, ...]
    policy: str
    processors: int
    preemptive: bool
    end_ns: int
    segments: tuple[Segment, ...]
    jobs: tuple[SimJob, ...]
    preemptions: int

    @property
    def misses(self) -> tuple[SimJob, ...]:
        """Jobs that missed their deadline."""
        return tuple(job for job in self.jobs if job.missed)

    @property
    def busy_ns(self) -> int:
        """Time that the processors spent on jobs, all together."""
        return sum(segment.end_ns - segment.start_ns for segment in self.segments)

    @property
    def utilization(self) -> float:
        """`busy_ns` as a share of the processors' time from 0 to `end_ns`."""
        return self.busy_ns / (self.processors * self.end_ns) if self.end_ns else 0.0

    @property
    def worst_response_ns(self) -> dict[str, int | None]:
        """Longest response of each task's finished jobs, by name; None where none finished."""
        worst: dict[str, int | None] = dict.fromkeys(task.name for task in self.tasks)
        for job in self.jobs:
            if job.response_ns is not None:
                worst[job.task] = max(worst[job.task] or 0, job.response_ns)
        return worst

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict."""
        return {
            "policy": self.policy,
            "processors": self.processors,
            "preemptive": self.preemptive,
            "end_ns": self.end_ns,
            "utilization": self.utilization,
            "preemptions": self.preemptions,
            "misses": len(self.misses),
            "worst_response_ns": self.worst_response_ns,
            "tasks": [
                {
                    "name": task.name,
                    "cost_ns": task.cost_ns,
                    "period_ns": task.period_ns,
                    "deadline_ns": task.deadline_ns,
                    "release_ns": task.release_ns,
                    "priority": int(task.priority),
                }
                for task in self.tasks
            ],
            "jobs": [
                {
                    **job._asdict(),
                    "response_ns": job.response_ns,
                    "lateness_ns": job.lateness_ns,
                }
                for job in self.jobs
            ],
            "segments": [segment._asdict() for segment in self.segments],
        }

    def __repr__(self) -> str:
        from midstream.scheduler._schedule_text import schedule_line

        return schedule_line(self)

    def _repr_html_(self) -> str:
        from midstream.scheduler._schedule_text import schedule_html

        return schedule_html(self)


def check_tasks(tasks: Iterable[SimTask]) -> tuple[SimTask, ...]:
    """Return `tasks` as a tuple if they are a set that can be scheduled.

    Raises
    ------
    ArgumentTypeError
        Not tasks.
    ArgumentValueError
        None at all, or two of one name.
    """
    try:
        checked = tuple(tasks)
    except TypeError:
        raise ArgumentTypeError(
            f"tasks must be SimTasks, got {tasks!r} ({type(tasks).__name__})"
        ) from None
    names = set()
    for task in checked:
        if not isinstance(task, SimTask):
            raise ArgumentTypeError(f"tasks must be SimTasks, got {task!r}")
        if task.name in names:
            raise ArgumentValueError(f"tasks must have names of their own, got {task.name!r} twice")
        names.add(task.name)
    if not checked:
        raise ArgumentValueError("tasks must not be empty")
    return checked


def count_jobs(tasks: Iterable[SimTask], end: int) -> int:
    """How many jobs are released before `end`."""
    return sum(
        1 if task.period_ns is None else -((task.release_ns - end) // task.period_ns)
        for task in tasks
        if task.release_ns < end
    )
