# cython: freethreading_compatible=True
"""Text to segments with features, the same however the text is cut into pieces."""

cimport cython
from cpython.unicode cimport (
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
)
from libc.math cimport log2
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from midstream._core.errors import ArgumentValueError
from midstream.stream._loops cimport (
    DIGIT,
    GLYPH,
    LETTER,
    MARK,
    NEWLINE,
    NONE,
    SPACE,
    STRUCTURE,
    classify,
)

cdef extern from "Python.h":
    Py_UCS4 Py_UNICODE_TOLOWER(Py_UCS4 c)

cdef enum:
    # Longer words are cut, as `LoopScanner` does: something without end must end somewhere.
    MAX_WORD = 32
    # Bits of a vocabulary.
    BITS = 65536

#: Names of the features, in their order.
FEATURES = (
    "novelty",
    "variety",
    "unfamiliarity",
    "word_length",
    "sentence_length",
    "marks",
    "structure",
    "numbers",
    "lines",
    "capitals",
)

cdef struct Slot:
    uint32_t tag
    uint32_t word
    uint32_t segment


cdef inline uint64_t stir(uint64_t h, uint64_t c) noexcept nogil:
    h = (h ^ c) * <uint64_t>0x9E3779B97F4A7C15
    return h ^ (h >> 29)


