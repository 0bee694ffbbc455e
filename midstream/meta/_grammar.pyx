# cython: freethreading_compatible=True
"""Binding of csrc/ms_grammar and csrc/ms_grammar_flat: rules that the newest symbols fall into."""

cimport cython
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport uint8_t, uint32_t, uint64_t

import numpy as np

from midstream._core._poll cimport Poll
from midstream._core.errors import ArgumentValueError, MidstreamError
from midstream._core.memory import check_memory
from midstream._core.validate import check_int

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object o, int *overflow) except? -1

cdef extern from "ms_grammar.h":
    int MS_GRAMMAR_OK
    int MS_GRAMMAR_NO_MEMORY
    int MS_GRAMMAR_STOPPED
    uint64_t MS_GRAMMAR_MOST
    ctypedef struct ms_grammar_content:
        uint64_t length
    ctypedef struct ms_grammar:
        uint64_t max_symbols
        uint64_t max_rules
        uint64_t size
        uint64_t n_rules
        uint64_t n_pushed
        uint64_t start
        uint64_t n_born
        uint64_t longest
    int ms_grammar_init(ms_grammar *g, uint64_t max_symbols, uint64_t max_rules) noexcept nogil
    void ms_grammar_free(ms_grammar *g) noexcept nogil
    int ms_grammar_push(ms_grammar *g, uint32_t symbol) noexcept nogil
    int ms_grammar_feed(ms_grammar *g, const uint32_t *symbols, size_t n,
                        void *poll) noexcept nogil
    int ms_grammar_feed_timed(ms_grammar *g, const uint32_t *symbols, size_t n, uint32_t *ns,
                              void *poll) noexcept nogil
    int ms_grammar_build(ms_grammar *g, const uint32_t *symbols, const uint8_t *kinds,
                         const uint64_t *offsets, const uint64_t *born,
                         uint32_t n_rules) noexcept nogil
    int ms_grammar_check(const ms_grammar *g, const char **wrong) noexcept nogil
    size_t ms_grammar_memory(const ms_grammar *g) noexcept nogil
    void ms_grammar_name(const ms_grammar_content *content, uint8_t *name) noexcept nogil
    ms_grammar_content ms_grammar_content_of(const uint32_t *symbols, size_t n) noexcept nogil

cdef extern from "ms_grammar_flat.h":
    ctypedef struct ms_grammar_flat:
        uint32_t n_rules
        uint32_t *symbols
        uint8_t *kinds
        uint64_t *offsets
        ms_grammar_content *contents
        uint64_t *occurrences
        uint32_t *uses
        uint64_t *born
    int ms_grammar_flatten(const ms_grammar *g, ms_grammar_flat *flat) noexcept nogil
    int ms_grammar_flat_validate(const uint32_t *symbols, const uint8_t *kinds,
                                 const uint64_t *offsets, uint32_t n_rules,
                                 uint64_t length) noexcept nogil
    int ms_grammar_flat_expand(const ms_grammar_flat *flat, uint32_t number, uint32_t *out,
                               void *poll) noexcept nogil
    int ms_grammar_flat_positions(const ms_grammar_flat *flat, const uint8_t *wanted,
                                  uint64_t *out, void *poll) noexcept nogil
    int ms_grammar_flat_parse(const ms_grammar_flat *flat, const uint32_t *symbols, size_t n,
                              uint32_t *out, uint8_t *kinds, size_t *count,
                              void *poll) noexcept nogil

#: Most symbols that a grammar can be bounded by.
MOST = int(MS_GRAMMAR_MOST)

#: Symbols for which releasing the lock is worth its while.
cdef Py_ssize_t LONG_FEED = 64


cdef int check_status(int status, Poll poll, object what) except -1:
    if status == MS_GRAMMAR_STOPPED:
        poll.reraise()
        raise KeyboardInterrupt
    if status == MS_GRAMMAR_NO_MEMORY:
        raise MemoryError(f"no memory for {what}")
    return 0


