"""A detector for media events: what is wrong with picture and sound, as findings."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from midstream._core.validate import check_choice, check_real
from midstream.stream.detectors.protocol import ACTIONS
from midstream.stream.events import Event, Finding, Severity

__all__ = ["MediaDetector"]

#: Events from which the usual rate and offset are taken, and tracks that are kept.
_BASE_EVENTS = 20
_MAX_TRACKS = 64
#: Seconds for which something must last that is measured anew with each event.
_LASTING_S = 1.0
#: Share of the distance of frames that is too much jitter.
_JITTER_SHARE = 0.5
#: Share of samples at full scale that is clipping.
_CLIPPED_SHARE = 0.001


class MediaDetector:
    """Find silence, standstill, black, loops, a broken rhythm, drift and clipping.

    Parameters
    ----------
    action : {"warn", "stop", "note"}, default "warn"
        Severity of the findings.
    silent_s, frozen_s, black_s : float, default 2.0, 2.0, 1.0
        Seconds for which it must last. A black picture that stands still is black, not frozen.
    gap_s : float, default 0.5
        Seconds without a frame, or of missing audio, that break the rhythm.
    fps_share : float, default 0.8
        Share of the usual rate of frames, that of the first two seconds, below which it is broken.
    drift_s : float, default 0.15
        Seconds that picture and sound, or a clock and the samples that it counts, may move apart.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    Kinds of finding: ``silence``, ``frozen``, ``black``, ``video_loop``, ``cadence``,
    ``av_drift``, ``clipping``; each once for a stretch, with the event that shows that it has
    lasted. Their evidence has ``stream_id`` (the track), ``since_s`` and ``at_s`` (times of the
    stream), and what was measured. Characters have no part in it: `start` and `end` are 0.

    2 microseconds an event. Events of other sources pass. Not thread-safe.

    Examples
    --------
    >>> detector = MediaDetector(silent_s=1.0)
    >>> quiet = {"pts_s": 5.0, "silent_s": 1.25, "rate_hz": 48000}
    >>> detector.observe(Event("audio", 0, 0, data=quiet, stream_id="audio/0"), 0)[0].message
    'silent for 1.2 s, since 3.75 s'
    """

    def __init__(
        self,
        action: Severity = "warn",
        *,
        silent_s: float = 2.0,
        frozen_s: float = 2.0,
        black_s: float = 1.0,
        gap_s: float = 0.5,
        fps_share: float = 0.8,
        drift_s: float = 0.15,
    ) -> None:
        self.action: Severity = check_choice("action", action, ACTIONS)
        self.silent_s = check_real("silent_s", silent_s, low=0.01)
        self.frozen_s = check_real("frozen_s", frozen_s, low=0.01)
        self.black_s = check_real("black_s", black_s, low=0.0)
        self.gap_s = check_real("gap_s", gap_s, low=0.01)
        self.fps_share = check_real("fps_share", fps_share, low=0.0, high=1.0)
        self.drift_s = check_real("drift_s", drift_s, low=0.001)
        self._tracks: dict[str, _Track] = {}

    @property
    def used(self) -> bool:
        """Whether it has seen a stream already: a detector belongs to one."""
        return bool(self._tracks)

    def observe(self, event: Event, gap_ns: int) -> Sequence[Finding]:
        """Take the next event.

        Returns
        -------
        sequence of Finding
        """
        data = event.data
        if event.kind not in ("audio", "video") or not isinstance(data, dict):
            return ()
        pts_s = _number(data, "pts_s")
        if pts_s is None:
            return ()
        track = self._tracks.get(event.stream_id)
        if track is None:
            if len(self._tracks) >= _MAX_TRACKS:
                return ()
            track = self._tracks[event.stream_id] = _Track()
        found: list[Finding] = []
        for kind, message, evidence in self._judge(track, event.kind, data, pts_s):
            evidence = {"stream_id": event.stream_id, "at_s": round(pts_s, 3), **evidence}
            found.append(Finding(kind, self.action, event.seq, event.t_ns, 0, 0, message, evidence))
        track.at_s = pts_s
        return found

    def finish(self) -> Sequence[Finding]:
        """Nothing: what had not lasted by the end did not last."""
        return ()

    def _judge(
        self, track: _Track, kind: str, data: dict[str, Any], pts_s: float
    ) -> list[tuple[str, str, dict[str, Any]]]:
        if kind == "audio":
            return self._judge_audio(track, data, pts_s)
        return self._judge_video(track, data, pts_s)

    def _judge_audio(
        self, track: _Track, data: dict[str, Any], pts_s: float
    ) -> list[tuple[str, str, dict[str, Any]]]:
        found = []
        silent_s = _number(data, "silent_s") or 0.0
        if track.once("silence", silent_s >= self.silent_s):
            found.append(_lasting("silence", "silent", silent_s, pts_s))
        missing_s = _number(data, "gap_s") or 0.0
        if missing_s >= self.gap_s:
            message = f"{missing_s:.2f} s of audio are missing, before {pts_s:.2f} s"
            found.append(("cadence", message, {"gap_s": missing_s}))
        drift_s = _number(data, "drift_s") or 0.0
        if track.once("drift", abs(drift_s) >= self.drift_s):
            message = (
                f"the clock of the sound has moved {drift_s:+.3f} s against its samples, "
                f"by {pts_s:.2f} s"
            )
            found.append(("av_drift", message, {"drift_s": drift_s}))
        clipped = _number(data, "clipped") or 0.0
        samples = max(0.0, pts_s - track.at_s) * (_number(data, "rate_hz") or 48_000)
        loud = clipped > 0 and clipped >= _CLIPPED_SHARE * samples
        if track.lasts("clipping", loud, pts_s):
            message = f"clipped for {_LASTING_S:g} s, by {pts_s:.2f} s"
            found.append(("clipping", message, {"clipped": int(clipped)}))
        return found

    def _judge_video(
        self, track: _Track, data: dict[str, Any], pts_s: float
    ) -> list[tuple[str, str, dict[str, Any]]]:
        found = []
        is_black = bool(data.get("black"))
        black_s = _number(data, "black_s") or 0.0
        if track.once("black", is_black and black_s >= self.black_s):
            found.append(_lasting("black", "black", black_s, pts_s))
        frozen_s = _number(data, "frozen_s") or 0.0
        if track.once("frozen", frozen_s >= self.frozen_s and not is_black):
            found.append(_lasting("frozen", "the picture stands still", frozen_s, pts_s))
        found += self._judge_loop(track, data, pts_s)
        found += self._judge_rhythm(track, data, pts_s)
        offset_s = _number(data, "av_offset_s")
        if offset_s is not None:
            usual_s = track.usual("offset", offset_s)
            moved_s = 0.0 if usual_s is None else offset_s - usual_s
            if track.lasts("offset", abs(moved_s) >= self.drift_s, pts_s):
                message = f"the picture has moved {moved_s:+.2f} s against the sound"
                found.append(("av_drift", message, {"drift_s": round(moved_s, 3)}))
        return found

    def _judge_loop(
        self, track: _Track, data: dict[str, Any], pts_s: float
    ) -> list[tuple[str, str, dict[str, Any]]]:
        period = _number(data, "loop_period_frames")
        if not track.once("loop", period is not None) or period is None:
            return []
        copies = _number(data, "loop_copies") or 0.0
        fps = _number(data, "fps")
        since_s = None if not fps else round(max(0.0, pts_s - copies * period / fps), 3)
        message = f"{period:.0f} frames are shown again and again, {copies:.1f} times by now"
        evidence = {"period_frames": int(period), "copies": copies, "since_s": since_s}
        return [("video_loop", message, evidence)]

    def _judge_rhythm(
        self, track: _Track, data: dict[str, Any], pts_s: float
    ) -> list[tuple[str, str, dict[str, Any]]]:
        found: list[tuple[str, str, dict[str, Any]]] = []
        gap_s = _number(data, "gap_s") or 0.0
        if gap_s >= self.gap_s:
            found.append(
                ("cadence", f"no frame for {gap_s:.2f} s, before {pts_s:.2f} s", {"gap_s": gap_s})
            )
        fps = _number(data, "fps")
        if not fps:
            return found
        usual = track.usual("fps", fps)
        slow = usual is not None and fps < self.fps_share * usual
        if track.lasts("slow", slow, pts_s):
            message = f"{fps:.1f} frames a second, where {usual:.1f} are usual"
            found.append(("cadence", message, {"fps": fps, "usual_fps": usual}))
        jitter_ms = _number(data, "jitter_ms") or 0.0
        if track.lasts("jitter", jitter_ms * fps >= 1e3 * _JITTER_SHARE and not slow, pts_s):
            message = f"frames come {jitter_ms:.0f} ms off their rhythm of {1e3 / fps:.0f} ms"
            found.append(("cadence", message, {"jitter_ms": jitter_ms, "fps": fps}))
        return found


class _Track:
    """What is known of one track."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self._told: set[str] = set()
        self._since_s: dict[str, float] = {}
        self._values: dict[str, deque[float]] = {}
        self._usual: dict[str, float] = {}

    def once(self, name: str, now: bool) -> bool:
        """Whether it holds now and did not with the event before."""
        if not now:
            self._told.discard(name)
            return False
        if name in self._told:
            return False
        self._told.add(name)
        return True

    def lasts(self, name: str, now: bool, pts_s: float) -> bool:
        """Whether it has held for a second, told once."""
        if not now:
            self._since_s.pop(name, None)
            return self.once(name, False)
        return self.once(name, pts_s - self._since_s.setdefault(name, pts_s) >= _LASTING_S)

    def usual(self, name: str, value: float) -> float | None:
        """Take note of a value; the median of the first ones, once there are enough."""
        known = self._usual.get(name)
        if known is None:
            values = self._values.setdefault(name, deque())
            values.append(value)
            if len(values) < _BASE_EVENTS:
                return None
            known = self._usual[name] = sorted(values)[len(values) // 2]
            del self._values[name]
        return known


def _number(data: dict[str, Any], name: str) -> float | None:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _lasting(
    kind: str, what: str, lasted_s: float, pts_s: float
) -> tuple[str, str, dict[str, Any]]:
    since_s = round(pts_s - lasted_s, 3)
    message = f"{what} for {lasted_s:.1f} s, since {since_s:.2f} s"
    return kind, message, {"since_s": since_s, "lasted_s": lasted_s}
