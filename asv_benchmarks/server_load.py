"""Broadcast to 500 WebSockets and 500 event streams: midstream's servers beside bare ones.

Run with ``python server_load.py [--clients 500] [--messages 100] [--per-s 5] [--stalled 20]``. It
needs the extra ``serve`` and sse-starlette. Each contender serves in a process of its own, and all
clients are in this one: plain asyncio protocols that find their messages by a few bytes, so that
most of what is measured is the server. One publisher sends a message at a time; the delay is from
before it is sent until a client has it, through the publisher's request and the broadcast.

- ``bare`` is what one writes in an afternoon: `websockets.broadcast`, and sse-starlette with a
  queue for each client. It analyses nothing, numbers nothing and keeps nothing.
- ``midstream`` analyses each message, numbers it, and keeps it for those who come back.

Then a fifth of the clients is there, and ``--stalled N`` of each kind besides, which connect and
never read; messages have 100,000 characters. What does that do to the others, and to the server's
memory?
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# The folder of this file is where `benchmarks` is, also with python's -P.
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks._keeping import keep

STAMP = re.compile(rb"t=(\d+);")
KEY = base64.b64encode(b"0123456789abcdef").decode()


# Servers, each in a process of its own.


async def serve_midstream() -> None:
    from midstream.apps.serving import AgentServers, AgentService, ServingLimits

    service = AgentService(limits=ServingLimits(requests_per_s=1000.0, max_broadcast_chars=200_000))
    servers = AgentServers(service, ws_port=0, sse_port=0)
    serving = asyncio.create_task(servers.serve())
    await servers.started.wait()
    print(servers.ws_address[1], servers.sse_address[1], flush=True)
    await serving


async def serve_bare() -> None:
    import uvicorn
    import websockets
    from sse_starlette import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.routing import Route
    from websockets.asyncio.server import broadcast

    connections: set[websockets.asyncio.server.ServerConnection] = set()
    queues: set[asyncio.Queue[str]] = set()

    async def handle(connection):
        connections.add(connection)
        try:
            async for message in connection:
                text = json.dumps({"type": "processed", "text": json.loads(message)["message"]})
                broadcast(connections, text)
                for queue in queues:
                    queue.put_nowait(text)
        finally:
            connections.discard(connection)

    async def events(request):
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)

        async def pieces():
            try:
                while True:
                    yield {"event": "processed", "data": await queue.get()}
            finally:
                queues.discard(queue)

        return EventSourceResponse(pieces())

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    app = Starlette(routes=[Route("/stream", events)])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    async with websockets.serve(handle, "127.0.0.1", 0, compression=None, backlog=2048) as sockets:
        print(sockets.sockets[0].getsockname()[1], listener.getsockname()[1], flush=True)
        await server.serve(sockets=[listener])


SERVERS = {"bare": serve_bare, "midstream": serve_midstream}


# Clients.


class Client(asyncio.Protocol):
    """Counts the messages that reach it, and how late they are."""

    def __init__(self, request: bytes, needle: bytes, delays: list[int]) -> None:
        self._request = request
        self._needle = needle
        self._delays = delays
        self._rest = b""
        self.ready = asyncio.get_running_loop().create_future()
        self.count = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data):
        now = time.monotonic_ns()
        data = self._rest + data
        if not self.ready.done() and self._needle in data:
            self.ready.set_result(None)
        end = 0
        for found in STAMP.finditer(data):
            self.count += 1
            self._delays.append(now - int(found[1]))
            end = found.end()
        # A stamp may be cut in two.
        self._rest = data[max(end, len(data) - 40) :]

    def connection_lost(self, exc):
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed"))


def frame(text: str) -> bytes:
    """A client's text frame; masked by zeros, which is what it is without."""
    data = text.encode()
    if len(data) < 126:
        head = bytes([0x81, 0x80 | len(data)])
    elif len(data) < 1 << 16:
        head = bytes([0x81, 0x80 | 126]) + len(data).to_bytes(2, "big")
    else:
        head = bytes([0x81, 0x80 | 127]) + len(data).to_bytes(8, "big")
    return head + bytes(4) + data


