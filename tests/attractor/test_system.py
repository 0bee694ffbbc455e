"""Systems of text, of Python callables and of C functions are one and the same."""

from __future__ import annotations

import ctypes
import math
import threading

import numpy as np
import pytest

from midstream.attractor import System, integrate, lyapunov_spectrum, solve, systems
from midstream.errors import ArgumentTypeError, ArgumentValueError, IntegrationError

ROSSLER = {"a": 0.2, "b": 0.2, "c": 5.7}
C_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_double, *[ctypes.POINTER(ctypes.c_double)] * 3)


def rossler(x, t, p):
    return [-x[1] - x[2], x[0] + p["a"] * x[1], p["b"] + x[2] * (x[0] - p["c"])]


def rossler_jacobian(x, t, p):
    return [[0, -1, -1], [1, p["a"], 0], [x[2], 0, x[0] - p["c"]]]


@C_FUNCTION
def rossler_in_ctypes(t, x, dx, p):
    dx[0] = -x[1] - x[2]
    dx[1] = x[0] + p[0] * x[1]
    dx[2] = p[1] + x[2] * (x[0] - p[2])


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return integrate(systems.rossler(), [1, 1, 1], dt=0.01, steps=500)


def test_a_callable(reference: np.ndarray) -> None:
    system = System(rossler, 3, params=ROSSLER)
    found = integrate(system, [1, 1, 1], dt=0.01, steps=500)
    np.testing.assert_allclose(found, reference, rtol=1e-11, atol=1e-12)
    assert not system.native and not system.exact_jacobian and not system.autonomous
    np.testing.assert_allclose(
        system.jacobian([1, 2, 3]), systems.rossler().jacobian([1, 2, 3]), atol=1e-8
    )


@pytest.mark.parametrize("arguments", [1, 2])
def test_a_callable_of_fewer_arguments(arguments: int) -> None:
    by_state = System(lambda x: -x, 2)
    by_time = System(lambda x, t: -x + 0 * t, 2)
    chosen = {1: by_state, 2: by_time}[arguments]
    end = integrate(chosen, [1, 2], dt=0.01, steps=100)[-1]
    np.testing.assert_allclose(end, np.exp(-1) * np.array([1, 2]), rtol=1e-9)


def test_a_c_function(reference: np.ndarray) -> None:
    system = System(rossler_in_ctypes, 3, params=ROSSLER)
    found = integrate(system, [1, 1, 1], dt=0.01, steps=500)
    np.testing.assert_allclose(found, reference, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(system.rhs([1, 2, 3]), systems.rossler().rhs([1, 2, 3]))
    other = integrate(system.with_params(c=4.0), [1, 1, 1], dt=0.01, steps=500)
    expected = integrate(systems.rossler(c=4.0), [1, 1, 1], dt=0.01, steps=500)
    np.testing.assert_allclose(other, expected, rtol=1e-11, atol=1e-12)


@C_FUNCTION
def rossler_jacobian_in_ctypes(t, x, j, p):
    for place, value in enumerate([0, -1, -1, 1, p[0], 0, x[2], 0, x[0] - p[2]]):
        j[place] = value


def test_a_jacobian_in_c() -> None:
    system = System(rossler_in_ctypes, 3, params=ROSSLER, jacobian=rossler_jacobian_in_ctypes)
    run = {"dt": 0.05, "steps": 2000, "transient": 100}
    given = lyapunov_spectrum(system, [1, 1, 1], **run)
    same = lyapunov_spectrum(
        System(rossler, 3, params=ROSSLER, jacobian=rossler_jacobian), [1, 1, 1], **run
    )
    exact = lyapunov_spectrum(systems.rossler(), [1, 1, 1], **run)
    assert given.exact_jacobian
    np.testing.assert_array_equal(given.exponents, same.exponents)
    np.testing.assert_allclose(given.exponents, exact.exponents, atol=1e-6)


def test_scipys_low_level_callable(reference: np.ndarray) -> None:
    from scipy import LowLevelCallable

    system = System(LowLevelCallable(rossler_in_ctypes), 3, params=ROSSLER)
    found = integrate(system, [1, 1, 1], dt=0.01, steps=500)
    np.testing.assert_allclose(found, reference, rtol=1e-11, atol=1e-12)
    wrong = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda x: x)
    with pytest.raises(ArgumentTypeError, match="double"):
        System(LowLevelCallable(wrong), 1)


