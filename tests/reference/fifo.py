"""Is a recorded history of a FIFO queue linearizable?

`violation` decides in O(n log n) for histories with unique values, by the four patterns that every
history that is not linearizable contains one of (Bouajjani, Emmi, Enea and Hamza, "On Reducing
Linearizability to State Reachability", ICALP 2015):

- a value is taken that was never put, or before its put was called (fresh);
- a value is taken twice (repeat);
- b is taken before a, or a not at all, though the put of a returned before that of b was called
  (order);
- a take finds the queue empty, though at each instant of it some value was inside for certain
  (witness of empty).

`linearizable` searches for an order, in exponential time (Wing and Gong, 1993): the oracle of the
oracle.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

#: An operation that had not returned when the record ended.
NEVER = float("inf")


class Operation(NamedTuple):
    """One call. Times need only be comparable; an operation that ends at the instant at which
    another one begins overlaps it."""

    kind: Literal["put", "take", "empty"]
    #: Of `empty`, ignored.
    value: int
    begin: float
    end: float


class _Life(NamedTuple):
    """When a value was put and taken; where it never was, at NEVER."""

    value: int
    put_begin: float
    put_end: float
    take_begin: float
    take_end: float


def violation(history: Iterable[Operation]) -> str | None:
    """What is wrong, in words, or None where the history is linearizable.

    A put whose `end` is NEVER may have taken effect or not; a take must have returned. Every value
    may be put only once.
    """
    lives, wrong = _lives(history := list(history))
    if wrong:
        return wrong
    empties = [operation for operation in history if operation.kind == "empty"]
    return _out_of_order(lives) or _not_empty(lives, empties)


def _lives(history: Iterable[Operation]) -> tuple[list[_Life], str | None]:
    puts: dict[int, Operation] = {}
    takes: dict[int, Operation] = {}
    for operation in history:
        if operation.kind == "put":
            if operation.value in puts:
                raise ValueError(f"{operation.value} is put twice: values must be unique")
            puts[operation.value] = operation
        elif operation.kind == "take":
            if operation.end == NEVER:
                raise ValueError(f"the take of {operation.value} has no end")
            if operation.value in takes:
                return [], f"repeat: {operation.value} is taken twice"
            takes[operation.value] = operation
    for value, take in takes.items():
        if value not in puts:
            return [], f"fresh: {value} is taken and was never put"
        if take.end < puts[value].begin:
            return [], f"fresh: {value} is taken before it is put"
    lives = []
    for value, put in puts.items():
        take_begin, take_end = takes[value][2:] if value in takes else (NEVER, NEVER)
        # What was taken had been put by then, whether the put has returned or not.
        lives.append(_Life(value, put.begin, min(put.end, take_end), take_begin, take_end))
    return lives, None


def _out_of_order(lives: Sequence[_Life]) -> str | None:
    """a and b such that put(a) ends before put(b) begins, but take(b) before take(a)."""
    by_put_end = sorted(lives, key=lambda life: life.put_end)
    ends = [life.put_end for life in by_put_end]
    # Of the values whose put ended first, the one whose take began last.
    latest = list(accumulate(by_put_end, lambda a, b: a if a.take_begin >= b.take_begin else b))
    for b in lives:
        earlier = bisect.bisect_left(ends, b.put_begin)
        if earlier and b.take_end < latest[earlier - 1].take_begin:
            a = latest[earlier - 1]
            fate = "never is" if a.take_begin == NEVER else "is later"
            return f"order: {a.value} is put before {b.value}, which is taken, and {a.value} {fate}"
    return None


def _not_empty(lives: Sequence[_Life], empties: Sequence[Operation]) -> str | None:
    """A take that found nothing, from whose begin to whose end some value was inside throughout.

    From the end of its put to the begin of its take a value is inside for certain. Where such
    intervals overlap, and only there, the queue cannot have been empty in between either.
    """
    covered: list[list[float]] = []
    for begin, end in sorted((life.put_end, life.take_begin) for life in lives):
        if begin >= end:
            continue
        if covered and begin < covered[-1][1]:
            covered[-1][1] = max(covered[-1][1], end)
        else:
            covered.append([begin, end])
    begins = [begin for begin, _ in covered]
    for empty in empties:
        before = bisect.bisect_left(begins, empty.begin)
        if before and empty.end < covered[before - 1][1]:
            return f"empty: nothing found from {empty.begin} to {empty.end}, with values inside"
    return None


def linearizable(history: Sequence[Operation]) -> bool:
    """Whether some order of the operations explains the history, by search."""
    pending = tuple(sorted(history, key=lambda operation: operation.begin))
    seen: set[tuple[tuple[Operation, ...], tuple[int, ...]]] = set()

    def search(rest: tuple[Operation, ...], queue: tuple[int, ...]) -> bool:
        if all(operation.kind == "put" and operation.end == NEVER for operation in rest):
            return True
        if (rest, queue) in seen:
            return False
        seen.add((rest, queue))
        first_end = min(operation.end for operation in rest)
        for i, operation in enumerate(rest):
            if operation.begin > first_end:
                break
            others = rest[:i] + rest[i + 1 :]
            if operation.kind == "put":
                if search(others, (*queue, operation.value)):
                    return True
            elif operation.kind == "empty":
                if not queue and search(others, queue):
                    return True
            elif queue and queue[0] == operation.value and search(others, queue[1:]):
                return True
        return False

    return search(pending, ())
