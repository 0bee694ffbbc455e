"""Decoded frames in, drafts of events out: one object for each track."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.clock import monotonic_ns, s_from_ns
from midstream._core.errors import MalformedStreamError
from midstream._core.validate import check_int, check_real
from midstream.stream.media._spots import WIDEST, spots_mean
from midstream.stream.media.audio import AudioMeter
from midstream.stream.media.beside import Beside
from midstream.stream.media.channel import Channel, Draft
from midstream.stream.media.extra import library
from midstream.stream.media.interfaces import ObjectDetector, Transcriber, Word
from midstream.stream.media.settings import MediaAnalysis, MediaLimits
from midstream.stream.media.video import SPOTS, VideoMeter

__all__ = [
    "AudioTrack",
    "Miniature",
    "TooLargeError",
    "Tracks",
    "VideoTrack",
    "check_picture",
    "samples_of",
]

#: Frames over which the offset of picture and sound is smoothed.
_OFFSETS = 64
#: Pieces of speech, and pictures, that may wait beside the decoding.
_SPEECH_PIECES = 512
_PICTURES = 4
#: Sound that is measured at once, in seconds, and the jump of a timestamp that ends it before.
_BATCH_S = 0.25
_SAME_S = 0.01
#: What timestamps may be off: three frames of 33 ms are a tenth of a second.
_ROUNDING_S = 0.002
#: Channels of a frame; damaged ones claim more, of which PyAV reads what is not there.
_MAX_CHANNELS = 8
#: Seconds of speech that are handed over at once.
_SPEECH_S = 0.1


class TooLargeError(MalformedStreamError):
    """Above a limit: not worth another try."""


def check_picture(width: int, height: int, limits: MediaLimits, place: str) -> None:
    """Refuse a picture that is larger than the limit.

    Raises
    ------
    TooLargeError
        It is.
    """
    if width * height > limits.max_pixels:
        raise TooLargeError(
            f"pictures of {width} x {height} are above the limit of {limits.max_pixels} pixels",
            place=place,
        )


class Tracks:
    """All tracks of one stream.

    Parameters
    ----------
    channel : Channel
        Where events go.
    analysis, limits
        Thresholds and limits.
    live : bool
        Whether nothing may wait for the reader of the events.
    place : str
        Of the stream, for messages.
    transcriber : Transcriber, optional
        For the first audio track.
    object_detector : ObjectDetector, optional
        For the first video track, `objects_per_s` times a second of media.
    arrivals : bool
        Whether frames come when they are made, so that arrival times tell about the clocks.
    """

    def __init__(
        self,
        channel: Channel,
        analysis: MediaAnalysis,
        limits: MediaLimits,
        *,
        live: bool,
        place: str,
        transcriber: Transcriber | None = None,
        object_detector: ObjectDetector | None = None,
        objects_per_s: float = 1.0,
        arrivals: bool = False,
    ) -> None:
        self.channel = channel
        self.analysis = analysis
        self.limits = limits
        self.live = live
        self.place = place
        self.arrivals = arrivals
        self.objects_per_s = check_real("objects_per_s", objects_per_s, low=0.01, high=100.0)
        self._transcriber = transcriber
        self._object_detector = object_detector
        self._lock = threading.Lock()
        self._tracks: dict[tuple[str, Any], AudioTrack | VideoTrack] = {}
        self._counts = {"audio": 0, "video": 0}
        #: Time and arrival of the newest audio, for the offset of the picture.
        self.heard: tuple[float, int] | None = None
        #: Whether picture and sound come side by side, so that their offset means something.
        self.paired = True
        self.damaged = 0
        #: Wall clock of media time 0, as HLS tells it; seconds since the epoch.
        self.program_base_s: float | None = None

    @property
    def transcriber(self) -> Transcriber | None:
        """Hand the transcriber out, once: it belongs to one track."""
        transcriber, self._transcriber = self._transcriber, None
        return transcriber

    @property
    def object_detector(self) -> ObjectDetector | None:
        """Hand the detector out, once."""
        detector, self._object_detector = self._object_detector, None
        return detector

    def audio(self, key: Any) -> AudioTrack | None:
        """Return the audio track of a key; None where there are too many tracks."""
        track = self._get("audio", key)
        return track if isinstance(track, AudioTrack) else None

    def video(self, key: Any) -> VideoTrack | None:
        """Return the video track of a key; None where there are too many tracks."""
        track = self._get("video", key)
        return track if isinstance(track, VideoTrack) else None

    def _get(self, kind: str, key: Any) -> AudioTrack | VideoTrack | None:
        with self._lock:
            track = self._tracks.get((kind, key))
            if track is None and len(self._tracks) < self.limits.max_tracks:
                number = self._counts[kind]
                self._counts[kind] += 1
                made = AudioTrack if kind == "audio" else VideoTrack
                track = self._tracks[kind, key] = made(self, number)
            return track

    def finish(self, key: Any = None) -> None:
        """Tell what is left, and wait for what works beside; of one rendition, or of all."""
        with self._lock:
            mine = [
                track for (_, name), track in self._tracks.items() if key is None or name[0] == key
            ]
        for track in mine:
            track.finish()

    def shut_down(self) -> None:
        """Let what works beside go."""
        for track in self._all():
            track.shut_down()

    def totals(self) -> dict[str, Any]:
        """Figures of the whole stream, for its ``end``."""
        audio = [track for track in self._all() if isinstance(track, AudioTrack)]
        video = [track for track in self._all() if isinstance(track, VideoTrack)]
        ends = [track.end_s for track in self._all() if track.end_s is not None]
        return {
            "seconds": round(max(ends, default=0.0), 3),
            "frames": sum(track.meter.frames for track in video),
            "samples": sum(track.samples for track in audio),
            "dropped": sum(track.dropped for track in self._all()),
            "damaged": self.damaged,
        }

    def _all(self) -> list[AudioTrack | VideoTrack]:
        with self._lock:
            return list(self._tracks.values())


class _Track:
    """What both kinds share: the rate of events, and what waits for room."""

    kind: Any

    def __init__(self, tracks: Tracks, number: int) -> None:
        self._tracks = tracks
        self._stream_id = f"{self.kind}/{number}"
        self._window_s = 1.0 / tracks.analysis.events_per_s
        self._from_s: float | None = None
        self.end_s: float | None = None
        self.dropped = 0

    def _due(self, begin_s: float, end_s: float) -> bool:
        """Whether the window is full, and there is room for its event."""
        if self._from_s is None or begin_s < self._from_s:
            self._from_s = begin_s
        self.end_s = end_s
        if end_s - self._from_s < self._window_s - _ROUNDING_S:
            return False
        return not self._tracks.live or self._tracks.channel.has_room

    def _tell(self, figures: dict[str, Any]) -> None:
        tracks = self._tracks
        end_s = self.end_s or 0.0
        data = {"pts_s": round(end_s, 3), **figures, "dropped": self.dropped}
        if tracks.damaged:
            data["damaged"] = tracks.damaged
        if tracks.program_base_s is not None:
            data["program_time_s"] = round(tracks.program_base_s + end_s, 3)
        self._from_s = end_s
        draft = Draft(self.kind, monotonic_ns(), "", data, self._stream_id)
        tracks.channel.put(draft, wait=not tracks.live)


class AudioTrack(_Track):
    """Audio frames of a track; made by `Tracks`."""

    kind = "audio"

    def __init__(self, tracks: Tracks, number: int) -> None:
        super().__init__(tracks, number)
        self._meter: AudioMeter | None = None
        self._channels = 0
        self._samples_before = 0
        # Frames are short: what several of them cost together is what one does.
        self._batch: list[npt.NDArray[np.float32]] = []
        self._batch_s = (0.0, 0.0)
        self._batch_most_s = min(self._window_s, _BATCH_S)
        self._speech: _Speech | None = None
        transcriber = tracks.transcriber
        if transcriber is not None:
            self._speech = _Speech(transcriber, tracks)

    @property
    def samples(self) -> int:
        """Samples of each channel so far."""
        return self._samples_before + (0 if self._meter is None else self._meter.samples)

    def take(self, frame: Any, pts_s: float, arrived_ns: int | None = None) -> None:
        """Take a frame of PyAV's, heard from `pts_s`, that came just now or then."""
        channels, rate_hz = len(frame.layout.channels), int(frame.sample_rate)
        if channels > _MAX_CHANNELS:
            self._tracks.damaged += 1
            return
        end_s = pts_s + frame.samples / rate_hz
        if self._tracks.paired:
            self._tracks.heard = (end_s, arrived_ns or monotonic_ns())
        if self._speech is not None:
            self._speech.take(frame, pts_s)
        meter = self._meter
        begin_s, so_far_s = self._batch_s
        other = meter is None or meter.rate_hz != rate_hz or self._channels != channels
        if other or abs(pts_s - so_far_s) > _SAME_S:
            self._work_off()
        if meter is None or meter.rate_hz != rate_hz:
            if meter is not None:
                self._samples_before += meter.samples
            self._meter = AudioMeter(rate_hz, self._tracks.analysis)
        self._channels = channels
        if not self._batch:
            begin_s = pts_s
        self._batch.append(samples_of(frame))
        self._batch_s = (begin_s, end_s)
        if end_s - begin_s >= self._batch_most_s - _ROUNDING_S:
            self._work_off()

    def finish(self) -> None:
        """Tell what is left."""
        self._work_off()
        if self._meter is not None and self._from_s != self.end_s:
            self._report(self._meter)
        if self._speech is not None:
            self._speech.finish()

    def shut_down(self) -> None:
        """Drop what waits for transcription."""
        if self._speech is not None:
            self._speech.shut_down()

    def _work_off(self) -> None:
        """Measure the frames that wait."""
        meter, batch = self._meter, self._batch
        if meter is None or not batch:
            return
        begin_s, end_s = self._batch_s
        self._batch = []
        meter.take(batch[0] if len(batch) == 1 else np.concatenate(batch), begin_s)
        if self._due(begin_s, end_s):
            self._report(meter)

    def _report(self, meter: AudioMeter) -> None:
        figures = meter.read()
        figures.update(rate_hz=meter.rate_hz, channels=self._channels)
        if self._speech is not None:
            figures["speech_dropped_s"] = round(self._speech.dropped_s, 3)
        self._tell(figures)


