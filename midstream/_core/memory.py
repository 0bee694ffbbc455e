"""How much memory there is, so that work which cannot fit is refused and not killed half-way."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from midstream._core.errors import MemoryLimitError

__all__ = ["available_bytes", "check_memory", "human_bytes"]


def _from_meminfo() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _from_cgroup() -> int | None:
    """Memory left in a container's limit (cgroup v2)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text("ascii").strip()
        used = int((folder / "memory.current").read_text("ascii"))
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - used)


def _from_windows() -> int | None:
    if sys.platform != "win32":
        return None

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "free", "a", "b", "c", "d", "e")),
        )

    status = Status()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free)


def _from_sysconf() -> int | None:
    """All of the machine's memory, where nothing says how much of it is free (macOS)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def available_bytes() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not tell."""
    known = [limit for limit in (_from_meminfo(), _from_cgroup(), _from_windows()) if limit]
    return min(known) if known else _from_sysconf()


def human_bytes(count: float) -> str:
    """``1536`` -> ``'1.5 KiB'``."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def check_memory(what: str, needed: int) -> None:
    """Refuse work that cannot fit.

    Parameters
    ----------
    what : str
        The work, as the message names it: ``"cdist of 100000 x 100000 series"``.
    needed : int
        Bytes.

    Raises
    ------
    MemoryLimitError
        More than is available now.
    """
    # Asking costs 20 us of file reading, and no machine that runs this lacks 16 MiB.
    if needed <= 16 << 20:
        return
    available = available_bytes()
    if available is not None and needed > available:
        raise MemoryLimitError(
            f"{what} needs {human_bytes(needed)} of memory, {human_bytes(available)} are available"
        )
