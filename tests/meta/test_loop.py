"""The strange loop: one state machine fed by a ledger, whatever happens in between."""

from __future__ import annotations

import copy
import gc
import itertools
import os
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FormulaSyntaxError,
    LedgerError,
    LedgerInUseError,
    RefusedError,
)
from midstream.meta import (
    AuditPlan,
    Bandit,
    DriftBank,
    Gate,
    Ledger,
    Levels,
    Param,
    ParamSpace,
    RuleError,
    SafetyConstraint,
    Session,
    Settings,
    Shield,
    StrangeLoop,
)

SPACE = ParamSpace(
    [
        Param.integer("copies", 2, 12, default=2, max_step=10),
        Param.real("width", 0.1, 10.0, default=1.0, scale="log", max_step=100.0, cooldown_s=5e-9),
    ]
)
RULES = ["copies <= 10", "abort -> stuck", "retry -> !O[1:2] retry"]
ACTIONS = ("continue", "abort", "retry")


class Evaluator:
    """A recording is the number of copies that suits it; the loss is how far off one is."""

    digest = "distance to the right number of copies"

    def __call__(self, settings: Settings, recording: float) -> float:
        return min(1.0, abs(settings["copies"] - recording) / 10)


EVALUATE = Evaluator()


def make(ledger: Any = None, **options: Any) -> StrangeLoop:
    given: dict[str, Any] = {
        "shield": Shield(RULES, params=SPACE, actions=ACTIONS),
        "gate": Gate(replay=3, canary=0, seed=4),
        "bandit": Bandit(ACTIONS, n_features=2, seed=5),
        "evaluator": EVALUATE,
        "seed": 6,
    }
    return StrangeLoop(SPACE, ledger=ledger, **{**given, **options})


def drive(loop: StrangeLoop, streams: range, right: float = 6.0, *, seed: int = 0) -> None:
    """Run streams whose best setting is `right`; a third of them needs an intervention."""
    rng = random.Random(f"{seed} {streams.start}")
    for number in streams:
        session = loop.begin(time_ns=number)
        session.observe([number % 3, 7, 8])
        session.close_unit(2)
        recording = right + rng.choice((-1.0, 0.0, 1.0))
        tickets = []
        if number % 3 == 0:
            chosen = session.decide([1.0, rng.random()], {"stuck"} if number % 2 else ())
            tickets.append(chosen.ticket)
        session.finish(
            EVALUATE(session.settings, recording) if number % 7 else None,
            [EVALUATE(settings, recording) for settings in session.shadows],
            signals={"doubt": float(number % 5 == 0)},
            recording=recording,
            time_ns=number,
        )
        if number % 7 == 0 and tickets and tickets[0] is not None:
            loop.feedback(tickets[0], 0.5, time_ns=number)
        if loop.due:
            loop.maintain(time_ns=number)


def test_it_finds_better_settings_and_nothing_worse():
    loop = make()
    drive(loop, range(150))
    assert loop.version > 0
    assert abs(loop.settings["copies"] - 6) <= 1
    summary = loop.summary()
    assert summary.promoted >= 1
    assert summary.violations == summary.change_violations == 0
    assert summary.finished == summary.started == 150
    assert summary.decisions == 50
    assert summary.masked >= 25
    assert summary.records == len(loop.ledger)
    assert summary.patterns[0] > 0
    assert str(summary.finished) in str(summary)
    assert "<table>" in summary._repr_html_()
    assert "<table>" in loop._repr_html_()
    assert "150 streams" in repr(loop)


def test_it_follows_when_what_is_best_changes():
    loop = make(rest=5)
    drive(loop, range(100), 6.0)
    first = loop.settings["copies"]
    drive(loop, range(100, 300), 10.0)
    assert abs(first - 6) <= 1
    assert loop.settings["copies"] >= 9
    assert loop.summary().violations == 0


def test_replay_gives_the_same_bytes():
    loop = make()
    drive(loop, range(120))
    loop.add_safety_constraint("copies <= 9", time_ns=120)
    loop.rollback(0, "to see", time_ns=121)
    drive(loop, range(200, 260))
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_checkpoints_change_nothing(monkeypatch):
    plain = make()
    drive(plain, range(90))
    monkeypatch.setattr("midstream.meta.loop.CHECKPOINT_EVERY", 17)
    ledger = Ledger()
    often = make(ledger)
    drive(often, range(90))
    assert len(list(ledger.records("checkpoint"))) >= 5
    assert often.digest == plain.digest
    again = make(ledger)
    assert again.digest == often.digest
    drive(again, range(90, 120))
    drive(plain, range(90, 120))
    assert again.settings == plain.settings
    assert again.replay().to_bytes() == ledger.to_bytes()


def test_a_loop_that_is_opened_again_goes_on_as_if_nothing_had_been(tmp_path):
    whole = make()
    drive(whole, range(80))
    path = tmp_path / "ledger"
    for part in (range(30), range(30, 31), range(31, 80)):
        with make(path) as loop:
            drive(loop, part)
    # Each part draws numbers of its own, so the whole is driven in the same parts.
    parts = make()
    for part in (range(30), range(30, 31), range(31, 80)):
        drive(parts, part)
    with make(path) as loop:
        assert loop.settings == parts.settings
        assert loop.version == parts.version
        assert loop.knowledge(1) == parts.knowledge(1)
        assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_a_crash_at_any_byte_leaves_a_loop_that_runs(tmp_path):
    path = tmp_path / "ledger"
    with make(path, bandit=Bandit(ACTIONS, n_features=2, seed=5, max_log=0)) as loop:
        drive(loop, range(45))
        promoted = loop.version
    data = path.read_bytes()
    assert promoted > 0
    ends = {len(data) - 1, 0, 1, *range(len(data) - 400, len(data), 25)}
    ends |= set(random.Random(1).sample(range(len(data)), 25))
    for end in sorted(ends):
        path.write_bytes(data[:end])
        with make(path, bandit=Bandit(ACTIONS, n_features=2, seed=5, max_log=0)) as loop:
            versions = loop.ledger.versions
            assert versions[-1].settings_in(SPACE) == loop.settings
            drive(loop, range(100, 103))
            assert loop.ledger.verify() == len(loop.ledger)
            assert loop.replay().to_bytes() == loop.ledger.to_bytes()
            assert loop.ledger.to_bytes().startswith(data[: end - loop.ledger.recovered_bytes])


