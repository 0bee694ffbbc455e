"""Pictures: black, standstill, scenes, rhythm; and what an encoder's noise must not change."""

from __future__ import annotations

import io

import numpy as np
import pytest
from stream.media.making import FPS, av, encode, noisy, pattern, pictures, video_frame

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.media import MediaAnalysis, VideoMeter
from midstream.stream.media.tracks import Miniature


def decoded(media):
    """Small pictures of a clip, as sources see them."""
    small = Miniature()
    with av.open(io.BytesIO(media)) as container:
        return [small.luma(frame) for frame in container.decode(video=0)]


def run(lumas, *, fps=FPS, analysis=None, times=None):
    """Changes (scenes apart), and the figures at the end."""
    meter = VideoMeter(analysis)
    changes = []
    for k, luma in enumerate(lumas):
        meter.take(luma, k / fps if times is None else times[k])
        figures = meter.read()
        changes += figures["changes"]
    return changes, figures


def named(changes, *names):
    return [(name, round(at_s * FPS)) for name, at_s in changes if name in names]


@pytest.mark.parametrize("crf", [18, 28, 36])
def test_black_and_standstill_are_found_to_the_frame(crf):
    media = encode(
        pictures(("moving", 30), ("frozen", 40), ("moving", 20), ("black", 30), ("moving", 20)),
        crf=crf,
    )
    changes, _ = run(decoded(media))
    assert named(changes, "black", "picture") == [("black", 90), ("picture", 120)]
    stills = named(changes, "frozen", "moving")
    # The picture before may be like the still one already.
    assert [name for name, _ in stills] == ["frozen", "moving", "frozen", "moving"]
    # A coarse encoder goes on to sharpen the picture for some frames.
    late = 1 if crf < 30 else 4
    assert [frame for _, frame in stills] == pytest.approx([30, 70, 90, 120], abs=late)


@pytest.mark.parametrize(("crf", "gop"), [(23, 10), (32, 25), (38, 12)])
def test_standstill_with_noise_of_sensor_and_encoder(crf, gop):
    media = encode(
        noisy(pictures(("moving", 20), ("frozen", 75), ("moving", 20)), sigma=2.0),
        crf=crf,
        gop=gop,
    )
    changes, _ = run(decoded(media))
    stills = named(changes, "frozen", "moving")
    assert [name for name, _ in stills] == ["frozen", "moving"]
    assert [frame for _, frame in stills] == pytest.approx([20, 95], abs=2 if crf < 30 else 6)


def test_small_motion_is_no_standstill():
    still = pattern(3).astype(float)

    def frames():
        for k in range(75):
            frame = still.copy()
            frame[80:90, 20 + 3 * k : 30 + 3 * k] = 235  # a thing of 10 pixels crosses
            yield frame.astype(np.uint8)

    changes, figures = run(decoded(encode(frames(), crf=23)))
    assert not named(changes, "frozen")
    assert figures["frozen_s"] == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_motion_that_comes_to_rest_is_no_loop(seed):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:36, 0:64] / 36
    lumas = [
        np.clip(0.4 + 0.2 * np.sin(3 * x + 0.8 * min(k, 60) / FPS) * np.cos(2 * y), 0, 1)
        + random.standard_normal((36, 64)) * 0.003
        for k in range(180)
    ]
    changes, figures = run(lumas)
    assert {name for name, _ in changes} == {"frozen"}
    assert figures["loop_period_frames"] is None


def test_a_slow_fade_is_no_standstill():
    frames = (np.full((180, 320), 60 + k // 2, np.uint8) for k in range(100))
    changes, _ = run(decoded(encode(frames, crf=20)))
    assert not named(changes, "frozen")


def test_scenes_are_found_and_motion_is_none():
    media = encode(pictures(("moving", 25), ("cut", 25), ("cut", 25)), crf=28)
    changes, _ = run(decoded(media))
    assert named(changes, "scene") == [("scene", 25), ("scene", 50)]


def test_rhythm_and_gaps():
    times = [k / 30 for k in range(60)]
    times += [times[-1] + 1.0 + k / 30 for k in range(30)]
    lumas = [pattern(k)[::5, ::5] / 255 for k in range(90)]
    meter = VideoMeter()
    gaps = []
    for luma, at_s in zip(lumas, times, strict=True):
        meter.take(luma, at_s)
        figures = meter.read()
        if figures["gap_s"]:
            gaps.append((at_s, figures["gap_s"], figures["changes"]))
    assert figures["fps"] == pytest.approx(30, abs=0.05)
    assert figures["jitter_ms"] < 0.1
    ((at_s, gap_s, changes),) = gaps
    assert gap_s == pytest.approx(1.0, abs=0.001)
    assert at_s == pytest.approx(times[60])
    assert ["gap", round(times[59], 3)] in changes


def test_jitter():
    rng = np.random.default_rng(1)
    times = np.arange(100) / 25 + rng.uniform(-0.01, 0.01, 100)
    _, figures = run([pattern(k)[::5, ::5] / 255 for k in range(100)], times=times)
    assert figures["fps"] == pytest.approx(25, rel=0.03)
    assert 3 < figures["jitter_ms"] < 9


@pytest.mark.parametrize("format", ["yuv420p", "yuvj420p", "yuv444p", "nv12", "rgb24", "gray"])
def test_luma_is_that_of_any_format(format):
    frame = video_frame(np.full((180, 320), 126, np.uint8), 0).reformat(format=format)
    luma = Miniature().luma(frame)
    assert luma.shape == (36, 64)
    assert luma.mean() == pytest.approx(0.502, abs=0.02)


@pytest.mark.parametrize("size", [(16, 16), (1280, 720), (101, 57), (720, 1280)])
def test_luma_of_any_size(size):
    luma = Miniature().luma(
        av.VideoFrame.from_ndarray(np.full((size[1], size[0]), 255, np.uint8), format="gray")
    )
    assert luma.shape == (36, 64)
    assert luma.min() > 0.99


def test_thresholds_are_used():
    dark = [np.full((36, 64), 0.2)] * 30
    assert run(dark)[1]["black"] is False
    changes, figures = run(dark, analysis=MediaAnalysis(black_level=0.3))
    assert figures["black"] is True
    assert figures["black_s"] == pytest.approx(30 / FPS)
    assert named(changes, "black") == [("black", 0)]


def test_arguments():
    with pytest.raises(ArgumentTypeError, match="analysis must be MediaAnalysis, got str"):
        VideoMeter("black")
    with pytest.raises(ArgumentValueError, match=r"luma must be .* got \(7,\)"):
        VideoMeter().take(np.zeros(7), 0.0)
    with pytest.raises(ArgumentValueError, match="min_loop_frames"):
        MediaAnalysis(max_loop_frames=10, min_loop_frames=20)
    with pytest.raises(ArgumentValueError, match="silence_dbfs"):
        MediaAnalysis(silence_dbfs=3)
    with pytest.raises(ArgumentTypeError, match="loop_copies"):
        MediaAnalysis(loop_copies=2.5)
