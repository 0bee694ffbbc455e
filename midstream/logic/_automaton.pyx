"""Binding of csrc/ms_dfa and ms_dfa_compile: minimal automata on shared decision diagrams."""

from libc.stdint cimport INT32_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from midstream._core._poll cimport Poll, ms_poll
from midstream._core.errors import ArgumentValueError, StateLimitError, UndecidedError

cdef extern from "ms_clock.h":
    int64_t ms_clock_ns() noexcept nogil

cdef extern from "ms_budget.h":
    enum:
        MS_BUDGET_MEMORY
        MS_BUDGET_STATES
        MS_BUDGET_NODES
        MS_BUDGET_TIME
        MS_BUDGET_STOPPED
        MS_BUDGET_LETTERS
    ctypedef struct ms_budget:
        ms_poll *poll
        int64_t deadline_ns
        uint64_t max_nodes
        uint32_t max_states
        uint32_t work
        uint32_t slices
        int status

cdef extern from "ms_dfa.h":
    ctypedef struct ms_dfa_node:
        int32_t var
        int32_t low
        int32_t high
    ctypedef struct ms_dfa:
        ms_dfa_node *nodes
        int32_t *roots
        uint8_t *accepting
        int32_t n_nodes
        int32_t n_states
    void ms_dfa_free(ms_dfa *a) noexcept nogil
    int ms_dfa_minimise(ms_dfa *a, ms_budget *budget) noexcept nogil
    int ms_dfa_product(const ms_dfa *a, const ms_dfa *b, unsigned table, ms_dfa *out,
                       ms_budget *budget) noexcept nogil
    int ms_dfa_reorder(const ms_dfa *a, const int32_t *map, ms_dfa *out,
                       ms_budget *budget) noexcept nogil
    int ms_dfa_shortest(const ms_dfa *a, int accepted, int32_t *steps, int32_t *n_steps,
                        ms_budget *budget) noexcept nogil
    int ms_dfa_colours(const ms_dfa *a, uint8_t *colours, ms_budget *budget) noexcept nogil

cdef extern from "ms_dfa_compile.h":
    ctypedef struct ms_dfa_program:
        const int32_t *ops
        const int32_t *left
        const int32_t *right
        const double *low
        const double *high
        int32_t n
        int32_t n_atoms
    int ms_dfa_compile(const ms_dfa_program *program, int32_t root, int letters, int32_t legal,
                       ms_dfa *out, ms_budget *budget) noexcept nogil

#: Of any one decision diagram: some hundreds of megabytes.
MAX_NODES = 1 << 23


cdef class Budget:
    """Limits of one computation, and what stopped it."""

    cdef ms_budget budget
    cdef Poll poll
    cdef object timeout_s

    def __cinit__(self, max_states, timeout_s):
        self.poll = Poll()
        self.timeout_s = timeout_s
        self.budget.poll = &self.poll.poll
        self.budget.deadline_ns = 0
        if timeout_s is not None:
            self.budget.deadline_ns = ms_clock_ns() + <int64_t>(timeout_s * 1e9)
        self.budget.max_nodes = MAX_NODES
        self.budget.max_states = max_states
        self.budget.work = 0
        self.budget.slices = 0
        self.budget.status = 0

    cdef int check(self) except -1:
        cdef int status = self.budget.status
        if status == 0:
            return 0
        if status == MS_BUDGET_STATES:
            raise StateLimitError(
                f"an automaton has more than max_states={self.budget.max_states} states",
                limit=self.budget.max_states,
            )
        if status == MS_BUDGET_NODES:
            raise StateLimitError(
                f"a decision diagram has more than {self.budget.max_nodes} nodes",
                limit=self.budget.max_nodes,
            )
        if status == MS_BUDGET_TIME:
            raise UndecidedError(f"no automaton within timeout_s={self.timeout_s!r}")
        if status == MS_BUDGET_STOPPED:
            self.poll.reraise()
            raise UndecidedError("the computation was stopped")
        if status == MS_BUDGET_LETTERS:
            raise ArgumentValueError("letters must allow some letter, but is never true")
        raise MemoryError("no memory for an automaton")


