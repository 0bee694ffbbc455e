"""The linearizability checker of `reference.fifo` against an exhaustive search."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.fifo import NEVER, Operation, linearizable, violation


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Up to 8 operations at times so few that many coincide; most put and take the same values."""
    times = st.integers(0, 9)
    history = []
    for value in range(draw(st.integers(0, 4))):
        begin, end = sorted((draw(times), draw(times)))
        history.append(Operation("put", value, begin, draw(st.sampled_from([end, end, NEVER]))))
    taken = draw(st.lists(st.integers(0, 4), max_size=4, unique=draw(st.booleans())))
    found_empty = draw(st.integers(0, 2))
    for kind, value in [("take", value) for value in taken] + [("empty", 0)] * found_empty:
        begin, end = sorted((draw(times), draw(times)))
        history.append(Operation(kind, value, begin, end))  # type: ignore[arg-type]
    return history


@settings(max_examples=1500)
@given(histories())
@example([])
@example([Operation("take", 0, 1, 2), Operation("put", 0, 2, NEVER)])
def test_agrees_with_an_exhaustive_search(history: list[Operation]) -> None:
    assert (violation(history) is None) == linearizable(history)


def queue_history(seed: int, n: int) -> list[Operation]:
    """What a queue does whose operations take effect at a random instant of their time."""
    generator = random.Random(seed)
    now, inside, fresh, history = 0, [], 0, []
    for _ in range(n):
        now += 10
        begin, end = now - generator.randrange(100), now + generator.randrange(100)
        if generator.random() < 0.5:
            history.append(Operation("put", fresh, begin, end))
            inside.append(fresh)
            fresh += 1
        elif inside:
            history.append(Operation("take", inside.pop(0), begin, end))
        else:
            history.append(Operation("empty", 0, begin, end))
    return history


@pytest.mark.parametrize("seed", range(20))
def test_accepts_what_a_queue_does(seed: int) -> None:
    assert violation(queue_history(seed, 3000)) is None


PUTS = [Operation("put", 1, 0, 1), Operation("put", 2, 2, 3)]


@pytest.mark.parametrize(
    ("history", "word"),
    [
        ([Operation("take", 7, 0, 1)], "fresh"),
        ([Operation("take", 1, 0, 1), Operation("put", 1, 2, 3)], "fresh"),
        ([*PUTS, Operation("take", 1, 4, 5), Operation("take", 1, 4, 5)], "repeat"),
        ([*PUTS, Operation("take", 2, 4, 5), Operation("take", 1, 6, 7)], "order"),
        ([*PUTS, Operation("take", 2, 4, 5)], "order"),
        ([*PUTS, Operation("empty", 0, 4, 5)], "empty"),
        ([*PUTS, Operation("take", 1, 4, 9), Operation("empty", 0, 2, 8)], "empty"),
    ],
)
def test_rejects_each_pattern(history: list[Operation], word: str) -> None:
    assert not linearizable(history)
    told = violation(history)
    assert told is not None and told.startswith(word)


def test_refuses_histories_that_it_cannot_judge() -> None:
    with pytest.raises(ValueError, match="unique"):
        violation([Operation("put", 1, 0, 1), Operation("put", 1, 2, 3)])
    with pytest.raises(ValueError, match="no end"):
        violation([Operation("put", 1, 0, 1), Operation("take", 1, 2, NEVER)])


def test_judges_large_histories() -> None:
    # At quadratic cost, this would take an hour.
    history = queue_history(0, 100_000)
    assert violation(history) is None
    late = max(operation.end for operation in history) + 1
    lost = [Operation("put", -1, late, late + 1), Operation("take", -1, late + 2, late + 3)]
    first = Operation("put", -2, -1000, -999)
    told = violation([first, *history, *lost])
    assert told is not None and told.startswith(("order: -2", "empty"))
