"""Guards of drawn automata: short formulas of what a decision diagram says.

The diagrams here are small and made for one drawing, so that they are plain dicts; whatever is
compiled is in csrc. A guard can be exponentially longer than its diagram: products are counted
before any is written, and both the text and the work on it are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import StateLimitError

__all__ = ["MAX_TERMS", "Guards"]

#: Products of literals in all guards of a drawing, unless told otherwise.
MAX_TERMS = 100_000
#: Steps, of one or two microseconds and some hundred bytes: a few, and what a term may cost.
FEWEST_STEPS = 10_000
STEPS_A_TERM = 10
#: Longer sums of products give way to what is shorter.
MOST_PRODUCTS = 32
#: Of the steps that are left, one form of one guard may take this part.
SHARE = 4
#: The walks below recurse over variables.
MOST_VARIABLES = 200

_FALSE, _TRUE = 0, 1
#: Covers without a product, and of the product of no literals.
_NOTHING, _ALL = 0, 1


class Span(NamedTuple):
    """Functions between two: what a guard must allow, and what it may."""

    least: int
    most: int


class _Diagrams:
    """Binary decision diagrams of one drawing, and sums of products as diagrams of theirs."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rows: list[tuple[int, int, int]] = [(1 << 60, 0, 0), (1 << 60, 1, 1)]
        self.known: dict[tuple[int, int, int], int] = {}
        self.minus: dict[tuple[int, int], int] = {}
        #: Variable, covers of the products with it, with its negation, without it.
        self.sums: list[tuple[int, int, int, int]] = [(-1, 0, 0, 0), (-1, 0, 0, 0)]
        self.sums_known: dict[tuple[int, int, int, int], int] = {}
        #: Of each cover: products, literals.
        self.sizes: list[tuple[int, int]] = [(0, 0), (1, 0)]
        self.covers: dict[tuple[int, int], tuple[int, int]] = {}
        self.lengths: dict[int, int] = {_FALSE: 0, _TRUE: 0}

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise StateLimitError("guards take too many steps")

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
            self.step()
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

    def cover(self, least: int, most: int) -> tuple[int, int]:
        """An irredundant sum of products between two functions: the function, and the sum.

        S. Minato, "Fast generation of irredundant sum-of-products forms from binary decision
        diagrams", SASIMI 1992. Sums share their parts, so that long ones cost little until they
        are written.
        """
        if least == _FALSE:
            return _FALSE, _NOTHING
        if most == _TRUE:
            return _TRUE, _ALL
        found = self.covers.get((least, most))
        if found is not None:
            return found
        self.step()
        var = min(self.rows[least][0], self.rows[most][0])
        least0, least1 = self.branches(least, var)
        most0, most1 = self.branches(most, var)
        # What only the negative literal can cover, only the positive one; then what is left.
        f0, sum0 = self.cover(self.without(least0, most1), most0)
        f1, sum1 = self.cover(self.without(least1, most0), most1)
        rest = self.either(self.without(least0, f0), self.without(least1, f1))
        f, others = self.cover(rest, self.both(most0, most1))
        result = (
            self.make(var, self.either(f0, f), self.either(f1, f)),
            self.sum(var, sum1, sum0, others),
        )
        self.covers[least, most] = result
        return result

    def sum(self, var: int, positive: int, negative: int, others: int) -> int:
        if positive == negative == _NOTHING:
            return others
        row = (var, positive, negative, others)
        at = self.sums_known.get(row)
        if at is None:
            at = self.sums_known[row] = len(self.sums)
            self.sums.append(row)
            (n1, l1), (n0, l0), (n, length) = (self.sizes[part] for part in row[1:])
            self.sizes.append((n1 + n0 + n, l1 + n1 + l0 + n0 + length))
        return at

    def products(self, at: int) -> Iterator[list[tuple[int, bool]]]:
        """The products of a cover: variables and whether they are true."""
        path: list[tuple[int, bool]] = []
        stack: list[tuple[int, int, tuple[int, bool] | None]] = [(at, 0, None)]
        while stack:
            at, depth, literal = stack.pop()
            if at == _NOTHING:
                continue
            del path[depth:]
            if literal is not None:
                path.append(literal)
            if at == _ALL:
                yield path
                continue
            var, positive, negative, others = self.sums[at]
            depth = len(path)
            stack += (
                (others, depth, None),
                (negative, depth, (var, False)),
                (positive, depth, (var, True)),
            )

    def length(self, f: int) -> int:
        """Literals of a diagram that is written as a tree."""
        found = self.lengths.get(f)
        if found is None:
            self.step()
            _, low, high = self.rows[f]
            if low > _TRUE and self.negated(low) == high:
                found = 1 + self.length(low)
            else:
                # A branch that is constant needs no literal of its own.
                found = 1 + (low > _TRUE and high > _TRUE) + self.length(low) + self.length(high)
            self.lengths[f] = found
        return found

    def tree(self, f: int, names: Sequence[str]) -> tuple[str, str]:
        """A diagram as a formula, and the operator at its top."""
        var, low, high = self.rows[f]
        name = names[var]
        if (low, high) == (_FALSE, _TRUE):
            return name, ""
        if (low, high) == (_TRUE, _FALSE):
            return f"!{name}", ""
        if low <= _TRUE or high <= _TRUE:
            constant, other = (low, high) if low <= _TRUE else (high, low)
            op = "|" if constant == _TRUE else "&"
            # Where the constant is reached and is true, or is not reached and is false.
            literal = f"!{name}" if (constant == low) == (constant == _TRUE) else name
            return f"{literal} {op} {self.operand(other, names, op)}", op
        if self.negated(low) == high:
            return f"{name} xor {self.operand(low, names, 'xor')}", "xor"
        parts = (self.operand(branch, names, "&") for branch in (high, low))
        return "{1} & {2} | !{0} & {3}".format(name, name, *parts), "|"

    def operand(self, f: int, names: Sequence[str], op: str) -> str:
        text, inner = self.tree(f, names)
        return text if inner in ("", op) else f"({text})"


