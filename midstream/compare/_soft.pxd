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
        size_t window


cdef double as_gamma(object value) except -1
cdef size_t as_window(object value) except? 7
cdef double as_cutoff(object value) except? -1
cdef ms_soft_task task_of(Series x, Series y, double gamma, size_t window) noexcept
cdef double *take(object what, size_t count) except NULL
cdef size_t workspace_size(const ms_soft_task *task) noexcept nogil
cdef int compare(const ms_soft_task *task, double *workspace, ms_poll *poll,
                 double *value) noexcept nogil
