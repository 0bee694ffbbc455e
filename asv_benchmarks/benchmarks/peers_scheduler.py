"""`Scheduler` beside what people build priority queues from: heapq, `queue`, asyncio."""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import time
from typing import ClassVar

from midstream.scheduler import Scheduler

from ._timing import Peer

PENDING = 1000
HOUR_NS = 3_600_000_000_000


class _OneByOne(Peer):
    """Submit one and take one, with a thousand pending; both sides by names bound beforehand."""

    policy: ClassVar[str] = "fixed"

    def setup(self):
        rng = random.Random(1)
        self.priorities = [rng.choice((10, 20, 30, 40, 50)) for _ in range(PENDING)]
        now = time.monotonic_ns() + HOUR_NS
        self.deadlines = [now + rng.randrange(1_000_000_000) for _ in range(PENDING)]
        self.scheduler = Scheduler(self.policy)
        self.fill()
        order = self.scheduler.next_many(PENDING)
        assert order == self.expected()
        self.fill()
        self.counter = itertools.count()
        self.fill_peer()

    def fill(self):
        for k in range(PENDING):
            self.scheduler.schedule(k, self.priorities[k])

    def expected(self):
        return sorted(range(PENDING), key=lambda k: (-self.priorities[k], k))

    def ours(self):
        schedule, take = self.scheduler.schedule, self.scheduler.next
        for priority in self.priorities:
            schedule(priority, priority)
            take()


class FixedAndHeapq(_OneByOne):
    library = "heapq"

    def fill_peer(self):
        self.heap = []
        for k in range(PENDING):
            heapq.heappush(self.heap, (-self.priorities[k], next(self.counter), k))

    def peer(self):
        heap, push, pop, count = self.heap, heapq.heappush, heapq.heappop, self.counter
        for priority in self.priorities:
            push(heap, (-priority, next(count), priority))
            pop(heap)


class FixedAndPriorityQueue(_OneByOne):
    library = "queue.PriorityQueue"

    def fill_peer(self):
        self.queue = queue.PriorityQueue()
        for k in range(PENDING):
            self.queue.put((-self.priorities[k], next(self.counter), k))

    def peer(self):
        put, get, count = self.queue.put, self.queue.get, self.counter
        for priority in self.priorities:
            put((-priority, next(count), priority))
            get()


class DeadlinesAndHeapq(_OneByOne):
    library = "heapq"
    policy = "edf"

    def fill(self):
        for k in range(PENDING):
            self.scheduler.schedule(k, deadline_ns=self.deadlines[k])

    def expected(self):
        return sorted(range(PENDING), key=lambda k: (self.deadlines[k], k))

    def fill_peer(self):
        self.heap = []
        for k in range(PENDING):
            heapq.heappush(self.heap, (self.deadlines[k], next(self.counter), k))

    def ours(self):
        schedule, take = self.scheduler.schedule, self.scheduler.next
        for deadline in self.deadlines:
            schedule(deadline, 30, deadline)
            take()

    def peer(self):
        heap, push, pop, count = self.heap, heapq.heappush, heapq.heappop, self.counter
        for deadline in self.deadlines:
            push(heap, (deadline, next(count), deadline))
            pop(heap)


class HoldModel(DeadlinesAndHeapq):
    """Each new deadline lies a random time after the one just taken: the queue turns over."""

    def ours(self):
        schedule, take = self.scheduler.schedule, self.scheduler.next
        deadline = self.deadlines[0]
        for later in self.deadlines:
            deadline += later - self.deadlines[0] & 0xFFFFFFF
            schedule(deadline, 30, deadline)
            deadline = take()

    def peer(self):
        heap, push, pop, count = self.heap, heapq.heappush, heapq.heappop, self.counter
        deadline = self.deadlines[0]
        for later in self.deadlines:
            deadline += later - self.deadlines[0] & 0xFFFFFFF
            push(heap, (deadline, next(count), deadline))
            deadline = pop(heap)[0]

    def fill(self):
        for deadline in self.deadlines:
            self.scheduler.schedule(deadline, deadline_ns=deadline)

    def expected(self):
        return sorted(self.deadlines)


class Batch(Peer):
    """A thousand in, a thousand out; heapq has no batches, so one by one."""

    library = "heapq"

    def setup(self):
        self.items = list(range(PENDING))
        self.scheduler = Scheduler()
        self.counter = itertools.count()
        assert self.ours() == self.peer() == self.items

    def ours(self):
        self.scheduler.schedule_many(self.items)
        return self.scheduler.next_many(PENDING)

    def peer(self):
        heap, push, pop, count = [], heapq.heappush, heapq.heappop, self.counter
        for item in self.items:
            push(heap, (-30, next(count), item))
        return [pop(heap)[2] for _ in self.items]
