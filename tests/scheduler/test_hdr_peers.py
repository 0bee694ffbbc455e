"""`Histogram` beside hdrhistogram (PyPI): equal buckets, payloads in both directions."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from midstream.scheduler import Histogram, HistogramLogWriter, read_log

hdrh = pytest.importorskip("hdrh.histogram")

HOUR_NS = 3_600_000_000_000

configurations = st.builds(
    lambda bits, more, factor, digits: (2**bits + more, (2**bits + more) * factor, digits),
    *(st.integers(0, 30), st.integers(0, 1000), st.integers(2, 2**30), st.integers(1, 3)),
)


def counts_of(peer: Any) -> dict[int, int]:
    """Lowest value of each bucket in use -> count."""
    counts = enumerate(list(peer.counts))
    return {peer.get_value_from_index(index): count for index, count in counts if count}


def both(configuration: tuple[int, int, int], places: list[float]) -> tuple[Histogram, Any]:
    ours, peer = Histogram(*configuration), hdrh.HdrHistogram(*configuration)
    for place in places:
        value = min(int(configuration[1] ** place), configuration[1])  # beyond 2**53 it is rounded
        ours.record(value, 3)
        assert peer.record_value(value, 3)
    return ours, peer


places = st.lists(st.floats(0, 1))


@given(configurations, places)
@example((1, HOUR_NS, 3), [0.5, 0.9, 1.0])
def test_same_buckets(configuration: tuple[int, int, int], recorded: list[float]) -> None:
    ours, peer = both(configuration, recorded)
    assert dict(ours.to_dict()["buckets"]) == counts_of(peer)
    for value in (0, configuration[0], configuration[1] // 3, configuration[1]):
        alone = Histogram(*configuration)
        alone.record(value)
        assert alone.to_dict()["buckets"] == [[peer.get_lowest_equivalent_value(value), 1]]


@given(configurations, places)
def test_it_reads_ours(configuration: tuple[int, int, int], recorded: list[float]) -> None:
    ours, peer = both(configuration, recorded)
    read = hdrh.HdrHistogram.decode(ours.encode())
    assert counts_of(read) == counts_of(peer) == dict(ours.to_dict()["buckets"])
    assert read.get_total_count() == ours.count
    assert read.lowest_trackable_value == ours.lowest
    assert read.highest_trackable_value == ours.highest
    assert read.significant_figures == ours.significant_digits
    for percent in (1, 50, 99):
        assert read.get_value_at_percentile(percent) == peer.get_value_at_percentile(percent)


@given(configurations, places)
def test_we_read_its(configuration: tuple[int, int, int], recorded: list[float]) -> None:
    ours, peer = both(configuration, recorded)
    read = Histogram.decode(peer.encode())
    assert read.to_dict()["buckets"] == ours.to_dict()["buckets"]
    assert (read.lowest, read.highest, read.significant_digits) == configuration
    if recorded:
        assert read.min == peer.get_lowest_equivalent_value(ours.min)
        assert read.max == min(peer.get_max_value(), ours.highest)
        # One takes the last value within the range at the middle, the other not past its end.
        assert read.mean == pytest.approx(
            peer.get_mean_value(),
            rel=10.0 ** -configuration[2],
            abs=configuration[0],
        )  # not of what the peer decodes: its mean of that was once 0


def test_same_correction_of_whole_intervals() -> None:
    # Past whole intervals it differs from the Java original, and from us, in a last small value.
    ours, peer = Histogram(), hdrh.HdrHistogram(1, HOUR_NS, 3)
    for value, interval in ((10**9, 10**6), (10**9, 10**9), (7, 7), (70, 7)):
        ours.record_corrected(value, interval)
        peer.record_corrected_value(value, interval)
    assert dict(ours.to_dict()["buckets"]) == counts_of(peer)


def test_it_reads_our_log(tmp_path: Any) -> None:
    log = pytest.importorskip("hdrh.log")
    path = tmp_path / "ours.hlog"
    made = [Histogram(), Histogram()]
    made[0].record_many([100, 200, 10**9])
    made[1].record(HOUR_NS, 5)
    with HistogramLogWriter(path, start_ns=0, start_time_ns=1_700_000_000_250_000_000) as writer:
        writer.write(made[0], 0, 10**9)
        writer.write(made[1], 10**9, 3 * 10**9, tag="late")
    reader = log.HistogramLogReader(str(path), hdrh.HdrHistogram(1, HOUR_NS, 3))
    for ours, tag, start_ms, end_ms in (
        (made[0], None, 1_700_000_000_250, 1_700_000_001_250),
        (made[1], "late", 1_700_000_001_250, 1_700_000_003_250),
    ):
        read = reader.get_next_interval_histogram(absolute=True)
        assert counts_of(read) == dict(ours.to_dict()["buckets"])
        assert read.get_tag() == tag
        assert (read.get_start_time_stamp(), read.get_end_time_stamp()) == (start_ms, end_ms)
    assert reader.get_next_interval_histogram() is None
    reader.close()


def test_we_read_its_log() -> None:
    log = pytest.importorskip("hdrh.log")
    file = io.StringIO()
    writer = log.HistogramLogWriter(file)
    writer.output_log_format_version()
    writer.output_base_time(1_700_000_000_250)
    writer.output_legend()
    peer = hdrh.HdrHistogram(1, HOUR_NS, 3)
    peer.record_value(1234, 3)
    writer.output_interval_histogram(peer, 1.5, 2.0)
    file.seek(0)
    (interval,) = read_log(file)
    assert interval.start_ns == 1_700_000_001_750_000_000
    assert interval.end_ns == 1_700_000_002_250_000_000
    assert interval.histogram.to_dict()["buckets"] == [[1234, 3]]
