# cython: freethreading_compatible=True
"""Binding of csrc/ms_dfa and ms_dfa_compile: minimal automata on shared decision diagrams."""

from libc.math cimport INFINITY
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
        MS_BUDGET_WORK
        MS_BUDGET_SLICE
    ctypedef struct ms_budget:
        ms_poll *poll
        int64_t deadline_ns
        uint64_t max_nodes
        uint32_t max_states
        uint32_t work
        uint32_t slices
        uint64_t total_slices
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
        uint32_t node_room
        uint32_t state_room
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

#: Of any one decision diagram, rounded up to a power of two: some hundreds of megabytes.
MAX_NODES = 1 << 22
#: Fewer where few states are allowed: what ends with them should not first take all that memory.
cdef object FEWEST_NODES = 1 << 18
cdef object NODES_A_STATE = 1 << 10
#: Steps of some tens of nanoseconds: without a limit on time this is one.
cdef object WORK_A_NODE = 16


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
        self.budget.max_nodes = min(MAX_NODES, FEWEST_NODES + NODES_A_STATE * max_states)
        self.budget.max_states = max_states
        self.budget.work = 0
        self.budget.slices = 0
        self.budget.total_slices = 0
        if timeout_s is None:
            self.budget.total_slices = 1 + WORK_A_NODE * self.budget.max_nodes // MS_BUDGET_SLICE
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
        if status == MS_BUDGET_WORK:
            raise UndecidedError(
                f"no automaton after {WORK_A_NODE * self.budget.max_nodes} steps: "
                f"with timeout_s they are not counted"
            )
        if status == MS_BUDGET_STOPPED:
            self.poll.reraise()
            raise UndecidedError("the computation was stopped")
        if status == MS_BUDGET_LETTERS:
            raise ArgumentValueError("letters must allow some letter of the alphabet, but allow none")
        raise MemoryError("no memory for an automaton")


