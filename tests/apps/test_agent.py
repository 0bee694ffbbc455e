"""`Agent`: what it counts and measures, and what it says where there is nothing to measure."""

from __future__ import annotations

import json
import math
import random
import threading
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.apps.agent import Agent
from midstream.apps.sequences import METRICS, words_of
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Finding


def plain(answer):
    """What a client gets of an answer."""
    return json.loads(json.dumps(answer.to_dict(), allow_nan=False))


def call(name, arguments, call_id):
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def result(text, call_id):
    return {"role": "tool", "tool_call_id": call_id, "content": text}


# Nothing at all.


def test_nothing_has_a_defined_answer():
    agent = Agent()
    analysis = agent.analyze()
    assert (analysis.messages, analysis.words, analysis.turn_length) == (0, 0, None)
    assert agent.analyze([]) == analysis
    assert agent.detect_pattern().count == agent.detect_pattern("x").count == 0
    assert agent.detect_pattern([], [1, 2]).count == agent.detect_pattern([1], []).count == 0
    assert agent.behavior().kind == agent.behavior([]).kind == "insufficient"
    assert agent.behavior([]).mean is None
    assert agent.meta_learn().rewards is None
    assert agent.status().mean_reward is None
    for answer in (analysis, agent.behavior(), agent.status(), agent.meta_learn()):
        plain(answer)


@pytest.mark.parametrize("metric", METRICS)
def test_empty_sequences_compare_to_a_number_or_a_reason(metric):
    found = Agent().compare([], [], metric=metric)
    assert (found.value is None) == (found.reason is not None)
    assert found.lengths == (0, 0)


# Messages.


def test_a_message_is_told_what_it_repeats():
    agent = Agent()
    agent.process("please look up the order of yesterday")
    agent.process("it is on its way")
    near = agent.process("Please look up the order of Monday!")
    assert (near.number, near.same_as, near.nearest) == (2, None, 0)
    assert near.nearest_distance == pytest.approx(1 / 7)
    assert near.previous_distance == 1.0
    same = agent.process("it is on its way")
    assert (same.same_as, same.nearest, same.nearest_distance) == (1, 1, 0.0)


def test_distances_are_the_edit_distance_over_words():
    rng = random.Random(0)
    texts = [
        " ".join(rng.choice("abcdefg") for _ in range(rng.randrange(0, 30))) for _ in range(40)
    ]
    agent = Agent()
    processed = [agent.process(text) for text in texts]

    def reference(one, other):
        one, other = one.split(), other.split()
        row = list(range(len(other) + 1))
        for i, x in enumerate(one, 1):
            corner, row[0] = row[0], i
            for j, y in enumerate(other, 1):
                corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
        longer = max(len(one), len(other))
        return row[-1] / longer if longer else None

    expected = [reference(one, other) for one, other in pairwise(texts)]
    assert agent.analyze().turn_distances == pytest.approx(expected)
    assert [each.previous_distance for each in processed[1:]] == pytest.approx(expected)
    for number, each in enumerate(processed):
        if each.nearest is not None:
            apart = [reference(text, texts[number]) for text in texts[:number] if text]
            assert each.nearest_distance == pytest.approx(min(apart))


def test_an_analysis_counts():
    messages = [
        {"role": "system", "content": "Be brief and kind."},
        {"role": "user", "content": "Where is my order?"},
        {"role": "assistant", "content": "Let me look that up for you."},
        {"role": "user", "content": "Where is my order?"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Let me look that up for all."}],
        },
    ]
    analysis = Agent().analyze(messages)
    assert analysis.roles == {"system": 1, "user": 2, "assistant": 2}
    assert analysis.turn_words == (4, 4, 7, 4, 7)
    assert analysis.turn_length.median == 4
    assert analysis.chars == sum(
        len(m["content"] if isinstance(m["content"], str) else m["content"][0]["text"])
        for m in messages
    )
    assert [(d.text, d.messages) for d in analysis.duplicates] == [("Where is my order?", (1, 3))]
    assert [(n.first, n.second) for n in analysis.near_repeats] == [(2, 4)]
    assert analysis.near_repeats[0].distance == pytest.approx(1 / 7)
    assert ("let me look that up for", 2, (2, 4)) in [
        (p.text, p.count, p.messages) for p in analysis.phrases
    ]
    plain(analysis)


