# cython: freethreading_compatible=True
"""A decision under a shield: tables looked up, one for each rule."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from collections.abc import Mapping, Set

import numpy as np

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream._core.validate import check_real

__all__ = ["Rule", "Table", "Walker"]


cdef class Rule:
    """What a rule allows: by state, by letter of its own context, and by action.

    Parameters
    ----------
    bits : (n_bits,) uint8 ndarray
        Which bits of the table's context are the rule's, in the order of its own letters.
    classes : (n_actions,) uint8 ndarray
        Which column an action has: those that the rule does not mention share one.
    allow : (n_states, 2**n_bits) uint64 ndarray
        Bit i: action i is allowed. No bit at all: a state that no allowed play reaches.
    following : (n_states, 2**n_bits, n_classes) int32 ndarray
        The next state.
    monitor : object
        Reads masks: the rule's own context, then one bit for each class but the last.
    """

    cdef readonly object monitor
    cdef readonly Py_ssize_t n_states
    cdef uint8_t[::1] bits
    cdef uint8_t[::1] classes
    cdef uint64_t[:, ::1] allow
    cdef int32_t[:, :, ::1] following
    cdef Py_ssize_t n_bits
    cdef int unmentioned

    def __cinit__(self, bits, classes, allow, following, monitor):
        # Copies that nobody else holds.
        self.bits = np.array(bits, dtype=np.uint8, order="C", ndmin=1)
        self.classes = np.array(classes, dtype=np.uint8, order="C")
        self.allow = np.array(allow, dtype=np.uint64, order="C")
        self.following = np.array(following, dtype=np.int32, order="C")
        self.n_bits = self.bits.shape[0]
        self.n_states = self.allow.shape[0]
        self.unmentioned = self.following.shape[2] - 1
        self.monitor = monitor
        if (
            self.allow.shape[1] != <Py_ssize_t>1 << self.n_bits
            or self.following.shape[0] != self.n_states
            or self.following.shape[1] != self.allow.shape[1]
            or (self.n_bits and np.max(bits) > 63)
            or np.max(classes) > self.unmentioned
            or np.min(following) < 0
            or np.max(following) >= self.n_states
        ):
            raise ValueError("not the tables of one rule")

    cdef inline Py_ssize_t own(self, uint64_t context) noexcept:
        """The rule's own part of a context."""
        cdef Py_ssize_t bit, letter = 0
        for bit in range(self.n_bits):
            letter |= <Py_ssize_t>((context >> self.bits[bit]) & 1) << bit
        return letter

    def reachable(self, Py_ssize_t state):
        """Whether an allowed play can come to a state."""
        return 0 <= state < self.n_states and self.allow[state, 0] != 0

    def content(self):
        """The tables as bytes, for digests."""
        return (
            np.asarray(self.bits).tobytes()
            + np.asarray(self.classes).tobytes()
            + np.asarray(self.allow).tobytes()
            + np.asarray(self.following).tobytes()
        )


