# cython: freethreading_compatible=True
"""Binding of csrc/ms_suffix and csrc/ms_repeats: suffix arrays, and the repeats in them."""

cimport cython
from libc.stdint cimport int32_t

import numpy as np

from midstream._core._poll cimport Poll
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.validate import check_int
from midstream.compare._ranks import rank_symbols

cdef extern from "ms_suffix.h":
    int MS_SUFFIX_NO_MEMORY
    int MS_SUFFIX_STOPPED
    int ms_suffix_sort(const int32_t *text, int32_t *suffixes, int32_t n, int32_t symbols,
                       void *poll) noexcept nogil
    int ms_suffix_plcp(const int32_t *text, const int32_t *suffixes, int32_t *plcp, int32_t n,
                       int32_t *longest, void *poll) noexcept nogil

cdef extern from "ms_repeats.h":
    int MS_REPEATS_NO_MEMORY
    int MS_REPEATS_STOPPED
    ctypedef struct ms_repeat:
        int32_t length
        int32_t count
        int32_t from_ "from"
        int32_t first
    ctypedef struct ms_repeats:
        ms_repeat *items
        size_t count
    int ms_repeats_find(const int32_t *text, const int32_t *suffixes, const int32_t *plcp,
                        int32_t n, int32_t longest, int32_t min_length, int32_t min_count,
                        ms_repeats *found, void *poll) noexcept nogil
    void ms_repeats_truncate(ms_repeats *found, size_t count) noexcept nogil
    void ms_repeats_free(ms_repeats *found) noexcept nogil

#: Bytes that a Repeat takes, its place in a list included.
cdef int REPEAT_BYTES = 56


cdef object as_integers(object name, object values):
    """A one-dimensional array of integers; an empty one may be of any dtype."""
    try:
        given = np.asarray(values)
    except ValueError as error:
        raise ArgumentTypeError(f"{name} must be a sequence of int: {error}") from None
    if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
        raise ArgumentTypeError(f"{name} must be a sequence of int, got {values!r}")
    return given if given.size else np.empty(0, np.int32)


# Many of these live at a time, and what they refer to is an array of ours that refers to nothing:
# without the collector's header each takes a quarter less, and the collector never visits them.
@cython.no_gc
@cython.final
cdef class Repeat:
    """Repeat(length, count, positions)\n--\n\n\
    A subsequence that occurs several times, as `repeats` finds it.

    Unpacks as ``length, count, positions``.

    Parameters
    ----------
    length : int
        Symbols in it.
    count : int
        Its occurrences; those that overlap count each.
    positions : (count,) sequence of int
        Where they start, ascending.

    Notes
    -----
    `positions` is made anew whenever it is asked for, from a suffix array that all repeats of one
    call share, since all of them together can take memory quadratic in the sequence. A single
    `Repeat` therefore keeps 4 bytes for every symbol of the sequence alive.

    Equal repeats have equal length, count and positions. Immutable, so thread-safe.

    Examples
    --------
    >>> from midstream.compare import repeats
    >>> length, count, positions = repeats("banana")[0]
    >>> length, count, positions.tolist()
    (3, 2, [1, 3])
    """

    # source: int32 array; ours are the positions source[from_:from_ + count_], in any order.
    cdef object source
    cdef int32_t from_, count_, length_, first_

    def __init__(self, length, count, positions):
        self.length_ = check_int("length", length, low=1, high=0x7FFFFFFF)
        self.count_ = check_int("count", count, low=1, high=0x7FFFFFFF)
        given = as_integers("positions", positions)
        if len(given) != count:
            raise ArgumentValueError(f"positions must be {count}, one an occurrence, got {given}")
        if given.min() < 0 or given.max() > 0x7FFFFFFF or not (given[1:] > given[:count - 1]).all():
            raise ArgumentValueError(
                f"positions must ascend, from 0 to 2**31 - 1, got {positions!r}"
            )
        self.source = given.astype(np.int32)
        self.from_ = 0
        self.first_ = given[0]

    @property
    def length(self):
        """Symbols in it (int)."""
        return self.length_

    @property
    def count(self):
        """Its occurrences (int)."""
        return self.count_

    @property
    def positions(self):
        """Where its occurrences start, ascending: (count,) ndarray of int64, a new one.

        O(count log count) time.
        """
        positions = self.source[self.from_:self.from_ + self.count_].astype(np.int64)
        positions.sort()
        return positions

    def __iter__(self):
        return iter((self.length_, self.count_, self.positions))

    def __eq__(self, other):
        cdef Repeat that
        if not isinstance(other, Repeat):
            return NotImplemented
        that = <Repeat>other
        return (self.length_ == that.length_ and self.count_ == that.count_
                and self.first_ == that.first_
                and ((self.source is that.source and self.from_ == that.from_)
                     or bool((self.positions == that.positions).all())))

    def __hash__(self):
        return hash((self.length_, self.count_, self.first_))

    def __repr__(self):
        positions = np.array2string(self.positions, separator=", ", threshold=8, edgeitems=3)
        return f"Repeat(length={self.length_}, count={self.count_}, positions={positions})"

    def __reduce__(self):
        return Repeat, (self.length_, self.count_, self.positions)