def test_phrases_do_not_span_messages():
    analysis = Agent().analyze(["red green", "blue red", "green blue red green blue"] * 2)
    joined = [" ".join(m.split()) for m in ("red green", "blue red", "green blue red green blue")]
    for phrase in analysis.phrases:
        assert any(phrase.text in text for text in joined)


def test_a_conversation_that_goes_round_is_seen():
    agent = Agent()
    agent.process("hello")
    for _ in range(3):
        agent.process("shall I?")
        processed = agent.process("yes, do")
    assert (processed.cycle.period, processed.cycle.copies, processed.cycle.start) == (2, 3.0, 1)
    assert agent.analyze().cycle == processed.cycle
    assert agent.process("no").cycle is None


def test_a_loop_within_a_message_is_found():
    agent = Agent()
    processed = agent.process({"role": "assistant", "content": "I will try that again. " * 20})
    assert {finding.kind for finding in processed.findings} == {"loop"}
    assert all(isinstance(finding, Finding) for finding in processed.findings)
    assert agent.status().findings["loop"] == len(processed.findings)
    assert not agent.process("A sentence that is said once.").findings


def test_tool_loops_across_messages_are_found():
    agent = Agent()
    found = []
    for turn in range(3):
        agent.process(call("find", '{"q": "tea"}', f"c{turn}"))
        agent.process(result("nothing", f"c{turn}"))
    found = agent.analyze().findings
    assert found
    assert found[-1].kind == "tool_loop"
    assert found[-1].evidence["copies"] == 3
    assert agent.analyze().tools == {"find": 3}


def test_tool_calls_of_anthropic_are_read():
    agent = Agent()
    for turn in range(3):
        use = {"type": "tool_use", "id": f"t{turn}", "name": "find", "input": {"q": "tea"}}
        agent.process({"role": "assistant", "content": [use]})
        block = {"type": "tool_result", "tool_use_id": f"t{turn}", "content": "nothing"}
        processed = agent.process({"role": "user", "content": [block]})
    assert processed.results == 1
    assert agent.status().findings == {"tool_loop": 2}


def test_tool_calls_that_bring_something_new_are_no_loop():
    agent = Agent()
    for turn in range(6):
        agent.process(call("read", json.dumps({"page": turn, "topic": f"t{turn}"}), f"c{turn}"))
        agent.process(result(f"page {turn} tells of {'abcdef'[turn] * 20}", f"c{turn}"))
    assert not [f for f in agent.analyze().findings if f.severity == "warn"]


def test_limits_make_the_oldest_go():
    agent = Agent(max_messages=10, max_chars=1000)
    for number in range(25):
        processed = agent.process(f"message number {number}")
    assert processed.forgotten == 15
    assert (agent.status().kept, agent.analyze().first) == (10, 15)
    assert agent.process("message number 3").same_as is None
    assert agent.process("message number 20").same_as == 20
    agent.process("x" * 900)
    assert agent.status().kept_chars <= 1000
    agent.process("y" * 5000)
    assert agent.status().kept == 1


def test_what_is_refused_leaves_nothing_behind():
    agent = Agent(max_message_chars=100)
    for wrong in (
        None,
        3,
        ["text"],
        {},
        {"role": "user"},
        {"role": 3, "content": "x"},
        {"content": 3},
        {"content": {"a": 1}},
        {"role": "r" * 1000, "content": "x"},
        "x" * 101,
        call("f", "x" * 101, "c"),
    ):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match="message"):
            agent.process(wrong)
    assert agent.status().messages == 0


def test_a_wrong_message_of_several_is_named():
    with pytest.raises(ArgumentTypeError, match=r"messages\[1\]"):
        Agent().analyze(["fine", 3])
    with pytest.raises(ArgumentTypeError, match="messages must be a list"):
        Agent().analyze("text")
    with pytest.raises(ArgumentValueError, match="at most 2"):
        Agent(max_messages=2).analyze(["a", "b", "c"])


