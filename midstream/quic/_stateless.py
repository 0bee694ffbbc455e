"""Packets that a server answers with before it knows, or after it forgot, a connection."""

from __future__ import annotations

import hmac
import os
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = [
    "CONNECTION_REFUSED",
    "INVALID_TOKEN",
    "LEAST_INITIAL_BYTES",
    "VERSIONS",
    "Budget",
    "LongHeader",
    "close",
    "initial_token",
    "parse_long_header",
    "retry",
    "stateless_reset",
    "version_negotiation",
]

#: Codes of CONNECTION_CLOSE (RFC 9000, section 20.1).
CONNECTION_REFUSED: Final = 0x02
INVALID_TOKEN: Final = 0x0B

#: A datagram with an Initial has at least this many bytes (RFC 9000, section 14.1).
LEAST_INITIAL_BYTES: Final = 1200

#: A stateless reset that is shorter cannot pass for a packet (RFC 9000, section 10.3).
LEAST_RESET_BYTES: Final = 21

#: Bytes of the longest connection id of versions 1 and 2.
MOST_CID_BYTES: Final = 20


class _Version(NamedTuple):
    """What differs between versions 1 (RFC 9001) and 2 (RFC 9369)."""

    number: int
    initial: int  # packet types, two bits
    retry: int
    salt: bytes
    labels: tuple[bytes, bytes, bytes]
    retry_key: bytes
    retry_nonce: bytes


_V1 = _Version(
    1,
    0,
    3,
    bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    (b"quic key", b"quic iv", b"quic hp"),
    bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"),
    bytes.fromhex("461599d35d632bf2239825bb"),
)
_V2 = _Version(
    0x6B3343CF,
    1,
    0,
    bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
    (b"quicv2 key", b"quicv2 iv", b"quicv2 hp"),
    bytes.fromhex("8fb4b01b56ac48e260fbcbcead7ccc92"),
    bytes.fromhex("d86969bc2d7c6d9990efb04a"),
)
_BY_NUMBER = {version.number: version for version in (_V1, _V2)}

#: Version numbers by the names that `Config.versions` uses.
VERSIONS: Final = {"v1": _V1.number, "v2": _V2.number}


class LongHeader(NamedTuple):
    """What every version's long header begins with (RFC 8999, section 5.1).

    Attributes
    ----------
    first : int
        The first byte.
    version : int
        0 in Version Negotiation.
    destination_cid, source_cid : bytes
        Up to 255 bytes each; versions 1 and 2 have up to 20.
    end : int
        Where what the version defines begins.
    """

    first: int
    version: int
    destination_cid: bytes
    source_cid: bytes
    end: int

    @property
    def is_initial(self) -> bool:
        """Whether it is an Initial packet of a version known here."""
        version = _BY_NUMBER.get(self.version)
        return (
            version is not None
            and self.first & 0xC0 == 0xC0
            and self.first >> 4 & 3 == version.initial
            and len(self.destination_cid) <= MOST_CID_BYTES
            and len(self.source_cid) <= MOST_CID_BYTES
        )


def parse_long_header(datagram: bytes) -> LongHeader | None:
    """Return the header of a datagram's first packet, or None where it has no whole long one."""
    size = len(datagram)
    if size < 7 or not datagram[0] & 0x80:
        return None
    middle = 6 + datagram[5]
    if size <= middle:
        return None
    end = middle + 1 + datagram[middle]
    if size < end:
        return None
    return LongHeader(
        datagram[0],
        int.from_bytes(datagram[1:5], "big"),
        datagram[6:middle],
        datagram[middle + 1 : end],
        end,
    )


def initial_token(datagram: bytes, header: LongHeader) -> bytes | None:
    """Return the token of an Initial packet, empty if it has none, or None where it is cut off."""
    position = header.end
    if position >= len(datagram):
        return None
    width = 1 << (datagram[position] >> 6)
    if position + width > len(datagram):
        return None
    length = int.from_bytes(datagram[position : position + width], "big")
    length &= (1 << (8 * width - 2)) - 1
    token = datagram[position + width : position + width + length]
    return token if len(token) == length else None


def version_negotiation(header: LongHeader, versions: tuple[int, ...]) -> bytes:
    """Return a Version Negotiation packet in answer to one with this header.

    One version that nobody speaks is among them (RFC 9000, section 6.3), so that clients keep
    ignoring what they do not know.
    """
    random = os.urandom(5)
    greased = int.from_bytes(random[:4], "big") & 0xF0F0F0F0 | 0x0A0A0A0A
    offered = [*versions]
    offered.insert(random[4] % (len(offered) + 1), greased)
    return (
        bytes([0xC0 | random[4] >> 2])
        + bytes(4)
        + _cids(header)
        + b"".join(version.to_bytes(4, "big") for version in offered)
    )