def test_a_crash_between_a_decision_and_its_version_is_made_good():
    ledger = Ledger()
    loop = make(ledger)
    drive(loop, range(60))
    data = ledger.to_bytes()
    first = next(r for r in ledger.records("version") if r.index > 1)
    cut = Ledger()
    for record in ledger.records():
        if record.index == first.index:
            break
        if record.kind == "version":
            cut.commit(SPACE.defaults, record.blob, cause=0, time_ns=record.time_ns)
        else:
            cut.append(record.kind, record.body, blob=record.blob, time_ns=record.time_ns)
    assert data.startswith(cut.to_bytes())
    assert len(cut) == first.index
    back = make(cut)
    assert back.version == 1
    assert cut[-1].body == first.body
    assert cut[-1].hash == first.hash


def test_a_rollback_may_come_before_a_crash_is_made_good():
    ledger = Ledger()
    drive(make(ledger), range(60))
    promoted = next(r for r in ledger.records("version") if r.index > 1)
    cut = Ledger()
    for record in ledger.records():
        if record.index == promoted.index:
            break
        if record.kind == "version":
            cut.commit(SPACE.defaults, record.blob, cause=0, time_ns=record.time_ns)
        else:
            cut.append(record.kind, record.body, blob=record.blob, time_ns=record.time_ns)
    cut.rollback(0, "from outside", time_ns=99)
    back = make(cut)
    assert (back.version, back.settings) == (1, SPACE.defaults)
    drive(back, range(100, 220))
    assert back.version > 1
    assert back.replay().to_bytes() == cut.to_bytes()
    assert make(cut).digest == back.digest


def test_sessions_that_were_open_at_the_end_are_censored(tmp_path):
    path = tmp_path / "ledger"
    loop = make(path)
    session = loop.begin(time_ns=0)
    chosen = session.decide([1.0, 0.0])
    loop.close()
    with make(path) as again:
        summary = again.summary()
        assert (summary.started, summary.finished, summary.abandoned) == (1, 0, 1)
        with pytest.raises(ArgumentValueError, match=f"got {chosen.ticket}"):
            again.feedback(chosen.ticket, 1.0)
        drive(again, range(5))
        assert again.replay().to_bytes() == again.ledger.to_bytes()


def test_a_rollback_restores_settings_and_learners():
    loop = make()
    drive(loop, range(30))
    drive(loop, range(30, 60))
    bandit = loop.bandit.digest
    version = loop.ledger.versions[-1]
    trained = loop.ledger.state(version.number)
    back = loop.rollback(version.number, "exactly so", time_ns=60)
    assert back.restores == version.number
    assert back.state_digest == version.state_digest
    assert loop.ledger.state(back.number) == trained
    assert loop.settings == version.settings_in(SPACE)
    state = loop.digest
    loop.rollback(0, time_ns=61)
    assert loop.settings == SPACE.defaults
    assert loop.bandit.n_decisions == 0
    loop.rollback(back.number, time_ns=62)
    assert loop.bandit.n_decisions > 0
    assert loop.bandit.digest != bandit or state
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_a_rollback_gives_no_spent_level_back():
    loop = make(evaluator=None, gate=Gate(replay=0, canary=0))
    loop.apply(SPACE.change(loop.settings, copies=5), time_ns=0)
    spent = loop.gate.next_alpha
    loop.rollback(0, time_ns=1)
    assert loop.gate.next_alpha == spent
    assert loop.gate.opened == 1
    assert not loop.gate.trials


def test_a_canary_runs_a_share_and_is_promoted():
    loop = make(evaluator=None, gate=Gate(replay=0, share=0.5, seed=1))
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    arms = {"champion": 0, "candidate": 0}
    for number in range(400):
        session = loop.begin(time_ns=number)
        arms[session.arm] += 1
        expected = 6 if session.arm == "candidate" or loop.version else 2
        assert session.settings["copies"] == expected
        session.finish(
            EVALUATE(session.settings, 6.0),
            [EVALUATE(settings, 6.0) for settings in session.shadows],
            time_ns=number,
        )
        if loop.version:
            break
    assert loop.settings["copies"] == 6
    assert arms["candidate"] >= 5
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_what_was_promoted_and_got_worse_goes_again():
    loop = make(evaluator=None, gate=Gate(replay=0, canary=0))
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    drive(loop, range(60), 6.0)
    assert loop.settings["copies"] == 6
    drive(loop, range(60, 200), 2.0)
    assert loop.settings["copies"] == 2
    assert loop.summary().demoted == 1
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_a_rule_that_comes_later_stops_a_promotion():
    loop = make(evaluator=None, gate=Gate(replay=0, canary=0))
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    loop.add_safety_constraint(SafetyConstraint("few", "copies <= 5"), time_ns=1)
    assert not loop.gate.trials  # a canary of it would run what is not allowed any more
    drive(loop, range(60))
    assert loop.settings == SPACE.defaults
    assert loop.version == 0
    summary = loop.summary()
    assert (summary.promoted, summary.rejected) == (0, 1)
    assert summary.change_violations == 0