def test_surrogates_and_controls_pass():
    agent = Agent()
    agent.process("\ud800 half \x00 \u202e")
    assert agent.process("\ud800 half \x00 \u202e").same_as == 0
    json.dumps(agent.analyze().to_dict(), allow_nan=False)


def test_scripts_without_spaces_have_words():
    agent = Agent()
    assert agent.process("你好吗").words == 3
    assert agent.process("你好吧").nearest_distance == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("snake_case, kebab-case", ["snake_case", "kebab", "case"]),
        ("«Où?» — ¡Olé!", ["où", "olé"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),
        ("مرحبا، كيف؟", ["مرحبا", "كيف"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        ("こんにちは。", list("こんにちは")),
        ("e\u0301te\u0301 \x00\x1b[2J \ufffd", ["e\u0301te\u0301", "2j", "\ufffd"]),
        ("x" * 130, ["x" * 64, "x" * 64, "xx"]),
        ("...!?", []),
    ],
)
def test_words_are_what_stands_between_spaces_and_punctuation(text, words):
    assert words_of(text) == words


@given(st.lists(st.text(max_size=30), max_size=12))
def test_any_texts_can_be_analysed(texts):
    analysis = Agent().analyze(texts)
    assert analysis.messages == len(texts)
    assert len(analysis.turn_distances) == max(0, len(texts) - 1)
    assert analysis.duplicate_messages <= len(texts)
    plain(analysis)


# Comparing.


def test_comparisons_are_keyed_by_content_not_by_length():
    agent = Agent()
    assert agent.compare([1, 2, 3], [1, 2, 3]).value == 0
    assert agent.compare([1, 2, 3], [4, 5, 6]).value > 0
    assert agent.compare(["a", "b"], ["a", "b"], metric="lcs").value == 2
    assert agent.compare(["a", "b"], ["c", "d"], metric="lcs").value == 0
    assert agent.compare([1, 2, 3], [4, 5, 6]).value == agent.compare([4, 5, 6], [1, 2, 3]).value
    assert agent.status().comparisons["hits"] >= 2


def test_each_measure_answers_in_its_own_way():
    agent = Agent()
    x, y = [1.0, 2.0, 4.0], [1.0, 3.0, 4.0]
    values = {metric: agent.compare(x, y, metric=metric).value for metric in METRICS}
    assert values["dtw"] == pytest.approx(math.sqrt(1.0))
    assert values["lcs"] == 2
    assert values["levenshtein"] == values["edit"] == 1
    assert values["euclidean"] == 1.0
    assert values["correlation"] == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_texts_are_compared_by_words_or_characters():
    agent = Agent()
    found = agent.compare("The cat sat.", "the dog sat", metric="edit")
    assert (found.value, found.unit, found.relative) == (1, "words", pytest.approx(1 / 3))
    found = agent.compare("kitten", "sitting", metric="levenshtein", unit="characters")
    assert (found.value, found.lengths) == (3, (6, 7))
    assert agent.compare(["a", "b", "c"], ["a", "c"]).value == 1


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1, 1], [2, 3], "constant"),
        ([1, 2], [1, 2, 3], "equally many"),
        ([1], [2], "at least two"),
    ],
)
def test_a_correlation_that_is_not_defined_says_why(x, y, reason):
    found = Agent().compare(x, y, metric="correlation")
    assert found.value is None
    assert reason in found.reason


def test_correlation_of_extreme_numbers_is_one():
    assert Agent().compare([1e308, -1e308], [1e-300, -1e-300], metric="pearson").value == 1.0


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        ([1, float("nan")], {}, r"first\[1\] must be finite"),
        ([{}], {}, r"first\[0\] must be a number or a text"),
        ([[[1]]], {}, r"first\[0\] must hold"),
        (3, {}, "first must be a text"),
        (None, {}, "first must be a text"),
        ([0] * 101, {}, "at most 100"),
        ("x " * 101, {}, "at most 100"),
        ([1], {"metric": "jaccard"}, "metric must be one of"),
        ([1], {"metric": 3}, "metric must be str"),
        (["a"], {"metric": "euclidean"}, "compares numbers"),
        ([1], {"unit": "lines"}, "unit must be"),
        ([1], {"breadth": 3}, "breadth"),
        ([10**400], {}, "too large"),
    ],
)
def test_what_cannot_be_compared_is_named(first, options, message):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=message):
        Agent(max_elements=100).compare(first, [1, 2], **options)


