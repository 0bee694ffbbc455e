# cython: freethreading_compatible=True
"""Binding of csrc/ms_run: online detection of periodic suffixes."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_Check
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport int64_t

from midstream._core._cpu cimport simd_level_number
from midstream._core.errors import ArgumentTypeError, MidstreamError
from midstream._core.validate import check_int
from midstream.compare.results import Run

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_run.h":
    int ms_run_init(ms_run_detector *d, uint32_t max_period, uint32_t min_copies,
                    uint64_t min_length, ms_simd_level level) noexcept nogil
    void ms_run_free(ms_run_detector *d) noexcept nogil
    void ms_run_reset(ms_run_detector *d) noexcept nogil
    int ms_run_push(ms_run_detector *d, uint64_t symbol, uint64_t position) noexcept nogil
    size_t ms_run_memory(const ms_run_detector *d) noexcept nogil

#: Python hashes integers below 2^61 - 1 to themselves (pyhash.h), and whatever equals such an
#: integer hashes alike; so these values can be symbols as they are, without a table.
cdef uint64_t OWN_VALUE = (1 << 61) - 1
#: Symbols that went through the table start here, above all of those.
cdef uint64_t FIRST_IDENTITY = 1 << 62
#: Symbols taken without listening for Ctrl-C: at worst a tenth of a second.
cdef Py_ssize_t BETWEEN_SIGNALS = 1 << 15


cdef object as_run(ms_run run, uint64_t count):
    return Run(run.start, run.period, (count - run.start) / <double>run.period, count)


cdef class RunDetector:
    """RunDetector(max_period=4096, min_copies=3, min_length=1)\n--\n\n\
    Find, online and exactly, that the end of a sequence has become periodic.

    After each symbol the detector knows every period ``p <= max_period`` for which the newest
    symbols repeat with that period, and answers the first time that a run is complete: at least
    `min_copies` copies and `min_length` symbols.

    Parameters
    ----------
    max_period : int, default 4096
        Longest period looked for, in symbols, 1 to 2**20.
    min_copies : int, default 3
        Copies that make a run, at least 2.
    min_length : int, default 1
        Symbols that make a run, whatever its period: raise it where short stutters are normal.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is no integer or out of range.

    See Also
    --------
    midstream.stream.LoopDetector : the same on text, with near-repetition and evidence.

    Notes
    -----
    Where several runs are complete at once, the one that starts earliest is meant, then the one
    with the shortest period: ``abababab`` has period 2, not 4. A run inside a copy of a longer
    living run is not reported.

    Symbols are compared by equality: 1, 1.0 and True are one symbol, NaN equals nothing. Hashables
    other than integers below 2**61 - 1 go through a table that forgets what left the window.

    Cost of one symbol: a constant vector comparison for periods up to 32, one sixteenth of a scan
    of `max_period` fingerprints and of a 128-byte comparison for every living candidate: it
    grows with `max_period`, and is 3 microseconds for the worst sequences at 4096. Memory: 16
    bytes a symbol over the last ``max_period + 49``, grown as needed, and 16 bytes a candidate.

    Not thread-safe: use one detector from one thread at a time. `feed` of an integer array
    releases the GIL; what another thread asks meanwhile is refused by a MidstreamError.

    References
    ----------
    The fingerprints are those of Karp and Rabin, "Efficient randomized pattern-matching
    algorithms", IBM J. Res. Dev. 31 (1987), here only a filter: every match is verified. That
    multiples of a living period need no tracking follows from Fine and Wilf's theorem (1965).

    Examples
    --------
    >>> from midstream.compare import RunDetector
    >>> detector = RunDetector()
    >>> [run for word in "so it goes and it goes and it goes and".split()
    ...  if (run := detector.update(word))]
    [Run(start=1, period=3, copies=3.0, end=10)]
    """

    def __cinit__(self, max_period=4096, min_copies=3, min_length=1):
        self.max_period = check_int("max_period", max_period, low=1, high=1 << 20)
        self.min_copies = check_int("min_copies", min_copies, low=2, high=1 << 20)
        self.min_length = check_int("min_length", min_length, low=0, high=1 << 40)
        if ms_run_init(&self.detector, <uint32_t>self.max_period, <uint32_t>self.min_copies,
                       <uint64_t>self.min_length, <ms_simd_level>simd_level_number()) < 0:
            raise MemoryError(f"no memory for a RunDetector of max_period={max_period}")
        self.identities = {}
        self.next_identity = FIRST_IDENTITY
        self.next_sweep = 2 * self.max_period + 1024

    def __dealloc__(self):
        ms_run_free(&self.detector)

    @cython.critical_section
    def update(self, symbol):
        """Take one symbol.

        Parameters
        ----------
        symbol : hashable

        Returns
        -------
        Run or None
            A run that this symbol completes, once; None while there is none or while it goes on.

        Raises
        ------
        ArgumentTypeError
            `symbol` is not hashable.
        MemoryError
            `reset` before going on.
        """
        cdef uint64_t identity = self.identify(symbol)
        if self.busy:
            self.check_idle()
        if self.push(identity, self.detector.count):
            return as_run(self.detector.best, self.detector.count)
        return None

    @cython.critical_section
    def feed(self, symbols):
        """Take many symbols.

        Parameters
        ----------
        symbols : (n,) iterable of hashable, or integer array
            Contiguous arrays of non-negative int64 take a path without Python objects.

        Returns
        -------
        list of Run
            Every run that `update` would have returned, in order.

        Raises
        ------
        ArgumentTypeError
            `symbols` is not iterable. Or one of them is not hashable: those before it were taken,
            and the runs found in them are the exception's `found`.
        KeyboardInterrupt
            Ctrl-C is answered within half a second; the symbols before it were taken.
        """
        import numpy as np

        cdef list found = []
        cdef const int64_t[::1] values
        cdef Py_ssize_t i = 0, n, pause
        cdef int status = 0
        if getattr(symbols, "dtype", None) is not None and symbols.dtype.kind in "iu":
            if symbols.ndim != 1:
                raise ArgumentTypeError(f"symbols must be one-dimensional, got {symbols.ndim} axes")
            if hasattr(symbols, "__array__"):
                symbols = np.asarray(symbols)  # a labelled series is its values
            # The interval where a value is its own symbol; outside it the objects decide.
            if len(symbols) and 0 <= symbols.min() and symbols.max() < OWN_VALUE:
                symbols = symbols.astype("=i8", order="C", copy=False)
                # Not everything with a dtype is an array, and has numpy's flags.
                if not getattr(symbols.flags, "aligned", True):
                    symbols = symbols.copy()
                values = symbols
                n = values.shape[0]
                self.check_idle()
                self.busy = True
                try:
                    while i < n:
                        with nogil:
                            pause = min(n, i + BETWEEN_SIGNALS)
                            while i < pause and status == 0:
                                status = ms_run_push(&self.detector, <uint64_t>values[i],
                                                     self.detector.count)
                                i += 1
                        if status < 0:
                            raise MemoryError("no memory for the next symbol")
                        if status == 1:
                            found.append(as_run(self.detector.best, self.detector.count))
                        status = 0
                        PyErr_CheckSignals()
                finally:
                    self.busy = False
                return found
        try:
            iterator = iter(symbols)
        except TypeError:
            raise ArgumentTypeError(
                f"symbols must be iterable, got {symbols!r} ({type(symbols).__name__})"
            ) from None
        for symbol in iterator:
            try:
                run = self.update(symbol)
            except ArgumentTypeError as error:
                error.found = found
                raise
            if run is not None:
                found.append(run)
        return found

    def update_many(self, symbols):
        """Take many symbols: `feed`, by the name that it has elsewhere."""
        return self.feed(symbols)

    @property
    @cython.critical_section
    def run(self):
        """The living run that is complete now, as far as it has come; None if there is none.

        Returns
        -------
        Run or None
        """
        self.check_idle()
        if not self.detector.has_best:
            return None
        return as_run(self.detector.best, self.detector.count)

    @property
    @cython.critical_section
    def count(self):
        """Symbols taken so far (int)."""
        return self.detector.count

    @property
    @cython.critical_section
    def memory_bytes(self):
        """Bytes held outside Python's own objects (int)."""
        self.check_idle()
        return self.memory()

    @cython.critical_section
    def reset(self):
        """Forget everything seen; keep the settings and the memory."""
        self.check_idle()
        ms_run_reset(&self.detector)
        self.identities.clear()
        self.next_sweep = 2 * self.max_period + 1024

    @cython.critical_section
    def __repr__(self):
        return (f"RunDetector(max_period={self.max_period}, min_copies={self.min_copies}, "
                f"min_length={self.min_length})")

    cdef int check_idle(self) except -1:
        """Refuse to touch what another thread is feeding."""
        if self.busy:
            raise MidstreamError("another thread is feeding this RunDetector: one at a time may")
        return 0

    cdef int push(self, uint64_t symbol, uint64_t position) except -1:
        cdef int status = ms_run_push(&self.detector, symbol, position)
        if status < 0:
            raise MemoryError("no memory for the next symbol")
        return status

    cdef uint64_t identify(self, object symbol) except? 0:
        """A number that two symbols share exactly if they are equal."""
        cdef int64_t value
        cdef uint64_t identity
        cdef list entry
        if PyLong_Check(symbol):
            if 0 <= symbol < OWN_VALUE:
                return <uint64_t>symbol
        elif not PyUnicode_Check(symbol):
            try:
                value = hash(symbol)
            except TypeError:
                raise ArgumentTypeError(
                    f"symbol must be hashable, got {symbol!r} ({type(symbol).__name__})"
                ) from None
            if symbol != symbol:  # NaN: a symbol of its own
                self.next_identity += 1
                return self.next_identity
            if 0 <= value and <uint64_t>value < OWN_VALUE and symbol == value:
                return <uint64_t>value
        entry = self.identities.get(symbol)
        if entry is None:
            if self.detector.count >= self.next_sweep:
                self.sweep()
            self.next_identity += 1
            entry = [self.next_identity, 0]
            self.identities[symbol] = entry
        entry[1] = self.detector.count
        identity = entry[0]
        return identity

    cdef void sweep(self):
        """Forget symbols that no comparison can reach any more: O(1) a symbol, amortised."""
        cdef uint64_t window = <uint64_t>self.max_period + 64
        cdef uint64_t count = self.detector.count
        self.identities = {
            symbol: entry for symbol, entry in self.identities.items() if entry[1] + window >= count
        }
        self.next_sweep = count + 2 * window

    cdef uint32_t stride(self) noexcept:
        """Positions that one copy of the living run takes."""
        return ms_run_stride(&self.detector)

    cdef size_t memory(self) noexcept:
        return ms_run_memory(&self.detector)
