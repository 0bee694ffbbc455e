# cython: freethreading_compatible=True
"""Binding of csrc/ms_profile: the windows of a series against each other, by blocks of lags."""

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_profile.h":
    size_t MS_PROFILE_BLOCK
    size_t MS_PROFILE_ROWS
    ctypedef struct ms_profile_input:
        const double *x
        const double *mean
        const double *inv
        const double *step
        const double *both
        const size_t *falls
        size_t n_falls
        size_t windows
        size_t m
        size_t restart
    ctypedef struct ms_profile_best:
        double *right
        double *left
        int64_t *right_index
        int64_t *left_index
    ctypedef struct ms_profile_kernels:
        pass
    const ms_profile_kernels *ms_profile_select(ms_simd_level level) noexcept nogil
    int ms_profile_block(const ms_profile_kernels *kernels, const ms_profile_input *input,
                         size_t lag, ms_profile_best *best, ms_poll *poll) noexcept nogil
    size_t ms_profile_prepare_doubles(size_t m) noexcept nogil
    void ms_profile_prepare(const double *x, size_t windows, size_t m, double *mean, double *inv,
                            double *step, double *both, double *work) noexcept nogil
    size_t ms_profile_falls(const double *inv, size_t windows, size_t *falls) noexcept nogil
    void ms_profile_merge(ms_profile_best *into, const ms_profile_best *other,
                          size_t windows) noexcept nogil
    size_t ms_profile_distances_doubles(size_t m) noexcept nogil
    int ms_profile_distances(const double *x, size_t windows, size_t m, const int64_t *index,
                             double *distance, double *work, ms_simd_level level,
                             ms_poll *poll) noexcept nogil

#: Lags in a block.
LAGS = MS_PROFILE_BLOCK


cdef class Best:
    """Best correlation of every window so far, and with which: `right` later, `left` earlier."""

    cdef ms_profile_best best
    cdef Py_ssize_t windows
    cdef readonly object right
    cdef readonly object left
    cdef readonly object right_index
    cdef readonly object left_index

    def __cinit__(self, Py_ssize_t windows):
        cdef double[::1] right, left
        cdef int64_t[::1] right_index, left_index
        padded = windows + MS_PROFILE_BLOCK
        self.windows = windows
        right = self.right = np.full(padded, -np.inf)
        left = self.left = np.full(padded, -np.inf)
        right_index = self.right_index = np.full(padded, -1, dtype=np.int64)
        left_index = self.left_index = np.full(padded, -1, dtype=np.int64)
        self.best.right = &right[0]
        self.best.left = &left[0]
        self.best.right_index = &right_index[0]
        self.best.left_index = &left_index[0]

    @cython.critical_section
    def merge(self, Best other):
        """Take what is better in `other`, which has as many windows."""
        if other.windows != self.windows:
            raise ValueError("not of the same series")
        with nogil:
            ms_profile_merge(&self.best, &other.best, self.windows)


cdef class Profiler:
    """A series, ready to have its windows of `m` samples compared; `m` is not above its length.

    The methods release the GIL and may run in several threads, each with its own `Best`.
    """

    cdef ms_profile_input input
    cdef const double[::1] x
    cdef double[:, ::1] moments
    cdef size_t *falls
    cdef readonly Py_ssize_t windows

    def __cinit__(self, const double[::1] series, Py_ssize_t m):
        cdef double *work
        cdef double[::1] x
        if not 1 <= m <= series.shape[0]:
            raise ValueError("no such windows")
        x = np.zeros(series.shape[0] + MS_PROFILE_BLOCK)
        x[:series.shape[0]] = series
        self.x = x
        self.windows = series.shape[0] - m + 1
        self.moments = np.empty((4, self.windows + MS_PROFILE_BLOCK))
        self.input.x = &self.x[0]
        self.input.mean = &self.moments[0, 0]
        self.input.inv = &self.moments[1, 0]
        self.input.step = &self.moments[2, 0]
        self.input.both = &self.moments[3, 0]
        self.input.windows = self.windows
        self.input.m = m
        # A fresh covariance costs m products; every 8 m rows (and 8192 at least) it costs little.
        rows = max(8 * m, 8192)
        self.input.restart = (rows + MS_PROFILE_ROWS - 1) // MS_PROFILE_ROWS * MS_PROFILE_ROWS
        work = <double *>malloc(ms_profile_prepare_doubles(m) * sizeof(double))
        if work == NULL:
            raise MemoryError("no memory for the moments of the windows")
        with nogil:
            ms_profile_prepare(self.input.x, self.input.windows, self.input.m,
                               &self.moments[0, 0], &self.moments[1, 0], &self.moments[2, 0],
                               &self.moments[3, 0], work)
        free(work)
        self.input.n_falls = ms_profile_falls(&self.moments[1, 0], self.input.windows, NULL)
        self.falls = <size_t *>malloc((self.input.n_falls + 1) * sizeof(size_t))
        if self.falls == NULL:
            raise MemoryError("no memory for the series' falls")
        ms_profile_falls(&self.moments[1, 0], self.input.windows, self.falls)
        self.input.falls = self.falls

    def __dealloc__(self):
        free(self.falls)

    @property
    def constant(self):
        """Which windows are constant: (windows,) array of bool."""
        return np.asarray(self.moments[1, :self.windows]) == 0

    def visit(self, Py_ssize_t lag, Best best, Poll poll):
        """Compare all windows that are ``lag .. lag + LAGS - 1`` apart; None if stopped."""
        if best.windows != self.windows or lag < 1:
            raise ValueError("not of this series")
        cdef int status
        cdef ms_simd_level level = <ms_simd_level>simd_level_number()
        with nogil:
            status = ms_profile_block(ms_profile_select(level), &self.input, lag, &best.best,
                                      &poll.poll)
        if status:
            poll.reraise()
            return None
        return lag

    def distances(self, const int64_t[::1] index, Poll poll):
        """Exact distance of each window to window ``index[i]``; inf where that is negative."""
        cdef double[::1] out = np.empty(self.windows)
        cdef double *work
        cdef int status
        cdef ms_simd_level level = <ms_simd_level>simd_level_number()
        array = np.asarray(index)
        if len(array) != self.windows or array.max() >= self.windows:
            raise IndexError("no such windows")
        work = <double *>malloc(ms_profile_distances_doubles(self.input.m) * sizeof(double))
        if work == NULL:
            raise MemoryError("no memory for a batch of windows")
        with nogil:
            status = ms_profile_distances(self.input.x, self.input.windows, self.input.m,
                                          &index[0], &out[0], work, level,
                                          &poll.poll)
        free(work)
        if status:
            poll.reraise()
            return None
        return np.asarray(out)
