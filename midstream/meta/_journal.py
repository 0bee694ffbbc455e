"""Frames behind one another in a file, each sealed with all that came before.

The file is a header of 32 bytes and one frame for each record. A frame is::

    2 s  b"MR"
    u8   length of the kind
    u8   flags: 1 has a time, 2 the blob is another record's, 4 is a version
    u64  index
    i64  time in nanoseconds
    u32  length of the body
    u32  length of the blob
    u32  CRC-32 of the 28 bytes so far
    kind (UTF-8), body (canonical JSON), blob, zeros up to a multiple of 32
    hash of 32 bytes

all little-endian. The hash is SHA-256, or HMAC-SHA256 with a key, of the previous record's hash,
the frame up to its body, and the blob's SHA-256; it thus holds for all that came before. A blob
that an earlier record has is not stored again: in its place stand that record's index (u64) and the
blob's SHA-256. Frames begin and end at multiples of 32, so that a sector that was never written
and reads as zeros holds whole hashes or none: no flipped bits look like that.

The lengths have a checksum of their own. A frame that reaches beyond the end of the file was
therefore being written when the process or the machine died, and nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import stat
import struct
import sys
import weakref
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from midstream._core.errors import LedgerError, LedgerInUseError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "HASH",
    "LARGEST",
    "VERSION",
    "Disk",
    "File",
    "Frame",
    "Journal",
    "Memory",
    "Store",
    "wrong",
]

MAGIC = b"midstream.ledger"
FORMAT = 1
KEYED = 1
#: Magic, format, flags, check of the key, CRC-32 of what is before it.
HEADER = struct.Struct("<16sHH8sI")
FRAME_MAGIC = b"MR"
PREFIX = struct.Struct("<2sBBQqIII")
REFERENCE = struct.Struct("<Q32s")
CRC = struct.Struct("<I")
#: Divides the sizes of sectors.
ALIGN = 32
HASH = 32
PADDINGS = [bytes(n) for n in range(ALIGN)]
CHUNK = 1 << 20
TIMED, ELSEWHERE, VERSION = 1, 2, 4
LARGEST = 2**32 - 1
#: Blobs up to here are no longer than a reference to them.
SHORT = REFERENCE.size


def wrong(index: int, what: str) -> LedgerError:
    """The error that names a record."""
    return LedgerError(f"record {index} {what}", record=index)


class Disk:
    """The calls of the operating system that writing takes, in one place."""

    def open(self, path: str, flags: int) -> int:
        """Return a descriptor."""
        return os.open(path, flags, 0o666)

    def lock(self, fd: int) -> None:
        """Raise OSError at once where another open file has the lock."""
        if sys.platform == "win32":
            # Far beyond the end: locked bytes could not be read.
            os.lseek(fd, 2**62, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, fd: int, data: memoryview) -> int:
        """Return how many bytes were written."""
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        """Cut off what is behind `size`."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Return when everything is on the disk."""
        if sys.platform == "darwin":
            # There fsync leaves data in the drive's cache.
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def sync_folder(self, path: str) -> None:
        """Make the name of a new file last; Windows does so itself."""
        if sys.platform == "win32":
            return
        fd = os.open(Path(path).parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        except OSError as error:
            # File systems whose folders cannot be synced say so.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(fd)


class Store(Protocol):
    """Bytes that grow at their end."""

    def size(self) -> int:
        """Number of bytes."""

    def stamp(self) -> object:
        """Something that differs after most writes and cuts by others."""

    def read(self, offset: int, n: int) -> bytes:
        """Return `n` bytes, fewer at the end."""

    def append(self, data: bytes) -> None:
        """Write all of it, or raise."""

    def truncate(self, size: int) -> None:
        """Cut off what is behind."""

    def sync(self) -> None:
        """Have it on the disk."""

    def sync_name(self) -> None:
        """Have its name on the disk."""

    def close(self) -> None:
        """Let go."""


class Memory:
    """The bytes of a file, without one."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def size(self) -> int:
        return len(self._data)

    def stamp(self) -> object:
        return None

    def read(self, offset: int, n: int) -> bytes:
        return bytes(memoryview(self._data)[offset : offset + n])

    def append(self, data: bytes) -> None:
        self._data += data

    def truncate(self, size: int) -> None:
        del self._data[size:]

    def sync(self) -> None:
        pass

    def sync_name(self) -> None:
        pass

    def close(self) -> None:
        pass


class File:
    """An open file that is appended to, locked where it may be written.

    Raises
    ------
    LedgerInUseError
        Another writer has it.
    LedgerError
        No regular file.
    OSError
    """

    def __init__(self, path: str, disk: Disk, *, readonly: bool) -> None:
        flags = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        flags |= os.O_RDONLY if readonly else os.O_RDWR | os.O_CREAT | os.O_APPEND
        place = Path(path)
        if place.exists():
            # Before it is opened: opening a pipe would wait for its other end.
            _check_regular(path, place.stat())
        while True:
            fd = disk.open(path, flags)
            try:
                _check_regular(path, os.fstat(fd))
                if not readonly:
                    _lock(disk, fd, path)
                # Somebody may have put another file there before this one was locked.
                there = readonly or (
                    place.exists() and os.path.samestat(place.stat(), os.fstat(fd))
                )
            except BaseException:
                os.close(fd)
                raise
            if there:
                break
            os.close(fd)
        self._path = path
        self._disk = disk
        self._fd = fd
        self._closer = weakref.finalize(self, os.close, fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def stamp(self) -> object:
        status = os.fstat(self._fd)
        return status.st_size, status.st_mtime_ns

    def read(self, offset: int, n: int) -> bytes:
        pieces = []
        while n > 0:
            if hasattr(os, "pread"):
                piece = os.pread(self._fd, min(n, 1 << 30), offset)
            else:
                os.lseek(self._fd, offset, os.SEEK_SET)
                piece = os.read(self._fd, min(n, 1 << 30))
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            n -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        # One write, unless the system writes less: the disk is nearly full, a limit is near.
        while view:
            view = view[self._disk.write(self._fd, view) :]

    def truncate(self, size: int) -> None:
        self._disk.truncate(self._fd, size)

    def sync(self) -> None:
        self._disk.sync(self._fd)

    def sync_name(self) -> None:
        self._disk.sync_folder(self._path)

    def close(self) -> None:
        # Closing unlocks.
        self._closer()


@dataclass(slots=True)
class Frame:
    """A frame that was read, its hash found right."""

    index: int
    offset: int
    end: int
    flags: int
    time_ns: int | None
    kind: bytes
    body: bytes
    #: What stands in the blob's place.
    payload: bytes
    #: SHA-256 of the blob, empty without one.
    digest: bytes
    hash: bytes
    previous: bytes

    @property
    def holder(self) -> int | None:
        """Index of the record that has the blob; None where it is here."""
        if not self.flags & ELSEWHERE:
            return None
        holder: int = REFERENCE.unpack(self.payload)[0]
        return holder

    @property
    def is_version(self) -> bool:
        return bool(self.flags & VERSION)


class Journal:
    """What is known of the frames in a store: where they are, and the last hash.

    Parameters
    ----------
    store : Store
    key : bytes or None
    where : str
        What messages call the store.

    Attributes
    ----------
    offsets : array of int
        Where each frame begins.
    blobs : dict of bytes to int
        SHA-256 of each blob that later frames may refer to -> index of the frame.
    versions : array of int
        Indices of the frames that are versions.
    end : int
        Where the last known frame ends; 0 before there is a header.
    head : bytes
        Hash of the last frame, of the header without one.
    """

    def __init__(self, store: Store, key: bytes | None, where: str) -> None:
        self.store = store
        self._key = key
        self._where = where
        self.offsets = array("Q")
        self.blobs: dict[bytes, int] = {}
        self.versions = array("Q")
        self.end = 0
        self._seal = _sealing(key)
        self.head = self._seal(self.header())
        #: What an append that did not come to its end found: to be gone back to.
        self._undo: tuple[int, bytes, int, int, bytes | None] | None = None

    def header(self) -> bytes:
        """What the file begins with."""
        check = bytes(8)
        if self._key is not None:
            check = hmac.digest(self._key, MAGIC + b" key", "sha256")[:8]
        flags = KEYED if self._key is not None else 0
        head = HEADER.pack(MAGIC, FORMAT, flags, check, 0)[: -CRC.size]
        return head + CRC.pack(zlib.crc32(head))

    def begin(self) -> None:
        """Write the header of a new file, and have it on the disk."""
        try:
            self.store.append(self.header())
            self.store.sync()
            self.store.sync_name()
        except BaseException:
            self.store.truncate(0)
            raise
        self.end = HEADER.size

    def append(
        self,
        kind: bytes,
        body: bytes,
        blob: bytes,
        time_ns: int | None,
        *,
        version: bool,
        sync: bool,
    ) -> tuple[int, bytes, bytes]:
        """Write a frame; return its index, its hash and the one before.

        Raises
        ------
        OSError
            Nothing was written, or what was is cut off again.
        """
        self.go_back()
        index, previous, offset = len(self.offsets), self.head, self.end
        flags = (TIMED if time_ns is not None else 0) | (VERSION if version else 0)
        digest = hashlib.sha256(blob).digest() if blob else b""
        payload, sealed, new = blob, digest, None
        if len(blob) > SHORT:
            holder = self.blobs.get(digest)
            if holder is None:
                new = digest
            else:
                flags |= ELSEWHERE
                payload = sealed = REFERENCE.pack(holder, digest)
        prefix = PREFIX.pack(
            FRAME_MAGIC, len(kind), flags, index, time_ns or 0, len(body), len(payload), 0
        )[: -CRC.size]
        start = b"".join((prefix, CRC.pack(zlib.crc32(prefix)), kind, body))
        seal = self._seal(b"".join((previous, start, sealed)))
        padding = PADDINGS[-(len(start) + len(payload)) % ALIGN]
        frame = b"".join((start, payload, padding, seal))
        self._undo = (offset, previous, index, len(self.versions), new)
        try:
            self.store.append(frame)
            if sync:
                self.store.sync()
            self.offsets.append(offset)
            if new is not None:
                self.blobs[new] = index
            if version:
                self.versions.append(index)
            self.head = seal
            self.end = offset + len(frame)
            # From here on it is written.
            self._undo = None
        except BaseException as error:
            error.add_note(f"record {index} was not written; the ledger is as before")
            self.go_back()
            raise
        return index, seal, previous

    def go_back(self) -> None:
        """Undo an append that was interrupted, however far it came; again, where that failed."""
        if self._undo is None:
            return
        end, head, n, n_versions, new = self._undo
        del self.offsets[n:]
        del self.versions[n_versions:]
        if new is not None:
            self.blobs.pop(new, None)
        self.end, self.head = end, head
        self.store.truncate(end)
        self._undo = None

    def scan(
        self, size: int, pinned: bytes | None, check: Callable[[Frame], None] | None = None
    ) -> int:
        """Take in the frames up to `size` that are not known yet.

        Parameters
        ----------
        size : int
            Bytes of the store that count.
        pinned : bytes or None
            A hash that must be among those of the frames taken in, or be the last known one.
        check : callable, optional
            Is given every frame before it is taken in, and raises where it is wrong.

        Returns
        -------
        int
            Where the last whole frame ends; behind it is at most an incomplete one.

        Raises
        ------
        LedgerError
        """
        n = len(self.offsets)
        if size < self.end:
            raise wrong(n, f"is where the file was cut off: of {self.end} bytes {size} are there")
        before = self.end, self.head, len(self.versions)
        new: list[bytes] = []
        try:
            return self._scan(size, pinned, check, new)
        except BaseException:
            # An error or a signal: as if nothing had been read.
            self.end, self.head, n_versions = before
            del self.offsets[n:], self.versions[n_versions:]
            for digest in new:
                self.blobs.pop(digest, None)
            raise

    def _scan(
        self,
        size: int,
        pinned: bytes | None,
        check: Callable[[Frame], None] | None,
        new: list[bytes],
    ) -> int:
        if self.end == 0:
            if not self._check_header(self.store.read(0, min(size, HEADER.size))):
                self._check_pinned(pinned, pinned == self.head)
                return 0
            self.end = HEADER.size
        found = pinned is None or pinned == self.head
        for frame in self.frames(self.end, size, len(self.offsets), self.head):
            index, digest, holder = frame.index, frame.digest, frame.holder
            long = holder is None and len(frame.payload) > SHORT
            if holder is not None and self.blobs.get(digest) != holder:
                raise wrong(index, f"refers to a blob that record {holder} does not have")
            if long and digest in self.blobs:
                raise wrong(index, f"holds the blob of record {self.blobs[digest]} once more")
            if check is not None:
                check(frame)
            if long:
                new.append(digest)
                self.blobs[digest] = index
            if frame.is_version:
                self.versions.append(index)
            self.offsets.append(frame.offset)
            self.head, self.end = frame.hash, frame.end
            found = found or frame.hash == pinned
        self._check_pinned(pinned, found)
        return self.end

    def sound(self, size: int, check: Callable[[Frame], None]) -> int:
        """Where the first frame begins that is wrong or incomplete; only before any is known.

        Raises
        ------
        LedgerError
            The header is wrong, or there is none.
        """
        try:
            return self.scan(size, None, check)
        except LedgerError as error:
            if error.record is None:
                raise
            end = HEADER.size
            for frame in islice(self.frames(end, size, 0, self.head), error.record):
                end = frame.end
            return end

    def _check_pinned(self, pinned: bytes | None, found: bool) -> None:
        if pinned is not None and not found:
            n = len(self.offsets)
            raise LedgerError(
                f"record {n}: the head {pinned.hex()[:16]} is not among the {n} records: the "
                "ledger was cut off or rewritten, or is another",
                record=n,
            )

    def _check_header(self, data: bytes) -> bool:
        """Whether there is one: a shorter file is a new one, if it begins as one."""
        where = self._where
        if data[: len(MAGIC)] != MAGIC[: len(data)] and (len(data) >= HEADER.size or any(data)):
            raise LedgerError(f"{where} is no ledger: it begins with {data[:16]!r}")
        if len(data) < HEADER.size:
            return False
        _, version, flags, check, crc = HEADER.unpack(data)
        if crc != zlib.crc32(data[: -CRC.size]):
            raise LedgerError(f"{where}: the file's header is damaged: its checksum is wrong")
        if version != FORMAT or flags & ~KEYED:
            raise LedgerError(f"{where} has format {version}.{flags}, known is {FORMAT}")
        if bool(flags & KEYED) != (self._key is not None):
            wants = "needs its key" if flags & KEYED else "has no key, but one was given"
            raise LedgerError(f"{where}: the ledger {wants}")
        if data != self.header():
            raise LedgerError(f"{where}: the key given is not the ledger's (check {check.hex()})")
        return True

    def one(self, index: int) -> Frame:
        """The frame of an index, read and checked anew."""
        for frame in self.some(index, index + 1):
            return frame
        raise wrong(index, "is gone: the file was changed since it was opened")

    def some(self, start: int, stop: int) -> Iterator[Frame]:
        """Frames of indices within ``[start, stop)``, read and checked anew.

        Raises
        ------
        LedgerError
            There are fewer, or others than there were.
        """
        offset = self.offsets[start]
        end = self.offsets[stop] if stop < len(self.offsets) else self.end
        previous = self.store.read(offset - HASH, HASH) if start else self._seal(self.header())
        index = start
        for frame in self.frames(offset, end, start, previous):
            index = frame.index + 1
            yield frame
        if index < stop:
            raise wrong(index, "is gone: the file was changed since it was opened")

    def frames(self, offset: int, end: int, index: int, previous: bytes) -> Iterator[Frame]:
        """Frames within ``[offset, end)``, each found right; an incomplete last one is left out.

        Raises
        ------
        LedgerError
        """
        store, seal_of, unpack, crc32 = self.store, self._seal, PREFIX.unpack_from, zlib.crc32
        chunk, base = b"", offset
        while offset < end:
            at = offset - base
            if len(chunk) - at < PREFIX.size:
                chunk, base, at = store.read(offset, min(CHUNK, end - offset)), offset, 0
            if len(chunk) - at < PREFIX.size:
                if _may_begin(chunk[at:], index):
                    return
                raise wrong(index, f"does not begin as one: {chunk[at : at + 12]!r}")
            magic, n_kind, flags, number, time_ns, n_body, n_payload, crc = unpack(chunk, at)
            if crc != crc32(chunk[at : at + PREFIX.size - CRC.size]) or magic != FRAME_MAGIC:
                if self._zeros(offset, end):
                    return
                raise wrong(index, "is damaged: the checksum of its lengths is wrong")
            if number != index:
                raise wrong(index, f"is missing: record {number} stands in its place")
            n_start = PREFIX.size + n_kind + n_body
            n_content = n_start + n_payload
            n_frame = n_content + -n_content % ALIGN + HASH
            if offset + n_frame > end:
                return
            if at + n_frame > len(chunk):
                n = max(min(CHUNK, end - offset), n_frame)
                chunk, base, at = store.read(offset, n), offset, 0
                if len(chunk) < n_frame:
                    raise wrong(index, "could not be read: the file became shorter")
            start = chunk[at : at + n_start]
            payload = digest = sealed = b""
            if n_payload:
                payload = chunk[at + n_start : at + n_content]
                if flags & ELSEWHERE:
                    sealed, digest = payload, payload[8:]
                else:
                    sealed = digest = hashlib.sha256(payload).digest()
            tail = chunk[at + n_content : at + n_frame]
            seal = tail[-HASH:]
            if (
                seal != seal_of(previous + start + sealed)
                or tail[:-HASH] != PADDINGS[-n_content % ALIGN]
            ):
                if self._zeros(offset + n_frame - HASH, end):
                    return
                raise wrong(index, "is damaged or was altered: its hash is wrong")
            if flags & ~(TIMED | ELSEWHERE | VERSION) or (time_ns and not flags & TIMED):
                raise wrong(index, f"has flags that no record has: {flags}")
            if flags & ELSEWHERE and n_payload != REFERENCE.size:
                raise wrong(index, f"refers to a blob in {n_payload} bytes")
            body = PREFIX.size + n_kind
            yield Frame(
                index,
                offset,
                offset + n_frame,
                flags,
                time_ns if flags & TIMED else None,
                start[PREFIX.size : body],
                start[body:],
                payload,
                digest,
                seal,
                previous,
            )
            previous = seal
            offset += n_frame
            index += 1

    def _zeros(self, offset: int, end: int) -> bool:
        """Whether there are only zeros."""
        while offset < end:
            piece = self.store.read(offset, min(CHUNK, end - offset))
            if not piece or piece.count(0) != len(piece):
                return False
            offset += len(piece)
        return True


def _sealing(key: bytes | None) -> Callable[[bytes], bytes]:
    if key is None:
        return lambda data: hashlib.sha256(data).digest()
    return lambda data: hmac.digest(key, data, "sha256")


def _lock(disk: Disk, fd: int, path: str) -> None:
    try:
        disk.lock(fd)
    except (BlockingIOError, PermissionError) as error:
        raise LedgerInUseError(
            f"{path}: another writer has the ledger open; readers open it with readonly=True"
        ) from error


def _check_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(f"{path} is no ledger: it is no regular file")


def _may_begin(data: bytes, index: int) -> bool:
    """Whether a frame could begin so, as far as one can tell, or it is zeros."""
    known = FRAME_MAGIC + data[2:4] + struct.pack("<Q", index)
    return not any(data) or data[: len(known)] == known[: len(data)]
