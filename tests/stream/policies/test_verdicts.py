"""Policies: what they allow, when a verdict falls, and what is handed out meanwhile."""

from __future__ import annotations

import json
import pickle
import threading

import pytest

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FormulaSyntaxError,
    RefusedError,
)
from midstream.stream import (
    Event,
    Guard,
    LoopDetector,
    Policy,
    PolicySet,
    StallDetector,
    ready_policies,
    watch,
)

SECRET = "AKIA" + "ABCDEFGHIJKLMNOP"
KEY = {"pattern": "AKIA[0-9A-Z]{16}"}


def call(text, name="deploy", sid="0/0", call_id="c1", t_ns=0):
    return Event("tool_call", 0, t_ns, text, name, None, sid, call_id)


def result(text, name=None, call_id="c1", data=None, sid="", t_ns=0):
    return Event("tool_result", 0, t_ns, text, name, data, sid, call_id)


def text(piece, sid="0", kind="text", t_ns=0):
    return Event(kind, 0, t_ns, piece, None, None, sid)


def end(sid="0", reason="stop", t_ns=0):
    return Event("end", 0, t_ns, reason, None, None, sid)


def run(policies, events, **options):
    """Steps of a guard over events, and the guard."""
    guard = Guard((), policies, **options)
    return [guard.take(event) for event in events], guard


def rules(findings):
    return [finding.evidence["rule"] for finding in findings]


NO_PROD = Policy(
    "no prod",
    "G !bad",
    {"bad": {"tool": "deploy", "arguments.env": "prod"}},
    message="nothing goes to prod",
    repair="use env=staging",
)


# Earliest verdicts


def test_a_call_is_denied_by_the_character_that_fixes_the_argument() -> None:
    pieces = ['{"en', 'v": "pr', 'od"', ', "version": ', "3}"]
    steps, guard = run(NO_PROD, [call(piece) for piece in pieces])
    assert [step.hold for step in steps] == [True] * 5
    assert [step.dropped for step in steps] == [False, False, True, True, True]
    (denial,) = steps[2].denied
    assert (denial.stream_id, denial.call_id, denial.name) == ("0/0", "c1", "deploy")
    assert denial.text == (
        "This call was denied by the rule 'no prod': nothing goes to prod. Instead: use env=staging"
    )
    (finding,) = guard.findings
    assert denial.finding is finding
    assert (finding.kind, finding.severity, finding.start, finding.end) == (
        "policy",
        "block",
        0,
        14,
    )
    assert finding.evidence["atoms"] == ["bad"]
    assert finding.evidence["call_id"] == "c1"
    assert guard.stopped is None
    assert guard.denied == [denial]


def test_what_cannot_matter_decides_before_it_is_there() -> None:
    policy = Policy(
        "backup first",
        "G (delete -> O backup & !force)",
        {
            "delete": {"tool": "delete"},
            "backup": {"kind": "tool_result", "name": "backup"},
            "force": {"arguments.force": True},
        },
    )
    steps, _ = run(policy, [call("", "delete")])
    assert steps[0].denied  # without a backup, whatever force turns out to be
    events = [
        call("{}", "backup"),
        result("done"),
        call('{"force": tr', "delete", "0/1", "c2"),
        call("ue", "delete", "0/1", "c2"),
    ]
    steps, _ = run(policy, events)
    assert [len(step.denied) for step in steps] == [0, 0, 0, 1]


def test_the_beginning_of_a_text_decides_before_its_end() -> None:
    policy = Policy(
        "no rm", "G !rm", {"rm": {"tool": "bash", "arguments.command": {"contains": "rm -rf"}}}
    )
    pieces = ['{"command": "cd /tmp && ', "rm -", "rf / --no-pre", 'serve-root"}']
    steps, guard = run(policy, [call(piece, "bash") for piece in pieces])
    assert [bool(step.denied) for step in steps] == [False, False, True, False]
    assert guard.findings[0].end == len('{"command": "cd /tmp && rm -rf')
    policy = Policy(
        "home",
        "G (read -> home)",
        {"read": {"tool": "read"}, "home": {"arguments.path": {"starts_with": "/srv/"}}},
    )
    steps, guard = run(policy, [call('{"path": "/srv/me', "read"), call('/x"}', "read")])
    assert guard.findings == [] and steps[1].released
    steps, guard = run(
        policy, [call('{"path": "/sr', "read"), call("st", "read"), call('name"}', "read")]
    )
    assert [bool(step.denied) for step in steps] == [False, True, False]
    assert guard.findings[0].end == len('{"path": "/srs')
    steps, guard = run(policy, [call('{"path": 3', "read"), call("}", "read")])
    assert "must be a str" in guard.findings[0].message
    escaped = '{"path": "\\u002fsrst'
    steps, guard = run(policy, [call(escaped[:12], "read"), call(escaped[12:], "read")])
    assert guard.findings[0].end == len(escaped) - 1
    long = Policy("no x", "G !x", {"x": {"tool": "note", "arguments.text": {"contains": "needle"}}})
    steps, guard = run(
        long, [call('{"text": "' + "hay " * 5000 + "needle", "note"), call('"}', "note")]
    )
    assert [bool(step.denied) for step in steps] == [False, True]  # too long to be followed


