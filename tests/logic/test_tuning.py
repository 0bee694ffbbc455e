"""Gradients of robustness against differences, and tuning against grids and known answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logic.strategies import BOOLEAN, FUTURE, PAST, formulas

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic.formula import Op
from midstream.logic.parser import parse
from midstream.logic.signals import robustness
from midstream.logic.tuning import smooth_robustness, tune

INF = math.inf
SMOOTH_OPS = (*BOOLEAN, *FUTURE, *PAST)


def any_formula():
    return formulas(("a",), ops=SMOOTH_OPS, timed=True, signals=("x", "y"), leaves=6)


def trace(seed, n):
    rng = np.random.default_rng(seed)
    signals = {"x": rng.normal(size=n), "y": rng.normal(size=n), "a": rng.random(n) < 0.5}
    return signals, (None if seed % 2 else np.cumsum(rng.uniform(0.2, 3, size=n)))


@settings(max_examples=300, deadline=None)
@given(any_formula(), st.integers(0, 10**6), st.integers(1, 12), st.data())
def test_zero_temperature_is_robustness(formula, seed, n, data):
    signals, times = trace(seed, n)
    position = data.draw(st.integers(-n, n - 1))
    found = smooth_robustness(formula, signals, times, temperature=0, position=position)
    assert found.value == robustness(formula, signals, times)[position]
    # One sample decides: its slope is one, and the threshold's is minus that.
    slopes = np.concatenate([found.signals[name] for name in found.signals] or [np.zeros(1)])
    assert np.abs(slopes).sum() in (0.0, 1.0)
    if not math.isfinite(found.value):
        assert np.abs(slopes).sum() == 0.0


@settings(max_examples=200, deadline=None)
@given(any_formula(), st.integers(0, 10**6), st.integers(1, 10))
def test_slopes_are_differences(formula, seed, n):
    signals, times = trace(seed, n)

    def value(changed=signals, values=None):
        return smooth_robustness(
            formula, changed, times, temperature=0.5, position=n // 2, values=values
        ).value

    found = smooth_robustness(formula, signals, times, temperature=0.5, position=n // 2)
    if not math.isfinite(found.value):
        return
    h = 1e-5
    equal = any(
        node.predicate is not None and node.predicate.comparison in ("==", "!=")
        for node in formula.nodes()
    )
    for name in found.signals:
        for i in range(n):
            up, down = signals[name].copy(), signals[name].copy()
            up[i] += h
            down[i] -= h
            wanted = (value(signals | {name: up}) - value(signals | {name: down})) / (2 * h)
            assert found.signals[name][i] == pytest.approx(wanted, abs=1e-4), (name, i)
    for text, slope in found.thresholds.items():
        centre = float(text.split()[-1])
        wanted = (value(values={text: centre + h}) - value(values={text: centre - h})) / (2 * h)
        assert slope == pytest.approx(wanted, abs=1e-4)
    if not equal and formula.op != Op.XOR:
        assert abs(sum(found.thresholds.values())) <= 1 + 1e-9 + len(found.thresholds)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("F (x > 0)", 40),
        ("G (x > 0)", 40),
        ("F[2:9] (x > 0)", 8),
        ("H[0:] (x > 0)", 40),
        ("O[3:20] (x > 0)", 18),
        ("O[3:] (x > 0)", 37),
        ("(x > 0) & (y < 1)", 2),
    ],
)
def test_error_of_one_operator_is_at_most_log_of_the_size(text, sizes):
    signals, _ = trace(1, 40)
    formula = parse(text)
    position = 39 if formula.has_past else 0
    exact = robustness(formula, signals)[position]
    for temperature in (1.0, 0.1, 0.001):
        soft = smooth_robustness(formula, signals, temperature=temperature, position=position)
        assert abs(soft.value - exact) <= temperature * math.log(sizes) + 1e-12
        above = formula.op in (Op.EVENTUALLY, Op.ONCE)
        assert soft.value >= exact if above else soft.value <= exact
        assert sum(np.abs(row).sum() for row in soft.signals.values()) == pytest.approx(1.0)


def test_extreme_samples_and_temperatures():
    signals = {"x": [1e300, -1e300, INF, 3.0]}
    for temperature in (0.0, 1e-300, 1.0, 1e300):
        found = smooth_robustness(parse("G (x < 5) | F (x > 7)"), signals, temperature=temperature)
        assert not math.isnan(found.value)
        assert np.isfinite(found.signals["x"]).all()


def test_where_a_signal_equals_its_threshold_no_way_is_up():
    """The distance is 0 there and grows to both sides: by the sign of the difference elsewhere."""
    x = np.array([1.0, 2.5, -3.0])
    for text, sign in (("x == 1", 1), ("x != 1", -1)):
        formula = parse(text)
        for position in range(3):
            found = smooth_robustness(formula, {"x": x}, temperature=0.5, position=position)
            assert found.value == -sign * abs(x[position] - 1)
            slope = -sign * np.sign(x[position] - 1)
            assert found.signals["x"].tolist() == [slope * (i == position) for i in range(3)]
            assert list(found.thresholds.values()) == [-slope]


def test_parameters_share_predicates():
    formula = parse("G (x < 5) & G (y < 5.5)")
    signals = {"x": [1.0, 4.0], "y": [2.0, 3.0]}
    both = {"limit": ["x < 5", "y < 5.5"]}
    found = smooth_robustness(formula, signals, temperature=0, parameters=both)
    assert found.thresholds == {"limit": 1.0}
    moved = smooth_robustness(
        formula, signals, temperature=0, parameters=both, values={"limit": 3.0}
    )
    assert moved.value == -1.0
    for parameters, words in (
        ({"limit": "x < 6"}, "must name a predicate of the formula"),
        ({"p": "x < 5", "q": ["x < 5"]}, "once"),
        ({"p": []}, "must name a predicate"),
    ):
        with pytest.raises(ArgumentValueError, match=words):
            smooth_robustness(formula, signals, parameters=parameters)
    with pytest.raises(ArgumentValueError, match="values must be of the parameters"):
        smooth_robustness(formula, signals, values={"z": 1.0})
    with pytest.raises(ArgumentValueError, match="temperature"):
        smooth_robustness(formula, signals, temperature=-1.0)
    with pytest.raises(ArgumentValueError, match="position"):
        smooth_robustness(formula, signals, position=2)


# ---- tune ----


def test_one_threshold_lies_in_the_middle():
    good = [{"x": [1.0, 2.0, 3.0]}, {"x": [2.0, 2.0, 2.5]}]
    bad = [{"x": [1.0, 6.0, 2.0]}, {"x": [9.0]}]
    for text in ("G (x < 0)", "G (x <= 100)", "!F (x > 4)"):
        found = tune(parse(text), good, bad)
        assert found.margin == 1.5
        assert list(found.values.values()) == [4.5]
        assert found.separates
        for traces, sign in ((good, 1), (bad, -1)):
            for item in traces:
                assert sign * robustness(found.formula, item)[0] >= 1.5
        margins = [margin for _, margin in found.history]
        assert margins == sorted(margins)


def test_two_thresholds_against_a_grid():
    rng = np.random.default_rng(5)
    good, bad = [], []
    for _ in range(12):
        x, y = rng.normal(0, 1, 20), rng.normal(0, 1, 20)
        good.append({"x": x, "y": y})
        x, y = rng.normal(0, 1, 20), rng.normal(0, 1, 20)
        x[7] = rng.uniform(6, 8)
        y[8:11] = -rng.uniform(5, 9)
        bad.append({"x": x, "y": y})
    formula = parse("G ((x > 0) -> G[0:3] (y > 0))")
    found = tune(formula, good, bad, parameters={"p": "x > 0", "q": "y > 0"})
    assert repr(found) == f"<Tuned: {found.formula}, margin {found.margin:.6g}>"
    best = -INF
    for p, q in itertools.product(np.linspace(-3, 8, 23), np.linspace(-9, 3, 25)):
        tried = parse(f"G ((x > {p}) -> G[0:3] (y > {q}))")
        margin = min(
            min(robustness(tried, item)[0] for item in good),
            min(-robustness(tried, item)[0] for item in bad),
        )
        best = max(best, margin)
    assert found.margin >= best
    assert found.separates
    assert set(found.values) == {"p", "q"}
    again = tune(formula, good, bad, parameters={"p": "x > 0", "q": "y > 0"})
    assert again.values == found.values


def test_window_and_threshold_together():
    def response(delay):
        x = np.zeros(40)
        x[5 + delay :] = 10.0
        a = np.zeros(40, bool)
        a[5] = True
        return {"a": a, "x": x}

    good = [response(delay) for delay in (1, 3, 6)]
    bad = [response(delay) for delay in (12, 20)]
    found = tune(
        parse("G (a -> F[0:1] (x > 1))"),
        good,
        bad,
        windows={"deadline": ("F[0:1] (x > 1)", 0, 30)},
    )
    assert 6 <= found.values["deadline"] <= 11
    assert found.values["deadline"] == int(found.values["deadline"])
    assert found.margin == pytest.approx(5.0)
    assert found.separates
    tight = tune(
        parse("G (a -> F[0:1] (x > 1))"),
        good,
        parameters={},
        windows={"deadline": ("F[0:1] (x > 1)", 0, 30)},
    )
    assert tight.values == {"deadline": 6.0}
    assert str(tight.formula) == "G (a -> F[0:6] (x > 1))"


def test_tight_thresholds():
    rng = np.random.default_rng(6)
    good = [{"x": rng.normal(size=30), "y": rng.normal(size=30)} for _ in range(9)]
    low = min(item["x"].min() for item in good)
    high = max(item["y"].max() for item in good)
    found = tune(parse("G (x >= 0) & G (y <= 0)"), good)
    assert found.values["x >= 0"] == pytest.approx(low, abs=1e-9)
    assert found.values["y <= 0"] == pytest.approx(high, abs=1e-9)
    assert all(found.formula.holds(item) for item in good)
    strict = tune(parse("G (x > 0)"), [{"x": item["x"]} for item in good])
    assert low - 1e-9 < strict.values["x > 0"] < low
    # In the order given: the first as strict as it can be, which leaves less to the second.
    either = tune(
        parse("G (x > 0 | y > 0)"), good, parameters={"first": "x > 0", "second": "y > 0"}
    )
    assert either.margin >= 0
    assert either.values["first"] > low
    least = min(item["y"][item["x"] <= either.values["first"]].min() for item in good)
    assert either.values["second"] == pytest.approx(least, abs=1e-9)
    held = tune(parse("F (x > 0)"), good, ranges={"x > 0": (-1.0, 0.25)})
    assert held.values == {"x > 0": 0.25}


def test_times_and_arguments():
    timed = ({"x": [0.0, 5.0]}, [0.0, 2.5])
    late = ({"x": [0.0, 5.0]}, [0.0, 9.5])
    found = tune(
        parse("F[0:1] (x > 1)"), [timed], [late], windows={"w": ("F[0:1] (x > 1)", 0.5, 20.0)}
    )
    assert 2.5 <= found.values["w"] < 9.5
    assert found.separates
    formula = parse("G (x > 1)")
    good = [{"x": [2.0]}]
    for arguments, error, words in (
        ({"good": []}, ArgumentValueError, "good must have a trace"),
        ({"good": [[1.0]]}, ArgumentTypeError, r"good\[0\] must be a mapping"),
        ({"good": good, "method": "best"}, ArgumentValueError, "method"),
        ({"good": good, "ranges": {"y": (0, 1)}}, ArgumentValueError, "ranges must be of"),
        ({"good": good, "ranges": {"x > 1": (5, 9)}}, ArgumentValueError, "good must satisfy"),
        ({"good": good, "windows": {"w": ("F x > 1", 0, 1)}}, ArgumentValueError, "subformula"),
        ({"good": good, "windows": {"w": 3}}, ArgumentTypeError, "shortest"),
        ({"good": good, "parameters": {}}, ArgumentValueError, "must have a predicate"),
        ({"good": good, "starts": 0}, ArgumentValueError, "starts"),
    ):
        with pytest.raises(error, match=words):
            tune(formula, **arguments)
    for text in ("G (x > 1) <-> F (y > 1)", "G (x == 1)"):
        with pytest.raises(ArgumentValueError, match="only stricter or only laxer"):
            tune(parse(text), [{"x": [2.0], "y": [2.0]}])
