# cython: freethreading_compatible=True
"""Exact waking: the binding of csrc/ms_sleep.h."""

from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t

from time import monotonic_ns

from midstream._core.validate import check_int

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from *:
    """
    /* Python's monotonic clock on Windows was the system's tick count, until 3.13. */
    #if defined(_WIN32) && PY_VERSION_HEX < 0x030d0000
    #define MS_CLOCKS_DIFFER 1
    #else
    #define MS_CLOCKS_DIFFER 0
    #endif
    """
    const bint MS_CLOCKS_DIFFER

cdef extern from "ms_sleep.h":
    ctypedef struct ms_sleep_estimate:
        pass
    enum:
        MS_SLEEP_DONE
        MS_SLEEP_NEAR
    int64_t ms_sleep_now_ns() noexcept nogil
    void ms_sleep_estimate_init(ms_sleep_estimate *) noexcept nogil
    int64_t ms_sleep_margin_ns(const ms_sleep_estimate *) noexcept nogil
    int ms_sleep_until(int64_t t_ns, int64_t margin_ns, ms_sleep_estimate *learn) noexcept nogil
    const char *ms_sleep_method() noexcept nogil

# What all threads of this process learn together.
cdef ms_sleep_estimate estimate
ms_sleep_estimate_init(&estimate)


cdef int64_t clamped(object number) except? -1:
    """An int as int64, the nearest one where it is out of range."""
    cdef int overflow = 0
    cdef int64_t result = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow:
        return INT64_MAX if overflow > 0 else INT64_MIN
    return result


cdef int wait_until(int64_t t_ns, int64_t margin_ns, bint learning) except -1:
    cdef ms_sleep_estimate *learn = &estimate if learning else NULL
    cdef int status
    while True:
        with nogil:
            status = ms_sleep_until(t_ns, margin_ns, learn)
        if status == MS_SLEEP_DONE:
            return 0
        if status == MS_SLEEP_NEAR:
            learn = NULL
        PyErr_CheckSignals()
        # Where others kept the GIL until now, to give it away once more could take as long again.
        if ms_sleep_now_ns() >= t_ns:
            return 0


def sleep_until_ns(t_ns, *, spin_ns=None):
    """Return at `t_ns`: never before, and about a microsecond after where the system lets it.

    Parameters
    ----------
    t_ns : int
        Instant of `time.monotonic_ns`. One in the past returns at once; any size is fine.
    spin_ns : int, optional
        How long before `t_ns` to stop sleeping and spin, at least 0, which is to sleep only. By
        default, as long as the system has been late until now: see Notes.

    Returns
    -------
    int
        How late it is, in nanoseconds, at least 0: the GIL is held again when it is measured.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `t_ns` or `spin_ns` is not an integer; `spin_ns` is negative.
    KeyboardInterrupt, or what else a signal handler raises
        The sleep ends with it. A handler that returns does not shorten the sleep.

    Notes
    -----
    **How.** ``clock_nanosleep`` to an absolute time on Linux, with the thread's timer slack at 1 ns
    in the meantime; ``mach_wait_until`` on macOS; a high-resolution waitable timer on Windows. It
    ends some margin before `t_ns`, and a loop that reads the clock passes the rest. Both happen
    without the GIL, which is taken for a moment in between: the processor has then seen, since it
    was idle, what it needs at `t_ns`, and the caller goes on in half the time.

    **Margin.** The lateness of each sleep teaches the whole process: the margin is the mean plus
    four mean deviations, kept as TCP keeps its round-trip time [1]_ but falling more slowly, from 2
    to 500 us. All of it is a processor's full work: with 80 us and 1000 sleeps a second, 8 % of
    one. `spin_ns` of 0 spares that, and is as late as the system is.

    **What it cannot do.** Threads that run Python code hold the GIL for up to
    `sys.getswitchinterval` (5 ms) after this thread wants it back, and a processor that others use
    may be given late: neither is hidden by a longer spin. `apply_to_this_thread` helps against the
    latter.

    **Windows, before Python 3.13.** `time.monotonic_ns` steps by 15.6 ms there: so does this.

    Safe from any thread. Calls nothing of Python in between, except signal handlers.

    References
    ----------
    .. [1] V. Paxson et al., "Computing TCP's Retransmission Timer", RFC 6298, 2011

    Examples
    --------
    A loop without drift:

    >>> from time import monotonic_ns
    >>> from midstream.scheduler import sleep_until_ns
    >>> start_ns = monotonic_ns()
    >>> for tick in range(1, 4):
    ...     late_ns = sleep_until_ns(start_ns + tick * 1_000_000)
    >>> monotonic_ns() - start_ns >= 3_000_000
    True
    """
    if not PyLong_CheckExact(t_ns):
        t_ns = check_int("t_ns", t_ns)
    cdef int64_t until = clamped(t_ns)
    cdef int64_t margin
    if spin_ns is None:
        margin = ms_sleep_margin_ns(&estimate)
    else:
        margin = clamped(check_int("spin_ns", spin_ns, low=0))
    if MS_CLOCKS_DIFFER:
        return wait_by_python(t_ns, margin, spin_ns is None)
    wait_until(until, margin, spin_ns is None)
    cdef int64_t now = ms_sleep_now_ns()
    # The difference of those may not fit an int64.
    return now - until if 0 <= until < INT64_MAX else now - t_ns


cdef object wait_by_python(object t_ns, int64_t margin, bint learning):
    """By the length of the sleep, since the clocks have different origins; and again while Python's
    clock, which has not so many steps, says that it was not long enough."""
    while True:
        left = t_ns - monotonic_ns()
        if left <= 0:
            return -left
        wait_until(clamped(ms_sleep_now_ns() + left), margin, learning)


def sleep_ns(duration_ns, *, spin_ns=None):
    """Sleep for `duration_ns` from now: ``sleep_until_ns(monotonic_ns() + duration_ns)``.

    Parameters
    ----------
    duration_ns : int
        Nanoseconds; none or fewer return at once.
    spin_ns : int, optional
        As for `sleep_until_ns`.

    Returns
    -------
    int
        How much longer it took, in nanoseconds, at least 0.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `sleep_until_ns` does.

    Notes
    -----
    In a loop, what is done between two sleeps adds to each period: `sleep_until_ns` does not drift.

    Examples
    --------
    >>> from midstream.scheduler import sleep_ns
    >>> sleep_ns(100_000) >= 0
    True
    """
    return sleep_until_ns(
        monotonic_ns() + max(check_int("duration_ns", duration_ns), 0), spin_ns=spin_ns
    )


def margin_ns():
    """How long before the instant `sleep_until_ns` now stops sleeping, in nanoseconds.

    Returns
    -------
    int
    """
    return ms_sleep_margin_ns(&estimate)


def sleep_method():
    """How this platform sleeps, in words.

    Returns
    -------
    str
    """
    return ms_sleep_method().decode("ascii")
