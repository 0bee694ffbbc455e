"""Histograms in HdrHistogram's format V2, which its ports in all languages read and write.

A payload is a header of 40 bytes, then the counts of all buckets in the order of their values, each
as a ZigZag LEB128 number; a negative number stands for so many empty buckets. Compressed, it is
that in zlib's format after a header of 8 bytes. As text, it is base64 of either.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from midstream._core.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from midstream.scheduler._histogram import Histogram

__all__ = ["decode_histogram", "encode_histogram"]

H = TypeVar("H", bound="Histogram")

_PLAIN, _COMPRESSED = 0x1C849303, 0x1C849304
#: Cookies of what else ports write; the second hexadecimal digit from the right is a word size.
_FOREIGN = {
    0x1C849301: "format V1",
    0x1C849302: "format V1",
    0x1C849308: "format V0",
    0x1C849309: "format V0",
    0x0C72124E: "a histogram of doubles",
    0x0C72124F: "a histogram of doubles",
}
_WORD_SIZE_MASK = 0xF0
#: The word size that V2 writes: one byte, in LEB128.
_WORD_SIZE = 0x10
_OUTER = struct.Struct(">II")  # cookie, length
#: Cookie, length, normalizing offset, digits, lowest, highest, double's ratio.
_HEADER = struct.Struct(">IIiiqqd")
#: The last byte of a number of 64 bits carries 8, not 7.
_LONGEST_NUMBER = 9
_LARGEST_HIGHEST = 1 << 62
_INT64_MAX = (1 << 63) - 1
#: Bits of the largest value, less one for the half of a bucket's index that repeats.
_LARGEST_BITS = 61


class _Shape(NamedTuple):
    """Where the buckets are: Tene's layout, and ours."""

    lowest: int
    highest: int
    digits: int

    @property
    def unit_bits(self) -> int:
        return self.lowest.bit_length() - 1

    @property
    def half_bits(self) -> int:
        needed: int = 2 * 10**self.digits
        return (needed - 1).bit_length() - 1

    @property
    def cells(self) -> int:
        """How many counts an array of this shape has, in every port."""
        octaves = max(0, self.highest.bit_length() - (self.unit_bits + self.half_bits + 1))
        return (octaves + 2) << self.half_bits

    def index_of(self, lowest: int) -> int:
        """The index of the bucket that starts there."""
        octave = max(0, lowest.bit_length() - (self.unit_bits + self.half_bits + 1))
        return (octave << self.half_bits) + (lowest >> (octave + self.unit_bits))

    def bucket(self, index: int) -> range:
        """All values of a bucket."""
        octave = max(0, (index >> self.half_bits) - 1)
        size_bits = octave + self.unit_bits
        first = (index - (octave << self.half_bits)) << size_bits
        return range(first, first + (1 << size_bits))


def encode_histogram(histogram: Histogram, *, clamp_overflow: bool) -> bytes:
    """What `Histogram.encode` promises."""
    shape = _Shape(histogram.lowest, histogram.highest, histogram.significant_digits)
    _check_bits(shape, "histogram")
    overflow = histogram.overflow
    if overflow and not clamp_overflow:
        raise ArgumentValueError(
            f"histogram must have no values above its highest, {shape.highest}, for which "
            f"HdrHistogram's format has no place, got {overflow}; clamp_overflow=True counts them "
            "there"
        )
    counts = {shape.index_of(lowest): count for lowest, count in histogram.to_dict()["buckets"]}
    if overflow:
        last = _last_index(shape)
        counts[last] = counts.get(last, 0) + overflow
    body = bytearray()
    next_index = 0
    # An empty histogram has one empty bucket, as the Java original writes it.
    for index, count in sorted(counts.items()) or [(0, 0)]:
        _put_empty(body, index - next_index)
        _put_number(body, count)
        next_index = index + 1
    header = _HEADER.pack(
        *(_PLAIN | _WORD_SIZE, len(body), 0),
        *(shape.digits, shape.lowest, shape.highest, 1.0),
    )
    packed = zlib.compress(header + body)
    return base64.b64encode(_OUTER.pack(_COMPRESSED | _WORD_SIZE, len(packed)) + packed)


