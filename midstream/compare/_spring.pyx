# cython: freethreading_compatible=True
"""Binding of csrc/ms_spring: a query in a stream, under DTW, online."""

cimport cython
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from midstream._core._poll cimport Poll, ms_poll
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_choice, check_real
from midstream.compare._series import series_array
from midstream.compare.results import Match

cdef extern from "ms_poll.h":
    int ms_poll_spend(ms_poll *poll, uint64_t work) noexcept nogil

cdef extern from "ms_spring.h":
    ctypedef struct ms_spring_match:
        double cost
        uint64_t start
        uint64_t end
    ctypedef struct ms_spring:
        const double *query
        size_t m
        size_t d
        int absolute
        double threshold
        double *cost
        uint64_t *start
        uint64_t count
        ms_spring_match pending
        ms_spring_match best
    void ms_spring_reset(ms_spring *s) noexcept nogil
    int ms_spring_push(ms_spring *s, const double *sample, ms_spring_match *found) noexcept nogil
    int ms_spring_finish(ms_spring *s, ms_spring_match *found) noexcept nogil
    double ms_spring_distance(const ms_spring *s, double cost) noexcept nogil


cdef class Spring:
    """Spring(query, threshold, cost='squared')\n--\n\n\
    Find, online, the stretches of a stream that resemble a query under DTW.

    A match may have any length. Matches do not overlap: of stretches that do, the closest is
    reported, as soon as no stretch that overlaps it can still become closer.

    Parameters
    ----------
    query : (m,) or (m, d) array_like of real numbers
        d values a sample.
    threshold : float
        Largest distance of a match, inclusive, in the unit of the distance.
    cost : {'squared', 'absolute'}, default 'squared'
        ``'squared'``: the distance is the square root of the summed squared differences along the
        path; ``'absolute'``: the sum of the absolute differences.

    Raises
    ------
    ArgumentValueError
        Empty, NaN or infinite query; `threshold` negative or NaN; unknown `cost`.
    ArgumentTypeError
        Not real numbers.

    See Also
    --------
    search : windows as long as the query, normalised, in a series that is at hand.

    Notes
    -----
    The distance of a match is that of `dtw` without a band, for the query and the stretch: nothing
    is normalised, since the scale of a stretch is not known before it ends. Among
    equally close stretches with one end, the shortest counts; of equally close ones that overlap,
    the one that ends first.

    As in the paper, a stretch right behind a match can go unseen where, at its end, one that
    overlaps the match was closer.

    Cost of a sample: O(m), some 3.5 ns for each of the query's; memory: 24 bytes for each. Not
    thread-safe: use one from one thread at a time. `feed` releases the GIL; what another thread asks
    meanwhile is refused by a MidstreamError.

    References
    ----------
    Y. Sakurai, C. Faloutsos and M. Yamamuro, "Stream monitoring under the time warping distance",
    ICDE 2007.

    Examples
    --------
    The example of the paper, with its threshold of 15 on summed squares:

    >>> from midstream.compare import Spring
    >>> spring = Spring([11, 6, 9, 4], threshold=15 ** 0.5)
    >>> spring.feed([5, 12, 6, 10, 6, 5, 13])
    [Match(start=1, end=5, distance=2.449...)]
    """

    cdef ms_spring spring
    cdef readonly object cost
    cdef const double[:, ::1] rows
    cdef int axes
    cdef bint busy  # while a feed runs without the GIL

    def __cinit__(self, query, threshold, cost="squared"):
        array = series_array("query", query)
        self.axes = array.ndim
        self.cost = check_choice("cost", cost, ("squared", "absolute"))
        self.rows = np.array(array, dtype=np.float64, order="C", copy=True).reshape(len(array), -1)
        self.spring.query = &self.rows[0, 0]
        self.spring.m = self.rows.shape[0]
        self.spring.d = self.rows.shape[1]
        self.spring.absolute = cost == "absolute"
        self.spring.threshold = check_real("threshold", threshold, low=0, finite=False)
        self.spring.cost = <double *>malloc(self.spring.m * sizeof(double))
        self.spring.start = <uint64_t *>malloc(self.spring.m * sizeof(uint64_t))
        if self.spring.cost == NULL or self.spring.start == NULL:
            raise MemoryError("no memory for a query of this length")
        ms_spring_reset(&self.spring)

    def __dealloc__(self):
        free(self.spring.cost)
        free(self.spring.start)

    cdef int check_idle(self) except -1:
        """Refuse to touch what another thread is feeding."""
        if self.busy:
            raise MidstreamError("another thread is feeding this Spring: one at a time may")
        return 0

    cdef object match(self, ms_spring_match found):
        return Match(found.start, found.end, ms_spring_distance(&self.spring, found.cost))

    cdef object shape(self):
        return "a number" if self.axes == 1 else f"an array of shape ({self.spring.d},)"

    @cython.critical_section
    def update(self, value):
        """Take one sample.

        Parameters
        ----------
        value : float, or (d,) array_like for a query of shape (m, d)

        Returns
        -------
        Match or None
            A match that is certain now, once; positions count samples since the start or `reset`.

        Raises
        ------
        ArgumentValueError
            NaN, infinite, or not of the query's dimension. Nothing was taken.
        ArgumentTypeError
            Not real.
        """
        cdef ms_spring_match found
        cdef double number
        cdef const double[::1] sample
        if self.axes == 1:
            # What floats, and only floats, need not be asked.
            number = value if type(value) is float else check_real("value", value)
            if not isfinite(number):
                raise ArgumentValueError(f"value must be finite, got {value!r}")
            if self.busy:
                self.check_idle()
            if ms_spring_push(&self.spring, &number, &found):
                return self.match(found)
            return None
        sample = self.batch("value", [value])[0]
        self.check_idle()
        if ms_spring_push(&self.spring, &sample[0], &found):
            return self.match(found)
        return None

    @cython.critical_section
    def feed(self, values):
        """Take many samples.

        Parameters
        ----------
        values : (n,) array_like, or (n, d) for a query of shape (m, d)

        Returns
        -------
        list of Match
            What `update` would have returned, in order.

        Raises
        ------
        ArgumentValueError
            NaN, infinite, or not of the query's dimension. Nothing was taken.
        ArgumentTypeError
            Not real.
        """
        cdef const double[:, ::1] samples
        cdef Py_ssize_t i = 0, n
        cdef ms_spring_match found
        cdef Poll poll = Poll()
        cdef uint64_t cells = self.spring.m * self.spring.d
        cdef int certain = 0, stopped = 0
        cdef list matches = []
        try:
            if not hasattr(values, "__len__"):
                values = list(values)
            n = len(values)
        except TypeError:
            raise ArgumentTypeError(
                f"values must be samples in a row, got {values!r} ({type(values).__name__})"
            ) from None
        if n == 0:
            return matches
        samples = self.batch("values", values)
        n = samples.shape[0]
        self.check_idle()
        self.busy = True
        try:
            while i < n:
                with nogil:
                    certain = 0
                    while i < n and not certain and not stopped:
                        certain = ms_spring_push(&self.spring, &samples[i, 0], &found)
                        i += 1
                        stopped = ms_poll_spend(&poll.poll, cells)
                if certain:
                    matches.append(self.match(found))
                if stopped:
                    poll.reraise()
        finally:
            self.busy = False
        return matches

    cdef object batch(self, object name, object values):
        array = series_array(name, values)
        if array.ndim != self.axes or (array.ndim == 2 and array.shape[1] != self.spring.d):
            raise ArgumentValueError(
                f"{name} must be samples like the query's, each {self.shape()},"
                f" got shape {array.shape}"
            )
        return array.astype(np.float64, copy=False).reshape(len(array), -1)

    def update_many(self, values):
        """Take many samples: `feed`, by the name that it has elsewhere."""
        return self.feed(values)

    @cython.critical_section
    def finish(self):
        """The stream is over: tell the match that was still waiting for a better one.

        Returns
        -------
        Match or None
            Later samples, if there are any, belong to no match that overlaps it.
        """
        cdef ms_spring_match found
        self.check_idle()
        if ms_spring_finish(&self.spring, &found):
            return self.match(found)
        return None

    @cython.critical_section
    def reset(self):
        """Forget the stream; positions start at 0 again."""
        self.check_idle()
        ms_spring_reset(&self.spring)

    @property
    @cython.critical_section
    def threshold(self):
        """Largest distance of a match (float)."""
        return self.spring.threshold

    @property
    @cython.critical_section
    def count(self):
        """Samples taken so far (int)."""
        return self.spring.count

    @property
    @cython.critical_section
    def pending(self):
        """The match that would be reported if the stream ended now, or None.

        Returns
        -------
        Match or None
        """
        return self.match(self.spring.pending) if self.spring.pending.cost < INFINITY else None

    @property
    @cython.critical_section
    def best(self):
        """The closest stretch so far, also above the threshold; None before the first sample.

        Returns
        -------
        Match or None
        """
        return self.match(self.spring.best) if self.spring.best.cost < INFINITY else None

    @cython.critical_section
    def __repr__(self):
        rows = f"{self.spring.m} samples"
        if self.axes == 2:
            rows += f" of {self.spring.d}"
        return f"<Spring: {rows}, threshold={self.spring.threshold}, cost={self.cost!r}>"