def test_a_canary_ends_with_the_rule_that_forbids_it():
    loop = make(evaluator=None, gate=Gate(replay=0, seed=1))
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    while loop.gate.trials[0].stage != "canary":
        session = loop.begin(time_ns=1)
        session.finish(0.9, [0.1], time_ns=1)
    loop.add_safety_constraint("copies <= 5", time_ns=2)
    sessions = [loop.begin(time_ns=3) for _ in range(50)]
    assert {session.arm for session in sessions} == {"champion"}
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_pairs_count_in_the_order_in_which_streams_began():
    """A candidate that is worse where streams take long is not promoted by the fast ones."""
    loop = make(evaluator=None, gate=Gate(replay=0, canary=0))
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    rng, waiting = random.Random(1), []
    for number in range(300):
        session = loop.begin(time_ns=number)
        slow = rng.random() < 0.3
        waiting.append((number + 80 * slow, session, 0.9 if slow else 0.3))
        for entry in [one for one in waiting if one[0] <= number]:
            waiting.remove(entry)
            entry[1].finish(0.5, [entry[2]] * len(entry[1].shadows), time_ns=number)
    assert loop.version == 0
    assert loop.summary().rejected == 0


def test_many_streams_at_once_do_not_speak_against_a_better_candidate():
    """As many as may be open may be waited for."""
    loop = make(evaluator=None, gate=None, max_sessions=700)
    assert loop.gate.configuration["max_pending"] == 700
    configuration = loop.gate.configuration | {"replay": 0, "canary": 0}
    loop = make(evaluator=None, gate=Gate(**configuration), max_sessions=700)
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    rng, waiting = random.Random(1), []
    for number in range(900):
        waiting.append((number + rng.expovariate(1 / 120), loop.begin(time_ns=number)))
        for entry in [one for one in waiting if one[0] <= number]:
            waiting.remove(entry)
            entry[1].finish(0.5, [0.2] * len(entry[1].shadows), time_ns=number)
    assert loop.summary().promoted == 1


def test_evidence_is_told_when_it_grows_and_not_while_it_waits():
    loop = make(evaluator=None, gate=Gate(replay=0, canary=0, shadow=10**6))
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    told = []
    for _ in range(8):
        told += loop.begin(time_ns=1).finish(0.5, [0.5], time_ns=1)["evidence"]
    first = loop.begin(time_ns=2)
    for _ in range(25):
        told += loop.begin(time_ns=2).finish(0.5, [0.5], time_ns=2)["evidence"]
    assert [one["n"] for one in told] == [1, 2, 4, 8]
    assert [one["n"] for one in first.finish(0.5, [0.5], time_ns=3)["evidence"]] == [34]


def test_streams_from_before_a_promotion_do_not_speak_against_it():
    loop = make(evaluator=None, gate=Gate(replay=0, canary=0))
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    sessions = [loop.begin(time_ns=1) for _ in range(60)]
    for session in sessions:
        session.finish(0.8, [0.2], time_ns=2)
    assert (loop.summary().promoted, loop.summary().demoted) == (1, 0)
    assert loop.gate.trials[0].evidence.n == 0


@pytest.mark.parametrize("way", ["unknown", "abandoned", "expired", "reopened"])
def test_what_is_given_up_for_its_length_counts_at_its_worst(way, tmp_path):
    """What is lost for other reasons counts as if it had not been."""
    path = tmp_path / "loop.ledger"
    options: dict[str, Any] = {"evaluator": None, "gate": Gate(replay=0, canary=0)}
    loop = make(path, **options, max_sessions=2)
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    first, second = loop.begin(time_ns=1), loop.begin(time_ns=1)
    second.finish(0.5, [0.4], time_ns=2)
    assert loop.gate.trials[0].evidence.n == 0  # it waits for the one before it
    if way == "unknown":
        first.finish(None, [0.4], time_ns=3)
    elif way == "abandoned":
        first.abandon(time_ns=3)
    elif way == "expired":
        loop.begin(time_ns=3)
        loop.begin(time_ns=3)
    else:
        loop.close()
        loop = make(path, **options, max_sessions=2)
    evidence = loop.gate.trials[0].evidence
    known = way in ("unknown", "abandoned")
    assert evidence.n == (1 if known else 2)
    assert evidence.difference == pytest.approx(0.1 if known else (0.1 - 1.0) / 2)
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()
    loop.close()


def test_a_session_whose_owner_is_gone_is_abandoned():
    loop = make()
    session = loop.begin(time_ns=1)
    owner = Evaluator()
    session.abandon_without(owner)
    loop.begin(time_ns=2)
    assert loop.summary().abandoned == 0
    del owner
    gc.collect()
    loop.begin(time_ns=3)
    assert loop.summary().abandoned == 1
    with pytest.raises(RefusedError):
        session.finish(0.5, time_ns=4)


def test_refusals_are_told_and_recorded():
    loop = make()
    with pytest.raises(RefusedError, match="copies <= 10") as caught:
        loop.apply(SPACE.change(loop.settings, copies=12), time_ns=0)
    assert caught.value.reason == "rule1"
    last = loop.ledger[-1]
    assert last.kind == "apply"
    assert last.body["decided"]["refused"] == "rule1"
    with pytest.raises(RefusedError, match="must start from"):
        loop.apply(SPACE.change(loop.settings.replace(copies=3), copies=4))
    other = ParamSpace([Param.integer("copies", 2, 99, default=2, max_step=90)])
    with pytest.raises(RefusedError) as caught:
        loop.apply(other.change(other.defaults, copies=90))
    assert caught.value.reason == "space"
    with pytest.raises(ArgumentValueError, match="unknown parameter"):
        SPACE.change(loop.settings, copys=3)
    with pytest.raises(ArgumentTypeError, match="got dict"):
        loop.apply({"copies": 4})  # type: ignore[arg-type]
    trial = loop.apply(SPACE.change(loop.settings, copies=6), evidence=[(0.5, 0.1)] * 3, time_ns=0)
    assert trial.stage == "shadow"
    with pytest.raises(RefusedError) as caught:
        loop.apply(SPACE.change(loop.settings, copies=6), evidence=(), time_ns=0)
    assert caught.value.reason == "open"
    with pytest.raises(RefusedError) as caught:
        loop.apply(SPACE.change(loop.settings, copies=7), evidence=[(0.1, 0.5)] * 3, time_ns=0)
    assert caught.value.reason == "replay"
    assert loop.summary().rejected == 1