# Patterns.


@given(
    st.lists(st.sampled_from("ab"), max_size=40),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=4),
)
def test_exact_search_finds_every_place(sequence, pattern):
    expected = [
        i
        for i in range(len(sequence) - len(pattern) + 1)
        if sequence[i : i + len(pattern)] == pattern
    ]
    assert list(Agent().detect_pattern(pattern, sequence).positions) == expected


def test_patterns_of_the_conversation_have_their_message():
    agent = Agent()
    for text in ("", "So far so good.", "", "good so far", "far, so good"):
        agent.process(text)
    found = agent.detect_pattern("so good")
    assert (found.messages, found.positions) == ((1, 4), (2, 1))
    assert agent.detect_pattern("good good").count == 0


def test_discovery_finds_what_repeats():
    found = Agent().detect_pattern(None, "abcabcabcxabc", min_length=3)
    assert found.mode == "discovery"
    best = found.repeats[0]
    assert ("".join(best.pattern), best.count, best.positions) == ("abc", 4, (0, 3, 6, 10))
    assert Agent().detect_pattern(None, [3, 1, 4, 1, 5, 9, 2, 6]).repeats == ()
    tools = Agent().detect_pattern(None, ["read", "edit", "test"] * 4 + ["done"])
    assert tools.repeats[0].pattern[0] == "read"


# Behaviour and learning.


def logistic(n, r):
    x = [0.3]
    while len(x) < n:
        x.append(r * x[-1] * (1 - x[-1]))
    return x


def test_behaviour_is_told_of_known_dynamics():
    agent = Agent()
    chaos = agent.behavior(logistic(2000, 4.0))
    assert (chaos.kind, chaos.is_chaotic, chaos.is_stable) == ("strange", True, False)
    assert chaos.lyapunov_ci[0] < math.log(2) < chaos.lyapunov_ci[1]
    cycle = agent.behavior([math.sin(i / 5) for i in range(2000)])
    assert (cycle.kind, cycle.is_chaotic, cycle.is_stable) == ("limit_cycle", False, True)
    assert cycle.period == pytest.approx(10 * math.pi, rel=0.01)
    rest = agent.behavior([1.5] * 500)
    assert (rest.kind, rest.is_stable, rest.mean, rest.std) == ("fixed_point", True, 1.5, 0)
    assert rest.lyapunov is None
    noise = agent.behavior(np.random.default_rng(0).normal(size=1000))
    assert (noise.kind, noise.is_chaotic, noise.lyapunov) == ("noise", None, None)
    for answer in (chaos, cycle, rest, noise):
        plain(answer)


@pytest.mark.parametrize("n", [0, 1, 99])
def test_short_series_are_not_judged(n):
    found = Agent().behavior([random.Random(0).random()] * n)
    assert (found.kind, found.sufficient, found.lyapunov) == ("insufficient", False, None)
    assert str(n) in found.reasons[0]


def test_behaviour_takes_rewards_then_lengths():
    agent = Agent()
    for number in range(120):
        agent.process("word " * (number % 7 + 1))
    assert (agent.behavior().source, agent.behavior().samples) == ("turn_words", 120)
    agent.meta_learn(reward=1.0)
    assert (agent.behavior().source, agent.behavior().samples) == ("rewards", 1)


def test_extreme_numbers_have_finite_answers():
    found = Agent().behavior([1e308, -1e308] * 100)
    assert found.mean == pytest.approx(0, abs=1e295)
    assert math.isfinite(found.std)
    plain(found)


def test_behaviour_of_what_is_no_series_is_refused():
    for wrong in (["a"], [None], [float("inf")], "abc", {"a": 1}):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match="series"):
            Agent().behavior(wrong)


