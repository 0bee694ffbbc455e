"""midstream.quic beside aioquic and qh3, through asyncio: ``python quic_speed.py [CASE ...]``.

Server and client are processes of their own on the loopback interface; all do the same
work in turns, with datagrams of 1200 bytes and without checking certificates. Cases: handshake,
bulk, idle, echo, many, ten_thousand, urgent, stalled, flood, early, http3. About three minutes for
all of them; qh3, whose core is Rust, takes part where it is installed and its limit of streams
allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

# The folder of this file is where `benchmarks` is, also with python's -P.
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks._keeping import keep
from benchmarks.peers_quic import CHUNK, LIBRARIES

CASES = (
    "handshake",
    "bulk",
    "idle",
    "echo",
    "many",
    "ten_thousand",
    "urgent",
    "stalled",
    "flood",
    "early",
    "http3",
)
#: aioquic buffers without bound: as much as tells that, and no more than a machine has.
STALLED_BYTES = {"midstream": 1 << 30, "aioquic": 192 << 20, "qh3": 192 << 20}
BULK_BYTES = {"midstream": 200 << 20, "aioquic": 24 << 20, "qh3": 48 << 20}
IDLE_BYTES = {"midstream": 200 << 20, "aioquic": 4 << 20}
#: qh3's limit of about 100 streams cannot be raised.
QH3_CASES = ("handshake", "bulk", "echo")
#: Of a short path on land, one way.
DELAY_S = 0.005
#: What a flood offers each millisecond: datagrams of junk, and streams that are opened and reset.
FLOOD_JUNK, FLOOD_STREAMS = 5, 5
#: Unit of each figure that a case has.
UNIT = {
    "MB/s": "MB/s",
    "of itself": "x",
    "us": "us",
    "p99 us": "us",
    "ms": "ms",
    "s": "s",
    "client MB": "MiB",
    "server MB": "MiB",
    "grown MB": "MiB",
    "idle p99 ms": "ms",
    "p50 ms": "ms",
    "p99 ms": "ms",
    "ratio": "x",
    "MB sent": "MB",
    "sender grew MB": "MiB",
    "reader grew MB": "MiB",
    "idle p50 us": "us",
    "p50 us": "us",
    "junk/s": "/s",
    "streams/s": "/s",
    "server grew MB": "MiB",
    "requests/s": "/s",
    "whole ms": "ms",
    "early ms": "ms",
    "saves %": "%",
    "whole ms at 10 ms": "ms",
    "early ms at 10 ms": "ms",
    "saves % at 10 ms": "%",
}
PLAIN = {"max_datagram_size": 1200, "probe_mtu": False}


def resident_mb(pid="self", field="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/{pid}/status has no {field}")


async def upload(client, size, kind=b"S"):
    stream = await client.open()
    stream.write(kind)
    piece = bytes(CHUNK)
    for _ in range(size // CHUNK):
        stream.write(piece)
        await stream.drain()
    stream.write_eof()
    await stream.readexactly(1)


async def ask(client, data, kind=b"E", urgency=3):
    stream = await client.open(urgency)
    stream.write(kind + data)
    stream.write_eof()
    if len(await stream.read()) != len(data):
        raise RuntimeError("the echo has another length")


async def rate(client, size):
    await upload(client, CHUNK)
    began = time.perf_counter()
    await upload(client, size)
    return {"MB/s": size / (time.perf_counter() - began) / 1e6}


async def handshake(library, port):
    times = []
    for _ in range(60):
        began = time.perf_counter()
        async with LIBRARIES[library](port, PLAIN) as client:
            await ask(client, b"x")
            times.append(time.perf_counter() - began)
    return {"ms": median(times[10:]) * 1e3}


async def bulk(library, client, pid):
    return await rate(client, BULK_BYTES[library])


async def idle(library, client, pid):
    without = await rate(client, IDLE_BYTES[library])
    kept = []
    for _ in range(1000):
        stream = await client.open()
        stream.write(b"I")
        kept.append(stream)
    await ask(client, b"x")
    with_them = await rate(client, IDLE_BYTES[library])
    return {"MB/s": with_them["MB/s"], "of itself": with_them["MB/s"] / without["MB/s"]}


async def echo(library, client, pid):
    times = []
    for _ in range(2000):
        began = time.perf_counter()
        await ask(client, bytes(100))
        times.append(time.perf_counter() - began)
    times = times[200:]
    return {"us": median(times) * 1e6, "p99 us": quantiles(times, n=100)[98] * 1e6}


async def many(library, client, pid):
    # aioquic gives no more than 128 streams, and raises for one too many: it goes in waves.
    wave = 120 if LIBRARIES[library].has_limit else 1000
    await ask(client, bytes(1024))
    began = time.perf_counter()
    for start in range(0, 1000, wave):
        count = min(wave, 1000 - start)
        await asyncio.gather(*(ask(client, bytes(1024)) for _ in range(count)))
    return {"ms": (time.perf_counter() - began) * 1e3}


async def ten_thousand(library, client, pid):
    before = resident_mb(), resident_mb(pid)
    began = time.perf_counter()
    streams = []
    for i in range(10_000):
        stream = await client.open()
        stream.write(b"C" + b"%08d" % i)
        streams.append(stream)
        if i % 500 == 499:
            # What a sender with 10,000 streams does anyway: let the loop run now and then.
            await asyncio.sleep(0)
    for i, stream in enumerate(streams):
        if await stream.readexactly(8) != b"%08d" % i:
            raise RuntimeError(f"stream {i} has another's bytes")
    return {
        "s": time.perf_counter() - began,
        "client MB": resident_mb(),
        "server MB": resident_mb(pid),
        "grown MB": resident_mb() - before[0] + resident_mb(pid) - before[1],
    }


async def urgent(library, client, pid):
    async def times(count):
        found = []
        for _ in range(count):
            began = time.perf_counter()
            await ask(client, bytes(1024), b"P", 0)
            found.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)
        return quantiles(found, n=100)

    async def load():
        stream = await client.open(5)
        stream.write(b"S")
        while True:
            stream.write(bytes(16384))
            await stream.drain()
            # aioquic's drain never waits.
            await asyncio.sleep(0.001 if LIBRARIES[library].has_limit else 0)

    await times(50)
    quiet = await times(400)
    loads = [asyncio.ensure_future(load()) for _ in range(100)]
    await asyncio.sleep(0.5)
    busy = await times(400 if library == "midstream" else 20)
    for task in loads:
        task.cancel()
    return {
        "idle p99 ms": quiet[98] * 1e3,
        "p50 ms": busy[49] * 1e3,
        "p99 ms": busy[98] * 1e3,
        "ratio": busy[98] / quiet[98],
    }


async def stalled(library, client, pid):
    before = resident_mb(), resident_mb(pid)
    size = STALLED_BYTES[library]
    sending = asyncio.ensure_future(upload(client, size, b"T"))
    peaks = [0.0, 0.0]
    while not sending.done():
        await asyncio.sleep(0.05)
        peaks = [max(peaks[0], resident_mb()), max(peaks[1], resident_mb(pid))]
    await sending
    return {
        "MB sent": size / 1e6,
        "sender grew MB": peaks[0] - before[0],
        "reader grew MB": peaks[1] - before[1],
    }


async def flood(library, client, pid):
    """Echo on one connection while others flood the server; they take a core of their own."""

    async def times(count):
        found = []
        for _ in range(count):
            began = time.perf_counter()
            await ask(client, bytes(100))
            found.append(time.perf_counter() - began)
        return quantiles(found, n=100)

    await times(200)
    quiet = await times(1000)
    before = resident_mb(pid)
    flooding = subprocess.Popen(
        [sys.executable, "-P", __file__, "--flood", str(client._port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    flooding.stdout.readline()
    began = time.perf_counter()
    busy = await times(1000)
    took = time.perf_counter() - began
    flooding.stdin.close()
    junk, streams = map(int, flooding.stdout.readline().split())
    flooding.wait()
    flooding.stdout.close()
    return {
        "idle p50 us": quiet[49] * 1e6,
        "p50 us": busy[49] * 1e6,
        "p99 us": busy[98] * 1e6,
        "junk/s": junk / took,
        "streams/s": streams / took,
        "server grew MB": resident_mb(pid) - before,
    }


async def run_flood(port):
    from midstream._core.errors import QuicError

    rng = random.Random(1)
    junk = [rng.randbytes(rng.randrange(20, 1200)) for _ in range(500)]
    # What looks like the first packet of a connection, and is none.
    junk += [b"\xc0\0\0\0\1\x08" + rng.randbytes(1194) for _ in range(500)]
    over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    counts = [0, 0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.setblocking(False)
        async with LIBRARIES["midstream"](port, PLAIN) as client:
            sys.stdout.write("begun\n")
            sys.stdout.flush()
            while not over.done():
                with contextlib.suppress(BlockingIOError):
                    for _ in range(FLOOD_JUNK):
                        noise.sendto(rng.choice(junk), ("127.0.0.1", port))
                        counts[0] += 1
                # A server may end the connection for it, or allow no more streams: its right.
                with contextlib.suppress(QuicError, TimeoutError):
                    async with asyncio.timeout(0.001):
                        for _ in range(FLOOD_STREAMS):
                            stream = await client._connection.open_bi()
                            stream.write(b"E")
                            stream.abort(7)
                            counts[1] += 1
                await asyncio.sleep(0.001)
    sys.stdout.write(f"{counts[0]} {counts[1]}\n")


class Relay(asyncio.DatagramProtocol):
    """A path of `DELAY_S` in each direction: what a loopback lacks is what early data save."""

    def __init__(self, port):
        self.server, self.client, self.out = ("127.0.0.1", port), None, None

    def connection_made(self, transport):
        self.out = transport

    def datagram_received(self, data, address):
        if address != self.server:
            self.client = address
        to = self.client if address == self.server else self.server
        asyncio.get_running_loop().call_later(DELAY_S, self.out.sendto, data, to)


async def early(port):
    """A request's time with a whole handshake and with early data, without and with a delay."""
    loop = asyncio.get_running_loop()
    near = await early_at(port)
    relay, _ = await loop.create_datagram_endpoint(lambda: Relay(port), local_addr=("127.0.0.1", 0))
    far = await early_at(relay.get_extra_info("sockname")[1])
    relay.close()
    return near | {f"{name} at {2e3 * DELAY_S:.0f} ms": value for name, value in far.items()}


