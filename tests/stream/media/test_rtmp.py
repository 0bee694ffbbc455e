"""RTMP: published to us, pulled from a server, and what is no RTMP at all; all on loopback."""

from __future__ import annotations

import asyncio
import random
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from stream.media.making import FPS, av, collect, encode, of_kind, pictures, sound
from stream.media.rtmp_server import RtmpServer

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    SourceError,
)
from midstream.stream import from_rtmp, watch
from midstream.stream.media import MediaDetector, MediaLimits, media_spans
from midstream.stream.media.relay import free_port

PUBLISHER = Path(__file__).with_name("publishing.py")
PICTURES = (("moving", 25), ("frozen", 40), ("black", 35), ("loop", 10, 5))
SOUND = (("tone", 1.0), ("silence", 2.0), ("tone", 3.0))


@pytest.fixture(autouse=True)
async def hang_guard():
    async with asyncio.timeout(30):
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("rtmp") / "clip.flv"
    path.write_bytes(encode(pictures(*PICTURES), sound(*SOUND), format="flv"))
    return path


class Publisher:
    """Starts when it is told where; ended with the test."""

    def __init__(self, path, *, pace=0.0, key=None):
        self._path, self._pace, self._key = path, pace, key
        self.process = None
        self.url = None

    def __call__(self, url):
        self.url = url if self._key is None else url.rpartition("/")[0] + f"/{self._key}"
        command = [sys.executable, str(PUBLISHER), self.url, str(self._path), str(self._pace)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def check_clip(events):
    spans = {}
    for span in media_spans(events, min_s=0.9):
        spans.setdefault(span.kind, (span.start_s, span.end_s))
    assert spans["frozen"] == pytest.approx((1.0, 2.6), abs=2.5 / FPS)
    assert spans["black"] == pytest.approx((2.6, 4.0), abs=2.5 / FPS)
    assert spans["silence"] == pytest.approx((1.0, 3.0), abs=0.06)
    assert {event.data["loop_period_frames"] for event in of_kind(events, "video")} == {None, 10}
    assert events[-1].kind == "end"
    assert events[-1].data["frames"] == 150
    assert events[-1].data["dropped"] == 0


async def test_a_stream_is_published_to_us(clip):
    with Publisher(clip) as publish:
        source = from_rtmp("rtmp://127.0.0.1:0/live/secret", listen=True, on_listening=publish)
        events = await collect(source)
    check_clip(events)
    assert publish.url.endswith("/live/secret")
    assert urlsplit(publish.url).port > 0
    video = of_kind(events, "video")
    # Its timestamps are whole milliseconds.
    assert video[5].data["fps"] == pytest.approx(25, abs=0.1)


async def test_findings_come_while_it_is_published(clip):
    """In real time: each finding when it happens, to what a loaded machine adds."""
    with Publisher(clip, pace=2.0) as publish:
        source = from_rtmp("rtmp://127.0.0.1:0/live/a", listen=True, on_listening=publish)
        guard = watch(source, detectors=[MediaDetector(silent_s=1.0, frozen_s=1.0)])
        arrivals = {}
        async for event in guard:
            if event.kind in ("audio", "video"):
                arrivals[event.stream_id] = event.t_ns
            for finding in guard.findings:
                arrivals.setdefault(finding.kind, event.t_ns)
    found = {finding.kind: finding.evidence for finding in guard.findings}
    assert {"silence", "frozen", "black", "video_loop"} <= set(found)
    assert found["frozen"]["since_s"] == pytest.approx(1.0, abs=2.5 / FPS)
    assert arrivals["silence"] < arrivals["video/0"] - 1e9


async def test_a_stream_is_pulled(clip):
    async with RtmpServer(clip.read_bytes()) as server:
        events = await collect(from_rtmp(server.url))
    check_clip(events)
    # It is asked as if there were nothing in between.
    assert server.url.removesuffix("/a").encode() in server.said


async def test_what_had_come_is_given_when_a_server_breaks_off(clip):
    async with RtmpServer(clip.read_bytes(), cut=200) as server:
        events = await collect(from_rtmp(server.url))
    assert events[-1].kind == "end"
    assert 0 < events[-1].data["frames"] < 150


async def test_tls_with_a_certificate_that_is_valid_and_no_other(clip, tmp_path, monkeypatch):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    names = ("-keyout", tmp_path / "key", "-out", tmp_path / "cert", "-subj", "/CN=127.0.0.1")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    made = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await made.wait() == 0
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with RtmpServer(clip.read_bytes(), tls=tls) as server:
        with pytest.raises(EndpointError, match="no connection: self-signed certificate"):
            await anext(from_rtmp(server.url))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        check_clip(await collect(from_rtmp(server.url)))
        assert server.url.removesuffix("/a").encode() in server.said


async def test_a_connection_that_breaks(clip):
    events = []
    async with RtmpServer(clip.read_bytes(), cut=200, reset=True) as server:
        with pytest.raises(EndpointError, match="the connection broke"):
            async for event in from_rtmp(server.url):
                events.append(event)  # noqa: PERF401
    assert of_kind(events, "video")
    assert not of_kind(events, "end")


async def test_a_wrong_key_is_refused_and_the_next_publisher_served(clip):
    with Publisher(clip, key="guess") as wrong, Publisher(clip) as right:
        urls = []

        def listening(url):
            urls.append(url)
            wrong(url)

        source = from_rtmp("rtmp://127.0.0.1:0/live/secret", listen=True, on_listening=listening)
        events = []
        async for event in source:
            events.append(event)
            if event.kind == "error":
                right(urls[0])
    told = of_kind(events, "error")
    assert [event.text.partition(": ")[2] for event in told] == [
        "the peer publishes with another key"
    ]
    check_clip(events[1:])


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\x03", b"\x03" + bytes(1536) + b"\xff" * 5000,
     b"\x03" + bytes(200_000), b"\x06" + bytes(1536)],
    ids=["http", "tls", "short", "handshake", "zeros", "rtmpe"],
)  # fmt: skip
async def test_garbage_is_told_and_the_listener_goes_on(clip, garbage):
    urls = []
    source = from_rtmp(
        "rtmp://127.0.0.1:0/live/secret",
        listen=True,
        on_listening=urls.append,
        limits=MediaLimits(idle_timeout_s=1.0),
    )
    reading = asyncio.create_task(anext(source))
    while not urls:
        await asyncio.sleep(0.01)
    _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(urls[0]).port)
    writer.write(garbage)
    writer.write_eof()
    event = await reading
    writer.close()
    assert event.kind == "error"
    with Publisher(clip) as publish:
        publish(urls[0])
        check_clip(await collect(source))


