"""Where changes are looked for: settings tried on recordings, before any evidence is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from midstream._core.errors import ArgumentTypeError, RefusedError
from midstream._core.validate import check_int, check_iterable, check_real
from midstream.meta._gating import bounds_of
from midstream.meta.replaying import Replay
from midstream.meta.spaces import Change, ParamSpace, Settings

__all__ = ["Proposal", "Search", "as_loss"]

#: Priority of a recording beside its loss, so that the harmless ones are replayed too.
FLOOR = 0.05
#: Sizes of the steps that are tried: whole, and halved so many times less one.
HALVINGS = 4
#: Loss of one that nobody knows, for its priority.
UNKNOWN = 0.5


class Proposal(NamedTuple):
    """A change, and what speaks for it on recordings."""

    change: Change
    source: str
    #: Losses of what is in force and of the candidate, one pair a recording.
    pairs: list[tuple[Any, Any]]
    #: Mean of their differences, bounds at their worst for the candidate.
    gain: float = 0.0


class _Recording(NamedTuple):
    content: Any
    #: Whether the stream ran to its end whatever was found: then every setting's loss is known.
    whole: bool


class Search:
    """Recordings, and the evaluator that tries settings on them.

    Parameters
    ----------
    space : ParamSpace
    evaluator : callable or None
    candidates : iterable of Settings
    capacity : int
        Recordings kept.
    replays : int
        Recordings that settings are tried on.
    min_gain : float
    seed : int
    """

    def __init__(
        self,
        space: ParamSpace,
        evaluator: Callable[[Settings, Any], Any] | None,
        candidates: Iterable[Settings],
        capacity: int,
        replays: int,
        min_gain: float,
        seed: int,
    ) -> None:
        self.evaluator = evaluator
        self.digest = None if evaluator is None else _digest_of(evaluator)
        self._space = space
        self._candidates = _checked_candidates(space, candidates)
        self._groups = tuple(map(tuple, getattr(evaluator, "groups", ())))
        self._replays = check_int("replays", replays, low=1)
        self._min_gain = check_real("min_gain", min_gain, low=0.0, high=1.0)
        self._looks = 0
        self._memory = Replay(check_int("recordings", capacity, low=1), seed=seed)

    def remember(self, content: Any, loss: Any, *, whole: bool) -> None:
        """Keep a recording of a finished stream."""
        weight = loss if isinstance(loss, float) else UNKNOWN
        self._memory.add(_Recording(content, whole), weight + FLOOR)

    def audit_only(self, change: Change) -> bool:
        """Whether only audited streams tell the candidate's loss."""
        known = getattr(self.evaluator, "known", None)
        return known is not None and not known(change.after, change.before)

    def recordings(self) -> list[tuple[_Recording, float]]:
        """What settings are tried on now, with weights."""
        memory = self._memory
        if len(memory) <= self._replays:
            return [(one, 1.0) for one in memory]
        sample = memory.sample(self._replays)
        return list(zip(sample.items, sample.weights.tolist(), strict=True))

    def tried(
        self, change: Change, recordings: Sequence[tuple[_Recording, float]]
    ) -> tuple[list[tuple[Any, Any]], float]:
        """Pairs of losses of a change, and its mean gain."""
        self._check_frozen()
        return self._tried(change, recordings)

    def _tried(
        self, change: Change, recordings: Sequence[tuple[_Recording, float]]
    ) -> tuple[list[tuple[Any, Any]], float]:
        whole = self.audit_only(change)
        pairs, gains, weights = [], [], []
        for one, weight in recordings:
            if whole and not one.whole:
                continue
            old, new = self._judge(change.before, one), self._judge(change.after, one)
            pairs.append((old, new))
            gains.append(bounds_of("loss", old)[0] - bounds_of("loss", new)[1])
            weights.append(weight)
        return pairs, float(np.average(gains, weights=weights)) if pairs else 0.0

    def look(
        self,
        champion: Settings,
        remembered: Iterable[Settings],
        resting: Collection[str],
        recordings: Sequence[tuple[_Recording, float]],
        least: int,
        permitted: Callable[[Change], bool],
    ) -> list[Proposal]:
        """Changes that would have been better, the best of each source, best first.

        Parameters
        ----------
        champion : Settings
            In force.
        remembered : iterable of Settings
            In force before.
        resting : collection of str
            Digests of settings that are not to be tried.
        recordings : sequence
            Of `recordings`.
        least : int
            How many recordings it takes.
        permitted : callable
            Whether a change would be refused at once.
        """
        if self.evaluator is None:
            return []
        self._check_frozen()
        seen = {champion.digest, *resting}
        found: list[Proposal] = []
        for source, keep, pool in self._pools(champion, remembered):
            scored = []
            for settings in pool:
                if settings.digest in seen:
                    continue
                seen.add(settings.digest)
                try:
                    change = Change(champion, settings, f"better on recordings ({source})")
                except RefusedError:
                    continue  # further away than one step goes
                if not permitted(change):
                    continue
                pairs, gain = self._tried(change, recordings)
                if len(pairs) >= max(1, least) and gain > 0.0 and gain >= self._min_gain:
                    scored.append(Proposal(change, source, pairs, gain))
            scored.sort(key=_by_gain)
            found += scored[:keep]
        return sorted(found, key=_by_gain)

    def _pools(
        self, champion: Settings, remembered: Iterable[Settings]
    ) -> list[tuple[str, int, list[Settings]]]:
        """Source, how many of it to propose, and its settings."""
        pools = [("remembered", 2, list(remembered)), ("candidate", 1, list(self._candidates))]
        for names in self._groups:
            # One detector's knobs at a time: the best of two parts need not be one candidate's.
            mixed = [
                champion.replace({name: settings[name] for name in names})
                for settings in self._candidates
            ]
            pools.append((f"candidate's {names[0]}", 1, mixed))
        # Far steps and near ones, one size at a look: all at once would cost four times as much.
        part = 0.5 ** (self._looks % HALVINGS)
        self._looks += 1
        around = [change.after for change in self._space.neighbours(champion, part=part)]
        pools.append(("neighbour", 1, around))
        return pools

    def _check_frozen(self) -> None:
        if _digest_of(self.evaluator) != self.digest:
            raise RefusedError(
                "evaluator must be what it was when the loop was made, got another digest",
                reason="evaluator",
            )

    def _judge(self, settings: Settings, one: _Recording) -> Any:
        assert self.evaluator is not None
        return as_loss("what evaluator returned", self.evaluator(settings, one.content))


