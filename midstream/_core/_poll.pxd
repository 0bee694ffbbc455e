from libc.stdint cimport uint64_t


cdef extern from "ms_poll.h":
    ctypedef struct ms_poll:
        int (*ask)(void *context) noexcept nogil
        void *context
        uint64_t spent


cdef class Poll:
    cdef ms_poll poll
    cdef readonly bint stopped
    cdef object error
    cdef int reraise(self) except -1
