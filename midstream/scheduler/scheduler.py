"""`Scheduler`: workers, asyncio and the machine around `TaskQueue`."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import fields, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int
from midstream.scheduler._histogram import Histogram
from midstream.scheduler._scheduler import TaskQueue
from midstream.scheduler.stats import Stats

if TYPE_CHECKING:
    import asyncio

    from midstream.scheduler.realtime import Capabilities, Grant

__all__ = ["Scheduler"]

#: Payloads that `async for` takes at most before it lets other tasks of the loop run.
_TURN = 32


class Scheduler(TaskQueue):
    """Dispatch small tasks by priority or deadline: bounded, accounted for, fed without waiting.

    Parameters
    ----------
    policy : {"fixed", "edf", "rm", "llf"}, default "fixed"
        What comes first: the highest priority; the earliest deadline; the shortest period (rate
        monotonic); the least laxity, which is deadline - now - cost. Among equals the higher
        priority, and then whoever came first. Tasks that lack what the policy orders by come
        last, by priority. A task that runs is never interrupted.
    capacity : int, default 65536
        Tasks that can be pending, running ones included: 1 to 2**26. There is no capacity of 0: a
        scheduler that never takes anything is not one.
    workers : int, default 0
        Threads that call the callables, between `start` and `stop`. With 0 the caller calls `run`,
        or `next` and does what it likes.
    overload : {"reject", "drop_lowest", "drop_oldest"}, default "reject"
        What happens when no slot is free: the newcomer is refused with `QueueFullError`; or, of
        those that are ready and the newcomer, the last one of the lowest priority goes; or the one
        that has been ready for longest. Tasks that run, or wait for their time, are not dropped: if
        there are no others, the newcomer is refused. A periodic task that goes is gone for good.
    cpu_affinity : int or iterable of int, optional
        Processors that the workers may use.
    realtime : bool, default False
        Ask for the real-time class ``SCHED_FIFO`` for the workers. Where it is not granted they run
        as ordinary threads: `start` warns, and `capabilities` says why.
    admission : bool, default False
        Refuse, with `AdmissionError`, what cannot be promised: a deadline that is too near for
        ``cost_ns``; under ``"edf"`` and ``"llf"`` a deadline for which the work before it leaves
        no room, or that would cost another task its own; periodic tasks whose load would be too
        much for the policy (tests and papers: `csrc/ms_admission.h`). It counts what is declared as
        ``cost_ns``, a task without is free, and takes all work as there from now on: tasks whose
        ``at_ns`` lie close together may be admitted and be late. As nothing is interrupted, a task
        may be late by one execution of a less urgent one; with several workers the test of
        deadlines is an estimate.
    max_failures : int, default 1000
        How many exceptions of callables `failures` keeps, the newest.

    Attributes
    ----------
    failures : collections.deque of (handle, payload, exception)
        What callables raised. Yours to empty: an exception holds on to its frames.
    policy, capacity, overload
        As given.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument that cannot be used.
    MemoryError
        160 bytes a slot, 260 but for ``"fixed"``, could not be had; slots never used take none.

    Notes
    -----
    **Order.** One consumer at a time gets exactly the order of the policy over what was submitted
    before it asked. What one thread submits first, or submits before another thread begins to,
    comes first among equals; a delayed task joins its equals at its time. With several workers,
    tasks begin in this order.

    **Progress.** Submission is lock-free: one compare-and-swap for a slot, one to publish; a
    thread that is halted anywhere in between holds up nobody, and keeps one slot. Submission
    needs the order, and so its lock, in two cases only: to drop something when full, and for
    admission control; it then tries a bounded number of times, and is refused (and counted) if
    others keep the lock. Those who hand out, finish or cancel do wait for each other, some ten
    nanoseconds at a time. Under the GIL none of this shows, as no step of it lets another thread
    in.

    **Counting.** ``len(scheduler)`` is the number of slots in use at some moment during the call,
    read without the lock: with other threads about, the past. `stats` reads everything at one
    moment.

    **Time.** Integers of `time.monotonic_ns`, absolute. Nothing is handed out before its time.
    The releases of a periodic task keep to ``at_ns + k * period_ns``, however late one of them
    is; those whose time passes while the one before is pending are left out, and counted in
    ``missed``.

    **Callables** get no arguments. What they return is dropped, what they raise is counted and
    kept. One may submit, cancel (itself too, if periodic), or stop the scheduler. A payload's
    destructor may submit as well: references are dropped outside the lock.

    **Threads.** All methods may be called from any thread. A scheduler with workers lives until
    `stop`, whoever forgets it. When the interpreter exits, workers end what they run, and the rest
    is not run: a callable that never ends keeps the interpreter from exiting.

    **Fork.** After `os.fork` the child has a copy of everything that was pending and no workers,
    as threads are not copied; `start` makes new ones. What ran in other threads stays pending
    there for ever. A callable may fork: in the child it ends as in the parent, and nothing else
    is run; if it ran in a worker, the child ends with it (`os._exit` says how).

    References
    ----------
    .. [1] C. L. Liu, J. W. Layland, "Scheduling Algorithms for Multiprogramming in a
       Hard-Real-Time Environment", J. ACM 20 (1973)
    .. [2] G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987
    .. [3] G. Buttazzo, M. Spuri, F. Sensini, "Value vs. Deadline Scheduling in Overload
       Conditions", RTSS 1995

    Examples
    --------
    >>> from midstream.scheduler import Priority, Scheduler
    >>> scheduler = Scheduler()
    >>> first = scheduler.schedule("tidy up", Priority.BACKGROUND)
    >>> second = scheduler.schedule("answer", Priority.HIGH)
    >>> scheduler.next(), scheduler.next(), scheduler.next()
    ('answer', 'tidy up', None)

    Callables run in workers:

    >>> done = []
    >>> with Scheduler("edf", workers=2) as scheduler:
    ...     handles = scheduler.schedule_many([lambda k=k: done.append(k) for k in range(3)])
    >>> sorted(done), scheduler.stats().completed
    ([0, 1, 2], 3)
    """

    __slots__ = (
        "_affinity",
        "_grants",
        "_lifecycle",
        "_realtime",
        "_threads",
        "_turn",
        "_waiters",
        "_workers",
    )

    def __init__(
        self,
        policy: str = "fixed",
        capacity: int = 65536,
        *,
        workers: int = 0,
        overload: str = "reject",
        cpu_affinity: int | Iterable[int] | None = None,
        realtime: bool = False,
        admission: bool = False,
        max_failures: int = 1000,
    ) -> None:
        if getattr(self, "capacity", None) is not None:  # None before, whatever the stub says
            raise ArgumentTypeError("a scheduler cannot be initialised twice")
        n_workers = check_int("workers", workers, low=0, high=4096)
        for name, flag in (("realtime", realtime), ("admission", admission)):
            if not isinstance(flag, bool):
                raise ArgumentTypeError(f"{name} must be a bool, got {flag!r}")
        if cpu_affinity is not None:
            from midstream.scheduler.realtime import check_affinity

            cpu_affinity = check_affinity(cpu_affinity)
        super().__init__(
            policy,
            capacity,
            overload,
            max(1, n_workers) if admission else 0,
            max_failures,
            calls=n_workers > 0,
        )
        self._workers = n_workers
        self._affinity = cpu_affinity
        self._realtime = realtime
        self._grants: tuple[Grant, ...] = ()
        self._lifecycle = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._turn = 0
        _schedulers.add(self)

    @property
    def workers(self) -> int:
        """How many threads `start` makes."""
        return self._workers

    def start(self) -> Self:
        """Start the workers. Does nothing where they run; without workers, only undoes `stop`.

        Returns
        -------
        Scheduler
            Itself, for ``scheduler = Scheduler(workers=2).start()``.

        Warns
        -----
        RuntimeWarning
            The system does not grant what was asked for; see `capabilities`.
        """
        while True:
            with self._lifecycle:
                ending = list(self._threads)
                if ending and not self._stopped:
                    return self
                if not ending:
                    self._start()
                    break
            if threading.current_thread() in ending:
                raise RuntimeError("a callable cannot start the scheduler that is stopping it")
            self._join(ending)
        self._warn_of_refusals()
        return self

    def _start(self) -> None:
        self._set_state(False, False)
        self._set_calls(self._workers > 0)
        settled: queue.SimpleQueue[tuple[Grant, ...] | Exception] = queue.SimpleQueue()
        try:
            for index in range(self._workers):
                thread = threading.Thread(
                    target=self._serve,
                    args=(settled,),
                    name=f"midstream-worker-{index}",
                    # An interpreter that ends does not wait for daemons; _stop_all does.
                    daemon=True,
                )
                thread.start()
                self._threads.append(thread)
            outcomes = [settled.get() for _ in self._threads]
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
        except BaseException:
            self._set_state(True, False)
            for thread in self._threads:
                thread.join()
            self._threads.clear()
            raise
        self._grants = tuple(
            grant for outcome in outcomes if isinstance(outcome, tuple) for grant in outcome
        )

    def _serve(self, settled: queue.SimpleQueue[tuple[Grant, ...] | Exception]) -> None:
        grants: tuple[Grant, ...] = ()
        try:
            if self._affinity is not None or self._realtime:
                from midstream.scheduler.realtime import apply_to_this_thread

                grants = apply_to_this_thread(cpu_affinity=self._affinity, realtime=self._realtime)
        except Exception as error:  # noqa: BLE001 - start() waits for an answer, and raises it
            settled.put(error)
            return
        settled.put(grants)
        self._work()

    def _warn_of_refusals(self) -> None:
        refused = {str(grant) for grant in self._grants if not grant.granted}
        if refused:
            import warnings

            warnings.warn(
                f"not granted to the workers: {'; '.join(sorted(refused))}",
                RuntimeWarning,
                stacklevel=3,
            )

    def stop(self, drain: bool = True) -> None:
        """Stop the workers, `run`, `next_wait` and ``async for``, and wait for the workers to end.

        Parameters
        ----------
        drain : bool, default True
            Go on until nothing is ready: callables that submit others without end keep it from
            ending. Tasks that wait for their time are not waited for. With False, what runs ends,
            and everything else stays pending: `start` goes on with it, `clear` cancels it, `next`
            hands it out.

        Notes
        -----
        From a callable of the scheduler's own it does not wait for the workers. Harmless when
        repeated. Two schedulers whose callables stop each other wait for ever.
        """
        if not isinstance(drain, bool):
            raise ArgumentTypeError(f"drain must be a bool, got {drain!r}")
        self._set_state(True, drain)
        with self._lifecycle:
            threads = list(self._threads)
        # A worker that stops the scheduler cannot wait for one that does the same.
        if threading.current_thread() not in threads:
            self._join(threads)

    def _join(self, threads: list[threading.Thread]) -> None:
        """Wait for workers that were told to stop, without the lock: one of them may want it."""
        for thread in threads:
            thread.join()
        with self._lifecycle:
            self._threads = [thread for thread in self._threads if thread not in threads]
            if not self._threads:
                self._set_calls(False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(drain=error is None)

    def stats(self) -> Stats:
        """Counters and latencies, all of one moment.

        Returns
        -------
        Stats
        """
        latency = Histogram()
        return Stats(*self._read(latency), latency)

    def capabilities(self) -> Capabilities:
        """What this machine grants, and what it granted to this scheduler's workers.

        Returns
        -------
        Capabilities
            As `midstream.scheduler.capabilities` returns, with what the running workers asked for
            in its place.
        """
        from midstream.scheduler.realtime import capabilities

        found = capabilities()
        granted: dict[str, Grant] = {}
        # One refusal is worth more than what the other workers got.
        for grant in sorted(self._grants, key=bool):
            granted.setdefault(grant.name, grant)
        return replace(
            found,
            **{
                field.name: granted[getattr(found, field.name).name]
                for field in fields(found)
                if getattr(found, field.name).name in granted
            },
        )

    def __repr__(self) -> str:
        state = f" workers={len(self._threads)}/{self._workers}" if self._workers else ""
        return f"<Scheduler {self.policy} pending={len(self)}/{self.capacity}{state}>"

    # asyncio: a future for each `async for` that found nothing. Whatever may bring something new
    # sets them all, so that none that is cancelled can take a wake-up with it. A deque and no
    # lock: a producer does not wait here either, and a destructor that submits cannot find it
    # locked.

    def __aiter__(self) -> Self:
        """Payloads as they become due, most urgent first, until `stop`.

        Woken by submissions from any thread, and at the time of delayed tasks; never polls. Any
        number of loops may share the scheduler. Lets other tasks of the loop run every 32
        payloads.
        """
        return self

    async def __anext__(self) -> Any:
        import asyncio

        self._turn += 1
        if self._turn % _TURN == 0:
            # Here, where nothing has been taken that a cancellation could lose.
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while not self._stops_at_once:
            payload = self.next()
            if payload is not None:
                return payload
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            self._set_on_change(self._wake_waiters)
            # What came before this had nobody to wake.
            timer = None
            try:
                due_ns = self._due_ns()
                if due_ns == 0:
                    continue
                if self._stopped:
                    break
                if due_ns is not None:
                    # loop.time() is time.monotonic(), a float: a little later, rather than look
                    # too early.
                    timer = loop.call_at(due_ns / 1e9 + 1e-6, _set, waiter)
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
                with contextlib.suppress(ValueError):  # whoever woke it took it out
                    self._waiters.remove(waiter)
        raise StopAsyncIteration

    def _wake_waiters(self) -> None:
        # First this: a waiter that is added from now on sets it again.
        self._set_on_change(None)
        while True:
            try:
                waiter = self._waiters.popleft()
            except IndexError:
                return
            loop = waiter.get_loop()
            try:
                loop.call_soon_threadsafe(_set, waiter)
            except RuntimeError:
                if not loop.is_closed():  # else nobody is left there to wake
                    raise

    def _after_fork(self) -> None:
        self._lifecycle = threading.Lock()
        self._threads = []
        self._waiters = deque()
        self._grants = ()
        self._forked()


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


_schedulers: weakref.WeakSet[Scheduler] = weakref.WeakSet()


def _after_fork() -> None:
    for scheduler in list(_schedulers):
        scheduler._after_fork()


@atexit.register
def _stop_all() -> None:
    """Let workers end what they run before the interpreter takes the ground away."""
    for scheduler in list(_schedulers):
        scheduler.stop(drain=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