def test_a_knob_that_was_just_turned_rests():
    loop = make(evaluator=None, gate=Gate(replay=0, canary=0))
    loop.apply(SPACE.change(loop.settings, width=2.0), time_ns=0)
    for _number in range(100):
        session = loop.begin(time_ns=100)
        session.finish(0.5, [0.1] * len(session.shadows), time_ns=100)
        if loop.version:
            break
    with pytest.raises(RefusedError) as caught:
        loop.apply(SPACE.change(loop.settings, width=3.0), time_ns=104)
    assert caught.value.reason == "cooldown_s"
    assert loop.apply(SPACE.change(loop.settings, width=3.0), time_ns=105).open


def test_bad_input_changes_nothing():
    loop = make()
    drive(loop, range(10))
    session = loop.begin(time_ns=10)
    chosen = session.decide([1.0, 0.5])
    before, records = loop.digest, len(loop.ledger)
    for losses in ((1.5, ()), (float("nan"), ()), ((0.5, 0.2), ()), ((0.1,), ()), ("x", ())):
        with pytest.raises((ArgumentValueError, ArgumentTypeError), match="loss"):
            session.finish(losses[0], losses[1])
    with pytest.raises(ArgumentValueError, match="got 1"):
        session.finish(0.5, [0.5] * (len(session.shadows) + 1))
    with pytest.raises(ArgumentValueError, match="doubt"):
        session.finish(0.5, signals={"doubt": 2.0})
    with pytest.raises(ArgumentValueError, match="gap"):
        session.finish(0.5, signals={"gap": float("inf")})
    with pytest.raises(ArgumentValueError, match="2 finite numbers"):
        session.decide([1.0])
    with pytest.raises(ArgumentValueError, match="2 finite numbers"):
        session.decide([1.0, float("nan")])
    with pytest.raises(ArgumentValueError, match="'dance'"):
        session.decide([1.0, 0.0], supported=["dance"])
    with pytest.raises(ArgumentValueError, match="got 99"):
        loop.feedback(99, 0.5)
    with pytest.raises(ArgumentValueError, match="reward"):
        loop.feedback(chosen.ticket, 1.5)
    with pytest.raises(ArgumentValueError, match="got 77"):
        loop.rollback(77)
    with pytest.raises(FormulaSyntaxError):
        loop.add_safety_constraint("copies <=")
    with pytest.raises(RuleError, match="fallback"):
        loop.add_safety_constraint("stuck -> !continue")
    with pytest.raises(ArgumentTypeError, match="got int"):
        loop.add_safety_constraint(3)  # type: ignore[arg-type]
    assert (loop.digest, len(loop.ledger)) == (before, records)
    session.finish(0.5)
    for late in (
        lambda: session.finish(0.5),
        lambda: session.decide([1.0, 0.0]),
        lambda: session.observe([1]),
        session.close_unit,
    ):
        with pytest.raises(RefusedError, match="has ended"):
            late()
    session.abandon()
    with pytest.raises(ArgumentTypeError, match="begin"):
        Session()


def test_tickets_are_answered_once():
    loop = make()
    session = loop.begin(time_ns=0)
    first = session.decide([1.0, 0.0])
    second = session.decide([1.0, 0.0])
    loop.feedback(first.ticket, 1.0, time_ns=0)
    session.finish(0.25, time_ns=0)
    assert loop.bandit.n_rewarded == 2
    for ticket in (first.ticket, second.ticket):
        with pytest.raises(ArgumentValueError, match="waits"):
            loop.feedback(ticket, 0.0)
    with loop.begin(time_ns=1) as left:
        third = left.decide([1.0, 0.0])
    assert left.closed
    assert loop.bandit.n_censored == 1
    with pytest.raises(ArgumentValueError, match="waits"):
        loop.feedback(third.ticket, 0.0)
    unknown = loop.begin(time_ns=2)
    fourth = unknown.decide([1.0, 0.0])
    unknown.finish(None, time_ns=2)
    loop.feedback(fourth.ticket, None, time_ns=3)
    assert loop.bandit.n_censored == 2


def test_old_sessions_make_room():
    loop = make(max_sessions=3)
    sessions = [loop.begin(time_ns=k) for k in range(5)]
    with pytest.raises(RefusedError, match="max_sessions is 3"):
        sessions[1].finish(0.5)
    sessions[2].finish(0.5, time_ns=9)
    assert loop.summary().expired == 2
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_the_shield_holds_in_sessions():
    loop = make(bandit=Bandit(ACTIONS, n_features=2, explore=1.0, seed=1))
    retries = 0
    session = loop.begin(time_ns=0)
    history = []
    for _ in range(200):
        chosen = session.decide([1.0, 0.0])
        assert "abort" not in chosen.allowed
        assert chosen.action in chosen.allowed
        assert chosen.propensity == pytest.approx(1 / len(chosen.allowed))
        if chosen.action == "retry":
            retries += 1
            assert "retry" not in history[-2:]
        history.append(chosen.action)
    assert retries > 20
    stuck = session.decide([1.0, 0.0], {"stuck"}, supported=["abort"])
    assert set(stuck.allowed) == {"continue", "abort"}
    assert loop.shield.violations == 0


