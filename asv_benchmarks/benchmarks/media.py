"""What it costs to look at audio and video: share of a core, beside decoding alone and ffmpeg."""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np

from midstream.stream import from_hls

VIDEO_S, AUDIO_S = 8, 60
FPS, RATE = 30, 48_000
WIDTH, HEIGHT = 1280, 720

try:
    import av
except ModuleNotFoundError:
    av = None


def video_bytes(seconds: int = VIDEO_S) -> bytes:
    """720p30 in MPEG-TS: motion, one second of standstill, half a second of black."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 3, (HEIGHT, WIDTH))
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "24", "g": str(2 * FPS)}
        for k in range(seconds * FPS):
            still = FPS <= k < 2 * FPS
            at = FPS if still else k
            luma = 110 + 50 * np.sin(x / 40 + at / 9) + 30 * np.cos(y / 31 - at / 7) + grain
            if 2.5 * FPS <= k < 3 * FPS:
                luma = np.full((HEIGHT, WIDTH), 16.0)
            planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
            planes[:HEIGHT] = np.clip(luma, 16, 235)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return file.getvalue()


def audio_bytes(seconds: int = AUDIO_S) -> bytes:
    """48 kHz stereo, AAC in MPEG-TS: a tone with a silence of three seconds in each ten."""
    n = np.arange(seconds * RATE)
    samples = 0.3 * np.sin(2 * np.pi * 440 * n / RATE) * ((n // RATE) % 10 < 7)
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream("aac", rate=RATE)
        stream.layout = "stereo"
        for at in range(0, len(samples), 1024):
            piece = np.repeat(samples[None, at : at + 1024], 2, axis=0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return file.getvalue()


class Presentation:
    """One segment of HLS in a folder of its own."""

    def __init__(self, media: bytes, seconds: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="midstream-media-"))
        self.segment = self.folder / "a.ts"
        self.segment.write_bytes(media)
        self.path = self.folder / "x.m3u8"
        self.path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:{seconds}\n#EXTINF:{seconds},\na.ts\n#EXT-X-ENDLIST\n"
        )

    def remove(self) -> None:
        shutil.rmtree(self.folder)


def ours(path: Path) -> list:
    """All events of a presentation."""

    async def read():
        return [event async for event in from_hls(path)]

    return asyncio.run(read())


def theirs(path: Path, kind: str, *filters: tuple[str, str]) -> dict[str, list[float]]:
    """Decode in one thread, through ffmpeg's filters; the numbers that they leave on frames."""
    said: dict[str, list[float]] = {}
    with av.open(str(path)) as container:
        (stream,) = container.streams.get({kind: 0})
        stream.codec_context.thread_count = 1
        graph = None
        if filters:
            graph = av.filter.Graph()
            buffer = graph.add_buffer if kind == "video" else graph.add_abuffer
            last = buffer(template=stream)
            for name, options in filters:
                added = graph.add(name, options)
                last.link_to(added)
                last = added
            last.link_to(graph.add("buffersink" if kind == "video" else "abuffersink"))
            graph.configure()
        for frame in container.decode(stream):
            if graph is None:
                continue
            graph.push(frame)
            for name, value in graph.pull().metadata.items():
                said.setdefault(name.removeprefix("lavfi."), []).append(float(value))
    return said


#: The same thresholds as ours; durations below the stretches in the data.
DETECTORS = {
    "video": (("blackdetect", "d=0.3:pix_th=0.1"), ("freezedetect", "d=0.5:n=0.004")),
    "audio": (("silencedetect", "noise=-50dB:d=1"),),
}


def skip_without_ffmpeg() -> None:
    if av is None:
        raise NotImplementedError("PyAV is not installed")
    wanted = {name for filters in DETECTORS.values() for name, _ in filters}
    if not wanted <= av.filter.filters_available:
        raise NotImplementedError("PyAV's ffmpeg has no detectors")


class MediaCost:
    """Percent of a core for each second of media, of all threads; the median of five."""

    params = (("video 720p30", "audio 48 kHz"), ("decode alone", "from_hls", "ffmpeg's detectors"))
    param_names = ("media", "with")
    unit = "% of a core"

    def setup(self, media, work):
        skip_without_ffmpeg()
        self.kind = media.partition(" ")[0]
        self.seconds = VIDEO_S if self.kind == "video" else AUDIO_S
        data = video_bytes() if self.kind == "video" else audio_bytes()
        self.presentation = Presentation(data, self.seconds)

    def teardown(self, media, work):
        self.presentation.remove()

    def track_share(self, media, work):
        return median(self.share(work) for _ in range(5))

    def share(self, work: str) -> float:
        begin_s = time.process_time()
        if work == "from_hls":
            ours(self.presentation.path)
        else:
            filters = DETECTORS[self.kind] if "detectors" in work else ()
            theirs(self.presentation.segment, self.kind, *filters)
        return 100 * (time.process_time() - begin_s) / self.seconds
