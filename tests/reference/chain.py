"""A ledger's file taken apart and put together again by its description alone."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import zlib
from typing import NamedTuple

HEADER = 32


class Part(NamedTuple):
    """A frame: where it stands and what is in it."""

    offset: int
    end: int
    flags: int
    index: int
    time_ns: int
    kind: bytes
    body: bytes
    payload: bytes
    hash: bytes


def parts(data: bytes) -> list[Part]:
    """The frames of a whole file, whose hashes are not looked at."""
    found, offset = [], HEADER
    while offset < len(data):
        _, n_kind, flags, index, time_ns, n_body, n_blob, _ = struct.unpack_from(
            "<2sBBQqIII", data, offset
        )
        kind = offset + 32
        body = kind + n_kind
        blob = body + n_body
        end = -(-(blob + n_blob) // 32) * 32 + 32
        found.append(
            Part(
                offset,
                end,
                flags,
                index,
                time_ns,
                data[kind:body],
                data[body:blob],
                data[blob : blob + n_blob],
                data[end - 32 : end],
            )
        )
        offset = end
    return found


def seal(data: bytes, key: bytes | None) -> bytes:
    """SHA-256, or HMAC with a key."""
    return hashlib.sha256(data).digest() if key is None else hmac.digest(key, data, "sha256")


def frame(part: Part, previous: bytes, key: bytes | None = None) -> bytes:
    """The bytes of a frame behind the one with the hash `previous`."""
    prefix = struct.pack(
        "<2sBBQqII",
        b"MR",
        len(part.kind),
        part.flags,
        part.index,
        part.time_ns,
        len(part.body),
        len(part.payload),
    )
    start = prefix + struct.pack("<I", zlib.crc32(prefix)) + part.kind + part.body
    blob = part.payload
    if blob and not part.flags & 2:
        blob = hashlib.sha256(blob).digest()
    padding = bytes(-(len(start) + len(part.payload)) % 32)
    return start + part.payload + padding + seal(previous + start + blob, key)


def joined(header: bytes, made: list[Part], key: bytes | None = None) -> bytes:
    """A file of these frames, numbered and sealed anew: what a forger would write."""
    data, previous = header, seal(header, key)
    for index, part in enumerate(made):
        data += frame(part._replace(index=index), previous, key)
        previous = data[-32:]
    return data


def body(part: Part) -> dict:
    """The body of a frame."""
    return json.loads(part.body)
