"""`Recorder`: events into a file as they come, so that whatever happens they stay readable."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from midstream._core.clock import NS_PER_S, monotonic_ns, ns_from_s
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream._core.validate import check_choice, check_int, check_path, check_real, check_text
from midstream._core.words import counted
from midstream.stream.events import Event, Finding
from midstream.stream.recording.files import cause_of, next_part
from midstream.stream.recording.keeping import Keeper
from midstream.stream.recording.lines import (
    END_NS,
    check_event,
    end_line,
    event_line,
    finding_line,
    header_line,
    lost_line,
)
from midstream.stream.recording.locking import lock, sync, sync_folder
from midstream.stream.recording.redacting import EventRedactor, TextRedactor
from midstream.stream.recording.resuming import Found

__all__ = ["Recorder"]

#: A packed recording is written in blocks of this size, or of what came in this time.
_BLOCK_BYTES = 256 * 1024
_BLOCK_NS = NS_PER_S // 2
#: After a failure, writing is tried again this often.
_RETRY_NS = NS_PER_S
#: Room that a limit leaves for the footer.
_FOOTER_BYTES = 1024
_MOST_CAUSE_CHARS = 200
_MOST_ERROR_CHARS = 500
_keeper = Keeper()


class Recorder:
    """Write the events of a stream to a file as they come; `replay` gives equal ones back.

    Every line is given to the operating system whole before `write` returns: a process that is
    killed loses at most the line it was writing. NaN and infinities in an event's `data`, which
    JSON does not have, are written as null. The format is described in
    `midstream.stream.recording`.

    Parameters
    ----------
    path : str or path
        File to write; one that is there is replaced, unless `append`. With the ending ``.gz`` it
        is packed by gzip, in blocks of half a second: a process that is killed loses no more.
    source : str, optional
        Where the stream comes from, for the header.
    append : bool, default False
        Go on with a recording that is there, after cutting off a last line that was not written
        whole. Events go on where it ended: `seq` counts on, and no time is before the last one.
    on_error : {"drop", "raise"}
        What to do when the file cannot be written any more, as on a full disk. ``"drop"``: the
        stream matters more; events are left out and counted, writing is tried again once a
        second, `remarks` says so (and with it the report of a watch), and the recording says at
        its place how much is missing. ``"raise"``: close the file and raise; a watch then fails.
    max_bytes : int, optional
        Size of a file, unpacked, at least 4,096. Nothing more is recorded then, or in the next
        part. An event that is larger has a file to itself.
    max_files : int, default 1
        Parts with `max_bytes`. The second is named ``name.2.jsonl`` and so on (a file that is
        there is replaced); when there are more, the oldest is removed.
    sync_s : float, optional
        Have the disk itself take what was written, this many seconds after it at the latest; at
        least 0.1. For machines that lose power; it costs a thread for all recorders together.
    redactor : callable, optional
        Makes what replaces secrets in one text, such as the class `Redactor`: ``feed(text)``
        returns what is safe, ``finish()`` the rest. Texts, names and payloads go through it, and
        the recording holds the redacted stream, numbered anew. Where it fails, nothing more is
        recorded, as if the file could not be written.

    Attributes
    ----------
    path : Path
        The file; of several parts, the one that is written.
    failure : RecordingError or None
        Why events are missing, the last time that writing failed.
    lost : int
        Events that are missing.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    RecordingError
        The file cannot be opened or written, another recorder has it open, or what is to be
        appended to is no recording.

    Notes
    -----
    About 8 microseconds an event with a chat payload, 25 with a `redactor`; 3 KB of memory, and 2
    for each text that is redacted. It writes where it is called: the system's cache takes the
    bytes, and only a file system that hangs holds up the stream. A context manager, plain or
    async. Methods may be called from any thread.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "hello.jsonl")
    >>> with Recorder(path) as recorder:
    ...     recorder.write(Event("text", 0, 1_500_000, "Once upon"))
    >>> from midstream.stream import load
    >>> load(path)[0].text
    'Once upon'
    >>> with Recorder(path, append=True) as recorder:
    ...     recorder.write(Event("text", 0, 0, " a time"))
    >>> [(event.seq, event.t_ns, event.text) for event in load(path)]
    [(0, 1500000, 'Once upon'), (1, 1500000, ' a time')]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source: str = "",
        append: bool = False,
        on_error: Literal["drop", "raise"] = "drop",
        max_bytes: int | None = None,
        max_files: int = 1,
        sync_s: float | None = None,
        redactor: Callable[[], TextRedactor] | None = None,
    ) -> None:
        check_text("source", source)
        check_choice("on_error", on_error, ("drop", "raise"))
        if max_bytes is not None:
            max_bytes = check_int("max_bytes", max_bytes, low=4096)
        self._max_files = check_int("max_files", max_files, low=1)
        if max_files > 1 and max_bytes is None:
            raise ArgumentValueError(f"max_files goes only with max_bytes, got {max_files}")
        if sync_s is not None:
            sync_s = check_real("sync_s", sync_s, low=0.1)
        if redactor is not None and not callable(redactor):
            raise ArgumentTypeError(
                f"redactor must make redactors when called, got {type(redactor).__name__}"
            )
        self.path = Path(check_path("path", path))
        self.failure: RecordingError | None = None
        self.lost = 0
        self._redaction = None if redactor is None else EventRedactor(redactor)
        self._source = source if self._redaction is None else self._redaction.whole(source)
        self._raises = on_error == "raise"
        self._max_bytes = max_bytes
        self._sync_ns = None if sync_s is None else ns_from_s(sync_s)
        self._packs = self.path.name.endswith(".gz")
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()
        self._file: FileIO | None = None
        self._regular = False
        self._closed = False
        self._full = False  # nothing more is recorded: for the limit, or the redactor
        self._outcome: str | None = None
        self._error: str | None = None
        self._id = uuid.uuid4().hex
        self._part = 1
        self._parts = [self.path]
        self._size = 0  # bytes in the file that are whole
        self._n_events = self._n_findings = 0  # in this file
        self._n_bytes = self._crc32 = 0  # of its lines, unpacked
        self._block: list[bytes] = []
        self._block_bytes = self._block_events = self._block_findings = 0
        self._block_ns = self._written_ns = self._synced_ns = 0
        self._broken = False
        self._retry_ns = 0
        self._gap_events = self._gap_findings = 0  # missing since the last line
        self._next_seq = self._last_ns = 0
        # Added to what events say, decided by the first one after a resumption.
        self._seq_shift: int | None = 0
        self._t_shift = 0
        self._open(append)
        if self._packs or self._sync_ns is not None:
            _keeper.add(self)

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or writing failed with ``on_error="raise"``."""
        return self._closed

    @property
    def next_seq(self) -> int:
        """Sequence number that the next event gets in the recording."""
        return self._next_seq

    @property
    def remarks(self) -> list[str]:
        """What there is to say about the recording, for a report: what is missing, and why."""
        with self._lock:
            if not self.lost and self.failure is None:
                return []
            cause = self.failure if self.failure is not None else "an unknown cause"
            return [f"recording: {counted(self.lost, 'event')} missing: {cause}"]

    def write(self, event: Event) -> None:
        """Append one event.

        Raises
        ------
        ArgumentTypeError
            Not an `Event`, or its `data` (or another field) holds something that JSON cannot give
            back equal: a tuple, a set, bytes, a key that is no str, a number or time out of
            range. Nothing is written.
        RecordingError
            The recorder is closed; or the file cannot be written, with ``on_error="raise"``.
        """
        with self._lock:
            if self._closed:
                raise RecordingError("the recorder is closed", place=str(self.path))
            if self._redaction is None and self._seq_shift == 0:
                line = event_line(event)
                self._next_seq = event.seq + 1
                self._last_ns = event.t_ns
                self._put(line, 1, 0)
                return
            check_event(event)  # what cannot be recorded changes nothing
            if self._redaction is None:
                self._renumbered(event)
            elif self._full:
                self._lose(1, 0)
            else:
                with self._redacting():
                    for one in self._redaction.take(event):
                        self._renumbered(one)

    def write_finding(self, finding: Finding) -> None:
        """Append a finding, after the event that decided it.

        Raises
        ------
        ArgumentTypeError
            Not a `Finding`.
        RecordingError
            As `write`.
        """
        with self._lock:
            if self._closed:
                raise RecordingError("the recorder is closed", place=str(self.path))
            if self._redaction is not None:
                if self._full:
                    self._lose(0, 1)
                    return
                safe: Finding | None = None
                with self._redacting():
                    safe = self._redaction.finding(finding)
                if safe is None:  # told as missing
                    return
                finding = safe
            if self._redaction is not None or self._seq_shift != 0:
                seq = max(self._next_seq - 1, 0)
                if self._redaction is None and self._seq_shift is not None:
                    seq = finding.seq + self._seq_shift
                finding = replace(finding, seq=seq, t_ns=finding.t_ns + self._t_shift)
            self._put(finding_line(finding), 0, 1)

    def settle(self, outcome: str, error: str | None = None) -> None:
        """Say how the stream ended, for the footer that `close` writes; the last word counts.

        Parameters
        ----------
        outcome : str
            As `Report.outcome` says.
        error : str, optional
            Why it failed; its first 500 characters are kept.
        """
        check_text("outcome", outcome)
        with self._lock:
            self._outcome = outcome
            if error is not None:
                self._error = self._safe(check_text("error", error)[:_MOST_ERROR_CHARS])

    def sync(self) -> None:
        """Have the disk take everything now.

        Raises
        ------
        RecordingError
            It cannot, with ``on_error="raise"``.

        Notes
        -----
        Milliseconds on most disks.
        """
        with self._lock:
            self._flush_block()
        self._sync()

    def close(self) -> None:
        """Write the footer and close the file. Safe to repeat.

        Raises
        ------
        RecordingError
            The rest cannot be written, with ``on_error="raise"``; the file is closed.
        """
        _keeper.remove(self)
        with self._lock:
            if self._closed:
                return
            try:
                if self._redaction is not None and not self._full:
                    with self._redacting():
                        for event in self._redaction.finish(self._last_ns - self._t_shift):
                            self._renumbered(event)
                self._broken = False  # one more try
                self._end_file(self._outcome)
            finally:
                self._closed = True
                self._shut()

    # Without secrets

    @contextlib.contextmanager
    def _redacting(self) -> Iterator[None]:
        """End the recording where the redactor fails: nothing goes past it."""
        try:
            yield
        except RecordingError:
            raise
        except Exception as error:  # noqa: BLE001 - somebody else's code; it is told
            # Not what it says, which may be what was to be hidden.
            cause = f"the redactor failed with {type(error).__name__}"
            self.failure = RecordingError(cause, place=str(self.path))
            self.failure.__cause__ = error
            self._fill(1, 0)

    def _safe(self, text: str) -> str:
        """A text that is whole, without its secrets; nothing of it where that cannot be said."""
        if self._redaction is None:
            return text
        try:
            return self._redaction.whole(text)
        except Exception:  # noqa: BLE001 - the next event says so
            return ""

    # Numbers

    def _renumbered(self, event: Event) -> None:
        """Append an event under the number that is next in the recording."""
        if self._seq_shift is None:  # the first one since the recording was resumed
            self._seq_shift = self._next_seq - event.seq
            self._t_shift = max(self._last_ns - event.t_ns, 0)
        seq = self._next_seq
        if self._redaction is None:
            seq = max(event.seq + self._seq_shift, seq)
        t_ns = min(event.t_ns + self._t_shift, END_NS - 1)
        line = event_line(event._replace(seq=seq, t_ns=t_ns))
        self._next_seq = seq + 1
        self._last_ns = t_ns
        self._put(line, 1, 0)

    # Opening

    def _open_file(self, path: Path, flags: int) -> int:
        """Open a file for reading and writing; a subclass may have its own way to find it."""
        # What people say to a model is in it: a new one is its owner's alone.
        return os.open(path, flags, 0o600)

    def _remove_file(self, path: Path) -> None:
        """Remove a part."""
        path.unlink(missing_ok=True)

    def _open(self, append: bool) -> None:
        try:
            self._attach(append)
            if append:
                self._resume()
            else:
                self._begin()
        except OSError as error:
            self._shut()
            raise RecordingError(cause_of(error), place=str(self.path)) from error
        except BaseException:
            self._shut()
            self._give_up(append)
            raise
        if self.failure is not None:
            self._closed = True
            self._shut()
            self._give_up(append)
            raise self.failure

    def _give_up(self, append: bool) -> None:
        """Leave no file that has not even a beginning: it is no recording."""
        if self.failure is not None and self._regular and not append:
            with contextlib.suppress(OSError, RecordingError):
                self._remove_file(self.path)

    def _attach(self, append: bool) -> None:
        """Open the file at `path`, empty unless `append`."""
        # A pipe that was opened for reading too would never say that nobody reads.
        flags = os.O_CREAT | (os.O_RDWR if append else os.O_WRONLY)
        flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        fd = self._open_file(self.path, flags)
        self._file = FileIO(fd, "r+b" if append else "wb", closefd=True)
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        if self._regular and not lock(fd):
            raise RecordingError("another recorder has it open", place=str(self.path))
        if self._regular and not append:
            os.ftruncate(fd, 0)
        if self._regular and self._sync_ns is not None:
            sync_folder(str(self.path.parent))

    def _begin(self) -> None:
        """Write the header of a new file."""
        self._size = self._n_events = self._n_findings = self._n_bytes = self._crc32 = 0
        part = None if self._part == 1 else self._part
        self._put(self._header(part=part), 0, 0)
        self._flush_block()

    def _header(self, **more: Any) -> bytes:
        redacted = None if self._redaction is None else True
        return header_line(self._source, id=self._id, redacted=redacted, **more)

    def _resume(self) -> None:
        """Read what is there, cut off what is not whole, and say where it goes on."""
        if not self._regular:
            raise RecordingError("only a regular file can be appended to", place=str(self.path))
        file = self._file
        assert file is not None
        found = Found(self.path)
        found.read(file)
        decoder = found.decoder
        self._next_seq = max(self._next_seq, found.next_seq)
        self._last_ns = max(self._last_ns, found.last_ns)
        self._seq_shift = None
        known, part = decoder.header.get("id"), decoder.header.get("part")
        if isinstance(known, str):
            self._id = known
        if type(part) is int and 1 <= part < 10**9:
            self._part = part
        following = next_part(self.path)
        if decoder.goes_on:
            self._shut()
            self._part += 1
            self.path = following
            self._parts.append(following)
            self._attach(append=True)
            self._resume()
            return
        dropped = os.fstat(file.fileno()).st_size - found.size
        os.ftruncate(file.fileno(), found.size)
        file.seek(found.size)
        self._size = found.size
        if decoder.own is None:  # not even a header was written
            self._begin()
            return
        self._n_events, self._n_findings = decoder.n_events, decoder.n_findings
        self._n_bytes, self._crc32 = decoder.size, decoder.crc32
        self.lost += decoder.lost
        kept = found.salvage + (b"\n" if found.lacks_end else b"")
        if kept:
            self._write_bytes(gzip.compress(kept, 6, mtime=0) if self._packs else kept)
        resumed = {"events": self._n_events, "dropped_bytes": max(dropped - len(found.salvage), 0)}
        number = None if self._part == 1 else self._part
        # Also where there is no room left: a footer alone cannot follow another.
        self._write(self._header(part=number, resumed=resumed), 0, 0)

    # Writing

    def _put(self, line: bytes, n_events: int, n_findings: int) -> None:
        """Append a line with so many events and findings in it."""
        if self._full:
            self._lose(n_events, n_findings)
            return
        if self._broken:
            if monotonic_ns() < self._retry_ns or (self._file is None and not self._open_part()):
                self._lose(n_events, n_findings)
                return
            self._broken = False
        if self._max_bytes is not None:
            room = self._max_bytes - _FOOTER_BYTES - self._n_bytes - self._block_bytes
            any_yet = self._n_events + self._n_findings + self._block_events + self._block_findings
            if any_yet and len(line) > room and not self._turn(n_events, n_findings):
                return
        if not self._packs:
            self._write(line, n_events, n_findings)
            return
        if not self._block:
            self._block_ns = monotonic_ns()
        self._block.append(line)
        self._block_bytes += len(line)
        self._block_events += n_events
        self._block_findings += n_findings
        if self._block_bytes >= _BLOCK_BYTES or monotonic_ns() - self._block_ns >= _BLOCK_NS:
            self._flush_block()

    def _flush_block(self) -> None:
        """Pack what waits into a member of its own, and write it."""
        if not self._block:
            return
        lines = b"".join(self._block)
        n_events, n_findings = self._block_events, self._block_findings
        self._block.clear()
        self._block_bytes = self._block_events = self._block_findings = 0
        self._write(lines, n_events, n_findings)

    def _write(self, lines: bytes, n_events: int, n_findings: int) -> None:
        file = self._file
        if file is None:
            self._lose(n_events, n_findings)
            return
        if self._gap_events or self._gap_findings:
            lines = self._lost_line() + lines
        data = gzip.compress(lines, 6, mtime=0) if self._packs else lines
        try:
            self._write_bytes(data)
        except OSError as error:
            self._fail(error, n_events, n_findings)
            return
        self._crc32 = zlib.crc32(lines, self._crc32)
        self._n_bytes += len(lines)
        self._n_events += n_events
        self._n_findings += n_findings
        self._gap_events = self._gap_findings = 0
        if self._sync_ns is not None and not self._written_ns:
            self._written_ns = monotonic_ns()

    def _write_bytes(self, data: bytes) -> None:
        file = self._file
        assert file is not None
        written = file.write(data)
        if written == len(data):
            self._size += written
            return
        rest = memoryview(data)
        while True:
            if not written:  # None where a pipe is full that does not wait
                raise OSError(11, "the file takes nothing")
            rest = rest[written:]
            if not rest:
                break
            written = file.write(rest)
        self._size += len(data)

    def _lost_line(self) -> bytes:
        cause = "" if self.failure is None else self._safe(str(self.failure))
        cause = cause[-_MOST_CAUSE_CHARS:]  # the place, which may be long, comes first
        return lost_line(self._gap_events, self._gap_findings, cause)

    def _lose(self, n_events: int, n_findings: int) -> None:
        self.lost += n_events
        self._gap_events += n_events
        self._gap_findings += n_findings

    def _fail(self, error: OSError, n_events: int, n_findings: int) -> None:
        """Take what was written of a line back, and note or raise why."""
        self.failure = RecordingError(cause_of(error), place=str(self.path))
        self.failure.__cause__ = error
        self._lose(n_events, n_findings)
        file = self._file
        if file is not None and self._regular:
            with contextlib.suppress(OSError):  # a torn line is left out when it is read
                os.ftruncate(file.fileno(), self._size)
                file.seek(self._size)
        self._broken = True
        self._retry_ns = monotonic_ns() + _RETRY_NS
        if self._raises:
            self._closed = True
            self._shut()
            raise self.failure

    # Ending a file

    def _turn(self, n_events: int, n_findings: int) -> bool:
        """End this file at its limit and begin the next part; whether there is one."""
        if self._max_files == 1:
            self.failure = RecordingError(
                f"the limit of {self._max_bytes:,} bytes is reached", place=str(self.path)
            )
            self._fill(n_events, n_findings)
            return False
        self._end_file("continued")
        self._shut()
        self._part += 1
        self.path = next_part(self.path)
        self._parts.append(self.path)
        if self._open_part():
            return True
        self._lose(n_events, n_findings)
        return False

    def _fill(self, n_events: int, n_findings: int) -> None:
        """Record nothing more, from here on; raise `failure`, if so wanted."""
        self._flush_block()  # what came before is not behind what is missing
        self._full = True
        self._lose(n_events, n_findings)
        if self._raises:
            self._end_file(self._outcome)
            self._closed = True
            self._shut()
            assert self.failure is not None
            raise self.failure

    def _open_part(self) -> bool:
        """Begin a part; whether it can be written."""
        try:
            self._attach(append=False)
            self._begin()
        except OSError as error:
            self._fail(error, 0, 0)
        except RecordingError as error:
            self._shut()
            if self._raises:
                self._closed = True
                raise
            self.failure = error
            self._broken = True
            self._retry_ns = monotonic_ns() + _RETRY_NS
        if self._broken:  # a part needs its header: it is begun again
            self._shut()
            return False
        try:
            while len(self._parts) > self._max_files:
                self._remove_file(self._parts[0])
                del self._parts[0]
        except OSError:
            return True  # tried again with the next part
        return True

    def _end_file(self, outcome: str | None) -> None:
        """Write the footer, unless nothing can be written."""
        self._flush_block()
        if self._file is None or self._broken:
            return
        line = self._lost_line() if self._gap_events or self._gap_findings else b""
        self._gap_events = self._gap_findings = 0
        line += end_line(
            outcome,
            self._error,
            events=self._n_events,
            findings=self._n_findings,
            lost=self.lost,
            size=self._n_bytes + len(line),
            crc32=zlib.crc32(line, self._crc32),
        )
        self._write(line, 0, 0)
        if self._sync_ns is not None:
            self._sync()

    def _shut(self) -> None:
        with self._sync_lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    # Beside the stream

    def tick(self) -> None:
        """Write and sync what has waited long enough; called by a thread, now and then."""
        with self._lock:
            if self._closed:
                return
            if self._block and monotonic_ns() - self._block_ns >= _BLOCK_NS:
                with contextlib.suppress(RecordingError):  # the next `write` says so
                    self._flush_block()
            due = (
                self._sync_ns is not None
                and self._written_ns
                and monotonic_ns() - self._written_ns >= self._sync_ns - 2 * _keeper.period_ns
            )
        if due:
            with contextlib.suppress(RecordingError):
                self._sync()

    def _sync(self) -> None:
        # Not under the lock that writing takes: a disk may need long.
        with self._sync_lock:
            file = self._file
            if file is None or not self._regular:
                return
            self._written_ns = 0
            try:
                sync(file.fileno())
            except OSError as error:
                failure = error
            else:
                return
        with self._lock:
            self.failure = RecordingError(cause_of(failure), place=str(self.path))
            if self._raises:
                raise self.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._outcome is None:
            self.settle("failed", kind.__name__)
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)
