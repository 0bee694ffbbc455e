"""Spring against one warping matrix for every start."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.search import spring as by_definition

from midstream import MidstreamError
from midstream.compare import Match, Spring


def online(query, stream, threshold, cost="squared"):
    spring = Spring(query, threshold, cost)
    found = []
    for t, value in enumerate(stream):
        match = spring.update(value)
        if match is not None:
            found.append((t, *match))
    pending = spring.pending
    last = spring.finish()
    assert last == pending
    assert spring.pending is None
    if last is not None:
        found.append((None, *last))
    return found


def wanted(query, stream, threshold, cost="squared"):
    root = (lambda value: value) if cost == "absolute" else math.sqrt
    return [
        (t, start, end, root(total))
        for t, start, end, total in by_definition(query, stream, threshold, cost == "absolute")
    ]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), max_size=40),
    st.sampled_from([0.0, 1.0, 2.0**0.5, 3.0, 10.0, math.inf]),
    st.sampled_from(["squared", "absolute"]),
)
def test_agrees_with_the_definition(query, stream, threshold, cost) -> None:
    assert online(query, stream, threshold, cost) == wanted(query, stream, threshold, cost)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=25),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from(["squared", "absolute"]),
)
def test_agrees_with_the_definition_in_two_dimensions(query, stream, threshold, cost) -> None:
    assert online(query, stream, threshold, cost) == wanted(query, stream, threshold, cost)


def test_the_example_of_the_paper() -> None:
    stream = [5, 12, 6, 10, 6, 5, 13]
    assert online([11, 6, 9, 4], stream, math.sqrt(15)) == [(6, 1, 5, math.sqrt(6))]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_feeding_is_updating(size: int) -> None:
    rng = np.random.default_rng(0)
    query = rng.normal(size=9)
    stream = np.concatenate(
        [np.concatenate([rng.normal(size=30) * 3, np.repeat(query, 2)]) for _ in range(20)]
    )
    one, many = Spring(query, 1.0), Spring(query, 1.0)
    singly = [match for value in stream if (match := one.update(value)) is not None]
    batches = [stream[i : i + size] for i in range(0, len(stream), size)]
    together = [match for batch in batches for match in many.feed(batch)]
    assert len(together) >= 19
    assert singly == together
    assert one.best == many.best
    assert one.count == many.count == len(stream)
    assert one.finish() == many.finish()
    many.reset()
    assert (many.count, many.best, many.pending) == (0, None, None)
    assert many.feed(iter(stream.tolist())) == together


def test_best_is_told_above_the_threshold_too() -> None:
    spring = Spring([1.0, 2.0, 1.0], threshold=0.0)
    assert spring.best is None
    assert spring.feed([9.0, 1.0, 2.5, 1.0, 9.0]) == []
    assert spring.best == Match(1, 4, 0.5)


def test_after_the_end_nothing_overlaps_what_was_reported() -> None:
    spring = Spring([1.0, 2.0], threshold=0.0)
    assert spring.feed([1.0, 2.0]) == []
    assert spring.finish() == Match(0, 2, 0.0)
    assert spring.finish() is None
    assert spring.feed([2.0, 2.0]) == []
    assert spring.finish() is None
    assert spring.feed([1.0, 2.0, 0.0]) == [Match(4, 6, 0.0)]


def test_the_query_is_copied() -> None:
    query = np.array([1.0, 2.0])
    spring = Spring(query, threshold=0.0)
    query[:] = 7
    assert spring.feed([1.0, 2.0, 9.0]) == [Match(0, 2, 0.0)]


@pytest.mark.parametrize(
    ("query", "threshold", "cost", "named"),
    [
        ([], 1.0, "squared", "query"),
        ([math.nan], 1.0, "squared", "query"),
        ([[[1.0]]], 1.0, "squared", "query"),
        (["a"], 1.0, "squared", "query"),
        ([1.0], -1.0, "squared", "threshold"),
        ([1.0], math.nan, "squared", "threshold"),
        ([1.0], None, "squared", "threshold"),
        ([1.0], 1.0, "equal", "cost"),
    ],
)
def test_bad_settings_are_named(query, threshold, cost, named) -> None:
    with pytest.raises(MidstreamError, match=named):
        Spring(query, threshold, cost)


def test_bad_samples_are_refused_and_not_taken() -> None:
    spring = Spring([1.0, 2.0], threshold=0.0)
    for value in (math.nan, math.inf, "x", None, [1.0], 1j):
        with pytest.raises(MidstreamError, match="value"):
            spring.update(value)
    for values in ([1.0, math.nan], [[1.0]], ["a"], 7, None, np.float64(1)):
        with pytest.raises(MidstreamError, match="values"):
            spring.feed(values)
    assert spring.count == 0
    assert spring.feed([]) == []
    plane = Spring([[1.0, 2.0]], threshold=0.0)
    for value in (1.0, [1.0], [1.0, math.nan], [[1.0, 2.0]]):
        with pytest.raises(MidstreamError, match="value"):
            plane.update(value)
    assert plane.count == 0
    assert plane.update((1, 2)) is None
    assert plane.finish() == Match(0, 1, 0.0)


def test_names_and_numbers_of_a_spring() -> None:
    rng = np.random.default_rng(7)
    query, stream = rng.normal(size=(4, 2)), rng.normal(size=(90, 2))
    spring, other = Spring(query, 1.25), Spring(query, 1.25)
    assert spring.threshold == 1.25
    assert repr(spring) == "<Spring: 4 samples of 2, threshold=1.25, cost='squared'>"
    assert repr(Spring([1.0, 2.0], 3.0)).startswith("<Spring: 2 samples, threshold=3.0")
    found = spring.update_many(stream)
    assert found == other.feed(stream) and len(found) > 0
