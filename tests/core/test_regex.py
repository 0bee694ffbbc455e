"""Regular expressions in linear time, against `re`."""

from __future__ import annotations

import random
import re

import pytest

from midstream._core.regex import Pattern
from midstream.errors import ExpressionError


def test_patterns_against_re():
    rng = random.Random(1)
    leaves = ["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\w", r"\S", "[a-b1]", r"\."]

    def some(depth):
        draw = rng.random()
        if depth == 0 or draw < 0.35:
            return rng.choice(leaves)
        if draw < 0.55:
            return some(depth - 1) + some(depth - 1)
        if draw < 0.7:
            return f"(?:{some(depth - 1)}|{some(depth - 1)})"
        if draw < 0.9:
            sign = rng.choice(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])
            return f"(?:{some(depth - 1)}){sign}"
        place = rng.choice(["^", "$", r"\b", r"\B"])
        return rng.choice([place + some(depth - 1), some(depth - 1) + place])

    for _ in range(1500):
        flags, text = rng.choice(["", "(?m)", "(?s)", "(?ims)"]), some(4)
        ours = Pattern(flags + text)
        theirs = re.compile(flags + (text if "m" in flags else text.replace("$", r"\Z")))
        for _ in range(8):
            word = "".join(rng.choice("abcA1. \n") for _ in range(rng.randrange(7)))
            if not word and r"\B" in text:
                continue  # Python takes the empty text for a boundary up to 3.13
            assert ours.search(word) == (theirs.search(word) is not None), (text, word)


def test_pattern_takes_linear_time():
    # A backtracking matcher takes 2**200000 steps.
    assert not Pattern("(a*)*b").search("a" * 200_000)
    assert not Pattern("(a|a)*c").search("a" * 200_000)
    assert Pattern("(?i)DROP TABLE").search("x" * 1000 + "drop table")


def test_pattern_forgets_states():
    pattern = Pattern("(a|b)*a(a|b){11}$")
    rng = random.Random(2)
    for _ in range(300):
        word = "".join(rng.choice("ab") for _ in range(60))
        assert pattern.search(word) == (word[-12] == "a")
    assert len(pattern._rows) <= 2002  # and the first


@pytest.mark.parametrize(
    "text",
    [
        *("(", "a)", "[", "[a", "a**", "*", "^*", "a{2", "a{x}", "(?=a)", r"\1", r"\q", "[z-a]"),
        *("a{3,2}", "(a{1000}){1000}", "(" * 60 + ")" * 60, "\\", r"[\d-a]"),
    ],
)
def test_pattern_refuses(text):
    with pytest.raises(ExpressionError, match="pattern: "):
        Pattern(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"\xg1", r"\\x wants 2 digits"),
        (r"\u12", r"\\u wants 4 digits"),
        (r"\U00110000", "no such character"),
        (r"a\b*", "an anchor cannot be repeated"),
        ("(?x)a", r"only \(\?: and leading flags, \(\?ims\), are understood"),
        (r"[\b]", r"\\b is not understood"),
    ],
)
def test_what_is_wrong_is_said(text, words):
    with pytest.raises(ExpressionError, match=words):
        Pattern(text)


def test_characters_by_number():
    assert Pattern(r"\x41\u00e9\U0001f600").search("xA\u00e9\U0001f600")
    assert Pattern(r"^[\x61-\u0063]+$").search("abc")
    assert not Pattern(r"^[\x61-\u0063]+$").search("abd")


def test_either_case_beyond_ascii():
    for pattern, text in (("s", "\u017f"), ("S", "\u017f"), ("k", "\u212a"), ("\u00e9", "\u00c9")):
        assert Pattern("(?i)" + pattern).search(text)
        assert re.search("(?i)" + pattern, text)