cdef class Segmenter:
    """Cut one text into segments and measure each.

    Tokens are words and numbers, single punctuation marks and single signs of scripts without
    spaces; white space is none.

    Parameters
    ----------
    size : int
        Tokens of a segment.
    phrases : bool
        End a segment with a sentence or line too; of a script without spaces with every full-width
        mark that parts its phrases, since nothing else does.
    memory : int
        Words after which a word counts as new again.
    slots : int
        Words that are remembered at most, of 12 bytes each.
    familiar : bytes, optional
        Of `vocabulary`: words that are familiar. Without, `unfamiliarity` is 0.
    collect : bool
        Collect a vocabulary.

    Notes
    -----
    Words are told apart by 32 bits of a hash; of words that share a slot only the newest is known.
    Not thread-safe.
    """

    cdef readonly uint64_t n_chars
    cdef readonly uint64_t n_tokens
    cdef readonly uint32_t size
    cdef readonly bint phrases
    cdef uint32_t memory_words, n_slots
    cdef Slot *slots
    cdef const uint8_t[::1] known
    cdef bint has_known
    cdef bint collects
    cdef uint8_t[::1] own

    # The token being read.
    cdef int kind
    cdef uint32_t length
    cdef uint64_t hash
    cdef uint64_t start
    cdef bint capital
    cdef bint after_end

    # The segment being read.
    cdef uint64_t begin
    cdef bint open
    cdef uint32_t tokens, words, new, distinct, strange, letters, marks, structure, numbers
    cdef uint32_t newlines, capitals, ends
    cdef uint32_t word_count, segment_count
    cdef uint32_t sentence_words, sentence_total
    cdef double sentence_length
    cdef list found

    def __cinit__(self, *, size, phrases=False, memory=2048, slots=4096, familiar=None,
                  collect=False):
        self.size = size
        self.phrases = phrases
        self.memory_words = memory
        self.n_slots = slots
        if self.n_slots == 0:
            raise ArgumentValueError("slots must be at least 1, got 0")
        self.slots = <Slot *>calloc(self.n_slots, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError("no memory for a Segmenter")
        self.has_known = familiar is not None
        if familiar is not None:
            if len(familiar) != BITS // 8:
                raise ArgumentValueError(
                    f"familiar must be a vocabulary of {BITS // 8} bytes, got {len(familiar)} bytes"
                )
            self.known = familiar
        self.collects = collect
        if collect:
            self.own = bytearray(BITS // 8)
        self.kind = NONE
        self.word_count = 0
        self.segment_count = 1
        self.found = []

    def __dealloc__(self):
        free(self.slots)

    @property
    @cython.critical_section
    def memory_bytes(self):
        """Bytes held (int)."""
        return self.n_slots * sizeof(Slot) + (BITS // 8 if self.collects else 0)

    @property
    @cython.critical_section
    def vocabulary(self):
        """All words so far, as bits by their hash: bytes of 8,192; None where none are collected."""
        return bytes(self.own) if self.collects else None

    @cython.critical_section
    def feed(self, str text not None):
        """Take the next piece of text.

        Returns
        -------
        list of tuple
            Segments that are complete: ``(start, end, n_tokens, features)``, characters of the
            text, the space before and behind left out; features a tuple of float as `FEATURES`.
        """
        cdef Py_ssize_t i, n = PyUnicode_GET_LENGTH(text)
        cdef int width = PyUnicode_KIND(text)
        cdef const void *data = PyUnicode_DATA(text)
        for i in range(n):
            self.take(PyUnicode_READ(width, data, i))
        return self.drain()

    @cython.critical_section
    def skip(self, uint64_t n_chars):
        """Pass over `n_chars` characters unseen; the segment that had begun is forgotten."""
        self.kind = NONE
        self.after_end = False
        self.sentence_words = 0
        self.sentence_length = 0
        self.n_chars += n_chars
        self.clear()

    @cython.critical_section
    def finish(self):
        """Say that the text is over: its last token and segment are whole now."""
        self.close_token()
        if self.open and self.tokens > 0:
            self.close_segment(self.n_chars)
        return self.drain()

    cdef list drain(self):
        cdef list found = self.found
        if not found:
            return []
        self.found = []
        return found

    cdef int take(self, Py_UCS4 c) except -1:
        cdef int kind = classify(c)
        if kind == self.kind and (kind == LETTER or kind == DIGIT) and self.length < MAX_WORD:
            self.length += 1
            self.n_chars += 1
            self.hash = stir(self.hash, fold(c) if kind == LETTER else c)
            return 0
        self.close_token()
        if kind == SPACE or kind == NEWLINE:
            # A sentence ends with its mark and the space behind: not "3.14", not "a.b".
            if self.phrases and self.open and (self.after_end or kind == NEWLINE):
                self.close_segment(self.n_chars)
            self.after_end = False
            if kind == NEWLINE:
                self.newlines += 1
            self.n_chars += 1
            return 0
        if kind != MARK:
            self.after_end = False
        if not self.open:
            self.open = True
            self.begin = self.n_chars
        self.kind = kind
        self.length = 1
        self.start = self.n_chars
        self.hash = stir(kind, fold(c) if kind == LETTER else c)
        self.capital = kind == LETTER and fold(c) != c
        self.n_chars += 1
        if kind == GLYPH:
            self.close_token()
        elif kind == MARK or kind == STRUCTURE:
            if is_end(c):
                self.after_end = True
                self.end_sentence()
            self.close_token()
            if self.phrases and self.open and is_wide_end(c):
                self.after_end = False
                return self.close_segment(self.n_chars)
        return 0

    cdef int end_sentence(self) noexcept:
        if self.sentence_words > 0:
            self.ends += 1
            self.sentence_total += self.sentence_words
            self.sentence_words = 0
        return 0

    cdef int close_token(self) except -1:
        cdef int kind = self.kind
        cdef Slot *slot
        cdef uint32_t tag, bit
        if kind == NONE:
            return 0
        self.kind = NONE
        self.n_tokens += 1
        self.tokens += 1
        if kind == LETTER or kind == GLYPH:
            self.words += 1
            self.sentence_words += 1
            self.letters += self.length
            self.capitals += self.capital
            self.word_count += 1
            tag = <uint32_t>(self.hash >> 32) | 1
            slot = &self.slots[self.hash % self.n_slots]
            if slot.tag != tag or self.word_count - slot.word > self.memory_words:
                self.new += 1
                self.distinct += 1
            elif slot.segment != self.segment_count:
                self.distinct += 1
            slot.tag = tag
            slot.word = self.word_count
            slot.segment = self.segment_count
            bit = <uint32_t>(self.hash >> 20) % BITS
            if self.has_known and not self.known[bit >> 3] >> (bit & 7) & 1:
                self.strange += 1
            if self.collects:
                self.own[bit >> 3] |= <uint8_t>(1 << (bit & 7))
        elif kind == DIGIT:
            self.numbers += 1
        elif kind == MARK:
            self.marks += 1
        else:
            self.structure += 1
        if self.tokens >= self.size:
            return self.close_segment(self.n_chars)
        return 0

    cdef int close_segment(self, uint64_t end) except -1:
        cdef double tokens = self.tokens, words = self.words if self.words > 0 else 1
        cdef double sentence
        # The sentences that ended here; one still open, where it is longer than they were.
        if self.ends > 0:
            self.sentence_length = self.sentence_total / <double>self.ends
        sentence = self.sentence_length
        if self.sentence_words > sentence:
            sentence = self.sentence_words
        self.found.append((self.begin, end, self.tokens, (
            self.new / words,
            self.distinct / words,
            self.strange / words,
            self.letters / words,
            log2(1 + sentence),
            self.marks / tokens,
            self.structure / tokens,
            self.numbers / tokens,
            self.newlines / tokens,
            self.capitals / words,
        )))
        self.clear()
        return 0

    cdef void clear(self) noexcept:
        self.open = False
        self.segment_count += 1
        self.tokens = self.words = self.new = self.distinct = self.strange = self.letters = 0
        self.marks = self.structure = self.numbers = self.newlines = self.capitals = 0
        self.ends = self.sentence_total = 0


cdef inline Py_UCS4 fold(Py_UCS4 c) noexcept:
    if c < 128:
        return <Py_UCS4>(<uint32_t>c | 32)
    return Py_UNICODE_TOLOWER(c)


cdef inline bint is_wide_end(Py_UCS4 c) noexcept:
    """Whether it ends a phrase where no spaces are written: the full stop and its like."""
    return (c == 0x3001 or c == 0x3002 or c == 0xFF01 or c == 0xFF0C or c == 0xFF1A or c == 0xFF1B
            or c == 0xFF1F)


cdef inline bint is_end(Py_UCS4 c) noexcept:
    return c == 46 or c == 33 or c == 63 or c == 0x2026 or c == 0x3002 or c == 0xFF01 or c == 0xFF1F
