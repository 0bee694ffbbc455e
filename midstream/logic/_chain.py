"""An absorbing Markov chain over the states of an automaton, and its calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, bicgstab

__all__ = ["Chain", "Encoded", "calibrated", "features", "logit"]

#: Pseudo-counts that are tried for the weight of the coarser estimate.
_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_LOGIT_LIMIT = 12.0


class Encoded(NamedTuple):
    """Traces, one after the other, as indices of symbols and states."""

    starts: npt.NDArray[np.intp]  # and the end
    symbols: npt.NDArray[np.intp]  # -1: unseen
    states: npt.NDArray[np.intp]  # after each letter
    labels: npt.NDArray[np.bool_]

    def part(self, which: npt.NDArray[np.bool_]) -> Encoded:
        """Some of the traces."""
        lengths = np.diff(self.starts)
        letters = np.repeat(which, lengths)
        starts = np.concatenate([[0], np.cumsum(lengths[which])])
        return Encoded(starts, self.symbols[letters], self.states[letters], self.labels[which])


class Chain:
    """An absorbing Markov chain over (state of the automaton, last symbol).

    The next symbol, or the end, is drawn given both; counts are smoothed towards the distribution
    given the last symbol alone, and that towards the distribution of all symbols. Contexts are the
    symbols, the start, and a letter that was never seen, in this order.
    """

    def __init__(
        self,
        counted: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]],
        following: npt.NDArray[np.intp],
        accepting: npt.NDArray[np.bool_],
        fixed: npt.NDArray[np.float64],
        strength: float | None,
    ) -> None:
        self.following = following
        self.accepting = accepting.astype(np.float64)
        self.fixed = fixed
        self.states, self.symbols = following.shape
        self.contexts = self.symbols + 2
        self.row, self.outcome, counts = counted
        self.counts = counts.astype(np.float64)
        self.coarse = np.zeros((self.contexts, self.symbols + 1))
        np.add.at(self.coarse, (self.row % self.contexts, self.outcome), self.counts)
        self.all: npt.NDArray[np.float64] = self.coarse.sum(axis=0)
        self.strength = self._best_strength() if strength is None else strength

    @staticmethod
    def count(
        data: Encoded, symbols: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """How often each outcome (a symbol, or `symbols` for the end) came in each row.

        A row is a state and a context: state * (symbols + 2) + context.
        """
        lengths = np.diff(data.starts)
        first = np.zeros(data.symbols.size, dtype=bool)
        first[data.starts[:-1]] = True
        before_q = np.where(first, 0, np.roll(data.states, 1))
        before_c = np.where(first, symbols, np.roll(data.symbols, 1))
        last = data.starts[1:] - 1
        q = np.concatenate([before_q, data.states[last]])
        c = np.concatenate([before_c, data.symbols[last]])
        t = np.concatenate([data.symbols, np.full(lengths.size, symbols)])
        keys, counts = np.unique((q * (symbols + 2) + c) * (symbols + 1) + t, return_counts=True)
        row, outcome = np.divmod(keys, symbols + 1)
        return row, outcome, counts

    def _base(
        self, coarse: npt.NDArray[np.float64], overall: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """The distribution given the last symbol, and of the end last."""
        overall = (overall + 1.0 / overall.size) / (overall.sum() + 1.0)
        weight = 2.0
        rows = (coarse + weight * overall) / (coarse.sum(axis=1, keepdims=True) + weight)
        return self._begun(rows)

    def _begun(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """No trace is empty: none ends at the start."""
        rows[self.symbols, -1] = 0.0
        normalised: npt.NDArray[np.float64] = rows / rows.sum(axis=1, keepdims=True)
        return normalised

    def _best_strength(self) -> float:
        """The pseudo-count under which each outcome is likeliest given all others."""
        base = self._base(self.coarse, self.all)[self.row % self.contexts, self.outcome]
        totals = np.bincount(self.row, self.counts, self.states * self.contexts)[self.row]

        def score(strength: float) -> float:
            chance = (self.counts - 1 + strength * base) / (totals - 1 + strength)
            return float(self.counts @ np.log(chance))

        return max(_STRENGTHS, key=score)

    def solve(
        self,
        counts: npt.NDArray[np.float64],
        base: npt.NDArray[np.float64],
        guess: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Probability of acceptance at the end: (states, contexts)."""
        states, symbols, contexts = self.states, self.symbols, self.contexts
        totals = np.bincount(self.row, counts, states * contexts) + self.strength
        ends = self.outcome == symbols
        q = self.row // contexts
        moves = sparse.csr_array(
            (counts[~ends], (self.row[~ends], q[~ends] * symbols + self.outcome[~ends])),
            shape=(states * contexts, states * symbols),
        )
        # What ending at once contributes.
        ended = np.bincount(self.row[ends], counts[ends], states * contexts)
        now: npt.NDArray[np.float64] = ended.reshape(states, contexts).astype(np.float64)
        now = (now + self.strength * base[:, -1]) * self.accepting[:, None]
        base_moves = np.ascontiguousarray(base[:, :-1].T)
        index = np.arange(symbols)
        open_ = np.isnan(self.fixed)
        weights = np.where(open_[:, None], 1.0 / totals.reshape(states, contexts), 0.0)
        settled = np.where(open_, 0.0, self.fixed)[:, None]

        def move(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            after = value[self.following, index]
            mixed: npt.NDArray[np.float64] = (moves @ after.ravel()).reshape(states, contexts)
            mixed += self.strength * (after @ base_moves)
            mixed *= weights
            return mixed

        constant = now * weights + settled
        shape = (states * contexts,) * 2
        system = LinearOperator(
            shape,
            matvec=lambda x: x - move(x.reshape(states, contexts)).ravel(),
            dtype=np.float64,
        )
        start = constant if guess is None else guess
        found, status = bicgstab(
            system, constant.ravel(), x0=start.ravel(), rtol=1e-10, atol=1e-12, maxiter=500
        )
        value = np.asarray(found, dtype=np.float64).reshape(states, contexts)
        if status != 0 or not np.isfinite(value).all():
            value = constant.copy()
            # A contraction: each step ends with a probability above zero.
            for _ in range(100_000):
                moved = move(value) + constant
                change = float(np.abs(moved - value).max())
                value = moved
                if change < 1e-10:
                    break
        clipped: npt.NDArray[np.float64] = np.clip(value, 0.0, 1.0)
        return clipped

    def mean(self) -> npt.NDArray[np.float64]:
        """Under the expected distributions."""
        return self.solve(self.counts, self._base(self.coarse, self.all))

    def draw(
        self, rng: np.random.Generator, guess: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Under distributions drawn from the posterior: gamma variates in the place of counts."""
        counts = rng.gamma(self.counts)
        overall = rng.gamma(self.all + 1.0 / self.all.size)
        coarse = np.where(self.coarse > 0, rng.gamma(np.maximum(self.coarse, 1e-300)), 0.0)
        base = self._base(coarse, overall)
        # The share of the coarse estimate varies as its pseudo-counts would.
        spread = rng.gamma(np.maximum(self.strength * base, 1e-3))
        return self.solve(counts, self._begun(spread), guess)


def logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        z: npt.NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return np.clip(z, -_LOGIT_LIMIT, _LOGIT_LIMIT)


def features(z: npt.NDArray[np.float64], position: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    log = np.log1p(position)
    return np.stack([np.ones_like(z), z, log, z * log], axis=-1)


def calibrated(
    z: npt.NDArray[np.float64],
    position: npt.NDArray[np.intp],
    labels: npt.NDArray[np.bool_],
    n_traces: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Logistic regression on log-odds and position, or the identity where that explains no less.

    Akaike's criterion decides: four weights must pay for themselves. Weights and their covariance.
    """
    x = features(z, position)
    y = labels.astype(np.float64)
    identity = np.array([0.0, 1.0, 0.0, 0.0])
    # Prefixes of one trace share its outcome: together they weigh as much as there are traces.
    ridge = 10.0 * z.size / n_traces * np.eye(4)

    def loss(weights: npt.NDArray[np.float64]) -> float:
        odds = x @ weights
        off = weights - identity
        return float(np.sum(np.logaddexp(0.0, odds) - y * odds) + 0.5 * off @ ridge @ off)

    weights = identity.copy()
    before = current = loss(weights)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-(x @ weights)))
        gradient = x.T @ (p - y) + ridge @ (weights - identity)
        hessian = (x.T * (p * (1 - p))) @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while scale > 1e-6 and (trial := loss(weights - scale * step)) > current:
            scale /= 2
        if scale <= 1e-6 or current - trial < 1e-9 * max(1.0, abs(current)):
            break
        weights = weights - scale * step
        current = trial
    if (before - current) * n_traces / z.size <= weights.size:
        return identity, np.zeros((4, 4))
    p = 1.0 / (1.0 + np.exp(-(x @ weights)))
    hessian = (x.T * (p * (1 - p))) @ x + ridge
    return weights, np.linalg.inv(hessian * (n_traces / z.size))
