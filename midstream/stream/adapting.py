"""What a strange loop may turn on a watch, and what it costs: knobs, recordings, and their loss.

`watch_params` are the knobs and `detectors_of` makes detectors of their settings. `StreamLoss` is
the evaluator: what one stream would have cost under any settings, by running their detectors over
a `StreamRecord` of it. It is frozen and is no knob: what is judged cannot move what judges.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

from midstream._core.clock import NS_PER_S
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_mapping, check_real
from midstream.meta.auditing import AuditPlan
from midstream.meta.bandit import Bandit
from midstream.meta.gate import Gate
from midstream.meta.loop import StrangeLoop
from midstream.meta.params import Param
from midstream.meta.safety import Shield
from midstream.meta.spaces import ParamSpace, Settings
from midstream.stream.detectors import LoopDetector, StallDetector
from midstream.stream.events import KINDS, TEXT_KINDS, Event

__all__ = [
    "Loss",
    "Stop",
    "StreamLoss",
    "StreamRecord",
    "detectors_of",
    "stops_no_later",
    "watch_loop",
    "watch_params",
    "watch_presets",
]

#: A loss in [0, 1]; or the least and the most it can be, where what would have come is not known.
Loss = float | tuple[float, float]

_FORMAT = "midstream.stream_record.1"
#: All names that a decision about a finding can have for its context.
DECISION_CONTEXT = (
    *("loop", "near_loop", "stall"),
    *sorted(TEXT_KINDS),
    *("silence", "first", "again", "warned"),
)
#: Names of the two groups of knobs: what one detector reads does not touch the other.
_LOOP = (
    "on_loop",
    "min_copies",
    "min_chars",
    "stop_chars",
    "near_score",
    "near_stop_score",
    "near_stop_copies",
    "counting_stop_copies",
)
_STALL = ("on_stall", "stall_min_s", "stall_factor", "stall_first_s")
#: Name, bounds, default, unit and meaning of every number, in the order of both groups.
_KNOBS: tuple[tuple[str, Any, Any, Any, str, str], ...] = (
    ("min_copies", 2, 12, 3, "copies", "that make a finding"),
    ("min_chars", 12, 240, 36, "characters", "that make an exact finding"),
    ("stop_chars", 40, 4000, 200, "characters", "repeated until an exact run is certain"),
    ("near_score", 20.0, 60.0, 45.0, "", "score that makes a near finding"),
    ("near_stop_score", 60.0, 210.0, 200.0, "", "score that makes a near run certain"),
    ("near_stop_copies", 3.0, 64.0, 8.0, "copies", "that a certain near run needs"),
    ("counting_stop_copies", 4.0, 2000.0, 200.0, "copies", "the same where copies count on"),
    ("stall_min_s", 0.5, 120.0, 2.0, "s", "below which no silence is a stall"),
    ("stall_factor", 2.0, 100.0, 10.0, "", "times the 99th percentile of the gaps"),
    ("stall_first_s", 1.0, 300.0, 30.0, "s", "that the first chunks may take"),
)


def watch_params(start: Mapping[str, Any] | None = None, *, cooldown_s: float = 0.0) -> ParamSpace:
    """The knobs of `LoopDetector` and `StallDetector` that a strange loop may turn.

    Names are those of the detectors' arguments, with ``stall_`` before those of `StallDetector`;
    ``on_loop`` and ``on_stall`` are the severities of a certain loop and of a stall, ``"stop"`` or
    ``"warn"``. Defaults are the detectors' own. A change may go all the way: what limits it is the
    gate, and rules of a `Shield` where steps should be smaller.

    Parameters
    ----------
    start : mapping, optional
        Values of knobs to start with, as the space's defaults; by default the detectors'.
    cooldown_s : float, default 0.0
        Least seconds between two changes of one knob.

    Returns
    -------
    ParamSpace
        12 knobs.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `start` names something else, or a value that a knob cannot have.

    Examples
    --------
    >>> params = watch_params()
    >>> params.defaults["stop_chars"], params["stop_chars"].low, params["stop_chars"].high
    (200, 40, 4000)
    >>> [d.__class__.__name__ for d in detectors_of(params.settings(stop_chars=400))]
    ['LoopDetector', 'StallDetector']
    """
    begin = {} if start is None else dict(check_mapping("start", start))
    made = []
    for name, low, high, default, unit, meaning in _KNOBS:
        make: Any = Param.integer if type(default) is int else Param.real
        more = {"default": begin.pop(name, default), "unit": unit, "meaning": meaning}
        more |= {"scale": "log", "max_step": high / low, "cooldown_s": cooldown_s}
        made.append(make(name, low, high, **more))
    for place, name, default, meaning in (
        (0, "on_loop", "stop", "severity of a loop that is certain"),
        (len(_LOOP), "on_stall", "warn", "severity of a stall"),
    ):
        choices = ("stop", "warn")
        more = {"default": begin.pop(name, default), "cooldown_s": cooldown_s, "meaning": meaning}
        made.insert(place, Param.choice(name, choices, **more))
    if begin:
        raise ArgumentValueError(f"start has no knob of a watch: {next(iter(begin))!r}")
    return ParamSpace(made)


def watch_presets(params: ParamSpace | None = None) -> tuple[Settings, ...]:
    """Settings that suit very different streams: what a strange loop tries first.

    Six temperaments towards loops, from stopping at the first certain copy to never, times five
    towards silence.

    Parameters
    ----------
    params : ParamSpace, optional
        Of `watch_params`, which is the default.

    Returns
    -------
    tuple of Settings
        30, the space's defaults first.

    Examples
    --------
    >>> presets = watch_presets()
    >>> len(presets), presets[0] == watch_params().defaults
    (30, True)
    """
    space = watch_params() if params is None else _check_space(params)
    loops: list[dict[str, Any]] = [
        {},
        _loop_of(60, 80.0, 4.0, 8.0),
        _loop_of(120, 120.0, 6.0, 30.0),
        _loop_of(800, 200.0, 12.0, 300.0),
        _loop_of(3200, 210.0, 20.0, 400.0),
        {"on_loop": "warn"},
    ]
    stalls: list[dict[str, Any]] = [
        {},
        _stall_of(2.0, 5.0, 5.0),
        _stall_of(5.0, 10.0, 30.0),
        _stall_of(15.0, 10.0, 30.0),
        _stall_of(45.0, 10.0, 45.0),
    ]
    return tuple(space.settings({**loop, **stall}) for loop in loops for stall in stalls)


def watch_loop(
    start: Mapping[str, Any] | None = None,
    *,
    loss: StreamLoss | None = None,
    actions: Iterable[str] = ("continue", "abort"),
    rules: Any = (),
    seed: int = 0,
    **more: Any,
) -> StrangeLoop:
    """Make a strange loop for ``watch(..., loop=)``, with what its parts need there.

    Parameters
    ----------
    start : mapping, optional
        Knobs to start with, as of `watch_params`.
    loss : StreamLoss, optional
        What streams cost; by default that of its defaults.
    actions : iterable of str, default ("continue", "abort")
        What can be done about what is found, ``"continue"`` among them.
    rules : rules of a `Shield`, optional
        Over actions, over the knobs, or both. A decision's context has the kind of the finding
        (``loop``, ``near_loop``, ``stall``), what it was found in (``text``, ``reasoning``,
        ``tool_call``, ``audio``, ``silence``), ``first`` or ``again``, and ``warned``; a rule with
        another name is refused.
    seed : int, default 0
    **more
        Further arguments of `StrangeLoop`, such as ``ledger="loop.ledger"``; they win.

    Returns
    -------
    StrangeLoop

    Notes
    -----
    Shadows are exact, since they are judged by whole records: those of settings that would have
    stopped earlier on every stream, all others on streams that are audited. So there is no canary.
    Only the newest 30 recordings count, and up to 8 trials run side by side for 100 streams each:
    when streams change, what was best before is in nobody's way. The bandit begins with the opinion
    that aborting is worth 0.8.

    It learns from outcomes: of streams that ended by themselves, and of stops that were told right
    or wrong (`Watch.outcome`). On 8,834 streams, in phases of 150 to 400 that favour other settings
    each, its regret was 42 % (± 15) of that of the best fixed settings, chosen in hindsight; 47 %
    with half of the outcomes. Where nobody tells any, or a phase lasts less than 100 streams, it
    does as well as fixed settings, not better; where nothing changes, it costs what they cost.
    ``asv_benchmarks/meta_regret.py`` has the run and says how it is computed.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.stream import watch
    >>> loop = watch_loop(rules=["stop_chars <= 1600", "abort -> !tool_call"])
    >>> async def main():
    ...     guard = watch(["One moment. "] + ["I will try that again. "] * 1000, loop=loop)
    ...     async for event in guard:
    ...         pass
    ...     guard.outcome(stop_was_wrong=False)
    ...     return guard
    >>> guard = asyncio.run(main())
    >>> guard.intervention, loop.summary().finished
    ('abort', 1)
    """
    if loss is not None and not isinstance(loss, StreamLoss):
        raise ArgumentTypeError(f"loss must be a StreamLoss, got {type(loss).__name__}")
    params = watch_params(start)
    shield = Shield(rules, actions=actions, params=params, context=DECISION_CONTEXT)
    arguments: dict[str, Any] = {
        "shield": shield,
        "gate": Gate(replay=5, shadow=100, canary=0, max_open=8, max_pending=1024, seed=seed),
        "evaluator": StreamLoss() if loss is None else loss,
        "candidates": watch_presets(params),
        "audit": AuditPlan(probability=0.9),
        "recordings": 30,
        "replays": 30,
        "seed": seed,
    }
    if "bandit" not in more:
        bandit = Bandit(shield.actions, alpha=0.3, discount=0.998, seed=seed)
        if "abort" in shield.actions:
            for _ in range(20):
                bandit.learn([1.0] + [0.0] * 15, "abort", 0.8)
        arguments["bandit"] = bandit
    return StrangeLoop(params, **(arguments | more))


def detectors_of(settings: Mapping[str, Any]) -> tuple[LoopDetector, StallDetector]:
    """New detectors with these settings, for one stream.

    Parameters
    ----------
    settings : Settings or mapping
        Of `watch_params`: all 12 knobs.

    Raises
    ------
    ArgumentValueError
        A knob is missing, or a value is not one that the detector takes.

    Examples
    --------
    >>> loops, stalls = detectors_of(watch_params().settings(on_stall="stop"))
    >>> loops.action, stalls.action
    ('stop', 'stop')
    """
    try:
        loop, stall = _loop_knobs(settings), _stall_knobs(settings)
    except KeyError:
        raise _missing_knob(settings) from None
    return _loop_detector(loop), _stall_detector(stall)


def stops_no_later(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether `one` stops every stream that `other` stops, at the same event or before.

    What `one` would have done is then known from a recording that `other` cut off. Settings of
    which neither stops first always are in no such order.

    Parameters
    ----------
    one, other : Settings or mapping
        Of `watch_params`.

    Examples
    --------
    >>> params = watch_params()
    >>> stops_no_later(params.settings(stop_chars=60), params.defaults)
    True
    >>> stops_no_later(params.settings(stop_chars=60, near_stop_score=210.0), params.defaults)
    False
    """
    pairs = ((one, other, "on_loop", _LOOP[1:]), (one, other, "on_stall", _STALL[1:]))
    return all(
        right[action] != "stop"
        or (left[action] == "stop" and all(left[name] <= right[name] for name in names))
        for left, right, action, names in pairs
    )


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One stream as it was seen: what any settings' detectors need, and what is known of its worth.

    Parameters
    ----------
    events : tuple of Event
        In order. Their ``data`` is not kept.
    end_ns : int, optional
        When the stream ended or was cut, on the events' clock; by default with the last event.
    cut : bool, default False
        It was closed from outside (a stop, the caller): what would have come is not known.
    useful_chars : int, optional
        How many of its characters were worth having; what comes after them is waste. More than it
        has: it was cut off too early. None: judged from the text itself, see Notes.
    stop_was_wrong : bool, optional
        Of a record that is cut: whether what would have come was worth having. None: not told.

    Attributes
    ----------
    chars : int
        Characters of all texts.
    digest : str
        SHA-256 of all of this, in hexadecimal.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        What is not as described, or events whose times go back.

    Notes
    -----
    Without `useful_chars`, the text is useful up to the last place where new words come thick: 4
    new words, or new numbers, among 24 tokens. A loop brings none, a table's next row does.

    Immutable, hashable; about 1 KiB and 1 millisecond per 500 events.

    Examples
    --------
    >>> events = [Event("text", seq, seq * 10_000_000, "and again ") for seq in range(50)]
    >>> record = StreamRecord(tuple(events), useful_chars=10)
    >>> record.chars, record.useful_chars, record == StreamRecord.from_bytes(record.to_bytes())
    (500, 10, True)
    """

    events: tuple[Event, ...]
    end_ns: int = -1
    cut: bool = False
    useful_chars: int | None = None
    stop_was_wrong: bool | None = None
    digest: str = field(init=False, compare=False, repr=False)
    _counts: tuple[int, ...] = field(init=False, compare=False, repr=False)
    _useful: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        events, counts, texts = [], [], []
        total = before_ns = 0
        for index, event in enumerate(self.events):
            _check_event(index, event, before_ns)
            kind, seq, before_ns, text, name, data, stream_id, call_id = event
            if data is not None:
                event = Event(kind, seq, before_ns, text, name, None, stream_id, call_id)
            if kind in TEXT_KINDS:
                total += len(text)
                texts.append(text)
            events.append(event)
            counts.append(total)
        last_ns = events[-1].t_ns if events else 0
        end_ns = last_ns if self.end_ns == -1 else check_int("end_ns", self.end_ns, low=0)
        if end_ns < last_ns:
            raise ArgumentValueError(f"end_ns is before the last event, got {end_ns}")
        for name in ("cut", "stop_was_wrong"):
            value = getattr(self, name)
            if type(value) is not bool and (name == "cut" or value is not None):
                raise ArgumentTypeError(f"{name} must be a bool, got {value!r}")
        if self.useful_chars is not None:
            check_int("useful_chars", self.useful_chars, low=0)
        put(self, "events", tuple(events))
        put(self, "end_ns", end_ns)
        put(self, "_counts", tuple(counts))
        useful = self.useful_chars
        if useful is None:
            if self.cut and self.stop_was_wrong:
                useful = total + _BEYOND
            else:
                useful = _useful_chars("".join(texts))
        put(self, "_useful", useful)
        put(self, "digest", hashlib.sha256(self.to_bytes()).hexdigest())

    @property
    def chars(self) -> int:
        """Characters of all texts."""
        return self._counts[-1] if self._counts else 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, (self.to_bytes(),)

    def told(self, *, useful_chars: int | None = None, stop_was_wrong: bool | None = None) -> Self:
        """The same record with what was learned later."""
        return type(self)(self.events, self.end_ns, self.cut, useful_chars, stop_was_wrong)

    def to_bytes(self) -> bytes:
        """All of it: equal records give equal bytes."""
        rows = [
            [e.kind, e.seq, e.t_ns, e.text, e.name, e.stream_id]
            + ([] if e.call_id is None else [e.call_id])
            for e in self.events
        ]
        body = [_FORMAT, self.end_ns, self.cut, self.useful_chars, self.stop_was_wrong, rows]
        return json.dumps(body, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` gave.

        Raises
        ------
        ArgumentValueError
            `data` is nothing of the kind.
        """
        try:
            kind, end_ns, cut, useful_chars, wrong, rows = json.loads(data)
            if kind != _FORMAT:
                raise ValueError(f"it begins with {kind!r:.40}")
            events = tuple(
                Event(kind, seq, t_ns, text, name, None, stream_id, *call_id)
                for kind, seq, t_ns, text, name, stream_id, *call_id in rows
            )
            record = cls(events, end_ns, cut, useful_chars, wrong)
        except (ValueError, TypeError, RecursionError) as error:
            raise ArgumentValueError(f"data is no record of a stream: {error}") from None
        if record.to_bytes() != data:
            raise ArgumentValueError(
                "data is no record of a stream: it was not written by to_bytes"
            )
        return record