@pytest.mark.parametrize("begun", ['{"user": [1,', '{"user": {"a": 1,', '{"user": [[1], '])
def test_a_key_that_has_only_begun_is_none(begun) -> None:
    policy = Policy(
        "twice", "G (book -> Z G !book)", {"book": {"tool": "book"}}, key="arguments.user"
    )
    other = [result("done"), text("...")]
    for pieces in ([begun], list(begun)):
        calls = [call(piece, "look") for piece in pieces]
        steps, _ = run(policy, [*calls, *other])
        assert not any(step.denied for step in steps)
        run(policy, [*(call(piece, "book") for piece in pieces), *other])


def test_a_false_conjunct_lets_a_call_pass_at_once() -> None:
    steps, _ = run(NO_PROD, [call('{"env', "restart"), call('": "prod"}', "restart")])
    assert [step.hold for step in steps] == [False, False]
    assert all(not step.released for step in steps)


def test_held_pieces_are_released_when_the_call_is_whole_and_allowed() -> None:
    steps, guard = run(NO_PROD, [call('{"env"'), text("..."), call(': "dev"'), call("}")])
    assert [step.hold for step in steps] == [True, False, True, False]
    assert [step.released for step in steps] == [(), (), (), ("0/0",)]
    assert guard.findings == []


def test_a_name_that_comes_late_decides_then() -> None:
    late = [call('{"env": "pr', None), call('od"}', None), call("", "deploy"), end()]
    steps, _ = run(NO_PROD, late)
    assert [bool(step.denied) for step in steps] == [False, False, True, False]
    other = [call('{"env": "pr', None), call('od"', None), call("}", "restart")]
    steps, _ = run(NO_PROD, other)
    assert [(step.hold, step.released) for step in steps] == [
        (True, ()),
        (True, ()),
        (False, ("0/0",)),
    ]


def test_without_rules_that_forbid_nothing_is_held() -> None:
    warns = Policy("w", "G !bad", {"bad": {"tool": "deploy", "arguments.env": "prod"}}, "warn")
    steps, _ = run(warns, [call('{"env": "prod"'), call(', "n": 1}')])
    assert [step.hold for step in steps] == [False, False]
    assert [rules(step.findings) for step in steps] == [["w"], []]


def test_no_arguments_are_empty_ones_when_the_call_is_over() -> None:
    policy = Policy(
        "where", "G (go -> there)", {"go": {"tool": "go"}, "there": {"arguments.to": 1}}
    )
    steps, _ = run(policy, [call("", "go"), end()])
    assert [bool(step.denied) for step in steps] == [False, True]
    steps, _ = run(NO_PROD, [call(""), end()])
    assert steps[1].released == ("0/0",)
    steps, _ = run(NO_PROD, [call(""), call('{"env": "prod"}', sid="0/1", call_id="c2"), end()])
    assert [step.released for step in steps] == [(), (), ("0/0",)]
    assert [d.call_id for d in steps[1].denied] == ["c2"]


def test_keys_are_separate() -> None:
    policy = Policy(
        "read first",
        "G (write -> O read)",
        {
            "write": {"tool": "write"},
            "read": {"kind": "tool_result", "tool": "read", "failed": False},
        },
        key="arguments.path",
    )
    events = [
        call('{"path": "a"}', "read"),
        result("text", "read"),
        call('{"path": "a"}', "write", "0/1", "c2"),
        result("ok", call_id="c2"),
        call('{"path": "b"', "write", "0/2", "c3"),
    ]
    steps, guard = run(policy, events)
    assert [bool(step.denied) for step in steps] == [False] * 4 + [True]
    assert guard.findings[0].evidence["key"] == "b"
    failed = [
        call('{"path": "a"}', "read"),
        result("Error: none"),
        call('{"path": "a"}', "write", "0/1", "x"),
    ]
    steps, _ = run(policy, failed)
    assert steps[2].denied


def test_counts_and_rates() -> None:
    two = {"two": {"count": {"of": {"kind": "tool_call"}, "at_most": 2}}}
    policy = Policy("two", "G two", two, when={"kind": "tool_call"})
    calls = [call("{}", "go", f"0/{k}", f"c{k}") for k in range(4)]
    steps, _ = run(policy, calls)
    assert [bool(step.denied) for step in steps] == [False, False, True, True]
    per_second = {"two": {"count": {"of": {"kind": "tool_call"}, "at_most": 2, "seconds": 1}}}
    policy = Policy("rate", "G two", per_second, when={"kind": "tool_call"})
    times = [0, 100, 200, 1_300, 1_301, 1_302]
    calls = [call("{}", "go", f"0/{k}", f"c{k}", t * 10**6) for k, t in enumerate(times)]
    steps, _ = run(policy, calls)
    assert [bool(step.denied) for step in steps] == [False, False, True, False, False, True]


