# cython: freethreading_compatible=True
"""Binding of csrc/ms_neighbours: nearest points with a Theiler window, and how pairs diverge."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_neighbours.h":
    size_t MS_NEIGHBOURS_LEAF
    size_t MS_NEIGHBOURS_MOST
    ctypedef struct ms_neighbours_node:
        pass
    ctypedef struct ms_neighbours_tree:
        const double *points
        size_t n
        size_t d
        size_t leaves
        ms_neighbours_node *nodes
        double *blocks
        int64_t *index
        int64_t *where
    ctypedef struct ms_neighbours_query:
        size_t k
        size_t theiler
        int64_t limit
        int maximum
    ctypedef struct ms_neighbours_kernels:
        size_t (*within)(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                         size_t centre, double radius, int64_t *index,
                         double *distance) noexcept nogil
    const ms_neighbours_kernels *ms_neighbours_select(ms_simd_level level) noexcept nogil
    size_t ms_neighbours_leaves(size_t n) noexcept nogil
    void ms_neighbours_build(ms_neighbours_tree *tree, int64_t *order) noexcept nogil
    int ms_neighbours_all(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                          const int64_t *centres, size_t n_centres, int64_t *index,
                          double *distance, ms_simd_level level, ms_poll *poll) noexcept nogil
    int ms_neighbours_diverge(const double *series, size_t n, size_t m, size_t delay,
                              const int64_t *first, const int64_t *second, size_t pairs,
                              size_t steps, size_t every, double *out,
                              ms_poll *poll) noexcept nogil

#: Coordinates that a point may have.
MOST_COORDINATES = MS_NEIGHBOURS_MOST


cdef class Tree:
    """Points, (n, d), ready to be asked for each other's neighbours; finite, d <= 64.

    The methods release the GIL and may run in several threads, each with its own `Poll`.
    """

    cdef ms_neighbours_tree tree
    cdef const double[:, ::1] points

    def __cinit__(self, const double[:, ::1] points):
        cdef int64_t *order
        if points.shape[0] < 1 or not 1 <= points.shape[1] <= <Py_ssize_t>MS_NEIGHBOURS_MOST:
            raise ValueError("no such points")
        if not np.isfinite(points).all():
            raise ValueError("points that are not finite")
        self.points = points
        self.tree.points = &points[0, 0]
        self.tree.n = points.shape[0]
        self.tree.d = points.shape[1]
        leaves = ms_neighbours_leaves(self.tree.n)
        self.tree.nodes = <ms_neighbours_node *>malloc(
            (2 * leaves - 1) * sizeof(ms_neighbours_node))
        self.tree.blocks = <double *>malloc(
            leaves * self.tree.d * MS_NEIGHBOURS_LEAF * sizeof(double))
        self.tree.index = <int64_t *>malloc(leaves * MS_NEIGHBOURS_LEAF * sizeof(int64_t))
        self.tree.where = <int64_t *>malloc(self.tree.n * sizeof(int64_t))
        order = <int64_t *>malloc(self.tree.n * sizeof(int64_t))
        if (self.tree.nodes == NULL or self.tree.blocks == NULL or self.tree.index == NULL
                or self.tree.where == NULL or order == NULL):
            free(order)
            raise MemoryError("no memory for the tree of the points")
        with nogil:
            ms_neighbours_build(&self.tree, order)
        free(order)

    def __dealloc__(self):
        free(self.tree.nodes)
        free(self.tree.blocks)
        free(self.tree.index)
        free(self.tree.where)

    def nearest(self, const int64_t[::1] centres, Py_ssize_t k, Py_ssize_t theiler,
                Py_ssize_t limit, bint maximum, Poll poll):
        """The `k` nearest of each of `centres`: indices and distances, each (len(centres), k).

        Only points below `limit`. Missing ones are -1, at infinity. Distances are squared
        Euclidean, or with `maximum` the largest coordinate difference. None if stopped.
        """
        cdef int64_t[:, ::1] index
        cdef double[:, ::1] distance
        cdef ms_neighbours_query query
        cdef int status
        cdef ms_simd_level level = <ms_simd_level>simd_level_number()
        if k < 1 or theiler < 0:
            raise ValueError("no such neighbours")
        indices = np.empty((centres.shape[0], k), dtype=np.int64)
        distances = np.empty((centres.shape[0], k))
        if centres.shape[0] == 0:
            return indices, distances
        self._check(centres)
        index, distance = indices, distances
        query.k, query.theiler, query.limit, query.maximum = k, theiler, limit, maximum
        with nogil:
            status = ms_neighbours_all(&self.tree, &query, &centres[0], centres.shape[0],
                                       &index[0, 0], &distance[0, 0], level, &poll.poll)
        if status:
            poll.reraise()
            return None
        return indices, distances

    def within(self, Py_ssize_t centre, double radius, Py_ssize_t theiler, Py_ssize_t limit,
               bint maximum):
        """Neighbours of `centre` not farther than `radius`: (indices, distances), by index.

        `radius` and distances as they are in `nearest`.
        """
        cdef int64_t[::1] index
        cdef double[::1] distance
        cdef ms_neighbours_query query
        cdef const ms_neighbours_kernels *kernels = ms_neighbours_select(
            <ms_simd_level>simd_level_number())
        cdef size_t found
        if not 0 <= centre < <Py_ssize_t>self.tree.n or theiler < 0:
            raise ValueError("no such neighbours")
        size = 64
        while True:
            indices = np.empty(size, dtype=np.int64)
            distances = np.empty(size)
            index, distance = indices, distances
            query.k, query.theiler, query.limit, query.maximum = size, theiler, limit, maximum
            with nogil:
                found = kernels.within(&self.tree, &query, centre, radius, &index[0],
                                       &distance[0])
            if found <= <size_t>size:
                break
            size = found
        order = np.argsort(indices[:found])
        return indices[:found][order], distances[:found][order]

    cdef int _check(self, const int64_t[::1] centres) except -1:
        array = np.asarray(centres)
        if array.min() < 0 or array.max() >= <Py_ssize_t>self.tree.n:
            raise IndexError("no such points")
        return 0


def diverge(const double[::1] series, Py_ssize_t emb_dim, Py_ssize_t delay,
            const int64_t[::1] first, const int64_t[::1] second, Py_ssize_t steps, Py_ssize_t every,
            Poll poll):
    """Squared distances of delay vectors `first` and `second`, `every` samples apart and again.

    (pairs, steps). NaN beyond the end of the series, where it is NaN, and where ``second[p]`` is
    negative. None if stopped.
    """
    cdef double[:, ::1] out
    cdef int status
    cdef Py_ssize_t pairs = first.shape[0]
    vectors = series.shape[0] - (emb_dim - 1) * delay
    if emb_dim < 1 or delay < 1 or steps < 1 or every < 1 or second.shape[0] != pairs or vectors < 1:
        raise ValueError("no such pairs")
    result = np.empty((pairs, steps))
    if pairs == 0:
        return result
    a, b = np.asarray(first), np.asarray(second)
    if a.min() < 0 or a.max() >= vectors or b.max() >= vectors:
        raise IndexError("no such points")
    out = result
    with nogil:
        status = ms_neighbours_diverge(&series[0], series.shape[0], emb_dim, delay, &first[0],
                                       &second[0], pairs, steps, every, &out[0, 0], &poll.poll)
    if status:
        poll.reraise()
        return None
    return result
