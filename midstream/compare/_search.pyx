# cython: freethreading_compatible=True
"""Binding of csrc/ms_search: windows of a series against a query, block by block."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_search.h":
    ctypedef struct ms_search:
        double *query
    ctypedef struct ms_search_chunk:
        double centre
    int ms_search_init(ms_search *s, const double *query, size_t m, const double *series,
                       size_t n, size_t radius, int normalise,
                       ms_simd_level level) noexcept nogil
    void ms_search_free(ms_search *s) noexcept nogil
    size_t ms_search_chunk_doubles(const ms_search *s, size_t count) noexcept nogil
    void ms_search_moments(const ms_search *s, size_t first, size_t count, double *work,
                           ms_search_chunk *chunk) noexcept nogil
    int ms_search_profile(const ms_search *s, ms_search_chunk *chunk, const double *dots,
                          double doubt, double *value, double *error,
                          ms_poll *poll) noexcept nogil
    int ms_search_bound(const ms_search *s, ms_search_chunk *chunk, double limit, int64_t *starts,
                        size_t *found, ms_poll *poll) noexcept nogil
    size_t ms_search_evaluate_doubles(const ms_search *s) noexcept nogil
    int ms_search_evaluate(const ms_search *s, const int64_t *starts, size_t count, double limit,
                           double *work, double *out, ms_poll *poll) noexcept nogil


cdef double *take(size_t doubles) except NULL:
    cdef double *memory = <double *>malloc(doubles * sizeof(double))
    if memory == NULL:
        raise MemoryError(f"no memory for {doubles * sizeof(double)} bytes of work space")
    return memory


cdef class Searcher:
    """A query, ready to be compared with the windows of a series; distances are squared.

    `query` and `series` are contiguous float64, finite, the query not longer than the series;
    `radius` is below its length. The methods release the GIL and may run in several threads at the
    same time; each returns None if the poll it was given stopped it.
    """

    cdef ms_search search
    cdef const double[::1] series
    cdef readonly Py_ssize_t windows
    cdef readonly Py_ssize_t length

    def __cinit__(self, const double[::1] query, const double[::1] series, Py_ssize_t radius,
                  bint normalise):
        if not 0 <= radius < query.shape[0] <= series.shape[0]:
            raise ValueError("radius, query and series do not fit")
        self.series = series
        self.length = query.shape[0]
        self.windows = series.shape[0] - query.shape[0] + 1
        if ms_search_init(&self.search, &query[0], query.shape[0], &series[0], series.shape[0],
                          radius, normalise, <ms_simd_level>simd_level_number()) < 0:
            raise MemoryError("no memory for a query of this length")

    def __dealloc__(self):
        ms_search_free(&self.search)

    @property
    def query(self):
        """The query as it is compared: normalised, if that was asked for."""
        return np.asarray(<double[:self.length]>self.search.query).copy()

    cdef int check(self, Py_ssize_t first, Py_ssize_t count) except -1:
        if first < 0 or count < 1 or first > self.windows - count:
            raise IndexError("no such windows")
        return 0

    def profile(self, Py_ssize_t first, Py_ssize_t count, Poll poll, dots=None):
        """Euclidean distances of `count` windows from `first` on, and what each may be wrong by.

        `dots`, if given, is called with the samples, centred, and returns the inner products of
        all windows with the query and a bound of their error.
        """
        self.check(first, count)
        cdef ms_search_chunk chunk
        cdef double[::1] value = np.empty(count), error = np.empty(count)
        cdef const double[::1] products
        cdef const double *given = NULL
        cdef double doubt = 0
        cdef int status
        cdef double *work = take(ms_search_chunk_doubles(&self.search, count))
        try:
            if dots is not None:
                with nogil:
                    ms_search_moments(&self.search, first, count, work, &chunk)
                samples = np.asarray(self.series)[first:first + count + self.length - 1]
                products, doubt = dots(samples - chunk.centre)
                if products.shape[0] != count:
                    raise ValueError("one product a window, please")
                given = &products[0]
            with nogil:
                if given == NULL:
                    ms_search_moments(&self.search, first, count, work, &chunk)
                status = ms_search_profile(&self.search, &chunk, given, doubt, &value[0],
                                           &error[0], &poll.poll)
        finally:
            free(work)
        if status:
            poll.reraise()
            return None
        return np.asarray(value), np.asarray(error)

    def bound(self, Py_ssize_t first, Py_ssize_t count, double limit, Poll poll):
        """Starts of those among `count` windows from `first` on that may be within `limit`."""
        self.check(first, count)
        cdef ms_search_chunk chunk
        cdef int64_t[::1] starts = np.empty(count, dtype=np.int64)
        cdef size_t found
        cdef int status
        cdef double *work = take(ms_search_chunk_doubles(&self.search, count))
        with nogil:
            ms_search_moments(&self.search, first, count, work, &chunk)
            status = ms_search_bound(&self.search, &chunk, limit, &starts[0], &found, &poll.poll)
        free(work)
        if status:
            poll.reraise()
            return None
        return np.asarray(starts)[:found]

    def evaluate(self, const int64_t[::1] starts, double limit, Poll poll):
        """Distances of the windows at `starts`; inf may stand for any above `limit`."""
        cdef Py_ssize_t count = starts.shape[0], i
        cdef double[::1] out = np.empty(count)
        cdef int status
        cdef double *work
        for i in range(count):
            self.check(starts[i], 1)
        if count == 0:
            return np.asarray(out)
        work = take(ms_search_evaluate_doubles(&self.search))
        with nogil:
            status = ms_search_evaluate(&self.search, &starts[0], count, limit, work, &out[0],
                                        &poll.poll)
        free(work)
        if status:
            poll.reraise()
            return None
        return np.asarray(out)


def apart(const int64_t[::1] starts, Py_ssize_t exclusion, Py_ssize_t most):
    """Indices into `starts`, best first, of those that are kept: farther than `exclusion` from all
    kept before, up to `most`.
    """
    cdef Py_ssize_t i, kept = 0, count = starts.shape[0]
    cdef int64_t start, place, width = exclusion + 1
    cdef int64_t[::1] chosen = np.empty(min(count, most), dtype=np.int64)
    # A cell as wide as the zone holds one kept start at most.
    cdef dict cells = {}
    for i in range(count):
        if kept == chosen.shape[0]:
            break
        start = starts[i]
        place = start // width
        if place in cells:
            continue
        before = cells.get(place - 1)
        if before is not None and start - before <= exclusion:
            continue
        after = cells.get(place + 1)
        if after is not None and after - start <= exclusion:
            continue
        cells[place] = start
        chosen[kept] = i
        kept += 1
    return np.asarray(chosen)[:kept]
