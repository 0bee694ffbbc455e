"""Recordings: what a stream said and when, one JSON object a line; write them, play them back."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from midstream._core.clock import monotonic_ns, ns_from_s, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream._core.validate import check_path, check_real, check_text
from midstream.stream.decode import LineDecoder
from midstream.stream.events import KINDS, Event
from midstream.stream.formats.detecting import AutoMapper
from midstream.stream.sources import Source
from midstream.stream.wire import finite, parse_json

__all__ = [
    "Recorder",
    "RecordingDecoder",
    "event_line",
    "header_line",
    "load",
    "replay",
    "shipped_recordings",
]

_VERSION = 1
#: A line holds one event's payload once more escaped, so it gets more room than a wire line.
_MAX_LINE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 16 * 1024
#: Times are kept in 64 bits by what counts them, which is 292 years.
_END_S = 9_000_000_000
_END_NS = 2**63
_KINDS = frozenset(KINDS)
_PLAIN = (str, int, float, bool, type(None))


class RecordingDecoder(LineDecoder):
    """Events of a recording, line by line, with the times that were recorded.

    Two formats: `Recorder`'s own, which begins with a header, and raw lines of ``{"t": seconds,
    "data": payload of a server-sent event, "event": its name if any}``, which are mapped as a live
    stream is.

    Parameters
    ----------
    place : str
        Name of the recording in messages.
    """

    __slots__ = ("_mapper", "_own", "_place", "_t_ns")

    def __init__(self, place: str) -> None:
        super().__init__(max_bytes=_MAX_LINE_BYTES)
        self._place = place
        self._own: bool | None = None
        self._mapper = AutoMapper()
        self._t_ns = 0

    def too_long(self, size: int) -> RecordingError:
        """Make the error for a line that is too long."""
        return RecordingError(
            f"line is longer than {_MAX_LINE_BYTES} bytes", place=f"{self._place}:{self.number + 1}"
        )

    def line(self, line: bytes, t_ns: int, *, whole: bool) -> list[Event]:
        """Events of one line; `t_ns` is not used, since the line has its own time."""
        try:
            row = parse_json(line.decode("utf-8-sig" if self.number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            return self._fail(f"invalid UTF-8 at byte {error.start} of the line ({error.reason})")
        except (ValueError, RecursionError) as error:
            if not whole:
                return self._fail("the recording is cut off in the middle of this line")
            if not line.strip():
                return self._fail("the line is blank")
            cause = error if isinstance(error, ValueError) else "nested too deeply"
            return self._fail(f"not JSON: {cause}")
        if not isinstance(row, dict):
            return self._fail(f"not a JSON object but {type(row).__name__}")
        if self._own is None:
            self._own = "midstream" in row
            if self._own:
                if row["midstream"] != _VERSION:
                    version = _shown(row["midstream"])
                    return self._fail(f"version {version} of the format is not known")
                return []
        return self._event(row) if self._own else self._raw(row)

    def end(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Notice an empty recording, and a raw one whose stream was cut off."""
        out = super().end(t_ns, broken=broken) + self._mapper.flush(self._t_ns)
        if self.error is None and self.number == 0:
            self._fail("the recording is empty")
        cut = None if broken or self.error is not None else self._mapper.cut()
        if cut is not None:
            out.append(self._mapper.failure(cut, self._t_ns))
        return out

    def _event(self, row: dict[str, Any]) -> list[Event]:
        kind = row.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            return self._fail(f"kind is {_shown(kind)}, not one of {', '.join(KINDS)}")
        event = Event(
            kind,
            row.get("seq"),  # type: ignore[arg-type] # checked below, as is the rest
            row.get("t_ns"),  # type: ignore[arg-type]
            row.get("text", ""),
            row.get("name"),
            row.get("data"),
            row.get("stream_id", ""),
            row.get("call_id"),
        )
        problem = _field_problem(event)
        return [event] if problem is None else self._fail(problem)

    def _raw(self, row: dict[str, Any]) -> list[Event]:
        t_s = row.get("t")
        # Compared, not converted: neither NaN nor an integer beyond any float gets through.
        if not isinstance(t_s, (int, float)) or isinstance(t_s, bool) or not 0 <= t_s < _END_S:
            if "t" not in row:
                return self._fail('neither a header ("midstream") nor an event with a time ("t")')
            return self._fail(
                f"t must be a number of seconds from 0 to below {_END_S}, got {_shown(t_s)}"
            )
        self._t_ns = ns_from_s(t_s)
        data = row.get("data")
        name = row.get("event")
        name = name if isinstance(name, str) else ""
        if isinstance(data, str):
            return self._mapper.decode(data, self._t_ns, event=name)
        if data is None:
            return self._fail('has no "data"')
        try:
            return self._mapper.events(data, self._t_ns, event=name)
        except RecursionError:
            return self._fail("nested too deeply")

    def _fail(self, message: str) -> list[Event]:
        self.error = RecordingError(message, place=f"{self._place}:{max(self.number, 1)}")
        return []


