"""`Books`: what is kept of a session for its report, over all responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from midstream.stream.events import Event, Finding
from midstream.stream.guard import MAX_ERRORS, MAX_FINDINGS, Guard, Step, one_line
from midstream.stream.metrics import Metrics
from midstream.stream.realtime.counting import sum_up
from midstream.stream.report import Report

if TYPE_CHECKING:
    from midstream.stream.recording import Recorder

__all__ = ["Books"]


class Books:
    """Counts, findings and errors of a session, and its recording.

    Parameters
    ----------
    recorder : Recorder or None
    on_finding : callable or None

    Attributes
    ----------
    findings, stops : list of Finding
        The first 1,000 and all stops; the first 1,000 of those that ended a response.
    n_responses, n_tool_runs : int
    last_ns : int
        Time of the newest event.
    """

    def __init__(
        self, recorder: Recorder | None, on_finding: Callable[[Finding], object] | None
    ) -> None:
        self.findings: list[Finding] = []
        self.stops: list[Finding] = []
        self.n_responses = self.n_tool_runs = 0
        self.last_ns = 0
        self._recorder = recorder
        self._on_finding = on_finding
        self._metrics = Metrics()
        self._errors: list[str] = []
        self._usage: dict[str, Any] = {}
        self._n_denied = self._n_dropped = 0
        self._n_tokens: int | None = None
        self._remarks: dict[str, None] = {}

    def take(self, event: Event) -> None:
        """Count and record an event."""
        if self._recorder is not None:
            self._recorder.write(event)
        self._metrics.take(event, max(0, event.t_ns - self.last_ns))
        self.last_ns = event.t_ns
        if event.kind == "error":
            if len(self._errors) < MAX_ERRORS:
                self._errors.append(event.text)
            else:
                self._n_dropped += 1
        elif event.kind == "usage" and isinstance(event.data, dict):
            sum_up(self._usage, event.data.get("usage"))
            self._metrics.usage = self._usage

    def found(self, finding: Finding) -> None:
        """Keep a finding, and tell of it."""
        if len(self.findings) < MAX_FINDINGS or finding.severity == "stop":
            self.findings.append(finding)
        else:
            self._n_dropped += 1
        if self._recorder is not None and not self._recorder.closed:
            self._recorder.write_finding(finding)
        if self._on_finding is not None:
            self._on_finding(finding)

    def stop(self, finding: Finding) -> None:
        """Keep a finding that ended a response."""
        if len(self.stops) < MAX_FINDINGS:
            self.stops.append(finding)

    def finish(self, guard: Guard, outcome: str) -> Step:
        """Let the guard of a response know that it is over, and keep what it says."""
        step = guard.finish(outcome)
        self._n_denied += len(guard.denied)
        report = guard.report(outcome)
        if report.tokens is not None:
            self._n_tokens = (self._n_tokens or 0) + report.tokens
        for remark in report.remarks:
            if len(self._remarks) < MAX_ERRORS:
                self._remarks[remark] = None
        return step

    def settle(self, outcome: str, error: Exception | None) -> None:
        """Tell the recording how it ended."""
        if self._recorder is not None and not self._recorder.closed:
            self._recorder.settle(outcome, None if error is None else one_line(error))

    def report(
        self, outcome: str, error: Exception | None, guards: Iterable[Guard], forgotten: int
    ) -> Report:
        """What is known now.

        Parameters
        ----------
        outcome, error
            As `Guard.report` takes them.
        guards : iterable of Guard
            Of responses that are coming.
        forgotten : int
            Items of the conversation that are not kept.
        """
        tokens = self._n_tokens
        n_denied = self._n_denied
        for guard in guards:
            now = guard.report().tokens
            tokens = tokens if now is None else (tokens or 0) + now
            n_denied += len(guard.denied)
        metrics = self._metrics.to_dict()
        metrics |= {"responses": self.n_responses, "denied_calls": n_denied}
        metrics |= {"stopped_responses": len(self.stops), "tool_runs": self.n_tool_runs}
        remarks = list(self._remarks)
        if self._n_dropped:
            remarks.append(f"{self._n_dropped:,} further findings and errors are not kept")
        if forgotten:
            remarks.append(f"{forgotten:,} items of the conversation are not kept")
        if self._recorder is not None:
            remarks += self._recorder.remarks
        return Report(
            outcome,
            tuple(self.findings),
            self.stops[0] if self.stops else None,
            None if error is None else one_line(error),
            tuple(self._errors),
            tokens,
            metrics,
            tuple(remarks),
        )
