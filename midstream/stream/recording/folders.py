"""`RecordingsFolder`: a folder of recordings whose names lead nowhere else."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream._core.validate import check_int, check_path
from midstream.stream.recording.files import cause_of, part_of
from midstream.stream.recording.locking import lock
from midstream.stream.recording.reading import Recording, read_from, replay_from
from midstream.stream.recording.writing import Recorder
from midstream.stream.sources import Source

__all__ = ["RecordingsFolder", "check_name"]

_MOST_CHARS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.jsonl(?:\.gz)?")
#: Windows takes these for devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?", re.IGNORECASE)
_BY_FD = {os.open, os.unlink} <= os.supports_dir_fd and os.scandir in os.supports_fd
_NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_FLAGS: int = (
    _NO_FOLLOW
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in the folder must not make anybody wait
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
#: Window bits of zlib for gzip's format, and what is unpacked at once.
_GZIP = 47
_PIECE_BYTES = 1 << 16
#: New recordings after which to look at the folder's size.
_PRUNE_EVERY = 16
#: What a file system says that has no second names.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_INCOMING = ".incoming-"
_COPY_BYTES = 1 << 20


def check_name(name: str) -> str:
    """Return the name of a recording if it can be one on every system.

    Parameters
    ----------
    name : str
        Letters, digits, ``.``, ``_`` and ``-`` of ASCII, at most 200, the first a letter or digit,
        with the ending ``.jsonl`` or ``.jsonl.gz``, and no name that Windows reserves.

    Returns
    -------
    str

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        It is none.

    Examples
    --------
    >>> check_name("run-1.jsonl")
    'run-1.jsonl'
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"name must be str, got {type(name).__name__}")
    if len(name) > _MOST_CHARS:
        raise ArgumentValueError(f"name must have at most {_MOST_CHARS} characters")
    if _NAME.fullmatch(name) is None:
        raise ArgumentValueError(
            "name must be letters, digits, '.', '_' and '-' with the ending .jsonl or .jsonl.gz,"
            f" got {name!r}"
        )
    if _DEVICES.fullmatch(name) is not None:
        raise ArgumentValueError(f"name must not be one that Windows reserves, got {name!r}")
    return name


