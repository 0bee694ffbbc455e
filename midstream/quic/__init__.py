"""Many streams on one connection: QUIC, HTTP/3 and WebTransport for asyncio.

Connections
    `connect`, `serve`, `Connection`, `Server`, `Pool`, `run`
Streams
    `Stream`, `Priority` (RFC 9218); `StreamReader` and `StreamWriter` for code made for asyncio
Settings and trust
    `Config`, `Identity`, `Authority`, `TicketStore`
On the same connections
    `midstream.quic.http3`, `midstream.quic.webtransport`; `live_page` shows events in a browser
What this machine has
    `capabilities`
What is raised
    `QuicError` and its kinds: `StreamResetError`, `StreamStoppedError`, `ConnectionClosedError`,
    `HandshakeError`, `CertificateError`, `QuicTimeoutError`, `DatagramTooLargeError`, all of
    `midstream.errors`; and `RefusedError` for what cannot be done now

Built on aioquic, which makes the handshake; streams, packets and recovery are compiled here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.quic import http3, webtransport
    from midstream.quic.certificates import Authority, Identity
    from midstream.quic.config import Config
    from midstream.quic.connection import Connection, connect
    from midstream.quic.datagrams import Datagrams
    from midstream.quic.page import LivePage, live_page
    from midstream.quic.pool import Pool
    from midstream.quic.priority import Priority
    from midstream.quic.runner import run
    from midstream.quic.serving import Server, serve
    from midstream.quic.statistics import ConnectionStats, ServerStats
    from midstream.quic.streams import Stream, StreamReader, StreamWriter
    from midstream.quic.support import Capabilities, capabilities
    from midstream.quic.tickets import TicketStore

__all__ = [
    "Authority",
    "Capabilities",
    "Config",
    "Connection",
    "ConnectionStats",
    "Datagrams",
    "Identity",
    "LivePage",
    "Pool",
    "Priority",
    "Server",
    "ServerStats",
    "Stream",
    "StreamReader",
    "StreamWriter",
    "TicketStore",
    "capabilities",
    "connect",
    "http3",
    "live_page",
    "run",
    "serve",
    "webtransport",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Authority": "certificates",
        "Capabilities": "support",
        "Config": "config",
        "Connection": "connection",
        "ConnectionStats": "statistics",
        "Datagrams": "datagrams",
        "Identity": "certificates",
        "LivePage": "page",
        "Pool": "pool",
        "Priority": "priority",
        "Server": "serving",
        "ServerStats": "statistics",
        "Stream": "streams",
        "StreamReader": "streams",
        "StreamWriter": "streams",
        "TicketStore": "tickets",
        "capabilities": "support",
        "connect": "connection",
        "http3": ".",
        "live_page": "page",
        "run": "runner",
        "serve": "serving",
        "webtransport": ".",
    },
)