async def test_random_bytes_behind_the_handshake():
    rng = random.Random(3)
    urls = []
    source = from_rtmp(
        "rtmp://127.0.0.1:0/live/a",
        listen=True,
        on_listening=urls.append,
        limits=MediaLimits(idle_timeout_s=0.5),
    )
    reading = asyncio.create_task(collect(source))
    while not urls:
        await asyncio.sleep(0.01)
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(urls[0]).port)
        writer.write(b"\x03" + bytes(1536) + bytes(1536) + rng.randbytes(rng.randrange(9000)))
        writer.write_eof()
        await asyncio.sleep(0.1)
        writer.close()
        if reading.done():
            break
    with pytest.raises(SourceError):
        await reading


async def test_a_peer_that_says_nothing():
    gone = asyncio.Event()

    async def silent(reader, writer):
        while await reader.read(1000):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = from_rtmp(f"rtmp://127.0.0.1:{port}/live/a", limits=MediaLimits(idle_timeout_s=0.4))
    with pytest.raises(IdleTimeoutError, match=r"nothing arrived for 0\.4 s"):
        await anext(source)
    await gone.wait()
    server.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(5000)])
async def test_a_server_that_speaks_something_else(answer):
    async def speak(reader, writer):
        await reader.read(1537)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises((MalformedStreamError, EndpointError)):
        await anext(from_rtmp(f"rtmp://127.0.0.1:{port}/live/a"))
    server.close()


