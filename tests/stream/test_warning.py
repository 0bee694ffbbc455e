"""Early warning: what past runs say of a run that has not ended."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.agent_runs import airline_runs, events_of

from midstream.stream import EarlyWarning, Event, Guard, WarningModel

GIVES_UP = {"gives_up": {"kind": "tool_call", "name": "give_up"}}


def run(rng: random.Random) -> list[Event]:
    """An agent that mostly gives up once two of its calls have failed."""
    turns, failures = [], 0
    for step in range(rng.randrange(4, 12)):
        if failures >= 2 and rng.random() < 0.7:
            if rng.random() < 0.95:
                turns.append([("give_up", "{}", "bye")])
            return events_of(turns or [[("work", "{}", "ok")]])
        failed = rng.random() < 0.2
        failures += failed
        arguments = f'{{"step": {step}}}'
        turns.append([("work", arguments, "Error: no" if failed else f"fine {rng.random()}")])
    return events_of(turns)


FAILING = [[("work", f'{{"step": {step}}}', "Error: no")] for step in range(2)]


def runs(count: int, seed: int) -> list[list[Event]]:
    rng = random.Random(seed)
    return [run(rng) for _ in range(count)]


def broken(events: list[Event]) -> bool:
    return any(event.name == "give_up" for event in events)


MODEL = WarningModel.learn(
    "G !gives_up", runs(300, 1), GIVES_UP, name="does not give up", false_alarms=0.2
)


def scan(events, **options):
    detector = EarlyWarning(MODEL, **options)
    found = [f for event in events for f in detector.observe(event)]
    return found + list(detector.finish())


def test_runs_that_will_break_the_rule_are_warned_of_before_they_do() -> None:
    hits = alarms = bad = 0
    for events in runs(300, 2):
        found = scan(events)
        if broken(events):
            bad += 1
            at = next(event.seq for event in events if event.name == "give_up")
            hits += any(f.seq < at for f in found)
        else:
            alarms += bool(found)
    assert bad > 30
    assert hits >= 0.9 * bad
    assert alarms <= 0.25 * (300 - bad)
    # As it said it would be.
    assert MODEL.recall >= 0.9
    assert MODEL.false_alarms <= 0.2
    assert MODEL.lead_steps >= 1
    assert MODEL.n_runs == 300


def test_the_finding_says_how_probable_and_of_what() -> None:
    turns = FAILING
    (warning,) = scan(events_of(turns), action="stop")
    assert (warning.kind, warning.severity) == ("early_warning", "stop")
    evidence = warning.evidence
    low, high = evidence["interval"]
    assert 0 <= low <= evidence["probability"] <= high <= 1
    assert evidence["probability"] >= evidence["threshold"] == MODEL.threshold
    assert (evidence["rule"], evidence["step"]) == ("does not give up", 4)
    assert warning.message.startswith("does not give up: ")


def test_what_is_broken_already_is_not_warned_of() -> None:
    turns = [[("give_up", "{}", "bye")]] + [[("work", "{}", "Error: no")]] * 4
    assert scan(events_of(turns)) == []


def test_what_came_before_is_recalled() -> None:
    turns = FAILING
    detector = EarlyWarning(MODEL)
    detector.recall(events_of(turns))
    assert detector.n_steps == 4
    more = events_of([[("work", '{"step": 9}', "Error: no")]], start=2)
    (warning,) = [f for event in more for f in detector.observe(event)]
    assert warning.evidence["step"] in (5, 6)


def test_a_guard_runs_it_inline_where_it_is_told_to() -> None:
    guard = Guard([EarlyWarning(MODEL)], inline=True)
    found = [f.kind for event in events_of(FAILING) for f in guard.take(event).findings]
    assert found == ["early_warning"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_findings_do_not_depend_on_chunking(data) -> None:
    events = run(random.Random(data.draw(st.integers(0, 500))))
    pieces: list[Event] = []
    for event in events:
        cuts = [0, len(event.text)]
        if event.kind == "tool_call":
            cuts += data.draw(st.lists(st.integers(0, len(event.text)), max_size=4))
        cuts.sort()
        for a, b in pairwise(cuts):
            pieces.append(event._replace(text=event.text[a:b], seq=len(pieces)))

    def told(found):
        return [(f.start, f.end, f.message, dict(f.evidence)) for f in found]

    assert told(scan(pieces)) == told(scan(events))


def test_airline_runs_with_a_failing_call(shared_data) -> None:
    path = shared_data("agents/tau_airline.jsonl")
    recorded = [events_of(turns) for _, turns in airline_runs(path) if turns]
    failed = {"failed": {"kind": "tool_result", "text": {"starts_with": "Error"}}}
    model = WarningModel.learn("G !failed", recorded, failed, false_alarms=0.1)
    assert (model.n_runs, model.n_broken) == (91, 11)
    assert model.recall >= 0.6
    assert model.false_alarms <= 0.1


def test_a_step_that_fits_no_condition_is_counted_not_raised() -> None:
    atoms = {"big": {"kind": "tool_call", "arguments.n": {">": 5}}}
    past = [
        events_of([[("set", f'{{"n": {n}}}', "ok")], [("set", '{"n": 1}', "ok")]])
        for n in range(12)
    ]
    detector = EarlyWarning(WarningModel.learn("G !big", past, atoms))
    for event in events_of([[("set", '{"n": "seven"}', "ok")]]):
        detector.observe(event)
    assert detector.n_unjudged == 1
    assert detector.remarks == ("early warning: 1 step could not be judged",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("G !a", runs(9, 1)), "atoms must say what 'a' means"),
        (("G !gives_up", runs(3, 1), GIVES_UP), "runs must be at least folds=5, got 3"),
        (("G !gives_up", [[]] * 9, GIVES_UP), r"runs\[0\] has nothing that happened"),
        (("G !gives_up", [[1]] * 9, GIVES_UP), r"runs\[0\] must hold events, got int"),
        (("G !gives_up", "runs", GIVES_UP), "runs must be an iterable of runs, got str"),
        (("true", runs(9, 1)), "runs must differ in keeping the rule: none broke it"),
        ((5, runs(9, 1)), "formula must be str or Formula, got int"),
    ],
)
def test_what_cannot_be_learned_from_is_named(arguments, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        WarningModel.learn(*arguments)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="model must be a WarningModel, got str"):
        EarlyWarning("model")
    with pytest.raises(ValueError, match="threshold must be at most 1"):
        EarlyWarning(MODEL, threshold=2)
