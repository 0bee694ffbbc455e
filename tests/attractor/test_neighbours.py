"""The k-d tree, the divergence and the local maps against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from reference import neighbours as plain

from midstream._core._poll import Poll
from midstream.attractor import _tangent
from midstream.attractor._neighbours import MOST_COORDINATES, Tree, diverge


def cloud(n: int, d: int, seed: int) -> np.ndarray:
    """Points of which half lie on a grid, so that distances are often equal, some zero."""
    points = np.random.default_rng(seed).normal(size=(n, d))
    points[n // 2 :] = np.round(points[n // 2 :], 1)
    return points


# Around the leaf's 16 points and the lanes, one point, and several levels.
@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 31, 33, 64, 65, 200])
@pytest.mark.parametrize("maximum", [False, True])
def test_nearest_are_all_and_in_order(n: int, maximum: bool) -> None:
    for d in (1, 2, 3, 7):
        points = cloud(n, d, n + d)
        tree = Tree(points)
        for theiler, limit, k in ((0, n, 1), (0, n, 5), (3, n, 3), (2, max(n - 4, 1), 4)):
            index, distance = tree.nearest(np.arange(n), k, theiler, limit, maximum, Poll())
            for centre in range(n):
                wanted = plain.ranked(points, centre, theiler, limit, maximum=maximum)[:k]
                got = [(b, a) for a, b in zip(index[centre], distance[centre], strict=True)]
                assert got[: len(wanted)] == wanted
                assert got[len(wanted) :] == [(np.inf, -1)] * (k - len(wanted))


@pytest.mark.parametrize("maximum", [False, True])
def test_within_a_radius(maximum: bool) -> None:
    points = cloud(300, 3, 1)
    tree = Tree(points)
    for centre in range(0, 300, 17):
        for radius in (0.0, 0.1, 1.0, 100.0):
            index, distance = tree.within(centre, radius, 2, 290, maximum)
            wanted = plain.ranked(points, centre, 2, 290, maximum=maximum)
            wanted = sorted((j, d) for d, j in wanted if d <= radius)
            assert list(zip(index.tolist(), distance.tolist(), strict=True)) == wanted


def test_equal_points() -> None:
    index, distance = Tree(np.zeros((40, 2))).nearest(np.arange(40), 3, 0, 40, False, Poll())
    assert index[0].tolist() == [1, 2, 3]
    assert index[20].tolist() == [0, 1, 2]
    assert (distance == 0).all()


@pytest.mark.parametrize("maximum", [False, True])
def test_many_points_in_few_places(maximum: bool) -> None:
    points = np.random.default_rng(4).integers(0, 4, size=(400, 2)).astype(float)
    points[:3] = (-2.0, 7.0), (7.0, -2.0), (9.0, 9.0)
    centres = np.arange(0, 400, 3)
    index, distance = Tree(points).nearest(centres, 6, 1, 400, maximum, Poll())
    for row, centre in enumerate(centres):
        wanted = plain.ranked(points, centre, 1, 400, maximum=maximum)[:6]
        assert list(zip(distance[row], index[row], strict=True)) == wanted


def test_theiler_window_counts_its_edge() -> None:
    points = np.arange(20.0)[:, None]
    index, _ = Tree(points).nearest(np.array([10]), 2, 3, 20, False, Poll())
    assert index.tolist() == [[6, 14]]


def test_refused_trees_and_questions() -> None:
    for bad in (np.empty((0, 2)), np.empty((3, 0)), np.zeros((3, MOST_COORDINATES + 1))):
        with pytest.raises(ValueError, match="no such points"):
            Tree(bad)
    with pytest.raises(ValueError, match="not finite"):
        Tree(np.array([[np.nan]]))
    tree = Tree(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="no such neighbours"):
        tree.nearest(np.arange(3), 0, 0, 3, False, Poll())
    with pytest.raises(ValueError, match="no such neighbours"):
        tree.within(3, 1.0, 0, 3, False)
    for centre in (-1, 3):
        with pytest.raises(IndexError):
            tree.nearest(np.array([centre]), 1, 0, 3, False, Poll())
    assert tree.nearest(np.empty(0, dtype=np.int64), 2, 0, 3, False, Poll())[0].shape == (0, 2)


def test_divergence_with_ends_and_gaps() -> None:
    x = np.random.default_rng(2).normal(size=60)
    x[33] = np.nan
    first = np.array([0, 5, 40, 12, 49])
    second = np.array([7, 40, 5, -1, 0])
    for m, delay, steps, every in ((1, 1, 70, 1), (3, 2, 20, 3), (4, 3, 9, 7)):
        out = diverge(x, m, delay, first, second, steps, every, Poll())
        for row, i, j in zip(out, first, second, strict=True):
            wanted = plain.diverge(x, m, delay, i, j, steps, every)
            np.testing.assert_array_equal(row, wanted)


def test_divergence_refuses_what_is_outside() -> None:
    x = np.zeros(10)
    zero = np.zeros(1, dtype=np.int64)
    with pytest.raises(IndexError):
        diverge(x, 2, 3, zero + 7, zero, 2, 1, Poll())
    with pytest.raises(ValueError, match="no such pairs"):
        diverge(x, 2, 10, zero, zero, 2, 1, Poll())
    assert diverge(x, 2, 3, zero[:0], zero[:0], 5, 1, Poll()).shape == (0, 5)


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
def test_local_maps(m: int, quadratic: bool) -> None:
    delay, k, ridge = 2, 40, 1e-3
    x = np.random.default_rng(m).normal(size=200).cumsum()
    count = len(x) - m * delay
    points = np.stack([x[c * delay : c * delay + count] for c in range(m)], axis=1).copy()
    centres = np.arange(0, count, 9)
    index, distance = Tree(points).nearest(centres, k, 1, count, False, Poll())
    maps, residual = _tangent.fit(
        x, m, delay, centres, index, distance, k, ridge, quadratic, Poll()
    )
    for row, centre in enumerate(centres):
        near = plain.ranked(points, centre, 1, count, maximum=False)[:k]
        wanted, error = plain.local_map(x, m, delay, centre, near, ridge, quadratic=quadratic)
        np.testing.assert_allclose(maps[row], wanted, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(residual[row], error, rtol=1e-6, atol=1e-9)


def test_maps_of_too_few_neighbours_are_none() -> None:
    x = np.random.default_rng(0).normal(size=50)
    index = np.array([[3, 4, 5, -1], [7, 8, 9, 10]])
    distance = np.array([[0.1, 0.2, 0.3, np.inf], [0.1, 0.2, 0.3, 0.4]])
    maps, residual = _tangent.fit(
        x, 2, 1, np.array([0, 20]), index, distance, 4, 0.01, False, Poll()
    )
    assert np.isnan(maps[0]).all()
    assert np.isnan(residual[0])
    assert np.isfinite(maps[1]).all()
    growth = _tangent.chain(maps, np.eye(2))
    assert np.isnan(growth[0]).all()
    assert np.isfinite(growth[1]).all()


def test_maps_of_neighbours_that_tell_nothing_are_none() -> None:
    index = np.arange(10, 22, 2)[None, :]
    near = np.linspace(1, 2, 6)[None, :]
    line, rng = np.arange(30.0), np.random.default_rng(1)
    for x, distance, ridge in (
        (rng.normal(size=30), np.zeros((1, 6)), 0.1),  # all where the centre is
        (np.ones(30), near, 0.1),  # no differences to fit
        (1e-170 * rng.normal(size=30), near, 0.1),  # none whose squares are left
        (np.where(line % 2, 1.0, rng.normal(size=30)), near, 0.0),  # along one axis alone
    ):
        maps, residual = _tangent.fit(
            x, 2, 1, np.array([2]), index, distance, 6, ridge, False, Poll()
        )
        assert np.isnan(maps).all() and np.isnan(residual).all()
    # With a ridge a line is as good as any other: x goes on as it went.
    maps, residual = _tangent.fit(line, 2, 1, np.array([2]), index, near, 6, 1e-9, False, Poll())
    np.testing.assert_allclose(maps, [[0.5, 0.5]], rtol=1e-6)


def test_refused_maps_and_frames() -> None:
    x, zero = np.zeros(20), np.zeros(1, dtype=np.int64)
    index, distance = np.zeros((1, 3), dtype=np.int64), np.ones((1, 3))

    def fit(m=1, delay=1, centres=zero, index=index, distance=distance, k=3, ridge=0.0):
        return _tangent.fit(x, m, delay, centres, index, distance, k, ridge, False, Poll())

    for bad in (
        {"m": 0},
        {"delay": 0},
        {"m": _tangent.MOST_COORDINATES + 1},
        {"centres": np.zeros(2, dtype=np.int64)},
        {"distance": np.ones((2, 3))},
        {"distance": np.ones((1, 4))},
        {"k": 0},
        {"k": 4},
        {"ridge": -1.0},
        {"ridge": np.nan},
    ):
        with pytest.raises(ValueError, match="no such maps"):
            fit(**bad)
    for bad in ({"centres": zero - 1}, {"centres": zero + 19}, {"index": index + 19}):
        with pytest.raises(IndexError, match="no such points"):
            fit(**bad)
    maps, errors = fit(centres=zero[:0], index=index[:0], distance=distance[:0])
    assert maps.shape == (0, 1) and errors.shape == (0,)
    for maps, frame in (((3, 0), (1, 0)), ((3, 2), (1, 3)), ((3, 2), (3, 2)), ((3, 2), (0, 2))):
        with pytest.raises(ValueError, match="no such frame"):
            _tangent.chain(np.zeros(maps), np.zeros(frame))
    assert _tangent.chain(np.zeros((0, 2)), np.eye(2)).shape == (0, 2)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_growth_of_frames(m: int) -> None:
    maps = np.random.default_rng(m).normal(size=(30, m))
    for k in range(1, m + 1):
        frame = np.random.default_rng(k).normal(size=(k, m))
        np.testing.assert_allclose(
            _tangent.chain(maps, frame.copy()), plain.grow(maps, frame), rtol=1e-8, atol=1e-8
        )


def test_growth_goes_on_behind_a_singular_map() -> None:
    growth = _tangent.chain(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 0.0]]))
    assert growth[0, 0] == -np.inf
    assert growth[1, 0] == np.log(2.0)
