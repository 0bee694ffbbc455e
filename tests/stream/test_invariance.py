"""Nothing depends on how a stream is cut: neither into chunks of bytes nor into deltas.

From the bytes of every provider's stream to what is found, denied, redacted and sent on to a
client, with the default detectors and all ready policies.
"""

from __future__ import annotations

import functools
import json
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.proxy.wires import APIS, body, index, no_tool, rows
from stream.texts import healthy, looping

from midstream.stream import Guard, Redactor, default_detectors, load, shipped_recordings
from midstream.stream.decode import NDJSONDecoder, SSEDecoder
from midstream.stream.detectors import RegimeDetector
from midstream.stream.formats import MAPPERS
from midstream.stream.policies import Policy, as_policies, ready_policies, ready_rules
from midstream.stream.proxy.bodies import make_rewriter

KEY = "sk-proj-" + "Ab3dEf6hIj9lMn2pQr5t" * 3
SETTINGS = {"action": "block", "argument": "user_id", "tokens": 700, "seconds": 5, "calls": 6}


@functools.cache
def policies():
    """All ready policies, and some of arguments, texts and counts."""
    known = ready_rules()
    out: list[Policy] = []
    for name, rule in known.items():
        given = {key: value for key, value in SETTINGS.items() if key in rule.settings}
        out += ready_policies(name, **given)
    assert len(known) >= 10
    own = [
        no_tool("book*", **{"arguments.cabin": "business"}),
        Policy("no word", "G !said", {"said": {"pattern": r"\bcertificates?\b"}}, "note"),
        Policy("thought", "G !said", {"said": {"pattern": "the", "in": ["reasoning"]}}, "warn"),
        Policy("long", "G !big", {"big": {"chars": {">=": 300}}}, "warn", after_violation="stay"),
    ]
    return as_policies([*out, *own])


def detectors():
    return (*default_detectors(), RegimeDetector())


def cuts(rng, text, most=9):
    """The text in pieces of random sizes."""
    size = rng.choice((1, 2, 3, most, 10 * most, len(text) + 1))
    places = [0]
    while places[-1] < len(text):
        places.append(min(places[-1] + rng.randint(1, size), len(text)))
    return [text[a:b] for a, b in pairwise(places)] or [""]


def recut(data, places):
    places = sorted({place for place in places if 0 < place < len(data)})
    return [data[a:b] for a, b in pairwise([0, *places, len(data)])]


def told(findings, *, loose=False):
    """What is found, at which character; `loose`: in whichever order.

    A near loop is certain some characters behind its end, and what is found in these may be told
    before or after it.
    """
    out = []
    for f in findings:
        evidence = dict(f.evidence)
        if loose:  # they count what has happened
            evidence["step"] = evidence["since"] = None
        out.append((f.kind, f.severity, f.start, f.end, f.message, evidence))
    return sorted(out, key=repr) if loose else out


def decoded(decoder, pieces):
    events = [event for piece in pieces for event in decoder.feed(piece, 0)]
    return events + decoder.finish(0)


def guarded(events, before=()):
    guard = Guard(detectors(), policies(), inline=True)
    guard.recall(before)
    steps = []
    for event in events:
        step = guard.take(event)
        steps.append((step.hold, step.released, step.dropped, [d.text for d in step.denied]))
        if step.stop is not None:
            break
    else:
        guard.finish()
    return guard, steps


def proxied(api, pieces, framing="sse"):
    guard = Guard(detectors(), policies(), inline=True)
    rewriter = make_rewriter(api, guard, framing=framing)
    out = b"".join([*map(rewriter.feed, pieces), rewriter.finish()])
    return out, guard.findings, [d.text for d in guard.denied], rewriter.stopped


@pytest.fixture(scope="session")
def root(shared_data):
    return shared_data("wire")


# Bytes


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_of_any_provider(root, data) -> None:
    row = data.draw(st.sampled_from(index(root)))
    raw = (root / row["file"]).read_bytes()
    places = data.draw(st.lists(st.integers(0, len(raw)), max_size=40))
    make = SSEDecoder if row["file"].endswith(".sse") else NDJSONDecoder
    events = decoded(make(), [raw])
    assert decoded(make(), recut(raw, places)) == events
    if len(raw) < 20_000:
        assert decoded(make(), recut(raw, range(len(raw)))) == events
    guard, steps = guarded(events)
    other, same = guarded(decoded(make(), recut(raw, places)))
    assert same == steps
    assert other.findings == guard.findings


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bytes_through_the_proxy(root, data) -> None:
    row = data.draw(st.sampled_from(rows(root, "chat", "responses", "anthropic")))
    api, raw = APIS[row["api"]], body(root, row)
    places = data.draw(st.lists(st.integers(0, len(raw)), max_size=40))
    assert proxied(api, recut(raw, places)) == proxied(api, [raw])


