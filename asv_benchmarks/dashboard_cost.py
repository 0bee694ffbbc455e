"""What the dashboard costs: ``python dashboard_cost.py [CASE ...] [--seconds S]``.

The feed and the server run in a process of their own, whose CPU clock is read; what makes the
events is in it too, and what that alone takes is measured beside and taken off. Readers, a browser
or programs, are other processes. Cases:

feed
    a thousand events a second into a feed that one program in the process reads: one stream, and
    spread over a hundred and a thousand
sse, webtransport
    the same with a reader over server-sent events, or WebTransport, that checks that no frame is
    missing
readers
    the same with fifty readers over server-sent events, in one process
page
    the same with a headless Chromium as the reader: what the page's own thread takes, without
    what other threads of the browser do (needs selenium, chromium and chromedriver)
paint
    a headless Chromium opens the page: from the request to the first paint, the first contentful
    paint, and the first frame shown

Half a minute a case at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._keeping import keep

CASES = ("feed", "sse", "webtransport", "readers", "page", "paint")
RATE = 1000
WORDS = [f"w{n:x}" for n in random.Random(3).sample(range(1 << 16), 500)]


async def pump(feed, n_streams: int, seconds: float) -> int:
    """Put events into the feed at the rate; how many."""
    from midstream.stream import Event

    rng = random.Random(5)
    pieces = [rng.choice(WORDS) + (". " if number % 9 == 0 else " ") for number in range(5000)]
    streams = [feed.open(f"stream {n}", labels={"model": "m"}) for n in range(n_streams)]
    begin = time.monotonic()
    sent = 0
    while (passed := time.monotonic() - begin) < seconds:
        now_ns = time.monotonic_ns()
        while sent < passed * RATE:
            event = Event("text", sent, now_ns, pieces[sent % 5000], None, None, "0")
            streams[sent % n_streams].event(event)
            sent += 1
        await asyncio.sleep(0.002)
    return sent


class Nothing:
    """A feed that does nothing: what making the events costs."""

    def open(self, name: str, *, labels: object = None) -> Nothing:
        return self

    def event(self, event: object) -> None:
        return


async def serve(n_streams: int, seconds: float, readers: int) -> None:
    """Measure in this process; a line of JSON with the address first, the figures at the end."""
    from midstream.apps.feed import Feed
    from midstream.apps.web import Dashboard

    begin = time.process_time()
    await pump(Nothing(), n_streams, 2.0)
    making = (time.process_time() - begin) / 2.0
    feed = Feed()
    async with Dashboard(feed) as page:
        print(json.dumps({"url": page.url}), flush=True)
        local = None
        missing = 0
        if readers == 0:

            async def read() -> None:
                nonlocal missing
                before = None
                async for frame in feed.subscribe():
                    missing += before is not None and frame.id != before + 1
                    before = frame.id
                    len(frame.data)

            local = asyncio.create_task(read())
        while feed.readers < max(readers, 1):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        first, begin = feed.id, time.process_time()
        sent = await pump(feed, n_streams, seconds)
        cpu = (time.process_time() - begin) / seconds
        told = {
            "cpu": cpu - making,
            "making": making,
            "events": sent,
            "frames": feed.id - first,
            "missing": missing,
        }
        print(json.dumps(told), flush=True)
        feed.close()
        await asyncio.sleep(0.5)
        if local is not None:
            await local


async def read_sse(url: str, readers: int = 1) -> None:
    """Read to the end, so many times; frames that came, and those missing between."""
    for told in await asyncio.gather(*(_read_sse(url) for _ in range(readers))):
        print(json.dumps(told))


async def _read_sse(url: str) -> dict[str, int]:
    import httpx2

    n_frames = missing = n_bytes = 0
    before = None
    async with (
        httpx2.AsyncClient(timeout=60) as http,
        http.stream("GET", url + "api/feed") as answer,
    ):
        async for line in answer.aiter_lines():
            n_bytes += len(line)
            if line.startswith("id: "):
                number = int(line.rpartition("-")[2])
                missing += before is not None and number != before + 1
                before = number
                n_frames += 1
    return {"frames": n_frames, "missing": missing, "bytes": n_bytes}


async def read_webtransport(url: str) -> None:
    """The same over WebTransport."""
    import httpx2

    from midstream.errors import QuicError
    from midstream.quic import Config, webtransport

    async with httpx2.AsyncClient() as http:
        told = (await http.get(url + "api/session")).json()["transport"]
    trust = Config(pins=["cert-sha256:" + told["sha256"][0]])
    n_frames = missing = n_bytes = 0
    before = None
    address = f"{told['url']}?ticket={told['ticket']}"
    async with webtransport.connect(address, config=trust) as session:
        lines = await session.accept_uni()
        rest = b""
        try:
            while piece := await lines.read(1 << 16):
                n_bytes += len(piece)
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    number = json.loads(line)["id"]
                    missing += before is not None and number != before + 1
                    before = number
                    n_frames += 1
        except QuicError:
            pass  # the server has gone
    print(json.dumps({"frames": n_frames, "missing": missing, "bytes": n_bytes}))


def program(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def measure(name: str, n_streams: int, seconds: float, how: str, readers: int) -> None:
    """Run one case and print its row."""
    server = program("--serve", n_streams, "--seconds", seconds, "--readers", readers)
    assert server.stdout is not None
    url = json.loads(server.stdout.readline())["url"]
    reading = program("--read", how, "--url", url, "--readers", readers) if readers else None
    told = json.loads(server.stdout.readline())
    got = []
    if reading is not None:
        got = [json.loads(line) for line in reading.communicate(timeout=60)[0].splitlines()]
    server.wait(timeout=60)
    missing = told["missing"] + sum(one["missing"] for one in got)
    n_bytes = statistics.mean(one["bytes"] for one in got) / seconds if got else 0
    keep(f"{name}.core", told["cpu"], "share")
    keep(f"{name}.missing", missing, "count")
    print(
        f"{name:<34} {told['cpu']:>7.1%} {told['events'] / seconds:>9.0f}"
        f" {told['frames'] / seconds:>9.1f} {missing:>8} {n_bytes / 1e3:>9.0f}",
        flush=True,
    )


def page(n_streams: int, seconds: float) -> None:
    """What Chromium takes to show it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from quic.chromium import Chromium

    async def look(browser: Chromium) -> dict[str, float]:
        ask = browser._driver.execute_cdp_cmd
        told = await asyncio.to_thread(ask, "Performance.getMetrics", {})
        return {one["name"]: one["value"] for one in told["metrics"]}

    async def run() -> None:
        from midstream.apps.feed import Feed
        from midstream.apps.web import Dashboard

        feed = Feed()
        async with Dashboard(feed) as dashboard, Chromium() as browser:
            await asyncio.to_thread(browser._driver.set_window_size, 1440, 1000)
            await asyncio.to_thread(browser._driver.execute_cdp_cmd, "Performance.enable", {})
            await browser.open(dashboard.url)
            pumping = asyncio.create_task(pump(feed, n_streams, seconds + 3))
            await asyncio.sleep(2.5)
            first, begin = await look(browser), time.monotonic()
            await asyncio.sleep(seconds)
            last, passed = await look(browser), time.monotonic() - begin
            missed = await browser.value("document.getElementById('link').textContent")
            await pumping
        share = {name: (last[name] - first[name]) / passed for name in last}
        keep(f"page, {n_streams} streams.core", share["TaskDuration"], "share")
        print(
            f"page, {n_streams} streams: {share['TaskDuration']:.1%} of a core, of it scripts "
            f"{share['ScriptDuration']:.1%}, layout {share['LayoutDuration']:.1%}; heap "
            f"{last['JSHeapUsedSize'] / 1e6:.1f} MB; {missed}",
            flush=True,
        )

    asyncio.run(run())


