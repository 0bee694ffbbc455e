"""`midstream.logic`'s decision procedures, on families of formulas that grow."""

from __future__ import annotations

from itertools import pairwise

from midstream.logic import (
    always,
    and_,
    atom,
    counterexample,
    eventually,
    iff,
    implies,
    not_,
    or_,
    satisfiable,
    strong_next,
    true,
    witness,
    xor,
)


def responses(n):
    """Each of n requests is made and answered, no two answers at once. Satisfiable."""
    requests = [atom(f"r{i}") for i in range(n)]
    answers = [atom(f"a{i}") for i in range(n)]
    parts = [
        always(implies(r, strong_next(eventually(a))))
        for r, a in zip(requests, answers, strict=True)
    ]
    parts += [eventually(r) for r in requests]
    parts += [always(not_(and_(a, b))) for i, a in enumerate(answers) for b in answers[:i]]
    return and_(*parts)


def stable(n):
    """In the end all of n atoms are equal, and two of them are not. Unsatisfiable."""
    names = [atom(f"a{i}") for i in range(n)]
    parts = [eventually(always(iff(a, b))) for a, b in pairwise(names)]
    return and_(*parts, always(eventually(xor(names[0], names[-1]))))


def counter(n, *, passes):
    """A counter of n bits reaches its last value; and with `passes`, it goes on without wrapping.

    Satisfiable by a trace of 2**n steps, or not at all.
    """
    bits = [atom(f"b{i}") for i in range(n)]
    # A bit flips iff all lower ones are set.
    flips = [not_(bits[0]), *(xor(bits[i], and_(*bits[:i])) for i in range(1, n))]
    steps = [iff(strong_next(bit), flipped) for bit, flipped in zip(bits, flips, strict=True)]
    zero = [not_(bit) for bit in bits]
    goal = and_(*bits, strong_next(or_(*bits))) if passes else and_(*bits)
    return and_(*zero, always(implies(strong_next(true), and_(*steps))), eventually(goal))


class Families:
    """Satisfiability of finite traces."""

    params = ("responses 8", "responses 30", "stable 50", "counter 6", "counter 6 passes")
    param_names = ("family",)

    def setup(self, family):
        name, size, *passes = family.split()
        if name == "counter":
            self.formula = counter(int(size), passes=bool(passes))
        else:
            self.formula = {"responses": responses, "stable": stable}[name](int(size))
        expected = name == "responses" or (name == "counter" and not passes)
        assert satisfiable(self.formula) == expected

    def time_satisfiable(self, family):
        satisfiable(self.formula)


class InfiniteWords:
    """Satisfiability of infinite words."""

    params = ("responses", "stable")
    param_names = ("family",)

    def setup(self, family):
        self.formula = responses(8) if family == "responses" else stable(50)
        assert satisfiable(self.formula, semantics="ltl") == (family == "responses")

    def time_satisfiable(self, family):
        satisfiable(self.formula, semantics="ltl")


class Evidence:
    """A shortest witness; and a counterexample of 1000 steps with the one that decided."""

    def setup(self):
        self.formula = responses(6)
        self.rule = always(implies(atom("a"), eventually(atom("b"), 0, 5)))
        self.trace = [{"a", "b"} if i % 7 == 0 else set() for i in range(1000)]
        self.trace[700] = {"a"}
        assert witness(self.formula).minimal
        assert counterexample(self.rule, self.trace).step == 705

    def time_witness(self):
        witness(self.formula)

    def time_counterexample(self):
        counterexample(self.rule, self.trace)