def test_learning_finds_what_comes_back():
    agent = Agent()
    for number in range(40):
        learned = agent.meta_learn(f"Tell me of town {number % 4}. Thank you!", reward=number % 3)
    phrases, turns = learned.levels
    assert (phrases.units, turns.units) == (80, 40)
    best = phrases.patterns[0]
    assert best.text.startswith("tell me of town")
    assert best.recurrence == 1.0
    assert 0.5 < best.recurrence_lower < 1
    assert learned.rewards.count == 40
    assert agent.status().messages == 0
    plain(learned)


def test_rewards_that_change_are_noticed():
    agent = Agent()
    rng = random.Random(0)
    for number in range(600):
        learned = agent.meta_learn(reward=rng.gauss(1.0 if number < 300 else 3.0, 0.2))
    assert learned.reward_drifts == 1


@pytest.mark.parametrize("reward", [float("nan"), "1", True, [1]])
def test_rewards_are_numbers(reward):
    agent = Agent()
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="reward"):
        agent.meta_learn("text", reward)
    assert agent.meta_learn().levels[0].units == 0


# The agent itself.


def test_two_agents_share_nothing():
    one, other = Agent(), Agent()
    one.process("mine")
    one.meta_learn("mine", 1.0)
    assert (other.status().messages, other.status().rewards) == (0, 0)


def test_reset_begins_again():
    agent = Agent()
    agent.process("x " * 300)
    agent.meta_learn("x", 1)
    agent.compare([1], [2])
    agent.reset()
    assert agent.status() == Agent().status()
    assert agent.process("x").number == 0


def test_threads_do_not_get_into_each_others_way():
    agent = Agent(max_messages=50)
    numbers = []

    def work(name):
        for k in range(100):
            numbers.append(agent.process(f"{name} says {k}").number)
            if k % 10 == 0:
                agent.analyze()
                agent.status()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(400))
    assert agent.status().kept == 50


def word(rng, letters):
    return "".join(rng.choices("abcdefghijklmnop", k=letters))


def many_words(agent, rng):
    agent.process(" ".join(word(rng, 60) for _ in range(3000)))


def open_calls(agent, rng):
    function = {"name": word(rng, 250), "arguments": '{"a": "' + word(rng, 9000)}
    calls = [{"id": word(rng, 200), "type": "function", "function": function} for _ in range(20)]
    agent.process({"role": "assistant", "content": None, "tool_calls": calls})


def long_results(agent, rng):
    agent.process(result(word(rng, 150_000), word(rng, 200)))


def long_symbols(agent, rng):
    sequences = ([word(rng, 500) for _ in range(100)] for _ in range(2))
    agent.compare(*sequences, metric="levenshtein")


def many_lessons(agent, rng):
    agent.meta_learn(" ".join(word(rng, 60) for _ in range(3000)), rng.random())


@pytest.mark.parametrize("send", [many_words, open_calls, long_results, long_symbols, many_lessons])
def test_memory_is_bounded_whatever_is_sent(send):
    rng = random.Random(0)
    agent = Agent(max_messages=100, max_chars=400_000, max_comparisons=20, max_symbols=1024)
    send(agent, rng)
    tracemalloc.start()
    try:
        for _ in range(24):
            send(agent, rng)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 8_000_000


def test_names_that_are_too_long_are_refused():
    with pytest.raises(ArgumentValueError, match="tool's name must have at most 256"):
        Agent().process(call("f" * 300, "{}", "c"))
    with pytest.raises(ArgumentValueError, match="call's id must have at most 256"):
        Agent().process(call("f", "{}", "c" * 300))


def test_calls_whose_arguments_are_no_json_are_compared_too():
    agent = Agent()
    for turn in range(3):
        agent.process(call("run", "not json", f"c{turn}"))
        agent.process(result("error: no", f"c{turn}"))
    assert agent.status().findings["tool_loop"] == 2


def test_limits_are_checked():
    with pytest.raises(ArgumentValueError, match="max_messages must be at least 1, got 0"):
        Agent(max_messages=0)
    with pytest.raises(ArgumentTypeError, match="max_chars"):
        Agent(max_chars="many")
