"""Sessions of the Realtime API through the proxy: what passes, what a rule changes, how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import joined, within
from stream.proxy.sessions import RealtimeServer, Script
from stream.proxy.wires import Upstream, no_tool, post, proxied, raw, split
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from midstream.quic.certificates import Identity
from midstream.stream import Guard, StallDetector, load
from midstream.stream.policies import Policy, ready_policies
from midstream.stream.proxy import ProxyLimits
from midstream.stream.proxy.connecting import DirectTransport
from midstream.stream.proxy.sessions import RealtimeSession

KEY = "sk-proj-" + "A1b2C3d4E5" * 8
BOTH = pytest.mark.parametrize("beta", [False, True])
NO_BAD = Policy("no bad", "G !bad", {"bad": {"pattern": "bad"}}, "stop")


def socket_url(proxy, path="/v1/realtime?model=m"):
    return proxy.url.replace("http", "ws") + path


async def until(socket, kind="response.done", number=1):
    """Messages of a session up to the last of a type, as they came."""
    out = []
    while number:
        out.append(await socket.recv())
        number -= json.loads(out[-1])["type"] == kind
    return out


def texts(payloads, *kinds):
    return "".join(one["delta"] for one in payloads if one["type"].endswith(kinds or "text.delta"))


async def settled(proxy):
    while proxy.metrics.streams_active:
        await asyncio.sleep(0.01)


def played(payloads, *, policies=(), ending="filtered", most=100_000):
    """What a session makes of messages: payloads for the client, and for the server."""
    session = RealtimeSession(
        lambda number: Guard((), policies), ending=ending, max_held_bytes=most
    )
    for number, payload in enumerate(payloads):
        session.from_server(payload if isinstance(payload, str) else json.dumps(payload), number)
    client = [json.loads(message) for message in session.to_client]
    return client, [json.loads(message) for message in session.to_server], session


@BOTH
async def test_messages_pass_identical_in_both_directions(beta):
    script = Script(beta=beta)
    parts = (
        script.message("Once ", "upon"),
        script.message("a ", "time", index=1, spoken=True),
        script.call("weather", '{"city": ', '"Paris"}', index=2),
    )
    limits = {"type": "rate_limits.updated", "event_id": "l", "rate_limits": []}
    answer = [*script.response(*parts)[:-1], limits, script.done(output=[p[1] for p in parts])]
    rule = no_tool("other")
    async with (
        within(),
        RealtimeServer(answer, greeting=[script.session()]) as server,
        proxied(server, policies=[rule]) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        sent = ['{"type": "response.create",\n "x": "\\u00e9 é"}', b'{"type": "other"}']
        for message in sent:
            await socket.send(message)
        got = await until(socket)
        await server.heard.wait()
        assert got == server.sent
        while len(server.received) < 2:
            await asyncio.sleep(0.01)
        assert server.received == [json.loads(message) for message in sent]
        health = json.loads(split(await raw(proxy.url, _get("/-/health")))[2])
        assert health["streams"] == 1
        served = split(await raw(proxy.url, _get("/-/metrics")))[2].decode()
    assert 'midstream_requests_total{provider="realtime",status="101"} 1' in served
    assert 'midstream_chunks_total{provider="realtime",channel="audio"} 4' in served
    assert proxy.metrics.failures == {}


def _get(path):
    return post(path).replace(b"POST", b"GET", 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_messages_as_bytes_are_read_as_readers_do(encoding):
    call, item = Script().call("f", "{}")
    session = RealtimeSession(
        lambda _: Guard((), no_tool("f")), ending="filtered", max_held_bytes=10_000
    )
    sent = [Script().created(), *call, Script().done(output=[item])]
    for payload in sent:
        session.from_server(json.dumps(payload).encode(encoding), 0)
    assert session.to_client[0] == json.dumps(sent[0]).encode(encoding)
    assert not [one for one in session.to_client if "function_call" in json.dumps(json.loads(one))]


@BOTH
async def test_the_official_sdk(beta):
    script = Script(beta=beta)
    answer = script.response(script.message("Once ", "upon"), script.call("f", "{}", index=1))
    made = []
    async with within(), RealtimeServer(answer) as server, proxied(server) as proxy:
        for url in (server.url, proxy.url):
            async with (
                openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0) as sdk,
                sdk.realtime.connect(model="gpt-realtime") as connection,
            ):
                await connection.response.create()
                made.append([await connection.recv() for _ in answer])
    assert made[0] == made[1]
    first, second = server.requests
    assert second.path == first.path == "/v1/realtime?model=gpt-realtime"
    assert second.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager")
async def test_the_blocking_sdk_and_its_address_for_websockets():
    script = Script()
    answer = script.response(script.message("Once"))
    async with within(), RealtimeServer(answer) as server, proxied(server) as proxy:

        def ask():
            url = socket_url(proxy, "/v1")
            sdk = openai.OpenAI(api_key="k", websocket_base_url=url, max_retries=0)
            with sdk, sdk.realtime.connect(model="m") as connection:
                connection.response.create()
                return [connection.recv().type for _ in answer]

        assert await asyncio.to_thread(ask) == [payload["type"] for payload in answer]


@BOTH
@pytest.mark.parametrize("ending", ["filtered", "normal", "error"])
async def test_a_stop_ends_the_response_and_not_the_session(beta, ending):
    script = Script(beta=beta)
    first = script.response(script.message("so ", "b", "ad ", "words"), response="resp_1")
    second = script.response(script.message("well", response="resp_2"), response="resp_2")
    async with (
        within(),
        RealtimeServer(first, second) as server,
        proxied(server, policies=NO_BAD, ending=ending) as proxy,
        openai.AsyncOpenAI(api_key="k", base_url=f"{proxy.url}/v1", max_retries=0) as sdk,
        sdk.realtime.connect(model="m") as connection,
    ):
        await connection.response.create()
        got = []
        while not got or got[-1].type != "response.done":
            got.append(await connection.recv())
        await connection.response.create()
        more = []
        while not more or more[-1].type != "response.done":
            more.append(await connection.recv())
    shown = [event.to_dict(warnings=False) for event in got]
    said = texts(shown, "text.delta")
    assert said.startswith("so ")
    assert "ad" not in said
    response = got[-1].response
    status = {"filtered": "incomplete", "normal": "completed", "error": "failed"}[ending]
    assert response.status == status
    if ending == "filtered":
        assert response.status_details.reason == "content_filter"
    if ending == "error":
        assert "no bad" in response.status_details.error.message
    (item,) = response.output
    assert item.content[0].text == said
    assert item.content[0].type == ("text" if beta else "output_text")
    assert "response.output_item.done" in [event.type for event in got]
    assert not [event for event in more if "resp_1" in event.to_json(warnings=False)]
    assert texts([event.to_dict(warnings=False) for event in more]) == "well"
    cancels = [one for one in server.received if one["type"] == "response.cancel"]
    assert [one["response_id"] for one in cancels] == ["resp_1"]
    assert proxy.metrics.stops == {("no bad",): 1}


@BOTH
async def test_a_forbidden_call_becomes_a_message(beta):
    script = Script(beta=beta)
    parts = (
        script.message("I will."),
        script.call("delete", '{"all": ', "true}", index=1, call_id="call_1"),
        script.call("weather", "{}", index=2, call_id="call_2"),
    )
    async with (
        within(),
        RealtimeServer(script.response(*parts)) as server,
        proxied(server, policies=no_tool("delete")) as proxy,
        openai.AsyncOpenAI(api_key="k", base_url=f"{proxy.url}/v1", max_retries=0) as sdk,
        sdk.realtime.connect(model="m") as connection,
    ):
        await connection.response.create()
        got = []
        while not got or got[-1].type != "response.done":
            got.append(await connection.recv())
        output = await connection.recv()  # of the conversation, which now holds the denial
    shown = "".join(event.to_json(warnings=False) for event in got)
    assert '"delete"' not in shown
    assert "true" not in shown
    one, two, three = got[-1].response.output
    assert (one.content[0].text, three.name) == ("I will.", "weather")
    assert two.id == "item_resp_1_1"
    assert "ask the user first" in two.content[0].text
    filed = f"conversation.item.{script.filed}"
    assert [event.item.id for event in got if event.type == filed] == [
        f"item_resp_1_{index}" for index in range(3)
    ]
    begun = [event for event in got if event.type == "response.output_item.added"]
    assert [(event.output_index, event.item.type) for event in begun] == [
        (0, "message"),
        (1, "message"),
        (2, "function_call"),
    ]
    (told,) = [one for one in server.received if one["type"] == "conversation.item.create"]
    assert told["item"]["call_id"] == "call_1"
    assert "ask the user first" in told["item"]["output"]
    assert output.item.type == "function_call_output"
    assert proxy.metrics.denied == {("no delete",): 1}


@pytest.mark.parametrize("beta", [False, True])
def test_nothing_of_a_forbidden_call_comes_anywhere(beta):
    rule = no_tool("f", **{"arguments.city": "Rome"})
    script = Script(beta=beta)
    call = script.call("f", '{"city": "R', 'ome"}')
    whole = script.response(call, script.message("after", index=1))
    retrieved = {"type": "conversation.item.retrieved", "event_id": "q", "item": call[1]}
    client, _, _ = played([*whole, retrieved], policies=rule)
    assert "Rome" not in json.dumps(client)
    assert not [one for one in client if "function_call" in json.dumps(one)]
    assert texts(client).endswith("after")
    assert client[-1]["item"]["role"] == "assistant"
    assert client[-1]["type"] == "conversation.item.retrieved"
    # The order of the items is that of the server.
    indices = [one["output_index"] for one in client if "output_index" in one]
    assert indices == sorted(indices)


def test_an_allowed_call_is_released_as_it_came():
    script = Script()
    whole = script.response(
        script.call("f", '{"city": "P', 'aris"}'), script.message("after", index=1)
    )
    rule = no_tool("f", **{"arguments.city": "Rome"})
    client, server, _ = played(whole, policies=rule)
    assert client == whole
    assert server == []


def test_what_is_told_of_other_responses_and_the_session_goes_by():
    script = Script()
    call, item = script.call("f", '{"city": ', '"Rome"}')
    other = script.response(script.message("b", response="resp_2"), response="resp_2")
    speech = {"type": "input_audio_buffer.speech_started", "event_id": "s"}
    cut = 3
    sent = [script.created(), *call[:cut], *other, speech, *call[cut:], script.done(output=[item])]
    rule = no_tool("f", **{"arguments.city": "Oslo"})
    client, _, session = played(sent, policies=rule)
    assert client.index(speech) < client.index(call[0])
    assert sorted(map(json.dumps, client)) == sorted(map(json.dumps, sent))
    assert [one for one in client if one in call] == call
    assert not session.busy


def test_responses_that_overlap_are_judged_apart():
    script = Script()
    one, _ = script.message("so ", "bad", response="resp_1")
    two, item = script.message("fine ", "all", "right", response="resp_2")
    sent = [script.created("resp_1"), script.created("resp_2")]
    for number in range(max(len(one), len(two))):
        sent += [part[number] for part in (one, two) if number < len(part)]
    sent += [script.done("resp_2", [item]), script.done("resp_1", status="cancelled")]
    client, server, _ = played(sent, policies=NO_BAD)
    ends = [one["response"] for one in client if one["type"] == "response.done"]
    assert [(end["id"], end["status"]) for end in ends] == [
        ("resp_1", "incomplete"),
        ("resp_2", "completed"),
    ]
    assert texts(client).replace("so ", "") == "fine allright"
    assert [one["response_id"] for one in server] == ["resp_1"]


def test_what_a_stopped_item_says_is_told_nowhere_else():
    script = Script()
    message, item = script.message("so ", "bad ", "words")
    retrieved = {"type": "conversation.item.retrieved", "event_id": "q", "item": item}
    sent = [script.created(), *message, script.done(status="cancelled", output=[item]), retrieved]
    client, _, _ = played(sent, policies=NO_BAD)
    assert "bad" not in json.dumps([one for one in client if "midstream" not in one])
    assert client[-1]["item"]["content"] == [{"type": "output_text", "text": "so "}]


def test_spoken_words_are_cut_with_their_sound():
    script = Script()
    sent = script.response(script.message("so ", "bad ", "words", spoken=True))
    client, _, _ = played(sent, policies=NO_BAD)
    shown = [one["type"] for one in client]
    assert texts(client, "transcript.delta") == "so "
    assert shown.count("response.output_audio.delta") == 1
    assert shown[-6:] == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert client[-1]["response"]["output"][0]["content"] == [
        {"type": "output_audio", "transcript": "so "}
    ]


def test_rules_know_the_conversation():
    script = Script()
    (rule,) = ready_policies("no-repeated-failing-call")
    sent = []
    for number in range(4):
        response = f"resp_{number}"
        call = script.call("f", '{"x": 1}', response=response, call_id=f"call_{number}")
        sent += script.response(call, response=response)
        output = {"type": "function_call_output", "id": f"out_{number}"}
        output |= {"call_id": f"call_{number}", "output": '{"error": "no such thing"}'}
        sent.append(script.filing(output))
    client, _, _ = played(sent, policies=rule)
    calls = [one["item"]["type"] for one in client if one["type"] == "response.output_item.done"]
    assert calls[0] == "function_call"
    assert calls[-1] == "message"


def test_what_the_user_said_is_known_to_the_next_response():
    script = Script()
    seen = []

    class Watching(Guard):
        def recall(self, events):
            events = list(events)
            seen.append([(event.kind, event.name, event.text) for event in events])
            super().recall(events)

    session = RealtimeSession(lambda number: Watching(()), ending="filtered", max_held_bytes=99)
    user = {"id": "u", "type": "message", "role": "user"}
    audio = {**user, "id": "v", "content": [{"type": "input_audio", "transcript": None}]}
    heard = {"type": "conversation.item.input_audio_transcription.completed", "event_id": "t"}
    sent = [
        script.filing({**user, "content": [{"type": "input_text", "text": "Hello"}]}),
        script.filing(audio),
        {**heard, "item_id": "v", "transcript": "How are you?"},
        *script.response(script.message("Well."), script.call("f", "{}", index=1)),
        script.created("resp_2"),
    ]
    for payload in sent:
        session.from_server(json.dumps(payload), 0)
    assert seen[-1] == [
        ("text", "user", "Hello"),
        ("text", "user", "How are you?"),
        ("text", None, "Well."),
        ("tool_call", "f", "{}"),
    ]


CALL = {"id": "x", "type": "function_call", "name": "f", "call_id": "c", "arguments": '{"a":1}'}
ODD = {
    "a call of no response": {"type": "conversation.item.added", "item": CALL},
    "a call that is retrieved": {"type": "conversation.item.retrieved", "item": CALL},
    "no JSON": '{"type": "response.output_item.added", "item": {"type": "function_call"',
    "no object": '[{"type": "function_call", "name": "f"}]',
    "no id": {"type": "response.created", "response": {"output": [CALL]}},
    "twice": '{"type": "conversation.item.added", "item": {"type": "function_call_output"},'
    ' "item": {"type": "message"}}',
}


@pytest.mark.parametrize("odd", ODD)
def test_calls_that_stand_where_none_should(odd):
    payload = ODD[odd]
    text = payload if isinstance(payload, str) else json.dumps(payload)
    client, _, session = played(
        [Script().session(), text], policies=no_tool("g", **{"arguments.a": 2})
    )
    assert [one["type"] for one in client] == ["session.created", "error"]
    assert "more than one way" in client[1]["error"]["message"]
    session = RealtimeSession(lambda _: Guard(()), ending="filtered", max_held_bytes=99)
    session.from_server(text, 0)
    assert session.to_client == [text]  # no rule judges calls


def test_calls_that_the_client_made_up_pass():
    session = RealtimeSession(
        lambda _: Guard((), no_tool("f")), ending="filtered", max_held_bytes=99
    )
    made = {"type": "conversation.item.create", "item": CALL}
    session.from_client(json.dumps(made))
    told = json.dumps({"type": "conversation.item.added", "item": {**CALL, "id": "y"}})
    session.from_server(told, 0)
    assert session.to_client == [told]


@pytest.mark.parametrize("late", [False, True])
def test_a_call_that_differs_in_the_end_fails_the_response(late):
    script = Script()
    call, item = script.call("f", '{"city": "Paris"}')
    other = {**item, "arguments": '{"city": "Rome"}'}
    if late:
        sent = [script.created(), *call, script.done(output=[other])]
    else:
        call[-1] = {**call[-1], "item": other}
        sent = [script.created(), *call, script.done(output=[item])]
    client, server, _ = played(sent, policies=no_tool("f", **{"arguments.city": "Rome"}))
    assert "Rome" not in json.dumps(client)
    assert client[-1]["type"] == "response.done"
    assert client[-1]["response"]["status"] == "failed"
    assert [one["type"] for one in server] == ["response.cancel"]


def test_too_much_that_waits_fails_the_response():
    script = Script()
    sent = script.response(script.call("f", '{"city": "', *["x" * 100] * 30, '"}'))
    client, _, _ = played(sent, policies=no_tool("f", **{"arguments.city": "Rome"}), most=2000)
    assert [one["type"] for one in client] == ["response.created", "response.done"]
    assert "waits for its verdict" in json.dumps(client[-1])


def test_too_many_responses_at_once():
    script = Script()
    client, server, _ = played([script.created(f"resp_{n}") for n in range(70)])
    assert len([one for one in client if one["type"] == "error"]) == 6
    assert [one["type"] for one in server] == ["response.cancel"] * 6


async def test_what_belongs_to_no_response_closes_the_session():
    said = [
        {"type": "session.output_transcript.delta", "event_id": "e", "delta": piece}
        for piece in ("so ", "bad ", "words")
    ]
    async with (
        within(),
        RealtimeServer(greeting=said) as server,
        proxied(server, policies=NO_BAD) as proxy,
        connect(socket_url(proxy, "/v1/realtime/translations")) as socket,
    ):
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await socket.recv()
        await server.ended.wait()
    assert caught.value.rcvd.code == 1008
    assert "no bad" in caught.value.rcvd.reason
    assert server.closed == [(1008, caught.value.rcvd.reason)]


async def test_an_upstream_over_tls(tmp_path):
    chain, key = Identity.development().save(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(chain, key)
    trusting = DirectTransport(verify=ssl.create_default_context(cafile=chain))
    answer = Script().response(Script().message("Once"))
    async with within(), RealtimeServer(answer, tls=served) as server:
        async with (
            proxied(server, transport=trusting) as proxy,
            connect(socket_url(proxy)) as socket,
        ):
            await socket.send('{"type": "response.create"}')
            assert await until(socket) == server.sent
        async with proxied(server) as proxy:  # which knows nothing of the certificate
            with pytest.raises(InvalidStatus) as caught:
                await connect(socket_url(proxy))
            assert caught.value.response.status_code == 502
        other = httpx2.MockTransport(lambda request: httpx2.Response(200))
        async with proxied(server, transport=other) as proxy:
            with pytest.raises(InvalidStatus) as caught:
                await connect(socket_url(proxy))
            assert caught.value.response.status_code == 501


PIECES = st.lists(
    st.tuples(
        st.sampled_from(["rm", "read", "r", "m"]),
        st.sampled_from(["call", "item", "delta", "said", "done", "filed", "end", "begin"]),
        st.integers(0, 2),  # output index
        st.sampled_from(["resp_1", "resp_2", None]),
        st.sampled_from(["item_0", "item_1", "item_2", None]),
    ),
    max_size=12,
)


def odd_session(pieces, ordered):
    """Payloads that no server should send, of calls of allowed and forbidden tools."""
    script = Script()
    out = [script.created("resp_1")]
    if ordered:
        out += script.call("read", "{}", response="resp_1")[0]
    for name, kind, index, response, item_id in pieces:
        item = {"type": "function_call", "name": name, "call_id": "c", "arguments": "{}"}
        item |= {} if item_id is None else {"id": item_id}
        place = {"output_index": index, "item_id": item_id}
        place |= {} if response is None else {"response_id": response}
        made = {
            "call": {"type": "response.output_item.added", **place, "item": item},
            "item": {"type": "conversation.item.created", "item": item},
            "delta": {"type": "response.function_call_arguments.delta", **place, "delta": "{}"},
            "said": {
                "type": "response.function_call_arguments.done",
                **place,
                "name": name,
                "arguments": "{}",
            },
            "done": {"type": "response.output_item.done", **place, "item": item},
            "filed": {"type": "conversation.item.done", "item": item},
            "end": {"type": "response.done", "response": {"id": response, "output": [item]}},
            "begin": {"type": "response.created", "response": {"id": response, "output": []}},
        }
        out.append({"event_id": "e", **made[kind]})
    return out


def called(payloads):
    """Names of calls, by whatever a client may read them from."""
    for one in payloads:
        response = one.get("response") or {}
        items = [one.get("item"), *response.get("output", ())]
        for item in items:
            if isinstance(item, dict) and item.get("type") == "function_call":
                yield item.get("name")
        if one["type"].endswith("arguments.done"):
            yield one.get("name")


@settings(deadline=None, max_examples=150)
@given(PIECES, st.booleans())
def test_however_a_server_writes_it_no_forbidden_call_is_told(pieces, ordered):
    client, _, session = played(odd_session(pieces, ordered), policies=no_tool("rm"))
    assert "rm" not in list(called(client))
    session.close()
    assert "rm" not in list(called([json.loads(message) for message in session.to_client]))


async def test_keys_as_subprotocols():
    protocols = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
    async with (
        within(),
        RealtimeServer(greeting=[Script().session()], subprotocols=["realtime"]) as server,
        proxied(server) as proxy,
        connect(socket_url(proxy), subprotocols=protocols) as socket,
    ):
        await socket.recv()
        assert socket.subprotocol == "realtime"
        asked = server.requests[0].headers["Sec-WebSocket-Protocol"]
    assert [one.strip() for one in asked.split(",")] == protocols


async def test_keys_are_told_nowhere(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    said = "sk-proj-" + "Z9y8X7w6V5" * 6
    rules = ready_policies("no-secret", action="warn")
    script = Script()
    answer = script.response(script.message(f"Use {said[:20]}", said[20:]), script.call("f", "{}"))
    async with (
        within(),
        RealtimeServer(answer) as server,
        proxied(server, recordings=tmp_path, policies=rules) as proxy,
    ):
        ours = logging.Logger("test")  # what websockets writes for the client is not ours to keep
        ours.disabled = True
        async with connect(
            socket_url(proxy, f"/v1/realtime?key={KEY}"),
            subprotocols=["realtime", f"openai-insecure-api-key.{KEY}"],
            additional_headers={"Authorization": f"Bearer {KEY}"},
            logger=ours,
        ) as socket:
            await socket.send('{"type": "response.create"}')
            await until(socket)
        await settled(proxy)
        served = split(await raw(proxy.url, _get("/-/metrics")))[2].decode()
    files = list(tmp_path.iterdir())
    (path,) = files
    written = path.read_text()
    logged = [
        record.getMessage()
        for record in caplog.records
        if record.name != "websockets.server"  # the test's own server
    ]
    out, err = capfd.readouterr()
    for text in (served, written, path.name, out, err, *logged):
        assert KEY[8:28] not in text
        assert said[8:28] not in text
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_recordings_of_a_session(tmp_path):
    script = Script()
    scripts = [
        script.response(script.message(f"text {n}", response=f"resp_{n}"), response=f"resp_{n}")
        for n in range(2)
    ]
    async with (
        within(),
        RealtimeServer(*scripts) as server,
        proxied(server, recordings=tmp_path) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        session_id = socket.response.headers["x-midstream-id"]
        for _ in scripts:
            await socket.send('{"type": "response.create"}')
            await until(socket)
        await socket.close()
        await settled(proxy)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{session_id}-1.jsonl", f"{session_id}-2.jsonl"]
    for number, name in enumerate(names):
        recording = load(tmp_path / name)
        assert joined(recording) == f"text {number}"


async def test_neither_direction_waits_for_the_other():
    big = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 300_000})
    told = json.dumps({"type": "session.updated", "x": "y" * 300_000})
    count = 60

    async def talk_first(socket):  # and listen only when all is said
        await asyncio.sleep(0.5)  # until no more can be said to it
        for _ in range(count):
            await socket.send(told)
        return [await socket.recv() for _ in range(count)]

    heard = asyncio.get_running_loop().create_future()

    async def handle(socket):
        heard.set_result(await talk_first(socket))
        await socket.wait_closed()

    async with within(), serve(handle, "127.0.0.1", 0, compression=None) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with (
            proxied(url) as proxy,
            connect(socket_url(proxy), compression=None) as socket,
        ):
            sending = asyncio.create_task(_say(socket, big, count))
            assert [await socket.recv() for _ in range(count)] == [told] * count
            await sending
            assert await heard == [big] * count


async def _say(socket, message, count):
    for _ in range(count):
        await socket.send(message)


@pytest.mark.parametrize("code", [1000, 1001, 4001])
@pytest.mark.parametrize("who", ["client", "server"])
async def test_closings_go_through(code, who):
    async with (
        within(),
        RealtimeServer(greeting=[Script().session()]) as server,
        proxied(server) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        await socket.recv()
        closes = socket if who == "client" else server.sockets[0]
        await closes.close(code, "that is all")
        await server.ended.wait()
        await socket.wait_closed()
        await settled(proxy)
    assert server.closed == [(code, "that is all")]
    assert (socket.close_code, socket.close_reason) == (code, "that is all")
    assert proxy.metrics.failures == {}


async def test_an_upstream_that_breaks_off():
    async with (
        within(),
        RealtimeServer(greeting=[Script().session()]) as server,
        proxied(server) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        await socket.recv()
        server.sockets[0].transport.abort()
        await socket.wait_closed()
        await settled(proxy)
    assert socket.close_code == 1011
    assert proxy.metrics.failures == {("upstream_reset",): 1}


async def test_a_client_that_breaks_off():
    async with (
        within(),
        RealtimeServer(greeting=[Script().session()]) as server,
        proxied(server) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        await socket.recv()
        socket.transport.abort()
        await server.ended.wait()
        await settled(proxy)
    assert server.closed[0][0] in (1000, 1001)


@pytest.mark.parametrize("who", ["client", "server"])
async def test_messages_that_are_too_large(who):
    big = json.dumps({"type": "session.updated", "x": "y" * 5000})
    async with (
        within(),
        RealtimeServer(greeting=[big] if who == "server" else []) as server,
        proxied(server, limits=ProxyLimits(max_event_bytes=4000)) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        if who == "client":
            await socket.send(big)
        await socket.wait_closed()
        await server.ended.wait()
        await settled(proxy)
    assert socket.close_code == 1009
    assert server.closed[0][0] == 1009
    assert server.received == []


@pytest.mark.parametrize(
    ("settings", "reason", "code"),
    [
        ({"session_timeout_s": 0.1}, "idle", 1001),
        ({"idle_timeout_s": 0.1}, "body", 1011),
        ({"max_stream_s": 0.1}, "duration", 1001),
    ],
)
async def test_limits_of_time(settings, reason, code):
    script = Script()
    greeting = [] if reason == "idle" else [script.created(), *script.message("Once")[0][:4]]
    async with (
        within(),
        RealtimeServer(greeting=greeting) as server,
        proxied(server, limits=ProxyLimits(**settings)) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        got = [json.loads(message) async for message in _all(socket)]
        await settled(proxy)
    assert socket.close_code == code
    assert proxy.metrics.failures == {(reason,): 1}
    if greeting:
        assert got[-1]["response"]["status"] == "failed"
        assert server.received[-1]["type"] == "response.cancel"


async def _all(socket):
    try:
        while True:
            yield await socket.recv()
    except ConnectionClosed:
        return


async def test_silence_that_a_rule_minds():
    script = Script()
    stall = {"make_detectors": lambda: [StallDetector("stop", first_s=0.2, min_s=0.1)]}
    async with (
        within(),
        RealtimeServer(greeting=[script.created(), *script.message("Once")[0][:4]]) as server,
        proxied(server, limits=ProxyLimits(idle_timeout_s=20), **stall) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        got = await until(socket)
    assert json.loads(got[-1])["response"]["status"] == "incomplete"
    assert server.received[0]["type"] == "response.cancel"


async def test_connections_beyond_the_limit():
    async with (
        within(),
        RealtimeServer() as server,
        proxied(server, limits=ProxyLimits(max_streams=1)) as proxy,
        connect(socket_url(proxy)),
    ):
        with pytest.raises(InvalidStatus) as caught:
            await connect(socket_url(proxy))
    assert caught.value.response.status_code == 429
    assert b"too many" in caught.value.response.body


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/responses", {}, 404),
        ("/v1/../realtime", {}, 400),
        ("/v1/realtime", {"Origin": "http://evil.example"}, 403),
        ("/v1/realtime", {"Origin": "null"}, 403),
    ],
)
async def test_handshakes_that_are_refused(path, headers, status):
    async with within(), RealtimeServer() as server:
        async with proxied(server, hosts=["127.0.0.1"]) as proxy:
            with pytest.raises(InvalidStatus) as caught:
                await connect(socket_url(proxy, path), additional_headers=headers)
            page = {"Origin": "http://127.0.0.1:3000"}
            async with connect(socket_url(proxy), additional_headers=page):
                pass
        assert len(server.requests) == 1
    assert caught.value.response.status_code == status
    assert "error" in json.loads(caught.value.response.body)


async def test_what_the_upstream_says_to_a_handshake():
    answer = b'{"error": {"message": "no such key"}}'
    settings = {"status": "401 Unauthorized", "kind": "application/json"}
    async with within(), Upstream(answer, **settings) as upstream, proxied(upstream) as proxy:
        with pytest.raises(InvalidStatus) as caught:
            await connect(socket_url(proxy))
    assert caught.value.response.status_code == 401
    assert caught.value.response.body == answer


@pytest.mark.parametrize("odd", ["Sec-WebSocket-Protocol: realtime, a b", "X-Odd: \x07"])
async def test_handshakes_that_cannot_be_passed_on(odd):
    async with within(), RealtimeServer() as server, proxied(server) as proxy:
        lines = [
            "GET /v1/realtime HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            odd,
        ]
        answer = await raw(proxy.url, "\r\n".join([*lines, "", ""]).encode())
        assert answer.startswith(b"HTTP/1.1 400")
        assert proxy.metrics.failures == {}


async def test_redirects_lead_nowhere():
    async with within(), RealtimeServer() as other:
        location = other.url.replace("http", "ws") + "/v1/realtime"
        settings = {"status": "307 Elsewhere", "headers": (f"Location: {location}",)}
        async with Upstream(b"", **settings) as upstream, proxied(upstream) as proxy:
            asked = _get("/v1/realtime").replace(b"Connection: close", b"Connection: Upgrade")
            more = b"\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            more += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            answer = await raw(proxy.url, asked.partition(b"\r\nContent-Length")[0] + more)
        assert answer.startswith(b"HTTP/1.1 307")
        assert other.requests == []


async def test_an_upstream_that_is_not_there():
    async with within(), proxied("http://127.0.0.1:9") as proxy:
        with pytest.raises(InvalidStatus) as caught:
            await connect(socket_url(proxy))
    assert caught.value.response.status_code == 502


async def test_draining_waits_for_the_response_and_not_for_the_session():
    script = Script()
    whole = script.response(script.message("Once ", "upon"))
    async with (
        within(),
        RealtimeServer(greeting=whole[:5]) as server,
        proxied(server, drain_s=20) as proxy,
        connect(socket_url(proxy)) as busy,
    ):
        await until(busy, "response.content_part.added")
        proxy.server.stop()
        await asyncio.sleep(0.1)
        for payload in whole[5:]:
            await server.say(server.sockets[0], payload)
        got = await until(busy)
        await busy.wait_closed()
    assert json.loads(got[-1])["response"]["status"] == "completed"
    assert busy.close_code == 1012


async def test_what_is_cut_ends_with_an_error():
    script = Script()
    async with (
        within(),
        RealtimeServer(greeting=[script.created()]) as server,
        proxied(server, drain_s=0.2) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        await socket.recv()
        proxy.server.stop()
        got = [json.loads(message) async for message in _all(socket)]
    assert got[-1]["response"]["status"] == "failed"
    assert socket.close_code == 1012


async def test_what_cannot_be_judged_does_not_pass():
    class Broken(StallDetector):
        def observe(self, event, gap_ns=0):
            raise ValueError("broken")

    script = Script()
    sent = script.response(script.message("Once"))
    async with (
        within(),
        RealtimeServer(greeting=sent) as server,
        proxied(server, make_detectors=lambda: [Broken()]) as proxy,
        connect(socket_url(proxy)) as socket,
    ):
        got = [message async for message in _all(socket)]
    assert got == []
    assert socket.close_code == 1011
    assert proxy.metrics.failures == {("internal",): 1}
