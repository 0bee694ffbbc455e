"""The tools over streamable HTTP, with the official client and with hostile ones."""

from __future__ import annotations

import asyncio
import contextlib

import httpx2
import pytest
from apps.tools_server.clients import MODES, ask, read, refused, shipped
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from midstream.apps.agent import Agent
from midstream.apps.tools_server import HttpToolServer, ToolLimits, ToolServer
from midstream.errors import ArgumentValueError

TOKEN = "a-token-of-this-test"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def serving(*, limits=None, token=None, hosts=(), drain_s=1.0, linger_s=0.0, **options):
    tools = ToolServer(limits=limits, **options)
    server = HttpToolServer(
        tools, port=0, token=token, hosts=hosts, drain_s=drain_s, linger_s=linger_s
    )
    task = asyncio.ensure_future(server.serve())
    try:
        await server.started.wait()
        yield server
    finally:
        server.stop()
        server.cut()
        await task


@contextlib.asynccontextmanager
async def reached(server, mode="auto", **headers):
    """A client of it."""
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(
            streamable_http_client(server.url, http_client=http), mode=mode, cache=None
        ) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", MODES)
async def test_tools_resources_and_prompts_are_there(mode, tmp_path):
    async with serving(recordings=shipped(tmp_path)) as server, reached(server, mode) as client:
        assert len((await client.list_tools()).tools) == 11
        found = await ask(client, "compare_sequences", sequence1=[1, 2], sequence2=[1, 3])
        assert found["value"] == 1
        assert "sequence2 is missing" in await refused(client, "compare_sequences", sequence1=[1])
        page = await read(client, "midstream://recordings/loop-02.jsonl")
        assert page["events"] == 601
        assert len((await ask(client, "search_recordings", text="grandma"))["hits"]) >= 1
        assert (await client.get_prompt("write_rule", {"intent": "x"})).messages


async def test_a_handshake_has_its_own_conversation():
    async with serving() as server:

        async def one(number):
            async with reached(server, "legacy") as client:
                for k in range(number + 1):
                    await ask(client, "analyze_conversation", messages=[str(k)], keep=True)
                    await ask(client, "meta_learn", reward=number)
                status = await ask(client, "get_status")
                return status["messages"], status["mean_reward"]

        found = await asyncio.gather(*(one(number) for number in range(10)))
        assert found == [(number + 1, number) for number in range(10)]


async def test_without_a_handshake_the_session_is_an_argument():
    async with serving() as server:

        async def one(number):
            async with reached(server, MODES[0]) as client:
                kept = await ask(client, "analyze_conversation", messages=["a"], keep=True)
                key = kept["session"]
                for k in range(number):
                    await ask(
                        client,
                        "analyze_conversation",
                        messages=[str(k)],
                        keep=True,
                        session=key,
                    )
                # What keeps nothing has no session, and sees none.
                status = await ask(client, "get_status")
                assert (status["messages"], status["session"]) == (0, None)
                return (await ask(client, "get_status", session=key))["messages"], key

        found = await asyncio.gather(*(one(number) for number in range(10)))
        assert [messages for messages, _ in found] == list(range(1, 11))
        assert len({key for _, key in found}) == 10
        async with reached(server, "legacy") as client:
            assert "no such session" in await refused(client, "get_status", session="guess")


async def test_a_header_is_no_key_without_a_handshake():
    async with serving() as server:
        async with reached(server, "legacy") as client:
            await ask(client, "analyze_conversation", messages=["mine"], keep=True)
        async with reached(server, MODES[0], **{"Mcp-Session-Id": "anything"}) as client:
            one = await ask(client, "meta_learn", reward=1)
            other = await ask(client, "meta_learn", reward=1)
            assert one["session"] != other["session"]
            assert (await ask(client, "get_status"))["session"] is None


async def test_what_one_keeps_is_not_broadcast_to_others():
    async with serving() as server, reached(server) as client:
        await ask(client, "stream_websocket", port=0)
        await ask(client, "analyze_conversation", messages=["mine"], keep=True)
        assert (await ask(client, "stream_websocket", action="status"))["broadcast"] == 0


