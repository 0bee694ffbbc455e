# cython: freethreading_compatible=True
"""Binding of csrc/ms_soft: soft dynamic time warping with derivatives."""

from libc.math cimport NAN, INFINITY
from libc.stdlib cimport free, malloc

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll
from midstream.compare._series cimport (NAN_REFUSE, NanPolicy, Series, as_double,
                                        as_nan_policy, as_series)

from midstream._core._cpu import available_levels
from midstream._core.errors import ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.validate import check_choice, check_int, check_real
from midstream.compare.results import SoftGradient

cdef extern from "ms_soft.h":
    const ms_soft_kernels *ms_soft_select(ms_simd_level level) noexcept nogil
    size_t ms_soft_value_workspace(const ms_soft_kernels *kernels,
                                   const ms_soft_task *task) noexcept nogil
    size_t ms_soft_gradient_workspace(const ms_soft_kernels *kernels,
                                      const ms_soft_task *task) noexcept nogil
    int ms_soft_value(const ms_soft_kernels *kernels, const ms_soft_task *task, double *workspace,
                      ms_poll *poll, double *value) noexcept nogil
    int ms_soft_gradient(const ms_soft_kernels *kernels, const ms_soft_task *task,
                         double *workspace, ms_poll *poll, double *value, double *gradient,
                         double *alignment) noexcept nogil
    double ms_soft_exp2_negative(double t, double *exponent) noexcept nogil
    double ms_soft_log2(double m) noexcept nogil

cdef const ms_soft_kernels *KERNELS = ms_soft_select(<ms_simd_level>simd_level_number())


cdef double as_gamma(object value) except -1:
    cdef double gamma = check_real("gamma", value)
    if gamma <= 0:
        raise ArgumentValueError(
            f"gamma must be above 0, got {value!r}: without smoothing, soft-DTW is the squared"
            " sum of dtw(x, y) ** 2"
        )
    return check_real("gamma", value, low=1e-200, high=1e200)


cdef Band as_band(object window, object band) except *:
    cdef Band result
    # A smooth minimum has no use for 'slanted', whose cells a step cannot always reach.
    check_choice("band", band, ("sakoe", "widened"))
    result.widened = band == "widened"
    result.radius = 1 << 62
    if window is not None:
        result.radius = <size_t>min(check_int("window", window, low=0), 1 << 62)
    return result


cdef double as_cutoff(object value) except? -1:
    if value is None:
        return INFINITY
    return check_real("cutoff", value, finite=False)


cdef int check_dimensions(Series x, Series y, object x_name, object y_name) except -1:
    if x.d != y.d:
        raise ArgumentValueError(
            f"{x_name} and {y_name} must have the same number of dimensions,"
            f" got {x.d} and {y.d}"
        )
    return 0


cdef size_t workspace_size(const ms_soft_task *task) noexcept nogil:
    return ms_soft_value_workspace(KERNELS, task)


cdef int compare(const ms_soft_task *task, double *workspace, ms_poll *poll,
                 double *value) noexcept nogil:
    return ms_soft_value(KERNELS, task, workspace, poll, value)


cdef ms_soft_task task_of(Series x, Series y, double gamma, Band band) noexcept:
    cdef ms_soft_task task
    task.x = <const double *>x.data
    task.y = <const double *>y.data
    task.n = <size_t>x.n
    task.m = <size_t>y.n
    task.d = <size_t>x.d
    task.gamma = gamma
    task.below = band.radius + (task.n - task.m if band.widened and task.n > task.m else 0)
    task.above = band.radius + (task.m - task.n if band.widened and task.m > task.n else 0)
    return task


cdef double *take(object what, size_t count) except NULL:
    """A workspace of `count` doubles; the caller frees it."""
    check_memory(what, 8 * <object>count)
    cdef double *workspace = <double *>malloc(count * sizeof(double))
    if workspace == NULL:
        raise MemoryError(f"no memory for {what}")
    return workspace


cdef double value_of(Series x, Series y, double gamma, Band band, Poll poll) except? -1:
    cdef ms_soft_task task = task_of(x, y, gamma, band)
    cdef double value = NAN
    cdef int status
    cdef double *workspace = take(f"soft_dtw of {x.n} by {y.n} samples",
                                  workspace_size(&task))
    try:
        with nogil:
            status = compare(&task, workspace, &poll.poll, &value)
    finally:
        free(workspace)
    if status:
        poll.reraise()
    return value


