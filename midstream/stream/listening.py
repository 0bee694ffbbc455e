"""What HTTP servers here share: a socket, and uvicorn, which leaves signals to its caller."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn

__all__ = ["QuietServer", "listening"]

_BACKLOG = 2048


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A TCP socket that listens, closed at the end.

    Parameters
    ----------
    host : str
        ``""`` for all addresses there are.
    port : int
        0 for a free one.

    Raises
    ------
    OSError
        The address cannot be used.
    """
    families = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = families[0]
    with socket.socket(family, kind, protocol) as listener:
        if sys.platform != "win32":  # there it would let others listen at the same place
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        yield listener


class QuietServer(uvicorn.Server):
    """uvicorn's server, which leaves signals to its caller and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        await super().startup(sockets=sockets)
        self.listening.set()

    def cut(self) -> None:
        """Cut all connections at once, whatever they wait for."""
        for connection in list(self.server_state.connections):
            cast("Any", connection).transport.abort()
