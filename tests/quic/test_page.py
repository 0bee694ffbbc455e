"""The live page: what it serves, to whom, and what a browser that is slow costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic import webtransport
from midstream.quic._h3_errors import Http3Error
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.page import LivePage, live_page

IDENTITY = Identity.development()
SERVER = Config(identity=IDENTITY)
CLIENT = Config(pins=[IDENTITY.certificate_pin], stream_window=2048, connection_window=4096)


@dataclass
class Event:
    kind: str
    text: str


async def numbers(count: int, size: int = 0) -> AsyncIterator[Any]:
    for number in range(count):
        yield Event("n", str(number) + "x" * size)
        await asyncio.sleep(0)


async def get(page: LivePage, request: str, host: str | None = None) -> tuple[str, bytes]:
    place = page.url.removeprefix("http://").rstrip("/")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(place.rpartition(":")[2]))
    writer.write(f"{request} HTTP/1.1\r\nHost: {host or place}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.decode(), body


def connecting(page: LivePage, origin: str | None = None, config: Config = CLIENT) -> Any:
    return webtransport.connect(
        f"https://127.0.0.1:{page.server.address[1]}/live",
        config=config,
        headers={"origin": page.url.rstrip("/") if origin is None else origin},
    )


async def test_what_is_served_and_to_whom() -> None:
    async with asyncio.timeout(10), live_page(numbers(0), title="T", config=SERVER) as page:
        head, body = await get(page, "GET /")
        assert head.startswith("HTTP/1.1 200 OK")
        assert "default-src 'none'; script-src 'self'" in head
        assert body.startswith(b"<!doctype html>")
        for path in ("/live.js", "/live.css?x"):
            assert (await get(page, f"GET {path}"))[0].startswith("HTTP/1.1 200")
        session = json.loads((await get(page, "GET /session.json"))[1])
        assert session == {
            "title": "T",
            "url": f"https://127.0.0.1:{page.server.address[1]}/live",
            "sha256": [IDENTITY.sha256_bytes.hex()],
        }
        assert (await get(page, "HEAD /"))[1] == b""
        assert (await get(page, "GET /../page.py"))[0].startswith("HTTP/1.1 404")
        assert (await get(page, "POST /"))[0].startswith("HTTP/1.1 405")
        assert (await get(page, "GET /", "evil.example"))[0].startswith("HTTP/1.1 421")
        assert (await get(page, "GET /" + "x" * 20000))[0].startswith("HTTP/1.1 431")
        with pytest.raises(Http3Error, match="status 403"):
            await connecting(page, "http://localhost:1")


async def test_events_reach_all_browsers_and_later_ones() -> None:
    go = asyncio.Event()

    async def events() -> AsyncIterator[Any]:
        yield "before"
        await go.wait()
        yield Event("k", "after")

    async def lines(session: webtransport.Session) -> list[Any]:
        data = await (await session.accept_uni()).read_to_end(10000)
        return [json.loads(line)["event"] for line in data.splitlines()]

    async with asyncio.timeout(10), live_page(events(), config=SERVER) as page:
        async with connecting(page) as first, connecting(page) as second:
            while page.browsers < 2:
                await asyncio.sleep(0.01)
            go.set()
            for session in (first, second):
                assert await lines(session) == ["before", {"kind": "k", "text": "after"}]
                await session.wait_draining()
                assert not session.closed
        await page.wait_ended()
        async with connecting(page) as late:
            assert len(await lines(late)) == 2


async def test_a_browser_that_does_not_read_loses_the_oldest() -> None:
    small = SERVER.replace(send_buffer=4096)
    go = asyncio.Event()

    async def events() -> AsyncIterator[Any]:
        await go.wait()
        async for event in numbers(500, 1000):
            yield event

    running = live_page(events(), config=small, backlog=8)
    async with asyncio.timeout(15), running as page, connecting(page) as session:
        stream = await session.accept_uni()
        while not page.browsers:
            await asyncio.sleep(0.01)
        go.set()
        await page.wait_ended()
        assert page.missed > 400
        messages = [json.loads(x) for x in (await stream.read_to_end(1 << 20)).splitlines()]
        assert messages[-1]["event"]["text"].startswith("499x")
        assert sum(m.get("missed", 0) for m in messages) + len(messages) == 500


async def test_an_event_has_a_limit_and_an_encoder() -> None:
    async def one() -> AsyncIterator[Any]:
        yield "y" * 100_000

    async with asyncio.timeout(10), live_page(one(), config=SERVER) as page:
        await page.wait_ended()
        async with connecting(page, config=CLIENT) as session:
            message = json.loads(await (await session.accept_uni()).read_to_end(1 << 20))
            assert message["event"]["kind"] == "cut"
            assert len(message["event"]["text"]) == 65536


async def test_what_the_events_raise_is_told() -> None:
    async def broken() -> AsyncIterator[Any]:
        yield 1
        raise RuntimeError("no more")

    async with asyncio.timeout(10), live_page(broken(), config=SERVER) as page:
        with pytest.raises(RuntimeError, match="no more"):
            await page.wait_ended()


def test_arguments() -> None:
    with pytest.raises(ArgumentTypeError, match="async iterable"):
        live_page([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="identity"):
        live_page(numbers(1), config=Config())
    with pytest.raises(ArgumentValueError, match="backlog"):
        live_page(numbers(1), backlog=0)
