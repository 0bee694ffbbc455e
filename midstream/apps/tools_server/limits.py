"""What a `ToolServer` takes at most."""

from __future__ import annotations

from dataclasses import dataclass

from midstream._core.validate import check_positive_fields

__all__ = ["ToolLimits"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLimits:
    """Limits of a `ToolServer`, of all its clients together or of each.

    Parameters
    ----------
    max_message_bytes : int, default 4 MiB
        One request; beyond it 413 over HTTP, and an error over standard input.
    max_sessions : int, default 1000
        Conversations that are kept; beyond it the one longest idle goes.
    session_idle_s : float, default 1800
        How long one is kept that nobody asks.
    requests_per_s : float, default 100
        Calls of tools of each client over HTTP; a second's worth may come at once.
    max_requests : int, default 256
        Requests that are answered at once, over HTTP; beyond it 503.
    max_subscriptions : int, default 256
        Subscriptions to resources.
    threads : int, default 2
        Threads for what takes long.
    max_waiting : int, default 64
        Calls that wait for one; beyond it the error ``overloaded``.
    deadline_s : float, default 60
        Longest time until the answer of a call; beyond it the error ``deadline``.
    max_recording_bytes : int, default 64 MiB
        Of a recording that is read, unpacked.
    max_recording_events : int, default 200,000
        Of a recording that is read.
    max_page_chars : int, default 100,000
        Characters of text in one page of a recording.
    max_trace_events : int, default 10,000
        Of a trace that is verified.
    poll_s : float, default 2
        How often the folder of recordings is looked at for those who have subscribed to it.
    max_connections : int, default 512
        Connections over HTTP; beyond it 503.
    max_header_bytes, max_headers : int, default 32 KiB and 100
        Names and values of a request's headers and its URL together, and their number; beyond
        it 431.
    request_timeout_s : float, default 20
        Until a request is whole; beyond it 408.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A limit is of the wrong type or not above 0.

    Examples
    --------
    >>> ToolLimits(max_sessions=8).max_sessions
    8
    """

    max_message_bytes: int = 4 * _MIB
    max_sessions: int = 1000
    session_idle_s: float = 1800.0
    requests_per_s: float = 100.0
    max_requests: int = 256
    max_subscriptions: int = 256
    threads: int = 2
    max_waiting: int = 64
    deadline_s: float = 60.0
    max_recording_bytes: int = 64 * _MIB
    max_recording_events: int = 200_000
    max_page_chars: int = 100_000
    max_trace_events: int = 10_000
    poll_s: float = 2.0
    max_connections: int = 512
    max_header_bytes: int = 32 * 1024
    max_headers: int = 100
    request_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        check_positive_fields(self)
