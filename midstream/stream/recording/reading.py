"""Recordings read back: their events, as they came or at once, and what else they hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from midstream._core.clock import s_from_ns
from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_path, check_real
from midstream.stream.events import Event, Finding
from midstream.stream.recording.decoding import RecordingDecoder
from midstream.stream.recording.files import Opener, Pieces
from midstream.stream.sources import Source, paced

__all__ = [
    "Recording",
    "load",
    "opened",
    "read_from",
    "read_recording",
    "replay",
    "replay_from",
    "shipped_recordings",
]

_NO_LIMIT = 2**63


def replay(
    path: str | os.PathLike[str], speed: float | None = None, *, recover: bool = False
) -> Source:
    """Play a recording: the same events with the same times, whenever it is played.

    Parameters
    ----------
    path : str or path
        A recording of `Recorder`, or raw lines of ``{"t": seconds, "data": payload}``; packed by
        gzip or not. Further parts are played after it.
    speed : float, optional
        None plays as fast as events are taken; 1.0 as recorded, 2.0 twice as fast.
    recover : bool, default False
        Leave out what cannot be read, such as a last line that was cut off, and warn of it
        (RuntimeWarning), in place of an error.

    Returns
    -------
    Source
        Events carry the recorded `t_ns` at any speed.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `path` is no path; `speed` is not a positive number.
    RecordingError
        From the iterator, after the good events before it: the file is missing, empty, cut off or
        malformed, at which ``file:line``.

    Examples
    --------
    >>> import asyncio
    >>> async def count():
    ...     return sum([1 async for event in replay(shipped_recordings()["loop-02"])])
    >>> asyncio.run(count())
    601
    """
    return replay_from(Path(check_path("path", path)), speed, recover)


def load(path: str | os.PathLike[str], *, recover: bool = False) -> list[Event]:
    """Read all events of a recording.

    Parameters
    ----------
    path : str or path
        As for `replay`.
    recover : bool, default False
        As for `replay`.

    Returns
    -------
    list of Event

    Raises
    ------
    ArgumentTypeError
        `path` is no path.
    RecordingError
        As `replay`; use that to get the events before the bad line, or `recover`.

    See Also
    --------
    read_recording : the findings and the outcome too.

    Examples
    --------
    >>> load(shipped_recordings()["healthy-03"])[-1].text
    'stop'
    """
    return _read(Path(check_path("path", path)), recover)[0]


def read_recording(path: str | os.PathLike[str], *, recover: bool = False) -> Recording:
    """Read a recording with all that it holds: events, findings, outcome.

    Parameters
    ----------
    path : str or path
        As for `replay`.
    recover : bool, default False
        As for `replay`.

    Returns
    -------
    Recording

    Raises
    ------
    ArgumentTypeError
        `path` is no path.
    RecordingError
        As `replay`.

    Notes
    -----
    5 microseconds an event, and the memory of all of them.

    Examples
    --------
    >>> recording = read_recording(shipped_recordings()["healthy-03"])
    >>> len(recording.events), recording.complete
    (355, False)
    """
    return read_from(Path(check_path("path", path)), recover)


def read_from(path: Path, recover: bool, opener: Opener | None = None) -> Recording:
    """`read_recording` of files that `opener` opens."""
    events, decoder = _read(path, recover, opener)
    ending = decoder.ending or {}
    outcome, error = ending.get("outcome"), ending.get("error")
    return Recording(
        path,
        decoder.header,
        events,
        decoder.findings,
        outcome if isinstance(outcome, str) else None,
        error if isinstance(error, str) else None,
        decoder.ending is not None and not decoder.problems and not decoder.goes_on,
        decoder.lost,
        tuple(decoder.problems),
    )


def replay_from(
    path: Path,
    speed: float | None,
    recover: bool,
    opener: Opener | None = None,
    *,
    sealed: bool = False,
) -> Source:
    """`replay` of files that `opener` opens; `sealed` as for `RecordingDecoder`."""
    if speed is not None:
        speed = check_real("speed", speed, low=0.0)
        if speed == 0.0:
            raise ArgumentValueError("speed must be above 0, got 0")
    pieces, decoder = opened(path, recover, opener, most_findings=1000, sealed=sealed)
    if speed is None:
        return Source(pieces, decoder, turn=1, live=False)
    return paced(pieces, decoder, speed)


@dataclass(frozen=True, slots=True)
class Recording:
    """All that a recording holds. Made by `read_recording`.

    Parameters
    ----------
    path : Path
    header : Mapping
        The first line: ``created``, ``source``, ``id``; empty where the file has only payloads.
    events : sequence of Event
    findings : sequence of Finding
        Those that were made while it was recorded.
    outcome : str or None
        How the stream ended, as `Report.outcome` says; None where nobody said.
    error : str or None
        Why it failed.
    complete : bool
        Whether the recorder came to its end and everything is as it wrote it. A recording of
        version 1 of the format, or one still being made, is not.
    lost : int
        Events that could not be written.
    problems : tuple of str
        What is wrong with the file, with ``file:line``.
    """

    path: Path
    header: Mapping[str, Any]
    events: Sequence[Event]
    findings: Sequence[Finding] = ()
    outcome: str | None = None
    error: str | None = None
    complete: bool = False
    lost: int = 0
    problems: tuple[str, ...] = field(default=())

    @property
    def source(self) -> str:
        """Where the stream came from; empty where it is not told."""
        source = self.header.get("source")
        return source if isinstance(source, str) else ""

    @property
    def created(self) -> str:
        """When the recording began, as ISO 8601 in UTC; empty where it is not told."""
        created = self.header.get("created")
        return created if isinstance(created, str) else ""

    @property
    def duration_s(self) -> float:
        """Seconds from the request to the last event."""
        return s_from_ns(max((event.t_ns for event in self.events), default=0))


def shipped_recordings() -> dict[str, Path]:
    """Recordings inside the package, name to path: two of models that loop, one that does not.

    Examples
    --------
    >>> sorted(shipped_recordings())
    ['healthy-03', 'loop-02', 'loop-04']
    """
    folder = Path(str(resources.files("midstream.stream").joinpath("recordings")))
    return {path.stem: path for path in sorted(folder.glob("*.jsonl"))}


def opened(
    path: Path,
    recover: bool,
    opener: Opener | None = None,
    *,
    most_findings: int = _NO_LIMIT,
    sealed: bool = False,
) -> tuple[Pieces, RecordingDecoder]:
    """Pieces of a recording, not opened yet, and what decodes them."""
    decoder = RecordingDecoder(
        str(path), recover=recover, most_findings=most_findings, sealed=sealed
    )
    torn = decoder.torn if recover else None
    return Pieces(path, lambda: decoder.goes_on, torn, opener, decoder.moves), decoder


def _read(
    path: Path, recover: bool, opener: Opener | None = None
) -> tuple[list[Event], RecordingDecoder]:
    pieces, decoder = opened(path, recover, opener)
    events: list[Event] = []
    try:
        for piece in pieces:
            events += decoder.feed(piece, 0)
            if decoder.error is not None:
                raise decoder.error
    finally:
        pieces.close()
    events += decoder.finish(0)
    if decoder.error is not None:
        raise decoder.error
    return events, decoder
