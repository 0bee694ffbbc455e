"""Patterns over pieces of text: the matches of `re`, whatever the pieces are."""

from __future__ import annotations

import pickle
import random
import re
import sys
import threading
from itertools import pairwise, product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from midstream._core.regex import CHAR, MATCH, SPLIT, Pattern
from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ExpressionError,
    MidstreamError,
)
from midstream.stream import Match, PatternSet
from midstream.stream._patterns import PatternScanner, PatternTable

ATOMS = st.sampled_from(
    ["a", "b", "é", ".", "[ab]", "[^a]", r"\d", r"\w", r"\S", r"\s", "[a-b1]", "[^\\W1]", "😀"]
)
SIGNS = st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?", "??", "{1,3}?"])
PLACES = st.sampled_from(["^", r"\Z", r"\b", r"\B"])
FLAGS = st.sampled_from(["", "(?i)", "(?m)", "(?s)", "(?ims)"])
TEXTS = st.text("abAB1. \nÉ😀x", max_size=24)


def patterns(places=PLACES):
    """Regular expressions whose repetitions read something each time."""

    def larger(inner):
        return st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
            st.tuples(inner.filter(reads), SIGNS).map(lambda two: f"(?:{two[0]}){two[1]}"),
            st.tuples(places, inner).map("".join),
            st.tuples(inner, places).map("".join),
        )

    return st.tuples(FLAGS, st.recursive(ATOMS, larger, max_leaves=8)).map("".join).filter(reads)


def reads(text):
    """Whether each match has a character."""
    pattern = Pattern(text)
    seen, stack = set(), [pattern.first]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        kind, _, to, other = pattern.nodes[node]
        if kind == MATCH:
            return False
        if kind != CHAR:
            stack.append(to)
        if kind == SPLIT:
            stack.append(other)
    return True


def told(found, pieces):
    """What is told, each with the character behind which it is."""
    scanner = found.scanner()
    seen = []
    for piece in pieces:
        seen += [(scanner.n_chars, match) for match in scanner.feed(piece)]
    return seen + [("end", match) for match in scanner.finish()]


def spans(names, text):
    return sorted(
        (name, *match.span())
        for name, pattern in names.items()
        for match in re.finditer(pattern, text)
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(patterns(), min_size=1, max_size=3), TEXTS)
def test_the_matches_are_those_of_re(texts, text):
    names = {str(number): pattern for number, pattern in enumerate(texts)}
    found = PatternSet(names, early=False).find(text)
    assert sorted(found) == spans(names, text)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(patterns(), min_size=1, max_size=3),
    TEXTS,
    st.lists(st.integers(0, 24)),
    st.booleans(),
    st.integers(1, 5),
)
def test_pieces_do_not_matter(texts, text, cuts, early, max_behind):
    found = PatternSet(
        {str(number): pattern for number, pattern in enumerate(texts)},
        early=early,
        max_behind=max_behind,
    )
    whole = found.find(text)
    by_char = told(found, text)
    assert [match for _, match in by_char] == whole
    places = sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)})
    at = dict(zip(places, places, strict=True))
    expected = []
    for place, match in by_char:
        if place != "end":
            place = next(cut for cut in at if cut >= place)
        expected.append((place, match))
    assert told(found, [text[a:b] for a, b in pairwise(places)]) == expected


@settings(max_examples=300, deadline=None)
@given(patterns(st.just("^")), TEXTS)
@example("a(?:.*b)?", "aaab aa")
@example(r"\w+", "one two")
def test_early_means_as_soon_as_something_matches(text, subject):
    # Without what asks for the next character, the prefix alone decides.
    theirs = re.compile(text)
    seen = told(PatternSet({"x": text}), subject)
    whole = [(m.start(), m.end()) for m in theirs.finditer(subject)]
    assert len(seen) == len(whole)
    behind = 0
    for (place, match), (_, end) in zip(seen, whole, strict=True):
        first = next(k for k in range(len(subject) + 1) if theirs.search(subject[:k], behind))
        assert (match.start, match.end) == theirs.search(subject[:first], behind).span()
        assert match.end == first
        if behind == 0:
            assert place == first
        behind = end