def soft_dtw(x, y, *, gamma=1.0, window=None, cutoff=None, band="sakoe",
             nan_policy="raise"):
    """Soft dynamic time warping: a smooth minimum over all alignments.

    Parameters
    ----------
    x, y : (n,) or (n, d), and (m,) or (m, d) array_like of real numbers
        Series; lengths may differ. Computed in float64, whatever they hold.
    gamma : float, default 1.0
        Smoothing, 1e-200 to 1e200, in the unit of the squared samples. The smaller, the nearer to
        the squared sum that is the square of `dtw`.
    window : int, optional
        Sakoe-Chiba radius, inclusive, in samples: only cells with ``abs(i - j) <= window``.
    band : {'sakoe', 'widened'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit;
        ``'widened'`` extends one side by the difference of the lengths.
    cutoff : float, optional
        A value above it is answered as ``inf``. It saves no time: values may be negative, so no
        comparison can be given up early.
    nan_policy : {'raise', 'propagate', 'omit'}, default 'raise'
        What to do with samples that are NaN.

    Returns
    -------
    float
        May be negative, and ``soft_dtw(x, x)`` is below 0 rather than 0; see
        `soft_dtw_divergence`. ``inf`` where the window leaves no alignment.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument has the wrong type, shape or range.

    See Also
    --------
    soft_dtw_gradient, soft_dtw_alignment, soft_dtw_divergence

    Notes
    -----
    With ``c(i, j)`` the squared Euclidean distance of two samples and A the set of alignments,
    this is ``-gamma * log(sum over A of exp(-cost / gamma))`` [1]_, eq. (2). It is symmetric to the
    last bit, and the same on every processor that the library supports.

    Time is proportional to the cells within the window, about 1 ns each and dimension; memory to
    m. The absolute error is within a few units in the last place of ``(n + m) * gamma`` and of the
    value. Costs above 1e289 gamma count as infinite. Releases the GIL; thread-safe as long as
    nobody writes to `x` and `y`.

    References
    ----------
    .. [1] M. Cuturi, M. Blondel, "Soft-DTW: a Differentiable Loss Function for Time-Series",
       ICML 2017.

    Examples
    --------
    >>> from midstream.compare import soft_dtw
    >>> round(soft_dtw([1, 2, 2, 3], [1, 2, 3, 4], gamma=1.0), 3)
    -0.895
    >>> round(soft_dtw([1, 2, 2, 3], [1, 2, 3, 4], gamma=0.001), 3)
    1.0
    """
    cdef NanPolicy policy = as_nan_policy(nan_policy)
    cdef Series a = as_series("x", x, policy), b = as_series("y", y, policy)
    cdef double smoothing = as_gamma(gamma), limit = as_cutoff(cutoff), value
    cdef Band limits = as_band(window, band)
    check_dimensions(a, b, "x", "y")
    if a.missing or b.missing:
        return NAN
    value = value_of(as_double("x", a), as_double("y", b), smoothing, limits, Poll())
    return INFINITY if value > limit else value


cdef tuple derivatives(object x, object y, object gamma, object window, object band,
                       bint want_gradient,
                       bint want_alignment, const ms_soft_kernels *kernels):
    """(value, gradient or None, alignment or None)"""
    import numpy as np

    cdef Series a = as_series("x", x, NAN_REFUSE), b = as_series("y", y, NAN_REFUSE)
    cdef double smoothing = as_gamma(gamma), value = NAN
    cdef Band limits = as_band(window, band)
    cdef double[:, ::1] gradient
    cdef double[:, ::1] alignment
    cdef double *gradient_data = NULL
    cdef double *alignment_data = NULL
    cdef int status
    cdef Poll poll = Poll()
    check_dimensions(a, b, "x", "y")
    flat = a.view.ndim == 1
    a = as_double("x", a)
    b = as_double("y", b)
    cdef ms_soft_task task = task_of(a, b, smoothing, limits)
    what = f"the gradient of soft_dtw of {a.n} by {b.n} samples"
    gradient_array = alignment_array = None
    cdef size_t count = ms_soft_gradient_workspace(kernels, &task)
    if want_alignment:
        check_memory(what, 8 * (<object>count + <object>a.n * <object>b.n))
        alignment_array = np.empty((a.n, b.n))
        alignment = alignment_array
        alignment_data = &alignment[0, 0]
    if want_gradient:
        gradient_array = np.empty((a.n, a.d))
        gradient = gradient_array
        gradient_data = &gradient[0, 0]
    cdef double *workspace = take(what, count)
    try:
        with nogil:
            status = ms_soft_gradient(kernels, &task, workspace, &poll.poll, &value,
                                      gradient_data, alignment_data)
    finally:
        free(workspace)
    if status:
        poll.reraise()
    if want_gradient and flat:
        gradient_array = gradient_array.reshape(-1)
    return value, gradient_array, alignment_array


