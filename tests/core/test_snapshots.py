"""Snapshots: what is sealed comes back, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream._core.snapshots import joined, parted, sealed, unsealed
from midstream.errors import ArgumentTypeError, ArgumentValueError


def test_what_is_sealed_comes_back() -> None:
    whole = sealed(b"magic and more")
    assert unsealed(whole, b"magic", "Thing") == b"magic and more"
    assert unsealed(bytearray(whole), b"magic", "Thing") == b"magic and more"
    for place in range(5, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        with pytest.raises(ArgumentValueError, match="its checksum is wrong"):
            unsealed(damaged, b"magic", "Thing")
    with pytest.raises(ArgumentValueError, match=r"must come from Thing\.snapshot"):
        unsealed(whole, b"other", "Thing")
    with pytest.raises(ArgumentValueError, match="whole"):
        unsealed(whole, b"magic", "Thing", least=15)
    with pytest.raises(ArgumentTypeError, match="snapshot must be bytes, got str"):
        unsealed("text", b"magic", "Thing")


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_parts_are_what_was_joined(parts: list[bytes]) -> None:
    data = joined(parts)
    assert parted(data) == parts
    starts = [sum(8 + len(part) for part in parts[:k]) for k in range(len(parts) + 1)]
    for end in range(len(data)):
        if end in starts:
            assert parted(data[:end]) == parts[: starts.index(end)]
        else:
            with pytest.raises(ValueError, match="cut off"):
                parted(data[:end])


def test_lengths_are_eight_bytes_little_endian() -> None:
    assert joined([b"ab", b""]) == b"\2" + bytes(7) + b"ab" + bytes(8)
    with pytest.raises(ValueError, match="cut off within a part"):
        parted(b"\xff" * 8 + b"ab")
