"""Tokens by which a server knows an address again: of Retry packets, and of NEW_TOKEN frames."""

from __future__ import annotations

import hmac
import os
import time
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic._udp_plain import Address

__all__ = ["KEY_BYTES", "InvalidRetryTokenError", "Tokens", "Validated", "check_key", "reset_token"]

#: Bytes of a server's key, at least.
KEY_BYTES = 32

#: Seconds for which a Retry token is good: long enough for one round trip and some losses of the
#: Initial that carries it (RFC 9000, section 8.1.3, asks for a short time).
RETRY_LIFETIME_S = 10.0

#: Seconds for which a NEW_TOKEN token is good.
LIFETIME_S = 7 * 86_400.0

#: Seconds by which the clocks of a fleet may differ.
SKEW_S = 2.0

_RETRY, _NEW = b"R", b"N"
_NONCE_BYTES = 12


class InvalidRetryTokenError(ValueError):
    """A Retry token that is forged, too old, or another address's or connection's."""


@dataclass(frozen=True, slots=True)
class Validated:
    """What a valid token proves: the address; and, of a Retry token, how the connection began.

    Attributes
    ----------
    original_destination_cid : bytes or None
        Destination connection id of the client's first Initial; None for a NEW_TOKEN token.
    retry_source_cid : bytes or None
        Connection id that the Retry packet named; None for a NEW_TOKEN token.
    """

    original_destination_cid: bytes | None = None
    retry_source_cid: bytes | None = None


def check_key(key: bytes | None) -> bytes:
    """Return the key, or a random one for None.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not bytes, or fewer than 32.
    """
    if key is None:
        return os.urandom(KEY_BYTES)
    if not isinstance(key, bytes):
        raise ArgumentTypeError(f"key must be bytes, got {type(key).__name__}")
    if len(key) < KEY_BYTES:
        raise ArgumentValueError(f"key must have at least {KEY_BYTES} bytes, got {len(key)}")
    return key


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"midstream quic " + purpose, "sha256")


def reset_token(key: bytes, cid: bytes) -> bytes:
    """Return the stateless reset token of a connection id (RFC 9000, section 10.3.2).

    Parameters
    ----------
    key : bytes
        The server's key: who has it can break off its connections.
    cid : bytes
        A connection id that the server issues.

    Returns
    -------
    bytes
        16 bytes, the same whenever asked for: a server that lost its state can still say so.
    """
    return _derived(_derived(key, b"stateless reset"), cid)[:16]


