# cython: freethreading_compatible=True
"""Binding of csrc/ms_drift: has a signal changed?"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from libc.math cimport NAN, isfinite
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

import numpy as np

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_real

cdef extern from "ms_drift.h":
    int MS_DRIFT_QUIET, MS_DRIFT_ALARM, MS_DRIFT_OUTSIDE, MS_DRIFT_NOMEM
    uint64_t MS_DRIFT_NEVER
    double MS_DRIFT_LARGEST
    int MS_ADWIN_ROWS
    ctypedef struct ms_adwin:
        double delta, low, range
        uint64_t clock, min_window, grace
        uint32_t max_buckets
        int clips, repeats
        uint64_t n, width, told, change, n_detections, n_shrinks
        uint32_t counts[54]
        uint32_t n_rows, dirty
        double *totals
        double *spreads
    ctypedef struct ms_moments:
        uint64_t n
        double mean, rest, squares
    ctypedef struct ms_sides:
        double up, down
        uint64_t up_from, down_from
    ctypedef struct ms_page:
        double delta, threshold, alpha
        uint64_t min_samples
        int sides
        uint64_t n, change, n_detections
        ms_moments moments
        ms_sides sums
    ctypedef struct ms_cusum:
        double slack, threshold, target, sigma, min_sigma
        int has_target, has_sigma, sides
        uint64_t warmup
        uint64_t n, change, n_detections
        ms_moments moments
        ms_sides sums
        int ready
        double level, spread
    void ms_adwin_init(ms_adwin *a) noexcept nogil
    void ms_adwin_free(ms_adwin *a) noexcept nogil
    void ms_adwin_reset(ms_adwin *a) noexcept nogil
    int ms_adwin_reserve(ms_adwin *a, uint32_t n_rows) noexcept nogil
    int ms_adwin_push(ms_adwin *a, double x) noexcept nogil
    double ms_adwin_mean(ms_adwin *a) noexcept nogil
    double ms_adwin_variance(ms_adwin *a) noexcept nogil
    double ms_adwin_statistic(ms_adwin *a) noexcept nogil
    double ms_moments_mean(const ms_moments *m) noexcept nogil
    void ms_page_reset(ms_page *p) noexcept nogil
    int ms_page_push(ms_page *p, double x) noexcept nogil
    void ms_cusum_reset(ms_cusum *c) noexcept nogil
    int ms_cusum_push(ms_cusum *c, double x) noexcept nogil

#: Samples between two looks at pending signals: some milliseconds.
cdef Py_ssize_t PIECE = 1 << 16

#: Largest sample of Page-Hinkley and CUSUM.
LARGEST = MS_DRIFT_LARGEST


cdef class Detector:
    """Detector()\n--\n\n\
    What `Adwin`, `PageHinkley` and `Cusum` have in common: samples in, alarms out.

    Not made by itself. One detector is for one signal and for one thread at a time: while
    `update_many` runs without the lock, every other use is refused.

    See Also
    --------
    Adwin, PageHinkley, Cusum : the detectors.
    Drift : any of them, for a signal whose scale nobody knows.
    """

    cdef bint busy, drifted_
    cdef uint64_t nothing

    cdef int check_idle(self) except -1:
        """Refuse a state that another thread is changing without the lock."""
        if self.busy:
            raise MidstreamError("another thread is feeding this detector: give each its own copy()")
        return 0

    cdef int push(self, double x) noexcept nogil:
        return MS_DRIFT_OUTSIDE

    cdef bint takes(self, double x) noexcept nogil:
        """Whether `push` would take it."""
        return False

    cdef object refusal(self, str name, double x):
        """The error that a sample deserves which is not taken."""
        return ArgumentValueError(f"{name} must be finite, got {x!r}")

    cdef uint64_t *detections(self) noexcept:
        return &self.nothing

    cdef uint64_t told_change(self) noexcept:
        return MS_DRIFT_NEVER

    @cython.critical_section
    def update(self, x):
        """Take one sample.

        Parameters
        ----------
        x : float or int

        Returns
        -------
        bool
            Whether the signal has just been found to have changed: True once a change.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `x` is no number, not finite, or outside the range. Nothing was changed then.

        Notes
        -----
        Constant time, amortised.

        Examples
        --------
        >>> from midstream.meta.drift import PageHinkley
        >>> detector = PageHinkley(threshold=5)
        >>> [i for i in range(60) if detector.update(0.0 if i < 40 else 1.0)]
        [45]
        """
        cdef double value = PyFloat_AS_DOUBLE(x) if PyFloat_Check(x) else check_real("x", x)
        cdef int status
        if self.busy:
            self.check_idle()
        status = self.push(value)
        if status < 0:
            if status == MS_DRIFT_NOMEM:
                raise MemoryError("no memory for a longer window")
            raise self.refusal("x", value)
        self.drifted_ = status == MS_DRIFT_ALARM
        return self.drifted_

    @cython.critical_section
    def update_many(self, xs):
        """Take many samples.

        Parameters
        ----------
        xs : (n,) array_like of float

        Returns
        -------
        (k,) int64 ndarray
            Indices in `xs` of the samples for which `update` would have returned True.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `xs` is no sequence of numbers, or one is refused: its index is told. Nothing was
            changed then.

        Notes
        -----
        Releases the lock. Ctrl-C ends it between two samples: those before it were taken.

        Examples
        --------
        >>> import numpy as np
        >>> from midstream.meta.drift import Adwin
        >>> rng = np.random.default_rng(0)
        >>> detector = Adwin()
        >>> detector.update_many(np.r_[rng.random(500) / 2, rng.random(500)]).tolist(), detector.change
        ([543], 496)
        """
        cdef const double[::1] samples = as_samples(xs)
        cdef Py_ssize_t n = samples.shape[0], i = 0, end
        cdef int status = MS_DRIFT_QUIET
        cdef list found = []
        self.check_idle()
        # Until the end: a signal's handler runs between two pieces, other threads in each.
        self.busy = True
        try:
            with nogil:
                while i < n and self.takes(samples[i]):
                    i += 1
            if i < n:
                raise self.refusal(f"xs[{i}]", samples[i])
            i = 0
            while i < n:
                end = min(n, i + PIECE)
                with nogil:
                    while i < end:
                        status = self.push(samples[i])
                        i += 1
                        if status != MS_DRIFT_QUIET:
                            break
                if status == MS_DRIFT_NOMEM:
                    raise MemoryError("no memory for a longer window")
                self.drifted_ = status == MS_DRIFT_ALARM
                if self.drifted_:
                    found.append(i - 1)
                if i == end:
                    PyErr_CheckSignals()
        finally:
            self.busy = False
        return np.array(found, np.int64)

    @cython.critical_section
    def _until(self, const double[::1] samples):
        """Index of the first alarm, -1 where all were taken without one; nothing after it is."""
        cdef Py_ssize_t i = 0, n = samples.shape[0]
        cdef int status = MS_DRIFT_QUIET
        self.check_idle()
        self.busy = True
        with nogil:
            while i < n and status == MS_DRIFT_QUIET:
                status = self.push(samples[i])
                i += 1
        self.busy = False
        if status < 0:
            raise MemoryError("no memory for a longer window")
        self.drifted_ = status == MS_DRIFT_ALARM
        return i - 1 if self.drifted_ else -1

    @cython.critical_section
    def _check(self, str signal, x):
        """Raise what `update` would for this sample of a bank's signal."""
        cdef double value
        if PyFloat_Check(x):
            value = PyFloat_AS_DOUBLE(x)
        else:
            value = check_real(f"signals[{signal!r}]", x)
        if not self.takes(value):
            raise self.refusal(f"signals[{signal!r}]", value)

    @property
    @cython.critical_section
    def drifted(self):
        """Whether the last sample was an alarm."""
        return self.drifted_

    @property
    @cython.critical_section
    def n_detections(self):
        """Alarms so far."""
        self.check_idle()
        return self.detections()[0]

    @property
    @cython.critical_section
    def change(self):
        """Index of the first sample after the last change that was found, an estimate, or None.

        Samples are counted from 0, since the start or the last `reset`.
        """
        self.check_idle()
        cdef uint64_t change = self.told_change()
        return None if change == MS_DRIFT_NEVER else change


