"""`RecordingDecoder`: the lines of a recording in, its events out, and what else it says kept."""

from __future__ import annotations

import warnings
import zlib
from typing import Any

from midstream._core.clock import ns_from_s, s_from_ns
from midstream._core.errors import RecordingError
from midstream._core.words import counted
from midstream.stream.decode import LineDecoder
from midstream.stream.events import Event, Finding
from midstream.stream.formats.detecting import AutoMapper
from midstream.stream.recording.lines import (
    END_NS,
    MAX_LINE_BYTES,
    VERSIONS,
    begins_one,
    event_of,
    finding_of,
    shown,
)
from midstream.stream.wire import parse_json

__all__ = ["RecordingDecoder"]

_END_S = 9_000_000_000
#: What is kept of a file that may be anybody's.
_MOST_PROBLEMS = 100
_MOST_FINDINGS = 1000


class RecordingDecoder(LineDecoder):
    """Events of a recording, line by line, with the times that were recorded.

    Two formats: `Recorder`'s own, which begins with a header, and raw lines of ``{"t": seconds,
    "data": payload of a server-sent event, "event": its name if any}``, which are mapped as a live
    stream is.

    Parameters
    ----------
    place : str
        Name of the recording in messages.
    recover : bool, default False
        Leave out lines that cannot be read, a last one that was cut off above all, and warn of
        them at the end (RuntimeWarning), in place of an error at the first one.
    most_findings : int, default 1000
        Findings to keep in `findings`; `n_findings` counts all.
    sealed : bool, default False
        Whether a recording without an end, and one of a stream that failed, is an error at its end.

    Attributes
    ----------
    header : dict
        The first line; empty for raw lines.
    findings : list of Finding
    ending : dict or None
        What the footer says, once it came and nothing after it.
    n_events, n_findings : int
        Seen so far.
    n_skipped, n_torn : int
        Lines left out for `recover`, and how many of them only because the file breaks off.
    lost : int
        Events that the recorder could not write.
    problems : list of str
        What was left out for `recover`, and where the footer and what is before it disagree; the
        first 100.
    """

    __slots__ = (
        "_before",
        "_crc32",
        "_line",
        "_lines_before",
        "_mapper",
        "_most_findings",
        "_n_bytes",
        "_own",
        "_part",
        "_place",
        "_recover",
        "_sealed",
        "_t_ns",
        "ending",
        "findings",
        "header",
        "lost",
        "n_events",
        "n_findings",
        "n_skipped",
        "n_torn",
        "problems",
    )

    def __init__(
        self,
        place: str,
        *,
        recover: bool = False,
        most_findings: int = _MOST_FINDINGS,
        sealed: bool = False,
    ) -> None:
        super().__init__(max_bytes=MAX_LINE_BYTES)
        self._place = place
        self._recover = recover
        self._sealed = sealed
        self._most_findings = most_findings
        self._own: bool | None = None
        self._mapper = AutoMapper()
        self._t_ns = 0
        self._n_bytes = 0
        self._crc32 = 0
        self._line = b""
        self._lines_before = 0  # in the files before this one
        self._part: Any = None
        self._before = (0, 0)  # events and findings in the parts before
        self.header: dict[str, Any] = {}
        self.ending: dict[str, Any] | None = None
        self.findings: list[Finding] = []
        self.n_events = 0
        self.n_findings = 0
        self.n_skipped = 0
        self.n_torn = 0
        self.lost = 0
        self.problems: list[str] = []

    @property
    def size(self) -> int:
        """Bytes of all lines so far, as the next footer counts them."""
        return self._n_bytes

    @property
    def crc32(self) -> int:
        """CRC-32 of these bytes."""
        return self._crc32

    @property
    def own(self) -> bool | None:
        """Whether it is in `Recorder`'s format; None before the first line."""
        return self._own

    @property
    def goes_on(self) -> bool:
        """Whether the recording says that its next part is in another file."""
        return self.ending is not None and self.ending.get("outcome") == "continued"

    def torn(self, problem: str) -> None:
        """Take note that bytes are missing that would have come before the next ones."""
        self.n_skipped += 1
        self.n_torn += 1
        self._note(problem)

    def moves(self, place: object) -> None:
        """Take note that what follows is of another file, the next part of the recording."""
        self._place = str(place)
        self._lines_before = self.number

    def too_long(self, size: int) -> RecordingError:
        """Make the error for a line that is too long."""
        return RecordingError(
            f"line is longer than {MAX_LINE_BYTES} bytes", place=self._at(self.number + 1)
        )

    def line(self, line: bytes, t_ns: int, *, whole: bool) -> list[Event]:
        """Events of one line; `t_ns` is not used, since the line has its own time."""
        size, crc32 = self._n_bytes, self._crc32
        self._n_bytes = size + len(line) + 1
        self._crc32 = zlib.crc32(b"\n", zlib.crc32(line, crc32))
        try:
            row = parse_json(line.decode("utf-8-sig" if self.number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            return self._fail(f"invalid UTF-8 at byte {error.start} of the line ({error.reason})")
        except (ValueError, RecursionError) as error:
            if not whole:
                torn = self._own is not None or begins_one(line)
                return self._fail("the recording is cut off in the middle of this line", torn=torn)
            if not line.strip():
                return self._fail("the line is blank")
            cause = error if isinstance(error, ValueError) else "nested too deeply"
            return self._fail(f"not JSON: {cause}")
        if not isinstance(row, dict):
            return self._fail(f"not a JSON object but {type(row).__name__}")
        if self._own is None:
            self._own = "midstream" in row
        if not self._own:
            return self._raw(row)
        if "kind" in row:
            event = event_of(row)
            if isinstance(event, str):
                return self._fail(event)
            if self.ending is not None:
                return self._fail("an event after the end of the recording")
            self.n_events += 1
            self._t_ns = event.t_ns
            return [event]
        self._line = line
        return self._other(row, size, crc32)

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Notice an empty recording, and a raw one whose stream was cut off."""
        out = super().finish(t_ns, broken=broken) + self._mapper.finish(self._t_ns)
        if self.error is None and self.number == 0:
            self._fail("the recording is empty", torn=True)
        cut = None if broken or self.error is not None else self._mapper.cut()
        if cut is not None:
            out.append(self._mapper.failure(cut, self._t_ns))
        if self._sealed and not broken and self.error is None:
            self._check_end()
        if self.n_skipped:
            more = f" (and {self.n_skipped - 1:,} more)" if self.n_skipped > 1 else ""
            warnings.warn(f"left out: {self.problems[0]}{more}", RuntimeWarning, stacklevel=2)
        return out

    def _check_end(self) -> None:
        """Notice that the recorder did not come to its end, or its stream did not."""
        version = self.header.get("midstream")
        if type(version) is not int or version < 2:
            return  # nothing says where it ends
        if self.ending is None or self.goes_on:
            what = "has no end" if self.ending is None else "goes on in a part that is missing"
            count = counted(self.n_events, "event")
            self._fail(
                f"the recording {what}: it is still being made, or was cut off after {count}, "
                f"{s_from_ns(self._t_ns):.2f} s; what followed is missing",
                torn=True,
            )
        elif self.ending.get("outcome") == "failed" and not self._recover:
            why = self.ending.get("error")
            self._fail("the recorded stream failed" + (f": {why}" if isinstance(why, str) else ""))

    def _other(self, row: dict[str, Any], size: int, crc32: int) -> list[Event]:
        """Take a line that is no event; what came before it has this size and checksum."""
        if "midstream" in row:
            return self._header(row)
        if self.ending is not None:
            return self._fail("a line after the end of the recording")
        if "finding" in row:
            finding = finding_of(row["finding"])
            if isinstance(finding, str):
                return self._fail(finding)
            self.n_findings += 1
            if len(self.findings) < self._most_findings:
                self.findings.append(finding)
        elif "lost" in row:
            lost = row["lost"]
            count = lost.get("events") if isinstance(lost, dict) else None
            if type(count) is not int or not 0 <= count < END_NS:
                return self._fail(f"lost must have a number of events, got {shown(lost)}")
            self.lost += count
        elif "end" in row:
            return self._footer(row["end"], size, crc32)
        else:
            return self._fail("kind is None: neither an event nor a finding")
        return []

    def _header(self, row: dict[str, Any]) -> list[Event]:
        version = row["midstream"]
        if type(version) is not int or version not in VERSIONS:
            # Whatever follows could mean anything.
            self._recover = False
            return self._fail(f"version {shown(version)} of the format is not known")
        if not self.header:
            self.header = row
        elif row.get("id") != self.header.get("id") and "id" in self.header:
            return self._fail("another recording begins here")
        elif row.get("part") != self._part:  # another file, whose footer counts it alone
            self._before = (self.n_events, self.n_findings)
            self._n_bytes = len(self._line) + 1
            self._crc32 = zlib.crc32(b"\n", zlib.crc32(self._line))
        self._part = row.get("part")
        self.ending = None
        return []

    def _footer(self, end: Any, size: int, crc32: int) -> list[Event]:
        if not isinstance(end, dict):
            return self._fail(f"end must be an object, got {shown(end)}")
        self.ending = end
        counted = (
            ("events", self.n_events - self._before[0]),
            ("findings", self.n_findings - self._before[1]),
            ("bytes", size),
            ("crc32", f"{crc32:08x}"),
        )
        for name, found in counted:
            if end.get(name) != found:
                told = shown(end.get(name))
                self._note(f"the footer says {name} {told}, the lines before it {found!r}")
                break
        return []

    def _raw(self, row: dict[str, Any]) -> list[Event]:
        t_s = row.get("t")
        # Compared, not converted: neither NaN nor an integer beyond any float gets through.
        if not isinstance(t_s, (int, float)) or isinstance(t_s, bool) or not 0 <= t_s < _END_S:
            if "t" not in row:
                return self._fail('neither a header ("midstream") nor an event with a time ("t")')
            return self._fail(
                f"t must be a number of seconds from 0 to below {_END_S}, got {shown(t_s)}"
            )
        self._t_ns = ns_from_s(t_s)
        data = row.get("data")
        name = row.get("event")
        name = name if isinstance(name, str) else ""
        if data is None:
            return self._fail('has no "data"')
        try:
            if isinstance(data, str):
                out = self._mapper.decode(data, self._t_ns, event=name)
            else:
                out = self._mapper.events(data, self._t_ns, event=name)
        except RecursionError:
            return self._fail("nested too deeply")
        self.n_events += len(out)
        return out

    def _at(self, number: int) -> str:
        """Where a line is, of that number in all files together."""
        return f"{self._place}:{max(number - self._lines_before, 1)}"

    def _note(self, message: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{self._at(self.number)}: {message}")

    def _fail(self, message: str, *, torn: bool = False) -> list[Event]:
        # A file whose first line is none of a recording is something else altogether.
        if self._recover and (torn or self.header or (self._own is False and self.n_events)):
            self.n_skipped += 1
            self.n_torn += torn
            self._note(message)
        else:
            self.error = RecordingError(message, place=self._at(self.number))
        return []
