"""What every snapshot must refuse."""

from __future__ import annotations

import pytest

from midstream._core.errors import ArgumentValueError


def check_damage(holder, saved):
    """Every flipped bit, every truncation and a byte too many are refused; nothing changes."""
    before = holder.snapshot()
    damaged = [saved[:size] for size in range(len(saved))]
    damaged.append(saved + b"\0")
    for bit in range(8 * len(saved)):
        bad = bytearray(saved)
        bad[bit >> 3] ^= 1 << (bit & 7)
        damaged.append(bytes(bad))
    for bad in damaged:
        with pytest.raises(ArgumentValueError, match="snapshot must"):
            holder.restore(bad)
    assert holder.snapshot() == before