class Stop(NamedTuple):
    """Where settings stop a stream: at a time, after some of its events."""

    t_ns: int
    n_events: int


class _Half(NamedTuple):
    """What one detector does on a record: when it stops, after how many events, where it warned."""

    t_ns: int
    n_events: int
    warned: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StreamLoss:
    """What a stream costs under given settings, from 0 (nothing) to 1 (as bad as it gets).

    The sum of four costs, at most 1: characters that were not worth having until the stop or the
    end, relative to `budget_chars`; seconds spent waiting after the last character that was,
    relative to `patience_s`; `false_stop` where a stop lost at least `margin_chars` that were worth
    having, in proportion where fewer; `false_warning` for each of at most three warnings before the
    last character that was.

    Parameters
    ----------
    budget_chars : float, default 3000
        Wasted characters that are as bad as it gets; about four make a token.
    patience_s : float, default 90
        Seconds of waiting that are.
    false_stop : float, default 1.0
        Cost of a stop that was wrong: the answer has to be paid for again.
    margin_chars : float, default 200
        What a stop may lose without that cost in full.
    false_warning : float, default 0.02
    n_kept : int, default 20000
        How much of what was computed is kept; not part of what is judged.

    Attributes
    ----------
    digest : str
        SHA-256 of what is judged and how, in hexadecimal.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No finite number, or out of range.

    Notes
    -----
    Frozen. What it computed is kept for the last `n_kept` pairs of a record and one detector's
    knobs, so that many settings over the same records cost one pass for each detector's knobs:
    0.4 milliseconds for 500 events. Threads may share it.

    Examples
    --------
    >>> params = watch_params()
    >>> events = [Event("text", seq, seq * 10_000_000, "and again ") for seq in range(200)]
    >>> record = StreamRecord(tuple(events), useful_chars=10)  # a loop of 2,000 characters
    >>> loss = StreamLoss()
    >>> for settings in ({}, {"stop_chars": 60}, {"on_loop": "warn"}):
    ...     print(round(loss(params.settings(settings), record), 3))
    0.072
    0.024
    0.685
    """

    budget_chars: float = 3000.0
    patience_s: float = 90.0
    false_stop: float = 1.0
    margin_chars: float = 200.0
    false_warning: float = 0.02
    n_kept: int = field(default=20_000, compare=False)
    _kept: dict[tuple[str, tuple[Any, ...]], _Half] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    _lock: Any = field(default_factory=threading.Lock, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("budget_chars", 1.0, 1e12),
            ("patience_s", 1e-3, 1e12),
            ("false_stop", 0.0, 1.0),
            ("margin_chars", 1.0, 1e12),
            ("false_warning", 0.0, 1.0),
        ):
            value = check_real(name, getattr(self, name), low=low, high=high)
            object.__setattr__(self, name, value)
        check_int("n_kept", self.n_kept, low=0)

    def __reduce__(self) -> tuple[Any, ...]:
        # What is kept, and its lock, stay here.
        return type(self), tuple(getattr(self, f.name) for f in fields(self) if f.init)

    @property
    def digest(self) -> str:
        """SHA-256 of what is judged and how, in hexadecimal."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.compare}
        text = json.dumps(["midstream.stream_loss.1", values], sort_keys=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def __call__(self, settings: Mapping[str, Any], record: StreamRecord | bytes) -> Loss:
        """What the stream costs under `settings`.

        Parameters
        ----------
        settings : Settings or mapping
            Of `watch_params`.
        record : StreamRecord or bytes
            Bytes as of `StreamRecord.to_bytes`.

        Returns
        -------
        float, or (float, float)
            The least and the most it can be, where the record was cut off and either `settings`
            would have let it run on, or nobody told whether the stop was wrong.
        """
        record, loop, stall = self._halves(settings, record)
        stop = loop if loop.t_ns < stall.t_ns else stall
        return self._loss(record, stop, loop.warned + stall.warned)

    def stop(self, settings: Mapping[str, Any], record: StreamRecord | bytes) -> Stop | None:
        """Where `settings` stop the stream; None where they do not."""
        _, loop, stall = self._halves(settings, record)
        stop = loop if loop.t_ns < stall.t_ns else stall
        return None if stop.t_ns == _NEVER else Stop(stop.t_ns, stop.n_events)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of knobs that belong together: one detector's each."""
        return _LOOP, _STALL

    def known(self, settings: Mapping[str, Any], ran: Mapping[str, Any]) -> bool:
        """Whether what `settings` cost is known of every stream that was watched with `ran`.

        If not, it is known of those only that were let run on, and counting others as well would
        favour one side.
        """
        return stops_no_later(settings, ran)

    def ran_on(self, record: StreamRecord) -> Loss:
        """What the stream costs where nothing stopped it and nobody was warned."""
        return self._loss(record, _Half(_NEVER, len(record.events), ()), ())

    def _halves(
        self, settings: Mapping[str, Any], record: StreamRecord | bytes
    ) -> tuple[StreamRecord, _Half, _Half]:
        if isinstance(record, bytes):
            record = StreamRecord.from_bytes(record)
        elif not isinstance(record, StreamRecord):
            raise ArgumentTypeError(f"record must be a StreamRecord, got {type(record).__name__}")
        try:
            loop_knobs, stall_knobs = _loop_knobs(settings), _stall_knobs(settings)
        except KeyError:
            raise _missing_knob(settings) from None
        loop = self._half(record, loop_knobs, _run_loop)
        return record, loop, self._half(record, stall_knobs, _run_stall)

    def _half(self, record: StreamRecord, knobs: tuple[Any, ...], run: Any) -> _Half:
        key = record.digest, knobs
        kept = self._kept.get(key)
        if kept is None:
            kept = run(record, knobs)
            with self._lock:
                while len(self._kept) >= max(1, self.n_kept):
                    del self._kept[next(iter(self._kept))]
                if self.n_kept:
                    self._kept[key] = kept
        return kept

    def _loss(self, record: StreamRecord, stop: _Half, warned: tuple[int, ...]) -> Loss:
        counts, useful = record._counts, record._useful
        stopped = stop.t_ns != _NEVER
        seen = record.chars if not stopped else counts[stop.n_events - 1] if stop.n_events else 0
        t_ns = stop.t_ns if stopped else record.end_ns
        cost = self.false_warning * min(
            3, sum(place <= seen and place < useful for place in warned)
        )
        if seen >= useful:
            index = bisect_left(counts, useful) if useful else -1
            since_ns = record.events[index].t_ns if index >= 0 else 0
            cost += (seen - useful) / self.budget_chars
            cost += max(0, t_ns - since_ns) / NS_PER_S / self.patience_s
        elif stopped:
            cost += self.false_stop * min(1.0, (useful - seen) / self.margin_chars)
        if not record.cut:
            return min(1.0, cost)
        if not stopped:  # and what would have come under these settings, nobody knows
            return min(1.0, cost), 1.0
        known = record.stop_was_wrong is not None or record.useful_chars is not None
        return min(1.0, cost) if known else (min(1.0, cost), min(1.0, cost + self.false_stop))