def name_of(const uint32_t[::1] symbols):
    """The 16 bytes that name a sequence."""
    cdef ms_grammar_content content
    cdef uint8_t name[16]
    cdef Py_ssize_t n = symbols.shape[0]
    with nogil:
        content = ms_grammar_content_of(&symbols[0] if n else NULL, <size_t>n)
        ms_grammar_name(&content, name)
    return bytes(name[:16])


@cython.final
cdef class Flat:
    """A grammar written out; immutable. Rule 0 is the top level, and each rule uses later ones.

    Attributes
    ----------
    symbols, kinds, offsets
        Right side k is ``symbols[offsets[k]:offsets[k + 1]]``: terminals, or where `kinds` is 1
        numbers of rules.
    contents : (rules + 1, 5) uint64
        Two hashes, two powers, and the length of the expansion.
    occurrences, uses, born : (rules + 1,)
    """

    cdef ms_grammar_flat f
    cdef readonly object symbols, kinds, offsets, contents, occurrences, uses, born
    cdef bytes names_

    def __cinit__(self, uint64_t n_rules, uint64_t size):
        cdef uint32_t[::1] symbols, uses
        cdef uint8_t[::1] kinds
        cdef uint64_t[::1] offsets, occurrences, born
        cdef uint64_t[:, ::1] contents
        # One place more, so that there is an address even of nothing.
        self.symbols = np.empty(size + 1, np.uint32)[:size]
        self.kinds = np.empty(size + 1, np.uint8)[:size]
        self.offsets = offsets = np.empty(n_rules + 2, np.uint64)
        self.contents = contents = np.empty((n_rules + 1, 5), np.uint64)
        self.occurrences = occurrences = np.empty(n_rules + 1, np.uint64)
        self.uses = uses = np.empty(n_rules + 1, np.uint32)
        self.born = born = np.empty(n_rules + 1, np.uint64)
        symbols, kinds = self.symbols, self.kinds
        self.f.n_rules = <uint32_t>n_rules
        self.f.symbols = &symbols[0]
        self.f.kinds = &kinds[0]
        self.f.offsets = &offsets[0]
        self.f.contents = <ms_grammar_content *>&contents[0, 0]
        self.f.occurrences = &occurrences[0]
        self.f.uses = &uses[0]
        self.f.born = &born[0]

    @property
    def n_rules(self):
        return self.f.n_rules

    @cython.critical_section
    def names(self):
        """All names, one after another: 16 bytes for each rule, the top level first."""
        cdef uint32_t k
        cdef uint8_t[:, ::1] names
        if self.names_ is None:
            out = np.empty((self.f.n_rules + 1, 16), np.uint8)
            names = out
            with nogil:
                for k in range(self.f.n_rules + 1):
                    ms_grammar_name(&self.f.contents[k], &names[k, 0])
            self.names_ = out.tobytes()
        return self.names_

    def expand(self, uint32_t number):
        """Terminals of a rule."""
        cdef uint64_t length = self.f.contents[number].length
        cdef Poll poll = Poll()
        cdef int status
        cdef uint32_t[::1] view
        check_memory(f"an expansion of {length} symbols", <object>length * 4)
        out = np.empty(length, np.uint32)
        if length == 0:
            return out
        view = out
        with nogil:
            status = ms_grammar_flat_expand(&self.f, number, &view[0], &poll.poll)
        check_status(status, poll, "the expansion of a rule")
        return out

    def positions(self, const uint8_t[::1] wanted, uint64_t count):
        """Starts of the rules that `wanted` marks, which occur `count` times."""
        cdef Poll poll = Poll()
        cdef int status
        check_memory(f"{count} positions", <object>count * 8)
        out = np.empty(count + 1, np.uint64)
        cdef uint64_t[::1] view = out
        with nogil:
            status = ms_grammar_flat_positions(&self.f, &wanted[0], &view[0], &poll.poll)
        check_status(status, poll, "the positions of a rule")
        return out[:count]

    def parse(self, const uint32_t[::1] symbols):
        """How symbols read in the rules: numbers or terminals, and which they are."""
        cdef Poll poll = Poll()
        cdef Py_ssize_t n = symbols.shape[0]
        cdef size_t count = 0
        cdef int status
        check_memory(f"reading {n} symbols", n * 24)
        out, kinds = np.empty(n, np.uint32), np.empty(n, np.uint8)
        if n == 0:
            return out, kinds
        cdef uint32_t[::1] out_view = out
        cdef uint8_t[::1] kinds_view = kinds
        with nogil:
            status = ms_grammar_flat_parse(&self.f, &symbols[0], <size_t>n, &out_view[0],
                                           &kinds_view[0], &count, &poll.poll)
        check_status(status, poll, f"reading {n} symbols")
        return out[:count], kinds[:count]


