from midstream._core._poll cimport ms_poll
from midstream.compare._series cimport Series


cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_soft.h":
    ctypedef struct ms_soft_kernels:
        pass
    ctypedef struct ms_soft_task:
        const double *x
        const double *y
        size_t n
        size_t m
        size_t d
        double gamma
        size_t below
        size_t above


cdef struct Band:
    size_t radius
    bint widened  # by the difference of the lengths, on the longer side


cdef double as_gamma(object value) except -1
cdef Band as_band(object window, object band) except *
cdef double as_cutoff(object value) except? -1
cdef ms_soft_task task_of(Series x, Series y, double gamma, Band band) noexcept
cdef double *take(object what, size_t count) except NULL
cdef size_t workspace_size(const ms_soft_task *task) noexcept nogil
cdef int compare(const ms_soft_task *task, double *workspace, ms_poll *poll,
                 double *value) noexcept nogil
