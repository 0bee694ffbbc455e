"""`ClientSession` without a socket: whatever a server says."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from stream.proxy.sessions import Script

from midstream.stream import Guard, Policy, StallDetector
from midstream.stream.policies import as_policies
from midstream.stream.realtime.limits import RealtimeLimits
from midstream.stream.realtime.session import ClientSession

NO_DROP = as_policies(Policy("no drops", "G !drop", {"drop": {"tool": "drop"}}, "block"))


def session(policies=(), tools=("look", "drop"), detectors=None, **limits):
    return ClientSession(
        lambda found: Guard(detectors, policies, None, found), RealtimeLimits(**limits), tools=tools
    )


def kinds(one):
    return [payload["type"] for payload in one.to_server]


@st.composite
def payloads(draw):
    """Messages of real sessions, some with fields of others."""
    script = Script(beta=draw(st.booleans()))
    pool = [
        script.session(),
        *script.response(script.message("a", "b", spoken=True), script.call("look", "{}", index=1)),
        *script.response(script.call("drop", "{", "}", response="r2"), response="r2"),
        {"type": "error", "error": {"event_id": "event_client_1", "message": "no"}},
        {"type": "rate_limits.updated", "rate_limits": [{"name": "x", "limit": None}, 5]},
        {"type": "conversation.item.deleted", "item_id": "item_resp_1_0"},
        {"type": "response.cancelled"},
        {"type": ""},
    ]
    odd = st.sampled_from([None, 5, -1, "", "x" * 1000, [], {}, [{}], {"id": 5}, True, 1.5])
    out = []
    for payload in draw(st.lists(st.sampled_from(pool), max_size=30)):
        payload = dict(payload)
        if draw(st.integers(0, 3)) == 0:
            payload[draw(st.sampled_from(sorted(payload)))] = draw(odd)
        out.append(payload)
    return out


@settings(max_examples=150, deadline=None)
@given(payloads(), st.booleans(), st.integers(0, 40))
def test_nothing_that_a_server_says_breaks_it(said, policies, lost_at):
    one = session(NO_DROP if policies else ())
    for n, payload in enumerate(said):
        if n == lost_at:
            one.lost("gone", n)
            one.restoring()
            one.restored({}, n)
        one.take(payload, n * 1000)
        one.expire(n * 1000 + 500)
        while one.calls:
            call = one.calls.popleft()
            assert call.name == "look" or not policies
            one.answer(call, "ok")
    one.close("closed", None, len(said) * 1000)
    json.dumps(one.report("closed", None).to_dict(), default=str)
    seqs = [event.seq for event in one.events if not hasattr(event.data, "stream_id")]
    assert len(seqs) == len(set(seqs))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_overlapping_responses_do_not_depend_on_how_they_interleave(data):
    """Each response has its own guard, text and calls."""
    script = Script()
    threads = [
        script.response(
            script.message("one ", "two", response="r1"),
            script.call("look", "{", "}", response="r1", index=1, call_id="c1"),
            response="r1",
        ),
        script.response(
            script.call("drop", "{}", response="r2", call_id="c2"),
            script.message("three ", "four", response="r2", index=1),
            response="r2",
        ),
    ]
    turns = data.draw(st.permutations([n for n, one in enumerate(threads) for _ in one]))
    rest = [iter(one) for one in threads]
    one = session(NO_DROP)
    for t_ns, n in enumerate(turns):
        one.take(next(rest[n]), t_ns)
    ran = [call.name for call in one.calls]
    for call in list(one.calls):
        one.answer(call, "ok")
    assert ran == ["look"]
    texts = {}
    for event in one.events:
        if event.kind == "text" and event.text:
            texts[event.stream_id] = texts.get(event.stream_id, "") + event.text
    assert sorted(texts.values()) == ["one two", "three four"]
    outputs = {
        payload["item"]["call_id"]: payload["item"]["output"]
        for payload in one.to_server
        if payload["type"] == "conversation.item.create"
    }
    assert outputs["c1"] == "ok"
    assert "no drops" in outputs["c2"]
    assert kinds(one).count("response.create") == 1


def test_the_model_goes_on_once_for_all_calls_and_not_while_another_response_comes():
    script = Script()
    one = session()
    first = script.response(
        script.call("look", "{}", call_id="c1"), script.call("look", "{}", index=1, call_id="c2")
    )
    for payload in first:
        one.take(payload, 0)
    calls = list(one.calls)
    one.take(script.created("other"), 0)
    one.answer(calls[0], "a")
    assert "response.create" not in kinds(one)
    one.answer(calls[1], "b")
    assert "response.create" not in kinds(one)
    one.take(script.done("other"), 0)
    assert kinds(one).count("response.create") == 1


def test_calls_of_a_stopped_response_are_not_run():
    script = Script()
    one = session(max_tools=1)
    call = script.call("look", "{}")[0]
    words = script.message(*(["I will try that again. "] * 60), index=1)[0]
    for payload in [script.created(), *words, *call]:
        one.take(payload, 0)
    assert not one.calls
    assert "response.cancel" in kinds(one)
    one.take(script.done("resp_1", status="cancelled"), 0)
    assert "response.create" not in kinds(one)


def test_silence_is_found_while_it_lasts():
    script = Script()
    one = session(detectors=(StallDetector("stop", min_s=1.0, first_s=1.0),))
    for payload in [script.created(), *script.message("a")[0][:4]]:
        one.take(payload, 0)
    one.expire(500_000_000)
    assert not one.books.findings
    one.expire(1_500_000_000)
    assert [finding.kind for finding in one.books.findings] == ["stall"]
    assert one.events[-1].text == "stopped"
    assert "response.cancel" in kinds(one)


def test_calls_beyond_a_limit_end_the_response():
    script = Script()
    one = session(max_call_chars=100)
    for payload in [script.created(), *script.call("look", *(["x" * 60] * 3))[0]]:
        one.take(payload, 0)
    assert [event.text for event in one.events if event.kind == "end"] == ["failed"]
    assert kinds(one) == ["response.cancel"]
    assert not one.calls
    one = session()
    one.take(script.created("r"), 0)
    for n in range(1100):
        for payload in script.call("look", response="r", index=n, call_id=f"c{n}")[0][:1]:
            one.take(payload, 0)
    assert "response.cancel" in kinds(one)


def test_what_waits_is_bounded():
    script = Script()
    one = session(detectors=(), max_items=50)
    for n in range(1200):
        response = f"r{n}"
        for payload in script.response(
            script.call("look", "{}", response=response, call_id=f"c{n}"), response=response
        ):
            one.take(payload, 0)
    assert len(one.calls) == 1024
    outputs = [one for one in one.to_server if one["type"] == "conversation.item.create"]
    assert len(outputs) == 1200 - 1024
    assert "too many calls" in outputs[0]["item"]["output"]
