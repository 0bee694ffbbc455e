"""Text to tokens to findings: the part of loop detection that sees every character."""

from cpython.unicode cimport (
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
)
from libc.stdint cimport int32_t, uint32_t, uint64_t

from midstream.compare._run cimport RunDetector, ms_run

cdef extern from "Python.h":
    bint Py_UNICODE_ISALPHA(Py_UCS4 c)
    bint Py_UNICODE_ISDECIMAL(Py_UCS4 c)
    bint Py_UNICODE_ISSPACE(Py_UCS4 c)
    Py_UCS4 Py_UNICODE_TOLOWER(Py_UCS4 c)
    int Py_UNICODE_TODECIMAL(Py_UCS4 c)

cdef extern from "ms_near.h":
    ctypedef enum ms_near_class:
        MS_NEAR_WORD
        MS_NEAR_NUMBER
        MS_NEAR_MARK
        MS_NEAR_STRUCTURE
    enum:
        MS_NEAR_UNIT
    ctypedef struct ms_near_detector:
        int32_t score
        uint32_t token
        uint64_t start
    int ms_near_init(ms_near_detector *d, uint32_t window) noexcept nogil
    void ms_near_free(ms_near_detector *d) noexcept nogil
    int32_t ms_near_push(ms_near_detector *d, uint64_t form, ms_near_class class_, uint32_t value,
                         uint64_t position) noexcept nogil
    uint32_t ms_near_period(const ms_near_detector *d) noexcept nogil
    double ms_near_copies(const ms_near_detector *d, uint32_t period) noexcept nogil
    bint ms_near_is_structured(const ms_near_detector *d) noexcept nogil
    size_t ms_near_memory(const ms_near_detector *d) noexcept nogil

# What a character is. Words and numbers run on; a glyph (a sign of a script written without
# spaces) and punctuation are tokens of one character.
cdef enum:
    LETTER
    DIGIT
    SPACE
    NEWLINE
    GLYPH
    MARK
    STRUCTURE
    NONE

# A token that never ends would never be compared.
cdef enum:
    MAX_WORD = 32
    MAX_DIGITS = 18
    TAIL = 1024
    SHOWN = 160
    NEAR_WINDOW = 2048
    NEAR_EVERY = 8

cdef unsigned char ASCII[128]


cdef void fill_ascii():
    cdef int c
    for c in range(128):
        ASCII[c] = MARK
    for c in b"()[]{}<>=\\/|\"#&*+^%$@`~_;":
        ASCII[c] = STRUCTURE
    for c in range(128):
        if chr(c).isalpha():
            ASCII[c] = LETTER
        elif chr(c).isdigit():
            ASCII[c] = DIGIT
        elif chr(c).isspace():
            ASCII[c] = SPACE
    ASCII[10] = NEWLINE


fill_ascii()


cdef int classify(Py_UCS4 c) noexcept:
    if c < 128:
        return ASCII[c]
    if Py_UNICODE_ISALPHA(c):
        # Thai and Lao, kana, CJK ideographs: no spaces between words.
        if (0x0E00 <= c <= 0x0EFF or 0x3040 <= c <= 0x30FF or 0x3400 <= c <= 0x9FFF
                or 0xF900 <= c <= 0xFAFF or 0x20000 <= c <= 0x3FFFF):
            return GLYPH
        return LETTER
    if Py_UNICODE_ISDECIMAL(c):
        return DIGIT
    if Py_UNICODE_ISSPACE(c):
        return SPACE
    return MARK


cdef inline uint64_t stir(uint64_t h, uint64_t c) noexcept nogil:
    """One step of a multiply-rotate hash over characters."""
    h = (h ^ c) * <uint64_t>0x9E3779B97F4A7C15
    return h ^ (h >> 29)


