"""Audio of a session: encodings, levels, and what was played."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.stream import Event
from midstream.stream.realtime.sound import (
    PCM16_24KHZ,
    Level,
    Playback,
    SoundFormat,
    audio_of,
    formats_of,
    pcm16,
)

MS = 1_000_000


@pytest.mark.parametrize(
    ("encoding", "codes", "samples"),
    [
        # ITU-T G.711, tables 1a to 2b: the largest and smallest values of both signs.
        ("g711_ulaw", [0x80, 0x00, 0xFF, 0x7F, 0xEF], [32124, -32124, 0, 0, 132]),
        ("g711_alaw", [0xAA, 0x2A, 0xD5, 0x55, 0xD4], [32256, -32256, 8, -8, 24]),
    ],
)
def test_g711_is_decoded_as_the_recommendation_says(encoding, codes, samples):
    found = SoundFormat(encoding).samples(bytes(codes)) * 32768
    assert found.tolist() == samples


def test_formats_are_read_in_both_versions_names():
    given_ = {"audio": {"output": {"format": {"type": "audio/pcma"}}}}
    heard, spoken = formats_of(given_, PCM16_24KHZ, PCM16_24KHZ)
    assert (repr(heard), repr(spoken)) == ("pcm16 at 24,000 Hz", "g711_alaw at 8,000 Hz")
    given_ = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}}
    assert formats_of(given_, PCM16_24KHZ, PCM16_24KHZ)[0].rate_hz == 16_000
    odd = {"audio": {"input": {"format": {"type": "opus", "rate": 1}}, "output": 5}}
    assert formats_of(odd, PCM16_24KHZ, PCM16_24KHZ) == (PCM16_24KHZ, PCM16_24KHZ)
    odd = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": -1}}}}
    assert formats_of(odd, PCM16_24KHZ, PCM16_24KHZ)[0].rate_hz == 24_000


@given(st.lists(st.integers(0, 999), max_size=20))
def test_levels_do_not_depend_on_how_audio_is_cut(cuts):
    rng = np.random.default_rng(1)
    data = pcm16(rng.uniform(-0.5, 0.5, 500))
    bounds = [0, *sorted(cuts), len(data)]
    level = Level()
    peaks = []
    for begin, end in pairwise(bounds):
        told = level.take(data[begin:end], PCM16_24KHZ, "item")
        peaks.append(told["peak_dbfs"])
    whole = Level().take(data, PCM16_24KHZ, "item")
    assert told["pts_s"] == whole["pts_s"]
    assert told["level_dbfs"] == whole["level_dbfs"]
    assert max(peaks) == whole["peak_dbfs"]


def test_what_was_played_is_what_was_handed_out_one_behind_the_other():
    playback = Playback()
    assert playback.played_ms("a", 0) is None
    playback.received("a", 1, 1000.0)
    playback.received("a", 1, 1000.0)
    assert playback.played_ms("a", 0) == 0
    playback.handed("a", 1000.0, 0)
    playback.handed("a", 1000.0, 100 * MS)
    assert [playback.played_ms("a", t * MS) for t in (100, 1500, 2000, 9000)] == [
        100,
        1500,
        2000,
        2000,
    ]
    assert playback.content_index("a") == 1
    playback.tell("a", 300.0)
    assert playback.played_ms("a", 9000 * MS) == 300
    playback.tell("a", 9999.0)
    assert playback.played_ms("a", 9000 * MS) == 2000
    for n in range(1000):
        playback.received(f"i{n}", 0, 1.0)
    assert playback.received_ms("a") is None


@pytest.mark.parametrize(
    "data", [None, {"type": "response.output_audio.delta", "delta": "a"}, {"delta": "AAAA"}]
)
def test_events_without_audio_have_none(data):
    assert audio_of(Event("audio", 0, 0, data=data)) == b""
