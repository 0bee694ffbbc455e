"""Lost connections: what is made again, what is told, and when it is given up."""

from __future__ import annotations

import asyncio

import pytest
from stream.proxy.sessions import RealtimeServer, Script, closing, drop, until
from stream.realtime.talk import (
    FAST,
    asked,
    ends,
    heard,
    joined,
    outputs,
    renewed,
    sent,
    talking,
    told,
)

from midstream.errors import EndpointError, IdleTimeoutError, RefusedError
from midstream.stream.realtime import RealtimeClient, RealtimeLimits


def items(payloads):
    """What a connection was told of the conversation."""
    return [
        payload["item"] for payload in payloads if payload["type"] == "conversation.item.create"
    ]


@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize("how", ["drop", "1001", "1011", "1012", "1013"])
async def test_a_drop_in_a_response_keeps_the_conversation(how, beta):
    script = Script(beta=beta)
    lose = drop if how == "drop" else closing(int(how), "going away")
    said, item = script.message("Once ", "upon ", "a time", spoken=True)
    # Of the last piece nothing comes.
    last = next(n for n, one in enumerate(said) if one.get("delta") == "a time")
    first = [script.created(), *said[:last], lose]
    second = script.response(script.message("Again.", response="resp_1"), response="resp_1")
    async with talking(
        first,
        second,
        greeting=[script.session()],
        server={"shared": True, "beta": beta},
        session={"instructions": "Tell stories."},
        beta=beta,
    ) as (client, server):
        user_id = await client.send_text("A story, please")
        await client.create_response()
        events = await ends(client)
        assert joined(events) == "Once upon "
        assert events[-1].text == "interrupted"
        (error,) = [event for event in events if event.kind == "error"]
        assert error.data == {
            "type": "midstream.response.interrupted",
            "response_id": "resp_1",
            "item_ids": [item["id"]],
            "text": "Once upon ",
        }
        again = (await heard(client, "midstream.reconnected"))[-1]
        assert again.data["items"] == 2
        assert again.data["responses"] == ["resp_1"]
        assert again.data["tries"] == 1
        new = await renewed(server, 3)
        assert new[0]["type"] == "session.update"
        assert new[0]["session"]["instructions"] == "Tell stories."
        kind = "text" if beta else "output_text"
        assert items(new) == [
            {
                "id": user_id,
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "A story, please"}],
            },
            {
                "id": item["id"],
                "type": "message",
                "role": "assistant",
                "content": [{"type": kind, "text": "Once upon "}],
                "status": "incomplete",
            },
        ]
        await client.create_response()
        assert joined(await ends(client)) == "Again."
        report = client.report()
        assert report.metrics["reconnects"] == 1
        assert report.metrics["responses"] == 2


async def test_calls_and_outputs_are_made_again_and_a_tool_outlives_its_connection():
    script = Script()
    go = asyncio.Event()

    async def slow():
        await go.wait()
        return "late"

    async def quick():
        return "soon"

    first = script.response(script.call("quick", "{}"))
    second = script.response(
        script.call("slow", "{}", response="resp_2", call_id="call_2"), response="resp_2"
    )
    third = script.response(script.message("Both.", response="resp_3"), response="resp_3")
    async with talking(
        first,
        [*second, drop],
        third,
        tools={"slow": slow, "quick": quick},
        server={"shared": True},
    ) as (client, server):
        await asked(client)
        await heard(client, "midstream.reconnected")
        told_again = items(await renewed(server, 4))
        kinds = [(item["type"], item.get("call_id")) for item in told_again]
        assert kinds == [
            ("message", None),
            ("function_call", "call_1"),
            ("function_call_output", "call_1"),
            ("function_call", "call_2"),
        ]
        call = told_again[1]
        assert (call["name"], call["arguments"]) == ("quick", "{}")
        go.set()
        assert joined(await ends(client), "text") == "Both."
        assert outputs(server)["call_2"] == "late"


async def test_what_was_asked_for_and_had_not_begun_is_asked_for_again():
    script = Script()
    second = script.response(script.message("Here."))
    async with talking([drop], second, server={"shared": True}) as (client, server):
        await asked(client)
        assert joined(await ends(client), "text") == "Here."
        assert [len(one) for one in server.heard_by] == [2, 2]
        assert [item["id"] for item in items(server.heard_by[0])] == [
            item["id"] for item in items(server.heard_by[1])
        ]


async def test_audio_that_was_not_committed_is_told_to_be_lost():
    async with talking() as (client, server):
        await client.append_audio(bytes(48_000))
        await told(server, "input_audio_buffer.append")
        server.sockets[0].transport.abort()
        event = (await heard(client, "midstream.reconnected"))[-1]
        assert event.data["input_audio_ms"] == 1000.0


async def test_a_response_goes_on_being_denied_after_a_break():
    script = Script()
    begun = script.call("drop", '{"a": ', "1}")[0][:3]
    async with talking([script.created(), *begun, drop], server={"shared": True}) as (
        client,
        server,
    ):
        await asked(client)
        await heard(client, "midstream.reconnected")
        assert [item["type"] for item in items(await renewed(server, 1))] == ["message"]


async def test_storms_end():
    script = Script()
    said = [script.session(), drop]
    async with RealtimeServer(greeting=said) as server:
        client = RealtimeClient.connect(server.url, limits=FAST)
        with pytest.raises(EndpointError, match=r"8 attempts to renew it failed|closed at once"):
            async with client:
                async for _ in client:
                    pass
        assert 1 <= len(server.requests) <= 9
        assert client.report().outcome in ("failed", "running")


