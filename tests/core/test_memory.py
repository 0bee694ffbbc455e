"""Work that cannot fit is refused before it starts."""

from __future__ import annotations

import pytest

from midstream import MidstreamError
from midstream._core import memory


def test_available_is_a_sensible_number() -> None:
    available = memory.available_bytes()
    assert available is None or 2**20 < available < 2**50


def test_small_work_is_let_through_and_impossible_work_refused() -> None:
    memory.check_memory("nothing", 100)
    with pytest.raises(MemoryError, match=r"a moon needs 1\.0 PiB of memory, ") as caught:
        memory.check_memory("a moon", 2**50)
    assert isinstance(caught.value, MidstreamError)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB")]
)
def test_sizes_are_read_easily(count: int, text: str) -> None:
    assert memory.human_bytes(count) == text
