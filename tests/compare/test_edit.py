"""Edit distance and LCS against the textbook, at the level in use (`.ci/run` repeats each)."""

from __future__ import annotations

import array
import itertools
import math
import random
import signal
import threading
from collections import UserList, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import edit as reference

from midstream import MidstreamError
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.compare import lcs, lcs_sequence, levenshtein

#: Below, at and above what a word, a vector, two of them and a strip hold.
EDGES = [0, 1, 2, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 320, 448, 511, 512, 513]
LONG_EDGES = [1023, 1024, 1025, 1087, 1536, 1537, 2048, 2049]


def noisy(rng: random.Random, sequence: list[int], edits: int, alphabet: int) -> list[int]:
    """The sequence after some random edits."""
    out = list(sequence)
    for _ in range(edits):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(3):
            case 0:
                out.insert(at, rng.randrange(alphabet))
            case 1:
                del out[at : at + 1]
            case _:
                out[at : at + 1] = [rng.randrange(alphabet)]
    return out


def assert_common(a, b, expected: int) -> None:
    found = lcs_sequence(a, b)
    assert len(found) == expected
    assert reference.is_subsequence(found, a)
    assert reference.is_subsequence(found, b)


@pytest.mark.parametrize("lengths", list(itertools.product(range(6), repeat=2)), ids=str)
def test_all_short_sequences(lengths: tuple[int, int]) -> None:
    n, m = lengths
    for a in itertools.product("ab", repeat=n):
        x = "".join(a)
        for b in itertools.product("abc" if m < 4 else "ab", repeat=m):
            y = "".join(b)
            common = reference.lcs_by_enumeration(x, y)
            assert common == reference.lcs(x, y)
            assert levenshtein(x, y) == levenshtein(a, b) == reference.levenshtein(x, y)
            assert lcs(x, y) == lcs(a, b) == common
            assert levenshtein(x, y, weights=(1, 1, 2)) == n + m - 2 * common
            assert_common(x, y, common)


@pytest.mark.parametrize("n", range(131))
def test_every_length_around_one_and_two_words(n: int) -> None:
    rng = random.Random(n)
    for m in {0, 1, max(0, n - 1), n, n + 1, 64, 130}:
        alphabet = rng.choice([2, 4, 300])
        a = [rng.randrange(alphabet) for _ in range(n)]
        b = [rng.randrange(alphabet) for _ in range(m)]
        distance, common = reference.levenshtein(a, b), reference.lcs(a, b)
        x, y = "".join(map(chr, a)), "".join(map(chr, b))
        assert levenshtein(a, b) == levenshtein(x, y) == distance
        assert lcs(a, b) == lcs(x, y) == common
        assert_common(a, b, common)
        if alphabet < 256:
            assert levenshtein(bytes(a), bytes(b)) == distance
            assert lcs(bytes(a), bytes(b)) == common


