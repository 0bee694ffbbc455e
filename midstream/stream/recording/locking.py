"""One writer a file: an advisory lock, and what makes written bytes and names last."""

from __future__ import annotations

import errno
import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["lock", "sync", "sync_folder"]

#: What a file system says that has no locks.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def lock(fd: int) -> bool:
    """Lock a file until it is closed, without waiting; whether nobody else has it locked.

    Where the file system has no locks, nobody has.
    """
    try:
        if sys.platform == "win32":
            # Far beyond the end: locked bytes could not be read.
            os.lseek(fd, 2**62, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            os.lseek(fd, 0, os.SEEK_SET)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return True


def sync(fd: int) -> None:
    """Return when everything that was written is on the disk."""
    if sys.platform == "darwin":
        # There fsync leaves data in the drive's cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_folder(path: str) -> None:
    """Make the names of new files in a folder last; Windows does so itself.

    Where a file system cannot, nothing is done.
    """
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)
