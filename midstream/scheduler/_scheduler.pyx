# cython: freethreading_compatible=True
# cython: binding=False, embedsignature=True, embedsignature.format=clinic
# Methods of the type itself, not function objects: 15 ns a call less.
"""`TaskQueue`: the binding of csrc/ms_sched.h, and what runs the callables in it."""

from collections import deque
from typing import NamedTuple

cimport cython
from cpython.array cimport array, clone, resize
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_New, PyList_SetSlice
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_Check, PyLong_CheckExact
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t

from midstream._core._threads cimport FREE_THREADED

from midstream._core.errors import (
    AdmissionError,
    ArgumentTypeError,
    ArgumentValueError,
    QueueFullError,
)
from midstream._core.validate import check_choice, check_int, check_real
from midstream.scheduler._histogram cimport MS_HDR_OK, Histogram, ms_hdr, raise_status


cdef extern from "<stdatomic.h>":
    ctypedef int atomic_int
    int atomic_load(atomic_int *) noexcept nogil
    void atomic_store(atomic_int *, int) noexcept nogil

cdef extern from "ms_sched.h":
    ctypedef struct ms_event:
        pass
    ctypedef struct ms_sched_request:
        void *payload
        int64_t deadline_ns
        int64_t at_ns
        int64_t period_ns
        int64_t cost_ns
        uint8_t level
        uint8_t lane
    ctypedef struct ms_sched_counts:
        uint64_t submitted
        uint64_t completed
        uint64_t cancelled
        uint64_t dropped
        uint64_t pending
        uint64_t rejected
        uint64_t late_start
        uint64_t late_finish
        uint64_t missed
        uint64_t failed
        uint64_t running
        uint64_t waiting
        uint64_t unrecorded
    ctypedef struct ms_sched:
        ms_event work[3]
    ctypedef struct ms_sched_taken:
        void *payload
        uint64_t handle
        uint32_t task
    enum:
        MS_SCHED_OK
        MS_SCHED_FULL
        MS_SCHED_REFUSED
        MS_SCHED_SHED
        MS_SCHED_MEMORY
        MS_SCHED_LEVELS
    const uint32_t MS_SCHED_MAX_CAPACITY
    const int64_t MS_SCHED_NEVER
    const int64_t MS_SCHED_AT_ONCE
    ms_sched *ms_sched_new(
        int policy, int overload, uint32_t capacity, unsigned processors, void (*retain)(void *)
    ) noexcept
    void ms_sched_free(ms_sched *) noexcept
    int ms_sched_submit(ms_sched *, const ms_sched_request *, uint64_t *, void **) noexcept
    size_t ms_sched_submit_many(
        ms_sched *, const ms_sched_request *, void **, const uint8_t *lanes,
        const uint8_t *levels, const int64_t *deadlines_ns, size_t, uint64_t *
    ) noexcept
    void ms_sched_reject(ms_sched *, uint64_t) noexcept
    size_t ms_sched_take(ms_sched *, unsigned lanes, void **, size_t) noexcept
    int ms_sched_begin(ms_sched *, unsigned lane, ms_sched_taken *) noexcept
    void *ms_sched_finish(ms_sched *, uint32_t, int64_t, int) noexcept
    int ms_sched_cancel(ms_sched *, uint64_t, void **) noexcept
    size_t ms_sched_clear(ms_sched *, void **, size_t) noexcept
    void ms_sched_look(ms_sched *, unsigned lanes, size_t *, size_t *, int64_t *) noexcept
    uint64_t ms_sched_pending(const ms_sched *) noexcept
    size_t ms_sched_bytes(const ms_sched *) noexcept
    int ms_sched_read(ms_sched *, ms_sched_counts *, ms_hdr *) noexcept
    int ms_sched_visit(const ms_sched *, int (*)(void *, void *) noexcept, void *) noexcept
    void ms_sched_forked(ms_sched *) noexcept
    int64_t ms_clock_ns() noexcept nogil
    void ms_event_prepare(ms_event *) noexcept nogil
    void ms_event_leave(ms_event *) noexcept nogil
    void ms_event_wait(ms_event *, int64_t) noexcept nogil
    void ms_event_raise(ms_event *, uint32_t) noexcept nogil

