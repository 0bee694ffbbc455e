"""CTL by its definitions: paths are enumerated, fairness is Emerson and Lei's nested fixpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Succ = Sequence[Sequence[int]]


def until(succ: Succ, f: set[int], g: set[int], s: int) -> bool:
    """E[f U g] by following every path that repeats no state."""

    def search(path: list[int]) -> bool:
        if path[-1] in g:
            return True
        if path[-1] not in f:
            return False
        return any(search([*path, t]) for t in succ[path[-1]] if t not in path)

    return search([s])


def globally(succ: Succ, f: set[int], s: int) -> bool:
    """EG f by following every path up to the first state that repeats."""

    def search(path: list[int]) -> bool:
        if path[-1] not in f:
            return False
        return any(t in path or search([*path, t]) for t in succ[path[-1]])

    return search([s])


def satisfying(succ: Succ, op: str, f: set[int], g: set[int]) -> set[int]:
    """States that satisfy an operator of sets of states; a unary one ignores `g`."""
    every = set(range(len(succ)))

    def where(test: Callable[[int], bool]) -> set[int]:
        return {s for s in every if test(s)}

    if op == "EX":
        return where(lambda s: any(t in f for t in succ[s]))
    if op == "EF":
        return where(lambda s: until(succ, every, f, s))
    if op == "EG":
        return where(lambda s: globally(succ, f, s))
    if op == "EU":
        return where(lambda s: until(succ, f, g, s))
    if op == "EW":
        return where(lambda s: until(succ, f, g, s) or globally(succ, f, s))
    if op == "ER":
        return where(lambda s: until(succ, g, f & g, s) or globally(succ, g, s))
    if op == "EM":
        return where(lambda s: until(succ, g, f & g, s))
    not_f, not_g = every - f, every - g
    if op == "AX":
        return where(lambda s: all(t in f for t in succ[s]))
    if op == "AF":
        return where(lambda s: not globally(succ, not_f, s))
    if op == "AG":
        return where(lambda s: not until(succ, every, not_f, s))
    if op == "AU":
        # Every path that has not met g yet is still in f, and none avoids g forever.
        return where(
            lambda s: not until(succ, not_g, not_f & not_g, s) and not globally(succ, not_g, s)
        )
    if op == "AW":
        return where(lambda s: not until(succ, not_g, not_f & not_g, s))
    if op == "AR":
        return where(lambda s: not until(succ, not_f, not_g, s))
    # A[f M g]: every path of AR on which f comes.
    return where(lambda s: not until(succ, not_f, not_g, s) and not globally(succ, not_f, s))


def fair_globally(succ: Succ, f: set[int], fairness: Sequence[set[int]]) -> set[int]:
    """EG f over paths that meet every set infinitely often: the greatest Z with
    Z = f & AND over F of EX E[f U (Z & F)] (Emerson and Lei 1986)."""
    z = set(f)
    while True:
        kept = set(f)
        for constraint in fairness:
            reach = {s for s in range(len(succ)) if until(succ, f, z & constraint, s)}
            kept &= {s for s in range(len(succ)) if any(t in reach for t in succ[s])}
        if kept == z:
            return z
        z = kept