def test_parallel_calls_cannot_slip_by_together() -> None:
    once = {"go": {"tool": "go"}, "gone": {"tool": "go"}}
    policy = Policy("once", "G (go -> !Y O gone)", once, key="arguments.to")
    events = [
        call("", "go", "0/0", "a"),
        call("", "go", "0/1", "b"),
        call('{"to": 1}', "go", "0/1", "b"),
        call('{"to": 1}', "go", "0/0", "a"),
    ]
    steps, guard = run(policy, events)
    assert len(guard.denied) == 1
    assert steps[2].hold  # until the call that began before it has its verdict
    assert [d.call_id for d in steps[3].denied] == ["b"]


def test_a_call_that_waited_passes_when_the_one_before_is_denied() -> None:
    once = Policy("once", "G (go -> !Y O go)", {"go": {"tool": "go"}}, key="arguments.to")
    no = Policy("no", "G !x", {"x": {"tool": "go", "arguments.x": True}})
    events = [
        call("", "go", "0/0", "a"),
        call('{"to": 1}', "go", "0/1", "b"),
        call('{"x": true', "go", "0/0", "a"),
    ]
    steps, _guard = run([once, no], events)
    assert steps[1].hold
    assert [d.call_id for d in steps[2].denied] == ["a"]
    assert steps[2].released == ("0/1",)


def test_a_denied_call_leaves_the_book_as_it_was() -> None:
    policy = Policy("once", "G (go -> !Y O go)", {"go": {"tool": "go"}}, when={"kind": "tool_call"})
    twice = [call("{}", "go", "0/0", "a"), *(call("{}", "go", f"0/{k}", f"c{k}") for k in (1, 2))]
    steps, guard = run([policy, NO_PROD], [*twice, call('{"env": "prod"}', sid="0/3", call_id="d")])
    assert [bool(step.denied) for step in steps] == [False, True, True, True]
    assert rules(guard.findings) == ["once", "once", "no prod"]
    assert [finding.evidence["step"] for finding in guard.findings] == [1, 1, 1]


# What is read wrong, or not at all


def test_arguments_that_are_no_json_are_denied_where_they_matter() -> None:
    steps, guard = run(NO_PROD, [call('{"env": "pro'), end()])
    assert (
        steps[1].denied[0].text.startswith("This call was denied by the rule 'no prod': the call ")
    )
    assert "cannot be judged: character" in guard.findings[0].message
    steps, guard = run(NO_PROD, [call('{"env": "dev", "env": }')])
    assert steps[0].denied
    steps, guard = run(NO_PROD, [call('{"env": "pro', "other"), end()])
    assert guard.findings == [] and not any(step.hold for step in steps)
    # What is fixed already settles the matter; it passes when it is over.
    steps, guard = run(NO_PROD, [call('{"env": "dev", "n": 1x}'), end()])
    assert [(step.hold, step.released) for step in steps] == [(True, ()), (False, ("0/0",))]


def test_a_value_of_the_wrong_type_does_not_pass_the_guard() -> None:
    policy = Policy("small", "G !big", {"big": {"tool": "pay", "arguments.amount": {">": 100}}})
    steps, guard = run(policy, [call('{"amount": "1e9"}', "pay")])
    assert steps[0].denied
    assert "'arguments.amount' must be a number" in guard.findings[0].message
    assert "1e9" not in guard.findings[0].message + steps[0].denied[0].text
    steps, _ = run(policy, [call('{"amount": 5}', "pay")])
    assert steps[0].released == ("0/0",)
    steps, _ = run(policy, [call('{"amount": "x"}', "other")])
    assert not steps[0].hold


def test_the_same_call_has_the_same_text_which_tells_no_argument() -> None:
    seen = []
    policy = Policy("see", "G !see", {"see": lambda step: bool(seen.append(step))}, "note")
    calls = ['{"a": 1, "b": "secret"}', '{"b":"secret","a":1.0}', '{"a": 1, "b": "other"}']
    run(policy, [call(one, "go", f"0/{k}", f"c{k}") for k, one in enumerate(calls)])
    first, second, third = (step["call"] for step in seen if step["kind"] == "tool_call")
    assert first == second != third
    assert first.startswith("go ") and "secret" not in first


def test_a_result_that_cannot_be_judged_is_told_and_passes() -> None:
    policy = Policy("low", "G !high", {"high": {"kind": "tool_result", "result.n": {">": 3}}})
    steps, guard = run(policy, [result('{"n": "four"}'), result('{"n": 5}')])
    assert [finding.severity for finding in steps[0].findings] == ["warn"]
    assert steps[0].stop is None
    assert steps[1].stop is guard.findings[1]


def test_of_a_key_twice_both_values_count() -> None:
    for arguments in ('{"env": "dev", "env": "prod"}', '{"env": "prod", "env": "dev"}'):
        steps, _ = run(NO_PROD, [call(arguments)])
        assert steps[0].denied, arguments


