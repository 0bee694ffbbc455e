"""What the programs one folder up measure between processes, each figure followed by asv.

A program runs once for all of its figures. They are in seconds, bytes, shares of a core, or a
number a second, whatever the program prints; see its own text for what they mean.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import midstream

from ._keeping import KEEP

FOLDER = Path(__file__).resolve().parents[1]


def figures(script: str, *cases: str) -> dict[str, float]:
    """Run a program with the midstream of this process, and give what it keeps by name.

    A program that fails gives none: its figures are skipped, and asv shows what it said.
    """
    paths = [str(Path(midstream.__file__).parents[1]), str(FOLDER)]
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(folder) / "kept"
        environ = {**os.environ, KEEP: str(keep), "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            [sys.executable, str(FOLDER / script), *cases],
            env=environ,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode or not keep.exists():
            return {}
        records = map(json.loads, keep.read_text(encoding="utf-8").splitlines())
        return {one["name"].partition(".")[2]: one["value"] for one in records}


class _Figures:
    param_names = ("figure",)
    timeout = 900

    def setup(self, found, figure):
        if figure not in found:
            raise NotImplementedError(f"the program has no figure {figure!r}")

    def track_figure(self, found, figure):
        return found[figure]


class _Seconds(_Figures):
    unit = "s"


class _Bytes(_Figures):
    unit = "bytes"


class _Shares(_Figures):
    unit = "share"


class Guard(_Seconds):
    """`guard_cost.py`: an event of 20,000 tokens with calls between."""

    params = tuple(
        f"{guard}.{which}.20,000 tokens and calls"
        for guard in ("default detectors", "detectors and ten policies")
        for which in ("median", "p99")
    )

    def setup_cache(self):
        return figures("guard_cost.py")

    setup_cache.timeout = 900


class Proxy(_Seconds):
    """`proxy_speed.py`: what the proxy adds to the first byte and to a chunk, and computes."""

    params = (
        "first.midstream.adds",
        "chunk.midstream.adds",
        "cpu.midstream.request",
        "cpu.midstream.chunk",
    )

    def setup_cache(self):
        return figures("proxy_speed.py", "first", "chunk", "cpu", "many", "idle")

    setup_cache.timeout = 900


class ProxyMemory(_Bytes):
    """A stream that waits."""

    params = ("idle.midstream.after 3 chunks", "idle.midstream.after 100 chunks")
    setup_cache = Proxy.setup_cache


class ProxyLoss(_Figures):
    """Chunks that are lost of 500 streams at once."""

    params = ("many.midstream.lost",)
    unit = "chunks"
    setup_cache = Proxy.setup_cache


class StreamMemory(_Bytes):
    """`stream_memory.py`: what a stream that waits holds after 400 tokens, and after a call."""

    params = tuple(
        f"{kind}.{state}"
        for kind in ("both", "chat", "anthropic", "responses")
        for state in ("new", "400 tokens", "a call")
    )

    def setup_cache(self):
        return figures("stream_memory.py")

    setup_cache.timeout = 900


class Serving(_Seconds):
    """`server_load.py`: computing time of a delivery and its delay, beside a bare server."""

    params = ("midstream.delivery", "midstream.p99", "bare.delivery", "bare.p99")

    def setup_cache(self):
        return figures("server_load.py")

    setup_cache.timeout = 900


class Dashboard(_Shares):
    """`dashboard_cost.py`: share of a core at a thousand events a second."""

    params = (
        "feed, 1 streams.core",
        "sse, 1 streams.core",
        "sse, 100 streams.core",
        "sse, 10 streams, 50 readers.core",
        "webtransport, 1 streams.core",
    )

    def setup_cache(self):
        return figures("dashboard_cost.py", "feed", "sse", "readers", "webtransport")

    setup_cache.timeout = 900


class Paint(_Seconds):
    """`dashboard_cost.py paint`, with a headless Chromium."""

    params = ("first paint.median", "first frame shown.median")

    def setup_cache(self):
        return figures("dashboard_cost.py", "paint")

    setup_cache.timeout = 900


class Terminal(_Shares):
    """`terminal_cost.py`: the same in a terminal."""

    params = tuple(f"terminal, {count} streams.core" for count in (1, 100, 1000))

    def setup_cache(self):
        return figures("terminal_cost.py")

    setup_cache.timeout = 900


class Tools(_Figures):
    """`mcp_speed.py`: calls a second, beside an echo of a bare server."""

    params = tuple(
        f"2026-07-28.{tool}.{how}"
        for tool in ("bare echo", "get_status", "compare_sequences", "analyze_conversation")
        for how in ("one by one", "at once")
    )
    unit = "calls/s"

    def setup_cache(self):
        return figures("mcp_speed.py")

    setup_cache.timeout = 900


class ToolsStart(_Seconds):
    """From the start of the process to its first answer."""

    params = ("2026-07-28.bare.start", "2026-07-28.midstream.start")
    setup_cache = Tools.setup_cache


class RingInC(_Seconds):
    """`ring_in_c.py`: an item through the ring, without Python."""

    params = (
        "one thread, capacity 1024.ring",
        *(f"2 and 2, capacity {capacity}.ring" for capacity in (64, 1024, 65536)),
    )

    def setup_cache(self):
        return figures("ring_in_c.py")

    setup_cache.timeout = 900


class RingInCBesideMutex(_Figures):
    """A queue of a mutex and two condition variables: its time over the ring's."""

    params = tuple(f"2 and 2, capacity {capacity}.ratio" for capacity in (64, 1024, 65536))
    unit = "x"
    setup_cache = RingInC.setup_cache


class Quic(_Seconds):
    """`quic_speed.py`: what `quic.Rows` has no figure of."""

    params = (
        "urgent.midstream.p99 ms",
        "urgent.midstream.idle p99 ms",
        "flood.midstream.p50 us",
        "flood.midstream.idle p50 us",
        "ten_thousand.midstream.s",
        "ten_thousand.aioquic.s",
        "http3.midstream.ms",
    )

    def setup_cache(self):
        return figures("quic_speed.py", "urgent", "flood", "ten_thousand", "stalled", "http3")

    setup_cache.timeout = 900


class QuicRequests(_Figures):
    """Requests of HTTP/3 a second, 64 at a time."""

    params = ("http3.midstream.requests/s",)
    unit = "requests/s"
    setup_cache = Quic.setup_cache


class QuicMemory(_Bytes):
    """10,000 streams on one connection; a gigabyte to a reader that stalls in between."""

    params = (
        "ten_thousand.midstream.client MB",
        "ten_thousand.midstream.server MB",
        "stalled.midstream.sender grew MB",
        "stalled.midstream.reader grew MB",
    )
    setup_cache = Quic.setup_cache