async def early_at(port):
    from midstream.quic.tickets import TicketStore

    whole, first = [], []
    for turn in range(31):
        # A store of its own each time: nothing to resume from.
        for times, options in (
            (whole, {"tickets": TicketStore()}),
            (first, {"early_data": True}),
        ):
            began = time.perf_counter()
            async with LIBRARIES["midstream"](port, {**PLAIN, **options}) as client:
                await ask(client, bytes(100))
                took = time.perf_counter() - began
                accepted = await client._connection.handshake_complete()
                await client._connection.ping()
            if turn and times is first and not accepted:
                raise RuntimeError("early data were not accepted")
            if turn:
                times.append(took)
    saved = 100 * (1 - median(first) / median(whole))
    return {"whole ms": median(whole) * 1e3, "early ms": median(first) * 1e3, "saves %": saved}


async def serve_http3(certificate, key):
    """A server of HTTP/3 that echoes what it is sent; what keeps it open, and its port."""
    from midstream.quic import Config, Identity, http3

    async def answer(request):
        return http3.Response(200, {}, request)

    options = Config(identity=Identity.load(certificate, key))
    kept = contextlib.AsyncExitStack()
    server = await kept.enter_async_context(http3.serve(answer, "127.0.0.1", 0, config=options))
    return kept, server.address[1]