# Text


def test_a_pattern_across_pieces_stops_and_the_last_piece_is_dropped() -> None:
    steps, guard = run(
        Policy("key", "G !key", {"key": KEY}, "stop"),
        [text("an AKI"), text(SECRET[3:]), text("x")][:2],
    )
    assert [(step.hold, step.dropped) for step in steps] == [(False, False), (True, True)]
    assert steps[1].stop is guard.stopped
    assert (guard.stopped.start, guard.stopped.end) == (3, 23)
    assert SECRET not in repr(guard.stopped)


def test_block_stops_what_cannot_be_denied() -> None:
    steps, guard = run(Policy("key", "G !key", {"key": KEY}), [text(SECRET)])
    assert steps[0].stop.severity == "stop"
    assert guard.denied == []


def test_channels_are_kept_apart() -> None:
    only = Policy("key", "G !key", {"key": {**KEY, "in": "reasoning"}}, "warn")
    for kind, found in (("text", 0), ("reasoning", 1), ("audio", 0)):
        steps, _ = run(only, [text(SECRET[:5], kind=kind), text(SECRET[5:], kind=kind)])
        assert len(steps[1].findings) == found
    mixed = [text(SECRET[:5], "0"), text(SECRET[5:], "1"), text(SECRET[5:], "0")]
    steps, _ = run(Policy("key", "G !key", {"key": KEY}, "warn"), mixed)
    assert [len(step.findings) for step in steps] == [0, 0, 1]


def test_a_pattern_in_arguments_denies_the_call() -> None:
    policy = Policy("key", "G !key", {"key": KEY})
    steps, guard = run(policy, [call('{"text": "my ' + SECRET[:9]), call(SECRET[9:] + '"}')])
    assert [step.hold for step in steps] == [True, True]
    assert steps[1].denied and steps[1].stop is None
    assert (guard.findings[0].start, guard.findings[0].end) == (13, 33)
    escaped = json.dumps({"text": SECRET}).replace("AKIA", "\\u0041KIA")
    steps, guard = run(policy, [call(escaped[:14]), call(escaped[14:])])
    assert steps[1].denied


def test_a_pattern_for_one_tool_holds_no_other() -> None:
    policy = Policy("key", "G !key", {"key": {**KEY, "in": ["tool_call"], "name": "send"}})
    steps, _ = run(policy, [call('{"text": "' + SECRET, "note")])
    assert not steps[0].hold
    steps, _ = run(policy, [call('{"text": "' + SECRET, "send")])
    assert steps[0].denied


def test_results_and_messages_of_the_user_are_scanned_too() -> None:
    where = {"key": {**KEY, "in": ["tool_result", "user"]}}
    policy = Policy("key", "G !key", where, "warn")
    user = Event("text", 0, 0, f"use {SECRET}", "user", None, "")
    steps, _ = run(policy, [result(f"is {SECRET}", "read"), user, text(SECRET)])
    assert [len(step.findings) for step in steps] == [1, 1, 0]
    assert steps[0].findings[0].evidence["tool"] == "read"
    assert (steps[1].findings[0].start, steps[1].findings[0].end) == (4, 24)


def test_the_end_of_a_text_can_be_asked_for() -> None:
    policy = Policy("last", "G !last", {"last": {"pattern": "the end$"}}, "warn")
    steps, _ = run(policy, [text("this is the e"), text("nd"), end()])
    assert [len(step.findings) for step in steps] == [0, 0, 1]
    steps, _ = run(policy, [text("this is the end"), text("ing"), end()])
    assert [len(step.findings) for step in steps] == [0, 0, 0]


def test_what_is_itself_forbidden_is_not_passed_on() -> None:
    first = Policy("look first", "!text W call", {"text": {"kind": "text"}, "call": {"tool": "*"}})
    steps, guard = run(first, [text(" "), text("I think")])
    assert [(step.dropped, step.stop is not None) for step in steps] == [
        (False, False),
        (True, True),
    ]
    bad = Policy("bad", "G !bad", {"bad": {"kind": "tool_result", "failed": True}})
    steps, guard = run(bad, [result("fine"), result("Error: no")])
    assert [step.dropped for step in steps] == [False, True]
    limit = Policy("short", "G chars <= 3")
    steps, guard = run(limit, [text("abcdef")])
    assert steps[0].stop is guard.stopped and not steps[0].dropped


def test_results_and_calls_without_a_name_are_no_trouble() -> None:
    policies = [*ready_policies("read-before-write"), *ready_policies("untrusted-input")]
    steps, guard = run(
        policies, [result("text", call_id=None), call("{}", None, call_id=None), end()]
    )
    assert guard.findings == []
    assert steps[2].released == ("0/0",)
    every = Policy("none", "G !any", {"any": {"tool": ["x", "*"]}})
    assert run(every, [call("{}", "go")])[0][0].denied
    assert run(every, [call("", None)])[0][0].denied


