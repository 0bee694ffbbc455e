"""Pipes: read standard input, or another descriptor, without stopping the event loop."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import stat
import sys
import threading
from collections import deque
from typing import Any, Self

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    SourceError,
)
from midstream._core.validate import check_choice, check_int
from midstream.stream.decode import (
    FORMATS,
    Decoder,
    Format,
    NDJSONDecoder,
    PlainDecoder,
    SSEDecoder,
)
from midstream.stream.events import Event
from midstream.stream.formats.detecting import detect
from midstream.stream.recording import RecordingDecoder
from midstream.stream.sources import Source
from midstream.stream.sse import DEFAULT_MAX_BYTES

__all__ = ["SniffDecoder", "from_pipe"]

_READ_BYTES = 64 * 1024
#: How far to look for something that tells the format.
_LOOK_AHEAD = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
#: Whole lines that server-sent events may begin with, but text as well.
_NEUTRAL_LINES = re.compile(rb"(?:(?:(?:event|id|retry)?:[^\r\n]*+|data: *+)?[\r\n])*+")
_PAYLOADS = (b"{", b"[{", b"[DONE]")
#: What the beginning of a payload holds that is too long to be looked at whole.
_MARKS = re.compile(
    rb'"choices"|"candidates"|"type": ?"(?:response\.|message_start|content_block_|conversation\.)'
)


class SniffDecoder:
    """Finds out from the beginning what a pipe speaks, then decodes that.

    Plain text is passed on as soon as its first bytes rule out the rest, since it may have no
    line end for long. Server-sent events are known by data that begin as JSON does, JSON lines by
    the keys of the first one; what shows neither within 64 KiB is text.

    Parameters
    ----------
    place : str
        Name of the pipe in messages.
    format : str, optional
        Skip the finding out.
    max_bytes : int, default 8 MiB
        Longest line.
    """

    __slots__ = ("_decoder", "_head", "_max_bytes", "_neutral", "_place", "format")

    def __init__(
        self,
        place: str,
        *,
        format: Format | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._place = place
        self._max_bytes = max_bytes
        self._head = b""
        self._neutral = 0  # bytes of it in lines that decide nothing
        self.format = format
        self._decoder = None if format is None else self._make(format)

    @property
    def error(self) -> MidstreamError | None:
        """Why it cannot go on."""
        return None if self._decoder is None else self._decoder.error

    @property
    def done(self) -> bool:
        """Whether the stream said that it is over."""
        return self._decoder is not None and self._decoder.done

    def feed(self, item: bytes, t_ns: int) -> list[Event]:
        """Events of the next bytes."""
        if self._decoder is None:
            self._head += item
            over = len(self._head) > _LOOK_AHEAD
            self.format = sniff(self._head, over=over, neutral=self._neutral)
            if self.format is None:
                self._neutral = _neutral_end(self._head, self._neutral)
                return []
            item, self._head = self._head, b""
            self._decoder = self._make(self.format)
        return self._decoder.feed(item, t_ns)

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Events left when nothing follows."""
        events: list[Event] = []
        if self._decoder is None:
            self.format = sniff(self._head, over=True, neutral=self._neutral) or "text"
            self._decoder = self._make(self.format)
            events = self._decoder.feed(self._head, t_ns)
        if self._decoder.error is None:
            events += self._decoder.finish(t_ns, broken=broken)
        return events

    def _make(self, format: Format) -> Decoder:
        if format == "sse":
            return SSEDecoder(max_bytes=self._max_bytes)
        if format == "recording":
            return RecordingDecoder(self._place)
        if format == "ndjson":
            return NDJSONDecoder(max_bytes=self._max_bytes)
        return PlainDecoder()


def sniff(head: bytes, *, over: bool, neutral: int = 0) -> Format | None:
    """Tell a format by its beginning; None where more bytes are needed and not `over`.

    Text may begin like any of the others, and must not vanish in their decoders: a format is
    believed only where it shows something that is its own. `neutral` bytes at the beginning are
    known to be of lines that decide nothing.
    """
    start = len(_BOM) if head.startswith(_BOM) else 0
    bare = head[max(start, neutral) :].lstrip(b" \t\r\n")
    found: Format | None = None
    if bare.startswith(b"{") and not head[start:neutral].strip():
        found = _sniff_json(bare, over=over)
    elif bare and not (len(head) < len(_BOM) and _BOM.startswith(head)):
        found = _sniff_sse(head[_neutral_end(head, neutral) :])
    return "text" if found is None and over else found


