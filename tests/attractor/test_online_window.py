"""What a window counts against the definitions, after every point, at the level in use."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.online import ordinal_counts, window_measures

from midstream.attractor._online import Window
from midstream.errors import ArgumentValueError

EXACT = (
    "rows",
    "pairs",
    "recurrent",
    "adjacent",
    "line_points",
    "lines",
    "neighbours",
    "coincident",
    "counted",
)


def assert_equal(window, points, size, config):
    expected = window_measures(points, size, **config)
    found = window._counts()
    for name in EXACT:
        assert found[name] == expected[name], name
    assert window._by_lag().tolist() == expected["by_lag"]
    for name in ("depth", "mean", "step", "growth", "spread"):
        # A spread is a difference of squares: what is lost there are roundings of the growth.
        floor = 1e-6 if name == "spread" else 1e-12
        assert np.allclose(found[name], expected[name], rtol=1e-12, atol=floor), name
    tables = ordinal_counts(points, config["order"], config["delay"])
    for row, table in zip(window._pattern_counts(), tables, strict=True):
        assert sorted(row[row > 0]) == sorted(table.values())
    assert np.array_equal(window.points(), points)


@st.composite
def cases(draw):
    dim = draw(st.integers(1, 3))
    emb_dim = draw(st.integers(1, 3))
    delay = draw(st.integers(1, 2))
    min_line = draw(st.integers(1, 3))
    size = draw(st.integers((emb_dim - 1) * delay + 2 * min_line + 4, 24))
    lookback = (size - (emb_dim - 1) * delay) // 2
    config = {
        "emb_dim": emb_dim,
        "delay": delay,
        "theiler": draw(st.integers(0, lookback - 1)),
        "order": draw(st.integers(2, 4)),
        "min_line": min_line,
        "radius": draw(st.sampled_from([-1.0, 0.0, 1.0, 2.5])),
        "ratio": draw(st.sampled_from([0.2, 0.7])),
        "horizons": draw(st.sampled_from([[1], [1, 2], []])),
    }
    values = draw(
        st.sampled_from(
            [
                st.integers(0, 2).map(float),
                st.floats(-10, 10),
                st.sampled_from([0.0, 1e-300, 1e10, 1e10 + 1e-5]),
            ]
        )
    )
    n = draw(st.integers(1, 2 * size + 5))
    points = draw(st.lists(st.tuples(*[values] * dim), min_size=n, max_size=n))
    return dim, size, config, np.array(points)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_equals_the_definitions_after_every_point(case):
    dim, size, config, points = case
    window = Window(dim, size, **config)
    for k, point in enumerate(points):
        window.update(tuple(point))
        if k % 7 == 0 or k == len(points) - 1:
            assert_equal(window, points[max(0, k + 1 - size) : k + 1], size, config)


# Look-backs around the word (64) and the vector widths.
@pytest.mark.parametrize("size", [17, 62, 127, 128, 129, 130, 131, 255, 258, 301])
@pytest.mark.parametrize("kind", ["walk", "loop", "noise"])
def test_equals_the_definitions_at_every_width(size, kind):
    rng = np.random.default_rng(size)
    n = size + size // 3
    points = {
        "walk": lambda: rng.normal(size=(n, 2)).cumsum(axis=0),
        "loop": lambda: np.tile(rng.normal(size=(7, 2)), (n // 7 + 1, 1))[:n],
        "noise": lambda: rng.normal(size=(n, 2)),
    }[kind]()
    config = {
        "emb_dim": 2,
        "delay": 1,
        "theiler": 2,
        "order": 3,
        "min_line": 3,
        "radius": -1.0,
        "ratio": 0.3,
        "horizons": [1, 2, 4],
    }
    window = Window(2, size, **config)
    window._push_many(points[: size // 2])
    assert_equal(window, points[: size // 2], size, config)
    window._push_many(points[size // 2 :])
    assert_equal(window, points[-size:], size, config)


PLAIN = {
    "emb_dim": 1,
    "delay": 1,
    "theiler": 1,
    "order": 3,
    "min_line": 2,
    "radius": 1.0,
    "ratio": 0.2,
    "horizons": [1],
}


def test_no_pattern_fits_a_window_shorter_than_one():
    config = {**PLAIN, "delay": 20, "order": 4}
    window, points = Window(1, 24, **config), np.random.default_rng(0).normal(size=(60, 1))
    for k, point in enumerate(points):
        window.update(point)
        assert_equal(window, points[max(0, k - 23) : k + 1], 24, config)
    assert not window._pattern_counts().any()


@pytest.mark.parametrize(
    ("dim", "size", "emb_dim"),
    [
        (1, 1 << 62, 1),
        (1, 1 << 60, 1),
        (1 << 20, 1 << 50, 1),
        (1, 1 << 40, 1),
        (1 << 61, 1 << 10, 8),
    ],
)
def test_windows_that_no_memory_holds(dim, size, emb_dim):
    """Also where the number of bytes is more than a word holds."""
    with pytest.raises(MemoryError, match=f"window of {size} points of {dim} components"):
        Window(dim, size, **{**PLAIN, "emb_dim": emb_dim})


def test_what_the_binding_refuses():
    with pytest.raises(ValueError, match="too many horizons"):
        Window(1, 64, **{**PLAIN, "horizons": list(range(1, 100))})
    window = Window(1, 64, **PLAIN)
    window._push_many(np.zeros((5, 1)))
    with pytest.raises(ValueError, match="fewer than the window holds"):
        window._set_seen(4)
    window._set_seen(5)
    assert window.n_seen == 5


def test_a_list_that_changes_while_it_is_read():
    class Number:
        def __init__(self, change):
            self.change = change

        def __float__(self):
            self.change()
            return 1.0

    window = Window(2, 24, **PLAIN)
    for add in (True, False):
        point = [2.0]
        point.insert(0, Number(partial(point.append, 3.0) if add else point.clear))
        try:
            window.update(point)
        except ArgumentValueError as error:
            assert str(error) == f"point must have 2 components, got {3 if add else 0}"
            assert len(window) == 0
        else:  # where threads run freely a list is copied first
            assert window.points().tolist() == [[1.0, 2.0]]
            window.reset()


def test_a_different_count_is_noticed():
    config = {
        "emb_dim": 1,
        "delay": 1,
        "theiler": 0,
        "order": 2,
        "min_line": 2,
        "radius": 1.0,
        "ratio": 0.0,
        "horizons": [1],
    }
    window = Window(1, 10, **config)
    window._push_many(np.arange(10.0)[:, None])
    with pytest.raises(AssertionError):
        assert_equal(window, np.arange(10.0)[:, None] * 2, 10, config)