class Guards:
    """The guards of an automaton: iterating gives (source, target, functions that will do).

    Sources ascend, targets come as they are met. Unless `exact`, letters that cannot occur may
    satisfy any guard. No more than `max_terms` terms are written: products of literals, or
    literals where a guard is no sum of products.
    """

    def __init__(
        self,
        roots: npt.NDArray[np.int32],
        nodes: npt.NDArray[np.int32],
        *,
        exact: bool,
        max_terms: int,
        steps: int | None = None,
    ) -> None:
        if len(np.unique(nodes[:, 0])) > MOST_VARIABLES:
            raise StateLimitError(
                f"an automaton over more than {MOST_VARIABLES} atoms cannot be drawn",
                limit=MOST_VARIABLES,
            )
        self._roots = roots
        self._nodes = nodes
        self._exact = exact
        self._max_terms = max_terms
        self._left = max_terms
        self._diagrams = _Diagrams(
            FEWEST_STEPS + max_terms * STEPS_A_TERM if steps is None else steps
        )
        #: Lines of an HOA header that labels refer to; the diagrams that have one.
        self.aliases: list[str] = []
        self._aliased: set[int] = set()

    def __iter__(self) -> Iterator[tuple[int, int, Span]]:
        diagrams = self._diagrams
        n_states = len(self._roots)
        if len(self._nodes) > diagrams.steps:
            raise self._error()
        table: list[list[int]] = self._nodes.tolist()
        #: Of a node, and a target: where it leads to the target.
        leads: dict[int, dict[int, int]] = {}

        def targets(ref: int) -> dict[int, int]:
            return {~ref: _TRUE} if ref < 0 else leads[ref]

        try:
            for at, (var, low, high) in enumerate(table):
                to_low, to_high = targets(low), targets(high)
                made = leads[at] = {}
                for target in {**to_low, **to_high}:
                    diagrams.step()
                    made[target] = diagrams.make(
                        var, to_low.get(target, _FALSE), to_high.get(target, _FALSE)
                    )
            for source, root in enumerate(self._roots.tolist()):
                to = targets(root)
                free = _FALSE if self._exact else to.get(n_states, _FALSE)
                for target, where in to.items():
                    if target != n_states:
                        yield source, target, Span(where, diagrams.either(where, free))
        except StateLimitError:
            raise self._error() from None

    def text(self, span: Span, names: Sequence[str]) -> str:
        """A guard as `parse` reads it, atoms by the `names` of their variables."""
        form, at = self._shortest(span, trees=True)
        if form == "tree":
            return self._diagrams.tree(at, names)[0]
        text = self._sum(at, names, " & ", "true")
        return f"!({text})" if form == "not" else text

    def label(self, span: Span, names: Sequence[str]) -> str:
        """A guard as HOA has it, whose `aliases` stand for shared parts."""
        form, at = self._shortest(span, trees=False)
        if form == "tree":
            return self._alias(at)
        text = self._sum(at, names, "&", "t")
        return f"!({text})" if form == "not" else text

    def _sum(self, at: int, names: Sequence[str], times: str, empty: str) -> str:
        return " | ".join(
            times.join(names[var] if true else f"!{names[var]}" for var, true in product) or empty
            for product in self._diagrams.products(at)
        )

    def _alias(self, f: int) -> str:
        """Name a diagram, and write those below it, children first."""
        if f <= _TRUE:
            return "ft"[f]
        stack = [f]
        while stack:
            at = stack[-1]
            var, low, high = self._diagrams.rows[at]
            below = [ref for ref in (low, high) if ref > _TRUE and ref not in self._aliased]
            if at in self._aliased or not below:
                stack.pop()
                if at not in self._aliased:
                    self._aliased.add(at)
                    yes, no = (f"@n{ref}" if ref > _TRUE else "ft"[ref] for ref in (high, low))
                    self.aliases.append(f"Alias: @n{at} {var}&{yes} | !{var}&{no}")
                    self._spend(1)
            stack += below if at not in self._aliased else []
        return f"@n{f}"

    def _shortest(self, span: Span, *, trees: bool) -> tuple[str, int]:
        """The form to write, "sum", "not" or "tree", and its cover or diagram."""
        diagrams = self._diagrams
        least, most = span
        found = self._cover(least, most)
        if found is not None and diagrams.sizes[found[1]][0] <= MOST_PRODUCTS:
            self._spend(diagrams.sizes[found[1]][0])
            return "sum", found[1]
        # Literals, terms, form: the fewest literals win, and the first of equals.
        forms: list[tuple[int, int, str, int]] = []
        if found is not None:
            n, literals = diagrams.sizes[found[1]]
            forms.append((literals, n, "sum", found[1]))
        try:
            opposite = self._cover(diagrams.negated(most), diagrams.negated(least))
            if opposite is not None:
                n, literals = diagrams.sizes[opposite[1]]
                forms.append((literals, n, "not", opposite[1]))
            function = least if found is None else found[0]
            if trees:
                n = diagrams.length(function)
                forms.append((n, n, "tree", function))
            else:
                forms.append((3 * self._nodes_below(function), 1, "tree", function))
        except StateLimitError:
            raise self._error() from None
        _, terms, form, at = min(forms, key=lambda row: row[0])
        self._spend(terms)
        return form, at

    def _cover(self, least: int, most: int) -> tuple[int, int] | None:
        """A sum of products, None where it takes too much of the work that is left."""
        diagrams = self._diagrams
        share = diagrams.steps // SHARE
        kept = diagrams.steps - share
        diagrams.steps = share
        try:
            return diagrams.cover(least, most)
        except StateLimitError:
            return None
        finally:
            diagrams.steps = kept + max(diagrams.steps, 0)

    def _nodes_below(self, f: int) -> int:
        seen = {f}
        stack = [f]
        while stack:
            self._diagrams.step()
            for ref in self._diagrams.rows[stack.pop()][1:]:
                if ref not in seen:
                    seen.add(ref)
                    stack.append(ref)
        return len(seen)

    def _spend(self, terms: int) -> None:
        self._left -= terms
        if self._left < 0:
            raise self._error()

    def _error(self) -> StateLimitError:
        return StateLimitError(
            f"the guards are too long to write with max_terms={self._max_terms}: "
            "a larger max_terms allows more text and time",
            limit=self._max_terms,
        )
