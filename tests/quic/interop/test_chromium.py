"""A real Chromium and our server: sessions, streams both ways, datagrams, ends, the live page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quic.chromium import Chromium, empty_page

from midstream._core.errors import StreamResetError
from midstream.quic import webtransport
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.page import live_page

IDENTITY = Identity.development()
SERVER = Config(identity=IDENTITY)

_OPEN = """
const [port, hex, path] = args;
const value = Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const transport = new WebTransport(`https://127.0.0.1:${port}${path}`,
  { serverCertificateHashes: [{ algorithm: "sha-256", value }] });
await transport.ready;
const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (string) => new TextEncoder().encode(string);
const all = async (stream) => {
  let out = ""; const reader = stream.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return out;
    out += text(value);
  }
};
const send = async (stream, string) => {
  const writer = stream.getWriter(); await writer.write(bytes(string)); await writer.close();
};
"""


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with Chromium() as found:
        yield found


async def run_in_page(browser: Chromium, handler: Any, script: str, path: str = "/wt") -> Any:
    """Run a script in a page of localhost, with a session that `handler` serves."""
    async with (
        asyncio.timeout(30),
        empty_page() as page,
        webtransport.serve(handler, "127.0.0.1", 0, path="/wt", config=SERVER) as server,
    ):
        await browser.open(page)
        port = server.address[1]
        return await browser.run(_OPEN + script, port, IDENTITY.sha256_bytes.hex(), path)


async def test_streams_and_datagrams_both_ways(browser: Chromium) -> None:
    seen: dict[str, Any] = {}

    async def handler(session: webtransport.Session) -> None:
        seen.update(draft=session.draft, origin=session.origin, path=session.path)
        bi = await session.accept_bi()
        bi.write((await bi.read_to_end(1 << 20)).upper())
        bi.finish()
        uni = await session.accept_uni()
        back = await session.open_uni()
        back.write(b"back: " + await uni.read_to_end(1000))
        back.finish()
        ours = await session.open_bi()
        ours.write(b"from the server")
        ours.finish()
        seen["answer"] = await ours.read_to_end(1000)
        session.datagrams.send(b"d:" + await session.datagrams.receive())
        seen["end"] = await session.wait_closed()

    result = await run_in_page(
        browser,
        handler,
        """
        const out = {};
        const bi = await transport.createBidirectionalStream({ sendOrder: 5 });
        send(bi.writable, "x".repeat(300000));
        out.echo = (await all(bi.readable)).length;
        await send(await transport.createUnidirectionalStream(), "one way");
        const unis = transport.incomingUnidirectionalStreams.getReader();
        out.uni = await all((await unis.read()).value);
        const theirs = (await transport.incomingBidirectionalStreams.getReader().read()).value;
        out.bi = await all(theirs.readable);
        await send(theirs.writable, "answered");
        const datagrams = transport.datagrams;
        const writable = datagrams.writable ?? datagrams.createWritable();
        await writable.getWriter().write(bytes("gram"));
        out.datagram = text((await datagrams.readable.getReader().read()).value);
        transport.close({ closeCode: 42, reason: "bye" });
        out.closed = await transport.closed;
        return out;
        """,
        path="/wt?x=1",
    )
    assert result == {
        "echo": 300000,
        "uni": "back: one way",
        "bi": "from the server",
        "datagram": "d:gram",
        "closed": {"closeCode": 42, "reason": "bye"},
    }
    assert seen["draft"] == 2
    assert seen["path"] == "/wt?x=1"
    assert seen["origin"].startswith("http://127.0.0.1:")
    assert seen["answer"] == b"answered"
    assert seen["end"] == webtransport.CloseInfo(42, "bye", True)


async def test_the_server_closes_with_a_code(browser: Chromium) -> None:
    async def handler(session: webtransport.Session) -> None:
        session.close(0xFFFFFFFF, "genug für heute")

    result = await run_in_page(browser, handler, "return await transport.closed;")
    assert result == {"closeCode": 0xFFFFFFFF, "reason": "genug für heute"}


async def test_codes_of_streams_both_ways(browser: Chromium) -> None:
    seen: dict[str, Any] = {}

    async def handler(session: webtransport.Session) -> None:
        first = await session.accept_bi()
        first.write(b"y")
        try:
            await first.read()
        except StreamResetError as error:
            seen["reset"] = error.code
        second = await session.accept_bi()
        await second.read(1)
        second.reset(30)
        third = await session.accept_bi()
        await third.read(1)
        third.stop(29)
        await session.wait_closed()

    result = await run_in_page(
        browser,
        handler,
        """
        // Draft 02 has no reliable reset: one that overtakes the header ends a stream of nobody.
        const first = await transport.createBidirectionalStream();
        const writer = first.writable.getWriter();
        await writer.write(bytes("x"));
        await first.readable.getReader().read();
        await writer.abort(new WebTransportError({ message: "no", streamErrorCode: 77 }));
        const codes = [];
        const note = (error) => codes.push(error.streamErrorCode ?? String(error));
        const second = await transport.createBidirectionalStream();
        await second.writable.getWriter().write(bytes("x"));
        await all(second.readable).catch(note);
        const third = (await transport.createBidirectionalStream()).writable.getWriter();
        await third.write(bytes("x"));
        await third.closed.catch(note);
        transport.close();
        return codes;
        """,
    )
    assert result == [30, 29]
    assert seen["reset"] == 77


async def test_a_foreign_page_is_refused(browser: Chromium) -> None:
    async def handler(session: webtransport.Session) -> None:
        raise AssertionError("it was accepted")

    async with (
        asyncio.timeout(30),
        empty_page() as page,
        webtransport.serve(
            handler, "127.0.0.1", 0, config=SERVER, origins=["https://example.org"]
        ) as server,
    ):
        await browser.open(page)
        result = await browser.run(
            _OPEN + "return 'open';", server.address[1], IDENTITY.sha256_bytes.hex(), "/"
        )
        assert result.startswith("failed: WebTransportError")


async def test_the_live_page_shows_events(browser: Chromium) -> None:
    events: asyncio.Queue[Any] = asyncio.Queue()

    async def source() -> AsyncIterator[Any]:
        while (event := await events.get()) is not None:
            yield event

    async with asyncio.timeout(40), live_page(source(), title="Tests & <b>more</b>") as page:
        await browser.open(page.url)
        await browser.until("document.getElementById('state').dataset.state === 'open'")
        assert page.browsers == 1
        for number in range(40):
            events.put_nowait({"kind": "tick", "text": f"number {number}"})
        events.put_nowait({"kind": "finding", "text": "<img src=x onerror=alert(1)> &amp;"})
        events.put_nowait({"kind": "usage", "tokens": 17})
        events.put_nowait("plain words, ünïcödé")
        await browser.until("document.querySelectorAll('#events li').length === 43")
        assert await browser.value("document.title") == "Tests & <b>more</b>"
        assert await browser.value("document.querySelectorAll('#events img, h1 b').length") == 0
        rows = await browser.value(
            "[...document.querySelectorAll('#events li')].slice(-4).map("
            "(row) => [...row.children].slice(1).map((cell) => cell.textContent))"
        )
        assert rows == [
            ["tick", "number 39"],
            ["finding", "<img src=x onerror=alert(1)> &amp;"],
            ["usage", '{"tokens":17}'],
            ["", "plain words, ünïcödé"],
        ]
        await browser.until("document.getElementById('count').textContent === '43'")
        assert float(await browser.value("document.getElementById('rate').textContent")) > 0
        # Keyboard alone: pause, filter, clear.
        await browser.press("p")
        events.put_nowait("held back")
        await browser.until("document.getElementById('count').textContent === '44'")
        assert await browser.value("document.querySelectorAll('#events li').length") == 43
        await browser.press("p")
        await browser.until("document.querySelectorAll('#events li').length === 44")
        await browser.press("/finding")
        assert (
            await browser.value("document.querySelectorAll('#events li:not([hidden])').length") == 1
        )
        shots = os.environ.get("MIDSTREAM_SCREENSHOTS")
        if shots:
            await browser.run(
                "element('filter').value = '';"
                "element('filter').dispatchEvent(new Event('input'));"
                "list.scrollTop = list.scrollHeight;"
            )
            for dark in (False, True):
                await browser.dark(dark)
                await browser.screenshot(f"{shots}/live-{'dark' if dark else 'light'}.png")
        assert await browser.value("getComputedStyle(document.body).backgroundColor") != ""
        events.put_nowait(None)
        await browser.until(
            "document.getElementById('state').textContent === 'The events have ended'"
        )
        assert await browser.messages() == []
