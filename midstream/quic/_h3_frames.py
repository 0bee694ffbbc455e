"""Frames, settings and capsules of HTTP/3: bytes in, frames out, no input or output of its own."""

from __future__ import annotations

from collections.abc import Container, Mapping

from midstream.quic._h3_errors import ConnectionFault, Http3ErrorCode, StreamFault

__all__ = [
    "CAPSULE_DATAGRAM",
    "CapsuleReader",
    "FrameReader",
    "encode_frame",
    "encode_settings",
    "encode_varint",
    "frame_header",
    "parse_settings",
    "parse_single_varint",
    "parse_varint",
]

# Frame types (RFC 9114, section 11.2.1; RFC 9218, section 7).
DATA = 0x0
HEADERS = 0x1
CANCEL_PUSH = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
GOAWAY = 0x7
MAX_PUSH_ID = 0xD
PRIORITY_UPDATE_REQUEST = 0xF0700
PRIORITY_UPDATE_PUSH = 0xF0701

#: Types that HTTP/2 had and HTTP/3 must never carry (RFC 9114, section 7.2.8).
RESERVED_FRAMES = frozenset((0x2, 0x6, 0x8, 0x9))

# Settings (RFC 9114, section 11.2.2; RFC 9204, section 5; RFC 9220; RFC 9297).
QPACK_MAX_TABLE_CAPACITY = 0x1
MAX_FIELD_SECTION_SIZE = 0x6
QPACK_BLOCKED_STREAMS = 0x7
ENABLE_CONNECT_PROTOCOL = 0x8
H3_DATAGRAM = 0x33

#: Settings of HTTP/2 without a meaning here (RFC 9114, section 7.2.4.1).
RESERVED_SETTINGS = frozenset((0x0, 0x2, 0x3, 0x4, 0x5))
_BOOLEAN_SETTINGS = frozenset((ENABLE_CONNECT_PROTOCOL, H3_DATAGRAM))

# Types of unidirectional streams (RFC 9114, section 6.2; RFC 9204, section 4.2).
CONTROL_STREAM = 0x0
PUSH_STREAM = 0x1
ENCODER_STREAM = 0x2
DECODER_STREAM = 0x3

#: The capsule that carries an HTTP datagram on the stream itself (RFC 9297, section 3.5).
CAPSULE_DATAGRAM = 0x00

#: Frames with a body of fields that must be whole before they mean something.
_WHOLE = frozenset(
    (
        HEADERS,
        CANCEL_PUSH,
        SETTINGS,
        PUSH_PROMISE,
        GOAWAY,
        MAX_PUSH_ID,
        PRIORITY_UPDATE_REQUEST,
        PRIORITY_UPDATE_PUSH,
    )
)
#: Largest payload of a control frame. A SETTINGS frame of all registered settings takes 200 bytes;
#: room for those to come, and none for a peer that wants memory.
_CONTROL_LIMIT = 16384
#: Frames in a row that say nothing: empty DATA, unknown types. Those that hide the length of
#: traffic are few; thousands only cost time.
_IDLE_FRAMES = 1024

VARINT_MAX = (1 << 62) - 1


def encode_varint(value: int) -> bytes:
    """Write `value`, below 2**62, in the fewest bytes (RFC 9000, section 16)."""
    if value < 0x40:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if value <= VARINT_MAX:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise ValueError(f"a variable-length integer ends at 2**62 - 1, got {value!r}")


def parse_varint(data: bytes | bytearray | memoryview, position: int) -> tuple[int, int] | None:
    """Read the integer at `position`: its value and where it ends; None if it is not all there."""
    if position >= len(data):
        return None
    first = data[position]
    end = position + (1 << (first >> 6))
    if end > len(data):
        return None
    if end == position + 1:
        return first, end
    mask = (1 << (8 * (end - position) - 2)) - 1
    return int.from_bytes(data[position:end], "big") & mask, end


def parse_single_varint(payload: bytes, frame: str) -> int:
    """Read the payload of a frame that is one integer and nothing else."""
    parsed = parse_varint(payload, 0)
    if parsed is None or parsed[1] != len(payload):
        raise ConnectionFault(
            Http3ErrorCode.H3_FRAME_ERROR, f"{frame} of {len(payload)} bytes is not one integer"
        )
    return parsed[0]


