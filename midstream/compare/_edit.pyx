# cython: freethreading_compatible=True
"""Binding of csrc/ms_edit: edit distance and longest common subsequence.

The public functions stand here, not in a Python module around this one: for strings of a hundred
characters, another call would cost as much as the work.
"""

from cpython.sequence cimport PySequence_Check
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll
from midstream.compare._symbols cimport Symbols, convert_pair

import math

from midstream._core.errors import ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.validate import check_int, check_real

cdef extern from "ms_symbols.h":
    uint32_t ms_symbols_pair(const int64_t *a, size_t n, const int64_t *b, size_t m,
                             uint32_t *ranks_a, uint32_t *ranks_b) noexcept nogil

cdef extern from "Python.h":
    int PyUnicode_KIND(object o)
    void *PyUnicode_DATA(object o)
    Py_ssize_t PyUnicode_GET_LENGTH(object o)
    bint PyBytes_CheckExact(object o)
    char *PyBytes_AS_STRING(object o)
    Py_ssize_t PyBytes_GET_SIZE(object o)

cdef tuple UNIT_WEIGHTS = (1, 1, 1)
cdef const ms_edit_kernels *KERNELS = ms_edit_select(<ms_simd_level>simd_level_number())
cdef int64_t NO_LIMIT = <int64_t>1 << 62
#: Weights beyond this could overflow sums over the longest sequences there can be.
cdef int64_t HEAVIEST = (<int64_t>1 << 31) - 1
#: Cells below which a call takes some microseconds: not worth letting other threads in.
cdef double SHORT_WORK = 2e6
#: Symbols up to which sequences may be compared in one go, without asking whether to go on.
cdef size_t AT_ONCE = 8192
#: Less memory than this is not worth asking for.
cdef size_t LITTLE_MEMORY = 16 << 20


cdef bint as_bytes(object value, const uint8_t **data, size_t *n) noexcept:
    """The characters of text up to U+00FF, in place."""
    if PyUnicode_Check(value) and PyUnicode_KIND(value) == 1:
        data[0] = <const uint8_t *>PyUnicode_DATA(value)
        n[0] = <size_t>PyUnicode_GET_LENGTH(value)
        return True
    return False


cdef bint both_bytes(object a, object b, const uint8_t **x, size_t *n, const uint8_t **y,
                     size_t *m) noexcept:
    if as_bytes(a, x, n):
        return as_bytes(b, y, m)
    if PyBytes_CheckExact(a) and PyBytes_CheckExact(b):
        x[0] = <const uint8_t *>PyBytes_AS_STRING(a)
        n[0] = <size_t>PyBytes_GET_SIZE(a)
        y[0] = <const uint8_t *>PyBytes_AS_STRING(b)
        m[0] = <size_t>PyBytes_GET_SIZE(b)
        return True
    return False


cdef Measure as_measure(object weights) except *:
    """What the three weights come down to."""
    cdef Measure measure
    cdef int64_t w[3]
    cdef int i
    try:
        parts = tuple(weights)
    except TypeError:
        parts = ()
    if len(parts) != 3:
        raise ArgumentValueError(
            f"weights must be three integers (insertion, deletion, substitution), got {weights!r}"
        )
    for i in range(3):
        w[i] = check_int(f"weights[{i}]", parts[i], low=0, high=HEAVIEST)
        measure.weights[i] = w[i]
    if w[2] >= w[0] + w[1]:
        measure.kind = INDEL  # a substitution is never better than a deletion and an insertion
    elif w[0] == w[1] and w[1] == w[2]:
        measure.kind = UNIT
    else:
        measure.kind = GENERAL
    return measure


cdef int64_t as_limit(object cutoff) except -1:
    """The largest distance that is not above `cutoff`."""
    if cutoff is None:
        return NO_LIMIT
    limit = check_real("cutoff", cutoff, low=0, finite=False)
    if limit >= NO_LIMIT:
        return NO_LIMIT
    return <int64_t>math.floor(limit)


