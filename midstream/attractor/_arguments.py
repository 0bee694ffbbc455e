"""Checks that functions of a system share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_real

if TYPE_CHECKING:
    from midstream.attractor.system import System

__all__ = ["check_positive", "check_system"]


def check_system(system: Any, *, kind: str | None = None) -> System:
    """Return `system` if it is one, of this kind where one is named."""
    from midstream.attractor.system import System

    if not isinstance(system, System):
        raise ArgumentTypeError(f"system must be a System, got {type(system).__name__}")
    if kind not in (None, system.kind):
        raise ArgumentValueError(f"system must be a {kind}, got a {system.kind}")
    return system


def check_positive(name: str, value: Any) -> float:
    """Return `value` as float if it is positive and finite."""
    number = check_real(name, value)
    if number <= 0:
        raise ArgumentValueError(f"{name} must be positive, got {value!r}")
    return number