def as_samples(xs):
    """Contiguous float64, or an error."""
    try:
        array = np.asarray(xs)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"xs must be a sequence of numbers, got {type(xs).__name__}") from None
    if array.size == 0 and array.ndim == 1:
        return np.empty(0)
    if array.dtype.kind not in "fiu":
        raise ArgumentTypeError(f"xs must be real numbers, got an array of {array.dtype}")
    if array.ndim != 1:
        raise ArgumentValueError(f"xs must have one axis, got {array.ndim}")
    return np.ascontiguousarray(array, np.float64)


cdef class AdwinCore(Detector):
    """The window. `midstream.meta.drift.Adwin` documents what is public."""

    cdef ms_adwin a

    def __cinit__(self, double delta, double low, double high, uint64_t clock,
                  uint32_t max_buckets, uint64_t min_window, uint64_t grace, bint clips,
                  bint repeats):
        ms_adwin_init(&self.a)
        self.a.delta, self.a.low, self.a.range = delta, low, high - low
        self.a.clock, self.a.min_window, self.a.grace = clock, min_window, grace
        self.a.max_buckets, self.a.clips, self.a.repeats = max_buckets, clips, repeats

    def __dealloc__(self):
        ms_adwin_free(&self.a)

    cdef int push(self, double x) noexcept nogil:
        return ms_adwin_push(&self.a, x)

    cdef bint takes(self, double x) noexcept nogil:
        cdef double y = (x - self.a.low) / self.a.range
        return (y >= 0.0 and y <= 1.0) or (self.a.clips and isfinite(x))

    cdef object refusal(self, str name, double x):
        if not isfinite(x):
            return ArgumentValueError(f"{name} must be finite, got {x!r}")
        return ArgumentValueError(
            f"{name} must be within [{self.a.low!r}, {self.a.low + self.a.range!r}], got {x!r} "
            "(set low and high, or outside='clip')"
        )

    cdef uint64_t *detections(self) noexcept:
        return &self.a.n_detections

    cdef uint64_t told_change(self) noexcept:
        return self.a.change

    @cython.critical_section
    def reset(self):
        """Forget every sample and every alarm."""
        self.check_idle()
        ms_adwin_reset(&self.a)
        self.drifted_ = False

    @property
    @cython.critical_section
    def n(self):
        """Samples since the start, or the last `reset`."""
        self.check_idle()
        return self.a.n

    @property
    @cython.critical_section
    def width(self):
        """Samples in the window: those since the last change, as far as can be told."""
        self.check_idle()
        return self.a.width

    @property
    @cython.critical_section
    def n_buckets(self):
        """Buckets in the window; memory and the cost of a check grow with them."""
        self.check_idle()
        cdef uint32_t row
        cdef uint64_t n = 0
        for row in range(self.a.n_rows):
            n += self.a.counts[row]
        return n

    @property
    @cython.critical_section
    def n_shrinks(self):
        """Times that the window was cut: at alarms, and later by what was left of a change."""
        self.check_idle()
        return self.a.n_shrinks

    @property
    @cython.critical_section
    def mean(self):
        """Mean of the window, NaN of an empty one."""
        self.check_idle()
        return ms_adwin_mean(&self.a)

    @property
    @cython.critical_section
    def variance(self):
        """Variance of the window (sum of squares over `width`), NaN of an empty one."""
        self.check_idle()
        return ms_adwin_variance(&self.a)

    @property
    @cython.critical_section
    def statistic(self):
        """Largest difference between two parts of the window over what is allowed: 1 alarms."""
        self.check_idle()
        return ms_adwin_statistic(&self.a)

    @cython.critical_section
    def _state(self):
        """Counters, buckets by row from the newest row on."""
        self.check_idle()
        cdef uint32_t row, i, stride = self.a.max_buckets + 1
        cdef list totals = [], spreads = []
        for row in range(self.a.n_rows):
            for i in range(self.a.counts[row]):
                totals.append(self.a.totals[row * stride + i])
                spreads.append(self.a.spreads[row * stride + i])
        return (
            (self.a.n, self.a.told, self.a.change, self.a.n_detections, self.a.n_shrinks),
            self.drifted_,
            [self.a.counts[row] for row in range(self.a.n_rows)],
            totals,
            spreads,
        )

    @cython.critical_section
    def _set_state(self, tuple counters, bint drifted, list counts, list totals, list spreads):
        """Take a state, or raise ValueError where there is no such state."""
        self.check_idle()
        cdef uint64_t n, told, change, n_detections, n_shrinks, width = 0
        cdef uint32_t row, i, stride = self.a.max_buckets + 1
        cdef Py_ssize_t k = 0
        cdef double size
        n, told, change, n_detections, n_shrinks = counters
        if len(counts) > MS_ADWIN_ROWS or (counts and not counts[len(counts) - 1]):
            raise ValueError("rows")
        for row in range(<uint32_t>len(counts)):
            if counts[row] > self.a.max_buckets:
                raise ValueError("buckets of a row")
            size = <double>(<uint64_t>1 << row)
            width += counts[row] * (<uint64_t>1 << row)
            for i in range(counts[row]):
                if not (0.0 <= totals[k] <= size and 0.0 <= spreads[k] <= size):
                    raise ValueError("bucket")
                k += 1
        if (
            k != len(totals) or k != len(spreads) or width > n or n > <uint64_t>1 << 53
            or told > n or n_detections > n or n_shrinks > n or n_detections > n_shrinks
            or (n_detections == 0) != (change == MS_DRIFT_NEVER)
            or (n_detections == 0) != (told == 0)
            or (change != MS_DRIFT_NEVER and change >= told)
            or (n > 0 and width == 0) or (drifted and told != n) or (drifted and n == 0)
        ):
            raise ValueError("counters")
        if ms_adwin_reserve(&self.a, <uint32_t>len(counts)) != MS_DRIFT_QUIET:
            raise MemoryError("no memory for a window")
        memset(self.a.counts, 0, sizeof(self.a.counts))
        k = 0
        for row in range(<uint32_t>len(counts)):
            self.a.counts[row] = counts[row]
            for i in range(self.a.counts[row]):
                self.a.totals[row * stride + i] = totals[k]
                self.a.spreads[row * stride + i] = spreads[k]
                k += 1
        self.a.n_rows = <uint32_t>len(counts)
        self.a.dirty = MS_ADWIN_ROWS
        self.a.n, self.a.width, self.a.told, self.a.change = n, width, told, change
        self.a.n_detections, self.a.n_shrinks = n_detections, n_shrinks
        self.drifted_ = drifted