cdef int64_t measured(const Measure *measure, const uint32_t *a, size_t n, const uint32_t *b,
                      size_t m, uint32_t alphabet, int64_t limit, ms_poll *poll) noexcept nogil:
    """The distance, something above `limit` where it is above, or a status below zero."""
    cdef int64_t unit = measure.weights[0], common, distance, capped = NO_LIMIT
    if measure.kind == GENERAL:
        return ms_edit_weighted(KERNELS, a, n, b, m, measure.weights, poll)
    if measure.kind == UNIT:
        if limit != NO_LIMIT:
            capped = limit // unit
        distance = ms_edit_levenshtein(KERNELS, a, n, b, m, alphabet, capped, poll)
        return distance if distance < 0 else distance * unit
    if unit == measure.weights[1] and unit > 0:
        if limit != NO_LIMIT:
            capped = limit // unit
        distance = ms_edit_indel(KERNELS, a, n, b, m, alphabet, capped, poll)
        return distance if distance < 0 else distance * unit
    distance = ms_edit_indel(KERNELS, a, n, b, m, alphabet, NO_LIMIT, poll)
    if distance < 0:
        return distance
    common = (<int64_t>(n + m) - distance) // 2
    return unit * (<int64_t>m - common) + measure.weights[1] * (<int64_t>n - common)


cdef int64_t of_numbers(const Measure *measure, const int64_t *a, size_t n, const int64_t *b,
                        size_t m, int64_t limit) noexcept nogil:
    """The distance of short sequences with weights (1, 1, 1) or (1, 1, 2); else below zero."""
    if measure.weights[0] != 1 or measure.weights[1] != 1 or n + m > AT_ONCE:
        return -1
    if measure.kind == UNIT:
        return ms_edit_levenshtein_i64(a, n, b, m, limit)
    if measure.kind == INDEL:
        return ms_edit_indel_i64(a, n, b, m, limit)
    return -1


cdef int64_t compare(object a, object b, const Measure *measure, int64_t limit,
                     size_t *symbols) except -1:
    """`measured` for Python's sequences, and how many symbols both hold."""
    cdef Symbols x, y
    cdef uint32_t *ranks = NULL
    cdef uint32_t alphabet
    cdef size_t n, m
    cdef int64_t result
    cdef double cells
    cdef Poll poll
    x.values = NULL
    y.values = NULL
    try:
        convert_pair(a, b, &x, &y)
        n = <size_t>x.n
        m = <size_t>y.n
        symbols[0] = n + m
        result = of_numbers(measure, x.values, n, y.values, m, limit)
        if result >= 0:
            return result
        if n + m >= 1 << 31:
            raise ArgumentValueError(f"a and b must hold less than 2**31 symbols, got {n + m}")
        if 32 * (n + m) > LITTLE_MEMORY:
            check_memory(f"comparison of {n} and {m} symbols", 32 * (n + m))
        ranks = <uint32_t *>malloc(sizeof(uint32_t) * (n + m + 1))
        if ranks == NULL:
            raise MemoryError(f"no memory for {n + m} symbols")
        alphabet = ms_symbols_pair(x.values, n, y.values, m, ranks, ranks + n)
        if alphabet == 0:
            raise MemoryError(f"no memory for the symbols of {n + m}")
        cells = <double>n * <double>m * (20.0 if measure.kind == GENERAL else 1.0)
        if cells < SHORT_WORK:
            result = measured(measure, ranks, n, ranks + n, m, alphabet, limit, NULL)
        else:
            poll = Poll()
            with nogil:
                result = measured(measure, ranks, n, ranks + n, m, alphabet, limit, &poll.poll)
            if result == MS_EDIT_STOPPED:
                poll.reraise()
        if result < 0:
            raise MemoryError(f"no memory for the comparison of {n} and {m} symbols")
        return result
    finally:
        free(x.values)
        free(y.values)
        free(ranks)