@pytest.mark.parametrize("n", EDGES + LONG_EDGES)
def test_lengths_around_strips(n: int) -> None:
    rng = random.Random(n)
    for m in [*rng.sample(EDGES + LONG_EDGES, 4), n]:
        alphabet = rng.choice([2, 20, 5000])
        a = np.array([rng.randrange(alphabet) for _ in range(n)], dtype=np.int64)
        b = np.array([rng.randrange(alphabet) for _ in range(m)], dtype=np.int64)
        indel = reference.levenshtein_arrays(a, b, substitute=2)
        assert levenshtein(a, b) == reference.levenshtein_arrays(a, b)
        assert lcs(a, b) == (n + m - indel) // 2
        assert_common(a.tolist(), b.tolist(), (n + m - indel) // 2)


def test_long_sequences_of_few_edits() -> None:
    """Each symbol is there once, so that each edit costs, and none costs less."""
    a = np.arange(150_000)
    b = np.delete(a, [7, 70_000, 149_000])
    b[[0, 9000, 65_536, 65_537, 131_072, 149_996]] = -1 - np.arange(6)
    assert levenshtein(a, b) == levenshtein(b, a) == 9
    assert levenshtein(a, b, cutoff=9) == 9
    assert levenshtein(a, b, cutoff=8) == 9  # one more than that
    assert levenshtein(a, b, cutoff=3) == 4


def test_a_path_far_from_the_diagonal() -> None:
    """The shorter one is the end of the longer one but for some symbols, each there once."""
    n, shift = 12_000, 3000
    a = np.arange(n)
    b = np.concatenate([np.arange(n, n + shift), a])
    places = np.array([0, 100, 2000, 4095, 9000, n - 1])
    b[shift + places] = -1 - np.arange(len(places))
    common = n - len(places)
    for x, y in ((a, b), (b, a), (a[::-1], b[::-1])):
        assert lcs(x, y) == common
        assert levenshtein(x, y) == shift + len(places)


@pytest.mark.parametrize("n", [1, 5, 64, 100, 129, 200])
def test_every_cutoff(n: int) -> None:
    rng = random.Random(n)
    a = [rng.randrange(4) for _ in range(n)]
    for b in (noisy(rng, a, n // 10 + 1, 4), [rng.randrange(4) for _ in range(n + 7)]):
        for weights in ((1, 1, 1), (3, 3, 3), (2, 2, 4), (1, 2, 3), (1, 2, 2)):
            distance = reference.levenshtein(a, b, weights)
            for cutoff in range(distance + 3):
                expected = distance if distance <= cutoff else cutoff + 1
                assert levenshtein(a, b, weights=weights, cutoff=cutoff) == expected


@pytest.mark.parametrize("seed", range(30))
def test_close_sequences(seed: int) -> None:
    # Around the 31 diagonals on either side that one word holds.
    rng = random.Random(seed)
    alphabet = rng.choice([2, 4, 1000])
    a = [rng.randrange(alphabet) for _ in range(rng.randrange(129, 400))]
    b = noisy(rng, a, rng.randrange(60), alphabet)
    distance = reference.levenshtein(a, b)
    assert levenshtein(a, b) == levenshtein(b, a) == distance
    for cutoff in range(36):
        assert levenshtein(a, b, cutoff=cutoff) == min(distance, cutoff + 1)


@pytest.mark.parametrize("seed", range(12))
def test_long_sequences_and_cutoffs(seed: int) -> None:
    # Several strips, narrow and wide bands: close, far, shifted, of very different lengths.
    rng = random.Random(seed)
    alphabet = rng.choice([2, 4, 26, 10**6])
    n = rng.randrange(1500, 4500)
    a = [rng.randrange(alphabet) for _ in range(n)]
    b = [
        noisy(rng, a, rng.choice([3, 40, 400]), alphabet),
        a[rng.randrange(900) :] + [rng.randrange(alphabet) for _ in range(rng.randrange(900))],
        [rng.randrange(alphabet) for _ in range(rng.randrange(1100, 5000))],
        a[: n // 2] + [rng.randrange(alphabet) for _ in range(n // 2)],
    ][seed % 4]
    x, y = np.array(a), np.array(b)
    distance = reference.levenshtein_arrays(x, y)
    indel = reference.levenshtein_arrays(x, y, substitute=2)
    assert levenshtein(a, b) == levenshtein(y, x) == distance
    assert lcs(a, b) == (len(a) + len(b) - indel) // 2
    for cutoff in {0, distance // 3, distance - 1, distance, distance + 1, 2 * distance}:
        assert levenshtein(a, b, cutoff=cutoff) == min(distance, cutoff + 1)
        assert levenshtein(a, b, cutoff=cutoff, weights=(1, 1, 2)) == min(indel, cutoff + 1)
    assert_common(a, b, (len(a) + len(b) - indel) // 2)


def test_a_longest_common_subsequence_of_long_sequences() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 50, 6000), rng.integers(0, 50, 9000)
    assert_common(a.tolist(), b.tolist(), lcs(a, b))
    assert_common(a.tolist(), a[::2].tolist(), 3000)
    assert_common([1] * 200_000, [2, 1, 3], 1)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=90),
    st.lists(st.integers(0, 3), max_size=90),
    st.tuples(*[st.integers(0, 6)] * 3),
)
def test_weights(a, b, weights) -> None:
    expected = reference.levenshtein(a, b, weights)
    assert levenshtein(a, b, weights=weights) == expected
    insert, delete, substitute = weights
    assert levenshtein(b, a, weights=(delete, insert, substitute)) == expected


def test_heavy_weights() -> None:
    most = 2**31 - 1
    for weights in ((most, most, most), (most, most - 1, most), (10**6, 1, 10**6)):
        for a, b in (("kitten" * 20, "sitting" * 15), ("", "abc"), ("abc", "")):
            assert levenshtein(a, b, weights=weights) == reference.levenshtein(a, b, weights)
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 4, 300), rng.integers(0, 4, 270)
    assert levenshtein(a, b, weights=(2, 3, 4)) == reference.levenshtein(a, b, (2, 3, 4))


@settings(max_examples=200, deadline=None)
@given(st.text("abé", max_size=80), st.text("ab\u0100\U0001f600", max_size=80))
def test_text_of_every_width(a: str, b: str) -> None:
    assert levenshtein(a, b) == levenshtein(list(a), list(b)) == reference.levenshtein(a, b)
    assert levenshtein(b, a) == levenshtein(a, b)
    assert lcs(a, b) == reference.lcs(a, b)
    assert isinstance(lcs_sequence(a, b), str)
    assert_common(b, a, lcs(a, b))


SYMBOLS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**61 - 1, -(2**61), 2**63, -(2**63), 2**64, 1.0, 0.0, -0.0, 2.5, math.nan]),
    st.booleans(),
    st.none(),
    st.sampled_from(["a", "b", "", b"a", (1, 2), (1, 2.0), frozenset({1})]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(SYMBOLS, max_size=30), st.lists(SYMBOLS, max_size=30))
