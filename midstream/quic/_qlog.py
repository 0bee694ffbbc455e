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

from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic.logger import QLOG_VERSION, QuicLogger, QuicLoggerTrace

from midstream._core.validate import check_int

__all__: list[str] = []

BUFFER: Final = 32 << 10
# A crash loses at most what happened in the last second before it, or the last 32 KiB.
FLUSH_S: Final = 1.0
# A peer decides how long a connection lives and how many packets it has.
MAX_FILE: Final = 256 << 20
# What one packet may lead to, before its frames are known and it is written.
OPEN_RECORDS: Final = 64
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
        # Not yet written as text: aioquic tells of a packet first and lists its frames then.
        self._open_records: list[dict[str, Any]] = []
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
        if event.startswith("packet_") or len(self._open_records) >= OPEN_RECORDS:
            self._settle()
        self._open_records.append(
            {
                "time": round((time.monotonic() - self._start) * 1000.0, 3),
                "name": f"{category}:{event}",
                "data": data,
            }
        )
        if self._size >= BUFFER or time.monotonic() - self._flushed >= FLUSH_S:
            self._write()

    def _settle(self) -> None:
        for record in self._open_records:
            self._append(record)
        self._open_records.clear()

    def log_sent(self, number: int, length: int, plain: bytes, dcid: bytes) -> None:
        """Add a 1-RTT packet that the transport built.

        Parameters
        ----------
        number : int
            Its packet number.
        length : int
            Bytes of the whole packet.
        plain : bytes
            Its frames.
        dcid : bytes
            The connection identifier that it names.
        """
        self.log_event(
            category="transport",
            event="packet_sent",
            data={
                "frames": frames_of(plain),
                "header": {
                    "packet_number": number,
                    "packet_type": "1RTT",
                    "scid": "",
                    "dcid": dcid.hex(),
                },
                "raw": {"length": length},
            },
        )

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
        """Write all that waits."""
        self._settle()
        self._write()

    def _write(self) -> None:
        # A file that cannot be written ends the log and not the connection.
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


#: Frame type -> its name in qlog, and those of its fields, each a varint (RFC 9000, section 19).
_PLAIN_FRAMES: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    0x01: ("ping", ()),
    0x04: ("reset_stream", ("stream_id", "error_code", "final_size")),
    0x05: ("stop_sending", ("stream_id", "error_code")),
    0x10: ("max_data", ("maximum",)),
    0x11: ("max_stream_data", ("stream_id", "maximum")),
    0x12: ("max_streams", ("maximum",)),
    0x13: ("max_streams", ("maximum",)),
    0x14: ("data_blocked", ("limit",)),
    0x15: ("stream_data_blocked", ("stream_id", "limit")),
    0x16: ("streams_blocked", ("limit",)),
    0x17: ("streams_blocked", ("limit",)),
}
#: Those that aioquic handles, and puts into a log itself: how many varints, then how many bytes;
#: -1: as many as the last of the varints says.
_OTHER_FRAMES: Final = {
    0x06: (2, -1),
    0x07: (1, -1),
    0x19: (1, 0),
    0x1A: (0, 8),
    0x1B: (0, 8),
    0x1C: (3, -1),
    0x1D: (2, -1),
    0x1E: (0, 0),
}


def frames_of(plain: bytes) -> list[dict[str, Any]]:
    """The frames of a packet's payload as qlog has them, without those that aioquic logs.

    Where the payload is malformed the list ends.
    """
    buffer = Buffer(data=plain)
    frames: list[dict[str, Any]] = []
    try:
        while not buffer.eof():
            kind = buffer.pull_uint_var()
            if kind == 0x00:
                start = buffer.tell() - 1
                rest = plain[start:]
                length = len(rest) - len(rest.lstrip(b"\0"))
                buffer.seek(start + length)
                frames.append({"frame_type": "padding", "length": length})
            elif kind in _PLAIN_FRAMES:
                name, fields = _PLAIN_FRAMES[kind]
                found: dict[str, Any] = {field: buffer.pull_uint_var() for field in fields}
                if 0x12 <= kind <= 0x17 and kind & ~1 in (0x12, 0x16):
                    found["stream_type"] = "unidirectional" if kind & 1 else "bidirectional"
                frames.append({"frame_type": name, **found})
            elif kind in (0x02, 0x03):
                frames.append(_ack_of(buffer, kind))
            elif 0x08 <= kind <= 0x0F:
                stream_id = buffer.pull_uint_var()
                offset = buffer.pull_uint_var() if kind & 4 else 0
                length = _skip(buffer, len(plain), bool(kind & 2))
                frames.append(
                    {
                        "frame_type": "stream",
                        "stream_id": stream_id,
                        "offset": offset,
                        "length": length,
                        "fin": bool(kind & 1),
                    }
                )
            elif kind in (0x30, 0x31):
                length = _skip(buffer, len(plain), kind == 0x31)
                frames.append({"frame_type": "datagram", "length": length})
            elif kind == 0x18:
                buffer.pull_uint_var()
                buffer.pull_uint_var()
                buffer.pull_bytes(buffer.pull_uint8() + 16)
            elif kind in _OTHER_FRAMES:
                varints, size = _OTHER_FRAMES[kind]
                last = 0
                for _ in range(varints):
                    last = buffer.pull_uint_var()
                buffer.pull_bytes(last if size < 0 else size)
            else:
                return frames
    except (BufferReadError, ValueError):
        # The connection ends with FRAME_ENCODING_ERROR; what came before is told.
        return frames
    return frames


def _skip(buffer: Buffer, end: int, has_length: bool) -> int:
    length = buffer.pull_uint_var() if has_length else end - buffer.tell()
    buffer.seek(buffer.tell() + length)
    return length


def _ack_of(buffer: Buffer, kind: int) -> dict[str, Any]:
    high = buffer.pull_uint_var()
    delay = buffer.pull_uint_var()
    count = buffer.pull_uint_var()
    low = high - buffer.pull_uint_var()
    ranges = [[low, high]]
    for _ in range(count):
        high = low - buffer.pull_uint_var() - 2
        low = high - buffer.pull_uint_var()
        ranges.append([low, high])
    if kind == 0x03:
        for _ in range(3):
            buffer.pull_uint_var()
    # Of an exponent of 3, which both ends have unless they say otherwise.
    return {"frame_type": "ack", "ack_delay": delay * 8 / 1000, "acked_ranges": ranges[::-1]}