cdef int check_status(int status, Poll poll, object what) except -1:
    if status == MS_SUFFIX_STOPPED:
        poll.reraise()
        raise KeyboardInterrupt
    if status == MS_SUFFIX_NO_MEMORY:
        raise MemoryError(f"no memory for {what}")
    return 0


cdef object sorted_suffixes(object text, int32_t symbols):
    """Suffix array of ranks."""
    suffixes = np.empty(len(text), np.int32)
    if len(text) == 0:
        return suffixes
    cdef const int32_t[::1] ranks = text
    cdef int32_t[::1] out = suffixes
    cdef int32_t n = <int32_t>len(text)
    cdef int status
    cdef Poll poll = Poll()
    with nogil:
        status = ms_suffix_sort(&ranks[0], &out[0], n, symbols, &poll.poll)
    check_status(status, poll, f"the suffix array of {n} symbols")
    return suffixes


cdef object shared_prefixes(object text, object suffixes, int32_t *longest):
    """Permuted LCP array of ranks."""
    plcp = np.empty(len(text), np.int32)
    longest[0] = 0
    if len(text) == 0:
        return plcp
    cdef const int32_t[::1] ranks = text
    cdef const int32_t[::1] order = suffixes
    cdef int32_t[::1] out = plcp
    cdef int32_t n = <int32_t>len(text)
    cdef int status
    cdef Poll poll = Poll()
    with nogil:
        status = ms_suffix_plcp(&ranks[0], &order[0], &out[0], n, longest, &poll.poll)
    check_status(status, poll, f"the LCP array of {n} symbols")
    return plcp


def suffix_array(sequence):
    """Starts of all suffixes of a sequence, in the order of the suffixes.

    Parameters
    ----------
    sequence : str, bytes, (n,) array, or sequence of hashables
        Up to 2**31 - 2 symbols. Numbers, str and bytes are ordered as ``<`` orders them; symbols of
        other types, and mixtures, in the order in which they first appear. NaN come last.

    Returns
    -------
    (n,) ndarray of int32
        A suffix that another one starts with comes before it.

    Raises
    ------
    ArgumentTypeError
        `sequence` is none, has several dimensions, or holds something that is not hashable.
    ArgumentValueError
        `sequence` is too long.
    MemoryLimitError
        It cannot fit into memory.

    See Also
    --------
    lcp_array : what neighbours in this order share.

    Notes
    -----
    O(n) time, about 0.1 us a symbol at a million, and at most 24 bytes of memory a symbol.
    Thread-safe; releases the GIL but for reading sequences of objects.

    References
    ----------
    G. Nong, S. Zhang and W. H. Chan, "Two efficient algorithms for linear time suffix array
    construction", IEEE Transactions on Computers 60 (2011), 1471-1484.

    Examples
    --------
    >>> from midstream.compare import suffix_array
    >>> suffix_array("banana").tolist()
    [5, 3, 1, 0, 4, 2]
    """
    text, symbols = rank_symbols("sequence", sequence, True)
    return sorted_suffixes(text, symbols)


def lcp_array(sequence, suffixes=None):
    """How many symbols each suffix shares with the one before it in order.

    Parameters
    ----------
    sequence : str, bytes, (n,) array, or sequence of hashables
        As in `suffix_array`.
    suffixes : (n,) ndarray of int, optional
        Its suffix array, if you have it already.

    Returns
    -------
    (n,) ndarray of int32
        Element ``i``: the length of the longest common prefix of the suffixes that are number
        ``i - 1`` and ``i`` in order; 0 at the start.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `suffix_array`; or `suffixes` is no permutation of ``range(n)``. That its order is the
        right one is not checked.
    MemoryLimitError
        It cannot fit into memory.

    Notes
    -----
    O(n) time. Thread-safe; releases the GIL but for reading sequences of objects.

    References
    ----------
    J. Kärkkäinen, G. Manzini and S. J. Puglisi, "Permuted longest-common-prefix array", CPM 2009.

    Examples
    --------
    >>> from midstream.compare import lcp_array
    >>> lcp_array("banana").tolist()
    [0, 1, 3, 0, 0, 2]
    """
    cdef int32_t longest = 0
    text, symbols = rank_symbols("sequence", sequence, suffixes is None)
    if suffixes is None:
        suffixes = sorted_suffixes(text, symbols)
    else:
        suffixes = check_permutation(suffixes, len(text))
    return shared_prefixes(text, suffixes, &longest)[suffixes]


cdef object check_permutation(object suffixes, Py_ssize_t n):
    given = as_integers("suffixes", suffixes)
    if len(given) != n:
        raise ArgumentValueError(
            f"suffixes must hold one position a symbol, got {len(given)} for {n} symbols"
        )
    seen = np.zeros(n, np.bool_)
    if n and 0 <= given.min() and given.max() < n:
        seen[given] = True
    if not seen.all():
        raise ArgumentValueError(f"suffixes must be a permutation of range({n}), got {suffixes!r}")
    return np.array(given, np.int32)


