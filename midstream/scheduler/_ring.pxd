"""Use from other compiled modules: ``from midstream.scheduler._ring cimport HandleRing``."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "<stdatomic.h>" nogil:
    ctypedef int atomic_int
    ctypedef unsigned int atomic_uint
    int atomic_load(atomic_int *) noexcept
    void atomic_store(atomic_int *, int) noexcept
    unsigned int atomic_fetch_add(atomic_uint *, unsigned int) noexcept

cdef extern from "ms_park.h" nogil:
    ctypedef struct ms_event:
        pass
    const int64_t MS_FOREVER_NS
    void ms_pause() noexcept
    void ms_event_init(ms_event *) noexcept
    void ms_event_prepare(ms_event *) noexcept
    void ms_event_leave(ms_event *) noexcept
    void ms_event_wait(ms_event *, int64_t timeout_ns) noexcept
    void ms_event_raise(ms_event *, uint32_t n) noexcept

cdef extern from "ms_ring.h" nogil:
    ctypedef struct ms_ring:
        uint64_t capacity
    const uint64_t MS_RING_MAX_CAPACITY
    ms_ring *ms_ring_new(uint64_t capacity) noexcept
    void ms_ring_free(ms_ring *) noexcept
    size_t ms_ring_bytes(uint64_t capacity) noexcept
    bint ms_ring_push(ms_ring *, uint64_t value) noexcept
    bint ms_ring_pop(ms_ring *, uint64_t *value) noexcept
    size_t ms_ring_push_many(ms_ring *, const uint64_t *, size_t n) noexcept
    size_t ms_ring_pop_many(ms_ring *, uint64_t *, size_t n) noexcept
    bint ms_ring_is_empty(const ms_ring *) noexcept
    bint ms_ring_is_full(const ms_ring *) noexcept
    uint64_t ms_ring_count(const ms_ring *) noexcept

cdef extern from "ms_ring.h":
    int ms_ring_visit(const ms_ring *, int (*visit)(uint64_t, void *) noexcept, void *) noexcept


cdef class RingQueue:
    # The ring owns a reference to each object in it. Only threads that are attached to the interpreter
    # push and pop: those with the GIL, where there is one.
    cdef ms_ring *ring
    cdef ms_event not_empty
    cdef ms_event not_full
    cdef atomic_int closed
    cdef atomic_int patience  # looks before a thread sleeps
    cdef atomic_uint waits
    cdef object member  # None: a class without objects would be invisible to the garbage collector
    cdef object __weakref__

    cdef int offer(self, object item) except -1
    cdef int put_or_wait(self, object item, object block, object timeout) except -1
    cdef object get_or_wait(self, object block, object timeout)
    cdef int park(self, bint for_room, int64_t timeout_ns) except -1
    cdef bint in_vain(self, bint for_room) noexcept nogil
    cdef list take(self, Py_ssize_t most)
    cdef void forget(self)


cdef class HandleRing:
    cdef ms_ring *ring

    # Append a value: whether there was room. From any thread, with the GIL or without.
    cdef bint c_push(self, uint64_t value) noexcept nogil

    # Take the oldest value: whether there was one.
    cdef bint c_pop(self, uint64_t *value) noexcept nogil
