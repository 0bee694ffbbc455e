"""Suffix arrays and maximal repeats against their definitions."""

from __future__ import annotations

import array
import copy
import itertools
import math
import pickle
import random
import signal
import sys
import threading
from collections import UserList
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import repeats as oracle

from midstream import MidstreamError
from midstream._core.errors import ArgumentTypeError
from midstream.compare import Repeat, lcp_array, repeats, suffix_array
from midstream.compare._ranks import rank_symbols


def plain(found):
    return [(repeat.length, repeat.count, repeat.positions.tolist()) for repeat in found]


def check(symbols, **limits):
    expected = oracle.repeats(symbols, **limits)
    assert plain(repeats(symbols, **limits)) == expected
    return expected


def check_suffixes(symbols):
    expected = oracle.suffix_array(symbols)
    assert suffix_array(symbols).tolist() == expected
    lcp = oracle.lcp_array(symbols, expected)
    assert lcp_array(symbols).tolist() == lcp
    assert lcp_array(symbols, expected).tolist() == lcp


def fibonacci(length):
    shorter, longer = "a", "ab"
    while len(longer) < length:
        shorter, longer = longer, longer + shorter
    return longer[:length]


def hardest_order(n: int) -> list[int]:
    """An order of 0 .. n - 1 of which medians of three stay the smallest but one.

    M. D. McIlroy, "A killer adversary for quicksort" (1999): values are only decided on while a
    quicksort, here one with the steps of csrc/ms_repeats.c, compares them.
    """
    value: dict[int, int] = {}
    items = list(range(n))
    candidate = -1

    def before(a: int, b: int) -> bool:
        nonlocal candidate
        if a not in value and b not in value and a != b:
            value[a if a == candidate else b] = len(value)
        if a not in value:
            candidate = a
        elif b not in value:
            candidate = b
        return value.get(a, n) < value.get(b, n)

    first, count = 0, n
    while count > 16:
        a, b, c = first, first + count // 2, first + count - 1
        for x, y in ((a, b), (b, c), (a, b)):
            if before(items[y], items[x]):
                items[x], items[y] = items[y], items[x]
        pivot, left, right = items[b], first, first + count - 1
        while True:
            while before(items[left], pivot):
                left += 1
            while before(pivot, items[right]):
                right -= 1
            if left >= right:
                break
            items[left], items[right] = items[right], items[left]
            left, right = left + 1, right - 1
        below = left - first
        if (
            below < count - below
        ):  # sort the smaller part elsewhere; there is nothing to learn of it
            first, count = left, count - below
        else:
            count = below
    for item in items:
        value.setdefault(item, len(value))
    return [value[item] for item in range(n)]


def test_an_order_that_quicksort_cannot_split() -> None:
    """Each block of symbols of its own stands twice: repeats are found in the order of blocks."""
    n = 400
    lengths = [n - value for value in hardest_order(n)]
    blocks, symbol = [], 0
    for length in lengths:
        blocks.append(range(symbol, symbol + length))
        symbol += length
    text = []
    for _ in range(2):
        for block in blocks:
            text += [*block, symbol]  # and a symbol that stands nowhere else
            symbol += 1
    found = repeats(np.array(text), min_length=1)
    assert [repeat.length for repeat in found] == list(range(n, 0, -1))
    assert {repeat.count for repeat in found} == {2}
    starts = {length: block[0] for length, block in zip(lengths, blocks, strict=True)}
    for repeat in found:
        assert text[repeat.positions[0]] == text[repeat.positions[1]] == starts[repeat.length]


