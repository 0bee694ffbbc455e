# cython: freethreading_compatible=True
"""Binding of csrc/ms_pairs: how many pairs of points are within a radius."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_pairs.h":
    size_t MS_PAIRS_PAD
    size_t MS_PAIRS_RUNGS
    size_t MS_PAIRS_JOINT
    ctypedef struct ms_pairs_points:
        const double *const *component
        size_t components
        size_t n
        int euclidean
    ctypedef struct ms_pairs_ladder:
        double rung[1]
        size_t rungs
    ctypedef struct ms_pairs_kernels:
        pass
    const ms_pairs_kernels *ms_pairs_select(ms_simd_level level) noexcept nogil
    int ms_pairs_ladder_shift(const double *rung, size_t rungs) noexcept nogil
    size_t ms_pairs_ladder_cells(const double *rung, size_t rungs, int shift) noexcept nogil
    void ms_pairs_ladder_init(ms_pairs_ladder *ladder, const double *rung, size_t rungs, int shift,
                              uint16_t *first) noexcept nogil
    void ms_pairs_ladder_even(ms_pairs_ladder *ladder, double low, size_t rungs,
                              int parts_bits) noexcept nogil
    int ms_pairs_count(const ms_pairs_kernels *kernels, const ms_pairs_points *p,
                       const ms_pairs_ladder *ladder, size_t i_first, size_t i_stop, size_t every,
                       size_t j_first, size_t j_stop, const int64_t *start, const size_t *take,
                       size_t takes, uint64_t *counts, uint32_t *joint, ms_poll *poll) noexcept nogil
    int ms_pairs_templates(const ms_pairs_kernels *kernels, const double *x, size_t n, size_t m,
                           size_t delay, double limit, size_t first_lag, size_t stop_lag, int gaps,
                           uint64_t *work, uint64_t *matches, ms_poll *poll) noexcept nogil

#: Elements that the kernels may read behind the last one of an array.
PAD = MS_PAIRS_PAD
#: Radii of one pass, at most.
RUNGS = MS_PAIRS_RUNGS


cdef class Ladder:
    """Radii to count by: ascending, not negative, the last one positive; squares for sums of them."""

    cdef ms_pairs_ladder *ladder
    cdef uint16_t *first

    def __cinit__(self, const double[::1] rungs):
        cdef size_t count = rungs.shape[0]
        cdef int shift
        if not 1 <= count <= MS_PAIRS_RUNGS or not rungs[count - 1] > 0 or rungs[0] < 0:
            raise ValueError("no such radii")
        shift = ms_pairs_ladder_shift(&rungs[0], count)
        self.ladder = <ms_pairs_ladder *>malloc(sizeof(ms_pairs_ladder))
        self.first = <uint16_t *>malloc(ms_pairs_ladder_cells(&rungs[0], count, shift) *
                                        sizeof(uint16_t))
        if self.ladder == NULL or self.first == NULL:
            raise MemoryError("no memory for the radii")
        ms_pairs_ladder_init(self.ladder, &rungs[0], count, shift, self.first)

    @staticmethod
    def even(int lowest, int octaves, int parts_bits):
        """Cut each octave from 2**lowest on into 2**parts_bits parts; distances below their rungs."""
        cdef Ladder made = Ladder(np.ones(1))
        cdef size_t count = ((<size_t>octaves) << parts_bits) + 1
        if octaves < 1 or not 0 <= parts_bits <= 10 or count > MS_PAIRS_RUNGS:
            raise ValueError("no such radii")
        if lowest < -1000 or lowest + octaves > 1000:
            raise ValueError("no such octaves")
        ms_pairs_ladder_even(made.ladder, 2.0 ** lowest, count, parts_bits)
        return made

    @property
    def rungs(self):
        """The radii: float64."""
        return np.array([self.ladder.rung[k] for k in range(self.ladder.rungs)])

    def __dealloc__(self):
        free(self.ladder)
        free(self.first)


cdef class Pairs:
    """Points, stored by component, ready to have their pairs counted by distance.

    `components`: (d, n + PAD) contiguous float64, without NaN among the first n of each.
    `start`: (n,) the first partner of each point, ascending and at most n; `takes`: ascending
    numbers of components to count with. The method releases the GIL and may run in several threads.
    """

    cdef ms_pairs_points points
    cdef const double[:, ::1] components
    cdef const int64_t[::1] start
    cdef const double **component
    cdef size_t[::1] take

    def __cinit__(self, const double[:, ::1] components, const int64_t[::1] start, takes,
                  bint euclidean):
        cdef Py_ssize_t n = components.shape[1] - <Py_ssize_t>MS_PAIRS_PAD
        cdef Py_ssize_t depth = components.shape[0], k
        takes = [int(take) for take in takes]
        if n < 1 or start.shape[0] != n or not takes or takes != sorted(takes):
            raise ValueError("not points")
        if not (1 <= takes[0] and takes[len(takes) - 1] <= depth):
            raise ValueError("no such components")
        self.component = <const double **>malloc(depth * sizeof(double *))
        if self.component == NULL:
            raise MemoryError("no memory for the components")
        for k in range(depth):
            self.component[k] = &components[k, 0]
        self.components = components
        self.start = start
        self.take = np.array(takes, dtype=np.uintp)
        self.points.component = self.component
        self.points.components = depth
        self.points.n = n
        self.points.euclidean = euclidean

    def __dealloc__(self):
        free(<void *>self.component)

    def count(self, Ladder ladder, i_range, j_range, Py_ssize_t every, Poll poll):
        """Pairs (i, j) by distance: (takes, rungs + 1) uint64; None if stopped.

        Entry k counts distances above rung k - 1 and not above rung k; the last one the rest. i and
        j of the ranges, i in steps of `every`, j from ``start[i]`` on.
        """
        cdef uint64_t[:, :, ::1] counts
        cdef int status
        cdef size_t i_first, i_stop, j_first, j_stop
        cdef uint32_t *joint
        cdef const ms_pairs_kernels *kernels = ms_pairs_select(<ms_simd_level>simd_level_number())
        i_first, i_stop = i_range
        j_first, j_stop = j_range
        if i_stop > self.points.n or j_stop > self.points.n or every < 1:
            raise IndexError("no such points")
        counts = np.zeros((self.take.shape[0], ladder.ladder.rungs + 1, 4), dtype=np.uint64)
        joint = <uint32_t *>malloc(self.take.shape[0] * MS_PAIRS_JOINT * MS_PAIRS_JOINT *
                                   sizeof(uint32_t))
        if joint == NULL:
            raise MemoryError("no memory for counts")
        with nogil:
            status = ms_pairs_count(kernels, &self.points, ladder.ladder, i_first, i_stop, every,
                                    j_first, j_stop, &self.start[0], &self.take[0],
                                    self.take.shape[0], &counts[0, 0, 0], joint, &poll.poll)
        free(joint)
        if status:
            poll.reraise()
            return None
        return np.asarray(counts).sum(axis=2)


def template_matches(const double[::1] x, Py_ssize_t m, Py_ssize_t delay, double limit,
                     Py_ssize_t first_lag, Py_ssize_t stop_lag, bint gaps, Poll poll):
    """Pairs of templates of m and of m + 1 samples within `limit`; None if stopped.

    `x`: n + PAD samples, NaN where there are `gaps`; ``m * delay < n``, lags from 1.
    """
    cdef uint64_t[2] matches
    cdef int status
    cdef const ms_pairs_kernels *kernels = ms_pairs_select(<ms_simd_level>simd_level_number())
    cdef Py_ssize_t n = x.shape[0] - <Py_ssize_t>MS_PAIRS_PAD
    if m < 1 or delay < 1 or first_lag < 1 or n <= m * delay:
        raise ValueError("no such templates")
    matches[0] = matches[1] = 0
    cdef uint64_t *work = <uint64_t *>malloc(2 * (n // 64 + 2) * sizeof(uint64_t))
    if work == NULL:
        raise MemoryError("no memory for a diagonal")
    with nogil:
        status = ms_pairs_templates(kernels, &x[0], n, m, delay, limit, first_lag, stop_lag, gaps,
                                    work, matches, &poll.poll)
    free(work)
    if status:
        poll.reraise()
        return None
    return matches[0], matches[1]
