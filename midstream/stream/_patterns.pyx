# cython: freethreading_compatible=True
"""Many patterns over a text in pieces: automata that are built as the text asks for them.

Per pattern, the threads of a Pike machine in order of preference, which is what `re` prefers, and
for each thread the character where it began. Threads with one beginning form a group; a
deterministic state is the list of (node, group), so that all a step does to the beginnings is to
move them (tagged automata, Laurikari 2000, of the one tag that is needed). The states of all
patterns together form one of the scanner: a table gives the next, and says what to do on the way.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport (
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
    PyUnicode_Substring,
)
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

import threading

from midstream._core import regex
from midstream._core.errors import ArgumentValueError, MidstreamError

cdef int CHAR = regex.CHAR
cdef int SPLIT = regex.SPLIT
cdef int START = regex.START
cdef int LINE_START = regex.LINE_START
cdef int END = regex.END
cdef int LINE_END = regex.LINE_END
cdef int BOUNDARY = regex.BOUNDARY
cdef int MATCH = regex.MATCH
cdef int OTHER = regex.OTHER
cdef int WORD = regex.WORD
cdef int LINE_FEED = regex.LINE_FEED
cdef int EDGE = regex.EDGE
cdef int UNKNOWN = regex.UNKNOWN

cdef enum:
    # In the table of next states.
    MISSING = -1
    ACTS = 1 << 30  # the rest is where in `acts` to look
    # A group that a transition begins at the character it reads.
    HERE = -1
    NONE = -2
    NO_CLASS = 0xFFFF
    MAX_BEHIND = 1 << 20
    PAGES = 0x110000 >> 8
    # The end of the text, as a class of characters.
    END_OF_TEXT = -1

cdef tuple NOTHING = ()


cdef struct Act:
    # What a step does to one pattern; -2 is nothing, -1 the character that is read.
    int32_t part
    int32_t accepts_before  # group that matches up to before this character
    int32_t accepts         # group that matches with this character
    int32_t before, after   # kinds of the character before, and of this one
    int32_t ends            # nothing can change the match any more
    int32_t n_groups        # beginnings after the step; -1 where they stay
    int32_t sources         # where in `sources` it stands which each was before


cdef class State:
    """A deterministic state of one pattern."""

    cdef bytes items     # pairs of int32: node, group; by preference
    cdef int before      # what the character before is, where the pattern asks
    cdef bint matched    # a match is there; only threads that are preferred to it go on
    cdef bint waits      # some thread waits to know what follows
    cdef int n_groups    # beginnings kept; the threads begun here have the group of this number
    cdef dict next       # class of characters -> Step


cdef class Step:
    """What a character does to a state of one pattern."""

    cdef State to
    cdef Act act
    cdef bint acts
    cdef int32_t *sources

    def __dealloc__(self):
        PyMem_Free(self.sources)


cdef class Part:
    """One pattern: its automaton, and the states met."""

    cdef readonly str name
    cdef object pattern
    cdef int n_nodes, first
    cdef int *kind
    cdef int *to
    cdef int *other
    cdef int *set_of     # number of the set of characters that a node reads
    cdef int *seen
    cdef int *stack
    cdef int *items      # scratch: pairs
    cdef int *resolved   # scratch: pairs
    cdef int n_items, stamp
    cdef bint asks_words, asks_lines, asks_edges
    cdef dict states
    cdef int n_states
    cdef Py_ssize_t state_bytes

    def __cinit__(self, str name, pattern, dict sets):
        nodes = pattern.nodes
        cdef int n = len(nodes), node
        self.name = name
        self.pattern = pattern
        self.n_nodes = n
        self.first = pattern.first
        self.asks_words = pattern.asks_words
        self.asks_lines = pattern.asks_lines
        self.asks_edges = pattern.asks_edges
        self.kind = <int *>PyMem_Calloc(n, sizeof(int))
        self.to = <int *>PyMem_Calloc(n, sizeof(int))
        self.other = <int *>PyMem_Calloc(n, sizeof(int))
        self.set_of = <int *>PyMem_Calloc(n, sizeof(int))
        self.seen = <int *>PyMem_Calloc(n, sizeof(int))
        self.stack = <int *>PyMem_Calloc(2 * n + 2, sizeof(int))
        self.items = <int *>PyMem_Calloc(2 * n + 2, sizeof(int))
        self.resolved = <int *>PyMem_Calloc(2 * n + 2, sizeof(int))
        if (self.kind == NULL or self.to == NULL or self.other == NULL or self.set_of == NULL
                or self.seen == NULL or self.stack == NULL or self.items == NULL
                or self.resolved == NULL):
            raise MemoryError
        for node in range(n):
            kind, payload, to, other = nodes[node]
            self.kind[node] = kind
            self.to[node] = to
            self.other[node] = other
            if kind == CHAR:
                key = payload.key(), pattern.fold
                self.set_of[node] = sets.setdefault(key, (len(sets), payload, pattern.fold))[0]
        self.states = {}

    def __dealloc__(self):
        PyMem_Free(self.kind)
        PyMem_Free(self.to)
        PyMem_Free(self.other)
        PyMem_Free(self.set_of)
        PyMem_Free(self.seen)
        PyMem_Free(self.stack)
        PyMem_Free(self.items)
        PyMem_Free(self.resolved)

    cdef bint is_empty(self):
        """Whether it may match without reading a character."""
        cdef int size = 1, node, kind
        self.stamp += 1
        self.stack[0] = self.first
        while size:
            size -= 1
            node = self.stack[size]
            if self.seen[node] == self.stamp:
                continue
            self.seen[node] = self.stamp
            kind = self.kind[node]
            if kind == MATCH:
                return True
            if kind != CHAR:
                self.stack[size] = self.to[node]
                size += 1
            if kind == SPLIT:
                self.stack[size] = self.other[node]
                size += 1
        return False

    cdef int kind_before(self, int kind) noexcept:
        """What is remembered of a character."""
        if kind == EDGE:
            return EDGE if self.asks_edges or self.asks_words else OTHER
        if kind == WORD:
            return WORD if self.asks_words else OTHER
        if kind == LINE_FEED:
            return LINE_FEED if self.asks_lines else OTHER
        return OTHER

    cdef bint close(self, int node, int group, int before, int after) noexcept:
        """Add what is reached from `node` without a character; True at a match."""
        cdef int size = 1, kind
        self.stack[0] = node
        while size:
            size -= 1
            node = self.stack[size]
            if self.seen[node] == self.stamp:
                continue
            self.seen[node] = self.stamp
            kind = self.kind[node]
            if kind == SPLIT:
                self.stack[size] = self.other[node]
                self.stack[size + 1] = self.to[node]
                size += 2
                continue
            if kind == MATCH:
                return True
            if kind == CHAR or (kind > LINE_START and after == UNKNOWN):
                self.items[2 * self.n_items] = node
                self.items[2 * self.n_items + 1] = group
                self.n_items += 1
                continue
            if kind == START:
                if before != EDGE:
                    continue
            elif kind == LINE_START:
                if before != EDGE and before != LINE_FEED:
                    continue
            elif kind == END:
                if after != EDGE:
                    continue
            elif kind == LINE_END:
                if after != EDGE and after != LINE_FEED:
                    continue
            elif ((before == WORD) != (after == WORD)) != (kind == BOUNDARY):
                continue
            self.stack[size] = self.to[node]
            size += 1
        return False

    cdef State start(self, int kind):
        """The state with no thread but those that begin here, behind a character of `kind`."""
        cdef int before = self.kind_before(kind)
        self.stamp += 1
        self.n_items = 0
        self.close(self.first, 0, before, UNKNOWN)
        return self.intern(before, False, 0)

    cdef State intern(self, int before, bint matched, int n_groups):
        """The state of the threads in `items`."""
        cdef bytes items = PyBytes_FromStringAndSize(
            <char *>self.items, 2 * self.n_items * sizeof(int)
        )
        return self.same(items, before, matched, n_groups)

    cdef State same(self, bytes items, int before, bint matched, int n_groups):
        cdef tuple key = (items, before, matched, n_groups)
        cdef State state = self.states.get(key)
        cdef int i
        cdef const int *pairs
        if state is None:
            state = State()
            state.items = items
            state.before = before
            state.matched = matched
            state.n_groups = n_groups
            state.next = {}
            pairs = <const int *>PyBytes_AS_STRING(items)
            for i in range(PyBytes_GET_SIZE(items) // (2 * <int>sizeof(int))):
                if self.kind[pairs[2 * i]] != CHAR:
                    state.waits = True
            self.states[key] = state
            self.state_bytes += PyBytes_GET_SIZE(items) + 500
        return state

    cdef Step step(self, State state, int class_, int kind, const uint8_t *members):
        """What a character of this class and kind does; `members`: the sets it is in."""
        cdef object known = state.next.get(class_)
        if known is not None:
            return known
        cdef const int *pairs = <const int *>PyBytes_AS_STRING(state.items)
        cdef int n = PyBytes_GET_SIZE(state.items) // (2 * <int>sizeof(int))
        cdef int i, node, group, before
        cdef int here = state.n_groups  # the group of the threads begun before this character
        cdef Step step = Step()
        cdef int accepts_before = NONE, accepts = NONE
        if state.waits:
            self.stamp += 1
            self.n_items = 0
            for i in range(n):
                group = pairs[2 * i + 1]
                if self.close(pairs[2 * i], group, state.before, kind):
                    accepts_before = HERE if group == here else group
                    break
            n = self.n_items
            memcpy(self.resolved, self.items, 2 * n * sizeof(int))
            pairs = self.resolved
        before = self.kind_before(kind)
        cdef bint matched = state.matched or accepts_before != NONE
        self.stamp += 1
        self.n_items = 0
        if class_ != END_OF_TEXT:
            for i in range(n):
                node = pairs[2 * i]
                if self.kind[node] == CHAR and members[self.set_of[node]]:
                    group = pairs[2 * i + 1]
                    if self.close(self.to[node], group, before, UNKNOWN):
                        accepts = HERE if group == here else group
                        matched = True
                        break
        if not matched:
            self.close(self.first, here + 1, before, UNKNOWN)
        # Number the groups anew, without those that are gone.
        cdef int last = NONE, number = -1, n_groups = 0
        cdef bint moved = False
        step.sources = <int32_t *>PyMem_Malloc((here + 1) * sizeof(int32_t))
        if step.sources == NULL:
            raise MemoryError
        for i in range(self.n_items):
            group = self.items[2 * i + 1]
            if group != last:
                last = group
                number += 1
                if group <= here:
                    step.sources[number] = HERE if group == here else group
                    moved = moved or step.sources[number] != number
                    n_groups += 1
            self.items[2 * i + 1] = number
        step.act.ends = matched and self.n_items == 0
        # Where the match ended before this character, the scanner goes back there.
        step.to = self.start(kind) if step.act.ends else self.intern(before, matched, n_groups)
        step.act.accepts_before = accepts_before
        step.act.accepts = accepts
        step.act.before = state.before
        step.act.after = before
        step.act.n_groups = n_groups if moved else -1
        step.acts = moved or step.act.ends or accepts != NONE or accepts_before != NONE
        state.next[class_] = step
        self.state_bytes += 250 + 4 * here
        return step


cdef class PatternTable:
    """What all scanners of a set of patterns share.

    Parameters
    ----------
    patterns : sequence of (str, Pattern)
    match : callable
        Makes what is found of a name, a start and an end.
    memory_limit_bytes : int
        States are forgotten, and found anew, beyond it.

    Notes
    -----
    Any number of threads may scan with one: each takes its turn, under the GIL or, where there is
    none, under the table's own lock.
    """

    cdef tuple parts
    cdef object match
    cdef list sets
    cdef object lock
    cdef Py_ssize_t memory_limit
    # Classes of characters that no pattern tells apart.
    cdef uint16_t[128] ascii
    cdef uint16_t **pages
    cdef dict classes      # members and kind -> class
    cdef list members      # of each class, as bytes of 0 and 1
    cdef list kinds
    # The table: a row of classes for each state of all patterns together.
    cdef readonly int generation
    cdef int width, n_rows, max_rows
    cdef int32_t *next
    cdef list keys         # states of the parts, by row
    cdef dict rows         # the same, back
    cdef tuple initial     # states at the beginning of a text, and their row; None: not known yet
    cdef int initial_row
    cdef Act *acts
    cdef int32_t *act_head # triples: row, first act, number of acts
    cdef int n_acts, max_acts, n_heads, max_heads
    cdef int32_t *sources
    cdef int n_sources, max_sources
    cdef Py_ssize_t n_pages

    def __cinit__(self, patterns, match, *, Py_ssize_t memory_limit_bytes):
        cdef dict sets = {}
        cdef int c
        self.parts = tuple([Part(name, pattern, sets) for name, pattern in patterns])
        self.sets = [(payload, fold) for _, payload, fold in sets.values()]
        self.match = match
        self.lock = threading.Lock()
        self.memory_limit = memory_limit_bytes
        self.pages = <uint16_t **>PyMem_Calloc(PAGES, sizeof(uint16_t *))
        if self.pages == NULL:
            raise MemoryError
        self.classes = {}
        self.members = []
        self.kinds = []
        for c in range(128):
            self.ascii[c] = self.classify(c)
        self.clear()

    def __dealloc__(self):
        cdef int page
        if self.pages != NULL:
            for page in range(PAGES):
                PyMem_Free(self.pages[page])
        PyMem_Free(self.pages)
        PyMem_Free(self.next)
        PyMem_Free(self.acts)
        PyMem_Free(self.act_head)
        PyMem_Free(self.sources)

    @property
    @cython.critical_section
    def memory_bytes(self):
        """Bytes of the states met and of the classes of characters, about."""
        return self.state_bytes() + self.n_pages * 512 + PAGES * sizeof(void *)

    @cython.critical_section
    def empties(self):
        """Names of the patterns that may match without a character."""
        cdef Part part
        return [part.name for part in self.parts if part.is_empty()]

    cdef Py_ssize_t state_bytes(self):
        cdef Part part
        cdef Py_ssize_t total = (
            self.max_rows * (self.width * sizeof(int32_t) + 150 + 8 * len(self.parts))
            + self.max_acts * sizeof(Act) + 3 * self.max_heads * sizeof(int32_t)
            + self.max_sources * sizeof(int32_t)
        )
        for part in self.parts:
            total += part.state_bytes
        return total

    cdef int classify(self, uint32_t c) except -1:
        """The class of a character, a new one if need be."""
        char = chr(c)
        key = bytes([payload.contains(char, fold) for payload, fold in self.sets])
        kind = regex.char_kind(char)
        found = self.classes.get((key, kind))
        if found is None:
            found = len(self.members)
            if found >= NO_CLASS:
                raise OverflowError("too many classes of characters")
            self.classes[key, kind] = found
            self.members.append(key)
            self.kinds.append(kind)
        return found

    cdef int class_of(self, uint32_t c) except -1:
        """The same, looked up."""
        cdef uint16_t *page
        cdef int found = 0
        if c < 128:
            return self.ascii[c]
        page = self.pages[c >> 8]
        if page != NULL and page[c & 255] != NO_CLASS:
            return page[c & 255]
        with self.lock:
            found = self.classify(c)
            page = self.pages[c >> 8]
            if page == NULL:
                page = <uint16_t *>PyMem_Malloc(256 * sizeof(uint16_t))
                if page == NULL:
                    raise MemoryError
                memset(page, 0xFF, 256 * sizeof(uint16_t))
                self.pages[c >> 8] = page
                self.n_pages += 1
            page[c & 255] = found
        return found

    cdef int clear(self) except -1:
        """Forget all states; scanners find theirs anew by what it is made of."""
        cdef Part part
        if self.width < len(self.members):
            # Room for some more, which other scripts bring.
            self.width = len(self.members) + 8
        self.generation += 1
        self.keys = []
        self.rows = {}
        self.initial = None
        PyMem_Free(self.next)
        PyMem_Free(self.acts)
        PyMem_Free(self.act_head)
        PyMem_Free(self.sources)
        self.next = NULL
        self.acts = NULL
        self.act_head = NULL
        self.sources = NULL
        self.n_rows = self.max_rows = self.n_acts = self.max_acts = 0
        self.n_heads = self.max_heads = self.n_sources = self.max_sources = 0
        for part in self.parts:
            # Without the steps, which lead in circles, the states go at once.
            for state in part.states.values():
                (<State>state).next.clear()
            part.states = {}
            part.state_bytes = 0
        return 0

    cdef int row_of(self, tuple states) except -1:
        """The row of these states of the parts, a new one if need be."""
        found = self.rows.get(states)
        if found is not None:
            return found
        cdef int32_t *grown
        cdef int rows
        if self.n_rows == self.max_rows:
            rows = max(16, 2 * self.max_rows)
            grown = <int32_t *>PyMem_Realloc(
                self.next, <size_t>rows * self.width * sizeof(int32_t)
            )
            if grown == NULL:
                raise MemoryError
            self.next = grown
            self.max_rows = rows
        memset(self.next + <size_t>self.n_rows * self.width, 0xFF, self.width * sizeof(int32_t))
        self.rows[states] = self.n_rows
        self.keys.append(states)
        self.n_rows += 1
        return self.n_rows - 1

    cdef tuple renew(self, tuple states):
        """The same states, of this generation."""
        cdef State state
        cdef Part part
        cdef int i
        cdef list renewed = []
        for i in range(len(self.parts)):
            part = self.parts[i]
            state = states[i]
            renewed.append(part.same(state.items, state.before, state.matched, state.n_groups))
        return tuple(renewed)

    cdef Step step(self, int part, State state, int class_):
        """A step of one pattern alone."""
        cdef Part one = self.parts[part]
        if class_ == END_OF_TEXT:
            return one.step(state, class_, EDGE, NULL)
        cdef bytes members = self.members[class_]
        return one.step(
            state, class_, self.kinds[class_], <const uint8_t *>PyBytes_AS_STRING(members)
        )

    cdef tuple build(self, tuple states, int class_):
        """Fill in a missing entry of the table; the row it is in, by now."""
        cdef int i, row, to
        cdef Step step
        cdef Act act
        cdef list reached = []
        cdef int first
        if self.state_bytes() > self.memory_limit or class_ >= self.width:
            self.clear()
            states = self.renew(states)
        first = self.n_acts
        for i in range(len(self.parts)):
            step = self.step(i, states[i], class_)
            reached.append(step.to)
            if step.acts:
                act = step.act
                act.part = i
                act.sources = self.n_sources
                if act.n_groups > 0:
                    self.keep_sources(step.sources, act.n_groups)
                self.keep_act(&act)
        row = self.row_of(states)
        to = self.row_of(tuple(reached))
        if self.n_acts > first:
            to = self.keep_head(to, first, self.n_acts - first) | ACTS
        self.next[<size_t>row * self.width + class_] = to
        return states, row

    cdef int keep_act(self, const Act *act) except -1:
        cdef Act *grown
        if self.n_acts == self.max_acts:
            self.max_acts = max(32, 2 * self.max_acts)
            grown = <Act *>PyMem_Realloc(self.acts, self.max_acts * sizeof(Act))
            if grown == NULL:
                raise MemoryError
            self.acts = grown
        self.acts[self.n_acts] = act[0]
        self.n_acts += 1
        return 0

    cdef int keep_head(self, int row, int first, int n) except -1:
        cdef int32_t *grown
        if self.n_heads == self.max_heads:
            self.max_heads = max(32, 2 * self.max_heads)
            grown = <int32_t *>PyMem_Realloc(self.act_head, 3 * self.max_heads * sizeof(int32_t))
            if grown == NULL:
                raise MemoryError
            self.act_head = grown
        self.act_head[3 * self.n_heads] = row
        self.act_head[3 * self.n_heads + 1] = first
        self.act_head[3 * self.n_heads + 2] = n
        self.n_heads += 1
        return self.n_heads - 1

    cdef int keep_sources(self, const int32_t *sources, int n) except -1:
        cdef int32_t *grown
        if self.n_sources + n > self.max_sources:
            self.max_sources = 2 * self.max_sources + n
            grown = <int32_t *>PyMem_Realloc(self.sources, self.max_sources * sizeof(int32_t))
            if grown == NULL:
                raise MemoryError
            self.sources = grown
        memcpy(self.sources + self.n_sources, sources, n * sizeof(int32_t))
        self.n_sources += n
        return 0


cdef struct Found:
    # What one pattern has in hand.
    int64_t *starts      # by group
    int32_t capacity
    int64_t start, end   # of the match that is there, if nothing changes it; end -1: none
    int32_t before       # kind of the character before its end
    bint told, ends


cdef class PatternScanner:
    """Scan one text.

    Parameters
    ----------
    table : PatternTable
    early : bool
        Tell a match when it is certain that there is one, not when it is certain which.
    max_behind : int
        Characters behind a match after which it is taken as it is, up to 2**20.

    Notes
    -----
    Not thread-safe; scanners of one table are independent. What a second thread asks while one is
    at it is refused by a MidstreamError: both would write over what the other reads.
    """

    cdef PatternTable table
    cdef Found *found
    cdef int n_parts
    cdef bint early
    cdef int64_t max_behind
    cdef int generation
    cdef tuple states      # where it stands, whatever becomes of the table
    cdef int row
    cdef readonly int64_t n_chars
    cdef str tail          # text that a match may have to be looked for in again
    cdef int64_t tail_start
    cdef int64_t deadline  # character at which a match is taken as it is
    cdef list matches
    cdef bint busy         # between `enter` and the end of what a caller asked for
    # The text being fed.
    cdef int width
    cdef const void *data
    cdef int64_t base

    def __cinit__(self, PatternTable table not None, *, bint early, int64_t max_behind):
        if not 1 <= max_behind <= MAX_BEHIND:
            raise ArgumentValueError(
                f"max_behind must be from 1 to {MAX_BEHIND}, got {max_behind}"
            )
        self.table = table
        self.early = early
        self.max_behind = max_behind
        self.n_parts = len(table.parts)
        self.found = <Found *>PyMem_Calloc(max(self.n_parts, 1), sizeof(Found))
        if self.found == NULL:
            raise MemoryError
        with cython.critical_section(table):
            self.begin()

    def __dealloc__(self):
        cdef int i
        if self.found != NULL:
            for i in range(self.n_parts):
                PyMem_Free(self.found[i].starts)
        PyMem_Free(self.found)

    cdef int enter(self) except -1:
        """Have the scanner alone: making matches and waiting for the table let others run."""
        if self.busy:
            raise MidstreamError("another thread is using this scanner: give each its own")
        self.busy = True
        return 0

    def reset(self):
        """Be as new: the next character is the first of a text."""
        with cython.critical_section(self, self.table):
            self.enter()
            try:
                self.begin()
            finally:
                self.busy = False

    cdef int begin(self) except -1:
        cdef PatternTable table = self.table
        cdef Part part
        cdef int i
        if table.initial is None:
            with table.lock:
                states = tuple([part.start(EDGE) for part in table.parts])
                table.initial_row = table.row_of(states)
                table.initial = states
        self.states = table.initial
        self.row = table.initial_row
        self.generation = table.generation
        for i in range(self.n_parts):
            self.found[i].end = -1
            self.found[i].ends = False
            self.found[i].told = False
        self.n_chars = 0
        self.tail = ""
        self.tail_start = 0
        self.deadline = INT64_MAX
        self.matches = None
        return 0

    @property
    @cython.critical_section
    def memory_bytes(self):
        """Bytes of this scanner, without what all of a set share."""
        cdef int i
        cdef Py_ssize_t total = sizeof(Found) * self.n_parts + 4 * len(self.tail) + 200
        for i in range(self.n_parts):
            total += self.found[i].capacity * sizeof(int64_t)
        return total

    @property
    @cython.critical_section
    def held(self):
        """How many characters at the end may still be part of a match."""
        cdef int64_t first = self.n_chars
        cdef int i
        cdef Found *found
        self.enter()
        self.busy = False  # nothing below lets another thread run
        for i in range(self.n_parts):
            found = &self.found[i]
            if (<State>self.states[i]).n_groups and found.starts[0] < first:
                first = found.starts[0]
            if found.end >= 0 and found.start < first:
                first = found.start
        return self.n_chars - first

    @cython.critical_section
    def holding(self):
        """What may still become a match from furthest back: its name and start, or None."""
        cdef int64_t first = self.n_chars
        cdef int i, holder = -1
        cdef Part part
        self.enter()
        self.busy = False
        for i in range(self.n_parts):
            if (<State>self.states[i]).n_groups and self.found[i].starts[0] < first:
                first = self.found[i].starts[0]
                holder = i
            if self.found[i].end >= 0 and self.found[i].start < first:
                first = self.found[i].start
                holder = i
        if holder < 0:
            return None
        part = self.table.parts[holder]
        return part.name, first

    @cython.critical_section
    def under_way(self):
        """Matches that are certain, but not where they end: ``(name, start)`` each."""
        cdef int i
        cdef Part part
        cdef list found = []
        self.enter()
        self.busy = False
        for i in range(self.n_parts):
            if self.found[i].end >= 0:
                part = self.table.parts[i]
                found.append((part.name, self.found[i].start))
        return found

    def feed(self, str text not None):
        """Take the next piece; the matches that it decided, in that order."""
        with cython.critical_section(self, self.table):
            self.enter()
            try:
                return self.scan(text)
            finally:
                self.busy = False

    cdef object scan(self, str text):
        cdef Py_ssize_t n, i, stop
        cdef PatternTable table = self.table
        cdef int64_t base = self.n_chars
        if self.tail:
            base = self.tail_start
            text = self.tail + text
        n = PyUnicode_GET_LENGTH(text)
        i = self.n_chars - base
        if i == n:
            return NOTHING
        self.width = PyUnicode_KIND(text)
        self.data = PyUnicode_DATA(text)
        self.base = base
        cdef int width = self.width
        cdef const void *data = self.data
        cdef const int32_t *next_row
        cdef uint32_t c
        cdef uint16_t *page
        cdef int32_t to
        cdef int row, class_
        if self.generation != table.generation:
            self.renew()
        row = self.row
        next_row = table.next
        cdef int columns = table.width
        while True:
            stop = n
            if self.deadline - base < n:
                stop = self.deadline - base
            while i < stop:
                c = PyUnicode_READ(width, data, i)
                if c < 128:
                    class_ = table.ascii[c]
                else:
                    page = table.pages[c >> 8]
                    if page == NULL or page[c & 255] == NO_CLASS:
                        class_ = MISSING
                    else:
                        class_ = page[c & 255]
                if class_ >= 0 and class_ < columns:
                    to = next_row[<size_t>row * columns + class_]
                    if to >= 0:
                        if to & ACTS == 0:
                            row = to
                            i += 1
                            continue
                        self.row = row
                        self.act(to & ~ACTS, base + i)
                        row = self.row
                        next_row = table.next
                        columns = table.width
                        i += 1
                        if self.deadline - base < n:
                            stop = self.deadline - base
                        else:
                            stop = n
                        continue
                # Build what is missing, and look again.
                self.row = row
                self.states = table.keys[row]
                class_ = table.class_of(c)
                with table.lock:
                    if self.generation != table.generation:
                        self.renew_locked()
                    self.states, self.row = table.build(self.states, class_)
                    self.generation = table.generation
                row = self.row
                next_row = table.next
                columns = table.width
            self.row = row
            self.n_chars = base + i
            if self.deadline <= self.n_chars:
                self.states = table.keys[row]
                self.settle()
                row = self.row
                next_row = table.next
                columns = table.width
                continue
            if i >= n:
                break
        self.states = table.keys[row]
        self.keep_tail(text)
        self.data = NULL
        if self.matches is None:
            return NOTHING
        found, self.matches = self.matches, None
        return found

    def finish(self):
        """Take note that the text is over, and be as new; the matches that its end decides."""
        with cython.critical_section(self, self.table):
            self.enter()
            try:
                return self.close()
            finally:
                self.busy = False

    cdef object close(self):
        cdef int i
        cdef int64_t at
        cdef State state
        cdef Step step
        cdef Found *found
        if self.generation != self.table.generation:
            self.renew()
        self.width = PyUnicode_KIND(self.tail)
        self.data = PyUnicode_DATA(self.tail)
        self.base = self.tail_start
        for i in range(self.n_parts):
            found = &self.found[i]
            state = self.states[i]
            if found.end < 0 and not state.waits:
                continue
            while True:
                with self.table.lock:
                    step = self.table.step(i, state, END_OF_TEXT)
                self.apply(found, &step.act, step.sources, self.n_chars)
                if found.end < 0:
                    break
                at = found.end
                self.tell(i, True)
                if at == self.n_chars:
                    break
                state = self.again(i, at, self.n_chars)
        matches = self.matches
        self.begin()
        if matches is None:
            return NOTHING
        matches.sort(key=lambda match: match[1:])
        return matches

    cdef int renew(self) except -1:
        with self.table.lock:
            self.renew_locked()
        return 0

    cdef int renew_locked(self) except -1:
        """Find the states anew after the table was cleared."""
        self.states = self.table.renew(self.states)
        self.row = self.table.row_of(self.states)
        self.generation = self.table.generation
        return 0

    cdef int keep_tail(self, str text) except -1:
        """Keep what is behind a match that may yet grow."""
        cdef int64_t first = self.n_chars
        cdef int i
        for i in range(self.n_parts):
            if 0 <= self.found[i].end < first:
                first = self.found[i].end
        if first == self.n_chars:
            if self.tail:
                self.tail = ""
        else:
            self.tail = PyUnicode_Substring(text, first - self.base, self.n_chars - self.base)
        self.tail_start = first
        return 0

    cdef int apply(self, Found *found, const Act *act, const int32_t *sources, int64_t at) except -1:
        """Note matches and beginnings of one pattern, reading the character `at`."""
        cdef int64_t *grown
        cdef int i
        if act.accepts_before != NONE:
            found.start = at if act.accepts_before == HERE else found.starts[act.accepts_before]
            found.end = at
            found.before = act.before
        if act.accepts != NONE:
            found.start = at if act.accepts == HERE else found.starts[act.accepts]
            found.end = at + 1
            found.before = act.after
        if act.n_groups > found.capacity:
            grown = <int64_t *>PyMem_Realloc(
                found.starts, 2 * <size_t>act.n_groups * sizeof(int64_t)
            )
            if grown == NULL:
                raise MemoryError
            found.starts = grown
            found.capacity = 2 * act.n_groups
        # In order, none before its own source: nothing is overwritten that is still to be read.
        for i in range(act.n_groups):
            found.starts[i] = at if sources[i] == HERE else found.starts[sources[i]]
        return 0

    cdef int act(self, int head, int64_t at) except -1:
        """Do what a transition asks for, reading the character `at`; go to its row."""
        cdef PatternTable table = self.table
        cdef int first = table.act_head[3 * head + 1]
        cdef int k
        cdef bint matched = False, tells = False
        cdef const Act *act
        cdef Found *found
        self.row = table.act_head[3 * head]
        for k in range(table.act_head[3 * head + 2]):
            act = &table.acts[first + k]
            found = &self.found[act.part]
            self.apply(found, act, table.sources + act.sources, at)
            if act.accepts != NONE or act.accepts_before != NONE or act.ends:
                matched = True
                found.ends = act.ends
                tells = tells or found.ends or (self.early and not found.told)
        # Objects are made from here on, other threads may run, and the table may be cleared.
        if tells:
            self.states = table.keys[self.row]
            self.tell_all(at + 1)
        if matched:
            self.set_deadline()
        return 0

    cdef int tell_all(self, int64_t at) except -1:
        """Tell the matches that are certain, and look behind them for more up to `at`."""
        cdef int i
        cdef int64_t end
        cdef bint ends
        cdef Found *found
        cdef list states = None
        for i in range(self.n_parts):
            found = &self.found[i]
            if found.end < 0 or not (found.ends or (self.early and not found.told)):
                continue
            end = found.end
            ends = found.ends
            self.tell(i, ends)
            if ends and end != at:
                if states is None:
                    states = list(self.states)
                states[i] = self.again(i, end, at)
        if states is not None:
            self.states = tuple(states)
        if states is not None or self.generation != self.table.generation:
            with self.table.lock:
                if self.generation != self.table.generation:
                    self.renew_locked()
                else:
                    self.row = self.table.row_of(self.states)
        return 0

    cdef int settle(self) except -1:
        """Take the matches as they are behind which too much came already."""
        cdef int i
        for i in range(self.n_parts):
            if 0 <= self.found[i].end <= self.n_chars - self.max_behind:
                self.found[i].ends = True
        self.tell_all(self.n_chars)
        self.set_deadline()
        return 0

    cdef State again(self, int i, int64_t at, int64_t stop):
        """Scan with one pattern alone from `at`, behind a match, up to before `stop`."""
        cdef PatternTable table = self.table
        cdef Part part = table.parts[i]
        cdef Found *found = &self.found[i]
        cdef State state
        cdef Step step
        cdef int64_t end
        cdef int class_
        with table.lock:
            state = part.start(found.before)
        while at < stop:
            class_ = table.class_of(PyUnicode_READ(self.width, self.data, at - self.base))
            known = state.next.get(class_)
            if known is None:
                with table.lock:
                    step = table.step(i, state, class_)
            else:
                step = <Step>known
            self.apply(found, &step.act, step.sources, at)
            state = step.to
            at += 1
            if found.end >= 0 and (step.act.ends or (self.early and not found.told)):
                end = found.end
                self.tell(i, step.act.ends)
                if step.act.ends and end != at:
                    at = end
                    with table.lock:
                        state = part.start(found.before)
        return state

    cdef int tell(self, int i, bint ends) except -1:
        cdef Found *found = &self.found[i]
        cdef Part part = self.table.parts[i]
        if not found.told:
            if self.matches is None:
                self.matches = []
            self.matches.append(self.table.match(part.name, found.start, found.end))
            found.told = True
        if ends:
            found.told = found.ends = False
            found.end = -1
        return 0

    cdef int set_deadline(self) noexcept:
        cdef int i
        self.deadline = INT64_MAX
        for i in range(self.n_parts):
            if self.found[i].end >= 0 and self.found[i].end + self.max_behind < self.deadline:
                self.deadline = self.found[i].end + self.max_behind
        return 0
