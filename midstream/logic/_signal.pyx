# cython: freethreading_compatible=True
"""Binding of csrc/ms_signal: metric temporal logic over signals, offline and sample by sample."""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.sequence cimport PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE
from cpython.tuple cimport PyTuple_CheckExact
from libc.math cimport INFINITY, isfinite
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from collections.abc import Mapping, Set

import operator

import numpy as np

from midstream._core._poll cimport Poll
from midstream._core._threads cimport still

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    StateLimitError,
)
from midstream._core.validate import check_real

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1

cdef extern from "ms_signal_future.h":
    ctypedef struct ms_signal_stream:
        double *low
        double *high
        uint64_t settled
    ctypedef struct ms_signal_top:
        double low
        double high
        int final
    ctypedef struct ms_signal_future:
        ms_signal_stream *streams
        size_t n_streams
        ms_signal_top *tops
        size_t n_tops
        uint64_t base
        uint64_t n
        uint64_t told
        int ended
    int ms_signal_future_init(ms_signal_future *e, size_t n_streams, const int32_t *op,
                              const int32_t *left, const int32_t *right, const double *low,
                              const double *high, const int32_t *root, size_t n_tops,
                              const int32_t *top_kind, const int32_t *top_op,
                              const int32_t *top_left, const int32_t *top_right,
                              const double *top_low, const double *top_high,
                              const int64_t *top_position, int truth,
                              size_t limit) noexcept nogil
    void ms_signal_future_free(ms_signal_future *e) noexcept nogil
    void ms_signal_future_reset(ms_signal_future *e) noexcept nogil
    int ms_signal_future_reserve(ms_signal_future *e) noexcept nogil
    void ms_signal_future_push(ms_signal_future *e, const ms_signal_program *past,
                               double time) noexcept nogil
    void ms_signal_future_tick(ms_signal_future *e, double time) noexcept nogil
    void ms_signal_future_finish(ms_signal_future *e) noexcept nogil
    size_t ms_signal_future_save_size(const ms_signal_future *e) noexcept nogil
    void ms_signal_future_save(const ms_signal_future *e, double *out) noexcept nogil
    int ms_signal_future_check(const ms_signal_future *e, const double *values,
                               size_t n) noexcept nogil
    size_t ms_signal_future_top(const ms_signal_future *e, const double *values) noexcept nogil
    int ms_signal_future_load(ms_signal_future *e, const double *values, size_t n,
                              int *status) noexcept nogil

cdef extern from "ms_signal_smooth.h":
    int ms_signal_smooth(ms_signal_program *p, const double *const *inputs, size_t n,
                         const double *times, double temperature, size_t position, double *value,
                         double *input_slopes, double *threshold_slopes,
                         ms_poll *poll) noexcept nogil

#: What a monitor answers.
BOOLEAN, ROBUSTNESS, INTERVAL = 0, 1, 2

# Integers beyond it are not exact as float64: then times count from the first one.
cdef long long EXACT = 1 << 52


cdef int fail(int status, size_t limit) except -1:
    if status == MS_SIGNAL_FULL:
        raise StateLimitError(
            f"an operator would have to keep more than max_buffer = {limit} samples of its window",
            limit=limit,
        )
    if status == MS_SIGNAL_NOMEM:
        raise MemoryError("no memory for the samples in a window")
    return 0


cdef int compile_program(ms_signal_program *program, flat, const int32_t[::1] inputs,
                         const int32_t[::1] compares, const double[::1] thresholds,
                         const int32_t[::1] roots, bint truth, size_t limit) except -1:
    cdef const int32_t[::1] ops = flat.ops
    cdef const int32_t[::1] left = flat.left
    cdef const int32_t[::1] right = flat.right
    cdef const double[::1] low = flat.low
    cdef const double[::1] high = flat.high
    cdef int status
    # A program without leaves has empty arrays, which have no first element.
    status = ms_signal_compile(
        program, ops.shape[0], &ops[0], &left[0], &right[0], &low[0], &high[0],
        &inputs[0] if inputs.shape[0] else NULL, &compares[0] if compares.shape[0] else NULL,
        &thresholds[0] if thresholds.shape[0] else NULL, &roots[0], roots.shape[0], truth, limit,
    )
    return fail(status, limit)


