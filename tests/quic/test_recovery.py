"""Loss recovery against RFC 9002 written plainly, CUBIC against its formula, and bookkeeping."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic._recovery import Received, Recovery
from tests.reference.loss_recovery import Textbook

MS = 1_000_000
START = 1_000_000_000


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    """As an ACK frame has them: inclusive, newest first."""
    out: list[list[int]] = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return [(low, high) for low, high in reversed(out)]


def agree(real: Recovery, book: Textbook) -> None:
    stats = real.stats()
    assert real.audit() == stats["bytes_in_flight"] == book.in_flight
    assert stats["bytes_in_flight"] == sum(p.size for p in book.sent.values() if p.in_flight)
    assert stats["rtt_smoothed_ns"] == book.smoothed
    assert stats["rtt_variance_ns"] == book.variance
    assert stats["rtt_min_ns"] == book.minimum
    assert stats["persistent_events"] == book.persistent
    assert stats["congestion_events"] == book.events
    assert stats["congestion_window"] == pytest.approx(book.window, abs=2)
    assert stats["packets_lost"] == len(book.lost_packets)
    assert real.timer() == book.timer()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 12), st.integers(40, 1200), st.integers(0, 5)),
        st.tuples(st.just("ack"), st.integers(0, 2**12 - 1), st.integers(0, 40 * MS), st.just(0)),
        st.tuples(st.just("timer"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=60,
)


# Long ones too: persistent congestion takes three probe timeouts.
pauses_ns = st.lists(
    st.one_of(st.integers(0, 60 * MS), st.integers(0, 4000 * MS)), min_size=60, max_size=60
)


@settings(max_examples=300, deadline=None)
@given(steps, pauses_ns)
def test_it_is_the_textbook(ops: list[tuple[str, int, int, int]], pauses: list[int]) -> None:
    real, book = Recovery("reno"), Textbook()
    now = START
    acked: set[int] = set()
    for (what, count, size, kind), pause in zip(ops, pauses, strict=False):
        now += pause
        if what == "send":
            for _ in range(count):
                eliciting = in_flight = kind > 0
                if kind == 1:
                    eliciting = False  # PADDING alone is in flight and asks for nothing
                number = real.send(now, size, eliciting, in_flight, [(1, 0, 7, size, 9)])
                assert number == book.send(now, size, eliciting, in_flight)
        elif what == "ack":
            # From the newest on, so that there are gaps; what is lost does not come.
            open_ = sorted(book.sent, reverse=True)[:12]
            chosen = {n for i, n in enumerate(open_) if count >> i & 1}
            if not acked and not chosen:
                continue
            acked |= chosen
            new = book.acknowledge(acked, size, now)
            real.acknowledge(ranges_of(acked), size, now)
            assert {record[0] for record in real.take_acked()} <= new
        else:
            due = book.timer()
            if due is not None:
                now = max(now, due)
            assert real.on_timer(now) == book.on_timer(now)
        agree(real, book)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_each_record_comes_out_once(data: st.DataObject) -> None:
    """Reordered, spurious and repeated ACKs, probes: nothing is forgotten, nothing told twice."""
    name = data.draw(st.sampled_from(["reno", "cubic"]))
    seed = data.draw(st.integers(0, 2**32))
    rng = random.Random(seed)
    real = Recovery(name)
    now, records, out = START, 0, []
    acked: set[int] = set()
    numbers: list[int] = []
    for _ in range(data.draw(st.integers(1, 80))):
        now += rng.choice([0, 10_000, MS, 40 * MS])
        action = rng.random()
        if action < 0.55:
            for _ in range(rng.randrange(1, 6)):
                if rng.random() < 0.1:
                    real.skip()
                    continue
                carried = rng.randrange(4)
                items = [(1, 0, records + i, 1, 0) for i in range(carried)]
                records += carried
                flight = rng.random() < 0.8
                numbers.append(real.send(now, 1200, flight, flight, items))
        elif action < 0.9 and numbers:
            acked |= {n for n in numbers if rng.random() < 0.3}
            if acked:
                real.acknowledge(ranges_of(acked), 0, now)
        else:
            due = real.timer()
            if due is not None:
                now = max(now, due)
                assert real.on_timer(now) in ("loss", "probe")
        assert real.audit() == real.stats()["bytes_in_flight"]
        assert real.stats()["congestion_window"] >= 2400
        out += real.take_acked() + real.take_lost()
    real.drop_all(now)
    out += real.take_acked() + real.take_lost()
    assert real.stats()["bytes_in_flight"] == 0 == real.audit()
    assert sorted(record[3] for record in out) == list(range(records))


def fill(real: Recovery, now: int) -> list[int]:
    numbers = []
    while real.can_send() >= 1200:
        numbers.append(real.send(now, 1200))
    return numbers


def test_cubic_follows_its_curve() -> None:
    """RFC 9438, 4.2: W(t) = C (t - K)^3 + W_max, K = cbrt(W_max (1 - beta) / C)."""
    rtt = 100 * MS
    real = Recovery("cubic")
    now = START
    while real.stats()["congestion_window"] < 400 * 1200:
        numbers = fill(real, now)
        now += rtt
        for number in numbers:
            real.acknowledge([(0, number)], 0, now)
            if real.stats()["congestion_window"] >= 400 * 1200:
                break
    real.acknowledge([(0, int(real.stats()["next"]) - 1)], 0, now)
    w_max = real.stats()["congestion_window"] / 1200
    fill(real, now)
    real.congested(now, now)
    assert real.stats()["congestion_window"] / 1200 == pytest.approx(0.7 * w_max, abs=1)
    now += rtt
    real.acknowledge([(0, int(real.stats()["next"]) - 1)], 0, now)  # sent before: no growth
    k = (w_max * 0.3 / 0.4) ** (1 / 3)
    queue: list[tuple[int, int]] = []
    begin = None
    checked = 0
    while begin is None or now - begin < 12_000 * MS:
        while real.can_send() >= 1200:
            queue.append((now, real.send(now, 1200)))
        # One ACK for what was sent in each twentieth of the round trip.
        now += rtt // 20
        due = [number for sent, number in queue if sent + rtt <= now]
        if not due:
            continue
        queue = [item for item in queue if item[0] + rtt > now]
        real.acknowledge([(0, due[-1])], 0, now)
        if begin is None:
            begin = now
        t = (now - begin) / 1e9
        if t > 0.5:
            expected = 0.4 * (t - k) ** 3 + w_max
            assert real.stats()["congestion_window"] / 1200 == pytest.approx(expected, rel=0.03)
            assert real.cubic_window(t) / 1200 == pytest.approx(expected, rel=0.001)
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("rtt_ms", [50, 100, 200, 500])
@pytest.mark.parametrize("packets", [12, 20, 60])
def test_cubic_avoids_congestion_as_its_text_says(packets: int, rtt_ms: int) -> None:
    """RFC 9438, 4.2 to 4.4, step by step: the curve, its bounds, and Reno's estimate beside it."""
    real = Recovery("cubic")
    now = START
    while real.stats()["congestion_window"] < packets * 1200:
        numbers = fill(real, now)
        now += rtt_ms * MS
        real.acknowledge([(0, numbers[-1])], 0, now)
    prior = real.stats()["congestion_window"] / 1200
    fill(real, now)
    real.congested(now, now)
    now += rtt_ms * MS
    real.acknowledge([(0, int(real.stats()["next"]) - 1)], 0, now)  # sent before: no growth
    window = estimate = 0.7 * prior
    k = (0.3 * prior / 0.4) ** (1 / 3)
    begin = None
    while begin is None or now - begin < 2 * k * 1e9:
        numbers = fill(real, now)
        now += rtt_ms * MS
        begin = now if begin is None else begin
        t = (now - begin) / 1e9
        for number in numbers:
            real.acknowledge([(0, number)], 0, now)
            smoothed = real.stats()["rtt_smoothed_ns"] / 1e9
            estimate += (1.0 if estimate >= prior else 3 * 0.3 / 1.7) / window
            if 0.4 * (t - k) ** 3 + prior < estimate:
                window = max(window, estimate)
            else:
                target = 0.4 * (t + smoothed - k) ** 3 + prior
                window += (min(max(target, window), 1.5 * window) - window) / window
            assert real.stats()["congestion_window"] == pytest.approx(1200 * window, abs=2)


