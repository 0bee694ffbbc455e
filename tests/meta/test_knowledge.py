"""`MetaKnowledge`: its bounds, and how it shows itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from midstream.meta.knowledge import anytime_lower_bounds, lower_bounds
from midstream.meta.levels import Levels


def test_the_anytime_bound_is_the_edge_of_the_mixture():
    hits = np.array([0, 1, 5, 50, 90, 100, 0])
    trials = np.array([0, 1, 10, 100, 100, 100, 7])
    low = anytime_lower_bounds(hits, trials, 0.05)
    assert (low <= lower_bounds(hits, trials, 0.05)).all()
    assert low[0] == low[-1] == 0.0
    for s, n, p in zip(hits[1:-1], trials[1:-1], low[1:-1], strict=True):
        # The likelihood under Beta(1/2, 1/2), by quadrature, against that under p.
        grid = (np.arange(200_000) + 0.5) / 200_000
        prior = stats.beta(0.5, 0.5).pdf(grid)
        mixture = np.mean(prior * grid**s * (1 - grid) ** (n - s))
        assert mixture / (p**s * (1 - p) ** (n - s)) == pytest.approx(20.0, rel=1e-2)


def test_what_is_known_shows_itself_in_one_line():
    levels = Levels(2)
    for _ in range(20):
        for phrase in ([1, 2, 3], [4, 5]):
            levels.observe(phrase)
            levels.close(1)
        levels.close(2)
    for level in (1, 2):
        for known in levels.knowledge(level):
            assert repr(known).startswith(f"<MetaKnowledge {known.name[:8]} of level {level}: ")
            assert f"seen {known.support} times" in repr(known)
            assert len(repr(known)) < 250
