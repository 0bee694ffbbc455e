"""Formulas over infinite words: three-valued machines, monitorability, words that satisfy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, StateLimitError
from midstream._core.validate import check_int
from midstream.logic._checks import as_formula, as_timeout
from midstream.logic._flat import flatten
from midstream.logic._infinite import Tableau
from midstream.logic._ops import Op
from midstream.logic.formula import Formula, and_, atom, make, not_, or_
from midstream.logic.traces import Lasso
from midstream.logic.verdict import Verdict

__all__ = ["Machine", "ltl3_machine", "monitorability"]

#: Diagram nodes that one construction may take: about 200 MB.
MAX_NODES = 8_000_000
#: A window of more steps has more registers than the tableau can number.
MAX_WINDOW = 4000


@dataclass(frozen=True, eq=False, repr=False)
class Machine:
    """A Moore machine that says after each letter what is known: `ltl3_machine` makes it.

    The layout is that of `Automaton`: a letter is read by walking a diagram of atoms.

    Attributes
    ----------
    alphabet : tuple of str
        Atoms, in the order of the diagrams' variables.
    nodes : (n_nodes, 3) int32 ndarray
        Rows ``[variable, low, high]``; variables increase along every path. A reference r >= 0 is
        node r, a negative one state ``~r``; ``~n_states`` stands for a letter that is not legal.
    roots : (n_states,) int32 ndarray
        Reference at which each state starts to read a letter.
    colours : (n_states,) uint8 ndarray
        Codes of `Verdict`.
    """

    alphabet: tuple[str, ...]
    nodes: npt.NDArray[np.int32]
    roots: npt.NDArray[np.int32]
    colours: npt.NDArray[np.uint8]

    @property
    def n_states(self) -> int:
        """Number of states; state 0 is initial."""
        return len(self.roots)

    @property
    def initial(self) -> int:
        """The initial state, 0."""
        return 0

    def step(self, state: int, mask: int) -> int:
        """State after a letter given as a bit mask; `n_states` where it is not legal."""
        reference = int(self.roots[state])
        while reference >= 0:
            variable, low, high = self.nodes[reference].tolist()
            reference = high if mask >> variable & 1 else low
        return ~reference

    def successors(self) -> list[list[int]]:
        """States that some legal letter leads to, by state.

        Takes a walk of each state's part of the diagram: at worst states times nodes.
        """
        found: list[list[int]] = []
        for root in self.roots.tolist():
            seen = {root}
            stack = [root]
            while stack:
                reference = stack.pop()
                if reference >= 0:
                    for child in self.nodes[reference, 1:].tolist():
                        if child not in seen:
                            seen.add(child)
                            stack.append(child)
            found.append(sorted(~r for r in seen if r < 0 and ~r < self.n_states))
        return found

    def reaching(self, *verdicts: Verdict) -> npt.NDArray[np.bool_]:
        """States from which some word leads to one of these verdicts: (n_states,) bool."""
        n = self.n_states
        # Backwards over states and nodes alike, node r as n + r: linear in the diagram, where
        # states and their successors can be quadratic.
        before: list[list[int]] = [[] for _ in range(n + len(self.nodes))]
        reached: npt.NDArray[np.bool_] = np.zeros(len(before), dtype=np.bool_)
        reached[:n] = np.isin(self.colours, [int(v) for v in verdicts])
        for state, root in enumerate(self.roots.tolist()):
            before[n + root if root >= 0 else ~root].append(state)
        for node, children in enumerate(self.nodes[:, 1:].tolist()):
            for child in children:
                if ~child != n:
                    before[n + child if child >= 0 else ~child].append(n + node)
        stack: list[int] = np.flatnonzero(reached).tolist()
        while stack:
            for parent in before[stack.pop()]:
                if not reached[parent]:
                    reached[parent] = True
                    stack.append(parent)
        return reached[:n]

    def __repr__(self) -> str:
        counts = np.bincount(self.colours, minlength=len(Verdict))
        verdicts = ", ".join(f"{counts[int(v)]} {v}" for v in Verdict if counts[int(v)])
        return (
            f"<Machine of {self.n_states} states ({verdicts}) over {len(self.alphabet)} atoms, "
            f"{len(self.nodes)} nodes>"
        )

    @property
    def monitorable(self) -> bool:
        """Whether every finite word can be extended to one with a final verdict."""
        return bool(self.reaching(Verdict.FALSE, Verdict.TRUE).all())

    @property
    def monitorable_initially(self) -> bool:
        """Whether some finite word has a final verdict."""
        return bool(self.reaching(Verdict.FALSE, Verdict.TRUE)[0])


def ltl3_machine(
    formula: Formula | str,
    *,
    alphabet: Sequence[str] | None = None,
    letters: str | Formula = "all",
    max_states: int = 100_000,
    max_nodes: int = MAX_NODES,
    timeout_s: float | None = None,
) -> Machine:
    """The minimal machine of a formula's three verdicts over infinite words.

    After a finite word it says ``TRUE`` if every infinite continuation satisfies the formula,
    ``FALSE`` if none does, and ``INCONCLUSIVE`` otherwise.

    Parameters
    ----------
    formula : Formula or str
        Future and past operators, and windows of whole steps; predicates count as atoms. Weak and
        strong next are the same here.
    alphabet : sequence of str, optional
        Atoms in the order of bits; those of the formula by default.
    letters : {"all", "at_most_one", "exactly_one"} or Formula
        Which letters occur: all, those with so many true atoms, or those that satisfy a formula
        without temporal operators.
    max_states, max_nodes : int
        Limits of the machine and of the diagrams that it is made with.
    timeout_s : float, optional
        Limit of time, in seconds.

    Returns
    -------
    Machine
        Minimal and complete; its initial state is that of the empty word.

    Raises
    ------
    StateLimitError
        A limit is exceeded.
    UndecidedError
        The time is over.
    ArgumentValueError, ArgumentTypeError
        An argument cannot be used: a window that is not in whole steps, an atom that `alphabet`
        lacks, letters that allow none.

    Notes
    -----
    A state is a Boolean function of subformulas that are still to be satisfied, cut down to the
    combinations that some infinite word satisfies; one symbolic computation of fair paths gives
    these for all states. Time and memory can be doubly exponential in the size of the formula.
    Releases the GIL; thread-safe.

    Comparisons of one signal are independent atoms unless ``letters=consistent_letters(formula)``
    is given.

    Sources: Emerson and Lei, LICS 1986; Bauer, Leucker and Schallhart, "Runtime verification for
    LTL and TLTL", TOSEM 2011.

    Examples
    --------
    >>> from midstream.logic import ltl3_machine
    >>> ltl3_machine("a U b").n_states
    3
    >>> ltl3_machine("G F a").monitorable
    False
    """
    tableau, names = _tableau(formula, alphabet, letters, max_nodes, timeout_s)
    limit = check_int("max_states", max_states, low=1, high=2**31 - 2)
    return Machine(names, *tableau.machine(limit))


def monitorability(
    formula: Formula | str,
    *,
    alphabet: Sequence[str] | None = None,
    letters: str | Formula = "all",
    max_states: int = 100_000,
    max_nodes: int = MAX_NODES,
    timeout_s: float | None = None,
) -> str:
    """How much a monitor can say of a formula over infinite words.

    Parameters
    ----------
    formula, alphabet, letters, max_states, max_nodes, timeout_s
        As for `ltl3_machine`.

    Returns
    -------
    str
        The first that applies:

        ``"both"``
            every word is decided after finitely many letters;
        ``"safety"``
            every word that violates it has a prefix that no continuation mends;
        ``"cosafety"``
            every word that satisfies it has a prefix that no continuation spoils;
        ``"monitorable"``
            every prefix can be extended to one with a final verdict;
        ``"weakly monitorable"``
            some prefix has a final verdict, but others can never get one;
        ``"non-monitorable"``
            no prefix has a final verdict.

    Raises
    ------
    StateLimitError, UndecidedError, ArgumentValueError, ArgumentTypeError
        As `ltl3_machine`.

    Notes
    -----
    A word violates a safety formula iff the three-valued machine reaches false on it, so one search
    for a fair path beside the machine decides.

    Sources: Alpern and Schneider, "Recognizing safety and liveness", Distributed Computing 2
    (1987); Pnueli and Zaks, "PSL model checking and run-time verification via testers", FM 2006.

    Examples
    --------
    >>> from midstream.logic import monitorability
    >>> [monitorability(text) for text in ("G a", "F a", "X a", "a U b | G c", "G F a")]
    ['safety', 'cosafety', 'both', 'monitorable', 'non-monitorable']
    """
    tableau, names = _tableau(formula, alphabet, letters, max_nodes, timeout_s)
    arrays = tableau.machine(check_int("max_states", max_states, low=1, high=2**31 - 2))
    machine = Machine(names, *arrays)
    safety = not tableau.avoids(*arrays, int(Verdict.FALSE), False)
    cosafety = not tableau.avoids(*arrays, int(Verdict.TRUE), True)
    if safety or cosafety:
        return "both" if safety and cosafety else "safety" if safety else "cosafety"
    if machine.monitorable:
        return "monitorable"
    return "weakly monitorable" if machine.monitorable_initially else "non-monitorable"


def satisfiable_infinite(
    formula: Formula | str,
    *,
    alphabet: Sequence[str] | None = None,
    letters: str | Formula = "all",
    max_nodes: int = MAX_NODES,
    timeout_s: float | None = None,
) -> Lasso | None:
    """An infinite word that satisfies a formula at its first position, or None.

    Parameters
    ----------
    formula, alphabet, letters, max_nodes, timeout_s
        As for `ltl3_machine`.

    Returns
    -------
    Lasso or None
        Not the shortest one.

    Raises
    ------
    StateLimitError, UndecidedError, ArgumentValueError, ArgumentTypeError
        As `ltl3_machine`.

    Examples
    --------
    >>> from midstream.logic.infinite import satisfiable_infinite
    >>> word = satisfiable_infinite("a & G(a <-> X !a)")
    >>> [sorted(letter) for letter in word.loop], word.holds("G F !a")
    ([['a'], []], True)
    >>> satisfiable_infinite("G F a & F G !a") is None
    True
    """
    tableau, names = _tableau(formula, alphabet, letters, max_nodes, timeout_s)
    found = tableau.lasso()
    if found is None:
        return None
    rows, n_prefix = found
    word = tuple(
        frozenset(name for name, value in zip(names, row, strict=True) if value)
        for row in rows.tolist()
    )
    return Lasso(word[:n_prefix], word[n_prefix:])


def _tableau(
    formula: Formula | str,
    alphabet: Sequence[str] | None,
    letters: str | Formula,
    max_nodes: int,
    timeout_s: float | None,
) -> tuple[Tableau, tuple[str, ...]]:
    formula = as_formula(formula)
    names = as_alphabet(formula, alphabet)
    legal = legal_letters(letters, names)
    plain = unrolled(formula)
    roots = (plain,) if legal is None else (plain, legal)
    flat = flatten(*roots, alphabet=names)
    limit = check_int("max_nodes", max_nodes, low=1, high=2**30)
    seconds = as_timeout(timeout_s)
    if legal is not None:
        possible = Tableau(
            flat.ops, flat.left, flat.right, int(flat.roots[1]), -1, len(names), limit, seconds
        )
        if not possible.satisfiable():
            raise ArgumentValueError(f"letters must allow some letter, got {letters!r}")
    tableau = Tableau(
        flat.ops,
        flat.left,
        flat.right,
        int(flat.roots[0]),
        -1 if legal is None else int(flat.roots[1]),
        len(names),
        limit,
        seconds,
    )
    return tableau, names


def as_alphabet(formula: Formula, alphabet: Sequence[str] | None) -> tuple[str, ...]:
    """The alphabet, checked."""
    if alphabet is None:
        return formula.atoms
    if isinstance(alphabet, str) or not all(isinstance(name, str) for name in alphabet):
        raise ArgumentTypeError(f"alphabet must be a sequence of str, got {alphabet!r}")
    return tuple(alphabet)


def legal_letters(letters: str | Formula, alphabet: tuple[str, ...]) -> Formula | None:
    """What a letter must satisfy; None if it is nothing."""
    if isinstance(letters, Formula):
        if letters.has_past or letters.has_future:
            raise ArgumentValueError(f"letters must have no temporal operator, got {letters}")
        return letters
    if letters == "all":
        return None
    if letters not in ("at_most_one", "exactly_one"):
        raise ArgumentValueError(
            f"letters must be 'all', 'at_most_one', 'exactly_one' or a Formula, got {letters!r:.60}"
        )
    atoms = [atom(name) for name in alphabet]
    single = and_(
        *(or_(not_(first), and_(*map(not_, atoms[i + 1 :]))) for i, first in enumerate(atoms))
    )
    return single if letters == "at_most_one" else and_(single, or_(*atoms))


def unrolled(formula: Formula) -> Formula:
    """The formula with its windows of steps written out by next and yesterday."""
    if not formula.has_interval:
        return formula
    nodes = formula.nodes()
    # Before any is written out: each step becomes a variable of the tableau, which has a limit.
    windows = [node.interval for node in nodes if node.interval is not None]
    steps = sum(window.high if window.high != math.inf else window.low for window in windows)
    if steps > MAX_WINDOW:
        raise StateLimitError(
            f"windows of {steps:.0f} steps in all are too large to write out: at most {MAX_WINDOW}",
            limit=MAX_WINDOW,
        )
    done: dict[Formula, Formula] = {}
    for node in nodes:
        args = tuple(done[arg] for arg in node.args)
        if node.interval is not None:
            done[node] = _unrolled_window(node, args)
        elif node.args:
            done[node] = make(node.op, args)
        else:
            done[node] = node
    return done[formula]


#: Operator -> (its step, what joins the end with the rest, what joins left operand and step).
_STEPS = {
    Op.EVENTUALLY: (Op.STRONG_NEXT, Op.OR, Op.AND),
    Op.UNTIL: (Op.STRONG_NEXT, Op.OR, Op.AND),
    Op.ALWAYS: (Op.NEXT, Op.AND, Op.OR),
    Op.RELEASE: (Op.NEXT, Op.AND, Op.OR),
    Op.ONCE: (Op.YESTERDAY, Op.OR, Op.AND),
    Op.SINCE: (Op.YESTERDAY, Op.OR, Op.AND),
    Op.HISTORICALLY: (Op.WEAK_YESTERDAY, Op.AND, Op.OR),
    Op.TRIGGER: (Op.WEAK_YESTERDAY, Op.AND, Op.OR),
}


def _unrolled_window(node: Formula, args: tuple[Formula, ...]) -> Formula:
    """``f U[a:b] g``: g, or f and next so again, b - a times; then f and next, a times."""
    assert node.interval is not None
    low, high = node.interval
    if low != int(low) or (high != math.inf and high != int(high)):
        raise ArgumentValueError(
            f"windows must be whole steps here, not {tuple(node.interval)} of {node!r:.80}; "
            "for windows in time, see SignalMonitor"
        )
    step, end, hold = _STEPS[node.op]
    left = args[0] if len(args) == 2 else None
    inner = args[-1]
    found = inner if high != math.inf else make(node.op, args)

    def once_more(rest: Formula) -> Formula:
        moved = make(step, (rest,))
        return moved if left is None else make(hold, (left, moved))

    if high != math.inf:
        for _ in range(int(high) - int(low)):
            found = make(end, (inner, once_more(found)))
    for _ in range(int(low)):
        found = once_more(found)
    return found