def test_cubic_is_at_least_reno_on_short_paths() -> None:
    """RFC 9438, 4.3: while CUBIC's curve is flat, the window grows as AIMD(0.53, 0.7) does."""
    real = Recovery("cubic")
    now = START
    rtt = 2 * MS
    fill(real, now)
    now += rtt
    real.acknowledge([(0, 9)], 0, now)
    fill(real, now)
    real.congested(now, now)
    window = real.stats()["congestion_window"] / 1200
    now += rtt
    real.acknowledge([(0, int(real.stats()["next"]) - 1)], 0, now)
    estimate = window
    for _ in range(30):
        fill(real, now)
        now += rtt
        sent = int(real.stats()["next"]) - 1
        estimate += 0.5294 * (real.stats()["bytes_in_flight"] / 1200) / window
        real.acknowledge([(0, sent)], 0, now)
        window = real.stats()["congestion_window"] / 1200
        assert window >= min(estimate, 14) - 1.01


def test_fast_convergence_gives_room() -> None:
    real = Recovery("cubic")
    now = START
    for expected in (1.0, 0.7):
        fill(real, now)
        before = real.stats()["congestion_window"]
        real.congested(now, now)
        now += 50 * MS
        real.acknowledge([(0, int(real.stats()["next"]) - 1)], 0, now)
        fill(real, now)
        now += 50 * MS
        real.acknowledge([(0, int(real.stats()["next"]) - 1)], 0, now)  # an epoch begins
        plateau = real.cubic_window(k_of(before, expected))
        assert plateau == pytest.approx(before * (1.0 if expected == 1.0 else 0.85), rel=0.12)


