"""Strategies as machines: taken from a solved game, minimised, checked on a second automaton."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    StateLimitError,
    UndecidedError,
)
from midstream.logic._game import Game
from midstream.logic.automaton import compile as compile_automaton
from midstream.logic.formula import Formula, Predicate

if TYPE_CHECKING:
    from midstream.logic.automaton import Automaton

__all__ = [
    "ENVIRONMENT",
    "MAX_ROWS",
    "SYSTEM",
    "Deadline",
    "Machine",
    "Solved",
    "as_machine",
    "check_product",
    "check_sides",
    "dot_text",
    "extract",
    "game_of",
    "names_of",
    "own_names",
    "predicates_of",
    "rows_of",
]

ENVIRONMENT, SYSTEM = 0, 1

#: More rows of a table than this are not written out, unless told otherwise.
MAX_ROWS = 100_000


class Deadline:
    """A time limit that several steps share."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def left(self) -> float | None:
        """Seconds left, None for no limit.

        Raises
        ------
        UndecidedError
            None are left.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise self._over()
        return left

    def compile(self, formula: Formula, alphabet: Iterable[str], max_states: int) -> Automaton:
        """The automaton of a formula, in the time that is left.

        Raises
        ------
        UndecidedError
            It takes longer: the message has the whole limit, as the caller gave it.
        """
        try:
            return compile_automaton(
                formula, alphabet=tuple(alphabet), max_states=max_states, timeout_s=self.left
            )
        except UndecidedError:
            if self._timeout_s is None:
                raise
            raise self._over() from None

    def _over(self) -> UndecidedError:
        return UndecidedError(f"the game was not decided within timeout_s={self._timeout_s!r}")


def names_of(name: str, atoms: Iterable[str]) -> tuple[str, ...]:
    """Distinct names of atoms."""
    if isinstance(atoms, (str, bytes)) or not isinstance(atoms, Iterable):
        raise ArgumentTypeError(f"{name} must be a collection of names, not {atoms!r:.60}")
    found: dict[str, None] = {}
    for atom in atoms:
        if not isinstance(atom, str):
            raise ArgumentTypeError(f"{name} must hold names of atoms, not {atom!r:.60}")
        if atom in found:
            raise ArgumentValueError(f"{name} must not name {atom!r} twice")
        found[atom] = None
    return tuple(found)


def check_sides(
    formula: Formula, names: tuple[str, str], sides: tuple[Iterable[str], Iterable[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who controls which atom: each of the formula's is on one side, signals on the first."""
    first, second = (names_of(name, side) for name, side in zip(names, sides, strict=True))
    shared = sorted(set(first) & set(second))
    if shared:
        raise ArgumentValueError(
            f"{names[0]} and {names[1]} must not overlap, but both have {shared[0]!r}"
        )
    known = {*first, *second}
    missing = [atom for atom in formula.atoms if atom not in known]
    if missing:
        raise ArgumentValueError(
            f"formula has the atom {missing[0]!r}, which is in neither {names[0]} nor {names[1]}"
        )
    for name, predicate in zip(second, predicates_of(formula, second), strict=True):
        if predicate is not None:
            raise ArgumentValueError(
                f"{names[1]} must not have {name!r}: a signal can be observed, not chosen"
            )
    return first, second


def predicates_of(formula: Formula, atoms: Iterable[str]) -> tuple[Predicate | None, ...]:
    """For each atom the predicate that it stands for, if any."""
    found = {str(node.predicate): node.predicate for node in formula.nodes() if node.predicate}
    return tuple(found.get(atom) for atom in atoms)


def game_of(automaton: Automaton, outputs: Iterable[str]) -> Game:
    """The game on an automaton in which the system, player 1, controls `outputs`."""
    controlled = set(outputs)
    owner = np.array([atom in controlled for atom in automaton.alphabet], dtype=np.uint8)
    return Game(
        np.ascontiguousarray(automaton.roots, dtype=np.int32),
        np.ascontiguousarray(automaton.nodes, dtype=np.int32).reshape(-1, 3),
        owner,
    )


class Solved(NamedTuple):
    """An automaton's game and what `Game.attract` says of it for the system."""

    automaton: Automaton
    rank: npt.NDArray[np.int32]
    choice: npt.NDArray[np.uint8]

    @property
    def realizable(self) -> bool:
        """Whether the system wins from the start."""
        return bool(self.rank[len(self.automaton.nodes)] >= 0)


