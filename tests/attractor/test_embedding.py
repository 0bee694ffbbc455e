"""Delay coordinates and the choice of their parameters, against known systems and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference import orbits

from midstream import MidstreamError
from midstream.attractor import (
    autocorrelation,
    cao_dimension,
    embed,
    mutual_information_delay,
    theiler_window,
)


@pytest.fixture(scope="module")
def rossler() -> np.ndarray:
    field = orbits.rossler(0.2, 0.2, 5.7)
    return orbits.flow(field, [1, 1, 1], 5000, 0.1, range(3), substeps=4, transient=100)


@pytest.fixture(scope="module")
def henon() -> np.ndarray:
    return orbits.henon(3000, range(2))


def test_embed_by_hand() -> None:
    x = np.arange(10)
    assert embed(x, 3, 2).tolist() == [[i, i + 2, i + 4] for i in range(6)]
    assert embed(x, 1, 7).tolist() == [[i] for i in range(10)]
    assert embed(x, 4, 3).shape == (1, 4)
    both = embed(np.stack([x, 10 + x], axis=1), 2, 4)
    assert both.tolist() == [[i, 10 + i, i + 4, 14 + i] for i in range(6)]
    assert both.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, np.int16, ">f8", bool])
def test_embed_takes_every_real_dtype(dtype) -> None:
    x = (np.arange(12) % 2).astype(dtype)[::-1]
    assert embed(x, 2, 3).tolist() == embed(x.astype(float), 2, 3).tolist()


@pytest.mark.parametrize(
    ("x", "m", "delay", "message"),
    [
        (np.arange(4), 3, 2, "at least 5 points"),
        ([], 1, 1, "at least 1 points"),
        ([1.0, np.nan, 2.0], 2, 1, "finite"),
        ([1j, 2j], 1, 1, "real numbers"),
        ([[[1.0]]], 1, 1, "2-dimensional"),
        (np.arange(9), 0, 1, "emb_dim must be at least 1"),
        (np.arange(9), 2, 0, "delay must be at least 1"),
        (np.arange(9), 2.5, 1, "emb_dim must be an integer"),
    ],
)
def test_embed_refuses(x, m, delay, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        embed(x, m, delay)
    assert isinstance(caught.value, MidstreamError)


def test_autocorrelation_by_definition() -> None:
    x = np.random.default_rng(1).normal(size=137).cumsum() + 1e6
    centred = x - x.mean()
    wanted = [float(centred[: 137 - k] @ centred[k:] / (centred @ centred)) for k in range(137)]
    np.testing.assert_allclose(autocorrelation(x), wanted, atol=1e-9)
    np.testing.assert_allclose(autocorrelation(x, 20), wanted[:21], atol=1e-9)
    assert len(autocorrelation(x, 1000)) == 137
    assert np.isnan(autocorrelation([2.0, 2.0, 2.0])).all()


def test_rossler_has_the_published_lags(rossler: np.ndarray) -> None:
    for x in rossler:
        choice = mutual_information_delay(x)
        assert choice.reason == "first_minimum"
        assert abs(int(choice) * 0.1 - 1.375) <= 0.225
        correlation = autocorrelation(x, 60)
        assert abs(np.flatnonzero(correlation < 0)[0] * 0.1 - 1.5) <= 0.2
        assert abs(correlation[:45].argmin() * 0.1 - 3.0) <= 0.4
        assert abs(int(cao_dimension(x, int(choice))) - 4) <= 1


def test_mutual_information_by_counting() -> None:
    """Two cells, known joint counts: 0, 1, 0, 1, ... is known from its past."""
    choice = mutual_information_delay(np.tile([0.0, 1.0], 50), 4, bins=2)
    np.testing.assert_allclose(choice.curve[1], math.log(2), atol=0.001)
    assert choice.curve[0].tolist() == [0, 1, 2, 3, 4]
    noise = mutual_information_delay(np.random.default_rng(0).normal(size=20000), 3, bins=2)
    np.testing.assert_allclose(noise.curve[1], [math.log(2), 0, 0, 0], atol=1e-3)


def test_mutual_information_does_not_see_the_scale(rossler: np.ndarray) -> None:
    x = rossler[0]
    plain, bent = mutual_information_delay(x), mutual_information_delay(np.exp(x / 10) - 5)
    # Only how many lags are looked at depends on it.
    assert plain.curve[1, :50].tolist() == bent.curve[1, :50].tolist()
    assert int(plain) == int(bent)


def test_rules_of_the_delay(henon: np.ndarray) -> None:
    assert (int(mutual_information_delay(henon[0])), mutual_information_delay(henon[0]).reason) == (
        1,
        "uncorrelated",
    )
    constant = mutual_information_delay(np.ones(100))
    assert (int(constant), constant.reason) == (1, "constant")
    short = mutual_information_delay(np.arange(10))
    assert (int(short), short.reason) == (1, "too_short")
    assert "delay 1" in short._repr_html_()
    sine = mutual_information_delay(np.sin(np.arange(4000) * 2 * np.pi / 100))
    assert sine.reason == "quarter_period"
    assert abs(int(sine) - 25) <= 1
    # A slow decay without a minimum or a zero within reach.
    slow = mutual_information_delay(np.random.default_rng(5).normal(size=1000).cumsum(), 12)
    assert int(slow) == 12
    assert slow.reason == "decayed"
    assert float(slow) == 12.0
    assert list(range(20))[slow] == 12


def test_cao_of_maps_flows_and_noise(henon: np.ndarray, rossler: np.ndarray) -> None:
    for x in henon:
        found = cao_dimension(x, 1)
        assert int(found) == 2
        assert found.saturated
        assert found.deterministic
    assert cao_dimension(rossler[0], 14).deterministic
    noise = cao_dimension(np.random.default_rng(0).normal(size=3000), 1)
    assert not noise.deterministic
    assert int(noise) > 6
    assert "noise" in noise._repr_html_()


def test_cao_by_definition() -> None:
    """E1 and E2 of Cao (1997), equations 1 to 5, by plain loops."""
    x = np.random.default_rng(4).normal(size=120).cumsum()
    delay, theiler = 2, 3
    scaled = (x - x.mean()) / (x.max() - x.min())
    e, star = [], []
    for m in range(1, 6):
        count = len(x) - m * delay
        ratios, steps = [], []
        for i in range(count):
            best = None
            for j in range(count):
                if abs(i - j) <= theiler:
                    continue
                gap = max(abs(scaled[i + k * delay] - scaled[j + k * delay]) for k in range(m))
                if best is None or gap < best[0]:
                    best = (gap, j)
            new = abs(scaled[i + m * delay] - scaled[best[1] + m * delay])
            ratios.append(max(best[0], new) / best[0])
            steps.append(new)
        e.append(np.mean(ratios))
        star.append(np.mean(steps))
    found = cao_dimension(x, delay, 4, theiler=theiler)
    np.testing.assert_allclose(found.e1, np.array(e[1:]) / e[:-1], rtol=1e-12)
    np.testing.assert_allclose(found.e2, np.array(star[1:]) / star[:-1], rtol=1e-12)


def test_cao_of_what_has_no_dimension() -> None:
    constant = cao_dimension(np.ones(100), 1, 4)
    assert (int(constant), constant.reason) == (1, "constant")
    assert np.isnan(constant.e1).all()
    periodic = cao_dimension(np.arange(200) % 4, 1, 4)
    assert periodic.reason == "too_few_neighbours"
    with pytest.raises(MidstreamError, match="at least 62 samples"):
        cao_dimension(np.arange(40.0), 5, 10, theiler=10)


def test_theiler_window() -> None:
    assert theiler_window(np.ones(50)) == 1
    assert theiler_window(np.random.default_rng(0).normal(size=1000)) <= 4
    assert theiler_window(np.sin(np.arange(1000) / 5), delay=90) == 90
    assert theiler_window(np.random.default_rng(0).normal(size=1000).cumsum()) == 100
