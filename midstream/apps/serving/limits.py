"""What the agent's servers take at most."""

from __future__ import annotations

from dataclasses import dataclass

from midstream._core.validate import check_positive_fields

__all__ = ["ServingLimits"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Limits of the servers of an `AgentService`, of all its clients together or of each.

    Parameters
    ----------
    max_clients : int, default 2000
        WebSocket connections and event streams at once; beyond it 503.
    max_sessions : int, default 4000
        Clients whose state is kept, connected or not; beyond it the one longest idle goes, and
        where all are connected a new one gets 503.
    max_kept_chars : int, default 32 Mi
        Characters of the messages that are kept, of all clients together; beyond it those longest
        idle go, and where all are connected a message gets the error ``full``.
    session_idle_s : float, default 600
        How long the state of a client is kept that is not connected and asks nothing.
    max_message_bytes : int, default 1 MiB
        One request; beyond it 1009 on a WebSocket, 413 on HTTP.
    max_fragments : int, default 1000
        Frames of one WebSocket message; beyond it 1008.
    requests_per_s : float, default 100
        Requests of each client; a second's worth may come at once. Beyond it the error ``rate``.
    requests_per_address_s : float, default 1000
        Requests over HTTP that name no session, of each address.
    max_refused : int, default 1000
        Requests refused in a row, after which a WebSocket is closed with 1008.
    max_waiting : int, default 256
        Analyses that wait for a thread; beyond it the error ``overloaded``.
    threads : int, default 2
        Threads for analyses.
    deadline_s : float, default 10
        Longest time until the answer of an analysis; beyond it the error ``deadline``.
    keep_events : int, default 10,000
        Broadcast messages that are kept for those who are slow or come back.
    keep_bytes : int, default 16 MiB
        The same in bytes.
    max_broadcast_chars : int, default 2000
        Of a message's text, in its broadcast.
    heartbeat_s : float, default 15
        Longest silence of an event stream, and time between the pings on a WebSocket.
    ping_timeout_s : float, default 20
        How long a ping's answer may take; beyond it 1011.
    idle_timeout_s : float, default 600
        How long a WebSocket may ask nothing that has subscribed to nothing; beyond it 4408.
    client_timeout_s : float, default 30
        How long a client may take nothing of what is sent to it; beyond it the connection is cut.
    max_header_bytes, max_headers : int, default 32 KiB and 100
        Names and values of a request's headers and its URL together, and their number; beyond
        it 431.
    max_connections : int, default 4096
        Connections to one server; beyond it 503.
    request_timeout_s : float, default 20
        Until a request is whole; beyond it 408.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A limit is of the wrong type or not above 0.

    Examples
    --------
    >>> ServingLimits(max_clients=8).max_clients
    8
    """

    max_clients: int = 2000
    max_sessions: int = 4000
    max_kept_chars: int = 32 * _MIB
    session_idle_s: float = 600.0
    max_message_bytes: int = _MIB
    max_fragments: int = 1000
    requests_per_s: float = 100.0
    requests_per_address_s: float = 1000.0
    max_refused: int = 1000
    max_waiting: int = 256
    threads: int = 2
    deadline_s: float = 10.0
    keep_events: int = 10_000
    keep_bytes: int = 16 * _MIB
    max_broadcast_chars: int = 2000
    heartbeat_s: float = 15.0
    ping_timeout_s: float = 20.0
    idle_timeout_s: float = 600.0
    client_timeout_s: float = 30.0
    max_header_bytes: int = 32 * 1024
    max_headers: int = 100
    max_connections: int = 4096
    request_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        check_positive_fields(self)
