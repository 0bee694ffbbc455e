"""The same as ffmpeg's own detectors find, on the same frames."""

from __future__ import annotations

import io

import pytest
from stream.media.making import FPS, av, collect, encode, pictures, sound
from stream.media.serving import manifest

from midstream.stream import from_hls
from midstream.stream.media import media_spans

NEEDED = {"blackdetect", "freezedetect", "silencedetect", "scdet"}
PICTURES = (
    ("moving", 40), ("frozen", 60), ("moving", 30), ("black", 50), ("cut", 30), ("frozen", 45),
    ("cut", 20),
)  # fmt: skip
SOUND = (("tone", 2.0), ("silence", 3.0), ("tone", 1.5), ("silence", 2.5), ("tone", 2.0))


def said_by_ffmpeg(media, *filters, kind):
    """Metadata that filters leave on frames: name -> times, from 0 at the first frame."""
    with av.open(io.BytesIO(media)) as container:
        stream = container.streams.get({kind: 0})[0]
        graph = av.filter.Graph()
        if kind == "video":
            last = graph.add_buffer(template=stream)
        else:
            last = graph.add_abuffer(template=stream)
        for name, options in filters:
            added = graph.add(name, options)
            last.link_to(added)
            last = added
        sink = graph.add("buffersink" if kind == "video" else "abuffersink")
        last.link_to(sink)
        graph.configure()
        said, first = {}, None
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            graph.push(frame)
            for name, value in graph.pull().metadata.items():
                said.setdefault(name.removeprefix("lavfi."), []).append(float(value))
        start = float(container.streams.get({kind: 0})[0].start_time * stream.time_base)
    return said, start


@pytest.fixture(scope="module")
def media():
    if not av.filter.filters_available >= NEEDED:
        pytest.skip("this build of ffmpeg has no detectors")
    return encode(pictures(*PICTURES), sound(*SOUND), crf=20)


async def spans_of(media, tmp_path):
    (tmp_path / "a.ts").write_bytes(media)
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:11.0,", "a.ts"))
    events = await collect(from_hls(tmp_path / "x.m3u8"))
    with av.open(io.BytesIO(media)) as container:
        begin_s = min(float(s.start_time * s.time_base) for s in container.streams)
    return media_spans(events), events, begin_s


async def test_black(media, tmp_path):
    said, _ = said_by_ffmpeg(media, ("blackdetect", "d=1:pix_th=0.1"), kind="video")
    spans, _, begin_s = await spans_of(media, tmp_path)
    (ours,) = [span for span in spans if span.kind == "black"]
    assert said["black_start"] == [pytest.approx(ours.start_s + begin_s, abs=1 / FPS)]
    assert said["black_end"] == [pytest.approx(ours.end_s + begin_s, abs=1 / FPS)]


async def test_standstill(media, tmp_path):
    # By default it waits until an encoder's last change has died away, half a second.
    said, _ = said_by_ffmpeg(media, ("freezedetect", "d=1:n=0.004"), kind="video")
    spans, _, begin_s = await spans_of(media, tmp_path)
    ours = [span for span in spans if span.kind == "frozen" and span.duration_s >= 1]
    assert len(ours) == 3
    starts = [span.start_s + begin_s for span in ours]
    ends = [span.end_s + begin_s for span in ours]
    assert said["freezedetect.freeze_start"] == pytest.approx(starts, abs=2.5 / FPS)
    assert said["freezedetect.freeze_end"] == pytest.approx(ends, abs=1 / FPS)


async def test_silence(media, tmp_path):
    said, _ = said_by_ffmpeg(media, ("silencedetect", "noise=-50dB:d=1"), kind="audio")
    spans, _, begin_s = await spans_of(media, tmp_path)
    ours = [span for span in spans if span.kind == "silence"]
    assert len(ours) == 2
    starts = [span.start_s + begin_s for span in ours]
    ends = [span.end_s + begin_s for span in ours]
    # A block of 10 ms, and a frame of AAC that rings.
    assert said["silence_start"] == pytest.approx(starts, abs=0.03)
    assert said["silence_end"] == pytest.approx(ends, abs=0.03)


async def test_cuts(media, tmp_path):
    said, _ = said_by_ffmpeg(media, ("scdet", "threshold=10"), kind="video")
    _, events, begin_s = await spans_of(media, tmp_path)
    ours = [
        at_s + begin_s
        for event in events
        if event.kind == "video"
        for name, at_s in event.data["changes"]
        if name == "scene"
    ]
    assert said["scd.time"] == pytest.approx(ours, abs=1 / FPS)
