"""A client of ours through a proxy of ours: both guard, and neither is in the other's way."""

from __future__ import annotations

import pytest
from stream.proxy.sessions import RealtimeServer, Script, drop
from stream.proxy.wires import proxied
from stream.realtime.talk import (
    FAST,
    LOOP,
    asked,
    ends,
    heard,
    joined,
    outputs,
    renewed,
    sent,
    told,
)

from midstream.errors import EndpointError
from midstream.stream import Policy
from midstream.stream.realtime import RealtimeClient

BOTH = pytest.mark.parametrize("beta", [False, True])
NO_DROP = Policy("no drops", "G !drop", {"drop": {"tool": "drop_*"}}, "block")


async def drop_table(table):
    raise AssertionError("not to be run")


@BOTH
@pytest.mark.parametrize("who", ["proxy", "client", "both"])
async def test_a_conversation_with_a_denied_call_and_a_stopped_loop(who, beta):
    script = Script(beta=beta)
    first = script.response(script.call("drop_table", '{"table": ', '"users"}'))
    second = script.response(
        script.message("I had better not.", response="resp_2", spoken=True), response="resp_2"
    )
    third = [script.created("resp_3"), *script.message(*LOOP, response="resp_3")[0]]
    fourth = script.response(script.message("Bye.", response="resp_4"), response="resp_4")
    rules = {"policies": NO_DROP}
    async with (
        RealtimeServer(
            first, second, third, fourth, greeting=[script.session()], beta=beta
        ) as server,
        proxied(server, **(rules if who != "client" else {})) as proxy,
        RealtimeClient.connect(
            proxy.url + "/v1",
            model="m",
            tools={"drop_table": drop_table},
            limits=FAST,
            beta=beta,
            **(rules if who != "proxy" else {"policies": ()}),
        ) as client,
    ):
        await asked(client)
        if who == "client":
            events = await ends(client, 2)
            assert joined(events, "audio") == "I had better not."
            assert "no drops" in outputs(server)["call_1"]
        else:  # the proxy makes a message of the call, and tells the server why
            assert "no drops" in joined(await ends(client), "text")
            await told(server, "conversation.item.create", 2)
            assert "no drops" in outputs(server)["call_1"]
            await client.create_response()
            assert joined(await ends(client), "audio") == "I had better not."
        await client.create_response()
        events = await ends(client)
        assert events[-1].text in ("stopped", "incomplete")
        assert len(joined(events, "text")) < len("".join(LOOP))
        await told(server, "response.cancel")
        await client.create_response()
        assert joined(await ends(client), "text") == "Bye."
        mine = [item for item in client.conversation if item.role == "user"]
        assert [item.text for item in mine] == ["Hi"]


async def test_a_server_that_drops_behind_a_proxy():
    script = Script()
    said, _ = script.message("Once ", "upon")
    second = script.response(script.message("Again."), response="resp_1")
    first = [script.created(), *said[:4], drop]
    async with (
        RealtimeServer(first, second, greeting=[script.session()], shared=True) as server,
        proxied(server) as proxy,
        RealtimeClient.connect(proxy.url, limits=FAST) as client,
    ):
        await asked(client)
        await heard(client, "midstream.reconnected")
        await renewed(server, 2)
        await client.create_response()
        assert joined(await ends(client), "text") == "Again."
        assert sent(server).count("response.create") == 2


async def test_a_proxy_that_reaches_nobody():
    async with RealtimeServer() as server:
        pass
    async with proxied(server) as proxy:
        with pytest.raises(EndpointError) as caught:
            await RealtimeClient.connect(proxy.url, limits=FAST).open()
        assert caught.value.status in (502, 503, 504)