@pytest.mark.parametrize(("letters", "longest"), [("ab", 8), ("abc", 6)])
def test_every_short_text(letters: str, longest: int) -> None:
    for length in range(longest + 1):
        for symbols in itertools.product(letters, repeat=length):
            text = "".join(symbols)
            check_suffixes(text)
            for min_length in range(1, 5):
                for min_count in range(2, 5):
                    check(text, min_length=min_length, min_count=min_count)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.lists(st.integers(0, 1), max_size=60),
        st.lists(st.integers(-3, 3), max_size=60),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40),
        st.text(max_size=60),
        st.text(alphabet="ab\U0001f600\ud800", max_size=60),
        st.binary(max_size=60),
        # A unit over and over, with an end of its own.
        st.builds(
            lambda unit, times, end: unit * times + end,
            st.text(alphabet="ab", max_size=5),
            st.integers(0, 12),
            st.text(alphabet="abc", max_size=5),
        ),
    ),
    st.integers(1, 6),
    st.integers(2, 5),
)
def test_agrees_with_the_definition(symbols, min_length, min_count) -> None:
    check(symbols, min_length=min_length, min_count=min_count)
    check_suffixes(symbols)


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_definition_on_longer_text(seed: int) -> None:
    """Long enough for several levels of recursion in the sort."""
    rng = random.Random(seed)
    symbols: list[int] = []
    while len(symbols) < 300:
        if symbols and rng.random() < 0.5:
            start = rng.randrange(len(symbols))
            symbols += symbols[start : start + rng.randrange(1, 80)]
        else:
            symbols += [rng.randrange(rng.choice([2, 3, 100])) for _ in range(rng.randrange(1, 30))]
    check(symbols)
    check_suffixes(symbols)


@pytest.mark.parametrize(
    "text", ["a" * 200, "ab" * 100, "abc" * 67, fibonacci(233), "a" * 99 + "b" + "a" * 99]
)
def test_highly_repetitive_text(text: str) -> None:
    check(text, min_length=1)
    check_suffixes(text)


def test_larger_text_keeps_its_promises() -> None:
    """What can be verified where the oracle would take forever: every repeat is one, maximal."""
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 4, 50_000)
    suffixes = suffix_array(symbols)
    assert np.array_equal(np.sort(suffixes), np.arange(len(symbols)))
    data = symbols.astype(np.uint8).tobytes()
    assert all(data[a:] < data[b:] for a, b in itertools.pairwise(suffixes[:3000].tolist()))
    found = repeats(symbols, min_length=6)
    keys = [(-repeat.length, -repeat.count, int(repeat.positions[0])) for repeat in found]
    assert keys == sorted(set(keys))
    for length, count, positions in rng.choice(np.array(found, dtype=object), 300):
        assert len(positions) == count
        assert (np.diff(positions) > 0).all()
        copies = {data[start : start + length] for start in positions}
        assert len(copies) == 1
        overlapping = 0
        at = data.find(next(iter(copies)))
        while at >= 0:
            overlapping += 1
            at = data.find(next(iter(copies)), at + 1)
        assert overlapping == count
        assert len({data[p - 1] if p else None for p in positions}) > 1
        assert len({data[p + length : p + length + 1] for p in positions}) > 1


def test_repeats_in_the_worst_order_for_sorting() -> None:
    """Lengths on which a quicksort that takes the median of three parts off two at a time.

    Each word has symbols of its own and stands there twice, so that repeats are found in the order
    of their words.
    """
    k = 150
    ranks = [i if i % 2 == 0 else k + i - 1 for i in range(k)] + list(range(1, 2 * k, 2))
    assert sorted(ranks) == list(range(2 * k))
    symbols, expected, first = [], [], 0
    for rank in ranks:
        length = 2 * k + 1 - rank
        word = range(first, first + length)
        first += length
        begins = len(symbols)
        symbols += [*word, -1 - begins, *word, -2 - begins]
        expected.append((length, 2, [begins, begins + length + 1]))
    assert plain(repeats(symbols)) == sorted(expected, reverse=True)


SYMBOLS = [random.Random(3).randrange(5) for _ in range(120)]


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i2", ">i4", ">u8", "f2", "f4", "f8"]
)
@pytest.mark.parametrize("scale", [1, 25, "wide"])
def test_arrays_and_lists_agree(dtype: str, scale) -> None:
    if scale == "wide":  # values too far apart for a table
        bits = np.dtype(dtype).itemsize * 8
        scale = {8: 25, 16: 8000, 32: 500_000_000, 64: 2**60}[bits]
    values = np.array(SYMBOLS, "f8") * scale
    if np.dtype(dtype).kind != "u":
        values -= 2 * scale
    values = values.astype(dtype)
    symbols = values.tolist()
    expected = check(symbols)
    assert plain(repeats(values)) == expected
    order = oracle.suffix_array(symbols)
    assert suffix_array(values).tolist() == order
    assert suffix_array(symbols).tolist() == order
    # Strided, backwards, read-only, unaligned, and through the buffer protocol.
    assert plain(repeats(np.repeat(values, 3)[::3])) == expected
    assert plain(repeats(values[::-1].copy()[::-1])) == expected
    read_only = values.copy()
    read_only.flags.writeable = False
    assert plain(repeats(read_only)) == expected
    raw = np.frombuffer(b"x" + values.tobytes(), np.uint8)[1:].view(values.dtype)
    assert plain(repeats(raw)) == expected
    if np.dtype(dtype).isnative and np.dtype(dtype).kind != "f":
        assert plain(repeats(memoryview(values))) == expected
        assert plain(repeats(array.array(np.dtype(dtype).char, symbols))) == expected


