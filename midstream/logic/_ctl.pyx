# cython: freethreading_compatible=True
"""Binding of csrc/ms_ctl: graphs and the existential operators of CTL."""

from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_ctl.h":
    int MS_CTL_STOPPED
    ctypedef struct ms_ctl_graph:
        size_t n
        const int64_t *succ_start
        const int32_t *succ
        const int64_t *pred_start
        const int32_t *pred
    void ms_ctl_rows(size_t n, size_t m, const int32_t *key, const int32_t *value, int64_t *start,
                     int32_t *row) noexcept nogil
    int ms_ctl_next(const ms_ctl_graph *graph, const uint8_t *inside, uint8_t *out,
                    ms_poll *poll) noexcept nogil
    int ms_ctl_until(const ms_ctl_graph *graph, const uint8_t *hold, const uint8_t *goal,
                     int32_t *rank, int32_t *queue, ms_poll *poll) noexcept nogil
    int ms_ctl_globally(const ms_ctl_graph *graph, const uint8_t *hold, uint8_t *out,
                        int64_t *left, int32_t *queue, ms_poll *poll) noexcept nogil
    int ms_ctl_components(const ms_ctl_graph *graph, const uint8_t *hold, const uint8_t *fair_sets,
                          size_t fair, int32_t *component, int32_t *work, int64_t *edge,
                          ms_poll *poll) noexcept nogil


cdef class Graph:
    """A graph of `n` states, at least one, with edges (`source[e]`, `target[e]`).

    Sets of states go in and out as (n,) uint8. All methods release the GIL, are interrupted by
    Ctrl-C, take time linear in the graph, and may run in several threads at a time.
    """

    cdef ms_ctl_graph graph
    cdef readonly object succ_start, succ
    cdef int64_t[::1] succ_start_view, pred_start_view
    cdef int32_t[::1] succ_view, pred_view

    def __cinit__(self, Py_ssize_t n, const int32_t[::1] source, const int32_t[::1] target):
        cdef Py_ssize_t m = source.shape[0], e
        cdef int bad = 0
        if n < 1 or n > 0x7ffffffe or target.shape[0] != m:
            raise ValueError("not a graph")
        for e in range(m):
            bad |= source[e] < 0 or source[e] >= n or target[e] < 0 or target[e] >= n
        if bad:
            raise IndexError("no such state")
        self.succ_start = np.empty(n + 1, dtype=np.int64)
        self.succ_start_view = self.succ_start
        self.pred_start_view = np.empty(n + 1, dtype=np.int64)
        # One more, so that a graph without edges has an address too.
        self.succ = np.empty(m + 1, dtype=np.int32)
        self.succ_view = self.succ
        self.pred_view = np.empty(m + 1, dtype=np.int32)
        if m == 0:
            self.succ_start_view[:] = 0
            self.pred_start_view[:] = 0
        else:
            with nogil:
                ms_ctl_rows(n, m, &source[0], &target[0], &self.succ_start_view[0],
                            &self.succ_view[0])
                ms_ctl_rows(n, m, &target[0], &source[0], &self.pred_start_view[0],
                            &self.pred_view[0])
        self.graph.n = n
        self.graph.succ_start = &self.succ_start_view[0]
        self.graph.succ = &self.succ_view[0]
        self.graph.pred_start = &self.pred_start_view[0]
        self.graph.pred = &self.pred_view[0]

    cdef int check(self, const uint8_t[::1] states) except -1:
        if <size_t>states.shape[0] != self.graph.n:
            raise ValueError("not a set of these states")
        return 0

    def exists_next(self, const uint8_t[::1] states):
        """States with a successor in `states`."""
        cdef Poll poll = Poll()
        cdef int status
        self.check(states)
        out = np.empty(self.graph.n, dtype=np.uint8)
        cdef uint8_t[::1] view = out
        with nogil:
            status = ms_ctl_next(&self.graph, &states[0], &view[0], &poll.poll)
        if status == MS_CTL_STOPPED:
            poll.reraise()
        return out

    def ranks(self, const uint8_t[::1] hold, const uint8_t[::1] goal):
        """Steps to `goal` on a shortest path through `hold`: (n,) int32, -1 where there is none."""
        cdef Poll poll = Poll()
        cdef int status
        self.check(hold)
        self.check(goal)
        out = np.empty(self.graph.n, dtype=np.int32)
        cdef int32_t[::1] rank = out, queue = np.empty(self.graph.n, dtype=np.int32)
        with nogil:
            status = ms_ctl_until(&self.graph, &hold[0], &goal[0], &rank[0], &queue[0], &poll.poll)
        if status == MS_CTL_STOPPED:
            poll.reraise()
        return out

    def exists_globally(self, const uint8_t[::1] hold):
        """States from which an infinite path stays in `hold`."""
        cdef Poll poll = Poll()
        cdef int status
        self.check(hold)
        out = np.empty(self.graph.n, dtype=np.uint8)
        cdef uint8_t[::1] view = out
        cdef int32_t[::1] queue = np.empty(self.graph.n, dtype=np.int32)
        cdef int64_t[::1] left = np.empty(self.graph.n, dtype=np.int64)
        with nogil:
            status = ms_ctl_globally(&self.graph, &hold[0], &view[0], &left[0], &queue[0],
                                     &poll.poll)
        if status == MS_CTL_STOPPED:
            poll.reraise()
        return out

    def fair_components(self, const uint8_t[::1] hold, const uint8_t[:, ::1] fair):
        """Components inside `hold` that have a cycle and meet each row of `fair`.

        (n,) int32: the number of a state's component, -1 where it is in none.
        """
        cdef Poll poll = Poll()
        cdef int status
        cdef size_t sets = fair.shape[0]
        self.check(hold)
        if <size_t>fair.shape[1] != self.graph.n or sets < 1:
            raise ValueError("not sets of these states")
        out = np.empty(self.graph.n, dtype=np.int32)
        cdef int32_t[::1] component = out, work = np.empty(4 * self.graph.n, dtype=np.int32)
        cdef int64_t[::1] edge = np.empty(self.graph.n, dtype=np.int64)
        with nogil:
            status = ms_ctl_components(&self.graph, &hold[0], &fair[0, 0], sets, &component[0],
                                       &work[0], &edge[0], &poll.poll)
        if status == MS_CTL_STOPPED:
            poll.reraise()
        return out
