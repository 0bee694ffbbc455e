"""Connections that are kept and shared by whoever needs a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

from midstream._core.errors import ArgumentTypeError, QuicError, RefusedError
from midstream._core.validate import check_int, check_real
from midstream.quic._waiters import Waiters
from midstream.quic.config import Config
from midstream.quic.connection import Connection, connect
from midstream.quic.priority import Priority
from midstream.quic.streams import Stream

__all__ = ["Pool"]


class _Host:
    """Connections to one host and port."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.connections: dict[Connection, int] = {}
        self.dialling = 0
        self.changed = Waiters(loop)
        self.idle: dict[Connection, asyncio.TimerHandle] = {}
        self.users = 0


class Pool:
    """Streams to any host, on connections that are made when needed and kept for a while.

    A stream goes to the connection that has fewest in use and room by the peer's limit; where none
    has, a further connection is made, up to `max_connections_per_host`, and after that the stream
    waits. A connection that has ended is replaced.

    Parameters
    ----------
    config : Config, optional
        Of all connections.
    max_connections_per_host : int
        To each host and port.
    idle_s : float
        Seconds after which a connection without streams is closed.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    A stream costs a look at each connection to its host. Not thread-safe. Entered as a context,
    it is closed at the end of the block.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, Pool, serve
    >>> identity = Identity.development()
    >>> async def echo(connection):
    ...     async for stream in connection.streams():
    ...         stream.write(await stream.read_to_end(1000))
    ...         stream.finish()
    >>> async def main():
    ...     async with serve(echo, "127.0.0.1", 0, config=Config(identity=identity)) as server:
    ...         async with Pool(Config(pins=[identity.certificate_pin])) as pool:
    ...             async with pool.stream(*server.address) as stream:
    ...                 stream.write(b"hello")
    ...                 stream.finish()
    ...                 return await stream.read()
    >>> asyncio.run(main())
    b'hello'
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        max_connections_per_host: int = 4,
        idle_s: float = 30.0,
    ) -> None:
        if config is not None and not isinstance(config, Config):
            raise ArgumentTypeError(f"config must be a Config, got {config!r}")
        self.config = Config() if config is None else config
        self._most = check_int("max_connections_per_host", max_connections_per_host, low=1)
        self._idle_s = check_real("idle_s", idle_s, low=0)
        self._hosts: dict[tuple[str, int], _Host] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Pool of {len(self.connections)} connections to {len(self._hosts)} hosts>"

    async def __aenter__(self) -> Pool:
        """The pool itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections; drained where the block did not raise."""
        if error is None:
            await self.drain()
        else:
            self.close()

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that are open."""
        return tuple(c for host in self._hosts.values() for c in host.connections if not c.closed)

    @asynccontextmanager
    async def stream(
        self, host: str, port: int, *, priority: Priority | None = None
    ) -> AsyncIterator[Stream]:
        """A stream in both directions, on whichever connection has room.

        At the end of the block what is still open of it is ended: the sending direction is
        finished, unless the block raised, and the receiving one stopped.

        Parameters
        ----------
        host : str
        port : int
        priority : Priority, optional

        Yields
        ------
        Stream

        Raises
        ------
        HandshakeError, CertificateError, OSError
            No connection could be made: see `connect`.
        RefusedError
            The pool is closed.
        """
        place = self._hosts.setdefault((host, port), _Host(asyncio.get_running_loop()))
        place.users += 1
        try:
            stream = await self._open(place, host, port, priority or Priority())
        except BaseException:
            self._leave(place, host, port)
            raise
        connection = stream.connection
        try:
            yield stream
        except BaseException:
            if not connection.closed:
                stream.abort(0)
            raise
        else:
            if not connection.closed:
                stream.finish()
                if not stream.at_eof():
                    stream.stop(0)
        finally:
            self._give_back(place, connection)
            self._leave(place, host, port)

    async def _open(self, place: _Host, host: str, port: int, priority: Priority) -> Stream:
        turn = False
        while True:
            if self._closed:
                raise RefusedError("the pool is closed", reason="closed")
            connection = self._best(place)
            if connection is not None:
                self._take(place, connection)
                try:
                    stream = await connection.open_bi(priority)
                except QuicError:
                    self._give_back(place, connection)
                    # It ended between the two steps: another one is made.
                    if not connection.closed:
                        raise
                    continue
                except BaseException:
                    self._give_back(place, connection)
                    raise
                # One is woken for all the streams that a peer allows: the next one's turn.
                if place.changed and self._best(place) is not None:
                    place.changed.wake_one()
                return stream
            if len(place.connections) + place.dialling < self._most:
                place.dialling += 1
                try:
                    connection = await connect(host, port, config=self.config)
                finally:
                    place.dialling -= 1
                    place.changed.wake_all()
                if self._closed:
                    connection.close(0)
                    continue
                place.connections[connection] = 0
                connection._on_room = place.changed.wake_one
                continue
            # The peer's credit for a further stream, which may come long after the end of another
            # one, lets one of those that wait look again.
            await place.changed.wait(first=turn)
            turn = True

    def _best(self, place: _Host) -> Connection | None:
        """The connection with room that has fewest streams in use."""
        best: Connection | None = None
        for connection, used in list(place.connections.items()):
            if connection.closed:
                self._forget(place, connection)
            elif connection._protocol.streams_available(False) and (
                best is None or used < place.connections[best]
            ):
                best = connection
        return best

    def _take(self, place: _Host, connection: Connection) -> None:
        place.connections[connection] += 1
        handle = place.idle.pop(connection, None)
        if handle is not None:
            handle.cancel()

    def _give_back(self, place: _Host, connection: Connection) -> None:
        if connection in place.connections:
            place.connections[connection] -= 1
            if connection.closed:
                self._forget(place, connection)
            elif not place.connections[connection]:
                place.idle[connection] = asyncio.get_running_loop().call_later(
                    self._idle_s, self._retire, place, connection
                )
        # Who waits for it: an open that was cancelled leaves its stream to another one.
        if place.changed and not self._closed and self._best(place) is not None:
            place.changed.wake_one()

    def _retire(self, place: _Host, connection: Connection) -> None:
        self._forget(place, connection)
        connection.close(0)

    def _forget(self, place: _Host, connection: Connection) -> None:
        place.connections.pop(connection, None)
        handle = place.idle.pop(connection, None)
        if handle is not None:
            handle.cancel()
        place.changed.wake_all()
        for key, other in list(self._hosts.items()):
            if other is place:
                self._leave(place, *key, users=0)

    def _leave(self, place: _Host, host: str, port: int, users: int = 1) -> None:
        place.users -= users
        if not place.users and not place.connections and not place.dialling:
            self._hosts.pop((host, port), None)

    async def drain(self, timeout_s: float | None = None) -> None:
        """Drain all connections, and close the pool.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait, seconds.

        Raises
        ------
        QuicTimeoutError
            Time ran out. All are closed all the same.
        """
        self._closed = True
        try:
            for outcome in await asyncio.gather(
                *(c.drain(timeout_s) for c in self.connections), return_exceptions=True
            ):
                # A connection that ended by itself meanwhile has nothing to drain.
                if isinstance(outcome, TimeoutError) or (
                    isinstance(outcome, BaseException) and not isinstance(outcome, QuicError)
                ):
                    raise outcome
        finally:
            self.close()

    def close(self) -> None:
        """Close all connections at once."""
        self._closed = True
        for place in list(self._hosts.values()):
            for connection in list(place.connections):
                self._forget(place, connection)
                connection.close(0)
            place.changed.wake_all()
        self._hosts.clear()