async def test_only_who_has_the_token_may_ask():
    async with serving(token=TOKEN) as server:
        async with reached(server, Authorization=f"Bearer {TOKEN}") as client:
            await ask(client, "get_status")
        async with httpx2.AsyncClient(headers=ACCEPT) as http:
            for headers in (
                {},
                {"Authorization": "Bearer"},
                {"Authorization": f"Bearer {TOKEN}x"},
                {"Authorization": f"Basic {TOKEN}"},
            ):
                answer = await http.post(server.url, json=PING, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert TOKEN not in answer.text
            # URLs end up in logs.
            answer = await http.post(f"{server.url}?token={TOKEN}", json=PING)
            assert answer.status_code == 401


async def test_other_names_and_pages_are_refused():
    async with serving(hosts=["tools.example"]) as server:
        port = server.address[1]
        async with httpx2.AsyncClient(headers=ACCEPT) as http:
            for headers, status in (
                ({"Host": "evil.example"}, 403),
                ({"Host": f"evil.example:{port}"}, 403),
                ({"Host": f"127.0.0.1.evil.example:{port}"}, 403),
                ({"Origin": "https://evil.example"}, 403),
                ({"Origin": "null"}, 403),
                ({"Host": "tools.example"}, 400),
                ({"Host": f"localhost:{port}", "Origin": "http://localhost:5173"}, 400),
                ({}, 400),  # a ping before a handshake
            ):
                answer = await http.post(server.url, json=PING, headers=headers)
                assert answer.status_code == status, (headers, answer.text)


async def test_others_than_this_machine_need_a_token():
    with pytest.raises(ArgumentValueError, match="token must be given"):
        HttpToolServer(ToolServer(), "0.0.0.0")
    with pytest.raises(ArgumentValueError, match="token"):
        HttpToolServer(ToolServer(), token="short")


async def test_hostile_bodies_are_refused():
    limits = ToolLimits(max_message_bytes=10_000)
    async with serving(limits=limits) as server, httpx2.AsyncClient(headers=ACCEPT) as http:
        for body, status in (
            (b"", 400),
            (b"{", 400),
            (b"[" * 5000, 400),
            (b"null", 400),
            (b"[]", 400),
            (b'{"jsonrpc": "2.0"}', 400),
            (b"x" * 10_001, 413),
            (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b'{"a":' * 1500, 400),
        ):
            answer = await http.post(server.url, content=body)
            assert answer.status_code == status, (body[:40], answer.text)
        answer = await http.get(server.url.replace("/mcp", "/other"))
        assert answer.status_code == 404
        answer = await http.post(server.url, json=PING, headers={"X-Long": "x" * 40_000})
        assert answer.status_code == 431
        async with reached(server) as client:  # and others are served
            await ask(client, "get_status")


async def test_a_request_that_does_not_come_is_not_waited_for():
    limits = ToolLimits(request_timeout_s=0.3)
    async with serving(limits=limits) as server:
        for sent in (
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n",
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\nContent-Length: 100\r\n\r\n{",
        ):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(sent)
            async with asyncio.timeout(10):
                assert b"HTTP/1.1 408" in await reader.read(1000)
            writer.close()


async def test_too_many_calls_are_refused():
    limits = ToolLimits(requests_per_s=5)
    async with serving(limits=limits) as server, reached(server, "legacy") as client:
        outcomes = [await client.call_tool("get_status", {}) for _ in range(20)]
        said = [one.content[0].text for one in outcomes if one.is_error]
        assert said
        assert said[0].startswith("rate: more than 5 requests a second; try again in")


async def test_too_much_work_is_refused_and_a_session_that_was_idle_is_gone():
    class Slow(Agent):
        def behavior(self, series=None):
            import time

            time.sleep(0.5)
            return super().behavior(series)

    limits = ToolLimits(threads=1, max_waiting=1, session_idle_s=0.4)
    async with serving(limits=limits, make_agent=Slow) as server, reached(server) as client:
        outcomes = await asyncio.gather(
            *(client.call_tool("analyze_behavior", {"rewards": [1.0] * 200}) for _ in range(6))
        )
        said = {one.content[0].text.split(":")[0] for one in outcomes if one.is_error}
        assert said == {"overloaded"}
        kept = await ask(client, "meta_learn", reward=1)
        await asyncio.sleep(0.6)
        assert "no such session" in await refused(client, "get_status", session=kept["session"])


async def test_who_is_being_answered_is_answered_before_the_end():
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(Agent):
        def behavior(self, series=None):
            import time

            loop.call_soon_threadsafe(begun.set)
            time.sleep(0.4)
            return super().behavior(series)

    async with serving(make_agent=Slow, drain_s=10) as server, reached(server, MODES[0]) as client:
        await client.list_tools()  # results are held against what it says
        asking = asyncio.ensure_future(ask(client, "analyze_behavior", rewards=[1.0] * 200))
        await begun.wait()
        server.stop()
        async with httpx2.AsyncClient(headers=ACCEPT) as http:
            answer = await http.post(server.url, json=PING)
            assert answer.status_code == 503
        assert (await asking)["samples"] == 200


async def test_streams_that_are_open_do_not_hold_up_the_end(tmp_path):
    tools = ToolServer(recordings=tmp_path)
    server = HttpToolServer(tools, port=0, drain_s=60)
    task = asyncio.ensure_future(server.serve())
    await server.started.wait()
    async with (
        reached(server) as client,
        reached(server, "legacy") as other,
        client.listen(resources_list_changed=True),
    ):
        await ask(other, "get_status")
        server.stop()
        async with asyncio.timeout(15):
            await task


async def test_a_client_that_leaves_ends_its_search(tmp_path):
    from apps.tools_server.test_recordings import many

    begun = asyncio.Event()

    async def progress(done, total, message):
        begun.set()

    async with serving(recordings=many(tmp_path, 400)) as server, reached(server) as client:
        search = asyncio.ensure_future(
            client.call_tool("search_recordings", {}, progress_callback=progress)
        )
        await begun.wait()
        search.cancel()
        await asyncio.gather(search, return_exceptions=True)
        while (await ask(client, "get_status"))["server"]["waiting"]:
            await asyncio.sleep(0.02)
        from midstream.stream import Library

        with Library(tmp_path) as library:
            assert len(library) < 400


async def test_health_and_readiness_are_told_without_a_token():
    async with (
        serving(token=TOKEN, hosts=["tools.example"], linger_s=300) as server,
        httpx2.AsyncClient(base_url=server.url.removesuffix("/mcp")) as http,
    ):
        probe = {"host": "10.1.2.3:3000"}  # as a machine's own probes ask
        for path in ("/healthz", "/readyz"):
            told = await http.get(path, headers=probe)
            assert (told.status_code, told.json()) == (200, {"status": "ok"})
        assert (await http.post("/readyz")).status_code == 405
        server.stop()
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
        # Until whoever sends requests has noticed, they are answered.
        ping = await http.post("/mcp", json=PING, headers={"authorization": f"Bearer {TOKEN}"})
        assert ping.status_code != 503


async def test_it_is_stopped_before_it_listens():
    server = HttpToolServer(ToolServer(), port=0)
    server.stop()
    await asyncio.wait_for(server.serve(), 30)
    assert server.started.is_set()


async def test_metrics_are_for_who_has_the_token():
    shown = {"authorization": f"Bearer {TOKEN}"}
    async with (
        serving(token=TOKEN) as server,
        reached(server, **shown) as client,
        httpx2.AsyncClient(base_url=server.url.removesuffix("/mcp")) as http,
    ):
        await client.call_tool("get_status", {})
        assert (await http.get("/metrics")).status_code == 401
        told = await http.get("/metrics", headers=shown)
        assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'midstream_tools_calls_total{outcome="ok"} 1' in told.text
        assert "midstream_tools_requests_max 256" in told.text
        assert "midstream_ready 1" in told.text
