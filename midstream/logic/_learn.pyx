# cython: freethreading_compatible=True
"""Binding of csrc/ms_learn: the smallest formulas that separate two sets of traces."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_clock.h":
    int64_t ms_clock_ns() noexcept nogil

cdef extern from "ms_learn.h":
    ctypedef enum ms_learn_status:
        MS_LEARN_FOUND
        MS_LEARN_NONE
        MS_LEARN_NO_MEMORY
        MS_LEARN_MEMORY_LIMIT
        MS_LEARN_TIMEOUT
        MS_LEARN_STOPPED
    ctypedef struct ms_learn_sample:
        size_t words
        size_t atoms
        const uint64_t *valid
        const uint64_t *gap
        const uint64_t *last
        const uint64_t *first
        const uint64_t *target
        const uint64_t *atom
    ctypedef struct ms_learn:
        pass
    ms_learn *ms_learn_new(const ms_learn_sample *sample, const int32_t *op, size_t ops,
                           uint64_t errors, size_t most, uint64_t memory_bytes,
                           int64_t deadline_ns) noexcept nogil
    void ms_learn_free(ms_learn *l) noexcept nogil
    ms_learn_status ms_learn_run(ms_learn *l, size_t max_size, ms_poll *poll) noexcept nogil
    size_t ms_learn_size(const ms_learn *l) noexcept nogil
    uint64_t ms_learn_examined(const ms_learn *l) noexcept nogil
    size_t ms_learn_rows(const ms_learn *l) noexcept nogil
    size_t ms_learn_solutions(const ms_learn *l) noexcept nogil
    uint64_t ms_learn_all_solutions(const ms_learn *l) noexcept nogil
    void ms_learn_row(const ms_learn *l, size_t i, int32_t *op, int64_t *left,
                      int64_t *right) noexcept nogil

FOUND = <int>MS_LEARN_FOUND
NONE = <int>MS_LEARN_NONE
MEMORY_LIMIT = <int>MS_LEARN_MEMORY_LIMIT
TIMEOUT = <int>MS_LEARN_TIMEOUT
STOPPED = <int>MS_LEARN_STOPPED


cdef class Search:
    """One enumeration. `marks`: valid, gap, last, first and target as packed rows."""

    cdef ms_learn *learn
    cdef const uint64_t[:, ::1] marks, atoms

    def __cinit__(self, const uint64_t[:, ::1] marks, const uint64_t[:, ::1] atoms,
                  const int32_t[::1] ops, uint64_t errors, size_t most, uint64_t memory_bytes,
                  double timeout_s):
        cdef ms_learn_sample sample
        cdef int64_t deadline = 0
        if marks.shape[0] != 5 or marks.shape[1] < 1 or atoms.shape[0] < 1:
            raise ValueError("not a sample")
        if atoms.shape[1] != marks.shape[1] or ops.shape[0] < 1:
            raise ValueError("not a sample")
        # The rows must outlive the search.
        self.marks = marks
        self.atoms = atoms
        sample.words = marks.shape[1]
        sample.atoms = atoms.shape[0]
        sample.valid = &marks[0, 0]
        sample.gap = &marks[1, 0]
        sample.last = &marks[2, 0]
        sample.first = &marks[3, 0]
        sample.target = &marks[4, 0]
        sample.atom = &atoms[0, 0]
        if timeout_s >= 0:
            deadline = ms_clock_ns() + <int64_t>(min(timeout_s, 1e9) * 1e9)
        self.learn = ms_learn_new(&sample, &ops[0], ops.shape[0], errors, most, memory_bytes,
                                  deadline)
        if self.learn == NULL:
            raise MemoryError("no memory for a search")

    def __dealloc__(self):
        ms_learn_free(self.learn)

    def run(self, size_t max_size):
        """Search up to a size; once. One of FOUND, NONE, MEMORY_LIMIT, TIMEOUT, STOPPED."""
        cdef Poll poll = Poll()
        cdef ms_learn_status status
        with nogil:
            status = ms_learn_run(self.learn, max_size, &poll.poll)
        if status == MS_LEARN_NO_MEMORY:
            raise MemoryError("no memory for the rows of a search")
        if status == MS_LEARN_STOPPED:
            poll.reraise()
        return <int>status

    @property
    def size(self):
        """The size that was searched last."""
        return ms_learn_size(self.learn)

    @property
    def examined(self):
        """Formulas that were decided."""
        return ms_learn_examined(self.learn)

    @property
    def n_rows(self):
        """Formulas that were kept: those that the sample tells apart."""
        return ms_learn_rows(self.learn)

    @property
    def n_solutions(self):
        """Solutions that were found, kept or not."""
        return ms_learn_all_solutions(self.learn)

    def solutions(self):
        """Of every row that a solution needs, and of the solutions: (index, op, left, right).

        Operands before operators; solutions are the last ones, and their number is returned too.
        """
        cdef size_t rows = ms_learn_rows(self.learn), found = ms_learn_solutions(self.learn), i
        cdef int32_t op
        cdef int64_t left, right
        needed = set()
        made = []
        stack = list(range(rows, rows + found))
        while stack:
            i = stack.pop()
            if i in needed:
                continue
            needed.add(i)
            ms_learn_row(self.learn, i, &op, &left, &right)
            made.append((i, op, left, right))
            if op > 2:
                stack.append(left)
                stack.append(right)
        made.sort()
        return made, found
