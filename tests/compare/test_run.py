"""RunDetector against one counter a period, at the level in use (`.ci/run` repeats every level)."""

from __future__ import annotations

import math
import random
import signal
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.runs import runs

from midstream import MidstreamError
from midstream._core.errors import ArgumentTypeError
from midstream.compare import Run, RunDetector


def online(sequence, **settings):
    detector = RunDetector(**settings)
    return [
        (run.end, run.start, run.period)
        for symbol in sequence
        if (run := detector.update(symbol)) is not None
    ]


def patchwork(rng: random.Random, length: int, alphabet: int, units: list[int]) -> list[int]:
    """Random stretches, repeated units and copies of what came before."""
    out: list[int] = []
    while len(out) < length:
        choice = rng.random()
        if choice < 0.4:
            out += [rng.randrange(alphabet) for _ in range(rng.randrange(1, 60))]
        elif choice < 0.8:
            unit = [rng.randrange(alphabet) for _ in range(rng.choice(units))]
            out += (unit * 6)[: int(len(unit) * rng.uniform(1.5, 5))]
        elif out:
            start = rng.randrange(len(out))
            out += out[start : start + rng.randrange(1, 120)]
    return out


# Periods around the vector width (32), the gram (16) and the block sizes between.
UNITS = [1, 2, 3, 5, 15, 16, 17, 31, 32, 33, 34, 40, 47, 48, 49, 64, 90]


@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_the_oracle(seed: int) -> None:
    rng = random.Random(seed)
    sequence = patchwork(rng, 600, rng.choice([1, 2, 3, 8, 100]), UNITS)
    chosen = {
        "max_period": rng.choice([1, 5, 31, 32, 33, 50, 200]),
        "min_copies": rng.choice([2, 3, 4]),
        "min_length": rng.choice([0, 1, 12, 100]),
    }
    assert online(sequence, **chosen) == list(runs(sequence, **chosen))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 2), max_size=150),
    st.integers(1, 80),
    st.integers(2, 4),
    st.integers(0, 20),
)
def test_agrees_with_the_oracle_on_small_alphabets(sequence, max_period, min_copies, min_length):
    chosen = {"max_period": max_period, "min_copies": min_copies, "min_length": min_length}
    assert online(sequence, **chosen) == list(runs(sequence, **chosen))


@pytest.mark.parametrize("period", [1, 2, 31, 32, 33, 34, 63, 64, 65, 100, 1000, 4095, 4096])
@pytest.mark.parametrize("lead_in", [0, 1, 15, 5000])
def test_every_period_is_found_on_the_symbol_that_completes_it(period: int, lead_in: int) -> None:
    rng = random.Random(period)
    noise = [rng.randrange(10**9) for _ in range(lead_in)]
    unit = [rng.randrange(10**9) for _ in range(period)]
    detector = RunDetector()
    assert detector.feed(noise + (unit * 3)[:-1]) == []
    assert detector.update(unit[-1]) == Run(lead_in, period, 3.0, lead_in + 3 * period)
    # It is told once, and can be asked for as it goes on.
    assert detector.feed(unit) == []
    assert detector.run == Run(lead_in, period, 4.0, lead_in + 4 * period)
    assert detector.update(object()) is None
    assert detector.run is None


def test_period_above_the_limit_is_not_found() -> None:
    unit = list(range(33))
    assert RunDetector(max_period=32).feed(unit * 6) == []


def test_a_run_inside_a_copy_is_told_where_it_stands_alone() -> None:
    unit = [0, 0, 0, 1]
    found = RunDetector().feed(unit * 6)
    # Three stutters come before the third copy of the unit is complete, none is told after it.
    assert [(run.start, run.period) for run in found] == [(0, 1), (4, 1), (8, 1), (0, 4)]


def test_a_second_run_with_the_same_period_is_told_again() -> None:
    found = RunDetector().feed([1, 2] * 4 + [3] + [1, 2] * 4)
    assert [(run.start, run.period) for run in found] == [(0, 2), (9, 2)]


def test_rings_survive_many_times_their_length() -> None:
    rng = random.Random(1)
    sequence: list[int] = []
    while len(sequence) < 20_000:
        sequence += patchwork(rng, 2000, 50, UNITS)
    assert online(sequence, max_period=100) == list(runs(sequence, max_period=100))