def test_audits_come_in_bursts_when_stops_are_doubted():
    loop = make(audit=AuditPlan(probability=1.0, streams=5, pause=10))
    audited = []
    for number in range(60):
        session = loop.begin(time_ns=number)
        audited.append(session.audit)
        if session.audit:
            chosen = session.decide([1.0, 1.0], {"stuck"})
            assert chosen.audit
            assert (chosen.action, chosen.ticket) == ("continue", None)
        session.finish(0.5, signals={"doubt": 1.0}, time_ns=number)
    # w passes 3 after 4 streams of doubt 1 and slack 0.2; then a burst of 5, a pause of 10, again;
    # then a pause of 20, for a second burst in vain.
    expected = [False] * 4 + [True] * 5 + [False] * 14 + [True] * 5 + [False] * 24 + [True] * 5
    assert audited[: len(expected)] == expected
    quiet = make(audit=AuditPlan(probability=0.0))
    assert not any(
        quiet.begin(time_ns=0).finish(0.5, signals={"doubt": 1.0}, time_ns=0) is None
        for _ in range(20)
    )
    assert quiet.summary().audited == 0


def test_candidates_that_stop_later_are_judged_in_audits_only():
    class OnlyFewer(Evaluator):
        def known(self, candidate: Settings, champion: Settings) -> bool:
            return bool(candidate["copies"] <= champion["copies"])

    loop = make(
        evaluator=OnlyFewer(),
        gate=Gate(replay=0, canary=0),
        audit=AuditPlan(probability=1.0, streams=5),
    )
    loop.apply(SPACE.change(loop.settings, copies=6), evidence=(), time_ns=0)
    seen = {True: 0, False: 0}
    for number in range(30):
        session = loop.begin(time_ns=number)
        seen[session.audit] += len(session.shadows)
        session.finish(0.5, [0.2] * len(session.shadows), signals={"doubt": 1.0}, time_ns=number)
        if loop.version:
            break
    assert seen[True] > 0
    assert seen[False] == 0


def test_drift_softens_what_the_bandit_knows():
    loop = make(drift=DriftBank({"loss": "adwin", "gap": "adwin"}))
    for number in range(300):
        session = loop.begin(time_ns=number)
        session.decide([1.0, 0.0])
        session.finish(0.1, signals={"gap": 0.2, "unknown": 3.0}, time_ns=number)
    certain = loop.bandit.widths([1.0, 0.0]).min()
    drifted = []
    for number in range(300, 400):
        told = loop.begin(time_ns=number).finish(0.9, time_ns=number)
        drifted += told["drift"]
    assert "loss" in drifted
    assert loop.summary().alarms == len(drifted)
    assert loop.bandit.widths([1.0, 0.0]).min() > certain
    assert loop.due


def test_another_loop_does_not_take_the_ledger(tmp_path):
    path = tmp_path / "ledger"
    with make(path) as loop:
        drive(loop, range(5))
        with pytest.raises(LedgerInUseError):
            make(path)

    class Lenient(Evaluator):
        digest = "always content"

        def __call__(self, settings: Settings, recording: float) -> float:
            return 0.0

    wider = ParamSpace([Param.integer("copies", 2, 99, default=2)])
    for name, build in (
        ("evaluator", lambda: make(path, evaluator=Lenient())),
        ("gate", lambda: make(path, gate=Gate(replay=3, canary=0, seed=4, alpha=0.5))),
        ("shield", lambda: make(path, shield=Shield((), params=SPACE, actions=ACTIONS))),
        ("space", lambda: StrangeLoop(wider, ledger=path)),
        ("seed", lambda: make(path, seed=7)),
        ("bandit", lambda: make(path, bandit=Bandit(ACTIONS, n_features=3, seed=5))),
    ):
        with pytest.raises(LedgerError, match=f"another {name}") as caught:
            build()
        assert caught.value.record == 0
    with make(path) as loop:
        assert loop.summary().finished == 5
    other = Ledger()
    other.append("diary", {}, time_ns=0)
    with pytest.raises(LedgerError, match="'diary'"):
        make(other)


def test_a_ledger_that_was_made_up_is_found_out():
    ledger = Ledger()
    drive(make(ledger), range(12))
    targets = [r.index for r in ledger.records() if r.kind in ("begin", "decide", "finish")]
    for target in targets:
        forged = Ledger()
        for honest in ledger.records():
            body = copy.deepcopy(honest.body)
            if honest.index == target:
                body["decided"]["propensity"] = 0.123
            if honest.kind == "version":
                forged.commit(SPACE.settings(body["settings"]), honest.blob, cause=body["cause"])
            else:
                forged.append(honest.kind, body, blob=honest.blob, time_ns=honest.time_ns)
        with pytest.raises(LedgerError, match="otherwise than it was recorded") as caught:
            make(forged)
        assert caught.value.record == target


def test_a_failing_disk_leaves_the_loop_where_the_ledger_is(tmp_path, monkeypatch):
    loop = make(tmp_path / "ledger")
    drive(loop, range(20))
    session = loop.begin(time_ns=20)
    before, records = loop.digest, len(loop.ledger)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(loop.ledger, "append", full)
        with pytest.raises(OSError, match="No space"):
            session.finish(0.5, time_ns=20)
        with pytest.raises(OSError, match="No space"):
            loop.begin(time_ns=20)
    assert (loop.digest, len(loop.ledger)) == (before, records)
    assert not session.closed
    session.finish(0.5, time_ns=20)
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()
    loop.close()
    loop.close()