def _neutral_end(head: bytes, neutral: int) -> int:
    """Where the first line begins that may decide, at or after `neutral`."""
    start = max(len(_BOM) if head.startswith(_BOM) else 0, neutral)
    if head.find(b"\n", start) < 0 and head.find(b"\r", start) < 0:
        return start  # much faster than the next line where one line comes in many pieces
    lines = _NEUTRAL_LINES.match(head, start)
    return start if lines is None else lines.end()


def _sniff_sse(line: bytes) -> Format | None:
    """Server-sent events, by a line that is not neutral: do its data look like a payload?"""
    if line.startswith(b"data:"):
        value = line[5:].lstrip(b" ")
        if value.startswith(_PAYLOADS):
            return "sse"
        return None if any(payload.startswith(value) for payload in _PAYLOADS) else "text"
    undecided = line.startswith(_FIELDS) or any(field.startswith(line) for field in _FIELDS)
    return None if undecided else "text"


def _sniff_json(text: bytes, *, over: bool) -> Format | None:
    """JSON lines of ours or of a provider's stream, by what the first one holds."""
    if text[1:].lstrip(b" \t")[:1] not in (b"", b'"', b"}"):
        return "text"
    line, end, _ = text.partition(b"\n")
    if not end and not over:
        return None
    if not end and len(line) > _LOOK_AHEAD:  # too long to wait for
        return "ndjson" if _MARKS.search(line) else "text"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # a payload that got damaged, or no payload
        return "ndjson" if end and _MARKS.search(line) else "text"
    if "midstream" in row or (type(row.get("t")) in (int, float) and "data" in row):
        return "recording"
    return "ndjson" if _is_payload(row) else "text"


def _is_payload(row: dict[str, Any]) -> bool:
    """Whether it is a line of a provider's stream, or an error that came instead of one."""
    if detect(row) is not None:
        return True
    kind = row.get("object")
    error = row.get("error")
    return isinstance(error, dict) or kind == "error" or (bool(error) and len(row) == 1)


def from_pipe(
    pipe: Any = None,
    *,
    format: Format | None = None,
    max_line_bytes: int = DEFAULT_MAX_BYTES,
) -> Source:
    """Make a source of bytes that another program writes: standard input by default.

    Parameters
    ----------
    pipe : binary file or int, optional
        A file object or a descriptor; default standard input. It is not closed. Bytes that were
        already read into a file object's buffer are not seen.
    format : str, optional
        ``"sse"`` a provider's server-sent events, ``"recording"``, ``"ndjson"`` a provider's
        payloads as JSON lines, ``"text"``. By default the beginning decides: server-sent events
        whose first data begin as JSON does, a first line that is a JSON object with the keys of a
        recording or of a payload; all else is text. Which provider's, the payloads tell.
    max_line_bytes : int, default 8 MiB
        Longest line.

    Returns
    -------
    Source

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `pipe` is no open binary file or descriptor; `format` is not one of the four;
        `max_line_bytes` is no positive integer.
    SourceError
        There is no standard input, or the descriptor is not open.
    MalformedStreamError, RecordingError
        From the iterator, as the other sources say.

    Notes
    -----
    Pipes, sockets and terminals are waited for by the event loop where it can (POSIX), else by a
    thread that ends with the program. Plain files are read in pieces. The descriptor stays
    blocking, because it may be shared with other programs.

    Examples
    --------
    >>> import io
    >>> async def texts():
    ...     return [event.text async for event in from_pipe(io.BytesIO(b"Once upon a time"))]
    >>> asyncio.run(texts())
    ['Once upon a time']
    """
    if format is not None:
        check_choice("format", format, FORMATS)
    check_int("max_line_bytes", max_line_bytes, low=1)
    if pipe is None:
        pipe = _standard_input()
    decoder = SniffDecoder(
        str(getattr(pipe, "name", "pipe")), format=format, max_bytes=max_line_bytes
    )
    fd = _descriptor(pipe)
    if fd is None:
        return Source(_Pieces(pipe), decoder, turn=1)
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError as error:
        raise SourceError(error.strerror or str(error), place=f"descriptor {fd}") from error
    if regular:
        return Source(_Pieces(os.fdopen(fd, "rb", closefd=False), pipe), decoder, turn=1)
    return Source(_Descriptor(fd, pipe), decoder)


