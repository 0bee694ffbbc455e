"""Findings of media events: when, for what, and for what not."""

from __future__ import annotations

import pytest
from stream.media.making import FPS, RATE, encode, noisy, of_kind, pictures, sound
from stream.media.serving import manifest

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Event, from_hls, from_iterable, watch
from midstream.stream.media import MediaDetector, media_spans


def event(kind, pts_s, **data):
    return Event(kind, 0, round(pts_s * 1e9), "", None, {"pts_s": pts_s, **data}, f"{kind}/0")


def feed(detector, events):
    return [finding for one in events for finding in detector.observe(one, 0)]


def video(pts_s, **data):
    base = {"fps": 25.0, "jitter_ms": 0.0, "gap_s": 0.0, "black": False, "frozen_s": 0.0}
    return event("video", pts_s, **base | data)


def audio(pts_s, **data):
    return event("audio", pts_s, **{"silent_s": 0.0, "rate_hz": RATE, "clipped": 0} | data)


def test_a_silence_is_told_once_when_it_has_lasted():
    quiet = [audio(k / 10, silent_s=max(0.0, k / 10 - 1)) for k in range(60)]
    (found,) = feed(MediaDetector(silent_s=2.0), quiet)
    assert (found.kind, found.severity, found.t_ns) == ("silence", "warn", 3_000_000_000)
    assert found.evidence == {
        "stream_id": "audio/0", "at_s": 3.0, "since_s": 1.0, "lasted_s": 2.0
    }  # fmt: skip
    assert found.message == "silent for 2.0 s, since 1.00 s"
    assert (found.start, found.end) == (0, 0)


def test_the_next_silence_is_told_again():
    events = [audio(k / 10, silent_s=(k % 30) / 10) for k in range(90)]
    assert len(feed(MediaDetector(silent_s=2.0), events)) == 3


def test_black_is_not_frozen():
    events = [video(k / 10, black=True, black_s=k / 10, frozen_s=k / 10) for k in range(60)]
    assert [found.kind for found in feed(MediaDetector(), events)] == ["black"]


def test_a_standstill():
    events = [video(k / 10, frozen_s=k / 10) for k in range(60)]
    (found,) = feed(MediaDetector("note"), events)
    assert (found.kind, found.severity) == ("frozen", "note")
    assert found.evidence["since_s"] == 0.0


def test_a_loop():
    events = [video(k / 10, loop_period_frames=25 if k > 50 else None, loop_copies=3.1)
              for k in range(60)]  # fmt: skip
    (found,) = feed(MediaDetector(), events)
    assert found.kind == "video_loop"
    assert found.message == "25 frames are shown again and again, 3.1 times by now"
    assert found.evidence["since_s"] == pytest.approx(5.1 - 3.1)


def test_gaps_and_missing_audio_break_the_rhythm():
    found = feed(MediaDetector(), [video(1.0, gap_s=0.6), audio(1.0, gap_s=0.7), video(2.0)])
    assert [one.kind for one in found] == ["cadence", "cadence"]
    assert [one.evidence["stream_id"] for one in found] == ["video/0", "audio/0"]
    assert not feed(MediaDetector(), [video(1.0, gap_s=0.3)])


def test_a_rate_that_falls():
    events = [video(k / 10, fps=25.0 if k < 40 else 15.0) for k in range(80)]
    (found,) = feed(MediaDetector(), events)
    assert found.message == "15.0 frames a second, where 25.0 are usual"
    assert found.evidence["at_s"] == pytest.approx(5.0, abs=0.11)


def test_jitter():
    (found,) = feed(MediaDetector(), [video(k / 10, jitter_ms=25.0) for k in range(40)])
    assert found.message == "frames come 25 ms off their rhythm of 40 ms"


def test_offset_of_picture_and_sound():
    steady = [video(k / 10, av_offset_s=-0.4) for k in range(60)]
    assert not feed(MediaDetector(), steady)
    moved = [video(k / 10, av_offset_s=-0.4 + (0.3 if k > 30 else 0)) for k in range(60)]
    (found,) = feed(MediaDetector(), moved)
    assert found.evidence["drift_s"] == pytest.approx(0.3)


def test_clipping_must_last():
    loud = [audio(k / 10, clipped=2000) for k in range(30)]
    assert [found.kind for found in feed(MediaDetector(), loud)] == ["clipping"]
    now_and_then = [audio(k / 10, clipped=2000 * (k % 4 == 0)) for k in range(60)]
    assert not feed(MediaDetector(), now_and_then)