class Leaf(NamedTuple):
    """What a machine does when it has seen the other player's atoms."""

    #: Mask of its own true atoms, where it moves second.
    action: int
    #: Its next state; -1 where the play ends.
    following: int


class Machine(NamedTuple):
    """A strategy of one player.

    A state is a pair: the mask of its own atoms that it makes true, where it moves first, and a
    reference: r >= 0 is a node (index of one of the other's atoms, reference if false, if true),
    r < 0 is leaf ~r. State 0 is initial.
    """

    own: tuple[str, ...]
    other: tuple[str, ...]
    first: bool
    states: tuple[tuple[int, int], ...]
    nodes: tuple[tuple[int, int, int], ...]
    leaves: tuple[Leaf, ...]

    def leaf(self, state: int, seen: int) -> Leaf:
        """What follows when the other player's true atoms are the mask `seen`."""
        reference = self.states[state][1]
        while reference >= 0:
            node = self.nodes[reference]
            reference = node[1 + (seen >> node[0] & 1)]
        return self.leaves[~reference]

    def check_rows(self, max_rows: int) -> None:
        """Refuse a table that is too long: paths are counted, since they are not yet walked."""
        # Children come before parents.
        paths: list[int] = []
        for _, low, high in self.nodes:
            # Counts beyond the limit are the same to us, and would grow as long as the diagram.
            count = sum(paths[ref] if ref >= 0 else 1 for ref in (low, high))
            paths.append(min(count, max_rows + 1))
        total = sum(paths[ref] if ref >= 0 else 1 for _, ref in self.states)
        if total > max_rows:
            raise StateLimitError(
                f"the table has more than max_rows={max_rows} rows", limit=max_rows
            )

    def rows(self, max_rows: int) -> Iterator[tuple[int, dict[str, bool], int, int]]:
        """All transitions: state, values of the other's atoms, own mask, next state or -1."""
        self.check_rows(max_rows)
        for number, (action, reference) in enumerate(self.states):
            stack: list[tuple[int, tuple[tuple[str, bool], ...]]] = [(reference, ())]
            while stack:
                reference, path = stack.pop()
                if reference >= 0:
                    variable, low, high = self.nodes[reference]
                    stack.append((high, (*path, (self.other[variable], True))))
                    stack.append((low, (*path, (self.other[variable], False))))
                    continue
                leaf = self.leaves[~reference]
                yield number, dict(path), action | leaf.action, leaf.following


