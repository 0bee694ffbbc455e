"""Playlists and segments that want more than they may, or are broken: clear errors, in bounds."""

from __future__ import annotations

import asyncio
import io
import os
import random

import numpy as np
import pytest
from stream.media.making import RATE, av, collect, encode, hls, of_kind, pictures, sound
from stream.media.serving import Site, folder, manifest

from midstream.errors import EndpointError, IdleTimeoutError, MalformedStreamError, SourceError
from midstream.stream import from_hls
from midstream.stream.media import MediaLimits
from midstream.stream.media.fetching import FileFetcher, HttpFetcher
from midstream.stream.media.manifests import MediaPlaylist, parse_manifest

FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof"
SECRET = b"not for a playlist"


@pytest.fixture(scope="module")
def media_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile")
    hls(path, encode(pictures(("moving", 75)), sound(("tone", 3.0))))
    return path


@pytest.fixture(autouse=True)
async def hang_guard():
    async with asyncio.timeout(20):
        yield


async def read(files, *, path="/x.m3u8", **options):
    async with Site(files) as site:
        return await collect(from_hls(f"{site.url}{path}", **options)), site


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/hostname", "FILE:///etc/hostname", "file:secret.ts", "concat:a.ts|secret.ts",
        "concatf:list", "data:video/mp2t;base64,R0dHRw==",
        "crypto+file:///etc/hostname", "ftp://127.0.0.1/x.ts", "rtmp://127.0.0.1/x", "tcp://127.0.0.1:1",
        "http://[::1", "pipe:0", "cache:http://127.0.0.1/x.ts", "gopher://127.0.0.1/x",
        "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_a_playlist_leads_nowhere_but_to_http(media_folder, address):
    for lines in (
        ["#EXTINF:1.0,", address],
        [f'#EXT-X-KEY:METHOD=AES-128,URI="{address}"', "#EXTINF:1.0,", "media0.ts"],
        [f'#EXT-X-MAP:URI="{address}"', "#EXTINF:1.0,", "media0.ts"],
    ):
        files = folder(media_folder) | {"/x.m3u8": manifest(*lines), "/secret.ts": SECRET}
        with pytest.raises(MalformedStreamError):
            await read(files)
    text = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{address}\n".encode()
    with pytest.raises(MalformedStreamError):
        await read({"/x.m3u8": text})


@pytest.mark.parametrize(
    "address",
    ["../secret.ts", "/etc/hostname", "file:///etc/hostname", "//host/x.ts", "http://127.0.0.1/x",
     "a/../../secret.ts", "%2e%2e/secret.ts", "concat:media0.ts", "link.ts"],
)  # fmt: skip
async def test_a_file_leads_nowhere_but_to_its_folder(media_folder, tmp_path, address):
    (tmp_path / "secret.ts").write_bytes((media_folder / "media0.ts").read_bytes())
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "media0.ts").write_bytes((media_folder / "media0.ts").read_bytes())
    try:
        (inside / "link.ts").symlink_to(tmp_path / "secret.ts")
    except OSError:  # Windows, for most users
        if address == "link.ts":
            pytest.skip("no links can be made here")
    (inside / "x.m3u8").write_bytes(manifest("#EXTINF:1.0,", address))
    with pytest.raises(MalformedStreamError, match="no file in its folder"):
        await collect(from_hls(inside / "x.m3u8"))


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://x", "//", "http://[", ""]
)
async def test_a_redirect_leads_nowhere_but_to_http(media_folder, target):
    moved = ("302 Found", [f"Location: {target}"], b"")
    files = folder(media_folder) | {
        "/x.m3u8": manifest("#EXTINF:1.0,", "s.ts"), "/s.ts": moved, "/moved.m3u8": moved,
    }  # fmt: skip
    for path in ("/x.m3u8", "/moved.m3u8"):
        with pytest.raises(SourceError):
            await read(files, path=path)


async def test_redirects_are_followed_and_not_for_ever(media_folder):
    files = folder(media_folder, "/z/") | {
        "/x.m3u8": ("302 Found", ["Location: /y/list.m3u8"], b""),
        "/y/list.m3u8": ("301 Moved", ["Location: ../z/media.m3u8"], b""),
        "/round.m3u8": ("302 Found", ["Location: /round.m3u8"], b""),
    }
    with pytest.raises(EndpointError, match="more than 5 redirects"):
        await read(files, path="/round.m3u8")
    events, site = await read(files)
    # References count from where the manifest really is.
    assert site.asked[:4] == ["/x.m3u8", "/y/list.m3u8", "/z/media.m3u8", "/z/media0.ts"]
    assert events[-1].data["frames"] == 75


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0",
     "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]", "metadata.internal", "a.localhost"],
)  # fmt: skip
def test_a_public_host_leads_to_no_private_one(host):
    fetcher = HttpFetcher("https://example.org/x.m3u8", MediaLimits())
    with pytest.raises(MalformedStreamError, match="on a private network"):
        fetcher.resolve("https://example.org/x.m3u8", f"http://{host}/s.ts")
    assert fetcher.resolve("https://example.org/x.m3u8", "s.ts") == "https://example.org/s.ts"
    elsewhere = "https://cdn.example.net/s.ts?token=1"
    assert fetcher.resolve("https://example.org/x.m3u8", elsewhere) == elsewhere
    own = HttpFetcher("http://127.0.0.1:1/x.m3u8", MediaLimits())
    assert own.resolve("http://127.0.0.1:1/x.m3u8", f"http://{host}/s.ts") == f"http://{host}/s.ts"