def _by_gain(proposal: Proposal) -> float:
    return -proposal.gain


def as_loss(name: str, loss: Any) -> float | list[float] | None:
    """A loss as JSON has it: a number in [0, 1], two bounds, or None."""
    if loss is None:
        return None
    low, high = bounds_of(name, loss)
    return [low, high] if isinstance(loss, (tuple, list)) else low


def _checked_candidates(space: ParamSpace, candidates: Iterable[Settings]) -> tuple[Settings, ...]:
    checked = tuple(check_iterable("candidates", candidates))
    for settings in checked:
        if type(settings) is not Settings or settings.space != space:
            raise ArgumentTypeError(f"candidates must be settings of params, got {settings!r:.80}")
    return tuple(dict.fromkeys(checked))


def _digest_of(evaluator: Any) -> str:
    """What tells one evaluator from another."""
    if not callable(evaluator):
        raise ArgumentTypeError(f"evaluator must be callable, got {type(evaluator).__name__}")
    digest = getattr(evaluator, "digest", None)
    if isinstance(digest, str):
        return digest
    code = getattr(evaluator, "__code__", None)
    given = (getattr(evaluator, "__defaults__", None), getattr(evaluator, "__kwdefaults__", None))
    if code is None or getattr(evaluator, "__closure__", None):
        raise ArgumentTypeError(
            "evaluator must have a digest (str), or be a function without a closure, got "
            f"{type(evaluator).__name__}"
        )
    told = repr((evaluator.__qualname__, _told(given), _told(code)))
    return hashlib.sha256(told.encode()).hexdigest()


def _told(value: Any) -> Any:
    """What a function is made of: the same in every process."""
    if hasattr(value, "co_code"):
        return value.co_code.hex(), value.co_names, value.co_varnames, _told(value.co_consts)
    if isinstance(value, tuple):
        return tuple(map(_told, value))
    if isinstance(value, (frozenset, set)):
        return type(value).__name__, sorted(repr(_told(one)) for one in value)
    if isinstance(value, dict):
        return [(_told(key), _told(one)) for key, one in value.items()]
    if value is None or value is ... or isinstance(value, (bool, int, float, complex, str, bytes)):
        return value
    raise ArgumentTypeError(
        f"evaluator must have a digest (str): its default {value!r:.60} cannot be told from others"
    )