cdef take(ms_dfa *a, Budget budget):
    """Arrays of an automaton: roots, accepting, nodes, colours."""
    cdef int32_t n = a.n_states, m = a.n_nodes, k
    roots = np.empty(n, dtype=np.int32)
    accepting = np.empty(n, dtype=np.bool_)
    nodes = np.empty((m, 3), dtype=np.int32)
    colours = np.empty(n, dtype=np.uint8)
    cdef int32_t[::1] root = roots
    cdef uint8_t[::1] accepts = accepting.view(np.uint8)
    cdef int32_t[:, ::1] node = nodes
    cdef uint8_t[::1] colour = colours
    ms_dfa_colours(a, &colour[0], &budget.budget)
    budget.check()
    memcpy(&accepts[0], a.accepting, n)
    for k in range(n):
        root[k] = a.roots[k] if a.roots[k] != INT32_MIN else ~n
    for k in range(m):
        node[k, 0] = a.nodes[k].var
        node[k, 1] = a.nodes[k].low if a.nodes[k].low != INT32_MIN else ~n
        node[k, 2] = a.nodes[k].high if a.nodes[k].high != INT32_MIN else ~n
    for array in (roots, accepting, nodes, colours):
        array.flags.writeable = False
    return roots, accepting, nodes, colours


cdef class Held:
    """A copy of an automaton's arrays, as the kernels want it."""

    cdef ms_dfa dfa

    def __cinit__(self, const int32_t[::1] roots, const uint8_t[::1] accepting,
                  const int32_t[:, ::1] nodes):
        cdef int32_t n = <int32_t>roots.shape[0], m = <int32_t>nodes.shape[0], k
        self.dfa.nodes = <ms_dfa_node *>malloc((m + 1) * sizeof(ms_dfa_node))
        self.dfa.roots = <int32_t *>malloc(n * sizeof(int32_t))
        self.dfa.accepting = <uint8_t *>malloc(n)
        if self.dfa.nodes == NULL or self.dfa.roots == NULL or self.dfa.accepting == NULL:
            raise MemoryError("no memory for an automaton")
        self.dfa.n_nodes = m
        self.dfa.n_states = n
        for k in range(n):
            self.dfa.roots[k] = roots[k] if roots[k] != ~n else INT32_MIN
            self.dfa.accepting[k] = accepting[k]
        for k in range(m):
            self.dfa.nodes[k].var = nodes[k, 0]
            self.dfa.nodes[k].low = nodes[k, 1] if nodes[k, 1] != ~n else INT32_MIN
            self.dfa.nodes[k].high = nodes[k, 2] if nodes[k, 2] != ~n else INT32_MIN

    def __dealloc__(self):
        free(self.dfa.nodes)
        free(self.dfa.roots)
        free(self.dfa.accepting)


def compiled(const int32_t[::1] ops, const int32_t[::1] left, const int32_t[::1] right,
             const double[::1] low, const double[::1] high, Py_ssize_t n_atoms, int32_t root,
             int letters, int32_t legal, max_states, timeout_s):
    """Minimal automaton of node `root` of a flat program: its arrays. Releases the GIL.

    `letters`: 0 all, 1 at most one true atom, 2 exactly one; `legal`: the node that says which
    letters occur, or -1.
    """
    cdef Budget budget = Budget(max_states, timeout_s)
    cdef ms_dfa_program program
    cdef ms_dfa out
    cdef Py_ssize_t n = ops.shape[0]
    if not 0 <= root < n or not -1 <= legal < n or left.shape[0] != n or right.shape[0] != n or (
            low.shape[0] != n or high.shape[0] != n):
        raise ValueError("not one program")
    program.ops = &ops[0]
    program.left = &left[0]
    program.right = &right[0]
    program.low = &low[0]
    program.high = &high[0]
    program.n = <int32_t>n
    program.n_atoms = <int32_t>n_atoms
    memset(&out, 0, sizeof(out))
    try:
        with nogil:
            ms_dfa_compile(&program, root, letters, legal, &out, &budget.budget)
        budget.check()
        return take(&out, budget)
    finally:
        ms_dfa_free(&out)