def k_of(before: float, expected: float) -> float:
    """When the curve is at W_max: K of RFC 9438, 4.2, from a window of 0.7 of `before` on."""
    w_max = before * (1.0 if expected == 1.0 else 0.85)
    return float((max(w_max - 0.7 * before, 0.0) / 1200 / 0.4) ** (1 / 3))


def test_slow_start_ends_where_the_round_trip_rises() -> None:
    """RFC 9406: eight samples of a round above the last one's least, then five rounds slower."""
    real = Recovery("cubic")
    now = START
    rtt = 40 * MS
    for round_ in range(14):
        numbers = fill(real, now)
        now += rtt
        for number in numbers:
            real.acknowledge([(0, number)], 0, now)
        if round_ >= 3:
            rtt += 8 * MS
    assert real.stats()["ssthresh"] < float("inf")
    assert real.stats()["congestion_events"] == 0

    steady = Recovery("cubic")
    now = START
    for _ in range(8):
        numbers = fill(steady, now)
        now += 40 * MS
        for number in numbers:
            steady.acknowledge([(0, number)], 0, now)
    assert steady.stats()["ssthresh"] == float("inf")
    assert steady.stats()["congestion_window"] > 1000 * 1200


def test_a_round_without_a_sample_does_not_end_slow_start() -> None:
    """RFC 9406, 4.2: a rise is one above the round before, which may have measured nothing."""
    real = Recovery("cubic")
    # PADDING alone asks for no acknowledgement, so that one tells no round trip.
    padding = real.send(START, 1200, False, True)
    numbers = fill(real, START)
    assert len(numbers) == 9
    now = START + 10 * MS
    real.acknowledge([(0, padding)], 0, now)
    assert real.stats()["rtt_min_ns"] == 0
    for number in numbers:
        real.acknowledge([(0, number)], 0, now)
        now += 10 * MS
    assert real.stats()["ssthresh"] == float("inf")
    assert real.stats()["rtt_min_ns"] == 10 * MS
    assert real.stats()["rtt_latest_ns"] == 90 * MS


def test_a_window_that_is_not_used_does_not_grow() -> None:
    """RFC 9002, 7.8."""
    for name in ("cubic", "reno"):
        real = Recovery(name)
        now = START
        for _ in range(200):
            number = real.send(now, 1200)
            now += MS
            real.acknowledge([(0, number)], 0, now)
        assert real.stats()["congestion_window"] == 12000


def test_round_trips_below_a_millisecond_are_seen() -> None:
    real = Recovery()
    number = real.send(START, 1200)
    real.acknowledge([(0, number)], 0, START + 70_000)
    assert real.stats()["rtt_smoothed_ns"] == 70_000 == real.stats()["rtt_min_ns"]
    # kGranularity keeps the timers from being shorter than an event loop can tell.
    assert real.stats()["pto_ns"] == 70_000 + MS + 25 * MS


def test_reordering_is_learned_and_the_window_given_back() -> None:
    real = Recovery()
    for _ in range(10):
        real.send(START, 1200)
    real.acknowledge([(6, 9)], 0, START + 10 * MS)
    stats = real.stats()
    assert stats["packets_lost"] == 6
    assert stats["congestion_window"] < 12000
    real.acknowledge([(0, 9)], 0, START + 10 * MS + 1000)
    stats = real.stats()
    assert stats["packets_spurious"] == 6
    assert stats["packet_threshold"] == 10
    assert stats["congestion_window"] >= 12000
    for _ in range(200):
        real.send(START + 20 * MS, 1200)
    real.acknowledge([(0, 9), (209, 209)], 0, START + 30 * MS)
    real.acknowledge([(0, 209)], 0, START + 31 * MS)
    assert real.stats()["packet_threshold"] == 64


