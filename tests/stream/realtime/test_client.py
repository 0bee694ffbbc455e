"""`RealtimeClient` against a server that plays scripts, in the names of both versions."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl

import numpy as np
import pytest
from stream.proxy.sessions import RealtimeServer, Script, closing, drop, until
from stream.realtime.talk import (
    FAST,
    LOOP,
    asked,
    ends,
    heard,
    joined,
    outputs,
    sent,
    talking,
    told,
)

from midstream.errors import ArgumentTypeError, ArgumentValueError, EndpointError, RefusedError
from midstream.quic.certificates import Identity
from midstream.stream import LoopDetector, Policy, Recorder, StallDetector, load
from midstream.stream.realtime import RealtimeClient, RealtimeLimits, audio_of

BOTH = pytest.mark.parametrize("beta", [False, True])
NO_DROP = Policy("no drops", "G !drop", {"drop": {"tool": "drop_*"}}, "block")
KEY = "sk-proj-" + "A1b2C3d4E5" * 8


async def weather(city):
    return {"city": city, "degrees": 18}


@BOTH
async def test_texts_transcripts_and_audio_come_as_events(beta):
    script = Script(beta=beta)
    said = script.response(
        script.message("Hel", "lo."), script.message("A", "b", spoken=True, index=1)
    )
    async with talking(said, greeting=[script.session()], server={"beta": beta}, beta=beta) as (
        client,
        server,
    ):
        await asked(client)
        events = await ends(client)
        assert joined(events, "text") == "Hello."
        assert joined(events, "audio") == "Ab"
        sounds = [event for event in events if audio_of(event)]
        assert [audio_of(event) for event in sounds] == [b"RIFF", b"RIFF"]
        assert {"level_dbfs", "peak_dbfs", "silent_s", "pts_s", "rate_hz"} <= sounds[0].data.keys()
        assert [event.seq for event in events] == list(range(len(events)))
        assert [item.text for item in client.conversation] == ["Hi", "Hello.", "Ab"]
        assert [item.spoken for item in client.conversation] == [False, False, True]
        header = server.requests[0].headers.get("OpenAI-Beta")
        assert header == ("realtime=v1" if beta else None)
        assert "model=m" in server.requests[0].path


async def test_the_loudness_of_a_tone_is_measured_as_media_measures_it():
    script = Script()
    rate_hz, n = 24_000, 24_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / rate_hz)
    data = (tone * 32767).astype("<i2").tobytes()
    payloads, item = script.message("la", spoken=True)
    sounds = []
    for payload in payloads:
        if payload["type"] == "response.output_audio.delta":
            for begin in range(0, len(data), 4801):  # a sample is cut in two
                piece = base64.b64encode(data[begin : begin + 4801]).decode()
                sounds.append({**payload, "delta": piece})
        else:
            sounds.append(payload)
    said = [script.created(), *sounds, script.done(output=[item])]
    async with talking(said) as (client, _):
        await asked(client)
        events = [event for event in await ends(client) if audio_of(event)]
    assert b"".join(audio_of(event) for event in events) == data
    assert events[-1].data["level_dbfs"] == pytest.approx(-9.03, abs=0.02)
    assert events[-1].data["pts_s"] == pytest.approx(1.0, abs=1e-3)


async def test_tools_are_run_and_the_model_goes_on():
    script = Script()
    first = script.response(
        script.call("weather", '{"city": ', '"Bern"}'),
        script.call("weather", '{"city": "Rome"}', index=1, call_id="call_2"),
    )
    second = script.response(script.message("Sunny.", response="resp_2"), response="resp_2")
    async with talking(first, second, tools={"weather": weather}) as (client, server):
        await asked(client)
        events = await ends(client, 2)
        assert joined(events, "text") == "Sunny."
        assert outputs(server) == {
            "call_1": '{"city":"Bern","degrees":18}',
            "call_2": '{"city":"Rome","degrees":18}',
        }
        assert sent(server).count("response.create") == 2
        assert client.report().metrics["tool_runs"] == 2
        results = [event for event in events if event.kind == "tool_result"]
        assert {event.name for event in results} == {"weather"}


async def test_a_denied_call_is_answered_with_why_and_not_run():
    script = Script()
    ran = []

    async def drop_table(table):
        ran.append(table)

    first = script.response(script.call("drop_table", '{"table": ', '"users"}'))
    second = script.response(script.message("I will not.", response="resp_2"), response="resp_2")
    async with talking(first, second, tools={"drop_table": drop_table}, policies=NO_DROP) as (
        client,
        server,
    ):
        await asked(client)
        events = await ends(client, 2)
        denied = [event for event in events if event.kind == "error"]
        assert [event.name for event in denied] == ["drop_table"]
        assert outputs(server) == {"call_1": denied[0].text}
        assert "no drops" in denied[0].text
        assert not ran
        assert not [event for event in events if event.kind == "tool_call"]
        assert joined(events, "text") == "I will not."
        assert client.report().metrics["denied_calls"] == 1
        assert [finding.severity for finding in client.findings] == ["block"]


async def test_rules_know_the_conversation_before_a_response():
    rule = Policy(
        "look first", "!drop U look", {"drop": {"tool": "drop"}, "look": {"tool": "look"}}, "block"
    )
    script = Script()

    async def look():
        return "ok"

    async def drop():
        return "dropped"

    first = script.response(script.call("look", "{}"))
    second = script.response(
        script.call("drop", "{}", response="resp_2", call_id="call_2"), response="resp_2"
    )
    third = script.response(script.message("Done.", response="resp_3"), response="resp_3")
    tools = {"look": look, "drop": drop}
    async with talking(first, second, third, tools=tools, policies=rule) as (client, server):
        await asked(client)
        await ends(client, 3)
        assert outputs(server) == {"call_1": "ok", "call_2": "dropped"}


@pytest.mark.parametrize("how", ["raises", "hangs", "arguments", "json", "list", "endless"])
async def test_a_tool_that_fails_is_told_to_the_model(how):
    async def tool(city):
        if how == "raises":
            raise ValueError(f"no such city\nas {city}, {KEY}")
        if how == "hangs":
            await asyncio.sleep(3600)
        return "x" * 1000

    arguments = {"arguments": '{"town": "Bern"}', "json": '{"city": ', "list": "[1]"}
    script = Script()
    first = script.response(script.call("weather", arguments.get(how, '{"city": "Bern"}')))
    second = script.response(script.message("Hm.", response="resp_2"), response="resp_2")
    limits = RealtimeLimits(tool_timeout_s=0.05, max_result_chars=64)
    async with talking(first, second, tools={"weather": tool}, limits=limits, api_key=KEY) as (
        client,
        server,
    ):
        await asked(client)
        events = await ends(client, 2)
        assert joined(events, "text") == "Hm."
        (output,) = outputs(server).values()
        words = {
            "raises": "Error: weather failed: ValueError: no such city as Bern, [hidden]",
            "hangs": "gave no result in 0.05 s",
            "arguments": "do not fit",
            "json": "are not JSON",
            "list": "no JSON object",
            "endless": "936 further characters are cut off",
        }
        assert words[how] in output
        assert KEY not in repr(events)
        assert len([event for event in events if event.kind == "error"]) == (how != "endless")


async def test_calls_of_other_tools_are_the_callers():
    script = Script()
    first = script.response(script.call("mine", "{}"))
    second = script.response(script.message("Thanks.", response="resp_2"), response="resp_2")
    async with talking(first, second) as (client, server):
        await asked(client)
        await ends(client)
        assert sent(server).count("response.create") == 1
        await client.send_tool_output("call_1", "done")
        await client.create_response()
        assert joined(await ends(client), "text") == "Thanks."
        assert outputs(server) == {"call_1": "done"}


async def test_a_loop_of_tools_has_a_limit():
    script = Script()
    rounds = [
        script.response(
            script.call("weather", f'{{"city": "{n}"}}', response=f"resp_{n}", call_id=f"call_{n}"),
            response=f"resp_{n}",
        )
        for n in range(4)
    ]
    limits = RealtimeLimits(max_tool_rounds=2)
    async with talking(*rounds, tools={"weather": weather}, limits=limits) as (client, server):
        await asked(client)
        await ends(client, 3)
        event = await anext(client)
        while event.kind != "error":
            event = await anext(client)
        assert "2 responses in a row" in event.text
        assert sent(server).count("response.create") == 3


async def test_a_stop_cancels_and_the_session_goes_on():
    script = Script()
    first = [script.created(), *script.message(*LOOP)[0]]
    second = script.response(script.message("Fine.", response="resp_2"), response="resp_2")
    findings = []
    async with talking(first, second, on_finding=findings.append) as (client, server):
        await asked(client)
        events = await ends(client)
        assert events[-1].text == "stopped"
        assert events[-1].data["kind"] == "loop"
        assert 200 < len(joined(events, "text")) < len("".join(LOOP))
        assert [finding.severity for finding in findings] == ["warn", "stop"]
        assert client.findings == findings
        await client.create_response()  # before the server has said that the first is over
        assert joined(await ends(client), "text") == "Fine."
        assert sent(server, "response.cancel")[0]["response_id"] == "resp_1"
        kinds = sent(server)
        assert kinds.index("response.cancel") < len(kinds) - 1
        assert "conversation.item.truncate" not in kinds
        report = client.report()
        assert report.stopped == findings[1]
        assert report.metrics["stopped_responses"] == 1
        (item, _) = [one for one in client.conversation if one.role == "assistant"]
        assert item.status == "incomplete"
        assert len(item.text) < len("".join(LOOP))


async def test_a_stop_cuts_audio_that_was_heard():
    script = Script()
    second_of_sound = base64.b64encode(bytes(48_000)).decode()
    spoken = script.message(*LOOP, spoken=True)[0]
    said = [
        {**one, "delta": second_of_sound} if one["type"] == "response.output_audio.delta" else one
        for one in spoken
    ]
    go = asyncio.Event()
    async with talking([script.created(), *said[:20], until(go), *said[20:]]) as (client, server):
        await asked(client)
        event = await anext(client)
        while not audio_of(event):
            event = await anext(client)
        client.note_played("item_resp_1_0", 700.0)
        go.set()
        await ends(client)
        await told(server, "conversation.item.truncate")
        (cut,) = sent(server, "conversation.item.truncate")
        assert (cut["item_id"], cut["content_index"], cut["audio_end_ms"]) == (
            "item_resp_1_0",
            0,
            700,
        )
        assert "output_audio_buffer.clear" not in sent(server)


async def test_over_webrtc_a_stop_clears_the_buffer_instead():
    script = Script()
    said = [script.created(), *script.message(*LOOP, spoken=True)[0]]
    async with talking(said, call_id="rtc_1") as (client, server):
        await asked(client)
        await ends(client)
        await told(server, "output_audio_buffer.clear")
        assert "conversation.item.truncate" not in sent(server)
        assert "call_id=rtc_1" in server.requests[0].path
        await client.clear_output_audio()
    async with talking(said) as (client, server):
        with pytest.raises(RefusedError, match="WebRTC"):
            await client.clear_output_audio()


async def test_truncate_cuts_where_it_was_played():
    script = Script()
    sound = base64.b64encode(bytes(96_000)).decode()
    payloads, item = script.message("one two three four", spoken=True)
    payloads = [
        {**one, "delta": sound} if one["type"] == "response.output_audio.delta" else one
        for one in payloads
    ]
    said = [script.created(), *payloads, script.done(output=[item])]
    async with talking(said) as (client, _):
        await asked(client)
        await ends(client)
        with pytest.raises(ArgumentValueError, match="with audio"):
            await client.truncate("item_x")
        with pytest.raises(ArgumentValueError, match="audio_end_ms must be at most 2000"):
            await client.truncate(item["id"], 2001)
        client.note_played(item["id"], 1000)
        assert await client.truncate(item["id"]) == 1000
        assert client.conversation[item["id"]].text == "one two"
        assert client.conversation[item["id"]].status == "incomplete"


async def test_cancel_in_every_state():
    script = Script()
    go = asyncio.Event()
    waiting = [script.created(), *script.message("a")[0][:4], until(go)]
    second = script.response(script.message("b", response="resp_2"), response="resp_2")
    async with talking(waiting, second, server={"aside": True}) as (client, _):
        assert await client.cancel() is False
        await asked(client)
        await heard(client, "response.output_text.delta")
        assert client.response_id == "resp_1"
        assert await client.cancel() is True
        events = await ends(client)
        assert events[-1].text == "cancelled"
        assert client.response_id is None
        assert await client.cancel() is False
        await client.create_response()
        assert joined(await ends(client)) == "b"
    with pytest.raises(RefusedError, match="over: closed"):
        await client.send_text("x")
    with pytest.raises(RefusedError, match="over: closed"):
        await client.append_audio(b"") or await client.commit_audio()


@pytest.mark.parametrize("state", ["connecting", "waiting", "sending", "tool", "full", "renewing"])
async def test_a_task_can_be_cancelled_wherever_it_waits(state):
    script = Script()
    never = asyncio.Event()
    begun = asyncio.Event()

    async def tool():
        begun.set()
        await never.wait()

    said = [script.session()]
    scripts = [script.response(script.call("wait", "{}"))]
    limits = FAST
    if state == "connecting":
        said = [until(never)]
    elif state == "full":
        limits = RealtimeLimits(max_events=1)
        scripts = [script.response(script.message(*"abcdefgh"))]
    elif state == "renewing":
        limits = RealtimeLimits(backoff_s=60.0, max_backoff_s=60.0)
        scripts = [[script.created(), closing(1011)]]
    async with RealtimeServer(*scripts, greeting=said) as server:

        async def talk():
            client = RealtimeClient.connect(server.url, tools={"wait": tool}, limits=limits)
            async with client:
                await asked(client)
                if state == "sending":
                    begun.set()
                    await asyncio.Event().wait()
                elif state == "full":
                    await heard(client, "response.created")
                    begun.set()
                    await asyncio.Event().wait()
                elif state == "renewing":
                    await ends(client)
                    begun.set()
                async for _ in client:
                    if state == "waiting":
                        begun.set()

        task = asyncio.create_task(talk())
        if state == "connecting":
            while not server.requests:
                await asyncio.sleep(0.001)
        else:
            await begun.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        never.set()
        await server.ended.wait()
        if state != "connecting":
            assert server.closed[0][0] == (1011 if state == "renewing" else 1000)


async def test_a_slow_reader_gets_everything_and_keeps_the_connection():
    script = Script()
    pieces = [f"{n} " for n in range(500)]
    said = script.response(script.message(*pieces))
    limits = RealtimeLimits(max_events=8, ping_interval_s=0.01, ping_timeout_s=0.02)
    async with talking(said, make_detectors=lambda: (), limits=limits) as (client, _):
        await asked(client)
        events = [await anext(client)]
        await asyncio.sleep(1.2)  # longer than pings may take
        assert len(client._session.events) <= 16
        while events[-1].kind != "end":
            events.append(await anext(client))
        assert joined(events, "text") == "".join(pieces)
        assert client.report().metrics["reconnects"] == 0


async def test_sending_while_nobody_reads_does_not_hang():
    script = Script()
    said = script.response(script.message(*"abcdefghijklmnop"))
    limits = RealtimeLimits(max_events=2, backoff_s=0.001, max_backoff_s=0.01)
    async with talking([*said, drop], limits=limits) as (client, server):
        await asked(client)
        await server.ended.wait()
        for _ in range(3):
            await client.send_text("Are you there?")
        events = await ends(client)
        assert joined(events, "text") == "abcdefghijklmnop"


async def test_audio_is_sent_as_it_is_and_never_resampled():
    async with talking() as (client, server):
        assert repr(client.input_format) == "pcm16 at 24,000 Hz"
        await client.append_audio(b"\x01\x00\xff\xff")
        await client.append_audio(np.array([0.0, 1.0, -1.5]))
        await client.append_audio(np.zeros((4, 1), dtype=np.int16), rate_hz=24_000)
        await client.append_audio(bytes(300_000))
        with pytest.raises(ArgumentValueError, match="does not resample"):
            await client.append_audio(b"", rate_hz=48_000)
        with pytest.raises(ArgumentValueError, match="one channel"):
            await client.append_audio(np.zeros((4, 2), dtype=np.int16))
        with pytest.raises(ArgumentValueError, match="whole 16-bit"):
            await client.append_audio(b"abc")
        with pytest.raises(ArgumentValueError, match="NaN"):
            await client.append_audio(np.array([np.nan]))
        with pytest.raises(ArgumentTypeError, match="int16 or float"):
            await client.append_audio(np.zeros(4, dtype=np.int32))
        with pytest.raises(ArgumentTypeError, match="bytes or a numpy array"):
            await client.append_audio([1, 2])
        await client.commit_audio()
        await client.clear_audio()
        await told(server, "input_audio_buffer.clear")
        audio = [
            base64.b64decode(one["audio"]) for one in sent(server, "input_audio_buffer.append")
        ]
        assert audio[:3] == [b"\x01\x00\xff\xff", b"\x00\x00\xff\x7f\x00\x80", bytes(8)]
        assert sum(map(len, audio[3:])) == 300_000
        assert max(map(len, audio)) <= 1 << 17


async def test_a_session_of_another_format_takes_its_bytes():
    settings = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    async with talking(session=settings) as (client, _):
        await client.append_audio(b"abc", rate_hz=8000)
        with pytest.raises(ArgumentTypeError, match="g711_ulaw"):
            await client.append_audio(np.zeros(4, dtype=np.int16))
        await client.update_session({"audio": {"input": {"format": {"type": "audio/pcm"}}}})
        await client.append_audio(np.zeros(4, dtype=np.int16), rate_hz=24_000)


async def test_settings_are_sent_and_kept():
    async with talking(session={"instructions": "Be brief."}) as (client, server):
        await told(server, "session.update")
        await client.update_session({"audio": {"output": {"voice": "marin"}}})
        await told(server, "session.update", 2)
        updates = [one["session"] for one in sent(server, "session.update")]
        assert updates[0] == {"type": "realtime", "instructions": "Be brief."}
        assert updates[1]["audio"] == {"output": {"voice": "marin"}}
    async with talking(session={"voice": "x"}, beta=True) as (client, server):
        await told(server, "session.update")
        assert sent(server, "session.update")[0]["session"] == {"voice": "x"}


async def test_limits_turns_transcripts_and_errors_of_a_server_are_events():
    script = Script()
    limits = [{"name": "tokens", "limit": 100, "remaining": 60, "reset_seconds": 2}]
    place = {"item_id": "item_u", "content_index": 0}
    user = {"id": "item_u", "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
    said = [
        script._of("rate_limits.updated", rate_limits=limits),
        script._of("input_audio_buffer.speech_started", audio_start_ms=10, item_id="item_u"),
        script._of("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="item_u"),
        script._of("input_audio_buffer.committed", item_id="item_u", previous_item_id=None),
        script.filing(user),
        script._of("conversation.item.input_audio_transcription.delta", delta="How", **place),
        script._of(
            "conversation.item.input_audio_transcription.completed",
            transcript="How are you?",
            **place,
        ),
        script._of("error", error={"type": "server_error", "code": None, "message": "try later"}),
        "no JSON",
        script._of("conversation.item.truncated", audio_end_ms=5, **place),
    ]
    async with talking(greeting=[script.session(), *said]) as (client, _):
        events = await heard(client, "conversation.item.truncated")
        kinds = [event.data["type"] for event in events if isinstance(event.data, dict)]
        assert kinds == ["session.created", *[one["type"] for one in said if one != "no JSON"]]
        errors = [event.text for event in events if event.kind == "error"]
        assert errors == ["server_error: try later", "a message is no JSON object"]
        assert client.rate_limits["tokens"].remaining == 60
        assert client.session_id == "sess_1"
        (item,) = client.conversation
        assert (item.role, item.text, item.spoken) == ("user", "How are you?", True)
        assert item.audio_end_ms == 5
        assert client.report().errors == tuple(errors)


async def test_what_a_server_refuses_has_not_been():
    script = Script()
    async with talking() as (client, server):
        item_id = await client.send_text("Hi")
        await told(server, "conversation.item.create")
        about = sent(server, "conversation.item.create")[0]["event_id"]
        error = {"type": "invalid_request_error", "message": "no", "event_id": about}
        await server.say(server.sockets[0], script._of("error", error=error))
        await heard(client, "error")
        assert item_id not in client.conversation


async def test_usage_is_summed_over_responses():
    script = Script()
    usage = {"total_tokens": 7, "output_token_details": {"audio_tokens": 3}}
    scripts = [[script.created(f"resp_{n}"), script.done(f"resp_{n}", usage=usage)] for n in (1, 2)]
    async with talking(*scripts) as (client, _):
        for _ in scripts:
            await client.create_response()
            await ends(client)
            event = await anext(client)
            assert event.kind == "usage"
        report = client.report()
        assert report.metrics["usage"]["total_tokens"] == 14
        assert report.metrics["usage"]["output_token_details"] == {"audio_tokens": 6}
        assert report.metrics["responses"] == 2


async def test_ways_to_close():
    async with talking() as (client, server):
        with pytest.raises(ArgumentValueError, match="code must be"):
            await client.close(1002)
        with pytest.raises(ArgumentValueError, match="123 bytes"):
            await client.close(1000, "x" * 124)
        await client.close(4001, "enough")
        await client.close()
        await server.ended.wait()
        assert server.closed == [(4001, "enough")]
        assert len(server.requests) == 1
        assert [event.kind async for event in client] == ["text"]
        assert client.report().outcome == "closed"
    async with talking(greeting=[Script().session(), closing(1000, "bye")]) as (client, _):
        assert [event.kind async for event in client] == ["text"]
        assert (client.close_code, client.close_reason) == (1000, "bye")
        assert client.report().outcome == "ended"
    client = RealtimeClient.connect("ws://127.0.0.1:9")
    with pytest.raises(RefusedError, match="not connected"):
        await anext(client)
    with pytest.raises(RefusedError, match="not connected"):
        await client.create_response()
    await client.aclose()


async def test_one_task_reads_at_a_time():
    async with talking(greeting=[Script().session()]) as (client, _):
        await anext(client)
        first = asyncio.create_task(anext(client))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="another task"):
            await anext(client)
        first.cancel()
        with pytest.raises(RefusedError, match="connects once"):
            await client.open()


@pytest.mark.parametrize(
    ("refusal", "greeting", "words", "status"),
    [
        ((401, f'{{"error": {{"message": "Incorrect API key: {KEY}"}}}}'), (), "401", 401),
        ((404, "no such page"), (), "404 Not Found: no such page", 404),
        ((302, ""), (), "302", 302),
        (
            None,
            [{"type": "error", "error": {"code": "model_not_found", "message": "no m"}}],
            "m",
            None,
        ),
        (None, [closing(4000, "invalid model")], "closed at once: code 4000: invalid model", None),
        (None, [], "nothing was said", None),
    ],
)
async def test_refusals_say_why_and_show_no_key(refusal, greeting, words, status, caplog):
    caplog.set_level(logging.DEBUG)
    refusals = [] if refusal is None else [refusal]
    limits = RealtimeLimits(open_timeout_s=0.3)
    async with RealtimeServer(greeting=greeting, refusals=refusals) as server:
        client = RealtimeClient.connect(server.url, api_key=KEY, limits=limits)
        assert KEY not in repr(client)
        caplog.clear()
        with pytest.raises(EndpointError) as caught:
            await client.open()
        assert words in str(caught.value)
        assert caught.value.status == status
        assert caught.value.place.endswith("/v1/realtime")
        assert KEY not in str(caught.value)
        ours = [one for one in caplog.records if "server" not in one.name]
        assert KEY not in "".join(one.getMessage() for one in ours)
        assert len(server.requests) == (refusal is None)


async def test_a_key_is_in_no_recording(tmp_path):
    script = Script()
    secret = {"value": "ek_123456789", "expires_at": 1}
    session = script._of("session.created", session={"id": "s", "client_secret": secret})
    error = script._of("error", error={"message": f"bad key {KEY}"})
    with Recorder(tmp_path / "run.jsonl") as recorder:
        async with talking(greeting=[session, error], api_key=KEY, recorder=recorder) as (
            client,
            server,
        ):
            events = await heard(client, "error")
            assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    text = (tmp_path / "run.jsonl").read_text()
    assert "bad key [hidden]" in text
    for shown in (text, repr(events), repr(client.report())):
        assert KEY not in shown
        assert "ek_123456789" not in shown


async def test_a_recording_has_all_events_and_findings(tmp_path):
    script = Script()
    first = [script.created(), *script.message(*LOOP)[0]]
    with Recorder(tmp_path / "run.jsonl") as recorder:
        async with talking(first, recorder=recorder, make_detectors=lambda: (LoopDetector(),)) as (
            client,
            _,
        ):
            await asked(client)
            events = await ends(client)
    kept = load(tmp_path / "run.jsonl")
    assert [event.seq for event in kept] == list(range(len(kept)))
    assert list(kept[: len(events)]) == events


async def test_what_a_callback_raises_ends_the_session():
    def on_finding(finding):
        raise ZeroDivisionError("mine")

    script = Script()
    async with talking(script.response(script.message(*LOOP)), on_finding=on_finding) as (
        client,
        _,
    ):
        await asked(client)
        with pytest.raises(ZeroDivisionError, match="mine"):
            await ends(client)
        assert client.report().outcome == "failed"
        with pytest.raises(StopAsyncIteration):
            await anext(client)


def test_arguments_that_cannot_be_used(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    cases = [
        ({}, "OPENAI_API_KEY is not set"),
        ({"url": "ftp://x"}, "must begin with"),
        ({"url": "ws://user:pass@127.0.0.1"}, "user or password"),
        ({"url": "ws://127.0.0.1", "model": ""}, "model must not be empty"),
        ({"url": "ws://127.0.0.1", "api_key": "sk\n123 ä"}, "cannot carry"),
        ({"url": "ws://127.0.0.1", "headers": {"a b": KEY}}, "a name is empty"),
        ({"url": "ws://127.0.0.1", "tools": {"x": print}}, "async callable"),
        ({"url": "ws://127.0.0.1", "session": 1}, "session must be a mapping"),
        ({"url": "ws://127.0.0.1", "limits": 1}, "limits must be"),
        ({"url": "ws://127.0.0.1", "policies": 1}, "policies"),
    ]
    for arguments, words in cases:
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words) as caught:
            RealtimeClient.connect(**arguments)
        assert KEY not in str(caught.value)
    with pytest.raises(ArgumentValueError, match="ping_timeout_s"):
        RealtimeLimits(ping_timeout_s=0)


async def test_no_answer_from_a_port_is_an_endpoint_error():
    async with RealtimeServer() as server:
        url = server.url
    with pytest.raises(EndpointError, match="refused"):
        await RealtimeClient.connect(url, limits=FAST).open()


def test_without_websockets_the_way_out_is_told(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "websockets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(ModuleNotFoundError, match=r"midstream\[realtime\]"):
        RealtimeClient.connect("ws://127.0.0.1")


async def test_a_session_over_tls(tmp_path):
    chain, key = Identity.development().save(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(chain, key)
    tls = ssl.create_default_context(cafile=chain)
    script = Script()
    said = script.response(script.message("Hi."))
    async with RealtimeServer(said, greeting=[script.session()], tls=served) as server:
        with pytest.raises(EndpointError, match=r"certificate|CERTIFICATE"):
            await RealtimeClient.connect(server.url, limits=FAST).open()
        async with RealtimeClient.connect(server.url, limits=FAST, tls=tls) as client:
            await asked(client)
            assert joined(await ends(client), "text") == "Hi."


async def test_a_tool_can_close_the_client():
    async def hang_up():
        await client.close(4000, "hung up")
        return "never sent"

    script = Script()
    said = script.response(script.call("hang_up", "{}"))
    async with talking(said, tools={"hang_up": hang_up}) as (client, server):
        await asked(client)
        async for _ in client:
            pass
        await server.ended.wait()
        assert server.closed == [(4000, "hung up")]
        assert not outputs(server)


async def test_what_a_detector_raises_while_nothing_comes_ends_the_session():
    class Nervous(StallDetector):
        def expire(self):
            raise ZeroDivisionError("mine")

    def make():
        return (Nervous(min_s=0.05, first_s=0.05),)

    script = Script()
    go = asyncio.Event()
    said = [script.created(), *script.message("a")[0][:4], until(go)]
    async with talking(said, make_detectors=make) as (client, _):
        await asked(client)
        with pytest.raises(ZeroDivisionError, match="mine"):
            await ends(client)
        go.set()


async def test_what_is_no_message_is_refused_and_has_not_been():
    limits = RealtimeLimits(max_message_bytes=4096)
    async with talking(limits=limits) as (client, server):
        with pytest.raises(ArgumentTypeError, match=r"item\.create is not JSON"):
            await client.create_item({"type": "message", "content": [{1, 2}]})
        with pytest.raises(ArgumentTypeError, match="not JSON"):
            await client.update_session({"speed": float("nan")})
        with pytest.raises(ArgumentValueError, match=r"create must be at most 4,096 bytes, got"):
            await client.send_text("x" * 5000)
        with pytest.raises(ArgumentTypeError, match="type must be str"):
            await client.send({})
        assert not client.conversation.items
        await client.send_text("half a \ud83d character")
        await client.send({"type": "conversation.item.retrieve", "item_id": "x"})
        await told(server, "conversation.item.retrieve")
        assert [len(one.items) for one in (client.conversation,)] == [1]
        assert sent(server)[0] == "conversation.item.create"
    with pytest.raises(ArgumentTypeError, match="session is not JSON"):
        RealtimeClient.connect("ws://127.0.0.1", session={"x": {1}})


async def test_a_result_that_is_too_long_for_a_message_is_told():
    async def tool():
        return "x" * 5000

    script = Script()
    limits = RealtimeLimits(max_message_bytes=4096)
    said = script.response(script.call("long", "{}"))
    async with talking(said, tools={"long": tool}, limits=limits) as (client, _):
        await asked(client)
        event = await anext(client)
        while event.kind != "error":
            event = await anext(client)
        assert "must be at most 4,096 bytes" in event.text


async def test_a_slow_reader_is_not_taken_for_a_silent_server():
    script = Script()
    said = script.response(script.message(*[f"{n} " for n in range(60)]))
    limits = RealtimeLimits(max_events=4)

    def make():
        return (StallDetector("stop", min_s=0.3, first_s=0.3),)

    async with talking(said, make_detectors=make, limits=limits) as (client, _):
        await asked(client)
        await heard(client, "response.output_text.delta")
        await asyncio.sleep(0.6)
        await ends(client)
        assert not client.findings


async def test_a_client_that_could_not_connect_is_over():
    async with RealtimeServer(refusals=[(503, "busy")]) as server:
        client = RealtimeClient.connect(server.url)
        with pytest.raises(EndpointError, match="503"):
            await client.open()
        assert client.report().outcome == "failed"
        with pytest.raises(StopAsyncIteration):
            await anext(client)
        await client.aclose()
