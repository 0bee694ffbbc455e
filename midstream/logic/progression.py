"""Progression: what a formula still asks for after an event."""

from __future__ import annotations

import math
from collections.abc import Iterable

from midstream._core.errors import ArgumentValueError
from midstream.logic._checks import as_formula
from midstream.logic._letters import Letter, as_mask
from midstream.logic._ops import Op
from midstream.logic.formula import Formula, false, make, not_, true

__all__ = ["progress"]


def progress(formula: Formula | str, letter: Letter, *, missing: str = "false") -> Formula:
    """What must hold of the rest of a trace so that the whole satisfies the formula.

    For every letter and every non-empty trace w: ``formula`` holds of the letter followed by w iff
    ``progress(formula, letter)`` holds of w.

    Parameters
    ----------
    formula : Formula or str
        Without past operators: what they ask of the past would have to be remembered beside the
        formula. `Monitor` does that.
    letter : set of str, mapping, or int
        As for `Formula.holds`; a mask's bit i is ``formula.atoms[i]``.
    missing : {"false", "error"}
        What an atom counts as that a mapping lacks.

    Returns
    -------
    Formula
        Constants are folded, and repeated operands of ``&`` and ``|`` dropped; ``true`` and
        ``false`` are final.

    Raises
    ------
    ArgumentValueError
        A past operator occurs.

    See Also
    --------
    compile : all formulas that progression reaches, as an automaton.

    Notes
    -----
    Cost: linear in the distinct subformulas. Source: Bacchus and Kabanza, "Planning for temporally
    extended goals", AMAI 22 (1998).

    Examples
    --------
    >>> from midstream.logic import parse, progress
    >>> rule = parse("G(request -> F answer)")
    >>> progress(rule, {"request"})
    Formula('F answer & G (request -> F answer)')
    >>> progress(progress(rule, {"request"}), {"answer"}) is rule
    True
    """
    formula = as_formula(formula)
    if formula.has_past:
        raise ArgumentValueError(
            "formula must have no past operators: Monitor follows formulas that have"
        )
    names = formula.atoms
    leaves = {
        node.atom if node.atom is not None else str(node.predicate): node
        for node in formula.nodes()
        if node.op in (Op.ATOM, Op.PREDICATE)
    }
    mask = as_mask(letter, names, [leaves[name].predicate for name in names], missing=missing)
    now: dict[Formula, Formula] = {
        leaves[name]: true if mask >> index & 1 else false for index, name in enumerate(names)
    }
    for node in formula.nodes():
        if node not in now:
            now[node] = _step(node, now)
    return now[formula]


def _step(node: Formula, now: dict[Formula, Formula]) -> Formula:
    op = node.op
    if op in (Op.TRUE, Op.FALSE):
        return node
    args = [now[arg] for arg in node.args]
    if op == Op.NOT:
        return _not(args[0])
    if op in (Op.AND, Op.OR):
        return _join(op, args)
    if op == Op.IMPLIES:
        return _join(Op.OR, [_not(args[0]), args[1]])
    if op in (Op.XOR, Op.IFF):
        return _equivalence(args[0], args[1], negated=op == Op.XOR)
    if op in (Op.NEXT, Op.STRONG_NEXT):
        return node.args[0]
    low, high = node.interval or (0, math.inf)
    if low != int(low) or (high != math.inf and high != int(high)):
        raise ArgumentValueError(f"windows must be whole steps, not [{low}:{high}]")
    return _temporal(node, args, int(low), high)


def _temporal(node: Formula, args: list[Formula], low: int, high: float) -> Formula:
    """Unfold an operator once: what is asked now, joined with the rest of its window."""
    op = node.op
    later = None
    if high > 0:
        rest = (max(low - 1, 0), high - 1) if node.interval is not None else None
        later = make(op, node.args, rest)
    if op in (Op.EVENTUALLY, Op.ALWAYS):
        outer, asked = (Op.OR, args[0]) if op == Op.EVENTUALLY else (Op.AND, args[0])
        parts = [asked] if low == 0 else []
        return _join(outer, parts + ([later] if later is not None else []))
    # f U g = g | f & X(f U g); its dual with the roles of | and & exchanged.
    f, g = args
    if op in (Op.UNTIL, Op.WEAK_UNTIL):
        outer, inner = Op.OR, Op.AND
    else:
        outer, inner = Op.AND, Op.OR
    parts = [g] if low == 0 else []
    if later is not None:
        parts.append(_join(inner, [f, later]))
    return _join(outer, parts)


def _not(f: Formula) -> Formula:
    if f is true:
        return false
    if f is false:
        return true
    return f.args[0] if f.op == Op.NOT else not_(f)


def _equivalence(f: Formula, g: Formula, *, negated: bool) -> Formula:
    for one, other in ((f, g), (g, f)):
        if one is true:
            return _not(other) if negated else other
        if one is false:
            return other if negated else _not(other)
    if f is g:
        return false if negated else true
    return make(Op.XOR if negated else Op.IFF, (f, g))


def _join(op: Op, args: Iterable[Formula]) -> Formula:
    """A conjunction or disjunction without constants and repetitions."""
    neutral, absorbing = (true, false) if op == Op.AND else (false, true)
    kept: dict[Formula, None] = {}
    for arg in args:
        for part in arg.args if arg.op == op else (arg,):
            if part is absorbing or _not(part) in kept:
                return absorbing
            if part is not neutral:
                kept[part] = None
    return make(op, kept)