def soft_dtw_gradient(x, y, *, gamma=1.0, window=None, band="sakoe"):
    """Soft-DTW and its gradient by the first series.

    Parameters
    ----------
    x, y : (n,) or (n, d), and (m,) or (m, d) array_like of real numbers
    gamma : float, default 1.0
        Smoothing, above 0.
    window : int, optional
        Sakoe-Chiba radius, inclusive, in samples.
    band : {'sakoe', 'widened'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit;
        ``'widened'`` extends one side by the difference of the lengths.

    Returns
    -------
    SoftGradient
        ``(value, gradient)``: float, and a float64 array of the shape of `x`, in the unit of the
        samples. Where the value is ``inf``, the gradient is NaN.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument has the wrong type, shape or range.
    MemoryLimitError
        The working memory does not fit.

    See Also
    --------
    soft_dtw, soft_dtw_alignment

    Notes
    -----
    The table is not kept: one row in 4 to 16 is, and the rows between are computed again on the way
    back. So memory is 1 to 4 bytes a cell, and time about two and a half times that of the value.
    Releases the GIL; thread-safe as long as nobody writes to `x` and `y`.

    References
    ----------
    M. Cuturi, M. Blondel, "Soft-DTW: a Differentiable Loss Function for Time-Series", ICML 2017,
    algorithm 2.

    Examples
    --------
    >>> from midstream.compare import soft_dtw_gradient
    >>> value, gradient = soft_dtw_gradient([1.0, 2.0, 3.0], [3.0, 4.0, -3.0], gamma=1.0)
    >>> round(value, 4), gradient.round(4).tolist()
    (41.1876, [-4.0001, -2.2852, 10.1643])
    """
    value, gradient, _ = derivatives(x, y, gamma, window, band, True, False, KERNELS)
    return SoftGradient(value, gradient)


