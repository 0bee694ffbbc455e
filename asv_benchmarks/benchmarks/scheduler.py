"""`midstream.scheduler.Scheduler`: submission, order, batches, timers, cancellation, workers."""

from __future__ import annotations

import random
import threading
import time

from midstream.scheduler import Scheduler

PENDING = 1000
HOUR_NS = 3_600_000_000_000


class OneByOne:
    """A thousand times: submit one, take one, with so many pending."""

    params = (("fixed", "edf", "rm", "llf"), (0, 1000, 50_000))
    param_names = ("policy", "pending")

    def setup(self, policy, pending):
        rng = random.Random(1)
        now = time.monotonic_ns() + HOUR_NS
        self.tasks = [(rng.randrange(64), now + rng.randrange(10**9)) for _ in range(PENDING)]
        self.scheduler = Scheduler(policy)
        for k in range(pending):
            priority, deadline_ns = self.tasks[k % PENDING]
            self.scheduler.schedule(k, priority, deadline_ns)

    def time_schedule_and_next(self, policy, pending):
        schedule, take = self.scheduler.schedule, self.scheduler.next
        for priority, deadline_ns in self.tasks:
            schedule(priority, priority, deadline_ns)
            take()


class Batches:
    params = (("fixed", "edf"), (10, 1000))
    param_names = ("policy", "size")

    def setup(self, policy, size):
        self.items = list(range(size))
        self.scheduler = Scheduler(policy)
        self.scheduler.schedule_many(self.items)
        assert self.scheduler.next_many(size) == self.items

    def time_schedule_many_and_next_many(self, policy, size):
        self.scheduler.schedule_many(self.items)
        self.scheduler.next_many(size)


class Timers:
    """A thousand timers among as many as are pending."""

    params = (0, 50_000)
    param_names = ("pending",)

    def setup(self, pending):
        rng = random.Random(2)
        self.now = time.monotonic_ns()
        self.scheduler = Scheduler()
        for k in range(pending):
            self.scheduler.schedule(k, at_ns=self.now + HOUR_NS + rng.randrange(HOUR_NS))
        self.times = [self.now + HOUR_NS + rng.randrange(HOUR_NS) for _ in range(PENDING)]

    def time_set_and_cancel(self, pending):
        schedule, cancel = self.scheduler.schedule, self.scheduler.cancel
        for at_ns in self.times:
            cancel(schedule(1, at_ns=at_ns))

    def time_due(self, pending):
        for at_ns in self.times:
            self.scheduler.schedule(1, at_ns=at_ns - 3 * HOUR_NS)
        self.scheduler.next_many(PENDING)


class Cancellation:
    params = ("fixed", "edf")
    param_names = ("policy",)

    def setup(self, policy):
        rng = random.Random(3)
        now = time.monotonic_ns() + HOUR_NS
        self.deadlines = [now + rng.randrange(10**9) for _ in range(PENDING)]
        self.scheduler = Scheduler(policy)

    def time_schedule_many_and_cancel_many(self, policy):
        handles = self.scheduler.schedule_many(self.deadlines, deadline_ns=self.deadlines)
        assert self.scheduler.cancel_many(handles) == PENDING


class Workers:
    """A thousand callables through worker threads, or called by `run`."""

    params = (0, 1, 2)
    param_names = ("workers",)

    def setup(self, workers):
        self.scheduler = Scheduler(workers=workers)
        self.done = threading.Event()
        if workers:
            self.scheduler.start()

    def teardown(self, workers):
        self.scheduler.stop()

    def time_run_1000(self, workers):
        self.done.clear()
        self.scheduler.schedule_many([int] * (PENDING - 1))
        self.scheduler.schedule(self.done.set)
        if workers:
            self.done.wait()
        else:
            self.scheduler.run()


class Overload:
    """A thousand submissions to a full scheduler, each of which has to drop something."""

    params = ("drop_lowest", "drop_oldest")
    param_names = ("overload",)

    def setup(self, overload):
        self.scheduler = Scheduler(capacity=PENDING, overload=overload)
        self.scheduler.schedule_many(range(PENDING), 10)

    def time_schedule(self, overload):
        schedule = self.scheduler.schedule
        for k in range(PENDING):
            schedule(k, 10 + k % 40)


class Admission:
    """A hundred submissions that have to be tested against so many promises."""

    params = (10, 1000)
    param_names = ("promises",)

    def setup(self, promises):
        now = time.monotonic_ns()
        self.scheduler = Scheduler("edf", admission=True)
        for k in range(promises):
            self.scheduler.schedule(k, deadline_ns=now + HOUR_NS + k, cost_ns=1)
        self.deadline_ns = now + HOUR_NS + promises // 2

    def time_schedule_and_cancel(self, promises):
        for _ in range(100):
            self.scheduler.cancel(
                self.scheduler.schedule(1, deadline_ns=self.deadline_ns, cost_ns=1)
            )
