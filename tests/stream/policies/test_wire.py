"""Policies over recorded streams of all providers: what passes, what is held, what is denied."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections import defaultdict

import pytest

from midstream.stream import Event, Guard, LoopDetector, Policy, PolicySet, ready_policies, watch
from midstream.stream.decode import NDJSONDecoder, SSEDecoder
from midstream.stream.formats import assemble

#: Of a value that no call has: every call is held until it is whole.
HOLDS = Policy("hold", "G !bad", {"bad": {"kind": "tool_call", "arguments.no.such": 1}})
NO_CALLS = Policy("no calls", "G !call", {"call": {"kind": "tool_call", "provider_run": False}})
ALL = PolicySet(
    [
        HOLDS,
        *ready_policies(
            [
                "read-before-write",
                "confirm-before-destroy",
                "no-secret",
                "no-repeated-failing-call",
                "rate-limit",
                "call-limit",
                "token-budget",
                "time-limit",
                "ends-with-answer",
                "untrusted-input",
            ],
            calls=1000,
            tokens=10**6,
            seconds=3600,
        ),
    ]
)


@pytest.fixture(scope="module")
def wire(shared_data):
    """Each file's name and events."""
    rows = json.loads(shared_data("wire/index.json").read_text(encoding="utf-8"))
    found = {}
    for row in rows:
        body = shared_data("wire/" + row["file"]).read_bytes()
        decoder = SSEDecoder() if row["file"].endswith(".sse") else NDJSONDecoder()
        found[row["file"]] = [*decoder.feed(body, 0), *decoder.finish(0)]
    return found


def by_stream(events) -> dict[str, list[Event]]:
    found = defaultdict(list)
    for event in events:
        found[event.stream_id].append(event)
    return dict(found)


async def through(events, policies):
    guard = watch(events, policies=policies, detectors=())
    return [event async for event in guard], guard


async def test_what_is_allowed_passes_whole_and_in_order(wire) -> None:
    held = 0
    for name, events in wire.items():
        passed, guard = await through(events, HOLDS)
        denied = {denial.stream_id for denial in guard.denied}
        if denied:  # a call that was cut off cannot be judged
            assert len(denied) == 1, name
            assert all("cannot be judged" in d.finding.message for d in guard.denied), name
        kept = [event for event in passed if not (event.kind == "error" and event.call_id)]
        wanted = [event for event in events if event.stream_id not in denied]
        if not denied:
            assert sorted(kept, key=lambda event: event.seq) == wanted, name
        assert by_stream(e for e in kept if e.stream_id not in denied) == by_stream(wanted), name
        held += [event.seq for event in kept] != sorted(event.seq for event in kept)
        assert guard.report().outcome == "ended"
    assert held  # in some, other events came between the pieces of a call


async def test_ready_rules_deny_nothing_in_them(wire) -> None:
    for name, events in wire.items():
        _, guard = await through(events, ALL)
        for denial in guard.denied:
            assert "cannot be judged" in denial.text, (name, denial)
        assert guard.stopped is None, (name, guard.stopped)


async def test_no_forbidden_call_reaches_the_reader(wire) -> None:
    seen = 0
    for name, events in wire.items():
        passed, guard = await through(events, NO_CALLS)
        calls = [e for e in passed if e.kind == "tool_call" and not e.stream_id.endswith("!")]
        assert calls == [], name
        denials = [e for e in passed if e.kind == "error" and e.data in guard.denied]
        assert len(denials) == len(guard.denied), name
        seen += bool(denials)
        if any(not call.provider_run for call in assemble(events).calls):
            assert guard.denied, name
        others = [e for e in events if e.kind != "tool_call" or e.stream_id.endswith("!")]
        assert [e for e in passed if e not in denials] == others, name
    assert seen > 20


async def test_early_verdicts_on_recorded_arguments(wire) -> None:
    """A call is denied with the first of its fixed arguments that a rule names."""
    found = 0
    for events in wire.values():
        guard = Guard((), HOLDS)
        for event in events:
            guard.take(event)
        for call in assemble(events).calls:
            try:
                arguments = json.loads(call.arguments or "{}")
            except ValueError:
                continue
            if not isinstance(arguments, dict) or call.provider_run:
                continue
            plain = {k: v for k, v in arguments.items() if isinstance(v, str) and "." not in k}
            if len(arguments) < 2 or not plain:
                continue
            key, value = next(iter(plain.items()))
            if key == list(arguments)[-1]:
                continue
            rule = Policy("no", "G !no", {"no": {"tool": call.name, f"$.arguments.{key}": value}})
            guard = Guard((), rule)
            for event in events:
                guard.take(event)
            end = guard.findings[0].end
            assert end < len(call.arguments)
            assert json.dumps(value, ensure_ascii=False)[1:-1] in call.arguments[:end]
            found += 1
    assert found


