"""Media: what is to be heard and seen in a stream of audio and video, as events.

Reading; needs PyAV, for WebRTC aiortc: ``pip install "midstream[media]"``
    `from_hls`, `from_rtmp`, `from_webrtc`; `WebRtcSession`
How, and how much
    `MediaAnalysis`, `MediaLimits`
Finding what is wrong
    `MediaDetector`, for `midstream.stream.watch`; `media_spans`, for what lasted from when to when
Measuring without a source
    `AudioMeter`, `VideoMeter`
Transcription and detection
    the interfaces `Transcriber` (gives `Word`) and `ObjectDetector` (gives `DetectedObject`);
    `SphinxTranscriber` and `CascadeDetector`, which work offline

Notes
-----
All sources give events of kind ``audio`` and ``video`` with an empty text, each for a tenth of a
second of one track unless told otherwise, or for longer where a live stream is not read in time.
Their ``stream_id`` is the track: ``"audio/0"``, ``"video/0"``. Their ``data`` is a dict of finite
numbers, JSON-ready:

both
    ``pts_s``: time of the stream behind the newest frame, from 0 at the first, in seconds;
    ``dropped``: frames dropped so far, since decoding fell behind a live stream; ``damaged``:
    packets and frames that were damaged so far, where there are any; ``program_time_s``: the wall
    clock at ``pts_s``, seconds since the epoch, where the stream tells; ``changes``: a list of
    ``[name, pts_s]``, at most 32, with ``changes_omitted`` for the rest
audio
    ``level_dbfs`` (RMS of the last 400 ms), ``peak_dbfs``, ``silent_s`` (how long it has been
    silent), ``clipped`` (samples), ``gap_s`` (missing audio), ``drift_s`` (clock of the timestamps
    against that of the samples), ``rate_hz``, ``channels``; changes: ``silence``, ``sound``,
    ``audio_gap``
video
    ``frame`` (number of the newest), ``frames`` (in this event), ``fps``, ``jitter_ms``,
    ``gap_s``, ``brightness`` (0 to 1), ``black`` (bool), ``black_s``, ``frozen_s`` (how long it has
    stood still), ``scenes`` (cuts in this event), ``loop_period_frames`` and ``loop_copies`` (None
    where there is no loop), ``size`` ([width, height]), ``av_offset_s`` (time of the picture less
    that of the sound that came with it); with a detector ``objects``, ``objects_at_s``,
    ``objects_dropped``; changes: ``black``, ``picture``, ``frozen``, ``moving``, ``scene``,
    ``gap``, ``loop``

Speech is of kind ``text``, with a ``stream_id`` of ``"speech"`` and the words with their times as
``data["words"]``: detectors of text work on it. The last event is an ``end`` whose ``data`` has the
totals: ``seconds``, ``frames``, ``samples``, ``dropped``, ``damaged``.

Colour is not looked at, nor is what a track contains compared with another: sound that was late
before it was encoded is not found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.media.audio import AudioMeter
    from midstream.stream.media.detecting import MediaDetector
    from midstream.stream.media.hls import from_hls
    from midstream.stream.media.interfaces import (
        DetectedObject,
        ObjectDetector,
        Transcriber,
        Word,
    )
    from midstream.stream.media.objects import CascadeDetector
    from midstream.stream.media.rtmp import from_rtmp
    from midstream.stream.media.settings import MediaAnalysis, MediaLimits
    from midstream.stream.media.spans import MediaSpan, media_spans
    from midstream.stream.media.speech import SphinxTranscriber
    from midstream.stream.media.video import VideoMeter
    from midstream.stream.media.webrtc import WebRtcSession, from_webrtc

__all__ = [
    "AudioMeter",
    "CascadeDetector",
    "DetectedObject",
    "MediaAnalysis",
    "MediaDetector",
    "MediaLimits",
    "MediaSpan",
    "ObjectDetector",
    "SphinxTranscriber",
    "Transcriber",
    "VideoMeter",
    "WebRtcSession",
    "Word",
    "from_hls",
    "from_rtmp",
    "from_webrtc",
    "media_spans",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AudioMeter": "audio",
        "CascadeDetector": "objects",
        "DetectedObject": "interfaces",
        "MediaAnalysis": "settings",
        "MediaDetector": "detecting",
        "MediaLimits": "settings",
        "MediaSpan": "spans",
        "ObjectDetector": "interfaces",
        "SphinxTranscriber": "speech",
        "Transcriber": "interfaces",
        "VideoMeter": "video",
        "WebRtcSession": "webrtc",
        "Word": "interfaces",
        "from_hls": "hls",
        "from_rtmp": "rtmp",
        "from_webrtc": "webrtc",
        "media_spans": "spans",
    },
)
