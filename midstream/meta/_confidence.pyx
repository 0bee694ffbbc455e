# cython: freethreading_compatible=True
"""Binding of csrc/ms_confidence: bounds that hold whenever one looks."""

cimport cython
import hashlib
import struct

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, NAN, fmax, fmin, log
from libc.stdint cimport int32_t, uint64_t

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_choice, check_int, check_real

cdef extern from "Python.h":
    bint PyFloat_CheckExact(object o)
    double PyFloat_AS_DOUBLE(object o)

cdef extern from "ms_confidence.h":
    int MS_CONFIDENCE_OK
    enum:
        MS_BETS
    ctypedef struct ms_eprocess:
        double *capital
        double cash
        double log_scale
        double log_capital
        double log_peak
        uint64_t n
        int restarts
    void ms_eprocess_init(ms_eprocess *e, int restarts) noexcept nogil
    void ms_eprocess_update(ms_eprocess *e, double x) noexcept nogil
    size_t ms_eprocess_feed(ms_eprocess *e, const double *x, size_t count,
                            double stop) noexcept nogil
    void ms_eprocess_bets(double *bets, double *weights) noexcept nogil
    int ms_eprocess_valid(const ms_eprocess *e) noexcept nogil
    ctypedef struct ms_betting:
        size_t cells
        size_t excluded
        double *mantissa
        int32_t *exponent
        double up, down
    int ms_betting_init(ms_betting *b, size_t cells, double level) noexcept nogil
    void ms_betting_free(ms_betting *b) noexcept nogil
    void ms_betting_update(ms_betting *b, double x, double bet) noexcept nogil
    double ms_betting_lower(const ms_betting *b) noexcept nogil
    ctypedef struct ms_sums:
        uint64_t n
        double sum
        double squares
        double squares1
    void ms_sums_update(ms_sums *s, double x) noexcept nogil
    double ms_sums_bet(const ms_sums *s, double log_level) noexcept nogil
    double ms_bernstein_margin(double squares, double level) noexcept nogil
    double ms_hoeffding_margin(double n, double level, int two_sided,
                               double tuned_for) noexcept nogil

METHODS = ("betting", "bernstein", "hoeffding")
SIDES = ("both", "lower", "upper")

#: Values that release the GIL when they come at once; some 10 us of work.
cdef Py_ssize_t LONG = 256
#: Work between two looks at pending signals, in some nanoseconds each: values, or cells of a grid.
cdef Py_ssize_t PIECE = 1 << 16
cdef Py_ssize_t CELLS = 1 << 24

_CAPITAL = struct.Struct(f"<{MS_BETS + 4}dQB")
_CAPITAL_MAGIC = b"ms.capital1\0"
_ARGUMENTS = struct.Struct("<4dQBB")
_SUMS = struct.Struct("<Q3d")
_SEQUENCE_MAGIC = b"ms.confid1\0"
_SIDE = struct.Struct("<Q2d")

_COUNT_LIMIT = 1 << 62


def bounded_row(values, name, double low, double high):
    """A contiguous row of finite doubles within [low, high]."""
    try:
        row = np.asarray(values)
        if row.dtype.kind not in "iuf" and row.size:
            raise TypeError
        row = np.ascontiguousarray(row, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"{name} must be real numbers in a row, got {type(values).__name__}"
        ) from None
    if row.ndim != 1:
        raise ArgumentValueError(f"{name} must be one row, got shape {row.shape}")
    wrong = ~((row >= low) & (row <= high)) | np.isinf(row)
    if wrong.any():
        at = int(wrong.argmax())
        raise ArgumentValueError(
            f"{name}[{at}] must be within [{low}, {high}] and finite, got {float(row[at])!r}"
        )
    return row


