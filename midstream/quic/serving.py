"""A QUIC server: one socket, and a task for each connection."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    QuicError,
    QuicTimeoutError,
)
from midstream._core.validate import check_int, check_real, check_text
from midstream.quic._endpoint import Endpoint, Initial
from midstream.quic._server_tickets import ServerTickets
from midstream.quic._sessions import server_protocol
from midstream.quic._tokens import check_key
from midstream.quic.config import Config
from midstream.quic.connection import Connection
from midstream.quic.statistics import ServerStats

__all__ = ["Server", "serve"]

_LOG = logging.getLogger("midstream.quic")
#: Code with which a connection is closed whose handler failed. The reason stays in the log: it
#: may tell what is nobody else's business.
HANDLER_FAILED = 1

Handler = Callable[[Connection], Awaitable[object]]


class Server:
    """A listening server; made by `serve`.

    Awaited, or entered as a context, it listens. Leaving the context closes it.

    Notes
    -----
    Not thread-safe: of the event loop it was started in.
    """

    def __init__(
        self,
        handler: Handler,
        host: str | None,
        port: int,
        config: Config,
        key: bytes | None = None,
    ) -> None:
        self._handler = handler
        self._where = (host, port)
        self._key = key
        self.config = config
        self._endpoint: Endpoint | None = None
        self._tasks: dict[Connection, asyncio.Task[None] | None] = {}
        self._accepting = True
        self._tickets = ServerTickets()
        self._n_accepted = 0
        self._n_failed = 0
        self._done = asyncio.Event()

    def __repr__(self) -> str:
        at: object = "not started"
        if self._endpoint is not None:
            at = "closed" if self._endpoint.closed else self.address
        return f"<Server {at}, {len(self._tasks)} connections>"

    def __await__(self) -> Generator[Any, None, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        """Listen."""
        return await self._start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, and wait until the handlers have ended."""
        self.close()
        await self.wait_closed()

    async def _start(self) -> Server:
        if self._endpoint is None:
            host, port = self._where
            self._endpoint = await Endpoint.server(
                host, port, config=self.config, accept=self._accept, key=self._key
            )
        elif self._endpoint.closed:
            raise QuicError("the server is closed, for good: serve makes another one")
        return self

    def _opened(self) -> Endpoint:
        if self._endpoint is None:
            raise QuicError("the server was not started: await it, or enter it with 'async with'")
        return self._endpoint

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens at.

        Raises
        ------
        QuicError
            It was not started, or is closed.
        """
        endpoint = self._opened()
        if endpoint.closed:
            raise QuicError("the server is closed")
        host, port = endpoint.address[:2]
        return str(host), int(port)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Connections whose handshake is over and that are not closed, the oldest first."""
        return tuple(c for c, task in self._tasks.items() if task is not None and not c.closed)

    def stats(self) -> ServerStats:
        """What was counted so far.

        Returns
        -------
        ServerStats
        """
        endpoint = self._opened()
        return ServerStats(
            connections=len(self.connections),
            handshakes=endpoint.n_handshakes,
            accepted=self._n_accepted,
            refused=endpoint.refused,
            handlers_failed=self._n_failed,
        )

    # Connections

    def _accept(self, initial: Initial) -> Connection | None:
        if not self._accepting:
            return None
        endpoint = self._opened()
        connection = Connection(self.config, is_client=False)
        protocol = server_protocol(connection, endpoint, initial, self._tickets)
        connection._on_ready = self._ready
        connection._on_lost = self._lost
        connection._start(endpoint, protocol, initial.address)
        connection._address_is_known = initial.token_validated
        connection._limit_handshake()
        self._tasks[connection] = None
        return connection

    def _ready(self, connection: Connection) -> None:
        self._n_accepted += 1
        self._tasks[connection] = asyncio.get_running_loop().create_task(self._run(connection))

    def _lost(self, connection: Connection) -> None:
        # A handler's task leaves the table by itself when it ends.
        if self._tasks.get(connection, self) is None:
            del self._tasks[connection]

    async def _run(self, connection: Connection) -> None:
        try:
            work = self._handler(connection)
            if not inspect.isawaitable(work):
                raise ArgumentTypeError(
                    f"handler must be a coroutine function (async def), and returned {work!r}"
                )
            await work
            if not connection.closed:
                await connection.drain(self.config.idle_timeout_s)
        except QuicError as error:
            # The peer left, or went silent: the usual end of a connection, and of its handler.
            if connection.closed:
                _LOG.debug("%r: %s", connection, error)
            else:
                self._handler_failed(connection)
        except Exception:  # noqa: BLE001 - logged in full; others must not suffer
            self._handler_failed(connection)
        finally:
            connection.close(0)
            del self._tasks[connection]

    def _handler_failed(self, connection: Connection) -> None:
        self._n_failed += 1
        _LOG.exception("%r: the handler failed", connection)
        connection.close(HANDLER_FAILED, "the handler failed")

    # The end

    async def drain(self, timeout_s: float | None = None) -> None:
        """Take no more connections, let streams finish, then close.

        Connections learn of it through `Connection.draining` and `Connection.wait_draining`. Each
        is closed with code 0 once none of its streams is open and everything was acknowledged, or
        its handler has returned.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait, seconds. Default: as long as it takes.

        Raises
        ------
        QuicTimeoutError
            Time ran out. The server is closed all the same.
        """
        if timeout_s is not None:
            timeout_s = check_real("timeout_s", timeout_s, low=0)
        self._accepting = False
        connections = list(self._tasks)
        for connection in connections:
            connection._set_draining()
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(self._finish(c)) for c in connections]
        left: set[asyncio.Task[None]] = set()
        try:
            if waits:
                done, left = await asyncio.wait(waits, timeout=timeout_s)
                for wait in done:
                    wait.result()
        finally:
            for wait in waits:
                wait.cancel()
            self.close()
        await self.wait_closed()
        if left:
            raise QuicTimeoutError(
                f"{len(left)} connections had open streams after {timeout_s} s of draining"
            )

    async def _finish(self, connection: Connection) -> None:
        await connection._all_over()
        connection.close(0)

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close all connections and the socket, at once, and cancel the handlers.

        Parameters
        ----------
        code : int
            Error code of the application, which all peers get.
        reason : str
            Words for it.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No integer from 0 to 2**62 - 1, or no str.
        """
        self._accepting = False
        for connection, task in list(self._tasks.items()):
            connection.close(code, reason)
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        endpoint = self._endpoint
        if endpoint is not None and not endpoint.closed:
            for sink in endpoint.sinks:
                if isinstance(sink, Connection):
                    sink._release()
            endpoint.close()
        self._done.set()

    async def wait_closed(self) -> None:
        """Wait until the server was closed, and its handlers have ended."""
        await self._done.wait()
        tasks = [
            t for t in self._tasks.values() if t is not None and t is not asyncio.current_task()
        ]
        if tasks:
            await asyncio.wait(tasks)

    async def serve_forever(self) -> None:
        """Serve until cancelled, then close."""
        await self._start()
        try:
            await self.wait_closed()
        finally:
            self.close()


def serve(
    handler: Handler,
    host: str | None,
    port: int,
    *,
    config: Config,
    key: bytes | None = None,
) -> Server:
    """Serve QUIC connections.

    Parameters
    ----------
    handler : coroutine function
        Called with each `Connection`, in a task of its own. When it returns, the connection is
        drained and closed with code 0; when it raises, the error is logged to ``midstream.quic``
        and the connection closed with code 1. It begins when the handshake is over, or with the
        first stream of accepted early data.
    host : str or None
        Name or number of an interface; None or "" for all.
    port : int
        UDP port, 0 for any that is free.
    config : Config
        Must have an `identity`.
    key : bytes, optional
        At least 32 random bytes, kept secret, the same over restarts and for all servers behind
        one address. Then the address tokens of earlier clients stay good, and a connection that
        a restart cut off is told so at its next packet (RFC 9000, section 10.3) instead of
        waiting for its idle time-out. Default: random, for this server alone.

    Returns
    -------
    Server
        Await it, or enter it as a context, to listen.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or `config` has no identity.
    OSError
        The address is not to be had; when it is awaited.

    Notes
    -----
    An error of one stream that the handler lets pass ends its whole connection. Where streams are
    to be independent, give each a task of its own, as of `asyncio.TaskGroup`, and catch
    `StreamResetError` and `StreamStoppedError` in it. Not thread-safe.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, connect, serve
    >>> identity = Identity.development()
    >>> async def greet(connection):
    ...     stream = await connection.open_uni()
    ...     stream.write(b"welcome")
    ...     stream.finish()
    >>> async def main():
    ...     async with serve(greet, "127.0.0.1", 0, config=Config(identity=identity)) as server:
    ...         trust = Config(pins=[identity.certificate_pin])
    ...         async with connect(*server.address, config=trust) as connection:
    ...             return await (await connection.accept_uni()).read()
    >>> asyncio.run(main())
    b'welcome'
    """
    if not callable(handler):
        raise ArgumentTypeError(f"handler must be callable, got {handler!r}")
    if host is not None:
        check_text("host", host)
    port = check_int("port", port, low=0, high=65535)
    if not isinstance(config, Config):
        raise ArgumentTypeError(f"config must be a Config, got {config!r}")
    if config.identity is None:
        raise ArgumentValueError(
            "config.identity must be given to serve, got None: Identity.load for a certificate "
            "of yours, Identity.development for trying"
        )
    if key is not None:
        check_key(key)
    return Server(handler, host, port, config, key)