def test_packets_of_the_path_before_tell_nothing_of_the_new_one() -> None:
    """RFC 9000, 9.4: they count neither for the window nor for the round trip."""
    real = Recovery()
    for i in range(10):
        real.send(START, 1200, records=[(1, 0, 0, 1, i)])
    real.new_path(50 * MS)
    for i in range(10):
        real.send(START + 20 * MS, 1200, records=[(1, 0, 0, 1, 10 + i)])
    real.acknowledge([(6, 9)], 0, START + 30 * MS)
    stats = real.stats()
    assert (stats["packets_acked"], stats["packets_lost"]) == (4, 6)
    assert [record[5] for record in real.take_lost()] == [0, 1, 2, 3, 4, 5]
    assert real.audit() == stats["bytes_in_flight"] == 12000
    assert (stats["rtt_min_ns"], stats["rtt_smoothed_ns"]) == (0, 50 * MS)
    assert (stats["congestion_window"], stats["congestion_events"]) == (12000, 0)
    real.acknowledge([(6, 10)], 0, START + 60 * MS)
    stats = real.stats()
    assert (stats["rtt_min_ns"], stats["congestion_window"]) == (40 * MS, 13200)
    # A loss on this path; that those of the other came after all does not take it back.
    real.acknowledge([(14, 14), (6, 10)], 0, START + 61 * MS)
    assert real.stats()["congestion_window"] == pytest.approx(0.7 * 13200, abs=1)
    real.acknowledge([(14, 14), (0, 10)], 0, START + 61 * MS)
    stats = real.stats()
    assert (stats["packets_spurious"], stats["congestion_events"]) == (6, 1)
    assert stats["congestion_window"] == pytest.approx(0.7 * 13200, abs=1)


def test_what_was_lost_before_a_path_changed_gives_nothing_back_on_the_new_one() -> None:
    real = Recovery()
    for _ in range(10):
        real.send(START, 1200)
    real.acknowledge([(6, 9)], 0, START + 10 * MS)
    assert real.stats()["packets_lost"] == 6
    real.new_path(50 * MS)
    sent = START + 20 * MS
    real.send(sent, 1200)
    real.congested(sent, sent + 10 * MS)  # the peer saw ECN-CE: nothing was lost on this path
    window = real.stats()["congestion_window"]
    assert window == 0.7 * 12000
    real.acknowledge([(0, 9)], 0, sent + 11 * MS)
    stats = real.stats()
    assert (stats["packets_spurious"], stats["congestion_window"]) == (6, window)


def test_what_was_lost_before_a_mark_does_not_take_the_mark_back() -> None:
    real = Recovery()
    real.send(START, 1200)
    real.acknowledge([(0, 0)], 0, START + 10 * MS)
    for i in range(8):
        real.send(START + (20 + 100 * i) * MS, 1200)
    real.acknowledge([(8, 8), (0, 0)], 0, START + 800 * MS)
    assert real.stats()["persistent_events"] == 1
    sent = START + 810 * MS
    real.send(sent, 1200)
    real.congested(sent, sent + 10 * MS)  # the peer saw ECN-CE
    events = real.stats()["congestion_events"]
    real.acknowledge([(0, 8)], 0, sent + 11 * MS)
    assert real.stats()["packets_spurious"] > 0
    real.congested(sent, sent + 12 * MS)  # of a period that was answered
    assert real.stats()["congestion_events"] == events


def test_lost_packets_are_kept_to_learn_of_while_they_are_few() -> None:
    real = Recovery()
    for _ in range(6000):
        real.send(START, 1200)
    real.acknowledge([(5999, 5999)], 0, START + 10 * MS)
    assert real.stats()["packets_lost"] == 5997
    real.acknowledge([(0, 5999)], 0, START + 10 * MS)
    # Of more than 4096 the oldest are forgotten, and news of them tell nothing.
    stats = real.stats()
    assert (stats["packets_acked"], stats["packets_spurious"]) == (3, 4095)
    assert stats["bytes_in_flight"] == 0