def test_a_disk_that_fails_at_a_version_leaves_a_ledger_that_opens(tmp_path, monkeypatch):
    """The decision is recorded, its version is not, and bringing the loop back fails as well."""
    path = tmp_path / "ledger"
    options: dict[str, Any] = {"evaluator": None, "gate": Gate(replay=0, canary=0)}
    loop = make(path, **options)
    loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(loop.ledger, "commit", full)
        with pytest.raises(OSError, match="No space"):
            for _ in range(60):
                loop.begin(time_ns=1).finish(0.9, [0.1], time_ns=1)
        with pytest.raises(OSError, match="No space"):
            loop.begin(time_ns=2)
    loop.begin(time_ns=2)
    assert loop.settings["copies"] == loop.ledger.current.settings["copies"] == 6
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()
    loop.close()
    make(path, **options).close()


def test_a_checkpoint_that_does_not_fit_is_no_error_of_the_input(monkeypatch):
    monkeypatch.setattr("midstream.meta.loop.CHECKPOINT_EVERY", 5)
    loop = make()
    append = loop.ledger.append

    def full(kind: str, *args: Any, **more: Any) -> Any:
        if kind == "checkpoint":
            raise OSError(28, "No space left on device")
        return append(kind, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop.ledger, "append", full)
        drive(loop, range(10))
    drive(loop, range(10, 12))
    assert sum(1 for _ in loop.ledger.records("checkpoint")) >= 1
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_what_others_write_into_the_ledger_is_taken_in():
    ledger = Ledger()
    loop = make(ledger)
    drive(loop, range(80))
    assert loop.version > 0
    ledger.rollback(0, "past the loop")
    ledger.append("note", {"by": "somebody"})
    drive(loop, range(80, 82))
    assert loop.summary().rolled_back == 1
    assert loop.settings.to_dict() == dict(ledger.current.settings)
    other = make(ledger)  # two loops over one ledger are one
    drive(other, range(82, 84))
    drive(loop, range(84, 86))
    assert loop.summary().finished == 86
    assert loop.replay().to_bytes() == ledger.to_bytes()
    assert make(Ledger.from_bytes(ledger.to_bytes())).digest == loop.digest


def test_what_is_done_to_the_parts_of_a_loop_does_not_spoil_its_ledger(monkeypatch):
    monkeypatch.setattr("midstream.meta.loop.CHECKPOINT_EVERY", 7)
    loop = make()
    drive(loop, range(5))
    loop.bandit.learn([1.0, 0.0], "abort", 1.0)
    loop.bandit.decide([1.0, 0.0])
    loop.drift.update({"loss": 1.0})
    with pytest.raises(RefusedError, match="add_safety_constraint"):
        loop.shield.add("abort -> !O[1:3] abort")
    drive(loop, range(5, 20))
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()
    assert make(Ledger.from_bytes(loop.ledger.to_bytes())).digest == loop.digest


def test_threads_take_turns():
    loop = make(max_sessions=64)
    errors = []

    def work(seed: int) -> None:
        try:
            rng = random.Random(seed)
            for _ in range(40):
                session = loop.begin(time_ns=0)
                session.observe([1, 2, 3])
                session.decide([1.0, rng.random()], {"stuck"})
                recording = 6.0
                session.finish(
                    EVALUATE(session.settings, recording),
                    [EVALUATE(s, recording) for s in session.shadows],
                    recording=recording,
                    time_ns=0,
                )
                if loop.due:
                    loop.maintain(time_ns=0)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert loop.summary().finished == loop.summary().started == 160
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_patterns_come_from_whole_streams():
    loop = make(levels=Levels(3, horizon=3))
    first, second = loop.begin(time_ns=0), loop.begin(time_ns=0)
    for _ in range(10):
        for session, words in ((first, ["read", "think"]), (second, ["call", "wait"])):
            session.observe(words)
            session.close_unit(1)
    first.finish(0.1, time_ns=1)
    second.finish(0.1, time_ns=1)
    found = [pattern.labels(loop.symbols) for pattern in loop.knowledge(1)]
    assert ("read", "think") in found
    assert ("call", "wait") in found
    assert not any({"read", "call"} <= set(pattern) for pattern in found)
    before = [loop.levels.n_units(level) for level in (1, 2, 3)]
    loop.observe(np.array([1, 2, 1, 2]))
    loop.close_unit(3)
    assert [loop.levels.n_units(level) for level in (1, 2, 3)] == [n + 1 for n in before]


def test_a_trial_that_waits_for_recordings_gets_them():
    """It was put forward before there were enough, and must not wait for ever."""
    loop = make(propose_every=1000)
    trial = loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    loop.begin(time_ns=1).finish(0.4, recording=6.0, time_ns=1)
    loop.maintain(time_ns=2)
    assert (trial.stage, trial.evidence.n) == ("replay", 0)
    for number in range(3, 6):
        loop.begin(time_ns=number).finish(0.4, recording=6.0, time_ns=number)
    loop.maintain(time_ns=6)
    assert trial.stage == "shadow"
    assert trial.history[0].evidence.n >= 3
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_evidence_comes_later_where_there_is_no_evaluator():
    loop = make(evaluator=None)
    trial = loop.apply(SPACE.change(loop.settings, copies=6), time_ns=0)
    assert loop.add_evidence(trial, [(0.5, 0.25)], time_ns=1) is trial
    assert (trial.stage, trial.evidence.n) == ("replay", 1)
    records = len(loop.ledger)
    for wrong, error, told in (
        ((trial, [(2.0, 0.0)]), ArgumentValueError, "evidence must be at most"),
        ((trial, [3]), ArgumentTypeError, "pairs of losses"),
        (("0", []), ArgumentTypeError, "trial must be an integer"),
        ((7, [(0.5, 0.25)]), RefusedError, "trial 7 must be in replay, it is not open"),
    ):
        with pytest.raises(error, match=told):
            loop.add_evidence(*wrong)
    assert len(loop.ledger) == records
    loop.add_evidence(0, [(0.5, 0.25)] * 2, time_ns=2)
    assert trial.stage == "shadow"
    with pytest.raises(RefusedError, match="it is in shadow"):
        loop.add_evidence(trial, [(0.5, 0.25)])
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()
    again = make(Ledger.from_bytes(loop.ledger.to_bytes()), evaluator=None)
    assert again.digest == loop.digest


