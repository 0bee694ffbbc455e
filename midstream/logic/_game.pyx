# cython: freethreading_compatible=True
"""Binding of csrc/ms_game: games on an automaton's diagrams, and the stepping of shields."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import numpy as np

from midstream._core._poll cimport Poll, ms_poll
from midstream._core.errors import StateLimitError

cdef extern from "ms_game.h":
    int MS_GAME_STOPPED
    int MS_GAME_NO_MOVE
    ctypedef struct ms_game:
        size_t n_states
        size_t n_nodes
        const int32_t *roots
        const int32_t *nodes
        const uint8_t *owner
        int64_t *start
        int32_t *pred
    ctypedef struct ms_shield:
        const ms_game *game
        const uint8_t *safe
        const double *weight
        int blind
        double *cost
        uint32_t *stamp
        int32_t *stack
        uint32_t now
    void ms_game_link(ms_game *game) noexcept nogil
    int ms_game_attract(const ms_game *game, int player, const uint8_t *target,
                        int32_t *rank, uint8_t *choice, uint8_t *left, int32_t *queue,
                        ms_poll *poll) noexcept nogil
    int ms_shield_correct(ms_shield *shield, int32_t state, uint64_t letter, uint64_t *corrected,
                          int32_t *next) noexcept nogil

cdef extern from "ms_budget.h":
    enum ms_budget_status:
        MS_BUDGET_OK
        MS_BUDGET_NODES
        MS_BUDGET_STOPPED
    ctypedef struct ms_budget:
        ms_poll *poll
        int64_t deadline_ns
        uint64_t max_nodes
        uint32_t max_states
        uint32_t work
        int status

cdef extern from "ms_game_quantify.h":
    int ms_game_forces(const ms_game *game, const uint8_t *target, int first, uint32_t *value,
                       uint8_t *out, uint64_t *spoiler, ms_budget *budget) noexcept nogil

#: Of one decision diagram: some hundreds of megabytes.
MAX_NODES = 1 << 23


cdef class Game:
    """A game on an automaton's diagrams: `roots` (states,), `nodes` (n, 3), `owner` by variable.

    The owner of a variable, 0 or 1, chooses its value. Methods release the GIL, are interrupted by
    Ctrl-C, and may run in several threads at a time.
    """

    cdef ms_game game
    cdef const int32_t[::1] roots
    cdef const int32_t[:, ::1] nodes
    cdef const uint8_t[::1] owner
    cdef int64_t[::1] start
    cdef int32_t[::1] pred
    cdef readonly Py_ssize_t n_states, n_nodes, n_variables
    cdef bint sorted

    def __cinit__(self, const int32_t[::1] roots, const int32_t[:, ::1] nodes,
                  const uint8_t[::1] owner):
        cdef Py_ssize_t i, k, states = roots.shape[0], count = nodes.shape[0]
        cdef Py_ssize_t variables = owner.shape[0]
        cdef int32_t reference
        if states < 1 or nodes.shape[1] != 3 or states + 2 * count > 0x7ffffffe:
            raise ValueError("not an automaton")
        for i in range(states):
            if not -states <= roots[i] < count:
                raise IndexError("no such state or node")
        self.sorted = True
        for i in range(count):
            if not 0 <= nodes[i, 0] < variables:
                raise IndexError("no such variable")
            for k in range(1, 3):
                reference = nodes[i, k]
                if not -states <= reference < count:
                    raise IndexError("no such state or node")
                # Without this the walks might not end.
                if reference >= 0 and nodes[reference, 0] <= nodes[i, 0]:
                    raise ValueError("variables must increase along paths")
                self.sorted = self.sorted and reference < i
        self.n_states, self.n_nodes, self.n_variables = states, count, variables
        self.roots, self.nodes, self.owner = roots, nodes, owner
        self.start = np.empty(states + count + 1, dtype=np.int64)
        self.pred = np.empty(2 * count + states, dtype=np.int32)
        self.game.n_states = states
        self.game.n_nodes = count
        self.game.roots = &roots[0]
        self.game.nodes = &nodes[0, 0] if count else NULL
        self.game.owner = &owner[0] if variables else NULL
        self.game.start = &self.start[0]
        self.game.pred = &self.pred[0]
        with nogil:
            ms_game_link(&self.game)

    def attract(self, int player, const uint8_t[::1] target):
        """From where `player` forces the play into `target`: (rank, choice).

        Ranks are int32 by node, then by state: the letters it takes, -1 where it cannot be forced.
        Choices are uint8 by node: which way the player goes at a node of his that has a rank.
        """
        cdef Poll poll = Poll()
        cdef int status
        cdef Py_ssize_t total = self.n_nodes + self.n_states
        if target.shape[0] != self.n_states or player not in (0, 1):
            raise ValueError("not a target")
        ranks = np.empty(total, dtype=np.int32)
        # One more, so that empty arrays have an address.
        choices = np.empty(self.n_nodes + 1, dtype=np.uint8)
        cdef int32_t[::1] rank = ranks, queue = np.empty(total, dtype=np.int32)
        cdef uint8_t[::1] choice = choices, left = np.empty(self.n_nodes + 1, dtype=np.uint8)
        with nogil:
            status = ms_game_attract(&self.game, player, &target[0], &rank[0], &choice[0], &left[0],
                                     &queue[0], &poll.poll)
        if status == MS_GAME_STOPPED:
            poll.reraise()
        return ranks, choices[:self.n_nodes]

    def forces(self, const uint8_t[::1] target, bint first):
        """From where player 1 can make the next state one of `target`: (uint8 by state, spoiler).

        `first`: before he sees the other's variables. Any order of variables will do; children must
        come before parents. The spoiler is a mask of what the other does against it at first.
        """
        cdef Poll poll = Poll()
        cdef ms_budget budget
        cdef uint64_t spoiler = 0
        cdef int status
        if target.shape[0] != self.n_states or not self.sorted:
            raise ValueError("not a target, or children not before parents")
        memset(&budget, 0, sizeof(budget))
        budget.poll = &poll.poll
        budget.max_nodes = MAX_NODES
        forced = np.empty(self.n_states, dtype=np.uint8)
        cdef uint8_t[::1] out = forced
        cdef uint32_t[::1] value = np.empty(self.n_nodes + 1, dtype=np.uint32)
        with nogil:
            status = ms_game_forces(&self.game, &target[0], first, &value[0], &out[0], &spoiler,
                                    &budget)
        if status == MS_BUDGET_STOPPED:
            poll.reraise()
        if status == MS_BUDGET_NODES:
            raise StateLimitError(
                f"a decision diagram has more than {MAX_NODES} nodes", limit=MAX_NODES
            )
        if status != MS_BUDGET_OK:
            raise MemoryError("no memory for a game")
        return forced, spoiler


cdef class ShieldCore:
    """Steps of a shield: the cheapest change of each letter that stays in `safe` states.

    Variables of owner 1 may be changed, at their `weight`. `blind`: before the others are known.
    With a table, which takes 12 bytes for each state and letter, a step is two loads.
    One thread at a time.
    """

    cdef Game game
    cdef ms_shield shield
    cdef const uint8_t[::1] safe
    cdef const double[::1] weight
    cdef double[::1] cost
    cdef uint32_t[::1] stamp
    cdef int32_t[::1] stack
    cdef uint64_t[::1] corrected
    cdef int32_t[::1] following
    cdef uint64_t limit, mine
    cdef bint tabled
    #: The current state.
    cdef readonly int32_t state
    #: Letters seen and letters changed since the start.
    cdef readonly uint64_t steps, corrections

    def __cinit__(self, Game game, const uint8_t[::1] safe, const double[::1] weight, bint blind,
                  uint64_t table_cells):
        cdef Py_ssize_t count = game.n_nodes, variable
        cdef int32_t state
        cdef uint64_t letter, cells, cell
        if game.n_variables > 64 or safe.shape[0] != game.n_states:
            raise ValueError("not a shield")
        if weight.shape[0] != game.n_variables:
            raise ValueError("not weights")
        self.game, self.safe, self.weight = game, safe, weight
        self.cost = np.zeros(count + 1)
        self.stamp = np.zeros(count + 1, dtype=np.uint32)
        self.stack = np.zeros(2 * count + 2, dtype=np.int32)
        self.shield.game = &game.game
        self.shield.safe = &safe[0]
        self.shield.weight = &weight[0] if game.n_variables else NULL
        self.shield.blind = blind
        self.shield.cost = &self.cost[0]
        self.shield.stamp = &self.stamp[0]
        self.shield.stack = &self.stack[0]
        self.shield.now = 0
        self.limit = ~<uint64_t>0
        if game.n_variables < 64:
            self.limit = (<uint64_t>1 << game.n_variables) - 1
        self.mine = 0
        for variable in range(game.n_variables):
            if game.owner[variable]:
                self.mine |= <uint64_t>1 << variable
        self.state, self.steps, self.corrections = 0, 0, 0
        self.tabled = (game.n_variables < 40
                       and (<uint64_t>game.n_states << game.n_variables) <= table_cells)
        if self.tabled:
            cells = <uint64_t>game.n_states << game.n_variables
            self.corrected = np.zeros(cells, dtype=np.uint64)
            self.following = np.full(cells, -1, dtype=np.int32)
            for state in range(game.n_states):
                # The initial state stands for no letter yet, and need not be safe.
                if not safe[state] and state != 0:
                    continue
                for letter in range(self.limit + 1):
                    cell = (<uint64_t>state << game.n_variables) | letter
                    ms_shield_correct(&self.shield, state, letter, &self.corrected[cell],
                                      &self.following[cell])

    cdef int32_t find(self, uint64_t letter, uint64_t *corrected) except -2:
        """The state after the corrected letter; -1 where there is none."""
        cdef uint64_t cell
        cdef int32_t following
        if letter > self.limit:
            raise OverflowError("letter")
        if self.tabled:
            cell = (<uint64_t>self.state << self.game.n_variables) | letter
            corrected[0] = self.corrected[cell]
            return self.following[cell]
        if ms_shield_correct(&self.shield, self.state, letter, corrected, &following):
            return -1
        return following

    @cython.critical_section
    def correct_mask(self, uint64_t letter):
        """The corrected letter; None where no change would do."""
        cdef uint64_t corrected = 0
        if self.find(letter, &corrected) < 0:
            return None
        return corrected

    @cython.critical_section
    def step_mask(self, uint64_t letter):
        """Correct a letter, count, and go on; None where no change would do."""
        cdef uint64_t corrected = 0
        cdef int32_t following = self.find(letter, &corrected)
        if following < 0:
            return None
        self.state = following
        self.steps += 1
        self.corrections += corrected != letter
        return corrected

    @cython.critical_section
    def row(self, int32_t state):
        """All letters corrected in a state, and the states after them (-1: none); 20 atoms at most."""
        cdef uint64_t letter
        if not 0 <= state < self.game.n_states or self.game.n_variables > 20:
            raise IndexError("no such state, or too many letters")
        corrected = np.zeros(self.limit + 1, dtype=np.uint64)
        following = np.full(self.limit + 1, -1, dtype=np.int32)
        cdef uint64_t[::1] changed = corrected
        cdef int32_t[::1] after = following
        for letter in range(self.limit + 1):
            ms_shield_correct(&self.shield, state, letter, &changed[letter], &after[letter])
        return corrected, following

    @cython.critical_section
    def go(self, int32_t state, uint64_t steps, uint64_t corrections):
        """Set the state and the counts."""
        if not 0 <= state < self.game.n_states:
            raise IndexError("no such state")
        self.state, self.steps, self.corrections = state, steps, corrections
