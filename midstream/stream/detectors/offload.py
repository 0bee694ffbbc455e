"""Detectors beside the stream: a scheduler runs them, late findings and all, and nobody waits."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import NamedTuple

from midstream._core.clock import monotonic_ns, ns_from_s
from midstream._core.errors import ArgumentTypeError, QueueFullError
from midstream._core.validate import check_int, check_real
from midstream._core.words import counted
from midstream.scheduler import Priority, Scheduler
from midstream.stream.detectors.protocol import Detector, recalled
from midstream.stream.events import Event, Finding, Kind

__all__ = ["Offload", "beside"]


class Offload:
    """Run a detector through a scheduler, so that what it costs never delays the stream.

    Events are kept and handed to the detector in a worker; what it finds is told with the next
    event, or by `poll`. An event that has waited for longer than the deadline, or for which there
    is no room, is shed: the detector does not see it, and the count of what was shed goes up.

    Parameters
    ----------
    detector : Detector
        One that has seen nothing yet. Where it has a method ``skip(kind, stream_id, n_chars)``, it
        is told of text that was shed, so that its positions stay right.
    scheduler : Scheduler, optional
        With workers; by default one that all share, with one worker.
    deadline_s : float, default 0.25
        Seconds after which an event is of no more use.
    delay_s : float, default 0.05
        Seconds for which events are gathered before a worker is asked: one turn for all of them.
    max_pending : int, default 1024
        Events that may wait, and for every one of them 256 characters on average.
    inline : bool, default False
        Run the detector at once, with each event, and shed nothing: for recordings.

    Attributes
    ----------
    detector : Detector
    n_events : int
        Events that came.
    n_shed, n_shed_chars : int
        Of these, those that the detector did not see, and their characters.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    Findings are the same with and without `inline`, at the same characters, as long as nothing is
    shed; only told later. What the detector raises is raised by the next `observe`, `poll` or
    `finish`.

    `finish` sees to what still waits, for 20 milliseconds at most; the rest is shed.

    Under a microsecond an event for the stream. One thread may use it, beside the workers; a lock
    that a worker holds is waited for by `finish` alone.

    Examples
    --------
    >>> from midstream.stream import Event, Offload, RegimeDetector
    >>> detector = Offload(RegimeDetector())
    >>> for seq in range(100):
    ...     assert not detector.observe(Event("text", seq, seq, "I will wait. "), 0) or seq
    >>> found = [*detector.finish()]
    >>> detector.n_events, detector.n_shed
    (100, 0)
    """

    def __init__(
        self,
        detector: Detector,
        *,
        scheduler: Scheduler | None = None,
        deadline_s: float = 0.25,
        delay_s: float = 0.05,
        max_pending: int = 1024,
        inline: bool = False,
    ) -> None:
        methods = (getattr(detector, name, None) for name in ("observe", "finish"))
        if isinstance(detector, type) or not all(map(callable, methods)):
            raise ArgumentTypeError(f"detector must have observe and finish, got {detector!r}")
        if scheduler is not None and not isinstance(scheduler, Scheduler):
            raise ArgumentTypeError(
                f"scheduler must be a Scheduler, got {type(scheduler).__name__}"
            )
        if type(inline) is not bool:
            raise ArgumentTypeError(f"inline must be a bool, got {inline!r}")
        self.detector = detector
        self.inline = inline
        self._scheduler = scheduler
        self._deadline_ns = ns_from_s(check_real("deadline_s", deadline_s, low=0, high=3600))
        self._delay_ns = ns_from_s(check_real("delay_s", delay_s, low=0, high=3600))
        self._max_pending = check_int("max_pending", max_pending, low=1, high=1 << 24)
        self._max_chars = self._max_pending * _CHARS_EACH
        # Appended to by the stream's thread alone, taken from the left by whoever has the lock.
        self._pending: deque[_Waiting | _Gap] = deque()
        self._ready: deque[Finding] = deque()
        self._lock = threading.Lock()
        self._asked = False
        self._failure: Exception | None = None
        self._broken = False
        self._chars_in = 0
        self._chars_out = 0
        self.n_events = 0
        self.n_shed = 0
        self.n_shed_chars = 0
        self._busy_ns = 0

    @property
    def used(self) -> bool:
        """Whether it has seen a stream already: a detector belongs to one."""
        return self.n_events > 0 or bool(getattr(self.detector, "used", False))

    @property
    def memory_bytes(self) -> int:
        """Bytes that the detector and the events that wait hold, roughly."""
        held = getattr(self.detector, "memory_bytes", 0)
        return int(held) + len(self._pending) * _EVENT_BYTES + self._chars_in - self._chars_out

    @property
    def waiting(self) -> bool:
        """Whether something is still to be looked at, or told."""
        return bool(self._pending or self._ready or self._failure is not None)

    @property
    def load(self) -> Mapping[str, int]:
        """Events that came, were shed, and wait, and nanoseconds that the rest took a worker."""
        return {
            "events": self.n_events,
            "shed_events": self.n_shed,
            "shed_chars": self.n_shed_chars,
            "pending": len(self._pending),
            "busy_ns": self._busy_ns,
        }

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a report should say about how it worked."""
        own: tuple[str, ...] = ()
        if self.n_shed:
            seen = counted(self.n_events, "event")
            own = (f"{type(self.detector).__name__}: {self.n_shed:,} of {seen} shed under load",)
        return (*getattr(self.detector, "remarks", ()), *own)

    def recall(self, events: Iterable[Event]) -> None:
        """Hand what happened before to the detector, at once, if it wants that."""
        for _ in self.recalling(events):
            pass

    def recalling(self, events: Iterable[Event]) -> Generator[None, None, None]:
        """The same event by event, where the detector can."""
        yield from recalled(self.detector, events)

    def observe(self, event: Event, gap_ns: int) -> Sequence[Finding]:
        """Take the next event; what the detector has found by now.

        Parameters
        ----------
        event : Event
        gap_ns : int
            Nanoseconds for which the stream was silent before it.

        Returns
        -------
        sequence of Finding
            Of earlier events; with `inline` of this one.
        """
        self.n_events += 1
        if self.inline:
            return self.detector.observe(event, gap_ns)
        if self._broken:
            return self.poll()
        pending = self._pending
        size = len(event.text)
        if len(pending) < self._max_pending and self._chars_in - self._chars_out < self._max_chars:
            pending.append(_Waiting(event, gap_ns, monotonic_ns()))
        else:
            self._crowd(event)
        self._chars_in += size
        if not self._asked:
            self._ask()
        return self.poll() if self._ready or self._failure is not None else ()

    def poll(self) -> Sequence[Finding]:
        """What the detector has found since it was asked last.

        Returns
        -------
        sequence of Finding
        """
        failure = self._failure
        if failure is not None:
            self._failure = None
            raise failure
        found = []
        while self._ready:
            found.append(self._ready.popleft())
        if self._pending and not self._asked:
            self._ask()
        return found

    def finish(self) -> Sequence[Finding]:
        """Take note that the stream is over: look at what waits, as far as time allows.

        Returns
        -------
        sequence of Finding
            Everything that was not told yet.
        """
        if self.inline:
            return self.detector.finish()
        until_ns = monotonic_ns() + _FINISH_NS
        if not self._lock.acquire(timeout=_FINISH_NS / 1e9):
            # A worker has been in the detector for so long; what waits has waited in vain.
            while self._pending:
                self._shed(self._pending.popleft(), tell=False)
            return self.poll()
        try:
            self._drain(until_ns)
            if not self._broken:
                self._ready.extend(self.detector.finish())
        finally:
            self._lock.release()
        return self.poll()

    def _crowd(self, event: Event) -> None:
        """There is no room: the newest that waits and this event become a gap."""
        try:
            newest = self._pending.pop()
        except IndexError:  # a worker has just made room
            self._pending.append(_Waiting(event, 0, monotonic_ns()))
            return
        gap = newest if isinstance(newest, _Gap) else _Gap(newest.event)
        gap.add(event)  # taken out, it is no worker's
        self._pending.append(gap)

    def _ask(self) -> None:
        scheduler = self._scheduler
        if scheduler is None:
            scheduler = self._scheduler = _shared_scheduler()
        at_ns = monotonic_ns() + self._delay_ns
        self._asked = True
        try:
            scheduler.schedule(self._work, Priority.LOW, at_ns + self._deadline_ns, at_ns=at_ns)
        except QueueFullError:  # so is everybody's: the next event asks again
            self._asked = False

    def _work(self) -> None:
        """A worker's turn."""
        # Before it looks: what comes from now on asks again.
        self._asked = False
        if not self._lock.acquire(blocking=False):
            return  # `finish` is at it
        try:
            self._drain(None)
        finally:
            self._lock.release()

    def _drain(self, until_ns: int | None) -> None:
        yielded_ns = monotonic_ns()
        while True:
            try:
                waiting = self._pending.popleft()
            except IndexError:
                return
            now_ns = monotonic_ns()
            if until_ns is None and now_ns - yielded_ns > _TURN_NS:
                time.sleep(0)  # let a stream's thread have the interpreter, should it want it
                yielded_ns = now_ns
            over = until_ns is not None and now_ns > until_ns
            if isinstance(waiting, _Gap) or over or self._broken:
                self._shed(waiting)
                continue
            event, gap_ns, came_ns = waiting
            if now_ns - came_ns > self._deadline_ns + self._delay_ns:
                self._shed(waiting)
                continue
            self._chars_out += len(event.text)
            try:
                self._ready.extend(self.detector.observe(event, gap_ns))
            except Exception as error:  # noqa: BLE001 - the detector's; raised where it is used
                self._failure, self._broken = error, True
            self._busy_ns += monotonic_ns() - now_ns

    def _shed(self, waiting: _Waiting | _Gap, *, tell: bool = True) -> None:
        gap = waiting if isinstance(waiting, _Gap) else _Gap(waiting.event)
        self.n_shed += gap.n_events
        self.n_shed_chars += gap.other_chars
        self._chars_out += gap.other_chars
        skip = getattr(self.detector, "skip", None) if tell and not self._broken else None
        for (kind, stream_id), chars in gap.chars.items():
            self.n_shed_chars += chars
            self._chars_out += chars
            if skip is not None and chars:
                skip(kind, stream_id, chars)