def upgrade(port: int) -> bytes:
    return (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(name: str, options: argparse.Namespace, stalled: int) -> dict[str, object]:
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, "--serve", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # each connection that is cut at the end is an error to some
        text=True,
    )
    try:
        assert process.stdout is not None
        ws_port, sse_port = map(int, process.stdout.readline().split())
        return await load(name, process.pid, ws_port, sse_port, options, stalled)
    finally:
        process.kill()
        process.wait()


async def load(
    name: str,
    pid: int,
    ws_port: int,
    sse_port: int,
    options: argparse.Namespace,
    stalled: int,
) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    empty_mb = memory_mb(pid)
    delays: list[int] = []
    clients: list[Client] = []
    get = f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{sse_port}\r\n\r\n".encode()
    subscribing = name == "midstream"
    subscribe = frame('{"kind":"subscribe"}') if subscribing else b""
    ready = b"retry:" if subscribing else b"200 OK"

    async def connect(port: int, request: bytes, needle: bytes) -> Client:
        client = Client(request, needle, delays)
        await loop.create_connection(lambda: client, "127.0.0.1", port)
        await client.ready
        clients.append(client)
        return client

    for _ in range(options.clients // (5 if stalled else 1)):
        client = await connect(ws_port, upgrade(ws_port), b"\r\n\r\n")
        client.transport.write(subscribe)
        await connect(sse_port, get, ready)
    for _ in range(stalled):
        for port, request in ((ws_port, upgrade(ws_port)), (sse_port, get)):
            client = await connect(port, request, b"\r\n\r\n")
            if port == ws_port:
                client.transport.write(subscribe)
            client.transport.pause_reading()
            clients.remove(client)
    publisher = Client(upgrade(ws_port), b"\r\n\r\n", [])
    await loop.create_connection(lambda: publisher, "127.0.0.1", ws_port)
    await publisher.ready
    await asyncio.sleep(0.5)
    connected_mb = memory_mb(pid)
    before_s = cpu_s(pid)
    padding = "some words that are said " * (4000 if stalled else 4)
    next_s = loop.time()
    for _ in range(options.messages):
        message = f"t={time.monotonic_ns()}; {padding}"
        publisher.transport.write(frame(json.dumps({"kind": "process", "message": message})))
        next_s += 1 / options.per_s
        await asyncio.sleep(max(0.0, next_s - loop.time()))
    expected = options.messages * len(clients)
    for _ in range(100):
        if sum(client.count for client in clients) >= expected:
            break
        await asyncio.sleep(0.1)
    used_s = cpu_s(pid) - before_s
    full_mb = memory_mb(pid)
    delivered = sum(client.count for client in clients)
    for client in (*clients, publisher):
        client.transport.abort()
    p50, p99, worst = np.percentile(np.array(delays) / 1e6, (50, 99, 100))
    case = f"{name}{' beside stalled clients' if stalled else ''}"
    keep(f"{case}.lost", expected - delivered, "count")
    keep(f"{case}.p50", p50, "ms")
    keep(f"{case}.p99", p99, "ms")
    keep(f"{case}.delivery", used_s / max(1, delivered), "s")
    return {
        "server": name,
        "clients": len(clients),
        "stalled": 2 * stalled,
        "delivered": f"{delivered:,}/{expected:,}",
        "p50 ms": f"{p50:.1f}",
        "p99 ms": f"{p99:.1f}",
        "max ms": f"{worst:.1f}",
        "us CPU/delivery": f"{1e6 * used_s / max(1, delivered):.1f}",
        "MB empty": f"{empty_mb:.0f}",
        "MB connected": f"{connected_mb:.0f}",
        "MB at the end": f"{full_mb:.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500, help="of each kind")
    parser.add_argument("--messages", type=int, default=50)
    parser.add_argument("--per-s", type=float, default=5.0)
    parser.add_argument("--stalled", type=int, default=20, help="of each kind")
    parser.add_argument("--serve", choices=list(SERVERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(SERVERS[options.serve]())
        return
    rows = []
    for stalled in (0, options.stalled):
        for name in SERVERS:
            rows.append(asyncio.run(measure(name, options, stalled)))
            print(json.dumps(rows[-1]), flush=True)
    print()
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in names) + " |")


if __name__ == "__main__":
    main()
