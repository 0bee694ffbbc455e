"""Minimal deterministic automata of formulas over finite traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real
from midstream.logic import _automaton
from midstream.logic._flat import flatten
from midstream.logic._letters import Trace, as_masks
from midstream.logic.formula import Formula, Predicate

__all__ = ["Automaton", "compile"]

_LETTERS = {"all": 0, "at_most_one": 1, "exactly_one": 2}


class Automaton:
    """The minimal complete deterministic automaton of a formula over non-empty finite traces.

    Made by `compile`. It accepts a trace iff the formula holds at the first position. The empty
    word is rejected, the initial state counts, and so does a dead state where there is one, so
    that `n_states` is the number of Myhill-Nerode classes. Transitions are one decision diagram
    that all states share: a letter costs a walk of at most one node an atom.

    Attributes
    ----------
    alphabet : tuple of str
        Atoms; bit i of a mask is ``alphabet[i]``, and variable i of the diagram.
    letters : str or Formula
        Which letters occur, as given to `compile`.
    n_states : int
    initial : int
        0.
    accepting : (n_states,) bool ndarray
    colours : (n_states,) uint8 ndarray
        `Verdict` of each state over all finite continuations, none included: TRUE where each is
        accepted, FALSE where none is, else PRESUMABLY_TRUE or PRESUMABLY_FALSE by acceptance.
    roots : (n_states,) int32 ndarray
        Reference of each state's transitions: a node r >= 0, or r < 0 for state ~r.
    nodes : (n_nodes, 3) int32 ndarray
        Rows (variable, low, high): the references where the variable is false and true. Children
        come before parents, variables increase along every path. Where `letters` are restricted,
        a letter that cannot occur leads to ~n_states.

    Notes
    -----
    Automata do not change; threads may share them.
    """

    __slots__ = (
        "accepting",
        "alphabet",
        "colours",
        "initial",
        "letters",
        "n_states",
        "nodes",
        "predicates",
        "roots",
    )

    alphabet: tuple[str, ...]
    predicates: tuple[Predicate | None, ...]
    letters: str | Formula
    n_states: int
    initial: int
    accepting: npt.NDArray[np.bool_]
    colours: npt.NDArray[np.uint8]
    roots: npt.NDArray[np.int32]
    nodes: npt.NDArray[np.int32]

    def __init__(self) -> None:
        raise ArgumentTypeError("Automaton() cannot be called: use compile(formula)")

    def accepts(self, trace: Trace, *, missing: str = "false") -> bool:
        """Whether a finite trace is accepted.

        Parameters
        ----------
        trace : sequence of letters, array of bit masks, or mapping of atom to bool array
            As for `Formula.holds`.
        missing : {"false", "error"}
            What an atom counts as that a mapping lacks.

        Returns
        -------
        bool
            False for the empty trace, and for one with a letter that `letters` rules out.

        Examples
        --------
        >>> from midstream.logic import compile, parse
        >>> automaton = compile(parse("a U b"))
        >>> automaton.accepts([{"a"}, {"b"}]), automaton.accepts([{"a"}]), automaton.accepts([])
        (True, False, False)
        """
        masks = as_masks(trace, self.alphabet, self.predicates, missing=missing)
        if len(masks) == 0:
            return False
        if masks.ndim == 1:
            masks = masks[:, np.newaxis]
        last = int(_automaton.walk(self.roots, self.nodes, 0, np.ascontiguousarray(masks))[-1])
        return last < self.n_states and bool(self.accepting[last])

    def step(self, state: int, mask: int) -> int:
        """The state after a letter.

        Parameters
        ----------
        state : int
        mask : int
            Bit i is ``alphabet[i]``.

        Returns
        -------
        int
            n_states for a letter that cannot occur.
        """
        state = check_int("state", state, low=0, high=self.n_states - 1)
        mask = check_int("mask", mask, low=0, high=(1 << len(self.alphabet)) - 1)
        ref = int(self.roots[state])
        while ref >= 0:
            ref = int(self.nodes[ref, 1 + (mask >> int(self.nodes[ref, 0]) & 1)])
        return ~ref

    def table(self, max_atoms: int = 12) -> npt.NDArray[np.int32]:
        """All transitions as an array.

        Parameters
        ----------
        max_atoms : int
            Larger alphabets are refused: there is a column for every letter.

        Returns
        -------
        (n_states, 2**n_atoms) int32 ndarray
            The state after each letter, by bit mask; n_states for one that cannot occur.

        Raises
        ------
        ArgumentValueError
            The alphabet is larger than `max_atoms`.
        """
        max_atoms = check_int("max_atoms", max_atoms, low=0, high=30)
        if len(self.alphabet) > max_atoms:
            raise ArgumentValueError(
                f"max_atoms must be at least {len(self.alphabet)}, the size of the alphabet, "
                f"got {max_atoms}"
            )
        return _automaton.table(self.roots, self.nodes, len(self.alphabet))

    def __repr__(self) -> str:
        return (
            f"<Automaton of {self.n_states} states, {int(self.accepting.sum())} accepting, "
            f"over {len(self.alphabet)} atoms>"
        )


def _make(
    alphabet: tuple[str, ...],
    predicates: tuple[Predicate | None, ...],
    letters: str | Formula,
    arrays: _automaton.Arrays,
) -> Automaton:
    automaton = Automaton.__new__(Automaton)
    automaton.alphabet = alphabet
    automaton.predicates = predicates
    automaton.letters = letters
    automaton.initial = 0
    automaton.roots, automaton.accepting, automaton.nodes, automaton.colours = arrays
    automaton.n_states = len(automaton.roots)
    return automaton


def compile(
    formula: Formula,
    *,
    alphabet: Sequence[str] | None = None,
    letters: str | Formula = "all",
    max_states: int = 100_000,
    timeout_s: float | None = None,
) -> Automaton:
    """Compile a formula to its minimal automaton over non-empty finite traces.

    Parameters
    ----------
    formula : Formula
        Any operators: future, past, and both within each other; windows count steps; predicates
        are atoms.
    alphabet : sequence of str, optional
        Atoms, all that occur and perhaps more, in the order of the decision diagram's variables.
        Default: in the order of their first occurrence.
    letters : {"all", "at_most_one", "exactly_one"} or Formula
        Which letters occur: those with any, at most one, or exactly one true atom of the
        alphabet; or those that satisfy a Boolean formula. Over fewer letters fewer states differ.
    max_states : int
        Bound on the states of any automaton on the way.
    timeout_s : float, optional
        Bound on time, in seconds.

    Returns
    -------
    Automaton

    Raises
    ------
    StateLimitError
        More than `max_states` states, or decision diagrams of more than 8 million nodes (some
        hundreds of megabytes).
    UndecidedError
        Not done within `timeout_s`.
    ArgumentValueError
        `alphabet` lacks an atom; `letters` is never true, or has a temporal operator.

    Notes
    -----
    Progression on decision diagrams: a state is a Boolean function of what the next position owes
    [1]_; states are then merged by partition refinement on the shared diagram [2]_. A future
    formula within a past operator is guessed by a hidden atom, which is then projected away. The
    worst case is doubly exponential in the size of the formula. Some tens of microseconds for
    common patterns; the GIL is released, and Ctrl-C is answered.

    References
    ----------
    .. [1] S. Duret-Lutz et al., "Translation of LTLf to MTDFA", arXiv 2507.02491.
    .. [2] N. Klarlund, A. Moller, M. Schwartzbach, "MONA implementation secrets", 2002.

    Examples
    --------
    >>> from midstream.logic import compile, parse
    >>> automaton = compile(parse("G(request -> F answer)"))
    >>> automaton.n_states, automaton.accepts([{"request"}, {"answer"}])
    (3, True)
    """
    if not isinstance(formula, Formula):
        raise ArgumentTypeError(f"formula must be a Formula, not {type(formula).__name__}")
    max_states = check_int("max_states", max_states, low=1, high=1 << 24)
    if timeout_s is not None:
        timeout_s = check_real("timeout_s", timeout_s, low=0, high=1e9)
    names = None if alphabet is None else tuple(alphabet)
    if isinstance(letters, Formula):
        if letters.has_past or letters.has_future:
            raise ArgumentValueError(f"letters must have no temporal operator, got {letters!r:.80}")
        flat = flatten(formula, letters, alphabet=names)
        mode, legal = 0, int(flat.roots[1])
    else:
        mode, legal = _LETTERS[check_choice("letters", letters, _LETTERS)], -1
        flat = flatten(formula, alphabet=names)
    arrays = _automaton.compiled(
        flat.ops,
        flat.left,
        flat.right,
        flat.low,
        flat.high,
        len(flat.atoms),
        int(flat.roots[0]),
        mode,
        legal,
        max_states,
        timeout_s,
    )
    return _make(flat.atoms, flat.predicates, letters, arrays)