def _loop_of(chars: int, score: float, copies: float, counting: float) -> dict[str, Any]:
    return {
        "stop_chars": chars,
        "near_stop_score": score,
        "near_stop_copies": copies,
        "counting_stop_copies": counting,
    }


def _stall_of(min_s: float, factor: float, first_s: float) -> dict[str, Any]:
    return {
        "on_stall": "stop",
        "stall_min_s": min_s,
        "stall_factor": factor,
        "stall_first_s": first_s,
    }


def _check_space(params: ParamSpace) -> ParamSpace:
    if not isinstance(params, ParamSpace):
        raise ArgumentTypeError(f"params must be a ParamSpace, got {type(params).__name__}")
    missing = [name for name in (*_LOOP, *_STALL) if name not in params]
    if missing:
        raise ArgumentValueError(f"params have no {missing[0]!r}: begin with watch_params()")
    return params


def _check_event(index: int, event: Event, before_ns: int) -> None:
    if not isinstance(event, Event):
        raise ArgumentTypeError(f"events[{index}] must be an Event, got {type(event).__name__}")
    kind, seq, t_ns, text, name, _, stream_id, call_id = event
    if kind not in KINDS:
        raise ArgumentValueError(f"events[{index}].kind is {kind!r:.40}")
    if type(t_ns) is not int or not 0 <= t_ns < 1 << 63:
        raise ArgumentValueError(f"events[{index}].t_ns is {t_ns!r:.40}")
    if t_ns < before_ns:
        raise ArgumentValueError(f"events[{index}].t_ns goes back from {before_ns} to {t_ns}")
    if type(text) is not str or type(stream_id) is not str:
        raise ArgumentTypeError(f"events[{index}]: text and stream_id must be str")
    if type(seq) is not int or any(type(one) not in (str, type(None)) for one in (name, call_id)):
        raise ArgumentTypeError(
            f"events[{index}]: seq must be an int, call_id and name a str or None"
        )


