"""Decide formulas: satisfiable, valid, equivalent; with traces that prove it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    StateLimitError,
    UndecidedError,
)
from midstream._core.validate import check_choice, check_int
from midstream.logic._checks import as_formula, as_timeout
from midstream.logic._letters import Trace, as_columns
from midstream.logic._order import consistent
from midstream.logic._sat import Reach, Unroll
from midstream.logic._tableau import Tableau
from midstream.logic.formula import Formula, Predicate, and_, not_, xor
from midstream.logic.traces import (
    Counterexample,
    Lasso,
    Step,
    Witness,
    find_causes,
    leaf_columns,
    truth_on_lasso,
    truth_on_trace,
)
from midstream.logic.verdict import Verdict

__all__ = [
    "consistent_letters",
    "counterexample",
    "distinguishing",
    "entails",
    "equivalent",
    "satisfiable",
    "valid",
    "witness",
]

#: Work of the solver between two looks at the clock: some tens of milliseconds.
SLICE = 1_000_000
#: Work that goes into a shorter trace than the first one that was found.
SHORTEN = 20 * SLICE
#: Unrolled clauses, at most: some hundred megabytes. Longer traces are left to the frames.
UNROLLED = 4_000_000
#: States of an automaton that reads a trace too long to unroll, at most.
AUTOMATON_STATES = 20_000
#: States of an automaton that is tried before the solver, and the time for it, at most: common
#: formulas have a few, in well under a millisecond.
FEW_STATES = 1_000
FEW_SECONDS = 0.5
#: In place of the verdict of a state that the automaton does not have.
UNKNOWN = 255
#: First share of work of each of the two searches for infinite words; it doubles.
FIRST_SHARE = 40_000


class _Clock:
    def __init__(self, timeout_s: float | None, what: str) -> None:
        self.what = what
        self.timeout_s = timeout_s
        self.start()

    def start(self) -> None:
        timeout_s = self.timeout_s
        self.stop = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def over(self) -> bool:
        return self.stop is not None and time.monotonic() >= self.stop

    @property
    def left(self) -> float | None:
        """Seconds; None: as many as it takes."""
        return None if self.stop is None else max(self.stop - time.monotonic(), 0.0)

    def check(self) -> None:
        if self.over:
            raise UndecidedError(f"{self.what} was not decided within {self.timeout_s:g} s")


class _Question:
    """A formula with all that was said about how to decide it."""

    def __init__(
        self,
        formula: Formula | str,
        *,
        semantics: str,
        letters: str | Formula,
        alphabet: Sequence[str] | None,
        timeout_s: float | None,
        max_nodes: int,
    ) -> None:
        timeout_s = as_timeout(timeout_s)
        # Reading the text and all other preparation count.
        self.clock = _Clock(timeout_s, "the formula")
        self.formula = as_formula(formula)
        self.infinite = check_choice("semantics", semantics, ("ltlf", "ltl")) == "ltl"
        self.limit = check_int("max_nodes", max_nodes, low=16, high=10_000_000)
        if not isinstance(letters, Formula):
            check_choice("letters", letters, ("all", "at_most_one", "exactly_one"))
        self.letters = letters
        self.alphabet = _alphabet(self.formula, letters, alphabet)

    def tableau(self, rounds: int = 0) -> Tableau:
        self.clock.check()
        return Tableau(
            self.formula,
            infinite=self.infinite,
            letters=self.letters,
            alphabet=self.alphabet,
            limit=self.limit,
            check=self.clock.check,
            rounds=rounds,
        )

    def answer(self, shortest: bool) -> Witness | Lasso | None:
        found = self.lasso(shortest) if self.infinite else self.trace(shortest)
        if found is None:
            return None
        if isinstance(found, Lasso):
            # With past operators the states of the first round may differ from later ones', so that
            # the shortest lasso of states need not be the shortest of letters.
            minimal = found.minimal and not self.formula.has_past
            found = Lasso(*_shortest_form(found.prefix, found.loop), minimal)
            holds = truth_on_lasso(self.formula, found.prefix, found.loop)[self.formula] & 1
        else:
            leaves, n = leaf_columns(self.formula, _known(found, self.formula))
            holds = truth_on_trace(self.formula, leaves, n)[self.formula] & 1
        if not holds:
            raise UndecidedError("the trace that was found does not satisfy the formula: a defect")
        return found

    # Finite traces.

    def trace(self, shortest: bool) -> Witness | None:
        tableau = self.tableau()
        reach = Reach(tableau.system)
        reach.start(tableau.start)
        while (answer := reach.run(SLICE)) is None:
            self.clock.check()
        if not answer:
            return None
        letters, _ = reach.path()
        minimal = len(letters) <= reach.bound + 1
        if shortest and not minimal:
            letters, minimal = self.shorter(tableau, letters, reach.bound)
        return Witness(map(tableau.letter, letters), minimal)

    def shorter(self, tableau: Tableau, letters: list[int], refuted: int) -> tuple[list[int], bool]:
        """The shortest trace, by asking for each length; and whether there was time for all."""
        unroll = Unroll(tableau.system, tableau.start, False, [], [])
        for n in range(refuted + 1, len(letters)):
            if n * tableau.system.n_clauses > UNROLLED:
                return letters, False
            while (answer := unroll.end(n, SLICE)) is None:
                if unroll.ticks > SHORTEN or self.clock.over:
                    return letters, False
            if answer:
                return unroll.letters(n), True
            if unroll.ticks > SHORTEN or self.clock.over:
                return letters, False
        return letters, True

    # Infinite words.

    def lasso(self, shortest: bool) -> Lasso | None:
        """Two searches in turn: lassos of growing length, and a bound on rounds of fairness."""
        search = _Rounds(self)
        tableau = search.tableau
        unroll = Unroll(tableau.system, tableau.start, True, tableau.fair, tableau.met)
        n, skipped, share = 1, False, FIRST_SHARE
        found: Lasso | None = None
        while True:
            stop = unroll.ticks + share // 4
            while (left := stop - unroll.ticks) > 0 and n * tableau.system.n_clauses < UNROLLED:
                answer = unroll.end(n, left)
                if answer is None:
                    break
                if answer:
                    start = unroll.loop(n)
                    letters = list(map(tableau.letter, unroll.letters(n)))
                    return Lasso(tuple(letters[:start]), tuple(letters[start:]), not skipped)
                if unroll.hopeless:
                    return None
                if found is not None and n + 1 >= len(found.prefix) + len(found.loop):
                    return Lasso(found.prefix, found.loop, not skipped)
                # Every lasso can be written with one step more, so that lengths may be left out.
                step = 1 if n < 32 or shortest else n // 8
                skipped |= step > 1
                n += step
            if found is None:
                answer, found = search.run(share)
                if answer is False:
                    return None
            if found is not None and (
                not shortest
                or unroll.ticks > SHORTEN
                or n * tableau.system.n_clauses >= UNROLLED
                or self.clock.over
            ):
                return found
            self.clock.check()
            share *= 2


class _Rounds:
    """Searches for words on which all eventualities are met once, twice, three times, ..."""

    def __init__(self, question: _Question) -> None:
        self.question = question
        self.count = 0
        self.rounds = 4
        self._make()

    def _make(self) -> None:
        self.tableau = self.question.tableau(self.rounds)
        self.reach = Reach(self.tableau.system)
        self._start()

    def _start(self) -> None:
        self.reach.start([*self.tableau.start, self.tableau.round_burdens[self.count]])

    def run(self, ticks: int) -> tuple[bool | None, Lasso | None]:
        """False where no word has so many rounds; a lasso that shows up on the way; else None."""
        stop = self.reach.ticks + ticks
        while (left := stop - self.reach.ticks) > 0:
            answer = self.reach.run(min(left, SLICE))
            if answer is None:
                if self.question.clock.over:
                    break
                continue
            if not answer:
                return False, None
            lasso = self._find_loop()
            if lasso is not None:
                return True, lasso
            self.count += 1
            if self.count == self.rounds:
                self.rounds *= 4
                self._make()
                return None, None
            self._start()
        return None, None

    def _find_loop(self) -> Lasso | None:
        """Two states of the path such that the later asks for no more, and all was met between."""
        tableau = self.tableau
        letters, states = self.reach.path()
        fair = 0
        for burden in tableau.fair:
            fair |= 1 << burden
        states = [state & ~tableau.counting for state in states]
        for first, state in enumerate(states):
            unmet = fair
            for last in range(first + 1, len(states)):
                unmet &= states[last]
                if unmet == 0 and not states[last] & ~state:
                    word = list(map(tableau.letter, letters[:last]))
                    return Lasso(tuple(word[:first]), tuple(word[first:]))
        return None


def _alphabet(
    formula: Formula, letters: str | Formula, alphabet: Sequence[str] | None
) -> tuple[str, ...]:
    """Plain atoms: those of the alphabet first."""
    occurring: dict[str, None] = {}
    for f in [formula, letters]:
        if isinstance(f, Formula):
            compared = {str(node.predicate) for node in f.nodes() if node.predicate is not None}
            occurring.update((name, None) for name in f.atoms if name not in compared)
    if alphabet is None:
        return tuple(occurring)
    if isinstance(alphabet, str):
        raise ArgumentTypeError(f"alphabet must be a sequence of atoms, not {alphabet!r}")
    names = tuple(alphabet)
    for name in names:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"alphabet must be a sequence of str, got {name!r}")
    if len(set(names)) != len(names):
        raise ArgumentValueError("alphabet must name each atom once")
    for name in occurring:
        if name not in names:
            raise ArgumentValueError(f"alphabet must have every atom, but lacks {name!r}")
    return names


def _shortest_form(
    prefix: tuple[Step, ...], loop: tuple[Step, ...]
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The same infinite word with the shortest loop and then the shortest prefix."""
    # The border function of Knuth, Morris and Pratt gives the shortest period.
    border = [0] * len(loop)
    for i in range(1, len(loop)):
        k = border[i - 1]
        while k and loop[i] != loop[k]:
            k = border[k - 1]
        border[i] = k + (loop[i] == loop[k])
    period = len(loop) - border[-1]
    if len(loop) % period == 0:
        loop = loop[:period]
    turned = 0
    while turned < len(prefix) and prefix[-1 - turned] == loop[-1 - turned % len(loop)]:
        turned += 1
    first = -turned % len(loop)
    return prefix[: len(prefix) - turned], loop[first:] + loop[:first]