class Tokens:
    """Issue and check address-validation tokens (RFC 9000, section 8.1).

    Sealed with AES-256-GCM: a client can neither read nor change them. A Retry token is bound to
    host, port, both connection ids and 10 s; a NEW_TOKEN token to the host and 7 days, and is taken
    once by each server.

    Parameters
    ----------
    key : bytes, optional
        At least 32 bytes, the same for all servers of a fleet; random if not given.
    max_used : int
        Tokens remembered as used. When there are more, the older half is forgotten, and no token
        issued before those is taken any more: a token is never taken twice.

    Notes
    -----
    Nonces are random: renew the key of a fleet before it has issued 2**32 tokens.
    """

    def __init__(self, key: bytes | None = None, *, max_used: int = 65_536) -> None:
        self._aead = AESGCM(_derived(check_key(key), b"token"))
        self._max_used = max_used
        self._used: dict[bytes, int] = {}
        self._not_before_ms = -1

    def retry(
        self,
        address: Address,
        original_destination_cid: bytes,
        retry_source_cid: bytes,
        *,
        now_s: float | None = None,
    ) -> bytes:
        """Return a token for a Retry packet.

        Parameters
        ----------
        address : tuple
            Where the Initial came from.
        original_destination_cid, retry_source_cid : bytes
            Destination id of that Initial, and source id of the Retry packet.
        now_s : float, optional
            Seconds since the epoch; the wall clock's if not given.
        """
        plain = (
            _milliseconds(now_s).to_bytes(8, "big")
            + bytes([len(original_destination_cid)])
            + original_destination_cid
            + retry_source_cid
        )
        return self._seal(_RETRY, plain, _host_and_port(address))

    def new(self, address: Address, *, now_s: float | None = None) -> bytes:
        """Return a token for a NEW_TOKEN frame: for the next connection from the same host."""
        return self._seal(_NEW, _milliseconds(now_s).to_bytes(8, "big"), _host(address))

    def check(
        self, token: bytes, address: Address, destination_cid: bytes, *, now_s: float | None = None
    ) -> Validated | None:
        """Return what a token of an Initial proves, or None where it proves nothing.

        Parameters
        ----------
        token : bytes
            As it came, not empty.
        address : tuple
            Where the Initial came from.
        destination_cid : bytes
            Its destination connection id.
        now_s : float, optional
            Seconds since the epoch; the wall clock's if not given.

        Raises
        ------
        InvalidRetryTokenError
            It says that it is of a Retry packet, and is not good: the connection is to be closed
            with INVALID_TOKEN (RFC 9000, section 8.1.2). Others are to be treated as absent.
        """
        now_ms = _milliseconds(now_s)
        if token[:1] == _RETRY:
            return self._check_retry(token, address, destination_cid, now_ms)
        if token[:1] == _NEW:
            return self._check_new(token, address, now_ms)
        return None

    def _check_retry(
        self, token: bytes, address: Address, destination_cid: bytes, now_ms: int
    ) -> Validated:
        plain = self._open(token, _host_and_port(address))
        if plain is None:
            raise InvalidRetryTokenError("not sealed by this server for this address")
        if not _is_recent(int.from_bytes(plain[:8], "big"), now_ms, RETRY_LIFETIME_S):
            raise InvalidRetryTokenError("too old")
        end = 9 + plain[8]
        if plain[end:] != destination_cid:
            raise InvalidRetryTokenError("for another connection id")
        return Validated(plain[9:end], plain[end:])

    def _check_new(self, token: bytes, address: Address, now_ms: int) -> Validated | None:
        plain = self._open(token, _host(address))
        if plain is None:
            return None
        issued_ms = int.from_bytes(plain[:8], "big")
        nonce = token[1 : 1 + _NONCE_BYTES]
        if (
            not _is_recent(issued_ms, now_ms, LIFETIME_S)
            or issued_ms <= self._not_before_ms
            or nonce in self._used
        ):
            return None
        if len(self._used) >= self._max_used:
            self._forget()
            if issued_ms <= self._not_before_ms:
                return None
        self._used[nonce] = issued_ms
        return Validated()

    def _forget(self) -> None:
        by_age = sorted(self._used.items(), key=lambda used: used[1])
        half = len(by_age) // 2
        self._not_before_ms = by_age[half][1]
        self._used = {nonce: ms for nonce, ms in by_age if ms > self._not_before_ms}

    def _seal(self, kind: bytes, plain: bytes, bound_to: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return kind + nonce + self._aead.encrypt(nonce, plain, kind + bound_to)

    def _open(self, token: bytes, bound_to: bytes) -> bytes | None:
        nonce = token[1 : 1 + _NONCE_BYTES]
        if len(token) < 1 + _NONCE_BYTES + 16 + 8:
            return None
        try:
            return self._aead.decrypt(nonce, token[1 + _NONCE_BYTES :], token[:1] + bound_to)
        except InvalidTag:
            return None


def _milliseconds(now_s: float | None) -> int:
    return int(1000 * (time.time() if now_s is None else now_s))


def _is_recent(issued_ms: int, now_ms: int, lifetime_s: float) -> bool:
    return -1000 * SKEW_S <= now_ms - issued_ms <= 1000 * lifetime_s


def _host(address: Address) -> bytes:
    return address[0].encode("utf-8", "surrogateescape")


def _host_and_port(address: Address) -> bytes:
    return _host(address) + b"\0%d" % address[1]
