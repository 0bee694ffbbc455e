"""`midstream.logic`'s evaluation of whole traces."""

from __future__ import annotations

import time

import numpy as np

from midstream.logic import Columns, evaluate, evaluate_packed, parse

#: 20 operators: future only, and past and future mixed.
FORMULAS = {
    "future": (
        "G(a -> F[0:20] b) & ((c U d) | N(a U b)) "
        "& (F(d & F[2:7] c) -> (a R (b | !c))) & F G(c | d)"
    ),
    "mixed": (
        "G(a -> F[0:20] b) & ((c U d) | N(a S b)) "
        "& (F(d & O[2:7] c) -> (a R (b | !c))) & H O(c | d)"
    ),
}
EVENTS = 10_000_000


def operators(formula):
    """Operators of the tree; ``a & b & c`` has two."""
    return sum(
        max(1, len(node.args) - 1) if node.op.name in ("AND", "OR") else 1
        for node in formula.nodes()
        if node.args
    )


def columns(n):
    """Four atoms, each true at three positions in ten."""
    rng = np.random.default_rng(7)
    return {name: rng.random(n) < 0.3 for name in "abcd"}


class Evaluate:
    """20 operators over 10 million events: of packed columns, of bool columns, of bit masks."""

    params = ("future", "mixed")
    param_names = ("formula",)
    unit = "million events a second"

    def setup(self, which):
        self.formula = parse(FORMULAS[which], next="weak")
        assert operators(self.formula) == 20
        self.rows = columns(EVENTS)
        self.packed = Columns(self.rows)
        self.masks = np.zeros(EVENTS, dtype=np.uint64)
        for bit, name in enumerate(self.formula.atoms):
            self.masks |= self.rows[name].astype(np.uint64) << np.uint64(bit)

    def rate(self, call):
        call()
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
        return EVENTS / best / 1e6

    def track_packed(self, which):
        return self.rate(lambda: evaluate_packed(self.formula, self.packed))

    def track_bool_columns(self, which):
        return self.rate(lambda: evaluate(self.formula, self.rows))

    def track_masks(self, which):
        return self.rate(lambda: evaluate(self.formula, self.masks))


class Short:
    """A trace of ten letters, each a set."""

    def setup(self):
        self.formula = parse("G(a -> F b)")
        self.trace = [{"a"}, {"b", "c"}] * 5

    def time_holds(self):
        self.formula.holds(self.trace)