def _known(letters: Sequence[Step], formula: Formula) -> list[Step]:
    """Letters without atoms that the formula does not have."""
    names = frozenset(formula.atoms)
    return [letter if isinstance(letter, dict) else letter & names for letter in letters]


def satisfiable(
    formula: Formula | str,
    *,
    semantics: str = "ltlf",
    letters: str | Formula = "all",
    alphabet: Sequence[str] | None = None,
    timeout_s: float | None = None,
    max_nodes: int = 200_000,
) -> bool:
    """Whether some trace satisfies a formula.

    Parameters
    ----------
    formula : Formula or str
        Any operators, past ones and windows of steps included.
    semantics : {"ltlf", "ltl"}
        Finite traces that are not empty, or infinite words.
    letters : {"all", "at_most_one", "exactly_one"} or Formula
        What a letter may be: any set of atoms, with at most or exactly one plain atom of the
        alphabet, or one that satisfies a formula without temporal operators.
    alphabet : sequence of str, optional
        Plain atoms, a superset of those that occur: matters where `letters` counts them.
    timeout_s : float, optional
        Give up after about so many seconds, preparation included; but text is read to its end.
        Without it the search ends when it has the answer.
    max_nodes : int
        Subformulas in negation normal form, windows written out, at most.

    Returns
    -------
    bool

    Raises
    ------
    UndecidedError
        Not decided in time: the answer is unknown.
    StateLimitError
        Windows are so long that there are more than `max_nodes` nodes.
    ArgumentTypeError, ArgumentValueError

    Notes
    -----
    Comparisons of one signal with several numbers are related as numbers are: ``x > 2`` and
    ``x < 1`` exclude each other. Samples are finite doubles.

    Finite traces are decided by property-directed reachability over sets of obligations, with the
    unsatisfiable cores of an incremental solver [1]_ [2]_. Infinite words are searched for as
    lassos of growing length [3]_, in turn with a proof that no word meets all eventualities more
    than k times [4]_. Both answers are always found in the end: the problem is PSPACE-complete, so
    some formulas take exponential time. A trace that is found is checked by an evaluator that
    shares nothing with the solver.

    Most of the formulas of the published collections take a millisecond. Threads may call it at
    once; the solver runs without the interpreter's lock. Ctrl-C stops it.

    References
    ----------
    .. [1] J. Li, G. Pu, Y. Zhang, M. Y. Vardi and K. Y. Rozier, "SAT-based explicit LTLf
       satisfiability checking", Artificial Intelligence 289, 2020.
    .. [2] A. R. Bradley, "SAT-based model checking without unrolling", VMCAI 2011.
    .. [3] K. Heljanko, T. Junttila and T. Latvala, "Incremental and complete bounded model checking
       for full PLTL", CAV 2005.
    .. [4] K. Claessen and N. Sorensson, "A liveness checking algorithm that counts", FMCAD 2012.

    Examples
    --------
    >>> from midstream.logic import parse, satisfiable
    >>> satisfiable(parse("G (a -> X[!] !a) & F (a & X[!] a)"))
    False
    >>> satisfiable(parse("G X[!] true")), satisfiable(parse("G X[!] true"), semantics="ltl")
    (False, True)
    >>> satisfiable(parse("G (x > 2) & F (x < 1)"))
    False
    """
    question = _Question(
        formula,
        semantics=semantics,
        letters=letters,
        alphabet=alphabet,
        timeout_s=timeout_s,
        max_nodes=max_nodes,
    )
    return question.answer(False) is not None


