# cython: freethreading_compatible=True
"""Binding of csrc/ms_patterns: many patterns looked for at once, and what was seen of each."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

import numpy as np

from midstream._core.errors import MidstreamError

cdef extern from "ms_patterns.h":
    enum:
        MS_PATTERNS_NONE
        MS_SEEN
        MS_COUNT, MS_UNITS, MS_TRIALS, MS_HITS, MS_BORN, MS_ELSEWHERE, MS_LAST_END, MS_LAST_UNIT
        MS_SESSIONS, MS_BORN_SESSION, MS_ELSEWHERE_SESSIONS, MS_LAST_SESSION
        MS_OPEN, MS_HEAD, MS_PLACES, MS_FIRST, MS_RECENT
    ctypedef struct ms_patterns:
        uint32_t n_nodes
    int ms_patterns_build(ms_patterns *p, const uint32_t *symbols, const int64_t *offsets,
                          size_t count) noexcept nogil
    void ms_patterns_free(ms_patterns *p) noexcept nogil
    size_t ms_patterns_memory(const ms_patterns *p) noexcept nogil
    void ms_patterns_scan(const ms_patterns *p, const int64_t *lengths, const uint32_t *unit,
                          size_t n, int64_t session, int64_t number, int64_t position,
                          int64_t horizon, int64_t *state) noexcept nogil
    void ms_patterns_settle(int64_t *row, int64_t now, int64_t horizon) noexcept nogil
    size_t ms_patterns_read(const ms_patterns *p, const int64_t *lengths, const uint32_t *unit,
                            size_t n, uint32_t *slots, int64_t *starts) noexcept nogil
    void ms_patterns_tally(const ms_patterns *p, const int64_t *lengths,
                           const uint32_t *sequence, size_t n, int64_t *counts,
                           int64_t *first, int64_t *last) noexcept nogil

#: Columns of `Matcher.state`; see ms_patterns.h.
COUNT = MS_COUNT
UNITS = MS_UNITS
TRIALS = MS_TRIALS
HITS = MS_HITS
BORN = MS_BORN
ELSEWHERE = MS_ELSEWHERE
LAST_END = MS_LAST_END
LAST_UNIT = MS_LAST_UNIT
SESSIONS = MS_SESSIONS
BORN_SESSION = MS_BORN_SESSION
ELSEWHERE_SESSIONS = MS_ELSEWHERE_SESSIONS
LAST_SESSION = MS_LAST_SESSION
OPEN = MS_OPEN
HEAD = MS_HEAD
PLACES = MS_PLACES
FIRST = MS_FIRST
RECENT = MS_RECENT
#: Recent places kept of each pattern.
SEEN = MS_SEEN


cdef class Matcher:
    """Patterns in slots 0, 1, ...; `state` has a row for each, (n, row) int64."""

    cdef ms_patterns patterns
    cdef readonly int64_t horizon
    #: Width of a row.
    cdef readonly int64_t row
    cdef object state_
    cdef int64_t[:, ::1] rows
    cdef int64_t[::1] lengths
    cdef bint busy

    def __cinit__(self, horizon):
        self.horizon = horizon
        self.row = MS_RECENT + 3 * MS_SEEN + horizon + 1
        self.busy = False
        self.build(np.empty(0, np.uint32), np.zeros(1, np.int64), np.zeros((0, self.row), np.int64))

    def __dealloc__(self):
        ms_patterns_free(&self.patterns)

    @property
    @cython.critical_section
    def memory_bytes(self):
        """Bytes of the trie and of what was seen."""
        return ms_patterns_memory(&self.patterns) + self.state_.nbytes

    @property
    @cython.critical_section
    def state(self):
        """Counters of each pattern, a row each; see ms_patterns.h for its columns."""
        return self.state_

    cdef int check_idle(self) except -1:
        if self.busy:
            raise MidstreamError("another thread is using these levels: give each its own copy()")
        return 0

    @cython.critical_section
    def build(self, const uint32_t[::1] symbols, const int64_t[::1] offsets, state):
        """Look for symbols[offsets[k]:offsets[k + 1]] in slot k, whose row is state[k]."""
        cdef size_t count = offsets.shape[0] - 1
        cdef int64_t[:, ::1] rows = state
        cdef const uint32_t *first = &symbols[0] if symbols.shape[0] else NULL
        cdef ms_patterns made
        cdef int status
        self.check_idle()
        assert rows.shape[0] == <Py_ssize_t>count and rows.shape[1] == self.row
        cdef int64_t[::1] lengths = np.diff(offsets)
        self.busy = True
        with nogil:
            status = ms_patterns_build(&made, first, &offsets[0], count)
        self.busy = False
        if status < 0:
            raise MemoryError("no memory for a trie of patterns")
        ms_patterns_free(&self.patterns)
        self.patterns, self.state_, self.rows, self.lengths = made, state, rows, lengths

    @cython.critical_section
    def scan(self, const uint32_t[::1] unit, int64_t session, int64_t number, int64_t position):
        """Count what occurs in a closed unit."""
        cdef size_t n = unit.shape[0]
        self.check_idle()
        if n == 0 or self.lengths.shape[0] == 0:
            return
        self.busy = True
        with nogil:
            ms_patterns_scan(&self.patterns, &self.lengths[0], &unit[0], n, session, number,
                             position, self.horizon, &self.rows[0, 0])
        self.busy = False

    @cython.critical_section
    def settle(self, int64_t now):
        """Count every trial whose horizon ended with unit `now` or before."""
        cdef Py_ssize_t k
        self.check_idle()
        for k in range(self.rows.shape[0]):
            ms_patterns_settle(&self.rows[k, 0], now, self.horizon)

    @cython.critical_section
    def read(self, const uint32_t[::1] unit):
        """Slots (2**32 - 1 for a symbol of none) and where each begins."""
        cdef size_t n = unit.shape[0], count
        cdef uint32_t[::1] slots
        cdef int64_t[::1] starts
        cdef const int64_t *lengths = &self.lengths[0] if self.lengths.shape[0] else NULL
        self.check_idle()
        found, begins = np.empty(n, np.uint32), np.empty(n, np.int64)
        if n == 0:
            return found, begins
        slots, starts = found, begins
        self.busy = True
        with nogil:
            count = ms_patterns_read(&self.patterns, lengths, &unit[0], n, &slots[0], &starts[0])
        self.busy = False
        return found[:count], begins[:count]

    @cython.critical_section
    def tally(self, const uint32_t[::1] sequence):
        """By slot: occurrences in a sequence, where the first ends, where the last ends."""
        cdef size_t n = sequence.shape[0], count = self.lengths.shape[0]
        cdef int64_t[::1] counted, first, last
        self.check_idle()
        counts = np.zeros(count, np.int64)
        firsts, lasts = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        if n == 0 or count == 0:
            return counts, firsts, lasts
        counted, first, last = counts, firsts, lasts
        self.busy = True
        with nogil:
            ms_patterns_tally(&self.patterns, &self.lengths[0], &sequence[0], n, &counted[0],
                              &first[0], &last[0])
        self.busy = False
        return counts, firsts, lasts
