"""`Trial`: one proposed change, from its recordings to its demotion."""

from __future__ import annotations

import html
import math
from collections import deque
from collections.abc import Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream._core.validate import check_choice, check_int, check_iterable, check_real, check_text
from midstream.meta._canonical import finite
from midstream.meta._confidence import ConfidenceSequence, EProcess, bounded_row
from midstream.meta._gating import (
    OPEN,
    bounds_of,
    bytes_of,
    flag,
    outcome_of,
    outcome_state,
    segment_name,
    share_of,
    stream_number,
    text_of,
    uniform,
    whole,
)
from midstream.meta.evidence import Assignment, Evidence, Loss, Outcome, SegmentEvidence, Stage

if TYPE_CHECKING:
    from midstream.meta.gate import Gate

__all__ = ["Trial"]


class _Segment:
    """Evidence that the candidate is worse in a segment."""

    __slots__ = ("capital", "n", "total")

    def __init__(self, restarts: bool) -> None:
        self.capital = EProcess(restarts)
        self.n = 0
        self.total = 0.0


class _Stream:
    """A stream that was assigned and may not have come back yet."""

    __slots__ = ("arm", "bounds", "done", "number", "propensity", "segment")

    def __init__(self, number: int, arm: str, propensity: float) -> None:
        self.number = number
        self.arm = arm
        self.propensity = propensity
        self.done = False
        #: Of the champion's loss and of the candidate's; in canary only the arm's own is read.
        self.bounds = (0.0, 1.0, 0.0, 1.0)
        self.segment: str | None = None


