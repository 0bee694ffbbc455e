# cython: freethreading_compatible=True
"""Binding of csrc/ms_rulebook: events become bits, bits step the rules of every slice."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport NAN, isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import dataclasses
import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import numpy as np

from midstream._core._threads cimport dict_get

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, StateLimitError

cdef extern from "ms_rulebook.h":
    ctypedef struct ms_rb_op:
        int32_t kind
        int32_t out
        int32_t first
        int32_t n_args
        int32_t timed
        int32_t at_least
        double low
        double high
        size_t memory
        size_t ring
        int32_t owner
    ctypedef struct ms_rb_automaton:
        uint32_t n_states
        uint32_t n_atoms
        const int32_t *table
        const int32_t *roots
        const int32_t *nodes
        const uint8_t *colours
        const uint8_t *traits
    ctypedef struct ms_rb_rule:
        uint32_t automaton
        uint32_t first_atom
        int32_t trigger
        int32_t again
    ctypedef struct ms_rb:
        size_t n_automata, n_rules, n_ops, n_gate_ops, n_bits
        int32_t gate
        size_t words
        size_t rule_words
        const ms_rb_automaton *automata
        const ms_rb_rule *rules
        const uint32_t *atoms
        const ms_rb_op *ops
        const uint32_t *args
        const uint64_t *touched
        size_t states_at, since_at, awake_at, memory_at, n_numbers, slice_bytes
        size_t first_room, most_room
    ctypedef struct ms_rb_slice:
        uint64_t steps
        uint64_t undecided
        uint64_t room
    ctypedef struct ms_rb_change:
        uint32_t rule
        uint8_t before
        uint8_t after
        int64_t since
    int MS_RB_FALSE, MS_RB_TRUE
    void ms_rb_layout(ms_rb *p, size_t n_numbers) noexcept nogil
    size_t ms_rb_op_numbers(const ms_rb_op *op) noexcept nogil
    size_t ms_rb_op_ring(const ms_rb_op *op) noexcept nogil
    size_t ms_rb_bytes(const ms_rb *p, size_t room) noexcept nogil
    size_t ms_rb_wanted_room(const ms_rb *p, const unsigned char *slice) noexcept nogil
    size_t ms_rb_needed_room(const ms_rb *p, const unsigned char *slice) noexcept nogil
    void ms_rb_resize(const ms_rb *p, unsigned char *to, const unsigned char *slice,
                      size_t room) noexcept nogil
    void ms_rb_traits(const ms_rb_automaton *a, const uint8_t *accepting, int trigger,
                      uint8_t *traits) noexcept nogil
    void ms_rb_begin(const ms_rb *p, unsigned char *slice) noexcept nogil
    int ms_rb_check(const ms_rb *p, const unsigned char *slice) noexcept nogil
    int ms_rb_gate(const ms_rb *p, uint64_t *letter) noexcept nogil
    int MS_RB_SKIP
    size_t ms_rb_step(const ms_rb *p, unsigned char *slice, const unsigned char *before,
                      uint64_t *letter, int64_t step, double time, int64_t *hits, int64_t *broken,
                      ms_rb_change *out) noexcept nogil
    int ms_rb_legal(const ms_rb *p, const unsigned char *before, const uint64_t *letter,
                    size_t rule) noexcept nogil

#: Operators of tests, by code.
OPERATORS = ("==", "!=", ">", ">=", "<", "<=", "in", "not_in", "contains", "starts_with",
             "ends_with", "matches", "exists")

cdef enum:
    EQ, NE, GT, GE, LT, LE, IN, NOT_IN, CONTAINS, STARTS_WITH, ENDS_WITH, MATCHES, EXISTS

cdef object MISSING = object()
cdef object HIDDEN = object()


@cython.final
cdef class Begun:
    """A text that is still being written: what there is of it."""

    cdef str text

    def __cinit__(self, str text):
        self.text = text

#: For `Engine.outlook`: values of unknown conditions that are tried, and keys that one may turn
#: out to be.
cdef enum:
    MOST_UNKNOWN = 6
    MOST_SLICES = 64

#: Scratches that a program keeps: more are only needed where one event is taken within another.
cdef enum:
    MOST_SCRATCHES = 2


cdef str shown(object value):
    """A value in a message: short, and never an error of its own."""
    if isinstance(value, (str, bytes, int, float, type(None))):
        if isinstance(value, (str, bytes)) and len(value) > 60:
            return repr(value[:60]) + "..."
        if isinstance(value, int) and not -10**40 < value < 10**40:
            return "an int of over 40 digits"
        return repr(value)
    return type(value).__name__


cdef bint has_fields(object value):
    return (isinstance(value, tuple) and hasattr(type(value), "_fields")) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )


cdef object get_part(object value, str part):
    """One part of a path, or MISSING."""
    if type(value) is dict:
        return dict_get(value, part, MISSING)
    if value is None or isinstance(value, (str, bytes, int, float)):
        return MISSING
    if isinstance(value, Mapping):
        return value.get(part, MISSING)
    if has_fields(value):
        # Fields only: what a path names is never a method, or something private.
        if part in (type(value)._fields if isinstance(value, tuple)
                    else type(value).__dataclass_fields__):
            return getattr(value, part, MISSING)
        return MISSING
    if isinstance(value, (list, tuple)) and part.isdecimal() and len(part) < 10:
        return value[int(part)] if int(part) < len(value) else MISSING
    return MISSING


cdef object get_path(object event, tuple path):
    cdef object value = event
    for part in path:
        value = get_part(value, <str>part)
        if value is MISSING:
            return MISSING
    return value


cdef object plain(object value):
    """Of a subclass, its value as the built-in type: no comparison runs code of the event's."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or kind is float or kind is dict or kind is list:
        return value
    if kind is Decimal and value.is_snan():
        raise ArgumentValueError("event: a number must not be a signalling NaN")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return value


cdef bint same(object value, object operand) except -1:
    """Equality of a plain value, without Python's 1 == True."""
    if type(value) is type(operand):
        return value == operand
    if type(value) is bool or type(operand) is bool:
        return False
    if isinstance(value, (int, float)) or type(value) is Decimal or type(value) is Fraction:
        return isinstance(operand, (int, float)) and value == operand
    return False


