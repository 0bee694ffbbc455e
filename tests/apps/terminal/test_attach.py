"""The dashboard over the feed of another one, over HTTP."""

from __future__ import annotations

import asyncio
import shutil

import pytest

pytest.importorskip("textual", reason="the dashboard in a terminal needs the extra 'ui'")
pytest.importorskip("starlette", reason="the web dashboard needs the extra 'ui'")

from apps.terminal.looking import looking, press, said, until

from midstream.apps.feed import Feed
from midstream.apps.terminal import AttachLink
from midstream.apps.web import Dashboard
from midstream.errors import ArgumentTypeError, ArgumentValueError, EndpointError
from midstream.stream import Event, shipped_recordings

TOKEN = "correct-horse-battery-staple"


def text(words, seq=0):
    return Event("text", seq, seq * 1000, words)


async def test_another_dashboards_feed_and_recordings(tmp_path):
    shutil.copy(shipped_recordings()["loop-02"], tmp_path / "a-tale.jsonl")
    feed = Feed()
    stream = feed.open("there")
    stream.event(text("words of there"))
    async with (
        Dashboard(feed, token=TOKEN, recordings=tmp_path, title="over there") as page,
        AttachLink(page.url) as link,
        looking(link=link) as (app, pilot),
    ):
        assert link.title == "over there"
        await until(app, pilot, lambda: "words of there" in said(app))
        stream.event(text(" and more", 1))
        await until(app, pilot, lambda: "and more" in said(app))
        await press(app, pilot, "r")
        await until(app, pilot, lambda: "a-tale.jsonl" in said(app))
        await press(app, pilot, "j")
        await until(app, pilot, lambda: app.replay is not None)
        await press(app, pilot, "G", "l")
        feed.close()
        await until(app, pilot, lambda: "the feed is over" in said(app))


async def test_it_connects_again_and_goes_on(tmp_path):
    feed = Feed()
    stream = feed.open("there")
    stream.event(text("first"))
    page = Dashboard(feed, transport=False)
    await page.__aenter__()
    host, port = page.address
    async with AttachLink(page.url) as link, looking(link=link) as (app, pilot):
        await until(app, pilot, lambda: "first" in said(app))
        await page.__aexit__(None, None, None)
        await until(app, pilot, lambda: "not connected" in said(app))
        stream.event(text(" second", 1))
        feed.flush()
        async with Dashboard(feed, host, port, transport=False):
            await until(app, pilot, lambda: "first second" in said(app))
            assert "live" in said(app)
            assert app._missed == 0
            feed.close()
            await until(app, pilot, lambda: "the feed is over" in said(app))


async def test_who_has_no_token_and_where_nothing_is():
    feed = Feed()
    async with Dashboard(feed, token=TOKEN, transport=False) as page:
        address = page.url.partition("#")[0]
        for url in (address, address + "#token=another-one-that-is-wrong"):
            with pytest.raises(EndpointError, match="wants a token"):
                await AttachLink(url).__aenter__()
        port = page.address[1]
    with pytest.raises(EndpointError, match=f"{port}"):
        await AttachLink(f"http://127.0.0.1:{port}/").__aenter__()
    feed.close()


@pytest.mark.parametrize("url", ["", "nothing", "ftp://example.org/", "http://", "http://[::1"])
def test_what_is_no_url(url):
    with pytest.raises(ArgumentValueError, match="url"):
        AttachLink(url)
    with pytest.raises(ArgumentTypeError):
        AttachLink(None)


async def answering(body):
    """A server whose every answer is this."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "no dashboard"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{", "no dashboard"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "302",
        ),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", "500"),
        (b"no HTTP at all", "127.0.0.1"),
        (b"", "127.0.0.1"),
    ],
)
async def test_what_is_no_dashboard(body, cause):
    server = await answering(body)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(EndpointError, match=cause):
        await AttachLink(f"http://127.0.0.1:{port}/").__aenter__()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "event",
    [
        b"data: {\n\n",
        b"data: [1]\n\n",
        b'data: {"type": "frame", "id": "x"}\n\n',
        b'data: {"type": "snapshot", "id": 1}\n\n',
        b'data: {"type": "frame", "id": 1, "t_s": 0}\n\n',
        b'data: {"type": "snapshot", "id": 1, "streams": 3, "messages": [], "history": []}\n\n',
    ],
)
async def test_what_is_no_frame_is_told(event):
    session = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    frames = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + event

    async def serve(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(frames if b"/api/feed" in request else session)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        AttachLink(f"http://127.0.0.1:{port}/") as link,
        looking(link=link, size=(160, 40)) as (app, pilot),
    ):
        await until(app, pilot, lambda: "no frame of a feed" in said(app))
        assert app.live is None
    server.close()
    await server.wait_closed()
