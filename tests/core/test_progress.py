"""What may tell of progress."""

from __future__ import annotations

import pytest

from midstream import MidstreamError
from midstream._core.progress import as_progress


class Bar:
    total = None

    def __init__(self) -> None:
        self.steps: list[float] = []

    def update(self, n: float = 1) -> None:
        self.steps.append(n)


def test_nothing_is_told_to_nobody() -> None:
    assert as_progress("progress", None)(1, 2) is None


def test_a_function_is_called() -> None:
    told: list[tuple[int, int]] = []
    as_progress("progress", lambda done, total: told.append((done, total)))(1, 2)
    assert told == [(1, 2)]


def test_a_bar_gets_its_total_and_increments() -> None:
    bar = Bar()
    tell = as_progress("progress", bar)
    for done in (0, 2, 5):
        tell(done, 5)
    assert (bar.total, bar.steps) == (5, [0, 2, 3])


@pytest.mark.parametrize("value", [3, "bar", {}, set()])
def test_anything_else_is_refused(value) -> None:
    with pytest.raises(TypeError, match="progress must be callable") as caught:
        as_progress("progress", value)
    assert isinstance(caught.value, MidstreamError)
