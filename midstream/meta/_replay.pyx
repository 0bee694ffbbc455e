# cython: freethreading_compatible=True
"""Binding of csrc/ms_sumtree: which experience to look at again."""

cimport cython
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from libc.math cimport isfinite, pow
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

import numpy as np

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_int, check_real

cdef extern from "ms_sumtree.h":
    int MS_SUMTREE_OK
    ctypedef struct ms_sumtree:
        size_t leaves
        double *nodes
    int ms_sumtree_init(ms_sumtree *t, size_t n) noexcept nogil
    void ms_sumtree_free(ms_sumtree *t) noexcept nogil
    void ms_sumtree_set(ms_sumtree *t, size_t i, double weight) noexcept nogil
    void ms_sumtree_rebuild(ms_sumtree *t) noexcept nogil
    void ms_sumtree_sample(const ms_sumtree *t, uint64_t *random, size_t n,
                           int64_t *leaves) noexcept nogil

cdef extern from "ms_random.h":
    void ms_random_seed(uint64_t *s, uint64_t seed) noexcept nogil

#: Largest priority: the sum of as many as the largest capacity is a number.
LARGEST = 1e300
cdef double MOST = 1e300
#: Largest capacity, and largest number of items ever added.
MOST_ITEMS = 1 << 26
cdef uint64_t MOST_ADDED = <uint64_t>1 << 53
#: Samples or updates, some dozens of nanoseconds each, for which the lock is released.
cdef Py_ssize_t MANY = 256


