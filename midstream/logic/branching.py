"""Branching time: CTL model checking of finite structures, with evidence."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_int
from midstream.logic._ctl_formula import CtlFormula, CtlOp, parse_ctl
from midstream.logic._kripke import Kripke

__all__ = [
    "CtlEvidence",
    "CtlFormula",
    "CtlOp",
    "Kripke",
    "check_ctl",
    "counterexample_ctl",
    "ctl_mask",
    "holds_ctl",
    "parse_ctl",
    "witness_ctl",
]

_Set = npt.NDArray[np.uint8]
_ONE = np.uint8(1)

#: A subformula and the truth value that is claimed of it.
_Claim = tuple[CtlFormula, bool]


@dataclass(slots=True, frozen=True)
class _Path:
    """What a path shows: `hold` at each state up to the goal, `goal` there; or `hold` forever."""

    hold: tuple[_Claim, ...]
    #: None where only an infinite path will do.
    goal: tuple[_Claim, ...] | None
    #: Whether an infinite path will do too.
    weak: bool


def _path_of(node: CtlFormula) -> _Path:
    """The path that shows an E-formula true, or an A-formula false.

    Of the latter by duality: not A[f U g] is E[!g W (!f & !g)], and so on.
    """
    op, f, g = node.op, node.args[0], node.args[-1]
    if op == CtlOp.EF:
        return _Path((), ((f, True),), False)
    if op == CtlOp.EG:
        return _Path(((f, True),), None, True)
    if op in (CtlOp.EU, CtlOp.EW):
        return _Path(((f, True),), ((g, True),), op == CtlOp.EW)
    if op in (CtlOp.ER, CtlOp.EM):
        return _Path(((g, True),), ((f, True), (g, True)), op == CtlOp.ER)
    if op == CtlOp.AF:
        return _Path(((f, False),), None, True)
    if op == CtlOp.AG:
        return _Path((), ((f, False),), False)
    if op in (CtlOp.AU, CtlOp.AW):
        return _Path(((g, False),), ((f, False), (g, False)), op == CtlOp.AU)
    return _Path(((f, False),), ((g, False),), op == CtlOp.AM)


_EXISTS = frozenset({CtlOp.EX, CtlOp.EF, CtlOp.EG, CtlOp.EU, CtlOp.EW, CtlOp.ER, CtlOp.EM})


class _Checker:
    """Sets of states of the subformulas of one formula, kept where evidence will want them."""

    def __init__(
        self, kripke: Kripke, formula: CtlFormula, fairness: Sequence[_Set], keep: bool
    ) -> None:
        self.kripke = kripke
        self.graph = kripke._graph
        self.sets: dict[CtlFormula, _Set] = {}
        self.everywhere = np.ones(kripke.n_states, dtype=np.uint8)
        self.constraints = np.array(fairness, dtype=np.uint8) if fairness else None
        #: States from which some fair path starts.
        self.fair = self.globally(self.everywhere)
        nodes = formula.nodes()
        uses = dict.fromkeys(nodes, 0)
        for node in nodes:
            for arg in node.args:
                uses[arg] += 1
        for node in nodes:
            self.sets[node] = self.states_of(node)
            for arg in node.args:
                uses[arg] -= 1
                if not keep and not uses[arg]:
                    del self.sets[arg]

    def __getstate__(self) -> dict[str, Any]:
        # The compiled graph is made of the structure again.
        return {name: value for name, value in vars(self).items() if name != "graph"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.graph = self.kripke._graph

    def claimed(self, claims: Sequence[_Claim]) -> _Set:
        """States in which all claims are right."""
        if not claims:
            return self.everywhere
        parts = [self.sets[node] if value else self.sets[node] ^ _ONE for node, value in claims]
        return parts[0] if len(parts) == 1 else parts[0] & parts[1]

    def globally(self, hold: _Set) -> _Set:
        if self.constraints is None:
            return self.graph.exists_globally(hold)
        inside = (self.graph.fair_components(hold, self.constraints) >= 0).view(np.uint8)
        return (self.graph.ranks(hold, inside) >= 0).view(np.uint8)

    def states_of(self, node: CtlFormula) -> _Set:
        op = node.op
        if op == CtlOp.ATOM:
            found = self.kripke._labels.get(str(node.atom))
            if found is None:
                raise ArgumentValueError(
                    f"formula has the atom {node.atom!r}, which labels lack; they have "
                    f"{', '.join(map(repr, self.kripke.atoms)) or 'none'}"
                )
            return found
        if op in (CtlOp.FALSE, CtlOp.TRUE):
            return np.full(self.kripke.n_states, op == CtlOp.TRUE, dtype=np.uint8)
        if op < CtlOp.EX:
            sets = [self.sets[arg] for arg in node.args]
            if op == CtlOp.NOT:
                return sets[0] ^ _ONE
            if op == CtlOp.IMPLIES:
                return (sets[0] ^ _ONE) | sets[1]
            if op == CtlOp.IFF:
                return sets[0] ^ sets[1] ^ _ONE
            out = sets[0].copy()
            combine = {CtlOp.AND: np.bitwise_and, CtlOp.OR: np.bitwise_or}.get(op, np.bitwise_xor)
            for one in sets[1:]:
                combine(out, one, out=out)
            return out
        exists = op in _EXISTS
        if op in (CtlOp.EX, CtlOp.AX):
            shown = self.graph.exists_next(self.claimed(((node.args[0], exists),)) & self.fair)
        else:
            path = _path_of(node)
            hold = self.claimed(path.hold)
            shown = np.zeros(self.kripke.n_states, dtype=np.uint8)
            if path.goal is not None:
                goal = self.claimed(path.goal) & self.fair
                shown = (self.graph.ranks(hold, goal) >= 0).view(np.uint8)
            if path.weak:
                shown = shown | self.globally(hold)
        return shown if exists else shown ^ _ONE

    def explain(self, node: CtlFormula, state: int) -> CtlEvidence:
        value = bool(self.sets[node][state])
        op = node.op
        if op < CtlOp.EX or value != (op in _EXISTS):
            return CtlEvidence(node, self, value, (state,), None, None)
        loop: int | None = None
        goal_at: int | None = None
        if op in (CtlOp.EX, CtlOp.AX):
            goal = self.claimed(((node.args[0], value),)) & self.fair
            states = [state, next(t for t in self.kripke._following(state) if goal[t])]
            goal_at = 1
        else:
            path = _path_of(node)
            hold = self.claimed(path.hold)
            found = None
            if path.goal is not None:
                found = self.descend(hold, self.claimed(path.goal) & self.fair, state)
            if found is None:
                states, loop = self.lasso(hold, state)
            else:
                states, goal_at = found, len(found) - 1
        if goal_at is not None and self.constraints is not None:
            tail, tail_loop = self.lasso(self.everywhere, states[-1])
            loop = goal_at + tail_loop
            states += tail[1:]
        evidence = CtlEvidence(node, self, value, tuple(states), loop, goal_at)
        self.verify(evidence)
        return evidence

    def descend(self, hold: _Set, goal: _Set, state: int) -> list[int] | None:
        """A shortest path through `hold` to `goal`."""
        rank = self.graph.ranks(hold, goal)
        if rank[state] < 0:
            return None
        states = [state]
        while rank[state] > 0:
            closer = rank[state] - 1
            state = next(t for t in self.kripke._following(state) if rank[t] == closer)
            states.append(state)
        return states

    def lasso(self, hold: _Set, state: int) -> tuple[list[int], int]:
        """A fair path inside `hold` that ends in a loop: the states, and where the loop starts."""
        if self.constraints is None:
            inside = self.graph.exists_globally(hold)
            states: list[int] = []
            seen: dict[int, int] = {}
            while state not in seen:
                seen[state] = len(states)
                states.append(state)
                state = next(t for t in self.kripke._following(state) if inside[t])
            return states, seen[state]
        component = self.graph.fair_components(hold, self.constraints)
        stem = self.descend(hold, (component >= 0).view(np.uint8), state)
        if stem is None:
            raise MidstreamError(f"internal error: no fair path from {self.kripke.states[state]!r}")
        states, start = stem, len(stem) - 1
        first = stem[-1]
        inside = (component == component[first]).view(np.uint8)
        home = np.zeros_like(inside)
        home[first] = 1
        for goal in [*(self.constraints & inside), home]:
            if goal is home and len(states) == start + 1:
                # One state meets all constraints: step away, or around a self loop.
                states.append(next(t for t in self.kripke._following(first) if inside[t]))
            leg = self.descend(inside, goal, states[-1])
            if leg is None:
                raise MidstreamError("internal error: a fair component is not connected")
            states += leg[1:]
        return states[:-1], start

    def verify(self, evidence: CtlEvidence) -> None:
        """Check a path by the definitions, step by step, before anyone sees it."""
        node, states, loop = evidence.formula, evidence._numbers, evidence.loop
        edges = list(itertools.pairwise(states))
        if loop is not None:
            edges.append((states[-1], states[loop]))
        right = all(t in self.kripke._following(s) for s, t in edges)
        for position, state in enumerate(states):
            claims = evidence._claims(position)
            right &= all(bool(self.sets[f][state]) == value for f, value in claims)
        right &= evidence.goal is not None or loop is not None
        if evidence.goal is None and node.op not in (CtlOp.EX, CtlOp.AX):
            right &= _path_of(node).weak
        if self.constraints is not None:
            around = list(states[loop:]) if loop is not None else []
            right &= bool((self.constraints[:, around] != 0).any(axis=1).all())
        if not right:
            raise MidstreamError(f"internal error: wrong evidence for {node!r}")


class CtlEvidence:
    """Why a formula holds in a state, or does not.

    For an E-formula that holds and an A-formula that does not, a path that shows it. For the
    others, which speak of all paths, no path could; for Boolean formulas, what decides is in
    ``at(0)``. Made by `witness_ctl` and `counterexample_ctl`.

    Attributes
    ----------
    formula : CtlFormula
    holds : bool
        Whether it holds in the first state.
    states : tuple of states
        The path, which starts in the state in question.
    loop : int or None
        If the path is infinite: the index in `states` to which it returns after the last one.
    goal : int or None
        The index of the state that ends the operator's obligation: where g holds in ``E[f U g]``,
        where f fails in ``AG f``. None where only the whole infinite path shows it.
    """

    __slots__ = ("_checker", "_numbers", "formula", "goal", "holds", "loop", "states")

    def __init__(
        self,
        formula: CtlFormula,
        checker: _Checker,
        holds: bool,
        numbers: tuple[int, ...],
        loop: int | None,
        goal: int | None,
    ) -> None:
        self.formula = formula
        self.holds = holds
        self._checker = checker
        self._numbers = numbers
        self.states = tuple(checker.kripke.states[number] for number in numbers)
        self.loop = loop
        self.goal = goal

    @property
    def universal(self) -> bool:
        """Whether the claim is about all paths, so that no single path shows it."""
        op = self.formula.op
        return op >= CtlOp.EX and self.holds != (op in _EXISTS)

    def at(self, position: int) -> tuple[CtlEvidence, ...]:
        """Evidence of the subformulas that matter at a position of the path.

        Made when asked for, since written out in full it can be exponential in the nesting depth.

        Parameters
        ----------
        position : int
            Index into `states`.

        Returns
        -------
        tuple of CtlEvidence

        Raises
        ------
        ArgumentValueError
            There is no such position.
        """
        position = check_int("position", position, low=0, high=len(self.states) - 1)
        state = self._numbers[position]
        return tuple(self._checker.explain(node, state) for node, _ in self._claims(position))

    def _claims(self, position: int) -> tuple[_Claim, ...]:
        node, value = self.formula, self.holds
        args = node.args
        if node.op >= CtlOp.EX:
            if self.universal:
                return ()
            if node.op in (CtlOp.EX, CtlOp.AX):
                return ((args[0], value),) if position == 1 else ()
            path = _path_of(node)
            if self.goal is None or position < self.goal:
                return path.hold
            return path.goal or () if position == self.goal else ()
        state = self._numbers[0]
        truth = [(arg, bool(self._checker.sets[arg][state])) for arg in args]
        if node.op == CtlOp.IMPLIES:
            # f -> g is !f | g.
            decisive = [truth[0]] if not truth[0][1] else [truth[1]]
            return tuple(decisive if value else truth)
        if node.op in (CtlOp.AND, CtlOp.OR) and value != (node.op == CtlOp.AND):
            return (next(claim for claim in truth if claim[1] == value),)
        return tuple(truth)

    def __str__(self) -> str:
        head = f"{self.formula} {'holds' if self.holds else 'fails'} in {self.states[0]!r}"
        if self.universal:
            return f"{head} on {'every' if self.holds else 'any'} path"
        if len(self.states) == 1 and self.loop is None:
            return head
        path = " -> ".join(map(repr, self.states))
        back = "" if self.loop is None else f" -> back to {self.states[self.loop]!r}"
        return f"{head}: {path}{back}"

    def __repr__(self) -> str:
        return f"<CtlEvidence: {self!s}>" if self.formula.size <= 1000 else "<CtlEvidence>"


def _arguments(
    kripke: Kripke, formula: CtlFormula | str, fairness: Iterable[Any]
) -> tuple[CtlFormula, list[_Set]]:
    if not isinstance(kripke, Kripke):
        raise ArgumentTypeError(f"kripke must be a Kripke, not {type(kripke).__name__}")
    formula = _as_formula("formula", formula)
    if isinstance(fairness, (str, CtlFormula)):
        raise ArgumentTypeError("fairness must be a list of constraints, not one of them")
    constraints: list[_Set] = []
    for index, constraint in enumerate(fairness):
        name = f"fairness[{index}]"
        if isinstance(constraint, (str, CtlFormula)):
            inner = _as_formula(name, constraint)
            constraints.append(_Checker(kripke, inner, (), False).sets[inner])
        else:
            constraints.append(kripke.mask(constraint, name))
    return formula, constraints


def _as_formula(name: str, formula: CtlFormula | str) -> CtlFormula:
    if isinstance(formula, str):
        return parse_ctl(formula)
    if not isinstance(formula, CtlFormula):
        raise ArgumentTypeError(
            f"{name} must be a CtlFormula or its text, not {type(formula).__name__}"
        )
    return formula


def ctl_mask(
    kripke: Kripke, formula: CtlFormula | str, *, fairness: Iterable[Any] = ()
) -> npt.NDArray[np.bool_]:
    """Find the states that satisfy a CTL formula, as an array.

    Parameters
    ----------
    kripke : Kripke
    formula : CtlFormula or str
    fairness : iterable of constraints, optional
        Each a set of states, or a formula for one: only paths that meet every set infinitely often
        count.

    Returns
    -------
    array of bool, shape (kripke.n_states,)
        In the order of ``kripke.states``.

    Raises
    ------
    ArgumentValueError
        An atom that the structure has no labels for; an unknown state.
    FormulaSyntaxError
        Text that is no formula.

    Notes
    -----
    O((states + transitions) * (1 + constraints)) for each distinct temporal subformula, and a byte
    a state for each one still needed. Thread-safe; releases the GIL; Ctrl-C interrupts it.

    Source: Clarke, Emerson, Sistla, ACM TOPLAS 8(2), 1986.

    Examples
    --------
    >>> from midstream.logic import Kripke, ctl_mask
    >>> ctl_mask(Kripke([[1], [0, 2], [2]], {"p": [2]}), "EX p").tolist()
    [False, True, True]
    """
    checked, constraints = _arguments(kripke, formula, fairness)
    found = _Checker(kripke, checked, constraints, False).sets[checked]
    return found.astype(np.bool_)


def check_ctl(
    kripke: Kripke, formula: CtlFormula | str, *, fairness: Iterable[Any] = ()
) -> frozenset[Any]:
    """Find the states that satisfy a CTL formula.

    Parameters
    ----------
    kripke : Kripke
    formula : CtlFormula or str
    fairness : iterable of constraints, optional
        Each a set of states, or a formula for one: only paths that meet every set infinitely often
        count.

    Returns
    -------
    frozenset of states

    Raises
    ------
    ArgumentValueError
        An atom that the structure has no labels for; an unknown state.
    FormulaSyntaxError
        Text that is no formula.

    See Also
    --------
    ctl_mask : the same as an array, with cost and source.

    Examples
    --------
    >>> from midstream.logic import Kripke, check_ctl
    >>> work = Kripke({"idle": ["idle", "busy"], "busy": ["idle"]}, {"busy": ["busy"]})
    >>> sorted(check_ctl(work, "AG EF busy")), sorted(check_ctl(work, "AF busy"))
    (['busy', 'idle'], ['busy'])
    >>> sorted(check_ctl(work, "AF busy", fairness=["busy"]))
    ['busy', 'idle']
    """
    found = np.flatnonzero(ctl_mask(kripke, formula, fairness=fairness)).tolist()
    if isinstance(kripke.states, range):
        return frozenset(found)
    return frozenset(kripke.states[number] for number in found)


def holds_ctl(kripke: Kripke, formula: CtlFormula | str, *, fairness: Iterable[Any] = ()) -> bool:
    """Whether every initial state satisfies a CTL formula.

    Parameters
    ----------
    kripke : Kripke
        With initial states.
    formula, fairness
        As of `check_ctl`.

    Returns
    -------
    bool

    Raises
    ------
    ArgumentValueError
        The structure has no initial states, or as `check_ctl`.

    Examples
    --------
    >>> from midstream.logic import Kripke, holds_ctl
    >>> holds_ctl(Kripke([[1], [1]], {"p": [1]}, initial=[0]), "AF AG p")
    True
    """
    found = ctl_mask(kripke, formula, fairness=fairness)
    if not kripke.initial:
        raise ArgumentValueError("kripke must have initial states")
    return all(bool(found[kripke._number(state, "initial")]) for state in kripke.initial)


def witness_ctl(
    kripke: Kripke, formula: CtlFormula | str, state: Any, *, fairness: Iterable[Any] = ()
) -> CtlEvidence | None:
    """Show why a CTL formula holds in a state.

    Parameters
    ----------
    kripke : Kripke
    formula : CtlFormula or str
    state : state
    fairness : iterable of constraints, optional
        As of `check_ctl`.

    Returns
    -------
    CtlEvidence or None
        None where the formula does not hold. Finite paths are as short as possible; with `fairness`
        they go on in a fair loop. Each path is checked against the definitions before it is
        returned.

    Raises
    ------
    ArgumentValueError
        There is no such state, or as `check_ctl`.

    Notes
    -----
    Cost as of `check_ctl`, with a byte a state for every subformula.

    Examples
    --------
    >>> from midstream.logic import Kripke, witness_ctl
    >>> graph = Kripke([[1], [2, 0], [2]], {"p": [2], "q": [0, 1]})
    >>> print(witness_ctl(graph, "E[q U p]", 0))
    E[q U p] holds in 0: 0 -> 1 -> 2
    >>> print(witness_ctl(graph, "EG q", 1))
    EG q holds in 1: 1 -> 0 -> back to 1
    """
    return _evidence(kripke, formula, state, fairness, True)


def counterexample_ctl(
    kripke: Kripke, formula: CtlFormula | str, state: Any, *, fairness: Iterable[Any] = ()
) -> CtlEvidence | None:
    """Show why a CTL formula does not hold in a state.

    Parameters
    ----------
    kripke, formula, state, fairness
        As of `witness_ctl`.

    Returns
    -------
    CtlEvidence or None
        None where the formula holds; else as `witness_ctl`.

    Raises
    ------
    ArgumentValueError
        There is no such state, or as `check_ctl`.

    Examples
    --------
    >>> from midstream.logic import Kripke, counterexample_ctl
    >>> graph = Kripke([[1], [2, 0], [2]], {"p": [2], "q": [0, 1]})
    >>> evidence = counterexample_ctl(graph, "AG (q & AF p)", 0)
    >>> print(evidence)
    AG (q & AF p) fails in 0
    >>> print(evidence.at(0)[0].at(0)[0])
    AF p fails in 0: 0 -> 1 -> back to 0
    """
    return _evidence(kripke, formula, state, fairness, False)


def _evidence(
    kripke: Kripke,
    formula: CtlFormula | str,
    state: Any,
    fairness: Iterable[Any],
    holds: bool,
) -> CtlEvidence | None:
    checked, constraints = _arguments(kripke, formula, fairness)
    number = kripke._number(state, "state")
    checker = _Checker(kripke, checked, constraints, True)
    if bool(checker.sets[checked][number]) != holds:
        return None
    return checker.explain(checked, number)
