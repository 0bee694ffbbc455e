"""Sound: levels, silence, clipping, missing samples and drifting clocks."""

from __future__ import annotations

import numpy as np
import pytest
from stream.media.making import RATE, sound

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.media import AudioMeter, MediaAnalysis


def feed(meter, samples, *, size=1024, start_s=0.0):
    for n in range(0, len(samples), size):
        meter.take(samples[n : n + size], start_s + n / meter.rate_hz)
    return meter


@pytest.mark.parametrize(
    ("amplitude", "level", "peak"), [(1.0, -3.01, 0.0), (0.5, -9.03, -6.02), (0.001, -63.01, -60.0)]
)
def test_levels_of_a_sine(amplitude, level, peak):
    time_s = np.arange(RATE) / RATE
    meter = feed(AudioMeter(RATE), amplitude * np.sin(2 * np.pi * 1000 * time_s))
    figures = meter.read()
    assert figures["level_dbfs"] == pytest.approx(level, abs=0.02)
    assert figures["peak_dbfs"] == pytest.approx(peak, abs=0.02)


def test_level_is_that_of_the_last_400_ms():
    figures = feed(AudioMeter(RATE), sound(("loud", 1.0), ("tone", 0.4))).read()
    assert figures["level_dbfs"] == pytest.approx(-15.05, abs=0.1)
    assert figures["peak_dbfs"] == 0.0


@pytest.mark.parametrize("size", [160, 1000, 1024, 4801, 48_000])
def test_silence_is_found_to_a_block_however_it_is_cut(size):
    samples = sound(("tone", 1.0), ("silence", 2.0), ("tone", 1.0), ("hiss", 1.5, -60))
    meter = feed(AudioMeter(RATE), samples, size=size)
    figures = meter.read()
    names = [name for name, _ in figures["changes"]]
    times = [at_s for _, at_s in figures["changes"]]
    assert names == ["silence", "sound", "silence"]
    assert times == pytest.approx([1.0, 3.0, 4.0], abs=0.011)
    assert figures["silent_s"] == pytest.approx(1.5, abs=0.011)
    assert meter.end_s == pytest.approx(5.5)


def test_a_pause_below_the_shortest_is_not_listed_but_counted():
    meter = feed(AudioMeter(RATE), sound(("tone", 1.0), ("silence", 0.3)))
    figures = meter.read()
    assert figures["changes"] == []
    assert figures["silent_s"] == pytest.approx(0.3, abs=0.011)


def test_threshold_of_silence():
    hiss = sound(("hiss", 1.0, -45))
    assert feed(AudioMeter(RATE), hiss).read()["silent_s"] == 0.0
    strict = AudioMeter(RATE, MediaAnalysis(silence_dbfs=-40))
    assert feed(strict, hiss).read()["silent_s"] == pytest.approx(1.0, abs=0.011)


def test_digital_silence_has_a_finite_level():
    figures = feed(AudioMeter(RATE), sound(("silence", 1.0))).read()
    assert (figures["level_dbfs"], figures["peak_dbfs"]) == (-120.0, -120.0)


@pytest.mark.parametrize("size", [64, 1024])
def test_clipped_samples_are_counted_across_cuts(size):
    samples = sound(("loud", 0.5), channels=1)
    full = np.abs(samples[:, 0]) >= 0.999
    runs = np.diff(np.flatnonzero(np.diff(full, prepend=False, append=False)))[::2]
    figures = feed(AudioMeter(RATE), samples, size=size).read()
    assert figures["clipped"] == pytest.approx(runs[runs >= 3].sum(), rel=0.02)


def test_a_sine_of_full_scale_is_hardly_clipped():
    time_s = np.arange(RATE) / RATE
    figures = feed(AudioMeter(RATE), np.sin(2 * np.pi * 997 * time_s)).read()
    assert figures["clipped"] < 0.03 * RATE


def test_missing_audio_is_a_gap_and_silence():
    meter = AudioMeter(RATE)
    tone = sound(("tone", 1.0))
    feed(meter, tone)
    feed(meter, tone, start_s=2.5)
    figures = meter.read()
    assert figures["gap_s"] == pytest.approx(1.5, abs=0.01)
    assert [name for name, _ in figures["changes"]] == ["audio_gap", "silence", "sound"]
    assert figures["changes"][0][1] == pytest.approx(1.0, abs=0.011)
    assert figures["changes"][2][1] == pytest.approx(2.5, abs=0.011)


def test_a_clock_that_drifts_from_its_samples():
    meter = AudioMeter(RATE)
    samples = sound(("tone", 10.0))
    for n in range(0, len(samples), 1024):
        meter.take(samples[n : n + 1024], 1.02 * n / RATE)
    figures = meter.read()
    assert figures["drift_s"] == pytest.approx(0.2, abs=0.005)
    assert figures["gap_s"] == 0.0


def test_numbers_that_are_none_are_loud_not_fatal():
    meter = AudioMeter(RATE)
    meter.take(np.full((4800, 2), np.nan), 0.0)
    figures = meter.read()
    assert figures["silent_s"] == 0.0
    assert np.isfinite(figures["level_dbfs"]) and np.isfinite(figures["peak_dbfs"])


def test_channels_may_change():
    meter = AudioMeter(RATE)
    meter.take(sound(("tone", 0.105)), 0.0)
    meter.take(sound(("tone", 0.105), channels=1), 0.105)
    assert meter.end_s == pytest.approx(0.21)


def test_arguments():
    with pytest.raises(ArgumentValueError, match="rate_hz"):
        AudioMeter(100)
    with pytest.raises(ArgumentTypeError, match="analysis must be MediaAnalysis, got int"):
        AudioMeter(RATE, 3)
    with pytest.raises(ArgumentValueError, match=r"samples must be .* got \(2, 2, 2\)"):
        AudioMeter(RATE).take(np.zeros((2, 2, 2)), 0.0)
    with pytest.raises(ArgumentValueError, match="pts_s"):
        AudioMeter(RATE).take(np.zeros(8), float("nan"))
