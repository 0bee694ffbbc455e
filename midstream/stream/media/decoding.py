"""Containers to frames, in a thread: what HLS and RTMP share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from midstream._core.errors import (
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    SourceError,
)
from midstream.stream.media.extra import library
from midstream.stream.media.settings import MediaLimits
from midstream.stream.media.timeline import Backlog, RunClock, Timeline
from midstream.stream.media.tracks import AudioTrack, Tracks, VideoTrack, check_picture

__all__ = ["Pacer", "Position", "Run", "decode_run", "open_bytes", "source_error"]


class Pacer:
    """Holds media back to the speed of a clock.

    Parameters
    ----------
    speed : float or None
        Media seconds a second; None for as fast as it can be decoded.
    """

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._began_s = time.monotonic()
        self.stop = threading.Event()

    def wait(self, media_s: float) -> bool:
        """Wait until `media_s` is due; False if the stream was closed."""
        if self._speed is not None:
            ahead_s = media_s / self._speed - (time.monotonic() - self._began_s)
            if ahead_s > 0.0:
                self.stop.wait(ahead_s)
        return not self.stop.is_set()


class Run:
    """One container, and how its timestamps join what came before.

    Parameters
    ----------
    open : callable
        Opens it, in the thread that decodes.
    key : hashable
        Of the rendition: its tracks go on from run to run.
    stretch : int
        Number of the discontinuity before it.
    start_s : float or None
        First timestamp, where the container does not tell.
    program_time_s : float or None
        Wall clock of its beginning, seconds since the epoch.
    network : bool
        Whether ffmpeg reads from a peer itself, so that its errors may be the peer's.
    """

    def __init__(
        self,
        open: Callable[[], Any],
        *,
        key: Any = 0,
        stretch: int = 0,
        start_s: float | None = None,
        program_time_s: float | None = None,
        network: bool = False,
    ) -> None:
        self.open = open
        self.key = key
        self.stretch = stretch
        self.start_s = start_s
        self.program_time_s = program_time_s
        self.network = network


def open_bytes(file: Any, format: str, limits: MediaLimits) -> Any:
    """Open a container of a known format over a file object; nothing else is ever opened."""
    av = library("av", "media")
    options = {
        "format_whitelist": format,
        "protocol_whitelist": "none",
        "max_pixels": str(limits.max_pixels),
        "probesize": "2000000",
        "analyzeduration": "2000000",
    }
    return av.open(file, format=format, options=options, io_open=_refuse, metadata_errors="replace")


def _refuse(url: str, flags: int, options: Mapping[str, str]) -> Any:
    raise PermissionError("a container must not open anything")


class Position:
    """Where what is decoded ends on the time axis, in seconds."""

    def __init__(self) -> None:
        self.end_s = 0.0


def decode_run(
    run: Run, tracks: Tracks, timeline: Timeline, pacer: Pacer, position: Position, *, drop: bool
) -> None:
    """Decode a container to its end, into tracks.

    Parameters
    ----------
    run, tracks, timeline, pacer
    position : Position
        Where what came before ended; moved on, also where this fails.
    drop : bool
        Drop video where decoding falls behind, rather than let the peer wait.

    Raises
    ------
    SourceError
        As the peer or the data went wrong.
    """
    av = library("av", "media")
    try:
        container = run.open()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise source_error(error, tracks.place, network=run.network) from error
    with container:
        decoder = _Decoder(container, run, tracks, timeline, pacer, position.end_s, drop)
        try:
            decoder.decode()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            raise source_error(error, tracks.place, network=run.network) from error
        finally:
            position.end_s = max(position.end_s, decoder.clock.end_s)


class _Decoder:
    def __init__(
        self,
        container: Any,
        run: Run,
        tracks: Tracks,
        timeline: Timeline,
        pacer: Pacer,
        end_s: float,
        drop: bool,
    ) -> None:
        self._container = container
        self._run = run
        self._tracks = tracks
        self._pacer = pacer
        self._backlog = Backlog(tracks.limits.max_lag_s) if drop else None
        self._skipping = False
        self._errors = 0
        self._streams: dict[int, AudioTrack | VideoTrack] = {}
        starts_s = []
        for stream in container.streams:
            track = self._track(stream)
            if track is not None:
                self._streams[stream.index] = track
                if stream.start_time is not None and stream.time_base:
                    starts_s.append(float(stream.start_time * stream.time_base))
        own_s = min(starts_s, default=0.0)
        shift_s = 0.0 if run.start_s is None else run.start_s - own_s
        offset_s = timeline.offset_s(run.stretch, start_s=own_s + shift_s, end_s=end_s)
        if run.program_time_s is not None:
            tracks.program_base_s = run.program_time_s - (own_s + shift_s + offset_s)
        self.clock = RunClock(offset_s + shift_s)

    def _track(self, stream: Any) -> AudioTrack | VideoTrack | None:
        """Return where frames of a stream go; None for what is not looked at."""
        context = stream.codec_context
        # Fails where ffmpeg knows no decoder.
        if stream.type not in ("audio", "video") or context is None:
            return None
        key = (self._run.key, stream.index)
        if stream.type == "audio":
            return self._tracks.audio(key)
        check_picture(context.width, context.height, self._tracks.limits, self._tracks.place)
        context.options = {"max_pixels": str(self._tracks.limits.max_pixels)}
        context.thread_count = 1
        return self._tracks.video(key)

    def decode(self) -> None:
        """Go through all packets."""
        wanted = [stream for stream in self._container.streams if stream.index in self._streams]
        if not wanted:
            raise MalformedStreamError("no audio or video in it", place=self._tracks.place)
        packets = iter(self._container.demux(wanted))
        while not self._pacer.stop.is_set():
            before_s = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except LookupError as error:  # of a stream that was not there when it was opened
                raise MalformedStreamError(
                    "tracks appear under way", place=self._tracks.place
                ) from error
            if self._backlog is not None and self._must_drop(packet, before_s):
                continue
            self._decode(packet)

    def _must_drop(self, packet: Any, before_s: float) -> bool:
        """Whether a packet is to be dropped because decoding is behind."""
        assert self._backlog is not None
        now_s = time.monotonic()
        at = packet.dts if packet.dts is not None else packet.pts
        media_s = 0.0 if at is None or not packet.time_base else float(at * packet.time_base)
        behind = self._backlog.is_behind(now_s - before_s, now_s, media_s=media_s)
        track = self._streams.get(packet.stream_index)
        if not isinstance(track, VideoTrack) or packet.size == 0:
            return False
        if behind:
            self._skipping = True
        elif self._skipping and packet.is_keyframe:
            self._skipping = False
        if self._skipping:
            track.dropped += 1
        return self._skipping

    def _decode(self, packet: Any) -> None:
        av = library("av", "media")
        track = self._streams.get(packet.stream_index)
        if track is None:
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            self._tracks.damaged += 1
            self._errors += 1
            if self._errors > self._tracks.limits.max_errors:
                raise MalformedStreamError(
                    f"{self._errors} damaged packets in a row: {_cause(error)}",
                    place=self._tracks.place,
                ) from error
            return
        for frame in frames:
            self._errors = 0
            if frame.is_corrupt:
                self._tracks.damaged += 1
            self._take(track, packet.stream_index, frame)

    def _take(self, track: AudioTrack | VideoTrack, index: int, frame: Any) -> None:
        length_s = None
        if isinstance(track, AudioTrack):
            length_s = frame.samples / frame.sample_rate
        at_s = self.clock.place(index, frame.time, length_s)
        if self._pacer.wait(at_s):
            track.take(frame, at_s)


def source_error(error: Exception, place: str, *, network: bool) -> SourceError:
    """Say what went wrong with a peer or its data, in our words."""
    av = library("av", "media")
    cause = _cause(error)
    if isinstance(error, SourceError):
        return error
    if isinstance(error, (av.error.ExitError, av.error.TimeoutError)):
        return IdleTimeoutError("the peer was silent for too long", place=place)
    if isinstance(error, (av.error.DecoderNotFoundError, av.error.DemuxerNotFoundError)):
        return MalformedStreamError(f"no decoder for it: {cause}", place=place)
    data = isinstance(error, (av.error.InvalidDataError, av.error.EOFError, ValueError))
    if data or not network:
        return MalformedStreamError(f"cannot be decoded: {cause}", place=place)
    return EndpointError(cause, place=place)


def _cause(error: Exception) -> str:
    """One line without the names of files."""
    text = getattr(error, "strerror", None) or str(error)
    line = " ".join(str(text).split())
    return "".join(char if char.isprintable() else "\ufffd" for char in line)[:200]
