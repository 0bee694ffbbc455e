"""What the terminal's dashboard costs: ``python terminal_cost.py [--seconds S]``.

The program runs in a pseudo-terminal of 120 x 40 cells, whose other end is read all the time; its
own CPU clock is read in it. It is the whole of it: a thousand events a second come in, the feed
makes frames of them, and Textual draws. What making the events takes alone is taken off. Rows: one
stream, and spread over a hundred and a thousand; and the feed alone, with a reader that does
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from benchmarks._keeping import keep
from dashboard_cost import Nothing, pump


async def show(n_streams: int, seconds: float, drawn: bool) -> dict[str, float]:
    """Measure in this process."""
    from midstream.apps.feed import Feed

    begin = time.process_time()
    await pump(Nothing(), n_streams, 2.0)
    making = (time.process_time() - begin) / 2.0
    feed = Feed()
    missing = frames = 0
    app = None

    def count(fields: dict) -> None:
        nonlocal frames, missing
        if fields["type"] == "snapshot":
            missing += fields["id"] - frames if frames else 0
        else:
            missing += fields["id"] - frames - 1 if frames else 0
        frames = fields["id"]

    async def run() -> tuple[int, float, int, int]:
        await asyncio.sleep(1.0)
        first, painted, begin = feed.id, app.paints if app else 0, time.process_time()
        sent = await pump(feed, n_streams, seconds)
        cpu = (time.process_time() - begin) / seconds
        return sent, cpu, feed.id - first, (app.paints - painted) if app else 0

    if drawn:
        from midstream.apps.terminal import FeedLink, TerminalApp
        from midstream.apps.terminal.display import _terminal

        with _terminal() as driver:
            app = TerminalApp(FeedLink(feed), driver_class=driver)
            take = app.take

            def counted(fields: dict) -> None:
                count(fields)
                take(fields)

            app.take = counted
            running = asyncio.create_task(app.run_async())
            sent, cpu, made, paints = await run()
            feed.flush()
            await asyncio.sleep(0.2)
            app.exit()
            await running
    else:

        async def read() -> None:
            async for frame in feed.subscribe():
                count(frame.fields)

        reading = asyncio.create_task(read())
        sent, cpu, made, paints = await run()
        feed.close()
        await reading
    return {
        "cpu": cpu - making,
        "events": sent / seconds,
        "frames": made / seconds,
        "missing": missing,
        "paints": paints / seconds,
    }


def measure(name: str, n_streams: int, seconds: float, drawn: bool) -> None:
    """Run one case in a pseudo-terminal and print its row."""
    import fcntl
    import pty
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with tempfile.NamedTemporaryFile("r") as told:
        command = [sys.executable, __file__, "--show", str(n_streams), "--into", told.name]
        command += ["--seconds", str(seconds), *(["--drawn"] if drawn else [])]
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        program = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ)
        n_bytes = 0
        while program.poll() is None:
            if select.select([master], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    n_bytes += len(os.read(master, 1 << 16))
        row = json.load(told)
    keep(f"{name}.core", row["cpu"], "share")
    keep(f"{name}.missing", row["missing"], "count")
    os.close(slave)
    os.close(master)
    print(
        f"{name:<28} {row['cpu']:>7.1%} {row['events']:>9.0f} {row['frames']:>9.1f}"
        f" {row['missing']:>8} {row['paints']:>9.1f} {n_bytes / seconds / 1e3:>7.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--show", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--into", help=argparse.SUPPRESS)
    parser.add_argument("--drawn", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.show:
        row = asyncio.run(show(asked.show, asked.seconds, asked.drawn))
        Path(asked.into).write_text(json.dumps(row), "utf-8")
        return
    print(
        f"{'at 1000 events a second':<28} {'core':>7} {'events/s':>9} {'frames/s':>9}"
        f" {'missing':>8} {'drawn/s':>9} {'kB/s':>7}"
    )
    measure("feed alone, 1 stream", 1, asked.seconds, drawn=False)
    measure("feed alone, 100 streams", 100, asked.seconds, drawn=False)
    for n_streams in (1, 100, 1000):
        measure(f"terminal, {n_streams} streams", n_streams, asked.seconds, drawn=True)


if __name__ == "__main__":
    main()