def _standard_input() -> Any:
    if sys.stdin is None:
        raise SourceError("standard input is closed")
    try:
        return sys.stdin.buffer
    except AttributeError:  # replaced, as in notebooks
        raise SourceError(
            f"standard input gives no bytes, it is {type(sys.stdin).__name__}"
        ) from None


def _descriptor(pipe: Any) -> int | None:
    if isinstance(pipe, int) and not isinstance(pipe, bool):
        return pipe
    if not hasattr(pipe, "read") or isinstance(pipe, io.TextIOBase):
        raise ArgumentTypeError(
            f"pipe must be a binary file or a descriptor, got {type(pipe).__name__}"
        )
    try:
        return int(pipe.fileno())
    except (AttributeError, OSError):  # in memory
        return None
    except ValueError:
        raise ArgumentValueError("pipe is closed") from None


class _Pieces:
    """A file without a wait: on disk or in memory.

    `owner` is kept so that nobody closes the descriptor under way: a file object does so when its
    last reference goes.
    """

    def __init__(self, file: Any, owner: Any = None) -> None:
        self._read = getattr(file, "read1", file.read)
        self._owner = owner

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        piece: bytes = self._read(_READ_BYTES)
        if not piece:
            raise StopIteration
        return piece


class _Descriptor:
    """A descriptor that may have nothing to read yet; `owner` as in `_Pieces`."""

    def __init__(self, fd: int, owner: Any = None) -> None:
        self._fd = fd
        self._owner = owner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: _Thread | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        try:
            piece = await self._piece()
        except OSError as error:
            raise SourceError(str(error), place=f"descriptor {self._fd}") from error
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._closed = True
        if self._thread is not None:
            self._thread.stop()

    async def _piece(self) -> bytes:
        loop = asyncio.get_running_loop()
        if self._thread is None:
            ready: asyncio.Future[None] = loop.create_future()
            try:
                loop.add_reader(self._fd, _wake, ready)
            except (NotImplementedError, PermissionError):
                self._thread = _Thread(self._fd, loop)
            else:
                try:
                    await ready
                finally:
                    loop.remove_reader(self._fd)
                return os.read(self._fd, _READ_BYTES)
        return await self._thread.piece()


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class _Thread:
    """Reads where the event loop cannot wait for the descriptor, as on Windows."""

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = fd
        self._loop = loop
        self._pieces: deque[bytes | OSError] = deque()
        self._asked = threading.Semaphore(0)
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False
        # A daemon, since nothing can call a blocked read off: it must not hold up the exit.
        threading.Thread(target=self._run, name="midstream-pipe", daemon=True).start()

    async def piece(self) -> bytes:
        self._asked.release()  # one read at a time: the writer is slowed down as by a pipe
        while not self._pieces:
            self._waiter = self._loop.create_future()
            await self._waiter
        piece = self._pieces.popleft()
        if isinstance(piece, OSError):
            raise piece
        return piece

    def stop(self) -> None:
        self._stopped = True
        self._asked.release()

    def _run(self) -> None:
        while True:
            self._asked.acquire()
            if self._stopped:
                return
            piece: bytes | OSError
            try:
                piece = os.read(self._fd, _READ_BYTES)
            except OSError as error:
                piece = error
            try:
                self._loop.call_soon_threadsafe(self._put, piece)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                return
            if not piece or isinstance(piece, OSError):
                return

    def _put(self, piece: bytes | OSError) -> None:
        self._pieces.append(piece)
        if self._waiter is not None:
            _wake(self._waiter)