def test_names_with_stars() -> None:
    for pattern, fits, fails in [
        ("read*", ("read", "read_file"), ("reread", "Read")),
        ("*_file", ("_file", "read_file"), ("file", "read_files")),
        ("*ad_f*", ("read_file",), ("readfile",)),
        ("re*le", ("rele", "read_file"), ("re", "le", "xrele", "relex")),
        (["a", "b*"], ("a", "b", "bc"), ("ab",)),
    ]:
        policy = Policy("no", "G !no", {"no": {"tool": pattern}})
        for name in (*fits, *fails):
            denied = bool(run(policy, [call("{}", name)])[0][0].denied)
            assert denied is (name in fits), (pattern, name)


# Meters, clocks, other detectors


def test_a_limit_falls_at_its_character() -> None:
    policy = Policy("short", "G !long", {"long": {"chars": {">": 10}}}, "stop")
    for size in (1, 3, 25):
        written = "x" * 25
        guard = Guard((), policy)
        steps = [guard.take(text(written[k : k + size])) for k in range(0, 25, size)]
        (finding,) = guard.findings[:1]
        assert finding.evidence["atoms"] == ["long"]
        assert sum(bool(step.findings) for step in steps) == 1
    tokens = Policy("few", "G !many", {"many": {"tokens": {">=": 3}}}, "note")
    steps, _ = run(tokens, [text("x" * 11), text("x"), text("x" * 50)])
    assert [len(step.findings) for step in steps] == [0, 1, 0]


def test_tokens_are_as_the_provider_counts_them() -> None:
    policy = Policy("few", "G !many", {"many": {"tokens": {">": 9}}}, "warn")
    usage = Event("usage", 0, 0, "", None, {"usage": {"completion_tokens": 9}})
    steps, _ = run(policy, [text("x" * 16), usage, text("xxx"), text("x")])
    assert [len(step.findings) for step in steps] == [0, 0, 0, 1]
    more = Policy("input", "G !many", {"many": {"usage.input_tokens": {">": 100}}}, "stop")
    usage = Event("usage", 0, 0, "", None, {"usage": {"prompt_tokens": 101}})
    assert run(more, [usage])[0][0].stop is not None


def test_a_comparison_needs_no_atom() -> None:
    steps, _ = run(Policy("few", "G tokens <= 2", action="stop"), [text("x" * 11), text("y" * 4)])
    assert [step.stop is not None for step in steps] == [False, True]


def test_a_deadline_is_told_when_it_has_passed() -> None:
    policy = Policy(
        "answer",
        "G (ask -> F[0:5] tell)",
        {"ask": {"kind": "tool_call"}, "tell": {"kind": "tool_result"}},
        "stop",
        clock="time",
    )
    second = 10**9
    guard = Guard((), policy)
    guard.take(call("{}", "go", t_ns=2 * second))
    assert guard.due_ns() == 5 * second + 1
    assert guard.expire(5 * second).findings == ()
    late = guard.expire(5 * second + 1)
    assert late.stop is not None and late.stop.t_ns == 7 * second + 1
    # On a recording, the next event tells it, with the same time.
    guard = Guard((), policy)
    guard.take(call("{}", "go", t_ns=2 * second))
    step = guard.take(result("ok", t_ns=20 * second))
    assert step.stop == late.stop
    steps, _ = run(
        policy, [call("{}", "go", t_ns=0), result("ok", t_ns=5 * second), end(t_ns=60 * second)]
    )
    assert all(step.stop is None for step in steps)


def test_a_limit_on_time_makes_a_step_of_its_own() -> None:
    policy = Policy("soon", "G !late", {"late": {"t": {">": 3}}}, "stop")
    guard = Guard((), policy)
    guard.take(text("a", t_ns=10**9))
    assert guard.due_ns() == 2 * 10**9 + 1
    assert guard.expire(2 * 10**9 + 1).stop is not None
    guard = Guard((), policy)
    guard.take(text("a", t_ns=10**9))
    assert guard.take(text("b", t_ns=10**10)).stop.t_ns == 3 * 10**9 + 1


def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    rate = {"few": {"count": {"of": {"kind": "text"}, "at_most": 1, "seconds": 1}}}
    events = [text("a", t_ns=5 * 10**9), end(t_ns=10**9), text("b", t_ns=2 * 10**9)]
    steps, _guard = run(Policy("rate", "G few", rate, "warn"), events)
    assert [len(step.findings) for step in steps] == [0, 0, 1]


def test_what_detectors_find_is_a_step() -> None:
    policy = Policy("no loops", "G !loop", {"loop": {"kind": "finding", "name": "loop"}}, "stop")
    guard = Guard([LoopDetector("warn")], policy)
    while not (step := guard.take(text("I will try that again. "))).findings:
        pass
    assert [finding.kind for finding in step.findings] == ["loop", "policy"]
    assert step.stop is step.findings[1]
    stall = {"stall": {"kind": "finding", "name": "stall"}}
    guard = Guard([StallDetector(first_s=1)], Policy("quick", "G !stall", stall, "stop"))
    assert guard.expire(10**9).stop is not None


