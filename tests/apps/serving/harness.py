"""Servers on this machine, and clients of theirs: `websockets`, `httpx2`, and bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import pytest

httpx2 = pytest.importorskip("httpx2")
pytest.importorskip("uvicorn", reason="needs the extra serve: uvicorn")
pytest.importorskip("httptools", reason="needs the extra serve: httptools")
websockets = pytest.importorskip("websockets", reason="needs the extra serve: websockets")

from websockets.asyncio.client import connect  # noqa: E402

from midstream.apps.serving import AgentServers, AgentService, ServingLimits  # noqa: E402
from midstream.stream.sse import SSEParser  # noqa: E402

#: Bare connections of the test that runs, which are cut at its end.
_OPEN: list[asyncio.StreamWriter] = []


class Running:
    """A service that is served."""

    def __init__(self, service, servers):
        self.service = service
        self.servers = servers
        self.ws = f"ws://127.0.0.1:{servers.ws_address[1]}"
        self.http = f"http://127.0.0.1:{servers.sse_address[1]}"
        self.client = httpx2.AsyncClient(base_url=self.http, timeout=30, verify=False)

    @contextlib.asynccontextmanager
    async def socket(self, query="", **options):
        """A WebSocket; the first message is read already."""
        options = {"compression": None, "max_size": 1 << 24, "max_queue": None, **options}
        async with connect(f"{self.ws}/{query}", proxy=None, **options) as socket:
            socket.hello = json.loads(await socket.recv())
            assert socket.hello["type"] == "connected"
            yield socket

    @contextlib.asynccontextmanager
    async def stream(self, path="/stream", **headers):
        """A stream of server-sent events."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.stream("GET", path, headers=named) as response:
            assert response.status_code == 200, await response.aread()
            yield Events(response)

    async def post(self, path, fields=None, **options):
        return await self.client.post(path, json={} if fields is None else fields, **options)

    def connections(self, name="ws"):
        """What uvicorn has open."""
        return list(self.servers._servers[name].server_state.connections)


class Events:
    """Server-sent events, one by one."""

    def __init__(self, response):
        self.response = response
        self.comments = 0
        self._parser = SSEParser()
        self._chunks = response.aiter_raw()
        self._ready = []

    async def next(self):
        """The next event, or None at the end; its data parsed."""
        while not self._ready:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return None
            self.comments += chunk.count(b": heartbeat")
            self._ready += [event for event in self._parser.feed(chunk) if event.data]
        event = self._ready.pop(0)
        return event._replace(data=json.loads(event.data))


async def ask(socket, **fields):
    """Send a request and take what comes."""
    await socket.send(json.dumps(fields))
    return json.loads(await socket.recv())


async def tell(socket, **fields):
    await socket.send(json.dumps(fields))


async def hear(socket):
    return json.loads(await socket.recv())


class _Kept(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.records = []

    def emit(self, record):
        self.records.append(self.format(record))


@contextlib.asynccontextmanager
async def running(*, drain_s=2.0, linger_s=0.0, limits=None, faults=0, **options):
    """Both servers, until the end; so many errors are to be logged."""
    service = AgentService(limits=ServingLimits(**(limits or {})), **options)
    servers = AgentServers(service, ws_port=0, sse_port=0, drain_s=drain_s, linger_s=linger_s)
    serving = asyncio.create_task(servers.serve())
    started = asyncio.create_task(servers.started.wait())
    await asyncio.wait((serving, started), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        started.cancel()
        serving.result()
    it = Running(service, servers)
    errors = _Kept()
    loggers = [logging.getLogger(name) for name in ("asyncio", "midstream", "uvicorn.error")]
    for logger in loggers:
        logger.addHandler(errors)
    try:
        yield it
    finally:
        await it.client.aclose()
        while _OPEN:
            writer = _OPEN.pop()
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        servers.stop()
        if linger_s:
            servers.cut()
        await serving
        for logger in loggers:
            logger.removeHandler(errors)
    assert len(errors.records) == faults, errors.records


async def until(condition, timeout_s=20.0):
    """Wait for something that will be; the time is a guard only."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


async def raw(url, data):
    """A bare connection to a server, with something sent."""
    port = int(url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _OPEN.append(writer)
    writer.write(data)
    await writer.drain()
    return reader, writer


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def raw_socket(url):
    """A bare WebSocket, its handshake done."""
    reader, writer = await raw(url, UPGRADE)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head.split(b"\r\n", 1)[0]
    return reader, writer


def frame(data, opcode=1, fin=True, masked=True):
    """A client's frame, masked by zeros."""
    if isinstance(data, str):
        data = data.encode()
    head = bytes([(0x80 if fin else 0) | opcode])
    mask = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([mask | len(data)])
    elif len(data) < 1 << 16:
        head += bytes([mask | 126]) + len(data).to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + len(data).to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + data


async def closing_code(reader):
    """The code of the close frame that comes, after whatever else; None if the line is cut."""
    while True:
        try:
            first, second = await reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await reader.readexactly(8), "big")
            data = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        if first & 0xF == 8:
            return int.from_bytes(data[:2], "big")
