from __future__ import annotations

import pytest

from midstream._core.words import counted


@pytest.mark.parametrize(
    ("count", "wanted"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (1234, "1,234 events")]
)
def test_a_count_with_its_noun(count, wanted):
    assert counted(count, "event") == wanted
