"""Frames: the bytes of a body cut into what a client acts upon, with what each of them says."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

__all__ = ["Frame", "LineSplitter", "SSESplitter", "compact", "sse_bytes"]

_BOM = b"\xef\xbb\xbf"
_LF, _CR, _COLON = 10, 13, 58
#: Where a splitter stands.
_BETWEEN, _COMMENT, _EVENT = range(3)


class Frame(NamedTuple):
    """Bytes that a client acts upon as one, whole.

    Parameters
    ----------
    raw : bytes
        As they came.
    data : str or None
        What they say; None for what says nothing: comments, blank lines, fields without data.
    event : str
        Name of the server-sent event.
    problem : str or None
        What is wrong with the bytes.
    tail : bool
        The second half of a CRLF whose first half ended the frame before: it shares its fate.
    """

    raw: bytes
    data: str | None = None
    event: str = ""
    problem: str | None = None
    tail: bool = False


class SSESplitter:
    r"""Cut a ``text/event-stream`` body into its events, keeping every byte.

    The frames' bytes, joined, are the body. Where a frame ends does not depend on how the body was
    cut: an event ends with the byte that completes its blank line, and a comment or blank line
    between events is a frame of its own, handed out at once, since servers send them to say that
    they are alive.

    Parameters
    ----------
    max_bytes : int
        Longest frame.

    Attributes
    ----------
    waiting : int
        Bytes of a frame whose end has not come.
    too_long : bool
        A frame outgrew `max_bytes`; nothing more is taken.

    Notes
    -----
    About 1 microsecond a frame. Lines end in CR, LF or CRLF in any mixture. One body, one splitter.

    Examples
    --------
    >>> splitter = SSESplitter(1000)
    >>> splitter.feed(b": hello\ndata: Once")
    [Frame(raw=b': hello\n', data=None, event='', problem=None, tail=False)]
    >>> [frame.data for frame in splitter.feed(b" upon\n\n")]
    ['Once upon']
    """

    __slots__ = (
        "_after",
        "_begun",
        "_cr",
        "_fresh",
        "_kind",
        "_max_bytes",
        "_pieces",
        "too_long",
        "waiting",
    )

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._kind = _BETWEEN
        self._fresh = False  # in an event: its last line ended, and the next has no byte yet
        self._cr = False  # in an event: the last byte was a CR, and an LF would belong to it
        self._after = _BETWEEN  # kind of the frame that ended with a CR as the last byte
        self._begun = False
        self.waiting = 0
        self.too_long = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Frames that these bytes complete."""
        out: list[Frame] = []
        if self.too_long:
            return out
        size = len(chunk)
        plain = b"\r" not in chunk
        start = position = 0
        while position < size:
            kind = self._kind
            if kind == _BETWEEN:
                first = chunk[position]
                after, self._after = self._after, _BETWEEN
                if after != _BETWEEN and first == _LF:
                    out.append(Frame(b"\n", tail=after == _EVENT))
                    start = position = position + 1
                    continue
                if first in (_LF, _CR):
                    end = position + 1
                    kind = _COMMENT
                elif first == _COLON:
                    kind = self._kind = _COMMENT
                    continue
                else:
                    kind = self._kind = _EVENT
                    self._fresh = self._cr = False
                    continue
            elif kind == _COMMENT:
                end = _line_end(chunk, position, plain)
            elif plain and not self._cr:
                if self._fresh and chunk[position] == _LF:
                    end = position + 1
                else:
                    end = chunk.find(b"\n\n", position) + 2
                    if end < 2:
                        self._fresh = chunk[-1] == _LF
                        end = -1
            else:
                end = self._event_end(chunk, position)
            if end < 0:
                break
            raw = chunk[start:end]
            if self._pieces:
                raw = b"".join((*self._pieces, raw))
                self._pieces.clear()
                self.waiting = 0
            if len(raw) > self._max_bytes:
                self.too_long = True
                return out
            out.append(self._frame(raw) if kind == _EVENT else Frame(raw))
            self._begun = True
            self._kind = _BETWEEN
            if chunk[end - 1] == _CR:
                self._after = kind
            start = position = end
        if start < size:
            self._pieces.append(chunk[start:] if start else chunk)
            self.waiting += size - start
            if self.waiting > self._max_bytes:
                self.too_long = True
                self._pieces.clear()
                self.waiting = 0
        return out

    def _event_end(self, chunk: bytes, position: int) -> int:
        """Where the event's blank line is complete, its LF after a CR left out; -1 if it is not."""
        size = len(chunk)
        while position < size:
            mark = chunk[position]
            if self._cr:
                self._cr = False
                if mark == _LF:
                    position += 1
                    continue
            if self._fresh and (mark in (_LF, _CR)):
                return position + 1
            end = _line_end(chunk, position, False)
            self._fresh = end >= 0
            if end < 0:
                break
            self._cr = chunk[end - 1] == _CR
            position = end
        return -1

    def finish(self) -> list[Frame]:
        """What is left when nothing follows: at most one frame, which no blank line ended."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self.waiting = 0
        return [self._frame(rest)] if rest else []

    def _frame(self, raw: bytes) -> Frame:
        begun, self._begun = self._begun, True
        text = raw
        if not begun and raw.startswith(_BOM):
            text = raw[3:]
        value, name = b"", ""
        if plain := text.startswith(b"data: ") and b"\r" not in text:
            value = text[6:].rstrip(b"\n")
            plain = b"\n" not in value
        if not plain:
            lines: list[bytes] = []
            named = b""
            for line in text.splitlines():
                field, _, rest = line.partition(b":")
                if field == b"data":
                    lines.append(rest.removeprefix(b" "))
                elif field == b"event":
                    named = rest.removeprefix(b" ")
            name = named.decode("utf-8", "replace") if named else ""
            if not lines:
                return Frame(raw, None, name)
            value = lines[0] if len(lines) == 1 else b"\n".join(lines)
        try:
            return Frame(raw, value.decode("utf-8"), name)
        except UnicodeDecodeError as error:
            problem = f"invalid UTF-8 at byte {error.start} of its data ({error.reason})"
            return Frame(raw, value.decode("utf-8", "replace"), name, problem)


class LineSplitter:
    r"""Cut a body into its lines, one JSON value each, keeping every byte.

    Parameters
    ----------
    max_bytes : int
        Longest line.

    Attributes
    ----------
    waiting : int
        Bytes of a line whose end has not come.
    too_long : bool
        A line outgrew `max_bytes`; nothing more is taken.

    Examples
    --------
    >>> splitter = LineSplitter(1000)
    >>> [frame.data for frame in splitter.feed(b'{"a": 1}\n{"a"')]
    ['{"a": 1}']
    """

    __slots__ = ("_buffer", "_max_bytes", "too_long")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer: list[bytes] = []
        self.too_long = False

    @property
    def waiting(self) -> int:
        """Bytes of a line whose end has not come."""
        return sum(map(len, self._buffer))

    def feed(self, chunk: bytes) -> list[Frame]:
        """Lines that these bytes complete."""
        out: list[Frame] = []
        if self.too_long:
            return out
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if self._buffer:
                line = b"".join((*self._buffer, line))
                self._buffer.clear()
            if len(line) >= self._max_bytes:
                self.too_long = True
                return out
            out.append(_line(line + b"\n"))
        if rest:
            self._buffer.append(rest)
            if self.waiting > self._max_bytes:
                self.too_long = True
                self._buffer.clear()
        return out

    def finish(self) -> list[Frame]:
        """The last line, where it has no end."""
        rest = b"".join(self._buffer)
        self._buffer.clear()
        return [_line(rest)] if rest else []


def sse_bytes(name: str, payload: Any) -> bytes:
    r"""Make the bytes of one server-sent event.

    Parameters
    ----------
    name : str
        Of the event; none where empty.
    payload : object
        JSON, or text that is sent as it is.

    Examples
    --------
    >>> sse_bytes("ping", {"type": "ping"})
    b'event: ping\ndata: {"type":"ping"}\n\n'
    """
    data = payload if isinstance(payload, str) else compact(payload)
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data}\n\n".encode("utf-8", "surrogatepass")


def compact(payload: Any) -> str:
    """JSON in one line, as providers write it; lone halves of characters stay escaped."""
    try:
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(payload, separators=(",", ":"))
    return text


def _line(raw: bytes) -> Frame:
    bare = raw.strip()
    if not bare:
        return Frame(raw)
    try:
        return Frame(raw, bare.decode("utf-8"))
    except UnicodeDecodeError as error:
        problem = f"invalid UTF-8 at byte {error.start} of its line ({error.reason})"
        return Frame(raw, bare.decode("utf-8", "replace"), "", problem)


def _line_end(data: bytes, start: int, plain: bool) -> int:
    """Where the line's end ends: behind its LF or CR; -1 where it has none yet."""
    feed = data.find(b"\n", start)
    if not plain:
        carriage = data.find(b"\r", start, feed if feed >= 0 else len(data))
        if carriage >= 0:
            return carriage + 1
    return feed + 1 if feed >= 0 else -1
