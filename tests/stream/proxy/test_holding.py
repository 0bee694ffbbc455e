"""Text that is held back while it may become what a rule forbids: no client sees any of it."""

from __future__ import annotations

import json
import re

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk, sse, within
from stream.proxy.sessions import Script
from stream.proxy.test_rewriting import WHOLE, payloads
from stream.proxy.wires import Upstream, no_tool, proxied, wire

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.policies import Policy
from midstream.stream.proxy import Proxy
from midstream.stream.proxy.exchanges import Exchange, Guarding
from midstream.stream.proxy.frames import sse_bytes
from midstream.stream.proxy.routes import Route
from midstream.stream.proxy.sessions import RealtimeSession

APIS = ("chat", "responses", "anthropic", "ollama")
FORBIDDEN = r"secret (?:word|plan)s?"
RULE = Policy("hush", "G !said", {"said": {"pattern": FORBIDDEN}}, "stop")


def answer(api, pieces, tail=()):
    """A whole answer of one text, and what comes behind it in the same text's place."""
    text = "".join(pieces)
    if api == "chat":
        return sse(*map(chunk, pieces), *tail, chunk(finish="stop"))
    if api == "ollama":
        lines = [
            {"message": {"role": "assistant", "content": one}, "done": False} for one in pieces
        ]
        lines.append({"message": {"role": "assistant", "content": ""}, "done": True})
        return "".join(json.dumps(line) + "\n" for line in lines).encode()
    if api == "anthropic":
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {}}
        block = {"type": "text", "text": ""}
        out = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *[
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": one},
                }
                for one in pieces
            ],
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
            {"type": "message_stop"},
        ]
        return b"".join(sse_bytes(one["type"], one) for one in out)
    message = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress"}
    whole = {**message, "status": "completed", "content": [{"type": "output_text", "text": text}]}
    at = {"item_id": "i", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": ""}
    response = {"id": "r", "object": "response", "status": "in_progress", "output": []}
    out = [
        {"type": "response.created", "response": response},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**message, "content": []},
        },
        {"type": "response.content_part.added", **at, "part": part},
        *[{"type": "response.output_text.delta", **at, "delta": one} for one in pieces],
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.content_part.done", **at, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "output": [whole]},
        },
    ]
    return b"".join(
        sse_bytes(one["type"], {**one, "sequence_number": n}) for n, one in enumerate(out)
    )


def said(api, body):
    """The text that a client puts together, and all texts that are told once more."""
    lines = body.splitlines() if api == "ollama" else ()
    shown = [json.loads(line) for line in lines] if lines else payloads(body)
    out, again = "", []
    for one in shown:
        if api == "chat":
            for choice in one["choices"]:
                out += choice["delta"].get("content") or ""
        elif api == "ollama":
            out += one["message"]["content"]
        elif api == "anthropic":
            out += one.get("delta", {}).get("text", "")
        elif one["type"].endswith("output_text.delta"):
            out += one["delta"]
        elif one["type"].endswith("output_text.done"):
            again.append(one["text"])
        elif "response" in one:
            again += [item["content"][0]["text"] for item in one["response"]["output"]]
    return out, again


def held(api, body, *, most=1000, policies=RULE, places=(), ending="filtered"):
    """What of an answer has come to the client after each piece, and its rewriter."""
    guarding = Guarding(policies=policies, make_detectors=list, hold_text=most, ending=ending)
    exchange = Exchange(Route(api, True), guarding, guarding.guard())
    rewriter = exchange.answer("lines" if api == "ollama" else "sse")
    places = sorted({place for place in places if 0 < place < len(body)})
    out = [b""]
    for start, end in zip([0, *places], [*places, len(body)], strict=True):
        out.append(out[-1] + rewriter.feed(body[start:end]))
    out.append(out[-1] + rewriter.finish())
    return out, rewriter


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("ending", ["filtered", "normal"])
def test_nothing_of_a_forbidden_text_is_seen(api, ending):
    body = answer(api, ["The ", "se", "cret", " ", "wo", "rd", " is x"])
    out, rewriter = held(api, body, places=range(0, len(body), 5), ending=ending)
    assert rewriter.stopped is not None
    text, again = said(api, out[-1])
    assert text == "The "
    assert set(again) <= {"The ", ""}
    assert not any(b"secr" in one or b'"se"' in one for one in out)
    # Its end is that of any stream that was stopped.
    assert re.search(rb"content_filter|refusal|stop|completed|end_turn|done", out[-1])


@pytest.mark.parametrize("api", APIS)
def test_what_only_begins_like_it_comes_whole_and_as_it_was(api):
    pieces = ["A ", "secret", " plot", " is ", "no secret ", "pla", "y. ", "sec"]
    body = answer(api, pieces)
    out, rewriter = held(api, body, places=range(0, len(body), 7))
    assert out[-1] == body
    assert rewriter.stopped is None
    assert rewriter.kept_bytes == 0


