"""Contextual bandits as papers write them: sums over all that was seen, solved every time."""

from __future__ import annotations

import numpy as np
from scipy import stats


class Linear:
    """Ridge regressions of every action, as in LinUCB and linear Thompson sampling.

    Time is in decisions. With a discount the ridge of an action fades along with the weights since
    its `mark`, which is the last time of its turn, one in `period`.
    """

    def __init__(self, n_actions, n_features, *, alpha=1.0, ridge=1.0, discount=1.0):
        self.alpha, self.ridge, self.discount = alpha, ridge, discount
        self.s = np.zeros((n_actions, n_features, n_features))
        self.b = np.zeros((n_actions, n_features))
        self.time = 0
        self.marks = np.zeros(n_actions, dtype=int)
        self.period = 1
        while self.period < 64 and discount ** (self.period + 1) >= 0.9:
            self.period += 1

    def tick(self):
        self.time += 1
        self.s *= self.discount
        self.b *= self.discount
        turns = np.arange(len(self.b)) * self.period // len(self.b)
        self.marks[turns == self.time % self.period] = self.time

    def learn(self, action, x, reward, time, weight=1.0):
        weight *= self.discount ** (self.time - time)
        self.s[action] += weight * np.outer(x, x)
        self.b[action] += weight * reward * x

    def soften(self, factor):
        self.s *= factor
        self.b *= factor
        self.marks[:] = self.time

    def estimate(self, x, *, kept=False):
        """Means and widths; `kept`: with a ridge that does not fade."""
        means, widths = [], []
        for s, b, mark in zip(self.s, self.b, self.marks, strict=True):
            ridge = self.ridge * (1.0 if kept else self.discount ** (self.time - mark))
            a = s + ridge * np.eye(len(x))
            means.append(x @ np.linalg.solve(a, b))
            variance = min(x @ np.linalg.solve(a, x), x @ x / self.ridge)
            widths.append(self.alpha * np.sqrt(max(variance, 0.0)))
        return np.array(means), np.array(widths)


def best_of(densities, distributions, grid):
    """Chance of each independent variable to be the largest, by the midpoint rule."""
    below = np.array([f(grid) for f in distributions])
    chances = []
    for i, density in enumerate(densities):
        others = np.prod(np.delete(below, i, axis=0), axis=0)
        chances.append((density(grid) * others).sum() * (grid[1] - grid[0]))
    return np.array(chances)


def best_normal(means, widths, points=40_001):
    grid = np.linspace(min(means - 9 * widths), max(means + 9 * widths), points)
    laws = [stats.norm(m, w) for m, w in zip(means, widths, strict=True)]
    return best_of([law.pdf for law in laws], [law.cdf for law in laws], grid)


def best_beta(a, b, points=40_001):
    # Over the angle whose squared sine is the value: densities are bounded from 1/2 on.
    angle = (np.arange(points) + 0.5) * (np.pi / 2 / points)
    x = np.sin(angle) ** 2
    laws = [stats.beta(*ab) for ab in zip(a, b, strict=True)]
    densities = [lambda t, law=law: law.pdf(x) * np.sin(2 * t) for law in laws]
    return best_of(densities, [lambda t, law=law: law.cdf(x) for law in laws], angle)
