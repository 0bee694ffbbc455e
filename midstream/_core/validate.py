"""Argument checks, in one place: each names the argument and the value it got."""

from __future__ import annotations

import difflib
import math
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, SupportsFloat, SupportsIndex, TypeVar

from midstream._core.errors import ArgumentTypeError, ArgumentValueError

__all__ = [
    "check_callback",
    "check_choice",
    "check_int",
    "check_iterable",
    "check_mapping",
    "check_path",
    "check_positive_fields",
    "check_real",
    "check_text",
    "did_you_mean",
]

T = TypeVar("T")

#: `inspect.CO_COROUTINE`, without the import: that of `inspect` takes as long as all of ours.
_CO_COROUTINE = 0x80


def check_int(
    name: str, value: SupportsIndex, *, low: int | None = None, high: int | None = None
) -> int:
    """Return `value` as int if it is an integer within ``[low, high]``.

    Raises
    ------
    ArgumentTypeError
        Not an integer; bool counts as none.
    ArgumentValueError
        Out of range.
    """
    if isinstance(value, bool):
        raise ArgumentTypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(
            f"{name} must be an integer, got {value!r} ({type(value).__name__})"
        ) from None
    _check_range(name, number, low, high)
    return number


def check_real(
    name: str,
    value: SupportsFloat,
    *,
    low: float | None = None,
    high: float | None = None,
    finite: bool = True,
) -> float:
    """Return `value` as float if it is a real number within ``[low, high]``.

    Raises
    ------
    ArgumentTypeError
        Not a real number; bool and str count as none.
    ArgumentValueError
        NaN, infinite where `finite`, or out of range.
    """
    # numpy would take the only element of an array for a number.
    if isinstance(value, (bool, str, bytes)) or getattr(value, "ndim", 0) != 0:
        raise ArgumentTypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ArgumentValueError(f"{name} is too large for a real number") from None
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"{name} must be a real number, got {value!r} ({type(value).__name__})"
        ) from None
    if math.isnan(number) or (finite and math.isinf(number)):
        raise ArgumentValueError(f"{name} must be finite, got {value!r}")
    _check_range(name, number, low, high)
    return number


def check_choice(name: str, value: Any, choices: Collection[Any]) -> Any:
    """Return `value` if it is one of `choices`.

    Raises
    ------
    ArgumentValueError
        It is not.
    """
    if type(value) is str and value in choices:
        return value
    # By type first: whatever equals a choice, or cannot be compared with one, such as an array.
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ArgumentValueError(f"{name} must be one of {listed}, got {value!r}")
    return value


def check_text(name: str, value: str) -> str:
    """Return `value` if it is a str.

    Raises
    ------
    ArgumentTypeError
        It is not. The value is not shown, since it may be secret.
    """
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} must be str, got {type(value).__name__}")
    return value


def check_mapping(name: str, value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return `value` if it is a mapping.

    Raises
    ------
    ArgumentTypeError
        It is not. The value is not shown, since it may be secret or large.
    """
    if not isinstance(value, Mapping):
        raise ArgumentTypeError(f"{name} must be a mapping, got {type(value).__name__}")
    return value


def check_iterable(name: str, value: Iterable[T]) -> Iterable[T]:
    """Return `value` if it can be iterated.

    Raises
    ------
    ArgumentTypeError
        It cannot.
    """
    try:
        iter(value)
    except TypeError:
        raise ArgumentTypeError(f"{name} must be iterable, got {type(value).__name__}") from None
    return value


def check_callback(name: str, value: Callable[..., object]) -> Callable[..., object]:
    """Return `value` if it can be called, and acts when it is.

    Raises
    ------
    ArgumentTypeError
        It is not callable, or a coroutine function: nobody would await what it returns.
    """
    if not callable(value):
        raise ArgumentTypeError(
            f"{name} must be callable, got {value!r:.60} ({type(value).__name__})"
        )
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        raise ArgumentTypeError(
            f"{name} must be a plain function, got the coroutine function {value.__qualname__}"
        )
    return value


def check_path(name: str, value: str | os.PathLike[str]) -> str:
    """Return `value` as str if it names a file.

    Raises
    ------
    ArgumentTypeError
        Neither str nor a path of str.
    """
    try:
        path: Any = os.fspath(value)
    except TypeError:
        path = value
    if not isinstance(path, str):
        raise ArgumentTypeError(
            f"{name} must be str or a path, got {value!r} ({type(value).__name__})"
        )
    if "\0" in path:
        raise ArgumentValueError(f"{name} must not hold NUL, got {path!r:.200}")
    return path


def check_positive_fields(settings: Any, *, high: float | None = None) -> None:
    """Check each field of a frozen dataclass: integers from 1, and times, which end in ``_s``.

    Parameters
    ----------
    settings : dataclass
        Its times become float.
    high : float, optional
        Longest time, in seconds.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A field is no integer from 1, or no time from a millisecond.
    """
    for name in settings.__dataclass_fields__:
        value = getattr(settings, name)
        if name.endswith("_s"):
            object.__setattr__(settings, name, check_real(name, value, low=1e-3, high=high))
        else:
            check_int(name, value, low=1)


def did_you_mean(word: object, known: Sequence[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, else all of them."""
    near = difflib.get_close_matches(word, known, 1) if isinstance(word, str) else []
    return f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"


def _check_range(name: str, number: float, low: float | None, high: float | None) -> None:
    if low is not None and number < low:
        raise ArgumentValueError(f"{name} must be at least {low}, got {number!r}")
    if high is not None and number > high:
        raise ArgumentValueError(f"{name} must be at most {high}, got {number!r}")