def test_a_detector_that_blocks_denies_the_call() -> None:
    from midstream.stream import ToolLoopDetector

    guard = Guard([ToolLoopDetector("block")])
    denied = []
    for turn in range(4):
        first = guard.take(call('{"q": ', "find", "0/0", f"c{turn}"))
        second = guard.take(call('"tea"}', "find", "0/0", f"c{turn}"))
        denied.append(bool(second.denied))
        assert first.hold
        if not second.denied:
            assert second.released == ("0/0",)
            guard.take(result("none", "find", f"c{turn}"))
    assert denied[:3] == [False, False, True]
    assert guard.stopped is None


# Actions


def test_stop_denies_the_call_and_ends_the_stream() -> None:
    policy = Policy(
        "no prod", "G !bad", {"bad": {"tool": "deploy", "arguments.env": "prod"}}, "stop"
    )
    steps, guard = run(policy, [call('{"env": "p'), call('rod"')])
    assert steps[0].hold and steps[1].denied and steps[1].dropped
    assert steps[1].stop is guard.stopped is steps[1].denied[0].finding
    assert guard.stopped.severity == "stop"


def test_what_the_provider_runs_cannot_be_denied() -> None:
    steps, guard = run(NO_PROD, [call('{"env": "prod"', sid="0/0!")])
    assert steps[0].stop is guard.stopped
    assert steps[0].denied


def test_a_callback_gets_the_finding() -> None:
    got = []
    policy = Policy("text", "G !text", {"text": {"kind": "text"}}, got.append)
    steps, guard = run(policy, [text("a")])
    assert got == guard.findings == list(steps[0].findings)
    assert got[0].severity == "warn"

    def fail(finding):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        run(Policy("text", "G !text", {"text": {"kind": "text"}}, fail), [text("a")])


def test_rules_that_only_warn_go_on_as_if_nothing_had_been() -> None:
    policy = Policy("key", "G !key", {"key": KEY}, "warn")
    steps, guard = run(policy, [text(f"{SECRET} and {SECRET}"), text(f" {SECRET}")])
    assert [len(step.findings) for step in steps] == [2, 1]
    assert policy.after_violation == "skip"
    assert Policy("p", "G (a -> F[0:2] b)", {"a": KEY, "b": KEY}).after_violation == "reset"
    stay = Policy("key", "G !key", {"key": KEY}, "warn", after_violation="stay")
    steps, guard = run(stay, [text(f"{SECRET} and {SECRET}"), text(f" {SECRET}")])
    assert len(guard.findings) == 1


# The end, and what came before


ANSWER = Policy(
    "answer", "G (call -> F text)", {"call": {"kind": "tool_call"}, "text": {"kind": "text"}}
)


def test_what_is_owed_at_the_end() -> None:
    _steps, guard = run(ANSWER, [call("{}", "go"), result("ok")])
    assert [one.rule for one in guard.open_obligations] == ["answer"]
    step = guard.finish()
    assert [(f.severity, f.evidence["at_end"]) for f in step.findings] == [("warn", True)]
    assert step.stop is None and guard.stopped is None
    _, guard = run(ANSWER, [call("{}", "go"), result("ok"), text("so")])
    assert guard.open_obligations == []
    assert guard.finish().findings == ()


def test_a_run_that_goes_on_is_not_judged() -> None:
    _, guard = run(ANSWER, [call("{}", "go"), end(reason="tool_calls")])
    assert guard.finish().findings == ()
    assert len(guard.open_obligations) == 1
    _, guard = run(ANSWER, [call("{}", "go"), result("ok")])
    assert guard.finish("closed").findings == ()
    _, guard = run([ANSWER, NO_PROD], [call('{"env": "prod"}')])
    assert guard.finish().findings == ()


def test_history_is_taken_without_acting() -> None:
    policy = Policy(
        "read first",
        "G (write -> O read)",
        {"write": {"tool": "write"}, "read": {"kind": "tool_result", "tool": "read"}},
        key="arguments.path",
    )
    history = [
        Event("text", 0, 0, f"my key is {SECRET}", "user"),
        call('{"path": "a"}', "read", "0", "h1"),
        result("text", None, "h1"),
        call('{"path": "b"}', "write", "0", "h2"),  # would have been denied
        result("ok", None, "h2"),
        text("x" * 100),
    ]
    key = Policy("key", "G !key", {"key": {**KEY, "in": ["user", "text"]}}, "stop")
    short = Policy("short", "G !long", {"long": {"chars": {">": 50}}}, "stop")
    guard = Guard((), [policy, key, short])
    guard.recall(history)
    assert guard.findings == [] and guard.denied == []
    assert guard.take(call('{"path": "a"}', "write", "0/0", "n1")).released == ("0/0",)
    assert guard.take(call('{"path": "b"', "write", "0/1", "n2")).denied
    with pytest.raises(RefusedError, match="recall: the stream has begun"):
        guard.recall([])


# In a watch


async def through(guard):
    return [event async for event in guard]