class Recorder:
    """Write the events of a stream to a file as they come; `replay` gives equal ones back.

    The first line says ``{"midstream": 1, "created": ..., "source": ...}``, each further line is
    one event. Every line is given to the operating system whole before `write` returns: a process
    that is killed loses at most the line it was writing. NaN and infinities in an event's `data`,
    which JSON does not have, are written as null.

    Parameters
    ----------
    path : str or path
        File to write; one that is there is replaced.
    source : str, optional
        Where the stream comes from, for the header.

    Raises
    ------
    ArgumentTypeError
        `path` or `source` cannot be used.
    RecordingError
        The file cannot be opened or written.

    Notes
    -----
    About 10 microseconds an event with a chat payload. A context manager, plain or async.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "hello.jsonl")
    >>> with Recorder(path) as recorder:
    ...     recorder.write(Event("text", 0, 1_500_000, "Once upon"))
    >>> load(path)[0].text
    'Once upon'
    """

    def __init__(self, path: str | os.PathLike[str], *, source: str = "") -> None:
        check_text("source", source)
        self.path = Path(check_path("path", path))
        self._file: FileIO | None = None
        try:
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise RecordingError(_cause(error), place=str(self.path)) from error
        self._put(header_line(source))

    def write(self, event: Event) -> None:
        """Append one event.

        Raises
        ------
        ArgumentTypeError
            Not an `Event`, or its `data` (or another field) holds something that JSON cannot give
            back equal: a tuple, a set, bytes, a key that is no str, a number or time out of
            range. Nothing is written.
        RecordingError
            The recorder is closed, or the file cannot be written.
        """
        if self._file is None:
            raise RecordingError("the recorder is closed", place=str(self.path))
        self._put(event_line(event))

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _put(self, line: bytes) -> None:
        file = self._file
        assert file is not None
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            self.close()
            raise RecordingError(_cause(error), place=str(self.path)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def replay(path: str | os.PathLike[str], speed: float | None = None) -> Source:
    """Play a recording: the same events with the same times, whenever it is played.

    Parameters
    ----------
    path : str or path
        A recording of `Recorder`, or raw lines of ``{"t": seconds, "data": payload}``.
    speed : float, optional
        None plays as fast as events are taken; 1.0 as recorded, 2.0 twice as fast.

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
    >>> async def count():
    ...     return sum([1 async for event in replay(shipped_recordings()["loop-02"])])
    >>> asyncio.run(count())
    601
    """
    name = check_path("path", path)
    if speed is not None:
        speed = check_real("speed", speed, low=0.0)
        if speed == 0.0:
            raise ArgumentValueError("speed must be above 0, got 0")
    if speed is None:
        return Source(_File(name), RecordingDecoder(name), turn=1, live=False)
    return _Paced(name, speed)


def load(path: str | os.PathLike[str]) -> list[Event]:
    """Read a whole recording.

    Raises
    ------
    ArgumentTypeError
        `path` is no path.
    RecordingError
        As `replay`; use that to get the events before the bad line.

    Examples
    --------
    >>> load(shipped_recordings()["healthy-03"])[-1].text
    'stop'
    """
    name = check_path("path", path)
    decoder = RecordingDecoder(name)
    events: list[Event] = []
    file = _File(name)
    try:
        for piece in file:
            events += decoder.feed(piece, 0)
            if decoder.error is not None:
                raise decoder.error
    finally:
        file.close()
    events += decoder.end(0)
    if decoder.error is not None:
        raise decoder.error
    return events


def shipped_recordings() -> dict[str, Path]:
    """Recordings inside the package, name to path: two of models that loop, one that does not.

    Examples
    --------
    >>> sorted(shipped_recordings())
    ['healthy-03', 'loop-02', 'loop-04']
    """
    folder = Path(str(resources.files("midstream.stream").joinpath("recordings")))
    return {path.stem: path for path in sorted(folder.glob("*.jsonl"))}


class _File:
    """A file's pieces; opened when first read, so that a missing one is an error of the stream."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: BinaryIO | None = None
        self._over = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        try:
            if self._file is None:
                self._file = Path(self._name).open("rb")  # noqa: SIM115 - closed by `close`
            piece = self._file.read(_READ_BYTES)
        except OSError as error:
            self._over = True
            raise RecordingError(_cause(error), place=self._name) from error
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        self._over = True
        if self._file is not None:
            self._file.close()


class _Paced(Source):
    """A replay that waits for each event's time."""

    __slots__ = ("_begin_ns", "_speed")

    def __init__(self, name: str, speed: float) -> None:
        super().__init__(_File(name), RecordingDecoder(name), turn=1, live=False)
        self._speed = speed
        self._begin_ns: int | None = None

    async def __anext__(self) -> Event:
        if self._begin_ns is None:
            self._begin_ns = monotonic_ns()
        event = await super().__anext__()
        due_ns = round(min(event.t_ns / self._speed, _END_NS))  # a tiny speed makes it infinite
        wait_ns = self._begin_ns + due_ns - monotonic_ns()
        if wait_ns > 0:
            await self._wait(partial(asyncio.sleep, s_from_ns(wait_ns)))
        return event


def header_line(source: str = "") -> bytes:
    """Make the first line of a recording.

    Parameters
    ----------
    source : str, optional
        Where the stream comes from.

    Returns
    -------
    bytes
        One line of JSON with its end.

    Examples
    --------
    >>> header_line("a test")[:15]
    b'{"midstream":1,'
    """
    header = {
        "midstream": _VERSION,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "source": source,
    }
    return _line(header)


def event_line(event: Event) -> bytes:
    r"""Make the line of one event, as a recording holds it.

    Parameters
    ----------
    event : Event

    Returns
    -------
    bytes
        One line of JSON with its end, in ASCII.

    Raises
    ------
    ArgumentTypeError
        As `Recorder.write`.

    Notes
    -----
    About 5 microseconds.

    Examples
    --------
    >>> event_line(Event("text", 0, 1_500_000, "Once"))
    b'{"seq":0,"t_ns":1500000,"kind":"text","text":"Once"}\n'
    """
    if not isinstance(event, Event):
        raise ArgumentTypeError(f"event must be an Event, got {type(event).__name__}")
    row: dict[str, Any] = {"seq": event.seq, "t_ns": event.t_ns, "kind": event.kind}
    if event.text:
        row["text"] = event.text
    if event.name is not None:
        row["name"] = event.name
    if event.stream_id:
        row["stream_id"] = event.stream_id
    if event.call_id is not None:
        row["call_id"] = event.call_id
    if event.data is not None:
        row["data"] = event.data
    known = isinstance(event.kind, str) and event.kind in _KINDS
    problem = _field_problem(event) if known else f"kind is {_shown(event.kind)}"
    line = b""
    try:
        if problem is None:
            problem = _json_problem(event.data, "data")
        if problem is None:
            line = _line(row)
    except RecursionError:
        problem = "data is nested too deeply"
    except ValueError as error:  # an integer of more digits than Python writes
        problem = f"data: {error}"
    if problem is not None:
        raise ArgumentTypeError(f"event {_shown(event.seq)} cannot be recorded: {problem}")
    return line


def _line(row: dict[str, Any]) -> bytes:
    # Escapes keep the file ASCII, which carries lone surrogates through as well.
    try:
        text = json.dumps(row, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a number that JSON does not have, as an SDK's own parser may let through
        text = json.dumps(finite(row), separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def _cause(error: OSError) -> str:
    return error.strerror or str(error)


def _field_problem(event: Event) -> str | None:
    """What is wrong with the fields of an event, `kind` and `data` apart."""
    if type(event.seq) is not int or not 0 <= event.seq < _END_NS:
        return f"seq must be an integer from 0 to below 2**63, got {_shown(event.seq)}"
    if type(event.t_ns) is not int or not 0 <= event.t_ns < _END_NS:
        return f"t_ns must be an integer from 0 to below 2**63, got {_shown(event.t_ns)}"
    if type(event.text) is not str:
        return f"text must be str, got {_shown(event.text)}"
    if event.name is not None and type(event.name) is not str:
        return f"name must be str or None, got {_shown(event.name)}"
    if type(event.stream_id) is not str:
        return f"stream_id must be str, got {_shown(event.stream_id)}"
    if event.call_id is not None and type(event.call_id) is not str:
        return f"call_id must be str or None, got {_shown(event.call_id)}"
    return None


def _shown(value: Any) -> str:
    """Return the beginning of a value that may be long, or too long for Python to write out."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 60 else text[:59] + "…"


def _json_problem(value: Any, place: str) -> str | None:
    """Where `value` holds what JSON would not give back equal; None where nowhere."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return f"a key of {place} is {key!r}, JSON has only str keys"
            if type(item) not in _PLAIN:
                problem = _json_problem(item, f"{place}[{key!r}]")
                if problem is not None:
                    return problem
    elif kind is list:
        for index, item in enumerate(value):
            if type(item) not in _PLAIN:
                problem = _json_problem(item, f"{place}[{index}]")
                if problem is not None:
                    return problem
    elif kind not in _PLAIN:
        return f"{place} is {kind.__name__}, which JSON does not have"
    return None