cdef class Program:
    """Formulas as ms_logic.h wants them: distinct subformulas, operands first, all binary."""

    cdef ms_dfa_program program
    cdef int32_t *numbers  # ops, left, right: `room` each
    cdef double *bounds    # low, high
    cdef int32_t room
    #: Names of atoms, comparisons or None; name -> index.
    cdef readonly list names, predicates
    cdef dict places
    cdef dict index
    cdef bint fixed

    def __cinit__(self, names):
        self.room = 0
        self.fixed = names is not None
        self.names = list(names) if self.fixed else []
        self.predicates = [None] * len(self.names)
        self.places = {name: k for k, name in enumerate(self.names)}
        self.index = {}
        self.program.n = 0

    def __dealloc__(self):
        free(self.numbers)
        free(self.bounds)

    cdef int grow(self) except -1:
        cdef int32_t room = 2 * self.room if self.room else 32, k, n = self.program.n
        cdef int32_t *numbers = <int32_t *>malloc(3 * <size_t>room * sizeof(int32_t))
        cdef double *bounds = <double *>malloc(2 * <size_t>room * sizeof(double))
        if numbers == NULL or bounds == NULL:
            free(numbers)
            free(bounds)
            raise MemoryError("no memory for a formula")
        for k in range(3 if n else 0):
            memcpy(numbers + k * <size_t>room, self.numbers + k * <size_t>self.room,
                   n * sizeof(int32_t))
        for k in range(2 if n else 0):
            memcpy(bounds + k * <size_t>room, self.bounds + k * <size_t>self.room,
                   n * sizeof(double))
        free(self.numbers)
        free(self.bounds)
        self.numbers = numbers
        self.bounds = bounds
        self.room = room
        self.program.ops = numbers
        self.program.left = numbers + room
        self.program.right = numbers + 2 * <size_t>room
        self.program.low = bounds
        self.program.high = bounds + room
        return 0

    cdef int32_t row(self, int32_t op, int32_t left, int32_t right, double low,
                     double high) except -1:
        cdef int32_t n = self.program.n
        if n == self.room:
            self.grow()
        self.numbers[n] = op
        self.numbers[self.room + n] = left
        self.numbers[2 * <size_t>self.room + n] = right
        self.bounds[n] = low
        self.bounds[self.room + n] = high
        self.program.n = n + 1
        return n

    cdef int32_t place(self, name, comparison) except -1:
        found = self.places.get(name)
        if found is None:
            if self.fixed:
                raise ArgumentValueError(f"alphabet must have every atom, but lacks {name!r}")
            found = len(self.names)
            self.names.append(name)
            self.predicates.append(comparison)
            self.places[name] = found
        elif comparison is not None:
            self.predicates[found] = comparison
        return found

    cdef int32_t add(self, formula) except -1:
        """Index of a formula, whose subformulas are added before it."""
        cdef list stack = [formula]
        cdef list level
        cdef tuple args
        cdef int32_t op, k, n, at
        cdef bint pending
        cdef double low, high
        index = self.index
        while stack:
            node = stack[len(stack) - 1]
            if node in index:
                stack.pop()
                continue
            args = node.args
            n = <int32_t>len(args)
            pending = False
            for k in range(n - 1, -1, -1):
                arg = args[k]
                if arg not in index:
                    stack.append(arg)
                    pending = True
            if pending:
                continue
            stack.pop()
            op = node.op
            if n == 0:
                k = -1
                comparison = node.predicate
                if comparison is not None:
                    k = self.place(str(comparison), comparison)
                elif node.atom is not None:
                    k = self.place(node.atom, None)
                index[node] = self.row(op, k, -1, 0.0, INFINITY)
            elif n == 1:
                low, high = 0.0, INFINITY
                if node.interval is not None:
                    low, high = node.interval
                index[node] = self.row(op, index[args[0]], -1, low, high)
            elif n == 2:
                low, high = 0.0, INFINITY
                if node.interval is not None:
                    low, high = node.interval
                index[node] = self.row(op, index[args[0]], index[args[1]], low, high)
            else:
                # A balanced tree: its depth is the logarithm of the number of operands.
                level = [index[arg] for arg in args]
                while len(level) > 1:
                    pairs = []
                    for k in range(0, <int32_t>len(level) - 1, 2):
                        at = self.row(op, level[k], level[k + 1], 0.0, INFINITY)
                        pairs.append(at)
                    if len(level) & 1:
                        pairs.append(level[len(level) - 1])
                    level = pairs
                index[node] = level[0]
        return index[formula]


