"""The smallest separating formula by plain enumeration: every formula, every trace, no sharing."""

from __future__ import annotations

from reference import temporal

from midstream.logic._ops import Op
from midstream.logic.formula import atom, make

UNARY = (
    Op.NOT,
    Op.STRONG_NEXT,
    Op.NEXT,
    Op.EVENTUALLY,
    Op.ALWAYS,
    Op.YESTERDAY,
    Op.WEAK_YESTERDAY,
    Op.ONCE,
    Op.HISTORICALLY,
)


def by_size(size, atoms, ops):
    """All formulas of a size, every tree of them."""
    if size == 1:
        return [atom(name) for name in atoms]
    made = []
    for op in ops:
        if op in UNARY:
            made += [make(op, [f]) for f in by_size(size - 1, atoms, ops)]
            continue
        for left in range(1, size - 1):
            right = by_size(size - 1 - left, atoms, ops)
            made += [make(op, [f, g]) for f in by_size(left, atoms, ops) for g in right]
    return made


def errors(formula, positive, negative):
    """Traces on the wrong side."""
    return sum(not temporal.evaluate(formula, trace)[0] for trace in positive) + sum(
        temporal.evaluate(formula, trace)[0] for trace in negative
    )


def smallest(positive, negative, max_size, atoms, ops, max_errors=0):
    """All separating formulas of the smallest size, and the size; ([], None) if there is none."""
    for size in range(1, max_size + 1):
        found = [
            formula
            for formula in dict.fromkeys(by_size(size, atoms, ops))
            if errors(formula, positive, negative) <= max_errors
        ]
        if found:
            return found, size
    return [], None


def first(positive, negative, max_size, atoms, ops, max_errors=0):
    """The one that the documented order puts first: rows of truth values, one formula of each."""
    traces = [*positive, *negative]
    known = {}
    levels = [[]]
    for size in range(1, max_size + 1):
        candidates = [atom(name) for name in atoms] if size == 1 else []
        for op in ops if size > 1 else ():
            if op in UNARY:
                candidates += [make(op, [f]) for f in levels[size - 1]]
                continue
            commutes = op in (Op.AND, Op.OR, Op.XOR, Op.IFF)
            for left in range(1, size - 1):
                right = size - 1 - left
                for i, f in enumerate(levels[left]):
                    for j, g in enumerate(levels[right]):
                        if not commutes or left < right or (left == right and i <= j):
                            candidates.append(make(op, [f, g]))
        for formula in candidates:
            if errors(formula, positive, negative) <= max_errors:
                return formula
        levels.append([])
        for formula in candidates:
            row = tuple(tuple(temporal.evaluate(formula, trace)) for trace in traces)
            if row not in known:
                known[row] = formula
                levels[-1].append(formula)
    return None
