# cython: freethreading_compatible=True
"""`RingQueue` and `HandleRing`: bindings of csrc/ms_ring.h."""

from array import array
from time import monotonic_ns
from types import GenericAlias
from typing import NamedTuple

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_New
from cpython.long cimport PyLong_AsUnsignedLongLong, PyLong_CheckExact
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uintptr_t

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    QueueEmptyError,
    QueueFullError,
    QueueShutDownError,
)
from midstream._core.memory import check_memory
from midstream._core.validate import check_int, check_real

cdef extern from *:
    """
    /* The references that the ring held become the caller's. */
    static inline PyObject *owned(uint64_t value) { return (PyObject *)(uintptr_t)value; }
    static inline void into_list(PyObject *list, Py_ssize_t i, uint64_t value)
    {
        PyList_SET_ITEM(list, i, owned(value));
    }
    """
    object owned(uint64_t)
    void into_list(list, Py_ssize_t, uint64_t) noexcept

# Cython's own declarations of the slots raise exceptions and count references.
cdef extern from "Python.h":
    ctypedef int (*Visit "visitproc")(PyObject *, void *) noexcept
    ctypedef int (*Traverse "traverseproc")(PyObject *, Visit, void *) noexcept
    ctypedef int (*Clear "inquiry")(PyObject *) noexcept
    ctypedef struct Slots "PyTypeObject":
        Traverse tp_traverse
        Clear tp_clear

#: How often a thread that waits looks at the ring before it sleeps: at most MOST_LOOKS times, about
#: 35 us here, which is what sleeping and being woken across cores costs. That wastes the time where
#: the other thread needs this core, so a queue learns how long looking is worth while, from nothing
#: at all on, and tries it out in every PROBE-th wait. No sched_yield in between: it hands over in
#: 4 us on a machine at rest, and gives a whole time slice, 3 ms, to any stranger that is busy.
cdef enum:
    MOST_LOOKS = 1000
    PROBE = 256

#: Items that a batch of handles moves with the GIL held: about 10 us.
cdef enum:
    FEW = 1000


cdef uint64_t check_capacity(object capacity) except 0:
    # 0 means "without bound" to queue.Queue, and a hand-over to others: neither is a ring.
    cdef uint64_t checked = check_int("capacity", capacity, low=1, high=MS_RING_MAX_CAPACITY)
    check_memory(f"a ring of {checked}", ms_ring_bytes(checked))
    return checked


cdef ms_ring *new_ring(object capacity) except NULL:
    cdef ms_ring *ring = ms_ring_new(check_capacity(capacity))
    if ring == NULL:
        raise MemoryError(f"ring of {capacity}")
    return ring


cdef int64_t until(object timeout) except -1:
    """The instant, in nanoseconds of the monotonic clock, at which a wait gives up."""
    if timeout is None:
        return MS_FOREVER_NS
    cdef double seconds = check_real("timeout", timeout, low=0.0)
    # Beyond 100 years is for ever, and the sum does not overflow.
    return MS_FOREVER_NS if seconds > 3e9 else monotonic_ns() + <int64_t>(seconds * 1e9)


cdef int64_t left_until(int64_t deadline_ns) except -1:
    if deadline_ns == MS_FOREVER_NS:
        return MS_FOREVER_NS
    cdef int64_t now_ns = monotonic_ns()
    return deadline_ns - now_ns if deadline_ns > now_ns else 0


cdef int raise_shut_down() except -1:
    raise QueueShutDownError("the queue is shut down")


