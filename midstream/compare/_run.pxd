from libc.stdint cimport uint32_t, uint64_t


cdef extern from "ms_match.h":
    ctypedef struct ms_match_kernels:
        pass

cdef extern from "ms_run.h":
    ctypedef struct ms_run:
        uint64_t start
        uint64_t position
        uint32_t period
    ctypedef struct ms_run_detector:
        uint64_t count
        bint has_best
        ms_run best
    uint32_t ms_run_stride(const ms_run_detector *d) noexcept nogil


cdef class RunDetector:
    cdef ms_run_detector detector
    cdef dict identities
    cdef uint64_t next_identity
    cdef uint64_t next_sweep
    cdef readonly Py_ssize_t max_period
    cdef readonly Py_ssize_t min_copies
    cdef readonly Py_ssize_t min_length
    cdef bint busy  # while a feed runs without the GIL

    cdef int check_idle(self) except -1
    cdef int push(self, uint64_t symbol, uint64_t position) except -1
    cdef uint64_t identify(self, object symbol) except? 0
    cdef void sweep(self)
    cdef uint32_t stride(self) noexcept
    cdef size_t memory(self) noexcept
