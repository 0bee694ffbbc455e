"""Ranges and stream buffers against a byte-by-byte reference."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.streams_bytes import NaiveReceiver, NaiveSender

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic._buffers import Ranges, ReceiveBuffer, SendBuffer

SMALL = st.integers(0, 40)
SEEDS = st.integers(0, 2**32).map(random.Random)


def as_ranges(values: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for value in sorted(values):
        if found and found[-1][1] == value:
            found[-1] = (found[-1][0], value + 1)
        else:
            found.append((value, value + 1))
    return found


@given(st.lists(st.tuples(st.sampled_from(["add", "subtract", "drop"]), SMALL, SMALL), max_size=60))
def test_ranges_are_a_set_of_integers(steps: list[tuple[str, int, int]]) -> None:
    ranges = Ranges()
    values: set[int] = set()
    for kind, start, stop in steps:
        chosen = set(range(start, stop))
        if kind == "add":
            assert ranges.add(start, stop) == bool(chosen - values)
            values |= chosen
        elif kind == "subtract":
            assert ranges.subtract(start, stop) == bool(chosen & values)
            values -= chosen
        else:
            ranges.drop_below(start)
            values -= set(range(start))
        assert list(ranges) == as_ranges(values)
        assert len(ranges) == ranges.count
        assert ranges.covers(start, stop) == (chosen <= values)
    assert [value for value in range(42) if ranges.contains(value)] == sorted(values)
    assert ranges.first_start == min(values, default=None)
    first_stop = as_ranges(values)[0][1] if values else None
    assert ranges.first_stop == first_stop
    assert ranges.last_stop == (max(values) + 1 if values else None)
    ranges.clear()
    assert list(ranges) == []


@given(st.integers(1, 5), st.lists(st.tuples(SMALL, st.integers(1, 4)), max_size=60))
def test_limited_ranges_drop_the_lowest(limit: int, steps: list[tuple[int, int]]) -> None:
    ranges = Ranges(limit)
    values: set[int] = set()
    for start, length in steps:
        ranges.add(start, start + length)
        values |= set(range(start, start + length))
        kept = as_ranges(values)[-limit:]
        values = {value for first, last in kept for value in range(first, last)}
        assert list(ranges) == kept


def test_a_hole_does_not_break_the_limit() -> None:
    ranges = Ranges(2)
    ranges.add(0, 10)
    ranges.add(20, 30)
    ranges.subtract(22, 25)
    assert list(ranges) == [(20, 22), (25, 30)]


def test_ranges_at_the_largest_integers() -> None:
    top = 2**64 - 1
    ranges = Ranges()
    ranges.add(top - 1, top)
    ranges.add(0, 1)
    assert list(ranges) == [(0, 1), (top - 1, top)]
    with pytest.raises(OverflowError):
        ranges.add(0, 2**64)
    with pytest.raises(ArgumentValueError, match="limit"):
        Ranges(-1)


@pytest.mark.parametrize("order", ["up", "down", "random"])
def test_many_ranges_in_any_order(order: str) -> None:
    starts = list(range(0, 40_000, 2))
    if order == "down":
        starts.reverse()
    elif order == "random":
        random.Random(8).shuffle(starts)
    ranges = Ranges()
    for start in starts:
        ranges.add(start, start + 1)
    assert len(ranges) == 20_000
    for start in starts:
        ranges.add(start + 1, start + 2)
    assert list(ranges) == [(0, 40_000)]


FRAME = st.tuples(st.just("frame"), st.integers(0, 30), st.integers(0, 120))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 20), st.booleans()),
        FRAME,
        FRAME,
        st.tuples(st.just("acked"), st.integers(0, 1000), st.none()),
        st.tuples(st.just("lost"), st.integers(0, 1000), st.none()),
        st.tuples(st.just("finish"), st.none(), st.none()),
    ),
    max_size=120,
)


@settings(max_examples=300)
@given(STEPS, SEEDS)
def test_sending_agrees_with_the_reference(
    steps: list[tuple[str, int, int]], rng: random.Random
) -> None:
    buffer, naive = SendBuffer(), NaiveSender()
    flying: list[tuple[int, bytes, bool]] = []
    for kind, first, second in steps:
        if kind == "write" and not naive.fin:
            data = rng.randbytes(first)
            buffer.write(data if second else bytearray(data))
            naive.write(data)
        elif kind == "frame":
            frame = buffer.take_frame(first, second)
            assert frame == naive.frame(first, second)
            if frame is not None:
                flying.append(frame)
        elif kind in ("acked", "lost") and flying:
            offset, data, fin = flying.pop(first % len(flying))
            getattr(buffer, f"on_{kind}")(offset, len(data), fin)
            getattr(naive, kind)(offset, len(data), fin)
        elif kind == "finish":
            buffer.finish()
            naive.fin = True
        assert (buffer.base, buffer.next, buffer.end) == (naive.base, naive.next, len(naive.data))
        assert buffer.has_pending == naive.has_pending
        assert buffer.all_acked == naive.all_acked
        assert buffer.unsent == buffer.end - buffer.next
        assert buffer.unacked == buffer.end - buffer.base
        held = buffer.read(buffer.base, buffer.unacked)
        assert held == naive.data[naive.base :]


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=12), SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_lossy_transfer_of_pieces_of_any_size(sizes: list[int], rng: random.Random) -> None:
    data = rng.randbytes(sum(sizes))
    sender, receiver = SendBuffer(), ReceiveBuffer()
    at = 0
    for size in sizes:
        piece = data[at : at + size]
        sender.write(rng.choice([bytes, bytearray, memoryview])(piece))
        at += size
    sender.finish()
    arrived = b""
    flying: list[tuple[int, bytes, bool]] = []
    while not sender.all_acked:
        while (frame := sender.take_frame(rng.randint(1, 3000))) is not None:
            flying.append(frame)
        rng.shuffle(flying)
        for offset, part, fin in flying:
            if rng.random() < 0.3:
                sender.on_lost(offset, len(part), fin)
                continue
            assert receiver.insert_bytes(offset, part, fin) == 0
            sender.on_acked(offset, len(part), fin)
            if rng.random() < 0.2:
                arrived += receiver.take(rng.randint(-1, 5000))
        flying.clear()
    arrived += receiver.take()
    assert arrived == data
    assert receiver.at_end
    assert receiver.fragment_count == 0
    assert not sender.has_pending
    assert sender.memory() < 2000


def test_what_is_handed_in_as_bytes_is_not_copied() -> None:
    buffer = SendBuffer()
    data = bytes(100_000)
    before = sys.getrefcount(data)
    buffer.write(data)
    assert sys.getrefcount(data) == before + 1
    assert buffer.take_frame(100_000) == (0, data, False)
    buffer.on_acked(0, 99_999, False)
    assert sys.getrefcount(data) == before + 1
    buffer.on_acked(99_999, 1, False)
    assert sys.getrefcount(data) == before


def test_other_buffers_are_copied_and_freed_bit_by_bit() -> None:
    buffer = SendBuffer()
    data = bytearray(1_000_000)
    buffer.write(data)
    data[:] = b"\x01" * len(data)
    assert buffer.take_frame(2_000_000) == (0, bytes(1_000_000), False)
    buffer.on_acked(0, 900_000, False)
    assert buffer.memory() < 200_000
    buffer.write(memoryview(b"abcdefgh").cast("H"))
    assert buffer.read(1_000_000, 8) == b"abcdefgh"


def test_many_small_writes_are_packed() -> None:
    buffer = SendBuffer()
    for i in range(100_000):
        buffer.write(bytes([i % 251]))
    assert buffer.memory() < 130_000
    expected = bytes(i % 251 for i in range(100_000))
    assert buffer.read(0, 100_000) == expected
    got = b""
    while (frame := buffer.take_frame(1200)) is not None:
        got += frame[1]
    assert got == expected


def test_a_single_small_write_costs_its_object_only() -> None:
    buffer = SendBuffer()
    data = b"x" * 100
    before = sys.getrefcount(data)
    buffer.write(data)
    assert sys.getrefcount(data) == before + 1


def test_the_fin_alone_is_sent_and_sent_again() -> None:
    buffer = SendBuffer()
    assert buffer.take_frame(1000) is None
    buffer.finish()
    assert buffer.has_pending
    assert buffer.take_frame(0, 0) == (0, b"", True)
    assert not buffer.has_pending
    buffer.on_lost(0, 0, True)
    assert buffer.has_pending
    assert buffer.take_frame(0, 0) == (0, b"", True)
    buffer.on_acked(0, 0, True)
    assert buffer.all_acked
    buffer.on_lost(0, 0, True)
    assert not buffer.has_pending


def test_flow_control_holds_new_data_and_lets_lost_data_pass() -> None:
    buffer = SendBuffer()
    buffer.write(b"0123456789")
    buffer.finish()
    assert buffer.take_frame(100, 6) == (0, b"012345", False)
    assert buffer.take_frame(100, 6) is None
    buffer.on_lost(0, 6, False)
    assert buffer.take_frame(4, 3) == (0, b"0123", False)
    assert buffer.take_frame(4, 3) == (4, b"45", False)
    assert buffer.take_frame(100, 10) == (6, b"6789", True)


def test_clearing_forgets_all_but_the_final_size() -> None:
    buffer = SendBuffer()
    buffer.write(b"0123456789")
    buffer.take_frame(4)
    buffer.clear()
    assert (buffer.base, buffer.next, buffer.end) == (4, 4, 4)
    buffer.on_lost(0, 4, False)
    buffer.on_acked(0, 4, False)
    assert not buffer.has_pending
    assert buffer.take_frame(100) is None
    with pytest.raises(ArgumentValueError):
        buffer.write(b"more")
    with pytest.raises(ArgumentValueError):
        buffer.finish()


def test_arguments_of_sending() -> None:
    buffer = SendBuffer()
    with pytest.raises(ArgumentTypeError, match="got str"):
        buffer.write("text")  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="contiguous"):
        buffer.write(memoryview(b"abcdef")[::2])
    buffer.write(b"")
    buffer.write(bytearray())
    assert buffer.end == 0
    with pytest.raises(ArgumentValueError, match="offset"):
        buffer.read(0, 1)
    buffer.finish()
    with pytest.raises(ArgumentValueError, match="end of the stream"):
        buffer.write(b"x")


PIECES = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 60), st.integers(0, 25), st.booleans()),
        st.tuples(st.just("insert"), st.integers(0, 60), st.integers(0, 25), st.just(False)),
        st.tuples(st.just("take"), st.integers(-1, 30), st.none(), st.none()),
        st.tuples(st.just("final"), st.integers(0, 90), st.none(), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(PIECES)
def test_receiving_agrees_with_the_reference(steps: list[tuple[str, int, int, bool]]) -> None:
    whole = bytes(range(100, 200))
    buffer, naive = ReceiveBuffer(), NaiveReceiver()
    for kind, first, second, fin in steps:
        if kind == "insert":
            data = whole[first : first + second]
            assert buffer.insert_bytes(first, data, fin) == (
                0 if naive.insert(first, data, fin) else 1
            )
        elif kind == "take":
            assert buffer.take(first) == naive.take(first)
        else:
            assert buffer.set_final_size(first) == (0 if naive.insert(first, b"", True) else 1)
        assert (buffer.consumed, buffer.contiguous, buffer.highest, buffer.final_size) == (
            naive.consumed,
            naive.contiguous,
            naive.highest,
            naive.final_size,
        )
        assert buffer.readable == buffer.contiguous - buffer.consumed
        assert buffer.at_end == (naive.consumed == naive.final_size)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30_000), st.integers(1, 3000), SEEDS)
def test_receiving_large_pieces_in_any_order(size: int, most: int, rng: random.Random) -> None:
    data = rng.randbytes(size)
    buffer = ReceiveBuffer()
    frames = []
    at = 0
    while at < size:
        n = rng.randint(1, most)
        frames.append((at, min(size, at + n + rng.choice([0, 0, 700]))))
        at += n
    frames += rng.sample(frames, len(frames) // 3)
    rng.shuffle(frames)
    got = b""
    for start, stop in frames:
        status = buffer.insert_bytes(start, data[start:stop], stop == size)
        if status == 2:
            assert most < 64  # hundreds of gaps between single bytes: what the limit is for
            return
        assert status == 0
        got += buffer.take(rng.choice([-1, 0, 100, 2000]))
    assert got + buffer.take() == data
    assert buffer.at_end


def test_a_piece_asked_whole_is_handed_on() -> None:
    buffer = ReceiveBuffer()
    buffer.insert_bytes(0, b"a" * 1200)
    buffer.insert_bytes(1200, b"b" * 1200)
    assert buffer.take(1200) == b"a" * 1200
    buffer.insert_bytes(2400, b"c" * 1200)
    assert buffer.take(1000) == b"b" * 1000
    assert buffer.take() == b"b" * 200 + b"c" * 1200
    assert buffer.take() == b""


def test_what_came_twice_is_held_once() -> None:
    buffer = ReceiveBuffer()
    data = bytes(1200)
    for _ in range(1000):
        for start in range(0, 12_000, 1000):
            assert buffer.insert_bytes(1 + start, data) == 0
    assert buffer.memory() < 20_000
    assert buffer.insert_bytes(0, b"x") == 0
    assert buffer.readable == 1 + 12_200


def test_single_bytes_in_order_are_packed() -> None:
    buffer = ReceiveBuffer()
    for at in range(65_536):
        assert buffer.insert_bytes(at, b"x") == 0
    assert buffer.memory() < 2 * 65_536
    assert buffer.take() == b"x" * 65_536


@pytest.mark.parametrize("order", ["up", "down", "random"])
def test_single_bytes_behind_a_hole_are_packed(order: str) -> None:
    data = random.Random(3).randbytes(60_000)
    places = list(range(1, 60_000))
    if order == "down":
        places.reverse()
    elif order == "random":
        # Among neighbours only, as packets overtake each other.
        rng = random.Random(4)
        for at in range(0, len(places), 200):
            part = places[at : at + 200]
            rng.shuffle(part)
            places[at : at + 200] = part
    buffer = ReceiveBuffer()
    for at in places:
        assert buffer.insert_bytes(at, data[at : at + 1]) == 0
    assert buffer.fragment_count < 200
    assert buffer.memory() < 2 * 60_000 + 10_000
    buffer.insert_bytes(0, data[:1])
    assert buffer.take() == data


def test_a_flood_of_gaps_is_refused() -> None:
    buffer = ReceiveBuffer()
    statuses = [buffer.insert_bytes(at, b"x") for at in range(1, 100_000, 2)]
    assert statuses.count(0) < 300
    assert statuses[-1] == 2
    assert buffer.memory() < 50_000


def test_losing_every_second_packet_is_no_flood() -> None:
    buffer = ReceiveBuffer()
    data = bytes(300)
    for at in range(300, 16 << 20, 600):
        assert buffer.insert_bytes(at, data) == 0
    for at in range(0, 16 << 20, 600):
        assert buffer.insert_bytes(at, data) == 0
    assert buffer.fragment_count == 0
    assert len(buffer.take()) == buffer.highest


def test_discarding_counts_what_nobody_took() -> None:
    buffer = ReceiveBuffer()
    buffer.insert_bytes(0, b"0123456789")
    assert buffer.take(4) == b"0123"
    buffer.insert_bytes(20, b"x" * 10)
    assert buffer.discard() == 26
    assert (buffer.consumed, buffer.readable, buffer.take()) == (30, 0, b"")
    assert buffer.insert_bytes(50, b"y" * 10) == 0
    assert buffer.consumed == buffer.highest == 60
    assert not buffer.at_end
    assert buffer.set_final_size(59) == 1
    assert buffer.set_final_size(70) == 0
    assert buffer.consumed == 70
    assert buffer.at_end
    assert buffer.insert_bytes(65, b"z" * 6) == 1


def test_a_gibibyte_passes_in_small_memory() -> None:
    sender, receiver = SendBuffer(), ReceiveBuffer()
    piece = bytes(1 << 20)
    passed = 0
    for _ in range(1024):
        sender.write(piece)
        while (frame := sender.take_frame(65_000)) is not None:
            receiver.insert_bytes(frame[0], frame[1])
            sender.on_acked(frame[0], len(frame[1]), False)
            passed += len(receiver.take())
        assert receiver.memory() < 1000
        assert sender.memory() < 1000
    assert passed == 1 << 30


def test_empty_frames_hold_nothing() -> None:
    buffer = ReceiveBuffer()
    for offset in range(1000, 3000):
        assert buffer.insert_bytes(offset, b"") == 0
    assert buffer.fragment_count == 0
    assert buffer.highest == 2999
    assert buffer.insert_bytes(3000, b"", True) == 0
    assert buffer.insert_bytes(0, bytes(3000)) == 0
    assert buffer.take() == bytes(3000)
    assert buffer.at_end
