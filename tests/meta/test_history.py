"""`History`: what it makes of records, also of odd ones."""

from __future__ import annotations

import pytest

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.meta import Gate, Param, ParamSpace, StrangeLoop
from midstream.meta.history import History
from midstream.meta.ledger import Ledger

MOVES = [["window", 20, 30]]


def test_a_trial_from_its_records():
    ledger = Ledger()
    ledger.commit({"window": 20, "mode": "a"}, b"")
    proposal = ledger.append("propose", {"change": {"moves": MOVES, "reason": "slow"}})
    ledger.append("trial", {"trial": 7, "stage": "replay", "proposal": proposal.index}, time_ns=5)
    ledger.append("evidence", {"trial": 7, "n": 3, "mean": 0.1, "lower": 0, "upper": 0.5})
    ledger.append("trial", {"trial": 7, "stage": "canary"})
    ledger.append("evidence", {"trial": 7, "n": 4})
    end = ledger.append("promote", {"trial": 7}, time_ns=9)
    ledger.commit({"window": 30, "mode": "a"}, b"", cause=end.index)
    ledger.append("demote", {"trial": 7})
    ledger.rollback(0, "worse")
    ledger.append("drift", {"signal": "loss"}, time_ns=11)
    history = History.of(ledger)
    (trial,) = history.trials
    assert (trial.key, trial.reason, trial.moves) == (7, "slow", (("window", 20, 30),))
    assert [stage for stage, _, _ in trial.stages] == ["replay", "canary", "promoted"]
    assert (trial.outcome, trial.stage) == ("demoted", "demoted")
    assert trial.last.n == 3
    assert trial.last.difference == 0.1
    assert (trial.time_ns, trial.ended_ns) == (5, None)
    assert history.promoted_by == {1: 0}
    assert history.moved(1) == (("window", 20, 30),)
    assert history.moved(2) == (("window", 30, 20),)
    with pytest.raises(ArgumentValueError, match="number must be at most"):
        history.moved(99)
    with pytest.raises(ArgumentValueError, match="number must be at least 0, got -1"):
        history.moved(-1)
    with pytest.raises(ArgumentTypeError, match="number must be an integer"):
        history.moved("1")
    assert history.changed == ("window",)
    assert [alarm.signal for alarm in history.alarms] == ["loss"]
    assert history.counts["trial"] == 2
    assert (history.n_records, history.last_ns) == (len(ledger), 11)
    assert repr(history).startswith("<History: 3 versions, 1 trials, 1 drift alarms")


def test_inputs_with_what_was_decided_on_them():
    """As `StrangeLoop` writes them."""
    ledger = Ledger()
    params = [{"name": "mode", "choices": ["b", "a"]}, {"name": "window"}]
    ledger.append("open", {"params": {"params": params}})
    ledger.commit({"window": 20, "mode": "a"}, b"", cause=0)
    after = {"window": 30, "mode": "a"}
    given = {"after": after, "reason": "slow", "source": "user", "pairs": []}
    for trial in (0, 1):
        decided = {"trial": trial, "stage": "shadow", "outcomes": []}
        ledger.append("apply", {"given": given, "decided": decided})
    refusal = {"refused": "cap", "message": "cap (window <= 25)"}
    ledger.append("apply", {"given": given, "decided": refusal})
    evidence = {"stage": "shadow", "n": 40, "difference": 0.2, "lower": 0.1, "upper": None}
    outcome = {"trial": 0, "before": "shadow", "stage": "promoted", "reason": "", "superseded": [1]}
    decided = {"outcomes": [{**outcome, "evidence": evidence}], "drift": ["loss", "doubt"]}
    cause = ledger.append("finish", {"given": {"loss": 0.5}, "decided": decided}, time_ns=3)
    ledger.commit(after, b"", cause=cause.index)
    outcome = {"trial": 0, "before": "promoted", "stage": "demoted", "reason": "worse"}
    cause = ledger.append("finish", {"given": {}, "decided": {"outcomes": [outcome], "drift": []}})
    ledger.commit({"window": 20, "mode": "a"}, b"", cause=cause.index)
    history = History.of(ledger)
    first, second = history.trials
    assert first.moves == second.moves == (("window", 20, 30),)
    assert (first.outcome, second.outcome, first.reason) == ("demoted", "rejected", "slow")
    assert (first.why, second.why) == ("worse", "superseded by trial 0")
    assert [stage for stage, _, _ in first.stages] == ["shadow", "promoted"]
    assert (first.last.stage, first.last.n, first.last.upper) == ("shadow", 40, None)
    assert (history.promoted_by, history.demoted_by) == ({1: 0}, {2: 0})
    assert [alarm.signal for alarm in history.alarms] == ["loss", "doubt"]
    assert history.refused == ((4, "cap"),)
    assert history.choices == {"mode": ("b", "a"), "window": ()}


def test_records_that_nobody_expects():
    ledger = Ledger()
    ledger.append("trial", {"moves": [["x", 1], 3, ["y", 1, 2]], "reason": 4, "stage": None})
    ledger.append("evidence", {"trial": [1], "lower": True})
    ledger.append("evidence", {"trial": "t", "lower": "low", "upper": None})
    ledger.append("drift", {})
    ledger.append("space", {"params": [3, {"name": "z"}]})
    ledger.append("strange", {"trial": 1})
    history = History.of(ledger)
    assert [trial.key for trial in history.trials] == [0, "t"]
    assert history.trials[0].moves == (("y", 1, 2),)
    assert history.trials[1].last.lower is None
    assert history.alarms[0].signal == "drift"
    assert history.choices == {"z": ()}
    assert history.versions == ()


def test_a_version_knows_its_trial_without_a_cause():
    ledger = Ledger()
    ledger.commit({"window": 20}, b"")
    ledger.append("trial", {"trial": 0, "moves": MOVES})
    ledger.append("promote", {"trial": 0})
    ledger.commit({"window": 30}, b"")
    ledger.commit({"window": 31}, b"")
    assert History.of(ledger).promoted_by == {1: 0}


def test_no_ledger():
    with pytest.raises(ArgumentTypeError, match="ledger must be a Ledger, got list"):
        History.of([])


def test_what_a_loop_writes_is_read_back():
    space = ParamSpace([Param.integer("copies", 2, 12, default=2, max_step=4)])
    loop = StrangeLoop(space, gate=Gate(replay=0, canary=0, watch=30))
    loop.apply(space.change(loop.settings, "too few", copies=5), time_ns=0)
    for number in range(120):
        session = loop.begin(time_ns=number)
        own, other = (0.5, 0.1) if loop.version == 0 else (0.1, 0.5)
        session.finish(own, [other] * len(session.shadows), time_ns=number)
    history = History.of(loop.ledger)
    (trial,) = history.trials
    assert (trial.outcome, trial.moves) == ("promoted", (("copies", 2, 5),))
    # The watch goes on; the promotion stays where it was.
    version = history.versions[1]
    assert trial.ended == version.cause
    assert history.promoted_by == {1: 0}
    counts = [e.n for e in trial.evidence if e.record <= trial.ended]
    assert counts == sorted(counts)
    assert len(counts) >= 4
    assert trial.evidence[-1].record > trial.ended
    assert trial.evidence[-1].difference == pytest.approx(0.4)
