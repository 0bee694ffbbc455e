"""Server-sent events: bytes in, events out, no input or output of its own.

Why not ``httpx2.EventSource``: it needs an HTTP response, so it cannot read a pipe or a file; it
replaces invalid UTF-8 without a word, holds an event back when its blank line is a lone CR until
the next byte comes, and drops a last event that no blank line ends. An observer must see all four.
"""

from __future__ import annotations

from typing import NamedTuple

from midstream._core.errors import MalformedStreamError
from midstream._core.validate import check_int

__all__ = ["DEFAULT_MAX_BYTES", "SSEParser", "ServerSentEvent"]

#: Longest line, and most data in one event, that a parser takes unless told otherwise: 8 MiB.
DEFAULT_MAX_BYTES = 8 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_LF = 10
_CR = 13
#: Data lines that are kept apart: a short one takes tens of bytes of memory beside its own.
_BLOCK_LINES = 256


class ServerSentEvent(NamedTuple):
    """One event of a ``text/event-stream`` body.

    Parameters
    ----------
    data : str
        The data lines, joined by line feeds. Bytes that are not UTF-8 became U+FFFD.
    event : str
        Name of the event; ``""`` where it has none (the standard then says ``message``).
    id : str
        Last event id seen so far, which is what a client sends as ``Last-Event-ID``.
    retry_ms : int or None
        Reconnection time in milliseconds, where this event set one.
    number : int
        Position in the body, from 1.
    offset : int
        Byte of the body at which the event's first line begins.
    terminated : bool
        Whether a blank line ended it; False for what a broken-off body leaves behind.
    problem : str or None
        What was wrong with its bytes, else None.
    """

    data: str
    event: str = ""
    id: str = ""
    retry_ms: int | None = None
    number: int = 1
    offset: int = 0
    terminated: bool = True
    problem: str | None = None


