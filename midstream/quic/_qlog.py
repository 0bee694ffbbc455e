"""What happens on connections, written as it happens: qlog in JSON text sequences.

aioquic's logger keeps every event in memory until a connection ends. Here at most 32 KiB of a
connection wait to be written, its file has a bound, and no file is held open, so that ten thousand
connections need no ten thousand descriptors.

Source: qlog main schema 0.3 (draft-ietf-quic-qlog-main-schema-02), RFC 7464 (JSON text sequences).
"""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any, Final, final

from aioquic.quic.logger import QLOG_VERSION, QuicLogger, QuicLoggerTrace

from midstream._core.validate import check_int

__all__: list[str] = []

BUFFER: Final = 32 << 10
# A crash loses at most what happened in the last second before it, or the last 32 KiB.
FLUSH_S: Final = 1.0
# A peer decides how long a connection lives and how many packets it has.
MAX_FILE: Final = 256 << 20
# Of reasons and other values that a peer chose.
MAX_EVENT: Final = 64 << 10


@final
class QlogTrace(QuicLoggerTrace):
    """The file of one connection; `log_event` and the encoders are what aioquic's trace has."""

    def __init__(self, folder: Path, *, is_client: bool, odcid: bytes, limit: int) -> None:
        super().__init__(is_client=is_client, odcid=odcid)
        side = "client" if is_client else "server"
        self.path = folder / f"{odcid.hex()}_{side}.sqlog"
        self._limit = limit
        self._written = 0
        self._lines: list[bytes] = []
        self._size = 0
        self._flushed = time.monotonic()
        self._is_open = True
        self._start = time.monotonic()
        self._append(
            {
                "qlog_format": "JSON-SEQ",
                "qlog_version": QLOG_VERSION,
                "title": "midstream",
                "trace": {
                    "vantage_point": {"name": "midstream", "type": side},
                    "common_fields": {
                        "ODCID": odcid.hex(),
                        "group_id": odcid.hex(),
                        "protocol_type": ["QUIC"],
                        "reference_time": time.time() * 1000.0,
                        "time_format": "relative",
                    },
                },
            }
        )

    def log_event(self, *, category: str, event: str, data: dict[str, Any]) -> None:
        """Add an event, now.

        Parameters
        ----------
        category : str
            Such as ``transport`` or ``recovery``.
        event : str
            Such as ``packet_sent``.
        data : dict
            What JSON has.
        """
        if not self._is_open:
            return
        self._append(
            {
                "time": round((time.monotonic() - self._start) * 1000.0, 3),
                "name": f"{category}:{event}",
                "data": data,
            }
        )
        if self._size >= BUFFER or time.monotonic() - self._flushed >= FLUSH_S:
            self.flush()

    def _append(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, separators=(",", ":"), default=str).encode()
        if len(text) > MAX_EVENT:
            record = {**record, "data": {"omitted_bytes": len(text)}}
            text = json.dumps(record, separators=(",", ":"), default=str).encode()
        # RFC 7464: a record separator before each text, a line feed after it.
        line = b"\x1e" + text + b"\n"
        self._lines.append(line)
        self._size += len(line)

    def flush(self) -> None:
        """Write what waits. A file that cannot be written ends the log and not the connection."""
        data = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        self._flushed = time.monotonic()
        if not data or not self._is_open:
            return
        if self._written + len(data) > self._limit:
            self._is_open = False
            note = {"name": "midstream:truncated", "data": {"limit_bytes": self._limit}}
            data = b"\x1e" + json.dumps(note).encode() + b"\n"
        try:
            # 0600: a qlog tells addresses, sizes and times of what its users do.
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError as error:
            self._is_open = False
            warnings.warn(f"the qlog {self.path} ends: {error}", RuntimeWarning, stacklevel=2)
            return
        self._written += len(data)

    def to_dict(self) -> dict[str, Any]:
        """What is in the file so far, in the shape of aioquic's trace."""
        self.flush()
        records = read_qlog(self.path)
        return {**records[0]["trace"], "events": records[1:]}


@final
class QlogFolder(QuicLogger):
    """Gives each connection a file in a folder: the ``quic_logger`` of its configuration.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    limit : int, default 256 MiB
        The largest size of one file.
    """

    def __init__(self, folder: str | Path, *, limit: int = MAX_FILE) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._limit = check_int("limit", limit, low=1)

    def start_trace(self, is_client: bool, odcid: bytes) -> QlogTrace:
        """A trace for a connection that begins."""
        return QlogTrace(self.folder, is_client=is_client, odcid=odcid, limit=self._limit)

    def end_trace(self, trace: QuicLoggerTrace) -> None:
        """Write the rest of a connection that ends."""
        if isinstance(trace, QlogTrace):
            trace.flush()


def read_qlog(path: str | Path) -> list[dict[str, Any]]:
    """The records of a JSON text sequence; a last one that was cut off is left out (RFC 7464)."""
    texts = Path(path).read_bytes().split(b"\x1e")[1:]
    return [json.loads(text) for text in texts if text.endswith(b"\n")]
