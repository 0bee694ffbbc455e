"""`stream_websocket` and `stream_sse`: real servers, for real clients."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx2
import pytest
from apps.tools_server.clients import ask, connected, refused
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


async def test_a_websocket_server_is_started_used_and_stopped():
    async with connected() as client:
        assert (await ask(client, "stream_websocket", action="status"))["running"] is False
        started = await ask(client, "stream_websocket", port=0)
        assert started["running"]
        assert started["url"] == f"ws://127.0.0.1:{started['port']}"
        assert await ask(client, "stream_websocket") == started  # it runs
        async with connect(started["url"]) as socket_:
            assert json.loads(await socket_.recv())["type"] == "connected"
            await socket_.send(json.dumps({"kind": "process", "id": 1, "message": "hello"}))
            answer = json.loads(await socket_.recv())
            assert (answer["type"], answer["data"]["words"]) == ("result", 1)
            status = await ask(client, "stream_websocket", action="status")
            assert (status["clients"], status["requests"], status["broadcast"]) == (1, 1, 1)
        # What it is told is not this client's.
        assert (await ask(client, "get_status"))["messages"] == 0
        stopped = await ask(client, "stream_websocket", action="stop")
        assert stopped["running"] is False
        assert (await ask(client, "stream_websocket", action="stop"))["running"] is False
        with pytest.raises(OSError):
            await connect(started["url"])


async def test_who_follows_sees_what_the_conversation_keeps():
    async with connected() as client:
        url = (await ask(client, "stream_websocket", port=0))["url"]
        sse = (await ask(client, "stream_sse", port=0))["url"]
        async with connect(url) as socket_, httpx2.AsyncClient() as http:
            await socket_.recv()
            await socket_.send(json.dumps({"kind": "subscribe"}))
            await socket_.recv()
            await ask(client, "analyze_conversation", messages=["not kept"])
            await ask(client, "analyze_conversation", messages=["one", "two"], keep=True)
            told = [json.loads(await socket_.recv()) for _ in range(2)]
            assert [(one["client"], one["text"]) for one in told] == [
                ("tools", "one"),
                ("tools", "two"),
            ]
            # Both servers broadcast the same.
            await http.post(f"{sse}/process", json={"message": "three"})
            assert json.loads(await socket_.recv())["text"] == "three"
        status = await ask(client, "stream_sse", action="status")
        assert status["broadcast"] == 3
        assert (await ask(client, "get_status"))["server"]["streams"] == {
            "websocket": url,
            "sse": sse,
        }


async def test_the_servers_end_with_the_client():
    async with connected() as client:
        url = (await ask(client, "stream_sse", port=0))["url"]
        async with httpx2.AsyncClient() as http:
            assert (await http.get(f"{url}/status")).status_code == 200
    async with httpx2.AsyncClient() as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(f"{url}/status")


async def test_web_pages_of_elsewhere_and_wrong_tokens_are_refused():
    async with connected(token="a-long-token") as client:
        url = (await ask(client, "stream_websocket", port=0))["url"]
        right = {"Authorization": "Bearer a-long-token"}
        async with connect(url, additional_headers=right) as socket_:
            await socket_.recv()
        for headers in (
            {},
            {"Authorization": "Bearer another-token"},
            {**right, "Origin": "https://evil.example"},
        ):
            with pytest.raises(InvalidStatus):
                await connect(url, additional_headers=headers)


async def test_ports_that_cannot_be_used_are_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with connected() as client:
            said = await refused(client, "stream_websocket", port=port)
            assert said.startswith(f"port: {port} cannot be used")
            assert (await ask(client, "stream_websocket", action="status"))["running"] is False
            for arguments, said in (
                ({"port": 80}, "port must be 0 or at least 1024, got 80"),
                ({"port": 65536}, "port: "),
                ({"port": "x"}, "port: "),
                ({"action": "restart"}, "action: "),
                ({"action": "stop", "port": 5000}, "port goes only with action 'start'"),
            ):
                assert said in await refused(client, "stream_sse", **arguments)
            running = await ask(client, "stream_sse", port=0)
            said = await refused(client, "stream_sse", port=port)
            assert said == f"port: it runs at {running['port']}, stop it first, got {port}"


async def test_two_starts_at_once_start_one():
    async with connected() as client:
        found = await asyncio.gather(*(ask(client, "stream_websocket", port=0) for _ in range(5)))
        assert len({one["port"] for one in found}) == 1
