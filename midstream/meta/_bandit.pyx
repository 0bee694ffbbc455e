# cython: freethreading_compatible=True
"""Binding of csrc/ms_bandit: decisions, and what their rewards teach."""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_AsLongLong, PyLong_CheckExact
from cpython.sequence cimport PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE
from cpython.tuple cimport PyTuple_CheckExact
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy

from collections.abc import Iterable

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._threads cimport dict_get, still
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_int, check_real

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_bandit.h":
    size_t MS_BANDIT_FEATURES
    size_t MS_BANDIT_ACTIONS
    double MS_BANDIT_LARGEST
    int MS_BANDIT_OK
    ctypedef struct ms_bandit_config:
        int policy
        size_t n_features
        size_t n_actions
        double alpha
        double ridge
        double discount
        double explore
        double low
        double high
        size_t max_pending
        size_t max_log
        uint64_t seed
    ctypedef struct ms_bandit_action:
        uint64_t learned
    ctypedef struct ms_bandit:
        ms_bandit_config config
        size_t record_bytes
        uint64_t all
        int64_t time
        int64_t next_ticket
        int64_t pending
        int64_t rewarded
        int64_t censored
        int64_t crowded_out
        ms_bandit_action *actions
        char *log
    ctypedef struct ms_bandit_choice:
        int64_t ticket
        int32_t action
        double propensity
    int ms_bandit_init(ms_bandit *t, const ms_bandit_config *config,
                       ms_simd_level level) noexcept nogil
    void ms_bandit_free(ms_bandit *t) noexcept nogil
    size_t ms_bandit_read(ms_bandit *t, const double *features) noexcept nogil
    void ms_bandit_estimate(ms_bandit *t, double *means, double *widths) noexcept nogil
    void ms_bandit_chances(ms_bandit *t, uint64_t allowed, double *chances) noexcept nogil
    void ms_bandit_decide(ms_bandit *t, uint64_t allowed, ms_bandit_choice *choice) noexcept nogil
    int ms_bandit_feedback(ms_bandit *t, int64_t ticket, double reward) noexcept nogil
    int ms_bandit_censor(ms_bandit *t, int64_t ticket) noexcept nogil
    int64_t ms_bandit_expire(ms_bandit *t, int64_t keep) noexcept nogil
    void ms_bandit_learn(ms_bandit *t, size_t action, double reward, double weight) noexcept nogil
    void ms_bandit_tick(ms_bandit *t) noexcept nogil
    void ms_bandit_soften(ms_bandit *t, double factor) noexcept nogil
    size_t ms_bandit_logged(const ms_bandit *t) noexcept nogil
    void ms_bandit_copy_log(const ms_bandit *t, char *out) noexcept nogil
    void ms_bandit_copy_pending(const ms_bandit *t, int64_t *out) noexcept nogil
    size_t ms_bandit_save(const ms_bandit *t, unsigned char *out) noexcept nogil
    int ms_bandit_load(ms_bandit *t, const unsigned char *data, size_t bytes) noexcept nogil

MAX_FEATURES = MS_BANDIT_FEATURES
MAX_ACTIONS = MS_BANDIT_ACTIONS
#: Largest magnitude of a feature.
LARGEST = MS_BANDIT_LARGEST

#: Numbers in the matrices above which a decision takes more than ten microseconds or so.
cdef size_t LONG = 1 << 15
#: Rows learned between two looks at pending signals.
cdef Py_ssize_t PIECE = 1024


@cython.final
@cython.freelist(64)
cdef class Decision:
    """What a bandit chose.

    Attributes
    ----------
    ticket : int
        By which the reward is told, in whatever order.
    action : str
    propensity : float
        Probability with which this action was drawn, given the features, what was allowed and all
        that was learned before: above 0.
    index : int
        Of the action among all.
    allowed : tuple of str
        What there was to choose from.
    """

    cdef readonly int64_t ticket
    cdef readonly str action
    cdef readonly double propensity
    cdef readonly Py_ssize_t index
    cdef uint64_t mask
    cdef tuple actions

    def __init__(self, *args, **kwargs):
        raise TypeError("decisions come from Bandit.decide")

    @property
    def allowed(self):
        cdef Py_ssize_t k
        return tuple([self.actions[k] for k in range(len(self.actions)) if self.mask >> k & 1])

    def __repr__(self):
        return (
            f"Decision(ticket={self.ticket}, action={self.action!r}, "
            f"propensity={self.propensity:.6g}, index={self.index})"
        )

    def __eq__(self, other):
        if not isinstance(other, Decision):
            return NotImplemented
        return self.__reduce__() == other.__reduce__()

    def __hash__(self):
        return hash(self.__reduce__())

    def __reduce__(self):
        return decision_of, (
            self.ticket, self.index, self.propensity, self.mask, self.actions,
        )


