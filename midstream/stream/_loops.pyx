# cython: freethreading_compatible=True
"""Text to tokens to findings: the part of loop detection that sees every character."""

cimport cython
from cpython.unicode cimport (
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
)
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

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
        uint32_t first
        uint32_t n_words
        uint64_t start
    int ms_near_init(ms_near_detector *d, uint32_t window) noexcept nogil
    void ms_near_free(ms_near_detector *d) noexcept nogil
    int32_t ms_near_push(ms_near_detector *d, uint64_t form, ms_near_class class_, uint32_t value,
                         uint64_t position) noexcept nogil
    uint32_t ms_near_period(const ms_near_detector *d) noexcept nogil
    double ms_near_copies(const ms_near_detector *d, uint32_t period) noexcept nogil
    bint ms_near_is_structured(const ms_near_detector *d) noexcept nogil
    bint ms_near_is_counting(const ms_near_detector *d, double copies) noexcept nogil
    size_t ms_near_memory(const ms_near_detector *d) noexcept nogil

cdef enum:
    # Longer words and numbers are taken apart: a token that does not end is never compared, and
    # cuts at a fixed width would beat against the period of what is written without spaces.
    MAX_WORD = 32
    MAX_DIGITS = 18
    # Longest group of letters in an identifier.
    MAX_GROUP = 12
    # Characters kept for the evidence, and room for them at first.
    TAIL = 512
    FIRST_TAIL = 64
    SHOWN = 160
    MAX_NEAR_WINDOW = 2048
    MIN_WINDOW = 128
    NEAR_EVERY = 8
    # Of one mark over and over (leaders, rulers, blanks to fill in), what near repetition sees.
    MAX_MARKS = 2
    # Letters of the longest word that stands for a value.
    MAX_VALUE = 5
    # Copies without words that make a near run certain, over those where numbers count.
    WORDLESS = 10

# How sure a finding is; COUNTING is as sure as CERTAIN, but every copy brings a number of its own.
cdef enum:
    FOUND = 1
    COUNTING = 2
    CERTAIN = 3

# What the unit of an exact run consists of, and how many times the characters it must show: empty
# cells, zeros and rulers repeat in healthy text, and so do whole rows of a matrix.
cdef enum:
    WORDS
    MARKUP
    FIGURES
    BLANK
    ROWS

cdef int[5] ASKED = [1, 1, 3, 6, 3]
cdef int[5] ASKED_TO_STOP = [1, 5, 10, 10, 50]

