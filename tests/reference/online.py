"""Recurrence counts of a window of points, from the window alone, by the definitions."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np


def _partial_sums(squares: list[float]) -> float:
    """Sum in eight interleaved parts, the order that is specified for every instruction set."""
    part = [0.0] * 8
    for b, square in enumerate(squares):
        part[b % 8] += square
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]))


def window_measures(
    points,
    window,
    *,
    emb_dim,
    delay,
    theiler,
    order,
    min_line,
    radius,
    ratio,
    horizons,
):
    """What `midstream.attractor._online.Window` counts after `points` (n, dim), n <= window."""
    points = np.asarray(points, dtype=float)
    n, dim = points.shape
    span = (emb_dim - 1) * delay
    lookback = (window - span) // 2
    kept = min(window - span - lookback, max(n - span - 1, 0))
    states = [
        [points[i - m * delay, c] for c in range(dim) for m in range(emb_dim)]
        for i in range(span, n)
    ]

    def squared(i, j):
        total = 0.0
        for a, b in zip(states[i], states[j], strict=True):
            total += (b - a) * (b - a)
        return total

    rows = range(len(states) - kept, len(states))
    matrix, neighbour, means, steps, adjacent, pairs = {}, {}, [], [], 0, 0
    for i in rows:
        seen = min(lookback, i)
        squares = {lag: squared(i, i - lag) for lag in range(1, seen + 1)}
        by_bit = [squares.get(lookback - b, 0.0) for b in range(lookback)]
        mean = _partial_sums(by_bit) / seen
        limit = radius * radius if radius >= 0 else ratio * ratio * mean
        matrix[i] = {lag for lag in squares if squares[lag] <= limit}
        far = {lag: squares[lag] for lag in squares if lag > theiler}
        pairs += len(far)
        counted = matrix[i] & set(far)
        adjacent += sum(lag - 1 in counted or lag + 1 in counted for lag in counted)
        means.append(mean)
        steps.append(squares[1])
        if far:
            lag = min(far, key=lambda lag: (far[lag], lag))
            neighbour[i] = (lag, far[lag], mean)
    line_points = lines = 0
    for lag in range(theiler + 1, lookback + 1):
        for recurrent, run in groupby(lag in matrix[i] for i in rows):
            length = len(list(run))
            if recurrent and length >= min_line:
                lines += 1
                line_points += length
    near = {i: found for i, found in neighbour.items() if found[1] > 0}
    growth, spread, counts = [], [], []
    for horizon in horizons:
        grown = [
            0.5 * math.log(squared(i + horizon, i + horizon - lag)) - 0.5 * math.log(nearest)
            for i, (lag, nearest, _) in near.items()
            if i + horizon in rows and squared(i + horizon, i + horizon - lag) > 0
        ]
        counts.append(len(grown))
        growth.append(float(np.mean(grown)) if grown else 0.0)
        spread.append(float(np.std(grown)) if grown else 0.0)
    return {
        "rows": kept,
        "pairs": pairs,
        "recurrent": sum(len([lag for lag in matrix[i] if lag > theiler]) for i in rows),
        "adjacent": adjacent,
        "line_points": line_points,
        "lines": lines,
        "neighbours": len(near),
        "coincident": len(neighbour) - len(near),
        "depth": float(
            np.mean(
                [
                    0.5 * math.log(mean) - 0.5 * math.log(nearest)
                    for _, nearest, mean in near.values()
                ]
            )
        )
        if near
        else 0.0,
        "mean": float(np.mean(means)) if means else 0.0,
        "step": float(np.mean(steps)) if steps else 0.0,
        "growth": growth,
        "spread": spread,
        "counted": counts,
        "by_lag": [sum(lag in matrix[i] for i in rows) for lag in range(1, lookback + 1)],
    }


def ordinal_counts(points, order, delay):
    """{pattern of component c: count}, one dict a component; equal values rank by time."""
    tables = []
    for series in np.asarray(points, dtype=float).T:
        table: dict[tuple[int, ...], int] = {}
        for start in range(len(series) - (order - 1) * delay):
            values = [series[start + k * delay] for k in range(order)]
            ranks = tuple(sorted(range(order), key=lambda k: (values[k], k)))
            table[ranks] = table.get(ranks, 0) + 1
        tables.append(table)
    return tables
