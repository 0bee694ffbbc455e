"""What comparisons return."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Run"]


class Run(NamedTuple):
    """A stretch of a sequence that repeats with one period.

    Parameters
    ----------
    start : int
        Index of the first symbol.
    period : int
        Symbols from one copy to the next, the smallest that fits.
    copies : float
        Copies seen so far, fractions counted: ``(end - start) / period``.
    end : int
        Index behind the last symbol seen.
    """

    start: int
    period: int
    copies: float
    end: int
