from libc.stdint cimport int64_t, uint32_t


cdef enum Kind:
    TEXT      # code points
    INTEGERS  # that fit int64, or all 64 bits of unsigned ones
    OBJECTS   # anything else: nothing was converted


#: A sequence as numbers; `values` is from malloc.
cdef struct Symbols:
    int64_t *values
    Py_ssize_t n
    bint wrapped  # unsigned numbers of 2**63 and more stand as negative ones


cdef Kind convert(object name, object value, Symbols *out) except *
cdef int convert_pair(object a, object b, Symbols *x, Symbols *y) except -1
cdef int number_objects(object name, object value, Symbols *out, dict numbers,
                        int64_t *unequal) except -1
cdef bint clash(Kind kind, Symbols *x, Kind other_kind, Symbols *y) noexcept