class _Builder:
    """Nodes and leaves made once each."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int, int], int] = {}
        self.leaves: dict[Leaf, int] = {}

    def node(self, variable: int, low: int, high: int) -> int:
        if low == high:
            return low
        return self.nodes.setdefault((variable, low, high), len(self.nodes))

    def leaf(self, action: int, following: int) -> int:
        return ~self.leaves.setdefault(Leaf(action, following), len(self.leaves))


def extract(
    solved: Solved,
    player: int,
    sides: tuple[tuple[str, ...], tuple[str, ...]],
    deadline: Deadline,
) -> Machine:
    """The machine of a winning strategy: `sides` are the environment's and the system's atoms.

    The system's moves lower the rank, so its machine has no cycles and one pass from the end of the
    plays finds the smallest machine of this strategy. The environment's, which may run forever,
    takes partition refinement (Moore 1956).
    """
    automaton, rank, choice = solved
    n_nodes = len(automaton.nodes)
    nodes: list[list[int]] = automaton.nodes.tolist()
    roots: list[int] = automaton.roots.tolist()
    ranks: list[int] = rank.tolist()
    ways: list[int] = choice.tolist()
    own, other = sides[player], sides[1 - player]
    variable_of = {name: variable for variable, name in enumerate(automaton.alphabet)}
    own_bit = {variable_of[name]: 1 << bit for bit, name in enumerate(own)}
    other_index = {variable_of[name]: index for index, name in enumerate(other)}
    first = bool(own) and (not other or min(own_bit) < min(other_index))

    def rank_of(reference: int) -> int:
        return ranks[reference] if reference >= 0 else ranks[n_nodes + ~reference]

    def act(reference: int) -> tuple[int, int]:
        """Follow the player's own choices from a node: the mask, and where that leads."""
        mask = 0
        while reference >= 0 and nodes[reference][0] in own_bit:
            variable, low, high = nodes[reference]
            # The environment goes wherever the system has not won.
            way = ways[reference] if player == SYSTEM else int(rank_of(low) >= 0)
            mask |= own_bit[variable] * way
            reference = high if way else low
        return mask, reference

    def ends(state: int) -> bool:
        """Whether the system stops on arriving there: rank 0 is accepting."""
        return player == SYSTEM and ranks[n_nodes + state] == 0

    # States that the strategy reaches, and for each the node its reading of the other starts at.
    start: dict[int, tuple[int, int]] = {}
    pending = [0]
    seen_nodes: set[int] = set()
    while pending:
        state = pending.pop()
        if state in start:
            continue
        start[state] = act(roots[state]) if first else (0, roots[state])
        stack = [start[state][1]]
        while stack:
            _, reference = act(stack.pop())
            if reference < 0:
                if not ends(~reference):
                    pending.append(~reference)
            elif reference not in seen_nodes:
                seen_nodes.add(reference)
                stack += nodes[reference][1:]
        _ = deadline.left

    def build(builder: _Builder, names: dict[int, int], memo: dict[int, int], root: int) -> int:
        """The diagram of a state, its leaves named by `names`."""
        stack = [root]
        while stack:
            reference = stack[-1]
            if reference in memo:
                stack.pop()
                continue
            if reference < 0 or nodes[reference][0] in own_bit:
                mask, end = act(reference)
                state = ~end
                memo[reference] = builder.leaf(mask, -1 if ends(state) else names[state])
                stack.pop()
                continue
            variable, low, high = nodes[reference]
            waiting = [child for child in (low, high) if child not in memo]
            if waiting:
                stack += waiting
                continue
            memo[reference] = builder.node(other_index[variable], memo[low], memo[high])
            stack.pop()
        return memo[root]

    builder = _Builder()
    numbers: dict[tuple[int, int], int] = {}
    if player == SYSTEM:
        names: dict[int, int] = {}
        memo: dict[int, int] = {}
        for state in sorted(start, key=lambda state: ranks[n_nodes + state]):
            mask, root = start[state]
            key = (mask, build(builder, names, memo, root))
            names[state] = numbers.setdefault(key, len(numbers))
            _ = deadline.left
    else:
        names = dict.fromkeys(start, 0)
        known = 0
        # Finer in each round, until a round tells no two more states apart.
        while True:
            builder, numbers, memo = _Builder(), {}, {}
            renamed = {}
            for state, (mask, root) in start.items():
                key = (mask, build(builder, names, memo, root))
                renamed[state] = numbers.setdefault(key, len(numbers))
            _ = deadline.left
            if len(numbers) == known:
                break
            known, names = len(numbers), renamed
    # A leaf names states by `names`: the initial one shall be 0.
    initial = names[0]
    order = [initial, *(number for number in range(len(numbers)) if number != initial)]
    place = {number: index for index, number in enumerate(order)}
    keys = list(numbers)
    return Machine(
        own,
        other,
        first,
        tuple(keys[number] for number in order),
        tuple(builder.nodes),
        tuple(Leaf(leaf.action, place.get(leaf.following, -1)) for leaf in builder.leaves),
    )


