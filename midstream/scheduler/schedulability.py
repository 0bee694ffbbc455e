"""Whether a set of tasks meets all its deadlines: the tests of the literature, exactly computed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from midstream._core.validate import check_choice, check_int
from midstream.scheduler.schedules import SimTask, check_tasks, count_jobs
from midstream.scheduler.simulation import POLICIES, simulate

__all__ = ["Verdict", "schedulable"]

#: Steps of an iteration after which a test gives up: about a second.
_MOST_STEPS = 200_000
#: Jobs of the longest simulation that looks for a counterexample: about half a second.
_MOST_JOBS = 20_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `schedulable` found. True where, and only where, schedulability is proven.

    Parameters
    ----------
    schedulable : bool or None
        True: no job ever misses. False: some job does. None: not decided; `reason` says why.
    test : str
        What decided, or what was tried last.
    utilization : float
        Cost / period, summed over the periodic tasks.
    bound : float or None
        The utilization up to which the test accepts, where it has one.
    worst_response_ns : dict of str to (int or None)
        By name of task: no job takes longer from release to finish. Exact for releases at once
        where nothing blocks and no two priorities are equal. None where the test tells none.
    reason : str
        One sentence for a person.
    """

    schedulable: bool | None
    test: str
    utilization: float
    bound: float | None
    worst_response_ns: dict[str, int | None]
    reason: str

    def __bool__(self) -> bool:
        return self.schedulable is True

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict."""
        return {
            "schedulable": self.schedulable,
            "test": self.test,
            "utilization": self.utilization,
            "bound": self.bound,
            "worst_response_ns": dict(self.worst_response_ns),
            "reason": self.reason,
        }


def schedulable(
    tasks: Iterable[SimTask],
    policy: str,
    *,
    processors: int = 1,
    preemptive: bool = True,
) -> Verdict:
    """Whether every job meets its deadline, however long the tasks run.

    Costs and periods are taken as worst cases: True also holds if jobs take less and come later
    (sporadic tasks) and whatever the releases are. Tasks without a period release one job, those
    without a deadline cannot miss.

    Parameters
    ----------
    tasks : iterable of SimTask
        At least one.
    policy : {"rm", "fixed", "edf", "llf"}
        As `simulate` schedules by them.
    processors : int, default 1
        With more than one, jobs may move between them (global scheduling).
    preemptive : bool, default True
        False: a job that has begun runs to its end, as in midstream's own `Scheduler`.

    Returns
    -------
    Verdict
        Its truth value is that of ``schedulable is True``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or two tasks have one name.

    Notes
    -----
    One processor, preemptive:

    - rate monotonic, deadlines not before the periods' ends: the bound of Liu and Layland [1]_, the
      hyperbolic bound [2]_; both suffice;
    - any fixed priorities: response-time analysis [3]_, for deadlines beyond the period over the
      whole busy period [4]_; exact where all are released at once and no two priorities equal;
    - EDF: utilization 1 for deadlines not before the periods' ends [1]_, else the processor demand
      [5]_ by QPA [6]_; exact where all are released at once;
    - least laxity: as EDF, since both meet what can be met [7]_.

    One processor, non-preemptive, all sufficient only: fixed priorities by response times with
    blocking, EDF by processor demand with blocking [8]_.

    More processors, all sufficient only: EDF by density [9]_, which for deadlines at the periods'
    ends is the utilization bound of [10]_; fixed priorities and rate monotonic by response times
    with a bounded interference [11]_.

    Where a test that only suffices fails, a short simulation from the releases given looks for a
    miss, which decides as well. What no test decides is None.

    Response-time analysis and processor demand are pseudo-polynomial: microseconds for common
    sets, up to seconds near full load; after some 100,000 steps they give up with None. Pure, any
    number of threads may call it.

    References
    ----------
    .. [1] C. L. Liu and J. W. Layland, "Scheduling algorithms for multiprogramming in a
       hard-real-time environment", J. ACM 20(1), 1973.
    .. [2] E. Bini, G. C. Buttazzo and G. M. Buttazzo, "Rate monotonic analysis: the hyperbolic
       bound", IEEE Trans. Computers 52(7), 2003.
    .. [3] M. Joseph and P. Pandya, "Finding response times in a real-time system", The Computer
       Journal 29(5), 1986.
    .. [4] J. P. Lehoczky, "Fixed priority scheduling of periodic task sets with arbitrary
       deadlines", RTSS 1990.
    .. [5] S. K. Baruah, A. K. Mok and L. E. Rosier, "Preemptively scheduling hard-real-time
       sporadic tasks on one processor", RTSS 1990.
    .. [6] F. Zhang and A. Burns, "Schedulability analysis for real-time systems with EDF
       scheduling", IEEE Trans. Computers 58(9), 2009.
    .. [7] M. L. Dertouzos and A. K. Mok, "Multiprocessor on-line scheduling of hard-real-time
       tasks", IEEE Trans. Software Eng. 15(12), 1989.
    .. [8] L. George, N. Rivierre and M. Spuri, "Preemptive and non-preemptive real-time
       uni-processor scheduling", INRIA RR-2966, 1996.
    .. [9] M. Bertogna, M. Cirinei and G. Lipari, "Improved schedulability analysis of EDF on
       multiprocessor platforms", ECRTS 2005.
    .. [10] J. Goossens, S. Funk and S. Baruah, "Priority-driven scheduling of periodic task systems
       on multiprocessors", Real-Time Systems 25, 2003.
    .. [11] M. Bertogna and M. Cirinei, "Response-time analysis for globally scheduled symmetric
       multiprocessor platforms", RTSS 2007.

    Examples
    --------
    >>> from midstream.scheduler import SimTask, schedulable
    >>> tasks = [SimTask("a", 2, period_ns=5), SimTask("b", 4, period_ns=7)]
    >>> schedulable(tasks, "rm").schedulable
    False
    >>> verdict = schedulable(tasks, "edf")
    >>> bool(verdict), verdict.test, verdict.bound
    (True, 'utilization', 1.0)
    >>> less = [SimTask("a", 1, period_ns=4), SimTask("b", 2, period_ns=6)]
    >>> schedulable(less, "rm").worst_response_ns
    {'a': 1, 'b': 3}
    """
    tasks = check_tasks(tasks)
    check_choice("policy", policy, POLICIES)
    processors = check_int("processors", processors, low=1)
    return _Analysis(tasks, policy, processors, bool(preemptive)).verdict()


class _GaveUp(Exception):  # noqa: N818 - no error: it never leaves this module
    """An iteration took more than `_MOST_STEPS`."""


class _Analysis:
    """One question, and what all of its tests need."""

    def __init__(
        self, tasks: tuple[SimTask, ...], policy: str, processors: int, preemptive: bool
    ) -> None:
        self.tasks = tasks
        self.policy = policy
        self.processors = processors
        self.preemptive = preemptive
        self.load = sum((_utilization(task) for task in tasks), Fraction(0))
        self.responses: dict[str, int | None] = dict.fromkeys(task.name for task in tasks)
        #: Deadlines not before the next release.
        self.implicit = all(
            task.deadline_ns is not None and task.deadline_ns >= task.period_ns
            for task in tasks
            if task.period_ns is not None
        ) and all(task.deadline_ns is None for task in tasks if task.period_ns is None)
        #: Releases at once are the worst, and these tasks do that.
        self.at_once = len({task.release_ns for task in tasks}) == 1

    def verdict(self) -> Verdict:
        for task in self.tasks:
            if task.deadline_ns is not None and task.cost_ns > task.deadline_ns:
                reason = f"{task.name} costs {task.cost_ns} ns, its deadline is {task.deadline_ns}"
                return self._tell(False, "cost", reason + " ns after its release")
            if _utilization(task) > 1:
                reason = f"{task.name} costs more than its period: its backlog grows for ever"
                return self._tell(False, "utilization", reason, 1)
        if self.load > self.processors:
            reason = f"utilization {float(self.load):.4g} is more than {self.processors}"
            return self._tell(False, "utilization", reason, self.processors)
        try:
            return self._by_policy()
        except _GaveUp:
            return self._undecided("busy period", "its busy period is too long to be analysed")

    def _by_policy(self) -> Verdict:
        if len(self.tasks) <= self.processors:
            self.responses = {task.name: task.cost_ns for task in self.tasks}
            return self._tell(True, "cost", "every task has a processor for itself")
        if self.policy in ("rm", "fixed"):
            return self._fixed() if self.processors == 1 else self._fixed_global()
        if self.processors > 1:
            return self._density()
        if self.preemptive:
            return self._demand()
        if self.policy == "edf":
            return self._demand_with_blocking()
        return self._undecided("none", "no test is known here for least laxity without preemption")

    # Fixed priorities, one processor.

    def _fixed(self) -> Verdict:
        late = None
        for task in self.tasks:
            response = self._response(task)
            self.responses[task.name] = response
            if late is None and task.deadline_ns is not None and response > task.deadline_ns:
                late = task
        if late is None:
            return self._accepted()
        reason = (
            f"{late.name} may take {self.responses[late.name]} ns, its deadline is"
            f" {late.deadline_ns} ns after its release"
        )
        exact = self.preemptive and self.at_once and not self._ties()
        if exact:
            return self._tell(False, "response time", f"{reason} (Joseph and Pandya)")
        return self._undecided("response time", f"{reason}, by a bound that may be too large")

    def _accepted(self) -> Verdict:
        """By the simplest test that suffices, since it says the most."""
        if self.policy == "rm" and self.preemptive and self.implicit:
            shares = [_utilization(task) for task in self.tasks if task.period_ns is not None]
            count = len(shares)
            bound = count * (2 ** (1 / count) - 1) if count else 1.0
            # (U / n + 1) ** n <= 2 is the bound without a root.
            if not count or (self.load / count + 1) ** count <= 2:
                reason = f"utilization {float(self.load):.4g} is within Liu and Layland's bound"
                return self._tell(True, "Liu & Layland", f"{reason} for {count} tasks", bound)
            if math.prod(share + 1 for share in shares) <= 2:
                reason = "the product of all (utilization + 1) is at most 2 (Bini and Buttazzo)"
                return self._tell(True, "hyperbolic", reason)
        by = "Joseph and Pandya" if self.preemptive else "George, Rivierre and Spuri"
        reason = f"no response is longer than its deadline ({by})"
        return self._tell(True, "response time", reason)

    def _response(self, task: SimTask) -> int:
        """Longest response of any job in the longest busy period of this priority and above."""
        ahead = self._ahead(task)
        steps = _steps()
        blocking = busy = 0
        if not self.preemptive:
            behind = [other for other in self.tasks if self._after(other, task)]
            # It began one nanosecond before.
            blocking = max((other.cost_ns - 1 for other in behind), default=0)
            busy = _fixpoint([*ahead, task], blocking, steps, least=1)
        worst = job = 0
        while True:
            own = job * task.cost_ns
            if self.preemptive:
                done = _fixpoint(ahead, own + task.cost_ns, steps)
            else:
                start = _fixpoint(ahead, blocking + own, steps, closed=True)
                done = start + task.cost_ns
            if task.period_ns is None:
                return done
            worst = max(worst, done - job * task.period_ns)
            job += 1
            # With preemption the busy period ends where a job is done before the next is released.
            # Without, such a job may still have delayed others that delay the next (Davis, Burns,
            # Bril and Lukkien 2007).
            if (done if self.preemptive else busy) <= job * task.period_ns:
                return worst

    def _ahead(self, task: SimTask) -> list[SimTask]:
        """The others that may be served first; equals count, as the earlier of them does."""
        return [other for other in self.tasks if other is not task and not self._after(other, task)]

    def _after(self, one: SimTask, other: SimTask) -> bool:
        """Whether `one` is served after `other`, always."""
        return self._rank(one) > self._rank(other)

    def _rank(self, task: SimTask) -> tuple[int, ...]:
        if self.policy == "fixed":
            return (-task.priority,)
        if task.period_ns is None:
            return (1, 0, -task.priority)
        return (0, task.period_ns, -task.priority)

    def _ties(self) -> bool:
        ranks = [self._rank(task) for task in self.tasks]
        return len(set(ranks)) < len(ranks)

    # Earliest deadline, one processor.

    def _demand(self) -> Verdict:
        name = "" if self.policy == "edf" else "least laxity meets what EDF meets; "
        if self.implicit:
            reason = f"{name}utilization {float(self.load):.4g} is at most 1 (Liu and Layland)"
            return self._tell(True, "utilization", reason, 1)
        late = self._quick_processor_demand()
        if late is None:
            reason = f"{name}no interval is asked for more than its length (Baruah; QPA)"
            return self._tell(True, "processor demand", reason)
        reason = f"{name}what is due within {late} ns costs {self._due(late)} ns (Baruah)"
        if self.at_once:
            return self._tell(False, "processor demand", reason)
        return self._undecided("processor demand", f"{reason} if all are released at once")

    def _due(self, length: int) -> int:
        """Cost of all that is released and due within an interval: the demand bound function."""
        return sum(
            task.cost_ns * _jobs_due(task, deadline, length) for task, deadline in self._deadlines()
        )

    def _deadline_before(self, instant: int) -> int | None:
        """The last deadline before `instant` if all are released at 0."""
        found = None
        for task, deadline in self._deadlines():
            if deadline >= instant:
                continue
            last = deadline
            if task.period_ns is not None:
                last += (instant - 1 - deadline) // task.period_ns * task.period_ns
            found = last if found is None else max(found, last)
        return found

    def _quick_processor_demand(self) -> int | None:
        """An interval that is asked for more than its length; None without one (QPA)."""
        end = self._longest_interval(0)
        least = min(deadline for _, deadline in self._deadlines())
        instant = self._deadline_before(end + 1)
        steps = _steps()
        while instant is not None:
            next(steps)
            due = self._due(instant)
            if due > instant:
                return instant
            if due <= least:
                return None
            instant = due if due < instant else self._deadline_before(instant)
        return None

    def _longest_interval(self, blocking: int) -> int:
        """No interval longer than this is the shortest that is asked for too much."""
        dated = self._dated()
        longest = []
        with contextlib.suppress(_GaveUp):
            longest.append(_fixpoint(dated, blocking, _steps(), least=1))
        if self.load == 1:
            # Behind the last first deadline all repeats, since nothing is left over.
            periods = [task.period_ns for task in dated if task.period_ns is not None]
            longest.append(math.lcm(*periods) + max(deadline for _, deadline in self._deadlines()))
        else:
            slack = Fraction(blocking)
            for task, deadline in self._deadlines():
                if task.period_ns is None:
                    slack += task.cost_ns
                else:
                    slack += max(0, task.period_ns - deadline) * _utilization(task)
            longest.append(math.ceil(slack / (1 - self.load)))
        return min(longest)

    def _deadlines(self) -> list[tuple[SimTask, int]]:
        return [(task, task.deadline_ns) for task in self.tasks if task.deadline_ns is not None]

    def _dated(self) -> list[SimTask]:
        return [task for task, _ in self._deadlines()]

    def _demand_with_blocking(self) -> Verdict:
        end = self._longest_interval(max(task.cost_ns - 1 for task in self.tasks))
        steps = _steps()
        instant = self._deadline_before(end + 1)
        while instant is not None:
            next(steps)
            # A job that is due later, or never, may have begun one nanosecond before.
            blocked = max(
                (
                    task.cost_ns - 1
                    for task in self.tasks
                    if task.deadline_ns is None or task.deadline_ns > instant
                ),
                default=0,
            )
            if self._due(instant) + blocked > instant:
                reason = (
                    f"what is due within {instant} ns costs {self._due(instant)} ns, after"
                    f" {blocked} ns of blocking (George, Rivierre and Spuri)"
                )
                return self._undecided("processor demand with blocking", reason)
            instant = self._deadline_before(instant)
        reason = "demand and blocking fit into every interval (George, Rivierre and Spuri)"
        return self._tell(True, "processor demand with blocking", reason)

    # Several processors.

    def _density(self) -> Verdict:
        if not self.preemptive or self.policy == "llf":
            return self._undecided("none", self._nothing_known())
        if self._overlapping():
            return self._undecided("none", "no test is known here for deadlines beyond the period")
        densities = [Fraction(task.cost_ns, deadline) for task, deadline in self._deadlines()]
        total, largest = sum(densities, Fraction(0)), max(densities, default=Fraction(0))
        bound = self.processors - (self.processors - 1) * largest
        what = "utilization" if self.implicit else "density"
        if total <= bound:
            reason = f"{what} {float(total):.4g} is within the bound (Goossens, Funk and Baruah)"
            return self._tell(True, what, reason, bound)
        reason = f"{what} {float(total):.4g} is beyond the bound, which only suffices"
        return self._undecided(what, reason, bound)

    def _fixed_global(self) -> Verdict:
        if not self.preemptive:
            return self._undecided("none", self._nothing_known())
        if self._overlapping():
            return self._undecided("none", "no test is known here for deadlines beyond the period")
        steps = _steps()
        for task, deadline in self._deadlines():
            response = self._global_response(task, deadline, steps)
            if response is None:
                reason = f"{task.name} may miss, by a bound that may be too large"
                return self._undecided("response time", f"{reason} (Bertogna and Cirinei)")
            self.responses[task.name] = response
        reason = "no response is longer than its deadline (Bertogna and Cirinei)"
        return self._tell(True, "response time", reason)

    def _global_response(self, task: SimTask, deadline: int, steps: Iterator[None]) -> int | None:
        """Bound on the response; None where that is beyond the deadline."""
        ahead = self._ahead(task)
        response = task.cost_ns
        while response <= deadline:
            next(steps)
            most = response - task.cost_ns + 1
            interference = sum(min(_workload(other, response), most) for other in ahead)
            following = task.cost_ns + interference // self.processors
            if following == response:
                return response
            response = following
        return None

    def _overlapping(self) -> bool:
        """Whether a job may be due after the next of its task is released."""
        return any(
            task.period_ns is not None and deadline > task.period_ns
            for task, deadline in self._deadlines()
        )

    def _nothing_known(self) -> str:
        names = {"rm": "rate monotonic", "fixed": "fixed priorities", "edf": "EDF"}
        name = names.get(self.policy, "least laxity")
        how = "" if self.preemptive else " without preemption"
        where = "one processor" if self.processors == 1 else f"{self.processors} processors"
        return f"no test is known here for {name}{how} on {where}"

    # Outcomes.

    def _tell(
        self, verdict: bool | None, test: str, reason: str, bound: Fraction | float | None = None
    ) -> Verdict:
        limit = None if bound is None else float(bound)
        return Verdict(verdict, test, float(self.load), limit, self.responses, reason)

    def _undecided(self, test: str, reason: str, bound: Fraction | None = None) -> Verdict:
        """Unless a simulation shows a miss."""
        periods = [task.period_ns for task in self.tasks if task.period_ns is not None]
        end = max(task.release_ns for task in self.tasks) + 2 * math.lcm(*periods)
        end += max((task.deadline_ns or 0 for task in self.tasks), default=0)
        while count_jobs(self.tasks, end) > _MOST_JOBS:
            end //= 2
        schedule = simulate(
            self.tasks,
            self.policy,
            until_ns=max(end, 1),
            processors=self.processors,
            preemptive=self.preemptive,
        )
        for job in schedule.misses:
            found = f"job {job.job} of {job.task} misses its deadline at {job.deadline_ns} ns"
            return self._tell(False, "simulation", found)
        tried = f"; no miss in a simulation of {schedule.end_ns} ns"
        return self._tell(None, test, reason + tried, bound)


def _steps() -> Iterator[None]:
    for _ in range(_MOST_STEPS):
        yield
    raise _GaveUp


def _utilization(task: SimTask) -> Fraction:
    return Fraction(0) if task.period_ns is None else Fraction(task.cost_ns, task.period_ns)


def _jobs_due(task: SimTask, deadline: int, length: int) -> int:
    """Most jobs that are released and due within an interval of this length."""
    if length < deadline:
        return 0
    return 1 if task.period_ns is None else (length - deadline) // task.period_ns + 1


def _jobs_released(task: SimTask, length: int, *, closed: bool) -> int:
    """Most releases in an interval of this length, with or without its end."""
    if task.period_ns is None:
        return 1
    return length // task.period_ns + 1 if closed else -(-length // task.period_ns)


def _fixpoint(
    tasks: Sequence[SimTask],
    base: int,
    steps: Iterator[None],
    *,
    closed: bool = False,
    least: int = 0,
) -> int:
    """Least w with ``w = base + cost of all jobs of tasks released within w``."""
    span = max(base, least)
    while True:
        next(steps)
        work = base + sum(
            _jobs_released(task, span, closed=closed) * task.cost_ns for task in tasks
        )
        if work <= span:
            return span
        span = work


def _workload(task: SimTask, length: int) -> int:
    """Most that a task which meets its deadlines can do within an interval of this length."""
    if task.period_ns is None or task.deadline_ns is None:
        return min(task.cost_ns, length)
    reach = length + task.deadline_ns - task.cost_ns
    whole = reach // task.period_ns
    return whole * task.cost_ns + min(task.cost_ns, reach - whole * task.period_ns)
