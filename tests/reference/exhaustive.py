"""All formulas up to a size, all traces up to a length: every engine must agree on every pair.

The definitions are evaluated for all traces at once, on arrays of shape (traces, length), so that
one formula costs a few array operations on the values of its operands.
"""

from __future__ import annotations

import numpy as np
from reference import temporal

from midstream.logic._ops import Op
from midstream.logic.formula import atom, false, make, true

UNARY = (
    Op.NOT,
    Op.NEXT,
    Op.STRONG_NEXT,
    Op.EVENTUALLY,
    Op.ALWAYS,
    Op.YESTERDAY,
    Op.WEAK_YESTERDAY,
    Op.ONCE,
    Op.HISTORICALLY,
)
BINARY = (
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
)


def formulas(size, atoms=("a", "b"), unary=UNARY, binary=BINARY):
    """Every formula of exactly this size, by size of its operands."""
    if size == 1:
        yield true
        yield false
        yield from (atom(name) for name in atoms)
        return
    for op in unary:
        for inner in formulas(size - 1, atoms, unary, binary):
            yield make(op, (inner,))
    for left_size in range(1, size - 1):
        for left in formulas(left_size, atoms, unary, binary):
            for right in formulas(size - 1 - left_size, atoms, unary, binary):
                for op in binary:
                    # A tree written with nested & is the formula of a larger one.
                    formula = make(op, (left, right))
                    if formula.size == size:
                        yield formula


class AllTraces:
    """Every trace of each length over two atoms, and the truth of formulas on all of them."""

    def __init__(self, longest, atoms=("a", "b")):
        self.atoms = atoms
        self.letters = 1 << len(atoms)
        #: By length n: (letters ** n, n) masks; the traces in the order of base-4 numbers.
        self.masks = {
            n: np.array(
                np.unravel_index(np.arange(self.letters**n), (self.letters,) * n), dtype=np.uint8
            ).T
            for n in range(1, longest + 1)
        }
        self.known = {}

    def truth(self, formula):
        """By length: (traces, n) bool, whether the formula holds at each position."""
        for node in formula.nodes():
            if node not in self.known:
                self.known[node] = {n: self.row(node, n) for n in self.masks}
        return self.known[formula]

    def forget(self, size):
        """Drop what is larger: it is no operand any more."""
        self.known = {node: rows for node, rows in self.known.items() if node.size <= size}

    def row(self, node, n):
        masks = self.masks[n]
        args = [self.known[arg][n] for arg in node.args]
        op = node.op
        if op in (Op.TRUE, Op.FALSE):
            return np.full(masks.shape, op == Op.TRUE)
        if op == Op.ATOM:
            return masks >> self.atoms.index(node.atom) & 1 == 1
        if op == Op.NOT:
            return ~args[0]
        if op == Op.AND:
            return np.logical_and.reduce(args)
        if op == Op.OR:
            return np.logical_or.reduce(args)
        if op == Op.XOR:
            return args[0] != args[1]
        if op == Op.IFF:
            return args[0] == args[1]
        if op == Op.IMPLIES:
            return ~args[0] | args[1]
        if op in (Op.NEXT, Op.STRONG_NEXT):
            edge = np.full((len(masks), 1), op == Op.NEXT)
            return np.concatenate([args[0][:, 1:], edge], axis=1)
        if op in (Op.YESTERDAY, Op.WEAK_YESTERDAY):
            edge = np.full((len(masks), 1), op == Op.WEAK_YESTERDAY)
            return np.concatenate([edge, args[0][:, :-1]], axis=1)
        return self.wait(op, args, n)

    def wait(self, op, args, n):
        """The operators that look at any number of positions, by their definitions."""
        f = args[0]
        result = np.empty_like(f)
        past = op in (Op.ONCE, Op.HISTORICALLY, Op.SINCE, Op.TRIGGER)
        for i in range(n):
            seen = list(range(i, -1, -1)) if past else list(range(i, n))
            if op in (Op.EVENTUALLY, Op.ONCE):
                result[:, i] = f[:, seen].any(axis=1)
                continue
            if op in (Op.ALWAYS, Op.HISTORICALLY):
                result[:, i] = f[:, seen].all(axis=1)
                continue
            g = args[1]
            if op in (Op.RELEASE, Op.TRIGGER):
                # Not (not f until not g).
                result[:, i] = ~self.first(~f, ~g, seen)
            elif op == Op.STRONG_RELEASE:
                result[:, i] = self.first(g, f & g, seen)
            else:
                result[:, i] = self.first(f, g, seen)
                if op == Op.WEAK_UNTIL:
                    result[:, i] |= f[:, seen].all(axis=1)
        return result

    @staticmethod
    def first(f, g, seen):
        """Whether g holds at one of the positions, and f at all of those seen before it."""
        found = np.zeros(len(f), dtype=bool)
        for count, j in enumerate(seen):
            found |= g[:, j] & f[:, seen[:count]].all(axis=1)
        return found


