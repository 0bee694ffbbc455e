"""`Steering`: what ties a watched stream to a strange loop, from its beginning to its outcome."""

from __future__ import annotations

import json
import math
import re
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from midstream._core.clock import NS_PER_S
from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    LedgerError,
    LedgerInUseError,
    RefusedError,
)
from midstream._core.validate import check_int, check_real
from midstream.meta.bandit import INTERVENTIONS
from midstream.meta.symbols import canonical
from midstream.stream.adapting import Loss, StreamLoss, StreamRecord, detectors_of
from midstream.stream.events import TEXT_KINDS, Event, Finding, Kind
from midstream.stream.metrics import Metrics

if TYPE_CHECKING:
    from midstream.meta.loop import StrangeLoop

__all__ = ["FEATURES", "Steering"]

#: What the choice of an intervention rests on, in this order, each within about [0, 1]: the finding
#: (bias, kind, how often and how long the unit repeats, what it wasted so far), the text (how much
#: of it, of which kind), how familiar the unit is from other streams, the rhythm, and what happened
#: in this stream before.
FEATURES = (
    "bias",
    "loop",
    "near_loop",
    "stall",
    "copies",
    "period",
    "wasted",
    "wasted_share",
    "tokens",
    "reasoning",
    "tool_call",
    "familiar",
    "gap_p50",
    "gap_p99",
    "warned",
    "stops_before",
)

#: A longer stream leaves no record: it can be watched, but no other settings be judged by it.
MAX_EVENTS = 100_000
MAX_CHARS = 4 * 1024 * 1024
#: What a ledger that cannot be written raises. It is no reason to break off a stream.
_UNWRITABLE = (OSError, LedgerError, LedgerInUseError)
#: Words of a phrase.
_LONGEST = 4096