@cython.final
cdef class Test:
    """A field of the event, an operator, an operand. Fixed: all copies of a book share it."""

    cdef readonly tuple path
    cdef readonly int op
    cdef readonly object operand
    cdef int field
    cdef int number

    def __init__(self, tuple path, int op, object operand, int field, int number):
        self.path = path
        self.op = op
        self.operand = operand
        self.field = field
        self.number = number

    cdef str says(self):
        operand = getattr(self.operand, "text", self.operand)
        return f"{'.'.join(self.path)!r} {OPERATORS[self.op]} {shown(operand)}"

    cdef int text_wanted(self, object value) except -1:
        raise ArgumentTypeError(
            f"event: {'.'.join(self.path)!r} must be a str for the test {self.says()}, "
            f"got {shown(value)}"
        )

    cdef bint holds(self, object value) except -1:
        cdef object operand = self.operand
        cdef int op = self.op
        if op == EXISTS:
            return (value is not MISSING) == <bint>operand
        if value is MISSING:
            return False
        if op == EQ:
            return same(value, operand)
        if op == NE:
            return not same(value, operand)
        if op == IN or op == NOT_IN:
            for item in <tuple>operand:
                if same(value, item):
                    return op == IN
            return op == NOT_IN
        if op <= LE:
            return self.compares(value)
        if op == CONTAINS and not isinstance(value, str):
            if isinstance(value, (list, tuple, set, frozenset)):
                for item in value:
                    if same(plain(item), operand):
                        return True
                return False
            if isinstance(value, Mapping):
                return operand in value
            raise ArgumentTypeError(
                f"event: {'.'.join(self.path)!r} must be a str, a list or a mapping for the test "
                f"{self.says()}, got {shown(value)}"
            )
        if not isinstance(value, str):
            self.text_wanted(value)
        if op == CONTAINS:
            return isinstance(operand, str) and operand in value
        if op == STARTS_WITH:
            return value.startswith(operand)
        if op == ENDS_WITH:
            return value.endswith(operand)
        return operand.search(value)

    cdef int holds_begun(self, str text) except -1:
        """Of a text that begins like this: 0 or 1 where that decides, else 2."""
        cdef object operand = self.operand
        cdef int op = self.op
        if op == EXISTS:
            return <bint>operand
        if op == EQ or op == NE:
            if type(operand) is str and (<str>operand).startswith(text):
                return 2
            return op == NE
        if op == IN or op == NOT_IN:
            for item in <tuple>operand:
                if type(item) is str and (<str>item).startswith(text):
                    return 2
            return op == NOT_IN
        if op == STARTS_WITH:
            if len(text) >= len(<str>operand):
                return text.startswith(operand)
            return 2 if (<str>operand).startswith(text) else 0
        if op == CONTAINS and type(operand) is str and operand in text:
            return 1
        return 2

    cdef bint compares(self, object value) except -1:
        cdef object operand = self.operand
        cdef int op = self.op
        if isinstance(operand, str):
            if not isinstance(value, str):
                self.text_wanted(value)
        else:
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                if type(value) is not Decimal and type(value) is not Fraction:
                    raise ArgumentTypeError(
                        f"event: {'.'.join(self.path)!r} must be a number for the test "
                        f"{self.says()}, got {shown(value)}"
                    )
            if value != value:
                raise ArgumentValueError(
                    f"event: {'.'.join(self.path)!r} must not be NaN for the test {self.says()}"
                )
        if op == GT:
            return value > operand
        if op == GE:
            return value >= operand
        if op == LT:
            return value < operand
        return value <= operand


cdef object index_key(object value):
    """What a plain value is looked up by, or MISSING where only a comparison tells."""
    if type(value) is str:
        return value
    if type(value) is bool:
        return (value,)
    if type(value) is int or type(value) is float or value is None:
        return value
    # Numbers that are equal have equal hashes, whatever their type.
    return value if type(value) is Decimal or type(value) is Fraction else MISSING


