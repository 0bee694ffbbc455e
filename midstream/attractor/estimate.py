"""A number with its interval, and why it may be believed."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Fit"]

Verdict = Literal["chaotic", "regular", "noise", "insufficient"]


@dataclass(frozen=True)
class Fit:
    """The straight piece of a curve that an estimate was read off.

    Attributes
    ----------
    slope, intercept : float
        Of the least-squares line.
    start, stop : int
        The scaling region: indices ``start:stop`` of the curve.
    r_squared : float
        Share of the variance in the region that the line explains.
    """

    slope: float
    intercept: float
    start: int
    stop: int
    r_squared: float


@dataclass(frozen=True)
class Estimate:
    """An estimate from data; ``float()`` gives its value.

    Attributes
    ----------
    value : float
        The estimate; NaN where the data do not allow one.
    ci : tuple of float
        95 % confidence interval; (NaN, NaN) without a value.
    verdict : str
        ``"chaotic"``, ``"regular"``, ``"noise"`` or ``"insufficient"``; empty where the quantity
        decides none, as a dimension does.
    curve : ndarray, shape (2, m)
        Abscissa and ordinate that the value was read off.
    fit : Fit or None
        Scaling region and line; None if there is no scaling region.
    reason : str
        Short code: ``"ok"``, ``"no_scaling_region"``, ``"constant"``, ``"too_short"``, ...
    reasons : tuple of str
        Sentences that say how verdict and value came about.
    n_effective : int
        Number of independent contributions, for example reference points.
    unit : str
        Of the value, for example ``"nats/time"``.
    details : dict
        What else was found: embedding, delay, Theiler window, surrogate statistics.
    """

    value: float
    ci: tuple[float, float]
    verdict: str
    curve: NDArray[np.float64] = field(repr=False)
    fit: Fit | None = field(repr=False)
    reason: str = "ok"
    reasons: tuple[str, ...] = field(default=(), repr=False)
    n_effective: int = 0
    unit: str = ""
    details: dict[str, Any] = field(default_factory=dict, repr=False)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        low, high = self.ci
        verdict = f", {self.verdict}" if self.verdict else ""
        number = f"{self.value:.4g} [{low:.4g}, {high:.4g}]" if np.isfinite(self.value) else "none"
        return f"{number} {self.unit}{verdict} ({self.reason})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return f"<b>{html.escape(str(self))}</b><ul>{rows}</ul>"