async def test_a_watch_hands_out_no_piece_of_a_denied_call() -> None:
    events = [
        text("I"),
        call('{"env": "pr'),
        text(" will"),
        call('od", "n": 1', None),
        call("}", None),
        call('{"env": "de', sid="0/1", call_id="c2"),
        call('v"}', sid="0/1", call_id="c2"),
        end(),
    ]
    guard = watch(events, policies=NO_PROD)
    passed = await through(guard)
    assert passed[:2] == [events[0], events[2]]
    error = passed[2]
    assert (error.kind, error.name, error.stream_id, error.call_id) == (
        "error",
        "deploy",
        "0/0",
        "c1",
    )
    assert error.data is guard.denied[0] and error.text == guard.denied[0].text
    assert passed[3:] == events[5:]
    assert guard.stopped is None
    assert guard.report().errors == ()
    assert guard.report().metrics["denied_calls"] == 1


async def test_what_is_held_passes_before_the_stream_ends_or_breaks() -> None:
    held = [call('{"env": "dev"', "deploy"), text("...")]
    maybe = Policy("no prod", "G !bad", {"bad": {"tool": "deploy", "arguments.x": 1}}, "warn")
    strict = Policy("no x", "G !x", {"x": {"tool": "deploy", "arguments.env": "prod"}})

    async def breaks():
        for event in held:
            yield event
        raise ConnectionError("gone")

    guard = watch(breaks(), policies=[maybe, strict])
    passed = []
    with pytest.raises(ConnectionError, match="gone"):
        async for event in guard:
            passed += [event]
    assert passed == [held[1], held[0]]  # env was fixed, and nothing else matters
    assert guard.report().outcome == "failed"
    guard = watch(held, policies=[maybe, strict])
    assert await through(guard) == [held[1], held[0]]


async def test_a_stop_by_a_text_hands_out_nothing_of_its_last_piece() -> None:
    events = [text("key: "), text(SECRET), text("more")]
    guard = watch(events, policies="no-secret")
    assert await through(guard) == events[:1]
    assert guard.stopped.evidence["rule"] == "no secret"


async def test_history_of_a_watch() -> None:
    policy = Policy("once", "G (go -> !Y O go)", {"go": {"tool": "go"}}, when={"kind": "tool_call"})
    guard = watch(
        [call("{}", "go", "0/0", "n")], policies=policy, history=[call("{}", "go", "0/0", "h")]
    )
    (event,) = await through(guard)
    assert event.kind == "error"


# Arguments


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": ""}, ArgumentValueError, "name must not be empty"),
        ({"formula": "G ("}, FormulaSyntaxError, "formula of rule 'p':"),
        (
            {"action": "halt"},
            ArgumentValueError,
            "action of rule 'p' must be one of 'note', 'warn'",
        ),
        (
            {"action": test_history_of_a_watch},
            ArgumentTypeError,
            "action of rule 'p' must be a plain function, got the coroutine function",
        ),
        ({"atoms": {}}, ArgumentValueError, "atoms of rule 'p': 'a' of its formula has no meaning"),
        (
            {"formula": "G delete", "atoms": {"delet": {"kind": "text"}}},
            ArgumentValueError,
            "'delete' of its formula has no meaning; did you mean 'delet'",
        ),
        ({"atoms": {"a": {}}}, ArgumentValueError, "atoms.a of rule 'p' must not be empty"),
        (
            {"atoms": {"a": {"tokens": {">": "4000"}}}},
            ArgumentTypeError,
            "rule 'p'.tokens must be compared with a number, got '4000' (str)",
        ),
        (
            {"atoms": {"a": {"any": [{"t": {"in": [3, "4s"]}}]}}},
            ArgumentTypeError,
            "any[0].t must be compared with a number, got '4s' (str)",
        ),
        (
            {"atoms": {"a": {"chars": {">": True}}}},
            ArgumentTypeError,
            "rule 'p'.chars must be compared with a number, got True (bool)",
        ),
        (
            {"atoms": {"a": {"kind": "tool_result", "failed": "yes"}}},
            ArgumentTypeError,
            "rule 'p'.failed must be compared with true or false, got 'yes' (str)",
        ),
        (
            {"when": {"name": {"!=": 5}}},
            ArgumentTypeError,
            "when of rule 'p'.name must be compared with text, got 5 (int)",
        ),
        (
            {"atoms": {"a": {"kind": "finding", "severity": "error"}}},
            ArgumentValueError,
            "rule 'p'.severity must be a severity, got 'error' (known: note, warn, block, stop)",
        ),
        (
            {"atoms": {"a": {"$.channel": "txt"}}},
            ArgumentValueError,
            "rule 'p'.$.channel must be a channel, got 'txt'; did you mean 'text'?",
        ),
        (
            {"atoms": {"a": {"kind": "tool-call"}}},
            ArgumentValueError,
            "rule 'p'.kind must be a kind of step, got 'tool-call'; did you mean 'tool_call'",
        ),
        (
            {"atoms": {"a": {"tol": "rm"}}},
            ArgumentValueError,
            "a field must be one that steps have, got 'tol'; did you mean 'tool'",
        ),
        (
            {"atoms": {"a": {"argument.path": 1}}},
            ArgumentValueError,
            "a field must be one that steps have, got 'argument.path'; did you mean 'arguments'",
        ),
        (
            {"atoms": {"a": {"in": ["text"]}}},
            ArgumentValueError,
            "'in' says where a 'pattern' is looked for",
        ),
        ({"atoms": {"a": {"pattern": "("}}}, ArgumentValueError, "a pattern of rule 'p'"),
        ({"atoms": {"a": {"pattern": ""}}}, ArgumentTypeError, "must be a regular expression"),
        (
            {"atoms": {"a": {"pattern": "x", "in": ["speech"]}}},
            ArgumentValueError,
            "atoms.a of rule 'p'.in must be one of 'text'",
        ),
        ({"atoms": {"a": {"tool": []}}}, ArgumentValueError, "must name a tool"),
        (
            {"atoms": {"a": {"tool": "x", "name": "y"}}},
            ArgumentValueError,
            "both 'tool' and 'name'",
        ),
        ({"key": "argument.x"}, ArgumentValueError, "key of rule 'p' must be one that steps have"),
        (
            {"formula": "G amount > 3", "atoms": {}},
            ArgumentValueError,
            "comparison 'amount > 3' in the formula",
        ),
        ({"clock": "hours"}, ArgumentValueError, "clock of rule 'p' must be one of"),
    ],
)
def test_arguments_are_checked(settings, error, message) -> None:
    given = {"name": "p", "formula": "G a", "atoms": {"a": {"kind": "text"}}, **settings}
    with pytest.raises(error) as caught:
        Policy(**given)
    assert message in str(caught.value)


