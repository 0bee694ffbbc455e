"""A server and a client on the loopback interface, for tests of the asyncio layer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.connection import Connection, connect
from midstream.quic.serving import Server, serve

IDENTITY = Identity.development()

Handler = Callable[[Connection], Awaitable[object]]


def server_config(**changes: Any) -> Config:
    return Config(identity=IDENTITY, **changes)


def client_config(**changes: Any) -> Config:
    return Config(pins=[IDENTITY.certificate_pin], **changes)


async def echo(connection: Connection) -> None:
    async for stream in connection.streams():
        if not stream.can_send:
            await stream.read_to_end(1 << 20)
            continue
        stream.write(await stream.read_to_end(1 << 24))
        stream.finish()


@asynccontextmanager
async def pair(
    handler: Handler = echo,
    *,
    server: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
) -> AsyncIterator[tuple[Connection, Server]]:
    """A client's connection, and the server that it is to."""
    async with serve(handler, "127.0.0.1", 0, config=server_config(**(server or {}))) as listening:
        connection = await connect(*listening.address, config=client_config(**(client or {})))
        try:
            yield connection, listening
        finally:
            connection.close(0)