cdef class Kernel:
    """An automaton as the kernels have it. Does not change; threads may share it."""

    cdef ms_dfa dfa
    #: States, nodes of the diagram.
    cdef readonly int32_t n_states, n_nodes

    def __init__(self):
        raise TypeError("made by compiled(), product() and restored()")

    def __dealloc__(self):
        ms_dfa_free(&self.dfa)

    cdef int own(self, ms_dfa *a) except -1:
        self.dfa = a[0]
        self.n_states = a.n_states
        self.n_nodes = a.n_nodes
        memset(a, 0, sizeof(ms_dfa))
        return 0

    cdef int32_t public(self, int32_t ref) noexcept nogil:
        return ref if ref != INT32_MIN else ~self.n_states

    def roots(self):
        """(n_states,) int32."""
        cdef int32_t k
        out = np.empty(self.n_states, dtype=np.int32)
        cdef int32_t[::1] root = out
        for k in range(self.n_states):
            root[k] = self.public(self.dfa.roots[k])
        out.flags.writeable = False
        return out

    def accepting(self):
        """(n_states,) bool."""
        out = np.empty(self.n_states, dtype=np.bool_)
        cdef uint8_t[::1] bits = out.view(np.uint8)
        memcpy(&bits[0], self.dfa.accepting, self.n_states)
        out.flags.writeable = False
        return out

    def nodes(self):
        """(n_nodes, 3) int32."""
        cdef int32_t k
        out = np.empty((self.n_nodes, 3), dtype=np.int32)
        cdef int32_t[:, ::1] node = out
        for k in range(self.n_nodes):
            node[k, 0] = self.dfa.nodes[k].var
            node[k, 1] = self.public(self.dfa.nodes[k].low)
            node[k, 2] = self.public(self.dfa.nodes[k].high)
        out.flags.writeable = False
        return out

    def colours(self):
        """(n_states,) uint8."""
        cdef Budget budget = Budget(1, None)
        out = np.empty(self.n_states, dtype=np.uint8)
        cdef uint8_t[::1] colour = out
        ms_dfa_colours(&self.dfa, &colour[0], &budget.budget)
        budget.check()
        out.flags.writeable = False
        return out

    def step(self, int32_t state, mask):
        """The state after a letter; n_states where it cannot occur."""
        cdef int32_t ref = self.dfa.roots[state]
        while ref >= 0:
            if mask >> <object>self.dfa.nodes[ref].var & 1:
                ref = self.dfa.nodes[ref].high
            else:
                ref = self.dfa.nodes[ref].low
        return ~self.public(ref)

    def walk(self, int32_t state, const uint64_t[:, ::1] masks):
        """The state after each letter: (n,) int32. `masks`: (n, words), bit i of a letter atom i.

        A letter that cannot occur leads to state n_states, and there the walk stays.
        """
        cdef Py_ssize_t n = masks.shape[0], i
        cdef int32_t ref, var
        cdef const ms_dfa_node *nodes = self.dfa.nodes
        out = np.empty(n, dtype=np.int32)
        cdef int32_t[::1] states = out
        with nogil:
            for i in range(n):
                if state < self.n_states:
                    ref = self.dfa.roots[state]
                    while ref >= 0:
                        var = nodes[ref].var
                        if masks[i, var >> 6] >> (var & 63) & 1:
                            ref = nodes[ref].high
                        else:
                            ref = nodes[ref].low
                    state = ~self.public(ref)
                states[i] = state
        return out

    def table(self, int n_atoms):
        """All transitions: (n_states, 2**n_atoms) int32, by bit mask."""
        cdef Py_ssize_t i, mask, letters = <Py_ssize_t>1 << n_atoms
        cdef int32_t ref
        out = np.empty((self.n_states, letters), dtype=np.int32)
        cdef int32_t[:, ::1] states = out
        with nogil:
            for i in range(self.n_states):
                for mask in range(letters):
                    ref = self.dfa.roots[i]
                    while ref >= 0:
                        if mask >> self.dfa.nodes[ref].var & 1:
                            ref = self.dfa.nodes[ref].high
                        else:
                            ref = self.dfa.nodes[ref].low
                    states[i, mask] = ~self.public(ref)
        return out

    def shortest(self, bint accepted):
        """A shortest non-empty word that is accepted, or rejected: masks as int, or None."""
        cdef Budget budget = Budget(1, None)
        cdef int32_t count, k, step
        steps = np.empty(self.n_states + self.n_nodes + 1, dtype=np.int32)
        cdef int32_t[::1] path = steps
        with nogil:
            ms_dfa_shortest(&self.dfa, accepted, &path[0], &count, &budget.budget)
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
                mask |= 1 << <object>self.dfa.nodes[step >> 1].var
        masks.reverse()
        return masks


