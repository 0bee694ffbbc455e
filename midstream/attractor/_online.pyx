# cython: freethreading_compatible=True
"""Binding of csrc/ms_online: recurrence counts of a window over a stream, kept up point by point."""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.sequence cimport PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE
from cpython.tuple cimport PyTuple_CheckExact
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._threads cimport still
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_real
from midstream.attractor._checks import as_array

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_online.h":
    size_t MS_ONLINE_HORIZONS
    size_t MS_ONLINE_MAX_ORDER
    size_t MS_ONLINE_MAX_LINE
    double MS_ONLINE_LARGEST
    ctypedef struct ms_online_config:
        size_t dim
        size_t window
        size_t emb_dim
        size_t delay
        size_t theiler
        size_t order
        size_t min_line
        double radius
        double ratio
        size_t n_horizons
        size_t *horizons
    ctypedef struct ms_online:
        ms_online_config config
        size_t span
        size_t lookback
        size_t rows
        size_t patterns
        size_t len
        int64_t *pattern_counts
        void *memory
    ctypedef struct ms_online_measures:
        int64_t rows
        int64_t pairs
        int64_t recurrent
        int64_t adjacent
        int64_t line_points
        int64_t lines
        int64_t neighbours
        int64_t coincident
        double depth
        double mean
        double step
        double *growth
        double *spread
        int64_t *counted
    size_t ms_online_bytes(const ms_online_config *config) noexcept nogil
    int ms_online_init(ms_online *o, const ms_online_config *config,
                       ms_simd_level level) noexcept nogil
    void ms_online_free(ms_online *o) noexcept nogil
    void ms_online_reset(ms_online *o) noexcept nogil
    size_t ms_online_find_bad(const double *values, size_t n) noexcept nogil
    void ms_online_push(ms_online *o, const double *point) noexcept nogil
    const double *ms_online_component(const ms_online *o, size_t c) noexcept nogil
    void ms_online_measure(const ms_online *o, ms_online_measures *out) noexcept nogil
    void ms_online_by_lag(const ms_online *o, int64_t *out) noexcept nogil
    void ms_online_moments(const ms_online *o, double *mean, double *variance,
                           double *slope) noexcept nogil

#: Largest magnitude of a component.
LARGEST = MS_ONLINE_LARGEST
MAX_HORIZONS = MS_ONLINE_HORIZONS
MAX_ORDER = MS_ONLINE_MAX_ORDER
MAX_LINE = MS_ONLINE_MAX_LINE

# Work between two looks at pending signals, in components compared.
cdef size_t PATIENCE = 20_000_000