def check_product(machine: Machine, automaton: Automaton, player: int, deadline: Deadline) -> int:
    """Check a strategy against an automaton that was not used to find it.

    Every play of the machine, whatever the other player does, is followed. The system's must all
    end, and end accepted; the environment's must never come to an accepting state.

    Parameters
    ----------
    machine : Machine
    automaton : Automaton
        Its alphabet has the other player's atoms first, in the machine's order.
    player : int
        Whose machine it is.
    deadline : Deadline

    Returns
    -------
    int
        The longest play, in letters; 0 for the environment's.

    Raises
    ------
    MidstreamError
        The strategy is wrong.
    """
    nodes: list[list[int]] = automaton.nodes.tolist()
    roots: list[int] = automaton.roots.tolist()
    accepting: list[bool] = automaton.accepting.tolist()
    n_other = len(machine.other)
    bits = {name: bit for bit, name in enumerate(machine.own)}
    bit_of = [bits.get(name, -1) for name in automaton.alphabet]
    edges: dict[tuple[int, int], set[tuple[int, int]]] = {}
    pending = [(0, 0)]
    while pending:
        pair = pending.pop()
        if pair in edges:
            continue
        following: set[tuple[int, int]] = set()
        edges[pair] = following
        action, reference = machine.states[pair[0]]
        stack = [(reference, roots[pair[1]])]
        seen = set(stack)
        while stack:
            mine, theirs = stack.pop()
            read = machine.nodes[mine][0] if mine >= 0 else n_other
            wanted = nodes[theirs][0] if theirs >= 0 else n_other
            variable = min(read, wanted)
            if variable < n_other:
                for way in (1, 2):
                    branch = (
                        machine.nodes[mine][way] if read == variable else mine,
                        nodes[theirs][way] if wanted == variable else theirs,
                    )
                    if branch not in seen:
                        seen.add(branch)
                        stack.append(branch)
                continue
            leaf = machine.leaves[~mine]
            mask = action | leaf.action
            while theirs >= 0:
                node = nodes[theirs]
                theirs = node[1 + (mask >> bit_of[node[0]] & 1)]
            state = ~theirs
            if player == SYSTEM and leaf.following < 0:
                if not accepting[state]:
                    raise MidstreamError("internal error: a play of the controller ends rejected")
                continue
            if player == ENVIRONMENT and accepting[state]:
                raise MidstreamError("internal error: a play of the environment ends accepted")
            following.add((leaf.following, state))
            pending.append((leaf.following, state))
        _ = deadline.left
    return _longest(edges) if player == SYSTEM else 0


def _longest(edges: dict[tuple[int, int], set[tuple[int, int]]]) -> int:
    """The longest play; an error where one never ends (Kahn 1962)."""
    entering = dict.fromkeys(edges, 0)
    for following in edges.values():
        for pair in following:
            entering[pair] += 1
    ready = [pair for pair, count in entering.items() if not count]
    length = dict.fromkeys(edges, 1)
    done = 0
    while ready:
        pair = ready.pop()
        done += 1
        for after in edges[pair]:
            length[after] = max(length[after], length[pair] + 1)
            entering[after] -= 1
            if not entering[after]:
                ready.append(after)
    if done < len(edges):
        raise MidstreamError("internal error: a play of the controller never ends")
    return max(length.values())


def dot_text(machine: Machine, name: str, stop: str, max_rows: int) -> str:
    """Graphviz' text of a machine."""
    machine.check_rows(max_rows)

    def quote(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"')

    def cube(values: dict[str, bool]) -> str:
        return " & ".join(atom if value else f"!{atom}" for atom, value in values.items()) or "true"

    def made(mask: int) -> str:
        return ", ".join(atom for bit, atom in enumerate(machine.own) if mask >> bit & 1) or "-"

    lines = [f'digraph "{quote(name)}" {{', "  rankdir=LR;", '  start [shape=point, label=""];']
    lines.append("  start -> s0;")
    for number, (action, _) in enumerate(machine.states):
        label = f"{number}: {made(action)}" if machine.first else str(number)
        lines.append(f'  s{number} [shape=circle, label="{quote(label)}"];')
    if any(leaf.following < 0 for leaf in machine.leaves):
        lines.append(f'  stop [shape=doublecircle, label="{quote(stop)}"];')
    for number, values, mask, following in machine.rows(max_rows):
        label = cube(values) if machine.first else f"{cube(values)} / {made(mask)}"
        target = "stop" if following < 0 else f"s{following}"
        lines.append(f'  s{number} -> {target} [label="{quote(label)}"];')
    lines.append("}")
    return "\n".join(lines) + "\n"


def own_names(machine: Machine, mask: int) -> frozenset[str]:
    """The machine's own atoms of a mask."""
    return frozenset(atom for bit, atom in enumerate(machine.own) if mask >> bit & 1)


def rows_of(
    machine: Machine, max_rows: int
) -> list[tuple[int, dict[str, bool], frozenset[str], int | None]]:
    """The table of a machine, for people."""
    return [
        (state, values, own_names(machine, mask), None if following < 0 else following)
        for state, values, mask, following in machine.rows(max_rows)
    ]


def as_machine(data: Any) -> Machine:
    """Undo pickling to plain tuples."""
    own, other, first, states, nodes, leaves = data
    return Machine(own, other, first, states, nodes, tuple(Leaf(*leaf) for leaf in leaves))