async def requests(port):
    """Requests with a body of 100 bytes, one after another, and 64 at a time."""
    from midstream.quic import Config, http3

    trust = Config(insecure_skip_verify=True)
    async with http3.connect(f"https://127.0.0.1:{port}", config=trust) as session:

        async def one():
            response = await session.request("POST", "/", body=bytes(100))
            if len(await response.read()) != 100:
                raise RuntimeError("the echo has another length")

        times = []
        for _ in range(1000):
            began = time.perf_counter()
            await one()
            times.append(time.perf_counter() - began)

        async def many(count):
            for _ in range(count):
                await one()

        began = time.perf_counter()
        await asyncio.gather(*(many(100) for _ in range(64)))
        taken = time.perf_counter() - began
    return {"ms": median(times[100:]) * 1e3, "requests/s": 6400 / taken}


async def run_client(library, case, port, pid):
    if case == "http3":
        return await requests(port)
    if case == "early":
        return await early(port)
    if case == "handshake":
        return await handshake(library, port)
    async with LIBRARIES[library](port, PLAIN) as client:
        return await globals()[case](library, client, pid)


async def run_server(library, certificate, key, streams):
    if library == "http3":
        _kept, port = await serve_http3(certificate, key)
    else:
        options = PLAIN if library == "midstream" else {"streams": streams}
        _kept, port = await LIBRARIES[library].serve(certificate, key, options)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def measure(library, case, folder):
    streams = {"idle": 5000, "ten_thousand": 20_000}.get(case, 128)
    here = [sys.executable, "-P", __file__]
    kind = "http3" if case == "http3" else library
    server = subprocess.Popen(
        [*here, "--serve", kind, f"{folder}/certificate.pem", f"{folder}/key.pem", str(streams)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = server.stdout.readline().strip()
        client = subprocess.run(
            [*here, "--client", library, case, port, str(server.pid)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if client.returncode:
            return {"failed": client.stderr.strip().splitlines()[-1][:100]}
        return json.loads(client.stdout)
    except subprocess.TimeoutExpired:
        return {"failed": "not done after 60 s"}
    finally:
        server.stdin.close()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def main():
    from midstream.quic.certificates import Identity

    cases = sys.argv[1:] or CASES
    with tempfile.TemporaryDirectory() as folder:
        Identity.development().save(folder)
        for case in cases:
            for library in LIBRARIES:
                if case in ("early", "http3") and library != "midstream":
                    continue
                if library == "qh3" and case not in QH3_CASES:
                    continue
                found = measure(library, case, folder)
                for name, value in found.items():
                    if name != "failed":
                        keep(f"{case}.{library}.{name}", value, UNIT[name])
                shown = ", ".join(
                    f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in found.items()
                )
                sys.stdout.write(f"{case:13} {library:10} {shown}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(run_server(*sys.argv[2:5], int(sys.argv[5])))
    elif sys.argv[1:2] == ["--flood"]:
        asyncio.run(run_flood(int(sys.argv[2])))
    elif sys.argv[1:2] == ["--client"]:
        library, case, port, pid = sys.argv[2:6]
        sys.stdout.write(json.dumps(asyncio.run(run_client(library, case, int(port), int(pid)))))
    else:
        main()