def test_numbas_cfunc(reference: np.ndarray) -> None:
    numba = pytest.importorskip("numba")
    pointer = numba.types.CPointer(numba.types.double)
    signature = numba.types.void(numba.types.double, pointer, pointer, pointer)

    @numba.cfunc(signature)
    def function(t, x, dx, p):
        dx[0] = -x[1] - x[2]
        dx[1] = x[0] + p[0] * x[1]
        dx[2] = p[1] + x[2] * (x[0] - p[2])

    system = System(function, 3, params=ROSSLER)
    found = integrate(system, [1, 1, 1], dt=0.01, steps=500)
    np.testing.assert_allclose(found, reference, rtol=1e-11, atol=1e-12)


def test_a_traced_function_is_text(reference: np.ndarray) -> None:
    system = System.trace(rossler, 3, params=ROSSLER)
    # The same operations as the built-in system: its compiled code is found.
    assert system.native and system.exact_jacobian and system.autonomous
    np.testing.assert_array_equal(integrate(system, [1, 1, 1], dt=0.01, steps=500), reference)
    np.testing.assert_array_equal(
        integrate(system.with_params(c=4.0), [1, 1, 1], dt=0.01, steps=50),
        integrate(systems.rossler(c=4.0), [1, 1, 1], dt=0.01, steps=50),
    )


def test_what_numpy_functions_and_arrays_do_to_traced_numbers() -> None:
    weights = np.array([[1.0, 2.0], [3.0, 4.0]])

    def network(x, t):
        return np.tanh(weights @ x) - x + np.array([0.5, 1.0]) * np.cos(t) + 2**x % 3

    plain, traced = System(network, 2), System.trace(network, 2)
    for point in ([0.1, 0.2], [-1.0, 0.7]):
        np.testing.assert_allclose(traced.rhs(point, 0.3), plain.rhs(point, 0.3), rtol=1e-14)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [x[0] if x[0] > 0 else -x[0]],
        lambda x: [math.sin(x[0])],
        lambda x: [float(x[0])],
        lambda x: ["x"],
        lambda x: [np.log10(x[0])],
        lambda x: np.maximum(x, 0),
        lambda x: [range(x[0])],
    ],
)
def test_what_cannot_be_traced(function) -> None:
    with pytest.raises(ArgumentTypeError):
        System.trace(function, 1)


def test_a_jacobian_of_the_caller() -> None:
    system = System(rossler, 3, params=ROSSLER, jacobian=rossler_jacobian)
    np.testing.assert_array_equal(system.jacobian([1, 2, 3]), systems.rossler().jacobian([1, 2, 3]))
    run = {"dt": 0.05, "steps": 4000, "transient": 100}
    given = lyapunov_spectrum(system, [1, 1, 1], **run)
    differences = lyapunov_spectrum(System(rossler, 3, params=ROSSLER), [1, 1, 1], **run)
    exact = lyapunov_spectrum(systems.rossler(), [1, 1, 1], **run)
    assert given.exact_jacobian and not differences.exact_jacobian
    np.testing.assert_allclose(given.exponents, exact.exponents, atol=1e-6)
    np.testing.assert_allclose(differences.exponents, exact.exponents, atol=1e-4)


def test_what_a_right_hand_side_raises_comes_through() -> None:
    class OwnError(Exception):
        pass

    def fails(x, t):
        if t > 0.5:
            raise OwnError("at half")
        return -x

    system = System(fails, 1)
    for _ in range(2):
        with pytest.raises(OwnError, match="at half"):
            integrate(system, [1.0], dt=0.1, steps=100)
    with pytest.raises(KeyboardInterrupt):
        integrate(System(interrupt, 1), [1.0], dt=0.1, steps=100)


def calls_until(function, work) -> int:
    """`function` fails at its first call, its second and so on, until `work` passes: how many."""

    class OwnError(Exception):
        pass

    def counted(x):
        nonlocal left
        left -= 1
        if left < 0:
            raise OwnError
        return function(x)

    for calls in range(1000):
        left = calls
        try:
            work(counted)
        except OwnError:
            continue
        return calls
    raise AssertionError("it never passes")


def test_what_any_call_raises_comes_through() -> None:
    def slope(x):
        return [-x[0], -2 * x[1]]

    # Two steps of four stages; then differences of two components in each stage.
    run = {"x0": [1.0, 1.0], "dt": 0.1, "steps": 2}
    assert calls_until(slope, lambda f: integrate(System(f, 2), **run)) == 8
    tangents = {"steps": 2, "dt": 0.1}
    assert calls_until(slope, lambda f: lyapunov_spectrum(System(f, 2), [1, 1], **tangents)) >= 40
    jacobian = calls_until(
        lambda x: [[-1, 0], [0, -2]],
        lambda f: lyapunov_spectrum(System(slope, 2, jacobian=f), [1, 1], **tangents),
    )
    assert jacobian >= 8
    # The slope at the start, one to guess the first step by, six for every step.
    found = solve(System(slope, 2), [1.0, 1.0], t_span=(0, 0.1))
    calls = calls_until(slope, lambda f: solve(System(f, 2), [1.0, 1.0], t_span=(0, 0.1)))
    assert calls == found.evaluations == 2 + 6 * (len(found.t) - 1 + found.rejected)