def witness(
    formula: Formula | str,
    *,
    semantics: str = "ltlf",
    letters: str | Formula = "all",
    alphabet: Sequence[str] | None = None,
    timeout_s: float | None = None,
    max_nodes: int = 200_000,
) -> Witness | Lasso | None:
    """A trace that satisfies a formula, as short as could be found.

    Parameters
    ----------
    formula, semantics, letters, alphabet, timeout_s, max_nodes
        As for `satisfiable`.

    Returns
    -------
    Witness or Lasso or None
        A finite trace, or with ``semantics="ltl"`` an infinite word; its `minimal` says whether
        there is none shorter. None where no trace satisfies the formula.

    Raises
    ------
    UndecidedError, StateLimitError, ArgumentTypeError, ArgumentValueError
        As for `satisfiable`. When time is over after a trace was found, that one is returned.

    Examples
    --------
    >>> from midstream.logic import parse, witness
    >>> trace = witness(parse("!b & F (b & X[!] a)"))
    >>> [sorted(letter) for letter in trace], trace.minimal
    ([[], ['b'], ['a']], True)
    >>> witness(parse("x > 2 & X[!] (x < 1 & a)"))
    Witness([{'a': False, 'x': 3.0}, {'a': True, 'x': 0.0}], minimal=True)
    >>> print(witness(parse("a & G F !a & G F a"), semantics="ltl"))
    step  0 1
    a     1 .
    steps 0 to 1 repeat for ever
    """
    question = _Question(
        formula,
        semantics=semantics,
        letters=letters,
        alphabet=alphabet,
        timeout_s=timeout_s,
        max_nodes=max_nodes,
    )
    return question.answer(True)