def test_the_order_of_ranges_is_all_the_same() -> None:
    ranges = [(8, 9), (4, 6), (0, 1)]
    told = []
    for some in (ranges, ranges[::-1], [ranges[1], ranges[0], ranges[2]]):
        real = Recovery()
        for i in range(10):
            real.send(START + i * MS, 1200, records=[(1, 0, 0, 1, i)])
        real.acknowledge(some, 0, START + 50 * MS)
        told.append((real.stats(), sorted(real.take_acked()), sorted(real.take_lost())))
    assert told[0] == told[1] == told[2]
    assert told[0][0]["rtt_latest_ns"] == 41 * MS  # of the largest


def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    real = Recovery()
    first = real.send(START, 1200)
    with pytest.raises(ArgumentValueError, match="never sent"):
        real.acknowledge([(0, 1)], 0, START)
    real.skip()
    last = real.send(START, 1200)
    assert (first, last) == (0, 2)
    with pytest.raises(ArgumentValueError, match="never sent"):
        real.acknowledge([(0, 2)], 0, START)
    with pytest.raises(ArgumentValueError, match="never sent"):
        real.acknowledge([(2, 0)], 0, START)  # ends before it begins
    with pytest.raises(ArgumentValueError, match="must not be empty"):
        real.acknowledge([], 0, START)
    assert real.stats()["packets_acked"] == 0
    real.acknowledge([(2, 2), (0, 0)], 0, START + MS)
    assert real.stats()["bytes_in_flight"] == 0
    with pytest.raises(ArgumentValueError, match="never sent"):
        real.acknowledge([(0, 2)], 0, START)  # known to be a lie long after


def test_a_space_may_begin_anywhere() -> None:
    real = Recovery()
    real.skip(1000)
    assert real.send(START, 1200) == 1000
    real.acknowledge([(1000, 1000)], 0, START + MS)
    assert real.stats()["bytes_in_flight"] == 0


def test_no_number_left_out_is_none() -> None:
    real = Recovery()
    assert real.send(START, 1200) == 0
    real.skip(0)
    assert real.send(START, 1200) == 1
    real.acknowledge([(0, 1)], 0, START + MS)
    assert real.stats()["bytes_in_flight"] == 0


def test_an_ack_of_what_was_dropped_tells_nothing() -> None:
    """0-RTT was refused, and its packets are acknowledged after all."""
    real = Recovery()
    for i in range(4):
        real.send(START, 1200, records=[(1, 0, 0, 1, i)])
    real.drop_all(START + MS)
    assert [record[5] for record in real.take_lost()] == [0, 1, 2, 3]
    real.acknowledge([(0, 3)], 0, START + 2 * MS)
    assert real.take_acked() == real.take_lost() == []
    assert real.stats()["rtt_min_ns"] == 0 == real.audit()
    number = real.send(START + 3 * MS, 1200, records=[(1, 0, 0, 1, 4)])
    real.acknowledge([(0, number)], 0, START + 4 * MS)
    assert [record[5] for record in real.take_acked()] == [4]
    assert real.stats()["rtt_min_ns"] == MS


def test_probes_may_leave_whatever_the_pacer_says() -> None:
    real = Recovery()
    real.send(START, 1200)
    due = real.timer()
    assert real.on_timer(due) == "probe"
    while real.pacing_budget(due) > 1200:
        real.send(due, 1200, False, True)
    assert real.pacing_budget(due) == 1200
    assert real.pacing_delay(due) == 0
    for _ in range(2):
        assert real.pacing_budget(due) == 1200
        real.send(due, 1200)
    assert real.pacing_budget(due) == 0
    assert real.pacing_delay(due) > 0


def test_probes_repeat_the_oldest_and_may_exceed_the_window() -> None:
    real = Recovery()
    for i in range(10):
        real.send(START, 1200, records=[(1, 0, i, 1200, 0)])
    assert real.can_send() == 0
    assert real.on_timer(START) is None
    due = real.timer()
    assert due == START + 325 * MS
    assert real.timer(False) is None
    assert real.on_timer(due) == "probe"
    assert [record[3] for record in real.take_lost()] == [0, 1]
    assert real.can_send() == 1200
    assert real.pacing_delay(due) == 0
    real.send(due, 1200)
    real.send(due, 1200)
    assert real.can_send() == 0
    assert real.stats()["packets_lost"] == 0
    assert real.timer() == due + 2 * 325 * MS


def test_a_peer_that_never_acknowledges_has_a_bound() -> None:
    real = Recovery()
    for _ in range(300_000):
        real.send(START, 40, False, False, ())
    assert real.stats()["memory"] < 1 << 20
    real = Recovery()
    lost = 0
    for i in range(200_000):
        real.send(START, 1200, records=[(1, 0, i, 1, 0)])
        lost += len(real.take_lost())
    assert lost == 200_000 - (1 << 13)
    assert real.audit() == real.stats()["bytes_in_flight"] == 1200 << 13


