"""Sources over what is at hand: iterables, SDK streams, bodies, pipes; and how they close."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk, collect, cut, joined, sse, story, within

from midstream._core.clock import monotonic_ns
from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MalformedStreamError,
)
from midstream.stream.events import Event
from midstream.stream.providers import from_openai
from midstream.stream.proxy import guard_stream
from midstream.stream.sources import from_iterable, from_sse
from midstream.stream.watching import watch


class Upstream:
    """An async iterator that yields its items, then waits for ever; it knows who closed it."""

    def __init__(self, *items):
        self.items = list(items)
        self.closed = asyncio.Event()
        self.waiting = asyncio.Event()
        self.closes = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.items:
            return self.items.pop(0)
        self.waiting.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never")

    async def aclose(self):
        self.closes += 1
        self.closed.set()


async def later(*items, error=None):
    for item in items:
        await asyncio.sleep(0)
        yield item
    if error is not None:
        raise error


# -- from_iterable


async def test_text_is_numbered_and_timed():
    before = monotonic_ns()
    events, error = await collect(from_iterable(["Once", "", " upon"]))
    spent = monotonic_ns() - before
    assert error is None
    assert [(event.kind, event.seq, event.text) for event in events] == [
        ("text", 0, "Once"),
        ("text", 1, ""),
        ("text", 2, " upon"),
    ]
    times = [event.t_ns for event in events]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= spent


async def test_times_count_from_the_request():
    (event,), _ = await collect(from_iterable(["x"], started_ns=monotonic_ns() - 10**12))
    assert event.t_ns >= 10**12


@pytest.mark.parametrize("shape", [list, iter, tuple, lambda items: later(*items)])
async def test_shapes_of_iterables(shape):
    events, error = await collect(from_iterable(shape(["a", b"b", "c"])))
    assert error is None
    assert joined(events) == "abc"


async def test_events_pass_unchanged_and_numbers_go_on():
    event = Event("tool_result", 7, 5, "out", "f", {"a": 1}, "0/1")
    events, _ = await collect(from_iterable([event, "next"]))
    assert events[0] is event
    assert events[1].seq == 8


async def test_one_piece_is_one_item():
    assert len((await collect(from_iterable("Once")))[0]) == 1
    assert joined((await collect(from_iterable(b"Once")))[0]) == "Once"
    assert (
        joined((await collect(from_iterable([bytearray(b"On"), memoryview(b"ce")])))[0]) == "Once"
    )


@settings(deadline=None)
@given(st.text(max_size=30), st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_bytes_may_be_cut_inside_a_character(text, sizes):
    body = text.encode("utf-8", "ignore")
    events, error = asyncio.run(collect(from_iterable(cut(body, sizes))))
    assert error is None
    assert joined(events) == body.decode()
    assert [event.seq for event in events] == list(range(len(events)))


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from(["\ud83d", "\ude42", "a", "🙂"]), max_size=4), max_size=8))
def test_str_may_be_cut_between_the_halves_of_a_character(texts):
    events, error = asyncio.run(collect(from_iterable(texts)))
    assert error is None
    assert [event.seq for event in events] == list(range(len(events)))
    # The same as UTF-16: halves side by side in one piece stay as they came.
    whole = "".join(texts).encode("utf-16", "surrogatepass")
    assert joined(events).encode("utf-16", "surrogatepass") == whole


async def test_half_a_character_comes_before_what_cannot_complete_it():
    high = "\ud83d"
    for item in (Event("text", 1, 0, "b"), b"b"):
        events, error = await collect(from_iterable(["a" + high, item]))
        assert error is None
        assert joined(events) == f"a{high}b"
    events, error = await collect(from_iterable(["a" + high, 5]))
    assert joined(events) == "a" + high
    assert isinstance(error, ArgumentTypeError)
    assert "item 1 must be" in str(error)
    events, error = await collect(from_iterable(later("a" + high, error=KeyError("gone"))))
    assert joined(events) == "a" + high


async def test_invalid_utf8_names_its_byte():
    for pieces in ([b"abc", b"de\xff", b"gh"], [b"abcd", b"e", b"\xff"]):
        events, error = await collect(from_iterable(pieces))
        assert joined(events) == "abcde"
        assert isinstance(error, MalformedStreamError)
        assert str(error).startswith("byte 5: invalid UTF-8")
    events, error = await collect(from_iterable([b"ab\xe2", b"\x82"]))
    assert joined(events) == "ab"
    assert "byte 2: invalid UTF-8 (unexpected end of data" in str(error)


async def test_an_item_of_another_type():
    events, error = await collect(from_iterable(["a", 5, "b"]))
    assert joined(events) == "a"
    assert isinstance(error, ArgumentTypeError)
    assert "item 1 must be str, bytes, Event or a payload, got int" in str(error)


async def test_payloads_among_texts():
    class Built:
        def model_dump(self, **options):
            return {"choices": [{"delta": {"content": "c"}}]}

    events, error = await collect(from_iterable(["a", chunk("b\ud83d"), Built(), b"d"]))
    assert error is None
    assert joined(events) == "ab\ud83dcd"
    assert [event.seq for event in events] == list(range(len(events)))
    assert (
        events[-1].text
        == "closed mid-stream after event 2: neither finish_reason nor [DONE] arrived"
    )
    events, error = await collect(from_iterable({"message": {"content": "Hi"}, "done": True}))
    assert [(event.kind, event.text) for event in events] == [("text", "Hi"), ("end", "stop")]


@pytest.mark.parametrize("make", [from_iterable, from_openai, from_sse])
def test_what_cannot_be_iterated(make):
    with pytest.raises(ArgumentTypeError, match="got int"):
        make(5)

    async def forgotten():
        return []

    with pytest.raises(ArgumentTypeError, match="await it first"):
        make(forgotten())


@pytest.mark.parametrize("make", [from_iterable, from_openai, watch, guard_stream])
def test_what_was_forgotten_is_said(make):
    class Answer:
        def model_dump(self, **options):
            raise AssertionError("never asked")

        def __iter__(self):
            raise AssertionError("never asked")

    async def later():
        raise AssertionError("never run")

    async def generated():
        yield "never asked for"

    for source, hint in [
        (later(), "got an awaitable: await it first"),
        (generated, "got a function: call it first"),
        (nullcontext([]), "got nullcontext: enter it first"),
        (Answer(), "got Answer, a whole answer: ask for it with stream=True"),
    ]:
        with pytest.raises(ArgumentTypeError, match=hint):
            make(source)


async def test_other_tasks_get_a_turn():
    """An endless plain iterable must not keep a timer from ending it."""

    def endless():
        while True:
            yield "x"

    count = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            async for _ in from_iterable(endless()):
                count += 1
    assert count > 0


# -- closing


async def test_errors_of_the_upstream_come_through_after_the_events():
    for make in (from_iterable, from_openai, from_sse):
        item = {from_iterable: "a", from_openai: chunk("a"), from_sse: sse(chunk("a"), done=False)}
        events, error = await collect(make(later(item[make], error=KeyError("gone"))))
        assert [(event.kind, event.text) for event in events] == [("text", "a")]
        assert isinstance(error, KeyError)


async def test_an_error_comes_once():
    source = from_iterable([5])
    with pytest.raises(ArgumentTypeError):
        await anext(source)
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_aclose_closes_and_drops_what_is_pending():
    upstream = Upstream(story(), b"")
    source = from_sse(upstream)
    assert (await anext(source)).text == "tok0 "
    await source.aclose()
    await source.aclose()
    assert upstream.closes == 1
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_aclose_before_the_first_event():
    upstream = Upstream("a")
    source = from_iterable(upstream)
    await source.aclose()
    assert upstream.closes == 1
    assert await collect(source) == ([], None)


@pytest.mark.parametrize("kind", ["object", "generator"])
async def test_aclose_from_another_task_ends_a_waiting_reader(kind):
    upstream = Upstream("a")
    left = asyncio.Event()

    async def generator():
        try:
            async for item in upstream:
                yield item
        finally:
            left.set()

    source = from_iterable(generator() if kind == "generator" else upstream)
    async with within():
        reader = asyncio.create_task(collect(source))
        await upstream.waiting.wait()
        await asyncio.gather(source.aclose(), source.aclose())
        events, error = await reader
    assert joined(events) == "a"
    assert error is None
    assert not reader.cancelled()
    assert reader.cancelling() == 0
    if kind == "generator":
        assert left.is_set()
    else:
        assert upstream.closes == 1


async def test_cancelling_the_reader_closes():
    upstream = Upstream("a")
    source = from_iterable(upstream)
    async with within():
        reader = asyncio.create_task(collect(source))
        await upstream.waiting.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    assert upstream.closes == 1


async def test_a_timeout_around_the_loop_closes():
    upstream = Upstream("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            async for _ in from_iterable(upstream):
                pass
    assert upstream.closes == 1


async def test_break_closes_when_nobody_holds_the_source():
    upstream = Upstream("a", "b")

    async def first():
        async for event in from_iterable(upstream):
            return event
        raise AssertionError("no event")

    async with within():
        assert (await first()).text == "a"
        gc.collect()
        await upstream.closed.wait()
    assert upstream.closes == 1


async def test_break_closes_a_plain_upstream_too():
    closed = []

    def generator():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    held = generator()
    async for _ in from_iterable(held):
        break
    gc.collect()
    assert closed == [True]


async def test_async_with_closes():
    upstream = Upstream("a", "b")
    async with from_iterable(upstream) as source:
        async for _ in source:
            break
    assert upstream.closes == 1


async def test_the_end_closes_once():
    closed = []

    def generator():
        try:
            yield "a"
        finally:
            closed.append(True)

    events, _ = await collect(from_iterable(generator()))
    assert joined(events) == "a"
    assert closed == [True]


class Iterables:
    """Async or plain iterables whose iterator is a generator of their own."""

    def __init__(self):
        self.log = []

    def close(self):
        self.log.append("upstream")


class AsyncIterableClass(Iterables):
    async def __aiter__(self):
        try:
            while True:
                await asyncio.sleep(0)
                yield "a"
        finally:
            self.log.append("iterator")


class IterableClass(Iterables):
    def __iter__(self):
        try:
            while True:
                yield "a"
        finally:
            self.log.append("iterator")


@pytest.mark.parametrize("kind", [AsyncIterableClass, IterableClass])
async def test_the_iterator_is_closed_before_what_gave_it(kind):
    upstream = kind()
    async with from_iterable(upstream) as source:
        await anext(source)
    assert upstream.log == ["iterator", "upstream"]


@pytest.mark.parametrize("kind", [AsyncIterableClass, IterableClass])
async def test_dropping_closes_the_iterator_too(kind):
    upstream = kind()
    async with within():
        source = from_iterable(upstream)
        await anext(source)
        del source
        gc.collect()
        while len(upstream.log) < 2:
            await asyncio.sleep(0)
    assert upstream.log == ["iterator", "upstream"]


async def test_dropped_before_the_first_read():
    upstream = Upstream("a")
    source = from_iterable(upstream)
    del source
    gc.collect()
    async with within():
        await upstream.closed.wait()
    plain = IterableClass()
    from_iterable(plain)
    gc.collect()
    assert plain.log == ["upstream"]  # a generator that never ran has nothing to leave


class Broken:
    """A chunk of an SDK that cannot say what it holds."""

    def model_dump(self, **_):
        raise RuntimeError("boom")


async def test_a_decoder_that_raises_ends_the_source():
    upstream = Upstream(chunk("a"), Broken(), chunk("b"))
    source = from_openai(upstream)
    events, error = await collect(source)
    assert joined(events) == "a"
    assert str(error) == "boom"
    assert upstream.closes == 1
    assert await collect(source) == ([], None)


class Slow(Upstream):
    """Closes when told to."""

    def __init__(self, *items, error=None):
        super().__init__(*items)
        self.closing = asyncio.Event()
        self.go = asyncio.Event()
        self.error = error

    async def aclose(self):
        self.closing.set()
        await self.go.wait()
        await super().aclose()
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("first", ["reader", "cancelled reader", "other"])
async def test_aclose_returns_when_the_upstream_is_closed_whoever_closes(first):
    # After an item of a wrong type the reader closes by itself.
    upstream = Slow("a", 5) if first == "reader" else Slow("a")
    source = from_iterable(upstream)
    others = []
    async with within():
        reader = asyncio.create_task(collect(source))
        if first != "reader":
            await upstream.waiting.wait()
        if first == "cancelled reader":
            reader.cancel()
        elif first == "other":
            others.append(asyncio.create_task(source.aclose()))
        await upstream.closing.wait()
        closers = [asyncio.create_task(source.aclose()) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closers[0].cancel()  # must not take the others along
        await asyncio.wait(closers[:1])
        assert not any(closer.done() for closer in closers[1:])
        assert not upstream.closes
        upstream.go.set()
        await asyncio.gather(*closers[1:], *others)
        assert upstream.closes == 1
        await asyncio.wait([reader])
    assert reader.cancelled() == (first == "cancelled reader")


async def test_what_closing_raises_comes_out_of_aclose_once():
    upstream = Slow("a", error=OSError("close failed"))
    upstream.go.set()
    source = from_iterable(upstream)
    async with within():
        reader = asyncio.create_task(collect(source))
        await upstream.waiting.wait()
        with pytest.raises(OSError, match="close failed"):
            await source.aclose()
        events, error = await reader
    assert (joined(events), error) == ("a", None)
    await source.aclose()
    assert await collect(source) == ([], None)
    assert upstream.closes == 1


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_what_closing_raises_at_the_end(ends):
    class Ends(Slow):
        async def __anext__(self):
            if self.items:
                return self.items.pop(0)
            raise StopAsyncIteration if ends == "well" else KeyError("gone")

    upstream = Ends("a", error=OSError("close failed"))
    upstream.go.set()
    source = from_iterable(upstream)
    events, error = await collect(source)
    assert joined(events) == "a"
    if ends == "well":
        assert str(error) == "close failed"
    else:
        assert isinstance(error, KeyError)
        assert "close failed" in error.__notes__[0]
    await source.aclose()
    assert await collect(source) == ([], None)


@pytest.mark.parametrize("swallows", ["an item", "an error"])
async def test_an_upstream_that_swallows_the_cancellation(swallows):
    class Swallows(Upstream):
        async def __anext__(self):
            try:
                return await super().__anext__()
            except asyncio.CancelledError:
                if swallows == "an error":
                    raise OSError("interrupted") from None
                return "late"

    upstream = Swallows("a")
    source = from_iterable(upstream)

    async def read():
        found = await collect(source)
        current = asyncio.current_task()
        assert current is not None
        return found, current.cancelling()

    async with within():
        reader = asyncio.create_task(read())
        await upstream.waiting.wait()
        await source.aclose()
        (events, error), cancelling = await reader
    assert (joined(events), error, cancelling) == ("a", None, 0)
    assert upstream.closes == 1


# -- from_openai


async def test_dicts_and_json_text():
    chunks = [chunk("a"), json.dumps(chunk("b")), json.dumps(chunk("c")).encode(), "[DONE]", "x"]
    events, error = await collect(from_openai(chunks))
    assert error is None
    assert joined(events) == "abc"
    assert [event.kind for event in events] == ["text"] * 3


async def test_a_cut_stream_ends_with_an_error_event():
    events, error = await collect(from_openai([chunk("a"), chunk("b")]))
    assert error is None
    assert events[-1].kind == "error"
    assert events[-1].text.startswith("closed mid-stream after event 2")
    assert events[-1].seq == 2


async def test_an_item_that_is_no_chunk():
    events, error = await collect(from_openai([chunk("a"), 5]))
    assert joined(events) == "a"
    assert isinstance(error, ArgumentTypeError)


async def test_sdk_chunks_keep_unknown_keys_and_wrong_types():
    types = pytest.importorskip("openai.types.chat")
    payload = chunk("a", reasoning="why", obfuscation="xyz")
    payload["choices"][0]["finish_reason"] = "eos_token"  # not one that the SDK knows
    payload["x_extra"] = {"a": [1]}
    built = types.ChatCompletionChunk.construct(**payload)
    events, error = await collect(from_openai([built]))
    assert error is None
    assert [event.kind for event in events] == ["reasoning", "text", "end"]
    assert events[0].data == payload
    assert events[2].text == "eos_token"


# -- from_sse


async def test_the_api_of_a_body():
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "a"},
    }
    body = sse(delta, done=False)
    for api in (None, "anthropic", "messages"):
        assert joined((await collect(from_sse(body, api=api)))[0]) == "a"
    events, _ = await collect(from_sse(body, api="chat"))
    assert joined(events) == ""
    assert events[-1].text == f"1 event, none of them of a chat completion, in {len(body)} bytes"
    with pytest.raises(ArgumentValueError, match="api must be one of"):
        from_sse(body, api="gopher")
    with pytest.raises(ArgumentTypeError, match="api"):
        from_sse(body, api=5)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.sampled_from(["\n", "\r", "\r\n"]))
def test_how_a_body_is_cut_does_not_matter(sizes, end):
    payloads = [
        chunk("né 🙂"),
        "{broken",
        chunk(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "{}"}}]),
        chunk(finish="stop"),
    ]
    body = sse(*payloads, end=end).replace(b"\\u00e9", "é".encode())

    def events(pieces):
        found, error = asyncio.run(collect(from_sse(pieces)))
        assert error is None
        return [event._replace(t_ns=0) for event in found]

    whole = events(body)
    assert [event.kind for event in whole] == ["text", "error", "tool_call", "end"]
    assert events(cut(body, sizes)) == whole


async def test_async_chunks_and_files(tmp_path):
    path = tmp_path / "body.sse"
    path.write_bytes(story())
    with path.open("rb") as file:
        from_file, _ = await collect(from_sse(file))
    from_network, _ = await collect(from_sse(later(*cut(story(), [9]))))
    assert joined(from_file) == joined(from_network) == "tok0 tok1 tok2 tok3 tok4 "


async def test_reading_ends_with_done():
    upstream = Upstream(story())
    async with within():
        events, error = await collect(from_sse(upstream))
    assert error is None
    assert events[-1].kind == "end"
    assert upstream.closes == 1


async def test_malformed_events_are_told_and_the_rest_goes_on():
    body = sse(chunk("a"), '{"choices"', chunk("b")).replace(b'"b"', b'"b\xff"')
    events, error = await collect(from_sse(body))
    assert error is None
    assert [event.kind for event in events] == ["text", "error", "error", "text"]
    assert events[1].text.startswith("event 2 at byte ")
    assert "not JSON" in events[1].text
    assert events[2].text.startswith("event 3 at byte ")
    assert "invalid UTF-8" in events[2].text
    assert joined(events) == "ab\ufffd"


async def test_a_body_cut_off_in_an_event():
    body = sse(chunk("a"), chunk("b"), done=False)
    events, error = await collect(from_sse(body[:-20]))
    assert error is None
    assert joined(events) == "a"
    assert [event.kind for event in events] == ["text", "error", "error"]
    assert "closed mid-stream after event 2" in events[2].text


async def test_an_over_long_line():
    body = sse(chunk("a"), chunk("x" * 2000))
    events, error = await collect(from_sse(cut(body, [100]), max_line_bytes=1000))
    assert joined(events) == "a"
    assert isinstance(error, MalformedStreamError)
    assert "event 2: a line beginning at byte" in str(error)


async def test_chunks_that_are_not_bytes():
    _, error = await collect(from_sse([b"data: {}\n\n", 5]))
    assert isinstance(error, ArgumentTypeError)
    assert (await collect(from_sse([story().decode()])))[1] is None


# -- imports


def test_sources_do_not_import_the_http_client_or_a_ui():
    code = (
        "import sys\n"
        "import midstream.stream.sources, midstream.stream.recording, midstream.stream.pipe\n"
        "import midstream.stream.http\n"
        "print([name for name in ('httpx2', 'rich', 'typer', 'openai') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
