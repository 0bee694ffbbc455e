"""Nothing depends on how a stream is cut: neither into chunks of bytes nor into deltas.

From the bytes of every provider's stream to what is found, denied, redacted and sent on to a
client: every source, every mapper and every detector, with all ready policies. What is exported and
not looked at here fails.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
import json
import random
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stream import payloads
from stream.payloads import PAYLOADS
from stream.proxy.wires import APIS, body, index, no_tool, rows
from stream.server import Server
from stream.texts import healthy, looping

import midstream.stream
from midstream.stream import (
    CallAssembler,
    DriftDetector,
    DriftTemplate,
    EarlyWarning,
    Event,
    Guard,
    Offload,
    Recorder,
    Redactor,
    RegimeDetector,
    WarningModel,
    default_detectors,
    export_sse,
    formats,
    from_http,
    from_iterable,
    from_pipe,
    from_quic,
    from_sse,
    import_sse,
    load,
    shipped_recordings,
)
from midstream.stream import detectors as all_detectors
from midstream.stream.decode import NDJSONDecoder, SSEDecoder
from midstream.stream.formats import MAPPERS, AutoMapper, PayloadMapper
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
        if name == "ends-with-answer":
            given["action"] = "warn"  # the end can be told, not forbidden
        out += ready_policies(name, **given)
    assert len(known) >= 10
    own = [
        no_tool("book*", **{"arguments.cabin": "business"}),
        Policy("no word", "G !said", {"said": {"pattern": r"\bcertificates?\b"}}, "note"),
        Policy("thought", "G !said", {"said": {"pattern": "the", "in": ["reasoning"]}}, "warn"),
        Policy("long", "G !big", {"big": {"chars": {">=": 300}}}, "warn", after_violation="stay"),
    ]
    return as_policies([*out, *own])


@functools.cache
def recipes():
    """What drift is measured against: nothing that is said here is like it."""
    texts = [
        f"Take {n} cups of flour. Add {n + 1} eggs and stir. Bake for {n}0 minutes. " * 20
        for n in range(2, 8)
    ]
    return DriftTemplate.learn(texts)


@functools.cache
def changes():
    """What past runs say: who looks at a user twice will mostly change something."""
    rng = random.Random(2)
    runs = []
    for _ in range(80):
        tools = [rng.choice(["get_user", "get_user_details", "think"]) for _ in range(4)]
        looks = sum(tool.startswith("get_user") for tool in tools)
        if rng.random() < (0.9 if looks >= 2 else 0.1):
            tools.append("update_user")
        runs.append(
            [
                Event("tool_call", n, 0, "{}", tool, None, f"0/{n}", f"c{n}")
                for n, tool in enumerate(tools)
            ]
        )
    feared = {"update": {"kind": "tool_call", "name": "update_user"}}
    return WarningModel.learn("G !update", runs, feared, false_alarms=0.3)


def detectors():
    """One of each."""
    return (
        *default_detectors(),
        RegimeDetector(),
        DriftDetector(recipes(), kinds=("text", "reasoning", "audio")),
        EarlyWarning(changes(), threshold=0.3),
    )


def test_every_detector_is_here() -> None:
    exported = {
        found
        for name in all_detectors.__all__
        if inspect.isclass(found := getattr(all_detectors, name))
        and hasattr(found, "observe")
        and not getattr(found, "_is_protocol", False)
    }
    # An Offload runs another one beside the stream; `Guard(inline=True)` does without.
    assert exported == {type(detector) for detector in detectors()} | {Offload}


def test_every_mapper_is_here() -> None:
    exported = {
        found
        for name in formats.__all__
        if inspect.isclass(found := getattr(formats, name)) and issubclass(found, PayloadMapper)
    }
    assert exported == {*MAPPERS.values(), PayloadMapper, AutoMapper}
    assert set(PAYLOADS) == set(MAPPERS)


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
    """What is found, at which character.

    Of what one event decides, each detector tells its own. `loose`: a near loop is certain some
    characters behind its end, and counts of what has happened may be made before or after it.
    """
    out = []
    for f in findings:
        evidence = dict(f.evidence)
        if loose:
            evidence["step"] = evidence["since"] = None
        out.append((f.kind, f.severity, f.start, f.end, f.message, evidence))
    return sorted(out, key=repr)


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


def proxied(api, pieces):
    guard = Guard(detectors(), policies(), inline=True)
    framing = "lines" if api == "ollama" else "sse"
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


# Sources


class _Reader:
    """A QUIC stream, or a pipe, that gives some bytes at a time."""

    def __init__(self, pieces):
        self._pieces = [piece for piece in pieces if piece]

    async def read(self, n=-1):
        return self._pieces.pop(0) if self._pieces else b""

    def stop(self, code):
        """Take note that nobody reads on."""

    reset = stop


class _Pipe(io.RawIOBase):
    def __init__(self, pieces):
        self._pieces = [piece for piece in pieces if piece]

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self._pieces:
            return 0
        piece = self._pieces[0][: len(buffer)]
        self._pieces[0] = self._pieces[0][len(piece) :]
        if not self._pieces[0]:
            del self._pieces[0]
        buffer[: len(piece)] = piece
        return len(piece)


async def _over_http(pieces, kind):
    async def answer(exchange):
        await exchange.chunked(f"Content-Type: {kind}")
        for piece in pieces:
            if piece:
                await exchange.chunk(piece)
        await exchange.chunk(b"")

    async with Server(answer) as server:
        return await _listed(from_http(f"{server.url}/v1", model="m", prompt="Hello"))


async def _imported(pieces):
    return import_sse(pieces)


async def _listed(source):
    return [event async for event in source]


#: Sources of bytes: what gives the events of a body of these, however it is cut.
OF_BYTES = {
    "from_http": {
        "sse": lambda pieces: _over_http(pieces, "text/event-stream"),
        "ndjson": lambda pieces: _over_http(pieces, "application/x-ndjson"),
    },
    "from_iterable": {"text": lambda pieces: _listed(from_iterable(pieces))},
    "from_pipe": dict.fromkeys(
        ["sse", "ndjson", "recording", "text"], lambda pieces: _listed(from_pipe(_Pipe(pieces)))
    ),
    "from_quic": dict.fromkeys(
        ["sse", "ndjson", "recording", "text"], lambda pieces: _listed(from_quic(_Reader(pieces)))
    ),
    "from_sse": {"sse": lambda pieces: _listed(from_sse(pieces))},
    "import_sse": {"sse": _imported, "timed": _imported},
}
#: Sources of whole payloads, one at a time, and of files, which they read in pieces of their own.
OTHERS = {
    *("from_anthropic", "from_ollama", "from_openai", "from_realtime", "from_responses"),
    *("from_websocket", "replay"),
}

#: Sources of sound and pictures, whose containers say where frames begin: `media` has their tests,
#: and `media/test_chunking.py` cuts what they get in other ways (segments, chunks, frames).
OF_MEDIA = {"from_hls", "from_rtmp", "from_webrtc"}


def test_every_source_is_here() -> None:
    exported = {name for name in midstream.stream.__all__ if name.startswith("from_")}
    assert {*OF_BYTES, *OTHERS, *OF_MEDIA} == exported | {"import_sse", "replay"}


WORDS = "Once upon a time 🙂 é — there was a key: key, again. " * 3


@functools.cache
def body_in(form):
    """One response in a format."""
    parts = [("reasoning", WORDS, ""), ("text", WORDS, ""), ("call", '{"a": "é🙂"}', "note")]
    made = [*PAYLOADS["chat"](parts, lambda text: cuts(random.Random(3), text))]
    if form == "text":
        return WORDS.encode()
    if form == "ndjson":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made).encode()
    if form == "sse":
        raw = payloads.body("chat", iter(made))
        return b": hello\r\n\r\n" + raw.replace(b"\n", b"\r\n", 40)
    mapper = MAPPERS["chat"]()
    if form == "timed":
        events = [event for n, row in enumerate(made) for event in mapper.events(row, n * 1000)]
        return b"".join(export_sse(events, "chat"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.jsonl"
        with Recorder(path) as recorder:
            for payload in made:
                for event in mapper.events(payload, 7):
                    recorder.write(event)
            recorder.settle("ended")
        return path.read_bytes()


def gist(events, *, times=False):
    """Events but for the times of their arrival, and texts that came in several of them."""
    if times:
        return events
    out = []
    for event in events:
        if out and event.data is None and out[-1].data is None and event.kind == "text":
            out[-1] = out[-1]._replace(text=out[-1].text + event.text)
        else:
            out.append(event._replace(t_ns=0, seq=0))
    return out


@pytest.mark.parametrize(("source", "form"), [(s, form) for s in OF_BYTES for form in OF_BYTES[s]])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shares=st.lists(st.floats(0, 1), max_size=40), singly=st.integers(0, 200))
def test_bytes_of_any_source(source, form, shares, singly) -> None:
    raw, read = body_in(form), OF_BYTES[source][form]
    places = [*range(singly), *(int(share * len(raw)) for share in shares)]
    whole = gist(asyncio.run(read([raw])), times=form == "timed")
    assert whole
    again = asyncio.run(read(recut(raw, places)))
    assert gist(again, times=form == "timed") == whole
    kinds = {event.kind for event in whole}
    assert kinds >= ({"text"} if form == "text" else {"text", "reasoning", "tool_call", "end"})
    assert "error" not in kinds


# Deltas: one response of each API, its texts and arguments cut anywhere

#: Those of which the proxy knows the protocol.
PROXIED = ("anthropic", "chat", "llama", "ollama", "responses")


def decoder_of(api, mapper=None):
    mapper = MAPPERS[api]() if mapper is None else mapper
    return (NDJSONDecoder if api == "ollama" else SSEDecoder)(mapper=mapper)


def events_of(api, parts, cut):
    mapper = MAPPERS[api]()
    out = [event for payload in PAYLOADS[api](parts, cut) for event in mapper.events(payload, 0)]
    return out + mapper.finish(0)


def read(api, out):
    """What a client makes of bytes: its texts, its calls by place, and how it ended."""
    events = decoded(decoder_of(api), [out])
    texts: dict[tuple[str, str], str] = {}
    names = {}
    for event in events:
        key = (event.kind, event.stream_id)
        texts[key] = texts.get(key, "") + event.text
        if event.kind == "tool_call":
            names.setdefault(event.stream_id, event.name)
    return {key: text for key, text in texts.items() if text or key[0] == "tool_call"}, names


def check(api, parts, rng, *, loose=False):
    """The same events, calls, findings, denials, and client's view for any cut."""
    one = events_of(api, parts, lambda text: [text])
    guard, _ = guarded(one)
    wanted = told(guard.findings, loose=loose)
    denied = [(d.stream_id, d.call_id, d.name, d.text) for d in guard.denied]
    clean, calls = redacted(one), assembled(one)
    if api in PROXIED:
        single, found, _, stop = proxied(api, [payloads.body(api, PAYLOADS[api](parts, list))])
        assert told(found, loose=loose) == wanted
        view = read(api, single)
    for _ in range(3):
        cut = functools.partial(cuts, rng)
        made = [*PAYLOADS[api](parts, cut)]
        raw = payloads.body(api, iter(made))
        pieces = recut(raw, rng.choices(range(len(raw)), k=30))
        events = decoded(decoder_of(api), pieces)
        assert decoded(decoder_of(api, AutoMapper()), pieces) == events
        other, _ = guarded(events)
        assert told(other.findings, loose=loose) == wanted
        assert [(d.stream_id, d.call_id, d.name, d.text) for d in other.denied] == denied
        assert redacted(events) == clean
        assert assembled(events) == calls
        if api not in PROXIED:
            continue
        out, found, texts, stopped = proxied(api, pieces)
        assert told(found, loose=loose) == wanted
        assert texts == [d[3] for d in denied]
        assert (stopped is None) == (stop is None)
        if stop is None:
            assert read(api, out) == view
    return guard


