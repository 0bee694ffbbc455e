"""The simulated server: health, limits, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx2
import pytest

pytest.importorskip("uvicorn", reason="the server needs the extra 'proxy'")

from midstream.apps.simulated import SimulatedServer, SimulationLimits
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.simulating import SimulatedEndpoint, Timing

BODY = {"model": "sim-story", "messages": [], "stream": True}
PATH = "/v1/chat/completions"


@contextlib.asynccontextmanager
async def serving(*, speed=1.0, tokens=400, limits=None, drain_s=0.2):
    """A server and a client of it."""
    endpoint = SimulatedEndpoint(tokens=tokens, speed=speed, timing=Timing(tokens_per_s=20))
    server = SimulatedServer(endpoint, limits=SimulationLimits(**(limits or {})), drain_s=drain_s)
    task = asyncio.create_task(server.serve())
    await server.started.wait()
    url = "http://{}:{}".format(*server.address)
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        try:
            yield server, client
        finally:
            server.stop()
            server.cut()
            await asyncio.wait_for(task, 30)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


async def test_health_and_readiness():
    async with serving() as (server, client):
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 200
        assert server.active == 0


async def test_streams_may_end_after_a_stop():
    async with serving(speed=100.0, tokens=100, drain_s=30) as (server, client):
        asked = asyncio.create_task(client.post(PATH, json=BODY))
        await until(lambda: server.active)
        server.stop()
        assert b"[DONE]" in (await asked).content
        with pytest.raises(httpx2.TransportError):
            while True:
                assert (await client.get("/healthz")).json() == {"status": "draining"}


async def test_streams_are_cut_when_their_time_is_up():
    async with serving(drain_s=0.1) as (server, client):
        with pytest.raises(httpx2.RemoteProtocolError):
            async with client.stream("POST", PATH, json=BODY) as answer:
                server.stop()
                async for _ in answer.aiter_bytes():
                    pass


async def test_it_is_stopped_before_it_listens():
    server = SimulatedServer(SimulatedEndpoint())
    server.stop()
    await asyncio.wait_for(server.serve(), 30)
    assert server.started.is_set()


async def test_more_streams_than_there_may_be_are_refused():
    async with (
        serving(limits={"max_streams": 1}) as (server, client),
        client.stream("POST", PATH, json=BODY) as answer,
    ):
        assert answer.status_code == 200
        refused = await client.post(PATH, json=BODY)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["type"] == "overloaded_error"
        # Who looks after it is answered all the same.
        assert (await client.get("/readyz")).status_code == 200
        assert server.active == 1


async def raw(server, data):
    reader, writer = await asyncio.open_connection(*server.address)
    with contextlib.closing(writer):
        writer.write(data)
        return await reader.read()


async def test_requests_must_be_whole_in_time():
    async with serving(limits={"request_timeout_s": 0.1}) as (server, _):
        head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n"
        assert b" 408 " in (await raw(server, head)).splitlines()[0]
        late = await raw(server, head + b"Content-Length: 10\r\n\r\n{")
        assert b" 408 " in late.splitlines()[0]
        assert json.loads(late.split(b"\r\n\r\n")[1])["error"]["type"] == "timeout_error"


async def test_heads_and_connections_are_limited():
    limits = {"max_headers": 5, "max_connections": 2}
    async with serving(limits=limits) as (server, _):
        many = b"".join(b"X-%d: 1\r\n" % n for n in range(9))
        answer = await raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")
        assert b" 431 " in answer.splitlines()[0]
        held = [await asyncio.open_connection(*server.address) for _ in range(2)]
        assert b" 503 " in (await raw(server, b"GET / HTTP/1.1\r\n\r\n")).splitlines()[0]
        for _, writer in held:
            writer.close()


async def test_a_client_that_takes_nothing_is_cut():
    limits = {"client_timeout_s": 0.2}
    async with serving(speed=1e6, tokens=100_000, limits=limits) as (server, _):
        body = json.dumps(BODY | {"model": "sim-reasoning"}).encode()
        request = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        reader, writer = await asyncio.open_connection(*server.address, limit=1024)
        writer.transport.pause_reading()
        writer.write(request % (PATH.encode(), len(body)) + body)
        await until(lambda: server.active)
        await until(lambda: not server.active)
        writer.close()
        del reader


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"limits": 3}, ArgumentTypeError, "limits must be SimulationLimits, got int"),
        ({"port": -1}, ArgumentValueError, "port must be at least 0, got -1"),
        ({"drain_s": -1}, ArgumentValueError, "drain_s must be at least 0, got -1"),
    ],
)
def test_arguments(options, error, says):
    with pytest.raises(error, match=says):
        SimulatedServer(SimulatedEndpoint(), **options)
    with pytest.raises(ArgumentTypeError, match="endpoint must be a SimulatedEndpoint, got int"):
        SimulatedServer(3)
