"""Games over finite traces, written out: states are sets of obligations, moves are enumerated.

A state is a disjunction of clauses, a clause a set of obligations (formula, negated, strong) about
the next position: a strong one wants that position to exist. Future operators only.
"""

from __future__ import annotations

import itertools
from functools import cache

from midstream.logic._ops import Op

TRUE = frozenset([frozenset()])
FALSE = frozenset()


def least(clauses):
    """Without clauses that a smaller one implies."""
    return frozenset(c for c in clauses if not any(d < c for d in clauses))


def both(f, g):
    return least({c | d for c in f for d in g})


def either(f, g):
    return least(f | g)


@cache
def progress(f, negated, letter):
    """What must hold from the next position on for `f`, or not `f`, to hold here."""
    op, args = f.op, f.args

    def now(arg, flip=False):
        return progress(arg, negated != flip, letter)

    def later(strong):
        return frozenset([frozenset([(f, negated, strong != negated)])])

    if op in (Op.TRUE, Op.FALSE):
        return TRUE if (op == Op.TRUE) != negated else FALSE
    if op == Op.ATOM:
        return TRUE if (f.atom in letter) != negated else FALSE
    if op == Op.NOT:
        return now(args[0], True)
    if op in (Op.XOR, Op.IFF):
        same = (op == Op.IFF) != negated
        p, q = args
        first = both(progress(p, False, letter), progress(q, not same, letter))
        return either(first, both(progress(p, True, letter), progress(q, same, letter)))
    if op == Op.IMPLIES:
        parts = (now(args[0], True), now(args[1]))
        return both(*parts) if negated else either(*parts)
    # Negation swaps "and" with "or", and strong with weak, which `later` does.
    conjoin, disjoin = (either, both) if negated else (both, either)
    if op in (Op.AND, Op.OR):
        result = now(args[0])
        for arg in args[1:]:
            result = (conjoin if op == Op.AND else disjoin)(result, now(arg))
        return result
    if op in (Op.NEXT, Op.STRONG_NEXT):
        strong = (op == Op.STRONG_NEXT) != negated
        return frozenset([frozenset([(args[0], negated, strong)])])
    if op == Op.EVENTUALLY:
        return disjoin(now(args[0]), later(True))
    if op == Op.ALWAYS:
        return conjoin(now(args[0]), later(False))
    if op in (Op.UNTIL, Op.WEAK_UNTIL):
        return disjoin(now(args[1]), conjoin(now(args[0]), later(op == Op.UNTIL)))
    if op in (Op.RELEASE, Op.STRONG_RELEASE):
        return conjoin(now(args[1]), disjoin(now(args[0]), later(op == Op.STRONG_RELEASE)))
    raise ValueError(f"no {op.name} here")


def start(formula):
    return frozenset([frozenset([(formula, False, True)])])


def step(state, letter):
    result = FALSE
    for clause in state:
        part = TRUE
        for formula, negated, _ in clause:
            part = both(part, progress(formula, negated, letter))
        result = either(result, part)
    return result


def accepts(state):
    return any(not any(strong for _, _, strong in clause) for clause in state)


def subsets(names):
    names = sorted(names)
    return [frozenset(c) for k in range(len(names) + 1) for c in itertools.combinations(names, k)]


class Arena:
    """All states of a formula, and their moves over letters of `inputs` and `outputs`."""

    def __init__(self, formula, inputs, outputs, order):
        self.inputs, self.outputs, self.order = subsets(inputs), subsets(outputs), order
        self.start = start(formula)
        self.moves = {}
        pending = [self.start]
        while pending:
            state = pending.pop()
            if state in self.moves:
                continue
            self.moves[state] = {
                (i, o): step(state, i | o) for i in self.inputs for o in self.outputs
            }
            pending += self.moves[state].values()

    def forces(self, state, target):
        """Whether the system can make the next state one of `target`."""
        moves = self.moves[state]
        if self.order == "mealy":
            return all(any(moves[i, o] in target for o in self.outputs) for i in self.inputs)
        return any(all(moves[i, o] in target for i in self.inputs) for o in self.outputs)

    def reach(self, goal, inside):
        """States of `inside` from which the system forces the play into `goal`."""
        won = set(goal) & inside
        while True:
            more = {s for s in inside - won if self.forces(s, won)}
            if not more:
                return won
            won |= more

    def realizable(self):
        won = self.reach({s for s in self.moves if accepts(s)}, set(self.moves))
        return self.forces(self.start, won)

    def possible(self):
        """States from which some continuation, perhaps none, is accepted."""
        alive = {s for s in self.moves if accepts(s)}
        while True:
            more = {s for s in self.moves if s not in alive}
            more = {s for s in more if any(t in alive for t in self.moves[s].values())}
            if not more:
                return alive
            alive |= more

    def region(self, keep):
        """The largest set in which the system can stay, of states that are as `keep` says."""
        if keep == "possible":
            region = self.possible()
        elif keep == "satisfied":
            region = {s for s in self.moves if accepts(s)}
        else:
            region = set(self.moves)
        while True:
            kept = {s for s in region if self.forces(s, region)}
            if keep == "enforceable":
                kept = self.reach({s for s in kept if accepts(s)}, kept)
            if kept == region:
                return region
            region = kept
