cdef enum NanPolicy:
    NAN_RAISE
    NAN_PROPAGATE
    NAN_OMIT
    NAN_REFUSE  # as NAN_RAISE, where there is no policy to choose


cdef class Series:
    cdef Py_buffer view
    cdef bint held
    cdef readonly Py_ssize_t n
    cdef readonly Py_ssize_t d
    cdef readonly bint single
    cdef readonly bint missing
    cdef const void *data
    cdef int fill(self, object name, object array) except -1
    cdef int fill_converted(self, object name, object array) except -1


cdef NanPolicy as_nan_policy(object value) except *
cdef Series as_series(object name, object value, NanPolicy policy)
cdef Series as_double(object name, Series series)