cdef tuple common_state(uint64_t n, uint64_t change, uint64_t n_detections, ms_moments *m,
                        ms_sides *s, bint drifted):
    return (
        n, change, n_detections, m.n, s.up_from, s.down_from, drifted,
        m.mean, m.rest, m.squares, s.up, s.down,
    )


cdef int set_common(tuple state, uint64_t *n, uint64_t *change, uint64_t *n_detections,
                    ms_moments *m, ms_sides *s, bint *drifted) except -1:
    """Take what `common_state` gave, or raise ValueError where there is no such state."""
    cdef ms_moments moments
    cdef ms_sides sums
    cdef uint64_t n_, change_, detections_
    cdef bint drifted_
    (
        n_, change_, detections_, moments.n, sums.up_from, sums.down_from, drifted_,
        moments.mean, moments.rest, moments.squares, sums.up, sums.down,
    ) = state
    if (
        n_ > <uint64_t>1 << 53 or moments.n > n_ or detections_ > n_
        or sums.up_from > n_ or sums.down_from > n_
        or (detections_ == 0) != (change_ == MS_DRIFT_NEVER)
        or (change_ != MS_DRIFT_NEVER and change_ >= n_)
        or (detections_ == 0 and moments.n != n_)
        or (drifted_ and (detections_ == 0 or moments.n > 0))
        or not (-MS_DRIFT_LARGEST <= moments.mean <= MS_DRIFT_LARGEST)
        or not (-MS_DRIFT_LARGEST <= moments.rest <= MS_DRIFT_LARGEST)
        or not (moments.squares >= 0.0 and isfinite(moments.squares))
        or not (sums.up >= 0.0 and isfinite(sums.up))
        or not (sums.down >= 0.0 and isfinite(sums.down))
        or (moments.n == 0 and not moments.mean == moments.rest == moments.squares == 0.0)
    ):
        raise ValueError("counters")
    n[0], change[0], n_detections[0] = n_, change_, detections_
    m[0] = moments
    s[0] = sums
    drifted[0] = drifted_
    return 0


