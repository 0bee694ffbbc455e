"""The transport of a new connection, with its tickets, tokens, key log and qlog."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from aioquic import tls

from midstream.quic._keylog import key_log
from midstream.quic._protocol import Protocol
from midstream.quic._qlog import QlogFolder
from midstream.quic._server_tickets import ServerTickets
from midstream.quic._tls import ticket_key
from midstream.quic.tickets import TicketStore

if TYPE_CHECKING:
    from midstream.quic._endpoint import Endpoint, Initial
    from midstream.quic.config import Config
    from midstream.quic.connection import Connection

__all__ = ["Logs", "can_send_early", "client_protocol", "server_protocol", "wants_tickets"]

#: Where tickets are kept that no store was named for: for this process.
_MEMORY = TicketStore()


@functools.lru_cache(maxsize=64)
def _store_at(path: str) -> TicketStore:
    return TicketStore(path)


def _store_of(config: Config) -> TicketStore:
    if config.tickets is None:
        return _MEMORY
    if isinstance(config.tickets, (str, os.PathLike)):
        return _store_at(os.fspath(config.tickets))
    return config.tickets


class Logs:
    """The key log and the qlog of one connection, where the configuration asks for them."""

    def __init__(self, config: Config) -> None:
        # One file for the process, which stays open: a connection has nothing to close.
        self.keys = None if config.keylog is None else key_log(os.fspath(config.keylog))
        self.qlog = None if config.qlog is None else QlogFolder(os.fspath(config.qlog))

    def close(self, protocol: Protocol | None) -> None:
        """Write what is left."""
        if self.qlog is not None and protocol is not None and protocol._quic_logger is not None:
            self.qlog.end_trace(protocol._quic_logger)
            protocol._quic_logger = None


def client_protocol(connection: Connection, host: str, port: int) -> Protocol:
    """The transport of a client, with the ticket and the token of an earlier connection."""
    config = connection.config
    store = _store_of(config)
    key = ticket_key(config, host, port)
    token = store.take_token(key)
    return Protocol(
        config,
        True,
        stream_factory=connection._stream,
        server_name=config.server_name if config.server_name is not None else host,
        session_ticket=store.take(key),
        token=b"" if token is None else token,
        quic_logger=connection._logs.qlog,
        secrets_log_file=connection._logs.keys,
        session_ticket_handler=functools.partial(store.put, key),
        token_handler=functools.partial(store.put_token, key),
    )


def server_protocol(
    connection: Connection, endpoint: Endpoint, initial: Initial, tickets: ServerTickets
) -> Protocol:
    """The transport of a server's connection to a client that has just sent its first packet."""
    return Protocol(
        connection.config,
        False,
        stream_factory=connection._stream,
        quic_logger=connection._logs.qlog,
        secrets_log_file=connection._logs.keys,
        reset_token_for=endpoint.reset_token,
        original_destination_connection_id=initial.original_destination_cid,
        retry_source_connection_id=initial.retry_source_cid,
        session_ticket_fetcher=tickets.fetch,
        session_ticket_handler=tickets.store,
    )


def wants_tickets(config: Config, host: str, port: int) -> bool:
    """Whether the next connection could send no early data, since all tickets are used."""
    return config.early_data and not _store_of(config)._has_ticket(ticket_key(config, host, port))


def can_send_early(protocol: Protocol) -> bool:
    """Whether a client that has just sent its first packet has keys for early data."""
    pair: Any = protocol._cryptos.get(tls.Epoch.ZERO_RTT)
    return pair is not None and bool(pair.send.is_valid())
