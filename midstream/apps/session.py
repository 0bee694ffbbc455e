"""One watch from its beginning to the exit status: signals, failures, the report."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from midstream.apps.output import Interrupted, Output, OutputFailed, tell_error
from midstream.apps.show import Show
from midstream.errors import MidstreamError, RecordingError
from midstream.stream import Detector, Finding, Recorder, Report, Source, watch

if TYPE_CHECKING:
    from midstream.stream.policies import PoliciesLike

__all__ = ["FAILED", "FOUND", "NOTHING", "Signals", "exit_status", "follow"]

#: Exit statuses; 2 is a usage error, 128 + n a signal.
NOTHING, FOUND, FAILED = 0, 1, 3


def follow(
    source: Source,
    show: Show,
    *,
    detectors: Iterable[Detector] = (),
    policies: PoliciesLike = (),
    recorder: Recorder | None = None,
    context: Mapping[str, Any] | None = None,
    report_later: bool = False,
) -> tuple[Report, int]:
    """Watch a source to its end and show it.

    SIGINT and SIGTERM close the source, and the report follows; a second one ends the program.

    Parameters
    ----------
    source : Source
    show : Show
    detectors : iterable of Detector
    policies : as `watch` takes them
    recorder : Recorder, optional
        Gets the events. It is closed, and a new file without any event is removed again.
    context : mapping, optional
        Joins the report.
    report_later : bool, default False
        Leave the report to the caller, unless the source failed or a signal came.

    Returns
    -------
    report : Report
    status : int
        For the exit of the program.

    Raises
    ------
    OutputClosed, OutputFailed
        Standard output could not be written; the source is closed.
    """
    failure: MidstreamError | None = None
    with Signals(show.outputs) as signals:

        def found(finding: Finding) -> None:
            try:
                show.finding(finding)
            except Interrupted:  # perhaps in a callback of the event loop, which would log it
                signals.cancel()

        guard = watch(
            source, detectors=detectors, policies=policies, recorder=recorder, on_finding=found
        )

        async def run() -> None:
            signals.watch_task()
            async with guard:
                async for event in guard:
                    show.event(event)

        try:
            asyncio.run(run())
        except OutputFailed:
            raise
        except MidstreamError as error:
            failure = error
        except (asyncio.CancelledError, Interrupted):
            if not signals.number:
                raise
        finally:
            if recorder is not None:
                began = recorder.next_seq == guard.metrics.events  # not resumed
                try:
                    recorder.close()
                except MidstreamError as error:
                    failure = failure or error
                if failure is not None and not guard.metrics.events and began:
                    _remove(recorder.path)
        signals.allow_output()
        report = guard.report()
        # What failed before anything came has nothing to report, but programs want their last line.
        worth_telling = failure is None or guard.metrics.events or not show.for_people
        if worth_telling and not (report_later and failure is None and not signals.number):
            with contextlib.suppress(Interrupted):
                show.report(report, context)
        if failure is not None:
            hint = ""
            known = isinstance(failure.__cause__, OSError) or guard.metrics.events
            if isinstance(failure, RecordingError) and not known:
                hint = "; what is no recording is watched with --format sse, ndjson or text"
            tell_error(f"{failure}{hint}")
        status = 128 + signals.number if signals.number else exit_status(report)
        if status in (NOTHING, FOUND) and report.stopped is None and recorder is not None:
            status = FAILED if recorder.lost or failure is not None else status
    return report, status


def exit_status(report: Report) -> int:
    """Exit status that an outcome asks for.

    A stop is what the watch was for, so it outdoes a failure; a failure, or an error that the
    stream itself carried, outdoes a warning, since what came is not all there is.
    """
    if report.stopped is not None:
        return FOUND
    if report.outcome == "failed" or report.errors:
        return FAILED
    return FOUND if report.worst in ("warn", "block", "stop") else NOTHING


def _remove(path: Path) -> None:
    """Remove a recording without events, which would be in the way of the next attempt."""
    if path.is_file():  # no device
        with contextlib.suppress(OSError):
            path.unlink()


class Signals:
    """Turns SIGINT and SIGTERM into an orderly end while it is entered."""

    def __init__(self, outputs: Iterable[Output]) -> None:
        self.number = 0
        self._over = False
        self._outputs = tuple(outputs)
        self._old: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def watch_task(self) -> None:
        """Cancel the current task when a signal comes."""
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            # What nohup or a shell's background job ignores stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)

    def allow_output(self) -> None:
        """Let the report be written, whatever signal came."""
        self._over = True
        for output in self._outputs:
            output.signalled = 0

    def cancel(self) -> None:
        """Cancel the task at its next wait."""
        if self._loop is not None and self._task is not None and not self._task.done():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for mine in self._old:
            signal.signal(mine, signal.SIG_DFL)  # whoever asks twice does not want to wait
        if not self._over:
            for output in self._outputs:
                output.signalled = number
        if self._task is None or any(output.blocked for output in self._outputs):
            raise Interrupted(number)  # the event loop takes no note as long as nobody reads
        self.cancel()