class Steering:
    """One stream of a strange loop: its settings, its record, its interventions, its outcome.

    Made by `watch` where a loop is given.

    Parameters
    ----------
    loop : StrangeLoop
        Over the knobs of `watch_params`.
    metrics : Metrics
        Of the stream, for the features.
    interventions : iterable of str, optional
        What the caller can do about a certain loop or a stall, of `INTERVENTIONS`; by default what
        the loop knows. ``"continue"`` is always among them.

    Attributes
    ----------
    loops, stalls : LoopDetector, StallDetector
        With the settings that the loop gives this stream.
    intervention : str or None
        What was chosen last, other than ``"continue"``.
    settled : bool
        Whether the loop knows how it went.

    Notes
    -----
    An event costs 0.3 microseconds beyond its detectors. Everything else, shadows included, is done
    when the stream is over, from the record: it does not touch the stream, and takes what the
    detectors take, once for each distinct set of knobs.
    """

    def __init__(
        self, loop: StrangeLoop, metrics: Metrics, interventions: Iterable[str] | None = None
    ) -> None:
        for name in ("begin", "feedback", "maintain"):
            if isinstance(loop, type) or not callable(getattr(loop, name, None)):
                shown = loop if isinstance(loop, type) else type(loop).__name__
                raise ArgumentTypeError(f"loop must be a StrangeLoop, got {shown}")
        evaluator = loop.evaluator
        if evaluator is None:
            evaluator = StreamLoss()
        elif not isinstance(evaluator, StreamLoss):
            raise ArgumentTypeError(
                f"loop must have a StreamLoss as its evaluator, got {type(evaluator).__name__}"
            )
        self._actions = _check_interventions(loop, interventions)
        self._loop = loop
        self._loss = evaluator
        self._metrics = metrics
        self._session = loop.begin(time_ns=time.time_ns())
        self.loops, self.stalls = detectors_of(self._session.settings)
        self._find_loops, self._find_stalls = self.loops.observe, self.stalls.observe
        #: Kind, text, name, stream, call and silence before, of each event; none where too long.
        self._rows: MutableSequence[tuple[Kind, str, str | None, str, str | None, int]] = []
        self._n_chars = 0
        self._room = MAX_CHARS
        self._tickets: list[int] = []
        self._n_warned = self._n_stops = 0
        self._over: str | None = None
        self._silence_ns = 0
        self._lost = False
        #: Why the loop could not record what it was told.
        self._failure: str | None = None
        self.intervention: str | None = None
        self.settled = False

    @property
    def settings(self) -> Any:
        """What this stream is watched with."""
        return self._session.settings

    @property
    def audited(self) -> bool:
        """Whether stops are not acted upon in this stream, so that its whole course is known."""
        return bool(self._session.audit)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lines for the report."""
        lines = []
        if self.audited:
            lines.append("audited: nothing is stopped, to learn what would have come")
        shadows = len(self._session.shadows)
        if shadows:
            lines.append(f"{shadows} other settings are judged by the record of this stream")
        if self._lost:
            lines.append("given up by the loop for newer streams: nothing is learned from it")
        if self._failure is not None:
            lines.append(f"the loop could not be told: {self._failure}; detectors acted alone")
        if not self._room:
            lines.append("too long to keep: other settings are not judged by it")
        return tuple(lines)

    def observe(self, event: Event, gap_ns: int) -> Sequence[Finding]:
        """Take the next event: keep it, and find what the two detectors find."""
        kind, _, _, text, name, _, stream_id, call_id = event
        rows = self._rows
        rows.append((kind, text, name, stream_id, call_id, gap_ns))
        self._n_chars += len(text)
        if len(rows) > MAX_EVENTS or self._n_chars > self._room > 0:
            self._rows, self._room = deque(maxlen=0), 0
        found = self._find_loops(event, gap_ns)
        stalls = self._find_stalls(event, gap_ns)
        if not found and not stalls:
            return ()
        return self.judged([*found, *stalls])

    def judged(self, found: Iterable[Finding]) -> list[Finding]:
        """Ask the loop what to do about what would stop the stream.

        A stop that is not acted upon becomes a warning; either says what was chosen, as
        ``evidence["intervention"]``.
        """
        out = []
        for finding in found:
            if (
                finding.severity == "stop"
                and self.intervention is None
                and (action := self._decide(finding)) is not None
            ):
                told = {**finding.evidence, "intervention": action}
                if action == "continue":
                    finding = replace(finding, severity="warn", evidence=told)
                else:
                    self.intervention = action
                    finding = replace(finding, evidence=told)
            if finding.severity == "warn":
                self._n_warned += 1
            out.append(finding)
        return out

    def end(self, outcome: str, silence_ns: int = 0) -> None:
        """Take note that the stream is over, `silence_ns` nanoseconds after its newest event.

        Parameters
        ----------
        outcome : {"ended", "failed", "stopped", "closed"}
            Of the stream: it came to its end, it broke by itself (nothing more would have come), a
            finding closed it, or somebody closed or left it for reasons of their own.
        silence_ns : int
        """
        if self._over is not None:
            return
        if outcome == "stopped" and self.intervention is None:
            outcome = "closed"  # somebody else's detector
        self._over = outcome
        if self._failure is not None:
            return
        if outcome == "closed":
            self.settled = True
            self._rows = deque(maxlen=0)
            try:
                self._leave()
            except _UNWRITABLE as error:
                self._fail(error)
        else:
            # Who has dropped the watch will not tell what came of it.
            self._session.abandon_without(self)
        self._silence_ns = max(0, silence_ns)

    def _leave(self) -> None:
        """End the session of a stream of which nobody knows how it would have gone.

        In an audited one nothing was stopped: that somebody else had to, or that it grew too long,
        is how loops end there, and to leave these out would speak for settings that never stop.
        """
        now_ns = time.time_ns()
        if self.audited and not self._session.closed:
            shadows = [(0.0, 1.0)] * len(self._session.shadows)
            self._session.finish((0.0, 1.0), shadows, time_ns=now_ns)
        else:
            self._session.abandon(time_ns=now_ns)

    def settle(self) -> None:
        """Tell the loop how a stream went that was not cut off.

        Some milliseconds: for a worker thread. Nothing where the outcome of a stop is not told.
        """
        if not self.settled and self._over in ("ended", "failed"):
            try:
                self._judge(self._recorded())
            except _UNWRITABLE as error:
                self._fail(error)
            except RefusedError:
                if not self._session.closed:
                    raise
                self._given_up()

    def work(self) -> None:
        """Let the loop look for better settings where that is due, beside all streams.

        One at a time for each loop. What fails there is raised at the end of a later stream, or
        told in its report where it was the ledger.
        """
        before = _working.get(self._loop)
        if before is not None:
            if not before.done():
                return
            _working.pop(self._loop, None)  # where streams end in two threads, one was first
            try:
                before.result()
            except _UNWRITABLE as error:
                self._fail(error)
        if self._loop.due:
            _working[self._loop] = _workers().submit(self._loop.maintain)

    def outcome(
        self,
        *,
        stop_was_wrong: bool | None = None,
        useful_chars: int | None = None,
        reward: float | None = None,
    ) -> None:
        """Take the outcome of a stop; arguments as of `Watch.outcome`."""
        if stop_was_wrong is not None and type(stop_was_wrong) is not bool:
            raise ArgumentTypeError(f"stop_was_wrong must be a bool, got {stop_was_wrong!r}")
        if useful_chars is not None:
            check_int("useful_chars", useful_chars, low=0)
        if reward is not None:
            reward = check_real("reward", reward, low=0, high=1)
        if stop_was_wrong is None and useful_chars is None and reward is None:
            raise ArgumentValueError("tell stop_was_wrong, useful_chars or reward: all are None")
        if self._over is None:
            raise RefusedError("the stream is not over yet", reason="running")
        if self.settled:
            raise RefusedError(f"the stream has {self._over}: that is settled", reason="settled")
        record = self._recorded()
        if record is not None and (stop_was_wrong is not None or useful_chars is not None):
            record = record.told(useful_chars=useful_chars, stop_was_wrong=stop_was_wrong)
        self._judge(record, reward)

    def _fail(self, error: Exception) -> None:
        """Take note that the loop's ledger fails: the stream goes on, its detectors act alone."""
        self._failure = str(error)
        self.settled = True
        self._rows = deque(maxlen=0)

    def _given_up(self) -> None:
        """Take note that the loop has censored this stream for newer ones: it goes on without."""
        self.settled = True
        self._rows, self._lost = deque(maxlen=0), True

    def features(self, finding: Finding) -> np.ndarray[Any, np.dtype[np.float64]]:
        """What the choice rests on: `FEATURES`, (16,) float64."""
        evidence, metrics = finding.evidence, self._metrics
        tokens = evidence.get("tokens", metrics.chars // 4)
        wasted = evidence.get("wasted_tokens", 0)
        channel = evidence.get("channel")
        measured = metrics.gaps.count > 0
        return np.array(
            [
                1.0,
                finding.kind == "loop",
                finding.kind == "near_loop",
                finding.kind == "stall",
                _scaled(evidence.get("copies", 0.0), 64.0),
                _scaled(evidence.get("period_chars", 0.0), 1024.0),
                _scaled(wasted, 4096.0),
                min(1.0, wasted / tokens) if tokens > 0 else 0.0,
                _scaled(tokens, 16384.0),
                channel == "reasoning",
                channel == "tool_call",
                # Twice, since a unit may begin anywhere in what repeats.
                self._loop.familiarity(_words(2 * evidence.get("unit", ""))),
                _scaled(metrics.gaps.quantile(0.5) / 1e6, 1024.0) if measured else 0.0,
                _scaled(metrics.gaps.quantile(0.99) / 1e6, 65536.0) if measured else 0.0,
                _scaled(self._n_warned, 16.0),
                _scaled(self._n_stops, 16.0),
            ],
            dtype=np.float64,
        )

    def _decide(self, finding: Finding) -> str | None:
        """What to do about a finding; None where only its detector has a say."""
        if self._failure is not None:
            return None
        context = {finding.kind, "again" if self._n_stops else "first"}
        context.add(finding.evidence.get("channel", "silence"))
        if self._n_warned:
            context.add("warned")
        features = self.features(finding)
        self._n_stops += 1
        try:
            chosen = self._session.decide(features, context, supported=self._actions)
        except _UNWRITABLE as error:
            self._fail(error)
            return None
        except RefusedError:
            if not self._session.closed:
                raise
            self._given_up()
            return str(self._loop.shield.fallback)
        if chosen.ticket is not None:
            self._tickets.append(chosen.ticket)
        return str(chosen.action)

    def _recorded(self) -> StreamRecord | None:
        """What was kept of the stream; None where it got too long."""
        if not self._room:
            return None
        events, t_ns = [], 0
        for seq, (kind, text, name, stream_id, call_id, gap_ns) in enumerate(self._rows):
            t_ns += gap_ns
            events.append(Event(kind, seq, t_ns, text, name, None, stream_id, call_id))
        return StreamRecord(tuple(events), t_ns + self._silence_ns, self._over == "stopped")

    def _judge(self, record: StreamRecord | None, reward: float | None = None) -> None:
        """Tell the loop what this stream cost, what it would have cost, and what came of acting."""
        session = self._session
        if record is None and self.audited:
            self.settled = True
            self._leave()
            return
        if record is None:  # too long: nobody knows
            self._finish(None, reward=reward)
            return
        for level, symbols in _units(record):
            session.observe(np.array(symbols, np.uint32))
            session.close_unit(level)
        loss = self._loss(session.settings, record)
        shadows = []
        for settings in session.shadows:
            # Told or not was settled when the stream began: else only streams that suit a side
            # would count.
            known = session.audit or self._loss.known(settings, session.settings)
            other = self._loss(settings, record) if known else None
            shadows.append(other if isinstance(other, float) else None)
        if reward is None:
            paid = loss if self.intervention is not None else self._loss.ran_on(record)
            reward = 1.0 - paid if isinstance(paid, float) else None
        signals = {
            "intervened": float(self.intervention is not None),
            "silence": _scaled(_longest_silence_s(record), 1024.0),
            "tokens": _scaled(record.chars / 4, 65536.0),
        }
        if not record.cut or isinstance(loss, float):  # else nobody told, which is no sign
            signals["doubt"] = float(bool(record.stop_was_wrong))
        self._finish(loss, tuple(shadows), signals, record, reward)

    def _finish(
        self,
        loss: Loss | None,
        shadows: tuple[float | None, ...] | None = None,
        signals: dict[str, float] | None = None,
        record: StreamRecord | None = None,
        reward: float | None = None,
    ) -> None:
        self.settled = True
        known = loss if isinstance(loss, float) else None
        if shadows is None:
            shadows = (None,) * len(self._session.shadows)
        for ticket in self._tickets:
            # One that waits no more was censored by a rollback, or for want of room.
            with suppress(ArgumentValueError):
                self._loop.feedback(ticket, reward)
        # What nobody knows the loss of would speak for no settings, at its worst against all.
        kept = None if known is None else record
        now_ns = time.time_ns()
        self._session.finish(known, shadows, signals=signals, recording=kept, time_ns=now_ns)
        self._rows = deque(maxlen=0)


#: What each loop is at work on.
_working: weakref.WeakKeyDictionary[Any, Future[Any]] = weakref.WeakKeyDictionary()


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "midstream-loop")