def offline(flat, const int32_t[::1] inputs, const int32_t[::1] compares,
            const double[::1] thresholds, bint truth, list columns, Py_ssize_t n,
            const double[::1] times=None):
    """Values of the first root at n positions; columns are float64 arrays of n samples."""
    cdef ms_signal_program program
    cdef Poll poll = Poll()
    cdef const double **pointers
    cdef const double[::1] column
    cdef double[::1] out = np.empty(n, dtype=np.float64)
    cdef const double *stamps = NULL
    cdef const int32_t[::1] roots = flat.roots
    cdef Py_ssize_t k
    cdef int status
    if times is not None:
        stamps = &times[0]
    pointers = <const double **>calloc(len(columns) + 1, sizeof(double *))
    if pointers == NULL:
        raise MemoryError("no memory for the table of columns")
    memset(&program, 0, sizeof(program))
    try:
        for k in range(len(columns)):
            column = columns[k]
            pointers[k] = &column[0]
        compile_program(&program, flat, inputs, compares, thresholds, roots, truth, <size_t>-1)
        with nogil:
            status = ms_signal_offline(&program, pointers, n, stamps, &out[0], &poll.poll)
    finally:
        ms_signal_free(&program)
        free(pointers)
    poll.reraise()
    if status == MS_SIGNAL_NOMEM:
        raise MemoryError(f"no memory for columns of {n} samples")
    return np.asarray(out)


def smooth(flat, const int32_t[::1] inputs, const int32_t[::1] compares,
           const double[::1] thresholds, list columns, Py_ssize_t n, const double[::1] times,
           double temperature, Py_ssize_t position):
    """Smooth value of the first root at a position, and its slopes by inputs and thresholds."""
    cdef ms_signal_program program
    cdef Poll poll = Poll()
    cdef const double **pointers
    cdef const double[::1] column
    cdef double[:, ::1] by_input = np.zeros((len(columns) + 1, n), dtype=np.float64)
    cdef double[::1] by_threshold = np.zeros(thresholds.shape[0] + 1, dtype=np.float64)
    cdef const int32_t[::1] roots = flat.roots
    cdef double value = 0.0
    cdef Py_ssize_t k
    cdef int status
    pointers = <const double **>calloc(len(columns) + 1, sizeof(double *))
    if pointers == NULL:
        raise MemoryError("no memory for the table of columns")
    memset(&program, 0, sizeof(program))
    try:
        for k in range(len(columns)):
            column = columns[k]
            pointers[k] = &column[0]
        compile_program(&program, flat, inputs, compares, thresholds, roots, False, <size_t>-1)
        with nogil:
            status = ms_signal_smooth(&program, pointers, n, &times[0] if times is not None
                                      else NULL, temperature, position, &value, &by_input[0, 0],
                                      &by_threshold[0], &poll.poll)
    finally:
        ms_signal_free(&program)
        free(pointers)
    poll.reraise()
    if status == MS_SIGNAL_NOMEM:
        raise MemoryError(f"no memory for the values of all subformulas at {n} samples")
    return value, np.asarray(by_input)[: len(columns)], np.asarray(by_threshold)[: thresholds.shape[0]]