cdef class EProcess:
    """EProcess(restarts=False)\n--\n\n\
    Evidence against "the mean is at most 0", however often one looks.

    The null hypothesis: given all that came before it, each value has an expectation of at most 0.
    Capital of 1 is staked against it, on 16 constant bets at once; under the null it is a
    nonnegative supermartingale, so that it ever reaches ``1 / alpha`` with probability at most
    `alpha` (Ville's inequality). It may be looked at after every value, and stopped whenever one
    likes. Values need be neither independent nor alike, and may come from whoever saw all values
    before.

    Parameters
    ----------
    restarts : bool, default False
        Stake only half of the capital at the start, and the other half little by little, so that a
        mean that becomes positive late is found although bets were lost before: of that half,
        ``1 / sqrt(t) - 1 / sqrt(t + 1)`` at value t. The guarantee is the same.

    Raises
    ------
    ArgumentTypeError
        `restarts` is no bool.

    Notes
    -----
    Capital after values x_1 .. x_t: ``sum_j w_j prod_i (1 + b_j x_i)`` with bets ``b_j = 0.98 *
    2**(-j / 2)`` and weights ``w_j`` proportional to ``(j + 2)**-1.5``, j < 16.

    What it is no evidence for: that the mean is positive always, or now. It refutes that it never
    was.

    One update: some 40 ns, memory 200 bytes. Not thread-safe. `update_many` releases the GIL where
    it is given 256 values or more.

    References
    ----------
    J. Ville, "Étude critique de la notion de collectif", 1939.

    I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS-B
    86(1), 2024.

    Restarts: J. Shin, A. Ramdas and A. Rinaldo, "E-detectors", NEJSDS 2(2), 2024.

    Examples
    --------
    >>> from midstream.meta import EProcess
    >>> capital = EProcess()
    >>> n = capital.update_many([0.5, 0.25, 0.5, -0.25] * 10, alpha=0.05)
    >>> n, capital.rejects(0.05), round(capital.p_value, 3)
    (19, True, 0.046)
    """

    cdef ms_eprocess state
    cdef bint busy

    def __cinit__(self, restarts=False):
        if not isinstance(restarts, bool):
            raise ArgumentTypeError(f"restarts must be a bool, got {restarts!r}")
        ms_eprocess_init(&self.state, <int>bool(restarts))

    cdef int check_idle(self) except -1:
        if self.busy:
            raise MidstreamError("an EProcess is used by one thread at a time")
        return 0

    @cython.critical_section
    def update(self, x):
        """Take one value.

        Parameters
        ----------
        x : float
            At least -1. What is larger than 1 is allowed: only losses need a bound.

        Returns
        -------
        float
            `log_capital`.

        Raises
        ------
        ArgumentValueError
            Below -1, NaN or infinite. Nothing was taken.
        ArgumentTypeError
            No real number.
        """
        cdef double value
        if self.busy:
            self.check_idle()
        value = PyFloat_AS_DOUBLE(x) if PyFloat_CheckExact(x) else check_real("x", x)
        if not -1 <= value < INFINITY:
            raise ArgumentValueError(f"x must be at least -1 and finite, got {x!r}")
        ms_eprocess_update(&self.state, value)
        return self.state.log_capital

    @cython.critical_section
    def update_many(self, xs, alpha=None):
        """Take many values, or as many as refute the null.

        Parameters
        ----------
        xs : (n,) array_like of float
            As for `update`.
        alpha : float, optional
            Stop at the first value after which the capital is at least ``1 / alpha``.

        Returns
        -------
        int
            How many values were taken.

        Raises
        ------
        ArgumentValueError
            A value below -1, NaN or infinite; `alpha` not within (0, 1]. Nothing was taken.
        ArgumentTypeError
            No real numbers.

        Notes
        -----
        Ctrl-C ends it between two values: those before it were taken.
        """
        cdef const double[::1] row
        cdef double stop = INFINITY
        cdef Py_ssize_t n, end, used = 0
        self.check_idle()
        if alpha is not None:
            stop = -log(level_of("alpha", alpha))
        row = bounded_row(xs, "xs", -1, INFINITY)
        n = row.shape[0]
        if n == 0:
            return 0
        if n < LONG:
            return ms_eprocess_feed(&self.state, &row[0], n, stop)
        self.check_idle()  # again: another thread may have had its turn while the row was made
        self.busy = True
        try:
            while True:
                end = min(n, used + PIECE)
                with nogil:
                    used += ms_eprocess_feed(&self.state, &row[used], end - used, stop)
                if used == n or self.state.log_capital >= stop:
                    return used
                PyErr_CheckSignals()
        finally:
            self.busy = False

    @cython.critical_section
    def rejects(self, alpha):
        """Whether the null was refuted at this level, now or at any time before.

        Parameters
        ----------
        alpha : float
            Within (0, 1].

        Returns
        -------
        bool
        """
        return bool(self.state.log_peak >= -log(level_of("alpha", alpha)))

    @property
    @cython.critical_section
    def n(self):
        """Values so far (int)."""
        return self.state.n

    @property
    @cython.critical_section
    def log_capital(self):
        """Natural logarithm of the capital (float): 0 at the start."""
        return self.state.log_capital

    @property
    @cython.critical_section
    def log_peak(self):
        """The largest `log_capital` so far (float)."""
        return self.state.log_peak

    @property
    @cython.critical_section
    def p_value(self):
        """An anytime-valid p-value (float): one over the largest capital so far."""
        return np.exp(-self.state.log_peak).item()

    @property
    @cython.critical_section
    def restarts(self):
        """Whether capital is staked anew with time (bool)."""
        return bool(self.state.restarts)

    @property
    @cython.critical_section
    def digest(self):
        """SHA-256 of `snapshot`, as 64 hexadecimal digits (str)."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    @cython.critical_section
    def snapshot(self):
        """The state as bytes: the same state gives the same bytes.

        Returns
        -------
        bytes
        """
        self.check_idle()
        capital = [self.state.capital[j] for j in range(MS_BETS)]
        return sealed(_CAPITAL_MAGIC + _CAPITAL.pack(
            *capital, self.state.cash, self.state.log_scale, self.state.log_capital,
            self.state.log_peak, self.state.n, self.state.restarts,
        ))

    @cython.critical_section
    def restore(self, snapshot):
        """Go on from where `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes

        Raises
        ------
        ArgumentValueError
            Damaged, of something else, or of one with other `restarts`. Nothing has changed.
        ArgumentTypeError
            Not bytes.
        """
        cdef ms_eprocess other
        self.check_idle()
        data = unsealed(
            snapshot, _CAPITAL_MAGIC, "EProcess", least=len(_CAPITAL_MAGIC) + _CAPITAL.size
        )
        if len(data) != len(_CAPITAL_MAGIC) + _CAPITAL.size:
            raise ArgumentValueError("snapshot must be whole, got one of another length")
        fields = _CAPITAL.unpack_from(data, len(_CAPITAL_MAGIC))
        *capital, cash, log_scale, log_capital, log_peak, n, restarts = fields
        for j in range(MS_BETS):
            other.capital[j] = capital[j]
        other.cash, other.log_scale, other.log_capital = cash, log_scale, log_capital
        other.log_peak, other.n, other.restarts = log_peak, n, restarts
        if other.restarts != self.state.restarts:
            raise ArgumentValueError(
                f"snapshot must be of restarts={self.restarts}, got one of the other kind"
            )
        if other.n >= <uint64_t>_COUNT_LIMIT or not ms_eprocess_valid(&other):
            raise ArgumentValueError("snapshot must hold a state of an EProcess, got none")
        self.state = other

    def __reduce__(self):
        return restored, (type(self), (self.restarts,), self.snapshot())

    def __copy__(self):
        return restored(type(self), (self.restarts,), self.snapshot())

    def __deepcopy__(self, memo):
        return self.__copy__()

    @cython.critical_section
    def __repr__(self):
        return (
            f"<EProcess: capital {np.exp(min(self.state.log_capital, 700.0)):.4g}"
            f" after {self.state.n} values>"
        )


def restored(cls, arguments, snapshot):
    """An object of these arguments, in the state of a snapshot: what pickles call."""
    made = cls(*arguments)
    made.restore(snapshot)
    return made


def level_of(name, value):
    """A level within (0, 1], as float."""
    number = check_real(name, value)
    if not 0 < number <= 1:
        raise ArgumentValueError(f"{name} must be within (0, 1], got {value!r}")
    return number


cdef class ConfidenceSequence:
    """ConfidenceSequence(low=0.0, high=1.0, alpha=0.05, method='betting', side='both', \
tuned_for=100, cells=1000)\n--\n\n\
    An interval for the mean of bounded values that holds at all times at once.

    Parameters
    ----------
    low, high : float
        Bounds of the values.
    alpha : float, default 0.05
        Probability, within (0, 1), that the guarantee below fails at any time, ever.
    method : {'betting', 'bernstein', 'hoeffding'}
        See Notes: they differ in what they promise.
    side : {'both', 'lower', 'upper'}
        One-sided bounds spend all of `alpha` on theirs; the other one stays `low` or `high`.
    tuned_for : int, default 100
        Number of values at which ``'hoeffding'`` is narrowest.
    cells : int, default 1000
        Cells of the grid of means of ``'betting'``, from 2 to 1000000: its bounds are multiples of
        ``(high - low) / cells``, rounded outwards.

    Raises
    ------
    ArgumentValueError
        ``low >= high``, or an argument out of its range.
    ArgumentTypeError
        An argument of another type.

    Notes
    -----
    Values may depend on all that came before. Let m_t be the expectation of value t given those
    before it.

    ``'betting'``: Waudby-Smith and Ramdas (2024), hedged capital with the predictable plug-in bets
    of their equation (26), theta = 1/2, c = 1/2, on a grid. With probability at least ``1 - alpha``,
    at all times t, ``lower <= max(m_1 .. m_t)`` and ``upper >= min(m_1 .. m_t)``. Where m_t is a
    constant, as of independent values alike, that is the mean. What was excluded once stays excluded
    (the running intersection): this is covered by the guarantee, since the largest m_t so far only
    grows. It says nothing about the average of the m_t; where they drift, the interval may become
    empty, and `consistent` false.

    ``'bernstein'``: Howard, Ramdas, McAuliffe and Sekhon (2021), theorem 4, with a discrete mixture
    over 40 rates (their section 3.2) as its boundary. With probability at least ``1 - alpha``, at all
    times t, ``lower <= (m_1 + .. + m_t) / t <= upper``. For drifting means this is the one to take.
    No running intersection, as the target moves. Its width follows the variance of the values.

    ``'hoeffding'``: the same promise as ``'bernstein'`` whatever the variance, from the normal
    mixture for sub-Gaussian sums (propositions 5 and 6 there).

    One update: some 20 ns, with ``'betting'`` some 0.5 ns for each cell and side more. Bounds of
    ``'bernstein'`` are computed when asked for, some 2 us. Not thread-safe. `update_many` releases
    the GIL for 256 values or more, or any number with ``'betting'``.

    References
    ----------
    I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS-B
    86(1), 2024.

    S. R. Howard, A. Ramdas, J. McAuliffe and J. Sekhon, "Time-uniform, nonparametric,
    nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021.

    Examples
    --------
    >>> from midstream.meta import ConfidenceSequence
    >>> interval = ConfidenceSequence(alpha=0.05)
    >>> interval.update_many([1, 0, 1, 1] * 50)
    >>> interval.n, interval.mean
    (200, 0.75)
    >>> round(interval.lower, 3), round(interval.upper, 3)
    (0.644, 0.844)
    """

    cdef ms_sums sums
    cdef ms_betting below, above
    cdef double low_, high_, alpha_, level, log_level, tuned_for_, bound, bound_of
    cdef int method_, side_
    cdef size_t cells_
    cdef bint busy

    def __cinit__(self, low=0.0, high=1.0, alpha=0.05, method="betting", side="both",
                  tuned_for=100, cells=1000):
        self.low_ = check_real("low", low)
        self.high_ = check_real("high", high)
        if not self.low_ < self.high_ or self.high_ - self.low_ == INFINITY:
            raise ArgumentValueError(f"low must be below high, got {low!r} and {high!r}")
        self.alpha_ = check_real("alpha", alpha)
        if not 0 < self.alpha_ < 1:
            raise ArgumentValueError(f"alpha must be within (0, 1), got {alpha!r}")
        self.method_ = METHODS.index(check_choice("method", method, METHODS))
        self.side_ = SIDES.index(check_choice("side", side, SIDES))
        self.tuned_for_ = check_int("tuned_for", tuned_for, low=1, high=1 << 40)
        self.cells_ = check_int("cells", cells, low=2, high=1000000)
        self.level = self.alpha_ / 2 if self.side_ == 0 else self.alpha_
        if self.level == 0:
            raise ArgumentValueError(f"alpha must be no less than 1e-323, got {alpha!r}")
        self.log_level = -log(self.level)
        if self.method_ == 0 and (
            (self.side_ != 2
             and ms_betting_init(&self.below, self.cells_, self.level) != MS_CONFIDENCE_OK)
            or (self.side_ != 1
                and ms_betting_init(&self.above, self.cells_, self.level) != MS_CONFIDENCE_OK)
        ):
            raise MemoryError("no memory for a confidence sequence of this many cells")

    def __dealloc__(self):
        ms_betting_free(&self.below)
        ms_betting_free(&self.above)

    cdef int check_idle(self) except -1:
        if self.busy:
            raise MidstreamError("a ConfidenceSequence is used by one thread at a time")
        return 0

    cdef void take(self, double value) noexcept nogil:
        # Scaled; rounding may not lead out of [0, 1].
        cdef double x = fmin(1, fmax(0, (value - self.low_) / (self.high_ - self.low_))), bet
        if self.method_ == 0:
            bet = ms_sums_bet(&self.sums, self.log_level)
            if self.side_ != 2:
                ms_betting_update(&self.below, x, bet)
            if self.side_ != 1:
                ms_betting_update(&self.above, 1 - x, bet)
        ms_sums_update(&self.sums, x)

    @cython.critical_section
    def update(self, x):
        """Take one value.

        Parameters
        ----------
        x : float
            Within ``[low, high]``.

        Raises
        ------
        ArgumentValueError
            Outside, or NaN. Nothing was taken.
        ArgumentTypeError
            No real number.
        """
        cdef double value
        if self.busy:
            self.check_idle()
        value = PyFloat_AS_DOUBLE(x) if PyFloat_CheckExact(x) else check_real("x", x)
        if not self.low_ <= value <= self.high_:
            raise ArgumentValueError(f"x must be within [{self.low_}, {self.high_}], got {x!r}")
        self.take(value)

    @cython.critical_section
    def update_many(self, xs):
        """Take many values.

        Parameters
        ----------
        xs : (n,) array_like of float
            As for `update`.

        Raises
        ------
        ArgumentValueError
            One is outside, or NaN. Nothing was taken.
        ArgumentTypeError
            No real numbers.

        Notes
        -----
        Ctrl-C ends it between two values: those before it were taken.
        """
        cdef const double[::1] row
        cdef Py_ssize_t i = 0, n, end, piece = PIECE
        self.check_idle()
        row = bounded_row(xs, "xs", self.low_, self.high_)
        n = row.shape[0]
        if n < LONG and self.method_ != 0:
            for i in range(n):
                self.take(row[i])
            return
        self.check_idle()  # again: another thread may have had its turn while the row was made
        if self.method_ == 0:
            piece = max(1, CELLS // <Py_ssize_t>self.cells_)
        self.busy = True
        try:
            while True:
                end = min(n, i + piece)
                with nogil:
                    while i < end:
                        self.take(row[i])
                        i += 1
                if i == n:
                    return
                PyErr_CheckSignals()
        finally:
            self.busy = False

    cdef double margin(self):
        """How far the mean of the scaled values may stand off."""
        cdef double n = <double>self.sums.n
        # Newton's steps are paid once for both bounds.
        if self.bound_of != n:
            if self.method_ == 1:
                self.bound = ms_bernstein_margin(self.sums.squares, self.level) / n
            else:
                self.bound = ms_hoeffding_margin(
                    n, self.alpha_, self.side_ == 0, self.tuned_for_
                ) / n
            self.bound_of = n
        return self.bound

    @property
    @cython.critical_section
    def lower(self):
        """Lower bound of the target (float): at least `low`."""
        cdef double x = 0
        self.check_idle()
        if self.side_ == 2 or self.sums.n == 0:
            return self.low_
        if self.method_ == 0:
            x = ms_betting_lower(&self.below)
        else:
            x = fmax(0, self.sums.sum / <double>self.sums.n - self.margin())
        return fmin(self.high_, self.low_ + (self.high_ - self.low_) * x)

    @property
    @cython.critical_section
    def upper(self):
        """Upper bound of the target (float): at most `high`."""
        cdef double x = 0
        self.check_idle()
        if self.side_ == 1 or self.sums.n == 0:
            return self.high_
        if self.method_ == 0:
            x = ms_betting_lower(&self.above)
        else:
            x = fmax(0, 1 - self.sums.sum / <double>self.sums.n - self.margin())
        return fmax(self.low_, self.high_ - (self.high_ - self.low_) * x)

    @property
    @cython.critical_section
    def consistent(self):
        """Whether ``lower <= upper`` (bool): if not, the expectations cannot all be equal."""
        return self.lower <= self.upper

    @property
    @cython.critical_section
    def mean(self):
        """Mean of the values (float); NaN where there are none."""
        if self.sums.n == 0:
            return NAN
        return self.low_ + (self.high_ - self.low_) * (self.sums.sum / <double>self.sums.n)

    @property
    @cython.critical_section
    def n(self):
        """Values so far (int)."""
        return self.sums.n

    @property
    @cython.critical_section
    def low(self):
        """Lower bound of the values (float)."""
        return self.low_

    @property
    @cython.critical_section
    def high(self):
        """Upper bound of the values (float)."""
        return self.high_

    @property
    @cython.critical_section
    def alpha(self):
        """Probability that the guarantee fails (float)."""
        return self.alpha_

    @property
    @cython.critical_section
    def method(self):
        """Which bound: 'betting', 'bernstein' or 'hoeffding' (str)."""
        return METHODS[self.method_]

    @property
    @cython.critical_section
    def side(self):
        """Which sides are bounded: 'both', 'lower' or 'upper' (str)."""
        return SIDES[self.side_]

    @property
    @cython.critical_section
    def digest(self):
        """SHA-256 of `snapshot`, as 64 hexadecimal digits (str)."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    cdef tuple arguments(self):
        return (self.low_, self.high_, self.alpha_, self.method, self.side, int(self.tuned_for_),
                self.cells_)

    cdef bytes config(self):
        return _ARGUMENTS.pack(
            self.low_, self.high_, self.alpha_, self.tuned_for_, self.cells_, self.method_, self.side_
        )

    cdef bytes side_bytes(self, ms_betting *side):
        cdef size_t n = side.cells + 1
        if side.mantissa == NULL:
            return b""
        return (
            _SIDE.pack(side.excluded, side.up, side.down)
            + np.asarray(<double[:n]>side.mantissa).astype("<f8").tobytes()
            + np.asarray(<int32_t[:n]>side.exponent).astype("<i4").tobytes()
        )

    @cython.critical_section
    def snapshot(self):
        """The state as bytes: the same state gives the same bytes.

        Returns
        -------
        bytes
            Some 90; with ``'betting'``, 12 for each cell and side more.
        """
        self.check_idle()
        return sealed(
            _SEQUENCE_MAGIC + self.config()
            + _SUMS.pack(self.sums.n, self.sums.sum, self.sums.squares, self.sums.squares1)
            + self.side_bytes(&self.below) + self.side_bytes(&self.above)
        )

    cdef object side_of(self, bytes data, size_t at, ms_betting *side):
        """What `side_bytes` wrote: excluded, up, down, mantissas, exponents; checked."""
        cdef size_t n = side.cells + 1
        excluded, up, down = _SIDE.unpack_from(data, at)
        mantissa = np.frombuffer(data, "<f8", n, at + _SIDE.size).astype(np.float64)
        exponent = np.frombuffer(data, "<i4", n, at + _SIDE.size + 8 * n).astype(np.int32)
        # The exponents' bound leaves room for 2**20 updates before they could wrap.
        if not (
            excluded <= n and 0 <= up <= 500 and 0 <= down <= 500
            and bool(((mantissa > 0) & (mantissa < 2.0 ** 450)).all())
            and bool((np.abs(exponent.astype(np.int64)) < 1 << 30).all())
        ):
            raise ArgumentValueError("snapshot must hold a state of a ConfidenceSequence, got none")
        return excluded, up, down, mantissa, exponent

    cdef void set_side(self, object fields, ms_betting *side):
        cdef size_t n = side.cells + 1
        excluded, up, down, mantissa, exponent = fields
        side.excluded, side.up, side.down = excluded, up, down
        np.asarray(<double[:n]>side.mantissa)[:] = mantissa
        np.asarray(<int32_t[:n]>side.exponent)[:] = exponent

    @cython.critical_section
    def restore(self, snapshot):
        """Go on from where `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes

        Raises
        ------
        ArgumentValueError
            Damaged, of something else, or of one with other arguments. Nothing has changed.
        ArgumentTypeError
            Not bytes.
        """
        cdef size_t per_side = _SIDE.size + 12 * (self.cells_ + 1)
        cdef ms_sums sums
        self.check_idle()
        config = _SEQUENCE_MAGIC + self.config()
        n_sides = (self.below.mantissa != NULL) + (self.above.mantissa != NULL)
        data = unsealed(snapshot, _SEQUENCE_MAGIC, "ConfidenceSequence")
        if not data.startswith(config):
            raise ArgumentValueError("snapshot must be of the same arguments, got one of others")
        if len(data) != len(config) + _SUMS.size + n_sides * per_side:
            raise ArgumentValueError("snapshot must be whole, got one of another length")
        sums.n, sums.sum, sums.squares, sums.squares1 = _SUMS.unpack_from(data, len(config))
        n = float(sums.n)
        if not (
            sums.n < <uint64_t>_COUNT_LIMIT and 0 <= sums.sum <= n and 0 <= sums.squares <= n
            and 0 <= sums.squares1 <= n
        ):
            raise ArgumentValueError("snapshot must hold a state of a ConfidenceSequence, got none")
        at = len(config) + _SUMS.size
        below = above = None
        if self.below.mantissa != NULL:
            below = self.side_of(data, at, &self.below)
            at += per_side
        if self.above.mantissa != NULL:
            above = self.side_of(data, at, &self.above)
        if below is not None:
            self.set_side(below, &self.below)
        if above is not None:
            self.set_side(above, &self.above)
        self.sums = sums
        self.bound_of = 0

    def __reduce__(self):
        return restored, (type(self), self.arguments(), self.snapshot())

    def __copy__(self):
        return restored(type(self), self.arguments(), self.snapshot())

    def __deepcopy__(self, memo):
        return self.__copy__()

    @cython.critical_section
    def __repr__(self):
        return (
            f"<ConfidenceSequence: [{self.lower:.4g}, {self.upper:.4g}] after {self.sums.n} values,"
            f" alpha={self.alpha_:g}, {self.method}>"
        )