def test_kinds_of_sequence_agree() -> None:
    expected = check(SYMBOLS)
    text = "".join("abcde"[symbol] for symbol in SYMBOLS)
    for same in (
        tuple(SYMBOLS),
        UserList(SYMBOLS),
        bytes(SYMBOLS),
        bytearray(SYMBOLS),
        memoryview(bytes(SYMBOLS)),
        text,
        text.encode(),
        text.replace("a", "ä"),
        text.replace("a", "Ω"),
        text.replace("a", "\U0001f600"),
        type("Text", (str,), {"__len__": lambda self: 3})(text),
        list(text),
        np.array(list(text)),
        np.array(list(text), dtype=object),
        np.array(SYMBOLS, dtype="M8[s]"),
        np.array(SYMBOLS) + 1j,
        np.array(SYMBOLS, dtype=np.longdouble),
        [f"word {symbol}" for symbol in SYMBOLS],
        [(symbol, None) for symbol in SYMBOLS],
        [symbol + 2**70 for symbol in SYMBOLS],
    ):
        assert plain(repeats(same)) == expected
    flags = [symbol > 1 for symbol in SYMBOLS]
    assert plain(repeats(np.array(flags))) == check(flags)


def test_equality_decides() -> None:
    ones = [1, 1.0, True, Decimal(1), Fraction(1), np.int64(1), np.float64(1), 1 + 0j]
    assert plain(repeats(ones)) == oracle.repeats([1] * len(ones))
    assert hash(0) == hash(2**61 - 1)
    assert repeats([0, 5, 2**61 - 1, 5]) == []
    assert repeats([0, 2**61 - 1] * 2) == [Repeat(2, 2, [0, 2])]
    assert repeats([-1, 7, -2, 7]) == []  # hash(-1) == hash(-2)
    assert repeats([math.nan] * 9, min_length=1) == []
    assert repeats(np.full(9, math.nan), min_length=1) == []
    assert repeats(np.full(9, np.datetime64("NaT")), min_length=1) == []
    assert repeats(["1", 1, b"1", "x"], min_length=1) == []
    assert repeats(np.array([0.0, 1.0, -0.0, 1.0])) == [Repeat(2, 2, [0, 2])]
    nan = math.nan
    for holed in ([1.0, 2.0, nan, 1.0, 2.0, nan, 1.0, 2.0], [1, "b", nan, 1, "b", nan, 1, "b"]):
        assert plain(repeats(holed)) == [(2, 3, [0, 3, 6])]
    assert plain(repeats(np.array([1.0, 2.0, nan] * 2))) == [(2, 2, [0, 3])]


def test_symbols_of_one_hash() -> None:
    class Collides:
        def __init__(self, value):
            self.value = value

        def __hash__(self):
            return 7

        def __eq__(self, other):
            return self.value == other.value

    assert plain(repeats([Collides(symbol) for symbol in SYMBOLS])) == oracle.repeats(SYMBOLS)


def test_order_of_suffixes() -> None:
    assert suffix_array(["b", "a", "c", "a"]).tolist() == [3, 1, 0, 2]
    assert suffix_array([b"b", b"a"]).tolist() == [1, 0]
    assert suffix_array([2, 0.5, True]).tolist() == [1, 2, 0]
    assert suffix_array([-(2**63), 2**63, -5]).tolist() == [0, 2, 1]
    assert suffix_array(np.array([2**63, 5, 2**64 - 1], dtype=np.uint64)).tolist() == [1, 0, 2]
    # No order of their own: as they appear. NaN last, in the list's order.
    assert suffix_array(["b", 1, "a"]).tolist() == [0, 1, 2]
    assert suffix_array([(2,), (1,)]).tolist() == [0, 1]
    for sequence in ([math.nan, 2.0, math.nan, 1.0], np.array([math.nan, 2.0, math.nan, 1.0])):
        assert suffix_array(sequence).tolist() == [3, 1, 0, 2]
    # Code points, also where UTF-16 would have it otherwise, and too far apart for a table.
    wide = "\U0010ffff\uffff\ud800a"
    assert suffix_array(wide).tolist() == [3, 2, 1, 0]


