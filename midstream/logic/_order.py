"""What numbers allow: which comparisons of one signal can hold together."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence

from midstream.logic._ops import Op
from midstream.logic.formula import Formula, Predicate, and_, iff, implies, not_, or_, predicate

__all__ = ["consistent", "cut_rules", "thresholds_of"]

#: A clause over cuts: (cut, whether the number is above it).
Clause = tuple[tuple[int, bool], ...]


def thresholds_of(comparisons: Iterable[Predicate]) -> dict[str, list[float]]:
    """Signal -> its thresholds, ascending."""
    found: dict[str, dict[float, None]] = {}
    for comparison in comparisons:
        # -0.0 is the number 0.0.
        found.setdefault(comparison.signal, {})[comparison.threshold + 0.0] = None
    return {signal: sorted(thresholds) for signal, thresholds in found.items()}


def cut_rules(thresholds: Sequence[float]) -> Iterator[Clause]:
    """Clauses that say on which sides of its cuts a number can be.

    Cut 2 i is below threshold i (the number is at least that), cut 2 i + 1 above it (it is
    greater). Samples are finite doubles: none is between neighbours, none beyond the largest.
    """
    for i in reversed(range(len(thresholds))):
        threshold = thresholds[i]
        least, greater = 2 * i, 2 * i + 1
        yield (greater, False), (least, True)
        following = math.nextafter(threshold, math.inf)
        if i + 1 < len(thresholds):
            yield (least + 2, False), (greater, True)
            if thresholds[i + 1] == following:
                yield (greater, False), (least + 2, True)
        if following == math.inf:
            yield ((greater, False),)
        if threshold == math.inf:
            yield ((least, False),)
        if math.nextafter(threshold, -math.inf) == -math.inf:
            yield ((least, True),)
        if threshold == -math.inf:
            yield ((greater, True),)


def consistent(formula: Formula) -> Formula:
    """The condition on the comparisons of a formula that the rules above leave."""
    comparisons = dict.fromkeys(node.predicate for node in formula.nodes() if node.predicate)
    by_signal: dict[str, list[Predicate]] = {}
    for comparison in comparisons:
        by_signal.setdefault(comparison.signal, []).append(comparison)
    parts: list[Formula] = []
    for signal, thresholds in thresholds_of(comparisons).items():
        parts += _of_signal(by_signal[signal], thresholds)
    return and_(*parts)


def _of_signal(comparisons: Sequence[Predicate], thresholds: Sequence[float]) -> Iterator[Formula]:
    """Conditions on the comparisons of one signal, linear in their number but for equalities.

    A number is known by how many cuts it is above. Between two cuts that comparisons name, at most
    one equality holds, and one does where there is no other number.
    """
    counts = _counts(thresholds)
    place = {threshold: index for index, threshold in enumerate(thresholds)}
    #: Cut -> that the number is above it; number of cuts below -> that the number is a threshold.
    above: dict[int, Formula] = {}
    equal: dict[int, Formula] = {}
    for comparison in comparisons:
        leaf = predicate(*comparison)
        index = place[comparison.threshold + 0.0]
        symbol = comparison.comparison
        if symbol in ("==", "!="):
            known, key = equal, 2 * index + 1
        else:
            known, key = above, 2 * index + (symbol in (">", "<="))
        meaning = leaf if symbol in ("==", ">", ">=") else not_(leaf)
        if key in known:
            yield iff(known[key], meaning)
        else:
            known[key] = meaning
    cuts = sorted(above)
    for lower, upper in zip([None, *cuts], [*cuts, None], strict=True):
        first = 0 if lower is None else lower + 1
        last = 2 * len(thresholds) if upper is None else upper
        possible = counts[bisect.bisect_left(counts, first) : bisect.bisect_right(counts, last)]
        outside = [_negated(above[lower])] if lower is not None else []
        outside += [above[upper]] if upper is not None else []
        if lower is not None and upper is not None:
            yield implies(above[upper], above[lower])
        equalities = [equal[count] for count in range(first, last + 1) if count in equal]
        for index, equality in enumerate(equalities):
            for condition in outside:
                yield implies(equality, _negated(condition))
            for other in equalities[:index]:
                yield not_(and_(other, equality))
        if all(count in equal for count in possible):
            yield or_(*outside, *equalities)


def _negated(formula: Formula) -> Formula:
    return formula.args[0] if formula.op == Op.NOT else not_(formula)


def _counts(thresholds: Sequence[float]) -> list[int]:
    """How many cuts a number can be above, ascending: what the rules allow."""
    rules = list(cut_rules(thresholds))
    return [
        count
        for count in range(2 * len(thresholds) + 1)
        if all(any((cut < count) == is_above for cut, is_above in rule) for rule in rules)
    ]
