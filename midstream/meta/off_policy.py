"""What another policy would have earned, from the decisions of the one that was followed.

Every estimate here weighs a logged reward by how much more, or less, often the other policy would
have chosen the action: by its probability over the logged propensity. It is unbiased whatever the
logged policy was, and however it learned meanwhile, as long as its propensities are true and it
could have chosen whatever the other policy may choose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_real
from midstream.meta.bandit import REWARDED, Bandit

__all__ = [
    "Estimate",
    "doubly_robust",
    "effective_sample_size",
    "ips",
    "policy_probabilities",
    "predicted_rewards",
    "snips",
]

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """What a policy is worth by logged rewards.

    Attributes
    ----------
    method : str
    value : float
        Mean reward of a decision.
    standard_error : float
        Of `value`, for independent decisions; NaN for a single one.
    n : int
        Decisions.
    effective_size : float
        As many equally weighted decisions say as much: `effective_sample_size` of the weights.
    clipped : float
        Share of the decisions whose weight was above `clip`.
    bias : float
        How far clipping may have moved `value`, at most: the mean of the weight that was cut off,
        times the largest error that it can make; for the mean over all logs, an unbiased estimate
        of such a bound. Where rewards are not negative, clipped `ips` is too low, never too high.
    low, high : float
        Range that no element of `values` can leave, known before any was seen; infinite without
        `clip`. What a confidence sequence over `values` must be told.
    values : (n,) float64 ndarray
        One for each decision, whose mean is `value`.
    weights : (n,) float64 ndarray
        Target over propensity, after clipping.
    """

    method: str
    value: float
    standard_error: float
    n: int
    effective_size: float
    clipped: float
    bias: float
    low: float
    high: float
    values: Reals = field(repr=False, compare=False)
    weights: Reals = field(repr=False, compare=False)


def effective_sample_size(weights: npt.ArrayLike) -> float:
    """How many equally weighted samples say as much.

    Parameters
    ----------
    weights : (n,) array_like of float
        Not negative.

    Returns
    -------
    float
        ``sum(weights) ** 2 / sum(weights ** 2)`` (Kish 1965), from 1 to n; 0 where all are 0.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not numbers; negative or infinite ones.

    Examples
    --------
    >>> from midstream.meta.off_policy import effective_sample_size
    >>> effective_sample_size([1, 1, 1, 1]), effective_sample_size([4, 0, 0, 0])
    (4.0, 1.0)
    """
    array = _as_reals("weights", weights, low=0.0)
    largest = float(array.max(initial=0.0))
    if largest == 0:
        return 0.0
    # Of huge weights the squares may overflow.
    array = array / largest
    return float(array.sum() ** 2 / (array @ array))


def ips(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    clip: float | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Estimate:
    """Inverse propensity scores: the mean of reward times target over propensity.

    Parameters
    ----------
    rewards : (n,) array_like of float
        Of the logged decisions. Those without one must be left out.
    propensities : (n,) array_like of float
        With which the logged actions were drawn, in (0, 1].
    target : (n,) array_like of float
        With which the policy in question would have drawn the same actions, in [0, 1].
    clip : float, optional
        Largest weight, at least 1; what is above counts as this. Rewards not negative, the estimate
        is then too low on average, by at most `Estimate.bias`, and less variable (Ionides 2008).
    low, high : float
        Range of rewards.

    Returns
    -------
    Estimate

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not arrays of one length with numbers in range.

    Notes
    -----
    A `Bandit` with `explore` > 0 over n actions makes no weight above ``n / explore``: clipped
    there, nothing is lost and `values` have a range. O(n).

    Source: D. G. Horvitz, D. J. Thompson, JASA 47 (1952); M. Dudik, J. Langford, L. Li, "Doubly
    robust policy evaluation and learning", ICML 2011, section 2; E. L. Ionides, "Truncated
    importance sampling", J. Comput. Graph. Stat. 17 (2008).

    Examples
    --------
    >>> from midstream.meta.off_policy import ips
    >>> estimate = ips([1.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 1.0])
    >>> estimate.value, estimate.effective_size
    (1.0, 2.0)
    """
    low, high = _as_range(low, high)
    reward = _as_reals("rewards", rewards, low=low, high=high)
    weights = _Weights(reward, propensities, _as_reals("target", target, 0.0, 1.0), clip)
    bounds = (min(0.0, weights.most * low), max(0.0, weights.most * high))
    return weights.estimate("ips", weights.clipped * reward, bounds, max(abs(low), abs(high)))


def snips(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    clip: float | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Estimate:
    """Self-normalised inverse propensity scores: the weighted mean of the rewards.

    Parameters
    ----------
    rewards, propensities, target, clip, low, high
        As for `ips`.

    Returns
    -------
    Estimate
        `values` are those of the estimate linearised: ``value + weight (reward - value) / mean
        weight``. They share the mean weight and the value, and so are not what a confidence
        sequence takes; their range is infinite.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As for `ips`, or the target has probability 0 for all that was logged.

    Notes
    -----
    Not unbiased, but consistent; never out of the range of rewards, and blind to a constant added
    to all of them, which `ips` is not. O(n).

    Source: A. Swaminathan, T. Joachims, "The self-normalized estimator for counterfactual
    learning", NeurIPS 2015.

    Examples
    --------
    >>> from midstream.meta.off_policy import snips
    >>> snips([1.0, 0.5, 1.0], [0.2, 0.5, 0.9], [0.3, 0.0, 0.3]).value
    1.0
    """
    low, high = _as_range(low, high)
    reward = _as_reals("rewards", rewards, low=low, high=high)
    weights = _Weights(reward, propensities, _as_reals("target", target, 0.0, 1.0), clip)
    mean = float(weights.clipped.mean())
    if not mean > 0:
        raise ArgumentValueError(
            "target must have a probability above 0 for a logged action, got 0 for all"
        )
    share = weights.clipped / mean
    value = min(max(float((share * reward).mean()), low), high)
    values = value + share * (reward - value)
    return weights.estimate("snips", values, (-np.inf, np.inf), (high - low) / mean, value=value)


def doubly_robust(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    actions: npt.ArrayLike,
    target: npt.ArrayLike,
    model: npt.ArrayLike,
    *,
    clip: float | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Estimate:
    """A model's expectation, and inverse propensity scores of what it got wrong.

    Parameters
    ----------
    rewards, propensities
        As for `ips`.
    actions : (n,) array_like of int
        Indices of the logged actions.
    target : (n, n_actions) array_like of float
        Probabilities of the policy in question; each row adds up to 1.
    model : (n, n_actions) array_like of float
        Expected rewards, by a model that did not see the reward of its own row; `predicted_rewards`
        makes one. Cut to ``[low, high]``.
    clip, low, high
        As for `ips`. Clipped, `Estimate.bias` bounds the bias in both directions.

    Returns
    -------
    Estimate

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As for `ips`; an action is no column; a row of `target` does not add up to 1.

    Notes
    -----
    Unbiased as `ips` is, whatever the model says; the better the model, the smaller the error.
    Where the model of a row was made of earlier rows only, `values` less what the policy is worth
    in each row are martingale differences, even if the logged policy learned meanwhile: then a
    confidence sequence may take them. O(n n_actions).

    Source: M. Dudik, J. Langford, L. Li, "Doubly robust policy evaluation and learning", ICML 2011,
    equation 1.

    Examples
    --------
    >>> from midstream.meta.off_policy import doubly_robust
    >>> always_second = [[0.0, 1.0]] * 3
    >>> model = [[0.5, 0.75]] * 3
    >>> doubly_robust([1.0, 0.0, 1.0], [0.5] * 3, [1, 0, 1], always_second, model).values.tolist()
    [1.25, 0.75, 1.25]
    """
    low, high = _as_range(low, high)
    reward = _as_reals("rewards", rewards, low=low, high=high)
    table = _as_table("target", target, len(reward), 0.0, 1.0)
    expected = np.clip(_as_table("model", model, len(reward)), low, high)
    if table.shape != expected.shape:
        raise ArgumentValueError(
            f"model must have a column for each of the {table.shape[1]} of target, "
            f"got {expected.shape[1]}"
        )
    totals = table.sum(axis=1)
    wrong = np.flatnonzero(np.abs(totals - 1.0) > 1e-6)
    if len(wrong):
        raise ArgumentValueError(
            f"target must add up to 1, got {totals[wrong[0]]:.6g} in row {wrong[0]}"
        )
    chosen = np.asarray(actions)
    if chosen.shape != reward.shape or chosen.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"actions must be ({len(reward)},) integers, got {chosen.shape} {chosen.dtype}"
        )
    odd = np.flatnonzero((chosen < 0) | (chosen >= table.shape[1]))
    if len(odd):
        raise ArgumentValueError(
            f"actions must be below {table.shape[1]}, got {chosen[odd[0]]} in row {odd[0]}"
        )
    rows = np.arange(len(reward))
    weights = _Weights(reward, propensities, table[rows, chosen], clip)
    values = (table * expected).sum(axis=1) + weights.clipped * (reward - expected[rows, chosen])
    span = high - low
    # Rows may add up to a little above 1.
    slack = 1e-6 * max(abs(low), abs(high))
    bounds = (low - weights.most * span - slack, high + weights.most * span + slack)
    return weights.estimate("doubly_robust", values, bounds, span)


def policy_probabilities(bandit: Bandit, log: npt.NDArray[Any]) -> Reals:
    """What a bandit, as it is now, would have drawn from for each decision of a log.

    Parameters
    ----------
    bandit : Bandit
        With the actions and features of the log's. It learns nothing.
    log : (n,) structured ndarray
        As `Bandit.log` returns it.

    Returns
    -------
    (n, n_actions) float64 ndarray
        Rows that add up to 1: the `target` of `doubly_robust`; at the logged actions, of `ips`.

    Examples
    --------
    >>> from midstream.meta import Bandit
    >>> from midstream.meta.off_policy import policy_probabilities
    >>> bandit = Bandit(("stay", "go"), n_features=1, explore=0.0)
    >>> decision = bandit.decide([1.0])
    >>> policy_probabilities(bandit, bandit.log()).tolist()
    [[0.5, 0.5]]
    """
    if not isinstance(bandit, Bandit):
        raise ArgumentTypeError(f"bandit must be a Bandit, got {type(bandit).__name__}")
    _check_log(log, "features", "allowed")
    out = np.empty((len(log), len(bandit.actions)))
    for k, (x, allowed) in enumerate(zip(log["features"], log["allowed"].tolist(), strict=True)):
        out[k] = bandit.probabilities(x, allowed)
    return out


def predicted_rewards(
    log: npt.NDArray[Any],
    n_actions: int,
    *,
    ridge: float = 1.0,
    low: float = 0.0,
    high: float = 1.0,
) -> Reals:
    """Rewards of each action by ridge regressions over the rows before.

    Parameters
    ----------
    log : (n,) structured ndarray
        As `Bandit.log` returns it. Rows without a reward teach nothing.
    n_actions : int
    ridge : float
    low, high : float
        Range of rewards.

    Returns
    -------
    (n, n_actions) float64 ndarray
        For the `model` of `doubly_robust`: row k does not depend on the rewards of rows k and
        after.

    Notes
    -----
    O(n n_actions n_features^2).

    Examples
    --------
    >>> from midstream.meta import Bandit
    >>> from midstream.meta.off_policy import predicted_rewards
    >>> bandit = Bandit(("stay",), n_features=1)
    >>> for reward in (1.0, 0.25):
    ...     bandit.feedback(bandit.decide([1.0]).ticket, reward)
    >>> predicted_rewards(bandit.log(), 1).round(3).tolist()
    [[0.0], [0.5]]
    """
    n_actions = check_int("n_actions", n_actions, low=1, high=64)
    _check_log(log, "features", "action", "reward", "status")
    if log["features"].ndim != 2 or not log["features"].shape[1]:
        raise ArgumentValueError(
            f"log must have features to predict by, got {log['features'].shape[1:]}"
        )
    names = [str(k) for k in range(n_actions)]
    learner = Bandit(
        names, log["features"].shape[1], ridge=ridge, low=low, high=high, max_pending=1, max_log=0
    )
    out = np.empty((len(log), n_actions))
    odd = np.flatnonzero((log["action"] < 0) | (log["action"] >= n_actions))
    if len(odd):
        raise ArgumentValueError(
            f"n_actions must be above every action of the log, got {n_actions} "
            f"with action {log['action'][odd[0]]} in row {odd[0]}"
        )
    columns = zip(
        log["features"],
        log["action"].tolist(),
        log["reward"].tolist(),
        (log["status"] == REWARDED).tolist(),
        strict=True,
    )
    for k, (x, action, reward, known) in enumerate(columns):
        out[k] = learner.means(x)
        if known:
            learner.learn(x, names[action], reward)
    return out


class _Weights:
    """Targets over propensities, as they are and cut."""

    def __init__(
        self, rewards: Reals, propensities: npt.ArrayLike, target: Reals, clip: float | None
    ) -> None:
        propensity = _as_reals("propensities", propensities, 0.0, 1.0)
        for name, array in (("propensities", propensity), ("target", target)):
            if len(array) != len(rewards):
                raise ArgumentValueError(
                    f"{name} must be {len(rewards)}, one for each reward, got {len(array)}"
                )
        if not len(rewards):
            raise ArgumentValueError("rewards must be at least one, got none")
        zero = np.flatnonzero(propensity == 0)
        if len(zero):
            raise ArgumentValueError(f"propensities must be above 0, got 0.0 in row {zero[0]}")
        self.most = np.inf if clip is None else check_real("clip", clip, low=1.0)
        with np.errstate(over="ignore"):
            self.full = target / propensity
        self.clipped = np.minimum(self.full, self.most)
        if not np.isfinite(self.clipped).all():
            row = int(np.flatnonzero(~np.isfinite(self.clipped))[0])
            raise ArgumentValueError(
                f"propensities must be larger, or clip given, got {propensity[row]!r} in row {row}"
            )

    def estimate(
        self,
        method: str,
        values: Reals,
        bounds: tuple[float, float],
        worst: float,
        *,
        value: float | None = None,
    ) -> Estimate:
        n = len(values)
        # Of infinite weights the clipped part has no mean; what is lost is then not known.
        lost = float((self.full - self.clipped).mean())
        return Estimate(
            method=method,
            value=float(values.mean()) if value is None else value,
            standard_error=float(values.std(ddof=1) / n**0.5) if n > 1 else np.nan,
            n=n,
            effective_size=effective_sample_size(self.clipped),
            clipped=float((self.full > self.most).mean()),
            bias=lost * worst,
            low=bounds[0],
            high=bounds[1],
            values=values,
            weights=self.clipped,
        )


def _as_range(low: float, high: float) -> tuple[float, float]:
    low, high = check_real("low", low), check_real("high", high)
    if not low < high:
        raise ArgumentValueError(f"high must be above low, {low!r}, got {high!r}")
    return low, high


def _as_array(name: str, values: npt.ArrayLike) -> Reals:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ArgumentTypeError(f"{name} must be an array of numbers, got a ragged one") from None
    if array.dtype.kind not in "iuf":
        raise ArgumentTypeError(f"{name} must be an array of numbers, got {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float64)


def _check_values(name: str, array: Reals, low: float, high: float) -> None:
    bad = np.argwhere(~((array >= low) & (array <= high) & np.isfinite(array)))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise ArgumentValueError(
            f"{name} must be finite and in [{low!r}, {high!r}], got {float(array[place])!r} "
            f"in row {place[0]}"
        )


def _as_reals(
    name: str, values: npt.ArrayLike, low: float = -np.inf, high: float = np.inf
) -> Reals:
    array = _as_array(name, values)
    if array.ndim != 1:
        raise ArgumentTypeError(f"{name} must be one row of numbers, got {array.ndim}-d")
    _check_values(name, array, low, high)
    return array


def _as_table(
    name: str, values: npt.ArrayLike, n: int, low: float = -np.inf, high: float = np.inf
) -> Reals:
    array = _as_array(name, values)
    if array.ndim != 2 or len(array) != n:
        raise ArgumentTypeError(f"{name} must be ({n}, n_actions) numbers, got {array.shape}")
    _check_values(name, array, low, high)
    return array


def _check_log(log: npt.NDArray[Any], *fields: str) -> None:
    if not isinstance(log, np.ndarray) or log.dtype.names is None or log.ndim != 1:
        raise ArgumentTypeError(
            f"log must be an array as Bandit.log returns it, got {type(log).__name__}"
        )
    for name in fields:
        if name not in log.dtype.names:
            raise ArgumentValueError(f"log must have the field {name!r}, which it has not")
