# cython: freethreading_compatible=True
"""Binding of csrc/ms_columns: formulas over whole traces, 64 positions a word."""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll
from midstream._core._threads cimport dict_get

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_columns.h":
    int MS_COLUMNS_OK
    int MS_COLUMNS_NO_MEMORY
    int MS_COLUMNS_STOPPED
    enum ms_columns_kind:
        MS_COLUMNS_PACKED
        MS_COLUMNS_BYTES
        MS_COLUMNS_MASKS
    ctypedef struct ms_columns_kernels:
        pass
    ctypedef struct ms_columns_plan:
        pass
    ctypedef struct ms_columns_source:
        const void *data
        size_t stride
        int kind
        int bit
    const ms_columns_kernels *ms_columns_select(ms_simd_level level) noexcept nogil
    int ms_columns_build(const int32_t *op, const int32_t *left, const int32_t *right,
                         const double *low, const double *high, size_t nodes,
                         const int32_t *root, size_t roots, size_t atoms,
                         ms_columns_plan **built) noexcept nogil
    void ms_columns_free(ms_columns_plan *plan) noexcept nogil
    size_t ms_columns_passes(const ms_columns_plan *plan) noexcept nogil
    size_t ms_columns_steps(const ms_columns_plan *plan) noexcept nogil
    size_t ms_columns_registers(const ms_columns_plan *plan) noexcept nogil
    double ms_columns_bytes(const ms_columns_plan *plan, size_t n) noexcept nogil
    int ms_columns_run(const ms_columns_plan *plan, const ms_columns_kernels *kernels,
                       const ms_columns_source *source, size_t n, uint64_t *const *words,
                       uint8_t *const *bytes, ms_poll *poll) noexcept nogil
    void ms_columns_pack(const ms_columns_kernels *kernels, const ms_columns_source *source,
                         size_t n, uint64_t *words) noexcept nogil
    void ms_columns_unpack(const ms_columns_kernels *kernels, const uint64_t *words, size_t n,
                           uint8_t *bytes) noexcept nogil

#: Work below which a run neither releases the GIL nor asks for signals: some 50 us.
cdef size_t SHORT = 200_000


cdef const ms_columns_kernels *kernels() noexcept:
    return ms_columns_select(<ms_simd_level>simd_level_number())


