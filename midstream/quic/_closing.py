"""Why a connection ended, in words and as the right error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from midstream._core.errors import (
    CertificateError,
    ConnectionClosedError,
    HandshakeError,
    QuicError,
    QuicTimeoutError,
)

__all__ = ["CERTIFICATE_ALERTS", "Failure", "describe", "failure_of"]

#: Makes the error anew for each call that it ends: a traceback belongs to one of them.
Failure = Callable[[], QuicError]

#: RFC 9000, section 20.1; RFC 9368, section 7.4.
_TRANSPORT = {
    0x00: "no error",
    0x01: "internal error",
    0x02: "connection refused: the server takes no more connections",
    0x03: "flow control error",
    0x04: "stream limit error",
    0x05: "stream state error",
    0x06: "final size error",
    0x07: "frame encoding error",
    0x08: "transport parameter error",
    0x09: "connection id limit error",
    0x0A: "protocol violation",
    0x0B: "invalid token",
    0x0C: "application error",
    0x0D: "crypto buffer exceeded",
    0x0E: "key update error",
    0x0F: "AEAD limit reached",
    0x10: "no viable path",
    0x11: "version negotiation error",
}

#: RFC 8446, section 6, and RFC 7301; QUIC carries them as 0x100 + alert (RFC 9001, section 4.8).
_ALERTS = {
    10: "unexpected message",
    20: "bad record",
    40: "handshake failure: no common cipher suite, group or signature",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate not acceptable",
    47: "illegal parameter",
    48: "certificate of an unknown authority",
    49: "access denied",
    50: "decode error",
    51: "decrypt error",
    70: "no common TLS version",
    71: "insufficient security",
    80: "internal error of TLS",
    109: "missing extension",
    110: "unsupported extension",
    112: "unknown server name",
    113: "bad certificate status",
    115: "unknown pre-shared key",
    116: "a client certificate is required",
    120: "no common application protocol",
}
_UNKNOWN_AUTHORITY, _NO_PROTOCOL = 48, 120
CERTIFICATE_ALERTS = frozenset({42, 43, 44, 45, 46, 48, 113, 116})


def describe(code: int, *, is_application: bool) -> str:
    """An error code in words."""
    if is_application:
        return f"application code {code}"
    if 0x100 <= code < 0x200:
        return f"TLS alert {code - 0x100}: {_ALERTS.get(code - 0x100, 'unknown alert')}"
    return _TRANSPORT.get(code, f"transport error {code:#x}")


def failure_of(
    *,
    code: int,
    reason: str,
    is_application: bool,
    by_peer: bool,
    complete: bool,
    idle: bool,
    was_reset: bool,
    place: str,
    offered: Sequence[str] = (),
) -> Failure:
    """The error for whoever waits on a connection that ended.

    Parameters
    ----------
    code, reason, is_application, by_peer
        As in `ConnectionClosedError`.
    complete : bool
        Whether the handshake was over.
    idle : bool
        Whether it ended since nothing arrived.
    was_reset : bool
        Whether a stateless reset ended it.
    place : str
        The peer's address.
    offered : sequence of str
        A client's application protocols.
    """
    if idle and complete:
        return lambda: QuicTimeoutError(f"{place}: nothing arrived within the idle time-out")
    kind: type[ConnectionClosedError] = ConnectionClosedError
    alert = code - 0x100
    if not is_application and alert in CERTIFICATE_ALERTS:
        kind = CertificateError
    elif not complete:
        kind = HandshakeError
    if idle:
        message = f"{place}: no answer"
    elif was_reset:
        message = f"{place}: the peer lost the connection (stateless reset)"
    else:
        message = (
            f"{place}: {'the peer' if by_peer else 'this end'} "
            f"{'closed the connection' if complete else 'ended the handshake'}: "
            f"{describe(code, is_application=is_application)}"
            f"{f' ({reason})' if reason else ''}"
        )
        if not is_application and offered and by_peer and alert == _NO_PROTOCOL:
            message += f"; this end offered {', '.join(offered)}: see Config(alpn=...)"
        elif not is_application and offered and not by_peer and alert == _UNKNOWN_AUTHORITY:
            message += "; to trust it, give Config its authority as ca, or its pin as pins"
    return lambda: kind(
        message, code=code, reason=reason, is_application=is_application, by_peer=by_peer
    )
