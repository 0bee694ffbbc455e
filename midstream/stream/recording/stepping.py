"""`Stepper`: a recording an event at a time, forwards and back."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from midstream._core.clock import ns_from_s, s_from_ns
from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_real
from midstream.stream.events import Event, Finding
from midstream.stream.recording.reading import Recording, read_recording

if TYPE_CHECKING:
    from midstream.stream.detectors import Detector
    from midstream.stream.policies import PoliciesLike

__all__ = ["Stepper"]


class Stepper:
    """Go through a recording: to the next event, the next finding, or back to any position.

    Parameters
    ----------
    recording : str, path, Recording, or sequence of Event
        What to go through.
    detectors : iterable of Detector, optional
        What makes the findings. By default the recorded ones are shown, or where the recording
        holds none, those that `default_detectors` make.
    policies : optional
        As for `watch`; with them, findings are made anew.
    recover : bool, default False
        As for `load`.

    Attributes
    ----------
    events : sequence of Event
        All of them.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    RecordingError
        The recording cannot be read.

    Notes
    -----
    A position is a number of events gone through, from 0 to ``len(stepper)``. Events are looked at
    by the detectors once, when they are first gone through or when a finding is looked for; going
    back costs nothing. Not thread-safe.

    Examples
    --------
    >>> from midstream.stream import shipped_recordings
    >>> stepper = Stepper(shipped_recordings()["loop-02"])
    >>> stepper.next().text, stepper.position
    (' Once', 1)
    >>> finding = stepper.next_finding()
    >>> finding.kind, stepper.position, stepper.event.seq == finding.seq
    ('loop', 228, True)
    >>> stepper.seek(3)
    >>> stepper.text(), stepper.findings
    (' Once upon a', [])
    """

    def __init__(
        self,
        recording: str | os.PathLike[str] | Recording | Sequence[Event],
        *,
        detectors: Iterable[Detector] | None = None,
        policies: PoliciesLike = (),
        recover: bool = False,
    ) -> None:
        from midstream.stream.guard import Guard

        if isinstance(recording, (str, os.PathLike)):
            recording = read_recording(recording, recover=recover)
        self.events: Sequence[Event]
        made: Sequence[Finding] | None = None
        if isinstance(recording, Recording):
            self.events = recording.events
            if recording.findings:
                made = recording.findings
        elif isinstance(recording, Sequence) and not isinstance(recording, (str, bytes)):
            self.events = recording
            for event in recording:
                if not isinstance(event, Event):
                    raise ArgumentTypeError(
                        f"recording must be of Event, got {type(event).__name__}"
                    )
        else:
            raise ArgumentTypeError(
                f"recording must be a path, a Recording or events, got {type(recording).__name__}"
            )
        anew = made is None or detectors is not None or bool(policies)
        self._guard = Guard(detectors, policies, inline=True) if anew else None
        self._seen = 0  # events that the guard has looked at
        self._found: list[Finding] = []
        self._places: list[int] = []  # for each of these, the position behind its event
        self._position = 0
        if not anew and made is not None:
            self._take_recorded(made)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def position(self) -> int:
        """How many events were gone through."""
        return self._position

    @property
    def event(self) -> Event | None:
        """The last of these; None at the beginning."""
        return self.events[self._position - 1] if self._position else None

    @property
    def t_s(self) -> float:
        """When it came, in seconds since the request."""
        return 0.0 if self.event is None else s_from_ns(self.event.t_ns)

    @property
    def findings(self) -> list[Finding]:
        """What was found up to here."""
        self._look(self._position)
        return self._found[: bisect_right(self._places, self._position)]

    @property
    def found_here(self) -> list[Finding]:
        """What the last event decided."""
        self._look(self._position)
        first = bisect_left(self._places, self._position)
        return self._found[first : bisect_right(self._places, self._position)]

    def text(self, kind: str = "text", stream_id: str | None = None) -> str:
        """What was said up to here.

        Parameters
        ----------
        kind : str, default "text"
            Of event.
        stream_id : str, optional
            Only of this one.
        """
        return "".join(
            event.text
            for event in self.events[: self._position]
            if event.kind == kind and stream_id in (None, event.stream_id)
        )

    def next(self) -> Event | None:
        """Go through one event; None at the end."""
        if self._position == len(self.events):
            return None
        self._position += 1
        self._look(self._position)
        return self.event

    def back(self, count: int = 1) -> None:
        """Go back by so many events, at most to the beginning."""
        self._position = max(self._position - check_int("count", count, low=0), 0)

    def seek(self, position: int) -> None:
        """Go to a position, at most to the end; below 0, from the end."""
        position = check_int("position", position)
        if position < 0:
            position += len(self.events)
        self._position = min(max(position, 0), len(self.events))
        self._look(self._position)

    def seek_time(self, t_s: float) -> None:
        """Go behind the last event that came in the first `t_s` seconds.

        Where times go back, as those of several requests in one file may, to the first that came
        later.
        """
        limit_ns = ns_from_s(check_real("t_s", t_s, low=0.0, high=9e9))
        later = (at for at, event in enumerate(self.events) if event.t_ns > limit_ns)
        self.seek(next(later, len(self.events)))

    def next_finding(self) -> Finding | None:
        """Go to the next finding, behind the event that decided it; None, and no step, without.

        Where one event decided several, the first of them is returned, and `found_here` has all.
        """
        while True:
            at = bisect_right(self._places, self._position)
            if at < len(self._places):
                self._position = self._places[at]
                return self._found[at]
            if not self._look(max(self._seen, self._position) + 1):
                return None

    def previous_finding(self) -> Finding | None:
        """Go back to the finding before; None, and no step, without."""
        self._look(self._position)
        at = bisect_left(self._places, self._position)
        if not at:
            return None
        self._position = self._places[at - 1]
        return self._found[at - 1]

    def _look(self, position: int) -> bool:
        """Have the guard look at all events before a position; whether it had any to look at."""
        guard = self._guard
        if guard is None or self._seen >= min(position, len(self.events)):
            return False
        while self._seen < min(position, len(self.events)):
            step = guard.take(self.events[self._seen])
            self._seen += 1
            self._keep(step.findings)
        if self._seen == len(self.events):
            self._keep(guard.finish("ended").findings)
        return True

    def _keep(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._found.append(finding)
            self._places.append(self._seen)

    def _take_recorded(self, findings: Sequence[Finding]) -> None:
        """Find the events that decided the recorded findings."""
        places = {event.seq: at + 1 for at, event in enumerate(self.events)}
        put = [(places.get(finding.seq, len(self.events)), finding) for finding in findings]
        put.sort(key=lambda item: item[0])
        self._places = [place for place, _ in put]
        self._found = [finding for _, finding in put]
