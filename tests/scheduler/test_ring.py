"""`RingQueue` and `HandleRing` against a deque, and what threads do to them."""

from __future__ import annotations

import array
import copy
import ctypes
import gc
import inspect
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from midstream import MidstreamError
from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    QueueEmptyError,
    QueueFullError,
    QueueShutDownError,
)
from midstream.scheduler import HandleRing, RingQueue

#: Long enough for any machine; tests that pass never wait for it.
LONG_S = 60.0


class Thing:
    """Something that weak references can watch."""


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def run_all(*functions: Callable[[], Any]) -> list[Any]:
    """Run each in a thread of its own, starting together; the first exception is raised here."""
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], Any]) -> Any:
        barrier.wait(LONG_S)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(run, function) for function in functions]
        return [future.result(LONG_S) for future in futures]


class WaitingThread:
    """A thread inside a call that blocks: `result` is what the call returned or raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.started = threading.Event()
        self.result: Any = None
        self.thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self.thread.start()
        assert self.started.wait(LONG_S)

    def _run(self, call: Callable[[], Any]) -> None:
        self.started.set()
        try:
            self.result = call()
        except MidstreamError as error:
            self.result = error

    def join(self) -> Any:
        self.thread.join(LONG_S)
        assert not self.thread.is_alive()
        return self.result


class AgainstADeque(RuleBasedStateMachine):
    @initialize(capacity=st.integers(1, 9))
    def start(self, capacity: int) -> None:
        self.capacity = capacity
        self.queue: RingQueue[int] = RingQueue(capacity)
        self.handles = HandleRing(capacity)
        self.model: deque[int] = deque()
        self.closed = False
        self.next = 0

    def fresh(self, n: int = 1) -> list[int]:
        self.next += n
        return list(range(self.next - n, self.next))

    @rule()
    def put(self) -> None:
        (item,) = self.fresh()
        if self.closed:
            with pytest.raises(QueueShutDownError):
                self.queue.put_nowait(item)
            with pytest.raises(QueueShutDownError):
                self.queue.try_put(item)
            return
        if len(self.model) == self.capacity:
            with pytest.raises(QueueFullError):
                self.queue.put(item, block=False)
            with pytest.raises(QueueFullError):
                self.queue.put(item, timeout=0)
            assert not self.queue.try_put(item)
            assert not self.handles.push(item)
            return
        self.queue.put(item)
        assert self.handles.push(item)
        self.model.append(item)

    @rule()
    def get(self) -> None:
        if not self.model:
            error = QueueShutDownError if self.closed else QueueEmptyError
            with pytest.raises(error):
                self.queue.get_nowait()
            with pytest.raises(error):
                self.queue.get(timeout=0.0)
            assert self.handles.pop() is None
            return
        assert self.queue.get() == self.handles.pop() == self.model.popleft()

    @rule(n=st.integers(0, 12))
    def put_many(self, n: int) -> None:
        items = self.fresh(n)
        if self.closed:
            if n:
                with pytest.raises(QueueShutDownError):
                    self.queue.put_many(items)
            return
        room = min(n, self.capacity - len(self.model))
        assert self.queue.put_many(items, block=False) == room
        assert self.handles.push_many(array.array("Q", items)) == room
        self.model.extend(items[:room])

    @rule(n=st.integers(0, 12))
    def get_many(self, n: int) -> None:
        expected = [self.model.popleft() for _ in range(min(n, len(self.model)))]
        if n and not expected and self.closed:
            with pytest.raises(QueueShutDownError):
                self.queue.get_many(n)
        else:
            assert self.queue.get_many(n) == expected
        assert self.handles.pop_many(n).tolist() == expected

    @rule(n=st.integers(1, 100))
    def go_round(self, n: int) -> None:
        """Pairs of put and get: the tickets pass the end of the ring."""
        if self.closed or len(self.model) == self.capacity:
            return
        for item in self.fresh(n):
            self.queue.put(item)
            assert self.handles.push(item)
            self.model.append(item)
            assert self.queue.try_get() == self.handles.pop() == self.model.popleft()

    @precondition(lambda self: self.next > 60)
    @rule(immediate=st.booleans())
    def shutdown(self, immediate: bool) -> None:
        self.queue.shutdown(immediate)
        self.closed = True
        if immediate:
            self.model.clear()
            self.handles.pop_many(self.capacity)

    @invariant()
    def sizes_agree(self) -> None:
        held = len(self.model)
        assert len(self.queue) == self.queue.qsize() == len(self.handles) == held
        assert self.queue.empty() == (held == 0)
        assert self.queue.full() == (held == self.capacity)
        assert self.queue.capacity == self.handles.capacity == self.capacity
        assert self.queue.is_shutdown == self.closed
        end = ", shut down" if self.closed else ""
        assert repr(self.queue) == f"<RingQueue holds {held} of {self.capacity}{end}>"


TestAgainstADeque = AgainstADeque.TestCase
TestAgainstADeque.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("ring", [RingQueue, HandleRing])
def test_capacity_is_exact_and_never_zero(ring: type) -> None:
    for bad in (0, -1, 2**32 + 1):
        with pytest.raises(ArgumentValueError, match=f"capacity .*{bad}"):
            ring(bad)
    for worse in (1.0, "4", None, True):
        with pytest.raises(ArgumentTypeError, match="capacity"):
            ring(worse)
    with pytest.raises(TypeError):
        ring()
    with pytest.raises(MemoryError):
        ring(2**32)
    assert ring(capacity=3).capacity == 3
    assert sys.getsizeof(ring(1000)) > 1000 * 40
    assert sys.getsizeof(ring(1)) < 4000


def test_errors_are_those_of_queue_as_well() -> None:
    full: RingQueue[int] = RingQueue(1)
    with pytest.raises(queue.Empty):
        full.get_nowait()
    full.put(1)
    with pytest.raises(queue.Full, match="holds 1 item"):
        full.put_nowait(2)
    full.shutdown()
    with pytest.raises(getattr(queue, "ShutDown", QueueShutDownError)):
        full.put(2)


@pytest.mark.parametrize("call", ["put", "get", "put_many", "get_many"])
@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ArgumentValueError),
        (float("nan"), ArgumentValueError),
        (float("inf"), ArgumentValueError),
        ("1", ArgumentTypeError),
    ],
)
def test_bad_timeouts_are_told_whatever_the_queue_holds(
    call: str, timeout: Any, error: type[Exception]
) -> None:
    half: RingQueue[int] = RingQueue(2)
    half.put(0)
    arguments = {"put": (1,), "get": (), "put_many": ([1],), "get_many": (1,)}[call]
    with pytest.raises(error, match="timeout"):
        getattr(half, call)(*arguments, block=True, timeout=timeout)
    assert half.get_many(9) == [0]


def test_timeouts_end_the_wait() -> None:
    one: RingQueue[int] = RingQueue(1)
    with pytest.raises(QueueEmptyError):
        one.get(True, 1e-3)
    assert one.get_many(3, block=True, timeout=1e-3) == []
    assert one.put_many([1, 2, 3], timeout=1e-3) == 1
    with pytest.raises(QueueFullError):
        one.put(2, True, 1e-3)
    assert one.get(timeout=1e300) == 1


def test_put_many_takes_what_has_an_order_and_loses_nothing() -> None:
    some: RingQueue[Any] = RingQueue(4)
    for bad in (iter([1]), (x for x in [1]), {1}, {1: 2}, 5):
        with pytest.raises(ArgumentTypeError, match="items must be a sequence"):
            some.put_many(bad)  # type: ignore[arg-type]
    assert some.put_many("ab") == 2
    assert some.put_many(range(9), block=False) == 2
    assert some.get_many(100) == ["a", "b", 0, 1]
    with pytest.raises(ArgumentValueError, match="max_items"):
        some.get_many(-1)


def test_has_signatures_and_types() -> None:
    bound: RingQueue[int] = RingQueue(1)
    assert str(inspect.signature(bound.put)) == "(item, block=True, timeout=None)"
    assert str(inspect.signature(bound.get)) == "(block=True, timeout=None)"
    assert str(inspect.signature(bound.get_many)) == "(max_items, block=False, timeout=None)"
    assert str(inspect.signature(RingQueue)) == str(inspect.signature(HandleRing)) == "(capacity)"
    assert RingQueue[int].__args__ == (int,)
    assert inspect.getdoc(RingQueue.put).startswith("Append an item; wait")  # type: ignore[union-attr]
    for ring in (RingQueue(1), HandleRing(1)):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                attempt(ring)


def test_can_be_subclassed() -> None:
    class Named(RingQueue[Any]):
        def __init__(self, capacity: int) -> None:
            super().__init__(capacity)
            self.name = "inbox"

    named = Named(2)
    named.put(named)  # a cycle, through a subclass
    assert repr(named) == "<Named holds 1 of 2>"
    watch = weakref.ref(named)
    del named
    gc.collect()
    assert watch() is None


# References


def test_a_reference_is_held_while_an_item_is_in_the_queue() -> None:
    item = Thing()
    held: RingQueue[Thing] = RingQueue(3)
    before = sys.getrefcount(item)
    held.put(item)
    held.put_many([item, item])
    assert sys.getrefcount(item) == before + 3
    assert not held.try_put(item)
    with pytest.raises(QueueFullError):
        held.put(item, timeout=0)
    assert sys.getrefcount(item) == before + 3
    assert held.get() is item
    assert held.get_many(1)[0] is item
    assert sys.getrefcount(item) == before + 1
    held.shutdown(immediate=True)
    assert sys.getrefcount(item) == before


def test_items_die_with_the_queue() -> None:
    held: RingQueue[Thing] = RingQueue(5)
    for _ in range(7):  # past the end of the ring
        held.put(Thing())
        if len(held) > 3:
            held.get()
    watches = [weakref.ref(item) for item in held.get_many(3)]
    assert all(watch() is None for watch in watches)
    item = Thing()
    watch = weakref.ref(item)
    held.put(item)
    del item, held
    assert watch() is None


def test_references_are_conserved_over_a_million_operations(switching: None) -> None:
    shared: RingQueue[Thing] = RingQueue(100)
    items = [Thing() for _ in range(50)]
    before = [sys.getrefcount(item) for item in items]
    rounds = 6000  # 2 producers x 50 items, each put and got: 1.2 million

    def produce() -> None:
        for turn in range(rounds):
            if turn % 2:
                for item in items:
                    shared.put(item)
            else:
                sent = 0
                while sent < len(items):
                    sent += shared.put_many(items[sent:])

    def consume() -> Counter[int]:
        seen: Counter[int] = Counter()
        missing = rounds * len(items)
        while missing:
            got = [shared.get()] if missing % 3 else shared.get_many(missing, block=True)
            missing -= len(got)
            seen.update(map(id, got))
        return seen

    *_, first, second = run_all(produce, produce, consume, consume)
    assert len(shared) == 0
    assert first + second == Counter({id(item): 2 * rounds for item in items})
    assert [sys.getrefcount(item) for item in items] == before


def test_cycles_through_a_queue_are_collected() -> None:
    holder = Thing()
    holder.inbox = RingQueue(4)  # type: ignore[attr-defined]
    for _ in range(10):
        holder.inbox.put(holder)  # type: ignore[attr-defined]
        if holder.inbox.full():  # type: ignore[attr-defined]
            holder.inbox.get_many(3)  # type: ignore[attr-defined]
    nested: RingQueue[Any] = RingQueue(1)
    nested.put([nested])
    watches = [weakref.ref(holder), weakref.ref(nested)]
    del holder, nested
    gc.collect()
    assert [watch() for watch in watches] == [None, None]


def test_the_collector_sees_what_is_in_the_queue_and_nothing_else() -> None:
    items = [Thing() for _ in range(6)]
    held: RingQueue[Any] = RingQueue(4)
    for item in items:
        if held.full():
            held.get()
        held.put(item)
    inside = [thing for thing in gc.get_referents(held) if isinstance(thing, Thing)]
    assert inside == items[2:]
    held.get()
    assert not any(thing is items[2] for thing in gc.get_referents(held))
    gc.collect()
    assert held.get_many(9) == items[3:]


def test_the_collector_tells_which_queue_holds_an_item() -> None:
    items = [Thing() for _ in range(4)]
    held: RingQueue[Any] = RingQueue(4)
    held.put_many(items)
    assert held.get() is items[0]
    inside = [any(r is held for r in gc.get_referrers(item)) for item in items]
    assert inside == [False, True, True, True]


def test_deeply_nested_queues_die_without_overflowing_the_stack() -> None:
    innermost = Thing()
    watch = weakref.ref(innermost)
    nested: Any = innermost
    del innermost
    for _ in range(100_000):
        outer: RingQueue[Any] = RingQueue(1)
        outer.put(nested)
        nested = outer
    del nested, outer
    assert watch() is None


def test_destructors_may_use_the_queue() -> None:
    log: list[str] = []

    class Stubborn:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            log.append(self.name)
            target = watch()
            log.append("gone" if target is None else f"{target.try_put(self.name)} {len(target)}")

    target: RingQueue[Any] = RingQueue(2)
    watch = weakref.ref(target)
    target.put(Stubborn("a"))
    target.put(Stubborn("b"))
    assert target.get() is not None  # dies here, and leaves its name
    assert log == ["a", "True 2"]
    del target  # "b" finds no queue any more, though it is in it
    assert log == ["a", "True 2", "b", "gone"]


def test_destructors_run_by_shutdown_find_it_shut_down() -> None:
    log: list[object] = []

    class Stubborn:
        def __del__(self) -> None:
            log.append(len(target))
            try:
                target.put(self)
            except QueueShutDownError as error:
                log.append(str(error))

    target: RingQueue[Any] = RingQueue(2)
    target.put_many([Stubborn(), Stubborn()])
    target.shutdown(immediate=True)
    told = "the queue is shut down"
    assert log == [1, told, 0, told]


# Waiting


def test_get_waits_for_an_item_and_put_for_room() -> None:
    passed: RingQueue[int] = RingQueue(1)
    getter = WaitingThread(passed.get)
    passed.put(1)
    assert getter.join() == 1
    passed.put(2)
    putter = WaitingThread(lambda: passed.put(3, timeout=LONG_S))
    assert passed.get() == 2
    assert putter.join() is None
    assert passed.get() == 3
    many = WaitingThread(lambda: passed.put_many([4, 5, 6]))
    assert [passed.get() for _ in range(3)] == [4, 5, 6]
    assert many.join() == 3
    taker = WaitingThread(lambda: passed.get_many(10, block=True, timeout=LONG_S))
    passed.put(7)
    assert taker.join() == [7]


@pytest.mark.parametrize("capacity", [1, 2, 1000])
def test_every_waiting_thread_is_served(capacity: int, switching: None) -> None:
    shared: RingQueue[int] = RingQueue(capacity)
    n = 4000

    def produce() -> None:
        for i in range(n):
            shared.put(i)

    def consume() -> list[int]:
        return [shared.get() for _ in range(n)]

    *_, a, b, c = run_all(produce, produce, produce, consume, consume, consume)
    assert Counter(a) + Counter(b) + Counter(c) == Counter(dict.fromkeys(range(n), 3))
    assert shared.empty()


def test_items_of_one_producer_stay_in_order(switching: None) -> None:
    shared: RingQueue[tuple[int, int]] = RingQueue(7)
    n = 20_000

    def produce(who: int) -> None:
        for i in range(0, n, 2):
            shared.put((who, i))
            shared.put_many([(who, i + 1)])

    def consume() -> list[tuple[int, int]]:
        return [shared.get() for _ in range(2 * n)]

    *_, seen = run_all(lambda: produce(0), lambda: produce(1), consume)
    for who in (0, 1):
        assert [i for producer, i in seen if producer == who] == list(range(n))


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_wakes_all_who_wait(immediate: bool) -> None:
    empty: RingQueue[int] = RingQueue(3)
    waiting = [
        WaitingThread(empty.get),
        WaitingThread(lambda: empty.get(timeout=LONG_S)),
        WaitingThread(lambda: empty.get_many(2, block=True)),
    ]
    empty.shutdown(immediate)
    assert [type(thread.join()) for thread in waiting] == [QueueShutDownError] * 3

    full: RingQueue[int] = RingQueue(1)
    full.put(0)
    waiting = [
        WaitingThread(lambda: full.put(1)),
        WaitingThread(lambda: full.put(1, timeout=LONG_S)),
        WaitingThread(lambda: full.put_many([1, 2])),
    ]
    full.shutdown(immediate)
    assert [type(thread.join()) for thread in waiting] == [QueueShutDownError] * 3
    full.shutdown()  # again: no error
    assert full.is_shutdown
    if not immediate:
        assert full.get() == 0
    with pytest.raises(QueueShutDownError):
        full.get()
    with pytest.raises(QueueShutDownError):
        full.try_get()


def test_put_many_tells_how_many_when_shut_down_half_way() -> None:
    small: RingQueue[int] = RingQueue(2)
    putter = WaitingThread(lambda: small.put_many([1, 2, 3]))
    assert small.get() == 1  # so that the first is in for certain
    assert small.get() == 2
    assert putter.join() == 3
    putter = WaitingThread(lambda: small.put_many([4, 5, 6]))
    while not small.full():  # 3 and 4
        pass
    small.shutdown()
    told = putter.join()
    assert told == 1
    assert small.get_many(9) == [3, 4]


def test_a_queue_lives_while_somebody_waits_in_it() -> None:
    shared: RingQueue[str] = RingQueue(1)
    watch = weakref.ref(shared)
    getter = WaitingThread(shared.get)
    del shared
    gc.collect()
    last = watch()
    assert last is not None
    last.put("still here")
    assert getter.join() == "still here"
    del last, getter
    gc.collect()
    assert watch() is None


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    # -P: the source tree, where pytest was started, must not hide the installed package.
    return subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


def test_the_interpreter_ends_while_daemons_wait() -> None:
    result = run_python(
        "import threading\n"
        "from midstream.scheduler import RingQueue\n"
        "ring = RingQueue(1)\n"
        "for _ in range(3): threading.Thread(target=ring.get, daemon=True).start()\n"
        "print('done')\n"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
@pytest.mark.parametrize(
    "call",
    ["ring.get()", "ring.get(timeout=60)", "ring.put_many(range(9))", "ring.put(ring.put(1))"],
)
def test_ctrl_c_ends_a_wait_and_loses_no_wake_up(call: str) -> None:
    result = run_python(
        "import signal\n"
        "from midstream.scheduler import RingQueue\n"
        "ring = RingQueue(1)\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
        "try:\n"
        f"    {call}\n"
        "except KeyboardInterrupt:\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    print('interrupted', len(ring) <= 1)\n"
    )
    assert (result.stdout, result.stderr) == ("interrupted True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_works_in_a_forked_child_whose_parent_had_waiting_threads() -> None:
    result = run_python(
        "import os, threading, time, warnings\n"
        "from midstream.scheduler import RingQueue\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "ring, full = RingQueue(4), RingQueue(1)\n"
        "full.put(0)\n"
        "threads = [threading.Thread(target=ring.get) for _ in range(3)]\n"
        "threads += [threading.Thread(target=full.put, args=(i,)) for i in range(2)]\n"
        "for thread in threads: thread.start()\n"
        "time.sleep(0.05)\n"  # most are asleep by now; nothing depends on it
        "child = os.fork()\n"
        "if child == 0:\n"
        "    seen = []\n"
        "    def consume():\n"
        "        for _ in range(100): seen.append(ring.get())\n"
        "    consumer = threading.Thread(target=consume)\n"
        "    consumer.start()\n"
        "    for i in range(100): ring.put(i)\n"
        "    consumer.join()\n"
        "    putter = threading.Thread(target=full.put, args=(1,))\n"
        "    putter.start()\n"
        "    good = seen == list(range(100)) and [full.get(), full.get()] == [0, 1]\n"
        "    os._exit(0 if good else 1)\n"
        "status = os.waitpid(child, 0)[1]\n"
        "for i in range(3): ring.put(i)\n"
        "for i in range(3): full.get()\n"
        "for thread in threads: thread.join()\n"
        "print(os.waitstatus_to_exitcode(status), len(ring), len(full))\n"
    )
    assert (result.stdout, result.stderr) == ("0 0 0\n", "")


# Handles


def test_handles_are_64_bits_wide() -> None:
    ring = HandleRing(2)
    assert ring.push(0) and ring.push(2**64 - 1) and not ring.push(1)
    assert [ring.pop(), ring.pop(), ring.pop()] == [0, 2**64 - 1, None]
    for bad in (-1, 2**64):
        with pytest.raises(ArgumentValueError, match="handle"):
            ring.push(bad)
    for worse in (1.5, "1", None, True):
        with pytest.raises(ArgumentTypeError, match="handle"):
            ring.push(worse)  # type: ignore[arg-type]
    assert ring.push(np.uint64(2**63)) and ring.pop() == 2**63
    assert repr(ring) == "<HandleRing holds 0 of 2>"


def test_handles_in_batches() -> None:
    ring = HandleRing(5000)
    assert ring.push_many(np.arange(3000, dtype=np.uint64)) == 3000
    assert ring.push_many(array.array("Q", range(3000))) == 2000
    assert ring.push_many(np.zeros(0, np.uint64)) == 0
    first = ring.pop_many(2999)
    assert isinstance(first, array.array) and first.typecode == "Q"
    assert first.tolist() == list(range(2999))
    assert np.asarray(ring.pop_many(10**9)).tolist() == [2999, *range(2000)]
    assert len(ring.pop_many(5)) == len(ring.pop_many(0)) == 0
    for bad in ([1, 2], np.zeros(3), np.zeros(3, np.int32), np.zeros(6, np.uint64)[::2], None):
        with pytest.raises(ArgumentTypeError, match="handles must be a contiguous buffer"):
            ring.push_many(bad)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="max_handles"):
        ring.pop_many(-1)
    assert len(ring) == 0


def test_c_functions_from_threads_without_the_gil() -> None:
    ring = HandleRing(64)
    c = ring.c_functions()
    push = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64)(c.push)
    pop = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64))(c.pop)
    n = 1000

    def produce(who: int) -> None:
        for i in range(n):
            while not push(c.ring, who << 32 | i):
                pass

    def consume() -> list[int]:
        value, seen = ctypes.c_uint64(), []
        while len(seen) < n:
            if pop(c.ring, ctypes.byref(value)):
                seen.append(value.value)
        return seen

    *_, a, b = run_all(lambda: produce(0), lambda: produce(1), consume, consume)
    assert sorted(a + b) == [who << 32 | i for who in (0, 1) for i in range(n)]
    for seen in (a, b):
        for who in (0, 1):
            own = [value for value in seen if value >> 32 == who]
            assert own == sorted(own)
    assert ring.pop() is None
    value = ctypes.c_uint64(77)
    assert pop(c.ring, ctypes.byref(value)) == 0 and value.value == 77


def test_big_batches_of_handles_run_beside_each_other() -> None:
    ring = HandleRing(1 << 12)
    n = 200_000

    def produce(who: int) -> None:
        handles = np.arange(n, dtype=np.uint64) + np.uint64(who << 32)
        sent = 0
        while sent < n:
            sent += ring.push_many(handles[sent : sent + 5000])

    def consume() -> np.ndarray:
        parts: list[np.ndarray] = []
        missing = n
        while missing:
            parts.append(np.asarray(ring.pop_many(min(missing, 5000))))
            missing -= len(parts[-1])
        return np.concatenate(parts)

    *_, a, b = run_all(lambda: produce(0), lambda: produce(1), consume, consume)
    assert sorted([*a.tolist(), *b.tolist()]) == [w << 32 | i for w in (0, 1) for i in range(n)]
    for seen in (a, b):
        for who in (0, 1):
            own = seen[seen >> np.uint64(32) == who]
            assert (np.diff(own.astype(np.int64)) > 0).all()