@cython.final
cdef class Conditions:
    """Events to bits: atoms by name, conditions on fields, callables.

    Each condition is a tuple of tests that must all hold. It is found through the equality test
    on the field that tells most conditions apart, so an event costs what it matches, not what
    there is.
    """

    cdef readonly tuple names
    cdef readonly int n_bits
    cdef dict bit_of
    cdef list paths
    cdef list values
    cdef uint64_t *stamps  # of each field: `stamp` when it was read last
    cdef uint64_t *marks   # of each test: the same, and what it came to in the lowest two bits
    cdef int n_fields
    cdef int n_tests
    cdef uint64_t stamp
    cdef list conditions
    cdef list bits
    cdef list indexed
    cdef list loose
    cdef list callables
    cdef bint strict
    cdef bint closed
    cdef readonly str wants_mapping
    cdef int legal
    cdef bint aligned
    cdef dict owners
    cdef int64_t step

    def __cinit__(self):
        self.stamps = NULL

    def __init__(self, names, conditions, callables, n_bits, bint strict, bint closed,
                 int legal, str wants_mapping, owners):
        # names: {atom: bit}; conditions: [(tests, bit)]; callables: [(callable, bit)];
        # owners: {atom or path: who wants it, in words}.
        self.owners = dict(owners)
        self.step = 0
        self.names = tuple(names)
        self.bit_of = dict(names)
        self.n_bits = n_bits
        self.strict = strict
        self.closed = closed
        self.legal = legal
        self.wants_mapping = wants_mapping
        self.callables = list(callables)
        # Without conditions among them, the bits of atoms are those of a mask.
        self.aligned = list(self.bit_of.values()) == list(range(len(self.bit_of)))
        self.paths = []
        fields = {}
        consed = {}
        self.conditions = []
        self.bits = []
        values_of = {}
        for tests, bit in conditions:
            row = []
            for path, op, operand in tests:
                # 1, 1.0 and True are equal, and not the same.
                kinds = tuple(map(type, operand)) if isinstance(operand, tuple) else type(operand)
                key = (path, op, kinds, operand)
                test = consed.get(key)
                if test is None:
                    field = fields.setdefault(path, len(fields))
                    test = consed[key] = Test(path, op, operand, field, len(consed))
                row.append(test)
                if op == EQ:
                    values_of.setdefault((<Test>test).field, set()).add(index_key(operand))
                elif op == IN:
                    values_of.setdefault((<Test>test).field, set()).update(
                        map(index_key, operand)
                    )
            # Cheap tests first, so that a wrong type is only met where everything else fits.
            row.sort(key=lambda test: (test.op not in (EQ, IN, EXISTS), test.op))
            self.conditions.append(tuple(row))
            self.bits.append(bit)
        self.paths = list(fields)
        self.n_fields = len(fields)
        self.n_tests = len(consed)
        self.begin()
        index = {}
        loose = []
        for number, row in enumerate(self.conditions):
            anchor = None
            # Where a missing field is an error, the tests run in their order.
            for test in () if strict else row:
                if (<Test>test).op == EQ or (<Test>test).op == IN:
                    if anchor is None or len(values_of[(<Test>test).field]) > len(
                        values_of[(<Test>anchor).field]
                    ):
                        anchor = test
            if anchor is None:
                loose.append(number)
                continue
            table = index.setdefault((<Test>anchor).field, {})
            operands = anchor.operand if (<Test>anchor).op == IN else (anchor.operand,)
            for key in {index_key(operand) for operand in operands}:
                table.setdefault(key, []).append(number)
        self.indexed = [(field, {k: tuple(v) for k, v in table.items()})
                        for field, table in index.items()]
        self.loose = loose

    def __dealloc__(self):
        free(self.stamps)

    cdef int begin(self) except -1:
        """Nothing was read of any event yet."""
        self.values = [None] * self.n_fields
        self.stamps = <uint64_t *>calloc(self.n_fields + self.n_tests + 1, sizeof(uint64_t))
        if self.stamps == NULL:
            raise MemoryError("no memory for the fields of a rule book")
        self.marks = self.stamps + self.n_fields
        self.stamp = 0
        self.step = 0
        return 0

    def twin(self):
        """The same conditions, with a memory of their own; what is fixed is shared."""
        cdef Conditions made = Conditions.__new__(Conditions)
        made.names = self.names
        made.n_bits = self.n_bits
        made.bit_of = self.bit_of
        made.paths = self.paths
        made.n_fields = self.n_fields
        made.n_tests = self.n_tests
        made.conditions = self.conditions
        made.bits = self.bits
        made.indexed = self.indexed
        made.loose = self.loose
        made.callables = self.callables
        made.strict = self.strict
        made.closed = self.closed
        made.wants_mapping = self.wants_mapping
        made.legal = self.legal
        made.aligned = self.aligned
        made.owners = self.owners
        made.begin()
        return made

    cdef object value(self, object event, int field):
        if self.stamps[field] == self.stamp:
            return self.values[field]
        value = get_path(event, <tuple>self.paths[field])
        if value is MISSING and self.strict:
            raise ArgumentValueError(
                f"event {self.step}: field {'.'.join(self.paths[field])!r} is missing, and "
                f"missing='error': it is wanted by {self.owners[self.paths[field]]}"
            )
        value = plain(value)
        self.values[field] = value
        self.stamps[field] = self.stamp
        return value

    cdef int match(self, object event, int number, uint64_t *letter) except -1:
        cdef Test test
        cdef int bit
        cdef uint64_t result
        for item in <tuple>self.conditions[number]:
            test = <Test>item
            if self.marks[test.number] >> 2 != self.stamp:
                if test.op == EXISTS:
                    result = test.holds(get_path(event, test.path))
                else:
                    result = test.holds(self.value(event, test.field))
                self.marks[test.number] = self.stamp << 2 | result
            if not self.marks[test.number] & 1:
                return 0
        bit = self.bits[number]
        letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
        return 0

    cdef int add_name(self, object name, uint64_t *letter) except -1:
        cdef object found
        cdef int bit
        if type(name) is not str and not isinstance(name, str):
            raise ArgumentTypeError(
                f"event: atoms must be str, got {shown(name)} ({type(name).__name__})"
            )
        found = dict_get(self.bit_of, name, MISSING)
        if found is MISSING:
            if self.closed:
                raise ArgumentValueError(
                    f"event: atom {shown(name)} is not in the alphabet of the rule book"
                )
            return 0
        bit = found
        letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
        return 1

    cdef int add_mask(self, object event, uint64_t *letter) except -1:
        cdef int k, bit
        if event < 0 or event >> len(self.names):
            raise ArgumentValueError(
                f"event: a mask must be from 0 to 2**{len(self.names)} - 1 for "
                f"{len(self.names)} atoms, got {shown(event)}"
            )
        if self.aligned:
            k = 0
            while event:
                letter[k] = event & 0xFFFFFFFFFFFFFFFF
                event >>= 64
                k += 1
            return 0
        for k, name in enumerate(self.names):
            if event >> k & 1:
                bit = self.bit_of[name]
                letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
        return 0

    cdef int add_named(self, object event, uint64_t *letter) except -1:
        """Atoms by name out of a mapping: keys that are atoms must have truth values."""
        cdef int found = 0
        cdef bint is_mapping = isinstance(event, Mapping)
        if is_mapping and self.closed and not self.conditions and not self.callables:
            # All keys must be atoms.
            items = event.items()
        elif is_mapping and len(event) <= len(self.bit_of):
            items = event.items()
        else:
            items = [(name, get_part(event, name)) for name in self.names]
        for name, value in items:
            if not isinstance(name, str):
                raise ArgumentTypeError(
                    f"event: keys must be str, got {shown(name)} ({type(name).__name__})"
                )
            if value is MISSING:
                continue
            if name not in self.bit_of:
                if self.closed and not self.conditions and not self.callables:
                    self.add_name(name, letter)
                continue
            found += 1
            if value is True or (isinstance(value, np.bool_) and value):
                self.add_name(name, letter)
            elif value is not False and not isinstance(value, np.bool_):
                raise ArgumentTypeError(
                    f"event: atom {name!r} must be True or False, got {shown(value)}"
                )
        if self.strict and found < len(self.bit_of):
            for name in self.names:
                if get_part(event, name) is MISSING:
                    raise ArgumentValueError(
                        f"event {self.step}: atom {name!r} is missing, and missing='error': it is "
                        f"wanted by {self.owners[name]}"
                    )
        return 0

    cdef int fill(self, object event, uint64_t *letter) except -1:
        """Set the bits of an event in a letter of zeros."""
        cdef object value, key, found
        cdef int number, bit, field
        cdef size_t true_atoms
        kind = type(event)
        if kind is set or kind is frozenset:
            if self.wants_mapping is not None:
                self.refuse(event)
            for name in event:
                self.add_name(name, letter)
        elif kind is int and self.wants_mapping is None:
            # Before the slow questions of what else it may be.
            self.add_mask(event, letter)
        elif kind is dict or isinstance(event, Mapping) or has_fields(event):
            self.stamp += 1
            if self.bit_of:
                self.add_named(event, letter)
            for field, table in self.indexed:
                value = self.value(event, field)
                key = value if type(value) is str else index_key(value)
                if key is MISSING:
                    continue
                found = dict_get(table, key, MISSING)
                if found is not MISSING:
                    for number in <tuple>found:
                        self.match(event, number, letter)
            for number in self.loose:
                self.match(event, number, letter)
        elif self.wants_mapping is not None:
            self.refuse(event)
        elif isinstance(event, (set, frozenset, list, tuple)):
            for name in event:
                self.add_name(name, letter)
        elif isinstance(event, (int, np.integer)) and not isinstance(event, bool):
            self.add_mask(int(event), letter)
        else:
            self.refuse(event)
        for callable_, bit in self.callables:
            value = callable_(event)
            if value is True or (isinstance(value, np.bool_) and value):
                letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
            elif value is not False and not isinstance(value, np.bool_):
                raise ArgumentTypeError(
                    f"a condition must return True or False, {callable_!r} returned "
                    f"{shown(value)}"
                )
        if self.legal:
            true_atoms = 0
            for name in self.names:
                bit = self.bit_of[name]
                true_atoms += letter[bit >> 6] >> (bit & 63) & 1
            if true_atoms > 1 or (self.legal == 2 and true_atoms != 1):
                raise ArgumentValueError(
                    f"event: {true_atoms} atoms are true, and letters="
                    + ("'exactly_one'" if self.legal == 2 else "'at_most_one'")
                )
        return 0

    cdef object known(self, object event, int field, object unknown, list problems):
        """The value of a field, MISSING where there is none, or HIDDEN where it may still come."""
        if self.stamps[field] != self.stamp:
            path = <tuple>self.paths[field]
            value = HIDDEN
            told = unknown(path)
            if type(told) is str:
                value = Begun(told)
            elif not told:
                try:
                    value = plain(get_path(event, path))
                except (ArgumentTypeError, ArgumentValueError) as error:
                    problems.append((path, str(error)))
            self.values[field] = value
            self.stamps[field] = self.stamp
        return self.values[field]

    cdef list fill_known(self, object event, object unknown, uint64_t *letter, list problems):
        """Set the bits that are true whatever is still unknown; those that this decides.

        What cannot be tested, since a value has the wrong type, is told in `problems` and counts
        as unknown.
        """
        cdef Test test
        cdef int bit, state, decided, k
        cdef object value
        maybe = []
        self.stamp += 1
        if self.bit_of:
            self.add_named(event, letter)
        for k in range(len(self.bits)):
            bit = self.bits[k]
            state = 1
            for item in <tuple>self.conditions[k]:
                test = <Test>item
                if self.marks[test.number] >> 2 != self.stamp:
                    value = self.known(event, test.field, unknown, problems)
                    if value is HIDDEN:
                        decided = 2
                    elif type(value) is Begun:
                        decided = test.holds_begun((<Begun>value).text)
                    else:
                        try:
                            decided = test.holds(value)
                        except (ArgumentTypeError, ArgumentValueError) as error:
                            problems.append((test.path, str(error)))
                            decided = 2
                    self.marks[test.number] = self.stamp << 2 | <uint64_t>decided
                decided = self.marks[test.number] & 3
                if decided == 0:
                    state = 0
                    break
                if decided == 2:
                    state = 2
            if state == 1:
                letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
            elif state == 2:
                maybe.append(bit)
        if self.callables:
            partial = bool(unknown(()))
            for callable_, bit in self.callables:
                if partial:
                    maybe.append(bit)
                elif callable_(event):
                    letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
        return maybe

    cdef int forget(self) except -1:
        """Drop what was read of the event: it may be large, or secret."""
        cdef Py_ssize_t k
        if self.stamp:
            for k in range(len(self.values)):
                self.values[k] = None
                self.stamps[k] = 0
        return 0

    cdef int refuse(self, object event) except -1:
        if self.wants_mapping is not None:
            raise ArgumentTypeError(
                f"event must be a mapping, a named tuple or a dataclass: {self.wants_mapping}; "
                f"got {type(event).__name__}"
            )
        raise ArgumentTypeError(
            "event must be a set of atoms, a mapping or a bit mask, got "
            f"{shown(event)} ({type(event).__name__})"
        )


