# cython: freethreading_compatible=True
"""JSON that arrives in pieces: every value as soon as no further character can change it."""

cimport cython
from cpython.unicode cimport (
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
    PyUnicode_Substring,
)

# What the next character may be.
cdef enum:
    VALUE
    FIRST_ITEM
    FIRST_KEY
    KEY
    COLON
    AFTER
    STRING
    ESCAPE
    HEX
    WORD
    # Numbers, by what was read last.
    MINUS
    ZERO
    INTEGER
    POINT
    FRACTION
    EXPONENT
    EXPONENT_SIGN
    EXPONENT_DIGITS
    DONE
    BAD

cdef enum:
    # int() refuses more, and so does json.loads.
    MAX_INT_DIGITS = 4300

cdef dict WORDS = {"true": True, "false": False, "null": None}
cdef dict ESCAPES = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"
}
cdef tuple EXPECTED = (
    "a value", "a value or ']'", "a key or '}'", "a key", "':'", "',' or the end of the container",
    "a string", "an escape", "four hexadecimal digits", "true, false or null",
    "a digit", "", "", "a digit", "", "a digit or a sign", "a digit", "",
)


cdef class ArgumentReader:
    """Read one JSON text (RFC 8259) piece by piece, never from the start again.

    Parameters
    ----------
    max_chars : int
        Characters of the text.
    max_depth : int
        Objects and arrays within one another.
    max_fixed : int
        Entries of `fixed`; values beyond them are in `value` alone.

    Attributes
    ----------
    fixed : dict
        Dotted path -> value, for every value that has been read whole. Of a key that an object
        has twice, the first.
    new : list of str
        Those of its paths that the last `feed` or `finish` added.
    duplicates : list of str
        Paths of keys that were there already.
    value : Any
        The whole, once `complete`; of a key that is there twice the last, as in `json.loads`.
    malformed : str or None
        What is wrong, and where; nothing more is read after it.
    first : tuple of Any and int, or None
        The value that was whole before what followed made the text malformed, and the
        character at which that begins.

    Notes
    -----
    Not thread-safe.
    """

    cdef readonly dict fixed
    cdef readonly list duplicates
    cdef list new_
    cdef object value_, malformed_, first_
    cdef readonly bint complete
    cdef readonly Py_ssize_t n_chars
    cdef Py_ssize_t max_chars, max_depth, max_fixed

    cdef int state
    cdef Py_ssize_t depth
    cdef list containers  # from the outermost to the innermost open one
    cdef list prefixes    # what the paths inside each begin with
    cdef list keys        # the key under which each stands, None in an array
    cdef object key       # of the value being read, where the innermost is an object
    cdef Py_ssize_t again # depth of the object whose key is there a second time, or 0
    cdef bint is_key      # the string being read is a key
    cdef list parts       # of the string, number or word being read
    cdef bint is_float
    cdef int n_hex
    cdef int code
    cdef int high         # first half of an escaped surrogate pair, or 0

    def __cinit__(self, *, Py_ssize_t max_chars, Py_ssize_t max_depth, Py_ssize_t max_fixed):
        self.max_chars = max_chars
        self.max_depth = max_depth
        self.max_fixed = max_fixed
        self.fixed = {}
        self.new_ = []
        self.duplicates = []
        self.containers = []
        self.prefixes = []
        self.keys = []
        self.parts = []
        self.state = VALUE

    # Not attributes: whoever reads one must not lose it to a `feed` in between.

    @property
    @cython.critical_section
    def new(self):
        return self.new_

    @property
    @cython.critical_section
    def value(self):
        return self.value_

    @property
    @cython.critical_section
    def malformed(self):
        return self.malformed_

    @property
    @cython.critical_section
    def first(self):
        return self.first_

    @property
    @cython.critical_section
    def open_string(self):
        """Path of the string being read and its text so far; None where none is read."""
        if self.is_key or not STRING <= self.state <= HEX:
            return None
        if len(self.parts) > 1:
            self.parts = ["".join(self.parts)]
        return self.path(), self.parts[0] if self.parts else ""

    @property
    @cython.critical_section
    def is_empty(self):
        """Whether nothing but white space came."""
        return self.state == VALUE and not self.containers

    @property
    @cython.critical_section
    def would_complete(self):
        """Whether the text is a whole value if nothing follows, as a number may be."""
        return not self.containers and (self.state == DONE or number_is_whole(self.state))

    @cython.critical_section
    def feed(self, str text not None):
        """Take the next piece.

        Returns
        -------
        bool
            Whether it fixed a value, completed the text, met a key again or made it malformed.
        """
        cdef Py_ssize_t i = 0, start, n = PyUnicode_GET_LENGTH(text)
        cdef int width = PyUnicode_KIND(text)
        cdef const void *data = PyUnicode_DATA(text)
        cdef Py_UCS4 c
        cdef int state = self.state
        cdef Py_ssize_t base = self.n_chars

        if self.new_:
            self.new_ = []
        if state == BAD:
            self.n_chars += n
            return False
        cdef bint too_long = base + n > self.max_chars
        if too_long:
            # Up to the limit it is read whatever the pieces are.
            n = self.max_chars - base
        cdef bint was_complete = self.complete
        cdef Py_ssize_t n_duplicates = len(self.duplicates)
        while i < n:
            c = PyUnicode_READ(width, data, i)
            if state == STRING:
                start = i
                while c != u'"' and c != u"\\" and c >= 0x20:
                    i += 1
                    if i == n:
                        break
                    c = PyUnicode_READ(width, data, i)
                if i > start:
                    self.keep(PyUnicode_Substring(text, start, i))
                    if i == n:
                        break
                if c == u'"':
                    self.end_string()
                    state = self.state
                elif c == u"\\":
                    state = ESCAPE
                else:
                    return self.fail(base + i, text, f"a string holds {c!r} unescaped")
                i += 1
                continue
            if MINUS <= state <= EXPONENT_DIGITS:
                start = i
                while i < n:
                    state = next_of_number(state, PyUnicode_READ(width, data, i))
                    if state < 0:
                        break
                    self.state = state
                    if state >= POINT:
                        self.is_float = True
                    i += 1
                if i > start:
                    self.parts.append(PyUnicode_Substring(text, start, i))
                if i == n:
                    state = self.state
                    break
                state = self.state
                if not number_is_whole(state):
                    return self.fail_expected(base + i, text, i)
                if not self.end_number():
                    return self.fail(base + i, text, f"an integer of more than {MAX_INT_DIGITS} digits")
                state = self.state
                continue  # the character ended the number and is still to be read
            if state == WORD:
                self.code += 1
                if self.code >= len(<str>self.parts[0]) or c != (<str>self.parts[0])[self.code]:
                    return self.fail_expected(base + i, text, i)
                if self.code + 1 == len(<str>self.parts[0]):
                    word = self.parts.pop()
                    self.put(WORDS[word])
                    state = self.state
                i += 1
                continue
            if state == ESCAPE:
                if c == u"u":
                    state = HEX
                    self.n_hex = self.code = 0
                else:
                    one = ESCAPES.get(c)
                    if one is None:
                        return self.fail(base + i, text, f"a string escapes {c!r}")
                    self.keep(one)
                    state = STRING
                i += 1
                continue
            if state == HEX:
                self.code *= 16
                if u"0" <= c <= u"9":
                    self.code += <int>c - 48
                elif u"a" <= c <= u"f":
                    self.code += <int>c - 97 + 10
                elif u"A" <= c <= u"F":
                    self.code += <int>c - 65 + 10
                else:
                    self.state = state
                    return self.fail_expected(base + i, text, i)
                self.n_hex += 1
                if self.n_hex == 4:
                    self.keep_code()
                    state = STRING
                i += 1
                continue
            if c == u" " or c == u"\n" or c == u"\t" or c == u"\r":
                i += 1
                continue
            if state == COLON:
                if c != u":":
                    return self.fail_expected(base + i, text, i)
                state = VALUE
            elif state == KEY or state == FIRST_KEY:
                if c == u'"':
                    self.is_key = True
                    state = STRING
                elif c == u"}" and state == FIRST_KEY:
                    self.close()
                    state = self.state
                else:
                    self.state = state
                    return self.fail_expected(base + i, text, i)
            elif state == AFTER:
                is_object = type(self.containers[self.depth - 1]) is dict
                if c == u",":
                    state = KEY if is_object else VALUE
                elif c == (u"}" if is_object else u"]"):
                    self.close()
                    state = self.state
                else:
                    self.state = state
                    return self.fail_expected(base + i, text, i)
            elif state == DONE:
                return self.fail(base + i, text, f"{c!r} after the end of the value")
            elif c == u'"':
                self.is_key = False
                state = STRING
            elif c == u"{" or c == u"[":
                if self.depth >= self.max_depth:
                    return self.fail(
                        base + i, text, f"more than {self.max_depth} objects and arrays in one another"
                    )
                self.open({} if c == u"{" else [])
                state = FIRST_KEY if c == u"{" else FIRST_ITEM
            elif c == u"]" and state == FIRST_ITEM:
                self.close()
                state = self.state
            elif c == u"-" or u"0" <= c <= u"9":
                self.is_float = False
                self.parts.append(c)
                state = MINUS if c == u"-" else ZERO if c == u"0" else INTEGER
            elif c == u"t" or c == u"f" or c == u"n":
                self.parts.append("true" if c == u"t" else "false" if c == u"f" else "null")
                self.code = 0
                state = WORD
            else:
                self.state = state
                return self.fail_expected(base + i, text, i)
            self.state = state
            i += 1
        self.state = state
        if too_long:
            return self.fail(base + n, text, f"more than {self.max_chars} characters")
        self.n_chars = base + n
        return (
            bool(self.new_)
            or self.complete != was_complete
            or len(self.duplicates) != n_duplicates
        )

    @cython.critical_section
    def finish(self):
        """Take note that nothing follows.

        Returns
        -------
        bool
            As `feed`.
        """
        if self.new_:
            self.new_ = []
        if self.state == BAD or self.state == DONE:
            return False
        if self.is_empty:
            self.put({})  # what a call without arguments is
            return True
        if self.would_complete and self.end_number():
            return True
        expected = EXPECTED[self.state] or "the end of the container"
        if STRING <= self.state <= HEX:
            expected = "the end of a string"
        self.state = BAD
        self.malformed_ = f"character {self.n_chars}: ends where {expected} is due"
        return True

    # Strings.

    cdef int keep(self, str piece) except -1:
        if self.high:
            self.parts.append(chr(self.high))
            self.high = 0
        self.parts.append(piece)
        return 0

    cdef int keep_code(self) except -1:
        cdef int code = self.code
        if self.high and 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((self.high - 0xD800) << 10) + (code - 0xDC00)
            self.high = 0
            self.parts.append(chr(code))
        elif 0xD800 <= code < 0xDC00:
            if self.high:
                self.parts.append(chr(self.high))
            self.high = code
        else:
            self.keep(chr(code))
        return 0

    cdef int end_string(self) except -1:
        cdef str text
        if self.high:
            self.keep("")
        if len(self.parts) == 1:
            text = self.parts[0]
        else:
            text = "".join(self.parts)
        self.parts.clear()
        if self.is_key:
            self.is_key = False
            self.key = text
            self.state = COLON
            if not self.again and text in <dict>self.containers[self.depth - 1]:
                self.again = self.depth
                self.duplicates.append(self.path())
        else:
            self.put(text)
        return 0

    cdef bint end_number(self) except -1:
        cdef str text = "".join(self.parts)
        if not self.is_float and len(text) > MAX_INT_DIGITS + (text[0] == u"-"):
            return False
        self.parts.clear()
        self.put(float(text) if self.is_float else int(text))
        return True

    # Values and where they belong.

    cdef str path(self):
        if not self.depth:
            return ""
        cdef str before = self.prefixes[self.depth - 1]
        container = self.containers[self.depth - 1]
        if type(container) is list:
            return f"{before}{len(<list>container)}"
        cdef str key = self.key
        # A dot in a key is not one between keys.
        if "." in key or "\\" in key:
            key = key.replace("\\", "\\\\").replace(".", "\\.")
        return before + key

    cdef int open(self, container) except -1:
        self.prefixes.append(self.path() + "." if self.depth else "")
        self.keys.append(self.key)
        self.containers.append(container)
        self.depth += 1
        return 0

    cdef int close(self) except -1:
        container = self.containers.pop()
        self.key = self.keys.pop()
        self.prefixes.pop()
        self.depth -= 1
        return self.put(container)

    cdef int put(self, value) except -1:
        if not self.depth:
            self.value_ = value
            self.complete = True
            self.state = DONE
            return 0
        # The path of an item of an array is its index, which is the length before.
        if not self.again and len(self.fixed) < self.max_fixed:
            path = self.path()
            self.fixed[path] = value
            self.new_.append(path)
        container = self.containers[self.depth - 1]
        if type(container) is list:
            (<list>container).append(value)
        else:
            (<dict>container)[self.key] = value
        if self.again == self.depth:
            self.again = 0
        self.state = AFTER
        return 0

    # What is wrong.

    cdef bint fail_expected(self, Py_ssize_t at, str text, Py_ssize_t i) except -1:
        cdef str expected = EXPECTED[self.state]
        if self.state == AFTER and self.depth:
            closing = "}" if type(self.containers[self.depth - 1]) is dict else "]"
            expected = f"',' or '{closing}'"
        return self.fail(at, text, f"{text[i]!r} where {expected} is due")

    cdef bint fail(self, Py_ssize_t at, str text, str message) except -1:
        self.n_chars += len(text)
        self.state = BAD
        if self.complete:
            self.first_ = (self.value_, at)
        self.complete = False
        self.value_ = None
        self.malformed_ = f"character {at}: {message}"
        self.containers.clear()
        self.prefixes.clear()
        self.keys.clear()
        self.parts.clear()
        return True


cdef inline bint number_is_whole(int state) noexcept:
    return state == ZERO or state == INTEGER or state == FRACTION or state == EXPONENT_DIGITS


cdef inline int next_of_number(int state, Py_UCS4 c) noexcept:
    """The state after `c`, or -1 where the number does not go on."""
    if u"0" <= c <= u"9":
        if state == MINUS:
            return ZERO if c == u"0" else INTEGER
        if state == ZERO:
            return -1
        if state == POINT:
            return FRACTION
        if state == EXPONENT or state == EXPONENT_SIGN:
            return EXPONENT_DIGITS
        return state
    if c == u"." and (state == ZERO or state == INTEGER):
        return POINT
    if (c == u"e" or c == u"E") and (state == ZERO or state == INTEGER or state == FRACTION):
        return EXPONENT
    if (c == u"+" or c == u"-") and state == EXPONENT:
        return EXPONENT_SIGN
    return -1