@settings(deadline=None)
@given(patterns(), TEXTS, st.integers(0, 24))
def test_what_is_not_held_is_in_no_later_match(pattern, text, cut):
    scanner = PatternSet({"x": pattern}, early=False).scanner()
    scanner.feed(text[:cut])
    decided = scanner.n_chars - scanner.held
    later = [*scanner.feed(text[cut:]), *scanner.finish()]
    assert all(match.start >= decided for match in later)


@settings(deadline=None)
@given(patterns(), TEXTS)
def test_a_match_that_is_under_way_comes(pattern, text):
    whole = PatternSet({"x": pattern}, early=False)
    scanner = whole.scanner()
    n_told = 0
    for char in text:
        n_told += len(scanner.feed(char))
        for name, start in scanner.under_way():
            match = whole.find(text)[n_told]
            assert name == match.name
            assert match.start <= start < match.end
            assert scanner.held >= scanner.n_chars - start


# What is told, and when


@pytest.mark.parametrize(
    ("pattern", "text", "early", "late"),
    [
        ("abc", "xabcx", 4, 4),
        (r"sk-\w{3,}", "sk-abcdef ", 6, 10),
        (r"\d+", "a123", 2, "end"),
        (r"ab\b", "ab c", 3, 3),
        (r"ab\b", "ab", "end", "end"),
        (r"ab$", "ab", "end", "end"),
        (r"(?m)ab$", "ab\ncd", 3, 3),
        (r"a.*?b", "a--b--b", 4, 4),
        (r"a|ab", "ab", 1, 1),
        (r"ab|a", "ac", 1, 2),
    ],
)
def test_when(pattern, text, early, late):
    for wanted, is_early in ((early, True), (late, False)):
        ((place, _),) = told(PatternSet({"x": pattern}, early=is_early), text)
        assert place == wanted


def test_no_character_later_than_it_is_certain():
    """Before, some continuation gives another first match; all short ones are tried."""
    rng = random.Random(1)
    endings = ["".join(word) for n in range(5) for word in product("abc", repeat=n)]

    def some(depth):
        draw = rng.random()
        if depth == 0 or draw < 0.35:
            return rng.choice(["a", "b", ".", "[ab]"])
        if draw < 0.62:
            return some(depth - 1) + some(depth - 1)
        if draw < 0.78:
            return f"(?:{some(depth - 1)}|{some(depth - 1)})"
        return f"(?:{some(depth - 1)})" + rng.choice(["+", "?", "{2}", "+?", "??"])

    n_checked = 0
    for _ in range(4000):
        pattern = some(2)
        if not reads(pattern) or re.search(r"\?\)[+?]", pattern):
            continue  # matches nothing, or repeats what may be nothing
        theirs = re.compile(pattern)
        text = "".join(rng.choice("abc") for _ in range(6))
        for place, match in told(PatternSet({"x": pattern}, early=False), text)[:1]:
            for before in range(match.end, 6 if place == "end" else place):
                spans_then = {
                    found.span() if (found := theirs.search(text[:before] + ending)) else None
                    for ending in endings
                }
                assert len(spans_then) > 1, (pattern, text, before)
                n_checked += 1
    assert n_checked > 50


def test_patterns_do_not_disturb_one_another():
    found = PatternSet({"a": "a+", "ab": "ab", "b": "b"}, early=False)
    assert found.find("aab") == [Match("a", 0, 2), Match("ab", 1, 3), Match("b", 2, 3)]


def test_a_match_waits_for_a_longer_one_only_so_long():
    text = "a" + "." * 300 + "b"
    assert PatternSet({"x": "a(.*b)?"}, early=False, max_behind=400).find(text) == [
        Match("x", 0, 302)
    ]
    scanner = PatternSet({"x": "a(.*b)?"}, early=False, max_behind=100).scanner()
    assert scanner.feed(text[:100]) == ()
    assert scanner.feed(text[100:]) == [Match("x", 0, 1)]
    assert scanner.memory_bytes < 1000


