# cython: freethreading_compatible=True
"""Binding of csrc/ms_monitor: a state that letters move, and the verdict it shows."""

cimport cython
from cpython.dict cimport PyDict_CheckExact
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from collections.abc import Iterable, Mapping

import numpy as np

from midstream._core._threads cimport dict_get

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    StateLimitError,
)
from midstream._core.validate import check_real
from midstream.logic._signal cimport PastProgram
from midstream.logic.verdict import Verdict

cdef extern from "Python.h":
    bint PyAnySet_CheckExact(object o)
    Py_ssize_t PySet_Size(object o) except -1
    int PySet_Contains(object o, object key) except -1
    long long PyLong_AsLongLongAndOverflow(object o, int *overflow) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object o) except? 0xFFFFFFFFFFFFFFFF
    long PyLong_AsLong(object o) except? -1
    double PyFloat_AsDouble(object o) except? -1.0

cdef extern from "ms_signal.h":
    int MS_SIGNAL_OK
    int MS_SIGNAL_NOMEM

cdef extern from "ms_monitor.h":
    int MS_MONITOR_OK
    ctypedef struct ms_monitor:
        int32_t n_nodes
        int32_t n_states
        int32_t n_atoms
        size_t words
        uint8_t *final
        uint8_t *outputs
        int tried
    ctypedef struct ms_monitor_run:
        int32_t state
        int64_t decided
        int64_t bad
        uint64_t counted
    int ms_monitor_init(ms_monitor *m, const int32_t *nodes, int32_t n_nodes,
                        const int32_t *roots, const uint8_t *colours, int32_t n_states,
                        int32_t n_atoms) noexcept nogil
    void ms_monitor_free(ms_monitor *m) noexcept nogil
    void ms_monitor_tabulate(ms_monitor *m, size_t events) noexcept nogil
    int32_t ms_monitor_walk(const ms_monitor *m, int32_t state, const uint64_t *mask) noexcept nogil
    int32_t ms_monitor_step(const ms_monitor *m, int32_t state, uint64_t mask) noexcept nogil
    void ms_monitor_feed(const ms_monitor *m, ms_monitor_run *run, const void *masks,
                         int log_bytes, size_t n, uint8_t *out, int count_from) noexcept nogil
    int32_t ms_monitor_spread(const ms_monitor *m, const int32_t *states, int32_t n,
                              const uint64_t *mask, const uint64_t *unknown, int32_t *next,
                              uint32_t *marks, uint32_t stamp, int32_t *stack) noexcept nogil

#: Entries of tables that are made at once; larger ones wait for the first long `feed`.
cdef int EAGER = 1 << 14
#: Events that make larger tables worth their while.
cdef Py_ssize_t LONG_FEED = 4096
#: Events between two looks at pending signals.
cdef Py_ssize_t PIECE = 1 << 20

#: What a mapping's lack of an atom means.
MISSING = ("false", "error", "unknown")
cdef int LACK_IS_ERROR = 1, LACK_IS_UNKNOWN = 2

cdef tuple VERDICTS = tuple(Verdict)
cdef dict COMPARISONS = {">": 0, ">=": 1, "<": 2, "<=": 3, "==": 4, "!=": 5}


@cython.final
cdef class Tables:
    """A machine, ready to be stepped; shared by the monitors of one formula.

    Parameters
    ----------
    nodes, roots, colours
        As `Automaton` has them; kept, not copied.
    n_atoms : int
    """

    cdef ms_monitor m
    cdef readonly object nodes, roots, colours

    def __cinit__(self, nodes, roots, colours, int32_t n_atoms):
        cdef const int32_t[:, ::1] node_rows = nodes
        cdef const int32_t[::1] root_row = roots
        cdef const uint8_t[::1] colour_row = colours
        self.nodes, self.roots, self.colours = nodes, roots, colours
        if ms_monitor_init(
            &self.m, &node_rows[0, 0] if node_rows.shape[0] else NULL, <int32_t>node_rows.shape[0],
            &root_row[0], &colour_row[0], <int32_t>root_row.shape[0], n_atoms,
        ) != MS_MONITOR_OK:
            raise MemoryError("no memory for a monitor")
        if n_atoms <= 12 and ((root_row.shape[0] + 1) << n_atoms) <= EAGER:
            ms_monitor_tabulate(&self.m, EAGER)

    def __dealloc__(self):
        ms_monitor_free(&self.m)

    def __reduce__(self):
        return Tables, (self.nodes, self.roots, self.colours, self.m.n_atoms)