def test_a_function_that_answers_otherwise_when_asked_again() -> None:
    # A result that is not finite is looked for step by step, from where it was still.
    asked = []

    def once_infinite(x):
        asked.append(x[0])
        return [math.inf if len(asked) == 1 else 1.0]

    end = integrate(System(once_infinite, 1), [0.0], dt=0.25, steps=4)
    assert end[-1, 0] == 1.0 and len(asked) == 4 * (4 + 1)

    def fails_when_asked_again(x):
        asked.append(x[0])
        if len(asked) > 8:
            raise ZeroDivisionError
        return [math.inf]

    asked.clear()
    with pytest.raises(ZeroDivisionError):
        integrate(System(fails_when_asked_again, 1), [0.0], dt=0.25, steps=2, every=2)


def interrupt(x):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: [1, 2], ArgumentValueError),
        (lambda x: None, ArgumentTypeError),
        (lambda x: "ab", ArgumentTypeError),
        (lambda x: [1j], ArgumentTypeError),
    ],
)
def test_a_right_hand_side_that_returns_something_else(function, error) -> None:
    with pytest.raises(error, match="rhs must return"):
        integrate(System(function, 1), [1.0], dt=0.1, steps=1)


def test_functions_that_are_none() -> None:
    with pytest.raises(ArgumentTypeError, match="takes 4"):
        System(lambda a, b, c, d: a, 1)
    real, pointer = ctypes.c_double, ctypes.POINTER(ctypes.c_double)
    with pytest.raises(ArgumentTypeError, match="of 1 arguments"):
        System(ctypes.CFUNCTYPE(None, real)(lambda x: None), 1)
    with pytest.raises(ArgumentTypeError, match="return void"):
        System(ctypes.CFUNCTYPE(real, real, pointer, pointer, pointer)(lambda *_: 0.0), 1)
    with pytest.raises(ArgumentTypeError, match="jacobian"):
        System(rossler, 3, params=ROSSLER, jacobian="x")


def test_parameters_change_by_name() -> None:
    lorenz = systems.lorenz()
    changed = lorenz.with_params(rho=10.0)
    assert changed.params["rho"] == 10.0 and lorenz.params["rho"] == 28.0
    assert changed.dt == lorenz.dt and changed.variables == lorenz.variables
    with pytest.raises(ArgumentValueError, match="no parameter 'r'"):
        lorenz.with_params(r=10.0)


def test_what_a_system_tells() -> None:
    lorenz = systems.lorenz()
    assert lorenz.dim == 3 and lorenz.kind == "flow" and lorenz.variables == ("x", "y", "z")
    assert lorenz.autonomous and lorenz.native and lorenz.exact_jacobian
    assert "sigma=10" in repr(lorenz) and "sigma*(y - x)" in lorenz._repr_html_()
    assert not systems.duffing().autonomous
    assert "&lt;" in System("where(x < 1, x, 1)")._repr_html_()
    state = lorenz.x0
    assert state is not None
    state[0] = 99  # a copy
    assert lorenz.x0 is not None and lorenz.x0[0] != 99


def test_states_that_are_none() -> None:
    lorenz = systems.lorenz()
    for bad, error in (
        ([1, 2], ArgumentValueError),
        ([1, 2, math.inf], ArgumentValueError),
        (["a", "b", "c"], ArgumentTypeError),
        ([[1, 2, 3]], ArgumentValueError),
        ([1, 2, 3j], ArgumentTypeError),
    ):
        with pytest.raises(error):
            lorenz.rhs(bad)
    with pytest.raises(ArgumentValueError, match="x0 must be given"):
        integrate(System("x"), dt=0.1, steps=1)
    with pytest.raises(ArgumentValueError, match="dt must be given"):
        integrate(System("x"), [1.0], steps=1)
    with pytest.raises(ArgumentValueError, match="map"):
        integrate(systems.henon(), dt=0.1, steps=1)


def test_threads_share_a_system_of_text() -> None:
    system = systems.lorenz()
    expected = integrate(system, [1, 1, 1], dt=0.01, steps=20_000)
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(integrate(system, [1, 1, 1], dt=0.01, steps=20_000))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all((one == expected).all() for one in found)


def test_an_iteration_that_returns_from_infinity_is_no_result() -> None:
    # 1 / x is infinite at 0 and 0 after that: finite again, and wrong.
    system = System("1/x", kind="map")
    with pytest.raises(IntegrationError) as raised:
        integrate(system, [0.0], steps=10)
    assert raised.value.step == 1 and raised.value.state == (0.0,)
