"""Shields: an action is corrected as little as possible, so that a formula stays within reach."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentValueError, MidstreamError, StateLimitError
from midstream._core.validate import check_choice, check_int, check_mapping, check_real
from midstream.logic import _strategy
from midstream.logic._checks import as_formula, as_timeout
from midstream.logic._game import Game, ShieldCore
from midstream.logic._letters import as_mask
from midstream.logic._strategy import Deadline
from midstream.logic.formula import Formula
from midstream.logic.verdict import Verdict

if TYPE_CHECKING:
    from midstream.logic._letters import Letter
    from midstream.logic.automaton import Automaton

__all__ = ["Shield", "shield"]

_KEEPS = ("possible", "enforceable", "satisfied")
_ORDERS = ("mealy", "moore")
#: A table of corrections has at most this many cells, of 12 bytes.
_TABLE_CELLS = 1 << 18
#: Up to this many atoms every letter of every state is checked; beyond, the diagrams and a sample.
_CHECKED_ATOMS = 12
_SAMPLE = 2000
#: Actions of up to so many controllable atoms are listed.
_LISTED_ATOMS = 16
#: Sets of atoms that a shield keeps, so as not to build them again.
_CACHED = 1024


class _Parts(NamedTuple):
    """What a shield is made of; plain enough to pickle."""

    formula: Formula
    automaton: Automaton
    controllable: tuple[str, ...]
    order: str
    keep: str
    safe: npt.NDArray[np.uint8]
    weight: npt.NDArray[np.float64]


class Shield:
    """Corrects a stream of letters so that a formula stays within reach.

    Made by `shield`. A letter has the atoms that somebody else decides, and the `controllable` ones
    that an agent proposes. The shield changes as few of the latter as it can, by their weights, and
    none of the former.

    One stream at a time: not to be shared between threads. Pickles, with its state.

    Attributes
    ----------
    formula : Formula
    alphabet : tuple of str
        Bit i of a mask is ``alphabet[i]``: the formula's atoms as they occur in it, then others; in
        order ``"moore"`` the controllable ones come first.
    controllable : tuple of str
    order : str
    keep : str

    Examples
    --------
    >>> from midstream.logic import shield
    >>> guard = shield("G(deploy -> Y tested) & G !(deploy & test)", ["deploy", "test"],
    ...                uncontrollable=["tested"])
    >>> sorted(guard.step({"deploy"})), sorted(guard.step({"tested", "test"}))
    ([], ['test', 'tested'])
    >>> sorted(guard.step({"deploy"})), guard.corrections
    (['deploy'], 1)
    """

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self.formula = parts.formula
        self.alphabet = tuple(parts.automaton.alphabet)
        self.controllable = parts.controllable
        self.order = parts.order
        self.keep = parts.keep
        self._core = _core_of(parts)
        self._limit = 1 << len(self.alphabet)
        self._bits = {name: 1 << bit for bit, name in enumerate(self.alphabet)}
        #: Sets of atoms by mask: those that were returned, up to _CACHED of them.
        self._sets: dict[int | None, frozenset[str]] = {}

    @property
    def state(self) -> int:
        """State of the automaton after the letters so far."""
        return self._core.state

    @property
    def n_states(self) -> int:
        """Number of states of the automaton."""
        return self._parts.automaton.n_states

    @property
    def steps(self) -> int:
        """Letters since the start."""
        return self._core.steps

    @property
    def corrections(self) -> int:
        """How many of them were changed."""
        return self._core.corrections

    @property
    def verdict(self) -> Verdict:
        """Verdict on the corrected letters so far."""
        return Verdict(int(self._parts.automaton.colours[self._core.state]))

    def step(self, letter: Letter) -> Any:
        """Correct a letter and go on to the next.

        Parameters
        ----------
        letter : set of str, mapping of str to bool or number, or bit mask over `alphabet`
            In order ``"moore"`` the shield does not look at the atoms that are not controllable
            until it has corrected the others.

        Returns
        -------
        int, frozenset of str, or dict
            The corrected letter: a mask for a mask, a dict for a mapping, else the set of its true
            atoms. What the alphabet lacks stays as it is.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            A mask that is too large, or no letter.

        Notes
        -----
        Up to some 8 atoms a letter is looked up, beyond it is a walk of the automaton's diagram.
        """
        # A plain mask in range needs no more checks.
        if type(letter) is int and 0 <= letter < self._limit:
            corrected = self._core.step_mask(letter)
            if corrected is not None:
                return corrected
        mask = self._mask(letter)
        corrected = self._core.step_mask(mask)
        # Nor does a set of known atoms need a detour.
        if isinstance(letter, (set, frozenset)) and len(letter) == mask.bit_count():
            found = self._sets.get(corrected)
            if found is not None:
                return found
        return self._answer(letter, mask, corrected)

    def correct(self, letter: Letter) -> Any:
        """The corrected letter, without going on.

        Parameters
        ----------
        letter : set of str, mapping of str to bool or number, or bit mask over `alphabet`

        Returns
        -------
        int, frozenset of str, or dict
            As of `step`. Of the changes that lead to a safe state the one of least weight; of equal
            ones always the same.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            A mask that is too large, or no letter.
        """
        mask = self._mask(letter)
        return self._answer(letter, mask, self._core.correct_mask(mask))

    def allowed(self, letter: Letter) -> bool:
        """Whether a letter needs no correction now.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            A mask that is too large, or no letter.
        """
        mask = self._mask(letter)
        return self._core.correct_mask(mask) == mask

    def actions(self, letter: Letter = ()) -> list[frozenset[str]]:
        """All choices of the controllable atoms that need no correction now, for an agent to pick.

        Parameters
        ----------
        letter : set of str, mapping of str to bool or number, or bit mask over `alphabet`
            The uncontrollable atoms; its controllable ones do not matter.

        Returns
        -------
        list of frozenset of str
            At least one; the smallest masks first.

        Raises
        ------
        StateLimitError
            More than 16 controllable atoms.
        ArgumentValueError, ArgumentTypeError
            A mask that is too large, or no letter.

        Examples
        --------
        >>> from midstream.logic import shield
        >>> guard = shield("G(alarm -> !pump) & G(pump -> valve)", ["pump", "valve"])
        >>> [sorted(action) for action in guard.actions()]
        [[], ['valve'], ['pump', 'valve']]
        >>> [sorted(action) for action in guard.actions({"alarm"})]
        [[], ['valve']]
        """
        count = len(self.controllable)
        if count > _LISTED_ATOMS:
            raise StateLimitError(
                f"actions of {count} controllable atoms are too many to list: at most "
                f"{_LISTED_ATOMS} atoms",
                limit=_LISTED_ATOMS,
            )
        bits = [self._bits[name] for name in self.controllable]
        given = self._mask(letter) & ~sum(bits)
        found = []
        for subset in range(1 << count):
            chosen = [index for index in range(count) if subset >> index & 1]
            mask = given | sum(bits[index] for index in chosen)
            if self._core.correct_mask(mask) == mask:
                found.append(frozenset(self.controllable[index] for index in chosen))
        return found

    def reset(self) -> None:
        """Begin a new stream, and count anew."""
        self._core.go(0, 0, 0)

    def snapshot(self) -> tuple[int, int, int]:
        """What `restore` needs: state, steps, corrections."""
        return (self._core.state, self._core.steps, self._core.corrections)

    def restore(self, snapshot: tuple[int, int, int]) -> None:
        """Go back to a snapshot of this shield or of one of the same formula and options.

        Raises
        ------
        ArgumentValueError
            No snapshot of such a shield.
        """
        try:
            state, steps, corrections = snapshot
        except (TypeError, ValueError):
            raise ArgumentValueError(
                f"snapshot must be three integers, not {snapshot!r:.60}"
            ) from None
        state = check_int("snapshot's state", state, low=0, high=self.n_states - 1)
        steps = check_int("snapshot's steps", steps, low=0, high=2**62)
        corrections = check_int("snapshot's corrections", corrections, low=0, high=steps)
        if not self._parts.safe[state] and (state, steps) != (0, 0):
            raise ArgumentValueError(f"snapshot's state must be a safe one, not {state}")
        self._core.go(state, steps, corrections)

    def _mask(self, letter: Letter) -> int:
        if isinstance(letter, (set, frozenset)):
            mask, bits = 0, self._bits
            try:
                for name in letter:
                    mask |= bits[name]
            except KeyError:
                pass  # an atom of somebody else's, or no name: told apart below
            else:
                return mask
        return as_mask(letter, self.alphabet, self._parts.automaton.predicates)

    def _answer(self, letter: Letter, mask: int, corrected: int | None) -> Any:
        if corrected is None:
            raise MidstreamError(f"internal error: no safe letter in state {self._core.state}")
        if isinstance(letter, (int, np.integer)):
            return corrected
        if isinstance(letter, Mapping):
            answer = dict(letter)
            changed = mask ^ corrected
            for name in self.controllable:
                if changed & self._bits[name]:
                    answer[name] = bool(corrected & self._bits[name])
            return answer
        found = self._sets.get(corrected)
        if found is None:
            found = frozenset(
                name for bit, name in enumerate(self.alphabet) if corrected >> bit & 1
            )
            if len(self._sets) < _CACHED:
                self._sets[corrected] = found
        if self._bits.keys() >= set(letter):
            return found
        return found | (set(letter) - self._bits.keys())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (tuple(self._parts), self.snapshot())

    def __repr__(self) -> str:
        return (
            f"<Shield: keeps the formula {self.keep}, {self.order}, {self.n_states} states, "
            f"{len(self.controllable)} of {len(self.alphabet)} atoms controllable>"
        )


def _restored(parts: tuple[Any, ...], snapshot: tuple[int, int, int]) -> Shield:
    """Undo `Shield.__reduce__`."""
    made = Shield(_Parts(*parts))
    made._core.go(*snapshot)
    return made


def _core_of(parts: _Parts) -> ShieldCore:
    game = _strategy.game_of(parts.automaton, parts.controllable)
    return ShieldCore(game, parts.safe, parts.weight, parts.order == "moore", _TABLE_CELLS)


def shield(
    formula: Formula | str,
    controllable: Iterable[str],
    *,
    uncontrollable: Iterable[str] | None = None,
    order: str = "mealy",
    keep: str = "possible",
    weights: Mapping[str, float] | None = None,
    max_states: int = 100_000,
    timeout_s: float | None = None,
) -> Shield:
    """Make a shield that keeps a formula within reach.

    Parameters
    ----------
    formula : Formula or str
        Over finite traces; past operators and windows of steps are fine.
    controllable : collection of str
        Atoms that the shield may change.
    uncontrollable : collection of str, optional
        The others, by default the rest of the formula's. At most 64 atoms together.
    order : {"mealy", "moore"}
        Whether the shield sees the uncontrollable atoms of a letter before it corrects the others.
    keep : {"possible", "enforceable", "satisfied"}
        What stays so after every letter, forever, whatever the uncontrollable atoms do:

        ``"possible"``
            the verdict is not FALSE: some continuation satisfies the formula;
        ``"enforceable"``
            the controllable atoms alone can force the formula to be satisfied in the end;
        ``"satisfied"``
            the letters so far satisfy the formula.
    weights : mapping of str to float, optional
        What it costs to change a controllable atom: positive, 1 where not given.
    max_states : int
        Limit of the automaton's size.
    timeout_s : float, optional
        Limit of the time, for everything together.

    Returns
    -------
    Shield
        Least restrictive: it changes a letter only where that letter would give up what it keeps.
        It was checked on an automaton that was compiled with another order of the atoms: up to
        12 atoms with every letter in every state that it reaches.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        There is no such shield: the uncontrollable atoms can break what it should keep; or an atom
        on both sides or on neither, named twice, more than 64 of them, or a weight that is not
        positive.
    StateLimitError
        The automaton outgrew `max_states`.
    UndecidedError
        The time was up.
    FormulaSyntaxError
        Text that is no formula.

    Notes
    -----
    ``"possible"`` and ``"satisfied"`` are safety games, ``"enforceable"`` a Büchi game: accepting
    states must be forced again and again. They are solved by quantification on decision diagrams in
    the order of the formula's atoms; only in order ``"moore"`` the controllable ones come first. At
    most a pass over the diagram for each state of the automaton, for each pair for the latter.

    Comparisons of one signal are independent atoms: a shield holds for all numbers, but it may
    correct, or not exist, because of letters such as ``x > 5`` without ``x > 3``.

    Source: Bloem, Könighofer, Könighofer, Wang, "Shield synthesis", TACAS 2015; Alshiekh et al.,
    "Safe reinforcement learning via shielding", AAAI 2018.

    Examples
    --------
    >>> from midstream.logic import shield
    >>> guard = shield("G(alarm -> !pump) & G(pump -> valve)", ["pump", "valve"])
    >>> sorted(guard.step({"pump"}))
    ['pump', 'valve']
    >>> sorted(guard.step({"alarm", "pump"})), guard.corrections
    (['alarm'], 2)
    >>> guard.allowed({"valve"})
    True
    >>> shield("G !alarm", ["pump"])
    Traceback (most recent call last):
        ...
    midstream._core.errors.ArgumentValueError: formula has no shield: whatever the controllable \
