"""Drift against a template: what is found, where, and that cutting the text changes nothing."""

from __future__ import annotations

import json
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream._core.errors import ArgumentTypeError
from midstream.stream import DriftDetector, DriftTemplate, Event, Finding

TOPICS = ("tea", "rain", "bread", "stone", "moss", "river", "lamp", "glass")


def story(seed: int, sentences: int = 40) -> str:
    rng = random.Random(seed)
    return " ".join(
        f"The {rng.choice(TOPICS)} was {rng.choice(('cold', 'old', 'small'))} and the "
        f"{rng.choice(TOPICS)} {rng.choice(('fell', 'slept', 'waited'))} by the "
        f"{rng.choice(TOPICS)}."
        for _ in range(sentences)
    )


def code(seed: int, lines: int = 40) -> str:
    rng = random.Random(seed)
    return "".join(
        f"  if ({rng.choice('abcxyz')}[{rng.randrange(9)}] != {{{rng.randrange(99)}}}) "
        f"{{ return {rng.choice('abc')}->{rng.choice('xyz')}({rng.randrange(9)}); }}\n"
        for _ in range(lines)
    )


TEMPLATE = DriftTemplate.learn([story(seed) for seed in range(10)])


def scan(pieces, template=TEMPLATE, **options) -> list[Finding]:
    detector = DriftDetector(template, **options)
    found: list[Finding] = []
    for seq, piece in enumerate(pieces):
        found += detector.observe(Event("text", seq, seq, piece))
    return found + list(detector.finish())


def told(findings) -> list[tuple]:
    return [(f.kind, f.severity, f.start, f.end, f.message, dict(f.evidence)) for f in findings]


def test_what_looks_like_the_template_is_left_alone() -> None:
    flagged = [seed for seed in range(100, 120) if scan([story(seed, 80)])]
    assert len(flagged) <= 1  # twice as long as the references


def test_what_turns_into_something_else_is_found_where_it_does() -> None:
    for seed in range(100, 110):
        begin = story(seed, 60)
        (drift,) = scan([begin + code(seed, 60)], action="stop")
        assert (drift.kind, drift.severity) == ("drift", "stop")
        assert len(begin) - 250 <= drift.start <= len(begin) + 250
        assert drift.end <= len(begin) + 1000
        assert drift.evidence["distance"] > drift.evidence["threshold"] == TEMPLATE.threshold
        assert "structure" in drift.evidence["features"] or "numbers" in drift.evidence["features"]
        assert f"since character {drift.start}" in drift.message


def test_it_is_told_again_only_after_it_came_back() -> None:
    found = scan([story(1, 60) + code(1, 120) + story(2, 120) + code(2, 60)])
    assert len(found) == 2
    assert len(scan([story(1, 60) + code(1, 400)])) == 1


def test_texts_are_kept_apart() -> None:
    detector = DriftDetector(TEMPLATE, max_texts=2)
    whole = story(1, 60) + code(1, 60)
    found = []
    for start in range(0, len(whole), 40):
        for stream_id in ("0", "1"):
            piece = whole[start : start + 40]
            found += detector.observe(Event("text", start, 0, piece, stream_id=stream_id))
        assert detector.observe(Event("reasoning", start, 0, code(start, 1))) == ()
    assert [f.evidence["stream_id"] for f in found] == ["0", "1"]
    detector.observe(Event("text", 0, 0, "x", stream_id="2"))
    assert detector.remarks == ("drift: 1 text forgotten",)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_findings_do_not_depend_on_chunking(data) -> None:
    text = story(5, 40) + code(5, 40) + story(6, 40)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=30).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = told(scan([text]))
    assert expected
    assert told(scan(pieces)) == expected
    if data.draw(st.integers(0, 9)) == 0:
        assert told(scan(text)) == expected


def test_a_template_survives_being_stored() -> None:
    again = DriftTemplate.from_bytes(TEMPLATE.to_bytes())
    assert again.to_bytes() == TEMPLATE.to_bytes()
    text = story(1, 60) + code(1, 60)
    assert told(scan([text], again)) == told(scan([text]))
    for damaged in (b"", b"{}", TEMPLATE.to_bytes()[:-9], b'{"format": 1}', b"[1]"):
        with pytest.raises(ValueError, match="data is no template of drift"):
            DriftTemplate.from_bytes(damaged)


def test_the_pace_counts_where_it_is_asked_for() -> None:
    def events(seed, step_ms):
        words = story(seed, 60).split(" ")
        return [
            Event("text", i, i * step_ms * 1_000_000, word + " ") for i, word in enumerate(words)
        ]

    streams = [events(seed, 20 + seed % 3) for seed in range(8)]
    template = DriftTemplate.learn(streams, rate=True)
    assert template.mean.shape == (11,)
    for step_ms, drifts in ((21, False), (400, True)):
        detector = DriftDetector(template)
        found = [f for event in events(50, step_ms) for f in detector.observe(event)]
        assert bool(found) == drifts
        if drifts:
            assert next(iter(found[0].evidence["features"])) == "rate"


def test_registers_of_gpt3_are_told_apart(shared_data) -> None:
    lines = shared_data("loops/gpt3.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line) for line in lines]
    texts = defaultdict(list)
    for sample in samples:
        if sample["label"] == "none" and sample["temperature"] > 0:
            texts[sample["domain"]].append(sample["text"])
    alarms = healthy = hits = turned = 0
    for domain in ("onceuponatime", "hacker-news", "mtg"):
        template = DriftTemplate.learn(texts[domain][:10])
        for text in texts[domain][10:]:
            healthy += 1
            alarms += bool(scan([text], template))
        for other in ("chatbot", "hacker-news", "mtg", "kubernetes"):
            for before, after in zip(texts[domain][10:], texts[other][:8], strict=False):
                if other != domain:
                    turned += 1
                    hits += bool(scan([before + "\n" + after], template))
    assert hits >= 0.85 * turned
    assert alarms <= 0.12 * healthy


@pytest.mark.parametrize(
    ("streams", "options", "message"),
    [
        ("text", {}, "streams must be an iterable of texts or streams, got str"),
        (["only one"], {}, "streams must be at least two with text, got 1"),
        (["a", "b"], {}, "streams must have 8 segments of 32 tokens, got 0"),
        ([story(1), story(2)], {"tolerance": 0.7}, "tolerance must be at most 0.5"),
        ([story(1), story(2)], {"rate": True}, r"streams\[0\] has no times for rate"),
        ([story(1), 5], {}, r"streams\[1\] must be str or events, got int"),
        ([story(1), [5]], {}, r"streams\[1\] must hold events, got int"),
    ],
)
def test_what_cannot_be_learned_from_is_named(streams, options, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        DriftTemplate.learn(streams, **options)


@pytest.mark.parametrize("template", ["one text", None, 5])
def test_what_is_no_template(template):
    with pytest.raises(ArgumentTypeError, match="template must be a DriftTemplate, or texts"):
        DriftDetector(template)
