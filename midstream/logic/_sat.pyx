# cython: freethreading_compatible=True
"""Binding of csrc/ms_sat: satisfiability of clauses, and of transition systems made of formulas.

Every call that searches takes a number of ticks and answers None when they are spent; the next call
goes on. Callers look at the clock, and Python at its signals, between calls.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memset

import numpy as np

cdef extern from "ms_sat.h":
    int MS_SAT_NO_MEMORY
    int MS_SAT_YES
    int MS_SAT_NO
    ctypedef struct ms_sat:
        pass
    ms_sat *ms_sat_new() noexcept nogil
    void ms_sat_free(ms_sat *s) noexcept nogil
    int ms_sat_reserve(ms_sat *s, int32_t n) noexcept nogil
    int ms_sat_add(ms_sat *s, const int32_t *literals, int32_t n) noexcept nogil
    int ms_sat_solve(ms_sat *s, const int32_t *assumptions, int32_t n,
                     int64_t ticks) noexcept nogil
    int ms_sat_true(const ms_sat *s, int32_t literal) noexcept nogil
    const int32_t *ms_sat_core(const ms_sat *s, int32_t *n) noexcept nogil
    int64_t ms_sat_ticks(const ms_sat *s) noexcept nogil
    int64_t ms_sat_conflicts(const ms_sat *s) noexcept nogil

cdef extern from "ms_sat_system.h":
    ctypedef struct ms_sat_system:
        int32_t nodes
        int32_t atoms
        int32_t rules
        int32_t always
        const int32_t *kind
        const int32_t *first
        const int32_t *arg
        const int32_t *rule_first
        const int32_t *rule
        const int32_t *always_node
        int32_t roots
        const int32_t *root
        int32_t variables
        int32_t clauses
        int32_t burdens
        int32_t *owner
        int32_t *burden_of
        uint8_t *past
    int ms_sat_system_make(ms_sat_system *y) noexcept nogil
    void ms_sat_system_free(ms_sat_system *y) noexcept nogil

cdef extern from "ms_sat_reach.h":
    ctypedef struct ms_sat_reach:
        pass
    ms_sat_reach *ms_sat_reach_new(const ms_sat_system *y) noexcept nogil
    void ms_sat_reach_free(ms_sat_reach *r) noexcept nogil
    int ms_sat_reach_start(ms_sat_reach *r, const int32_t *burdens, int32_t n) noexcept nogil
    int ms_sat_reach_run(ms_sat_reach *r, int64_t ticks) noexcept nogil
    int32_t ms_sat_reach_bound(const ms_sat_reach *r) noexcept nogil
    int32_t ms_sat_reach_length(const ms_sat_reach *r) noexcept nogil
    int32_t ms_sat_reach_letter_words(const ms_sat_reach *r) noexcept nogil
    int32_t ms_sat_reach_state_words(const ms_sat_reach *r) noexcept nogil
    void ms_sat_reach_path(const ms_sat_reach *r, uint64_t *letters,
                           uint64_t *states) noexcept nogil
    int32_t ms_sat_reach_reason(const ms_sat_reach *r, int32_t *burdens) noexcept nogil
    int64_t ms_sat_reach_ticks(const ms_sat_reach *r) noexcept nogil

cdef extern from "ms_sat_unroll.h":
    ctypedef struct ms_sat_unroll:
        pass
    ms_sat_unroll *ms_sat_unroll_new(const ms_sat_system *y, const int32_t *start,
                                     int32_t n_start, int lasso, const int32_t *fair,
                                     const int32_t *met, int32_t n_fair) noexcept nogil
    void ms_sat_unroll_free(ms_sat_unroll *u) noexcept nogil
    int ms_sat_unroll_fix(ms_sat_unroll *u, int32_t step, const uint64_t *letter,
                          int32_t atoms) noexcept nogil
    int ms_sat_unroll_grow(ms_sat_unroll *u, int32_t steps) noexcept nogil
    int ms_sat_unroll_end(ms_sat_unroll *u, int32_t steps, int64_t ticks) noexcept nogil
    int ms_sat_unroll_go_on(ms_sat_unroll *u, int32_t steps, int64_t ticks) noexcept nogil
    int ms_sat_unroll_block(ms_sat_unroll *u, int32_t step, const int32_t *burdens,
                            int32_t n) noexcept nogil
    void ms_sat_unroll_letter(const ms_sat_unroll *u, int32_t step, uint64_t *letter) noexcept nogil
    int32_t ms_sat_unroll_state(const ms_sat_unroll *u, int32_t step,
                                int32_t *burdens) noexcept nogil
    int32_t ms_sat_unroll_loop(const ms_sat_unroll *u, int32_t steps) noexcept nogil
    int ms_sat_unroll_hopeless(const ms_sat_unroll *u) noexcept nogil
    int64_t ms_sat_unroll_ticks(const ms_sat_unroll *u) noexcept nogil


cdef object verdict(int status):
    if status == MS_SAT_NO_MEMORY:
        raise MemoryError("no memory for the solver")
    if status == MS_SAT_YES:
        return True
    return False if status == MS_SAT_NO else None


cdef const int32_t *data(const int32_t[::1] array) noexcept:
    return &array[0] if array.shape[0] else NULL


cdef const int32_t[::1] ints(object values):
    return np.ascontiguousarray(values, dtype=np.int32)


cdef object big_int(const uint64_t *words, int n):
    return int.from_bytes((<const unsigned char *>words)[:8 * n], "little")


cdef class Solver:
    """Clauses over variables 1, 2, ...; a literal is a variable or, negated, minus it."""

    cdef ms_sat *s
    cdef int32_t vars

    def __cinit__(self):
        self.s = ms_sat_new()
        if self.s == NULL:
            raise MemoryError("no memory for the solver")
        self.vars = 0

    def __dealloc__(self):
        ms_sat_free(self.s)

    cdef const int32_t[::1] literals(self, object values):
        signed = np.asarray(values, dtype=np.int64).ravel()
        if signed.size == 0:
            return np.zeros(0, dtype=np.int32)
        if not signed.all() or abs(signed).max() > 1 << 28:
            raise ValueError("a literal is a variable or minus it, from 1 to 2**28")
        n = int(abs(signed).max())
        if n > self.vars:
            if ms_sat_reserve(self.s, n):
                raise MemoryError("no memory for the solver")
            self.vars = n
        return (2 * (abs(signed) - 1) + (signed < 0)).astype(np.int32)

    def add(self, clause):
        """Add a clause: one of its literals has to hold."""
        cdef const int32_t[::1] literals = self.literals(clause)
        if ms_sat_add(self.s, data(literals), <int32_t>literals.shape[0]):
            raise MemoryError("no memory for the solver")

    def solve(self, assumptions=(), int64_t ticks=1 << 60):
        """Whether all clauses hold together with the assumptions; None: out of ticks."""
        cdef const int32_t[::1] literals = self.literals(assumptions)
        cdef const int32_t *first = data(literals)
        cdef int32_t n = <int32_t>literals.shape[0]
        cdef int status
        with nogil:
            status = ms_sat_solve(self.s, first, n, ticks)
        return verdict(status)

    def value(self, int32_t variable):
        """Whether a variable is true in the last model."""
        if not 1 <= variable <= self.vars:
            raise ValueError("no such variable")
        return bool(ms_sat_true(self.s, 2 * (variable - 1)))

    def core(self):
        """Assumptions that cannot hold together, after `solve` was False."""
        cdef int32_t n, i
        cdef const int32_t *core = ms_sat_core(self.s, &n)
        return [-(core[i] // 2 + 1) if core[i] & 1 else core[i] // 2 + 1 for i in range(n)]

    @property
    def ticks(self):
        return ms_sat_ticks(self.s)

    @property
    def conflicts(self):
        return ms_sat_conflicts(self.s)


cdef class System:
    """A formula as a transition system: see csrc/ms_sat_system.h for what the arrays say."""

    cdef ms_sat_system y
    cdef const int32_t[::1] kind, first, arg, rule_first, rule, always, root

    def __cinit__(self, kind, first, arg, int32_t atoms, rule_first, rule, always, root):
        memset(&self.y, 0, sizeof(self.y))
        self.kind = ints(kind)
        self.first = ints(first)
        self.arg = ints(arg)
        self.rule_first = ints(rule_first)
        self.rule = ints(rule)
        self.always = ints(always)
        self.root = ints(root)
        self.y.nodes = <int32_t>self.kind.shape[0]
        self.y.atoms = atoms
        self.y.rules = <int32_t>self.rule_first.shape[0] - 1
        self.y.always = <int32_t>self.always.shape[0]
        self.y.roots = <int32_t>self.root.shape[0]
        self.y.kind = data(self.kind)
        self.y.first = data(self.first)
        self.y.arg = data(self.arg)
        self.y.rule_first = data(self.rule_first)
        self.y.rule = data(self.rule)
        self.y.always_node = data(self.always)
        self.y.root = data(self.root)
        if ms_sat_system_make(&self.y):
            raise MemoryError("no memory for the transition system")

    def __dealloc__(self):
        ms_sat_system_free(&self.y)

    @property
    def n_variables(self):
        return self.y.variables

    @property
    def n_clauses(self):
        return self.y.clauses

    @property
    def n_burdens(self):
        return self.y.burdens

    def burden_of(self, int32_t node):
        """The burden that `node` has to hold; -1: nothing asks for it."""
        if not 0 <= node < self.y.nodes:
            raise ValueError("no such node")
        return self.y.burden_of[node]

    def first_burdens(self):
        """What no first step has: of each strong yesterday, that its operand held before."""
        return [b for b in range(self.y.burdens)
                if self.y.past[b] and self.y.kind[self.y.owner[b]] == 8]


cdef class Reach:
    """Whether a last step can be reached: csrc/ms_sat_reach.h."""

    cdef ms_sat_reach *r
    cdef readonly System system

    def __cinit__(self, System system):
        self.system = system
        self.r = ms_sat_reach_new(&system.y)
        if self.r == NULL:
            raise MemoryError("no memory for the search")

    def __dealloc__(self):
        ms_sat_reach_free(self.r)

    def start(self, burdens):
        """Ask about the state with these burdens."""
        cdef const int32_t[::1] array = ints(burdens)
        check_burdens(array, self.system.y.burdens)
        if ms_sat_reach_start(self.r, data(array), <int32_t>array.shape[0]):
            raise MemoryError("no memory for the search")

    def run(self, int64_t ticks):
        """True, False, or None: out of ticks."""
        cdef int status
        with nogil:
            status = ms_sat_reach_run(self.r, ticks)
        return verdict(status)

    @property
    def bound(self):
        """No trace has at most this many steps."""
        return ms_sat_reach_bound(self.r)

    @property
    def ticks(self):
        return ms_sat_reach_ticks(self.r)

    def path(self):
        """Letters, and burdens before each step, as integers of bits, after True."""
        cdef int n = ms_sat_reach_length(self.r)
        cdef int words = ms_sat_reach_letter_words(self.r)
        cdef int state_words = ms_sat_reach_state_words(self.r)
        cdef uint64_t[::1] letters = np.zeros(n * words + 1, dtype=np.uint64)
        cdef uint64_t[::1] states = np.zeros(n * state_words + 1, dtype=np.uint64)
        ms_sat_reach_path(self.r, &letters[0], &states[0])
        return ([big_int(&letters[i * words], words) for i in range(n)],
                [big_int(&states[i * state_words], state_words) for i in range(n)])

    def reason(self):
        """Burdens of the state that cannot be met together, after False."""
        cdef int32_t[::1] burdens = np.zeros(self.system.y.burdens + 1, dtype=np.int32)
        cdef int32_t n = ms_sat_reach_reason(self.r, &burdens[0])
        return [burdens[i] for i in range(n)]


cdef class Unroll:
    """Traces of a given length, or lassos: csrc/ms_sat_unroll.h."""

    cdef ms_sat_unroll *u
    cdef readonly System system
    cdef const int32_t[::1] fair, met

    def __cinit__(self, System system, start, bint lasso, fair, met):
        cdef const int32_t[::1] first = ints(start)
        self.system = system
        self.fair = ints(fair)
        self.met = ints(met)
        if self.met.shape[0] != self.fair.shape[0]:
            raise ValueError("as many nodes as fair burdens")
        check_burdens(first, system.y.burdens)
        check_burdens(self.fair, system.y.burdens)
        self.u = ms_sat_unroll_new(&system.y, data(first), <int32_t>first.shape[0], lasso,
                                   data(self.fair), data(self.met),
                                   <int32_t>self.fair.shape[0])
        if self.u == NULL:
            raise MemoryError("no memory for the search")

    def __dealloc__(self):
        ms_sat_unroll_free(self.u)

    def fix(self, int32_t step, letter, int32_t atoms):
        """Give the first `atoms` atoms of a step the values of an integer's bits."""
        cdef int words = (atoms + 63) // 64
        cdef const uint64_t[::1] bits = np.frombuffer(
            int(letter).to_bytes(8 * (words + 1), "little"), dtype=np.uint64)
        if not 0 <= atoms <= self.system.y.atoms:
            raise ValueError("no such atom")
        if ms_sat_unroll_grow(self.u, step + 1) or ms_sat_unroll_fix(self.u, step, &bits[0], atoms):
            raise MemoryError("no memory for the search")

    def end(self, int32_t steps, int64_t ticks):
        """Whether a trace ends after exactly `steps`, or a lasso has that many; None: unknown."""
        cdef int status
        with nogil:
            status = ms_sat_unroll_end(self.u, steps, ticks)
        return verdict(status)

    def go_on(self, int32_t steps, int64_t ticks):
        """Whether a trace can go on after `steps`; None: unknown."""
        cdef int status
        with nogil:
            status = ms_sat_unroll_go_on(self.u, steps, ticks)
        return verdict(status)

    def block(self, int32_t step, burdens):
        """No state before `step` holds all of these."""
        cdef const int32_t[::1] array = ints(burdens)
        check_burdens(array, self.system.y.burdens)
        if ms_sat_unroll_grow(self.u, step) or \
                ms_sat_unroll_block(self.u, step, data(array), <int32_t>array.shape[0]):
            raise MemoryError("no memory for the search")

    def letters(self, int32_t steps):
        """The letters of the last model, as integers of bits."""
        cdef int words = (self.system.y.atoms + 63) // 64
        cdef uint64_t[::1] letter = np.zeros(words + 1, dtype=np.uint64)
        found = []
        for i in range(steps):
            ms_sat_unroll_letter(self.u, i, &letter[0])
            found.append(big_int(&letter[0], words))
        return found

    def state(self, int32_t step):
        """Burdens before a step in the last model."""
        cdef int32_t[::1] burdens = np.zeros(self.system.y.burdens + 1, dtype=np.int32)
        cdef int32_t n = ms_sat_unroll_state(self.u, step, &burdens[0])
        return [burdens[i] for i in range(n)]

    @property
    def hopeless(self):
        """Whether the last False holds for every number of steps from then on."""
        return ms_sat_unroll_hopeless(self.u) != 0

    def loop(self, int32_t steps):
        """Where the loop of the last model starts."""
        return ms_sat_unroll_loop(self.u, steps)

    @property
    def ticks(self):
        return ms_sat_unroll_ticks(self.u)


cdef int check_burdens(const int32_t[::1] burdens, int32_t n) except -1:
    cdef Py_ssize_t i
    for i in range(burdens.shape[0]):
        if not 0 <= burdens[i] < n:
            raise ValueError("no such burden")
    return 0
