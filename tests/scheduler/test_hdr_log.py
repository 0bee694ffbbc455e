"""HdrHistogram's logs: written, read, of other ports, damaged."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream import MidstreamError
from midstream.errors import RecordingError
from midstream.scheduler import Histogram, HistogramLogWriter, LoggedInterval, read_log

EPOCH_NS = 1_700_000_000_123_456_789
SECOND_NS = 1_000_000_000
PAYLOAD = "HISTFAAAACV4nJNpmSzMwMDAwQABzFCaEUrp2H+AsI4zMh1lZEpkAgBdIQSk"  # 100, 200, 250


def histogram(*values: int) -> Histogram:
    made = Histogram()
    made.record_many(values)
    return made


def read(text: str) -> list[LoggedInterval]:
    return list(read_log(io.StringIO(text)))


def test_the_file_is_as_other_writers_make_it() -> None:
    file = io.StringIO()
    writer = HistogramLogWriter(
        file, start_ns=5 * SECOND_NS, start_time_ns=EPOCH_NS, comment="logged by midstream"
    )
    made = histogram(100, 200, 1_234_567)
    writer.write(made, 5 * SECOND_NS, 6 * SECOND_NS)
    writer.write(made, 6 * SECOND_NS + 1, 7 * SECOND_NS, tag="A")
    payload = made.encode().decode()
    assert file.getvalue() == (
        "#logged by midstream\n"
        "#[Histogram log format version 1.3]\n"
        "#[StartTime: 1700000000.123456789 (seconds since epoch), 2023-11-14T22:13:20Z]\n"
        "#[BaseTime: 1700000000.123456789 (seconds since epoch)]\n"
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        f"0.000,1.000,1.234567,{payload}\n"
        f"Tag=A,1.000000001,0.999999999,1.234567,{payload}\n"
    )


@given(
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.lists(
        st.tuples(
            *(st.integers(0, 2**62), st.integers(0, 2**62)),
            st.none() | st.from_regex(r"[^,\s]+", fullmatch=True),
            st.lists(st.integers(0, 10**12)),
        )
    ),
)
def test_reads_back_to_the_nanosecond(
    start_ns: int, epoch_ns: int, intervals: list[tuple[int, int, str | None, list[int]]]
) -> None:
    file = io.StringIO()
    writer = HistogramLogWriter(file, start_ns=start_ns, start_time_ns=epoch_ns)
    for after, length, tag, values in intervals:
        start = start_ns + after
        writer.write(histogram(*values), start, start + length, tag=tag)
    seen = read(file.getvalue())
    assert [(i.start_ns - epoch_ns, i.end_ns - i.start_ns, i.tag) for i in seen] == [
        interval[:3] for interval in intervals
    ]
    assert [i.histogram.to_dict()["buckets"] for i in seen] == [
        histogram(*values).to_dict()["buckets"] for *_, values in intervals
    ]


def test_by_default_it_starts_now(tmp_path: Path) -> None:
    path = tmp_path / "gaps.hlog"
    before = time.time_ns(), time.monotonic_ns()
    with HistogramLogWriter(path) as writer:
        writer.write(histogram(7), time.monotonic_ns(), time.monotonic_ns())
    after = time.time_ns(), time.monotonic_ns()
    for named in (path, str(path)):
        (interval,) = read_log(named)
        # The clock on the wall may be set in between, and then nothing follows.
        if after[0] - before[0] <= 2 * (after[1] - before[1]):
            assert before[0] <= interval.start_ns <= interval.end_ns
    with pytest.raises(ValueError, match="closed file"):
        writer.write(histogram(7), time.monotonic_ns(), time.monotonic_ns())


def test_an_open_file_stays_open() -> None:
    file = io.StringIO()
    with HistogramLogWriter(file):
        pass
    assert not file.closed
    file.seek(0)
    assert list(read_log(file)) == []
    assert not file.closed


@pytest.mark.parametrize(
    ("head", "first_s", "expected_s"),
    [
        ("", "0.127", "0.127"),
        ("", "1441812279.474", "1441812279.474"),
        # jHiccup 2.0.6 and later: absolute times after the start
        (
            "#[StartTime: 1441812279.4 (seconds since epoch), Wed]\n",
            "1441812279.474",
            "1441812279.474",
        ),
        # jHiccup 2.0.1: times from the start
        ("#[StartTime: 1403476110.183 (seconds since epoch), Mon]\n", "0.127", "1403476110.310"),
        ("#[StartTime: 500.0 (s)]\n#[BaseTime: 100.25 (s)]\n", "0.5", "100.75"),
        ("#[BaseTime: 100.25 (s)]\n", "1e2", "200.25"),
    ],
)
def test_times_of_other_writers(head: str, first_s: str, expected_s: str) -> None:
    legend = '"StartTimestamp","Interval_Length"'
    text = f"#[Logged with jHiccup]\n{head}{legend}\n{first_s},1.007,2.769,{PAYLOAD}\r\n\n"
    (interval,) = read(text)
    start_ns = round(float(expected_s) * 1000) * 1_000_000
    assert (interval.start_ns, interval.end_ns) == (start_ns, start_ns + 1_007_000_000)
    assert interval.tag is None
    assert interval.histogram.to_dict()["buckets"] == [[100, 1], [200, 1], [250, 1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "4 fields, got 1"),
        (f"1.0,2.0,{PAYLOAD}", "4 fields, got 3"),
        (f"1.0,2.0,3.0,{PAYLOAD},5", "4 fields, got 5"),
        (f"Tag=A 1.0,2.0,3.0,{PAYLOAD}", "4 fields, got 3"),
        (f"x,2.0,3.0,{PAYLOAD}", "StartTimestamp must be a number of seconds, got 'x'"),
        (f"nan,2.0,3.0,{PAYLOAD}", "StartTimestamp must be"),
        (f"1,inf,3.0,{PAYLOAD}", "Interval_Length must be"),
        (f"1,1e999999999,3.0,{PAYLOAD}", "Interval_Length must be"),
        (f"1,1e-999999999,3.0,{PAYLOAD}", "Interval_Length must be"),
        (f"1,-1,3.0,{PAYLOAD}", "Interval_Length must not be negative, got -1"),
        (f"1,1,3.0,{PAYLOAD[:-4]}", "data must"),
        ("1,1,3.0,", "data must hold a header"),
        ("#[StartTime: soon (seconds since epoch)]", "StartTime must be"),
    ],
)
def test_damage_is_told_with_its_place(line: str, message: str, tmp_path: Path) -> None:
    good = f"1.0,1.0,1.0,{PAYLOAD}"
    path = tmp_path / "x.hlog"
    path.write_text(f"# comment\n{good}\n{line}\n{good}\n")
    reader = read_log(path)
    assert next(reader).histogram.count == 3
    with pytest.raises(RecordingError, match=message) as caught:
        next(reader)
    assert caught.value.place == f"{path}:3"


@given(st.text())
def test_any_text_is_a_log_or_refused(text: str) -> None:
    try:
        read(text)
    except MidstreamError:
        return


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda w, h: w.write(h, 9, 20), ValueError, "start_ns must be at least 10, got 9"),
        (lambda w, h: w.write(h, 20, 19), ValueError, "end_ns must be at least 20, got 19"),
        (lambda w, h: w.write(h, 20, 20.5), TypeError, "end_ns must be an integer"),
        (lambda w, h: w.write({}, 20, 20), TypeError, "histogram must be a Histogram"),
        (lambda w, h: w.write(h, 20, 20, tag="a,b"), ValueError, "tag must have no comma"),
        (lambda w, h: w.write(h, 20, 20, tag="a\nb"), ValueError, "tag must have no comma"),
        (lambda w, h: w.write(h, 20, 20, tag=""), ValueError, "tag must have no comma"),
        (lambda w, h: w.write(h, 20, 20, tag=1), TypeError, "tag must be str"),
        (lambda w, h: w.write(histogram(2**45), 20, 20), ValueError, "clamp_overflow"),
        (lambda w, h: HistogramLogWriter(io.StringIO(), start_ns=-1), ValueError, "start_ns must"),
        (lambda w, h: HistogramLogWriter("/", comment="a\nb"), ValueError, "comment must be one"),
        (lambda w, h: HistogramLogWriter("/", comment="[StartTime: 1"), ValueError, "comment must"),
    ],
)
def test_what_cannot_be_written_is_not(
    attempt: Callable[[Any, Any], None], error: type[Exception], message: str
) -> None:
    file = io.StringIO()
    writer = HistogramLogWriter(file, start_ns=10)
    before = file.getvalue()
    with pytest.raises(error, match=message) as caught:
        attempt(writer, histogram(5))
    assert isinstance(caught.value, MidstreamError)
    assert file.getvalue() == before


def test_overflow_is_clamped_where_asked() -> None:
    file = io.StringIO()
    writer = HistogramLogWriter(file, start_ns=0)
    writer.write(histogram(5, 2**45), 0, 1, clamp_overflow=True)
    (interval,) = read(file.getvalue())
    assert interval.histogram.count == 2
    # What the field of the maximum says is exact all the same.
    assert file.getvalue().splitlines()[-1].split(",")[2] == "35184372.088832"