def test_a_second_interrupt_while_the_state_is_brought_back(monkeypatch):
    """What is recorded after it follows from the records, not from what was half done."""
    loop = make()
    drive(loop, range(30))
    session = loop.begin(time_ns=40)
    before, records = loop.digest, len(loop.ledger)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", interrupted)
        patch.setattr("midstream.meta._follower.Follower.end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.decide([1.0, 0.5], {"stuck"})
    assert len(loop.ledger) == records
    ticket = session.decide([1.0, 0.25]).ticket
    assert ticket is not None
    session.finish(0.5, [0.5] * len(session.shadows), time_ns=41)
    assert loop.digest != before
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()


def test_a_closed_loop_says_so_and_takes_nothing():
    loop = make()
    session = loop.begin(time_ns=0)
    loop.close()
    before = loop.digest
    for late in (
        loop.begin,
        lambda: session.decide([1.0, 0.0]),
        lambda: session.finish(0.5),
        lambda: loop.rollback(0),
        lambda: loop.observe([1]),
        loop.close_unit,
    ):
        with pytest.raises(LedgerError, match="the loop is closed") as raised:
            late()
        assert raised.value.__context__ is None
    assert loop.digest == before
    loop.close()


@pytest.mark.parametrize(
    ("symbols", "level", "error", "told"),
    [
        ([["read"]], 1, ArgumentTypeError, "items must be hashable"),
        ([object()], 1, ArgumentTypeError, "items must be None"),
        (3, 1, ArgumentTypeError, "symbols must be iterable, got int"),
        ([-1], 1, ArgumentValueError, "symbols must be 0 to"),
        (np.array([[1]]), 1, ArgumentValueError, "one axis"),
        ([1], -1, ArgumentValueError, "level must be at least 1, got -1"),
        ([1], 4, ArgumentValueError, "level must be at most 3, got 4"),
        ([1], "1", ArgumentTypeError, "level must be an integer"),
    ],
)
def test_what_cannot_be_learned_is_an_error_when_it_is_said(symbols, level, error, told):
    """Not when the stream ends: its outcome would be recorded by then, and its answer lost."""
    loop = make()
    session = loop.begin(time_ns=0)
    for observe in (session.observe, loop.observe):
        with pytest.raises(error, match=told):
            observe(symbols, level)
    if "level" in told:
        with pytest.raises(error, match=told):
            session.close_unit(level)
    said = [1, 2]
    session.observe(said)
    said.append(-1)
    assert session.finish(0.5, time_ns=1)["outcomes"] == []
    assert loop.summary().finished == 1


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda s, _: s.decide(object()), ArgumentTypeError, "features must be 2 finite numbers"),
        (lambda s, _: s.decide(["a", 1]), ArgumentTypeError, "features must be 2 finite numbers"),
        (lambda s, _: s.decide([[1], [1, 2]]), ArgumentTypeError, "features must be 2 finite"),
        (lambda s, _: s.decide([1, 0], 3), ArgumentTypeError, "context must be iterable"),
        (lambda s, _: s.decide([1, 0], supported=3), ArgumentTypeError, "supported must be it"),
        (lambda s, _: s.finish(0.5, 0.5), ArgumentTypeError, "shadow_losses must be iterable"),
        (lambda s, _: s.finish(0.5, signals=[]), ArgumentTypeError, "signals must be a mapping"),
        (lambda _, t: t(3), ArgumentTypeError, "evidence must be iterable, got int"),
        (lambda _, t: t([0.5]), ArgumentTypeError, "evidence must be pairs of losses, got 0.5"),
        (lambda s, _: pickle.dumps(s), TypeError, "a Session cannot be pickled"),
        (lambda s, _: copy.deepcopy(s._loop), TypeError, "a StrangeLoop cannot be pickled"),
    ],
)
def test_wrong_arguments_are_named(call, error, told):
    loop = make()
    session = loop.begin(time_ns=0)
    change = SPACE.change(loop.settings, copies=5)
    records = len(loop.ledger)
    with pytest.raises(error, match=told):
        call(session, lambda evidence: loop.apply(change, evidence=evidence))
    assert len(loop.ledger) == records
    session.finish(0.5)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"levels": 0}, ArgumentValueError, "levels"),
        ({"gate": 3}, ArgumentTypeError, "gate must be a Gate, got int"),
        ({"bandit": 3}, ArgumentTypeError, "bandit must be a Bandit, got int"),
        ({"candidates": 3}, ArgumentTypeError, "candidates must be iterable, got int"),
        ({"bandit": Bandit(("a", "continue"), n_features=2)}, ArgumentValueError, "actions"),
        ({"bandit": Bandit(ACTIONS, low=-1.0)}, ArgumentValueError, "rewards"),
        ({"evaluator": 3}, ArgumentTypeError, "callable"),
        ({"evaluator": threading.Thread}, ArgumentTypeError, "digest"),
        ({"candidates": [{"copies": 3}]}, ArgumentTypeError, "candidates"),
        ({"seed": -1}, ArgumentValueError, "seed"),
        ({"min_gain": 2.0}, ArgumentValueError, "min_gain"),
        ({"shield": "abort ->"}, FormulaSyntaxError, "column"),
        ({"shield": "stuck -> !continue"}, RuleError, "fallback"),
        (
            {"shield": Shield((), params=ParamSpace([Param.flag("x", default=True)]))},
            ArgumentValueError,
            "another space",
        ),
    ],
)
def test_arguments_are_checked(options, error, told):
    given = {"bandit": None, "shield": ()} if "shield" in options else {}
    with pytest.raises(error, match=told):
        make(**{**given, **options})