# Deltas: one response of each API, its texts and arguments cut anywhere

RESPONSE = {"id": "r", "object": "response", "status": "in_progress", "output": []}


def chat_payloads(parts, cut):
    def delta(**fields):
        return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}

    n_calls = 0
    for kind, text, name in parts:
        if kind != "call":
            field = "content" if kind == "text" else "reasoning_content"
            yield from (delta(**{field: piece}) for piece in cut(text))
            continue
        head = {"index": n_calls, "id": f"c{n_calls}", "type": "function"}
        yield delta(tool_calls=[{**head, "function": {"name": name, "arguments": ""}}])
        for piece in cut(text):
            yield delta(tool_calls=[{"index": n_calls, "function": {"arguments": piece}}])
        n_calls += 1
    reason = "tool_calls" if n_calls else "stop"
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def anthropic_payloads(parts, cut):
    yield {"type": "message_start", "message": {"role": "assistant", "content": []}}
    reason = "end_turn"
    for n, (kind, text, name) in enumerate(parts):
        field, delta = {
            "text": ("text", "text_delta"),
            "reasoning": ("thinking", "thinking_delta"),
            "call": ("partial_json", "input_json_delta"),
        }[kind]
        if kind == "call":
            block = {"type": "tool_use", "id": f"c{n}", "name": name, "input": {}}
            reason = "tool_use"
        else:
            block = {"type": field, field: ""}
        yield {"type": "content_block_start", "index": n, "content_block": block}
        for piece in cut(text):
            inner = {"type": delta, field: piece}
            yield {"type": "content_block_delta", "index": n, "delta": inner}
        yield {"type": "content_block_stop", "index": n}
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {}}
    yield {"type": "message_stop"}


def responses_payloads(parts, cut):
    yield {"type": "response.created", "response": RESPONSE}
    output = []
    for n, (kind, text, name) in enumerate(parts):
        place = {"output_index": n, "item_id": f"i{n}"}
        if kind == "call":
            item = {"type": "function_call", "id": f"i{n}", "call_id": f"c{n}", "name": name}
            begun, whole = {**item, "arguments": ""}, {**item, "arguments": text}
            delta = "response.function_call_arguments.delta"
        elif kind == "text":
            item = {"type": "message", "id": f"i{n}", "role": "assistant"}
            part = {"type": "output_text", "text": text}
            begun, whole = {**item, "content": []}, {**item, "content": [part]}
            delta, place = "response.output_text.delta", {**place, "content_index": 0}
        else:
            item = {"type": "reasoning", "id": f"i{n}", "summary": []}
            begun = whole = item
            delta, place = "response.reasoning_text.delta", {**place, "content_index": 0}
        yield {"type": "response.output_item.added", "output_index": n, "item": begun}
        yield from ({"type": delta, **place, "delta": piece} for piece in cut(text))
        yield {"type": "response.output_item.done", "output_index": n, "item": whole}
        output.append(whole)
    whole = {**RESPONSE, "status": "completed", "output": output}
    yield {"type": "response.completed", "response": whole}


PAYLOADS = {
    "chat": chat_payloads,
    "anthropic": anthropic_payloads,
    "responses": responses_payloads,
}


def events_of(api, parts, cut):
    mapper = MAPPERS[api]()
    out = [event for payload in PAYLOADS[api](parts, cut) for event in mapper.events(payload, 0)]
    return out + mapper.finish(0)


def read(api, out):
    """What a client makes of bytes: its texts, its calls by place, and how it ended."""
    mapper = MAPPERS[api]()
    events = decoded(SSEDecoder(mapper=mapper), [out])
    texts: dict[tuple[str, str], str] = {}
    names = {}
    for event in events:
        key = (event.kind, event.stream_id)
        texts[key] = texts.get(key, "") + event.text
        if event.kind == "tool_call":
            names.setdefault(event.stream_id, event.name)
    return {key: text for key, text in texts.items() if text or key[0] == "tool_call"}, names


def sse(api, payloads):
    out = []
    for payload in payloads:
        name = "" if api == "chat" else f"event: {payload['type']}\n"
        out.append(f"{name}data: {json.dumps(payload)}\n\n")
    return ("".join(out) + ("data: [DONE]\n\n" if api == "chat" else "")).encode()


