"""Finite structures of states, transitions and labels."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_mapping
from midstream.logic._ctl import Graph

__all__ = ["Kripke"]

_Set = npt.NDArray[np.uint8]


class Kripke:
    """A finite structure: states, transitions, and the atoms that are true in each state.

    Parameters
    ----------
    successors : mapping of state to iterable of states, or sequence of iterables of int
        States are the keys, which may be anything hashable, or ``0, 1, .., n - 1``. At least one.
    labels : mapping of str to iterable of states
        For each atom the states in which it is true; or a bool array of shape (n,).
    initial : iterable of states, optional
        What `holds_ctl` asks about.
    dead_ends : {"error", "stay"}
        What to do about states without a successor, which CTL's infinite paths do not have: refuse,
        or let them stay where they are forever.

    Notes
    -----
    Immutable, and safe to share between threads. 8 bytes a transition and 16 a state.

    Raises
    ------
    ArgumentValueError
        No states; a successor, label or initial state that is unknown; a dead end.

    Examples
    --------
    >>> from midstream.logic import Kripke, check_ctl
    >>> lamp = Kripke({"off": ["on"], "on": ["off", "broken"], "broken": ["broken"]},
    ...               {"light": ["on"]})
    >>> sorted(check_ctl(lamp, "EF light")), sorted(check_ctl(lamp, "AG !light"))
    (['off', 'on'], ['broken'])
    """

    __slots__ = ("_graph", "_index", "_labels", "atoms", "initial", "n_states", "states")

    #: Names of the states, in order.
    states: Sequence[Hashable]
    #: Number of states.
    n_states: int
    #: Atoms that have labels.
    atoms: tuple[str, ...]
    #: Initial states.
    initial: tuple[Hashable, ...]

    def __init__(
        self,
        successors: Mapping[Any, Iterable[Any]] | Sequence[Iterable[int]],
        labels: Mapping[str, Iterable[Any]],
        initial: Iterable[Any] | None = None,
        *,
        dead_ends: str = "error",
    ) -> None:
        if isinstance(successors, Mapping):
            self.states = tuple(successors)
            self._index: dict[Hashable, int] | None = {
                state: number for number, state in enumerate(self.states)
            }
            rows: list[Any] = list(successors.values())
        elif isinstance(successors, Sequence) and not isinstance(successors, (str, bytes)):
            self.states = range(len(successors))
            self._index = None
            rows = list(successors)
        else:
            raise ArgumentTypeError(
                "successors must be a mapping or a sequence of iterables, not "
                f"{type(successors).__name__}"
            )
        for row, following in enumerate(rows):
            if isinstance(following, (str, bytes)) or not isinstance(following, Iterable):
                raise ArgumentTypeError(
                    f"successors of {self.states[row]!r} must be an iterable of states, not "
                    f"{following!r:.60}"
                )
            rows[row] = list(following)
        targets = self._numbers(list(itertools.chain.from_iterable(rows)))
        if targets is None:
            # Other kinds of integers; or no state, and the error says where.
            numbers = [
                self._number(state, f"successors of {self.states[row]!r}")
                for row, following in enumerate(rows)
                for state in following
            ]
            targets = np.array(numbers, dtype=np.int32)
        counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        source = np.repeat(np.arange(len(rows), dtype=np.int32), counts)
        self._set(source, targets, labels, initial, dead_ends)

    @classmethod
    def from_edges(
        cls,
        n_states: int,
        edges: npt.ArrayLike,
        labels: Mapping[str, Iterable[Any]],
        initial: Iterable[int] | None = None,
        *,
        dead_ends: str = "error",
    ) -> Kripke:
        """Build a large structure from an array, with states ``0, 1, .., n_states - 1``.

        Parameters
        ----------
        n_states : int
            Between 1 and 2**31 - 2.
        edges : array_like of int, shape (m, 2)
            Transitions: from, to.
        labels, initial, dead_ends
            As of `Kripke`.

        Returns
        -------
        Kripke

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            As of `Kripke`; or `edges` has another shape or type.

        Examples
        --------
        >>> from midstream.logic import Kripke, check_ctl
        >>> ring = Kripke.from_edges(3, [(0, 1), (1, 2), (2, 0)], {"p": [2]})
        >>> len(check_ctl(ring, "AG AF p"))
        3
        """
        n_states = check_int("n_states", n_states, low=1, high=2**31 - 2)
        pairs = np.asarray(edges)
        if pairs.size == 0:
            pairs = np.empty((0, 2), dtype=np.int32)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ArgumentValueError(f"edges must have shape (m, 2), not {pairs.shape}")
        if pairs.dtype.kind not in "iu":
            raise ArgumentTypeError(f"edges must be integers, not {pairs.dtype}")
        wrong = np.flatnonzero((pairs < 0).any(axis=1) | (pairs >= n_states).any(axis=1))
        if wrong.size:
            raise ArgumentValueError(
                f"edges[{wrong[0]}] is {pairs[wrong[0]].tolist()}, but states are 0 .. "
                f"{n_states - 1}"
            )
        made = cls.__new__(cls)
        made.states = range(n_states)
        made._index = None
        source = np.ascontiguousarray(pairs[:, 0], dtype=np.int32)
        target = np.ascontiguousarray(pairs[:, 1], dtype=np.int32)
        made._set(source, target, labels, initial, dead_ends)
        return made

    def _set(
        self,
        source: npt.NDArray[np.int32],
        target: npt.NDArray[np.int32],
        labels: Mapping[str, Iterable[Any]],
        initial: Iterable[Any] | None,
        dead_ends: str,
    ) -> None:
        check_choice("dead_ends", dead_ends, ("error", "stay"))
        check_mapping("labels", labels)
        self.n_states = len(self.states)
        if self.n_states == 0:
            raise ArgumentValueError("successors must have at least one state")
        has_successor = np.zeros(self.n_states, dtype=bool)
        has_successor[source] = True
        dead = np.flatnonzero(~has_successor).astype(np.int32)
        if dead.size and dead_ends == "error":
            raise ArgumentValueError(
                f"state {self.states[dead[0]]!r} has no successor, but paths are infinite: "
                'give it one, or pass dead_ends="stay"'
            )
        self._graph = Graph(
            self.n_states, np.concatenate([source, dead]), np.concatenate([target, dead])
        )
        self._labels: dict[str, _Set] = {}
        for name, where in labels.items():
            if not isinstance(name, str):
                raise ArgumentTypeError(
                    f"labels must map names of atoms to states, but {name!r:.60} is no str"
                )
            self._labels[name] = self.mask(where, f"labels[{name!r}]")
            self._labels[name].flags.writeable = False
        self.atoms = tuple(self._labels)
        chosen = [] if initial is None else list(initial)
        for position, state in enumerate(chosen):
            self._number(state, "initial", position)
        self.initial = tuple(chosen)

    def _numbers(self, states: list[Any]) -> npt.NDArray[np.int32] | None:
        """Numbers of states, all at once; None where one might be none."""
        if self._index is not None:
            try:
                return np.array([self._index[state] for state in states], dtype=np.int32)
            except (KeyError, TypeError):
                return None
        # Exactly int: a bool is one too, and no state.
        if not set(map(type, states)) <= {int}:
            return None
        if states and not 0 <= min(states) <= max(states) < len(self.states):
            return None
        return np.array(states, dtype=np.int32)

    def _number(self, state: Any, where: str, position: int | None = None) -> int:
        if self._index is not None:
            try:
                return self._index[state]
            except (KeyError, TypeError):
                pass
        elif (
            isinstance(state, (int, np.integer))
            and not isinstance(state, bool)
            and 0 <= state < len(self.states)
        ):
            return int(state)
        if position is not None:
            where = f"{where}[{position}]"
        raise ArgumentValueError(f"{where} names {state!r:.80}, which is not a state")

    def mask(self, states: Iterable[Any], name: str = "states") -> npt.NDArray[np.uint8]:
        """A set of states as an array of 0 and 1.

        Parameters
        ----------
        states : iterable of states, or bool array of shape (n_states,)
        name : str
            What errors call it.

        Returns
        -------
        array of uint8, shape (n_states,)

        Raises
        ------
        ArgumentValueError
            An unknown state, or another shape.
        """
        out = np.zeros(self.n_states, dtype=np.uint8)
        if isinstance(states, np.ndarray) and states.dtype == np.bool_:
            if states.shape != (self.n_states,):
                raise ArgumentValueError(
                    f"{name} must have shape ({self.n_states},), not {states.shape}"
                )
            out[:] = states
            return out
        if isinstance(states, (str, bytes)) or not isinstance(states, Iterable):
            raise ArgumentTypeError(f"{name} must be an iterable of states, not {states!r:.60}")
        listed = list(states)
        numbers = self._numbers(listed)
        if numbers is None:
            numbers = np.array([self._number(state, name) for state in listed], dtype=np.int32)
        out[numbers] = 1
        return out

    def successors(self, state: Any) -> tuple[Any, ...]:
        """Successors of a state.

        Raises
        ------
        ArgumentValueError
            There is no such state.
        """
        return tuple(self.states[t] for t in self._following(self._number(state, "state")))

    def _following(self, number: int) -> list[int]:
        start, stop = self._graph.succ_start[number : number + 2].tolist()
        following: list[int] = self._graph.succ[start:stop].tolist()
        return following

    def __reduce__(self) -> tuple[Any, ...]:
        graph = self._graph
        counts = np.diff(graph.succ_start)
        source = np.repeat(np.arange(self.n_states, dtype=np.int32), counts)
        edges = (source, graph.succ[: len(source)])
        return _restore, (self.states, edges, self._labels, self.initial)

    def __repr__(self) -> str:
        edges = int(self._graph.succ_start[-1])
        return f"<Kripke of {self.n_states} states and {edges} transitions>"


def _restore(
    states: Sequence[Hashable],
    edges: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    labels: dict[str, _Set],
    initial: tuple[Hashable, ...],
) -> Kripke:
    """Undo `Kripke.__reduce__`."""
    kripke = Kripke.__new__(Kripke)
    kripke.states = states
    named = not isinstance(states, range)
    kripke._index = {state: number for number, state in enumerate(states)} if named else None
    masks = {name: mask.astype(np.bool_) for name, mask in labels.items()}
    kripke._set(*edges, masks, initial, "error")
    return kripke
