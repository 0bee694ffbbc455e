"""Several choices of one response: alternatives, of which none counts for another."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Event, Guard, Policy, PolicySet, ready_policies
from midstream.stream.formats import AnthropicMapper, ChatMapper, GoogleMapper

BACKUP_FIRST = Policy(
    "backup first",
    "!delete W backup",
    {"delete": {"tool": "delete"}, "backup": {"tool": "backup"}},
)
THREE_CALLS = Policy(
    "three calls",
    "G few",
    {"few": {"count": {"of": {"kind": "tool_call"}, "at_most": 3}}},
    when={"kind": "tool_call"},
)


def said(choice, content=None, *, call=None, name=None, arguments="{}", reason=None):
    """The payload of what a choice says."""
    delta = {} if content is None else {"content": content}
    if call is not None:
        function = {"name": name, "arguments": arguments}
        delta["tool_calls"] = [{"index": call, "id": f"c{choice}{call}", "function": function}]
    return {"choices": [{"index": choice, "delta": delta, "finish_reason": reason}]}


def taken(guard, payloads, mapper=None):
    """Steps of a guard over what payloads say."""
    mapper = ChatMapper() if mapper is None else mapper
    return [
        guard.take(event)
        for number, one in enumerate(payloads)
        for event in mapper.events(one, number)
    ]


def denied(steps):
    return [denial.stream_id for step in steps for denial in step.denied]


def rules(findings):
    return [(one.evidence["rule"], one.evidence.get("stream_id")) for one in findings]


def test_what_one_choice_did_allows_another_nothing() -> None:
    guard = Guard((), BACKUP_FIRST)
    steps = taken(
        guard,
        [
            said(0, call=0, name="backup"),
            said(1, call=0, name="delete"),
            said(0, call=1, name="delete"),
        ],
    )
    assert denied(steps) == ["1/0"]
    assert not guard.stopped


def test_what_one_choice_did_forbids_another_nothing() -> None:
    guard = Guard((), THREE_CALLS)
    steps = taken(
        guard,
        [said(choice, call=call, name=f"t{call}") for call in range(4) for choice in range(3)],
    )
    assert denied(steps) == ["0/3", "1/3", "2/3"]


@pytest.mark.parametrize("begins", [0, 1])
def test_what_was_before_counts_for_each(begins) -> None:
    history = [Event("tool_call", 0, 0, "{}", "backup", None, "h0/0", "h1")]
    guard = Guard((), BACKUP_FIRST)
    guard.recall(history)
    steps = taken(
        guard,
        [said(begins, call=0, name="delete"), said(1 - begins, call=0, name="delete")],
    )
    assert denied(steps) == []
    guard = Guard((), THREE_CALLS)
    guard.recall(history)
    calls = [said(c, call=k, name=f"t{k}") for k in range(3) for c in (begins, 1 - begins)]
    assert denied(taken(guard, calls)) == [f"{begins}/2", f"{1 - begins}/2"]


def test_each_owes_its_own_answer() -> None:
    guard = Guard((), ready_policies("ends-with-answer"))
    taken(
        guard,
        [
            said(0, call=0, name="look"),
            said(1, "I know it."),
            said(2, call=0, name="done!"),
            said(1, reason="stop"),
        ],
    )
    assert len(guard.open_obligations) == 2
    assert guard.finish().findings == ()  # calls wait for their results
    policy = Policy("answers", "F said", {"said": {"kind": "text"}}, "warn")
    guard = Guard((), policy)
    taken(guard, [said(0, "Yes."), said(1, None, reason="stop"), said(2, "No.")])
    assert rules(guard.finish().findings) == [("answers", "1")]


def test_a_denied_call_leaves_the_others() -> None:
    guard = Guard(
        (), [BACKUP_FIRST, Policy("answers", "F said", {"said": {"kind": "text"}}, "warn")]
    )
    steps = taken(
        guard,
        [
            said(0, call=0, name="delete"),
            said(1, call=0, name="backup"),
            said(1, call=1, name="delete"),
            said(0, reason="tool_calls"),
            said(1, reason="tool_calls"),
        ],
    )
    assert denied(steps) == ["0/0"]
    assert sum(step.dropped for step in steps) == 1
    assert not any(step.hold for step in steps[1:])


def test_a_stop_in_one_is_a_stop_of_all() -> None:
    policy = Policy("no", "G !bad", {"bad": {"pattern": "secret"}}, "stop")
    guard = Guard((), policy)
    steps = taken(guard, [said(0, "fine"), said(1, "sec"), said(0, "rets"), said(1, "ret")])
    assert [step.stop is not None for step in steps] == [False, False, False, True]
    assert guard.stopped.evidence["stream_id"] == "1"


def test_budgets_are_of_the_whole_response() -> None:
    budget = Policy(
        "budget", "G !spent", {"spent": {"chars": {">": 10}}}, "warn", after_violation="stay"
    )
    guard = Guard((), budget)
    taken(guard, [said(0, "12345"), said(1, "12345"), said(2, "1"), said(0, "2")])
    assert rules(guard.findings)[0] == ("budget", "2")
    assert len(guard.findings) == 1  # a limit that is passed is one thing
    guard = Guard((), ready_policies("token-budget", tokens=50))
    steps = taken(
        guard,
        [said(0, "a"), said(1, "b"), {"choices": [], "usage": {"completion_tokens": 51}}],
    )
    assert steps[-1].stop
    assert len(guard.findings) == 1


def test_one_that_begins_late_knows_what_happened_to_all() -> None:
    policy = Policy(
        "late", "G (t > 5 -> H told)", {"told": {"usage.total_tokens": {"<": 9}}}, "warn"
    )
    usage = Policy(
        "counted",
        "!said W counted",
        {"counted": {"kind": "usage"}, "said": {"kind": "text"}},
        "warn",
    )
    for policies in ([usage], [usage, policy]):
        guard = Guard((), policies)
        mapper = ChatMapper()
        taken(
            guard,
            [{"choices": [], "usage": {"total_tokens": 1}}, said(0, "a"), said(1, "b")],
            mapper,
        )
        assert "counted" not in [rule for rule, _ in rules(guard.findings)]


def test_deadlines_of_all_are_kept() -> None:
    policy = Policy(
        "soon",
        "G (asked -> F[0:5] said)",
        {"asked": {"tool": "ask"}, "said": {"kind": "text"}},
        "warn",
        clock="time",
    )
    guard = Guard((), policy)
    mapper = ChatMapper()
    for k, one in enumerate(
        [said(0, call=0, name="ask"), said(1, "x"), said(1, call=0, name="ask")]
    ):
        for event in mapper.events(one, k * 1_000_000_000):
            guard.take(event)
    assert guard.due_ns() == pytest.approx(3_000_000_001, abs=2)
    step = guard.expire(10_000_000_000)
    assert [one.t_ns // 1_000_000_000 for one in step.findings] == [5, 7]


def test_only_payloads_tell_of_choices() -> None:
    bare = [
        Event("tool_call", 0, 0, "{}", "backup", None, "0/0", "a"),
        Event("tool_call", 1, 1, "{}", "delete", None, "1/0", "b"),
    ]
    guard = Guard((), BACKUP_FIRST)
    assert denied([guard.take(event) for event in bare]) == []
    blocks = [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "a", "name": "backup", "input": {}},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "b", "name": "delete", "input": {}},
        },
        {"type": "content_block_stop", "index": 1},
    ]
    assert denied(taken(Guard((), BACKUP_FIRST), blocks, AnthropicMapper())) == []
    parts = [
        {
            "candidates": [
                {"index": k, "content": {"parts": [{"functionCall": {"name": name, "args": {}}}]}}
            ]
        }
        for k, name in enumerate(["backup", "delete"])
    ]
    assert denied(taken(Guard((), BACKUP_FIRST), parts, GoogleMapper())) == ["1/0"]


def test_the_next_response_goes_on_where_a_choice_ended() -> None:
    guard = Guard((), BACKUP_FIRST)
    first = [said(0, call=0, name="backup"), said(0, reason="tool_calls")]
    second = [said(0, "Now."), said(0, call=0, name="delete")]
    payloads = [{**one, "id": "a"} for one in first] + [{**one, "id": "b"} for one in second]
    assert denied(taken(guard, payloads)) == []
    assert guard._enforcer._traces is None


def test_one_choice_that_was_asked_for_keeps_no_copy() -> None:
    history = [Event("text", 0, 0, "delete it", "user")]
    guard = Guard((), BACKUP_FIRST)
    guard.recall(history, choices=1)
    assert guard._enforcer._origin is None
    steps = taken(guard, [said(0, call=0, name="backup"), said(1, call=0, name="delete")])
    assert denied(steps) == []  # nobody asked for a second one: it is the first's continuation
    for choices, error in ((0, ArgumentValueError), ("2", ArgumentTypeError)):
        with pytest.raises(error, match="choices"):
            Guard((), BACKUP_FIRST).recall(history, choices=choices)


def test_a_call_that_can_be_read_in_two_ways_may_be_of_any_choice() -> None:
    guard = Guard((), BACKUP_FIRST)
    taken(guard, [said(0, call=0, name="backup")])
    assert guard.concerns(["delete", "look"])  # of one that has not begun
    assert guard.worse("look", "delete")
    guard = Guard((), BACKUP_FIRST)
    guard.recall([], choices=1)
    taken(guard, [said(0, call=0, name="backup")])
    assert not guard.concerns(["delete", "look"])
    assert not guard.worse("look", "delete")


def test_choices_are_bounded() -> None:
    guard = Guard((), BACKUP_FIRST)
    taken(guard, [said(k, f"word {k}") for k in range(1000)])
    assert len(guard._enforcer._traces) == 128
    assert denied(taken(guard, [said(5000, call=0, name="delete")])) == ["5000/0"]


def alone(policies, payloads, choice):
    """What a guard makes of one choice without the others."""
    guard = Guard((), policies)
    steps = taken(guard, [one for one in payloads if one["choices"][0]["index"] == choice])
    return denied(steps), rules(guard.findings)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_each_is_judged_as_if_it_were_alone(rng: random.Random) -> None:
    no_word = Policy("no word", "G !w", {"w": {"pattern": "ab+c"}}, "warn")
    policies = PolicySet([BACKUP_FIRST, THREE_CALLS, no_word])
    lists = []
    for choice in range(3):
        one = []
        for k in range(rng.randint(0, 6)):
            if rng.random() < 0.5:
                one.append(said(choice, rng.choice(["a", "b", "c", "ab", "bc"])))
            else:
                name = rng.choice(["delete", "backup", "look"])
                one.append(said(choice, call=k, name=name))
        lists.append(one)
    queues = [list(one) for one in lists]
    mixed = []
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    guard = Guard((), policies)
    steps = taken(guard, mixed)
    for choice in range(3):
        calls, found = alone(policies, mixed, choice)
        assert [one for one in denied(steps) if one.startswith(str(choice))] == calls
        mine = [row for row in rules(guard.findings) if (row[1] or "").startswith(str(choice))]
        assert mine == found