def check(api, parts, rng, *, loose=False):
    """The same findings, denials, and client's view for any cut."""
    one = events_of(api, parts, lambda text: [text])
    guard, _ = guarded(one)
    wanted = told(guard.findings, loose=loose)
    denied = [(d.stream_id, d.call_id, d.name, d.text) for d in guard.denied]
    single, found, _, stop = proxied(api, [sse(api, PAYLOADS[api](parts, list))])
    assert told(found, loose=loose) == wanted
    view = read(api, single)
    for _ in range(3):
        cut = functools.partial(cuts, rng)
        other, _ = guarded(events_of(api, parts, cut))
        assert told(other.findings, loose=loose) == wanted
        assert [(d.stream_id, d.call_id, d.name, d.text) for d in other.denied] == denied
        raw = sse(api, PAYLOADS[api](parts, cut))
        out, found, texts, stopped = proxied(api, recut(raw, rng.choices(range(len(raw)), k=30)))
        assert told(found, loose=loose) == wanted
        assert texts == [d[3] for d in denied]
        assert (stopped is None) == (stop is None)
        assert redacted(events_of(api, parts, cut)) == redacted(one)
        if stop is None:
            assert read(api, out) == view
    return guard


def redacted(events):
    redactors: dict[tuple[str, str], Redactor] = {}
    out: dict[tuple[str, str], str] = {}
    for event in events:
        key = (event.kind, event.stream_id)
        redactor = redactors.setdefault(key, Redactor())
        out[key] = out.get(key, "") + redactor.feed(event.text)
    for key, redactor in redactors.items():
        out[key] += redactor.finish()
    return {key: text for key, text in out.items() if text}


@functools.cache
def agent_parts(path):
    """Of each recorded run, everything that its model said and called, as one response."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        parts = []
        for event in json.loads(line)["events"]:
            if event["type"] == "assistant_text":
                parts.append(("text", event["text"], ""))
            elif event["type"] == "tool_call":
                parts.append(("call", event["arguments"], event["name"]))
        out.append(parts)
    return out


@pytest.mark.parametrize("api", PAYLOADS)
def test_runs_of_agents(shared_data, api) -> None:
    rng = random.Random(9)
    runs = agent_parts(shared_data("agents/tau_airline.jsonl"))
    kinds = set()
    for run in rng.sample(runs, 8):
        kinds |= {finding.kind for finding in check(api, run, rng).findings}
    assert "policy" in kinds


@pytest.mark.parametrize("api", PAYLOADS)
def test_looping_recordings(api) -> None:
    rng = random.Random(9)
    for name, path in shipped_recordings().items():
        text = "".join(event.text for event in load(path) if event.kind == "text")[:6000]
        guard = check(api, [("reasoning", "Let me see the key.", ""), ("text", text, "")], rng)
        assert ("loop" in {f.kind for f in guard.findings}) == name.startswith("loop"), name


@pytest.mark.parametrize("api", PAYLOADS)
def test_texts_of_many_kinds(api) -> None:
    rng = random.Random(11)
    texts = [*healthy().values(), *(text for _, _, text in looping().values())]
    for text in rng.sample(texts, 6):
        kind = rng.choice(("text", "reasoning"))
        call = ("call", json.dumps({"body": text[:900]}), "note")
        check(api, [(kind, text[:5000], ""), call], rng, loose=True)


values = st.sampled_from(["business", "a", KEY, 'q"\\\n', "é🙂", "", 3, -1e-7, True, None, [1, {}]])
arguments = st.dictionaries(st.sampled_from(["cabin", "user_id", "n"]), values, max_size=3)


@st.composite
def written(draw):
    """Arguments as JSON: escaped, spaced, with a key twice, cut off, or none at all."""
    text = json.dumps(
        draw(arguments), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    odd = draw(st.integers(0, 9))
    if odd == 0:
        return text[: draw(st.integers(0, len(text)))]
    if odd == 1 and len(text) > 2:
        return '{"cabin": "business", ' + text[1:]
    if odd == 2:
        return text.replace("a", "\\u0061")
    return text + " {}" if odd == 3 else text


scraps = st.sampled_from(
    ["I see. ", "the ", KEY, " ", "\n", "certificate", "s", "é🙂", "Again. " * 9]
)
parts = st.lists(
    st.tuples(st.sampled_from(["text", "reasoning"]), st.lists(scraps).map("".join), st.just(""))
    | st.tuples(
        st.just("call"),
        written(),
        st.sampled_from(["book_flight", "get_user", "update_user", "delete_user", "think"]),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("api", PAYLOADS)
@settings(max_examples=40, deadline=None)
@given(parts=parts, seed=st.integers(0, 10**6))
def test_whatever_is_said(api, parts, seed) -> None:
    check(api, parts, random.Random(seed))