class RecordingsFolder:
    """A folder of recordings, by names that cannot lead out of it.

    Parameters
    ----------
    path : str or path
        The folder; it is made, for its owner alone, where it is missing.
    max_files, max_bytes : int, optional
        How much the folder may hold. Before a new recording is made, now and then, the oldest are
        removed until there is room for one more file, and what there is has at most this size;
        those which are being recorded stay. So it may hold a twentieth more for a while, or 16
        recordings where only their size is limited.

    Attributes
    ----------
    path : Path
        The folder, without symbolic links.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used. Every method that takes a name raises them for one that is no
        name of a recording: paths, ``..``, NUL, reserved names, other endings.
    RecordingError
        The folder cannot be made; from every method, too: the file cannot be used, or is a
        symbolic link, or no regular file.

    Notes
    -----
    Symbolic links and other files that are none are not followed, also where they are put there
    at the very moment: files are opened relative to the folder, without following links. (Windows
    has no such call; there the name is looked at before.)

    Examples
    --------
    >>> import tempfile
    >>> from midstream.stream import Event
    >>> folder = RecordingsFolder(tempfile.mkdtemp())
    >>> with folder.recorder("run.jsonl") as recorder:
    ...     recorder.write(Event("text", 0, 0, "Once"))
    >>> folder.names(), folder.read("run.jsonl").events[0].text
    (['run.jsonl'], 'Once')
    >>> folder.read("../run.jsonl")
    Traceback (most recent call last):
    ...
    midstream._core.errors.ArgumentValueError: name must be letters, digits, '.', '_' and '-' \
with the ending .jsonl or .jsonl.gz, got '../run.jsonl'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_files: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        folder = Path(check_path("path", path))
        self._max_files = None if max_files is None else check_int("max_files", max_files, low=1)
        self._max_bytes = None if max_bytes is None else check_int("max_bytes", max_bytes, low=1)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path = folder.resolve(strict=True)
            found = self.path.stat()
        except OSError as error:
            raise RecordingError(cause_of(error), place=str(folder)) from error
        self._identity = (found.st_dev, found.st_ino)
        # To look at all files for each new one would cost more than the recording.
        self._prune_every = max((self._max_files or 20 * _PRUNE_EVERY) // 20, 1)
        self._since_pruned = self._prune_every

    def names(self) -> list[str]:
        """Names of all recordings in it, sorted."""
        return sorted(self.scan())

    def scan(self) -> dict[str, os.stat_result]:
        """What the system knows of all recordings in it, by name; 5 microseconds each."""
        found = {}
        try:
            # By its descriptor, so that it is this folder and no other in its place.
            with self._at() as fd, os.scandir(self.path if fd is None else fd) as entries:
                for entry in entries:
                    if _is_name(entry.name) and entry.is_file(follow_symlinks=False):
                        with suppress(FileNotFoundError):  # gone meanwhile
                            found[entry.name] = entry.stat(follow_symlinks=False)
        except OSError as error:
            raise RecordingError(cause_of(error), place=str(self.path)) from error
        return found

    def fresh_name(self, *, packed: bool = False) -> str:
        """Make a name that no other recording has: the time, and eight random digits.

        Parameters
        ----------
        packed : bool, default False
            With the ending ``.jsonl.gz``.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return f"{stamp}-{secrets.token_hex(4)}.jsonl{'.gz' if packed else ''}"

    def locate(self, name: str) -> Path:
        """Path of the recording of that name, whether it is there or not."""
        return self.path / check_name(name)

    def open(self, name: str) -> BinaryIO:
        """Open a recording for reading."""
        return FileIO(self._open(check_name(name), os.O_RDONLY), "rb")

    def stat(self, name: str) -> os.stat_result:
        """What the system knows of a recording."""
        with self.open(name) as file:
            return os.fstat(file.fileno())

    def check_size(
        self, name: str, max_bytes: int, check: Callable[[], object] | None = None
    ) -> None:
        """Refuse a recording that is large; what is packed may be a thousand times as long.

        Parameters
        ----------
        name : str
        max_bytes : int
            Size that it may have, unpacked.
        check : callable, optional
            Called after each 64 KiB that are unpacked; what it raises ends this.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `name` is no name of a recording.
        RecordingError
            It cannot be read, or is larger. What is damaged passes: reading it says where.
        """
        too_large = RecordingError(f"larger than {max_bytes:,} bytes", place=name)
        with self.open(name) as file:
            if not name.endswith(".gz"):
                if os.fstat(file.fileno()).st_size > max_bytes:
                    raise too_large
                return
            size = 0
            inflate = zlib.decompressobj(_GZIP)
            try:
                while data := file.read(_PIECE_BYTES):
                    if check is not None:
                        check()
                    while data:
                        size += len(inflate.decompress(data, _PIECE_BYTES))
                        if size > max_bytes:
                            raise too_large
                        data = inflate.unconsumed_tail
                        if inflate.eof:  # blocks follow one another, each packed by itself
                            data, inflate = inflate.unused_data, zlib.decompressobj(_GZIP)
            except zlib.error:
                return

    def recorder(
        self, name: str | None = None, *, append: bool = False, **options: Any
    ) -> Recorder:
        """Make a recorder for a new recording, or one that goes on with another.

        Parameters
        ----------
        name : str, optional
            Default `fresh_name`.
        append : bool, default False
            Go on with one that is there; without, there must be none.
        **options
            As for `Recorder`. With `max_files`, the name must leave 10 characters for the number
            of a part.

        Returns
        -------
        Recorder
        """
        name = self.fresh_name() if name is None else check_name(name)
        if options.get("max_files", 1) != 1:
            check_name(part_of(Path(name), 10**9 - 1).name)  # all parts have names here
        self._since_pruned += 1
        if self._since_pruned >= self._prune_every:
            self.prune()
        return _FolderRecorder(self, name, append=append, **options)

    def read(self, name: str, *, recover: bool = False) -> Recording:
        """Read a recording, as `read_recording` does."""
        return read_from(self.locate(name), recover, self._reader)

    def replay(self, name: str, speed: float | None = None, *, recover: bool = False) -> Source:
        """Play a recording, as `replay` does."""
        return replay_from(self.locate(name), speed, recover, self._reader)

    def put(
        self, path: str | os.PathLike[str], name: str | None = None, *, replace: bool = False
    ) -> str:
        """Copy a file from anywhere into the folder.

        Parameters
        ----------
        path : str or path
            The file.
        name : str, optional
            Default the file's.
        replace : bool, default False
            Whether it may take the place of another.

        Returns
        -------
        str
            Its name here.

        Notes
        -----
        It appears whole or not at all.
        """
        path = Path(check_path("path", path))
        name = check_name(path.name if name is None else name)
        incoming = f"{_INCOMING}{secrets.token_hex(8)}"
        try:
            source = path.open("rb")
        except OSError as error:
            raise RecordingError(cause_of(error), place=str(path)) from error
        with source:
            try:
                with self._at() as fd:
                    target = self._open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                    try:
                        with FileIO(target, "wb") as file:
                            _copy(source, file)
                        self._age(incoming, os.fstat(source.fileno()))
                        self._rename(incoming, name, fd, replace=replace)
                    except BaseException:
                        with suppress(OSError):
                            self._unlink(incoming, fd)
                        raise
            except FileExistsError:
                raise RecordingError("there is one already", place=str(self.path / name)) from None
            except OSError as error:
                raise RecordingError(cause_of(error), place=str(self.path / name)) from error
        return name

    def remove(self, name: str) -> None:
        """Remove a recording."""
        check_name(name)
        try:
            with self._at() as fd:
                self._unlink(name, fd)
        except OSError as error:
            raise RecordingError(cause_of(error), place=str(self.path / name)) from error

    def prune(self) -> list[str]:
        """Remove the oldest recordings, as far as the folder's limits say.

        Returns
        -------
        list of str
            Names of those that are gone.
        """
        if self._max_files is None and self._max_bytes is None:
            return []
        self._since_pruned = 0
        aged = sorted(
            (found.st_mtime_ns, name, found.st_size) for name, found in self.scan().items()
        )
        count, size = len(aged), sum(item[2] for item in aged)
        gone = []
        for _, name, one in aged:
            fits = self._max_bytes is None or size <= self._max_bytes
            if fits and (self._max_files is None or count < self._max_files):
                break
            if not self._in_use(name):
                with suppress(RecordingError):
                    self.remove(name)
                    gone.append(name)
                    count -= 1
                    size -= one
        return gone

    def _in_use(self, name: str) -> bool:
        try:
            with self.open(name) as file:
                return not lock(file.fileno())
        except RecordingError:
            return True

    def _reader(self, path: Path) -> BinaryIO:
        return self.open(path.name)

    @contextmanager
    def _at(self) -> Iterator[int | None]:
        """Descriptor of the folder, if it is still the same; None where there are none."""
        if not _BY_FD:
            yield None
            return
        fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) != self._identity:
                raise OSError(errno.ENOENT, "the folder is another one now")
            yield fd
        finally:
            os.close(fd)

    def _open(self, name: str, flags: int) -> int:
        """Descriptor of a file in the folder that is a regular one."""
        try:
            with self._at() as fd:
                if fd is None:
                    path = self.path / name
                    if path.is_symlink():
                        raise OSError(errno.ELOOP, "a symbolic link")
                    file = os.open(path, flags | _FLAGS, 0o600)
                else:
                    file = os.open(name, flags | _FLAGS, 0o600, dir_fd=fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                cause = "a symbolic link is no recording"
            else:
                cause = cause_of(error)
            raise RecordingError(cause, place=str(self.path / name)) from error
        found = os.fstat(file)
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        problem = None
        if not stat.S_ISREG(found.st_mode):
            problem = "no regular file"
        elif writes and found.st_nlink > 1:
            problem = "it has another name elsewhere"
        if problem is not None:
            os.close(file)
            raise RecordingError(problem, place=str(self.path / name))
        return file

    def _age(self, name: str, like: os.stat_result) -> None:
        """Give a file the age of another: some recordings do not say when they were made."""
        times = (like.st_atime_ns, like.st_mtime_ns)
        if os.utime not in os.supports_fd:
            os.utime(self.path / name, ns=times)
            return
        with FileIO(self._open(name, os.O_RDONLY), "rb") as file:
            os.utime(file.fileno(), ns=times)

    def _unlink(self, name: str, fd: int | None) -> None:
        if fd is None:
            (self.path / name).unlink()
        else:
            os.unlink(name, dir_fd=fd)

    def _rename(self, name: str, new: str, fd: int | None, *, replace: bool) -> None:
        """Give a file its name."""
        if fd is None:
            path = self.path / name
            path.replace(self.path / new) if replace else path.rename(self.path / new)
        elif replace:
            os.replace(name, new, src_dir_fd=fd, dst_dir_fd=fd)
        else:
            # A rename would replace what is there.
            try:
                os.link(name, new, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd))
                os.replace(name, new, src_dir_fd=fd, dst_dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)


class _FolderRecorder(Recorder):
    """A recorder whose files are opened in a folder and nowhere else."""

    def __init__(
        self, folder: RecordingsFolder, name: str, *, append: bool, **options: Any
    ) -> None:
        self._folder = folder
        self._first = not append
        super().__init__(folder.path / name, append=append, **options)

    def _open_file(self, path: Path, flags: int) -> int:
        if self._first:  # further parts may replace what is there
            flags |= os.O_EXCL
            self._first = False
        return self._folder._open(path.name, flags)

    def _remove_file(self, path: Path) -> None:
        self._folder.remove(path.name)


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file; what cannot be read is told of `source`."""
    while True:
        try:
            piece = source.read(_COPY_BYTES)
        except OSError as error:
            raise RecordingError(cause_of(error), place=str(source.name)) from error
        if not piece:
            return
        rest = memoryview(piece)
        while rest:
            rest = rest[target.write(rest) :]


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except ArgumentValueError:
        return False
    return True