cdef class PastProgram:
    """Several formulas of past operators as one program over bits, stepped from C.

    `flat` is what `flatten(*formulas, alphabet=...)` returned, without future operators.
    """

    def __cinit__(self, flat, *, size_t max_buffer=<size_t>-1):
        n = len(flat.atoms)
        compile_program(
            &self.program, flat, np.arange(n, dtype=np.int32), np.full(n, -1, dtype=np.int32),
            np.zeros(n), flat.roots, True, max_buffer,
        )

    def __dealloc__(self):
        ms_signal_free(&self.program)

    @cython.critical_section
    def __len__(self):
        return self.program.n_roots

    cdef int step_bits(self, const uint64_t *words, double time) noexcept nogil:
        return ms_signal_step_bits(&self.program, words, time)

    cdef bint holds(self, size_t root) noexcept nogil:
        return ms_signal_root(&self.program, root) > 0

    @cython.critical_section
    def step(self, const uint64_t[::1] words, double time):
        """Take a letter; return a list of whether each formula holds there."""
        cdef size_t root
        if words.shape[0] == 0:
            raise ValueError("no words")
        fail(self.step_bits(&words[0], time), self.program.limit)
        return [bool(self.holds(root)) for root in range(self.program.n_roots)]

    @cython.critical_section
    def reset(self):
        """Forget all letters."""
        ms_signal_reset(&self.program)

    @cython.critical_section
    def state(self):
        """What is kept of the letters so far: float64 array."""
        cdef double[::1] out = np.empty(ms_signal_save_size(&self.program), dtype=np.float64)
        if out.shape[0]:
            ms_signal_save(&self.program, &out[0])
        return np.asarray(out)

    @cython.critical_section
    def set_state(self, const double[::1] state):
        """Go back to a `state` of the same formulas."""
        cdef int status = 0
        if not ms_signal_load(&self.program, &state[0] if state.shape[0] else NULL,
                              state.shape[0], INFINITY, &status):
            raise ArgumentValueError("state must be of the same formulas")
        fail(status, self.program.limit)