@pytest.mark.parametrize("min_copies", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_long_stretches_of_one_symbol(seed: int, min_copies: int) -> None:
    """Every distance inside a stretch is a candidate; few of them live to the end."""
    rng = random.Random(seed)
    sequence: list[int] = []
    while len(sequence) < 2500:
        unit = [0] * rng.randrange(17, 80) + [1] * rng.randrange(1, 3)
        sequence += unit * rng.randrange(1, 5)
    chosen = {"max_period": 200, "min_copies": min_copies}
    assert online(sequence, **chosen) == list(runs(sequence, **chosen))


def test_memory_is_bounded_when_every_distance_is_a_candidate() -> None:
    rng = random.Random(0)
    detector = RunDetector()
    for _ in range(300):
        detector.feed([0] * rng.randrange(17, 1000) + [1])
    assert detector.memory_bytes < 140 * 1024


def test_arrays_objects_and_single_updates_agree() -> None:
    sequence = patchwork(random.Random(7), 3000, 3, UNITS)
    expected = RunDetector().feed(sequence)
    assert expected
    assert RunDetector().feed(np.array(sequence)) == expected
    assert RunDetector().feed(np.array(sequence, dtype=np.uint8)) == expected
    assert RunDetector().feed(np.array(sequence, dtype=">i4")[:]) == expected
    strided = np.repeat(np.array(sequence), 2)[::2]
    assert RunDetector().feed(strided) == expected
    read_only = np.array(sequence)
    read_only.flags.writeable = False
    assert RunDetector().feed(read_only) == expected
    unaligned = np.frombuffer(b"x" + read_only.tobytes(), np.uint8)[1:].view(read_only.dtype)
    assert RunDetector().feed(unaligned) == expected
    assert RunDetector().feed([f"word {symbol}" for symbol in sequence]) == expected
    assert RunDetector().feed([-symbol - 1 for symbol in sequence]) == expected
    assert RunDetector().feed(np.array([-symbol - 1 for symbol in sequence])) == expected
    assert RunDetector().feed([symbol + 2**70 for symbol in sequence]) == expected
    mixed = RunDetector()
    assert mixed.feed(np.array(sequence[:1000])) + mixed.feed(sequence[1000:]) == expected


def test_equality_decides() -> None:
    ones = [1, 1.0, True, Decimal(1), Fraction(1), np.int64(1), np.float64(1), 1 + 0j]
    assert RunDetector(min_copies=len(ones)).feed(ones) == [Run(0, 1, 8.0, 8)]
    # 0 and 2**61 - 1 have one hash and are not equal.
    assert hash(0) == hash(2**61 - 1)
    assert RunDetector().feed([0, 2**61 - 1, 0]) == []
    assert RunDetector().feed([-1, -2] * 3) == [Run(0, 2, 3.0, 6)]  # hash(-1) == hash(-2)
    assert RunDetector().feed([math.nan] * 9) == []
    assert RunDetector().feed(["1", 1, b"1"]) == []


def test_table_of_objects_forgets_but_never_confuses() -> None:
    detector = RunDetector(max_period=50)
    for index in range(20_000):
        assert detector.update(f"unique {index}") is None
    assert detector.feed(["a", "b", "c"] * 3) == [Run(20_000, 3, 3.0, 20_009)]


def test_reset_forgets() -> None:
    detector = RunDetector()
    detector.feed(["x", "y"] * 2)
    detector.reset()
    assert (detector.count, detector.run) == (0, None)
    assert detector.feed(["x", "y"] * 3) == [Run(0, 2, 3.0, 6)]


def test_memory_is_bounded_and_small_for_short_sequences() -> None:
    detector = RunDetector()
    assert detector.memory_bytes < 8 * 1024
    detector.feed(np.random.default_rng(0).integers(0, 1000, 20_000))
    full = detector.memory_bytes
    assert full < 96 * 1024
    detector.feed(np.random.default_rng(1).integers(0, 1000, 500_000))
    assert detector.memory_bytes == full


def test_repr_round_trips() -> None:
    detector = RunDetector(max_period=7, min_copies=2, min_length=9)
    assert repr(eval(repr(detector))) == repr(detector)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_period": 0}, ValueError, "max_period must be at least 1, got 0"),
        ({"max_period": 2**21}, ValueError, "max_period must be at most 1048576"),
        ({"max_period": 1.5}, TypeError, "max_period must be an integer, got 1.5"),
        ({"min_copies": 1}, ValueError, "min_copies must be at least 2, got 1"),
        ({"min_length": -1}, ValueError, "min_length must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        RunDetector(**arguments)
    assert isinstance(caught.value, MidstreamError)


def test_unhashable_symbol_is_named_and_nothing_is_taken() -> None:
    detector = RunDetector()
    with pytest.raises(TypeError, match=r"symbol must be hashable, got \[1\] \(list\)"):
        detector.update([1])
    assert detector.count == 0
    with pytest.raises(TypeError, match="symbols must be one-dimensional, got 2 axes"):
        detector.feed(np.zeros((2, 2), dtype=int))


def test_a_labelled_series_is_its_values() -> None:
    pandas = pytest.importorskip("pandas")
    labelled = pandas.Series([1, 2] * 3, index=list("fedcba"))
    assert RunDetector().feed(labelled) == RunDetector().feed([1, 2] * 3)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
def test_ctrl_c_stops_a_long_array() -> None:
    detector = RunDetector()
    symbols = np.arange(40_000_000, dtype=np.int64)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            detector.feed(symbols)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert detector.count < len(symbols)


def test_what_cannot_be_fed_keeps_what_was_found() -> None:
    detector = RunDetector()
    with pytest.raises(ArgumentTypeError, match=r"symbols must be iterable, got 5 \(int\)"):
        detector.feed(5)
    with pytest.raises(ArgumentTypeError, match="one-dimensional, got 2 axes"):
        detector.feed(np.zeros((2, 2), int))
    assert detector.count == 0
    with pytest.raises(ArgumentTypeError, match="hashable") as raised:
        detector.feed([*"abcabcabc", [], *"xyz"])
    assert raised.value.found == [Run(start=0, period=3, copies=3.0, end=9)]
    assert detector.count == 9
