"""The transport of a new connection, with its tickets, tokens, key log and qlog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioquic import tls

from midstream.quic._protocol import Protocol

if TYPE_CHECKING:
    from midstream.quic._endpoint import Endpoint, Initial
    from midstream.quic.connection import Connection

__all__ = ["can_send_early", "client_protocol", "server_protocol"]


def client_protocol(connection: Connection, host: str, port: int) -> Protocol:
    """The transport of a client, with the ticket and the token of an earlier connection."""
    config = connection.config
    return Protocol(
        config,
        True,
        stream_factory=connection._stream,
        server_name=config.server_name if config.server_name is not None else host,
    )


def server_protocol(connection: Connection, endpoint: Endpoint, initial: Initial) -> Protocol:
    """The transport of a server's connection to a client that has just sent its first packet."""
    return Protocol(
        connection.config,
        False,
        stream_factory=connection._stream,
        reset_token_for=endpoint.reset_token,
        original_destination_connection_id=initial.original_destination_cid,
        retry_source_connection_id=initial.retry_source_cid,
    )


def can_send_early(protocol: Protocol) -> bool:
    """Whether a client that has just sent its first packet has keys for early data."""
    pair: Any = protocol._cryptos.get(tls.Epoch.ZERO_RTT)
    return pair is not None and bool(pair.send.is_valid())
