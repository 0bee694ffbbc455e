"""`watch`: events pass through untouched while detectors look on, and a stop closes the source."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

from midstream._core.clock import NS_PER_S, monotonic_ns, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.closing import AsyncClosing
from midstream.stream.detectors import Detector, LoopDetector, StallDetector
from midstream.stream.events import Event, Finding
from midstream.stream.metrics import Metrics
from midstream.stream.recording import Recorder
from midstream.stream.report import Report
from midstream.stream.sources import Source, from_iterable

if TYPE_CHECKING:
    from midstream.meta.loop import StrangeLoop
    from midstream.stream.steering import Steering

__all__ = ["MAX_ERRORS", "MAX_FINDINGS", "Watch", "watch"]

#: Findings and messages of errors that a watch keeps; a stop is always kept, the rest is counted.
MAX_FINDINGS = 1000
MAX_ERRORS = 100


def watch(
    source: Source | AsyncIterable[Any] | Iterable[Any],
    *,
    detectors: Iterable[Detector] | None = None,
    recorder: Recorder | None = None,
    on_finding: Callable[[Finding], object] | None = None,
    loop: StrangeLoop | None = None,
    interventions: Iterable[str] | None = None,
) -> Watch:
    """Watch a stream: an async iterator of the same events, in order, at once.

    Parameters
    ----------
    source : Source, or iterable or async iterable of Event, str or bytes
        What to watch; what is no `Source` goes through `from_iterable`.
    detectors : iterable of Detector, optional
        Default ``(LoopDetector(), StallDetector())``; ``()`` for none. A detector belongs to one
        watch.
    recorder : Recorder, optional
        Gets every event before the detectors do. It is not closed.
    on_finding : callable, optional
        Called with each finding the moment it is made, also while no event comes. What it raises
        ends the watch.
    loop : StrangeLoop, optional
        Over the knobs of `watch_params`, with a `StreamLoss` as its evaluator. It says how this
        stream is watched (`detectors` are then further ones, none of the two default types), is
        asked what to do about each certain loop and each stall that would stop the stream, and
        learns from how it went.
    interventions : iterable of str, optional
        With `loop`: what you can do about them, of the loop's actions; by default all of those.
        ``"continue"`` lets the stream flow and is always possible; any other closes it, and
        `Watch.intervention` says which it was, for you to act on.

    Returns
    -------
    Watch

    Raises
    ------
    ArgumentTypeError
        `source` cannot be iterated, a detector has no ``observe`` and ``finish``, or `loop` is no
        strange loop for streams.
    ArgumentValueError
        `detectors` holds a `LoopDetector` or `StallDetector` beside a `loop`, or an intervention is
        not known.

    Notes
    -----
    The event that decides a stop is still handed out; then the iteration ends, with the source
    closed before. Errors of the source come through after all that had arrived; `Watch.report`
    is there in any case.

    With a `loop`, a stream that ends or breaks by itself is settled before the iteration ends. One
    that was stopped is settled when you tell its `Watch.outcome`: nobody else knows whether what
    would have come was worth having. What is closed or cancelled counts as unknown, and where
    the stream is audited as the worst for settings on trial. An event costs 0.3 microseconds more
    than without, and each stream some 10 microseconds an event in a worker thread when it is over;
    better settings are looked for in a further one.

    A ledger that cannot be written breaks off no stream: the detectors act alone, and the report
    says why.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     guard = watch(["One moment. "] + ["I will try that again. "] * 1000)
    ...     async for event in guard:
    ...         pass
    ...     return guard
    >>> guard = asyncio.run(main())
    >>> guard.stopped.kind, guard.report().metrics["chunks"]
    ('loop', 11)
    """
    return Watch(
        source,
        detectors=detectors,
        recorder=recorder,
        on_finding=on_finding,
        loop=loop,
        interventions=interventions,
    )


class Watch(AsyncClosing):
    """An async iterator of events, and what was found in them. Made by `watch`.

    Attributes
    ----------
    findings : list of Finding
        In order, the first 1,000 and a stop; `on_finding` gets them all.
    stopped : Finding or None
        The finding that closed the source.
    metrics : Metrics
        Counts and times so far.

    Notes
    -----
    One task at a time may iterate. A few microseconds an event with the default detectors, and
    constant memory.
    """

    def __init__(
        self,
        source: Source | AsyncIterable[Any] | Iterable[Any],
        *,
        detectors: Iterable[Detector] | None = None,
        recorder: Recorder | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        loop: StrangeLoop | None = None,
        interventions: Iterable[str] | None = None,
    ) -> None:
        self.findings: list[Finding] = []
        self.stopped: Finding | None = None
        self.metrics = Metrics()
        more = () if loop is not None and detectors is None else detectors
        self._detectors = _check_detectors(more)
        if recorder is not None and not isinstance(recorder, Recorder):
            raise ArgumentTypeError(f"recorder must be a Recorder, got {type(recorder).__name__}")
        if on_finding is not None and not callable(on_finding):
            raise ArgumentTypeError(
                f"on_finding must be callable, got {on_finding!r} ({type(on_finding).__name__})"
            )
        self._source = source if isinstance(source, Source) else _check_source(source)
        self._observers = [detector.observe for detector in self._detectors]
        self._steering: Steering | None = None
        if loop is not None:
            self._steer(loop, interventions)
        elif interventions is not None:
            raise ArgumentValueError("interventions need a loop, got None")
        self._recorder = recorder
        self._on_finding = on_finding
        self._outcome = "running"
        self._error: Exception | None = None
        self._errors: list[str] = []
        self._n_dropped = 0  # findings and errors beyond what is kept
        self._last_ns = 0
        self._live = self._source.live
        self._left_ns = 0
        self._alarm = _Alarm(self) if self._live else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._outcome != "running":
            raise StopAsyncIteration
        held_ns = 0
        alarm = self._alarm
        if alarm is not None:
            now_ns = monotonic_ns()
            if self._left_ns:
                held_ns = now_ns - self._left_ns  # the caller's time is not the stream's silence
            alarm.arm(now_ns)
        try:
            event = await self._source.__anext__()
        except StopAsyncIteration:
            if self._outcome == "running":  # else another task closed the watch meanwhile
                try:
                    self._over()
                finally:
                    await self._settle()
            raise
        except Exception as error:
            self._error = error
            self._end("failed", broken=True)
            await self._settle()
            raise
        except BaseException:  # cancelled: the source has closed itself
            self._end("closed")
            raise
        if alarm is not None:
            alarm.waiting_since_ns = 0
        try:
            self._take(event, held_ns)
        except Exception as error:
            # The caller's own detector, recorder or callback failed; the stream did not.
            self._error = error
            self._end("failed")
            await self._close()
            raise
        if self.stopped is not None:
            failure = self._end("stopped")
            await self._close()
            if failure is not None:
                raise failure
            if self._steering is not None:
                self._steering.work()
        if alarm is not None:
            self._left_ns = monotonic_ns()
        return event

    async def aclose(self) -> None:
        """Close the source now. Safe to repeat.

        Raises
        ------
        Exception
            What closing the source raised, else what a callback raised about the last findings;
            the source is closed by then.
        """
        failure = self._end("closed") if self._outcome == "running" else None
        await self._source.aclose()
        if failure is not None:
            raise failure

    @property
    def intervention(self) -> str | None:
        """What the loop chose to do about `stopped`, of `interventions`; None without either."""
        return None if self._steering is None else self._steering.intervention

    def outcome(
        self,
        *,
        stop_was_wrong: bool | None = None,
        useful_chars: int | None = None,
        reward: float | None = None,
    ) -> None:
        """Tell the loop what came of a stop, once.

        Parameters
        ----------
        stop_was_wrong : bool, optional
            Whether what would have come was worth having.
        useful_chars : int, optional
            How many characters were, of all texts of the stream; more than came if it was wrong.
            Where it is not given, the text is judged by itself, as `StreamRecord` says.
        reward : float, optional
            How well the intervention worked, in [0, 1]; by default 1 less the loss of the stream.
            Needed for all but ``"abort"``, whose success only you can see.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            All are None, or one is not as described, or the watch has no loop.
        RefusedError
            The stream is not over, or settled: it ended by itself, or the outcome was told before.

        Notes
        -----
        Some milliseconds; from a thread where that matters to your event loop.
        """
        if self._steering is None:
            raise ArgumentValueError("outcome is for a watch with a loop, this one has none")
        self._steering.outcome(
            stop_was_wrong=stop_was_wrong, useful_chars=useful_chars, reward=reward
        )

    def report(self) -> Report:
        """What is known now; the last word once the iteration is over.

        Returns
        -------
        Report
        """
        counters = [d for d in self._detectors if isinstance(d, LoopDetector)]
        remarks = []
        if self._n_dropped:
            remarks.append(f"{self._n_dropped:,} further findings and errors are not kept")
        shrunk = sum(detector.shrunk for detector in counters)
        evicted = sum(detector.evicted for detector in counters)
        if shrunk:
            remarks.append(f"memory limit: longest period of a text halved {shrunk:,} times")
        if self._steering is not None:
            remarks += self._steering.remarks
        if evicted:
            remarks.append(f"memory limit: a text's past forgotten {evicted:,} times")
        return Report(
            self._outcome,
            tuple(self.findings),
            self.stopped,
            None if self._error is None else _one_line(self._error),
            tuple(self._errors),
            max((detector.n_tokens for detector in counters), default=None),
            self.metrics.to_dict(),
            tuple(remarks),
        )

    def _take(self, event: Event, held_ns: int) -> None:
        if self._recorder is not None:
            self._recorder.write(event)
        gap_ns = event.t_ns - self._last_ns - held_ns
        if gap_ns < 0:
            gap_ns = 0
        self._last_ns = event.t_ns
        self.metrics.take(event, gap_ns)
        if event.kind == "error":
            self._remember_error(event.text)
        for observe in self._observers:
            found = observe(event, gap_ns)
            if found:
                self._add(found)

    def _add(self, found: Iterable[Finding]) -> None:
        for finding in found:
            if len(self.findings) < MAX_FINDINGS or finding.severity == "stop":
                self.findings.append(finding)
            else:
                self._n_dropped += 1
            if finding.severity == "stop" and self.stopped is None and self._outcome == "running":
                self.stopped = finding
            if self._on_finding is not None:
                self._on_finding(finding)

    def _remember_error(self, text: str) -> None:
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(text)
        else:
            self._n_dropped += 1

    def _over(self) -> None:
        """The source says that it is over: by itself, or because the alarm closed it."""
        failure = None if self._alarm is None else self._alarm.failure
        if failure is not None:
            self._error = failure
            self._end("failed")
        else:
            failure = self._end("ended" if self.stopped is None else "stopped")
        if failure is not None:
            raise failure

    def _end(self, outcome: str, *, broken: bool = False) -> Exception | None:
        """Settle the outcome; return what failed in this, for the caller to raise once all is shut.

        Where something had failed before, that is what counts, and this is told in the report.
        `broken`: it was the source that failed.
        """
        self._outcome = outcome
        failures: list[Exception] = []
        if self._steering is not None:
            waiting_since_ns = 0 if self._alarm is None else self._alarm.waiting_since_ns
            silence_ns = monotonic_ns() - waiting_since_ns if waiting_since_ns else 0
            known = broken or outcome in ("ended", "stopped")
            try:
                self._steering.end(outcome if known else "closed", silence_ns)
            except Exception as error:  # noqa: BLE001 - the loop's ledger
                failures.append(error)
        if self._alarm is not None:
            self._alarm.cancel()
        if self.stopped is None:  # else what was not read has no last token
            for detector in self._detectors:
                try:
                    self._add(detector.finish())
                except Exception as error:  # noqa: BLE001 - the caller's detector or callback
                    failures.append(error)
        failure: Exception | None = None
        for one in failures:
            if self._error is not None:
                self._remember_error(_one_line(one))
                continue
            self._error = failure = one
            self._outcome = "failed"
        return failure

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

    async def _settle(self) -> None:
        """Let the loop learn, beside the event loop."""
        if self._steering is not None:
            await asyncio.to_thread(self._steering.settle)
            self._steering.work()

    async def _close(self) -> None:
        """Close the source where its failure to close must not hide why it was closed."""
        try:
            await self._source.aclose()
        except Exception as error:  # noqa: BLE001 - told in the report
            self._remember_error(f"closing the source: {_one_line(error)}")


class _Alarm:
    """Tells the stall detectors of a live watch about silence while it lasts.

    One timer that looks once a second, or sooner where a limit falls due: events cost no timer.
    """

    def __init__(self, watch: Watch) -> None:
        # The loop holds the timer: a watch that was dropped must not live on in it.
        self._watch = weakref.ref(watch)
        self._stalls = tuple(d for d in watch._detectors if isinstance(d, StallDetector))
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self.waiting_since_ns = 0
        self.failure: Exception | None = None

    def arm(self, now_ns: int) -> None:
        """The watch begins to wait."""
        self.waiting_since_ns = now_ns
        if self._timer is None and self._stalls:
            self._set(0)

    def cancel(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, waited_ns: int) -> None:
        due_ns = [s.limit_ns - waited_ns for s in self._stalls if s.limit_ns > waited_ns]
        delay_ns = min(NS_PER_S, *due_ns) if due_ns else NS_PER_S
        self._timer = asyncio.get_running_loop().call_later(s_from_ns(delay_ns), self._fire)

    def _fire(self) -> None:
        self._timer = None
        watch = self._watch()
        if watch is None or not self.waiting_since_ns:
            return  # the next wait sets it again
        waited_ns = monotonic_ns() - self.waiting_since_ns
        try:
            for stall in self._stalls:
                if waited_ns >= stall.limit_ns and (finding := stall.expire()) is not None:
                    steering = watch._steering
                    watch._add([finding] if steering is None else steering.judged([finding]))
        except Exception as error:  # noqa: BLE001 - the callback's; the watch raises it
            self.failure = error
        if watch.stopped is None and self.failure is None:
            self._set(waited_ns)
        else:  # whoever waits for the next event sees the end of the iteration
            self._closing = asyncio.get_running_loop().create_task(watch._close())


def _check_source(source: Any) -> Source:
    if not any(hasattr(source, name) for name in ("__aiter__", "__anext__", "__iter__")):
        raise ArgumentTypeError(
            f"source must be iterable or async iterable, got {type(source).__name__}"
        )
    return from_iterable(source)


def _check_detectors(detectors: Iterable[Detector] | None) -> tuple[Detector, ...]:
    if detectors is None:
        return LoopDetector(), StallDetector()
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
        if isinstance(detector, (LoopDetector, StallDetector)) and detector.used:
            raise ArgumentValueError(
                f"detectors: this {type(detector).__name__} has seen another stream; make a new one"
            )
    return checked


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text else type(error).__name__