def frame_header(kind: int, length: int) -> bytes:
    """Type and length of a frame whose payload follows."""
    return encode_varint(kind) + encode_varint(length)


def encode_frame(kind: int, payload: bytes) -> bytes:
    """Write a whole frame."""
    return encode_varint(kind) + encode_varint(len(payload)) + payload


def encode_settings(settings: Mapping[int, int]) -> bytes:
    """Write a SETTINGS frame."""
    payload = b"".join(
        encode_varint(identifier) + encode_varint(value) for identifier, value in settings.items()
    )
    return encode_frame(SETTINGS, payload)


def parse_settings(payload: bytes) -> dict[int, int]:
    """Read the payload of a SETTINGS frame.

    Raises
    ------
    ConnectionFault
        H3_FRAME_ERROR for a payload that ends within an entry; H3_SETTINGS_ERROR for a reserved
        or repeated identifier and for a boolean that is neither 0 nor 1 (RFC 9114, section
        7.2.4.1; RFC 8441, section 3; RFC 9297, section 2.1.1).
    """
    settings: dict[int, int] = {}
    position = 0
    while position < len(payload):
        key = parse_varint(payload, position)
        entry = None if key is None else parse_varint(payload, key[1])
        if key is None or entry is None:
            raise ConnectionFault(Http3ErrorCode.H3_FRAME_ERROR, "SETTINGS ends within an entry")
        identifier = key[0]
        value, position = entry
        if identifier in RESERVED_SETTINGS:
            raise ConnectionFault(
                Http3ErrorCode.H3_SETTINGS_ERROR, f"setting {identifier:#x} is reserved"
            )
        if identifier in settings:
            raise ConnectionFault(
                Http3ErrorCode.H3_SETTINGS_ERROR, f"setting {identifier:#x} stands twice"
            )
        if identifier in _BOOLEAN_SETTINGS and value > 1:
            raise ConnectionFault(
                Http3ErrorCode.H3_SETTINGS_ERROR, f"setting {identifier:#x} is {value}, not 0 or 1"
            )
        settings[identifier] = value
    return settings


