"""Surrogates keep what they promise and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from reference import orbits

from midstream import MidstreamError
from midstream.attractor import surrogate_test, surrogates


def spectrum(x: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.rfft(x))


@pytest.mark.parametrize("n", [64, 65, 1000])
def test_phase_keeps_the_spectrum(n: int) -> None:
    x = np.random.default_rng(n).normal(size=n).cumsum() + 100
    for y in surrogates(x, "phase", 3, seed=1):
        np.testing.assert_allclose(spectrum(y), spectrum(x), rtol=1e-9, atol=1e-9)
        assert not np.allclose(y, x)


def test_shuffle_and_iaaft_keep_the_values() -> None:
    x = np.exp(np.random.default_rng(3).normal(size=500))
    for method in ("shuffle", "iaaft"):
        for y in surrogates(x, method, 4, seed=2):
            assert np.array_equal(np.sort(y), np.sort(x))
            assert not np.array_equal(y, x)


def test_iaaft_comes_close_to_the_spectrum() -> None:
    x = np.zeros(2000)
    shocks = np.random.default_rng(0).normal(size=2000)
    for t in range(1, 2000):
        x[t] = 0.9 * x[t - 1] + shocks[t]
    x = x**3
    whole = spectrum(x)[1:]

    def off(y: np.ndarray) -> float:
        return float(np.linalg.norm(spectrum(y)[1:] - whole) / np.linalg.norm(whole))

    shuffled = [off(y) for y in surrogates(x, "shuffle", 3)]
    adjusted = [off(y) for y in surrogates(x, "iaaft", 3)]
    assert max(adjusted) < 0.15
    assert min(shuffled) > 0.5


@pytest.mark.parametrize("method", ["phase", "shuffle", "iaaft", "pseudoperiodic"])
def test_seeds(method) -> None:
    x = np.sin(np.arange(300) / 3) + 0.1 * np.random.default_rng(0).normal(size=300)
    first, second = surrogates(x, method, 3, seed=5), surrogates(x, method, 3, seed=5)
    assert first.shape == (3, 300)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, surrogates(x, method, 3, seed=6))
    assert not np.array_equal(first[0], first[1])


def test_pseudoperiodic_keeps_cycles_and_loses_their_order() -> None:
    field = orbits.rossler(0.2, 0.2, 5.7)
    x = orbits.flow(field, [1, 1, 1], 3000, 0.2, range(1), substeps=2, transient=50)[0]
    for y in surrogates(x, "pseudoperiodic", 3, seed=1, emb_dim=3, delay=7):
        assert np.isin(y, x).all()
        # The same period, and no long piece of the data as it is.
        assert abs(spectrum(y)[1:].argmax() - spectrum(x)[1:].argmax()) <= 3
        place = {value: i for i, value in enumerate(x)}
        jumps = np.diff([place[value] for value in y]) != 1
        assert 0.02 < jumps.mean() < 0.95


def test_rank_test_finds_asymmetry_and_accepts_noise() -> None:
    def skew(y: np.ndarray) -> float:
        return float(np.mean(np.diff(y) ** 3))

    henon = orbits.henon(500, range(1))[0]
    found = surrogate_test(henon, skew, n=39)
    assert found.p_value == float(found) == 0.05
    assert len(found.surrogates) == 39
    noise = np.random.default_rng(8).normal(size=(40, 200))
    rejected = sum(surrogate_test(x, skew, n=19, side="less").p_value <= 0.05 for x in noise)
    assert rejected <= 6  # binomial(40, 0.05) exceeds it once in 200


def test_constant_series_have_constant_surrogates() -> None:
    for method in ("phase", "shuffle", "iaaft", "pseudoperiodic"):
        np.testing.assert_allclose(surrogates(np.full(40, 2.5), method, 2), 2.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], "iaaft"), "at least 4 samples"),
        (([1.0, 2.0, 3.0, 4.0], "pseudoperiodic"), "at least 16 samples"),
        ((np.arange(9.0), "fourier"), "method must be one of"),
        ((np.arange(9.0), "iaaft", 0), "n must be at least 1"),
        (([1.0, np.nan, 2.0, 3.0], "phase"), "finite"),
    ],
)
def test_refusals(arguments, message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        surrogates(*arguments)


def test_more_refusals() -> None:
    x = np.random.default_rng(0).normal(size=40)
    with pytest.raises(MidstreamError, match="emb_dim belongs"):
        surrogates(x, "iaaft", emb_dim=3)
    with pytest.raises(MidstreamError, match="radius must be"):
        surrogates(x, "pseudoperiodic", radius=-1.0)
    with pytest.raises(MidstreamError, match="emb_dim=9 and delay=4"):
        surrogates(x[:39], "pseudoperiodic", emb_dim=9, delay=4)
    with pytest.raises(MidstreamError, match="must not return NaN"):
        surrogate_test(x, lambda y: float("nan"), n=2)
    with pytest.raises(MidstreamError, match="statistic must be callable"):
        surrogate_test(x, 3.0)
