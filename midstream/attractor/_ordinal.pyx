# cython: freethreading_compatible=True
"""Binding of csrc/ms_ordinal: codes of ordinal patterns."""

from libc.stdint cimport int64_t

import numpy as np

cdef extern from "ms_ordinal.h":
    size_t MS_ORDINAL_MOST
    void ms_ordinal_codes(const double *x, size_t count, size_t order, size_t delay,
                          int64_t *codes) noexcept nogil

#: The longest pattern whose code fits 64 bits.
LONGEST = MS_ORDINAL_MOST


def ordinal_codes(const double[::1] x, Py_ssize_t order, Py_ssize_t delay):
    """Lehmer code of every window of `order` samples, `delay` apart: int64, in order of time."""
    cdef int64_t[::1] codes
    if not 2 <= order <= <Py_ssize_t>MS_ORDINAL_MOST or delay < 1:
        raise ValueError("no such patterns")
    # Not (order - 1) * delay first: it might overflow.
    count = x.shape[0] - (order - 1) * min(delay, x.shape[0])
    codes = np.empty(max(count, 0), dtype=np.int64)
    if codes.shape[0] > 0:
        with nogil:
            ms_ordinal_codes(&x[0], codes.shape[0], order, delay, &codes[0])
    return np.asarray(codes)
