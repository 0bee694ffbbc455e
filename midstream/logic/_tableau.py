"""Formulas as symbolic tableaux: negation normal form, one graph of nodes, cyclic through next.

Until, release, since, trigger and their relatives become nodes that refer to themselves at the next
or the previous step: ``f U g`` is ``g | (f & X (f U g))``. Windows become chains. What the nodes
mean to the solver is in csrc/ms_sat_system.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from midstream._core.errors import ArgumentValueError, StateLimitError
from midstream.logic._ops import Op
from midstream.logic._order import cut_rules, thresholds_of
from midstream.logic._sat import System
from midstream.logic.formula import Formula, Predicate

__all__ = ["Tableau"]

#: Codes of csrc/ms_sat_system.h.
TRUE, FALSE, ATOM, NOT_ATOM, AND, OR = range(6)
STRONG, WEAK, YESTERDAY, WEAK_YESTERDAY, MET, LAST, NOT_LAST = range(6, 13)

#: Nodes between two looks at the clock: some milliseconds.
OFTEN = 1024

#: Nested conjunctions become one where that stays small: shared ones would be copied.
FLAT = 16

_DUAL = {
    Op.NEXT: Op.STRONG_NEXT,
    Op.STRONG_NEXT: Op.NEXT,
    Op.EVENTUALLY: Op.ALWAYS,
    Op.ALWAYS: Op.EVENTUALLY,
    Op.UNTIL: Op.RELEASE,
    Op.RELEASE: Op.UNTIL,
    Op.WEAK_UNTIL: Op.STRONG_RELEASE,
    Op.STRONG_RELEASE: Op.WEAK_UNTIL,
    Op.YESTERDAY: Op.WEAK_YESTERDAY,
    Op.WEAK_YESTERDAY: Op.YESTERDAY,
    Op.ONCE: Op.HISTORICALLY,
    Op.HISTORICALLY: Op.ONCE,
    Op.SINCE: Op.TRIGGER,
    Op.TRIGGER: Op.SINCE,
    Op.AND: Op.OR,
    Op.OR: Op.AND,
}
#: The long name of what has a short one: with true or false for its first operand.
_LONG = {
    Op.EVENTUALLY: Op.UNTIL,
    Op.ALWAYS: Op.RELEASE,
    Op.ONCE: Op.SINCE,
    Op.HISTORICALLY: Op.TRIGGER,
}
_POSITIVE, _NEGATIVE = 1, 2


class Tableau:
    """A formula, what its letters may be, and rounds of fairness, as one `System`.

    Parameters
    ----------
    formula : Formula
    infinite : bool
        Infinite words: there is always a next step.
    letters : {"all", "at_most_one", "exactly_one"} or Formula
    alphabet : sequence of str
        Plain atoms, a superset of those that occur.
    limit : int
        Nodes, at most.
    check : callable
        Called now and then; raises when the time is over.
    rounds : int
        Infinite words only: nodes that say that every eventuality was met so many times.
    """

    def __init__(
        self,
        formula: Formula,
        *,
        infinite: bool,
        letters: str | Formula,
        alphabet: Sequence[str],
        limit: int,
        check: Callable[[], None],
        rounds: int = 0,
    ) -> None:
        self.infinite = infinite
        self.limit = limit
        self.check = check
        self.kind = [TRUE, FALSE]
        self.args: list[tuple[int, ...]] = [(), ()]
        self.known: dict[tuple[object, ...], int] = {}
        #: Nodes F g and G g -> g.
        self.eventually: dict[int, int] = {}
        self.always: dict[int, int] = {}
        #: Nodes "f at the last step" -> f; finite traces only.
        self.at_end: dict[int, int] = {}
        #: Nodes that a next asks for until something happens -> that.
        self.eventualities: dict[int, int] = {}
        self.names = tuple(alphabet)
        self.rules: list[tuple[int, ...]] = []
        formulas = [formula] if isinstance(letters, str) else [formula, letters]
        comparisons = {
            node.predicate: None for f in formulas for node in f.nodes() if node.predicate
        }
        #: (signal, threshold) -> atoms "greater" and "greater or equal".
        self.order: dict[tuple[str, float], tuple[int, int]] = {}
        self.n_atoms = len(self.names)
        self._order_signals(comparisons)
        self.position = {name: index for index, name in enumerate(self.names)}
        self._restrict(letters)
        always: list[int] = []
        if isinstance(letters, Formula):
            always.append(self._build(letters))
        root = self._build(formula)
        self.roots = [root, *self._rounds(root, rounds)]
        check()
        self._make(always)

    # Nodes.

    def _new(self, kind: int, args: tuple[int, ...]) -> int:
        if len(self.kind) >= self.limit:
            raise StateLimitError(
                f"the formula has more than {self.limit} nodes with its windows written out",
                limit=self.limit,
            )
        if len(self.kind) % OFTEN == 0:
            self.check()
        self.kind.append(kind)
        self.args.append(args)
        return len(self.kind) - 1

    def _shared(self, kind: int, args: tuple[int, ...]) -> int:
        key = (kind, args)
        node = self.known.get(key)
        if node is None:
            node = self.known[key] = self._new(kind, args)
        return node

    def _atom(self, index: int, positive: bool) -> int:
        return self._shared(ATOM if positive else NOT_ATOM, (index,))

    def _join(self, kind: int, nodes: Iterable[int]) -> int:
        """A conjunction or disjunction, with constants, copies and contradictions gone."""
        zero, one = (FALSE, TRUE) if kind == AND else (TRUE, FALSE)
        members: dict[int, None] = {}
        kinds, args = self.kind, self.args
        for node in nodes:
            if node == zero:
                return zero
            if node == one:
                continue
            if kinds[node] == kind and len(args[node]) <= FLAT:
                members.update(dict.fromkeys(args[node]))
            else:
                members[node] = None
        if not members:
            return one
        if len(members) > 1:
            self._merge(kind, members)
        if len(members) == 1:
            return next(iter(members))
        literals: dict[int, int] = {}
        for node in members:
            if (
                kinds[node] in (ATOM, NOT_ATOM)
                and literals.setdefault(args[node][0], kinds[node]) != kinds[node]
            ):
                return zero
        return self._shared(kind, tuple(sorted(members)))

    def _merge(self, kind: int, members: dict[int, None]) -> None:
        """F G f & F G g is F G (f & g), G F f | G F g is G F (f | g); last steps likewise."""
        outer, inner = (
            (self.eventually, self.always) if kind == AND else (self.always, self.eventually)
        )
        limits = [node for node in members if outer.get(node) in inner]
        if len(limits) > 1:
            for node in limits:
                del members[node]
            joined = self._join(kind, [inner[outer[node]] for node in limits])
            ops = (Op.RELEASE, Op.UNTIL) if kind == AND else (Op.UNTIL, Op.RELEASE)
            for op in ops:
                joined = self._binary(op, TRUE if op == Op.UNTIL else FALSE, joined)
            members[joined] = None
        if kind == AND and len(ends := [node for node in members if node in self.at_end]) > 1:
            for node in ends:
                del members[node]
            members[self._at_end(self._join(AND, [self.at_end[node] for node in ends]))] = None

    def _at_end(self, node: int) -> int:
        """F G f and G F f on finite traces: f holds at the last step."""
        if node <= FALSE:
            return node
        last = self._join(AND, (self._shared(LAST, ()), node))
        result = self._binary(Op.UNTIL, TRUE, last)
        self.at_end[result] = node
        return result

    def _next(self, node: int, strong: bool) -> int:
        if self.infinite:
            return node if node <= FALSE else self._shared(WEAK, (node,))
        if strong:
            if node == FALSE:
                return FALSE
            return self._shared(NOT_LAST, ()) if node == TRUE else self._shared(STRONG, (node,))
        if node == TRUE:
            return TRUE
        return self._shared(LAST, ()) if node == FALSE else self._shared(WEAK, (node,))

    def _before(self, node: int, strong: bool) -> int:
        if node == (FALSE if strong else TRUE):
            return node
        return self._shared(YESTERDAY if strong else WEAK_YESTERDAY, (node,))

    def _step(self, op: Op, node: int) -> int:
        """`node` one step on, in the direction and with the strength of the operator."""
        if op in (Op.UNTIL, Op.RELEASE, Op.WEAK_UNTIL, Op.STRONG_RELEASE):
            return self._next(node, op in (Op.UNTIL, Op.STRONG_RELEASE))
        return self._before(node, op == Op.SINCE)

    def _binary(self, op: Op, f: int, g: int) -> int:
        """The node of an operator that refers to itself."""
        key = (op, f, g)
        known = self.known.get(key)
        if known is not None:
            return known
        disjoined = op in (Op.UNTIL, Op.WEAK_UNTIL, Op.SINCE)
        if op == Op.WEAK_UNTIL:
            if TRUE in (f, g) or f == FALSE:
                return TRUE if TRUE in (f, g) else g
        elif op == Op.STRONG_RELEASE:
            if FALSE in (f, g) or f == TRUE:
                return FALSE if FALSE in (f, g) else g
        elif g <= FALSE or f == (FALSE if disjoined else TRUE):
            return g
        if op == Op.UNTIL and f == TRUE:
            known = self._collapse(g, self.eventually, self.always)
        elif op == Op.RELEASE and f == FALSE:
            known = self._collapse(g, self.always, self.eventually)
        if known is not None:
            self.known[key] = known
            return known
        strong = op in (Op.UNTIL, Op.STRONG_RELEASE, Op.SINCE)
        if op in (Op.SINCE, Op.TRIGGER):
            kind = YESTERDAY if strong else WEAK_YESTERDAY
        else:
            kind = STRONG if strong and not self.infinite else WEAK
        step = self._new(kind, (0,))
        if disjoined:
            node = self._join(OR, (g, self._join(AND, (f, step))))
        else:
            node = self._join(AND, (g, self._join(OR, (f, step))))
        self.args[step] = (node,)
        self.known[key] = node
        if op in (Op.UNTIL, Op.STRONG_RELEASE):
            self.eventualities[node] = f if op == Op.STRONG_RELEASE else g
        if op == Op.UNTIL and f == TRUE:
            self.eventually[node] = g
        elif op == Op.RELEASE and f == FALSE:
            self.always[node] = g
        return node

    def _collapse(self, g: int, same: Mapping[int, int], other: Mapping[int, int]) -> int | None:
        """F F g is F g, and on finite traces F G g and G F g are g at the last step."""
        if g in same or g in self.at_end:
            return g
        return self._at_end(other[g]) if g in other and not self.infinite else None

    def _window(self, op: Op, f: int, g: int, low: float, high: float) -> int:
        disjoined = op in (Op.UNTIL, Op.SINCE)
        first = math.ceil(low)
        if high != math.inf and math.floor(high) < first:
            return FALSE if disjoined else TRUE
        last = first if high == math.inf else math.floor(high)
        if last - first > self.limit or first > self.limit:
            raise StateLimitError(
                f"a window up to {high if high != math.inf else low} steps needs more nodes than "
                f"the limit of {self.limit}",
                limit=self.limit,
            )
        node = self._binary(op, f, g) if high == math.inf else g
        outer, inner = (OR, AND) if disjoined else (AND, OR)
        for distance in range(last - 1, -1, -1):
            node = self._join(inner, (f, self._step(op, node)))
            if distance >= first:
                node = self._join(outer, (g, node))
        return node

    # Formulas.

    def _build(self, formula: Formula) -> int:
        """The node of a formula in negation normal form."""
        nodes = formula.nodes()
        self.check()
        need = {formula: _POSITIVE}
        for count, node in enumerate(reversed(nodes)):
            if count % OFTEN == 0:
                self.check()
            polarity = need[node]
            flipped = (polarity & 1) << 1 | polarity >> 1
            op = node.op
            for index, arg in enumerate(node.args):
                if op in (Op.XOR, Op.IFF):
                    wanted = _POSITIVE | _NEGATIVE
                elif op == Op.NOT or (op == Op.IMPLIES and index == 0):
                    wanted = flipped
                else:
                    wanted = polarity
                need[arg] = need.get(arg, 0) | wanted
        made: dict[tuple[Formula, bool], int] = {}
        for count, node in enumerate(nodes):
            if count % OFTEN == 0:
                self.check()
            for positive in (True, False):
                if need[node] & (_POSITIVE if positive else _NEGATIVE):
                    made[node, positive] = self._node(node, positive, made)
        return made[formula, True]

    def _node(
        self, formula: Formula, positive: bool, made: Mapping[tuple[Formula, bool], int]
    ) -> int:
        op, args = formula.op, formula.args
        if op <= Op.TRUE:
            return TRUE if (op == Op.TRUE) == positive else FALSE
        if op == Op.ATOM:
            assert formula.atom is not None
            return self._atom(self.position[formula.atom], positive)
        if op == Op.PREDICATE:
            assert formula.predicate is not None
            return self._comparison(formula.predicate, positive)
        if op == Op.NOT:
            return made[args[0], not positive]
        if op == Op.IMPLIES:
            kind = OR if positive else AND
            return self._join(kind, (made[args[0], not positive], made[args[1], positive]))
        if op in (Op.XOR, Op.IFF):
            same = (op == Op.IFF) == positive
            a, b = args
            return self._join(
                AND,
                (
                    self._join(OR, (made[a, False], made[b, same])),
                    self._join(OR, (made[a, True], made[b, not same])),
                ),
            )
        if not positive:
            op = _DUAL[op]
        nodes = [made[arg, positive] for arg in args]
        if op in (Op.AND, Op.OR):
            return self._join(AND if op == Op.AND else OR, nodes)
        if op in (Op.NEXT, Op.STRONG_NEXT):
            return self._next(nodes[0], op == Op.STRONG_NEXT)
        if op in (Op.YESTERDAY, Op.WEAK_YESTERDAY):
            return self._before(nodes[0], op == Op.YESTERDAY)
        if op in _LONG:
            op = _LONG[op]
            nodes = [TRUE if op in (Op.UNTIL, Op.SINCE) else FALSE, *nodes]
        if formula.interval is not None:
            return self._window(op, nodes[0], nodes[1], *formula.interval)
        return self._binary(op, nodes[0], nodes[1])

    # Letters.

    def _order_signals(self, comparisons: Iterable[Predicate]) -> None:
        """Atoms "x > t" and "x >= t" for each threshold, in the order of numbers."""
        self.thresholds = thresholds_of(comparisons)
        for signal, thresholds in self.thresholds.items():
            last = self.n_atoms + 2 * len(thresholds) - 2
            for i, threshold in enumerate(thresholds):
                self.order[signal, threshold] = last - 2 * i, last - 2 * i + 1
            for rule in cut_rules(thresholds):
                clause = []
                for cut, above in rule:
                    greater, least = self.order[signal, thresholds[cut // 2]]
                    clause.append(2 * (greater if cut % 2 else least) + (not above))
                self.rules.append(tuple(clause))
            self.n_atoms += 2 * len(thresholds)

    def _comparison(self, comparison: Predicate, positive: bool) -> int:
        greater, least = self.order[comparison.signal, comparison.threshold + 0.0]
        symbol = comparison.comparison
        if symbol in ("==", "!="):
            if (symbol == "==") == positive:
                return self._join(AND, (self._atom(least, True), self._atom(greater, False)))
            return self._join(OR, (self._atom(least, False), self._atom(greater, True)))
        if symbol in (">", "<="):
            return self._atom(greater, positive == (symbol == ">"))
        return self._atom(least, positive == (symbol == ">="))

    def _restrict(self, letters: str | Formula) -> None:
        if isinstance(letters, Formula):
            if letters.has_past or letters.has_future:
                raise ArgumentValueError(
                    f"letters must be a formula without temporal operators, not {letters!r}"
                )
            return
        if letters not in ("all", "at_most_one", "exactly_one"):
            raise ArgumentValueError(
                "letters must be 'all', 'at_most_one', 'exactly_one' or a Formula, "
                f"not {letters!r:.60}"
            )
        n = len(self.names)
        if letters == "exactly_one":
            self.rules.append(tuple(2 * a for a in range(n)))
        if letters == "all" or n < 2:
            return
        # Helper i: one of the atoms up to i is true (Sinz, CP 2005).
        helper = self.n_atoms
        self.n_atoms += n
        for a in range(n):
            self.rules.append((2 * a + 1, 2 * (helper + a)))
            if a:
                self.rules.append((2 * (helper + a - 1) + 1, 2 * (helper + a)))
                self.rules.append((2 * (helper + a - 1) + 1, 2 * a + 1))

    def letter(self, bits: int) -> frozenset[str] | dict[str, bool | float]:
        """A letter from the values of atoms: a set, or with signals a mapping."""
        if not self.thresholds:
            return frozenset(name for index, name in enumerate(self.names) if bits >> index & 1)
        found: dict[str, bool | float] = {
            name: bool(bits >> index & 1) for index, name in enumerate(self.names)
        }
        for signal, thresholds in self.thresholds.items():
            found[signal] = self._sample(signal, thresholds, bits)
        return found

    def _sample(self, signal: str, thresholds: list[float], bits: int) -> float:
        """A number of the right order, as plain as may be."""
        low, high = -math.inf, math.inf
        for threshold in thresholds:
            greater, least = self.order[signal, threshold]
            if not bits >> least & 1:
                high = threshold
                break
            if not bits >> greater & 1:
                return threshold
            low = threshold
        if low == -math.inf and high == math.inf:
            return 0.0
        if low == -math.inf:
            number = math.floor(high) - 1.0
            return number if number < high else math.nextafter(high, -math.inf)
        if high == math.inf:
            number = math.ceil(low) + 1.0
            return number if low < number < math.inf else math.nextafter(low, math.inf)
        middle = low / 2 + high / 2
        for number in (float(math.floor(middle)), float(math.ceil(middle)), middle):
            if low < number < high:
                return number
        return math.nextafter(low, math.inf)

    # Fairness.

    def _rounds(self, root: int, count: int) -> list[int]:
        """Nodes: every eventuality is met, is met in turn twice, three times, ...

        A liveness property fails iff no bound on the number of rounds holds (Claessen and
        Sorensson, FMCAD 2012). Each round ends a finite trace, so its own nexts are strong.
        """
        found: list[int] = []
        if not count:
            return found
        asked = self._reachable([root])
        met = [
            self._join(OR, (self._new(MET, (node,)), done))
            for node, done in self.eventualities.items()
            if node in asked
        ]
        found.append(self._join(AND, [self._some_time(node) for node in met]))
        for _ in range(count - 1):
            node = self._new(STRONG, (found[-1],)) if found[-1] != TRUE else self._new(NOT_LAST, ())
            for event in reversed(met):
                node = self._some_time(self._join(AND, (event, node)))
            found.append(node)
        return found

    def _some_time(self, node: int) -> int:
        step = self._new(STRONG, (0,))
        result = self._join(OR, (node, step))
        self.args[step] = (result,)
        return result

    def _reachable(self, roots: Iterable[int]) -> set[int]:
        found = set(roots)
        stack = list(found)
        while stack:
            node = stack.pop()
            if self.kind[node] in (ATOM, NOT_ATOM):
                continue
            for arg in self.args[node]:
                if arg not in found:
                    found.add(arg)
                    stack.append(arg)
        return found

    def _make(self, always: Sequence[int]) -> None:
        """Keep the nodes that something asks for, and give them to the kernel."""
        kinds, args = self.kind, self.args
        own = self._reachable(self.roots[:1])
        done = {node: goal for node, goal in self.eventualities.items() if node in own}
        kept = sorted(self._reachable([*self.roots, *always, *done.values()]))
        self.check()
        index = {node: new for new, node in enumerate(kept)}
        first = [0]
        flat: list[int] = []
        for node in kept:
            if kinds[node] in (ATOM, NOT_ATOM):
                flat.append(args[node][0])
            else:
                flat.extend([index[arg] for arg in args[node]])
            first.append(len(flat))
        rule_first = [0]
        rule: list[int] = []
        for clause in self.rules:
            rule.extend(clause)
            rule_first.append(len(rule))
        self.system = System(
            [kinds[node] for node in kept],
            first,
            flat,
            self.n_atoms,
            rule_first,
            rule,
            [index[node] for node in always],
            [index[node] for node in self.roots],
        )
        first_burdens = self.system.first_burdens()
        #: Burdens of a first step; with each number of rounds, where there are any.
        self.start = [self.system.burden_of(index[self.roots[0]]), *first_burdens]
        self.round_burdens = [self.system.burden_of(index[node]) for node in self.roots[1:]]
        asked = {node: self.system.burden_of(index[node]) for node in own}
        waiting = [node for node in done if asked[node] >= 0]
        #: Burdens of which a loop must not ask at some step, or where another node must hold.
        self.fair = [asked[node] for node in waiting]
        self.met = [index[done[node]] for node in waiting]
        #: Burdens of the rounds alone, as bits.
        self.counting = 0
        for node in set(kept) - own:
            burden = self.system.burden_of(index[node])
            if burden >= 0:
                self.counting |= 1 << burden