@pytest.mark.parametrize("oldest", ["acknowledged", "lost", "repeated"])
def test_beyond_the_bound_each_record_still_comes_out_once(oldest: str) -> None:
    real = Recovery()
    records: list[int] = []
    now = START

    def send(n: int) -> None:
        for _ in range(n):
            records.append(real.send(now, 1200, records=[(1, 0, 0, 1, len(records))]))

    send(100)
    now += 10 * MS
    if oldest == "repeated":
        now = real.timer()
        assert real.on_timer(now) == "probe"
    else:
        number = 0 if oldest == "acknowledged" else 99
        real.acknowledge([(number, number)], 0, now)
    send(9000)
    assert real.audit() == real.stats()["bytes_in_flight"] <= 1200 << 13
    real.acknowledge([(9090, 9099)], 0, now + MS)
    assert real.audit() == real.stats()["bytes_in_flight"]
    real.drop_all(now + MS)
    assert real.audit() == 0
    out = [record[5] for record in real.take_acked() + real.take_lost()]
    assert sorted(out) == list(range(9100))


def test_the_pacer_keeps_its_rate() -> None:
    real = Recovery()
    real.sample_rtt(100 * MS, 0, START)
    rate, burst = real.stats()["pacing_rate"], real.stats()["pacing_burst"]
    assert rate == pytest.approx(1.25 * 12000 / 0.1)
    now, sent = START, 0
    while now < START + 2_000 * MS:
        delay = real.pacing_delay(now)
        if delay:
            now += delay
            continue
        real.send(now, 1200, in_flight=True)
        sent += 1200
        assert sent <= burst + 1200 + rate * (now - START) / 1e9
    assert sent >= 0.95 * rate * 2


def test_bursts_have_a_bound() -> None:
    real = Recovery()
    real.sample_rtt(50_000, 0, START)
    assert real.stats()["pacing_burst"] == 256 * 1024
    assert real.pacing_budget(START) == 256 * 1024


def test_persistent_congestion_collapses_the_window() -> None:
    for name in ("cubic", "reno"):
        real = Recovery(name)
        real.send(START, 1200)
        real.acknowledge([(0, 0)], 0, START + 10 * MS)
        for i in range(8):
            real.send(START + (20 + 100 * i) * MS, 1200)
        real.acknowledge([(8, 8), (0, 0)], 0, START + 800 * MS)
        stats = real.stats()
        assert stats["persistent_events"] == 1
        assert stats["congestion_window"] == 2400


def test_a_new_path_begins_anew() -> None:
    real = Recovery()
    for _ in range(5):
        real.send(START, 1200)
    real.acknowledge([(4, 4)], 0, START + MS)
    real.new_path(50 * MS)
    stats = real.stats()
    assert stats["congestion_window"] == 12000
    assert stats["rtt_min_ns"] == 0
    assert real.audit() == stats["bytes_in_flight"]
    real.set_max_datagram_size(1472)
    assert real.stats()["congestion_window"] == 14720


@pytest.fixture
def counting() -> list[Any]:
    """The controllers that ``Recovery("counting")`` made: their window grows by 100 for an ACK."""
    base = pytest.importorskip("aioquic.quic.congestion.base")

    class Counting(base.QuicCongestionControl):  # type: ignore[misc,name-defined]
        def __init__(self, *, max_datagram_size: int) -> None:
            super().__init__(max_datagram_size=max_datagram_size)
            self.log: list[tuple[str, int]] = []

        def on_packet_sent(self, *, packet) -> None:  # type: ignore[no-untyped-def]
            self.bytes_in_flight += packet.sent_bytes

        def on_packet_acked(self, *, now, packet) -> None:  # type: ignore[no-untyped-def]
            self.bytes_in_flight -= packet.sent_bytes
            self.congestion_window += 100
            self.log.append(("acked", packet.packet_number))

        def on_packets_expired(self, *, packets) -> None:  # type: ignore[no-untyped-def]
            self.bytes_in_flight -= sum(packet.sent_bytes for packet in packets)

        def on_packets_lost(self, *, now, packets) -> None:  # type: ignore[no-untyped-def]
            for packet in packets:
                self.bytes_in_flight -= packet.sent_bytes
                self.log.append(("lost", packet.packet_number))

        def on_persistent_congestion(self) -> None:
            self.log.append(("persistent", 0))

        def on_rtt_measurement(self, *, now, rtt) -> None:  # type: ignore[no-untyped-def]
            self.log.append(("rtt", round(rtt * 1000)))

    made: list[Any] = []

    def make(*, max_datagram_size: int) -> Counting:
        made.append(Counting(max_datagram_size=max_datagram_size))
        return made[-1]

    base.register_congestion_control("counting", make)
    return made