def test_symbols_of_any_type(a, b) -> None:
    assert levenshtein(a, b) == reference.levenshtein(a, b)
    assert lcs(tuple(a), UserList(b)) == reference.lcs(a, b)
    assert_common(a, b, reference.lcs(a, b))


def test_equality_decides_and_no_hash() -> None:
    assert hash(0) == hash(2**61 - 1)
    assert levenshtein([0], [2**61 - 1]) == 1
    assert hash(-1) == hash(-2)
    assert levenshtein([-1], [-2]) == 1
    assert levenshtein([1, 1.0, True], [True, 1, 1.0]) == 0
    assert levenshtein([2**70, -(2**70)], [2**70, 2**70]) == 1
    nan = math.nan
    assert levenshtein([nan], [nan]) == 1
    assert lcs([nan, 1, nan], [nan, 1, nan]) == 1
    assert levenshtein(np.array([nan, 1.5]), np.array([nan, 1.5])) == 1


def test_kinds_may_be_mixed() -> None:
    assert levenshtein("ab", ["a", "b"]) == 0
    assert levenshtein(b"ab", [97, 98]) == 0
    assert levenshtein(b"ab", np.array([97, 98], dtype=np.uint16)) == 0
    assert levenshtein(b"ab", "ab") == 2
    assert levenshtein(range(5), (0, 1, 2, 4)) == 1
    assert levenshtein(deque("abc"), "abd") == 1
    assert levenshtein([True, False], np.array([True, False])) == 0
    assert levenshtein(np.array([1.0, 2.0]), [1, 2]) == 0
    assert levenshtein(np.array([1, 2], dtype=object), [1, 2]) == 0
    assert levenshtein(np.array(["x", "y"]), ["x", "z"]) == 1
    assert levenshtein(memoryview(b"ab"), bytearray(b"ac")) == 1
    assert levenshtein(array.array("h", [1, -2]), [1, -2]) == 0
    days = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")
    assert levenshtein(days, days.astype("datetime64[ns]")) == 0