async def test_a_deadline_in_a_live_stream_is_kept_by_the_clock() -> None:
    closed = []

    async def silent():
        try:
            yield Event("tool_call", 0, 0, "{}", "go", None, "0/0", "c")
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    policy = Policy(
        "answer",
        "G (ask -> F[0:0.05] tell)",
        {"ask": {"kind": "tool_call"}, "tell": {"kind": "tool_result"}},
        "stop",
        clock="time",
    )
    async with asyncio.timeout(30):
        guard = watch(silent(), policies=policy, detectors=())
        passed = [event async for event in guard]
    assert len(passed) == 1
    assert guard.stopped is not None and guard.stopped.evidence["rule"] == "answer"
    assert guard.report().outcome == "stopped"
    assert closed == [True]


async def test_a_live_stream_that_is_too_long() -> None:
    async def slow():
        for _ in range(10_000):
            yield "x"
            await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        guard = watch(slow(), policies=ready_policies("time-limit", seconds=0.05), detectors=())
        async for _ in guard:
            pass
    assert guard.stopped is not None
    assert guard.stopped.message == "time limit: it has lasted longer than 0.05 s"


async def test_what_a_callback_raises_ends_the_watch() -> None:
    def fail(finding) -> None:
        raise RuntimeError("enough")

    policy = Policy("text", "G !text", {"text": {"kind": "text"}}, fail)
    guard = watch(["a", "b"], policies=policy)
    with pytest.raises(RuntimeError, match="enough"):
        async for _ in guard:
            pass
    assert guard.report().outcome == "failed"


async def test_closing_a_watch_hands_out_nothing_that_was_held() -> None:
    events = [Event("tool_call", 0, 0, '{"a": 1', "go", None, "0/0", "c"), Event("text", 1, 0, "x")]
    guard = watch([*events, *events], policies=HOLDS)
    assert (await guard.__anext__()).text == "x"
    await guard.aclose()
    assert [event async for event in guard] == []


def test_what_is_remembered_is_bounded() -> None:
    guard = Guard((), ALL)
    enforcer = guard._enforcer
    for k in range(3000):
        guard.take(Event("text", k, 0, "word ", None, None, f"{k}"))
        call = Event("tool_call", k, 0, '{"path": "a"}', "note", None, f"{k}/0", f"c{k}")
        guard.take(call)
    assert len(enforcer._scanners) <= 1024
    assert len(enforcer._made) <= 1024
    assert len(enforcer._calls) <= 257
    guard = Guard((), HOLDS)
    step = guard.take(
        Event("tool_call", 0, 0, '{"text": "' + "x" * (1 << 21), "go", None, "0/0", "c")
    )
    assert step.denied  # longer than can be judged


def test_calls_that_have_their_verdict_keep_no_arguments() -> None:
    """Neither those that are allowed, nor denied ones, nor for results that never come."""
    long = "x" * 100_000
    guard = Guard((), [HOLDS, Policy("no b", "G !b", {"b": {"tool": "b", "arguments.go": True}})])
    released = denied = 0
    tracemalloc.start()
    try:
        for k in range(400):
            name = "ab"[k % 2]
            for piece in ('{"text": "', long, '", "go": true', "}"):
                step = guard.take(Event("tool_call", k, 0, piece, name, None, f"0/{k}", f"c{k}"))
                released += len(step.released)
                denied += len(step.denied)
            if k == 100:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert (released, denied) == (200, 200)
    assert grown < 1 << 20
    assert guard._enforcer._made_chars <= 1 << 22


def test_text_behind_the_end_of_a_call_that_was_passed_stops() -> None:
    policy = Policy("no b", "G !b", {"b": {"kind": "tool_call", "arguments.go": "b"}})
    for rest, stops in ((" \n", False), ('{"go": "b"}', True), (" x", True)):
        guard = Guard((), policy)
        events = ['{"go": "a"}', *rest]
        steps = [guard.take(Event("tool_call", 0, 0, one, "t", None, "0/0", "c")) for one in events]
        assert steps[0].released == ("0/0",)
        assert not steps[0].hold
        assert (guard.stopped is not None) == stops, rest


def test_a_loop_of_a_strange_loop_beside_policies(tmp_path) -> None:
    from midstream.stream import watch_loop

    guard = Guard((), NO_CALLS, loop=watch_loop())
    call = Event("tool_call", 0, 0, "{}", "go", None, "0/0", "c")
    assert guard.take(call).denied
    guard.finish("closed")


def test_detectors_and_policies_find_in_that_order() -> None:
    policy = Policy("x", "G !x", {"x": {"pattern": "again"}}, "note", after_violation="stay")
    guard = Guard([LoopDetector()], policy)
    kinds = []
    for _ in range(40):
        step = guard.take(Event("text", 0, 0, "I will try that again. "))
        kinds += [finding.kind for finding in step.findings]
        if step.stop:
            break
    assert kinds == ["policy", "loop", "loop"]