cdef class Table:
    """The rules of a shield, and how a context is read. Rules are added, never removed.

    Parameters
    ----------
    actions : tuple of str
        At most 64.
    declared : frozenset of str or None
        Names that a context may have; None for any.
    """

    cdef readonly tuple actions
    cdef readonly int64_t masked, refused, violations, decisions
    cdef list rules
    cdef dict index
    cdef dict bits
    cdef dict signals
    cdef dict answers
    cdef object declared
    cdef uint64_t full

    def __cinit__(self, tuple actions, declared):
        self.actions = actions
        self.declared = declared
        self.rules = []
        self.index = {name: place for place, name in enumerate(actions)}
        self.bits = {}
        self.signals = {}
        self.answers = {}
        self.full = ~<uint64_t>0 if len(actions) == 64 else (<uint64_t>1 << len(actions)) - 1

    @property
    @cython.critical_section
    def n_rules(self):
        return len(self.rules)

    @cython.critical_section
    def add(self, Rule rule not None, dict bits, dict signals):
        """A further rule, with the context's names and signals as they are from now on."""
        self.rules.append(rule)
        self.bits = dict(bits)
        self.signals = dict(signals)

    @cython.critical_section
    def rule(self, Py_ssize_t index):
        return self.rules[index]

    @cython.critical_section
    def _set_counts(self, int64_t decisions, int64_t masked, int64_t refused, int64_t violations):
        self.decisions = decisions
        self.masked = masked
        self.refused = refused
        self.violations = violations

    cdef uint64_t context(self, object context) except? 0xFFFFFFFFFFFFFFFF:
        """The mask of a context."""
        cdef uint64_t mask = 0
        cdef object bit, name
        if isinstance(context, (set, frozenset, tuple, list)):
            for name in context:
                bit = self.bits.get(name)
                if bit is not None:
                    mask |= <uint64_t>1 << <int>bit
                else:
                    self.unknown(name)
            if self.signals:
                name = next(iter(self.signals))
                raise ArgumentValueError(
                    f"context must be a mapping with a number for {name!r}, got {context!r:.80}"
                )
            return mask
        return self.mapped(context)

    cdef uint64_t mapped(self, object context) except? 0xFFFFFFFFFFFFFFFF:
        cdef uint64_t mask = 0
        if isinstance(context, Set):
            return self.context(frozenset(context))
        if not isinstance(context, Mapping):
            raise ArgumentTypeError(
                "context must be a set of names or a mapping of names to bool and numbers, got "
                f"{type(context).__name__}"
            )
        for name, value in context.items():
            comparisons = self.signals.get(name)
            if comparisons is not None:
                number = check_real(f"context[{name!r}]", value)
                for predicate, bit in comparisons:
                    if predicate.holds(number):
                        mask |= <uint64_t>1 << <int>bit
                continue
            bit = self.bits.get(name)
            if bit is None:
                self.unknown(name)
                continue
            if value is not True and value is not False and not isinstance(value, np.bool_):
                raise ArgumentTypeError(f"context[{name!r}] must be a bool, got {value!r:.60}")
            if value:
                mask |= <uint64_t>1 << <int>bit
        for name in self.signals:
            if name not in context:
                raise ArgumentValueError(
                    f"context must have a number for {name!r}, got {context!r:.80}"
                )
        return mask

    cdef object unknown(self, object name):
        """A name that no rule reads: refused if it cannot be right."""
        if not isinstance(name, str):
            raise ArgumentTypeError(f"context must have names, got {name!r:.60}")
        if name in self.index:
            raise ArgumentValueError(f"context must not have an action, got {name!r}")
        if self.declared is not None and name not in self.declared:
            raise ArgumentValueError(
                f"context must have declared names, got {name!r}: {sorted(self.declared)}"
            )

    cdef tuple names(self, uint64_t mask):
        found = self.answers.get(mask)
        if found is None:
            found = tuple(
                name for place, name in enumerate(self.actions) if mask >> <int>place & 1
            )
            if len(self.answers) < 4096:
                self.answers[mask] = found
        return found