cdef bint compares(int comparison, double value, double threshold) noexcept nogil:
    if comparison == 0:
        return value > threshold
    if comparison == 1:
        return value >= threshold
    if comparison == 2:
        return value < threshold
    if comparison == 3:
        return value <= threshold
    if comparison == 4:
        return value == threshold
    return value != threshold


cdef class Core:
    """A position in a machine. `Monitor` documents what is public.

    Parameters
    ----------
    tables : Tables
    alphabet : tuple of str
    predicates : tuple of Predicate or None
        By the index of `alphabet`.
    missing : int
        Index into `MISSING`.
    strict : bool
        Whether an atom that the alphabet lacks is an error in a set.
    triggers : tuple of Tables
        Machines that show at least PRESUMABLY_TRUE after the events that count.
    past : PastProgram or None
        Formulas over the alphabet whose truth the machine reads as atoms after those of it.
    timed : bool
        Whether their windows are in time, or in steps.
    """

    cdef Tables tables
    cdef ms_monitor *m
    cdef int32_t state_
    cdef uint64_t position_
    cdef int64_t decided_
    cdef int missing
    cdef bint strict, plain
    cdef dict bits
    cdef tuple alphabet_, signals
    cdef int *comparisons
    cdef double *thresholds
    # Masks of the letter just read, words * 2: known, unknown.
    cdef uint64_t *letter
    cdef uint64_t *unknown
    # Where several states are possible: their number, and themselves.
    cdef int32_t n_possible
    cdef int32_t *possible
    cdef int32_t *spare
    cdef int32_t *stack
    cdef uint32_t *marks
    cdef uint32_t stamp
    # Windows beside the machine.
    cdef PastProgram past
    cdef Py_ssize_t n_past
    cdef bint timed, busy
    cdef double last_time
    # Machines beside this one.
    cdef tuple trigger_tables
    cdef Py_ssize_t n_triggers
    cdef int32_t *trigger_states
    cdef uint64_t *trigger_counts

    def __cinit__(self, Tables tables, tuple alphabet, tuple predicates, int missing, bint strict,
                  tuple triggers, PastProgram past, bint timed, *args, **kwargs):
        cdef size_t words = tables.m.words, n = len(alphabet), k
        self.tables = tables
        self.m = &tables.m
        self.alphabet_ = alphabet
        self.missing = missing
        self.strict = strict
        self.bits = {name: index for index, name in enumerate(alphabet)}
        self.signals = tuple(None if p is None else p.signal for p in predicates)
        self.decided_ = -1
        self.n_possible = 1
        self.trigger_tables = triggers
        self.n_triggers = len(triggers)
        self.past = past
        self.n_past = 0 if past is None else len(past)
        self.timed = timed
        self.busy = False
        self.last_time = -np.inf
        self.plain = self.n_triggers == 0 and past is None and not timed
        self.letter = <uint64_t *>calloc(2 * words, sizeof(uint64_t))
        self.comparisons = <int *>calloc(n + 1, sizeof(int))
        self.thresholds = <double *>calloc(n + 1, sizeof(double))
        self.trigger_states = <int32_t *>calloc(self.n_triggers + 1, sizeof(int32_t))
        self.trigger_counts = <uint64_t *>calloc(self.n_triggers + 1, sizeof(uint64_t))
        if (self.letter == NULL or self.comparisons == NULL or self.thresholds == NULL
                or self.trigger_states == NULL or self.trigger_counts == NULL):
            raise MemoryError("no memory for a monitor")
        self.unknown = self.letter + words
        if missing == LACK_IS_UNKNOWN:
            self.possible = <int32_t *>malloc((tables.m.n_states + 1) * sizeof(int32_t))
            self.spare = <int32_t *>malloc((tables.m.n_states + 1) * sizeof(int32_t))
            self.stack = <int32_t *>malloc((2 * <size_t>tables.m.n_nodes + 2) * sizeof(int32_t))
            self.marks = <uint32_t *>calloc(
                <size_t>tables.m.n_nodes + tables.m.n_states + 1, sizeof(uint32_t)
            )
            if (self.possible == NULL or self.spare == NULL or self.stack == NULL
                    or self.marks == NULL):
                raise MemoryError("no memory for a monitor")
        for k in range(n):
            if predicates[k] is not None:
                self.comparisons[k] = COMPARISONS[predicates[k].comparison]
                self.thresholds[k] = predicates[k].threshold
        self.decide()

    def __dealloc__(self):
        free(self.letter)
        free(self.comparisons)
        free(self.thresholds)
        free(self.trigger_states)
        free(self.trigger_counts)
        free(self.possible)
        free(self.spare)
        free(self.stack)
        free(self.marks)

    cdef void decide(self) noexcept:
        """Note where the verdict became final: at the start, where it is so before any event."""
        if self.decided_ < 0 and self.m.final[self.state_] and self.n_possible == 1:
            self.decided_ = <int64_t>self.position_

    # ---- letters ----

    cdef int refuse_mask(self, object letter) except -1:
        raise ArgumentValueError(
            f"letter must be a mask of the {len(self.alphabet_)} atoms of the alphabet, "
            f"not {letter!r:.40}"
        )

    cdef int read_int(self, object letter) except -1:
        """A mask of any width into `letter`."""
        cdef size_t k
        if letter < 0 or letter >> len(self.alphabet_):
            self.refuse_mask(letter)
        for k in range(self.m.words):
            self.letter[k] = letter >> (64 * k) & 0xFFFFFFFFFFFFFFFF
        return 0

    cdef int read_name(self, object name) except -1:
        """One true atom: 1 if the alphabet has it."""
        cdef long bit
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"letter must hold names of atoms, not {type(name).__name__} ({name!r:.40})"
            )
        index = dict_get(self.bits, name, None)
        if index is not None:
            bit = PyLong_AsLong(index)
            self.letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
            return 1
        if self.strict:
            raise ArgumentValueError(
                f"letter must hold atoms of the alphabet, which has no {name!r}"
            )
        return 0

    cdef int read_set(self, object letter) except -1:
        cdef Py_ssize_t left = PySet_Size(letter), k, n = len(self.alphabet_)
        # One look-up an atom, until all are found; iterators are dearer than a few look-ups.
        if left == 0:
            return 0
        if n <= 4 * left + 8:
            for k in range(n):
                if PySet_Contains(letter, <object>(self.alphabet_[k])):
                    self.letter[k >> 6] |= <uint64_t>1 << (k & 63)
                    left -= 1
                    if left == 0:
                        return 0
            # What is left, no atom is called; whether it may stand there is another question.
        for name in letter:
            self.read_name(name)
        return 0

    cdef int read_value(self, Py_ssize_t k, object key, object given) except -1:
        """Truth of atom k as a mapping gives it."""
        if given is True:
            self.letter[k >> 6] |= <uint64_t>1 << (k & 63)
            return 0
        if given is False:
            return 0
        if isinstance(given, (np.bool_, int, np.integer)) and given in (0, 1):
            if given:
                self.letter[k >> 6] |= <uint64_t>1 << (k & 63)
            return 0
        raise ArgumentTypeError(
            f"letter[{key!r}] must be a bool, not {type(given).__name__} ({given!r:.40})"
        )

    cdef int read_sample(self, Py_ssize_t k, object value) except -1:
        """Truth of predicate k by its signal."""
        cdef double number
        try:
            if isinstance(value, (str, bytes)):
                raise TypeError
            number = PyFloat_AsDouble(value)
        except OverflowError:
            raise ArgumentValueError(
                f"letter[{self.signals[k]!r}] is too large for a real number"
            ) from None
        except (TypeError, ValueError):
            raise ArgumentTypeError(
                f"letter[{self.signals[k]!r}] must be a number, not {value!r:.40}"
            ) from None
        if number != number:
            raise ArgumentValueError(f"letter[{self.signals[k]!r}] must not be NaN")
        if compares(self.comparisons[k], number, self.thresholds[k]):
            self.letter[k >> 6] |= <uint64_t>1 << (k & 63)
        return 0

    cdef int read_dict(self, dict letter) except -1:
        """A mapping of atoms and signals. 1: something is unknown."""
        cdef Py_ssize_t k, n = len(self.alphabet_)
        cdef bint open_ = False
        for k in range(n):
            name = <object>(self.alphabet_[k])
            value = dict_get(letter, name, None)
            if value is not None:
                self.read_value(k, name, value)
                continue
            signal = <object>(self.signals[k])
            if signal is not None:
                value = dict_get(letter, signal, None)
                if value is not None:
                    self.read_sample(k, value)
                    continue
            if self.missing == LACK_IS_ERROR:
                raise ArgumentValueError(f"letter must say whether {name!r} holds")
            if self.missing == LACK_IS_UNKNOWN:
                self.unknown[k >> 6] |= <uint64_t>1 << (k & 63)
                open_ = True
        return open_

    cdef int read_letter(self, object letter) except -1:
        """Any letter into `letter` and `unknown`. 1: something is unknown."""
        memset(self.letter, 0, 2 * self.m.words * sizeof(uint64_t))
        if PyLong_CheckExact(letter):
            self.read_int(letter)
            return 0
        if PyAnySet_CheckExact(letter):
            self.read_set(letter)
            return 0
        if PyDict_CheckExact(letter):
            return self.read_dict(<dict>letter)
        if isinstance(letter, (bool, np.bool_, str, bytes, float)):
            self.refuse_letter(letter)
        if isinstance(letter, (int, np.integer)):
            self.read_int(int(letter))
            return 0
        if isinstance(letter, Mapping):
            return self.read_dict(dict(letter))
        if not isinstance(letter, Iterable):
            self.refuse_letter(letter)
        for name in letter:
            self.read_name(name)
        return 0

    cdef int refuse_letter(self, object letter) except -1:
        raise ArgumentTypeError(
            f"letter must be a set of atoms, a mapping or a bit mask, not "
            f"{type(letter).__name__} ({letter!r:.40})"
        )

    cdef int refuse_illegal(self, object position) except -1:
        raise ArgumentValueError(
            f"letter {position} must be one that `letters` allow; nothing was changed"
        )

    # ---- windows ----

    cdef int check_idle(self) except -1:
        """Refuse to touch windows that another thread is feeding without the lock."""
        if self.busy:
            raise MidstreamError("another thread is feeding this monitor: give each its own copy()")
        return 0

    cdef double read_time(self, object time) except? -1.0:
        """When the next event is: later than all before."""
        cdef double at
        if not self.timed:
            if time is not None:
                raise ArgumentValueError(
                    f"time must be left out where clock is 'steps', got {time!r}"
                )
            return <double>self.position_
        if time is None:
            raise ArgumentValueError("time must be given where clock is 'time'")
        at = check_real("time", time)
        if at <= self.last_time:
            raise ArgumentValueError(
                f"time must be later than that of the event before, {self.last_time!r}, got {at!r}"
            )
        return at

    cdef int refuse_windows(self, int status) except -1:
        if status == MS_SIGNAL_NOMEM:
            raise MemoryError("no memory for the events in a window")
        raise StateLimitError("a window holds too many events")

    cdef int look_back(self, double at) except -1:
        """Let the windows see `letter`, and put what they say after it."""
        cdef Py_ssize_t k, bit
        cdef int status = self.past.step_bits(self.letter, at)
        if status != MS_SIGNAL_OK:
            self.refuse_windows(status)
        for k in range(self.n_past):
            if self.past.holds(k):
                bit = len(self.alphabet_) + k
                self.letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
        return 0

    # ---- steps ----

    cdef int move(self, bint open_) except -1:
        """One event, as `letter` and `unknown` say."""
        cdef int32_t next
        cdef int32_t n, k
        cdef Py_ssize_t t
        cdef Tables other
        if self.n_possible > 1 or open_:
            self.stamp += 1
            if self.stamp == 0:
                memset(self.marks, 0, (<size_t>self.m.n_nodes + self.m.n_states) * 4)
                self.stamp = 1
            if self.n_possible == 1:
                self.possible[0] = self.state_
            n = ms_monitor_spread(self.m, self.possible, self.n_possible, self.letter, self.unknown,
                                  self.spare, self.marks, self.stamp, self.stack)
            if n == 0:
                self.refuse_illegal(self.position_)
            self.possible, self.spare = self.spare, self.possible
            self.n_possible = n
            self.state_ = self.possible[0]
        elif not self.m.final[self.state_]:
            if self.m.words == 1:
                next = ms_monitor_step(self.m, self.state_, self.letter[0])
            else:
                next = ms_monitor_walk(self.m, self.state_, self.letter)
            if next >= self.m.n_states:
                self.refuse_illegal(self.position_)
            self.state_ = next
        for t in range(self.n_triggers):
            other = <Tables>self.trigger_tables[t]
            next = ms_monitor_walk(&other.m, self.trigger_states[t], self.letter)
            self.trigger_states[t] = next
            self.trigger_counts[t] += other.m.outputs[next] >= 3
        if self.decided_ < 0 and self.m.final[self.state_] and self.n_possible == 1:
            self.decided_ = <int64_t>self.position_ + 1
        self.position_ += 1
        return 0

    cdef object current(self):
        cdef int32_t k
        cdef uint8_t output = self.m.outputs[self.state_]
        for k in range(1, self.n_possible):
            if self.m.outputs[self.possible[k]] != output:
                return <object>(VERDICTS[2])
        return <object>(VERDICTS[output])

    # A method descriptor, which the interpreter calls faster than a bound Cython function; its
    # signature is then in the docstring, where `inspect` finds it.
    @cython.binding(False)
    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    @cython.critical_section
    def step(self, letter, time=None):
        """Read one event.

        Parameters
        ----------
        letter : int, set or sequence of str, or mapping of str to bool or number
            A mask whose bit i is ``alphabet[i]``; the atoms that are true; or truth by atom and
            numbers by signal. A mapping may have more than the formula asks for; so may a set
            where no `alphabet` was given.
        time : float, optional
            When it was, later than the one before: where `clock` is ``"time"``.

        Returns
        -------
        Verdict
            After it.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No letter; a bit or an atom that the alphabet lacks; a signal that is NaN; a letter that
            `letters` does not allow; a time that is no later. Nothing was changed then.
        """
        cdef int overflow
        cdef long long value
        cdef uint64_t mask
        cdef int32_t next
        cdef double at
        cdef bint open_
        if (PyLong_CheckExact(letter) and self.plain and self.n_possible == 1
                and self.m.words == 1 and time is None):
            value = PyLong_AsLongLongAndOverflow(letter, &overflow)
            mask = <uint64_t>value
            if overflow > 0 and self.m.n_atoms == 64:
                try:
                    mask = PyLong_AsUnsignedLongLong(letter)
                except OverflowError:
                    self.refuse_mask(letter)
            elif overflow != 0 or value < 0 or (self.m.n_atoms < 63 and mask >> self.m.n_atoms):
                self.refuse_mask(letter)
            if not self.m.final[self.state_]:
                next = ms_monitor_step(self.m, self.state_, mask)
                if self.m.final[next]:
                    if next >= self.m.n_states:
                        self.refuse_illegal(self.position_)
                    self.decided_ = <int64_t>self.position_ + 1
                self.state_ = next
            self.position_ += 1
            return <object>(VERDICTS[self.m.outputs[self.state_]])
        if self.plain and time is None:
            self.move(self.read_letter(letter))
        else:
            self.check_idle()
            at = self.read_time(time)
            open_ = self.read_letter(letter)
            if self.past is not None:
                self.look_back(at)
            self.move(open_)
            if self.timed:
                self.last_time = at
        return self.current()

    @cython.critical_section
    def _feed(self, masks, bint verdicts, times=None):
        """Read a row of masks: unsigned, contiguous, (n,) or (n, words) where words > 1.

        `times` are float64, where windows are in time. Returns the verdicts after each event where
        asked for, or None. All is read, or nothing.
        """
        cdef Py_ssize_t n = masks.shape[0], start
        if n <= PIECE:
            return self.feed_piece(masks, verdicts, times, 0)
        before = self._state()
        found = []
        try:
            for start in range(0, n, PIECE):
                PyErr_CheckSignals()
                found.append(self.feed_piece(
                    masks[start:start + PIECE], verdicts,
                    None if times is None else times[start:start + PIECE], start,
                ))
        except BaseException:
            self._set_state(*before)
            raise
        return np.concatenate(found) if verdicts else None

    cdef object feed_piece(self, masks, bint verdicts, times, Py_ssize_t offset):
        cdef ms_monitor_run run
        cdef Py_ssize_t n = masks.shape[0], t
        cdef int log_bytes = {1: 0, 2: 1, 4: 2, 8: 3}[masks.dtype.itemsize]
        cdef const void *data = <const void *><size_t>masks.ctypes.data
        cdef uint8_t[::1] out
        cdef uint8_t *target = NULL
        cdef ms_monitor view
        cdef Tables other
        result = None
        if self.past is not None:
            return self.feed_beside(masks, log_bytes, verdicts, times, offset)
        if self.n_possible > 1 or self.timed:
            return self.feed_slowly(masks, verdicts, times)
        if verdicts:
            result = np.empty(n, np.uint8)
            if n:
                out = result
                target = &out[0]
        run.state = self.state_
        self.look_at(self.tables, n, <size_t>self.position_ + n, &view)
        with nogil:
            ms_monitor_feed(&view, &run, data, log_bytes, n, target, 0)
        if run.bad >= 0:
            mask = masks[run.bad]
            shown = int(mask) if masks.ndim == 1 else [hex(word) for word in mask.tolist()]
            raise ArgumentValueError(
                f"masks[{offset + run.bad}] must be a mask of the {len(self.alphabet_)} atoms of "
                f"the alphabet that `letters` allow, not {shown}; nothing was changed"
            )
        self.state_ = run.state
        if run.decided >= 0:
            self.decided_ = <int64_t>self.position_ + run.decided + 1
        self.position_ += <uint64_t>n
        for t in range(self.n_triggers):
            other = <Tables>self.trigger_tables[t]
            run.state = self.trigger_states[t]
            self.look_at(other, n, <size_t>self.position_, &view)
            with nogil:
                ms_monitor_feed(&view, &run, data, log_bytes, n, NULL, 3)
            self.trigger_states[t] = run.state
            self.trigger_counts[t] += run.counted
        return result

    cdef int look_at(self, Tables tables, Py_ssize_t n, size_t events, ms_monitor *view) except -1:
        """A machine with tables if `n` pay for them, as it is now: a copy of this monitor, which
        shares them, may make them meanwhile."""
        with cython.critical_section(tables):
            if n >= LONG_FEED:
                ms_monitor_tabulate(&tables.m, events)
            view[0] = tables.m
        return 0

    cdef int check_row(self, masks, times, Py_ssize_t offset) except -1:
        """Refuse a row of events if one is bad."""
        cdef size_t n = len(self.alphabet_), last = (n - 1) // 64 if n else 0
        column = masks if masks.ndim == 1 else masks[:, last]
        beyond = column >> column.dtype.type(n - 64 * last) if n - 64 * last < 8 * <size_t>(
            column.dtype.itemsize) else None
        if beyond is not None and beyond.any():
            bad = int(beyond.argmax())
            raise ArgumentValueError(
                f"masks[{offset + bad}] must be a mask of the {n} atoms of the alphabet, "
                f"not {masks[bad].tolist()}; nothing was changed"
            )
        if times is not None and len(times):
            before = np.concatenate([[self.last_time], times[:len(times) - 1]])
            late = ~((times > before) & np.isfinite(times))
            if late.any():
                bad = int(late.argmax())
                raise ArgumentValueError(
                    f"times[{offset + bad}] must be finite and later than {before[bad]!r}, got "
                    f"{times[bad]!r}; nothing was changed"
                )
        return 0

    cdef object feed_beside(self, masks, int log_bytes, bint verdicts, times,
                            Py_ssize_t offset):
        """Where windows stand beside the machine: they see every event."""
        cdef Py_ssize_t n = masks.shape[0], i, k, t, bit
        cdef size_t words = 1 if masks.ndim == 1 else masks.shape[1]
        cdef Py_ssize_t n_base = len(self.alphabet_)
        cdef const void *data = <const void *><size_t>masks.ctypes.data
        cdef const double[::1] moments = times
        cdef uint8_t[::1] out
        cdef ms_monitor **beside = NULL
        cdef int status = MS_SIGNAL_OK
        cdef double at = self.last_time
        cdef PastProgram past = self.past
        self.check_idle()
        self.check_row(masks, times, offset)
        result = np.empty(n, np.uint8)
        out = result
        before = self._state()
        beside = <ms_monitor **>malloc((self.n_triggers + 1) * sizeof(ms_monitor *))
        if beside == NULL:
            raise MemoryError("no memory for a monitor")
        for t in range(self.n_triggers):
            beside[t] = &(<Tables>self.trigger_tables[t]).m
        self.busy = True
        with nogil:
            for i in range(n):
                memset(self.letter, 0, self.m.words * sizeof(uint64_t))
                if log_bytes == 0:
                    self.letter[0] = (<const uint8_t *>data)[i]
                elif log_bytes == 1:
                    self.letter[0] = (<const uint16_t *>data)[i]
                elif log_bytes == 2:
                    self.letter[0] = (<const uint32_t *>data)[i]
                else:
                    for k in range(<Py_ssize_t>words):
                        self.letter[k] = (<const uint64_t *>data)[i * <Py_ssize_t>words + k]
                at = moments[i] if self.timed else <double>self.position_
                status = past.step_bits(self.letter, at)
                if status != MS_SIGNAL_OK:
                    break
                for k in range(self.n_past):
                    if past.holds(k):
                        bit = n_base + k
                        self.letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
                if not self.m.final[self.state_]:
                    self.state_ = ms_monitor_walk(self.m, self.state_, self.letter)
                    if self.m.final[self.state_]:
                        self.decided_ = <int64_t>self.position_ + 1
                self.position_ += 1
                for t in range(self.n_triggers):
                    self.trigger_states[t] = ms_monitor_walk(
                        beside[t], self.trigger_states[t], self.letter
                    )
                    self.trigger_counts[t] += beside[t].outputs[self.trigger_states[t]] >= 3
                out[i] = self.m.outputs[self.state_]
        self.busy = False
        free(beside)
        if status != MS_SIGNAL_OK:
            self._set_state(*before)
            self.refuse_windows(status)
        if self.timed:
            self.last_time = at
        return result if verdicts else None

    cdef object feed_slowly(self, masks, bint verdicts, times):
        """Event by event, where several states are possible, or times are to be checked."""
        cdef Py_ssize_t n = masks.shape[0], i, k
        result = np.empty(n, np.uint8) if verdicts else None
        before = self._state()
        rows = masks.tolist()
        try:
            for i in range(n):
                row = rows[i]
                if masks.ndim == 2:
                    row = sum([word << 64 * k for k, word in enumerate(row)])
                value = self.step(row, None if times is None else float(times[i]))
                if verdicts:
                    result[i] = int(value)
        except BaseException:
            self._set_state(*before)
            raise
        return result

    # ---- what it knows ----

    @property
    @cython.critical_section
    def verdict(self):
        """Verdict on the events so far."""
        return self.current()

    @property
    @cython.critical_section
    def state(self):
        """Index of the machine's state; None where several are possible."""
        return self.state_ if self.n_possible == 1 else None

    @property
    @cython.critical_section
    def states(self):
        """Indices of the states that are possible, ascending: one, unless inputs were unknown."""
        if self.n_possible == 1:
            return (self.state_,)
        return tuple(sorted([self.possible[k] for k in range(self.n_possible)]))

    @property
    @cython.critical_section
    def position(self):
        """Events read so far."""
        return self.position_

    @property
    @cython.critical_section
    def decided_at(self):
        """Index of the event that made the verdict final; None while it is not.

        -1 where it was final before any event.
        """
        return None if self.decided_ < 0 else self.decided_ - 1

    @property
    @cython.critical_section
    def alphabet(self):
        """Names of the atoms; bit i of a mask is ``alphabet[i]``."""
        return self.alphabet_

    @cython.critical_section
    def reset(self):
        """Forget all events."""
        cdef Py_ssize_t t
        self.check_idle()
        self.state_ = 0
        self.position_ = 0
        self.decided_ = -1
        self.n_possible = 1
        self.last_time = -np.inf
        if self.past is not None:
            self.past.reset()
        for t in range(self.n_triggers):
            self.trigger_states[t] = 0
            self.trigger_counts[t] = 0
        self.decide()

    @cython.critical_section
    def _state(self):
        self.check_idle()
        return (
            self.position_,
            self.decided_,
            self.states,
            tuple([self.trigger_states[t] for t in range(self.n_triggers)]),
            tuple([self.trigger_counts[t] for t in range(self.n_triggers)]),
            self.last_time,
            b"" if self.past is None else self.past.state().tobytes(),
        )

    @cython.critical_section
    def _set_state(self, uint64_t position, int64_t decided, states, trigger_states,
                   trigger_counts, double last_time, past):
        """What `_state` gave; nothing changes where it cannot be."""
        cdef Py_ssize_t t
        cdef int32_t k
        self.check_idle()
        sizes = [(<Tables>other).m.n_states for other in self.trigger_tables]
        if not (
            0 < len(states) == len(set(states)) <= max(1, self.m.n_states)
            and all(0 <= state < self.m.n_states for state in states)
            and len(trigger_states) == len(trigger_counts) == self.n_triggers == len(sizes)
            and all(0 <= state < size for state, size in zip(trigger_states, sizes))
            and -1 <= decided <= int(position)
        ):
            raise ArgumentValueError("snapshot must hold states of the monitor's machine")
        if self.past is not None:
            self.past.set_state(np.frombuffer(past, dtype=np.float64))
        self.last_time = last_time
        self.position_ = position
        self.decided_ = decided
        self.n_possible = <int32_t>len(states)
        self.state_ = states[0]
        if self.n_possible > 1:
            for k in range(self.n_possible):
                self.possible[k] = states[k]
        for t in range(self.n_triggers):
            self.trigger_states[t] = trigger_states[t]
            self.trigger_counts[t] = trigger_counts[t]

    @property
    @cython.critical_section
    def _trigger_counts(self):
        return tuple([self.trigger_counts[t] for t in range(self.n_triggers)])

    @property
    @cython.critical_section
    def _tables(self):
        return self.tables