def retry(header: LongHeader, source_cid: bytes, token: bytes) -> bytes:
    """Return a Retry packet in answer to an Initial with this header (RFC 9000, section 17.2.5).

    Parameters
    ----------
    header : LongHeader
        Of the Initial.
    source_cid : bytes
        Connection id that the client is to use from now on.
    token : bytes
        What it is to send back.
    """
    version = _BY_NUMBER[header.version]
    packet = (
        bytes([0xC0 | version.retry << 4 | os.urandom(1)[0] & 0x0F])
        + header.version.to_bytes(4, "big")
        + bytes([len(header.source_cid)])
        + header.source_cid
        + bytes([len(source_cid)])
        + source_cid
        + token
    )
    pseudo = bytes([len(header.destination_cid)]) + header.destination_cid + packet
    # RFC 9001, section 5.8: the tag protects from corruption, under a key that all know.
    return packet + AESGCM(version.retry_key).encrypt(version.retry_nonce, b"", pseudo)


def close(header: LongHeader, code: int, reason: bytes = b"") -> bytes:
    """Return an Initial packet that closes the connection which one with this header would begin.

    Parameters
    ----------
    header : LongHeader
        Of the client's Initial.
    code : int
        Error code of QUIC itself (RFC 9000, section 20.1), below 64.
    reason : bytes
        Reason phrase, up to 63 bytes.
    """
    version = _BY_NUMBER[header.version]
    frame = bytes([0x1C, code, 0, len(reason)]) + reason
    key, iv, mask_key = _server_initial_keys(version, header.destination_cid)
    unprotected = (
        bytes([0xC0 | version.initial << 4])
        + header.version.to_bytes(4, "big")
        + _cids(header)
        + b"\0"  # no token
        + (0x4000 | 1 + len(frame) + 16).to_bytes(2, "big")
    )
    # Packet number 0 in one byte: the nonce is the IV itself.
    sealed = AESGCM(key).encrypt(iv, frame, unprotected + b"\0")
    sample = sealed[3:19]
    # The cipher that header protection is defined by, on one block (RFC 9001, section 5.4.3).
    mask = Cipher(algorithms.AES(mask_key), modes.ECB()).encryptor().update(sample)
    first = unprotected[0] ^ mask[0] & 0x0F
    return bytes([first]) + unprotected[1:] + mask[1:2] + sealed


def stateless_reset(token: bytes, trigger_bytes: int) -> bytes | None:
    """Return a packet that ends a connection of which nothing is left but its reset token.

    Parameters
    ----------
    token : bytes
        16 bytes, of the connection id that the packet was for.
    trigger_bytes : int
        Bytes of the packet that it answers: the answer is smaller, so that two ends without state
        do not answer each other for ever (RFC 9000, section 10.3.3).

    Returns
    -------
    bytes or None
        21 to 42 bytes, or None where there is no room for a credible one.
    """
    size = min(trigger_bytes - 1, 42)
    if size < LEAST_RESET_BYTES:
        return None
    random = os.urandom(size - 16)
    return bytes([0x40 | random[0] & 0x3F]) + random[1:] + token


def _cids(header: LongHeader) -> bytes:
    """Both connection ids, exchanged."""
    return (
        bytes([len(header.source_cid)])
        + header.source_cid
        + bytes([len(header.destination_cid)])
        + header.destination_cid
    )


def _server_initial_keys(version: _Version, cid: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, IV and header-protection key of the server's Initial packets (RFC 9001, section 5.2)."""
    initial = hmac.digest(version.salt, cid, "sha256")
    secret = _expanded(initial, b"server in", 32)
    key, iv, mask_key = version.labels
    return _expanded(secret, key, 16), _expanded(secret, iv, 12), _expanded(secret, mask_key, 16)


def _expanded(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with SHA-256, of up to one block (RFC 8446, section 7.1)."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


class Budget:
    """How many answers may be given: `per_second` in the long run, as many at once after a rest.

    Parameters
    ----------
    per_second : float
        Answers.
    """

    __slots__ = ("_left", "_per_second", "_then")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = per_second
        self._then = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may be given, at a time in seconds."""
        left = self._left + (now - self._then) * self._per_second
        self._left = min(self._per_second, left)
        self._then = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
