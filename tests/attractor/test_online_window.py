"""What a window counts against the definitions, after every point, at the level in use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.online import ordinal_counts, window_measures

from midstream.attractor._online import Window

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
