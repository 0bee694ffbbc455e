# cython: freethreading_compatible=True
"""Binding of csrc/ms_rank: any sequence of symbols as small numbers, for suffix sorting.

Equality decides, never a hash alone: 1, 1.0 and True are one symbol, NaN is a new one each time.
"""

from cpython.bytes cimport PyBytes_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.unicode cimport (PyUnicode_Check, PyUnicode_CheckExact, PyUnicode_DATA,
                              PyUnicode_KIND)
from libc.stdint cimport int32_t, uint64_t

import array as std_array
import random

import numpy as np

from midstream._core._poll cimport Poll
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory

cdef extern from "ms_rank.h":
    int MS_RANK_NO_MEMORY
    int MS_RANK_STOPPED
    int ms_rank_integers(const void *values, int width, int is_signed, int32_t n, uint64_t seed,
                         int32_t *ranks, int32_t *symbols, int *ordered,
                         void *poll) noexcept nogil

#: Suffix arrays hold int32.
cdef Py_ssize_t MOST = 0x7FFFFFFF - 1
#: Another in every process; nothing depends on it but time.
cdef uint64_t SEED = random.SystemRandom().getrandbits(64)
#: Bytes a symbol that suffix sorting takes at most, the ranks included.
cdef int WORST_BYTES = 24


cdef Py_ssize_t check_length(object name, Py_ssize_t n) except -1:
    if n > MOST:
        raise ArgumentValueError(f"{name} must hold at most {MOST} symbols, got {n}")
    check_memory(f"the suffix array of {n} symbols", n * WORST_BYTES)
    return n


cdef tuple rank_buffer(const void *data, int width, bint is_signed, Py_ssize_t n):
    """Ranks of integers in memory, how many there are, and whether they are in order."""
    ranks = np.empty(n, np.int32)
    cdef int32_t[::1] view = ranks
    cdef int32_t *out = &view[0] if n else NULL
    cdef int32_t symbols = 0
    cdef int ordered = 0, status
    cdef Poll poll = Poll()
    with nogil:
        status = ms_rank_integers(data, width, is_signed, <int32_t>n, SEED, out, &symbols,
                                  &ordered, &poll.poll)
    if status == MS_RANK_STOPPED:
        poll.reraise()
        raise KeyboardInterrupt
    if status == MS_RANK_NO_MEMORY:
        raise MemoryError(f"no memory to number {n} symbols")
    return ranks, symbols, <bint>ordered


cdef tuple rank_integers(object values, bint ordered):
    """Of a one-dimensional array of integers."""
    cdef bint is_ordered
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if not native.flags.aligned:
        native = native.copy()
    cdef const unsigned char[::1] view = native.view(np.uint8)
    cdef Py_ssize_t n = native.shape[0]
    ranks, symbols, is_ordered = rank_buffer(&view[0] if n else NULL, native.dtype.itemsize,
                                             native.dtype.kind == "i", n)
    if ordered and not is_ordered:
        ranks = sort_ranks(ranks, symbols, native)
    return ranks, symbols


cdef object sort_ranks(object ranks, int32_t symbols, object values):
    """Ranks in the order of the values that they stand for."""
    distinct = np.empty(symbols, values.dtype)
    distinct[ranks] = values
    return place_of(np.argsort(distinct))[ranks]


cdef object place_of(object order):
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places


cdef tuple rank_reals(object values, bint ordered):
    """Of a one-dimensional array of floats: as integers, after 0.0 and -0.0 have become one."""
    values = values.astype(np.float64) + 0.0
    missing = np.flatnonzero(np.isnan(values))
    values[missing] = np.nan  # one bit pattern
    ranks, symbols = rank_integers(values.view(np.int64), False)
    if ordered and symbols:
        ranks = sort_ranks(ranks, symbols, values)
    if len(missing):
        # Every NaN is a symbol of its own; the rank that they shared stays unused.
        ranks[missing] = symbols + np.arange(len(missing), dtype=np.int32)
        symbols += len(missing)
    return ranks, symbols


cdef inline bint is_plain(object symbol):
    """Of a class whose values are hashable and equal themselves."""
    return PyLong_CheckExact(symbol) or PyUnicode_CheckExact(symbol) or PyBytes_CheckExact(symbol)


