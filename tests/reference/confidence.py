"""Confidence sequences and capital as the papers write them: all sums anew each time."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp


def hedged_capital(x, means, level):
    """Log-capital against "the mean is at most m", for each m: (len(means),).

    Waudby-Smith and Ramdas (2024), equations (25) and (26) with c = 1/2, `level` for one side.
    """
    x = np.asarray(x, dtype=float)
    n = len(x)
    t = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.sqrt(2 * math.log(1 / level) / (before * t * np.log(t + 1)))
    logs = []
    for m in means:
        cut = bets if m == 0 else np.minimum(bets, 0.5 / m)
        logs.append(np.cumsum(np.log1p(cut * (x - m))))
    return np.array(logs)


def betting_lower(x, level, cells):
    """Largest mean of the grid that was refuted at any time; 0 where none was."""
    means = np.arange(cells + 1) / cells
    ever = hedged_capital(x, means, level).max(axis=1) >= math.log(1 / level)
    return means[ever].max() if ever.any() else 0.0


def bernstein_margin(x, level):
    """Howard et al. (2021), theorem 4: margin of the sum, by a discrete mixture of 40 rates."""
    x = np.asarray(x, dtype=float)
    n = len(x)
    predicted = (0.5 + np.concatenate([[0], np.cumsum(x)[:-1]])) / np.arange(1, n + 1)
    squares = ((x - predicted) ** 2).sum()
    j = np.arange(40)
    rates = 0.9 * 2.0 ** (-j / 2)
    weights = (j + 2.0) ** -1.5
    weights /= weights.sum()
    costs = (-np.log(1 - rates) - rates) * squares

    def excess(s):
        return logsumexp(rates * s - costs, b=weights) - math.log(1 / level)

    return brentq(excess, 0, 10 * n + 100, xtol=1e-12)


def hoeffding_margin(n, alpha, tuned_for):
    """Robbins' two-sided normal mixture for sums of variables in [0, 1]: proposition 5."""
    v, best = n / 4, tuned_for / 4
    rho = best / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    return math.sqrt((v + rho) * math.log((v + rho) / (rho * alpha**2)))


def mixture_capital(x, *, restarts=False):
    """Log-capital of the mixture of 16 constant bets after each value."""
    x = np.asarray(x, dtype=float)
    n = len(x)
    j = np.arange(16)
    bets = 0.98 * 2.0 ** (-j / 2)
    weights = (j + 2.0) ** -1.5
    weights /= weights.sum()
    # steps[t, j]: log of what a bet placed before value t makes of it
    steps = np.log1p(np.outer(x, bets))
    logs = []
    for t in range(1, n + 1):
        started = [(0, 0.5 if restarts else 1.0)]
        if restarts:
            started += [(s - 1, 0.5 / s**0.5 - 0.5 / (s + 1) ** 0.5) for s in range(1, t + 1)]
        terms = [
            math.log(stake) + logsumexp(steps[at:t].sum(axis=0), b=weights) for at, stake in started
        ]
        if restarts:
            terms.append(math.log(0.5 / (t + 1) ** 0.5))
        logs.append(logsumexp(terms))
    return np.array(logs)