def test_a_scanner_is_as_new_after_the_end():
    scanner = PatternSet({"x": "^a", "y": "b$"}).scanner()
    assert scanner.feed("ab") == [Match("x", 0, 1)]
    assert scanner.finish() == [Match("y", 1, 2)]
    assert scanner.n_chars == 0
    assert scanner.feed("a") == [Match("x", 0, 1)]
    scanner.reset()
    assert scanner.feed("a") == [Match("x", 0, 1)]


def test_lone_surrogates_and_every_plane():
    text = "\ud800a\U0010ffffa\x00a"
    assert [m.start for m in PatternSet({"x": "a"}).find(text)] == [1, 3, 5]
    assert [m.start for m in PatternSet({"x": "[\ud800\U0010ffff]"}).find(text)] == [0, 2]


# Limits


def test_states_are_forgotten_and_found_anew():
    # 2**12 states and more, of which few fit.
    pattern = "(?:a|b)*a(?:a|b){11}c"
    found = PatternSet({"x": pattern, "y": "ba"}, memory_limit_bytes=1 << 16, early=False)
    rng = random.Random(1)
    text = "".join(rng.choice("ab") for _ in range(3000)) + "c"
    one, other = found.scanner(), found.scanner()
    seen = []
    for start in range(0, len(text), 7):
        seen += one.feed(text[start : start + 7])
        other.feed(text[start : start + 5])  # makes the table forget between
    seen += one.finish()
    assert sorted(seen) == spans({"x": pattern, "y": "ba"}, text)
    assert found._table.generation > 10
    assert found.memory_bytes < 1 << 18


def test_more_classes_of_characters_than_there_were_columns():
    letters = "".join(map(chr, range(0x4E00, 0x4E80)))
    names = {letter: letter for letter in letters}
    assert PatternSet(names).find(letters) == [Match(c, i, i + 1) for i, c in enumerate(letters)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(x+x+)+y", "x" * 30_000),
        (r"(a|a)*b", "a" * 30_000),
        (r"a(.*b)?", "a" * 3000),
        (r"(?:a?){300}b", "a" * 3000),
        (r"[a-z]{1,500}@", "q" * 3000),
        (r"(?:a|b)*a(?:a|b){200}c", "ab" * 1000),
    ],
)
def test_hostile_patterns_end(pattern, text):
    # A backtracking matcher would not.
    scanner = PatternSet({"x": pattern}, memory_limit_bytes=1 << 20).scanner()
    for start in range(0, len(text), 100):
        scanner.feed(text[start : start + 100])
    scanner.finish()
    assert scanner.memory_bytes < 1 << 16


@settings(deadline=None)
@given(st.text("ab()[]{}*+?|\\^$.,-:1dwsbxu", max_size=20))
def test_any_text_is_a_pattern_or_told_to_be_none(text):
    try:
        found = PatternSet({"x": text})
    except ArgumentValueError as error:
        assert "patterns['x']" in str(error)
    else:
        found.find("aba1 b(a)\n")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"x": "(a"}, r"patterns\['x'\]: pattern: '\(' without '\)'"),
        ({"x": r"(a)\1"}, r"patterns\['x'\]: pattern: \\1 is not understood"),
        ({"x": "(?=a)b"}, "only .* are understood"),
        ({"x": r"\xg1"}, r"\\x wants 2 digits"),
        ({"x": r"\U00110000"}, "no such character"),
        ({"x": "a*"}, r"patterns\['x'\] must not match the empty text, .* got 'a\*'"),
        ({"x": r"\b"}, "must not match the empty text"),
        ({"x": "(?:" * 60}, "more than 50 nested groups"),
        ({"x": "(?:a{1000}){1000}"}, "more than 5000 states"),
        ({str(n): "a" for n in range(1001)}, "patterns must be at most 1000, got 1001 patterns"),
        (
            {str(n): "".join(map(chr, range(256 + 1000 * n, 1256 + 1000 * n))) for n in range(11)},
            "patterns must tell at most 10000 characters and ranges apart",
        ),
    ],
)
def test_patterns_that_cannot_be_used(names, words):
    with pytest.raises(ArgumentValueError, match=words):
        PatternSet(names)


