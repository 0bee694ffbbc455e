"""The servers' parts: the ring, sessions, access, threads, requests, limits."""

from __future__ import annotations

import asyncio
import threading

import pytest
from apps.serving.harness import ServingLimits, httpx2, until
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount

from midstream.apps.agent import Agent
from midstream.apps.serving import AgentServers, AgentService
from midstream.apps.serving.access import Access, is_loopback
from midstream.apps.serving.hub import Hub
from midstream.apps.serving.refusals import STATUSES, Refusal
from midstream.apps.serving.sessions import Sessions
from midstream.apps.serving.wire import encode, parse, read_request
from midstream.apps.serving.work import Workers
from midstream.errors import ArgumentTypeError, ArgumentValueError

# The ring.


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["processed", "other"]), st.integers(0, 200)), max_size=60),
    st.integers(1, 20),
    st.integers(0, 70),
)
def test_a_reader_gets_all_that_is_kept_and_is_told_of_the_rest(published, keep, after):
    async def run():
        hub = Hub(keep, 4000)
        for number, (topic, size) in enumerate(published):
            assert hub.publish(topic, {"x": "y" * size}) == number + 1
        assert hub.kept_bytes <= 4000 or hub.first == hub.last
        place = min(after, hub.last)
        seen, missed = [], 0
        while True:
            taken = hub.take(place, ("processed",))
            missed += taken.missed
            seen += [item.number for item in taken.items]
            assert taken.last >= place
            if place == taken.last:
                break
            place = taken.last
        start = min(after, hub.last)
        assert missed == max(0, hub.first - 1 - start)
        expected = range(max(start + 1, hub.first), hub.last + 1)
        assert seen == [number for number in expected if published[number - 1][0] == "processed"]

    asyncio.run(run())


async def test_readers_wake_once_for_all_of_a_turn():
    hub = Hub(1000, 1 << 20)
    woken = []

    async def read():
        after = 0
        while after < 30:
            await hub.wait(after)
            after = hub.take(after, ("processed",)).last
            woken.append(after)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    for _ in range(3):
        for _ in range(10):
            hub.publish("processed", {})
        await asyncio.sleep(0.01)
    await reading
    assert woken == [10, 20, 30]


