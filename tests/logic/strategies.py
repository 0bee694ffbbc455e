"""Hypothesis strategies for formulas and traces."""

from __future__ import annotations

from hypothesis import strategies as st

from midstream.logic._ops import Op
from midstream.logic.formula import TIMED, atom, false, make, predicate, true

FUTURE = (
    Op.NEXT,
    Op.STRONG_NEXT,
    Op.EVENTUALLY,
    Op.ALWAYS,
    Op.UNTIL,
    Op.WEAK_UNTIL,
    Op.RELEASE,
    Op.STRONG_RELEASE,
)
PAST = (
    Op.YESTERDAY,
    Op.WEAK_YESTERDAY,
    Op.ONCE,
    Op.HISTORICALLY,
    Op.SINCE,
    Op.TRIGGER,
)
BOOLEAN = (Op.NOT, Op.AND, Op.OR, Op.XOR, Op.IFF, Op.IMPLIES)
BINARY = frozenset(
    {
        Op.AND,
        Op.OR,
        Op.XOR,
        Op.IFF,
        Op.IMPLIES,
        Op.UNTIL,
        Op.WEAK_UNTIL,
        Op.RELEASE,
        Op.STRONG_RELEASE,
        Op.SINCE,
        Op.TRIGGER,
    }
)


def windows(most=6):
    """Intervals of whole steps, some without an upper bound."""
    bounded = st.tuples(st.integers(0, most), st.integers(0, most)).map(
        lambda pair: (min(pair), max(pair))
    )
    return st.none() | bounded | st.integers(0, most).map(lambda low: (low, float("inf")))


def formulas(
    atoms=("a", "b", "c"),
    *,
    ops=(*BOOLEAN, *FUTURE, *PAST),
    timed=False,
    signals=(),
    leaves=10,
):
    """Formulas over some atoms and operators; with windows where `timed`."""
    leaf = st.sampled_from([true, false, *(atom(name) for name in atoms)])
    if signals:
        leaf |= st.builds(
            predicate,
            st.sampled_from(signals),
            st.sampled_from([">", ">=", "<", "<=", "==", "!="]),
            st.integers(-8, 8).map(lambda number: number / 4),
        )

    def extend(inner):
        def build(op, left, right, window):
            args = (left, right) if op in BINARY else (left,)
            return make(op, args, window if timed and op in TIMED else None)

        return st.builds(build, st.sampled_from(ops), inner, inner, windows())

    return st.recursive(leaf, extend, max_leaves=leaves)


def traces(atoms=("a", "b", "c"), *, least=1, most=12):
    """Lists of sets of atoms."""
    letter = st.sets(st.sampled_from(atoms)) if atoms else st.just(set())
    return st.lists(letter, min_size=least, max_size=most)