def soft_dtw_alignment(x, y, *, gamma=1.0, window=None, band="sakoe"):
    """The expected alignment of two series under soft-DTW.

    Parameters
    ----------
    x, y : (n,) or (n, d), and (m,) or (m, d) array_like of real numbers
    gamma : float, default 1.0
        Smoothing, above 0.
    window : int, optional
        Sakoe-Chiba radius, inclusive, in samples.
    band : {'sakoe', 'widened'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit;
        ``'widened'`` extends one side by the difference of the lengths.

    Returns
    -------
    (n, m) ndarray of float64
        The probability that an alignment goes through each cell, where alignments are drawn with
        weights ``exp(-cost / gamma)``; also the gradient of `soft_dtw` by the pointwise costs. NaN
        where the window leaves no alignment.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument has the wrong type, shape or range.
    MemoryLimitError
        The result does not fit.

    See Also
    --------
    soft_dtw_gradient

    Notes
    -----
    Cost and thread-safety are those of `soft_dtw_gradient`, and 8 bytes a cell for the result.

    References
    ----------
    M. Cuturi, M. Blondel, "Soft-DTW: a Differentiable Loss Function for Time-Series", ICML 2017,
    section 2.2.

    Examples
    --------
    >>> from midstream.compare import soft_dtw_alignment
    >>> soft_dtw_alignment([0.0, 0.0, 1.0], [0.0, 1.0], gamma=0.1).round(3).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    return derivatives(x, y, gamma, window, band, False, True, KERNELS)[2]


def soft_dtw_divergence(x, y, *, gamma=1.0, window=None, band="sakoe", nan_policy="raise"):
    """Soft-DTW, shifted so that equal series are 0 apart.

    Parameters
    ----------
    x, y : (n,) or (n, d), and (m,) or (m, d) array_like of real numbers
    gamma : float, default 1.0
        Smoothing, above 0.
    window : int, optional
        Sakoe-Chiba radius, inclusive, in samples.
    band : {'sakoe', 'widened'}
        Where the lengths differ: ``'sakoe'`` keeps to `window`, and no path may fit;
        ``'widened'`` extends one side by the difference of the lengths.
    nan_policy : {'raise', 'propagate', 'omit'}, default 'raise'
        What to do with samples that are NaN.

    Returns
    -------
    float
        ``soft_dtw(x, y) - (soft_dtw(x, x) + soft_dtw(y, y)) / 2``: 0 for equal series, symmetric;
        not negative in experiments, and proven so for a related point cost [1]_.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument has the wrong type, shape or range.

    See Also
    --------
    soft_dtw

    Notes
    -----
    Three comparisons, so three times the time of `soft_dtw`. Releases the GIL; thread-safe.

    References
    ----------
    .. [1] M. Blondel, A. Mensch, J.-P. Vert, "Differentiable Divergences between Time Series",
       AISTATS 2021, eq. (8).

    Examples
    --------
    >>> from midstream.compare import soft_dtw_divergence
    >>> soft_dtw_divergence([1, 2, 2, 3], [1, 2, 2, 3])
    0.0
    >>> round(soft_dtw_divergence([1, 2, 2, 3], [1, 2, 3, 4]), 3)
    1.309
    """
    cdef NanPolicy policy = as_nan_policy(nan_policy)
    cdef Series a = as_series("x", x, policy), b = as_series("y", y, policy)
    cdef double smoothing = as_gamma(gamma), within_x, within_y, between
    cdef Band limits = as_band(window, band)
    cdef Poll poll = Poll()
    check_dimensions(a, b, "x", "y")
    if a.missing or b.missing:
        return NAN
    a = as_double("x", a)
    b = as_double("y", b)
    within_x = value_of(a, a, smoothing, limits, poll)
    within_y = value_of(b, b, smoothing, limits, poll)
    between = value_of(a, b, smoothing, limits, poll)
    return between - (0.5 * within_x + 0.5 * within_y)


def at_level(level, x, y, *, gamma=1.0, window=None, band="sakoe"):
    """Value, gradient and alignment by the kernels of a named level, for tests of equality.

    Parameters
    ----------
    level : str
        One of `available_levels`.
    x, y, gamma, window
        As for `soft_dtw_gradient`.

    Returns
    -------
    tuple
        ``(value alone, value, gradient, alignment)``

    Raises
    ------
    ArgumentValueError
        This machine has no such level.
    """
    numbers = {"scalar": 0, "neon": 1, "avx2": 2, "avx512": 3}
    if level not in available_levels():
        raise ArgumentValueError(f"level must be one of {available_levels()}, got {level!r}")
    cdef int number = numbers[level]
    cdef const ms_soft_kernels *kernels = ms_soft_select(<ms_simd_level>number)
    cdef Series a = as_double("x", as_series("x", x, NAN_REFUSE))
    cdef Series b = as_double("y", as_series("y", y, NAN_REFUSE))
    cdef ms_soft_task task = task_of(a, b, as_gamma(gamma), as_band(window, band))
    cdef double alone
    cdef double *workspace = take("soft_dtw", ms_soft_value_workspace(kernels, &task))
    try:
        ms_soft_value(kernels, &task, workspace, NULL, &alone)
    finally:
        free(workspace)
    return alone, *derivatives(x, y, gamma, window, band, True, True, kernels)


def elementary(t, m):
    """``2**-t`` as (mantissa, exponent), and ``log2(m)``, as the kernels compute them; for tests.

    Parameters
    ----------
    t : float
        At least 0.
    m : float
        1 to below 2.

    Returns
    -------
    tuple of float
        ``(mantissa, exponent, logarithm)``: ``2**-t`` is about ``mantissa * 2**-exponent``.
    """
    cdef double exponent
    cdef double mantissa = ms_soft_exp2_negative(t, &exponent)
    return mantissa, exponent, ms_soft_log2(m)