cdef class Core:
    """The grammar itself. `Grammar` documents what is public.

    Parameters
    ----------
    max_symbols, max_rules : int
        Checked already.
    """

    cdef ms_grammar g
    cdef bint busy
    # The grammar written out, or None since it changed.
    cdef Flat flat_

    def __cinit__(self, uint64_t max_symbols, uint64_t max_rules, *args, **kwargs):
        self.busy = False
        if ms_grammar_init(&self.g, max_symbols, max_rules) != MS_GRAMMAR_OK:
            raise MemoryError("no memory for a grammar")

    def __dealloc__(self):
        ms_grammar_free(&self.g)

    cdef int check_idle(self) except -1:
        """Refuse to touch what another thread is feeding without the lock."""
        if self.busy:
            raise MidstreamError("another thread is feeding this grammar: give each its own copy()")
        return 0

    @property
    @cython.critical_section
    def max_symbols(self):
        return self.g.max_symbols

    @property
    @cython.critical_section
    def max_rules(self):
        return self.g.max_rules

    @property
    @cython.critical_section
    def n_pushed(self):
        return self.g.n_pushed

    @property
    @cython.critical_section
    def start(self):
        return self.g.start

    @property
    @cython.critical_section
    def size(self):
        return self.g.size

    @property
    @cython.critical_section
    def n_rules(self):
        return self.g.n_rules

    @property
    @cython.critical_section
    def n_born(self):
        return self.g.n_born

    @property
    @cython.critical_section
    def longest_cascade(self):
        return self.g.longest

    @property
    @cython.critical_section
    def memory_bytes(self):
        self.check_idle()
        return ms_grammar_memory(&self.g) + sizeof(ms_grammar)

    @cython.critical_section
    def push(self, symbol):
        """Take the next symbol.

        Parameters
        ----------
        symbol : int
            0 to 2**32 - 1.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            It is none. Nothing was changed then.
        MemoryError
            There is no memory to grow. Nothing was changed then.

        Notes
        -----
        O(1) in the long run, about 0.1 us; see `Grammar` for more.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> for symbol in (1, 2, 3, 1, 2, 3):
        ...     grammar.push(symbol)
        >>> grammar.n_rules, grammar.size
        (1, 5)
        """
        cdef int overflow = 0
        cdef long long value = -1
        if PyLong_CheckExact(symbol):
            value = PyLong_AsLongLongAndOverflow(symbol, &overflow)
        if value < 0 or value > 0xFFFFFFFF:
            value = check_int("symbol", symbol, low=0, high=0xFFFFFFFF)
        self.check_idle()
        self.flat_ = None
        if ms_grammar_push(&self.g, <uint32_t>value) != MS_GRAMMAR_OK:
            raise MemoryError("no memory for a grammar to grow")

    @cython.critical_section
    def _feed(self, const uint32_t[::1] symbols):
        """Take several symbols."""
        cdef Poll poll
        cdef Py_ssize_t n = symbols.shape[0]
        cdef int status
        self.check_idle()
        if n == 0:
            return
        self.flat_ = None
        if n < LONG_FEED:
            check_status(ms_grammar_feed(&self.g, &symbols[0], <size_t>n, NULL), None,
                         "a grammar to grow")
            return
        poll = Poll()
        self.busy = True
        with nogil:
            status = ms_grammar_feed(&self.g, &symbols[0], <size_t>n, &poll.poll)
        self.busy = False
        check_status(status, poll, "a grammar to grow")

    @cython.critical_section
    def _feed_timed(self, const uint32_t[::1] symbols, uint32_t[::1] ns):
        """The same, and how many nanoseconds each push took, the clock's own 20 included."""
        cdef Poll poll = Poll()
        cdef Py_ssize_t n = symbols.shape[0]
        cdef int status
        self.check_idle()
        if ns.shape[0] != n:
            raise ArgumentValueError(f"ns must be {n} long, got {ns.shape[0]}")
        if n == 0:
            return
        self.flat_ = None
        self.busy = True
        with nogil:
            status = ms_grammar_feed_timed(&self.g, &symbols[0], <size_t>n, &ns[0], &poll.poll)
        self.busy = False
        check_status(status, poll, "a grammar to grow")

    @cython.critical_section
    def _flat(self):
        """The grammar written out, kept until it changes."""
        cdef Flat flat
        self.check_idle()
        if self.flat_ is None:
            flat = Flat(self.g.n_rules, self.g.size)
            if ms_grammar_flatten(&self.g, &flat.f) != MS_GRAMMAR_OK:
                raise MemoryError("no memory to write a grammar out")
            self.flat_ = flat
        return self.flat_

    @cython.critical_section
    def _wrong(self):
        """What is wrong, or None."""
        cdef const char *wrong
        self.check_idle()
        check_status(ms_grammar_check(&self.g, &wrong), None, "a grammar")
        return None if wrong == NULL else wrong.decode()

    @cython.critical_section
    def _load(self, const uint32_t[::1] symbols, const uint8_t[::1] kinds,
              const uint64_t[::1] offsets, const uint64_t[::1] born, tuple counters):
        """Become what right sides say: whether they say a grammar. Nothing changes otherwise.

        There is one place more than needed at the end of `symbols`, `kinds` and `born`.
        """
        cdef uint32_t n_rules = <uint32_t>(offsets.shape[0] - 2)
        cdef ms_grammar new
        cdef Flat flat
        cdef int status
        cdef const char *wrong
        cdef uint64_t n_pushed = counters[0], start = counters[1]
        self.check_idle()
        status = ms_grammar_flat_validate(&symbols[0], &kinds[0], &offsets[0], n_rules,
                                          n_pushed - start)
        check_status(status, None, "a grammar")
        if status == 0:
            return False
        status = ms_grammar_init(&new, self.g.max_symbols, self.g.max_rules)
        new.n_pushed, new.start, new.n_born, new.longest = counters
        if status == MS_GRAMMAR_OK:
            status = ms_grammar_build(&new, &symbols[0], &kinds[0], &offsets[0], &born[0], n_rules)
        try:
            check_status(status, None, "a grammar")
            if status != MS_GRAMMAR_OK:
                return False
            check_status(ms_grammar_check(&new, &wrong), None, "a grammar")
            if wrong != NULL:
                return False
            # Written out again it must be the same: rules can be numbered in one way only.
            flat = Flat(n_rules, new.size)
            check_status(ms_grammar_flatten(&new, &flat.f), None, "a grammar")
            if not (np.array_equal(flat.symbols, symbols[:new.size])
                    and np.array_equal(flat.offsets, offsets)):
                return False
            self.g, new = new, self.g
            self.flat_ = None
            return True
        finally:
            ms_grammar_free(&new)