cdef extern from *:
    """
    /* A reference that a slot held becomes the caller's. */
    #define ms_owned(pointer) ((PyObject *)(pointer))
    #define ms_is_callable(object) (Py_TYPE(object)->tp_call != NULL)
    static void ms_retain(void *payload) { Py_INCREF((PyObject *)payload); }

    typedef struct ms_visitor {
        visitproc visit;
        void *arg;
    } ms_visitor;
    static int ms_visit_payload(void *payload, void *visitor)
    {
        return ((ms_visitor *)visitor)->visit((PyObject *)payload, ((ms_visitor *)visitor)->arg);
    }
    """
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear
    ctypedef struct ms_visitor:
        visitproc visit
        void *arg
    object ms_owned(void *)
    void ms_retain(void *) noexcept
    bint ms_is_callable(object)
    int ms_visit_payload(void *, void *) noexcept
    bint PyBool_Check(object)
    bint PyIndex_Check(object)
    PyObject **PySequence_Fast_ITEMS(object)
    void PyType_Modified(PyTypeObject *)

POLICIES = {"fixed": 0, "edf": 1, "rm": 2, "llf": 3}
OVERLOADS = {"reject": 0, "drop_lowest": 1, "drop_oldest": 2}

# Tasks are handed out; callables are run, where somebody runs them.
cdef enum:
    HANDED = 0
    CALLED = 1
    ANY = 2  # the event of both
    HANDED_LANE = 1 << HANDED
    CALLED_LANE = 1 << CALLED
    ALL_LANES = HANDED_LANE | CALLED_LANE

cdef enum:
    OPEN = 0
    DRAINING = 1
    STOPPING = 2

cdef enum:
    CLEARED_AT_ONCE = 256

# Compiled callables give the interpreter no chance to switch threads or see signals. A call of
# bytecode does, where somebody has asked for it; just to let go of the GIL would not, as who waits for
# it would not be awake in time, and would never come to ask.
cdef enum:
    TURN_NS = 1_000_000
cdef object BYTECODE = eval("lambda: None")

# Priority.NORMAL. The member itself would have to be looked up for every task.
cdef enum:
    NORMAL = 30

cdef array HANDLES = array("Q")


class Failure(NamedTuple):
    """A task that ended by an exception: its handle, what was called, what it raised."""

    handle: int
    payload: object
    exception: BaseException


cdef int64_t ns_of(str name, object number, int64_t low) except? -1:
    """An int64 of at least `low`; exact ints skip the general check's cost."""
    cdef int overflow = 0
    cdef int64_t ns
    if PyLong_CheckExact(number):
        ns = PyLong_AsLongLongAndOverflow(number, &overflow)
        if overflow == 0 and low <= ns < INT64_MAX:
            return ns
    return check_int(name, number, low=low, high=INT64_MAX - 1)


cdef inline uint8_t level_of(object priority) except? 255:
    cdef int overflow = 0
    cdef int64_t level
    if PyLong_Check(priority) and not PyBool_Check(priority):
        level = PyLong_AsLongLongAndOverflow(priority, &overflow)
        if 0 <= level < MS_SCHED_LEVELS:
            return <uint8_t>level
    return check_int("priority", priority, low=0, high=MS_SCHED_LEVELS - 1)


cdef int read_times(ms_sched_request *r, at_ns, period_ns, cost_ns) except -1:
    if at_ns is not None:
        r.at_ns = ns_of("at_ns", at_ns, INT64_MIN + 1)
    if period_ns is not None:
        r.period_ns = ns_of("period_ns", period_ns, 1)
        if at_ns is None:
            r.at_ns = ms_clock_ns()
    if cost_ns is not None:
        r.cost_ns = ns_of("cost_ns", cost_ns, 0)
    return 0