class Trial:
    """One proposed change on its way through the gate; made by `Gate.open`.

    Evidence comes in through `replayed`, `finished`, `shadowed` and `observed` and no other way
    (`withdrawn` brings none): attributes cannot be set, and levels, thresholds and the assignment
    of streams are the gate's.

    Notes
    -----
    With numbers of streams (`assign` first, then `finished`), streams count in the order in which
    they were assigned, whenever they come back: those that take long are often those that went
    wrong, and evidence that only the fast ones give would be biased. The oldest of more than
    `max_pending` outstanding streams counts as censored.

    A trial of a strange loop takes reports from the loop alone, which records them; others are
    refused with a `RefusedError`.

    One report: some 4 us. Not thread-safe.

    Examples
    --------
    A candidate that shadows show to be better is used on a share of streams, and there it is not:

    >>> from midstream.meta import Gate
    >>> gate = Gate(replay=0, seed=1)
    >>> trial = gate.open(label="window 40 -> 60")
    >>> number = 0
    >>> while trial.stage == "shadow":
    ...     outcome = trial.finished(trial.assign(number), 0.5, 0.2)
    ...     number += 1
    >>> number, trial.stage
    (19, 'canary')
    >>> while trial.open:
    ...     assignment = trial.assign(number)
    ...     loss = 0.5 if assignment.arm == "champion" else 0.9
    ...     outcome = trial.observed(assignment, loss)
    ...     number += 1
    >>> outcome.stage, outcome.reason, trial.spent < 30
    ('rejected', 'worse by 0.3734 over 58 streams', True)
    """

    __slots__ = (
        "_above",
        "_alpha",
        "_arms",
        "_below",
        "_better",
        "_change",
        "_forgotten",
        "_gate",
        "_history",
        "_label",
        "_last",
        "_late",
        "_n",
        "_number",
        "_outstanding",
        "_pending",
        "_queue",
        "_ready",
        "_segments",
        "_spent",
        "_stage",
        "_threshold",
        "_total",
        "_watched",
        "_worse",
    )

    _above: ConfidenceSequence | None
    _alpha: float
    _arms: list[Any]
    _below: ConfidenceSequence | None
    _better: EProcess
    _change: Any
    _forgotten: int
    _gate: Gate | None
    _history: tuple[Outcome, ...]
    _label: str
    _last: int
    _late: set[int]
    _n: int
    _number: int
    _outstanding: int
    _pending: dict[int, _Stream]
    _queue: deque[_Stream]
    _ready: bool
    _segments: dict[str, _Segment]
    _spent: float
    _stage: Stage
    _threshold: float
    _total: float
    _watched: bool
    _worse: EProcess

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ArgumentTypeError("Trial must be made by Gate.open, not by its class")

    @classmethod
    def _made(cls, gate: Gate, number: int, change: Any, label: str) -> Trial:
        self = cls.__new__(cls)
        self._gate = gate
        self._number = number
        self._change = change
        self._label = label
        self._alpha = math.nan
        self._threshold = math.inf
        self._history = ()
        self._ready = self._watched = False
        self._last = self._forgotten = -1
        self._late = set()
        self._queue = deque()
        self._pending = {}
        self._spent = 0.0
        self._outstanding = 0
        self._worse = EProcess()
        self._segments = {}
        self._stage = "replay"
        self._begin()
        return self

    def _begin(self) -> None:
        """Forget the evidence of the stage before: what shadows showed may be wrong in use."""
        self._n = 0
        self._total = 0.0
        #: Of each arm: streams, sum of losses.
        self._arms = [0, 0.0, 0, 0.0]
        self._better = EProcess()
        self._below = None
        self._above = None
        for stream in self._queue:
            if not stream.done:
                self._late.add(stream.number)
        self._queue.clear()
        self._pending.clear()
        self._outstanding = 0
        gate = self._gate
        if gate is None or self._stage not in ("shadow", "canary", "promoted"):
            return
        span = 1.0
        if self._stage == "canary":
            span = 1 / min(gate._share, 1 - gate._share) if gate._share < 1 else 1.0
        self._worse = EProcess(self._stage == "promoted")
        self._segments = {}
        level = gate._demote_alpha if self._stage == "promoted" else self._alpha
        self._below = ConfidenceSequence(-span, span, level, "bernstein", "lower")
        self._above = ConfidenceSequence(-span, span, level, "bernstein", "upper")

    # ---- what it is ----

    @property
    def number(self) -> int:
        """Number of the trial: 0 for the gate's first."""
        return self._number

    @property
    def change(self) -> Any:
        """What was proposed, as `Gate.open` was given it."""
        return self._change

    @property
    def label(self) -> str:
        """Name of the change."""
        return self._label

    @property
    def stage(self) -> Stage:
        """Where it stands."""
        return self._stage

    @property
    def open(self) -> bool:
        """Whether it may still be promoted."""
        return self._stage in OPEN

    @property
    def watched(self) -> bool:
        """Whether it was promoted and may be demoted."""
        return self._watched

    @property
    def alpha(self) -> float:
        """Its level of promotion, set when it enters the shadow stage; NaN before."""
        return self._alpha

    @property
    def spent(self) -> float:
        """Upper bound of what the canary has cost above the champion, in losses."""
        return self._spent

    @property
    def outstanding(self) -> int:
        """Streams that were assigned in this stage and have not come back."""
        return len(self._pending)

    @property
    def history(self) -> tuple[Outcome, ...]:
        """All changes of stage, oldest first."""
        return self._history

    @property
    def evidence(self) -> Evidence:
        """What is known in this stage; of a trial that has ended, what was known then."""
        if self._stage in ("rejected", "demoted") and self._history:
            last = self._history[-1].evidence
            if last is not None:
                return last._replace(stage=self._stage)
        gate = self._gate
        n, below, above = self._n, self._below, self._above
        promoted = self._stage == "promoted"
        level = self._alpha
        if promoted and gate is not None:
            level = gate._demote_alpha
        return Evidence(
            self._stage,
            n,
            self._total / n if n else math.nan,
            -1.0 if below is None else max(-1.0, below.lower),
            1.0 if above is None else min(1.0, above.upper),
            level,
            self._worse.log_capital if promoted else self._better.log_capital,
            math.log(2 / level) if promoted else self._threshold,
            self._worse.p_value,
            tuple(
                SegmentEvidence(name, s.n, s.total / s.n if s.n else math.nan, s.capital.p_value)
                for name, s in self._segments.items()
            ),
        )

    def __repr__(self) -> str:
        name = f" {self._label!r}" if self._label else ""
        return f"<Trial {self._number}{name}: {self.evidence}>"

    def __str__(self) -> str:
        name = f" ({self._label})" if self._label else ""
        lines = [f"trial {self._number}{name} {self.evidence}"]
        lines += [f"  {o.before} -> {o.stage}: {o.reason}" for o in self._history]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        items = "".join(
            f"<li>{o.before} &rarr; <b>{o.stage}</b>: {html.escape(o.reason)}</li>"
            for o in self._history
        )
        name = html.escape(self._label or "no name")
        return f"<b>Trial {self._number}</b> ({name})<ul>{items}</ul>{self.evidence._repr_html_()}"

    # ---- evidence ----

    def replayed(
        self,
        pairs: Iterable[tuple[Loss, Loss]],
        *,
        segments: Iterable[str | None] | None = None,
    ) -> Outcome:
        """Report losses on recordings.

        Parameters
        ----------
        pairs : iterable of (champion_loss, candidate_loss)
            One a recording.
        segments : iterable of str or None, optional
            One a pair; not used beyond a check: recordings prove nothing of segments.

        Returns
        -------
        Outcome
            To ``"shadow"`` or ``"rejected"`` once there are as many pairs as the gate asks for.

        Raises
        ------
        RefusedError
            The trial is not in replay.
        ArgumentValueError, ArgumentTypeError
            A loss outside [0, 1], or none. Nothing was counted.
        """
        gate = self._live()
        if self._stage != "replay":
            raise RefusedError(
                f"trial {self._number} takes no replays in stage {self._stage!r}", reason="stage"
            )
        rows = []
        for k, pair in enumerate(check_iterable("pairs", pairs)):
            try:
                champion, candidate = pair
            except (TypeError, ValueError):
                raise ArgumentTypeError(
                    f"pairs[{k}] must be a pair of losses, got {pair!r}"
                ) from None
            low, _ = bounds_of("champion_loss", champion)
            _, high = bounds_of("candidate_loss", candidate)
            rows.append(low - high)
        if segments is not None:
            names = [segment_name(s) for s in check_iterable("segments", segments)]
            if len(names) != len(rows):
                raise ArgumentValueError(
                    f"segments must be one a pair, got {len(names)} for {len(rows)}"
                )
        self._n += len(rows)
        self._total += sum(rows)
        if self._n < gate._replay:
            return self._same()
        mean = self._total / self._n
        if mean > 0 and mean >= gate._min_effect:
            return self._move("shadow", f"better by {mean:.4f} on {self._n} recordings")
        return self._move("rejected", f"better by {mean:.4f} on {self._n} recordings only")

    def assign(self, stream: SupportsIndex) -> Assignment:
        """Say which of the two runs a stream; call it when the stream begins.

        Parameters
        ----------
        stream : int
            Number of the stream, larger than all before it. It must be given before anything of the
            stream is known.

        Returns
        -------
        Assignment
            By a hash of the gate's seed, the trial's number and this one: the same on every run.
            Outside canary, and where the budget would not carry one more loss, certain.

        Raises
        ------
        ArgumentValueError
            The number is not larger than those before.
        """
        gate = self._live()
        number = check_int("stream", stream, low=0, high=(1 << 64) - 1)
        if number <= self._last:
            raise ArgumentValueError(
                f"stream must be larger than {self._last}, the last one, got {number}"
            )
        self._last = number
        if not (self._stage in ("shadow", "canary") or self._watched):
            final: Literal["champion", "candidate"] = (
                "candidate" if self._stage == "promoted" else "champion"
            )
            return Assignment(number, final, 1.0)
        arm: Literal["champion", "candidate"] = "champion"
        propensity = 1.0
        if self._watched:
            arm = "candidate"
        elif self._stage == "canary" and self._spent + self._outstanding + 1 <= gate._budget:
            share = gate._share
            arm = "candidate" if uniform(gate._seed, self._number, number) < share else "champion"
            propensity = share if arm == "candidate" else 1 - share
            self._outstanding += arm == "candidate"
        entry = _Stream(number, arm, propensity)
        self._queue.append(entry)
        self._pending[number] = entry
        return Assignment(number, arm, propensity)

    def finished(
        self,
        stream: SupportsIndex | Assignment,
        loss: Loss,
        shadow_loss: Loss = None,
        *,
        segment: str | None = None,
    ) -> Outcome:
        """Report a stream that was assigned, in whatever stage.

        Parameters
        ----------
        stream : int or Assignment
            Its number.
        loss : float, (low, high) or None
            Of the arm that ran it.
        shadow_loss : float, (low, high) or None
            Of the other one, which ran beside without effect. In canary it only lowers what the
            budget is charged, by its lower bound; the estimate does not rely on it.
        segment : str, optional
            What kind of stream it was: known before its loss, and not chosen by the arm.

        Returns
        -------
        Outcome
            A stream that the stage no longer needs changes nothing.

        Raises
        ------
        ArgumentValueError
            Never assigned, or reported before; a loss outside [0, 1]. Nothing was counted.
        ArgumentTypeError
            A loss that is none.
        """
        self._live()
        number = stream.stream if isinstance(stream, Assignment) else check_int("stream", stream)
        own, other = bounds_of("loss", loss), bounds_of("shadow_loss", shadow_loss)
        name = segment_name(segment)
        entry = self._pending.get(number)
        if entry is None:
            if number in self._late:
                self._late.discard(number)
            elif number > self._forgotten and (self.open or self._watched):
                raise ArgumentValueError(
                    f"stream must be assigned and not yet reported, got {number}"
                )
            return self._same()
        if entry.arm == "candidate":
            entry.bounds = (*other, *own)
            if self._stage == "canary":
                self._outstanding -= 1
                self._spent += max(0.0, own[1] - other[0])
        else:
            entry.bounds = (*own, *other)
        entry.segment = name
        entry.done = True
        del self._pending[number]
        return self._advance()

    def withdrawn(self, stream: SupportsIndex | Assignment) -> Outcome:
        """Report that nothing will be known of a stream, for reasons other than its losses.

        It counts no more than if it had not been assigned, and later ones wait for it no longer.
        Where the reasons may have to do with losses, as where it takes too long, report None to
        `finished` instead: that counts at its worst.

        Parameters
        ----------
        stream : int or Assignment
            Its number.

        Returns
        -------
        Outcome
            A stream that the stage no longer needs changes nothing.

        Raises
        ------
        RefusedError
            The trial is in canary, where the arm may be the reason.
        """
        self._live()
        number = stream.stream if isinstance(stream, Assignment) else check_int("stream", stream)
        entry = self._pending.get(number)
        if entry is None:
            self._late.discard(number)
            return self._same()
        if self._stage == "canary":
            raise RefusedError(
                f"trial {self._number} lets no stream go in stage 'canary'", reason="stage"
            )
        del self._pending[number]
        self._queue.remove(entry)
        return self._advance()

    def shadowed(
        self, champion_loss: Loss, candidate_loss: Loss, *, segment: str | None = None
    ) -> Outcome:
        """Report one stream's two losses at once, without a number: it counts now.

        One of them acted, the other ran beside. In shadow the champion acts, after promotion the
        candidate does.

        Parameters
        ----------
        champion_loss, candidate_loss : float, (low, high) or None
            A counterfactual loss that is only bounded is a pair; one that is unknown is None, and
            counts at its worst for the candidate.
        segment : str, optional

        Returns
        -------
        Outcome

        Raises
        ------
        RefusedError
            The trial is in neither of these stages, or streams with numbers are outstanding: those
            keep their order.
        ArgumentValueError, ArgumentTypeError
            A loss outside [0, 1], or none.
        """
        self._live()
        self._takes_pairs()
        champion = bounds_of("champion_loss", champion_loss)
        candidate = bounds_of("candidate_loss", candidate_loss)
        self._pair((*champion, *candidate), segment_name(segment))
        return self._decide()

    def shadowed_many(self, champion_losses: ArrayLike, candidate_losses: ArrayLike) -> Outcome:
        """Report many pairs at once, up to the one that changes the stage.

        The same as `shadowed` for one after another, at some 0.2 us each with ``null="every"``: for
        studies of what a gate would have done.

        Parameters
        ----------
        champion_losses, candidate_losses : (n,) array_like of float
            Exact losses.

        Returns
        -------
        Outcome
            Pairs behind the change do not count.

        Raises
        ------
        RefusedError
            As `shadowed`.
        ArgumentValueError, ArgumentTypeError
            Not two rows of one length, or a loss outside [0, 1]. Nothing was counted.
        """
        gate = self._live()
        self._takes_pairs()
        champion = bounded_row(champion_losses, "champion_losses", 0.0, 1.0)
        candidate = bounded_row(candidate_losses, "candidate_losses", 0.0, 1.0)
        if len(champion) != len(candidate):
            raise ArgumentValueError(
                "candidate_losses must be as many as champion_losses, got "
                f"{len(candidate)} for {len(champion)}"
            )
        difference = champion - candidate
        if self._stage == "shadow" and gate._null == "every" and not self._ready:
            left = max(0, gate._shadow - self._n - 1)
            effect = gate._min_effect
            better = np.maximum(-1.0, (difference[:left] - effect) / (1 + effect))
            # All but the pair at which something happens, at once.
            n = min(
                copy(self._better).update_many(better, self._alpha),
                copy(self._worse).update_many(-difference[:left], gate._harm_level / 2),
            )
            n = max(0, n - 1)
            if n:
                self._n += n
                self._total = float(np.cumsum(np.append(self._total, difference[:n]))[-1])
                self._better.update_many(better[:n])
                self._worse.update_many(-difference[:n])
                assert self._below is not None and self._above is not None
                self._below.update_many(difference[:n])
                self._above.update_many(difference[:n])
                champion, candidate = champion[n:], candidate[n:]
        for own, other in zip(champion.tolist(), candidate.tolist(), strict=True):
            self._pair((own, own, other, other), None)
            outcome = self._decide()
            if outcome.changed:
                return outcome
        return self._same()

    def observed(
        self,
        stream: SupportsIndex | Assignment,
        loss: Loss,
        *,
        champion_loss: Loss = None,
        segment: str | None = None,
    ) -> Outcome:
        """Report a stream of the canary: `finished` for those who have no shadows.

        Parameters
        ----------
        stream : int or Assignment
            The arm and the propensity are those of `assign`, not the caller's.
        loss : float, (low, high) or None
            Of the arm that ran it.
        champion_loss : float, (low, high) or None
            Where the candidate ran it: what is known of the champion's, for the budget.
        segment : str, optional

        Returns
        -------
        Outcome

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            As `finished`.
        """
        return self.finished(stream, loss, champion_loss, segment=segment)

    def reject(self, reason: str) -> Outcome:
        """End an open trial: a rule, an alarm or a person says so.

        Parameters
        ----------
        reason : str

        Returns
        -------
        Outcome

        Raises
        ------
        RefusedError
            It is not open.
        """
        self._live()
        if self._stage not in OPEN:
            raise RefusedError(
                f"trial {self._number} is not open but {self._stage}", reason="stage"
            )
        return self._move("rejected", check_text("reason", reason))

    def demote(self, reason: str) -> Outcome:
        """Take a promoted change back: a rule, an alarm or a person says so.

        Parameters
        ----------
        reason : str

        Returns
        -------
        Outcome

        Raises
        ------
        RefusedError
            It is not the champion that is watched.
        """
        self._live()
        if not self._watched:
            raise RefusedError(
                f"trial {self._number} is not watched but {self._stage}", reason="stage"
            )
        return self._move("demoted", check_text("reason", reason))

    # ---- how it counts ----

    def _live(self) -> Gate:
        if self._gate is None:
            raise RefusedError(
                f"trial {self._number} belongs to a state that its gate has left", reason="stale"
            )
        self._gate._check_free()
        return self._gate

    def _takes_pairs(self) -> None:
        if not (self._stage == "shadow" or self._watched):
            raise RefusedError(
                f"trial {self._number} takes no pairs in stage {self._stage!r}", reason="stage"
            )
        if self._queue:
            raise RefusedError(
                f"trial {self._number} has {len(self._queue)} streams outstanding that count first",
                reason="order",
            )

    def _same(self) -> Outcome:
        return Outcome(self._number, self._stage, self._stage)

    def _advance(self) -> Outcome:
        """Count streams from the oldest on, as far as they have come back."""
        gate = self._live()
        if self._ready and not gate._canary_taken(self):
            self._ready = False
            return self._move("canary", "the canary is free")
        queue, canary = self._queue, self._stage == "canary"
        while queue and (queue[0].done or len(queue) > gate._max_pending):
            entry = queue.popleft()
            if not entry.done:  # given up: censored
                self._late.add(entry.number)
                del self._pending[entry.number]
                if canary and entry.arm == "candidate":
                    self._outstanding -= 1
                    self._spent += 1.0
            if not canary:
                self._pair(entry.bounds, entry.segment)
            elif entry.propensity < 1.0:
                self._weighted(entry, gate)
            outcome = self._decide()
            if outcome.changed:
                return outcome
        if len(self._late) > 4 * gate._max_pending:
            kept = sorted(self._late)
            cut = len(kept) - 2 * gate._max_pending
            self._forgotten = max(self._forgotten, kept[cut - 1])
            self._late = set(kept[cut:])
        if canary and self._spent + 1 > gate._budget and not self._outstanding and not queue:
            return self._move(
                "rejected", f"undecided, and the canary's budget of {gate._budget:g} is spent"
            )
        return self._same()

    def _pair(self, bounds: tuple[float, float, float, float], segment: str | None) -> None:
        """Both losses of one stream, each within bounds."""
        gate = self._live()
        worst, best = bounds[0] - bounds[3], bounds[1] - bounds[2]
        effect = gate._min_effect
        # (worst - effect) / (1 + effect) is at least -1, as worst is.
        self._count(worst, best, max(-1.0, (worst - effect) / (1 + effect)), -best, segment)

    def _weighted(self, entry: _Stream, gate: Gate) -> None:
        """One arm's loss of a canary stream: augmented inverse propensity weighting.

        ``m0 - m1 + [champion] (loss - m0) / (1 - p) - [candidate] (loss - m1) / p`` has the
        expected difference as its expectation, whatever m0 and m1 are, as long as they are from
        before the stream: here the means so far, which make its variance small.
        """
        p, effect = gate._share, gate._min_effect
        arms = self._arms
        m0 = (0.5 + arms[1]) / (arms[0] + 1)
        m1 = (0.5 + arms[3]) / (arms[2] + 1)
        gap = m0 - m1
        if entry.arm == "champion":
            low, high = entry.bounds[0], entry.bounds[1]
            worst, best = gap + (low - m0) / (1 - p), gap + (high - m0) / (1 - p)
            arms[0] += 1
            arms[1] += (low + high) / 2
        else:
            low, high = entry.bounds[2], entry.bounds[3]
            worst, best = gap - (high - m1) / p, gap - (low - m1) / p
            arms[2] += 1
            arms[3] += (low + high) / 2
        # What can be lost at most, known before the stream: the unit of the bets.
        down = effect - gap + max((1 - m1) / p, m0 / (1 - p))
        up = gap + max(m1 / p, (1 - m0) / (1 - p))
        self._count(
            worst,
            best,
            max(-1.0, (worst - effect) / down),
            max(-1.0, -best / up),
            entry.segment,
        )

    def _count(
        self, worst: float, best: float, better: float, worse: float, segment: str | None
    ) -> None:
        self._n += 1
        self._total += worst
        assert self._below is not None and self._above is not None
        self._below.update(max(self._below.low, worst))
        self._above.update(min(self._above.high, best))
        self._better.update(better)
        self._worse.update(worse)
        if segment is None:
            return
        part = self._segments.get(segment)
        if part is None:
            if len(self._segments) >= self._live()._max_segments:
                return
            part = self._segments[segment] = _Segment(self._stage == "promoted")
        part.n += 1
        part.total += worst
        part.capital.update(worse)

    def _worst_part(self, level: float) -> str:
        """Where it is proven worse, or nothing: half of the level in total, half in segments."""
        half = -math.log(level / 2)
        if self._worse.log_capital >= half:
            return f"worse by {-self._total / self._n:.4f} over {self._n} streams"
        for k, (name, part) in enumerate(self._segments.items(), 1):
            if part.capital.log_capital >= half - math.log(share_of(k)):
                return (
                    f"worse in segment {name!r} by {-part.total / part.n:.4f} over {part.n} streams"
                )
        return ""

    def _decide(self) -> Outcome:
        gate = self._live()
        if self._stage == "promoted":
            why = self._worst_part(gate._demote_alpha)
            if why:
                return self._move("demoted", why)
            if 0 < gate._watch <= self._n:
                self._watched = False
                gate._forget(self)
            return self._same()
        why = self._worst_part(gate._harm_level)
        if why:
            return self._move("rejected", why)
        if self._ready:
            if gate._canary_taken(self):
                return self._same()
            return self._move("canary", "the canary is free")
        if gate._null == "every":
            passed = self._better.log_capital >= self._threshold
        else:
            assert self._below is not None
            passed = self._below.lower > gate._min_effect
        shadow = self._stage == "shadow"
        if passed:
            why = f"better by {self._total / self._n:.4f} over {self._n} streams"
            if not (shadow and gate._canary):
                return self._move("promoted", why)
            if gate._canary_taken(self):
                self._ready = True
                return self._same()
            return self._move("canary", why)
        if self._n >= (gate._shadow if shadow else gate._canary):
            return self._move("rejected", f"undecided after {self._n} streams")
        return self._same()

    def _move(self, stage: Stage, reason: str) -> Outcome:
        gate = self._live()
        before, evidence = self._stage, self.evidence
        self._stage = stage
        self._ready = False
        self._watched = stage == "promoted"
        if stage == "shadow":
            self._alpha = gate._spend()
            self._threshold = -math.log(self._alpha)
        superseded: tuple[int, ...] = ()
        if stage in ("promoted", "demoted"):
            superseded = gate._new_champion(self)
        if stage == "promoted":
            if gate._error == "family":
                gate._recycled += self._alpha
            gate._promoted += 1
        self._begin()
        outcome = Outcome(self._number, before, stage, reason, superseded, evidence)
        self._history += (outcome,)
        if stage in ("rejected", "demoted"):
            gate._forget(self)
        return outcome

    # ---- state ----

    def _state(self) -> dict[str, Any]:
        return {
            "number": self._number,
            "label": self._label,
            "stage": self._stage,
            "alpha": finite(self._alpha),
            "ready": self._ready,
            "watched": self._watched,
            "n": self._n,
            "total": self._total,
            "arms": self._arms,
            "last": self._last,
            "forgotten": self._forgotten,
            "late": sorted(self._late),
            "queue": [
                [e.number, e.arm, e.propensity, e.done, *e.bounds, e.segment] for e in self._queue
            ],
            "spent": self._spent,
            "better": text_of(self._better.snapshot()),
            "worse": text_of(self._worse.snapshot()),
            "below": None if self._below is None else text_of(self._below.snapshot()),
            "above": None if self._above is None else text_of(self._above.snapshot()),
            "segments": [
                [name, s.n, s.total, text_of(s.capital.snapshot())]
                for name, s in self._segments.items()
            ],
            "history": [outcome_state(o) for o in self._history],
        }

    @classmethod
    def _of(cls, gate: Gate, state: Mapping[str, Any], change: Any) -> Trial:
        number = whole(state["number"])
        self = cls._made(gate, number, change, check_text("label", state["label"]))
        stage = check_choice("stage", state["stage"], ("replay", "shadow", "canary", "promoted"))
        if stage != "replay":
            self._alpha = check_real("alpha", state["alpha"], low=0, high=1)
            self._threshold = -math.log(self._alpha)
        self._stage = stage
        self._begin()
        self._ready, self._watched = flag(state["ready"]), flag(state["watched"])
        if self._watched != (stage == "promoted") or (self._ready and stage != "shadow"):
            raise ArgumentValueError(f"snapshot must hold a trial, got flags of none in {stage}")
        self._n = whole(state["n"])
        self._total = check_real("total", state["total"])
        n0, sum0, n1, sum1 = state["arms"]
        self._arms = [
            n0 := whole(n0),
            check_real("arms", sum0, low=0, high=n0),
            n1 := whole(n1),
            check_real("arms", sum1, low=0, high=n1),
        ]
        self._last = check_int("last", state["last"], low=-1, high=(1 << 64) - 1)
        self._forgotten = check_int("forgotten", state["forgotten"], low=-1, high=(1 << 64) - 1)
        self._late = {stream_number(x) for x in state["late"]}
        self._spent = check_real("spent", state["spent"], low=0)
        before = -1
        for number, arm, propensity, done, low0, high0, low1, high1, segment in state["queue"]:
            entry = _Stream(
                stream_number(number),
                check_choice("arm", arm, ("champion", "candidate")),
                check_real("propensity", propensity, low=0, high=1),
            )
            entry.done = flag(done)
            entry.bounds = (*bounds_of("loss", (low0, high0)), *bounds_of("loss", (low1, high1)))
            entry.segment = segment_name(segment)
            wanted = 1.0
            if stage == "canary" and propensity != 1.0:
                wanted = gate._share if arm == "candidate" else 1 - gate._share
            if not before < entry.number <= self._last or propensity != wanted:
                raise ArgumentValueError("snapshot must hold a trial's streams, got others")
            before = entry.number
            self._queue.append(entry)
            if not entry.done:
                self._pending[entry.number] = entry
                self._outstanding += stage == "canary" and arm == "candidate"
        self._better.restore(bytes_of(state["better"]))
        self._worse.restore(bytes_of(state["worse"]))
        for one, text in ((self._below, state["below"]), (self._above, state["above"])):
            if one is not None:
                one.restore(bytes_of(text))
                if one.n != self._n:
                    raise ArgumentValueError("snapshot must hold a trial's bounds, got others")
        for name, n, total, capital in state["segments"]:
            part = _Segment(stage == "promoted")
            part.n = whole(n, low=1)
            part.total = check_real("total", total)
            part.capital.restore(bytes_of(capital))
            self._segments[check_text("segment", name)] = part
        self._history = tuple(outcome_of(row) for row in state["history"])
        return self
