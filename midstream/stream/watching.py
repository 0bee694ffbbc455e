"""`watch`: events pass through untouched while detectors look on, and a stop closes the source."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

from midstream._core.clock import NS_PER_S, monotonic_ns, s_from_ns
from midstream._core.errors import ArgumentValueError
from midstream.stream.closing import AsyncClosing
from midstream.stream.detectors import Detector
from midstream.stream.events import Denial, Event, Finding
from midstream.stream.guard import NOTHING, Guard, Step, one_line
from midstream.stream.metrics import Metrics
from midstream.stream.recording import Recorder
from midstream.stream.report import Report
from midstream.stream.sources import Source, check_readable, from_iterable

if TYPE_CHECKING:
    from midstream.logic import Obligation
    from midstream.meta.loop import StrangeLoop
    from midstream.stream.guard import StreamObserver
    from midstream.stream.policies import PoliciesLike

__all__ = ["Watch", "watch"]


def watch(
    source: Source | AsyncIterable[Any] | Iterable[Any],
    *,
    detectors: Iterable[Detector] | None = None,
    policies: PoliciesLike = (),
    history: Iterable[Event] = (),
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
        Default `default_detectors`; ``()`` for none. A detector belongs to one watch. One that is
        `costly` runs beside a live stream, through an `Offload`.
    policies : Policy, PolicySet, PolicyFile, path, name, or iterable of them
        Rules that the stream must keep: policies, TOML files of rules, names of ready rules.
    history : iterable of Event, optional
        What happened before, as `Guard.recall` takes it: calls and results of the conversation
        that the stream continues.
    recorder : Recorder, optional
        Gets every event of the source before the detectors do, every finding, and how the stream
        ended. It is not closed. Where its file cannot be written the stream goes on, and the report
        says so.
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

    Pieces of a tool call that a policy may still deny are kept back until its verdict falls, while
    other events pass. They are then handed out in order or, where it is denied, dropped: in their
    place comes one event of kind ``error``, with the tool's `name`, `stream_id` and `call_id`, as
    `text` what to tell the model, and the `Denial` as `data`. The stream goes on. An event that is
    itself forbidden (a result, or a piece of text with which a forbidden text begins or a forbidden
    pattern is complete) is dropped, and the stream stopped. No other event is
    changed, kept back or added.

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
    >>> from midstream.stream import Event, Policy
    >>> call = Event("tool_call", 0, 0, '{"table": ', "drop_table", None, "0/0", "call_1")
    >>> no_drops = Policy("no drops", "G !drop", {"drop": {"tool": "drop_*"}})
    >>> async def tools():
    ...     return [event async for event in watch([call], policies=no_drops)]
    >>> [(event.kind, event.name, event.text) for event in asyncio.run(tools())]
    [('error', 'drop_table', "This call was denied by the rule 'no drops': the call of drop_table \
breaks G !drop.")]
    """
    return Watch(
        source,
        detectors=detectors,
        policies=policies,
        history=history,
        recorder=recorder,
        on_finding=on_finding,
        loop=loop,
        interventions=interventions,
    )