@cython.trashcan(True)
cdef class RingQueue:
    """RingQueue(capacity)\n--\n\n\
    A bounded FIFO queue for any number of producer and consumer threads.

    Everything `queue.Queue` does but `task_done` and `join`, at about the speed of
    `queue.SimpleQueue`, which has no bound. Nothing is allocated after construction.

    Parameters
    ----------
    capacity : int
        How many items it holds at most, exactly as given; 1 to 2**32. 0 is an error: to
        `queue.Queue` it means "without bound", and a ring has one.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `capacity` is not an integer, or out of range.
    MemoryLimitError
        The machine has not that much memory: 40 bytes for each item, with `capacity` rounded up to
        a power of two, taken at once.

    Notes
    -----
    **Order.** One total order for all: put and get are linearizable, so items come out in the order
    in which their puts took effect, each between its call and its return. "Empty" and "full" are
    said when they are so. Of several threads that wait, any may be the next.

    **Progress.** The ring is SCQ [1]_, which is lock-free: there is no lock that a thread could be
    halted with. A thread that dies in the middle of an operation, which CPython's own threads
    cannot while they hold the GIL, costs one place of `capacity`. Waiting is not lock-free, of
    course: it is for the others.

    **Cost.** O(1): put and get together take 0.8 to 1.5 times as long as those of
    `queue.SimpleQueue`, by what eight atomic operations cost a processor; handing an item to a
    thread that waits takes a quarter of the time or less. `put_many` and `get_many` spare the
    calls. A thread that must wait looks for some microseconds without the GIL, where that has
    proved worth while, then sleeps in the kernel; it answers Ctrl-C as `queue.Queue` does. Putting
    an item that nobody waits for makes no system call.

    **References.** The queue owns one reference to each item in it, taken before others can see the
    item and handed to whoever gets it. The garbage collector sees the items, so a cycle through a
    queue is collected. Items left in a queue are released with it, oldest first.

    **Re-entrance.** Any method may be called from a destructor, a signal handler or a garbage
    collection that interrupts another one of the same queue in the same thread; a blocking one may
    then wait for ever, as any may that waits for its own thread.

    **After fork**, in the child, the queue has the items it had, each process its own from then on,
    and works. Threads that waited do not exist there; waking them is tried in vain once for each.

    **Threads.** All methods may be called from any thread at any time, with a GIL or without.

    `len` tells how many items there are; another thread may change that before it is used. An empty
    queue is false, as a list is. Cannot be pickled or copied.

    References
    ----------
    .. [1] R. Nikolaev, "A Scalable, Portable, and Memory-Efficient Lock-Free FIFO Queue",
       DISC 2019, https://doi.org/10.4230/LIPIcs.DISC.2019.28

    Examples
    --------
    >>> from midstream.scheduler import RingQueue
    >>> queue = RingQueue(2)
    >>> queue.put("a")
    >>> queue.try_put("b"), queue.try_put("c")
    (True, False)
    >>> queue
    <RingQueue holds 2 of 2>
    >>> queue.get(), queue.get(), queue.try_get()
    ('a', 'b', None)
    """

    def __cinit__(self, capacity):
        self.ring = new_ring(capacity)
        ms_event_init(&self.not_empty)
        ms_event_init(&self.not_full)

    def __init__(self, capacity):
        # All is done; so that subclasses may call this, as those of queue.Queue do.
        pass

    def __dealloc__(self):
        if self.ring != NULL:
            self.forget()
            ms_ring_free(self.ring)

    __class_getitem__ = classmethod(GenericAlias)

    @cython.binding(False)
    def put(self, item, block=True, timeout=None):
        """put($self, item, block=True, timeout=None)\n--\n\n\
        Append an item; wait for room if need be.

        Parameters
        ----------
        item : object
        block : bool, default True
            Wait for room where the queue is full.
        timeout : float, optional
            Seconds to wait at most. Not looked at where `block` is false.

        Raises
        ------
        QueueFullError
            There was no room, not within `timeout`. Also a `queue.Full`.
        QueueShutDownError
            `shutdown` was called, before or while this waited. Also a `queue.ShutDown` where
            Python has it (3.13).
        ArgumentTypeError, ArgumentValueError
            `timeout` is not a real number, negative, or not finite.
        """
        if timeout is not None or not self.offer(item):
            self.put_or_wait(item, block, timeout)

    @cython.binding(False)
    def get(self, block=True, timeout=None):
        """get($self, block=True, timeout=None)\n--\n\n\
        Take the oldest item; wait for one if need be.

        Parameters
        ----------
        block : bool, default True
            Wait for an item where the queue is empty.
        timeout : float, optional
            Seconds to wait at most. Not looked at where `block` is false.

        Returns
        -------
        object

        Raises
        ------
        QueueEmptyError
            There was none, not within `timeout`. Also a `queue.Empty`.
        QueueShutDownError
            The queue is empty, and `shutdown` was called, before or while this waited.
        ArgumentTypeError, ArgumentValueError
            `timeout` is not a real number, negative, or not finite.
        """
        cdef uint64_t value
        if timeout is None and ms_ring_pop(self.ring, &value):
            ms_event_raise(&self.not_full, 1)
            return owned(value)
        return self.get_or_wait(block, timeout)

    @cython.binding(False)
    def put_nowait(self, item):
        """put_nowait($self, item)\n--\n\n\
        Append an item if there is room: ``put(item, block=False)``.

        Raises
        ------
        QueueFullError
            The queue is full.
        QueueShutDownError
            `shutdown` was called.
        """
        if not self.offer(item):
            raise QueueFullError(f"the queue holds {self.ring.capacity} items already")

    @cython.binding(False)
    def get_nowait(self):
        """get_nowait($self)\n--\n\n\
        Take the oldest item if there is one: ``get(block=False)``.

        Raises
        ------
        QueueEmptyError
            The queue is empty.
        QueueShutDownError
            It is, and `shutdown` was called.
        """
        return self.get_or_wait(False, None)

    @cython.binding(False)
    def try_put(self, item):
        """try_put($self, item)\n--\n\n\
        Append an item if there is room.

        Returns
        -------
        bool
            Whether there was.

        Raises
        ------
        QueueShutDownError
            `shutdown` was called.
        """
        return self.offer(item) != 0

    @cython.binding(False)
    def try_get(self, default=None):
        """try_get($self, default=None)\n--\n\n\
        Take the oldest item if there is one.

        Parameters
        ----------
        default : object, optional
            What to return where there is none.

        Raises
        ------
        QueueShutDownError
            There is none, and `shutdown` was called.
        """
        cdef uint64_t value
        if ms_ring_pop(self.ring, &value):
            ms_event_raise(&self.not_full, 1)
            return owned(value)
        if atomic_load(&self.closed):
            raise_shut_down()
        return default

    def put_many(self, items, block=True, timeout=None):
        """Append items in order, one after the other; others' items may come to lie in between.

        Parameters
        ----------
        items : Sequence
            Read before the first is put. An iterator is refused: what was drawn from it and found
            no room would be lost.
        block : bool, default True
            Wait for room until all are put.
        timeout : float, optional
            Seconds to wait at most, all in all. Not looked at where `block` is false.

        Returns
        -------
        int
            How many were put: ``items[:n]`` are in the queue or were taken from it, ``items[n:]``
            are not. Less than all where there was no room, not within `timeout`, or where
            `shutdown` was called after the first was put.

        Raises
        ------
        QueueShutDownError
            `shutdown` was called before the first was put. None was.
        ArgumentTypeError, ArgumentValueError
            `items` is not a sequence, or `timeout` is not a real number, negative, or not finite.

        Notes
        -----
        Ctrl-C while this waits leaves those in the queue that were put, and does not tell how many.
        """
        kind = type(items)
        ordered = hasattr(kind, "__len__") and hasattr(kind, "__getitem__")
        if not ordered or hasattr(kind, "keys"):
            raise ArgumentTypeError(f"items must be a sequence, got {type(items).__name__}")
        cdef tuple sequence = tuple(items)
        cdef int64_t deadline_ns = until(timeout) if block else 0
        cdef int64_t left_ns
        cdef Py_ssize_t done = 0
        while True:
            while done < len(sequence):
                if atomic_load(&self.closed):
                    if done == 0:
                        raise_shut_down()
                    return done
                if not self.offer(sequence[done]):
                    break
                done += 1
            if done == len(sequence) or not block:
                return done
            left_ns = left_until(deadline_ns)
            if left_ns == 0:
                return done
            self.park(True, left_ns)

    def get_many(self, max_items, block=False, timeout=None):
        """Take up to so many items, oldest first, as many as there are.

        Parameters
        ----------
        max_items : int
            0 or more.
        block : bool, default False
            Wait for the first where there is none; never for more.
        timeout : float, optional
            Seconds to wait at most. Not looked at where `block` is false.

        Returns
        -------
        list
            Empty where there was none, not within `timeout`.

        Raises
        ------
        QueueShutDownError
            The queue is empty, and `shutdown` was called, before or while this waited.
        ArgumentTypeError, ArgumentValueError
            `max_items` is not an integer or negative; or `timeout` is not a real number, negative,
            or not finite.
        """
        cdef Py_ssize_t most = min(check_int("max_items", max_items, low=0), self.ring.capacity)
        cdef int64_t deadline_ns = until(timeout) if block else 0
        cdef int64_t left_ns
        cdef list items
        while True:
            items = self.take(most)
            if items or most == 0:
                return items
            if atomic_load(&self.closed):
                # Closed after the look, there may be an item that came between the two.
                items = self.take(most)
                if not items:
                    raise_shut_down()
                return items
            if not block:
                return items
            left_ns = left_until(deadline_ns)
            if left_ns == 0:
                return items
            self.park(False, left_ns)

    @cython.binding(False)
    def qsize(self):
        """qsize($self)\n--\n\n\
        How many items there are: ``len(queue)``."""
        return ms_ring_count(self.ring)

    def __len__(self):
        return ms_ring_count(self.ring)

    @cython.binding(False)
    def empty(self):
        """empty($self)\n--\n\n\
        Whether there is no item, just now."""
        return ms_ring_is_empty(self.ring)

    @cython.binding(False)
    def full(self):
        """full($self)\n--\n\n\
        Whether there is no room, just now."""
        return ms_ring_is_full(self.ring)

    @property
    def capacity(self):
        """How many items it holds at most, as given."""
        return self.ring.capacity

    @property
    def is_shutdown(self):
        """Whether `shutdown` was called."""
        return atomic_load(&self.closed) != 0

    def shutdown(self, immediate=False):
        """End it: from now on `put` raises, and `get` raises once the queue is empty.

        Parameters
        ----------
        immediate : bool, default False
            Release the items that are in the queue, so that it is empty now.

        Notes
        -----
        All threads that wait are woken and raise QueueShutDownError, those that wait for an item
        where there is none. Calling it again, with `immediate` or without, is no error.
        """
        atomic_store(&self.closed, 1)
        ms_event_raise(&self.not_empty, 0xFFFFFFFF)
        ms_event_raise(&self.not_full, 0xFFFFFFFF)
        if immediate:
            self.forget()

    def __reduce__(self):
        raise TypeError("RingQueue cannot be pickled or copied: threads share it by reference")

    def __sizeof__(self):
        return sizeof(RingQueue) + ms_ring_bytes(self.ring.capacity)

    def __repr__(self):
        state = ", shut down" if atomic_load(&self.closed) else ""
        return f"<{type(self).__name__} holds {len(self)} of {self.ring.capacity}{state}>"

    cdef inline int offer(self, object item) except -1:
        """Put `item` if there is room: 1, or 0 where there is none."""
        if atomic_load(&self.closed):
            raise_shut_down()
        # Before it is published: from then on, it is the consumer's to drop.
        Py_INCREF(item)
        if ms_ring_push(self.ring, <uint64_t><uintptr_t><PyObject *>item):
            ms_event_raise(&self.not_empty, 1)
            return 1
        Py_DECREF(item)
        return 0

    cdef int put_or_wait(self, object item, object block, object timeout) except -1:
        cdef int64_t deadline_ns = until(timeout) if block else 0
        cdef int64_t left_ns
        while not self.offer(item):
            left_ns = left_until(deadline_ns) if block else 0
            if left_ns == 0:
                raise QueueFullError(f"the queue holds {self.ring.capacity} items already")
            self.park(True, left_ns)
        return 0

    cdef object get_or_wait(self, object block, object timeout):
        cdef int64_t deadline_ns = until(timeout) if block else 0
        cdef int64_t left_ns
        cdef uint64_t value
        cdef bint closed
        while True:
            # First this, then the look: what was put before the end is still handed out.
            closed = atomic_load(&self.closed)
            if ms_ring_pop(self.ring, &value):
                ms_event_raise(&self.not_full, 1)
                return owned(value)
            if closed:
                raise_shut_down()
            left_ns = left_until(deadline_ns) if block else 0
            if left_ns == 0:
                raise QueueEmptyError("the queue is empty")
            self.park(False, left_ns)

    cdef int park(self, bint for_room, int64_t timeout_ns) except -1:
        """Without the GIL, wait until a look is worth while; may return for no reason."""
        cdef ms_event *event = &self.not_full if for_room else &self.not_empty
        cdef bint probes = atomic_fetch_add(&self.waits, 1) % PROBE == 0
        cdef int patience = atomic_load(&self.patience)
        cdef int most = MOST_LOOKS if probes else patience
        cdef int looks = 0
        cdef bint in_vain = True
        with nogil:
            while in_vain and looks < most:
                ms_pause()
                looks += 1
                in_vain = self.in_vain(for_room)
            if in_vain:
                ms_event_prepare(event)
                if self.in_vain(for_room):
                    ms_event_wait(event, timeout_ns)
                else:
                    ms_event_leave(event)
        if not in_vain:
            atomic_store(&self.patience, min(<int>MOST_LOOKS, max(patience, 2 * looks + 50)))
        elif not probes:
            atomic_store(&self.patience, patience - (patience + 3) // 4)
        try:
            PyErr_CheckSignals()
        except BaseException:
            # The wake-up was for one who looks; this one will not.
            ms_event_raise(event, 1)
            raise
        return 0

    cdef inline bint in_vain(self, bint for_room) noexcept nogil:
        if atomic_load(&self.closed):
            return False
        return ms_ring_is_full(self.ring) if for_room else ms_ring_is_empty(self.ring)

    cdef list take(self, Py_ssize_t most):
        """Up to `most` of the items there are."""
        cdef uint64_t value
        cdef Py_ssize_t got = 0
        # In one piece before the first is popped: nothing can fail while an item is in no place.
        cdef list items = PyList_New(min(most, <Py_ssize_t>ms_ring_count(self.ring)))
        cdef Py_ssize_t room = len(items)
        while got < room and ms_ring_pop(self.ring, &value):
            into_list(items, got, value)
            got += 1
        if got:
            ms_event_raise(&self.not_full, <uint32_t>min(got, <Py_ssize_t>0x7FFFFFFF))
        if got < room:
            del items[got:]
        return items

    cdef void forget(self):
        """Release the items there are now; not those that their destructors put."""
        cdef uint64_t value
        cdef uint64_t count = ms_ring_count(self.ring)
        while count > 0 and ms_ring_pop(self.ring, &value):
            count -= 1
            ms_event_raise(&self.not_full, 1)
            owned(value)


# The garbage collector must see what the ring holds. It runs with the GIL, or with all threads
# stopped that are attached to the interpreter, and only such threads use the ring of a RingQueue.

cdef struct Visitor:
    Visit visit
    void *argument

cdef int visit_item(uint64_t value, void *context) noexcept:
    cdef Visitor *visitor = <Visitor *>context
    return visitor.visit(<PyObject *><uintptr_t>value, visitor.argument)

cdef int traverse(PyObject *self, Visit visit, void *argument) noexcept:
    cdef Visitor visitor = Visitor(visit, argument)
    cdef ms_ring *ring = (<RingQueue>self).ring
    if ring != NULL:
        stop = ms_ring_visit(ring, visit_item, &visitor)
        if stop:
            return stop
    return traverse_members(self, visit, argument)

cdef int clear(PyObject *self) noexcept:
    if (<RingQueue>self).ring != NULL:
        (<RingQueue>self).forget()
    return clear_members(self)

cdef Slots *slots = <Slots *><PyObject *>RingQueue
cdef Traverse traverse_members = slots.tp_traverse
cdef Clear clear_members = slots.tp_clear
slots.tp_traverse = traverse
slots.tp_clear = clear


class CFunctions(NamedTuple):
    """What C code needs to use a `HandleRing`: addresses, as integers."""

    #: First argument of both functions. Valid as long as the HandleRing exists.
    ring: int
    #: ``int push(void *ring, uint64_t handle)``: 1, or 0 where the ring is full.
    push: int
    #: ``int pop(void *ring, uint64_t *handle)``: 1, or 0 where it is empty, `handle` untouched.
    pop: int


cdef int push_handle(void *ring, uint64_t handle) noexcept nogil:
    return ms_ring_push(<ms_ring *>ring, handle)


cdef int pop_handle(void *ring, uint64_t *handle) noexcept nogil:
    return ms_ring_pop(<ms_ring *>ring, handle)


cdef uint64_t check_handle(object handle) except? 0:
    if PyLong_CheckExact(handle):
        try:
            return PyLong_AsUnsignedLongLong(handle)
        except OverflowError:
            pass
    return check_int("handle", handle, low=0, high=0xFFFFFFFFFFFFFFFF)


cdef class HandleRing:
    """HandleRing(capacity)\n--\n\n\
    A bounded FIFO of 64-bit integers, for threads that do not hold the GIL.

    Handles are indices, addresses or packed bits, whose meaning is the caller's. Compiled code
    pushes and pops without the GIL: Cython by ``cimport`` (``c_push``, ``c_pop``), everything else
    through the addresses in `c_functions`.

    Parameters
    ----------
    capacity : int
        How many handles it holds at most, exactly as given; 1 to 2**32.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `capacity` is not an integer, or out of range.
    MemoryLimitError
        The machine has not that much memory: 40 bytes for each handle, with `capacity` rounded up
        to a power of two, taken at once.

    Notes
    -----
    **Order.** Linearizable FIFO, as `RingQueue`. "Empty" is exact. "Full" is said when the handles
    in the ring and the operations under way together are `capacity`: beside a pop that is about to
    return, a push may be refused for the place that this one is just leaving.

    **Progress.** Lock-free, as proven for SCQ [1]_: whatever thread is halted, wherever it is, the
    others go on. One that never comes back keeps one place, and a pop the handle it was taking. At
    capacity 1 this leaves nothing. At most 65536 threads may pop at the same instant.

    **Cost.** From compiled code 20 ns for a push and a pop, uncontended. Nothing is allocated, no
    system call is made. There is no waiting: the caller decides how.

    **After fork**, the child has its own copy. An operation that another thread was in the middle
    of counts as one of a thread that never comes back.

    `len` is exact while threads take turns, as they do under the GIL, and a guess while and after
    they use the ring at the same time. Cannot be pickled or copied.

    References
    ----------
    .. [1] R. Nikolaev, "A Scalable, Portable, and Memory-Efficient Lock-Free FIFO Queue",
       DISC 2019, https://doi.org/10.4230/LIPIcs.DISC.2019.28

    Examples
    --------
    >>> from midstream.scheduler import HandleRing
    >>> ring = HandleRing(3)
    >>> ring.push(7), ring.push(2**64 - 1)
    (True, True)
    >>> ring.pop(), ring.pop(), ring.pop()
    (7, 18446744073709551615, None)
    """

    def __cinit__(self, capacity):
        self.ring = new_ring(capacity)

    def __init__(self, capacity):
        # All is done; so that subclasses may call this.
        pass

    def __dealloc__(self):
        ms_ring_free(self.ring)

    cdef bint c_push(self, uint64_t value) noexcept nogil:
        return ms_ring_push(self.ring, value)

    cdef bint c_pop(self, uint64_t *value) noexcept nogil:
        return ms_ring_pop(self.ring, value)

    @cython.binding(False)
    def push(self, handle):
        """push($self, handle)\n--\n\n\
        Append a handle if there is room.

        Parameters
        ----------
        handle : int
            0 to 2**64 - 1.

        Returns
        -------
        bool
            Whether there was.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `handle` is not an integer, or out of range.
        """
        return ms_ring_push(self.ring, check_handle(handle))

    @cython.binding(False)
    def pop(self):
        """pop($self)\n--\n\n\
        Take the oldest handle.

        Returns
        -------
        int or None
            None where there is none.
        """
        cdef uint64_t value
        return value if ms_ring_pop(self.ring, &value) else None

    def push_many(self, handles):
        """Append handles until the ring is full, one after the other.

        Parameters
        ----------
        handles : buffer of uint64, shape (n,)
            Contiguous: ``array("Q")``, a numpy array of uint64. Read in place.

        Returns
        -------
        int
            How many were appended: ``handles[:n]``.

        Raises
        ------
        ArgumentTypeError
            `handles` is not such a buffer.

        Notes
        -----
        15 to 20 ns for each handle. Releases the GIL for batches of more than 1000: leave the
        buffer as it is until this returns.
        """
        cdef const uint64_t[::1] view
        try:
            # Through memoryview: None would do for a typed view.
            view = memoryview(handles)
        except (TypeError, ValueError, BufferError) as error:
            raise ArgumentTypeError(
                f"handles must be a contiguous buffer of uint64, got {type(handles).__name__}"
                f" ({error})"
            ) from None
        cdef size_t n = view.shape[0]
        if n == 0:
            return 0
        if n <= FEW:
            return ms_ring_push_many(self.ring, &view[0], n)
        with nogil:
            n = ms_ring_push_many(self.ring, &view[0], n)
        return n

    def pop_many(self, max_handles):
        """Take up to so many handles, oldest first, as many as there are.

        Parameters
        ----------
        max_handles : int
            0 or more.

        Returns
        -------
        array.array
            Of typecode ``"Q"``, which `numpy.asarray` reads in place.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `max_handles` is not an integer, or negative.

        Notes
        -----
        15 to 20 ns for each handle. Releases the GIL for batches of more than 1000.
        """
        cdef size_t most = min(check_int("max_handles", max_handles, low=0), self.ring.capacity)
        # What is there, and a few more that may come: capacity may be far above what is asked for.
        most = min(most, <size_t>ms_ring_count(self.ring) + FEW)
        popped = array("Q", bytes(8 * most))
        if most == 0:
            return popped
        cdef uint64_t[::1] view = popped
        cdef size_t got
        if most <= 2 * FEW:
            got = ms_ring_pop_many(self.ring, &view[0], most)
        else:
            with nogil:
                got = ms_ring_pop_many(self.ring, &view[0], most)
        view = None
        if got < most:
            del popped[got:]
        return popped

    def c_functions(self):
        """How to push and pop from C, or from anything that calls C.

        Returns
        -------
        CFunctions
            ``ring``, ``push`` and ``pop``: addresses, as integers. The functions take the ring as
            first argument, need no GIL, never block, and may be called from any thread::

                int push(void *ring, uint64_t handle);   /* 1, or 0 where the ring is full */
                int pop(void *ring, uint64_t *handle);   /* 1, or 0 where it is empty */

        Notes
        -----
        The addresses say nothing about ownership: keep this object as long as they are used.

        Examples
        --------
        >>> import ctypes
        >>> from midstream.scheduler import HandleRing
        >>> ring = HandleRing(8)
        >>> c = ring.c_functions()
        >>> push = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64)(c.push)
        >>> push(c.ring, 42)
        1
        >>> ring.pop()
        42
        """
        return CFunctions(<uintptr_t>self.ring, <uintptr_t>&push_handle, <uintptr_t>&pop_handle)

    def __len__(self):
        return ms_ring_count(self.ring)

    @property
    def capacity(self):
        """How many handles it holds at most, as given."""
        return self.ring.capacity

    def __reduce__(self):
        raise TypeError("HandleRing cannot be pickled or copied: threads share it by reference")

    def __sizeof__(self):
        return sizeof(HandleRing) + ms_ring_bytes(self.ring.capacity)

    def __repr__(self):
        return f"<{type(self).__name__} holds {len(self)} of {self.ring.capacity}>"
