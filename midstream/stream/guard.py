"""`Guard`: what looks at events and says what may pass, without a loop, a socket or a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice
from midstream.stream.detectors import (
    Detector,
    LoopDetector,
    Offload,
    StallDetector,
    beside,
    default_detectors,
)
from midstream.stream.events import Event, Finding
from midstream.stream.metrics import Metrics
from midstream.stream.recording import Recorder
from midstream.stream.report import Report

if TYPE_CHECKING:
    from midstream.meta.loop import StrangeLoop
    from midstream.stream.steering import Steering

__all__ = ["MAX_ERRORS", "MAX_FINDINGS", "OUTCOMES", "Denial", "Guard", "Step"]

#: Findings and messages of errors that a guard keeps; a stop is always kept, the rest is counted.
MAX_FINDINGS = 1000
MAX_ERRORS = 100
#: How soon it looks again for what detectors beside the stream have found, while nothing comes.
_LOOK_NS = 100_000_000
#: How a stream can be over, as `Report.outcome` says.
OUTCOMES = ("ended", "stopped", "failed", "closed")


@dataclass(frozen=True, slots=True)
class Denial:
    """A tool call that a policy forbids.

    Parameters
    ----------
    stream_id : str
        Of the call's events: those that were held are to be dropped, those to come too.
    call_id : str or None
        The provider's id of the call, for an answer in its place.
    name : str or None
        The tool.
    finding : Finding
        Which policy, and why.
    text : str
        For the model to read in place of the tool's result: rule, reason and repair.
    """

    stream_id: str
    call_id: str | None
    name: str | None
    finding: Finding
    text: str


class Step(NamedTuple):
    """What an event led to.

    Parameters
    ----------
    findings : tuple of Finding
        In the order of detectors, then policies.
    stop : Finding or None
        The one for which the stream must be closed, after this event is handed on.
    hold : bool
        The event is a piece of a tool call that may still be denied: keep it, and hand it on when
        a later step names its `Event.stream_id` in `released`, or drop it when one denies it.
        Also True for pieces of a call that is denied already: nothing will release them.
    released : tuple of str
        Stream ids of which everything held is to be handed on now, in order. The event of this
        step comes after it.
    denied : tuple of Denial
        Calls of which everything held is to be dropped now.
    """

    findings: tuple[Finding, ...] = ()
    stop: Finding | None = None
    hold: bool = False
    released: tuple[str, ...] = ()
    denied: tuple[Denial, ...] = ()


#: What most events lead to.
NOTHING = Step()


class Guard:
    """Detectors and a recorder over one stream of events: the synchronous core of `watch`.

    Parameters
    ----------
    detectors : iterable of Detector, optional
        Default `default_detectors`; ``()`` for none. A detector belongs to one stream. One that is
        `costly` runs beside it, through an `Offload`.
    inline : bool, default False
        Run costly detectors at once, with each event: for recordings, where nothing is delayed and
        the same findings are to be made with the same event.
    recorder : Recorder, optional
        Gets every event before the detectors do. It is not closed.
    on_finding : callable, optional
        Called with each finding the moment it is made. What it raises comes out of the method that
        made the finding.
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
    metrics : Metrics
        Counts and times so far.
    errors : list of str
        Messages of ``error`` events, and of what failed besides what was raised; the first 100.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As for `watch`.

    Notes
    -----
    It owns no clock: whoever drives it tells how long the stream was silent, as `gap_ns` of the
    next event and, while nothing comes, by `expire`. Constant memory. Not thread-safe: one guard,
    one stream.

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
        *,
        inline: bool = False,
        recorder: Recorder | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        loop: StrangeLoop | None = None,
        interventions: Iterable[str] | None = None,
    ) -> None:
        self.findings: list[Finding] = []
        self.stopped: Finding | None = None
        self.metrics = Metrics()
        self.errors: list[str] = []
        checked = _check_detectors(() if loop is not None and detectors is None else detectors)
        self._detectors = beside(checked, inline=inline)
        self._beside = tuple(d for d in self._detectors if isinstance(d, Offload))
        if recorder is not None and not isinstance(recorder, Recorder):
            raise ArgumentTypeError(f"recorder must be a Recorder, got {type(recorder).__name__}")
        if on_finding is not None and not callable(on_finding):
            raise ArgumentTypeError(
                f"on_finding must be callable, got {on_finding!r} ({type(on_finding).__name__})"
            )
        self._recorder = recorder
        self._on_finding = on_finding
        self._observers = [detector.observe for detector in self._detectors]
        self._steering: Steering | None = None
        if loop is not None:
            self._steer(loop, interventions)
        elif interventions is not None:
            raise ArgumentValueError("interventions need a loop, got None")
        self._stalls = tuple(d for d in self._detectors if isinstance(d, StallDetector))
        self._last_ns = 0
        self._n_dropped = 0  # findings and errors beyond what is kept
        self._over = False

    @property
    def detectors(self) -> tuple[Detector, ...]:
        """All of them, those of a loop first."""
        return self._detectors

    @property
    def steering(self) -> Steering | None:
        """What ties the stream to its loop; None without one."""
        return self._steering

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
        Exception
            What a detector, the recorder or `on_finding` raised.
        """
        if gap_ns is None:
            gap_ns = event.t_ns - self._last_ns
        if gap_ns < 0:
            gap_ns = 0
        self._last_ns = event.t_ns
        if self._recorder is not None:
            self._recorder.write(event)
        self.metrics.take(event, gap_ns)
        if event.kind == "error":
            self.remember(event.text)
        made: list[Finding] | None = None
        for observe in self._observers:
            found = observe(event, gap_ns)
            if found:
                made = self._add(found, made)
        if made is None:
            return NOTHING
        return Step(tuple(made), self.stopped)

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
        later = [stall.limit_ns for stall in self._stalls if stall.limit_ns > waited_ns]
        if any(detector.waiting for detector in self._beside):
            later.append(waited_ns + _LOOK_NS)
        return min(later, default=None)

    def expire(self, waited_ns: int) -> Step:
        """Take note that nothing has come for so long; what that decides.

        Parameters
        ----------
        waited_ns : int
            Nanoseconds since the newest event, without time that its reader took.

        Returns
        -------
        Step
            What this silence has told already is not told again.
        """
        made: list[Finding] | None = None
        for detector in self._beside:
            made = self._add(detector.poll(), made)
        for stall in self._stalls:
            if waited_ns >= stall.limit_ns and (finding := stall.expire()) is not None:
                steering = self._steering
                made = self._add(
                    [finding] if steering is None else steering.judged([finding]), made
                )
        if not made:
            return NOTHING
        return Step(tuple(made), self.stopped)

    def finish(self, outcome: str = "ended", *, broken: bool = False, silence_ns: int = 0) -> Step:
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

        Returns
        -------
        Step
            What only the end decides. Nothing is stopped any more. Asked again: nothing.

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
                    self._add(detector.finish(), made)
                except Exception as error:  # noqa: BLE001 - the caller's detector or callback
                    failures.append(error)
        if failures:
            for further in failures[1:]:
                self.remember(one_line(further))
            raise failures[0]
        return Step(tuple(made)) if made else NOTHING

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
