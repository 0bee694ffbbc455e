"""Snapshots as bytes: what a magic begins and a checksum ends."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from midstream._core.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["joined", "parted", "sealed", "unsealed"]

_SEAL = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


def sealed(body: bytes) -> bytes:
    """The bytes with their CRC-32 behind them: it shows every burst of up to 32 wrong bits."""
    return body + _SEAL.pack(zlib.crc32(body))


def unsealed(snapshot: object, magic: bytes, source: str, *, least: int = 0) -> bytes:
    """The bytes that `sealed` was given.

    Parameters
    ----------
    snapshot : bytes-like
    magic : bytes
        What they begin with.
    source : str
        Name of the class in messages.
    least : int
        Bytes that there are at least, with the magic.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not bytes; of something else; damaged.
    """
    try:
        data = bytes(memoryview(snapshot))  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(f"snapshot must be bytes, got {type(snapshot).__name__}") from None
    if not data.startswith(magic):
        raise ArgumentValueError(f"snapshot must come from {source}.snapshot, got other bytes")
    body = data[: -_SEAL.size]
    if len(body) < max(least, len(magic)) or data[-_SEAL.size :] != _SEAL.pack(zlib.crc32(body)):
        raise ArgumentValueError("snapshot must be whole, got a damaged one: its checksum is wrong")
    return body


def joined(parts: Iterable[bytes]) -> bytes:
    """Parts one behind the other, each with its length before it."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def parted(data: bytes) -> list[bytes]:
    """The parts that `joined` was given.

    Raises
    ------
    ValueError
        The last one is cut off.
    """
    parts, start = [], 0
    while start < len(data):
        if start + _LENGTH.size > len(data):
            raise ValueError("cut off within a length")
        (size,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if size > len(data) - start:
            raise ValueError("cut off within a part")
        parts.append(data[start : start + size])
        start += size
    return parts
