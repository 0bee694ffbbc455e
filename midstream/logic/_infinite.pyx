# cython: freethreading_compatible=True
"""Binding of csrc/ms_buchi: formulas over infinite words, and the machines that watch them."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy

import math
import time

import numpy as np

from midstream._core._poll cimport Poll
from midstream._core.errors import StateLimitError, UndecidedError

cdef extern from "ms_poll.h":
    ctypedef struct ms_poll:
        int (*ask)(void *context) noexcept nogil
        void *context

cdef extern from "ms_buchi_machine.h":
    ctypedef struct ms_machine:
        int32_t *nodes
        int32_t *roots
        uint8_t *colours
        int32_t n_nodes
        int32_t n_states
    int ms_machine_init(ms_machine *machine) noexcept nogil
    void ms_machine_free(ms_machine *machine) noexcept nogil
    int ms_machine_minimise(const ms_machine *given, ms_machine *out, ms_poll *poll) noexcept nogil
    int ms_machine_product(const ms_machine *a, const ms_machine *b, const uint8_t *combine,
                           int32_t max_states, ms_machine *out, ms_poll *poll) noexcept nogil

cdef extern from "ms_buchi.h":
    int MS_BUCHI_OK
    int MS_BUCHI_NO_MEMORY
    int MS_BUCHI_STOPPED
    int MS_BUCHI_TOO_MANY_STATES
    int MS_BUCHI_TOO_MANY_NODES
    int MS_BUCHI_TOO_MANY_VARS
    int MS_CBDD_MAX_VARS
    ctypedef struct ms_buchi_formula:
        const int32_t *ops
        const int32_t *left
        const int32_t *right
        int32_t n
        int32_t root
        int32_t legal
        int32_t n_atoms
    ctypedef struct ms_buchi:
        pass
    ms_buchi *ms_buchi_new(const ms_buchi_formula *formula, uint32_t max_nodes, ms_poll *poll,
                           int *status) noexcept nogil
    void ms_buchi_free(ms_buchi *b) noexcept nogil
    int ms_buchi_satisfiable(ms_buchi *b) noexcept nogil
    int ms_buchi_lasso(ms_buchi *b, uint8_t **letters, int32_t *n_prefix,
                       int32_t *n_loop) noexcept nogil
    int ms_buchi_machine(ms_buchi *b, int32_t max_states, ms_machine *out) noexcept nogil
    int ms_buchi_avoids(ms_buchi *b, const ms_machine *machine, uint8_t colour,
                        int satisfying) noexcept nogil


cdef int ask(void *context) noexcept nogil:
    with gil:
        return (<_Watch>context).look()


cdef class _Watch:
    """What ends a construction early: Ctrl-C, or the time allowed."""

    cdef ms_poll poll
    cdef Poll signals
    cdef double deadline
    cdef bint late

    def __cinit__(self, timeout_s):
        self.signals = Poll()
        self.poll.ask = ask
        self.poll.context = <void *>self
        self.deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self.late = False

    cdef int look(self) noexcept:
        if self.signals.poll.ask(self.signals.poll.context):
            return 1
        self.late = time.monotonic() > self.deadline
        return self.late

    cdef int check(self, int status, object timeout_s, object max_states,
                   object max_nodes) except -1:
        """Raise what a negative status says."""
        if status >= 0:
            return status
        if status == MS_BUCHI_STOPPED:
            self.signals.reraise()
            if self.late:
                raise UndecidedError(f"not decided within timeout_s={timeout_s!r}")
            raise KeyboardInterrupt
        if status == MS_BUCHI_TOO_MANY_STATES:
            raise StateLimitError(
                f"the machine has more than max_states={max_states} states", limit=max_states
            )
        if status == MS_BUCHI_TOO_MANY_NODES:
            raise StateLimitError(
                f"the construction takes more than max_nodes={max_nodes} diagram nodes",
                limit=max_nodes,
            )
        if status == MS_BUCHI_TOO_MANY_VARS:
            raise StateLimitError(
                f"the formula has too many operators and atoms: the construction takes more than "
                f"{MS_CBDD_MAX_VARS} variables",
                limit=MS_CBDD_MAX_VARS,
            )
        raise MemoryError("no memory for the tableau of a formula")


cdef object as_arrays(const ms_machine *machine):
    """(nodes, roots, colours) as the Automaton has them."""
    nodes = np.empty((machine.n_nodes, 3), np.int32)
    roots = np.empty(machine.n_states, np.int32)
    colours = np.empty(machine.n_states, np.uint8)
    cdef int32_t[:, ::1] nodes_out = nodes
    cdef int32_t[::1] roots_out = roots
    cdef uint8_t[::1] colours_out = colours
    if machine.n_nodes:
        memcpy(&nodes_out[0, 0], machine.nodes, 3 * <size_t>machine.n_nodes * sizeof(int32_t))
    memcpy(&roots_out[0], machine.roots, <size_t>machine.n_states * sizeof(int32_t))
    memcpy(&colours_out[0], machine.colours, <size_t>machine.n_states)
    return nodes, roots, colours


cdef class _View:
    """Arrays (nodes, roots, colours) as a struct; borrowed, never freed."""

    cdef ms_machine machine
    cdef object owners

    def __cinit__(self, const int32_t[:, ::1] nodes, const int32_t[::1] roots,
                  const uint8_t[::1] colours):
        self.owners = (nodes, roots, colours)
        self.machine.n_nodes = <int32_t>nodes.shape[0]
        self.machine.n_states = <int32_t>roots.shape[0]
        self.machine.nodes = <int32_t *>&nodes[0, 0] if nodes.shape[0] else NULL
        self.machine.roots = <int32_t *>&roots[0]
        self.machine.colours = <uint8_t *>&colours[0]


cdef class Tableau:
    """A formula over infinite words, given as arrays without windows (see ms_buchi.h)."""

    cdef ms_buchi *buchi
    cdef _Watch watch
    cdef object owners, timeout_s, max_nodes
    cdef int32_t n_atoms

    def __cinit__(self, const int32_t[::1] ops, const int32_t[::1] left, const int32_t[::1] right,
                  int32_t root, int32_t legal, int32_t n_atoms, max_nodes, timeout_s):
        cdef ms_buchi_formula formula
        cdef uint32_t limit = max_nodes
        cdef int status
        self.owners = (ops, left, right)
        self.timeout_s = timeout_s
        self.max_nodes = max_nodes
        self.n_atoms = n_atoms
        self.watch = _Watch(timeout_s)
        formula.ops = &ops[0]
        formula.left = &left[0]
        formula.right = &right[0]
        formula.n = <int32_t>ops.shape[0]
        formula.root = root
        formula.legal = legal
        formula.n_atoms = n_atoms
        with nogil:
            self.buchi = ms_buchi_new(&formula, limit, &self.watch.poll, &status)
        self.watch.check(status, timeout_s, None, max_nodes)

    def __dealloc__(self):
        ms_buchi_free(self.buchi)

    def satisfiable(self):
        """Whether some word satisfies the formula."""
        cdef int status
        with nogil:
            status = ms_buchi_satisfiable(self.buchi)
        return bool(self.watch.check(status, self.timeout_s, None, self.max_nodes))

    def lasso(self):
        """(letters, n_prefix) of a word that satisfies it, one row of bool a letter; or None."""
        cdef uint8_t *letters = NULL
        cdef uint8_t[:, ::1] out
        cdef int32_t n_prefix = 0, n_loop = 0
        cdef int status
        if not self.satisfiable():
            return None
        with nogil:
            status = ms_buchi_lasso(self.buchi, &letters, &n_prefix, &n_loop)
        try:
            self.watch.check(status, self.timeout_s, None, self.max_nodes)
            rows = np.empty((n_prefix + n_loop, self.n_atoms), np.uint8)
            out = rows
            if self.n_atoms:
                memcpy(&out[0, 0], letters, <size_t>(n_prefix + n_loop) * <size_t>self.n_atoms)
        finally:
            free(letters)
        return rows.view(np.bool_), n_prefix

    def machine(self, max_states):
        """(nodes, roots, colours) of the minimal three-valued machine."""
        cdef ms_machine raw, small
        cdef int32_t limit = max_states
        cdef int status
        with nogil:
            status = ms_buchi_machine(self.buchi, limit, &raw)
        try:
            self.watch.check(status, self.timeout_s, max_states, self.max_nodes)
            with nogil:
                status = ms_machine_minimise(&raw, &small, &self.watch.poll)
            try:
                self.watch.check(status, self.timeout_s, max_states, self.max_nodes)
                return as_arrays(&small)
            finally:
                ms_machine_free(&small)
        finally:
            ms_machine_free(&raw)

    def avoids(self, nodes, roots, colours, uint8_t colour, bint satisfying):
        """Whether a word that never leads the machine to `colour` can satisfy or violate it."""
        cdef _View view = _View(nodes, roots, colours)
        cdef int status
        with nogil:
            status = ms_buchi_avoids(self.buchi, &view.machine, colour, satisfying)
        return bool(self.watch.check(status, self.timeout_s, None, self.max_nodes))


def product(first, second, const uint8_t[:, ::1] combine, max_states):
    """Two machines on the same atoms as one, minimal: colours ``combine[a, b]``.

    `first` and `second` are (nodes, roots, colours); `combine` is (5, 5).
    """
    cdef _View a = _View(*first), b = _View(*second)
    cdef ms_machine raw, small
    cdef _Watch watch = _Watch(None)
    cdef int32_t limit = max_states
    cdef int status
    with nogil:
        status = ms_machine_product(&a.machine, &b.machine, &combine[0, 0], limit, &raw,
                                    &watch.poll)
    try:
        watch.check(status, None, max_states, None)
        with nogil:
            status = ms_machine_minimise(&raw, &small, &watch.poll)
        try:
            watch.check(status, None, max_states, None)
            return as_arrays(&small)
        finally:
            ms_machine_free(&small)
    finally:
        ms_machine_free(&raw)
