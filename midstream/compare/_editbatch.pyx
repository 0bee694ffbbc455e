# cython: freethreading_compatible=True
"""All pairs of two lists of sequences by edit distance or longest common subsequence.

Sequences are numbered together once. Short ones are compared several at a time, one to a vector
lane, against one other (csrc/ms_edit_many.c); longer ones pair by pair.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll
from midstream.compare._edit cimport (GENERAL, INDEL, MS_EDIT_LANE_WORDS, MS_EDIT_STOPPED, Measure,
                                      as_limit, as_measure, measured, ms_edit_kernels, ms_edit_many,
                                      ms_edit_select, ms_simd_level)
from midstream.compare._symbols cimport (OBJECTS, Kind, Symbols, clash, convert, number_objects)

from midstream._core.errors import ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.validate import check_choice

cdef extern from "ms_symbols.h":
    uint32_t ms_symbols_rank(const int64_t *values, size_t n, uint32_t *ranks) noexcept nogil

#: Columns times words of one block, about a millisecond.
cdef double BLOCK_WORK = 1 << 19
#: The same for pairs of long sequences, in cells, and for weights that take a cell at a time.
cdef double BLOCK_CELLS = 1 << 26
cdef double BLOCK_WEIGHTED = 1 << 22


cdef class EditBatch:
    """The work of one matrix of distances, cut into blocks that any thread may compute.

    Parameters
    ----------
    X, Y : list of sequences
        As `levenshtein` takes them. `Y` None: all pairs of `X`.
    out : (len(X), len(Y)) C-contiguous float64 array, or (n (n - 1) / 2,) where `Y` is None
        Takes the results; scipy's order of pairs.
    cutoff : real, optional
        Distances above it become inf. Not for ``metric="lcs"``, which is no distance.
    metric : {"levenshtein", "lcs"}
        ``"lcs"`` gives the length of a longest common subsequence.
    weights : (int, int, int), default (1, 1, 1)
        As in `levenshtein`; of no meaning for ``"lcs"``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `levenshtein` raises them, naming ``X[i]`` or ``Y[j]``.
    """

    cdef readonly Py_ssize_t blocks
    cdef const ms_edit_kernels *kernels
    cdef Measure measure
    cdef bint lcs, condensed, swapped, limited
    cdef int64_t limit
    cdef double[:] flat
    cdef uint32_t *symbols
    cdef const uint32_t **starts  # of each sequence in `symbols`: those in lanes, then the others
    cdef size_t *lengths
    cdef uint32_t alphabet
    cdef Py_ssize_t rows, columns  # rows go into lanes
    cdef Py_ssize_t *row_order     # by length
    cdef Py_ssize_t *column_order
    cdef list work                 # (first row, rows, first column, columns, in lanes)

    def __cinit__(self, X, Y, out, *, cutoff=None, metric="levenshtein", weights=(1, 1, 1)):
        cdef Py_ssize_t x_count = len(X), y_count
        check_choice("metric", metric, ("levenshtein", "lcs"))
        self.lcs = metric == "lcs"
        self.condensed = Y is None
        if self.lcs:
            if cutoff is not None:
                raise ArgumentValueError(
                    f"cutoff must be None for metric='lcs', which is no distance, got {cutoff!r}"
                )
            weights = (1, 1, 2)
        self.measure = as_measure(weights)
        self.limited = cutoff is not None
        self.limit = as_limit(cutoff)
        self.kernels = ms_edit_select(<ms_simd_level>simd_level_number())
        y_count = x_count if self.condensed else len(Y)
        cdef tuple shape = (x_count, y_count)
        if self.condensed:
            shape = (x_count * (x_count - 1) // 2,)
        if out.shape != shape:
            raise ArgumentValueError(f"out must have shape {shape}, got {out.shape}")
        self.flat = out.reshape(-1)
        # Lanes want many sequences.
        self.swapped = not self.condensed and x_count < y_count and x_count < 64
        if self.swapped:
            self.number([("Y", Y), ("X", X)])
            self.rows, self.columns = y_count, x_count
        else:
            self.number([("X", X)] if self.condensed else [("X", X), ("Y", Y)])
            self.rows, self.columns = x_count, y_count
        self.plan()

    def __dealloc__(self):
        free(self.symbols)
        free(self.starts)
        free(self.lengths)
        free(self.row_order)
        free(self.column_order)

    cdef int number(self, list sides) except -1:
        """Number the symbols of all sequences together."""
        cdef Py_ssize_t count = sum([len(sequences) for _, sequences in sides]), i = 0, total = 0
        cdef Symbols *all_symbols = <Symbols *>malloc(sizeof(Symbols) * <size_t>(count + 1))
        cdef Kind kind, first_kind = OBJECTS
        cdef bint objects = False
        cdef int64_t *values = NULL
        cdef int64_t unequal = -1
        cdef dict numbers = {}
        if all_symbols == NULL:
            raise MemoryError(f"no memory for {count} sequences")
        for i in range(count):
            all_symbols[i].values = NULL
        try:
            i = 0
            for name, sequences in sides:
                for j, sequence in enumerate(sequences):
                    kind = convert(f"{name}[{j}]", sequence, &all_symbols[i])
                    if i == 0:
                        first_kind = kind
                    # Wrapped numbers could meet negative ones in any of the others.
                    objects |= (kind == OBJECTS or all_symbols[i].wrapped
                                or clash(first_kind, &all_symbols[0], kind, &all_symbols[i]))
                    i += 1
            if objects:
                i = 0
                for name, sequences in sides:
                    for j, sequence in enumerate(sequences):
                        free(all_symbols[i].values)
                        all_symbols[i].values = NULL
                        number_objects(f"{name}[{j}]", sequence, &all_symbols[i], numbers,
                                       &unequal)
                        i += 1
            for i in range(count):
                total += all_symbols[i].n
            if total >= 1 << 31:
                raise ArgumentValueError(f"all sequences must hold less than 2**31 symbols, got {total}")
            check_memory(f"comparison of {count} sequences", 44 * total)
            values = <int64_t *>malloc(sizeof(int64_t) * <size_t>(total + 1))
            self.symbols = <uint32_t *>malloc(sizeof(uint32_t) * <size_t>(total + 1))
            self.starts = <const uint32_t **>malloc(sizeof(uint32_t *) * <size_t>(count + 1))
            self.lengths = <size_t *>malloc(sizeof(size_t) * <size_t>(count + 1))
            if (values == NULL or self.symbols == NULL or self.starts == NULL
                    or self.lengths == NULL):
                raise MemoryError(f"no memory for {total} symbols")
            total = 0
            for i in range(count):
                memcpy(values + total, all_symbols[i].values,
                       sizeof(int64_t) * <size_t>all_symbols[i].n)
                self.starts[i] = self.symbols + total
                self.lengths[i] = <size_t>all_symbols[i].n
                total += all_symbols[i].n
            self.alphabet = ms_symbols_rank(values, <size_t>total, self.symbols)
            if self.alphabet == 0:
                raise MemoryError(f"no memory for the symbols of {total}")
        finally:
            free(values)
            for i in range(count):
                free(all_symbols[i].values)
            free(all_symbols)
        return 0

    cdef int plan(self) except -1:
        """Cut the matrix into blocks."""
        cdef Py_ssize_t first, count, column, taken, j
        cdef Py_ssize_t in_lanes = 0, base = 0 if self.condensed else self.rows
        cdef double words, spent, largest
        cdef bint lanes
        cdef list order = sorted(range(self.rows), key=self.length_of)
        cdef list column_order = order if self.condensed else list(range(self.columns))
        self.row_order = <Py_ssize_t *>malloc(sizeof(Py_ssize_t) * <size_t>(self.rows + 1))
        self.column_order = <Py_ssize_t *>malloc(sizeof(Py_ssize_t) * <size_t>(self.columns + 1))
        if self.row_order == NULL or self.column_order == NULL:
            raise MemoryError(f"no memory for {self.rows} sequences")
        for first in range(self.rows):
            self.row_order[first] = order[first]
            if self.lengths[self.row_order[first]] <= <size_t>(64 * MS_EDIT_LANE_WORDS):
                in_lanes += 1
        for column in range(self.columns):
            self.column_order[column] = column_order[column]
        if self.measure.kind == GENERAL:
            in_lanes = 0
        self.work = []
        first = 0
        while first < self.rows:
            lanes = first < in_lanes
            count = min(<Py_ssize_t>self.kernels.lanes, in_lanes - first) if lanes else 1
            words = 1 + self.lengths[self.row_order[first + count - 1]] // 64
            if lanes:
                largest = BLOCK_WORK
            else:
                words *= 64
                largest = BLOCK_WEIGHTED if self.measure.kind == GENERAL else BLOCK_CELLS
            # Condensed: only what stands behind the first of these rows.
            column = first + 1 if self.condensed else 0
            while column < self.columns:
                spent = 0
                taken = 0
                while column + taken < self.columns and (taken == 0 or spent < largest):
                    spent += words * (8 + self.lengths[base + self.column_order[column + taken]])
                    taken += 1
                self.work.append((first, count, column, taken, lanes))
                column += taken
            first += count
        self.blocks = len(self.work)
        return 0

    def length_of(self, Py_ssize_t row):
        """Length of one of the sequences that go into lanes."""
        return self.lengths[row]

    def run(self, Py_ssize_t block, Poll poll):
        """Compute one block; several threads may compute several.

        Parameters
        ----------
        block : int
            From 0 up to, and without, `blocks`.
        poll : Poll
            Asked whether to go on.
        """
        cdef Py_ssize_t first, count, column, taken
        cdef bint lanes
        cdef int64_t *results
        cdef int status
        first, count, column, taken, lanes = self.work[block]
        results = <int64_t *>malloc(sizeof(int64_t) * <size_t>(count * taken))
        if results == NULL:
            raise MemoryError(f"no memory for {count * taken} results")
        try:
            with nogil:
                if lanes:
                    status = self.run_lanes(first, count, column, taken, results, poll)
                else:
                    status = self.run_pairs(first, column, taken, results, poll)
                if status == 0:
                    self.keep(first, count, column, taken, results)
            if status == MS_EDIT_STOPPED:
                poll.reraise()
            elif status < 0:
                raise MemoryError("no memory for a block of comparisons")
        finally:
            free(results)

    cdef int run_lanes(self, Py_ssize_t first, Py_ssize_t count, Py_ssize_t column,
                       Py_ssize_t taken, int64_t *results, Poll poll) noexcept nogil:
        cdef const uint32_t **pointers = <const uint32_t **>malloc(
            sizeof(uint32_t *) * <size_t>(count + taken))
        cdef size_t *lengths = <size_t *>malloc(sizeof(size_t) * <size_t>(count + taken))
        cdef Py_ssize_t base = 0 if self.condensed else self.rows, i, at
        cdef int status = -1
        if pointers != NULL and lengths != NULL:
            for i in range(count):
                at = self.row_order[first + i]
                pointers[i] = self.starts[at]
                lengths[i] = self.lengths[at]
            for i in range(taken):
                at = base + self.column_order[column + i]
                pointers[count + i] = self.starts[at]
                lengths[count + i] = self.lengths[at]
            status = ms_edit_many(self.kernels, self.measure.kind == INDEL, pointers, lengths,
                                  <size_t>count, pointers + count, lengths + count, <size_t>taken,
                                  self.alphabet, results, &poll.poll)
        free(pointers)
        free(lengths)
        return status

    cdef int run_pairs(self, Py_ssize_t first, Py_ssize_t column, Py_ssize_t taken,
                       int64_t *results, Poll poll) noexcept nogil:
        cdef Py_ssize_t base = 0 if self.condensed else self.rows, i
        cdef Py_ssize_t row = self.row_order[first], other
        cdef bint row_is_second
        for i in range(taken):
            other = base + self.column_order[column + i]
            # Which of the two is turned into which: weights may tell insertion from deletion.
            row_is_second = self.swapped or (self.condensed and other < row)
            if row_is_second:
                results[i] = measured(&self.measure, self.starts[other], self.lengths[other],
                                      self.starts[row], self.lengths[row], self.alphabet,
                                      self.limit, &poll.poll)
            else:
                results[i] = measured(&self.measure, self.starts[row], self.lengths[row],
                                      self.starts[other], self.lengths[other], self.alphabet,
                                      self.limit, &poll.poll)
            if results[i] < 0:
                return <int>results[i]
            if self.measure.kind == INDEL and self.lcs:  # weights (1, 1, 2)
                results[i] = (<int64_t>(self.lengths[row] + self.lengths[other])
                              - results[i]) // 2
        return 0

    cdef void keep(self, Py_ssize_t first, Py_ssize_t count, Py_ssize_t column, Py_ssize_t taken,
                   const int64_t *results) noexcept nogil:
        """Put the results of a block where they belong."""
        cdef Py_ssize_t base = 0 if self.condensed else self.rows, i, j, row, other, low, high, at
        cdef bint lanes = self.measure.kind != GENERAL and (
            self.lengths[self.row_order[first]] <= <size_t>(64 * MS_EDIT_LANE_WORDS))
        cdef int64_t value, n, m
        for j in range(taken):
            for i in range(count):
                if self.condensed and column + j <= first + i:
                    continue
                row = self.row_order[first + i]
                other = self.column_order[column + j]
                value = results[j * count + i]
                n = <int64_t>self.lengths[row]
                m = <int64_t>self.lengths[base + other]
                low, high = row, other
                if self.swapped or (self.condensed and other < row):
                    low, high = other, row
                    n, m = m, n
                if lanes and not self.lcs:
                    if self.measure.kind == INDEL:
                        value = (self.measure.weights[0] * (m - value)
                                 + self.measure.weights[1] * (n - value))
                    else:
                        value *= self.measure.weights[0]
                if self.condensed:
                    at = low * (2 * self.rows - low - 1) // 2 + high - low - 1
                elif self.swapped:
                    at = low * self.rows + high
                else:
                    at = low * self.columns + high
                self.flat[at] = INFINITY if self.limited and value > self.limit else <double>value