def test_the_evaluator_may_be_a_function():
    def rate(settings: Settings, recording: float) -> float:
        return abs(settings["copies"] - recording) / 20

    def other(settings: Settings, recording: float) -> float:
        return abs(settings["copies"] - recording) / 30

    ledger = Ledger()
    loop = make(ledger, evaluator=rate)
    drive(loop, range(40))
    assert make(ledger, evaluator=rate).digest == loop.digest
    with pytest.raises(LedgerError, match="evaluator"):
        make(ledger, evaluator=other)
    bound = 3.0
    with pytest.raises(ArgumentTypeError, match="closure"):
        make(evaluator=lambda settings, recording: bound)


def scale_of(scale: float) -> Any:
    """The same code; only a default differs."""

    def rate(settings: Settings, recording: float, scale: float = scale) -> float:
        return abs(settings["copies"] - recording) / scale

    return rate


def test_the_defaults_of_an_evaluator_tell_it_from_another():
    ledger = Ledger()
    make(ledger, evaluator=scale_of(20.0))
    make(ledger, evaluator=scale_of(20.0))
    with pytest.raises(LedgerError, match="evaluator"):
        make(ledger, evaluator=scale_of(2000.0))
    with pytest.raises(ArgumentTypeError, match="cannot be told from others"):
        make(evaluator=scale_of(object()))  # type: ignore[arg-type]


def test_an_evaluator_has_the_same_digest_in_every_process():
    """A set in its code has another order where strings hash otherwise."""
    program = (
        "from midstream.meta._search import _digest_of\n"
        "def rate(settings, recording):\n"
        "    return 0.5 if recording in {'loop', 'stall', 'text', 'audio'} else 0.25\n"
        "print(_digest_of(rate))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-P", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_an_evaluator_stays_what_it_was():
    class Moving(Evaluator):
        digest = "strict"

    evaluator = Moving()
    loop = make(evaluator=evaluator)
    drive(loop, range(5))
    evaluator.digest = "kind"
    with pytest.raises(RefusedError, match="another digest"):
        loop.maintain()
    with pytest.raises(RefusedError, match="another digest"):
        loop.apply(SPACE.change(loop.settings, copies=6), time_ns=9)


def test_an_evaluator_that_fails_fails_in_the_open():
    def broken(settings: Settings, recording: float) -> float:
        return 7.0

    loop = make(evaluator=broken)
    for number in range(10):
        loop.begin(time_ns=number).finish(0.5, recording=1.0, time_ns=number)
    with pytest.raises(ArgumentValueError, match="evaluator returned"):
        loop.propose()


def test_a_file_can_be_anywhere_a_path_can(tmp_path: Path):
    for name in ("a ledger", "ünïcode"):
        with make(str(tmp_path / name)) as loop:
            drive(loop, range(3))
    with pytest.raises(OSError, match="nowhere"):
        make(tmp_path / "nowhere" / "ledger")


def test_what_fails_again_and_again_rests_longer():
    def hopeful(settings: Settings, recording: float) -> float:
        return 0.5 if settings["copies"] == 2 else 0.1

    loop = make(
        evaluator=hopeful,
        gate=Gate(replay=3, canary=0, shadow=2),
        candidates=[SPACE.settings(copies=6)],
        shield=Shield(["copies == 6"], params=SPACE, actions=ACTIONS),
        propose_every=1,
        rest=4,
    )
    tried = []

    def run(streams: range) -> None:
        for number in streams:
            session = loop.begin(time_ns=number)
            session.finish(0.5, [0.5] * len(session.shadows), recording=1.0, time_ns=number)
            tried.extend(number for _ in loop.maintain(time_ns=number))

    run(range(120))
    gaps = np.diff(tried).tolist()
    assert len(gaps) >= 4
    assert all(later >= 1.5 * sooner for sooner, later in itertools.pairwise(gaps))
    loop.rollback(0, time_ns=120)
    before = len(tried)
    run(range(120, 130))
    assert len(tried) > before


def test_who_waited_for_the_canary_is_assigned_the_stream_that_it_begins_with():
    loop = make(evaluator=None, gate=Gate(replay=0, canary=200, share=0.5, seed=2))
    for copies in (4, 6):
        loop.apply(SPACE.change(loop.settings, copies=copies), time_ns=0)
    # Shadows say that both are good. The first one, where it runs a stream, is not.
    losses = {2: 0.5, 4: 0.1, 6: 0.1}
    for number in range(400):
        session = loop.begin(time_ns=number)
        copies = session.settings["copies"]
        session.finish(
            1.0 if copies == 4 else losses[copies],
            [losses[settings["copies"]] for settings in session.shadows],
            time_ns=number,
        )
        if loop.version:
            break
    assert loop.settings["copies"] == 6
    begun = [r.body["decided"] for r in loop.ledger.records("begin")]
    moved = [one for one in begun if one["outcomes"]]
    assert [one["outcomes"][0]["reason"] for one in moved] == ["the canary is free"]
    assert moved[0]["trial"] == 1
    assert moved[0]["propensity"] == 0.5
    assert loop.replay().to_bytes() == loop.ledger.to_bytes()
