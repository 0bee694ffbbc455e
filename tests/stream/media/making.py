"""Audio and video with known content, encoded with PyAV, whole or cut into an HLS presentation."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="media needs PyAV: pip install 'midstream[media]'")

FPS = 25
SIZE = (320, 180)
RATE = 48_000


def pattern(k, *, seed=0, size=SIZE):
    """Luma of frame `k` of a moving picture whose frames all differ, (height, width) of uint8."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    phase = 0.37 * k + seed
    waves = np.sin(x / (23 + seed % 7) + phase) + np.cos(y / 17 - 0.7 * phase)
    blob = 60 * np.exp(
        -((x - width * (0.5 + 0.4 * np.sin(0.11 * k + seed))) ** 2 + (y - height / 2) ** 2) / 900
    )
    return np.clip(110 + 40 * waves + blob, 16, 235).astype(np.uint8)


def pictures(*parts, size=SIZE):
    """Luma of the frames of parts: ``("moving", n)``, ``("frozen", n)``, ``("black", n)``,
    ``("loop", n, copies)``, ``("cut", n)``: each of another scene."""
    for number, (kind, n, *rest) in enumerate(parts):
        if kind == "black":
            for _ in range(n):
                yield np.full((size[1], size[0]), 16, np.uint8)
        elif kind == "frozen":
            still = pattern(7, seed=number, size=size)
            for _ in range(n):
                yield still
        else:
            for _ in range(*rest or (1,)):
                for k in range(n):
                    yield pattern(k, seed=number, size=size)


def sound(*parts, channels=2):
    """Samples of parts, (n, channels): ``("tone", seconds)``, ``("silence", seconds)``,
    ``("hiss", seconds, dBFS)``, ``("loud", seconds)``: a clipped tone."""
    pieces = []
    at = 0
    for kind, seconds, *rest in parts:
        n = round(seconds * RATE)
        time_s = (np.arange(n) + at) / RATE
        at += n
        if kind == "tone":
            piece = 0.25 * np.sin(2 * np.pi * 440 * time_s)
        elif kind == "loud":
            piece = np.clip(3 * np.sin(2 * np.pi * 440 * time_s), -1, 1)
        elif kind == "hiss":
            noise = np.random.default_rng(3).normal(0, 1, n)
            piece = noise * 10 ** (rest[0] / 20)
        else:
            piece = np.zeros(n)
        pieces.append(piece)
    mono = np.concatenate(pieces).astype(np.float32)
    return np.repeat(mono[:, None], channels, axis=1)


def noisy(frames, *, seed=0, sigma=2.0):
    """Add noise of a sensor to each frame."""
    rng = np.random.default_rng(seed)
    for frame in frames:
        yield np.clip(frame + rng.normal(0, sigma, frame.shape), 0, 255).astype(np.uint8)


def video_frame(luma, pts, rate=FPS):
    height, width = luma.shape
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = luma
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = pts, Fraction(1, rate)
    return frame


def encode(
    frames=None,
    samples=None,
    *,
    format="mpegts",
    fps=FPS,
    crf=23,
    gop=FPS,
    vcodec="libx264",
    acodec="aac",
    pts_of=None,
    audio_pts_of=None,
    offset_s=0.0,
):
    """Bytes of a container with these frames and samples; `pts_of` maps frame number to seconds."""
    file = io.BytesIO()
    options = {}
    if format == "mp4":
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(file, "w", format=format, options=options) as out:
        video = audio = None
        work = []
        if frames is not None:
            frames = list(frames)
            video = out.add_stream(vcodec, rate=fps)
            video.height, video.width = frames[0].shape
            video.pix_fmt = "yuv420p"
            video.time_base = Fraction(1, 90_000)
            video.codec_context.time_base = Fraction(1, 90_000)
            video.options = {"preset": "ultrafast", "crf": str(crf), "g": str(gop)}
            work += [
                ((offset_s + (pts_of(k) if pts_of else k / fps)), "video", k)
                for k in range(len(frames))
            ]
        if samples is not None:
            audio = out.add_stream(acodec, rate=RATE)
            audio.layout = "stereo" if samples.shape[1] == 2 else "mono"
            work += [
                (offset_s + (audio_pts_of(n) if audio_pts_of else n / RATE), "audio", n)
                for n in range(0, len(samples), 1024)
            ]
        for at_s, kind, n in sorted(work):
            if kind == "video":
                frame = video_frame(frames[n], round(at_s * 90_000), 90_000)
                packets = video.encode(frame)
            else:
                piece = np.ascontiguousarray(samples[n : n + 1024].T)
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=audio.layout.name)
                frame.sample_rate, frame.pts = RATE, round(at_s * RATE)
                frame.time_base = Fraction(1, RATE)
                packets = audio.encode(frame)
            for packet in packets:
                out.mux(packet)
        for stream in (video, audio):
            if stream is not None:
                for packet in stream.encode():
                    out.mux(packet)
    return file.getvalue()


def hls(folder, media, *, segment_s=1.0, kind="mpegts"):
    """Cut media into an HLS presentation in a folder, as ffmpeg does; the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"hls_time": str(segment_s), "hls_list_size": "0"}
    if kind == "fmp4":
        options |= {"hls_segment_type": "fmp4", "hls_fmp4_init_filename": "init.mp4"}
    path = folder / "media.m3u8"
    with (
        av.open(io.BytesIO(media)) as source,
        av.open(str(path), "w", format="hls", options=options) as out,
    ):
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


async def collect(source):
    return [event async for event in source]


def of_kind(events, kind):
    return [event for event in events if event.kind == kind]