cdef object too_large(str name, double x):
    return ArgumentValueError(f"{name} must be within [-1e140, 1e140], got {x!r}")


cdef class PageCore(Detector):
    """The sums. `midstream.meta.drift.PageHinkley` documents what is public."""

    cdef ms_page p

    def __cinit__(self, double delta, double threshold, double alpha, uint64_t min_samples,
                  int sides):
        memset(&self.p, 0, sizeof(self.p))
        self.p.delta, self.p.threshold, self.p.alpha = delta, threshold, alpha
        self.p.min_samples, self.p.sides = min_samples, sides
        ms_page_reset(&self.p)

    cdef int push(self, double x) noexcept nogil:
        return ms_page_push(&self.p, x)

    cdef bint takes(self, double x) noexcept nogil:
        return -MS_DRIFT_LARGEST <= x <= MS_DRIFT_LARGEST

    cdef object refusal(self, str name, double x):
        return too_large(name, x)

    cdef uint64_t *detections(self) noexcept:
        return &self.p.n_detections

    cdef uint64_t told_change(self) noexcept:
        return self.p.change

    @cython.critical_section
    def reset(self):
        """Forget every sample and every alarm."""
        self.check_idle()
        ms_page_reset(&self.p)
        self.drifted_ = False

    @property
    @cython.critical_section
    def n(self):
        """Samples since the start, or the last `reset`."""
        self.check_idle()
        return self.p.n

    @property
    @cython.critical_section
    def width(self):
        """Samples since the last alarm."""
        self.check_idle()
        return self.p.moments.n

    @property
    @cython.critical_section
    def mean(self):
        """Mean of the samples since the last alarm, NaN where there are none."""
        self.check_idle()
        return ms_moments_mean(&self.p.moments)

    @property
    @cython.critical_section
    def variance(self):
        """Their variance (sum of squares over `width`), NaN where there are none."""
        self.check_idle()
        return self.p.moments.squares / self.p.moments.n if self.p.moments.n else NAN

    @property
    @cython.critical_section
    def statistic(self):
        """The larger of the two sums over the threshold: what exceeds 1 alarms."""
        self.check_idle()
        return max(self.p.sums.up, self.p.sums.down) / self.p.threshold

    @cython.critical_section
    def _state(self):
        self.check_idle()
        return common_state(self.p.n, self.p.change, self.p.n_detections, &self.p.moments,
                            &self.p.sums, self.drifted_)

    @cython.critical_section
    def _set_state(self, tuple state):
        """Take a state, or raise ValueError where there is no such state."""
        self.check_idle()
        set_common(state, &self.p.n, &self.p.change, &self.p.n_detections, &self.p.moments,
                   &self.p.sums, &self.drifted_)