class VideoTrack(_Track):
    """Video frames of a track; made by `Tracks`."""

    kind = "video"

    def __init__(self, tracks: Tracks, number: int) -> None:
        super().__init__(tracks, number)
        self.meter = VideoMeter(tracks.analysis)
        self._size = [0, 0]
        self._small = Miniature()
        self._offsets: deque[float] = deque(maxlen=_OFFSETS)
        self._objects: _Objects | None = None
        detector = tracks.object_detector
        if detector is not None:
            self._objects = _Objects(detector, tracks)

    def take(self, frame: Any, pts_s: float, arrived_ns: int | None = None) -> None:
        """Take a frame of PyAV's, shown from `pts_s`, that came just now or then."""
        tracks = self._tracks
        check_picture(frame.width, frame.height, tracks.limits, tracks.place)
        self._size = [frame.width, frame.height]
        self.meter.take(self._small.luma(frame), pts_s)
        heard = tracks.heard
        if heard is not None:
            offset_s = pts_s - heard[0]
            if tracks.arrivals:
                offset_s -= s_from_ns((arrived_ns or monotonic_ns()) - heard[1])
            self._offsets.append(offset_s)
        if self._objects is not None:
            self._objects.take(frame, pts_s)
        if self._due(pts_s, self.meter.end_s or pts_s):
            self._report()

    def finish(self) -> None:
        """Tell what is left."""
        if self._objects is not None:
            self._objects.finish()
        if self.meter.frames and self._from_s != self.end_s:
            self._report()

    def shut_down(self) -> None:
        """Drop what waits for detection."""
        if self._objects is not None:
            self._objects.shut_down()

    def _report(self) -> None:
        figures = self.meter.read()
        figures["size"] = self._size
        offsets = sorted(self._offsets)
        figures["av_offset_s"] = round(offsets[len(offsets) // 2], 4) if offsets else None
        if self._objects is not None:
            found, at_s = self._objects.newest
            figures["objects"] = found
            figures["objects_at_s"] = at_s
            figures["objects_dropped"] = self._objects.dropped
        self._tell(figures)


class Miniature:
    """Pictures made small: the mean luma of each spot."""

    def __init__(self) -> None:
        self._reformatter = library("av.video.reformatter", "media").VideoReformatter()

    def luma(self, frame: Any) -> npt.NDArray[np.float32]:
        """Return (36, 64) numbers in [0, 1] of a frame of PyAV's."""
        columns, rows = SPOTS
        width, height = frame.width, frame.height
        name = frame.format.name
        if name in _LUMA_FIRST and columns <= width <= WIDEST and rows <= height:
            plane = frame.planes[0]
            stride = plane.line_size
            if stride >= width:  # negative where it stands upside down
                luma = spots_mean(memoryview(plane), stride, width, height, columns, rows)
                if name in _FULL_RANGE or frame.color_range == _FULL:
                    luma /= 255.0
                else:
                    luma -= 16.0
                    luma /= 219.0
                    np.clip(luma, 0.0, 1.0, out=luma)
                return luma
        small = self._reformatter.reformat(
            frame, width=columns, height=rows, format="gray", interpolation="AREA"
        )
        plane = small.planes[0]
        pixels = np.frombuffer(plane, np.uint8).reshape(rows, plane.line_size)[:, :columns]
        luma = pixels.astype(np.float32)
        luma /= 255.0
        return luma


#: Formats whose first plane is 8-bit luma; those whose luma goes from 0 to 255.
_FULL_RANGE = frozenset({"gray", "yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"})
_LUMA_FIRST = _FULL_RANGE | {
    *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p"),
    *("yuva420p", "yuva422p", "yuva444p", "nv12", "nv21", "nv16"),
}
#: `av.video.reformatter.ColorRange.JPEG`.
_FULL = 2


def samples_of(frame: Any) -> npt.NDArray[np.float32]:
    """Samples of a frame of PyAV's as (n, channels) in [-1, 1], of 8 channels at most."""
    channels, count = len(frame.layout.channels), frame.samples
    kind = np.dtype(_SAMPLES[frame.format.packed.name])
    planes = frame.planes
    # Not its own to_ndarray: of eight channels it sees nine, and reads where nothing is.
    if frame.format.is_planar:
        pieces = [np.frombuffer(planes[k], kind, count) for k in range(channels)]
        data = np.stack(pieces, axis=1)
    else:
        data = np.frombuffer(planes[0], kind, count * channels).reshape(count, channels)
    samples = data.astype(np.float32)
    if kind.kind == "f":
        return samples
    scale = float(1 << (8 * kind.itemsize - 1))
    if kind.kind == "u":
        samples -= scale
    samples /= scale
    return samples


#: ffmpeg's names of formats of samples, and numpy's.
_SAMPLES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


class _Speech:
    """Samples of a track for a transcriber, and its words as events of kind ``text``."""

    def __init__(self, transcriber: Transcriber, tracks: Tracks) -> None:
        self._transcriber = transcriber
        self._tracks = tracks
        self._rate_hz = check_int(
            "transcriber.sample_rate_hz", transcriber.sample_rate_hz, low=4000, high=192_000
        )
        self._resampler: Any = None
        self._source_rate_hz = 0
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._from_s = 0.0
        self._held = 0
        self._beside = Beside(
            self._work,
            max_items=_SPEECH_PIECES,
            wait=not tracks.live,
            name="midstream-speech",
        )

    @property
    def dropped_s(self) -> float:
        """Speech that was not looked at, in seconds."""
        return self._beside.dropped * _SPEECH_S

    def take(self, frame: Any, pts_s: float) -> None:
        if self._resampler is None or frame.sample_rate != self._source_rate_hz:
            self._flush()
            self._source_rate_hz = frame.sample_rate
            self._resampler = library("av", "media").AudioResampler(
                format="s16", layout="mono", rate=self._rate_hz
            )
        if not self._held:
            self._from_s = pts_s
        for made in self._resampler.resample(frame):
            piece = made.to_ndarray().reshape(-1)
            self._pieces.append(piece)
            self._held += len(piece)
        if self._held >= _SPEECH_S * self._rate_hz:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._beside.finish()

    def shut_down(self) -> None:
        self._beside.shut_down()

    def _flush(self) -> None:
        if self._held:
            self._beside.put((np.concatenate(self._pieces), self._from_s))
            self._pieces, self._held = [], 0

    def _work(self, item: tuple[npt.NDArray[np.int16], float] | None) -> None:
        words = self._transcriber.finish() if item is None else self._transcriber.take(*item)
        if words:
            self._tracks.channel.put(_spoken(words), wait=not self._tracks.live)


def _spoken(words: Sequence[Word]) -> Draft:
    text = "".join(f"{word.text} " for word in words)
    data = {"words": [word.to_dict() for word in words]}
    return Draft("text", monotonic_ns(), text, data, "speech")


class _Objects:
    """Pictures of a track for a detector, now and then; what it saw newest."""

    def __init__(self, detector: ObjectDetector, tracks: Tracks) -> None:
        self._detector = detector
        self._every_s = 1.0 / tracks.objects_per_s
        self._next_s: float | None = None
        self.newest: tuple[list[dict[str, Any]] | None, float | None] = (None, None)
        self._beside = Beside(
            self._work, max_items=_PICTURES, wait=not tracks.live, name="midstream-objects"
        )

    @property
    def dropped(self) -> int:
        """Pictures that were not looked at."""
        return self._beside.dropped

    def take(self, frame: Any, pts_s: float) -> None:
        if self._next_s is not None and pts_s < self._next_s - 1e-3:
            return
        self._next_s = pts_s + self._every_s
        self._beside.put((frame.to_ndarray(format="rgb24"), pts_s))

    def finish(self) -> None:
        self._beside.finish()

    def shut_down(self) -> None:
        self._beside.shut_down()

    def _work(self, item: tuple[npt.NDArray[np.uint8], float] | None) -> None:
        if item is None:
            return
        picture, pts_s = item
        found = [thing.to_dict() for thing in self._detector.detect(picture)]
        self.newest = (found, round(pts_s, 3))
