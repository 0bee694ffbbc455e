"""Guards of drawn automata: short sums of products of what a decision diagram says.

The diagrams here are small and made for one drawing, so that they are plain dicts; whatever is
compiled is in csrc.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from midstream._core.errors import StateLimitError

__all__ = ["Cube", "guards"]

#: Literals, variable -> whether it is true; in the order of the variables.
Cube = dict[int, bool]

#: The walks below recurse over variables.
MOST_VARIABLES = 200

_FALSE, _TRUE = 0, 1


class _Diagrams:
    """Binary decision diagrams of one drawing."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int]] = [(1 << 60, 0, 0), (1 << 60, 1, 1)]
        self.known: dict[tuple[int, int, int], int] = {}
        self.minus: dict[tuple[int, int], int] = {}
        self.covers: dict[tuple[int, int], tuple[int, tuple[Cube, ...]]] = {}

    def make(self, var: int, low: int, high: int) -> int:
        if low == high:
            return low
        row = (var, low, high)
        at = self.known.get(row)
        if at is None:
            at = self.known[row] = len(self.rows)
            self.rows.append(row)
        return at

    def branches(self, f: int, var: int) -> tuple[int, int]:
        row = self.rows[f]
        return (row[1], row[2]) if row[0] == var else (f, f)

    def without(self, f: int, g: int) -> int:
        """Where f is true and g false."""
        if f in (_FALSE, g) or g == _TRUE:
            return _FALSE
        if g == _FALSE:
            return f
        at = self.minus.get((f, g))
        if at is None:
            var = min(self.rows[f][0], self.rows[g][0])
            f0, f1 = self.branches(f, var)
            g0, g1 = self.branches(g, var)
            at = self.make(var, self.without(f0, g0), self.without(f1, g1))
            self.minus[f, g] = at
        return at

    def negated(self, f: int) -> int:
        return self.without(_TRUE, f)

    def both(self, f: int, g: int) -> int:
        return self.without(f, self.negated(g))

    def either(self, f: int, g: int) -> int:
        return self.negated(self.without(self.negated(f), g))

    def cover(self, least: int, most: int) -> tuple[int, tuple[Cube, ...]]:
        """An irredundant sum of products between two functions, and the function that it is.

        S. Minato, "Fast generation of irredundant sum-of-products forms from binary decision
        diagrams", SASIMI 1992.
        """
        if least == _FALSE:
            return _FALSE, ()
        if most == _TRUE:
            return _TRUE, ({},)
        found = self.covers.get((least, most))
        if found is not None:
            return found
        var = min(self.rows[least][0], self.rows[most][0])
        least0, least1 = self.branches(least, var)
        most0, most1 = self.branches(most, var)
        # What only the negative literal can cover, only the positive one; then what is left.
        f0, cubes0 = self.cover(self.without(least0, most1), most0)
        f1, cubes1 = self.cover(self.without(least1, most0), most1)
        rest = self.either(self.without(least0, f0), self.without(least1, f1))
        f, cubes = self.cover(rest, self.both(most0, most1))
        result = (
            self.make(var, self.either(f0, f), self.either(f1, f)),
            (
                *({var: True, **cube} for cube in cubes1),
                *({var: False, **cube} for cube in cubes0),
                *cubes,
            ),
        )
        self.covers[least, most] = result
        return result


def guards(
    roots: npt.NDArray[np.int32], nodes: npt.NDArray[np.int32], *, exact: bool
) -> Iterator[tuple[int, int, tuple[Cube, ...]]]:
    """Each (source, target, sum of products), sources ascending, targets as they are met.

    Unless `exact`, letters that cannot occur may satisfy any guard.
    """
    n_states = len(roots)
    if len(np.unique(nodes[:, 0])) > MOST_VARIABLES:
        raise StateLimitError(
            f"an automaton over more than {MOST_VARIABLES} atoms cannot be drawn",
            limit=MOST_VARIABLES,
        )
    table: list[list[int]] = nodes.tolist()
    diagrams = _Diagrams()
    #: Of a node, and a target: where it leads to the target.
    leads: dict[int, dict[int, int]] = {}

    def targets(ref: int) -> dict[int, int]:
        return {~ref: _TRUE} if ref < 0 else leads[ref]

    for at, (var, low, high) in enumerate(table):
        to_low, to_high = targets(low), targets(high)
        leads[at] = {
            target: diagrams.make(var, to_low.get(target, _FALSE), to_high.get(target, _FALSE))
            for target in {**to_low, **to_high}
        }
    for source, root in enumerate(roots.tolist()):
        to = targets(root)
        free = _FALSE if exact else to.get(n_states, _FALSE)
        for target, where in to.items():
            if target != n_states:
                yield source, target, diagrams.cover(where, diagrams.either(where, free))[1]
