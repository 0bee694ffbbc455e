"""JSON in one way only: equal content gives equal bytes, and nothing is silently changed."""

from __future__ import annotations

import json
import math
from typing import Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["decoded", "encoded", "finite"]

#: Deeper than anybody nests on purpose, and far from Python's limit.
DEPTH = 64

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def encoded(name: str, value: Any) -> bytes:
    """Sorted keys, no spaces, ASCII, floats as the shortest text that reads back as the same.

    Parameters
    ----------
    name : str
        What the value is called in messages.
    value : None, bool, int, float, str, list, tuple or dict
        Of nothing else, 64 deep at most. Tuples read back as lists.

    Raises
    ------
    ArgumentTypeError
        A key that is no str, or a value that JSON does not have (NumPy's among them).
    ArgumentValueError
        NaN or infinite, too deep, a number of thousands of digits.
    """
    _check(name, value, DEPTH)
    try:
        return _encode(value).encode("ascii")
    except ValueError as error:  # an integer beyond Python's limit of digits
        raise ArgumentValueError(f"{name} cannot be written: {error}") from None


def decoded(data: bytes) -> Any:
    """What `encoded` wrote.

    Raises
    ------
    ValueError
        No JSON, or JSON that `encoded` would not have written so.
    """
    try:
        value = json.loads(data.decode("ascii"))
        same = _encode(value).encode("ascii") == data
    except RecursionError:
        raise ValueError("too deep") from None
    if not same:
        raise ValueError("not in canonical form")
    return value


def finite(value: Any) -> Any:
    """None for a float that is not finite: JSON has none of those."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check(name: str, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return
    if kind is float:
        if not math.isfinite(value):
            raise ArgumentValueError(f"{name} must be finite, got {value!r}")
        return
    if depth == 0:
        raise ArgumentValueError(f"{name} is nested too deep: {DEPTH} levels at most")
    if kind is dict:
        for key, one in value.items():
            if type(key) is not str:
                raise ArgumentTypeError(
                    f"keys of {name} must be str, got {key!r:.60} ({type(key).__name__})"
                )
            kind = type(one)
            if kind is not str and kind is not int:
                _check(f"{name}[{key!r:.60}]", one, depth - 1)
    elif kind is list or kind is tuple:
        for place, one in enumerate(value):
            kind = type(one)
            if kind is not str and kind is not int:
                _check(f"{name}[{place}]", one, depth - 1)
    else:
        raise ArgumentTypeError(
            f"{name} must be something that JSON has, got {value!r:.60} ({kind.__name__})"
        )
