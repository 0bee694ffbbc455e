"""Between threads and the event loop: bounds, order, endings; and time axes."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading

import pytest
from stream.media.making import av, encode, pattern, pictures, sound, video_frame

from midstream.stream.media.beside import Beside
from midstream.stream.media.channel import Channel, Draft, DraftDecoder
from midstream.stream.media.decoding import Pacer, Position, Run, decode_run, open_bytes
from midstream.stream.media.pieces import Piece, PieceQueue, container_format, id3_start_s
from midstream.stream.media.settings import MediaAnalysis, MediaLimits
from midstream.stream.media.timeline import Backlog, RunClock, Timeline
from midstream.stream.media.tracks import Tracks


async def test_a_channel_is_bounded_and_in_order():
    channel = Channel(3)
    put = []

    def work():
        for n in range(50):
            channel.put(Draft("text", n, str(n)), wait=True)
            put.append(n)
        channel.put(ValueError("over"), wait=False)

    thread = threading.Thread(target=work)
    thread.start()
    await asyncio.sleep(0.05)
    assert len(put) == 3
    assert not channel.has_room
    got = []
    with pytest.raises(ValueError, match="over"):
        while True:
            got += [draft.text for draft in await channel.get()]
    assert got == [str(n) for n in range(50)]
    thread.join()


async def test_a_channel_that_is_shut_frees_who_waits():
    channel = Channel(1)
    results = []

    def work():
        results.extend(channel.put(Draft("text", 0), wait=True) for _ in range(3))

    thread = threading.Thread(target=work)
    thread.start()
    await asyncio.sleep(0.02)
    channel.shut_down()
    await asyncio.to_thread(thread.join)
    assert results == [True, False, False]
    with pytest.raises(StopAsyncIteration):
        await channel.get()


def test_drafts_are_numbered_and_timed():
    decoder = DraftDecoder(1000)
    first = decoder.feed([Draft("audio", 1500), Draft("video", 900)], 0)
    (second,) = decoder.feed([Draft("end", 3000)], 0)
    assert [event.seq for event in (*first, second)] == [0, 1, 2]
    assert [event.t_ns for event in (*first, second)] == [500, 0, 2000]


def test_what_works_beside_waits_or_drops_the_oldest():
    gate = threading.Event()
    done = []

    def work(item):
        gate.wait(5)
        done.append(item)

    beside = Beside(work, max_items=3, wait=False, name="test")
    for n in range(10):
        beside.put(n)
    gate.set()
    beside.finish()
    assert done[-4:] == [7, 8, 9, None]
    assert beside.dropped == 10 - (len(done) - 1)

    patient = Beside(done.append, max_items=1, wait=True, name="test")
    done.clear()
    for n in range(100):
        patient.put(n)
    patient.finish()
    assert done == [*range(100), None]
    assert patient.dropped == 0


def test_what_fails_beside_is_raised():
    def work(item):
        raise KeyError("no model")

    failures = []
    beside = Beside(work, max_items=2, wait=True, name="test", on_failure=failures.append)
    beside.put(1)
    with pytest.raises(KeyError, match="no model"):
        beside.finish()
    with pytest.raises(KeyError):
        beside.put(2)
    assert len(failures) == 1


def test_one_time_axis_through_discontinuities():
    timeline = Timeline()
    assert timeline.offset_s(0, start_s=10.0, end_s=0.0) == -10.0
    # The other rendition of the same stretch, whose first timestamp differs.
    assert timeline.offset_s(0, start_s=10.02, end_s=0.0) == -10.0
    assert timeline.offset_s(1, start_s=500.0, end_s=4.0) == -496.0
    for stretch in range(2, 100):  # a live stream has no end of them
        timeline.offset_s(stretch, start_s=0.0, end_s=1.0)
    assert len(timeline._offsets_s) <= 16


def test_a_clock_whose_timestamps_jump_or_are_missing():
    clock = RunClock(-5.0)
    assert clock.place("v", 5.0, 0.04) == 0.0
    assert clock.place("v", 5.04, 0.04) == pytest.approx(0.04)
    assert clock.place("v", 9000.0, 0.04) == pytest.approx(0.08)
    assert clock.place("v", 9000.04, 0.04) == pytest.approx(0.12)
    assert clock.place("v", None, 0.04) == pytest.approx(0.16)
    assert clock.place("v", -4.0, None) == pytest.approx(0.2)
    assert clock.place("a", 5.5, 0.02) == pytest.approx(0.5)


def test_a_backlog_is_no_late_arrival():
    backlog = Backlog(1.0)
    # Waits for data now and then: whoever is late, it is not us.
    for n in range(100):
        assert not backlog.is_behind(0.01 if n % 5 == 0 else 0.0, n / 10, media_s=n / 30)
    # Never waits, but decodes faster than time goes by: it catches up.
    backlog = Backlog(1.0)
    assert not any(backlog.is_behind(0.0, n / 100, media_s=n / 10) for n in range(500))


def frames(tracks, n):
    for k in range(n):
        tracks.video((0, 0)).take(video_frame(pattern(k), k), k / 25)
        frame = av.AudioFrame.from_ndarray(
            sound(("tone", 0.04)).T.copy(), format="fltp", layout="stereo"
        )
        frame.sample_rate = 48_000
        tracks.audio((0, 1)).take(frame, k / 25)


def test_a_live_stream_that_is_not_read_is_summed_up():
    channel = Channel(4)
    tracks = Tracks(channel, MediaAnalysis(), MediaLimits(), live=True, place="x")
    frames(tracks, 100)
    tracks.finish()
    drafts = list(channel._items)
    assert len(drafts) <= 8
    assert sum(draft.data["frames"] for draft in drafts if draft.kind == "video") == 100


def test_a_live_stream_that_is_decoded_too_slowly_drops_pictures_up_to_a_key_frame():
    """At half speed, as on a machine that cannot keep up; sound is never dropped."""
    media = encode(pictures(("moving", 40)), sound(("tone", 1.6)), gop=10)
    limits = MediaLimits(max_lag_s=0.2)
    channel = Channel(1000)
    tracks = Tracks(channel, MediaAnalysis(), limits, live=True, place="x")
    run = Run(lambda: open_bytes(io.BytesIO(media), "mpegts", limits))
    decode_run(run, tracks, Timeline(), Pacer(4.0), Position(), drop=True)
    assert tracks.totals()["frames"] == 40  # it keeps up: the media take half their time
    tracks = Tracks(channel, MediaAnalysis(), limits, live=True, place="x")
    decode_run(run, tracks, Timeline(), Pacer(0.7), Position(), drop=True)
    tracks.finish()
    totals = tracks.totals()
    assert totals["dropped"] > 5
    assert totals["frames"] + totals["dropped"] == 40
    assert totals["samples"] > 1.5 * 48_000
    told = [draft.data["dropped"] for draft in channel._items if draft.kind == "video"]
    assert told[-1] == totals["dropped"]


def test_memory_of_many_tracks_is_bounded():
    tracks = Tracks(Channel(4), MediaAnalysis(), MediaLimits(max_tracks=2), live=True, place="x")
    assert tracks.video(1) is not None
    assert tracks.audio(1) is not None
    assert tracks.video(2) is None
    assert tracks.audio(2) is None
    assert tracks.video(1) is tracks.video(1)


async def test_pieces_are_bounded_and_read_as_files():
    queue = PieceQueue(10)
    read = []

    def work():
        try:
            while (file := queue.next_run()) is not None:
                data = b""
                while piece := file.read(3):
                    data += piece
                read.append((file.first.stretch, data))
        except ValueError as error:
            read.append(str(error))

    thread = threading.Thread(target=work)
    for data, stretch in ((b"abcde", 0), (b"fgh", 0), (b"ijklmnopqrstuvwx", 1)):
        await queue.put(Piece(data, "mpegts", stretch, b"init-"))
        if not thread.is_alive():
            thread.start()
    queue.end(ValueError("no more"))
    await asyncio.to_thread(thread.join)
    assert read == [(0, b"init-abcdefgh"), (1, b"init-ijklmnopqrstuvwx"), "no more"]


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b"\x47" + bytes(187) + b"\x47", "mpegts"), (b"\x47" + bytes(200), None),
        (b"\x00\x00\x00\x18styp", "mp4"), (b"\xff\xf1\x50\x80", "aac"), (b"\xff\xfb\x90", "mp3"),
        (b"\x0b\x77", "ac3"), (b"", None), (b"ID3", None), (b"WEBVTT", None),
        (b"ID3\x04\x00\x00\x00\x00\x00\x02xx\xff\xf1\x00\x00", "aac"),
    ],
)  # fmt: skip
def test_containers_are_known_by_their_bytes(data, format):
    assert container_format(data) == format


def test_timestamp_of_packed_audio():
    owner = b"com.apple.streaming.transportStreamTimestamp\x00"
    body = b"PRIV" + bytes(6) + owner + (90_000 * 7).to_bytes(8, "big")
    tag = b"ID3\x04\x00\x00\x00\x00" + bytes([len(body) >> 7, len(body) & 127]) + body
    assert id3_start_s(tag + b"\xff\xf1") == 7.0
    assert id3_start_s(b"\xff\xf1") is None


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("av", "from_hls('http://127.0.0.1/x.m3u8')"),
        ("m3u8", "from_hls('http://127.0.0.1/x.m3u8')"),
        ("av", "from_rtmp('rtmp://127.0.0.1/live/x')"),
        ("aiortc", "from_webrtc('v=0', reply=print)"),
        ("pocketsphinx", "media.SphinxTranscriber()"),
        ("cv2", "media.CascadeDetector()"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(module, call):
    script = (
        f"import sys; sys.modules['{module}'] = None\n"
        "from midstream.stream import from_hls, from_rtmp, from_webrtc, media\n"
        f"try:\n    {call}\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    ).stdout
    extra = {"pocketsphinx": "speech", "cv2": "vision"}.get(module, "media")
    assert f"needs {module}" in out
    assert f'pip install "midstream[{extra}]"' in out