async def test_nobody_there():
    with pytest.raises(EndpointError, match="no connection"):
        await anext(from_rtmp(f"rtmp://127.0.0.1:{free_port()}/live/a"))


async def test_a_port_that_is_taken():
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(EndpointError, match="cannot listen"):
        await anext(from_rtmp(f"rtmp://127.0.0.1:{port}/live/a", listen=True))
    server.close()


@pytest.mark.parametrize("when", ["waiting", "connected", "playing"])
async def test_closing_ends_everything_at_once(clip, when):
    others = threading.enumerate()  # of offloads that earlier tests used
    with Publisher(clip, pace=1.0) as publish:
        urls = []
        source = from_rtmp(
            "rtmp://127.0.0.1:0/live/a",
            listen=True,
            on_listening=publish if when == "playing" else urls.append,
        )
        reading = asyncio.ensure_future(anext(source))
        if when == "playing":
            await reading
        else:
            while not urls:
                await asyncio.sleep(0.01)
        if when == "connected":
            _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(urls[0]).port)
            writer.write(b"\x03" + bytes(1536))
            await asyncio.sleep(0.2)
        await asyncio.wait_for(source.aclose(), 3)
        if when != "playing":
            with pytest.raises(StopAsyncIteration):
                await reading
        if when == "connected":
            writer.close()
    # The threads end with the source, and not when ffmpeg has lost patience.
    for thread in threading.enumerate():
        if "midstream" in thread.name and thread not in others:
            await asyncio.to_thread(thread.join, 3)
            assert not thread.is_alive()


async def test_cancelling_closes():
    source = from_rtmp("rtmp://127.0.0.1:0/live/a", listen=True)
    task = asyncio.create_task(collect(source))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 3)


def test_a_second_publisher_is_turned_away():
    """Both ends in one loop cannot be had; what the listener does with callers is tested here."""

    async def main():
        urls = []
        source = from_rtmp("rtmp://127.0.0.1:0/live/a", listen=True, on_listening=urls.append)
        reading = asyncio.create_task(collect(source))
        while not urls:
            await asyncio.sleep(0.01)
        port = urlsplit(urls[0]).port
        _, first = await asyncio.open_connection("127.0.0.1", port)
        first.write(b"\x03" + bytes(1536))
        await asyncio.sleep(0.2)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        first.close()
        second.close()
        reading.cancel()
        await asyncio.wait({reading})

    asyncio.run(main())


def test_arguments():
    for url in (
        "http://127.0.0.1/live/a",
        "rtmp://",
        "rtmp://h:0/live/a",
        "rtmp://h/",
        "rtmp://h b/x/y",
    ):
        with pytest.raises(ArgumentValueError, match="url must"):
            from_rtmp(url)
    with pytest.raises(ArgumentValueError, match="no valid host and port"):
        from_rtmp("rtmp://h:99999/live/a")
    with pytest.raises(ArgumentValueError, match="url must be rtmp://"):
        from_rtmp("rtmps://127.0.0.1:0/live/a", listen=True)
    with pytest.raises(ArgumentTypeError, match="url must be str, got bytes"):
        from_rtmp(b"rtmp://h/live/a")
    with pytest.raises(ArgumentTypeError, match="listen must be a bool"):
        from_rtmp("rtmp://h/live/a", listen=1)
    with pytest.raises(ArgumentValueError, match="on_listening needs listen=True"):
        from_rtmp("rtmp://h/live/a", on_listening=print)
    with pytest.raises(ArgumentValueError, match="more than 80 bytes"):
        from_rtmp("rtmp://h/live/" + "a" * 81, listen=True)
    with pytest.raises(ArgumentValueError) as caught:
        from_rtmp("rtmp://user:hunter2@h:0/live/a")
    assert "hunter2" not in str(caught.value)
    assert av is not None
