"""HLS, on demand and live, from files and over HTTP: what is found, and when."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import threading

import httpx2
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from stream.media.making import FPS, collect, encode, hls, of_kind, pictures, sound
from stream.media.serving import Site, folder, manifest

from midstream.errors import ArgumentTypeError, ArgumentValueError, IdleTimeoutError
from midstream.stream import from_hls, watch
from midstream.stream.media import MediaAnalysis, MediaDetector, MediaLimits, media_spans

pytest.importorskip("m3u8", reason="from_hls needs m3u8: pip install 'midstream[media]'")

#: 8 seconds: motion, standstill, black, and a loop of 20 frames; tone, silence, tone.
PICTURES = (
    ("moving", 25), ("frozen", 50), ("moving", 10), ("black", 40), ("loop", 20, 4), ("cut", 5),
)  # fmt: skip
SOUND = (("tone", 2.0), ("silence", 3.0), ("tone", 3.4))


@pytest.fixture(scope="module")
def clip():
    return encode(pictures(*PICTURES), sound(*SOUND))


@pytest.fixture(scope="module")
def site_folder(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("hls")
    hls(path, clip)
    return path


def spans_of(events):
    """The first stretch of each kind: a black picture stands still as well."""
    spans = {}
    for span in media_spans(events, min_s=0.9):
        spans.setdefault(span.kind, (span.start_s, span.end_s))
    return spans


def check_clip(events, *, start=0.0):
    """The findings of the clip, at the right times, to two frames."""
    spans = spans_of(events)
    near = 2.5 / FPS
    assert spans["frozen"] == pytest.approx((start + 1.0, start + 3.0), abs=near)
    assert spans["black"] == pytest.approx((start + 3.4, start + 5.0), abs=near)
    assert spans["silence"] == pytest.approx((start + 2.0, start + 5.0), abs=0.06)
    loops = [
        at_s
        for event in of_kind(events, "video")
        for name, at_s in event.data["changes"]
        if name == "loop"
    ]
    assert loops == [pytest.approx(start + 5.0 + 59 / FPS, abs=near)]
    periods = {event.data["loop_period_frames"] for event in of_kind(events, "video")}
    assert periods == {None, 20}


async def test_on_demand_from_files(site_folder):
    events = await collect(from_hls(site_folder / "media.m3u8"))
    check_clip(events)
    assert [event.seq for event in events] == list(range(len(events)))
    end = events[-1]
    assert end.kind == "end"
    assert end.data["frames"] == 210
    assert end.data["seconds"] == pytest.approx(8.4, abs=0.1)
    assert (end.data["dropped"], end.data["damaged"]) == (0, 0)
    video = of_kind(events, "video")
    assert all(event.data["size"] == [320, 180] for event in video)
    assert video[5].data["fps"] == pytest.approx(25)
    # Three frames of 40 ms each, and 100 ms of sound.
    assert len(video) == 70
    assert len(of_kind(events, "audio")) == pytest.approx(80, abs=8)
    assert {event.stream_id for event in video} == {"video/0"}


async def test_events_are_json_and_finite(site_folder):
    async for event in from_hls(site_folder / "media.m3u8"):
        assert json.loads(json.dumps(event.data, allow_nan=False)) == event.data
        if event.kind == "video":
            assert math.isfinite(event.data["brightness"])


async def test_a_watch_finds_it(site_folder):
    guard = watch(
        from_hls(site_folder / "media.m3u8"), detectors=[MediaDetector(silent_s=2, frozen_s=1.5)]
    )
    await collect(guard)
    found = {finding.kind: finding for finding in guard.findings}
    assert set(found) == {"silence", "frozen", "black", "video_loop"}
    assert found["silence"].evidence["since_s"] == pytest.approx(2.0, abs=0.06)
    assert found["silence"].evidence["at_s"] == pytest.approx(4.0, abs=0.15)
    assert found["frozen"].evidence["since_s"] == pytest.approx(1.0, abs=0.09)
    assert found["black"].evidence["since_s"] == pytest.approx(3.4, abs=0.05)
    assert found["video_loop"].evidence["period_frames"] == 20
    assert found["video_loop"].evidence["since_s"] == pytest.approx(5.0, abs=0.15)
    assert guard.report().outcome == "ended"


async def test_on_demand_over_http(site_folder):
    async with Site(folder(site_folder)) as site:
        events = await collect(from_hls(f"{site.url}/media.m3u8"))
    check_clip(events)
    # Each once, in order.
    assert site.asked[0] == "/media.m3u8"
    assert len(site.asked) == len(set(site.asked)) == len(list(site_folder.iterdir()))


async def test_fragmented_mp4(tmp_path):
    clip = encode(pictures(*PICTURES), sound(*SOUND), format="mp4")
    path = hls(tmp_path / "fmp4", clip, kind="fmp4")
    assert (tmp_path / "fmp4" / "init.mp4").is_file()
    events = await collect(from_hls(path))
    check_clip(events)


def id3(seconds):
    """The tag in front of packed audio, with the time of its first sample."""
    owner = b"com.apple.streaming.transportStreamTimestamp\x00"
    frame = owner + round(seconds * 90_000).to_bytes(8, "big")
    body = b"PRIV" + len(frame).to_bytes(4, "big") + bytes(2) + frame
    size = bytes([0, 0, len(body) >> 7, len(body) & 127])
    return b"ID3\x04\x00\x00" + size + body


@pytest.mark.parametrize(
    ("format", "codec"), [("adts", "aac"), ("mp3", "libmp3lame"), ("ac3", "ac3")]
)
async def test_packed_audio(tmp_path, format, codec):
    """Segments of sound alone, which say when they begin in a tag."""
    for number, part in enumerate(("tone", "silence", "tone")):
        media = encode(None, sound((part, 2.0)), format=format, acodec=codec)
        (tmp_path / f"{number}.{format}").write_bytes(id3(100 + 2.0 * number) + media)
    lines = [line for n in range(3) for line in ("#EXTINF:2.0,", f"{n}.{format}")]
    (tmp_path / "x.m3u8").write_bytes(manifest(*lines, target=2))
    events = await collect(from_hls(tmp_path / "x.m3u8"))
    # Encoders add some milliseconds to each segment.
    assert spans_of(events)["silence"] == pytest.approx((2.0, 4.0), abs=0.15)
    assert events[-1].data["seconds"] == pytest.approx(6.0, abs=0.3)
    assert of_kind(events, "audio")[5].data["level_dbfs"] == pytest.approx(-15.05, abs=0.5)


async def test_live_is_read_while_it_grows(site_folder):
    """Segments appear one by one; reading begins at the edge and ends with the list."""
    names = sorted(
        (path.name for path in site_folder.glob("*.ts")), key=lambda name: (len(name), name)
    )
    lines = [("#EXTINF:1.0,", name) for name in names]
    shown = 5
    polls = 0

    def playlist():
        nonlocal shown, polls
        polls += 1
        first = max(0, shown - 4)
        text = [line for pair in lines[first:shown] for line in pair]
        ended = shown == len(lines)
        body = manifest(*text, target=1, sequence=first, ended=ended)
        shown = min(len(lines), shown + 2)
        return body

    async with Site(folder(site_folder) | {"/live.m3u8": playlist}) as site:
        events = await collect(from_hls(f"{site.url}/live.m3u8"))
    # From three before the end of the first list on.
    asked = [path[1:] for path in site.asked if path.endswith(".ts")]
    assert asked == names[2:]
    assert polls >= 3
    assert not of_kind(events, "error")
    video = of_kind(events, "video")
    assert video[0].data["pts_s"] < 0.3
    assert events[-1].data["frames"] == pytest.approx(210 - 50, abs=1)
    # The arrival of what came with later lists is later.
    assert events[-1].t_ns - events[0].t_ns > 0.8e9


async def test_live_segments_that_are_gone_are_told(site_folder):
    names = sorted(
        (path.name for path in site_folder.glob("*.ts")), key=lambda name: (len(name), name)
    )
    lists = [
        manifest("#EXTINF:1.0,", names[0], sequence=0, ended=False),
        manifest("#EXTINF:1.0,", names[4], "#EXTINF:1.0,", names[5], sequence=4),
    ]

    def playlist():
        return lists.pop(0) if len(lists) > 1 else lists[0]

    async with Site(folder(site_folder) | {"/live.m3u8": playlist}) as site:
        events = await collect(from_hls(f"{site.url}/live.m3u8"))
    (told,) = of_kind(events, "error")
    assert told.text == "3 segments were gone before they could be read"
    assert told.data == {"missing_segments": 3}
    assert events[-1].kind == "end"


async def test_a_live_list_that_stops_growing(site_folder):
    body = manifest("#EXTINF:1.0,", "media0.ts", ended=False)
    limits = MediaLimits(idle_timeout_s=0.8)
    async with Site(folder(site_folder) | {"/live.m3u8": body}) as site:
        source = from_hls(f"{site.url}/live.m3u8", limits=limits)
        events = []
        with pytest.raises(IdleTimeoutError, match=r"no new segment for 0\.8 s"):
            events += [event async for event in source]
            raise AssertionError
        assert site.asked.count("/media0.ts") == 1


async def test_what_had_come_is_given_before_an_error(site_folder):
    body = manifest("#EXTINF:1.0,", "media0.ts", ended=False)
    async with Site(folder(site_folder) | {"/live.m3u8": body}) as site:
        events = []
        with pytest.raises(IdleTimeoutError):
            async for event in from_hls(
                f"{site.url}/live.m3u8", limits=MediaLimits(idle_timeout_s=0.6)
            ):
                events.append(event)  # noqa: PERF401
    assert sum(event.data["frames"] for event in of_kind(events, "video")) == 25


def master(*lines):
    return "\n".join(["#EXTM3U", *lines, ""]).encode()


async def test_a_version_is_chosen(site_folder):
    text = master(
        "#EXT-X-STREAM-INF:BANDWIDTH=4000000,RESOLUTION=1920x1080", "high/media.m3u8",
        "#EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360", "mid/media.m3u8",
        "#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=320x180", "low/media.m3u8",
    )  # fmt: skip
    files = {"/master.m3u8": text}
    for name in ("high", "mid", "low"):
        files |= folder(site_folder, f"/{name}/")
    for options, wanted in (
        ({}, "high"),
        ({"max_height": 720}, "mid"),
        ({"max_bandwidth_bps": 300_000}, "low"),
        ({"max_bandwidth_bps": 1}, "low"),
    ):
        async with Site(files) as site:
            source = from_hls(f"{site.url}/master.m3u8", **options)
            await anext(source)
            await source.aclose()
        assert site.asked[1] == f"/{wanted}/media.m3u8", options


async def test_sound_apart_from_the_picture(tmp_path):
    hls(tmp_path / "v", encode(pictures(*PICTURES)))
    hls(tmp_path / "a", encode(None, sound(*SOUND)))
    text = master(
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="en",DEFAULT=YES,URI="a/media.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=800000,AUDIO="s"', "v/media.m3u8",
    )  # fmt: skip
    (tmp_path / "master.m3u8").write_bytes(text)
    events = await collect(from_hls(tmp_path / "master.m3u8"))
    check_clip(events)
    assert {event.data["av_offset_s"] for event in of_kind(events, "video")} == {None}
    assert [event.kind for event in events].count("end") == 1


def sealed(data, key, iv):
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES128(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


async def test_encrypted_segments(site_folder):
    names = [f"media{n}.ts" for n in range(8)]
    key, iv = bytes(range(16)), bytes(range(16, 32))
    files = folder(site_folder)
    lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="key.bin",IV=0x{iv.hex()}']
    for number, name in enumerate(names):
        if number == 4:  # from here on the number of the segment is what it is begun with
            lines.append('#EXT-X-KEY:METHOD=AES-128,URI="key.bin"')
        lines += ["#EXTINF:1.0,", name]
        begin = iv if number < 4 else number.to_bytes(16, "big")
        files[f"/{name}"] = sealed(files[f"/{name}"], key, begin)
    lines += ["#EXT-X-KEY:METHOD=NONE", "#EXTINF:0.4,", "media8.ts"]
    async with Site(files | {"/key.bin": key, "/x.m3u8": manifest(*lines)}) as site:
        events = await collect(from_hls(f"{site.url}/x.m3u8"))
    check_clip(events)
    assert site.asked.count("/key.bin") == 1


async def test_byte_ranges(site_folder):
    """All segments in one file; the second range of each pair says only how long it is."""
    names = [f"media{n}.ts" for n in range(9)]
    files = folder(site_folder)
    whole, lines, at = b"", [], 0
    for number, name in enumerate(names):
        body = files[f"/{name}"]
        start = f"@{at}" if number % 2 == 0 else ""
        lines += ["#EXTINF:1.0,", f"#EXT-X-BYTERANGE:{len(body)}{start}", "all.ts"]
        whole, at = whole + body, at + len(body)
    async with Site({"/all.ts": whole, "/x.m3u8": manifest(*lines)}) as site:
        events = await collect(from_hls(f"{site.url}/x.m3u8"))
    check_clip(events)
    assert site.asked.count("/all.ts") == 9


async def test_a_discontinuity_keeps_one_time_axis(tmp_path):
    first = encode(pictures(("moving", 50)), sound(("tone", 2.0)), offset_s=100.0)
    second = encode(pictures(("black", 50)), sound(("silence", 2.0)))
    (tmp_path / "a.ts").write_bytes(first)
    (tmp_path / "b.ts").write_bytes(second)
    body = manifest("#EXTINF:2.0,", "a.ts", "#EXT-X-DISCONTINUITY", "#EXTINF:2.0,", "b.ts")
    (tmp_path / "x.m3u8").write_bytes(body)
    events = await collect(from_hls(tmp_path / "x.m3u8"))
    spans = spans_of(events)
    assert spans["black"] == pytest.approx((2.0, 4.0), abs=0.1)
    assert events[-1].data["seconds"] == pytest.approx(4.0, abs=0.15)
    assert {event.stream_id for event in of_kind(events, "video")} == {"video/0"}


@pytest.mark.parametrize("time", ["12:00:00Z", "14:00:00.000+02:00", "12:00:00"])
async def test_program_time(site_folder, time):
    lines = [f"#EXT-X-PROGRAM-DATE-TIME:2026-03-01T{time}", "#EXTINF:1.0,", "media0.ts"]
    async with Site(folder(site_folder) | {"/x.m3u8": manifest(*lines)}) as site:
        events = await collect(from_hls(f"{site.url}/x.m3u8"))
    data = of_kind(events, "video")[-1].data
    assert data["program_time_s"] == pytest.approx(1772366400 + data["pts_s"], abs=0.01)


async def test_low_latency_lists_are_read_by_whole_segments(site_folder):
    lines = [
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0",
        "#EXT-X-PART-INF:PART-TARGET=0.33",
        "#EXTINF:1.0,", "media0.ts",
        '#EXT-X-PART:DURATION=0.33,URI="part1.ts",INDEPENDENT=YES', "#EXTINF:1.0,", "media1.ts",
        '#EXT-X-PART:DURATION=0.33,URI="part2.ts"',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="part3.ts"',
    ]  # fmt: skip
    async with Site(folder(site_folder) | {"/x.m3u8": manifest(*lines)}) as site:
        events = await collect(from_hls(f"{site.url}/x.m3u8"))
    assert site.asked == ["/x.m3u8", "/media0.ts", "/media1.ts"]
    assert events[-1].data["frames"] == 50


async def test_missing_segments_are_told_and_the_rest_is_read(site_folder):
    lines = ["#EXTINF:1.0,", "media0.ts", "#EXTINF:1.0,", "no.ts", "#EXTINF:1.0,", "media2.ts"]
    lines += ["#EXT-X-GAP", "#EXTINF:1.0,", "media3.ts"]
    async with Site(folder(site_folder) | {"/x.m3u8": manifest(*lines)}) as site:
        events = await collect(from_hls(f"{site.url}/x.m3u8"))
    assert [event.data["missing_segments"] for event in of_kind(events, "error")] == [1, 1]
    assert events[-1].data["frames"] == 50
    assert any(event.data["gap_s"] > 0.9 for event in of_kind(events, "video"))
    assert "/media3.ts" not in site.asked


async def test_headers_go_to_the_origin_alone(site_folder):
    async with Site(folder(site_folder)) as other:
        body = manifest("#EXTINF:1.0,", "media0.ts", "#EXTINF:1.0,", f"{other.url}/media1.ts")
        async with Site(folder(site_folder) | {"/x.m3u8": body}) as site:
            headers = {"Authorization": "Bearer secret-of-the-manifest"}
            await collect(from_hls(f"{site.url}/x.m3u8", headers=headers))
        assert all("authorization" in headers for headers in site.headers)
        assert [("authorization" in headers) for headers in other.headers] == [False]


async def test_a_client_of_your_own_stays_open(site_folder):
    async with httpx2.AsyncClient() as client, Site(folder(site_folder)) as site:
        await collect(from_hls(f"{site.url}/media.m3u8", client=client))
        assert not client.is_closed


async def test_speed_holds_media_back(site_folder):
    body = manifest("#EXTINF:1.0,", "media0.ts")
    async with Site(folder(site_folder) | {"/x.m3u8": body}) as site:
        events = await collect(from_hls(f"{site.url}/x.m3u8", speed=2.0))
    video = of_kind(events, "video")
    # Nothing comes before its time at twice the speed; load only makes it later.
    begin_s = video[0].data["pts_s"]
    for event in video:
        assert event.t_ns >= (event.data["pts_s"] - begin_s) / 2 * 1e9
    assert video[-1].data["pts_s"] - begin_s > 0.8


async def test_a_slow_reader_loses_nothing(site_folder):
    source = from_hls(site_folder / "media.m3u8", limits=MediaLimits(max_pending_events=2))
    events = []
    async for event in source:
        events.append(event)
        if len(events) % 20 == 0:
            await asyncio.sleep(0.01)
    check_clip(events)


async def test_rate_of_events(site_folder):
    analysis = MediaAnalysis(events_per_s=2)
    events = await collect(from_hls(site_folder / "media.m3u8", analysis=analysis))
    assert 15 <= len(of_kind(events, "video")) <= 18
    check_clip(events)


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_closing_at_any_time(site_folder, after):
    source = from_hls(site_folder / "media.m3u8", speed=1.0)
    for _ in range(after):
        await anext(source)
    await asyncio.wait_for(source.aclose(), 5)
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_no_more_is_asked_for_than_a_reader_needs_soon(site_folder):
    """A watch that stops early does not load the whole of a film."""
    async with Site(folder(site_folder)) as site:
        source = from_hls(f"{site.url}/media.m3u8", speed=0.5)
        await anext(source)
        await asyncio.sleep(0.5)
        await source.aclose()
    assert len([path for path in site.asked if path.endswith(".ts")]) <= 7


async def test_cancelling_closes(site_folder):
    source = from_hls(site_folder / "media.m3u8", speed=0.5)
    task = asyncio.create_task(collect(source))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_a_source_that_is_dropped_ends_its_threads(site_folder):
    source = from_hls(site_folder / "media.m3u8", speed=0.5)
    async for event in source:
        assert event.data
        break
    del source
    gc.collect()
    for _ in range(200):
        await asyncio.sleep(0.02)
        if not [thread for thread in threading.enumerate() if "-hls-" in thread.name]:
            return
    raise AssertionError("a thread goes on")


async def test_many_at_once(site_folder):
    streams = [collect(from_hls(site_folder / "media.m3u8")) for _ in range(3)]
    for events in await asyncio.gather(*streams):
        check_clip(events)


def test_arguments(tmp_path):
    for url in ("ftp://example.org/x.m3u8", "file:///etc/passwd", "http://", "concat:a|b"):
        with pytest.raises(ArgumentValueError, match="url must be http"):
            from_hls(url)
    with pytest.raises(ArgumentTypeError, match="url must be str or Path, got int"):
        from_hls(3)
    with pytest.raises(ArgumentValueError, match="max_height"):
        from_hls("http://127.0.0.1/x.m3u8", max_height=0)
    with pytest.raises(ArgumentValueError, match="speed"):
        from_hls("http://127.0.0.1/x.m3u8", speed=0)
    with pytest.raises(ArgumentTypeError, match="limits must be MediaLimits"):
        from_hls("http://127.0.0.1/x.m3u8", limits={"max_pixels": 3})
    with pytest.raises(ArgumentTypeError, match="transcriber must have take and finish"):
        from_hls("http://127.0.0.1/x.m3u8", transcriber=object())
    with pytest.raises(ArgumentTypeError, match="object_detector must have detect"):
        from_hls("http://127.0.0.1/x.m3u8", object_detector=object())
    with pytest.raises(ArgumentTypeError, match=r"client must be an httpx2\.AsyncClient"):
        from_hls("http://127.0.0.1/x.m3u8", client=object())
    with pytest.raises(ArgumentValueError, match="max_pixels"):
        MediaLimits(max_pixels=0)
