"""Checks of what functions of a system are given, and the text of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_real

if TYPE_CHECKING:
    from midstream.attractor.system import System

__all__ = ["check_positive", "check_system", "is_named", "text_entries"]

#: An entry of text that names its component: ``x' = ...`` or ``dx/dt = ...``.
_NAMED = re.compile(r"\s*(\w+\s*'|d\s*\w+\s*/\s*dt)\s*=")


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


def text_entries(system: System) -> list[str] | None:
    """The text of a system, an entry for each definition and component; None for functions."""
    given = system._given
    if isinstance(given, str):
        return [part for part in given.replace(";", "\n").splitlines() if part.strip()]
    if isinstance(given, (list, tuple)) and system.is_text:
        return [str(entry) for entry in given]
    return None


def is_named(entry: str) -> bool:
    """Whether an entry says which component it is of; then a system's entries all do."""
    return _NAMED.match(entry) is not None