# Words that are values as numbers are, by their letters.
cdef set VALUES = {"null", "true", "false", "none", "nan", "inf", "nil", "na"}

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
    of up to 32 letters and numbers of up to 18 digits, the letters and digits one by one of longer
    ones, runs of one kind of white space, single punctuation marks and single signs of scripts
    without spaces; one space before a token belongs to it. A word counts once the character
    behind it is known, or at `finish`. To near repetition, a time of day, a date and an identifier
    with its groups are one number each.

    Parameters
    ----------
    max_period : int
        Longest exact period, tokens.
    min_copies : int
        Copies that make a finding, exact or near.
    min_chars : int
        Characters that make an exact finding. A unit without two different letters needs 3 times
        as many, one of white space and punctuation alone, or of one character over and over, 6
        times.
    stop_chars : int
        Characters repeated, the first copy not counted, that make an exact finding certain; 5
        times as many for a unit of which more than 28 % are brackets, operators and the like, 10
        times for one without words, 50 times where this is a row of a matrix or table. What stands
        for a value, such as null, is no word.
    near_score, near_stop_score : float
        Weight of recurring words over novel ones that makes a near finding, and a certain one; 4
        and 3 times as much where the stretch reads like code or figures, and twice as much for a
        finding where every copy brings a number of its own.
    near_stop_copies, counting_stop_copies : float
        Copies that a near finding needs besides to be certain; the latter where every copy brings
        a number of its own, and 10 times that, in 50 times `stop_chars`, where there are no words.
    halt_on_stop : bool
        Whether to take nothing more after a certain finding.
    n_chars, n_tokens : int, default 0
        Characters and tokens of the text that went before unseen.

    Notes
    -----
    Tokens are compared by a 64-bit hash; two different tokens share one with odds of 2**-64.
    What a unit consists of is judged by its last 512 characters. Not thread-safe.
    """

    cdef RunDetector runs
    cdef ms_near_detector near

    cdef readonly uint64_t n_chars
    cdef readonly uint64_t n_tokens
    cdef readonly bint halted
    cdef readonly uint32_t window
    cdef public Py_ssize_t grew  # bytes more than before; whoever reads it sets it back
    cdef size_t known_memory
    cdef bint halt_on_stop
    cdef uint64_t min_chars, stop_chars
    cdef double min_copies, near_stop_copies, counting_stop_copies
    cdef int32_t near_score, near_stop_score

    # The token being read.
    cdef int kind
    cdef uint32_t length
    cdef uint64_t start, exact_hash, form_hash
    cdef uint32_t value
    cdef bint after_space, apart
    cdef Py_UCS4 first, high_half

    # The word for the near detector, which takes letters and digits without a space between as
    # one: "18th", "3f9a2c"; and what begins with a digit in it and goes on behind a mark: "10:07",
    # "2026-11-29", identifiers with their groups.
    cdef int near_kind
    cdef uint64_t near_form, near_start, near_end
    cdef uint32_t near_value, near_parts
    cdef uint64_t mark_form  # of the newest token where that is a mark, and how many it was
    cdef uint32_t n_marks
    cdef bint joint        # a mark behind it, which parts or joins, waits
    cdef uint64_t joint_form, joint_start, joint_end

    # What was said already, so that it is said once.
    cdef uint64_t run_start
    cdef uint32_t run_period
    cdef int run_level, near_level
    cdef int run_weight
    cdef bint run_weighed

    cdef Py_UCS4 *tail  # ring of the newest characters, by their numbers
    cdef uint64_t tail_mask
    cdef list found

    def __cinit__(self, *, max_period, min_copies, min_chars, stop_chars, near_score,
                  near_stop_score, near_stop_copies, counting_stop_copies, halt_on_stop,
                  n_chars=0, n_tokens=0):
        self.n_chars = n_chars
        self.n_tokens = n_tokens
        self.min_copies = min_copies
        self.min_chars = min_chars
        self.stop_chars = stop_chars
        self.near_score = <int32_t>(near_score * MS_NEAR_UNIT)
        self.near_stop_score = <int32_t>(near_stop_score * MS_NEAR_UNIT)
        self.near_stop_copies = near_stop_copies
        self.counting_stop_copies = counting_stop_copies
        self.halt_on_stop = halt_on_stop
        self.kind = NONE
        self.near_kind = NONE
        self.found = []
        # Of a text that goes on after it was forgotten, characters before are missing.
        self.tail_mask = (TAIL if n_chars else FIRST_TAIL) - 1
        self.tail = <Py_UCS4 *>calloc(self.tail_mask + 1, sizeof(Py_UCS4))
        if self.tail == NULL:
            raise MemoryError("no memory for a LoopScanner")
        self.look_back(max_period)

    def __dealloc__(self):
        free(self.tail)
        ms_near_free(&self.near)

    @cython.critical_section
    def shrink(self):
        """Give memory back: look for periods half as long from here on.

        What was seen is forgotten, positions are not: a run that goes on is found anew, from here.

        Returns
        -------
        bool
            False if the window is at its smallest.
        """
        if self.window <= MIN_WINDOW:
            return False
        self.look_back(self.window // 2)
        self.known_memory = self.memory()
        self.grew = 0
        return True

    @cython.critical_section
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
            period_chars, unit, n_tokens)``; kind ``"loop"`` or ``"near_loop"``; level 1 found, 2
            certain but for numbers that count, 3 certain. A run is told at each level once, and
            at the highest alone of those that it reaches with one token.
        """
        cdef Py_ssize_t i, n = PyUnicode_GET_LENGTH(text)
        cdef int width = PyUnicode_KIND(text)
        cdef const void *data = PyUnicode_DATA(text)
        cdef Py_UCS4 c
        cdef size_t memory
        for i in range(n):
            if self.halted:
                break
            c = PyUnicode_READ(width, data, i)
            if self.high_half:
                c = self.join_halves(c)
            if 0xD800 <= c < 0xDC00:
                self.high_half = c
            else:
                self.take(c)
        memory = self.memory()
        if memory != self.known_memory:
            self.grew += <Py_ssize_t>memory - <Py_ssize_t>self.known_memory
            self.known_memory = memory
        return self.drain()

    @cython.critical_section
    def finish(self):
        """Say that the text is over: its last token is whole now.

        Returns
        -------
        list of tuple
            As `feed` does.
        """
        cdef Py_UCS4 half = self.high_half
        if half and not self.halted:
            self.high_half = 0
            self.take(half)
        if not self.halted:
            self.close_token(self.n_chars)
        if not self.halted:
            self.close_near()
        return self.drain()

    @property
    @cython.critical_section
    def memory_bytes(self):
        """Bytes held by this scanner and its detectors (int)."""
        return self.memory()

    cdef size_t memory(self) noexcept:
        return (self.tail_mask + 1) * sizeof(Py_UCS4) + self.runs.memory() + ms_near_memory(&self.near)

    cdef int look_back(self, uint32_t window) except -1:
        cdef uint32_t near_window = 256
        cdef ms_near_detector near
        while near_window < window and near_window < MAX_NEAR_WINDOW:
            near_window *= 2
        self.runs = RunDetector(window, <int>self.min_copies)
        if ms_near_init(&near, near_window) < 0:
            ms_near_free(&near)
            raise MemoryError("no memory for a LoopScanner")
        ms_near_free(&self.near)
        self.near = near
        self.window = window
        self.run_period = 0
        self.near_level = 0
        return 0

    cdef int lengthen_tail(self) except -1:
        """Have twice the room, once all of it is taken: by the first characters of the text."""
        cdef size_t n = self.tail_mask + 1
        cdef Py_UCS4 *tail = <Py_UCS4 *>realloc(self.tail, 2 * n * sizeof(Py_UCS4))
        if tail == NULL:
            raise MemoryError("no memory for the next character")
        memset(tail + n, 0, n * sizeof(Py_UCS4))
        self.tail = tail
        self.tail_mask = 2 * n - 1
        return 0

    cdef Py_UCS4 join_halves(self, Py_UCS4 c) except? 0:
        """The character of two halves that came apart, as some servers write them in JSON.

        Our own sources join them already; events that others made may still hold them.
        """
        cdef Py_UCS4 half = self.high_half
        self.high_half = 0
        if 0xDC00 <= c < 0xE000:
            return <Py_UCS4>(0x10000 + ((<uint32_t>half - 0xD800) << 10) + (<uint32_t>c - 0xDC00))
        self.take(half)
        return c

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
            if kind == SPACE or kind == NEWLINE:
                runs_on = self.length < MAX_WORD
            elif kind == LETTER or kind == DIGIT:
                runs_on = True
                if not self.apart and self.length == <uint32_t>(
                        MAX_WORD if kind == LETTER else MAX_DIGITS):
                    self.take_apart()
                    if self.halted:
                        return 0
        if kind == LETTER:
            if c < 128:
                folded = <Py_UCS4>(<uint32_t>c | 32)
            else:
                folded = Py_UNICODE_TOLOWER(c)
        if self.n_chars > self.tail_mask and self.tail_mask < TAIL - 1:
            self.lengthen_tail()
        self.tail[self.n_chars & self.tail_mask] = c
        if not runs_on:
            if (self.kind == SPACE and self.length == 1 and self.first == 32
                    and kind != NEWLINE and kind != SPACE):
                self.after_space = True  # the token keeps the space's place as its start
            else:
                self.close_token(self.n_chars)
                if self.halted:
                    return 0
                self.start = self.n_chars
                self.after_space = False
            self.kind = kind
            self.length = 0
            self.apart = False
            self.first = c
            self.value = 0
            self.exact_hash = 1 if self.after_space else 2
            self.form_hash = 3
        self.length += 1
        self.n_chars += 1
        if self.apart:
            return self.add_token(stir(2, c), self.n_chars - 1, self.n_chars)
        self.exact_hash = stir(self.exact_hash, c)
        if kind == DIGIT:
            self.value = self.value * 10 + <uint32_t>Py_UNICODE_TODECIMAL(c)
        elif kind != NEWLINE:
            self.form_hash = stir(self.form_hash, folded)
        if kind == GLYPH or kind == MARK or kind == STRUCTURE:
            return self.close_token(self.n_chars)
        return 0

    cdef int take_apart(self) except -1:
        """The word being read is too long to be one: its characters become tokens."""
        cdef uint64_t i, letters = self.n_chars - self.length
        self.apart = True
        if self.after_space:  # a token of its own, so that the letters are all alike
            self.add_token(stir(stir(2, 32), 1), letters - 1, letters)
        for i in range(letters, self.n_chars):
            if self.halted:
                break
            self.add_token(stir(2, self.tail[i & self.tail_mask]), i, i + 1)
        return 0

    cdef int close_token(self, uint64_t end) except -1:
        """The token being read ends before character `end`."""
        cdef int kind = self.kind
        if kind == NONE:
            return 0
        self.kind = NONE
        if not self.apart:
            self.add_token(stir(self.exact_hash, self.length), self.start, end)
            if not self.halted:
                self.add_near(kind, end)
        self.apart = False
        return 0

    cdef int add_token(self, uint64_t symbol, uint64_t start, uint64_t end) except -1:
        self.n_tokens += 1
        self.runs.push(symbol, start)
        if self.runs.detector.has_best:
            return self.judge_run(end)
        return 0

    cdef int add_near(self, int kind, uint64_t end) except -1:
        """Hand a token to the near detector, joined to the one before where no space parts them."""
        cdef bint alphanumeric = kind == LETTER or kind == DIGIT
        if self.joint:
            if (alphanumeric and not self.after_space and self.joint_end == self.start
                    and (kind == DIGIT or self.is_hexadecimal(end))):
                self.joint = False
                self.near_form = stir(6, DIGIT)
                # What counts up in its last part still counts.
                self.near_value = self.near_value * 1000003 + (
                    self.value if kind == DIGIT else <uint32_t>(self.form_hash >> 32))
                self.near_parts += 1
                self.near_end = end
                return 0
        elif (self.near_kind == DIGIT and kind == MARK and not self.after_space
                and (self.first == 45 or self.first == 58
                     or (self.first == 46 and self.near_form == stir(6, DIGIT)))):
            # Not "1.15.0": versions of different things would be one number that recurs.
            self.joint = True
            self.joint_form = stir(self.form_hash, kind)
            self.joint_start = self.start
            self.joint_end = end
            return 0
        if alphanumeric and not self.joint and self.near_kind != NONE and not self.after_space:
            if self.near_kind == LETTER and self.near_parts == 1:  # "F10": a number of the kind F
                self.near_form = stir(self.near_form, DIGIT)
                self.near_value = self.value
            elif not (self.near_parts == 1 and self.length <= 2):  # else as "18th", "5px"
                self.near_form = stir(5, DIGIT)
                self.near_value = <uint32_t>(
                    stir(self.near_value ^ self.form_hash, self.value) >> 32)
            self.near_kind = DIGIT
            self.near_parts += 1
            self.near_end = end
            return 0
        self.close_near()
        if self.halted or kind == SPACE:
            return 0
        self.near_kind = kind
        self.near_form = stir(self.form_hash, kind)
        self.near_value = self.value
        self.near_start = self.start
        self.near_end = end
        self.near_parts = 1
        if not alphanumeric:
            return self.close_near()
        return 0

    cdef bint is_hexadecimal(self, uint64_t end) noexcept:
        """Whether the letters being read are, as those of a group of an identifier."""
        cdef uint64_t i
        cdef uint32_t c
        if end - self.start > MAX_GROUP:
            return False
        for i in range(self.start, end):
            c = <uint32_t>self.tail[i & self.tail_mask] | 32
            if not 97 <= c <= 102:
                return False
        return True

    cdef int close_near(self) except -1:
        """Hand on the word, and the mark behind it."""
        self.push_near()
        if self.joint:
            self.joint = False
            if not self.halted:
                self.near_kind = MARK
                self.near_form = self.joint_form
                self.near_value = 0
                self.near_start = self.joint_start
                self.near_end = self.joint_end
                self.push_near()
        return 0

    cdef int push_near(self) except -1:
        cdef int kind = self.near_kind
        cdef ms_near_class near_class
        cdef int32_t score
        if kind == NONE:
            return 0
        self.near_kind = NONE
        if kind != MARK and kind != STRUCTURE:
            self.mark_form = 0
        elif self.near_form != self.mark_form:
            self.mark_form = self.near_form
            self.n_marks = 1
        elif self.n_marks == MAX_MARKS:
            return 0
        else:
            self.n_marks += 1
        if kind == LETTER or kind == GLYPH:
            near_class = MS_NEAR_WORD
        elif kind == DIGIT:
            near_class = MS_NEAR_NUMBER
        elif kind == STRUCTURE:
            near_class = MS_NEAR_STRUCTURE
        else:
            near_class = MS_NEAR_MARK
        score = ms_near_push(&self.near, self.near_form, near_class, self.near_value,
                             self.near_start)
        if score < 0:
            raise MemoryError("no memory for the next token")
        if score == 0:
            self.near_level = 0
        elif (self.near_level < CERTAIN and score >= self.near_score
                and self.near.token % NEAR_EVERY == 0):
            return self.judge_near(self.near_end)
        return 0

    cdef int judge_run(self, uint64_t end) except -1:
        cdef ms_run run = self.runs.detector.best
        cdef uint64_t chars = end - run.position
        cdef uint64_t period_chars
        cdef int level = FOUND
        if run.start != self.run_start or run.period != self.run_period:
            self.run_start = run.start
            self.run_period = run.period
            self.run_level = 0
            self.run_weighed = False
        if self.run_level == CERTAIN or chars < self.min_chars:
            return 0
        period_chars = self.runs.stride()
        if not self.run_weighed:
            self.run_weight = self.weigh(end, period_chars)
            self.run_weighed = True
        if self.run_level == 0 and chars < self.min_chars * ASKED[self.run_weight]:
            return 0
        if chars - period_chars >= self.stop_chars * ASKED_TO_STOP[self.run_weight]:
            level = CERTAIN
        if level > self.run_level:
            self.run_level = level
            self.add("loop", level, run.position, end, run.period,
                     <double>(self.runs.detector.count - run.start) / run.period, period_chars)
        return 0

    cdef int weigh(self, uint64_t end, uint64_t period_chars) noexcept:
        """What the unit consists of, by its last TAIL characters."""
        cdef uint64_t i, begin = end - min(period_chars, <uint64_t>TAIL - 1, end)
        cdef int kind, structure = 0, visible = 0
        cdef Py_UCS4 letter = 0, c, only = self.tail[begin & self.tail_mask]
        cdef bint one_character = True, alphanumeric = False, words = False, ends = False
        cdef uint64_t word = begin  # where the letters that are being read begin
        for i in range(begin, end):
            c = self.tail[i & self.tail_mask]
            kind = classify(c)
            one_character &= c == only
            visible += kind != SPACE and kind != NEWLINE
            structure += kind == STRUCTURE
            ends |= kind == NEWLINE or c == 93 or c == 125  # "]", "}"
            alphanumeric |= kind == LETTER or kind == GLYPH or kind == DIGIT
            if kind != LETTER:
                if i > word:
                    words |= self.is_word(word, i, begin, &letter)
                word = i + 1
                if kind == GLYPH:
                    words |= letter != 0 and letter != c
                    letter = c
        if end > word:
            words |= self.is_word(word, end, begin, &letter)
        if one_character or not alphanumeric:
            return BLANK
        if not words:
            return ROWS if ends and structure else FIGURES
        return MARKUP if structure > 0.28 * visible else WORDS

    cdef bint is_word(self, uint64_t start, uint64_t end, uint64_t begin, Py_UCS4 *letter):
        """Whether letters of a unit that begins at `begin`, with the last before, are two or more.

        Not those of a value; what the unit's beginning cuts off may be the rest of one.
        """
        cdef uint64_t i
        cdef Py_UCS4 c
        cdef bint unlike = False
        cdef Py_UCS4 last = letter[0]
        cdef str text
        for i in range(start, end):
            c = self.tail[i & self.tail_mask]
            unlike |= last != 0 and last != c
            last = c
        if unlike and end - start <= MAX_VALUE:
            text = "".join([chr(self.tail[i & self.tail_mask]) for i in range(start, end)]).lower()
            if text in VALUES or (start == begin and any(v.endswith(text) for v in VALUES)):
                return False
        letter[0] = last
        return unlike

    cdef int judge_near(self, uint64_t end) except -1:
        cdef uint32_t period = ms_near_period(&self.near)
        cdef double copies = ms_near_copies(&self.near, period)
        cdef uint64_t chars = end - self.near.start
        cdef bint structured = ms_near_is_structured(&self.near)
        cdef bint counting = ms_near_is_counting(&self.near, copies)
        cdef int level = 0
        if copies < self.min_copies:
            return 0
        # Exact repetition says it better where it covers most of the stretch.
        if (self.runs.detector.has_best and self.run_level > 0
                and 2 * (end - self.runs.detector.best.position) >= chars):
            return 0
        if self.near.score >= self.near_score * (4 if structured else 2 if counting else 1):
            level = FOUND
        if (level and copies >= self.near_stop_copies
                and self.near.score >= self.near_stop_score * (3 if structured else 1)):
            level = COUNTING if counting and copies < self.counting_stop_copies else CERTAIN
            # Figures alone are data, whatever their order, or somebody counts.
            if (50 * self.near.n_words < self.near.token - self.near.first
                    and (copies < WORDLESS * self.counting_stop_copies
                         or chars < self.stop_chars * ASKED_TO_STOP[ROWS])):
                level = COUNTING
        if level > self.near_level:
            self.near_level = level
            self.add("near_loop", level, self.near.start, end, period, copies,
                     <uint64_t>(chars / copies + 0.5))
        return 0

    cdef int add(self, str kind, int level, uint64_t start, uint64_t end, uint32_t period,
                 double copies, uint64_t period_chars) except -1:
        self.found.append((kind, level, start, end, period, copies, period_chars,
                           self.unit(end, period_chars), self.n_tokens))
        if level == CERTAIN and self.halt_on_stop:
            self.halted = True
        return 0

    cdef str unit(self, uint64_t end, uint64_t period_chars):
        """The newest copy, its head if it is long; at most SHOWN characters and a mark.

        Of a copy longer than the tail, the head is gone: then what is left, behind a mark.
        """
        cdef uint64_t length = min(period_chars, end)
        cdef uint64_t begin = end - min(length, <uint64_t>TAIL - 1)
        cdef uint64_t shown = min(end - begin, <uint64_t>SHOWN)
        text = "".join([chr(self.tail[i & self.tail_mask]) for i in range(begin, begin + shown)])
        if end - begin < length:
            text = "\u2026" + text
        if shown < end - begin:
            text += "\u2026"
        return text
