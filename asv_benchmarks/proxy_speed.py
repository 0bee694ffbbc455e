"""What `midstream proxy` adds to a stream: ``python proxy_speed.py [CASE ...] [--litellm PYTHON]``.

A server that plays a model, the proxy with all default detectors and the ten ready rules, and the
client are processes of their own on the loopback interface. Direct and proxied requests take turns.
The model thinks for 20 milliseconds before it answers, as hardly any does in less. Every chunk
carries the time at which it was sent, so that its way is measured and not its gap. Cases: first
(time to the first byte), chunk (time of a chunk's way, one stream at a time), cpu (what the proxy
computes for them), many (500 streams at once: a chunk's way, and whether anything is lost), idle
(memory of a stream that says nothing), bare (first and chunk without detectors and rules). Two
minutes.

With ``--litellm``, the Python of another environment in which ``litellm[proxy]`` is installed, its
proxy takes part in first and chunk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

# The folder of this file is where `benchmarks` is, also with python's -P.
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks._keeping import keep

CASES = ("first", "chunk", "cpu", "many", "idle", "bare")
WORDS = [f"w{n:x}" for n in random.Random(3).sample(range(1 << 20), 500)]
BODY = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]})
#: Of a stream: chunks, and seconds between them.
CHUNKS, GAP_S = 100, 0.005
#: How long the model thinks before it says the first word: hardly any is faster.
THINK_S = 0.02
MANY, MANY_CHUNKS, MANY_GAP_S = 500, 60, 0.25
IDLE = 500
RULES = """
[ready.call-limit]
calls = 1000
[ready.confirm-before-destroy]
[ready.ends-with-answer]
[ready.no-repeated-failing-call]
[ready.no-secret]
[ready.rate-limit]
calls = 1000
[ready.read-before-write]
[ready.time-limit]
seconds = 3600
[ready.token-budget]
tokens = 1000000
[ready.untrusted-input]
"""


# The model


def chunk(word, **more):
    choice = {"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}
    payload = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "system_fingerprint": "fp_0123456789",
        "choices": [{**choice, **more}],
    }
    text = json.dumps(payload, separators=(",", ":"))
    return text[:-1] + ',"sent":'


async def model(reader, writer):
    """Play a model: the path says how many chunks, how far apart, and whether it then hangs."""
    make = random.Random(7)
    heads = [chunk(f" {make.choice(WORDS)} {n}").encode() for n in range(1000)]
    last = chunk("", finish_reason="stop").encode()
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            await reader.readexactly(length)
            ask = head.split(b" ")[1].decode()
            count, gap_s, hang = CHUNKS, GAP_S, False
            if "?" in ask:
                count, gap_s, hang = json.loads(urllib.request.unquote(ask.partition("?")[2]))
            await asyncio.sleep(THINK_S)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            for number in range(count):
                if number:
                    await asyncio.sleep(gap_s)
                body = b"data: %b%d}\n\n" % (heads[number % 1000], time.monotonic_ns())
                writer.write(b"%x\r\n%b\r\n" % (len(body), body))
            if hang:
                await reader.read()
                return
            body = b"data: %b0}\n\ndata: [DONE]\n\n" % last
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def play():
    server = await asyncio.start_server(model, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


# The client


class Connection:
    """A client that adds little: bytes out, bytes in, and when they came."""

    def __init__(self, port, path="/v1/chat/completions", ask=None):
        self.port = port
        self.path = path
        self.ask = ask
        self.reader = self.writer = None

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    def send(self):
        query = "" if self.ask is None else "?" + urllib.request.quote(json.dumps(self.ask))
        self.writer.write(
            f"POST {self.path}{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
            f"\r\nAuthorization: Bearer k\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
        )

    async def first(self):
        """Seconds to the first byte of a body; the rest is read."""
        start = time.perf_counter()
        self.send()
        await self.reader.readuntil(b"\r\n\r\n")
        rest = await self.reader.read(16)
        took = time.perf_counter() - start
        while not rest.endswith(b"0\r\n\r\n"):
            rest = rest[-16:] + await self.reader.read(65536)
        return took

    async def ways(self):
        """Seconds that each chunk was on its way, and how many came."""
        self.send()
        await self.reader.readuntil(b"\r\n\r\n")
        took = []
        count = 0
        while True:
            size = int(await self.reader.readline(), 16)
            body = (await self.reader.readexactly(size + 2))[:-2]
            now_ns = time.monotonic_ns()
            if not size:
                return took, count
            for part in body.split(b"\n\n"):
                place = part.rfind(b'"sent":')
                if place >= 0:
                    count += 1
                    sent_ns = int(part[place + 7 :].rstrip(b"}"))
                    if sent_ns:
                        took.append((now_ns - sent_ns) / 1e9)

    async def begun(self):
        """Wait for the first byte of the body."""
        self.send()
        await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.read(16)


def row(case, name, values, unit, scale):
    values = sorted(value * scale for value in values)
    p99 = quantiles(values, n=100)[98]
    print(f"{case:10} {name:9} median {median(values):9.1f} {unit}   p99 {p99:9.1f} {unit}")
    keep(f"{case}.{name}.median", median(values), unit)
    keep(f"{case}.{name}.p99", p99, unit)
    return median(values), p99


async def first(ports, path, rounds=150, case="first"):
    took = {name: [] for name in ports}
    async with contextlib.AsyncExitStack() as stack:
        connections = {
            name: await stack.enter_async_context(Connection(port, path, [3, 0.004, False]))
            for name, port in ports.items()
        }
        for turn in range(rounds):
            for name, connection in connections.items():
                value = await connection.first()
                if turn >= 10:
                    took[name].append(value)
    compared(case, took, "us", 1e6)


async def chunks(ports, path, rounds=12, case="chunk"):
    took = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            async with Connection(port, path) as connection:
                values, count = await connection.ways()
                assert count == CHUNKS + 1, (name, count)
                took[name] += values[1:]
    compared(case, took, "us", 1e6)


def compared(case, took, unit, scale):
    told = {name: row(case, name, values, unit, scale) for name, values in took.items()}
    direct = told["direct"]
    for name, values in told.items():
        if name != "direct":
            added = [value - base for value, base in zip(values, direct, strict=True)]
            print(f"{case:10} {name:9} adds   {added[0]:9.1f} {unit}   p99 {added[1]:9.1f} {unit}")
            keep(f"{case}.{name}.adds", added[0], unit)


def cpu_s(pid):
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cpu(ports, path, pid, rounds=400, long=4000):
    """What the proxy computes, however busy the machine is: of a request, and of a chunk."""
    port = ports["midstream"]
    told = []
    for count in (1, long):
        async with Connection(port, path, [count, 0.0005, False]) as connection:
            await connection.ways()
            before = cpu_s(pid)
            turns = rounds if count == 1 else 3
            for _ in range(turns):
                await connection.ways()
            told.append((cpu_s(pid) - before) / turns)
    keep("cpu.midstream.request", told[0], "s")
    keep("cpu.midstream.chunk", (told[1] - told[0]) / long, "s")
    print(f"cpu    midstream {told[0] * 1e6:6.0f} us a request of one chunk")
    print(f"cpu    midstream {(told[1] - told[0]) / long * 1e6:6.0f} us a further chunk")


async def many(ports, path):
    for name in ("direct", "midstream"):
        ask = [MANY_CHUNKS, MANY_GAP_S, False]

        async def one(number, ask=ask, port=ports[name]):
            await asyncio.sleep(number * MANY_GAP_S / MANY)
            async with Connection(port, path, ask) as connection:
                return await connection.ways()

        start = time.perf_counter()
        ended = await asyncio.gather(*[one(n) for n in range(MANY)], return_exceptions=True)
        took_s = time.perf_counter() - start
        good = [got for got in ended if not isinstance(got, BaseException)]
        came = sum(count for _, count in good)
        wanted = MANY * (MANY_CHUNKS + 1)
        values = [value for values, _ in good for value in values[1:]]
        row("many", name, values, "us", 1e6)
        keep(f"many.{name}.whole", len(good), "count")
        keep(f"many.{name}.lost", wanted - came, "count")
        print(
            f"many   {name:9} {len(good)} of {MANY} streams whole, {came} of {wanted} chunks, "
            f"{came / took_s:.0f} a second"
        )


def resident_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise OSError(f"/proc/{pid}/status has no VmRSS")


async def idle(ports, path, pid):
    """Memory of a stream that has said little, of the second hundreds: the first fill caches."""
    for count in (3, 100):
        async with contextlib.AsyncExitStack() as stack:
            sizes = []
            for _ in range(2):
                await asyncio.sleep(0.5)
                sizes.append(resident_kib(pid))
                ask = [count, 0.0, True]
                for _ in range(IDLE // 2):
                    connection = Connection(ports["midstream"], path, ask)
                    await (await stack.enter_async_context(connection)).begun()
            await asyncio.sleep(1.0)
            sizes.append(resident_kib(pid))
        each = [(after - before) / (IDLE / 2) for before, after in pairwise(sizes)]
        keep(f"idle.midstream.after {count} chunks", each[1], "KiB")
        print(
            f"idle   midstream {each[0]:6.1f} and {each[1]:6.1f} KiB a stream after {count} chunks"
        )
        await asyncio.sleep(1.0)


# The processes


@contextlib.contextmanager
def running(*command, **more):
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, **more
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def proxying(port, folder, *, bare=False):
    command = [sys.executable, "-P", "-m", "midstream", "proxy"]
    command += ["--upstream", f"http://127.0.0.1:{port}", "--port", "0", "--json", "--drain", "0"]
    if bare:
        command += ["--on-loop", "off", "--on-stall", "off"]
    else:
        rules = Path(folder) / "rules.toml"
        rules.write_text(RULES)
        command += ["--rules", str(rules)]
    with running(*command) as process:
        url = json.loads(process.stdout.readline())["url"]
        yield int(url.rpartition(":")[2]), process.pid


@contextlib.contextmanager
def litellm(python, port, folder):
    """LiteLLM's proxy, without keys and database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    config = Path(folder) / "litellm.yaml"
    config.write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": "m",
                        "litellm_params": {
                            "model": "openai/m",
                            "api_base": f"http://127.0.0.1:{port}/v1",
                            "api_key": "k",
                        },
                    }
                ]
            }
        )
    )
    command = Path(python).parent / "litellm"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    quiet = {"stderr": subprocess.DEVNULL, "env": environment}
    with running(command, "--config", config, "--port", own, "--host", "127.0.0.1", **quiet):
        for _ in range(240):
            time.sleep(0.5)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", own), 1):
                break
        time.sleep(2)
        yield own


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--litellm", metavar="PYTHON")
    parser.add_argument("--play", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.play:
        asyncio.run(play())
        return
    unknown = set(args.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case: {', '.join(sorted(unknown))}")
    cases = args.cases or CASES
    path = "/v1/chat/completions"
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        player = stack.enter_context(running(sys.executable, "-P", __file__, "--play"))
        direct = int(player.stdout.readline())
        own, pid = stack.enter_context(proxying(direct, folder))
        ports = {"direct": direct, "midstream": own}
        both = dict(ports)
        if args.litellm is not None:
            both["litellm"] = stack.enter_context(litellm(args.litellm, direct, folder))
        if "first" in cases:
            asyncio.run(first(both, path))
        if "chunk" in cases:
            asyncio.run(chunks(both, path))
        if "cpu" in cases:
            asyncio.run(cpu(ports, path, pid))
        if "many" in cases:
            asyncio.run(many(ports, path))
        if "idle" in cases:  # in a process that has no memory to spare from before
            own, pid = stack.enter_context(proxying(direct, folder))
            asyncio.run(idle({"midstream": own}, path, pid))
        if "bare" in cases:
            own, _ = stack.enter_context(proxying(direct, folder, bare=True))
            ports["midstream"] = own
            asyncio.run(first(ports, path, case="bare first"))
            asyncio.run(chunks(ports, path, case="bare chunk"))


if __name__ == "__main__":
    main()
