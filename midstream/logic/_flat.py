"""Formulas as arrays, for the compiled engines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentValueError
from midstream.logic.formula import Formula, Predicate

__all__ = ["Flat", "flatten"]


@dataclass(frozen=True)
class Flat:
    """Distinct subformulas in topological order, operands before operators; all binary.

    Attributes
    ----------
    ops, left, right : (n,) int32 ndarray
        Codes of `Op`, and indices of the operands; -1 where there is none. `left` of an atom or a
        predicate is its index in `atoms`.
    low, high : (n,) float64 ndarray
        Windows; 0 and inf where none was written.
    atoms : tuple of str
    predicates : tuple of Predicate or None
        By the index of `atoms`.
    roots : (k,) int32 ndarray
        Index of each formula.
    """

    ops: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    atoms: tuple[str, ...]
    predicates: tuple[Predicate | None, ...]
    roots: npt.NDArray[np.int32]


def flatten(*formulas: Formula, alphabet: tuple[str, ...] | None = None) -> Flat:
    """Lay formulas out as one program with shared subformulas.

    Parameters
    ----------
    *formulas : Formula
        At least one.
    alphabet : tuple of str, optional
        Order of the atoms; a superset of those that occur. Without it: first occurrence.

    Returns
    -------
    Flat

    Raises
    ------
    ArgumentValueError
        An atom is not in `alphabet`, or `alphabet` names one twice.
    """
    if alphabet is None:
        alphabet = tuple(dict.fromkeys(name for formula in formulas for name in formula.atoms))
    position = {name: index for index, name in enumerate(alphabet)}
    if len(position) != len(alphabet):
        twice = next(name for name in alphabet if alphabet.count(name) > 1)
        raise ArgumentValueError(f"alphabet must name each atom once, not {twice!r} again")
    predicates: list[Predicate | None] = [None] * len(alphabet)
    rows: list[tuple[int, int, int, float, float]] = []
    known: dict[tuple[int, int, int, float, float], int] = {}
    index: dict[Formula, int] = {}

    def add(op: int, left: int, right: int = -1, low: float = 0.0, high: float = math.inf) -> int:
        row = (op, left, right, low, high)
        at = known.get(row)
        if at is None:
            at = known[row] = len(rows)
            rows.append(row)
        return at

    seen: set[Formula] = set()
    for formula in formulas:
        for node in formula.nodes():
            if node in seen:
                continue
            seen.add(node)
            name = node.atom
            if node.predicate is not None:
                name = str(node.predicate)
            if name is not None:
                if name not in position:
                    raise ArgumentValueError(f"alphabet must have every atom, but lacks {name!r}")
                predicates[position[name]] = node.predicate
                index[node] = add(node.op, position[name])
                continue
            args = [index[arg] for arg in node.args]
            # A balanced tree: the depth of a chain of n operands is log n for the engines.
            while len(args) > 2:
                pairs = [add(node.op, a, b) for a, b in zip(args[::2], args[1::2], strict=False)]
                args = pairs + args[2 * len(pairs) :]
            low, high = (0.0, math.inf) if node.interval is None else node.interval
            index[node] = add(
                node.op,
                args[0] if args else -1,
                args[1] if len(args) > 1 else -1,
                float(low),
                float(high),
            )
    columns = list(zip(*rows, strict=True))
    return Flat(
        ops=np.array(columns[0], dtype=np.int32),
        left=np.array(columns[1], dtype=np.int32),
        right=np.array(columns[2], dtype=np.int32),
        low=np.array(columns[3], dtype=np.float64),
        high=np.array(columns[4], dtype=np.float64),
        atoms=tuple(alphabet),
        predicates=tuple(predicates),
        roots=np.array([index[formula] for formula in formulas], dtype=np.int32),
    )
