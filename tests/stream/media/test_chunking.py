"""Sound and pictures cut otherwise: the same figures, changes, events and findings."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.media import rtmp_server
from stream.media.making import RATE, collect, encode, hls, pictures, sound
from stream.media.serving import manifest
from stream.server import Server

from midstream.stream import from_hls, from_rtmp, watch
from midstream.stream.media import AudioMeter, MediaDetector, VideoMeter

PARTS = (
    *(("tone", 0.7), ("silence", 0.81), ("loud", 0.3), ("hiss", 0.9, -70), ("tone", 0.2)),
    ("silence", 0.633),
)


@functools.cache
def samples():
    return sound(*PARTS)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, sum(round(part[1] * RATE) for part in PARTS)), max_size=60))
def test_sound_in_frames_of_any_size(places):
    told = []
    for cuts in ((), sorted({*places})):
        meter = AudioMeter(RATE)
        edges = [0, *cuts, len(samples())]
        for start, end in itertools.pairwise(edges):
            meter.take(samples()[start:end], start / RATE)
        figures = meter.read()
        times = [at_s for _, at_s in figures["changes"]]
        names = [name for name, _ in figures["changes"]]
        numbers = {name: value for name, value in figures.items() if name != "changes"}
        told.append((names, numbers, times, meter.end_s, meter.samples))
    (names, numbers, times, *rest), other = told
    assert names == ["silence", "sound", "silence", "sound", "silence"]
    assert other[0] == names
    assert other[1] == pytest.approx(numbers, abs=1e-6)
    assert other[2] == pytest.approx(times, abs=1e-6)
    assert list(other[3:]) == pytest.approx(rest, abs=1e-9)


@functools.cache
def lumas():
    frames = pictures(("moving", 20), ("frozen", 60), ("black", 40), ("loop", 12, 5), ("cut", 3))
    return [frame[::5, ::5].astype(np.float32) / 255 for frame in frames]


@settings(deadline=None, max_examples=15)
@given(st.sets(st.integers(0, 182)))
def test_pictures_told_of_in_groups_of_any_size(places):
    told = []
    for read in (set(range(183)), places):
        meter = VideoMeter()
        changes, scenes, frames = [], 0, 0
        for k, luma in enumerate(lumas()):
            meter.take(luma, k / 25)
            if k in read or k == len(lumas()) - 1:
                figures = meter.read()
                changes += figures["changes"]
                scenes += figures["scenes"]
                frames += figures["frames"]
        left = ("frame", "fps", "jitter_ms", "black_s", "frozen_s", "loop_period_frames")
        told.append((changes, scenes, frames, [figures[name] for name in left]))
    assert told[0] == told[1]
    assert {"frozen", "black", "picture", "loop"} <= {name for name, _ in told[0][0]}


@pytest.fixture(scope="module")
def clip():
    return encode(
        pictures(("moving", 25), ("frozen", 50), ("black", 30), ("loop", 10, 4)),
        sound(("tone", 1.0), ("silence", 2.0), ("tone", 2.8)),
    )


def shown(events):
    """What does not depend on when it was read."""
    return [
        (event.kind, event.stream_id, event.data)
        for event in sorted(events, key=lambda event: event.stream_id)  # tracks beside each other
    ]


class Pieces:
    """A server that sends files in pieces of a size."""

    def __init__(self, files, size):
        self._files, self._size = files, size
        self._server = Server(self._answer)

    async def __aenter__(self):
        await self._server.__aenter__()
        return self._server

    async def __aexit__(self, *what):
        await self._server.__aexit__(*what)

    async def _answer(self, exchange):
        body = self._files[exchange.path]
        status = "200 OK"
        part = exchange.headers.get("range")
        if part is not None:
            first, last = map(int, part.removeprefix("bytes=").split("-"))
            body, status = body[first : last + 1], "206 Partial Content"
        await exchange.head(status, "Transfer-Encoding: chunked")
        for at in range(0, len(body), self._size):
            await exchange.chunk(body[at : at + self._size])
        await exchange.chunk(b"")


async def test_segments_that_come_in_pieces(clip, tmp_path):
    hls(tmp_path, clip)
    files = {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    wanted = shown(await collect(from_hls(tmp_path / "media.m3u8")))
    assert len(wanted) > 90
    for size in (101, 4096):
        async with Pieces(files, size) as server:
            events = await collect(from_hls(f"{server.url}/media.m3u8"))
        assert shown(events) == wanted


async def findings_of(source):
    guard = watch(source, detectors=[MediaDetector(silent_s=1.5, frozen_s=1.5)])
    events = await collect(guard)
    return events, [
        (found.kind, found.evidence["stream_id"], found.evidence["since_s"], found.message)
        for found in sorted(guard.findings, key=lambda found: found.kind)
    ]


@pytest.mark.parametrize("cuts", [(0.31, 0.32, 0.77), tuple(k / 23 for k in range(1, 23))])
async def test_one_file_cut_into_segments_at_any_packet(clip, tmp_path, cuts):
    """Ranges of bytes that begin in the midst of a picture, as those of careless packagers do."""
    path = tmp_path / "media.ts"
    path.write_bytes(clip)
    told = []
    for places in ((), cuts):
        edges = [0, *(round(len(clip) / 188 * place) * 188 for place in places), len(clip)]
        lines = []
        for start, end in itertools.pairwise(edges):
            lines += [f"#EXT-X-BYTERANGE:{end - start}@{start}", "#EXTINF:1.0,", "media.ts"]
        (tmp_path / "media.m3u8").write_bytes(manifest(*lines))
        events, found = await findings_of(from_hls(tmp_path / "media.m3u8"))
        told.append((shown(events), found))
    assert told[0][1] == told[1][1]
    assert {kind for kind, *_ in told[0][1]} == {"black", "frozen", "silence", "video_loop"}
    assert told[0][0] == told[1][0]


async def test_rtmp_in_chunks_of_any_size(clip, monkeypatch):
    flv = encode(
        pictures(("moving", 25), ("frozen", 50), ("black", 30), ("loop", 10, 4)),
        sound(("tone", 1.0), ("silence", 2.0), ("tone", 2.8)),
        format="flv",
    )
    told = []
    for size in (4096, 128, 999, 65_535):
        monkeypatch.setattr(rtmp_server, "_CHUNK", size)
        async with rtmp_server.RtmpServer(flv) as server:
            events, found = await findings_of(from_rtmp(server.url))
        told.append((shown(events), found))
    assert {kind for kind, *_ in told[0][1]} == {"black", "frozen", "silence", "video_loop"}
    for other in told[1:]:
        assert other == told[0]