class FrameReader:
    """Cut the bytes of one stream into frames.

    DATA comes in the parts in which it arrives, as ``(DATA, part)``; frames that this layer knows
    come whole; those of unknown type are skipped (RFC 9114, section 9), whatever their length, and
    nothing of them is kept. At most one frame's payload is buffered, and that within its limit.

    Parameters
    ----------
    headers_limit : int
        Most bytes in a HEADERS frame, as compressed.
    forbidden : container of int, optional
        Types that have no place on this stream: those that may only begin one.
    """

    __slots__ = (
        "_buffer",
        "_forbidden",
        "_headers_limit",
        "_idle",
        "_kind",
        "_left",
        "_position",
        "finished_frames",
    )

    def __init__(self, headers_limit: int, forbidden: Container[int] = ()) -> None:
        self._buffer = bytearray()
        self._forbidden = forbidden
        self._position = 0
        self._headers_limit = headers_limit
        self._kind = -1  # none begun
        self._left = 0
        self._idle = 0
        #: Frames, skipped ones too, that ended.
        self.finished_frames = 0

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    @property
    def buffered(self) -> int:
        """Bytes that are kept until more come."""
        return len(self._buffer) - self._position

    @property
    def is_between_frames(self) -> bool:
        """Whether a stream may end here (RFC 9114, section 7.1)."""
        return self._kind < 0 and self._position == len(self._buffer)

    def next_frame(self) -> tuple[int, bytes] | None:
        """Return the next frame, or part of DATA; None where more bytes are needed.

        An empty DATA frame is an empty part.

        Raises
        ------
        ConnectionFault
            H3_FRAME_UNEXPECTED for a type that HTTP/2 had; H3_EXCESSIVE_LOAD for a control frame
            above its limit, and for too many frames in a row that say nothing.
        StreamFault
            H3_EXCESSIVE_LOAD for HEADERS above the limit.
        """
        while True:
            if self._kind < 0 and not self._begin():
                return None
            kind = self._kind
            available = len(self._buffer) - self._position
            if kind in _WHOLE:
                if available < self._left:
                    return None
                return kind, self._take(self._left)
            if not available and self._left:
                return None
            part = min(available, self._left)
            if kind == DATA:
                self._count_idle(part)
                return kind, self._take(part)
            self._left -= part
            self._position += part
            if not self._left:
                self._count_idle(0)
            self._end()

    def _count_idle(self, size: int) -> None:
        self._idle = 0 if size else self._idle + 1
        if self._idle > _IDLE_FRAMES:
            raise ConnectionFault(
                Http3ErrorCode.H3_EXCESSIVE_LOAD,
                f"more than {_IDLE_FRAMES} frames in a row that say nothing",
            )

    def _begin(self) -> bool:
        kind = parse_varint(self._buffer, self._position)
        length = None if kind is None else parse_varint(self._buffer, kind[1])
        if kind is None or length is None:
            return False
        if kind[0] in RESERVED_FRAMES:
            raise ConnectionFault(
                Http3ErrorCode.H3_FRAME_UNEXPECTED, f"frame type {kind[0]:#x} is HTTP/2's"
            )
        if kind[0] in self._forbidden:
            raise ConnectionFault(
                Http3ErrorCode.H3_FRAME_ERROR, f"frame type {kind[0]:#x} within a stream"
            )
        if kind[0] == HEADERS:
            if length[0] > self._headers_limit:
                raise StreamFault(
                    Http3ErrorCode.H3_EXCESSIVE_LOAD,
                    f"HEADERS of {length[0]} bytes are above the limit of {self._headers_limit}",
                )
        elif kind[0] in _WHOLE and length[0] > max(_CONTROL_LIMIT, self._headers_limit):
            raise ConnectionFault(
                Http3ErrorCode.H3_EXCESSIVE_LOAD,
                f"frame type {kind[0]:#x} of {length[0]} bytes is above {_CONTROL_LIMIT}",
            )
        self._kind, self._left, self._position = kind[0], length[0], length[1]
        return True

    def _take(self, count: int) -> bytes:
        start = self._position
        self._position += count
        self._left -= count
        with memoryview(self._buffer) as view:
            part = bytes(view[start : self._position])
        self._end()
        return part

    def _end(self) -> None:
        if not self._left:
            self._kind = -1
            self.finished_frames += 1


class CapsuleReader:
    """Cut the data stream of an upgraded exchange into capsules (RFC 9297, section 3.2).

    Parameters
    ----------
    limit : int, default 65536
        Most bytes in one capsule that is kept.
    known : container of int, optional
        Types to keep; others are skipped without being kept. All are kept by default.

    Examples
    --------
    >>> reader = CapsuleReader()
    >>> reader.feed(bytes.fromhex("0003616263"))
    [(0, b'abc')]
    """

    __slots__ = ("_buffer", "_known", "_limit", "_skip")

    def __init__(self, limit: int = 65536, known: frozenset[int] | None = None) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._known = known
        self._skip = 0

    @property
    def is_between_capsules(self) -> bool:
        """Whether the data stream may end here."""
        return not self._buffer and not self._skip

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes; return the capsules that they complete, as type and value.

        Raises
        ------
        StreamFault
            H3_EXCESSIVE_LOAD for a capsule above the limit.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        capsules: list[tuple[int, bytes]] = []
        position = 0
        while True:
            kind = parse_varint(self._buffer, position)
            length = None if kind is None else parse_varint(self._buffer, kind[1])
            if kind is None or length is None:
                break
            end = length[1] + length[0]
            if self._known is not None and kind[0] not in self._known:
                self._skip = max(0, end - len(self._buffer))
                position = min(end, len(self._buffer))
                continue
            if length[0] > self._limit:
                raise StreamFault(
                    Http3ErrorCode.H3_EXCESSIVE_LOAD,
                    f"capsule of {length[0]} bytes is above the limit of {self._limit}",
                )
            if end > len(self._buffer):
                break
            capsules.append((kind[0], bytes(self._buffer[length[1] : end])))
            position = end
        del self._buffer[:position]
        return capsules
