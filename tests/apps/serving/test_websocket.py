"""The WebSocket server: requests, state, broadcast, resuming, and how connections end."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from apps.serving.harness import (
    ask,
    closing_code,
    frame,
    hear,
    raw,
    raw_socket,
    running,
    tell,
    until,
    websockets,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from midstream.apps.agent import Agent
from midstream.apps.feed import Feed


async def test_the_six_kinds_are_answered():
    async with running() as it, it.socket() as socket:
        answers = [
            await ask(socket, kind="process", id=1, message="hello"),
            await ask(socket, kind="analyze", id=2, messages=["a b", "a c"]),
            await ask(socket, kind="compare", id=3, first=[1, 2], second=[1, 3]),
            await ask(socket, kind="detect_pattern", id=4, pattern=["b"], sequence=["a", "b"]),
            await ask(socket, kind="behavior", id=5, series=[1.0] * 200),
            await ask(socket, kind="status", id=6),
            await ask(socket, kind="meta_learn", id="seven", content="hello", reward=1),
        ]
    assert [(answer["type"], answer["id"]) for answer in answers] == [
        ("result", 1),
        ("analysis", 2),
        ("comparison", 3),
        ("pattern", 4),
        ("behavior_analysis", 5),
        ("status", 6),
        ("learned", "seven"),
    ]
    data = [answer["data"] for answer in answers]
    assert data[0]["number"] == 0
    assert data[1]["turn_words"] == [2, 2]
    assert data[2]["value"] == 1.0
    assert data[3]["positions"] == [1]
    assert data[4]["kind"] == "fixed_point"
    assert data[5]["messages"] == 1
    assert data[6]["rewards"]["count"] == 1


async def test_the_originals_requests_are_understood():
    async with running() as it, it.socket() as socket:
        payload = {"sequence1": ["a", "b"], "sequence2": ["a", "c"], "algorithm": "edit"}
        compared = await ask(socket, type="compare", payload=payload)
        assert compared["data"]["value"] == 1
        behaved = await ask(socket, type="behavior", payload={"rewards": [1, 2, 3]})
        assert behaved["data"]["kind"] == "insufficient"
        processed = await ask(socket, type="process", payload={"message": "hello"})
        assert processed["data"]["words"] == 1


async def test_answers_come_in_the_order_of_the_requests():
    async with running() as it, it.socket() as socket:
        for number in range(30):
            # By turns at once and in a thread.
            kind = {"kind": "behavior", "series": [number] * 300} if number % 3 else {}
            fields = kind or {"kind": "process", "message": f"number {number}"}
            await tell(socket, id=number, **fields)
        assert [(await hear(socket))["id"] for _ in range(30)] == list(range(30))


async def test_each_client_has_a_state_of_its_own():
    async with running() as it, it.socket() as one, it.socket() as other:
        await ask(one, kind="process", message="mine")
        assert (await ask(one, kind="status"))["data"]["messages"] == 1
        assert (await ask(other, kind="status"))["data"]["messages"] == 0
        assert one.hello["session"] != other.hello["session"]


async def test_a_client_comes_back_to_its_state():
    async with running() as it:
        async with it.socket() as socket:
            await ask(socket, kind="process", message="mine")
        async with it.socket(f"?session={socket.hello['session']}") as socket:
            assert (await ask(socket, kind="process", message="mine"))["data"]["same_as"] == 0
        with pytest.raises(InvalidStatus) as caught:
            async with it.socket("?session=nobodys"):
                pass
    assert caught.value.response.status_code == 404


async def test_a_session_ends_when_it_was_idle_for_long():
    async with running(limits={"session_idle_s": 0.05}) as it:
        async with it.socket() as socket:
            await asyncio.sleep(0.2)  # connected, it is kept
            assert (await ask(socket, kind="status"))["data"]["messages"] == 0
        await until(lambda: not it.service.clients)
        await asyncio.sleep(0.2)
        with pytest.raises(InvalidStatus):
            async with it.socket(f"?session={socket.hello['session']}"):
                pass


async def test_what_is_processed_is_broadcast_to_those_who_subscribe():
    async with running() as it, it.socket() as one, it.socket() as other, it.socket() as third:
        assert (await ask(other, kind="subscribe", id="s"))["type"] == "subscribed"
        await ask(one, kind="process", message="first")
        await ask(one, kind="process", message="secret", broadcast=False)
        await ask(one, kind="process", message={"role": "user", "content": "second"})
        heard = [await hear(other), await hear(other)]
        assert [event["text"] for event in heard] == ["first", "second"]
        assert [event["event"] for event in heard] == [1, 2]
        assert {event["client"] for event in heard} == {one.hello["client"]}
        assert heard[1]["data"]["role"] == "user"
        assert one.hello["session"] not in json.dumps(heard)
        # Who has not subscribed hears nothing but answers.
        assert (await ask(third, kind="status", id=9))["id"] == 9
        assert (await ask(other, kind="unsubscribe"))["type"] == "unsubscribed"
        await ask(one, kind="process", message="third")
        assert (await ask(other, kind="status", id=10))["id"] == 10


async def test_long_texts_are_cut_in_the_broadcast():
    async with running(limits={"max_broadcast_chars": 10}) as it, it.socket() as socket:
        await ask(socket, kind="subscribe")
        await tell(socket, kind="process", message="0123456789abc")
        texts = [(await hear(socket)).get("text") for _ in range(2)]
        assert "0123456789" in texts


async def test_a_reconnect_loses_nothing():
    async with running(limits={"requests_per_s": 10_000}) as it, it.socket() as speaker:
        heard = []
        last, run = 0, it.service.hub.run
        for turn in range(5):
            async with it.socket() as listener:
                resumed = await ask(
                    listener, kind="resume", after=last, run=run or it.service.hub.run
                )
                assert resumed["type"] == "subscribed"
                run = resumed["run"]
                for number in range(20):
                    await ask(speaker, kind="process", message=f"{turn} {number}")
                # It goes before all has come.
                while len(heard) < 40 * turn + 10:
                    event = await hear(listener)
                    heard.append(event)
                    last = event["event"]
            for number in range(20, 40):
                await ask(speaker, kind="process", message=f"{turn} {number}")
        async with it.socket() as listener:
            await ask(listener, kind="resume", after=last)
            while len(heard) < 200:
                heard.append(await hear(listener))
    assert [event["event"] for event in heard] == list(range(1, 201))
    assert [event["text"] for event in heard] == [
        f"{turn} {number}" for turn in range(5) for number in range(40)
    ]


async def test_what_is_no_longer_kept_is_told_as_a_gap():
    async with running(limits={"keep_events": 10}) as it, it.socket() as one, it.socket() as other:
        for number in range(30):
            await ask(one, kind="process", message=f"number {number}")
        await ask(other, kind="resume", after=5)
        gap = await hear(other)
        assert (gap["type"], gap["missed"], gap["next"]) == ("gap", 15, 21)
        assert [(await hear(other))["event"] for _ in range(10)] == list(range(21, 31))


@pytest.mark.parametrize("fields", [{"after": 3, "run": "another"}, {"after": 99}, {"after": -1}])
async def test_numbers_of_another_run_begin_anew_with_a_gap(fields):
    async with running() as it, it.socket() as socket:
        for number in range(3):
            await ask(socket, kind="process", message=f"number {number}")
        await ask(socket, kind="resume", **fields)
        gap = await hear(socket)
        assert (gap["type"], gap["missed"], gap["next"]) == ("gap", None, 1)
        assert [(await hear(socket))["event"] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "resume"},
        {"kind": "resume", "after": "1"},
        {"kind": "resume", "after": True},
        {"kind": "resume", "after": 1.5},
        {"kind": "subscribe", "topic": "feed"},
        {"kind": "subscribe", "topic": ["processed"]},
    ],
)
async def test_subscriptions_that_cannot_be_are_refused(fields):
    async with running() as it, it.socket() as socket:
        refused = await ask(socket, id=1, **fields)
        assert (refused["type"], refused["id"], refused["code"]) == ("error", 1, "bad_request")


# What others send.


#: What is sent, and the code that comes back; None for either an answer or a refusal.
HOSTILE = (
    ("", "bad_json"),
    ("nonsense", "bad_json"),
    ("{", "bad_json"),
    ('{"kind": "status"} x', "bad_json"),
    ('{"kind": "status", "id": NaN}', "bad_json"),
    ('{"kind": "behavior", "series": [Infinity]}', "bad_json"),
    ('{"kind": "behavior", "series": [1e999]}', "bad_json"),
    ('{"kind": "behavior", "series": [' + "9" * 5000 + "]}", "bad_json"),
    ("[" * 100_000, "bad_json"),
    ('{"a":' * 50_000 + "1" + "}" * 50_000, "bad_json"),
    ("[]", "bad_request"),
    ("null", "bad_request"),
    ("3", "bad_request"),
    ("{}", "bad_request"),
    ('{"kind": 3}', "bad_request"),
    ('{"kind": null}', "bad_request"),
    ('{"kind": "status", "id": {}}', "bad_request"),
    ('{"kind": "status", "id": true}', "bad_request"),
    ('{"kind": "status", "id": 1.5}', "bad_request"),
    ('{"kind": "status", "id": ' + "9" * 100 + "}", "bad_request"),
    ('{"kind": "status", "id": "' + "x" * 1000 + '"}', "bad_request"),
    ('{"kind": "status", "payload": []}', "bad_request"),
    ('{"kind": "nothing of the kind"}', "unknown_kind"),
    ('{"kind": "__class__"}', "unknown_kind"),
    ('{"kind": "process"}', "bad_request"),
    ('{"kind": "process", "message": 3}', "bad_request"),
    ('{"kind": "process", "message": {"role": "user", "content": [[]]}}', None),
    ('{"kind": "process", "message": "\\ud800"}', None),
    ('{"kind": "process", "message": "' + "x" * 300_000 + '"}', "bad_request"),
    ('{"kind": "process", "message": {"content": ' + "[" * 900 + "]" * 900 + "}}", None),
    ('{"kind": "analyze", "messages": {}}', "bad_request"),
    ('{"kind": "analyze", "messages": [1]}', "bad_request"),
    ('{"kind": "compare", "first": 1, "second": 2}', "bad_request"),
    ('{"kind": "compare", "first": [1]}', "bad_request"),
    ('{"kind": "compare", "first": [1e308], "second": [-1e308]}', None),
    ('{"kind": "compare", "first": [{}], "second": [2]}', "bad_request"),
    ('{"kind": "compare", "first": [1], "second": [2], "metric": []}', "bad_request"),
    ('{"kind": "compare", "first": [1], "second": [2], "params": []}', "bad_request"),
    ('{"kind": "compare", "first": [1], "second": [2], "params": {"x": 1}}', "bad_request"),
    ('{"kind": "compare", "first": [1], "second": [2], "params": {"self": 1}}', "bad_request"),
    (
        '{"kind": "compare", "first": [1], "second": [2], "params": {"window": -1}}',
        "bad_request",
    ),
    ('{"kind": "detect_pattern", "sequence": "x", "min_count": 0}', "bad_request"),
    ('{"kind": "detect_pattern", "sequence": "x", "unit": 3}', "bad_request"),
    ('{"kind": "behavior", "series": ["a"]}', "bad_request"),
    ('{"kind": "behavior", "series": [' + "1," * 20_000 + "1]}", "bad_request"),
    ('{"kind": "behavior", "series": [' + "9" * 400 + "]}", "bad_request"),
    ('{"kind": "meta_learn", "reward": "much"}', "bad_request"),
)


async def test_whatever_is_sent_gets_a_typed_answer_and_the_next_request_too():
    async with running(limits={"requests_per_s": 1000}) as it, it.socket() as socket:
        for number, (text, code) in enumerate(HOSTILE):
            await socket.send(text)
            answer = await hear(socket)
            if code is None:
                assert answer["type"] in ("result", "comparison", "error"), text[:80]
            else:
                assert (answer["type"], answer["code"]) == ("error", code), text[:80]
                assert answer["error"]
            assert (await ask(socket, kind="status", id=number))["id"] == number


class Broken(Agent):
    """An agent with a fault."""

    def status(self):
        raise ZeroDivisionError("a fault")


async def test_a_fault_of_ours_is_told_and_logged_and_ends_nothing():
    async with running(make_agent=Broken, faults=2) as it, it.socket() as socket:
        told = await ask(socket, kind="status", id=1)
        assert (told["code"], told["error"]) == ("internal", "internal error")
        assert (await ask(socket, kind="process", message="x"))["type"] == "result"
        refused = await it.client.get("/status")
        assert (refused.status_code, refused.json()["code"]) == (500, "internal")


async def test_random_bytes_end_in_a_code_or_an_answer():
    rng = random.Random(0)
    async with running() as it, it.socket() as socket:
        for _ in range(60):
            reader, writer = await raw_socket(it.ws)
            writer.write(rng.randbytes(rng.randrange(1, 200)))
            writer.write_eof()
            await closing_code(reader)
        for _ in range(60):
            reader, writer = await raw(it.http, rng.randbytes(rng.randrange(1, 200)) + b"\r\n\r\n")
            writer.write_eof()
            await reader.read()
        assert (await ask(socket, kind="status"))["type"] == "status"
        await until(lambda: it.service.clients == 1)


async def test_binary_frames_are_refused():
    async with running() as it, it.socket() as socket:
        await socket.send(b'{"kind": "status"}')
        assert (await hear(socket))["code"] == "bad_request"
        assert (await ask(socket, kind="status"))["type"] == "status"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"\xff\xfe"), 1007),
        (frame("{}", masked=False), 1002),
        (frame("{}", opcode=3), 1002),
        (frame("x", opcode=0), 1002),
        (frame("x" * 3000), 1009),
        (frame("x", fin=False) + frame("x", 0, False) * 200, 1008),
        (frame("x" * 600, fin=False) + frame("x" * 600, 0, False) * 4, 1009),
    ],
)
async def test_frames_that_cannot_be_end_the_connection_with_a_code(data, code):
    limits = {"max_message_bytes": 2048, "max_fragments": 100}
    async with running(limits=limits) as it:
        reader, writer = await raw_socket(it.ws)
        writer.write(data)
        assert await closing_code(reader) == code
        writer.close()
        async with it.socket() as socket:
            assert (await ask(socket, kind="status"))["type"] == "status"


async def test_fragments_make_a_message():
    async with running() as it:
        reader, writer = await raw_socket(it.ws)
        pieces = ['{"kind"', ': "sta', 'tus", "id"', ": 77}"]
        for number, piece in enumerate(pieces):
            writer.write(frame(piece, 0 if number else 1, number == len(pieces) - 1))
            await writer.drain()
            await asyncio.sleep(0.01)
        data = b""
        while b'"id":77' not in data:
            data += await reader.read(4096)
        writer.close()


async def test_a_flood_of_tiny_messages_waits_as_bytes():
    async with running(limits={"requests_per_s": 1e6, "max_refused": 10**6}) as it:
        reader, writer = await raw_socket(it.ws)
        count = 30_000
        flood = asyncio.create_task(_send(writer, frame("1") * count))
        most = seen = 0
        rest = b""
        while seen < count:
            data = rest + await reader.read(1 << 16)
            seen += data.count(b"bad_request")
            rest = data[-10:]  # the word may be cut in two
            most = max([most, *(connection.queue.qsize() for connection in it.connections())])
        await flood
        assert most <= 1000
        writer.close()


async def _send(writer, data):
    writer.write(data)
    await writer.drain()


async def test_too_many_requests_are_refused_and_then_the_connection():
    limits = {"requests_per_s": 5, "max_refused": 20}
    async with running(limits=limits) as it, it.socket() as socket:
        answers = []

        async def go_on():
            while True:
                answers.append(await ask(socket, kind="status"))

        with pytest.raises(ConnectionClosed) as closed:
            await go_on()
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert {answer["code"] for answer in refused} == {"rate"}
        assert len(refused) == 20
        assert all(0 < answer["retry_after_s"] <= 0.2 for answer in refused)
        assert closed.value.rcvd.code == 1008
        assert it.service.counts["refused_rate"] == 20


# Who may connect.


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", None),
        ("https://127.0.0.1", None),
        ("http://[::1]:3000", None),
        ("https://pages.example.org", None),
        ("https://pages.example.org:443", None),
        ("http://pages.example.org", 403),
        ("https://evil.example.org", 403),
        ("https://pages.example.org.evil.org", 403),
        ("https://localhost.evil.org", 403),
        ("null", 403),
        ("file://", 403),
        ("http://[", 403),
    ],
)
async def test_only_pages_of_this_machine_and_listed_ones_may_connect(origin, status):
    async with running(origins=["https://pages.example.org"]) as it:
        if status is None:
            async with it.socket(origin=origin):
                pass
            return
        with pytest.raises(InvalidStatus) as caught:
            async with it.socket(origin=origin):
                pass
        assert caught.value.response.status_code == status
        assert json.loads(caught.value.response.body)["code"] == "forbidden"


async def test_names_that_point_here_are_refused():
    async with running(hosts=["mine.example.org"]) as it:
        for host, status in (("evil.example.org", 403), ("mine.example.org", None)):
            port = it.servers.ws_address[1]
            options = {"host": "127.0.0.1", "port": port, "proxy": None}
            if status is None:
                async with websockets.connect(f"ws://{host}:{port}/", **options):
                    continue
            with pytest.raises(InvalidStatus) as caught:
                async with websockets.connect(f"ws://{host}:{port}/", **options):
                    pass
            assert caught.value.response.status_code == status


async def test_a_token_is_asked_for():
    async with running(token="correct horse") as it:
        for query in ("", "?token=wrong-horse", "?token=correct%20horse&token=x"):
            with pytest.raises(InvalidStatus) as caught:
                async with it.socket(query):
                    pass
            assert caught.value.response.status_code == 401
        async with it.socket("?token=correct%20horse"):
            pass
        async with it.socket(additional_headers={"Authorization": "Bearer correct horse"}):
            pass


async def test_more_clients_than_there_may_be_are_refused():
    async with running(limits={"max_clients": 2}) as it, it.socket():
        async with it.socket():
            with pytest.raises(InvalidStatus) as caught:
                async with it.socket():
                    pass
            assert caught.value.response.status_code == 503
        await until(lambda: it.service.clients == 1)
        async with it.socket():
            pass


# How connections end.


async def test_the_service_ends_with_1001():
    async with running() as it, it.socket() as one, it.socket() as other:
        await ask(other, kind="subscribe")
        it.servers.stop()
        for socket in (one, other):
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd.code == 1001


async def test_an_idle_client_is_closed_and_one_that_listens_is_not():
    limits = {"idle_timeout_s": 0.2}
    async with running(limits=limits) as it, it.socket() as one, it.socket() as other:
        await ask(other, kind="subscribe")
        with pytest.raises(ConnectionClosed) as closed:
            await one.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4408, "idle")
        await asyncio.sleep(0.3)
        assert (await ask(other, kind="status"))["type"] == "status"


async def test_a_client_that_answers_no_ping_is_closed():
    limits = {"heartbeat_s": 0.1, "ping_timeout_s": 0.1}
    async with running(limits=limits) as it, it.socket() as socket:
        reader, writer = await raw_socket(it.ws)
        assert await closing_code(reader) == 1011
        writer.close()
        # One that does is there still.
        assert (await ask(socket, kind="status"))["type"] == "status"


async def test_a_stalled_client_is_bounded_and_cut_and_delays_nobody():
    limits = {"client_timeout_s": 1.0, "requests_per_s": 10_000, "max_broadcast_chars": 50_000}
    async with running(limits=limits) as it, it.socket() as speaker, it.socket() as listener:
        _, writer = await raw_socket(it.ws)
        writer.write(frame('{"kind": "subscribe"}'))
        await until(lambda: it.service.counts["websockets"] == 3)
        writer.transport.pause_reading()
        await ask(listener, kind="subscribe")
        text = "many words in a row, " * 2000
        held = 0
        for number in range(300):
            await ask(speaker, kind="process", message=f"{number} {text}"[:40_000])
            assert (await hear(listener))["event"] == number + 1
            sizes = [c.transport.get_write_buffer_size() for c in it.connections()]
            held = max([held, *sizes])
        # 12 MB were for it; what is not in the kernel's buffers lies in the ring, for all.
        assert held < 300_000
        assert it.service.hub.kept_bytes <= it.service.limits.keep_bytes
        await until(lambda: it.service.clients == 2)
        assert (await ask(listener, kind="status"))["type"] == "status"
        writer.transport.abort()


async def test_a_slow_client_is_told_what_it_missed():
    limits = {"keep_events": 20, "requests_per_s": 10_000, "max_broadcast_chars": 50_000}
    async with (
        running(limits=limits) as it,
        it.socket() as speaker,
        it.socket(max_queue=1) as listener,
    ):
        await ask(listener, kind="subscribe")
        text = "many words in a row, " * 2000
        for number in range(400):
            await ask(speaker, kind="process", message=f"{number} {text}"[:40_000])
        following, missed = 1, 0
        while following <= 400:
            told = await hear(listener)
            if told["type"] == "gap":
                missed += told["missed"]
                assert told["next"] == following + told["missed"]
                following = told["next"]
            else:
                assert told["event"] == following
                following += 1
        assert missed > 0
        assert it.service.counts["missed"] == missed


# Too much work.


def noise(n):
    """What takes long to judge."""
    rng = random.Random(0)
    return [round(rng.random(), 6) for _ in range(n)]


async def test_an_analysis_that_takes_too_long_is_given_up():
    async with running(limits={"deadline_s": 0.02, "threads": 1}) as it, it.socket() as socket:
        series = noise(10_000)
        late = await ask(socket, kind="behavior", id=1, series=series)
        assert late["code"] in ("deadline", "overloaded")
        while True:
            again = await ask(socket, kind="status", id=2)
            if again["type"] == "status":
                break
            assert again["code"] == "busy"
            await asyncio.sleep(0.05)
        assert it.service.state()["analyses"]["late"] + it.service.state()["analyses"]["shed"] >= 1


async def test_more_analyses_than_can_wait_are_shed_and_counted():
    limits = {"threads": 1, "max_waiting": 2, "deadline_s": 300}
    async with running(limits=limits) as it:
        series = noise(6000)

        async def one():
            async with it.socket() as socket:
                return await ask(socket, kind="behavior", series=series)

        answers = await asyncio.gather(*(one() for _ in range(12)))
        kinds = [answer.get("code", answer["type"]) for answer in answers]
        assert set(kinds) <= {"behavior_analysis", "overloaded"}
        assert kinds.count("behavior_analysis") >= 3
        shed = kinds.count("overloaded")
        assert shed == it.service.state()["analyses"]["shed"] > 0


async def test_what_is_kept_for_all_clients_is_bounded():
    limits = {"max_kept_chars": 5000}
    async with running(limits=limits) as it, it.socket() as one:
        async with it.socket() as other:
            await ask(other, kind="process", message="x" * 3000)
        await until(lambda: it.service.clients == 1)
        assert (await ask(one, kind="process", message="y" * 3000))["type"] == "result"
        assert it.service.sessions.kept_chars == 6000
        # Who is away gives way, and then there is nobody left to.
        assert (await ask(one, kind="process", message="z" * 3000))["type"] == "result"
        assert len(it.service.sessions) == 1
        refused = await ask(one, kind="process", message="more")
        assert refused["code"] == "full"
        assert (await ask(one, kind="status"))["data"]["messages"] == 2


async def test_others_are_answered_while_an_analysis_runs():
    async with running() as it, it.socket() as heavy, it.socket() as light:
        series = noise(10_000)
        await tell(heavy, kind="behavior", series=series)
        answered = 0
        task = asyncio.create_task(hear(heavy))
        while not task.done():
            await ask(light, kind="compare", first=[1, 2], second=[answered, 3])
            answered += 1
            if answered % 50 == 0:
                await asyncio.sleep(0.6)  # not beyond its allowance
        assert (await task)["type"] == "behavior_analysis"
        assert answered > 1


# HTTP at the same port.


async def test_health_is_told_and_the_rest_wants_an_upgrade():
    from apps.serving.harness import httpx2

    async with running() as it, httpx2.AsyncClient() as client:
        base = it.ws.replace("ws:", "http:")
        assert (await client.get(f"{base}/healthz")).status_code == 200
        assert (await client.get(f"{base}/readyz")).status_code == 200
        refused = await client.get(f"{base}/")
        assert (refused.status_code, refused.headers["upgrade"]) == (426, "websocket")


async def test_what_was_asked_is_answered_before_the_service_ends():
    async with running(drain_s=20) as it, it.socket() as socket:
        series = noise(10_000)
        await tell(socket, kind="behavior", id=1, series=series)
        posted = asyncio.create_task(it.post("/behavior", {"series": series}))
        await until(lambda: it.service.pending == 2)
        it.servers.stop()
        assert (await hear(socket))["type"] == "behavior_analysis"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd.code == 1001
        assert (await posted).json()["type"] == "behavior_analysis"


async def test_the_feed_is_resumed():
    feed = Feed(frames_per_s=200)
    async with running(feed=feed) as it:
        async with it.socket() as socket:
            subscribed = await ask(socket, kind="subscribe", topic="feed")
            assert subscribed["run"] == feed.key
            frame = (await hear(socket))["frame"]
        feed.open("one").close("completed")
        feed.flush()
        async with it.socket() as socket:
            await ask(socket, kind="resume", topic="feed", after=frame, run=feed.key)
            assert (await hear(socket))["data"]["type"] == "frame"
        async with it.socket() as socket:
            await ask(socket, kind="resume", topic="feed", after=frame, run="another")
            assert (await hear(socket))["data"]["type"] == "snapshot"
        feed.close()