cdef Decision make_decision(int64_t ticket, Py_ssize_t index, double propensity, uint64_t mask,
                            tuple actions):
    cdef Decision decision = Decision.__new__(Decision)
    decision.ticket = ticket
    decision.action = <str>actions[index]
    decision.propensity = propensity
    decision.index = index
    decision.mask = mask
    decision.actions = actions
    return decision


def decision_of(int64_t ticket, Py_ssize_t index, double propensity, uint64_t mask, tuple actions):
    """A decision of its parts, for pickles."""
    if not (0 <= index < len(actions)):
        raise ArgumentValueError(f"index must be that of an action, got {index}")
    if type(actions[index]) is not str:
        raise ArgumentTypeError("actions must be str")
    return make_decision(ticket, index, propensity, mask, actions)


cdef class Core:
    """The learner. `Bandit` documents what is public, and checks the arguments.

    Parameters
    ----------
    actions : tuple of str
    policy : int
    n_features : int
    alpha, ridge, discount, explore, low, high : float
    max_pending, max_log : int
    seed : int
    """

    cdef ms_bandit t
    cdef double[64] point
    cdef bint busy, long_
    cdef readonly tuple actions
    cdef dict numbers
    cdef tuple last_allowed
    cdef uint64_t last_mask

    def __cinit__(self, tuple actions, int policy, size_t n_features, double alpha, double ridge,
                  double discount, double explore, double low, double high, size_t max_pending,
                  size_t max_log, uint64_t seed, *args, **kwargs):
        cdef ms_bandit_config config
        if not (1 <= len(actions) <= <Py_ssize_t>MS_BANDIT_ACTIONS
                and n_features <= MS_BANDIT_FEATURES and max_pending >= 1):
            raise ValueError("not checked")
        config.policy = policy
        config.n_features = n_features
        config.n_actions = len(actions)
        config.alpha = alpha
        config.ridge = ridge
        config.discount = discount
        config.explore = explore
        config.low = low
        config.high = high
        config.max_pending = max_pending
        config.max_log = max_log
        config.seed = seed
        self.actions = actions
        self.numbers = {name: index for index, name in enumerate(actions)}
        self.long_ = config.n_actions * n_features * n_features > LONG
        if not ms_bandit_init(&self.t, &config, <ms_simd_level>simd_level_number()):
            raise MemoryError(f"no memory for {max_pending} pending and {max_log} logged decisions")

    def __dealloc__(self):
        ms_bandit_free(&self.t)

    # ---- arguments ----

    cdef inline int check_idle(self) except -1:
        if self.busy:
            raise MidstreamError("this Bandit is in use by another thread: one at a time may")
        return 0

    cdef int refuse_length(self, Py_ssize_t length) except -1:
        raise ArgumentValueError(
            f"features must be {self.t.config.n_features} numbers, got {length}"
        )

    cdef int read_sequence(self, object features) except -1:
        cdef Py_ssize_t k, d = <Py_ssize_t>self.t.config.n_features
        cdef object value
        if PySequence_Fast_GET_SIZE(features) != d:
            self.refuse_length(PySequence_Fast_GET_SIZE(features))
        for k in range(d):
            value = <object>PySequence_Fast_GET_ITEM(features, k)
            if not PyFloat_CheckExact(value):
                break
            self.point[k] = PyFloat_AS_DOUBLE(value)
        else:
            return 0
        # What is asked for its value may run code: all of them first.
        numbers = [check_real(f"features[{i}]", v) for i, v in enumerate(tuple(features))]
        for k in range(d):
            self.point[k] = numbers[k]
        return 0

    cdef int read_buffer(self, object features) except -1:
        """1 if it is a buffer of doubles of the right length, which was copied; 0 if not."""
        cdef Py_buffer view
        cdef bint fits
        cdef size_t bytes_ = self.t.config.n_features * sizeof(double)
        if not PyObject_CheckBuffer(features):
            return 0
        try:
            PyObject_GetBuffer(features, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, ValueError):
            return 0
        fits = (
            view.ndim == 1 and view.itemsize == sizeof(double) and <size_t>view.len == bytes_
            and view.format != NULL and view.format[0] == b"d" and view.format[1] == 0
        )
        if fits:
            memcpy(self.point, view.buf, bytes_)
        PyBuffer_Release(&view)
        return fits

    cdef int read_anything(self, object features) except -1:
        cdef const double[::1] values
        if isinstance(features, (str, bytes)) or (
            not isinstance(features, Iterable) and not PyObject_CheckBuffer(features)
        ):
            raise ArgumentTypeError(
                f"features must be a sequence of numbers, got {type(features).__name__}"
            )
        if not isinstance(features, np.ndarray):
            try:
                array = np.asarray(memoryview(features))
            except (TypeError, ValueError, BufferError):
                # Not a buffer, or none of numbers.
                return self.read_sequence(tuple(features))
        else:
            array = features
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise ArgumentTypeError(
                f"features must be one row of numbers, got {array.ndim}-d {array.dtype}"
            )
        values = np.ascontiguousarray(array, dtype=np.float64)
        if values.shape[0] != <Py_ssize_t>self.t.config.n_features:
            self.refuse_length(values.shape[0])
        if values.shape[0]:
            memcpy(self.point, &values[0], values.shape[0] * sizeof(double))
        return 0

    cdef int read_features(self, object features) except -1:
        """Into the state, where nothing happens to them before they are used."""
        cdef size_t bad
        if PyTuple_CheckExact(features) or PyList_CheckExact(features):
            self.read_sequence(still(features))
        elif not self.read_buffer(features):
            self.read_anything(features)
        self.check_idle()
        bad = ms_bandit_read(&self.t, self.point)
        if bad < self.t.config.n_features:
            if self.point[bad] - self.point[bad] != 0:
                raise ArgumentValueError(
                    f"features must be finite, got {self.point[bad]!r} as features[{bad}]"
                )
            raise ArgumentValueError(
                f"features must be at most {MS_BANDIT_LARGEST:g} in magnitude, "
                f"got {self.point[bad]!r} as features[{bad}]"
            )
        return 0

    cdef Py_ssize_t number_of(self, str argument, object name) except -1:
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"{argument} must be a name of an action, got {name!r:.60} "
                f"({type(name).__name__})"
            )
        found = dict_get(self.numbers, name, None)
        if found is None:
            raise ArgumentValueError(
                f"{argument} must be one of {', '.join(map(repr, self.actions))}, got {name!r}"
            )
        return found

    cdef uint64_t read_allowed(self, object allowed) except? 0xFFFFFFFFFFFFFFFF:
        cdef uint64_t mask = 0
        if allowed is None:
            return self.t.all
        if allowed is self.last_allowed:
            return self.last_mask
        if isinstance(allowed, bool) or isinstance(allowed, (str, bytes)):
            raise ArgumentTypeError(
                f"allowed must be names of actions or a mask, got {allowed!r:.60}"
            )
        if PyLong_CheckExact(allowed) or isinstance(allowed, (int, np.integer)):
            number = int(allowed)
            if number < 0 or number >> len(self.actions):
                raise ArgumentValueError(
                    f"allowed must be a mask of {len(self.actions)} actions, got {number}"
                )
            mask = number
        elif isinstance(allowed, Iterable):
            for name in allowed:
                mask |= <uint64_t>1 << self.number_of("allowed", name)
        else:
            raise ArgumentTypeError(
                f"allowed must be names of actions or a mask, got {type(allowed).__name__}"
            )
        if mask == 0:
            raise ArgumentValueError("allowed must leave at least one action, got none")
        if PyTuple_CheckExact(allowed):
            self.last_allowed, self.last_mask = allowed, mask
        return mask

    cdef double read_reward(self, object reward) except? -1.0:
        cdef double number
        if PyFloat_CheckExact(reward):
            number = PyFloat_AS_DOUBLE(reward)
        else:
            number = check_real("reward", reward)
        if not (self.t.config.low <= number <= self.t.config.high):
            if number != number:
                raise ArgumentValueError(f"reward must be finite, got {number!r}")
            raise ArgumentValueError(
                f"reward must be in [{self.t.config.low!r}, {self.t.config.high!r}], "
                f"got {number!r}"
            )
        return number

    cdef int64_t read_ticket(self, object ticket) except? -1:
        if PyLong_CheckExact(ticket):
            try:
                return PyLong_AsLongLong(ticket)
            except OverflowError:
                self.refuse_ticket(ticket)
        number = check_int("ticket", ticket)
        if not 0 <= number < self.t.next_ticket:
            self.refuse_ticket(number)
        return number

    cdef int refuse_ticket(self, object ticket) except -1:
        if 0 <= ticket < self.t.next_ticket:
            raise ArgumentValueError(
                f"ticket must be pending, got {ticket}: "
                "it had its reward, was censored or expired before"
            )
        raise ArgumentValueError(
            f"ticket must be one that was given, got {ticket}: there were {self.t.next_ticket}"
        )

    # ---- what is called for every decision ----

    @cython.binding(False)
    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    @cython.critical_section
    def decide(self, features, allowed=None):
        """Choose an action.

        Parameters
        ----------
        features : (n_features,) array_like of float
            What is known before. Fastest: a float64 array or another buffer of doubles, a tuple or
            list of float. Numbers of the order of one, a constant 1 among them, learn best.
        allowed : iterable of str or int, optional
            Names of the actions to choose from, or a mask whose bit i is ``actions[i]``; all where
            left out. The same tuple again is read faster.

        Returns
        -------
        Decision
            With the ticket for the reward and the propensity.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Features are not `n_features` finite numbers of at most 1e50; an action is unknown;
            nothing is allowed. Nothing was changed then.
        """
        cdef ms_bandit_choice choice
        cdef uint64_t mask = self.read_allowed(allowed)
        self.read_features(features)
        if self.long_:
            self.busy = True
            with nogil:
                ms_bandit_decide(&self.t, mask, &choice)
            self.busy = False
        else:
            ms_bandit_decide(&self.t, mask, &choice)
        return make_decision(choice.ticket, choice.action, choice.propensity, mask, self.actions)

    @cython.binding(False)
    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    @cython.critical_section
    def feedback(self, ticket, reward):
        """Learn what came of a decision, however late and in whatever order.

        Parameters
        ----------
        ticket : int
            Of the decision.
        reward : float
            In ``[low, high]``.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            The reward is not a number, NaN or out of range; the ticket was never given, or its
            decision is no longer pending. Nothing was changed then.
        """
        cdef double number = self.read_reward(reward)
        cdef int64_t wanted = self.read_ticket(ticket)
        self.check_idle()
        if ms_bandit_feedback(&self.t, wanted, number) != MS_BANDIT_OK:
            self.refuse_ticket(wanted)

    @cython.critical_section
    def censor(self, ticket):
        """Say that the reward of a decision will never be known. Nothing is learned from it.

        Parameters
        ----------
        ticket : int

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            As for `feedback`.
        """
        cdef int64_t wanted = self.read_ticket(ticket)
        self.check_idle()
        if ms_bandit_censor(&self.t, wanted) != MS_BANDIT_OK:
            self.refuse_ticket(wanted)

    @cython.critical_section
    def expire(self, keep):
        """Censor all pending decisions but those among the newest ones.

        Parameters
        ----------
        keep : int
            How many of the newest decisions, pending or not, are spared; 0 for none.

        Returns
        -------
        int
            How many were censored.
        """
        # More than there ever can be is as good as all.
        cdef int64_t number = min(check_int("keep", keep, low=0), 1 << 62)
        self.check_idle()
        return ms_bandit_expire(&self.t, number)

    # ---- learning otherwise ----

    @cython.critical_section
    def learn(self, features, action, reward, weight=1.0):
        """Learn from something that was not decided here: of now, without a ticket or a log.

        Parameters
        ----------
        features : (n_features,) array_like of float
        action : str
        reward : float
            In ``[low, high]``.
        weight : float
            What it counts as, in [0, 1]: of a replayed reward, its importance.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            One of them cannot be used. Nothing was changed then.
        """
        cdef Py_ssize_t index = self.number_of("action", action)
        cdef double number = self.read_reward(reward)
        cdef double share = check_real("weight", weight, low=0.0, high=1.0)
        self.read_features(features)
        ms_bandit_learn(&self.t, index, number, share)

    @cython.critical_section
    def _learn_many(self, const double[:, ::1] features, const int32_t[::1] actions,
                    const double[::1] rewards):
        """Checked rows, oldest first; a decision's time passes after each. All or none."""
        cdef Py_ssize_t k, end, n = features.shape[0]
        cdef const double *row
        self.check_idle()
        saved = self._save() if n > PIECE else None
        for end in range(PIECE, n + PIECE, PIECE):
            self.busy = True
            with nogil:
                for k in range(end - PIECE, min(end, n)):
                    row = &features[k, 0] if features.shape[1] else self.point
                    ms_bandit_read(&self.t, row)
                    ms_bandit_learn(&self.t, actions[k], rewards[k], 1.0)
                    ms_bandit_tick(&self.t)
            self.busy = False
            if end < n:
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    self._load(saved)
                    raise

    @cython.critical_section
    def _soften(self, double factor):
        self.check_idle()
        self.busy = True
        with nogil:
            ms_bandit_soften(&self.t, factor)
        self.busy = False

    # ---- looking ----

    @cython.critical_section
    def _estimate(self, features):
        """Means and widths, (n_actions,) each, of rewards scaled to [0, 1]."""
        means, widths = np.empty(len(self.actions)), np.empty(len(self.actions))
        cdef double[::1] m = means, w = widths
        self.read_features(features)
        ms_bandit_estimate(&self.t, &m[0], &w[0])
        return means, widths

    @cython.critical_section
    def probabilities(self, features, allowed=None):
        """Chance of each action to be chosen, were it decided now. Nothing is changed.

        Parameters
        ----------
        features, allowed
            As for `decide`.

        Returns
        -------
        (n_actions,) float64 ndarray
            0 where not allowed. The next `decide` draws from exactly these.
        """
        cdef uint64_t mask = self.read_allowed(allowed)
        array = np.empty(len(self.actions))
        cdef double[::1] out = array
        self.read_features(features)
        ms_bandit_chances(&self.t, mask, &out[0])
        return array

    @property
    @cython.critical_section
    def pending(self):
        self.check_idle()
        array = np.empty(self.t.pending, dtype=np.int64)
        cdef int64_t[::1] out = array
        if self.t.pending:
            ms_bandit_copy_pending(&self.t, &out[0])
        return tuple(array.tolist())

    @property
    @cython.critical_section
    def n_pending(self):
        return self.t.pending

    @property
    @cython.critical_section
    def n_decisions(self):
        return self.t.next_ticket

    @property
    @cython.critical_section
    def n_rewarded(self):
        return self.t.rewarded

    @property
    @cython.critical_section
    def n_censored(self):
        return self.t.censored

    @property
    @cython.critical_section
    def n_crowded_out(self):
        return self.t.crowded_out

    @property
    @cython.critical_section
    def learned(self):
        cdef Py_ssize_t k
        return tuple([self.t.actions[k].learned for k in range(len(self.actions))])

    @cython.critical_section
    def _log(self, dtype):
        cdef size_t n
        cdef char[::1] raw
        self.check_idle()
        n = ms_bandit_logged(&self.t)
        if dtype.itemsize != <Py_ssize_t>self.t.record_bytes:
            raise ValueError("another record")
        raw = bytearray(n * self.t.record_bytes)
        if n:
            ms_bandit_copy_log(&self.t, &raw[0])
        return np.frombuffer(raw, dtype=dtype)

    # ---- state ----

    @cython.critical_section
    def _save(self):
        cdef size_t n
        self.check_idle()
        n = ms_bandit_save(&self.t, NULL)
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
        ms_bandit_save(&self.t, <unsigned char *>PyBytes_AS_STRING(data))
        return data

    @cython.critical_section
    def _load(self, const unsigned char[::1] data):
        """Take over a state of this configuration; False, and unchanged, where it is none."""
        cdef ms_bandit fresh
        self.check_idle()
        if data.shape[0] == 0:
            return False
        if not ms_bandit_init(&fresh, &self.t.config, <ms_simd_level>simd_level_number()):
            raise MemoryError("no memory for another state")
        if ms_bandit_load(&fresh, &data[0], <size_t>data.shape[0]) != MS_BANDIT_OK:
            ms_bandit_free(&fresh)
            return False
        ms_bandit_free(&self.t)
        self.t = fresh
        return True

    @cython.critical_section
    def _mask(self, allowed):
        return self.read_allowed(allowed)