cdef class Engine:
    """What `SignalMonitor` is made of: see there. It checks formulas; this checks samples."""

    cdef ms_signal_program past
    cdef ms_signal_future future
    cdef double *inputs
    cdef bint *is_atom
    cdef Py_ssize_t n_inputs
    cdef Py_ssize_t n_atoms
    cdef bint has_future, at_first, ready, all_atoms, missing_error
    cdef int output
    cdef tuple names
    cdef dict index
    # -1 until the first sample says whether there are timestamps.
    cdef int timed
    cdef double last
    cdef long long origin
    cdef readonly uint64_t n_seen
    cdef bint ended, decided
    # While a feed of another thread runs without the lock.
    cdef bint busy
    cdef double low, high

    def __dealloc__(self):
        ms_signal_free(&self.past)
        ms_signal_future_free(&self.future)
        free(self.inputs)
        free(self.is_atom)

    @cython.critical_section
    def _set_up(self, flat, const int32_t[::1] inputs, const int32_t[::1] compares,
                const double[::1] thresholds, const int32_t[::1] roots, tuple names,
                tuple atoms, int output, bint at_first, bint missing_error, size_t limit,
                streams, tops):
        cdef Py_ssize_t k
        cdef const int32_t[::1] s_op, s_left, s_right, s_root, t_kind, t_op, t_left, t_right
        cdef const double[::1] s_low, s_high, t_low, t_high
        cdef const int64_t[::1] t_position
        if self.ready:
            raise ArgumentValueError("a monitor is made once: use reset() or a new one")
        self.names = names
        self.index = {name: k for k, name in enumerate(names)}
        self.n_inputs = len(names)
        self.inputs = <double *>calloc(self.n_inputs + 1, sizeof(double))
        self.is_atom = <bint *>calloc(self.n_inputs + 1, sizeof(bint))
        if self.inputs == NULL or self.is_atom == NULL:
            raise MemoryError("no memory for a sample")
        self.n_atoms = len(atoms)
        for name in atoms:
            self.is_atom[<Py_ssize_t>self.index[name]] = True
        self.all_atoms = self.n_atoms == self.n_inputs
        self.output = output
        self.at_first = at_first
        self.missing_error = missing_error
        compile_program(&self.past, flat, inputs, compares, thresholds, roots, output == 0, limit)
        self.has_future = streams is not None
        if self.has_future:
            s_op, s_left, s_right, s_low, s_high, s_root = streams
            t_kind, t_op, t_left, t_right, t_low, t_high, t_position = tops
            fail(ms_signal_future_init(
                &self.future, s_op.shape[0], &s_op[0] if s_op.shape[0] else NULL,
                &s_left[0] if s_op.shape[0] else NULL, &s_right[0] if s_op.shape[0] else NULL,
                &s_low[0] if s_op.shape[0] else NULL, &s_high[0] if s_op.shape[0] else NULL,
                &s_root[0] if s_op.shape[0] else NULL, t_kind.shape[0],
                &t_kind[0] if t_kind.shape[0] else NULL, &t_op[0] if t_kind.shape[0] else NULL,
                &t_left[0] if t_kind.shape[0] else NULL,
                &t_right[0] if t_kind.shape[0] else NULL,
                &t_low[0] if t_kind.shape[0] else NULL, &t_high[0] if t_kind.shape[0] else NULL,
                &t_position[0] if t_kind.shape[0] else NULL,
                self.past.truth, limit,
            ), limit)
        self.ready = True
        self.reset()

    @property
    @cython.critical_section
    def inputs(self):
        """Names of the signals and atoms, in the order of positional samples."""
        return self.names

    cdef int check_idle(self) except -1:
        """Refuse to touch queues that another thread is feeding without the lock."""
        if self.busy:
            raise MidstreamError("another thread is feeding this monitor: give each its own copy()")
        return 0

    @cython.critical_section
    def reset(self):
        """Forget all samples."""
        self.check_idle()
        ms_signal_reset(&self.past)
        if self.has_future:
            ms_signal_future_reset(&self.future)
        self.timed = -1
        self.last = -INFINITY
        self.origin = 0
        self.n_seen = 0
        self.ended = False
        self.decided = False
        self.low = -INFINITY
        self.high = INFINITY

    # ---- samples ----

    cdef int put(self, Py_ssize_t k, object value) except -1:
        cdef double x
        if PyFloat_CheckExact(value):
            x = PyFloat_AS_DOUBLE(value)
        elif value is True:
            x = 1.0
        elif value is False:
            x = 0.0
        elif PyLong_CheckExact(value):
            try:
                x = value
            except OverflowError:
                x = self.slow_number(k, value)
        else:
            x = self.slow_number(k, value)
        if self.is_atom[k]:
            if x != 0.0 and x != 1.0:
                raise ArgumentValueError(
                    f"sample's {self.names[k]!r} must be true or false: it is an atom, "
                    f"got {value!r}"
                )
        elif x != x:
            raise ArgumentValueError(f"sample's {self.names[k]!r} must not be NaN")
        self.inputs[k] = x
        return 0

    cdef double slow_number(self, Py_ssize_t k, object value) except? -1:
        if isinstance(value, np.bool_):
            return 1.0 if value else 0.0
        if PyFloat_Check(value):
            return PyFloat_AS_DOUBLE(value)
        return check_real(f"sample's {self.names[k]!r}", value, finite=False)

    cdef int read_sample(self, object sample) except -1:
        cdef Py_ssize_t k
        cdef object value
        if PyFloat_CheckExact(sample):
            if self.n_inputs != 1:
                self.refuse(sample)
            return self.put(0, sample)
        if PyLong_CheckExact(sample) or sample is True or sample is False:
            return self.read_mask(sample)
        if PyTuple_CheckExact(sample) or PyList_CheckExact(sample):
            sample = still(sample)
            if PySequence_Fast_GET_SIZE(sample) != self.n_inputs:
                self.refuse(sample)
            for k in range(self.n_inputs):
                value = <object>PySequence_Fast_GET_ITEM(sample, k)
                self.put(k, value)
                # What was asked for its value may have changed the list.
                if PySequence_Fast_GET_SIZE(sample) != self.n_inputs:
                    self.refuse(sample)
            return 0
        if isinstance(sample, dict):
            return self.read_mapping(sample)
        if isinstance(sample, (set, frozenset)):
            return self.read_set(sample)
        return self.read_other(sample)

    cdef int read_mask(self, object sample) except -1:
        cdef Py_ssize_t k
        cdef long long bits
        cdef int overflow = 0
        if not self.all_atoms:
            if self.n_inputs == 1:
                return self.put(0, sample)
            self.refuse(sample)
        bits = PyLong_AsLongLongAndOverflow(sample, &overflow)
        if not overflow and bits >= 0 and self.n_inputs < 63 and not bits >> self.n_inputs:
            for k in range(self.n_inputs):
                self.inputs[k] = <double>((bits >> k) & 1)
            return 0
        if sample < 0 or sample >> self.n_inputs:
            raise ArgumentValueError(
                f"sample must be a mask of the {self.n_inputs} atoms {self.names!r:.200}, "
                f"got {sample!r:.60}"
            )
        for k in range(self.n_inputs):
            self.inputs[k] = <double>((sample >> k) & 1)
        return 0

    cdef int read_mapping(self, object sample) except -1:
        cdef Py_ssize_t k
        for k in range(self.n_inputs):
            try:
                value = sample[self.names[k]]
            except KeyError:
                if self.is_atom[k] and not self.missing_error:
                    value = False
                else:
                    raise ArgumentValueError(
                        f"sample must have {self.names[k]!r}, "
                        f"{'an atom' if self.is_atom[k] else 'a signal'} of the formula"
                    ) from None
            self.put(k, value)
        return 0

    cdef int read_set(self, object sample) except -1:
        cdef Py_ssize_t k
        if not self.all_atoms:
            self.refuse(sample)
        for k in range(self.n_inputs):
            self.inputs[k] = 1.0 if self.names[k] in sample else 0.0
        return 0

    cdef int read_other(self, object sample) except -1:
        cdef Py_buffer view
        cdef Py_ssize_t k
        if isinstance(sample, Mapping):
            return self.read_mapping(sample)
        if isinstance(sample, Set):
            return self.read_set(sample)
        if isinstance(sample, (str, bytes)):
            self.refuse(sample)
        if isinstance(sample, np.integer):
            return self.read_mask(int(sample))
        if isinstance(sample, np.ndarray) and sample.ndim == 1:
            return self.read_sample(sample.tolist())
        if getattr(sample, "ndim", -1) == 0 or not hasattr(sample, "__len__"):
            if self.n_inputs != 1:
                self.refuse(sample)
            return self.put(0, sample)
        return self.read_sample(list(sample))

    cdef int refuse(self, object sample) except -1:
        raise ArgumentTypeError(
            f"sample must be a mapping or {self.n_inputs} values in the order of inputs "
            f"{self.names!r:.200}"
            f"{', a set of true atoms or a bit mask' if self.all_atoms else ''}, got {sample!r:.80}"
        )

    # ---- time ----

    cdef double read_time(self, object time, long long *origin) except? -1:
        """The time as float64 after `origin`, which the first integer sets where it is large."""
        cdef int overflow = 0
        cdef long long whole
        cdef double t
        origin[0] = self.origin
        if PyFloat_Check(time):
            t = PyFloat_AS_DOUBLE(time)
        else:
            if isinstance(time, (bool, str, bytes)):
                raise ArgumentTypeError(f"time must be a number, got {time!r:.60}")
            try:
                number = operator.index(time)
            except TypeError:
                t = check_real("time", time)
            else:
                whole = PyLong_AsLongLongAndOverflow(number, &overflow)
                if overflow:
                    raise ArgumentValueError(f"time must fit 64 bits, got {number!r:.60}")
                if self.last == -INFINITY and not -EXACT <= whole <= EXACT:
                    origin[0] = whole
                number -= origin[0]
                if not -2 * EXACT <= number <= 2 * EXACT:
                    raise ArgumentValueError(
                        f"time {time!r} is too far from the first one, {origin[0]}, to be exact"
                    )
                t = <double>number
                return self.check_time(t, time)
        if self.origin != 0:
            raise ArgumentTypeError(f"time must be an integer as the earlier ones, got {time!r}")
        if not isfinite(t):
            raise ArgumentValueError(f"time must be finite, got {time!r}")
        return self.check_time(t, time)

    cdef double check_time(self, double t, object time) except? -1:
        if t <= self.last:
            last = self.last if self.origin == 0 else int(self.last) + self.origin
            raise ArgumentValueError(
                f"time must increase: got {time!r} after {last!r}"
            )
        return t

    cdef double next_time(self, object time, long long *origin) except? -1:
        if not self.ready or self.ended:
            raise ArgumentValueError(
                "the trace has ended: reset() starts another" if self.ended
                else "the monitor was not made by SignalMonitor(formula)"
            )
        if time is None:
            if self.timed == 1:
                raise ArgumentValueError("time must be given: earlier samples had timestamps")
            origin[0] = 0
            return <double>self.n_seen
        if self.timed == 0:
            raise ArgumentValueError(
                f"time must be left out, got {time!r}: earlier samples had no timestamps"
            )
        return self.read_time(time, origin)

    # ---- steps ----

    cdef int take(self, double t) except -1:
        """Take the sample in `inputs`; nothing has changed where this raises."""
        cdef int status
        self.check_idle()
        if self.has_future:
            if self.decided:
                return 0
            status = ms_signal_future_reserve(&self.future)
            if status != MS_SIGNAL_OK:
                fail(status, self.past.limit)
        status = ms_signal_step(&self.past, self.inputs, t)
        if status != MS_SIGNAL_OK:
            fail(status, self.past.limit)
        if self.has_future:
            ms_signal_future_push(&self.future, &self.past, t)
            self.note()
        else:
            self.low = self.high = ms_signal_root(&self.past, 0) + 0.0
        return 0

    cdef void note(self) noexcept:
        """Copy the interval of the first position."""
        if self.future.n_tops:
            self.low = self.future.tops[self.future.n_tops - 1].low + 0.0
            self.high = self.future.tops[self.future.n_tops - 1].high + 0.0
            self.decided = self.low == self.high

    cdef object settled(self):
        """Values of the positions that were settled since the last call."""
        cdef ms_signal_stream *stream = &self.future.streams[self.future.n_streams - 1]
        cdef list out = []
        cdef double x
        while self.future.told < stream.settled:
            x = stream.low[self.future.told - self.future.base] + 0.0
            if self.output == 0:
                out.append(x > 0)
            elif self.output == 1:
                out.append(x)
            else:
                out.append((x, x))
            self.future.told += 1
        return out

    cdef object answer(self):
        if self.has_future and not self.at_first:
            return self.settled()
        if self.output == 2:
            return (self.low, self.high)
        if self.low != self.high:
            return None
        if self.output == 0:
            return True if self.low > 0 else False
        return self.low

    @cython.critical_section
    def step(self, sample, time=None):
        """Take a sample; return what is known now.

        Parameters
        ----------
        sample : mapping, sequence, number, set or int
            Name -> value; or the values in the order of `inputs`; or the value, where there is one
            input. Where all inputs are atoms also the set of the true ones, or a mask whose bit i
            is ``inputs[i]``.
        time : float or int, optional
            Its timestamp, larger than the one before. Samples without are one step apart. Integers
            of any size, such as nanoseconds since 1970, are exact.

        Returns
        -------
        bool, float, (float, float), list or None
            See `SignalMonitor`.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            NaN, a missing signal, a time that does not increase, or times for some samples only.
            The state is as it was, as with every error.
        StateLimitError
            A window holds more than `max_buffer` samples.
        """
        cdef long long origin = 0
        cdef double t
        t = self.next_time(time, &origin)
        self.read_sample(sample)
        self.take(t)
        self.last = t
        self.origin = origin
        self.timed = time is not None
        self.n_seen += 1
        if self.has_future or self.output == 2:
            return self.answer()
        if self.output == 0:
            return True if self.low > 0 else False
        return self.low

    @cython.critical_section
    def advance(self, time):
        """Let time pass without a sample: none with this timestamp or an earlier one will follow.

        So a deadline that has passed is seen without waiting for an event. The time of the last
        sample itself changes nothing.

        Parameters
        ----------
        time : float or int

        Returns
        -------
        bool, float, (float, float), list or None
            As `step`: what is known now.
        """
        cdef long long origin = 0
        cdef double t
        self.check_idle()
        if time is None:
            raise ArgumentTypeError("time must be a number, got None")
        if self.timed == 1 and self.origin == 0 and time == self.last:
            return self.answer()
        if self.timed == 1 and self.origin != 0 and time == self.origin + int(self.last):
            return self.answer()
        t = self.next_time(time, &origin)
        self.last = t
        self.origin = origin
        self.timed = 1
        if self.has_future and not self.decided:
            ms_signal_future_tick(&self.future, t)
            self.note()
        return self.answer()

    @cython.critical_section
    def finish(self):
        """End the trace: what was open is decided as for the whole finite trace.

        Returns
        -------
        bool, float, (float, float), list or None
            As `step`; nothing stays undecided.

        Raises
        ------
        ArgumentValueError
            There was no sample.
        """
        self.check_idle()
        if self.n_seen == 0:
            raise ArgumentValueError("the trace must have a sample before it ends")
        if not self.ended and self.has_future and not self.decided:
            ms_signal_future_finish(&self.future)
            self.note()
        self.ended = True
        return self.answer()

    @property
    @cython.critical_section
    def interval(self):
        """(low, high): what the value of the last answer can still become."""
        return (self.low, self.high)

    @cython.critical_section
    def _feed(self, list columns, Py_ssize_t n, const double[::1] times, long long origin):
        """Take n samples of checked columns; times are after `origin`."""
        cdef Poll poll = Poll()
        cdef const double **pointers
        cdef const double[::1] column
        cdef double[:, ::1] out
        cdef const double *stamps = NULL
        cdef double start = <double>self.n_seen
        cdef double t
        cdef size_t done = 0
        cdef Py_ssize_t k, i
        cdef int status = 0
        cdef list settled = []
        pointers = <const double **>calloc(len(columns) + 1, sizeof(double *))
        if pointers == NULL:
            raise MemoryError("no memory for the table of columns")
        if times is not None:
            stamps = &times[0]
        try:
            for k in range(len(columns)):
                column = columns[k]
                pointers[k] = &column[0]
            if not self.has_future:
                out = np.empty((n, 1), dtype=np.float64)
                self.check_idle()
                self.busy = True
                with nogil:
                    status = ms_signal_feed(&self.past, pointers, n, stamps, start, &out[0, 0],
                                            &done, &poll.poll)
                self.busy = False
                if done:
                    self.low = self.high = out[<Py_ssize_t>done - 1, 0]
                    self.told_time(done, stamps, origin)
                poll.reraise()
                fail(status, self.past.limit)
                return np.asarray(out)[:, 0]
            out = np.empty((n if self.at_first else 0, 2), dtype=np.float64)
            for i in range(n):
                for k in range(self.n_inputs):
                    self.inputs[k] = pointers[k][i]
                t = stamps[i] if stamps != NULL else start + <double>i
                self.take(t)
                self.told_time(1, stamps + i if stamps != NULL else NULL, origin)
                if self.at_first:
                    out[i, 0] = self.low
                    out[i, 1] = self.high
                else:
                    settled.extend(self.settled())
                if (i & 1023) == 1023 and poll.poll.ask(poll.poll.context):
                    poll.reraise()
            return np.asarray(out) if self.at_first else settled
        finally:
            free(pointers)

    cdef void told_time(self, size_t done, const double *stamps, long long origin) noexcept:
        if stamps != NULL:
            self.last = stamps[done - 1]
        else:
            self.last = <double>(self.n_seen + done - 1)
        self.timed = stamps != NULL
        self.origin = origin
        self.n_seen += done

    @property
    @cython.critical_section
    def _clock(self):
        """(timed, last, origin)."""
        return (self.timed, self.last, self.origin)

    @property
    @cython.critical_section
    def _ended(self):
        return bool(self.ended)

    @cython.critical_section
    def _state(self):
        """Integers and numbers that are the state."""
        self.check_idle()
        cdef size_t past = ms_signal_save_size(&self.past)
        cdef size_t future = ms_signal_future_save_size(&self.future) if self.has_future else 0
        cdef double[::1] out = np.empty(3 + past + future, dtype=np.float64)
        out[0] = self.last
        out[1] = self.low
        out[2] = self.high
        ms_signal_save(&self.past, &out[0] + 3)
        if self.has_future:
            ms_signal_future_save(&self.future, &out[0] + 3 + past)
        whole = (self.timed, self.origin, self.n_seen, int(self.ended), int(self.decided), past)
        return whole, np.asarray(out)

    cdef bint may_be(self, whole, const double *numbers, size_t past, size_t future) except -1:
        """What the counters say agrees with the numbers, each of which may be."""
        timed, origin, n_seen, ended, decided, _ = whole
        cdef double last = numbers[0], low = numbers[1], high = numbers[2]
        cdef const double *ahead = numbers + 3 + past
        cdef const double *top
        if ended not in (0, 1) or decided not in (0, 1) or not 0 <= n_seen <= 2 * EXACT:
            return False
        if timed == 1:
            if not isfinite(last):
                return False
            if origin != 0 and not (-2 * EXACT <= last <= 2 * EXACT and last == int(last)):
                return False
        elif origin != 0 or timed not in (-1, 0):
            return False
        elif last != (n_seen - 1 if timed == 0 else -INFINITY) or (n_seen == 0) != (timed == -1):
            return False
        if ended and n_seen == 0:
            return False
        if not self.has_future:
            # Before the first sample nothing is known.
            if n_seen == 0:
                return low == -INFINITY and high == INFINITY and not decided
            return low == high and not decided
        if self.future.n_tops:
            top = ahead + ms_signal_future_top(&self.future, ahead)
            if low != top[0] or high != top[1] or decided != (low == high):
                return False
        elif low != -INFINITY or high != INFINITY or decided:
            return False
        if decided:
            return ahead[1] <= n_seen and ahead[3] <= last and ahead[4] <= ended
        return ahead[1] == n_seen and ahead[3] == last and ahead[4] == ended

    @cython.critical_section
    def _set_state(self, whole, const double[::1] state):
        """Undo `_state`; False where it is none of this monitor."""
        cdef int status = 0
        cdef size_t past, future
        cdef size_t n = state.shape[0]
        cdef const double *numbers
        self.check_idle()
        if n < 3 or not 0 <= whole[5] <= n - 3:
            return False
        past = whole[5]
        future = n - 3 - past
        if not self.has_future and future:
            return False
        numbers = &state[0]
        if not ms_signal_check(&self.past, numbers + 3, past, numbers[0]):
            return False
        if self.has_future and not ms_signal_future_check(&self.future, numbers + 3 + past, future):
            return False
        if not self.may_be(whole, numbers, past, future):
            return False
        # Only memory can be missing from here on.
        ms_signal_load(&self.past, numbers + 3, past, numbers[0], &status)
        if status == MS_SIGNAL_OK and self.has_future:
            ms_signal_future_load(&self.future, numbers + 3 + past, future, &status)
        if status != MS_SIGNAL_OK:
            self.reset()
            fail(status, self.past.limit)
        self.timed, self.origin, self.n_seen, self.ended, self.decided = whole[:5]
        self.last = state[0]
        self.low = state[1]
        self.high = state[2]
        return True

    @property
    @cython.critical_section
    def n_held(self):
        """Samples that windows hold now: what memory grows with."""
        return ms_signal_held(&self.past) + (
            self.future.n - self.future.base if self.has_future else 0
        )
