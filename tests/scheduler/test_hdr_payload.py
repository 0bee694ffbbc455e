"""HdrHistogram's payloads: what other ports published, the format's letter, and damage."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from midstream import MidstreamError
from midstream.scheduler import Histogram

INT64_MAX = 2**63 - 1

#: Payload -> (lowest, highest, digits, {lowest value of a bucket: count}), as their authors say.
PUBLISHED = {
    # HdrHistogramJS, README: 42 in a histogram that grows by itself
    "HISTFAAAAB542pNpmSzMwMDAxAABzFCaEUoz2X+AMIKZAEARAtM=": (1, 42, 3, {42: 1}),
    # HdrHistogram_vala, tests: 100, 200, 250
    "HISTFAAAACV4nJNpmSzMwMDAwQABzFCaEUrp2H+AsI4zMh1lZEpkAgBdIQSk": (
        *(1, 300, 3),
        {100: 1, 200: 1, 250: 1},
    ),
    # HdrHistogram_c, by way of a test of a Java agent: 3335, 3108, 2638, 2567, 2470
    "HISTFAAAAC14nJNpmSzMwMDAywABzFCaEURcm7yEwf4DRGCpMlMskyvTZWam+4xMAKW6B74=": (
        *(1, 3_600_000_000, 3),
        {2470: 1, 2566: 1, 2638: 1, 3108: 1, 3334: 1},
    ),
    # hdrhistogram-go 1.2.0, its own regression tests: an offset that means nothing
    "HISTFAAAADV42pJpmSzMwMDAw8DAwMjAwMDMAAEgNsO1yUsY7D9ARZgOMzIddmO6voiJCRAAAP//nYsH5A==": (
        *(1, 3_600_000_000, 3),
        {1: 1, 100: 1, 12344: 1, 3_598_712_832: 1},
    ),
    # HdrHistogram (Java), shiftValuesLeft(2) of seven times 1234: an offset of 2048
    "HISTFAAAACR4nJNpmSzMwMDAzMDAwQChwYARTPI7Odh/gAgsNuYDAEyEA/o=": (
        *(1, 1_000_000, 3),
        {4 * 1234: 7},
    ),
    # hdrhistogram-go's first V2 writer counts the header in the length of the counts
    "HISTFAAAACl4nJNpmSzMwMBgyAABzFCaEURcm7yEwf4DROA8/4I5jNM7mJgAlWkH9g==": (
        *(1, 3_600_000_000, 3),
        {1000: 10_000, 99_942_400: 1},
    ),
}


def payload(
    counts: bytes,
    *,
    cookie: int = 0x1C849313,
    size: int | None = None,
    offset: int = 0,
    digits: int = 3,
    lowest: int = 1,
    highest: int = 3_600_000_000_000,
    ratio: float = 1.0,
) -> bytes:
    """A payload by the format's letter, uncompressed."""
    size = len(counts) if size is None else size
    return struct.pack(">IIiiqqd", cookie, size, offset, digits, lowest, highest, ratio) + counts


def compressed(plain: bytes, *, cookie: int = 0x1C849314, length: int | None = None) -> bytes:
    packed = zlib.compress(plain)
    length = len(packed) if length is None else length
    return struct.pack(">II", cookie, length) + packed


def unpacked(encoded: bytes) -> bytes:
    return zlib.decompress(base64.b64decode(encoded)[8:])


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    digits = draw(st.integers(1, 3))
    lowest = draw(st.integers(0, 40).map(lambda bits: 2**bits) | st.integers(1, 5000))
    highest = draw(st.integers(2 * lowest, 2**62))
    histogram = Histogram(lowest, highest, digits)
    counts = st.sampled_from([1, 63, 64, 8191, 8192, 2**34, 2**55, 2**56])
    for bits in draw(st.lists(st.integers(0, 62))):
        histogram.record(draw(st.integers(0, min(2**bits, highest))), draw(counts))
    return histogram


