"""Knobs, records and their loss: what a recording says about settings that never ran on it."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import phases

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.meta import Param, ParamSpace
from midstream.stream import Event, load, shipped_recordings, watch
from midstream.stream.adapting import (
    StreamLoss,
    StreamRecord,
    detectors_of,
    stops_no_later,
    watch_params,
    watch_presets,
)

PARAMS = watch_params()
EAGER = PARAMS.settings(stop_chars=60, near_stop_score=80.0, near_stop_copies=4.0)
NEVER = PARAMS.settings(on_loop="warn")
AGAIN = "I will try that once more. "


def record(text: str = AGAIN * 100, gap_s: float = 0.01, size: int = 9, **known) -> StreamRecord:
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    events = [Event("text", i, int((i + 1) * gap_s * 1e9), piece) for i, piece in enumerate(pieces)]
    return StreamRecord(tuple(events), **known)


def cut(whole: StreamRecord, count: int, **known) -> StreamRecord:
    return StreamRecord(whole.events[:count], cut=True, **known)


def test_defaults_are_those_of_the_detectors() -> None:
    found = []
    for detectors in (None, detectors_of(PARAMS.defaults)):
        events = load(shipped_recordings()["loop-02"])

        async def run(events=events, detectors=detectors):
            guard = watch(events, detectors=detectors)
            async for _ in guard:
                pass
            return guard.findings

        found.append(asyncio.run(run()))
    assert found[0] == found[1] != []


def test_presets_are_settings_of_the_space_and_differ() -> None:
    presets = watch_presets(PARAMS)
    assert len(set(presets)) == 30
    assert presets[0] == PARAMS.defaults
    for preset in presets:
        detectors_of(preset)


def test_knobs_that_are_missing_are_named() -> None:
    with pytest.raises(ArgumentValueError, match="settings have no 'min_copies'"):
        detectors_of({"on_loop": "stop"})
    with pytest.raises(ArgumentValueError, match="settings have no 'stall_min_s'"):
        StreamLoss()({k: v for k, v in PARAMS.defaults.items() if k != "stall_min_s"}, record())


def test_waste_is_what_comes_after_the_last_useful_character() -> None:
    loss, looped = StreamLoss(), record(useful_chars=len(AGAIN))
    at_once, later, never = (loss(s, looped) for s in (EAGER, PARAMS.defaults, NEVER))
    assert 0 < at_once < later < never
    # 2,700 characters in 300 events of 10 ms, of which the first 27 characters in 3 were worth it.
    assert never == pytest.approx(2673 / 3000 + 2.97 / 90)
    assert loss.ran_on(looped) == never


def test_a_stop_that_was_wrong_costs_and_warnings_do_too() -> None:
    loss = StreamLoss()
    wanted = record(useful_chars=2700)
    assert loss(EAGER, wanted) == 1.0
    assert loss(NEVER, wanted) == pytest.approx(0.02)  # one warning, of an exact run
    assert loss.ran_on(wanted) == 0.0
    assert StreamLoss(false_stop=0.25, false_warning=0.0)(EAGER, wanted) == 0.25
    # Less is lost than the margin: in proportion.
    events = len(cut(wanted, 300).events)
    assert events == 300
    stop = loss(PARAMS.settings(stop_chars=2600), record(AGAIN * 100 + "Ah.", useful_chars=2703))
    assert 0.02 < stop < 0.5


def test_waiting_costs_until_the_stop_or_the_end() -> None:
    loss = StreamLoss()
    silent = StreamRecord(record("All is well so far.").events, end_ns=60_000_000_000)
    patient, sharp = PARAMS.defaults, PARAMS.settings(on_stall="stop", stall_first_s=5.0)
    assert loss(patient, silent) == pytest.approx((60 - 0.03) / 90)
    assert loss(sharp, silent) == pytest.approx(5 / 90)
    pause = StreamRecord(
        (*silent.events, Event("text", 3, 40_000_000_000, " And it goes on." * 20)),
        useful_chars=339,
    )
    assert loss(patient, pause) == pytest.approx(0.02)
    assert loss(sharp, pause) == 1.0


def test_what_nobody_knows_is_an_interval() -> None:
    loss, whole = StreamLoss(), record(useful_chars=27)
    half = cut(whole, 40)
    for settings_, known in ((EAGER, True), (PARAMS.defaults, True), (NEVER, False)):
        low, high = loss(settings_, half)
        assert low < high
        right = cut(whole, 40, stop_was_wrong=False)
        wrong = cut(whole, 40, stop_was_wrong=True)
        if known:  # the stop lies within what was seen
            assert loss(settings_, right) == low < loss(settings_, wrong) == 1.0 == high
        else:
            assert loss(settings_, right) == (low, 1.0)
            assert loss(settings_, wrong) == (pytest.approx(0.02), 1.0)


def test_a_text_is_judged_by_itself_where_nobody_told() -> None:
    rng = random.Random(1)
    news = " ".join(f"{rng.choice(phases.WORDS)}{rng.choice(phases.WORDS)}" for _ in range(120))
    assert record(news)._useful == len(news)
    looped = record(news + ". " + AGAIN * 60)
    assert len(news) <= looped._useful <= len(news) + 40
    assert record(news + ". " + AGAIN * 60 + news[::-1])._useful == looped.chars + len(news)
    assert record("Short. Short. Short.")._useful == 20


def test_samples_of_gpt3_are_judged_as_their_labels_say(shared_data) -> None:
    text = shared_data("loops/gpt3.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    healthy = [row["text"] for row in rows if row["label"] == "none" and not row["doubt"]]
    cut_short = sum(record(sample)._useful < len(sample) - 200 for sample in healthy)
    assert len(healthy) == 209
    assert cut_short <= 2
    exact = [r for r in rows if r["label"] == "loop" and not r["near"] and not r["doubt"]]
    for row in exact:  # the first copy may be worth having
        assert record(row["text"])._useful <= row["onset_char"] + row["period_chars"] + 60


@pytest.mark.parametrize("world", list(phases.WORLDS))
def test_replay_over_what_was_cut_off_agrees_with_the_whole(world) -> None:
    """Settings that stop no later than those that ran are known exactly, and others bounded."""
    rng = random.Random(world)
    loss, material, presets = StreamLoss(), phases.made_up(), watch_presets(PARAMS)
    for _ in range(6):
        whole = phases.stream(rng, phases.WORLDS[world], material)
        ran = rng.choice(presets)
        stop = loss.stop(ran, whole)
        if stop is None:
            continue
        seen = whole.events[: stop.n_events]
        half = StreamRecord(seen, stop.t_ns, cut=True, useful_chars=whole.useful_chars)
        for other in presets:
            got, truth = loss(other, half), loss(other, whole)
            if isinstance(got, tuple):
                assert not stops_no_later(other, ran)
                assert got[0] <= truth + 1e-9
            elif stops_no_later(other, ran):
                assert got == pytest.approx(truth)


def test_order_of_settings() -> None:
    assert stops_no_later(EAGER, PARAMS.defaults)
    assert not stops_no_later(PARAMS.defaults, EAGER)
    assert stops_no_later(PARAMS.defaults, NEVER)
    assert not stops_no_later(NEVER, PARAMS.defaults)
    assert stops_no_later(PARAMS.defaults, PARAMS.defaults)
    sharp = PARAMS.settings(on_stall="stop")
    assert stops_no_later(sharp, PARAMS.defaults)
    assert not stops_no_later(PARAMS.defaults, sharp)


def test_the_evaluator_is_frozen_and_says_what_it_is() -> None:
    loss = StreamLoss()
    with pytest.raises(AttributeError):
        loss.false_stop = 0.0
    assert loss.digest == StreamLoss().digest != StreamLoss(false_stop=0.5).digest
    assert loss == StreamLoss(n_kept=0)
    one, other = StreamLoss(n_kept=0), StreamLoss(n_kept=2)
    for chosen in (*watch_presets(PARAMS)[:7], EAGER, EAGER):
        assert one(chosen, record()) == other(chosen, record()) == loss(chosen, record())
    assert len(other._kept) == 2
    for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert (again, again.digest, again._kept) == (loss, loss.digest, {})
    one = record(useful_chars=3)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget_chars": 0}, "budget_chars must be at least 1"),
        ({"patience_s": float("nan")}, "patience_s must be finite"),
        ({"false_stop": 2}, "false_stop must be at most 1"),
        ({"margin_chars": -1}, "margin_chars must be at least 1"),
    ],
)
def test_bad_losses_are_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        StreamLoss(**arguments)


def test_losses_go_to_other_processes_without_what_they_computed() -> None:
    loss = StreamLoss(patience_s=30.0, n_kept=7)
    loss(PARAMS.defaults, record())
    again = pickle.loads(pickle.dumps(loss))
    assert (again, again.n_kept, again.digest) == (loss, 7, loss.digest)
    assert copy.deepcopy(loss)(EAGER, record()) == loss(EAGER, record())


def test_settings_of_another_space_are_named() -> None:
    other = ParamSpace([Param.integer("copies", 2, 12, default=2)]).defaults
    for judge in (detectors_of, lambda settings: StreamLoss()(settings, record())):
        with pytest.raises(ArgumentValueError, match="settings have no 'on_loop': they must be of"):
            judge(other)


def test_bad_records_are_named() -> None:
    event = Event("text", 0, 5, "a")
    for events, error, message in (
        (
            (event, Event("text", 1, 4, "b")),
            ArgumentValueError,
            r"events\[1\].t_ns goes back from 5 to 4",
        ),
        (("a",), ArgumentTypeError, r"events\[0\] must be an Event, got str"),
        ((Event("song", 0, 5, "a"),), ArgumentValueError, r"events\[0\]\.kind is 'song'"),
        ((Event("text", 0, -5, "a"),), ArgumentValueError, r"events\[0\]\.t_ns is -5"),
        ((Event("text", 0, 5, b"a"),), ArgumentTypeError, "text and stream_id must be str"),
        ((Event("text", None, 5, "a"),), ArgumentTypeError, "seq must be an int"),
        ((Event("text", 0, 5, "a", 3),), ArgumentTypeError, "name a str or None"),
    ):
        with pytest.raises(error, match=message):
            StreamRecord(events)
    with pytest.raises(ArgumentValueError, match="end_ns is before the last event, got 1"):
        StreamRecord((event,), end_ns=1)
    with pytest.raises(ArgumentTypeError, match="cut must be a bool, got 1"):
        StreamRecord((event,), cut=1)
    with pytest.raises(ArgumentTypeError, match="record must be a StreamRecord, got list"):
        StreamLoss()(PARAMS.defaults, [event])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["text", "reasoning", "tool_call", "tool_result", "end", "usage"]),
            st.integers(0, 10**10),
            st.text(max_size=20),
            st.sampled_from([None, "tool"]),
            st.sampled_from(["", "0", "0/1"]),
        ),
        max_size=8,
    ),
    st.booleans(),
    st.none() | st.integers(0, 99),
    st.none() | st.booleans(),
)
def test_records_survive_their_bytes(rows, is_cut, useful, wrong) -> None:
    rows.sort(key=lambda row: row[1])
    events = tuple(
        Event(kind, i, t_ns, text, name, {"not": "kept"}, stream_id, "not kept")
        for i, (kind, t_ns, text, name, stream_id) in enumerate(rows)
    )
    made = StreamRecord(events, cut=is_cut, useful_chars=useful, stop_was_wrong=wrong)
    again = StreamRecord.from_bytes(made.to_bytes())
    assert again == made
    assert again.digest == made.digest
    assert again.to_bytes() == made.to_bytes()
    assert hash(again) == hash(made)
    for chosen in (PARAMS.defaults, NEVER):
        got = StreamLoss()(chosen, again)
        low, high = got if isinstance(got, tuple) else (got, got)
        assert 0 <= low <= high <= 1


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_bytes_that_are_no_record_are_refused(data) -> None:
    with pytest.raises(ArgumentValueError, match="data is no record of a stream"):
        StreamRecord.from_bytes(data)


def test_damaged_records_are_refused_or_records() -> None:
    data = record(AGAIN * 3).to_bytes()
    rng = random.Random(2)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(ArgumentValueError):
            assert StreamRecord.from_bytes(bytes(damaged)).to_bytes() == bytes(damaged)


def test_records_keep_the_ids_of_calls() -> None:
    events = tuple(
        Event("tool_call", n, n, '{"a": "some words of a call"}', "find", None, "0/0", f"call_{n}")
        for n in range(60)
    )
    record = StreamRecord(events)
    again = StreamRecord.from_bytes(record.to_bytes())
    assert again == record
    assert again.events == events
    params = watch_params()
    # Calls that repeat each other are no loop in a text.
    assert StreamLoss().stop(params.defaults, again) is None
    without = StreamRecord(tuple(event._replace(call_id=None) for event in events))
    assert StreamLoss().stop(params.defaults, without) is not None
    assert b"call_0" not in without.to_bytes()