def repeats(sequence, *, min_length=2, min_count=2):
    """All maximal repeats of a sequence.

    A subsequence that occurs several times is a maximal repeat if its occurrences can neither all
    be extended to the left by the same symbol, nor all to the right: ``"ana"`` in ``"banana"``, and
    not ``"an"``. Every other repeat is part of a maximal one that occurs as often.

    Parameters
    ----------
    sequence : str, bytes, (n,) array, or sequence of hashables
        Up to 2**31 - 2 symbols. Equality decides whether two are one symbol: 1, 1.0 and True are,
        NaN equals nothing.
    min_length : int, default 2
        Symbols of the shortest repeat wanted, at least 1.
    min_count : int, default 2
        Occurrences of the rarest repeat wanted, at least 2. Overlapping ones count each.

    Returns
    -------
    list of Repeat
        Longest first, then those with more occurrences, then by first position.

    Raises
    ------
    ArgumentTypeError
        `sequence` is none, has several dimensions, or holds something that is not hashable; or a
        limit is no integer.
    ArgumentValueError
        `sequence` is too long, or a limit too small.
    MemoryLimitError
        The work, or the list, cannot fit into memory.

    See Also
    --------
    RunDetector : repetition at the end of a sequence, online.
    suffix_array, lcp_array : what this is made from.

    Notes
    -----
    O(n) time, and O(r log r) to sort the r < n repeats: about 0.1 s for a million words or tokens,
    0.25 s for letters of a small alphabet, which repeat more.

    Memory while it runs: 12 bytes a symbol, 8 for each distinct one, 16 for each repeat and for
    each level at which repeats nest. The list takes 56 bytes a repeat, and 4 bytes a symbol stay
    with it: about 10 bytes a symbol for words, 35 for random letters of an alphabet of four, 60 for
    one symbol over and over. Raise `min_length` or `min_count` where that is too much.

    Thread-safe; releases the GIL but for reading sequences of objects and making the list.

    References
    ----------
    D. Gusfield, "Algorithms on Strings, Trees and Sequences", Cambridge 1997, section 7.12.
    M. I. Abouelhoda, S. Kurtz and E. Ohlebusch, "Replacing suffix trees with enhanced suffix
    arrays", Journal of Discrete Algorithms 2 (2004), 53-86.

    Examples
    --------
    >>> from midstream.compare import repeats
    >>> repeats("banana", min_length=1)
    [Repeat(length=3, count=2, positions=[1, 3]), Repeat(length=1, count=3, positions=[1, 3, 5])]
    >>> words = "to be or not to be".split()
    >>> [words[r.positions[0]:][:r.length] for r in repeats(words)]
    [['to', 'be']]
    """
    cdef int32_t longest = 0, n, least, rarest
    cdef int status = 0
    cdef ms_repeats found
    cdef Poll poll = Poll()
    cdef const int32_t[::1] ranks, order, shared
    # No repeat is longer or more frequent than the sequence, so larger limits mean no more.
    least = min(check_int("min_length", min_length, low=1), 0x7FFFFFFF)
    rarest = min(check_int("min_count", min_count, low=2), 0x7FFFFFFF)
    text, symbols = rank_symbols("sequence", sequence)
    n = <int32_t>len(text)
    if n < 2:
        return []
    suffixes = sorted_suffixes(text, symbols)
    plcp = shared_prefixes(text, suffixes, &longest)
    ranks, order, shared = text, suffixes, plcp
    with nogil:
        status = ms_repeats_find(&ranks[0], &order[0], &shared[0], n, longest, least, rarest,
                                 &found, &poll.poll)
    try:
        if status == MS_REPEATS_STOPPED:
            poll.reraise()
            raise KeyboardInterrupt
        if status == MS_REPEATS_NO_MEMORY:
            raise MemoryError(f"no memory for the repeats of {n} symbols")
        ranks = order = shared = None
        del text, plcp
        check_memory(f"a list of {found.count} repeats", found.count * REPEAT_BYTES)
        return as_list(&found, suffixes)
    finally:
        ms_repeats_free(&found)


cdef list as_list(ms_repeats *found, object suffixes):
    """The list; gives back what `found` takes while it grows, from the end."""
    cdef list out = [None] * <Py_ssize_t>found.count
    cdef Repeat repeat
    cdef Py_ssize_t i = <Py_ssize_t>found.count
    while i > 0:
        i -= 1
        repeat = Repeat.__new__(Repeat)
        repeat.source = suffixes
        repeat.from_ = found.items[i].from_
        repeat.count_ = found.items[i].count
        repeat.length_ = found.items[i].length
        repeat.first_ = found.items[i].first
        out[i] = repeat
        if i & 0xFFFF == 0:
            ms_repeats_truncate(found, <size_t>i)
    return out
