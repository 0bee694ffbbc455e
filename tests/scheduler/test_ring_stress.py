"""The ring in C, without Python: plain and under sanitizers, its histories judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from reference.fifo import Operation, violation

SOURCE = Path(__file__).with_name("ring_stress.c")
NEEDS = ["ms_ring.c", "ms_park.c"]

Program = Callable[..., str]


def run(program: Program, mode: str, capacity: int, items: int) -> list[Operation]:
    rows = (line.split() for line in program(mode, capacity, items).splitlines())
    return [Operation(kind, *map(int, numbers)) for kind, *numbers in rows]  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [1, 2, 5, 64])
@pytest.mark.parametrize("mode", ["try", "wait", "batch"])
def test_histories_are_linearizable(program: Program, mode: str, capacity: int) -> None:
    items = 300 if capacity == 1 else 3000
    history = run(program, mode, capacity, items)
    kinds = Counter(operation.kind for operation in history)
    assert kinds["put"] == kinds["take"] == 2 * items
    assert violation(history) is None


@pytest.mark.parametrize("capacity", [3, 16])
def test_threads_halted_in_the_middle_hold_up_nobody(program: Program, capacity: int) -> None:
    history = run(program, "halt", capacity, 3000)
    assert sum(operation.kind == "take" for operation in history) == 2 * 3000 + 2
    assert violation(history) is None


def test_threads_halted_anywhere_hold_up_nobody(program: Program) -> None:
    run(program, "signal", 8, 15)


def test_a_broken_queue_is_found_out(program: Program) -> None:
    told = violation(run(program, "broken", 8, 1000))
    assert told is not None and told.startswith("order")
