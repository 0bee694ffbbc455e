"""Comparator: the answers of the measures themselves, whatever is asked in which order."""

from __future__ import annotations

import array
import copy
import itertools
import pickle
import random
import threading
from decimal import Decimal
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream import MidstreamError, compare
from midstream.compare import CacheInfo, Comparator

NUMERIC = [
    "euclidean",
    "dtw",
    "wdtw",
    "ddtw",
    "adtw",
    "soft_dtw",
    "lcss",
    "erp",
    "edr",
    "msm",
    "twe",
    "frechet",
]
SYMBOLIC = ["levenshtein", "lcs"]


@pytest.fixture
def calls(monkeypatch):
    """Arguments of every call that reaches `levenshtein` or `dtw`."""
    made = []

    def watch(name):
        original = getattr(compare, name)

        def called(a, b, **params):
            made.append((a, b))
            return original(a, b, **params)

        monkeypatch.setattr(compare, name, called)

    watch("levenshtein")
    watch("dtw")
    return made


@pytest.mark.parametrize("name", NUMERIC)
def test_numeric_measures(name: str) -> None:
    rng = np.random.default_rng(0)
    comparator = Comparator()
    measure = getattr(compare, name)
    pairs = [(rng.normal(size=n), rng.normal(size=n)) for n in (5, 40)]
    expected = [measure(x, y) for x, y in pairs]
    for _ in range(2):
        assert [getattr(comparator, name)(x, y) for x, y in pairs] == expected
    assert comparator.cache_info() == CacheInfo(2, 2, 1024, 2)
    assert [comparator.compare(x, y, name) for x, y in pairs] == expected
    # All of them are symmetric, to the bit.
    assert [comparator.compare(y, x, name) for x, y in pairs] == expected
    assert [measure(y, x) for x, y in pairs] == expected
    assert comparator.cache_info() == CacheInfo(6, 2, 1024, 2)


@pytest.mark.parametrize("name", SYMBOLIC)
def test_symbolic_measures(name: str) -> None:
    comparator = Comparator()
    measure = getattr(compare, name)
    for a, b in [
        ("kitten", "sitting"),
        (b"kitten", bytearray(b"sitting")),
        ([1, 2, 3], (2, 3, 4)),
        (np.array([1, 2, 3]), np.array([2, 3, 4], dtype=np.int16)),
        (array.array("l", [1, 2, 3]), array.array("l", [2, 3])),
        (["a", None, (1, 2)], ["a", (1, 2)]),
        ([2**70, 1], [2**70]),
        ("", "abc"),
        ("\ud800x" * 100, "x" * 100),
    ]:
        before = comparator.cache_info()
        expected = measure(a, b)
        assert getattr(comparator, name)(a, b) == expected
        assert getattr(comparator, name)(b, a) == measure(b, a)
        assert comparator.compare(a, b, metric=name) == expected
        after = comparator.cache_info()
        assert (after.hits, after.misses) == (before.hits + 2, before.misses + 1)


def test_another_pair_of_the_same_lengths_is_another_pair() -> None:
    """A cache keyed by lengths answered with the distance of whatever was compared first."""
    comparator = Comparator()
    zeros = np.zeros(10)
    for height in range(5):
        other = np.full(10, float(height))
        assert comparator.dtw(zeros, other) == compare.dtw(zeros, other)
        assert comparator.levenshtein("a" * 5, "a" * height + "b" * (5 - height)) == 5 - height
    assert comparator.cache_info().hits == 0


def test_every_pair_of_short_texts() -> None:
    comparator = Comparator(maxsize=None)
    texts = ["".join(text) for n in range(4) for text in itertools.product("ab", repeat=n)]
    for _ in range(2):
        for a, b in itertools.product(texts, repeat=2):
            assert comparator.levenshtein(a, b) == compare.levenshtein(a, b)
    pairs = len(texts) * (len(texts) + 1) // 2
    assert comparator.cache_info().misses == comparator.cache_info().currsize == pairs


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([0, 1, 1.0, True, "1", 2**61 - 1, nan, -0.0]), max_size=3),
            st.lists(st.sampled_from([0, 1, False, "1", 2**61 - 1, nan, -1, -2]), max_size=3),
        ),
        max_size=40,
    ),
    st.integers(0, 8),
)
def test_mixed_symbols(pairs, maxsize) -> None:
    comparator = Comparator(maxsize)
    for a, b in pairs * 2:
        assert comparator.levenshtein(a, b) == compare.levenshtein(a, b)
        assert comparator.levenshtein(tuple(b), a) == compare.levenshtein(b, a)