cdef int64_t until_ns_of(object timeout) except? -1:
    """When a time-out of seconds from now ends; MS_SCHED_NEVER for None."""
    if timeout is None:
        return MS_SCHED_NEVER
    cdef double seconds = check_real("timeout", timeout, low=0.0)
    cdef double until = <double>ms_clock_ns() + seconds * 1e9
    return <int64_t>until if until < 9e18 else MS_SCHED_NEVER


cdef class TaskQueue:
    """What `midstream.scheduler.Scheduler` is made of; use that."""

    cdef ms_sched *s
    cdef atomic_int lanes  # that next() hands out
    cdef atomic_int state
    cdef int forks
    cdef bint admission
    cdef readonly object capacity
    cdef readonly str policy
    cdef readonly str overload
    cdef readonly object failures
    cdef object on_change  # called when there may be something new; None where nobody waits
    # Whether it is there. Who waits sets it and then looks; who brings something looks at it after.
    cdef atomic_int watched
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        # Something of capacity 1, so that no method finds nothing where __init__ was not called.
        self.s = ms_sched_new(0, 0, 1, 0, ms_retain)
        if self.s == NULL:
            raise MemoryError("scheduler")

    def __init__(self, policy, capacity, overload, processors, max_failures, calls):
        check_choice("policy", policy, POLICIES)
        check_choice("overload", overload, OVERLOADS)
        cdef uint32_t slots = check_int("capacity", capacity, low=1, high=MS_SCHED_MAX_CAPACITY)
        cdef unsigned m = processors
        if self.capacity is not None:
            raise ArgumentTypeError("a scheduler cannot be initialised twice")
        failures = deque(maxlen=check_int("max_failures", max_failures, low=0, high=2**31 - 1))
        cdef ms_sched *made = ms_sched_new(
            POLICIES[policy], OVERLOADS[overload], slots, m, ms_retain
        )
        if made == NULL:
            raise MemoryError(f"scheduler with a capacity of {slots}")
        self.drop_all()
        ms_sched_free(self.s)
        self.s = made
        self.capacity, self.policy, self.overload = slots, policy, overload
        self.failures = failures
        self.admission = m > 0
        atomic_store(&self.lanes, HANDED_LANE if calls else ALL_LANES)

    def __dealloc__(self):
        if self.s != NULL:
            self.drop_all()
            ms_sched_free(self.s)

    cdef Py_ssize_t drop_all(self):
        """Cancel all that is not running; returns how many there were."""
        cdef void *payloads[CLEARED_AT_ONCE]
        cdef size_t n, i
        cdef Py_ssize_t total = 0
        while True:
            n = ms_sched_clear(self.s, payloads, CLEARED_AT_ONCE)
            for i in range(n):
                ms_owned(payloads[i])  # and gone: outside the lock, since a destructor may come back
            total += n
            if n < CLEARED_AT_ONCE:
                return total

    cdef int changed(self) except -1:
        if atomic_load(&self.watched):
            self.tell()
        return 0

    cdef int tell(self) except -1:
        with cython.critical_section(self):
            on_change = self.on_change
        if on_change is not None:
            on_change()
        return 0

    cdef int settle(self, object payload, int status, void *evicted) except -1:
        """What is left to do after a submission that was not plain."""
        if status != MS_SCHED_OK:
            Py_DECREF(payload)
        if evicted != NULL:
            ms_owned(evicted)
        if status == MS_SCHED_REFUSED:
            raise AdmissionError(
                "the deadline, or the load, cannot be promised beside what was admitted before"
            )
        if status == MS_SCHED_FULL:
            raise QueueFullError(f"the scheduler is full: capacity {self.capacity}")
        if status == MS_SCHED_MEMORY:
            raise MemoryError("the promise of a deadline")
        return 0

    cdef uint64_t submit(self, object payload, ms_sched_request *r) except? 0:
        cdef uint64_t handle
        cdef void *evicted
        if payload is None:
            raise ArgumentTypeError("payload must not be None, which next() returns for 'nothing'")
        r.payload = <void *>payload
        r.lane = ms_is_callable(payload)
        Py_INCREF(payload)
        cdef int status = ms_sched_submit(self.s, r, &handle, &evicted)
        if status != MS_SCHED_OK or evicted != NULL:
            self.settle(payload, status, evicted)
        if atomic_load(&self.watched):
            self.tell()
        return handle

    def schedule(
        self,
        payload,
        priority=30,
        deadline_ns=None,
        *,
        at_ns=None,
        period_ns=None,
        cost_ns=None,
    ):
        """Submit a task.

        Parameters
        ----------
        payload : object
            What `next` hands out; where it is callable, what `run` and the workers call, without
            arguments. Not None.
        priority : int, default Priority.NORMAL
            0 to 63, higher is more urgent. Orders under ``"fixed"``, and equals under the others.
        deadline_ns : int, optional
            `time.monotonic_ns` by which it should be finished; may be past. Orders under ``"edf"``
            and ``"llf"``; under every policy, being late is counted.
        at_ns : int, optional
            `time.monotonic_ns` before which it is not handed out. A past time is due at once.
        period_ns : int, optional
            Release it again every `period_ns` after `at_ns` (after now, where that is None), until
            it is cancelled. Orders under ``"rm"``. `deadline_ns` is that of the first release, and
            moves along; without one, ``"edf"`` and ``"llf"`` order by the end of the period.
        cost_ns : int, optional
            Execution time, for the laxity of ``"llf"`` and for admission control; 0 if not given.

        Returns
        -------
        int
            A handle for `cancel`, above 0 and never given twice. 0 where the scheduler is full, drops
            the lowest, and that is this very task: it is counted as submitted and as dropped.

        Raises
        ------
        QueueFullError
            No slot is free, and ``overload`` is ``"reject"``, or nothing that is ready could be
            dropped. Counted in ``rejected``.
        AdmissionError
            Admission control cannot promise the deadline. Counted in ``rejected``.
        ArgumentTypeError, ArgumentValueError
            An argument that cannot be used; nothing is counted.

        Notes
        -----
        From any thread, without a lock (see the class). O(1), about 50 ns.
        """
        cdef ms_sched_request r
        r.level = level_of(priority)
        r.deadline_ns = MS_SCHED_NEVER
        r.at_ns = MS_SCHED_AT_ONCE
        r.period_ns = r.cost_ns = 0
        if deadline_ns is not None:
            r.deadline_ns = ns_of("deadline_ns", deadline_ns, INT64_MIN)
        if at_ns is not None or period_ns is not None or cost_ns is not None:
            read_times(&r, at_ns, period_ns, cost_ns)
        return self.submit(payload, &r)

    def schedule_many(
        self,
        payloads,
        priority=30,
        deadline_ns=None,
        *,
        at_ns=None,
        period_ns=None,
        cost_ns=None,
    ):
        """Submit many tasks; with ``overload="reject"`` and no admission control, in one step.

        Parameters
        ----------
        payloads : iterable of object
        priority : int or sequence of int
            For all, or for each.
        deadline_ns : int or sequence of int or None, optional
            For all, or for each; a buffer of int64 is read in place.
        at_ns, period_ns, cost_ns : int, optional
            For all.

        Returns
        -------
        array.array of type code ``'Q'``
            A handle for each, as `schedule` returns it. As a buffer: ``numpy.asarray(handles)``.

        Raises
        ------
        QueueFullError, AdmissionError, MemoryError
            Not all could be taken. The first ones were, and stay: ``error.handles`` has theirs; the
            others are counted in ``rejected``.
        ArgumentTypeError, ArgumentValueError
            An argument that cannot be used; nothing was submitted.

        Notes
        -----
        In one step, other producers' tasks do not come between these, and each costs about 7 ns;
        otherwise they are submitted one by one.
        """
        cdef ms_sched_request r
        cdef bint many_levels = is_many(priority)
        cdef bint many_deadlines = is_many(deadline_ns)
        r.level = NORMAL if many_levels else level_of(priority)
        r.deadline_ns = MS_SCHED_NEVER
        r.at_ns = MS_SCHED_AT_ONCE
        r.period_ns = r.cost_ns = 0
        if deadline_ns is not None and not many_deadlines:
            r.deadline_ns = ns_of("deadline_ns", deadline_ns, INT64_MIN)
        read_times(&r, at_ns, period_ns, cost_ns)
        # To iterate over a sequence may run code that changes the caller's list; from here on, nothing
        # else does.
        cdef bint copied = (many_levels or many_deadlines or type(payloads) is not list
                            or FREE_THREADED)
        cdef list items = listed("payloads", payloads) if copied else payloads
        cdef Py_ssize_t n = len(items), i
        cdef array deadlines = int64s("deadline_ns", deadline_ns, n) if many_deadlines else None
        cdef bytearray levels = None
        if many_levels:
            levels = bytearray()
            for level in listed("priority", priority):
                levels.append(level_of(level))
            check_length("priority", len(levels), n)
        for i in range(n):
            if items[i] is None:
                raise ArgumentTypeError(f"payloads must not contain None, which is at index {i}")
        cdef array handles = clone(HANDLES, n, False)
        cdef Py_ssize_t done = 0
        if self.overload == "reject" and not self.admission:
            done = self.submit_at_once(items, &r, levels, deadlines, handles)
            if done < n:
                ms_sched_reject(self.s, n - done)
                self.changed()  # the first ones are there
                error = QueueFullError(
                    f"the scheduler is full: {done} of {n} tasks were taken, capacity {self.capacity}"
                )
                resize(handles, done)
                error.handles = handles
                raise error
            self.changed()
            return handles
        for i in range(n):
            if levels is not None:
                r.level = levels[i]
            if deadlines is not None:
                r.deadline_ns = deadlines.data.as_longlongs[i]
            try:
                handles.data.as_ulonglongs[i] = self.submit(items[i], &r)
            except (QueueFullError, AdmissionError, MemoryError) as error:
                ms_sched_reject(self.s, n - i - 1)
                resize(handles, i)
                error.handles = handles
                raise
        return handles

    cdef Py_ssize_t submit_at_once(
        self, list items, ms_sched_request *r, bytearray levels, array deadlines, array handles
    ) except -1:
        cdef Py_ssize_t n = len(items), i, done
        cdef PyObject **objects = PySequence_Fast_ITEMS(items)
        cdef bytearray lanes = bytearray(n)
        cdef uint8_t *lane = <uint8_t *><char *>lanes
        for i in range(n):
            lane[i] = ms_is_callable(<object>objects[i])
            # Before they are published: a consumer may be done with one while we are still here.
            Py_INCREF(<object>objects[i])
        done = ms_sched_submit_many(
            self.s, r, <void **>objects, lane,
            <const uint8_t *>NULL if levels is None else <const uint8_t *><char *>levels,
            <const int64_t *>NULL if deadlines is None
            else <const int64_t *>deadlines.data.as_longlongs,
            n, <uint64_t *>handles.data.as_ulonglongs,
        )
        for i in range(done, n):
            Py_DECREF(<object>objects[i])
        return done

    def next(self):
        """Hand out the most urgent task that is due, without waiting.

        Returns
        -------
        object or None
            The payload; None if nothing is due. It counts as completed now. Without workers
            callables are handed out like everything else, not called; with workers they are the
            workers'.

        Notes
        -----
        Waits for others that hand out, finish or cancel, never for long: see the class. O(log n);
        about 50 ns.
        """
        cdef void *payload
        if ms_sched_take(self.s, atomic_load(&self.lanes), &payload, 1) == 0:
            return None
        taken = ms_owned(payload)
        if atomic_load(&self.watched):
            self.tell()  # a periodic task waits again: sleepers may not know of its time
        return taken

    def next_many(self, n):
        """Hand out up to `n` tasks, most urgent first, all that are due at one moment.

        Parameters
        ----------
        n : int
            At least 0.

        Returns
        -------
        list of object

        Notes
        -----
        About 7 ns a task.
        """
        cdef Py_ssize_t limit = check_int("n", n, low=0, high=2**62)
        limit = min(limit, <Py_ssize_t>ms_sched_pending(self.s))
        # Made before anything is taken: what was taken could not go back to its place.
        cdef list payloads = PyList_New(limit)
        cdef Py_ssize_t taken = 0
        if limit > 0:
            taken = ms_sched_take(
                self.s, atomic_load(&self.lanes), <void **>PySequence_Fast_ITEMS(payloads), limit
            )
        if taken < limit:
            PyList_SetSlice(payloads, taken, limit, [])
        if taken:
            self.changed()
        return payloads

    def next_wait(self, timeout=None):
        """Hand out the most urgent task, waiting until there is one.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None waits until there is a task or the scheduler is stopped.

        Returns
        -------
        object or None
            None when the time is up, or the scheduler was stopped and nothing is due.

        Notes
        -----
        Sleeps with the GIL released; wakes at a submission or when a task becomes due. Ctrl-C is
        answered.
        """
        cdef int64_t until = until_ns_of(timeout)
        cdef void *payload
        cdef unsigned event = ANY if atomic_load(&self.lanes) == ALL_LANES else HANDED
        cdef size_t ready, waiting
        cdef int64_t due
        while ms_sched_take(self.s, atomic_load(&self.lanes), &payload, 1) == 0:
            ms_event_prepare(&self.s.work[event])
            ms_sched_look(self.s, atomic_load(&self.lanes), &ready, &waiting, &due)
            if ready == 0 and atomic_load(&self.state) != OPEN:
                ms_event_leave(&self.s.work[event])
                return None
            if not self.sleep(event, ready, due, until):
                return None
        taken = ms_owned(payload)
        ms_sched_look(self.s, atomic_load(&self.lanes), &ready, &waiting, &due)
        if ready:  # the wake-up that was taken may have been for this one
            ms_event_raise(&self.s.work[event], 1)
        self.changed()
        return taken

    cdef bint sleep(self, unsigned event, size_t ready, int64_t due, int64_t until) except -1:
        """What follows prepare and a look: False if the time is up."""
        cdef int64_t now = ms_clock_ns()
        if ready or due <= now or until <= now:
            ms_event_leave(&self.s.work[event])
            return ready or due <= now
        cdef int64_t end = min(due, until)
        with nogil:
            ms_event_wait(
                &self.s.work[event], INT64_MAX if end == MS_SCHED_NEVER else end - now
            )
        try:
            PyErr_CheckSignals()
        except BaseException:
            # A wake-up that was taken belongs to somebody who goes on.
            ms_event_raise(&self.s.work[event], 1)
            raise
        return True

    def run(self, timeout=None):
        """Call the callables in this thread, most urgent first, until none is left.

        Those whose time has not come are waited for. Ends when no callable is ready or waiting, when
        the time is up, or at a `stop` that comes after its beginning (also from one of the
        callables). Payloads that cannot be called stay for `next`.

        Parameters
        ----------
        timeout : float, optional
            Seconds. A call that has begun is not interrupted: the end may be later by one call.

        Returns
        -------
        int
            How many were called.

        Raises
        ------
        BaseException
            What a callable raised that is no `Exception`: KeyboardInterrupt, SystemExit. An
            `Exception` is counted and kept in `failures`.
        """
        cdef int64_t until = until_ns_of(timeout)
        if atomic_load(&self.lanes) == ALL_LANES:  # no workers, whose state this would be
            atomic_store(&self.state, OPEN)
        return self.serve(until, False)

    cdef Py_ssize_t serve(self, int64_t until, bint worker) except -1:
        cdef Py_ssize_t done = 0
        cdef ms_sched_taken taken
        cdef size_t ready, waiting
        cdef int64_t due, now, turn = ms_clock_ns()
        cdef int forks = self.forks
        while atomic_load(&self.state) != STOPPING:
            if ms_sched_begin(self.s, CALLED, &taken):
                now = self.call(&taken, worker)
                done += 1
                if self.forks != forks:
                    # The child of a callable that forked: the parent does the rest.
                    break
                if now - turn > TURN_NS:
                    BYTECODE()
                    turn = now
                if now >= until:
                    break
                continue
            ms_event_prepare(&self.s.work[CALLED])
            ms_sched_look(self.s, CALLED_LANE, &ready, &waiting, &due)
            if ready == 0 and (atomic_load(&self.state) != OPEN or not (worker or waiting)):
                ms_event_leave(&self.s.work[CALLED])
                break
            if not self.sleep(CALLED, ready, due, until):
                break
            turn = ms_clock_ns()
        return done

    cdef int64_t call(self, ms_sched_taken *taken, bint worker) except -1:
        """Returns when it ended."""
        # The slot keeps its reference for a periodic task that may be cancelled meanwhile.
        payload = <object>taken.payload
        raised = None
        try:
            payload()
        except BaseException as error:
            raised = error
            self.failures.append(Failure(taken.handle, payload, error))
        cdef int64_t now = ms_clock_ns()
        cdef void *over = ms_sched_finish(self.s, taken.task, now, raised is not None)
        if over != NULL:
            ms_owned(over)
        self.changed()
        if raised is not None and not worker and not isinstance(raised, Exception):
            raise raised
        return now

    def _work(self):
        """What a worker does until `stop`."""
        self.serve(MS_SCHED_NEVER, True)

    def _set_state(self, stopping, drain):
        """Open, or let workers and waiters end: at once, or when nothing is ready."""
        atomic_store(&self.state, OPEN if not stopping else DRAINING if drain else STOPPING)
        cdef unsigned event
        if stopping:
            for event in range(3):
                ms_event_raise(&self.s.work[event], 2**31 - 1)
        self.changed()

    @property
    def _stopped(self):
        return atomic_load(&self.state) != OPEN

    @property
    def _stops_at_once(self):
        return atomic_load(&self.state) == STOPPING

    def _set_calls(self, calls):
        atomic_store(&self.lanes, HANDED_LANE if calls else ALL_LANES)

    @cython.critical_section
    def _set_on_change(self, on_change):
        self.on_change = on_change
        atomic_store(&self.watched, on_change is not None)

    def _forked(self):
        ms_sched_forked(self.s)
        self.forks += 1
        atomic_store(&self.state, OPEN)
        atomic_store(&self.lanes, ALL_LANES)
        self.on_change = None
        atomic_store(&self.watched, False)

    def _due_ns(self):
        """When to look again: 0 if something is ready, None if nothing is to be expected."""
        cdef size_t ready, waiting
        cdef int64_t due
        ms_sched_look(self.s, atomic_load(&self.lanes), &ready, &waiting, &due)
        if ready:
            return 0
        return due if waiting else None

    def cancel(self, handle):
        """Take a task back.

        Parameters
        ----------
        handle : int
            What `schedule` returned.

        Returns
        -------
        bool
            True if the task was pending and will not be handed out or run. True for a periodic task
            that is running: this run ends, and no other follows. False where it is too late: handed
            out, running, finished, cancelled or dropped before; and for any other integer.

        Notes
        -----
        O(1): unlinked from a list or the timing wheel; in a heap it leaves a dead entry, which is
        passed over, or swept away when half of them are dead. The slot is free at once, and the
        payload's reference is gone when this returns.
        """
        cdef int overflow = 0
        cdef int64_t number
        cdef void *payload
        if not PyLong_Check(handle) or PyBool_Check(handle):
            check_int("handle", handle)
        number = PyLong_AsLongLongAndOverflow(int(handle), &overflow)
        if overflow or number <= 0 or not ms_sched_cancel(self.s, number, &payload):
            return False
        if payload != NULL:
            ms_owned(payload)
        return True

    def cancel_many(self, handles):
        """Take many tasks back.

        Parameters
        ----------
        handles : iterable of int

        Returns
        -------
        int
            How many `cancel` returned True for.
        """
        cdef Py_ssize_t cancelled = 0
        for handle in listed("handles", handles):
            cancelled += self.cancel(handle)
        return cancelled

    def clear(self):
        """Cancel every task that is pending and not running.

        Returns
        -------
        int
            How many there were; they count as cancelled.
        """
        return self.drop_all()

    def __len__(self):
        return ms_sched_pending(self.s)

    def __bool__(self):
        """True: a scheduler with nothing pending is still one."""
        return True

    def __sizeof__(self):
        return object.__sizeof__(self) + ms_sched_bytes(self.s)

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} belongs to its process: it cannot be pickled")

    def _read(self, Histogram latency not None):
        """Counters of one moment as a tuple, latencies added to `latency`."""
        cdef ms_sched_counts c
        raise_status(ms_sched_read(self.s, &c, &latency.hdr))
        return (
            c.submitted, c.completed, c.late_start, c.late_finish, c.cancelled, c.rejected,
            c.dropped, c.pending, c.running, c.waiting, c.missed, c.failed, c.unrecorded,
        )


