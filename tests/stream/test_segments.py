"""Segments of a text and their features, against a slow reading of the same text."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentValueError
from midstream.stream._segments import FEATURES, Segmenter

TOKEN = re.compile(r"[A-Za-z]{1,32}|[0-9]{1,32}|\S")
STRUCTURE = set('()[]{}<>=\\/|"#&*+^%$@`~_;')
PIECES = st.sampled_from(
    ["tea ", "Rain", " rain", "river. ", "3.14 ", "Ah! ", "\n", "x", "(y) ", "12", ", ", "? ", "_"]
)
TEXTS = st.lists(PIECES, max_size=120).map("".join)


def slowly(text: str, size: int) -> list[tuple]:
    """Segments of `size` tokens with all features but novelty, whose memory is the scanner's."""
    found = []
    tokens = list(TOKEN.finditer(text))
    sentence, lengths, last_length = 0, [], 0.0
    for first in range(0, len(tokens), size):
        part = tokens[first : first + size]
        begin = part[0].start()
        # Line ends count for the segment that is open, or is next.
        before = tokens[first - 1].end() if first else 0
        end = part[-1].end()
        words = []
        counts = dict.fromkeys(("marks", "structure", "numbers"), 0)
        for token in part:
            said = token[0]
            if said[0].isalpha():
                words.append(said)
                sentence += 1
            elif said[0].isdigit():
                counts["numbers"] += 1
            else:
                counts["structure" if said in STRUCTURE else "marks"] += 1
                if said in ".!?" and sentence:
                    lengths.append(sentence)
                    sentence = 0
        if lengths:
            last_length = sum(lengths) / len(lengths)
        n, w = len(part), max(len(words), 1)
        found.append(
            (
                begin,
                end,
                n,
                {
                    "variety": len({word.lower() for word in words}) / w,
                    "unfamiliarity": 0.0,
                    "word_length": sum(map(len, words)) / w,
                    "sentence_length": math.log2(1 + max(last_length, sentence)),
                    "lines": text[before:end].count("\n") / n,
                    "capitals": sum(word[0].isupper() for word in words) / w,
                    **{name: count / n for name, count in counts.items()},
                },
            )
        )
        lengths = []
    return found


def segments(pieces, **options) -> list[tuple]:
    segmenter = Segmenter(**options)
    found = []
    for piece in pieces:
        found += segmenter.feed(piece)
    return found + segmenter.finish()


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(4, 20))
def test_features_are_those_of_a_slow_reading(text, size) -> None:
    expected = slowly(text, size)
    found = segments([text], size=size)
    assert len(found) == len(expected)
    for (begin, end, n, features), (b, e, m, named) in zip(found, expected, strict=True):
        # What is cut off by the end of the text reaches to the end.
        assert (begin, n) == (b, m)
        assert end == e or (e <= end == len(text))
        told = dict(zip(FEATURES, features, strict=True))
        for name, value in named.items():
            if name == "lines" and end == len(text):
                continue
            assert told[name] == pytest.approx(value), name


@settings(max_examples=200, deadline=None)
@given(st.data(), TEXTS, st.booleans())
def test_segments_do_not_depend_on_chunking(data, text, phrases) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=20).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    options = {"size": 6, "phrases": phrases}
    assert segments(pieces, **options) == segments([text], **options) == segments(text, **options)


def test_phrases_end_with_sentences_and_lines() -> None:
    text = "It is 3.14 here. Is it? Yes!\nWe go on and on and on and on"
    told = [text[a:b] for a, b, _, _ in segments([text], size=8, phrases=True)]
    assert told == ["It is 3.14 here.", "Is it?", "Yes!", "We go on and on and on and", "on"]


def test_phrases_of_a_script_without_spaces_end_with_its_own_marks() -> None:
    text = "\u4eca\u65e5\u306f\u3001\u96e8\u3002\u660e\u65e5\uff1f\u306f\u3044"
    segmenter = Segmenter(size=8, phrases=True)
    found = [segment for c in text for segment in segmenter.feed(c)] + segmenter.finish()
    assert [text[start:end] for start, end, *_ in found] == [
        text[0:4],
        text[4:6],
        text[6:9],
        text[9:],
    ]
    whole = Segmenter(size=8)
    assert [end for _, end, *_ in whole.feed(text)] == [8]


def test_a_word_is_new_until_it_was_seen_and_again_when_it_is_forgotten() -> None:
    novelty = FEATURES.index("novelty")
    text = "one two three four " * 3
    assert [f[novelty] for *_, f in segments([text], size=4)] == [1.0, 0.0, 0.0]
    assert [f[novelty] for *_, f in segments([text], size=4, memory=2)] == [1.0, 1.0, 1.0]


def test_words_of_a_vocabulary_are_familiar() -> None:
    learning = Segmenter(size=4, collect=True)
    learning.feed("One Two three, four. ")
    learning.finish()
    assert learning.vocabulary is not None
    assert Segmenter(size=4).vocabulary is None
    strange = FEATURES.index("unfamiliarity")
    found = segments(
        ["one two three four five six seven eight"], size=4, familiar=learning.vocabulary
    )
    assert [f[strange] for *_, f in found] == [0.0, 1.0]
    with pytest.raises(ValueError, match="familiar must be a vocabulary of 8192 bytes"):
        Segmenter(size=4, familiar=b"x")


def test_what_is_skipped_moves_positions_on_and_is_no_segment() -> None:
    segmenter = Segmenter(size=2)
    assert segmenter.feed("one tw") == []
    segmenter.skip(1000)
    ((begin, end, n, _),) = segmenter.feed("three four ")
    assert (begin, end, n) == (1006, 1016, 2)
    assert segmenter.n_chars == 1017


def test_scripts_without_spaces_and_words_without_end() -> None:
    assert [n for _, _, n, _ in segments(["我不知道"], size=2)] == [2, 2]
    assert [n for _, _, n, _ in segments(["a" * 100], size=2)] == [2, 2]


def test_without_room_for_words_there_is_no_segmenter() -> None:
    with pytest.raises(ArgumentValueError, match="slots must be at least 1, got 0"):
        Segmenter(size=4, slots=0)