def valid(formula: Formula | str, **options: Any) -> bool:
    """Whether every trace satisfies a formula.

    Parameters
    ----------
    formula : Formula or str
    **options
        As for `satisfiable`.

    Returns
    -------
    bool

    Raises
    ------
    UndecidedError, StateLimitError, ArgumentTypeError, ArgumentValueError
        As for `satisfiable`.

    See Also
    --------
    witness : of the negation, a trace that violates the formula.

    Examples
    --------
    >>> from midstream.logic import parse, valid
    >>> valid(parse("F G a <-> G F a")), valid(parse("F G a <-> G F a"), semantics="ltl")
    (True, False)
    """
    return not satisfiable(not_(as_formula(formula)), **options)


def entails(f: Formula | str, g: Formula | str, **options: Any) -> bool:
    """Whether every trace that satisfies `f` satisfies `g`.

    Parameters
    ----------
    f, g : Formula or str
    **options
        As for `satisfiable`.

    Returns
    -------
    bool

    Raises
    ------
    UndecidedError, StateLimitError, ArgumentTypeError, ArgumentValueError
        As for `satisfiable`.

    Examples
    --------
    >>> from midstream.logic import entails, parse
    >>> entails(parse("a U b"), parse("F b")), entails(parse("F b"), parse("a U b"))
    (True, False)
    """
    return not satisfiable(and_(as_formula(f, "f"), not_(as_formula(g, "g"))), **options)