def test_sets_are_checked_and_shared() -> None:
    with pytest.raises(ArgumentValueError, match="the name 'no prod' occurs twice"):
        PolicySet([NO_PROD, NO_PROD])
    with pytest.raises(ArgumentTypeError, match="policies must be an iterable of Policy"):
        PolicySet(NO_PROD)
    with pytest.raises(ArgumentTypeError, match=r"policies\[0\] must be a Policy, got 3"):
        PolicySet([3])
    compiled = PolicySet([NO_PROD])
    for _ in range(2):
        assert run(compiled, [call('{"env": "prod"}')])[0][0].denied
    assert (len(compiled), list(compiled), compiled.forbids) == (1, [NO_PROD], True)


def test_policies_can_be_pickled() -> None:
    twin = pickle.loads(pickle.dumps(NO_PROD))
    assert (twin.name, twin.atoms, twin.repair) == (NO_PROD.name, NO_PROD.atoms, NO_PROD.repair)
    assert run(twin, [call('{"env": "prod"}')])[0][0].denied
    twins = pickle.loads(pickle.dumps(PolicySet([NO_PROD], max_keys=5)))
    assert [policy.name for policy in twins] == ["no prod"]


def test_threads_share_a_set() -> None:
    compiled = PolicySet([NO_PROD, ANSWER])
    failures = []

    def use() -> None:
        try:
            for _ in range(200):
                assert run(compiled, [call('{"env": "prod"}')])[0][0].denied
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("meter", ["chars", "tokens"])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_limit_tells_the_character_that_passes_it(meter, size) -> None:
    """Wherever the text is cut, and whatever else was written before."""
    limit = 12 if meter == "tokens" else 49
    for action in ("stop", "warn"):
        policy = Policy(
            "short", "G !long", {"long": {meter: {">": limit}}}, action, after_violation="stay"
        )
        guard = Guard((), policy)
        guard.take(text("  thoughts ", kind="reasoning"))
        written = "  An answer that is longer than it may be, by far."
        for begin in range(0, len(written), size):
            step = guard.take(text(written[begin : begin + size]))
            if step.findings:
                break
        (finding,) = step.findings
        passing = 11 + finding.start
        assert passing == (51 if meter == "tokens" else 49)
        assert finding.end == finding.start + 1
        assert begin <= finding.start < begin + size
        assert finding.evidence["channel"] == "text"
        assert finding.evidence["stream_id"] == "0"


def test_a_limit_within_a_call_tells_the_character_of_its_arguments() -> None:
    policy = Policy("short", "G !long", {"long": {"chars": {">": 15}}}, "warn")
    guard = Guard((), policy)
    guard.take(text("12345"))
    step = guard.take(call('{"path": "abcdef'))
    (finding,) = step.findings
    assert (finding.start, finding.end, finding.evidence["channel"]) == (10, 11, "tool_call")


def test_counts_of_the_provider_have_no_place() -> None:
    guard = Guard((), ready_policies("token-budget", tokens=10))
    step = guard.take(Event("usage", 0, 0, data={"usage": {"completion_tokens": 11}}))
    assert (step.stop.start, step.stop.end) == (0, 0)
    assert "channel" not in step.stop.evidence
