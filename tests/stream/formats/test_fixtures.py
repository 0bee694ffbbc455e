"""Recorded streams of all providers: what they come to, however they are cut, broken or spoilt."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import collect, cut

from midstream._core.errors import MidstreamError
from midstream.stream.decode import NDJSONDecoder, SSEDecoder
from midstream.stream.events import KINDS
from midstream.stream.formats import AutoMapper, assemble, mapper_of
from midstream.stream.pipe import SniffDecoder
from midstream.stream.recording import RecordingDecoder
from midstream.stream.sources import from_sse

#: Calls of the Responses API that the client runs, but that are no functions.
TYPED = {"apply_patch", "local_shell", "shell", "tool_search"}


@pytest.fixture(scope="module")
def wire(shared_data):
    """Rows of the index, each with its body."""
    rows = json.loads(shared_data("wire/index.json").read_text())
    return [(row, shared_data("wire/" + row["file"]).read_bytes()) for row in rows]


@pytest.fixture(scope="module")
def expected(shared_data):
    return json.loads(shared_data("wire/expected.json").read_text())


def decoder_for(row):
    return SSEDecoder() if row["file"].endswith(".sse") else NDJSONDecoder()


def decoded(decoder, pieces):
    events = []
    for piece in pieces:
        events += decoder.feed(piece, 0)
        if decoder.error is not None:
            return events
    return events + decoder.finish(0)


def parsed(arguments):
    try:
        return json.loads(arguments) if arguments else {}
    except ValueError:
        return arguments


def check(row, events, wanted):
    found = assemble(events)
    assert found.text == wanted["text"]
    if row["api"] != "chat.v2":  # there, a plan is reasoning too
        assert found.thoughts == wanted.get("reasoning", "")
    assert found.finish_reason == wanted["finish_reason"]
    plain = [call for call in found.calls if not call.provider_run and call.name not in TYPED]
    assert [call.name for call in plain] == [call["name"] for call in wanted["tool_calls"]]
    assert [parsed(call.arguments) for call in plain] == [
        parsed(call["arguments"]) for call in wanted["tool_calls"]
    ]
    own = [call for call in found.calls if call.provider_run or call.name in TYPED]
    theirs = wanted.get("server_tool_calls", [])
    assert [call.name for call in own] == [
        call["name"].removesuffix("_call") if "type" in call else call["name"] for call in theirs
    ]
    for call, told in zip(own, theirs, strict=True):
        arguments = json.loads(call.arguments)  # whatever the provider calls it, it is JSON
        if "arguments" in told:
            assert arguments == json.loads(told["arguments"])


@pytest.mark.parametrize("size", [1 << 20, 1000, 7])
def test_what_streams_come_to(wire, expected, size):
    for row, body in wire:
        decoder = decoder_for(row)
        events = decoded(decoder, cut(body, [size]))
        where = row["file"]
        assert decoder.error is None, where
        assert decoder.mapper.inner.api == mapper_of(row["api"]).api, where
        assert decoder.done == row["done_marker"], where
        assert [event.seq for event in events] == list(range(len(events))), where
        payloads = [event.data for event in events if event.data is not None]
        assert len(payloads) >= row["events"] + row["malformed_events"], where
        if not row["malformed_events"] and where != "openai/openai-error.1.jsonl":
            assert [event.text for event in events if event.kind == "error"] == [], where
        wanted = expected.get(where)
        if wanted is not None:
            try:
                check(row, events, wanted)
            except AssertionError as error:
                error.add_note(where)
                raise
    assert len(wire) == 142


def test_payloads_pass_untouched(wire):
    """In order, each on the first event that is made of it."""
    for row, body in wire:
        if not row["file"].endswith(".jsonl") or row["malformed_events"]:
            continue
        events = decoded(NDJSONDecoder(), [body])
        payloads = [event.data for event in events if event.data is not None]
        own = [event.data for event in events if event.kind == "usage"]
        assert [one for one in payloads if one not in own] == [
            json.loads(line) for line in body.decode().splitlines() if line
        ], row["file"]


def test_usage_has_common_names(wire):
    apis = set()
    for row, body in wire:
        events = decoded(decoder_for(row), [body])
        for event in events:
            if event.kind == "usage":
                tokens = event.data["tokens"]
                assert tokens.keys() <= {
                    *("input_tokens", "output_tokens", "total_tokens"),
                    *("cached_tokens", "reasoning_tokens"),
                }
                assert all(type(count) is int for count in tokens.values())
                assert event.data["usage"]
        if any(event.kind == "usage" for event in events):
            last = assemble(events).usage
            assert last["total_tokens"] >= last["input_tokens"] > 0, row["file"]
            apis.add(row["api"])
    assert apis >= {"messages", "chat.completions", "responses", "chat.v2", "generateContent"}


def test_calls_have_their_ids(wire):
    for row, body in wire:
        events = decoded(decoder_for(row), [body])
        ids = {}
        for event in events:
            if event.kind == "tool_call":
                ids.setdefault(event.stream_id, set()).add((event.name, event.call_id))
        for stream_id, seen in ids.items():
            assert len(seen) == 1, (row["file"], stream_id)
            ((name, call_id),) = seen
            assert name, row["file"]
            if row["api"] != "generateContent":
                assert call_id, row["file"]
        results = [event for event in events if event.kind == "tool_result"]
        for event in results:
            assert event.call_id, row["file"]


def test_results_of_the_providers_own_tools(wire):
    found = {}
    for row, body in wire:
        for call in assemble(decoded(decoder_for(row), [body])).calls:
            if call.result:
                found.setdefault(call.name, call)
    assert set(found) >= {
        *("web_search", "code_execution", "bash_code_execution", "echo", "advisor"),
        *("code_interpreter", "shell", "google_search"),
    }
    assert found["echo"].result == "Tool echo: hello world"


@settings(deadline=None)  # a long body in single bytes takes its time
@given(st.data())
def test_how_a_body_is_cut_does_not_matter(wire, data):
    row, body = wire[data.draw(st.integers(0, len(wire) - 1))]
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=8))
    whole = decoded(decoder_for(row), [body])
    assert decoded(decoder_for(row), cut(body, sizes)) == whole
    sniffed = decoded(SniffDecoder("pipe"), cut(body, sizes))
    assert sniffed == whole


async def test_sources_are_no_exception(wire):
    chance = random.Random(3)
    for row, body in chance.sample(wire, 30):
        if row["file"].endswith(".sse"):
            pieces = cut(body, [chance.randrange(1, 400) for _ in range(7)])
            events, error = await collect(from_sse(pieces))
            assert error is None
            whole = decoded(SSEDecoder(), [body])
            assert [event._replace(t_ns=0) for event in events] == whole, row["file"]


@settings(deadline=None)
@given(st.data())
def test_a_stream_may_break_off_anywhere(wire, data):
    row, body = wire[data.draw(st.integers(0, len(wire) - 1))]
    end = data.draw(st.integers(0, len(body)))
    for decoder in (decoder_for(row), SniffDecoder("pipe")):
        events = decoded(decoder, [body[:end]])
        assert decoder.error is None or isinstance(decoder.error, MidstreamError)
        assert [event.seq for event in events] == list(range(len(events)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def spoilt(value, draw, chance):
    """The same payload with some of its values replaced, its keys dropped or renamed."""
    if chance() < 0.06:
        return draw()
    if isinstance(value, dict):
        return {key: spoilt(item, draw, chance) for key, item in value.items() if chance() >= 0.03}
    if isinstance(value, list):
        return [spoilt(item, draw, chance) for item in value]
    return value


@settings(deadline=None)
@given(st.data(), st.randoms(use_true_random=False))
def test_spoilt_payloads_do_not_raise(wire, data, chance):
    row, body = wire[data.draw(st.integers(0, len(wire) - 1))]
    values = data.draw(st.lists(json_values, min_size=1, max_size=5))
    payloads = [
        event.data
        for event in decoded(decoder_for(row), [body])
        if event.data is not None and event.kind != "usage"
    ]
    start = chance.randrange(max(len(payloads) - 60, 1))
    mapper = mapper_of(row["api"])()
    auto = AutoMapper()
    events = []
    for payload in payloads[start : start + 60]:
        wrong = spoilt(payload, lambda: chance.choice(values), chance.random)
        auto.events(wrong, 0)
        out = mapper.events(wrong, 3)
        assert out
        assert any(event.data is wrong for event in out) or wrong is None
        events += out
    events += mapper.finish(3)
    mapper.cut()
    for seq, event in enumerate(events):
        assert event.kind in KINDS
        assert event.seq == seq
        assert type(event.text) is str
        assert type(event.stream_id) is str
        assert event.name is None or type(event.name) is str
        assert event.call_id is None or type(event.call_id) is str
    assemble(events)


@settings(deadline=None)
@given(st.data(), st.randoms(use_true_random=False))
def test_spoilt_bytes_do_not_raise(wire, data, chance):
    row, body = wire[data.draw(st.integers(0, len(wire) - 1))]
    raw = bytearray(body[: chance.randrange(1, 20_000)])
    for _ in range(chance.randrange(1, 40)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    for decoder in (decoder_for(row), SniffDecoder("pipe")):
        decoded(decoder, cut(bytes(raw), [chance.randrange(1, 5000)]))
        assert decoder.error is None or isinstance(decoder.error, MidstreamError)


def test_raw_recordings_tell_their_format(wire):
    for row, body in random.Random(5).sample(wire, 40):
        if not row["file"].endswith(".jsonl") or row["malformed_events"]:
            continue
        lines = [json.loads(line) for line in body.decode().splitlines() if line]
        raw = "".join(json.dumps({"t": 0, "data": line}) + "\n" for line in lines)
        decoder = RecordingDecoder("raw")
        events = decoded(decoder, [raw.encode()])
        assert decoder.error is None
        assert events == decoded(NDJSONDecoder(), [body]), row["file"]