cdef class CusumCore(Detector):
    """The sums. `midstream.meta.drift.Cusum` documents what is public."""

    cdef ms_cusum c

    def __cinit__(self, double slack, double threshold, target, sigma, uint64_t warmup,
                  double min_sigma, int sides):
        memset(&self.c, 0, sizeof(self.c))
        self.c.slack, self.c.threshold, self.c.min_sigma = slack, threshold, min_sigma
        self.c.warmup, self.c.sides = warmup, sides
        if target is not None:
            self.c.has_target, self.c.target = True, target
        if sigma is not None:
            self.c.has_sigma, self.c.sigma = True, sigma
        ms_cusum_reset(&self.c)

    cdef int push(self, double x) noexcept nogil:
        return ms_cusum_push(&self.c, x)

    cdef bint takes(self, double x) noexcept nogil:
        return -MS_DRIFT_LARGEST <= x <= MS_DRIFT_LARGEST

    cdef object refusal(self, str name, double x):
        return too_large(name, x)

    cdef uint64_t *detections(self) noexcept:
        return &self.c.n_detections

    cdef uint64_t told_change(self) noexcept:
        return self.c.change

    @cython.critical_section
    def reset(self):
        """Forget every sample, every alarm and the level that was learned."""
        self.check_idle()
        ms_cusum_reset(&self.c)
        self.drifted_ = False

    @property
    @cython.critical_section
    def n(self):
        """Samples since the start, or the last `reset`."""
        self.check_idle()
        return self.c.n

    @property
    @cython.critical_section
    def width(self):
        """Samples since the last alarm."""
        self.check_idle()
        return self.c.moments.n

    @property
    @cython.critical_section
    def mean(self):
        """Mean of the samples since the last alarm, NaN where there are none."""
        self.check_idle()
        return ms_moments_mean(&self.c.moments)

    @property
    @cython.critical_section
    def variance(self):
        """Their variance (sum of squares over `width`), NaN where there are none."""
        self.check_idle()
        return self.c.moments.squares / self.c.moments.n if self.c.moments.n else NAN

    @property
    @cython.critical_section
    def level(self):
        """What samples are compared with, or None while it is being learned."""
        self.check_idle()
        return self.c.level if self.c.ready else None

    @property
    @cython.critical_section
    def spread(self):
        """The standard deviation that they are measured in, or None while it is being learned."""
        self.check_idle()
        return self.c.spread if self.c.ready else None

    @property
    @cython.critical_section
    def statistic(self):
        """The larger of the two sums over the threshold: what exceeds 1 alarms."""
        self.check_idle()
        return max(self.c.sums.up, self.c.sums.down) / self.c.threshold

    @cython.critical_section
    def _state(self):
        self.check_idle()
        return (
            common_state(self.c.n, self.c.change, self.c.n_detections, &self.c.moments,
                         &self.c.sums, self.drifted_),
            bool(self.c.ready),
            self.c.level,
            self.c.spread,
        )

    @cython.critical_section
    def _set_state(self, tuple state, bint ready, double level, double spread):
        """Take a state, or raise ValueError where there is no such state."""
        self.check_idle()
        cdef uint64_t detections = state[2], width = state[3]
        cdef bint knows = self.c.has_target and self.c.has_sigma and detections == 0
        if ready != (knows or width >= self.c.warmup):
            raise ValueError("ready")
        if not (-MS_DRIFT_LARGEST <= level <= MS_DRIFT_LARGEST) or (
            not (spread >= self.c.min_sigma and isfinite(spread)) if ready
            else level != 0.0 or spread != 0.0
        ):
            raise ValueError("level")
        set_common(state, &self.c.n, &self.c.change, &self.c.n_detections, &self.c.moments,
                   &self.c.sums, &self.drifted_)
        self.c.ready, self.c.level, self.c.spread = ready, level, spread
