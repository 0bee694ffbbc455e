"""The regime of a run: what settles is found, what varies is not, however it is cut."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.texts import healthy, looping

from midstream.stream import Event, Finding, RegimeDetector, load

NOUNS = ("tea", "rain", "stone", "moss", "river", "lamp", "glass", "bread", "wool", "iron", "salt")


def varied(seed: int, phrases: int = 60) -> str:
    rng = random.Random(seed)
    return " ".join(
        " ".join(
            rng.choice(NOUNS) + rng.choice(("", "s", "work", "side"))
            for _ in range(rng.randrange(2, 14))
        )
        + rng.choice((".", "!", "?", ",", ", 12.", " (so)."))
        for _ in range(phrases)
    )


def circling(phrases: int = 80) -> str:
    """One rhythm, words that hardly come back."""
    rng = random.Random(0)
    return " ".join(
        f"The {rng.choice(NOUNS)} is a {rng.choice(NOUNS)}. Look!" for _ in range(phrases)
    )


def scan(pieces, **options) -> list[Finding]:
    detector = RegimeDetector(**options)
    found: list[Finding] = []
    for seq, piece in enumerate(pieces):
        found += detector.observe(Event("text", seq, seq, piece))
    return found + list(detector.finish())


def told(findings) -> list[tuple]:
    return [(f.kind, f.severity, f.start, f.end, f.message, dict(f.evidence)) for f in findings]


def test_what_varies_is_left_alone() -> None:
    assert [scan([varied(seed, 200)]) for seed in range(10)] == [[]] * 10


def test_scripts_without_spaces_vary_as_others_do() -> None:
    """Signs are words of one letter: cut by their number alone, all phrases would be alike."""
    signs = [chr(0x4E00 + 7 * n) for n in range(400)]
    told = 0
    for seed in range(10):
        rng = random.Random(seed)
        parts = ("".join(rng.choices(signs, k=rng.randrange(8, 25))) for _ in range(150))
        told += len(scan(["\u3002".join(parts)]))
    assert told == 0
    rng = random.Random(0)
    unit = (
        "".join(rng.choices(signs, k=12)) + "\uff0c" + "".join(rng.choices(signs, k=7)) + "\u3002"
    )
    (found,) = scan([unit * 40])
    assert found.evidence["regime"] == "periodic"


def test_what_comes_to_rest_is_found() -> None:
    begin = varied(1, 40)
    (found,) = scan([begin + " " + "I will wait. " * 100], action="stop")
    assert (found.kind, found.severity, found.evidence["regime"]) == ("regime", "stop", "stuck")
    assert found.end <= len(begin) + 13 * 50
    assert found.start < found.end
    assert found.message.startswith("the text has come to rest since character")


def test_a_rhythm_whose_words_change_is_found() -> None:
    found = scan([varied(2, 40) + " " + circling()])
    assert [f.evidence["regime"] for f in found] == ["periodic"]
    assert found[0].evidence["determinism"] > 0.5


def test_it_is_told_again_only_after_the_text_has_varied() -> None:
    rest = "I will wait. " * 120
    assert len(scan([rest * 3])) == 1
    assert len(scan([rest + varied(1, 120) + " " + rest])) == 2


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_findings_do_not_depend_on_chunking(data) -> None:
    text = varied(3, 40) + " " + circling(60) + varied(4, 60)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=30).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = told(scan([text]))
    assert expected
    assert told(scan(pieces)) == expected


def test_one_character_at_a_time_finds_the_same() -> None:
    text = varied(3, 40) + " " + circling(60) + varied(4, 60)
    assert told(scan(text)) == told(scan([text]))


def test_what_was_passed_over_moves_positions_on() -> None:
    rest = "I will wait. " * 100
    detector = RegimeDetector()
    detector.observe(Event("text", 0, 0, rest[:100]))
    detector.skip("text", "", 10_000)
    (found,) = detector.observe(Event("text", 1, 0, rest))
    assert found.start >= 10_100


def test_texts_are_kept_apart_and_bounded() -> None:
    detector = RegimeDetector(max_texts=2)
    for place in range(0, 1300, 13):
        for stream_id in ("0", "1"):
            event = Event("reasoning", place, 0, "I will wait. ", stream_id=stream_id)
            detector.observe(event)
    assert detector.memory_bytes < 40_000
    assert not detector.remarks
    detector.observe(Event("text", 0, 0, "Well."))
    assert detector.remarks == ("regime: 1 text forgotten",)
    assert detector.observe(Event("tool_call", 0, 0, "I will wait. " * 100)) == ()


def test_loops_of_many_kinds_settle() -> None:
    for name in ("a sentence", "counter that never ends", "a new word in every copy"):
        assert scan([looping()[name][2] * 3]), name


@pytest.mark.parametrize("name", ["numbered list", "bullets with one stem", "dialogue", "code"])
def test_lists_may_have_a_rhythm_but_are_never_stopped_by_default(name: str) -> None:
    assert {f.severity for f in scan([healthy()[name]])} <= {"warn"}


def test_samples_of_gpt3(shared_data) -> None:
    text = shared_data("loops/gpt3.jsonl").read_text(encoding="utf-8")
    samples = [json.loads(line) for line in text.splitlines()]
    certain = [sample for sample in samples if not sample["doubt"]]
    flagged = {sample["id"] for sample in certain if scan([sample["text"]])}
    loops = {sample["id"] for sample in certain if sample["label"] == "loop"}
    none = {sample["id"] for sample in certain if sample["label"] == "none"}
    assert len(loops) == 23
    assert len(flagged & loops) >= 21
    assert not flagged & none


def test_recorded_streams(shared_data) -> None:
    labels = json.loads(shared_data("streams/stories260k/labels.json").read_text())
    hits = 0
    for name, label in labels.items():
        events = load(shared_data("streams/stories260k/" + label["file"]))
        detector = RegimeDetector()
        found = [f for event in events for f in detector.observe(event)]
        if label["runs"]:
            hits += bool(found)
        else:
            assert not found, name
    assert hits >= 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "block"}, "action must be one of 'note', 'warn', 'stop', got 'block'"),
        ({"window": 8}, "window must be at least 32, got 8"),
        ({"entropy": 2}, "entropy must be at most 1, got 2"),
        ({"kinds": "text"}, "kinds must be a collection of str, got 'text'"),
    ],
)
def test_bad_arguments_are_named(arguments, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        RegimeDetector(**arguments)


def test_state_tells_the_newest_phrases() -> None:
    detector = RegimeDetector()
    assert detector.state("text") is None
    assert detector.observe(Event("text", 0, 0, "Look at the tea. It is there. " * 100))
    state = detector.state("text")
    assert state is not None
    assert state.name == "periodic"
    assert state.regime is not None
    assert state.points.shape == (32, 6)
    assert state.n_phrases >= 199
    assert (state.points[2:] == state.points[:-2]).all()
    detector.skip("text", "", 10)
    after = detector.state("text")
    assert after is not None
    assert after.regime is None
    assert (after.n_phrases, len(after.points)) == (0, 0)