cdef class Program:
    """One or more formulas, lowered and scheduled; immutable, so that threads may share it.

    Arguments are those of `midstream.logic._flat.Flat`; `n_atoms` is the length of its alphabet.
    Runs return bool (formulas, n), or packed uint64 (formulas, words); None if they were stopped.
    """

    cdef ms_columns_plan *plan
    cdef size_t roots, atoms

    def __cinit__(self, const int32_t[::1] ops, const int32_t[::1] left, const int32_t[::1] right,
                  const double[::1] low, const double[::1] high, const int32_t[::1] roots,
                  Py_ssize_t n_atoms):
        cdef int status
        cdef size_t nodes = ops.shape[0]
        if nodes == 0 or roots.shape[0] == 0:
            raise ValueError("no formula")
        if not (left.shape[0] == right.shape[0] == low.shape[0] == high.shape[0] == <Py_ssize_t>nodes):
            raise ValueError("not as many operands as operators")
        self.roots = roots.shape[0]
        self.atoms = n_atoms
        with nogil:
            status = ms_columns_build(&ops[0], &left[0], &right[0], &low[0], &high[0], nodes,
                                      &roots[0], self.roots, self.atoms, &self.plan)
        if status == MS_COLUMNS_NO_MEMORY:
            raise MemoryError("no memory for the program of a formula")
        if status != MS_COLUMNS_OK:
            raise ValueError("not a formula")

    def __dealloc__(self):
        ms_columns_free(self.plan)

    @property
    def n_passes(self):
        """Scans over the trace."""
        return ms_columns_passes(self.plan)

    @property
    def n_steps(self):
        """Word operations and loads, all passes together."""
        return ms_columns_steps(self.plan)

    @property
    def n_registers(self):
        """Blocks of columns that are alive at once."""
        return ms_columns_registers(self.plan)

    def bytes_needed(self, Py_ssize_t n):
        """Memory that a run over `n` positions takes beside trace and result."""
        return ms_columns_bytes(self.plan, n)

    def run_packed(self, const uint64_t[:, ::1] rows, const int32_t[::1] index, Py_ssize_t n,
                   bint packed):
        """`rows`: (k, words) packed columns; `index`: the row of each atom, -1 where it is false."""
        cdef ms_columns_source *source
        cdef uint64_t *zeros
        cdef size_t i
        cdef Py_ssize_t words = (n + 63) // 64
        if <size_t>index.shape[0] != self.atoms or n < 1 or (
            rows.shape[0] > 0 and rows.shape[1] != words
        ):
            raise ValueError("not the columns of the atoms")
        for i in range(self.atoms):
            if not -1 <= index[i] < rows.shape[0]:
                raise IndexError("no such row")
        zeros = <uint64_t *>calloc(words, sizeof(uint64_t))
        if zeros == NULL:
            raise MemoryError("no memory for columns")
        try:
            source = self.sources()
            for i in range(self.atoms):
                if index[i] < 0:
                    source[i].data = zeros
                else:
                    source[i].data = &rows[index[i], 0]
                source[i].kind = MS_COLUMNS_PACKED
            return self.finish(source, n, packed)
        finally:
            free(zeros)

    def run_rows(self, list rows, Py_ssize_t n, bint packed):
        """`rows`: a contiguous (n,) uint8 array of 0 and 1 for each atom."""
        cdef ms_columns_source *source
        cdef const uint8_t[::1] row
        cdef size_t i
        if <size_t>len(rows) != self.atoms or n < 1:
            raise ValueError("not the columns of the atoms")
        source = self.sources()
        try:
            for i in range(self.atoms):
                row = rows[i]
                if row.shape[0] != n:
                    raise ValueError("columns of different lengths")
                source[i].data = &row[0]
                source[i].kind = MS_COLUMNS_BYTES
        except BaseException:
            free(source)
            raise
        return self.finish(source, n, packed)

    def run_masks(self, const uint64_t[:, ::1] masks, bint packed):
        """`masks`: (n, words) letters; bit i of a row is atom i."""
        cdef ms_columns_source *source
        cdef size_t i
        if masks.shape[0] < 1 or <size_t>(64 * masks.shape[1]) < self.atoms:
            raise ValueError("not letters of the atoms")
        source = self.sources()
        for i in range(self.atoms):
            source[i].data = &masks[0, i // 64]
            source[i].stride = masks.shape[1]
            source[i].bit = i % 64
            source[i].kind = MS_COLUMNS_MASKS
        return self.finish(source, masks.shape[0], packed)

    def run_letters(self, trace, dict positions):
        """`trace`: a list or tuple of sets of names; `positions`: name -> index of the atom.

        Bool result, or None where a letter is no set of str: the caller converts it the long way.
        """
        cdef Py_ssize_t n = len(trace), i, words = (n + 63) // 64
        cdef size_t k
        cdef uint64_t *bits
        cdef ms_columns_source *source
        cdef uint64_t bit
        bits = <uint64_t *>calloc(words * self.atoms + 1, sizeof(uint64_t))
        if bits == NULL:
            raise MemoryError("no memory for columns")
        try:
            for i in range(n):
                letter = trace[i]
                if type(letter) is not set and type(letter) is not frozenset:
                    return None
                bit = (<uint64_t>1) << (i & 63)
                for name in letter:
                    if type(name) is not str:
                        return None
                    found = dict_get(positions, name, None)
                    if found is not None:
                        k = found
                        bits[k * words + (i >> 6)] |= bit
            source = self.sources()
            for k in range(self.atoms):
                source[k].data = bits + k * words
                source[k].kind = MS_COLUMNS_PACKED
            return self.finish(source, n, False)
        finally:
            free(bits)

    cdef ms_columns_source *sources(self) except NULL:
        cdef ms_columns_source *source = <ms_columns_source *>calloc(self.atoms + 1,
                                                                     sizeof(ms_columns_source))
        if source == NULL:
            raise MemoryError("no memory for columns")
        return source

    cdef finish(self, ms_columns_source *source, Py_ssize_t n, bint packed):
        """Run and free `source`."""
        cdef Py_buffer buffer
        cdef void **out = NULL
        cdef size_t i, width
        cdef int status
        cdef uint64_t **words = NULL
        cdef uint8_t **bytes_ = NULL
        cdef const ms_columns_kernels *chosen = kernels()
        cdef Poll poll
        try:
            width = (n + 63) // 64 if packed else n
            result = np.empty((self.roots, width), dtype=np.uint64 if packed else np.bool_)
            out = <void **>malloc(self.roots * sizeof(void *))
            if out == NULL:
                raise MemoryError("no memory for results")
            PyObject_GetBuffer(result, &buffer, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
            for i in range(self.roots):
                out[i] = <char *>buffer.buf + i * width * (8 if packed else 1)
            if packed:
                words = <uint64_t **>out
            else:
                bytes_ = <uint8_t **>out
            if (<size_t>n // 64 + 8) * ms_columns_steps(self.plan) < SHORT:
                status = ms_columns_run(self.plan, chosen, source, n, words, bytes_, NULL)
            else:
                poll = Poll()
                with nogil:
                    status = ms_columns_run(self.plan, chosen, source, n, words, bytes_, &poll.poll)
            PyBuffer_Release(&buffer)
        finally:
            free(source)
            free(out)
        if status == MS_COLUMNS_STOPPED:
            poll.reraise()
            return None
        if status != MS_COLUMNS_OK:
            raise MemoryError("no memory for the columns of a formula")
        return result


def pack_rows(const uint8_t[:, ::1] rows):
    """(k, n) of 0 and 1 -> (k, words) uint64; n >= 1."""
    cdef uint64_t[:, ::1] out
    cdef ms_columns_source source
    cdef Py_ssize_t i, n = rows.shape[1]
    if n < 1:
        raise ValueError("no position")
    result = np.empty((rows.shape[0], (n + 63) // 64), dtype=np.uint64)
    out = result
    source.kind, source.stride, source.bit = MS_COLUMNS_BYTES, 1, 0
    for i in range(rows.shape[0]):
        source.data = &rows[i, 0]
        ms_columns_pack(kernels(), &source, n, &out[i, 0])
    return result


def pack_masks(const uint64_t[:, ::1] masks, Py_ssize_t n_atoms):
    """(n, words) letters -> (n_atoms, words) uint64 columns; n >= 1."""
    cdef uint64_t[:, ::1] out
    cdef ms_columns_source source
    cdef Py_ssize_t i, n = masks.shape[0]
    if n < 1 or 64 * masks.shape[1] < n_atoms:
        raise ValueError("not letters of the atoms")
    result = np.empty((n_atoms, (n + 63) // 64), dtype=np.uint64)
    out = result
    source.kind, source.stride = MS_COLUMNS_MASKS, masks.shape[1]
    for i in range(n_atoms):
        source.data = &masks[0, i // 64]
        source.bit = i % 64
        ms_columns_pack(kernels(), &source, n, &out[i, 0])
    return result


def unpack_rows(const uint64_t[:, ::1] words, Py_ssize_t n):
    """(k, words) uint64 -> (k, n) bool; n >= 1."""
    cdef uint8_t[:, ::1] out
    cdef Py_ssize_t i
    if n < 1 or words.shape[1] != (n + 63) // 64:
        raise ValueError("not packed columns")
    result = np.empty((words.shape[0], n), dtype=np.bool_)
    out = result.view(np.uint8)
    for i in range(words.shape[0]):
        ms_columns_unpack(kernels(), &words[i, 0], n, &out[i, 0])
    return result