@pytest.mark.parametrize("text", PUBLISHED)
def test_reads_what_other_ports_published(text: str) -> None:
    lowest, highest, digits, buckets = PUBLISHED[text]
    for data in (text, text.encode(), f"{text}\n", base64.b64decode(text)):
        histogram = Histogram.decode(data)
        assert dict(histogram.to_dict()["buckets"]) == buckets
        assert (histogram.lowest, histogram.significant_digits) == (lowest, digits)
        assert histogram.highest == highest


def test_writes_what_other_ports_write() -> None:
    for values, highest in (
        ([100, 200, 250], 300),
        ([3335, 3108, 2638, 2567, 2470], 3_600_000_000),
    ):
        histogram = Histogram(1, highest, 3)
        histogram.record_many(values)
        encoded = histogram.encode()
        expected = [text for text in PUBLISHED if PUBLISHED[text][1] == highest]
        assert any(unpacked(encoded) == unpacked(text.encode()) for text in expected)


@given(histograms())
@example(Histogram())
def test_reads_back_what_it_writes(histogram: Histogram) -> None:
    encoded = histogram.encode()
    assert encoded.startswith(b"HISTFAAA")
    read = Histogram.decode(encoded)
    kept = ("lowest", "highest", "significant_digits", "buckets", "count", "overflow")
    state, read_state = histogram.to_dict(), read.to_dict()
    assert {key: read_state[key] for key in kept} == {key: state[key] for key in kept}
    assert read.encode() == encoded
    # What the payload has no place for is as near as the buckets tell.
    assert read.min <= histogram.min
    assert read.max >= histogram.max
    one = 10.0**-histogram.significant_digits
    # Below this, buckets are as wide as `lowest` says, whatever their values.
    finest = 2 * histogram.lowest * histogram.count
    assert abs(read.total - histogram.total) <= one * histogram.total + finest
    # All that a histogram promises, this one keeps.
    assert Histogram.from_dict(read_state).to_dict() == read_state


def test_uncompressed_and_of_any_word_size() -> None:
    for cookie in (0x1C849303, 0x1C849313, 0x1C849383):
        plain = payload(b"\x01\x06", cookie=cookie)
        for data in (plain, base64.b64encode(plain), compressed(plain, cookie=0x1C849304)):
            assert Histogram.decode(data).to_dict()["buckets"] == [[1, 3]]


def test_counts_of_64_bits() -> None:
    histogram = Histogram()
    histogram.record(0, INT64_MAX)
    assert unpacked(histogram.encode())[40:] == b"\xfe" + b"\xff" * 8
    assert Histogram.decode(histogram.encode()).count == INT64_MAX


def test_overflow_is_refused_or_clamped_as_asked() -> None:
    histogram = Histogram(highest=1000, significant_digits=2)
    histogram.record_many([5, 1000, 1001, 2**40])
    with pytest.raises(ValueError, match=r"no values above its highest, 1000.*got 2") as caught:
        histogram.encode()
    assert isinstance(caught.value, MidstreamError)
    read = Histogram.decode(histogram.encode(clamp_overflow=True))
    assert read.to_dict()["buckets"] == [[5, 1], [1000, 3]]
    assert read.overflow == 0
    assert histogram.overflow == 2


def test_a_range_that_other_ports_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match="room for its buckets"):
        Histogram(2**60, 2**62, 3).encode()


def test_highest_is_raised_to_hold_all_counts() -> None:
    # 2047 is in the array that a highest of 2 needs.
    read = Histogram.decode(payload(b"\xfd\x1f\x02", highest=2))
    assert read.to_dict()["buckets"] == [[2047, 1]]
    assert read.highest == 2047