@pytest.mark.parametrize("code", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("n", [7, 300])
def test_integer_arrays_of_every_layout(code: str, order: str, n: int) -> None:
    rng = np.random.default_rng(5)
    dtype = np.dtype(order + code)
    low, high = (-100, 100) if code[0] == "i" else (0, 200)
    plain = rng.integers(low, high, n).astype(dtype)
    other = rng.integers(low, high, n).tolist()
    expected = levenshtein(plain.tolist(), other)
    unaligned = np.frombuffer(b"x" + plain.tobytes(), dtype=dtype, offset=1)
    spread = np.zeros((n, 3), dtype=dtype)
    spread[:, 1] = plain
    frozen = plain.copy()
    frozen.flags.writeable = False
    for a in (plain, unaligned, spread[:, 1], frozen, plain[::-1].copy()[::-1]):
        assert levenshtein(a, other) == levenshtein(other, a) == expected
        assert levenshtein(a, plain.tolist()) == 0


def test_unsigned_integers_beyond_int64() -> None:
    high = np.array([2**64 - 1, 2**63, 5], dtype=np.uint64)
    assert levenshtein(high, high[::-1]) == 2
    assert levenshtein(high, [2**64 - 1, 2**63, 5]) == 0
    assert levenshtein(high, np.array([-1, -(2**63), 5])) == 2
    assert levenshtein(np.array([-1, -(2**63), 5]), high) == 2
    assert levenshtein(high, np.array([1, 2, 5])) == 2


def test_empty_sequences() -> None:
    for empty in ("", b"", [], (), np.array([], dtype=int), np.array([])):
        assert levenshtein(empty, "abc") == levenshtein("abc", empty) == 3
        assert levenshtein(empty, empty) == 0
        assert lcs(empty, [1, 2]) == lcs([1, 2], empty) == 0
        assert len(lcs_sequence(empty, "abc")) == len(lcs_sequence("abc", empty)) == 0
    assert levenshtein("", "abc", weights=(5, 7, 9)) == 15
    assert levenshtein("abc", "", weights=(5, 7, 9)) == 21


def test_a_common_subsequence_is_of_the_kind_of_the_first() -> None:
    assert lcs_sequence("abcd", "xbyd") == "bd"
    assert lcs_sequence(b"abcd", [98, 100]) == b"bd"
    assert lcs_sequence((1, 2, 3), [2, 3]) == (2, 3)
    assert lcs_sequence(deque([1, 2, 3]), [2, 3]) == [2, 3]
    found = lcs_sequence(np.array([1, 2, 3], dtype=">i2"), [1, 3])
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.dtype(">i2")
    assert found.tolist() == [1, 3]
    assert lcs_sequence(np.array([1, 2], dtype=np.uint8), [3]).dtype == np.uint8


def test_a_common_subsequence_of_a_labelled_series() -> None:
    pandas = pytest.importorskip("pandas")
    labelled = pandas.Series([3, 1, 4, 1, 5], index=list("abcde"))
    assert lcs_sequence(labelled, [1, 1, 5]).to_dict() == {"b": 1, "d": 1, "e": 5}
    assert len(lcs_sequence(labelled, [7])) == 0


@pytest.mark.parametrize("function", [levenshtein, lcs, lcs_sequence])
def test_bad_sequences_are_refused_by_name(function) -> None:
    for bad in (None, 5, 1.5, {1, 2}, {"a": 1}, iter("ab"), object()):
        with pytest.raises(ArgumentTypeError, match=r"^a must be a sequence, got"):
            function(bad, "ab")
        with pytest.raises(ArgumentTypeError, match=r"^b must be a sequence, got"):
            function([1, 2], bad)
    with pytest.raises(ArgumentTypeError, match=r"b must hold hashable symbols, got \[1\].*b\[1\]"):
        function([1, 2], [0, [1]])
    with pytest.raises(ArgumentValueError, match="a must be one-dimensional, got 2 axes"):
        function(np.zeros((2, 2), dtype=int), [1])
    with pytest.raises(ArgumentValueError, match="b must be one-dimensional"):
        function("ab", np.array(5.0))


@pytest.mark.parametrize("weights", [(1, 1, 0), (1, 1, 3), (2, 2, 1), (1, 2, 0)])
def test_weights_of_short_sequences(weights: tuple[int, int, int]) -> None:
    rng = random.Random(sum(weights))
    for _ in range(60):
        a, b = ([rng.randrange(3) for _ in range(rng.randrange(9))] for _ in range(2))
        assert levenshtein(a, b, weights=weights) == reference.levenshtein(a, b, weights)


def test_common_subsequences_of_bytearrays_are_bytes() -> None:
    a, b = bytearray(b"midstream"), b"mainstream"
    assert lcs_sequence(a, b) == b"mistream"
    assert type(lcs_sequence(a, b)) is bytes
    assert a == b"midstream"


@pytest.mark.parametrize("function", [levenshtein, lcs, lcs_sequence])
def test_dates_are_symbols_in_one_row(function) -> None:
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-01"], "M8[D]")
    assert levenshtein(days, days[1:]) == 1 and lcs(days, days[::-1]) == 3
    with pytest.raises(ArgumentValueError, match="a must be one-dimensional, got 2 axes"):
        function(days[None], days)
    with pytest.raises(ArgumentValueError, match="b must be one-dimensional, got 2 axes"):
        function(days, np.zeros((2, 2), int))


@pytest.mark.parametrize("function", [levenshtein, lcs, lcs_sequence])
def test_what_the_equality_of_symbols_raises_comes_through(function) -> None:
    class Sour:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise TypeError("not to be compared")

    with pytest.raises(TypeError, match="not to be compared"):
        function([Sour(), Sour()], ["a"])


def test_bad_weights_and_cutoffs_are_refused_by_name() -> None:
    with pytest.raises(ArgumentValueError, match=r"weights\[1\] must be at least 0, got -1"):
        levenshtein("a", "b", weights=(1, -1, 1))
    with pytest.raises(ArgumentValueError, match=r"weights\[0\] must be at most"):
        levenshtein("a", "b", weights=(2**31, 1, 1))
    with pytest.raises(ArgumentTypeError, match=r"weights\[2\] must be an integer, got 1.5"):
        levenshtein("a", "b", weights=(1, 1, 1.5))
    for bad in ((1, 1), 3, (1, 1, 1, 1), None):
        with pytest.raises(ArgumentValueError, match="weights must be three integers"):
            levenshtein("a", "b", weights=bad)
    with pytest.raises(ArgumentValueError, match="cutoff must be at least 0, got -1"):
        levenshtein("a", "b", cutoff=-1)
    with pytest.raises(ArgumentValueError, match="cutoff"):
        levenshtein("a", "b", cutoff=math.nan)
    with pytest.raises(ArgumentTypeError, match="cutoff must be a real number"):
        levenshtein("a", "b", cutoff="3")
    assert levenshtein("abc", "xyz", cutoff=math.inf) == 3
    assert levenshtein("abc", "xyz", cutoff=2.9) == 3
    assert levenshtein("abc", "xyz", cutoff=1.9) == 2


def test_errors_of_symbols_come_through() -> None:
    class Odd:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        levenshtein([Odd(), Odd()], [Odd()])
    assert not issubclass(ZeroDivisionError, MidstreamError)


def test_agrees_with_rapidfuzz() -> None:
    distance = pytest.importorskip("rapidfuzz.distance")
    rng = random.Random(9)
    for _ in range(300):
        n, m = rng.randrange(300), rng.randrange(300)
        letters = "abcdefghijklmnopqrstuvwxyzäöü€𝄞"[: rng.choice([2, 8, 31])]
        a, b = "".join(rng.choices(letters, k=n)), "".join(rng.choices(letters, k=m))
        weights = tuple(rng.randrange(1, 5) for _ in range(3))
        assert levenshtein(a, b) == distance.Levenshtein.distance(a, b)
        assert lcs(a, b) == distance.LCSseq.similarity(a, b)
        assert levenshtein(a, b, weights=weights) == distance.Levenshtein.distance(
            a, b, weights=weights
        )
        cutoff = rng.randrange(1, 200)
        assert levenshtein(a, b, cutoff=cutoff) == distance.Levenshtein.distance(
            a, b, score_cutoff=cutoff
        )


def test_agrees_with_edlib() -> None:
    edlib = pytest.importorskip("edlib")
    rng = random.Random(10)
    for _ in range(200):
        a = "".join(rng.choices("acgt", k=rng.randrange(1, 700)))
        b = "".join(map(chr, noisy(rng, list(map(ord, a)), rng.randrange(60), 128))) or "a"
        assert levenshtein(a, b) == edlib.align(a, b)["editDistance"]


def test_one_symbol_in_a_long_sequence() -> None:
    for place in (0, 1, 4000, 9999):
        long = [0] * 10_000
        long[place] = 1
        assert lcs_sequence(long, [1]) == lcs_sequence([1], long) == [1]
        # What is not there is no part, and of several the first is.
        assert lcs_sequence(long, [2]) == lcs_sequence([2], long) == []
        assert lcs_sequence(long, [0]) == lcs_sequence([0], long) == [0]


def test_a_short_sequence_against_a_very_long_one() -> None:
    text = "the quick brown fox " * 20_000
    for short in ("", "quick", "fox the " * 10, "x" * 130):
        for a, b in ((short, text), (list(map(ord, short)), text.encode()), (short, list(text))):
            if isinstance(b, bytes):
                a = np.array(a, dtype=np.uint8)
            assert levenshtein(a, b) == levenshtein(b, a)
            assert levenshtein(a, b) >= len(b) - len(a)
            assert lcs(a, b) == lcs(b, a) == (len(a) if set(short) != {"x"} else 130)


def test_threads_get_the_same_answers() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 9, 3000), rng.integers(0, 9, 3000)
    expected = levenshtein(a, b), lcs(a, b)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append((levenshtein(a, b), lcs(a, b))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 1, 2), (1, 2, 2)])
