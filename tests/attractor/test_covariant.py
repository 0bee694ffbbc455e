"""Covariant vectors: covariant, growing at the exponents, and where closed forms put them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from reference import systems as oracle

from midstream import MidstreamError
from midstream.attractor import (
    CovariantVectors,
    System,
    covariant_vectors,
    lyapunov_spectrum,
    systems,
)
from midstream.attractor._catalogue import CATALOGUE
from midstream.errors import ArgumentValueError


def aligned(a: np.ndarray, b: np.ndarray) -> float:
    """Largest sine of an angle between matching columns."""
    cosine = (a * b).sum(axis=-2, keepdims=True)
    return float(np.linalg.norm(a - cosine * b, axis=-2).max())


def test_cat_map_has_eigenvectors() -> None:
    """Everywhere the eigenvectors of [[2, 1], [1, 1]]."""
    found = covariant_vectors(systems.arnold_cat(), steps=500, transient=60)
    golden = (1 + math.sqrt(5)) / 2
    expected = np.array([[golden, 1.0], [1.0, -golden]]).T / math.hypot(golden, 1)
    assert aligned(found.vectors, np.broadcast_to(expected, found.vectors.shape)) < 1e-12
    assert found.growth == pytest.approx(
        np.broadcast_to([0.9624236501, -0.9624236501], (500, 2)), abs=1e-9
    )
    assert found.angle(0, 1) == pytest.approx(np.full(501, math.pi / 2), abs=1e-12)


def test_a_constant_matrix_that_is_not_symmetric() -> None:
    """The frame of QR is orthogonal, the vectors are not."""
    system = System(["a*x + y", "b*y"], params={"a": 0.5, "b": -1.0}, x0=[0.0, 0.0], dt=0.01)
    found = covariant_vectors(system, steps=300, transient=3000)
    second = np.array([1.0, -1.5]) / math.hypot(1, 1.5)
    expected = np.stack([[1.0, 0.0], second], axis=1)
    assert aligned(found.vectors, np.broadcast_to(expected, found.vectors.shape)) < 1e-10
    assert found.exponents == pytest.approx([0.5, -1.0], abs=1e-9)
    assert found.angle(0, 1) == pytest.approx(np.full(301, math.atan(1.5)), abs=1e-10)
    assert found.splitting(1) == pytest.approx(found.angle(0, 1), abs=1e-12)


@pytest.fixture(scope="module")
def lorenz() -> CovariantVectors:
    return covariant_vectors(systems.lorenz(), dt=0.005, steps=40_000, transient=4000, every=2)


def test_vectors_are_carried_into_each_other(lorenz: CovariantVectors) -> None:
    """By the derivative of two of the textbook's steps, got by differences."""
    f = oracle.function(CATALOGUE["lorenz"])
    h = 1e-6
    for index in (0, 1, 777, len(lorenz) - 2):
        x = lorenz.states[index]
        columns = [
            (oracle.rk4(f, x + h * e, 0.005, 2) - oracle.rk4(f, x - h * e, 0.005, 2)) / (2 * h)
            for e in np.eye(3)
        ]
        carried = np.stack(columns, axis=1) @ lorenz.vectors[index]
        lengths = np.linalg.norm(carried, axis=0)
        assert aligned(carried / lengths, lorenz.vectors[index + 1]) < 1e-6
        assert np.log(lengths) / 0.01 == pytest.approx(lorenz.growth[index], abs=1e-5)
        assert oracle.rk4(f, x, 0.005, 2) == pytest.approx(lorenz.states[index + 1], abs=1e-10)


def test_one_vector_of_a_flow_is_its_direction(lorenz: CovariantVectors) -> None:
    system = systems.lorenz()
    velocity = np.array([system.rhs(x) for x in lorenz.states])
    velocity /= np.linalg.norm(velocity, axis=1)[:, None]
    assert aligned(velocity[:, :, None], lorenz.vectors[:, :, 1:2]) < 1e-3


def test_growth_averages_to_the_exponents(lorenz: CovariantVectors) -> None:
    assert lorenz.exponents == pytest.approx(lorenz.growth.mean(axis=0))
    assert lorenz.exponents == pytest.approx([0.9056, 0.0, -14.572], abs=0.05)
    # Volume: what the vectors span grows with the trace, whatever their angles do on the way.
    start, end = (np.linalg.det(lorenz.vectors[index]) for index in (0, -1))
    drift = math.log(abs(end / start)) / (0.01 * (len(lorenz) - 1))
    # RK4 itself is off by 6e-6 at this step.
    assert lorenz.exponents.sum() + drift == pytest.approx(-41 / 3, abs=1e-5)


def test_same_exponents_as_the_spectrum() -> None:
    found = covariant_vectors(systems.henon(), steps=100_000, k=2)
    spectrum = lyapunov_spectrum(systems.henon(), steps=400_000, transient=1000)
    error = 4 * spectrum.stderr[0] * math.sqrt(4)
    assert found.exponents == pytest.approx(spectrum.exponents, abs=error)
    # Tangencies of stable and unstable manifolds: Henon's map is not hyperbolic.
    assert found.angle(0, 1).min() < 1e-3
    assert found.angle(0, 1).max() > 1.0


def test_fewer_vectors_are_the_first_ones() -> None:
    every = covariant_vectors(systems.lorenz(), steps=5000, transient=5000, seed=3)
    fewer = covariant_vectors(systems.lorenz(), steps=5000, transient=5000, k=2, seed=4)
    assert fewer.vectors.shape == (5001, 3, 2)
    assert aligned(fewer.vectors, every.vectors[:, :, :2]) < 1e-3


def test_times_and_delay_maps() -> None:
    found = covariant_vectors(systems.mackey_glass(), steps=2000, transient=3000, k=3, every=4)
    assert found.times[:3].tolist() == [3000.0, 3004.0, 3008.0]
    assert found.vectors.shape == (501, 35, 3)
    assert abs(found.exponents[0]) < 0.02
    flow = covariant_vectors(systems.van_der_pol(), steps=10, transient=5, settle=0, t0=2.0)
    assert flow.times == pytest.approx(2.0 + 0.01 * np.arange(5, 16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system": None}, "system must be a System"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"every": 20}, "steps must be at least 20"),
        ({"k": 4}, "k must be at most 3"),
        ({"settle": -1}, "settle must be at least 0"),
        ({"x0": [1.0, 2.0]}, "x0 must have 3 components"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"steps": 10**12}, "frames of 3 vectors"),
        ({"system": System(["0*x", "0.5*y"], kind="map", x0=[1.0, 1.0])}, "k must be at most 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MidstreamError, match=message):
        covariant_vectors(**{"system": systems.lorenz(), "steps": 10, **arguments})


def test_bad_indices(lorenz: CovariantVectors) -> None:
    with pytest.raises(MidstreamError, match="i must be at most 2"):
        lorenz.angle(3, 0)
    with pytest.raises(MidstreamError, match="unstable must be at most 2"):
        lorenz.splitting(3)


def test_too_few_orthonormalisations_are_refused() -> None:
    with pytest.raises(ArgumentValueError, match="every must be smaller"):
        covariant_vectors(systems.lorenz(), dt=0.01, steps=4000, every=400)
