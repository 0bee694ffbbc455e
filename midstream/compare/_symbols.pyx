# cython: freethreading_compatible=True
"""Sequences of symbols on their way into a kernel, as numbers that are equal where symbols are.

Text becomes its code points, integers themselves. Where a sequence holds anything else, or the two
that are compared are of different kinds, every symbol goes through a dict, which decides by
equality; what does not equal itself (NaN) gets a number of its own.
"""

cimport cython
from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_CheckBuffer,
                             PyObject_GetBuffer)
from cpython.list cimport PyList_CheckExact
from cpython.object cimport Py_EQ, PyObject, PyObject_RichCompare
from cpython.sequence cimport PySequence_Check
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_Check
from libc.stdlib cimport free, malloc
from libc.stddef cimport ptrdiff_t

from midstream._core._threads cimport still

import sys

from midstream._core.errors import ArgumentTypeError, ArgumentValueError

cdef extern from "ms_symbols.h":
    int ms_symbols_widen(const char *data, ptrdiff_t stride, size_t n, int size, int is_signed,
                         int swapped, int64_t *out) noexcept nogil
    int ms_symbols_any_negative(const int64_t *values, size_t n) noexcept nogil

cdef extern from *:
    """
    /* The value of an exact int or bool that fits int64: 1; of anything else: 0. */
    static int midstream_small_integer(PyObject *object, int64_t *value) {
        int overflow;
        if (!PyLong_CheckExact(object)) {
            if (!PyBool_Check(object)) return 0;
            *value = object == Py_True;
            return 1;
        }
    #if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)object)) {
            *value = PyUnstable_Long_CompactValue((PyLongObject *)object);
            return 1;
        }
    #else
        const Py_ssize_t size = Py_SIZE(object);
        if (size >= -1 && size <= 1) {
            *value = size == 0 ? 0 : size * (int64_t)((PyLongObject *)object)->ob_digit[0];
            return 1;
        }
    #endif
        *value = PyLong_AsLongLongAndOverflow(object, &overflow);
        return !overflow;
    }

    /* `n` objects; returns how many of them were small integers before the first that was not. */
    static Py_ssize_t midstream_small_integers(PyObject **objects, Py_ssize_t n, int64_t *values) {
        for (Py_ssize_t i = 0; i < n; i++)
            if (!midstream_small_integer(objects[i], &values[i])) return i;
        return n;
    }
    """
    Py_ssize_t midstream_small_integers(PyObject **objects, Py_ssize_t n, int64_t *values)

cdef extern from "Python.h":
    PyObject **PySequence_Fast_ITEMS(object o)
    Py_ssize_t Py_SIZE(object o)
    int PyUnicode_KIND(object o)
    void *PyUnicode_DATA(object o)
    Py_ssize_t PyUnicode_GET_LENGTH(object o)

cdef bint LITTLE = sys.byteorder == "little"


cdef int allocate(Symbols *out, Py_ssize_t n) except -1:
    out.n = n
    out.wrapped = False
    out.values = <int64_t *>malloc(sizeof(int64_t) * <size_t>(n + 1))
    if out.values == NULL:
        raise MemoryError(f"no memory for {n} symbols")
    return 0


cdef int integer_format(const char *format, bint *is_signed, bint *swapped) noexcept:
    """Whether a buffer's format is one integer, and which."""
    is_signed[0] = False
    swapped[0] = False
    if format == NULL:
        return 1  # bytes
    if format[0] == b"<" or format[0] == b">" or format[0] == b"!":
        swapped[0] = (format[0] == b"<") != LITTLE
        format += 1
    elif format[0] == b"@" or format[0] == b"=":
        format += 1
    if format[0] == 0 or format[1] != 0:
        return 0
    if format[0] in b"bhilqn":
        is_signed[0] = True
        return 1
    return format[0] in b"BHILQN?"


cdef int from_buffer(object name, object value, Symbols *out) except -1:
    """Take the integers of a buffer; 0 if it holds something else."""
    cdef Py_buffer view
    cdef bint is_signed = False, swapped = False
    cdef int status
    try:
        PyObject_GetBuffer(value, &view, PyBUF_STRIDES | PyBUF_FORMAT)
    except (BufferError, ValueError):  # numpy's word for dtypes without a format
        return 0
    try:
        if view.ndim != 1:
            raise ArgumentValueError(f"{name} must be one-dimensional, got {view.ndim} axes")
        if not integer_format(view.format, &is_signed, &swapped):
            return 0
        allocate(out, view.shape[0])
        status = ms_symbols_widen(<const char *>view.buf, view.strides[0],
                                  <size_t>out.n, <int>view.itemsize, is_signed, swapped, out.values)
        if status < 0:
            free(out.values)
            out.values = NULL
            return 0
        out.wrapped = (view.itemsize == 8 and not is_signed
                       and ms_symbols_any_negative(out.values, <size_t>out.n))
    finally:
        PyBuffer_Release(&view)
    return 1


cdef int refuse_masked(object name, object value) except -1:
    """What is masked is no symbol, and its data would be read as one."""
    if type(value).__name__ == "MaskedArray" and value.mask.any():
        raise ArgumentValueError(f"{name} must hold no masked symbols, got {value!r}")
    return 0


