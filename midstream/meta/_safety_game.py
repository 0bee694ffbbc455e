"""The safety game of one rule: what may be done so that the fallback can be done forever."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import StateLimitError
from midstream.logic import Formula, Predicate, Verdict, compile, consistent_letters, ltl3_machine

__all__ = ["Event", "Game", "solve"]

#: Atoms of one rule that the environment decides: its tables have a row for each of their letters.
MAX_CONTEXT = 12
#: Cells of one rule's table, of 4 bytes each.
MAX_CELLS = 1 << 22
MAX_STATES = 100_000

#: The context of a decision, and the action.
Event = tuple[frozenset[str], str]


class Game(NamedTuple):
    """A rule, solved.

    The environment moves first: it gives a letter of the context atoms; then one action is chosen.
    """

    #: Context atoms, then actions that the formula mentions: bits of the machine's masks.
    alphabet: tuple[str, ...]
    n_context: int
    #: By the index of `alphabet`, what a context atom compares.
    predicates: tuple[Predicate | None, ...]
    #: (n_actions,) which column an action has; the last one is of those that are not mentioned.
    classes: npt.NDArray[np.uint8]
    #: (n_states, 2**n_context, n_columns)
    following: npt.NDArray[np.int32]
    #: (n_states, 2**n_context), bits of actions; none in a state that no allowed play reaches.
    allow: npt.NDArray[np.uint64]
    #: Contexts that can occur: comparisons of one number agree with each other.
    legal: npt.NDArray[np.bool_]
    #: Why there is no shield: the events after which the fallback is refused, the last one among
    #: them; None where there is one.
    witness: tuple[Event, ...] | None
    #: Whether a violation cannot be avoided at all, rather than not by the fallback.
    lost: bool


def solve(formula: Formula, actions: tuple[str, ...], fallback: str) -> Game:
    """Solve the game of a safety formula.

    Parameters
    ----------
    formula : Formula
        A safety property of infinite words: whatever violates it has a prefix that cannot be
        mended, so that it is enough to keep out of the machine's FALSE states.
    actions : tuple of str
        Exactly one of them is in every letter.
    fallback : str
        Must be allowed in whatever state a play of allowed actions leads to.

    Returns
    -------
    Game

    Raises
    ------
    StateLimitError
        The machine or its table is too large.
    """
    context = tuple(name for name in formula.atoms if name not in actions)
    mentioned = tuple(name for name in actions if name in formula.atoms)
    if len(context) + len(mentioned) > 64:
        raise StateLimitError(
            f"a rule may have 64 names, got {len(context) + len(mentioned)}", limit=64
        )
    if len(context) > MAX_CONTEXT:
        raise StateLimitError(
            f"a rule may have {MAX_CONTEXT} names of the context, got {len(context)}: "
            f"{', '.join(context[:20])}",
            limit=MAX_CONTEXT,
        )
    alphabet = context + mentioned
    machine = ltl3_machine(formula, alphabet=alphabet, max_states=MAX_STATES)
    n_states, n_letters, n_columns = machine.n_states, 1 << len(context), len(mentioned) + 1
    if n_states * n_letters * n_columns > MAX_CELLS:
        raise StateLimitError(
            f"a rule's table may have {MAX_CELLS} cells, got {n_states} states of {n_letters} "
            f"contexts and {n_columns} actions: windows and counts make states",
            limit=MAX_CELLS,
        )
    # Mask of each letter: the context's bits, then one for the action.
    masks = np.arange(n_letters, dtype=np.int64)[:, None] | np.array(
        [1 << (len(context) + column) for column in range(len(mentioned))] + [0], dtype=np.int64
    )
    following = _walked(machine.roots, machine.nodes, masks.ravel()).reshape(
        n_states, n_letters, n_columns
    )
    place = {name: column for column, name in enumerate(mentioned)}
    classes = np.array([place.get(name, len(mentioned)) for name in actions], dtype=np.uint8)
    predicates = _predicates(formula, alphabet)
    legal = _legal(formula, context, predicates)
    back = int(classes[actions.index(fallback)])
    # The fallback's first: witnesses have no other action where it does as well.
    columns = np.array([back, *np.setdiff1d(classes, back)], dtype=np.uint8)
    good = machine.colours != int(Verdict.FALSE)
    winning, rank = _winning(following[:, legal][:, :, columns], good)
    names = dict(enumerate(mentioned))
    others = [name for name in (fallback, *actions) if name not in place]
    names.update({len(mentioned): name for name in others[:1]})
    game = Game(
        alphabet,
        len(context),
        predicates,
        classes,
        following,
        np.zeros((n_states, n_letters), dtype=np.uint64),
        legal,
        None,
        False,
    )
    if not winning[0]:
        return game._replace(witness=_spoiled(game, rank, columns, back, names), lost=True)
    reached, witness = _explored(game, winning, columns, back, names)
    if witness is not None:
        return game._replace(witness=witness)
    for place_of, column in enumerate(classes.tolist()):
        kept = winning[following[:, :, column]] & reached[:, None]
        game.allow[kept] |= np.uint64(1 << place_of)
    # A context that cannot occur is read as one after which nothing but the fallback is known.
    game.allow[np.ix_(reached, ~legal)] = np.uint64(1 << actions.index(fallback))
    return game


def _walked(
    roots: npt.NDArray[np.int32], nodes: npt.NDArray[np.int32], masks: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """The state after each letter, by state: all walks of the diagram at once."""
    at = np.repeat(roots.astype(np.int64)[:, None], len(masks), axis=1)
    letters = np.broadcast_to(masks, at.shape)
    while True:
        inside = at >= 0
        if not inside.any():
            return (~at).astype(np.int32)
        node = nodes[at[inside]]
        true = (letters[inside] >> node[:, 0]) & 1
        at[inside] = np.where(true == 1, node[:, 2], node[:, 1])


def _predicates(formula: Formula, alphabet: tuple[str, ...]) -> tuple[Predicate | None, ...]:
    found = {str(node.predicate): node.predicate for node in formula.nodes() if node.predicate}
    return tuple(found.get(name) for name in alphabet)


def _legal(
    formula: Formula, context: tuple[str, ...], predicates: tuple[Predicate | None, ...]
) -> npt.NDArray[np.bool_]:
    """Contexts that numbers can make: ``x > 5`` without ``x > 3`` is none."""
    if not any(predicates):
        return np.ones(1 << len(context), dtype=np.bool_)
    automaton = compile(consistent_letters(formula), alphabet=_context_first(context, formula))
    masks = np.arange(1 << len(context), dtype=np.int64)
    last = _walked(automaton.roots[:1], automaton.nodes, masks)[0]
    legal: npt.NDArray[np.bool_] = automaton.accepting[last]
    return legal


def _context_first(context: tuple[str, ...], formula: Formula) -> tuple[str, ...]:
    """The context's atoms first, then the formula's others."""
    return context + tuple(name for name in formula.atoms if name not in context)


def _winning(
    following: npt.NDArray[np.int32], good: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """States from which, whatever the contexts, some action always stays in good ones.

    And the round in which each other state was lost, 0 for the bad ones: the environment needs as
    many moves at most. The greatest fixed point, from above (Grädel, Thomas, Wilke, "Automata,
    logics, and infinite games", 2002, section 2.5).
    """
    winning = good.copy()
    rank = np.where(good, -1, 0).astype(np.int64)
    turn = 0
    while True:
        turn += 1
        some = np.any(winning[following], axis=2)
        kept = winning & np.all(some, axis=1)
        lost = winning & ~kept
        if not lost.any():
            return winning, rank
        rank[lost] = turn
        winning = kept


def _spoiled(
    game: Game,
    rank: npt.NDArray[np.int64],
    columns: npt.NDArray[np.uint8],
    back: int,
    names: dict[int, str],
) -> tuple[Event, ...]:
    """How the environment wins from the start against the fallback."""
    state = 0
    events: list[Event] = []
    if rank[0] == 0:
        return ((frozenset(), names[back]),)
    while rank[state] > 0:
        for letter in np.flatnonzero(game.legal).tolist():
            after = rank[game.following[state, letter, columns]]
            if after.min() >= 0 and after.max() < rank[state]:
                break
        events.append((_context(game, letter), names[back]))
        state = int(game.following[state, letter, back])
    return tuple(events)


def _explored(
    game: Game,
    winning: npt.NDArray[np.bool_],
    columns: npt.NDArray[np.uint8],
    back: int,
    names: dict[int, str],
) -> tuple[npt.NDArray[np.bool_], tuple[Event, ...] | None]:
    """States that plays within the winning ones reach; the shortest one after which the fallback
    would leave them."""
    came: dict[int, tuple[int, int, int] | None] = {0: None}
    queue = [0]
    letters = np.flatnonzero(game.legal)
    for state in queue:
        after = game.following[state][letters]
        spoilt = np.flatnonzero(~winning[after[:, back]])
        if len(spoilt):
            events = [(_context(game, int(letters[spoilt[0]])), names[back])]
            at = came[state]
            while at is not None:
                source, letter, column = at
                events.append((_context(game, letter), names[column]))
                at = came[source]
            return np.zeros(0, dtype=np.bool_), tuple(reversed(events))
        targets, first = np.unique(after[:, columns], return_index=True)
        for target, cell in zip(targets.tolist(), first.tolist(), strict=True):
            if winning[target] and target not in came:
                row, column = divmod(cell, len(columns))
                came[target] = (state, int(letters[row]), int(columns[column]))
                queue.append(target)
    reached = np.zeros(len(game.following), dtype=np.bool_)
    reached[queue] = True
    return reached, None


def _context(game: Game, letter: int) -> frozenset[str]:
    return frozenset(game.alphabet[bit] for bit in range(game.n_context) if letter >> bit & 1)
