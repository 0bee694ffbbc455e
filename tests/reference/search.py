"""Search in series as the definitions say it: every window, every path, nothing clever."""

from __future__ import annotations

import math
from collections.abc import Sequence

INF = math.inf


def normalised(x: Sequence[float]) -> list[float]:
    """Mean 0 and deviation 1 in the documented order of operations; zeros for a constant."""
    m = len(x)
    offset = [float(value) - float(x[0]) for value in x]
    total = 0.0
    for value in offset:
        total += value
    mean = total / m
    centred = [value - mean for value in offset]
    squares = 0.0
    for value in centred:
        squares += value * value
    span = max(offset) - min(offset)
    magnitude = max(abs(float(x[0]) + max(offset)), abs(float(x[0]) + min(offset)))
    if span <= 16 * 2.0**-52 * magnitude or squares / m <= 0:
        return [0.0] * m
    inverse = 1 / math.sqrt(squares / m)
    return [value * inverse for value in centred]


def warped(x: Sequence[float], y: Sequence[float], radius: int) -> float:
    """Summed squares along the best path within `radius` of the diagonal, for equal lengths."""
    line = [INF] * len(y)
    for i, a in enumerate(x):
        new = [INF] * len(y)
        for j in range(max(0, i - radius), min(len(y), i + radius + 1)):
            if i == 0 and j == 0:
                best = 0.0
            else:
                best = min(
                    line[j],
                    line[j - 1] if j else INF,
                    new[j - 1] if j else INF,
                )
            new[j] = (float(a) - float(y[j])) * (float(a) - float(y[j])) + best
        line = new
    return line[-1]


def distances(query, series, radius: int, normalize: bool) -> list[float]:
    """Of the query to every window; radius 0 is Euclidean."""
    m = len(query)
    prepare = normalised if normalize else list
    q = prepare(query)
    return [
        math.sqrt(warped(q, prepare(series[i : i + m]), radius)) for i in range(len(series) - m + 1)
    ]


def chosen(values, k, threshold, exclusion: int) -> list[tuple[int, float]]:
    """The best first, then the best that is farther than `exclusion` from all before it."""
    kept: list[tuple[int, float]] = []
    for distance, start in sorted((value, i) for i, value in enumerate(values)):
        if (k is not None and len(kept) == k) or (threshold is not None and distance > threshold):
            break
        if all(abs(start - other) > exclusion for other, _ in kept):
            kept.append((start, distance))
    return kept


def profile(series, m: int, exclusion: int):
    """(distance, index, left_index, right_index) of every window to the others."""
    windows = [normalised(series[i : i + m]) for i in range(len(series) - m + 1)]
    rows = []
    for i, a in enumerate(windows):
        pairs = [
            (math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True))), j)
            for j, b in enumerate(windows)
            if abs(i - j) > exclusion
        ]
        sides = [min((p for p in pairs if side(p[1], i)), default=(INF, -1)) for side in SIDES]
        rows.append((*min(pairs, default=(INF, -1)), sides[0][1], sides[1][1]))
    return tuple(map(list, zip(*rows, strict=True)))


SIDES = (lambda j, i: j < i, lambda j, i: j > i)


def spring(query, stream, threshold: float, absolute: bool = False):
    """Disjoint matches as SPRING defines them, from one warping matrix for each start.

    A list of (time of the report, start, end, cost); the time is None at the end of the stream.
    """

    def cell(a, b):
        pairs = list(zip(a, b, strict=True)) if hasattr(a, "__len__") else [(a, b)]
        return sum(abs(p - q) if absolute else (p - q) ** 2 for p, q in pairs)

    found = []
    columns: dict[int, list[float]] = {}  # start -> costs of the query's prefixes
    pending = None  # cost, start, end
    for t, value in enumerate(stream):
        columns[t] = []
        for start, old in columns.items():
            new: list[float] = []
            for i, wanted in enumerate(query):
                if start == t:
                    before = new[i - 1] if i else 0.0
                else:
                    before = min(old[i], old[i - 1] if i else INF, new[i - 1] if i else INF)
                new.append(cell(wanted, value) + before)
            columns[start] = new
        # The best of all starts for each prefix, the latest of equal ones.
        best = [min((columns[start][i], -start) for start in columns) for i in range(len(query))]
        if pending is not None and all(
            cost >= pending[0] or -start >= pending[2] for cost, start in best
        ):
            found.append((t, pending[1], pending[2], pending[0]))
            # Prefixes whose best path overlaps the match are lost, with all their other paths.
            for i, (_, start) in enumerate(best):
                if -start < pending[2]:
                    best[i] = (INF, 0)
                    for column in columns.values():
                        column[i] = INF
            pending = None
        cost, start = best[-1]
        distance = cost if absolute else math.sqrt(cost)
        if cost < INF and distance <= threshold and (pending is None or cost < pending[0]):
            pending = (cost, -start, t + 1)
    if pending is not None:
        found.append((None, pending[1], pending[2], pending[0]))
    return found