cdef class Window:
    """The last points of a stream and what recurrence analysis counts among them.

    The arguments are those of ms_online.h, and are checked by who calls.
    """

    cdef ms_online online
    cdef double *point
    cdef readonly uint64_t n_seen

    def __cinit__(self, size_t dim, size_t window, *, size_t emb_dim, size_t delay,
                  size_t theiler, size_t order, size_t min_line, double radius, double ratio,
                  horizons):
        cdef ms_online_config config
        cdef size_t h
        if len(horizons) > MS_ONLINE_HORIZONS:
            raise ValueError("too many horizons")
        config.dim = dim
        config.window = window
        config.emb_dim = emb_dim
        config.delay = delay
        config.theiler = theiler
        config.order = order
        config.min_line = min_line
        config.radius = radius
        config.ratio = ratio
        config.n_horizons = len(horizons)
        for h in range(config.n_horizons):
            config.horizons[h] = horizons[h]
        self.n_seen = 0
        self.point = <double *>malloc(dim * sizeof(double))
        if self.point == NULL or not ms_online_init(
            &self.online, &config, <ms_simd_level>simd_level_number()
        ):
            raise MemoryError(f"no memory for a window of {window} points of {dim} components")

    def __dealloc__(self):
        ms_online_free(&self.online)
        free(self.point)

    @cython.critical_section
    def __len__(self):
        return self.online.len

    cdef int read_sequence(self, object point) except -1:
        cdef Py_ssize_t k
        cdef object value
        if PySequence_Fast_GET_SIZE(point) != <Py_ssize_t>self.online.config.dim:
            self.refuse_length(PySequence_Fast_GET_SIZE(point))
        for k in range(<Py_ssize_t>self.online.config.dim):
            value = <object>PySequence_Fast_GET_ITEM(point, k)
            if PyFloat_CheckExact(value):
                self.point[k] = PyFloat_AS_DOUBLE(value)
            else:
                self.point[k] = check_real(f"point[{k}]", value)
                # What was asked for its value may have changed the list.
                if PySequence_Fast_GET_SIZE(point) != <Py_ssize_t>self.online.config.dim:
                    self.refuse_length(PySequence_Fast_GET_SIZE(point))
        return 0

    cdef int read_buffer(self, object point) except -1:
        """1 if it is a buffer of doubles of the right length, which was copied; 0 if not."""
        cdef Py_buffer view
        cdef Py_ssize_t length
        cdef size_t k
        cdef bint fits
        if not PyObject_CheckBuffer(point):
            return 0
        try:
            PyObject_GetBuffer(point, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, ValueError):
            return 0
        fits = (
            view.ndim <= 1 and view.itemsize == sizeof(double)
            and view.format != NULL and view.format[0] == b"d" and view.format[1] == 0
        )
        length = view.len // <Py_ssize_t>sizeof(double) if fits else 0
        if fits and length == <Py_ssize_t>self.online.config.dim:
            for k in range(self.online.config.dim):
                self.point[k] = (<const double *>view.buf)[k]
            PyBuffer_Release(&view)
            return 1
        PyBuffer_Release(&view)
        return 0

    cdef int read_anything(self, object point) except -1:
        cdef const double[::1] values
        cdef size_t k
        values = as_array("point", point, ndim=(0, 1)).reshape(-1)
        if values.shape[0] != <Py_ssize_t>self.online.config.dim:
            self.refuse_length(values.shape[0])
        for k in range(self.online.config.dim):
            self.point[k] = values[k]
        return 0

    cdef int refuse_length(self, Py_ssize_t length) except -1:
        raise ArgumentValueError(
            f"point must have {self.online.config.dim} components, got {length}"
        )

    cdef int refuse_value(self, str name, double value, size_t component) except -1:
        if value != value or value - value != 0:
            raise ArgumentValueError(
                f"{name} must be finite, got {value!r} in component {component}"
            )
        raise ArgumentValueError(
            f"{name} must be at most {MS_ONLINE_LARGEST:g} in magnitude, "
            f"got {value!r} in component {component}"
        )

    # A method descriptor, which the interpreter calls faster than a bound Cython function; its
    # signature is then in the docstring, where `inspect` finds it.
    @cython.binding(False)
    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    @cython.critical_section
    def update(self, point):
        """Take in the next point; the oldest leaves a full window.

        Parameters
        ----------
        point : float or (dim,) array_like of real numbers
            A plain number where `dim` is 1. Fastest: float, list or tuple of float, float64 array.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Not real numbers, not `dim` of them, NaN, infinite, or above 1e150 in magnitude. Nothing
            was changed.
        """
        cdef size_t bad
        if PyFloat_CheckExact(point) and self.online.config.dim == 1:
            self.point[0] = PyFloat_AS_DOUBLE(point)
        elif PyTuple_CheckExact(point) or PyList_CheckExact(point):
            self.read_sequence(still(point))
        elif not self.read_buffer(point):
            self.read_anything(point)
        bad = ms_online_find_bad(self.point, self.online.config.dim)
        if bad < self.online.config.dim:
            self.refuse_value("point", self.point[bad], bad)
        ms_online_push(&self.online, self.point)
        self.n_seen += 1

    @cython.critical_section
    def _push_many(self, const double[:, ::1] points):
        """Take in points of the right number of components: all, or none where one is bad."""
        cdef size_t n = points.shape[0], dim = self.online.config.dim
        cdef size_t k, bad, work = 0
        if points.shape[1] != <Py_ssize_t>dim:
            raise ArgumentValueError(
                f"points must have {dim} components, got {points.shape[1]}"
            )
        if n == 0:
            return
        bad = ms_online_find_bad(&points[0, 0], n * dim)
        if bad < n * dim:
            self.refuse_value(f"points[{bad // dim}]", points[bad // dim, bad % dim], bad % dim)
        for k in range(n):
            ms_online_push(&self.online, &points[k, 0])
            self.n_seen += 1
            work += self.online.lookback * dim * self.online.config.emb_dim + 256
            if work > PATIENCE:
                work = 0
                PyErr_CheckSignals()

    @cython.critical_section
    def reset(self):
        """Forget everything."""
        ms_online_reset(&self.online)
        self.n_seen = 0

    @cython.critical_section
    def _set_seen(self, uint64_t n_seen):
        """Say how many points there were, of which the window holds the last."""
        if n_seen < self.online.len:
            raise ValueError("fewer than the window holds")
        self.n_seen = n_seen

    @cython.critical_section
    def points(self):
        """The points in the window, oldest first.

        Returns
        -------
        numpy.ndarray of float64, shape (len, dim)
            A copy.
        """
        cdef size_t n = self.online.len, c, k
        cdef const double *x
        array = np.empty((n, self.online.config.dim))
        cdef double[:, ::1] out = array
        for c in range(self.online.config.dim):
            x = ms_online_component(&self.online, c)
            for k in range(n):
                out[k, c] = x[k]
        return array

    @cython.critical_section
    def _counts(self):
        """What ms_online_measure says, as a dict."""
        cdef ms_online_measures m
        cdef size_t h
        ms_online_measure(&self.online, &m)
        n = range(self.online.config.n_horizons)
        return {
            "rows": m.rows,
            "pairs": m.pairs,
            "recurrent": m.recurrent,
            "adjacent": m.adjacent,
            "line_points": m.line_points,
            "lines": m.lines,
            "neighbours": m.neighbours,
            "coincident": m.coincident,
            "depth": m.depth,
            "mean": m.mean,
            "step": m.step,
            "growth": [m.growth[h] for h in n],
            "spread": [m.spread[h] for h in n],
            "counted": [m.counted[h] for h in n],
        }

    @cython.critical_section
    def _by_lag(self):
        """Rows recurrent at lag 1, 2, ..., lookback: (lookback,) array of int64."""
        array = np.empty(self.online.lookback, dtype=np.int64)
        cdef int64_t[::1] out = array
        ms_online_by_lag(&self.online, &out[0])
        return array

    @cython.critical_section
    def _moments(self):
        """Mean, variance and slope a sample of each component: (3, dim) array."""
        array = np.empty((3, self.online.config.dim))
        cdef double[:, ::1] out = array
        ms_online_moments(&self.online, &out[0, 0], &out[1, 0], &out[2, 0])
        return array

    @cython.critical_section
    def _pattern_counts(self):
        """Windows of each ordinal pattern: (dim, order!) array of int64."""
        cdef size_t dim = self.online.config.dim, n = self.online.patterns, k
        array = np.empty((dim, n), dtype=np.int64)
        cdef int64_t[:, ::1] out = array
        for k in range(dim * n):
            (&out[0, 0])[k] = self.online.pattern_counts[k]
        return array

    @property
    @cython.critical_section
    def _lookback(self):
        return self.online.lookback

    @property
    @cython.critical_section
    def _span(self):
        return self.online.span