atoms do, the others can make it impossible, first with {alarm}
    """
    formula = as_formula(formula)
    own = _strategy.names_of("controllable", controllable)
    if uncontrollable is None:
        mine = set(own)
        uncontrollable = [atom for atom in formula.atoms if atom not in mine]
    others, own = _strategy.check_sides(
        formula, ("uncontrollable", "controllable"), (uncontrollable, own)
    )
    if len(own) + len(others) > 64:
        raise ArgumentValueError(
            "controllable and uncontrollable must have at most 64 atoms together, not "
            f"{len(own) + len(others)}"
        )
    check_choice("order", order, _ORDERS)
    check_choice("keep", keep, _KEEPS)
    alphabet = (*own, *others)
    if order == "mealy":
        # Any order will do there, and the formula's keeps together what it speaks of together.
        alphabet = tuple(dict.fromkeys((*formula.atoms, *alphabet)))
    weight = _weights(weights, alphabet, own)
    max_states = check_int("max_states", max_states, low=1)
    timeout_s = as_timeout(timeout_s)
    deadline = Deadline(timeout_s)
    automaton = deadline.compile(formula, alphabet, max_states)
    safe, starts, spoiler = _region(automaton, own, order, keep)
    if not starts:
        raise ArgumentValueError(_explanation(alphabet, keep, spoiler))
    parts = _Parts(formula, automaton, own, order, keep, safe, weight)
    made = Shield(parts)
    second = deadline.compile(formula, alphabet[::-1], max_states)
    _check(parts, made._core, second, deadline)
    made.reset()
    return made


def _weights(
    weights: Mapping[str, float] | None, alphabet: tuple[str, ...], own: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    weight = np.ones(len(alphabet))
    for name, value in check_mapping("weights", {} if weights is None else weights).items():
        if name not in own:
            raise ArgumentValueError(f"weights names {name!r:.60}, which is not controllable")
        value = check_real(f"weights[{name!r}]", value, low=0.0)
        if value == 0:
            raise ArgumentValueError(f"weights[{name!r}] must be positive, not 0")
        weight[alphabet.index(name)] = value
    return weight


def _region(
    automaton: Automaton, own: tuple[str, ...], order: str, keep: str
) -> tuple[npt.NDArray[np.uint8], bool, int]:
    """States to stay in, as 0 and 1; whether the first letter can lead there; what spoils it."""
    game = _strategy.game_of(automaton, own)
    first = order == "moore"
    accepting = np.asarray(automaton.accepting, dtype=np.uint8)
    if keep == "possible":
        region = (automaton.colours != int(Verdict.FALSE)).astype(np.uint8)
    elif keep == "satisfied":
        region = accepting.copy()
    else:
        region = np.ones(game.n_states, dtype=np.uint8)
    spoiler: int | None = None
    while True:
        forced, answerless = game.forces(region, first)
        if not forced[0] and spoiler is None:
            # Of the first round that the start does not survive: the shortest way to lose.
            spoiler = answerless
        kept = region & forced
        if keep == "enforceable":
            kept = _reach(game, accepting & kept, kept, first)
        if np.array_equal(kept, region):
            return region, bool(forced[0]), spoiler or 0
        region = kept


def _reach(
    game: Game, goal: npt.NDArray[np.uint8], inside: npt.NDArray[np.uint8], first: bool
) -> npt.NDArray[np.uint8]:
    """States of `inside` from which the play can be forced to `goal` without leaving."""
    won = goal
    while True:
        more = won | (inside & game.forces(won, first)[0])
        if np.array_equal(more, won):
            return won
        won = more


def _explanation(alphabet: tuple[str, ...], keep: str, spoiler: int) -> str:
    """Why there is no shield, with the others' first move where they move first."""
    wish = {
        "possible": "make it impossible",
        "enforceable": "keep it from being enforceable",
        "satisfied": "leave it unsatisfied",
    }[keep]
    chosen = ", ".join(name for bit, name in enumerate(alphabet) if spoiler >> bit & 1)
    first = f", first with {{{chosen}}}" if chosen else ""
    return (
        f"formula has no shield: whatever the controllable atoms do, the others can {wish}{first}"
    )


