"""Suffix arrays and maximal repeats from their definitions: quadratic and worse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence


def suffix_array(symbols: Sequence) -> list[int]:
    return sorted(range(len(symbols)), key=lambda start: list(symbols[start:]))


def lcp_array(symbols: Sequence, suffixes: Sequence[int]) -> list[int]:
    out = [0] * len(suffixes)
    for i in range(1, len(suffixes)):
        for a, b in zip(symbols[suffixes[i - 1] :], symbols[suffixes[i] :], strict=False):
            if a != b:
                break
            out[i] += 1
    return out


def repeats(
    symbols: Sequence[Hashable], *, min_length: int = 2, min_count: int = 2
) -> list[tuple[int, int, list[int]]]:
    """(length, count, positions) of all maximal repeats, in the order of `midstream.compare`."""
    n = len(symbols)
    found = []
    for length in range(min_length, n):
        places = defaultdict(list)
        for start in range(n - length + 1):
            places[tuple(symbols[start : start + length])].append(start)
        for positions in places.values():
            if len(positions) < min_count:
                continue
            # What stands beside each occurrence; each end of the sequence is unlike anything.
            left = {(start, "end") if start == 0 else symbols[start - 1] for start in positions}
            right = {
                (start, "end") if start + length == n else symbols[start + length]
                for start in positions
            }
            if len(left) > 1 and len(right) > 1:
                found.append((length, len(positions), positions))
    return sorted(found, key=lambda repeat: (-repeat[0], -repeat[1], repeat[2]))
