"""Neighbours, divergence and local maps the slow, obvious way."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def distances(points: Array, centre: int, *, maximum: bool) -> Array:
    """From one point to all: largest coordinate difference, or squared and summed in order."""
    gaps = np.abs(points - points[centre])
    if maximum:
        return gaps.max(axis=1)
    total = np.zeros(len(points))
    for column in gaps.T:
        total = total + column * column
    return total


def ranked(points: Array, centre: int, theiler: int, limit: int, *, maximum: bool) -> list:
    """All neighbours as (distance, index), nearest first, equal ones by index."""
    d = distances(points, centre, maximum=maximum)
    return sorted(
        (float(d[j]), j)
        for j in range(min(limit, len(points)))
        if j != centre and abs(j - centre) > theiler
    )


def diverge(x: Array, m: int, delay: int, i: int, j: int, steps: int, every: int) -> list[float]:
    """Squared distances of two delay vectors as time goes on."""
    out = []
    for s in range(steps):
        a = [i + s * every + k * delay for k in range(m)]
        b = [j + s * every + k * delay for k in range(m)]
        inside = j >= 0 and max(a[-1], b[-1]) < len(x)
        out.append(
            float(sum((x[p] - x[q]) ** 2 for p, q in zip(a, b, strict=True))) if inside else np.nan
        )
    return out


def local_map(
    x: Array, m: int, delay: int, centre: int, near: list, ridge: float, *, quadratic: bool
) -> tuple[Array, float]:
    """Weighted ridge regression with an intercept: first-order coefficients, error at the centre.

    `near`: (squared distance, index), nearest first.
    """
    reach = near[-1][0] * 1.001
    rows, futures, weights = [], [], []
    for d, j in near:
        gap = [x[j + k * delay] - x[centre + k * delay] for k in range(m)]
        row = list(gap)
        if quadratic:
            row += [gap[p] * gap[q] / np.sqrt(reach) for p in range(m) for q in range(p + 1)]
        rows.append(row)
        futures.append(x[j + m * delay] - x[centre + m * delay])
        weights.append(1 - d / reach)
    a, b, w = np.array(rows), np.array(futures), np.array(weights)
    mean, future = w @ a / w.sum(), w @ b / w.sum()
    a, b = a - mean, b - future
    moments = (a * w[:, None]).T @ a
    shift = ridge * np.trace(moments[:m, :m]) / m
    solution = np.linalg.solve(moments + shift * np.eye(len(mean)), (a * w[:, None]).T @ b)
    return solution[:m], float(future - solution @ mean)


def grow(maps: Array, frame: Array) -> Array:
    """Logarithms of the growth of the frame's rows under companion matrices, by QR."""
    m = maps.shape[1]
    q = np.linalg.qr(frame.T)[0]
    out = []
    for row in maps:
        jacobian = np.eye(m, k=1)
        jacobian[-1] = row
        q, r = np.linalg.qr(jacobian @ q)
        out.append(np.log(np.abs(np.diag(r))))
    return np.array(out)