cdef class ReplayCore:
    """The ring and the tree. `midstream.meta.replaying.Replay` documents what is public."""

    cdef ms_sumtree tree
    cdef uint64_t[4] random
    cdef double *priorities_
    cdef list items
    cdef bint busy
    cdef readonly object capacity
    cdef readonly double alpha, beta
    cdef readonly object seed
    cdef size_t size
    cdef uint64_t added
    cdef double largest

    def __cinit__(self, capacity, double alpha, double beta, seed, *args, **kwargs):
        self.capacity, self.alpha, self.beta, self.seed = capacity, alpha, beta, seed
        self.size = capacity
        self.items = []
        self.largest = 1.0
        ms_random_seed(self.random, seed)
        self.priorities_ = <double *>calloc(self.size, sizeof(double))
        if self.priorities_ == NULL or ms_sumtree_init(&self.tree, self.size) != MS_SUMTREE_OK:
            raise MemoryError(f"no memory for a Replay of capacity={capacity}")

    def __dealloc__(self):
        free(self.priorities_)
        ms_sumtree_free(&self.tree)

    cdef int check_idle(self) except -1:
        """Refuse a tree that another thread is walking without the lock."""
        if self.busy:
            raise MidstreamError("another thread is using this replay: one at a time may")
        return 0

    cdef double weight(self, double priority) noexcept nogil:
        if self.alpha == 1.0 or (priority == 0.0 and self.alpha > 0.0):
            return priority
        return pow(priority, self.alpha)

    cdef uint64_t start_(self) noexcept nogil:
        return self.added - <uint64_t>len_of(self)

    cdef void put(self, size_t slot, double priority) noexcept nogil:
        self.priorities_[slot] = priority
        ms_sumtree_set(&self.tree, slot, self.weight(priority))
        if priority > self.largest:
            self.largest = priority

    @cython.critical_section
    def __len__(self):
        return len(self.items)

    @cython.critical_section
    def __iter__(self):
        """Items, the oldest first."""
        cdef Py_ssize_t n = len(self.items), first = self.start_() % self.size
        return iter(self.items[first:] + self.items[:first] if n else [])

    @property
    @cython.critical_section
    def start(self):
        """Index of the oldest item."""
        return self.start_()

    @property
    @cython.critical_section
    def n_added(self):
        """Items ever added: the index of the next one."""
        return self.added

    @property
    @cython.critical_section
    def max_priority(self):
        """Largest priority ever given, 1 at the start; what an item gets by default."""
        return self.largest

    @property
    @cython.critical_section
    def total(self):
        """Sum of all priorities to the power of `alpha`."""
        return self.tree.nodes[1]

    @cython.critical_section
    def add(self, item, priority=None):
        """Take an item; where all places are taken, the oldest one goes.

        Parameters
        ----------
        item : object
            Kept as it is, not copied.
        priority : float, optional
            Not negative, at most 1e300. The largest one ever given by default, so that every item
            is likely to be looked at once.

        Returns
        -------
        int
            Its index: 0 for the first item ever added, and so on; no index is used again.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `priority` is no number, negative or too large.

        Examples
        --------
        >>> from midstream.meta.replaying import Replay
        >>> replay = Replay(2)
        >>> [replay.add(word) for word in ("a", "b", "c")], list(replay)
        ([0, 1, 2], ['b', 'c'])
        """
        cdef double value
        cdef size_t slot
        # Kept until the end: what an item runs when it goes must find a whole state.
        cdef object gone = None
        if self.busy:
            self.check_idle()
        if priority is None:
            value = self.largest
        elif PyFloat_Check(priority):
            value = PyFloat_AS_DOUBLE(priority)
            if not (0.0 <= value <= MOST):
                raise refused("priority", priority)
        else:
            value = check_real("priority", priority, low=0.0, high=MOST)
        if self.added >= MOST_ADDED:
            raise MidstreamError("a replay takes at most 2**53 items")
        slot = self.added % self.size
        if slot < <size_t>len(self.items):
            gone = self.items[slot]
            self.items[slot] = item
        else:
            self.items.append(item)
        self.put(slot, value)
        self.added += 1
        return self.added - 1

    @cython.critical_section
    def item(self, index):
        """The item of an index.

        Parameters
        ----------
        index : int
            As `add` returned it.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            There is no such item, or not any more.
        """
        cdef object low = self.start_(), high = self.added
        if not len(self.items):
            raise ArgumentValueError(f"index must be of an item, got {index!r} of an empty replay")
        return self.items[check_int("index", index, low=low, high=high - 1) % self.size]

    @cython.critical_section
    def _sample(self, Py_ssize_t n, double beta):
        """Items, indices, weights and probabilities of n draws."""
        self.check_idle()
        if self.tree.nodes[1] == 0.0:
            raise ArgumentValueError(
                f"n must be 0 where there is no item whose priority is positive, got {n}"
            )
        indices = np.empty(n, np.int64)
        weights = np.empty(n)
        probabilities = np.empty(n)
        cdef int64_t[::1] slots = indices
        cdef double[::1] weight = weights, probability = probabilities
        cdef Py_ssize_t i
        cdef list items = []
        if n < MANY:
            self.draw(n, beta, slots, weight, probability)
        else:
            self.busy = True
            with nogil:
                self.draw(n, beta, slots, weight, probability)
            self.busy = False
        cdef uint64_t start = self.start_(), first = start % self.size
        for i in range(n):
            items.append(self.items[slots[i]])
            # Places count on from the oldest item's, once around.
            slots[i] = <int64_t>(
                start + ((<uint64_t>slots[i] + <uint64_t>self.size - first) % <uint64_t>self.size)
            )
        return items, indices, weights, probabilities

    cdef void draw(self, Py_ssize_t n, double beta, int64_t[::1] slots, double[::1] weight,
                   double[::1] probability) noexcept nogil:
        cdef double total = self.tree.nodes[1], least, leaf
        cdef Py_ssize_t i
        if n == 0:
            return
        ms_sumtree_sample(&self.tree, self.random, n, &slots[0])
        least = self.tree.nodes[self.tree.leaves + slots[0]]
        for i in range(n):
            leaf = self.tree.nodes[self.tree.leaves + slots[i]]
            probability[i] = leaf / total
            weight[i] = leaf
            if leaf < least:
                least = leaf
        for i in range(n):
            weight[i] = pow(least / weight[i], beta)

    @cython.critical_section
    def _update(self, const int64_t[::1] indices, const double[::1] priorities):
        """Set priorities; how many of the items are still there."""
        self.check_idle()
        cdef Py_ssize_t n = indices.shape[0], i
        cdef uint64_t start = self.start_()
        cdef Py_ssize_t alive = 0
        for i in range(n):
            if not (0 <= indices[i] and <uint64_t>indices[i] < self.added):
                raise ArgumentValueError(
                    f"indices[{i}] must be one that add returned, below {self.added}, got "
                    f"{indices[i]}"
                )
            if not (0.0 <= priorities[i] <= MOST):
                raise refused(f"priorities[{i}]", priorities[i])
        self.busy = n >= MANY
        if n < MANY:
            alive = self.put_all(indices, priorities, start)
        else:
            with nogil:
                alive = self.put_all(indices, priorities, start)
        self.busy = False
        return alive

    cdef Py_ssize_t put_all(self, const int64_t[::1] indices, const double[::1] priorities,
                            uint64_t start) noexcept nogil:
        cdef Py_ssize_t i, alive = 0
        for i in range(indices.shape[0]):
            if <uint64_t>indices[i] >= start:
                self.put(<uint64_t>indices[i] % self.size, priorities[i])
                alive += 1
        return alive

    @cython.critical_section
    def _ordered(self, bint weights):
        """Priorities, or weights, the oldest item's first."""
        self.check_idle()
        cdef Py_ssize_t n = len(self.items), i
        cdef uint64_t start = self.start_()
        cdef double *leaves = self.tree.nodes + self.tree.leaves
        values = np.empty(n)
        cdef double[::1] row = values
        for i in range(n):
            row[i] = (leaves if weights else self.priorities_)[(start + i) % self.size]
        return values

    @cython.critical_section
    def _state(self):
        self.check_idle()
        return self.added, self.largest, tuple([self.random[i] for i in range(4)])

    @cython.critical_section
    def _set_state(self, uint64_t added, double largest, tuple random, const double[::1] priorities,
                   list items):
        """Take a state, or raise ValueError where there is no such state."""
        self.check_idle()
        cdef uint64_t words[4]
        cdef Py_ssize_t n = len(items), i
        # As in `add`.
        cdef list gone = self.items, ring = [None] * n
        cdef double most = 1.0
        cdef size_t slot
        for i in range(4):
            words[i] = random[i]
        if n != priorities.shape[0] or <uint64_t>n != min(added, <uint64_t>self.size):
            raise ValueError("number of items")
        if added > MOST_ADDED or not any(random):
            raise ValueError("counter or generator")
        for i in range(n):
            if not (0.0 <= priorities[i] <= MOST):
                raise ValueError("priority")
            most = max(most, priorities[i])
        if not (most <= largest <= MOST):
            raise ValueError("largest priority")
        self.added, self.largest = added, largest
        for i in range(4):
            self.random[i] = words[i]
        for i in range(<Py_ssize_t>self.tree.leaves):
            self.tree.nodes[self.tree.leaves + i] = 0.0
        for i in range(n):
            slot = (added - n + i) % self.size
            ring[slot] = items[i]
            self.priorities_[slot] = priorities[i]
            self.tree.nodes[self.tree.leaves + slot] = self.weight(priorities[i])
        ms_sumtree_rebuild(&self.tree)
        self.items = ring


cdef inline Py_ssize_t len_of(ReplayCore core) noexcept nogil:
    return <Py_ssize_t>(core.added if core.added < core.size else core.size)


cdef object refused(str name, double value):
    if not isfinite(value):
        return ArgumentValueError(f"{name} must be finite, got {value!r}")
    return ArgumentValueError(f"{name} must be within [0, 1e300], got {value!r}")
