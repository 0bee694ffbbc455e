"""Exponents from equations against closed forms; standard errors against many runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midstream.attractor import System, kaplan_yorke, lyapunov_spectrum, systems
from midstream.attractor._flow import orthonormalise
from midstream.errors import ArgumentTypeError, ArgumentValueError, IntegrationError


@pytest.mark.parametrize(
    ("spectrum", "dimension"),
    [
        ([1, -1, -1], 2.0),
        ([1, 1, -0.5], 3.0),
        ([-1, -2], 0.0),
        ([-2, 0.5, -1], 1.5),
        ([0.9056, 0, -14.5723], 2 + 0.9056 / 14.5723),
        ([0.0, -1.0], 1.0),
        ([1.0, -math.inf], 1.0),
        ([math.inf], 1.0),
    ],
)
def test_kaplan_yorke(spectrum: list[float], dimension: float) -> None:
    assert kaplan_yorke(spectrum) == pytest.approx(dimension, rel=1e-15)


def test_kaplan_yorke_of_what_is_none() -> None:
    for bad in ([math.nan, 1], [[1, 2]], ["a"], [1j]):
        with pytest.raises((ArgumentValueError, ArgumentTypeError), match="exponents must"):
            kaplan_yorke(bad)


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 12])
def test_orthonormalise_is_qr(dim: int) -> None:
    generator = np.random.default_rng(dim)
    for k in range(1, dim + 1):
        columns = generator.normal(size=(dim, k))
        kept = columns.copy()
        r = orthonormalise(columns)
        np.testing.assert_allclose(columns @ r, kept, atol=1e-13)
        np.testing.assert_allclose(columns.T @ columns, np.eye(k), atol=1e-13)
        np.testing.assert_allclose(np.abs(r), np.abs(np.linalg.qr(kept)[1]), atol=1e-13)
        assert (np.diag(r) > 0).all()


def test_a_direction_that_vanishes_is_replaced() -> None:
    columns = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    r = orthonormalise(columns)
    assert r[1, 1] == 0
    np.testing.assert_allclose(columns.T @ columns, np.eye(2), atol=1e-14)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (System("a*x; b*y", params={"a": 0.1, "b": -0.4}), [0.1, -0.4]),
        (System("a*x; b*y", params={"a": 1.1, "b": 0.8}, kind="map"), np.log([1.1, 0.8])),
        (System("2*x + y; x + y", kind="map"), np.log((3 + np.array([1, -1]) * 5**0.5) / 2)),
        (System("x' = y; y' = -x"), [0.0, 0.0]),
        (System("mod(x + 0.6180339887498949, 1)", kind="map"), [0.0]),
    ],
)
def test_closed_forms(system: System, expected: list[float]) -> None:
    start = np.zeros(system.dim)  # of a linear system as good as any, and it never overflows
    dt = None if system.kind == "map" else 0.01
    # The frame turns into its directions at the rate by which they part: 0.5 for the first.
    found = lyapunov_spectrum(system, start, dt=dt, steps=2400, transient=4000)
    np.testing.assert_allclose(found.exponents, sorted(expected, reverse=True), atol=1e-7)
    assert found.divergence == pytest.approx(sum(expected), abs=1e-8)
    assert (found.stderr < 1e-6).all() and (found.stderr >= 0).all()


@pytest.mark.parametrize(
    ("r", "expected"),
    [
        (2.6, math.log(0.6)),
        (3.1, 0.5 * math.log(4 + 6.2 - 3.1**2)),
        (3.2, 0.5 * math.log(abs(4 + 6.4 - 3.2**2))),
    ],
)
def test_stable_cycles_of_the_logistic_map(r: float, expected: float) -> None:
    found = lyapunov_spectrum(systems.logistic(r=r), [0.2], steps=20_000, transient=1000)
    assert found.exponents[0] == pytest.approx(expected, abs=1e-9)


def test_a_superstable_cycle_has_an_infinite_exponent() -> None:
    found = lyapunov_spectrum(systems.logistic(r=2.0), [0.5], steps=100, transient=10)
    assert found.exponents[0] == -math.inf and found.kaplan_yorke == 0


def test_the_sum_is_the_divergence() -> None:
    for name in ("lorenz", "rossler", "henon", "thomas", "duffing", "ikeda_map"):
        found = lyapunov_spectrum(systems.get(name), steps=4000, transient=500)
        assert found.exponents.sum() == pytest.approx(found.divergence, abs=2e-3), name
    # With a step small enough for 1e-6: the error is of fourth order in it.
    fine = lyapunov_spectrum(systems.lorenz(), dt=0.002, steps=20_000, transient=500)
    assert fine.divergence == pytest.approx(-41 / 3, abs=1e-9)
    assert fine.exponents.sum() == pytest.approx(-41 / 3, abs=1e-6)


def test_the_largest_alone_are_the_first_of_all() -> None:
    run = {"steps": 40_000, "transient": 2000}
    everything = lyapunov_spectrum(systems.lorenz(), **run)
    for k in (1, 2):
        some = lyapunov_spectrum(systems.lorenz(), k=k, **run)
        np.testing.assert_allclose(some.exponents, everything.exponents[:k], atol=1e-2)
        # One exponent above 0 leaves the dimension open.
        assert math.isnan(some.kaplan_yorke)
    cycle = lyapunov_spectrum(systems.van_der_pol(), k=1, steps=1000)
    assert len(cycle.exponents) == 1


def test_the_frame_may_start_anywhere() -> None:
    # Two uncoupled directions: a frame along the axes would never turn.
    system = System("-x; y/2", kind="flow")
    for seed in range(3):
        found = lyapunov_spectrum(system, [0, 0], dt=0.01, steps=20_000, k=1, seed=seed)
        assert found.exponents[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    # Lorenz loses in one stretch what it gained in the one before, for longer than these batches.
    [("henon", 0.7, 1.4), ("lorenz", 0.7, 6.0)],
)
def test_standard_errors_tell_the_spread_of_runs(name: str, low: float, high: float) -> None:
    system = systems.get(name)
    start = system.start(None)
    runs = [
        # A transient long enough to forget which start was whose.
        lyapunov_spectrum(system, start + 1e-3 * index, steps=30_000, transient=4000)
        for index in range(30)
    ]
    exponents = np.array([run.exponents for run in runs])
    stderr = np.array([run.stderr for run in runs])
    # 30 runs know their spread to 13 %.
    ratio = stderr.mean(axis=0) / exponents.std(axis=0, ddof=1)
    assert low < ratio[0] < high and low < ratio[-1] < high
    reference = {"henon": 0.41922, "lorenz": 0.9056}[name]
    assert (np.abs(exponents[:, 0] - reference) < 2 * stderr[:, 0]).mean() >= 0.85
    if system.kind == "flow":
        assert (np.abs(exponents[:, 1]) < 2 * stderr[:, 1]).mean() >= 0.9


def test_a_run_goes_on() -> None:
    run = {"transient": 200, "steps": 4000}
    once = lyapunov_spectrum(systems.henon(), **run)
    longer = once.extend(6000)
    again = once.extend(6000)
    np.testing.assert_array_equal(longer.exponents, again.exponents)
    # Counted: all but what turned the frame.
    assert longer.time == once.time + 6000 == 4000 * 0.95 + 6000
    assert (longer.stderr < once.stderr * 1.5).all()
    whole = lyapunov_spectrum(systems.henon(), transient=200, steps=10_000)
    np.testing.assert_allclose(longer.exponents, whole.exponents, atol=0.02)


def test_batches_are_merged_without_loss() -> None:
    # Far more intervals than batches are kept: sums must be the same as those of all intervals.
    found = lyapunov_spectrum(systems.logistic(r=4.0), [0.2], steps=50_001, transient=3)
    longer = found.extend(12_345).extend(1)
    x, logs = 0.2, []
    for _ in range(3 + 50_001 + 12_346):
        logs.append(math.log(abs(4 - 8 * x)))
        x = 4 * x * (1 - x)
    counted = logs[3 + int(50_001 // found.every * 0.05) * found.every :]
    # Rounding separates the two orbits at once; their means agree as those of independent ones.
    assert longer.exponents[0] == pytest.approx(np.mean(counted), abs=0.02)
    assert longer.exponents[0] == pytest.approx(math.log(2), abs=4 * longer.stderr[0])
    assert longer.times[-1] <= longer.time
    np.testing.assert_allclose(longer.history[-1], longer.exponents, atol=5e-3)


def test_history_converges() -> None:
    found = lyapunov_spectrum(systems.lorenz(), dt=0.01, steps=100_000, transient=1000)
    assert found.history.shape == found.history_stderr.shape == (len(found.times), 3)
    assert (np.diff(found.times) > 0).all()
    late = found.history[found.times > 0.5 * found.time]
    assert np.abs(late - found.exponents).max() < 0.05
    assert found.entropy == pytest.approx(found.exponents[0] + max(found.exponents[1], 0))


def test_maps_count_their_own_time() -> None:
    slow = System("2*x - floor(2*x) + 1e-9", kind="map", time_step=0.5)
    found = lyapunov_spectrum(slow, [0.1], steps=1000)
    assert found.exponents[0] == pytest.approx(2 * math.log(2), abs=1e-12)
    assert found.time == pytest.approx(0.5 * 1000, rel=0.1)


def test_hamiltonian_exponents_come_in_pairs() -> None:
    found = lyapunov_spectrum(
        systems.henon_heiles(), [0, -0.25, 0.42081, 0], dt=0.02, steps=200_000
    )
    np.testing.assert_allclose(
        found.exponents, -found.exponents[::-1], atol=2 * found.stderr.max() + 1e-6
    )
    assert found.exponents.sum() == pytest.approx(0, abs=1e-6)


def test_what_is_shown() -> None:
    found = lyapunov_spectrum(systems.lorenz(), steps=3000)
    assert "nats" in str(found) and "±" in str(found)
    page = found._repr_html_()
    assert "lorenz" in page and "<table>" in page


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    lyapunov_spectrum(
        systems.lorenz(), steps=2000, progress=lambda done, total: told.append((done, total))
    )
    assert told and told[-1][0] == told[-1][1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"k": 0}, "k must be at least 1"),
        ({"k": 4}, "k must be at most 3"),
        ({"dt": -1}, "dt must be positive"),
        ({"transient": -1}, "transient must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"x0": [1.0]}, "x0 must have 3 components"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(ArgumentValueError, match=words):
        lyapunov_spectrum(systems.lorenz(), **({"steps": 100} | arguments))


def test_blow_up_tells_the_step() -> None:
    for steps, transient in ((200, 0), (200, 50), (1, 400)):
        with pytest.raises(IntegrationError, match="after step 103"):
            lyapunov_spectrum(System("x*x"), [1.0], dt=0.01, steps=steps, transient=transient)