@cython.final
cdef class Program:
    """The rules of one group, compiled: automata, bits they read, operations between bits."""

    cdef ms_rb program
    cdef ms_rb_automaton *automata
    cdef ms_rb_rule *rules
    cdef uint32_t *atoms
    cdef ms_rb_op *ops
    cdef uint32_t *args
    cdef uint64_t *touched
    cdef list kept
    cdef readonly list colours
    cdef readonly int n_rules
    cdef bint goes_back  # some rule is, after an event that broke it, as it was before
    cdef list scratches  # to be lent to books that take an event

    def __cinit__(self):
        memset(&self.program, 0, sizeof(ms_rb))
        self.automata = NULL
        self.rules = NULL
        self.atoms = NULL
        self.ops = NULL
        self.args = NULL
        self.touched = NULL

    def __dealloc__(self):
        free(self.automata)
        free(self.rules)
        free(self.atoms)
        free(self.ops)
        free(self.args)
        free(self.touched)

    def __init__(self, automata, rules, ops, int n_gate_ops, int gate,
                 int n_bits):
        # automata: [(table or None, roots, nodes, colours, accepting, n_atoms, trigger)];
        # rules: [(automaton, bits, again)]; ops: [(kind, out, bits, timed, at_least, low, high,
        # owner)].
        cdef size_t k, j, numbers = 0, n_atoms = 0, n_args = 0
        cdef const int32_t[::1] table
        cdef const int32_t[::1] roots
        cdef const int32_t[::1] nodes
        cdef const uint8_t[::1] colours
        cdef const uint8_t[::1] accepting
        cdef uint8_t[::1] traits
        self.kept = []
        self.scratches = []
        self.colours = []
        self.n_rules = len(rules)
        self.goes_back = any(again == MS_RB_SKIP for _, _, again in rules)
        for _, bits, _ in rules:
            n_atoms += len(bits)
        for op in ops:
            n_args += len(op[2])
        self.automata = <ms_rb_automaton *>calloc(len(automata) + 1, sizeof(ms_rb_automaton))
        self.rules = <ms_rb_rule *>calloc(len(rules) + 1, sizeof(ms_rb_rule))
        self.atoms = <uint32_t *>calloc(n_atoms + 1, sizeof(uint32_t))
        self.ops = <ms_rb_op *>calloc(len(ops) + 1, sizeof(ms_rb_op))
        self.args = <uint32_t *>calloc(n_args + 1, sizeof(uint32_t))
        if (self.automata == NULL or self.rules == NULL or self.atoms == NULL
                or self.ops == NULL or self.args == NULL):
            raise MemoryError("no memory for a rule book")
        for k, (given, root, node, colour, accept, width, trigger) in enumerate(automata):
            roots = np.ascontiguousarray(root, dtype=np.int32)
            nodes = np.ascontiguousarray(node, dtype=np.int32).reshape(-1)
            colours = np.ascontiguousarray(colour, dtype=np.uint8)
            accepting = np.ascontiguousarray(accept, dtype=np.uint8)
            traits = np.zeros(len(colours), dtype=np.uint8)
            self.kept += [roots.base, nodes.base, colours.base, traits.base]
            self.colours.append(np.asarray(colours))
            self.automata[k].n_states = <uint32_t>len(colours)
            self.automata[k].n_atoms = width
            self.automata[k].roots = &roots[0]
            self.automata[k].nodes = &nodes[0] if len(nodes) else NULL
            self.automata[k].colours = &colours[0]
            self.automata[k].table = NULL
            if given is not None:
                table = np.ascontiguousarray(given, dtype=np.int32).reshape(-1)
                self.kept.append(table.base)
                self.automata[k].table = &table[0]
            ms_rb_traits(&self.automata[k], &accepting[0], trigger, &traits[0])
            self.automata[k].traits = &traits[0]
        self.program.n_automata = len(automata)
        self.program.n_rules = len(rules)
        self.program.n_ops = len(ops)
        self.program.n_gate_ops = n_gate_ops
        self.program.n_bits = n_bits
        self.program.gate = gate
        j = 0
        for k, (automaton, bits, again) in enumerate(rules):
            self.rules[k].automaton = automaton
            self.rules[k].first_atom = <uint32_t>j
            self.rules[k].trigger = automata[automaton][6]
            self.rules[k].again = again
            for bit in bits:
                self.atoms[j] = bit
                j += 1
        j = 0
        for k, (kind, out, bits, timed, at_least, low, high, owner) in enumerate(ops):
            self.ops[k].kind = kind
            self.ops[k].out = out
            self.ops[k].first = <int32_t>j
            self.ops[k].n_args = <int32_t>len(bits)
            self.ops[k].timed = timed
            self.ops[k].at_least = at_least
            self.ops[k].low = low
            self.ops[k].high = high
            self.ops[k].owner = owner
            self.ops[k].memory = numbers
            self.ops[k].ring = ms_rb_op_ring(&self.ops[k])
            numbers += ms_rb_op_numbers(&self.ops[k])
            for bit in bits:
                self.args[j] = bit
                j += 1
        self.program.ops = self.ops
        ms_rb_layout(&self.program, numbers)
        self.touched = <uint64_t *>calloc(n_bits * self.program.rule_words + 1, sizeof(uint64_t))
        if self.touched == NULL:
            raise MemoryError("no memory for a rule book")
        for k, (_, bits, _) in enumerate(rules):
            for bit in bits:
                self.touched[<size_t>bit * self.program.rule_words + (k >> 6)] |= (
                    <uint64_t>1 << (k & 63)
                )
        self.program.automata = self.automata
        self.program.rules = self.rules
        self.program.atoms = self.atoms
        self.program.args = self.args
        self.program.touched = self.touched

    def memory_of(self, size_t op):
        """Where an operation has its first number in the memory of a slice."""
        return self.ops[op].memory

    @property
    def slice_bytes(self):
        return self.program.slice_bytes