async def test_attempts_count_anew_after_a_whole_response():
    script = Script()
    scripts = [
        [*script.response(script.message("x", response=f"r{n}"), response=f"r{n}"), drop]
        for n in range(4)
    ]
    limits = RealtimeLimits(max_tries=1, backoff_s=0.001, max_backoff_s=0.01)
    async with talking(*scripts, server={"shared": True}, limits=limits) as (client, server):
        for _ in scripts:
            await asked(client)
            await ends(client)
            await heard(client, "midstream.reconnected")
        assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (closing(1008, "policy"), "code 1008: policy"),
        (closing(1003), "code 1003"),
        (closing(4003, "go away"), "code 4003: go away"),
    ],
)
async def test_some_closes_are_final(end, words):
    async with talking([end]) as (client, server):
        await asked(client)
        with pytest.raises(EndpointError, match=words):
            await ends(client)
        assert len(server.requests) == 1
        with pytest.raises(RefusedError, match="over: failed"):
            await client.send_text("x")
        assert client.report().outcome == "failed"


async def test_a_session_whose_time_is_over_is_renewed():
    script = Script()
    error = {"type": "invalid_request_error", "code": "session_expired", "message": "60 minutes"}
    first = [script._of("error", error=error), closing(1000)]
    second = script.response(script.message("On."))
    async with talking(first, second, server={"shared": True}) as (client, server):
        await asked(client)
        assert joined(await ends(client), "text") == "On."
        assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "requests"), [(401, 1), (503, 2)])
async def test_a_refusal_while_renewing(status, requests):
    script = Script()
    async with talking([drop], script.response(script.message("x")), server={"shared": True}) as (
        client,
        server,
    ):
        server._refusals = [(status, "no")]
        await asked(client)
        if status == 401:
            with pytest.raises(EndpointError, match="401 Unauthorized: no"):
                await ends(client)
        else:
            assert joined(await ends(client), "text") == "x"
        assert len(server.requests) == requests


async def test_without_tries_a_loss_is_the_end():
    limits = RealtimeLimits(max_tries=0)
    async with talking([drop], limits=limits) as (client, server):
        await asked(client)
        with pytest.raises(EndpointError, match="no close frame"):
            await ends(client)
        assert len(server.requests) == 1


async def test_a_wanted_close_is_never_followed_by_a_connection():
    script = Script()
    limits = RealtimeLimits(backoff_s=0.05, max_backoff_s=0.05)
    async with talking([script.created(), drop], limits=limits) as (client, server):
        await asked(client)
        await ends(client)
        waiting = asyncio.create_task(client.send_text("x"))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(RefusedError, match="over"):
            await waiting
        await asyncio.sleep(0.1)
        assert len(server.requests) == 1
        assert client.report().outcome == "closed"


async def test_a_server_that_answers_no_ping_is_left():
    limits = RealtimeLimits(
        ping_interval_s=0.05, ping_timeout_s=0.1, max_tries=0, close_timeout_s=0.2
    )
    never = asyncio.Event()
    async with RealtimeServer(greeting=[Script().session(), until(never)]) as server:
        async with RealtimeClient.connect(server.url, limits=limits) as client:
            server.sockets[0].transport.pause_reading()
            with pytest.raises(EndpointError, match="was lost"):
                async for _ in client:
                    pass
        never.set()
        server.sockets[0].transport.abort()


async def test_silence_beyond_the_idle_limit_is_an_error():
    limits = RealtimeLimits(idle_timeout_s=0.1)
    async with talking(limits=limits) as (client, server):
        with pytest.raises(IdleTimeoutError, match=r"nothing arrived for 0\.1 s"):
            async for _ in client:
                pass
        assert len(server.requests) == 1


async def test_a_message_beyond_the_limit_ends_the_session():
    script = Script()
    limits = RealtimeLimits(max_message_bytes=2048)
    async with talking(script.response(script.message("x" * 3000)), limits=limits) as (client, _):
        await asked(client)
        with pytest.raises(EndpointError, match="1009"):
            await ends(client)


async def test_a_reconnect_keeps_what_a_caller_put_first():
    async with talking() as (client, server):
        second = await client.send_text("two")
        first = await client.create_item(
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "1"}]},
            previous_item_id="root",
        )
        await client.create_item({"id": "mine", "type": "message", "role": "user", "content": "3"})
        await told(server, "conversation.item.create", 3)
        server.sockets[0].transport.abort()
        await heard(client, "midstream.reconnected")
        again = items(await renewed(server, 3))
        assert [item["id"] for item in again] == [first, second, "mine"]
        assert sent(server)[0] == "conversation.item.create"


async def test_a_drop_behind_any_message_of_a_response():
    async def look(where):
        return f"seen {where}"

    script = Script()
    said = script.response(
        script.message("One ", "two", spoken=True),
        script.call("look", '{"where": ', '"there"}', index=1),
    )
    whole = script.response(script.message("Done.", response="resp_2"), response="resp_2")
    for at in range(len(said) + 1):
        async with talking(
            [*said[:at], drop], whole, tools={"look": look}, server={"shared": True}
        ) as (client, server):
            await asked(client)
            events = await heard(client, "midstream.reconnected")
            kinds = [event.kind for event in events]
            begun = at > 0
            assert kinds.count("end") == begun
            if begun and at < len(said):
                assert "interrupted" in [event.text for event in events]
                await client.create_response()  # else it is asked for again by itself
            assert joined(await ends(client), "text") == "Done."
            ids = [item["id"] for item in items(server.heard_by[1])]
            assert len(ids) == len(set(ids))
            texts = [item.text for item in client.conversation if item.role == "assistant"]
            assert texts[-1] == "Done."
            assert "One two".startswith(texts[0]) or texts == ["Done."]
            called = [one.call_id for one in client.conversation if one.type == "function_call"]
            answers = [
                one.call_id for one in client.conversation if one.type == "function_call_output"
            ]
            assert called == answers
