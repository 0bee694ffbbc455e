"""Segments on their way from the event loop to the thread that decodes them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Piece", "PieceQueue", "RunFile", "container_format", "id3_start_s", "is_torn"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment.

    Parameters
    ----------
    data : bytes
    format : str
        ffmpeg's name of the container.
    stretch : int
        Discontinuities before it.
    init : bytes
        What has to stand before it where a container begins with it.
    start_s : float or None
        Its first timestamp, where the container has none.
    program_time_s : float or None
        Wall clock of its beginning, seconds since the epoch.
    torn : bool
        Whether it is cut off, so that nothing can follow in the same container.
    """

    data: bytes
    format: str
    stretch: int
    init: bytes = b""
    start_s: float | None = None
    program_time_s: float | None = None
    torn: bool = False

    def follows(self, other: Piece) -> bool:
        """Whether one container can go on from the other to this one."""
        return (
            not (self.torn or other.torn)
            and self.format == other.format
            and self.stretch == other.stretch
            and self.init == other.init
        )


#: Pieces that may wait: a reader that stops early has not asked for all of a film.
_MAX_PIECES = 4


class PieceQueue:
    """A bounded queue of pieces: a task puts, one thread reads them as files.

    Parameters
    ----------
    max_bytes : int
        Bytes that may wait; one piece always may.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: deque[Piece] = deque()
        self._bytes = 0
        self._turn = threading.Condition()
        self._over = False
        self._failure: Exception | None = None
        self._shut = False
        self._waiter: asyncio.Future[None] | None = None

    async def put(self, piece: Piece) -> None:
        """Add a piece once there is room."""
        while True:
            with self._turn:
                if self._shut:
                    return
                fits = self._bytes + len(piece.data) <= self._max_bytes
                if not self._pieces or (fits and len(self._pieces) < _MAX_PIECES):
                    self._pieces.append(piece)
                    self._bytes += len(piece.data)
                    self._turn.notify_all()
                    return
                waiter = self._waiter = asyncio.get_running_loop().create_future()
            await waiter

    def end(self, failure: Exception | None = None) -> None:
        """Say that nothing follows, and why, to be raised once the rest is read."""
        with self._turn:
            self._over = True
            self._failure = failure
            self._turn.notify_all()

    def shut_down(self) -> None:
        """Drop what waits; readers see the end."""
        with self._turn:
            self._shut = True
            self._pieces.clear()
            self._turn.notify_all()
        self._wake()

    def next_run(self) -> RunFile | None:
        """Wait for a piece; a file that begins with it, or None at the end.

        Raises
        ------
        Exception
            What `end` was told.
        """
        piece = self._next(None)
        if piece is None:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            return None
        return RunFile(piece, self._next)

    def _next(self, after: Piece | None) -> Piece | None:
        """Wait for the next piece; None where it begins another container than `after` is of."""
        with self._turn:
            while not self._pieces and not self._over and not self._shut:
                self._turn.wait()
            if not self._pieces:
                return None
            if after is not None and not self._pieces[0].follows(after):
                return None
            piece = self._pieces.popleft()
            self._bytes -= len(piece.data)
        self._wake()
        return piece

    def _wake(self) -> None:
        with self._turn:
            waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        try:
            waiter.get_loop().call_soon_threadsafe(_set, waiter)
        except RuntimeError:  # the loop is closed: nobody waits
            return


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class RunFile:
    """Pieces of one container after each other, as a file to read.

    Parameters
    ----------
    first : Piece
    more : callable
        Waits for the piece after the one given; None where there is none.
    """

    def __init__(self, first: Piece, more: Callable[[Piece], Piece | None]) -> None:
        self.first = first
        self._piece = first
        self._more: Callable[[Piece], Piece | None] | None = more
        self._data = memoryview(first.init + first.data)
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        while self._at >= len(self._data):
            following = None if self._more is None else self._more(self._piece)
            if following is None:
                self._more = None
                return b""
            self._piece, self._data, self._at = following, memoryview(following.data), 0
        taken = bytes(self._data[self._at : self._at + size])
        self._at += len(taken)
        return taken


def container_format(data: bytes) -> str | None:
    """Tell by its first bytes what a segment is, as ffmpeg calls it; None if nothing known.

    Examples
    --------
    >>> container_format(b"\\x00\\x00\\x00\\x18ftypiso5")
    'mp4'
    """
    if data[:1] == b"\x47" and data[188:189] in (b"\x47", b""):
        return "mpegts"
    if data[4:8] in (b"ftyp", b"styp", b"moof", b"sidx", b"emsg", b"prft", b"moov"):
        return "mp4"
    body = data[_id3_bytes(data) :]
    if body[:2] == b"\x0b\x77":
        return "ac3"
    if len(body) > 1 and body[0] == 0xFF and body[1] & 0xE0 == 0xE0:
        return "aac" if body[1] & 0x06 == 0 else "mp3"
    return None


def is_torn(data: bytes, format: str) -> bool:
    """Whether an MP4 segment ends inside a box: a reader would take what follows for its rest.

    Examples
    --------
    >>> is_torn(b"\\x00\\x00\\x00\\x10mdat1234", "mp4")
    True
    """
    if format != "mp4":
        return False
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # to the end of the file
            return False
        if size < 8:
            return True
        at += size
    return at != len(data)


_ID3_OWNER = b"com.apple.streaming.transportStreamTimestamp\x00"


def id3_start_s(data: bytes) -> float | None:
    """First timestamp of packed audio, which an ID3 tag before it tells; in seconds."""
    tag = data[: _id3_bytes(data)]
    at = tag.find(_ID3_OWNER)
    stamp = tag[at + len(_ID3_OWNER) : at + len(_ID3_OWNER) + 8]
    if at < 0 or len(stamp) < 8:
        return None
    return (int.from_bytes(stamp, "big") & ((1 << 33) - 1)) / 90_000


def _id3_bytes(data: bytes) -> int:
    """Length of the tags at the beginning."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size
    return at
