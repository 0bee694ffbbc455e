"""What a proxy takes at most."""

from __future__ import annotations

from dataclasses import dataclass

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_positive_fields

__all__ = ["ProxyLimits", "check_limits"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyLimits:
    """Limits of a proxy or a `GuardTransport`.

    What is refused gets the status named here, with an error in the provider's own shape.

    Parameters
    ----------
    max_body_bytes : int, default 32 MiB
        Body of a request; beyond it 413.
    max_bodies_bytes : int, default 512 MiB
        Such bodies that have not been answered yet, of all requests together; beyond it 503, and
        413 for one that is larger alone. It holds for a proxy only.
    max_upload_bytes : int, default 512 MiB
        Body of a request that is passed on unread, as of files; beyond it 413.
    max_header_bytes, max_headers : int, default 64 KiB and 100
        Names and values of a request's headers and its URL together, and their number; beyond
        it 431.
    max_streams : int, default 1000
        Requests in flight at once; beyond it 429.
    max_connections : int, default 4096
        Connections to a `ProxyServer`, idle ones too; beyond it 503.
    max_event_bytes : int, default 8 MiB
        One event of an answer; beyond it the stream ends with an error. One message of a
        WebSocket, in either direction; beyond it it is closed with 1009.
    max_held_bytes : int, default 8 MiB
        Tool calls of one stream that wait for a verdict; beyond it the stream ends with an error.
    max_answer_bytes : int, default 32 MiB
        An answer that is not streamed; beyond it 502.
    connect_timeout_s : float, default 10
        Connecting to the upstream; beyond it 504.
    request_timeout_s : float, default 60
        The client's request, until its last byte; beyond it 408.
    header_timeout_s : float, default 600
        Until the upstream begins its answer; beyond it 504.
    idle_timeout_s : float, default 600
        Silence of an upstream within its answer; beyond it the stream ends with an error.
    client_timeout_s : float, default 60
        A client that takes nothing; beyond it the connection is closed.
    session_timeout_s : float, default 3600
        A WebSocket on which neither side says anything; beyond it it is closed.
    max_stream_s : float, default 86,400
        A stream, or a WebSocket, in all; beyond it it ends with an error.
    max_recordings : int, default 10,000
        Recordings in the folder; before there are more, the oldest are removed.
    max_recordings_bytes : int, default 8 GiB
        What they take together, looked at now and then; likewise.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A limit is of the wrong type or not above 0.

    Examples
    --------
    >>> ProxyLimits(max_streams=8).max_streams
    8
    """

    max_body_bytes: int = 32 * _MIB
    max_bodies_bytes: int = 512 * _MIB
    max_upload_bytes: int = 512 * _MIB
    max_header_bytes: int = 64 * 1024
    max_headers: int = 100
    max_streams: int = 1000
    max_connections: int = 4096
    max_event_bytes: int = 8 * _MIB
    max_held_bytes: int = 8 * _MIB
    max_answer_bytes: int = 32 * _MIB
    connect_timeout_s: float = 10.0
    request_timeout_s: float = 60.0
    header_timeout_s: float = 600.0
    idle_timeout_s: float = 600.0
    client_timeout_s: float = 60.0
    session_timeout_s: float = 3600.0
    max_stream_s: float = 86_400.0
    max_recordings: int = 10_000
    max_recordings_bytes: int = 8192 * _MIB

    def __post_init__(self) -> None:
        check_positive_fields(self)


def check_limits(limits: ProxyLimits | None) -> ProxyLimits:
    """Return limits, by default the usual ones.

    Raises
    ------
    ArgumentTypeError
        They are none.
    """
    if limits is None:
        return ProxyLimits()
    if not isinstance(limits, ProxyLimits):
        raise ArgumentTypeError(f"limits must be ProxyLimits, got {type(limits).__name__}")
    return limits