def beside(
    detectors: Iterable[Detector], *, inline: bool = False, scheduler: Scheduler | None = None
) -> tuple[Detector, ...]:
    """Detectors for one stream, those that are `costly` each in an `Offload`.

    Parameters
    ----------
    detectors : iterable of Detector
        What has a true attribute ``costly`` is wrapped.
    inline : bool, default False
        As of `Offload`: for recordings.
    scheduler : Scheduler, optional
        As of `Offload`.

    Returns
    -------
    tuple of Detector

    Examples
    --------
    >>> from midstream.stream import LoopDetector, RegimeDetector
    >>> [type(detector).__name__ for detector in beside([LoopDetector(), RegimeDetector()])]
    ['LoopDetector', 'Offload']
    """
    return tuple(
        Offload(detector, scheduler=scheduler, inline=inline)
        if getattr(detector, "costly", False) is True
        else detector
        for detector in detectors
    )


class _Waiting(NamedTuple):
    event: Event
    gap_ns: int
    came_ns: int


class _Gap:
    """Events for which there was no room: how many, and characters of each text."""

    __slots__ = ("chars", "n_events", "other_chars")

    def __init__(self, event: Event) -> None:
        self.n_events = 0
        self.chars: dict[tuple[Kind, str], int] = {}
        #: Of texts beyond those that are told apart: whoever sends them may make up any number.
        self.other_chars = 0
        self.add(event)

    def add(self, event: Event) -> None:
        self.n_events += 1
        key = event.kind, event.stream_id
        known = self.chars.get(key)
        if known is None and len(self.chars) >= _MAX_GAP_TEXTS:
            self.other_chars += len(event.text)
        else:
            self.chars[key] = (known or 0) + len(event.text)


_CHARS_EACH = 256
_EVENT_BYTES = 400
_MAX_GAP_TEXTS = 1024
_FINISH_NS = 20_000_000
_TURN_NS = 200_000

_shared: Scheduler | None = None
_sharing = threading.Lock()


def _shared_scheduler() -> Scheduler:
    """The one that all use who bring none: started when first needed."""
    global _shared
    with _sharing:
        if _shared is None:
            _shared = Scheduler("edf", 1 << 14, workers=1).start()
        return _shared


def _after_fork() -> None:
    # The child has no workers, and what was pending is the parent's.
    global _shared, _sharing
    _shared, _sharing = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
