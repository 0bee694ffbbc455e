"""What answers are packed in is undone in small pieces, and one layer of it."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import httpx2
import pytest
from stream.chat import collect, story, within
from stream.proxy.wires import PATHS, Upstream, post, proxied, raw, split
from stream.server import SSE, Server

from midstream.errors import MalformedStreamError, SourceError
from midstream.stream import from_http
from midstream.stream.inflating import PIECE_BYTES, Inflater
from midstream.stream.media import MediaLimits
from midstream.stream.media.fetching import HttpFetcher
from midstream.stream.proxy import GuardTransport, SyncGuardTransport

#: Of these, `MOST_BYTES` may be held at once: some of them go through several hands.
BOMB_BYTES = 512 << 20
MOST_BYTES = 48 << 20


def bomb(wbits=31):
    """Half a gigabyte of blanks, as half a megabyte."""
    packer = zlib.compressobj(9, wbits=wbits)
    blanks = b" " * (1 << 20)
    pieces = [packer.compress(blanks) for _ in range(BOMB_BYTES >> 20)]
    return b"".join([*pieces, packer.flush()])


class Peak:
    """Most that is allocated at once within it."""

    def __enter__(self):
        tracemalloc.start()
        return self

    def __exit__(self, *_):
        self.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.mark.parametrize("wbits", [31, 15, -15])
def test_pieces(wbits):
    packer = zlib.compressobj(9, wbits=wbits)
    data = bytes(range(256)) * 2000
    packed = packer.compress(data) + packer.flush()
    for size in (1, 7, len(packed)):
        inflater = Inflater()
        pieces = [
            piece
            for at in range(0, len(packed), size)
            for piece in inflater.pieces(packed[at : at + size])
        ]
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= PIECE_BYTES


def test_too_much():
    with Peak() as peak, pytest.raises(MalformedStreamError, match="more than 1000 bytes"):
        Inflater(1000, place="x").feed(bomb())
    assert peak.bytes < MOST_BYTES
    with pytest.raises(MalformedStreamError, match="x: not what its encoding says"):
        Inflater(place="x").feed(b"\x1f\x8bno")


def packed(answer, *headers):
    """An answer of a server, in one piece."""

    async def tell(exchange):
        await exchange.head("200 OK", SSE, *headers, f"Content-Length: {len(answer)}")
        await exchange.send(answer)

    return tell


async def test_an_answer_that_is_packed():
    answer = packed(gzip.compress(story()), "Content-Encoding: gzip")
    async with within(), Server(answer) as server:
        events, error = await collect(from_http(server.url, prompt="Hi"))
    assert error is None
    assert len(events) > 5


async def test_an_endpoint_that_sends_a_bomb():
    answer = packed(bomb(), "Content-Encoding: gzip")
    async with within(), Server(answer) as server:
        with Peak() as peak:
            _, error = await collect(from_http(server.url, prompt="Hi", max_line_bytes=1 << 20))
    assert "longer than" in str(error) or "limit" in str(error)
    assert peak.bytes < MOST_BYTES


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd"])
async def test_layers_and_others_are_refused(encoding):
    answer = packed(gzip.compress(bomb()), f"Content-Encoding: {encoding}")
    async with within(), Server(answer) as server:
        _, error = await collect(from_http(server.url, prompt="Hi"))
        assert isinstance(error, MalformedStreamError)
        assert f"encoding {encoding!r}" in str(error)
        fetcher = HttpFetcher(server.url, MediaLimits())
        with pytest.raises(MalformedStreamError, match="encoding"):
            await fetcher.get(server.url, max_bytes=1 << 20)
        await fetcher.aclose()


async def test_an_error_that_is_a_bomb():
    async def answer(exchange):
        await exchange.head("500 No", "Content-Encoding: gzip")
        await exchange.send(bomb())

    async with within(), Server(answer) as server:
        with Peak() as peak:
            _, error = await collect(from_http(server.url, prompt="Hi"))
    assert isinstance(error, SourceError)
    assert peak.bytes < MOST_BYTES


async def test_a_playlist_that_is_a_bomb():
    answer = packed(bomb(), "Content-Encoding: gzip")
    async with within(), Server(answer) as server:
        fetcher = HttpFetcher(server.url, MediaLimits())
        with Peak() as peak, pytest.raises(MalformedStreamError, match="larger than"):
            await fetcher.get(server.url, max_bytes=1 << 20)
        await fetcher.aclose()
    assert peak.bytes < MOST_BYTES


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
async def test_an_upstream_that_sends_a_bomb(kind):
    pytest.importorskip("httptools", reason="needs the extra proxy: httptools")
    settings = {"kind": kind, "headers": ("Content-Encoding: gzip",), "size": 1 << 20}
    answer = bomb()
    async with within(), Upstream(answer, **settings) as upstream, proxied(upstream) as proxy:
        with Peak() as peak:
            status, _, body = split(await raw(proxy.url, post(PATHS["chat"])))
    assert status == (200 if kind == "text/event-stream" else 502)
    assert b"error" in body
    assert peak.bytes < 4 * MOST_BYTES  # an answer, and an event, may have 32 and 8 MiB


async def test_a_bomb_behind_a_transport():
    headers = {"content-encoding": "gzip", "content-type": "text/event-stream"}
    data = bomb()

    def answer(request):
        class Body(httpx2.AsyncByteStream, httpx2.SyncByteStream):
            def __iter__(self):
                yield data

            async def __aiter__(self):
                yield data

        return httpx2.Response(200, headers=headers, stream=Body())

    inner = httpx2.MockTransport(answer)
    url = f"http://127.0.0.1{PATHS['chat']}"
    with Peak() as peak:
        async with httpx2.AsyncClient(transport=GuardTransport(inner)) as client:
            body = (await client.post(url, json={})).content
        with httpx2.Client(transport=SyncGuardTransport(inner)) as client:
            assert client.post(url, json={}).content == body
    assert b"error" in body
    assert peak.bytes < 4 * MOST_BYTES
