"""permutation_entropy and sample_entropy against their definitions, hand cases and peers."""

from __future__ import annotations

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import entropies as reference

from midstream import MidstreamError
from midstream.attractor import permutation_entropy, sample_entropy
from midstream.attractor._ordinal import LONGEST, ordinal_codes

BANDT_POMPE = [4, 7, 9, 10, 6, 11, 3]


def test_the_example_of_bandt_and_pompe() -> None:
    assert permutation_entropy(BANDT_POMPE, 3, base=2) == pytest.approx(1.5219281, abs=1e-7)
    assert permutation_entropy(BANDT_POMPE, 2, base=2) == pytest.approx(0.9182958, abs=1e-7)
    nats = permutation_entropy(BANDT_POMPE)
    assert nats == pytest.approx(1.5219281 * math.log(2), abs=1e-7)
    assert (nats.unit, nats.windows, nats.patterns) == ("nats", 5, 3)
    share = permutation_entropy(BANDT_POMPE, normalize=True)
    assert share == pytest.approx(nats / math.log(6))
    assert share.unit == ""


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    st.integers(2, 9),
    st.integers(1, 3),
)
@settings(deadline=None, max_examples=200)
def test_patterns_with_ties(x: list[int], order: int, delay: int) -> None:
    if len(x) < (order - 1) * delay + 1:
        with pytest.raises(MidstreamError, match=f"at least {(order - 1) * delay + 1}"):
            permutation_entropy(x, order, delay)
        return
    ours = permutation_entropy(x, order, delay)
    assert ours == pytest.approx(reference.permutation_entropy(x, order, delay), abs=1e-12)
    assert ours.patterns == len(set(reference.patterns(x, order, delay)))
    weighted = permutation_entropy(x, order, delay, weighted=True)
    expected = reference.weighted_permutation_entropy(x, order, delay)
    assert weighted == pytest.approx(expected, abs=1e-9)


def test_patterns_that_have_no_number() -> None:
    for order, delay in ((1, 1), (LONGEST + 1, 1), (3, 0)):
        with pytest.raises(ValueError, match="no such patterns"):
            ordinal_codes(np.zeros(50), order, delay)
    assert ordinal_codes(np.zeros(50), 3, 1 << 62).shape == (0,)