def equivalent(f: Formula | str, g: Formula | str, **options: Any) -> bool:
    """Whether the same traces satisfy `f` and `g`.

    Parameters
    ----------
    f, g : Formula or str
    **options
        As for `satisfiable`.

    Returns
    -------
    bool

    Raises
    ------
    UndecidedError, StateLimitError, ArgumentTypeError, ArgumentValueError
        As for `satisfiable`.

    Examples
    --------
    >>> from midstream.logic import equivalent, parse
    >>> equivalent(parse("a W b"), parse("b R (a | b)"))
    True
    >>> equivalent(parse("X a"), parse("X[!] a")), equivalent(
    ...     parse("X a"), parse("X[!] a"), semantics="ltl")
    (False, True)
    """
    return not satisfiable(xor(as_formula(f, "f"), as_formula(g, "g")), **options)


def distinguishing(f: Formula | str, g: Formula | str, **options: Any) -> Witness | Lasso | None:
    """A trace that satisfies one of two formulas and not the other.

    Parameters
    ----------
    f, g : Formula or str
    **options
        As for `witness`.

    Returns
    -------
    Witness or Lasso or None
        None: the formulas are equivalent.

    Raises
    ------
    UndecidedError, StateLimitError, ArgumentTypeError, ArgumentValueError
        As for `satisfiable`.

    Examples
    --------
    >>> from midstream.logic import distinguishing, parse
    >>> distinguishing(parse("X a"), parse("X[!] a"))
    Witness([set()], minimal=True)
    """
    return witness(xor(as_formula(f, "f"), as_formula(g, "g")), **options)


def consistent_letters(formula: Formula | str) -> Formula:
    """Which comparisons of one signal can hold together: what numbers allow.

    `satisfiable` and `witness` know it, as do `RuleBook` and `lint_rules`. Automata take
    comparisons for independent atoms, unless they are given this as their `letters`.

    Parameters
    ----------
    formula : Formula or str

    Returns
    -------
    Formula
        Over comparisons of `formula`, without temporal operators: true in the letters that some
        finite double gives, and in no others. ``true`` where no two comparisons are related. To
        restrict plain atoms as well, join it with a formula that does, by ``&``.

    Raises
    ------
    ArgumentTypeError, FormulaSyntaxError

    Notes
    -----
    Its size is linear in the number of comparisons, and quadratic in that of equalities which no
    other comparison separates.

    Examples
    --------
    >>> from midstream.logic import Monitor, compile, consistent_letters
    >>> rule = "G !(x > 5 & !(x > 3))"
    >>> consistent_letters(rule)
    Formula('(x > 5) -> (x > 3)')
    >>> compile(rule).is_universal(), compile(rule, letters=consistent_letters(rule)).is_universal()
    (False, True)
    >>> Monitor(rule, letters=consistent_letters(rule)).step({"x": 4}).name
    'TRUE'
    """
    return consistent(as_formula(formula))


def counterexample(
    formula: Formula | str,
    trace: Trace,
    *,
    missing: str = "false",
    letters: str | Formula = "all",
    timeout_s: float | None = 10.0,
    max_nodes: int = 200_000,
) -> Counterexample | None:
    """Why a finite trace violates a formula, and which step decided.

    Parameters
    ----------
    formula : Formula or str
    trace
        As for `Formula.holds`.
    missing : {"false", "error"}
        As for `Formula.holds`.
    letters : {"all", "at_most_one", "exactly_one"} or Formula
        What a letter of a continuation may be; as for `satisfiable`. The trace itself may have
        others.
    timeout_s : float or None
        Time for finding the step that decided.
    max_nodes : int
        As for `satisfiable`.

    Returns
    -------
    Counterexample or None
        None where the trace satisfies the formula.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        The trace is empty or no trace.

    Notes
    -----
    The step that decided is the first after which no continuation satisfies the formula. The
    automaton tells it where it is small and `letters` are all, in time linear in the trace;
    otherwise bisection with the solver of `satisfiable`. Where time or memory would not do, or
    comparisons are given as bits that no number has, `known` of the result is False. Cost of the
    causes: some n/64 word operations for each distinct subformula, and n operations for each cause.
    Altogether about a microsecond a letter for short formulas.

    Examples
    --------
    >>> from midstream.logic import counterexample, parse
    >>> found = counterexample(parse("G (pay -> O order)"), [{"order"}, {"pay"}, {"pay"}])
    >>> found is None
    True
    >>> found = counterexample(parse("G (pay -> Y order)"), [{"order"}, {"pay"}, {"pay"}])
    >>> found.step, [str(cause) for cause in found.causes[-2:]]
    (2, ['step 2: Y order is false', 'step 1: order is false'])
    """
    question = _Question(
        formula,
        semantics="ltlf",
        letters=letters,
        alphabet=None,
        timeout_s=timeout_s,
        max_nodes=max_nodes,
    )
    formula = question.formula
    if not isinstance(trace, (Mapping, np.ndarray)):
        trace = list(_listed(trace))
    leaves, n = leaf_columns(formula, trace, missing)
    if n == 0:
        raise ArgumentValueError("trace must have at least one position")
    values = truth_on_trace(formula, leaves, n)
    if values[formula] & 1:
        return None
    question.clock.start()
    step, known = _deciding_step(question, trace, leaves, n)
    return Counterexample(
        formula,
        _letters(formula, trace, leaves, n),
        step,
        known,
        find_causes(formula, values, n),
    )


