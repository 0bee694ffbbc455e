"""`Histogram` against a sorted list."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pickle
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference.histogram import SortedListHistogram

from midstream import MidstreamError
from midstream.scheduler import Histogram

INT64_MAX = 2**63 - 1
HOUR_NS = 3_600_000_000_000


@st.composite
def configurations(draw: st.DrawFn) -> tuple[int, int, int]:
    lowest = 2 ** draw(st.integers(0, 40)) + draw(st.integers(0, 3))
    highest = draw(st.integers(2 * lowest, 2**62) | st.just(2**62) | st.just(2 * lowest))
    return lowest, highest, draw(st.integers(1, 3))


#: Log-uniform, with the edges of octaves in between.
values = st.integers(0, 62).flatmap(
    lambda bits: st.integers(0, 2**bits) | st.sampled_from([2**bits - 1, 2**bits, 2**bits + 1])
)
fractions = st.floats(0, 1) | st.integers(0, 100).map(lambda percent: percent / 100)


@given(configurations(), st.lists(values), st.lists(fractions, min_size=1))
@example((1, HOUR_NS, 2), list(range(100)), [0.07, 0.29, 0.57, 0.58])
@example((1, 100, 3), [101, 2**40], [0.0, 0.5, 1.0])
@example((1, 2**62, 1), [2**62, 2**62 - 1, 2**62 + 1], [0.1, 0.5, 1.0])
def test_agrees_with_a_sorted_list(
    configuration: tuple[int, int, int], recorded: list[int], asked: list[float]
) -> None:
    histogram, oracle = Histogram(*configuration), SortedListHistogram(*configuration)
    oracle.record_many(recorded)
    for value in recorded:
        histogram.record(value)
    assert histogram.count == len(recorded)
    assert histogram.total == sum(recorded)
    assert histogram.min == min(recorded, default=0)
    assert histogram.max == max(recorded, default=0)
    assert histogram.mean == (sum(recorded) / len(recorded) if recorded else 0.0)
    assert histogram.overflow == sum(value > histogram.highest for value in recorded)
    assert histogram.stdev == pytest.approx(oracle.stdev(), rel=1e-9, abs=1e-9)
    told = [histogram.quantile(q) for q in asked]
    assert told == [oracle.quantile(q) for q in asked]
    assert all(histogram.min <= value <= histogram.max for value in told)
    assert (histogram.quantile(0), histogram.quantile(1)) == (histogram.min, histogram.max)
    assert dict(histogram.to_dict()["buckets"]) == oracle.counts()


@given(st.integers(1, 4), st.lists(values.filter(lambda v: v <= HOUR_NS), min_size=1), fractions)
def test_error_is_bounded_by_the_digits(digits: int, recorded: list[int], q: float) -> None:
    histogram = Histogram(significant_digits=digits)
    histogram.record_many(recorded)
    rank = max(1, math.ceil(math.nextafter(q, -math.inf) * len(recorded)))
    true = sorted(recorded)[rank - 1]
    error = histogram.quantile(q) - true
    assert abs(error) * 10**digits <= true
    assert error >= 0


@example((1, 2, 1), [9007199252236425, 9007199252740982, 9007199253238688], 0)
@given(configurations(), st.lists(values), st.integers(0, 20))
def test_batches_counts_and_merging_equal_single_records(
    configuration: tuple[int, int, int], recorded: list[int], split: int
) -> None:
    single = Histogram(*configuration)
    for value in recorded:
        single.record(value)
    batch = Histogram(*configuration)
    batch.record_many(recorded)
    merged, tail = Histogram(*configuration), Histogram(*configuration)
    merged.record_many(recorded[:split])
    tail.record_many(recorded[split:])
    merged.merge(tail)
    counted = Histogram(*configuration)
    for value in set(recorded):
        counted.record(value, recorded.count(value))
    expected = single.to_dict()
    # Means are rounded to what numbers are apart there, and squares of what is left are as far off.
    largest = max(recorded, default=0)
    apart, spread = math.ulp(largest), largest - min(recorded, default=0)
    off = {"overflow_mean": apart, "overflow_m2": 8 * len(recorded) * apart * (spread + apart)}
    rounded = {key: pytest.approx(expected.pop(key), rel=1e-6, abs=off[key]) for key in off}
    for other in (batch, merged, counted):
        assert other.to_dict() == expected | rounded


@given(configurations(), st.lists(st.tuples(values, st.integers(0, 300)), max_size=5))
@example((1, 10**6, 1), [(10**7, 0), (999_999, 1), (10**7, 300)])
@example((1, 10**6, 1), [(2**63 - 1, 300), (2**63 - 1, 1), (2**63 - 2, 2)])
def test_correction_counts_what_was_not_measured(
    configuration: tuple[int, int, int], recorded: list[tuple[int, int]]
) -> None:
    corrected, single = Histogram(*configuration), Histogram(*configuration)
    for value, divisor in recorded:
        interval = max(1, value // divisor if divisor else min(2 * value, INT64_MAX))
        corrected.record_corrected(value, interval)
        single.record(value)
        for missing in range(value - interval, interval - 1, -interval):
            single.record(missing)
    expected = single.to_dict()
    for key in ("overflow_mean", "overflow_m2"):
        expected[key] = pytest.approx(expected[key], rel=1e-6)
    assert corrected.to_dict() == expected


def test_correction_of_a_day_by_nanoseconds_takes_no_day() -> None:
    day_ns = 24 * HOUR_NS
    histogram = Histogram()
    histogram.record_corrected(day_ns, 1)
    assert histogram.count == day_ns
    assert histogram.total == day_ns * (day_ns + 1) // 2
    assert histogram.overflow == day_ns - HOUR_NS
    with pytest.raises(ValueError, match="total within"):
        histogram.record_corrected(INT64_MAX, 1)
    with pytest.raises(ValueError, match="expected_interval_ns must be at least 1, got 0"):
        histogram.record_corrected(1, 0)
    assert histogram.count == day_ns


def test_a_full_histogram_takes_nothing_more_by_any_way() -> None:
    full, one = Histogram(), Histogram()
    full.record(3, INT64_MAX - 1)
    full.record_many([4])
    one.record(5)
    before = full.to_dict()
    for more in (
        lambda: full.record(5),
        lambda: full.record_many([5]),
        lambda: full.record_corrected(5, 5),
        lambda: full.merge(one),
        lambda: one.merge(full),
    ):
        with pytest.raises(ValueError, match="total within"):
            more()
    assert full.to_dict() == before
    assert (full.count, full.total) == (INT64_MAX, 3 * (INT64_MAX - 1) + 4)
    assert (one.count, one.max) == (1, 5)


def test_tells_its_signatures() -> None:
    assert str(inspect.signature(Histogram)) == (
        "(lowest=1, highest=3600000000000, significant_digits=3)"
    )
    assert str(inspect.signature(Histogram().record)) == "(value, count=1)"


@given(configurations(), st.lists(values))
def test_snapshot_is_shaped_as_numpy_histograms_are(
    configuration: tuple[int, int, int], recorded: list[int]
) -> None:
    histogram = Histogram(*configuration)
    histogram.record_many(recorded[:3])
    # Wide ranges have millions of empty buckets between two values: stay with a narrow one.
    near = [value for value in recorded if value <= min(histogram.highest, 10**6)]
    histogram.reset()
    histogram.record_many(near)
    edges, counts = histogram.snapshot()
    assert edges.dtype == counts.dtype == np.int64
    assert edges.shape == (len(counts) + 1,)
    expected = np.histogram(near, bins=edges)[0] if near else np.zeros(0)
    # numpy closes the last bin on the right; no value of ours is there.
    assert counts.tolist() == expected.tolist()
    if near:
        assert edges[0] <= min(near) and max(near) < edges[-1]
        assert counts[0] > 0 and counts[-1] > 0


@given(configurations(), st.lists(values))
def test_survives_json_pickle_and_copy(
    configuration: tuple[int, int, int], recorded: list[int]
) -> None:
    histogram = Histogram(*configuration)
    histogram.record_many(recorded)
    state = histogram.to_dict()
    for other in (
        Histogram.from_dict(json.loads(json.dumps(state))),
        pickle.loads(pickle.dumps(histogram)),
        copy.deepcopy(histogram),
    ):
        assert other.to_dict() == state


@pytest.mark.parametrize(
    "change",
    [
        {"count": 4},
        {"total": 2},
        {"total": 2**70},
        {"min": 999},
        {"max": 2_000_000},
        {"overflow": 1},
        {"overflow_m2": math.nan},
        {"lowest": 0},
        {"buckets": [[1000, 3]]},
        {"buckets": [[1000, -3]]},
        {"buckets": [[2**50, 3]]},
    ],
)
def test_a_dict_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    histogram = Histogram()
    histogram.record_many([1000, 1000, 1_000_000])
    with pytest.raises(MidstreamError):
        Histogram.from_dict(histogram.to_dict() | change)


def test_a_dict_that_lacks_a_key_is_refused() -> None:
    state = Histogram().to_dict()
    for key in state:
        with pytest.raises(ValueError, match=f"'{key}'"):
            Histogram.from_dict({k: v for k, v in state.items() if k != key})


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (2**63, ValueError), (1.5, TypeError), ("1", TypeError), (True, TypeError)],
)
def test_what_cannot_be_counted_changes_nothing(value: Any, error: type[Exception]) -> None:
    histogram = Histogram()
    histogram.record(5)
    before = histogram.to_dict()
    with pytest.raises(error, match="value must be") as caught:
        histogram.record(value)
    assert isinstance(caught.value, MidstreamError)
    with pytest.raises(error, match="count must be"):
        histogram.record(1, value)
    with pytest.raises(error, match="values must be"):
        histogram.record_many([value])
    assert histogram.to_dict() == before


def test_record_many_takes_any_integer_layout() -> None:
    for array in (
        np.arange(10, dtype=np.uint8),
        np.arange(20)[::2] // 2,
        np.arange(10, dtype=">i8"),
        list(range(10)),
        np.arange(10, dtype=np.uint64),
    ):
        histogram = Histogram()
        histogram.record_many(array)
        assert (histogram.count, histogram.total) == (10, 45)
    histogram.record_many([])
    assert histogram.count == 10
    with pytest.raises(ValueError, match=r"one dimension, got shape \(2, 2\)"):
        histogram.record_many(np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match="values must be at least 0, got -4 at index 1"):
        histogram.record_many([3, -4])
    assert histogram.count == 10
    read_only = np.arange(3)
    read_only.flags.writeable = False
    histogram.record_many(read_only)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"lowest": 0}, "lowest"),
        ({"lowest": 10, "highest": 19}, "highest"),
        ({"highest": 2**62 + 1}, "highest"),
        ({"significant_digits": 0}, "significant_digits"),
        ({"significant_digits": 6}, "significant_digits"),
        ({"lowest": 1.0}, "lowest"),
    ],
)
def test_refuses_impossible_ranges(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MidstreamError, match=named):
        Histogram(**arguments)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, "0.5"])
def test_refuses_impossible_quantiles(q: Any) -> None:
    with pytest.raises(MidstreamError, match="q must be"):
        Histogram().quantile(q)


def test_no_quantile_is_above_the_maximum() -> None:
    histogram = Histogram(significant_digits=2)
    histogram.record_many([1_000_000, 4_010_000_000])
    assert histogram.quantile(0.99) == histogram.percentile(99) == histogram.max == 4_010_000_000


def test_percentiles_are_quantiles() -> None:
    histogram = Histogram()
    histogram.record_many(range(1, 1001))
    assert [histogram.percentile(p) for p in (0, 7, 50, 99, 99.9, 100)] == [
        *(1, 70, 500, 990, 999, 1000)
    ]


def test_cells_widen_without_losing_a_count() -> None:
    histogram = Histogram()
    sizes = []
    for count in (2**16 - 2, 1, 1, 2**32 - 2**16 - 1, 1, 2**62):
        histogram.record(7, count)
        histogram.record(70_000, 0)
        sizes.append(histogram.memory_bytes)
        assert dict(histogram.to_dict()["buckets"]) == {7: histogram.count}
    steps = [after - before for before, after in pairwise(sizes)]
    assert steps == [0, 2 * 1024, 0, 4 * 1024, 0]
    assert histogram.total == 7 * histogram.count
    with pytest.raises(ValueError, match="count"):
        histogram.record(1, INT64_MAX - histogram.count + 1)
    other = copy.copy(histogram)
    with pytest.raises(ValueError, match="count"):
        histogram.merge(other)
    assert histogram.to_dict() == other.to_dict()


def test_a_stream_of_gaps_takes_less_than_five_kibibytes() -> None:
    histogram = Histogram(significant_digits=2)
    assert histogram.memory_bytes < 1024
    gaps = np.exp(np.random.default_rng(7).uniform(math.log(2e5), math.log(4e9), 65_000))
    histogram.record_many(gaps.astype(np.int64))
    histogram.record(0, 500)
    assert histogram.memory_bytes < 5 * 1024
    histogram.reset()
    assert histogram.memory_bytes < 1024
    assert histogram.to_dict() == Histogram(significant_digits=2).to_dict()


def test_merge_needs_the_same_shape() -> None:
    histogram = Histogram()
    for other in (Histogram(2), Histogram(highest=100), Histogram(significant_digits=2)):
        with pytest.raises(ValueError, match="other must have the same"):
            histogram.merge(other)
    with pytest.raises(TypeError, match="other must be"):
        histogram.merge({})  # type: ignore[arg-type]


def test_merge_with_itself_doubles() -> None:
    histogram = Histogram(highest=1000)
    histogram.record_many([1, 10, 2000])
    histogram.merge(histogram)
    assert (histogram.count, histogram.total, histogram.overflow) == (6, 4022, 2)


def test_reads_well() -> None:
    histogram = Histogram(highest=10**10)
    assert repr(histogram) == "<Histogram count=0 p50=0ns p99=0ns max=0ns>"
    histogram.record_many([1_500, 2_500_000, 20_000_000_000])
    assert repr(histogram) == "<Histogram count=3 p50=2.50ms p99=20.0s max=20.0s overflow=1>"
    html = histogram._repr_html_()
    assert html.count("<th>") == html.count("<td>") == 9
    assert "<td>2.50ms</td>" in html


def test_threads_lose_nothing() -> None:
    histogram = Histogram()

    def record() -> None:
        for value in range(20_000):
            histogram.record(value)

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histogram.count == 160_000
    assert histogram.total == 8 * sum(range(20_000))
    assert sum(histogram.snapshot()[1]) == 160_000
