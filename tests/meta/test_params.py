"""`Param`: one knob, its bounds and its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream.meta.params import Param
from midstream.meta.spaces import ParamSpace


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Param.integer("x", 3, 3, default=3), r"high of x must be above low.*\[3, 3\]"),
        (lambda: Param.integer("x", 0, 2**53 + 1, default=3), "high of x"),
        (lambda: Param.integer("x", 0, 9, default=10), r"default of x.*\[0, 9\].*10"),
        (lambda: Param.integer("x", 0, 9, default=1, max_step=0), "max_step of x"),
        (lambda: Param.integer("x", 0, 9, default=1, max_step=1.5), "max_step of x.*1.5"),
        (lambda: Param.integer("x", 0, 9, default=1, scale="log"), "low of x.*log.*0"),
        (lambda: Param.real("x", 1, 9, default=1, scale="log", max_step=1), "max_step of x.*1.0"),
        (lambda: Param.integer("x", 2, 9, default=2, scale="log", max_step=1.4), "2 become 3.*1.4"),
        (lambda: Param.real("x", 0, math.inf, default=1), "high of x.*inf"),
        (lambda: Param.real("x", -1e308, 1e308, default=1), "finite"),
        (lambda: Param.real("x", 0, math.nan, default=1), "high of x.*nan"),
        (lambda: Param.real("x", 0, 1, default=math.nan), "default of x.*nan"),
        (lambda: Param.real("x", 0, 1, default=0, cooldown_s=-1), "cooldown_s of x.*-1"),
        (lambda: Param.real("x", 0, 1, default=0, max_step=math.nan), "max_step of x.*nan"),
        (lambda: Param.real("x", 0, 1, default=0, scale="cubic"), "scale of x.*cubic"),
        (lambda: Param.real("2x", 0, 1, default=0), "2x"),
        (lambda: Param.real("x y", 0, 1, default=0), "x y"),
        (lambda: Param.real("reason", 0, 1, default=0), "reason"),
        (lambda: Param.choice("x", "abc", default="a"), "choices of x.*abc"),
        (lambda: Param.choice("x", ["a"], default="a"), "two or more"),
        (lambda: Param.choice("x", ["a", "a"], default="a"), "different"),
        (lambda: Param.choice("x", [1, 1.0], default=1), "different"),
        (lambda: Param.choice("x", ["a", True], default="a"), "choices of x.*True"),
        (lambda: Param.choice("x", ["a", "b"], default="c"), "default of x.*'a', 'b'.*'c'"),
        (lambda: Param.choice("x", ["a", "b"], default="a", max_step=2), "max_step of x.*2"),
        (lambda: Param.flag("x", default=1), "default of x.*1"),
        (lambda: Param("x", "flag", default=True, max_step=1), "max_step of x.*1"),
        (lambda: Param("x", "flag", default=True, low=0), "low of x.*0"),
        (lambda: Param("x", "integer", default=1, low=0, high=2, choices=[1, 2]), "choices of x"),
        (
            lambda: Param("x", "integer", default=1, low=0, high=2, choices=np.arange(0)),
            "choices of x: an integer has none, got array",
        ),
        (lambda: Param("x", "integer", default=1, low=0), "high of x.*None"),
        (lambda: Param("x", "complex", default=1), "kind of x.*complex"),
        (lambda: Param.from_dict({"name": "x", "kind": "flag"}), "default"),
        (lambda: Param.from_dict({"nmae": "x"}), "nmae.*did you mean 'name'"),
    ],
)
def test_what_is_no_knob(make, said):
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=said):
        make()


# The scale


@dataclass(frozen=True)
class Exact:
    """What a step is, in exact numbers."""

    param: Param

    def step(self, old, new):
        if self.param.kind == "flag":
            return Fraction(int(old != new))
        if self.param.kind == "choice":
            return Fraction(abs(self.param.choices.index(old) - self.param.choices.index(new)))
        old, new = Fraction(old), Fraction(new)
        return max(old / new, new / old) if self.param.scale == "log" else abs(old - new)

    def allowed(self, old, new):
        if self.param.kind == "flag":
            return True
        return self.step(old, new) <= Fraction(self.param.max_step)


@st.composite
def params(draw, name="x"):
    kind = draw(st.sampled_from(["integer", "real", "choice", "flag"]))
    if kind == "flag":
        return Param.flag(name, default=draw(st.booleans()))
    if kind == "choice":
        choices = draw(st.lists(st.text(max_size=3), min_size=2, max_size=6, unique=True))
        step = draw(st.none() | st.integers(1, len(choices) - 1))
        return Param.choice(name, choices, default=draw(st.sampled_from(choices)), max_step=step)
    scale = draw(st.sampled_from(["linear", "log"]))
    if kind == "integer":
        low = draw(st.integers(1 if scale == "log" else -(10**6), 10**6))
        high = draw(st.integers(low + 1, low + 10**6))
        default = draw(st.integers(low, high))
        steps = st.floats(1 + 1 / low, 100.0) if scale == "log" else st.integers(1, 10**6)
        step = draw(st.none() | steps)
        return Param.integer(name, low, high, default=default, scale=scale, max_step=step)
    low = draw(st.floats(1e-6 if scale == "log" else -1e6, 1e6))
    high = low + draw(st.floats(1e-3, 1e6))
    default = draw(st.floats(low, high))
    steps = st.floats(1.001, 100.0) if scale == "log" else st.floats(1e-6, 1e6)
    step = draw(st.none() | steps)
    return Param.real(name, low, high, default=default, scale=scale, max_step=step)


@given(params(), st.floats(0.01, 1.0))
def test_neighbours_are_one_step_away_and_pass(param, part):
    space = ParamSpace([param])
    base = space.defaults
    changes = space.neighbours(base, part=part)
    assert len(changes) == len({change.after for change in changes})
    assert len(changes) <= 2
    for change in changes:
        space.check(change, base, 0)
        ((name, old, new),) = change.moves
        assert name == "x"
        step = Exact(param).step(old, new)
        reach = Fraction(param.max_step or 1)
        rounding = Fraction(4 * math.ulp(old)) if param.kind == "real" else 0
        assert step <= reach * (1 + Fraction(1, 10**8)) + rounding
        assert old != new
    if param.kind in ("integer", "choice"):
        # Whole numbers move by one at least, so that a neighbour lacks at a bound only.
        ends = (
            (param.low, param.high)
            if param.kind == "integer"
            else param.choices[:: len(param.choices) - 1]
        )
        assert len(changes) == 2 - (base["x"] in ends)


@given(params(), st.integers(0, 2**32), st.data())
def test_steps_agree_with_exact_numbers(param, seed, data):
    space = ParamSpace([param])
    rng = np.random.default_rng(seed)
    one, other = space.sample(rng)["x"], space.sample(rng)["x"]
    assert param.check(one) == one
    assert type(one) is type(param.default)
    if param.kind in ("integer", "real") and param.max_step is not None:
        reach = Fraction(param.max_step)
        step = Exact(param).step(one, other)
        if abs(step - reach) <= reach / 10**7:
            return  # within rounding
    if Exact(param).allowed(one, other):
        param.check_step(one, other)
    else:
        with pytest.raises(RefusedError):
            param.check_step(one, other)
