# cython: freethreading_compatible=True
"""Binding of csrc/ms_recurrence: lines in recurrence plots."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_pairs.h":
    size_t MS_PAIRS_PAD
    ctypedef struct ms_pairs_points:
        const double *const *component
        size_t components
        size_t n
        int euclidean
    ctypedef struct ms_pairs_kernels:
        pass
    const ms_pairs_kernels *ms_pairs_select(ms_simd_level level) noexcept nogil

cdef extern from "ms_recurrence.h":
    ctypedef struct ms_recurrence:
        ms_pairs_points points
        size_t depth
        size_t step
        size_t n
        size_t theiler
        double limit
    size_t MS_RECURRENCE_LAGS
    size_t ms_recurrence_together(const ms_recurrence *in_) noexcept nogil
    size_t ms_recurrence_words(const ms_recurrence *in_) noexcept nogil
    int ms_recurrence_diagonals(const ms_pairs_kernels *kernels, const ms_recurrence *in_,
                                size_t first, size_t stop, uint64_t *lengths, uint64_t *points,
                                uint64_t *work, ms_poll *poll) noexcept nogil
    int ms_recurrence_rows(const ms_pairs_kernels *kernels, const ms_recurrence *in_, size_t first,
                           size_t stop, uint64_t *lengths, uint64_t *times, uint64_t *work,
                           ms_poll *poll) noexcept nogil
    void ms_recurrence_row(const ms_pairs_kernels *kernels, const ms_recurrence *in_, size_t row,
                           uint64_t *out, uint64_t *work) noexcept nogil


cdef class Lines:
    """A recurrence plot that is never stored: its diagonals and rows, cut into runs.

    `components`: (d, n + 64) contiguous float64; NaN recurs nowhere. Vectors are made of `depth`
    points, `step` apart, with the maximum norm; of one with the Euclidean norm, where `limit` is a
    square. The methods release the GIL and may run in several threads.
    """

    cdef ms_recurrence plot
    cdef const double[:, ::1] components
    cdef const double **component
    #: Vectors.
    cdef readonly Py_ssize_t n

    def __cinit__(self, const double[:, ::1] components, Py_ssize_t depth, Py_ssize_t step,
                  Py_ssize_t theiler, double limit, bint euclidean):
        cdef Py_ssize_t points = components.shape[1] - <Py_ssize_t>MS_PAIRS_PAD
        cdef Py_ssize_t count = components.shape[0], k
        self.n = points - (depth - 1) * step
        if depth < 1 or step < 1 or self.n < 1 or not 0 <= theiler < self.n or count < 1:
            raise ValueError("no such vectors")
        if euclidean and depth != 1:
            raise ValueError("sums of squares need whole vectors")
        self.component = <const double **>malloc(count * sizeof(double *))
        if self.component == NULL:
            raise MemoryError("no memory for the components")
        for k in range(count):
            self.component[k] = &components[k, 0]
        self.components = components
        self.plot.points.component = self.component
        self.plot.points.components = count
        self.plot.points.n = points
        self.plot.points.euclidean = euclidean
        self.plot.depth = depth
        self.plot.step = step
        self.plot.n = self.n
        self.plot.theiler = theiler
        self.plot.limit = limit

    def __dealloc__(self):
        free(<void *>self.component)

    @property
    def together(self):
        """Diagonals, and rows, that are visited together: a block of work should have as many."""
        return MS_RECURRENCE_LAGS, ms_recurrence_together(&self.plot)

    cdef uint64_t *room(self) except NULL:
        cdef uint64_t *work = <uint64_t *>malloc(ms_recurrence_words(&self.plot) *
                                                 sizeof(uint64_t))
        if work == NULL:
            raise MemoryError("no memory for rows of bits")
        return work

    def diagonals(self, Py_ssize_t first, Py_ssize_t stop, uint64_t[::1] lengths,
                  uint64_t[::1] points, Poll poll):
        """Add the runs on diagonals `first` .. `stop` - 1; `stop`, or None if stopped.

        `lengths` (n + 1,): by length, above the main diagonal alone. `points` (n,): recurrences.
        """
        cdef int status
        cdef const ms_pairs_kernels *kernels = ms_pairs_select(<ms_simd_level>simd_level_number())
        if not <Py_ssize_t>self.plot.theiler < first <= stop <= self.n:
            raise IndexError("no such diagonals")
        if lengths.shape[0] != self.n + 1 or points.shape[0] != self.n:
            raise ValueError("not of this plot")
        cdef uint64_t *work = self.room()
        with nogil:
            status = ms_recurrence_diagonals(kernels, &self.plot, first, stop, &lengths[0],
                                             &points[0], work, &poll.poll)
        free(work)
        if status:
            poll.reraise()
            return None
        return stop

    def rows(self, Py_ssize_t first, Py_ssize_t stop, uint64_t[::1] lengths, uint64_t[::1] times,
             Poll poll):
        """Add the runs in rows `first` .. `stop` - 1 of the whole plot; `stop`, or None if stopped.

        Both (n + 1,): `lengths` of runs, and `times` between the middles of neighbouring ones.
        """
        cdef int status
        cdef const ms_pairs_kernels *kernels = ms_pairs_select(<ms_simd_level>simd_level_number())
        if not 0 <= first <= stop <= self.n:
            raise IndexError("no such rows")
        if lengths.shape[0] != self.n + 1 or times.shape[0] != self.n + 1:
            raise ValueError("not of this plot")
        cdef uint64_t *work = self.room()
        with nogil:
            status = ms_recurrence_rows(kernels, &self.plot, first, stop, &lengths[0], &times[0],
                                        work, &poll.poll)
        free(work)
        if status:
            poll.reraise()
            return None
        return stop

    def bits(self, Py_ssize_t first, Py_ssize_t stop):
        """Rows `first` .. `stop` - 1, the Theiler window included: bool, (stop - first, n)."""
        cdef uint64_t[:, ::1] out
        cdef const ms_pairs_kernels *kernels = ms_pairs_select(<ms_simd_level>simd_level_number())
        if not 0 <= first <= stop <= self.n:
            raise IndexError("no such rows")
        cdef Py_ssize_t words = (self.n + 63) // 64, row
        out = np.empty((stop - first, words), dtype="<u8")
        cdef uint64_t *work = self.room()
        with nogil:
            for row in range(first, stop):
                ms_recurrence_row(kernels, &self.plot, row, &out[row - first, 0], work)
        free(work)
        return np.unpackbits(np.asarray(out).view(np.uint8), axis=1, bitorder="little",
                             count=self.n).view(np.bool_)