async def test_secrets_of_an_address_are_not_shown():
    source = from_hls("http://user:hunter2@127.0.0.1:9/x.m3u8?token=abc123")
    with pytest.raises(EndpointError) as caught:
        await anext(source)
    assert "hunter2" not in str(caught.value)
    assert "abc123" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no HLS manifest"),
        (b"<html>not found</html>", "no HLS manifest"),
        (b"\xff\xfe#EXTM3U", "not UTF-8"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", "without versions"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:x\n#EXTINF:1,\na.ts\n", "malformed"),
        (b"#EXTM3U\n#EXTINF:many,\na.ts\n", "malformed"),
        (b"#EXTM3U\n#EXT-X-BYTERANGE:-5@3\n#EXTINF:1,\na.ts\n", "malformed"),
        (b"#EXTM3U\n#EXT-X-BYTERANGE:x@y\n#EXTINF:1,\na.ts\n", "malformed"),
        (b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0xzz\n#EXTINF:1,\na.ts\n', "malformed"),
        (b"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:noon\n#EXTINF:1,\na.ts\n", "malformed"),
        (b'#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:1,\na.ts\n', "only AES-128"),
        (
            b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMAT="com.apple"\n#EXTINF:1,\na.ts\n',
            "only AES-128",
        ),
        (b"#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:1,\na.ts\n", "key frames alone"),
    ],
)
async def test_manifests_that_are_none(text, message):
    with pytest.raises(MalformedStreamError, match=message):
        await read({"/x.m3u8": text})


async def test_endless_manifests():
    limits = MediaLimits(max_playlist_bytes=10_000, max_playlist_segments=100)
    long = manifest(*["#EXTINF:1.0,\na.ts"] * 101)
    with pytest.raises(MalformedStreamError, match="more than 100 segments"):
        await read({"/x.m3u8": long}, limits=limits)
    with pytest.raises(MalformedStreamError, match="limit of 10000 bytes"):
        await read({"/x.m3u8": b"#EXTM3U\n" + b"#" * 20_000}, limits=limits)


async def test_a_master_that_names_itself():
    text = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n"
    with pytest.raises(MalformedStreamError, match="a master playlist where segments should be"):
        await read({"/x.m3u8": text})


async def test_segments_above_the_limit(media_folder):
    files = folder(media_folder)
    with pytest.raises(MalformedStreamError, match="limit of 1000 bytes"):
        await read(files, path="/media.m3u8", limits=MediaLimits(max_segment_bytes=1000))
    lines = ["#EXT-X-BYTERANGE:99999999999@0", "#EXTINF:1.0,", "media0.ts"]
    with pytest.raises(MalformedStreamError, match="limit of"):
        await read(files | {"/x.m3u8": manifest(*lines)})


async def test_a_server_that_never_ends_a_body():
    async def answer(exchange):
        await exchange.head("200 OK")
        while True:
            await exchange.send(b"#EXTM3U\n" * 8000)

    from stream.server import Server

    async with Server(answer) as server:
        with pytest.raises(MalformedStreamError, match="limit of"):
            await anext(from_hls(f"{server.url}/x.m3u8"))


async def test_a_server_that_says_nothing():
    async def answer(exchange):
        await exchange.gone()

    from stream.server import Server

    async with Server(answer) as server:
        limits = MediaLimits(idle_timeout_s=0.2)
        with pytest.raises(IdleTimeoutError, match=r"nothing arrived for 0\.2 s"):
            await anext(from_hls(f"{server.url}/x.m3u8", limits=limits))


async def test_wrong_keys(media_folder):
    lines = ['#EXT-X-KEY:METHOD=AES-128,URI="k"', "#EXTINF:1.0,", "media0.ts"]
    files = folder(media_folder) | {"/x.m3u8": manifest(*lines)}
    with pytest.raises(MalformedStreamError, match="a key must have 16 bytes, got 3"):
        await read(files | {"/k": b"abc"})
    with pytest.raises(MalformedStreamError, match="limit of 16 bytes"):
        await read(files | {"/k": b"a" * 17})
    with pytest.raises(MalformedStreamError, match="cannot be decrypted"):
        await read(files | {"/k": b"a" * 16})
    with pytest.raises(EndpointError, match="404"):
        await read(files)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x00" * 500, SECRET, b"RIFF....AVI LIST"])