def test_values_above_what_a_histogram_can_hold_overflow() -> None:
    plain = payload(b"\x02", highest=INT64_MAX)
    assert Histogram.decode(plain).highest == 2**62
    index = (63 - 11 + 1) * 1024 + 1023  # the last bucket of all
    zeros = 2 * index - 1
    body = bytearray()
    while zeros >= 0x80:
        body.append(zeros & 0x7F | 0x80)
        zeros >>= 7
    read = Histogram.decode(payload(bytes(body) + bytes([zeros, 4]), highest=INT64_MAX))
    assert (read.count, read.overflow, read.highest) == (2, 2, 2**62)
    assert 2**63 - 2**53 <= read.min == read.max <= INT64_MAX
    assert read.total == 2 * read.max


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "must hold a header"),
        ("HIST", "must hold a header"),
        ("no base64!", "must be base64"),
        ("HISTFÄÄÄ", "must be base64"),
        (b"\x1c\x84", "must hold a header"),
        (payload(b"")[:39], "header of 40 bytes, got 39"),
        (payload(b"", cookie=0x1C849301), "format V1"),
        (payload(b"", cookie=0x1C849388), "format V0"),
        (base64.b64encode(payload(b"", cookie=0x0C72124E)), "histogram of doubles"),
        (base64.b64encode(payload(b"", cookie=0x12345678)), "got no histogram"),
        (payload(b"", ratio=0.5), "unit of 0.5"),
        (payload(b"", digits=0), "significant digits, got 0"),
        (payload(b"", digits=6), "significant digits, got 6"),
        (payload(b"", lowest=0), "lowest 0"),
        (payload(b"", highest=1), "highest 1"),
        (payload(b"", highest=-1), "highest -1"),
        (payload(b"", lowest=2**60, highest=2**62), "room for its buckets"),
        (payload(b"\x02", size=2), "hold 2 bytes of counts, as its header says, got 1"),
        (payload(b"\x02\x02", size=1), "hold 1 bytes of counts, as its header says, got more"),
        (payload(b"", size=2**31), "counts in its range"),
        (payload(b"\x80"), "within a count"),
        (payload(b"\xff" * 9 + b"\x02"), "counts in its range, got more"),
        (payload(b"\x02" * 2049, highest=2), "2048 counts in its range, got more"),
        (payload(b"\xfe" + b"\xff" * 8 + b"\x02"), "total count of at most"),
        (compressed(payload(b"")[:39]), "header of 40 bytes"),
        (compressed(payload(b"\x02"), length=3), "must hold 3 compressed bytes"),
        (compressed(payload(b"\x02" * 100, size=1)), "as its header says, got more"),
        (struct.pack(">II", 0x1C849314, 49) + b"\xff" * 49, "zlib"),
    ],
)
def test_damage_is_told(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Histogram.decode(data)
    assert isinstance(caught.value, MidstreamError)


def test_only_text_and_bytes() -> None:
    for data in (None, 7, bytearray(b"HIST")):
        with pytest.raises(TypeError, match="data must be bytes or str, got"):
            Histogram.decode(data)  # type: ignore[arg-type]


def test_a_truncated_payload_is_refused_at_every_length() -> None:
    histogram = Histogram()
    histogram.record_many(range(0, 10**6, 997))
    raw = base64.b64decode(histogram.encode())
    for size in range(len(raw)):
        cut = raw[:size]
        if size >= 8:
            cut = cut[:4] + struct.pack(">I", size - 8) + cut[8:]
        with pytest.raises(MidstreamError):
            Histogram.decode(cut)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = compressed(payload(bytes(100_000_000), size=100))
    assert len(bomb) < 200_000
    with pytest.raises(ValueError, match="got more"):
        Histogram.decode(bomb)


@given(st.binary(max_size=60), st.sampled_from([3, 1, 5]), st.sampled_from([0, 0, 0, 1, 40]))
def test_any_counts_are_read_exactly_or_refused(body: bytes, digits: int, extra: int) -> None:
    try:
        read = Histogram.decode(payload(body, digits=digits, size=len(body) + extra))
    except MidstreamError:
        return
    assert extra == 0
    assert Histogram.from_dict(read.to_dict()).to_dict() == read.to_dict()
    assert Histogram.decode(read.encode()).to_dict() == read.to_dict()


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_harmless(place: int, change: int) -> None:
    histogram = Histogram()
    histogram.record_many([1, 2, 3000, 10**9])
    raw = bytearray(base64.b64decode(histogram.encode()))
    assume(place < len(raw))
    raw[place] ^= change
    try:
        read = Histogram.decode(base64.b64encode(raw))
    except MidstreamError:
        return
    # What remains readable is the same, since zlib's checksum covers the rest.
    assert read.to_dict()["buckets"] == histogram.to_dict()["buckets"]
