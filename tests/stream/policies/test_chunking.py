"""However a stream is cut into events, policies find and deny the same, at the same characters."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from midstream.logic import RuleBook
from midstream.stream import Event, Guard, Policy, PolicySet, ready_policies
from midstream.stream.events import KINDS

KEY = "sk-0123456789abcdef0123"
POLICIES = PolicySet(
    [
        Policy("no prod", "G !bad", {"bad": {"tool": "deploy", "arguments.env": "prod"}}),
        Policy(
            "read first",
            "G (write -> O read)",
            {"write": {"tool": "write"}, "read": {"tool": "read"}},
            key="arguments.path",
        ),
        Policy(
            "forced",
            "G (write -> (O backup & !force))",
            {
                "write": {"tool": "write"},
                "backup": {"tool": "backup"},
                "force": {"arguments.options.force": True},
            },
            "warn",
        ),
        Policy("no key", "G !key", {"key": {"pattern": "sk-[a-z0-9]{20}", "in": ["tool_call"]}}),
        Policy("key", "G !key", {"key": {"pattern": "sk-[a-z0-9]{20}"}}, "note"),
        Policy("word", "G !word", {"word": {"pattern": r"\bpro\w*\b"}}, "note"),
        Policy("small", "G !big", {"big": {"arguments.n": {">": 9}}}, "warn"),
        Policy("size", "G !long", {"long": {"chars": {">=": 40}}}, "warn", after_violation="stay"),
        Policy("cost", "G !dear", {"dear": {"tokens": {">": 25}}}, "note", after_violation="stay"),
        Policy("once", "G (again -> !Y O again)", {"again": {"kind": "tool_call"}}, key="call"),
        Policy("begins", "G !b", {"b": {"arguments.x": {"starts_with": "pr"}}}, "warn"),
        Policy("holds", "G !h", {"h": {"tool": "note", "arguments.path": {"contains": "34"}}}),
        Policy("not", "G !n", {"n": {"tool": "backup", "arguments.env": {"!=": "prod"}}}),
        Policy("last", "G !last", {"last": {"pattern": "end$"}}, "note"),
        Policy(
            "say", "G (call -> F text)", {"call": {"kind": "tool_call"}, "text": {"kind": "text"}}
        ),
    ]
)

values = st.one_of(
    st.sampled_from(["prod", "dev", "a", "b", KEY, 'q"\\\n', "é🙂", ""]),
    st.integers(-5, 20),
    st.sampled_from([True, False, None, 1.5, 1e3]),
)
arguments = st.dictionaries(
    st.sampled_from(["env", "path", "n", "x"]), values, max_size=4
) | st.builds(
    lambda path, force: {"path": path, "options": {"force": force}, "list": [1, {"n": 10}]},
    st.sampled_from(["a", "b"]),
    st.booleans(),
)


@st.composite
def written(draw):
    """JSON of arguments, sometimes odd: spaces, escapes, a key twice, cut off, no JSON."""
    made = draw(arguments)
    text = json.dumps(
        made,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1])),
        separators=draw(st.sampled_from([None, (",", ":")])) if made else None,
    )
    if draw(st.integers(0, 5)) == 0:
        text = text.replace("s", "\\u0073")
    odd = draw(st.integers(0, 9))
    if odd == 0:
        text = text[: draw(st.integers(0, len(text)))]
    elif odd == 1 and text.startswith("{") and len(text) > 2:
        text = '{"env": "prod", ' + text[1:]
    return text


texts = st.lists(
    st.sampled_from(["hello ", "pro", "prod ", KEY, " ", "\n", "the end", "sk-", "é🙂 "]),
    min_size=1,
).map("".join)
segments = st.lists(
    st.tuples(st.sampled_from(["text", "reasoning", "audio"]), texts)
    | st.tuples(st.sampled_from(["deploy", "write", "read", "backup", "note", "note!"]), written()),
    min_size=1,
    max_size=8,
)


def events_of(run, cut):
    """The run as events; `cut` says how a text of so many characters is divided."""
    events = []
    for k, (kind, text) in enumerate(run):
        if kind in ("text", "reasoning", "audio"):
            head = (kind, None, "0", None)
        else:
            mark = "!" if kind.endswith("!") else ""
            head = ("tool_call", kind.rstrip("!"), f"0/{k}{mark}", f"c{k}")
        pieces = cut(text)
        for number, piece in enumerate(pieces):
            name = head[1] if number == 0 or head[0] != "tool_call" else None
            events.append(Event(head[0], len(events), 0, piece, name, None, head[2], head[3]))
    events.append(Event("end", len(events), 0, "stop", None, None, "0"))
    return events


def outcome(run, cut):
    """What is found and denied, and what is handed on of each stream, until a stop."""
    guard = Guard((), POLICIES)
    passed: dict[str, str] = {}
    held: dict[str, str] = {}
    denied = []
    for event in events_of(run, cut):
        step = guard.take(event)
        for sid in step.released:
            passed[sid] = passed.get(sid, "") + held.pop(sid, "")
        for denial in step.denied:
            held.pop(denial.stream_id, None)
            denied.append((denial.stream_id, denial.call_id, denial.name, denial.text))
        if step.dropped:
            continue
        place = held if step.hold else passed
        if event.kind == "tool_call":
            place[event.stream_id] = place.get(event.stream_id, "") + event.text
        if step.stop is not None:
            break
    else:
        guard.finish()
    found = [(f.severity, f.start, f.end, f.message, f.evidence) for f in guard.findings]
    calls = {sid: text for sid, text in passed.items() if text}
    if guard.stopped is not None:
        # A call that nothing holds is with its reader as far as the pieces go.
        calls = {sid: text for sid, text in calls.items() if sid in {d[0] for d in denied}}
    return found, denied, calls, guard.stopped is not None


def one_by_one(text):
    return list(text) or [""]


@settings(max_examples=150, deadline=None)
@given(run=segments, data=st.data())
def test_any_cut_gives_the_same(run, data) -> None:
    def cut(text):
        places = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
        bounds = [0, *sorted(places), len(text)]
        return [text[a:b] for a, b in pairwise(bounds)]

    wanted = outcome(run, one_by_one)
    assert outcome(run, cut) == wanted
    assert outcome(run, lambda text: [text]) == wanted


@settings(max_examples=60, deadline=None)
@given(run=segments)
def test_nothing_of_a_denied_call_is_handed_on(run) -> None:
    _, denied, calls, _ = outcome(run, one_by_one)
    assert not {denial[0] for denial in denied} & set(calls)


FORBIDDING = [
    *(
        policy
        for policy in POLICIES
        if policy.name in ("no prod", "read first", "begins", "holds", "not")
    ),
    Policy(
        "backup first",
        "G (write -> (O backup & !force))",
        {
            "write": {"tool": "write"},
            "backup": {"tool": "backup"},
            "force": {"arguments.options.force": True},
        },
    ),
    Policy(
        "either",
        "G (a -> !Y (a | b))",
        {
            "a": {"any": [{"arguments.n": {">=": 3}}, {"arguments.env": "dev"}]},
            "b": {"not": {"arguments.path": {"exists": False}}, "tool": "note"},
        },
        when={"kind": "tool_call"},
    ),
    Policy("few", "G few", {"few": {"count": {"of": {"tool": "note"}, "at_most": 2}}}),
]
whole_calls = st.lists(
    st.tuples(st.sampled_from(["deploy", "write", "read", "backup", "note"]), arguments),
    min_size=1,
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(run=whole_calls)
def test_early_verdicts_are_those_of_whole_calls(run) -> None:
    """A rule book that sees each call when it is whole refuses the same ones."""
    book = RuleBook([policy.rule for policy in FORBIDDING])
    wanted = []
    for k, (name, made) in enumerate(run):
        # Values of the wrong type have tests of their own.
        if type(made.get("n", 0)) not in (int, float):
            made = {**made, "n": 0}
        for key in ("path", "x"):
            if type(made.get(key, "")) is not str:
                made = {**made, key: "prod 34"}
        run[k] = (name, made)
        if not book.admit({"kind": "tool_call", "name": name, "arguments": made}):
            wanted.append(f"c{k}")
    guard = Guard((), FORBIDDING)
    for event in events_of([(name, json.dumps(made)) for name, made in run], one_by_one)[:-1]:
        guard.take(event)
    assert [denial.call_id for denial in guard.denied] == wanted
    assert guard.stopped is None


EVERYTHING = PolicySet(
    [
        *POLICIES,
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
            calls=4,
            tokens=60,
            seconds=100,
        ),
        Policy(
            "answered",
            "G (call -> F[0:3] result)",
            {"call": {"kind": "tool_call"}, "result": {"kind": "tool_result"}},
            "warn",
            clock="time",
            key="call_id",
        ),
        Policy("failed", "G !failed", {"failed": {"result.error": "no"}}, "warn"),
        Policy("costly", "G !costly", {"costly": {"usage.output_tokens": {">": 50}}}, "warn"),
    ]
)
anything = st.one_of(
    st.none(),
    st.sampled_from(["", "x", '{"error": "no"}', "{", "Error: no", '{"is_error": 1}', "[]"]),
    st.integers(),
    st.floats(allow_nan=True),
    st.dictionaries(
        st.sampled_from(["usage", "tokens", "is_error", "output_tokens"]), st.integers()
    ),
)
any_events = st.lists(
    st.builds(
        Event,
        st.sampled_from(KINDS),
        st.just(0),
        st.integers(-(10**9), 10**11),
        st.sampled_from(
            ["", '{"path": "a"}', '{"env": "pr', 'od"}', "}", "word ", KEY, "yes", '"']
        ),
        st.sampled_from([None, None, "deploy", "write", "user", "system", ""]),
        anything
        | st.dictionaries(
            st.sampled_from(["usage", "tokens"]),
            anything
            | st.dictionaries(st.sampled_from(["output_tokens", "prompt_tokens"]), anything),
        ),
        st.sampled_from(["", "0", "0/0", "0/1", "1/0", "2!", "r1.0/0"]),
        st.sampled_from([None, None, "a", "b"]),
    ),
    max_size=30,
)


@example(
    history=[],
    events=[
        Event("tool_call", 0, 0, "", None, None, "0/1", "a"),
        Event("tool_call", 0, 0, "", None, None, "0/1", "b"),
    ],
)
@settings(max_examples=300, deadline=None)
@given(history=any_events, events=any_events)
def test_whatever_comes_it_does_not_raise_and_keeps_its_promises(history, events) -> None:
    guard = Guard((), EVERYTHING)
    guard.recall(history)
    assert guard.findings == []
    held: dict[str, int] = {}
    for event in events:
        step = guard.take(event)
        for sid in step.released:
            # Before this event, which may begin another call in its place, and be held.
            held.pop(sid, None)
        for denial in step.denied:
            assert denial.text and denial.finding in guard.findings
            held.pop(denial.stream_id, None)
        assert step.hold or not step.dropped
        if step.hold and not step.dropped:
            assert event.kind == "tool_call"
            held[event.stream_id] = held.get(event.stream_id, 0) + 1
        json.dumps([finding.to_dict() for finding in step.findings], allow_nan=False)
        if step.stop is not None:
            assert guard.stopped is step.stop
            break
        due = guard.due_ns()
        if due is not None and guard.expire(due).stop is not None:
            break
    else:
        step = guard.finish()
        for sid in step.released:
            held.pop(sid, None)
        for denial in step.denied:
            held.pop(denial.stream_id, None)
        assert held == {}  # nothing is kept for ever
    guard.finish()
    guard.report()
    assert isinstance(guard.open_obligations, list)
