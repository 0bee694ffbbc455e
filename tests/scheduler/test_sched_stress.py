"""The scheduler in C, without Python: plain and under sanitizers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("sched_stress.c")
#: The program includes ms_sched.c itself, to halt threads inside.
NEEDS = ["ms_wheel.c", "ms_heap.c", "ms_admission.c", "ms_clock.c", "ms_park.c", "ms_hdr.c"]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("mode", "items"),
    [
        ("mixed", 1000),
        ("order", 5000),
        ("model", 500),
        ("halt", 200),
        ("extreme", 1),
        ("signal", 20),
        ("wheel", 200),
        ("heap", 200),
        ("clock", 2000),
    ],
)
def test_stress(program: Callable[..., str], mode: str, seed: int, items: int) -> None:
    """What each mode checks stands at the top of the program."""
    assert program(mode, seed, items) == ""
