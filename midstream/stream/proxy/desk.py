"""`Desk`: what all streams of one proxy share: their rules, their recordings, their counters."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from midstream._core.errors import ArgumentValueError, RecordingError
from midstream._core.validate import check_callback, check_path
from midstream.stream.proxy.counting import ProxyMetrics
from midstream.stream.proxy.exchanges import Guarding
from midstream.stream.proxy.rewriting import rule_of

if TYPE_CHECKING:
    from midstream.stream.events import Finding
    from midstream.stream.guard import Denial, Guard, StreamObserver
    from midstream.stream.proxy.limits import ProxyLimits
    from midstream.stream.proxy.routes import Route
    from midstream.stream.recording import Recorder, RecordingsFolder

__all__ = ["Desk", "new_id"]

#: What is told of recordings is told by the proxy.
logger = logging.getLogger("midstream.stream.proxy.application")


class Desk:
    """What judges, records and counts the streams of one proxy.

    Parameters
    ----------
    guarding : Guarding
    recordings : path, optional
    redact : bool
    on_finding, observe : callable, optional
        As for `Proxy`.

    Attributes
    ----------
    guarding : Guarding
        Of streams that begin from now on; may be set.
    metrics : ProxyMetrics

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    """

    def __init__(
        self,
        guarding: Guarding,
        *,
        recordings: str | os.PathLike[str] | None,
        redact: bool,
        on_finding: Callable[[str, Finding], object] | None,
        observe: Callable[[str, str, Guard], StreamObserver] | None,
    ) -> None:
        self.guarding = guarding
        if on_finding is not None:
            check_callback("on_finding", on_finding)
        if observe is not None:
            check_callback("observe", observe)
        self._observe = observe
        self._on_finding = on_finding
        self._redact = bool(redact)
        self._folder: RecordingsFolder | None = None
        if recordings is not None:
            self._folder = _folder(check_path("recordings", recordings), guarding.limits)
        #: Why a recording is not whole, the last time that one was not.
        self._lost = ""
        self.metrics = ProxyMetrics()

    def guard(self, request_id: str, route: Route, recorder: Recorder | None) -> Guard:
        """Make what looks at one stream."""

        def found(finding: Finding) -> None:
            self.metrics.verdict(rule_of(finding), finding.severity)
            if self._on_finding is not None:
                self._on_finding(request_id, finding)

        guard = self.guarding.guard(recorder=recorder, on_finding=found)
        if self._observe is not None:
            guard.attach(self._observe(request_id, route.api, guard))
        return guard

    def recorder(self, request_id: str, route: Route) -> Recorder | None:
        """Begin a recording, where there is a folder for it."""
        if self._folder is None:
            return None
        from midstream.stream.redaction import Redactor

        try:
            return self._folder.recorder(
                f"{request_id}.jsonl",
                source=f"proxy: {route.api}",
                redactor=Redactor if self._redact else None,
            )
        except RecordingError as error:  # the stream matters more
            self._unrecorded(error)
            return None

    def close_recorder(self, recorder: Recorder) -> None:
        """End a recording; what nothing was written to goes."""
        recorder.close()
        if recorder.lost:
            self._unrecorded(recorder.failure)
        elif not recorder.next_seq and self._folder is not None:  # an error's, or nobody's
            with contextlib.suppress(RecordingError):
                self._folder.remove(recorder.path.name)

    def failed(self, reason: str) -> None:
        """Count a stream that ended otherwise than it should."""
        self.metrics.failures[reason,] += 1

    def tally(
        self, api: str, guard: Guard, denied: Iterable[Denial], stopped: Finding | None
    ) -> None:
        """Put what a stream came to into the counters."""
        metrics = self.metrics
        for kind, count in guard.metrics.events_by_kind.items():
            metrics.chunks[api, kind] += count
        for denial in denied:
            metrics.denied[rule_of(denial.finding),] += 1
        if stopped is not None:
            metrics.stops[rule_of(stopped),] += 1
            if guard.metrics.usage is None:
                metrics.tokens[api,] += guard.metrics.chars // 4

    def _unrecorded(self, error: RecordingError | None) -> None:
        """Count a recording that is not whole, and log why, once until the reason changes."""
        self.failed("recording")
        why = "an unknown cause" if error is None else str(error)
        if error is not None and error.place:  # the file, which is another each time
            why = why.removeprefix(f"{error.place}: ")
        if why != self._lost:
            self._lost = why
            logger.warning("recordings are not whole: %s", why)


def new_id() -> str:
    """Make a request's id: when it was, and what nobody guesses."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(8)}"


def _folder(path: str | os.PathLike[str], limits: ProxyLimits) -> RecordingsFolder:
    from midstream.stream.recording import RecordingsFolder

    try:
        return RecordingsFolder(
            path, max_files=limits.max_recordings, max_bytes=limits.max_recordings_bytes
        )
    except RecordingError as error:
        raise ArgumentValueError(
            f"recordings: {os.fspath(path)!r} cannot be made: {error}"
        ) from error