def _listed(trace: Any) -> Sequence[Any]:
    if isinstance(trace, (str, bytes)):
        return [trace]  # as_columns says what is wrong with it
    try:
        return list(trace)
    except TypeError:
        raise ArgumentTypeError(
            f"trace must be a sequence of letters, not {type(trace).__name__}"
        ) from None


def _columns(leaves: Mapping[str, int], n: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Atom -> whether it is true at each position."""
    return {
        name: np.unpackbits(
            np.frombuffer(bits.to_bytes((n + 7) // 8, "little"), dtype=np.uint8),
            count=n,
            bitorder="little",
        ).astype(np.bool_)
        for name, bits in leaves.items()
    }


def _letters(formula: Formula, trace: Any, leaves: Mapping[str, int], n: int) -> tuple[Step, ...]:
    """The atoms of a formula at each position, with the signals' numbers where there are any."""
    columns = _columns(leaves, n)
    if not formula.has_predicate:
        return _sets(columns, n)
    named: list[tuple[str, list[Any]]] = []
    for signal in formula.signals:
        samples = _samples(trace, signal)
        if samples is not None:
            named.append((signal, samples))
    given = [signal for signal, samples in named if None in samples]
    named += [(name, column.tolist()) for name, column in columns.items()]
    names = [name for name, _ in named]
    letters: list[dict[str, Any]] = [
        dict(zip(names, row, strict=True))
        for row in zip(*(values for _, values in named), strict=True)
    ]
    for signal in given:
        for letter in letters:
            if letter[signal] is None:
                del letter[signal]
    return tuple(letters)


def _samples(trace: Any, signal: str) -> list[float | None] | None:
    """A signal's number at each position, None where it has none; None: nowhere."""
    if isinstance(trace, Mapping):
        return [float(sample) for sample in trace[signal]] if signal in trace else None
    if isinstance(trace, np.ndarray):
        return None
    samples = [letter.get(signal) if isinstance(letter, Mapping) else None for letter in trace]
    found = [None if sample is None else float(sample) for sample in samples]
    return None if all(sample is None for sample in found) else found


def _sets(columns: Mapping[str, npt.NDArray[np.bool_]], n: int) -> tuple[frozenset[str], ...]:
    """The true atoms of each position; equal letters are one object."""
    if not columns:
        return (frozenset(),) * n
    names = list(columns)
    packed = np.packbits(np.array(list(columns.values())), axis=0, bitorder="little")
    width = len(packed)
    raw = np.ascontiguousarray(packed.T).tobytes()
    known: dict[bytes, frozenset[str]] = {}
    letters = []
    for start in range(0, n * width, width):
        key = raw[start : start + width]
        letter = known.get(key)
        if letter is None:
            mask = int.from_bytes(key, "little")
            letter = known[key] = frozenset(name for i, name in enumerate(names) if mask >> i & 1)
        letters.append(letter)
    return tuple(letters)


def _deciding_step(
    question: _Question, trace: Any, leaves: Mapping[str, int], n: int
) -> tuple[int | None, bool]:
    """The first position after which no continuation helps, None: none; and whether it is known."""
    clock = question.clock
    plain = question.letters == "all"
    try:
        if plain:
            with contextlib.suppress(UndecidedError, StateLimitError):
                share = FEW_SECONDS if clock.left is None else min(FEW_SECONDS, clock.left / 4)
                return _by_automaton(question, leaves, n, FEW_STATES, share)
        tableau = question.tableau()
        if plain and n * tableau.system.n_clauses > UNROLLED:
            return _by_automaton(question, leaves, n, AUTOMATON_STATES, clock.left)
        masks = _masks(tableau, trace, leaves, n)
        if masks is None:
            return None, False
        search = _Continuations(question, tableau, masks)
        # The first that is lost, by doubling and bisection: early ones cost least.
        low, high = -1, 0
        while not search.lost(high):
            if high == n - 1:
                return None, True
            low, high = high, min(2 * high + 1, n - 1)
        while high - low > 1:
            middle = (low + high) // 2
            if search.lost(middle):
                high = middle
            else:
                low = middle
    except (UndecidedError, StateLimitError):
        return None, False
    return high, True


def _by_automaton(
    question: _Question,
    leaves: Mapping[str, int],
    n: int,
    max_states: int,
    timeout_s: float | None,
) -> tuple[int | None, bool]:
    """The same by the automaton, linear in the trace."""
    from midstream.logic.automaton import compile

    formula = question.formula
    automaton = compile(
        formula,
        letters=consistent(formula) if formula.has_predicate else "all",
        max_states=max_states,
        timeout_s=timeout_s,
    )
    trace: Trace = _columns(leaves, n) if leaves else np.zeros(n, dtype=np.uint64)
    # What comparisons say that no number has leads nowhere, and is not known of.
    colours = np.append(automaton.colours, UNKNOWN)[automaton.run(trace)]
    lost = np.flatnonzero((colours == Verdict.FALSE) | (colours == UNKNOWN))
    if not lost.size:
        return None, True
    first = int(lost[0])
    return (first, True) if colours[first] == Verdict.FALSE else (None, False)


def _masks(tableau: Tableau, trace: Any, leaves: Mapping[str, int], n: int) -> list[int] | None:
    """The tableau's atoms at each position, the order of signals among them; None: not given."""
    columns = [leaves.get(name, 0) for name in tableau.names]
    if tableau.order:
        given = trace if isinstance(trace, Mapping) else None
        comparisons: dict[int, Predicate] = {}
        for (signal, threshold), (greater, least) in tableau.order.items():
            if given is not None:
                if signal not in given:
                    return None
            elif not all(isinstance(letter, Mapping) and signal in letter for letter in trace):
                return None
            comparisons[greater] = Predicate(signal, ">", threshold)
            comparisons[least] = Predicate(signal, ">=", threshold)
        for index in sorted(comparisons):
            predicate = comparisons[index]
            # A name that no letter has, so that the number decides.
            column = as_columns(trace, ("\0",), (predicate,))[0]
            bits = int.from_bytes(np.packbits(column, bitorder="little").tobytes(), "little")
            columns.append(bits)
    texts = [f"{bits:0{n}b}"[::-1] for bits in columns]
    return [
        int("".join(column)[::-1], 2) if column else 0 for column in zip(*texts, strict=True)
    ] or [0] * n


class _Continuations:
    """Asks whether prefixes of a trace have a continuation, and keeps what it learns."""

    def __init__(self, question: _Question, tableau: Tableau, masks: list[int]) -> None:
        self.clock = question.clock
        self.tableau = tableau
        self.masks = masks
        self.fixed = len(tableau.names) + 2 * len(tableau.order)
        self.reach = Reach(tableau.system)
        self.dead: list[list[int]] = []

    def lost(self, last: int) -> bool:
        """Whether no continuation of the trace up to `last`, none included, will do."""
        system = self.tableau.system
        steps = last + 1
        if steps * system.n_clauses > UNROLLED:
            raise UndecidedError("the trace is too long")
        unroll = Unroll(system, self.tableau.start, False, [], [])
        for step in range(steps):
            unroll.fix(step, self.masks[step], self.fixed)
        if self._ask(unroll.end, steps):
            return False
        for burdens in self.dead:
            unroll.block(steps, burdens)
        while self._ask(unroll.go_on, steps):
            self.reach.start(unroll.state(steps))
            while (answer := self.reach.run(SLICE)) is None:
                self.clock.check()
            if answer:
                return False
            burdens = self.reach.reason()
            self.dead.append(burdens)
            unroll.block(steps, burdens)
        return True

    def _ask(self, ask: Any, steps: int) -> bool:
        while (answer := ask(steps, SLICE)) is None:
            self.clock.check()
        return bool(answer)