def levenshtein(a, b, *, weights=UNIT_WEIGHTS, cutoff=None):
    """Edit distance: the least cost of edits that turn `a` into `b`.

    Parameters
    ----------
    a, b : str, bytes, (n,) integer array, or sequence of hashables
        Two sequences of symbols. Equality of the symbols decides, never a hash: ``1``, ``1.0`` and
        ``True`` are equal, NaN equals nothing, and a str is a sequence of its characters,
        bytes one of integers, whatever the other sequence is.
    weights : (int, int, int), default (1, 1, 1)
        What an insertion, a deletion and a substitution cost, each 0 to 2**31 - 1.
    cutoff : real, optional
        Largest distance of interest, at least 0. A small one saves work.

    Returns
    -------
    int
        The distance. Where it is above `cutoff`: the largest integer not above `cutoff`, plus 1
        (an int cannot be inf, which `cdist` has in such places).

    Raises
    ------
    ArgumentTypeError
        An argument is no sequence, or holds something that is not hashable.
    ArgumentValueError
        `weights` or `cutoff` is negative or too large, or an array has more than one axis.

    See Also
    --------
    lcs : length of a longest common subsequence.

    Notes
    -----
    Three equal weights are a multiple of the distance with (1, 1, 1). Where a substitution costs no
    less than a deletion and an insertion, the longest common subsequence decides. Both take
    ``n * m / 512`` steps with AVX-512, ``n * m / 256`` with AVX2 and ``n * m / 64`` otherwise, and
    fewer where the distance turns out to be small or `cutoff` is; 32 bytes of memory a symbol.
    Other weights take ``n * m`` steps, several in a vector.

    Thread-safe; releases the GIL where the work is longer than some microseconds. Ctrl-C is heard.

    References
    ----------
    Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic
    programming", J. ACM 46 (1999); Hyyro, "A bit-vector algorithm for computing Levenshtein and
    Damerau edit distances", Nordic J. Computing 10 (2003); Ukkonen, "Algorithms for approximate
    string matching", Information and Control 64 (1985).

    Examples
    --------
    >>> from midstream.compare import levenshtein
    >>> levenshtein("kitten", "sitting")
    3
    >>> levenshtein(["plan", "search", "answer"], ["plan", "answer"])
    1
    >>> levenshtein("kitten", "sitting", weights=(1, 1, 2))
    5
    >>> levenshtein("kitten", "sitting", cutoff=1)
    2
    """
    cdef Measure measure
    cdef const uint8_t *x
    cdef const uint8_t *y
    cdef size_t n, m
    cdef int64_t limit = NO_LIMIT, distance
    if cutoff is not None:
        limit = as_limit(cutoff)
    if weights is UNIT_WEIGHTS:
        if both_bytes(a, b, &x, &n, &y, &m) and n + m <= AT_ONCE:
            distance = ms_edit_levenshtein_u8(x, n, y, m, limit)
            if distance >= 0:
                return distance
        measure.kind = UNIT
        measure.weights[0] = 1
        measure.weights[1] = 1
        measure.weights[2] = 1
    else:
        measure = as_measure(weights)
    distance = compare(a, b, &measure, limit, &n)
    return distance if distance <= limit else limit + 1


def lcs(a, b):
    """Length of a longest common subsequence.

    Parameters
    ----------
    a, b : str, bytes, (n,) integer array, or sequence of hashables
        As in `levenshtein`.

    Returns
    -------
    int
        Between 0 and the length of the shorter sequence.

    Raises
    ------
    ArgumentTypeError
        An argument is no sequence, or holds something that is not hashable.
    ArgumentValueError
        An array has more than one axis.

    See Also
    --------
    lcs_sequence : the subsequence itself.

    Notes
    -----
    Costs and threads as in `levenshtein`.

    References
    ----------
    Hyyro, "Bit-parallel LCS-length computation revisited", AWOCA (2004).

    Examples
    --------
    >>> from midstream.compare import lcs
    >>> lcs("midstream", "mainstream")
    8
    """
    cdef Measure measure
    cdef const uint8_t *x
    cdef const uint8_t *y
    cdef size_t n, m
    cdef int64_t distance
    if both_bytes(a, b, &x, &n, &y, &m) and n + m <= AT_ONCE:
        distance = ms_edit_indel_u8(x, n, y, m, NO_LIMIT)
        if distance >= 0:
            return <int64_t>(n + m - <size_t>distance) // 2
    measure.kind = INDEL
    measure.weights[0] = 1
    measure.weights[1] = 1
    measure.weights[2] = 2
    distance = compare(a, b, &measure, NO_LIMIT, &n)
    return (<int64_t>n - distance) // 2


