"""Trajectories against the textbook, against scipy, and against each other bit for bit."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from reference.systems import function as textbook
from reference.systems import rk4

from midstream._core._poll import Poll
from midstream.attractor import System, ensemble, integrate, solve, systems
from midstream.attractor._catalogue import CATALOGUE
from midstream.errors import ArgumentTypeError, ArgumentValueError, IntegrationError

FLOWS = systems.names(kind="flow")
STARTS = np.random.default_rng(5).normal(size=(150, 3))


@pytest.mark.parametrize("name", FLOWS)
def test_steps_are_those_of_the_textbook(name: str) -> None:
    entry = CATALOGUE[name]
    assert entry.dt is not None
    expected = rk4(textbook(entry), entry.x0, entry.dt, 20)
    found = integrate(systems.get(name), steps=20)[-1]
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", systems.names())
def test_compiled_steps_and_the_interpreter_give_the_same_bits(name: str) -> None:
    system = systems.get(name)
    start, dt = system.start(None), system.step_length(None)
    rows = 300 if system.dim < 20 else 30
    for tangents in (False, True):
        compiled = system.stepper(dt=dt, tangents=tangents)
        interpreted = system.stepper(dt=dt, tangents=tangents, native=False)
        assert not interpreted.is_native
        if not tangents:
            both = np.empty((2, rows, system.dim))
            for out, flow in zip(both, (compiled, interpreted), strict=True):
                flow.path(start, 10, rows, 3, out, Poll())
        else:
            both = np.zeros((2, compiled.inputs, 8))
            both[:, : system.dim] = start[:, None]
            both[:, system.dim : 2 * system.dim] = np.random.default_rng(0).normal(
                size=(system.dim, 8)
            )
            for state, flow in zip(both, (compiled, interpreted), strict=True):
                flow.tangent_bundle(state, 0, 5, True, Poll())
        np.testing.assert_array_equal(both[0], both[1])


def test_text_of_ones_own_is_the_built_in_system() -> None:
    own = System(
        "u' = a*(v - u); v' = u*(b - w) - v; w' = u*v - c*w", params={"a": 10, "b": 28, "c": 8 / 3}
    )
    assert own.native
    np.testing.assert_array_equal(
        integrate(own, [1, 1, 1], dt=0.01, steps=5000),
        integrate(systems.lorenz(), [1, 1, 1], dt=0.01, steps=5000),
    )


@pytest.mark.parametrize("count", [1, 2, 7, 8, 64, 127, 128, 129, 150])
@pytest.mark.parametrize("native", [True, False])
def test_an_ensemble_is_its_trajectories(count: int, native: bool) -> None:
    text = "" if native else " + sin(x)"
    system = System(
        ["s*(y - x)" + text, "x*(r - z) - y", "x*y - b*z"], params={"s": 10, "r": 28, "b": 8 / 3}
    )
    assert system.native == native
    starts = STARTS[:count]
    run = {"dt": 0.01, "steps": 60, "transient": 11}
    ends = ensemble(system, starts, **run)
    kept = ensemble(system, starts, every=7, n_jobs=2, **run)
    assert kept.shape == (count, 60 // 7 + 1, 3)
    for index in {0, count // 2, count - 1}:
        alone = integrate(system, starts[index], **run)
        np.testing.assert_array_equal(ends[index], alone[-1])
        np.testing.assert_array_equal(kept[index], alone[::7])
    np.testing.assert_array_equal(ensemble(system, starts, n_jobs=2, **run), ends)


@pytest.mark.parametrize("name", systems.names())
def test_an_ensemble_of_any_system_is_its_trajectories(name: str) -> None:
    system = systems.get(name)
    start, dt = system.start(None), system.step_length(None)
    starts = start + 1e-3 * np.random.default_rng(0).normal(size=(9, system.dim))
    ends = ensemble(system, starts, dt=dt, steps=20)
    alone = [integrate(system, one, dt=dt, steps=20)[-1] for one in starts]
    np.testing.assert_array_equal(ends, alone)


def test_starts_are_left_as_they_are() -> None:
    starts = STARTS.copy()
    ensemble(systems.lorenz(), starts, dt=0.01, steps=3)
    np.testing.assert_array_equal(starts, STARTS)


def test_an_ensemble_of_a_callable_and_of_a_map() -> None:
    callable_system = System(lambda x: -x, 2)
    ends = ensemble(callable_system, [[1, 2], [3, 4]], dt=0.1, steps=10)
    np.testing.assert_allclose(ends, np.exp(-1) * np.array([[1, 2], [3, 4]]), rtol=1e-6)
    starts = np.linspace(0.1, 0.9, 9)[:, None]
    ends = ensemble(systems.logistic(r=2.5), starts, steps=200)
    np.testing.assert_allclose(ends, 0.6, rtol=1e-12)


@pytest.mark.parametrize("method", ["rk4", "rk45"])
def test_time_enters_where_it_should(method: str) -> None:
    # x' = cos(t) from t0: x = sin(t) - sin(t0).
    system = System("cos(t)")
    found = integrate(
        system, [0.0], dt=0.01, steps=100, t0=0.5, transient=50, every=10, method=method
    )
    times = 0.5 + 0.01 * (50 + 10 * np.arange(11))
    np.testing.assert_allclose(found[:, 0], np.sin(times) - math.sin(0.5), atol=1e-9)
    count = System("x + t", kind="map")
    np.testing.assert_array_equal(integrate(count, [0.0], steps=4)[:, 0], [0, 0, 1, 3, 6])


def test_rk4_is_of_fourth_order() -> None:
    system = System("x' = y; y' = -x")
    errors = [
        abs(integrate(system, [1, 0], dt=1 / n, steps=n)[-1] - [math.cos(1), -math.sin(1)]).max()
        for n in (10, 20, 40)
    ]
    assert 14 < errors[0] / errors[1] < 18 and 14 < errors[1] / errors[2] < 18


def test_what_does_not_move_keeps_its_bits() -> None:
    # An equilibrium whose slope is 0 in floating point too.
    system = System("x' = y; y' = 0*x + (y - y)")
    for x in np.random.default_rng(2).normal(size=20):
        assert integrate(system, [x, 0.0], dt=0.37, steps=1000)[-1, 0] == x


def test_adaptive_steps_agree_with_scipy() -> None:
    from scipy.integrate import solve_ivp

    lorenz = systems.lorenz()
    ours = solve(lorenz, [1, 1, 1], t_span=(0, 5), rtol=1e-10, atol=1e-12)
    theirs = solve_ivp(
        lambda t, x: lorenz.rhs(x), (0, 5), [1, 1, 1], method="DOP853", rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(ours.x[-1], theirs.y[:, -1], rtol=1e-6)
    # No more work than the same pair there.
    pair = solve_ivp(lambda t, x: lorenz.rhs(x), (0, 5), [1, 1, 1], rtol=1e-10, atol=1e-12)
    assert ours.evaluations < 1.2 * pair.nfev
    assert ours.t[0] == 0 and ours.t[-1] == 5 and len(ours.t) == len(ours.x)


def test_a_solution_is_a_function_of_time() -> None:
    turn = System("x' = y; y' = -x")
    for first, last in ((0.0, 7.0), (7.0, 0.0)):
        start = [math.cos(first), -math.sin(first)]
        found = solve(turn, start, t_span=(first, last), rtol=1e-10, atol=1e-12)
        times = np.linspace(0, 7, 101)
        np.testing.assert_allclose(found(times)[:, 0], np.cos(times), atol=2e-9)
        assert found(3.0).shape == (2,)
        np.testing.assert_allclose(found(found.t), found.x, atol=1e-14)
        with pytest.raises(ArgumentValueError, match="must lie in"):
            found(7.5)


def test_steps_are_fetched_until_the_end() -> None:
    # More than are fetched at once, 2048; backwards, the longest step counts too.
    turn = System("x' = y; y' = -x")
    for first, last in ((0.0, 6.0), (6.0, 0.0)):
        start = [math.cos(first), -math.sin(first)]
        found = solve(turn, start, t_span=(first, last), max_step=1e-3)
        assert len(found.t) >= 6001 and (found.t[0], found.t[-1]) == (first, last)
        assert np.abs(np.diff(found.t)).max() <= 1e-3 + 1e-15
        np.testing.assert_allclose(found.x[:, 0], np.cos(found.t), atol=1e-12)
    sampled = integrate(System("cos(40*t)"), [0.0], dt=10.0, steps=12, method="rk45")
    np.testing.assert_allclose(sampled[:, 0], np.sin(400 * np.arange(13)) / 40, atol=1e-7)


def test_what_rests_has_no_steps_to_guess() -> None:
    for start in (0.0, 3.0):
        found = solve(System("0*x"), [start], t_span=(2, 12))
        assert set(found.x[:, 0]) == {start} and found.t[-1] == 12 and found.rejected == 0


def test_a_first_step_into_infinity_is_taken_back() -> None:
    # x' = -x^3 falls like 1 / sqrt(2t), but a step of 1 from 100 overflows.
    found = solve(System("-x^3"), [100.0], t_span=(0, 1), first_step=1.0, rtol=1e-10, atol=1e-12)
    assert found.rejected > 1 and found.t[1] < 1e-3
    np.testing.assert_allclose(found.x[:, 0], 1 / np.sqrt(1e-4 + 2 * found.t), rtol=1e-7)


def test_the_step_after_a_refused_one_is_no_longer() -> None:
    # Of 10 and of 2, stages of x' = -x lie below 0, where this is no number; 0.4 is easy.
    loose = {"rtol": 1e-2, "atol": 1e-2, "first_step": 10.0}
    found = solve(System("-exp(log(x))"), [1.0], t_span=(0, 10), **loose)
    lengths = np.diff(found.t)
    assert lengths[:2] == pytest.approx([0.4, 0.4], rel=1e-12) and lengths[2] > 0.4
    np.testing.assert_allclose(found.x[:, 0], np.exp(-found.t), atol=1e-2)


@pytest.mark.parametrize("text", ["1/t", "log(t)", "x/t^2", "sqrt(t - 3)"])
@pytest.mark.parametrize("last", [1, -1])
def test_no_step_leaves_a_singular_start(text: str, last: int) -> None:
    with pytest.raises(IntegrationError, match=r"too small at t = 0, where the state is \(1\)"):
        solve(System(text), [1.0], t_span=(0, last))


def test_a_slope_that_is_infinite_next_to_the_start() -> None:
    def slope(x, t):
        return [1.0 if t <= 0 else math.inf]

    with pytest.raises(IntegrationError, match="too small at t = 0,"):
        solve(System(slope, 1), [1.0], t_span=(0, 1))
    ended = solve(System(slope, 1), [1.0], t_span=(-1, 0))
    np.testing.assert_allclose(ended.x[:, 0], 1 + (ended.t + 1), rtol=1e-14)


def test_no_time_no_steps() -> None:
    found = solve(System("x"), [2.0], t_span=(1, 1))
    assert found.x.tolist() == [[2.0]] and found(1.0).tolist() == [2.0]


def test_tolerances_are_kept() -> None:
    turn = System("x' = y; y' = -x")
    errors = []
    for rtol in (1e-4, 1e-7, 1e-10):
        end = solve(turn, [1, 0], t_span=(0, 20), rtol=rtol, atol=rtol).x[-1]
        errors.append(abs(end - [math.cos(20), -math.sin(20)]).max())
        assert errors[-1] < 50 * rtol
    assert errors[0] > errors[1] > errors[2]
    short = solve(turn, [1, 0], t_span=(0, 1), max_step=0.01, first_step=0.001)
    assert np.diff(short.t).max() <= 0.01 + 1e-15 and short.t[1] == 0.001


def test_a_system_of_functions_has_adaptive_steps_too() -> None:
    found = integrate(System(lambda x: -x, 1), [1.0], dt=0.5, steps=4, method="rk45")
    np.testing.assert_allclose(found[:, 0], np.exp(-0.5 * np.arange(5)), rtol=1e-8)
    with pytest.raises(ZeroDivisionError):
        solve(System(lambda x: 1 / 0, 1), [1.0], t_span=(0, 1))


def test_blow_up_tells_step_and_state() -> None:
    square = System("x*x")
    with pytest.raises(IntegrationError, match="after step 103") as raised:
        integrate(square, [1.0], dt=0.01, steps=1000)
    assert raised.value.step == 103 and raised.value.trajectory is None
    # The same step, made by hand from the state told.
    before = raised.value.state
    with pytest.raises(IntegrationError, match="after step 1;"):
        integrate(square, before, dt=0.01, steps=1)
    for every in (1, 3, 1000):
        with pytest.raises(IntegrationError, match="after step 103"):
            integrate(square, [1.0], dt=0.01, steps=1000, every=every)
    with pytest.raises(IntegrationError, match="after step 103"):
        integrate(square, [1.0], dt=0.01, steps=1, transient=2000)
    with pytest.raises(IntegrationError, match="trajectory 3 is not finite after step 103"):
        ensemble(square, [[-1.0], [0.1], [0.2], [1.0]], dt=0.01, steps=200)
    with pytest.raises(IntegrationError, match="trajectory 140"):
        ensemble(square, [[-0.5]] * 140 + [[1.0]], dt=0.01, steps=200)
    assert ArithmeticError in IntegrationError.__mro__


def test_blow_up_may_be_kept_as_nan() -> None:
    ends = ensemble(System("x*x"), [[-1.0], [1.0]], dt=0.01, steps=200, blowup="nan")
    assert ends[0] == pytest.approx(-1 / 3) and np.isnan(ends[1])
    kept = ensemble(System("x*x"), [[-1.0], [1.0]], dt=0.01, steps=200, every=50, blowup="nan")
    assert np.isfinite(kept[0]).all() and np.isfinite(kept[1, :2]).all()
    assert np.isnan(kept[1, 3:]).all()


def test_a_singularity_of_adaptive_steps() -> None:
    with pytest.raises(IntegrationError, match=r"too small at t = 1\.0"):
        solve(System("x*x"), [1.0], t_span=(0, 2))
    with pytest.raises(IntegrationError, match="too small"):
        integrate(System("x*x"), [1.0], dt=0.1, steps=20, method="rk45")


def test_output_of_the_caller() -> None:
    out = np.empty((11, 3))
    found = integrate(systems.lorenz(), [1, 1, 1], dt=0.01, steps=10, out=out)
    assert found is out
    for bad, error in (
        (np.empty((10, 3)), ArgumentValueError),
        (np.empty((3, 11)).T, ArgumentValueError),
        (np.empty((11, 3), dtype=np.float32), ArgumentTypeError),
        ([[0.0] * 3] * 11, ArgumentTypeError),
    ):
        with pytest.raises(error, match="out must"):
            integrate(systems.lorenz(), [1, 1, 1], dt=0.01, steps=10, out=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dt": 0}, "dt must be positive, got 0"),
        ({"dt": -0.1}, "dt must be positive, got -0.1"),
        ({"dt": math.nan}, "dt must be finite"),
        ({"dt": math.inf}, "dt must be finite"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": -3}, "steps must be at least 1"),
        ({"steps": 1.5}, "steps must be an integer"),
        ({"every": 0}, "every must be at least 1"),
        ({"transient": -1}, "transient must be at least 0"),
        ({"method": "euler"}, "method must be one of 'rk4', 'rk45'"),
        ({"x0": [1, 2]}, "x0 must have 3 components, got 2"),
        ({"x0": [1, 2, math.nan]}, "x0 must be finite"),
        ({"t0": "now"}, "t0 must be a real number"),
        ({"method": "rk45", "rtol": 0, "atol": 0}, "must not both be 0"),
        ({"method": "rk45", "rtol": 1e-20}, "rtol must be at least"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    good = {"x0": [1, 1, 1], "dt": 0.01, "steps": 5}
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=words):
        integrate(systems.lorenz(), **(good | arguments))


def test_bad_ensembles_are_named() -> None:
    lorenz = systems.lorenz()
    for starts, words in (
        ([1, 1, 1], "2-dimensional"),
        ([[1, 1]], "3 columns"),
        ([[1, 1, 1], [1, math.nan, 1]], "row 1"),
    ):
        with pytest.raises(ArgumentValueError, match=words):
            ensemble(lorenz, starts, dt=0.01, steps=1)
    with pytest.raises(ArgumentValueError, match="n_jobs"):
        ensemble(lorenz, STARTS, dt=0.01, steps=1, n_jobs=0)
    assert ensemble(lorenz, np.empty((0, 3)), dt=0.01, steps=1).shape == (0, 3)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    ensemble(systems.lorenz(), STARTS, dt=0.01, steps=2, progress=lambda *pair: told.append(pair))
    assert told == [(128, 150), (150, 150)]


INTERRUPTED = """
import sys
from midstream.attractor import ensemble, integrate, lyapunov_spectrum, solve, systems, System
import numpy as np
lorenz = systems.lorenz()
work = {
    "integrate": lambda: integrate(lorenz, steps=10**12, every=10**12),
    "transient": lambda: integrate(lorenz, steps=1, transient=10**12),
    "ensemble": lambda: ensemble(lorenz, np.ones((256, 3)), dt=.01, steps=10**12, n_jobs=2),
    "spectrum": lambda: lyapunov_spectrum(lorenz, steps=10**12),
    "solve": lambda: integrate(lorenz, steps=10**9, every=10**9, method="rk45"),
    "interpreted": lambda: integrate(System("sin(x)"), [1.0], dt=1e-3, steps=10**12, every=10**12),
}[sys.argv[1]]
print("ready", flush=True)
try:
    work()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of this kind are POSIX's")
@pytest.mark.parametrize(
    "work", ["integrate", "transient", "ensemble", "spectrum", "solve", "interpreted"]
)
def test_ctrl_c_answers(work: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", INTERRUPTED, work], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.2)  # into the kernel; sooner only makes the test weaker
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
        finally:
            process.kill()
