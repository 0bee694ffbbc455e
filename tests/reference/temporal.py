"""Temporal logic by its definitions: slow, short, and the judge of every engine.

Nothing is shared with midstream but the names of operators. A trace is a list of sets of atoms, a
set of signals a list of dicts; `times` default to 0, 1, 2, ...
"""

from __future__ import annotations

import itertools
import math

from midstream.logic._ops import Op

COMPARE = {
    ">": lambda x, c: x > c,
    ">=": lambda x, c: x >= c,
    "<": lambda x, c: x < c,
    "<=": lambda x, c: x <= c,
    "==": lambda x, c: x == c,
    "!=": lambda x, c: x != c,
}
MARGIN = {
    ">": lambda x, c: x - c,
    ">=": lambda x, c: x - c,
    "<": lambda x, c: c - x,
    "<=": lambda x, c: c - x,
    "==": lambda x, c: -abs(x - c),
    "!=": lambda x, c: abs(x - c),
}


def evaluate(formula, trace, times=None):
    """Truth at every position, by the definitions: a list of bool.

    Letters are sets of atoms, or mappings that also hold signals' numbers.
    """

    def leaf(node, letter):
        if node.op == Op.PREDICATE:
            p = node.predicate
            if str(p) in letter:
                return bool(letter[str(p)]) if isinstance(letter, dict) else True
            return isinstance(letter, dict) and COMPARE[p.comparison](letter[p.signal], p.threshold)
        return bool(letter.get(node.atom)) if isinstance(letter, dict) else node.atom in letter

    return _walk(formula, trace, times, leaf, False, True, lambda x: not x, any, all)


def robustness(formula, trace, times=None):
    """Robustness at every position, by the definitions: a list of float."""

    def leaf(node, letter):
        if node.op == Op.PREDICATE:
            p = node.predicate
            return MARGIN[p.comparison](letter[p.signal], p.threshold)
        return math.inf if letter[node.atom] else -math.inf

    def most(values):
        return max(values, default=-math.inf)

    def least(values):
        return min(values, default=math.inf)

    return _walk(formula, trace, times, leaf, -math.inf, math.inf, lambda x: -x, most, least)


def holds(formula, trace, times=None):
    """Truth at the first position."""
    return evaluate(formula, trace, times)[0]


def _walk(formula, trace, times, leaf, bottom, top, negate, some, every):
    """Values of all subformulas at all positions; `some` and `every` are joins and meets."""
    n = len(trace)
    times = list(range(n)) if times is None else list(times)
    values = {}
    for node in formula.nodes():
        low, high = node.interval or (0, math.inf)
        a, b = (values[arg] for arg in node.args) if len(node.args) == 2 else (None, None)
        f = values[node.args[0]] if node.args else None

        def ahead(i, low=low, high=high):
            return [j for j in range(i, n) if low <= times[j] - times[i] <= high]

        def behind(i, low=low, high=high):
            return [j for j in range(i + 1) if low <= times[i] - times[j] <= high]

        match node.op:
            case Op.FALSE:
                rows = [bottom] * n
            case Op.TRUE:
                rows = [top] * n
            case Op.ATOM | Op.PREDICATE:
                rows = [leaf(node, letter) for letter in trace]
            case Op.NOT:
                rows = [negate(x) for x in f]
            case Op.AND:
                rows = [every(values[arg][i] for arg in node.args) for i in range(n)]
            case Op.OR:
                rows = [some(values[arg][i] for arg in node.args) for i in range(n)]
            case Op.IMPLIES:
                rows = [some((negate(a[i]), b[i])) for i in range(n)]
            case Op.IFF:
                rows = [
                    some((every((a[i], b[i])), every((negate(a[i]), negate(b[i])))))
                    for i in range(n)
                ]
            case Op.XOR:
                rows = [
                    some((every((a[i], negate(b[i]))), every((negate(a[i]), b[i]))))
                    for i in range(n)
                ]
            case Op.NEXT:
                rows = [f[i + 1] if i + 1 < n else top for i in range(n)]
            case Op.STRONG_NEXT:
                rows = [f[i + 1] if i + 1 < n else bottom for i in range(n)]
            case Op.YESTERDAY:
                rows = [f[i - 1] if i else bottom for i in range(n)]
            case Op.WEAK_YESTERDAY:
                rows = [f[i - 1] if i else top for i in range(n)]
            case Op.EVENTUALLY:
                rows = [some([f[j] for j in ahead(i)]) for i in range(n)]
            case Op.ALWAYS:
                rows = [every([f[j] for j in ahead(i)]) for i in range(n)]
            case Op.ONCE:
                rows = [some([f[j] for j in behind(i)]) for i in range(n)]
            case Op.HISTORICALLY:
                rows = [every([f[j] for j in behind(i)]) for i in range(n)]
            case Op.UNTIL:
                rows = [some([every([b[j], *a[i:j]]) for j in ahead(i)]) for i in range(n)]
            case Op.RELEASE:
                rows = [every([some([b[j], *a[i:j]]) for j in ahead(i)]) for i in range(n)]
            case Op.WEAK_UNTIL:
                rows = [
                    some([every(a[i:]), *(every([b[j], *a[i:j]]) for j in range(i, n))])
                    for i in range(n)
                ]
            case Op.STRONG_RELEASE:
                rows = [some([every([a[j], *b[i : j + 1]]) for j in range(i, n)]) for i in range(n)]
            case Op.SINCE:
                rows = [
                    some([every([b[j], *a[j + 1 : i + 1]]) for j in behind(i)]) for i in range(n)
                ]
            case Op.TRIGGER:
                rows = [
                    every([some([b[j], *a[j + 1 : i + 1]]) for j in behind(i)]) for i in range(n)
                ]
        values[node] = rows
    return values[formula]


def letters(atoms):
    """Every letter over some atoms, as frozensets in the order of their bit masks."""
    return [
        frozenset(atom for index, atom in enumerate(atoms) if mask >> index & 1)
        for mask in range(1 << len(atoms))
    ]


def traces(atoms, length):
    """Every trace of a length, as tuples of letters."""
    return itertools.product(letters(atoms), repeat=length)