def restored(const int32_t[::1] roots, const uint8_t[::1] accepting, const int32_t[:, ::1] nodes,
             int32_t n_atoms):
    """The Kernel of arrays; whatever they are, it is safe to walk."""
    cdef int32_t n = <int32_t>roots.shape[0], m = <int32_t>nodes.shape[0], k, side, ref
    cdef Kernel kernel = Kernel.__new__(Kernel)
    cdef ms_dfa *a = &kernel.dfa
    if n < 1 or accepting.shape[0] != n or nodes.shape[1] != 3:
        raise ValueError("not the arrays of an automaton")
    a.nodes = <ms_dfa_node *>malloc((<size_t>m + 1) * sizeof(ms_dfa_node))
    a.roots = <int32_t *>malloc(<size_t>n * sizeof(int32_t))
    a.accepting = <uint8_t *>malloc(n)
    if a.nodes == NULL or a.roots == NULL or a.accepting == NULL:
        raise MemoryError("no memory for an automaton")
    for k in range(n):
        if not ~n <= roots[k] < m:
            raise ValueError("not the arrays of an automaton")
        a.roots[k] = roots[k] if roots[k] != ~n else INT32_MIN
        a.accepting[k] = accepting[k] != 0
    for k in range(m):
        if not (0 <= nodes[k, 0] < n_atoms and ~n <= nodes[k, 1] < k and ~n <= nodes[k, 2] < k):
            raise ValueError("not the arrays of an automaton")
        a.nodes[k].var = nodes[k, 0]
        a.nodes[k].low = nodes[k, 1] if nodes[k, 1] != ~n else INT32_MIN
        a.nodes[k].high = nodes[k, 2] if nodes[k, 2] != ~n else INT32_MIN
        for side in range(1, 3):
            ref = nodes[k, side]
            if ref >= 0 and nodes[ref, 0] <= nodes[k, 0]:
                raise ValueError("not the arrays of an automaton")
    a.n_states = kernel.n_states = n
    a.n_nodes = kernel.n_nodes = m
    return kernel


def compiled(formula, legal, names, int letters, max_states, timeout_s):
    """Minimal automaton of a formula: Kernel, names of its atoms, and comparisons or None.

    `legal`: a formula that says which letters occur, or None. `names`: the alphabet, or None.
    `letters`: 0 all, 1 at most one true atom, 2 exactly one. Releases the GIL.
    """
    cdef Program program = Program(names)
    cdef Budget budget = Budget(max_states, timeout_s)
    cdef Kernel kernel = Kernel.__new__(Kernel)
    cdef int32_t root = program.add(formula)
    cdef int32_t which = -1 if legal is None else program.add(legal)
    cdef ms_dfa out
    program.program.n_atoms = <int32_t>len(program.names)
    memset(&out, 0, sizeof(out))
    try:
        with nogil:
            ms_dfa_compile(&program.program, root, letters, which, &out, &budget.budget)
        budget.check()
        kernel.own(&out)
    finally:
        ms_dfa_free(&out)
    return kernel, tuple(program.names), tuple(program.predicates)


cdef int reordered(Kernel kernel, const int32_t[::1] places, ms_dfa *out,
                   Budget budget) except -1:
    """A copy whose variable k has the place places[k] of another order."""
    with nogil:
        ms_dfa_reorder(&kernel.dfa, &places[0], out, &budget.budget)
    return budget.check()


cdef bint moves(const int32_t[::1] places) noexcept:
    cdef Py_ssize_t k
    for k in range(places.shape[0]):
        if places[k] != k:
            return True
    return False


def product(Kernel a, Kernel b, const int32_t[::1] places_a, const int32_t[::1] places_b,
            unsigned table, max_states, timeout_s):
    """Minimal automaton of pairs of states of two automata: its Kernel. Releases the GIL.

    `places_a`, `places_b`: of their variables, in the order of the result. Bit 2 x + y of `table`:
    whether a pair accepts of whose states the first accepts as x says, the second as y.
    """
    cdef Budget budget = Budget(max_states, timeout_s)
    cdef Kernel kernel = Kernel.__new__(Kernel)
    cdef ms_dfa left, right, out
    cdef ms_dfa *use_a = &a.dfa
    cdef ms_dfa *use_b = &b.dfa
    memset(&left, 0, sizeof(left))
    memset(&right, 0, sizeof(right))
    memset(&out, 0, sizeof(out))
    try:
        if moves(places_a):
            use_a = &left
            reordered(a, places_a, use_a, budget)
        if moves(places_b):
            use_b = &right
            reordered(b, places_b, use_b, budget)
        with nogil:
            if not ms_dfa_product(use_a, use_b, table, &out, &budget.budget):
                ms_dfa_minimise(&out, &budget.budget)
        budget.check()
        kernel.own(&out)
    finally:
        ms_dfa_free(&left)
        ms_dfa_free(&right)
        ms_dfa_free(&out)
    return kernel
