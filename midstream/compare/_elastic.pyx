# cython: freethreading_compatible=True
"""Binding of csrc/ms_elastic: measures with their parameters, and pairs of series."""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memset

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll
from midstream.compare._series cimport (NAN_OMIT, NAN_PROPAGATE, Series, as_double, as_nan_policy,
                                        as_series)

from midstream._core.errors import ArgumentValueError
from midstream._core.memory import check_memory
from midstream.compare._series import series_array

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_elastic.h":
    const ms_elastic_kernels *ms_elastic_select(ms_simd_level level) noexcept nogil

cdef dict MEASURES = {
    "dtw_squared": <int>MS_DTW_SQUARED,
    "dtw_absolute": <int>MS_DTW_ABSOLUTE,
    "dtw_equal": <int>MS_DTW_EQUAL,
    "wdtw": <int>MS_WDTW,
    "adtw": <int>MS_ADTW,
    "frechet": <int>MS_FRECHET,
    "erp": <int>MS_ERP,
    "edr": <int>MS_EDR,
    "lcss": <int>MS_LCSS,
    "msm": <int>MS_MSM,
    "twe": <int>MS_TWE,
    # Not elastic: along the main diagonal alone.
    "euclidean": <int>MS_DTW_SQUARED,
}
cdef dict BANDS = {
    "sakoe": <int>MS_BAND_SAKOE,
    "widened": <int>MS_BAND_WIDENED,
    "slanted": <int>MS_BAND_SLANTED,
}
KERNELS = ms_elastic_select(<ms_simd_level>simd_level_number())

#: Taking and giving back the GIL costs about as much as this many cells.
cdef int64_t CELLS_WORTH_THE_GIL = 100_000
#: A workspace larger than this is not kept for the next call.
cdef size_t KEPT_BYTES = 1 << 20
#: Directions of a path kept at a time; longer paths are traced in parts.
cdef size_t PATH_BUDGET = 64 << 20


cdef class Work:
    """Buffers of one call; see `borrow`."""

    def __cinit__(self):
        memset(&self.work, 0, sizeof(self.work))
        self.limits = NULL
        self.room = 0

    def __dealloc__(self):
        ms_elastic_work_free(&self.work)
        PyMem_Free(self.limits)

    cdef int reserve_band(self, int64_t rows) except -1:
        """Make room for the limits of a band, 2 * rows values at `limits`."""
        if rows > self.room:
            PyMem_Free(self.limits)
            self.room = 0
            self.limits = <int64_t *>PyMem_Calloc(2 * rows, sizeof(int64_t))
            if self.limits == NULL:
                raise MemoryError(f"no memory for a band of {rows} rows")
            self.room = rows
        return 0


#: Workspaces that no call uses now. Each operation of a list is atomic, with or without the GIL.
cdef list SPARE = []


cdef Work borrow():
    try:
        return <Work>SPARE.pop()
    except IndexError:
        return Work()


cdef void give_back(Work work):
    if work.work.bytes <= KEPT_BYTES and <size_t>work.room * 16 <= KEPT_BYTES and len(SPARE) < 64:
        SPARE.append(work)


cdef int raise_status(ms_elastic_status status, Poll poll, int64_t n, int64_t m) except -1:
    if status == MS_ELASTIC_NO_MEMORY:
        raise MemoryError(f"no memory to compare series of {n} and {m} samples")
    if status == MS_ELASTIC_STOPPED:
        poll.reraise()
    return 0


cdef int fit_band(ms_elastic_measure measure, ms_elastic_band_kind kind, int64_t window,
                  int64_t *n, int64_t *m, int64_t *limits, ms_elastic_band *band) noexcept nogil:
    """Fill the band of (n, m), for LCSS of what of it can match. Returns 0 if no path fits."""
    band.lo = NULL
    band.hi = NULL
    if window < 0:
        return 1
    if measure == MS_LCSS and kind == MS_BAND_SAKOE:
        # The band says which samples may match; those that never can are of no account.
        n[0] = min(n[0], m[0] + window)
        m[0] = min(m[0], n[0] + window)
    band.lo = limits
    band.hi = limits + n[0]
    return ms_elastic_band_fill(kind, n[0], m[0], window, limits, limits + n[0])