def test_arguments_that_cannot_be_used():
    for arguments, words in (
        (([],), "patterns must be a mapping, got list"),
        (({1: "a"},), "patterns must have names of str, got 1"),
        (({"x": b"a"},), r"patterns\['x'\] must be str, got bytes"),
    ):
        with pytest.raises(ArgumentTypeError, match=words):
            PatternSet(*arguments)
    with pytest.raises(ArgumentTypeError, match="early must be True or False, got 1"):
        PatternSet({}, early=1)
    with pytest.raises(ArgumentValueError, match="max_behind must be at least 1, got 0"):
        PatternSet({}, max_behind=0)
    with pytest.raises(ExpressionError) as caught:
        PatternSet({"x": "ab[c"})
    assert caught.value.position == 2
    with pytest.raises(TypeError):
        PatternSet({"x": "a"}).scanner().feed(b"a")


def test_a_set_of_no_patterns_finds_nothing():
    assert PatternSet({}).find("abc") == []


def test_a_set_can_be_pickled():
    found = PatternSet({"x": "a+"}, early=False, max_behind=9)
    again = pickle.loads(pickle.dumps(found))
    assert (again.patterns, again.early) == ({"x": "a+"}, False)
    assert again.find("aab") == [Match("x", 0, 2)]
    assert repr(again) == "<PatternSet of 1 patterns>"


def test_threads_share_a_set():
    names = {"x": "(?:a|b)*a(?:a|b){9}c", "y": r"b\w{3}", "z": r"[\u03b1-\u03c9]+"}
    found = PatternSet(names, early=False, memory_limit_bytes=1 << 16)
    failures = []

    def scan(seed):
        rng = random.Random(seed)
        text = "".join(rng.choice("aabbbc \u03b1\u03c9") for _ in range(4000))
        scanner = found.scanner()
        seen = []
        for start in range(0, len(text), 3):
            seen += scanner.feed(text[start : start + 3])
        seen += scanner.finish()
        if sorted(seen) != spans(names, text):
            failures.append(seed)

    threads = [threading.Thread(target=scan, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("method", ["feed", "finish", "reset", "holding", "under_way"])
def test_who_is_at_a_scanner_has_it_alone(method):
    refused = []

    def match(name, start, end):
        # Where matches are made, others run: here one that asks the same scanner.
        with pytest.raises(MidstreamError, match="another thread is using this scanner") as caught:
            getattr(scanner, method)(*["aa"] * (method == "feed"))
        refused.append(caught)
        return Match(name, start, end)

    table = PatternTable([("x", Pattern("a+"))], match, memory_limit_bytes=1 << 16)
    scanner = PatternScanner(table, early=False, max_behind=9)
    assert scanner.feed("aab") == [Match("x", 0, 2)]
    assert scanner.feed("a") == ()
    assert scanner.finish() == [Match("x", 3, 4)]
    assert len(refused) == 2


def test_threads_at_one_scanner_break_nothing():
    scanner = PatternSet({"x": "a(.*b)?", "y": r"\w+\d+"}, memory_limit_bytes=1 << 16).scanner()
    unlike = []

    def scan(seed):
        rng = random.Random(seed)
        for _ in range(2000):
            try:
                scanner.feed("".join(rng.choice("ab xy1\u4e00\U0001f600") for _ in range(50)))
                if rng.random() < 0.1:
                    scanner.finish()
                scanner.under_way()
            except MidstreamError:
                continue
            except Exception as error:  # noqa: BLE001
                unlike.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=scan, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not unlike
    scanner.reset()
    assert [match.name for match in scanner.feed("abc ")] == ["x"]


@pytest.mark.parametrize("max_behind", [0, -5, (1 << 20) + 1, (1 << 63) - 1])
def test_a_scanner_waits_so_far_and_no_farther(max_behind):
    table = PatternTable([("x", Pattern("ab+"))], Match, memory_limit_bytes=1 << 16)
    with pytest.raises(ArgumentValueError, match="max_behind must be from 1 to 1048576"):
        PatternScanner(table, early=False, max_behind=max_behind)