def test_a_signal_stops_a_long_comparison(weights) -> None:
    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 9, 2_000_000), rng.integers(0, 9, 2_000_000)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(StopError):
            levenshtein(a, b, weights=weights)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_sequence_that_changes_while_it_is_compared() -> None:
    class Shrinking(list):
        """Empty once it has been iterated over."""

        def __iter__(self):
            yield from list.__iter__(self)
            self.clear()

    assert lcs_sequence(Shrinking(["a", 1.5, "b"]), ["a", "b"]) == ["a", "b"]


def test_symbols_that_change_their_sequence_while_it_is_read() -> None:
    class Growing:
        def __hash__(self):
            sequence.append("x")
            return 1

    sequence: list[object] = ["a", Growing(), "b"]
    assert lcs(sequence, ("a", "b")) == 2
    sequence = ["a", Growing(), "b"]
    assert lcs_sequence(sequence, ("a", "b")) == ["a", "b"]


def test_masked_symbols_are_refused() -> None:
    masked = np.ma.masked_array([1, 2, 3], [0, 1, 0])
    with pytest.raises(ValueError, match="a must hold no masked symbols"):
        levenshtein(masked, [1, 2, 3])
    assert levenshtein(np.ma.masked_array([1, 2, 3]), [1, 2, 3]) == 0