cdef class Plan:
    """A measure with checked parameters.

    Parameters
    ----------
    measure : str
        Key of MEASURES.
    window : int
        Inclusive radius in samples; -1 for none.
    band : str
        Key of BANDS.
    nan_policy : str
    p0, p1 : float
        As ms_elastic.h names them.
    gap : (d,) or (1,) float64 array or None
        For erp.
    weights : callable or None
        Length -> float64 array, for wdtw.
    prepare : callable or None
        (name, array) -> array, before anything else: ddtw's derivative.
    spread : callable or None
        array -> float, where p0 is the larger one of both sides': edr's default.
    """

    def __cinit__(self, str measure, int64_t window=-1, str band="sakoe", nan_policy="raise",
                  double p0=0, double p1=0, gap=None, weights=None, prepare=None, spread=None):
        self.name = measure
        self.measure = <ms_elastic_measure><int>MEASURES[measure]
        self.is_euclidean = measure == "euclidean"
        self.window = window
        self.band = <ms_elastic_band_kind><int>BANDS[band]
        self.policy = as_nan_policy(nan_policy)
        self.p0 = p0
        self.p1 = p1
        self.gap = gap
        self.weights = weights
        self.prepare = prepare
        self.spread = spread

    cdef Series series(self, name, value):
        return as_series(name, value, self.policy)

    cdef Series prepared(self, name, Series series):
        """What is compared: the series, or what the measure makes of it."""
        if self.prepare is None:
            return series
        return as_series(name, self.prepare(name, as_array(series)), NAN_PROPAGATE)

    cdef tuple pair(self, x, y):
        """Both sides checked, of one precision, prepared."""
        cdef Series a = self.series("x", x)
        cdef Series b = self.series("y", y)
        if a.single != b.single:
            a = as_double("x", a)
            b = as_double("y", b)
        self.check_dimensions(a, b, "x", "y")
        return self.prepared("x", a), self.prepared("y", b)

    cdef int check_dimensions(self, Series x, Series y, x_name, y_name) except -1:
        if x.d != y.d:
            raise ArgumentValueError(
                f"{x_name} and {y_name} must have the same number of dimensions, "
                f"got {x.d} and {y.d}"
            )
        if self.measure == MS_ERP and self.gap.shape[0] != 1 and self.gap.shape[0] != x.d:
            raise ArgumentValueError(
                f"g must be one value, or one for each of {x.d} dimensions, "
                f"got {self.gap.shape[0]}"
            )
        if self.is_euclidean and x.n != y.n:
            raise ArgumentValueError(
                f"{x_name} and {y_name} must have the same length, got {x.n} and {y.n}"
            )
        return 0

    cdef const double[::1] gap_for(self, int64_t d):
        import numpy as np

        if self.gap.shape[0] == d:
            return self.gap
        return np.full(d, self.gap[0])

    def distance(self, x, y, double cutoff=INFINITY):
        """Distance of one pair; inf above `cutoff`, nan where a series holds nan."""
        cdef Series a, b
        cdef double p0 = self.p0, value
        cdef Work work
        a, b = self.pair(x, y)
        if a.missing or b.missing:
            return float("nan")
        if self.spread is not None:
            p0 = max(self.spread(as_array(a)), self.spread(as_array(b)))
        work = borrow()
        value = self.value(a, b, p0, cutoff, work, Poll())
        give_back(work)
        return value

    cdef double value(self, Series x, Series y, double p0, double cutoff, Work work,
                      Poll poll) except? -1:
        """What `distance` returns, for checked series of one precision."""
        cdef double total = 0
        cdef int64_t k
        if self.is_euclidean:
            if x.single:
                total = ms_elastic_euclidean_f32(<const float *>x.data, <const float *>y.data,
                                                 x.n, x.d)
            else:
                total = ms_elastic_euclidean_f64(<const double *>x.data, <const double *>y.data,
                                                 x.n, x.d)
            total = ms_elastic_value(MS_DTW_SQUARED, total, x.n, y.n, x.d)
        elif self.measure == MS_MSM and x.d > 1:
            for k in range(x.d):
                total += self.one(as_series("x", as_array(x)[:, k], NAN_PROPAGATE),
                                  as_series("y", as_array(y)[:, k], NAN_PROPAGATE), p0, cutoff,
                                  work, poll)
        else:
            total = self.one(x, y, p0, cutoff, work, poll)
        return INFINITY if total > cutoff else total

    cdef double one(self, Series x, Series y, double p0, double cutoff, Work work,
                    Poll poll) except? -1:
        cdef int64_t n = x.n, m = y.n, d = x.d
        cdef ms_elastic_band band
        cdef ms_elastic_params params
        cdef const double[::1] weights, gap
        cdef double raw = INFINITY, bound = INFINITY
        cdef ms_elastic_status status
        params.measure = self.measure
        params.p0 = p0
        params.p1 = self.p1
        params.gap = NULL
        params.weights = NULL
        if self.measure == MS_WDTW:
            weights = self.weights(max(n, m))
            params.weights = &weights[0]
        elif self.measure == MS_ERP:
            gap = self.gap_for(d)
            params.gap = &gap[0]
        if self.window >= 0:
            work.reserve_band(n)
        if not fit_band(self.measure, self.band, self.window, &n, &m, work.limits, &band):
            return INFINITY
        if cutoff < INFINITY:
            bound = ms_elastic_bound(self.measure, cutoff, x.n, y.n, d)
        if n * m * d < CELLS_WORTH_THE_GIL:
            status = call_pair(&work.work, &params, x.single, x.data, n, y.data, m, d, band, bound,
                               NULL, &raw)
        else:
            with nogil:
                status = call_pair(&work.work, &params, x.single, x.data, n, y.data, m, d, band,
                                   bound, &poll.poll, &raw)
        raise_status(status, poll, n, m)
        return ms_elastic_value(self.measure, raw, x.n, y.n, d)

    def path(self, x, y, size_t budget=PATH_BUDGET):
        """Distance and path of one pair.

        Parameters
        ----------
        x, y : (n,) or (n, d), (m,) or (m, d) array_like
        budget : int
            Bytes of directions kept at a time.

        Returns
        -------
        (float, (k, 2) int64 array)
        """
        import numpy as np

        cdef Series a, b
        a, b = self.pair(x, y)
        if a.missing or b.missing:
            raise ArgumentValueError("x and y must hold no nan: a path through nan is undefined")
        cdef int64_t n = a.n, m = b.n, d = a.d, length = 0
        if self.measure == MS_MSM and d > 1:
            raise ArgumentValueError(
                f"x and y must have one dimension for a path of msm, which compares each alone, "
                f"got {d}"
            )
        cdef Poll poll = Poll()
        cdef Work work = borrow()
        cdef ms_elastic_band band
        cdef ms_elastic_params params
        cdef const double[::1] weights
        cdef double raw = INFINITY
        cdef ms_elastic_status status
        params.measure = self.measure
        params.p0 = self.p0
        params.p1 = self.p1
        params.gap = NULL
        params.weights = NULL
        if self.measure == MS_WDTW:
            weights = self.weights(max(n, m))
            params.weights = &weights[0]
        if self.window >= 0:
            work.reserve_band(n)
        if not fit_band(self.measure, self.band, self.window, &n, &m, work.limits, &band):
            raise ArgumentValueError(
                f"window={self.window} leaves no path between series of {a.n} and {b.n} samples"
            )
        # The path itself, and per column of the saved rows' one level.
        check_memory(f"the path between series of {n} and {m} samples", 32 * (n + m) + 64 * 8 * m)
        cdef int64_t[:, ::1] cells = np.empty((n + m - 1, 2), dtype=np.int64)
        with nogil:
            if a.single:
                status = KERNELS.path_f32(&work.work, &params, <const float *>a.data, n,
                                          <const float *>b.data, m, d, band, budget, &poll.poll,
                                          &raw, &cells[0, 0], &length)
            else:
                status = KERNELS.path_f64(&work.work, &params, <const double *>a.data, n,
                                          <const double *>b.data, m, d, band, budget, &poll.poll,
                                          &raw, &cells[0, 0], &length)
        raise_status(status, poll, n, m)
        give_back(work)
        steps = np.asarray(cells)[:length].copy()
        if self.policy == NAN_OMIT:
            for side, value in enumerate((x, y)):
                kept = kept_samples(value)
                if self.prepare is not None:  # slopes: 0 is that of sample 1
                    kept = kept[1 : len(kept) - 1] - 1
                steps[:, side] = kept[steps[:, side]]
        return ms_elastic_value(self.measure, raw, n, m, d), steps


cdef ms_elastic_status call_pair(ms_elastic_work *work, const ms_elastic_params *params,
                                 bint single, const void *x, int64_t n, const void *y, int64_t m,
                                 int64_t d, ms_elastic_band band, double bound, ms_poll *poll,
                                 double *raw) noexcept nogil:
    if single:
        return KERNELS.pair_f32(work, params, <const float *>x, n, <const float *>y, m, d, band,
                                bound, poll, raw)
    return KERNELS.pair_f64(work, params, <const double *>x, n, <const double *>y, m, d, band,
                            bound, poll, raw)


cdef object kept_samples(object value):
    """Indices of the samples that nan_policy='omit' leaves."""
    import numpy as np

    missing = np.isnan(series_array("", value, "propagate"))
    return np.flatnonzero(~(missing if missing.ndim == 1 else missing.any(axis=1)))


cdef object as_array(Series series):
    import numpy as np

    return np.asarray(series.view.obj)