@cython.final
cdef class Slice:
    """What a group's rules remember of the events of one key."""

    cdef unsigned char *data
    cdef size_t size

    def __cinit__(self, Program program):
        self.size = ms_rb_bytes(&program.program, program.program.first_room)
        self.data = <unsigned char *>malloc(self.size)
        if self.data == NULL:
            raise MemoryError(f"no memory for a slice of {self.size} bytes")

    def __dealloc__(self):
        free(self.data)

    cdef int make_room(self, Program program) except -1:
        """Have room for what the next event brings; nothing else changes."""
        cdef size_t room = ms_rb_wanted_room(&program.program, self.data)
        if room != (<ms_rb_slice *>self.data).room:
            self.resize(program, room)
        return 0

    cdef int resize(self, Program program, size_t room) except -1:
        cdef size_t size = ms_rb_bytes(&program.program, room)
        cdef unsigned char *data = <unsigned char *>malloc(size)
        if data == NULL:
            raise MemoryError(f"no memory for a slice of {size} bytes")
        ms_rb_resize(&program.program, data, self.data, room)
        free(self.data)
        self.data = data
        self.size = size
        return 0

    cdef bytes dump(self, Program program):
        """Everything in it, in a block that depends on its events alone."""
        cdef size_t room = ms_rb_needed_room(&program.program, self.data)
        if room != (<ms_rb_slice *>self.data).room:
            self.resize(program, room)
        return PyBytes_FromStringAndSize(<char *>self.data, self.size)

    cdef int put(self, const char *block, size_t size) except -1:
        """Be what a block says, which may have another room."""
        cdef unsigned char *data = self.data
        if size != self.size:
            data = <unsigned char *>malloc(size)
            if data == NULL:
                raise MemoryError(f"no memory for a slice of {size} bytes")
            free(self.data)
            self.data = data
            self.size = size
        memcpy(data, block, size)
        return 0


@cython.final
cdef class Scratch:
    """Where a group tries an event: the slice and the counts as they would be, or were."""

    cdef unsigned char *data
    cdef size_t size
    cdef int64_t *counts

    def __cinit__(self, Program program):
        self.data = NULL
        self.size = 0
        self.counts = <int64_t *>calloc(2 * program.n_rules + 1, sizeof(int64_t))
        if self.counts == NULL:
            raise MemoryError("no memory for a rule book")

    def __dealloc__(self):
        free(self.data)
        free(self.counts)

    cdef int copy(self, Slice slice_) except -1:
        cdef unsigned char *data
        if self.size < slice_.size:
            data = <unsigned char *>malloc(slice_.size)
            if data == NULL:
                raise MemoryError(f"no memory for a slice of {slice_.size} bytes")
            free(self.data)
            self.data = data
            self.size = slice_.size
        memcpy(self.data, slice_.data, slice_.size)
        return 0


@cython.final
cdef class Group:
    """Rules with the same key and the same filter, and their slices."""

    cdef readonly Program program
    cdef readonly object key  # a path, a callable, or None
    cdef readonly dict slices
    cdef readonly dict decided
    cdef Slice only
    cdef Scratch scratch  # while an event is taken
    cdef int64_t *counts  # hits, then broken
    cdef readonly int64_t evicted
    cdef readonly int64_t evicted_open

    def __cinit__(self, Program program, object key):
        cdef size_t n = program.n_rules
        self.program = program
        self.key = key
        self.counts = <int64_t *>calloc(2 * n + 1, sizeof(int64_t))
        if self.counts == NULL:
            raise MemoryError("no memory for a rule book")
        self.begin()

    def __dealloc__(self):
        free(self.counts)

    cdef int borrow(self) except -1:
        """Have a scratch, until `give_back`: nobody else has it meanwhile."""
        if self.scratch is None:
            try:
                self.scratch = <Scratch>self.program.scratches.pop()
            except IndexError:
                self.scratch = Scratch(self.program)
        return 0

    cdef int give_back(self) except -1:
        scratch = self.scratch
        if scratch is not None:
            self.scratch = None
            if len(self.program.scratches) < MOST_SCRATCHES:
                self.program.scratches.append(scratch)
        return 0

    cdef int begin(self) except -1:
        """Forget every slice."""
        self.slices = {}
        self.decided = {}
        self.evicted = 0
        self.evicted_open = 0
        memset(self.counts, 0, 2 * self.program.n_rules * sizeof(int64_t))
        self.only = None
        if self.key is None:
            self.only = self.fresh()
        return 0

    cdef int take(self, Group other) except -1:
        """Be as another group of the same program."""
        cdef Slice slice_
        self.evicted = other.evicted
        self.evicted_open = other.evicted_open
        memcpy(self.counts, other.counts, 2 * self.program.n_rules * sizeof(int64_t))
        if self.key is None:
            self.only.put(<char *>other.only.data, other.only.size)
            return 0
        self.slices = {}
        for key, one in other.slices.items():
            slice_ = Slice(self.program)
            slice_.put(<char *>(<Slice>one).data, (<Slice>one).size)
            self.slices[key] = slice_
        self.decided = dict(other.decided)
        return 0

    cdef Slice fresh(self):
        made = Slice(self.program)
        ms_rb_begin(&self.program.program, made.data)
        return made

    cdef object key_of(self, object event):
        """The key of an event; MISSING where it has none."""
        if isinstance(self.key, tuple):
            value = get_path(event, <tuple>self.key)
            name = ".".join(self.key)
        else:
            value = self.key(event)
            name = "what it returns"
            if value is None:
                return MISSING
        if value is MISSING or type(value) is str or type(value) is int:
            return value
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return int(value)
        raise ArgumentTypeError(
            f"event: the key {name!r} must be a str or an int, got {shown(value)} "
            f"({type(value).__name__})"
        )


