"""Pictures of characters: rates over time, meters, points in the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["columns", "latency_bar", "meter", "portrait", "resampled"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_PARTS = " ▏▎▍▌▋▊▉█"
#: Dots of a braille cell, by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
#: Between samples that are further apart nothing was told, since nothing changed: zero.
_GAP_S = 1.6


def resampled(
    samples: Sequence[Sequence[Any]], now_s: float, span_s: float, width: int
) -> list[float]:
    """The highest value of each of `width` equal parts of the last `span_s` seconds.

    Parameters
    ----------
    samples : sequence of [t_s, value, ...]
        In order.
    now_s, span_s : float
        Seconds.
    width : int

    Examples
    --------
    >>> resampled([[0.0, 4.0], [1.0, 8.0], [4.0, 2.0]], 5.0, 5.0, 5)
    [8.0, 8.0, 0.0, 2.0, 2.0]
    """
    out = [0.0] * width
    if width <= 0 or span_s <= 0:
        return out
    begin = now_s - span_s
    per_s = width / span_s
    for number, sample in enumerate(samples):
        t_s, value = sample[0], sample[1]
        until = samples[number + 1][0] if number + 1 < len(samples) else now_s
        if until - t_s > _GAP_S:
            until = t_s + 0.5
        # A sample says what was in the half second before it.
        first = max(math.floor((t_s - 0.5 - begin) * per_s), 0)
        last = min(math.floor((until - 0.5 - begin) * per_s), width - 1)
        if number + 1 == len(samples) and now_s - t_s <= _GAP_S:
            last = width - 1
        for at in range(first, last + 1):
            out[at] = max(out[at], value)
    return out


def columns(values: Sequence[float], height: int, most: float | None = None) -> list[str]:
    """Values as columns of blocks, in `height` lines, the uppermost first.

    Examples
    --------
    >>> columns([0, 1, 4, 8], 1)
    [' ▁▄█']
    >>> columns([0, 1, 4, 8], 2)
    ['   █', ' ▂██']
    """
    top = max(values, default=0.0) if most is None else most
    steps = 8 * height
    # What is there at all is seen.
    levels = [
        0 if value <= 0 or top <= 0 else max(1, min(steps, round(value / top * steps)))
        for value in values
    ]
    return [
        "".join(_BLOCKS[max(0, min(8, level - 8 * row))] for level in levels)
        for row in range(height - 1, -1, -1)
    ]


def meter(part: float, width: int) -> str:
    """A bar that is filled to a part of its width.

    Examples
    --------
    >>> meter(0.5, 5), meter(2.0, 3)
    ('██▌  ', '███')
    """
    eighths = round(max(0.0, min(1.0, part)) * width * 8)
    bar = "█" * (eighths // 8) + (_PARTS[eighths % 8] if eighths % 8 else "")
    return bar.ljust(width)


def latency_bar(value_ms: float | None, width: int) -> str:
    """A time on a scale of powers of ten, from 10 microseconds to 100 seconds."""
    if not value_ms:
        return " " * width
    return meter((math.log10(max(value_ms, 0.01)) + 2) / 7, width)


def portrait(
    points: Sequence[Sequence[float | None]], width: int, height: int
) -> tuple[list[str], list[list[int]], tuple[int, int] | None]:
    """Points in the plane as braille, both axes on one scale.

    Parameters
    ----------
    points : sequence of [x, y]
        The newest last; without numbers, they are left out.
    width, height : int
        Cells.

    Returns
    -------
    lines : list of str
    ages : list of list of int
        Of each cell: 0 nothing or the diagonal, 1 an older point, 2 one of the newest quarter.
    newest : tuple of int, or None
        Column and row of the newest point's cell.

    Examples
    --------
    >>> lines, ages, newest = portrait([[0.0, 0.0], [1.0, 1.0]], 4, 2)
    >>> len(lines), len(lines[0]), newest
    (2, 4, (3, 0))
    """
    cells = [[0] * width for _ in range(height)]
    ages = [[0] * width for _ in range(height)]
    across, down = 2 * width, 4 * height
    for dot in range(0, across, 4):  # where a phrase is as the one before
        y = down - 1 - round(dot / max(across - 1, 1) * (down - 1))
        cells[y // 4][dot // 2] |= _DOTS[dot % 2][y % 4]
    known = [(x, y) for x, y in points if x is not None and y is not None]
    newest = None
    if known:
        low = min(map(min, known))
        high = max(map(max, known))
        pad = max((high - low) * 0.04, 0.1)
        low, span = low - pad, high - low + 2 * pad
        fresh = len(known) - max(1, len(known) // 4)
        for number, (a, b) in enumerate(known):
            x = min(int((a - low) / span * across), across - 1)
            y = down - 1 - min(int((b - low) / span * down), down - 1)
            column, row = x // 2, y // 4
            if ages[row][column] == 0:
                cells[row][column] = 0  # no diagonal behind points
            cells[row][column] |= _DOTS[x % 2][y % 4]
            ages[row][column] = 2 if number >= fresh else max(ages[row][column], 1)
            newest = column, row
    lines = ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in cells]
    return lines, ages, newest