def test_repeat_is_a_value() -> None:
    (found,) = repeats("abcxabc")
    assert (found.length, found.count) == (3, 2)
    assert found.positions.dtype == np.int64
    assert found.positions.tolist() == [0, 4]
    found.positions[0] = 99
    assert found.positions.tolist() == [0, 4]
    length, count, positions = found
    assert (length, count, positions.tolist()) == (3, 2, [0, 4])
    same = Repeat(3, 2, [0, 4])
    assert found == same
    assert hash(found) == hash(same)
    assert found != Repeat(3, 2, [0, 5])
    assert found != Repeat(2, 2, [0, 4])
    assert found != (3, 2, [0, 4])
    assert repr(found) == "Repeat(length=3, count=2, positions=[0, 4])"
    assert pickle.loads(pickle.dumps(found)) == found
    assert copy.deepcopy(found) == found
    assert repr(repeats("a" * 30)[-1]).endswith("positions=[ 0,  1,  2, ..., 26, 27, 28])")
    with pytest.raises(AttributeError):
        found.length = 4
    # It keeps what its positions are made from.
    kept = repeats("abcxabc")[0]
    assert kept.positions.tolist() == [0, 4]


def test_result_is_a_list() -> None:
    found = repeats("mississippi", min_length=1)
    assert type(found) is list
    assert found == sorted(found, key=lambda r: (-r.length, -r.count, r.positions[0]))


@pytest.mark.parametrize("empty", ["", b"", [], (), np.array([]), np.array([], dtype=np.int16)])
def test_empty_and_single(empty) -> None:
    assert repeats(empty, min_length=1) == []
    assert suffix_array(empty).tolist() == []
    assert lcp_array(empty).tolist() == []
    assert repeats("a", min_length=1) == []
    assert suffix_array([5]).tolist() == [0]
    assert lcp_array([5]).tolist() == [0]


def test_limits_beyond_the_sequence() -> None:
    assert repeats("abab", min_length=2**100) == []
    assert repeats("abab", min_count=2**100) == []


class Shrinks(list):
    """A sequence that tells another length than it has."""

    def __len__(self):
        return super().__len__() + 1


class Grows(list):
    def __len__(self):
        return super().__len__() - 1


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: repeats(5), TypeError, "sequence .*5"),
        (lambda: repeats(None), TypeError, "sequence"),
        (lambda: repeats(iter("ab")), TypeError, "sequence"),
        (lambda: repeats({1, 2}), TypeError, "sequence"),
        (lambda: repeats({1: 2}), TypeError, "sequence"),
        (lambda: repeats([1, [2]]), TypeError, r"sequence .*\[2\].*sequence\[1\]"),
        (lambda: repeats(np.zeros((2, 2))), TypeError, "sequence .*2 axes"),
        (lambda: repeats(np.array(1)), TypeError, "sequence .*0 axes"),
        (lambda: repeats(Shrinks([1, 2])), ValueError, "sequence"),
        (lambda: repeats(Grows([1, 2])), ValueError, "sequence"),
        (lambda: repeats("ab", min_length=0), ValueError, "min_length .*0"),
        (lambda: repeats("ab", min_length=1.5), TypeError, "min_length .*1.5"),
        (lambda: repeats("ab", min_count=1), ValueError, "min_count .*1"),
        (lambda: repeats("ab", min_count="2"), TypeError, "min_count .*2"),
        (lambda: suffix_array(5), TypeError, "sequence"),
        (lambda: lcp_array("ab", [0]), ValueError, "suffixes"),
        (lambda: lcp_array("ab", [0, 2]), ValueError, "suffixes"),
        (lambda: lcp_array("ab", [0, -1]), ValueError, "suffixes"),
        (lambda: lcp_array("ab", [1, 1]), ValueError, "suffixes"),
        (lambda: lcp_array("ab", [0.0, 1.0]), TypeError, "suffixes"),
        (lambda: lcp_array("ab", [[0, 1]]), TypeError, "suffixes"),
        (lambda: lcp_array("ab", [0, [1]]), TypeError, "suffixes"),
        (lambda: Repeat(0, 2, [0, 1]), ValueError, "length"),
        (lambda: Repeat(1, 2, [0]), ValueError, "positions"),
        (lambda: Repeat(1, 2, [1, 0]), ValueError, "positions"),
        (lambda: Repeat(1, 2, [0, 2**31]), ValueError, "positions"),
        (lambda: Repeat(1, 2, ["a", "b"]), TypeError, "positions"),
    ],
)
def test_bad_input_is_named(call, error, names) -> None:
    with pytest.raises(error, match=names) as caught:
        call()
    assert isinstance(caught.value, MidstreamError)


