"""Minimal deterministic automata of formulas over finite traces."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, StateLimitError
from midstream._core.validate import check_choice, check_int
from midstream.logic import _automaton
from midstream.logic._checks import as_formula, as_timeout
from midstream.logic._guards import MAX_TERMS, Guards
from midstream.logic._letters import Trace, as_masks
from midstream.logic.formula import Formula, Predicate, quoted
from midstream.logic.verdict import Verdict

__all__ = ["Automaton", "Edge", "compile"]

_LETTERS = {"all": 0, "at_most_one": 1, "exactly_one": 2}
#: States of a larger automaton are counted in notebooks, not listed.
_SHOWN_STATES = 24
#: Nor are more nodes, terms of guards and letters of names: a notebook shows what it is not asked
#: to, so that it must be short and take some milliseconds.
_SHOWN_NODES = 1000
_SHOWN_TERMS = 300
_SHOWN_STEPS = 5000
_SHOWN_NAMES = 2000
#: Verdicts take a pass over the nodes.
_COUNTED_NODES = 100_000
_DEFAULT_STATES = 100_000
#: Windows of so many steps are named where an automaton is too large.
_WIDE = 100
_FILL = {
    Verdict.FALSE: "#f4c7c3",
    Verdict.PRESUMABLY_FALSE: "#fdf0d5",
    Verdict.PRESUMABLY_TRUE: "#e3f0e1",
    Verdict.TRUE: "#b7dfb5",
}


class Edge(NamedTuple):
    """All letters that lead from one state to another."""

    source: int
    #: A Boolean formula as `parse` reads it: an irredundant sum of products, or what is shorter
    #: than one of more than 32.
    guard: str
    target: int


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
        "__weakref__",
        "_accepting",
        "_colours",
        "_kernel",
        "_nodes",
        "_roots",
        "alphabet",
        "letters",
        "predicates",
    )

    alphabet: tuple[str, ...]
    #: By the index of `alphabet`: what an atom compares, where it is a predicate.
    predicates: tuple[Predicate | None, ...]
    letters: str | Formula
    _kernel: _automaton.Kernel
    #: Made when they are first asked for.
    _accepting: npt.NDArray[np.bool_] | None
    _colours: npt.NDArray[np.uint8] | None
    _roots: npt.NDArray[np.int32] | None
    _nodes: npt.NDArray[np.int32] | None

    def __init__(self) -> None:
        raise ArgumentTypeError("Automaton() cannot be called: use compile(formula)")

    @property
    def n_states(self) -> int:
        """States, the initial one and a dead one included."""
        return self._kernel.n_states

    @property
    def initial(self) -> int:
        """The state before the first letter: 0."""
        return 0

    @property
    def accepting(self) -> npt.NDArray[np.bool_]:
        """Whether a trace may end in each state."""
        if self._accepting is None:
            self._accepting = self._kernel.accepting()
        return self._accepting

    @property
    def colours(self) -> npt.NDArray[np.uint8]:
        """`Verdict` of each state."""
        if self._colours is None:
            self._colours = self._kernel.colours()
        return self._colours

    @property
    def roots(self) -> npt.NDArray[np.int32]:
        """Reference of each state's transitions."""
        if self._roots is None:
            self._roots = self._kernel.roots()
        return self._roots

    @property
    def nodes(self) -> npt.NDArray[np.int32]:
        """Rows (variable, low, high) of the diagram."""
        if self._nodes is None:
            self._nodes = self._kernel.nodes()
        return self._nodes

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
        last = int(self._kernel.walk(0, np.ascontiguousarray(masks))[-1])
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
        return self._kernel.step(state, mask)

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
        return self._kernel.table(len(self.alphabet))

    def run(self, trace: Trace, *, missing: str = "false") -> npt.NDArray[np.int32]:
        """The state after each letter of a trace.

        Parameters
        ----------
        trace, missing
            As for `accepts`.

        Returns
        -------
        (n,) int32 ndarray
            n_states from the first letter on that cannot occur.
        """
        masks = as_masks(trace, self.alphabet, self.predicates, missing=missing)
        if masks.ndim == 1:
            masks = masks[:, np.newaxis]
        return self._kernel.walk(0, np.ascontiguousarray(masks))

    @property
    def n_nodes(self) -> int:
        """Nodes of the decision diagram."""
        return self._kernel.n_nodes

    @property
    def n_states_transition(self) -> int:
        """States of the minimal automaton whose acceptance sits on transitions, as Spot counts."""
        return len(np.unique(self.roots))

    def is_empty(self) -> bool:
        """Whether no trace is accepted."""
        return not self.accepting.any()

    def is_universal(self) -> bool:
        """Whether every non-empty trace is accepted, of letters that may occur."""
        return self.shortest(accepted=False) is None

    def shortest(self, *, accepted: bool = True) -> list[frozenset[str]] | None:
        """A shortest non-empty trace that is accepted, or one that is rejected.

        Parameters
        ----------
        accepted : bool

        Returns
        -------
        list of frozenset of str, or None
            The true atoms of each letter; None where there is no such trace. Time is linear in
            states and nodes.

        Examples
        --------
        >>> from midstream.logic import compile, parse
        >>> automaton = compile(parse("a & X[!] b"))
        >>> [sorted(letter) for letter in automaton.shortest()]
        [['a'], ['b']]
        """
        masks = self._kernel.shortest(bool(accepted))
        if masks is None:
            return None
        return [
            frozenset(name for bit, name in enumerate(self.alphabet) if mask >> bit & 1)
            for mask in masks
        ]

    def equivalent(self, other: Automaton) -> bool:
        """Whether both accept the same traces; atoms that only one has do not matter to it.

        Parameters
        ----------
        other : Automaton
            Over the same letters.

        Returns
        -------
        bool

        Raises
        ------
        ArgumentValueError
            `letters` differ.
        StateLimitError
            The automaton of the difference is too large.
        """
        if self.alphabet == other.alphabet and self.letters == other.letters:
            # Minimal automata are numbered in one way.
            return all(
                np.array_equal(mine, others)
                for mine, others in zip(self._arrays(), other._arrays(), strict=True)
            )
        return self._combined(other, 0b0110, "equivalent").is_empty()

    def __and__(self, other: object) -> Automaton:
        """Traces that both accept."""
        if not isinstance(other, Automaton):
            return NotImplemented
        return self._combined(other, 0b1000, "&")

    def __or__(self, other: object) -> Automaton:
        """Traces that one of both accepts."""
        if not isinstance(other, Automaton):
            return NotImplemented
        return self._combined(other, 0b1110, "|")

    def __xor__(self, other: object) -> Automaton:
        """Traces that exactly one of both accepts."""
        if not isinstance(other, Automaton):
            return NotImplemented
        return self._combined(other, 0b0110, "^")

    def __invert__(self) -> Automaton:
        """Non-empty traces that are not accepted."""
        return self._combined(self, 0b0001, "~")

    def _combined(self, other: Automaton, table: int, what: str) -> Automaton:
        """The minimal product; `table` as for the kernel."""
        if self.letters != other.letters or (
            self.letters in ("at_most_one", "exactly_one") and self.alphabet != other.alphabet
        ):
            raise ArgumentValueError(
                f"{what} wants automata over the same letters, got {self.letters!r} of "
                f"{len(self.alphabet)} atoms and {other.letters!r} of {len(other.alphabet)}"
            )
        alphabet = tuple(dict.fromkeys(self.alphabet + other.alphabet))
        place = {name: index for index, name in enumerate(alphabet)}
        comparisons = dict(zip(other.alphabet, other.predicates, strict=True))
        comparisons.update(zip(self.alphabet, self.predicates, strict=True))
        kernel = _automaton.product(
            self._kernel,
            other._kernel,
            np.array([place[name] for name in self.alphabet], dtype=np.int32),
            np.array([place[name] for name in other.alphabet], dtype=np.int32),
            table,
            max(_DEFAULT_STATES, self.n_states, other.n_states),
            None,
        )
        return _make(alphabet, tuple(comparisons[name] for name in alphabet), self.letters, kernel)

    def _arrays(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[Any]]:
        return self.roots, self.accepting, self.nodes

    def edges(self, *, max_terms: int = MAX_TERMS) -> list[Edge]:
        """All transitions with their guards in words.

        Parameters
        ----------
        max_terms : int
            Bound on the length of all guards together: products of literals, or literals in a
            guard that is no sum of products. Time and memory are bounded by it too, to some
            seconds and hundreds of megabytes by default.

        Returns
        -------
        list of Edge
            By source. Where `letters` are restricted, guards are short: letters that cannot occur
            may satisfy any of them.

        Raises
        ------
        StateLimitError
            More than `max_terms`, or more than 200 atoms.

        Notes
        -----
        A guard of more than 32 products is written as a negated sum of products, or with
        ``xor`` and nested, where that is shorter: the exclusive or of 60 atoms has 2**59 products.

        Examples
        --------
        >>> from midstream.logic import compile, parse
        >>> for edge in compile(parse("F (a | b)")).edges():
        ...     print(*edge)
        0 !a & !b 0
        0 a | b 1
        1 true 1
        """
        return self._edges(check_int("max_terms", max_terms, low=1), None)

    def _edges(self, max_terms: int, steps: int | None) -> list[Edge]:
        names = [
            quoted(name) if comparison is None else f"({comparison})"
            for name, comparison in zip(self.alphabet, self.predicates, strict=True)
        ]
        guards = Guards(self.roots, self.nodes, exact=False, max_terms=max_terms, steps=steps)
        return [Edge(source, guards.text(span, names), target) for source, target, span in guards]

    def to_dot(self, *, max_terms: int = MAX_TERMS) -> str:
        """A drawing for Graphviz.

        Parameters
        ----------
        max_terms : int
            As for `edges`.

        Returns
        -------
        str
            DOT: accepting states have two circles; colours are verdicts, red for states from which
            nothing is accepted, green for those from which everything is.

        Raises
        ------
        StateLimitError
            More than `max_terms`, or more than 200 atoms.

        Examples
        --------
        >>> from midstream.logic import compile, parse
        >>> print(compile(parse("F a")).to_dot())
        digraph automaton {
          rankdir=LR;
          node [shape=circle, style=filled];
          start [shape=point];
          start -> 0;
          0 [fillcolor="#fdf0d5"];
          1 [fillcolor="#b7dfb5", shape=doublecircle];
          0 -> 0 [label="!a"];
          0 -> 1 [label="a"];
          1 -> 1 [label="true"];
        }
        """
        edges = self.edges(max_terms=max_terms)
        lines = [
            "digraph automaton {",
            "  rankdir=LR;",
            "  node [shape=circle, style=filled];",
            "  start [shape=point];",
            "  start -> 0;",
        ]
        for state in range(self.n_states):
            shape = ", shape=doublecircle" if self.accepting[state] else ""
            fill = _FILL[Verdict(int(self.colours[state]))]
            lines.append(f'  {state} [fillcolor="{fill}"{shape}];')
        for source, guard, target in edges:
            label = guard.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'  {source} -> {target} [label="{label}"];')
        return "\n".join([*lines, "}"])

    def to_hoa(self, name: str | None = None, *, max_terms: int = MAX_TERMS) -> str:
        """The automaton in the Hanoi Omega-Automata format, version 1.

        Parameters
        ----------
        name : str, optional
            Its title.
        max_terms : int
            As for `edges`. Labels longer than 32 products may refer to aliases, one for each node
            of a decision diagram, so that they are never much longer than the automaton.

        Returns
        -------
        str
            The format knows infinite words alone. As Spot's ``to_finite`` writes them, this is a
            Buechi automaton whose accepting states are those where a finite trace may end.
            Labels are exact, so that it is deterministic; letters that cannot occur have no edge.

        Raises
        ------
        StateLimitError
            More than `max_terms`, or more than 200 atoms.

        References
        ----------
        .. [1] T. Babiak et al., "The Hanoi Omega-Automata format", CAV 2015.
        """

        def text(string: str) -> str:
            return '"' + string.replace("\\", "\\\\").replace('"', '\\"') + '"'

        max_terms = check_int("max_terms", max_terms, low=1)
        guards = Guards(self.roots, self.nodes, exact=True, max_terms=max_terms)
        numbers = [str(var) for var in range(len(self.alphabet))]
        body: list[str] = []
        before = -1
        for source, target, span in guards:
            while before < source:
                before += 1
                body.append(f"State: {before}" + (" {0}" if self.accepting[before] else ""))
            body.append(f"[{guards.label(span, numbers)}] {target}")
        complete = " complete" if self.letters == "all" else ""
        lines = [
            "HOA: v1",
            *([] if name is None else [f"name: {text(name)}"]),
            f"States: {self.n_states}",
            "Start: 0",
            " ".join(["AP:", str(len(self.alphabet)), *map(text, self.alphabet)]),
            "acc-name: Buchi",
            "Acceptance: 1 Inf(0)",
            f"properties: trans-labels explicit-labels state-acc deterministic{complete}",
            *guards.aliases,
            "--BODY--",
            *body,
        ]
        return "\n".join([*lines, "--END--"]) + "\n"

    def _repr_html_(self) -> str:
        title = f"<b>automaton</b> of {self.n_states} states over {len(self.alphabet)} atoms"
        if (
            max(self.n_states, len(self.alphabet)) > _SHOWN_STATES
            or self.n_nodes > _SHOWN_NODES
            or sum(map(len, self.alphabet)) > _SHOWN_NAMES
        ):
            return self._summary(title)
        try:
            edges = self._edges(_SHOWN_TERMS, _SHOWN_STEPS)
        except StateLimitError:
            return self._summary(title)
        rows: list[list[str]] = [[] for _ in range(self.n_states)]
        for source, guard, target in edges:
            rows[source].append(f"<code>{html.escape(guard)}</code> &rarr; {target}")
        body = "".join(
            f'<tr style="background:{_FILL[Verdict(int(self.colours[state]))]};color:black">'
            f"<td>{state}</td><td>{'yes' if self.accepting[state] else 'no'}</td>"
            f"<td>{Verdict(int(self.colours[state]))}</td>"
            f'<td style="text-align:left">{"<br>".join(rows[state])}</td></tr>'
            for state in range(self.n_states)
        )
        head = "<tr><th>state</th><th>accepts</th><th>verdict</th><th>letters</th></tr>"
        return f"{title}<table>{head}{body}</table>"

    def _summary(self, title: str) -> str:
        """What a notebook shows of an automaton that is too large for a table."""
        if self.n_nodes > _COUNTED_NODES:
            return title
        counts = np.bincount(self.colours, minlength=len(Verdict))
        verdicts = ", ".join(f"{counts[int(v)]} {v}" for v in Verdict if counts[int(v)])
        return f"{title}, {int(self.accepting.sum())} of them accepting; by verdict: {verdicts}"

    def __repr__(self) -> str:
        return (
            f"<Automaton of {self.n_states} states, {int(self.accepting.sum())} accepting, "
            f"over {len(self.alphabet)} atoms>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.alphabet, self.predicates, self.letters, *self._arrays())


def _make(
    alphabet: tuple[str, ...],
    predicates: tuple[Predicate | None, ...],
    letters: str | Formula,
    kernel: _automaton.Kernel,
) -> Automaton:
    automaton = Automaton.__new__(Automaton)
    automaton.alphabet = alphabet
    automaton.predicates = predicates
    automaton.letters = letters
    automaton._kernel = kernel
    automaton._accepting = automaton._colours = automaton._roots = automaton._nodes = None
    return automaton


def _restore(
    alphabet: tuple[str, ...],
    predicates: tuple[Predicate | None, ...],
    letters: str | Formula,
    roots: npt.NDArray[np.int32],
    accepting: npt.NDArray[np.bool_],
    nodes: npt.NDArray[np.int32],
) -> Automaton:
    """Undo `Automaton.__reduce__`."""
    kernel = _automaton.restored(roots, accepting.view(np.uint8), nodes, len(alphabet))
    return _make(alphabet, predicates, letters, kernel)


def compile(
    formula: Formula | str,
    *,
    alphabet: Sequence[str] | None = None,
    letters: str | Formula = "all",
    max_states: int = _DEFAULT_STATES,
    timeout_s: float | None = None,
) -> Automaton:
    """Compile a formula to its minimal automaton over non-empty finite traces.

    Parameters
    ----------
    formula : Formula or str
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
        Bound on time, in seconds. Without it the work is bounded, to some ten seconds.

    Returns
    -------
    Automaton

    Raises
    ------
    StateLimitError
        More than `max_states` states, or decision diagrams of more than 4 million nodes (some
        hundreds of megabytes; fewer where `max_states` is below 4000).
    UndecidedError
        Not done within `timeout_s`, or without it after 67 million steps.
    ArgumentValueError
        `alphabet` lacks an atom; `letters` is never true, or has a temporal operator.

    Notes
    -----
    Progression on decision diagrams: a state is a Boolean function of what the next position owes
    [1]_; states are then merged by partition refinement on the shared diagram [2]_. A future
    formula within a past operator is guessed by a hidden atom, which is then projected away. The
    worst case is doubly exponential in the size of the formula. Some microseconds for
    common patterns; the GIL is released, and Ctrl-C is answered.

    Comparisons of one signal are independent atoms, ``x > 5`` without ``x > 3`` a letter as well,
    unless ``letters=consistent_letters(formula)`` is given.

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
    formula = as_formula(formula)
    max_states = check_int("max_states", max_states, low=1, high=1 << 24)
    timeout_s = as_timeout(timeout_s)
    names = None if alphabet is None else tuple(alphabet)
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentValueError(f"alphabet must name each atom once, not {twice!r} again")
    legal = None
    if isinstance(letters, Formula):
        if letters.has_past or letters.has_future:
            raise ArgumentValueError(f"letters must have no temporal operator, got {letters!r:.80}")
        mode, legal = 0, letters
    else:
        mode = _LETTERS[check_choice("letters", letters, _LETTERS)]
    try:
        kernel, names, predicates = _automaton.compiled(
            formula, legal, names, mode, max_states, timeout_s
        )
    except StateLimitError as error:
        widest = _widest_window(formula)
        if widest < _WIDE:
            raise
        raise StateLimitError(
            f"{error}: windows are written out step by step, and one has {widest:.0f} steps",
            limit=error.limit,
        ) from None
    return _make(names, predicates, letters, kernel)


def _widest_window(formula: Formula) -> float:
    """Steps up to the last bound of any window, 0 where there is none."""
    windows = [node.interval for node in formula.nodes() if node.interval is not None]
    return max((w.low if w.high == math.inf else w.high for w in windows), default=0)
