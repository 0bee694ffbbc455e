"""Checks of arguments that several modules make."""

from __future__ import annotations

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_real
from midstream.logic.formula import Formula
from midstream.logic.parser import parse

__all__ = ["as_formula", "as_timeout"]


def as_formula(formula: Formula | str, name: str = "formula") -> Formula:
    """A formula, read in the default dialect where it is text.

    Raises
    ------
    ArgumentTypeError
        Neither; the message names the argument.
    FormulaSyntaxError
        The text is no formula.
    """
    if isinstance(formula, str):
        return parse(formula)
    if not isinstance(formula, Formula):
        raise ArgumentTypeError(f"{name} must be a Formula or text, not {type(formula).__name__}")
    return formula


def as_timeout(timeout_s: float | None) -> float | None:
    """Seconds that something may take; None for any time.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No number, negative, or more than 1e9: the clocks count nanoseconds in 64 bits.
    """
    return None if timeout_s is None else check_real("timeout_s", timeout_s, low=0.0, high=1e9)
