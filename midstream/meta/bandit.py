"""`Bandit`: which intervention works when, learned from rewards that come late or never."""

from __future__ import annotations

import hashlib
import html
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_choice, check_int, check_real
from midstream._core.words import counted
from midstream.meta._bandit import LARGEST, MAX_ACTIONS, MAX_FEATURES, Core, Decision

__all__ = ["INTERVENTIONS", "Bandit", "Decision"]

#: What can be done about a stream, mildest first.
INTERVENTIONS = (
    "continue",
    "nudge",
    "lower_temperature",
    "trim",
    "abort",
    "retry",
    "switch",
    "escalate",
)

POLICIES = ("linucb", "thompson", "beta")
REWARDED = 1

MAGIC = b"ms.bandit1"
#: Policy, features, actions; alpha, ridge, discount, explore, low, high; most pending and logged.
#: Names follow, each with its length, then the state as csrc/ms_bandit writes it.
HEADER = struct.Struct("<3B6d2I")
LENGTH = struct.Struct("<H")


class Bandit(Core):
    """Chooses actions by features, and learns from their rewards whenever they come.

    Parameters
    ----------
    actions : sequence of str
        Names of up to 64 actions.
    n_features : int
        Up to 64; 0 only for ``"beta"``.
    policy : {"linucb", "thompson", "beta"}
        ``"linucb"``: the action with the highest mean plus `alpha` deviations of a linear model of
        its own (Li et al. 2010, disjoint). ``"thompson"``: each action with the probability that it
        is the best, if its reward is normal around the mean with `alpha` deviations (Agrawal and
        Goyal 2013). ``"beta"``: the same of Beta posteriors, which do not look at features.
    alpha : float
        How much is tried: widths are `alpha` posterior deviations of the mean. Not for ``"beta"``.
    ridge : float
        Strength of the prior: of the linear models, that coefficients are near 0; of ``"beta"``,
        Beta(ridge, ridge), so that 1 is uniform.
    discount : float
        What a reward counts for, one decision later, in (0, 1]; it counts for
        ``discount ** age``, aged from its decision. 1 never forgets; 0.99 remembers about 100
        decisions.
    explore : float
        Share of decisions, in [0, 1], that are uniform over what is allowed. Above 0, no propensity
        is below ``explore / n_actions``, and what is logged can judge any other policy.
    low, high : float
        Range of rewards.
    max_pending : int
        Decisions that may wait for their rewards at once; when there is one more, the oldest is
        censored, and counted in `n_crowded_out`.
    max_log : int
        Decisions that `log` remembers.
    seed : int
        Of the draws, in [0, 2**64).

    Attributes
    ----------
    actions : tuple of str
    policy : str
    n_features, max_pending, max_log : int
    alpha, ridge, discount, explore, low, high : float
    pending : tuple of int
        Tickets that wait for their rewards, oldest first.
    n_pending, n_decisions, n_rewarded, n_censored, n_crowded_out : int
        How many decisions wait; were made; had their rewards; will never have one; and of these,
        had to make room.
    learned : tuple of int
        Rewards that each action learned from.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    See Also
    --------
    midstream.meta.off_policy.ips : what another policy would have earned, by the log.

    Notes
    -----
    Rewards are scaled to [0, 1] before they are learned, and means and widths back again: without
    evidence the mean is `low` (of ``"beta"``, the middle). Nothing adds an intercept: make one
    feature a constant 1.

    Propensities are true by construction. ``"linucb"`` draws evenly among the actions with the
    highest score, ties included. ``"thompson"`` and ``"beta"`` first integrate the probability of
    each action to be the best (Gauss-Legendre, to about 1e-7), then draw the action from these
    very numbers, mixed with `explore`.

    A reward teaches the state as it was seen at its decision, and its weight is that of the
    decision's age. So it makes no difference to what is learned in the end in which order rewards
    come, or how late, and an action with quick answers gains nothing but time. A reward that never
    comes must be censored, not counted as 0: then nothing is learned from it. If rewards go missing
    more often where they would be low, what remains is biased, here as everywhere.

    With a discount gamma the model of an action is ridge regression with the weights
    ``gamma ** age`` (D-LinUCB of Russac et al. 2019, with the larger of its two norms as width),
    for all actions alike, so that one that was not tried for long becomes uncertain again. The
    ridge is kept: it fades with the weights for at most the number of decisions in which gamma
    falls to 0.9, or 64, and is then restored, action by action in turn. Of an action without
    evidence the width is exact at all times.

    A decision and its reward are O(n_actions n_features^2): below a microsecond with 16 features
    and 8 actions, about two for ``"thompson"`` and five for ``"beta"``, which integrate. Discounts
    cost a factorisation, O(n_features^3), in the number of decisions above for each action;
    without, one in 256 rewards. Memory is bounded: O(n_actions n_features^2 + (max_pending +
    max_log) n_features).

    Features of the order of one are exact to about 1e-10. Where some are 1e7 times as large as
    others, the smaller ones drown in rounding, as in any ridge regression in double precision;
    means stay finite and widths real, whatever the features.

    One thread at a time: a second one gets an error. Large models release the GIL.

    References
    ----------
    L. Li, W. Chu, J. Langford, R. E. Schapire, "A contextual-bandit approach to personalized news
    article recommendation", WWW 2010, algorithm 1. S. Agrawal, N. Goyal, "Thompson sampling for
    contextual bandits with linear payoffs", ICML 2013. Y. Russac, C. Vernade, O. Cappe, "Weighted
    linear bandits for non-stationary environments", NeurIPS 2019. W. R. Thompson, "On the
    likelihood that one unknown probability exceeds another", Biometrika 25 (1933).

    Examples
    --------
    >>> from midstream.meta import Bandit
    >>> bandit = Bandit(("continue", "nudge", "abort"), n_features=2, explore=0.0, seed=1)
    >>> for turn in range(200):
    ...     stuck = turn % 2
    ...     decision = bandit.decide((1.0, float(stuck)))
    ...     good = "abort" if stuck else "continue"
    ...     bandit.feedback(decision.ticket, float(decision.action == good))
    >>> bandit.best((1.0, 0.0)), bandit.best((1.0, 1.0))
    ('continue', 'abort')
    >>> bandit.decide((1.0, 1.0), allowed=("continue", "nudge")).allowed
    ('continue', 'nudge')
    """

    __slots__ = (
        "__weakref__",
        "alpha",
        "discount",
        "explore",
        "high",
        "low",
        "max_log",
        "max_pending",
        "n_features",
        "policy",
        "ridge",
    )

    policy: str
    n_features: int
    alpha: float
    ridge: float
    discount: float
    explore: float
    low: float
    high: float
    max_pending: int
    max_log: int

    def __new__(
        cls,
        actions: Sequence[str] = INTERVENTIONS,
        n_features: int = 16,
        *,
        policy: str = "linucb",
        alpha: float = 1.0,
        ridge: float = 1.0,
        discount: float = 1.0,
        explore: float = 0.02,
        low: float = 0.0,
        high: float = 1.0,
        max_pending: int = 1024,
        max_log: int = 1024,
        seed: int = 0,
    ) -> Self:
        names = _as_names(actions)
        check_choice("policy", policy, POLICIES)
        n_features = check_int(
            "n_features", n_features, low=0 if policy == "beta" else 1, high=MAX_FEATURES
        )
        alpha = check_real("alpha", alpha, low=0.0, high=1e6)
        ridge = check_real("ridge", ridge, low=1e-6, high=1e6)
        discount = check_real("discount", discount, low=0.1, high=1.0)
        explore = check_real("explore", explore, low=0.0, high=1.0)
        low = check_real("low", low, low=-1e100, high=1e100)
        high = check_real("high", high, low=-1e100, high=1e100)
        if not low < high:
            raise ArgumentValueError(f"high must be above low, {low!r}, got {high!r}")
        max_pending = check_int("max_pending", max_pending, low=1, high=1 << 20)
        max_log = check_int("max_log", max_log, low=0, high=1 << 20)
        seed = check_int("seed", seed, low=0, high=(1 << 64) - 1)
        self = super().__new__(
            cls,
            names,
            POLICIES.index(policy),
            n_features,
            alpha,
            ridge,
            discount,
            explore,
            low,
            high,
            max_pending,
            max_log,
            seed,
        )
        self.policy, self.n_features = policy, n_features
        self.alpha, self.ridge, self.discount, self.explore = alpha, ridge, discount, explore
        self.low, self.high = low, high
        self.max_pending, self.max_log = max_pending, max_log
        return self

    # ---- looking ----

    def means(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Expected reward of each action. Nothing is changed.

        Parameters
        ----------
        features : (n_features,) array_like of float

        Returns
        -------
        (n_actions,) float64 ndarray
            In rewards; of a linear model perhaps beyond their range.

        Examples
        --------
        >>> from midstream.meta import Bandit
        >>> bandit = Bandit(("stay", "go"), n_features=1)
        >>> bandit.learn([1.0], "go", 0.5)
        >>> bandit.means([1.0]).round(3).tolist()
        [0.0, 0.25]
        """
        means, _ = self._estimate(features)
        return self.low + (self.high - self.low) * means

    def widths(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """How uncertain the reward of each action is. Nothing is changed.

        Parameters
        ----------
        features : (n_features,) array_like of float

        Returns
        -------
        (n_actions,) float64 ndarray
            `alpha` deviations of the mean, in rewards; of ``"beta"``, one deviation.
        """
        _, widths = self._estimate(features)
        return (self.high - self.low) * widths

    def best(self, features: npt.ArrayLike, allowed: Iterable[str] | int | None = None) -> str:
        """The action with the highest mean, the first of equal ones. Nothing is changed.

        Parameters
        ----------
        features, allowed
            As for `decide`.

        Returns
        -------
        str
        """
        mask = self._mask(allowed)
        means, _ = self._estimate(features)
        among = [index for index in range(len(self.actions)) if mask >> index & 1]
        return self.actions[max(among, key=lambda index: float(means[index]))]

    def log(self) -> npt.NDArray[Any]:
        """The newest `max_log` decisions, oldest first.

        Returns
        -------
        (n,) structured ndarray
            A copy, with the fields ``ticket``; ``allowed``, the mask of what there was to choose
            from; ``propensity``; ``reward``, NaN where there is none; ``action``, its index;
            ``status``, 0 where the reward is pending, 1 where it came, 2 where it was censored; and
            ``features``.

        Examples
        --------
        >>> from midstream.meta import Bandit
        >>> bandit = Bandit(("stay", "go"), n_features=1, explore=0.5)
        >>> ticket = bandit.decide([1.0], allowed=("go",)).ticket
        >>> bandit.feedback(ticket, 1.0)
        >>> row = bandit.log()[0]
        >>> int(row["action"]), float(row["propensity"]), float(row["reward"])
        (1, 1.0, 1.0)
        """
        return self._log(_log_type(self.n_features))

    # ---- learning otherwise ----

    def soften(self, factor: float) -> None:
        """Trust what was learned less, as after an alarm of drift.

        Parameters
        ----------
        factor : float
            What all that was learned counts for from now on, in [0, 1]: 0 forgets it. The ridge
            stays. Decisions whose rewards are still to come count for less alike: they belong to
            before.

        Examples
        --------
        >>> from midstream.meta import Bandit
        >>> bandit = Bandit(("stay", "go"), n_features=1)
        >>> for _ in range(99):
        ...     bandit.learn([1.0], "go", 1.0)
        >>> bandit.soften(0.1)
        >>> bandit.widths([1.0]).round(3).tolist()
        [1.0, 0.303]
        """
        self._soften(check_real("factor", factor, low=0.0, high=1.0))

    def warm_start(self, log: npt.NDArray[Any]) -> int:
        """Learn from the log of another bandit with the same actions and features.

        Parameters
        ----------
        log : (n,) structured ndarray
            As `log` returns it; rows without a reward are passed over.

        Returns
        -------
        int
            Rewards learned.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Not such an array; an action, a feature or a reward is out of range. Nothing was changed
            then.

        Notes
        -----
        Each row counts as a decision's time, so that with a discount the newest counts most.
        Neither `log` nor the numbers of decisions change. GIL released; Ctrl-C leaves all as it
        was.
        """
        if not isinstance(log, np.ndarray) or log.dtype.names is None or log.ndim != 1:
            raise ArgumentTypeError(
                f"log must be an array as Bandit.log returns it, got {type(log).__name__}"
            )
        wanted = {"status", "action", "reward", "features"}
        lacking = sorted(wanted - set(log.dtype.names))
        if lacking:
            raise ArgumentValueError(f"log must have the field {lacking[0]!r}, which it has not")
        rows = log[log["status"] == REWARDED]
        actions, rewards, features = rows["action"], rows["reward"], rows["features"]
        if features.shape[1:] != (self.n_features,):
            raise ArgumentValueError(
                f"log must have {self.n_features} features a row, got {features.shape[1:]}"
            )
        if actions.dtype.kind not in "iu" or {rewards.dtype.kind, features.dtype.kind} != {"f"}:
            raise ArgumentTypeError("log must have whole actions, and real rewards and features")
        _check_rows("action", (actions >= 0) & (actions < len(self.actions)), actions)
        _check_rows("reward", (rewards >= self.low) & (rewards <= self.high), rewards)
        _check_rows("features", (np.abs(features) <= LARGEST).all(axis=1), features)
        self._learn_many(
            np.ascontiguousarray(features, dtype=np.float64),
            np.ascontiguousarray(actions, dtype=np.int32),
            np.ascontiguousarray(rewards, dtype=np.float64),
        )
        return len(rows)

    # ---- state ----

    def _configuration(self) -> bytes:
        names = [name.encode() for name in self.actions]
        return HEADER.pack(
            POLICIES.index(self.policy),
            self.n_features,
            len(names),
            self.alpha,
            self.ridge,
            self.discount,
            self.explore,
            self.low,
            self.high,
            self.max_pending,
            self.max_log,
        ) + b"".join(LENGTH.pack(len(name)) + name for name in names)

    def snapshot(self) -> bytes:
        """Everything, as bytes: configuration, what was learned, pending, log, and the generator.

        Returns
        -------
        bytes
            The same for the same state. Without pickle.

        Examples
        --------
        >>> from midstream.meta import Bandit
        >>> bandit = Bandit(("stay", "go"), n_features=1, seed=5)
        >>> saved = bandit.snapshot()
        >>> first = bandit.decide([1.0])
        >>> bandit.restore(saved)
        >>> bandit.decide([1.0]) == first
        True
        """
        return sealed(MAGIC + self._configuration() + self._save())

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot of a bandit of the same configuration, apart from its seed.

        Parameters
        ----------
        snapshot : bytes-like

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Not bytes; not a snapshot of a `Bandit`, damaged, or of another configuration. Nothing
            was changed then.
        """
        body = unsealed(snapshot, MAGIC, "Bandit")
        mine = MAGIC + self._configuration()
        if not body.startswith(mine):
            other, _ = _arguments(body)
            for name, value in other.items():
                if value != getattr(self, name):
                    raise ArgumentValueError(
                        f"snapshot must be of the same configuration: its {name} is {value!r:.200}"
                        f", not {getattr(self, name)!r:.200}"
                    )
        if not self._load(body[len(mine) :]):
            raise ArgumentValueError("snapshot must hold a possible state, got another one")

    @classmethod
    def from_snapshot(cls, snapshot: bytes) -> Self:
        """A new bandit with the configuration and the state of a snapshot.

        Parameters
        ----------
        snapshot : bytes-like

        Returns
        -------
        Bandit

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            As for `restore`.
        """
        body = unsealed(snapshot, MAGIC, "Bandit")
        arguments, at = _arguments(body)
        self = cls(**arguments)
        if body[:at] != MAGIC + self._configuration() or not self._load(body[at:]):
            raise ArgumentValueError("snapshot must hold a possible state, got another one")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of `snapshot`, in hexadecimal."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def copy(self) -> Self:
        """Another bandit in the same state, which decides as this one does.

        Returns
        -------
        Bandit
        """
        return type(self).from_snapshot(self.snapshot())

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_snapshot, (self.snapshot(),)

    def __repr__(self) -> str:
        return (
            f"Bandit({counted(len(self.actions), 'action')}, n_features={self.n_features}, "
            f"policy={self.policy!r}: {counted(self.n_decisions, 'decision')}, "
            f"{self.n_rewarded} rewarded, {self.n_pending} pending, {self.n_censored} censored)"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{n}</td></tr>"
            for name, n in zip(self.actions, self.learned, strict=True)
        )
        return (
            f"<table><caption>{html.escape(repr(self))}</caption>"
            f"<tr><th>action</th><th>rewards learned</th></tr>{rows}</table>"
        )


def _as_names(actions: Sequence[str]) -> tuple[str, ...]:
    if isinstance(actions, (str, bytes)) or not isinstance(actions, Iterable):
        raise ArgumentTypeError(
            f"actions must be a sequence of names, got {type(actions).__name__}"
        )
    names = tuple(actions)
    for name in names:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"actions must be str, got {name!r} ({type(name).__name__})")
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise ArgumentValueError(f"actions must be Unicode text, got {name!r}") from None
        if not 0 < size < 1 << 16:
            raise ArgumentValueError(f"actions must be of 1 to 65535 bytes each, got {size}")
    if not 1 <= len(names) <= MAX_ACTIONS:
        raise ArgumentValueError(f"actions must be 1 to {MAX_ACTIONS}, got {len(names)}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentValueError(f"actions must differ, got {twice!r} twice")
    return tuple(str(name) for name in names)


def _log_type(n_features: int) -> np.dtype[Any]:
    """What csrc/ms_bandit's ms_bandit_record is, with the features behind it."""
    return np.dtype(
        [
            ("ticket", np.int64),
            ("allowed", np.uint64),
            ("propensity", np.float64),
            ("reward", np.float64),
            ("action", np.int32),
            ("status", np.int32),
            ("features", np.float64, (n_features,)),
        ]
    )


def _check_rows(field: str, fits: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> None:
    if not fits.all():
        row = int(np.flatnonzero(~fits)[0])
        raise ArgumentValueError(
            f"log must have a possible {field}, got {values[row].tolist()!r:.200} "
            f"in the rewarded row {row}"
        )


def _arguments(body: bytes) -> tuple[dict[str, Any], int]:
    """The configuration in a snapshot, and where it ends."""
    damaged = ArgumentValueError("snapshot must hold a configuration, got a damaged one")
    at = len(MAGIC) + HEADER.size
    if len(body) < at:
        raise damaged
    policy, n_features, n_actions, *reals, pending, logged = HEADER.unpack_from(body, len(MAGIC))
    names = []
    for _ in range(n_actions):
        if len(body) < at + LENGTH.size:
            raise damaged
        (size,) = LENGTH.unpack_from(body, at)
        at += LENGTH.size
        try:
            names.append(body[at : at + size].decode())
        except UnicodeDecodeError:
            raise damaged from None
        at += size
    if policy >= len(POLICIES) or len(body) < at:
        raise damaged
    keys = ("alpha", "ridge", "discount", "explore", "low", "high")
    return {
        "actions": tuple(names),
        "n_features": n_features,
        "policy": POLICIES[policy],
        **dict(zip(keys, reals, strict=True)),
        "max_pending": pending,
        "max_log": logged,
    }, at
