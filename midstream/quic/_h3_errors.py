"""Error codes of HTTP/3 and QPACK, and the exception that carries one."""

from __future__ import annotations

from enum import IntEnum

from midstream._core.errors import QuicError

__all__ = ["Http3Error", "Http3ErrorCode"]


class Http3ErrorCode(IntEnum):
    """Error codes of RFC 9114 (section 8.1), RFC 9204 (section 6) and RFC 9297 (section 5.2)."""

    H3_DATAGRAM_ERROR = 0x33
    H3_NO_ERROR = 0x100
    H3_GENERAL_PROTOCOL_ERROR = 0x101
    H3_INTERNAL_ERROR = 0x102
    H3_STREAM_CREATION_ERROR = 0x103
    H3_CLOSED_CRITICAL_STREAM = 0x104
    H3_FRAME_UNEXPECTED = 0x105
    H3_FRAME_ERROR = 0x106
    H3_EXCESSIVE_LOAD = 0x107
    H3_ID_ERROR = 0x108
    H3_SETTINGS_ERROR = 0x109
    H3_MISSING_SETTINGS = 0x10A
    H3_REQUEST_REJECTED = 0x10B
    H3_REQUEST_CANCELLED = 0x10C
    H3_REQUEST_INCOMPLETE = 0x10D
    H3_MESSAGE_ERROR = 0x10E
    H3_CONNECT_ERROR = 0x10F
    H3_VERSION_FALLBACK = 0x110
    QPACK_DECOMPRESSION_FAILED = 0x200
    QPACK_ENCODER_STREAM_ERROR = 0x201
    QPACK_DECODER_STREAM_ERROR = 0x202


class Http3Error(QuicError):
    """A request, or the whole connection, broke a rule of HTTP/3 or was given up.

    Parameters
    ----------
    message : str
        What is wrong.
    code : int
        The error code that was sent or received.
    stream_id : int or None, default None
        The stream that it ended; None where the connection ended.
    by_peer : bool, default False
        Whether the peer reported it.

    Attributes
    ----------
    code : int
        The error code.
    code_name : str
        Its name in RFC 9114 or RFC 9204; ``0x`` and digits where it has none.
    stream_id : int or None
        The stream that it ended.
    by_peer : bool
        Whether the peer reported it.
    retriable : bool
        Whether the server promises that it did nothing with the request, so that even one that
        is not idempotent can be sent again on another connection (RFC 9114, section 4.1.1).

    Examples
    --------
    >>> Http3Error("no SETTINGS", code=0x10A).code_name
    'H3_MISSING_SETTINGS'
    """

    def __init__(
        self, message: str, *, code: int, stream_id: int | None = None, by_peer: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.stream_id = stream_id
        self.by_peer = by_peer

    @property
    def code_name(self) -> str:
        """Name of the code; ``0x`` and digits where it has none."""
        try:
            return Http3ErrorCode(self.code).name
        except ValueError:
            return f"{self.code:#x}"

    @property
    def retriable(self) -> bool:
        """Whether the server promises that it did nothing with the request."""
        return self.code == Http3ErrorCode.H3_REQUEST_REJECTED


class StreamFault(Exception):  # noqa: N818 - never leaves the package: becomes an Http3Error
    """One stream has to end with `code`; the connection stays."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ConnectionFault(Exception):  # noqa: N818 - never leaves the package either
    """The whole connection has to end with `code`: the RFC leaves no choice."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