cdef tuple rank_objects(object name, object sequence, bint ordered):
    cdef Py_ssize_t n, i = 0
    cdef int32_t next_rank = 0
    cdef dict numbers = {}
    cdef list missing = []
    try:
        n = len(sequence)
    except TypeError:
        if hasattr(type(sequence), "__len__"):
            raise
        raise ArgumentTypeError(
            f"{name} must be a sequence, got {sequence!r} ({type(sequence).__name__})"
        ) from None
    check_length(name, n)
    ranks = np.empty(n, np.int32)
    cdef int32_t[::1] view = ranks
    try:
        iterator = iter(sequence)
    except TypeError:
        if hasattr(type(sequence), "__iter__"):
            raise
        raise ArgumentTypeError(
            f"{name} must be a sequence, got {sequence!r} ({type(sequence).__name__})"
        ) from None
    for symbol in iterator:
        if i == n:
            raise ArgumentValueError(f"{name} changed its length from {n} while it was read")
        try:
            number = numbers.get(symbol)
        except TypeError:
            raise_unhashable(name, symbol, i)
            raise
        if number is None:
            if not is_plain(symbol) and symbol != symbol:  # NaN, and whatever is like it
                missing.append(i)
                i += 1
                continue
            number = next_rank
            numbers[symbol] = number
            next_rank += 1
        elif not is_plain(symbol) and symbol != symbol:
            missing.append(i)
            i += 1
            continue
        view[i] = number
        i += 1
    if i != n:
        raise ArgumentValueError(f"{name} has length {n}, but holds {i} symbols")
    if ordered:
        order = natural_order(list(numbers))
        places = place_of(np.array(order, dtype=np.intp))
        for i in missing:
            view[i] = 0
        if n and len(numbers):
            ranks = places[ranks]
        view = ranks
    for i in missing:
        view[i] = next_rank
        next_rank += 1
    return ranks, next_rank


cdef list natural_order(list symbols):
    """Indices of `symbols` in order, if all are numbers, all str or all bytes; else as they are."""
    kinds = set(map(type, symbols))
    if kinds <= {int, bool, float} or kinds == {str} or kinds == {bytes}:
        return sorted(range(len(symbols)), key=symbols.__getitem__)
    return list(range(len(symbols)))


cdef int raise_unhashable(object name, object symbol, Py_ssize_t index) except -1:
    """Say which symbol it is; return where the TypeError came from its own methods."""
    try:
        hash(symbol)
    except TypeError:
        raise ArgumentTypeError(
            f"{name} must hold hashable symbols, got {symbol!r} ({type(symbol).__name__})"
            f" at {name}[{index}]"
        ) from None
    return 0


def rank_symbols(name, sequence, ordered=False):
    """Number the symbols of a sequence.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    sequence : str, bytes, (n,) array, or sequence of hashables
    ordered : bool, default False
        Whether ranks must be in the order of the symbols: numbers, str and bytes in their natural
        order, anything else, and mixtures, in the order of first appearance; NaN last.

    Returns
    -------
    ranks : (n,) ndarray of int32
        Equal where the symbols are, from 0.
    symbols : int
        One more than the largest rank; 0 if there is none.

    Raises
    ------
    ArgumentTypeError
        No sequence, more than one dimension, or a symbol that is not hashable.
    ArgumentValueError
        Too long, or its length changes meanwhile.
    MemoryLimitError
        What follows cannot fit into memory.

    Notes
    -----
    Integers and str take 5 to 30 ns a symbol, without the GIL; other objects the time that a dict
    takes to look each of them up.
    """
    cdef Py_ssize_t n
    if PyUnicode_Check(sequence):
        n = check_length(name, str.__len__(sequence))
        ranks, symbols, is_ordered = rank_buffer(PyUnicode_DATA(sequence),
                                                 PyUnicode_KIND(sequence), False, n)
        if ordered and not is_ordered:
            points = np.frombuffer(str.encode(sequence, "utf-32-le", "surrogatepass"), "<u4")
            ranks = sort_ranks(ranks, symbols, points)
        return ranks, symbols
    if isinstance(sequence, (set, frozenset, dict)):
        raise ArgumentTypeError(
            f"{name} must be a sequence, got {sequence!r} ({type(sequence).__name__})"
        )
    if isinstance(sequence, (bytes, bytearray)):
        values = np.frombuffer(sequence, np.uint8)
    elif isinstance(sequence, (np.ndarray, memoryview, std_array.array)):
        values = np.asarray(sequence)
    elif hasattr(type(sequence), "__array__"):
        values = np.asarray(sequence)
    else:
        return rank_objects(name, sequence, ordered)
    if values.ndim != 1:
        raise ArgumentTypeError(f"{name} must be one-dimensional, got {values.ndim} axes")
    kind, width = values.dtype.kind, values.dtype.itemsize
    check_length(name, values.shape[0])
    if kind == "b":
        return rank_integers(values.view(np.uint8), ordered)
    if kind in "iu":
        return rank_integers(values, ordered)
    if kind == "f" and width <= 8:
        return rank_reals(values, ordered)
    # datetime64 would become int, and NaT with it.
    return rank_objects(name, list(values) if kind in "mM" else values.tolist(), ordered)