def test_events_of_others_pass():
    detector = MediaDetector()
    others = [
        Event("text", 0, 0, "hello", None, {"pts_s": 1}),
        Event("audio", 0, 0, "a transcript", None, {"type": "response.audio.delta"}),
        Event("audio", 0, 0, "", None, None),
        Event("video", 0, 0, "", None, {"pts_s": "soon", "frozen_s": 99}),
        Event("video", 0, 0, "", None, {"pts_s": 1.0, "frozen_s": "long", "fps": None}),
    ]
    assert not feed(detector, others)
    assert not detector.finish()


def test_tracks_are_apart_and_bounded():
    detector = MediaDetector()
    found = []
    for track in range(100):
        one = Event("audio", 0, 0, "", None, {"pts_s": 3.0, "silent_s": 3.0}, f"audio/{track}")
        found += detector.observe(one, 0)
    assert len(found) == 64
    assert detector.used


async def test_a_stop_closes_the_source(tmp_path):
    (tmp_path / "a.ts").write_bytes(encode(pictures(("moving", 25), ("frozen", 100))))
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:5.0,", "a.ts"))
    guard = watch(from_hls(tmp_path / "x.m3u8"), detectors=[MediaDetector("stop")])
    events = [one async for one in guard]
    assert guard.stopped.kind == "frozen"
    assert guard.stopped.evidence["since_s"] == pytest.approx(1.0, abs=0.09)
    assert events[-1].data["pts_s"] == pytest.approx(3.0, abs=0.2)
    assert guard.report().outcome == "stopped"


async def test_what_is_well_has_no_findings(tmp_path):
    """Ten seconds of motion and sound, with the noise of a sensor."""
    media = encode(noisy(pictures(("moving", 250))), sound(("tone", 10.0)), crf=30)
    (tmp_path / "a.ts").write_bytes(media)
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:10.0,", "a.ts"))
    guard = watch(from_hls(tmp_path / "x.m3u8"), detectors=[MediaDetector()])
    async for _ in guard:
        pass
    assert guard.findings == []


async def test_broken_rhythm_and_drift_in_a_file(tmp_path):
    """0.8 of a second of frames is missing; the clock of the sound runs 4 % fast."""

    def pts_of(k):
        return k / FPS + (0.8 if k >= 100 else 0.0)

    media = encode(
        pictures(("moving", 200)),
        sound(("tone", 8.0)),
        pts_of=pts_of,
        audio_pts_of=lambda n: 1.04 * n / RATE,
    )
    (tmp_path / "a.ts").write_bytes(media)
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:8.0,", "a.ts"))
    guard = watch(from_hls(tmp_path / "x.m3u8"), detectors=[MediaDetector()])
    async for _ in guard:
        pass
    found = {finding.kind: finding for finding in guard.findings}
    assert set(found) == {"cadence", "av_drift"}
    assert found["cadence"].evidence["gap_s"] == pytest.approx(0.84, abs=0.01)
    assert found["cadence"].evidence["at_s"] == pytest.approx(4.9, abs=0.15)
    assert found["av_drift"].evidence["drift_s"] == pytest.approx(0.15, abs=0.02)


async def test_clipping_in_a_file(tmp_path):
    """Without loss: what a lossy codec makes of flat tops is no longer flat."""
    media = encode(None, sound(("tone", 1.0), ("loud", 3.0)), format="mp4", acodec="flac")
    (tmp_path / "a.mp4").write_bytes(media)
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:4.0,", "a.mp4"))
    guard = watch(from_hls(tmp_path / "x.m3u8"), detectors=[MediaDetector()])
    async for _ in guard:
        pass
    (found,) = guard.findings
    assert found.kind == "clipping"
    assert found.evidence["at_s"] == pytest.approx(2.1, abs=0.25)


async def test_events_of_a_recording_give_the_same():
    events = [audio(k / 10, silent_s=k / 10) for k in range(40)]
    guard = watch(from_iterable(events), detectors=[MediaDetector()])
    assert [one async for one in guard] == events
    assert [finding.kind for finding in guard.findings] == ["silence"]


def test_spans_of_nothing_and_of_the_odd():
    assert media_spans([]) == []
    odd = [Event("video", 0, 0, data={"changes": 3, "pts_s": 1}), Event("text", 0, 0, "x"),
           Event("video", 0, 0, data={"changes": [["moving", 1.0]], "pts_s": 2.0})]  # fmt: skip
    assert media_spans(odd) == []
    assert of_kind(odd, "text")


def test_arguments():
    with pytest.raises(ArgumentValueError, match="action must be one of"):
        MediaDetector("block")
    with pytest.raises(ArgumentValueError, match="silent_s"):
        MediaDetector(silent_s=0)
    with pytest.raises(ArgumentTypeError, match="fps_share"):
        MediaDetector(fps_share="all")
