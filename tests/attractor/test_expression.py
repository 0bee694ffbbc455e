"""Text to operations, and their derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from midstream.attractor import System, ensemble
from midstream.attractor._expression import FUNCTIONS, parse_equations
from midstream.errors import ArgumentTypeError, ArgumentValueError, ExpressionError

#: What each function means, in Python's own words.
MEANING = {name: getattr(math, name) for name in FUNCTIONS if hasattr(math, name)} | {
    "abs": abs,
    "sign": lambda a: float(np.sign(a)),
    "floor": lambda a: float(math.floor(a)),
    "min": min,
    "max": max,
    "mod": lambda a, m: a - math.floor(a / m) * m,
    "where": lambda c, a, b: a if c else b,
    "pi": math.pi,
    "e": math.e,
}


def value(text: str, x: float, y: float = 0.5, **params: float) -> float:
    system = System([text, "y"], params=params, kind="map")
    return float(system.rhs([x, y])[0])


CALLS = {1: "(x)", 2: "(x, y)", 3: "(x > 0.2, x, y)"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_the_textbook_one(name: str) -> None:
    arguments = CALLS[FUNCTIONS[name]]
    for x in (0.125, 0.3, 0.99, -0.7):
        if x < 0 and name in ("log", "sqrt", "pow"):
            continue
        expected = eval(name + arguments, {}, {**MEANING, "x": x, "y": 0.5})
        assert value(name + arguments, x) == pytest.approx(expected, rel=1e-15)


COMPARED = [f"where(x {sign} y, x - y, 2*x)" for sign in ("<", "<=", ">", ">=", "==", "!=")]


@pytest.mark.parametrize(
    "text",
    [
        *(name + CALLS[count] for name, count in sorted(FUNCTIONS.items())),
        *COMPARED,
        "x**y",
        "x % y",
    ],
)
def test_many_at_once_are_each_alone(text: str) -> None:
    """In lanes of a vector, where one number alone is computed otherwise: the same bits."""
    system = System([text, "y"], kind="map")
    x = [0.125, 0.3, 0.5, 0.99, 0.5, 0.75, 0.0625, 0.5, 1.0, 0.2, 0.875]
    if not any(name in text for name in ("log", "sqrt", "pow", "**")):
        x += [-0.7, 0.0, -0.0, -0.5, -1.0]
    y = [0.5, 0.25, 0.5, -0.5] if "**" not in text else [0.5, 2.5]
    starts = np.array([(a, b) for a in x for b in y])
    ends = ensemble(system, starts, steps=1)
    alone = np.array([system.rhs(start) for start in starts])
    np.testing.assert_array_equal(ends.view(np.int64), alone.view(np.int64))
    for (a, b), end in zip(starts.tolist(), ends[:, 0], strict=True):
        meant = eval(text, {}, {**MEANING, "x": a, "y": b})
        assert end == pytest.approx(meant, rel=1e-14, abs=1e-15)


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "p", "2.5", "3", "pi", "t"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(
            lambda part: "(" + " ".join(part) + ")"
        ),
        inner.map(lambda part: f"(-{part})"),
        inner.map(lambda part: f"{part}**2"),
        inner.map(lambda part: f"sin({part})"),
        inner.map(lambda part: f"tanh({part})"),
        st.tuples(inner, inner).map(lambda part: f"where({part[0]} < {part[1]}, {part[0]}, 1)"),
        st.tuples(inner, inner).map(lambda part: f"max({part[0]}, {part[1]})"),
    ),
    max_leaves=12,
)
NUMBERS = st.floats(-3, 3).filter(lambda number: abs(number) > 1e-3)


@given(EXPRESSIONS, NUMBERS, NUMBERS, NUMBERS)
def test_values_are_those_of_python(text: str, x: float, y: float, p: float) -> None:
    try:
        expected = float(eval(text, {}, {**MEANING, "x": x, "y": y, "p": p, "t": 0.25}))
    except (ZeroDivisionError, OverflowError, ValueError):
        assume(False)
    assume(abs(expected) < 1e9)
    found = System([text, "y"], params={"p": p}).rhs([x, y], t=0.25)[0]
    # x**2 and moved signs may round otherwise, in expressions that cancel.
    scale = max(1.0, abs(expected))
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-9 * scale)


@given(EXPRESSIONS, NUMBERS, NUMBERS)
def test_jacobians_are_the_limits_of_differences(text: str, x: float, y: float) -> None:
    system = System([text, "y"], params={"p": 0.75})
    exact = system.jacobian([x, y], t=0.25)
    assume(np.isfinite(exact).all() and np.abs(exact).max() < 1e4)
    # What is infinite has a slope where it does not depend on x, but no differences.
    assume(np.isfinite(system.rhs([x, y], 0.25)).all())

    def slope(h: float) -> np.ndarray:
        columns = [
            (system.rhs([x + dx, y + dy], 0.25) - system.rhs([x - dx, y - dy], 0.25)) / (2 * h)
            for dx, dy in ((h, 0), (0, h))
        ]
        return np.array(columns).T

    def bend(h: float) -> np.ndarray:
        sides = [
            system.rhs([x + dx, y + dy], 0.25) + system.rhs([x - dx, y - dy], 0.25)
            for dx, dy in ((h, 0), (0, h))
        ]
        return (np.array(sides) - 2 * system.rhs([x, y], 0.25)) / h

    # At a kink the slopes of both sides differ, however near one looks.
    assume(np.allclose(bend(1e-4), 2 * bend(5e-5), atol=1e-5))
    wide, narrow = slope(1e-4), slope(5e-5)
    # Two widths agree only where the function is smooth and far from a kink or a pole.
    assume(np.allclose(wide, narrow, rtol=1e-5, atol=1e-5))
    np.testing.assert_allclose(exact, (4 * narrow - wide) / 3, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("sigma*(y-x", 6, "never closed"),
        ("x + * y", 4, "syntax"),
        ("x +", 3, "syntax"),
        ("q*x", 0, "unknown name 'q'"),
        ("sigm*x", 0, "did you mean 'sigma'"),
        ("x + sine(x)", 4, "did you mean 'sin'"),
        ("sin(x, 2)", 0, "takes 1 argument, got 2"),
        ("x^^2", 2, "syntax"),
        ("x^2 + q", 6, "unknown name 'q'"),
        ("x if y else 2", 0, "IfExp"),
        ("x.real", 0, "Attribute"),
        ("x[0]", 0, "Subscript"),
        ("__import__('os')", 0, "unknown function"),
        ("(lambda: 1)()", 0, "by name"),
        ("sin", 0, "needs arguments"),
        ("1e999*x", 0, "too large"),
        ("x and y", 0, "BoolOp"),
        ("'x'", 0, "Constant"),
        ("   ", 0, "empty"),
        ("ü + x", 0, "unknown name 'ü'"),
        ("x + ü", 4, "unknown name 'ü'"),
    ],
)
def test_errors_show_the_place(text: str, position: int, words: str) -> None:
    with pytest.raises(ExpressionError, match=r"\^") as raised:
        System([text, "x"], variables=("x", "y"), params={"sigma": 10.0})
    assert words in str(raised.value)
    shown = str(raised.value).splitlines()
    if "=" not in text:
        assert raised.value.position == position
        assert shown[-2] == "    " + text
        assert shown[-1].index("^") == 4 + raised.value.position


def test_an_error_deep_inside_is_an_error() -> None:
    with pytest.raises(ExpressionError):
        System("(" * 400 + "x" + ")" * 400)
    with pytest.raises(ExpressionError):
        System("-" * 5000 + "x")
    long_sum = System(" + ".join(["x"] * 140))
    assert long_sum.rhs([2.0])[0] == 280


def test_components_may_be_named_in_any_order() -> None:
    plain = System(["y", "-x"], variables=("x", "y"))
    named = System("dy/dt = -x\nx' = y", variables=("x", "y"))
    assert named.variables == ("x", "y")
    np.testing.assert_array_equal(named.rhs([2, 3]), plain.rhs([2, 3]))
    assert System("v' = u; u' = -v").variables == ("v", "u")


def test_definitions_are_used_by_what_follows() -> None:
    system = System(["r2 = x*x + y*y", "x*(1 - r2) - y", "y*(1 - r2) + x"])
    assert system.dim == 2
    np.testing.assert_allclose(system.rhs([2, 1]), [2 * -4 - 1, -4 + 2])
    with pytest.raises(ExpressionError, match="defined already"):
        System(["x = y", "y", "x"], variables=("x", "y"))
    with pytest.raises(ExpressionError, match="unknown name"):
        System(["a = b", "b = x", "a"], variables=("x",))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"rhs": [], "dim": None}, ArgumentValueError),
        ({"rhs": ["x"], "dim": 2}, ArgumentValueError),
        ({"rhs": ["x", 3]}, ArgumentTypeError),
        ({"rhs": 3, "dim": 1}, ArgumentTypeError),
        ({"rhs": ["x"], "params": {"x": 1}}, ArgumentValueError),
        ({"rhs": ["x"], "params": {"t": 1}}, ArgumentValueError),
        ({"rhs": ["x"], "params": {"sin": 1}}, ArgumentValueError),
        ({"rhs": ["x"], "params": {"a b": 1}}, ArgumentValueError),
        ({"rhs": ["x"], "params": {"a": math.nan}}, ArgumentValueError),
        ({"rhs": ["x"], "params": {"a": "1"}}, ArgumentTypeError),
        ({"rhs": ["x"], "params": [1]}, ArgumentTypeError),
        ({"rhs": ["x"], "variables": ("a", "b")}, ArgumentValueError),
        ({"rhs": ["x"], "kind": "wave"}, ArgumentValueError),
        ({"rhs": ["x"], "jacobian": lambda x: x}, ArgumentValueError),
        ({"rhs": ["x"], "time_step": 2.0}, ArgumentValueError),
        ({"rhs": ["x"], "x0": [1, 2]}, ArgumentValueError),
        ({"rhs": ["x"], "dt": 0}, ArgumentValueError),
        ({"rhs": ["x' = y", "x"]}, ArgumentValueError),
        ({"rhs": lambda x: x}, ArgumentValueError),
    ],
)
def test_what_is_no_system(arguments: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        System(**arguments)


def test_variables_and_parameters_may_share_no_name_with_each_other() -> None:
    with pytest.raises(ArgumentValueError, match="'a'"):
        parse_equations(["a"], variables=("a",), params={"a": 1.0})


def test_a_power_with_a_moving_exponent() -> None:
    # Its derivative by the exponent is no number for a negative base; that by the base is.
    found = System(["x^y", "y"]).jacobian([-2.0, 2.0])
    assert found[0, 0] == pytest.approx(-4.0) and math.isnan(found[0, 1])
    found = System(["x^y", "y"]).jacobian([3.0, 2.0])
    np.testing.assert_allclose(found[0], [6.0, 9 * math.log(3)])