cdef class Walker:
    """Where one stream is in every rule of a table, and what was committed.

    Parameters
    ----------
    table : Table
    """

    cdef Table table
    cdef readonly int64_t position, masked, refused, violations
    cdef list states
    cdef list monitors

    def __cinit__(self, Table table not None, *args, **kwargs):
        self.table = table
        self.states = []
        self.monitors = []

    cdef int _extend(self) except -1:
        """Begin with the rules that were added since."""
        cdef Py_ssize_t index
        for index in range(len(self.states), len(self.table.rules)):
            # The copy first: where Ctrl-C ends it, there are as many states as monitors.
            monitor = (<Rule>self.table.rules[index]).monitor.copy()
            self.states.append(0)
            self.monitors.append(monitor)
        return 0

    cdef uint64_t _allowed(self, uint64_t context) except? 0:
        cdef uint64_t mask = self.table.full
        cdef Py_ssize_t index
        cdef Rule rule
        if len(self.states) < len(self.table.rules):
            self._extend()
        for index in range(len(self.states)):
            rule = <Rule>self.table.rules[index]
            mask &= rule.allow[<Py_ssize_t>self.states[index], rule.own(context)]
        return mask

    def allowed(self, context=()):
        """Actions that may be chosen now.

        Parameters
        ----------
        context : set of str, or mapping of str to bool and numbers
            What is true at this decision; names that it lacks are false. Names that no rule reads
            do not matter, but where the shield's context was declared, they must be of it.

        Returns
        -------
        tuple of str
            In the order of the shield's `actions`; the fallback is always among them.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            No context: an action's name in it, an undeclared name, no number for a signal that a
            rule compares.
        """
        with cython.critical_section(self, self.table):
            return self.table.names(self._allowed(self.table.context(context)))

    def commit(self, context, action):
        """Go on by one decision.

        Parameters
        ----------
        context : set of str, or mapping of str to bool and numbers
            As for `allowed`.
        action : str
            What was chosen.

        Raises
        ------
        RefusedError
            It is not allowed. Nothing was changed then, but for the counters `refused`.
        ArgumentValueError, ArgumentTypeError
            No action, or no context.
        """
        with cython.critical_section(self, self.table):
            self._commit(context, action)

    cdef int _commit(self, object context, object action) except -1:
        cdef Table table = self.table
        cdef Py_ssize_t index, letter
        cdef int place, kind
        cdef uint64_t given, mask, word
        cdef Rule rule
        cdef int64_t broken = 0, masked
        if not isinstance(action, str):
            raise ArgumentTypeError(f"action must be str, got {action!r} ({type(action).__name__})")
        found = table.index.get(action)
        if found is None:
            raise ArgumentValueError(
                f"action must be one of {', '.join(table.actions)}, got {action!r}"
            )
        place = found
        given = table.context(context)
        mask = self._allowed(given)
        if not mask >> place & 1:
            self.refused += 1
            table.refused += 1
            raise self._refusal(given, place)
        for index in range(len(self.states)):
            rule = <Rule>table.rules[index]
            letter = rule.own(given)
            kind = rule.classes[place]
            self.states[index] = rule.following[<Py_ssize_t>self.states[index], letter, kind]
            word = <uint64_t>letter
            if kind < rule.unmentioned:
                word |= <uint64_t>1 << (rule.n_bits + kind)
            monitor = self.monitors[index]
            if monitor.decided_at is None and monitor.step(word) == 0:
                broken += 1
        masked = (<object>(table.full ^ mask)).bit_count()
        self.position += 1
        self.masked += masked
        self.violations += broken
        table.decisions += 1
        table.masked += masked
        table.violations += broken
        return 0

    cdef object _refusal(self, uint64_t context, int place):
        name = self.table.actions[place]
        reason = self._reason(self._against(context, place))
        return RefusedError(f"action {name!r} is refused: {reason}", reason=reason)

    cdef list _against(self, uint64_t context, int place):
        found = []
        for index, state in enumerate(self.states):
            rule = <Rule>self.table.rules[index]
            if not rule.allow[<Py_ssize_t>state, rule.own(context)] >> place & 1:
                found.append(index)
        return found

    @cython.critical_section
    def _reason(self, against):
        """Why rules of these numbers refuse."""
        return ", ".join(f"rule {index}" for index in against)

    def _masking(self, context, action):
        """Numbers of the rules that mask an action now."""
        with cython.critical_section(self, self.table):
            found = self.table.index.get(action)
            if found is None:
                raise ArgumentValueError(
                    f"action must be one of {', '.join(self.table.actions)}, got {action!r}"
                )
            given = self.table.context(context)
            self._allowed(given)
            return self._against(given, found)

    def _become(self, Walker other not None):
        """Take over where another stream under the same shield is."""
        with cython.critical_section(self, other):
            other._extend()
            monitors = [monitor.copy() for monitor in other.monitors]
            self.table = other.table
            self.position = other.position
            self.masked = other.masked
            self.refused = other.refused
            self.violations = other.violations
            self.states = list(other.states)
            self.monitors = monitors

    @cython.critical_section
    def _state(self):
        """All of it: position, counters, states, monitors' snapshots."""
        self._extend()
        return (
            (self.position, self.masked, self.refused, self.violations),
            tuple(self.states),
            tuple(monitor.snapshot() for monitor in self.monitors),
        )

    @cython.critical_section
    def _set_state(self, counts, states, monitors):
        """Undo `_state`; of fewer rules than there are, the others begin.

        Raises
        ------
        ValueError
            What no play can lead to.
        """
        fresh = []
        if len(states) > len(self.table.rules) or len(states) != len(monitors):
            raise ValueError("not as many rules")
        for index, (state, snapshot) in enumerate(zip(states, monitors)):
            rule = <Rule>self.table.rules[index]
            if not rule.reachable(state):
                raise ValueError(f"no allowed play comes to state {state}")
            monitor = rule.monitor.copy()
            monitor.restore(snapshot)
            fresh.append(monitor)
        position, masked, refused, violations = counts
        if min(counts) < 0:
            raise ValueError("counters below 0")
        self.position = position
        self.masked = masked
        self.refused = refused
        self.violations = violations
        self.states = list(states)
        self.monitors = fresh
        self._extend()
