"""500 WebSockets and 500 streams: nothing is lost, and one that stalls delays nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from contextlib import AsyncExitStack

import pytest
from apps.serving.harness import ask, frame, httpx2, raw, raw_socket, running, until

CLIENTS = 500
MESSAGES = 8


@pytest.fixture
def many_files():
    """Room for both ends of a thousand connections."""
    resource = pytest.importorskip("resource", reason="needs limits as POSIX has them")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CLIENTS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, this system allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="selectors take 512 sockets there")
async def test_a_thousand_clients_get_everything(many_files):
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(running(limits={"heartbeat_s": 60.0}))
        # Connections are what is limited here, not their number a host.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        client = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=it.http, timeout=60, verify=False, limits=limits)
        )
        await it.client.aclose()
        it.client = client
        speaker = await stack.enter_async_context(it.socket())
        # Two that take nothing.
        _, stream = await raw(it.http, b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _, socket = await raw_socket(it.ws)
        socket.write(frame('{"kind": "subscribe"}'))
        for writer in (stream, socket):
            writer.transport.pause_reading()
        await until(lambda: it.service.clients == 3)
        heard: list[list[int]] = []

        async def over_socket():
            async with it.socket(ping_interval=None) as socket:
                await ask(socket, kind="subscribe")
                numbers: list[int] = []
                heard.append(numbers)
                while len(numbers) < MESSAGES:
                    numbers.append(json.loads(await socket.recv())["event"])

        async def over_stream():
            async with it.stream() as events:
                await events.next()
                numbers: list[int] = []
                heard.append(numbers)
                while len(numbers) < MESSAGES:
                    numbers.append((await events.next()).data["event"])

        listening = [
            asyncio.create_task(listen())
            for _ in range(CLIENTS)
            for listen in (over_socket, over_stream)
        ]
        try:
            await until(lambda: len(heard) == 2 * CLIENTS, 50)
            for number in range(MESSAGES):
                await ask(speaker, kind="process", message=f"number {number}")
            await asyncio.gather(*listening)
        finally:
            for task in listening:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*listening, return_exceptions=True)
        assert all(numbers == list(range(1, MESSAGES + 1)) for numbers in heard)
        assert it.service.counts["missed"] == 0
        assert it.service.counts["delivered"] >= 2 * CLIENTS * MESSAGES