def assembled(events):
    """What is made of the pieces of each call, and of which values it tells on the way."""
    assembler = CallAssembler()
    calls, told = {}, {}
    for event in events:
        call = assembler.take(event)
        if call is not None:
            calls[call.stream_id] = call
            told.setdefault(call.stream_id, []).extend(call.new)
    assembler.finish()
    return [
        (
            *(stream_id, call.name, call.call_id, call.arguments_text, dict(call.fixed)),
            *(told[stream_id], call.duplicates, call.value, call.complete, call.malformed),
        )
        for stream_id, call in calls.items()
    ]


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
    for run in rng.sample(runs, 4):
        kinds |= {finding.kind for finding in check(api, run, rng).findings}
    wanted = {"drift"} if api == "llama" else {"drift", "early_warning", "policy"}
    assert kinds >= wanted


@pytest.mark.parametrize("api", PAYLOADS)
def test_looping_recordings(api) -> None:
    rng = random.Random(9)
    for name, path in shipped_recordings().items():
        text = "".join(event.text for event in load(path) if event.kind == "text")[:6000]
        guard = check(api, [("reasoning", "Let me see the key.", ""), ("text", text, "")], rng)
        assert ("loop" in {f.kind for f in guard.findings}) == name.startswith("loop"), name


@pytest.mark.parametrize("api", PAYLOADS)
def test_texts_of_many_kinds(api) -> None:
    rng = random.Random(f"11 {api}")  # other texts for each
    texts = [*healthy().values(), *(text for _, _, text in looping().values())]
    for text in rng.sample(texts, 3):
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
@settings(max_examples=25, deadline=None)
@given(parts=parts, seed=st.integers(0, 10**6))
def test_whatever_is_said(api, parts, seed) -> None:
    check(api, parts, random.Random(seed))
