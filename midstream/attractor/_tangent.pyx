# cython: freethreading_compatible=True
"""Binding of csrc/ms_tangent: local linear maps in delay coordinates, and their products."""

from libc.stdint cimport int64_t

import numpy as np

from midstream._core._poll cimport Poll, ms_poll

cdef extern from "ms_tangent.h":
    size_t MS_TANGENT_MOST
    ctypedef struct ms_tangent_input:
        const double *series
        size_t m
        size_t delay
        const int64_t *centres
        size_t rows
        const int64_t *index
        const double *distance
        size_t stride
        size_t k
        double ridge
        int quadratic
    size_t ms_tangent_unknowns(size_t m, int quadratic) noexcept nogil
    int ms_tangent_fit(const ms_tangent_input *input, double *coefficients, double *residual,
                       ms_poll *poll) noexcept nogil
    void ms_tangent_chain(const double *coefficients, size_t rows, size_t m, size_t k,
                          double *frame, double *growth) noexcept nogil

#: Coordinates that a delay vector may have here.
MOST_COORDINATES = MS_TANGENT_MOST


def fit(const double[::1] series, Py_ssize_t emb_dim, Py_ssize_t delay,
        const int64_t[::1] centres, const int64_t[:, ::1] index, const double[:, ::1] distance,
        Py_ssize_t k, double ridge, bint quadratic, Poll poll):
    """Rows of coefficients, (rows, emb_dim), and errors of prediction, (rows,); None if stopped.

    `index` and `distance` (squared) are those of `Tree.nearest`, of which the first `k` count. A
    `quadratic` fit has second-order terms too, of which nothing is returned.
    """
    cdef ms_tangent_input given
    cdef double[:, ::1] coefficients
    cdef double[::1] residual
    cdef int status
    rows = centres.shape[0]
    future = emb_dim * delay
    if (emb_dim < 1 or delay < 1
            or ms_tangent_unknowns(emb_dim, quadratic) > MS_TANGENT_MOST or index.shape[0] != rows
            or distance.shape[0] != rows or index.shape[1] != distance.shape[1]
            or not 1 <= k <= index.shape[1] or not ridge >= 0):
        raise ValueError("no such maps")
    made, errors = np.empty((rows, emb_dim)), np.empty(rows)
    if rows == 0:
        return made, errors
    points, others = np.asarray(centres), np.asarray(index)
    if points.min() < 0 or max(points.max(), others.max()) + future >= series.shape[0]:
        raise IndexError("no such points")
    coefficients, residual = made, errors
    given.series = &series[0]
    given.m, given.delay = emb_dim, delay
    given.centres, given.rows = &centres[0], rows
    given.index, given.distance = &index[0, 0], &distance[0, 0]
    given.stride, given.k, given.ridge = index.shape[1], k, ridge
    given.quadratic = quadratic
    with nogil:
        status = ms_tangent_fit(&given, &coefficients[0, 0], &residual[0], &poll.poll)
    if status:
        poll.reraise()
        return None
    return made, errors


def chain(const double[:, ::1] coefficients, double[:, ::1] frame):
    """Logarithms of the growth of the rows of `frame`, (k, emb_dim), under the maps in turn.

    Returns (rows, k); NaN where a map is. `frame` is left as the maps leave it, orthonormal.
    """
    cdef double[:, ::1] growth
    rows, m, k = coefficients.shape[0], coefficients.shape[1], frame.shape[0]
    if not 1 <= m <= <Py_ssize_t>MS_TANGENT_MOST or frame.shape[1] != m or not 1 <= k <= m:
        raise ValueError("no such frame")
    result = np.empty((rows, k))
    if rows == 0:
        return result
    growth = result
    with nogil:
        ms_tangent_chain(&coefficients[0, 0], rows, m, k, &frame[0, 0], &growth[0, 0])
    return result