def test_errors_of_symbols_come_through() -> None:
    class Refuses:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise ZeroDivisionError

    class Unhashable:
        def __hash__(self):
            raise OSError

    with pytest.raises(ZeroDivisionError):
        repeats([Refuses(), Refuses()])
    with pytest.raises(OSError):
        repeats([Unhashable()])


def test_what_is_only_half_a_sequence() -> None:
    class Sized:
        def __len__(self) -> int:
            return 3

    class Sour(Sized):
        def __iter__(self):
            raise TypeError("no symbols today")

    class Endless(UserList):
        def __len__(self) -> int:
            raise TypeError("no length today")

    with pytest.raises(ArgumentTypeError, match=r"sequence must be a sequence, got .*Sized"):
        suffix_array(Sized())
    with pytest.raises(TypeError, match="no symbols today"):
        suffix_array(Sour())
    with pytest.raises(TypeError, match="no length today"):
        suffix_array(Endless("abc"))


def test_symbols_that_equal_others_but_not_themselves() -> None:
    class Odd:
        def __hash__(self) -> int:
            return hash(7)

        def __eq__(self, other: object) -> bool:
            return other == 7 if type(other) is int else False

    # Each is a symbol of its own, also where a 7 came before.
    plain_text = [7, 8, 7, 8]
    assert plain(repeats(plain_text, min_length=2)) == [(2, 2, [0, 2])]
    assert repeats([Odd(), 8, Odd(), 8], min_length=2) == []
    assert repeats([7, 8, Odd(), 8], min_length=2) == []
    assert repeats([7, 7, Odd(), 7, 7], min_length=2)[0].positions.tolist() == [0, 3]


def test_what_the_equality_of_symbols_raises_comes_through() -> None:
    class Sour:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise TypeError("not to be compared")

    with pytest.raises(TypeError, match="not to be compared"):
        suffix_array([Sour(), Sour()])


def test_a_list_that_changes_under_its_symbols() -> None:
    symbols: list = []

    class Clears:
        def __hash__(self):
            symbols.clear()
            return 1

    symbols += [Clears() for _ in range(50)]
    with pytest.raises(ValueError, match="sequence"):
        repeats(symbols)


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
def test_an_array_that_changes_while_it_is_ranked() -> None:
    """Its first value, which was read when the range was taken, leaves that range."""
    values = np.zeros(5 << 20, np.uint8)

    def change(number, frame):
        values[0] = 200

    previous = signal.signal(signal.SIGALRM, change)
    try:
        for delay in (0.0003, 0.0006, 0.001, 0.002):
            values[0] = 0
            signal.setitimer(signal.ITIMER_REAL, delay)
            ranks, symbols, *_ = rank_symbols("sequence", values)
            assert symbols in (1, 2)
            assert ranks[1:].max() == ranks[1:].min() < symbols
            assert 0 <= ranks[0] < symbols
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_too_much_for_memory_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("midstream._core.memory.available_bytes", lambda: 20 << 20)
    with pytest.raises(MemoryError, match="suffix array of 1000000 symbols") as caught:
        repeats(bytes(1_000_000))
    assert isinstance(caught.value, MidstreamError)
    # What fits at first, and not as a list.
    with pytest.raises(MemoryError, match="list of 699997 repeats"):
        repeats(bytes(699_999))


def test_threads_agree() -> None:
    text = np.random.default_rng(1).integers(0, 3, 20_000)
    expected = repeats(text, min_length=8)
    assert expected
    results: list = [None] * 4

    def work(index):
        results[index] = repeats(text, min_length=8)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
@pytest.mark.parametrize("kind", ["random", "constant"])
def test_signals_are_answered(kind: str) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(number, frame):
        raise Interrupted

    size = 6_000_000
    text = np.random.default_rng(0).integers(0, 4, size) if kind == "random" else bytes(size)
    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Interrupted):
            repeats(text, min_length=10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
