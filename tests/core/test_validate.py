"""Argument checks: what passes, what is refused, and what the refusal says."""

from __future__ import annotations

import functools
import inspect
import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import (
    _CO_COROUTINE,
    check_callback,
    check_choice,
    check_int,
    check_positive_fields,
    check_real,
)


@pytest.mark.parametrize("value", [0, -3, 2**70, np.int64(5), np.uint8(7)])
def test_integers_pass_as_int(value: Any) -> None:
    result = check_int("n", value)
    assert result == value
    assert type(result) is int


@pytest.mark.parametrize("value", [1.0, "1", None, True, np.float64(2), np.True_, Decimal(1)])
def test_what_is_no_integer_is_named(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^n must be an integer, got ") as caught:
        check_int("n", value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "value", [0, 1.5, -2, np.float32(0.5), np.int64(3), Fraction(1, 2), Decimal("0.25")]
)
def test_reals_pass_as_float(value: Any) -> None:
    result = check_real("x", value)
    assert result == value
    assert type(result) is float


@pytest.mark.parametrize("value", ["1", b"1", None, True, 1j, [1.0]])
def test_what_is_no_real_number_is_named(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^x must be a real number, got "):
        check_real("x", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_reals_are_finite(value: float) -> None:
    with pytest.raises(ArgumentValueError, match=r"^x must be finite, got "):
        check_real("x", value)


def test_infinity_passes_where_allowed_and_nan_never() -> None:
    assert check_real("x", math.inf, finite=False) == math.inf
    with pytest.raises(ArgumentValueError, match="x must be finite, got nan"):
        check_real("x", math.nan, finite=False)


@pytest.mark.parametrize("check", [check_int, check_real])
def test_ranges_are_closed(check: Any) -> None:
    assert check("v", 2, low=2, high=4) == 2
    assert check("v", 4, low=2, high=4) == 4
    with pytest.raises(ArgumentValueError, match=r"^v must be at least 2, got 1"):
        check("v", 1, low=2, high=4)
    with pytest.raises(ArgumentValueError, match=r"^v must be at most 4, got 5"):
        check("v", 5, low=2, high=4)


def test_choices_are_listed() -> None:
    assert check_choice("mode", "a", ("a", "b")) == "a"
    with pytest.raises(ArgumentValueError, match=r"^mode must be one of 'a', 'b', got 'c'$"):
        check_choice("mode", "c", ("a", "b"))


class Caller:
    def told(self) -> None:
        """Called."""

    async def waits(self) -> None:
        """Never awaited."""


@pytest.mark.parametrize("value", [print, str, Caller().told, lambda: None, functools.partial(int)])
def test_what_can_be_called_passes(value: Any) -> None:
    assert check_callback("f", value) is value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"^f must be callable, got 3 \(int\)$"),
        (Caller().waits, r"^f must be a plain function, got the coroutine function Caller\.waits$"),
        (Caller.waits, r"^f must be a plain function, got the coroutine function Caller\.waits$"),
    ],
)
def test_what_nobody_would_await_is_no_callback(value: Any, message: str) -> None:
    assert _CO_COROUTINE == inspect.CO_COROUTINE
    with pytest.raises(ArgumentTypeError, match=message):
        check_callback("f", value)


@dataclass(frozen=True)
class Limits:
    max_bytes: int = 10
    wait_s: float = 1.0

    def __post_init__(self) -> None:
        check_positive_fields(self, high=60.0)


def test_fields_of_limits() -> None:
    limits = Limits(3, 2)
    assert (limits.max_bytes, limits.wait_s) == (3, 2.0)
    assert isinstance(limits.wait_s, float)
    for wrong, says in (
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": 1.5}, "max_bytes"),
        ({"wait_s": 0.0}, "wait_s"),
        ({"wait_s": 61.0}, "wait_s"),
    ):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match=says):
            Limits(**wrong)