def test_registered_controllers_are_told_everything(counting: list[Any]) -> None:
    real = Recovery("counting")
    for _ in range(6):
        real.send(START, 1000)
    assert counting[0].bytes_in_flight == 6000
    real.acknowledge([(4, 5)], 0, START + 20 * MS)
    assert sorted(counting[0].log) == sorted(
        [("acked", 5), ("acked", 4), ("rtt", 20), ("lost", 0), ("lost", 1), ("lost", 2)]
        + [("lost", 3)] * (real.stats()["packets_lost"] == 4)
    )
    assert counting[0].bytes_in_flight == real.stats()["bytes_in_flight"]
    assert real.stats()["congestion_window"] == 12200
    real.drop_all(START)
    assert counting[0].bytes_in_flight == 0


def test_registered_controllers_are_told_of_each_packet_however_many(counting: list[Any]) -> None:
    real = Recovery("counting")
    (told,) = counting
    for _ in range(200):
        real.send(START, 1200)
        real.send(START, 40, False, False)  # an ACK alone is not in flight
    assert told.bytes_in_flight == 200 * 1200 == real.stats()["bytes_in_flight"]
    real.acknowledge([(0, 399)], 0, START + 20 * MS)
    acked = sorted(number for what, number in told.log if what == "acked")
    assert acked == list(range(0, 400, 2))
    assert told.bytes_in_flight == 0
    # The window is its own, however well that was used.
    assert real.stats()["congestion_window"] == told.congestion_window == 32_000


def test_registered_controllers_decide_what_losses_mean(counting: list[Any]) -> None:
    real = Recovery("counting")
    (told,) = counting
    for _ in range(10):
        real.send(START, 1200)
    real.acknowledge([(6, 9)], 0, START + 10 * MS)
    assert [number for what, number in told.log if what == "lost"] == [0, 1, 2, 3, 4, 5]
    real.acknowledge([(0, 9)], 0, START + 10 * MS + 1000)  # they come after all
    assert real.stats()["packets_spurious"] == 6
    assert real.stats()["congestion_window"] == told.congestion_window == 12_400
    for i in range(8):
        real.send(START + (20 + 100 * i) * MS, 1200)
    real.acknowledge([(17, 17), (0, 9)], 0, START + 800 * MS)
    assert told.log.count(("persistent", 0)) == 1 == real.stats()["persistent_events"]
    assert real.stats()["congestion_window"] == told.congestion_window == 12_500


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"congestion_control": "cubik"}, ArgumentValueError, "cubik"),
        ({"congestion_control": 3}, ArgumentTypeError, "congestion_control"),
        ({"max_datagram_size": 100}, ArgumentValueError, "max_datagram_size"),
        ({"initial_rtt_ns": 0}, ArgumentValueError, "initial_rtt_ns"),
    ],
)
def test_arguments(arguments: dict[str, object], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        Recovery(**arguments)  # type: ignore[arg-type]


def test_neither_can_be_copied() -> None:
    for thing in (Recovery(), Received()):
        with pytest.raises(TypeError, match="copied"):
            copy.copy(thing)


# -- what came -------------------------------------------------------------------------------------


def varints(body: bytes) -> list[int]:
    out, at = [], 0
    while at < len(body):
        size = 1 << (body[at] >> 6)
        assert at + size <= len(body)
        out.append(int.from_bytes(body[at : at + size], "big") & ((1 << (8 * size - 2)) - 1))
        at += size
    return out


def parse_ack(body: bytes) -> tuple[list[tuple[int, int]], int]:
    """Ranges, newest first, and the delay field."""
    high, delay, count, first, *rest = varints(body)
    assert len(rest) == 2 * count
    out = [(high - first, high)]
    for gap, length in zip(rest[::2], rest[1::2], strict=True):
        high = out[-1][0] - gap - 2
        out.append((high - length, high))
    return out, delay


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 90), max_size=120))
def test_received_is_a_set(numbers: list[int]) -> None:
    real, model = Received(), set()
    for number in numbers:
        assert real.is_duplicate(number) == (number in model)
        assert real.add(number, START) == (number not in model)
        model.add(number)
        expected = ranges_of(model)
        assert real.ranges == expected[::-1]
        assert real.largest == max(model)
        assert parse_ack(real.ack_frame(START)) == (expected, 0)
        assert real.unacked == len(model)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2000), max_size=300), st.integers(0, 400))
