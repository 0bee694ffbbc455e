"""Unreliable datagrams of a connection (RFC 9221)."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from midstream._core.errors import ArgumentTypeError, ConnectionClosedError, DatagramTooLargeError
from midstream.quic._waiters import Waiters

if TYPE_CHECKING:
    from midstream.quic.connection import Connection

__all__ = ["Datagrams"]


class Datagrams:
    """Datagrams of one connection: each arrives whole, once, or not at all, in any order.

    Reached as `Connection.datagrams`. Iteration gives what arrives until the connection closes.

    Notes
    -----
    What is not read in time is lost: of `Config.datagram_queue` datagrams the oldest is dropped
    for a newer one, and counted in `dropped`. As many wait to be sent, and the oldest is dropped
    likewise and counted in `ConnectionStats.datagrams_dropped`, which has both. Not thread-safe;
    several tasks may receive.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, connect, serve
    >>> identity = Identity.development()
    >>> async def echo(connection):
    ...     async for data in connection.datagrams:
    ...         connection.datagrams.send(data.upper())
    >>> async def main():
    ...     async with serve(echo, "127.0.0.1", 0, config=Config(identity=identity)) as server:
    ...         trust = Config(pins=[identity.certificate_pin])
    ...         async with connect(*server.address, config=trust) as connection:
    ...             connection.datagrams.send(b"tick")
    ...             return await connection.datagrams.receive()
    >>> asyncio.run(main())
    b'TICK'
    """

    def __init__(self, connection: Connection, limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._waiters = Waiters(connection._loop)
        self._dropped = 0

    def __repr__(self) -> str:
        return f"<Datagrams: {len(self._queue)} to read, {self._dropped} dropped>"

    def __len__(self) -> int:
        """How many wait to be read."""
        return len(self._queue)

    @property
    def max_size(self) -> int:
        """Longest datagram that fits into a packet now, bytes; 0 if the peer takes none.

        It grows when the path turns out to carry more, and can shrink again.
        """
        return int(self._connection._protocol.max_datagram_payload)

    @property
    def dropped(self) -> int:
        """Received datagrams that were dropped since nobody read them."""
        return self._dropped

    def send(self, data: bytes) -> None:
        """Send one datagram; it is sent before stream data, and never again.

        Parameters
        ----------
        data : bytes-like

        Raises
        ------
        DatagramTooLargeError
            Longer than `max_size`, or the peer takes none.
        ArgumentTypeError
            `data` is no bytes.
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ArgumentTypeError(f"data must be bytes, got {type(data).__name__}")
        connection = self._connection
        if connection._failure is not None:
            raise connection._failure()
        size, limit = memoryview(data).nbytes, self.max_size
        if limit == 0:
            raise DatagramTooLargeError("the peer takes no datagrams (RFC 9221, section 3)")
        if size > limit:
            raise DatagramTooLargeError(
                f"data has {size} bytes, and one packet of this connection carries {limit}"
            )
        connection._protocol.send_datagram(bytes(data))
        connection._schedule_transmit()

    async def receive(self) -> bytes:
        """The next datagram, waiting for it if there is none.

        Returns
        -------
        bytes

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed and all that arrived was received.
        """
        while not self._queue:
            if self._connection._failure is not None:
                raise self._connection._failure()
            await self._waiters.wait()
        return self._queue.popleft()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Datagrams as they arrive, until the connection is closed without an error."""
        return self

    async def __anext__(self) -> bytes:
        """The next datagram."""
        try:
            return await self.receive()
        except ConnectionClosedError as error:
            if error.code == 0:
                raise StopAsyncIteration from None
            raise

    def _push(self, data: bytes) -> None:
        if len(self._queue) >= self._limit:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append(data)
        self._waiters.wake_one()

    def _wake_all(self) -> None:
        self._waiters.wake_all()