def _check(parts: _Parts, core: ShieldCore, second: Automaton, deadline: Deadline) -> None:
    """Check a shield on an automaton that was compiled with the reversed alphabet."""
    if parts.keep == "satisfied":
        good = np.asarray(second.accepting, dtype=np.bool_)
    else:
        good = second.colours != int(Verdict.FALSE)
    n = len(second.alphabet)
    # Both automata are minimal, so they have the same states under other numbers.
    region, starts, _ = _region(second, parts.controllable, parts.order, parts.keep)
    if not starts or int(region.sum()) != int(parts.safe.sum()):
        raise MidstreamError("internal error: the shield's region depends on the order of atoms")
    good = good & (region != 0)
    others = np.uint64(0)
    for bit, name in enumerate(parts.automaton.alphabet):
        if name not in parts.controllable:
            others |= np.uint64(1 << bit)
    if n > _CHECKED_ATOMS:
        _check_sample(core, second, good, int(others))
        return
    letters = np.arange(1 << n, dtype=np.uint64)
    flipped = np.zeros(1 << n, dtype=np.int64)
    for bit in range(n):
        flipped |= ((letters >> np.uint64(bit)) & np.uint64(1)).astype(np.int64) << (n - 1 - bit)
    table = second.table(n)
    seen = {(0, 0)}
    pending = [(0, 0)]
    while pending:
        state, other = pending.pop()
        corrected, following = core.row(state)
        if (following < 0).any() or ((corrected ^ letters) & others).any():
            raise MidstreamError("internal error: the shield has no answer to a letter")
        after = table[other][flipped[corrected.astype(np.int64)]]
        if not good[after].all():
            raise MidstreamError("internal error: the shield lets the formula go")
        pairs = set(zip(following.tolist(), after.tolist(), strict=True)) - seen
        seen |= pairs
        pending += pairs
        _ = deadline.left


def _check_sample(
    core: ShieldCore, second: Automaton, good: npt.NDArray[np.bool_], others: int
) -> None:
    n = len(second.alphabet)
    rng = random.Random(n)
    state = 0
    for count in range(_SAMPLE):
        if count % 50 == 0:
            core.go(0, 0, 0)
            state = 0
        letter = rng.getrandbits(n)
        corrected = core.step_mask(letter)
        if corrected is None or (corrected ^ letter) & others:
            raise MidstreamError("internal error: the shield has no answer to a letter")
        flipped = sum(1 << (n - 1 - bit) for bit in range(n) if corrected >> bit & 1)
        state = second.step(state, flipped)
        if not good[state]:
            raise MidstreamError("internal error: the shield lets the formula go")