class Watch(AsyncClosing):
    """An async iterator of events, and what was found in them. Made by `watch`.

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
        policies: PoliciesLike = (),
        history: Iterable[Event] = (),
        recorder: Recorder | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        loop: StrangeLoop | None = None,
        interventions: Iterable[str] | None = None,
    ) -> None:
        # The source first: a loop's session begins with the guard, and must have a stream.
        self._source = source if isinstance(source, Source) else _check_source(source)
        self._guard = Guard(
            detectors,
            policies,
            recorder,
            on_finding,
            inline=not self._source.live,
            loop=loop,
            interventions=interventions,
        )
        self._steering = self._guard.steering
        self._guard.recall(history)
        self._held: dict[str, list[Event]] = {}
        self._ready: deque[Event] = deque()
        self._late: Exception | None = None
        self._outcome = "running"
        self._error: Exception | None = None
        self._last_ns = 0
        self._left_ns = 0
        self._alarm = _Alarm(self) if self._source.live else None

    @property
    def findings(self) -> list[Finding]:
        """In order, the first 1,000 and a stop."""
        return self._guard.findings

    @property
    def stopped(self) -> Finding | None:
        """The finding that closed the source."""
        return self._guard.stopped

    @property
    def denied(self) -> list[Denial]:
        """Tool calls that were denied, in order, the first 1,000."""
        return self._guard.denied

    @property
    def open_obligations(self) -> list[Obligation]:
        """What policies are owed: rules that would be broken if the run ended now."""
        return self._guard.open_obligations

    @property
    def metrics(self) -> Metrics:
        """Counts and times so far."""
        return self._guard.metrics

    def attach(self, observer: StreamObserver) -> None:
        """Have somebody told of all that happens, as `Guard.attach` does.

        Parameters
        ----------
        observer : StreamObserver

        Raises
        ------
        ArgumentTypeError, RefusedError
            As there.
        """
        self._guard.attach(observer)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._outcome != "running":
                if self._late is not None:
                    error, self._late = self._late, None
                    raise error
                raise StopAsyncIteration
            event = await self._next()
            if event is not None:
                return event
        return self._ready.popleft()

    async def _next(self) -> Event | None:
        """Take the next event; what is to be handed out, if it is that and nothing else."""
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
            return None
        except Exception as error:
            self._error = error
            self._end("failed", broken=True)
            await self._settle()
            if not self._ready:
                raise
            self._late = error  # after what was kept back, and is to pass
            return None
        except BaseException:  # cancelled: the source has closed itself
            self._end("closed")
            raise
        if alarm is not None:
            alarm.waiting_since_ns = 0
        try:
            step = self._take(event, held_ns)
        except Exception as error:
            # The caller's own detector, recorder or callback failed; the stream did not.
            self._error = error
            self._end("failed")
            await self._close()
            raise
        passed: Event | None = event
        if step is not NOTHING:
            self._arrange(step, event)
            passed = None
        if step.stop is not None:
            failure = self._end("stopped")
            await self._close()
            if failure is not None:
                raise failure
            if self._steering is not None:
                self._steering.work()
        if alarm is not None:
            self._left_ns = monotonic_ns()
        return passed

    def _arrange(self, step: Step, event: Event | None = None) -> None:
        """Put in order what a step lets pass: held pieces, denials, the event itself."""
        ready, held = self._ready, self._held
        for stream_id in step.released:
            ready.extend(held.pop(stream_id, ()))
        for denial in step.denied:
            held.pop(denial.stream_id, None)
            finding = denial.finding
            ready.append(
                Event(
                    "error",
                    finding.seq,
                    finding.t_ns,
                    denial.text,
                    denial.name,
                    denial,
                    denial.stream_id,
                    denial.call_id,
                )
            )
        if event is not None and not step.dropped:
            if step.hold:
                held.setdefault(event.stream_id, []).append(event)
            else:
                ready.append(event)

    async def aclose(self) -> None:
        """Close the source now. Safe to repeat.

        Raises
        ------
        Exception
            What closing the source raised, else what a callback raised about the last findings;
            the source is closed by then.
        """
        failure = self._end("closed") if self._outcome == "running" else None
        self._ready.clear()
        self._late = None
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
        return self._guard.report(self._outcome, self._error)

    def _take(self, event: Event, held_ns: int) -> Step:
        gap_ns = event.t_ns - self._last_ns - held_ns
        self._last_ns = event.t_ns
        return self._guard.take(event, gap_ns)

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
        alarm = self._alarm
        silence_ns = 0
        if alarm is not None:
            if alarm.waiting_since_ns:
                silence_ns = monotonic_ns() - alarm.waiting_since_ns
            alarm.cancel()
        try:
            self._arrange(
                self._guard.finish(outcome, broken=broken, silence_ns=silence_ns, error=self._error)
            )
        except Exception as error:  # noqa: BLE001 - handed to the caller, once all is shut
            if self._error is None:
                self._error = error
                self._outcome = "failed"
                return error
            self._guard.remember(one_line(error))
        return None

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
            self._guard.remember(f"closing the source: {one_line(error)}")


class _Alarm:
    """Tells the guard of a live watch about silence while it lasts.

    One timer that looks once a second, or sooner where a limit falls due: events cost no timer.
    """

    def __init__(self, watch: Watch) -> None:
        # The loop holds the timer: a watch that was dropped must not live on in it.
        self._watch = weakref.ref(watch)
        self._guard = watch._guard
        self._minds_silence = watch._guard.minds_silence
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self.waiting_since_ns = 0
        self.failure: Exception | None = None

    def arm(self, now_ns: int) -> None:
        """The watch begins to wait."""
        self.waiting_since_ns = now_ns
        # Whether anything is due now is not asked: that costs a microsecond with each event.
        if self._timer is None and self._minds_silence:
            self._set(0)

    def cancel(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, waited_ns: int) -> None:
        due_ns = self._guard.due_ns(waited_ns)
        delay_ns = NS_PER_S if due_ns is None else min(NS_PER_S, due_ns - waited_ns)
        self._timer = asyncio.get_running_loop().call_later(s_from_ns(delay_ns), self._fire)

    def _fire(self) -> None:
        self._timer = None
        watch = self._watch()
        if watch is None or not self.waiting_since_ns:
            return  # the next wait sets it again
        waited_ns = monotonic_ns() - self.waiting_since_ns
        try:
            self._guard.expire(waited_ns)
        except Exception as error:  # noqa: BLE001 - the callback's; the watch raises it
            self.failure = error
        if watch.stopped is None and self.failure is None:
            self._set(waited_ns)
        else:  # whoever waits for the next event sees the end of the iteration
            self._closing = asyncio.get_running_loop().create_task(watch._close())


def _check_source(source: Any) -> Source:
    if not isinstance(source, (str, bytes, bytearray, dict)):
        check_readable("source", source, "iterable or async iterable")
    return from_iterable(source)