def _check_interventions(loop: StrangeLoop, interventions: Iterable[str] | None) -> tuple[str, ...]:
    actions = loop.actions
    if interventions is None:
        return actions
    if isinstance(interventions, str) or not isinstance(interventions, Iterable):
        raise ArgumentTypeError(
            f"interventions must be an iterable of str, got {type(interventions).__name__}"
        )
    wanted = list(interventions)
    for name in wanted:
        if name not in INTERVENTIONS:
            raise ArgumentValueError(
                f"interventions must be of {', '.join(INTERVENTIONS)}, got {name!r}"
            )
        if name not in actions:
            raise ArgumentValueError(
                f"interventions: the loop chooses among {', '.join(actions)}, got {name!r}"
            )
    return tuple(name for name in actions if name in wanted or name == "continue")


def _scaled(value: float, most: float) -> float:
    """Logarithm of a size, 0 for 0 and 1 for `most`."""
    return math.log1p(max(0.0, float(value))) / math.log1p(most)


def _longest_silence_s(record: StreamRecord) -> float:
    times = [0, *(event.t_ns for event in record.events), record.end_ns]
    return max(late - early for early, late in pairwise(times)) / NS_PER_S


def _units(record: StreamRecord) -> Iterator[tuple[int, list[int]]]:
    """Symbols of each unit of a record, with the level that ends behind it.

    A phrase ends with a sentence, a line or a tool call, a turn with a tool's result.
    """
    known: dict[str, int] = {}
    parts: dict[tuple[str, str, str | None], list[str]] = {}
    for event in record.events:
        if event.kind in TEXT_KINDS or event.kind == "tool_result":
            parts.setdefault((event.kind, event.stream_id, event.name), []).append(event.text)
    for (kind, _, name), texts in parts.items():
        text = "".join(texts)
        if kind == "tool_call":
            with suppress(ValueError, TypeError, RecursionError):  # cut off, or no JSON: as it is
                text = canonical(json.loads(text))
        if kind in ("tool_call", "tool_result"):
            yield 1 if kind == "tool_call" else 2, [_code(f"{kind} {name} {text}")]
            continue
        codes: list[int] = []
        for word in _WORDS.findall(text):
            if word != "\n":
                code = known.get(word)
                if code is None:
                    code = known[word] = _code(word)
                codes.append(code)
            if (word in _ENDS or len(codes) == _LONGEST) and codes:
                yield 1, codes
                codes = []
        if codes:
            yield 1, codes


def _words(text: str) -> list[int]:
    """Symbols of a text, as phrases have them."""
    return [_code(word) for word in _WORDS.findall(text) if word != "\n"]


def _code(text: str) -> int:
    # The highest codes are borders of the levels.
    return crc32(text.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF


_WORDS = re.compile(r"\w+|[^\w\s]|\n")
_ENDS = frozenset(".!?\n")
