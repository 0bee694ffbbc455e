"""Evaluation of whole traces beside rtamt, and beside the same written by hand in numpy."""

from __future__ import annotations

import numpy as np

from midstream.logic import Columns, evaluate, evaluate_packed, parse, unpack

from ._timing import SIZE, Peer
from .columns import columns


class Rtamt(Peer):
    """Eleven operators, 2000 events; rtamt gives robustness, whose sign is compared."""

    library = "rtamt.StlDiscreteTimeOfflineSpecification"
    repeats = 5

    def setup(self):
        try:
            import rtamt
        except ImportError:
            raise NotImplementedError("rtamt is not installed") from None
        self.formula = parse("G(a -> F[0:20] b) & (c U d) & H(c -> (a S b)) & F G(a | b)")
        self.rows = columns(2000)
        self.spec = rtamt.StlDiscreteTimeOfflineSpecification()
        for name in "abcd":
            self.spec.declare_var(name, "float")
        self.spec.declare_var("out", "float")
        self.spec.spec = (
            "out = always((a > 0.5) -> eventually[0:20](b > 0.5)) and ((c > 0.5) until (d > 0.5))"
            " and historically((c > 0.5) -> ((a > 0.5) since (b > 0.5)))"
            " and eventually(always((a > 0.5) or (b > 0.5)))"
        )
        self.spec.parse()
        self.data = {
            "time": list(range(2000)),
            **{name: row.astype(float).tolist() for name, row in self.rows.items()},
        }
        assert [value > 0 for _, value in self.peer()] == self.ours().tolist()

    def ours(self):
        return evaluate(self.formula, self.rows)

    def peer(self):
        return self.spec.evaluate(self.data)


class Numpy(Peer):
    """``G(a -> F b) & (c U d)`` by whole-array operations on bool columns."""

    library = "numpy"

    def setup(self):
        self.formula = parse("G(a -> F b) & (c U d)")
        self.rows = columns(10 * SIZE)
        self.packed = Columns(self.rows)
        found = self.ours()
        if found.dtype != np.bool_:
            found = unpack(found, self.packed.n)
        np.testing.assert_array_equal(found, self.peer())

    def ours(self):
        return evaluate(self.formula, self.rows)

    def peer(self):
        a, b, c, d = (self.rows[name] for name in "abcd")
        n = a.size
        later_b = np.logical_or.accumulate(b[::-1])[::-1]
        answered = np.logical_and.accumulate((~a | later_b)[::-1])[::-1]
        index = np.arange(n)
        next_d = np.minimum.accumulate(np.where(d, index, n)[::-1])[::-1]
        next_gap = np.minimum.accumulate(np.where(c, n, index)[::-1])[::-1]
        return answered & (next_d < n) & (next_gap >= next_d)


class NumpyPacked(Numpy):
    """The same from packed columns to a packed column."""

    def ours(self):
        return evaluate_packed(self.formula, self.packed)