@cython.final
cdef class Engine:
    """Groups that see the same events, stepped together or not at all."""

    cdef readonly Conditions conditions
    cdef readonly list groups
    cdef readonly int64_t n_steps
    cdef readonly double time
    cdef bint needs_time
    cdef tuple time_path
    cdef Py_ssize_t max_keys
    cdef int evict  # 0 error, 1 oldest decided, 2 oldest
    cdef uint64_t *letter
    cdef uint64_t *letters  # one for each group
    cdef size_t words
    cdef ms_rb_change *changes
    cdef list keys
    cdef list chosen
    cdef list journal
    cdef set copied
    cdef bint busy
    cdef bint same  # in `outlook`: every value of what is unknown has led to the same state
    cdef tuple blocking  # for each group, a bytes of 1 where breaking a rule forbids the event

    def __cinit__(self):
        self.letter = NULL
        self.letters = NULL
        self.changes = NULL

    def __dealloc__(self):
        free(self.letter)
        free(self.letters)
        free(self.changes)

    @cython.critical_section
    def __init__(self, Conditions conditions, list programs, list keys, *, bint needs_time,
                 tuple time_path, Py_ssize_t max_keys, int evict, tuple blocking):
        cdef Program program
        cdef size_t most = 0
        self.conditions = conditions
        self.groups = [Group(program, key) for program, key in zip(programs, keys)]
        self.needs_time = needs_time
        self.time_path = time_path
        self.max_keys = max_keys
        self.evict = evict
        self.blocking = blocking
        self.keys = [None] * len(programs)
        self.chosen = [None] * len(programs)
        self.journal = None
        self.words = (conditions.n_bits + 63) // 64 + 1
        for program in programs:
            self.words = max(self.words, program.program.words)
            most = max(most, program.program.n_rules)
        self.letter = <uint64_t *>calloc(self.words, sizeof(uint64_t))
        self.letters = <uint64_t *>calloc(self.words * len(programs) + 1, sizeof(uint64_t))
        self.changes = <ms_rb_change *>calloc(most + 1, sizeof(ms_rb_change))
        if self.letter == NULL or self.letters == NULL or self.changes == NULL:
            raise MemoryError("no memory for a rule book")
        self.reset()

    @cython.critical_section
    def reset(self):
        """Forget every event."""
        cdef Group group
        self.enter()
        try:
            self.n_steps = 0
            self.time = NAN
            for group in self.groups:
                group.begin()
        finally:
            self.busy = False

    cdef int enter(self) except -1:
        if self.busy:
            raise ArgumentValueError(
                "the rule book is in use: a condition must not use the book that it belongs to, "
                "and threads need a book each (copy()) or a lock"
            )
        self.busy = True
        return 0

    cdef double read_time(self, object event, object time) except? -1.0:
        cdef double now
        if time is None:
            if not self.needs_time:
                return NAN
            time = MISSING
            if not isinstance(event, (set, frozenset, list, int)):
                time = get_path(event, self.time_path)
            if time is MISSING:
                raise ArgumentValueError(
                    "time: rules count seconds, so an event needs "
                    f"{'.'.join(self.time_path)!r} or step(event, time=...)"
                )
        if isinstance(time, bool) or not isinstance(
            time, (int, float, np.integer, np.floating)
        ):
            raise ArgumentTypeError(f"time must be a number, got {shown(time)}")
        try:
            now = time
        except OverflowError:
            raise ArgumentValueError(f"time is too large: {shown(time)}") from None
        if not isfinite(now):
            raise ArgumentValueError(f"time must be finite, got {now!r}")
        if now < self.time:
            raise ArgumentValueError(
                f"time must not go backwards: {now!r} after {self.time!r}"
            )
        return now

    cdef int prepare(self, object event) except -1:
        """Bits of the event, and the slice of every group that it concerns; may raise."""
        cdef Group group
        cdef Slice slice_
        cdef size_t g = 0
        cdef uint64_t *letter
        memset(self.letter, 0, self.words * sizeof(uint64_t))
        self.conditions.step = self.n_steps
        self.conditions.fill(event, self.letter)
        for group in self.groups:
            letter = self.letters + g * self.words
            memcpy(letter, self.letter, self.words * sizeof(uint64_t))
            self.chosen[g] = None
            self.keys[g] = None
            if ms_rb_gate(&group.program.program, letter):
                if group.key is None:
                    self.chosen[g] = group.only
                else:
                    key = group.key_of(event)
                    if key is not MISSING:
                        self.keys[g] = key
                        slice_ = <Slice>group.slices.get(key)
                        if slice_ is None:
                            if len(group.slices) >= self.max_keys and not self.victim(group):
                                raise StateLimitError(
                                    f"a rule book with max_keys={self.max_keys} has no room for "
                                    f"the key {shown(key)}, and evict="
                                    + ("'error'" if self.evict == 0 else
                                       "'oldest_decided': no slice is decided"),
                                    limit=self.max_keys,
                                )
                            slice_ = group.fresh()
                        self.chosen[g] = slice_
            g += 1
        return 0

    cdef bint victim(self, Group group):
        return (self.evict == 1 and len(group.decided) > 0) or self.evict == 2

    cdef int make_room(self, Group group) except -1:
        """Drop the slice that the policy names."""
        cdef bint was_decided
        # Both dicts as they were before the first eviction of a batch, for their order too; what
        # comes after it is undone in slices alone.
        if self.journal is not None and group not in self.copied:
            self.copied.add(group)
            self.journal.append((group, None, None, dict(group.slices), dict(group.decided)))
        key = next(iter(group.decided if self.evict == 1 else group.slices))
        del group.slices[key]
        was_decided = group.decided.pop(key, MISSING) is not MISSING
        group.evicted += 1
        if not was_decided:
            group.evicted_open += 1
        return 0

    cdef object collect(self, size_t g, size_t n, int64_t step, bint *blocked):
        """The final verdicts among the changes, as tuples."""
        cdef size_t k, w
        cdef list found = None
        cdef const unsigned char[:] blocks = <bytes>self.blocking[g]
        cdef ms_rb_change *change
        mask = None
        for k in range(n):
            change = self.changes + k
            if change.after != MS_RB_FALSE and change.after != MS_RB_TRUE:
                continue
            if mask is None:
                mask = 0
                for w in range(self.words):
                    mask |= int(self.letters[g * self.words + w]) << (64 * w)
                found = []
            if change.after == MS_RB_FALSE and blocks[change.rule]:
                blocked[0] = True
            found.append((g, self.keys[g], change.rule, change.before, change.after,
                          change.since, step, mask))
        return found

    @cython.critical_section
    def step(self, object event, object time, int mode):
        """Take an event. mode 0: commit; 1: do not; 2: unless a rule that forbids is broken.

        Returns None where no verdict became final, else a list of tuples.
        """
        cdef Group group
        cdef Slice slice_
        cdef size_t g, n
        cdef double now
        cdef unsigned char *before
        cdef bint blocked = False
        cdef list found = None
        self.enter()
        try:
            now = self.read_time(event, time)
            try:
                self.prepare(event)
            finally:
                self.conditions.forget()
            g = 0
            for group in self.groups:
                slice_ = <Slice>self.chosen[g]
                if slice_ is None:
                    g += 1
                    continue
                slice_.make_room(group.program)
                if mode:
                    group.borrow()
                    group.scratch.copy(slice_)
                    memcpy(group.scratch.counts, group.counts,
                           2 * group.program.n_rules * sizeof(int64_t))
                    n = ms_rb_step(&group.program.program, group.scratch.data, slice_.data,
                                   self.letters + g * self.words, self.n_steps, now,
                                   group.scratch.counts,
                                   group.scratch.counts + group.program.n_rules, self.changes)
                else:
                    self.keep(group, g, slice_)
                    before = NULL
                    if group.program.goes_back:
                        group.borrow()
                        group.scratch.copy(slice_)
                        before = group.scratch.data
                    n = ms_rb_step(&group.program.program, slice_.data, before,
                                   self.letters + g * self.words, self.n_steps, now,
                                   group.counts, group.counts + group.program.n_rules,
                                   self.changes)
                    self.settle(group, g, slice_)
                if n:
                    more = self.collect(g, n, self.n_steps, &blocked)
                    if more is not None:
                        found = more if found is None else found + more
                g += 1
            if mode == 2 and not blocked:
                g = 0
                for group in self.groups:
                    slice_ = <Slice>self.chosen[g]
                    if slice_ is not None:
                        self.keep(group, g, slice_)
                        memcpy(slice_.data, group.scratch.data, slice_.size)
                        memcpy(group.counts, group.scratch.counts,
                               2 * group.program.n_rules * sizeof(int64_t))
                        self.settle(group, g, slice_)
                    g += 1
            if mode == 0 or (mode == 2 and not blocked):
                self.n_steps += 1
                if now == now:
                    self.time = now
            return found
        finally:
            self.give_back()
            self.busy = False

    @cython.critical_section
    def outlook(self, object event, object time, object unknown, list leaves):
        """What an event breaks of which only a part is known; nothing changes.

        `leaves` has, for each group, the bits of the event that its rules read, the slots of its
        rules, and by slot the bits that each reads.
        Returns what is broken in any case, as `step` does; (group, rule) of what the rest decides;
        (path, message) of fields that cannot be tested; whether the rest makes no difference.
        """
        cdef Group group
        cdef size_t g = 0
        cdef double now
        self.enter()
        try:
            now = self.read_time(event, time)
            memset(self.letter, 0, self.words * sizeof(uint64_t))
            problems = []
            self.conditions.step = self.n_steps
            try:
                maybe = frozenset(self.conditions.fill_known(event, unknown, self.letter, problems))
            finally:
                self.conditions.forget()
            certain = []
            open_ = []
            settled = True
            for group in self.groups:
                settled &= self.judge(group, g, event, unknown, maybe, leaves[g], now, certain,
                                      open_, problems)
                g += 1
            return certain, open_, problems, settled
        finally:
            self.give_back()
            self.busy = False

    cdef int give_back(self) except -1:
        cdef Group group
        for group in self.groups:
            if group.scratch is not None:
                group.give_back()
        return 0

    cdef int judge(self, Group group, size_t g, object event, object unknown, frozenset maybe,
                   tuple leaves, double now, list certain, list open_, list problems) except -1:
        """The part of `outlook` that is one group's; whether all of it is known."""
        cdef Slice slice_
        cdef bint hidden = False
        cdef bint settled
        cdef bint ignored = False
        cdef size_t n
        cdef uint64_t *letter = self.letters + g * self.words
        key = None
        if group.key is not None:
            path = group.key if isinstance(group.key, tuple) else ()
            told = unknown(path)
            hidden = bool(told) or type(told) is str
            if not hidden:
                try:
                    key = group.key_of(event)
                except ArgumentTypeError as error:
                    problems.append((path, str(error)))
                    hidden = True
                if key is MISSING:
                    return 1
        self.same = True
        settled = True
        union, everyone, of_slot = leaves
        apart = maybe.isdisjoint(union)
        if apart:
            by_bits = {(): everyone}
        else:
            by_bits = {}
            for slot in everyone:
                by_bits.setdefault(tuple(sorted(maybe & of_slot[slot])), []).append(slot)
        self.keys[g] = key
        if apart:
            memcpy(letter, self.letter, self.words * sizeof(uint64_t))
            if not ms_rb_gate(&group.program.program, letter):
                return 1  # the event is none of the group's
        if hidden:
            settled = False
        else:
            slice_ = group.only if group.key is None else <Slice>group.slices.get(key)
            if slice_ is None:
                slice_ = group.fresh()
            if apart:  # as `step` would
                slice_.make_room(group.program)
                group.borrow()
                group.scratch.copy(slice_)
                n = ms_rb_step(&group.program.program, group.scratch.data, slice_.data, letter,
                               self.n_steps, now, group.scratch.counts,
                               group.scratch.counts + group.program.n_rules, self.changes)
                if n:
                    for found in self.collect(g, n, self.n_steps, &ignored) or ():
                        if found[4] == MS_RB_FALSE:
                            certain.append(found)
                return 1
            slices = [slice_]
        if hidden:
            slices = None
            if len(group.slices) <= MOST_SLICES:
                slices = [group.fresh(), *group.slices.values()]
        for bits, slots in by_bits.items():
            if slices is None or len(bits) > MOST_UNKNOWN:
                open_ += [(g, slot) for slot in slots]
                settled = False
                continue
            tried = self.try_all(group, g, slices, bits, slots, now, hidden)
            for slot, found in tried.items():
                if found is True or hidden:
                    open_.append((g, slot))
                else:
                    certain.append(found)
        return settled and (hidden or self.same)

    cdef dict try_all(self, Group group, size_t g, list slices, tuple bits, object slots,
                      double now, bint hidden):
        """For each rule that some values of these bits break: True, or, if all do, the change.

        With the key hidden, whether all do is not asked.
        """
        cdef Slice slice_
        cdef size_t n, k
        cdef int bit, place
        cdef uint64_t chosen
        cdef bint concerned
        cdef uint64_t *letter = self.letters + g * self.words
        cdef bint ignored = False
        cdef tuple first
        legal = dict.fromkeys(slots, 0)
        broken = {}
        times = dict.fromkeys(slots, 0)
        group.borrow()
        for slice_ in slices:
            slice_.make_room(group.program)
            first = None
            for chosen in range(<uint64_t>1 << len(bits)):
                memcpy(letter, self.letter, self.words * sizeof(uint64_t))
                for place, bit in enumerate(bits):
                    if chosen >> place & 1:
                        letter[bit >> 6] |= <uint64_t>1 << (bit & 63)
                concerned = ms_rb_gate(&group.program.program, letter)
                n = 0
                if concerned:
                    group.scratch.copy(slice_)
                    n = ms_rb_step(&group.program.program, group.scratch.data, slice_.data,
                                   letter, self.n_steps, now, group.scratch.counts,
                                   group.scratch.counts + group.program.n_rules, self.changes)
                if n == 0 and hidden:
                    continue
                changes = self.collect(g, n, self.n_steps, &ignored) or () if n else ()
                if self.same and not hidden:
                    left = PyBytes_FromStringAndSize(
                        <char *>(group.scratch.data if concerned else slice_.data), slice_.size
                    ), [(found[2], found[4]) for found in changes]
                    if first is None:
                        first = left
                    self.same = left == first
                for slot in slots:
                    if not concerned or ms_rb_legal(&group.program.program, slice_.data, letter,
                                                    slot):
                        legal[slot] += 1
                for found in changes:
                    if found[4] == MS_RB_FALSE and found[2] in legal:
                        times[found[2]] += 1
                        broken.setdefault(found[2], found)
        return {slot: found if times[slot] == legal[slot] else True
                for slot, found in broken.items()}

    cdef int keep(self, Group group, size_t g, Slice slice_) except -1:
        """Before a slice changes: give it its place, and note how to undo."""
        key = self.keys[g]
        if group.key is not None and key not in group.slices:
            if len(group.slices) >= self.max_keys:
                self.make_room(group)
            if self.journal is not None:
                self.journal.append((group, key, None, None, None))
            group.slices[key] = slice_
        elif self.journal is not None:
            self.journal.append(
                (group, key, slice_,
                 PyBytes_FromStringAndSize(<char *>slice_.data, slice_.size), key in group.decided)
            )
        return 0

    cdef int settle(self, Group group, size_t g, Slice slice_) except -1:
        if group.key is not None and (<ms_rb_slice *>slice_.data).undecided == 0:
            group.decided.setdefault(self.keys[g])
        return 0

    @cython.critical_section
    def begin_batch(self):
        """From here on, `end_batch` can undo every step."""
        cdef Group group
        self.enter()
        try:
            counts = []
            for group in self.groups:
                counts.append((
                    PyBytes_FromStringAndSize(
                        <char *>group.counts, 2 * group.program.n_rules * sizeof(int64_t)
                    ),
                    group.evicted,
                    group.evicted_open,
                ))
            self.journal = [(self.n_steps, self.time, counts)]
            self.copied = set()
        finally:
            self.busy = False

    @cython.critical_section
    def end_batch(self, bint undo):
        """Keep what was done since `begin_batch`, or undo it."""
        cdef Group group
        cdef Slice slice_
        journal = self.journal
        self.journal = None
        if not undo:
            return
        for group, key, changed, before, was_decided in reversed(journal[1:]):
            if before is None:
                group.slices.pop(key, None)
                group.decided.pop(key, None)
            elif changed is None:
                group.slices = before
                group.decided = was_decided
            else:
                slice_ = <Slice>changed
                slice_.put(PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before))
                if group.key is not None and not was_decided:
                    group.decided.pop(key, None)
        self.n_steps, self.time, counts = journal[0]
        for group, (block, evicted, evicted_open) in zip(self.groups, counts):
            memcpy(group.counts, PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block))
            group.evicted = evicted
            group.evicted_open = evicted_open

    @cython.critical_section
    def keys_of(self, int g):
        """Keys of a group's slices in order of arrival; ``[None]`` without keys."""
        cdef Group group = self.groups[g]
        return [None] if group.key is None else list(group.slices)

    cdef Slice find(self, int g, object key):
        cdef Group group = self.groups[g]
        return group.only if group.key is None else <Slice>group.slices[key]

    @cython.critical_section
    def states(self, int g, object key):
        """(states, since) of a slice's rules, triggers included; both copies."""
        cdef Group group = self.groups[g]
        cdef Slice slice_ = self.find(g, key)
        block = PyBytes_FromStringAndSize(<char *>slice_.data, slice_.size)
        n = group.program.n_rules
        return (
            np.frombuffer(block, np.int32, n, group.program.program.states_at),
            np.frombuffer(block, np.int64, n, group.program.program.since_at),
        )

    @cython.critical_section
    def numbers(self, int g, object key):
        """What the operations of a slice remember; a copy."""
        cdef Group group = self.groups[g]
        cdef Slice slice_ = self.find(g, key)
        block = PyBytes_FromStringAndSize(<char *>slice_.data, slice_.size)
        return np.frombuffer(
            block, np.float64, group.program.program.n_numbers, group.program.program.memory_at
        )

    @cython.critical_section
    def steps_of(self, int g, object key):
        """Events that a slice has seen."""
        return (<ms_rb_slice *>self.find(g, key).data).steps

    @cython.critical_section
    def counts_of(self, int g):
        """(hits, broken) of a group's rules."""
        cdef Group group = self.groups[g]
        cdef size_t k, n = group.program.n_rules
        return (
            [group.counts[k] for k in range(n)],
            [group.counts[n + k] for k in range(n)],
        )

    @cython.critical_section
    def dump(self):
        """Everything that changes, as (head, [(keys, decided, evicted, evicted_open, block)])."""
        cdef Group group
        cdef Slice slice_
        self.enter()
        try:
            parts = []
            for g, group in enumerate(self.groups):
                keys = self.keys_of(g)
                pieces = [PyBytes_FromStringAndSize(
                    <char *>group.counts, 2 * group.program.n_rules * sizeof(int64_t)
                )]
                for key in keys:
                    slice_ = self.find(g, key)
                    pieces.append(slice_.dump(group.program))
                parts.append((
                    [] if group.key is None else keys,
                    list(group.decided),
                    group.evicted,
                    group.evicted_open,
                    b"".join(pieces),
                ))
            return (self.n_steps, None if math.isnan(self.time) else self.time), parts
        finally:
            self.busy = False

    @cython.critical_section
    def load(self, head, parts):
        """Take what `dump` gave; all of it is checked before anything changes."""
        cdef Group group
        cdef Slice slice_
        cdef Py_ssize_t at, n, end, k
        cdef size_t size
        n_steps, time = head
        if len(parts) != len(self.groups):
            raise ArgumentValueError("snapshot: the number of groups of rules is wrong")
        if not 0 <= n_steps < 2**53 or not (time is None or math.isfinite(time)):
            raise ArgumentValueError("snapshot: the number of steps or the time is wrong")
        made = []
        for group, (keys, decided, evicted, evicted_open, block) in zip(self.groups, parts):
            n = 2 * group.program.n_rules * sizeof(int64_t)
            count = 1 if group.key is None else len(keys)
            end = len(block)
            if (end < n or len(keys) > self.max_keys or (keys and group.key is None)
                    or len(set(keys)) != len(keys)):
                raise ArgumentValueError("snapshot: the size of a group of rules is wrong")
            slices = []
            at = n
            for k in range(count):
                slice_ = Slice(group.program)
                size = 0
                if end - at >= <Py_ssize_t>slice_.size:
                    size = self.bytes_of(group.program, PyBytes_AS_STRING(block) + at)
                if size == 0 or <size_t>(end - at) < size:
                    raise ArgumentValueError("snapshot: the size of a group of rules is wrong")
                slice_.put(PyBytes_AS_STRING(block) + at, size)
                at += size
                if not ms_rb_check(&group.program.program, slice_.data):
                    raise ArgumentValueError("snapshot: a state is out of range")
                slices.append(slice_)
            if at != end:
                raise ArgumentValueError("snapshot: the size of a group of rules is wrong")
            settled = {key for key, one in zip(keys, slices)
                       if (<ms_rb_slice *>(<Slice>one).data).undecided == 0}
            if set(decided) != settled or len(settled) != len(decided):
                raise ArgumentValueError("snapshot: the list of decided keys is wrong")
            if not (0 <= evicted < 2**63 and 0 <= evicted_open < 2**63):
                raise ArgumentValueError("snapshot: a count is out of range")
            made.append((slices, block[:n]))
        self.enter()
        try:
            for group, (slices, counts), part in zip(self.groups, made, parts):
                keys, decided, evicted, evicted_open, _ = part
                if group.key is None:
                    group.only = slices[0]
                else:
                    group.slices = dict(zip(keys, slices))
                    group.decided = dict.fromkeys(decided)
                group.evicted = evicted
                group.evicted_open = evicted_open
                memcpy(group.counts, PyBytes_AS_STRING(counts), PyBytes_GET_SIZE(counts))
            self.n_steps = n_steps
            self.time = NAN if time is None else time
        finally:
            self.busy = False

    cdef size_t bytes_of(self, Program program, const char *block) noexcept:
        """Bytes of the slice that begins there; 0 if its room cannot be."""
        cdef uint64_t room
        memcpy(&room, block + sizeof(ms_rb_slice) - sizeof(uint64_t), sizeof(uint64_t))
        if room < program.program.first_room or room > program.program.most_room:
            return 0
        return ms_rb_bytes(&program.program, room)

    @cython.critical_section
    def copy(self):
        """An engine with the same program, and slices of its own."""
        cdef Engine twin
        programs = [(<Group>group).program for group in self.groups]
        keys = [(<Group>group).key for group in self.groups]
        twin = Engine(self.conditions.twin(), programs, keys, needs_time=self.needs_time,
                      time_path=self.time_path, max_keys=self.max_keys, evict=self.evict,
                      blocking=self.blocking)
        self.enter()
        try:
            for mine, its in zip(self.groups, twin.groups):
                (<Group>its).take(<Group>mine)
            twin.n_steps = self.n_steps
            twin.time = self.time
        finally:
            self.busy = False
        return twin
