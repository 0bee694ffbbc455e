"""Loops in text: what is found, what is not, and that cutting the text changes nothing."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from statistics import quantiles

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.texts import enumerations, healthy, looping

from midstream.stream import Event, Finding, LoopDetector, load, shipped_recordings


def scan(pieces, **options) -> list[Finding]:
    detector = LoopDetector(**options)
    found: list[Finding] = []
    for seq, piece in enumerate(pieces):
        found += detector.observe(Event("text", seq, seq, piece))
    return found + list(detector.finish())


def told(findings) -> list[tuple]:
    """Everything of the findings that the text alone decides."""
    return [(f.kind, f.severity, f.start, f.end, f.message, dict(f.evidence)) for f in findings]


@pytest.mark.parametrize("name", healthy())
def test_regular_text_is_not_stopped(name: str) -> None:
    assert [f for f in scan([healthy()[name]]) if f.severity == "stop"] == []


@pytest.mark.parametrize("name", sorted(healthy().keys() - {"zeros"}))
def test_regular_text_is_not_even_noted(name: str) -> None:
    assert scan([healthy()[name]]) == []


@pytest.mark.parametrize("name", enumerations())
def test_enumerations_are_not_stopped(name: str) -> None:
    assert [f for f in scan([enumerations()[name]]) if f.severity == "stop"] == []


@pytest.mark.parametrize("name", looping())
def test_loops_are_found(name: str) -> None:
    kind, severity, text = looping()[name]
    found = scan([text])
    assert found[-1].severity == severity
    assert kind in {finding.kind for finding in found}
    first = found[0]
    assert 0 <= first.start < first.end <= len(text)
    assert first.copies >= 3
    assert first.period >= 1


def test_an_exact_loop_is_located_to_the_character() -> None:
    text = "Once there was a king. " + "He counted his coins and sighed. " * 20
    first, certain = scan([text])
    # The period holds from the full stop before "He" on: every copy ends with one.
    assert text[first.start :].startswith(". He counted")
    assert (first.evidence["period_chars"], first.period, first.copies) == (33, 7, 3.0)
    assert first.evidence["unit"] == ". He counted his coins and sighed"
    assert first.end - first.start == 3 * 33
    assert (first.severity, certain.severity) == ("warn", "stop")
    assert certain.start == first.start
    assert certain.end - certain.start - 33 >= 200
    assert "every 33 characters: 3.0 copies since character 21" in first.message


ENDLESS = "".join(
    ["Well. ", "It is what it is. " * 9, "Enough — genug — 十分 🙂. ", "no no " * 20, "\n\t x" * 30]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_findings_do_not_depend_on_chunking(data) -> None:
    texts = [
        ENDLESS,
        looping()["counter"][2][:2500],
        looping()["wordings that alternate"][2][:1500],
    ]
    text = data.draw(st.sampled_from(texts))
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=30).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for action in ("stop", "warn", "note"):
        assert told(scan(pieces, action=action)) == told(scan([text], action=action))


@pytest.mark.parametrize("action", ["stop", "warn"])
def test_character_by_character_is_the_same_as_at_once(action: str) -> None:
    for _, _, text in looping().values():
        assert told(scan(text, action=action)) == told(scan([text], action=action))


@pytest.mark.parametrize(
    ("unit", "copies", "period"),
    [
        ("abcdefg", 100, 7),
        ("ha", 300, 2),
        ("1234567890123", 60, 13),
        ("acgtgacctgatcgatcctagactaggactactgattc", 60, 38),
    ],
)
def test_what_has_no_spaces_is_located_to_the_character(unit, copies, period) -> None:
    text = "Hello there. " + unit * copies
    (first, *_) = scan([text], action="warn")
    assert (first.start, first.period, first.evidence["period_chars"]) == (13, period, period)
    assert first.end <= 13 + max(36 * 3, 4 * period)


def test_halves_of_a_character_that_came_apart_are_joined() -> None:
    whole = "So 🙂 it goes 🙂 again. " * 20
    halves = whole.encode("utf-16", "surrogatepass").decode("utf-16")
    pieces = [half for c in halves for half in (_halves(c) if ord(c) > 0xFFFF else [c])]
    assert told(scan(pieces)) == told(scan([whole]))
    alone = "\ud83d so it goes \ude00 and "
    assert told(scan(alone * 20)) == told(scan([alone * 20]))


def _halves(c: str) -> list[str]:
    code = ord(c) - 0x10000
    return [chr(0xD800 + (code >> 10)), chr(0xDC00 + (code & 0x3FF))]


def test_nothing_is_looked_at_after_a_stop() -> None:
    text = "I will try that once more. " * 30
    found = scan([text, "Something else. ", "Again and again and again. " * 40])
    assert [f.severity for f in found] == ["warn", "stop"]


def test_action_grades_the_findings() -> None:
    text = "I will try that once more. " * 30
    assert [f.severity for f in scan([text], action="warn")] == ["note", "warn"]
    assert [f.severity for f in scan([text], action="note")] == ["note"]


def test_near_repetition_can_be_left_out() -> None:
    text = looping()["counter"][2]
    assert scan([text], near=False) == []


def test_parallel_texts_do_not_mix() -> None:
    detector = LoopDetector()
    found = []
    for seq in range(40):
        for channel, text in (("0", "tick tock goes it. "), ("1", f"{WORDS[seq]} is new. ")):
            found += detector.observe(Event("text", seq, seq, text, stream_id=channel))
        found += detector.observe(Event("reasoning", seq, seq, f"{WORDS[-seq]}, hm. "))
    assert {(f.evidence["channel"], f.evidence["stream_id"]) for f in found} == {("text", "0")}


WORDS = [f"{a}{b}{c}" for a in "bdfg" for b in "aeiou" for c in ("lop", "mint", "rusk")]


def test_kinds_choose_what_is_scanned() -> None:
    loop = "I will try that once more. " * 30
    for kind in ("text", "reasoning", "tool_call", "audio"):
        detector = LoopDetector()
        assert detector.observe(Event(kind, 0, 0, loop)), kind
    for kind in ("tool_result", "error", "end"):
        assert not LoopDetector().observe(Event(kind, 0, 0, loop)), kind
    assert not LoopDetector(kinds={"reasoning"}).observe(Event("text", 0, 0, loop))


@pytest.mark.parametrize(("texts", "words"), [(2, 6000), (11, 600), (16, 300)])
def test_interleaved_texts_keep_their_places(texts: int, words: int) -> None:
    """However the memory limit presses, positions are those of the text."""
    detector = LoopDetector("warn", memory_limit_bytes=160 * 1024)
    lead = {str(text): list(random_words(words, seed=text)) for text in range(texts)}
    found = []
    for seq in range(words + 40):
        for text, made in lead.items():
            piece = made[seq] if seq < words else " I will try that once more."
            found += detector.observe(Event("text", seq, seq, piece, stream_id=text))
        assert detector.memory_bytes <= 160 * 1024
    starts = {f.evidence["stream_id"]: f.start for f in reversed(found) if f.kind == "loop"}
    expected = {text: sum(map(len, made)) for text, made in lead.items()}
    assert starts.keys() == expected.keys()
    # A text whose past was given up within the loop sees it from a later copy on.
    assert all((starts[text] - expected[text]) % 27 == 0 for text in lead)
    assert all(starts[text] >= expected[text] for text in lead)
    assert texts > 2 or starts == expected
    assert detector.shrunk > 0


def random_words(count: int, seed: int = 0) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        yield " " + "".join(rng.choice("abcdefghijklmnop") for _ in range(rng.randrange(2, 9)))


def test_memory_is_bounded_however_many_texts_there_are() -> None:
    detector = LoopDetector()
    words = list(random_words(12_000))
    for channel in range(4):
        for seq, word in enumerate(words):
            detector.observe(Event("text", seq, seq, word, stream_id=str(channel)))
        assert detector.memory_bytes <= 256 * 1024
    for call in range(3000):
        detector.observe(Event("tool_call", call, call, '{"city": "Oslo"}', stream_id=f"0/{call}"))
        assert detector.memory_bytes <= 256 * 1024
    assert detector.evicted > 0
    assert detector.shrunk > 0
    tokens = 4 * len(words)
    assert tokens <= detector.n_tokens <= tokens + 3000 * 9


def test_one_long_text_needs_less_than_the_budget() -> None:
    detector = LoopDetector()
    for seq, word in enumerate(random_words(30_000)):
        detector.observe(Event("text", seq, seq, word))
        if seq == 400:
            assert detector.memory_bytes < 24 * 1024
    assert detector.memory_bytes < 112 * 1024


def test_a_short_text_needs_next_to_nothing() -> None:
    detector = LoopDetector()
    detector.observe(Event("tool_call", 0, 0, '{"city": "Oslo"}', stream_id="0/0"))
    assert detector.memory_bytes < 6 * 1024


def test_a_recurrence_is_found_across_every_growth_of_the_tables() -> None:
    # A stretch of 47 words, then 5 to 600 others, then the stretch again and again: that it was
    # seen before is known from its fifth word on, wherever between the tables were made larger.
    rng = random.Random(3)
    words = [f"{a}{b}{c} " for a in "bdfgklmn" for b in "aeiou" for c in "bdfgklmnprst"]
    for n_between in (5, 30, 100, 250, 600):
        stretch = rng.sample(words, 47)
        others = [rng.choice(words) for _ in range(n_between)]
        text = stretch + others + [*stretch, rng.choice(words)] * 12
        begun = len("".join([*stretch, *others]))
        detector = LoopDetector("note")
        found = [
            finding
            for seq, word in enumerate(text)
            for finding in detector.observe(Event("text", seq, seq, word))
        ]
        assert found, n_between
        assert min(finding.start for finding in found) <= begun


def test_rulers_between_words_stay_within_the_budget() -> None:
    detector = LoopDetector("note")
    for seq, word in enumerate(random_words(3000)):
        detector.observe(Event("text", seq, seq, word + "\n" + "-" * (30 + seq % 70) + "\n"))
        assert detector.memory_bytes <= 256 * 1024


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "halt"}, "action must be one of 'note', 'warn', 'stop', got 'halt'"),
        ({"kinds": ["poem"]}, "kinds must be one of"),
        ({"min_copies": 1}, "min_copies must be at least 2, got 1"),
        ({"min_chars": 0}, "min_chars must be at least 1, got 0"),
        ({"near_score": float("nan")}, "near_score must be finite, got nan"),
        ({"near_score": 300.0}, "near_score must be at most 150, got 300.0"),
        (
            {"near_score": 50.0, "near_stop_score": 49.0},
            "near_stop_score must be at least near_score=50.0, got 49.0",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        LoopDetector(**arguments)


# Recordings: two that loop and one that does not are in the package, more beside the checkout.


def play(path, action="stop") -> list[Finding]:
    detector = LoopDetector(action)
    found: list[Finding] = []
    for event in load(path):
        found += detector.observe(event)
    return found + list(detector.finish())


def test_shipped_recordings() -> None:
    found = {name: play(path) for name, path in shipped_recordings().items()}
    stopped = {name for name, findings in found.items() if findings[-1:] and _is_stop(findings[-1])}
    assert stopped == {"loop-02", "loop-04"}
    assert found["healthy-03"] == []


@pytest.mark.parametrize(
    # The labels of the recordings: first run with four copies, in tokens of the model.
    ("name", "start", "period"),
    [("loop-02", 147, 27), ("loop-04", 476, 4)],
)
def test_shipped_loops_are_found_in_time(name: str, start: int, period: int) -> None:
    found = play(shipped_recordings()[name], action="warn")
    first = next(f for f in found if f.kind == "loop" and f.seq >= start)
    assert first.seq < start + 5 * period


def _is_stop(finding: Finding) -> bool:
    return finding.severity == "stop"


def first_run_of_four(label) -> dict | None:
    return next(
        (run for run in label["runs"] if run["length_tokens"] >= 4 * run["period_tokens"]), None
    )


def test_recorded_streams(shared_data, record_property) -> None:
    folder = shared_data("streams/stories260k")
    labels = json.loads((folder / "labels.json").read_text())
    late = {}
    delays = []
    for name, label in labels.items():
        # A chunk is one token, so an event's number is the model's token index.
        if name.startswith("healthy"):
            assert not any(map(_is_stop, play(folder / label["file"]))), name
        if not label["loop"]:
            continue
        run = first_run_of_four(label)
        start, period = run["start_token"], run["period_tokens"]
        # Not stopped, since a shorter run before it would end the matter too early.
        found = play(folder / label["file"], action="warn")
        inside = [f.seq for f in found if f.kind == "loop" and f.seq >= start]
        # The third copy is complete at start + 3 periods; two more are allowed.
        if not inside or inside[0] >= start + 5 * period:
            late[name] = (inside[:1], run)
        delays += [seq - start + 1 for seq in inside[:1]]
    record_property("tokens_from_onset", delays)
    assert late == {}


@pytest.fixture(scope="module")
def samples(shared_data) -> list[dict]:
    path = shared_data("loops/gpt3.jsonl")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_no_healthy_sample_is_stopped(samples) -> None:
    stopped = [
        sample["id"]
        for sample in samples
        if sample["label"] == "none" and any(map(_is_stop, scan([sample["text"]])))
    ]
    assert stopped == []


def test_looping_samples_are_found(samples, record_property) -> None:
    counted = [s for s in samples if s["label"] == "loop" and not s["doubt"]]
    found = {s["id"]: scan([s["text"]]) for s in counted}
    for near, wanted in ((False, 0.95), (True, 0.80)):
        group = [s for s in counted if s["near"] == near]
        hits = [s for s in group if found[s["id"]]]
        assert len(hits) >= wanted * len(group), [s["id"] for s in group if s not in hits]
        delays = sorted(
            next((f.end for f in found[s["id"]] if f.end > s["onset_char"]), len(s["text"]))
            - s["onset_char"]
            for s in hits
        )
        record_property(f"chars_from_onset_near_{near}", delays)
        assert len(quantiles(delays, n=4)) == 3


def test_repeats_are_not_stopped_before_their_third_copy(samples) -> None:
    for sample in samples:
        if sample["label"] != "repeat":
            continue
        third_copy = sample["onset_char"] + 3 * sample["period_chars"]
        for finding in scan([sample["text"]]):
            if finding.severity == "stop" and finding.start <= sample["end_char"]:
                assert finding.end >= third_copy, sample["id"]


def test_calls_with_one_stream_id_are_texts_of_their_own() -> None:
    def told(call_ids):
        detector = LoopDetector()
        text = '{"path": "notes and other things.txt", "with": "all the words"}'
        found = [
            finding
            for call_id in call_ids
            for piece in (text[:20], text[20:])
            for finding in detector.observe(
                Event("tool_call", 0, 0, piece, "read", None, "0/0", call_id)
            )
        ]
        return found + list(detector.finish()), detector.n_tokens

    apart, n_apart = told([f"call_{n}" for n in range(40)])
    assert apart == []
    together, n_together = told([None] * 40)
    assert {f.kind for f in together} == {"loop"}
    assert n_apart >= n_together  # of these, nothing is scanned behind the stop
    inside = LoopDetector()
    looping = Event("tool_call", 0, 0, "the same again, " * 40, "say", None, "0/0", "one")
    assert [f.severity for f in inside.observe(looping)] == ["warn", "stop"]


_MADE_UP = {
    "UUID": lambda rng, n: f"request {uuid.UUID(int=rng.getrandbits(128))}",
    "time of day": lambda rng, n: f"2026-11-29T10:{n % 60:02}:{rng.randrange(60):02}Z",
    "fraction": lambda rng, n: f"10:{n % 60:02}:07.{rng.randrange(1000):03}",
}


@pytest.mark.parametrize("name", _MADE_UP)
@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_lines_with_an_identifier_or_a_time_of_their_own_nearly_repeat(name: str, cut: int) -> None:
    rng = random.Random(3)
    text = "".join(f"{_MADE_UP[name](rng, n)}: the upstream did not answer.\n" for n in range(80))
    detector = LoopDetector()
    found = [
        finding
        for start in range(0, len(text), cut)
        for finding in detector.observe(Event("text", 0, 0, text[start : start + cut]))
    ]
    # Every copy brings something: a warning, not a stop.
    assert [f.severity for f in found] == ["note", "warn"]
    assert {f.kind for f in found} == {"near_loop"}


def test_versions_of_different_things_are_not_one_number() -> None:
    """Lists of packages hold the same few words between names that all differ."""
    rng = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = "".join(
        f'"registry+https://example.com/index#{"".join(rng.choices(letters, k=7))}'
        f'@{rng.randrange(9)}.{rng.randrange(99)}.{rng.randrange(20)}",\n'
        for _ in range(300)
    )
    assert "stop" not in {f.severity for f in LoopDetector().observe(Event("text", 0, 0, text))}