@pytest.mark.parametrize("api", APIS)
def test_no_more_is_held_than_must_be(api):
    body = answer(api, ["The sun. ", "A se", "cond. ", "Well."])
    end = body.index(b"A se") + 4
    out, _ = held(api, body, places=[body.index(b"\n", end) + 2, body.index(b"cond. ") + 60])
    assert said(api, out[1])[0] == "The sun. "
    free, _ = held(api, body, most=0, places=[body.index(b"\n", end) + 2])
    assert said(api, free[1])[0] == "The sun. A se"


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(APIS),
    st.lists(st.sampled_from(["secret ", "sec", "ret", " ", "word", "plan", "s", "x", "S"])),
    st.lists(st.integers(1, 4000), max_size=20),
)
def test_however_it_is_cut(api, pieces, places):
    text = "".join(pieces)
    body = answer(api, pieces)
    out, rewriter = held(api, body, places=places)
    found = re.search(FORBIDDEN, text)
    if found is None:
        assert out[-1] == body
    else:
        assert rewriter.stopped is not None
        shown, again = said(api, out[-1])
        assert shown == text[: found.start()]
        assert all(one == shown for one in again)
    for one in out[:-1]:
        assert out[-1].startswith(one)


def test_what_may_be_forbidden_for_too_long_passes():
    rule = Policy("long", "G !said", {"said": {"pattern": "a[^z]*z"}}, "stop")
    body = answer("chat", ["a", *["b" * 10] * 20])
    out, _ = held("chat", body, most=40, policies=rule, places=range(0, len(body), 9))
    shown = [len(said("chat", one[: one.rfind(b"\n\n") + 2])[0]) for one in out[:-2]]
    assert max(shown) >= 201 - 50
    assert out[-1] == body
    body = answer("chat", ["a", *["b" * 10] * 20, "z"])
    out, rewriter = held("chat", body, most=40, policies=rule, places=range(0, len(body), 9))
    assert rewriter.stopped is not None
    assert 150 <= len(said("chat", out[-1])[0]) <= 165


def test_texts_beside_each_other_and_calls_behind_them():
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    body = sse(
        chunk("a sec", index=0),
        chunk("fine", index=1),
        chunk(tool_calls=[call], index=1),
        chunk("ond", index=0),
        chunk(finish="stop", index=0),
        chunk(finish="tool_calls", index=1),
    )
    rules = [RULE, no_tool("g")]
    out, _ = held("chat", body, policies=rules, places=range(0, len(body), 11))
    assert out[-1] == body
    assert b"fine" not in out[20]
    out, rewriter = held("chat", body, policies=[RULE, no_tool("f")])
    assert len(rewriter.denied) == 1
    assert b'"function"' not in out[-1]


def test_a_stop_for_another_reason_shows_nothing_that_waits():
    rules = [RULE, Policy("short", "G !long", {"long": {"chars": {">": 12}}}, "stop")]
    out, rewriter = held("chat", answer("chat", ["0123 ", "secret ", "w", "x"]), policies=rules)
    assert rewriter.stopped.evidence["rule"] == "short"
    assert said("chat", out[-1])[0] == "0123 "


@pytest.mark.parametrize("api", WHOLE)
def test_answers_that_are_one_value(api):
    body = json.dumps(WHOLE[api], indent=1).encode()
    for pattern, whole in (("look, or bad", True), ("ok: bad", False)):
        rule = Policy("hush", "G !said", {"said": {"pattern": pattern}}, "stop")
        guarding = Guarding(policies=rule, make_detectors=list, hold_text=100)
        rewriter = Exchange(Route(api, True), guarding, guarding.guard()).answer("json")
        out = rewriter.feed(body) + rewriter.finish()
        assert (out == body) == whole
        if not whole:
            assert b"ok: bad" not in out
            assert b"Lo" in out


def test_rules_that_only_warn_hold_nothing():
    warn = Policy("warn", "G !said", {"said": {"pattern": FORBIDDEN}}, "warn")
    body = answer("chat", ["se", "cret", " word"])
    out, _ = held("chat", body, policies=warn, places=[body.index(b"cret") - 5])
    assert b'"se"' in out[1]
    assert out[-1] == body


@pytest.mark.parametrize("beta", [False, True])
def test_sessions_too(beta):
    script = Script(beta=beta)
    guarding = Guarding(policies=RULE, make_detectors=list, hold_text=100)
    for pieces, wanted in (
        (("The ", "se", "cret ", "word"), "The "),
        (("A sec", "ond"), "A second"),
    ):
        session = RealtimeSession(
            lambda _: guarding.guard(),
            ending="filtered",
            max_held_bytes=100_000,
            prepare=guarding.prepare,
        )
        sent = [json.dumps(one) for one in script.response(script.message(*pieces))]
        for one in sent:
            session.from_server(one, 0)
        shown = [json.loads(one) for one in session.to_client]
        assert "".join(one.get("delta", "") for one in shown) == wanted
        assert "secr" not in "".join(session.to_client[:-1])
        if wanted == "A second":
            assert session.to_client == sent
        else:
            (item,) = shown[-1]["response"]["output"]
            assert item["content"][0]["text"] == wanted


async def test_the_official_sdk(shared_data):
    root = shared_data("wire")
    _, body = wire(root, "openai/openai-text.jsonl")
    async with within(), Upstream(body) as upstream:
        made = []
        for more in ({}, {"hold_text": 100}):
            async with (
                proxied(upstream, policies=RULE, **more) as proxy,
                openai.AsyncOpenAI(api_key="k", base_url=f"{proxy.url}/v1") as sdk,
            ):
                stream = await sdk.chat.completions.create(model="m", messages=[], stream=True)
                made.append([one async for one in stream])
    assert made[0] == made[1]


def test_settings_that_cannot_be_used():
    with pytest.raises(ArgumentValueError, match="hold_text"):
        Proxy("http://x", hold_text=-1)
    with pytest.raises(ArgumentTypeError, match="hold_text"):
        Proxy("http://x", hold_text="1")