def test_equal_symbols_are_the_same_sequence(calls) -> None:
    comparator = Comparator()
    for ones in ([1, "x"], [1.0, "x"], [True, "x"], (Decimal(1), "x"), [np.float64(1), "x"]):
        assert comparator.levenshtein(ones, ["x"]) == 1
    assert len(calls) == 1
    assert comparator.levenshtein(["1", "x"], ["x"]) == 1
    assert len(calls) == 2


def test_nan_is_equal_to_nothing_from_the_cache_too() -> None:
    comparator = Comparator()
    for _ in range(2):
        assert comparator.levenshtein([nan], [nan]) == 1
        assert comparator.levenshtein([float("nan")], [float("nan")]) == 1
        missing = [nan, 1.0]
        assert comparator.levenshtein(missing, missing) == 1


def test_arrays_are_told_apart_by_all_that_counts(calls) -> None:
    comparator = Comparator()
    values = np.arange(6.0)
    different = [
        values,
        values.reshape(3, 2),
        values.reshape(2, 3),
        values.astype(np.float32),
        values.astype(np.int64),
        -values,
        values[:5],
    ]
    for array_ in different:
        assert comparator.dtw(array_, array_) == compare.dtw(array_, array_) == 0
    assert comparator.cache_info() == CacheInfo(0, len(different), 1024, len(different))
    # Copies, views and lists of the same are the same.
    wide = np.zeros((6, 2))
    wide[:, 0] = values
    for same in (values.copy(), wide[:, 0], values[::-1][::-1], values.tolist(), tuple(values)):
        assert comparator.dtw(same, values) == 0
    assert comparator.cache_info().hits == 5


@pytest.mark.parametrize("length", [3, 500])
def test_what_was_changed_is_another_sequence(length: int) -> None:
    comparator = Comparator()
    zeros = np.zeros(length)
    changed = np.zeros(length)
    assert comparator.dtw(zeros, changed) == 0
    changed[1] = 5
    assert comparator.dtw(zeros, changed) == compare.dtw(zeros, changed) > 0
    changed[1] = 0
    assert comparator.dtw(zeros, changed) == 0
    assert comparator.cache_info().hits == 1
    symbols = ["a"] * length
    assert comparator.levenshtein(symbols, ["a"] * length) == 0
    symbols[0] = "b"
    assert comparator.levenshtein(symbols, ["a"] * length) == 1
    text = bytearray(length)
    assert comparator.levenshtein(text, bytes(length)) == 0
    text[0] = 1
    assert comparator.levenshtein(text, bytes(length)) == 1


def test_a_change_during_the_comparison_does_not_reach_the_cache(monkeypatch) -> None:
    original = compare.dtw
    victim = np.zeros(5)

    def changes(x, y, **params):
        victim[:] = 7
        return original(x, y, **params)

    monkeypatch.setattr(compare, "dtw", changes)
    comparator = Comparator()
    assert comparator.dtw(victim, np.ones(5)) == original(np.zeros(5), np.ones(5))
    assert comparator.dtw(np.zeros(5), np.ones(5)) == original(np.zeros(5), np.ones(5))
    assert comparator.cache_info().hits == 1


def test_parameters_and_measures_belong_to_the_key() -> None:
    comparator = Comparator()
    x, y = np.arange(10.0), np.arange(10.0)[::-1].copy()
    for _ in range(2):
        for params in ({}, {"window": 0}, {"window": 3}, {"window": None}, {"cost": "equal"}):
            assert comparator.dtw(x, y, **params) == compare.dtw(x, y, **params)
        assert comparator.euclidean(x, y) == compare.euclidean(x, y)
    assert comparator.cache_info() == CacheInfo(6, 6, 1024, 6)
    # What is an error for the measure stays one, though True == 1 == 1.0.
    assert comparator.dtw(x, y, window=1) == compare.dtw(x, y, window=1)
    for wrong in (True, 1.0):
        with pytest.raises(TypeError, match="window"):
            comparator.dtw(x, y, window=wrong)


def test_unequal_weights_are_not_symmetric() -> None:
    comparator = Comparator()
    for weights in ((1, 3, 1), (2, 2, 3), [1, 3, 1]):
        try:
            there = compare.levenshtein("ab", "abcd", weights=weights)
        except TypeError:
            continue
        back = compare.levenshtein("abcd", "ab", weights=weights)
        for _ in range(2):
            assert comparator.levenshtein("ab", "abcd", weights=weights) == there
            assert comparator.levenshtein("abcd", "ab", weights=weights) == back


