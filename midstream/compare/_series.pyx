# cython: freethreading_compatible=True
"""Numeric series on their way into a kernel: one place that checks and converts them.

A `Series` holds a buffer of C-contiguous float64 or float32 of shape (n,) or (n, d), all finite.
float32 (and float16) stays single precision, everything else real becomes float64; integers above
2**53 lose digits in that. Arrays that are already so are used in place, without a copy.
"""

from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release,
                             PyObject_CheckBuffer, PyObject_GetBuffer)

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice

cdef extern from "ms_series.h":
    size_t ms_series_first_bad_f64(const double *values, size_t n) noexcept nogil
    size_t ms_series_first_bad_f32(const float *values, size_t n) noexcept nogil


cdef NanPolicy as_nan_policy(object value) except *:
    check_choice("nan_policy", value, ("raise", "propagate", "omit"))
    if value == "raise":
        return NAN_RAISE
    if value == "propagate":
        return NAN_PROPAGATE
    return NAN_OMIT


cdef bint is_float_format(const char *format) noexcept nogil:
    """Native float64 or float32: what kernels take as it is."""
    return format != NULL and (format[0] == b"d" or format[0] == b"f") and format[1] == 0


cdef class Series:
    """A checked series; see the module."""

    def __cinit__(self):
        self.held = False

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef int fill_converted(self, object name, object array) except -1:
        """Take an array that is what kernels take."""
        if not self.fill(name, array):
            raise SystemError(f"{name} was not converted: {array.dtype} {array.flags}")
        return 0

    cdef int fill(self, object name, object array) except -1:
        """Take `array`, whose buffer is contiguous. Returns 0 if it needs conversion first."""
        cdef size_t total, bad
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        self.held = True
        if not is_float_format(self.view.format) or not 1 <= self.view.ndim <= 2:
            PyBuffer_Release(&self.view)
            self.held = False
            return 0
        self.n = self.view.shape[0]
        self.d = self.view.shape[1] if self.view.ndim == 2 else 1
        self.single = self.view.format[0] == b"f"
        self.data = self.view.buf
        if self.n == 0:
            raise ArgumentValueError(f"{name} is empty: a series needs at least one sample")
        if self.d == 0:
            raise ArgumentValueError(f"{name} has no dimensions: shape {array.shape}")
        total = <size_t>self.n * <size_t>self.d
        if self.single:
            bad = ms_series_first_bad_f32(<const float *>self.data, total)
        else:
            bad = ms_series_first_bad_f64(<const double *>self.data, total)
        if bad != total:
            self.missing = True
        return 1


#: numpy.ndarray once it was needed: what is exactly that has no mask.
cdef object PLAIN = None


cdef object unmasked(object value):
    """`value`, but with NaN for what is masked of an array of numbers."""
    import numpy as np

    global PLAIN
    if PLAIN is None:
        PLAIN = np.ndarray
    if not isinstance(value, np.ma.MaskedArray):
        return value
    if value.dtype.kind not in "fiub" or not np.ma.is_masked(value):
        return value
    return value.astype(value.dtype if value.dtype.kind == "f" else np.float64).filled(np.nan)


cdef object to_array(object name, object value):
    """A C-contiguous native float array of one or two axes."""
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentValueError(f"{name} is no array of numbers: {error}") from None
    if array.ndim == 0 and not isinstance(value, np.ndarray):
        raise ArgumentTypeError(
            f"{name} must be a sequence of real numbers, got {type(value).__name__}"
        )
    if array.ndim != 1 and array.ndim != 2:
        raise ArgumentValueError(
            f"{name} must have shape (n,) or (n, d), got {array.ndim} axes: {array.shape}"
        )
    if array.size == 0 and array.ndim == 1:
        raise ArgumentValueError(f"{name} is empty: a series needs at least one sample")
    if array.dtype.kind not in "fiub":
        raise ArgumentTypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    single = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    with np.errstate(over="ignore"):  # longdouble beyond float64 becomes inf, and is refused as such
        return np.require(array, np.float32 if single else np.float64, "CA")


cdef Series resolve_missing(object name, object array, NanPolicy policy):
    """What to do with a series that holds NaN or inf."""
    import numpy as np

    cdef Series series
    infinite = np.isinf(array)
    bad = infinite if infinite.any() else np.isnan(array)
    first = tuple(int(index) for index in np.argwhere(bad)[0])
    place = f"{name}[{', '.join(map(str, first))}]"
    if infinite.any():
        raise ArgumentValueError(f"{name} must be finite, got {array[first]} at {place}")
    if policy == NAN_RAISE or policy == NAN_REFUSE:
        raise ArgumentValueError(
            f"{name} must be finite, got nan at {place}" + (
                " (nan_policy='omit' leaves such samples out, 'propagate' answers nan)"
                if policy == NAN_RAISE else ""
            )
        )
    if policy == NAN_PROPAGATE:
        series = Series.__new__(Series)
        series.fill_converted(name, array)
        return series
    kept = array[~(bad if array.ndim == 1 else bad.any(axis=1))]
    if len(kept) == 0:
        raise ArgumentValueError(f"{name} holds nothing but nan: no sample is left")
    series = Series.__new__(Series)
    series.fill_converted(name, np.ascontiguousarray(kept))
    return series


cdef Series as_series(object name, object value, NanPolicy policy):
    """Check `value`, the argument called `name`; copy it only where it must be converted."""
    cdef Series series = Series.__new__(Series)
    cdef bint filled = False
    if type(value) is not PLAIN and type(value) is not list and type(value) is not tuple:
        value = unmasked(value)
    # Only numpy's arrays (or what exports the same formats) go in directly.
    if PyObject_CheckBuffer(value) and not isinstance(value, (bytes, bytearray)):
        try:
            filled = series.fill(name, value)
        except BufferError:
            filled = False  # not contiguous
        except ValueError:
            if series.held:  # ours: empty
                raise
            filled = False  # numpy's word for not contiguous, or for a dtype without a format
    if not filled:
        series.fill_converted(name, to_array(name, value))
    if series.missing:
        return resolve_missing(name, array_of(series), policy)
    return series


cdef object array_of(Series series):
    import numpy as np

    return np.asarray(series.view.obj)


cdef Series as_double(object name, Series series):
    """The same series in float64, for the side of a pair whose other side has it."""
    cdef Series converted
    if not series.single:
        return series
    import numpy as np

    converted = Series.__new__(Series)
    converted.fill_converted(name, array_of(series).astype(np.float64))
    return converted


def series_array(name, value, nan_policy=None):
    """The checked series as an array.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    value : (n,) or (n, d) array_like of real numbers
    nan_policy : {'raise', 'propagate', 'omit'}, optional
        None: to raise, for functions that have no such parameter.

    Returns
    -------
    (n,) or (n, d) ndarray
        C-contiguous, float32 for float32 and float16, else float64; maybe `value` itself.

    Raises
    ------
    ArgumentTypeError
        No real numbers.
    ArgumentValueError
        Empty, more than two axes, infinite, or NaN where the policy is to raise.
    """
    cdef NanPolicy policy = NAN_REFUSE if nan_policy is None else as_nan_policy(nan_policy)
    return array_of(as_series(name, value, policy))
