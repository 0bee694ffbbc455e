"""Textbook oracle for periodic suffixes: one counter a period, no cleverness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def runs(
    sequence: Sequence[Any], max_period: int = 4096, min_copies: int = 3, min_length: int = 1
) -> Iterator[tuple[int, int, int]]:
    """Yield (end, start, period) whenever a run that was not yielded before is the foremost one.

    The foremost run is the one that starts earliest, then has the shortest period.
    """
    matched = [0] * (max_period + 1)
    yielded: set[tuple[int, int]] = set()
    for i, symbol in enumerate(sequence):
        complete = []
        for period in range(1, min(max_period, i) + 1):
            matched[period] = matched[period] + 1 if sequence[i - period] == symbol else 0
            length = matched[period] + period
            if matched[period] and length >= max(min_copies * period, min_length):
                complete.append((i + 1 - length, period))
        if complete:
            foremost = min(complete)
            if foremost not in yielded:
                yielded.add(foremost)
                yield i + 1, *foremost
