"""`RingQueue` beside the standard library's queues. Only ours has a bound at this price:
`queue.SimpleQueue` and a deque without maxlen grow without end, and a deque cannot wait."""

from __future__ import annotations

import collections
import queue
import threading

from midstream.scheduler import HandleRing, RingQueue

from ._timing import SIZE, Peer


class _Pairs(Peer):
    """One thread, put and get in turns; both sides through bound methods."""

    def setup(self):
        self.n = min(SIZE, 20_000)
        self.ring = RingQueue(1024)
        self.put, self.get = self.other()
        for put, get in ((self.ring.put, self.ring.get), (self.put, self.get)):
            for item in "abc":
                put(item)
            assert [get() for _ in range(3)] == ["a", "b", "c"]

    def ours(self):
        put, get = self.ring.put, self.ring.get
        for i in range(self.n):
            put(i)
            get()

    def peer(self):
        put, get = self.put, self.get
        for i in range(self.n):
            put(i)
            get()


class PutGetSimpleQueue(_Pairs):
    library = "queue.SimpleQueue"

    def other(self):
        simple = queue.SimpleQueue()
        return simple.put, simple.get


class PutGetQueue(_Pairs):
    library = "queue.Queue"

    def other(self):
        bounded = queue.Queue(1024)
        return bounded.put, bounded.get


class PutGetDeque(_Pairs):
    """A deque has no bound that refuses, no waiting and no shutdown: the price of these."""

    library = "collections.deque"

    def other(self):
        plain = collections.deque()
        return plain.append, plain.popleft


class BatchesOf100(Peer):
    """A SimpleQueue and a deque must loop, or a deque extend and then pop one by one."""

    library = "collections.deque"

    def setup(self):
        self.items = list(range(100))
        self.ring, self.deque = RingQueue(1024), collections.deque()
        assert self.ours() == self.peer() == self.items

    def ours(self):
        self.ring.put_many(self.items)
        return self.ring.get_many(100)

    def peer(self):
        self.deque.extend(self.items)
        popleft = self.deque.popleft
        return [popleft() for _ in self.items]


class Handles(Peer):
    """64-bit handles, one a call, beside a deque of ints."""

    library = "collections.deque"

    def setup(self):
        self.n = min(SIZE, 20_000)
        self.ring, self.deque = HandleRing(1024), collections.deque()

    def ours(self):
        push, pop = self.ring.push, self.ring.pop
        for i in range(self.n):
            push(i)
            pop()

    def peer(self):
        push, pop = self.deque.append, self.deque.popleft
        for i in range(self.n):
            push(i)
            pop()


class _PingPong(Peer):
    """There and back between two threads, each waiting for the other: two hand-overs a turn."""

    turns = 2000
    repeats = 15

    def setup(self):
        assert self.play(RingQueue(4), RingQueue(4)) == self.play(*self.other())

    def play(self, there, back):
        def answer():
            for _ in range(self.turns):
                back.put(there.get())

        partner = threading.Thread(target=answer)
        partner.start()
        for i in range(self.turns):
            there.put(i)
            last = back.get()
        partner.join()
        return last

    def ours(self):
        return self.play(RingQueue(4), RingQueue(4))

    def peer(self):
        return self.play(*self.other())


class PingPongSimpleQueue(_PingPong):
    library = "queue.SimpleQueue"

    def other(self):
        return queue.SimpleQueue(), queue.SimpleQueue()


class PingPongQueue(_PingPong):
    library = "queue.Queue"

    def other(self):
        return queue.Queue(4), queue.Queue(4)


class OneWay(Peer):
    """A producer thread runs ahead of a consumer thread."""

    library = "queue.SimpleQueue"

    def setup(self):
        self.n = min(SIZE, 20_000)
        assert self.flow(RingQueue(1024)) == self.flow(queue.SimpleQueue())

    def flow(self, through):
        def produce():
            for i in range(self.n):
                through.put(i)

        producer = threading.Thread(target=produce)
        producer.start()
        total = sum(through.get() for _ in range(self.n))
        producer.join()
        return total

    def ours(self):
        return self.flow(RingQueue(1024))

    def peer(self):
        return self.flow(queue.SimpleQueue())
