"""Windows over values: against sums over a list of all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.telemetry import MetricWindow, WindowSummary

S = 1_000_000_000
TIMES = st.lists(
    st.tuples(st.integers(0, 30 * S), st.floats(0, 1e6, allow_subnormal=False)), max_size=60
)


def expected(values, at_ns, span_s, slots):
    """Values whose slot is among the newest, as a list."""
    slot_ns = round(span_s * S) // slots
    return [value for t_ns, value in values if t_ns // slot_ns > at_ns // slot_ns - slots]


@given(TIMES, st.integers(0, 20 * S), st.sampled_from([1, 3, 10]))
def test_agrees_with_a_list(values, later_ns, slots):
    window = MetricWindow(5.0, slots=slots, resolution=1e-6)
    newest = 0
    kept = []
    slot_ns = 5 * S // slots
    for t_ns, value in values:
        if t_ns // slot_ns > newest // slot_ns - slots:  # later than that, it is not taken
            kept.append((t_ns, value))
        newest = max(newest, t_ns)
        window.add(value, t_ns=t_ns)
    at_ns = newest + later_ns
    seen = sorted(expected(kept, at_ns, 5.0, slots))
    summary = window.summary(t_ns=at_ns)
    assert summary.count == len(seen)
    assert summary.sum == pytest.approx(math.fsum(seen))
    if not seen:
        assert summary == WindowSummary(5.0, 0, 0.0, None, None, None, None, None, None, 0.0)
        return
    assert (summary.min, summary.max) == (seen[0], seen[-1])
    assert summary.average == pytest.approx(math.fsum(seen) / len(seen))
    for share, value in ((0.5, summary.p50), (0.9, summary.p90), (0.99, summary.p99)):
        true = seen[max(0, math.ceil(share * len(seen)) - 1)]
        assert true - 1e-6 <= value <= true * 1.011 + 2e-6


def test_what_is_old_falls_out():
    window = MetricWindow(10.0, slots=10)
    for second in range(100):
        window.add(1.0, t_ns=second * S)
        assert window.summary(t_ns=second * S).count == min(second + 1, 10)


def test_the_rate_is_of_the_time_since_the_first_value():
    window = MetricWindow(60.0)
    for tenth in range(41):
        window.add(1.0, t_ns=5 * S + tenth * S // 10)
    assert window.summary(t_ns=9 * S).rate_per_s == pytest.approx(41 / 4)


def test_the_clock_is_asked_where_no_time_is_given():
    window = MetricWindow()
    window.add(2.5)
    assert window.summary().to_dict()["average"] == 2.5
    assert window.span_s == 60.0


def test_memory_is_bounded_by_the_slots():
    window = MetricWindow(1.0, slots=4)
    for n in range(10_000):
        window.add(n % 7, t_ns=n * S // 100)
    assert len(window._slots) <= 4


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_values_that_no_window_takes(value):
    with pytest.raises(ArgumentValueError, match=f"value must be finite.*{value}"):
        MetricWindow().add(value)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"span_s": 0.0}, ArgumentValueError, "span_s"),
        ({"span_s": "a"}, ArgumentTypeError, "span_s"),
        ({"slots": 0}, ArgumentValueError, "slots"),
        ({"slots": 5000}, ArgumentValueError, "slots"),
        ({"resolution": 0.0}, ArgumentValueError, "resolution"),
    ],
)
def test_arguments(given, error, says):
    with pytest.raises(error, match=says):
        MetricWindow(**given)