cdef reordered(Held held, const int32_t[::1] places, Budget budget):
    """Give variable k the place places[k] of another order; the Held to use."""
    cdef ms_dfa out
    cdef int32_t k, n = <int32_t>places.shape[0]
    cdef bint same = True, ascending = True
    for k in range(n):
        same = same and places[k] == k
        ascending = ascending and (k == 0 or places[k - 1] < places[k])
    if same:
        return
    if ascending:
        for k in range(held.dfa.n_nodes):
            held.dfa.nodes[k].var = places[held.dfa.nodes[k].var]
        return
    memset(&out, 0, sizeof(out))
    with nogil:
        ms_dfa_reorder(&held.dfa, &places[0], &out, &budget.budget)
    ms_dfa_free(&held.dfa)
    held.dfa = out
    budget.check()


def product(a, b, places_a, places_b, unsigned table, max_states, timeout_s):
    """Minimal automaton of pairs of states of two automata: its arrays.

    `a`, `b`: (roots, accepting, nodes). `places_a`, `places_b`: of their variables, in the order
    of the result. Bit 2 x + y of `table`: whether a pair accepts of whose states the first accepts
    as x says, the second as y.
    """
    cdef Budget budget = Budget(max_states, timeout_s)
    cdef Held left = Held(a[0], a[1].view(np.uint8), a[2])
    cdef Held right = Held(b[0], b[1].view(np.uint8), b[2])
    cdef ms_dfa out
    reordered(left, places_a, budget)
    reordered(right, places_b, budget)
    memset(&out, 0, sizeof(out))
    try:
        with nogil:
            if not ms_dfa_product(&left.dfa, &right.dfa, table, &out, &budget.budget):
                ms_dfa_minimise(&out, &budget.budget)
        budget.check()
        return take(&out, budget)
    finally:
        ms_dfa_free(&out)


def shortest(a, bint accepted):
    """A shortest non-empty word that is accepted, or rejected: masks as int, or None."""
    cdef Budget budget = Budget(1 << 30, None)
    cdef Held held = Held(a[0], a[1].view(np.uint8), a[2])
    cdef int32_t count, k, step
    steps = np.empty(held.dfa.n_states + held.dfa.n_nodes + 1, dtype=np.int32)
    cdef int32_t[::1] path = steps
    with nogil:
        ms_dfa_shortest(&held.dfa, accepted, &path[0], &count, &budget.budget)
    budget.check()
    if count < 0:
        return None
    masks = []
    mask = 0
    for k in range(count):  # from the last letter to the first
        step = path[k]
        if step < 0:
            masks.append(mask)
            mask = 0
        elif step & 1:
            mask |= 1 << <object>held.dfa.nodes[step >> 1].var
    masks.reverse()
    return masks


def walk(const int32_t[::1] roots, const int32_t[:, ::1] nodes, int32_t state,
         const uint64_t[:, ::1] masks):
    """The state after each letter: (n,) int32. `masks`: (n, words), bit i of a letter atom i.

    A letter that cannot occur leads to state n_states, and there the walk stays.
    """
    cdef Py_ssize_t n = masks.shape[0], i
    cdef int32_t n_states = <int32_t>roots.shape[0], ref, var
    out = np.empty(n, dtype=np.int32)
    cdef int32_t[::1] states = out
    with nogil:
        for i in range(n):
            if state < n_states:
                ref = roots[state]
                while ref >= 0:
                    var = nodes[ref, 0]
                    ref = nodes[ref, 1 + <int>(masks[i, var >> 6] >> (var & 63) & 1)]
                state = ~ref
            states[i] = state
    return out


def table(const int32_t[::1] roots, const int32_t[:, ::1] nodes, int n_atoms):
    """All transitions: (n_states, 2**n_atoms) int32, by bit mask."""
    cdef Py_ssize_t n = roots.shape[0], i, mask, letters = <Py_ssize_t>1 << n_atoms
    cdef int32_t ref
    out = np.empty((n, letters), dtype=np.int32)
    cdef int32_t[:, ::1] states = out
    with nogil:
        for i in range(n):
            for mask in range(letters):
                ref = roots[i]
                while ref >= 0:
                    ref = nodes[ref, 1 + <int>(mask >> nodes[ref, 0] & 1)]
                states[i, mask] = ~ref
    return out
