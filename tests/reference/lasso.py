"""Temporal logic over infinite words u v v v ..., by its definitions.

Positions are written out far enough that values repeat; a future operator looks at every position
that it can get to. Slow, short, and shares nothing with midstream but the names of operators.
"""

from __future__ import annotations

import math

from midstream.logic._ops import Op


def holds(formula, prefix, loop):
    """Truth at the first position; letters are sets of atoms."""
    rounds = 2 + sum(
        2
        + int(0 if node.interval is None or node.interval.high == math.inf else node.interval.high)
        for node in formula.nodes()
        if node.op >= Op.YESTERDAY
    )
    letters = [*prefix, *(list(loop) * rounds)]
    n, back = len(letters), len(letters) - len(loop)
    values = {}

    def walk(i, steps):
        """Positions from i on, as many steps as it takes to see every one that comes."""
        path = []
        for _ in range(steps):
            path.append(i)
            i = i + 1 if i + 1 < n else back
        return path

    for node in formula.nodes():
        low, high = node.interval or (0, math.inf)
        args = [values[arg] for arg in node.args]

        def until(f, g, i, low=low, high=high):
            for distance, j in enumerate(walk(i, 2 * n + int(low))):
                if low <= distance <= high and g[j]:
                    return True
                if not f[j]:
                    return False
            return False

        def since(f, g, i, low=low, high=high):
            for j in range(i, -1, -1):
                if low <= i - j <= high and g[j]:
                    return True
                if not f[j]:
                    return False
            return False

        def flip(values):
            return [not value for value in values]

        def each(rule, f, g):
            return [rule(f, g, i) for i in range(n)]

        yes = [True] * n
        match node.op:
            case Op.FALSE:
                rows = [False] * n
            case Op.TRUE:
                rows = yes
            case Op.ATOM:
                rows = [node.atom in letter for letter in letters]
            case Op.NOT:
                rows = flip(args[0])
            case Op.AND:
                rows = [all(column) for column in zip(*args, strict=True)]
            case Op.OR:
                rows = [any(column) for column in zip(*args, strict=True)]
            case Op.XOR:
                rows = [a != b for a, b in zip(*args, strict=True)]
            case Op.IFF:
                rows = [a == b for a, b in zip(*args, strict=True)]
            case Op.IMPLIES:
                rows = [not a or b for a, b in zip(*args, strict=True)]
            case Op.NEXT | Op.STRONG_NEXT:
                rows = [args[0][walk(i, 2)[1]] for i in range(n)]
            case Op.EVENTUALLY:
                rows = each(until, yes, args[0])
            case Op.ALWAYS:
                rows = flip(each(until, yes, flip(args[0])))
            case Op.UNTIL:
                rows = each(until, *args)
            case Op.RELEASE:
                rows = flip(each(until, flip(args[0]), flip(args[1])))
            case Op.WEAK_UNTIL:
                rows = [
                    until(*args, i) or all(args[0][j] for j in walk(i, 2 * n)) for i in range(n)
                ]
            case Op.STRONG_RELEASE:
                both = [a and b for a, b in zip(*args, strict=True)]
                rows = each(until, args[1], both)
            case Op.YESTERDAY:
                rows = [False, *args[0][:-1]]
            case Op.WEAK_YESTERDAY:
                rows = [True, *args[0][:-1]]
            case Op.ONCE:
                rows = each(since, yes, args[0])
            case Op.HISTORICALLY:
                rows = flip(each(since, yes, flip(args[0])))
            case Op.SINCE:
                rows = each(since, *args)
            case Op.TRIGGER:
                rows = flip(each(since, flip(args[0]), flip(args[1])))
        values[node] = rows
    return values[formula][0]
