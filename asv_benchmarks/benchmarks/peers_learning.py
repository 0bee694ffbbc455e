"""Exact learning beside plain enumeration in numpy with the same sharing of equal rows."""

from __future__ import annotations

import numpy as np

from midstream.logic import learn_all

from ._timing import Peer
from .learning import traces

SIZE = 6


class Enumeration(Peer):
    """Random labels, 2 x 20 traces of ten letters; all formulas of up to six nodes."""

    library = "plain enumeration, numpy"
    repeats = 3

    def setup(self):
        sample = traces(40, 10, 10)
        self.sample = sample[:20], sample[20:]
        self.rows = {
            name: np.array([[name in letter for letter in trace] for trace in sample])
            for name in "abc"
        }
        assert self.ours() == self.peer()

    def ours(self):
        found = learn_all(*self.sample, SIZE)
        assert not found.formulas
        return found.n_distinct

    def peer(self):
        """Rows that are different among those of fewer than SIZE nodes; no row fits the labels."""
        label = np.arange(40) < 20
        levels = [[], list(self.rows.values())]
        known = {row.tobytes() for row in levels[1]}
        for size in range(2, SIZE + 1):
            made = []
            for row in self.candidates(levels, size):
                assert not np.array_equal(row[:, 0], label)
                if size < SIZE and (key := row.tobytes()) not in known:
                    known.add(key)
                    made.append(row)
            levels.append(made)
        return len(known)

    @staticmethod
    def candidates(levels, size):
        last = np.zeros_like(levels[1][0])
        last[:, -1] = True
        for f in levels[size - 1]:
            moved = np.roll(f, -1, axis=1)
            later = np.logical_or.accumulate(f[:, ::-1], axis=1)[:, ::-1]
            always = np.logical_and.accumulate(f[:, ::-1], axis=1)[:, ::-1]
            yield from (~f, moved & ~last, moved | last, later, always)
        for left in range(1, size - 1):
            for i, f in enumerate(levels[left]):
                for j, g in enumerate(levels[size - 1 - left]):
                    if left < size - 1 - left or (left == size - 1 - left and i <= j):
                        yield f & g
                        yield f | g
                    yield ~f | g
                    until = g.copy()
                    for k in range(g.shape[1] - 2, -1, -1):
                        until[:, k] |= f[:, k] & until[:, k + 1]
                    yield until