cdef list common_indices(object a, object b):
    cdef Symbols x, y
    cdef uint32_t *ranks = NULL
    cdef size_t *out = NULL
    cdef uint32_t alphabet
    cdef size_t n, m
    cdef int64_t length
    cdef Poll poll = Poll()
    x.values = NULL
    y.values = NULL
    try:
        convert_pair(a, b, &x, &y)
        n = <size_t>x.n
        m = <size_t>y.n
        if n + m >= 1 << 31:
            raise ArgumentValueError(f"a and b must hold less than 2**31 symbols, got {n + m}")
        check_memory(f"common subsequence of {n} and {m} symbols", 48 * (n + m))
        ranks = <uint32_t *>malloc(sizeof(uint32_t) * (n + m + 1))
        out = <size_t *>malloc(sizeof(size_t) * (min(n, m) + 1))
        if ranks == NULL or out == NULL:
            raise MemoryError(f"no memory for {n + m} symbols")
        alphabet = ms_symbols_pair(x.values, n, y.values, m, ranks, ranks + n)
        if alphabet == 0:
            raise MemoryError(f"no memory for the symbols of {n + m}")
        with nogil:
            length = ms_edit_lcs_indices(KERNELS, ranks, n, ranks + n, m, alphabet, out,
                                         &poll.poll)
        if length == MS_EDIT_STOPPED:
            poll.reraise()
        if length < 0:
            raise MemoryError(f"no memory for the comparison of {n} and {m} symbols")
        return [out[i] for i in range(<size_t>length)]
    finally:
        free(x.values)
        free(y.values)
        free(ranks)
        free(out)


def lcs_sequence(a, b):
    """One longest common subsequence of `a` and `b`.

    Parameters
    ----------
    a, b : str, bytes, (n,) integer array, or sequence of hashables
        As in `levenshtein`.

    Returns
    -------
    str, bytes, (k,) array, tuple or list
        Symbols of `a`, of the kind of `a`: str for str, bytes for bytes (and bytearray), an array
        of the same dtype for an array, tuple for tuple, else list.

    Raises
    ------
    ArgumentTypeError
        An argument is no sequence, or holds something that is not hashable.
    ArgumentValueError
        An array has more than one axis.

    See Also
    --------
    lcs : the length alone, in half the time.

    Notes
    -----
    Where several are longest, which one is returned is not specified, but it is always the same
    one. About twice the work of `lcs`; memory linear in the lengths, and two megabytes.

    Thread-safe; releases the GIL. Ctrl-C is heard.

    References
    ----------
    Hirschberg, "A linear space algorithm for computing maximal common subsequences", Comm. ACM 18
    (1975).

    Examples
    --------
    >>> from midstream.compare import lcs_sequence
    >>> lcs_sequence("midstream", "mainstream")
    'mistream'
    >>> lcs_sequence([3, 1, 4, 1, 5], [1, 1, 5, 3])
    [1, 1, 5]
    """
    cdef list indices
    if isinstance(a, bytearray):
        a = bytes(a)
    elif (PySequence_Check(a) and not isinstance(a, (str, bytes, tuple, dict))
          and not hasattr(a, "dtype")):
        a = list(a)  # what is compared is what is answered, even if it changes meanwhile
    indices = common_indices(a, b)
    if isinstance(a, str):
        return "".join([a[i] for i in indices])
    if isinstance(a, bytes):
        return bytes([a[i] for i in indices])
    if hasattr(a, "iloc"):  # what pandas indexes by label else
        return a.iloc[indices]
    if hasattr(a, "dtype") and hasattr(a, "take"):
        return a[indices] if indices else a[:0].copy()
    if isinstance(a, tuple):
        return tuple([a[i] for i in indices])
    return [a[i] for i in indices]