def test_symbols_by_dtw() -> None:
    comparator = Comparator()
    for _ in range(2):
        assert comparator.dtw("abc", "abd", cost="equal") == compare.dtw("abc", "abd", cost="equal")
    assert comparator.cache_info().hits == 1


def test_least_recently_used_goes_first(calls) -> None:
    comparator = Comparator(maxsize=2)
    comparator.levenshtein("a", "")
    comparator.levenshtein("b", "")
    comparator.levenshtein("a", "")
    comparator.levenshtein("c", "")  # "b" goes
    assert comparator.cache_info() == CacheInfo(1, 3, 2, 2)
    comparator.levenshtein("a", "")
    assert len(calls) == 3
    comparator.levenshtein("b", "")
    assert len(calls) == 4


@pytest.mark.parametrize(("maxsize", "kept"), [(0, 0), (1, 1), (5, 5), (None, 20)])
def test_maxsize(maxsize, kept) -> None:
    comparator = Comparator(maxsize)
    assert comparator.maxsize == maxsize
    for _ in range(2):
        for n in range(20):
            assert comparator.levenshtein("a" * n, "") == n
    info = comparator.cache_info()
    assert info == CacheInfo(
        20 if maxsize is None else 0, 20 if maxsize is None else 40, maxsize, kept
    )
    comparator.cache_clear()
    assert comparator.cache_info() == CacheInfo(0, 0, maxsize, 0)
    assert repr(comparator) == f"Comparator(maxsize={maxsize})"


def test_errors_are_the_measure_s_and_not_kept() -> None:
    comparator = Comparator()
    bad = [
        (lambda: comparator.dtw([], [1.0]), ValueError),
        (lambda: comparator.dtw([nan], [1.0]), ValueError),
        (lambda: comparator.dtw(["a", "b"], [1.0]), TypeError),
        (lambda: comparator.dtw([[1.0], [2.0, 3.0]], [1.0]), ValueError),
        (lambda: comparator.dtw([2**70], [1j]), TypeError),
        (lambda: comparator.levenshtein(5, "a"), TypeError),
        (lambda: comparator.levenshtein([[1]], ["a"]), TypeError),
        (lambda: comparator.compare("a", "b", metric="no such"), ValueError),
        (lambda: comparator.compare("a", "b", metric=3), TypeError),
        (lambda: comparator.compare("a", "b", metric="Comparator"), ValueError),
    ]
    for _ in range(2):
        for call, error in bad:
            with pytest.raises(error) as caught:
                call()
            assert isinstance(caught.value, MidstreamError)
    with pytest.raises(TypeError, match="bogus"):
        comparator.dtw([1.0], [1.0], bogus=1)
    with pytest.raises(TypeError, match="bogus"):
        comparator.dtw([1.0], [1.0], bogus=object())
    assert comparator.cache_info().currsize == 0


@pytest.mark.parametrize("maxsize", [-1, 1.5, "10", True])
def test_bad_maxsize_is_named(maxsize) -> None:
    with pytest.raises(MidstreamError, match="maxsize"):
        Comparator(maxsize)


def test_what_cannot_be_keyed_is_computed() -> None:
    class Text(str):
        pass

    comparator = Comparator()
    for _ in range(2):
        assert comparator.levenshtein(Text("ab"), "b") == 1
    assert comparator.cache_info() == CacheInfo(0, 2, 1024, 0)


def test_symbols_whose_equality_uses_the_comparator() -> None:
    comparator = Comparator()

    class Reenters:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            comparator.levenshtein("a", "b")
            comparator.cache_clear()
            return isinstance(other, Reenters)

    for _ in range(3):
        assert comparator.levenshtein([Reenters()], [Reenters()]) == 0


def test_copies_start_empty() -> None:
    comparator = Comparator(7)
    comparator.levenshtein("a", "b")
    for same in (copy.copy(comparator), copy.deepcopy(comparator)):
        assert same.cache_info() == CacheInfo(0, 0, 7, 0)
    assert pickle.loads(pickle.dumps(comparator)).maxsize == 7


def test_threads_never_get_a_wrong_answer() -> None:
    comparator = Comparator(maxsize=16)
    rng = random.Random(0)
    texts = ["".join(rng.choices("abc", k=rng.randrange(8))) for _ in range(12)]
    expected = {pair: compare.levenshtein(*pair) for pair in itertools.product(texts, repeat=2)}
    wrong = []

    def work(seed):
        own = random.Random(seed)
        for _ in range(2000):
            pair = (own.choice(texts), own.choice(texts))
            if comparator.levenshtein(*pair) != expected[pair]:
                wrong.append(pair)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    info = comparator.cache_info()
    assert info.hits + info.misses == 8000
    assert info.currsize <= 16
