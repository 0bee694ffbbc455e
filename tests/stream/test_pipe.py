"""Pipes: formats found by the first bytes, text at once, waiting without blocking."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys

import pytest
from stream.chat import chunk, collect, cut, joined, sse, within

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SourceError,
)
from midstream.stream.pipe import SniffDecoder, from_pipe, sniff


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    ("told", "heads"),
    [
        (
            "sse",
            [
                b'data: {"choices"',
                b"data:{",
                b"data: [DONE]",
                b"\xef\xbb\xbfdata: {",
                b"\n\ndata: {",
                b": ping\n\n: ping\n\ndata: {",
                b"event: completion\r\nid: 1\r\ndata: {",
                b"retry: 3000\r\rdata: {",
                b"event: ping\ndata:\n\ndata: {",
            ],
        ),
        (
            "ndjson",
            [
                b'{"id": 1, "choices": []}\n',
                b' {"object": "chat.completion.chunk"}\n',
                b'{"content": "x", "stop": false}\n',
                b'{"model": "x", "response": "x", "done": false}\n',
                b'{"message": {"content": "x"}, "done": true}\n',
                b'{"error": {"message": "overloaded"}}\n',
                b'{"error": "no such model"}\n',
                b'{"object": "error", "message": "overloaded"}\n',
            ],
        ),
        ("recording", [b'{"midstream": 1}\n', b'{"t": 0.1, "data": "x"}\n']),
        (
            "text",
            [
                b"Once",
                b"date",
                b"> ",
                b"{x | x > 0}",
                b"{not json\n",
                b"data: the plural of",
                b"data: [1] Smith",
                b":smile: hello\nworld",
                b"id: 7\nname",
                b"event: Christmas\n# next",
                b'{"msg": "I will try that again."}\n',
                b'{"t": "x", "data": 1}\n',
                b'{"t": 1, "event": "x"}\n',
                b'{"error": "x", "level": 3}\n',
                b"{}\n",
                b"\xef\xbb\xbfOnce",
                b"\xe6\x97",
            ],
        ),
    ],
)
def test_sniff(told, heads, over):
    for head in heads:
        assert sniff(head, over=over) == told, head


def test_sniff_waits_only_for_what_decides():
    for head in (
        *(b"", b" ", b"\n\n", b"d", b"data", b"data:", b"data: ", b"data: [", b"retry", b"e"),
        *(b"\xef", b"\xef\xbb\xbf", b": hi", b"event: e", b"event: e\n", b"id: 1\n\n"),
        *(b"{", b'{"choices"', b'{"choices": []}'),
    ):
        assert sniff(head, over=False) is None, head
    for head in (b"data", b"data: ", b": hi\n\n", b"event: e\n", b'{"choices"', b"\xef\xbb"):
        assert sniff(head, over=True) == "text", head
    assert sniff(b'{"choices": []}', over=True) == "ndjson"


@pytest.mark.parametrize(
    "body",
    [
        b":smile: hello\n",
        b"id: 7 is the number of my house\n\nIt is blue.",
        b"event: Christmas is near\n",
        b"data: the plural of datum\n\ndata: {no events}\n",
        b'{"msg": "I will try that again."}\n' * 500,
        b": " + b"no line end " * 9000,
        b'{"name": "' + b"no line end " * 9000,
        b"\n \n",
        "\ufeffname\n".encode(),
    ],
    ids=lambda body: body[:12].decode(),
)
def test_text_that_begins_like_something_else_passes(body):
    for size in (1, 7, len(body)):
        decoder = SniffDecoder("pipe")
        events = [event for piece in cut(body, [size]) for event in decoder.feed(piece, 0)]
        events += decoder.finish(0)
        assert decoder.format == "text"
        assert joined(events).encode() == body
        assert decoder.error is None


def test_a_format_is_found_byte_by_byte():
    ping = b": ping\n\n"
    for form, body in {**FORMS, "sse": ping + FORMS["sse"]}.items():
        decoder = SniffDecoder("pipe")
        events = [event for piece in cut(body, [1]) for event in decoder.feed(piece, 0)]
        events += decoder.finish(0)
        assert decoder.format == form
        assert joined(events) == "Once upon"


def test_ollama_lines_are_understood():
    body = (
        b'{"model":"m","message":{"role":"assistant","content":"","thinking":"Hm."},"done":false}\n'
        b'{"model":"m","message":{"role":"assistant","content":"Once"},"done":false}\n'
        b'{"model":"m","message":{"role":"assistant","content":"","tool_calls":'
        b'[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}\n'
        b'{"model":"m","message":{"role":"assistant","content":""},"done":true,'
        b'"done_reason":"length","prompt_eval_count":4,"eval_count":3}\n'
    )
    decoder = SniffDecoder("pipe")
    events = decoder.feed(body, 0) + decoder.finish(0)
    assert [(event.kind, event.text, event.name) for event in events] == [
        ("reasoning", "Hm.", None),
        ("text", "Once", None),
        ("tool_call", '{"a":1}', "f"),
        ("end", "length", None),
        ("usage", "", None),
    ]
    assert events[-1].data == {
        "usage": {"prompt_eval_count": 4, "eval_count": 3},
        "tokens": {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7},
    }
    decoder = SniffDecoder("pipe")
    events = decoder.feed(b'{"response":"Once","done":false}\n', 0) + decoder.finish(0)
    assert [event.kind for event in events] == ["text", "error"]
    assert "closed mid-stream" in events[1].text


@pytest.mark.parametrize(
    ("format", "body", "count"),
    [
        ("sse", b"no events\n", 0),
        ("sse", b": ping\n\n", 0),
        ("sse", b'data: {"type": "x"}\n\n' * 3, 3),
        ("ndjson", b'{"msg": "x"}\n' * 3, 3),
    ],
)
def test_a_stream_without_one_known_event_says_so(format, body, count):
    decoder = SniffDecoder("pipe", format=format)
    events = decoder.feed(body, 0) + decoder.finish(0)
    assert [event.text for event in events if event.kind == "error"] == [events[-1].text]
    assert f"{count} events, none of them of a known API" in events[-1].text
    empty = SniffDecoder("pipe", format=format)
    assert empty.finish(0) == []


class Pipe:
    """A real pipe with a writing end for the test."""

    def __init__(self):
        self.read, self.write = os.pipe()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()
        os.close(self.read)

    def send(self, body):
        os.write(self.write, body)

    def finish(self):
        if self.write is not None:
            os.close(self.write)
            self.write = None


@pytest.fixture(params=["reader", "thread"])
def waiting(request, monkeypatch):
    """Both ways to wait for a descriptor."""
    if request.param == "thread":

        def refuse(*_):
            raise NotImplementedError

        monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", refuse)
    return request.param


FORMS = {
    "sse": sse(chunk("Once"), chunk(" upon"), chunk(finish="stop")),
    "ndjson": "\n".join(
        json.dumps(payload) for payload in (chunk("Once"), chunk(" upon"), chunk(finish="stop"))
    ).encode(),
    "recording": (
        b'{"midstream":1,"created":"2026-01-01T00:00:00Z","source":""}\n'
        b'{"seq":0,"t_ns":5,"kind":"text","text":"Once upon"}\n'
    ),
    "text": b"Once upon",
}


@pytest.mark.parametrize("form", FORMS)
async def test_pipe_finds_its_format(waiting, form):
    with Pipe() as pipe:
        pipe.send(FORMS[form])
        pipe.finish()
        async with within():
            events, error = await collect(from_pipe(pipe.read))
    assert error is None
    assert joined(events) == "Once upon"
    if form == "recording":
        assert events[0].t_ns == 5


async def test_pipe_gives_text_at_once(waiting):
    with Pipe() as pipe:
        async with within(), from_pipe(pipe.read) as source:
            for word in ("Once", " upon", " a time"):
                pipe.send(word.encode())
                assert (await anext(source)).text == word


async def test_a_prompt_without_a_line_end_passes_at_once(waiting):
    with Pipe() as pipe:
        async with within(), from_pipe(pipe.read) as source:
            pipe.send(b"e")
            waits = asyncio.ensure_future(anext(source))
            pipe.send(b"cho? ")
            assert "echo? ".startswith((await waits).text)


async def test_pipe_closes_while_it_waits(waiting):
    with Pipe() as pipe:
        async with within():
            source = from_pipe(pipe.read)
            pipe.send(b"Once")
            assert (await anext(source)).text == "Once"
            reader = asyncio.create_task(collect(source))
            while source._reader is None:
                await asyncio.sleep(0)
            await source.aclose()
            assert await reader == ([], None)


async def test_pipe_format_can_be_forced():
    with Pipe() as pipe:
        pipe.send(b"data: no events\n\n")
        pipe.finish()
        events, _ = await collect(from_pipe(pipe.read, format="text"))
    assert joined(events) == "data: no events\n\n"


async def test_pipe_over_files(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(FORMS["sse"])
    with path.open("rb") as file:
        events, error = await collect(from_pipe(file))
    assert (joined(events), error) == ("Once upon", None)
    path.write_bytes(b"")
    with path.open("rb") as file:
        assert await collect(from_pipe(file)) == ([], None)
    path.write_bytes(b'{"midstream":1}\n{"seq":0,')
    with path.open("rb") as file:
        _, error = await collect(from_pipe(file))
    assert str(error).startswith(f"{path}:2: ")


async def test_pipe_errors():
    with pytest.raises(ArgumentValueError, match="format must be one of"):
        from_pipe(0, format="xml")
    with pytest.raises(ArgumentTypeError, match="binary file"):
        from_pipe("name")
    with pytest.raises(ArgumentTypeError, match="binary file"):
        from_pipe(sys.__stdin__)
    with pytest.raises(ArgumentValueError, match="max_line_bytes must be at least 1, got 0"):
        from_pipe(0, max_line_bytes=0)
    with pytest.raises(SourceError, match="descriptor -1: "):
        from_pipe(-1)


def test_standard_input_that_is_none_or_has_no_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", None)  # what Python has after a shell's "<&-"
    with pytest.raises(SourceError, match="standard input is closed"):
        from_pipe()
    monkeypatch.setattr(sys, "stdin", io.StringIO("text"))
    with pytest.raises(SourceError, match="standard input gives no bytes"):
        from_pipe()
    file = (tmp_path / "file").open("wb+")
    file.close()
    with pytest.raises(ArgumentValueError, match="pipe is closed"):
        from_pipe(file)


def test_standard_input_of_a_program():
    code = (
        "import asyncio\n"
        "from midstream.stream.pipe import from_pipe\n"
        "async def main():\n"
        "    async for event in from_pipe():\n"
        "        print(event.text, end='', flush=True)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        input=FORMS["sse"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == b"Once upon" + b"stop"
    assert done.stderr == b""