def decode_histogram(cls: type[H], data: bytes | str) -> H:
    """What `Histogram.decode` promises."""
    if not isinstance(data, (bytes, str)):
        raise ArgumentTypeError(f"data must be bytes or str, got {type(data).__name__}")
    shape, body = _open(_from_base64(data))
    counts = list(_counts(body, shape.cells))
    kept = _kept_shape(shape, counts[-1][0] if counts else 0)
    made = cls(*kept)
    total = 0
    for index, count in counts:
        values = shape.bucket(index)
        middle = values[len(values) // 2]
        if values[0] > kept.highest:
            made.record(middle, count)
        else:
            made.record(values[0], count)
            middle = min(middle, kept.highest)
        total += middle * count
    if counts:
        state = made.to_dict()
        last = shape.bucket(counts[-1][0])
        largest = made.max if made.overflow else min(last[-1], kept.highest)
        made._restore(made.min, largest, total, state["overflow_mean"], state["overflow_m2"])
    return made


def _check_bits(shape: _Shape, name: str) -> None:
    if shape.unit_bits + shape.half_bits > _LARGEST_BITS:
        raise ArgumentValueError(
            f"{name} must leave HdrHistogram room for its buckets: lowest {shape.lowest} is too "
            f"large for {shape.digits} significant digits"
        )


def _last_index(shape: _Shape) -> int:
    octave = max(0, shape.highest.bit_length() - (shape.unit_bits + shape.half_bits + 1))
    size_bits = octave + shape.unit_bits
    return shape.index_of(shape.highest >> size_bits << size_bits)


def _kept_shape(shape: _Shape, last_index: int) -> _Shape:
    """The nearest shape that a `Histogram` can have, and that holds all counts."""
    highest = min(shape.highest, _LARGEST_HIGHEST)
    last = shape.bucket(last_index)
    if last[0] > highest:
        highest = min(last[-1], _LARGEST_HIGHEST)
    return shape._replace(highest=highest)


def _from_base64(data: bytes | str) -> bytes:
    if isinstance(data, bytes) and data[:1] == b"\x1c":  # no letter of base64
        return data
    try:
        return base64.b64decode(data.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ArgumentValueError(f"data must be base64: {error}") from None


def _open(raw: bytes) -> tuple[_Shape, bytes]:
    """Shape and encoded counts, whatever they are wrapped in."""
    if len(raw) < _OUTER.size:
        raise ArgumentValueError(f"data must hold a header, got {len(raw)} bytes")
    cookie, length = _OUTER.unpack_from(raw)
    if cookie & ~_WORD_SIZE_MASK != _COMPRESSED:
        shape, size = _read_header(raw)
        return shape, _exactly(raw[_HEADER.size :], size)
    if length != len(raw) - _OUTER.size:
        raise ArgumentValueError(
            f"data must hold {length} compressed bytes, as its header says, got "
            f"{len(raw) - _OUTER.size}"
        )
    unpacker = zlib.decompressobj()
    try:
        shape, size = _read_header(unpacker.decompress(raw[_OUTER.size :], _HEADER.size))
        # No more than the header says and its shape can have: a few bytes can unpack to gigabytes.
        body = unpacker.decompress(unpacker.unconsumed_tail, size + 1)
    except zlib.error as error:
        raise ArgumentValueError(f"data must hold zlib's format: {error}") from None
    # Early Go ports count the header in. That nothing is missing, zlib's checksum tells.
    if len(body) + _HEADER.size != size or not unpacker.eof:
        _exactly(body, size)
    if not unpacker.eof or unpacker.unused_data:
        raise ArgumentValueError("data must end where its compressed part ends")
    return shape, body


def _exactly(body: bytes, size: int) -> bytes:
    if len(body) != size:
        raise ArgumentValueError(
            f"data must hold {size} bytes of counts, as its header says, got "
            f"{'more' if len(body) > size else len(body)}"
        )
    return body


def _read_header(raw: bytes) -> tuple[_Shape, int]:
    """Shape, and how many bytes of counts follow."""
    if len(raw) >= 4:
        cookie = int.from_bytes(raw[:4], "big")
        if cookie & ~_WORD_SIZE_MASK != _PLAIN:
            what = _FOREIGN.get(cookie & ~_WORD_SIZE_MASK, _FOREIGN.get(cookie, "no histogram"))
            raise ArgumentValueError(
                f"data must be HdrHistogram's format V2, got {what} (cookie {cookie:#010x})"
            )
    if len(raw) < _HEADER.size:
        raise ArgumentValueError(
            f"data must hold a header of {_HEADER.size} bytes, got {len(raw)} bytes"
        )
    # The offset says how a port had arranged its array in memory (after a shift of all values, or
    # always 1 in Go 1.0 to 1.2). The counts are in the order of their values all the same.
    _, size, _offset, digits, lowest, highest, ratio = _HEADER.unpack_from(raw)
    if ratio != 1.0:
        raise ArgumentValueError(f"data must be a histogram of integers, got a unit of {ratio!r}")
    if not 1 <= digits <= 5:
        raise ArgumentValueError(f"data must have 1 to 5 significant digits, got {digits}")
    if not (1 <= lowest <= _LARGEST_HIGHEST // 2 and highest >= 2 * lowest):
        raise ArgumentValueError(f"data must have a range, got lowest {lowest}, highest {highest}")
    shape = _Shape(lowest, highest, digits)
    _check_bits(shape, "data")
    if size > shape.cells * _LONGEST_NUMBER:
        raise ArgumentValueError(
            f"data must have at most {shape.cells} counts in its range, got {size} bytes of them"
        )
    return shape, size


def _counts(body: bytes, cells: int) -> Iterator[tuple[int, int]]:
    """(index, count) of the buckets in use."""
    index = at = total = 0
    while at < len(body):
        number, at = _number(body, at)
        if number < 0:
            index -= number
        else:
            if number:
                total += number
                if index < cells:
                    yield index, number
            index += 1
        # More empty buckets than there are is no harm, but no port writes them either.
        if index > cells:
            raise ArgumentValueError(f"data must have {cells} counts in its range, got more")
    if total > _INT64_MAX:
        raise ArgumentValueError(f"data must have a total count of at most {_INT64_MAX}")


def _number(body: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, and where the next one starts."""
    zigzag = shift = 0
    for place in range(_LONGEST_NUMBER):
        if at == len(body):
            raise ArgumentValueError("data must not end within a count")
        byte = body[at]
        at += 1
        if place == _LONGEST_NUMBER - 1:
            zigzag |= byte << shift
            break
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return (zigzag >> 1) ^ -(zigzag & 1), at


def _put_empty(body: bytearray, buckets: int) -> None:
    if buckets == 1:
        body.append(0)
    elif buckets:
        _put_number(body, -buckets)


def _put_number(body: bytearray, number: int) -> None:
    zigzag = (number << 1) if number >= 0 else ~(number << 1)
    for _ in range(_LONGEST_NUMBER - 1):
        if zigzag < 0x80:
            body.append(zigzag)
            return
        body.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    body.append(zigzag)