cdef class LoopScanner:
    """Watch one text for repetition, exact and near.

    The text is cut into tokens as it arrives, the same way however it is cut into pieces: words
    of up to 32 letters, numbers of up to 18 digits, runs of one kind of white space, single
    punctuation marks and single signs of scripts without spaces; one space before a token belongs
    to it. A word counts once the character behind it is known, or at `finish`.

    Parameters
    ----------
    max_period : int
        Longest exact period, tokens.
    min_copies : int
        Copies that make a finding, exact or near.
    min_chars : int
        Characters that make an exact finding. A unit without letters needs 3 times as many, one
        of white space and punctuation alone, or of one character over and over, 6 times.
    stop_chars : int
        Characters repeated, the first copy not counted, that make an exact finding a stop; 10
        times as many for a unit without two different letters.
    near_score, near_stop_score : float
        Weight of recurring words over novel ones that makes a near finding, and a stop; 4 and 3
        times as much where the stretch reads like code or figures.
    near_stop_copies : float
        Copies that a near finding needs besides to be a stop.
    halt_on_stop : bool
        Whether to take nothing more after a stop.

    Notes
    -----
    Tokens are compared by a 64-bit hash; two different tokens share one with odds of 2**-64.
    Not thread-safe.
    """

    cdef RunDetector runs
    cdef ms_near_detector near

    cdef readonly uint64_t n_chars
    cdef readonly uint64_t n_tokens
    cdef readonly bint halted
    cdef bint halt_on_stop
    cdef uint64_t min_chars, stop_chars
    cdef double min_copies, near_stop_copies
    cdef int32_t near_score, near_stop_score

    # The token being read.
    cdef int kind
    cdef uint32_t length
    cdef uint64_t start, exact_hash, form_hash
    cdef uint32_t value
    cdef bint after_space
    cdef Py_UCS4 first

    # What was said already, so that it is said once.
    cdef uint64_t run_start
    cdef uint32_t run_period
    cdef int run_level, near_level
    cdef int run_weight
    cdef bint run_weighed

    cdef Py_UCS4 tail[TAIL]
    cdef list found

    def __cinit__(self, *, max_period, min_copies, min_chars, stop_chars, near_score,
                  near_stop_score, near_stop_copies, halt_on_stop):
        self.runs = RunDetector(max_period, min_copies)
        self.min_copies = min_copies
        self.min_chars = min_chars
        self.stop_chars = stop_chars
        self.near_score = <int32_t>(near_score * MS_NEAR_UNIT)
        self.near_stop_score = <int32_t>(near_stop_score * MS_NEAR_UNIT)
        self.near_stop_copies = near_stop_copies
        self.halt_on_stop = halt_on_stop
        self.kind = NONE
        self.found = []
        if ms_near_init(&self.near, NEAR_WINDOW) < 0:
            raise MemoryError("no memory for a LoopScanner")

    def __dealloc__(self):
        ms_near_free(&self.near)

    def feed(self, str text not None):
        """Take the next piece of text.

        Parameters
        ----------
        text : str
            Any length, also empty.

        Returns
        -------
        list of tuple
            What this piece decided, in order: ``(kind, level, start, end, period, copies,
            period_chars, unit, n_tokens)``; kind ``"loop"`` or ``"near_loop"``, level 1 found or 2 certain. A run is told
            at each level once, and at the second alone where it reaches both with one token.
        """
        cdef Py_ssize_t i, n = PyUnicode_GET_LENGTH(text)
        cdef int width = PyUnicode_KIND(text)
        cdef const void *data = PyUnicode_DATA(text)
        for i in range(n):
            if self.halted:
                break
            self.take(PyUnicode_READ(width, data, i))
        return self.drain()

    def finish(self):
        """Say that the text is over: its last token is whole now.

        Returns
        -------
        list of tuple
            As `feed` does.
        """
        if not self.halted:
            self.close_token(self.n_chars)
        return self.drain()

    @property
    def memory_bytes(self):
        """Bytes held by this scanner and its detectors (int)."""
        return sizeof(self.tail) + self.runs.memory() + ms_near_memory(&self.near)

    cdef list drain(self):
        cdef list found = self.found
        if not found:
            return []  # never the list that later findings go into
        self.found = []
        return found

    cdef int take(self, Py_UCS4 c) except -1:
        cdef int kind = classify(c)
        cdef bint runs_on = False
        cdef Py_UCS4 folded = c
        if kind == self.kind:
            if kind == LETTER or kind == SPACE or kind == NEWLINE:
                runs_on = self.length < MAX_WORD
            elif kind == DIGIT:
                runs_on = self.length < MAX_DIGITS
        if kind == LETTER:
            if c < 128:
                folded = <Py_UCS4>(<uint32_t>c | 32)
            else:
                folded = Py_UNICODE_TOLOWER(c)
        self.tail[self.n_chars % TAIL] = c
        if not runs_on:
            if (self.kind == SPACE and self.length == 1 and self.first == 32
                    and kind != NEWLINE and kind != SPACE):
                self.after_space = True  # the token keeps the space's place as its start
            else:
                if self.close_token(self.n_chars) < 0:
                    return -1
                if self.halted:
                    return 0
                self.start = self.n_chars
                self.after_space = False
            self.kind = kind
            self.length = 0
            self.first = c
            self.value = 0
            self.exact_hash = 1 if self.after_space else 2
            self.form_hash = 3
        self.length += 1
        self.exact_hash = stir(self.exact_hash, c)
        if kind == DIGIT:
            self.value = self.value * 10 + <uint32_t>Py_UNICODE_TODECIMAL(c)
        elif kind != NEWLINE:
            self.form_hash = stir(self.form_hash, folded)
        self.n_chars += 1
        if kind == GLYPH or kind == MARK or kind == STRUCTURE:
            return self.close_token(self.n_chars)
        return 0

    cdef int close_token(self, uint64_t end) except -1:
        """The token being read ends before character `end`."""
        cdef int kind = self.kind
        cdef ms_near_class near_class
        cdef int32_t score
        if kind == NONE:
            return 0
        self.kind = NONE
        self.n_tokens += 1
        self.runs.push(stir(self.exact_hash, self.length), self.start)
        if self.runs.detector.has_best:
            self.judge_run(end)
        if kind != SPACE:
            if kind == LETTER or kind == GLYPH:
                near_class = MS_NEAR_WORD
            elif kind == DIGIT:
                near_class = MS_NEAR_NUMBER
            elif kind == STRUCTURE:
                near_class = MS_NEAR_STRUCTURE
            else:
                near_class = MS_NEAR_MARK
            score = ms_near_push(&self.near, stir(self.form_hash, kind), near_class, self.value,
                                 self.start)
            if score < 0:
                raise MemoryError("no memory for the next token")
            if score == 0:
                self.near_level = 0
            elif (self.near_level < 2 and score >= self.near_score
                    and self.near.token % NEAR_EVERY == 0 and not self.halted):
                self.judge_near(end)
        return 0

    cdef int judge_run(self, uint64_t end) except -1:
        cdef ms_run run = self.runs.detector.best
        cdef uint64_t chars = end - run.position
        cdef uint64_t period_chars
        cdef int level = 1
        if run.start != self.run_start or run.period != self.run_period:
            self.run_start = run.start
            self.run_period = run.period
            self.run_level = 0
            self.run_weighed = False
        if self.run_level == 2 or chars < self.min_chars:
            return 0
        period_chars = self.runs.stride()
        if not self.run_weighed:
            self.run_weight = self.weigh(end, period_chars)
            self.run_weighed = True
        if (self.run_level == 0 and self.run_weight
                and chars < self.min_chars * (3 * self.run_weight)):
            return 0
        if chars - period_chars >= self.stop_chars * (10 if self.run_weight else 1):
            level = 2
        if level > self.run_level:
            self.run_level = level
            self.add("loop", level, run.position, end, run.period, self.copies_of(run),
                     period_chars)
        return 0

    cdef double copies_of(self, ms_run run) noexcept:
        return <double>(self.runs.detector.count - run.start) / run.period

    cdef int weigh(self, uint64_t end, uint64_t period_chars) noexcept:
        """0: the unit has two different letters; 1: it has letters or digits; 2: neither."""
        cdef uint64_t i, begin = end - min(period_chars, <uint64_t>TAIL, end)
        cdef int kind
        cdef Py_UCS4 letter = 0, c, only = self.tail[begin % TAIL]
        cdef bint one_character = True, alphanumeric = False
        for i in range(begin, end):
            c = self.tail[i % TAIL]
            kind = classify(c)
            if c != only:
                one_character = False
            if kind == LETTER or kind == GLYPH:
                if letter != 0 and letter != c:
                    return 0
                letter = c
            if kind == LETTER or kind == GLYPH or kind == DIGIT:
                alphanumeric = True
        return 1 if alphanumeric and not one_character else 2

    cdef int judge_near(self, uint64_t end) except -1:
        cdef uint32_t period = ms_near_period(&self.near)
        cdef double copies = ms_near_copies(&self.near, period)
        cdef uint64_t chars = end - self.near.start
        cdef bint structured = ms_near_is_structured(&self.near)
        cdef int level = 0
        cdef ms_run run = self.runs.detector.best
        if copies < self.min_copies:
            return 0
        # Exact repetition says it better where it covers most of the stretch.
        if self.runs.detector.has_best and self.run_level > 0 and 2 * (end - run.position) >= chars:
            return 0
        if self.near.score >= self.near_score * (4 if structured else 1):
            level = 1
        if (level == 1 and copies >= self.near_stop_copies
                and self.near.score >= self.near_stop_score * (3 if structured else 1)):
            level = 2
        if level > self.near_level:
            self.near_level = level
            self.add("near_loop", level, self.near.start, end, period, copies,
                     <uint64_t>(chars / copies + 0.5))
        return 0

    cdef int add(self, str kind, int level, uint64_t start, uint64_t end, uint32_t period,
                 double copies, uint64_t period_chars) except -1:
        self.found.append((kind, level, start, end, period, copies, period_chars,
                           self.unit(end, period_chars), self.n_tokens))
        if level == 2 and self.halt_on_stop:
            self.halted = True
        return 0

    cdef str unit(self, uint64_t end, uint64_t period_chars):
        """The newest copy, its head if it is long; at most SHOWN characters and a mark."""
        cdef uint64_t length = min(period_chars, end)
        cdef uint64_t begin = end - min(length, <uint64_t>TAIL - 1)
        cdef uint64_t shown = min(end - begin, <uint64_t>SHOWN)
        text = "".join([chr(self.tail[i % TAIL]) for i in range(begin, begin + shown)])
        if end - begin < length:
            text = "\u2026" + text
        if shown < end - begin:
            text += "\u2026"
        return text