cdef bint is_many(object value):
    """Whether it is one for each task: neither a number nor None."""
    if value is None or PyLong_Check(value):
        return False
    return hasattr(value, "__iter__") or not PyIndex_Check(value)  # arrays are both


cdef list listed(str name, object values):
    if isinstance(values, (dict, set, frozenset)):
        raise ArgumentTypeError(f"{name} must be in an order, got {type(values).__name__}")
    try:
        items = iter(values)
    except TypeError:
        raise ArgumentTypeError(
            f"{name} must be iterable, got {values!r} ({type(values).__name__})"
        ) from None
    return list(items)


cdef array int64s(str name, object values, Py_ssize_t n):
    """`n` of them, None for never."""
    cdef array out
    cdef const int64_t[::1] view
    try:
        view = values
    except (TypeError, ValueError, BufferError):
        out = array("q")
        for value in listed(name, values):
            out.append(MS_SCHED_NEVER if value is None else ns_of(name, value, INT64_MIN))
    else:
        out = array("q")
        resize(out, view.shape[0])
        for i in range(view.shape[0]):
            out.data.as_longlongs[i] = view[i]
    check_length(name, len(out), n)
    return out


cdef int check_length(str name, Py_ssize_t length, Py_ssize_t n) except -1:
    if length != n:
        raise ArgumentValueError(
            f"{name} must have as many items as payloads, {n}, got {length}"
        )
    return 0


# What the slots hold is invisible to the cycle collector: its two questions get their own answers,
# before the first instance exists.
cdef PyTypeObject *TASK_QUEUE = <PyTypeObject *>TaskQueue
cdef traverseproc traverse_fields = TASK_QUEUE.tp_traverse
cdef inquiry clear_fields = TASK_QUEUE.tp_clear


cdef int traverse(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef int result = traverse_fields(self, visit, arg)
    cdef ms_sched *s = (<TaskQueue>self).s
    cdef ms_visitor visitor = ms_visitor(visit, arg)
    if result or s == NULL:
        return result
    return ms_sched_visit(s, ms_visit_payload, &visitor)


cdef int clear(PyObject *self) noexcept:
    if (<TaskQueue>self).s != NULL:
        (<TaskQueue>self).drop_all()
    return clear_fields(self)


TASK_QUEUE.tp_traverse = traverse
TASK_QUEUE.tp_clear = clear
PyType_Modified(TASK_QUEUE)