class SSEParser:
    """Incremental parser of a ``text/event-stream`` body.

    Lines end in CR, LF or CRLF, in any mixture and cut anywhere; an event is handed out with the
    byte that completes its blank line. How the body was cut never changes what comes out.

    Parameters
    ----------
    max_bytes : int, default 8 MiB
        Longest line and most data of one event, in bytes. Memory stays below about three times
        this, however short the lines. On top come some fifty bytes for each line of the piece that
        was fed, and the text of a complete event, of which Python keeps 1 to 4 bytes a character.

    Attributes
    ----------
    error : MalformedStreamError or None
        Why the body cannot be read on. Events that came before it are handed out first.
    count : int
        Events handed out.
    comments : int
        Comment lines seen; servers send them to say that they are alive.
    offset : int
        Bytes read.
    retry_ms : int or None
        Reconnection time last set, in milliseconds.

    Notes
    -----
    About 1.5 microseconds for an event of one 230-byte line. Not for use by two threads at once.

    References
    ----------
    WHATWG HTML, section 9.2, "Server-sent events". Two things differ on purpose: the last event
    is kept where its blank line is missing (see `finish`), and invalid UTF-8 is reported.

    Examples
    --------
    >>> parser = SSEParser()
    >>> parser.feed(b"data: Once")
    []
    >>> [event.data for event in parser.feed(b" upon\\r\\rdata: a time\\n\\n")]
    ['Once upon', 'a time']
    """

    __slots__ = (
        "_after_cr",
        "_blocks",
        "_data",
        "_event",
        "_id",
        "_max_bytes",
        "_partial",
        "_partial_size",
        "_retry_ms",
        "_size",
        "_start",
        "comments",
        "count",
        "error",
        "offset",
        "retry_ms",
    )

    def __init__(self, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = check_int("max_bytes", max_bytes, low=1)
        self._partial: list[bytes] = []  # pieces of a line whose end has not come
        self._partial_size = 0
        self._after_cr = False
        self._id = ""
        self.error: MalformedStreamError | None = None
        self.count = 0
        self.comments = 0
        self.offset = 0
        self.retry_ms: int | None = None
        self._clear()

    def _clear(self) -> None:
        self._data: list[bytes] = []
        self._blocks: list[bytes] = []  # data lines before those in `_data`, joined
        self._size = 0  # of all data lines, with one more for each, so above 0 where there is one
        self._event = b""
        self._retry_ms: int | None = None
        self._start = -1

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events they complete.

        Raises
        ------
        MalformedStreamError
            A line or an event is larger than `max_bytes`. Raised at once where no event is left
            to hand out, else by the next call; `error` tells either way.
        """
        if self.error is not None:
            raise self.error
        if not chunk:
            return []
        begin = self.offset
        self.offset = begin + len(chunk)
        if self._after_cr:
            self._after_cr = False
            if chunk[0] == _LF:  # second half of a CRLF whose first half ended a line already
                chunk = chunk[1:]
                begin += 1
                if not chunk:
                    return []
        lines = chunk.splitlines(keepends=True)  # bytes split at CR, LF and CRLF only
        last = lines[-1]
        end = last[-1]
        if end == _CR:
            self._after_cr = True
        if self._partial_size:
            begin -= self._partial_size
            self._partial.append(lines[0])
            self._partial_size += len(lines[0])
            if len(lines) == 1 and end not in (_LF, _CR):
                self._check_partial(begin)
                return []
            lines[0] = b"".join(self._partial)
            self._partial = []
            self._partial_size = 0
        tail = lines.pop() if end not in (_LF, _CR) else b""
        events = self._lines(lines, begin)
        if tail and self.error is None:
            self._partial.append(tail)
            self._partial_size = len(tail)
            self._check_partial(self.offset - len(tail), bool(events))
        if self.error is not None and not events:
            raise self.error
        return events

    def finish(self) -> list[ServerSentEvent]:
        """Say that the body is over; return the event that no blank line ended, if any.

        Returns
        -------
        list of ServerSentEvent
            At most one, with `terminated` False. The parser is then ready for a new body.

        Raises
        ------
        MalformedStreamError
            As `feed`, if that still owes its error.
        """
        if self.error is not None:
            raise self.error
        events: list[ServerSentEvent] = []
        if self._partial_size:
            line = b"".join(self._partial)
            events = self._lines([line], self.offset - len(line))
            if self.error is not None:
                raise self.error
        # A bare "data:" is where the body was cut, and says nothing.
        if any(self._data) or any(block.strip(b"\n") for block in self._blocks):
            events.append(self._finish(terminated=False))
        self._partial = []
        self._partial_size = 0
        self._after_cr = False
        self._id = ""
        self.offset = 0
        self.count = 0
        self._clear()
        return events

    def _lines(self, lines: list[bytes], offset: int) -> list[ServerSentEvent]:
        """Interpret whole lines, line ends included, the first of which begins at `offset`."""
        events: list[ServerSentEvent] = []
        limit = self._max_bytes
        for line in lines:
            start = offset
            offset += len(line)
            if start == 0 and line.startswith(_BOM):
                line = line[3:]
            text = line.rstrip(b"\r\n")
            size = len(text)
            if size == 0:
                if self._size:
                    events.append(self._finish(terminated=True))
                elif self._start >= 0:
                    self._clear()
                continue
            if size > limit:
                self._fail("a line", start)
                break
            if text.startswith(b"data:"):
                value = text[6:] if text.startswith(b"data: ") else text[5:]
            else:
                name, colon, value = text.partition(b":")
                if not name and colon:
                    self.comments += 1
                    continue
                value = value.removeprefix(b" ")
                if name != b"data":
                    if self._start < 0:
                        self._start = start
                    self._field(name, value)
                    continue
            if self._start < 0:
                self._start = start
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > limit + 1:
                self._fail("the data", start)
                break
            if len(self._data) == _BLOCK_LINES:
                self._blocks.append(b"\n".join(self._data))
                self._data = []
        return events

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 19:
            self.retry_ms = self._retry_ms = int(value)
        # any other field is to be ignored, says the standard

    def _finish(self, terminated: bool) -> ServerSentEvent:
        data = self._blocks + self._data if self._blocks else self._data
        raw = data[0] if len(data) == 1 else b"\n".join(data)
        problem = None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            text = raw.decode("utf-8", "replace")
            problem = f"invalid UTF-8 at byte {error.start} of its data ({error.reason})"
        self.count += 1
        event = ServerSentEvent(
            text,
            self._event.decode("utf-8", "replace") if self._event else "",
            self._id,
            self._retry_ms,
            self.count,
            self._start,
            terminated,
            problem,
        )
        self._clear()
        return event

    def _check_partial(self, start: int, deferred: bool = False) -> None:
        # Checked piece by piece: an endless line must neither fill memory nor be joined twice.
        if self._partial_size > self._max_bytes + 2:  # + 2: room for the line end of a full line
            self._fail("a line", start)
            if not deferred and self.error is not None:
                raise self.error

    def _fail(self, what: str, offset: int) -> None:
        self._partial = []
        self._partial_size = 0
        self._clear()
        self.error = MalformedStreamError(
            f"{what} beginning at byte {offset} is longer than {self._max_bytes} bytes",
            place=f"event {self.count + 1}",
        )
