"""QPACK (RFC 9204) through pylsqpack, within bounds: no input or output of its own.

pylsqpack decodes a field section whatever it expands to, and takes one that is cut off for one
that waits for the dynamic table. So each section is walked over first: representations are counted,
none is decoded.
"""

from __future__ import annotations

import pylsqpack

from midstream.quic._h3_errors import ConnectionFault, Http3ErrorCode, StreamFault
from midstream.quic._h3_fields import Fields, field_section_size

__all__ = ["MAX_BLOCKED_STREAMS", "TABLE_CAPACITY", "FieldDecoder", "FieldEncoder"]

#: Dynamic table that we keep and use, in bytes: the size that most implementations offer.
TABLE_CAPACITY = 4096
#: Streams that may wait for the dynamic table at once.
MAX_BLOCKED_STREAMS = 16


class FieldDecoder:
    """Decode field sections.

    Parameters
    ----------
    section_limit : int
        Largest field section, uncompressed, in bytes.
    """

    __slots__ = ("_decoder", "_limit")

    def __init__(self, section_limit: int) -> None:
        self._decoder = pylsqpack.Decoder(TABLE_CAPACITY, MAX_BLOCKED_STREAMS)
        self._limit = section_limit

    def decode(self, stream_id: int, section: bytes) -> tuple[bytes, Fields] | None:
        """Decode a section: what goes onto the decoder stream, and the fields.

        Returns
        -------
        (bytes, list) or None
            None where the section waits for the encoder stream.

        Raises
        ------
        ConnectionFault
            QPACK_DECOMPRESSION_FAILED: no field section, or one stream more waits than may.
        StreamFault
            H3_EXCESSIVE_LOAD: so many fields that they are above the limit; nothing was decoded.
        """
        # Each line of a section counts 32 bytes beside its name and value, so more lines than
        # this are above the limit without being decoded; and what they can expand to is bounded.
        _walk(section, self._limit // 32)
        try:
            control, fields = self._decoder.feed_header(stream_id, section)
        except pylsqpack.StreamBlocked:
            return None
        except (pylsqpack.DecompressionFailed, ValueError) as error:
            raise _failed(f"field section of stream {stream_id}: {error}") from None
        return control, fields

    def resume(self, stream_id: int) -> tuple[bytes, Fields]:
        """Decode a section that waited and that `feed_encoder` named."""
        try:
            control, fields = self._decoder.resume_header(stream_id)
        except (pylsqpack.DecompressionFailed, pylsqpack.StreamBlocked, ValueError) as error:
            raise _failed(f"field section of stream {stream_id}: {error}") from None
        return control, fields

    def feed_encoder(self, data: bytes) -> list[int]:
        """Take bytes of the peer's encoder stream; return the streams that wait no more."""
        try:
            return self._decoder.feed_encoder(data)
        except (pylsqpack.EncoderStreamError, ValueError) as error:
            raise ConnectionFault(
                Http3ErrorCode.QPACK_ENCODER_STREAM_ERROR, f"encoder stream: {error}"
            ) from None

    def cancel(self, stream_id: int) -> bytes:
        """Give up a stream's sections; return what goes onto the decoder stream."""
        return self._decoder.cancel_stream(stream_id)

    def check_size(self, fields: Fields) -> Fields:
        """Return the fields if they are within the limit.

        Not part of decoding: the peer must learn that they were decoded all the same.

        Raises
        ------
        StreamFault
            H3_EXCESSIVE_LOAD: they are not.
        """
        size = field_section_size(fields)
        if size > self._limit:
            raise StreamFault(
                Http3ErrorCode.H3_EXCESSIVE_LOAD,
                f"field section of {size} bytes is above the limit of {self._limit}",
            )
        return fields


class FieldEncoder:
    """Encode field sections; the dynamic table is used once the peer's settings are known."""

    __slots__ = ("_encoder",)

    def __init__(self) -> None:
        self._encoder = pylsqpack.Encoder()

    def apply_settings(self, table_capacity: int, blocked_streams: int) -> bytes:
        """Take the peer's settings; return what goes onto the encoder stream."""
        return self._encoder.apply_settings(
            min(table_capacity, TABLE_CAPACITY), min(blocked_streams, MAX_BLOCKED_STREAMS)
        )

    def encode(self, stream_id: int, fields: Fields) -> tuple[bytes, bytes]:
        """Encode: what goes onto the encoder stream first, and the field section."""
        return self._encoder.encode(stream_id, fields)

    def feed_decoder(self, data: bytes) -> None:
        """Take bytes of the peer's decoder stream."""
        try:
            self._encoder.feed_decoder(data)
        except (pylsqpack.DecoderStreamError, ValueError) as error:
            raise ConnectionFault(
                Http3ErrorCode.QPACK_DECODER_STREAM_ERROR, f"decoder stream: {error}"
            ) from None


def _failed(message: str) -> ConnectionFault:
    return ConnectionFault(Http3ErrorCode.QPACK_DECOMPRESSION_FAILED, message)


def _walk(section: bytes, most_lines: int) -> None:
    """Step over each representation of a field section (RFC 9204, section 4.5)."""
    position = _skip_integer(section, 0, 0xFF)  # required insert count
    position = _skip_integer(section, position, 0x7F)  # sign and delta base
    lines = 0
    end = len(section)
    while position < end:
        lines += 1
        if lines > most_lines:
            raise StreamFault(
                Http3ErrorCode.H3_EXCESSIVE_LOAD, f"field section of more than {most_lines} lines"
            )
        first = section[position]
        if first & 0x80:  # indexed
            position = _skip_integer(section, position, 0x3F)
        elif first & 0x40:  # literal, name by reference
            position = _skip_integer(section, position, 0x0F)
            position = _skip_string(section, position, 0x7F)
        elif first & 0x20:  # literal, literal name
            position = _skip_string(section, position, 0x07)
            position = _skip_string(section, position, 0x7F)
        elif first & 0x10:  # indexed after the base
            position = _skip_integer(section, position, 0x0F)
        else:  # literal, name by reference after the base
            position = _skip_integer(section, position, 0x07)
            position = _skip_string(section, position, 0x7F)


def _integer(section: bytes, position: int, mask: int) -> tuple[int, int]:
    """Read a prefixed integer (RFC 7541, section 5.1): its value, and where it ends."""
    if position >= len(section):
        raise _failed("field section is cut off")
    value = section[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        # 62 bits are all that may be meant (RFC 9204, section 4.1.1).
        if position >= len(section) or shift > 56:
            raise _failed("an integer of the field section is cut off or too large")
        byte = section[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _skip_integer(section: bytes, position: int, mask: int) -> int:
    return _integer(section, position, mask)[1]


def _skip_string(section: bytes, position: int, mask: int) -> int:
    length, start = _integer(section, position, mask)
    if length > len(section) - start:
        raise _failed("a string of the field section is cut off")
    return start + length