class DisagreementError(AssertionError):
    """An engine's answer that is not that of the definitions."""

    def __init__(self, engine, formula, masks, expected):
        letters = ["".join(name for i, name in enumerate("ab") if mask >> i & 1) for mask in masks]
        super().__init__(
            f"{engine}: {formula} on {letters}: the definitions say {expected}, it does not"
        )


def check_columns(every, traces, chunk=2048):
    """The bit-parallel engine at every position of every trace; returns the pairs checked."""
    from midstream.logic import columns as engine

    for start in range(0, len(every), chunk):
        some = every[start : start + chunk]
        truth = [traces.truth(formula) for formula in some]
        # What evaluate_many does, with the preparation of the formulas once and not for each trace.
        prepared = engine._lowered(*some)
        for n, masks in traces.masks.items():
            expected = np.stack([rows[n] for rows in truth], axis=1)
            for index, trace in enumerate(masks):
                columns = {name: trace >> i & 1 == 1 for i, name in enumerate(traces.atoms)}
                answer = engine._run(prepared, columns, "false")
                if not np.array_equal(answer, expected[index]):
                    wrong = int(np.flatnonzero((answer != expected[index]).any(axis=1))[0])
                    raise DisagreementError("columns", some[wrong], trace, expected[index][wrong])
    return len(every) * sum(len(masks) for masks in traces.masks.values())


def check_progression(every, traces):
    """Progression through every trace, and the last letter by the definitions."""
    from midstream.logic.progression import progress

    step = {}
    last = {}
    for formula in every:
        truth = traces.truth(formula)
        reached = [formula]
        for n in traces.masks:
            ends = []
            following = []
            for rest in reached:
                for mask in range(traces.letters):
                    if (rest, mask) not in last:
                        letter = {name for i, name in enumerate(traces.atoms) if mask >> i & 1}
                        last[rest, mask] = bool(temporal.holds(rest, [letter]))
                        step[rest, mask] = progress(rest, letter)
                    ends.append(last[rest, mask])
                    following.append(step[rest, mask])
            expected = truth[n][:, 0]
            if ends != expected.tolist():
                wrong = int(np.flatnonzero(np.array(ends) != expected)[0])
                raise DisagreementError(
                    "progression", formula, traces.masks[n][wrong], expected[wrong]
                )
            reached = following
    return len(every) * sum(len(masks) for masks in traces.masks.values())


def check_automata(every, traces):
    """The compiled automaton on every trace; its colours against what can still follow."""
    from midstream.logic.automaton import compile

    for formula in every:
        automaton = compile(formula, alphabet=traces.atoms)
        table = automaton.table()
        truth = traces.truth(formula)
        states = np.array([automaton.initial])
        for n, masks in traces.masks.items():
            states = table[states].ravel()
            expected = truth[n][:, 0]
            if not np.array_equal(automaton.accepting[states], expected):
                wrong = int(np.flatnonzero(automaton.accepting[states] != expected)[0])
                raise DisagreementError("automaton", formula, masks[wrong], expected[wrong])
        check_colours(automaton, table, formula)
    return len(every) * sum(len(masks) for masks in traces.masks.values())


def check_colours(automaton, table, formula):
    """Colours by their definition, on the graph of the automaton: what each state can reach."""
    n = automaton.n_states
    reach = np.eye(n, dtype=bool)
    for row, successors in zip(reach, table, strict=True):
        row[successors] = True
    for _ in range(n.bit_length()):
        reach = reach @ reach
    some = (reach & automaton.accepting).any(axis=1)
    every = (reach <= automaton.accepting).all(axis=1)
    expected = np.where(every, 4, np.where(~some, 0, np.where(automaton.accepting, 3, 1)))
    if not np.array_equal(expected, automaton.colours):
        raise DisagreementError("colours", formula, [], expected.tolist())


def check_monitors(every, traces, known=None):
    """The four-valued monitor after every event of every trace.

    Monitors of one language walk the same tables, so each set of tables is stepped once; `known`
    keeps what was stepped between calls.
    """
    from midstream.logic.monitor import Monitor

    known = {} if known is None else known
    longest = max(traces.masks)
    for formula in every:
        monitor = Monitor(formula, alphabet=traces.atoms)
        tables = monitor._tables
        key = tuple(part.tobytes() for part in (tables.nodes, tables.roots, tables.colours))
        if key not in known:
            rows = []
            for trace in traces.masks[longest]:
                monitor.reset()
                rows.append(monitor.feed(trace))
            # PRESUMABLY_TRUE and TRUE: the trace so far satisfies the formula.
            known[key] = np.array(rows) >= 3
        for n in traces.masks:
            first = known[key][:: traces.letters ** (longest - n), n - 1]
            expected = traces.truth(formula)[n][:, 0]
            if not np.array_equal(first, expected):
                wrong = int(np.flatnonzero(first != expected)[0])
                raise DisagreementError("monitor", formula, traces.masks[n][wrong], expected[wrong])
    return len(every) * sum(len(masks) for masks in traces.masks.values())
