# cython: freethreading_compatible=True
"""Binding of csrc/ms_spots: means of the parts of a picture."""

from libc.stdint cimport uint8_t, uint16_t

import numpy as np

cdef extern from "ms_spots.h":
    size_t MS_SPOTS_MOST
    void ms_spots_mean(const uint8_t *samples, size_t stride, size_t width, size_t height,
                       size_t columns, size_t rows, uint16_t *sums, float *means) noexcept nogil

#: Widest picture whose parts can be added up in 32 bits.
WIDEST = 65535


def spots_mean(const uint8_t[::1] samples, Py_ssize_t stride, Py_ssize_t width, Py_ssize_t height,
               Py_ssize_t columns, Py_ssize_t rows):
    """Means of (rows, columns) parts of a plane of 8-bit samples, as float32."""
    if not (0 < columns <= width <= min(stride, WIDEST) and 0 < rows <= height):
        raise ValueError("no such parts")
    if max(columns, rows) > <Py_ssize_t>MS_SPOTS_MOST:
        raise ValueError("too many parts")
    if samples.shape[0] // stride < height - 1 or samples.shape[0] < stride * (height - 1) + width:
        raise ValueError("the plane is too short")
    cdef float[:, ::1] means = np.empty((rows, columns), dtype=np.float32)
    cdef uint16_t[::1] sums = np.empty(width, dtype=np.uint16)
    with nogil:
        ms_spots_mean(&samples[0], stride, width, height, columns, rows, &sums[0], &means[0, 0])
    return np.asarray(means)
