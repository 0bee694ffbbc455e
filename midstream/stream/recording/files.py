"""The bytes of a recording, whether packed or not, in one file or in several."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from midstream._core.errors import RecordingError

__all__ = [
    "READ_BYTES",
    "Members",
    "Opener",
    "Pieces",
    "cause_of",
    "next_part",
    "part_of",
    "split_name",
]

#: Opens a file of a recording for reading.
Opener = Callable[[Path], BinaryIO]

READ_BYTES = 16 * 1024
_GZIP = b"\x1f\x8b"
_PART = re.compile(r"(?P<stem>.*)\.(?P<part>[2-9]|[1-9][0-9]{1,8})")


def cause_of(error: OSError) -> str:
    """What the operating system says, without the path."""
    return error.strerror or str(error)


def split_name(name: str) -> tuple[str, str]:
    """Stem and ending of a file's name: ``.jsonl.gz`` counts as one ending.

    Examples
    --------
    >>> split_name("a.b.jsonl.gz"), split_name("a"), split_name(".hidden")
    (('a.b', '.jsonl.gz'), ('a', ''), ('.hidden', ''))
    """
    path = Path(name)
    suffix = path.suffix
    if suffix == ".gz":
        suffix = Path(path.stem).suffix + suffix
    return (name[: -len(suffix)], suffix) if suffix else (name, "")


def part_of(path: Path, part: int) -> Path:
    """Where a part of the recording that begins at `path` is.

    Examples
    --------
    >>> part_of(Path("run.jsonl"), 3).name, part_of(Path("run.jsonl"), 1).name
    ('run.3.jsonl', 'run.jsonl')
    """
    if part == 1:
        return path
    stem, ending = split_name(path.name)
    return path.with_name(f"{stem}.{part}{ending}")


def next_part(path: Path) -> Path:
    """Where the part is that follows the one at `path`.

    Examples
    --------
    >>> next_part(Path("run.jsonl")).name, next_part(Path("run.9.jsonl")).name
    ('run.2.jsonl', 'run.10.jsonl')
    """
    stem, ending = split_name(path.name)
    found = _PART.fullmatch(stem)
    if found is None:
        return path.with_name(f"{stem}.2{ending}")
    return path.with_name(f"{found['stem']}.{int(found['part']) + 1}{ending}")


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


class Members:
    """Bytes of a gzip file that comes in pieces, as far as they are whole.

    Attributes
    ----------
    whole : int
        Bytes of the packed file up to the end of the last whole member.
    torn : bool
        Whether anything follows that.
    """

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._fed = 0
        self.whole = 0
        self.torn = False

    def feed(self, piece: bytes) -> Iterator[tuple[bytes, bool]]:
        """Unpacked pieces of bounded size, each with whether a member ends behind it.

        Raises
        ------
        zlib.error
            Not gzip.
        """
        self._fed += len(piece)
        while piece:
            self.torn = True
            out = self._inflate.decompress(piece, READ_BYTES)
            piece = self._inflate.unconsumed_tail
            if self._inflate.eof:
                piece = self._inflate.unused_data
                self.whole = self._fed - len(piece)
                self.torn = False
                self._inflate = zlib.decompressobj(wbits=31)
                yield out, True
            elif out:
                yield out, False


class Pieces:
    """A recording's bytes, unpacked, through its further parts.

    Opened when first read, so that a missing file is an error of the stream.

    Parameters
    ----------
    path : Path
        The first file.
    goes_on : callable, optional
        Asked at the end of a file whether another part of the recording follows.
    torn : callable, optional
        Told of packed bytes that break off or are none, in place of an error.
    opener : callable, optional
        Opens a file; by default without more ado.
    moves : callable, optional
        Told of each further file before its bytes come.
    """

    def __init__(
        self,
        path: Path,
        goes_on: Callable[[], bool] | None = None,
        torn: Callable[[str], None] | None = None,
        opener: Opener | None = None,
        moves: Callable[[Path], object] | None = None,
    ) -> None:
        self._path = path
        self._moves = moves
        self._open = _open if opener is None else opener
        self._goes_on = goes_on
        self._torn = torn
        self._file: BinaryIO | None = None
        self._over = False
        self._read = self._pieces()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        try:
            return next(self._read)
        except OSError as error:
            self._over = True
            raise RecordingError(cause_of(error), place=str(self._path)) from error

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._over = True
        if self._file is not None:
            self._file.close()

    def _pieces(self) -> Iterator[bytes]:
        while True:
            self._file = self._open(self._path)
            with self._file as file:
                piece = file.read(READ_BYTES)
                if piece[:2] == _GZIP:
                    yield from self._unpacked(file, piece)
                else:
                    while piece:
                        yield piece
                        piece = file.read(READ_BYTES)
            if self._goes_on is None or not self._goes_on():
                return
            following = next_part(self._path)
            if not following.is_file():
                return
            self._path = following
            if self._moves is not None:
                self._moves(following)

    def _unpacked(self, file: BinaryIO, piece: bytes) -> Iterator[bytes]:
        members = Members()
        try:
            while piece:
                for out, _ in members.feed(piece):
                    yield out
                piece = file.read(READ_BYTES)
        except zlib.error as error:
            self._break(f"not gzip: {error}")
            return
        if members.torn:
            self._break(f"cut off in the middle of the gzip member at byte {members.whole}")

    def _break(self, problem: str) -> None:
        if self._torn is None:
            self._over = True
            raise RecordingError(problem, place=str(self._path))
        self._torn(problem)