def paint(runs: int = 9) -> None:
    """Open the page in Chromium, with a feed of a hundred streams behind it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from quic.chromium import Chromium

    script = """
    const shown = () => document.getElementById("name").textContent !== "";
    while (!shown()) await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now();
    const paints = Object.fromEntries(performance.getEntriesByType("paint")
      .map((entry) => [entry.name, entry.startTime]));
    return [paints["first-paint"], paints["first-contentful-paint"], now];
    """

    async def run() -> list[list[float]]:
        from midstream.apps.feed import Feed
        from midstream.apps.web import Dashboard
        from midstream.stream import Event

        feed = Feed()
        for number in range(100):
            feed.open(f"stream {number}").event(Event("text", 0, 0, "some words " * 500))
        async with Dashboard(feed) as page, Chromium() as browser:
            taken = []
            for _ in range(runs):
                await browser.open(page.url)
                taken.append(await browser.run(script))
                await browser.open("about:blank")
            return taken

    taken = asyncio.run(run())
    print("\nmilliseconds from the request     first of all    median     worst")
    for at, name in enumerate(("first paint", "first contentful paint", "first frame shown")):
        times = [one[at] for one in taken]
        keep(f"{name}.median", statistics.median(times), "ms")
        keep(f"{name}.worst", max(times), "ms")
        print(f"{name:<34}{times[0]:>12.0f}{statistics.median(times):>10.0f}{max(times):>10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--readers", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(asked.serve, asked.seconds, asked.readers))
        return
    if asked.read:
        if asked.read == "sse":
            asyncio.run(read_sse(asked.url, asked.readers))
        else:
            asyncio.run(read_webtransport(asked.url))
        return
    cases = asked.cases or CASES
    for case in cases:
        if case not in CASES:
            parser.error(f"{case!r} is not among {', '.join(CASES)}")
    if set(cases) - {"page", "paint"}:
        print(
            f"{'at 1000 events a second':<34} {'core':>7} {'events/s':>9} {'frames/s':>9}"
            f" {'missing':>8} {'kB/s each':>9}"
        )
    if "feed" in cases:
        for n_streams in (1, 100, 1000):
            measure(f"feed, {n_streams} streams", n_streams, asked.seconds, "", 0)
    for how in ("sse", "webtransport"):
        if how in cases:
            for n_streams in (1, 100):
                measure(f"{how}, {n_streams} streams", n_streams, asked.seconds, how, 1)
    if "readers" in cases:
        measure("sse, 10 streams, 50 readers", 10, asked.seconds, "sse", 50)
    if "page" in cases:
        for n_streams in (1, 100):
            page(n_streams, asked.seconds)
    if "paint" in cases:
        paint()


if __name__ == "__main__":
    main()
