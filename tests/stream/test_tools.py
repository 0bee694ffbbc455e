"""Loops of tool calls: what is found, at which call, and what is left alone."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.agent_runs import Variation, airline_runs, events_of, react_runs, variations

from midstream.stream import Event, Finding, Guard, ToolLoopDetector
from midstream.stream.detectors._closing import Arguments
from midstream.stream.detectors.tools import _sort_of
from midstream.stream.formats.detecting import AutoMapper

RUNS = 20
KINDS = [(v.kind, v.loops) for v in variations(random.Random(0))]
NEAR = ("identifiers", "arguments that grow")


def scan(events, **options) -> list[tuple[int, Finding]]:
    """Findings with the number of the call that each was made at."""
    detector = ToolLoopDetector(**options)
    found = [(detector.n_calls, f) for event in events for f in detector.observe(event, 0)]
    return found + [(detector.n_calls, f) for f in detector.finish()]


def made(kind: str, count: int = RUNS) -> list[Variation]:
    return [
        variation
        for seed in range(count)
        for variation in variations(random.Random(seed))
        if variation.kind == kind
    ]


@pytest.mark.parametrize("kind", [kind for kind, loops in KINDS if loops])
def test_loops_are_found_by_the_third_copy_and_stopped(kind: str) -> None:
    for variation in made(kind):
        found = scan(events_of(variation.turns))
        assert found, variation
        assert found[0][0] <= variation.third, variation
        if variation.turns[-1][0][0] == "list" or "counter" in kind or kind in NEAR:
            continue  # near loops are certain later
        stop = next((call for call, f in found if f.severity == "stop"), None)
        assert stop is not None, variation
        assert stop <= variation.third, variation


@pytest.mark.parametrize("kind", ["a counter", "a counter in a text", *NEAR])
def test_near_loops_are_stopped_when_told_to_at_the_sixth_copy(kind: str) -> None:
    for variation in made(kind):
        found = scan(events_of(variation.turns), near_stop_copies=6)
        stops = [call for call, f in found if f.severity == "stop"]
        copies = len(variation.turns) - (variation.third - 3)
        assert stops[:1] == ([variation.third + 3] if copies >= 6 else []), variation


@pytest.mark.parametrize("kind", [kind for kind, loops in KINDS if not loops])
def test_progress_is_left_alone(kind: str) -> None:
    for variation in made(kind):
        severities = [f.severity for _, f in scan(events_of(variation.turns))]
        assert "stop" not in severities, variation
        if kind == "results change":  # the second call is told before its result is known
            assert severities == ["note"]
        elif kind not in ("tests between edits", "scrolling"):
            assert "warn" not in severities, variation


def test_every_repeated_action_is_found_by_the_third(shared_data) -> None:
    hits = 0
    for run, turns in react_runs(shared_data("agents/react_hotpot.jsonl")):
        found = scan(events_of(turns))
        stops = [call for call, f in found if f.severity == "stop"]
        if run["repeated_action"]:
            hits += 1
            # The step at which it recurs is its second; nothing comes in between in these.
            assert stops[0] == run["first_repeat_step"] + 1
            assert found[0][0] == run["first_repeat_step"]
        else:
            assert stops == []
            assert len(found) == (run["max_same_action"] == 2)
    assert hits == 3


def test_airline_runs_are_stopped_only_where_one_is_labelled(shared_data) -> None:
    stopped, found = [], 0
    for run, turns in airline_runs(shared_data("agents/tau_airline.jsonl")):
        findings = scan(events_of(turns))
        found += bool(findings)
        if any(f.severity == "stop" for _, f in findings):
            stopped.append((run["id"], run["max_same_call"]))
    # Booked three times alike, with the same error each time.
    assert stopped == [("tau-airline-008-1", 3)]
    assert found <= 5


def test_the_finding_says_what_and_where() -> None:
    turns = [[("find", '{"b": 1, "a": "x"}', "none")]] * 3
    (_, warned), (call, stop) = scan(events_of(turns))
    assert (warned.severity, stop.severity, call) == ("warn", "stop", 3)
    assert (stop.kind, stop.start, stop.end) == ("tool_loop", 0, 18)
    assert stop.message == (
        "find is called again with the same arguments: 3 times, the same result each time"
    )
    assert dict(stop.evidence) == {
        "copies": 3,
        "period_calls": 1,
        "name": "find",
        "unit": 'find({"a":"x","b":1})',
        "channel": "tool_call",
        "stream_id": "0/0",
        "call_id": "call_2",
        "calls": 3,
        "wasted_calls": 2,
    }
    assert stop.copies == 3
    assert stop.period is None


def test_a_conversation_is_recalled_not_reported() -> None:
    turns = [[("find", '{"a": 1}', "none")]] * 2
    detector = ToolLoopDetector()
    detector.recall(events_of(turns))
    assert detector.n_calls == 2
    (stop,) = detector.observe(Event("tool_call", 0, 0, '{"a": 1}', "find", None, "0/0", "new"))
    assert (stop.severity, stop.copies) == ("stop", 3)


def test_who_goes_on_after_a_recalled_stop_is_stopped_again() -> None:
    turns = [[("find", '{"a": 1}', "none")]] * 7
    detector = ToolLoopDetector()
    detector.recall(events_of(turns))
    (stop,) = detector.observe(Event("tool_call", 0, 0, '{"a": 1}', "find", None, "0/0", "new"))
    assert (stop.severity, stop.copies) == ("stop", 8)


def test_what_goes_on_is_told_when_its_copies_have_doubled() -> None:
    turns = [[("find", '{"a": 1}', "none")]] * 30
    told = [(f.severity, f.copies) for _, f in scan(events_of(turns), action="warn")]
    assert told == [("note", 2), ("warn", 3), ("warn", 6), ("warn", 12), ("warn", 24)]


def test_a_result_that_changes_begins_anew() -> None:
    turns = [[("find", "{}", result)] for result in ("a", "a", "b", "b", "b", "b")]
    found = scan(events_of(turns))
    # b came with the third call: the fifth is the third of b's.
    assert [(call, f.severity) for call, f in found] == [
        (2, "note"),
        (3, "stop"),
        (5, "stop"),
    ]


def test_calls_are_kept_apart_by_their_ids() -> None:
    """Two calls whose pieces come in turns, as some servers send them."""
    detector = ToolLoopDetector()
    found = []
    for turn in range(3):
        for piece in ('{"a"', ": ", "1}"):
            for index, tool in enumerate(("one", "two")):
                call_id = f"{tool}_{turn}"
                event = Event("tool_call", 0, 0, piece, tool, None, f"0/{index}", call_id)
                found += detector.observe(event)
        for tool in ("one", "two"):
            found += detector.observe(
                Event("tool_result", 0, 0, "[]", tool, None, "", f"{tool}_{turn}")
            )
    assert [(f.severity, f.evidence["name"]) for f in found] == [
        ("warn", "one"),
        ("warn", "two"),
        ("stop", "one"),
        ("stop", "two"),
    ]


def test_without_ids_results_go_to_the_oldest_call_of_their_tool() -> None:
    detector = ToolLoopDetector()
    severities = []
    for seq in range(6):
        call = Event("tool_call", seq, 0, '{"a": 1}', "find", None, "0/0")
        result = Event("tool_result", seq, 0, f"{seq}", "find")
        severities += [f.severity for e in (call, result) for f in detector.observe(e)]
    # The second is told before its result is known; then it is plain that results change.
    assert severities == ["note"]


def test_empty_arguments_mean_none() -> None:
    turns = [[("now", arguments, "12")] for arguments in ("", "{}", " ")]
    assert [f.severity for _, f in scan(events_of(turns))] == ["note", "stop"]


def test_free_text_and_broken_json_are_compared_as_text() -> None:
    for text in ("SELECT 1", '{"a": ', '{"a": [1, 2}'):
        turns = [[("sql", text, "error")]] * 3
        assert [f.severity for _, f in scan(events_of(turns))] == ["warn", "stop"], text


def test_what_grows_is_bounded() -> None:
    detector = ToolLoopDetector(max_calls=64)
    turns = [
        [("find", json.dumps({"text": f"x{chr(97 + i % 26)}" * (i + 1)}), str(i))]
        for i in range(500)
    ]
    for event in events_of(turns):
        detector.observe(event)
    assert detector.evicted > 0
    assert detector.memory_bytes < 256 * 1024
    assert "tool calls forgotten" in detector.remarks[0]
    long = ToolLoopDetector()
    for _ in range(40):
        long.observe(Event("tool_call", 0, 0, "{" + "x" * 50_000, "find", None, "0/0", "a"))
    assert long.memory_bytes < 1 << 22


def told(found) -> list[tuple]:
    return [
        (call, f.kind, f.severity, f.start, f.end, f.message, dict(f.evidence)) for call, f in found
    ]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_findings_do_not_depend_on_chunking(data) -> None:
    seed = data.draw(st.integers(0, 1000))
    variation = data.draw(st.sampled_from(list(variations(random.Random(seed)))))
    whole = events_of(variation.turns)
    pieces: list[Event] = []
    for event in whole:
        text = event.text
        cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=5).map(sorted))
        for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True):
            pieces.append(event._replace(text=text[a:b], seq=len(pieces)))
            if data.draw(st.booleans()):
                pieces.append(Event("text", len(pieces), 0, "well"))
    expected = told(scan(whole, action="warn"))
    assert told(scan(pieces, action="warn")) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "panic"}, "action must be one of 'note', 'warn'"),
        ({"found_copies": 1}, "found_copies must be at least 2, got 1"),
        ({"stop_copies": 2, "found_copies": 3}, "stop_copies must be at least found_copies=3"),
        ({"near": "yes"}, "near must be a bool, got 'yes'"),
        ({"polling": "get"}, "polling must be a collection of str, got 'get'"),
        ({"polling": [1]}, "polling must hold str, got 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ToolLoopDetector(**arguments)


def test_who_asks_again_is_answered_again() -> None:
    answered = events_of([[("order", '{"id": 7}', "on its way")]])
    asked = [Event("text", 0, 0, "Where is it?", "user")]
    detector = ToolLoopDetector()
    detector.recall([*asked, *answered, *asked, *answered, *asked])
    (found,) = detector.observe(Event("tool_call", 0, 0, '{"id": 7}', "order", None, "0/0", "new"))
    # The third time, and not a loop for certain: what came in between was new.
    assert (found.severity, found.copies) == ("note", 3)


def test_long_results_are_compared_as_they_are() -> None:
    for tail, severities in (("", ["note", "stop"]), ("{0}", ["note"])):
        long = "word " * 40_000
        turns = [[("read", "{}", long + tail.format(turn))] for turn in range(4)]
        assert [f.severity for _, f in scan(events_of(turns))] == severities


def test_choices_of_one_response_are_no_repetition_of_each_other() -> None:
    detector = ToolLoopDetector()
    found = []
    for choice in range(6):
        event = Event("tool_call", choice, 0, '{"a": 1}', "find", None, f"{choice}/0", f"c{choice}")
        found += detector.observe(event)
    assert found == []
    # In the next response, each repeats what was done.
    detector.observe(Event("tool_result", 9, 0, "none", "find", None, "", "c0"))
    for choice in range(2):
        event = Event("tool_call", choice, 0, '{"a": 1}', "find", None, f"{choice}/0", f"d{choice}")
        found += detector.observe(event)
    assert [f.severity for f in found] == ["warn"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.text("abcdefgh", min_size=4, max_size=12), min_size=1, max_size=3), max_size=40
    )
)
def test_calls_that_all_differ_and_tell_something_new_are_no_loop(asked) -> None:
    known: set[str] = set()
    turns = []
    for texts in asked:
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(fresh)
        if fresh:
            turns.append([("find", json.dumps({"q": text}), f"about {text}") for text in fresh])
    assert scan(events_of(turns)) == []


def test_where_results_are_not_seen_nothing_is_certain() -> None:
    def rolls(count, ends):
        events = []
        for n in range(count):
            events.append(Event("tool_call", 0, 0, "{}", "roll", None, f"{n}", f"call_{n}"))
            events += [Event("end", 0, 0, "tool_use")] * ends
        return events

    # In several responses, each of which was answered; and in one.
    assert {f.severity for _, f in scan(rolls(20, 1))} == {"note", "warn"}
    assert [f.severity for _, f in scan(rolls(4, 0))] == ["note", "stop"]


def wire_events(shared_data):
    """Events of every recorded stream of a provider, by file, with what it should come to."""
    expected = json.loads(shared_data("wire/expected.json").read_text())
    for row in json.loads(shared_data("wire/index.json").read_text()):
        if row["file"].endswith(".jsonl"):
            mapper = AutoMapper()
            text = shared_data("wire/" + row["file"]).read_text(encoding="utf-8")
            lines = text.splitlines()
            yield (
                row["file"],
                [event for n, line in enumerate(lines) for event in mapper.decode(line, n)],
                expected.get(row["file"]),
            )


def test_calls_of_every_provider_are_seen_and_none_is_stopped(shared_data) -> None:
    files = 0
    for file, events, expected in wire_events(shared_data):
        detector = ToolLoopDetector()
        found = [f for event in events for f in detector.observe(event)]
        assert "stop" not in {f.severity for f in [*found, *detector.finish()]}, file
        if expected is not None:
            calls = expected["tool_calls"] + expected.get("server_tool_calls", [])
            assert detector.n_calls == len(calls), file
            files += bool(calls)
    assert files > 20


def test_a_guard_denies_the_third_call_before_it_is_passed_on() -> None:
    guard = Guard([ToolLoopDetector("block")])
    guard.recall(events_of([[("find", '{"a": 1}', "none")]] * 2))
    steps = [
        guard.take(Event("tool_call", seq, seq, piece, "find", None, "0/0", "new"))
        for seq, piece in enumerate(('{"a"', ": 1", "}"))
    ]
    assert [step.hold for step in steps] == [True, True, True]
    (denial,) = steps[-1].denied
    assert (denial.call_id, denial.finding.severity) == ("new", "block")
    assert "find is called again with the same arguments: 3 times" in denial.text
    assert guard.stopped is None
    # Another call passes.
    step = guard.take(Event("tool_call", 4, 4, '{"a": 2}', "find", None, "0/1", "other"))
    assert not step.denied


def test_a_week_may_be_looked_up_in_vain() -> None:
    turns = [[("flights", f'{{"date": "2024-05-{day}"}}', "[]")] for day in range(11, 25)]
    found = [(call, f.severity) for call, f in scan(events_of(turns))]
    assert found == [(3, "note"), (4, "warn"), (8, "warn"), (10, "stop")]


_CALL = ("get", '{"q": "tea"}')


def _each(results) -> list[Finding]:
    return [f for _, f in scan(events_of([[(*_CALL, result)] for result in results]))]


@pytest.mark.parametrize(
    "result",
    [
        "Error 429: slow down (request req_{h16})",
        "request-id: {h16} not found",
        '{{"items": [], "took": {n}}}',
        '{{"items": [], "latency_ms": {n}.5}}',
        "process {n} exited with 2",
    ],
)
def test_results_that_differ_only_in_what_changes_by_itself_are_the_same(result) -> None:
    rng = random.Random(0)
    told = _each(
        result.format(n=rng.randrange(100, 999), h16=f"{rng.getrandbits(64):016x}")
        for _ in range(4)
    )
    assert [f.severity for f in told][-1:] == ["stop"]


def test_results_are_the_same_whatever_the_order_of_their_keys() -> None:
    told = _each(['{"a": 1, "b": [2]}', '{"b": [2], "a": 1}', '{ "b": [2],"a": 1}'])
    assert [f.severity for f in told] == ["note", "stop"]


@pytest.mark.parametrize(
    "result",
    [
        "in progress, {left}s left",
        '{{"state": "running", "remaining": "{left} ms"}}',
        "ETA 00:00:{left}",
        "<image {h16}>",
        "commit {h16}",
    ],
)
def test_time_that_is_left_and_hashes_of_what_is_there_are_progress(result) -> None:
    rng = random.Random(0)
    told = _each(result.format(left=90 - n, h16=f"{rng.getrandbits(64):016x}") for n in range(12))
    assert {f.severity for f in told} == {"note"}


def test_a_result_that_has_changed_before_may_change_again() -> None:
    """A die falls alike twice in a row now and then."""
    told = _each("12334455615566")
    assert "stop" not in [f.severity for f in told]
    told = _each("123455555555")
    assert [f.severity for f in told][-1] == "stop"
    # An error that reads otherwise is no progress.
    told = _each([f"Error {n}: no" for n in (1, 2, 3, 4, 4, 4)])
    assert [f.severity for f in told][-1] == "stop"


@pytest.mark.parametrize("answer", ["", "ok", "{thought}"])
@pytest.mark.parametrize("tool", ["think", "sequentialthinking", "note_thoughts"])
def test_thoughts_are_no_news_whatever_their_tool_returns(tool, answer) -> None:
    turns = []
    for n in range(6):
        thought = f"thought {'abcdef'[n]} of mine"
        turns.append([("search", '{"q": 1}', "No results")])
        turns.append([(tool, json.dumps({"text": thought}), answer.format(thought=thought))])
    assert any(f.severity == "stop" for _, f in scan(events_of(turns)))


def _nearly(arguments, result="[]", count=12):
    turns = [[("find", json.dumps(arguments(n)), result)] for n in range(count)]
    return [f.severity for _, f in scan(events_of(turns)) if f.kind == "near_tool_loop"]


def test_short_hashes_and_made_up_identifiers_nearly_repeat() -> None:
    rng = random.Random(0)
    letters = "abcdefghijkmnopqrstuvwxyzABCDEFGHJK0123456789"
    assert "stop" in _nearly(lambda n: {"q": "tea", "key": f"{rng.getrandbits(32):08x}"})
    assert "stop" in _nearly(
        lambda n: {"q": 1, "key": "req_1" + "".join(rng.choices(letters, k=15))}
    )
    assert _nearly(lambda n: {"q": "defaced facade decade beefed"[n : n + 9]}) == []


def test_arguments_that_only_grow_nearly_repeat() -> None:
    words = [f"w{chr(97 + n)}" for n in range(20)]
    assert _nearly(lambda n: {"items": words[: n + 1]}) == ["note", "warn", "warn", "stop"]
    assert "stop" in _nearly(lambda n: {"q": " ".join(words[: n + 2])}, "Error: not found")
    # Not where each brings something, or only does something, or is another thing altogether.
    turns = [[("find", json.dumps({"items": words[: n + 1]}), f"{n} x")] for n in range(12)]
    assert scan(events_of(turns)) == []
    assert "stop" not in _nearly(lambda n: {"items": words[: n + 1]}, "saved")
    assert _nearly(lambda n: {"q": words[n] * 3}) == []


def test_a_result_in_many_pieces_is_kept_up_to_a_limit() -> None:
    detector = ToolLoopDetector()
    detector.observe(Event("tool_call", 0, 0, "{}", "get", None, "0/0", "c"))
    for _ in range(40):
        detector.observe(Event("tool_result", 0, 0, "x" * (1 << 16), "get", None, "0/0", "c"))
    assert detector._result is not None
    assert sum(map(len, detector._result.texts)) == 1 << 20


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' \n{"a": {"b": [1, "}"]}} and more}',
        '{"a": "x\\"}"}',
        '{"a": 1} {"b": 2}',
        '{"a": "a line\nbreak"}',
        "{'a': 1}",
        '{"a": [1, 2}',
        '["a", 1e400]',
        '{"a": NaN}',
        "{" * 30 + "}" * 30,
        '{"a": ' * 3000 + "1" + "}" * 3000,
    ],
)
def test_a_call_in_one_piece_ends_where_one_in_many_does(text: str) -> None:
    ends = []
    for size in (1, 3, 10**6):
        arguments = Arguments("0/0")
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        whole = any(
            arguments.take(Event("tool_call", 0, 0, piece, "f", None, "0/0", "c"))
            for piece in pieces
        )
        ends.append((whole, arguments.text, arguments.end))
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize(
    ("result", "sort"),
    [
        ("OK", "done"),
        ("File saved.", "done"),
        ("Wrote 3 lines", "done"),
        ("written", "done"),
        ("Added", "done"),
        ("the address", "said"),
        ("ERROR: x", "failed"),
        ("It could not be found", "failed"),
        ("Timed out", "failed"),
        ("a snooze", "said"),
        ("terror", "said"),
        ("null", "failed"),
        ("x" * 201 + " error", "said"),
        ("x" * 195 + " error", "said"),
        ("", "done"),
    ],
)
def test_what_a_result_tells(result: str, sort: str) -> None:
    assert _sort_of(result) == sort
