"""zero_one_test against the written-out sums, and on motions whose kind is known."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from reference import chaos_test as reference

from midstream import MidstreamError
from midstream.attractor import zero_one_test


def logistic(r: float, n: int, x: float = 0.2) -> np.ndarray:
    kept = []
    for _ in range(n + 200):
        x = r * x * (1 - x)
        kept.append(x)
    return np.array(kept[200:])


def lorenz(n: int, dt: float) -> np.ndarray:
    def f(s):
        return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    s = np.ones(3)
    kept = []
    for _ in range(n + 500):
        k1 = f(s)
        k2 = f(s + dt / 2 * k1)
        k3 = f(s + dt / 2 * k2)
        s = s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + f(s + dt * k3))
        kept.append(s[0])
    return np.array(kept[500:])


@pytest.mark.parametrize("r", [3.55, 3.7, 4.0])
@pytest.mark.parametrize("damping", [0.0, 0.5, 2.5])
def test_every_frequency_is_that_of_the_sums(r: float, damping: float) -> None:
    x = logistic(r, 203)
    ours = zero_one_test(x, n_c=5, damping=damping, every=1)
    for c, k in ours.curve.T:
        # As scaled by the range: K does not change.
        assert k == pytest.approx(reference.correlation(x, c, damping), abs=1e-9)
    assert float(ours) == pytest.approx(np.median(ours.curve[1]))
    assert ours.ci[0] <= float(ours) <= ours.ci[1]


T = np.arange(4000.0)
NOISE = np.random.default_rng(5).normal(size=4000)


@pytest.mark.parametrize(
    ("x", "verdict"),
    [
        (logistic(4.0, 1000), "chaotic"),
        (logistic(3.8, 1000), "chaotic"),
        (logistic(3.6, 4000), "chaotic"),
        (logistic(3.55, 1000), "regular"),
        (logistic(3.83, 1000), "regular"),
        (logistic(3.5699456, 2000), "regular"),
        (np.sin(2.1 * T), "regular"),
        (np.sin(0.03 * T), "regular"),
        (np.sin(0.03 * T) + 0.03 * NOISE, "regular"),
        (np.sin(0.1 * T) + np.sin(0.1 * math.sqrt(2) * T), "regular"),
        (1e6 + np.sin(0.1 * T) * np.sin(0.31 * T), "regular"),
        (NOISE, "chaotic"),
    ],
    ids=range(12),
)
def test_known_motions(x: np.ndarray, verdict: str) -> None:
    ours = zero_one_test(x)
    assert ours.verdict == verdict, ours
    assert ours.reason == "ok"
    assert ours.details["spread"] < 0.5


def test_oversampled_flows_are_thinned() -> None:
    x = lorenz(8000, 0.02)
    assert zero_one_test(x, every=1).verdict != "chaotic"
    ours = zero_one_test(x)
    assert (ours.verdict, ours.details["every"]) == ("chaotic", 8)
    assert ours.n_effective == 1000
    assert "one sample in 8" in " ".join(ours.reasons)
    same = zero_one_test(x[::8], every=1)
    assert float(same) == float(ours)


def test_scale_and_offset_do_not_matter() -> None:
    x = logistic(3.9, 600)
    one = zero_one_test(x)
    for other in (1e-200 * x, 1e200 * x, -x, 3 * x + 1e6):
        assert float(zero_one_test(other)) == pytest.approx(float(one), abs=1e-6)


def test_nothing_to_say() -> None:
    for x, reason in ((np.full(500, 0.1), "constant"), (logistic(4.0, 99), "too_short")):
        ours = zero_one_test(x)
        assert math.isnan(float(ours))
        assert (ours.verdict, ours.reason) == ("insufficient", reason)
    assert zero_one_test(logistic(4.0, 500), every=10).reason == "too_short"


def test_seed_and_threads() -> None:
    x = logistic(4.0, 500)
    one = zero_one_test(x)
    assert float(zero_one_test(x, seed=1)) != float(one)
    for n_jobs in (2, -1):
        assert (zero_one_test(x, n_jobs=n_jobs).curve == one.curve).all()
    with ThreadPoolExecutor(4) as pool:
        for each in pool.map(lambda _: zero_one_test(x), range(4)):
            assert (each.curve == one.curve).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"x": []}, "x "),
        ({"x": [[1.0, 2.0]]}, "x "),
        ({"x": [1.0, math.nan]}, "x "),
        ({"x": [1.0, 2j]}, "x "),
        ({"n_c": 1}, "n_c"),
        ({"n_c": 2.5}, "n_c"),
        ({"seed": -1}, "seed"),
        ({"every": 0}, "every"),
        ({"damping": -1}, "damping"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_bad_arguments(arguments, named) -> None:
    with pytest.raises(MidstreamError, match=named):
        zero_one_test(**{"x": logistic(4.0, 200), **arguments})
