"""What the client sends is what the official SDK's types say."""

from __future__ import annotations

import numpy as np
import pytest
from stream.proxy.sessions import Script, drop
from stream.realtime.talk import asked, ends, heard, renewed, talking

openai = pytest.importorskip("openai", reason="the official SDK's types of the protocol")


async def look(where):
    return {"seen": where}


async def test_all_that_is_sent_validates():
    from openai.types.realtime import RealtimeClientEvent
    from pydantic import TypeAdapter

    script = Script()
    first = script.response(
        script.message("Let me ", "look.", spoken=True),
        script.call("look", '{"where": "there"}', index=1),
    )
    second = script.response(script.message("Seen.", response="resp_2"), response="resp_2")
    loop = ("I will try that again. ",) * 60
    third = [script.created("resp_3"), *script.message(*loop, response="resp_3")[0], drop]
    function = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    settings = {"instructions": "Be brief.", "tools": [function], "output_modalities": ["audio"]}
    async with talking(
        first, second, third, session=settings, tools={"look": look}, server={"shared": True}
    ) as (client, server):
        await client.send_text("You are a guide.", role="system")
        await client.send_text("Hello, I am here.", role="assistant")
        await client.append_audio(np.zeros(240))
        await client.commit_audio()
        await client.clear_audio()
        await asked(client)
        await ends(client, 2)
        await client.truncate("item_resp_1_0", 0)
        await client.update_session({"audio": {"output": {"voice": "marin"}}})
        await client.create_response({"output_modalities": ["text"]})
        await ends(client)
        await heard(client, "midstream.reconnected")
        again = await renewed(server, 6)
        await client.delete_item(next(iter(client.conversation)).id)
        await client.send({"type": "response.cancel", "response_id": "resp_9"})
        await heard(client, "response.done")
    adapter = TypeAdapter(RealtimeClientEvent)
    for payload in server.received:
        adapter.validate_python(payload)
        item = payload.get("item", {})
        assert len(payload.get("event_id", "")) <= 512
        assert len(item.get("id", "")) <= 32
    kinds = {payload["type"] for payload in server.received}
    assert kinds == {
        "session.update",
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.truncate",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "response.create",
        "response.cancel",
    }
    types = [payload["item"]["type"] for payload in again if "item" in payload]
    assert types[:2] == ["message", "message"]
