"""Temporal logic on infinite words of the form prefix, loop, loop, ... by its definitions."""

from __future__ import annotations

import itertools
import math

from midstream.logic._ops import Op


def holds(formula, prefix, loop):
    """Truth at the first position; letters are sets of atoms.

    Values of subformulas repeat with the loop from some position on: a past operator puts that off
    by a round at most. So enough rounds written out, and then a loop, hold them all.
    """
    nodes = formula.nodes()
    span = len(loop)
    delay = sum(
        span + int(min(low if math.isinf(high) else high for low, high in [n.interval or (0, 0)]))
        for n in nodes
        if n.op >= Op.YESTERDAY
    )
    rounds = 2 + -(-delay // span)
    word = list(prefix) + list(loop) * rounds
    n = len(word)

    def at(values, i):
        return values[i] if i < n else values[n - span + (i - n) % span]

    known = {}
    for node in nodes:
        args = [known[arg] for arg in node.args]
        low, high = node.interval or (0, math.inf)
        values = []
        for i in range(n):
            # As far as anything new can be met.
            ahead = range(i + low, int(min(i + high, n + span + i + low)) + 1)
            behind = range(i - low, int(max(i - high, 0)) - 1, -1)
            f = args[0] if args else None
            g = args[-1] if args else None
            match node.op:
                case Op.FALSE | Op.TRUE:
                    value = node.op == Op.TRUE
                case Op.ATOM:
                    value = node.atom in word[i]
                case Op.NOT:
                    value = not f[i]
                case Op.AND:
                    value = all(arg[i] for arg in args)
                case Op.OR:
                    value = any(arg[i] for arg in args)
                case Op.XOR:
                    value = f[i] != g[i]
                case Op.IFF:
                    value = f[i] == g[i]
                case Op.IMPLIES:
                    value = not f[i] or g[i]
                case Op.NEXT | Op.STRONG_NEXT:
                    value = at(f, i + 1)
                case Op.EVENTUALLY:
                    value = any(at(f, j) for j in ahead)
                case Op.ALWAYS:
                    value = all(at(f, j) for j in ahead)
                case Op.UNTIL:
                    value = any(at(g, j) and all(at(f, k) for k in range(i, j)) for j in ahead)
                case Op.RELEASE:
                    value = all(at(g, j) or any(at(f, k) for k in range(i, j)) for j in ahead)
                case Op.WEAK_UNTIL:
                    value = all(at(f, j) for j in ahead) or any(
                        at(g, j) and all(at(f, k) for k in range(i, j)) for j in ahead
                    )
                case Op.STRONG_RELEASE:
                    value = any(
                        at(f, j) and at(g, j) and all(at(g, k) for k in range(i, j)) for j in ahead
                    )
                case Op.YESTERDAY:
                    value = i > 0 and f[i - 1]
                case Op.WEAK_YESTERDAY:
                    value = i == 0 or f[i - 1]
                case Op.ONCE:
                    value = any(f[j] for j in behind)
                case Op.HISTORICALLY:
                    value = all(f[j] for j in behind)
                case Op.SINCE:
                    value = any(g[j] and all(f[k] for k in range(j + 1, i + 1)) for j in behind)
                case Op.TRIGGER:
                    value = all(g[j] or any(f[k] for k in range(j + 1, i + 1)) for j in behind)
            values.append(bool(value))
        known[node] = values
    return known[formula][0]


def lassos(letters, longest_prefix, longest_loop):
    """Every (prefix, loop) up to these lengths."""
    for p in range(longest_prefix + 1):
        for prefix in itertools.product(letters, repeat=p):
            for size in range(1, longest_loop + 1):
                for loop in itertools.product(letters, repeat=size):
                    yield prefix, loop