async def test_waiting_ends_with_its_time():
    hub = Hub(10, 1000)
    assert await hub.wait(0, 0.001) is False
    hub.publish("processed", {})
    assert await hub.wait(0, 0.001) is True
    waiting = asyncio.create_task(hub.wait(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    hub.publish("processed", {})


# Sessions.


def test_sessions_give_way_by_the_time_of_their_last_use():
    async def run():
        sessions = Sessions(ServingLimits(max_sessions=3), Agent)
        first, second, third = (sessions.open() for _ in range(3))
        sessions.connect(first)
        sessions.find(second.key)
        sessions.open()
        with pytest.raises(Refusal, match="no such session"):
            sessions.find(third.key)
        assert sessions.find(first.key) is first
        sessions.disconnect(first)
        sessions.open()
        sessions.open()
        assert len(sessions) == 3
        for session in list(sessions._sessions.values()):
            sessions.connect(session)
        with pytest.raises(Refusal, match="too many"):
            sessions.open()

    asyncio.run(run())


def test_keys_cannot_be_guessed():
    async def run():
        sessions = Sessions(ServingLimits(), Agent)
        keys = {sessions.open().key for _ in range(100)}
        assert len(keys) == 100
        assert all(len(key) >= 22 for key in keys)

    asyncio.run(run())


# Access.


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.org", "127.0.0.1.x"])
def test_other_machines_are_told_apart(host):
    assert not is_loopback(host)


def test_two_origins_or_tokens_are_none():
    access = Access(token="long enough")
    with pytest.raises(Refusal, match="more than one origin"):
        access.check([(b"origin", b"http://localhost")] * 2, b"token=long%20enough")
    with pytest.raises(Refusal, match="token"):
        access.check([], b"token=long%20enough&token=long%20enough")
    with pytest.raises(Refusal, match="token"):
        access.check([], b"&".join([b"x=y"] * 100) + b"&token=long%20enough")
    assert access.check([(b"authorization", b"bearer long enough")], b"") is None


@pytest.mark.parametrize(
    "options",
    [
        {"origins": "https://example.org"},
        {"origins": [3]},
        {"origins": ["example.org"]},
        {"origins": ["https://example.org/path"]},
        {"token": "short"},
        {"token": 12345678},
        {"limits": 3},
        {"make_agent": 3},
    ],
)
def test_arguments_are_checked(options):
    with pytest.raises((ArgumentTypeError, ArgumentValueError)):
        AgentService(**options)


def test_limits_are_checked():
    with pytest.raises(ArgumentValueError, match="max_clients must be at least 1, got 0"):
        ServingLimits(max_clients=0)
    with pytest.raises(ArgumentTypeError, match="deadline_s"):
        ServingLimits(deadline_s="soon")
    with pytest.raises(ArgumentTypeError, match="service"):
        AgentServers(3)
    with pytest.raises(ArgumentValueError, match="ws_port"):
        AgentServers(AgentService(), ws_port=70_000)


# Threads.


async def test_work_is_done_and_errors_are_raised_where_it_was_asked():
    workers = Workers(2, 10, 5.0)
    workers.start()
    ended = []

    def wrong():
        raise ZeroDivisionError("never")

    assert await workers.run(lambda: 42, lambda: ended.append(1)) == 42
    with pytest.raises(ZeroDivisionError):
        await workers.run(wrong, lambda: ended.append(2))
    assert ended == [1, 2]
    await asyncio.to_thread(workers.stop)


async def test_what_waits_too_long_is_shed_and_what_runs_too_long_is_late():
    workers = Workers(1, 1, 0.1)
    workers.start()
    gate = threading.Event()
    ended = []
    running = asyncio.create_task(workers.run(gate.wait, lambda: ended.append("running")))
    await until(lambda: workers.waiting == 1)
    await asyncio.sleep(0.02)
    waiting = asyncio.create_task(workers.run(lambda: 1, lambda: ended.append("waiting")))
    await until(lambda: workers.waiting == 2)
    with pytest.raises(Refusal, match="too many") as refused:
        await workers.run(lambda: 1, lambda: ended.append("refused"))
    assert refused.value.code == "overloaded"
    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [outcome.code for outcome in outcomes] == ["deadline", "overloaded"]
    assert ended == ["refused"]
    gate.set()
    await until(lambda: len(ended) == 3)
    assert (workers.done, workers.shed, workers.late) == (0, 2, 1)
    assert await workers.run(lambda: 1, lambda: None) == 1
    await asyncio.to_thread(workers.stop)


# Within other applications.


async def test_the_applications_can_be_mounted():
    service = AgentService()
    routes = [Mount("/agent", app=service.sse)]
    transport = httpx2.ASGITransport(app=Starlette(routes=routes))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        first = (await client.post("/agent/process", json={"message": "hello"})).json()
        assert first["data"]["words"] == 1
        told = await client.get("/agent/status", params={"session": first["session"]})
        assert told.json()["data"]["messages"] == 1
        assert (await client.get("/agent/nothing")).json()["code"] == "not_found"
    await service.aclose()


# Requests and answers.


@given(st.text())
def test_any_text_is_a_request_or_refused(text):
    try:
        request = read_request(text)
    except Refusal as refusal:
        assert refusal.code in ("bad_json", "bad_request")
        assert refusal.status == 400
    else:
        assert isinstance(request.kind, str)


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.booleans()))
def test_what_is_encoded_is_read_again(fields):
    assert parse(encode(fields)) == fields


def test_every_refusal_has_a_status():
    for code, status in STATUSES.items():
        assert Refusal(code, "why").status == status >= 400
        assert Refusal(code, "why", retry_after_s=1.23456).fields() == {
            "code": code,
            "error": "why",
            "retry_after_s": 1.235,
        }
