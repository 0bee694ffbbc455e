"""Grammars: the two invariants, what they expand to, names, bounds, snapshots."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from reference import sequitur

import midstream
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream.meta.grammar import Grammar, Part, Rule, content_name
from midstream.meta.levels import Levels


def written(grammar):
    """The grammar as the reference has it, from what it tells; rules named by their place."""
    flat = grammar._flat()
    out = {}
    for number in range(flat.n_rules + 1):
        part = slice(int(flat.offsets[number]), int(flat.offsets[number + 1]))
        out["top" if number == 0 else f"r{number}"] = [
            f"r{symbol}" if kind else symbol
            for symbol, kind in zip(
                flat.symbols[part].tolist(), flat.kinds[part].tolist(), strict=True
            )
        ]
    return out


def examine(grammar, pushed):
    """Look at everything, without trusting `check` alone."""
    grammar.check()
    right_sides = written(grammar)
    assert sequitur.violations(right_sides) == []
    assert sequitur.expansion(right_sides) == list(pushed[grammar.start :])
    assert grammar.expand().tolist() == list(pushed[grammar.start :])
    assert grammar.n_pushed == len(pushed)
    assert grammar.size == sum(map(len, right_sides.values())) <= grammar.max_symbols
    assert grammar.n_rules == len(right_sides) - 1 <= grammar.max_rules


def grown(symbols, **options):
    grammar = Grammar(**options)
    grammar.feed(symbols)
    return grammar


def fibonacci(n):
    shorter, longer = [0], [0, 1]
    while len(longer) < n:
        shorter, longer = longer, longer + shorter
    return longer[:n]


def thue_morse(n):
    return [k.bit_count() & 1 for k in range(n)]


def de_bruijn(letters, order):
    """Every word of `order` letters once, cyclically (Lyndon words in order)."""
    word, out = [0] * (letters * order), []

    def extend(t, p):
        if t > order:
            if order % p == 0:
                out.extend(word[1 : p + 1])
            return
        word[t] = word[t - p]
        extend(t + 1, p)
        for letter in range(word[t - p] + 1, letters):
            word[t] = letter
            extend(t + 1, t)

    extend(1, 1)
    return out


# ---- the invariants ----


def test_every_short_string():
    # Shorter strings are looked at on the way.
    count = 0
    for word in itertools.product(range(3), repeat=10):
        if word[:2] not in ((0, 0), (0, 1)):
            break  # renaming letters changes nothing
        grammar = Grammar(max_symbols=64)
        for symbol in word:
            grammar.push(symbol)
            assert grammar._wrong() is None
        assert sequitur.violations(written(grammar)) == []
        assert tuple(grammar.expand().tolist()) == word
        count += 1
    assert count == 2 * 3**8


def test_every_short_string_by_the_definitions():
    for n in range(8):
        for word in itertools.product(range(3), repeat=n):
            examine(grown(list(word)), word)


@pytest.mark.parametrize("max_symbols", [1, 2, 3, 4, 5, 7])
def test_every_short_string_in_a_small_window(max_symbols):
    for word in itertools.product(range(2), repeat=9):
        grammar = Grammar(max_symbols=max_symbols)
        for symbol in word:
            grammar.push(symbol)
            assert grammar._wrong() is None
        assert tuple(grammar.expand().tolist()) == word[grammar.start :]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 100, 1000])
def test_one_symbol_over_and_over(n):
    examine(grown([7] * n), [7] * n)
    assert grown([7] * n).size <= 2 * n.bit_length() + 3


def test_runs_between_others():
    for lengths in itertools.product(range(1, 6), repeat=4):
        word = list(itertools.chain(*([k % 2] * n for k, n in enumerate(lengths))))
        examine(grown(word), word)


@pytest.mark.parametrize("make", [fibonacci, thue_morse])
@pytest.mark.parametrize("max_symbols", [1 << 20, 20])
def test_words_full_of_repeats(make, max_symbols):
    word = make(2000)
    grammar = Grammar(max_symbols=max_symbols)
    for symbol in word:
        grammar.push(symbol)
        assert grammar._wrong() is None
    examine(grammar, word)
    assert grammar.size < 400


@pytest.mark.parametrize(("letters", "order"), [(2, 4), (2, 10), (3, 5), (10, 3), (256, 2)])
def test_words_without_repeats(letters, order):
    word = de_bruijn(letters, order)
    assert len(word) == letters**order
    grammar = grown(word)
    grammar.check()
    assert grammar.expand().tolist() == word
    if order == 2:
        # No two places have the same digram, so there is nothing to learn.
        assert grammar.n_rules == 0


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 9))),
    st.sampled_from([1, 2, 3, 5, 8, 13, 30, 1000]),
    st.sampled_from([None, 1, 2, 5]),
)
@settings(max_examples=150, deadline=None)
def test_repeated_pieces(pieces, max_symbols, max_rules):
    word = [symbol for piece, times in pieces for symbol in piece * times]
    grammar = Grammar(max_symbols=max_symbols, max_rules=max_rules)
    for symbol in word:
        grammar.push(symbol)
        assert grammar._wrong() is None
    examine(grammar, word)


def test_twin_rules_are_united():
    # Two rules come to have the same two symbols: the classic algorithm leaves one of one symbol.
    word = [1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1]
    word += [0, 0, 1, 1, 1, 0, 0, 1, 0, 0]
    examine(grown(word, max_symbols=40), word)


def test_digrams_of_one_hash():
    """The index goes by 32 bits of a digram: those of 2 and either of these are the same."""
    one, other = 4009567327, 3169142263
    word = [2, one, 2, other, 5, 2, other, 6, 2, one, 2, one, 2, other]
    grammar = Grammar()
    for n, symbol in enumerate(word):
        grammar.push(symbol)
        examine(grammar, word[: n + 1])
    found = {tuple(grammar.expand(rule).tolist()): rule.occurrences for rule in grammar.rules()}
    assert found[2, one] == found[2, other] == 3


def test_two_rules_lose_their_last_but_one_use_at_once():
    word = [1, 0, 0, 0, 0, 1, 2, 0, 0, 1, 2, 1, 0, 0, 1, 2]
    grammar = Grammar(max_symbols=20, max_rules=3)
    for n, symbol in enumerate(word):
        grammar.push(symbol)
        examine(grammar, word[: n + 1])


def test_against_the_naive_inducer():
    rng = random.Random(0)
    ours = theirs = 0
    for _ in range(60):
        letters = rng.randrange(1, 5)
        word = [rng.randrange(letters) for _ in range(rng.randrange(60))]
        naive = sequitur.Naive()
        for symbol in word:
            naive.push(symbol)
        assert sequitur.violations(naive.grammar) == []
        assert sequitur.expansion(naive.grammar) == word
        ours += grown(word).size
        theirs += naive.size
    assert abs(ours - theirs) < 0.05 * theirs


def test_naive_forgets_likewise():
    # Where nothing repeats, both forget one symbol a push.
    naive, grammar = sequitur.Naive(5), Grammar(max_symbols=5)
    for symbol in range(20):
        naive.push(symbol)
        grammar.push(symbol)
        assert naive.start == grammar.start
        assert naive.grammar["top"] == grammar.expand().tolist()


class Pushing(RuleBasedStateMachine):
    """Pushes, batches, snapshots and copies in any order; everything is looked at after each."""

    def __init__(self):
        super().__init__()
        self.grammar = None
        self.pushed = []
        self.saved = None

    @precondition(lambda self: self.grammar is None)
    @rule(max_symbols=st.sampled_from([1, 2, 4, 7, 12, 25, 200]), few=st.booleans())
    def begin(self, max_symbols, few):
        self.options = {"max_symbols": max_symbols, "max_rules": 2 if few else None}
        self.grammar = Grammar(**self.options)

    @precondition(lambda self: self.grammar is not None)
    @rule(symbol=st.integers(0, 2))
    def push(self, symbol):
        self.grammar.push(symbol)
        self.pushed.append(symbol)

    @precondition(lambda self: self.grammar is not None)
    @rule(piece=st.lists(st.integers(0, 2), min_size=1, max_size=6), times=st.integers(1, 8))
    def feed(self, piece, times):
        self.grammar.feed(piece * times)
        self.pushed += piece * times

    @precondition(lambda self: self.grammar is not None)
    @rule()
    def save(self):
        self.saved = self.grammar.snapshot(), list(self.pushed)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def go_back(self):
        self.grammar.restore(self.saved[0])
        self.pushed = list(self.saved[1])
        assert self.grammar.snapshot() == self.saved[0]

    @precondition(lambda self: self.grammar is not None)
    @rule(more=st.lists(st.integers(0, 2), max_size=10))
    def fork(self, more):
        # A copy goes on exactly as the original.
        other = self.grammar.copy()
        other.feed(more)
        self.grammar.feed(more)
        self.pushed += more
        assert other.digest == self.grammar.digest

    @precondition(lambda self: self.grammar is not None)
    @invariant()
    def holds(self):
        examine(self.grammar, self.pushed)


TestPushing = Pushing.TestCase
TestPushing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


# ---- names ----


def test_names_are_of_expansions():
    grammar = grown(b"how much wood would a woodchuck chuck if a woodchuck could chuck wood")
    for found in grammar.rules():
        symbols = grammar.expand(found)
        assert len(symbols) == found.length
        assert content_name(symbols) == found.name
        assert grammar.find(found.name) is not None


def test_names_do_not_depend_on_the_grammar():
    # The same phrase, once out of pieces that are rules already, once as a whole.
    one = grown(b"ab.ab,cd;cd!abcd?abcd")
    other = grown(b"abcd?abcd")
    assert one.find(content_name(b"abcd")) is not None
    assert one.find(content_name(b"abcd")).right != other.find(content_name(b"abcd")).right
    assert one.find(content_name(b"abcd")).name == other.find(content_name(b"abcd")).name


def test_names_in_every_process():
    assert content_name([1, 2, 3]).hex() == "32c14389afecd962be9254e60068d0a9"
    assert content_name([]).hex() != content_name([0]).hex() != content_name([0, 0]).hex()


def test_names_differ():
    words = [w for n in range(8) for w in itertools.product((0, 1, 2, 0xFFFFFFFF), repeat=n)]
    assert len({content_name(word) for word in words}) == len(words)


def test_names_by_the_definition():
    prime, mask = 2**61 - 1, 2**64 - 1

    def mixed(x):
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
        return x ^ x >> 31

    rng = random.Random(3)
    for _ in range(50):
        word = [rng.randrange(1 << 32) for _ in range(rng.randrange(40))]
        x, y = (
            sum((s + 1) * pow(base, len(word) - 1 - i, prime) for i, s in enumerate(word)) % prime
            for base in (0x03243F6A8885A308, 0x02B7E151628AED2A)
        )
        x ^= mixed(len(word))
        y ^= mixed((x + 0x9E3779B97F4A7C15) & mask)
        x ^= mixed(y)
        y ^= mixed(x)
        x ^= mixed(y)
        assert content_name(word) == struct.pack("<QQ", x, y)


# ---- what is told ----


def test_rules_and_top():
    grammar = grown(b"abcdbcabcd")
    abcd, bc = grammar.rules()
    assert abcd.right == (ord("a"), bc.name, ord("d"))
    assert bc.right == (ord("b"), ord("c"))
    assert (abcd.length, abcd.uses, abcd.occurrences) == (4, 2, 2)
    assert (bc.length, bc.uses, bc.occurrences) == (2, 2, 3)
    assert grammar.top() == [Part(abcd.name, 4), Part(bc.name, 2), Part(abcd.name, 4)]
    assert grammar.expand(abcd).tobytes() == grammar.expand(abcd.name).tobytes()
    assert grammar.positions(abcd).tolist() == [0, 6]
    assert grammar.positions(bc).tolist() == [1, 4, 7]
    # (uses - 1)(right - 1) - 1 symbols of log2(4 letters + 2 rules) bits.
    assert abcd.gain_bits == pytest.approx(1 * np.log2(6))
    assert bc.gain_bits == 0
    assert grammar.gain_bits == pytest.approx(10 * np.log2(4) - 8 * np.log2(6))
    assert grammar.rules(1) == [abcd]
    assert grammar.rules(0) == []


def test_gain_is_what_writing_out_costs():
    grammar = grown(fibonacci(300) + [5, 6, 7] * 9)
    right_sides = written(grammar)
    bits = np.log2(5 + grammar.n_rules)
    for number, found in enumerate(grammar.rules(), 1):
        without = dict(right_sides)
        gone = without.pop(f"r{number}")
        size = 0
        for right in without.values():
            size += sum(len(gone) if part == f"r{number}" else 1 for part in right)
        assert found.gain_bits == pytest.approx((size - grammar.size) * bits)


def test_positions_are_where_it_stands():
    rng = np.random.default_rng(1)
    word = rng.integers(0, 3, 3000)
    grammar = grown(word, max_symbols=300)
    assert grammar.start > 0
    for found in grammar.rules():
        positions = grammar.positions(found).astype(np.int64)
        assert len(positions) >= found.occurrences
        assert (np.diff(positions) > 0).all()
        for position in positions.tolist():
            part = word[position : position + found.length]
            assert np.array_equal(part, grammar.expand(found))


def test_occurrences_cover_what_is_retained():
    grammar = grown(fibonacci(5000))
    assert sum(part.length for part in grammar.top()) == 5000
    counts = {}

    def walk(right):
        for part in right:
            if isinstance(part, bytes):
                counts[part] = counts.get(part, 0) + 1
                walk(by_name[part].right)

    by_name = {found.name: found for found in grammar.rules()}
    walk([part.symbol for part in grammar.top()])
    assert counts == {name: found.occurrences for name, found in by_name.items()}


def test_parse():
    grammar = grown(b"abcdbcabcd")
    names = {found.length: found.name for found in grammar.rules()}
    assert grammar.parse(b"xabcdabcbc") == [
        Part(ord("x"), 1),
        Part(names[4], 4),
        Part(ord("a"), 1),
        Part(names[2], 2),
        Part(names[2], 2),
    ]
    assert grammar.parse(b"") == []
    assert grammar.parse(b"a") == [Part(97, 1)]
    assert Grammar().parse(b"ab") == [Part(97, 1), Part(98, 1)]


@given(st.lists(st.integers(0, 2), max_size=200), st.lists(st.integers(0, 2), max_size=60))
@settings(max_examples=60, deadline=None)
def test_parse_is_the_longest_first(word, other):
    grammar = grown(word)
    expansions = {found.name: tuple(grammar.expand(found).tolist()) for found in grammar.rules()}
    at = 0
    for symbol, length in grammar.parse(other):
        fitting = [e for e in expansions.values() if tuple(other[at : at + len(e)]) == e]
        assert length == max(map(len, fitting), default=1)
        if isinstance(symbol, bytes):
            assert expansions[symbol] == tuple(other[at : at + length])
        else:
            assert symbol == other[at]
        at += length
    assert at == len(other)


def test_parse_among_rules_that_begin_alike():
    """Two of one length, a longer one that is as new as they are, a shorter one in all of them."""
    for word in (b"abcxabcyabdzabdwabefvabef", b"abefvabefxabcyabczabdwabd"):
        grammar = grown(word)
        expansions = {
            bytes(grammar.expand(found).tolist()): found.name for found in grammar.rules()
        }
        assert sorted(expansions) == [b"ab", b"abc", b"abd", b"abef"]
        for other in map(b"".join, itertools.permutations([*expansions, b"abe"])):
            read = grammar.parse(other)
            at = 0
            for part in read:
                fitting = [e for e in expansions if other.startswith(e, at)]
                longest = max(fitting, key=len, default=None)
                wanted = Part(other[at], 1)
                if longest is not None:
                    wanted = Part(expansions[longest], len(longest))
                assert part == wanted
                at += part.length
            assert at == len(other)


def test_merge():
    one, other = grown(b"abcxabc"), grown(b"abcyabczabc")
    (joined,) = one.merge(other)
    assert (joined.name, joined.uses, joined.occurrences) == (content_name(b"abc"), 5, 5)
    assert joined.gain_bits == one.rules()[0].gain_bits + other.rules()[0].gain_bits
    assert one.merge() == one.rules()
    with pytest.raises(ArgumentTypeError, match=r"others\[0\] must be a Grammar, got 3"):
        one.merge(3)


def test_dot():
    text = grown(b"abcdbcabcd").to_dot(label=chr)
    assert 'r1 [label="R1 = a R2 d\\n2 uses, 4 symbols"];' in text
    assert 'top -> r1 [label="2"];' in text
    assert "r1 -> r2;" in text
    assert "R2 = ..." not in grown(b"abcdbcabcd").to_dot(1)
    assert " ... " in grown(b"abcdbcabcd").to_dot(1)
    assert '\\"' in grown(b'""x""').to_dot(label=chr)
    with pytest.raises(ArgumentTypeError, match="label must be callable, got 3"):
        Grammar().to_dot(label=3)


def test_shown():
    grammar = grown(b"abab")
    assert repr(grammar) == "<Grammar: 4 of 4 symbols in 4, 1 rule>"
    assert "<td>2</td>" in grammar._repr_html_()


# ---- what goes in ----


@pytest.mark.parametrize(
    "ints",
    [
        [97, 98, 97, 98],
        (97, 98, 97, 98),
        b"abab",
        bytearray(b"abab"),
        memoryview(b"abab"),
        np.array([97, 98, 97, 98]),
        np.array([97, 98, 97, 98], np.uint32),
        np.array([97, 0, 98, 0, 97, 0, 98, 0], np.uint32)[::2],
        np.array([97, 98, 97, 98], np.uint64),
        np.array([97, 98, 97, 98], np.int8),
        np.array([97, 98, 97, 98], ">u4"),
    ],
)
def test_what_can_be_fed(ints):
    assert grown(ints).expand().tolist() == [97, 98, 97, 98]


def test_every_symbol_can_be_pushed():
    word = [0, 0xFFFFFFFF, 0, 0xFFFFFFFF, 1, 0x80000000, 1]
    examine(grown(word), word)
    grammar = Grammar()
    for symbol in word:
        grammar.push(np.uint32(symbol))
    assert grammar.digest == grown(word).digest


@pytest.mark.parametrize(
    ("ints", "error", "message"),
    [
        ([1, -3], ArgumentValueError, r"ints\[1\] must be from 0 to 4294967295, got -3"),
        ([1, 2**32], ArgumentValueError, r"ints\[1\] must be from 0 to 4294967295, got 4294967296"),
        ([1, 2**70], ArgumentValueError, r"ints\[1\] must be at most 4294967295, got 118059"),
        ([1, 2.5], ArgumentTypeError, r"ints\[1\] must be an integer, got 2.5"),
        ([1, None], ArgumentTypeError, r"ints\[1\] must be an integer, got None"),
        ([True], ArgumentTypeError, r"ints\[0\] must be an integer, got True"),
        ([[1], [2, 3]], ArgumentTypeError, "ints must be a sequence of int"),
        ([[1], [2]], ArgumentValueError, r"ints must be one-dimensional, got shape \(2, 1\)"),
        ("ab", ArgumentTypeError, r"ints must be integers .* got str \('ab'\)"),
        (iter([1]), ArgumentTypeError, "ints must be integers .* got list_iterator"),
        (3, ArgumentTypeError, r"ints must be integers .* got int \(3\)"),
        (np.array([1.0]), ArgumentTypeError, "ints must be integers, got an array of float64"),
        (np.array([True]), ArgumentTypeError, "ints must be integers, got an array of bool"),
    ],
)
def test_what_cannot_be_fed(ints, error, message):
    grammar = grown([1, 2])
    for call in (grammar.feed, grammar.parse, content_name):
        with pytest.raises(error, match=message):
            call(ints)
    assert grammar.expand().tolist() == [1, 2]


@pytest.mark.parametrize(
    ("symbol", "error", "message"),
    [
        (-1, ArgumentValueError, "symbol must be at least 0, got -1"),
        (2**32, ArgumentValueError, "symbol must be at most 4294967295, got 4294967296"),
        (2**80, ArgumentValueError, "symbol must be at most 4294967295, got 120892"),
        (True, ArgumentTypeError, "symbol must be an integer, got True"),
        (1.0, ArgumentTypeError, "symbol must be an integer, got 1.0"),
        ("a", ArgumentTypeError, "symbol must be an integer, got 'a'"),
    ],
)
def test_what_cannot_be_pushed(symbol, error, message):
    grammar = Grammar()
    with pytest.raises(error, match=message):
        grammar.push(symbol)
    assert grammar.n_pushed == 0


def test_options():
    with pytest.raises(ArgumentValueError, match="max_symbols must be at least 1, got 0"):
        Grammar(max_symbols=0)
    with pytest.raises(ArgumentValueError, match="max_symbols must be at most 536870912, got"):
        Grammar(max_symbols=1 << 30)
    with pytest.raises(ArgumentValueError, match="max_rules must be at least 1, got 0"):
        Grammar(max_rules=0)
    with pytest.raises(ArgumentTypeError, match=r"max_symbols must be an integer, got 1.5"):
        Grammar(max_symbols=1.5)
    assert Grammar(max_symbols=10).max_rules == 5
    assert Grammar(max_symbols=10, max_rules=3).max_rules == 3


def test_questions_about_rules_that_are_not_there():
    grammar = grown(b"abab")
    gone = content_name(b"xy")
    for call in (grammar.expand, grammar.positions):
        with pytest.raises(ArgumentValueError, match=f"rule must be a rule .* got {gone.hex()}"):
            call(gone)
        with pytest.raises(ArgumentValueError, match="rule must be 16 bytes, got 3"):
            call(b"abc")
        with pytest.raises(
            ArgumentTypeError, match=r"rule must be a Rule or its name, got int \(3\)"
        ):
            call(3)
        with pytest.raises(ArgumentValueError, match="rule must be 32 hexadecimal digits if str"):
            call("ab of ab")
        with pytest.raises(ArgumentValueError, match="rule must be 16 bytes, got 2"):
            call("abab")
    assert grammar.find(gone) is None
    # The top level is no rule, even where it has the name of one.
    assert grown([1, 2, 3]).find(content_name([1, 2, 3])) is None
    with pytest.raises(ArgumentValueError, match="max_rules must be at least 0, got -1"):
        grammar.rules(-1)


def test_rules_are_found_by_the_names_that_levels_give():
    levels = Levels(1)
    for _ in range(9):
        levels.observe([1, 2, 3])
        levels.close()
    grammar, name = levels.grammar(), levels.knowledge()[0].name
    assert grammar.find(name).name.hex() == name
    assert grammar.expand(name).tolist() == [1, 2, 3]
    assert len(grammar.positions(name)) == 9


def test_a_rule_shows_itself_in_one_line():
    grammar = grown(b"abcdbcabcd" + bytes(range(100, 130)) * 2)
    for one in grammar.rules():
        assert repr(one).startswith(f"<Rule {one.name.hex()[:8]} -> ")
        assert len(repr(one)) < 220
    assert "\\x" not in repr(grammar.rules())


# ---- bounds ----


def test_memory_is_bounded():
    rng = np.random.default_rng(0)
    grammar = Grammar(max_symbols=4096)
    held = set()
    for _ in range(30):
        grammar.feed(rng.integers(0, 1 << 32, 2000, dtype=np.uint32))
        grammar.feed(rng.integers(0, 4, 2000))
        assert grammar.size <= 4096
        held.add(grammar.memory_bytes)
    assert max(held) <= 110 * 4096
    grammar.check()
    assert grammar.n_pushed == 30 * 4000


def test_a_long_loop_is_no_memory():
    grammar = grown(np.arange(1_000_000) % 27)
    assert grammar.size < 100
    assert grammar.start == 0
    assert grammar.memory_bytes < 200_000
    assert np.array_equal(grammar.expand(), np.arange(1_000_000) % 27)


def test_a_bound_on_rules():
    rng = random.Random(5)
    grammar = Grammar(max_symbols=1000, max_rules=3)
    word = []
    for _ in range(3000):
        word.append(rng.randrange(3))
        grammar.push(word[-1])
        assert grammar.n_rules <= 3
    examine(grammar, word)


def test_counters():
    grammar = grown(b"abcabc")
    assert grammar.n_born >= grammar.n_rules == 1
    assert grammar.longest_cascade >= 1
    assert grown(range(100)).longest_cascade == 0


def test_a_large_grammar_is_fed_in_pieces():
    """What is read ahead is read for the symbols of one call, few or many."""
    word = np.random.default_rng(4).permutation(300_000).astype(np.uint32)
    word[-8:] = word[:8]
    parts = Grammar(max_symbols=1 << 20)
    for begin, end in itertools.pairwise((0, 299_960, 299_970, 299_976, 299_995, 300_000)):
        parts.feed(word[begin:end])
    whole = Grammar(max_symbols=1 << 20)
    whole.feed(word)
    for grammar in (parts, whole):
        (found,) = grammar.rules()
        assert grammar.expand(found).tolist() == word[:8].tolist()
        assert np.array_equal(grammar.expand(), word)
    assert parts.digest == whole.digest


def test_feeding_by_the_clock_is_feeding():
    word = np.array(thue_morse(5000), np.uint32)
    spent = np.zeros(len(word), np.uint32)
    grammar = Grammar(max_symbols=60)
    for begin, end in ((0, 3000), (3000, 3000), (3000, 5000)):
        grammar._feed_timed(word[begin:end], spent[begin:end])
    grammar.check()
    assert grammar.digest == grown(word, max_symbols=60).digest
    assert spent.all()  # the clock itself takes some nanoseconds
    with pytest.raises(ArgumentValueError, match="ns must be 5000 long, got 4999"):
        grammar._feed_timed(word, spent[1:])
    assert grammar.n_pushed == 5000


def test_rules_may_nest_deep():
    # a b, a b c, a b c d, ..: each is the one before and one symbol more.
    depth = 500
    word = [symbol for n in range(2, depth) for symbol in [*range(n), 1_000_000 + n]]
    grammar = grown(word)
    grammar.check()
    by_name = {found.name: found for found in grammar.rules()}
    nested = {}
    for found in reversed(grammar.rules()):
        inner = [nested[part] for part in found.right if isinstance(part, bytes)]
        nested[found.name] = 1 + max(inner, default=0)
    assert max(nested.values()) > depth - 10
    assert grammar.expand().tolist() == word
    shortest = min(by_name.values(), key=lambda found: found.length)
    assert len(grammar.positions(shortest)) == shortest.occurrences > depth - 10
    other = Grammar()
    other.restore(grammar.snapshot())
    assert other.digest == grammar.digest


@pytest.mark.skipif(
    sys.platform != "linux" or "ASAN_OPTIONS" in os.environ,
    reason="limits address space as Linux does; a sanitizer needs more of it",
)
def test_no_memory_to_grow():
    """A push that finds no memory changes nothing, and the grammar stays what it was."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", STARVED],
        env={**os.environ, "PYTHONPATH": str(Path(midstream.__file__).parents[1])}
        | {"OPENBLAS_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("no memory for a grammar to grow\n" * 2, "")


STARVED = """
import resource
import numpy as np
from midstream.meta.grammar import Grammar
grammar = Grammar(max_symbols=1 << 26)
symbols = np.arange(1 << 22, dtype=np.uint32)
grammar.feed(symbols[:1000])
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (48 << 20), held + (48 << 20)))
for call in (lambda: grammar.feed(symbols[1000:]), lambda: grammar.push(7)):
    try:
        call()
    except MemoryError as error:
        print(error)
    grammar.check()
assert 1000 < grammar.n_pushed == grammar.size < 1 << 22
grammar.restore(Grammar(max_symbols=1 << 26).snapshot())
grammar.feed(symbols[:1000])
grammar.check()
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_a_signal_stops_feed():
    class InterruptedError(Exception):
        pass

    def interrupt(number, frame):
        raise InterruptedError

    word = np.random.default_rng(0).integers(0, 1 << 32, 30_000_000, dtype=np.uint32)
    grammar = Grammar(max_symbols=1000)
    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(InterruptedError):
            grammar.feed(word)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert 0 < grammar.n_pushed < len(word)
    grammar.check()
    assert np.array_equal(grammar.expand(), word[grammar.start : grammar.n_pushed])
    grammar.push(1)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_an_array_that_changes_while_it_is_fed():
    rng = np.random.default_rng(0)
    word = rng.integers(0, 50, 2_000_000, dtype=np.uint32)
    changes = []

    def change(number, frame):
        word[:] = rng.integers(0, 50, len(word), dtype=np.uint32)
        changes.append(number)

    grammar = Grammar(max_symbols=1000)
    previous = signal.signal(signal.SIGALRM, change)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.05)
    try:
        grammar.feed(word)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert changes
    grammar.check()


# ---- snapshots ----


def sealed(body):
    return body + struct.pack("<I", zlib.crc32(body))


def test_copies_unite_rules_in_the_same_order():
    """The last symbol makes two rules one, whose uses are found in whatever order."""
    word = "0001001001001001001001001001001001001011001001001001001"
    grammar = Grammar(max_symbols=25)
    for symbol in map(int, word):
        other = grammar.copy()
        grammar.push(symbol)
        other.push(symbol)
        assert other.digest == grammar.digest


def test_snapshots_go_on_alike():
    rng = random.Random(2)
    word = [rng.randrange(3) for _ in range(600)]
    whole = Grammar(max_symbols=80)
    parts = Grammar(max_symbols=80)
    for begin in range(0, 600, 7):
        whole.feed(word[begin : begin + 7])
        parts = pickle.loads(pickle.dumps(parts))
        for symbol in word[begin : begin + 7]:
            parts.push(symbol)
        # However it came to be, the same state has the same bytes.
        assert whole.snapshot() == parts.snapshot()
    assert copy.deepcopy(whole).digest == copy.copy(whole).digest == whole.digest


def test_snapshots_of_others():
    data = grown(b"abab", max_symbols=10).snapshot()
    grammar = grown(b"xyxy", max_symbols=20)
    before = grammar.digest
    with pytest.raises(ArgumentValueError, match=r"max_symbols=20 .* got one with 10 and 5"):
        grammar.restore(data)
    with pytest.raises(ArgumentValueError, match=r"snapshot must come from Grammar.snapshot"):
        grammar.restore(b"else")
    with pytest.raises(ArgumentTypeError, match="snapshot must be bytes, got str"):
        grammar.restore("text")
    with pytest.raises(ArgumentValueError, match="its checksum is wrong"):
        grammar.restore(grammar.snapshot()[:-1])
    assert grammar.digest == before


def test_what_rules_of_rules_stand_for_may_be_too_long_for_memory():
    n_rules = 61
    symbols = np.repeat(np.arange(1, n_rules + 2), 2)
    kinds = np.arange(len(symbols)) < len(symbols) - 2
    grammar = Grammar(max_symbols=200)
    grammar.restore(snapshot_of(symbols, kinds, [2] * (n_rules + 1), 2 << n_rules, max_symbols=200))
    grammar.check()
    with pytest.raises(MemoryError, match="expansion of 4611686018427387904 symbols"):
        grammar.expand()
    with pytest.raises(MemoryError, match="2305843009213693952 positions"):
        grammar.positions(grammar.find(content_name([62, 62])))


def test_forged_snapshots():
    """Every byte changed, with a checksum that is right: refused, or a grammar that is one."""
    grammar = grown([0, 1, 2, 0, 1, 2, 3, 0, 1], max_symbols=12)
    body = grammar.snapshot()[:-4]
    taken = 0
    for position in range(len(body)):
        for value in (0, 1, 2, 127, 255, body[position] ^ 1, body[position] ^ 128):
            forged = body[:position] + bytes([value]) + body[position + 1 :]
            if forged == body:
                continue
            other = Grammar(max_symbols=12)
            try:
                other.restore(sealed(forged))
            except ArgumentValueError:
                assert other.n_pushed == 0
                continue
            taken += 1
            assert other.snapshot() == sealed(forged)
            other.check()
            other.feed([0, 1, 2] * 20)
            other.check()
    assert taken > 0  # another terminal in a place of its own is as good


def snapshot_of(symbols, kinds, lengths, pushed, start=0, max_symbols=100):
    n_rules = len(lengths) - 1
    head = struct.pack(
        "<8Q", max_symbols, max_symbols // 2, pushed, start, n_rules, 0, n_rules, len(symbols)
    )
    body = b"ms.grammar1" + head + np.array(lengths, "<u4").tobytes()
    body += np.zeros(n_rules, "<u8").tobytes() + np.array(symbols, "<u4").tobytes()
    return sealed(body + np.packbits(kinds, bitorder="little").tobytes())


@pytest.mark.parametrize(
    ("symbols", "kinds", "lengths", "pushed"),
    [
        ([1, 1, 7, 8], [1, 1, 0, 0], [2, 2], 5),  # not as long as it says
        ([1, 2, 7, 8, 7, 8], [1, 1, 0, 0, 0, 0], [2, 2, 2], 4),  # used once
        ([1, 1, 1, 8], [1, 1, 1, 0], [2, 2], 4),  # uses itself
        ([2, 2, 3, 3, 1, 1], [1, 1, 1, 1, 1, 1], [2, 2, 2], 8),  # no order, or a circle
        ([9, 9, 7, 8], [1, 1, 0, 0], [2, 2], 4),  # a rule that is not there
        ([1, 1, 7], [1, 1, 0], [2, 1], 2),  # a rule of one symbol
        ([1, 2, 1, 2], [0, 0, 0, 0], [4], 4),  # a digram twice
        ([1, 2, 1, 2, 7, 8, 9, 9], [1, 1, 1, 1, 0, 0, 0, 0], [4, 2, 2], 8),  # likewise, of rules
        ([2, 2, 1, 1, 7, 8, 5, 6], [1, 1, 1, 1, 0, 0, 0, 0], [4, 2, 2], 8),  # numbered otherwise
        ([5, 5, 5, 5], [0, 0, 0, 0], [4], 4),  # a run of four
    ],
)
def test_snapshots_that_say_no_grammar(symbols, kinds, lengths, pushed):
    grammar = Grammar(max_symbols=100)
    with pytest.raises(ArgumentValueError, match="one that says none"):
        grammar.restore(snapshot_of(symbols, kinds, lengths, pushed))
    assert grammar.n_pushed == 0


def test_a_snapshot_made_by_hand():
    grammar = Grammar(max_symbols=100)
    grammar.restore(snapshot_of([1, 1, 7, 8], [1, 1, 0, 0], [2, 2], 4))
    assert grammar.expand().tolist() == [7, 8, 7, 8]
    # A chain of doublings that stands for more symbols than can be counted.
    n = 70
    symbols = [1, 1] + [k + 1 for k in range(1, n) for _ in (0, 1)] + [3, 4]
    kinds = [1] * (2 * n) + [0, 0]
    big = Grammar(max_symbols=1000)
    with pytest.raises(ArgumentValueError, match="one that says none"):
        big.restore(snapshot_of(symbols, kinds, [2] * (n + 1), 4, max_symbols=1000))


# ---- beside a peer ----


def test_beside_scikit_sequitur():
    sksequitur = pytest.importorskip("sksequitur")
    rng = random.Random(4)
    same = 0
    for _ in range(60):
        word = [rng.randrange(6) for _ in range(rng.randrange(2, 120))]
        if rng.random() < 0.5:
            word = word[: rng.randrange(2, 12)] * rng.randrange(2, 9)
        parser = sksequitur.Parser()
        parser.feed(word)
        peer = sksequitur.Grammar(parser.tree)
        right_sides = {
            "top" if number == 0 else f"r{number}": [
                f"r{int(v)}" if isinstance(v, sksequitur.Production) else v for v in right
            ]
            for number, right in ((int(key), right) for key, right in peer.items())
        }
        grammar = grown(word)
        assert sequitur.expansion(right_sides) == word == grammar.expand().tolist()
        theirs = sum(map(len, right_sides.values()))
        if sequitur.violations(right_sides):
            continue  # it keeps the invariants less strictly
        assert abs(grammar.size - theirs) <= 0.1 * theirs + 2
        same += grammar.size == theirs
    assert same >= 30


# ---- threads ----


def test_two_threads():
    grammar = Grammar()
    word = np.random.default_rng(0).integers(0, 1000, 600_000).astype(np.uint32)
    thread = threading.Thread(target=grammar.feed, args=(word,))
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            grammar.push(1)
        except MidstreamError as error:
            assert "another thread is feeding" in str(error)
            refused += 1
    thread.join()
    # Without a GIL the lock of the grammar lets one of them wait for the other.
    assert refused > 0 or not getattr(sys, "_is_gil_enabled", lambda: True)()
    grammar.check()
    assert grammar.n_pushed >= len(word)


def test_rules_are_tuples():
    (found,) = grown(b"abab").rules()
    assert isinstance(found, Rule)
    assert found == grown(b"abab").rules()[0]
