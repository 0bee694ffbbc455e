# cython: freethreading_compatible=True
"""`Histogram`: the binding of csrc/ms_hdr.h."""

cimport cython
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from libc.math cimport INFINITY, ceil, nextafter
from libc.stdint cimport INT64_MAX, int64_t, uint64_t

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_real

# What `record` gets where no count is given: told by identity, it need not be converted.
cdef object ONE = 1

cdef int raise_status(int status) except -1:
    if status == MS_HDR_NO_MEMORY:
        raise MemoryError("histogram")
    if status == MS_HDR_FULL:
        raise ArgumentValueError(f"count must keep the histogram's total within {INT64_MAX}")
    return 0


cdef int64_t counting_number(str name, object number) except -1:
    """`number` as a non-negative int64; the exact-int path skips the general check's cost."""
    cdef int overflow = 0
    cdef int64_t result
    if PyLong_CheckExact(number):
        result = PyLong_AsLongLongAndOverflow(number, &overflow)
        if overflow == 0 and result >= 0:
            return result
    return check_int(name, number, low=0, high=INT64_MAX)


cdef class Histogram:
    """Histogram(lowest=1, highest=3600000000000, significant_digits=3)\n--\n\n\
    Counts of non-negative integers over a high dynamic range, at a fixed relative precision.

    Made for latencies in nanoseconds: from one nanosecond to an hour, every quantile is right to
    `significant_digits` decimal digits, and recording costs the same whatever has been recorded.

    Parameters
    ----------
    lowest : int, default 1
        Smallest difference, in nanoseconds, that matters; 1 to 2**61. Larger saves memory only
        where values near 0 occur. A power of two is used: the next one below.
    highest : int, default 3_600_000_000_000
        Largest value with a bucket, in nanoseconds (one hour); from ``2 * lowest`` to 2**62.
        Larger values are counted in `overflow`.
    significant_digits : int, default 3
        1 to 5. Values that share a bucket differ by at most ``value / 10**significant_digits``.
        Each digit more costs about ten times the memory.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is not an integer, or out of range.

    Notes
    -----
    **Semantics** are those of HdrHistogram [1]_: `quantile` returns the highest value that shares
    the bucket of the value asked for, so it is never below the true quantile. `min`, `max`,
    `total`, `mean` and `count` are exact, which they are not there, and quantiles stay within
    `min` and `max`. Values above `highest` are neither clamped nor lost: they take part in
    everything, without a bucket.

    **Cost.** `record` is O(1): 25 ns from Python; 5 ns from compiled code and per value of
    `record_many`. `quantile` walks the cells: microseconds. Each method leaves the histogram as it
    was where it raises, `MemoryError` included.

    **Memory.** Every octave in which values occur takes ``c * w`` bytes on the heap: `c` is 16,
    128, 1024, 16384 or 131072 for 1 to 5 digits; `w` is 2 while `count` is below 2**16, 4 below
    2**32, then 8. All values below ``c * lowest`` are one octave. The object itself is about 700
    bytes. With 2 digits, 65 thousand gaps of 0 and of 0.2 ms to 4 s take less than 5 KiB.

    **Threads.** Every method runs from its first to its last step under the GIL, or on a
    free-threaded build under the histogram's own lock: any number of threads may record into one
    histogram, and no count is lost. Compiled code may record without either (``Histogram.add``); it
    must then be the only one that uses the histogram: keep one per thread and `merge` them, which
    also scales better than one that all wait for.

    References
    ----------
    .. [1] G. Tene, "HdrHistogram: A High Dynamic Range Histogram", http://hdrhistogram.org

    Examples
    --------
    >>> from midstream.scheduler import Histogram
    >>> gaps = Histogram(significant_digits=2)
    >>> for gap_ns in (12_000_000, 14_000_000, 13_000_000, 900_000_000):
    ...     gaps.record(gap_ns)
    >>> gaps
    <Histogram count=4 p50=13.0ms p99=900ms max=900ms>
    >>> gaps.quantile(0.5)
    13041663
    >>> gaps.max
    900000000
    """

    def __cinit__(self, *args, **kwargs):
        ms_hdr_init(&self.hdr, 1, 2, 1)

    @cython.critical_section
    def __init__(self, lowest=1, highest=3_600_000_000_000, significant_digits=3):
        cdef int64_t checked_lowest = check_int("lowest", lowest, low=1, high=MS_HDR_MAX_VALUE // 2)
        cdef int64_t checked_highest = check_int(
            "highest", highest, low=2 * checked_lowest, high=MS_HDR_MAX_VALUE
        )
        cdef int digits = check_int(
            "significant_digits", significant_digits, low=1, high=MS_HDR_MAX_DIGITS
        )
        ms_hdr_reset(&self.hdr)
        ms_hdr_init(&self.hdr, checked_lowest, checked_highest, digits)

    def __dealloc__(self):
        ms_hdr_reset(&self.hdr)

    cdef int add(self, int64_t value, int64_t count) noexcept nogil:
        return ms_hdr_record(&self.hdr, value, count)

    # A method descriptor, which the interpreter calls faster than a bound Cython function; its
    # signature is then in the docstring, where `inspect` finds it.
    @cython.binding(False)
    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    @cython.critical_section
    def record(self, value, count=1):
        """Count a value.

        Parameters
        ----------
        value : int
            Nanoseconds, 0 to 2**63 - 1.
        count : int, default 1
            How many times; 0 does nothing.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `value` or `count` is not an integer, negative, or too large. Nothing was counted.
        """
        cdef int64_t checked_value = counting_number("value", value)
        cdef int64_t checked_count = 1 if count is ONE else counting_number("count", count)
        cdef int status = ms_hdr_record(&self.hdr, checked_value, checked_count)
        if status != MS_HDR_OK:
            raise_status(status)

    @cython.critical_section
    def record_corrected(self, value, expected_interval_ns):
        """Count a value, and those that were not measured while it lasted.

        A loop that measures once every `expected_interval_ns`, and waits for each answer, misses
        all measurements that a slow answer holds up: exactly the slow ones (coordinated omission
        [1]_). This counts them as well: ``value - expected_interval_ns``, ``value - 2 *
        expected_interval_ns``, ... as long as they are not below `expected_interval_ns`.

        Parameters
        ----------
        value : int
            Nanoseconds, 0 to 2**63 - 1.
        expected_interval_ns : int
            Time from one measurement to the next where nothing is held up; at least 1.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument is not an integer or out of range. Nothing was counted.

        Notes
        -----
        The same as HdrHistogram's ``recordCorrectedValue``, and O(buckets from
        `expected_interval_ns` to `value`) instead of O(missed measurements).

        References
        ----------
        .. [1] G. Tene, "How NOT to Measure Latency", 2013

        Examples
        --------
        >>> from midstream.scheduler import Histogram
        >>> answers = Histogram()
        >>> answers.record_corrected(500, 100)
        >>> [lowest for lowest, count in answers.to_dict()["buckets"]]
        [100, 200, 300, 400, 500]
        """
        cdef int64_t checked_value = counting_number("value", value)
        cdef int64_t interval = check_int(
            "expected_interval_ns", expected_interval_ns, low=1, high=INT64_MAX
        )
        raise_status(ms_hdr_record_corrected(&self.hdr, checked_value, interval))

    @cython.critical_section
    def record_many(self, values):
        """Count each value of an array: all of them, or none where this raises.

        Parameters
        ----------
        values : array_like of int, shape (n,)
            Nanoseconds. A contiguous int64 array is read in place; others are copied.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            A value is not an integer, negative, or too large; or `values` is not one-dimensional.
        """
        import numpy as np

        array = np.asarray(values)
        if array.ndim != 1:
            raise ArgumentValueError(f"values must have one dimension, got shape {array.shape}")
        cdef size_t n = array.shape[0]
        if n == 0:
            return
        if array.dtype.kind not in "iu":
            raise ArgumentTypeError(f"values must be integers, got dtype {array.dtype}")
        if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.max() > INT64_MAX:
            raise ArgumentValueError(f"values must be at most {INT64_MAX}, got {array.max()}")
        cdef const int64_t[::1] view = np.ascontiguousarray(array, dtype=np.int64)
        cdef size_t bad = ms_hdr_find_negative(&view[0], n)
        if bad < n:
            raise ArgumentValueError(f"values must be at least 0, got {view[bad]} at index {bad}")
        raise_status(ms_hdr_record_many(&self.hdr, &view[0], n))

    @cython.critical_section
    def quantile(self, q):
        """The value below or at which a fraction `q` of all values lies.

        Parameters
        ----------
        q : float
            0 to 1.

        Returns
        -------
        int
            Nanoseconds: the highest value in the bucket of the ``ceil(q * count)``-th smallest
            value, or `max` where that is lower; at most ``10**-significant_digits`` above the true
            one, never below. `q` of 0 gives `min`, 1 gives `max`. `max` where it falls among the
            `overflow`. 0 while empty.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `q` is not a real number from 0 to 1.
        """
        return self.value_at(check_real("q", q, low=0.0, high=1.0), 1.0)

    @cython.critical_section
    def percentile(self, p):
        """`quantile` in percent: ``percentile(99)`` is ``quantile(0.99)``.

        Parameters
        ----------
        p : float
            0 to 100.

        Returns
        -------
        int
        """
        return self.value_at(check_real("p", p, low=0.0, high=100.0), 100.0)

    cdef int64_t value_at(self, double fraction, double whole) noexcept:
        if self.hdr.count == 0:
            return 0
        if fraction == 0.0:
            return self.hdr.min
        # One step down, as HdrHistogram does since 2.1.12: 0.07 * 100 rounds to just above 7, and
        # would ask for the eighth value.
        cdef double position = nextafter(fraction, -INFINITY) * <double>self.hdr.count / whole
        cdef double rank = ceil(position)
        if rank >= <double>self.hdr.count:
            return self.hdr.max
        # Not above the exact maximum, which the last bucket's edge may be.
        return min(
            ms_hdr_value_at_rank(&self.hdr, max(<int64_t>rank, <int64_t>1)), self.hdr.max
        )

    def merge(self, other):
        """Add everything that `other` counted.

        Parameters
        ----------
        other : Histogram
            With the same `lowest`, `highest` and `significant_digits`; unchanged.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `other` is no histogram, has another range or precision, or too large a count. Nothing
            was added.
        """
        if not isinstance(other, Histogram):
            raise ArgumentTypeError(f"other must be a Histogram, got {other!r}")
        cdef Histogram source = other
        # Both at once: one within the other would let go of the first while it waits for the second.
        with cython.critical_section(self, source):
            if source.configuration() != self.configuration():
                raise ArgumentValueError(
                    "other must have the same lowest, highest and significant_digits "
                    f"{self.configuration()}, got {source.configuration()}"
                )
            raise_status(ms_hdr_merge(&self.hdr, &source.hdr))

    @cython.critical_section
    def reset(self):
        """Forget everything, and give the memory back."""
        ms_hdr_reset(&self.hdr)

    cdef tuple configuration(self):
        return (self.hdr.lowest, self.hdr.highest, self.hdr.digits)

    @property
    @cython.critical_section
    def lowest(self):
        """Smallest difference that matters, as given."""
        return self.hdr.lowest

    @property
    @cython.critical_section
    def highest(self):
        """Largest value with a bucket, as given."""
        return self.hdr.highest

    @property
    @cython.critical_section
    def significant_digits(self):
        """Decimal digits of precision, as given."""
        return self.hdr.digits

    @property
    @cython.critical_section
    def count(self):
        """How many values were recorded, `overflow` included."""
        return self.hdr.count

    @property
    @cython.critical_section
    def overflow(self):
        """How many of them were above `highest`."""
        return self.hdr.overflow

    @property
    @cython.critical_section
    def min(self):
        """Smallest value, exact; 0 while empty."""
        return self.hdr.min if self.hdr.count else 0

    @property
    @cython.critical_section
    def max(self):
        """Largest value, exact, `overflow` included; 0 while empty."""
        return self.hdr.max if self.hdr.count else 0

    @property
    @cython.critical_section
    def total(self):
        """Sum of all values, exact."""
        return (<object>self.hdr.total_high << 64) + self.hdr.total_low

    @property
    @cython.critical_section
    def mean(self):
        """Exact sum over count, rounded once; 0.0 while empty."""
        return self.total / self.hdr.count if self.hdr.count else 0.0

    @property
    @cython.critical_section
    def stdev(self):
        """Population standard deviation, each value taken at the middle of its bucket."""
        return ms_hdr_stdev(&self.hdr)

    @property
    @cython.critical_section
    def memory_bytes(self):
        """Bytes in use: the object and its heap blocks."""
        return sizeof(Histogram) + ms_hdr_heap_bytes(&self.hdr)

    @cython.critical_section
    def snapshot(self):
        """Bucket edges and counts, as `numpy.histogram` shapes them.

        Returns
        -------
        bucket_edges : numpy.ndarray of int64, shape (n + 1,)
            Bucket ``i`` holds values ``bucket_edges[i] <= value < bucket_edges[i + 1]``. Buckets
            run from the first to the last that is not empty; ``[0]`` where all are.
        counts : numpy.ndarray of int64, shape (n,)
            The sum is ``count - overflow``.

        Notes
        -----
        A copy: later values do not change it. O(n), n up to a few tens of thousands.
        """
        import numpy as np

        rows = self.rows(skip_empty=False)
        edges = [row[0] for row in rows] + [row[1] for row in rows[len(rows) - 1 :]]
        counts = [row[2] for row in rows]
        return np.array(edges or [0], dtype=np.int64), np.array(counts, dtype=np.int64)

    cdef list rows(self, bint skip_empty):
        """(first value, first value of the next bucket, count) of the buckets in use."""
        cdef list rows = []
        cdef int block
        cdef int64_t cell, count, lowest, size
        cdef size_t end = 0
        for block in range(self.hdr.n_blocks):
            if skip_empty and self.hdr.blocks[block] == NULL:
                continue
            size = ms_hdr_bucket_size(&self.hdr, block)
            for cell in range(ms_hdr_block_cells(&self.hdr)):
                count = ms_hdr_cell_count(&self.hdr, block, cell)
                if count == 0 and (skip_empty or not rows):
                    continue
                lowest = ms_hdr_cell_lowest(&self.hdr, block, cell)
                rows.append((lowest, lowest + size, count))
                if count:
                    end = len(rows)
        return rows[:end]

    @cython.critical_section
    def to_dict(self):
        """Everything, as a plain dict of ints, floats and lists that JSON can carry.

        Returns
        -------
        dict
            `lowest`, `highest`, `significant_digits`, `count`, `total`, `min`, `max`, `overflow`;
            ``overflow_mean`` and ``overflow_m2`` (sum of squared deviations) of the overflow; and
            ``buckets``, a list of ``[lowest value, count]`` of those that are not empty.
        """
        return {
            "lowest": self.lowest,
            "highest": self.highest,
            "significant_digits": self.significant_digits,
            "count": self.count,
            "total": self.total,
            "min": self.min,
            "max": self.max,
            "overflow": self.overflow,
            "overflow_mean": self.hdr.overflow_mean,
            "overflow_m2": self.hdr.overflow_m2,
            "buckets": [[lowest, count] for lowest, _, count in self.rows(skip_empty=True)],
        }

    @classmethod
    def from_dict(cls, data):
        """The histogram that `to_dict` described.

        Parameters
        ----------
        data : Mapping
            What `to_dict` returned, or its JSON read back.

        Returns
        -------
        Histogram

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `data` lacks a key, or its numbers contradict each other.
        """
        from midstream.scheduler._histogram_state import load_histogram

        return load_histogram(cls, data)

    @cython.critical_section
    def _restore(self, smallest, largest, total, overflow_mean, overflow_m2):
        """Put the exact numbers in place of those that the buckets' lowest values gave."""
        self.hdr.min = smallest
        self.hdr.max = largest
        self.hdr.total_low = total & 0xFFFFFFFFFFFFFFFF
        self.hdr.total_high = total >> 64
        self.hdr.overflow_mean = overflow_mean
        self.hdr.overflow_m2 = overflow_m2

    @cython.critical_section
    def encode(self, *, clamp_overflow=False):
        """The histogram in HdrHistogram's format V2, compressed, as base64 text.

        Parameters
        ----------
        clamp_overflow : bool, default False
            Count values above `highest` in the bucket of `highest`. The format has no place for
            them.

        Returns
        -------
        bytes
            ASCII, starting ``HISTFAAA``; every port of HdrHistogram reads it.

        Raises
        ------
        ArgumentValueError
            There is `overflow` and not `clamp_overflow`; or other ports could not hold such a
            range: the bits of `lowest` and of a bucket's index are more than 61.

        Notes
        -----
        **What is lost**, since the format has no place for it: exact `min`, `max`, `total` and
        `mean`. Configuration and all counts are kept. `to_dict` and pickle lose nothing.

        O(buckets in use): about 1 us each.

        References
        ----------
        .. [1] G. Tene, ``AbstractHistogram.encodeIntoCompressedByteBuffer``,
           https://github.com/HdrHistogram/HdrHistogram

        Examples
        --------
        >>> from midstream.scheduler import Histogram
        >>> histogram = Histogram()
        >>> histogram.record(1000, 5)
        >>> Histogram.decode(histogram.encode()).to_dict()["buckets"]
        [[1000, 5]]
        """
        from midstream.scheduler._hdr_payload import encode_histogram

        return encode_histogram(self, clamp_overflow=bool(clamp_overflow))

    @classmethod
    def decode(cls, data):
        """The histogram in a payload of HdrHistogram's format V2, written by any port.

        Parameters
        ----------
        data : bytes or str
            Base64 text, as `encode` returns it, or the bytes that it stands for; compressed (cookie
            0x1c849304) or not (0x1c849303).

        Returns
        -------
        Histogram
            With the counts of the payload. `min` is the lowest value of its first bucket in use,
            `max` the highest of the last one or `highest` if that is smaller, and `total` takes
            each value at the middle of its bucket: the payload has no exact ones. A `highest` below
            the last bucket, which ports that grow by themselves leave behind, is raised to its end;
            one above 2**62 is lowered to 2**62, and larger values become `overflow`.

        Raises
        ------
        ArgumentTypeError
            `data` is neither bytes nor str.
        ArgumentValueError
            It is damaged, of another format (V0, V1, a histogram of doubles), or has a
            configuration that `Histogram` cannot have (0 significant digits).
        """
        from midstream.scheduler._hdr_payload import decode_histogram

        return decode_histogram(cls, data)

    def __reduce__(self):
        return type(self).from_dict, (self.to_dict(),)

    @cython.critical_section
    def __repr__(self):
        from midstream.scheduler._histogram_text import histogram_line

        return histogram_line(self)

    @cython.critical_section
    def _repr_html_(self):
        from midstream.scheduler._histogram_text import histogram_html

        return histogram_html(self)
