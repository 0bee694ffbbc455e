"""What a connection or a server is made of: limits, trust, identity, time-outs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from midstream.quic.certificates import Identity
    from midstream.quic.tickets import TicketStore

__all__ = ["Config"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one end; a client's and a server's differ only in which of them count."""

    alpn: tuple[str, ...] = ("midstream",)
    server_name: str | None = None
    insecure_skip_verify: bool = False
    ca: str | Path | bytes | None = None
    pins: tuple[str, ...] = ()
    identity: Identity | None = None
    client_certificates: Literal["none", "optional", "required"] = "none"
    tickets: TicketStore | str | Path | None = None
    early_data: bool = False
    max_streams_bidi: int = 1000
    max_streams_uni: int = 1000
    stream_window: int = 1 << 20
    connection_window: int = 16 << 20
    max_stream_window: int = 16 << 20
    max_connection_window: int = 64 << 20
    send_buffer: int = 256 << 10
    idle_timeout_s: float = 30.0
    keep_alive_s: float | None = None
    handshake_timeout_s: float = 10.0
    max_datagram_size: int = 1200
    probe_mtu: bool = True
    congestion_control: str = "cubic"
    initial_rtt_s: float = 0.1
    datagrams: bool = True
    datagram_queue: int = 1024
    keylog: str | Path | None = None
    qlog: str | Path | None = None
    retry: Literal["auto", "always", "never"] = "auto"
    max_connections: int = 10_000
    max_handshakes: int = 256
    versions: tuple[str, ...] = field(default=("v1", "v2"))
    cipher_suites: tuple[str, ...] = ()
