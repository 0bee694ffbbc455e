"""Requests over HTTP, streams of events, resuming, and clients that mean no good."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from apps.serving.harness import ask, raw, running, until

from midstream.apps.feed import Feed
from midstream.apps.serving import AgentServers, AgentService
from midstream.stream import replay, shipped_recordings

FAST = {"requests_per_s": 10_000, "requests_per_address_s": 10_000}


async def test_requests_are_answered():
    async with running() as it:
        processed = (await it.post("/process", {"message": "hello", "id": 7})).json()
        assert processed["success"] is True
        assert (processed["type"], processed["id"]) == ("result", 7)
        assert processed["data"]["number"] == 0
        analyzed = (await it.post("/analyze", {"messages": ["a b", "a c"]})).json()
        assert analyzed["data"]["turn_words"] == [2, 2]
        compared = (await it.post("/compare", {"first": [1, 2], "second": [1, 4]})).json()
        assert compared["data"]["value"] == 2.0
        found = (await it.post("/detect_pattern", {"sequence": "abab"})).json()
        assert found["data"]["repeats"][0]["pattern"] == ["a", "b"]
        behaved = (await it.post("/behavior", {"rewards": [1.0] * 150})).json()
        assert behaved["data"]["kind"] == "fixed_point"
        learned = (await it.post("/meta_learn", {"reward": 0.5})).json()
        assert learned["data"]["rewards"]["mean"] == 0.5
        status = (await it.client.get("/status")).json()
        assert status["server"]["counts"]["requests"] == 7


async def test_a_session_is_named_in_a_header_a_body_or_a_query():
    async with running() as it:
        key = (await it.post("/process", {"message": "one"})).json()["session"]
        await it.post("/process", {"message": "two", "session": key})
        await it.post("/process", {"message": "three"}, headers={"x-midstream-session": key})
        told = (await it.client.get("/status", params={"session": key})).json()
        assert told["data"]["messages"] == 3
        assert told["session"] == key
        lost = await it.post("/process", {"message": "x", "session": "nobodys"})
        assert (lost.status_code, lost.json()["code"]) == (404, "not_found")


async def test_requests_without_state_leave_none():
    async with running() as it:
        for _ in range(5):
            told = (await it.post("/compare", {"first": [1], "second": [2]})).json()
            assert told["session"] is None
            await it.client.get("/status")
        assert len(it.service.sessions) == 0
        await it.post("/process", {"message": "x"})
        assert len(it.service.sessions) == 1


async def test_the_session_longest_idle_gives_way():
    async with running(limits={"max_sessions": 3, **FAST}) as it:
        keys = [(await it.post("/process", {"message": "x"})).json()["session"] for _ in range(4)]
        answers = [await it.client.get("/status", params={"session": key}) for key in keys]
        assert [answer.status_code for answer in answers] == [404, 200, 200, 200]


async def test_a_stream_tells_what_is_processed():
    async with running() as it, it.stream() as events:
        hello = await events.next()
        assert (hello.event, hello.data["type"]) == ("connected", "connected")
        assert hello.id == f"{hello.data['run']}.0"
        response = events.response
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        await it.post("/process", {"message": "hello", "session": hello.data["session"]})
        event = await events.next()
        assert (event.event, event.data["text"]) == ("processed", "hello")
        assert event.data["client"] == hello.data["client"]
        assert event.id.endswith(".1")
        status = await it.client.get("/status", params={"session": hello.data["session"]})
        assert status.json()["data"]["messages"] == 1


async def test_a_line_feed_in_a_message_is_no_event():
    async with running() as it, it.stream() as events:
        await events.next()
        hostile = "a\n\nevent: evil\ndata: {}\n\nid: 99\r\n\r\n\u2028\U0001f642"
        await it.post("/process", {"message": hostile})
        event = await events.next()
        assert (event.event, event.data["text"]) == ("processed", hostile)


async def test_half_a_character_is_broadcast_as_it_came():
    async with running() as it, it.stream() as events, it.socket() as socket:
        await events.next()
        await ask(socket, kind="subscribe")
        half = await it.client.post("/process", content=b'{"message": "a \\ud800 b"}')
        assert half.status_code == 200
        assert json.loads(await socket.recv())["text"] == "a \ud800 b"
        assert (await events.next()).data["text"] == "a \ud800 b"


async def test_both_servers_broadcast_the_same():
    async with running() as it, it.stream() as events, it.socket() as socket:
        await events.next()
        await ask(socket, kind="subscribe")
        await it.post("/process", {"message": "over http"})
        assert json.loads(await socket.recv())["text"] == "over http"
        await socket.send(json.dumps({"kind": "process", "message": "over a socket"}))
        assert (await events.next()).data["text"] == "over http"
        assert (await events.next()).data["text"] == "over a socket"


@pytest.mark.parametrize("by_query", [False, True])
async def test_reconnects_lose_nothing(by_query):
    async with running(limits=FAST) as it:
        seen, last = [], ""
        async with it.stream() as events:
            last = (await events.next()).id
        sent = 0
        for _ in range(6):
            for _ in range(15):
                await it.post("/process", {"message": f"number {sent}"})
                sent += 1
            path = f"/stream?last_event_id={last}" if by_query else "/stream"
            headers = {} if by_query else {"last_event_id": last}
            async with it.stream(path, **headers) as events:
                assert (await events.next()).event == "connected"
                while len(seen) < sent - 5:  # it goes before all has come
                    event = await events.next()
                    seen.append(event.data["text"])
                    last = event.id
        async with it.stream(last_event_id=last) as events:
            await events.next()
            while len(seen) < sent:
                seen.append((await events.next()).data["text"])
        assert seen == [f"number {number}" for number in range(sent)]


async def test_who_had_nothing_but_the_greeting_resumes_too():
    async with running() as it:
        async with it.stream() as events:
            last = (await events.next()).id
        await it.post("/process", {"message": "meanwhile"})
        async with it.stream(last_event_id=last) as events:
            await events.next()
            assert (await events.next()).data["text"] == "meanwhile"


async def test_what_is_no_longer_kept_is_told_as_a_gap():
    async with running(limits={"keep_events": 5, **FAST}) as it:
        for number in range(12):
            await it.post("/process", {"message": f"number {number}"})
        async with it.stream(last_event_id=f"{it.service.hub.run}.3") as events:
            await events.next()
            gap = await events.next()
            assert (gap.event, gap.data["missed"], gap.data["next"]) == ("gap", 4, 8)
            numbers = [(await events.next()).data["event"] for _ in range(5)]
            assert numbers == [8, 9, 10, 11, 12]


@pytest.mark.parametrize(
    "last", ["another.3", "3", "x", "a.b", "." + "9" * 400, "RUN.99", "RUN.-1"]
)
async def test_ids_of_another_run_begin_anew_with_a_gap(last):
    async with running() as it:
        await it.post("/process", {"message": "there already"})
        async with it.stream(last_event_id=last.replace("RUN", it.service.hub.run)) as events:
            await events.next()
            gap = await events.next()
            assert (gap.event, gap.data["missed"], gap.data["next"]) == ("gap", None, 1)
            assert (await events.next()).data["text"] == "there already"


async def test_a_silent_stream_has_heartbeats():
    async with running(limits={"heartbeat_s": 0.05}) as it, it.stream() as events:
        await events.next()
        waiting = asyncio.create_task(events.next())
        await until(lambda: events.comments >= 3)
        await it.post("/process", {"message": "at last"})
        assert (await waiting).data["text"] == "at last"


async def test_a_client_that_goes_is_noticed_at_once():
    async with running(limits={"heartbeat_s": 1000}) as it:
        async with it.stream() as events:
            await events.next()
            assert it.service.clients == 1
        await until(lambda: not it.service.clients)


async def test_streams_end_with_the_service_and_say_when_to_come_back():
    async with running() as it, it.stream() as events:
        await events.next()
        it.servers.stop()
        assert await events.next() is None
        assert it.service.clients == 0


async def test_requests_are_refused_while_the_service_ends():
    async with running() as it:
        it.service.drain()
        assert (await it.client.get("/readyz")).status_code == 503
        assert (await it.client.get("/healthz")).status_code == 200
        refused = await it.post("/process", {"message": "x"})
        assert (refused.status_code, refused.json()["code"]) == (503, "ending")
        refused = await it.client.get("/stream")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


async def test_lingering_takes_clients_until_others_have_noticed():
    async with running(linger_s=300) as it:
        it.servers.stop()
        assert (await it.client.get("/readyz")).status_code == 503
        assert (await it.client.head("/healthz")).status_code == 200
        assert "midstream_ready 0" in (await it.client.get("/metrics")).text
        assert (await it.post("/process", {"message": "x"})).status_code == 200
        async with it.stream() as events:
            await events.next()
            it.servers.cut()  # a second signal does not wait
            with pytest.raises(httpx2.RemoteProtocolError):
                await events.next()
        await until(lambda: it.service.draining)


async def test_they_are_stopped_before_they_listen():
    servers = AgentServers(AgentService(), ws_port=0, sse_port=0)
    servers.stop()
    await asyncio.wait_for(servers.serve(), 30)
    assert servers.started.is_set()


async def test_more_streams_than_there_may_be_are_refused():
    async with running(limits={"max_clients": 1}) as it, it.stream() as events:
        await events.next()
        refused = await it.client.get("/stream")
        assert (refused.status_code, refused.json()["code"]) == (503, "full")
        assert "retry-after" in refused.headers


# The feed.


async def test_the_feed_is_streamed_and_resumed():
    feed = Feed(frames_per_s=200)
    async with running(feed=feed) as it:
        async with it.stream("/feed") as events, it.socket() as socket:
            assert "feed" in socket.hello["topics"]
            assert (await ask(socket, kind="subscribe", topic="feed"))["topic"] == "feed"
            first = await events.next()
            assert (first.event, first.data["data"]["type"]) == ("feed", "snapshot")
            assert json.loads(await socket.recv())["data"]["type"] == "snapshot"
            await feed.follow(replay(shipped_recordings()["loop-02"]), "a tale")
            told = json.loads(await socket.recv())
            assert (told["type"], told["data"]["type"]) == ("feed", "frame")
            second = await events.next()
            assert second.data["frame"] == first.data["frame"] + 1
        feed.flush()
        async with it.stream("/feed", last_event_id=second.id) as events:
            following = await events.next()
            assert following.data["data"]["type"] == "frame"
            assert following.data["frame"] == second.data["frame"] + 1
            feed.close()
            while (event := await events.next()) is not None:
                following = event
            assert following.data["frame"] == feed.id


async def test_without_a_feed_there_is_none():
    async with running() as it:
        assert (await it.client.get("/feed")).status_code in (404, 405)


# Who may ask.


async def test_origins_are_checked_and_answered():
    async with running(origins=["https://pages.example.org"]) as it:
        for origin in ("https://evil.example.org", "null"):
            for path in ("/status", "/stream"):
                refused = await it.client.get(path, headers={"origin": origin})
                assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
                assert "access-control-allow-origin" not in refused.headers
        for origin in ("https://pages.example.org", "http://localhost:5000"):
            asked = await it.client.options("/process", headers={"origin": origin})
            assert asked.status_code == 204
            assert asked.headers["access-control-allow-origin"] == origin
            assert asked.headers["vary"] == "origin"
            answer = await it.post("/process", {"message": "x"}, headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            # A page gets to read what went wrong, too.
            wrong = await it.post("/process", {}, headers={"origin": origin})
            assert wrong.headers["access-control-allow-origin"] == origin


async def test_a_token_is_asked_for_but_not_by_health_checks():
    async with running(token="correct horse") as it:
        refused = await it.client.get("/status")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        wrong = await it.client.get("/status", headers={"authorization": "Bearer wrong horse"})
        assert wrong.status_code == 401
        for options in (
            {"headers": {"authorization": "Bearer correct horse"}},
            {"params": {"token": "correct horse"}},
        ):
            assert (await it.client.get("/status", **options)).status_code == 200
        assert (await it.client.get("/healthz")).status_code == 200
        # What a browser asks first carries none.
        asked = await it.client.options("/process", headers={"origin": "http://localhost"})
        assert asked.status_code == 204


async def test_names_that_point_here_are_refused():
    async with running(hosts=["mine.example.org"]) as it:
        for host, status in (
            ("mine.example.org", 200),
            ("mine.example.org:1234", 200),
            ("evil.example.org", 403),
            ("127.0.0.1.evil.example.org", 403),
            ("", 403),
        ):
            answer = await it.client.get("/status", headers={"host": host})
            assert answer.status_code == status, host


# What others send.


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/process", 405, "POST"),
        ("POST", "/stream", 405, "GET"),
        ("PUT", "/status", 405, "GET, POST"),
        ("DELETE", "/analyze", 405, "POST"),
        ("GET", "/", 404, None),
        ("GET", "/../status", 404, None),
        ("GET", "/status/", 404, None),
        ("GET", "/status%00", 404, None),
        ("POST", "/__class__", 404, None),
    ],
)
async def test_paths_and_methods_that_there_are_not(method, path, status, allow):
    async with running() as it:
        reader, writer = await raw(
            it.http, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert f" {status} " in head.split("\r\n", 1)[0]
        if allow is not None:
            assert f"allow: {allow.lower()}\r\n" in head
        writer.close()


async def test_bodies_that_are_no_request_are_refused():
    async with running(limits=FAST) as it:
        for body, code in (
            (b"nonsense", "bad_json"),
            (b"\xff\xfe", "bad_json"),
            (b"[]", "bad_request"),
            (b'{"message": NaN}', "bad_json"),
            (b"[" * 100_000, "bad_json"),
            (b'{"message": 3}', "bad_request"),
            (b'{"message": "x", "session": 3}', "bad_request"),
            (b'{"message": "x", "payload": 3}', "bad_request"),
            (b"", "bad_request"),
            (b"  ", "bad_request"),
        ):
            refused = await it.client.post("/process", content=body)
            assert (refused.status_code, refused.json()["code"]) == (400, code), body[:40]
            assert refused.json()["success"] is False
        # A byte order mark is no reason.
        assert (await it.client.post("/status", content=b"\xef\xbb\xbf{}")).status_code == 200


async def test_a_kind_in_the_body_does_not_change_the_path():
    async with running() as it:
        answer = await it.post("/status", {"kind": "process", "message": "x"})
        assert answer.json()["type"] == "status"


async def test_a_body_that_is_too_large_is_refused():
    async with running(limits={"max_message_bytes": 10_000}) as it:
        refused = await it.post("/process", {"message": "x" * 20_000})
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")

        async def pieces():
            for _ in range(100):
                yield b"x" * 1000

        refused = await it.client.post("/process", content=pieces())
        assert refused.status_code == 413


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /status HT",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
    ],
)
async def test_a_request_that_does_not_come_is_not_waited_for(data):
    async with running(limits={"request_timeout_s": 0.2}) as it:
        reader, writer = await raw(it.http, data)
        answer = await reader.read(4096)
        assert b" 408 " in answer.split(b"\r\n", 1)[0]
        writer.close()


async def test_dripping_headers_do_not_keep_a_connection():
    async with running(limits={"request_timeout_s": 0.3}) as it:
        reader, writer = await raw(it.http, b"GET /status HTTP/1.1\r\nHost: localhost\r\n")
        answer = asyncio.create_task(reader.read(4096))
        while not answer.done():
            writer.write(b"x: y\r\n")
            await asyncio.sleep(0.02)
        assert b" 408 " in (await answer).split(b"\r\n", 1)[0]
        writer.close()


@pytest.mark.parametrize(
    "headers",
    [b"x: y\r\n" * 200, b"x: " + b"y" * 100_000 + b"\r\n", b"x" * 100_000 + b": y\r\n"],
)
async def test_a_flood_of_headers_is_refused(headers):
    async with running() as it:
        for url in (it.http, it.ws):
            reader, writer = await raw(
                url, b"GET /status HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n"
            )
            answer = await reader.read(4096)
            assert b" 431 " in answer.split(b"\r\n", 1)[0]
            writer.close()


async def test_more_connections_than_there_may_be_are_refused():
    async with running(limits={"max_connections": 5}) as it:
        writers = [(await raw(it.http, b""))[1] for _ in range(5)]
        await until(lambda: len(it.connections("sse")) == 5)
        reader, writer = await raw(it.http, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 503 " in (await reader.read(4096)).split(b"\r\n", 1)[0]
        for each in (*writers, writer):
            each.close()


async def test_an_address_that_asks_too_much_is_refused():
    async with running(limits={"requests_per_address_s": 3}) as it:
        answers = [await it.post("/compare", {"first": [1], "second": [2]}) for _ in range(10)]
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(429) >= 5
        assert all("retry-after" in a.headers for a in answers if a.status_code == 429)


async def test_a_stalled_stream_is_bounded_and_cut_and_delays_nobody():
    limits = {"client_timeout_s": 1.0, "max_broadcast_chars": 50_000, **FAST}
    async with running(limits=limits) as it, it.stream() as events, it.socket() as speaker:
        await events.next()
        _, writer = await raw(it.http, b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: it.service.counts["streams"] == 2)
        writer.transport.pause_reading()
        text = "many words in a row, " * 2000
        held = 0
        for number in range(300):
            await ask(speaker, kind="process", message=f"{number} {text}"[:40_000])
            assert (await events.next()).data["event"] == number + 1
            sizes = [c.transport.get_write_buffer_size() for c in it.connections("sse")]
            held = max([held, *sizes])
        assert held < 500_000
        await until(lambda: it.service.clients == 2)
        writer.transport.abort()


async def test_what_was_counted_as_prometheus_reads_it():
    parser = pytest.importorskip(
        "prometheus_client.parser", reason="the extra prometheus is not installed"
    )
    async with running() as it, it.stream() as events:
        await events.next()
        await it.post("/process", {"message": "hello"})
        await it.post("/process", {"message": 3})
        answer = await it.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["midstream_server_clients",] == 1
    assert samples["midstream_server_requests_total",] == 2
    assert samples["midstream_server_refused_total", "bad_request"] == 1


async def test_a_wrong_path_is_told_which_there_are():
    async with running() as it:
        lost = (await it.client.get("/")).json()
        for path in ("/process", "/stream", "/metrics", "/healthz"):
            assert path in lost["error"]