@pytest.mark.parametrize("n", [5, 1023, 1024, 1025, 2051])
def test_lengths_around_chunks(n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    for order in (2, 4):
        expected = reference.permutation_entropy(x, order, 1)
        assert permutation_entropy(x, order) == pytest.approx(expected, abs=1e-12)


def test_constant_monotonic_and_white() -> None:
    constant = permutation_entropy(np.full(100, 0.1))
    assert (float(constant), constant.reason) == (0.0, "constant")
    assert math.copysign(1, constant) == 1
    assert permutation_entropy(np.full(100, 0.1), weighted=True) == 0
    rising = permutation_entropy(np.arange(100))
    assert (float(rising), rising.reason, rising.patterns) == (0.0, "ok", 1)
    white = permutation_entropy(np.random.default_rng(0).normal(size=20_000), 4, normalize=True)
    assert 0.999 < white <= 1
    assert permutation_entropy(np.arange(50) % 7, 6).reason == "few_windows"
    # No order of the logistic map at r = 4 is descending.
    logistic = [0.2]
    for _ in range(3000):
        logistic.append(4 * logistic[-1] * (1 - logistic[-1]))
    assert permutation_entropy(logistic, 3).patterns == 5


def test_windows_span_no_gap() -> None:
    x = np.random.default_rng(1).normal(size=200)
    x[[50, 51, 120]] = [math.nan, math.inf, -math.inf]
    ours = permutation_entropy(x, 3, 2, nan_policy="omit")
    pieces = [x[:50], x[52:120], x[121:]]
    assert ours.windows == sum(len(piece) - 4 for piece in pieces)
    with pytest.raises(MidstreamError, match="index 50"):
        permutation_entropy(x)
    with pytest.raises(MidstreamError, match="at least 3 consecutive samples, got 2"):
        permutation_entropy([1, 2, math.nan, 3], nan_policy="omit")


@pytest.mark.parametrize(
    ("x", "m", "r", "expected"),
    [
        ([0, 1, 5, 4, 1, 0, 1, 5, 3], 2, None, math.log(2)),
        ([1, 2, 1, 2.4, 1, 4], 1, 0.5, math.log(2)),
        (
            [0, 20, 1, 2, 3, 4, 40, 60, 1.4, 2.4, 3.4, 80, 100, 1.4, 2.4, 3.4, 4, 120, 140, 180],
            3,
            0.5,
            math.log(4),
        ),
    ],
)
def test_hand_cases(x: list[float], m: int, r: float | None, expected: float) -> None:
    assert sample_entropy(x, m, r) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_counts_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, delay, theiler = (int(value) for value in rng.integers((1, 1, 0), (5, 4, 4)))
    n = int(rng.integers(m * delay + theiler + 2, 200))
    # Rounded: many differences are exactly r.
    x = rng.normal(size=n).round(int(rng.integers(0, 2)))
    if seed % 2:
        x[rng.integers(0, n, 3)] = math.nan
        if not np.isfinite(x).any():
            x[0] = 1.0
    ours = sample_entropy(x, m, 0.5, delay=delay, theiler=theiler, nan_policy="omit")
    a, b, pairs = reference.template_matches(x, m, 0.5, delay, theiler)
    assert (ours.a, ours.b) == (a, b)
    if pairs:
        assert ours.bound == pytest.approx(math.log(pairs))
    else:
        assert math.isnan(ours.bound)
    assert ours == pytest.approx(math.log(b / a)) if a else math.isnan(ours)


@pytest.mark.parametrize("n", [63, 64, 65, 66, 67, 127, 128, 129, 130, 193])
def test_lengths_around_words(n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    for m in (1, 2):
        ours = sample_entropy(x, m, 0.4)
        assert (ours.a, ours.b) == reference.template_matches(x, m, 0.4)[:2]


@pytest.mark.parametrize(("m", "delay"), [(1, 64), (2, 32), (4, 32), (3, 21), (1, 65)])
def test_gaps_and_templates_of_whole_words(m: int, delay: int) -> None:
    x = np.random.default_rng(m).integers(0, 2, size=300).astype(float)
    x[[3, 70, 71, 200]] = math.nan
    ours = sample_entropy(x, m, 0.4, delay=delay, nan_policy="omit")
    assert (ours.a, ours.b) == reference.template_matches(x, m, 0.4, delay)[:2]
    assert ours.a > 0


def test_nothing_matches() -> None:
    far = sample_entropy([1, 2, 4, 8, 16, 32, 64], 2, 0.1)
    assert math.isnan(far)
    assert (far.a, far.b, far.reason) == (0, 0, "no_match")
    n, m = 7, 2
    assert far.bound == pytest.approx(-math.log(2 / ((n - m - 1) * (n - m))))
    once = sample_entropy([1, 2, 3, 1, 2, 9, 50], 2, 0.1)
    assert math.isnan(once)
    assert (once.a, once.b, once.reason) == (0, 1, "no_longer_match")
    constant = sample_entropy(np.full(30, 0.1))
    assert (float(constant), constant.reason) == (0.0, "constant")


def test_same_for_every_number_of_threads() -> None:
    x = np.random.default_rng(0).normal(size=3000)
    told: list[tuple[int, int]] = []
    one = sample_entropy(x, progress=lambda *pair: told.append(pair))
    assert told[-1] == (2997, 2997)
    for n_jobs in (2, 3, -1):
        assert repr(sample_entropy(x, n_jobs=n_jobs)) == repr(one)
    with ThreadPoolExecutor(4) as pool:
        for each in pool.map(lambda _: (sample_entropy(x), permutation_entropy(x)), range(8)):
            assert each == (one, permutation_entropy(x))


def test_results_are_numbers_with_facts() -> None:
    ours = sample_entropy([1, 2, 1, 2.4, 1, 4], m=1, r=0.5)
    assert isinstance(ours, float)
    assert ours.value == float(ours) == ours
    for copied in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(copied) is type(ours)
        assert repr(copied) == repr(ours)
    with pytest.raises(AttributeError, match="immutable"):
        ours.a = 3  # type: ignore[misc]
    assert str(ours) == "0.693147 nats"
    assert "<th>bound</th>" in ours._repr_html_()
    assert str(sample_entropy(np.ones(9))) == "0 nats (constant)"


def test_what_arrays_may_be() -> None:
    x = np.random.default_rng(0).integers(-9, 9, 400)
    wanted = (permutation_entropy(x), sample_entropy(x, r=3))
    frozen = x.astype(float)
    frozen.flags.writeable = False
    strided = np.repeat(x, 2)[::2]
    for form in (x.tolist(), frozen, strided, x.astype("i1"), x.astype(">f4"), x.astype("f2")):
        assert (permutation_entropy(form), sample_entropy(form, r=3)) == wanted


@pytest.mark.parametrize("function", [permutation_entropy, sample_entropy])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"x": []}, ValueError),
        ({"x": [1.0, math.nan, 2.0, 3.0, 4.0]}, ValueError),
        ({"x": [[1.0, 2.0]]}, ValueError),
        ({"x": [1.0]}, ValueError),
        ({"x": [1j, 2, 3, 4, 5]}, TypeError),
        ({"x": ["a", "b", "c", "d"]}, TypeError),
        ({"x": [object()] * 5}, TypeError),
        ({"x": [math.nan] * 9, "nan_policy": "omit"}, ValueError),
        ({"delay": 0}, ValueError),
        ({"delay": 10**20}, ValueError),
        ({"delay": 1.5}, TypeError),
        ({"nan_policy": "drop"}, ValueError),
    ],
)
def test_bad_arguments(function, arguments, error) -> None:
    with pytest.raises(error) as raised:
        function(**{"x": np.arange(9.0), **arguments})
    assert isinstance(raised.value, MidstreamError)


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (permutation_entropy, {"order": 1}, "order"),
        (permutation_entropy, {"order": 21}, "order"),
        (permutation_entropy, {"base": 1}, "base"),
        (permutation_entropy, {"base": -2}, "base"),
        (sample_entropy, {"m": 0}, "m "),
        (sample_entropy, {"r": -0.1}, "r "),
        (sample_entropy, {"r": math.nan}, "r "),
        (sample_entropy, {"theiler": -1}, "theiler"),
        (sample_entropy, {"theiler": 10**20}, "x must have at least"),
        (sample_entropy, {"n_jobs": 0}, "n_jobs"),
        (sample_entropy, {"progress": 3}, "progress"),
    ],
)
def test_bad_arguments_are_named(function, arguments, named) -> None:
    with pytest.raises(MidstreamError, match=named):
        function(np.arange(9.0), **arguments)


def test_peers_agree() -> None:
    antropy = pytest.importorskip("antropy")
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=1500), np.sin(np.arange(1500) / 7), rng.normal(size=800).cumsum()):
        assert permutation_entropy(x, 4, 2, base=2) == pytest.approx(
            antropy.perm_entropy(x, 4, 2), abs=1e-9
        )
        assert sample_entropy(x) == pytest.approx(antropy.sample_entropy(x), abs=1e-9)