async def test_segments_of_no_known_kind(body):
    with pytest.raises(MalformedStreamError, match="neither MPEG-TS nor MP4"):
        await read({"/x.m3u8": manifest("#EXTINF:1.0,", "a.ts"), "/a.ts": body})


@pytest.mark.parametrize(
    "body",
    [
        b"\x47" + bytes(187) + b"\x47" + bytes(187),
        b"\x00\x00\x00\x18ftypiso5" + bytes(100),
        b"\x00\x00\x00\x08moof",
        b"\xff\xff\xff\xffmoov" + b"\xff" * 64,
        b"\xff\xf1" + bytes(50),
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f\xff\xfb" + bytes(50),
        b"\x0b\x77" + bytes(50),
    ],
    ids=["ts", "mp4", "moof", "huge box", "aac", "id3", "ac3"],
)
async def test_segments_with_nothing_in_them(body):
    with pytest.raises(MalformedStreamError):
        await read({"/x.m3u8": manifest("#EXTINF:1.0,", "a.ts"), "/a.ts": body})


async def test_truncated_segments_cost_what_is_missing(media_folder):
    files = folder(media_folder)
    files["/media1.ts"] = files["/media1.ts"][: len(files["/media1.ts"]) // 2 + 91]
    events, _ = await read(files, path="/media.m3u8")
    assert 50 <= events[-1].data["frames"] < 75
    assert events[-1].data["seconds"] == pytest.approx(3.0, abs=0.15)
    whole = folder(media_folder)
    events, _ = await read(whole | {"/media1.ts": whole["/media1.ts"][:200]}, path="/media.m3u8")
    assert 50 <= events[-1].data["frames"] <= 52


async def test_bytes_that_are_changed_at_random_never_break_more_than_the_stream(media_folder):
    rng = random.Random(4)
    files = folder(media_folder)
    for _ in range(12):
        changed = dict(files)
        for name in ("/media0.ts", "/media1.ts"):
            body = bytearray(changed[name])
            for _ in range(rng.choice((5, 50, 500))):
                body[rng.randrange(len(body))] = rng.randrange(256)
            changed[name] = bytes(body)
        try:
            events, _ = await read(changed, path="/media.m3u8")
        except SourceError:
            continue
        assert events[-1].kind == "end"
        assert events[-1].data["frames"] <= 80


async def test_a_truncated_fragmented_mp4_goes_on_with_the_next_segment(tmp_path):
    clip = encode(pictures(("moving", 75)), sound(("tone", 3.0)), format="mp4")
    path = hls(tmp_path / "mp4", clip, kind="fmp4")
    second = sorted(path.parent.glob("*.m4s"))[1]
    second.write_bytes(second.read_bytes()[:300])
    events = await collect(from_hls(path))
    assert 45 <= events[-1].data["frames"] < 75


def huge_picture(width, height):
    """One picture of nothing, which is small in bytes whatever its size."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(np.zeros(plane.buffer_size, np.uint8))
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return file.getvalue()


async def test_huge_pictures_are_refused():
    files = {"/x.m3u8": manifest("#EXTINF:1.0,", "a.ts"), "/a.ts": huge_picture(2048, 1024)}
    events, _ = await read(files)
    assert events[-1].data["frames"] == 3
    with pytest.raises(MalformedStreamError, match=r"2048 x 1024|no audio or video in it"):
        await read(files, limits=MediaLimits(max_pixels=1 << 20))


async def test_pictures_that_grow_are_refused(tmp_path):
    small = encode(pictures(("moving", 25)))
    large = encode(pictures(("moving", 25), size=(1280, 720)))
    (tmp_path / "a.ts").write_bytes(small)
    (tmp_path / "b.ts").write_bytes(large)
    lines = ["#EXTINF:1.0,", "a.ts", "#EXTINF:1.0,", "b.ts"]
    (tmp_path / "x.m3u8").write_bytes(manifest(*lines))
    limits = MediaLimits(max_pixels=640 * 480, max_errors=5)
    events = await collect(from_hls(tmp_path / "x.m3u8", limits=limits))
    assert all(event.data["size"] == [320, 180] for event in of_kind(events, "video"))
    (told,) = of_kind(events, "error")
    assert "damaged packets in a row" in told.text
    assert events[-1].data["frames"] == 25
    assert events[-1].data["damaged"] >= 5


async def test_tracks_above_the_limit_are_not_read(tmp_path):
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        streams = [out.add_stream("aac", rate=RATE) for _ in range(5)]
        for k in range(30):
            for stream in streams:
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = RATE, 1024 * k
                for packet in stream.encode(frame):
                    out.mux(packet)
    (tmp_path / "a.ts").write_bytes(file.getvalue())
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:1.0,", "a.ts"))
    events = await collect(from_hls(tmp_path / "x.m3u8", limits=MediaLimits(max_tracks=2)))
    assert {event.stream_id for event in of_kind(events, "audio")} == {"audio/0", "audio/1"}


@pytest.mark.parametrize(
    ("codec", "layout"),
    [("aac", "mono"), ("aac", "5.1"), ("aac", "7.1"), ("flac", "7.1"), ("pcm_s16le", "stereo"),
     ("pcm_s16le", "7.1"), ("pcm_f32le", "hexadecagonal")],
)  # fmt: skip
async def test_any_number_of_channels(tmp_path, codec, layout):
    """PyAV's own arrays of eight planar channels read beyond their end."""
    channels = len(av.AudioLayout(layout).channels)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": FRAGMENTED}) as out:
        stream = out.add_stream(codec, rate=RATE, layout=layout)
        for k in range(40):
            tone = 0.5 * np.sin(np.arange(1024 * k, 1024 * (k + 1)) / 20).astype(np.float32)
            samples = np.repeat(tone[:, None], channels, axis=1).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
            frame.sample_rate, frame.pts = RATE, 1024 * k
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    (tmp_path / "a.mp4").write_bytes(file.getvalue())
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:1.0,", "a.mp4"))
    if channels > 8:
        with pytest.raises(MalformedStreamError, match="no audio or video in it"):
            await collect(from_hls(tmp_path / "x.m3u8"))
        return
    events = await collect(from_hls(tmp_path / "x.m3u8"))
    data = of_kind(events, "audio")[4].data
    assert data["channels"] == channels
    # Encoders keep but the lowest of the channel for low frequencies.
    assert data["level_dbfs"] == pytest.approx(-9.03, abs=1.5)


def test_no_manifest_raises_anything_else():
    """Lines of the format, put together at random."""
    rng = random.Random(7)
    words = [
        "#EXTM3U", "#EXTINF:1.0,", "#EXTINF:", "#EXTINF:abc", "a.ts", "#EXT-X-KEY:METHOD=AES-128",
        '#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x1' + "0" * 40, "#EXT-X-BYTERANGE:", "#EXT-X-MAP:",
        '#EXT-X-MAP:URI="i",BYTERANGE="1@"', "#EXT-X-DISCONTINUITY", "#EXT-X-ENDLIST",
        "#EXT-X-MEDIA-SEQUENCE:-1", "#EXT-X-MEDIA-SEQUENCE:99999999999999999999", "#EXT-X-SKIP:",
        "#EXT-X-TARGETDURATION:1e400", "#EXT-X-TARGETDURATION:nan", "#EXTINF:nan,", "#EXTINF:-5,",
        "#EXT-X-STREAM-INF:", "#EXT-X-STREAM-INF:BANDWIDTH=x,RESOLUTION=axb", "#EXT-X-PART:",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a"', "#EXT-X-PROGRAM-DATE-TIME:", "#EXT-X-GAP", "",
        "#EXT-X-DEFINE:NAME=x", "#EXT-X-PRELOAD-HINT:", "#EXT-X-SERVER-CONTROL:", "\x00", "é",
        "#EXT-X-DATERANGE:ID=1", "#EXT-X-SESSION-KEY:METHOD=AES-128", "#EXT-X-CUE-OUT:x",
        "#EXT-X-START:", "#EXT-X-RENDITION-REPORT:", "#EXT-X-PART-INF:", "#EXT-X-BITRATE:x",
        "#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-CONTENT-STEERING:", "#EXT-X-TILES:", "#EXT-X-ALLOW",
    ]  # fmt: skip
    fetcher = HttpFetcher("http://127.0.0.1/x.m3u8", MediaLimits())
    read_well = 0
    for _ in range(3000):
        text = "\n".join(["#EXTM3U", *rng.choices(words, k=rng.randrange(12))])
        try:
            made = parse_manifest(text, fetcher.url, fetcher.resolve, MediaLimits(), "x")
        except MalformedStreamError:
            continue
        read_well += 1
        if isinstance(made, MediaPlaylist):
            assert 0.1 <= made.target_s <= 60.0
            assert all(0 <= segment.duration_s <= 3600 for segment in made.segments)
    assert read_well > 100


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_files_are_read_and_nothing_else(tmp_path):
    fetcher = FileFetcher(tmp_path / "x.m3u8")
    os.mkfifo(tmp_path / "pipe.ts")
    for name in ("pipe.ts", "no.ts", "."):
        with pytest.raises(EndpointError, match="no such file"):
            asyncio.run(fetcher.get(str(tmp_path / name), max_bytes=10))
