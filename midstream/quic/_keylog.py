"""Traffic secrets in the format of SSLKEYLOGFILE, by which captures can be decrypted.

Source: RFC 9850 (The SSLKEYLOGFILE Format for TLS).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final, final

__all__: list[str] = []

_LOCK: Final = threading.Lock()
_OPEN: dict[str, KeyLog] = {}


@final
class KeyLog:
    """One file, open for appending and shared by all connections of the process that name it."""

    def __init__(self, path: Path) -> None:
        # Whoever reads it reads the traffic: only its owner may.
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._path = path

    def write(self, line: str) -> int:
        """Append a line at once; lines of several processes do not mix (O_APPEND)."""
        return os.write(self._handle, line.encode("ascii"))

    def flush(self) -> None:
        """Nothing is kept back."""

    def __repr__(self) -> str:
        return f"KeyLog({str(self._path)!r})"


def key_log(path: str | Path) -> KeyLog:
    """The key log at a path, opened once in a process and kept open.

    Raises
    ------
    OSError
        The file cannot be opened for appending.
    """
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
    with _LOCK:
        log = _OPEN.get(str(place))
        if log is None:
            log = _OPEN[str(place)] = KeyLog(place)
        return log