cdef Kind convert(object name, object value, Symbols *out) except *:
    """Take `value` as numbers if it is text or integers. `out.values` is the caller's to free."""
    cdef int width
    out.values = NULL
    out.n = 0
    if PyList_CheckExact(value) or PyTuple_CheckExact(value):
        value = still(value)
        allocate(out, Py_SIZE(value))
        if midstream_small_integers(PySequence_Fast_ITEMS(value), out.n, out.values) == out.n:
            return INTEGERS
        free(out.values)
        out.values = NULL
        return OBJECTS
    if PyUnicode_Check(value):
        allocate(out, PyUnicode_GET_LENGTH(value))
        width = PyUnicode_KIND(value)
        ms_symbols_widen(<const char *>PyUnicode_DATA(value), width, <size_t>out.n, width, False,
                         False, out.values)
        return TEXT
    if PyObject_CheckBuffer(value):
        refuse_masked(name, value)
        if from_buffer(name, value, out):
            return INTEGERS
        if getattr(value, "ndim", 1) != 1:
            raise ArgumentValueError(f"{name} must be one-dimensional, got {value.ndim} axes")
        return OBJECTS
    # A mapping or a set has no order; an iterator could be read only once.
    if not PySequence_Check(value) or isinstance(value, dict):
        raise ArgumentTypeError(f"{name} must be a sequence, got {value!r} ({type(value).__name__})")
    return OBJECTS


cdef object as_objects(object value):
    """What can be iterated over for Python's own objects."""
    if getattr(getattr(value, "dtype", None), "kind", "O") in "biufc":
        return value.tolist()
    return value


cdef bint equals_itself(object symbol) except -1:
    # Types whose equality cannot say otherwise; identity is no answer for the rest.
    if type(symbol) is str or type(symbol) is int or symbol is None:
        return True
    return bool(PyObject_RichCompare(symbol, symbol, Py_EQ))


cdef int number_objects(object name, object value, Symbols *out, dict numbers,
                        int64_t *unequal) except -1:
    """Number the symbols of `value` by `numbers`; those that equal nothing count `unequal` down."""
    cdef Py_ssize_t i = 0
    cdef list symbols = list(as_objects(value))
    allocate(out, len(symbols))
    for symbol in symbols:
        try:
            number = numbers.setdefault(symbol, len(numbers))
        except TypeError:
            try:
                hash(symbol)
            except TypeError:
                raise ArgumentTypeError(
                    f"{name} must hold hashable symbols, got {symbol!r}"
                    f" ({type(symbol).__name__}) at {name}[{i}]"
                ) from None
            raise
        if equals_itself(symbol):
            out.values[i] = <int64_t>number
        else:
            out.values[i] = unequal[0]
            unequal[0] -= 1
        i += 1
    return 0


cdef bint clash(Kind kind, Symbols *x, Kind other_kind, Symbols *y) noexcept:
    """Whether numbers of the two do not mean the same."""
    if kind == OBJECTS or other_kind == OBJECTS or kind != other_kind:
        return True
    if x.wrapped != y.wrapped:
        if x.wrapped:
            return ms_symbols_any_negative(y.values, <size_t>y.n)
        return ms_symbols_any_negative(x.values, <size_t>x.n)
    return False


cdef int convert_pair(object a, object b, Symbols *x, Symbols *y) except -1:
    """Both as numbers that are equal where the symbols are. Both are the caller's to free."""
    cdef Kind kind, other_kind
    cdef dict numbers
    cdef int64_t unequal = -1
    x.values = NULL
    y.values = NULL
    kind = convert("a", a, x)
    other_kind = convert("b", b, y)
    if clash(kind, x, other_kind, y):
        free(x.values)
        free(y.values)
        x.values = NULL
        y.values = NULL
        numbers = {}
        number_objects("a", a, x, numbers, &unequal)
        number_objects("b", b, y, numbers, &unequal)
    return 0


cdef class Numbering:
    """Numbers for the symbols of any number of sequences: equal exactly where the symbols are."""

    cdef dict numbers
    cdef int64_t unequal

    def __cinit__(self):
        self.numbers = {}
        self.unequal = -1

    @cython.critical_section
    def encode(self, name, value):
        """Number the symbols of one sequence.

        Parameters
        ----------
        name : str
            Of the argument, for messages.
        value : sequence of hashables, or (n, d) array
            Rows of an array are symbols: equal where all their values are.

        Returns
        -------
        (n,) float64 ndarray

        Raises
        ------
        ArgumentTypeError
            No sequence, or a symbol that is not hashable.
        ArgumentValueError
            An array of more than two axes.
        """
        import numpy as np

        cdef Symbols symbols
        cdef double[::1] out
        cdef Py_ssize_t i
        if PyObject_CheckBuffer(value) and not isinstance(value, (bytes, bytearray)):
            value = np.asarray(value)
            if value.ndim == 2:
                value = list(map(tuple, value.tolist()))
            elif value.ndim != 1:
                raise ArgumentValueError(
                    f"{name} must have shape (n,) or (n, d), got {value.ndim} axes: {value.shape}"
                )
        elif not PySequence_Check(value) or isinstance(value, dict):
            raise ArgumentTypeError(
                f"{name} must be a sequence, got {value!r} ({type(value).__name__})"
            )
        symbols.values = NULL
        try:
            number_objects(name, value, &symbols, self.numbers, &self.unequal)
            numbers = np.empty(symbols.n)
            out = numbers
            for i in range(symbols.n):
                out[i] = symbols.values[i]
        finally:
            free(symbols.values)
        return numbers
