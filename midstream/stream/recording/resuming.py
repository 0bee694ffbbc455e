"""What a recording that is to be resumed holds already, and how much of it is whole."""

from __future__ import annotations

import zlib
from io import FileIO
from pathlib import Path

from midstream._core.errors import RecordingError
from midstream.stream.recording.decoding import RecordingDecoder
from midstream.stream.recording.files import READ_BYTES, Members
from midstream.stream.recording.lines import MAX_LINE_BYTES, begins_one, header_line

__all__ = ["Found"]


class Found:
    """What a file that is to be appended to holds already.

    Attributes
    ----------
    decoder : RecordingDecoder
        Has seen all whole lines.
    size : int
        Bytes of the file to keep.
    salvage : bytes
        Whole lines of a packed file that are behind these bytes.
    lacks_end : bool
        Whether the last line is whole but for its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.decoder = RecordingDecoder(str(path), most_findings=0)
        self.size = 0
        self.salvage = b""
        self.lacks_end = False
        self.next_seq = 0
        self.last_ns = 0
        self._partial: list[bytes] = []  # of a line that has not ended
        self._n_partial = 0
        self._behind = bytearray()  # unpacked, since the last whole member

    def read(self, file: FileIO) -> None:
        """Read the file to its end."""
        piece = file.read(READ_BYTES)
        if piece[:2] == b"\x1f\x8b":
            self._read_packed(file, piece)
        else:
            while piece:
                self._take(piece)
                piece = file.read(READ_BYTES)
            self._last()
            self.size = self.decoder.size - self.lacks_end
        if self.decoder.own is False:
            raise RecordingError("only what a Recorder wrote can be resumed", place=str(self._path))

    def _read_packed(self, file: FileIO, piece: bytes) -> None:
        members = Members()
        try:
            while piece:
                for out, ends in members.feed(piece):
                    self._behind += out
                    self._take(out)
                    if ends:
                        self._behind.clear()
                    elif len(self._behind) > MAX_LINE_BYTES:
                        raise RecordingError(
                            "a gzip member is too long to be resumed", place=str(self._path)
                        )
                piece = file.read(READ_BYTES)
        except zlib.error as error:
            if not members.whole:
                raise RecordingError(f"not gzip: {error}", place=str(self._path)) from None
        self.size = members.whole
        torn = self._n_partial
        self._last()
        if torn and not self.lacks_end:
            del self._behind[max(len(self._behind) - torn, 0) :]
        self.salvage = bytes(self._behind)

    def _take(self, piece: bytes) -> None:
        *lines, tail = piece.split(b"\n")
        for line in lines:
            if self._partial:
                self._partial.append(line)
                line = b"".join(self._partial)
                self._partial.clear()
                self._n_partial = 0
            self._line(line)
        if tail:
            self._partial.append(tail)
            self._n_partial += len(tail)
            if self._n_partial > MAX_LINE_BYTES:
                raise self.decoder.too_long(self._n_partial)

    def _line(self, line: bytes) -> None:
        for event in self.decoder.feed(line + b"\n", 0):
            self.next_seq = event.seq + 1
            self.last_ns = max(self.last_ns, event.t_ns)
        if self.decoder.error is not None:
            raise self.decoder.error

    def _last(self) -> None:
        """Keep a last line without its end where it is whole otherwise."""
        tail = b"".join(self._partial)
        self._partial.clear()
        if not tail:
            return
        if self.decoder.own is None and not begins_one(tail):
            raise RecordingError("this is no recording", place=str(self._path))
        trial = RecordingDecoder(str(self._path))
        if self.decoder.own is not None:
            trial.feed(header_line(), 0)
        events = trial.feed(tail + b"\n", 0)
        if trial.error is None and (events or (trial.own is not None and not self.decoder.own)):
            self._line(tail)
            self.lacks_end = True