def test_no_packet_is_taken_twice_though_ranges_are_few(numbers: list[int], limit: int) -> None:
    real, seen = Received(), set()
    for number in numbers:
        new = real.add(number, START)
        assert not (new and number in seen)
        if new:
            seen.add(number)
        assert len(real.ranges) <= 64
        body = real.ack_frame(START, limit)
        assert len(body) <= limit
        if body:
            ranges, _ = parse_ack(body)
            assert all(n in seen for low, high in ranges for n in range(low, high + 1))


def test_what_is_older_than_all_that_is_kept_counts_as_a_duplicate() -> None:
    real = Received()
    for number in range(100, 228, 2):
        assert real.add(number, START)
    assert len(real.ranges) == 64
    assert not real.is_duplicate(50)
    assert not real.add(50, START)  # there is no room to remember that it came
    assert real.is_duplicate(50) and real.is_duplicate(40)
    assert not real.add(40, START)
    assert real.duplicates == 2
    assert not real.is_duplicate(51)
    assert real.add(99, START)  # joins the oldest
    assert real.ranges[0] == (99, 100)
    assert real.add(300, START)  # in its place
    assert len(real.ranges) == 64
    assert [n for n in range(102) if not real.is_duplicate(n)] == [101]
    assert not real.add(99, START)
    assert real.add(101, START)
    assert real.ranges[0] == (101, 102)


def test_ack_frames_have_as_many_ranges_as_were_asked_for() -> None:
    real = Received()
    assert real.ack_frame(START) == b""
    for number in range(0, 128, 2):
        real.add(number, START)
    every = [(n, n) for n in range(126, -1, -2)]
    assert real.ack_frame(START, max_ranges=0) == b""
    for most in range(1, 65):
        assert parse_ack(real.ack_frame(START, max_ranges=most))[0] == every[:most]


def test_ack_frames_hold_large_numbers() -> None:
    real = Received()
    numbers = {0, 70, 2**14 + 80, 2**30 + 2**15, 2**40, 2**62 - 1, *range(2**50, 2**50 + 80)}
    for number in sorted(numbers):
        assert real.add(number, START)
    assert real.largest == 2**62 - 1
    for later_us, exponent in ((0, 0), (63, 0), (64, 0), (2**14, 0), (2**31, 0), (2**31, 20)):
        body = real.ack_frame(START + later_us * 1000, 1200, 64, exponent)
        assert parse_ack(body) == (ranges_of(numbers), later_us >> exponent)


def test_what_the_peer_knows_is_not_reported_again() -> None:
    real = Received()
    for number in (0, 1, 4, 5, 9):
        real.add(number, START)
    real.ack_sent()
    assert real.unacked == 0
    assert not real.out_of_order
    real.ack_acked(5)
    assert parse_ack(real.ack_frame(START + 16_000))[0] == [(9, 9)]
    assert parse_ack(real.ack_frame(START + 16_000))[1] == 2
    assert real.is_duplicate(1)
    assert real.add(3, START)
    assert real.out_of_order
    assert parse_ack(real.ack_frame(START))[0] == [(9, 9), (3, 5)]


def test_ecn_is_counted() -> None:
    real = Received()
    for number, ecn in enumerate((0, 1, 2, 3, 3, 2, 2)):
        real.add(number, START, True, ecn)
    real.add(6, START, True, 3)
    assert real.duplicates == 1
    assert real.ack_frame(START, 1200, 64, 3, True)[-3:] == bytes([3, 1, 2])


def test_many_ecn_marks_are_counted() -> None:
    real = Received()
    marks = [3] * 64 + [2] * 100 + [1] * 16_384
    for number, ecn in enumerate(marks):
        real.add(number, START, True, ecn)
    body = real.ack_frame(START, 1200, 64, 3, True)
    assert varints(body)[-3:] == [100, 16_384, 64]
    plain = real.ack_frame(START)
    assert body.startswith(plain) and len(body) == len(plain) + 2 + 4 + 2
    # All of it or nothing.
    assert real.ack_frame(START, len(body) - 1, 64, 3, True) == b""
    assert real.ack_frame(START, len(body), 64, 3, True) == body
