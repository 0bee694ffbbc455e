"""Checks of arguments that several modules make."""

from __future__ import annotations

from midstream._core.errors import ArgumentTypeError
from midstream.logic.formula import Formula
from midstream.logic.parser import parse

__all__ = ["as_formula"]


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