def _missing_knob(settings: Mapping[str, Any]) -> ArgumentValueError:
    missing = next(name for name in (*_LOOP, *_STALL) if name not in settings)
    return ArgumentValueError(f"settings have no {missing!r}: they must be of watch_params()")


def _loop_knobs(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in _LOOP)


def _stall_knobs(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in _STALL)


def _loop_detector(knobs: tuple[Any, ...]) -> LoopDetector:
    return LoopDetector(knobs[0], **dict(zip(_LOOP[1:], knobs[1:], strict=True)))


def _stall_detector(knobs: tuple[Any, ...]) -> StallDetector:
    action, min_s, factor, first_s = knobs
    return StallDetector(action, min_s=min_s, factor=factor, first_s=first_s)


def _run_loop(record: StreamRecord, knobs: tuple[Any, ...]) -> _Half:
    detector = _loop_detector(knobs)
    observe = detector.observe
    warned: list[int] = []
    for index, event in enumerate(record.events):
        for finding in observe(event, 0):
            if finding.severity == "stop":
                return _Half(event.t_ns, index + 1, tuple(warned))
            if finding.severity == "warn":
                warned.append(record._counts[index])
    return _Half(_NEVER, len(record.events), tuple(warned))


def _run_stall(record: StreamRecord, knobs: tuple[Any, ...]) -> _Half:
    """Run a detector of stalls as a live watch does: it speaks while the silence lasts."""
    detector, last_ns, count = _stall_detector(knobs), 0, 0
    warned: list[int] = []
    for index, event in enumerate(record.events):
        limit_ns = detector.limit_ns
        if detector.observe(event, event.t_ns - last_ns):
            if detector.action == "stop":
                return _Half(last_ns + limit_ns, index, tuple(warned))
            warned.append(count)
        last_ns, count = event.t_ns, record._counts[index]
    if record.end_ns - last_ns >= detector.limit_ns:
        if detector.action == "stop":
            return _Half(last_ns + detector.limit_ns, len(record.events), tuple(warned))
        warned.append(count)
    return _Half(_NEVER, len(record.events), tuple(warned))


def _useful_chars(text: str) -> int:
    """Characters up to the last place where new words come thick."""
    known: set[str] = set()
    fresh = array("q")  # ends of the newest new words
    useful = index = last = 0
    for index, match in enumerate(_WORDS.finditer(text)):
        word = match.group()
        if word not in known:
            known.add(word)
            fresh.append(index)
            if index - fresh[max(0, len(fresh) - _THICK)] < _AMONG:
                useful, last = match.end(), index
    # The end of a text is too short to say nothing new.
    return len(text) if index - last < _AMONG else useful


_WORDS = re.compile(r"\w+")
_THICK, _AMONG = 4, 24
_NEVER = 1 << 62
_BEYOND = 1 << 40
