"""Counts of pairs by distance, as the kernels are asked for them, against all pairs in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from midstream._core._poll import Poll
from midstream.attractor._pairs import PAD, RUNGS, Ladder, Pairs, template_matches

N, DEPTH = 300, 6


def cloud() -> np.ndarray:
    """Points on a grid of halves, so that many distances are exactly radii."""
    return np.random.default_rng(5).normal(scale=3, size=(DEPTH, N)).round(1).cumsum(axis=0) / 2


def padded(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.pad(points, ((0, 0), (0, PAD))))


def distances(points: np.ndarray, take: int, euclidean: bool) -> np.ndarray:
    total = np.zeros((points.shape[1],) * 2)
    for row in points[:take]:
        apart = abs(row[:, None] - row)
        total = total + apart * apart if euclidean else np.maximum(total, apart)
    return total


# Less than 64 rungs are counted two distances at a time, more of them one by one.
@pytest.mark.parametrize(
    ("make", "side"),
    [
        (lambda: Ladder.even(-3, 7, 3), "right"),
        (lambda: Ladder.even(-3, 9, 4), "right"),
        (lambda: Ladder(np.geomspace(0.01, 90, 90)), "left"),
        (lambda: Ladder(np.array([0.0, 0.5, 1.0, 1.5, 40.0])), "left"),
    ],
    ids=["few", "many", "any", "uneven"],
)
@pytest.mark.parametrize("euclidean", [False, True])
def test_counts_are_those_of_every_pair(
    make: Callable[[], Ladder], side: str, euclidean: bool
) -> None:
    points, takes, ladder = cloud(), [1, 3, 4, 6], make()
    start = np.minimum(np.arange(N) + 3, N)
    pairs = Pairs(padded(points), start, takes, euclidean)
    i, j = np.indices((N, N))
    for (i_first, i_stop), (j_first, j_stop), every in (
        ((0, N), (0, N), 1),
        ((0, N), (0, N), 7),
        ((11, 200), (50, 291), 3),
        ((0, 3), (290, 293), 1),
        ((N - 1, N), (0, N), 1),
        ((40, 40), (0, N), 1),
        ((41, 40), (0, N), 1),
        ((0, N), (9, 9), 1),
        ((0, N), (9, 8), 1),
    ):
        found = pairs.count(ladder, (i_first, i_stop), (j_first, j_stop), every, Poll())
        kept = (i >= i_first) & (i < i_stop) & ((i - i_first) % every == 0)
        kept &= (j >= np.maximum(start[i], j_first)) & (j < j_stop)
        for row, take in zip(found, takes, strict=True):
            cells = np.searchsorted(ladder.rungs, distances(points, take, euclidean)[kept], side)
            wanted = np.bincount(cells, minlength=len(ladder.rungs) + 1)
            assert row.tolist() == wanted.tolist()


@pytest.mark.parametrize("octaves", [4, 40])
def test_more_pairs_than_a_small_counter_holds(octaves: int) -> None:
    """Rows times columns are above 2^32, of which the first partners leave few."""
    n, few = 70_000, 20
    x = np.random.default_rng(1).integers(0, 50, size=(1, n)).astype(float)
    start = np.maximum(np.arange(n) + 1, n - few)
    ladder = Ladder.even(0, octaves, 1)
    found = Pairs(padded(x), start, [1], False).count(ladder, (0, n), (0, n), 1, Poll())
    columns = np.arange(n - few, n)
    later = columns >= start[:, None]
    apart = abs(x[0][:, None] - x[0][columns])[later]
    cells = np.searchsorted(ladder.rungs, apart, "right")
    assert found[0].tolist() == np.bincount(cells, minlength=len(ladder.rungs) + 1).tolist()


def test_the_binding_refuses_what_the_kernels_cannot_take() -> None:
    for rungs in ([], [0.0], [-1.0, 1.0], [np.nan], np.arange(1.0, RUNGS + 2)):
        with pytest.raises(ValueError, match="no such radii"):
            Ladder(np.asarray(rungs, dtype=float))
    for octaves, bits in ((0, 1), (1, -1), (1, 11), (RUNGS, 0)):
        with pytest.raises(ValueError, match="no such radii"):
            Ladder.even(0, octaves, bits)
    for lowest, octaves in ((-1001, 2), (999, 2)):
        with pytest.raises(ValueError, match="no such octaves"):
            Ladder.even(lowest, octaves, 0)
    components, start = padded(cloud()), np.arange(1, N + 1)
    for takes in ([], [2, 1]):
        with pytest.raises(ValueError, match="not points"):
            Pairs(components, start, takes, False)
    with pytest.raises(ValueError, match="not points"):
        Pairs(components, start[1:], [1], False)
    with pytest.raises(ValueError, match="not points"):
        Pairs(np.zeros((1, PAD)), start[:0], [1], False)
    for takes in ([0], [DEPTH + 1]):
        with pytest.raises(ValueError, match="no such components"):
            Pairs(components, start, takes, False)
    pairs, ladder = Pairs(components, start, [1], False), Ladder(np.ones(1))
    for i_range, j_range, every in (
        ((0, N + 1), (0, N), 1),
        ((0, N), (0, N + 1), 1),
        ((0, N), (0, N), 0),
    ):
        with pytest.raises(IndexError, match="no such points"):
            pairs.count(ladder, i_range, j_range, every, Poll())
    x = np.zeros(10 + PAD)
    for m, delay, lag in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (5, 2, 1)):
        with pytest.raises(ValueError, match="no such templates"):
            template_matches(x, m, delay, 0.1, lag, lag + 1, False, Poll())
