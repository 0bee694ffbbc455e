"""`Guard`: what looks at events and says what may pass, without a loop, a socket or a clock."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream._core.validate import check_callback, check_choice, check_int, check_iterable
from midstream.stream.detectors import (
    Detector,
    LoopDetector,
    Offload,
    StallDetector,
    beside,
    default_detectors,
)
from midstream.stream.detectors.protocol import recalled
from midstream.stream.events import SEVERITIES, Denial, Event, Finding
from midstream.stream.metrics import Metrics
from midstream.stream.recording import Recorder
from midstream.stream.report import Report

if TYPE_CHECKING:
    from midstream.logic import Obligation
    from midstream.meta.loop import StrangeLoop
    from midstream.stream.policies import Enforcer, PoliciesLike
    from midstream.stream.steering import Steering

__all__ = ["MAX_ERRORS", "MAX_FINDINGS", "OUTCOMES", "Denial", "Guard", "Step", "StreamObserver"]

#: Findings and messages of errors that a guard keeps; a stop is always kept, the rest is counted.
MAX_FINDINGS = 1000
MAX_ERRORS = 100
#: How soon it looks again for what detectors beside the stream have found, while nothing comes.
_LOOK_NS = 100_000_000
#: How a stream can be over, as `Report.outcome` says.
OUTCOMES = ("ended", "stopped", "failed", "closed")
#: What to do with an event, as an `Enforcer` says.
PASS, HOLD, DROP = range(3)
#: Kinds of events that are a piece of something longer; texts whose lengths are kept.
_WRITTEN = frozenset({"text", "reasoning", "audio", "tool_call"})
_MOST_TEXTS = 1024
#: Later than any deadline.
NEVER_NS = 1 << 62


class StreamObserver(Protocol):
    """Who is told what happens to a stream, and has no say in it: `Guard.attach`."""

    def event(self, event: Event, gap_ns: int | None = None) -> object:
        """Take the next event, before detectors and policies do."""

    def finding(self, finding: Finding) -> object:
        """Take what was found."""

    def close(self, outcome: str = "ended", error: Exception | None = None) -> object:
        """Take note that the stream is over, as `Guard.finish` is told."""


class Step(NamedTuple):
    """What an event led to.

    Parameters
    ----------
    findings : tuple of Finding
        In the order of detectors, then policies.
    stop : Finding or None
        The one for which the stream must be closed, after this event is handed on (if it is).
    hold : bool
        The event is a piece of a tool call that may still be denied: keep it, and hand it on when
        a later step names its `Event.stream_id` in `released`, or drop it when one denies it.
    released : tuple of str
        Stream ids of which everything held is to be handed on now, in order. The event of this
        step comes after it.
    denied : tuple of Denial
        Calls of which everything held is to be dropped now.
    dropped : bool
        The event is not to be passed on at all: a piece of a call that is denied, now or before, or
        what holds text that a policy forbids, with a `stop`. `hold` is True too.
    """

    findings: tuple[Finding, ...] = ()
    stop: Finding | None = None
    hold: bool = False
    released: tuple[str, ...] = ()
    denied: tuple[Denial, ...] = ()
    dropped: bool = False


#: What most events lead to, a piece of a call that may still be denied, and one of a denied call.
NOTHING = Step()
HELD = Step(hold=True)
DROPPED = Step(hold=True, dropped=True)


class Guard:
    """Detectors, policies and a recorder over one stream: the synchronous core of `watch`.

    Parameters
    ----------
    detectors : iterable of Detector, optional
        Default `default_detectors`; ``()`` for none. A detector belongs to one stream. One that is
        `costly` runs beside it, through an `Offload`.
    policies : PolicySet, PolicyFile, Policy, path, name, or iterable of them
        Rules that events must keep: policies, a TOML file of rules, names of ready rules.
    recorder : Recorder, optional
        Gets every event, also those that are denied, before the detectors do, every finding, and
        how the stream ended. It is not closed. What it could not write is in the report.
    on_finding : callable, optional
        Called with each finding the moment it is made. What it raises comes out of the method that
        made the finding.
    inline : bool, default False
        Run costly detectors at once, with each event: for recordings, where nothing is delayed and
        the same findings are to be made with the same event.
    loop : StrangeLoop, optional
        As for `watch`.
    interventions : iterable of str, optional
        As for `watch`.

    Attributes
    ----------
    findings : list of Finding
        In order, the first 1,000 and a stop; `on_finding` gets them all.
    stopped : Finding or None
        The finding for which the stream must be closed.
    denied : list of Denial
        Tool calls that were denied, the first 1,000.
    metrics : Metrics
        Counts and times so far.
    errors : list of str
        Messages of ``error`` events, and of what failed besides what was raised; the first 100.
    model : str or None
        The model that was asked for, for those who look on: whoever reads the request sets it.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As for `watch`.

    Notes
    -----
    It owns no clock: whoever drives it tells how long the stream was silent, as `gap_ns` of the
    next event and, while nothing comes, by `expire`. Constant memory. Not thread-safe: one guard,
    one stream.

    The choices of a response (`n` of chat completions, Google's candidates) are alternatives:
    policies judge each by what was recalled and what it says itself, as if there were no others.
    The clock, errors of the whole stream, and counts (`chars`, `tokens`, `usage`) are common to
    all. A call that is denied in one leaves the others as they are; a stop closes the stream, and
    with it all of them, since no provider can be told to end one alone: which one it was for, the
    finding's evidence says as ``stream_id``. What are choices is told by the events' payloads
    (`Event.data`); without them all is one answer. The first 128 are apart.

    Examples
    --------
    >>> from midstream.stream import Event, Guard
    >>> guard = Guard()
    >>> for seq in range(100):
    ...     step = guard.take(Event("text", seq, seq * 1_000_000, "I will try that again. "))
    ...     if step.stop:
    ...         break
    >>> seq, step.stop.kind
    (9, 'loop')
    """

    def __init__(
        self,
        detectors: Iterable[Detector] | None = None,
        policies: PoliciesLike = (),
        recorder: Recorder | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        *,
        inline: bool = False,
        loop: StrangeLoop | None = None,
        interventions: Iterable[str] | None = None,
    ) -> None:
        self.findings: list[Finding] = []
        self.stopped: Finding | None = None
        self.denied: list[Denial] = []
        self.metrics = Metrics()
        self.errors: list[str] = []
        self.model: str | None = None
        checked = _check_detectors(() if loop is not None and detectors is None else detectors)
        self._detectors = beside(checked, inline=inline)
        self._beside = tuple(d for d in self._detectors if isinstance(d, Offload))
        if recorder is not None and not isinstance(recorder, Recorder):
            raise ArgumentTypeError(f"recorder must be a Recorder, got {type(recorder).__name__}")
        if on_finding is not None:
            check_callback("on_finding", on_finding)
        self._recorder = recorder
        self._on_finding = on_finding
        self._observers = [detector.observe for detector in self._detectors]
        self._steering: Steering | None = None
        if loop is not None:
            self._steer(loop, interventions)
        elif interventions is not None:
            raise ArgumentValueError("interventions need a loop, got None")
        self._stalls = tuple(d for d in self._detectors if isinstance(d, StallDetector))
        self._enforcer: Enforcer | None = None
        blocks = any(getattr(detector, "action", None) == "block" for detector in self._detectors)
        if blocks or policies != ():
            # Only who has rules needs the package that judges them.
            from midstream.stream.policies import Enforcer, as_policies

            chosen = as_policies(policies)
            if blocks or len(chosen):
                self._enforcer = Enforcer(chosen, hold_calls=blocks)
        #: Kind, stream id and call -> characters of it so far.
        self._places: dict[tuple[str, str, str | None], int] = {}
        self._begun = False
        self._n_denied = 0
        self._last_ns = 0
        self._latest_ns = 0  # the newest of all: a clock may be set back
        self._n_dropped = 0  # findings and errors beyond what is kept
        self._over = False
        self._attached: list[StreamObserver] = []

    def attach(self, observer: StreamObserver) -> None:
        """Have somebody told of all that happens from now on: a dashboard, or a telemetry.

        Parameters
        ----------
        observer : StreamObserver
            What it raises comes out of the method in which it was told.

        Raises
        ------
        ArgumentTypeError
            It lacks a method.
        RefusedError
            It is attached already, or the stream is over.

        Notes
        -----
        Without an observer this costs nothing: it is one more among those who see the events. Of
        several, each is told before those that were attached earlier.

        Examples
        --------
        >>> class Printer:
        ...     def event(self, event, gap_ns=None):
        ...         print("event", event.text)
        ...     def finding(self, finding):
        ...         print("finding", finding.kind)
        ...     def close(self, outcome="ended", error=None):
        ...         print("over", outcome)
        >>> guard = Guard(())
        >>> guard.attach(Printer())
        >>> _ = guard.take(Event("text", 0, 0, "Once"))
        event Once
        >>> _ = guard.finish()
        over ended
        """
        for name in ("event", "finding", "close"):
            if not callable(getattr(observer, name, None)):
                raise ArgumentTypeError(
                    f"observer must have event, finding and close, got {type(observer).__name__}"
                )
        if self._over or any(one is observer for one in self._attached):
            raise RefusedError(
                "the stream is over" if self._over else f"{observer!r} is attached already"
            )
        self._attached.append(observer)
        take = observer.event

        def observe(event: Event, gap_ns: int = 0) -> tuple[()]:
            take(event, gap_ns)
            return ()

        self._observers.insert(0, observe)

    @property
    def detectors(self) -> tuple[Detector, ...]:
        """All of them, those of a loop first."""
        return self._detectors

    @property
    def steering(self) -> Steering | None:
        """What ties the stream to its loop; None without one."""
        return self._steering

    @property
    def open_obligations(self) -> list[Obligation]:
        """What policies are owed: rules that would be broken if the run ended now."""
        return [] if self._enforcer is None else self._enforcer.open_obligations

    @property
    def judges_calls(self) -> bool:
        """Whether a rule may forbid tool calls, or stop the stream because of one."""
        return self._enforcer is not None and self._enforcer.judges_calls

    def concerns(self, names: Iterable[str | None], *, arguments: bool = True) -> bool:
        """Whether it makes a difference to a rule which of several readings of a call is meant.

        Parameters
        ----------
        names : iterable of str or None
            Names that the call may have; None for one that nobody can tell.
        arguments : bool
            Its arguments cannot be told either.

        Returns
        -------
        bool
            A rule that denies or stops judges the names otherwise now, or may forbid one of them
            because of its arguments, or whatever they are.
        """
        return self._enforcer is not None and self._enforcer.concerns(names, arguments=arguments)

    def worse(self, name: str | None, other: str | None) -> bool:
        """Whether a rule may forbid a call of the name `other` that would pass it as `name`."""
        return self._enforcer is not None and self._enforcer.worse(name, other)

    def recall(self, events: Iterable[Event], *, choices: int | None = None) -> None:
        """Take what happened before this stream: the messages of the request that it answers.

        Parameters
        ----------
        events : iterable of Event
            In order: texts (with the `name` ``"user"`` where the user wrote them), calls with whole
            arguments, results. Times do not matter. `midstream.stream.formats.history` makes them
            of a request.
        choices : int, optional
            How many answers the request asks for (`n` of chat completions), where that is known.
            With 1, policies keep no copy of what they know here for further ones, some kilobytes;
            one that comes all the same is judged as the continuation of the first.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            What is given is no event, or `choices` is no number of them.
        RefusedError
            The stream has begun, or is over.

        See Also
        --------
        recalling : event by event, for what is long.

        Notes
        -----
        Nothing is found, denied or recorded. Policies take it as what has been, but for calls that
        they would have denied, and detectors that have a ``recall`` of their own do. Counts of
        characters and tokens begin with the stream. 50 to 150 microseconds an event.
        """
        for _ in self.recalling(events, choices=choices):
            pass

    def recalling(
        self, events: Iterable[Event], *, choices: int | None = None
    ) -> Generator[None, None, None]:
        """Recall event by event, so that other things can be done in between.

        Parameters
        ----------
        events, choices
            As for `recall`.

        Yields
        ------
        None
            After each event, for each part that looks at it. Only at the end has the guard taken
            them: it must come before anything else is asked of it.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError, RefusedError
            As `recall`, before the first event.

        Examples
        --------
        >>> guard = Guard(policies="no-secret")
        >>> steps = guard.recalling([Event("text", 0, 0, "Hello.", "user")])
        >>> sum(1 for _ in steps) > 0
        True
        """
        if self._begun or self._over:
            state = "is over" if self._over else "has begun"
            raise RefusedError(f"recall: the stream {state}", reason="running")
        if choices is not None:
            check_int("choices", choices, low=1)
        events = tuple(check_iterable("events", events))
        for k, event in enumerate(events):
            if not isinstance(event, Event):
                hint = ""
                if isinstance(event, Mapping):
                    hint = ": midstream.stream.formats.history makes events of a request's messages"
                raise ArgumentTypeError(
                    f"events[{k}] must be an Event, got {type(event).__name__}{hint}"
                )
        for detector in self._detectors:
            yield from recalled(detector, events)
        if self._enforcer is not None:
            yield from self._enforcer.recalling(events, choices)

    def take(self, event: Event, gap_ns: int | None = None) -> Step:
        """Look at the next event.

        Parameters
        ----------
        event : Event
        gap_ns : int, optional
            Nanoseconds for which the stream was silent before it; default: since the event before,
            by their times.

        Returns
        -------
        Step

        Raises
        ------
        RefusedError
            The stream is over: `finish` was called.
        Exception
            What a detector, the recorder or `on_finding` raised.
        """
        if self._over:
            raise RefusedError("take: the stream is over, finish was called", reason="over")
        if gap_ns is None:
            gap_ns = event.t_ns - self._last_ns
        if gap_ns < 0:
            gap_ns = 0
        self._last_ns = event.t_ns
        if event.t_ns > self._latest_ns:
            self._latest_ns = event.t_ns
        self._begun = True
        if self._recorder is not None:
            self._recorder.write(event)
        self.metrics.take(event, gap_ns)
        if event.kind == "error":
            self.remember(event.text)
        enforcer = self._enforcer
        if enforcer is not None:
            return self._enforce(enforcer, event, gap_ns)
        made: list[Finding] | None = None
        for observe in self._observers:
            found = observe(event, gap_ns)
            if found:
                made = self._add(_check_found(found, observe), made)
        if made is None:
            return NOTHING
        return Step(tuple(made), self.stopped)

    def _enforce(self, enforcer: Enforcer, event: Event, gap_ns: int) -> Step:
        """Let detectors and policies have a look at an event."""
        place = 0
        text = event.text
        if text and event.kind in _WRITTEN:
            places = self._places
            key = (event.kind, event.stream_id, event.call_id)
            place = places.get(key, 0)
            if not place and len(places) >= _MOST_TEXTS:
                del places[next(iter(places))]
            places[key] = place + len(text)
        found: list[Finding] = []
        for observe in self._observers:
            one = observe(event, gap_ns)
            if one:
                found += _check_found(one, observe)
        if found:
            return self._enforce_found(enforcer, event, found, place)
        hold = enforcer.take(event, (), place)
        if not (enforcer.findings or enforcer.released or enforcer.denied):
            return (NOTHING, HELD, DROPPED)[hold]
        return self._step(enforcer, None, hold)

    def _enforce_found(
        self, enforcer: Enforcer, event: Event, found: list[Finding], place: int
    ) -> Step:
        """Let policies look at an event in which detectors have found something.

        What policies find in it comes before or behind that as if the text had come character by
        character, and what is behind a stop has not been: else it would depend on how the text was
        cut what is found first, and where the stream is.
        """
        text = event.text
        last = max(len(text) - 1, 0)

        def at(finding: Finding) -> int:
            """The character of the event with which something is found."""
            if event.kind not in _WRITTEN:
                return 0
            mine = finding.evidence.get("stream_id", event.stream_id) == event.stream_id
            return min(max(finding.end - place - 1, 0), last) if mine else 0

        found.sort(key=at)
        bounds: list[tuple[int, Finding | None]] = [(at(one), one) for one in found]
        made: list[Finding] = []
        released: list[str] = []
        denied: list[Denial] = []
        hold = PASS
        if bounds[0][0] > 0:
            bounds.insert(0, (0, None))
        while bounds:
            begin = bounds[0][0]
            here: list[Finding] = []
            while bounds and bounds[0][0] == begin:
                finding = bounds.pop(0)[1]
                if finding is not None:
                    here.append(finding)
            end = bounds[0][0] if bounds else len(text)
            made = self._add(here, made)
            if self.stopped is not None:
                end = min(end, begin + 1)
            whole = begin == 0 and end == len(text)
            piece = event if whole else event._replace(text=text[begin:end])
            hold = enforcer.take(piece, here, place + begin)
            step = self._step(enforcer, None, hold)
            made += step.findings
            released += step.released
            denied += step.denied
            if self.stopped is not None:
                break
        return Step(
            tuple(made), self.stopped, hold > 0, tuple(released), tuple(denied), hold == DROP
        )

    def _step(self, enforcer: Enforcer, made: list[Finding] | None, hold: int) -> Step:
        """Keep what an enforcer has decided, and put it into a step."""
        made = self._add(enforcer.findings, made)
        if self.stopped is None and not self._over:
            self.stopped = enforcer.stop
        self._n_denied += len(enforcer.denied)
        for denial in enforcer.denied:
            if len(self.denied) < MAX_FINDINGS:
                self.denied.append(denial)
            else:
                self._n_dropped += 1
        stop = None if self._over else self.stopped
        return Step(
            tuple(made),
            stop,
            hold > 0,
            tuple(enforcer.released),
            tuple(enforcer.denied),
            hold == DROP,
        )

    @property
    def minds_silence(self) -> bool:
        """Whether `due_ns` can ever say anything."""
        return bool(self._stalls or self._beside) or self._enforcer is not None

    def due_ns(self, waited_ns: int = 0) -> int | None:
        """When silence is to be told.

        Parameters
        ----------
        waited_ns : int
            Nanoseconds for which nothing has come already.

        Returns
        -------
        int or None
            Nanoseconds of silence, more than `waited_ns`, at which `expire` has something to say;
            None where no silence does. It may change with every event.
        """
        limits = [stall.limit_ns for stall in self._stalls]
        if self._enforcer is not None and self._enforcer.due_ns < NEVER_NS:
            limits.append(self._enforcer.due_ns - self._latest_ns)
        if any(detector.waiting for detector in self._beside):
            limits.append(waited_ns + _LOOK_NS)
        return min((limit for limit in limits if limit > waited_ns), default=None)

    def expire(self, waited_ns: int) -> Step:
        """Take note that nothing has come for so long; what that decides.

        Parameters
        ----------
        waited_ns : int
            Nanoseconds since the newest event, without time that its reader took.

        Returns
        -------
        Step
            What this silence has told already is not told again, and nothing after `finish`.
        """
        if self._over:
            return NOTHING
        made: list[Finding] | None = None
        for detector in self._beside:
            made = self._add(detector.poll(), made)
        for stall in self._stalls:
            if waited_ns >= stall.limit_ns and (finding := stall.expire()) is not None:
                steering = self._steering
                made = self._add(
                    [finding] if steering is None else steering.judged([finding]), made
                )
        enforcer = self._enforcer
        if enforcer is not None:
            enforcer.pass_time(self._latest_ns + waited_ns, () if made is None else made)
            if made or enforcer.findings:
                return self._step(enforcer, made, PASS)
        if not made:
            return NOTHING
        return Step(tuple(made), self.stopped)

    def finish(
        self,
        outcome: str = "ended",
        *,
        broken: bool = False,
        silence_ns: int = 0,
        error: Exception | None = None,
    ) -> Step:
        """Take note that the stream is over.

        Parameters
        ----------
        outcome : {"ended", "stopped", "failed", "closed"}
            It came to its end; a finding closed it; it, or what watches it, failed; somebody
            closed it.
        broken : bool
            Where it failed: that it was the stream.
        silence_ns : int
            Nanoseconds since its newest event.
        error : Exception, optional
            Why it failed, for the recording.

        Returns
        -------
        Step
            What only the end decides: the last token of a text, calls that are not whole, and
            where the stream has ended by itself, with all calls answered, what policies are owed
            and have not got. Nothing is stopped any more. After a stop, and asked again: nothing.

        Raises
        ------
        Exception
            What a detector, the loop's ledger or `on_finding` raised first, after all have been
            told; the others are in `errors`.
        """
        check_choice("outcome", outcome, OUTCOMES)
        if self._over:
            return NOTHING
        self._over = True
        broke, told = error, None if error is None else one_line(error)
        failures: list[Exception] = []
        if self._steering is not None:
            known = broken or outcome in ("ended", "stopped")
            try:
                self._steering.end(outcome if known else "closed", silence_ns)
            except Exception as error:  # noqa: BLE001 - the loop's ledger
                failures.append(error)
        made: list[Finding] = []
        if self.stopped is None:  # else what was not read has no last token
            for detector in self._detectors:
                try:
                    self._add(_check_found(detector.finish() or (), detector.finish), made)
                except Exception as error:  # noqa: BLE001 - the caller's detector or callback
                    failures.append(error)
        step = Step(tuple(made)) if made else NOTHING
        if self.stopped is None and self._enforcer is not None:
            try:
                self._enforcer.finish(made, judge=outcome == "ended")
                step = self._step(self._enforcer, made, PASS)
            except Exception as error:  # noqa: BLE001 - the caller's function or callback
                failures.append(error)
        if self._recorder is not None:
            self._recorder.settle(outcome, told)
        for observer in self._attached:
            observer.close(outcome, broke)
        if failures:
            for further in failures[1:]:
                self.remember(one_line(further))
            raise failures[0]
        return step

    def remember(self, message: str) -> None:
        """Keep the message of an error for the report, if there is room."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(message)
        else:
            self._n_dropped += 1

    def report(self, outcome: str = "running", error: Exception | None = None) -> Report:
        """What is known now.

        Parameters
        ----------
        outcome : str
            Of the stream, as `Report` has it.
        error : Exception, optional
            Why it failed.

        Returns
        -------
        Report
        """
        counters = [d for d in self._detectors if isinstance(d, LoopDetector)]
        remarks = []
        if self._n_dropped:
            remarks.append(f"{self._n_dropped:,} further findings and errors are not kept")
        if self._steering is not None:
            remarks += self._steering.remarks
        metrics = self.metrics.to_dict()
        for detector in self._detectors:
            remarks += getattr(detector, "remarks", ())
        if self._beside:
            metrics["beside"] = {type(d.detector).__name__: dict(d.load) for d in self._beside}
        if self._enforcer is not None:
            remarks += self._enforcer.remarks
            metrics["denied_calls"] = self._n_denied
        if self._recorder is not None:
            remarks += self._recorder.remarks
        return Report(
            outcome,
            tuple(self.findings),
            self.stopped,
            None if error is None else one_line(error),
            tuple(self.errors),
            max((detector.n_tokens for detector in counters), default=None),
            metrics,
            tuple(remarks),
        )

    def _add(self, found: Iterable[Finding], made: list[Finding] | None) -> list[Finding]:
        """Keep findings and tell of them; those of this step so far, and these."""
        made = [] if made is None else made
        for finding in found:
            made.append(finding)
            if len(self.findings) < MAX_FINDINGS or finding.severity == "stop":
                self.findings.append(finding)
            else:
                self._n_dropped += 1
            if finding.severity == "stop" and self.stopped is None and not self._over:
                self.stopped = finding
            if self._recorder is not None and not self._recorder.closed:
                self._recorder.write_finding(finding)
            for observer in self._attached:
                observer.finding(finding)
            if self._on_finding is not None:
                self._on_finding(finding)
        return made

    def _steer(self, loop: StrangeLoop, interventions: Iterable[str] | None) -> None:
        """Begin a session of the loop: its detectors come before the caller's."""
        # Only who has a loop needs the package that it comes from.
        from midstream.stream.steering import Steering

        for detector in self._detectors:
            if isinstance(detector, (LoopDetector, StallDetector)):
                raise ArgumentValueError(
                    f"detectors: with loop=, {type(detector).__name__} is the loop's to make"
                )
        self._steering = steering = Steering(loop, self.metrics, interventions)
        self._detectors = (steering.loops, steering.stalls, *self._detectors)
        self._observers.insert(0, steering.observe)


def _check_found(found: Sequence[Finding], method: Callable[..., object]) -> Sequence[Finding]:
    """What a detector has found, which may be one of the caller's own."""
    owner = type(getattr(method, "__self__", method)).__name__
    shown = f"{owner}.{getattr(method, '__name__', 'observe')}"
    if not isinstance(found, (list, tuple)):
        raise ArgumentTypeError(
            f"{shown} must return a list or tuple of Finding, got {type(found).__name__}"
        )
    for one in found:
        if not isinstance(one, Finding):
            raise ArgumentTypeError(
                f"{shown} must return a list or tuple of Finding, got {type(one).__name__} in it"
            )
        check_choice(f"severity of a finding of {shown}", one.severity, SEVERITIES)
    return found


def _check_detectors(detectors: Iterable[Detector] | None) -> tuple[Detector, ...]:
    if detectors is None:
        return default_detectors()
    if not isinstance(detectors, Iterable):
        raise ArgumentTypeError(
            f"detectors must be an iterable of detectors, got {type(detectors).__name__}"
        )
    checked = tuple(detectors)
    for detector in checked:
        methods = (getattr(detector, name, None) for name in ("observe", "finish"))
        if isinstance(detector, type) or not all(map(callable, methods)):
            shown = detector if isinstance(detector, type) else type(detector).__name__
            raise ArgumentTypeError(f"detectors must have observe and finish, got {shown}")
        if getattr(detector, "used", False) is True:
            raise ArgumentValueError(
                f"detectors: this {type(detector).__name__} has seen another stream; make a new one"
            )
    return checked


def one_line(error: Exception) -> str:
    """An error's message, or its type where it has none."""
    text = " ".join(str(error).split())
    return text if text else type(error).__name__
