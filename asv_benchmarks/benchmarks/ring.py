"""`midstream.scheduler.RingQueue` and `HandleRing`, one thread and two."""

from __future__ import annotations

import threading

import numpy as np

from midstream.scheduler import HandleRing, RingQueue

from ._timing import SIZE


class Batches:
    params = (1, 100, 1000)
    param_names = ("batch",)

    def setup(self, batch):
        self.rounds = range(SIZE // batch)
        self.queue, self.handles = RingQueue(1024), HandleRing(1024)
        self.items = list(range(batch))
        self.array = np.arange(batch, dtype=np.uint64)
        assert self.queue.put_many(self.items) == self.handles.push_many(self.array) == batch
        assert self.queue.get_many(batch) == self.handles.pop_many(batch).tolist() == self.items

    def time_put_many_get_many(self, batch):
        put, get = self.queue.put_many, self.queue.get_many
        for _ in self.rounds:
            put(self.items)
            get(batch)

    def time_push_many_pop_many(self, batch):
        push, pop = self.handles.push_many, self.handles.pop_many
        for _ in self.rounds:
            push(self.array)
            pop(batch)


class Singles:
    params = (1, 1024, 65536)
    param_names = ("capacity",)

    def setup(self, capacity):
        self.queue, self.handles = RingQueue(capacity), HandleRing(capacity)
        self.queue.put(7)
        assert self.queue.get() == 7

    def time_put_get(self, capacity):
        put, get = self.queue.put, self.queue.get
        for i in range(SIZE):
            put(i)
            get()

    def time_try_put_try_get(self, capacity):
        put, get = self.queue.try_put, self.queue.try_get
        for i in range(SIZE):
            put(i)
            get()

    def time_push_pop(self, capacity):
        push, pop = self.handles.push, self.handles.pop
        for i in range(SIZE):
            push(i)
            pop()


class Threads:
    """From a producer thread to a consumer thread, through a queue that is often full."""

    params = (16, 1024)
    param_names = ("capacity",)

    def setup(self, capacity):
        self.queue = RingQueue(capacity)

    def time_producer_to_consumer(self, capacity):
        def produce():
            for i in range(SIZE):
                self.queue.put(i)

        producer = threading.Thread(target=produce)
        producer.start()
        for _ in range(SIZE):
            last = self.queue.get()
        producer.join()
        assert last == SIZE - 1
